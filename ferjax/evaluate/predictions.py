"""What a network says of labelled faces: its weights, its predictions, the order of its classes.

Dimension keys: N images, H height, W width, K classes.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ferjax import digests, metadata, released
from ferjax.classifier import EmotionClassifier, load
from ferjax.data.dataset import Faces
from ferjax.data.reading import Progress
from ferjax.emotions import TELL_THE_ORDER, Labels, are_names, positions
from ferjax.errors import FerjaxError, LabelsError, NoLabelsWarning
from ferjax.evaluate import provenance
from ferjax.evaluate.views import CROP, VIEWS, views
from ferjax.nets.head import Head
from ferjax.scaling import Scaling

Weights = EmotionClassifier | str | os.PathLike[str] | None
_CHUNK = 512  # images predicted at once


def read_weights(
    weights: Weights,
    labels: Labels | None = None,
    value_range: tuple[float, float] | None = None,
    output: str | int | None = None,
) -> tuple[EmotionClassifier, dict[str, Any]]:
    """Return a classifier, and what is known of its weights, as JSON values.

    Args:
        weights: a classifier, or any file that `ferjax.load` reads; None: ferjax's own.
        labels, value_range, output: of weights in a file, as for `ferjax.load`.

    Raises:
        WeightFileError: the weights cannot be used.
        FerjaxError: options of files are given for a classifier.
    """
    path = None
    if not isinstance(weights, EmotionClassifier):
        path = released.path_of(weights)
        weights = loaded(path, labels=labels, value_range=value_range, output=output)
    elif labels is not None or value_range is not None or output is not None:
        raise FerjaxError(
            "`labels`, `value_range` and `output` are of weights in a file, not of a classifier"
        )
    stated, graph = weights.metadata, weights.graph
    about = {
        "name": path.name if path is not None else str(stated.get("name") or graph.name),
        "sha256": None if path is None or metadata.in_parts(path) else digests.sha256(path),
        "architecture": graph.name,
        "parameters": graph.num_params,
        "source": stated.get("source"),
        "licence": stated.get("licence"),
        "trained_on": provenance.described(stated.get("trained_on")),
        "selected_on": provenance.described(stated.get("selected_on")),
        "calibrated_on": provenance.calibrated_on(stated),
    }
    return weights, about


def loaded(path: str | os.PathLike[str], **options: Any) -> EmotionClassifier:
    """Return what `ferjax.load` does with JAX, without its warning of classes without names.

    JAX computes wherever weights are measured, so that figures compare. Where classes are
    compared, as by `outputs_of_classes`, that they have no names is an error.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoLabelsWarning)
        return load(path, engine="jax", **options)


def predict(
    classifier: EmotionClassifier,
    images: npt.NDArray[np.uint8],
    tta: str = "none",
    progress: Progress | None = None,
) -> npt.NDArray[np.float32]:
    """Return the mean probabilities over the views of each image, float32 (N, K)."""
    total, done = len(images) * VIEWS[tta], 0
    crop = trained_crop(classifier)
    summed = np.zeros((len(images), len(classifier.labels)), np.float64)
    for view in views(images, tta, crop=crop):
        for first in range(0, len(view), _CHUNK):
            rows = slice(first, first + _CHUNK)
            summed[rows] += classifier.predict_proba(view[rows], resize="linear")
            done += len(view[rows])
            if progress is not None:
                progress(done, total, "images")
    return (summed / VIEWS[tta]).astype(np.float32)


def trained_crop(classifier: EmotionClassifier) -> float:
    """Return the side of the crops that the weights were trained on, of the image's, or `CROP`."""
    try:
        crop = classifier.metadata["training"]["recipe"]["augmentation"]["crop"]
        share = float(crop[0]) / classifier.image_size[0]
    except (TypeError, ValueError, LookupError):  # none, or metadata that a hand has written
        return CROP
    return share if 0 < share < 1 else CROP


def outputs_of_classes(classifier: EmotionClassifier, faces: Faces) -> list[int]:
    """Return which of the network's outputs stands for each of the data's classes.

    Raises:
        LabelsError: the network's classes are others than the data's, or nobody knows them.
    """
    if not are_names(classifier.labels):
        raise LabelsError(
            f"expected class names for the network's {len(classifier.labels)} outputs, the weights "
            "have none and are of no known network: --labels (labels=) gives them, "
            f"{TELL_THE_ORDER}"
        )
    order = positions(classifier.labels, faces.class_names)
    if order is None:
        raise LabelsError(
            f"expected weights for the data's classes, whatever their order, "
            f"{', '.join(faces.class_names)}, got {', '.join(classifier.labels)}"
        )
    return order


def predicted_classes(
    head: Head, order: Sequence[int], probabilities: npt.NDArray[np.floating]
) -> npt.NDArray[np.integer]:
    """Return the classes that a network says, int (N,), of the data's.

    Args:
        order: of the network's classes, as `outputs_of_classes` gives it.
        probabilities: of the data's classes, (N, K).
    """
    of_output = np.argsort(order)  # (K,): which of the data's classes each of the network's is
    classes: npt.NDArray[np.integer] = of_output[head.predicted(probabilities[:, of_output])]
    return classes


def calibrated_classes(
    head: Head, order: Sequence[int], probabilities: npt.NDArray[np.float32], scaling: Scaling
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.integer]]:
    """Return calibrated probabilities, float32 (N, K), and the classes that they say, int (N,).

    Args:
        order, probabilities: as for `predicted_classes`.
        scaling: of the data's classes.
    """
    rows = scaling(probabilities)
    # A temperature changes no answer, as rounding might where two are equally probable.
    return rows, predicted_classes(head, order, probabilities if scaling.keeps_order else rows)
