"""Sessions of ONNX Runtime that outlive a fork.

A session's threads are not there in a process that is forked from its own: there it cannot be used,
and to free it would wait for them.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Any

from ferjax import hardware

_sessions: weakref.WeakSet[Any] = weakref.WeakSet()


def session(content: bytes | str, options: Any, providers: list[str]) -> Any:
    """Return an `onnxruntime.InferenceSession` of a model, its bytes or its path, which belongs
    to this process."""
    made = hardware.onnx_runtime().InferenceSession(content, options, providers=providers)
    _sessions.add(made)
    return made


def _keep_sessions() -> None:
    """Never free the sessions of the process that this one was forked from, at its end neither."""
    for made in _sessions:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(made))
    _sessions.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_sessions)
