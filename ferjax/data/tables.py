"""Read tables: rows with an image, or its pixels, and a label; csv and parquet files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import numpy as np

from ferjax.data import class_numbers, csv_dialect, parquet, pixel_csv, reading, split_names
from ferjax.data.class_names import classes_in_order
from ferjax.data.containers import Container, Member
from ferjax.data.dataset import SPLITS, Faces
from ferjax.data.image_folders import mirror_split
from ferjax.data.photographs import Picture
from ferjax.data.reading import Options, Read, Rows
from ferjax.emotions import EMOTIONS
from ferjax.errors import DataError, printable
from ferjax.image_files import MAX_FILE_BYTES

_MOST_CLASSES: Final = 1000


def read_tables(
    container: Container, dialects: Mapping[Member, csv_dialect.Dialect], options: Options
) -> Read:
    """Read tables of pixels that are one dataset.

    Raises:
        DataError: a table cannot be read on, or there are several datasets.
    """
    _refuse_finding(options)
    by_split = _splits_of_tables(dialects)
    sizes = [member.size for member in dialects]
    before = 0

    def advance(done: int) -> None:
        if all(sizes):
            options.progress(before + done, sum(size or 0 for size in sizes), "bytes")

    parts = {}
    for member, dialect in dialects.items():
        with reading.opened_member(container, member) as stream:
            parts[member] = _fitted(pixel_csv.read(stream, dialect, advance), options.size)
        before += member.size or 0
    dialect = next(iter(dialects.values()))
    table = _of_rows(container, parts, by_split, dialect.label_name, options)
    if len(dialects) == 1 and dialect.usage is None:
        note = "there is no column Usage: all images are in train"
        return replace(table, faces=table.faces.with_notes(note))
    return table


def _refuse_finding(options: Options) -> None:
    """Raise a DataError where faces are to be found in tables of pixels."""
    if options.find_faces is not None:
        raise DataError(
            "a table of pixels, which are faces already; --find-faces (find_faces=) is for image "
            "files"
        )


def _splits_of_tables(dialects: Mapping[Member, csv_dialect.Dialect]) -> dict[Member, str]:
    """Return the split of each table, "" for one alone; train.csv and test.csv are one dataset."""
    if len(dialects) == 1:
        return dict.fromkeys(dialects, "")
    stems = {m: os.path.splitext(m.name.split("/")[-1])[0] for m in dialects}
    splits = split_names.splits_of(stems.values())
    alike = {(splits[stem], _without_digits([stem])) for stem in stems.values()}
    say_it = any(dialect.usage is not None for dialect in dialects.values())
    if say_it or not all(splits.values()) or len(alike) > len(set(splits.values())):
        first, second = list(dialects)[:2]
        raise DataError(f"holds {first.name!r} and {second.name!r}; expected one dataset, name one")
    return {member: splits[stem] or "" for member, stem in stems.items()}


def _of_rows(
    container: Container,
    parts: Mapping[Member, Rows],
    by_split: Mapping[Member, str],
    column: str,
    options: Options,
    *,
    ask: bool = False,
) -> Read:
    """Return the faces of tables, each in its split, or "" where its rows say it."""
    classes, bad_labels, notes = class_numbers.classes_of(
        [label for rows in parts.values() for label in rows.labels], options.labels, column, ask=ask
    )
    class_names, position = _table_classes(classes)
    bad = sorted(container.bad)
    good: list[Rows] = []
    splits: list[int] = []
    names: list[str] = []
    pictures: dict[str, Picture] = {}
    for member, table in parts.items():
        prefix = f"{member.name}: " if len(parts) > 1 else ""
        faults = zip(table.numbers, map(bad_labels.get, table.labels))
        reasons = {**dict(table.bad), **{number: fault for number, fault in faults if fault}}
        bad += [(f"{prefix}row {number}", reason) for number, reason in sorted(reasons.items())]
        rows = table.take([at for at, label in enumerate(table.labels) if label in classes])
        good.append(rows)
        split = by_split[member]
        splits += [SPLITS.index(split)] * len(rows.labels) if split else rows.splits.tolist()
        names += [f"{prefix}row {number}" for number in rows.numbers]
        pictures |= {f"{prefix}row {row}": picture for row, picture in table.pictures.items()}
        notes += [note for note in table.notes if note not in notes]
    faces = Faces(
        images=np.concatenate([rows.images for rows in good]),
        labels=np.array([position[classes[x]] for rows in good for x in rows.labels], np.int32),
        splits=np.array(splits, np.int8),
        names=tuple(names),
        class_names=class_names,
        source_sizes=np.concatenate([rows.source_sizes for rows in good]),
        notes=tuple(notes),
    )
    return Read(
        faces=faces, bad=tuple(bad), kind="csv", container=container.kind, pictures=pictures
    )


def _table_classes(classes: Mapping[str, str]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return the class names of a table and the position of each."""
    class_names, position, slips = classes_in_order(set(classes.values()))
    if slips:
        raise DataError(next(iter(slips.values())))
    if len(class_names) > _MOST_CLASSES:
        raise DataError(
            f"{len(class_names):,} different labels, such as {printable(class_names[0], 40)!r}; "
            "expected the names or numbers of classes"
        )
    return class_names or EMOTIONS, position


def _fitted(rows: Rows, size: tuple[int, int]) -> Rows:
    """Return rows with images of a size, (H, W)."""
    if rows.images.shape[1:] == size:
        return rows
    images = np.empty((len(rows.images), *size), np.uint8)
    for image, target in zip(rows.images, images):
        reading.fit(image, target)
    return replace(rows, images=images)


# --- parquet -------------------------------------------------------------------------------------


def is_parquet(container: Container, member: Member) -> bool:
    """Whether a file is one of parquet, by its content."""
    if container.kind != "file" and reading.suffix(member) != ".parquet":
        return False
    with reading.opened_member(container, member) as stream:
        return stream.peek(4)[:4] == b"PAR1"


@contextmanager
def _opened_parquet(container: Container, member: Member) -> Iterator[parquet.Table]:
    """Open a parquet file whose errors name it."""
    with reading.named(container, member):
        path = container.path(member)
        source: str | bytes = path or b""
        if path is None:
            with container.open(member) as stream:
                source = stream.read(parquet.MAX_FILE + 1)
            if len(source) > parquet.MAX_FILE:
                raise DataError("too large to read packed; unpack it")
        size = len(source) if isinstance(source, bytes) else os.path.getsize(source)
        with parquet.opened(source, size) as table:
            yield table


def read_parquets(container: Container, members: Sequence[Member], options: Options) -> Read:
    """Read parquet files that are one dataset.

    Raises:
        DataError: a file is damaged or lacks something, or there are several datasets.
    """
    by_split = _splits_of_parquets(members)
    different = len(set(by_split.values())) > 1
    says_split = False
    parts: dict[Member, Rows] = {}
    columns = set()
    for member in members:
        with _opened_parquet(container, member) as table:
            in_name = any(split_names.parts(name)[0] for name in _shard_names(member))
            says_split |= in_name or table.usage is not None
            if table.usage is not None and not different:
                by_split[member] = ""
            columns.add((table.label, table.is_pixels))
            done = sum(len(rows.labels) for rows in parts.values())
            if table.is_pixels:
                _refuse_finding(options)
                parts[member] = _pixel_rows(table, options, done)
            else:
                parts[member] = _image_rows(table, options, by_split[member])
                by_split[member] = ""
    if len(columns) > 1:
        raise DataError(f"files of different columns, such as {members[0].name!r}; name one")
    column, is_pixels = columns.pop()
    read = _of_rows(container, parts, by_split, column, options, ask=not is_pixels)
    if not says_split and not read.faces.splits.any():
        note = "no file or column says train, validation or test: all images are in train"
        read = replace(read, faces=read.faces.with_notes(note))
    return replace(read, kind="parquet")


def _shard_names(member: Member) -> tuple[str, ...]:
    """Return the folders and the name of a parquet file without its number among shards.

    >>> _shard_names(Member(name="data/train-00000-of-00002-ab12.parquet", size=1))
    ('data', 'train')
    """
    *folders, file = member.name.split("/")
    stem = re.sub(r"-[0-9]{4,}-of-[0-9]{4,}.*", "", os.path.splitext(file)[0])
    return *folders, stem


def _without_digits(names: Sequence[str]) -> str:
    return re.sub("[0-9]+", "", "/".join(names))


def _splits_of_parquets(members: Sequence[Member]) -> dict[Member, str]:
    """Return the split of each file, by its name or its folder's; train where none has one.

    Raises DataError where the files are several datasets.
    """
    names = {member: _shard_names(member) for member in members}
    by_member: dict[Member, str | None] = dict.fromkeys(members)
    for level in range(1, 3):  # the file's own name, then its folder's
        if not any(by_member.values()):
            sides = {m: name[-level] if len(name) >= level else "" for m, name in names.items()}
            splits = split_names.splits_of(sides.values())
            by_member = {member: splits[sides[member]] for member in members}
    first: dict[str | None, Member] = {}  # of each split
    for member, split in by_member.items():
        before = first.setdefault(split, member)
        if _without_digits(names[before]) != _without_digits(names[member]):
            raise DataError(f"holds {before.name!r} and {member.name!r}; name one dataset's files")
    if len(first) > 1 and None in first:
        raise DataError(
            f"{first[None].name!r} is neither train, validation nor test; name one file"
        )
    return {member: split or "train" for member, split in by_member.items()}


def _pixel_rows(table: parquet.Table, options: Options, before: int) -> Rows:
    def records() -> Iterator[tuple[str, int, str] | str]:
        for batch in parquet.rows_of(table):
            for row in batch:
                checked = reading.checked_row(row.label, row.usage, table.label)
                if isinstance(checked, str):
                    yield checked
                elif not isinstance(row.image, str):
                    yield "no pixels"
                else:
                    yield *checked, row.image
            options.progress(before, before + table.rows, "rows")

    return _fitted(pixel_csv.collect(records()), options.size)


def _split_of_image(path: str, file: str, row: int) -> str:
    """Return the split of an image: its file's, or its row's, or what its name says of a test.

    The test file of datasets that were made of FER2013's JPEG mirror holds both of its tests.
    """
    split = file or SPLITS[row]
    by_name = mirror_split(path.replace("\\", "/").split("/")[-1])
    return "validation" if (by_name, split) == ("validation", "test") else split


def _image_rows(table: parquet.Table, options: Options, split: str) -> Rows:
    """Return the rows of a file of images; `split` is the file's, or "" where its rows say it."""
    facts: dict[int, tuple[str, int]] = {}  # label and split, by row
    reasons: dict[int, str] = {}

    def batches() -> Iterator[list[tuple[int, bytes]]]:
        start = 0
        for batch in parquet.rows_of(table):
            images = []
            for at, row in enumerate(batch, start):
                checked = reading.checked_row(row.label, row.usage, table.label)
                if isinstance(checked, str):
                    reasons[at] = checked
                elif not isinstance(row.image, bytes) or not row.image:
                    reasons[at] = "no image: the file holds none, or its path alone"
                elif len(row.image) > MAX_FILE_BYTES:
                    reasons[at] = f"an image of {len(row.image):,} bytes"
                else:
                    label, usage = checked
                    facts[at] = label, SPLITS.index(_split_of_image(row.path, split, usage))
                    images.append((at, row.image))
            start += len(batch)
            yield images

    result = reading.decoded(batches(), table.rows, options)
    reasons |= result.reasons
    left_out = reasons.keys() | result.left_out
    rows = [row for row in range(table.rows) if row not in left_out]
    return Rows(
        images=result.images[rows] if left_out else result.images,
        source_sizes=result.sizes[rows],
        labels=[facts[row][0] for row in rows],
        splits=np.array([facts[row][1] for row in rows], np.int8),
        numbers=[row + 1 for row in rows],
        bad=[(row + 1, reason) for row, reason in sorted(reasons.items())],
        notes=result.notes,
        pictures={row + 1: picture for row, picture in result.pictures.items()},
    )
