"""Which votes are of which image: joined only where names, numbers or labels prove it.

FER+'s are joined by FER2013's rows, see `ferplus_rows`, others by the images' names. Either way
votes that fit the images no better than by chance are refused.

Dimension keys: N images.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from unicodedata import normalize

import numpy as np
import numpy.typing as npt

from ferjax.data import ferplus_rows, votes_files
from ferjax.data.dataset import SPLITS, Faces
from ferjax.data.ferplus_rows import Rows
from ferjax.data.image_lists import Index
from ferjax.data.reading import Read
from ferjax.data.votes import Votes, majority
from ferjax.data.votes_files import VotesTable, canonical
from ferjax.emotions import EMOTIONS
from ferjax.errors import DataError, listed, near_misses, printable

CONTEMPT: Final = "contempt"

_ENOUGH: Final = 100  # images from which on their labels prove something
# Of what labels and majorities can agree beyond chance: 0.60 in FER2013, 0.00 with rows moved by
# one.
_AGREE: Final = 0.2
_AGREE_BY_NAME: Final = 0.05  # names say which image it is: labels may be bad, not columns mixed up
_TELLING: Final = 20  # images that would not agree by chance: fewer may do so in any case
_SURE: Final = 4  # standard deviations, which chance alone hardly gives
_SAME_COPIES: Final = 0.95  # of the copies: all have equal votes in FER+
_SEEN: Final = 64  # pixels: smaller images may be equal without being copies


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
            origin = {"source": votes_files.FERPLUS_SOURCE, "licence": votes_files.FERPLUS_LICENCE}
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
    try:
        if table.is_ferplus:
            by, rows = ferplus_rows.rows_of(faces, read.kind, read.left_out, table)
            votes = table.votes
        else:
            by, rows = "name", _by_name(faces, read.left_out, table)
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
    return Joined(faces=replace(faces, votes=joined).with_notes(note), by=by, images=images)


def check_classes(classes: int) -> None:
    """Raise where `with_classes` has no such number of classes."""
    if classes not in (7, 8):
        raise DataError(f"expected 7 or 8 for --classes (classes=), got {classes!r}")


def with_classes(faces: Faces, classes: int) -> Faces:
    """Return faces with FER2013's seven classes, or eight with contempt, in their sorted order.

    Raises:
        DataError: the classes are others, or the votes know no contempt.
    """
    check_classes(classes)
    wanted = tuple(sorted((*EMOTIONS, CONTEMPT))) if classes == 8 else EMOTIONS
    if faces.class_names == wanted:
        return faces
    if faces.class_names != EMOTIONS or classes == 7:
        raise DataError(
            f"--classes (classes=) {classes} is for the emotions of FER2013; the source has "
            f"{len(faces.class_names)} classes, {listed(faces.class_names)}"
        )
    if faces.votes is None or CONTEMPT not in faces.votes.names:
        raise DataError("--classes 8 (classes=8) adds contempt, of which the votes have no column")
    position = np.array([wanted.index(name) for name in faces.class_names], np.int32)
    return replace(faces, labels=position[faces.labels], class_names=wanted)


# --- by name -------------------------------------------------------------------------------------


def _by_name(faces: Faces, left_out: Sequence[str], table: VotesTable) -> Rows:
    """Return the rows of images that a table calls by their names."""
    index = Names((*faces.names, *left_out))
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
        number = f", and {len(strangers) - 1:,} more are of none" * (len(strangers) > 1)
        hint = near_misses(table.images[row], faces.names[:1000])
        if moved := index.elsewhere(table.images[row]):
            hint = (
                f"; {printable(moved, 80)} is in another folder: give the images' names without "
                "folders where these say nothing"
            )
        raise DataError(
            f"row {table.rows[row]}: {name!r} is no image of the source, or may be several"
            f"{number}{hint}"
        )
    if (result < 0).all():
        raise DataError("no image that is read from the source has votes")
    return result


class Names:
    """Finds the image that a table calls by its path, the end of it, or a path that ends in it.

    Where both have folders, these have to be the same from the file outwards, as far as both go.
    """

    def __init__(self, names: Sequence[str]) -> None:
        # Systems differ in how they write an accent, which nobody sees.
        self._names = {normalize("NFC", name): name for name in names}
        self._by_file: defaultdict[str, list[str]] = defaultdict(list)
        for name in self._names:
            self._by_file[name.rpartition("/")[2]].append(name)
        self._index = Index(self._names)

    def name_of(self, text: str) -> str | None:
        """Return the image's name, None where it is none or may be one of several."""
        text = _tidy(text)
        parts = text.split("/")
        for first in range(len(parts)):  # the whole, then without its outermost folders
            if (end := "/".join(parts[first:])) in self._names:
                return self._names[end]
        alike = [name for name in self._by_file.get(parts[-1], []) if _same_folders(name, text)]
        if len(alike) != 1:
            alike = [name for name in self._index.names_of(text) if _same_folders(name, text)]
        return self._names[alike[0]] if alike else None

    def elsewhere(self, text: str) -> str | None:
        """Return the image of that file's name in other folders, if it is the only one."""
        alike = self._index.names_of(_tidy(text).rpartition("/")[2])
        return self._names[alike[0]] if alike else None


def _tidy(text: str) -> str:
    return normalize("NFC", text.strip().replace("\\", "/").removeprefix("./"))


def _same_folders(name: str, text: str) -> bool:
    """Whether one path's folders may be the end of the other's."""
    ours, theirs = (path.lower().split("/")[-2::-1] for path in (name, text))
    return all(a == b for a, b in zip(ours, theirs))


def _named(faces: Faces, table: VotesTable) -> Votes:
    """Return a table's votes with the source's names for its columns."""
    names: list[str] = []
    for column in table.votes.names:
        name = canonical(column, faces.class_names)
        if name is None:
            place = "label" if table.is_long else "column"
            raise DataError(
                f"the {place} {printable(column, 40)!r} is no class of the source, which has "
                f"{listed(faces.class_names)}{near_misses(column, faces.class_names)}"
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
        raise DataError(f"no column of votes for {listed(lacking)}")
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
        if chosen.sum() * (1 - chance) < _TELLING:  # nearly all images are of one class
            chance = 0.0
        if agree < chance + least * (1 - chance):
            raise DataError(
                f"the votes agree with the labels of {agree:.1%} of {chosen.sum():,} {split} "
                f"images, and by chance of {chance:.1%}: they are of other images"
            )
    _check_columns(faces, votes, has_votes, table)
    if table.is_ferplus and faces.images[0].size >= _SEEN:
        pairs, same = _copies(faces, votes, has_votes)
        if same < _SAME_COPIES * pairs:
            raise DataError(
                f"copies of one image have equal votes in FER+, but here {same:,} of {pairs:,} "
                "alone have: the votes are of other images"
            )


def _check_columns(
    faces: Faces, votes: Votes, has_votes: npt.NDArray[np.bool_], table: VotesTable
) -> None:
    """Raise where the labels fit the columns far better in another order than by their names."""
    from scipy.optimize import linear_sum_assignment

    names = list(faces.class_names)
    if table.is_ferplus and set(EMOTIONS) <= set(names):  # no other column fits these better
        names += [name for name in votes.names if name not in names]
    winner = majority(votes, names)
    clear = has_votes & (winner >= 0)
    images = np.zeros((len(faces.class_names), len(names)), np.int64)
    np.add.at(images, (faces.labels[clear], winner[clear]), 1)
    shares = images / np.maximum(images.sum(1, keepdims=True), 1)  # large classes weigh as others
    label, column = linear_sum_assignment(-shares)
    moved = label != column
    label, column = label[moved], column[moved]
    better, worse = int(images[label, column].sum()), int(images[label, label].sum())
    if (
        shares[label, column].sum() > shares[label, label].sum()
        and better > 2 * worse  # people may see some classes otherwise than the labels say
        and better - worse > _SURE * (better + worse) ** 0.5
    ):
        most = int((images[label, column] - images[label, label]).argmax())
        name, fitting = (printable(names[at[most]], 40) for at in (column, label))
        raise DataError(
            f"the columns of votes are in another order: that of {name} is {fitting} by the "
            f"images' labels; {better:,} images agree then, and {worse:,} by the names of the "
            "columns"
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
        original = first.setdefault(faces.digests[image], image)
        if original != image:
            pairs += 1
            same += np.array_equal(votes.counts[image], votes.counts[original])
    return pairs, same
