"""Whole photographs as training takes them: one face of each, found and cropped by the rule of use.

`ferjax.faces` finds and crops, so that training sees what `EmotionClassifier.analyze` sees.

Dimension keys: H height, W width of a picture; h and w of a crop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ferjax.data.dataset import SPLITS, Faces
from ferjax.errors import DataError
from ferjax.faces import cropping, detection, yunet_network
from ferjax.faces.detection import Detection, Detector
from ferjax.image_files import UInt8Array
from ferjax.preprocessing import preprocess

# Which face of several is taken.
SEVERAL: Final[dict[str, str]] = {
    "clear": "the largest where it is at least 1.5 times as large as the next, else none",
    "largest": "the largest",
    "skip": "none",
}
CLEARLY: Final = 1.5  # times the next face's size, from which on the largest is meant
RESIZE: Final = "area"  # as for photographs in use

_CROPPED: Final = 64  # pixels: pictures of no more are faces by themselves
_FILLS: Final = 0.8  # of a picture's height: larger faces were cropped already


@dataclass(frozen=True, kw_only=True)
class FindFaces:
    """How a face is found in each picture.

    Attributes:
        several: which one is taken where there are several, a key of `SEVERAL`.
        min_score: the score that a face needs, in [0, 1].
        min_size: the height in pixels that a face needs; None: any.
        detector: as `ferjax.faces.detect` takes it; None: YuNet. It is called by one thread alone.

    Raises:
        DataError: a value is out of range.
    """

    several: str = "clear"
    min_score: float = detection.MIN_SCORE
    min_size: float | None = None
    detector: Detector | None = None

    def __post_init__(self) -> None:
        if self.several not in SEVERAL:
            raise DataError(
                f"expected {', '.join(SEVERAL)} for --several (several=), got {self.several!r}"
            )
        try:
            detection.check_options(self.detector, self.min_score, self.min_size)
        except ValueError as error:
            raise DataError(str(error)) from None

    def to_json(self) -> dict[str, Any]:
        """Return everything that determines the crops, the rule and the detector included."""
        name = getattr(self.detector, "__qualname__", type(self.detector).__qualname__)
        return {
            "several": self.several,
            "min_score": float(self.min_score),
            "min_size": None if self.min_size is None else float(self.min_size),
            "detector": "YuNet" if self.detector is None else name,
            "detector_sha256": yunet_network.MODEL_SHA256 if self.detector is None else None,
            "crop_side": cropping.SIDE,  # of the height of the face's box
            "crop_level_from": cropping.LEVEL_FROM,  # degrees of roll
            "crop_resize": RESIZE,
        }


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What was found in a picture.

    Attributes:
        faces: how many faces.
        face: the one that was taken; None where there is none, or none of several was taken.
        is_crop: whether the picture looks like a face that was cropped already.
    """

    faces: int
    face: Detection | None
    is_crop: bool

    def to_json(self) -> dict[str, Any]:
        """Return where the face is, in pixels of the picture as a viewer shows it."""
        if self.face is None:
            return {"faces": self.faces}
        return {
            "box": [round(float(v), 2) for v in self.face.box],
            "score": round(float(self.face.score), 4),
            "roll": round(float(self.face.roll), 2),
            "size": round(float(self.face.size), 2),
            "faces": self.faces,
        }


def cut_face(image: UInt8Array, target: UInt8Array, find: FindFaces) -> Picture:
    """Write the face of a picture into `target`, as `EmotionClassifier.analyze` shows it a network.

    Args:
        image: uint8 in [0, 255], (H, W, 3) in RGB order.
        target: uint8 (h, w), gray; it stays as it is where no face is taken.
        find: which face.
    """
    faces = detection.detect(
        image,
        detector=find.detector,
        min_score=find.min_score,
        min_size=find.min_size,
        order="size",
    )
    face = chosen([face.size for face in faces], find.several)
    is_crop = max(image.shape[:2]) <= _CROPPED
    if face is None:
        return Picture(faces=len(faces), face=None, is_crop=is_crop)
    taken = faces[face]
    gray = preprocess(
        cropping.crop(image, taken), size=target.shape, value_range=(0, 255), resize=RESIZE
    )
    target[...] = gray[0, :, :, 0].astype(np.uint8)  # whole numbers: it was resized in uint8
    is_crop |= taken.size >= _FILLS * image.shape[0]
    return Picture(faces=len(faces), face=taken, is_crop=is_crop)


def chosen(sizes: list[float], several: str) -> int | None:
    """Return which face is taken, of sizes from the largest on; None for none of them.

    >>> chosen([90.0, 60.0], "clear"), chosen([90.0, 70.0], "clear"), chosen([90.0], "skip")
    (0, None, 0)
    """
    unclear = len(sizes) > 1 and sizes[0] < CLEARLY * sizes[1]
    left_out = {"clear": unclear, "largest": False, "skip": len(sizes) > 1}[several]
    return 0 if sizes and not left_out else None


def notes_of(pictures: Iterable[Picture]) -> list[str]:
    """Return sentences on what was found in the pictures of a source.

    Which pictures are left out, the pictures themselves say.
    """
    pictures = list(pictures)
    taken = sum(picture.face is not None for picture in pictures)
    notes = [f"faces are cropped from {taken:,} of {len(pictures):,} pictures"]
    crops = sum(picture.is_crop for picture in pictures)
    if 2 * crops > len(pictures):
        notes.append(
            f"{crops:,} of {len(pictures):,} pictures look like faces that were cropped already: "
            "without --find-faces (find_faces=) they are taken as they are"
        )
    return notes


def described(pictures: Mapping[str, Picture], faces: Faces) -> dict[str, Any]:
    """Return what a manifest says of pictures, by name, and of the faces that stay of them."""
    rows = zip(faces.names, faces.splits)
    return {
        "faces": [
            {"name": name, "split": SPLITS[split], **pictures[name].to_json()}
            for name, split in rows
        ],
        "no_face": [name for name, picture in pictures.items() if not picture.faces],
        "several_faces": [
            {"name": name, "faces": picture.faces, "taken": picture.face is not None}
            for name, picture in pictures.items()
            if picture.faces > 1
        ],
    }
