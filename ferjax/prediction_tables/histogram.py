"""Quantiles of any number of values in memory that does not grow with them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt


class Histogram:
    """How many values lie at each step of a scale that begins at 0.

    >>> histogram = Histogram(0.5, 10)
    >>> histogram.add(np.array([1.0, 2.0, 2.0, 7.1, np.nan]))
    >>> histogram.count, histogram.quantile(0.5), histogram.quantile(1.0)
    (4, 2.0, 7.0)
    """

    def __init__(self, step: float, highest: float) -> None:
        """Begin without values.

        Args:
            step: between values that are told apart; they are rounded to multiples of it.
            highest: that is told from higher values.
        """
        self.step = step
        self.counts = np.zeros(round(highest / step) + 1, np.int64)
        self.total = 0.0

    def add(self, values: npt.NDArray[np.floating[Any]]) -> None:
        """Count values, of any shape; those that are no finite numbers are left out."""
        values = values[np.isfinite(values)]
        self.total += float(values.sum())
        last = len(self.counts) - 1
        steps = np.clip(np.rint(values / self.step), 0, last).astype(np.int64)
        self.counts += np.bincount(steps, minlength=len(self.counts))

    @property
    def count(self) -> int:
        """How many values were added."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float | None:
        """Of the values as they were added; None without any."""
        return self.total / self.count if self.count else None

    def quantile(self, share: float) -> float | None:
        """Return the lowest value that is not exceeded by a share of all; None without any."""
        if not self.count:
            return None
        needed = max(1, math.ceil(share * self.count))
        step = int(np.searchsorted(np.cumsum(self.counts), needed))
        return round(step * self.step, 9)

    def parts(self, number: int) -> list[int]:
        """Return how many values lie in each of so many equal parts of the scale.

        A value between two parts is in the upper one, the highest of all in the last.

        >>> histogram = Histogram(0.1, 1.0)
        >>> histogram.add(np.array([0.0, 0.4, 0.5, 1.0]))
        >>> histogram.parts(2)
        [2, 2]
        """
        steps = len(self.counts) - 1
        part = np.minimum(np.arange(steps + 1) * number // steps, number - 1)
        return np.bincount(part, self.counts, minlength=number).astype(int).tolist()
