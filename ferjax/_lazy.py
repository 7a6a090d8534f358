"""Modules that are imported at their first use."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from ferjax import collector


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
    with collector.seldom(first=name):
        return importlib.import_module(name)
