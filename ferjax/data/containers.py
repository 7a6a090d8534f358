"""Folders, archives and single files as lists of members, opened through guards.

An archive is untrusted input. Nothing is unpacked to the disk: members are read into memory, one at
a time, from names that stay inside the archive, within limits on their number and their size.
What is refused of them, `archive_guards` says.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Final

from ferjax.data import archive_guards as guards
from ferjax.errors import DataError, ImageError, printable
from ferjax.image_files import file_bytes, natural

PREPARED: Final = ("faces.npz", "manifest.json")  # what `ferjax data prepare` makes has both


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file inside a container."""

    name: str  # its path with forward slashes
    size: int | None  # bytes unpacked; None: not known before it is read
    key: Any = field(default=None, hash=False, compare=False)  # what its container finds it by


class Container:
    """A folder, an archive or a single file.

    Attributes:
        kind: folder, zip, tar or file.
        members: regular files in natural order; hidden ones are left out.
        bad: members that cannot be trusted, and why.
    """

    kind: str

    def __init__(self) -> None:
        self.members: list[Member] = []
        self.bad: list[tuple[str, str]] = []

    def path(self, member: Member) -> str | None:
        """Return where a member lies on the disk as it is; None for one that is packed."""
        return None

    def in_order(self, members: Sequence[Member]) -> list[Member]:
        """Return `members` in the order in which reading them is fast."""
        return list(members)

    def read(self, member: Member) -> bytes:
        """Return a member's content. Raises DataError, whose text is the reason alone."""
        raise NotImplementedError

    def open(self, member: Member) -> io.BufferedReader:
        """Return a member's content as a stream of limited length."""
        raise NotImplementedError

    def _add(self, member: Member, *, is_folder: bool, fault: str | None) -> None:
        """Take a member of an archive by its name there, or say why it is refused."""
        name = member.name.replace("\\", "/")  # some Windows tools write these
        tidy = "/".join(part for part in name.split("/") if part not in ("", "."))
        if problem := guards.unsafe(name):
            self.bad.append((name, problem))
        elif not is_folder and not guards.hidden(tidy):
            if fault:
                self.bad.append((tidy, fault))
            else:
                self.members.append(replace(member, name=tidy))

    def _sort(self) -> None:
        # Of several members of one name the last counts, as when unpacking.
        unique = {member.name: member for member in self.members}
        self.members = sorted(unique.values(), key=lambda member: natural(member.name))


@contextmanager
def opened(path: str | os.PathLike[str], expected: str = guards.EXPECTED) -> Iterator[Container]:
    """Open a folder, an archive or a file; which one it is, its content says.

    Args:
        expected: what else there could be, for errors.

    Raises:
        DataError: nothing is there, it cannot be read, or it goes beyond a limit.
    """
    shown = printable(os.fsdecode(path)) or "''"
    with ExitStack() as stack:
        try:
            with guards.told():
                container = _open(os.fsdecode(path), stack, expected)
        except DataError as error:
            raise DataError(f"{shown}: {error}") from error
        yield container


def _open(path: str, stack: ExitStack, expected: str) -> Container:
    size = guards.size_of(path, expected)
    if size is None:
        return _Folder(path)
    file = stack.enter_context(open(path, "rb"))  # noqa: SIM115
    head = _head(file)
    guards.check_packer(head, expected)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _Zip(stack.enter_context(zipfile.ZipFile(file)), size)
    is_packed = head.startswith(b"\x1f\x8b")
    content: Any = stack.enter_context(gzip.GzipFile(fileobj=file)) if is_packed else file
    head = _head(content)
    stream = guards.Bounded(content, guards.unpacked_limit(size if is_packed else None))
    if _is_tar(head):
        return _Tar(stack.enter_context(tarfile.open(fileobj=stream, mode="r:")), stream)
    return _File(path, None if is_packed else size, stream, head)


def _head(file: IO[bytes]) -> bytes:
    head = file.read(512)
    file.seek(0)
    return head


def _is_tar(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


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
        folders[:] = sorted(f for f in folders if not guards.hidden(f))
        for file in files:
            if not guards.hidden(file):
                full = os.path.join(base, file)
                yield os.path.relpath(full, folder).replace(os.sep, "/"), full
                count += 1
        guards.check_number(count)


class _Folder(Container):
    kind = "folder"

    def __init__(self, path: str) -> None:
        super().__init__()
        self.members = [Member(name=name, size=None, key=full) for name, full in files_of(path)]
        self._sort()

    def path(self, member: Member) -> str | None:
        if not os.path.isfile(member.key):  # opening a pipe would wait
            raise DataError("not a regular file")
        return str(member.key)

    def read(self, member: Member) -> bytes:
        try:
            return file_bytes(member.key, "")
        except ImageError as error:
            raise DataError(str(error).removeprefix(": ")) from error

    def open(self, member: Member) -> io.BufferedReader:
        self.path(member)  # refuses what is no file
        guards.check_size(os.path.getsize(member.key), guards.MAX_STREAM_BYTES)
        return guards.buffered(guards.Checked(open(member.key, "rb", buffering=0)))


class _File(Container):
    """One file that is neither an archive nor a folder, perhaps packed: its size is None then."""

    kind = "file"

    def __init__(self, path: str, size: int | None, stream: guards.Bounded, head: bytes) -> None:
        super().__init__()
        self.members = [Member(name=Path(path).name, size=size, key=path)]
        self._head = head
        self._stream = stream

    def path(self, member: Member) -> str | None:
        return None if member.size is None else str(member.key)

    def read(self, member: Member) -> bytes:
        raise DataError(f"starts with {self._head[:12]!r}; {guards.EXPECTED}")

    def open(self, member: Member) -> io.BufferedReader:
        # Closing what is returned leaves the file open for the next call.
        return guards.buffered(guards.Window(self._stream, 0, guards.MAX_STREAM_BYTES))


# --- archives ------------------------------------------------------------------------------------


class _Zip(Container):
    kind = "zip"

    def __init__(self, archive: zipfile.ZipFile, packed: int) -> None:
        super().__init__()
        self._archive = archive
        infos = archive.infolist()
        guards.check_number(len(infos))
        guards.check_unpacked([info.file_size for info in infos], packed)
        for info in infos:
            member = Member(name=info.filename, size=info.file_size, key=info)
            is_folder = info.filename.endswith(("/", "\\"))
            self._add(member, is_folder=is_folder, fault=guards.fault_in_zip(info))
        self._sort()

    def in_order(self, members: Sequence[Member]) -> list[Member]:
        return sorted(members, key=lambda member: member.key.header_offset)

    def read(self, member: Member) -> bytes:
        guards.check_size(member.key.file_size)
        guards.check_method(member.key)
        with guards.told():
            return self._archive.read(member.key)

    def open(self, member: Member) -> io.BufferedReader:
        guards.check_size(member.key.file_size, guards.MAX_STREAM_BYTES)
        guards.check_method(member.key)
        with guards.told():
            return guards.buffered(guards.Checked(self._archive.open(member.key)))


class _Tar(Container):
    kind = "tar"

    def __init__(self, archive: tarfile.TarFile, stream: guards.Bounded) -> None:
        super().__init__()
        self._stream = stream
        total = 0
        for count, info in enumerate(archive, start=1):
            guards.check_number(count)
            # Checked before the next header is sought, for which this member is unpacked.
            total += info.size
            stream.check(total)
            member = Member(name=info.name, size=info.size, key=info.offset_data)
            self._add(member, is_folder=info.isdir(), fault=guards.fault_in_tar(info))
        # tarfile takes anything that is no header for the end.
        stream.seek(archive.offset)
        end = stream.read(512)
        if len(end) < 512 or any(end):
            raise DataError(f"truncated or corrupt after {len(self.members):,} files")
        self._sort()

    def in_order(self, members: Sequence[Member]) -> list[Member]:
        # A compressed stream goes forwards only; a step back unpacks it from its beginning.
        return sorted(members, key=lambda member: member.key)

    def read(self, member: Member) -> bytes:
        guards.check_size(member.size or 0)
        with self.open(member) as stream:
            data = stream.read()
        if len(data) != member.size:
            raise DataError("truncated: it ends early")
        return data

    def open(self, member: Member) -> io.BufferedReader:
        guards.check_size(member.size or 0, guards.MAX_STREAM_BYTES)
        return guards.buffered(guards.Window(self._stream, member.key, member.size or 0))
