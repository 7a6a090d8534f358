"""The sizes that the pages of a parquet file claim, read before pyarrow unpacks any.

The footer says how large each column is, and a footer may lie; memory is taken by what the pages'
own headers say. They are in Thrift's compact protocol, of which this reads what it needs.
"""

from __future__ import annotations

from collections.abc import Callable

from ferjax.errors import DataError

ReadAt = Callable[[int, int], bytes]  # offset and number of bytes -> the bytes, fewer at the end

_FIRST = 2**12  # bytes of a header that are looked at first
_MOST = 2**20  # and at most: a header may quote the smallest and the largest value
_DEPTH = 8  # of structures in one another


def unpacked_size(read_at: ReadAt, start: int, length: int, values: int) -> int:
    """Return the bytes that the pages of a column would unpack to, by their headers.

    Args:
        start, length: where the pages lie.
        values: how many the column holds; there are no more pages than these and two.

    Raises:
        DataError: a header is damaged.
    """
    total = pages = 0
    at, end = start, start + length
    while at < end:
        header, unpacked, packed = _page(read_at, at)
        if unpacked < 0 or packed < 0 or (pages := pages + 1) > values + 2:
            raise DataError("cannot be read: damaged pages")
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
            numbers = reader.structure()
            return reader.at, numbers.get(2, -1), numbers.get(3, -1)
        except IndexError:
            if len(data) < size or size >= _MOST:
                raise DataError("cannot be read: a damaged or overlong header of a page") from None
            size *= 16


class _Compact:
    """Reads Thrift's compact protocol; IndexError where the data ends early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def structure(self, depth: int = 0) -> dict[int, int]:
        """Return the whole numbers in a structure, by the fields' numbers; the rest is skipped."""
        if depth > _DEPTH:
            raise DataError("cannot be read: a damaged header of a page")
        numbers = {}
        field = 0
        while head := self._byte():
            kind = head & 15
            field = field + (head >> 4) if head >> 4 else self._number()
            if kind in (4, 5, 6):
                numbers[field] = self._number()
            elif kind not in (1, 2):  # true and false have no bytes of their own
                self._skip(kind, depth)
        return numbers

    def _skip(self, kind: int, depth: int) -> None:
        if kind in (1, 2, 3):
            self._byte()
        elif kind in (4, 5, 6):
            self._number()
        elif kind == 7:
            self._forward(8)
        elif kind == 8:
            self._forward(self._varint())
        elif kind == 12:
            self.structure(depth + 1)
        elif kind in (9, 10):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            for _ in range(min(count, len(self._data) + 1)):
                self._skip(head & 15, depth + 1)
        else:  # maps, which no header has
            raise DataError("cannot be read: a damaged header of a page")

    def _forward(self, count: int) -> None:
        self.at += count
        if self.at > len(self._data):
            raise IndexError

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
        raise DataError("cannot be read: a damaged header of a page")

    def _number(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
