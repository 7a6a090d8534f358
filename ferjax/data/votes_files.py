"""Read tables of what several people said of each image: FER+'s, and others' soft labels.

- fer2013new.csv of FER+ (Barsoum et al., arXiv 1608.01041): a row for each of FER2013's.
- An image's name and a column a class, counts or shares.
- An image's name, who labelled it, and the label: a row for each of these.

Which image of a dataset each row is of, `votes_joining` and `ferplus_rows` say.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO, Final

import numpy as np

from ferjax.data import csv_dialect
from ferjax.data.containers import Container, Member, opened
from ferjax.data.csv_dialect import LABELS, USAGES, fields_of, first_of, plain, text_of
from ferjax.data.image_lists import NAMES
from ferjax.data.reading import opened_member, suffix
from ferjax.data.votes import NOT_A_FACE, UNKNOWN, Votes
from ferjax.digests import sha256
from ferjax.emotions import FERPLUS_ORDER, plain_name
from ferjax.errors import DataError, printable

MAX_BYTES: Final = 2**28
MAX_ROWS: Final = 1_000_000
MAX_VOTES: Final = 10**6  # of an image for a class
_MAX_COLUMNS: Final = 1000

# FER+, as it was published.
FERPLUS: Final = (*FERPLUS_ORDER, UNKNOWN, NOT_A_FACE)
FERPLUS_SOURCE: Final = "FER+, Barsoum et al. 2016, arXiv 1608.01041"
FERPLUS_LICENCE: Final = "MIT"
FERPLUS_FILE: Final = re.compile(r"fer[0-9]{7}\.\w+", re.IGNORECASE)
_FERPLUS_VOTERS: Final = range(8, 11)  # ten of each image but one, which has nine

_ANNOTATORS: Final = (
    "annotator annotatorid rater raterid user userid worker workerid coder tagger labeler labeller "
    "labelerid participant participantid judge person"
).split()
_NO_EMOTION: Final = {
    **dict.fromkeys("unknown unsure cannottell donotknow".split(), UNKNOWN),
    **dict.fromkeys("nf notaface notface noface nonface".split(), NOT_A_FACE),
}
_EXPECTED: Final = (
    "expected FER+'s fer2013new.csv, or a column of image names, such as image, and one of votes "
    "for each class"
)
_MOSTLY: Final = 0.9  # of the rows: how many voters are usual, where so many have the same number
_SUM_ERROR: Final = 0.01  # of shares that were rounded
_USUAL: Final = 5  # voters from which on a row of half as many more, or fewer, is a slip


@dataclass(frozen=True, kw_only=True)
class VotesTable:
    """A file of votes.

    Attributes:
        path: as it was given.
        sha256: of the file.
        votes: a row a line of the file, or an image of those with a line for each annotator;
            percentages are shares that sum to 1.
        images: the image's name of each row, "" where the file has none.
        rows: the first line of each row, 1 for the one under the header.
        usages: FER2013's part of each row; None where there is no such column.
        is_ferplus: whether it has the columns of FER+.
        is_long: whether it has a row for each image and annotator.
    """

    path: str = ""
    sha256: str = ""
    votes: Votes
    images: tuple[str, ...]
    rows: tuple[int, ...]
    usages: tuple[str, ...] | None = None
    is_ferplus: bool = False
    is_long: bool = False

    @property
    def are_percentages(self) -> bool:
        """Whether most rows sum to 100, as hardly any number of people does."""
        sums = self.votes.counts.sum(1, dtype=np.float64)
        usual = (np.abs(sums - 100) <= 100 * _SUM_ERROR).mean() > 0.5
        return bool(usual) and not (self.is_ferplus or self.is_long)

    @property
    def name(self) -> str:
        """The file's name without its folders."""
        return os.path.basename(self.path)

    def fault(self, row: int, reason: str) -> DataError:
        """Return the error of a row, counted from 0."""
        return DataError(f"{printable(self.path)}: row {self.rows[row]}: {reason}")


def read(path: str | os.PathLike[str]) -> VotesTable:
    """Read a table of votes, whatever its separators, encoding and packing.

    Raises:
        DataError: it is none, too large, or something in it is no vote.
    """
    shown = printable(os.fsdecode(path)) or "''"
    with opened(path, _EXPECTED) as container:
        try:
            member = _table_of(container)
            with opened_member(container, member) as stream, text_of(stream) as (text, _):
                table = _parsed(list(_lines(text)))
        except DataError as error:
            raise DataError(f"{shown}: {error}") from error
        file = os.path.join(path, member.name) if container.kind == "folder" else path
    table = replace(table, path=os.fsdecode(path), sha256=sha256(file))
    _check_sums(table)
    _check_names(table)
    if table.are_percentages:  # a hundred would be taken for people
        votes = replace(table.votes, counts=table.votes.counts / np.float32(100))
        table = replace(table, votes=votes)
    return table


def canonical(column: str, class_names: Sequence[str] = ()) -> str | None:
    """Return what a column of votes is for: a class's name, an emotion, or one of `NO_EMOTION`.

    None: it is for nothing that is known.

    >>> canonical("Happiness"), canonical("NF"), canonical("Calm", ["calm", "tense"])
    ('happy', 'not a face', 'calm')
    """
    name = column.strip()
    if name in class_names:
        return name
    by_lower = {class_name.lower(): class_name for class_name in class_names}
    if name.lower() in by_lower:
        return by_lower[name.lower()]
    emotion = plain_name(name)
    if emotion in FERPLUS_ORDER:
        return emotion
    return _NO_EMOTION.get(plain(name))


# --- the file ------------------------------------------------------------------------------------


def _table_of(container: Container) -> Member:
    members = container.members
    if container.kind != "file":
        members = [member for member in members if suffix(member) in (".csv", ".tsv", ".txt")]
        if len(members) != 1:
            raise DataError(f"holds {len(members)} tables; {_EXPECTED}; name one file")
    if (members[0].size or 0) > MAX_BYTES:
        raise DataError(f"{members[0].size:,} bytes, more than {MAX_BYTES:,}; {_EXPECTED}")
    return members[0]


def _lines(text: IO[str]) -> Iterator[str]:
    """Yield the lines that hold anything, the header first."""
    total = rows = 0
    while True:
        line = text.readline(csv_dialect.MAX_LINE)
        if not line:
            return
        total += len(line)
        if len(line) == csv_dialect.MAX_LINE or total > MAX_BYTES:
            raise DataError(f"a line, or all, of more text than a table of votes; {_EXPECTED}")
        if not line.strip() or (not rows and csv_dialect.SEPARATOR.fullmatch(line)):
            continue
        yield line.rstrip("\n")
        rows += 1
        if rows > MAX_ROWS + 1:
            raise DataError(f"more than {MAX_ROWS:,} rows; expected votes on a dataset of faces")


def _parsed(lines: list[str]) -> VotesTable:
    """Return the votes of a table, whose first line is its header."""
    if not lines:
        raise DataError(f"empty; {_EXPECTED}")
    delimiter = max(csv_dialect.DELIMITERS, key=lambda mark: len(fields_of(lines[0], mark)))
    header = [field.strip() for field in fields_of(lines[0], delimiter)]
    names = [plain(field) for field in header]
    image, usage = first_of(NAMES, names), first_of(USAGES, names)
    annotator, label = first_of(_ANNOTATORS, names), first_of(LABELS, names)
    if len(header) > _MAX_COLUMNS or image is None:
        shown = ", ".join(printable(name, 20) for name in header[:6])
        shown += ", ..." * (len(header) > 6)
        raise DataError(f"{_EXPECTED}, got columns {shown}")
    if len(lines) == 1:
        raise DataError("no rows under the header")
    rows = [fields_of(line, delimiter) for line in lines[1:]]
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise DataError(f"row {number}: expected {len(header)} columns, got {len(row)}")
    if annotator is not None and label is not None:
        return _by_annotator(rows, image, annotator, label, header)
    no_votes = {image, usage, label, annotator}
    if names[0] in ("", "unnamed0", "index"):  # pandas numbers the rows
        no_votes.add(0)
    columns = [i for i in range(len(header)) if i not in no_votes]
    names = [canonical(header[i]) or header[i] for i in columns]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"several columns of votes for {printable(twice[0], 40)}")
    if label is not None and not columns:
        raise DataError(
            f"has a label for each image ({printable(header[label], 40)}), and does not say whose; "
            "expected a column annotator too, or one of votes for each class"
        )
    if len(columns) < 2 or not all(names):
        raise DataError(f"{len(columns)} columns of votes, some without a name; {_EXPECTED}")
    counts = np.empty((len(rows), len(columns)), np.float32)
    for number, row in enumerate(rows, 1):
        for at, column in enumerate(columns):
            counts[number - 1, at] = _number(row[column], delimiter, number, header[column])
    images = tuple(row[image].strip() for row in rows)
    return VotesTable(
        votes=Votes(counts=counts, names=tuple(names)),
        images=images,
        rows=tuple(range(1, len(rows) + 1)),
        usages=None if usage is None else tuple(row[usage].strip() for row in rows),
        is_ferplus=_is_ferplus(names, images, has_usage=usage is not None),
    )


def _is_ferplus(names: Sequence[str], images: Sequence[str], *, has_usage: bool) -> bool:
    """Whether a table is FER+'s, by its image names: others may have its columns.

    Raises DataError where it is FER+'s but for some column, without which its rows are not known.
    """
    named = [image for image in images if image]
    if not named or not all(map(FERPLUS_FILE.fullmatch, named)):
        return False
    if has_usage and set(names) == set(FERPLUS):
        return True
    if has_usage or len(named) < len(images):
        lacking = [name for name in FERPLUS if name not in names] + ["Usage"] * (not has_usage)
        strange = [name for name in names if name not in FERPLUS]
        columns = f"without {', '.join(lacking)}" if lacking else f"and {', '.join(strange)}"
        raise DataError(
            f"has FER+'s image names and columns {printable(columns, 200)}; expected "
            "fer2013new.csv as it was published"
        )
    return False  # others may have voted on FER+'s images


def _number(text: str, delimiter: str, row: int, column: str) -> float:
    """Return a number of votes."""
    plain_text = text.strip() if delimiter == "," else text.strip().replace(",", ".")
    try:
        value = math.nan if "_" in plain_text else float(plain_text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MAX_VOTES:
        raise DataError(
            f"row {row}: expected votes, numbers of at least 0, for {printable(column, 40)}, "
            f"got {printable(text.strip(), 40)!r}"
        )
    return value


def _by_annotator(
    rows: Sequence[Sequence[str]], image: int, annotator: int, label: int, header: Sequence[str]
) -> VotesTable:
    """Count the labels of each image, of which each row is what one person said."""
    labels = [canonical(row[label]) or row[label].strip() for row in rows]
    names = sorted(set(labels))
    if len(names) > _MAX_COLUMNS or not all(names):
        raise DataError(
            f"{len(names):,} different labels in {printable(header[label], 40)}, or none in some "
            "row; expected the names of classes"
        )
    column = {name: at for at, name in enumerate(names)}
    first: dict[str, int] = {}  # the first row of each image
    seen: dict[tuple[str, str], int] = {}  # the row of an image and annotator
    for number, row in enumerate(rows, 1):
        key = row[image].strip(), row[annotator].strip()
        if key in seen:
            raise DataError(
                f"row {number}: {printable(key[1], 40)} has labelled {printable(key[0], 80)} in "
                f"row {seen[key]} already"
            )
        seen[key] = number
        first.setdefault(key[0], number)
    position = {name: at for at, name in enumerate(first)}
    counts = np.zeros((len(first), len(names)), np.float32)
    for row, name in zip(rows, labels):
        counts[position[row[image].strip()], column[name]] += 1
    votes = Votes(counts=counts, names=tuple(names))
    return VotesTable(votes=votes, images=tuple(first), rows=tuple(first.values()), is_long=True)


# --- what cannot be ------------------------------------------------------------------------------


def _check_sums(table: VotesTable) -> None:
    """Raise where the votes of a row do not sum to what they should."""
    sums = table.votes.counts.sum(1, dtype=np.float64)
    if len(none := np.flatnonzero(sums == 0)):
        raise table.fault(none[0], "no votes; leave the row out where nobody was asked")
    if table.is_ferplus:
        whole = np.isin(sums, _FERPLUS_VOTERS)
        if table.votes.are_shares or not whole.all():
            row = int(np.flatnonzero(~whole)[0]) if not whole.all() else 0
            raise table.fault(row, f"expected the votes of ten people, got {sums[row]:g}")
        return
    if table.is_long:  # counted, so that each sum is right
        return
    if table.are_percentages or table.votes.are_shares:
        total = 100.0 if table.are_percentages else 1.0
        wrong = np.abs(sums - total) > _SUM_ERROR * total
        expected = f"expected shares that sum to {total:g}"
    else:
        values, counts = np.unique(sums, return_counts=True)
        usual = values[counts.argmax()]
        most = counts.max() >= _MOSTLY * len(sums) and usual >= _USUAL
        wrong = most & ((sums > 1.5 * usual) | (sums < 0.5 * usual))
        expected = f"expected about {usual:g} votes, as most rows have"
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise table.fault(row, f"{expected}, got {sums[row]:g}")


def _check_names(table: VotesTable) -> None:
    """Raise where an image has no name, or two rows one name. FER+'s join by row."""
    if table.is_ferplus:
        return
    first: dict[str, int] = {}
    for row, name in enumerate(table.images):
        if not name:
            raise table.fault(row, "no name of an image")
        if name in first:
            earlier = table.rows[first[name]]
            raise table.fault(row, f"{printable(name, 100)!r} is in row {earlier} too")
        first[name] = row
