"""Modules that are imported at their first use."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any


class LazyModule(ModuleType):
    """Stand in for a module until one of its attributes is asked for.

    jax and OpenCV take longer to import than a whole weight conversion, which needs neither.
    """

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # introspection, such as inspect's, must not import
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self.__name__), attribute)
