"""What no weights can do is said in the same words everywhere."""

from __future__ import annotations

import re
from pathlib import Path

from ferjax import limits

ROOT = Path(__file__).parents[1]


def words(path: str) -> str:
    return " ".join((ROOT / path).read_text(encoding="utf-8").split())


def test_people() -> None:
    assert limits.of_people(None) == "For whom it fails more often is not known."
    assert limits.of_people("FER2013, Training").endswith("no attributes of the people on it.")


def test_the_readme_has_the_sizes_of_faces() -> None:
    said = words("README.md").partition("## Limits and intended use")[2]
    sizes = re.search(
        r"Faces in photographs need about (\d+) pixels .* of about (\d+) pixels", said
    )
    assert sizes is not None and [*map(int, sizes.groups())] == [limits.SMALLEST, limits.UNSEEN]


def test_the_page_says_what_a_class_is() -> None:
    said, _, _ = limits.GUESS.partition(" for a face in")
    assert said in words("ferjax/web/page/index.html")


def test_the_model_card_has_the_limits() -> None:
    for sentence in (limits.POSED, limits.CROPPED, limits.of_classes("1234567")):
        assert f"- {sentence}" in words("MODEL_CARD.md")
