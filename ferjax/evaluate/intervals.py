"""Confidence intervals of 95 %, and the figures of confusion matrices that they are of.

Dimension keys: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

_DRAWS: Final = 2000
_MOST_DRAWN: Final = 1_000_000

Interval = tuple[float, float]
Matrices = npt.NDArray[np.integer] | npt.NDArray[np.floating]
"""Confusion matrices, (..., K, K): images by true and by predicted class."""
Figure = Callable[[Matrices], npt.NDArray[np.float64]]


def accuracy(matrices: Matrices) -> npt.NDArray[np.float64]:
    """Return the fraction that is classified correctly, (...,)."""
    return np.asarray(_hits(matrices).sum(-1) / matrices.sum((-2, -1)))


def balanced_accuracy(matrices: Matrices) -> npt.NDArray[np.float64]:
    """Return the mean recall of the classes that have images, (...,)."""
    return _mean_ratio(_hits(matrices), matrices.sum(-1))


def macro_f1(matrices: Matrices) -> npt.NDArray[np.float64]:
    """Return the mean F1 of the classes that occur among labels or predictions, (...,)."""
    return _mean_ratio(2 * _hits(matrices), matrices.sum(-2) + matrices.sum(-1))


def _hits(matrices: Matrices) -> Matrices:
    return matrices.diagonal(axis1=-2, axis2=-1)


def _mean_ratio(above: Matrices, below: Matrices) -> npt.NDArray[np.float64]:
    """Return the mean of above / below over the classes where it is defined."""
    ratio = np.divide(above, below, out=np.zeros(below.shape), where=below > 0)
    return np.asarray(ratio.sum(-1) / np.maximum((below > 0).sum(-1), 1))


def wilson(correct: int, images: int) -> Interval:
    """Return the 95 % confidence interval of a fraction (Wilson, JASA 1927).

    >>> [round(end, 3) for end in wilson(4, 6)]
    [0.3, 0.903]
    """
    from scipy.stats import binomtest

    interval = binomtest(correct, images).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap(
    confusion: npt.NDArray[np.integer],
    figures: Sequence[Figure],
    rng: np.random.Generator,
    *,
    draws: int = _DRAWS,
) -> list[Interval]:
    """Return the interval of each figure of a confusion matrix, (K, K), by bootstrap over images.

    Drawing N images with replacement is one multinomial draw over the cells of the matrix.
    """
    n = int(confusion.sum())
    drawn = rng.multinomial(n, confusion.ravel() / n, size=draws)
    matrices = drawn.reshape(-1, *confusion.shape).astype(np.float64)
    return [_middle(figure(matrices)) for figure in figures]


def bootstrap_ratio(
    values: npt.NDArray[np.floating], weights: npt.NDArray[np.floating], *, seed: int
) -> Interval:
    """Return the 95 % interval of sum(values) / sum(weights), by bootstrap over images.

    Args:
        values, weights: (N,); with weights of 1 the ratio is the mean. N at least 1.
        seed: of the draws.
    """
    rng, n = np.random.default_rng(seed), len(values)
    both = np.stack([values, weights], axis=1).astype(np.float64)
    at_once = max(1, _MOST_DRAWN // n)  # all of them would fill the memory
    sums = []
    for first in range(0, _DRAWS, at_once):
        draws = min(at_once, _DRAWS - first)
        cells = rng.integers(n, size=(draws, n)) + n * np.arange(draws)[:, None]
        counts = np.bincount(cells.ravel(), minlength=draws * n).reshape(draws, n)
        sums.append(counts @ both)
    drawn = np.concatenate(sums)
    above, below = drawn[drawn[:, 1] > 0].T
    return _middle(above / below)


def _middle(values: npt.NDArray[np.float64]) -> Interval:
    low, high = np.percentile(values, (2.5, 97.5)).tolist()
    return low, high
