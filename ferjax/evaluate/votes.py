"""What predictions are worth against the votes of several people, beside what people reach.

Dimension keys: N images, V columns of votes, K classes.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ferjax import priors
from ferjax.classifier import EmotionClassifier
from ferjax.data import votes as of_people
from ferjax.data.votes import Votes
from ferjax.emotions import EMOTIONS
from ferjax.errors import PriorError
from ferjax.evaluate.intervals import Interval, bootstrap_ratio
from ferjax.evaluate.metrics import Metrics, Probabilities, Reliability, measure, reliability
from ferjax.evaluate.predictions import calibrated_classes, predicted_classes
from ferjax.scaling import sum_to_one

_LEAST: Final = float(np.finfo(np.float64).eps)  # of a probability, as scikit-learn's log_loss


class Answer(NamedTuple):
    """What is said of N images: probabilities, (N, K), and the predicted classes, int (N,)."""

    probabilities: Probabilities
    predicted: npt.NDArray[np.integer]

    def take(self, rows: npt.NDArray[np.bool_]) -> Answer:
        """Return what is said of the images at `rows`, a mask."""
        return Answer(self.probabilities[rows], self.predicted[rows])


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over images, with its 95 % confidence interval by bootstrap over images."""

    value: float
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class People:
    """What people reach, by all votes as they were cast, those for no class among them.

    Attributes:
        images: with votes.
        images_with_majority: of them, for one of the classes.
        second_tagger: how probably two different people of an image say the same, drawn without
            replacement; the mean over the images with two votes or more. None where votes are
            shares and not people.
        second_tagger_with_majority: the same over the images with a majority.
        most_said: the share of the people of an image who say what most of them say; the mean over
            images. No single answer can agree with more people.
        most_said_with_majority: the same over the images with a majority: how often a person
            agrees with the majority of all, whose own vote is part of it.
        against_others: how often a person agrees with the majority of the others of the image,
            where these have a majority for one of the classes: the accuracy against the majority
            that a person reaches. None as for `second_tagger`.
    """

    images: int
    images_with_majority: int
    second_tagger: Mean | None
    second_tagger_with_majority: Mean | None
    most_said: Mean
    most_said_with_majority: Mean | None
    against_others: Mean | None


@dataclass(frozen=True, kw_only=True)
class Distances:
    """How far probabilities are from the shares of each class among the votes; lower is better.

    Single votes are left out, as in `ferjax.data.votes.distribution`.

    Attributes:
        images: with votes for the classes.
        cross_entropy: of the probabilities under the shares, mean over images, in nats.
        entropy: of the shares, in nats: what the cross-entropy is at the least.
        jensen_shannon: the Jensen-Shannon distance, the root of the divergence of base 2 (Endres
            and Schindelin, 2003), mean over images, in [0, 1].
    """

    images: int
    cross_entropy: Mean
    entropy: float
    jensen_shannon: Mean


@dataclass(frozen=True, kw_only=True)
class Answers:
    """One way to answer, against the votes.

    Attributes:
        majorities: against the majority, by the number of classes ("7 classes"), the data's own
            classes first; over the images that have a majority for one of them. A class that the
            network does not know is never predicted.
        single_tagger: how often a person of the image, drawn at random, says the predicted class:
            the mean share of votes for it, all votes counted, over all images with votes.
        single_tagger_with_majority: the same over the images with a majority for the data's
            classes; None without any.
        distances: None where the outputs are no distribution, or no vote is for the classes.
        reliability: confidence beside the share of people who say the predicted class, all votes
            counted, over all images with votes; None where the outputs are no distribution.
    """

    majorities: dict[str, Metrics]
    single_tagger: Mean
    single_tagger_with_majority: Mean | None
    distances: Distances | None
    reliability: Reliability | None


@dataclass(frozen=True, kw_only=True)
class Part:
    """Figures of one set of images.

    Attributes:
        left_out: by the number of classes: why images have no majority for them, and how many:
            "no votes", "no majority", or what their majority says ("contempt", "unknown").
        own_label: how often the dataset's own label is the majority for the data's classes; None
            without any.
        people: what people reach.
        answers: "training": as the network says; "calibrated": with the stored calibration, where
            the evaluation has one; "uniform": as if all classes were equally frequent, after the
            calibration if there is one, where the frequencies of the training are known.
    """

    left_out: dict[str, dict[str, int]]
    own_label: Mean | None
    people: People
    answers: dict[str, Answers]


@dataclass(frozen=True, kw_only=True)
class AgainstVotes:
    """What predictions are worth against the votes of several people.

    Attributes:
        names: what could be said.
        outliers: a column with so many votes of an image or fewer counts as none in majorities
            and distances.
        prior: the share of each class that the probabilities stood for before the uniform prior;
            None where nothing says, and there are no answers for that.
        no_uniform: why there are none.
        whole: on all images of the split.
        without_copies: on those that are no exact copy of a training image; None as in
            `Evaluation`.
    """

    names: tuple[str, ...]
    outliers: float
    prior: dict[str, float] | None
    no_uniform: str | None
    whole: Part
    without_copies: Part | None


def class_sets(class_names: Sequence[str], vote_names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the sets of classes that a majority may be for, the data's own first.

    With the classes that have votes and are none of the data's, if any; and without those that are
    more than `EMOTIONS`, if any.

    >>> list(class_sets(["calm", "tense"], ["calm", "tense", "bored", "unknown"]))
    ['2 classes', '3 classes']
    """
    own = tuple(class_names)
    beyond = tuple(name for name in vote_names if name not in (*own, *of_people.NO_EMOTION))
    sets = [own]
    if beyond:
        sets.append((*own, *beyond))
    if set(own) > set(EMOTIONS):
        sets.append(tuple(name for name in own if name in EMOTIONS))
    return {f"{len(names)} classes": names for names in sets}


def against_votes(
    votes: Votes,
    labels: npt.NDArray[np.integer],
    class_names: Sequence[str],
    answers: Mapping[str, Answer],
    *,
    seed: int = 0,
) -> Part | None:
    """Measure predictions against votes; None where no image has any.

    Args:
        votes: of N images.
        labels: int (N,), the dataset's own.
        class_names: K, the data's.
        answers: by the way to answer, as in `Part`.
        seed: of bootstraps.
    """
    asked = votes.asked
    if not asked.any():
        return None
    sets = class_sets(class_names, votes.names)
    own = of_people.majority(votes, class_names)
    has_majority = own >= 0
    return Part(
        left_out={name: _left_out(votes, names) for name, names in sets.items()},
        own_label=_mean(labels[has_majority] == own[has_majority], seed=seed),
        people=people(votes, class_names, seed=seed),
        answers={
            name: _answers(votes.take(asked), class_names, sets, answer.take(asked), seed=seed)
            for name, answer in answers.items()
        },
    )


def answers_of(
    classifier: EmotionClassifier,
    order: Sequence[int],
    probabilities: npt.NDArray[np.float32],
    *,
    is_calibrated: bool,
) -> tuple[dict[str, Answer], npt.NDArray[np.float64] | None, str | None]:
    """Return what is said by each way to answer, as in `Part`; the prior, and why there is none.

    Args:
        order: of the network's classes, as `outputs_of_classes` gives it.
        probabilities: of the data's classes, as the network says, (N, K).
        is_calibrated: whether the stored calibration holds for these.

    Returns:
        the answers; the share of each of the data's classes, (K,), that the last of them held for
        before the uniform prior; and why there is no answer for that.
    """
    predicted = predicted_classes(classifier.head, order, probabilities)
    answers = {"training": Answer(probabilities, predicted)}
    if not sum_to_one(probabilities):
        return answers, None, "the outputs are no distribution"
    scaling = classifier.scaling if is_calibrated else None
    if scaling is not None:
        probabilities, predicted = calibrated_classes(
            classifier.head, order, probabilities, scaling.take(order)
        )
        answers["calibrated"] = Answer(probabilities, predicted)
    try:
        prior = classifier.prior_after(scaling)
    except PriorError as error:
        return answers, None, str(error)
    if prior is None:
        return answers, None, str(priors.unknown())
    prior = prior[list(order)]
    uniform = priors.apply(probabilities, prior, np.full(len(prior), 1.0))
    answers["uniform"] = Answer(uniform, predicted_classes(classifier.head, order, uniform))
    return answers, prior, None


def people(votes: Votes, class_names: Sequence[str], *, seed: int = 0) -> People:
    """Return what people reach, of images of which one has votes at least."""
    asked = votes.take(votes.asked)
    counts = asked.counts.astype(np.float64)
    totals = counts.sum(1)
    has_majority = of_people.majority(asked, class_names) >= 0
    largest_share = counts.max(1) / totals
    second = second_with_majority = against_others = None
    if not asked.are_shares:
        pairs = totals * (totals - 1)
        agree = np.divide((counts * (counts - 1)).sum(1), pairs, out=pairs * 0, where=pairs > 0)
        second = _mean(agree[pairs > 0], seed=seed)
        second_with_majority = _mean(agree[(pairs > 0) & has_majority], seed=seed)
        against_others = _against_others(asked, class_names, seed=seed)
    most_said = _mean(largest_share, seed=seed)
    assert most_said is not None
    return People(
        images=len(asked),
        images_with_majority=int(has_majority.sum()),
        second_tagger=second,
        second_tagger_with_majority=second_with_majority,
        most_said=most_said,
        most_said_with_majority=_mean(largest_share[has_majority], seed=seed),
        against_others=against_others,
    )


def _against_others(votes: Votes, class_names: Sequence[str], *, seed: int) -> Mean | None:
    """Return how often a person agrees with the majority of the others of the image."""
    position = {name: k for k, name in enumerate(class_names)}
    totals = votes.counts.sum(1, dtype=np.float64)
    hits, weights = np.zeros(len(votes)), np.zeros(len(votes))
    for column, name in enumerate(votes.names):
        share = votes.counts[:, column] / totals  # of the people who say this
        others = votes.counts.copy()
        others[:, column] = np.maximum(others[:, column] - 1, 0)
        of_others = of_people.majority(Votes(counts=others, names=votes.names), class_names)
        weights += share * (of_others >= 0)
        hits += share * ((of_others >= 0) & (of_others == position.get(name, -1)))
    return _mean(hits, weights, seed=seed)


def _answers(
    votes: Votes,
    class_names: Sequence[str],
    sets: Mapping[str, tuple[str, ...]],
    answer: Answer,
    *,
    seed: int,
) -> Answers:
    """Measure one way to answer on images that have votes."""
    probabilities, predicted = np.asarray(answer.probabilities, np.float64), answer.predicted
    shares = _shares_of(votes, class_names)[np.arange(len(predicted)), predicted]
    has_majority = of_people.majority(votes, class_names) >= 0
    sums = probabilities.sum(1, keepdims=True)
    is_distribution = sum_to_one(probabilities)
    single = _mean(shares, seed=seed)
    assert single is not None
    measured = {
        name: _majority(votes, class_names, names, probabilities, predicted, seed=seed)
        for name, names in sets.items()
    }
    return Answers(
        majorities={name: metrics for name, metrics in measured.items() if metrics is not None},
        single_tagger=single,
        single_tagger_with_majority=_mean(shares[has_majority], seed=seed),
        distances=distances(votes, class_names, probabilities / sums, seed=seed)
        if is_distribution
        else None,
        reliability=reliability((probabilities / sums).max(1), shares) if is_distribution else None,
    )


def _majority(
    votes: Votes,
    class_names: Sequence[str],
    wanted: Sequence[str],
    probabilities: Probabilities,
    predicted: npt.NDArray[np.integer],
    *,
    seed: int,
) -> Metrics | None:
    """Measure against the majority, of the images that have one for a `wanted` class."""
    names = [*class_names, *(name for name in wanted if name not in class_names)]
    labels = of_people.majority(votes, names)
    has_majority = np.isin(labels, [names.index(name) for name in wanted])
    if not has_majority.any():
        return None
    wide = np.zeros((len(labels), len(names)))
    wide[:, : len(class_names)] = probabilities
    metrics = measure(
        labels[has_majority],
        wide[has_majority],
        names,
        predicted=predicted[has_majority],
        seed=seed,
    )
    # Confidence is compared with the votes themselves, of which a majority is a part.
    return dataclasses.replace(metrics, calibration=None, abstention=())


def distances(
    votes: Votes, class_names: Sequence[str], probabilities: Probabilities, *, seed: int = 0
) -> Distances | None:
    """Return how far probabilities, (N, K), whose rows sum to 1, are from the votes."""
    from scipy.spatial.distance import jensenshannon

    shares = of_people.distribution(votes, class_names).astype(np.float64)
    has_votes = shares.any(1)
    if not has_votes.any():
        return None
    q = shares[has_votes] / shares[has_votes].sum(1, keepdims=True)
    p = np.asarray(probabilities, np.float64)[has_votes]
    cross_entropy = _mean(-(q * np.log(np.maximum(p, _LEAST))).sum(1), seed=seed)
    distance = _mean(np.nan_to_num(jensenshannon(p, q, base=2, axis=1)), seed=seed)
    assert cross_entropy is not None
    assert distance is not None
    return Distances(
        images=len(q),
        cross_entropy=cross_entropy,
        entropy=float(-(q * np.log(np.maximum(q, _LEAST))).sum(1).mean()),
        jensen_shannon=distance,
    )


def _shares_of(votes: Votes, class_names: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return the share of all people who say each class, (N, K), of images with votes."""
    return votes.of(class_names) / votes.counts.sum(1, keepdims=True, dtype=np.float64)


def _left_out(votes: Votes, class_names: Sequence[str]) -> dict[str, int]:
    """Return why images have no majority for the classes, and how many."""
    counts = Counter(of_people.paper_protocol(votes, class_names).reasons.tolist())
    reasons = (of_people.NO_VOTES, of_people.NO_MAJORITY, *votes.names)
    return {reason: counts[reason] for reason in reasons if counts[reason]}


def _mean(
    values: npt.NDArray[np.floating] | npt.NDArray[np.bool_],
    weights: npt.NDArray[np.floating] | None = None,
    *,
    seed: int,
) -> Mean | None:
    """Return the mean of values, (N,), perhaps weighted, or None where there are none."""
    values = np.asarray(values, np.float64)
    weights = np.ones(len(values)) if weights is None else weights
    if not weights.any():
        return None
    return Mean(
        value=float(values.sum() / weights.sum()),
        interval=bootstrap_ratio(values, weights, seed=seed),
    )
