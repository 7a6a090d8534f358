"""Which image stands where in training and evaluation: pure functions of (seed, step).

Nothing here holds state: step k's rows are found by arithmetic, so a pipeline that is stopped goes
on exactly where it was, and all pipelines share one order. Dimension keys: N images, B batch, S
steps.
"""

from __future__ import annotations

import abc
import math
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ferjax.errors import FerjaxError

_LARGEST = 2**31 - 1  # rows are int32, as JAX indexes


class PipelineError(FerjaxError, ValueError):
    """An input pipeline's settings, arrays or saved state do not fit."""


def check_integer(name: str, value: object, low: int, high: int = 2**63 - 1) -> None:
    """Raise unless `value` is an integer in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise PipelineError(f"expected an integer for `{name}`, got {value!r}")
    if not low <= value <= high:
        limit = f"of at least {low}" if value < low else f"of at most {high}"
        raise PipelineError(f"expected an integer {limit} for `{name}`, got {value}")


def permutation(size: int, *, seed: int, number: int, stream: int = 0) -> npt.NDArray[np.intp]:
    """Shuffle the positions [0, size), (size,), the same on every machine and NumPy version.

    The order is that of 64 random bits a position, by a stable sort. The bits are Philox's own
    output (Salmon et al., SC 2011), which NumPy promises to keep; it promises no such thing of its
    `shuffle`.

    Args:
        seed: in [0, 2**63).
        number: which shuffle of the seed's, such as the epoch.
        stream: tells uses of the same seed and number apart.

    >>> permutation(6, seed=0, number=0).tolist()
    [0, 2, 1, 5, 4, 3]
    """
    bits = np.random.Philox(
        key=np.array([seed, number], np.uint64), counter=np.array([0, 0, 0, stream], np.uint64)
    )
    return np.argsort(bits.random_raw(size), kind="stable")


class Order(abc.ABC):
    """Rows for each epoch, as many as there are images: a pure function of (seed, epoch)."""

    size: int
    seed: int

    @abc.abstractmethod
    def epoch(self, epoch: int) -> npt.NDArray[np.int32]:
        """Return an epoch's rows, int32 in [0, N), (N,); read only."""

    @property
    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """What determines the rows, ready for JSON."""


@dataclass(frozen=True, kw_only=True)
class Shuffled(Order):
    """Every image once an epoch, each epoch in an order of its own.

    >>> Shuffled(size=4, seed=7).epoch(0).tolist(), Shuffled(size=4, seed=7).epoch(1).tolist()
    ([1, 3, 2, 0], [3, 1, 2, 0])
    """

    size: int  # N, images
    seed: int = 0  # in [0, 2**63)

    def __post_init__(self) -> None:
        check_integer("size", self.size, 1, _LARGEST)
        check_integer("seed", self.seed, 0)

    def epoch(self, epoch: int) -> npt.NDArray[np.int32]:
        return _shuffled_epoch(self.size, self.seed, epoch)

    @property
    def settings(self) -> dict[str, Any]:
        return {"order": "shuffled", "size": int(self.size), "seed": int(self.seed)}


@lru_cache(maxsize=4)  # a batch reads one epoch or, over the border, two
def _shuffled_epoch(size: int, seed: int, epoch: int) -> npt.NDArray[np.int32]:
    return read_only(permutation(size, seed=seed, number=epoch).astype(np.int32))


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.setflags(write=False)
    return array


def checksum(array: npt.NDArray[Any]) -> str:
    """Return 8 hexadecimal digits that tell arrays apart."""
    return f"{zlib.crc32(array.tobytes()):08x}"


class Selection(NamedTuple):
    """The rows of a batch, and which of them count."""

    rows: npt.NDArray[np.int32]  # (B,), or (S, B) for a block
    mask: npt.NDArray[np.bool_]  # the same shape; False where the row only pads


@dataclass(frozen=True, kw_only=True)
class _Batches(abc.ABC):
    batch_size: int  # B, over all shards
    shard_index: int = 0  # which part of each batch is this host's
    shard_count: int = 1  # hosts that share each batch

    def __post_init__(self) -> None:
        check_integer("batch_size", self.batch_size, 1, _LARGEST)
        check_integer("shard_count", self.shard_count, 1)
        check_integer("shard_index", self.shard_index, 0, self.shard_count - 1)
        if self.batch_size % self.shard_count:
            raise PipelineError(
                f"expected a `batch_size` that {self.shard_count} shards divide evenly, "
                f"got {self.batch_size}"
            )

    @property
    def local_batch_size(self) -> int:
        """Images of a batch that this shard delivers."""
        return self.batch_size // self.shard_count

    def at(self, step: int) -> Selection:
        """Return this shard's part of batch `step`: rows int32 and mask, (B / shards,)."""
        rows, mask = self.block(step, 1)
        return Selection(rows[0], mask[0])

    def block(self, step: int, steps: int) -> Selection:
        """Return this shard's part of `steps` batches from `step` on: (S, B / shards)."""
        check_integer("step", step, 0, _LARGEST)
        check_integer("steps", steps, 1, _LARGEST)
        local = self.local_batch_size
        firsts = (step + np.arange(steps, dtype=np.int64)) * self.batch_size
        return self._select(
            firsts[:, None] + (self.shard_index * local + np.arange(local, dtype=np.int64))[None]
        )

    @abc.abstractmethod
    def _select(self, places: npt.NDArray[np.int64]) -> Selection:
        """Return what stands at `places`, counted in images from the first batch's first."""

    @property
    @abc.abstractmethod
    def length(self) -> int | None:
        """How many batches there are; None where they never end."""

    @property
    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """What determines the batches of all shards together, ready for JSON."""


@dataclass(frozen=True, kw_only=True)
class TrainingBatches(_Batches):
    """Full batches without end, cut from the epochs laid end to end.

    So a batch may hold the last images of one epoch and the first of the next, every image comes
    exactly once an epoch, none is dropped, and all batches have one shape.

    >>> batches = TrainingBatches(order=Shuffled(size=4, seed=7), batch_size=3)
    >>> [batches.at(step).rows.tolist() for step in range(3)]
    [[1, 3, 2], [0, 3, 1], [2, 0, 0]]
    >>> batches.position(1), batches.steps(epochs=3)
    ((0, 3), 4)
    """

    order: Order

    def position(self, step: int) -> tuple[int, int]:
        """Return the epoch, and the images into it, at which batch `step` begins."""
        return divmod(step * self.batch_size, self.size)

    def steps(self, epochs: int) -> int:
        """Return after how many steps `epochs` epochs are complete."""
        return math.ceil(epochs * self.size / self.batch_size)

    def _select(self, places: npt.NDArray[np.int64]) -> Selection:
        epochs, offsets = np.divmod(places.reshape(-1), self.size)
        rows = np.empty(epochs.shape, np.int32)
        # Places rise, so those of an epoch stand together.
        numbers, firsts = np.unique(epochs, return_index=True)
        for epoch, first, end in zip(numbers, firsts, [*firsts[1:], len(epochs)]):
            rows[first:end] = self.order.epoch(int(epoch))[offsets[first:end]]
        return Selection(rows.reshape(places.shape), np.ones(places.shape, np.bool_))

    @property
    def length(self) -> None:
        return None

    @property
    def size(self) -> int:
        """N, the images that are read from."""
        return self.order.size

    @property
    def settings(self) -> dict[str, Any]:
        return {**self.order.settings, "batch_size": int(self.batch_size)}


@dataclass(frozen=True, kw_only=True)
class EvaluationBatches(_Batches):
    """Every image exactly once, in the order of the rows; the last batch is padded under a mask.

    All shards have equally many batches, so none waits for another at the end.

    >>> batches = EvaluationBatches(size=3, batch_size=2)
    >>> batches.at(1)
    Selection(rows=array([2, 0], dtype=int32), mask=array([ True, False]))
    """

    size: int  # N, images

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("size", self.size, 1, _LARGEST)

    def __len__(self) -> int:
        return -(-self.size // self.batch_size)

    def _select(self, places: npt.NDArray[np.int64]) -> Selection:
        mask = places < self.size
        return Selection(np.where(mask, places, 0).astype(np.int32), mask)

    @property
    def length(self) -> int:
        return len(self)

    @property
    def settings(self) -> dict[str, Any]:
        return {"order": "in sequence", "size": int(self.size), "batch_size": int(self.batch_size)}


Batches = TrainingBatches | EvaluationBatches
