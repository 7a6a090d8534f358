"""Files: written so that a crash leaves the old or the new one, never half of one; read, locked."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from ferjax.errors import WriteError, printable

LETTERS: Final = 50  # of a name that are in that of its temporary file
_TEMPORARY: Final = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp", re.DOTALL)
_LONGEST_NAME: Final = 255  # bytes
_CHUNK: Final = 8 << 20  # bytes
_LEAST_CHUNK: Final = 1 << 16  # bytes, where the system does not tell a file's size


@contextmanager
def replacing(path: str | os.PathLike[str], *, directory: bool = False) -> Iterator[Path]:
    """Yield a new path beside `path`; what is written there takes its place when the block ends.

    Args:
        directory: the block makes a directory rather than a file.

    Raises:
        WriteError: the place cannot be written to; `path` is as it was before.
    """
    try:
        target = Path(os.path.realpath(path))  # a link stays a link
        temporary = target.with_name(f".{target.name[:LETTERS]}.{secrets.token_hex(4)}.tmp")
    except ValueError as error:  # a null byte in the name, or no name
        raise WriteError(f"{printable(str(path))}: cannot be written ({error})") from None
    try:
        if not target.parent.is_dir():
            raise WriteError(f"{path}: the folder {target.parent} does not exist")
        if target.is_dir() != directory and target.exists():
            raise WriteError(f"{path}: is {'a folder' if target.is_dir() else 'a file'} already")
        if target.exists() and not (target.is_dir() or target.is_file()):
            raise WriteError(f"{path}: is not a regular file")
        yield temporary
        if directory:
            _replace_directory(temporary, target)
        else:
            _replace_file(temporary, target)
    except OSError as error:
        if isinstance(error, WriteError):
            raise
        raise WriteError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with suppress(OSError):
                temporary.unlink()


def remove_left_over(folder: str | os.PathLike[str], is_ours: Callable[[str], bool]) -> None:
    """Remove what `replacing` left of files in a folder where a process was killed.

    Args:
        is_ours: whether a name is of a file that no other process writes now; it gets the name's
            first 50 letters.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _TEMPORARY.fullmatch(entry.name)
            if match and is_ours(match[1]):
                with suppress(OSError):
                    os.unlink(entry.path)


def check_folder(path: str | os.PathLike[str]) -> None:
    """Raise where no folder can be made at a path, or written into: before long work for it.

    Raises:
        WriteError: a file is in the way, or the place is not writable.
    """
    try:
        folder = Path(os.path.realpath(path))
        nearest = next(f for f in (folder, *folder.parents) if os.path.lexists(f))
    except ValueError as error:  # a null byte in the name
        raise WriteError(f"{printable(str(path))}: cannot be written ({error})") from None
    if not nearest.is_dir():
        raise WriteError(f"{path}: expected a folder, {nearest} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise WriteError(f"{path}: cannot be written to, the folder {nearest} is not writable")


def check_file(path: str | os.PathLike[str]) -> None:
    """Raise where a path cannot be written to as a file: before long work for it.

    Raises:
        WriteError: no folder can be made for it, something else than a file is in the way, or it is
            not writable.
    """
    try:
        target = Path(os.path.realpath(path))
        exists = target.exists()
    except (OSError, ValueError) as error:  # too long a name, a null byte in it
        reason = getattr(error, "strerror", None) or error
        raise WriteError(f"{printable(str(path))}: cannot be written ({reason})") from None
    if not exists:
        return check_folder(target.parent)
    if target.is_dir():
        raise WriteError(f"{path}: is a folder already")
    if not target.is_file():
        raise WriteError(f"{path}: is not a regular file")
    if not os.access(target, os.W_OK):
        raise WriteError(f"{path}: cannot be written (Permission denied)")


def hidden_beside(path: str | os.PathLike[str], end: str) -> Path:
    """Return a hidden file beside another, by a link beside what that leads to.

    >>> hidden_beside("films/talk.csv", ".resume").name
    '.talk.csv.resume'
    """
    real = Path(os.path.realpath(path))
    begin = real.name[:100]
    while len(os.fsencode(f".{begin}{end}")) > _LONGEST_NAME:
        begin = begin[:-1]
    return real.with_name(f".{begin}{end}")


def is_utf8(text: str) -> bool:
    """Whether a name is text, and not bytes that Python could not decode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def json_text(value: Any, *, allow_nan: bool = True) -> str:
    """Return JSON to be written as UTF-8; names of files that are not UTF-8 are escaped in it."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=allow_nan)
    return (text if is_utf8(text) else json.dumps(value, indent=2)) + "\n"


def read_json(path: str | os.PathLike[str], most: int) -> Any:
    """Return what a JSON file of at most so many bytes holds.

    Raises:
        OSError, ValueError, RecursionError: it cannot be read, is larger, or holds something else.
    """
    if os.path.getsize(path) > most:
        raise ValueError("too large")
    return json.loads(Path(path).read_text(encoding="utf-8"))


def lock(handle: int) -> bool:
    """Keep other processes out of an open file; False where one has it. It ends with the process.

    On Windows, and in file systems without locks, all have it.
    """
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        pass
    return True


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises:
        WriteError: it cannot be made.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{path}: cannot be made ({error.strerror or error})") from None


def _replace_file(temporary: Path, target: Path) -> None:
    if target.exists():
        shutil.copymode(target, temporary)
    _sync(temporary)
    temporary.replace(target)
    _sync_folder(target.parent)


def _replace_directory(temporary: Path, target: Path) -> None:
    """Swap folders; between the two renames the old one is kept under another name."""
    old = target.with_name(f".{target.name}.{secrets.token_hex(4)}.old")
    if target.exists():
        target.rename(old)
    try:
        temporary.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
    _sync_folder(target.parent)


def _sync_folder(path: Path) -> None:
    with suppress(OSError):  # not all systems can, and the file has its place by now
        _sync(path)


def _sync(path: Path) -> None:
    """Have the operating system write `path` to the disk."""
    with suppress(PermissionError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def user_cache() -> Path:
    """Return ferjax's folder among the user's caches, which may not be there yet.

    Raises:
        RuntimeError: the user has no home.
    """
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home())
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "ferjax"


def is_same_file(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> bool:
    """Whether two paths are of one file, by whatever links, be it there or not."""
    if os.path.realpath(first) == os.path.realpath(second):
        return True
    try:
        return os.path.samefile(first, second)
    except (OSError, ValueError):
        return False


def chunks(path: str | os.PathLike[str]) -> Iterator[memoryview]:
    """Yield the content of a file, as views of one buffer: each holds until the next is asked for.

    They are large, for after each the thread must take Python's lock again.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        buffer = memoryview(bytearray(min(max(size, _LEAST_CHUNK), _CHUNK)))
        while count := file.readinto(buffer):
            yield buffer[:count]
