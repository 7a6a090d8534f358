"""fer2013.csv and its kind: a row an image, its pixels as text.

Dimension keys: N images, P pixels of an image.
"""

from __future__ import annotations

import io
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isqrt
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from ferjax.data.csv_dialect import MAX_LINE, SEPARATOR, Dialect, fields_of, line_of
from ferjax.data.reading import Rows, checked_row
from ferjax.errors import DataError

PIXELS: Final = 48 * 48  # of fer2013.csv
MAX_BAD: Final = 100_000  # bad rows after which a file is no dataset

_CHUNK: Final = 512  # rows parsed at once, about 4 MB of text
_FLOATS: Final = re.compile(r"[0-9]+(?:\.[0-9]*)?(?: [0-9]+(?:\.[0-9]*)?)*")
_UNIT_ERROR: Final = 0.02  # of a pixel in [0, 1] times 255, to a whole number
_SIGNS: Final = str.maketrans("[](),;", "      ")


class _Counting(io.RawIOBase):
    """A stream that counts what is read of it; closing it leaves the stream open."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.done = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self.done += len(data)
        return len(data)


def read(
    stream: io.BufferedReader, dialect: Dialect, advance: Callable[[int], None] = lambda done: None
) -> Rows:
    """Read a csv that is written in a dialect.

    Args:
        advance: called now and then with the number of bytes read.

    Raises:
        DataError: the text cannot be read on. Rows that cannot be used are returned instead.
    """
    counting = _Counting(stream)
    buffered = io.BufferedReader(counting, 2**16)
    text = io.TextIOWrapper(buffered, dialect.encoding, errors="replace")
    records = (
        fields if isinstance(fields, str) else _check_row(fields, dialect)
        for fields in _records(text, dialect)
    )
    return collect(records, lambda: advance(counting.done))


def collect(
    records: Iterable[tuple[str, int, str] | str], advance: Callable[[], None] = lambda: None
) -> Rows:
    """Return what rows hold that are a label, a position in `SPLITS` and pixels as text each.

    Args:
        records: the rows, or what is wrong with them.
        advance: called now and then.

    Raises:
        DataError: too many rows are bad.
    """
    parser = _Parser()
    bad: list[tuple[int, str]] = []
    labels: dict[int, str] = {}
    splits: dict[int, int] = {}
    seen: dict[str, str] = {}  # one object a label
    pending: list[tuple[int, str]] = []

    def parse_pending() -> None:
        bad.extend(parser.parse(pending))
        pending.clear()
        if len(bad) > MAX_BAD:
            first = min(bad)
            raise DataError(f"more than {MAX_BAD:,} bad rows, row {first[0]} first: {first[1]}")
        advance()

    for number, record in enumerate(records, start=1):
        if isinstance(record, str):
            bad.append((number, record))
        else:
            label, splits[number], pixels = record
            labels[number] = seen.setdefault(label, label)
            pending.append((number, pixels))
        if len(pending) == _CHUNK or len(bad) > MAX_BAD:
            parse_pending()
    parse_pending()
    images, numbers = parser.finish(bad)
    return Rows(
        images=images,
        source_sizes=np.full((len(images), 2), images.shape[1], np.int32),
        labels=[labels[number] for number in numbers],
        splits=np.array([splits[number] for number in numbers], np.int8),
        numbers=numbers,
        bad=sorted(bad),
        notes=parser.notes,
    )


def _records(text: IO[str], dialect: Dialect) -> Iterator[list[str] | str]:
    """Yield the fields of each record under the header, or what is wrong with it."""
    delimiter = dialect.delimiter
    blank = delimiter + ' \t\n"'
    waiting: deque[str] = deque()  # lines that turned out to be records of their own
    in_quotes = True  # whether a quote that opens may close on another line
    header = dialect.header is not None  # whether it is still to come
    while line := waiting.popleft() if waiting else line_of(text):
        if not line.strip(blank) or (header and SEPARATOR.fullmatch(line)):
            continue
        if in_quotes and line.count('"') % 2:
            more: list[str] = []
            length = len(line)
            while length < MAX_LINE:
                more.append(line_of(text))
                length += len(more[-1])
                if not more[-1] or more[-1].count('"') % 2:
                    break
            if more[-1].count('"') % 2:
                line += "".join(more)
            else:
                in_quotes = False
                waiting.extend(filter(None, more))
        if header:
            header = False
        elif line.count('"') % 2:
            yield "a quote that is not closed"
        else:
            yield fields_of(line.rstrip("\n"), delimiter)


def _check_row(fields: Sequence[str], dialect: Dialect) -> tuple[str, int, str] | str:
    """Return a row's label, split and pixel text, or what is wrong with it."""
    columns = 1 + max(dialect.label, *dialect.pixels, dialect.usage or 0)
    if len(fields) < columns:
        return f"expected at least {columns} columns, got {len(fields)}"
    usage = None if dialect.usage is None else fields[dialect.usage]
    checked = checked_row(fields[dialect.label], usage, dialect.label_name)
    if isinstance(checked, str):
        return checked
    if len(dialect.pixels) == 1:
        return *checked, fields[dialect.pixels[0]]
    return *checked, " ".join([fields[i].strip() or "?" for i in dialect.pixels])


class _Parser:
    """Parses rows of pixels, all of one number that the first rows tell."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._pixels = 0  # of each image; 0: not known yet
        self._blocks: list[npt.NDArray[np.uint8]] = []
        self._numbers: list[int] = []
        self._unit: set[int] = set()  # rows with pixels in [0, 1]

    def parse(self, rows: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
        """Take rows, each with its number, and return those that are bad, and why."""
        if not self._pixels:
            self._pixels = _size_of([text for _, text in rows])
        expected = self._pixels or PIXELS
        block = np.empty((len(rows), expected), np.uint8)
        bad = []
        good = []
        for at, (number, text) in enumerate(rows):
            problem = _parse(text, block[at])
            if problem is not None and problem != _UNIT:
                bad.append((number, problem))
                continue
            if problem == _UNIT:
                self._unit.add(number)
            good.append(at)
            self._numbers.append(number)
        if good:
            self._blocks.append(block if len(good) == len(rows) else block[good])
        return bad

    def finish(self, bad: list[tuple[int, str]]) -> tuple[npt.NDArray[np.uint8], list[int]]:
        """Return the images, (N, side, side), and their rows; add to `bad` what the whole shows."""
        pixels = self._pixels or PIXELS
        images = np.concatenate([np.empty((0, pixels), np.uint8), *self._blocks])
        numbers = self._numbers
        self._blocks = []
        if self._unit:
            # Whole numbers among them are 0 and 1, in images of black and white.
            whole = np.array([number not in self._unit for number in numbers])
            dark = images.max(1) <= 1
            images[whole & dark] *= np.uint8(255)
            for at in np.flatnonzero(whole & ~dark):
                bad.append((numbers[at], "expected pixels in [0, 1] as in other rows, got more"))
            images = images[~whole | dark]
            numbers = [numbers[at] for at in np.flatnonzero(~whole | dark)]
            self.notes.append("pixels in [0, 1] are taken times 255")
        side = isqrt(pixels)
        return images.reshape(-1, side, side), numbers


_UNIT: Final = "pixels in [0, 1]"


def _size_of(texts: Sequence[str]) -> int:
    """Return the number of pixels of square images that most rows have; 0 where none is square."""
    counts = Counter(len(text.translate(_SIGNS).split()) for text in texts)
    square = {n: k for n, k in counts.items() if n > 3 and isqrt(n) ** 2 == n}
    if PIXELS in square:
        return PIXELS
    return max(square, key=lambda n: (square[n], n), default=0)


def _parse(text: str, target: npt.NDArray[np.uint8]) -> str | None:
    """Write a row of pixels, uint8 (P,), to `target`, or return what is wrong with it, or _UNIT.

    >>> _parse("0 255 256", np.empty(2304, np.uint8))
    'expected 2304 pixels, got 3'
    """
    data = text.encode("ascii", "replace")
    if not data.translate(None, b"0123456789 "):
        # Digits and spaces alone: nothing that the parser could stop at.
        values = np.fromstring(text, np.int64, sep=" ") if data.strip() else np.empty(0, np.int64)
        if len(values) == len(target) and values.max() <= 255:
            target[:] = values
            return None
    text = text.translate(_SIGNS)
    if "..." in text:
        return "the pixels were abbreviated by ... when the file was written; write it anew"
    tokens = text.split()
    if len(tokens) != len(target):
        side = isqrt(len(tokens) // 3)
        colours = 3 * side**2 == len(tokens) > 3
        of = f", as of {side}x{side} in three colours; make them gray" if colours else ""
        return f"expected {len(target)} pixels, got {len(tokens)}{of}"
    text = " ".join(tokens)
    if _FLOATS.fullmatch(text):
        floats = np.fromstring(text, np.float64, sep=" ")
        rounded = np.rint(floats)
        if np.array_equal(floats, rounded) and rounded.max() <= 255:
            target[:] = rounded
            return None
        scaled = floats * 255
        if floats.max() <= 1 and np.abs(scaled - np.rint(scaled)).max() < _UNIT_ERROR:
            target[:] = np.rint(scaled)
            return _UNIT
    for position, token in enumerate(tokens):
        if not re.fullmatch(r"[+-]?[0-9]{1,9}(\.0*)?", token, re.ASCII):
            return f"expected whole numbers for pixels, got {token[:40]!r} at pixel {position}"
        if not 0 <= float(token) <= 255:
            return f"expected pixels in [0, 255], got {token} at pixel {position}"
    target[:] = np.array(tokens, np.float64)
    return None
