"""Python's garbage collector, where there is next to no garbage."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Iterator

# New objects after which garbage is looked for again (Python's own number is 700 or 2,000), and how
# many may count as old, unsearched, before the next full search.
_MANY = 1_000_000

_lock = threading.Lock()
_inside = 0
_stays = False  # whether a caller that is inside said so
_before = _meanwhile = gc.get_threshold()
_aged = 0  # objects that came to `_age` since the last full search
_full_searches = 0


@contextlib.contextmanager
def seldom(*, stays: bool = False) -> Iterator[None]:
    """Have garbage looked for seldom meanwhile, in all threads.

    Looking through what is imported, and what JAX traces, 366 times took 0.3 s of a start by JAX,
    on two cores of an Intel Xeon. Thresholds that a program sets meanwhile stay.

    Args:
        stays: nearly all that is made meanwhile stays, as of imports. All objects then count as
            old, unsearched; garbage among them is found by the next full search. Not so where it
            would be too many since the last one, or where a program froze objects.
    """
    _enter(stays)
    try:
        yield
    finally:
        _leave()


def _enter(stays: bool) -> None:
    global _inside, _stays, _before, _meanwhile
    with _lock:
        if not _inside:
            _before = _meanwhile = gc.get_threshold()
            if 0 < _before[0] < _MANY:  # 0: it is never looked for
                _meanwhile = (_MANY, *_before[1:])
                gc.set_threshold(*_meanwhile)
        _inside += 1
        _stays |= stays


def _leave() -> None:
    global _inside, _stays
    with _lock:
        _inside = max(_inside - 1, 0)  # a forked process has left already
        if not _inside:
            if _stays:
                _age()  # first, or the search would be made now
            _stays = False
            _restore()


def _restore() -> None:
    if gc.get_threshold() == _meanwhile:
        gc.set_threshold(*_before)


def _age() -> None:
    """Count all objects as old, so that the next search does not look through those that are new.

    `_MANY` at most until the next full search: Python, which does not know of them, makes that
    later.
    """
    global _aged, _full_searches
    full_searches = gc.get_stats()[-1]["collections"]
    if full_searches != _full_searches:
        _aged, _full_searches = 0, full_searches
    _aged += gc.get_count()[0]
    may = gc.isenabled() and _aged < _MANY
    if may and not gc.get_freeze_count():  # what a program froze stays so
        gc.freeze()
        gc.unfreeze()


def _leave_in_child() -> None:
    """Leave for threads that a forked process does not have."""
    global _lock, _inside, _stays
    _lock = threading.Lock()
    if _inside:
        _inside, _stays = 0, False
        _restore()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_in_child)
