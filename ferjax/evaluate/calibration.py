"""Temperature scaling: one number by which logits are divided so that confidences can be taken at
their word (Guo et al., ICML 2017).

Dimension keys: N images, K classes.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ferjax import metadata
from ferjax.classifier import default_weights, with_temperature
from ferjax.data import checks, splits
from ferjax.data.dataset import Faces, checksum
from ferjax.emotions import Labels
from ferjax.errors import DataError, WeightFileError
from ferjax.evaluate import metrics, provenance
from ferjax.evaluate.evaluation import read
from ferjax.evaluate.metrics import Calibration
from ferjax.evaluate.predictions import (
    Progress,
    loaded,
    outputs_of_classes,
    predict,
    predicted_classes,
)

_FOLDS: Final = 5
_LIMITS: Final = (0.05, 20.0)


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A temperature, and what it is worth.

    Attributes:
        temperature: above 1 where the network is too sure of itself.
        data: the images that it was fitted on.
        images: how many.
        copies_left_out: exact copies of training images, which the network is surer of.
        before: calibration without it.
        after: with temperatures fitted on the other four fifths of the images, so that no image
            had a part in its own.
        path: the metadata file that it was written to; None where it was not.
        previous: the temperature that was there before.
    """

    temperature: float
    data: str
    images: int
    copies_left_out: int
    before: Calibration
    after: Calibration
    path: Path | None
    previous: float | None


def calibrate(
    weights: str | os.PathLike[str] | None,
    data: Faces | str | os.PathLike[str],
    *,
    labels: Labels | None = None,
    value_range: tuple[float, float] | None = None,
    output: str | int | None = None,
    store: bool = True,
    progress: Progress | None = None,
) -> Fitted:
    """Fit a temperature on validation images and store it in the metadata of the weights.

    Exact copies of training images are left out, with a warning where those that the weights were
    trained on are others than the data's. `ferjax.load` finds the temperature again, and
    `predict(..., calibrated=True)` applies it.

    Args:
        weights: any weight file that `ferjax.load` reads; None: ferjax's own.
        data: a folder that `ferjax data prepare` made, or Faces.
        labels, value_range: of the weights, as for `ferjax.load`.
        output: of several outputs the one to calibrate, as for `ferjax.load`; only measured.
        store: write it; False only measures.
        progress: called with (done, total, unit) now and then.

    Raises:
        WeightFileError: the weights cannot be used, or cannot have metadata.
        DataError: the data cannot be used, or has no validation images, or too few.
        LabelsError: the network's classes are not the data's, in whatever order, or have no names.
        WriteError: the metadata cannot be written.
    """
    metrics.require_sklearn()
    path = Path(default_weights() if weights is None else weights)
    if store and output is not None:
        raise WeightFileError(
            path,
            "one file has no place for the temperatures of several outputs; "
            "`ferjax convert --output` makes a file of one",
        )
    folder, faces, chosen = read(data, "validation")
    classifier = loaded(path, labels=labels, value_range=value_range, output=output)
    if store and (what := metadata.in_parts(path)):
        raise WeightFileError(
            path, f"{what} has no place for metadata; `ferjax convert` makes a file of it"
        )
    known = metadata.own(path) if store else {}
    order = outputs_of_classes(classifier, faces)
    part = faces.take(chosen)
    copies = checks.copies_of_training(faces)[chosen]
    if copies.all():
        raise DataError("expected validation images that are no copies of training images")
    clean = part.take(~copies)
    name = splits.part_name(part, "validation", folder)
    images = provenance.measured(faces, "validation", int(copies.sum()), name)
    if why := provenance.copies_unknown(classifier.metadata, images):
        warnings.warn(f"{why}; the network is surer of copies", stacklevel=2)
    probabilities = predict(classifier, clean.images, progress=progress)[:, order]
    predicted = predicted_classes(classifier.head, order, probabilities)
    before = metrics.calibration(clean.labels, probabilities, predicted=predicted)
    if before is None:
        raise WeightFileError(path, "its outputs do not sum to 1, so that no temperature fits")
    fitted = Fitted(
        temperature=fit_temperature(clean.labels, probabilities),
        data=name,
        images=len(clean),
        copies_left_out=int(copies.sum()),
        before=before,
        after=_cross_fitted(clean.labels, probabilities, predicted),
        path=metadata.sidecar(path) if store else None,
        previous=classifier.temperature,
    )
    if store:
        # A known network's order is no more than likely, and not stored.
        if not known and (labels is not None or metadata.labels(classifier.metadata)):
            known = {"labels": list(classifier.labels)}
        metadata.write(path, {**known, "calibration": _record(fitted, clean)})
    return fitted


def fit_temperature(
    labels: npt.NDArray[np.integer], probabilities: npt.NDArray[np.floating]
) -> float:
    """Return the temperature of the lowest negative log-likelihood.

    Args:
        labels: int (N,), in [0, K).
        probabilities: (N, K), whose rows sum to 1.

    Raises:
        DataError: there is none: the likelihood goes on growing towards 0 or infinity.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    # In float32 a softmax leaves nothing of logits 100 and more below the highest.
    logits = np.log(np.maximum(np.asarray(probabilities, np.float64), 1e-45))
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float((logsumexp(scaled, axis=1) - scaled[rows, labels]).mean())

    limits = tuple(np.log(_LIMITS))
    found = minimize_scalar(loss, bounds=limits, method="bounded", options={"xatol": 1e-6})
    low, high = (abs(found.x - end) < 1e-3 for end in limits)
    if low or high:
        why = "the labels may be in another order than the network's, or the images too few"
        if low:  # the surer the better
            why = "the network is right about them, so that only more images can say how sure it is"
        raise DataError(
            f"no temperature between {_LIMITS[0]} and {_LIMITS[1]:g} is best for these "
            f"{len(labels):,} images; {why}"
        )
    return float(np.exp(found.x))


def _cross_fitted(
    labels: npt.NDArray[np.integer],
    probabilities: npt.NDArray[np.float32],
    predicted: npt.NDArray[np.integer] | None = None,
) -> Calibration:
    scaled = np.empty_like(probabilities)
    fold = np.random.default_rng(0).permutation(len(labels)) % min(_FOLDS, len(labels))
    for number in np.unique(fold):
        held, rest = fold == number, fold != number
        if not rest.any():
            rest = held
        try:
            temperature = fit_temperature(labels[rest], probabilities[rest])
        except DataError:  # all of them together had one
            raise DataError(
                f"too few images to calibrate on, {len(labels):,}: without a part of them no "
                "temperature is best; expected more validation images that are no copies of "
                "training images"
            ) from None
        scaled[held] = with_temperature(probabilities[held], temperature)
    found = metrics.calibration(labels, scaled, predicted=predicted)
    assert found is not None
    return found


def _record(fitted: Fitted, clean: Faces) -> dict[str, Any]:
    """Return what goes into the metadata."""

    def figures(c: Calibration) -> dict[str, float]:
        return {
            name: round(getattr(c, name), 4)
            for name in (
                "negative_log_likelihood",
                "brier_score",
                "ece_equal_width",
                "ece_equal_mass",
            )
        }

    return {
        "method": "temperature scaling",
        "temperature": round(fitted.temperature, 6),
        "fitted_on": {
            "data": fitted.data,
            "images": fitted.images,
            "copies_of_training_images_left_out": fitted.copies_left_out,
            "checksum": checksum(clean),
        },
        "before": figures(fitted.before),
        "after": {**figures(fitted.after), "note": f"cross-fitted over {_FOLDS} folds"},
    }
