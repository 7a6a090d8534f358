"""Read images whose folders, and at times whose names, say their class and split."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np

from ferjax.data import folders, image_lists, numbering, split_names
from ferjax.data.class_names import classes_in_order
from ferjax.data.containers import Container, Member
from ferjax.data.dataset import SPLITS, Faces
from ferjax.data.folders import Layout, Place
from ferjax.data.numbering import NumberNames
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


@dataclass(frozen=True)
class _Item:
    """An image and what its folders say of it."""

    member: Member
    place: Place


def read_images(container: Container, members: Sequence[Member], options: Options) -> Read:
    """Read images in class folders, or with a list of their labels.

    Raises:
        DataError: neither tells the classes.
    """
    everything = members
    members, repeated = _without_repeated(container, members)
    if options.find_faces is not None:
        members, made = _without_made(container, members)
        repeated += made
    layout, listed = _layout(container, members, options)
    items = [_Item(m, p) for m, p in zip(members, layout.places) if not isinstance(p, str)]
    bad = [*container.bad]
    bad += [(m.name, p) for m, p in zip(members, layout.places) if isinstance(p, str)]
    items, number_notes = (items, []) if listed else _named(items, options.labels)
    kind, items, notes = _usages(items, layout)
    notes += [*repeated, *number_notes]
    class_names, position, bad_classes = classes_in_order({item.place.name for item in items})
    if len(class_names) == 1:
        raise DataError(
            f"expected several classes, got images in folders called "
            f"{printable(class_names[0], 80)!r} alone: put each class in a folder of its own, or a "
            "list of the images with their labels beside them"
        )
    bad += [
        (x.member.name, bad_classes[x.place.name]) for x in items if x.place.name in bad_classes
    ]
    items = [item for item in items if item.place.name not in bad_classes]

    reasons: dict[int, str] = {}
    result = decoded(
        _batches(container, [item.member for item in items], reasons), len(items), options
    )
    reasons |= result.reasons
    notes += result.notes
    bad += [(items[row].member.name, reason) for row, reason in reasons.items()]
    pictures = {items[row].member.name: picture for row, picture in result.pictures.items()}
    images, sizes = result.images, result.sizes
    if left_out := reasons.keys() | result.left_out:
        good = [row for row in range(len(items)) if row not in left_out]
        images, sizes = images[good], sizes[good]
        items = [items[row] for row in good]
    if len(container.members) > len(everything):
        known = {member.name for member in everything}
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
    return Read(faces=faces, bad=tuple(bad), kind=kind, container=container.kind, pictures=pictures)


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
    such = printable(repeated[0], 100)
    note = f"{len(repeated):,} images lie in the source twice and are taken once, such as {such}"
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
    such = printable(next(member.name for member in named if member.name in made), 100)
    note = f"drawings and crops by `ferjax faces` are left out: {len(made):,}, such as {such}"
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


def _named(items: list[_Item], labels: NumberNames | None) -> tuple[list[_Item], list[str]]:
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
    usages = [mirror_split(file) for file in files]
    if not any(usages):
        kaggle = (
            {item.place.folder for item in items} <= _KAGGLE_CLASSES
            and layout.has_splits
            and {item.place.split for item in items} <= {"train", "test"}
            and all(map(_KAGGLE_FILE.fullmatch, files))
        )
        return "kaggle" if kaggle else "folders", items, notes
    named = [
        replace(item, place=replace(item.place, split=usage)) if usage else item
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
