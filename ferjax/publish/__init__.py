"""Share weights: the folder that goes to a hub, and its way there.

`folder` writes what is shared, in `formats`, with the card of `ferjax.evaluate` under the header
that `header` makes for the hub; `sending` pushes it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ferjax.publish.folder import Contents, write_folder
    from ferjax.publish.sending import push

__all__ = ["Contents", "push", "write_folder"]


def __getattr__(name: str) -> Any:
    # What writes weights is imported when they are shared: the command line needs the formats.
    if name in __all__:
        module = "sending" if name == "push" else "folder"
        return getattr(importlib.import_module(f"ferjax.publish.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
