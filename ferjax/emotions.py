"""The seven emotions: their names, their order in the network's output, other orders in use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Final

from ferjax.errors import LabelsError, near_misses

# The order of the network's outputs: the dataset's folder names, sorted.
EMOTIONS: Final[tuple[str, ...]] = (
    "angry",
    "disgust",
    "fear",
    "happy",
    "neutral",
    "sad",
    "surprise",
)

# The order of the ids 0 to 6 in fer2013.csv and icml_face_data.csv. Not the output order.
FER2013_CSV_ORDER: Final[tuple[str, ...]] = (
    "angry",
    "disgust",
    "fear",
    "happy",
    "sad",
    "surprise",
    "neutral",
)

# Other names in use: folders of the Kaggle archive, then nouns and adjectives of other datasets.
ALIASES: Final[dict[str, str]] = {
    "disgusted": "disgust",
    "fearful": "fear",
    "surprised": "surprise",
    "anger": "angry",
    "happiness": "happy",
    "neutrality": "neutral",
    "sadness": "sad",
}


def canonical(name: str) -> str:
    """Return the emotion that `name` stands for, one of `EMOTIONS`.

    Case and surrounding spaces do not matter. Raises LabelsError, with near misses, for any other
    name.

    >>> canonical("Fearful")
    'fear'
    """
    if not isinstance(name, str):
        raise LabelsError(f"expected an emotion's name, got {type(name).__name__}")
    key = name.strip().lower()
    key = ALIASES.get(key, key)
    if key in EMOTIONS:
        return key
    close = near_misses(key, (*EMOTIONS, *ALIASES))
    known = ", ".join(EMOTIONS)
    raise LabelsError(f"unknown emotion {name[:100]!r}; expected one of {known}{close}")


def checked_labels(labels: Sequence[str], classes: int | None) -> list[str]:
    """Return label names of any kind as a list, once there are `classes` different ones.

    Raises LabelsError where there are not.
    """
    # Sets and mappings have no order that could be the output's.
    in_order = isinstance(labels, Iterable) and not isinstance(labels, str | Set | Mapping)
    if not in_order or not all(isinstance(label, str) for label in labels):
        raise LabelsError(f"expected a list of label names, got {labels!r}")
    if len(labels) != classes or len(set(labels)) != classes:
        raise LabelsError(
            f"expected {classes} different labels in output order, got {len(labels)}: "
            f"{', '.join(labels)}"
        )
    return list(labels)
