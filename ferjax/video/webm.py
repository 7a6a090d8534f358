"""Annotated films: VP9 in a .webm file, which browsers play, encoded by PyAV. Without sound."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

import numpy as np

from ferjax.errors import WriteError
from ferjax.image_files import UInt8Array
from ferjax.video.films import require_av
from ferjax.video.matroska import WebmFile
from ferjax.video.painting import Painter
from ferjax.video.seen import VideoFrame

_TICK: Final = Fraction(1, 1000)  # seconds; finer times a .webm file does not have
# Fast enough to go along with the analysis; about the quality of a film in a browser.
_OPTIONS: Final = {
    "deadline": "realtime",
    "cpu-used": "8",
    "row-mt": "1",
    "crf": "34",
    "b": "0",
    "lag-in-frames": "0",  # a frame is written before the next comes
}
_KEYS: Final = 150  # frames from one that can be jumped to to the next


class Webm:
    """An annotated film that is written frame by frame, with the times of the film."""

    def __init__(
        self, path: str, *, anonymise: bool = False, state: Mapping[str, Any] | None = None
    ) -> None:
        """Begin a film in the place of what is at a path, or go on with one.

        Args:
            path: the file, which is opened with the first frame.
            anonymise: pixelate the faces.
            state: of a film that was begun before, to go on with; None: anew.

        Raises:
            WriteError: the file cannot be written, in the methods too, or is not that film.
        """
        self._av = require_av()
        self._path = path
        self._painter = Painter(anonymise=anonymise)
        self._file: WebmFile | None = None
        self._encoder: Any = None
        if state is not None:
            self._painter.restore(state["sides"])
            width, height = state["size"]
            self._file = WebmFile(path, (width, height), offset=state["offset"])

    def add(self, frame: VideoFrame) -> None:
        """Draw a frame, which has its picture, and write it."""
        assert frame.image is not None
        picture = self._painter.painted(frame)
        if self._file is None:
            height, width = picture.shape[:2]
            self._file = WebmFile(self._path, (width + width % 2, height + height % 2))
        if self._encoder is None:
            self._encoder = self._begun(*self._file.size)
        picture = self._fitted(picture, *self._file.size)
        shown = self._av.VideoFrame.from_ndarray(picture, format="rgb24")
        shown.pts = max(self._file.last + 1, round(frame.time / _TICK))
        shown.time_base = _TICK
        self._put(shown)

    def _begun(self, width: int, height: int) -> Any:
        encoder = self._av.CodecContext.create("libvpx-vp9", "w")
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
        encoder.time_base, encoder.framerate = _TICK, Fraction(30)
        encoder.options = _OPTIONS
        encoder.gop_size = _KEYS
        encoder.thread_count = min(4, os.cpu_count() or 1)
        return encoder

    def _fitted(self, picture: UInt8Array, width: int, height: int) -> UInt8Array:
        """Return a picture of the film's size, whose sides are even."""
        import cv2

        down, across = height - picture.shape[0], width - picture.shape[1]
        if (down, across) == (0, 0):
            return np.ascontiguousarray(picture)
        if 0 <= down <= 1 and 0 <= across <= 1:
            return np.pad(picture, [(0, down), (0, across), (0, 0)], "edge")
        size = (width, height)  # the film changes its size on its way
        return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)

    def _put(self, frame: Any) -> None:
        assert self._file is not None
        try:
            for packet in self._encoder.encode(frame):
                self._file.add(packet.pts, bytes(packet), is_key=packet.is_keyframe)
        except WriteError:
            self._file = self._encoder = None
            raise
        except (OSError, ValueError) as error:
            raise WriteError(f"{self._path}: cannot be written ({error})") from error

    def sync(self) -> None:
        """Have the operating system write to the disk what was added so far."""
        if self._file is not None:
            self._file.sync()

    def state(self) -> dict[str, Any]:
        """Return what another film goes on from, as JSON has it; once a frame was added."""
        assert self._file is not None
        sides = self._painter.state()
        return {"offset": self._file.offset, "size": list(self._file.size), "sides": sides}

    def close(self) -> None:
        """Write what is left, after which the file is whole."""
        if self._file is None:
            return
        try:
            if self._encoder is not None:
                self._put(None)
            self._file.close()
        finally:
            self._file = None
