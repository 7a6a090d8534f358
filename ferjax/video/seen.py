"""What is seen in a film: frames with their faces, each with its track."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ferjax.faces.detection import Detection
from ferjax.faces.face import Face
from ferjax.image_files import UInt8Array


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class VideoFace(Face):
    """A face in a frame of a film; see Face, whose figures are the smoothed ones.

    Attributes:
        track: the number of the face's track, from 1; the same in all frames that it is seen in.
        raw: the probabilities of this frame alone, by label; `probabilities` are smoothed.
    """

    track: int
    raw: dict[str, float]

    def __repr__(self) -> str:
        return f"Video{super().__repr__()[:-1]}, track={self.track})"


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoFrame:
    """A frame of a film and what is seen in it.

    Attributes:
        number: its number in the film, from 0.
        time: seconds from the film's beginning.
        faces: in the order of their tracks; perhaps none.
        cut: whether the film went to another shot since the frame before, by a cut or a dissolve,
            with which tracks end.
        shape: (H, W) of the picture as a viewer shows it, in pixels.
        live: the tracks that go on, seen in this frame or not.
        unseen: where the faces of those that are not seen are expected.
        image: the picture, uint8 (H, W, 3) in RGB order, where pictures are kept; else None.
    """

    number: int
    time: float
    faces: list[VideoFace]
    cut: bool = False
    shape: tuple[int, int]
    live: Sequence[int] = ()
    unseen: Sequence[Detection] = field(default=(), repr=False)
    image: UInt8Array | None = field(default=None, repr=False)
