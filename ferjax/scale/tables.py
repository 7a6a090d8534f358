"""What is said of pictures and films as typed columns, of the same kind as the batch that came in.

The columns and the figures in them are those of `ferjax faces --csv` and `ferjax video --parquet`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ferjax.faces import results
from ferjax.prediction import Prediction

TEXT, INTEGER, FLOAT, BOOLEAN = "text", "integer", "float", "boolean"
_TYPES: Final = {
    **dict.fromkeys(("path", "label", "error"), TEXT),
    **dict.fromkeys(("face", "frame", "track"), INTEGER),
    "too_small": BOOLEAN,
}
_CROP: Final = ("path", "label", "confidence")

Columns = dict[str, list[Any]]
"""Values by the names of columns; None is for none."""


@dataclass(frozen=True)
class Layout:
    """The columns of a table.

    Attributes:
        names: of all columns.
        classes: of those that have the probability of a class.
    """

    names: tuple[str, ...]
    classes: frozenset[str]

    def type_of(self, name: str) -> str:
        """Return `TEXT`, `INTEGER`, `FLOAT` or `BOOLEAN`."""
        return FLOAT if name in self.classes else _TYPES.get(name, FLOAT)

    def typed(self, rows: Iterable[Sequence[str]]) -> Columns:
        """Return rows of texts, as CSV files have them, as columns."""
        columns = list(zip(*rows)) or [()] * len(self.names)
        return {
            name: [_READ[self.type_of(name)](text) for text in texts]
            for name, texts in zip(self.names, columns, strict=True)
        }

    def schema(self) -> Any:
        """Return a `pyarrow.Schema` of the columns."""
        import pyarrow

        types = {
            TEXT: pyarrow.string(),
            INTEGER: pyarrow.int64(),
            FLOAT: pyarrow.float64(),
            BOOLEAN: pyarrow.bool_(),
        }
        return pyarrow.schema([(name, types[self.type_of(name)]) for name in self.names])


_READ: Final[dict[str, Any]] = {
    TEXT: lambda text: escaped(text) if text else None,
    INTEGER: lambda text: int(text) if text else None,
    FLOAT: lambda text: float(text) if text else None,
    BOOLEAN: lambda text: text == "True" if text else None,
}


def escaped(text: str) -> str:
    """Return a text with bytes that are no UTF-8 escaped, as in CSV files."""
    return text.encode("utf-8", "backslashreplace").decode()


def path_text(name: str) -> str:
    """Return what the `path` of a row says for a picture's name."""
    return escaped(results.path_cell(name))


# --- which columns -------------------------------------------------------------------------------


def of_faces(labels: Sequence[str]) -> Layout:
    """Return the columns of faces in photographs: those of `ferjax faces --csv`."""
    names = results.columns(labels)
    return Layout(tuple(names), frozenset(names[-1 - len(labels) : -1]))


def of_crops(labels: Sequence[str]) -> Layout:
    """Return the columns of pictures that are one face each.

    >>> of_crops(["happy", "sad"]).names
    ('path', 'label', 'confidence', 'happy', 'sad', 'error')
    """
    fixed = {*_CROP, "error"}
    prefix = "p_" if fixed.intersection(label.casefold() for label in labels) else ""
    classes = [results.cell(prefix + label) for label in labels]
    return Layout((*_CROP, *classes, "error"), frozenset(classes))


def of_films(labels: Sequence[str]) -> Layout:
    """Return the columns of faces in films: those of `ferjax video`, the film, and its error."""
    from ferjax.video import tables

    names = tables.columns(labels)
    return Layout(("path", *names, "error"), frozenset(names[-2 * len(labels) :]))


def crop_row(path: str, prediction: Prediction | None, error: str, count: int) -> list[str]:
    """Return the row of a picture that is one face; see `of_crops`.

    Args:
        path: what the picture is called.
        prediction: what is said of it, or None.
        error: why nothing is, or "".
        count: of the classes.
    """
    if prediction is None:
        return [path, "", "", *[""] * count, error]
    return [
        path,
        results.cell(prediction.label or ""),
        results.decimal(prediction.confidence, 6),
        *(results.decimal(p, 6) for p in prediction.probabilities.values()),
        "",
    ]


# --- batches -------------------------------------------------------------------------------------


def kind_of(batch: Any) -> str:
    """Return "dict", "pandas" or "arrow" for a batch.

    Raises:
        TypeError: it is none of these.
    """
    if isinstance(batch, Mapping):
        return "dict"
    for name, module, classes in (
        ("pandas", "pandas", ("DataFrame",)),
        ("arrow", "pyarrow", ("Table", "RecordBatch")),
    ):
        library = sys.modules.get(module)
        if library is not None and isinstance(batch, tuple(getattr(library, c) for c in classes)):
            return name
    raise TypeError(
        "expected a dict of arrays, a pandas.DataFrame, a pyarrow.Table or a RecordBatch for "
        f"`batch`, got {type(batch).__name__}"
    )


def names_of(batch: Any) -> list[str]:
    """Return the names of a batch's columns."""
    if isinstance(batch, Mapping):
        return list(batch)
    names = batch.columns if kind_of(batch) == "pandas" else batch.schema.names
    return [str(name) for name in names]


def _column(batch: Any, name: str) -> Any:
    if kind_of(batch) == "pandas":  # whose names may be numbers
        return batch.iloc[:, names_of(batch).index(name)]
    return batch[name]


def cells(batch: Any, name: str) -> list[Any]:
    """Return a column's values."""
    column = _column(batch, name)
    if kind_of(batch) != "arrow":
        return list(column)
    for part in getattr(column, "chunks", [column]):  # Ray's and Arrow's own arrays of pictures
        if hasattr(part, "to_numpy_ndarray"):
            return [image for chunk in column.chunks for image in chunk.to_numpy_ndarray()]
    return list(column.to_pylist())


def as_kind(columns: Columns, layout: Layout, kept: Mapping[str, Any], like: Any) -> Any:
    """Return columns as a batch of the same kind as another.

    Args:
        columns: those of `layout`.
        layout: what they are.
        kept: columns of `like`, a value for each row.
        like: the batch that came in.
    """
    kind = kind_of(like)
    if kind == "arrow":
        import pyarrow

        table = pyarrow.table(columns, schema=layout.schema())
        for name, values in kept.items():
            field = like.schema.field(name)
            table = table.append_column(field, pyarrow.array(values, field.type))
        return table if isinstance(like, pyarrow.Table) else _one_batch(table)
    arrays = {name: _array(values, layout.type_of(name)) for name, values in columns.items()}
    if kind == "pandas":
        import pandas

        frame = pandas.DataFrame(arrays, columns=list(columns))
        for name, values in kept.items():
            frame[name] = pandas.Series(values, dtype=_column(like, name).dtype)
        return frame
    return {**arrays, **{name: _given(values, like[name]) for name, values in kept.items()}}


def _one_batch(table: Any) -> Any:
    import pyarrow

    columns = [column.combine_chunks() for column in table.columns]
    arrays = [c.chunk(0) if isinstance(c, pyarrow.ChunkedArray) else c for c in columns]
    return pyarrow.RecordBatch.from_arrays(arrays, schema=table.schema)


def _array(values: list[Any], column_type: str) -> np.ndarray:
    if column_type == FLOAT:
        return np.array([math.nan if value is None else value for value in values], np.float64)
    if column_type == INTEGER and None not in values:
        return np.array(values, np.int64)
    if column_type == BOOLEAN and None not in values:
        return np.array(values, np.bool_)
    return _objects(values)


def _given(values: list[Any], like: Any) -> np.ndarray:
    dtype = getattr(like, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind != "O" and np.ndim(like) == 1:
        return np.array(values, dtype)
    return _objects(values)


def _objects(values: Sequence[Any]) -> np.ndarray:
    array = np.empty(len(values), object)
    for index, value in enumerate(values):  # or arrays in it would become more axes
        array[index] = value
    return array
