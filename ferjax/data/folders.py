"""Which folders of a source are its classes and which its splits; told by structure and by words.

<split>/<class>/<image> is the usual form, and people have many others: FER2013Train/happy/...,
train/images/happy/..., happy/train/..., fold_0/happy/..., happy/session1/.... The folders that hold
emotions are the classes; where none does, the level whose names are neither splits nor groups of
images. What cannot be told is refused: splits must not become classes without a word.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ferjax.data import split_names
from ferjax.data.class_names import emotion_of
from ferjax.errors import DataError, printable

Folders = tuple[str, ...]  # names of the folders that lead to an image, outermost first

# Folders of images by person, fold or session; never classes.
_GROUP: Final = re.compile(
    r"(?:fold|kfold|k|cv|subject|subj|sub|s|person|actor|participant|user|id|part|p|set|batch|"
    r"session|sess|day|group|chunk|cam|camera|video|vid|clip|seq|sequence|take|run|trial|round|"
    r"shard|volume|vol|disk|section|block|frames?|split|source)"
    r"(?:[\s_.-]*[0-9]+|[\s_.-]+(?:[a-z]|[ivx]+))"
    r"|[0-9]{2,4}[_.-][0-9]{1,2}(?:[_.-][0-9]{1,4})?",
    re.IGNORECASE,
)
_FOLD: Final = re.compile(r"(?:k?-?fold|cv|split|run|trial)[\s_.-]*[0-9]+", re.IGNORECASE)
_CLASS: Final = re.compile(
    r"(?:class|category|label|emotion|expression)[\s_.-]*[0-9]", re.IGNORECASE
)
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_SHOWN: Final = 3  # names in a message
_RENAME: Final = "give --classes-level (classes_level=) the level of the classes"


@dataclass(frozen=True, kw_only=True)
class Place:
    """What the folders of an image say of it."""

    split: str  # one of `SPLITS`
    folder: str  # its class folder
    name: str  # the class that this folder stands for


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the folders of all images say.

    Attributes:
        places: for each image its place, or why it has none.
        has_splits: whether folders say what is train, validation and test.
        notes: what was assumed.
    """

    places: list[Place | str]
    has_splits: bool
    notes: tuple[str, ...]


def layout(paths: Sequence[Folders], classes_level: int | None = None) -> Layout:
    """Return the class and the split of each image, from the folders that lead to it.

    Args:
        paths: the folders of each image, outermost first.
        classes_level: which of them is the class, 1 for the outermost; None: told by structure.

    Raises:
        DataError: the classes cannot be told.
    """
    plain = _without_repeated(paths)
    paths = [plain[path] for path in paths]
    unique = list(dict.fromkeys(paths))
    if classes_level is None:
        classes = _by_emotions(unique) or _by_structure(unique)
    else:
        classes = {path: classes_level - 1 for path in unique if len(path) >= classes_level > 0}
        if not classes:
            deepest = max(map(len, unique), default=0)
            raise DataError(
                f"expected 1 to {deepest} for --classes-level (classes_level=), the folders that "
                f"lead to an image, got {classes_level}"
            )
    splits, unexplained = _splits(classes)
    has_splits = any(splits.values())
    outermost = split_names.splits_of({path[0] for path in unique if path})
    expected = "expected <class>/<image>"
    if has_splits or any(outermost.values()):
        expected = "expected <split>/<class>/<image> with train, validation or test for <split>"
    names = _names(classes)
    table: dict[Folders, Place | str] = dict.fromkeys(unique, expected)
    for path, level in classes.items():
        split = splits[path] if has_splits else "train"
        if split is not None:
            table[path] = Place(split=split, folder=path[level], name=names[path[level]])
    notes = []
    if unexplained and has_splits:
        notes.append(f"the folders {unexplained} are taken for neither splits nor classes")
    elif unexplained:
        notes.append(f"the folders {unexplained} are no splits: all images are in train")
    elif classes and not has_splits:
        notes.append("there are no split folders such as train and test: all images are in train")
    return Layout(places=[table[path] for path in paths], has_splits=has_splits, notes=tuple(notes))


def _without_repeated(paths: Iterable[Folders]) -> dict[Folders, Folders]:
    """Return paths without what names of emotions repeat: aia/aia_anger and aia/aia_joy.

    Those are the words of the folder around them, or words that all of them have.
    """
    unique = list(dict.fromkeys(paths))
    dropped: dict[Folders, set[str]] = {}
    for parent, names in _children(unique).items():
        shared = set.intersection(*map(_words, names)) if len(names) > 1 else set()
        for words in (shared, _words(parent[-1]) if parent else set()):
            emotions = {emotion_of(_without(name, words)) for name in names} - {None}
            before = {emotion_of(name) for name in names} - {None}
            if len(emotions) > max(1, len(before)) and not words & {"not", "no", "non", "un"}:
                dropped[parent] = words
                break
    return {
        path: tuple(
            _without(name, dropped[path[:level]]) if path[:level] in dropped else name.strip()
            for level, name in enumerate(path)
        )
        for path in unique
    }


def _children(paths: Iterable[Folders]) -> dict[Folders, set[str]]:
    """Return the names of the folders in each folder that leads to an image."""
    children: defaultdict[Folders, set[str]] = defaultdict(set)
    for path in paths:
        for level, name in enumerate(path):
            children[path[:level]].add(name)
    return children


def _words(name: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", name.lower()))


def _without(name: str, words: set[str]) -> str:
    left = [word for word in re.findall(r"[^\W_]+", name) if word.lower() not in words]
    return " ".join(left) if left and len(left) < len(_words(name)) else name.strip()


def _names(classes: dict[Folders, int]) -> dict[str, str]:
    """Return what class each class folder stands for."""
    folders = {path[level] for path, level in classes.items()}
    combined = _combined(folders)
    return {
        folder: emotion_of(folder) or (split_names.parts(folder)[1] if combined else folder)
        for folder in folders
    }


def _combined(folders: Collection[str]) -> bool:
    """Whether names are a class and a split together: glad_train, glad_test, cross_train."""
    splits, classes = zip(*map(split_names.parts, folders)) if folders else ((), ())
    if not all(splits) or not all(classes):
        return False
    return len(set(splits)) > 1 and 1 < len(set(classes)) < len(classes)


# --- splits --------------------------------------------------------------------------------------


def _splits(classes: dict[Folders, int]) -> tuple[dict[Folders, str | None], str]:
    """Return the split of each path, None for none, and the folders that are no splits, listed."""
    split_levels: list[dict[Folders, str | None]] = []
    unexplained: list[str] = []
    folds: dict[Folders, str] = {}
    for below, level in _levels(classes):
        names = set(level.values())
        splits = split_names.splits_of(names)
        # In a class's folder a name or two that look like splits are names.
        if any(splits.values()) and not (below and not all(splits.values())):
            split_levels.append({path: splits[name] for path, name in level.items()})
        elif not below and len(names) > 1:
            unexplained += sorted(names)
            if all(map(_FOLD.fullmatch, names)):
                folds = level
    folders = {path[at] for path, at in classes.items()}
    all_say_both = all(split_names.parts(folder)[0] and emotion_of(folder) for folder in folders)
    if not split_levels and (_combined(folders) or all_say_both):
        split_levels = [{path: split_names.parts(path[at])[0] for path, at in classes.items()}]
    # A folder around all splits may be called train too.
    several = [level for level in split_levels if len(set(level.values())) > 1] or split_levels
    by_path = {path: [level[path] for level in several if path in level] for path in classes}
    by_fold: defaultdict[str, set[str | None]] = defaultdict(set)
    for path, fold in folds.items():
        by_fold[fold].update(by_path[path])
    if sum(len(splits) > 1 for splits in by_fold.values()) > 1:
        raise DataError(
            f"{_listed(sorted(by_fold))} are folds, and what one trains on another tests on: name "
            "one of them"
        )
    return {path: _agreed(splits) for path, splits in by_path.items()}, _listed(unexplained)


def _levels(classes: dict[Folders, int]) -> list[tuple[bool, dict[Folders, str]]]:
    """Return the levels of folders but for the classes: whether one lies below them, and its names.

    Levels above the classes are counted from the outermost, those below from the class.
    """
    levels: defaultdict[tuple[bool, int], dict[Folders, str]] = defaultdict(dict)
    for path, at in classes.items():
        for level, name in enumerate(path):
            if level != at:
                levels[level > at, level - at if level > at else level][path] = name
    return [(key[0], levels[key]) for key in sorted(levels)]


def _agreed(by_level: Sequence[str | None]) -> str | None:
    """Return the split that levels say together: train/val is validation, train/test none."""
    splits = list(dict.fromkeys(by_level))
    if len(splits) == 2 and splits[1] == "validation" and splits[0] is not None:
        return "validation"
    return splits[0] if len(splits) == 1 else None


# --- classes -------------------------------------------------------------------------------------


def _by_emotions(paths: Sequence[Folders]) -> dict[Folders, int]:
    """Return the level of the emotions in each path; nothing where they are not the classes.

    Folders beside emotions are classes of their own, such as contempt.
    """
    children = _children(paths)
    classes: dict[Folders, int] = {}
    for path in paths:
        levels = [level for level, name in enumerate(path) if emotion_of(name)]
        # A folder around everything may be called by an emotion.
        while len(levels) > 1 and len(children[path[: levels[0]]]) == 1:
            levels.pop(0)
        if len({emotion_of(path[level]) for level in levels}) > 1:
            raise DataError(
                f"{_shown('/'.join(path))}: {_shown(path[levels[0]])!r} and "
                f"{_shown(path[levels[1]])!r} are emotions both; {_RENAME}"
            )
        if levels:
            classes[path] = levels[0]
    parents = {path[:level] for path, level in classes.items()}
    own: set[str] = set()
    for path in paths:
        beside = [level for level in range(len(path)) if path[:level] in parents]
        if path not in classes and beside and not split_names.split_of(path[beside[0]]):
            classes[path] = beside[0]
            own.add(path[beside[0]])
    for path in paths:
        own_levels = [level for level, name in enumerate(path) if name in own]
        if path not in classes and own_levels:
            classes[path] = own_levels[0]
    emotions = {emotion_of(path[level]) for path, level in classes.items()} - {None}
    if len(emotions) < 2 and (own or any(_are_names(set(x.values())) for _, x in _levels(classes))):
        return {}  # such as glad/neutral and grumpy/neutral
    return classes


def _by_structure(paths: Sequence[Folders]) -> dict[Folders, int]:
    """Return the level of each path that holds the classes, where names do not tell.

    Raises DataError where the structure does not tell either.
    """
    plain = _without_wrappers(paths)
    first = level = 0  # the outermost level that may hold the classes
    while names := {levels[level][1] for levels in plain.values() if len(levels) > level}:
        is_split = any(split_names.splits_of(names).values()) and not _combined(names)
        inside = any(len(levels) > level + 1 for levels in plain.values())
        if not is_split and (len(names) > 1 or not inside):
            break
        level += 1
        first = level
    deep = {path: levels for path, levels in plain.items() if len(levels) > first}
    if not deep:
        return {}
    chosen = _class_level(deep, range(first, min(map(len, deep.values()))))
    return {path: levels[chosen][0] for path, levels in deep.items()}


def _without_wrappers(paths: Sequence[Folders]) -> dict[Folders, list[tuple[int, str]]]:
    """Return the levels of each path and their names, without folders that say nothing.

    Those are the only thing in a folder, hold folders alone, and are called images, or once more
    like a split: train/images/..., train/train/....
    """
    children = _children(paths)
    with_images = set(paths)

    def says_nothing(path: Folders, level: int) -> bool:
        inner = path[: level + 1]
        if len(children[path[:level]]) > 1 or path[:level] in with_images or inner in with_images:
            return False
        split, words = split_names.parts(path[level])
        outer = {split_names.parts(name)[0] for name in path[:level]}
        return not (words or _NUMBER.fullmatch(path[level])) and (split is None or split in outer)

    return {
        path: [(i, name) for i, name in enumerate(path) if not says_nothing(path, i)]
        for path in paths
    }


def _class_level(paths: dict[Folders, list[tuple[int, str]]], levels: Iterable[int]) -> int:
    """Return which of several levels of folders holds the classes."""
    names = {i: {path[i][1] for path in paths.values()} for i in levels}
    unsplit = [i for i in names if not all(split_names.splits_of(names[i]).values())]
    several = [i for i in unsplit if len(names[i]) > 1]
    if not several:
        return (unsplit or list(names))[0]
    named = [i for i in several if _are_names(names[i])]
    numbers = [i for i in several if all(map(_NUMBER.fullmatch, names[i]))]
    numbered = [i for i in numbers if _numbered(names[i])]
    undecided = any(_grid(paths, named[0], lower) for lower in named[1:])
    if named and numbered:
        # Numbers in folders of names may be sessions of a class, or labels of a person.
        has_zero = "0" in names[numbered[0]]
        undecided |= numbered[0] < named[0] or (has_zero and _grid(paths, named[0], numbered[0]))
    if named and not undecided:
        return named[0]
    if not named and len(numbered or numbers) == 1:
        return (numbered or numbers)[0]
    if len(several) == 1:
        raise DataError(
            f"the folders {_listed(sorted(names[several[0]]))} are groups of images, not classes, "
            f"and hold no class folders; expected <split>/<class>/<image>, or {_RENAME}"
        )
    path = next(iter(paths.values()))
    seen = [f"level {path[i][0] + 1} has {_listed(sorted(names[i]))}" for i in several]
    raise DataError(f"which folders are the classes? {'; '.join(seen)}; {_RENAME}")


def _are_names(names: Collection[str]) -> bool:
    """Whether there are several names, and they may be those of classes."""
    return (
        len(names) > 1
        and not all(split_names.splits_of(names).values())
        and not all(map(_GROUP.fullmatch, names))
        and any(split_names.parts(name)[1] or _CLASS.match(name) for name in names)
    )


def _numbered(names: Collection[str]) -> bool:
    """Whether names are numbers as those of classes: 0 to 6, 1 to 7."""
    values = sorted(map(int, names))
    start = values[0]
    return (
        start in (0, 1) and values == list(range(start, start + len(values))) and len(values) < 11
    )


def _grid(paths: dict[Folders, list[tuple[int, str]]], upper: int, lower: int) -> bool:
    """Whether the same names of the lower level lie under different ones of the upper."""
    over: defaultdict[str, set[str]] = defaultdict(set)
    for levels in paths.values():
        over[levels[lower][1]].add(levels[upper][1])
    return 2 * sum(len(names) > 1 for names in over.values()) >= len(over)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(_shown, names[:_SHOWN]))
    return f"{shown} and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else shown


def _shown(name: str) -> str:
    return printable(name, 40)
