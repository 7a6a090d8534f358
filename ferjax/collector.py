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
_before = _meanwhile = gc.get_threshold()


@contextlib.contextmanager
def seldom() -> Iterator[None]:
    """Have garbage looked for seldom meanwhile, in all threads.

    Of what is imported, and of what JAX traces, nearly all stays. Looking through it 366 times took
    0.2 s of a start by JAX, on two cores of an Intel Xeon. Thresholds that a program sets meanwhile
    stay.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside, _before, _meanwhile
    with _lock:
        if not _inside:
            _before = _meanwhile = gc.get_threshold()
            if 0 < _before[0] < _MANY:  # 0: it is never looked for
                _meanwhile = (_MANY, *_before[1:])
                gc.set_threshold(*_meanwhile)
        _inside += 1


def _leave() -> None:
    global _inside
    with _lock:
        _inside = max(_inside - 1, 0)  # a forked process has left already
        if not _inside:
            _restore()


def _restore() -> None:
    if gc.get_threshold() == _meanwhile:
        gc.set_threshold(*_before)


def _leave_in_child() -> None:
    """Leave for threads that a forked process does not have."""
    global _lock, _inside
    _lock = threading.Lock()
    if _inside:
        _inside = 0
        _restore()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_in_child)
