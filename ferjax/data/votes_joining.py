"""Which votes are of which image: joined only where names, numbers or labels prove it.

FER+ has no labels and no names of images as others have them: its rows are those of fer2013.csv.
So FER2013's row labels, which travel with ferjax, have to agree with every image's own, and copies
of an image with one another. Other votes are joined by the images' names.

Dimension keys: N images.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ferjax.data import fer2013, votes_files
from ferjax.data.dataset import SPLITS, Faces
from ferjax.data.image_folders import mirror_split
from ferjax.data.image_lists import Index
from ferjax.data.reading import Read
from ferjax.data.splits import FER2013_COUNTS
from ferjax.data.votes import Votes, majority
from ferjax.data.votes_files import FERPLUS_FILE, VotesTable, canonical
from ferjax.emotions import EMOTIONS
from ferjax.errors import DataError, near_misses, printable

Rows = npt.NDArray[np.int64]  # (N,): which row of the votes each image has; -1 for none

CONTEMPT: Final = "contempt"

# Of fer2013new.csv's image names in their order, as they were published.
_FERPLUS_NAMES: Final = "6215afa5820d2f17dc20f0465ada3dbefa38ef127ce083d6a615402e9643f89b"
_KAGGLE_FILE: Final = re.compile(r"im([0-9]{1,9})\.\w+", re.IGNORECASE)
_NUMBERED_FILE: Final = re.compile(r"\D*?([0-9]{1,9})\.\w+")
_TABLE_ROW: Final = re.compile(r"(?:(.*): )?row ([0-9]+)", re.DOTALL)

_ENOUGH: Final = 100  # images from which on their labels prove something
# Of what labels and majorities can agree beyond chance: 0.60 in FER2013, 0.00 with rows moved by
# one.
_AGREE: Final = 0.2
_AGREE_BY_NAME: Final = 0.05  # names say which image it is: labels may be bad, not columns mixed up
_SAME_COPIES: Final = 0.95  # of the copies: all have equal votes in FER+
_SEEN: Final = 64  # pixels: smaller images may be equal without being copies

_JOINED: Final = (
    "votes of FER+ join fer2013.csv, icml_face_data.csv and Kaggle's archive with images "
    "train/<class>/im0.png, whole or one part of them"
)


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Faces with votes, and how they were joined.

    Attributes:
        faces: with `votes`, zeros for an image that has none.
        by: how: "row", "class and usage", "number" or "name".
        images: how many have votes.
    """

    faces: Faces
    by: str
    images: int

    def to_json(self, table: VotesTable) -> dict[str, Any]:
        """Return what a manifest says of the votes."""
        assert self.faces.votes is not None
        origin: dict[str, Any] = {}
        if table.is_ferplus:
            origin = {
                "source": votes_files.FERPLUS_SOURCE,
                "licence": votes_files.FERPLUS_LICENCE,
            }
        return {
            "file": table.name,
            "sha256": table.sha256,
            **origin,
            "columns": list(self.faces.votes.names),
            "are_shares": table.votes.are_shares,
            "joined_by": self.by,
        }


def join(read: Read, table: VotesTable) -> Joined:
    """Give each image of a source its votes; call it before any image is dropped or split.

    Raises:
        DataError: rows do not belong to the source, or nothing proves which image each is of.
    """
    faces = read.faces
    left_out = [name for name, _ in read.bad]
    left_out += [name for name, picture in read.pictures.items() if picture.face is None]
    try:
        if table.is_ferplus:
            by, rows = _ferplus_rows(faces, read.kind, left_out, table)
            votes = table.votes
        else:
            by, rows = "name", _by_name(faces, left_out, table)
            votes = _named(faces, table)
        counts = np.where((rows >= 0)[:, None], votes.counts[rows], np.float32(0))
        has_votes = rows >= 0
        joined = Votes(counts=counts, names=votes.names)
        _check_agreement(faces, joined, has_votes, table)
    except DataError as error:
        raise DataError(f"{printable(table.path)}: {error}") from error
    images = int(has_votes.sum())
    of = "FER+" if table.is_ferplus else printable(table.name, 60)
    note = f"votes of {of} joined by {by}: {images:,} of {len(faces):,} images have some"
    faces = replace(faces, votes=joined, notes=(*faces.notes, note))
    return Joined(faces=faces, by=by, images=images)


def with_classes(faces: Faces, classes: int) -> Faces:
    """Return faces with FER2013's seven classes, or eight with contempt, in their sorted order.

    Raises:
        DataError: the classes are others, or the votes know no contempt.
    """
    if classes not in (7, 8):
        raise DataError(f"expected 7 or 8 for --classes (classes=), got {classes!r}")
    wanted = tuple(sorted((*EMOTIONS, CONTEMPT))) if classes == 8 else EMOTIONS
    if faces.class_names == wanted:
        return faces
    if faces.class_names != EMOTIONS or classes == 7:
        raise DataError(
            f"--classes (classes=) {classes} is for the emotions of FER2013; the source has "
            f"{len(faces.class_names)} classes, {_listed(faces.class_names)}"
        )
    if faces.votes is None or CONTEMPT not in faces.votes.names:
        raise DataError("--classes 8 (classes=8) adds contempt, of which the votes have no column")
    position = np.array([wanted.index(name) for name in faces.class_names], np.int32)
    return replace(faces, labels=position[faces.labels], class_names=wanted)


# --- FER+ ----------------------------------------------------------------------------------------


def _ferplus_rows(
    faces: Faces, kind: str, left_out: Sequence[str], table: VotesTable
) -> tuple[str, Rows]:
    """Return how the rows of fer2013new.csv are told, and which row each image is."""
    _check_ferplus(table)
    files = [name.rpartition("/")[2] for name in faces.names]
    if kind not in ("csv", "parquet") and all(map(FERPLUS_FILE.fullmatch, files)):
        return "name", _by_ferplus_name(files, table)
    if faces.class_names != EMOTIONS:
        raise DataError(
            f"the votes are FER+'s, on FER2013's images; the source has {len(faces.class_names)} "
            f"classes, {_listed(faces.class_names)}"
        )
    if kind in ("csv", "parquet"):
        return "row", _by_row(faces, left_out)
    if all(map(_KAGGLE_FILE.fullmatch, files)):
        return "class and usage", _by_class_and_usage(faces, left_out)
    rows = _by_number(faces, files)
    if rows is not None:
        return "number", rows
    if any(map(mirror_split, files)):
        such = next(file for file in files if mirror_split(file))
        raise DataError(
            "the file names of FER2013's JPEG mirror do not say which row of fer2013.csv an image "
            f"is, such as {printable(such, 60)}; {_JOINED}"
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
    if votes_files.ferplus_names(table) != _FERPLUS_NAMES:
        raise DataError(
            "the image names are not those of FER+ in their order: the rows are in another order "
            "than fer2013.csv's; take fer2013new.csv as it was published"
        )


def _by_ferplus_name(files: Sequence[str], table: VotesTable) -> Rows:
    """Return the rows of images that have FER+'s own names, of which a few are there twice."""
    by_stem: dict[str, int] = {}
    twice = {name for name, count in Counter(table.images).items() if count > 1}
    for row, name in enumerate(table.images):
        by_stem[name.rpartition(".")[0].lower()] = -1 if name in twice else row
    stems = [file.rpartition(".")[0].lower() for file in files]
    for stem, file in zip(stems, files):
        if stem not in by_stem:
            raise DataError(f"no row for {printable(file, 60)}")
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
    if (rows := _parts_in_order(faces, at)) is not None:
        _check_usages(faces, rows)
        return rows
    if not left_out:
        result = np.full(len(faces), -1, np.int64)
        used: list[int] = []
        for split in range(len(SPLITS)):
            part = at[faces.splits[at] == split]
            if not len(part):
                continue
            rows = _parts_in_order(faces, part)
            if rows is None:
                break
            result[part] = rows[part]
            used += rows[part].tolist()
        else:
            if len(set(used)) == len(used):
                _check_usages(faces, result)
                return result
    raise DataError(_out_of_order(faces, at))


def _parts_in_order(faces: Faces, at: Rows) -> Rows | None:
    """Return the rows, (N,), of images `at` whose labels are those of parts of FER2013, in order.

    -1 in `at` stands for an image that was left out.
    """
    known = at >= 0
    for parts in fer2013.combinations():
        rows = fer2013.rows_of(parts)
        if len(rows) == len(at):
            labels = fer2013.row_labels()[rows]
            if np.array_equal(labels[known], faces.labels[at[known]]):
                result = np.full(len(faces), -1, np.int64)
                result[at[known]] = rows[known]
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
    sizes = [len(fer2013.rows_of(parts)) for parts in fer2013.combinations()]
    if len(at) in sizes:
        parts = fer2013.combinations()[sizes.index(len(at))]
        labels = fer2013.row_labels()[fer2013.rows_of(parts)]
        have = np.where(at >= 0, faces.labels[at], labels)
        row = int(np.flatnonzero(have != labels)[0])
        return (
            f"{printable(faces.names[at[row]], 80)} is labelled {EMOTIONS[have[row]]}, and "
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
    result: dict[int, tuple[str, ...]] = {}
    for split, have in enumerate(counts.tolist()):
        if not any(have):
            continue
        fitting = [
            parts
            for parts in fer2013.combinations()
            if have == [sum(column) for column in zip(*(FER2013_COUNTS[part] for part in parts))]
        ]
        if not fitting:
            part = fer2013.PARTS[split]
            differ = [
                f"{n:,} of {name} instead of {wanted:,}"
                for name, n, wanted in zip(EMOTIONS, have, FER2013_COUNTS[part])
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
    said = [mirror_split(file) for file in files]
    splits = [SPLITS.index(name) if name else int(s) for name, s in zip(said, faces.splits)]
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


# --- by name -------------------------------------------------------------------------------------


def _by_name(faces: Faces, left_out: Sequence[str], table: VotesTable) -> Rows:
    """Return the rows of images that a table calls by their names."""
    index = _Names((*faces.names, *left_out))
    position = {name: at for at, name in enumerate(faces.names)}
    result = np.full(len(faces), -1, np.int64)
    strangers: list[int] = []
    row_of: dict[str, int] = {}
    for row, text in enumerate(table.images):
        name = index.name_of(text)
        if name is None:
            strangers.append(row)
            continue
        if name in row_of:
            raise DataError(
                f"rows {table.rows[row_of[name]]} and {table.rows[row]} are both of "
                f"{printable(name, 80)}"
            )
        row_of[name] = row
        if name in position:
            result[position[name]] = row
    if strangers:
        row = strangers[0]
        name = printable(table.images[row], 80)
        close = near_misses(table.images[row], faces.names[:1000])
        more = f", and {len(strangers) - 1:,} more are of none" * (len(strangers) > 1)
        raise DataError(
            f"row {table.rows[row]}: {name!r} is no image of the source, or may be several"
            f"{more}{close}"
        )
    return result


class _Names:
    """Finds the image that a table calls by its path, the end of it, or a path that ends in it."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)
        self._by_file: defaultdict[str, list[str]] = defaultdict(list)
        for name in self._names:
            self._by_file[name.rpartition("/")[2]].append(name)
        self._index = Index(names)

    def name_of(self, text: str) -> str | None:
        """Return the image's name, None where it is none or may be one of several."""
        text = text.strip().replace("\\", "/")
        parts = text.split("/")
        for first in range(len(parts)):  # the whole, then without its outermost folders
            if (end := "/".join(parts[first:])) in self._names:
                return end
        alike = self._by_file.get(text, [])
        if len(alike) == 1:
            return alike[0]
        named = self._index.names_of(text)
        return named[0] if named else None


def _named(faces: Faces, table: VotesTable) -> Votes:
    """Return a table's votes with the source's names for its columns."""
    names: list[str] = []
    for column in table.votes.names:
        name = canonical(column, faces.class_names)
        if name is None:
            raise DataError(
                f"the column {printable(column, 40)!r} is no class of the source, which has "
                f"{_listed(faces.class_names)}{near_misses(column, faces.class_names)}"
            )
        names.append(name)
    unique = list(dict.fromkeys(names))
    if table.is_long:  # several may write one class in several ways
        counts = np.zeros((len(table.votes), len(unique)), np.float32)
        for position, name in enumerate(names):
            counts[:, unique.index(name)] += table.votes.counts[:, position]
        return Votes(counts=counts, names=tuple(unique))
    if len(unique) < len(names):
        twice = max(names, key=names.count)
        raise DataError(f"several columns of votes for {printable(twice, 40)}")
    if lacking := [name for name in faces.class_names if name not in names]:
        raise DataError(f"no column of votes for {_listed(lacking)}")
    return Votes(counts=table.votes.counts, names=tuple(names))


# --- what proves it ------------------------------------------------------------------------------


def _check_agreement(
    faces: Faces, votes: Votes, has_votes: npt.NDArray[np.bool_], table: VotesTable
) -> None:
    """Raise where votes fit the images no better than by chance: rows were moved."""
    winner = majority(votes, faces.class_names)
    clear = has_votes & (winner >= 0)
    for split in SPLITS:
        chosen = clear & faces.in_split(split)
        if chosen.sum() < _ENOUGH:
            continue
        agree, chance = _agreement(faces.labels[chosen], winner[chosen])
        least = _AGREE if table.is_ferplus else _AGREE_BY_NAME
        if agree < chance + least * (1 - chance):
            raise DataError(
                f"the votes agree with the labels of {agree:.1%} of {chosen.sum():,} {split} "
                f"images, and by chance of {chance:.1%}: they are of other images"
            )
    if table.is_ferplus and faces.images[0].size >= _SEEN:
        pairs, same = _copies(faces, votes, has_votes)
        if same < _SAME_COPIES * pairs:
            raise DataError(
                f"copies of one image have equal votes in FER+, but here {same:,} of {pairs:,} "
                "alone have: the votes are of other images"
            )


def _agreement(labels: npt.NDArray[np.int32], winner: npt.NDArray[np.int32]) -> tuple[float, float]:
    """Return the share of labels that are the majority's, and what it would be by chance."""
    classes = int(max(labels.max(), winner.max())) + 1
    both = np.bincount(labels, minlength=classes) @ np.bincount(winner, minlength=classes)
    return float((labels == winner).mean()), float(both / len(labels) ** 2)


def _copies(faces: Faces, votes: Votes, has_votes: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Return how many images copy an earlier one, and how many of those have its votes."""
    first: dict[bytes, int] = {}
    pairs = same = 0
    for image in np.flatnonzero(has_votes).tolist():
        other = first.setdefault(faces.digests[image], image)
        if other != image:
            pairs += 1
            same += np.array_equal(votes.counts[image], votes.counts[other])
    return pairs, same


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(printable(name, 40) for name in names[:10])
    return f"{shown}, ..." if len(names) > 10 else shown
