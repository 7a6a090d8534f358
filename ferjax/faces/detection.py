"""Find faces in a picture.

The detector is YuNet (Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", Machine
Intelligence Research 2023), which OpenCV runs; its model travels with the package.

Dimension keys: H height, W width of a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from ferjax.image_files import UInt8Array

Box: TypeAlias = tuple[float, float, float, float]
Detector: TypeAlias = Callable[[UInt8Array], Any]

MIN_SCORE: Final = 0.7
LONG_SIDE: Final = 640  # pixels of a picture at the first look
MODEL: Final = Path(__file__).parent / "face_detection_yunet_2023mar.onnx"
SMALLEST: Final = 24  # pixels; smaller faces hardly show an expression


@dataclass(frozen=True, kw_only=True, eq=False)
class Detection:
    """A face in a picture.

    Attributes:
        box: (x, y, width, height) of the upright rectangle around the face, in pixels of the
            picture as a viewer shows it; it may reach over the picture's edges.
        score: how sure the detector is, in [0, 1].
        landmarks: float32 (5, 2), x and y in pixels of the person's right eye, left eye, tip of the
            nose, right and left corner of the mouth; None where the detector gives none.
        roll: degrees by which the head is turned clockwise in the picture, in (-180, 180].
    """

    box: Box
    score: float = 1.0
    landmarks: npt.NDArray[np.float32] | None = None
    roll: float = 0.0

    @property
    def size(self) -> float:
        """The face's height in pixels, along the head: the box's width where the head lies."""
        _, _, width, height = self.box
        return width if 45 < abs(self.roll) < 135 else height

    @property
    def too_small(self) -> bool:
        """Whether the face is smaller than 24 pixels: what is read from it means little."""
        return self.size < SMALLEST


class YuNet:
    """OpenCV's detector, of the model in the package; not for several threads at once."""

    def __init__(self) -> None:
        import cv2

        model = np.frombuffer(MODEL.read_bytes(), np.uint8)
        self._net = cv2.FaceDetectorYN.create("onnx", model, np.zeros(0, np.uint8), (320, 320))

    def __call__(self, image: UInt8Array) -> list[Detection]:
        """Return the faces in a picture, uint8 (H, W, 3) in RGB order, its long side at most 640."""
        import cv2

        height, width = image.shape[:2]
        scale = min(1.0, LONG_SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        shrunk = cv2.resize(image[..., ::-1], size, interpolation=cv2.INTER_AREA)
        self._net.setInputSize(size)
        _, rows = self._net.detect(np.ascontiguousarray(shrunk))
        return [] if rows is None else [_detection(row, scale) for row in rows]


def _detection(row: npt.NDArray[np.float32], scale: float) -> Detection:
    x, y, width, height, *_ = (float(v) / scale for v in row[:4])
    landmarks = row[4:14].reshape(5, 2) / scale
    across = landmarks[1] - landmarks[0]  # from the person's right eye, on the left, to the left
    roll = float(np.degrees(np.arctan2(across[1], across[0])))
    return Detection(
        box=(x, y, width, height), score=float(row[14]), landmarks=landmarks, roll=roll
    )


def detect(
    image: UInt8Array,
    *,
    detector: Detector | None = None,
    min_score: float = MIN_SCORE,
    min_size: float | None = None,
    order: str = "reading",
) -> list[Detection]:
    """Return the faces in a picture.

    Args:
        image: uint8 in [0, 255], (H, W), (H, W, 1) or (H, W, 3) in RGB order.
        detector: what turns a picture, uint8 (H, W, 3) in RGB order, into detections; None: YuNet.
        min_score: the score that a face needs, in [0, 1].
        min_size: the size, in pixels, that a face needs.
        order: "reading", line by line from the left, or "size", the largest first.
    """
    if image.ndim == 2 or image.shape[-1] == 1:
        image = np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=-1)
    faces = [face for face in (detector or YuNet())(image) if face.score >= min_score]
    return in_order([f for f in faces if min_size is None or f.size >= min_size], order)


def in_order(faces: Sequence[Any], order: str) -> list[Any]:
    """Return faces in reading order, line by line from the left, or by size, the largest first."""
    if order == "size":
        return sorted(faces, key=lambda face: -face.size)
    return sorted(faces, key=lambda face: face.box[0])
