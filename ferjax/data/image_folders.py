"""Read images whose folders, and at times whose names, say their class and split."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

import numpy as np

from ferjax.data import class_numbers, folders, image_lists, split_names
from ferjax.data.class_names import classes_in_order
from ferjax.data.class_numbers import NumberNames
from ferjax.data.containers import Container, Member
from ferjax.data.dataset import SPLITS, Faces
from ferjax.data.folders import Layout, Place
from ferjax.data.reading import BATCH, BATCH_BYTES, Options, Read, decoded
from ferjax.emotions import EMOTIONS
from ferjax.errors import DataError, printable
from ferjax.faces.outputs import has_made_name, is_marked
from ferjax.image_files import natural

_KAGGLE_CLASSES: Final = frozenset("angry disgusted fearful happy neutral sad surprised".split())
_KAGGLE_FILE: Final = re.compile(r"im[0-9]+\.\w+")
_MIRROR_FILE: Final = re.compile(r"(Training|PublicTest|PrivateTest)_[0-9]+\.\w+", re.IGNORECASE)


def mirror_split(file: str) -> str | None:
    """Return the split that a file's name says in FER2013's JPEG mirror.

    >>> mirror_split("PublicTest_123.jpg"), mirror_split("im0.png")
    ('validation', None)
    """
    usage = _MIRROR_FILE.fullmatch(file)
    return split_names.split_of(usage[1]) if usage else None


def read_images(container: Container, members: Sequence[Member], options: Options) -> Read:
    """Read images in class folders, or with a list of their labels.

    Raises:
        DataError: neither tells the classes.
    """
    images = members
    members, notes = _without_repeated(container, members)
    if options.find_faces is not None:
        members, made_notes = _without_made(container, members)
        notes += made_notes
    layout, has_list = _layout(container, members, options)
    placed = {m: p for m, p in zip(members, layout.places) if isinstance(p, Place)}
    bad = [*container.bad]
    bad += [(m.name, p) for m, p in zip(members, layout.places) if isinstance(p, str)]
    number_notes: list[str] = []
    if not has_list:
        placed, number_notes = _named(placed, options.labels)
    kind, placed, usage_notes = _usages(placed, layout)
    class_names, position, slips = classes_in_order({place.name for place in placed.values()})
    _check_several(class_names)
    bad += [(m.name, slips[place.name]) for m, place in placed.items() if place.name in slips]
    items = [(m, place) for m, place in placed.items() if place.name not in slips]

    reasons: dict[int, str] = {}
    batches = _batches(container, [member for member, _ in items], reasons)
    result = decoded(batches, len(items), options)
    reasons |= result.reasons
    bad += [(items[row][0].name, reason) for row, reason in reasons.items()]
    left_out = reasons.keys() | result.left_out
    rows = [row for row in range(len(items)) if row not in left_out]
    notes = [*usage_notes, *notes, *number_notes, *result.notes, *_no_images(container, images)]
    faces = Faces(
        images=result.images[rows] if left_out else result.images,
        labels=np.array([position[items[row][1].name] for row in rows], np.int32),
        splits=np.array([SPLITS.index(items[row][1].split) for row in rows], np.int8),
        names=tuple(items[row][0].name for row in rows),
        class_names=class_names,
        source_sizes=result.sizes[rows],
        notes=tuple(notes),
    )
    return Read(
        faces=faces,
        bad=tuple(sorted(bad, key=lambda item: natural(item[0]))),
        kind=kind,
        container=container.kind,
        pictures={items[row][0].name: picture for row, picture in result.pictures.items()},
    )


def _check_several(class_names: Sequence[str]) -> None:
    """Raise where all images are of one class, which is none then."""
    if len(class_names) == 1:
        raise DataError(
            f"expected several classes, got images in folders called "
            f"{printable(class_names[0], 80)!r} alone: put each class in a folder of its own, or a "
            "list of the images with their labels beside them"
        )


def _no_images(container: Container, images: Sequence[Member]) -> list[str]:
    """Return a note on the files of a container that are none of its images."""
    names = {member.name for member in images}
    left_out = [member.name for member in container.members if member.name not in names]
    if not left_out:
        return []
    example = printable(left_out[0], 100)
    return [f"files that are no images are left out: {len(left_out):,}, such as {example}"]


def _without_repeated(
    container: Container, members: Sequence[Member]
) -> tuple[Sequence[Member], list[str]]:
    """Return images but for those that lie a second time in a folder in itself, and a note.

    Kaggle has an archive of FER2013 with images/train/ and once more images/images/train/.
    """
    by_name = {member.name: member for member in members}
    repeated = []
    for member in members:
        path = member.name.split("/")
        for i, (outer, inner) in enumerate(pairwise(path[:-1])):
            once = by_name.get("/".join([*path[:i], *path[i + 1 :]]))
            says_nothing = split_names.parts(outer) == (None, "") and not outer.isdecimal()
            if outer != inner or not says_nothing or once is None:
                continue
            if _size(container, once) == _size(container, member):
                repeated.append(member.name)
                break
    if not repeated:
        return members, []
    example = printable(repeated[0], 100)
    note = f"{len(repeated):,} images lie in the source twice and are taken once, such as {example}"
    gone = set(repeated)
    return [member for member in members if member.name not in gone], [note]


def _without_made(
    container: Container, members: Sequence[Member]
) -> tuple[Sequence[Member], list[str]]:
    """Return photographs without what `ferjax faces` made of them, and a note.

    Where all images are such, they are what is meant.
    """

    def is_made(member: Member) -> bool:
        try:
            return is_marked(container.read(member))
        except DataError:
            return False

    named = [member for member in members if has_made_name(member.name)]
    made = {member.name for member in container.in_order(named) if is_made(member)}
    if not made or len(made) == len(members):
        return members, []
    example = printable(next(member.name for member in named if member.name in made), 100)
    note = f"drawings and crops by `ferjax faces` are left out: {len(made):,}, such as {example}"
    return [member for member in members if member.name not in made], [note]


def _size(container: Container, member: Member) -> int | None:
    path = container.path(member)
    return member.size if path is None else os.path.getsize(path)


def _layout(
    container: Container, members: Sequence[Member], options: Options
) -> tuple[Layout, bool]:
    """Return what the folders say, or a list where they name no classes, and whether it is one."""
    paths = [tuple(member.name.split("/")[:-1]) for member in members]
    problem: DataError | None = None
    layout = None
    try:
        layout = folders.layout(paths, options.classes_level)
        if len({place.name for place in layout.places if isinstance(place, Place)}) > 1:
            return layout, False
    except DataError as error:
        problem = error
    if options.classes_level is None:
        by_list = image_lists.layout_of(container, members, options.labels)
        if by_list is not None:
            return by_list, True
    if layout is None:
        raise problem or DataError("no class folders")
    return layout, False


_Placed = dict[Member, Place]


def _named(placed: _Placed, labels: NumberNames | None) -> tuple[_Placed, list[str]]:
    """Return the images with names for class folders that are numbers, and notes.

    Raises DataError where the names are not known, or not asked for.
    """
    folders_of = [place.name for place in placed.values()]
    if not placed or not all(map(str.isdecimal, folders_of)):
        if labels is not None and placed:
            raise DataError(
                f"labels are for numbers; the class folders have names, such as {folders_of[0]!r}"
            )
        return placed, []
    numbers = Counter(map(int, folders_of))
    order = labels or class_numbers.order_by_counts(numbers)
    if order is None:
        raise class_numbers.question(numbers, "the class folders")
    names = class_numbers.names_of(numbers, order)
    if missing := sorted(set(numbers) - set(names)):
        raise DataError(f"labels name {len(names)} classes, and none is number {missing[0]}")
    notes = [f"class folders are numbered in the order {order}, by how many images each has"]
    named = {m: replace(place, name=names[int(place.name)]) for m, place in placed.items()}
    return named, [] if labels else notes


def _usages(placed: _Placed, layout: Layout) -> tuple[str, _Placed, list[str]]:
    """Return the kind of source, the images with the mirror's splits in their names, and notes."""
    files = {member: member.name.split("/")[-1] for member in placed}
    if not {place.name for place in placed.values()} <= set(EMOTIONS):
        return "folders", placed, [*layout.notes]
    usages = {member: mirror_split(file) for member, file in files.items()}
    if not any(usages.values()):
        kaggle = (
            {place.folder for place in placed.values()} <= _KAGGLE_CLASSES
            and layout.has_splits
            and {place.split for place in placed.values()} <= {"train", "test"}
            and all(map(_KAGGLE_FILE.fullmatch, files.values()))
        )
        return "kaggle" if kaggle else "folders", placed, [*layout.notes]
    by_name = {m: replace(place, split=usages[m] or place.split) for m, place in placed.items()}
    if not layout.has_splits:
        return "mirror", by_name, []
    # The mirror has PublicTest and PrivateTest in one folder; whoever moved files to other splits
    # meant it.
    usual = {*zip(SPLITS, SPLITS), ("test", "validation")}
    moved = [m.name for m, place in placed.items() if (place.split, by_name[m].split) not in usual]
    if not moved:
        return "mirror", by_name, [*layout.notes]
    note = (
        f"{len(moved):,} files lie in other splits than their names say, such as "
        f"{printable(moved[0], 100)}: the folders count"
    )
    return "mirror", placed, [*layout.notes, note]


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
        if len(batch) == BATCH or total >= BATCH_BYTES:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch
