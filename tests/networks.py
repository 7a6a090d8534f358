"""The small networks that tests share, and weights for them, drawn by NumPy.

What is computed by the same network on images of the same shape is one program, which XLA compiles
once for all tests; nothing is compiled for the weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ferjax import keras
from ferjax.nets import Call, Graph, Network
from ferjax.nets.layers import (
    Add,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    InputLayer,
    Layer,
    MaxPooling2D,
    Weight,
)

SIZE = 12
"""Height and width of the images that the tiny network takes."""

Variables = dict[str, Any]
"""Arrays of a network: {"params": {layer: {weight: array}}, "batch_stats": ...}."""


# --- networks ------------------------------------------------------------------------------------


def chain(*layers: Layer, shape: Sequence[int | None]) -> Network:
    """Return a network of layers one after the other; `shape` is that of its input."""
    return Network(Graph.sequential(layers, input_shape=shape))


def tiny_graph(*, classes: int = 7, size: int = SIZE, channels: int = 1) -> Graph:
    """Return a graph of all that `fer_cnn8` has, which takes milliseconds a training step."""
    layers: list[Layer] = [
        InputLayer(name="input", shape=(size, size, channels)),
        Conv2D(filters=8, kernel_size=(3, 3), activation="relu"),
        BatchNormalization(),
        MaxPooling2D(pool_size=(2, 2)),
        Dropout(rate=0.25),
        Flatten(),
        Dense(units=classes, activation="softmax"),
    ]
    return Graph.sequential(layers, name="tiny")


def tiny(*, classes: int = 7, size: int = SIZE, channels: int = 1) -> Network:
    return Network(tiny_graph(classes=classes, size=size, channels=channels))


def one_dense(
    units: int, activation: str = "softmax", *, shape: Sequence[int] = (1, 1, 1)
) -> Network:
    """Return a network of one layer with weights, "dense"."""
    return chain(Flatten(), Dense(units=units, activation=activation), shape=shape)


def dense_weights(kernel: Any, bias: Any = 0.0) -> Variables:
    """Return the variables of `one_dense`; the kernel is (pixels, units)."""
    kernel = np.asarray(kernel, np.float32)
    bias = np.broadcast_to(np.float32(bias), kernel.shape[1:]).copy()
    return {"params": {"dense": {"kernel": kernel, "bias": bias}}, "batch_stats": {}}


def small_graph() -> Graph:
    """Return a graph with every collection of arrays, over 8x8 images; its activations are few."""
    layers = [
        Conv2D(filters=2, kernel_size=3, activation="relu"),
        BatchNormalization(),
        MaxPooling2D(pool_size=2),
        Flatten(),
        Dense(units=3, activation="softmax"),
    ]
    return Graph.sequential(layers, input_shape=(8, 8, 1))


def functional(*calls: tuple[Layer, tuple[int, ...]]) -> Graph:
    """Return a graph of layers, each with the positions of the calls that it takes.

    A layer that is called twice is shared.
    """
    layers = {layer.name: layer for layer, _ in calls}
    return Graph(
        tuple(layers.values()),
        tuple(Call(layer.name, inputs) for layer, inputs in calls),
        "functional",
        functional=True,
    )


def branches() -> Graph:
    """Return a beside b -> c, added: paths of one layer and of two, in alphabetical order."""
    a, b, c = (Dense(name=name, units=4) for name in "abc")
    vector = InputLayer(name="in", shape=(4,))
    return functional((vector, ()), (a, (0,)), (b, (0,)), (c, (2,)), (Add(name="sum"), (1, 3)))


def benchmarked() -> Network:
    """A network of all the layers that the benchmarked one has, of its input, and odd sizes."""
    return Network(
        Graph.sequential(
            [
                InputLayer(name="input", shape=(48, 48, 1)),
                Conv2D(filters=4, kernel_size=(3, 3), padding="valid", activation="relu"),
                BatchNormalization(),
                MaxPooling2D(pool_size=(2, 2)),  # 23
                Conv2D(filters=6, kernel_size=(3, 3), padding="same", activation="relu"),
                BatchNormalization(),
                MaxPooling2D(pool_size=(2, 2)),  # 11
                Dropout(rate=0.25),
                Flatten(),
                Dense(units=8, activation="relu"),
                BatchNormalization(),
                Dropout(rate=0.5),
                Dense(units=7, activation="softmax"),
            ]
        )
    )


def constant(path: Path, *probabilities: float, labels: Sequence[str] | None = None) -> Path:
    """Write a network that gives the same probabilities for every image, of 1x1."""
    network = one_dense(len(probabilities))
    variables = dense_weights(np.zeros((1, len(probabilities))), np.log(probabilities))
    keras.save(path, network, variables, labels=labels)
    return path


# --- weights -------------------------------------------------------------------------------------


def drawn(network: Network | Graph, seed: int = 0) -> Variables:
    """Return variables as `Network.init` does, of other numbers.

    Zeros and ones where the network begins with these, and glorot_uniform's range elsewhere.
    """
    return _drawn(network, seed, _initial)


def as_trained(network: Network | Graph, seed: int = 0) -> Variables:
    """Return variables of which none is neutral, such that outputs are of order 1.

    Scales and variances differ from one, biases and means from zero.
    """
    return _drawn(network, seed, _changed)


def _drawn(network: Network | Graph, seed: int, draw: Any) -> Variables:
    graph = network.graph if isinstance(network, Network) else network
    generator = np.random.default_rng(seed)
    variables: Variables = {"params": {}, "batch_stats": {}}
    for layer, weights in graph.weights.items():
        for weight in weights:
            group = variables[weight.collection].setdefault(layer, {})
            group[weight.name] = np.asarray(draw(weight, generator), weight.dtype)
    return variables


def _initial(weight: Weight, generator: np.random.Generator) -> np.ndarray:
    if weight.initializer.name in ("zeros", "ones"):
        return np.full(weight.shape, float(weight.initializer.name == "ones"))
    *window, last = (1, *weight.shape)
    fans = math.prod(window) + math.prod(window[:-1]) * last
    limit = math.sqrt(6 / fans)
    return generator.uniform(-limit, limit, weight.shape)


def _changed(weight: Weight, generator: np.random.Generator) -> np.ndarray:
    shape = weight.shape
    if weight.name.endswith("var"):
        return generator.uniform(0.5, 2.0, shape)
    if weight.name.endswith("scale"):
        return generator.uniform(0.5, 1.5, shape) * generator.choice([-1.0, 1.0], shape)
    if "kernel" in weight.name:
        # (kh, kw, in, out) or (in, out); a depthwise kernel sums over (kh, kw) alone.
        fan_in = np.prod(shape[:2] if "depthwise" in weight.name else shape[:-1])
        return generator.normal(0.0, (2 / fan_in) ** 0.5, shape)  # as He: for rectifiers
    return generator.normal(0.0, 0.5, shape)
