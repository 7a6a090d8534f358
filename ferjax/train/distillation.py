"""Soft labels: what trained networks, the teachers, make of the training images.

Knowledge distillation (Hinton et al., arXiv 1503.02531): a network learns the teachers'
probabilities beside the labels. Elsewhere a smaller one came closer to its teachers that way, and
one of the same size overtook them (Furlanello et al., arXiv 1805.04770). Each image is shown to the
teachers once, as it is and mirrored, before the training; so an epoch takes no longer.

Dimension keys: N images, K classes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ferjax.classifier import EmotionClassifier
from ferjax.data.dataset import Faces
from ferjax.emotions import TELL_THE_ORDER, are_names, positions
from ferjax.errors import LabelsError
from ferjax.evaluate import predictions
from ferjax.files import replacing
from ferjax.train.errors import TrainingError

PathLike = str | os.PathLike[str]
SoftLabels = npt.NDArray[np.float32]
FILE = "soft_labels.npy"
_NOTE_EVERY = 10.0  # seconds


def soft_labels(
    teachers: Sequence[PathLike],
    faces: Faces,
    share: float,
    note: Callable[[str], None],
    targets: SoftLabels | None = None,
) -> SoftLabels:
    """Return the labels that a network taught by others learns: float32 (N, K), each adds up to 1.

    `share` of each is the mean of the teachers' probabilities, calibrated where a teacher comes
    with a calibration; the rest is the image's own label, or its target.

    Args:
        teachers: weights that `ferjax.load` opens; at least one.
        faces: the training images.
        share: in (0, 1].
        note: takes a line about how far it is, every ten seconds.
        targets: float32 (N, K), what is learnt beside the teachers; None: the labels.

    Raises:
        WeightFileError: a teacher cannot be read.
        LabelsError: a teacher knows other classes.
        TrainingError: `share` is 0, so that nothing would be learnt from the teachers; or one does
            not end in probabilities.
    """
    if not share:
        raise TrainingError(
            "expected `distillation` above 0, the teachers' share of the labels, got 0; "
            "--set distillation=0.7"
        )
    loaded = [predictions.loaded(path) for path in teachers]
    orders = [_order(path, teacher, faces) for path, teacher in zip(teachers, loaded)]
    note(f"asking {', '.join(Path(path).name for path in teachers)} about {len(faces):,} images")
    noted = time.monotonic()
    total = np.zeros((len(faces), len(faces.class_names)), np.float64)
    for asked, (teacher, order) in enumerate(zip(loaded, orders)):

        def progress(done: int, views: int, unit: str, asked: int = asked) -> None:
            nonlocal noted
            if time.monotonic() - noted >= _NOTE_EVERY:
                noted = time.monotonic()
                note(f"asked about {(asked * views + done) / (len(loaded) * views):.0%}")

        probabilities = predictions.predict(teacher, faces.images, "flip", progress)
        if teacher.scaling is not None:
            probabilities = teacher.scaling(probabilities)
        total += probabilities[:, order]
    own = np.eye(len(faces.class_names))[faces.labels] if targets is None else targets
    return np.asarray(share * total / len(loaded) + (1 - share) * own, np.float32)


def _order(path: PathLike, teacher: EmotionClassifier, faces: Faces) -> list[int]:
    """Return where a teacher has each class of the data; refuse one that does not fit."""
    place = os.fspath(path)
    if not teacher.head.gives_distribution:
        raise TrainingError(
            f"{place}: expected a teacher whose outputs are the probabilities of "
            f"classes, its last activation is {teacher.head.activation!r}"
        )
    if not are_names(teacher.labels):
        raise LabelsError(
            f"{place}: has no class names and is of no known network; `ferjax convert "
            f"--labels` makes a file with them, {TELL_THE_ORDER}"
        )
    order = positions(teacher.labels, faces.class_names)
    if order is None:
        raise LabelsError(
            f"{place}: expected a teacher for the data's classes, "
            f"{', '.join(faces.class_names)}, got {', '.join(teacher.labels)}"
        )
    return order


def write(folder: Path, labels: SoftLabels) -> None:
    """Put soft labels into a run's folder, so that the run goes on without the teachers."""
    with replacing(folder / FILE) as temporary, temporary.open("wb") as file:
        np.save(file, labels, allow_pickle=False)


def read(folder: Path, faces: Faces) -> SoftLabels:
    """Return what `write` wrote.

    Raises:
        TrainingError: it is not there, or damaged.
    """
    path = folder / FILE
    expected = (len(faces), len(faces.class_names))
    try:
        labels = np.load(path, allow_pickle=False)
        if labels.dtype == np.float32 and labels.shape == expected and np.isfinite(labels).all():
            return np.asarray(labels)
    except FileNotFoundError:
        raise TrainingError(
            f"{path}: missing, and the run cannot go on without it; begin anew with --force"
        ) from None
    except (OSError, ValueError, EOFError):
        pass
    raise TrainingError(
        f"{path}: damaged, expected float32 of shape {expected}; begin anew with --force"
    )
