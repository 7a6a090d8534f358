"""Who is who from frame to frame: tracks of faces.

In two steps, after Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection
Box", ECCV 2022: sure faces are assigned to tracks first, then unsure ones to the tracks that are
left, which they may continue but not begin. The assignment is the one of least cost in all (the
Hungarian method). The cost of a face for a track is how far off it is and how little its box
overlaps with the one that a Kalman filter expects, and how little it looks like the track's face
(correlation of 16x16 gray levels): so two faces that cross keep their numbers.

A track that is not seen goes on for a time, unseen, and then ends; a cut ends all. Numbers count
from 1 and are never given twice.

Dimension keys: N faces, T tracks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ferjax.faces.detection import Detection
from ferjax.video.motion import Motion, apart, overlap

MAX_GAP: Final = 2.0  # seconds; people who pass each other hide one another for so long
LOOK: Final = 16  # pixels of the side of what a face looks like
_LEARNING: Final = 0.2  # the weight of a face's newest look in that of its track
_NEAR: Final = 0.7  # heights within which a face is at a track's place, whatever it looks like
_FARTHEST: Final = 3.0  # heights that a face may be off where it is expected
_ALIKE: Final = 0.4  # what the looks of an unseen track and of a face further off need in common
_LARGER: Final = 2.2  # by how much a face may be larger or smaller than expected
_NEVER: Final = 1e6

Look = npt.NDArray[np.float64]
"""What a face looks like: gray levels about their mean, (256,) of length 1."""


def look_of(crop: npt.NDArray[np.floating]) -> Look:
    """Return what a face looks like, of its crop, float (H, W, C)."""
    import cv2

    gray = np.ascontiguousarray(crop.mean(axis=2), np.float32)
    small = cv2.resize(gray, (LOOK, LOOK), interpolation=cv2.INTER_AREA).astype(np.float64).ravel()
    small -= small.mean()
    norm = float(np.linalg.norm(small))
    return np.asarray(small / norm if norm > 0 else small)


@dataclass
class Track:
    """A face over time."""

    number: int
    motion: Motion  # at `time`
    roll: float
    look: Look
    time: float  # when it was seen last
    score: float  # then
    begin: float  # when it was seen first
    missed: int = 0  # times since then that it was looked for

    def expected(self, time: float) -> Motion:
        """Return where it is expected at a time, and how surely that is known."""
        return self.motion.after(max(0.0, time - self.time))

    def placed(self, time: float) -> Detection:
        """Return the face where it is expected at a time."""
        return Detection(box=self.expected(time).box, roll=self.roll, score=self.score)


class Tracker:
    """Gives the faces of frame after frame the numbers of their tracks."""

    def __init__(self, *, max_gap: float = MAX_GAP, min_score: float = 0.7) -> None:
        """Begin without tracks.

        Args:
            max_gap: seconds for which a track goes on unseen; it is looked for at least twice.
            min_score: the score that a face needs to begin a track.
        """
        self._max_gap, self._min_score = max_gap, min_score
        self._tracks: list[Track] = []
        self._last = 0  # the number given last

    def cut(self, middle: float | None = None) -> None:
        """End all tracks, as where the film is cut.

        Args:
            middle: of a dissolve, in seconds: tracks that began later are of the new shot.
        """
        self._tracks = [t for t in self._tracks if middle is not None and t.begin >= middle]

    def expected(self, time: float, *, unseen: bool = True) -> list[Detection]:
        """Return where faces are expected at a time.

        Args:
            unseen: those too that were not seen in the frame before.
        """
        return [track.placed(time) for track in self._tracks if unseen or not track.missed]

    def moved_on(self, time: float) -> list[tuple[int, Detection]]:
        """Return the faces of the frame before with their tracks' numbers, where they are expected
        at a time: for a frame that nothing is looked for in."""
        return [(t.number, t.placed(time)) for t in self._tracks if not t.missed]

    def update(
        self, time: float, faces: Sequence[Detection], looks: Sequence[Look], *, begin: bool
    ) -> list[int | None]:
        """Return the number of each face's track, (N,); None: it continues none and begins none.

        Args:
            time: seconds; later than that of the frame before.
            faces: what was found in the frame.
            looks: what they look like.
            begin: whether faces that continue no track may begin one.
        """
        numbers: list[int | None] = [None] * len(faces)
        costs = self._costs(time, faces, looks)  # (T, N)
        sure = [i for i, face in enumerate(faces) if face.score >= self._min_score]
        unsure = [i for i, face in enumerate(faces) if face.score < self._min_score]
        free = list(range(len(self._tracks)))
        seen = [t for t in free if not self._tracks[t].missed]
        for columns, rows in ((sure, free), (unsure, seen)):
            rows = [t for t in rows if t in free]
            for t, i in assigned(costs, rows, columns):
                track = self._tracks[t]
                free.remove(t)
                numbers[i] = track.number
                self._see(track, time, faces[i], looks[i])
        for t in free:
            self._tracks[t].missed += 1
        self._tracks = [track for track in self._tracks if not self._is_over(track, time)]
        if begin:
            for i in sure:
                if numbers[i] is None:
                    numbers[i] = self._begin(time, faces[i], looks[i])
        return numbers

    def _costs(
        self, time: float, faces: Sequence[Detection], looks: Sequence[Look]
    ) -> npt.NDArray[np.float64]:
        costs = np.full((len(self._tracks), len(faces)), _NEVER)
        for t, track in enumerate(self._tracks):
            motion = track.expected(time)
            reach = min(_FARTHEST, _NEAR + 2 * motion.away)
            for i, (face, look) in enumerate(zip(faces, looks, strict=True)):
                off = apart(motion.box, face.box)
                larger = abs(math.log(face.box[3] / motion.size[1]))
                alike = float(track.look @ look)
                if off > reach or larger > math.log(_LARGER):
                    continue
                if off > _NEAR and track.missed and alike < _ALIKE:
                    continue
                costs[t, i] = off + (1 - overlap(motion.box, face.box)) + larger + (1 - alike)
        return costs

    def _see(self, track: Track, time: float, face: Detection, look: Look) -> None:
        track.motion = track.expected(time).seen(face.box)
        track.time, track.roll, track.score, track.missed = time, face.roll, face.score, 0
        mixed = (1 - _LEARNING) * track.look + _LEARNING * look
        track.look = mixed / max(1e-9, float(np.linalg.norm(mixed)))

    def _is_over(self, track: Track, time: float) -> bool:
        return track.missed > 1 and time - track.time > self._max_gap

    def _begin(self, time: float, face: Detection, look: Look) -> int:
        self._last += 1
        motion = Motion.of(face.box)
        self._tracks.append(Track(self._last, motion, face.roll, look, time, face.score, time))
        return self._last

    @property
    def live(self) -> set[int]:
        """The numbers of the tracks that go on."""
        return {track.number for track in self._tracks}

    @property
    def unseen(self) -> list[Track]:
        """The tracks that go on and were not seen in the last frame."""
        return [track for track in self._tracks if track.missed]

    def state(self) -> dict[str, Any]:
        """Return all that is known, as JSON has it."""
        return {
            "last": self._last,
            "tracks": [
                [
                    *(t.number, t.motion.state(), t.roll, t.look.tolist()),
                    *(t.time, t.score, t.begin, t.missed),
                ]
                for t in self._tracks
            ],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._last = int(state["last"])
        self._tracks = [
            Track(number, Motion.restored(motion), roll, np.array(look), *rest)
            for number, motion, roll, look, *rest in state["tracks"]
        ]


def assigned(
    costs: npt.NDArray[np.float64], rows: Sequence[int], columns: Sequence[int]
) -> list[tuple[int, int]]:
    """Return pairs of a row and a column of least cost in all, each at most once.

    >>> assigned(np.array([[0.1, 0.2], [0.3, 9e6]]), [0, 1], [0, 1])
    [(0, 1), (1, 0)]
    """
    if not (rows and columns):
        return []
    part = costs[np.ix_(rows, columns)]
    if part.size == 1:
        pairs = [(0, 0)]
    else:
        from scipy.optimize import linear_sum_assignment

        pairs = list(zip(*(index.tolist() for index in linear_sum_assignment(part))))
    return [(rows[r], columns[c]) for r, c in pairs if part[r, c] < _NEVER]
