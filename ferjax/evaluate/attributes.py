"""What is known about the people on images, from a table that the user brings.

A CSV: a header, then a row an image; the first column is the image's name, the others are
attributes of the user's own, such as gender, age_group, skin_tone or glasses. Nobody's attributes
are ever guessed from a face: an image that the table says nothing about belongs to no group.

Dimension keys: N measured images.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from ferjax.errors import DataError, printable

MAX_BYTES: Final = 64 * 2**20
MAX_VALUES: Final = 100  # different values of an attribute

_DELIMITERS: Final = ",;\t"
_SAMPLE: Final = 20  # rows by which the delimiter is told
_SEVERAL: Final = -1  # a name that fits more than one image


@dataclass(frozen=True, kw_only=True)
class Attributes:
    """What is stated about each measured image.

    Attributes:
        columns: by attribute, in the file's order, its value for each of the N images; None where
            it is not stated.
        notes: what did not fit while reading, a line each.
    """

    columns: dict[str, tuple[str | None, ...]]
    notes: tuple[str, ...] = field(default=())


def read_attributes(
    path: str | os.PathLike[str],
    names: Sequence[str],
    *,
    all_names: Sequence[str] | None = None,
    most_bytes: int | None = None,
) -> Attributes:
    r"""Read a CSV of attributes and align it with images.

    UTF-8, separated by commas, semicolons or tabs. Values are text, categories as they are written;
    an empty cell states nothing about this attribute, and blank lines are skipped. A row belongs to
    the image of its name, or else to the only one whose path ends in it: "angry/im0.png" finds
    "test/angry/im0.png". "\" separates folders as "/" does.

    Args:
        path: the file.
        names: of the N measured images, as in `Faces.names`.
        all_names: of every image of the dataset, so that rows about its other images are no mistake
            and a name that fits one of them too is not taken for a measured image's.
        most_bytes: that the file may have; None: 64 MiB.

    Raises:
        DataError: the file cannot be read or is no such table, an image has two rows that differ,
            no row is about a measured image, no attribute has a value, or one has more than 100.
    """
    try:
        text = _text(path, MAX_BYTES if most_bytes is None else most_bytes)
        attributes = _read(text, _Finder(names, all_names or ()), names)
    except DataError as error:
        raise DataError(printable(f"{os.fspath(path)}: {error}")) from None
    for note in attributes.notes:
        warnings.warn(printable(f"{os.fspath(path)}: {note}"), stacklevel=2)
    return attributes


def _text(path: str | os.PathLike[str], most_bytes: int) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # a null byte in the name
        raise DataError(f"cannot be read: {error}") from None
    if len(data) > most_bytes:
        raise DataError(
            f"expected a table of at most {most_bytes // 2**20} MiB, this file is larger"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # UTF-16 without its mark decodes as UTF-8
        raise DataError("expected UTF-8 text; save the table as CSV in UTF-8")
    return text


class _Finder:
    """Finds images by name: N measured ones, by position, and others, by any number from N on."""

    def __init__(self, names: Sequence[str], others: Sequence[str]) -> None:
        self.measured = len(names)
        self.full: dict[str, int] = {}
        for position, name in enumerate(map(_normal, names)):
            self.full[name] = _SEVERAL if name in self.full else position
        for number, name in enumerate(map(_normal, others), self.measured):
            self.full.setdefault(name, number)

    @cached_property
    def ends(self) -> dict[str, int]:
        """The images by every shorter end of their paths."""
        ends: dict[str, int] = {}
        for name, image in self.full.items():
            while "/" in name:
                name = name.partition("/")[2]
                ends[name] = _SEVERAL if name in ends else image
        return ends

    def __call__(self, name: str) -> int | None:
        name = _normal(name)
        return self.full[name] if name in self.full else self.ends.get(name)


def _normal(name: str) -> str:
    return name.strip().replace("\\", "/").removeprefix("./")


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line that is not blank, the last one of a row, and its cells."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if "".join(cells).strip(_DELIMITERS):  # spreadsheets separate the cells of blank rows
                yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(f"line {reader.line_num}: not CSV ({error})") from None


def _delimiter(text: str, find: _Finder) -> str:
    """Return what separates the cells: images are found with it, and rows are equally long."""

    def score(delimiter: str) -> tuple[bool, int, int, int]:
        rows: list[list[str]] = []
        with suppress(DataError):  # raised again when the rows are read
            for _, row in itertools.islice(_rows(text, delimiter), _SAMPLE):
                rows.append(row)
        width = len(rows[0]) if rows else 0
        images = sum(find(row[0]) is not None for row in rows)
        return width > 1, images, sum(len(row) == width for row in rows), width

    return max(_DELIMITERS, key=score)  # the first of equals: the comma


def _header(rows: Iterator[tuple[int, list[str]]], find: _Finder) -> list[str]:
    _, header = next(rows, (0, []))
    if not header:
        raise DataError("expected a header, image and attributes; the file is empty")
    if find(header[0]) is not None:
        raise DataError(f"expected a header, got a line about the image {header[0]!r}")
    if len(header) == 1:
        raise DataError(
            "expected the image and at least one attribute, separated by comma, semicolon or tab, "
            f"got the column {header[0]!r} only"
        )
    if "" in header:
        raise DataError(f"expected a name for every column, column {header.index('') + 1} has none")
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise DataError(f"expected different column names, got {twice[0]!r} twice")
    return header


def _read(text: str, find: _Finder, names: Sequence[str]) -> Attributes:
    rows = _rows(text, _delimiter(text, find))
    header = _header(rows, find)
    seen: dict[int, tuple[int, list[str]]] = {}
    unknown: list[str] = []
    several: list[str] = []
    repeated = 0
    for line, (name, *values) in rows:
        if len(values) != len(header) - 1:
            raise DataError(f"line {line}: expected {len(header)} cells, got {len(values) + 1}")
        if not name:
            raise DataError(f"line {line}: expected an image's name in the first column, got none")
        image = find(name)
        if image is None:
            unknown.append(name)
        elif image == _SEVERAL:
            several.append(name)
        elif image not in seen:
            seen[image] = line, values
        elif seen[image][1] == values:
            repeated += 1
        else:
            raise DataError(
                f"lines {seen[image][0]} and {line} state different things about {name!r}"
            )
    measured = sum(image < len(names) for image in seen)
    if not measured:
        raise DataError(_nothing_found(names, unknown, several, len(seen)))

    notes = []
    if unknown:
        notes.append(f"{_count(unknown, 'row')} about unknown images, left out: {_first(unknown)}")
    if several:
        notes.append(
            f"{_count(several, 'row')} with a name that fits several images, left out: "
            f"{_first(several)}"
        )
    if repeated:
        notes.append(f"{repeated:,} repeated {'rows' if repeated > 1 else 'row'} with equal values")
    if measured < len(names):
        notes.append(f"no row about {len(names) - measured:,} of {len(names):,} measured images")
    nothing = [""] * (len(header) - 1)
    aligned = [seen[image][1] if image in seen else nothing for image in range(len(names))]
    columns, empty = _columns(header[1:], aligned)
    if empty:
        notes.append(
            f"{_count(empty, 'attribute')} without a value for any measured image, left out: "
            f"{_first(empty)}"
        )
    return Attributes(columns=columns, notes=tuple(notes))


def _columns(
    attributes: Sequence[str], aligned: Sequence[Sequence[str]]
) -> tuple[dict[str, tuple[str | None, ...]], list[str]]:
    """Return the values of each attribute, N, and the attributes that have none."""
    columns: dict[str, tuple[str | None, ...]] = {}
    empty = []
    for attribute, column in zip(attributes, zip(*aligned)):
        different = len(set(column) - {""})
        if different > MAX_VALUES:
            raise DataError(
                f"expected at most {MAX_VALUES} different values of {attribute!r}, got "
                f"{different:,}: an id or a measurement makes no groups; bin it or leave it out"
            )
        if different:
            columns[attribute] = tuple(value or None for value in column)
        else:
            empty.append(attribute)
    if not columns:
        raise DataError("expected values, every attribute is empty for all measured images")
    return columns, empty


def _nothing_found(
    names: Sequence[str], unknown: list[str], several: list[str], others: int
) -> str:
    kinds = [
        f"{len(unknown):,} about unknown images ({_first(unknown)})" if unknown else "",
        f"{len(several):,} with a name that fits several ({_first(several)})" if several else "",
        f"{others:,} about images of other splits" if others else "",
    ]
    return (
        f"expected rows about the measured images ({_first(names)}), "
        f"got {', '.join(filter(None, kinds)) or 'no rows'}"
    )


def _count(things: Sequence[str], noun: str) -> str:
    return f"{len(things):,} {noun}{'s' if len(things) > 1 else ''}"


def _first(names: Sequence[str]) -> str:
    """Return the first three of them.

    >>> _first(["a.png", "b.png", "c.png", "d.png"])
    "'a.png', 'b.png', 'c.png', ..."
    """
    dots = ["..."] if len(names) > 3 else []
    return ", ".join([*(repr(name[:100]) for name in names[:3]), *dots])
