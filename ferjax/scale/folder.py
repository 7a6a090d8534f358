"""The folder of a run: Parquet files, each of some of the pictures, and what was asked for.

    part-000000000-4f6b….parquet  ...   rows, and in the file's metadata what was counted
    .begun-part-000000000-4f6b…         while a worker is at it: see `attempts`
    .ferjax-run.json                    what the run was asked for, and which call writes now
    _summary.json                        in the end, what came of all

A part comes to its place as a whole, so that a file that is there is whole. Parts are named by
what is in them: a part that two workers did has one name.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ferjax import temporary
from ferjax.errors import FerjaxError, WriteError, first_line, printable
from ferjax.faces.settings import check_resumed
from ferjax.files import check_folder, json_text, make_folder, remove_left_over, replacing
from ferjax.filesystems import Place, is_address, place_of, shown
from ferjax.prediction_tables.parts import RECORD
from ferjax.scale.tables import Columns, Layout

SUMMARY: Final = "_summary.json"
_FORMAT: Final = 1
_COUNTS: Final = b"ferjax counts"
_PART: Final = "part-"
_BEGUN: Final = ".begun-"
_MAX_NOTE: Final = 1 << 20  # bytes
_MOST_KINDS: Final = 50  # of errors that are told apart


@dataclass
class Counts:
    """What came of pictures or films.

    Attributes:
        inputs: how many they are.
        faces: in them.
        empty: inputs without a face.
        failed: those that could not be read.
        errors: why, and how often each.
    """

    inputs: int = 0
    faces: int = 0
    empty: int = 0
    failed: int = 0
    errors: dict[str, int] = field(default_factory=dict)

    def add(self, other: Counts) -> None:
        """Add what came of others."""
        for name in ("inputs", "faces", "empty", "failed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for kind, count in other.errors.items():
            self.add_error(kind, count)

    def add_error(self, kind: str, count: int = 1) -> None:
        """Count an error, once there are many kinds among the others."""
        if kind not in self.errors and len(self.errors) >= _MOST_KINDS:
            kind = "others"
        self.errors[kind] = self.errors.get(kind, 0) + count


class Taken(Exception):
    """Another call writes to the folder now."""


class Folder:
    """The folder of a run, on this machine or at an address.

    Attributes:
        shown: what errors call it.
        asked: what its run was asked for, or None where there is none.
        ended: whether that run came to its end.
        size: how many pictures its parts have.
    """

    def __init__(self, text: str) -> None:
        """Look at what is there; nothing is written.

        Raises:
            FerjaxError: it cannot be read or written to.
        """
        self.text, self.shown = text, shown(text)
        if not text:
            raise FerjaxError("expected a folder for --out, got an empty string")
        self._place: Place = place_of(text)
        self._is_local = not is_address(text)
        if self._is_local:
            check_folder(text)
        record = self._read_record()
        self.asked: dict[str, Any] | None = record.get("asked")
        self.ended = record.get("ended") is True
        self.size: int | None = record.get("size")
        self._token = ""

    # --- before ----------------------------------------------------------------------------------

    def check(self, asked: Mapping[str, Any], *, resume: bool, force: bool) -> None:
        """Raise where something is in the way, or there is no run that `resume` goes on with.

        Raises:
            FerjaxError: another run is there, or files that ferjax did not write.
        """
        if self.asked is None or (force and not resume):
            others = self._parquet_files()
            if self.asked is not None:
                others = [name for name in others if not name.startswith(_PART)]
            if others:
                raise WriteError(
                    printable(
                        f"{self.shown}: holds Parquet files that are of no run of ferjax, such as "
                        f"{others[0]}; give another folder"
                    )
                )
        elif resume:
            check_resumed(self.asked, dict(asked), self.shown)
        elif not force:
            state = "holds a run" if self.ended else "holds an unfinished run"
            raise WriteError(
                f"{self.shown}: {state}; --resume goes on with it, --force replaces it"
            )

    def begin(self, asked: Mapping[str, Any], size: int, *, replace: bool) -> None:
        """Make the folder, and have other calls that write to it stop.

        Args:
            asked: what the run is asked for.
            size: how many pictures a part has.
            replace: remove what an earlier run wrote.

        Raises:
            WriteError: it cannot be written to, or what is to be replaced cannot be removed.
        """
        if self._is_local:
            make_folder(self.text)
        else:
            with suppress(Exception):  # where there are no folders
                self._place.filesystem.create_dir(self._place.path, recursive=True)
        self._token = secrets.token_hex(8)
        if replace and self.asked is not None:
            # The record stays that of the replaced run until its rows are gone: who is interrupted
            # in between would else go on with rows of other options.
            self._write_record(ended=False)
            for name in self._names():
                if name == SUMMARY or (name.startswith(_PART) and name.endswith(".parquet")):
                    self._remove(name, strictly=True)
        self.asked, self.size = dict(asked), size
        self._write_record(ended=False)
        self._tidy()

    def end(self, summary: Mapping[str, Any]) -> None:
        """Write the summary, and that the run came to its end."""
        self._tidy()
        self._write(SUMMARY, json_text(dict(summary), allow_nan=False).encode())
        self._write_record(ended=True)

    def _tidy(self) -> None:
        """Remove what workers left that were killed."""
        for name in self._names():
            if name.startswith(_BEGUN):
                self._remove(name)
        if self._is_local:
            remove_left_over(self.text, lambda name: name.startswith((_PART, _BEGUN)))

    def _write_record(self, *, ended: bool) -> None:
        record = {
            "format": _FORMAT,
            "asked": self.asked,
            "size": self.size,
            "token": self._token,
            "ended": ended,
        }
        self._write(RECORD, json.dumps(record).encode())

    def _read_record(self) -> dict[str, Any]:
        try:
            with self._opened(RECORD) as file:
                record = json.loads(file.read())
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (ValueError, RecursionError):
            raise FerjaxError(
                f"{self.shown}/{RECORD}: is damaged; give another folder for --out"
            ) from None
        except Exception as error:
            raise FerjaxError(f"{self.shown}: cannot be read ({first_line(error)})") from error
        if not _is_record(record):
            raise FerjaxError(f"{self.shown}: holds a run of another version of ferjax")
        return dict(record)

    # --- parts -----------------------------------------------------------------------------------

    def done(self) -> tuple[set[bytes], Counts]:
        """Return which pictures are in the folder, as `key_of` has them, and what came of them.

        Raises:
            FerjaxError: a part is damaged.
        """
        from pyarrow import parquet

        keys: set[bytes] = set()
        counts = Counts()
        for name in self._parquet_files():
            try:
                with self._opened(name) as file:
                    part = parquet.ParquetFile(file)
                    said = json.loads(part.metadata.metadata[_COUNTS])
                    for batch in part.iter_batches(columns=["path"]):
                        keys.update(key_of(path) for path in batch.column(0).unique().to_pylist())
                counts.add(Counts(**said))
            except Exception as error:
                raise FerjaxError(
                    f"{self.shown}/{printable(name)}: is no part of the run, or damaged; remove it "
                    f"({first_line(error)})"
                ) from error
        return keys, counts

    def writer(self, token: str | None = None) -> PartWriter:
        """Return what writes parts; in a worker, with the token of the call that it works for."""
        return PartWriter(self, token or self._token)

    @property
    def token(self) -> str:
        """What tells this call from others that write to the folder."""
        return self._token

    def is_current(self, token: str) -> bool:
        """Whether the call of a token is the one that writes."""
        return self._read_record().get("token") == token

    def note(self, part: str) -> bytes | None:
        """Return what a worker noted that did not come to the end of a part; None: nothing."""
        try:
            with self._opened(_BEGUN + part) as file:
                return bytes(file.read(_MAX_NOTE))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise FerjaxError(f"{self.shown}: cannot be read ({first_line(error)})") from error

    def leave_note(self, part: str, content: bytes) -> None:
        """Write what is found if the process does not come to the end of a part."""
        self._write(_BEGUN + part, content)

    def remove_note(self, part: str) -> None:
        """Have no note of a part."""
        self._remove(_BEGUN + part)

    # --- files -----------------------------------------------------------------------------------

    def _parquet_files(self) -> list[str]:
        names = (name for name in self._names() if name.endswith(".parquet"))
        return sorted(name for name in names if not name.startswith("."))

    def _names(self) -> list[str]:
        """Return what the files in the folder are called."""
        from pyarrow import fs

        try:
            if self._is_local:  # whose names may be no UTF-8, which Arrow does not take
                with os.scandir(self.text) as entries:
                    return [entry.name for entry in entries if entry.is_file()]
            selector = fs.FileSelector(self._place.path, allow_not_found=True)
            infos = self._place.filesystem.get_file_info(selector)
            return [info.base_name for info in infos if info.type == fs.FileType.File]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except Exception as error:
            raise FerjaxError(f"{self.shown}: cannot be listed ({first_line(error)})") from error

    def _path(self, name: str) -> str:
        return f"{self._place.path}/{name}"

    def _opened(self, name: str) -> Any:
        """Open a file of the folder to be read.

        Raises:
            Exception: whatever the file system's library raises.
        """
        if self._is_local:
            return open(os.path.join(self.text, name), "rb")
        return self._place.filesystem.open_input_file(self._path(name))

    def _remove(self, name: str, *, strictly: bool = False) -> None:
        """Remove a file, if it is there; `strictly`, raise a WriteError where that fails."""
        try:
            if self._is_local:
                os.unlink(os.path.join(self.text, name))
            else:
                self._place.filesystem.delete_file(self._path(name))
        except FileNotFoundError:
            pass
        except Exception as error:  # of any library's file systems
            if strictly:
                raise WriteError(
                    f"{self.shown}/{printable(name)}: cannot be removed ({first_line(error)})"
                ) from error

    def _write(self, name: str, content: bytes) -> None:
        if not self._is_local:
            return self._put(name, content)
        with self.placing(name) as path:
            path.write_bytes(content)

    @contextmanager
    def placing(self, name: str) -> Iterator[Path]:
        """Yield where to write a file, which then comes to its place as a whole.

        Raises:
            WriteError: it cannot be written.
        """
        if self._is_local:
            with replacing(os.path.join(self.text, name)) as path:
                yield path
            return
        with temporary.folder("ferjax-part-") as folder:  # killed workers leave theirs
            path = folder / name
            try:
                yield path
                content = path.read_bytes()
            except OSError as error:
                if isinstance(error, WriteError):
                    raise
                raise WriteError(f"{path}: cannot be written ({first_line(error)})") from error
            self._put(name, content)

    def _put(self, name: str, content: bytes) -> None:
        """Write a file at an address."""
        try:
            with self._place.filesystem.open_output_stream(self._path(name)) as file:
                file.write(content)
        except Exception as error:
            raise WriteError(
                f"{self.shown}/{name}: cannot be written ({first_line(error)})"
            ) from error


def _is_record(record: Any) -> bool:
    """Whether JSON is the record of a run."""
    if not (isinstance(record, dict) and record.get("format") == _FORMAT):
        return False
    asked, size = record.get("asked"), record.get("size")
    if not (isinstance(asked, dict) and isinstance(size, int) and size >= 1):
        return False
    given = asked.get("given", [])
    return isinstance(given, list) and all(isinstance(path, str) for path in given)


class PartWriter:
    """Writes parts of a run."""

    def __init__(self, folder: Folder, token: str) -> None:
        self._folder, self._token = folder, token

    @contextmanager
    def part(self, name: str, layout: Layout, counts: Counts) -> Iterator[RowWriter]:
        """Yield what takes the rows of a part, which comes to its place when the block ends.

        Args:
            name: of the part.
            layout: of its columns.
            counts: what came of it, to be stored with it; complete when the block ends.

        Raises:
            Taken: another call writes to the folder now.
            WriteError: it cannot be written.
        """
        from pyarrow import parquet

        with self._folder.placing(f"{name}.parquet") as path:
            with (
                open(path, "wb") as target,  # by its path Arrow takes no name that is no UTF-8
                parquet.ParquetWriter(target, layout.schema(), compression="zstd") as file,
            ):
                yield RowWriter(file, layout)
                file.add_key_value_metadata({_COUNTS: json.dumps(vars(counts)).encode()})
            if not self._folder.is_current(self._token):
                raise Taken


class RowWriter:
    """Takes the rows of a part."""

    def __init__(self, file: Any, layout: Layout) -> None:
        self._file, self._layout = file, layout

    def add(self, columns: Columns) -> None:
        """Write rows."""
        import pyarrow

        self._file.write_table(pyarrow.table(columns, schema=self._layout.schema()))


def key_of(path: str) -> bytes:
    """Return what tells a picture from others: 16 bytes, for a billion paths are many."""
    return hashlib.blake2b(path.encode(), digest_size=16).digest()


def part_name(first: int, paths: Sequence[str]) -> str:
    """Return the name of a part, by the number of its first picture and by what is in it.

    >>> part_name(256, ["a.jpg", "b.jpg"])
    'part-000000256-b75b047f4562'
    """
    digest = hashlib.blake2b("\0".join(paths).encode("utf-8", "surrogateescape"), digest_size=6)
    return f"{_PART}{first:09d}-{digest.hexdigest()}"
