"""Tell the order of a network's classes by measurement: what its outputs say of labelled faces.

Each output is assigned to one class, so that together they fit best. The fit of an assignment is
the mean, over its classes, of how much more probable than its other outputs the network finds the
assigned one on that class's images. Every class counts alike, however many images it has, and an
output that is always high or low gains nothing by it.

Dimension keys: N images, K outputs, C classes of the data that have images.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ferjax import metadata, released
from ferjax.classifier import EmotionClassifier, load
from ferjax.data import preparation, sources, splits
from ferjax.data.dataset import SPLITS, Faces
from ferjax.data.reading import Progress
from ferjax.emotions import ORDERS, are_names, numbers, order_of, plain_name
from ferjax.errors import DataError, LabelsWarning
from ferjax.evaluate.evaluation import Data
from ferjax.evaluate.predictions import Weights, predict
from ferjax.nets.known import recognise

Integers = npt.NDArray[np.integer]
Floats = npt.NDArray[np.floating]

_MOST_IMAGES: Final = 3000  # a standard error of a point
_FEW_IMAGES: Final = 10  # of a class, below which nothing is called clear
_SURE: Final = 3.0  # standard errors between the best assignment and the next
_LEAST: Final = 1e-4  # probabilities below count as this: a sure mistake is one mistake
_LARGEST_SIDE: Final = 96  # of images that are read from a source, pixels


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A way to name the outputs.

    Attributes:
        labels: K names in output order; the output's number where it stands for no class of the
            data.
        order: the name of this order, one of `ferjax.emotions.ORDERS`, or None.
        accuracy: the share of the images that are named right.
    """

    labels: tuple[str, ...]
    order: str | None
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class LabelOrder:
    """What the outputs stand for, by measurement.

    Attributes:
        best: what fits best.
        runner_up: the next best assignment; None where there is no other.
        orders: the named orders that fit the network and the data, the most accurate first.
        clear: whether the best is to be relied on.
        reasons: why it is not, a sentence each.
        agrees: whether the weights' own names, or a known network's, are in this order; None where
            they have none.
        images: how many were predicted.
        classes: of the data that have images among them, C.
        data: what they are, in words.
        value_range: what black and white were to the network.
    """

    best: Candidate
    runner_up: Candidate | None
    orders: tuple[Candidate, ...]
    clear: bool
    reasons: tuple[str, ...]
    agrees: bool | None
    images: int
    classes: tuple[str, ...]
    data: str
    value_range: tuple[float, float]

    @property
    def argument(self) -> str:
        """What --labels and `labels=` take for the best."""
        return self.best.order or ",".join(self.best.labels)

    def to_json(self) -> dict[str, Any]:
        """Return values that `json.dumps` takes."""
        return {**dataclasses.asdict(self), "argument": self.argument}


def label_order(
    weights: Weights,
    data: Data,
    *,
    config: str | os.PathLike[str] | None = None,
    architecture: str | None = None,
    output: str | int | None = None,
    value_range: tuple[float, float] | None = None,
    progress: Progress | None = None,
) -> LabelOrder:
    """Return what a network's outputs stand for, by its predictions on labelled faces.

    Names that come with the weights have no part in it but to be compared.

    Args:
        weights: a classifier, or any file that `ferjax.load` reads; None: ferjax's own.
        data: a folder that `ferjax data prepare` made, anything that `ferjax.data.read` reads, or
            Faces. Validation images are taken, or else test images, or else those of training; of
            more than 3,000 as many, drawn the same way every time.
        config, architecture: of a weights-only file, as for `ferjax.load`.
        output: of several outputs the one that is told, as for `ferjax.load`.
        value_range: what black and white are to the network; None: as the metadata says, or for a
            known network its source, or else its layers.
        progress: called with (done, total, unit) now and then.

    Raises:
        WeightFileError: the weights cannot be used.
        DataError: the data cannot be used, or has images of fewer than two classes.
    """
    classifier = _classifier(weights, config, architecture, output, value_range)
    faces, name = _faces(data, classifier.image_size, progress)
    present = np.unique(faces.labels)
    if len(present) < 2:
        raise DataError(
            f"{name}: expected images of two classes or more to tell outputs by, got images of "
            f"{len(present)}"
        )
    classes = tuple(faces.class_names[label] for label in present)
    labels = np.searchsorted(present, faces.labels)  # (N,), in [0, C)

    def predicted(done: int, total: int, unit: str) -> None:
        if progress is not None:  # reading counted images too
            progress(done, total, "predictions")

    probabilities = predict(classifier, faces.images, progress=predicted)
    measured = measure_order(
        labels, probabilities, classes, data=name, value_range=classifier.value_range
    )
    if not measured.clear and measured.best.accuracy < 0.5 and value_range is None:
        low, high = measured.value_range
        reason = f"the network may expect other values than [{low:g}, {high:g}] (--value-range)"
        measured = dataclasses.replace(measured, reasons=(*measured.reasons, reason))
    if not are_names(classifier.labels):
        return measured
    agrees = [*map(plain_name, classifier.labels)] == [*map(plain_name, measured.best.labels)]
    return dataclasses.replace(measured, agrees=agrees)


def measure_order(
    labels: Integers,
    probabilities: Floats,
    classes: Sequence[str],
    *,
    data: str = "",
    value_range: tuple[float, float] = (0.0, 1.0),
) -> LabelOrder:
    """Return what outputs stand for, from predictions.

    Args:
        labels: the true classes, int (N,), in [0, C), each with an image at least.
        probabilities: (N, K), K at least 2.
        classes: C names.
        data: what the images are, in words.
        value_range: what black and white were to the network.
    """
    outputs = probabilities.shape[1]
    counts = np.bincount(labels, minlength=len(classes))  # (C,)
    logs, fit = _centred(labels, probabilities, counts)
    best = _assigned(fit)
    second = _second(fit, best)
    candidate = partial(_candidate, labels, probabilities, classes)
    named = {
        order: places
        for order, names in ORDERS.items()
        if len(names) == outputs and (places := _places(names, classes)) is not None
    }
    orders = [
        dataclasses.replace(candidate(places), labels=ORDERS[order], order=order)
        for order, places in named.items()
    ]
    measured = candidate(best)
    runner_up = None if second is None else candidate(second)
    reasons = _lacking(classes, counts, measured.labels)
    if second is not None and _standard_errors(logs, labels, counts, best, second) < _SURE:
        reasons.append("another assignment fits these images about as well")
    elif runner_up is not None and runner_up.accuracy > measured.accuracy:
        reasons.append("the runner-up names more of the images right")
    if len(classes) < outputs:
        # Of the orders that agree with what was measured, one names the other outputs too.
        agreeing = [order for order, places in named.items() if np.array_equal(places, best)]
        if len(agreeing) == 1:
            measured = dataclasses.replace(measured, labels=ORDERS[agreeing[0]], order=agreeing[0])
    return LabelOrder(
        best=measured,
        runner_up=runner_up,
        orders=tuple(sorted(orders, key=lambda order: -order.accuracy)),
        clear=not reasons,
        reasons=tuple(reasons),
        agrees=None,
        images=len(labels),
        classes=tuple(classes),
        data=data,
        value_range=value_range,
    )


def _centred(labels: Integers, probabilities: Floats, counts: Integers) -> tuple[Floats, Floats]:
    """Return the logarithms of probabilities, (N, K), and their means by class, (C, K).

    Both without the mean of each row, and without how high each output is whatever the image.
    """
    logs = np.log(np.maximum(np.asarray(probabilities, np.float64), _LEAST))  # (N, K)
    fit = np.zeros((len(counts), logs.shape[1]))  # (C, K)
    np.add.at(fit, labels, logs)
    fit /= counts[:, None]
    level = fit.mean(0) - fit.mean()  # (K,)
    return logs - logs.mean(1, keepdims=True) - level, fit - fit.mean(1, keepdims=True) - level


def _candidate(
    labels: Integers, probabilities: Floats, classes: Sequence[str], assigned: Integers
) -> Candidate:
    """Return the names for an assignment, (C,), the output of each class or -1."""
    names = list(numbers(probabilities.shape[1]))
    for name, output in zip(classes, assigned):
        if output >= 0:
            names[output] = name
    hits = probabilities.argmax(1) == assigned[labels]
    return Candidate(labels=tuple(names), order=order_of(names), accuracy=float(hits.mean()))


def _lacking(classes: Sequence[str], counts: Integers, labels: Sequence[str]) -> list[str]:
    """Return what the data lacks to tell all of the outputs, measured to be `labels`, by."""
    reasons = []
    if len(classes) > len(labels):
        reasons.append(f"the data has {len(classes)} classes, the network {len(labels)} outputs")
    if len(classes) < len(labels):
        missing = [name for name in labels if name in numbers(len(labels))]
        which = f"output{'s' * (len(missing) > 1)} {', '.join(missing)}"
        reasons.append(f"the data has no class for {which}")
    few = [name for name, count in zip(classes, counts) if count < _FEW_IMAGES]
    if few:
        reasons.append(f"there are fewer than {_FEW_IMAGES} images of {', '.join(few)}")
    return reasons


def _assigned(fit: Floats) -> Integers:
    """Return the output of each class, (C,), -1 where there is none left for it."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(fit, maximize=True)
    assigned = np.full(len(fit), -1)
    assigned[rows] = columns
    return assigned


def _second(fit: Floats, best: Integers) -> Integers | None:
    """Return the best assignment that differs from the best in a pair at least."""
    second, highest = None, -np.inf
    for row in np.flatnonzero(best >= 0):
        without = fit.copy()
        without[row, best[row]] = -1e9
        assigned = _assigned(without)
        rows = np.flatnonzero(assigned >= 0)
        total = without[rows, assigned[rows]].sum()
        if total > max(highest, -1e8):
            second, highest = assigned, total
    return second


def _standard_errors(
    logs: Floats, labels: Integers, counts: Integers, best: Integers, second: Integers
) -> float:
    """Return by how many standard errors the best assignment fits better than the second."""
    padded = np.concatenate([logs, np.zeros((len(logs), 1))], axis=1)  # -1: a class without output
    rows = np.arange(len(labels))
    gain = padded[rows, best[labels]] - padded[rows, second[labels]]  # (N,)
    sums = np.bincount(labels, gain, len(counts)) / counts  # (C,)
    spread = np.bincount(labels, (gain - sums[labels]) ** 2, len(counts))
    variance = (spread / np.maximum(counts - 1, 1) / counts).sum()
    return float(sums.sum() / np.sqrt(variance)) if variance > 0 else 0.0


def _places(names: Sequence[str], classes: Sequence[str]) -> Integers | None:
    """Return where an order has each class, (C,); None where it lacks one."""
    plain = [plain_name(name) for name in classes]
    if not set(plain) <= set(names):
        return None
    return np.array([list(names).index(name) for name in plain])


def _classifier(
    weights: Weights,
    config: str | os.PathLike[str] | None,
    architecture: str | None,
    output: str | int | None,
    value_range: tuple[float, float] | None,
) -> EmotionClassifier:
    """Return the classifier, whose labels say nothing here."""
    if isinstance(weights, EmotionClassifier):
        return weights
    path = released.path_of(weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelsWarning)
        classifier = load(
            path, config=config, architecture=architecture, output=output, value_range=value_range
        )
    if value_range is None and metadata.value_range(classifier.metadata, path) is None:
        known = recognise(classifier.graph)
        if known is not None:
            classifier.value_range = known.value_range
    return classifier


def _faces(data: Data, size: tuple[int, int], progress: Progress | None) -> tuple[Faces, str]:
    """Return the images that are predicted, and what they are in words."""
    path = None
    if isinstance(data, Faces):
        faces = data
    else:
        path = os.fspath(data)
        if preparation.is_prepared(path):
            faces = preparation.load(path)
        else:
            height, width = (min(side, _LARGEST_SIDE) for side in size)
            try:
                read = sources.read(path, size=(height, width), skip_bad=True, progress=progress)
            except DataError as error:
                if "--" not in str(error):
                    raise
                where = "these are options of `ferjax data prepare`, whose folder is taken too"
                raise DataError(f"{error}; {where}") from None
            faces = splits.official(read.faces, left_out=[name for name, _ in read.bad])
    for split in ("validation", "test", "train"):
        part = faces.take(faces.in_split(split))
        if len(part):
            break
    else:
        raise DataError(f"expected images, the data has none among {', '.join(SPLITS)}")
    name = splits.part_name(part, split, path)
    if len(part) > _MOST_IMAGES:
        drawn = np.random.default_rng(0).permutation(len(part))[:_MOST_IMAGES]
        part = part.take(np.sort(drawn))
    return part, name
