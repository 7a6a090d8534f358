"""Look at a face by itself, where YuNet sees it in one size and upright.

YuNet sees heads at any angle, but its boxes and landmarks are those of upright ones, and they move
by several percent when the picture moves by a few pixels. So a head that does not look upright is
turned until it does, and what a view shows is the mean of all boxes that the network gives there.
Then the face is measured, upright, soft and in gray, so that it is the same in colour and in gray,
turned, mirrored, in small pictures and in large ones.

Dimension keys: H height, W width of a picture; h and w of a patch; N faces.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from ferjax.faces.yunet_network import run
from ferjax.image_files import UInt8Array, quiet_opencv
from ferjax.preprocessing import Float32Array, resized

View: TypeAlias = tuple[bool, float, float]

CANDIDATE: Final = 0.3  # a score that is worth a look at the face by itself
OWN_LOOK: Final = 0.75  # the weight of that look in the score
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
MIRRORED: Final = [1, 0, 2, 4, 3]  # landmarks of the mirror image
TURNS: Final = (45.0, -45.0, 90.0, -90.0, 135.0, -135.0, 180.0)  # degrees
SURE_VIEWS: Final = ((True, 4.0, 1.1), (False, 4.0, 1.2))  # of faces that are sure and upright
# How a face is measured: soft, so that small and large pictures show the same, and in views whose
# errors cancel out, each with its mirror image.
MEASURING: Final = (
    (False, -2.0, 0.48),
    (True, -2.0, 0.48),
    (False, 2.0, 0.54),
    (True, 2.0, 0.54),
    (False, -2.0, 0.6),
    (True, -2.0, 0.6),
)
MEASURE: Final = 64  # the side of these views
MEASURED: Final = 144  # the side of the patch that they are views of
SOFT: Final = 1.5  # standard deviation, in its pixels, by which it is blurred
SOFTENED: Final = 7  # pixels that the blur takes together
OUTSIDE: Final = 96  # gray about the picture; by an edge to black, boxes of faces there are larger
MEASURED_AWAY: Final = 0.15  # of the face's height, by which it may lie elsewhere or be larger
MEASURED_ROLL: Final = 20.0  # degrees
MEASURED_SCORE: Final = 0.7  # less where some views show no face, as of one cut by the edge
SURE_SIZE: Final = 24.0  # pixels of its height; smaller faces look different in every view
SURE_CANDIDATE: Final = 0.8  # the score of a sure face in the look at the picture
SURE_AWAY: Final = 0.1  # of the face's height, by which a sure face may lie elsewhere
SURE_ROLL: Final = 7.0  # degrees that its landmarks may show
FOLLOWING: Final = VIEWS  # of faces from one frame of a film to the next
ROUNDS: Final = 3
STEADY: Final = 0.03  # of the face's height, by which its box may still move
STEADY_ROLL: Final = 3.0  # degrees
GRID: Final = 192  # parts of about a face's height by which its place is told to the next look
BLUR: Final = 0.2  # pixels by which faces are seen too small, measured on faces of 13 to 42 pixels


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
        (rx, ry), (lx, ly), _, (ax, ay), (bx, by) = self.landmarks.tolist()  # eyes, nose, mouth
        eyes = math.degrees(math.atan2(ly - ry, lx - rx))
        axis = math.degrees(math.atan2(-(ax + bx - rx - lx) / 2, (ay + by - ry - ly) / 2))
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
    candidate = _on_grid(candidate)
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


def follow(image: UInt8Array, pose: Pose) -> Pose | None:
    """Return where a face is that was, or is expected, at `pose`; None where none is seen.

    It costs a seventh of a look at a picture of 640x480. The face may have moved by 0.4 of its
    height and turned by some 20 degrees.
    """
    pose = _on_grid(pose)
    with quiet_opencv():
        near = _near(image, pose)
        if not near.image.size:
            return None
        sight = _see(near, pose, pose.roll, FOLLOWING)
    if sight is None:
        return None
    placed = _placed(pose, pose.roll, sight)
    return replace(placed, width=placed.width + BLUR, height=placed.height + BLUR)


def _sure_pose(near: _Near, candidate: Pose) -> Pose | None:
    """Return a face that is sure and upright as it is; None: it is to be searched for."""
    if candidate.score < SURE_CANDIDATE or candidate.height < SURE_SIZE:
        return None
    sight = _see(near, candidate, 0.0, SURE_VIEWS)
    if sight is None or not sight.is_sure:
        return None
    pose = _measured(near, _placed(candidate, 0.0, sight))
    return pose if abs(pose.roll) < SURE_ROLL else None


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
        pose = _on_grid(_placed(pose, turn, sight))
        turn = pose.roll
        sight = _see(near, pose, turn, VIEWS)
    if sight is None:
        return None
    return _measured(near, _placed(pose, turn, sight))


def _measured(near: _Near, pose: Pose) -> Pose:
    """Return a face with its place and size measured.

    Its score stays: of gray faces, and of small ones in their patch, scores are lower. Where some
    of these views show no face, or they show a much different box, as of faces on patterns, the
    face stays as it is; without a face in any its score is less.
    """
    import cv2

    gray = replace(near, image=np.asarray(cv2.cvtColor(near.image, cv2.COLOR_RGB2GRAY), np.uint8))
    start = _on_grid(pose)
    patch = _patch(gray, start, start.roll, AS_IT_IS, MEASURED, OUTSIDE)
    soft = cv2.GaussianBlur(patch, (SOFTENED, SOFTENED), SOFT, borderType=cv2.BORDER_REPLICATE)
    upright = _Near(np.asarray(soft, np.uint8), 0, 0, 1.0)
    at = replace(start, x=MEASURED / 2, y=MEASURED / 2, height=FACE)
    sight = _see(upright, at, 0.0, MEASURING, MEASURE)
    if sight is None:
        return replace(pose, score=pose.score - DOUBT)
    if sight.score < MEASURED_SCORE or not sight.is_within(MEASURED_AWAY, MEASURED_ROLL):
        return pose
    measured = replace(_placed(start, start.roll, sight), score=pose.score)
    grown = max(abs(measured.height / pose.height - 1), abs(measured.width / pose.width - 1))
    return measured if grown < MEASURED_AWAY else pose


def _on_grid(pose: Pose) -> Pose:
    """Return a pose rounded to about a 200th of the face's height and a whole degree.

    CPUs and runtimes add in other orders. What that changes in one look would otherwise change
    pixels of the next, and grow from look to look.
    """
    step = 2.0 ** round(math.log2(pose.height)) / GRID
    x, y, width, height = (
        step * round(value / step) for value in (pose.x, pose.y, pose.width, pose.height)
    )
    return replace(pose, x=x, y=y, width=width, height=height, roll=float(round(pose.roll)))


def _near(image: UInt8Array, pose: Pose) -> _Near:
    reach = math.ceil(REACH * pose.height) + 2
    height, width = image.shape[:2]
    # Of a face that is followed out of the picture nothing is left, and an end below 0 would count
    # from the other side.
    left, right = max(0, round(pose.x) - reach), max(0, min(width, round(pose.x) + reach))
    top, bottom = max(0, round(pose.y) - reach), max(0, min(height, round(pose.y) + reach))
    part = image[top:bottom, left:right]
    by = int(pose.height / FACE)
    if by >= 2 and part.size:
        rows, columns = max(1, (bottom - top) // by), max(1, (right - left) // by)
        # What is left over at the right and the bottom would make the two scales differ.
        part = resized(part[: rows * by, : columns * by], rows, columns, "area")
    return _Near(part, left, top, 1 / max(1, by))


def _see(
    near: _Near, pose: Pose, turn: float, views: Sequence[View], side: int = PATCH
) -> _Sight | None:
    """Return the mean of what is seen of a face, turned back by `turn`, or None."""
    return _together(_sights(near, pose, [(turn, view) for view in views], side))


def _together(sights: Sequence[_Sight | None]) -> _Sight | None:
    """Return the mean of sights, whose score is less where some show no face, or None."""
    seen = [sight for sight in sights if sight is not None]
    if not seen:
        return None
    return replace(_mean(seen), score=sum(s.score for s in seen) / len(sights))


def _mean(sights: Sequence[_Sight]) -> _Sight:
    count = len(sights)
    return _Sight(
        score=sum(s.score for s in sights) / count,
        box=np.asarray(reduce(np.add, [s.box for s in sights]) / count),
        landmarks=np.asarray(reduce(np.add, [s.landmarks for s in sights]) / count),
    )


def _sights(
    near: _Near, pose: Pose, views: Sequence[tuple[float, View]], side: int = PATCH
) -> list[_Sight | None]:
    """Return what is seen of a face in each view, turned back by so much."""
    patches = [_patch(near, pose, turn, view, side) for turn, view in views]
    outputs = run(patches, CANDIDATE, is_distinct=False)
    return [_sight(rows, view, side) for rows, (_, view) in zip(outputs, views, strict=True)]


def _patch(
    near: _Near, pose: Pose, turn: float, view: View, side: int, outside: int = 0
) -> UInt8Array:
    """Return a view of a face, uint8 (h, w, 3), or (h, w) of what is near in gray."""
    import cv2

    mirrored, offset, zoom = view
    scale = zoom * FACE / pose.height / near.scale
    cos, sin = scale * math.cos(math.radians(turn)), scale * math.sin(math.radians(turn))
    across = -1 if mirrored else 1
    # Where the face's centre is in what is near; pixels' centres lie at whole numbers.
    x = (pose.x - near.left) * near.scale - 0.5
    y = (pose.y - near.top) * near.scale - 0.5
    middle = side / 2 - 0.5 + offset
    affine = np.array(
        [
            [across * cos, across * sin, middle - across * (cos * x + sin * y)],
            [-sin, cos, middle - (cos * y - sin * x)],
        ]
    )
    method = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_LINEAR
    patch = cv2.warpAffine(
        near.image,
        affine,
        (side, side),
        flags=method,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(outside,) * 3,
    )
    return np.asarray(patch, np.uint8)


def _sight(rows: Float32Array, view: View, side: int) -> _Sight | None:
    """Return the face in the middle of a view, of what the network sees there, (N, 15)."""
    mirrored, offset, zoom = view
    middle = side / 2 + offset
    centres = rows[:, :2] + rows[:, 2:4] / 2 - middle
    rows = rows[np.abs(centres).max(axis=1, initial=0) < 0.4 * zoom * FACE]
    if not len(rows):
        return None
    # Neighbouring anchors show the same face, each with an error of its own.
    scores = rows[:, 14].astype(np.float64)
    mean = scores @ rows.astype(np.float64) / scores.sum()
    at = mean[:2] + mean[2:4] / 2 - middle
    landmarks = mean[4:14].reshape(5, 2) - middle
    if mirrored:
        at[0] *= -1
        landmarks[:, 0] *= -1
        landmarks = landmarks[MIRRORED]
    box = np.array([*at, mean[2], mean[3]]) / zoom
    return _Sight(float(scores.max()), box, landmarks / zoom)


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
