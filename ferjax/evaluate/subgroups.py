"""For whom a classifier fails: figures by group of people, and whether chance explains the gaps.

The groups come from the user's own table (`attributes.read_attributes`); nobody's attributes are
guessed. Every attribute is compared, and every pair of attributes; a combination that no image has
is no group.

Two permutation tests stand beside each gap in accuracy. The first asks whether the groups differ at
all: if they did not, the images' group tags could be exchanged. The second exchanges them among
images of one true class only, so that groups that merely show more of the difficult expressions do
not count as treated worse. Neither says why there is a gap.

Dimension keys: N images, G groups, K classes, S strata of images, R resamples.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ferjax.errors import DataError
from ferjax.evaluate.attributes import Attributes
from ferjax.evaluate.intervals import Interval, accuracy, bootstrap, macro_f1, wilson

MAX_COMPARISONS: Final = 200

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Group:
    """How the classifier does on one group of people.

    Intervals are 95 % percentile intervals of the bootstrap over the group's images; they are too
    narrow for groups of a dozen. Where all images are correct, or none is, every resample is alike:
    the accuracy's interval is then Wilson's (JASA 1927), and the macro F1 has none.

    Attributes:
        values: of the attribute, or of both attributes of a pair.
        images: n.
        correct: of them.
        accuracy: the fraction, in [0, 1].
        accuracy_interval: its interval.
        macro_f1: the mean F1 of the classes that occur among the group's labels or predictions.
        macro_f1_interval: its interval, or None.
        recall: by class, the fraction of its images that were found; None without any.
        support: by class, how many images it has.
        small: too few images: left out of gaps, ratio and tests.
    """

    values: tuple[str, ...]
    images: int
    correct: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    macro_f1: float
    macro_f1_interval: tuple[float, float] | None
    recall: dict[str, float | None]
    support: dict[str, int]
    small: bool

    @property
    def name(self) -> str:
        """The values, as in "female, 20-39"."""
        return ", ".join(self.values)


@dataclass(frozen=True, kw_only=True)
class Gap:
    """The largest difference of a figure between two groups.

    Attributes:
        size: the difference, in [0, 1].
        low: the name of the group with the lowest figure.
        high: the name of the group with the highest.
        low_value: the lowest figure.
        high_value: the highest.
        class_name: the class whose recall it is; None for other figures.
    """

    size: float
    low: str
    high: str
    low_value: float
    high_value: float
    class_name: str | None = None


@dataclass(frozen=True, kw_only=True)
class GroupComparison:
    """The groups of an attribute, or of a pair of them, against each other.

    Gaps, ratio and tests are about the groups that are not small, and None with fewer than two.
    The macro F1 of groups in which different classes occur is the mean of different classes.

    Attributes:
        attributes: one name or two.
        stated: how many images have a value of each.
        compared: how many of them are in groups that are not small.
        groups: sorted by value; those of a pair are the combinations that occur.
        gap: of accuracy.
        ratio: the lowest accuracy divided by the highest; None if that is 0.
        macro_f1_gap: of macro F1.
        recall_gap: the largest of any class, among groups with enough images of this class.
        p_value: of the gap in accuracy, group tags being exchangeable among all images.
        p_corrected: by Holm's method (Scand. J. Statist. 1979), for the number of comparisons.
        standardised_gap: the largest difference between groups of (correct - expected) / n, where
            each class's overall recall says what is expected of the group's mixture of classes.
        p_value_same_classes: of the standardised gap, group tags being exchangeable among images
            of the same true class.
        p_corrected_same_classes: by Holm's method.
        notes: why something is missing.
    """

    attributes: tuple[str, ...]
    stated: int
    compared: int
    groups: tuple[Group, ...]
    gap: Gap | None = None
    ratio: float | None = None
    macro_f1_gap: Gap | None = None
    recall_gap: Gap | None = None
    p_value: float | None = None
    p_corrected: float | None = None
    standardised_gap: float | None = None
    p_value_same_classes: float | None = None
    p_corrected_same_classes: float | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """The attributes, as in "gender, age_group"."""
        return ", ".join(self.attributes)


@dataclass(frozen=True, kw_only=True)
class Subgroups:
    """All comparisons, and how they were made.

    Attributes:
        images: N.
        stated: by attribute, how many images have a value of it.
        comparisons: of each attribute, sorted by name, then of each pair.
        tested: how many of them the p-values are corrected for.
        smallest: groups with fewer images are small.
        resamples: of each permutation test.
        bootstrap: resamples of each interval.
        seed: of all randomness.
        notes: what did not fit while reading the attributes.
    """

    images: int
    stated: dict[str, int]
    comparisons: tuple[GroupComparison, ...]
    tested: int
    smallest: int
    resamples: int
    bootstrap: int
    seed: int
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return values that `json.dumps` takes."""
        return dataclasses.asdict(self)


def compare_groups(
    attributes: Attributes,
    labels: npt.ArrayLike,
    predicted: npt.ArrayLike,
    class_names: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = 9999,
    bootstrap: int = 2000,
    smallest: int = 30,
) -> Subgroups:
    """Compare how a classifier does on groups of people.

    Equal arguments give equal results, whatever the order of the attributes.

    Args:
        attributes: what `read_attributes` returned for the N images.
        labels: true classes, int (N,), positions in `class_names`.
        predicted: predicted classes, int (N,).
        class_names: K names.
        seed: of all randomness, at least 0.
        resamples: of each permutation test; no p-value is below 1 / (resamples + 1).
        bootstrap: resamples of each interval.
        smallest: images that a group needs to be compared.

    Raises:
        DataError: the attributes make more than 200 comparisons.
        ValueError: the arrays do not fit each other, or an option is out of range.
    """
    _check_options(seed=seed, resamples=resamples, bootstrap=bootstrap, smallest=smallest)
    true = _classes("labels", labels, len(class_names))
    answers = _classes("predicted", predicted, len(class_names))
    if len(true) != len(answers):
        raise ValueError(
            f"expected as many predictions as labels, got {len(answers)} and {len(true)}"
        )
    for name, column in attributes.columns.items():
        if len(column) != len(true):
            raise ValueError(f"expected {len(true)} values of {name!r}, got {len(column)}")
    check_comparisons(attributes)
    names = sorted(attributes.columns)
    coded = {name: _coded(attributes.columns[name]) for name in names}
    comparisons = []
    for chosen in [(name,) for name in names] + list(itertools.combinations(names, 2)):
        values, codes = _combined([coded[name] for name in chosen])
        confusion = _confusion(codes, true, answers, len(values), len(class_names))  # (G, K, K)
        rng = _generator(seed, "intervals", *chosen)
        groups = [
            _group(value, matrix, class_names, bootstrap, smallest, rng)
            for value, matrix in zip(values, confusion)
        ]
        comparison = GroupComparison(
            attributes=chosen,
            stated=int(confusion.sum()),
            compared=sum(group.images for group in groups if not group.small),
            groups=tuple(groups),
        )
        comparisons.append(_tested(comparison, confusion, smallest, resamples, seed))
    return Subgroups(
        images=len(true),
        stated={name: int((codes >= 0).sum()) for name, (_, codes) in coded.items()},
        comparisons=_corrected(comparisons),
        tested=sum(comparison.p_value is not None for comparison in comparisons),
        smallest=smallest,
        resamples=resamples,
        bootstrap=bootstrap,
        seed=seed,
        notes=attributes.notes,
    )


def _check_options(*, seed: int, **counts: int) -> None:
    for name, value, least in (("seed", seed, 0), *((n, v, 1) for n, v in counts.items())):
        if value < least:
            raise ValueError(f"expected at least {least} for {name!r}, got {value}")


def _confusion(codes: Counts, true: Counts, answers: Counts, groups: int, classes: int) -> Counts:
    """Return the confusion matrix of each group, (G, K, K), by the images' groups, -1 for none."""
    cells = (codes * classes + true) * classes + answers
    counts = np.bincount(cells[codes >= 0], minlength=groups * classes**2)
    return counts.reshape(groups, classes, classes)


def check_comparisons(attributes: Attributes) -> None:
    """Raise where attributes make more than 200 comparisons: before long work for them.

    Raises:
        DataError: they do.
    """
    count = len(attributes.columns)
    pairs = count * (count - 1) // 2
    if count + pairs > MAX_COMPARISONS:
        raise DataError(
            f"expected at most {MAX_COMPARISONS} comparisons, {count} attributes and their "
            f"{pairs} pairs make {count + pairs}: leave columns out"
        )


def _classes(name: str, values: npt.ArrayLike, classes: int) -> Counts:
    array = np.asarray(values)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"expected int (N,) for {name!r}, got {array.dtype} {array.shape}")
    if array.size and (array.min() < 0 or array.max() >= classes):
        raise ValueError(f"expected {name!r} in [0, {classes}), got {array.min()} to {array.max()}")
    return array.astype(np.int64)


def _generator(seed: int, *names: str) -> np.random.Generator:
    """Return a generator of its own for each purpose, whatever else is computed, in any order."""
    digest = hashlib.blake2b(repr(names).encode("utf-8", "replace"), digest_size=8).digest()
    return np.random.default_rng([seed, int.from_bytes(digest, "big")])


def _coded(column: Sequence[str | None]) -> tuple[list[tuple[str, ...]], Counts]:
    """Return the values, sorted, and each image's position in them, (N,), -1 where not stated."""
    values = sorted({value for value in column if value is not None})
    position = {value: code for code, value in enumerate(values)}
    codes = [-1 if value is None else position[value] for value in column]
    return [(value,) for value in values], np.array(codes, np.int64)


def _combined(
    coded: Sequence[tuple[list[tuple[str, ...]], Counts]],
) -> tuple[list[tuple[str, ...]], Counts]:
    """Return the same for the combinations that occur."""
    if len(coded) == 1:
        return coded[0]
    (first, a), (second, b) = coded
    stated = (a >= 0) & (b >= 0)
    combinations, inverse = np.unique(a[stated] * len(second) + b[stated], return_inverse=True)
    codes = np.full(len(a), -1, np.int64)
    codes[stated] = inverse
    return [first[i] + second[j] for i, j in zip(*np.divmod(combinations, len(second)))], codes


def _group(
    values: tuple[str, ...],
    confusion: Counts,
    class_names: Sequence[str],
    draws: int,
    smallest: int,
    rng: np.random.Generator,
) -> Group:
    hits, support = confusion.diagonal(), confusion.sum(1)
    n, correct = int(confusion.sum()), int(hits.sum())
    accuracy_interval: Interval = wilson(correct, n)
    macro_f1_interval: Interval | None = None
    if 0 < correct < n:
        accuracy_interval, macro_f1_interval = bootstrap(
            confusion, (accuracy, macro_f1), rng, draws=draws
        )
    return Group(
        values=values,
        images=n,
        correct=correct,
        accuracy=correct / n,
        accuracy_interval=accuracy_interval,
        macro_f1=float(macro_f1(confusion)),
        macro_f1_interval=macro_f1_interval,
        recall={
            name: correct / images if images else None
            for name, correct, images in zip(class_names, hits.tolist(), support.tolist())
        },
        support=dict(zip(class_names, support.tolist())),
        small=n < smallest,
    )


def _tested(
    comparison: GroupComparison, confusion: Counts, smallest: int, resamples: int, seed: int
) -> GroupComparison:
    """Add gaps, ratio and p-values."""
    large = [row for row, group in enumerate(comparison.groups) if not group.small]
    groups = [comparison.groups[row] for row in large]
    if len(groups) < 2:
        note = f"fewer than two groups of at least {smallest} images: nothing to compare"
        return replace(comparison, notes=(note,))
    gap = _gap([(group.name, group.accuracy) for group in groups])
    sizes = confusion[large].sum(2)  # (G, K)
    correct = confusion[large].diagonal(axis1=1, axis2=2)
    _, p_value = _permutation_test(
        sizes.sum(1, keepdims=True),
        correct.sum(1, keepdims=True),
        resamples,
        _generator(seed, "test", *comparison.attributes),
    )
    standardised_gap, p_value_same_classes = _permutation_test(
        sizes, correct, resamples, _generator(seed, "test by class", *comparison.attributes)
    )
    return replace(
        comparison,
        gap=gap,
        ratio=gap.low_value / gap.high_value if gap.high_value else None,
        macro_f1_gap=_gap([(group.name, group.macro_f1) for group in groups]),
        recall_gap=_recall_gap(groups, smallest),
        p_value=p_value,
        standardised_gap=standardised_gap,
        p_value_same_classes=p_value_same_classes,
    )


def _gap(figures: Sequence[tuple[str, float]], class_name: str | None = None) -> Gap:
    low = min(figures, key=lambda figure: figure[1])
    # The last of equals, so that without a gap two groups are named still.
    high = max(reversed(figures), key=lambda figure: figure[1])
    return Gap(
        size=high[1] - low[1],
        low=low[0],
        high=high[0],
        low_value=low[1],
        high_value=high[1],
        class_name=class_name,
    )


def _recall_gap(groups: Sequence[Group], smallest: int) -> Gap | None:
    gaps = []
    for name in groups[0].support:
        figures = [
            (group.name, recall)
            for group in groups
            if group.support[name] >= smallest and (recall := group.recall[name]) is not None
        ]
        if len(figures) > 1:
            gaps.append(_gap(figures, name))
    return max(gaps, key=lambda gap: gap.size, default=None)


def _permutation_test(
    sizes: Counts, correct: Counts, resamples: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the largest gap between groups and its p-value, tags being permuted within strata.

    The figure of a group is (correct - expected) / n, expected at the strata's overall accuracies;
    in a single stratum its gaps are those of accuracy. As images are correct or not, permuting the
    tags of a stratum draws its correct ones over the groups without replacement: a multivariate
    hypergeometric draw.

    Args:
        sizes: images by group and stratum, (G, S).
        correct: of them, (G, S).
    """
    occurs = sizes.sum(0) > 0
    sizes, correct = sizes[:, occurs], correct[:, occurs]
    n = sizes.sum(1)
    expected = sizes @ (correct.sum(0) / sizes.sum(0))  # (G,)
    gap = float(np.ptp((correct.sum(1) - expected) / n))
    drawn = np.zeros((resamples, len(n)), np.int64)
    for size, total in zip(sizes.T, correct.sum(0)):
        drawn += rng.multivariate_hypergeometric(size, total, size=resamples)
    gaps = np.ptp((drawn - expected) / n, axis=1)  # (R,)
    at_least = int((gaps >= gap - 1e-12).sum())  # equal gaps may differ in their last bit
    return gap, (1 + at_least) / (1 + resamples)


def _corrected(comparisons: Sequence[GroupComparison]) -> tuple[GroupComparison, ...]:
    plain = _holm([comparison.p_value for comparison in comparisons])
    same = _holm([comparison.p_value_same_classes for comparison in comparisons])
    return tuple(
        replace(comparison, p_corrected=p, p_corrected_same_classes=q)
        for comparison, p, q in zip(comparisons, plain, same)
    )


def _holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected by Holm's method; None stays None and does not count.

    >>> _holm([0.01, 0.04, None, 0.03, 0.005])
    [0.03, 0.06, None, 0.06, 0.02]
    """
    corrected: list[float | None] = [None] * len(p_values)
    ranked = sorted((p, position) for position, p in enumerate(p_values) if p is not None)
    highest = 0.0
    for rank, (p, position) in enumerate(ranked):
        highest = min(1.0, max(highest, (len(ranked) - rank) * p))
        corrected[position] = highest
    return corrected
