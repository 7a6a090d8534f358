"""Who is in train, validation and test.

- `official`: FER2013's own parts: train, validation = PublicTest, test = PrivateTest.
- `card`: 80/10/10 of all images, drawn anew from a seed.

Dimension keys: N images, K classes, S splits.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from ferjax.data.dataset import SPLITS, Faces
from ferjax.data.fer2013 import FER2013_COUNTS
from ferjax.emotions import EMOTIONS, canonical
from ferjax.errors import LabelsError
from ferjax.image_files import natural

SCHEMES: Final = ("official", "card")

_PARTS: Final = dict(zip(SPLITS, FER2013_COUNTS))
_TRAIN, _VALIDATION, _TEST = range(3)


def official(faces: Faces, *, left_out: Sequence[str] = ()) -> Faces:
    """Return the faces in FER2013's official parts, or in the source's own splits for other data.

    Kaggle's archive has PublicTest and PrivateTest together in `test`: in each class PublicTest
    first. Where the numbers of images by class are FER2013's, that order tells the two apart; where
    they are not, the splits stay as the source has them. Faces must be as they were read: without
    some of them the order says nothing.

    Args:
        left_out: names of bad images that were left out while reading (`Read.bad`); they keep their
            place in the order.

    Returns:
        The same faces with other splits, and notes on what was recovered and what is missing.
    """
    splits = faces.splits.copy()
    notes = []
    counts = faces.counts
    if faces.class_names == EMOTIONS and counts[_TEST].any() and not counts[_VALIDATION].any():
        order = _test_order(faces, left_out)
        in_test = tuple(len(order[label]) for label in range(len(EMOTIONS)))
        public, private = FER2013_COUNTS["PublicTest"], FER2013_COUNTS["PrivateTest"]
        if in_test == tuple(a + b for a, b in zip(public, private)):
            for label, rows in order.items():
                splits[[row for row in rows[: public[label]] if row is not None]] = _VALIDATION
            notes.append("PublicTest (validation) and PrivateTest (test) told apart by their order")
        elif in_test == public:
            splits[splits == _TEST] = _VALIDATION
            notes.append("the source's test is PublicTest alone, by its counts: it is validation")
        elif in_test != private:
            notes.append("the source's test is not FER2013's, by its counts: it stays test")
    faces = replace(faces, splits=splits)
    return faces.with_notes(*notes, *_missing(faces))


def card(faces: Faces, *, seed: int = 0) -> Faces:
    """Return the faces split anew: 80 % train, 10 % validation, 10 % test of each class.

    The draw depends on pixels, labels and the seed alone: neither the machine, the versions of
    libraries nor the form and order of the source change it. Exact copies of an image stay in one
    split. Each class has 10 % of its images, rounded, in validation and as many in test, as far as
    copies that have to stay together allow.
    """
    groups: defaultdict[bytes, list[int]] = defaultdict(list)
    for row, digest in enumerate(faces.digests):
        groups[digest].append(row)

    counts = faces.counts.sum(0)
    tenth = (counts + 5) // 10
    room = np.stack([counts - 2 * tenth, tenth, tenth])  # (S, K), what each split still takes
    splits = np.zeros(len(faces), np.int8)

    def draw(digest: bytes) -> int:
        salted = f"ferjax card {seed:d} ".encode() + digest
        return int.from_bytes(hashlib.blake2b(salted, digest_size=8).digest(), "big")

    # Large groups first, while there is room for them anywhere; single images fill what is left.
    for digest, rows in sorted(groups.items(), key=lambda g: (-len(g[1]), draw(g[0]), g[0])):
        need = np.bincount(faces.labels[rows], minlength=len(counts))
        left = (room - need)[:, need > 0].min(1)  # (S,)
        order = [_VALIDATION, _TEST, _TRAIN]  # singles come shuffled: whom to fill first is free
        if len(rows) > 1:
            drawn = {0: _VALIDATION, 1: _TEST}.get(draw(digest + b"copies") % 10, _TRAIN)
            order = [drawn, _TRAIN, _VALIDATION, _TEST]
        split = next((s for s in order if left[s] >= 0), int(left.argmax()))
        splits[rows] = split
        room[split] -= need
    note = f"80/10/10 of all images by class, exact copies together, seed {seed:d}"
    faces = replace(faces, splits=splits)
    return faces.with_notes(note, *_missing(faces))


def fer2013_part(faces: Faces) -> str | None:
    """Return which part of FER2013 these faces are, by their counts: "Training", "PublicTest" or
    "PrivateTest"; None for any other images.
    """
    images = zip(faces.class_names, faces.counts.sum(0).tolist())
    # Faces with votes may have contempt too, which no label of FER2013 is.
    counts = {name: count for name, count in images if count or name in EMOTIONS}
    parts = FER2013_COUNTS.items()
    return next((part for part, usual in parts if dict(zip(EMOTIONS, usual)) == counts), None)


def part_name(faces: Faces, otherwise: str, path: str | os.PathLike[str] | None) -> str:
    """Return what the images of a split are called: a part of FER2013, or `otherwise` of a folder:
    "validation of mine".
    """
    if part := fer2013_part(faces):
        return f"FER2013 {part}"
    return otherwise + (f" of {Path(path).absolute().name}" if path else "")


def apply(faces: Faces, scheme: str, *, seed: int = 0, left_out: Sequence[str] = ()) -> Faces:
    """Return the faces split by a scheme of `SCHEMES`; see there for `seed` and `left_out`."""
    if scheme not in SCHEMES:
        raise ValueError(f"expected {' or '.join(SCHEMES)} for `scheme`, got {scheme!r}")
    return card(faces, seed=seed) if scheme == "card" else official(faces, left_out=left_out)


def _test_order(faces: Faces, left_out: Sequence[str]) -> dict[int, list[int | None]]:
    """Return the rows in test by class, in natural order; None for an image that was left out."""
    items: dict[int, list[tuple[str, int | None]]] = {label: [] for label in range(len(EMOTIONS))}
    for row in np.flatnonzero(faces.in_split("test")).tolist():
        items[int(faces.labels[row])].append((faces.names[row], row))
    inside = {name.rpartition("/")[0] for rows in items.values() for name, _ in rows}
    for name in left_out:
        folder = name.rpartition("/")[0]
        if folder in inside:
            try:
                label = EMOTIONS.index(canonical(folder.rpartition("/")[2]))
            except LabelsError:
                continue
            items[label].append((name, None))
    return {
        label: [row for _, row in sorted(rows, key=lambda item: natural(item[0]))]
        for label, rows in items.items()
    }


def _missing(faces: Faces) -> list[str]:
    """Return a note for each split without images."""
    totals = faces.counts.sum(1)
    names = [name for name, total in zip(SPLITS, totals) if not total]
    is_fer2013 = faces.class_names == EMOTIONS and any(
        tuple(counts) == FER2013_COUNTS[part] for part, counts in zip(_PARTS.values(), faces.counts)
    )
    return [
        f"no {name} images" + (f": FER2013's {_PARTS[name]} is not in the source" * is_fer2013)
        for name in names
    ]
