"""Which pictures and films there are, on this machine and at addresses; fetching them.

What is on this machine is found as `ferjax faces` finds it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

from ferjax.errors import FerjaxError, ImageError, WriteError, first_line, printable
from ferjax.faces.outputs import find_photographs, has_made_name, is_made
from ferjax.filesystems import Place, place_of, problem, shown
from ferjax.image_files import IMAGE_SUFFIXES, MAX_FILE_BYTES, natural

_FILM_SUFFIXES: Final = "3gp asf avi flv m4v mkv mov mp4 mpeg mpg mts ogv ts webm wmv"
FILM_SUFFIXES: Final = frozenset(f".{suffix}" for suffix in _FILM_SUFFIXES.split())
AHEAD: Final = 16  # files that are fetched while others are at work
_ATTEMPTS: Final = 3
_PIECE: Final = 1 << 20  # bytes of a file that are copied at once

T = TypeVar("T")


def listed(text: str, suffixes: frozenset[str] = IMAGE_SUFFIXES) -> tuple[list[str], int]:
    """Return the files at an address, as paths in its file system, and how many are left out.

    Drawings and crops that ferjax made, hidden files and those with other suffixes are left out. A
    file that is given by its own address is taken whatever its suffix.

    Raises:
        FerjaxError: there is nothing, or it cannot be listed.
    """
    from pyarrow import fs

    place = place_of(text)
    filesystem = place.filesystem
    try:
        (info,) = filesystem.get_file_info([place.path])
        if info.type == fs.FileType.File:
            return [place.path], 0
        selector = fs.FileSelector(place.path, recursive=True, allow_not_found=True)
        infos = filesystem.get_file_info(selector)
    except Exception as error:
        raise problem(text, error, "listed") from error
    if not infos and info.type == fs.FileType.NotFound:
        raise ImageError(f"{shown(text)}: no such file or folder")
    files = [i.path for i in infos if i.type == fs.FileType.File]
    below = len(place.path) + 1
    chosen = [path for path in files if _is_wanted(path[below:], suffixes)]
    if not chosen:
        raise _nothing(shown(text), suffixes)
    return sorted(chosen, key=natural), len(files) - len(chosen)


def local_files(sources: Sequence[str], suffixes: frozenset[str]) -> tuple[list[str], int]:
    """Return the files that paths and folders of this machine stand for, and how many are left out.

    Raises:
        ImageError: a path leads nowhere, or a folder has none.
    """
    if "" in sources:
        raise ImageError("expected a path, got an empty string")
    missing = next((source for source in sources if not os.path.lexists(source)), None)
    if missing is not None:
        raise ImageError(f"{printable(missing)}: no such file or folder")
    if suffixes is not FILM_SUFFIXES:
        if len(sources) == 1 and os.path.isdir(sources[0]):
            photographs, left_out = _photographs_in(sources[0])
            if photographs:
                return photographs, left_out
        inputs, left_out = find_photographs(sources)
        return [os.fspath(item.path) for item in inputs], left_out
    films: dict[str, None] = {}
    left_out = 0
    for source in sources:
        if not os.path.isdir(source):
            films[source] = None
            continue
        paths, others = _films_in(source)
        films.update(dict.fromkeys(paths))
        left_out += others
    return list(films), left_out


def _films_in(folder: str) -> tuple[list[str], int]:
    """Return the films in a folder, and how many files are none.

    Raises:
        ImageError: there are none, or a folder cannot be listed.
    """

    def fail(error: OSError) -> None:
        reason = error.strerror or first_line(error)
        raise ImageError(f"{printable(str(error.filename))}: cannot be listed ({reason})")

    files: list[str] = []
    for base, _, names in os.walk(folder, onerror=fail):
        files += (os.path.relpath(os.path.join(base, name), folder) for name in names)
    chosen = [path for path in files if _is_wanted(path, FILM_SUFFIXES)]
    if not chosen:
        raise _nothing(printable(folder), FILM_SUFFIXES)
    paths = [os.path.join(folder, path) for path in sorted(chosen, key=natural)]
    return paths, len(files) - len(chosen)


def _nothing(where: str, suffixes: frozenset[str]) -> ImageError:
    """Return the error of a folder that holds nothing of a kind."""
    what, example = "images", ".png or .jpg"
    if suffixes is FILM_SUFFIXES:
        what, example = "films", ".mp4 or .webm"
    return ImageError(f"{where}: no {what} in this folder; expected files such as {example}")


def _photographs_in(folder: str) -> tuple[list[str], int]:
    """Return what `find_photographs` does for a folder, in a tenth of its memory.

    Photographs are in natural order in each folder, and folders in order; none are returned where
    the folder cannot be listed.
    """
    root = str(Path(folder))
    paths: list[str] = []
    left_out = 0

    def keep(error: OSError) -> None:
        if error.filename != root:  # a folder in it, whose row will say so
            paths.append(error.filename)

    for base, folders, files in os.walk(root, onerror=keep):
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=natural)
        for name in sorted(files, key=natural):
            if name.startswith(".") or os.path.splitext(name)[1].lower() not in IMAGE_SUFFIXES:
                continue
            if has_made_name(name) and is_made(Path(base, name)):
                left_out += 1
            else:
                paths.append(name if base == "." else os.path.join(base, name).removeprefix("./"))
    return paths, left_out


def _is_wanted(path: str, suffixes: frozenset[str]) -> bool:
    pure = PurePosixPath(path)
    return (
        pure.suffix.lower() in suffixes
        and not any(part.startswith(".") for part in pure.parts)
        and not has_made_name(pure.name)
    )


def _tried(read: Callable[[], T]) -> T:
    """Return what is read, tried again where that fails, but not for what is not there."""
    for attempt in range(_ATTEMPTS):
        try:
            return read()
        except (FileNotFoundError, PermissionError, FerjaxError):
            raise
        except Exception:
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError


def copy_file(place: Place, path: str, target: str) -> None:
    """Copy a file to this machine.

    Raises:
        WriteError: the copy cannot be written.
        Exception: whatever the file system's library raises.
    """

    def copied() -> None:
        with (
            place.filesystem.open_input_stream(path) as file,
            open(target, "wb", buffering=0) as written,
        ):
            while content := memoryview(file.read(_PIECE)):
                try:
                    while content:
                        content = content[written.write(content) :]
                except OSError as error:
                    reason = error.strerror or first_line(error)
                    raise WriteError(f"{target}: cannot be written ({reason})") from error

    _tried(copied)


class Fetcher:
    """Files of a file system, of which the next few are fetched while others are at work."""

    def __init__(self, place: Place, paths: Sequence[str], *, ahead: int = AHEAD) -> None:
        """Fetch nothing yet.

        Args:
            place: whose file system they are in.
            paths: of the files.
            ahead: how many are fetched at once; 1: each when its turn comes.
        """
        self._place, self._paths, self._ahead = place, paths, ahead
        self._pool = ThreadPoolExecutor(ahead, "ferjax-fetch")
        self._waiting: dict[int, Future[bytes]] = {}

    def files(self) -> list[Fetched]:
        """Return the files, each to be read when its turn comes."""
        return [
            Fetched(self, index, self._place.name(path)) for index, path in enumerate(self._paths)
        ]

    def content(self, index: int) -> bytes:
        """Return what a file holds, up to a byte more than an image file may have.

        Raises:
            Exception: whatever the file system's library raises.
        """
        for ahead in range(index, min(index + self._ahead, len(self._paths))):
            if ahead not in self._waiting:
                self._waiting[ahead] = self._pool.submit(self._fetch, self._paths[ahead])
        return self._waiting.pop(index).result()

    def _fetch(self, path: str) -> bytes:
        def content() -> bytes:
            with self._place.filesystem.open_input_stream(path) as file:
                return bytes(file.read(MAX_FILE_BYTES + 1))

        return _tried(content)

    def close(self) -> None:
        """Stop fetching."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class Fetched:
    """One file of a `Fetcher`, as an open file.

    Attributes:
        name: what errors call it.
        is_whole: nobody has read it before, so that an empty one is an empty file.
    """

    is_whole = True

    def __init__(self, fetcher: Fetcher, index: int, name: str) -> None:
        self._fetcher, self._index, self.name = fetcher, index, name
        self._file: io.BytesIO | None = None

    def read(self, size: int = -1) -> bytes:
        if self._file is None:
            try:
                self._file = io.BytesIO(self._fetcher.content(self._index))
            except Exception as error:
                raise OSError(first_line(error)) from error
        content = self._file.read(size)
        if not content:
            self._file = io.BytesIO()  # its bytes are needed no more
        return content

    def seek(self, position: int) -> int:
        self._file = None
        return position
