"""How much each row of an image counts in each row of the same image at another size.

As TensorFlow computes it, in single precision: so do Keras 2, and Keras 3 on it. On JAX, Keras 3
differs for "bicubic" alone, whose weights TensorFlow takes from a table of 1,025.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_TABLE = 1024


def _cubic(b: float, c: float) -> Callable[[Array], Array]:
    """Return the piecewise cubic of Mitchell and Netravali, of radius 2."""

    def kernel(x: Array) -> Array:
        near = ((12 - 9 * b - 6 * c) * x + (-18 + 12 * b + 6 * c)) * x * x + (6 - 2 * b)
        far = (((-b - 6 * c) * x + (6 * b + 30 * c)) * x + (-12 * b - 48 * c)) * x + 8 * b + 24 * c
        return np.where(x < 1, near, np.where(x < 2, far, 0)) / 6

    return kernel


def _lanczos(radius: int) -> Callable[[Array], Array]:
    def kernel(x: Array) -> Array:
        return np.where(x < radius, np.sinc(x) * np.sinc(x / radius), 0)

    return kernel


# The weight at a distance from the middle, in pixels.
_KERNELS: dict[str, Callable[[Array], Array]] = {
    "bilinear": lambda x: np.maximum(1 - x, 0),
    "bicubic": _cubic(0, 0.5),
    "mitchellcubic": _cubic(1 / 3, 1 / 3),
    "lanczos3": _lanczos(3),
    "lanczos5": _lanczos(5),
    "gaussian": lambda x: np.where(x < 1.5, np.exp(-2 * x * x), 0),
}
INTERPOLATIONS = ("nearest", *_KERNELS, "area")


@lru_cache(maxsize=64)
def resampling(size: int, new: int, interpolation: str, antialias: bool = False) -> Array:
    """Return float32 weights (new, size): each row of the new image as a sum of the old rows.

    >>> resampling(2, 4, "bilinear").tolist()
    [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]

    Args:
        size: of the image.
        new: of the image that is made of it.
        interpolation: one of `INTERPOLATIONS`.
        antialias: where an image shrinks, take the mean of more of it.
    """
    step = np.float32(size) / np.float32(new)
    half = np.float32(0.5)
    middles = (np.arange(new, dtype=np.float32) + half) * step  # in the old image, rows 1 apart
    if interpolation == "nearest":
        weights = np.zeros((new, size))
        weights[np.arange(new), np.minimum(middles.astype(int), size - 1)] = 1
    elif interpolation == "area":
        starts = np.arange(new)[:, None] * np.float64(step)
        rows = np.arange(size)
        weights = np.minimum(starts + step, rows + 1) - np.maximum(starts, rows)
        weights = np.maximum(weights, 0) / step
    else:
        stretch = max(float(step), 1.0) if antialias else 1.0
        places = (middles - half).astype(np.float64)[:, None]
        distances = np.abs(places - np.arange(size)) / stretch
        if interpolation == "bicubic" and not antialias:
            floors = np.floor(places)
            offsets = np.round((places - floors) * _TABLE) / _TABLE
            distances = np.abs(floors + offsets - np.arange(size))
        weights = _KERNELS[interpolation](distances)
        sums = weights.sum(axis=1, keepdims=True)
        weights = np.divide(weights, sums, out=np.zeros_like(weights), where=np.abs(sums) > 1e-6)
    return weights.astype(np.float32)


def fitting_window(height: int, width: int, new: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the largest window of an image that has the shape of `new`: (y, x, height, width).

    >>> fitting_window(48, 60, (10, 10))
    (0, 6, 48, 48)
    """
    tall = max(min(height, int(width * new[0] / new[1])), 1)
    wide = max(min(width, int(height * new[1] / new[0])), 1)
    return (height - tall) // 2, (width - wide) // 2, tall, wide


def surrounding(height: int, width: int, new: tuple[int, int]) -> tuple[int, int]:
    """Return the rows and columns to add on each side of an image for the shape of `new`.

    >>> surrounding(48, 60, (10, 10))
    (6, 0)
    """
    tall = max(height, int(width * new[0] / new[1]))
    wide = max(width, int(height * new[1] / new[0]))
    rows, columns = (tall - height) // 2, (wide - width) // 2
    return rows, 0 if rows else columns
