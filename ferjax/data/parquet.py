"""Parquet files of faces: Hugging Face's, a row an image, and tables of pixels.

A row has the content of an image file, in a struct {bytes, path} or as bytes alone, or its pixels
as text or as a list; and a label. Hugging Face's schema names the classes. Read by pyarrow, some
rows at a time: a file may hold more than fits the memory, and may claim more than it holds.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from ferjax.data import csv_dialect, parquet_pages
from ferjax.data.archive_guards import check_unpacked
from ferjax.data.class_numbers import number_of
from ferjax.errors import DataError, printable

MAX_ROWS: Final = 1_000_000  # as many as an archive may have files
MIN_ROWS: Final = 10_000  # that are allowed however small the file
MAX_CHUNK: Final = 2**30  # bytes unpacked of one column in a group of rows
MAX_FILE: Final = 2**30  # bytes of a file inside an archive, which is read whole

_ROW_BYTES: Final = 16  # that a row takes at least, but for MIN_ROWS
_BATCH: Final = 256  # rows at once, at most
BATCH_BYTES: Final = 256 * 2**20  # what a batch may take in memory, at worst
_MAX_SCHEMA: Final = 4 * 2**20  # bytes of Hugging Face's description
_MAX_COLUMNS: Final = 20_000
INSTALL: Final = "parquet files need pyarrow: pip install 'ferjax[parquet]'"


@dataclass(frozen=True, kw_only=True)
class Table:
    """An opened file and what its columns are."""

    file: Any  # pyarrow.parquet.ParquetFile
    rows: int
    label: str
    usage: str | None
    image: str
    is_pixels: bool  # whether `image` holds pixels, not the content of an image file
    class_names: tuple[str, ...] | None  # what the labels' numbers mean
    batch: int = 1  # rows to read at once


@dataclass(frozen=True)
class Row:
    """A row: its label, what its usage says, and its image: bytes of a file, or pixels as text.

    `image` is None where there is none; `path` is where the image came from, if that is known.
    """

    label: str
    usage: str | None
    image: bytes | str | None
    path: str = ""


@contextmanager
def opened(source: str | bytes, size: int) -> Iterator[Table]:
    """Open a parquet file, from its path or its content of `size` bytes.

    Raises:
        DataError: pyarrow is missing, the file is damaged, goes beyond a limit, or has no faces.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise DataError(INSTALL) from None
    with checked():
        file = pq.ParquetFile(
            pa.BufferReader(source) if isinstance(source, bytes) else source,
            thrift_string_size_limit=16 * 2**20,
            thrift_container_size_limit=1_000_000,
            pre_buffer=False,
        )
    try:
        with checked():
            table = _table(file)
            largest = _largest_chunk(table, source, size)
            # Values that repeat are stored once: each of a batch may be as large as the column.
            table = replace(table, batch=max(1, min(_BATCH, BATCH_BYTES // max(1, largest))))
        yield table
    finally:
        file.close(force=True)


@contextmanager
def checked() -> Iterator[None]:
    """Make pyarrow's errors DataErrors."""
    import pyarrow as pa

    try:
        yield
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, MemoryError) as error:
        raise DataError(
            printable(f"cannot be read: {error or type(error).__name__}", 300)
        ) from error


def rows_of(table: Table) -> Iterator[list[Row]]:
    """Yield the rows in batches.

    Raises:
        DataError: the file is damaged.
    """
    columns = [table.label, table.image, *([table.usage] if table.usage else [])]
    batches = iter(table.file.iter_batches(table.batch, columns=columns, use_threads=False))
    left = table.rows
    while True:
        with checked():
            batch = next(batches, None)
            if batch is None:
                break
            labels, images, *usage = (_values(batch.column(name)) for name in columns)
            usages = usage[0] if usage else [None] * len(labels)
        left -= len(labels)
        if left < 0:
            raise DataError(f"more rows than the {table.rows:,} that it says it has")
        yield [
            Row(
                _label(label, table.class_names),
                None if usage is None else str(usage),
                _image(image),
                str(image.get("path") or "") if isinstance(image, dict) else "",
            )
            for label, usage, image in zip(labels, usages, images)
        ]
    if left:
        raise DataError(f"{table.rows - left:,} rows of the {table.rows:,} that it says it has")


def _values(column: Any) -> list[Any]:
    return list(getattr(column, "storage", column).to_pylist())


def _label(value: Any, names: Sequence[str] | None) -> str:
    """Return a label as text: the class's name where its number has one."""
    if value is None:
        return ""
    number = number_of(str(value))
    if names is not None and number is not None and 0 <= number < len(names):
        return names[number]
    return str(value)


def _image(value: Any) -> bytes | str | None:
    if isinstance(value, dict):
        value = value.get("bytes")
    if isinstance(value, list):
        return str(value)  # read as the same list in a csv is
    return value if isinstance(value, bytes | str) else None


# --- columns -------------------------------------------------------------------------------------


def _table(file: Any) -> Table:
    import pyarrow.types as types

    schema = file.schema_arrow
    if len(schema) > _MAX_COLUMNS:
        raise DataError(f"{len(schema):,} columns; expected an image and a label")
    features = _features(schema)
    plain = {csv_dialect.plain(name): name for name in reversed(schema.names)}
    label = next((plain[name] for name in csv_dialect.LABELS if name in plain), None)
    if label is None:
        named = [name for name, feature in features.items() if "names" in feature]
        label = named[0] if len(named) == 1 else None
    usage = next((plain[name] for name in csv_dialect.USAGES if name in plain), None)

    def holds(name: str) -> str:
        kind = schema.field(name).type
        kind = getattr(kind, "storage_type", kind)  # extensions such as fixed_shape_tensor
        if types.is_struct(kind):
            return "files" if kind.get_field_index("bytes") >= 0 else ""
        if types.is_binary(kind) or types.is_large_binary(kind):
            return "files"
        listed = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
        return "pixels" if listed or types.is_string(kind) or types.is_large_string(kind) else ""

    usual = (*csv_dialect.PIXELS, *csv_dialect.PERHAPS_PIXELS)
    of_images = (plain[name] for name in usual if name in plain and holds(plain[name]))
    of_files = (
        name for name in schema.names if name not in (label, usage) and holds(name) == "files"
    )
    image = next(of_images, None) or next(of_files, None)
    shown = ", ".join(printable(name, 20) for name in schema.names[:6]) or "none"
    if image is None or label is None:
        lacks = "images" if image is None else "labels"
        raise DataError(f"columns {shown}, and no {lacks} among them; expected image and label")
    return Table(
        file=file,
        rows=file.metadata.num_rows,
        label=label,
        usage=usage,
        image=image,
        is_pixels=holds(image) == "pixels",
        class_names=_class_names(features.get(label, {})),
    )


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """Return what Hugging Face's description says of each column."""
    text = (schema.metadata or {}).get(b"huggingface", b"")
    if len(text) > _MAX_SCHEMA:
        return {}
    try:
        features = json.loads(text)["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    if not isinstance(features, dict):
        return {}
    return {name: feature for name, feature in features.items() if isinstance(feature, dict)}


def _class_names(feature: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the names of a column of class numbers; None where they say no more than numbers."""
    names = feature.get("names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return None if all(number_of(name) is not None for name in names) else tuple(names)


# --- limits --------------------------------------------------------------------------------------


def _largest_chunk(table: Table, source: str | bytes, packed: int) -> int:
    """Return the bytes, unpacked, of the largest column in a group of rows.

    Raises DataError for a file that would unpack to more than faces need, by its footer or by its
    pages.
    """
    if not 0 <= table.rows <= min(MAX_ROWS, max(MIN_ROWS, packed // _ROW_BYTES)):
        raise DataError(f"{table.rows:,} rows in {packed:,} bytes; expected a dataset of faces")
    if not table.rows:
        return 0
    wanted = {table.label, table.image, table.usage}
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:

        def read_at(offset: int, size: int) -> bytes:
            file.seek(offset)
            return file.read(size)

        chunks = [c for c in parquet_pages.chunks_of(read_at, packed) if c.column in wanted]
        check_unpacked([chunk.unpacked for chunk in chunks], packed, MAX_CHUNK)
        sizes = []
        for chunk in chunks:
            if chunk.start + chunk.length > packed:
                raise DataError("cannot be read: a column outside the file")
            sizes.append(parquet_pages.unpacked_size(read_at, chunk))
            if sizes[-1] > chunk.unpacked:
                raise DataError("cannot be read: pages of more than the file says they have")
    check_unpacked(sizes, packed, MAX_CHUNK)
    return max(sizes, default=0)
