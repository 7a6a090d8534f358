"""Read tables of what was predicted, some rows at a time, whatever number they have.

A table is a folder of Parquet files or one file, Parquet or CSV, with the columns that `ferjax
faces` writes, a row a face, those of `ferjax predict --on ray`, a row a picture, or those of
`ferjax video`, a row a face of a frame. What a Parquet file claims is checked before anything of it
is unpacked, as for datasets.

Dimension keys: K classes.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ferjax.data import parquet, parquet_pages
from ferjax.data.archive_guards import check_unpacked, size_of
from ferjax.errors import DataError, first_line, printable
from ferjax.faces import results
from ferjax.files import is_utf8
from ferjax.filesystems import Place, is_address, place_of
from ferjax.prediction_tables.rows import TEXTS, Columns, Rows, columns_of, is_text
from ferjax.video import tables as films

Progress = Callable[[int, int, str], None]

KINDS: Final = {
    "crops": "pictures of one face each",
    "photographs": "faces in photographs",
    "films": "faces in films",
}

RECORD: Final = ".ferjax-run.json"  # of a run on many machines, beside its parts

_PLACED: Final = ("x", "y", "width", "height", "roll", "size", "too_small")
_PREDICTED: Final = ("label", "confidence")
_NEEDED: Final = {
    "crops": ("path", *_PREDICTED, "error"),
    "photographs": ("path", "face", *_PLACED, *_PREDICTED, "error"),
    "films": ("time", "frame", "track", *_PLACED, *_PREDICTED),
}
_OPTIONAL: Final = {"crops": (), "photographs": (), "films": ("path", "error")}
_TELLING: Final = {*_NEEDED["photographs"], *_NEEDED["films"], "score"} - {"width", "height"}
_ENOUGH: Final = 5  # telling columns, by which a table is told from others
_ROWS: Final = 1 << 16  # of a file at once, at most
_ENOUGH_ROWS: Final = 1 << 15  # of several files, which are then looked at
_CELLS: Final = 1 << 22  # at once, at most
_BUFFER: Final = 1 << 20  # bytes of a column that are read at once
_MAX_COLUMNS: Final = 2_000
_MAX_FETCHED: Final = 1 << 28  # bytes of a file of another machine that is fetched as a whole
_MAX_RECORD: Final = 1 << 24  # bytes; it names all paths that were given
_MAX_HEADER: Final = 1 << 20  # bytes of a CSV file's first line
_EXPECTED: Final = (
    "expected Parquet files as `--on ray` and `ferjax video --parquet` write them, or the table of "
    "`ferjax faces --csv`"
)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A file of a table.

    Attributes:
        path: the file.
        form: "parquet" or "csv".
        columns: of a Parquet file what Arrow reads them as, of a CSV file nothing, by name.
        rows: how many it has; None for a CSV file, which does not say.
        size: in bytes.
        place: where it is, if not on this machine.
    """

    path: Path
    form: str
    columns: dict[str, Any]
    rows: int | None
    size: int
    place: Place | None = None

    @property
    def shown(self) -> str:
        """What errors call it."""
        return _shown(self.path, self.place)


@dataclass(frozen=True, kw_only=True)
class PredictionTable:
    """A table of what was predicted.

    Attributes:
        path: the folder or file.
        kind: a key of `KINDS`.
        parts: its files, by name.
        class_columns: the classes in output order, by the columns of their probabilities.
        place: where it is, if not on this machine.
    """

    path: Path
    kind: str
    parts: tuple[Part, ...]
    class_columns: dict[str, str]
    place: Place | None = None

    @property
    def shown(self) -> str:
        """What errors call it."""
        return _shown(self.path, self.place)

    @property
    def name(self) -> str:
        """What the folder or file is called."""
        return os.path.basename(os.path.abspath(self.path))

    @property
    def form(self) -> str:
        """Of its files: "parquet" or "csv"."""
        return self.parts[0].form

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, K, in output order."""
        return tuple(self.class_columns.values())

    @property
    def is_unfinished(self) -> bool:
        """Whether a run on many machines has not come to its end, by its record in the folder."""
        try:
            with _open(self.path / RECORD, self.place) as file:
                record = json.loads(file.read(_MAX_RECORD))
        except (OSError, ValueError, RecursionError):  # no such run, or a file
            return False
        return isinstance(record, dict) and record.get("ended") is False

    def has(self, name: str) -> bool:
        """Whether all files have a column."""
        return name in self._shared

    @functools.cached_property
    def _shared(self) -> set[str]:
        return set.intersection(*(set(part.columns) for part in self.parts))

    def batches(self, *, progress: Progress | None = None) -> Iterator[Rows]:
        """Yield the rows, some at a time; those of small files together.

        Args:
            progress: called with (done, total, unit) now and then.

        Raises:
            DataError: a file is damaged or changes, or a column holds what does not belong there.
        """
        optional = [name for name in _OPTIONAL[self.kind] if self.has(name)]
        columns = [*_NEEDED[self.kind], *optional, *self.class_columns]
        unit = "rows" if self.form == "parquet" else "kB"
        total = sum(
            part.rows if part.rows is not None else part.size // 1000 for part in self.parts
        )
        before = count = 0
        waiting: list[Columns] = []
        for part in self.parts:
            read = _parquet_batches if part.form == "parquet" else _csv_batches
            done = 0
            for batch, done in read(part, columns):
                with _named(part.shown), parquet.checked():
                    waiting.append(columns_of(batch, columns))
                count += batch.num_rows
                if count >= _ENOUGH_ROWS:
                    yield Rows(self, waiting)
                    waiting, count = [], 0
                if progress is not None:
                    progress(before + done, total, unit)
            before += done
        if waiting:
            yield Rows(self, waiting)


# --- which files ---------------------------------------------------------------------------------


def is_prediction_table(path: str | os.PathLike[str]) -> bool:
    """Whether a folder or file looks like a table of what was predicted, by its columns.

    What cannot be read looks like none.
    """
    try:
        return _is_told(list(_part(_files(Path(path))[0]).columns))
    except (DataError, OSError, ValueError):
        return False


def _is_told(names: Sequence[str]) -> bool:
    """Whether a table has such columns that it is meant for one of what was predicted."""
    is_of_crops = set(_NEEDED["crops"]) <= set(names)
    return is_of_crops or len(_TELLING.intersection(names)) >= _ENOUGH


def opened(path: str | os.PathLike[str], *, progress: Progress | None = None) -> PredictionTable:
    """Return a table, of which the columns were looked at and no rows.

    Args:
        path: the folder or file, or its address, such as s3://bucket/rows.
        progress: called with (done, total, "files") after each file.

    Raises:
        DataError: there is no such table at the path, a file is damaged, columns are missing, the
            parts are not of one kind or have other classes, or pyarrow is not installed.
        FerjaxError: the address cannot be opened.
    """
    if not os.fspath(path):
        raise DataError(f"expected a folder or a file, got an empty string; {_EXPECTED}")
    place = place_of(os.fspath(path)) if is_address(os.fspath(path)) else None
    path = Path(path if place is None else place.path)
    with _named(_shown(path, place)):
        files = _files(path, place)
    parts: list[Part] = []
    for number, file in enumerate(files, start=1):
        part = _part(file, place)
        if parts and part.columns == parts[-1].columns:  # as a rule, and once in memory
            part = replace(part, columns=parts[-1].columns)
        else:
            _check_columns(part, parts[0] if parts else part)
        parts.append(part)
        if progress is not None:
            progress(number, len(files), "files")
    kind = _kind(parts[0])
    classes = _classes(parts[0], kind)
    return PredictionTable(
        path=path, kind=kind, parts=tuple(parts), class_columns=classes, place=place
    )


def _check_columns(part: Part, first: Part) -> None:
    """Raise where a file is no table, or of another kind or other classes than the first one."""
    kind, kind_of_first = _kind(part), _kind(first)
    classes, classes_of_first = _classes(part, kind), _classes(first, kind_of_first)
    if kind != kind_of_first:
        mine, others = KINDS[kind], KINDS[kind_of_first]
    elif classes.items() != classes_of_first.items():  # in whatever order
        mine, others = (
            f"classes {', '.join(each.values())}" for each in (classes, classes_of_first)
        )
    else:
        return
    text = f"{part.shown}: {mine}, and in {first.path.name} {others}"
    raise DataError(printable(f"{text}; expected the files of one run"))


def _files(path: Path, place: Place | None = None) -> list[Path]:
    """Return the files of a table: one, or the Parquet files in a folder but for hidden ones."""
    with _readable():
        if place is not None:
            names = _listed_at(place)
        elif size_of(os.fspath(path), _EXPECTED) is not None:
            return [path]
        else:
            names = [file for file in path.iterdir() if not file.is_dir()]
    if names == [path]:
        return names
    files = [f for f in names if f.suffix.lower() == ".parquet" and f.name[0] not in "._"]
    if not files:
        raise DataError(f"no .parquet files in this folder; {_EXPECTED}")
    return sorted(files)


def _listed_at(place: Place) -> list[Path]:
    """Return a file, or the files in a folder, of another machine."""
    from pyarrow import fs

    (info,) = place.filesystem.get_file_info([place.path])
    if info.type == fs.FileType.File:
        return [Path(place.path)]
    selector = fs.FileSelector(place.path, allow_not_found=True)
    infos = place.filesystem.get_file_info(selector)
    if not infos and info.type == fs.FileType.NotFound:
        raise DataError(f"no such file or folder; {_EXPECTED}")
    return [Path(each.path) for each in infos if each.type == fs.FileType.File]


def _open(path: Path, place: Place | None) -> Any:
    """Open a file. Of another machine it comes as a whole, unless it is large."""
    if place is None:
        return open(path, "rb")
    file = place.filesystem.open_input_file(path.as_posix())
    if file.size() > _MAX_FETCHED:
        return file
    with file:
        return io.BytesIO(file.read())


def _shown(path: Path, place: Place | None) -> str:
    return str(path) if place is None else place.name(path.as_posix())


def _part(path: Path, place: Place | None = None) -> Part:
    """Look at a file.

    Raises:
        DataError: it is of neither form, or damaged.
    """
    with _named(_shown(path, place)), _readable():
        if place is None:
            size_of(os.fspath(path), _EXPECTED)  # raises for what is no file
        with _open(path, place) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            head = file.readline(_MAX_HEADER)
            rows = None
            if head[:4] == b"PAR1":
                with _parquet(file) as opened_file, parquet.checked():
                    rows, names = opened_file.metadata.num_rows, opened_file.schema_arrow.names
                    if len(names) > _MAX_COLUMNS:
                        raise DataError(f"{len(names):,} columns; {_EXPECTED}")
                    columns = dict(zip(names, opened_file.schema_arrow.types))
            else:
                names = _csv_header(head)
                columns = dict.fromkeys(names)
                _pyarrow()
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise DataError(f"expected different columns, got {twice[0]!r} twice")
        form = "csv" if rows is None else "parquet"
        return Part(path=path, form=form, columns=columns, rows=rows, size=size, place=place)


@contextmanager
def _readable() -> Iterator[None]:
    """Make what file systems raise a DataError."""
    try:
        yield
    except DataError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise DataError(f"cannot be read: {reason}") from None


def _csv_header(line: bytes) -> list[str]:
    """Return the columns of a CSV file, by its first line."""
    try:
        names = next(csv.reader([line.decode("utf-8-sig")]), [])
    except (UnicodeDecodeError, csv.Error):
        names = []
    if not _is_told(names) or len(names) > _MAX_COLUMNS:
        raise DataError(_EXPECTED)
    return names


def _kind(part: Part) -> str:
    """Return which table a file is of, or raise where columns are missing."""
    kind = max(_NEEDED, key=lambda kind: len(set(_NEEDED[kind]).intersection(part.columns)))
    missing = [name for name in _NEEDED[kind] if name not in part.columns]
    if missing:
        raise DataError(
            printable(f"{part.shown}: no column {', '.join(map(repr, missing))}; {_EXPECTED}")
        )
    return kind


def _classes(part: Part, kind: str) -> dict[str, str]:
    """Return the classes by their columns."""
    if kind == "films":
        classes = films.class_columns(list(part.columns))
    else:
        fixed = results.FIXED if kind == "photographs" else _NEEDED["crops"]
        classes = results.class_columns(list(part.columns), fixed)
    if not classes:
        raise DataError(printable(f"{part.shown}: no column of a class's probability; {_EXPECTED}"))
    return classes


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Put a file's name before errors."""
    try:
        yield
    except DataError as error:
        raise DataError(printable(f"{name}: {error}")) from error


# --- rows ----------------------------------------------------------------------------------------


def _pyarrow() -> Any:
    try:
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError:
        raise DataError(parquet.INSTALL) from None
    return pyarrow


def _parquet(file: Any, texts: Sequence[str] = ()) -> Any:
    """Open a Parquet file, by its path or open; `texts` come as what is different in them."""
    pa = _pyarrow()
    with parquet.checked():
        return pa.parquet.ParquetFile(
            file,
            thrift_string_size_limit=16 * 2**20,
            thrift_container_size_limit=1_000_000,
            pre_buffer=False,
            buffer_size=_BUFFER,
            read_dictionary=list(texts),
        )


def _parquet_batches(part: Part, columns: Sequence[str]) -> Iterator[tuple[Any, int]]:
    """Yield rows of a file, and how many were read."""
    with _named(part.shown):
        _check_sizes(part, columns)
        done = 0
        texts = [name for name in columns if is_text(part.columns[name])]
        source: Any = os.fspath(part.path)
        if part.place is not None or not is_utf8(source):  # which Arrow does not take
            source = _open(part.path, part.place)
        with _parquet(source, texts) as file:
            at_once = max(1, min(_ROWS, _CELLS // len(columns)))
            batches = file.iter_batches(at_once, columns=list(columns), use_threads=False)
            while True:
                with parquet.checked():
                    batch = next(batches, None)
                if batch is None:
                    break
                done += batch.num_rows
                if part.rows is not None and done > part.rows:
                    break
                yield batch, done
        if done != part.rows:
            raise DataError(f"{done:,} rows, and it says it has {part.rows:,}: damaged")


def _check_sizes(part: Part, columns: Sequence[str]) -> None:
    """Raise where a file would unpack to more than such a table has; see `parquet_pages`."""
    if not part.rows:  # and no groups of rows
        return
    with _readable(), _open(part.path, part.place) as file:

        def read_at(offset: int, size: int) -> bytes:
            file.seek(offset)
            return file.read(size)

        wanted = set(columns)
        chunks = [c for c in parquet_pages.chunks_of(read_at, part.size) if c.column in wanted]
        claimed = [chunk.unpacked for chunk in chunks]
        expected = "a table of faces"
        check_unpacked(claimed, part.size, parquet.MAX_CHUNK, expected)
        for chunk in chunks:
            if chunk.start + chunk.length > part.size:
                raise DataError("cannot be read: a column outside the file")
            if parquet_pages.unpacked_size(read_at, chunk) > chunk.unpacked:
                raise DataError("cannot be read: pages of more than the file says they have")


def _csv_batches(part: Part, columns: Sequence[str]) -> Iterator[tuple[Any, int]]:
    """Yield rows of a file, and how many thousands of bytes were read."""
    pa = _pyarrow()
    with _named(part.shown), parquet.checked(), _open(part.path, part.place) as file:
        types = dict.fromkeys(columns, pa.float64())
        types |= {name: pa.string() for name in TEXTS if name in types}
        types |= {"too_small": pa.bool_()} if "too_small" in types else {}
        reader = pa.csv.open_csv(
            file,
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(
                column_types=types,
                include_columns=list(columns),
                strings_can_be_null=True,
                null_values=[""],  # a class may be called NA
            ),
        )
        while True:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                break
            yield batch, file.tell() // 1000
