"""ferjax, through its public API; training as `ferjax train` trains.

Inference: `ferjax.load(path).predict_proba(images)`; as ferjax-onnx with `engine="onnx"`, that is
by ONNX Runtime with its own choice of threads. In bfloat16, which that does not offer, the
network's own `apply(compute_dtype="bfloat16")`, jitted.
Training: the step of `ferjax train` with its device-resident pipeline, several steps a call on
accelerators, and on CPUs with the huge pages that `ferjax train` asks for. Each image is flipped
and warped once, by one affine map (rotation up to 10 degrees, zoom and shifts up to 0.1 and 0.08,
bilinear, nearest fill).
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from . import network
from .cases import Setup


def predictor(entry: str, setup: Setup) -> Any:
    """Return the function from uint8 images, (48, 48) or (B, 48, 48), to probabilities."""
    import ferjax

    engine = "onnx" if entry == "ferjax-onnx" else "jax"
    classifier = ferjax.load(setup.folder / "model.keras", engine=engine)
    if setup.dtype == "float32":
        return classifier.predict_proba
    import jax

    apply = jax.jit(functools.partial(classifier.network.apply, compute_dtype=setup.dtype))
    return lambda images: np.asarray(apply(classifier.variables, network.normalized(images)))


def resident(entry: str, setup: Setup, images: Any) -> tuple[Any, Any]:
    """Return what classifies images that lie on the device, and what waits for what that gives."""
    import jax

    import ferjax

    classifier = ferjax.load(setup.folder / "model.keras", engine="jax")
    apply = jax.jit(functools.partial(classifier.network.apply, compute_dtype=setup.dtype))
    variables, x = jax.device_put((classifier.variables, network.normalized(images)))
    return lambda: apply(variables, x), lambda probabilities: probabilities.block_until_ready()


class Trainer:
    """Steps of `ferjax train` over random images; `run` waits for the last."""

    def __init__(self, recipe: Any, setup: Setup, count: int) -> None:
        from ferjax import weights
        from ferjax.data.dataset import Faces
        from ferjax.data.order import TrainingBatches
        from ferjax.emotions import EMOTIONS
        from ferjax.train import optimizers, state, training_data
        from ferjax.train.compiled_steps import CompiledSteps
        from ferjax.train.devices import Devices

        faces = Faces(
            images=network.faces(count, setup.seed),
            labels=network.labels(count, setup.seed),
            splits=np.zeros(count, np.int8),
            names=("",) * count,
            class_names=EMOTIONS,
            source_sizes=np.full((count, 2), network.SIZE, np.int32),
        )
        data = training_data.TrainingData(
            train=faces,
            validation=faces.take(np.arange(1)),
            copies=np.ones(1, np.bool_),
            path=None,
            is_held_out=False,
        )
        model = weights.read(setup.folder / "model.keras", None, None)
        batches = TrainingBatches(
            order=training_data.order(recipe, faces.labels), batch_size=recipe.batch_size
        )
        tx, devices = optimizers.optimizer(recipe), Devices.all()
        self._steps = CompiledSteps(recipe, model.network, data, batches, devices)
        self._network, self._faces, self._devices = model.network, faces, devices
        self._evaluator: Any = None
        self._state = devices.replicate(state.initial(recipe, model.network, tx, model.variables))
        self._batch_size, self._done = recipe.batch_size, 0
        self.at_once = self._steps.steps_per_call

    def run(self, steps: int) -> int:
        """Do at least `steps` steps, in whole calls; return the number of images."""
        calls = -(-steps // self.at_once)
        seen: list[Any] = []
        for _ in range(calls):
            self._state, after = self._steps(self._state, self._done, self.at_once)
            self._done += self.at_once
            seen.append(after)
            if len(seen) > 2:  # `ferjax train` lets no more wait
                float(seen.pop(0)[0].loss)
        totals, bad_step = seen[-1]
        self._loss = float(totals.loss) / int(totals.count)
        if int(bad_step) >= 0:
            raise RuntimeError(f"the loss is not finite at step {int(bad_step)}")
        return calls * self.at_once * self._batch_size

    def loss(self) -> float:
        """Return the mean loss of all steps so far."""
        return self._loss

    def evaluate(self, count: int) -> None:
        """Evaluate `count` images as `ferjax train` does at the end of an epoch."""
        from ferjax.train.validation import Evaluator

        if self._evaluator is None:
            faces = self._faces.take(np.arange(count) % len(self._faces))
            self._evaluator = Evaluator(self._network, faces, self._devices)
        state = self._state
        self._evaluator({"params": state.params, "batch_stats": state.batch_stats})


def trainer(entry: str, setup: Setup, batch_size: int) -> Trainer:
    """Return the training of case `training`."""
    from ferjax.data.augment import Augmentation
    from ferjax.train.recipes import Recipe

    recipe = Recipe(
        architecture="fer_cnn8",
        batch_size=batch_size,
        compute_dtype=setup.dtype,
        optimizer="adam",
        learning_rate=1e-3,
        label_smoothing=0.1,
        augmentation=Augmentation(
            rotation=(-10, 10),
            zoom=(0.9, 1.1),
            shift_x=(-0.08, 0.08),
            shift_y=(-0.08, 0.08),
            horizontal_flip=0.5,
        ),
    )
    return Trainer(recipe, setup, network.TRAINING_IMAGES)


def flagship(setup: Setup, count: int) -> tuple[Trainer, int]:
    """Return the training of the recipe `flagship` on `count` images, and its batch size."""
    from ferjax.train.recipes import override, recipe

    chosen = override(recipe("flagship"), [f"compute_dtype={setup.dtype}"])
    return Trainer(chosen, setup, count), chosen.batch_size


def convert(entry: str, setup: Setup) -> Any:
    """Return the function that converts the .h5 to a .keras file."""
    from ferjax.conversion import convert

    return lambda: convert(setup.folder / "model.h5", setup.folder / "converted.keras")
