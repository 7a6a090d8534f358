"""fer2013.csv and icml_face_data.csv: a row an image, its pixels as text.

Dimension keys: N images, P pixels of an image.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

from ferjax.data.dataset import SPLITS
from ferjax.emotions import EMOTIONS, FER2013_CSV_ORDER, canonical
from ferjax.errors import DataError, LabelsError

SIDE: Final = 48  # pixels
PIXELS: Final = SIDE * SIDE
MAX_BAD: Final = 100_000  # bad rows after which a file is no dataset
USAGES: Final = {"training": "train", "publictest": "validation", "privatetest": "test"}
MAX_HEADER: Final = 4096  # bytes

_LABELS: Final = {str(i): EMOTIONS.index(name) for i, name in enumerate(FER2013_CSV_ORDER)}
_MAX_LINE: Final = 2**20  # bytes
_CHUNK: Final = 512  # rows parsed at once, about 4 MB of text
_COLUMNS: Final = ("emotion", "pixels", "usage")


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What a csv holds."""

    images: npt.NDArray[np.uint8]  # (N, 48, 48)
    labels: npt.NDArray[np.int32]  # (N,), positions in EMOTIONS
    splits: npt.NDArray[np.int8]  # (N,), positions in SPLITS
    names: tuple[str, ...]
    bad: list[tuple[str, str]]


def columns(line: bytes) -> dict[str, int] | None:
    """Return where a header has emotion, pixels and perhaps usage; None for any other line.

    Case and spaces around the names do not matter.

    >>> columns(b"emotion, Usage, pixels")
    {'emotion': 0, 'pixels': 2, 'usage': 1}
    """
    try:
        header = next(csv.reader([_decoded(line)]), [])
    except csv.Error:
        return None
    names = [name.strip().lower() for name in header]
    if "emotion" not in names or "pixels" not in names:
        return None
    return {name: names.index(name) for name in _COLUMNS if name in names}


def read(stream: BinaryIO, advance: Callable[[int], None] = lambda done: None) -> Rows:
    """Read a csv whose header `columns` knows.

    Args:
        advance: called now and then with the number of bytes read.

    Raises:
        DataError: the text cannot be read on. Rows that cannot be used are returned instead.
    """
    header = stream.readline(MAX_HEADER)
    where = columns(header)
    if where is None:
        raise DataError("expected the columns emotion, pixels and Usage")
    images: list[npt.NDArray[np.uint8]] = []
    labels: list[int] = []
    splits: list[int] = []
    names: list[str] = []
    bad: list[tuple[int, str]] = []
    pending: list[tuple[int, int, int, str]] = []

    def parse_pending() -> None:
        texts = [text for *_, text in pending]
        block = _parse_block(texts)
        for row, (number, label, split, text) in enumerate(pending):
            image = block[row] if block is not None else _parse(text)
            if isinstance(image, str):
                bad.append((number, image))
            else:
                if block is None:
                    images.append(image[None])
                labels.append(label)
                splits.append(split)
                names.append(f"row {number}")
        if block is not None:
            images.append(block)
        pending.clear()
        if len(bad) > MAX_BAD:
            raise DataError(f"more than {MAX_BAD:,} bad rows, row {bad[0][0]} first: {bad[0][1]}")

    done = len(header)

    def lines() -> Iterator[str]:
        nonlocal done
        while line := stream.readline(_MAX_LINE):
            if len(line) == _MAX_LINE:
                raise DataError(f"a line of more than {_MAX_LINE:,} bytes; is this fer2013.csv?")
            done += len(line)
            yield _decoded(line)

    reader = csv.reader(lines())
    number = 0
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            number += 1
            bad.append((number, str(error)))
            continue
        if row is None:
            break
        if not row:  # a blank line
            continue
        number += 1
        checked = _check_row(row, where)
        if isinstance(checked, str):
            bad.append((number, checked))
        else:
            pending.append((number, *checked))
        if len(pending) == _CHUNK or len(bad) > MAX_BAD:
            parse_pending()
            advance(done)
    parse_pending()
    advance(done)
    empty = np.empty((0, PIXELS), np.uint8)
    return Rows(
        images=np.concatenate([empty, *images]).reshape(-1, SIDE, SIDE),
        labels=np.array(labels, np.int32),
        splits=np.array(splits, np.int8),
        names=tuple(names),
        bad=[(f"row {number}", reason) for number, reason in sorted(bad)],
    )


def _decoded(line: bytes) -> str:
    # Bytes that are no UTF-8 make a field wrong, not the file unreadable.
    return line.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")


def _check_row(row: list[str], where: dict[str, int]) -> tuple[int, int, str] | str:
    """Return a row's label, split and pixel text, or what is wrong with it."""
    if len(row) <= max(where.values()):
        return f"expected at least {max(where.values()) + 1} columns, got {len(row)}"
    emotion = row[where["emotion"]].strip()
    label = _LABELS.get(emotion)
    if label is None:
        try:
            label = EMOTIONS.index(canonical(emotion))
        except LabelsError:
            return f"expected 0 to 6 for emotion, got {emotion[:40]!r}"
    split = "train"
    if "usage" in where:
        usage = row[where["usage"]].strip()
        if usage.lower() not in USAGES:
            return f"expected Training, PublicTest or PrivateTest for Usage, got {usage[:40]!r}"
        split = USAGES[usage.lower()]
    return label, SPLITS.index(split), row[where["pixels"]].strip()


def _parse_block(texts: list[str]) -> npt.NDArray[np.uint8] | None:
    """Parse many rows of pixels at once, uint8 (N, P); None if any is not as in fer2013.csv."""
    if not texts or any(text.count(" ") != PIXELS - 1 for text in texts):
        return None
    text = np.frombuffer(" ".join(texts).encode("ascii", "replace"), np.uint8)
    spaces = np.flatnonzero(text == ord(" "))
    ends = np.append(spaces, len(text))
    starts = np.append(0, spaces + 1)
    lengths = ends - starts
    if lengths.min() < 1 or lengths.max() > 3:
        return None
    # A space becomes 240, every other character that is no digit something above 9.
    digits = text - np.uint8(ord("0"))
    if np.count_nonzero(digits > 9) != len(spaces):
        return None
    values = digits[ends - 1].astype(np.uint16)
    # Before the first digit of a number lies another number; it does not count.
    values += np.where(lengths > 1, digits[ends - 2], 0).astype(np.uint16) * np.uint16(10)
    values += np.where(lengths > 2, digits[ends - 3], 0).astype(np.uint16) * np.uint16(100)
    if values.max() > 255:
        return None
    return values.astype(np.uint8).reshape(len(texts), PIXELS)


def _parse(text: str) -> npt.NDArray[np.uint8] | str:
    """Parse one row of pixels, uint8 (P,), or return what is wrong with it.

    >>> _parse("0 255 256")
    'expected 2304 pixels, got 3'
    """
    block = _parse_block([text])
    if block is not None:
        return block[0]
    tokens = text.split()
    if len(tokens) != PIXELS:
        return f"expected {PIXELS} pixels, got {len(tokens)}"
    for position, token in enumerate(tokens):
        if not re.fullmatch(r"[+-]?[0-9]{1,9}", token):
            return f"expected whole numbers for pixels, got {token[:40]!r} at pixel {position}"
        if not 0 <= int(token) <= 255:
            return f"expected pixels in [0, 255], got {token} at pixel {position}"
    return np.array(tokens, np.uint16).astype(np.uint8)
