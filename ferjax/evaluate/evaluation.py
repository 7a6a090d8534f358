"""Measure weights on a split of prepared faces, and say how far the figures can be trusted."""

from __future__ import annotations

import dataclasses
import datetime
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import jax
import numpy as np
import numpy.typing as npt

from ferjax import hardware
from ferjax._version import __version__
from ferjax.classifier import EmotionClassifier
from ferjax.data import checks, preparation, splits
from ferjax.data.dataset import SPLITS, Faces, in_classes_of
from ferjax.data.reading import Progress
from ferjax.data.votes import OUTLIERS
from ferjax.emotions import Labels
from ferjax.errors import DataError
from ferjax.evaluate import metrics, provenance, votes
from ferjax.evaluate.attributes import read_attributes
from ferjax.evaluate.metrics import Abstention, Calibration, Metrics
from ferjax.evaluate.predictions import (
    Weights,
    calibrated_classes,
    outputs_of_classes,
    predict,
    predicted_classes,
    read_weights,
)
from ferjax.evaluate.robustness import Robustness, comparable_baseline, robustness
from ferjax.evaluate.subgroups import Subgroups, check_comparisons, compare_groups
from ferjax.evaluate.views import VIEWS, check
from ferjax.evaluate.votes import AgainstVotes

T = TypeVar("T")
Data = Faces | str | os.PathLike[str]
Rows = npt.NDArray[np.bool_]  # (N,), which images
_LAST = ("robustness", "subgroups", "predictions")  # in a report, which lacks the last


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What was predicted, image by image.

    Attributes:
        images: uint8 in [0, 255], (N, H, W); None where only what was predicted is known.
        names: N, as in the data.
        labels: int32 (N,), the true classes.
        probabilities: float32 (N, K), the mean over views.
        predicted: int (N,), the class that is said.
        copies: bool (N,), which are exact copies of training images.
    """

    images: npt.NDArray[np.uint8] | None
    names: tuple[str, ...]
    labels: npt.NDArray[np.int32]
    probabilities: npt.NDArray[np.float32]
    predicted: npt.NDArray[np.integer]
    copies: npt.NDArray[np.bool_]

    @property
    def apart(self) -> npt.NDArray[np.bool_] | None:
        """Which images are no copies, (N,); None where there are no copies, or nothing else."""
        return ~self.copies if self.copies.any() and not self.copies.all() else None


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """Calibration after the stored temperature, and offsets of the classes if any.

    Attributes:
        temperature: what the logits are divided by.
        offsets: what is added then, by class; None for a temperature alone, which changes no label.
        fitted_on: what it was fitted on, in words.
        fitted_here: whether that is what is measured here, so that the figures flatter.
        whole: on all images.
        without_copies: on those that are no copies of training images; None as in `Evaluation`.
        abstention: on all images, as in `Metrics`: what `calibrated=True` and `abstain_below` do.
        correct, correct_without_copies: how many images get their label, which offsets may change;
            the latter None as in `Evaluation`.
    """

    temperature: float
    offsets: dict[str, float] | None
    fitted_on: str
    fitted_here: bool
    whole: Calibration
    without_copies: Calibration | None
    abstention: tuple[Abstention, ...]
    correct: int
    correct_without_copies: int | None

    @property
    def words(self) -> str:
        """What calibrates."""
        offsets = "" if self.offsets is None else " and offsets"
        return f"temperature {self.temperature:.3f}{offsets}"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured, how, and on what.

    Attributes:
        weights: name, file's SHA-256, architecture, number of parameters, source, licence; what
            they were trained, selected and calibrated on, in words. Nothing is known of those whose
            probabilities were stored.
        data: name of the images, split, how many, how many copies of training and of validation
            images, checksums; of stored probabilities also which pictures are left out.
        class_names: K, in output order.
        tta: "none", "flip" or "ten-crop".
        views: how many of each image were averaged.
        whole: on all images of the split.
        without_copies: on those that are no exact copy of a training image; None where there are
            no copies, or nothing else.
        calibrated: None without a stored calibration, and with several views, for which it was not
            fitted.
        votes: against what several people said of each image; None where the data have no votes of
            the split.
        notes: why the figures flatter, or may; a sentence each.
        robustness, subgroups: where asked for.
        made: when, by which version, engine and hardware, in how many seconds.
        predictions: image by image; not in the report.
    """

    weights: dict[str, Any]
    data: dict[str, Any]
    class_names: tuple[str, ...]
    tta: str
    views: int
    whole: Metrics
    without_copies: Metrics | None
    calibrated: Calibrated | None
    votes: AgainstVotes | None
    notes: tuple[str, ...]
    robustness: Robustness | None
    subgroups: Subgroups | None
    made: dict[str, Any]
    predictions: Predictions = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return values that `json.dumps` takes, without the single predictions."""
        names = [f.name for f in dataclasses.fields(self) if f.name not in _LAST]
        parts = {name: getattr(self, name) for name in (*names, *_LAST[:-1])}
        return {"format": "ferjax evaluation 1", **{n: _plain(part) for n, part in parts.items()}}


def evaluate(
    weights: Weights,
    data: Data,
    split: str = "validation",
    *,
    labels: Labels | None = None,
    value_range: tuple[float, float] | None = None,
    output: str | int | None = None,
    tta: str = "none",
    with_robustness: bool = False,
    baseline: str | os.PathLike[str] | None = None,
    attributes: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure weights on a split of prepared faces.

    Args:
        weights: a classifier, or any file that `ferjax.load` reads; None: ferjax's own.
        data: a folder that `ferjax data prepare` made, or Faces. With votes of several people the
            weights are measured against these too.
        split: "validation", "test", or "train", which says little.
        labels, value_range, output: of weights in a file, as for `ferjax.load`.
        tta: test-time augmentation, "none", "flip" or "ten-crop"; see `ferjax.evaluate.views`.
        with_robustness: measure corrupted and covered faces too, 85 times as many images.
        baseline: another report.json to which corruption errors are relative.
        attributes: a CSV of the images' attributes, for figures by group; see
            `ferjax.evaluate.attributes`.
        seed: of bootstraps, permutations and corruptions.
        progress: called with (done, total, unit) now and then.

    Raises:
        WeightFileError: the weights cannot be used.
        DataError: the data cannot be used, the split has no images, or the attributes do not fit.
        LabelsError: the network's classes are not the data's, in whatever order, or have no names.
        FerjaxError: scikit-learn is missing.
    """
    begun = time.monotonic()
    metrics.require_sklearn()
    check(tta)
    path, faces, chosen = read(data, split)
    described = None  # read before the network computes for minutes
    if attributes is not None:
        names = faces.take(chosen).names
        described = read_attributes(attributes, names, all_names=faces.names)
        check_comparisons(described)
    classifier, about = read_weights(weights, labels, value_range, output)
    faces = in_classes_of(faces, classifier.labels)
    order = outputs_of_classes(classifier, faces)
    copies = checks.copies_of_training(faces)[chosen]
    measured = faces.take(chosen)
    images = provenance.measured(
        faces, split, int(copies.sum()), splits.part_name(measured, split, path)
    )
    if with_robustness:
        comparable_baseline(baseline, images.checksum)
    predictions = _predictions(classifier, measured, order, copies, tta, progress)
    whole, without_copies = _twice(predictions, partial(_metrics, measured, predictions, seed))
    calibrated = against = robust = subgroups = None
    if classifier.scaling is not None and tta == "none" and whole.calibration is not None:
        calibrated = _calibrated(classifier, order, images, faces.class_names, predictions)
    if measured.votes is not None:
        against = _against_votes(
            classifier,
            measured,
            order,
            predictions,
            is_calibrated=calibrated is not None,
            seed=seed,
        )
    if with_robustness:
        robust = robustness(
            classifier,
            measured.images,
            np.asarray(order)[measured.labels],
            checksum=images.checksum,
            baseline=baseline,
            seed=seed,
            progress=progress,
        )
    if described is not None:
        subgroups = compare_groups(
            described, measured.labels, predictions.predicted, faces.class_names, seed=seed
        )
    return Evaluation(
        weights=about,
        data=dataclasses.asdict(images),
        class_names=faces.class_names,
        tta=tta,
        views=VIEWS[tta],
        whole=whole,
        without_copies=without_copies,
        calibrated=calibrated,
        votes=against,
        notes=provenance.overlaps(classifier.metadata, images),
        robustness=robust,
        subgroups=subgroups,
        made=made(begun, seed, classifier.engine),
        predictions=predictions,
    )


def _predictions(
    classifier: EmotionClassifier,
    measured: Faces,
    order: list[int],
    copies: Rows,
    tta: str,
    progress: Progress | None,
) -> Predictions:
    probabilities = predict(classifier, measured.images, tta, progress)[:, order]
    return Predictions(
        images=measured.images,
        names=measured.names,
        labels=measured.labels,
        probabilities=probabilities,
        predicted=predicted_classes(classifier.head, order, probabilities),
        copies=copies,
    )


def made(begun: float, seed: int, engine: str) -> dict[str, Any]:
    """Return when, by what and on what figures were made, in how many seconds since `begun`."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "ferjax": __version__,
        "jax": jax.__version__,
        "engine": engine,
        "hardware": hardware.described(jax.local_devices()),
        "seconds": round(time.monotonic() - begun, 1),
        "seed": seed,
    }


def _twice(predictions: Predictions, figures: Callable[[Rows], T]) -> tuple[T, T | None]:
    """Return figures of all images, and of those that are no copies, None as in `Evaluation`."""
    apart = predictions.apart
    whole = figures(np.ones(len(predictions.labels), bool))
    return whole, None if apart is None else figures(apart)


def _metrics(measured: Faces, predictions: Predictions, seed: int, rows: Rows) -> Metrics:
    return metrics.measure(
        measured.labels[rows],
        predictions.probabilities[rows],
        measured.class_names,
        predicted=predictions.predicted[rows],
        seed=seed,
    )


def _calibrated(
    classifier: EmotionClassifier,
    order: list[int],
    images: provenance.Measured,
    class_names: tuple[str, ...],
    predictions: Predictions,
) -> Calibrated:
    """Measure after the calibration that is stored with the weights."""
    assert classifier.scaling is not None
    scaling = classifier.scaling.take(order)
    rows, predicted = calibrated_classes(classifier.head, order, predictions.probabilities, scaling)
    is_correct = predicted == predictions.labels

    def figures(images: Rows) -> tuple[Calibration | None, int]:
        labels = predictions.labels[images]
        after = metrics.calibration(labels, rows[images], predicted=predicted[images])
        return after, int(is_correct[images].sum())

    (whole, correct), apart = _twice(predictions, figures)
    assert whole is not None  # as before the calibration
    offsets = scaling.offsets
    return Calibrated(
        temperature=scaling.temperature,
        offsets=None if offsets is None else dict(zip(class_names, offsets)),
        fitted_on=provenance.calibrated_on(classifier.metadata),
        fitted_here=provenance.fitted_here(classifier.metadata, images),
        whole=whole,
        without_copies=apart[0] if apart else None,
        abstention=metrics.abstention(predictions.labels, rows, predicted=predicted),
        correct=correct,
        correct_without_copies=apart[1] if apart else None,
    )


def _against_votes(
    classifier: EmotionClassifier,
    measured: Faces,
    order: list[int],
    predictions: Predictions,
    *,
    is_calibrated: bool,
    seed: int,
) -> AgainstVotes | None:
    """Measure against votes, of all images and of those that are no copies, where any have some."""
    assert measured.votes is not None
    answers, prior, why = votes.answers_of(
        classifier, order, predictions.probabilities, is_calibrated=is_calibrated
    )

    def figures(rows: Rows) -> votes.Part | None:
        assert measured.votes is not None
        return votes.against_votes(
            measured.votes.take(rows),
            measured.labels[rows],
            measured.class_names,
            {name: answer.take(rows) for name, answer in answers.items()},
            seed=seed,
        )

    whole, without_copies = _twice(predictions, figures)
    if whole is None:
        return None
    return AgainstVotes(
        names=measured.votes.names,
        outliers=OUTLIERS,
        prior=None if prior is None else dict(zip(measured.class_names, prior.tolist())),
        no_uniform=why,
        whole=whole,
        without_copies=without_copies,
    )


def read(data: Data, split: str) -> tuple[str | None, Faces, npt.NDArray[np.bool_]]:
    """Return the path, all faces and a mask, (N,), of those in a split.

    Raises:
        DataError: the data cannot be read, or the split has no images.
    """
    if split not in SPLITS:
        raise DataError(f"expected a split among {', '.join(SPLITS)}, got {split!r}")
    faces = data if isinstance(data, Faces) else preparation.load(data)
    chosen = faces.in_split(split)
    if not chosen.any():
        notes = f" ({'; '.join(faces.notes)})" if faces.notes else ""
        raise DataError(
            f"expected {split} images, the data has none{notes}; "
            "`ferjax data prepare --split card` divides what has no splits"
        )
    return None if isinstance(data, Faces) else os.fspath(data), faces, chosen


def warn(evaluation: Evaluation) -> None:
    """Emit the notes of an evaluation as warnings."""
    for note in evaluation.notes:
        warnings.warn(note, stacklevel=2)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
