"""What was found in photographs, as JSON and as a table.

An entry is what JSON says of one photograph:

    {"path": "party.jpg", "engine": "onnx", "width": 640, "height": 480, "error": null, "faces": [
        {"face": 1, "box": [x, y, width, height], "score": 0.93, "landmarks": [[x, y], ...],
         "roll": -4.1, "label": "happy", "index": 3, "confidence": 0.91,
         "probabilities": {"angry": 0.01, ...}, "size": 96.4, "too_small": false}]}

The table has a row for every face; a photograph without one has a row too, of which `face` is 0,
and so has one that cannot be read, of which `error` says why.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TextIO

from ferjax.errors import WriteError, printable
from ferjax.faces.face import Face, Photograph

LANDMARKS: Final = ("right_eye", "left_eye", "nose", "right_mouth", "left_mouth")
_BEFORE: Final = (
    *("path", "face", "x", "y", "width", "height", "score"),
    *(f"{name}_{axis}" for name in LANDMARKS for axis in "xy"),
    *("roll", "size", "too_small", "label", "confidence"),
)
_AFTER: Final = ("error",)
FIXED: Final = (*_BEFORE, *_AFTER)
"""The table's columns but for those of the classes."""
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")  # what spreadsheets compute
_BOM: Final = "\ufeff"
_WIDEST: Final = 72  # letters of a name that others are aligned with


def entry_of(path: str, photograph: Photograph, *, engine: str | None = None) -> dict[str, Any]:
    """Return what JSON says of a photograph.

    Args:
        path: what the photograph is called.
        photograph: what was found in it.
        engine: what computed; None: the entry does not say.
    """
    height, width = photograph.shape or (None, None)
    return {
        "path": path,
        **({} if engine is None else {"engine": engine}),
        "width": width,
        "height": height,
        "error": None if photograph.error is None else str(photograph.error),
        "faces": [
            face_entry(number, face) for number, face in enumerate(photograph.faces, start=1)
        ],
    }


def face_entry(number: int, face: Face) -> dict[str, Any]:
    """Return what JSON says of a face."""
    marks = face.landmarks
    return {
        "face": number,
        "box": [_number(value, 2) for value in face.box],
        "score": _number(face.score, 4),
        "landmarks": None if marks is None else [[_number(v, 2) for v in xy] for xy in marks],
        "roll": _number(face.roll, 2),
        "label": face.label,
        "index": face.index,
        "confidence": _number(face.confidence),
        "probabilities": {label: _number(p) for label, p in face.probabilities.items()},
        "size": _number(face.size, 2),
        "too_small": bool(face.too_small),
    }


def _number(value: Any, digits: int | None = None) -> float | None:
    """Return a number that JSON has, or None for one that it lacks."""
    number = float(value)
    if not math.isfinite(number):
        return None
    return number if digits is None else round(number, digits)


@dataclass
class Counts:
    """What came of the photographs so far.

    >>> print(Counts(photographs=12, faces=9, empty=4, failed=1))
    12 photographs: 9 faces, 4 without a face, 1 could not be read
    """

    photographs: int = 0
    faces: int = 0
    empty: int = 0
    failed: int = 0

    def add(self, entry: dict[str, Any]) -> None:
        self.photographs += 1
        self.faces += len(entry["faces"])
        self.failed += entry["error"] is not None
        self.empty += not entry["faces"] and entry["error"] is None

    def __str__(self) -> str:
        failed = f", {self.failed:,} could not be read" if self.failed else ""
        return (
            f"{self.photographs:,} photographs: {self.faces:,} faces, {self.empty:,} without a face"
            f"{failed}"
        )


# --- text ----------------------------------------------------------------------------------------


def text_lines(
    entries: Iterator[dict[str, Any]],
    paths: Sequence[str],
    labels: Sequence[str],
    *,
    abstains: bool = False,
) -> Iterator[str]:
    """Yield a line for each face, and for each photograph without one, as the entries come.

    Args:
        paths: of all photographs, which the lines are aligned for.
        labels: of all classes, likewise.
        abstains: whether a label may be missing.
    """
    name_width = min(_WIDEST, max((len(printable(path)) for path in paths), default=0))
    label_width = max((len(printable(label)) for label in labels), default=0)
    width = label_width + (len("abstains ( 0.000)") if abstains else len("  0.000"))
    for entry in entries:
        if entry["error"] is not None:
            continue
        name = f"{printable(entry['path']):<{name_width}}"
        if not entry["faces"]:
            yield f"{name}   -  no face\n"
        for face in entry["faces"]:
            x, y, across, down = (round(value or 0) for value in face["box"])
            small = "  too small to tell" if face["too_small"] else ""
            yield (
                f"{name}  {face['face']:>2}  {_guess(face, label_width):<{width}}  "
                f"at {x:>4},{y:>4}  {across:>4} x{down:>4}{small}\n"
            )


def _guess(face: dict[str, Any], width: int) -> str:
    confidence = math.nan if face["confidence"] is None else face["confidence"]
    if face["label"] is not None:
        return f"{printable(face['label']):<{width}}  {confidence:.3f}"
    best = max(face["probabilities"], key=lambda label: face["probabilities"][label] or 0)
    return f"abstains ({printable(best)} {confidence:.3f})"


# --- JSON ----------------------------------------------------------------------------------------


def json_list(entries: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Yield the parts of one JSON list, as the entries come; a face is a line.

    >>> entries = [{"path": "a.jpg", "faces": []}, {"path": "b.jpg", "faces": [{"face": 1}]}]
    >>> print("".join(json_list(iter(entries))), end="")
    [
      {"path": "a.jpg", "faces": []},
      {"path": "b.jpg", "faces": [
        {"face": 1}
      ]}
    ]
    """
    begun = False
    for entry in entries:
        *faces, last = json.dumps({**entry, "faces": []}, allow_nan=False).rpartition("[]")
        texts = [json.dumps(face, allow_nan=False) for face in entry["faces"]]
        listed = ",\n    ".join(["", *texts])[1:] + ("\n  " if texts else "")
        yield (",\n  " if begun else "[\n  ") + f"{faces[0]}[{listed}]{last}"
        begun = True
    yield "\n]\n" if begun else "[]\n"


# --- the table -----------------------------------------------------------------------------------


def columns(labels: Sequence[str]) -> list[str]:
    """Return the names of the table's columns; probabilities are named as their labels.

    Where a label is another column's name, all have `p_` before them.
    """
    fixed = {name.casefold() for name in FIXED}
    prefix = "p_" if fixed.intersection(label.casefold() for label in labels) else ""
    return [*_BEFORE, *(cell(prefix + label) for label in labels), *_AFTER]


def class_columns(header: Sequence[str], fixed: Sequence[str] = FIXED) -> dict[str, str]:
    """Return the classes of a table in output order, by their columns; see `columns`.

    Args:
        header: the table's columns; those of classes are between `confidence` and `error`.
        fixed: the columns that such a table has besides.

    >>> class_columns(["path", "confidence", "happy", "sad", "error"])
    {'happy': 'happy', 'sad': 'sad'}
    """
    names = list(header)
    names = names[names.index("confidence") + 1 : names.index("error")]
    labels = [uncell(name) for name in names]
    bare = [label.removeprefix("p_") for label in labels]
    taken = {name.casefold() for name in fixed}.intersection(label.casefold() for label in bare)
    is_prefixed = bool(taken) and all(label.startswith("p_") for label in labels)
    return dict(zip(names, bare if is_prefixed else labels))


def rows(entry: dict[str, Any]) -> Iterator[list[str]]:
    """Yield the rows of an entry, of texts; see `columns`."""
    path = path_cell(entry["path"])
    if not entry["faces"]:
        yield [path, "0", *[""] * (len(_BEFORE) - 2), path_cell(entry["error"] or "")]
    for face in entry["faces"]:
        marks = face["landmarks"] or [[None, None]] * len(LANDMARKS)
        yield [
            path,
            str(face["face"]),
            *(decimal(value, 2) for value in face["box"]),
            decimal(face["score"], 4),
            *(decimal(value, 2) for xy in marks for value in xy),
            decimal(face["roll"], 2),
            decimal(face["size"], 2),
            str(face["too_small"]),
            cell(face["label"] or ""),
            decimal(face["confidence"], 6),
            *(decimal(p, 6) for p in face["probabilities"].values()),
            "",
        ]


def whole_rows(entry: dict[str, Any], labels: Sequence[str]) -> Iterator[list[str]]:
    """Yield the rows of an entry with a text for each of the `columns`."""
    width = len(columns(labels))
    for row in rows(entry):
        yield [*row[:-1], *[""] * (width - len(row)), row[-1]]


def decimal(value: float | None, digits: int) -> str:
    """Return a number as tables have it, or "" for none."""
    return "" if value is None else f"{value:.{digits}f}"


def path_cell(text: str) -> str:
    """Return a path of the same file that no spreadsheet takes for a formula.

    >>> path_cell("=A1.jpg"), path_cell("photos/=A1.jpg")
    ('./=A1.jpg', 'photos/=A1.jpg')
    """
    return f"./{text}" if text.startswith(_FORMULA) else text


def cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def uncell(text: str) -> str:
    """Return the text that `cell` was given.

    >>> uncell(cell("=1+1")), uncell("'quoted'")
    ('=1+1', "'quoted'")
    """
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text


class Table:
    """A CSV file that is written as the entries come, in UTF-8.

    Where a name has letters beyond ASCII the file begins with a byte order mark, without which
    Excel shows others in their place. Bytes that are no UTF-8 are escaped, as in `\\udcff`.
    """

    def __init__(self, path: str, labels: Sequence[str], *, ascii_only: bool) -> None:
        """Begin a table, in the place of what is at `path`.

        Args:
            ascii_only: whether all paths are ASCII.

        Raises:
            WriteError: the file cannot be written, here and in the methods.
        """
        self._path = path
        self._labels = labels
        header = columns(labels)
        plain = ascii_only and all(name.isascii() for name in header)
        try:
            self._file: TextIO = open(  # noqa: SIM115 it stays open
                os.path.realpath(path), "w", encoding="utf-8", errors="backslashreplace", newline=""
            )
            self._file.write("" if plain else _BOM)
        except (OSError, ValueError) as error:
            raise self._error(error) from error
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._write([header])

    def add(self, entry: dict[str, Any]) -> None:
        """Write an entry's rows, and have the operating system take them."""
        self._write(whole_rows(entry, self._labels))

    def close(self) -> None:
        """Have the operating system write the table to the disk."""
        try:
            with self._file:
                self._file.flush()
                os.fsync(self._file.fileno())
        except OSError as error:
            raise self._error(error) from error

    def abandon(self) -> None:
        """Close the file as it is, unless it is closed."""
        with suppress(OSError):  # a full disk's, which has been said
            self._file.close()

    def _write(self, lines: Any) -> None:
        try:
            self._rows.writerows(lines)
            self._file.flush()
        except OSError as error:
            self.abandon()  # or the collector would try to write the rest
            raise self._error(error) from error

    def _error(self, error: Exception) -> WriteError:
        reason = getattr(error, "strerror", None) or error
        return WriteError(f"{self._path}: cannot be written ({reason})")


def is_table(path: str) -> bool:
    """Whether a file is empty, or begins as a `Table` does.

    Raises:
        WriteError: it cannot be read.
    """
    return begins_as(path, _BEFORE)


def begins_as(path: str, header: Sequence[str]) -> bool:
    """Whether a file is empty, or a table that begins with these columns.

    Raises:
        WriteError: it cannot be read.
    """
    begins = ",".join(header).encode()
    try:
        with open(path, "rb") as file:
            head = file.read(len(begins) + 4)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WriteError(f"{path}: cannot be read ({reason})") from error
    head = head.removeprefix(_BOM.encode())
    return not head or (head.startswith(begins) and head[len(begins) :][:1] in (b",", b"\n", b"\r"))
