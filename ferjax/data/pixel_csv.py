"""fer2013.csv and its kind: a row an image, its pixels as text, which NumPy reads.

Dimension keys: N images, P pixels of an image.
"""

from __future__ import annotations

import io
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from math import isqrt
from typing import IO, Final

import numpy as np
import numpy.typing as npt

from ferjax.data.csv_dialect import MAX_LINE, SEPARATOR, Dialect, fields_of, line_of, text_of
from ferjax.data.reading import Rows, checked_row
from ferjax.errors import DataError

PIXELS: Final = 48 * 48  # of fer2013.csv
MAX_BAD: Final = 100_000  # bad rows after which a file is no dataset

_CHUNK: Final = 512  # rows parsed at once, about 4 MB of text
_FRACTION_ERROR: Final = 0.02  # of a pixel in [0, 1] times 255, to a whole number
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,9}(\.0*)?", re.ASCII)
# Brackets and commas of lists, and every kind of space.
_BETWEEN: Final = {
    code: " " for code in range(0x3001) if chr(code).isspace() or chr(code) in "[](),;"
}


def read(
    stream: io.BufferedReader, dialect: Dialect, advance: Callable[[int], None] = lambda done: None
) -> Rows:
    """Read a csv that is written in a dialect.

    Args:
        advance: called now and then with the number of bytes read.

    Raises:
        DataError: the text cannot be read on. Rows that cannot be used are returned instead.
    """
    with text_of(stream) as (text, _):
        records = (
            fields if isinstance(fields, str) else _check_row(fields, dialect)
            for fields in _records(text, dialect)
        )
        return collect(records, lambda: advance(stream.tell()))


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
    pixels = 0  # of each image; 0: no row has said yet
    blocks: list[npt.NDArray[np.uint8]] = []
    numbers: list[int] = []
    labels: list[str] = []
    splits: list[int] = []
    fractions: list[bool] = []  # whether a row's pixels are in [0, 1]
    bad: list[tuple[int, str]] = []
    same_label: dict[str, str] = {}  # one object a label
    numbered = enumerate(records, start=1)
    while chunk := list(islice(numbered, _CHUNK)):
        pixels = pixels or _usual_size([row[2] for _, row in chunk if not isinstance(row, str)])
        block = np.empty((len(chunk), pixels or PIXELS), np.uint8)
        before = len(numbers)
        for number, row in chunk:
            try:
                if isinstance(row, str):
                    raise DataError(row)
                label, split, text = row
                fractions.append(_parse(text, block[len(numbers) - before]))
            except DataError as error:
                bad.append((number, str(error)))
                continue
            numbers.append(number)
            labels.append(same_label.setdefault(label, label))
            splits.append(split)
        if len(numbers) > before:
            blocks.append(block[: len(numbers) - before])
        if len(bad) > MAX_BAD:
            raise DataError(f"more than {MAX_BAD:,} bad rows, row {bad[0][0]} first: {bad[0][1]}")
        advance()
    images = np.concatenate([np.empty((0, pixels or PIXELS), np.uint8), *blocks])
    side = isqrt(images.shape[1])
    rows = Rows(
        images=images.reshape(-1, side, side),
        source_sizes=np.full((len(images), 2), side, np.int32),
        labels=labels,
        splits=np.array(splits, np.int8),
        numbers=numbers,
        bad=bad,
        notes=[],
    )
    return _with_fractions(rows, np.array(fractions)) if any(fractions) else rows


def _with_fractions(rows: Rows, fractions: npt.NDArray[np.bool_]) -> Rows:
    """Return rows of which some, by the mask `fractions`, have pixels in [0, 1].

    Whole numbers among them are 0 and 1, in images of black and white; others are bad.
    """
    is_binary = ~fractions & (rows.images.max((1, 2)) <= 1)
    rows.images[is_binary] *= np.uint8(255)
    bad = np.flatnonzero(~(fractions | is_binary)).tolist()
    reason = "expected pixels in [0, 1] as in other rows, got more"
    return replace(
        rows.take(np.flatnonzero(fractions | is_binary)),
        bad=sorted([*rows.bad, *((rows.numbers[row], reason) for row in bad)]),
        notes=["pixels in [0, 1] are taken times 255"],
    )


def _records(text: IO[str], dialect: Dialect) -> Iterator[list[str] | str]:
    """Yield the fields of each record under the header, or what is wrong with it."""
    blank = dialect.delimiter + ' \t\n"'
    waiting: deque[str] = deque()  # lines that turned out to be records of their own
    in_quotes = True  # whether a quote that opens may close on another line
    header = dialect.header is not None  # whether it is still to come
    while line := waiting.popleft() if waiting else line_of(text):
        if not line.strip(blank) or (header and SEPARATOR.fullmatch(line)):
            continue
        is_open = line.count('"') % 2 == 1
        if in_quotes and is_open:
            lines = [line]
            length = len(line)
            while is_open and lines[-1] and length < MAX_LINE:
                lines.append(line_of(text))
                length += len(lines[-1])
                is_open = lines[-1].count('"') % 2 == 0
            in_quotes = not is_open
            if is_open:
                waiting.extend(filter(None, lines[1:]))
            else:
                line = "".join(lines)
        if header:
            header = False
        elif is_open:
            yield "a quote that is not closed"
        else:
            yield fields_of(line.rstrip("\n"), dialect.delimiter)


def _check_row(fields: Sequence[str], dialect: Dialect) -> tuple[str, int, str] | str:
    """Return a row's label, split and pixel text, or what is wrong with it."""
    if len(fields) < dialect.columns:
        return f"expected at least {dialect.columns} columns, got {len(fields)}"
    usage = None if dialect.usage is None else fields[dialect.usage]
    checked = checked_row(fields[dialect.label], usage, dialect.label_name)
    if isinstance(checked, str):
        return checked
    pixels = dialect.pixels_of(fields)
    if isinstance(pixels, str):
        return *checked, pixels
    text = " ".join(pixels)
    if "  " in f" {text} ":  # a field of nothing would move those after it
        text = " ".join([field.strip() or "?" for field in pixels])
    return *checked, text


def _usual_size(texts: Sequence[str]) -> int:
    """Return the number of pixels of square images that most rows have; 0 where none is square."""
    counts = Counter(len(text.translate(_BETWEEN).split()) for text in texts)
    square = {n: k for n, k in counts.items() if n > 3 and isqrt(n) ** 2 == n}
    if PIXELS in square:
        return PIXELS
    return max(square, key=lambda n: (square[n], n), default=0)


def _parse(text: str, target: npt.NDArray[np.uint8]) -> bool:
    """Write a row of pixels to `target`, uint8 (P,); return whether they are in [0, 1].

    Raises DataError, whose text is what is wrong with them alone.

    >>> _parse("0 255 256", np.empty(2304, np.uint8))
    Traceback (most recent call last):
    ...
    ferjax.errors.DataError: expected 2304 pixels, got 3
    """
    values = _numbers(text)
    if len(values) == len(target) and values.min() >= 0 and values.max() <= 255:
        target[:] = values if values.dtype == np.int64 else np.rint(values)
        if values.dtype == np.int64 or np.array_equal(values, target):
            return False
        if values.max() <= 1:
            target[:] = np.rint(values * 255)
            if np.abs(values * 255 - target).max() < _FRACTION_ERROR:
                return True
    raise DataError(_fault(text.translate(_BETWEEN), len(target)))


def _numbers(text: str) -> npt.NDArray[np.int64] | npt.NDArray[np.float64]:
    """Return the numbers of a row as NumPy reads them; none where anything else is in it.

    It stops, or warns, at other letters, and takes 1e2 and nan, which are no pixels.
    """
    data = text.encode("ascii", "replace")
    if data.translate(None, b"0123456789 "):
        data = text.translate(_BETWEEN).encode("ascii", "replace")
    others = data.translate(None, b"0123456789 ")
    if not others and data.strip():
        return np.fromstring(data, np.int64, sep=" ")
    if others and not others.translate(None, b".+-"):
        try:
            return np.loadtxt([data.decode()], ndmin=1, comments=None)
        except ValueError:  # such as 1.2.3
            pass
    return np.empty(0)


def _fault(text: str, expected: int) -> str:
    """Return what is wrong with the text of a row that has not as many pixels as expected."""
    if "..." in text:
        return "the pixels were abbreviated by ... when the file was written; write it anew"
    tokens = text.split()
    if len(tokens) != expected:
        side = isqrt(len(tokens) // 3)
        colours = 3 * side**2 == len(tokens) > 3
        of = f", as of {side}x{side} in three colours; make them gray" if colours else ""
        return f"expected {expected} pixels, got {len(tokens)}{of}"
    position, token = next(
        (position, token)
        for position, token in enumerate(tokens)
        if not (_WHOLE.fullmatch(token) and 0 <= float(token) <= 255)
    )
    if _WHOLE.fullmatch(token):
        return f"expected pixels in [0, 255], got {token} at pixel {position}"
    return f"expected whole numbers for pixels, got {token[:40]!r} at pixel {position}"
