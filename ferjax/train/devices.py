"""Which devices a run uses, and how arrays lie on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ferjax import hardware
from ferjax.errors import first_line
from ferjax.train.errors import TrainingError

_AXIS = "data"


@dataclass(frozen=True)
class Devices:
    """All devices of all hosts along one axis: each takes its part of every batch.

    Batch norm's statistics are those of the whole batch: the step is one program over global
    arrays, and XLA adds the communication.
    """

    mesh: Mesh

    @classmethod
    def all(cls) -> Devices:
        count = jax.device_count()
        return cls(jax.make_mesh((count,), (_AXIS,), axis_types=(AxisType.Auto,)))

    @property
    def count(self) -> int:
        return int(self.mesh.size)

    @property
    def replicated(self) -> NamedSharding:
        """The whole array on every device: state and data."""
        return NamedSharding(self.mesh, PartitionSpec())  # type: ignore[no-untyped-call]

    @property
    def batch(self) -> NamedSharding:
        """The first axis divided: batches."""
        return NamedSharding(self.mesh, PartitionSpec(_AXIS))  # type: ignore[no-untyped-call]

    @property
    def block(self) -> NamedSharding:
        """The second axis divided: rows of several batches, (S, B)."""
        return NamedSharding(self.mesh, PartitionSpec(None, _AXIS))  # type: ignore[no-untyped-call]

    @property
    def shard(self) -> dict[str, int]:
        """Which part of each batch is this host's, as `ferjax.data.order` takes it."""
        return {"shard_index": jax.process_index(), "shard_count": jax.process_count()}

    def replicate(self, tree: Any) -> Any:
        """Put a pytree of host arrays, equal on all hosts, on every device."""
        return jax.tree.map(lambda leaf: jax.device_put(leaf, self.replicated), tree)

    def check_batch(self, batch_size: int) -> None:
        if batch_size % self.count:
            raise TrainingError(
                f"expected a `batch_size` that the {self.count} devices divide evenly, got "
                f"{batch_size}; --set batch_size={-(-batch_size // self.count) * self.count}"
            )

    def describe(self) -> str:
        """Return such as "2 x NVIDIA H100" or "CPU, 2 cores"."""
        names = hardware.described(self.mesh.devices.flatten().tolist())
        if names.startswith("CPU") and jax.process_count() > 1:
            names += f", {jax.process_count()} processes"
        return names


def initialize(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Join the other hosts of a run; call it before anything else uses JAX.

    On Cloud TPU, Slurm and Open MPI everything is found out by JAX; elsewhere all three are given.

    Args:
        coordinator: "host:port" of process 0.
        num_processes: how many take part.
        process_id: which this is, from 0.

    Raises:
        TrainingError: the others are not found.
    """
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    except Exception as error:  # jax raises ValueError, RuntimeError and its own
        raise TrainingError(
            f"no distributed run ({first_line(error)}); outside of Slurm, Open MPI and Cloud TPU "
            "give --coordinator HOST:PORT, --num-processes and --process-id"
        ) from None


def on_gpu() -> bool:
    return jax.default_backend() in ("gpu", "cuda", "rocm")
