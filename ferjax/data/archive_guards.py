"""What is refused of folders, archives and files, and the streams through which they are read.

They come from strangers: refused are names that lead out, links, what is encrypted or packed by
other means, and what would unpack to more than faces need. xz alone would take the 4 GiB of memory
that a file may ask for.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, Final

from ferjax.errors import DataError, printable
from ferjax.image_files import MAX_FILE_BYTES

MAX_MEMBERS: Final = 1_000_000
MAX_TOTAL_BYTES: Final = 64 * 2**30  # unpacked, all members together
MAX_STREAM_BYTES: Final = 4 * 2**30  # unpacked, one csv; fer2013.csv has 0.3 GB
MAX_RATIO: Final = 200  # unpacked to packed; photographs reach 2, csv files 5
RATIO_FROM: Final = 64 * 2**20  # below so many bytes unpacked the ratio does not matter

_PIECE: Final = 2**20
EXPECTED: Final = (
    "expected a folder, a .zip or .tar.gz archive of images, a .csv with columns such as emotion "
    "and pixels, or .parquet files"
)
_OTHER_PACKERS: Final = {
    b"Rar!": "RAR",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
}
_UNREADABLE: Final = (
    *(OSError, EOFError, ValueError, RuntimeError, NotImplementedError),
    *(LookupError, struct.error, zlib.error, zipfile.BadZipFile, tarfile.TarError),
)


def size_of(path: str, expected: str = EXPECTED) -> int | None:
    """Return a file's size, None for a folder. Raises DataError for anything else."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise DataError(f"no such file or folder; {expected}") from None
    if stat.S_ISDIR(status.st_mode):
        return None
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait
        raise DataError(f"not a regular file; {expected}")
    if not status.st_size:
        raise DataError(f"empty, 0 bytes; {expected}")
    return status.st_size


def check_packer(head: bytes, expected: str = EXPECTED) -> None:
    """Raise for a file by a packer that is not read."""
    packer = next((name for magic, name in _OTHER_PACKERS.items() if head.startswith(magic)), None)
    if packer:
        raise DataError(f"packed by {packer}, which ferjax does not read: unpack it; {expected}")


def unsafe(name: str) -> str | None:
    """Return why a member's name is refused, if it is."""
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "an absolute path"
    if ".." in name.split("/"):
        return "a path that leaves the archive"
    return None


def hidden(name: str) -> bool:
    return not name or any(p.startswith(".") or p == "__MACOSX" for p in name.split("/"))


def fault_in_zip(info: zipfile.ZipInfo) -> str | None:
    if stat.S_ISLNK(info.external_attr >> 16):
        return "a link"
    return "encrypted" if info.flag_bits & 1 else None


def check_method(info: zipfile.ZipInfo) -> None:
    """Raise for a member of a .zip that is packed by other means than deflate."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"packed by method {info.compress_type}; expected a .zip packed by deflate")


def fault_in_tar(info: tarfile.TarInfo) -> str | None:
    if info.issym() or info.islnk():
        return "a link"
    return None if info.isreg() and not info.issparse() else "not a regular file"


def check_number(count: int) -> None:
    if count > MAX_MEMBERS:
        raise DataError(f"more than {MAX_MEMBERS:,} files; expected a dataset of faces")


def check_size(size: int, most: int = MAX_FILE_BYTES) -> None:
    if size > most:
        raise DataError(f"{size / 2**20:,.0f} MiB unpacked; expected at most {most // 2**20} MiB")


def check_unpacked(
    sizes: Sequence[int],
    packed: int,
    largest: int = MAX_TOTAL_BYTES,
    expected: str = "a dataset of faces",
) -> None:
    """Raise where parts of a file would unpack to more than faces need.

    Args:
        sizes: bytes of each part unpacked, as the file says.
        packed: bytes of the file.
        largest: what one part may have.
        expected: what the file should hold, in words.
    """
    total = sum(sizes)
    is_dense = total > RATIO_FROM and total > MAX_RATIO * packed
    if total > MAX_TOTAL_BYTES or max(sizes, default=0) > largest or is_dense:
        raise DataError(f"{packed:,} bytes that would unpack to {total:,}; expected {expected}")


def unpacked_limit(packed: int | None) -> int:
    """Return the bytes that a file of so many may unpack to; None: it is not packed."""
    if packed is None:
        return MAX_TOTAL_BYTES
    return max(RATIO_FROM, min(MAX_TOTAL_BYTES, MAX_RATIO * packed))


@contextmanager
def told() -> Iterator[None]:
    """Make what archives and their members raise DataErrors, whose text is the reason alone."""
    try:
        yield
    except DataError:
        raise
    except _UNREADABLE as error:
        raise DataError(_reason(error)) from error


def _reason(error: BaseException) -> str:
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, EOFError):
        return "truncated: it ends early"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return printable(f"cannot be read: {text}", 300)


class Bounded(io.RawIOBase):
    """A stream, unpacked as it is read, that refuses to go beyond `limit` bytes."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream = stream
        self._limit = limit

    def read(self, size: int = -1) -> bytes:
        # tarfile reads a long name or header whole, whatever length it claims.
        if not 0 <= size <= 16 * _PIECE:
            raise DataError(f"a header of {size:,} bytes; expected an archive of images")
        data = self._stream.read(size)
        self.check(self._stream.tell())
        return data

    def check(self, size: int) -> None:
        """Raise where so many bytes are more than the limit."""
        if size > self._limit:
            raise DataError(
                f"would unpack to more than {self._limit:,} bytes; expected a dataset of faces"
            )

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


def buffered(stream: io.RawIOBase) -> io.BufferedReader:
    return io.BufferedReader(stream, _PIECE)


class Checked(io.RawIOBase):
    """A stream whose errors are DataErrors."""

    def __init__(self, stream: IO[bytes] | Bounded) -> None:
        self._stream: Any = stream
        self._done = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._done

    def readinto(self, buffer: Any) -> int:
        with told():
            data = self._read(len(buffer))
        buffer[: len(data)] = data
        self._done += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()

    def _read(self, size: int) -> bytes:
        return bytes(self._stream.read(size))


class Window(Checked):
    """Part of a stream, read piece by piece; closing it leaves the stream open."""

    def __init__(self, stream: Bounded, start: int, size: int) -> None:
        super().__init__(stream)
        self._start = start
        self._size = size

    def close(self) -> None:
        io.RawIOBase.close(self)

    def _read(self, size: int) -> bytes:
        self._stream.seek(self._start + self._done)
        return super()._read(max(0, min(size, self._size - self._done, _PIECE)))
