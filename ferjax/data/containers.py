"""Folders, archives and single files as lists of members, opened through guards.

An archive is untrusted input. Nothing is unpacked to the disk: members are read into memory, one at
a time, from names that stay inside the archive, within limits on their number and their size.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Protocol

from ferjax.errors import DataError, ImageError, printable
from ferjax.image_files import MAX_FILE_BYTES, file_bytes, natural

PREPARED: Final = ("faces.npz", "manifest.json")  # what `ferjax data prepare` makes has both
MAX_MEMBERS: Final = 1_000_000
MAX_TOTAL_BYTES: Final = 64 * 2**30  # unpacked, all members together
MAX_STREAM_BYTES: Final = 4 * 2**30  # unpacked, one csv; fer2013.csv has 0.3 GB
MAX_RATIO: Final = 200  # unpacked to packed; photographs reach 2, csv files 5
RATIO_FROM: Final = 64 * 2**20  # below so many bytes unpacked the ratio does not matter

_PIECE: Final = 2**20
_EXPECTED: Final = (
    "expected a folder, a .zip or .tar.gz archive of images, a .csv with columns such as emotion "
    "and pixels, or .parquet files"
)
_OPENERS: Final[tuple[tuple[bytes, Callable[[IO[bytes]], Any]], ...]] = (
    (b"\x1f\x8b", lambda file: gzip.GzipFile(fileobj=file)),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\x00", lzma.LZMAFile),
)
_UNREADABLE: Final = (
    *(OSError, EOFError, ValueError, RuntimeError, NotImplementedError),
    *(LookupError, struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError),
)


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file inside a container."""

    name: str  # its path with forward slashes
    size: int | None  # bytes unpacked; None: not known before it is read
    key: Any = field(default=None, hash=False, compare=False)  # what its container finds it by


class Container(Protocol):
    """A folder, an archive or a single file."""

    kind: str  # folder, zip, tar or file
    members: list[Member]  # regular files in natural order; hidden ones are left out
    bad: list[tuple[str, str]]  # members that cannot be trusted, and why

    def path(self, member: Member) -> str | None:
        """Return where a member lies on the disk as it is; None for one that is packed."""
        ...

    def in_order(self, members: Sequence[Member]) -> list[Member]:
        """Return `members` in the order in which reading them is fast."""
        ...

    def read(self, member: Member) -> bytes:
        """Return a member's content. Raises DataError, whose text is the reason alone."""
        ...

    def open(self, member: Member) -> io.BufferedReader:
        """Return a member's content as a stream of limited length."""
        ...


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Container]:
    """Open a folder, an archive or a file; which one it is, its content says.

    Raises:
        DataError: nothing is there, it cannot be read, or it goes beyond a limit.
    """
    shown = printable(os.fsdecode(path)) or "''"
    with ExitStack() as stack:
        try:
            container = _open(os.fsdecode(path), stack)
        except DataError as error:
            raise DataError(f"{shown}: {error}") from error
        except _UNREADABLE as error:
            raise DataError(f"{shown}: {_reason(error)}") from error
        yield container


def _open(path: str, stack: ExitStack) -> Container:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise DataError(f"no such file or folder; {_EXPECTED}") from None
    if stat.S_ISDIR(status.st_mode):
        return _Folder(path)
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait
        raise DataError(f"not a regular file; {_EXPECTED}")
    file = stack.enter_context(open(path, "rb"))  # noqa: SIM115
    head = file.read(512)
    file.seek(0)
    if not head:
        raise DataError(f"empty, 0 bytes; {_EXPECTED}")
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _Zip(stack.enter_context(zipfile.ZipFile(file)), status.st_size)
    if head.startswith((b"Rar!", b"7z\xbc\xaf\x27\x1c", b"\x28\xb5\x2f\xfd")):
        raise DataError(f"an archive of a kind that ferjax does not read, unpack it; {_EXPECTED}")
    opener = next((opener for magic, opener in _OPENERS if head.startswith(magic)), None)
    limit = MAX_TOTAL_BYTES
    if opener is not None:
        limit = max(RATIO_FROM, min(limit, MAX_RATIO * status.st_size))
        packed = opener(file)
        stack.callback(packed.close)
        head = packed.read(512)
        packed.seek(0)
        stream = _Bounded(packed, limit)
    else:
        stream = _Bounded(file, limit)
    if _is_tar(head):
        return _Tar(stack.enter_context(tarfile.open(fileobj=stream, mode="r:")), stream, limit)
    plain = opener is None
    member = Member(
        name=Path(path).name,
        size=status.st_size if plain else None,
        key=path if plain else None,
    )
    return _File(member, stream, head)


def _is_tar(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _reason(error: BaseException) -> str:
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, EOFError):
        return "truncated: it ends early"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return printable(f"cannot be read: {text}", 300)


def _unsafe(name: str) -> str | None:
    """Return why a member's name is refused, if it is."""
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "an absolute path"
    if ".." in name.split("/"):
        return "a path that leaves the archive"
    return None


def _tidy(name: str) -> str:
    """Drop empty and "." parts; some Windows tools write backslashes."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _hidden(name: str) -> bool:
    return not name or any(p.startswith(".") or p == "__MACOSX" for p in name.split("/"))


def _sorted(members: list[Member]) -> list[Member]:
    # Of several members of one name the last counts, as when unpacking.
    unique = {member.name: member for member in members}
    return sorted(unique.values(), key=lambda member: natural(member.name))


def _check_number(count: int) -> None:
    if count > MAX_MEMBERS:
        raise DataError(f"more than {MAX_MEMBERS:,} files; expected a dataset of faces")


def _check_size(size: int, most: int = MAX_FILE_BYTES) -> None:
    if size > most:
        raise DataError(f"{size / 2**20:,.0f} MiB unpacked; expected at most {most // 2**20} MiB")


# --- folders and files ---------------------------------------------------------------------------


def files_of(folder: str | os.PathLike[str]) -> Iterator[tuple[str, str]]:
    """Yield the files of a folder that are read as a source: name with forward slashes, and path.

    Hidden ones are left out, and prepared datasets inside it, which were made of it. Links to
    folders are followed, once each: datasets are often linked to, and a link may lead back to a
    folder above it.

    Raises:
        DataError: a folder cannot be listed, or there are too many files.
    """

    def fail(error: OSError) -> None:
        raise DataError(f"cannot list {error.filename}: {error.strerror}")

    seen: set[str] = set()
    count = 0
    for base, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        real = os.path.realpath(base)
        if real in seen or (seen and set(PREPARED) <= set(files)):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if not _hidden(f))
        for file in files:
            if not _hidden(file):
                full = os.path.join(base, file)
                yield os.path.relpath(full, folder).replace(os.sep, "/"), full
                count += 1
        _check_number(count)


class _Folder:
    kind = "folder"

    def __init__(self, path: str) -> None:
        self.bad: list[tuple[str, str]] = []
        self.members = _sorted(
            [Member(name=name, size=None, key=full) for name, full in files_of(path)]
        )

    def path(self, member: Member) -> str | None:
        if not os.path.isfile(member.key):
            raise DataError("not a regular file")
        return str(member.key)

    def in_order(self, members: Sequence[Member]) -> list[Member]:
        return list(members)

    def read(self, member: Member) -> bytes:
        try:
            return file_bytes(member.key, "")
        except ImageError as error:
            raise DataError(str(error).removeprefix(": ")) from error

    def open(self, member: Member) -> io.BufferedReader:
        if not os.path.isfile(member.key):
            raise DataError("not a regular file")
        _check_size(os.path.getsize(member.key), MAX_STREAM_BYTES)
        return _buffered(_Checked(open(member.key, "rb", buffering=0)))


class _File:
    """One file that is neither an archive nor a folder, perhaps compressed."""

    kind = "file"

    def __init__(self, member: Member, stream: _Bounded, head: bytes) -> None:
        self.members = [member]
        self.bad: list[tuple[str, str]] = []
        self.head = head
        self._stream = stream

    def path(self, member: Member) -> str | None:
        return None if member.key is None else str(member.key)

    def in_order(self, members: Sequence[Member]) -> list[Member]:
        return list(members)

    def read(self, member: Member) -> bytes:
        raise DataError(f"starts with {self.head[:12]!r}; {_EXPECTED}")

    def open(self, member: Member) -> io.BufferedReader:
        # Closing what is returned leaves the file open for the next call.
        return _buffered(_Window(self._stream, 0, MAX_STREAM_BYTES))


# --- archives ------------------------------------------------------------------------------------


class _Zip:
    kind = "zip"

    def __init__(self, archive: zipfile.ZipFile, packed: int) -> None:
        self._archive = archive
        self.bad: list[tuple[str, str]] = []
        members = []
        infos = archive.infolist()
        _check_number(len(infos))
        # Members may share their packed bytes, so that all sizes count against the whole file.
        total = sum(info.file_size for info in infos)
        if total > MAX_TOTAL_BYTES or (total > RATIO_FROM and total > MAX_RATIO * packed):
            raise DataError(
                f"{packed:,} bytes that would unpack to {total:,}; expected a dataset of faces"
            )
        for info in infos:
            name = info.filename.replace("\\", "/")
            if problem := _unsafe(name):
                self.bad.append((name, problem))
            elif name.endswith("/") or _hidden(name := _tidy(name)):
                continue
            elif stat.S_ISLNK(info.external_attr >> 16):
                self.bad.append((name, "a link"))
            elif info.flag_bits & 1:
                self.bad.append((name, "encrypted"))
            else:
                members.append(Member(name=name, size=info.file_size, key=info))
        self.members = _sorted(members)

    def path(self, member: Member) -> str | None:
        return None

    def in_order(self, members: Sequence[Member]) -> list[Member]:
        return sorted(members, key=lambda member: member.key.header_offset)

    def read(self, member: Member) -> bytes:
        _check_size(member.key.file_size)
        try:
            return self._archive.read(member.key)
        except _UNREADABLE as error:
            raise DataError(_reason(error)) from error

    def open(self, member: Member) -> io.BufferedReader:
        _check_size(member.key.file_size, MAX_STREAM_BYTES)
        try:
            return _buffered(_Checked(self._archive.open(member.key)))
        except _UNREADABLE as error:
            raise DataError(_reason(error)) from error


class _Tar:
    kind = "tar"

    def __init__(self, archive: tarfile.TarFile, stream: _Bounded, limit: int) -> None:
        self._stream = stream
        self.bad: list[tuple[str, str]] = []
        members = []
        total = 0
        for count, info in enumerate(archive, start=1):
            _check_number(count)
            # Checked before the next header is sought, for which this member is unpacked.
            total += info.size
            if total > limit:
                raise DataError(
                    f"would unpack to more than {limit:,} bytes; expected a dataset of faces"
                )
            name = info.name.replace("\\", "/")
            if problem := _unsafe(name):
                self.bad.append((name, problem))
            elif info.isdir() or _hidden(name := _tidy(name)):
                continue
            elif info.issym() or info.islnk():
                self.bad.append((name, "a link"))
            elif not info.isreg() or info.issparse():
                self.bad.append((name, "not a regular file"))
            else:
                members.append(Member(name=name, size=info.size, key=info.offset_data))
        # tarfile takes anything that is no header for the end.
        stream.seek(archive.offset)
        end = stream.read(512)
        if len(end) < 512 or any(end):
            raise DataError(f"truncated or corrupt after {len(members):,} files")
        self.members = _sorted(members)

    def path(self, member: Member) -> str | None:
        return None

    def in_order(self, members: Sequence[Member]) -> list[Member]:
        # A compressed stream goes forwards only; a step back unpacks it from its beginning.
        return sorted(members, key=lambda member: member.key)

    def read(self, member: Member) -> bytes:
        _check_size(member.size or 0)
        with self.open(member) as stream:
            data = stream.read()
        if len(data) != member.size:
            raise DataError("truncated: it ends early")
        return data

    def open(self, member: Member) -> io.BufferedReader:
        _check_size(member.size or 0, MAX_STREAM_BYTES)
        return _buffered(_Window(self._stream, member.key, member.size or 0))


class _Bounded(io.RawIOBase):
    """A stream, unpacked as it is read, that refuses to go beyond `limit` bytes."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream = stream
        self._limit = limit

    def read(self, size: int = -1) -> bytes:
        # tarfile reads a long name or header whole, whatever length it claims.
        if not 0 <= size <= 16 * _PIECE:
            raise DataError(f"a header of {size:,} bytes; expected an archive of images")
        data = self._stream.read(size)
        if self._stream.tell() > self._limit:
            raise DataError(
                f"would unpack to more than {self._limit:,} bytes; expected a dataset of faces"
            )
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


def _buffered(stream: io.RawIOBase) -> io.BufferedReader:
    return io.BufferedReader(stream, _PIECE)


class _Checked(io.RawIOBase):
    """A stream whose errors are DataErrors."""

    def __init__(self, stream: IO[bytes] | _Bounded) -> None:
        self._stream: Any = stream
        self._done = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._done

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._read(len(buffer))
        except DataError:
            raise
        except _UNREADABLE as error:
            raise DataError(_reason(error)) from error
        buffer[: len(data)] = data
        self._done += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()

    def _read(self, size: int) -> bytes:
        return bytes(self._stream.read(size))


class _Window(_Checked):
    """Part of a stream, read piece by piece; closing it leaves the stream open."""

    def __init__(self, stream: _Bounded, start: int, size: int) -> None:
        super().__init__(stream)
        self._position = start
        self._end = start + size

    def close(self) -> None:
        io.RawIOBase.close(self)

    def _read(self, size: int) -> bytes:
        wanted = min(size, self._end - self._position, _PIECE)
        if wanted <= 0:
            return b""
        self._stream.seek(self._position)
        data = bytes(self._stream.read(wanted))
        self._position += len(data)
        return data
