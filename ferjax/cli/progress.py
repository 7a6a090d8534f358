"""Progress on stderr, for work that takes longer than two seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_FIRST = 2.0


class Progress:
    """Say every so often how much of `total` is done, how fast, and how long the rest takes."""

    def __init__(self, total: int, unit: str) -> None:
        self.total = total
        self.unit = unit
        self.done = 0
        self._start = time.monotonic()
        self._next = self._start + _FIRST
        self._shown = False
        self._before = 0

    def begin(self, count: int) -> None:
        """Count the first `count`, which took loading and compiling too, and time the rest."""
        self.done += count
        self._start = time.monotonic()
        self._next = self._start + _FIRST
        self._before = self.done

    def advance(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if now < self._next or self.done >= self.total:  # what comes of it is shown next
            return
        rate = (self.done - self._before) / (now - self._start)
        left = (self.total - self.done) / rate if rate else 0
        speed = f"{rate:.0f}" if rate >= 2 else f"{rate:.1f}"
        text = f"{self.done} of {self.total} {self.unit}, {speed} a second, {left:.0f} s left"
        terminal = sys.stderr.isatty()
        print(f"\r{text:<70}" if terminal else text, end="" if terminal else "\n", file=sys.stderr)
        sys.stderr.flush()
        self._shown = terminal
        self._next = now + (0.2 if terminal else 10.0)

    def clear(self) -> None:
        """Clear the line, if one is drawn, for what is to be said before the next."""
        if self._shown:
            print(f"\r{'':<70}\r", end="", file=sys.stderr)
            sys.stderr.flush()
            self._shown = False

    close = clear


@contextmanager
def reported() -> Iterator[Callable[[int, int, str], None]]:
    """Yield a callback that takes (done, total, unit), and clear its line at the end."""
    shown: list[Progress] = []

    def advance(done: int, total: int, unit: str) -> None:
        if not shown or shown[-1].unit != unit:  # another part of the work begins
            for progress in shown:
                progress.close()
            shown.append(Progress(total, unit))
        shown[-1].advance(done - shown[-1].done)

    try:
        yield advance
    finally:
        for progress in shown:
            progress.close()
