"""Against unequal classes: weights for the loss, or an order that shows all classes equally often.

Dimension keys: N images, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ferjax.data.order import Order, PipelineError, check_integer, checksum, permutation, read_only

_MIXED, _CLASSES = 1, 2  # streams of the seed; 0 is the plain shuffle's


def class_weights(
    labels: npt.NDArray[np.integer[Any]], num_classes: int
) -> npt.NDArray[np.float32]:
    """Return each class's weight in the loss, n / (K * n_k), (K,): their mean over images is 1.

    A class without images gets weight 0 and does not count in K.

    Args:
        labels: integers in [0, K), (N,).
        num_classes: K.

    >>> class_weights(np.array([0, 0, 0, 1]), 2).tolist()
    [0.6666666865348816, 2.0]
    """
    check_integer("num_classes", num_classes, 1)
    counts = np.bincount(_checked(labels, num_classes), minlength=num_classes)
    present = counts > 0
    weights = np.zeros(num_classes, np.float64)
    weights[present] = len(labels) / (present.sum() * counts[present])
    return weights.astype(np.float32)


def _checked(labels: npt.NDArray[Any], num_classes: int | None = None) -> npt.NDArray[np.int64]:
    labels = np.asarray(labels)
    if labels.ndim != 1 or not len(labels) or labels.dtype.kind not in "iu":
        raise PipelineError(
            f"expected integers of shape (N,) for `labels`, got {labels.dtype} {labels.shape}"
        )
    low, high = labels.min(), labels.max()
    if low < 0 or (num_classes is not None and high >= num_classes):
        limit = "" if num_classes is None else f" and below {num_classes}"
        wrong = low if low < 0 else high
        raise PipelineError(f"expected `labels` of at least 0{limit}, got {wrong}")
    return labels.astype(np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Balanced(Order):
    """All classes equally often in each epoch of N images, within one.

    Each class is an endless sequence of shuffles of its own images, from which every epoch takes
    the next ones. So over any number of epochs the images of one class come equally often, within
    one: those of a small class several times an epoch, those of a large one once in several epochs.

    >>> order = Balanced(labels=np.array([0, 0, 0, 0, 0, 1]), seed=3)
    >>> order.epoch(0).tolist(), order.epoch(1).tolist()
    ([5, 2, 5, 4, 0, 5], [1, 4, 5, 5, 5, 3])
    """

    labels: npt.NDArray[np.integer[Any]]  # (N,), at least 0
    seed: int = 0  # in [0, 2**63)
    size: int = field(init=False)  # N, images
    _epochs: dict[int, npt.NDArray[np.int32]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        check_integer("seed", self.seed, 0)
        object.__setattr__(self, "labels", read_only(_checked(self.labels)))
        object.__setattr__(self, "size", len(self.labels))

    @cached_property
    def _members(self) -> list[npt.NDArray[np.intp]]:
        """The rows of each class that has any."""
        return [np.flatnonzero(self.labels == k) for k in np.unique(self.labels)]

    def epoch(self, epoch: int) -> npt.NDArray[np.int32]:
        if epoch not in self._epochs:
            if len(self._epochs) > 3:
                self._epochs.pop(next(iter(self._epochs)), None)
            self._epochs[epoch] = read_only(self._draw(epoch))
        return self._epochs[epoch]

    def _draw(self, epoch: int) -> npt.NDArray[np.int32]:
        size, classes = self.size, len(self._members)
        parts = []
        for k, members in enumerate(self._members):
            # floor((e N + k) / K), summed over the K classes, is e N: no epoch is short or long.
            start, stop = ((e * size + k) // classes for e in (epoch, epoch + 1))
            rounds = range(start // len(members), -(-stop // len(members)))
            shuffles = [self._shuffle(members, k, number) for number in rounds]
            first = start - rounds.start * len(members)
            parts.append(np.concatenate(shuffles)[first : first + stop - start])
        rows = np.concatenate(parts)
        mixed = rows[permutation(size, seed=self.seed, number=epoch, stream=_MIXED)]
        return mixed.astype(np.int32)

    def _shuffle(self, members: npt.NDArray[np.intp], k: int, number: int) -> npt.NDArray[np.intp]:
        return members[
            permutation(len(members), seed=self.seed, number=number, stream=_CLASSES + k)
        ]

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "order": "balanced",
            "size": self.size,
            "seed": int(self.seed),
            "labels": checksum(self.labels),
        }
