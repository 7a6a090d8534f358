"""The tf.data pipeline: batches of NumPy arrays, prepared ahead on the host's CPU.

tf.data does not restore how its shuffle goes on (tensorflow#48178), so another way is taken: the
images lie in memory as one tensor, which is the cache; whole batches are gathered from it by rows
that are a function of (seed, step), which is the shuffle, the repeat and the sharding; and starting
at any step is arithmetic. TensorFlow is imported here alone, when the first pipeline is made.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from typing import Any

from ferjax.data.order import Batches, PipelineError, check_integer
from ferjax.data.pipelines import Batch, Images, Labels, Pipeline, VotedBatch
from ferjax.data.votes import Votes

ROWS_AT_ONCE = 2**18  # nine epochs of FER2013, 1 MB


class TFPipeline(Pipeline):
    """Batches by tf.data. Use it where TensorFlow's tools read the data, or the device is full."""

    def __init__(
        self,
        images: Images,
        labels: Labels,
        batches: Batches,
        *,
        votes: Votes | None = None,
        prefetch: int | None = None,
    ) -> None:
        """Hold the images as one tensor in the host's memory.

        Args:
            images, labels, batches, votes: as for `Pipeline`.
            prefetch: batches made ahead; None lets tf.data choose.
        """
        super().__init__(images, labels, batches, votes)
        if prefetch is not None:
            check_integer("prefetch", prefetch, 1)
        self._tf = tensorflow_on_cpu()
        self._prefetch = self._tf.data.AUTOTUNE if prefetch is None else prefetch
        with self._tf.device("/CPU:0"):
            arrays = [self._images, self._labels, self._votes]
            self._arrays = [self._tf.constant(a) for a in arrays if a is not None]
        del self._images, self._labels, self._votes  # the tensors are what is used

    def dataset(self, step: int = 0, *, steps: int) -> Any:
        """Return `steps` batches from `step` on as a tf.data.Dataset, each a `Batch` of tensors."""
        tf, arrays = self._tf, self._arrays

        def gather(rows: Any, mask: Any) -> Batch | VotedBatch:
            images, labels, *votes = (tf.gather(array, rows) for array in arrays)
            batch = (images, labels, rows, mask)
            return VotedBatch(*batch, *votes) if votes else Batch(*batch)

        as_it_is = tf.autograph.experimental.do_not_convert  # no loops or branches to translate
        options = tf.data.Options()
        options.deterministic = True
        # No Python runs inside the dataset: a thread that waits for the interpreter while it shuts
        # down would never end.
        with tf.device("/CPU:0"):
            return (
                tf.data.Dataset.from_tensor_slices(tuple(self.batches.block(step, steps)))
                .map(as_it_is(gather), num_parallel_calls=tf.data.AUTOTUNE)
                .prefetch(self._prefetch)
                .with_options(options)
            )

    def stream(self, step: int) -> Iterator[Batch | VotedBatch]:
        at_once = max(1, ROWS_AT_ONCE // self.batches.local_batch_size)
        while self.batches.length is None or step < self.batches.length:
            left = at_once if self.batches.length is None else self.batches.length - step
            steps = min(at_once, left)
            yield from self.dataset(step, steps=steps).as_numpy_iterator()
            step += steps


def tensorflow_on_cpu() -> Any:
    """Import TensorFlow and leave the accelerators to JAX."""
    try:
        tf = importlib.import_module("tensorflow")
    except ModuleNotFoundError as error:
        raise PipelineError(
            "the tf.data pipeline needs TensorFlow; install it with pip install 'ferjax[train]', "
            "or use DevicePipeline, which gives the same batches"
        ) from error
    if tf.config.get_visible_devices("GPU"):
        try:
            tf.config.set_visible_devices([], "GPU")
        except RuntimeError:  # it was used before, and holds most of the GPU's memory already
            warnings.warn(
                "TensorFlow used the GPU before this pipeline could hide it; make the pipeline "
                "before any other use of TensorFlow, or JAX may run out of memory",
                RuntimeWarning,
                stacklevel=3,
            )
    return tf
