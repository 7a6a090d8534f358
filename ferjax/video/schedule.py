"""Which frames of a film are looked at as a whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from ferjax.video.pictures import Frame
from ferjax.video.settings import LOOKS

ROUNDING: Final = 5e-4  # seconds by which times in files may be rounded

_LONGEST: Final = 10  # frames between two looks at whole frames, to keep up
_SHARE: Final = 0.8  # of a frame's time, that may be spent on it


class Schedule:
    """Which frames are looked at as a whole: the first, those after cuts, some of the others."""

    def __init__(self, every: int | None, *, keeps_up: bool = False) -> None:
        """Begin with the next frame.

        Args:
            every: each so many frames; None: five times a second.
            keeps_up: where `every` is None, as often as there is time for.
        """
        self._every, self._keeps_up = every, keeps_up and every is None
        self._is_close = False
        self._last: float | None = None  # the time of the last such frame
        self._since = 0  # frames since then
        self._costs = [0.0, 0.0]  # seconds that a frame takes: followed, looked at as a whole
        self._interval = 1 / 30
        self._before: float | None = None

    def is_due(self, frame: Frame) -> bool:
        """Whether a frame is to be looked at as a whole."""
        if self._before is not None:
            self._interval += 0.1 * (min(1.0, frame.time - self._before) - self._interval)
        self._before = frame.time
        self._since += 1
        is_first = self._last is None or frame.cut
        if is_first:
            due = True
        elif self._keeps_up:
            due = self._since >= self._affordable()
        elif self._every is not None:
            due = self._since >= self._every
        else:
            assert self._last is not None
            due = frame.time - self._last >= LOOKS - ROUNDING
        if due:
            self._last, self._since = frame.time, 0
            self._is_close = is_first or not self._is_close
        return due

    @property
    def is_close(self) -> bool:
        """Whether the look that is due is a close one: each other, where none were asked for."""
        return self._is_close or self._keeps_up or self._every is not None

    def spent(self, seconds: float, *, whole: bool) -> None:
        """Take note of how long a frame took."""
        before = self._costs[whole]
        self._costs[whole] = before + (0.2 if before else 1.0) * (seconds - before)

    def _affordable(self) -> int:
        """Return every how many frames there is time for a look at the whole."""
        less, more = self._costs
        room = _SHARE * self._interval
        if more <= room:
            return 1
        if less >= room:
            return _LONGEST
        return min(_LONGEST, math.ceil((more - less) / (room - less) - 1e-9))

    def state(self) -> list[Any]:
        """Return what is known, as JSON has it."""
        return [self._last, self._since, self._before, self._is_close]

    def restore(self, state: Sequence[Any]) -> None:
        """Go on from what `state` gave."""
        self._last, self._since, self._before, self._is_close = state
