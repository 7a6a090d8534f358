"""The device-resident pipeline: the images lie on the accelerator, batches are gathered in jit.

FER2013 is 83 MB as uint8, so the host sends only row numbers, 4 bytes an image. A training loop
takes a whole `Batch` by iteration, or runs many steps in one jit:

    rows, _ = pipeline.batches.block(step, steps=100)               # (100, B)
    state, _ = lax.scan(lambda state, rows: train(state, *pipeline.data.gather(rows)), state, rows)
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ferjax.data.order import Batches, PipelineError
from ferjax.data.pipelines import Batch, Images, Labels, Pipeline, VotedBatch
from ferjax.data.votes import Votes


class DeviceData(NamedTuple):
    """All images and labels on the device: a pytree, to be passed into jit as an argument.

    What a jitted function closes over is compiled into it as a constant instead.
    """

    images: jax.Array  # uint8 in [0, 255], (N, H, W) or (N, H, W, C)
    labels: jax.Array  # (N,) or (N, ...)
    votes: jax.Array | None = None  # float32, (N, V)

    def gather(self, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the images and labels at `rows`, int32 in [0, N), (B,)."""
        return (
            jnp.take(self.images, rows, axis=0, mode="clip"),
            jnp.take(self.labels, rows, axis=0, mode="clip"),
        )


class DevicePipeline(Pipeline):
    """Batches gathered on the device from images that lie there."""

    def __init__(
        self,
        images: Images,
        labels: Labels,
        batches: Batches,
        *,
        votes: Votes | None = None,
        sharding: jax.sharding.NamedSharding | None = None,
    ) -> None:
        """Copy the images to the device, or to every device of the sharding's mesh.

        Args:
            images, labels, votes: as for `Pipeline`.
            batches: which rows make up each batch. On several hosts each gives its own shard:
                shard_index=jax.process_index(), shard_count=jax.process_count().
            sharding: how batches are spread over devices, such as NamedSharding(mesh, P("data"));
                None leaves them on the default device. The batches are then global arrays.
        """
        super().__init__(images, labels, batches, votes)
        if sharding is not None and len(sharding.spec) > 1:
            raise PipelineError(
                "expected a `sharding` that splits the batch axis alone, such as "
                f"PartitionSpec('data'), got {sharding.spec}"
            )
        self._sharding = sharding
        arrays = DeviceData(self._images, self._labels, self._votes)  # type: ignore[arg-type]
        del self._images, self._labels, self._votes  # the device's copy is the one that is used
        if sharding is None:
            self.data = jax.tree.map(jnp.array, arrays)
        else:
            spec = jax.sharding.PartitionSpec()  # type: ignore[no-untyped-call]
            everywhere = jax.sharding.NamedSharding(sharding.mesh, spec)
            self.data = jax.tree.map(lambda a: jax.device_put(a, everywhere), arrays)

    def stream(self, step: int) -> Iterator[Batch | VotedBatch]:
        while self.batches.length is None or step < self.batches.length:
            rows, mask = (to_device(a, self._sharding) for a in self.batches.at(step))
            (images, labels), votes = _gather(self.data, rows)
            if votes is None:
                yield Batch(images, labels, rows, mask)
            else:
                yield VotedBatch(images, labels, rows, mask, votes)
            step += 1


@jax.jit
def _gather(
    data: DeviceData, rows: jax.Array
) -> tuple[tuple[jax.Array, jax.Array], jax.Array | None]:
    votes = None if data.votes is None else jnp.take(data.votes, rows, axis=0, mode="clip")
    return data.gather(rows), votes


def to_device(tree: Any, sharding: jax.sharding.NamedSharding | None = None) -> Any:
    """Put a batch, or any pytree of this host's part of it, on the devices.

    With a sharding the leaves become global arrays of which each host gave its part, so a
    `TFPipeline`'s batches go to a mesh by the same call.
    """
    if sharding is None:
        return jax.tree.map(jnp.asarray, tree)
    place = partial(jax.make_array_from_process_local_data, sharding)
    return jax.tree.map(lambda leaf: place(np.asarray(leaf)), tree)
