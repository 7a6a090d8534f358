"""What comes out of a film, a camera or a user's own frames: pictures with their times.

A `Picture` is decoded, but only made RGB where somebody looks at it: of a film of which every tenth
frame is wanted, nine are never converted. A `Frame` is one that is looked at.

Dimension keys: H height, W width of a picture as a viewer shows it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from ferjax.errors import VideoError, printable
from ferjax.faces.detection import is_number
from ferjax.image_files import UInt8Array
from ferjax.preprocessing import ChannelOrder, load_picture
from ferjax.video.cuts import Dissolves, is_cut, shrunk

_WIDEST: Final = 8.0  # that a pixel may be, in its height; more is a mistake in the file
_NEW_PIECE: Final = 1.0  # seconds; times that run backwards by more are of another recording
_MOST_FPS: Final = 1e9  # no film has so many frames a second


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """A frame of a film.

    Attributes:
        number: its number in the film, from 0; frames that are damaged or left out count too.
        time: seconds from the film's beginning, as the film states them.
        image: the picture as a viewer shows it, uint8 (H, W, 3) in RGB order.
        cut: whether the film went to another shot since the frame before this one.
        dissolved: where it did by a dissolve, the time of its middle, in seconds; else None.
    """

    number: int
    time: float
    image: UInt8Array = field(repr=False)
    cut: bool = False
    dissolved: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A decoded picture that is not yet RGB.

    Attributes:
        number: its number, from 0.
        time: in seconds.
        content: an `av.VideoFrame`, or uint8 (H, W, 3) in RGB order.
        aspect: how wide its pixels are, in their height.
        converter: the film's `av.video.reformatter.VideoReformatter`, which need not be made ready
            for each picture; None: each has its own.
    """

    number: int
    time: float
    content: Any = field(repr=False)
    aspect: float = 1.0
    converter: Any = field(default=None, repr=False)

    def image(self) -> UInt8Array:
        """Return the picture as a viewer shows it, uint8 (H, W, 3) in RGB order."""
        if isinstance(self.content, np.ndarray):
            return self.content
        array = self._shown("rgb24")
        quarters = round(self.content.rotation / 90) % 4  # counter-clockwise, as np.rot90 turns
        return np.ascontiguousarray(np.rot90(array, quarters))

    def gray(self) -> UInt8Array:
        """Return its gray levels, not turned, uint8 (h, w) of at most 64 pixels."""
        import cv2

        if isinstance(self.content, np.ndarray):
            return shrunk(np.asarray(cv2.cvtColor(self.content, cv2.COLOR_RGB2GRAY), np.uint8))
        frame = self.content
        if frame.format.name in ("yuv420p", "yuvj420p", "yuv422p", "yuv444p", "nv12", "gray"):
            plane = frame.planes[0]
            rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
            return shrunk(rows[:, : plane.width])
        return shrunk(np.asarray(frame.to_ndarray(format="gray8"), np.uint8))

    def _shown(self, form: str) -> UInt8Array:
        frame = self.content
        width = round(frame.width * self.aspect)
        if not (width and 1 / _WIDEST <= self.aspect <= _WIDEST):
            width = frame.width
        if self.converter is None:
            shown = frame.reformat(width=width, format=form)
        else:
            shown = self.converter.reformat(frame, width=width, format=form)
        return np.asarray(shown.to_ndarray(), np.uint8)


@dataclass(kw_only=True)
class Problems:
    """What was wrong with a film, counted.

    Attributes:
        damaged: frames that could not be decoded; `first_damaged` is the time of the first, in
            seconds, or None where it has none.
        backward: frames whose time is not after the one before, which are left out.
        pieces: how often times began anew, as where recordings are joined.
        more: other lines to be said.
    """

    damaged: int = 0
    first_damaged: float | None = None
    backward: int = 0
    first_backward: float | None = None
    pieces: int = 0
    more: list[str] = field(default_factory=list)

    def lines(self, name: str) -> list[str]:
        """Return what to say of them, a line each.

        >>> Problems(damaged=2, first_damaged=1.5).lines("a.mp4")
        ['a.mp4: 2 damaged frames were skipped, the first at 1.50 s']
        """
        name, lines = printable(name), []
        if self.damaged:
            at = "" if self.first_damaged is None else f", the first at {self.first_damaged:.2f} s"
            frames = "frames were" if self.damaged > 1 else "frame was"
            lines.append(f"{name}: {self.damaged:,} damaged {frames} skipped{at}")
        if self.backward:
            frames = "frames were" if self.backward > 1 else "frame was"
            lines.append(
                f"{name}: {self.backward:,} {frames} left out whose time is not after that of the "
                f"frame before, the first at {self.first_backward or 0:.2f} s"
            )
        if self.pieces:
            lines.append(
                f"{name}: times began anew {self.pieces:,} times, and are counted on from there"
            )
        return lines + [f"{name}: {text}" for text in self.more]


class Clock:
    """Turns the times that a source states into times that rise."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._offset = 0.0
        self._last = -math.inf
        self._step = 1 / 30

    def time(self, stated: float | None, rate: float | None = None) -> float | None:
        """Return a frame's time, or None where the frame is to be left out.

        Args:
            stated: the time that the source states, in seconds; None: none.
            rate: frames a second, for frames without a time; None: as the frames before.
        """
        step = 1 / rate if rate else self._step
        if stated is None:
            time = 0.0 if math.isinf(self._last) else self._last + step
        else:
            time = stated + self._offset
        if time <= self._last:
            if self._last - time < _NEW_PIECE:
                if not self._problems.backward:
                    self._problems.first_backward = time
                self._problems.backward += 1
                return None
            self._problems.pieces += 1
            self._offset += self._last + step - time
            # After a time so late that a step adds nothing to it, the next that there is.
            time = max(self._last + step, math.nextafter(self._last, math.inf))
        if math.isfinite(self._last):
            self._step = min(time - self._last, 1.0)
        self._last = time
        return time


class Given:
    """A user's own frames: `Frame`s, or pairs of a time in seconds and an image."""

    name = "the frames"
    rate: float | None = None
    duration: float | None = None
    is_live = False

    def __init__(self, frames: Iterable[Any], channel_order: ChannelOrder = "rgb") -> None:
        self._frames, self._order = frames, channel_order
        self.problems = Problems()

    def __iter__(self) -> Iterator[Picture]:
        clock = Clock(self.problems)
        for index, item in enumerate(self._frames):
            name = f"frame {index}"
            number, stated, image = self._parts(item, index)
            if not (is_number(stated) and stated >= 0):
                got = printable(repr(stated), 100)
                raise VideoError(f"{name}: expected its time in seconds from 0 on, got {got}")
            time = clock.time(float(stated))
            if time is not None:
                picture = load_picture(image, name=name, channel_order=self._order)
                if picture is image or picture.base is not None:  # the user's, who may reuse it
                    picture = picture.copy()
                yield Picture(number=number, time=time, content=picture)

    def _parts(self, item: Any, index: int) -> tuple[int, Any, Any]:
        if isinstance(item, Frame):
            return item.number, item.time, item.image
        if isinstance(item, (tuple, list)) and len(item) == 2:
            return index, item[0], item[1]
        raise VideoError(
            f"frame {index}: expected a pair (seconds, image) or a Frame, got "
            f"{type(item).__name__}; `enumerate` makes pairs of images that are a second apart"
        )

    def close(self) -> None:
        """Do nothing: the frames are the user's."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which pictures are looked at.

    Attributes:
        every: each so many frames, from 1; the first in the range is looked at.
        fps: instead, so many a second; None: all that `every` leaves.
        start: seconds from which on, inclusive.
        end: seconds up to which, exclusive; None: to the end.
        first: the number of the frame from which on, for a run that is gone on with.
    """

    every: int = 1
    fps: float | None = None
    start: float = 0.0
    end: float | None = None
    first: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.every, bool) or not isinstance(self.every, int) or self.every < 1:
            raise ValueError(f"expected an integer of at least 1 for `every`, got {self.every!r}")
        if self.fps is not None and not (is_number(self.fps) and self.fps > 0):
            raise ValueError(f"expected a positive number for `fps`, got {self.fps!r}")
        if self.fps is not None and self.every != 1:
            raise ValueError("expected `every` or `fps`, got both")
        if not (is_number(self.start) and self.start >= 0):
            raise ValueError(f"expected seconds from 0 on for `start`, got {self.start!r}")
        if self.end is not None and not (is_number(self.end) and self.end > self.start):
            raise ValueError(
                f"expected seconds after `start`, {self.start:g}, for `end`, got {self.end!r}"
            )

    def frames(self, pictures: Iterable[Picture]) -> Iterator[Frame]:
        """Yield those of some pictures that are looked at; cuts are looked for in all."""
        count, due = 0, 0  # pictures in the range; the next of those that `fps` asks for
        before: UInt8Array | None = None
        dissolves = Dissolves()
        cut, middle = False, None  # since the last frame that is looked at
        begin: float | None = None
        fps = None if self.fps is None else min(self.fps, _MOST_FPS)
        for picture in pictures:
            gray = picture.gray()
            if before is not None and is_cut(before, gray):
                cut, middle = True, None
                dissolves.clear()
            before = gray
            dissolved = dissolves.middle(picture.time, gray)
            if dissolved is not None and (not cut or middle is not None):
                cut, middle = True, dissolved
            if picture.time < self.start:
                continue
            if self.end is not None and picture.time >= self.end:
                return
            begin = picture.time if begin is None else begin
            if fps is None:
                wanted = count % self.every == 0
            else:
                # Half a millisecond: times in files are often rounded to one.
                reached = math.floor((picture.time - begin + 5e-4) * fps)
                wanted, due = reached >= due, max(due, reached + 1)
            count += 1
            if wanted and picture.number >= self.first:
                yield Frame(
                    number=picture.number,
                    time=picture.time,
                    image=picture.image(),
                    cut=cut,
                    dissolved=middle,
                )
            if wanted:
                cut, middle = False, None
