"""What the names of classes stand for, as folders and tables have them, and their order."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

from ferjax.data import split_names
from ferjax.emotions import ALIASES, EMOTIONS, canonical
from ferjax.errors import LabelsError, near_misses


@lru_cache(maxsize=4096)
def emotion_of(name: str) -> str | None:
    """Return the emotion that a name stands for, whatever else it says: one of `EMOTIONS`, or None.

    >>> emotion_of("Fearful"), emotion_of("0_angry"), emotion_of("happy_train"), emotion_of("glad")
    ('fear', 'angry', 'happy', None)
    """
    for text in (name, split_names.parts(name)[1]):
        try:
            return canonical(text)
        except LabelsError:
            pass
    return None


def classes_in_order(
    names: Collection[str],
) -> tuple[tuple[str, ...], dict[str, int], dict[str, str]]:
    """Return the class names in output order, the position of each, and names that are no class."""
    slips = {}
    emotions = set(names) & set(EMOTIONS)
    if emotions:
        # A name beside emotions may be a class of its own, such as contempt. If it all but is the
        # name of an emotion that is missing, it is a slip.
        absent = [name for name in (*EMOTIONS, *ALIASES) if canonical(name) not in emotions]
        for name in set(names) - emotions:
            if close := near_misses(name.lower(), absent):
                slips[name] = f"unknown class {name[:40]!r}{close}"
    good = sorted(set(names) - set(slips))
    class_names = EMOTIONS if emotions and emotions == set(good) else tuple(good)
    return class_names, {name: i for i, name in enumerate(class_names)}, slips
