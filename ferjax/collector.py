"""Python's garbage collector, where there is next to no garbage."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Iterator

# New objects after which it looks again; Python's own number is 700 or 2,000.
_MANY = 100_000

_lock = threading.Lock()
_inside = 0
_before = gc.get_threshold()


@contextlib.contextmanager
def seldom() -> Iterator[None]:
    """Have garbage looked for seldom meanwhile, in all threads.

    Of what is imported, and of what JAX traces, nearly all stays. Looking through it 300 times took
    a tenth of a start by JAX on two cores of an Intel Xeon.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside, _before
    with _lock:
        if not _inside:
            _before = gc.get_threshold()
            if 0 < _before[0] < _MANY:  # 0: it is never looked for
                gc.set_threshold(_MANY, *_before[1:])
        _inside += 1


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if not _inside:
            gc.set_threshold(*_before)


def _leave_in_child() -> None:
    """Leave for threads that a forked process does not have."""
    global _lock, _inside
    _lock = threading.Lock()
    if _inside:
        _inside = 0
        gc.set_threshold(*_before)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_in_child)
