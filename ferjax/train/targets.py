"""What is learnt of each image: its own label, what people said of it, or a part of each.

Where several people looked at an image, the share of each class among their votes says more than
one label: which emotions it is between, and where the label is a slip (Barsoum et al., arXiv
1608.01041). How much of a target is theirs is the recipe's `votes`.

Dimension keys: N images, K classes.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ferjax.data import votes as of_people
from ferjax.data.dataset import Faces
from ferjax.data.votes import Votes
from ferjax.train.recipes import Recipe

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class VoteTargets:
    """What votes make of the labels of images."""

    values: npt.NDArray[np.float32]  # (N, K), what is learnt of each image; adds up to 1
    # (N,), the class for which more than half of the votes are; -1: none is.
    majority: npt.NDArray[np.int32]
    # (N,), whose votes name a class; the others have their own label alone.
    named: npt.NDArray[np.bool_]


def of_votes(faces: Faces, recipe: Recipe) -> VoteTargets:
    """Return each image's target: its part `recipe.votes` is what people said, the rest the label.

    What people said is the share of each class among the votes for classes, or with `vote_target`
    "majority" the class for which more than half of all votes are. Votes name no class where less
    than half of them are for any of the data's classes, or for "majority" where no class has more
    than half.

    Args:
        faces: with votes.
        recipe: its `votes`, `vote_target` and `vote_outliers` count.
    """
    votes, classes = faces.votes, faces.class_names
    assert votes is not None
    majority = of_people.majority(votes, classes, outliers=recipe.vote_outliers)
    # In float64, so that a share of 1 leaves nothing of the label, and 0 nothing of the votes.
    own = np.eye(len(classes))[faces.labels]
    shares: Floats
    if recipe.vote_target == "majority":
        named = majority >= 0
        shares = np.eye(len(classes))[np.where(named, majority, 0)]
    else:
        shares = of_people.distribution(votes, classes, outliers=recipe.vote_outliers)
        # Shares are float32.
        named = _share_of_classes(votes, classes, recipe.vote_outliers) > 0.5 - 1e-6
    mixed = recipe.votes * shares.astype(np.float64) + (1 - recipe.votes) * own
    values = np.where(named[:, None], mixed, own)
    values /= values.sum(1, keepdims=True)
    return VoteTargets(values=values.astype(np.float32), majority=majority, named=named)


def _share_of_classes(votes: Votes, classes: Sequence[str], outliers: float) -> Floats:
    """Return which part of each image's votes is for any of the classes, (N,)."""
    shares = of_people.distribution(votes, votes.names, outliers=outliers)
    columns = [column for column, name in enumerate(votes.names) if name in classes]
    return np.asarray(shares[:, columns].sum(1, dtype=np.float64))


def checksum(*votes: Votes) -> str:
    """Return what tells these votes from others: a CRC-32, in hexadecimal."""
    total = 0
    for part in votes:
        total = zlib.crc32("\0".join(part.names).encode(), total)
        total = zlib.crc32(np.ascontiguousarray(part.counts).data, total)
    return f"{total:08x}"


def balanced_weights(targets: Floats) -> npt.NDArray[np.float32]:
    """Return each class's weight in the loss, n / (K * n_k), (K,), of targets (N, K).

    n_k is the sum of the targets for class k; see `ferjax.data.balance.class_weights`.

    >>> balanced_weights(np.array([[1, 0, 0], [0.5, 0.5, 0]])).tolist()
    [0.6666666865348816, 2.0, 0.0]
    """
    sums = targets.sum(0, dtype=np.float64)
    present = sums > 0
    weights = np.zeros(len(sums))
    weights[present] = sums.sum() / (present.sum() * sums[present])
    return weights.astype(np.float32)


def frequencies(
    targets: Floats,
    groups: npt.NDArray[np.integer] | None = None,
    class_weights: Floats | None = None,
) -> npt.NDArray[np.float64]:
    """Return the mean of the targets as the loss meets them, (K,): how often it is shown a class.

    Label smoothing is left out: it spreads a part of every target evenly, which calibration takes
    back.

    Args:
        targets: (N, K), each adds up to 1.
        groups: (N,), of which all come equally often; None: all images do.
        class_weights: (K,), times each image's loss by its target.

    >>> targets = np.array([[1, 0], [1, 0], [0.5, 0.5], [0, 1]])
    >>> frequencies(targets).tolist()
    [0.625, 0.375]
    >>> frequencies(targets, groups=np.array([0, 0, 0, 1])).round(4).tolist()
    [0.4167, 0.5833]
    """
    targets = targets.astype(np.float64)
    weights = np.ones(len(targets))
    if groups is not None:
        _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        weights /= sizes[group]
    if class_weights is not None:
        weights *= targets @ class_weights.astype(np.float64)
    total = weights @ targets
    return np.asarray(total / total.sum())


def prior(frequencies: Floats, logit_adjustment: float) -> npt.NDArray[np.float64]:
    """Return the class frequencies that a network's outputs stand for, (K,).

    With logits + tau * log frequencies in the loss, these are frequencies ** (1 - tau).

    >>> prior(np.array([0.8, 0.2, 0.0]), 0.5).round(4).tolist()
    [0.6667, 0.3333, 0.0]
    """
    present = frequencies > 0
    powers = np.where(present, frequencies, 1.0) ** (1 - logit_adjustment) * present
    return np.asarray(powers / powers.sum())


def logit_offsets(frequencies: Floats, logit_adjustment: float) -> npt.NDArray[np.float32] | None:
    """Return what is added to the logits in the loss, (K,): tau * log frequencies; None: nothing.

    Logit adjustment (Menon et al., arXiv 2007.07314, equation 10): the network need not learn that
    a class is rare. A class that is never shown gets 0, as its logarithm is not finite.
    """
    if not logit_adjustment:
        return None
    present = frequencies > 0
    logs = np.log(np.where(present, frequencies, 1.0))
    return (logit_adjustment * logs).astype(np.float32)
