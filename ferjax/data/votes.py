"""What several people said of each image: votes, and what a network may learn from them.

Votes are kept as they were counted. What is left out, and what the target of an image becomes, is
decided where they are used: `paper_protocol` is that of FER+ (Barsoum et al., arXiv 1608.01041).

Dimension keys: N images, V columns of votes, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

UNKNOWN: Final = "unknown"  # the person saw a face, and could not tell
NOT_A_FACE: Final = "not a face"
NO_EMOTION: Final = (UNKNOWN, NOT_A_FACE)
OUTLIERS: Final = 1.0  # votes of an image for a class that count as none, in FER+'s protocol
BY_MAJORITY: Final = "majority of people"  # what labels are called that most people gave

MODES: Final = ("majority", "probability")
# Why the protocol leaves an image out, beside the names of `NO_EMOTION` and of classes that are not
# asked for, which most people said.
NO_VOTES: Final = "no votes"
NO_MAJORITY: Final = "no majority"

_ENOUGH: Final = 0.75  # of the votes: shares of further classes are left out
_MOST: Final = 3  # classes that share an image


@dataclass(frozen=True, kw_only=True)
class Votes:
    """How many people said what of each image.

    Attributes:
        counts: float32 (N, V), at least 0: people, or shares of them. A row of zeros: nobody was
            asked.
        names: V, what could be said: emotions by ferjax's names, and perhaps those of `NO_EMOTION`.
    """

    counts: npt.NDArray[np.float32]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        counts = self.counts
        if counts.dtype != np.float32 or counts.ndim != 2 or counts.shape[1] != len(self.names):
            raise ValueError(
                f"expected float32 (N, {len(self.names)}) for `counts`, "
                f"got {counts.dtype} {counts.shape}"
            )
        if not (np.isfinite(counts).all() and (counts >= 0).all()):
            raise ValueError("expected finite `counts` of at least 0")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"expected different `names`, got {', '.join(self.names)}")

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def asked(self) -> npt.NDArray[np.bool_]:
        """Which images have votes, (N,)."""
        return np.asarray(self.counts.any(1))

    @property
    def are_shares(self) -> bool:
        """Whether some are no whole numbers: nobody knows then of how many people they are."""
        return not np.array_equal(self.counts, np.rint(self.counts))

    def of(self, class_names: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return the votes for each class, (N, K); zeros for a class without a column."""
        return _of_classes(self.counts.astype(np.float64), self.names, class_names)

    def take(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> Votes:
        """Return the votes of the images at `rows`, positions or a mask."""
        return Votes(counts=self.counts[rows], names=self.names)


def distribution(
    votes: Votes, class_names: Sequence[str], *, outliers: float = OUTLIERS
) -> npt.NDArray[np.float32]:
    """Return the share of each class among the votes for classes, float32 (N, K).

    A row of zeros: no vote is left for any of the classes.

    Args:
        class_names: K; a class without a column has no votes.
        outliers: a column with this many votes of an image or fewer counts as none, as one in ten
            is more likely a slip than a view; 0 keeps all. Where no more would be left, all stay.
    """
    counts = _of_classes(_without_outliers(votes, outliers), votes.names, class_names)
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    return shares.astype(np.float32)


def majority(
    votes: Votes, class_names: Sequence[str], *, outliers: float = OUTLIERS
) -> npt.NDArray[np.int32]:
    """Return the class for which more than half of the votes are, int32 (N,); -1 where none is.

    The "majority" of Barsoum et al.: single votes are left out first, and those for "unknown" and
    "not a face" count among all.

    Args:
        class_names, outliers: as for `distribution`.
    """
    wins = _has_majority(_without_outliers(votes, outliers))
    position = {name: k for k, name in enumerate(class_names)}
    of_column = np.array([position.get(name, -1) for name in votes.names], np.int32)
    return np.where(wins.any(1), of_column[wins.argmax(1)], -1).astype(np.int32)


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What the protocol of FER+'s authors makes of votes.

    Attributes:
        shares: float32 (N, K), rows that sum to 1, or to 0 where the image is left out.
        reasons: N, why each image is left out, "" where it stays: `NO_VOTES`, `NO_MAJORITY`, a
            name of `NO_EMOTION`, or a class that is not among K, such as contempt.
    """

    shares: npt.NDArray[np.float32]
    reasons: npt.NDArray[np.str_]


def paper_protocol(votes: Votes, class_names: Sequence[str], *, mode: str = "majority") -> Targets:
    """Return what a network learns of each image by Barsoum et al. (arXiv 1608.01041).

    Single votes are outliers and left out. Then, by mode:

    - "majority": all of the target is the class for which more than half of the votes are, those
      for "unknown" and "not a face" counted.
    - "probability": the shares of the classes with the most votes: from the largest on, until they
      hold three quarters of the votes, three classes at most. Label drawing draws from these, and
      the cross-entropy of the paper compares with them. An image is left out where they hold no
      more than half of the votes, or where equal numbers make them more than three.

    An image that most people called "unknown" or "not a face" is left out. Where all votes are
    single ones, or shares, none is an outlier.

    Args:
        class_names: K; a class that is left out of them leaves its images out.
        mode: one of `MODES`.
    """
    if mode not in MODES:
        raise ValueError(f"expected {' or '.join(MODES)} for `mode`, got {mode!r}")
    counts = _without_outliers(votes, OUTLIERS)
    if mode == "majority":
        taken = np.where(_has_majority(counts), counts, 0.0)
        clear = taken.any(1)
    else:
        taken, clear = _largest(counts, ~np.isin(votes.names, NO_EMOTION))
    best = taken.argmax(1)
    shares = _of_classes(taken, votes.names, class_names)
    sums = shares.sum(1, keepdims=True)
    stays = clear & np.isin(np.array(votes.names)[best], class_names) & (sums[:, 0] > 0)
    shares = np.divide(shares, sums, out=np.zeros_like(shares), where=stays[:, None])
    reasons = np.where(clear, np.array(votes.names)[best], NO_MAJORITY)
    reasons = np.where(votes.asked, reasons, NO_VOTES)
    return Targets(
        shares=shares.astype(np.float32), reasons=np.where(stays, "", reasons).astype(np.str_)
    )


def _largest(
    counts: npt.NDArray[np.float64], of_emotions: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return the largest counts of each row, (N, V), and whether they speak clearly, (N,).

    Columns for no emotion end the taking; they are taken themselves where nothing was before.
    """
    totals = counts.sum(1)
    left = counts.copy()
    taken = np.zeros_like(counts)
    seen = np.zeros(len(counts))
    ended = totals == 0
    for _ in range(_MOST):
        number = (taken > 0).sum(1)
        open_ = ~ended & (seen < _ENOUGH * totals) & (number < _MOST)
        hits = open_[:, None] & (left == left.max(1, keepdims=True)) & (left > 0)
        emotions = hits & of_emotions
        no_emotion = hits & ~of_emotions
        # Of "unknown" and "not a face" with equal counts, one.
        first = np.cumsum(no_emotion, 1) == 1
        alone = ~(taken.any(1) | emotions.any(1))
        new = emotions | (no_emotion & first & alone[:, None])
        taken = np.where(new, left, taken)
        seen += np.where(hits, left, 0.0).sum(1)
        left = np.where(hits, 0.0, left)
        ended |= no_emotion.any(1)
    clear = (taken.sum(1) > 0.5 * totals) & ((taken > 0).sum(1) <= _MOST)
    return taken, clear


def _has_majority(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return for which column of each row more than half of its votes are, if for any, (N, V)."""
    return np.asarray(counts > 0.5 * counts.sum(1, keepdims=True))


def _without_outliers(votes: Votes, outliers: float) -> npt.NDArray[np.float64]:
    counts = votes.counts.astype(np.float64)
    several = np.where(counts > outliers, counts, 0.0)
    return np.where(several.any(1, keepdims=True), several, counts)


def _of_classes(
    counts: npt.NDArray[np.float64], names: Sequence[str], class_names: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Return the columns of the classes, (N, K); zeros for a class without one."""
    is_class = np.array(names, object)[:, None] == np.array(class_names, object)  # (V, K)
    return counts @ is_class.astype(np.float64)
