"""Cuts and dissolves: where a film goes from one shot to another.

Two frames show different shots where the gray levels of both, shrunk to at most 64 pixels by
averaging, have a correlation (Pearson's) below 0.5 and at least 65 % of the picture, without black
bars at its edges, differ by more than 8 of 255 levels. The first does not change with the light,
the second leaves out heads that move, however far, before what stays. Two frames in a row that
show different shots are a cut.

A dissolve, or a fade through black, is told by how it is made (Hampapur, Jain and Weymouth,
"Digital video segmentation", ACM Multimedia 1994): all frames between two different shots are
weighted sums of both, and the weight of the first falls while that of the second rises. What moves
is no such sum. Frames are compared over 0.2 to 2 seconds; of a longer dissolve the frames of 2
seconds are often different enough.

Dimension keys: H height, W width of a frame; h and w of a shrunk one; F frames.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
import numpy.typing as npt

from ferjax.image_files import UInt8Array

SIDE: Final = 64  # pixels of the long side
SAME: Final = 0.5  # the correlation below which two frames are of different shots
LEVELS: Final = 8  # gray levels; what differs by no more has not changed
CHANGED: Final = 0.65  # of the picture, that has changed between two shots
_BLACK: Final = 20  # the gray level up to which a bar is black
_WINDOWS: Final = (0.2, 0.5, 1.0, 2.0)  # seconds in which dissolves are looked for
_INTERVAL: Final = 0.1  # seconds between two such looks
_MOST: Final = 17  # frames of a window that are taken for sums
_REST: Final = 0.1  # of the variance of a shot, that a sum may leave unexplained
_SLACK: Final = 0.1  # by which weights may run the wrong way, as where something moves


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
    """Whether two shrunk frames, uint8 (h, w), show different shots."""
    if before.shape != after.shape:
        return True
    bars = _bars(np.maximum(before, after))
    before, after = before[bars], after[bars]
    changed = (np.abs(before.astype(np.int16) - after) > LEVELS).mean()
    return bool(changed >= CHANGED) and correlation(before, after) < SAME


def _bars(lightest: UInt8Array) -> tuple[slice, slice]:
    """Return what is within black bars, which are as wide on either side."""
    is_shown = lightest > _BLACK
    within = []
    for axis in (1, 0):
        shown = np.flatnonzero(is_shown.any(axis=axis))
        if not len(shown):
            return slice(None), slice(None)
        size = is_shown.shape[1 - axis]
        bar = int(min(shown[0], size - 1 - shown[-1]))
        within.append(slice(bar, size - bar))
    return within[0], within[1]


class Dissolves:
    """Finds dissolves and fades in the frames of a film, one after the other."""

    def __init__(self) -> None:
        self._frames: deque[tuple[float, UInt8Array]] = deque()  # of the longest window
        self._looked = 0.0

    def clear(self) -> None:
        """Forget what was before a cut."""
        self._frames.clear()

    def middle(self, time: float, picture: UInt8Array) -> float | None:
        """Take the next frame, and return the middle of a dissolve that it belongs to the end of.

        Args:
            time: seconds, later than that of the frame before.
            picture: the frame, shrunk, uint8 (h, w).

        Returns:
            The time from which on less than half of the first shot is seen, in seconds; or None.
        """
        frames = self._frames
        if frames and frames[0][1].shape != picture.shape:
            frames.clear()
        if not frames:
            self._looked = time
        frames.append((time, picture))
        while time - frames[0][0] > _WINDOWS[-1] + _INTERVAL:
            frames.popleft()
        if time - self._looked < _INTERVAL:
            return None
        self._looked = time
        for seconds in _WINDOWS:
            if time - frames[0][0] < seconds - _INTERVAL:
                break
            window = [frame for frame in frames if frame[0] >= time - seconds - 1e-6]
            if len(window) < 3 or not is_cut(window[0][1], picture):
                continue
            step = max(1, -(-len(window) // _MOST))
            chosen = [*window[:-1:step], window[-1]]
            middle = _middle(np.stack([picture for _, picture in chosen]))
            if middle is not None:
                frames.clear()
                frames.append((time, picture))
                return chosen[middle][0]
        return None


def _middle(pictures: UInt8Array) -> int | None:
    """Return which picture is the first with less than half of the shot that is dissolved.

    Args:
        pictures: frames of a window, uint8 (F, h, w); the first and the last are of two shots.

    Returns:
        Its index, from 1 on; None: the others are no weighted sums of the first and the last.
    """
    levels = pictures.reshape(len(pictures), -1).astype(np.float64)
    levels -= levels.mean(axis=1, keepdims=True)
    ends, between = levels[[0, -1]], levels[1:-1]
    products = ends @ ends.T  # (2, 2)
    variance = float(products.diagonal().max())
    if variance <= 0:
        return None
    # One shot may be black, all of one gray, and then has no weight.
    products += np.eye(2) * 1e-9 * variance
    first, second = weights = np.linalg.solve(products, ends @ between.T)  # (2, F - 2)
    rest = ((between - weights.T @ ends) ** 2).sum(axis=1) / variance
    fits = (
        rest.max() < _REST
        and np.diff(first).max(initial=0) < _SLACK
        and np.diff(second).min(initial=0) > -_SLACK
        and weights.min() > -1.5 * _SLACK
        and weights.max() < 1 + 1.5 * _SLACK
        and (first + second).max() < 1 + _SLACK  # what moves slowly has more
    )
    is_mixed = ((weights > 1.5 * _SLACK) & (weights < 1 - 1.5 * _SLACK)).any()
    if not (fits and is_mixed):
        return None
    less = np.flatnonzero(first < 0.5)
    return 1 + int(less[0]) if len(less) else len(pictures) - 1
