"""What pooling drops is not computed, and whatever else is used is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from jax import lax

from ferjax.nets import fer_cnn8
from ferjax.nets.forward import inference
from ferjax.nets.graph import Graph
from ferjax.nets.layers import (
    ELU,
    Activation,
    BatchNormalization,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    InputLayer,
    Layer,
    LeakyReLU,
    MaxPooling2D,
    PReLU,
    ReLU,
    Softmax,
)
from ferjax.nets.trimming import trimmed_calls

from ..networks import as_trained, chain, functional

END: tuple[Layer, ...] = (Flatten(), Dense(units=3, activation="softmax"))


def conv(**settings: Any) -> Conv2D:
    return Conv2D(**{"filters": 4, "kernel_size": 3, "padding": "same"} | settings)


# Layers, and rows and columns that are needed of the convolution's output of 11x12 or 9x10.
CASES: dict[str, tuple[tuple[Layer, ...], list[tuple[int, ...]]]] = {
    "windows of two": ((conv(), MaxPooling2D()), [(10, 12)]),
    "without padding": ((conv(padding="valid"), MaxPooling2D()), [(8, 10)]),
    "nothing is dropped": ((conv(kernel_size=(4, 3), padding="valid"), MaxPooling2D()), []),
    "windows with gaps": ((conv(), MaxPooling2D(pool_size=2, strides=3)), [(11, 11)]),
    "windows that overlap": ((conv(), MaxPooling2D(pool_size=3, strides=2)), [(11, 11)]),
    "an even kernel": ((conv(kernel_size=4), MaxPooling2D(pool_size=5)), [(10, 10)]),
    "a wide kernel": ((conv(dilation_rate=3, kernel_size=5), MaxPooling2D(pool_size=4)), [(8, 12)]),
    "groups": ((conv(groups=2), MaxPooling2D(pool_size=3)), [(9, 12)]),
    "layers between": (
        (
            conv(activation="relu"),
            BatchNormalization(),
            Activation(activation="tanh"),
            Dropout(rate=0.5),
            LeakyReLU(),
            ELU(),
            ReLU(),
            MaxPooling2D(),
        ),
        [(10, 12)],
    ),
    "one after the other": ((conv(), conv(), MaxPooling2D(pool_size=(2, 5))), [(10, 10)]),
    "padded pooling": ((conv(), MaxPooling2D(padding="same")), []),
    "strides": ((conv(strides=2), MaxPooling2D(pool_size=4)), []),
    "statistics of rows": ((conv(), BatchNormalization(axis=1), MaxPooling2D()), []),
    "slopes of each pixel": ((conv(), PReLU(), MaxPooling2D()), []),
    "slopes in it": ((conv(activation=PReLU()), MaxPooling2D()), []),
    "a softmax over rows": ((conv(), Softmax(axis=1), MaxPooling2D()), []),
    "all pixels count": ((conv(), GlobalAveragePooling2D()), []),
}


def left(graph: Graph) -> list[tuple[int, ...]]:
    """Return the rows and columns that are left of each convolution that is trimmed."""
    return [t.layer.output_shape(t.input_shape)[:2] for t in trimmed_calls(graph).values()]


@pytest.mark.parametrize("name", CASES)
def test_what_is_left(name: str) -> None:
    layers, expected = CASES[name]
    end = END[1:] if isinstance(layers[-1], GlobalAveragePooling2D) else END
    network = chain(*layers, *end, shape=(11, 12, 2))
    assert left(network.graph) == expected
    variables = as_trained(network)
    images = np.random.default_rng(0).random((2, 11, 12, 2)).astype(np.float32)
    np.testing.assert_allclose(
        inference(network.graph, variables, images),
        network.apply(variables, images),
        rtol=0,
        atol=1e-6,
    )


def test_what_a_layer_of_another_kind_takes_is_left_whole() -> None:
    graph = functional(
        (InputLayer(name="in", shape=(11, 11, 1)), ()),
        (Conv2D(name="conv", filters=2, kernel_size=3, padding="same"), (0,)),
        (MaxPooling2D(name="a"), (1,)),
        (GlobalAveragePooling2D(name="b"), (1,)),
        (Flatten(name="c"), (2,)),
        (Concatenate(name="d"), (4, 3)),
    )
    assert left(graph) == []


def test_sizes_that_are_not_known_are_left_whole() -> None:
    graph = chain(conv(), MaxPooling2D(), GlobalAveragePooling2D(), shape=(None, None, 1)).graph
    assert left(graph) == []


def test_fer_cnn8() -> None:
    graph = fer_cnn8().graph
    assert {graph.calls[p].layer: t.input_shape for p, t in trimmed_calls(graph).items()} == {
        "conv2d_5": (12, 12, 256),  # 10x10 of 11x11
        "conv2d_7": (6, 6, 512),  # 4x4 of 5x5
    }


def test_statistics_of_a_training_step_are_of_all_pixels() -> None:
    network = chain(conv(), BatchNormalization(), MaxPooling2D(), *END, shape=(11, 12, 2))
    variables = as_trained(network)
    images = np.random.default_rng(0).random((2, 11, 12, 2)).astype(np.float32)
    updated = network.apply(variables, images, mutable=["batch_stats"], train=True)[1][
        "batch_stats"
    ]
    kernel, bias = (variables["params"]["conv2d"][name] for name in ("kernel", "bias"))
    convolved = lax.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    mean = (np.asarray(convolved) + bias).mean(axis=(0, 1, 2))
    expected = 0.99 * variables["batch_stats"]["batch_normalization"]["mean"] + 0.01 * mean
    np.testing.assert_allclose(updated["batch_normalization"]["mean"], expected, rtol=0, atol=1e-6)
