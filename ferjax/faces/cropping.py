"""Crop a face as FER2013's faces are cropped: one rule for training and use.

Dimension keys: H height, W width of a picture; h and w of a crop.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ferjax.faces.detection import Detection
from ferjax.image_files import UInt8Array

SIDE: Final = 0.9  # of the height of YuNet's box
LEVEL_FROM: Final = 15.0  # degrees of roll from which a crop is turned upright


def crop(image: UInt8Array, face: Detection, *, side: float = SIDE) -> UInt8Array:
    """Return the square about a face, uint8 (h, h) or (h, h, 3), in the picture's own resolution."""
    import cv2

    x, y, width, height = face.box
    length = max(1, round(side * face.size))
    left, top = round(x + (width - length) / 2), round(y + (height - length) / 2)
    rows, columns = image.shape[:2]
    edges = (
        max(0, -top),
        max(0, top + length - rows),
        max(0, -left),
        max(0, left + length - columns),
    )
    padded = cv2.copyMakeBorder(image, *edges, cv2.BORDER_REPLICATE)
    top, left = max(0, top), max(0, left)
    return np.ascontiguousarray(padded[top : top + length, left : left + length])
