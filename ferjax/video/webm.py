"""Annotated films: VP9 in a .webm file, which browsers play, through PyAV. Without sound."""

from __future__ import annotations

import os
from contextlib import suppress
from fractions import Fraction
from typing import Any, Final

import numpy as np

from ferjax.errors import WriteError
from ferjax.image_files import UInt8Array
from ferjax.video.films import require_av
from ferjax.video.made import MARK
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
}


class Webm:
    """An annotated film that is written frame by frame, with the times of the film."""

    def __init__(self, path: str, *, anonymise: bool = False) -> None:
        """Begin a film, in the place of what is at a path.

        Args:
            path: the file.
            anonymise: pixelate the faces.

        Raises:
            WriteError: the file cannot be written, here and in the methods.
        """
        self._av = require_av()
        self._path = path
        self._painter = Painter(anonymise=anonymise)
        self._stream: Any = None
        self._last = -1
        try:
            self._container = self._av.open(os.path.realpath(path), "w", format="webm")
            self._container.metadata["comment"] = MARK
        except (OSError, ValueError) as error:
            raise self._error(error) from error

    def add(self, frame: VideoFrame) -> None:
        """Draw a frame, which has its picture, and write it."""
        assert frame.image is not None
        picture = self._painter.painted(frame)
        if self._stream is None:
            self._begin(picture)
        picture = self._fitted(picture)
        shown = self._av.VideoFrame.from_ndarray(picture, format="rgb24")
        shown.pts = self._last = max(self._last + 1, round(frame.time / _TICK))
        shown.time_base = _TICK
        self._put(shown)

    def _begin(self, picture: UInt8Array) -> None:
        stream = self._container.add_stream("libvpx-vp9", rate=30)
        height, width = picture.shape[:2]
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = _TICK
        stream.options = _OPTIONS
        stream.codec_context.gop_size = 150
        stream.codec_context.thread_count = min(4, os.cpu_count() or 1)
        self._stream = stream

    def _fitted(self, picture: UInt8Array) -> UInt8Array:
        """Return a picture of the film's size, whose sides are even."""
        import cv2

        height, width = self._stream.height, self._stream.width
        down, across = height - picture.shape[0], width - picture.shape[1]
        if (down, across) == (0, 0):
            return np.ascontiguousarray(picture)
        if 0 <= down <= 1 and 0 <= across <= 1:
            return np.pad(picture, [(0, down), (0, across), (0, 0)], "edge")
        size = (width, height)  # the film changes its size on its way
        return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)

    def _put(self, frame: Any) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except (OSError, ValueError) as error:
            self._abandon()
            raise self._error(error) from error

    def close(self) -> None:
        """Write what is left, after which the file is whole."""
        if self._container is None:
            return
        if self._stream is not None:
            self._put(None)
        try:
            self._container.close()
        except (OSError, ValueError) as error:
            raise self._error(error) from error
        finally:
            self._container = None

    def _abandon(self) -> None:
        with suppress(Exception):
            self._container.close()
        self._container = None

    def _error(self, error: Exception) -> WriteError:
        reason = getattr(error, "strerror", None) or error
        return WriteError(f"{self._path}: cannot be written ({reason})")
