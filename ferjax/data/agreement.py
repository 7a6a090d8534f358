"""How far people agree on the faces of a dataset: with its labels, and with one another.

Dimension keys: N images, V columns of votes.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ferjax.data.dataset import Faces
from ferjax.data.votes import NO_EMOTION, Votes, paper_protocol
from ferjax.errors import FerjaxError

MISSING: Final = "Krippendorff's alpha needs krippendorff: pip install 'ferjax[agreement]'"


@dataclass(frozen=True, kw_only=True)
class OfClass:
    """What people say of the images that have one label.

    Attributes:
        images: with votes.
        clear: of them, those with a majority for a class.
        agree: of those, how many have it for the label.
        entropy: of the votes of an image, in bits; the mean over the images.
    """

    images: int
    clear: int
    agree: int
    entropy: float


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What `agreement` finds.

    Attributes:
        images: with votes.
        without_votes: other images.
        voters: how many people say something of an image: the least, the median and the most; None
            where votes are shares.
        clear: images with a majority for a class, by the paper's protocol.
        agree: of those, how many have it for their label.
        entropy: of the votes of an image, in bits; the mean over the images.
        by_class: the same for the images of each label.
        left_out: images that the paper's protocol leaves out, by reason.
        outliers: single votes of several, which the protocol leaves out, and all votes.
        alpha: Krippendorff's for names without an order, over all columns; None where nobody can
            tell it: votes are shares, no image has two, or all say the same.
        alpha_missing: why `alpha` is None, "" where it is not.
    """

    images: int
    without_votes: int
    voters: tuple[int, int, int] | None
    clear: int
    agree: int
    entropy: float
    by_class: dict[str, OfClass]
    left_out: dict[str, int]
    outliers: tuple[int, int]
    alpha: float | None
    alpha_missing: str

    def to_json(self) -> dict[str, Any]:
        """Return it as values that `json.dumps` takes."""
        return dataclasses.asdict(self)


def agreement(faces: Faces) -> Agreement:
    """Return how far people agree with the labels of faces with votes, and with one another."""
    if faces.votes is None:
        raise ValueError("expected faces with votes, got none")
    asked = faces.take(faces.votes.asked)
    votes = asked.votes
    assert votes is not None
    targets = paper_protocol(votes, asked.class_names)
    clear = targets.shares.any(1)
    agree = clear & (targets.shares.argmax(1) == asked.labels)
    bits = entropy(votes)
    by_class = {}
    for label, name in enumerate(asked.class_names):
        if (rows := asked.labels == label).any():
            by_class[name] = OfClass(
                images=int(rows.sum()),
                clear=int((clear & rows).sum()),
                agree=int((agree & rows).sum()),
                entropy=float(bits[rows].mean()),
            )
    sums = votes.counts.sum(1).astype(np.int64)
    singles = (votes.counts == 1) & (votes.counts.max(1, keepdims=True) > 1)
    try:
        alpha, missing = krippendorffs_alpha(votes), ""
    except FerjaxError as error:
        alpha, missing = None, str(error)
    voters = int(sums.min()), int(np.median(sums)), int(sums.max())
    return Agreement(
        images=len(asked),
        without_votes=len(faces) - len(asked),
        voters=None if votes.are_shares else voters,
        clear=int(clear.sum()),
        agree=int(agree.sum()),
        entropy=float(bits.mean()),
        by_class=by_class,
        left_out=dict(Counter(r for r in targets.reasons.tolist() if r).most_common()),
        outliers=(0 if votes.are_shares else int(singles.sum()), int(sums.sum())),
        alpha=alpha,
        alpha_missing=missing,
    )


def entropy(votes: Votes) -> npt.NDArray[np.float64]:
    """Return the entropy of each image's votes in bits, (N,); 0 where all say the same."""
    counts = votes.counts.astype(np.float64)
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.asarray(-(shares * logs).sum(1)) + 0.0


def krippendorffs_alpha(votes: Votes) -> float:
    """Return Krippendorff's alpha of what people said, as names without an order.

    1: all agree on every image; 0: as by chance. Images of which one person said something say
    nothing of it and are left out.

    Raises:
        FerjaxError: the package krippendorff is missing, votes are shares, no image has two votes,
            or all votes are for one name.
    """
    if votes.are_shares:
        raise FerjaxError("votes are shares, and Krippendorff's alpha is of counts")
    counts = votes.counts[votes.counts.sum(1) > 1]
    if not len(counts):
        raise FerjaxError("no image has two votes that could agree")
    if counts.any(0).sum() < 2:
        raise FerjaxError("all votes are for one name, and chance would agree as well")
    try:
        import krippendorff
    except ImportError:
        raise FerjaxError(MISSING) from None
    values = counts[:, counts.any(0)].astype(np.int64)
    return float(krippendorff.alpha(value_counts=values, level_of_measurement="nominal"))


def most_disputed(faces: Faces, most: int) -> npt.NDArray[np.int64]:
    """Return the positions of the faces that people disagree on most, in that order.

    Their votes are the most evenly spread. Left out are faces of which most people could not tell
    or saw none, those with votes for one name alone, and copies.
    """
    if faces.votes is None:
        raise ValueError("expected faces with votes, got none")
    counts = faces.votes.counts
    bits = entropy(faces.votes)
    names = np.array(faces.votes.names)
    no_face = np.isin(names[counts.argmax(1)], NO_EMOTION)
    rows = np.flatnonzero((bits > 0) & ~no_face)
    rows = rows[np.argsort(-bits[rows], kind="stable")]
    _, first = np.unique([faces.digests[row] for row in rows.tolist()], return_index=True)
    return rows[np.sort(first)][:most]
