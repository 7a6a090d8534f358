"""A folder of small photographs, as runs over many find it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ..conftest import ROOT

FACE = cv2.imread(str(ROOT / "examples" / "astronaut.png"))


def write_photographs(folder: Path) -> Path:
    """Make a folder: one face, two, none, one that cannot be read, no photograph."""
    (folder / "sub").mkdir(parents=True)
    for name, image in (
        ("one.png", FACE),
        ("sub/two.png", np.hstack([FACE, FACE])),
        ("none.png", np.full((48, 64, 3), 128, np.uint8)),
    ):
        assert cv2.imwrite(str(folder / name), image)
    (folder / "empty.jpg").touch()
    (folder / "notes.txt").write_text("no photograph by its name")
    return folder
