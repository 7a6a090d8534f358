"""One unit for two classes: Keras's probability of the second, and its binary cross-entropy."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from keras import layers

import ferjax
from ferjax.nets.head import Head
from ferjax.train import losses

pytestmark = pytest.mark.usefixtures("numpy_initializers")

LABELS = ["calm", "tense"]


def product_of_two() -> keras.Model:
    x = layers.Input((8, 8, 1))
    flat = layers.Flatten()(x)
    ends = [layers.Dense(1, activation="sigmoid")(flat) for _ in range(2)]
    return keras.Model(x, layers.Multiply()(ends))


def chain(*end: layers.Layer) -> keras.Model:
    return keras.Sequential([layers.Input((8, 8, 1)), layers.Flatten(), *end])


@pytest.mark.parametrize("suffix", ["h5", "keras"])
@pytest.mark.parametrize("end", ["dense", "activation", "hard_sigmoid", "merged"])
def test_probabilities_are_those_of_keras(tmp_path: Path, end: str, suffix: str) -> None:
    keras.utils.set_random_seed(1)
    model = {
        "dense": lambda: chain(layers.Dense(1, activation="sigmoid")),
        "activation": lambda: chain(layers.Dense(1), layers.Activation("sigmoid")),
        "hard_sigmoid": lambda: chain(layers.Dense(1, activation="hard_sigmoid")),
        "merged": product_of_two,
    }[end]()
    path = tmp_path / f"model.{suffix}"
    model.save(path)
    x = np.random.default_rng(0).random((5, 8, 8, 1), np.float32)
    expected = model.predict(x, verbose=0)
    found = ferjax.load(path, labels=LABELS).predict_batch(x)
    np.testing.assert_allclose(found, np.concatenate([1 - expected, expected], 1), atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_and_gradient_are_those_of_keras(smoothing: float) -> None:
    units = jnp.array([[-3.0], [0.0], [0.5], [20.0]])
    labels = jnp.array([0, 1, 0, 0])
    theirs = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=smoothing)
    head = Head(2, "sigmoid", is_single_unit=True)

    def of_keras(units: jax.Array) -> jax.Array:
        return theirs(labels[:, None].astype("float32"), units)

    def ours(units: jax.Array) -> jax.Array:
        targets = jax.nn.one_hot(labels, 2)
        return losses.cross_entropy(head.logits(units), targets, smoothing=smoothing).mean()

    both = jax.jit(lambda units: [jax.value_and_grad(f)(units) for f in (ours, of_keras)])
    for found, expected in zip(*both(units)):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
