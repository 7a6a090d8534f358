"""Read faces from the forms in which they circulate; the content says which one a source is.

- Folders, or a .zip or .tar.gz of them: <split>/<class>/<image>, as in Kaggle's archive of FER2013
  (train and test; angry, disgusted, ... im0.png, im1.png) and in people's own datasets, in which
  `folders` tells splits and classes by their names and structure.
- The JPEG mirror of FER2013: class folders with files Training_*, PublicTest_*, PrivateTest_*.
- fer2013.csv and icml_face_data.csv, as they are or inside any of these.

Everything becomes `Faces` of one size, by the published preprocessing: OpenCV's gray, then its
bilinear resize. Emotions have one order, `ferjax.EMOTIONS`, whatever the source calls them.

Dimension keys: N images, H height, W width.
"""

from __future__ import annotations

import io
import operator
import os
import re
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from ferjax import hardware
from ferjax.data import csv_dialect, folders, numbering, parquet, pixel_csv, split_names
from ferjax.data.containers import Container, Member, opened
from ferjax.data.dataset import SPLITS, Faces
from ferjax.data.folders import Layout, Place
from ferjax.data.numbering import Labels
from ferjax.emotions import ALIASES, EMOTIONS, canonical
from ferjax.errors import DataError, ImageError, near_misses, printable
from ferjax.image_files import IMAGE_SUFFIXES, MAX_FILE_BYTES, decode, natural

KINDS: Final = {
    "csv": "fer2013.csv: a row an image",
    "kaggle": "Kaggle's archive of FER2013: train and test, images im0, im1, ...",
    "mirror": "JPEG mirror of FER2013: images Training_*, PublicTest_*, PrivateTest_*",
    "parquet": "parquet: a row an image",
    "folders": "class folders",
}

Progress = Callable[[int, int, str], None]

_PARTS: Final = {"training": "train", "publictest": "validation", "privatetest": "test"}
_KAGGLE_CLASSES: Final = frozenset("angry disgusted fearful happy neutral sad surprised".split())
_KAGGLE_FILE: Final = re.compile(r"im[0-9]+\.\w+")
_MIRROR_FILE: Final = re.compile(r"(Training|PublicTest|PrivateTest)_[0-9]+\.\w+", re.IGNORECASE)
_LISTED: Final = 5  # bad items named in an error
_MOST_CLASSES: Final = 1000
_BATCH: Final = 256  # images handed to a thread at once, at most
_BATCH_BYTES: Final = 8 * 2**20


@dataclass(frozen=True, kw_only=True)
class Read:
    """What a source holds.

    Attributes:
        faces: the images in natural order, or a csv's order; splits as the source has them.
        bad: the names of items that were left out, and why; empty unless `skip_bad`.
        kind: one of `KINDS`.
        container: folder, zip, tar, or file for a csv on its own.
    """

    faces: Faces
    bad: tuple[tuple[str, str], ...]
    kind: str
    container: str


def read(
    path: str | os.PathLike[str],
    *,
    size: tuple[int, int] = (48, 48),
    skip_bad: bool = False,
    classes_level: int | None = None,
    labels: Labels | None = None,
    progress: Progress | None = None,
) -> Read:
    """Read a dataset of faces.

    Args:
        path: a folder, a zip or tar archive, or a csv; see the module.
        size: (H, W) of the result in pixels.
        skip_bad: go on without images, rows and classes that are bad or missing.
        classes_level: which of the folders that lead to an image is its class, counted from the
            outermost, 1; None: told by their names and structure.
        labels: what numbers mean in the place of class names: fer2013, sorted, rafdb, ferplus,
            ckplus or affectnet, an order of emotions; names in the order of the numbers; {1:
            "happy", ...}; or numbers, which keeps them. None: 0 to 6 in a csv of pixels are
            fer2013.csv's, others are asked for.
        progress: called now and then with what is done, the total, and their unit.

    Returns:
        The faces, uint8 (N, H, W), and what was left out. Splits are those of the source:
        `ferjax.data.splits.official` finds PublicTest in Kaggle's archive.

    Raises:
        DataError: nothing can be read, or, without `skip_bad`, anything is bad; the first bad items
            are named, with their number.
    """
    height, width = _check_size(size)
    options = _Options(
        size=(height, width),
        classes_level=classes_level,
        labels=labels,
        progress=progress or (lambda done, total, unit: None),
    )
    shown = printable(os.fsdecode(path)) or "''"
    with opened(path) as container:
        try:
            found = _read(container, options)
        except DataError as error:
            raise DataError(f"{shown}: {error}") from error
    faces, bad = found.faces, found.bad
    missing = _missing(faces)
    if not skip_bad or not len(faces):
        problems = []
        if bad:
            # Of a damaged source hardly any class may be left; the damage says enough.
            missing = missing if len(faces) else []
            problems.append(_list_bad(bad, len(faces) + len(bad), found.kind))
        elif not len(faces):
            problems.append("no rows under the header" if found.kind == "csv" else "no images")
            missing = []
        problems += missing
        if problems:
            hint = "; skip_bad (--skip-bad) goes on without them" if len(faces) else ""
            raise DataError(f"{shown}: {'; '.join(problems)}{hint}")
    return replace(found, faces=replace(faces, notes=(*faces.notes, *missing)))


def _check_size(size: tuple[int, int]) -> tuple[int, int]:
    try:
        height, width = (operator.index(n) for n in size)
    except (TypeError, ValueError):
        height = width = 0
    if not (1 <= height <= 4096 and 1 <= width <= 4096):
        raise ValueError(f"expected (height, width) in [1, 4096] for `size`, got {size!r}")
    return height, width


def _list_bad(bad: Sequence[tuple[str, str]], total: int, kind: str) -> str:
    unit = "images" if kind in ("kaggle", "mirror", "folders") else "rows"
    listed = "; ".join(printable(f"{name}: {reason}", 300) for name, reason in bad[:_LISTED])
    more = f"; and {len(bad) - _LISTED:,} more" if len(bad) > _LISTED else ""
    return f"{len(bad):,} of {total:,} {unit} cannot be used: {listed}{more}"


def _missing(faces: Faces) -> list[str]:
    """Return a sentence if there is nothing to learn a class from."""
    counts = faces.counts
    train = counts[SPLITS.index("train")]
    where = " in train" if train.any() else ""
    names = [
        name
        for name, count in zip(faces.class_names, train if where else counts.sum(0))
        if not count
    ]
    return [f"no images of {', '.join(map(printable, names))}{where}"] if names else []


# --- which kind of source ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Options:
    """What a caller asks for."""

    size: tuple[int, int]  # (H, W)
    classes_level: int | None
    labels: Labels | None
    progress: Progress


def _read(container: Container, options: _Options) -> Read:
    tables: dict[Member, csv_dialect.Dialect] = {}
    problems = []  # of tables that lack something
    images = [m for m in container.members if _suffix(m) in IMAGE_SUFFIXES]
    suffixes = (".csv",) if images else (".csv", ".tsv", ".txt")
    for member in container.in_order(container.members):
        if container.kind == "file" or _suffix(member) in suffixes:
            try:
                if dialect := _dialect(container, member):
                    tables[member] = dialect
            except DataError as error:
                problems.append(error)
    tables = {member: tables[member] for member in container.members if member in tables}
    if parquets := [member for member in container.members if _is_parquet(container, member)]:
        if tables or images:
            other = next(iter(tables), None) or images[0]
            raise DataError(
                f"holds {parquets[0].name!r} and {other.name!r}; expected one kind of faces, name "
                "one file"
            )
        return _read_parquets(container, parquets, options)
    if len(tables) > 1:  # the competition's archive has a train.csv beside icml_face_data.csv
        tables = {m: d for m, d in tables.items() if d.usage is not None} or tables
    if problems and not tables and not images:
        raise problems[0]
    if container.kind == "file" and not tables:
        container.read(container.members[0])  # says what is expected
    by_split = _splits_of_tables(tables)
    if tables and (images or not by_split):
        names = [m.name for m in (*tables, *images)]
        raise DataError(
            f"holds {names[0]!r} and {names[1]!r}; expected either a csv or images, name one"
        )
    if tables:
        return _read_tables(container, tables, by_split, options)
    if not images and not container.bad:
        inside = [m.name for m in container.members]
        got = f"{len(inside):,} other files, such as {inside[0]!r}" if inside else "nothing"
        packed = any(re.search(r"\.(zip|t?gz|tar|bz2|xz|rar|7z)$", name) for name in inside)
        raise DataError(
            f"expected images in <split>/<class>/ or fer2013.csv, got {got}"
            f"{'; unpack the archives in it first' if packed else ''}"
        )
    return _read_images(container, images, options)


def _suffix(member: Member) -> str:
    return os.path.splitext(member.name)[1].lower()


# --- tables of pixels ----------------------------------------------------------------------------


@contextmanager
def _opened(container: Container, member: Member) -> Iterator[io.BufferedReader]:
    """Open a member whose errors name it."""
    try:
        with container.open(member) as stream:
            yield stream
    except DataError as error:
        inside = f"{member.name}: " if container.kind != "file" else ""
        raise DataError(f"{inside}{error}") from error


def _dialect(container: Container, member: Member) -> csv_dialect.Dialect | None:
    with _opened(container, member) as stream:
        return csv_dialect.recognized(stream)


def _splits_of_tables(tables: Mapping[Member, csv_dialect.Dialect]) -> dict[Member, str]:
    """Return the split of each table, "" for one that says it itself; nothing where names do not.

    train.csv, val.csv and test.csv are one dataset.
    """
    if len(tables) == 1 or any(dialect.usage is not None for dialect in tables.values()):
        return dict.fromkeys(tables, "") if len(tables) == 1 else {}
    stems = {m: os.path.splitext(m.name.split("/")[-1])[0] for m in tables}
    splits = split_names.splits_of(stems.values())
    alike = {(splits[stem], _without_digits([stem])) for stem in stems.values()}
    if not all(splits.values()) or len(alike) > len(set(splits.values())):
        return {}
    return {member: splits[stem] or "" for member, stem in stems.items()}


def _read_tables(
    container: Container,
    tables: Mapping[Member, csv_dialect.Dialect],
    by_split: Mapping[Member, str],
    options: _Options,
) -> Read:
    sizes = [member.size for member in tables]
    before = 0

    def advance(done: int) -> None:
        if all(sizes):
            options.progress(before + done, sum(size or 0 for size in sizes), "bytes")

    parts = {}
    for member, dialect in tables.items():
        with _opened(container, member) as stream:
            parts[member] = _fitted(pixel_csv.read(stream, dialect, advance), options.size)
        before += member.size or 0
    dialect = next(iter(tables.values()))
    found = _of_rows(container, parts, by_split, dialect.label_name, options)
    if len(tables) == 1 and dialect.usage is None:
        note = "there is no column Usage: all images are in train"
        found = replace(found, faces=replace(found.faces, notes=(*found.faces.notes, note)))
    return found


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Faces in the rows of a table; see `pixel_csv.Rows`."""

    images: npt.NDArray[np.uint8]  # (N, H, W), of the size asked for
    sizes: npt.NDArray[np.int32]  # (N, 2), that they had
    labels: list[str]
    splits: npt.NDArray[np.int8]  # (N,)
    numbers: list[int]
    bad: list[tuple[int, str]]
    notes: list[str]


def _of_rows(
    container: Container,
    parts: Mapping[Member, _Rows],
    by_split: Mapping[Member, str],
    column: str,
    options: _Options,
    *,
    ask: bool = False,
) -> Read:
    """Return the faces of tables, each in its split, or "" where its rows say it."""
    classes, bad_labels, notes = numbering.classes_of(
        [label for rows in parts.values() for label in rows.labels],
        options.labels,
        column,
        ask=ask,
    )
    class_names, position = _table_classes(classes)
    bad = sorted(container.bad)
    images, labels, splits, names, source_sizes = [], [], [], [], []
    for member, rows in parts.items():
        prefix = f"{member.name}: " if len(parts) > 1 else ""
        reasons = {n: bad_labels[x] for n, x in zip(rows.numbers, rows.labels) if x in bad_labels}
        listed = sorted({**dict(rows.bad), **reasons}.items())
        bad += [(f"{prefix}row {number}", reason) for number, reason in listed]
        good = [at for at, label in enumerate(rows.labels) if label in classes]
        everything = len(good) == len(rows.labels)
        images.append(rows.images if everything else rows.images[good])
        labels += [position[classes[rows.labels[at]]] for at in good]
        split = by_split[member]
        splits += [SPLITS.index(split) if split else int(rows.splits[at]) for at in good]
        names += [f"{prefix}row {rows.numbers[at]}" for at in good]
        source_sizes.append(rows.sizes[good])
        notes += [note for note in rows.notes if note not in notes]
    faces = Faces(
        images=np.concatenate(images),
        labels=np.array(labels, np.int32),
        splits=np.array(splits, np.int8),
        names=tuple(names),
        class_names=class_names,
        source_sizes=np.concatenate(source_sizes),
        notes=tuple(notes),
    )
    return Read(faces=faces, bad=tuple(bad), kind="csv", container=container.kind)


def _table_classes(classes: Mapping[str, str]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return the class names of a table and the position of each."""
    class_names, position, slips = _classes(set(classes.values()))
    if slips:
        raise DataError(next(iter(slips.values())))
    if len(class_names) > _MOST_CLASSES:
        raise DataError(
            f"{len(class_names):,} different labels, such as {printable(class_names[0], 40)!r}; "
            "expected the names or numbers of classes"
        )
    return class_names or EMOTIONS, position


def _fitted(rows: pixel_csv.Rows, size: tuple[int, int]) -> _Rows:
    """Return rows with images of a size."""
    images = rows.images
    if images.shape[1:] != size:
        images = np.empty((len(rows.images), *size), np.uint8)
        for image, target in zip(rows.images, images):
            _fit(image, target)
    return _Rows(
        images=images,
        sizes=np.full((len(images), 2), rows.images.shape[1], np.int32),
        labels=rows.labels,
        splits=rows.splits,
        numbers=rows.numbers,
        bad=rows.bad,
        notes=rows.notes,
    )


# --- parquet -------------------------------------------------------------------------------------


def _is_parquet(container: Container, member: Member) -> bool:
    if container.kind != "file" and _suffix(member) != ".parquet":
        return False
    with _opened(container, member) as stream:
        return stream.peek(4)[:4] == b"PAR1"


@contextmanager
def _opened_parquet(container: Container, member: Member) -> Iterator[parquet.Table]:
    """Open a parquet file whose errors name it."""
    inside = f"{member.name}: " if container.kind != "file" else ""
    try:
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
    except DataError as error:
        raise DataError(f"{inside}{error}") from error


def _read_parquets(container: Container, members: Sequence[Member], options: _Options) -> Read:
    by_split = _splits_of_parquets(members)
    different = len(set(by_split.values())) > 1
    parts: dict[Member, _Rows] = {}
    columns = set()
    for member in members:
        with _opened_parquet(container, member) as table:
            if table.usage is not None and not different:
                by_split[member] = ""
            columns.add((table.label, table.is_pixels))
            done = sum(len(rows.labels) for rows in parts.values())
            read = _pixel_rows if table.is_pixels else _image_rows
            parts[member] = read(table, options, done)
    (column, is_pixels), *others = columns
    if others:
        raise DataError(f"files of different columns, such as {members[0].name!r}; name one")
    found = _of_rows(container, parts, by_split, column, options, ask=not is_pixels)
    notes = found.faces.notes
    if set(by_split.values()) == {"train"} and not any(_says_split(m) for m in members):
        notes = (
            *notes,
            "no file or column says train, validation or test: all images are in train",
        )
    return replace(found, faces=replace(found.faces, notes=notes), kind="parquet")


def _says_split(member: Member) -> bool:
    return any(split_names.parts(name)[0] for name in _shard_names(member))


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
    known: dict[Member, str | None] = dict.fromkeys(members)
    for level in range(1, 3):  # the file's own name, then its folder's
        if not any(known.values()):
            sides = {m: name[-level] if len(name) >= level else "" for m, name in names.items()}
            splits = split_names.splits_of(sides.values())
            known = {member: splits[sides[member]] for member in members}
    resolved = all(known.values())
    alike: dict[str | None, Member] = {}
    for member, split in known.items():
        other = alike.setdefault(split, member)
        if _without_digits(names[other]) != _without_digits(names[member]):
            raise DataError(f"holds {other.name!r} and {member.name!r}; name one dataset's files")
    if any(known.values()) and not resolved:
        other = next(member for member in members if not known[member])
        raise DataError(f"{other.name!r} is neither train, validation nor test; name one file")
    return {member: split or "train" for member, split in known.items()}


def _pixel_rows(table: parquet.Table, options: _Options, before: int) -> _Rows:
    def records() -> Iterator[tuple[str, int, str] | str]:
        for batch in parquet.rows_of(table):
            for row in batch:
                checked = pixel_csv.checked_row(row.label, row.usage, table.label)
                if isinstance(checked, str):
                    yield checked
                elif not isinstance(row.image, str):
                    yield "no pixels"
                else:
                    yield *checked, row.image
            options.progress(before, before + table.rows, "rows")

    return _fitted(pixel_csv.collect(records()), options.size)


def _image_rows(table: parquet.Table, options: _Options, before: int) -> _Rows:
    checked: dict[int, tuple[str, int]] = {}
    reasons: dict[int, str] = {}

    def batches() -> Iterator[list[tuple[int, bytes]]]:
        start = 0
        for batch in parquet.rows_of(table):
            images = []
            for at, row in enumerate(batch, start):
                found = pixel_csv.checked_row(row.label, row.usage, table.label)
                if isinstance(found, str):
                    reasons[at] = found
                elif not isinstance(row.image, bytes) or not row.image:
                    reasons[at] = "no image: the file holds none, or its path alone"
                elif len(row.image) > MAX_FILE_BYTES:
                    reasons[at] = f"an image of {len(row.image):,} bytes"
                else:
                    checked[at] = found
                    images.append((at, row.image))
            start += len(batch)
            yield images

    images, sizes, undecoded = _decode(batches(), table.rows, options.size, options.progress)
    reasons |= undecoded
    good = [at for at in range(table.rows) if at not in reasons]
    return _Rows(
        images=images[good] if reasons else images,
        sizes=sizes[good],
        labels=[checked[at][0] for at in good],
        splits=np.array([checked[at][1] for at in good], np.int8),
        numbers=[at + 1 for at in good],
        bad=[(at + 1, reason) for at, reason in sorted(reasons.items())],
        notes=[],
    )


# --- folders of images ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Item:
    """An image and what its folders say of it."""

    member: Member
    place: Place


def _read_images(container: Container, members: Sequence[Member], options: _Options) -> Read:
    layout = folders.layout(
        [tuple(member.name.split("/")[:-1]) for member in members], options.classes_level
    )
    items = [_Item(m, p) for m, p in zip(members, layout.places) if not isinstance(p, str)]
    bad = [*container.bad]
    bad += [(m.name, p) for m, p in zip(members, layout.places) if isinstance(p, str)]
    items, number_notes = _named(items, options.labels)
    kind, items, notes = _usages(items, layout)
    notes += number_notes
    class_names, position, bad_classes = _classes({item.place.name for item in items})
    bad += [
        (x.member.name, bad_classes[x.place.name]) for x in items if x.place.name in bad_classes
    ]
    items = [item for item in items if item.place.name not in bad_classes]

    reasons: dict[int, str] = {}
    images, sizes, undecoded = _decode(
        _batches(container, [item.member for item in items], reasons),
        len(items),
        options.size,
        options.progress,
    )
    reasons |= undecoded
    bad += [(items[row].member.name, reason) for row, reason in reasons.items()]
    good = [row for row in range(len(items)) if row not in reasons]
    if reasons:
        images, sizes = images[good], sizes[good]
        items = [items[row] for row in good]
    if len(container.members) > len(members):
        known = {member.name for member in members}
        names = [m.name for m in container.members if m.name not in known]
        such = printable(names[0], 100)
        notes.append(f"files that are no images are left out: {len(names):,}, such as {such}")
    faces = Faces(
        images=images,
        labels=np.array([position[item.place.name] for item in items], np.int32),
        splits=np.array([SPLITS.index(item.place.split) for item in items], np.int8),
        names=tuple(item.member.name for item in items),
        class_names=class_names,
        source_sizes=sizes,
        notes=tuple(notes),
    )
    bad.sort(key=lambda item: natural(item[0]))
    return Read(faces=faces, bad=tuple(bad), kind=kind, container=container.kind)


def _named(items: list[_Item], labels: Labels | None) -> tuple[list[_Item], list[str]]:
    """Return the items with names for class folders that are numbers, and notes.

    Raises DataError where the names are not known, or not asked for.
    """
    numbers = Counter(int(x.place.name) for x in items if x.place.name.isdecimal())
    if len(numbers) and all(item.place.name.isdecimal() for item in items):
        order = labels or numbering.order_by_counts(numbers)
        if order is None:
            raise numbering.question(numbers, "the class folders")
        names = numbering.names_of(numbers, order)
        if missing := sorted(set(numbers) - set(names)):
            raise DataError(f"labels name {len(names)} classes, and none is number {missing[0]}")
        notes = [f"class folders are numbered in the order {order}, by how many images each has"]
        named = [replace(x.place, name=names[int(x.place.name)]) for x in items]
        return [_Item(x.member, p) for x, p in zip(items, named)], [] if labels else notes
    if labels is not None and items:
        raise DataError(
            f"labels are for numbers; the class folders have names, such as {items[0].place.name!r}"
        )
    return items, []


def _usages(items: list[_Item], layout: Layout) -> tuple[str, list[_Item], list[str]]:
    """Return the kind of source, the items with the mirror's splits in its files' names, notes."""
    notes = list(layout.notes)
    names = {item.place.name for item in items}
    files = [item.member.name.split("/")[-1] for item in items]
    if not names <= set(EMOTIONS):
        return "folders", items, notes
    usages = [_MIRROR_FILE.fullmatch(file) for file in files]
    if not any(usages):
        kaggle = (
            {item.place.folder for item in items} <= _KAGGLE_CLASSES
            and layout.has_splits
            and {item.place.split for item in items} <= {"train", "test"}
            and all(map(_KAGGLE_FILE.fullmatch, files))
        )
        return "kaggle" if kaggle else "folders", items, notes
    named = [
        replace(item, place=replace(item.place, split=_PARTS[usage[1].lower()])) if usage else item
        for usage, item in zip(usages, items)
    ]
    if not layout.has_splits:
        return "mirror", named, []
    # The mirror has PublicTest and PrivateTest in one folder; whoever moved files to other splits
    # meant it.
    usual = {*zip(SPLITS, SPLITS), ("test", "validation")}
    moved = [
        item.member.name
        for item, other in zip(items, named)
        if (item.place.split, other.place.split) not in usual
    ]
    if not moved:
        return "mirror", named, notes
    such = printable(moved[0], 100)
    notes.append(
        f"{len(moved):,} files lie in other splits than their names say, such as {such}: the "
        "folders count"
    )
    return "mirror", items, notes


def _classes(names: Collection[str]) -> tuple[tuple[str, ...], dict[str, int], dict[str, str]]:
    """Return the class names in output order, the position of each, and names that are no class."""
    bad = {}
    known = set(names) & set(EMOTIONS)
    if known:
        # A name beside emotions may be a class of its own, such as contempt. If it all but is the
        # name of an emotion that is missing, it is a slip.
        absent = [name for name in (*EMOTIONS, *ALIASES) if canonical(name) not in known]
        for name in set(names) - known:
            if close := near_misses(name.lower(), absent):
                bad[name] = f"unknown class {name[:40]!r}{close}"
    good = sorted(set(names) - set(bad))
    class_names = EMOTIONS if known and known == set(good) else tuple(good)
    return class_names, {name: i for i, name in enumerate(class_names)}, bad


# --- decoding ------------------------------------------------------------------------------------


def _decode(
    batches: Iterable[list[tuple[int, bytes]]],
    count: int,
    size: tuple[int, int],
    progress: Progress,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32], dict[int, str]]:
    """Decode and resize: uint8 (N, H, W), source sizes (N, 2), and what is wrong, by row.

    One thread reads `batches`, rows and the content of image files, several decode: OpenCV works
    outside the interpreter's lock. What is read and not yet decoded stays small.

    Args:
        count: N, the number of rows.
    """
    images = np.zeros((count, *size), np.uint8)
    sizes = np.zeros((count, 2), np.int32)
    reasons: dict[int, str] = {}

    def work(batch: list[tuple[int, bytes]]) -> int:
        for row, data in batch:
            try:
                image = decode(data, "image", 1)
            except ImageError as error:
                reasons[row] = str(error).removeprefix("image: ")
            else:
                sizes[row] = image.shape
                _fit(image, images[row])
        return len(batch)

    workers = min(8, hardware.cores())
    done = 0
    with ThreadPoolExecutor(workers) as pool:
        running: deque[Future[int]] = deque()
        for batch in batches:
            running.append(pool.submit(work, batch))
            if len(running) > 2 * workers:
                done += running.popleft().result()
                progress(done, count, "images")
        for future in running:
            done += future.result()
            progress(done, count, "images")
    return images, sizes, reasons


def _batches(
    container: Container, members: Sequence[Member], reasons: dict[int, str]
) -> Iterator[list[tuple[int, bytes]]]:
    rows = {member.name: row for row, member in enumerate(members)}
    batch: list[tuple[int, bytes]] = []
    total = 0
    for member in container.in_order(members):
        row = rows[member.name]
        try:
            data = container.read(member)
        except DataError as error:
            reasons[row] = str(error)
            continue
        if not data:
            reasons[row] = "empty, 0 bytes"
            continue
        batch.append((row, data))
        total += len(data)
        if len(batch) == _BATCH or total >= _BATCH_BYTES:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch


def _fit(image: npt.NDArray[np.uint8], target: npt.NDArray[np.uint8]) -> None:
    """Resize as the published preprocessing does: OpenCV, bilinear."""
    if image.shape == target.shape:
        target[...] = image
    else:
        import cv2

        height, width = target.shape
        target[...] = cv2.resize(image, (width, height))
