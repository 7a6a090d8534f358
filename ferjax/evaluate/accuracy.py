"""Accuracy with its interval, on a whole split and on what of it was not trained on.

Dimension keys: N images, K classes.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ferjax.classifier import EmotionClassifier, load
from ferjax.data import checks, preparation
from ferjax.data.dataset import SPLITS, Faces
from ferjax.errors import DataError, LabelsError


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How many images were classified correctly.

    Attributes:
        images: N.
        correct: of them.
        top_1: the fraction, in [0, 1].
        interval: its 95 % confidence interval (Wilson, JASA 1927).
        recall: by class, the fraction of its images that were found; None without any.
        support: by class, how many images it has.
    """

    images: int
    correct: int
    top_1: float
    interval: tuple[float, float]
    recall: dict[str, float | None]
    support: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured, single view, and on what.

    Attributes:
        split: "train", "validation" or "test".
        whole: on all of its images.
        without_copies: on those that are no exact copy of a training image; None where there are
            no copies, or nothing else.
        copies: how many are copies.
    """

    split: str
    whole: Accuracy
    without_copies: Accuracy | None
    copies: int

    def to_json(self) -> dict[str, Any]:
        """Return values that `json.dumps` takes."""
        return dataclasses.asdict(self)


def evaluate(
    weights: EmotionClassifier | str | os.PathLike[str] | None,
    data: Faces | str | os.PathLike[str],
    split: str = "validation",
) -> Evaluation:
    """Measure accuracy on a split of prepared faces.

    Args:
        weights: a classifier, or any file that `ferjax.load` reads; None: ferjax's own.
        data: a folder that `ferjax data prepare` made, or Faces.
        split: "validation", "test", or "train", which says little.

    Raises:
        WeightFileError: the weights cannot be used.
        DataError: the data cannot be used, or the split has no images.
        LabelsError: the network's classes are not the data's, in their order.
    """
    if split not in SPLITS:
        raise DataError(f"expected a split among {', '.join(SPLITS)}, got {split!r}")
    faces = data if isinstance(data, Faces) else preparation.load(data)
    chosen = faces.in_split(split)
    if not chosen.any():
        notes = f" ({'; '.join(faces.notes)})" if faces.notes else ""
        raise DataError(f"expected {split} images, the data has none{notes}")
    classifier = weights if isinstance(weights, EmotionClassifier) else load(weights)
    if classifier.labels != faces.class_names:
        raise LabelsError(
            f"expected weights for the data's classes in their order, "
            f"{', '.join(faces.class_names)}, got {', '.join(classifier.labels)}"
        )
    images, labels = faces.images[chosen], faces.labels[chosen]
    correct = classifier.predict_proba(images).argmax(1) == labels
    copies = checks.copies_of_training(faces)[chosen]
    others = None
    if copies.any() and not copies.all():
        others = _accuracy(correct[~copies], labels[~copies], faces.class_names)
    return Evaluation(
        split=split,
        whole=_accuracy(correct, labels, faces.class_names),
        without_copies=others,
        copies=int(copies.sum()),
    )


def _accuracy(
    correct: npt.NDArray[np.bool_], labels: npt.NDArray[np.int32], names: tuple[str, ...]
) -> Accuracy:
    from scipy.stats import binomtest

    support = np.bincount(labels, minlength=len(names)).tolist()
    found = np.bincount(labels[correct], minlength=len(names)).tolist()
    hits, n = int(correct.sum()), len(correct)
    interval = binomtest(hits, n).proportion_ci(confidence_level=0.95, method="wilson")
    return Accuracy(
        images=n,
        correct=hits,
        top_1=hits / n,
        interval=(float(interval.low), float(interval.high)),
        recall={name: f / s if s else None for name, f, s in zip(names, found, support)},
        support=dict(zip(names, support)),
    )
