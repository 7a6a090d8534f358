"""Find faces with YuNet, whose network `ferjax.faces.yunet_network` runs.

Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 2023. The
network sees faces from about 20 to 300 pixels, so a picture is looked at in one size or in several,
and then at each face by itself:

1. Looks. The first shrinks the picture to about 640 pixels. A second, of about 1,600, is taken of
   larger pictures; for faces smaller than that shows, and only where they are asked for, more looks
   follow, in tiles. What several looks see is merged. Where nothing is seen, the picture is looked
   at with a border and turned by quarters.
2. Each face is looked at once more by itself, see `ferjax.faces.own_look`. Most faces in
   photographs are upright and seen clearly, and take two views and six small ones.

Dimension keys: H height, W width of a picture; h and w of a patch; N faces.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ferjax.errors import ImageError
from ferjax.faces.own_look import CANDIDATE, Pose, is_sideways, refine
from ferjax.faces.yunet_network import run
from ferjax.image_files import UInt8Array, quiet_opencv
from ferjax.preprocessing import Float32Array, resized

# How closely pictures are looked at.
LONG_SIDE: Final = 640  # pixels of a picture at the first look
FIRST: Final = (LONG_SIDE, 640 * 480)  # the long side and the area, whichever shows more
SECOND: Final = (1600, 1600 * 1200)
NO_SHRINKING: Final = 1.25  # a picture this much larger than the first look is left as it is
ENLARGED: Final = 320  # the long side of smaller pictures
SEEN_FROM: Final = 48.0  # pixels from which on a look finds nearly every face
STEP: Final = 2.5  # between the scales of looks in tiles
TILE: Final = 1600
MAX_SCALE: Final = 3.0  # of looks in tiles; more shows nothing new
MIN_SIDE: Final = 8  # pixels; what is smaller or in a narrower picture is no face
LAST_DOUBT: Final = 0.1  # taken off the score of a face that only a last look shows
CANDIDATES: Final = 4  # times as many as faces are allowed


def find(
    image: UInt8Array,
    *,
    min_score: float,
    min_size: float | None = None,
    max_faces: int | None = None,
) -> list[Pose]:
    """Return the faces in a picture, uint8 (H, W, 3) in RGB order.

    Args:
        image: the picture.
        min_score: the score that a face needs, in [0, 1].
        min_size: the height in pixels that a face needs, and from which on faces are to be found
            however large the picture; None: what two looks find.
        max_faces: the faces that a picture may have. Candidates of more than four times as many are
            refused before each is looked at by itself, which takes most of the time.

    Raises:
        ImageError: there are more faces, or candidates, than are allowed.
    """
    seen = candidates(image, min_score=min_score, min_size=min_size)
    check_count(len(seen), max_faces, CANDIDATES)
    faces = confirmed(image, seen, min_score, min_size)
    if not faces:
        faces = seen_last(image, min_score=min_score, min_size=min_size, max_faces=max_faces)
    return faces


def seen_last(
    image: UInt8Array,
    *,
    min_score: float,
    min_size: float | None = None,
    max_faces: int | None = None,
) -> list[Pose]:
    """Return the faces in a picture in which `candidates` shows none; see `find`."""
    if min(image.shape[:2]) < MIN_SIDE:
        return []
    with quiet_opencv():
        last = merged(list(_last_looks(image, min(min_score, CANDIDATE))))
    check_count(len(last), max_faces, CANDIDATES)
    faces = confirmed(image, last, min_score + LAST_DOUBT, min_size)
    return [replace(face, score=face.score - LAST_DOUBT) for face in faces]


def check_count(count: int, max_faces: int | None, times: int = 1) -> None:
    """Raise an ImageError where a picture has more faces than are allowed."""
    if max_faces is not None and count > max_faces * times:
        raise ImageError(
            f"expected at most {max_faces} faces in a picture, got more; raise `min_size` or "
            "`min_score`, or cut the picture into parts"
        )


def confirmed(
    image: UInt8Array, seen: Sequence[Pose], min_score: float, min_size: float | None = None
) -> list[Pose]:
    """Look at each candidate by itself and return those that are faces, of at least a height."""
    with quiet_opencv():
        poses = [refine(image, pose) for pose in seen if _is_in(image, pose)]
    faces = merged([pose for pose in poses if pose.score >= min_score])
    return [face for face in faces if face.height >= (min_size or MIN_SIDE)]


def _is_in(image: UInt8Array, pose: Pose) -> bool:
    """Whether some of a face may be in the picture."""
    height, width = image.shape[:2]
    away = pose.height
    return -away < pose.x < width + away and -away < pose.y < height + away


# --- looks at the picture ------------------------------------------------------------------------


def candidates(
    image: UInt8Array,
    *,
    min_score: float,
    min_size: float | None = None,
    is_close: bool = True,
) -> list[Pose]:
    """Return what may be faces in a picture, before each is looked at by itself; see `find`.

    Args:
        image: the picture, uint8 (H, W, 3) in RGB order.
        min_score: the score that a face will need.
        min_size: the height in pixels that it will need.
        is_close: look as closely as `find` does; else without the closest look, or from twice as
            far, which takes a quarter of the time and less, and shows faces of twice the size.
    """
    if min(image.shape[:2]) < MIN_SIDE:
        return []
    shape = image.shape[:2]
    with quiet_opencv():
        poses = [
            pose
            for scale in (scales(shape, min_size) if is_close else far_scales(shape, min_size))
            for pose in _look(image, scale, min(min_score, CANDIDATE))
        ]
    return merged(poses)


def far_scales(shape: tuple[int, ...], min_size: float | None) -> list[float]:
    """Return by what (H, W) is multiplied in looks that are not close.

    >>> far_scales((480, 640), None), far_scales((48, 64), None), far_scales((3000, 4000), None)
    ([0.5], [5.0], [0.16])
    """
    *far, closest = scales(shape, min_size)
    if not far and closest * max(shape) >= LONG_SIDE:
        far = [closest / 2]
    return far or [closest]


def scales(shape: tuple[int, ...], min_size: float | None) -> list[float]:
    """Return by what (H, W) is multiplied in each look.

    >>> scales((480, 640), None), scales((48, 64), None), scales((3000, 4000), None)
    ([1.0], [5.0], [0.16, 0.4])
    >>> scales((3000, 4000), 240), scales((3000, 4000), 48), scales((480, 640), 24)
    ([0.16, 0.2], [0.16, 0.4, 1.0], [1.0, 2.0])
    """
    first = _scale_to(shape, FIRST)
    if max(shape) < ENLARGED:
        first = ENLARGED / max(shape)
    elif first >= 1 / NO_SHRINKING:
        first = 1.0
    closest = SEEN_FROM / min_size if min_size else _scale_to(shape, SECOND)
    closest = min(closest, MAX_SCALE if min_size else 1.0)
    steps = [first]
    while steps[-1] < closest / 1.05:
        steps.append(min(steps[-1] * STEP, closest))
    return steps


def _scale_to(shape: tuple[int, ...], limits: tuple[int, int]) -> float:
    long_side, area = limits
    return max(long_side / max(shape), math.sqrt(area / (shape[0] * shape[1])))


def _look(image: UInt8Array, scale: float, min_score: float) -> Iterator[Pose]:
    """Yield the faces that are seen in a picture whose sides are multiplied by `scale`."""
    height, width = image.shape[:2]
    # A face in the core of a tile, half an overlap away from what is cut off, is seen whole.
    margin = math.ceil(SEEN_FROM * STEP)
    for top, bottom, above, below in tiles(height, scale, margin):
        for left, right, before, after in tiles(width, scale, margin):
            tile = image[top:bottom, left:right]
            seen = _scaled(tile, scale)
            by = np.array([tile.shape[1] / seen.shape[1], tile.shape[0] / seen.shape[0]])
            for row in run([seen], min_score)[0]:
                pose = _pose(row, by, np.array([left, top]))
                if above <= pose.y < below and before <= pose.x < after:
                    yield pose


def _scaled(image: UInt8Array, scale: float) -> UInt8Array:
    height, width = image.shape[:2]
    return resized(image, max(1, round(height * scale)), max(1, round(width * scale)), "area")


def _last_looks(image: UInt8Array, min_score: float) -> Iterator[Pose]:
    """Yield what is seen in a small picture with a border, and turned by quarters.

    A face that fills the picture shows with a border about it, in half the size; a head that lies
    or is upside down better upright. What is seen is placed in the picture, but not turned.
    """
    height, width = image.shape[:2]
    whole = _scaled(image, ENLARGED / max(height, width))
    for quarters in range(4):
        small = whole if quarters else _scaled(whole, 0.5)
        rows, columns = small.shape[:2]
        by = np.array([width / columns, height / rows])
        border = 0 if quarters else ENLARGED // 8
        edges = ((border, border), (border, border), (0, 0))
        seen = np.pad(np.rot90(small, quarters), edges, "edge")
        for row in run([seen], min_score)[0]:
            pose = _pose(row, np.ones(2), np.zeros(2))
            # About the middle, in which all four pictures agree.
            x, y = pose.x - seen.shape[1] / 2, pose.y - seen.shape[0] / 2
            for _ in range(quarters):
                x, y = -y, x
            yield replace(
                pose,
                x=float((x + columns / 2) * by[0]),
                y=float((y + rows / 2) * by[1]),
                width=float(pose.width * by[0]),
                height=float(pose.height * by[1]),
            )


def tiles(length: int, scale: float, margin: int) -> list[tuple[int, int, float, float]]:
    """Return the tiles along a side as (start, end, start of its core, end of its core).

    Cores meet; at the ends of the side they reach as far as a box's centre may lie.
    """
    tile, margin = math.ceil(TILE / scale), math.ceil(margin / scale)
    if length <= tile:
        return [(0, length, -math.inf, math.inf)]
    count = math.ceil((length - 2 * margin) / (tile - 2 * margin))
    starts = [round(i * (length - tile) / (count - 1)) for i in range(count)]
    borders = [(a + tile + b) / 2 for a, b in itertools.pairwise(starts)]
    edges = [-math.inf, *borders, math.inf]
    return [(s, s + tile, edges[i], edges[i + 1]) for i, s in enumerate(starts)]


def _pose(row: Float32Array, by: npt.NDArray[Any], origin: npt.NDArray[Any]) -> Pose:
    x, y, width, height = (float(v) for v in row[:4])
    centre = np.array([x + width / 2, y + height / 2]) * by + origin
    return Pose(
        x=float(centre[0]),
        y=float(centre[1]),
        width=max(1e-3, float(width * by[0])),
        height=max(1e-3, float(height * by[1])),
        score=float(row[14]),
        landmarks=row[4:14].reshape(5, 2).astype(np.float64) * by + origin,
    )


def merged(poses: Sequence[Pose]) -> list[Pose]:
    """Return faces, the surest first, without those that share most of their area with a surer one.

    Two boxes are of one face where their intersection is more than 0.4 of their union, or more than
    0.7 of the smaller, as of a part of a face that was seen in the edge of a tile.
    """
    if not poses:
        return []
    ordered = sorted(poses, key=lambda pose: -pose.score)
    corners = np.array([_corners(pose) for pose in ordered])  # (N, 4)
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    alive = np.ones(len(ordered), bool)
    kept = []
    for i, pose in enumerate(ordered):
        if not alive[i]:
            continue
        kept.append(pose)
        low = np.maximum(corners[:, :2], corners[i, :2])
        high = np.minimum(corners[:, 2:], corners[i, 2:])
        common = np.clip(high - low, 0, None).prod(axis=1)
        same = common > 0.4 * (areas + areas[i] - common)
        same |= common > 0.7 * np.minimum(areas, areas[i])
        alive &= ~same
    return kept


def _corners(pose: Pose) -> tuple[float, float, float, float]:
    half_width, half_height = pose.width / 2, pose.height / 2
    if is_sideways(pose.roll):
        half_width, half_height = half_height, half_width
    return (pose.x - half_width, pose.y - half_height, pose.x + half_width, pose.y + half_height)
