"""Small stand-ins for FER2013 and FER+: all rows, next to no pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ferjax.data import fer2013
from ferjax.data.dataset import SPLITS, Faces
from ferjax.data.votes_files import FERPLUS
from ferjax.emotions import EMOTIONS, FER2013_CSV_ORDER

HEADER = (
    "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
)


def votes_of_rows() -> np.ndarray:
    """Return ten votes a row, (35887, 10): seven for its label, three that tell rows apart."""
    counts = np.zeros((fer2013.ROWS, 10), np.int64)
    column = np.array([FERPLUS.index(name) for name in EMOTIONS])
    rows = np.arange(fer2013.ROWS)
    counts[rows, column[fer2013.row_labels()]] = 7
    for digit in range(3):
        np.add.at(counts, (rows, rows // 10**digit % 10), 1)
    return counts


def ferplus_lines() -> list[str]:
    """Return the lines of a table as FER+'s."""
    usages = np.repeat(fer2013.PARTS, list(fer2013.SIZES.values()))
    return [
        HEADER,
        *(
            f"{usage},fer{row:07d}.png,{','.join(map(str, counts))}"
            for row, (usage, counts) in enumerate(zip(usages, votes_of_rows().tolist()))
        ),
    ]


def csv_lines(*, usage: bool = True) -> list[str]:
    """Return the lines of fer2013.csv, of 2x2 pixels."""
    usages = np.repeat(fer2013.PARTS, list(fer2013.SIZES.values()))
    digits = [FER2013_CSV_ORDER.index(EMOTIONS[label]) for label in fer2013.row_labels()]
    return [
        f"emotion,pixels{',Usage' * usage}",
        *(
            f"{digit},{row % 256} {row // 256} 0 1{f',{part}' * usage}"
            for row, (digit, part) in enumerate(zip(digits, usages))
        ),
    ]


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def kaggle(parts: dict[str, tuple[str, ...]]) -> tuple[Faces, np.ndarray]:
    """Return the faces of Kaggle's archive without pixels, and the row of each.

    Args:
        parts: FER2013's parts that each split holds, such as {"train": ("Training",)}.
    """
    labels, splits, names, rows = [], [], [], []
    for split, inside in parts.items():
        known = fer2013.rows_of(inside)
        for label, name in enumerate(EMOTIONS):
            of_class = known[fer2013.row_labels()[known] == label]
            labels += [label] * len(of_class)
            splits += [SPLITS.index(split)] * len(of_class)
            names += [f"{split}/{name}/im{k}.png" for k in range(len(of_class))]
            rows += of_class.tolist()
    faces = faces_of(np.array(labels), np.array(splits), names)
    order = np.random.default_rng(0).permutation(len(faces))  # the source's order says nothing
    return faces.take(order), np.array(rows)[order]


def faces_of(labels: np.ndarray, splits: np.ndarray | int, names: list[str]) -> Faces:
    n = len(labels)
    return Faces(
        images=np.zeros((n, 1, 1), np.uint8),
        labels=labels.astype(np.int32),
        splits=np.broadcast_to(np.asarray(splits, np.int8), (n,)).copy(),
        names=tuple(names),
        class_names=EMOTIONS,
        source_sizes=np.ones((n, 2), np.int32),
    )
