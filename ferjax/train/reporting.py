"""What a run says while it goes: to a terminal a bar, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, TextIO

from ferjax.train.logs import Row

_EVERY = 10.0  # seconds between lines where there is no terminal


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where a run stands."""

    epoch: int  # the one under way, from 1
    epochs: int  # at most
    step: int  # done
    steps: int  # at most
    loss: float  # mean over the epoch so far
    accuracy: float  # the same
    images_per_second: float  # lately
    seconds_left: float | None  # at most, with validation; None where it is not known yet


class Clock:
    """How fast a run is, how long it has taken, and how long it still takes."""

    def __init__(self, steps: int, seconds: float) -> None:
        """Start, after so many seconds of training, in a run of so many steps."""
        self._steps = steps
        self._marks: deque[tuple[float, int]] = deque(maxlen=200)
        self._compiled: tuple[float, int] | None = None  # after the first call, which compiles
        self._began = time.monotonic() - seconds

    @property
    def seconds(self) -> float:
        """Seconds of training until now, those before the clock started too."""
        return time.monotonic() - self._began

    def at(self, step: int) -> tuple[float, float | None]:
        """Return steps a second lately, and the seconds left, None where it is too early to say."""
        now = time.monotonic()
        self._compiled = self._compiled or (now, step)
        self._marks.append((now, step))
        (then, before), (began, first) = self._marks[0], self._compiled
        rate = (step - before) / (now - then) if step > before and now > then else 0.0
        if step - first < 5 or now <= began:
            return rate, None
        # Over all that was done in this process, so that validation counts.
        return rate, (self._steps - step) * (now - began) / (step - first)


class Reporter:
    """Told what happens; this one keeps silent. Subclass it to show a run elsewhere."""

    def note(self, text: str) -> None:
        """Take a line that is worth reading once."""

    def step(self, status: Status) -> None:
        """Take where the run stands, several times a second."""

    def epoch(self, row: Row, *, is_best: bool) -> None:
        """Take the row of the log for a complete epoch."""

    def close(self) -> None:
        """Clear what is drawn."""


class ConsoleReporter(Reporter):
    """Lines and a bar on stderr."""

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = sys.stderr if file is None else file
        self._next = time.monotonic() + 2.0
        self._bar: Any = None
        self._task: Any = None

    def note(self, text: str) -> None:
        self._print(text)

    def step(self, status: Status) -> None:
        if self._file.isatty():
            self._draw(status)
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + _EVERY
            self._print(f"step {status.step:,} of {status.steps:,}: {_text(status)}")

    def epoch(self, row: Row, *, is_best: bool) -> None:
        self._next = max(self._next, time.monotonic() + 2.0)
        self._print(
            f"epoch {row['epoch']}: loss {row['loss']:.4f}, accuracy {row['accuracy']:.2%}; "
            f"validation loss {row['val_loss']:.4f}, accuracy {row['val_accuracy']:.2%}"
            f"{' (best)' if is_best else ''}; rate {row['learning_rate']:.2e}, "
            f"{row['images_per_second']:,.0f} images/s, {row['seconds']:.0f} s"
        )

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _print(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self._file, flush=True)

    def _draw(self, status: Status) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("{task.percentage:>3.0f}%"),
                BarColumn(bar_width=20),
                TextColumn("{task.description}"),
                console=Console(file=self._file),
                transient=True,
                refresh_per_second=4,
            )
            self._task = self._bar.add_task("", total=status.steps)
            self._bar.start()
        self._bar.update(self._task, completed=status.step, description=_text(status))


def _text(status: Status) -> str:
    left = "" if status.seconds_left is None else f", {duration(status.seconds_left)} left"
    return (
        f"epoch {status.epoch} of {status.epochs}, {status.images_per_second:,.0f} images/s, "
        f"loss {status.loss:.4f}, accuracy {status.accuracy:.2%}{left}"
    )


def duration(seconds: float) -> str:
    """Return a time in the two units that matter.

    >>> duration(8), duration(187), duration(7500)
    ('8 s', '3 min 7 s', '2 h 5 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
