"""A .webm file that grows frame by frame, and plays at any time as far as it goes.

What the format, Matroska (RFC 9559), asks for: a header of fixed size, which has gaps for what is
known in the end alone, and for each frame a cluster. So a film that was cut off can be gone on with
after any of its frames; closing it adds an index, by which players jump.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from ferjax.errors import WriteError
from ferjax.video.growing import GrowingFile
from ferjax.video.made import MARK

# Elements by their names in RFC 9559, and in RFC 8794 those of EBML.
_EBML: Final = 0x1A45DFA3
_EBML_VERSION: Final = 0x4286
_EBML_READ_VERSION: Final = 0x42F7
_EBML_MAX_ID_LENGTH: Final = 0x42F2
_EBML_MAX_SIZE_LENGTH: Final = 0x42F3
_DOC_TYPE: Final = 0x4282
_DOC_TYPE_VERSION: Final = 0x4287
_DOC_TYPE_READ_VERSION: Final = 0x4285
_VOID: Final = 0xEC
_SEGMENT: Final = 0x18538067
_SEEK_HEAD: Final = 0x114D9B74
_SEEK: Final = 0x4DBB
_SEEK_ID: Final = 0x53AB
_SEEK_POSITION: Final = 0x53AC
_INFO: Final = 0x1549A966
_TIMESTAMP_SCALE: Final = 0x2AD7B1
_DURATION: Final = 0x4489
_MUXING_APP: Final = 0x4D80
_WRITING_APP: Final = 0x5741
_TRACKS: Final = 0x1654AE6B
_TRACK_ENTRY: Final = 0xAE
_TRACK_NUMBER: Final = 0xD7
_TRACK_UID: Final = 0x73C5
_TRACK_TYPE: Final = 0x83
_FLAG_LACING: Final = 0x9C
_CODEC_ID: Final = 0x86
_VIDEO: Final = 0xE0
_PIXEL_WIDTH: Final = 0xB0
_PIXEL_HEIGHT: Final = 0xBA
_CLUSTER: Final = 0x1F43B675
_TIMESTAMP: Final = 0xE7
_SIMPLE_BLOCK: Final = 0xA3
_CUES: Final = 0x1C53BB6B
_CUE_POINT: Final = 0xBB
_CUE_TIME: Final = 0xB3
_CUE_TRACK_POSITIONS: Final = 0xB7
_CUE_TRACK: Final = 0xF7
_CUE_CLUSTER_POSITION: Final = 0xF1

_NANOSECONDS: Final = 1_000_000  # of a millisecond, in which times are written
_IS_VIDEO: Final = 1  # the type of a track
_UNKNOWN: Final = b"\x01" + b"\xff" * 7  # the size of what goes on to the end of the file
_SEEKS: Final = 120  # bytes that are left for where index and header are
_FRAME: Final = struct.Struct(">4sQBBQBQBhB")  # what a cluster has before the frame's content
_KEY: Final = 0x80  # the flag of a frame that needs none before it


def element(name: int, *content: bytes, size: int = 0) -> bytes:
    """Return an element of EBML: its name, its size, and its content.

    Args:
        name: as the format has it, with its marker.
        content: which is joined.
        size: bytes that the size takes; 0: as few as possible.

    >>> element(_DOC_TYPE, b"webm").hex()
    '4282847765626d'
    """
    data = b"".join(content)
    size = size or next(n for n in range(1, 9) if len(data) < (1 << 7 * n) - 1)
    length = ((1 << 7 * size) | len(data)).to_bytes(size, "big")
    return name.to_bytes((name.bit_length() + 7) // 8, "big") + length + data


def _number(name: int, value: int) -> bytes:
    return element(name, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))


class WebmFile:
    """A .webm file of VP9 frames, each with its time in milliseconds.

    Attributes:
        size: (width, height) in pixels.
    """

    def __init__(self, path: str, size: tuple[int, int], *, offset: int | None = None) -> None:
        """Begin a film in the place of what is at a path, or go on with one.

        Args:
            path: the file.
            size: (width, height) in pixels.
            offset: bytes of a film of this size, after which it goes on; None: anew.

        Raises:
            WriteError: the file cannot be written, here and in the methods, or is another.
        """
        self.size = size
        self._keys: list[tuple[int, int]] = []  # the times and places of frames that need no other
        self._times = [-1, -1]  # of the last two frames
        head = self._head()
        self._first = len(head)
        if offset is not None:
            self._recall(path, offset)
        self._file = GrowingFile(path, offset=offset)
        if offset is None:
            self._file.put(head)
        else:
            self._file.replace(0, head)  # without what closing filled in

    @property
    def offset(self) -> int:
        """The bytes of all that was added."""
        return self._file.offset

    @property
    def last(self) -> int:
        """The time of the last frame; -1: there is none."""
        return self._times[-1]

    def add(self, time: int, frame: bytes, *, is_key: bool) -> None:
        """Add a frame.

        Args:
            time: in milliseconds, later than that of the frame before.
            frame: as the encoder gave it.
            is_key: whether it can be decoded without those before it.
        """
        at = self._file.offset
        try:
            self._file.put(_cluster(time, frame, is_key))
        except WriteError:  # the disk may be full: what is written is made a whole film
            with suppress(WriteError):
                self._fill(None)
            self._file.abandon()
            raise
        self._times = [self._times[-1], time]
        if is_key:
            self._keys.append((time, at))

    def sync(self) -> None:
        """Have the operating system write to the disk what was added so far."""
        self._file.sync()

    def close(self) -> None:
        """Add the index, and say how long the film is."""
        end = self._file.offset
        try:
            self._file.put(element(_CUES, *(self._cue(time, at) for time, at in self._keys)))
        finally:  # a full disk may have no room for the index
            self._fill(end if self._file.offset > end else None)
            self._file.close()

    def abandon(self) -> None:
        """Close the file as it is."""
        self._file.abandon()

    # --- what stands before the frames -----------------------------------------------------------

    def _head(self, *, seeks: bytes = b"", duration: float | None = None, size: int = 0) -> bytes:
        """Return all before the first frame, always as many bytes.

        It finds `_start`, from where the format counts bytes, and the `_places` of elements there.
        """
        width, height = self.size
        ebml = element(
            _EBML,
            *(_number(_EBML_VERSION, 1), _number(_EBML_READ_VERSION, 1)),
            *(_number(_EBML_MAX_ID_LENGTH, 4), _number(_EBML_MAX_SIZE_LENGTH, 8)),
            element(_DOC_TYPE, b"webm"),
            *(_number(_DOC_TYPE_VERSION, 4), _number(_DOC_TYPE_READ_VERSION, 2)),
        )
        segment = _SEGMENT.to_bytes(4, "big") + (
            ((1 << 56) | size).to_bytes(8, "big") if size else _UNKNOWN
        )
        gap = element(_VOID, bytes(_SEEKS - len(seeks) - 9), size=8)
        length = (
            element(_VOID, bytes(9))
            if duration is None
            else element(_DURATION, struct.pack(">d", duration))
        )
        self._start = len(ebml) + len(segment)
        video = element(_VIDEO, _number(_PIXEL_WIDTH, width), _number(_PIXEL_HEIGHT, height))
        track = element(
            _TRACK_ENTRY,
            *(_number(_TRACK_NUMBER, 1), _number(_TRACK_UID, 1), _number(_TRACK_TYPE, _IS_VIDEO)),
            *(_number(_FLAG_LACING, 0), element(_CODEC_ID, b"V_VP9"), video),
        )
        mark = MARK.encode()
        info = element(
            _INFO,
            *(_number(_TIMESTAMP_SCALE, _NANOSECONDS), element(_MUXING_APP, mark)),
            *(element(_WRITING_APP, mark), length),
        )
        self._places = {_INFO: _SEEKS, _TRACKS: _SEEKS + len(info)}
        return ebml + segment + seeks + gap + info + element(_TRACKS, track)

    def _fill(self, index: int | None) -> None:
        """Fill in what is known in the end.

        Args:
            index: where the index is; None: there is none.
        """
        places = dict(self._places)
        if index is not None:
            places[_CUES] = index - self._start
        seeks = element(
            _SEEK_HEAD,
            *(
                element(
                    _SEEK,
                    element(_SEEK_ID, name.to_bytes(4, "big")),
                    _number(_SEEK_POSITION, place),
                )
                for name, place in places.items()
            ),
        )
        before, last = self._times
        duration = last + (last - before if before >= 0 else 33) if last >= 0 else None
        size = self._file.offset - self._start
        self._file.replace(0, self._head(seeks=seeks, duration=duration, size=size))

    def _cue(self, time: int, at: int) -> bytes:
        place = element(
            _CUE_TRACK_POSITIONS,
            _number(_CUE_TRACK, 1),
            _number(_CUE_CLUSTER_POSITION, at - self._start),
        )
        return element(_CUE_POINT, _number(_CUE_TIME, time), place)

    # --- going on --------------------------------------------------------------------------------

    def _recall(self, path: str, offset: int) -> None:
        """Find the frames of a film that was begun before."""
        try:
            for time, at, is_key in _frames(path, self._first, offset):
                self._times = [self._times[-1], time]
                if is_key:
                    self._keys.append((time, at))
        except FileNotFoundError:
            return  # which opening it says
        except (OSError, ValueError, struct.error) as error:
            raise WriteError(
                f"{path}: is not the film that the run wrote; --force begins anew"
            ) from error


def _cluster(time: int, frame: bytes, is_key: bool) -> bytes:
    """Return a cluster of one frame, whose sizes take eight bytes each."""
    marker, block = 1 << 56, 4 + len(frame)
    flags = _KEY if is_key else 0
    body = _FRAME.size - 12 + len(frame)
    return (
        _FRAME.pack(
            _CLUSTER.to_bytes(4, "big"),
            *(marker | body, _TIMESTAMP, 0x88, time),  # 0x88: of eight bytes
            *(_SIMPLE_BLOCK, marker | block, 0x81, 0, flags),  # 0x81: of track 1; at that time
        )
        + frame
    )


def _frames(path: str, first: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """Yield the time, the place, and whether it is a key, of each frame between two bytes."""
    with open(path, "rb") as file:
        at = first
        while at < end:
            file.seek(at)
            name, size, _, _, time, _, _, _, _, flags = _FRAME.unpack(file.read(_FRAME.size))
            if int.from_bytes(name, "big") != _CLUSTER:
                raise ValueError("expected a cluster")
            yield time, at, bool(flags & _KEY)
            at += 12 + (size & ((1 << 56) - 1))
        if at != end:
            raise ValueError("expected the end of a frame")
