"""Some rows of a table of what was predicted, column by column, whatever files they are from.

Dimension keys: N rows, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from ferjax.errors import DataError, printable

if TYPE_CHECKING:
    from ferjax.prediction_tables.parts import PredictionTable

Numbers = npt.NDArray[np.float64]
Columns = dict[str, Any]
"""By name, of numbers float64 (N,), of texts a pyarrow.DictionaryArray."""

TEXTS: Final = ("path", "label", "error")
_TOO_LARGE: Final = 1e100  # such numbers are none, and would have sums without end
_WORDS: Final = {"true": 1.0, "false": 0.0}


class Rows:
    """Some rows of a table, N of them.

    Attributes:
        table: that they are of.
    """

    def __init__(self, table: PredictionTable, parts: Sequence[Columns]) -> None:
        """Join rows of several files; see `columns_of`."""
        self.table = table
        self._columns = parts[0] if len(parts) == 1 else _joined(parts)

    def __len__(self) -> int:
        return len(self._columns["confidence"])

    def numbers(self, name: str) -> Numbers:
        """Return a column of numbers, (N,): NaN where there is none, 1 and 0 for true and false."""
        return np.asarray(self._columns[name])

    def codes(self, name: str) -> tuple[npt.NDArray[np.int64], list[str]]:
        """Return a column of texts as numbers, (N,), and what these stand for; -1 for none."""
        codes, texts = _codes(self._columns[name])
        used, places = np.unique(codes, return_inverse=True)
        values = [self._text(texts[int(code)]) if code >= 0 else "" for code in used]
        different = sorted({value for value in values if value})
        numbers = {value: number for number, value in enumerate(different)}
        return np.array([numbers.get(value, -1) for value in values], np.int64)[places], different

    def text(self, name: str, row: int) -> str:
        """Return a cell of a column of texts, "" where it is empty."""
        return self._text(self._columns[name][row])

    def _text(self, cell: Any) -> str:
        try:
            return _text(cell)
        except DataError as error:
            raise DataError(printable(f"{self.table.shown}: {error}")) from None

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


def columns_of(batch: Any, names: Iterable[str]) -> Columns:
    """Return columns of a `pyarrow.RecordBatch`, in the one form that they have here.

    Raises:
        DataError: a column is of another kind.
    """
    columns: Columns = {}
    for name in names:
        column = batch.column(batch.schema.get_field_index(name))
        columns[name] = _texts(column, name) if name in TEXTS else _numbers(column, name)
    return columns


def is_text(kind: Any) -> bool:
    """Whether a column of an Arrow type is of texts, or of nothing."""
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind))


def _texts(column: Any, name: str) -> Any:
    import pyarrow as pa

    if not is_text(column.type):
        raise DataError(f"column {name!r} is of {column.type}; expected text")
    if pa.types.is_null(column.type):
        column = column.cast(pa.string())
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    return column.cast(pa.dictionary(pa.int32(), pa.string()))


def _numbers(column: Any, name: str) -> Numbers:
    import pyarrow as pa

    if pa.types.is_null(column.type):
        return np.full(len(column), np.nan)
    if is_text(column.type):
        codes, texts = _codes(_texts(column, name))
        read = [_number(_text(text), name) for text in texts]
        values = np.array([*read, np.nan])
        return np.where(np.abs(values) < _TOO_LARGE, values, np.nan)[codes]
    tests = (
        *(pa.types.is_integer, pa.types.is_floating),
        *(pa.types.is_boolean, pa.types.is_decimal),
    )
    if not any(test(column.type) for test in tests):
        raise DataError(f"column {name!r} is of {column.type}; expected numbers")
    values = np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))
    return np.where(np.abs(values) < _TOO_LARGE, values, np.nan)


def _joined(parts: Sequence[Columns]) -> Columns:
    import pyarrow as pa

    columns = {}
    for name in parts[0]:
        arrays = [part[name] for part in parts]
        columns[name] = pa.concat_arrays(arrays) if name in TEXTS else np.concatenate(arrays)
    return columns


def _codes(column: Any) -> tuple[npt.NDArray[np.int64], Any]:
    """Return a column of texts as positions in an Arrow array, which may repeat; -1: none."""
    import pyarrow as pa

    codes = column.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    return codes, column.dictionary


def _text(cell: Any) -> str:
    try:
        return str(cell.as_py() or "")
    except UnicodeDecodeError:
        raise DataError("a text that is not UTF-8") from None


def _number(text: str, name: str) -> float:
    text = text.strip()
    if not text or text.lower() in _WORDS:
        return _WORDS.get(text.lower(), np.nan)
    try:
        return float(text)
    except ValueError:
        raise DataError(f"expected numbers in column {name!r}, got {text[:40]!r}") from None
