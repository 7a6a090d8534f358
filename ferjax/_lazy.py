"""Modules that are imported at their first use."""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any


class LazyModule(ModuleType):
    """Stand in for a module until one of its attributes is asked for.

    jax and OpenCV take longer to import than a whole weight conversion, which needs neither.
    """

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # introspection, such as inspect's, must not import
            raise AttributeError(attribute)
        return getattr(imported(self.__name__), attribute)


def imported(name: str) -> ModuleType:
    """Return a module, which is imported if it is not yet."""
    if name in sys.modules:
        return importlib.import_module(name)  # which another thread may still be importing
    with no_collection():
        return importlib.import_module(name)


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Keep Python from looking for garbage meanwhile.

    Nearly all stays of what is imported, and of what JAX traces. To look through it 300 times takes
    a tenth of a start by JAX.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
