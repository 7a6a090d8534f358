"""Films and streams, decoded by FFmpeg through PyAV (`pip install "ferjax[video]"`).

A hostile file is kept from reading others: only the kinds of file that hold a film are opened, none
that lists other files, and only by the protocol that it was asked for.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from time import monotonic
from typing import Any, Final

from ferjax.errors import FerjaxError, VideoError, printable
from ferjax.image_files import MAX_PIXELS
from ferjax.video.pictures import Clock, Picture, Problems

# FFmpeg's names of what holds a film. No lists of other files (concat, hls, dash), no texts (tty).
_FORMATS: Final = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,ogg,asf,nut,ivf,mxf,dv,"
    "h264,hevc,obu,gif,apng,rm,wtv,mjpeg,mpjpeg"
)
_STREAMS: Final = f"{_FORMATS},rtsp,rtp,sdp,hls,live_flv"
_LIVE: Final = ("rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "srt", "tcp")
_WEB: Final = ("http", "https")
_PROTOCOLS: Final = "http,https,httpproxy,tcp,tls,udp,rtp,srtp,rtmp,rtmps,srt,crypto"
# Frames a second that a film may have: no camera that people use takes more, none so few.
_LEAST_RATE: Final = 1 / 3600
_MOST_RATE: Final = 1000.0
_LARGE: Final = 1920 * 1088  # pixels; larger frames are decoded several at a time
_TRIES: Final = 50  # errors in a row, after which a film counts as at its end
_SLACK: Final = 1.0  # seconds that a film may be shorter than it says
_TIMELESS: Final = ("mpjpeg",)  # what has no times: pictures one after the other, as cameras send


def scheme_of(address: str) -> str:
    """Return the protocol of a stream's address, or "" for a path.

    >>> scheme_of("rtsp://camera/1"), scheme_of("C:/film.mp4"), scheme_of("film.mp4")
    ('rtsp', '', '')
    """
    scheme, mark, _ = address.partition("://")
    return scheme.lower() if mark and scheme.isalnum() else ""


def is_live(address: str) -> bool:
    """Whether an address is of a stream that goes on while nobody reads it."""
    return scheme_of(address) in _LIVE


def require_av() -> Any:
    """Return the module `av`.

    Raises:
        FerjaxError: it is not installed.
    """
    try:
        import av
    except ImportError:
        raise FerjaxError(
            'films are read through PyAV, which is not installed: pip install "ferjax[video]"'
        ) from None
    return av


class Film:
    """A film in a file, or a stream.

    Attributes:
        name: what errors call it.
        rate: frames a second on average, as the film says; None where it says nothing sensible.
        duration: seconds, as the film says; None where it does not.
        is_live: whether it goes on while nobody reads it, as a camera's pictures over HTTP do.
        problems: what was wrong so far.
    """

    def __init__(self, source: Any, *, timeout: float = 10.0, low_latency: bool = False) -> None:
        """Open a film.

        Args:
            source: a path, a stream's address, or a file opened in binary mode.
            timeout: seconds after which a stream that gives nothing is given up.
            low_latency: decode each frame as it comes, not several at once.

        Raises:
            VideoError: it is no film, or cannot be opened.
            FerjaxError: PyAV is not installed.
        """
        self._av = require_av()
        self.problems = Problems()
        is_file = hasattr(source, "read")
        text = "" if is_file else os.fspath(source)
        self.name = printable(str(getattr(source, "name", "the open file")) if is_file else text)
        scheme = scheme_of(text)
        self.is_live = is_live(text)
        self._timeout = timeout
        if scheme and scheme not in (*_LIVE, *_WEB):
            raise VideoError(
                f"{self.name}: expected an address that begins with "
                f"{', '.join(f'{name}://' for name in (*_WEB, *_LIVE))}, got {scheme}://"
            )
        if not (is_file or text):
            raise VideoError("expected a path, got an empty string")
        if isinstance(source, io.TextIOBase):
            raise VideoError(
                f"{self.name}: expected a film opened in binary mode ('rb'), its .read() gives text"
            )
        if not (is_file or scheme):
            _check_path(text, self.name)
        self._container = self._opened(source if is_file else text, scheme)
        try:
            self._stream = self._pictures(low_latency)
        except BaseException:
            self._container.close()
            raise
        stream, container = self._stream, self._container
        rate = float(stream.average_rate or stream.base_rate or 0)
        is_usual = _LEAST_RATE <= rate <= _MOST_RATE
        self.rate = rate if is_usual else None
        if rate > 0 and not is_usual:
            self.problems.more.append(
                f"says that it has {rate:,.6g} frames a second; its times may be wrong"
            )
        self._is_timeless = bool(scheme) and container.format.name in _TIMELESS
        self.is_live = self.is_live or self._is_timeless
        self.duration = None
        if container.duration is not None and container.duration > 0 and not self.is_live:
            self.duration = container.duration / self._av.time_base
        # Players count from where the first of all its streams begins.
        begins = [
            s.start_time * s.time_base
            for s in container.streams
            if s.start_time is not None and s.time_base is not None and s.type in ("video", "audio")
        ]
        self._begin = min(begins, default=Fraction(0))

    def _opened(self, source: Any, scheme: str) -> Any:
        options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
        if scheme:
            options = {"format_whitelist": _STREAMS, "protocol_whitelist": _PROTOCOLS}
        choices = [options]
        if scheme in ("rtsp", "rtsps"):  # by TCP nothing is lost, but some cameras know UDP alone
            choices = [{**options, "rtsp_transport": transport} for transport in ("tcp", "udp")]
        limit = self._timeout if scheme else None
        # A path that begins like a protocol, such as `concat:`, is none.
        path = source if scheme or not isinstance(source, str) else os.path.abspath(source)
        reason = ""
        for choice in choices:
            try:
                return self._av.open(path, options=choice, timeout=limit)
            except self._av.error.ExitError:
                reason = f"gave nothing for {self._timeout:g} s; is it on?"
                break
            except (self._av.error.FFmpegError, OSError, ValueError) as error:
                reason = reason or _reason(source, scheme, error)
        raise VideoError(f"{self.name}: {reason}")

    def _pictures(self, low_latency: bool) -> Any:
        """Return the stream of pictures, ready to be decoded."""
        cover = self._av.stream.Disposition.attached_pic
        streams = [s for s in self._container.streams.video if not s.disposition & cover]
        if not streams:
            sound = " but sound" if self._container.streams.audio else ""
            raise VideoError(f"{self.name}: expected a film, got a file without pictures{sound}")
        stream = max(streams, key=_rank)
        if stream.codec_context is None:
            raise VideoError(f"{self.name}: its pictures are in a code that cannot be read here")
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > MAX_PIXELS:
            raise VideoError(
                f"{self.name}: expected at most {MAX_PIXELS:,} pixels, got {width} x {height}"
            )
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        # Several frames at once come later, and of what is damaged it is not known where it was.
        stream.thread_type = "AUTO" if width * height > _LARGE and not low_latency else "SLICE"
        return stream

    def __iter__(self) -> Iterator[Picture]:
        """Yield the pictures in the order in which they are shown.

        Raises:
            VideoError: none can be decoded, or a stream breaks off or gives nothing for too long.
        """
        from av.video.reformatter import VideoReformatter

        converter = VideoReformatter()
        clock, number, last, step = Clock(self.problems), 0, 0.0, 0.0
        begin: float | None = None
        for frame in self._frames():
            if frame is not None:
                stated = None
                if self._is_timeless:  # when it came
                    now = monotonic()
                    begin = now if begin is None else begin
                    stated = now - begin
                elif frame.pts is not None and frame.time_base:
                    stated = float(frame.pts * frame.time_base - self._begin)
                time = clock.time(stated, self.rate)
                if time is not None:
                    last, step = time, time - last
                    aspect = float(self._stream.sample_aspect_ratio or 1) or 1.0
                    yield Picture(
                        number=number,
                        time=time,
                        content=frame,
                        aspect=aspect,
                        converter=converter,
                    )
            number += 1
        if number == self.problems.damaged:
            damaged = f": all {number:,} are damaged" if number else ""
            raise VideoError(f"{self.name}: has no frame that can be decoded{damaged}")
        if self.duration is not None and last + step < self.duration - _SLACK:
            self.problems.more.append(
                f"ends at {last:.2f} s, where it should go on to {self.duration:.2f} s; it was cut "
                "off, as where a recording or a download was interrupted"
            )

    def _frames(self) -> Iterator[Any]:
        """Yield FFmpeg's frames, and None for each that is damaged."""
        for packet in self._packets():
            try:
                frames = packet.decode()
            except self._av.error.EOFError:
                return
            except (self._av.error.FFmpegError, ValueError):
                self._add_damaged(packet.pts)
                yield None
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self._add_damaged(frame.pts)
                    yield None
                else:
                    yield frame

    def _add_damaged(self, pts: int | None) -> None:
        if not self.problems.damaged and pts is not None:
            self.problems.first_damaged = float(pts * self._stream.time_base - self._begin)
        self.problems.damaged += 1

    def _packets(self) -> Iterator[Any]:
        """Yield packets, past what cannot be read between them."""
        failed = 0
        while failed < _TRIES:
            try:
                for packet in self._container.demux(self._stream):
                    failed = 0
                    yield packet
                return
            except self._av.error.ExitError:
                raise VideoError(
                    f"{self.name}: gave nothing for {self._timeout:g} s, and is given up; a longer "
                    "timeout waits longer"
                ) from None
            except self._av.error.InvalidDataError:
                failed += 1
            except (self._av.error.FFmpegError, OSError) as error:
                reason = getattr(error, "strerror", None) or error
                raise VideoError(f"{self.name}: breaks off ({reason})") from None

    def close(self) -> None:
        """Close the file or the connection."""
        with suppress(Exception):  # of a connection that is gone
            self._container.close()


def _rank(stream: Any) -> tuple[bool, int]:
    """Return how much a stream is of a film: an animated AVIF has its first picture apart."""
    context = stream.codec_context
    return stream.frames != 1, 0 if context is None else context.width


def _check_path(path: str, name: str) -> None:
    """Raise where there is no file at a path."""
    try:
        kind = Path(path)
        if kind.is_dir():
            raise VideoError(f"{name}: is a folder; give one film")
        if not kind.exists():
            raise VideoError(f"{name}: no such file")
        if not kind.is_file():
            raise VideoError(f"{name}: is not a regular file")
        if not kind.stat().st_size:
            raise VideoError(f"{name}: empty, 0 bytes")
    except VideoError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VideoError(f"{name}: cannot be read ({reason})") from None


def _reason(source: Any, scheme: str, error: Exception) -> str:
    """Return why a film cannot be opened."""
    reason = getattr(error, "strerror", None) or str(error)
    if scheme or not isinstance(source, str):
        return f"cannot be opened ({printable(reason, 200)})"
    try:
        with open(source, "rb") as file:
            head = file.read(21)
    except OSError as failure:
        return f"cannot be read ({failure.strerror})"
    if head[4:8] == b"ftyp":
        return "is cut off, or no film: the index at the end of its file is missing"
    is_webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    if is_webp and head[12:16] == b"VP8X" and head[20:21] and head[20] & 2:
        return (
            "is an animated WebP, which is not read; save it as a film, a GIF or an animated PNG, "
            "or give its frames with their times in Python"
        )
    images = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"II*\0", b"MM\0*")
    if head.startswith(images) or is_webp:
        return "is an image, no film; `ferjax faces` takes photographs"
    return "is no film, or one of a kind that is not read"
