"""A temperature, and perhaps an offset of each class, so that probabilities can be taken at their
word: temperature scaling and vector scaling (Guo et al., ICML 2017, arXiv 1706.04599).

They are fitted to the images' own labels, or to the shares of the votes that people gave.

Dimension keys: N images, K classes.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ferjax import metadata, released
from ferjax.classifier import EmotionClassifier
from ferjax.data import checks, splits, votes
from ferjax.data.dataset import Faces, checksum, in_classes_of
from ferjax.data.reading import Progress
from ferjax.emotions import Labels
from ferjax.errors import DataError, WeightFileError
from ferjax.evaluate import metrics, predictions, provenance, scaling_fits
from ferjax.evaluate.evaluation import read
from ferjax.evaluate.metrics import Calibration
from ferjax.evaluate.scaling_fits import Float64Array, Floats
from ferjax.scaling import Scaling, sum_to_one

METHODS: Final = ("temperature", "vector", "auto")
TARGETS: Final = ("labels", "votes")


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A calibration, and what it is worth.

    Attributes:
        method: "temperature scaling" or "vector scaling".
        temperature: above 1 where the network is too sure of itself.
        offsets: by class, their mean 0; None for a temperature alone, which changes no label.
        targets: what it was fitted to: "labels" or "votes".
        data: the images that it was fitted on.
        images: how many.
        copies_left_out: exact copies of training images, which the network is surer of.
        without_votes_left_out: of the others, those whose votes are for none of the classes.
        before: calibration without it; against votes the likelihood is their cross-entropy, and a
            prediction is right to the share of the people who say it.
        after: with calibrations fitted on the other four fifths of the images, so that no image
            had a part in its own.
        alone: the same with a temperature alone, where offsets were tried too.
        with_offsets: the same with offsets, where they were tried.
        fits: the negative log-likelihood by method on the images that they were fitted on.
        path: the metadata file that it was written to; None where it was not.
        previous: the temperature that was there before.
    """

    method: str
    temperature: float
    offsets: dict[str, float] | None
    targets: str
    data: str
    images: int
    copies_left_out: int
    without_votes_left_out: int
    before: Calibration
    after: Calibration
    alone: Calibration | None
    with_offsets: Calibration | None
    fits: dict[str, float]
    path: Path | None
    previous: float | None

    @property
    def overfits(self) -> bool:
        """Whether offsets, where they were tried, are of no use for other images."""
        if self.alone is None or self.with_offsets is None:
            return False
        return self.with_offsets.negative_log_likelihood >= self.alone.negative_log_likelihood


def calibrate(
    weights: str | os.PathLike[str] | None,
    data: Faces | str | os.PathLike[str],
    *,
    method: str = "temperature",
    targets: str = "labels",
    labels: Labels | None = None,
    value_range: tuple[float, float] | None = None,
    output: str | int | None = None,
    store: bool = True,
    progress: Progress | None = None,
) -> Fitted:
    """Fit a calibration on validation images and store it in the metadata of the weights.

    Exact copies of training images are left out, with a warning where those that the weights were
    trained on are others than the data's. `ferjax.load` finds the calibration again, and
    `predict(..., calibrated=True)` applies it.

    Args:
        weights: any weight file that `ferjax.load` reads; None: ferjax's own.
        data: a folder that `ferjax data prepare` made, or Faces.
        method: "temperature", one number, which leaves the order of the classes as it is;
            "vector", an offset of each class too, which may change labels; or "auto", whichever
            has the higher likelihood on images that it was not fitted on.
        targets: "labels", the images' own; or "votes", the share of each class among all that
            people said of an image, single votes too, so that a confidence is the share of people
            who would agree.
        labels, value_range: of the weights, as for `ferjax.load`.
        output: of several outputs the one to calibrate, as for `ferjax.load`; only measured.
        store: write it; False only measures.
        progress: called with (done, total, unit) now and then.

    Raises:
        ValueError: there is no such method, or no such targets.
        WeightFileError: the weights cannot be used, or cannot have metadata.
        DataError: the data cannot be used, or has no validation images, or too few, or no votes.
        LabelsError: the network's classes are not the data's, in whatever order, or have no names.
        WriteError: the metadata cannot be written.

    Warns:
        UserWarning: offsets are asked for that are worse than none on other images.
    """
    for name, value, choices in (("method", method, METHODS), ("targets", targets, TARGETS)):
        if value not in choices:
            raise ValueError(f"expected one of {', '.join(choices)} for `{name}`, got {value!r}")
    metrics.require_sklearn()
    path = released.own_path(weights) if store else released.path_of(weights)
    if store and output is not None:
        raise WeightFileError(
            path,
            "one file has no place for the temperatures of several outputs; "
            "`ferjax convert --output` makes a file of one",
        )
    folder, faces, chosen = read(data, "validation")
    if targets == "votes" and faces.votes is None:
        raise DataError(
            f"expected data with people's votes, {folder or 'these'} have none; "
            "`ferjax data prepare --votes` adds them"
        )
    classifier = predictions.loaded(path, labels=labels, value_range=value_range, output=output)
    if store and (form := metadata.in_parts(path)):
        raise WeightFileError(
            path, f"{form} has no place for metadata; `ferjax convert` makes a file of it"
        )
    own = metadata.own(path) if store else {}
    images = _images(classifier, faces, chosen, folder, targets)
    by_output = predictions.predict(classifier, images.faces.images, progress=progress)
    probabilities = by_output[:, images.order]
    if not sum_to_one(probabilities):
        raise WeightFileError(path, "its outputs do not sum to 1, so that no temperature fits")
    fitted, scaling = _fitted(classifier, images, probabilities, method, targets)
    if scaling.offsets is not None and fitted.overfits:
        warnings.warn(
            "the offsets overfit: on images that they were not fitted on a temperature alone is "
            "better; --method temperature (method=), or more images",
            stacklevel=2,
        )
    if not store:
        return fitted
    # A known network's order is no more than likely, and not stored.
    if not own and (labels is not None or metadata.labels(classifier.metadata)):
        own = {"labels": list(classifier.labels)}
    of_outputs = metadata.class_names(own, classifier.labels)
    record = _record(fitted, scaling.take(np.argsort(images.order)), of_outputs, images.clean)
    metadata.write(path, {**own, "calibration": record})
    return dataclasses.replace(fitted, path=metadata.sidecar(path))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Images:
    """The validation images that a calibration is fitted on."""

    name: str
    order: list[int]  # which of the network's outputs stands for each of their classes
    copies: int  # of training images, which are left out
    clean: Faces  # the others
    faces: Faces  # of these, those that have a target
    shares: Float64Array  # of each class, (N, K), that it is fitted to


def _images(
    classifier: EmotionClassifier,
    faces: Faces,
    chosen: npt.NDArray[np.bool_],
    folder: str | None,
    targets: str,
) -> _Images:
    faces = in_classes_of(faces, classifier.labels)
    order = predictions.outputs_of_classes(classifier, faces)
    copies = checks.copies_of_training(faces)[chosen]
    if copies.all():
        raise DataError("expected validation images that are no copies of training images")
    part = faces.take(chosen)
    name = splits.part_name(part, "validation", folder)
    measured = provenance.measured(faces, "validation", int(copies.sum()), name)
    if why := provenance.copies_unknown(classifier.metadata, measured):
        warnings.warn(f"{why}; the network is surer of copies", stacklevel=3)
    clean = part.take(~copies)
    shares = _targets(clean, targets)
    has_target = np.asarray(shares.any(1))
    if not has_target.any():
        raise DataError("expected validation images with votes for the classes, got none")
    return _Images(
        name=name,
        order=order,
        copies=int(copies.sum()),
        clean=clean,
        faces=clean.take(has_target),
        shares=shares[has_target],
    )


def _fitted(
    classifier: EmotionClassifier, images: _Images, probabilities: Floats, method: str, targets: str
) -> tuple[Fitted, Scaling]:
    """Return what is fitted, not yet stored, and the calibration of the data's classes."""

    def figures(rows: Floats, *, keeps_order: bool = True) -> Calibration:
        # A temperature changes no answer, as rounding might where two are equally probable.
        answered = probabilities if keeps_order else rows
        predicted = predictions.predicted_classes(classifier.head, images.order, answered)
        if targets == "votes":
            return _against_shares(images.shares, rows, predicted)
        against_labels = metrics.calibration(images.faces.labels, rows, predicted=predicted)
        assert against_labels is not None
        return against_labels

    tried = scaling_fits.fits(images.shares, probabilities, method, images.faces.class_names)
    after = {
        kind: figures(rows, keeps_order=scaling.keeps_order)
        for kind, (scaling, rows) in tried.items()
    }
    best = min(after, key=lambda kind: after[kind].negative_log_likelihood)
    chosen = best if method == "auto" else method
    scaling = tried[chosen][0]
    offsets = scaling.offsets
    fitted = Fitted(
        method=scaling.method,
        temperature=scaling.temperature,
        offsets=None if offsets is None else dict(zip(images.faces.class_names, offsets)),
        targets=targets,
        data=images.name,
        images=len(images.faces),
        copies_left_out=images.copies,
        without_votes_left_out=len(images.clean) - len(images.faces),
        before=figures(probabilities),
        after=after[chosen],
        alone=after.get("temperature") if method != "temperature" else None,
        with_offsets=after.get("vector"),
        fits={
            kind: scaling_fits.negative_log_likelihood(images.shares, fit(probabilities))
            for kind, (fit, _) in tried.items()
        },
        path=None,
        previous=classifier.temperature,
    )
    return fitted, scaling


def _targets(faces: Faces, targets: str) -> Float64Array:
    """Return the share of each class, (N, K); rows of zeros have no votes for any."""
    if targets == "labels":
        return scaling_fits.shares_of(faces.labels, len(faces.class_names))
    assert faces.votes is not None
    # Single votes count: a confidence is to be how many people would agree.
    return votes.distribution(faces.votes, faces.class_names, outliers=0).astype(np.float64)


def _against_shares(
    shares: Float64Array, probabilities: Floats, predicted: npt.NDArray[Any]
) -> Calibration:
    """Return the figures of calibration against shares of votes."""
    rows = np.asarray(probabilities, np.float64)
    bins = metrics.reliability(rows.max(1), shares[np.arange(len(rows)), predicted])
    return Calibration(
        negative_log_likelihood=scaling_fits.negative_log_likelihood(shares, rows),
        brier_score=float(((rows - shares) ** 2).sum(1).mean()),
        **vars(bins),
    )


def _record(
    fitted: Fitted, scaling: Scaling, labels: Sequence[str], clean: Faces
) -> dict[str, Any]:
    """Return what goes into the metadata; `labels` are those of the network's outputs."""

    def figures(c: Calibration) -> dict[str, float]:
        names = ("negative_log_likelihood", "brier_score", "ece_equal_width", "ece_equal_mass")
        return {name: round(getattr(c, name), 4) for name in names}

    record: dict[str, Any] = {
        "method": scaling.method,
        "temperature": round(scaling.temperature, 6),
    }
    if scaling.offsets is not None and scaling.prior is not None:
        record["offsets"] = {k: round(v, 6) for k, v in zip(labels, scaling.offsets)}
        # What the calibrated probabilities hold for.
        record["prior"] = {k: float(f"{v:.6g}") for k, v in zip(labels, scaling.prior)}
    fitted_on = {
        "data": fitted.data,
        "images": len(clean),
        "copies_of_training_images_left_out": fitted.copies_left_out,
        "checksum": checksum(clean),
    }
    if fitted.targets == "votes":
        record["targets"] = "votes"
        fitted_on["without_votes_left_out"] = fitted.without_votes_left_out
    record |= {
        "fitted_on": fitted_on,
        "before": figures(fitted.before),
        "after": {**figures(fitted.after), "note": f"cross-fitted over {scaling_fits.FOLDS} folds"},
    }
    if fitted.alone is not None and scaling.offsets is not None:
        record["temperature_alone"] = figures(fitted.alone)
    return record
