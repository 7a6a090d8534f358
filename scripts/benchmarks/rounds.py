"""Who is measured in which order, how often, and beside which earlier ferjax."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

BEFORE = " (before)"


def rounds(
    repeats: int,
    minutes: float | None,
    began: float,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[int]:
    """Yield the number of each repeat: the first, and those that end within the minutes.

    Args:
        repeats: how many there are at most.
        minutes: from `began` on; None: however long they take.
        began: by the clock, when the time began.

    >>> ticks = iter([0, 100, 200, 300, 400, 500])
    >>> list(rounds(5, 5, -50, lambda: next(ticks)))  # a round takes 100 s, and 250 s are left
    [0, 1]
    """
    longest = 0.0
    started = clock()
    for repeat in range(repeats):
        if repeat and minutes is not None and started + longest > began + 60 * minutes:
            return
        yield repeat
        ended = clock()
        longest, started = max(longest, ended - started), ended


def rotated(entries: Sequence[str], by: int) -> list[str]:
    """Return the entries beginning with another one in each repeat.

    >>> rotated(["a", "b", "c"], 1)
    ['b', 'c', 'a']
    """
    start = by % len(entries) if entries else 0
    return [*entries[start:], *entries[:start]]


def with_before(entries: Iterable[str], own: Iterable[str], before: Path | None) -> list[str]:
    """Return the entries, each that is ferjax's followed by its earlier self.

    >>> with_before(["ferjax", "torch"], ["ferjax"], Path("older"))
    ['ferjax', 'ferjax (before)', 'torch']
    >>> with_before(["ferjax", "torch"], ["ferjax"], None)
    ['ferjax', 'torch']
    """
    mine = set(own) if before is not None else set()
    return [
        each
        for entry in entries
        for each in ([entry, entry + BEFORE] if entry in mine else [entry])
    ]


def plain(entry: str) -> str:
    """Return what is measured as this entry.

    >>> plain("ferjax (before)"), plain("torch")
    ('ferjax', 'torch')
    """
    return entry.removesuffix(BEFORE)


def environment_of(entry: str, env: Mapping[str, str], before: Path | None) -> dict[str, str]:
    """Return the environment in which an entry's ferjax is imported, that of its checkout."""
    if before is None or not entry.endswith(BEFORE):
        return dict(env)
    paths = [str(before.absolute()), *filter(None, [env.get("PYTHONPATH")])]
    return {**env, "PYTHONPATH": os.pathsep.join(paths)}
