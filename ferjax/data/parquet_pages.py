"""The sizes that a parquet file claims, in its footer and in its pages' own headers.

They are read before pyarrow unpacks anything: a footer may lie, and memory is taken by what the
pages say. pyarrow's own view of a footer ends the process where the footer is damaged. Both are in
Thrift's compact protocol.

https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ferjax.errors import DataError

ReadAt = Callable[[int, int], bytes]  # offset and number of bytes -> the bytes, fewer at the end

MAX_FOOTER: Final = 16 * 2**20  # bytes
_FIRST: Final = 2**12  # bytes of a page's header that are looked at first
_MOST: Final = 2**20  # and at most: a header may quote the smallest and the largest value
_DEPTH: Final = 12  # of structures in one another
_DAMAGED: Final = "cannot be read: damaged, or truncated"


@dataclass(frozen=True)
class Chunk:
    """A column of a group of rows.

    Attributes:
        column: its name, of the outermost field.
        values: how many it holds.
        start, length: where its pages lie.
        unpacked: bytes of its pages unpacked, with their headers, by the footer.
    """

    column: str
    values: int
    start: int
    length: int
    unpacked: int


def chunks_of(read_at: ReadAt, size: int) -> list[Chunk]:
    """Return the columns of all groups of rows, by the footer of a file of `size` bytes.

    Raises:
        DataError: the footer is damaged or too long.
    """
    end = read_at(max(0, size - 8), 8)
    length = int.from_bytes(end[:4], "little")
    if end[4:] != b"PAR1" or length > size - 8:
        raise DataError(_DAMAGED)
    if length > MAX_FOOTER:
        raise DataError(f"a footer of {length:,} bytes; expected a dataset of faces")
    try:
        footer = _Compact(read_at(size - 8 - length, length)).structure()
        return [_chunk(column) for group in footer[4] for column in group[1]]
    except (IndexError, KeyError, TypeError, AttributeError):
        raise DataError(_DAMAGED) from None


def _chunk(column: Any) -> Chunk:
    facts = column[3]
    starts = [facts[key] for key in (9, 11) if key in facts]  # of data and of the dictionary
    numbers = (facts[5], min(starts), facts[7], facts[6])
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise DataError(_DAMAGED)
    return Chunk(facts[3][0].decode("utf-8", "replace"), *numbers)


def unpacked_size(read_at: ReadAt, chunk: Chunk) -> int:
    """Return the bytes that the pages of a column would unpack to, by their headers.

    Raises:
        DataError: a header is damaged.
    """
    total = pages = 0
    at, end = chunk.start, chunk.start + chunk.length
    while at < end:
        header, unpacked, packed = _page(read_at, at)
        # There are no more pages than values, and one of the dictionary.
        if unpacked < 0 or packed < 0 or (pages := pages + 1) > chunk.values + 2:
            raise DataError(_DAMAGED)
        total += unpacked
        at += header + packed
    return total


def _page(read_at: ReadAt, at: int) -> tuple[int, int, int]:
    """Return the length of the header at an offset, and the sizes that it says."""
    size = _FIRST
    while True:
        data = read_at(at, size)
        reader = _Compact(data)
        try:
            header = reader.structure()
            return reader.at, int(header[2]), int(header[3])
        except IndexError:
            if len(data) < size or size >= _MOST:
                raise DataError(_DAMAGED) from None
            size *= 16
        except (KeyError, TypeError):
            raise DataError(_DAMAGED) from None


class _Compact:
    """Reads Thrift's compact protocol; IndexError where the data ends early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def structure(self, depth: int = 0) -> dict[int, Any]:
        """Return the values in a structure by the numbers of their fields.

        They are whole numbers, bytes, lists and structures; others are None.
        """
        values = {}
        field = 0
        while head := self._byte():
            kind = head & 15
            field = field + (head >> 4) if head >> 4 else self._number()
            # True and false in a structure have no bytes of their own.
            values[field] = None if kind in (1, 2) else self._value(kind, depth)
        return values

    def _value(self, kind: int, depth: int) -> Any:
        if depth > _DEPTH:
            raise DataError(_DAMAGED)
        if kind in (1, 2, 3):
            self._byte()
            return None
        if kind in (4, 5, 6):
            return self._number()
        if kind in (7, 8):
            return self._bytes(8 if kind == 7 else self._varint())
        if kind in (9, 10):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            if count > len(self._data):  # each takes a byte at least
                raise IndexError
            return [self._value(head & 15, depth + 1) for _ in range(count)]
        if kind == 12:
            return self.structure(depth + 1)
        raise DataError(_DAMAGED)  # a map, which no such structure has

    def _bytes(self, count: int) -> bytes:
        self.at += count
        if self.at > len(self._data):
            raise IndexError
        return self._data[self.at - count : self.at]

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise DataError(_DAMAGED)

    def _number(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
