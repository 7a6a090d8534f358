"""Faces in a picture: `detect` returns them, whatever detector finds them.

The detector of the package is YuNet, see `ferjax.faces.yunet`; another one may be passed in.

Dimension keys: H height, W width of a picture; N faces.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from ferjax.errors import DetectorError, FerjaxError, printable
from ferjax.faces import yunet
from ferjax.faces.own_look import Pose, follow, is_sideways, wrapped
from ferjax.image_files import UInt8Array
from ferjax.limits import SMALLEST
from ferjax.preprocessing import ChannelOrder, Source, load_picture, resized

Box: TypeAlias = tuple[float, float, float, float]
Detector: TypeAlias = Callable[[UInt8Array], Any]

MIN_SCORE: Final = 0.7
_MAX_FACES: Final = 10_000  # of a user's detector; more are no faces


@dataclass(frozen=True, kw_only=True, eq=False)
class Detection:
    """A face in a picture.

    Attributes:
        box: (x, y, width, height) of the rectangle around the face, in pixels of the picture as a
            viewer shows it; it may reach over the picture's edges. Its sides are the picture's, and
            they are as long as those of the upright face: the longer lies where the head lies.
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
        return width if is_sideways(self.roll) else height

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the box, (x, y)."""
        x, y, width, height = self.box
        return x + width / 2, y + height / 2

    @property
    def too_small(self) -> bool:
        """Whether the face is smaller than 24 pixels: what is read from it means little."""
        return self.size < SMALLEST


D = TypeVar("D", bound=Detection)


def detect(
    image: Source,
    *,
    detector: Detector | None = None,
    min_score: float = MIN_SCORE,
    min_size: float | None = None,
    order: str = "reading",
    channel_order: ChannelOrder = "rgb",
    max_faces: int | None = None,
) -> list[Detection]:
    """Return the faces in a picture; an empty list where it shows none.

    Several threads may detect at once.

    Args:
        image: one image, of any kind that `predict` takes: a path, the bytes of a file, an open
            file, a PIL image, or an array, (H, W) or (H, W, 1|3|4), uint8 or floats in [0, 1].
        detector: what turns a picture, uint8 (H, W, 3) in RGB order, into a sequence of
            `Detection`, or into rows (x, y, width, height), (x, y, width, height, score) or those
            five and x and y of five landmarks, in pixels; None or nothing in it: no face. None
            stands for YuNet.
        min_score: the score that a face needs, in [0, 1]. With YuNet, 0.8 leaves out more faces
            than 0.7 and has about as many false alarms; docs/guides/photographs.md has the figures.
        min_size: the height in pixels that a face needs. YuNet finds faces from this size on in
            pictures of any size then, for which it looks at larger ones in tiles. None: faces of
            any size; YuNet looks at pictures with a long side of more than 800 pixels twice, the
            second time at 1,600 pixels, where faces of 48 pixels are found and many smaller ones.
        order: "reading", line by line, each from left to right, or "size", the largest first.
        channel_order: order of the colours in arrays of three or four channels: "rgb" or "bgr".
        max_faces: the faces that a picture may have, of any size; None: any number.

    Raises:
        ImageError: the image cannot be read, or has more than `max_faces`.
        DetectorError: the detector fails, or what it returns are no faces.
        ValueError: an option is out of range.

    >>> detect(np.zeros((64, 64, 3), np.uint8), detector=lambda picture: [(8, 8, 20, 24)])[0].box
    (8.0, 8.0, 20.0, 24.0)
    """
    check_options(detector, min_score, min_size, order)
    picture = load_picture(image, channel_order=channel_order)
    faces: list[Detection]
    if detector is None:
        poses = yunet.find(picture, min_score=min_score, min_size=min_size, max_faces=max_faces)
        faces = [_of_pose(pose) for pose in poses]
    else:
        faces = [face for face in _detected(detector, picture) if face.score >= min_score]
    yunet.check_count(len(faces), max_faces)
    return in_order([f for f in faces if min_size is None or f.size >= min_size], order)


def spotted(
    picture: UInt8Array,
    *,
    min_score: float = MIN_SCORE,
    min_size: float | None = None,
    is_close: bool = True,
) -> list[Detection]:
    """Return where YuNet sees something in a picture, uint8 (H, W, 3) in RGB order: a part of
    `detect`, before each is looked at by itself.

    Args:
        picture, min_score, min_size: as for `detect`.
        is_close: look as closely as `detect` does; else in a quarter of the time, and only faces of
            twice the size are seen.
    """
    poses = yunet.candidates(picture, min_score=min_score, min_size=min_size, is_close=is_close)
    return [_of_pose(pose) for pose in poses]


def confirmed(
    picture: UInt8Array,
    spots: Sequence[Detection],
    *,
    min_score: float = MIN_SCORE,
    min_size: float | None = None,
) -> list[Detection]:
    """Return the faces among what `spotted` gave, each looked at by itself; see `detect`."""
    poses = yunet.confirmed(picture, [_pose(spot) for spot in spots], min_score, min_size)
    return [_of_pose(pose) for pose in poses]


def seen_last(
    picture: UInt8Array, *, min_score: float = MIN_SCORE, min_size: float | None = None
) -> list[Detection]:
    """Return what `detect` sees in a picture in which `spotted` and `confirmed` give nothing."""
    poses = yunet.seen_last(picture, min_score=min_score, min_size=min_size)
    return [_of_pose(pose) for pose in poses]


def followed(
    picture: UInt8Array, face: Detection, *, min_score: float = MIN_SCORE
) -> Detection | None:
    """Return where a face is that was, or is expected, at a place; None where none is seen there.

    By YuNet, in a part of the time of `detect`: what follows a face from frame to frame in a film.

    Args:
        picture: uint8 (H, W, 3) in RGB order.
        face: where it was; it may have moved by 0.4 of its height since.
        min_score: the score that it needs, in [0, 1].
    """
    seen = follow(picture, _pose(face))
    return None if seen is None or seen.score < min_score else _of_pose(seen)


def has_small_face(image: UInt8Array) -> bool:
    """Whether the largest face found in a picture fills less than half of its width or height.

    A quick look at uint8 (H, W) or (H, W, 3) in RGB order; where it fails, False.
    """
    height, width = image.shape[:2]
    scale = min(1.0, yunet.LONG_SIDE / max(height, width))
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    try:
        faces = detect(resized(image, rows, columns, "area"), order="size")
    except Exception:  # what it is for is a note, and never worth an error
        return False
    if not faces:
        return False
    _, _, w, h = faces[0].box
    return w < columns / 2 or h < rows / 2


def check_options(
    detector: object, min_score: float, min_size: float | None, order: str = "reading"
) -> None:
    """Raise what `detect` raises of options that are out of range."""
    if detector is not None and not callable(detector):
        raise DetectorError(f"expected a callable for `detector`, got {type(detector).__name__}")
    if not is_number(min_score) or not 0 <= min_score <= 1:
        raise ValueError(f"expected a number in [0, 1] for `min_score`, got {min_score!r}")
    if min_size is not None and not (is_number(min_size) and min_size > 0):
        raise ValueError(f"expected a positive number of pixels for `min_size`, got {min_size!r}")
    if order not in ("reading", "size"):
        raise ValueError(f"expected 'reading' or 'size' for `order`, got {order!r}")


def is_number(value: object) -> bool:
    """Whether a value is a finite number."""
    try:
        return math.isfinite(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return False


def faces_of(faces: Iterable[D]) -> list[D]:
    """Return faces as a list, or raise a FerjaxError where they are none."""
    if isinstance(faces, Detection) or not isinstance(faces, Iterable):
        raise FerjaxError(
            f"expected a list of faces, as `detect` returns them, got {type(faces).__name__}"
        )
    listed = list(faces)
    for number, face in enumerate(listed, 1):
        if not isinstance(face, Detection):
            raise FerjaxError(f"face {number}: expected a Detection, got {type(face).__name__}")
    return listed


def has_place(face: Detection) -> bool:
    """Whether a face's box is of four finite numbers, and its roll one."""
    try:
        return len(face.box) == 4 and all(map(is_number, (*face.box, face.roll)))
    except TypeError:
        return False


def in_order(faces: Sequence[D], order: str) -> list[D]:
    """Return faces in reading order, or by size, the largest first.

    A line begins with the highest face that is left. Faces whose vertical extents have more than
    half of the smaller's height in common with it belong to it, and it is read from left to right.
    """
    if order == "size":
        return sorted(faces, key=lambda face: -face.size)
    left = sorted(faces, key=lambda face: (face.box[1] + face.box[3] / 2, face.box[0]))
    ordered: list[D] = []
    while left:
        _, top, _, height = left[0].box
        line: list[D] = []
        rest: list[D] = []
        for face in left:
            _, y, _, h = face.box
            common = min(top + height, y + h) - max(top, y)
            (line if face is left[0] or common > min(height, h) / 2 else rest).append(face)
        ordered += sorted(line, key=lambda face: face.box[0] + face.box[2] / 2)
        left = rest
    return ordered


def _pose(face: Detection) -> Pose:
    (x, y), (_, _, width, height) = face.centre, face.box
    if is_sideways(face.roll):
        width, height = height, width
    return Pose(x, y, width, height, face.score, np.zeros((5, 2)), face.roll)


def _of_pose(pose: Pose) -> Detection:
    width, height = pose.width, pose.height
    if is_sideways(pose.roll):
        width, height = height, width
    return Detection(
        box=(pose.x - width / 2, pose.y - height / 2, width, height),
        score=min(1.0, max(0.0, pose.score)),
        landmarks=pose.landmarks.astype(np.float32),
        roll=pose.roll,
    )


# --- a user's detector ---------------------------------------------------------------------------

_EXPECTED: Final = (
    "expected a sequence of Detection, or rows (x, y, width, height), "
    "(x, y, width, height, score) or those five and 10 landmark coordinates, from the detector"
)


def _detected(detector: Detector, picture: UInt8Array) -> list[Detection]:
    """Return the faces that a user's detector finds, or raise a DetectorError of one line."""
    height, width = picture.shape[:2]
    try:
        result = detector(picture.copy())  # it may draw in it
    except Exception as error:  # whatever a user's code raises
        reason = f"{type(error).__name__}: {error}"
        raise DetectorError(printable(f"the detector failed: {reason}", 400)) from error
    if result is None:
        return []
    try:
        if isinstance(result, (str, bytes, dict)):
            raise TypeError
        items = list(itertools.islice(result, _MAX_FACES + 1))
    except TypeError:
        raise DetectorError(f"{_EXPECTED}, got {type(result).__name__}") from None
    except Exception as error:  # of a generator, or of an array on another device
        reason = f"{type(error).__name__}: {error}"
        raise DetectorError(printable(f"the detector failed: {reason}", 400)) from error
    if len(items) > _MAX_FACES:
        raise DetectorError(f"expected at most {_MAX_FACES:,} faces from the detector, got more")
    shape = getattr(result, "shape", None)
    if shape is not None and len(shape) != 2 and items:
        raise DetectorError(f"{_EXPECTED}, got an array of shape {tuple(shape)}")
    return [_checked(item, f"face {index}", width, height) for index, item in enumerate(items)]


def _checked(item: Any, name: str, width: int, height: int) -> Detection:
    """Return what a detector says of a face as a Detection of plain numbers."""
    if isinstance(item, Detection):
        landmarks, roll = item.landmarks, _numbers([item.roll], name, "roll")[0]
        row = _numbers([*_sequence(item.box, name), item.score], name, "box and score")
        if len(row) != 5:
            raise DetectorError(f"{name}: expected a box of 4 numbers, got {len(row) - 1}")
        points = None if landmarks is None else _numbers(landmarks, name, "landmarks")
    else:
        row, roll = _numbers(_sequence(item, name), name, "row"), None
        points = row[5:] if len(row) == 15 else None
        if len(row) not in (4, 5, 15):
            raise DetectorError(f"{name}: {_EXPECTED}, got {len(row)} numbers")
    x, y, w, h = (float(v) for v in row[:4])
    score = float(row[4]) if len(row) > 4 else 1.0
    if not 0 <= score <= 1:
        raise DetectorError(f"{name}: expected a score in [0, 1] from the detector, got {score:g}")
    if not (w > 0 and h > 0):
        raise DetectorError(
            f"{name}: expected a width and a height above 0 from the detector, got {w:g} x {h:g}"
        )
    box = f"({x:g}, {y:g}, {w:g}, {h:g})"
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise DetectorError(
            f"{name}: expected a box (x, y, width, height) in the picture of {width} x {height} "
            f"pixels from the detector, got {box}"
        )
    if w > 4 * width + 64 or h > 4 * height + 64:
        raise DetectorError(
            f"{name}: expected a box of about the picture's {width} x {height} pixels at most from "
            f"the detector, got {box}"
        )
    if points is not None:
        if points.size != 10:
            raise DetectorError(
                f"{name}: expected landmarks of shape (5, 2) from the detector, got {points.size} "
                "numbers"
            )
        points = points.reshape(5, 2)
    if roll is None:
        roll = 0.0 if points is None else _roll(points)
    marks = None if points is None else points.astype(np.float32)
    return Detection(box=(x, y, w, h), score=score, landmarks=marks, roll=wrapped(float(roll)))


def _sequence(item: Any, name: str) -> list[Any]:
    try:
        if isinstance(item, (str, bytes, dict)):
            raise TypeError
        return list(item)
    except TypeError:
        raise DetectorError(f"{name}: {_EXPECTED}, got {type(item).__name__}") from None


def _numbers(values: Any, name: str, what: str) -> npt.NDArray[np.float64]:
    """Return finite numbers, float64 (N,)."""
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "iuf":
            raise TypeError
        numbers = array.astype(np.float64).ravel()
    except Exception:  # of ragged lists, objects, arrays on other devices
        raise DetectorError(f"{name}: expected numbers for its {what} from the detector") from None
    if not np.isfinite(numbers).all():
        raise DetectorError(
            f"{name}: expected finite numbers for its {what} from the detector, got NaN or infinity"
        )
    return numbers


def _roll(landmarks: npt.NDArray[np.float64]) -> float:
    """Return the roll that five landmarks show, in degrees."""
    across = landmarks[1] - landmarks[0]  # from the person's right eye, on the left, to the left
    if float(np.hypot(*across)) == 0:
        return 0.0
    return float(np.degrees(np.arctan2(across[1], across[0])))
