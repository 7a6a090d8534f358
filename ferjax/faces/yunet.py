"""Find faces with YuNet, whose network `ferjax.faces.yunet_network` runs.

Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 2023. The
network sees faces from about 20 to 300 pixels, so a picture is looked at in one size or in several,
and then at each face by itself:

1. Looks. The first shrinks the picture to about 640 pixels. A second, of about 1,600, is taken of
   larger pictures; for faces smaller than that shows, and only where they are asked for, more looks
   follow, in tiles. What several looks see is merged. Where nothing is seen, the picture is looked
   at with a border and turned by quarters.
2. Each face is looked at once more in a patch of its own, in one size and upright. YuNet sees heads
   at any angle, but its boxes and landmarks are those of upright ones, and they move by several
   percent when the picture moves by a few pixels. So a head that does not look upright is turned
   until it does, and the box is the mean of a few views. Most faces in photographs are upright and
   seen clearly, and take four views.

Dimension keys: H height, W width of a picture; h and w of a patch; N faces.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from ferjax.faces.yunet_network import run
from ferjax.image_files import UInt8Array, quiet_opencv
from ferjax.preprocessing import Float32Array, resized

View: TypeAlias = tuple[bool, float, float]

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
CANDIDATE: Final = 0.3  # a score that is worth a look at the face by itself
OWN_LOOK: Final = 0.75  # the weight of that look in the score
LAST_DOUBT: Final = 0.1  # taken off the score of a face that only a last look shows
DOUBT: Final = 0.1  # taken off a face's score that by itself looks like none

# How a face is looked at by itself.
PATCH: Final = 128  # its side
FACE: Final = 80.0  # height of the face in its patch
REACH: Final = 1.9  # heights of the face, half the diagonal of the widest view and a little more
UPRIGHT_SCORE: Final = 0.9  # with this score a face is upright
TURN_GAIN: Final = 0.03  # by which a face must look better turned than as it is
ROLL_GAIN: Final = 2.0  # the landmarks show about half of a small roll
# Views: mirrored or not, moved by so many pixels, enlarged by so much.
AS_IT_IS: Final = (False, 0.0, 1.0)
VIEWS: Final = (AS_IT_IS, (True, 4.0, 0.75))
LAST_VIEWS: Final = ((True, 0.0, 0.7), (False, 4.0, 0.7))
MIRRORED: Final = [1, 0, 2, 4, 3]  # landmarks of the mirror image
TURNS: Final = (45.0, -45.0, 90.0, -90.0, 135.0, -135.0, 180.0)  # degrees
# Those of faces that are sure and upright; their means vary as little as those of the rounds.
# Of heads turned by 45 degrees 1 in 100 passes for one.
SURE_VIEWS: Final = ((True, 4.0, 1.1), (False, 4.0, 1.2))
MORE_SURE_VIEWS: Final = ((False, 0.0, 0.7), (True, 0.0, 0.7))
SURE_SIZE: Final = 24.0  # pixels of its height; smaller faces look different in every view
SURE_CANDIDATE: Final = 0.8  # the score of a sure face in the look at the picture
SURE_AWAY: Final = 0.1  # of the face's height, by which a sure face may lie elsewhere
SURE_ROLL: Final = 7.0  # degrees that its landmarks may show
ROUNDS: Final = 3
STEADY: Final = 0.03  # of the face's height, by which its box may still move
STEADY_ROLL: Final = 3.0  # degrees
BLUR: Final = 0.3  # pixels by which faces are seen too small, measured on faces of 16 to 32 pixels


@dataclass(frozen=True)
class Pose:
    """Where a face is: its centre, its width and height along the head, and its roll.

    `landmarks` are float64 (5, 2) in the picture. `roll` is in degrees clockwise, in (-180, 180].
    """

    x: float
    y: float
    width: float
    height: float
    score: float
    landmarks: npt.NDArray[np.float64]
    roll: float = 0.0


def find(image: UInt8Array, *, min_score: float, min_size: float | None = None) -> list[Pose]:
    """Return the faces in a picture, uint8 (H, W, 3) in RGB order.

    Args:
        image: the picture.
        min_score: the score that a face needs, in [0, 1].
        min_size: the height in pixels that a face needs, and from which on faces are to be found
            however large the picture; None: what two looks find.
    """
    if min(image.shape[:2]) < MIN_SIDE:
        return []
    low = min(min_score, CANDIDATE)
    with quiet_opencv():
        faces = confirmed(image, _candidates(image, low, min_size), min_score)
        if not faces:
            last = merged(list(_last_looks(image, low)))
            faces = confirmed(image, last, min_score + LAST_DOUBT)
            faces = [replace(face, score=face.score - LAST_DOUBT) for face in faces]
    return [face for face in faces if face.height >= (min_size or MIN_SIDE)]


def confirmed(image: UInt8Array, candidates: Sequence[Pose], min_score: float) -> list[Pose]:
    """Look at each candidate by itself and return those that are faces."""
    poses = [refine(image, pose) for pose in candidates if _is_in(image, pose)]
    return merged([pose for pose in poses if pose.score >= min_score])


def _is_in(image: UInt8Array, pose: Pose) -> bool:
    """Whether some of a face may be in the picture."""
    height, width = image.shape[:2]
    away = pose.height
    return -away < pose.x < width + away and -away < pose.y < height + away


# --- looks at the picture ------------------------------------------------------------------------


def _candidates(image: UInt8Array, min_score: float, min_size: float | None) -> list[Pose]:
    poses = [
        pose
        for scale in scales(image.shape[:2], min_size)
        for pose in _look(image, scale, min_score)
    ]
    return merged(poses)


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


# --- a look at each face -------------------------------------------------------------------------


@dataclass(frozen=True)
class _Near:
    """The neighbourhood of a face, uint8 (h, w, 3), shrunk to about the scale of its patch."""

    image: UInt8Array
    left: float
    top: float
    scale: float


@dataclass(frozen=True)
class _Sight:
    """A face in its patch: centre, width, height, landmarks (5, 2) about the patch's centre."""

    score: float
    box: npt.NDArray[np.float64]  # (4,)
    landmarks: npt.NDArray[np.float64]  # (5, 2)

    @property
    def roll(self) -> float:
        """Degrees by which the head is turned from where its patch has it upright."""
        right_eye, left_eye, _, *mouth = self.landmarks
        across = left_eye - right_eye
        down = (mouth[0] + mouth[1] - right_eye - left_eye) / 2
        eyes = math.degrees(math.atan2(across[1], across[0]))
        axis = math.degrees(math.atan2(-down[0], down[1]))
        return ROLL_GAIN * (eyes + axis) / 2

    def is_within(self, away: float, roll: float) -> bool:
        """Whether it is as its patch has it, but for a part of its height and a few degrees."""
        x, y, _, height = self.box
        farthest = max(abs(x), abs(y), abs(height - FACE))
        return bool(farthest < away * FACE and abs(self.roll) < roll)

    @property
    def is_steady(self) -> bool:
        """Whether a patch about this box would show much the same."""
        return self.is_within(STEADY, STEADY_ROLL)

    @property
    def is_sure(self) -> bool:
        """Whether it needs no search."""
        return self.score >= UPRIGHT_SCORE and self.is_within(SURE_AWAY, SURE_ROLL)


def is_sideways(roll: float) -> bool:
    """Whether the head lies, so that its height runs along the picture's width."""
    return 45 < abs(roll) < 135


def wrapped(degrees: float) -> float:
    """Return an angle in (-180, 180]."""
    return 180.0 - (180.0 - degrees) % 360.0


def refine(image: UInt8Array, candidate: Pose) -> Pose:
    """Look at a face by itself and return it upright, with a low score where it looks like none."""
    near = _near(image, candidate)
    placed = _sure_pose(near, candidate) or _searched(near, candidate)
    seen = candidate.score - DOUBT
    if placed is None:
        return replace(candidate, score=seen)
    return replace(
        placed,
        width=placed.width + BLUR,
        height=placed.height + BLUR,
        score=max(seen, OWN_LOOK * placed.score + (1 - OWN_LOOK) * candidate.score),
    )


def _sure_pose(near: _Near, candidate: Pose) -> Pose | None:
    """Return a face that is sure and upright as it is; None: it is to be searched for."""
    if candidate.score < SURE_CANDIDATE or candidate.height < SURE_SIZE:
        return None
    sights = _sights(near, candidate, [(0.0, view) for view in (*SURE_VIEWS, *MORE_SURE_VIEWS)])
    sight, more = _together(sights[: len(SURE_VIEWS)]), _together(sights[len(SURE_VIEWS) :])
    if sight is None or not sight.is_sure or more is None:
        return None
    mean = _mean([sight, more])  # of tilted heads the second are less sure
    return _placed(candidate, 0.0, mean) if mean.is_sure else None


def _searched(near: _Near, candidate: Pose) -> Pose | None:
    """Turn and move a face until it looks upright; None where it looks like none."""
    pose, turn = candidate, 0.0
    sight = _see(near, pose, turn, VIEWS)
    if sight is None or sight.score < UPRIGHT_SCORE:  # perhaps it is turned
        turns = (turn, *TURNS)
        sights = _sights(near, pose, [(angle, AS_IT_IS) for angle in turns])
        scores = [-math.inf if seen is None else seen.score for seen in sights]
        scores[0] += TURN_GAIN
        best = int(np.argmax(scores))
        if best > 0 or sight is None:
            turn, sight = turns[best], sights[best]
    for _ in range(ROUNDS):
        if sight is None or sight.is_steady:
            break
        pose = _placed(pose, turn, sight)
        turn = pose.roll
        sight = _see(near, pose, turn, VIEWS)
    if sight is None:
        return None
    last = _see(near, pose, turn, LAST_VIEWS)
    if last is not None:  # it tells the place; of faces so small in their patch scores are lower
        sight = replace(_mean([sight, last]), score=sight.score)
    return _placed(pose, turn, sight)


def _near(image: UInt8Array, pose: Pose) -> _Near:
    reach = math.ceil(REACH * pose.height) + 2
    height, width = image.shape[:2]
    left, right = max(0, round(pose.x) - reach), min(width, round(pose.x) + reach)
    top, bottom = max(0, round(pose.y) - reach), min(height, round(pose.y) + reach)
    part = image[top:bottom, left:right]
    by = int(pose.height / FACE)
    if by >= 2:
        rows, columns = max(1, (bottom - top) // by), max(1, (right - left) // by)
        # What is left over at the right and the bottom would make the two scales differ.
        part = resized(part[: rows * by, : columns * by], rows, columns, "area")
    return _Near(part, left, top, 1 / max(1, by))


def _see(near: _Near, pose: Pose, turn: float, views: Sequence[View]) -> _Sight | None:
    """Return the mean of what is seen of a face, turned back by `turn`, or None."""
    return _together(_sights(near, pose, [(turn, view) for view in views]))


def _together(sights: Sequence[_Sight | None]) -> _Sight | None:
    """Return the mean of sights, whose score is less where some show no face, or None."""
    seen = [sight for sight in sights if sight is not None]
    if not seen:
        return None
    return replace(_mean(seen), score=sum(s.score for s in seen) / len(sights))


def _mean(sights: Sequence[_Sight]) -> _Sight:
    return _Sight(
        score=sum(s.score for s in sights) / len(sights),
        box=np.mean([s.box for s in sights], axis=0),
        landmarks=np.mean([s.landmarks for s in sights], axis=0),
    )


def _sights(near: _Near, pose: Pose, views: Sequence[tuple[float, View]]) -> list[_Sight | None]:
    """Return what is seen of a face in each view, turned back by so much."""
    patches = [_patch(near, pose, turn, view) for turn, view in views]
    found = run(patches, CANDIDATE)
    return [_sight(rows, view) for rows, (_, view) in zip(found, views, strict=True)]


def _patch(near: _Near, pose: Pose, turn: float, view: View) -> UInt8Array:
    """Return a view of a face, uint8 (h, w, 3)."""
    import cv2

    mirrored, offset, zoom = view
    scale = zoom * FACE / pose.height / near.scale
    cos, sin = scale * math.cos(math.radians(turn)), scale * math.sin(math.radians(turn))
    across = -1 if mirrored else 1
    # Where the face's centre is in what is near; pixels' centres lie at whole numbers.
    x = (pose.x - near.left) * near.scale - 0.5
    y = (pose.y - near.top) * near.scale - 0.5
    middle = PATCH / 2 - 0.5 + offset
    affine = np.array(
        [
            [across * cos, across * sin, middle - across * (cos * x + sin * y)],
            [-sin, cos, middle - (cos * y - sin * x)],
        ]
    )
    method = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_LINEAR
    patch = cv2.warpAffine(
        near.image, affine, (PATCH, PATCH), flags=method, borderMode=cv2.BORDER_CONSTANT
    )
    return np.asarray(patch, np.uint8)


def _sight(rows: Float32Array, view: View) -> _Sight | None:
    """Return the face in the middle of a view, of what the network sees there, (N, 15)."""
    mirrored, offset, zoom = view
    centres = rows[:, :2] + rows[:, 2:4] / 2 - (PATCH / 2 + offset)
    near_centre = np.abs(centres).max(axis=1, initial=0) < 0.4 * zoom * FACE
    rows, centres = rows[near_centre], centres[near_centre]
    if not len(rows):
        return None
    best = int(rows[:, 14].argmax())
    row, at = rows[best].astype(np.float64), centres[best].astype(np.float64)
    landmarks = row[4:14].reshape(5, 2) - (PATCH / 2 + offset)
    if mirrored:
        at[0] *= -1
        landmarks[:, 0] *= -1
        landmarks = landmarks[MIRRORED]
    return _Sight(float(row[14]), np.array([*at, row[2], row[3]]) / zoom, landmarks / zoom)


def _placed(pose: Pose, turn: float, sight: _Sight) -> Pose:
    """Return a face where the picture has it, from where its patch about `pose` has it."""
    by = pose.height / FACE
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    back = by * np.array([[cos, -sin], [sin, cos]])
    centre = back @ sight.box[:2] + (pose.x, pose.y)
    return replace(
        pose,
        x=float(centre[0]),
        y=float(centre[1]),
        width=float(sight.box[2] * by),
        height=float(sight.box[3] * by),
        score=sight.score,
        landmarks=sight.landmarks @ back.T + (pose.x, pose.y),
        roll=wrapped(turn + sight.roll),
    )
