"""Loss and accuracy over every validation image, each exactly once."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from ferjax.data.dataset import Faces
from ferjax.data.device_pipeline import DevicePipeline, to_device
from ferjax.data.order import EvaluationBatches
from ferjax.nets.network import Network
from ferjax.train.devices import Devices
from ferjax.train.step import eval_step
from ferjax.xla import compiler_options

_BATCH = 128  # on CPUs as fast as any


class Evaluator:
    """Validation images on the devices, and the jitted step over them."""

    def __init__(self, network: Network, faces: Faces, devices: Devices) -> None:
        size = -(-_BATCH // devices.count) * devices.count
        batches = EvaluationBatches(size=len(faces), batch_size=size, **devices.shard)
        pipeline = DevicePipeline(faces.images, faces.labels, batches, sharding=devices.batch)
        self._batches, self._devices, self._data = batches, devices, pipeline.data
        step: Any = eval_step(network)

        def over(variables: Any, data: Any, rows: Any, mask: Any) -> Any:
            return step(variables, *data.gather(rows), mask)

        self._step = jax.jit(
            over, out_shardings=devices.replicated, compiler_options=compiler_options()
        )

    def __call__(
        self, variables: Any, only: npt.NDArray[np.bool_] | None = None
    ) -> tuple[float, int, int]:
        """Return the summed loss in nats, the images classified correctly, and all images.

        Args:
            variables: {"params", "batch_stats"} on the devices.
            only: bool (N,), the images that count; None: all.
        """
        parts = []
        for index in range(len(self._batches)):
            rows, mask = self._batches.at(index)
            mask = mask if only is None else mask & only[rows]
            placed = to_device((rows, mask), self._devices.batch)
            parts.append(self._step(variables, self._data, *placed))
        # Sums over batches in float64 and in integers, on the host: exact for any number of images.
        totals = [(float(p.loss), int(p.correct), int(p.count)) for p in parts]
        loss, correct, count = (sum(column) for column in zip(*totals))
        return float(loss), int(correct), int(count)
