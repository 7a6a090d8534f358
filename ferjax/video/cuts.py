"""Cuts in a film: two frames in a row that do not show the same.

The measure is Pearson's correlation of the gray levels of two frames, shrunk to at most 64 pixels
by averaging. It is 1 where nothing moves, and does not change with the light; two shots that have
nothing to do with each other have about 0. Below 0.5 it is a cut, unless less than a third of the
picture has changed by more than 4 of 255 gray levels, as where somebody moves before a plain wall.
A dissolve, in which every frame is like the one before, is no cut; nor is one between two shots
that look alike.

Dimension keys: H height, W width of a frame; h and w of a shrunk one.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from ferjax.image_files import UInt8Array

SIDE: Final = 64  # pixels of the long side
SAME: Final = 0.5  # the correlation below which it is a cut
LEVELS: Final = 4  # gray levels; what differs by no more has not changed
CHANGED: Final = 1 / 3  # of the picture, that has changed at a cut


def shrunk(gray: UInt8Array) -> UInt8Array:
    """Return a gray picture, uint8 (H, W), with a long side of at most 64 pixels: uint8 (h, w)."""
    import cv2

    height, width = gray.shape
    scale = SIDE / max(height, width)
    if scale >= 1:
        return np.array(gray)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), np.uint8)


def correlation(first: UInt8Array, second: UInt8Array) -> float:
    """Return the correlation of two pictures of one shape, in [-1, 1]; 0 where one is all one gray.

    >>> ramp = np.arange(12, dtype=np.uint8).reshape(3, 4)
    >>> round(correlation(ramp, 5 + 2 * ramp), 6), round(correlation(ramp, 20 - ramp), 6)
    (1.0, -1.0)
    """
    a, b = (_centred(picture) for picture in (first, second))
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else 0.0


def _centred(picture: UInt8Array) -> npt.NDArray[np.float64]:
    values = picture.astype(np.float64).ravel()
    return np.asarray(values - values.mean())


def is_cut(before: UInt8Array, after: UInt8Array) -> bool:
    """Whether a film is cut between two shrunk frames, uint8 (h, w)."""
    if before.shape != after.shape:
        return True
    changed = (np.abs(before.astype(np.int16) - after) > LEVELS).mean()
    return bool(changed >= CHANGED) and correlation(before, after) < SAME
