"""Python's garbage collector, where there is next to no garbage."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Iterator

# New objects after which garbage is looked for again; Python's own number is 700 or 2,000.
_MANY = 500_000

_lock = threading.Lock()
_inside = 0
_before = _meanwhile = gc.get_threshold()
_seen: set[str] = set()  # what was made for the first time
_stays = False  # whether that was so for any who are inside
_is_ageing = False


@contextlib.contextmanager
def seldom(first: str | None = None) -> Iterator[None]:
    """Have garbage looked for seldom meanwhile, in all threads.

    Looking through what is imported, and what JAX traces, 366 times took 0.3 s of a start by JAX,
    on two cores of an Intel Xeon. Thresholds that a program sets meanwhile stay.

    Args:
        first: what is made, if nearly all of it stays where this process makes it for the first
            time, such as a module. All objects then count as old, unsearched; garbage among them
            is found by the next full search, which Python makes later for it. Hence once only.
    """
    _enter(first)
    try:
        yield
    finally:
        _leave()


# What a process holds that is forked by another thread is right after each statement.


def _enter(first: str | None) -> None:
    global _inside, _stays, _before, _meanwhile
    with _lock:
        if first is not None and first not in _seen:
            _seen.add(first)
            _stays = True
        if _inside:
            _inside += 1
            return
        _before = _meanwhile = gc.get_threshold()
        _inside = 1
        if 0 < _before[0] < _MANY:  # 0: it is never looked for
            _meanwhile = (_MANY, *_before[1:])
            gc.set_threshold(*_meanwhile)


def _leave() -> None:
    global _inside, _stays
    with _lock:
        if _inside == 1:
            if _stays:
                _age()  # first, or the search would be made now
            _stays = False
            _restore()
        _inside = max(_inside - 1, 0)  # a forked process has left already


def _restore() -> None:
    if gc.get_threshold() == _meanwhile:
        gc.set_threshold(*_before)


def _age() -> None:
    """Count all objects as old, so that the next search does not look through new ones."""
    global _is_ageing
    if gc.isenabled() and not gc.get_freeze_count():  # what a program froze stays so
        _is_ageing = True
        gc.freeze()
        gc.unfreeze()
        _is_ageing = False


def _leave_in_child() -> None:
    """Leave for threads that a forked process does not have."""
    global _lock, _inside, _stays, _is_ageing
    _lock = threading.Lock()
    if _is_ageing:
        gc.unfreeze()
    _is_ageing = _stays = False
    if _inside:
        _inside = 0
        _restore()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_in_child)
