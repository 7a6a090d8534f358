"""The training step compiled for the devices, and the images that each call of it is given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax

from ferjax.data.device_pipeline import DevicePipeline, to_device
from ferjax.data.order import TrainingBatches
from ferjax.data.tf_pipeline import TFPipeline
from ferjax.nets.network import Network
from ferjax.train import optimizers, state, step
from ferjax.train.devices import Devices, on_gpu
from ferjax.train.recipes import Recipe
from ferjax.train.state import Totals, TrainState
from ferjax.train.targets import logit_offsets
from ferjax.train.training_data import TrainingData
from ferjax.xla import compiler_options

_STEPS_ON_ACCELERATORS = 16


class CompiledSteps:
    """Several steps in one jit, over images that lie on the devices or come from tf.data.

    Attributes:
        steps_per_call: how many steps a call may do.
    """

    def __init__(
        self,
        recipe: Recipe,
        network: Network,
        data: TrainingData,
        batches: TrainingBatches,
        devices: Devices,
    ) -> None:
        images, labels = data.train.images, data.train.labels
        targets = labels if data.soft_labels is None else data.soft_labels
        train_step = step.train_step(
            recipe,
            network,
            optimizers.optimizer(recipe),
            optimizers.schedule(recipe, len(labels) / recipe.batch_size),
            state.step_key(recipe),
            data.class_weights(recipe),
            logit_offsets(data.frequencies(recipe), recipe.logit_adjustment),
        )
        self._batches, self._devices = batches, devices
        self._stream: Iterator[Any] | None = None
        self._pipeline: DevicePipeline | TFPipeline
        if recipe.pipeline == "device":
            self._pipeline = DevicePipeline(images, targets, batches, sharding=devices.batch)
            on_cpu = jax.default_backend() == "cpu"
            self.steps_per_call = recipe.steps_per_call or (1 if on_cpu else _STEPS_ON_ACCELERATORS)
        else:
            self._pipeline = TFPipeline(images, targets, batches)
            self.steps_per_call = 1

        def gather_and_step(train_state: TrainState, data: Any, rows: jax.Array) -> TrainState:
            def body(carry: TrainState, batch: jax.Array) -> tuple[TrainState, None]:
                return train_step(carry, *data.gather(batch)), None

            if len(rows) == 1:
                return body(train_state, rows[0])[0]
            return jax.lax.scan(body, train_state, rows)[0]

        steps = gather_and_step if recipe.pipeline == "device" else train_step

        def call(train_state: TrainState, *images: Any) -> Any:
            after = steps(train_state, *images)
            # Copies for the host: the state itself is given away to the next call.
            return after, (after.totals, after.bad_step)

        options: dict[str, Any] = dict(compiler_options(is_quick=True))
        if recipe.deterministic and on_gpu():
            options["xla_gpu_deterministic_ops"] = True
        self._call = jax.jit(
            call, donate_argnums=0, out_shardings=devices.replicated, compiler_options=options
        )

    def __call__(
        self, train_state: TrainState, first: int, steps: int
    ) -> tuple[TrainState, tuple[Totals, jax.Array]]:
        """Send off `steps` steps from step `first` on; the state is given away.

        Returns:
            The state after them; its totals and `bad_step`, to be read when they are there.
        """
        after, seen = self._call(train_state, *self._input(first, steps))
        return after, seen

    def _input(self, first: int, steps: int) -> tuple[Any, Any]:
        if isinstance(self._pipeline, DevicePipeline):
            rows = self._batches.block(first, steps).rows
            return self._pipeline.data, to_device(rows, self._devices.block)
        if self._stream is None:
            self._stream = self._pipeline.start(first)
        batch = next(self._stream)
        images, labels = to_device((batch.images, batch.labels), self._devices.batch)
        return images, labels
