"""Faces in frames that are not looked at, between their places in two that are.

A face that moves evenly lies on the line between them, so that a tenth of a second may pass from
look to look.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ferjax.faces.detection import Detection
from ferjax.faces.own_look import is_sideways, wrapped
from ferjax.preprocessing import Float32Array
from ferjax.video.pictures import Frame
from ferjax.video.schedule import ROUNDING
from ferjax.video.tracks import Look, look_of

MOST_BETWEEN: Final = 4  # frames one after the other that are not looked at

_SPAN: Final = 0.1  # seconds that faces may be looked for apart
_SLOWEST: Final = 1 / 24  # seconds between frames of which some are not looked at
# What a face may do in that time to be on the line between its places. Its way differs by so much,
# in its height, from that of the time before: then it is at most an eighth of that off the line.
_BENT: Final = 0.08
_FAR: Final = 0.2  # of its height, that it moves
_LARGER: Final = 0.1  # of its height, that it grows
_TURNED: Final = 10.0  # degrees
_UNLIKE: Final = 0.1  # correlation that a crop on the line may lack


@dataclass(frozen=True)
class Known:
    """The faces of a frame that was looked at, by their tracks."""

    time: float
    faces: dict[int, Detection]
    looks: dict[int, Look]
    speeds: dict[int, tuple[float, float]]  # pixels a second since the one before, where known

    @classmethod
    def of(
        cls,
        time: float,
        faces: dict[int, Detection],
        looks: dict[int, Look],
        before: Known | None,
    ) -> Known:
        """Return what is known of a frame, after another one."""
        speeds = {}
        for number, face in faces.items():
            earlier = None if before is None else before.faces.get(number)
            if before is not None and earlier is not None:
                (x, y), (u, v), seconds = earlier.centre, face.centre, time - before.time
                speeds[number] = (u - x) / seconds, (v - y) / seconds
        return cls(time, faces, looks, speeds)

    def state(self) -> list[Any]:
        """Return all of them, as JSON has it."""
        faces = [
            [number, face.box, face.score, _listed(face.landmarks), face.roll]
            for number, face in self.faces.items()
        ]
        looks = [[number, look.tolist()] for number, look in self.looks.items()]
        return [self.time, faces, looks, list(self.speeds.items())]

    @classmethod
    def restored(cls, state: Sequence[Any]) -> Known:
        """Return what `state` gave."""
        time, faces, looks, speeds = state
        return cls(
            time,
            {
                number: Detection(
                    box=tuple(box),
                    score=score,
                    landmarks=None if marks is None else np.array(marks, np.float32),
                    roll=roll,
                )
                for number, box, score, marks, roll in faces
            },
            {number: np.array(look) for number, look in looks},
            {number: (across, down) for number, (across, down) in speeds},
        )


def _listed(marks: Any) -> Any:
    return None if marks is None else marks.tolist()


def needs_no_look(frame: Frame, following: Frame | None, known: Known | None) -> bool:
    """Whether a frame is not looked at: the next one is soon enough after the last that was.

    Args:
        frame: the frame.
        following: the next one, or None at the end.
        known: of the last frame that was looked at, or None at the beginning.
    """
    if following is None or known is None or frame.cut or following.cut:
        return False
    if following.time - frame.time > _SLOWEST + ROUNDING:
        return False
    return following.time - known.time <= _SPAN + ROUNDING


def moves_evenly(before: Known, after: Known, number: int) -> bool:
    """Whether a face moves from one place to another as it did until then."""
    first, last = before.faces[number], after.faces[number]
    (x, y), (u, v), size = first.centre, last.centre, first.size
    across, down = before.speeds.get(number, (0.0, 0.0))
    seconds = after.time - before.time
    return (
        math.hypot(u - x, v - y) <= _FAR * size
        and math.hypot(u - x - across * seconds, v - y - down * seconds) <= _BENT * size
        and abs(last.size - size) <= _LARGER * size
        and abs(wrapped(last.roll - first.roll)) <= _TURNED
        and is_sideways(first.roll) == is_sideways(last.roll)
    )


def is_alike(crop: Float32Array, first: Look, last: Look) -> bool:
    """Whether a crop, float32 (h, w, C), looks like those before and after it: one of a face that
    went to and fro in that time, or was hidden, does not."""
    look = look_of(crop)
    return min(float(look @ first), float(look @ last)) >= float(first @ last) - _UNLIKE


def on_the_way(first: Detection, last: Detection, part: float) -> Detection:
    """Return a face that is a part of the way from one place to another."""
    (x, y, width, height), (u, v, w, h) = first.box, last.box
    marks = None
    if first.landmarks is not None and last.landmarks is not None:
        marks = first.landmarks + np.float32(part) * (last.landmarks - first.landmarks)
    return Detection(
        box=(
            x + part * (u - x),
            y + part * (v - y),
            width + part * (w - width),
            height + part * (h - height),
        ),
        score=first.score + part * (last.score - first.score),
        landmarks=marks,
        roll=wrapped(first.roll + part * wrapped(last.roll - first.roll)),
    )
