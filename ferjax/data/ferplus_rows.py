"""Which row of FER+'s votes each image of FER2013 is.

FER+ has no labels and no names of images as others have them: its rows are those of fer2013.csv.
So FER2013's row labels, which travel with ferjax, have to agree with every image's own.

Dimension keys: N images.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import numpy as np
import numpy.typing as npt

from ferjax.data import fer2013
from ferjax.data.dataset import SPLITS, Faces
from ferjax.data.fer2013 import FER2013_COUNTS
from ferjax.data.image_folders import mirror_split
from ferjax.data.votes_files import FERPLUS_FILE, VotesTable
from ferjax.emotions import EMOTIONS
from ferjax.errors import DataError, listed, printable

Rows = npt.NDArray[np.int64]  # (N,): which row of the votes each image has; -1 for none

# SHA-256 of fer2013new.csv's image names in their order, as they were published.
NAMES_SHA256: Final = "6215afa5820d2f17dc20f0465ada3dbefa38ef127ce083d6a615402e9643f89b"
_KAGGLE_FILE: Final = re.compile(r"im([0-9]{1,9})\.\w+", re.IGNORECASE)
_NUMBERED_FILE: Final = re.compile(r"\D*?([0-9]{1,9})\.\w+")
_TABLE_ROW: Final = re.compile(r"(?:(.*): )?row ([0-9]+)", re.DOTALL)

_ENOUGH: Final = 100  # images from which on their labels prove something

_JOINED: Final = (
    "votes of FER+ join fer2013.csv, icml_face_data.csv and Kaggle's archive with images "
    "train/<class>/im0.png, whole or one part of them"
)


def rows_of(
    faces: Faces, kind: str, left_out: Sequence[str], table: VotesTable
) -> tuple[str, Rows]:
    """Return how the rows of fer2013new.csv are told, and which row each image is.

    Args:
        faces: of the source, before any is dropped or split.
        kind: of the source, as in `Read`.
        left_out: names of images of the source that are not among the faces.
        table: of FER+.

    Returns:
        "name", "row", "class and usage" or "number"; and the rows, (N,), -1 for an image without.

    Raises:
        DataError: the table's rows are not FER+'s in their order, or nothing proves which image
            each is of.
    """
    _check_ferplus(table)
    files = [name.rpartition("/")[2] for name in faces.names]
    if kind not in ("csv", "parquet") and all(map(FERPLUS_FILE.fullmatch, files)):
        return "name", _by_ferplus_name(files, table)
    if faces.class_names != EMOTIONS:
        raise DataError(
            f"the votes are FER+'s, on FER2013's images; the source has {len(faces.class_names)} "
            f"classes, {listed(faces.class_names)}"
        )
    if kind in ("csv", "parquet"):
        return "row", _by_row(faces, left_out)
    if all(map(_KAGGLE_FILE.fullmatch, files)):
        return "class and usage", _by_class_and_usage(faces, left_out)
    rows = _by_number(faces, files)
    if rows is not None:
        return "number", rows
    if any(map(mirror_split, files)):
        example = next(file for file in files if mirror_split(file))
        raise DataError(
            "the file names of FER2013's JPEG mirror do not say which row of fer2013.csv an image "
            f"is, such as {printable(example, 60)}; {_JOINED}"
        )
    raise DataError(
        f"nothing says which of FER2013's images {printable(faces.names[0], 80)} and others are; "
        f"{_JOINED}"
    )


def _check_ferplus(table: VotesTable) -> None:
    """Raise unless the rows are those of fer2013new.csv in their order."""
    assert table.usages is not None
    if len(table.votes) != fer2013.ROWS:
        raise DataError(
            f"expected {fer2013.ROWS:,} rows of FER+, one for each of fer2013.csv, got "
            f"{len(table.votes):,}"
        )
    row = 0
    for part, size in fer2013.SIZES.items():
        for usage in table.usages[row : row + size]:
            row += 1
            if usage.lower() != part.lower():
                raise DataError(
                    f"row {row}: expected Usage {part}, as in fer2013.csv, got "
                    f"{printable(usage, 40)!r}: the rows are in another order"
                )
    if names_sha256(table) != NAMES_SHA256:
        raise DataError(
            "the image names are not those of FER+ in their order: the rows are in another order "
            "than fer2013.csv's; take fer2013new.csv as it was published"
        )


def names_sha256(table: VotesTable) -> str:
    """Return a SHA-256 of the image names in their order, which tells whether rows were moved."""
    return sha256("\n".join(table.images).lower().encode()).hexdigest()


def _by_ferplus_name(files: Sequence[str], table: VotesTable) -> Rows:
    """Return the rows of images that have FER+'s own names, of which a few are there twice."""
    by_stem: dict[str, int] = {}
    twice = {name for name, count in Counter(table.images).items() if count > 1}
    for row, name in enumerate(table.images):
        by_stem[name.rpartition(".")[0].lower()] = -1 if name in twice else row
    stems = [file.rpartition(".")[0].lower() for file in files]
    for stem, file in zip(stems, files):
        if stem not in by_stem:
            raise DataError(
                f"no row for {printable(file, 60)}; take fer2013new.csv as it was published"
            )
    return np.array([by_stem[stem] for stem in stems], np.int64)


# --- tables --------------------------------------------------------------------------------------


def _by_row(faces: Faces, left_out: Sequence[str]) -> Rows:
    """Return the rows of FER2013 that a table's rows are, which their labels have to prove.

    It may hold all rows, or one or two parts, in their order, as one table or one for each split.
    """
    positions = {name: at for at, name in enumerate(faces.names)}
    tables: dict[str, list[tuple[int, int]]] = {}
    for name in (*faces.names, *left_out):
        match = _TABLE_ROW.fullmatch(name)
        if match is None:
            raise DataError(f"{printable(name, 80)} is no row of a table")
        tables.setdefault(match[1] or "", []).append((int(match[2]), positions.get(name, -1)))
    at = np.array([image for rows in tables.values() for _, image in sorted(rows)], np.int64)
    groupings = [[at]]
    if not left_out:
        groupings.append([at[faces.splits[at] == split] for split in np.unique(faces.splits)])
    for groups in groupings:
        parts = [rows for group in groups if (rows := _parts_in_order(faces, group)) is not None]
        if len(parts) == len(groups):
            rows = np.max(parts, axis=0)
            if len(np.unique(rows[rows >= 0])) == (rows >= 0).sum():
                _check_usages(faces, rows)
                return rows
    raise DataError(_out_of_order(faces, at))


def _parts_in_order(faces: Faces, at: Rows) -> Rows | None:
    """Return the rows, (N,), of images `at` whose labels are those of parts of FER2013, in order.

    -1 in `at` stands for an image that was left out.
    """
    is_left = at >= 0
    for parts in fer2013.combinations():
        rows = fer2013.rows_of(parts)
        if len(rows) == len(at):
            labels = fer2013.row_labels()[rows]
            if np.array_equal(labels[is_left], faces.labels[at[is_left]]):
                result = np.full(len(faces), -1, np.int64)
                result[at[is_left]] = rows[is_left]
                return result
    return None


def _check_usages(faces: Faces, rows: Rows) -> None:
    """Raise where the source has an image in another split than FER2013, if it has splits."""
    if len(np.unique(faces.splits)) == 1:
        return
    sizes = list(fer2013.SIZES.values())
    expected = np.searchsorted(np.cumsum(sizes), rows, side="right")  # the part: 0, 1, 2
    # Others have PublicTest and PrivateTest together in test.
    wrong = (faces.splits != expected) & ~((faces.splits == 2) & (expected == 1))
    if wrong.any():
        image = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"{printable(faces.names[image], 80)} is in {SPLITS[faces.splits[image]]}, and in "
            f"{fer2013.PARTS[expected[image]]} in fer2013.csv: the rows are not FER2013's in their "
            f"order; {_JOINED}"
        )


def _out_of_order(faces: Faces, at: Rows) -> str:
    """Return why rows are not those of FER2013."""
    combined = reversed(fer2013.combinations().items())  # of parts of one size the first counts
    sizes = {sum(counts): parts for parts, counts in combined}
    if len(at) in sizes:
        parts = sizes[len(at)]
        labels = fer2013.row_labels()[fer2013.rows_of(parts)]
        given_labels = np.where(at >= 0, faces.labels[at], labels)
        row = int(np.flatnonzero(given_labels != labels)[0])
        return (
            f"{printable(faces.names[at[row]], 80)} is labelled {EMOTIONS[given_labels[row]]}, and "
            f"{EMOTIONS[labels[row]]} in fer2013.csv: the rows are not FER2013's in their order; "
            f"{_JOINED}"
        )
    listed = ", ".join(f"{size:,} {part}" for part, size in fer2013.SIZES.items())
    return (
        f"the source has {len(at):,} rows, and fer2013.csv {listed}, {fer2013.ROWS:,} in all: "
        f"which of them are left, nothing says; {_JOINED}"
    )


# --- images --------------------------------------------------------------------------------------


def _by_class_and_usage(faces: Faces, left_out: Sequence[str]) -> Rows:
    """Return the rows of images im0, im1, ... of each class and split, none missing.

    The k-th image of a class and part is the k-th row with that label in that part.
    """
    groups: defaultdict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    folders: dict[str, tuple[int, int]] = {}
    for image, name in enumerate(faces.names):
        folder, _, file = name.rpartition("/")
        group = int(faces.splits[image]), int(faces.labels[image])
        folders[folder] = group
        groups[group].append((_file_number(file), image))
    for name in left_out:
        folder, _, file = name.rpartition("/")
        if folder in folders and _KAGGLE_FILE.fullmatch(file):
            groups[folders[folder]].append((_file_number(file), -1))
    counts = np.zeros((len(SPLITS), len(EMOTIONS)), np.int64)
    for (split, label), images in groups.items():
        counts[split, label] = len(images)
    parts = _parts_by_counts(counts)
    result = np.full(len(faces), -1, np.int64)
    for (split, label), images in groups.items():
        where = f"{SPLITS[split]}, {EMOTIONS[label]}"
        _check_numbers([number for number, _ in images], where, parts[split][0], label)
        rows = fer2013.rows_of(parts[split])
        rows = rows[fer2013.row_labels()[rows] == label]
        for row, (_, image) in zip(rows.tolist(), sorted(images)):
            if image >= 0:
                result[image] = row
    return result


def _file_number(file: str) -> int:
    match = _KAGGLE_FILE.fullmatch(file)
    assert match is not None
    return int(match[1])


def _parts_by_counts(counts: npt.NDArray[np.int64]) -> dict[int, tuple[str, ...]]:
    """Return which parts of FER2013 each split with images is, by its images of each class."""
    combined = fer2013.combinations()
    result: dict[int, tuple[str, ...]] = {}
    for split, in_split in enumerate(counts.tolist()):
        if not any(in_split):
            continue
        fitting = [parts for parts, usual in combined.items() if tuple(in_split) == usual]
        if not fitting:
            part, expected = min(
                FER2013_COUNTS.items(), key=lambda item: np.abs(counts[split] - item[1]).sum()
            )
            differ = [
                f"{n:,} of {name} instead of {wanted:,}"
                for name, n, wanted in zip(EMOTIONS, in_split, expected)
                if n != wanted
            ]
            raise DataError(
                f"the source's {SPLITS[split]} has not as many images of each class as FER2013's "
                f"{part}: {'; '.join(differ[:3])}{'; ...' if len(differ) > 3 else ''}; which of "
                f"them are left, or came, nothing says; {_JOINED}"
            )
        result[split] = fitting[0]
    used = [part for parts in result.values() for part in parts]
    if len(set(used)) < len(used):
        twice = max(used, key=used.count)
        raise DataError(f"several splits are FER2013's {twice}, by how many images they have")
    return result


def _check_numbers(numbers: Sequence[int], where: str, part: str, label: int) -> None:
    """Raise unless images are numbered from 0 on without a gap."""
    ordered = sorted(numbers)
    first = ordered[0]
    # PrivateTest by itself may go on where PublicTest ended.
    starts = {0, FER2013_COUNTS["PublicTest"][label]} if part == "PrivateTest" else {0}
    if first not in starts or ordered != list(range(first, first + len(ordered))):
        wanted = set(range(len(ordered)))
        lacking = min(wanted - set(ordered), default=0)
        raise DataError(
            f"{where}: expected images im0 to im{len(ordered) - 1}, each once; im{lacking} is "
            f"missing, or another has its place; {_JOINED}"
        )


def _by_number(faces: Faces, files: Sequence[str]) -> Rows | None:
    """Return the rows that the numbers in file names are, where every label proves it, or None."""
    matches = [_NUMBERED_FILE.fullmatch(file) for file in files]
    if not all(matches) or len(files) < _ENOUGH:
        return None
    numbers = np.array([int(match[1]) for match in matches if match], np.int64)
    by_name = [mirror_split(file) for file in files]
    splits = [SPLITS.index(name) if name else int(s) for name, s in zip(by_name, faces.splits)]
    starts = np.cumsum([0, *fer2013.SIZES.values()])[splits]
    sizes = np.array(list(fer2013.SIZES.values()))[splits]
    labels = fer2013.row_labels()
    for base in (0, 1):
        for start, size in ((np.zeros_like(starts), fer2013.ROWS), (starts, sizes)):
            local = numbers - base
            if (local < 0).any() or (local >= size).any():
                continue
            rows = start + local
            if len(np.unique(rows)) == len(rows) and np.array_equal(labels[rows], faces.labels):
                return np.asarray(rows, np.int64)
    return None
