"""Photographs and a small network for what is done on several processes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import ferjax
from ferjax import EmotionClassifier

ROOT = Path(__file__).parents[2]
FACE = cv2.imread(str(ROOT / "examples" / "astronaut.png"))


@pytest.fixture
def classifier(source: Path) -> EmotionClassifier:
    """A network of 12x12x1 and seven classes."""
    return ferjax.load(source, labels=list("abcdefg"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder: one face, two, none, two that cannot be read, no photograph."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name, image in (
        ("one.png", FACE),
        ("sub/two.png", np.hstack([FACE, FACE])),
        ("none.png", np.full((48, 64, 3), 128, np.uint8)),
    ):
        assert cv2.imwrite(str(folder / name), image)
    whole = (folder / "one.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").touch()
    (folder / "notes.txt").write_text("no photograph by its name")
    return folder
