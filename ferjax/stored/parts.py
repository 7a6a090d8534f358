"""Read tables of what was predicted, some rows at a time, whatever number they have.

A table is a folder of Parquet files or one file, Parquet or CSV, with the columns that `ferjax
faces` writes, a row a face, those of `ferjax predict --on ray`, a row a picture, or those of
`ferjax video`, a row a face of a frame. What a Parquet file claims is checked before anything of it
is unpacked, as for datasets.

Dimension keys: N rows, K classes.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ferjax.data import parquet, parquet_pages
from ferjax.data.archive_guards import check_unpacked, size_of
from ferjax.errors import DataError, printable
from ferjax.faces import results
from ferjax.video import tables as films

Progress = Callable[[int, int, str], None]
Numbers = npt.NDArray[np.float64]

KINDS: Final = {
    "crops": "pictures of one face each",
    "photographs": "faces in photographs",
    "films": "faces in films",
}

_PLACED: Final = ("x", "y", "width", "height", "roll", "size", "too_small")
_PREDICTED: Final = ("label", "confidence")
_NEEDED: Final = {
    "crops": ("path", *_PREDICTED, "error"),
    "photographs": ("path", "face", *_PLACED, *_PREDICTED, "error"),
    "films": ("time", "frame", "track", *_PLACED, *_PREDICTED),
}
_OPTIONAL: Final = {"crops": (), "photographs": (), "films": ("path", "error")}
_TEXTS: Final = ("path", "label", "error")
_TELLING: Final = {*_NEEDED["photographs"], *_NEEDED["films"], "score"} - {"width", "height"}
_ENOUGH: Final = 5  # telling columns, by which a table is told from others
_ROWS: Final = 1 << 16  # at once, at most
_CELLS: Final = 1 << 22  # at once, at most
_BUFFER: Final = 1 << 20  # bytes of a column that are read at once
_MAX_COLUMNS: Final = 2_000
_MAX_HEADER: Final = 1 << 20  # bytes of a CSV file's first line
_EXPECTED: Final = (
    "expected Parquet files as `--on ray` and `ferjax video --parquet` write them, or the table of "
    "`ferjax faces --csv`"
)
_WORDS: Final = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True, kw_only=True)
class Part:
    """A file of a table.

    Attributes:
        path: the file.
        form: "parquet" or "csv".
        names: of its columns.
        rows: how many it has; None for a CSV file, which does not say.
        size: in bytes.
    """

    path: Path
    form: str
    names: tuple[str, ...]
    rows: int | None
    size: int


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A table of what was predicted.

    Attributes:
        path: the folder or file.
        kind: a key of `KINDS`.
        parts: its files, by name.
        class_columns: the classes in output order, by the columns of their probabilities.
    """

    path: Path
    kind: str
    parts: tuple[Part, ...]
    class_columns: dict[str, str]

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

    def has(self, name: str) -> bool:
        """Whether all files have a column."""
        return all(name in part.names for part in self.parts)

    def batches(self, *, progress: Progress | None = None) -> Iterator[Rows]:
        """Yield the rows, some at a time.

        Args:
            progress: called with (done, total, unit) after each.

        Raises:
            DataError: a file is damaged or changes, or a column holds what does not belong there.
        """
        optional = [name for name in _OPTIONAL[self.kind] if self.has(name)]
        columns = [*_NEEDED[self.kind], *optional, *self.class_columns]
        unit = "rows" if self.form == "parquet" else "kB"
        total = sum(
            part.rows if part.rows is not None else part.size // 1000 for part in self.parts
        )
        before = 0
        for part in self.parts:
            read = _parquet_batches if part.form == "parquet" else _csv_batches
            done = before
            for batch, done in read(part, columns):
                yield Rows(self, part, batch)
                if progress is not None:
                    progress(before + done, total, unit)
            before += done


class Rows:
    """Some rows of a table, N of them; what is wrong with them is a DataError that names the file.

    Attributes:
        table: that they are of.
    """

    def __init__(self, table: Stored, part: Part, batch: Any) -> None:
        self.table = table
        self._part = part
        self._batch = batch

    def __len__(self) -> int:
        return int(self._batch.num_rows)

    def numbers(self, name: str) -> Numbers:
        """Return a column of numbers, (N,): NaN where a cell is empty, 1 and 0 for true and false.

        Raises:
            DataError: a cell is no number.
        """
        import pyarrow as pa

        with _named(self._part.path), parquet.checked():
            column = self._column(name)
            if pa.types.is_dictionary(column.type):
                codes, texts = _codes(column, name)
                values = [_number(text, name) for text in texts.to_pylist()]
                return np.array([*values, np.nan])[codes]
            if pa.types.is_null(column.type):
                return np.full(len(column), np.nan)
            if not _is_number(column.type):
                raise DataError(f"column {name!r} is of {column.type}; expected numbers")
            return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))

    def codes(self, name: str) -> tuple[npt.NDArray[np.int64], list[str]]:
        """Return a column of texts as numbers, (N,), and what these stand for; -1 for none.

        Raises:
            DataError: the column holds no texts.
        """
        with _named(self._part.path), parquet.checked():
            codes, texts = _codes(self._column(name), name)
            used, places = np.unique(codes, return_inverse=True)
            values = [texts[int(code)].as_py() if code >= 0 else "" for code in used]
        different = sorted({value for value in values if value})
        numbers = {value: number for number, value in enumerate(different)}
        return np.array([numbers.get(value, -1) for value in values], np.int64)[places], different

    def text(self, name: str, row: int) -> str:
        """Return a cell of a column of texts, "" where it is empty."""
        with _named(self._part.path), parquet.checked():
            return str(self._column(name)[row].as_py() or "")  # of a dictionary its value

    def probabilities(self) -> Numbers:
        """Return the probabilities of the classes, (N, K); NaN where there are none."""
        return np.stack([self.numbers(name) for name in self.table.class_columns], axis=1)

    def is_face(self) -> npt.NDArray[np.bool_]:
        """Return which rows are faces, (N,); others are of what has none or cannot be read."""
        if self.table.kind == "crops":
            return ~self.has_error()
        return self.numbers("face" if self.table.kind == "photographs" else "track") > 0

    def has_error(self) -> npt.NDArray[np.bool_]:
        """Return which rows say why something cannot be read, (N,)."""
        if not self.table.has("error"):
            return np.zeros(len(self), bool)
        return self.codes("error")[0] >= 0

    def _column(self, name: str) -> Any:
        return self._batch.column(self._batch.schema.get_field_index(name))


def _codes(column: Any, name: str) -> tuple[npt.NDArray[np.int64], Any]:
    """Return a column of texts as positions in an Arrow array, which may repeat; -1: none."""
    import pyarrow as pa

    if pa.types.is_null(column.type):
        return np.full(len(column), -1), pa.array([], pa.string())
    if not _is_text(column.type):
        raise DataError(f"column {name!r} is of {column.type}; expected text")
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    codes = column.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    return codes, column.dictionary


def _is_number(kind: Any) -> bool:
    import pyarrow.types as types

    tests = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
    return any(test(kind) for test in tests)


def _is_text(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind))


def _number(text: str | None, name: str) -> float:
    text = (text or "").strip()
    if not text or text.lower() in _WORDS:
        return _WORDS.get(text.lower(), np.nan)
    try:
        return float(text)
    except ValueError:
        raise DataError(f"expected numbers in column {name!r}, got {text[:40]!r}") from None


# --- which files ---------------------------------------------------------------------------------


def is_stored(path: str | os.PathLike[str]) -> bool:
    """Whether a folder or file looks like a table of what was predicted, by its columns.

    What cannot be read looks like none.
    """
    try:
        return _is_told(_header(_files(Path(path))[0])[1])
    except (DataError, OSError, ValueError):
        return False


def _is_told(names: Sequence[str]) -> bool:
    """Whether a table has such columns that it is meant for one of what was predicted."""
    is_of_crops = set(_NEEDED["crops"]) <= set(names)
    return is_of_crops or len(_TELLING.intersection(names)) >= _ENOUGH


def opened(path: str | os.PathLike[str]) -> Stored:
    """Return a table, of which the columns were looked at and no rows.

    Raises:
        DataError: there is no such table at the path, a file is damaged, columns are missing, the
            parts are not of one kind or have other classes, or pyarrow is not installed.
    """
    with _named(Path(path)):
        files = _files(Path(path))
    parts = [_part(file) for file in files]
    kinds = [_kind(part) for part in parts]
    classes = [_classes(part, kind) for part, kind in zip(parts, kinds)]
    for part, kind, names in zip(parts, kinds, classes):
        if kind != kinds[0]:
            mine, first = (KINDS[each] for each in (kind, kinds[0]))
        elif names.items() != classes[0].items():  # in whatever order
            mine, first = (f"classes {', '.join(each.values())}" for each in (names, classes[0]))
        else:
            continue
        other = f"{part.path}: {mine}, and in {parts[0].path.name} {first}"
        raise DataError(printable(f"{other}; expected the files of one run"))
    return Stored(path=Path(path), kind=kinds[0], parts=tuple(parts), class_columns=classes[0])


def _files(path: Path) -> list[Path]:
    """Return the files of a table: one, or the Parquet files in a folder but for hidden ones."""
    try:
        if size_of(os.fspath(path), _EXPECTED) is not None:
            return [path]
        files = [
            file
            for file in sorted(path.iterdir())
            if file.suffix.lower() == ".parquet" and file.name[0] not in "._" and file.is_file()
        ]
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not files:
        raise DataError(f"no .parquet files in this folder; {_EXPECTED}")
    return files


def _part(path: Path) -> Part:
    with _named(path):
        size = size_of(os.fspath(path), _EXPECTED) or 0
        form, names = _header(path)
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise DataError(f"expected different columns, got {twice[0]!r} twice")
        if form == "csv":
            _pyarrow()
            return Part(path=path, form=form, names=tuple(names), rows=None, size=size)
        with _parquet(path) as file, parquet.checked():
            rows = file.metadata.num_rows
        return Part(path=path, form=form, names=tuple(names), rows=rows, size=size)


def _header(path: Path) -> tuple[str, list[str]]:
    """Return the form of a file, and the names of its columns.

    Raises:
        DataError: it is neither form, or damaged.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(4)
            file.seek(0)
            if head != b"PAR1":
                return "csv", _csv_header(file.readline(_MAX_HEADER))
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}") from None
    with _parquet(path) as parquet_file, parquet.checked():
        schema = parquet_file.schema_arrow
        if len(schema) > _MAX_COLUMNS:
            raise DataError(f"{len(schema):,} columns; {_EXPECTED}")
        return "parquet", list(schema.names)


def _csv_header(line: bytes) -> list[str]:
    try:
        names = next(csv.reader([line.decode("utf-8-sig")]), [])
    except (UnicodeDecodeError, csv.Error):
        names = []
    if not _is_told(names) or len(names) > _MAX_COLUMNS:
        raise DataError(_EXPECTED)
    return names


def _kind(part: Part) -> str:
    """Return which table a file is of, or raise where columns are missing."""
    kind = max(_NEEDED, key=lambda kind: len(set(_NEEDED[kind]).intersection(part.names)))
    missing = [name for name in _NEEDED[kind] if name not in part.names]
    if missing:
        raise DataError(
            printable(f"{part.path}: no column {', '.join(map(repr, missing))}; {_EXPECTED}")
        )
    return kind


def _classes(part: Part, kind: str) -> dict[str, str]:
    """Return the classes by their columns."""
    if kind == "films":
        classes = films.class_columns(part.names)
    else:
        fixed = results.FIXED if kind == "photographs" else _NEEDED["crops"]
        classes = results.class_columns(part.names, fixed)
    if not classes:
        raise DataError(printable(f"{part.path}: no column of a class's probability; {_EXPECTED}"))
    return classes


class _named:
    """Put a file's path before errors."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, DataError):
            raise DataError(printable(f"{self._path}: {error}")) from error


# --- rows ----------------------------------------------------------------------------------------


def _pyarrow() -> Any:
    try:
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError:
        raise DataError(parquet.INSTALL) from None
    return pyarrow


def _parquet(path: Path, texts: Sequence[str] = ()) -> Any:
    """Open a Parquet file; columns of `texts` come as what is different in them."""
    pa = _pyarrow()
    with parquet.checked():
        return pa.parquet.ParquetFile(
            os.fspath(path),
            thrift_string_size_limit=16 * 2**20,
            thrift_container_size_limit=1_000_000,
            pre_buffer=False,
            buffer_size=_BUFFER,
            read_dictionary=list(texts),
        )


def _parquet_batches(part: Part, columns: Sequence[str]) -> Iterator[tuple[Any, int]]:
    """Yield rows of a file, and how many were read."""
    with _named(part.path):
        _check_sizes(part, columns)
        done = 0
        with _parquet(part.path) as file:
            schema = file.schema_arrow
        texts = [name for name in columns if _is_text(schema.field(name).type)]
        with _parquet(part.path, texts) as file:
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
    with open(part.path, "rb") as file:

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
    with _named(part.path), parquet.checked(), pa.OSFile(os.fspath(part.path)) as file:
        types = dict.fromkeys(columns, pa.float64())
        types |= {name: pa.string() for name in _TEXTS if name in types}
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
