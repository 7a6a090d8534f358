"""Photographs and a small network for what is done on several processes."""

from __future__ import annotations

from pathlib import Path

import pytest

import ferjax
from ferjax import EmotionClassifier

from .photographs import write_photographs


@pytest.fixture
def classifier(source: Path) -> EmotionClassifier:
    """A network of 12x12x1 and seven classes."""
    return ferjax.load(source, labels=list("abcdefg"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """The folder, and in it another photograph that cannot be read: half of one."""
    folder = write_photographs(tmp_path / "photos")
    whole = (folder / "one.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    return folder
