"""How common each expression is, and what probabilities become where that differs from training.

A network's probabilities hold for faces among which each class is as common as among those that it
was trained on: its prior. Among other faces, Bayes' rule says what they become, exactly where they
are calibrated: p'(k) is proportional to p(k) * new(k) / old(k). How common the classes are among
unlabelled images can be estimated from the probabilities themselves: Saerens, Latinne and
Decaestecker, Neural Computation 14:21-41 (2002).

Dimension keys: B faces, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from ferjax.emotions import plain_name, positions
from ferjax.errors import FerjaxError, PriorError, PriorWarning, near_misses, warn_caller
from ferjax.scaling import sum_to_one

TRAINING: Final = "training"
UNIFORM: Final = "uniform"
ADAPT: Final = "adapt"
NAMES: Final = (TRAINING, UNIFORM, ADAPT)
FEW: Final = 100  # faces, below which an estimate is mostly chance
_LEAST: Final = 2
_MOST_ROUNDS: Final = 1000
_BLOCK: Final = 1 << 16  # rows
_SETTLED: Final = 1e-7  # of a share, between two rounds
_SMALLEST: Final = 1e-12  # share of a class, of which Bayes' rule keeps something
_LEFT: Final = 1e-9  # share of a class that no face seems to have

Shares: TypeAlias = Mapping[str, float] | Sequence[float] | npt.NDArray[Any]
"""How common each class is: by name, or K numbers in the order of the labels."""
Prior: TypeAlias = str | Shares
"""One of `NAMES`, or shares."""
Float64Array: TypeAlias = npt.NDArray[np.float64]


def shares(stated: Shares, labels: Sequence[str], *, name: str = "prior") -> Float64Array:
    """Return the share of each class, float64 (K,), which are positive and sum to 1.

    Args:
        stated: a number for each class, by name or in the order of `labels`: shares, percentages or
            counts, for only their ratios matter. Emotions may go by their other names.
        labels: the K class names.
        name: what it is called in errors.

    Raises:
        PriorError: a class is missing, unknown or given twice, or a number is not positive.

    >>> shares({"tense": 1, "calm": 3}, ["calm", "tense"]).tolist()
    [0.75, 0.25]
    """
    numbers: list[Any]
    if isinstance(stated, Mapping) or hasattr(stated, "keys"):
        numbers = _by_label(stated, labels, name)
    elif isinstance(stated, (str, bytes)) or not (
        isinstance(stated, Sequence) or getattr(stated, "ndim", 0) == 1
    ):
        raise PriorError(
            f"expected {_choices(name)} for `{name}`, got {stated!r:.100}"
            f"{near_misses(stated, NAMES) if isinstance(stated, str) and name == 'prior' else ''}"
        )
    else:
        numbers = list(stated)
        if len(numbers) != len(labels):
            raise PriorError(
                f"expected {len(labels)} numbers for `{name}`, in the order {', '.join(labels)}, "
                f"got {len(numbers)}"
            )
    values = [_positive(number, label, name) for number, label in zip(numbers, labels)]
    relative = np.array(values) / max(values)  # their sum may be beyond float64
    result = relative / relative.sum()
    if result.min() < _SMALLEST:
        raise PriorError(
            f"expected shares of at least {_SMALLEST:g} for `{name}`, got {result.min():.3g} of "
            f"{labels[int(result.argmin())]}"
        )
    return np.asarray(result, np.float64)


def check(prior: Prior, labels: Sequence[str]) -> None:
    """Raise the PriorError of a prior that says nothing of these classes."""
    if not (isinstance(prior, str) and prior in NAMES):
        shares(prior, labels)  # type: ignore[arg-type]  # another string is refused there


def wanted(prior: Prior, labels: Sequence[str]) -> Float64Array | None:
    """Return the shares that a prior other than "training" stands for, or None for "adapt"."""
    if isinstance(prior, str) and prior == ADAPT:
        return None
    if isinstance(prior, str) and prior == UNIFORM:
        return np.full(len(labels), 1 / len(labels))
    return shares(prior, labels)  # type: ignore[arg-type]


def is_training(prior: Prior) -> bool:
    """Whether probabilities stay as they are."""
    return isinstance(prior, str) and prior == TRAINING


def is_adapt(prior: Prior) -> bool:
    """Whether the prior is to be estimated."""
    return isinstance(prior, str) and prior == ADAPT


def apply(
    probabilities: npt.NDArray[np.floating],
    old: Sequence[float] | npt.NDArray[Any],
    new: Sequence[float] | npt.NDArray[Any],
) -> npt.NDArray[np.float32]:
    """Return what probabilities become under another prior, float32 (B, K); by Bayes' rule.

    Args:
        probabilities: (B, K), calibrated, each row of which sums to 1.
        old: (K,), the shares that they hold for; only the ratios matter.
        new: (K,), those that they are to hold for.

    Raises:
        PriorError: there are not as many shares as classes, or they are not positive, or the rows
            are no probabilities.

    >>> apply(np.array([[0.8, 0.2]]), old=[0.5, 0.5], new=[0.2, 0.8]).tolist()
    [[0.5, 0.5]]
    """
    rows = _checked(probabilities)
    old_shares, new_shares = _shares_of(rows, old, "old"), _shares_of(rows, new, "new")
    weighted = rows * (new_shares / old_shares)
    return np.asarray(weighted / weighted.sum(1, keepdims=True), np.float32)


def estimate(
    probabilities: npt.NDArray[np.floating], old: Sequence[float] | npt.NDArray[Any]
) -> Float64Array:
    """Return how common each class is among unlabelled faces, float64 (K,); it sums to 1.

    The most likely shares, by expectation-maximisation (Saerens et al. 2002): the mean of the
    probabilities under the shares found so far, over and over. Faces of a class must look as those
    did that the network was trained on; what is hard to tell apart is estimated badly.

    Args:
        probabilities: (B, K), calibrated, each row of which sums to 1.
        old: (K,), the shares that they hold for.

    Raises:
        PriorError: there are fewer than two faces, or probabilities that are none.

    Warns:
        PriorWarning: there are fewer than 100.

    >>> estimate(np.array([[1.0, 0.0]] * 50 + [[0.0, 1.0]] * 150), [0.5, 0.5]).tolist()
    [0.25, 0.75]
    """
    rows = _checked(probabilities)
    prior = _shares_of(rows, old, "old")
    if len(rows) < _LEAST:
        raise PriorError(
            f"expected at least {_LEAST} faces for the prior {ADAPT!r}, got {len(rows)}: how "
            f"common each class is cannot be told from them; give {UNIFORM!r} or shares by class"
        )
    if len(rows) < FEW:
        warn_caller(
            f"the prior is estimated from {len(rows)} faces; below {FEW} it is mostly chance",
            PriorWarning,
        )
    new = prior / prior.sum()
    for _ in range(_MOST_ROUNDS):
        before, total = new, np.zeros_like(new)
        for start in range(0, len(rows), _BLOCK):  # so that little is held beside the rows
            weighted = rows[start : start + _BLOCK] * (before / prior)
            total += (weighted / weighted.sum(1, keepdims=True)).sum(0)
        new = np.maximum(total / len(rows), _LEFT)
        new = new / new.sum()
        if np.abs(new - before).max() < _SETTLED:
            break
    return new


def _checked(probabilities: Any) -> npt.NDArray[Any]:
    """Return probabilities (B, K) as an array.

    Raises:
        PriorError: they are none.
    """
    try:
        rows = np.asarray(probabilities)
    except ValueError:  # rows of several lengths
        rows = np.empty(0)
    if rows.ndim != 2 or rows.dtype.kind not in "fiu" or not rows.shape[1]:
        raise PriorError(f"expected probabilities (B, K), got {rows.dtype} {rows.shape}")
    if not (sum_to_one(rows) and (rows >= 0).all()):
        raise PriorError("expected rows of probabilities that sum to 1")
    return rows


def _shares_of(rows: npt.NDArray[Any], stated: Any, name: str) -> Float64Array:
    """Return shares of the classes of `rows`, (K,)."""
    numbers = np.asarray(stated, np.float64)
    if numbers.shape != rows.shape[1:] or not ((numbers > 0) & np.isfinite(numbers)).all():
        raise PriorError(
            f"expected {rows.shape[1]} positive numbers for `{name}`, got {stated!r:.100}"
        )
    return numbers


def parse(text: str) -> str | dict[str, float]:
    """Return the prior that a text says: one of `NAMES`, or CLASS=SHARE,...

    Raises:
        PriorError: it is neither.

    >>> parse("happy=0.5, neutral=0.5")
    {'happy': 0.5, 'neutral': 0.5}
    """
    stripped = text.strip()
    if "=" not in stripped:
        if stripped in NAMES:
            return stripped
        raise PriorError(
            f"expected {_choices('prior')}, got {text!r:.100}{near_misses(stripped, NAMES)}"
        )
    by_label: dict[str, float] = {}
    for part in stripped.split(","):
        label, equals, number = (piece.strip() for piece in part.rpartition("="))
        try:
            value = math.nan if "_" in number else float(number)
        except ValueError:
            value = math.nan
        if not (label and equals and 0 < value < math.inf):
            raise PriorError(
                f"expected CLASS=SHARE with a share above 0, got {part.strip()!r:.100}"
            )
        if label in by_label:
            raise PriorError(f"expected each class once, got {label!r} more than once")
        by_label[label] = value
    return by_label


def as_text(by_label: Mapping[str, float]) -> str:
    """Return shares by class as `parse` reads them, of four digits.

    >>> as_text({"calm": 1 / 3, "tense": 2 / 3})
    'calm=0.3333,tense=0.6667'
    """
    return ",".join(f"{label}={share:.4g}" for label, share in by_label.items())


def of_metadata(metadata: Mapping[str, Any], labels: Sequence[str]) -> Float64Array | None:
    """Return the prior that a network's outputs hold for, float64 (K,), or None where it is not
    known.

    Args:
        metadata: of the weights: "prior", or else "training_frequencies".
        labels: what the classes are called in it, in output order.

    Raises:
        PriorError: it says something else, or that a class had no images.
    """
    for key in ("prior", "training_frequencies"):
        if metadata.get(key) is not None:
            stated = metadata[key]
            if not isinstance(stated, Mapping):
                raise PriorError(
                    f"metadata: expected shares by class for {key}, got {stated!r:.100}"
                )
            try:
                return shares(stated, labels, name=key)
            except PriorError as error:
                raise PriorError(
                    f"metadata: {error}; --training-frequencies (training_frequencies=) "
                    "CLASS=SHARE,... states others"
                ) from None
    return None


def unknown() -> FerjaxError:
    """Return what is raised where nobody knows the prior of the weights."""
    return PriorError(
        "the weights do not say how common each class was in their training, which a prior needs; "
        "state it: --training-frequencies (training_frequencies=) CLASS=SHARE,..."
    )


def _by_label(stated: Any, labels: Sequence[str], name: str) -> list[Any]:
    named = {key: stated[key] for key in stated.keys()}  # noqa: SIM118  # a Series iterates values
    if set(named) != set(labels):
        texts = [str(key) for key in named]
        order = positions(texts, labels)
        if order is None:
            raise PriorError(_mismatch(texts, labels, name))
        values = list(named.values())
        return [values[index] for index in order]
    return [named[label] for label in labels]


def _mismatch(stated: Sequence[str], labels: Sequence[str], name: str) -> str:
    """Return how the classes that are stated differ from those wanted."""
    plain_labels, plain_stated = (set(map(plain_name, names)) for names in (labels, stated))
    missing = [label for label in labels if plain_name(label) not in plain_stated]
    unknown = [key for key in stated if plain_name(key) not in plain_labels]
    got = []
    if unknown:
        got.append(
            f"{', '.join(map(repr, unknown))}, which is no class{near_misses(unknown[0], missing)}"
        )
    if missing:
        got.append(f"none for {', '.join(missing)}")
    return (
        f"expected a share of each of {', '.join(labels)} for `{name}`, got "
        f"{' and '.join(got) or 'classes more than once'}"
    )


def _positive(number: Any, label: str, name: str) -> float:
    value = math.nan
    if not isinstance(number, (str, bytes, bool, np.bool_)):
        with suppress(TypeError, ValueError, OverflowError):
            value = float(number)
    if not 0 < value < math.inf:
        least = "; a class that hardly occurs gets a small share" if value == 0 else ""
        raise PriorError(
            f"expected a positive share of {label} for `{name}`, got {number!r:.100}{least}"
        )
    return value


def _choices(name: str) -> str:
    choices = ", ".join(map(repr, NAMES)) + ", or " if name == "prior" else ""
    return f"{choices}a share of each class"
