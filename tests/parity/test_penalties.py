"""The penalties on weights are those of the Keras model that the network was read from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from ferjax.train.losses import penalty

pytestmark = pytest.mark.usefixtures("numpy_initializers")

Compare = Callable[..., Any]
CHAINS: dict[str, Callable[[Any], list[Any]]] = {
    "dense": lambda r: [layers.Flatten(), layers.Dense(4, kernel_regularizer=r)],
    "bias": lambda r: [layers.Flatten(), layers.Dense(4, bias_regularizer=r)],
    "convolution": lambda r: [layers.Conv2D(2, 3, kernel_regularizer=r, bias_regularizer=r)],
    "depthwise": lambda r: [layers.DepthwiseConv2D(3, depthwise_regularizer=r)],
    "separable": lambda r: [
        layers.SeparableConv2D(
            3, 3, depthwise_regularizer=r, pointwise_regularizer=r, bias_regularizer=r
        )
    ],
    "normalization": lambda r: [
        layers.BatchNormalization(gamma_regularizer=r, beta_regularizer=keras.regularizers.L2(0.3))
    ],
    "rectifier": lambda r: [layers.PReLU(alpha_regularizer=r)],
    "several": lambda r: [
        layers.Conv2D(2, 3, kernel_regularizer=r),
        layers.BatchNormalization(gamma_regularizer=r),
        layers.Dense(3, kernel_regularizer=keras.regularizers.L1(0.1)),
        layers.Dense(3),
    ],
}


def images() -> np.ndarray:
    return np.random.default_rng(0).uniform(size=(2, 5, 5, 2)).astype("float32")


def check(model: Any, compare: Compare) -> None:
    read = compare(model, images(), tolerance=1e-5)
    expected = float(sum(model.losses))
    assert expected > 0.01
    np.testing.assert_allclose(penalty(read.graph, read.variables["params"]), expected, rtol=1e-5)


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize(
    "regularizer",
    [
        keras.regularizers.L1(0.02),
        keras.regularizers.L2(0.03),
        keras.regularizers.L1L2(l1=0.2, l2=0.1),
    ],
    ids=["l1", "l2", "l1l2"],
)
def test_penalty_of_a_layer(name: str, regularizer: Any, compare: Compare) -> None:
    chain = [keras.Input((5, 5, 2)), *CHAINS[name](regularizer), layers.Flatten()]
    check(keras.Sequential(chain), compare)


def test_penalty_of_a_shared_layer(compare: Compare) -> None:
    inputs = keras.Input((5, 5, 2))
    shared = layers.Dense(2, kernel_regularizer=keras.regularizers.L2(0.1))
    once = shared(inputs)
    outputs = layers.Flatten()(layers.Add()([once, shared(once)]))
    check(keras.Model(inputs, outputs), compare)


def test_penalty_beside_a_frozen_layer(compare: Compare) -> None:
    chain = [
        keras.Input((5, 5, 2)),
        layers.Conv2D(2, 3, kernel_regularizer="l2", trainable=False),
        layers.Flatten(),
        layers.Dense(3, kernel_regularizer="l2"),
    ]
    check(keras.Sequential(chain), compare)
