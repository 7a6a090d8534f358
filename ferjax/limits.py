"""What no weights of expressions can do: as cards of weights, the page and the service say it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

SMALLEST: Final = 24  # pixels; smaller faces hardly show an expression
UNSEEN: Final = 11  # pixels; faces of so many and fewer are not found

GUESS: Final = (
    "A class is a guess at the word that an annotator would choose for a face in a photograph; it "
    "is no reading of what the person feels."
)
POSED: Final = (
    "Posed and searched-for expressions are easier than those of daily life; expect less outside."
)
CROPPED: Final = (
    "Exactly one face, cropped and upright, is expected; whatever else is put in gets a class as "
    "well."
)
SIZES: Final = (
    f"Faces need about {SMALLEST} pixels to show an expression; of about {UNSEEN} pixels and less "
    "they are not found."
)


def of_classes(labels: Sequence[str]) -> str:
    """Say what is beyond the classes.

    >>> of_classes(["happy", "sad"])
    '2 classes are all it knows: mixed, weak and other expressions are forced into them.'
    """
    return (
        f"{len(labels)} classes are all it knows: mixed, weak and other expressions are forced "
        "into them."
    )


def of_people(trained_on: str | None) -> str:
    """Say for whom the weights fail, which is known of none.

    Args:
        trained_on: the name of the data.
    """
    unknown = "For whom it fails more often is not known"
    if trained_on and "FER2013" in trained_on:
        return f"{unknown}: FER2013 has no attributes of the people on it."
    return f"{unknown}."
