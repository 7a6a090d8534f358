"""What the tf.data and the device-resident pipeline share: batches, and a place to resume at.

Both take the same arrays and the same `TrainingBatches` or `EvaluationBatches`, and give the same
batches, element for element:

    batches = TrainingBatches(order=Shuffled(size=len(train), seed=0), batch_size=64)
    pipeline = DevicePipeline(train.images, train.labels, batches)  # or TFPipeline
    iterator = pipeline.start(step=1200)                            # as if it had run until there
    batch = next(iterator)
    state = iterator.get_state()                                    # goes into the checkpoint

Dimension keys: N images, B batch, H height, W width, C channels, K classes, V columns of votes.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ferjax.data.order import Batches, PipelineError, check_integer
from ferjax.data.votes import Votes

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[Any]


class Batch(NamedTuple):
    """Images with their labels: a pytree of NumPy or JAX arrays."""

    images: Any  # uint8 in [0, 255], (B, H, W) or (B, H, W, C)
    labels: Any  # as they were given: int32 (B,), or one row an image such as (B, K)
    rows: Any  # int32, (B,): where each image stands in the pipeline's arrays
    mask: Any  # bool, (B,): False for what only fills the last batch of an evaluation


class VotedBatch(NamedTuple):
    """A `Batch` of images of which the pipeline has votes."""

    images: Any
    labels: Any
    rows: Any
    mask: Any
    votes: Any  # float32, (B, V): how many people said what of each image


class Pipeline(abc.ABC):
    """Batches of images; each `iter` or `start` begins anew."""

    def __init__(
        self, images: Images, labels: Labels, batches: Batches, votes: Votes | None = None
    ) -> None:
        """Check that the arrays fit `batches`.

        Args:
            images: uint8 in [0, 255], (N, H, W) or (N, H, W, C).
            labels: (N,) integers, or (N, ...) such as one-hot or soft labels.
            batches: which rows make up each batch; its `size` is N.
            votes: of N images, such as `Faces.votes`; each batch is a `VotedBatch` then.
        """
        images, labels = np.asarray(images), np.asarray(labels)
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            raise PipelineError(
                "expected uint8 of shape (N, H, W) or (N, H, W, C) for `images`, "
                f"got {images.dtype} {images.shape}"
            )
        if labels.shape[:1] != images.shape[:1]:
            raise PipelineError(
                f"expected as many `labels` as images, {len(images)}, got shape {labels.shape}"
            )
        if batches.size != len(images):
            raise PipelineError(
                f"expected `batches` over {len(images)} images, got batches over {batches.size}; "
                "make their order with size=len(images)"
            )
        if labels.dtype.kind in "iu":
            labels = labels.astype(np.int32)
        elif labels.dtype.kind == "f":
            labels = labels.astype(np.float32)
        else:
            raise PipelineError(f"expected numbers for `labels`, got {labels.dtype}")
        if votes is not None and len(votes) != len(images):
            raise PipelineError(
                f"expected `votes` of as many images, {len(images)}, got of {len(votes)}"
            )
        self.batches = batches
        self._images, self._labels = images, labels
        self._votes = None if votes is None else votes.counts

    def start(self, step: int = 0) -> BatchIterator:
        """Begin with batch `step`, counted from the start of training."""
        return BatchIterator(self, step)

    def __iter__(self) -> BatchIterator:
        return self.start()

    @abc.abstractmethod
    def stream(self, step: int) -> Iterator[Batch | VotedBatch]:
        """Yield the batches from `step` on."""


class BatchIterator(Iterator[Batch | VotedBatch]):
    """Batches in order, with a state of a few numbers that says exactly which is next."""

    def __init__(self, pipeline: Pipeline, step: int) -> None:
        self._pipeline = pipeline
        self._seek(step)

    def _seek(self, step: int) -> None:
        check_integer("step", step, 0)
        self._step = int(step)
        self._stream: Iterator[Batch | VotedBatch] | None = None  # opened by the first batch

    @property
    def step(self) -> int:
        """The batch that comes next. Batches fetched ahead do not count."""
        return self._step

    def __next__(self) -> Batch | VotedBatch:
        if self._stream is None:
            self._stream = self._pipeline.stream(self._step)
        batch = next(self._stream)
        self._step += 1
        return batch

    def get_state(self) -> dict[str, Any]:
        """Return where the iterator stands and in what order, ready for JSON.

        It is the same on all shards, and may be restored with another number of them.
        """
        return {"step": self._step, **self._pipeline.batches.settings}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go to where `get_state` was called, in a pipeline of the same data and order."""
        here = self._pipeline.batches.settings
        for name in sorted({*here, *state} - {"step"}):
            if here.get(name) != state.get(name):
                raise PipelineError(
                    f"expected a state with {name} {here.get(name)!r}, as this pipeline has, got "
                    f"{state.get(name)!r}; make the pipeline as it was, or begin anew with "
                    "start(step)"
                )
        if "step" not in state:
            raise PipelineError("expected a `step` in the pipeline's state, got none")
        self._seek(state["step"])
