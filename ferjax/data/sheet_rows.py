"""Rows of faces for a sheet: of each class, those that people disagree on, augmented ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from ferjax.data.dataset import SPLITS, Faces
from ferjax.errors import FerjaxError
from ferjax.pictures import sheet
from ferjax.pictures.sheet import Row

if TYPE_CHECKING:
    from ferjax.data.augment import Augmentation

COLUMNS: Final = 12
_DISPUTED: Final = 0.85  # inches, of faces with votes under them
_DISPUTED_COLUMNS: Final = 8
_NAMED: Final = 7  # votes under a face


def class_rows(faces: Faces, *, columns: int = COLUMNS) -> list[Row]:
    """Return a row a class: its name, its counts, and images spread evenly over it."""
    rows = []
    for label, name in enumerate(faces.class_names):
        members = np.flatnonzero(faces.labels == label)
        chosen = members[_spread(len(members), columns)]
        counts = [f"{n:,} {s}" for s, n in zip(SPLITS, faces.counts[:, label].tolist()) if n]
        rows.append(
            Row(label=name, detail="\n".join(counts) or "none", images=faces.images[chosen])
        )
    return rows


def disputed_rows(faces: Faces, *, rows: int = 4) -> list[Row]:
    """Return rows of the faces that people disagree on most, with the label and votes of each.

    Raises:
        FerjaxError: nobody disagrees on any.
    """
    from ferjax.data.agreement import most_disputed

    chosen = most_disputed(faces, rows * _DISPUTED_COLUMNS)
    if not len(chosen):
        raise FerjaxError("no face has votes that differ")
    result = []
    for start in range(0, len(chosen), _DISPUTED_COLUMNS):
        members = chosen[start : start + _DISPUTED_COLUMNS]
        captions = [_votes_text(faces, int(row)) for row in members]
        result.append(Row(label="", images=faces.images[members], captions=captions))
    return result


def draw_disputed(faces: Faces, path: str | os.PathLike[str], *, title: str = "") -> None:
    """Draw the faces that people disagree on most, votes under each; see `sheet.draw`."""
    sheet.draw(disputed_rows(faces), path, title=title, face_inches=_DISPUTED)


def _votes_text(faces: Faces, row: int) -> str:
    """Return a face's label and the most of its votes, a line each."""
    assert faces.votes is not None
    counts = faces.votes.counts[row]
    order = np.argsort(-counts, kind="stable")
    votes = [f"{counts[k]:.3g} {faces.votes.names[k]}" for k in order if counts[k] > 0]
    dots = ["..."] if len(votes) > _NAMED else []
    label = faces.class_names[faces.labels[row]]
    return "\n".join([f"[{label}]", *votes[:_NAMED], *dots])


def augmented_rows(rows: Sequence[Row], augmentation: Augmentation, *, seed: int = 0) -> list[Row]:
    """Return each row with a row of its images augmented under it."""
    import jax

    from ferjax.data.augment import augment

    # Mixing two faces needs their labels, which a sheet does not show.
    augmentation = replace(augmentation, mixup=0)
    result: list[Row] = []
    for number, row in enumerate(rows):
        result.append(row)
        if len(row.images):
            key = jax.random.fold_in(jax.random.key(seed), number)
            labels = jax.numpy.zeros(len(row.images), "int32")
            images, _ = augment(key, jax.numpy.asarray(row.images), labels, augmentation)
            result.append(Row(label="", images=np.asarray(images), detail="augmented", joined=True))
    return result


def _spread(count: int, most: int) -> npt.NDArray[np.int64]:
    """Return up to `most` positions in [0, count), at even distances.

    >>> _spread(100, 4)
    array([12, 37, 62, 87])
    """
    number = min(count, most)
    return np.array([(2 * i + 1) * count // (2 * number) for i in range(number)], np.int64)
