"""Images whose labels stand in a list beside them: a file's name and its label a line.

RAF-DB's list_patition_label.txt is such a list, and train_labels.csv of many datasets.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePosixPath
from typing import Final

from ferjax.data import class_numbers, csv_dialect, split_names
from ferjax.data.containers import Container, Member
from ferjax.data.csv_dialect import LABELS, USAGES, fields_of, first_of, line_of, plain
from ferjax.data.folders import Layout, Place
from ferjax.data.reading import checked_row, opened_member, suffix
from ferjax.errors import DataError, printable
from ferjax.image_files import IMAGE_SUFFIXES

MAX_FILES: Final = 20
MAX_LINES: Final = 2_000_000

_SUFFIXES: Final = (".csv", ".tsv", ".txt", ".lst")
NAMES: Final = (
    "image images img imgs imagename imgname imagefile imgfile imagepath imgpath imageid imgid "
    "filename filenames file filepath path pth fname name pic picture subdirectoryfilepath"
).split()
_ALIGNED: Final = re.compile(r"_(?:aligned|cropped|crop|face)$")  # RAF-DB's images, not its list


@dataclass(frozen=True)
class _Line:
    """A line of a list: the name of an image, its label, and the split where one is said."""

    name: str
    label: str
    usage: str | None


@dataclass(frozen=True)
class _List:
    """A list of images and labels."""

    member: Member
    label_name: str
    lines: list[_Line]


def layout_of(
    container: Container, images: Sequence[Member], labels: class_numbers.NumberNames | None
) -> Layout | None:
    """Return the classes and splits of images by the lists beside them; None without such lists.

    Raises:
        DataError: numbers need `labels`.
    """
    stems = {PurePosixPath(member.name).stem for member in images}
    files = [member for member in container.members if suffix(member) in _SUFFIXES]
    if len(files) > MAX_FILES:  # such as a text for each image
        return None
    lists = list(filter(None, (_read(container, m, stems) for m in container.in_order(files))))
    if not lists:
        return None
    index = Index(member.name for member in images)
    of_lists = split_names.splits_of(PurePosixPath(table.member.name).stem for table in lists)
    lines: dict[str, tuple[_Line, str | None]] = {}  # by the image's name
    for table in lists:
        split = of_lists[PurePosixPath(table.member.name).stem]
        for line in table.lines:
            for name in index.names_of(line.name, split):
                lines[name] = (line, split)
    classes, bad, notes = class_numbers.classes_of(
        [line.label for line, _ in lines.values()], labels, lists[0].label_name, ask=True
    )
    by_name = _splits_of_names([member.name for member in images])
    places: list[Place | str] = []
    for member in images:
        if member.name not in lines:
            places.append(f"not in {printable(lists[0].member.name, 60)}, which has the labels")
            continue
        line, split = lines[member.name]
        checked = checked_row(line.label, line.usage, lists[0].label_name)
        if line.label in bad or isinstance(checked, str):
            places.append(bad.get(line.label) or str(checked))
            continue
        split = split_names.split_of(line.usage) if line.usage is not None else split
        split = split or by_name.get(member.name, "train")
        name = classes[line.label]
        places.append(Place(split=split, folder=name, name=name))
    names = sorted(printable(table.member.name, 60) for table in lists)
    notes.append(f"labels are those in {', '.join(names)}")
    if {place.split for place in places if isinstance(place, Place)} == {"train"}:
        notes.append("neither the list nor names say train, validation or test: all are in train")
    return Layout(places=places, has_splits=True, notes=tuple(notes))


def _splits_of_names(names: Sequence[str]) -> Mapping[str, str]:
    """Return the splits of images by a folder of theirs, or by their own names: train_0001.jpg."""
    paths = {name: name.split("/") for name in names}
    for level in range(min(map(len, paths.values()), default=0)):
        sides = {name: split_names.parts(path[level])[0] for name, path in paths.items()}
        if all(sides.values()) and len(set(sides.values())) > 1:
            return {name: split for name, split in sides.items() if split}
    return {}


class Index:
    """Finds images by what a list calls them: a path, its end, or a name without its ending."""

    def __init__(self, images: Iterable[str]) -> None:
        self._names = set(images)
        self._by_stem: defaultdict[str, list[str]] = defaultdict(list)
        for name in sorted(self._names):
            stem = PurePosixPath(name).stem
            for key in {stem, _ALIGNED.sub("", stem)}:
                self._by_stem[key.lower()].append(name)

    def names_of(self, text: str, split: str | None = None) -> list[str]:
        """Return the images that a list's name means: one, or none where it may be several."""
        text = text.strip().replace("\\", "/").removeprefix("./")
        if text in self._names:
            return [text]
        *folders, file = text.split("/")
        ending = PurePosixPath(file).suffix.lower()
        stem = file[: -len(ending)] if ending in IMAGE_SUFFIXES else file
        names = self._by_stem.get(stem.lower(), [])
        if len(names) > 1 and folders:
            names = [name for name in names if name.split("/")[:-1][-len(folders) :] == folders]
        if len(names) > 1 and split:
            sides = {n: {split_names.parts(p)[0] for p in n.split("/")[:-1]} for n in names}
            names = [name for name in names if split in sides[name]]
        return names if len(names) == 1 else []


# --- lists ---------------------------------------------------------------------------------------


def _read(container: Container, member: Member, stems: set[str]) -> _List | None:
    """Return a list of images that are among `stems`, None for any other file."""
    with opened_member(container, member) as stream, csv_dialect.text_of(stream) as (text, _):
        try:
            lines = [line_of(text).rstrip("\n") for _ in range(2)]
        except DataError:
            return None
        tried = (
            (mark, _columns(lines[0], lines[1], mark, stems))
            for mark in (*csv_dialect.DELIMITERS, " ")
        )
        delimiter, columns = next((pair for pair in tried if pair[1]), ("", None))
        if columns is None:
            return None
        name, label, usage, has_header = columns
        label_name = fields_of(lines[0], delimiter)[label].strip() if has_header else member.name
        entries = []
        for line in chain(lines[has_header:], iter(lambda: line_of(text), "")):
            fields = fields_of(line.rstrip("\n"), delimiter)
            if line.strip() and len(fields) > max(name, label, usage or 0):
                used = None if usage is None else fields[usage]
                entries.append(_Line(fields[name], fields[label].strip(), used))
            if len(entries) > MAX_LINES:
                raise DataError(f"more than {MAX_LINES:,} lines; expected a dataset of faces")
    return _List(member, printable(label_name, 40), entries)


def _columns(
    first: str, second: str, delimiter: str, stems: set[str]
) -> tuple[int, int, int | None, bool] | None:
    """Return the columns of names, labels and splits, and whether the first line names them."""
    head, row = fields_of(first, delimiter), fields_of(second, delimiter)
    plain_head = [plain(field) for field in head]
    label, usage = first_of(LABELS, plain_head), first_of(USAGES, plain_head)
    names = [plain_head.index(name) for name in NAMES if name in plain_head]
    named = [i for i in names if i < len(row) and _is_name(row[i], stems)]
    if label is not None and named:
        return named[0], label, usage, True
    named = [i for i, field in enumerate(head) if _is_name(field, stems)]
    labels = [i for i, field in enumerate(head) if csv_dialect.may_be_label(field)]
    if len(named) == 1 and len(labels) == 1 and named != labels and len(head) < 4:
        return named[0], labels[0], None, False
    return None


def _is_name(field: str, stems: set[str]) -> bool:
    """Whether a field names an image."""
    path = PurePosixPath(field.strip().replace("\\", "/"))
    return path.suffix.lower() in IMAGE_SUFFIXES or (bool(path.name) and path.name in stems)
