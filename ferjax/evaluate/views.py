"""Several views of each face, whose probabilities are averaged: test-time augmentation.

Dimension keys: N images, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from ferjax.errors import DataError, near_misses

# How many views each kind has.
VIEWS: Final = {"none": 1, "flip": 2, "ten-crop": 10}
# A crop's side, of the image's: 44 of 48 pixels, as in the VGG19 recipes for FER2013.
CROP: Final = 11 / 12

Images = npt.NDArray[np.uint8]


def check(kind: str) -> None:
    """Raise where `kind` is not one of `VIEWS`."""
    if kind not in VIEWS:
        raise DataError(
            f"expected test-time augmentation among {', '.join(VIEWS)}, "
            f"got {kind!r}{near_misses(kind, VIEWS)}"
        )


def views(images: Images, kind: str, *, crop: float = CROP) -> Iterator[Images]:
    """Yield each view of all images.

    Args:
        images: uint8 in [0, 255], (N, H, W).
        kind: "none", "flip" (with the mirror image), or "ten-crop" (the four corners and the
            centre, each with its mirror image; Krizhevsky et al., 2012).
        crop: a crop's side, of the image's, in (0, 1]; crops are enlarged to (H, W), bilinearly.

    Returns:
        uint8 (N, H, W), as often as `VIEWS` says.

    >>> len(list(views(np.zeros((2, 48, 48), np.uint8), "ten-crop")))
    10
    """
    check(kind)
    if kind == "none":
        yield images
        return
    for view in _crops(images, crop) if kind == "ten-crop" else [images]:
        yield view
        yield np.ascontiguousarray(view[:, :, ::-1])


def _crops(images: Images, crop: float) -> Iterator[Images]:
    import cv2

    height, width = images.shape[1:]
    h, w = max(1, round(height * crop)), max(1, round(width * crop))
    corners = [(0, 0), (0, width - w), (height - h, 0), (height - h, width - w)]
    for y, x in [*corners, ((height - h) // 2, (width - w) // 2)]:
        part = images[:, y : y + h, x : x + w]
        view = np.empty_like(images)
        for row, image in enumerate(part):
            view[row] = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        yield view
