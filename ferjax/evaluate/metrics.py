"""What predictions are worth: the usual figures, by scikit-learn, with intervals.

Dimension keys: N images, K classes, B bins.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ferjax._lazy import LazyModule
from ferjax.errors import FerjaxError
from ferjax.evaluate import intervals
from ferjax.evaluate.intervals import Interval, wilson
from ferjax.scaling import sum_to_one

sklearn: Any = LazyModule("sklearn.metrics")

BINS: Final = 15  # of the calibration error, as in Guo et al. (2017)

Labels = npt.NDArray[np.integer]
Probabilities = npt.NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class ClassMetrics:
    """One class against all others, as scikit-learn counts; None where a figure is undefined.

    Attributes:
        precision: of the images predicted as the class, the fraction that are.
        recall: of the class's images, the fraction that are predicted so.
        recall_interval: its 95 % confidence interval (Wilson).
        f1: their harmonic mean.
        average_precision: the area under precision against recall.
        support: the class's images.
        predicted: the images predicted as the class.
    """

    precision: float | None
    recall: float | None
    recall_interval: Interval | None
    f1: float | None
    average_precision: float | None
    support: int
    predicted: int


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Images of similar confidence.

    Attributes:
        low, high: between which confidences.
        images: how many.
        confidence: their mean confidence; None without images, as the next.
        accuracy: the fraction of them that is classified correctly.
    """

    low: float
    high: float
    images: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Confidence beside accuracy; lower errors are better.

    Attributes:
        ece_equal_width: the expected calibration error, the mean distance of confidence and
            accuracy over bins, weighted by their images (Naeini et al., 2015), in [0, 1]; bins of
            equal width.
        ece_equal_mass: the same over bins of equally many images (Nguyen and O'Connor, 2015).
        equal_width, equal_mass: the bins.
    """

    ece_equal_width: float
    ece_equal_mass: float
    equal_width: tuple[Bin, ...]
    equal_mass: tuple[Bin, ...]


@dataclass(frozen=True, kw_only=True)
class Calibration(Reliability):
    """How far probabilities can be taken at their word; lower is better.

    Attributes:
        negative_log_likelihood: mean over images, in nats.
        brier_score: the summed squared error over classes (Brier, 1950), in [0, 2].
    """

    negative_log_likelihood: float
    brier_score: float


@dataclass(frozen=True, kw_only=True)
class Abstention:
    """What is left where images of lower confidence than a threshold get no answer.

    Attributes:
        threshold: the lowest confidence that counts.
        images: that have it.
        coverage: their share.
        accuracy: among them; None without any.
        interval: its 95 % confidence interval (Wilson).
    """

    threshold: float
    images: int
    coverage: float
    accuracy: float | None
    interval: Interval | None


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Everything measured on one set of images.

    Attributes:
        images: N.
        correct: of them.
        accuracy: the fraction, in [0, 1].
        accuracy_interval: its 95 % confidence interval (Wilson, JASA 1927).
        balanced_accuracy: the mean recall of the classes that have images.
        balanced_accuracy_interval: 95 %, by bootstrap over images.
        macro_f1: the mean F1 of the classes that occur.
        macro_f1_interval: 95 %, by bootstrap over images.
        classes: by name.
        confusion: [true][predicted], images.
        calibration: None where the network's outputs are no distribution over classes.
        abstention: by threshold, from the lowest.
    """

    images: int
    correct: int
    accuracy: float
    accuracy_interval: Interval
    balanced_accuracy: float
    balanced_accuracy_interval: Interval
    macro_f1: float
    macro_f1_interval: Interval
    classes: dict[str, ClassMetrics]
    confusion: tuple[tuple[int, ...], ...]
    calibration: Calibration | None
    abstention: tuple[Abstention, ...]

    def to_json(self) -> dict[str, Any]:
        """Return values that `json.dumps` takes."""
        return dataclasses.asdict(self)


def measure(
    labels: Labels,
    probabilities: Probabilities,
    class_names: Sequence[str],
    *,
    predicted: Labels | None = None,
    seed: int = 0,
) -> Metrics:
    """Measure predictions against labels.

    Args:
        labels: int (N,), in [0, K); N at least 1.
        probabilities: (N, K), in [0, 1].
        class_names: K names.
        predicted: int (N,), the class that is said of each image, one of the most probable; None:
            the first of these. See `ferjax.nets.head`.
        seed: of the bootstrap.

    Raises:
        FerjaxError: scikit-learn is missing.
    """
    require_sklearn()
    probabilities = np.asarray(probabilities, np.float64)
    predicted = _predicted(probabilities, predicted)
    counts = sklearn.confusion_matrix(labels, predicted, labels=np.arange(len(class_names)))
    balanced, macro = intervals.bootstrap(
        counts, (intervals.balanced_accuracy, intervals.macro_f1), np.random.default_rng(seed)
    )
    correct, n = int(np.trace(counts)), len(labels)
    with warnings.catch_warnings():  # of predictions of classes without images
        warnings.simplefilter("ignore", UserWarning)
        balanced_accuracy = float(sklearn.balanced_accuracy_score(labels, predicted))
    return Metrics(
        images=n,
        correct=correct,
        accuracy=correct / n,
        accuracy_interval=wilson(correct, n),
        balanced_accuracy=balanced_accuracy,
        balanced_accuracy_interval=balanced,
        macro_f1=float(sklearn.f1_score(labels, predicted, average="macro")),
        macro_f1_interval=macro,
        classes=_class_metrics(labels, probabilities, predicted, counts, class_names),
        confusion=tuple(map(tuple, counts.tolist())),
        calibration=calibration(labels, probabilities, predicted=predicted),
        abstention=abstention(labels, probabilities, predicted=predicted),
    )


def _class_metrics(
    labels: Labels,
    probabilities: Probabilities,
    predicted: Labels,
    counts: npt.NDArray[np.integer],
    class_names: Sequence[str],
) -> dict[str, ClassMetrics]:
    precision, recall, f1, support = sklearn.precision_recall_fscore_support(
        labels, predicted, labels=np.arange(len(class_names)), zero_division=np.nan
    )
    result = {}
    for k, name in enumerate(class_names):
        interval = average = None
        if support[k]:
            interval = wilson(int(counts[k, k]), int(support[k]))
            average = float(sklearn.average_precision_score(labels == k, probabilities[:, k]))
        result[name] = ClassMetrics(
            precision=_number(precision[k]),
            recall=_number(recall[k]),
            recall_interval=interval,
            f1=_number(f1[k]),
            average_precision=average,
            support=int(support[k]),
            predicted=int(counts[:, k].sum()),
        )
    return result


def calibration(
    labels: Labels, probabilities: Probabilities, *, predicted: Labels | None = None
) -> Calibration | None:
    """Return the figures of calibration, or None where the rows do not sum to 1."""
    predicted = _predicted(probabilities, predicted)
    probabilities = np.asarray(probabilities, np.float64)
    if not sum_to_one(probabilities):
        return None
    # float32 softmaxes are off by 1e-7.
    probabilities = probabilities / probabilities.sum(1, keepdims=True)
    classes = np.arange(probabilities.shape[1])
    bins = reliability(probabilities.max(1), predicted == labels)
    return Calibration(
        negative_log_likelihood=float(sklearn.log_loss(labels, probabilities, labels=classes)),
        brier_score=float(
            sklearn.brier_score_loss(labels, probabilities, labels=classes, scale_by_half=False)
        ),
        **vars(bins),
    )


def reliability(confidence: Probabilities, correct: npt.NDArray[Any]) -> Reliability:
    """Return confidence beside what it promises, over bins.

    Args:
        confidence: (N,), in [0, 1].
        correct: (N,), whether each prediction is right, or the share of people who say so.
    """
    # Intervals are closed above, as Guo et al. have them.
    edges = np.linspace(0, 1, BINS + 1)
    bins = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, BINS - 1)  # (N,)
    width = [
        _bin(confidence[bins == b], correct[bins == b], (edges[b], edges[b + 1]))
        for b in range(BINS)
    ]
    order = np.argsort(confidence, kind="stable")
    mass = [
        _bin(confidence[rows], correct[rows], (confidence[rows[0]], confidence[rows[-1]]))
        for rows in np.array_split(order, BINS)
        if len(rows)
    ]
    return Reliability(
        ece_equal_width=_error(width),
        ece_equal_mass=_error(mass),
        equal_width=tuple(width),
        equal_mass=tuple(mass),
    )


def abstention(
    labels: Labels,
    probabilities: Probabilities,
    thresholds: Sequence[float] = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95),
    *,
    predicted: Labels | None = None,
) -> tuple[Abstention, ...]:
    """Return accuracy among the images whose confidence reaches each threshold."""
    confidence = probabilities.max(1)
    correct = _predicted(probabilities, predicted) == labels
    rows = []
    for threshold in thresholds:
        answered = confidence >= threshold
        hits, n = int(correct[answered].sum()), int(answered.sum())
        rows.append(
            Abstention(
                threshold=threshold,
                images=n,
                coverage=n / len(labels),
                accuracy=hits / n if n else None,
                interval=wilson(hits, n) if n else None,
            )
        )
    return tuple(rows)


def require_sklearn() -> None:
    """Raise where scikit-learn is not installed."""
    try:
        import sklearn.metrics  # noqa: F401
    except ImportError as error:
        raise FerjaxError(
            "evaluating needs scikit-learn: pip install 'ferjax[evaluate]'"
        ) from error


def _predicted(probabilities: Probabilities, predicted: Labels | None) -> Labels:
    return np.asarray(probabilities).argmax(1) if predicted is None else predicted


def _bin(
    confidence: Probabilities, correct: npt.NDArray[np.bool_], ends: tuple[float, float]
) -> Bin:
    n = len(confidence)
    return Bin(
        low=float(ends[0]),
        high=float(ends[1]),
        images=n,
        confidence=float(confidence.mean()) if n else None,
        accuracy=float(correct.mean()) if n else None,
    )


def _error(bins: Sequence[Bin]) -> float:
    total = sum(b.images for b in bins)
    return sum(
        b.images * abs(b.confidence - b.accuracy)
        for b in bins
        if b.confidence is not None and b.accuracy is not None
    ) / max(total, 1)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
