"""Keras 3 on TensorFlow and on JAX.

Inference: keras-tf-predict is `model.predict`; keras-tf-call the model in a `tf.function`;
keras-jax `model.stateless_call` in `jax.jit`.
Training: `model.fit` with Adam and cross-entropy on the network's probabilities. Augmentation is
Keras's layers RandomFlip, RandomTranslation, RandomRotation and RandomZoom over the same ranges as
ferjax's one map (each of the three resamples the images anew, bilinear, nearest fill): in a tf.data
map on TensorFlow, as the first layers of the model on JAX, where tf.data would need TensorFlow.
Conversion: `keras.models.load_model`, uncompiled.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import network
from .cases import Setup


def _keras(entry: str, setup: Setup) -> Any:
    """Import Keras on the entry's backend."""
    on_tensorflow = entry.startswith("keras-tf")
    os.environ["KERAS_BACKEND"] = "tensorflow" if on_tensorflow else "jax"
    if on_tensorflow:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(setup.threads)
        tf.config.threading.set_inter_op_parallelism_threads(setup.threads)
    import keras

    return keras


def predictor(entry: str, setup: Setup) -> Any:
    """Return the function from uint8 images, (48, 48) or (B, 48, 48), to probabilities."""
    keras = _keras(entry, setup)
    model = keras.models.load_model(setup.folder / "model.keras", compile=False)
    if entry == "keras-tf-predict":
        return lambda images: model.predict(network.normalized(images), batch_size=256, verbose=0)
    if entry == "keras-tf-call":
        import tensorflow as tf

        call = tf.function(lambda x: model(x, training=False))
        return lambda images: call(tf.constant(network.normalized(images))).numpy()
    import jax

    trained = [variable.value for variable in model.trainable_variables]
    others = [variable.value for variable in model.non_trainable_variables]
    apply = jax.jit(lambda *given: model.stateless_call(*given, training=False)[0])
    return lambda images: np.asarray(apply(trained, others, network.normalized(images)))


class Trainer:
    """`model.fit` over random images."""

    def __init__(self, entry: str, setup: Setup, batch_size: int) -> None:
        keras = _keras(entry, setup)
        keras.utils.set_random_seed(setup.seed)
        self._batch_size = batch_size
        images = network.faces(network.TRAINING_IMAGES, setup.seed)[..., None]
        labels = network.labels(network.TRAINING_IMAGES, setup.seed)
        targets = np.eye(network.CLASSES, dtype=np.float32)[labels]
        model = keras.models.load_model(setup.folder / "model.keras", compile=False)
        layers = keras.layers
        augment = keras.Sequential(
            [
                layers.Input((network.SIZE, network.SIZE, 1)),
                layers.Rescaling(1 / 255),
                layers.RandomFlip("horizontal"),
                layers.RandomTranslation(0.08, 0.08, fill_mode="nearest"),
                layers.RandomRotation(10 / 360, fill_mode="nearest"),
                layers.RandomZoom(0.1, 0.1, fill_mode="nearest"),
            ]
        )
        if entry == "keras-tf":
            self._batches: Any = _dataset(images, targets, batch_size, augment)
        else:
            self._batches = _batches(images, targets, batch_size, setup.seed)
            model = keras.Sequential([*augment.layers, model])
        model.compile(
            optimizer=keras.optimizers.Adam(1e-3),
            loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
            metrics=["accuracy"],
        )
        self._model = model
        # On JAX the model itself divides by 255.
        scale = np.float32(255 if entry == "keras-tf" else 1)
        self._evaluated = images.astype(np.float32) / scale, targets

    def run(self, steps: int) -> int:
        """Do `steps` steps; return the number of images."""
        history = self._model.fit(self._batches, steps_per_epoch=steps, verbose=0)
        self._loss = float(history.history["loss"][-1])
        return steps * self._batch_size

    def evaluate(self, count: int) -> None:
        """Evaluate `count` images in batches of 128."""
        images, targets = (array[:count] for array in self._evaluated)
        self._model.evaluate(images, targets, batch_size=128, verbose=0)

    def loss(self) -> float:
        """Return the mean loss of the last `run`."""
        return self._loss


trainer = Trainer


def _dataset(images: Any, targets: Any, batch_size: int, augment: Any) -> Any:
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((images, targets))
    data = data.shuffle(len(images)).repeat().batch(batch_size, drop_remainder=True)
    data = data.map(
        lambda x, y: (augment(x, training=True), y), num_parallel_calls=tf.data.AUTOTUNE
    )
    return data.prefetch(tf.data.AUTOTUNE)


def _batches(images: Any, targets: Any, batch_size: int, seed: int) -> Iterator[tuple[Any, Any]]:
    rng = np.random.default_rng(seed)
    while True:
        rows = rng.permutation(len(images))
        for start in range(0, len(rows) - batch_size + 1, batch_size):
            chosen = rows[start : start + batch_size]
            yield images[chosen].astype(np.float32), targets[chosen]


def convert(entry: str, setup: Setup) -> Any:
    """Return the function that loads the .h5."""
    keras = _keras(entry, setup)
    return lambda: keras.models.load_model(setup.folder / "model.h5", compile=False)
