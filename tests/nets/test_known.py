"""Known networks, told by what they compute; against Keras's own files in tests/parity."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from ferjax.nets import Call, Graph, fer_cnn5, fer_cnn8
from ferjax.nets.initializers import L1L2, ONES
from ferjax.nets.known import fingerprint, recognise
from ferjax.nets.layers import (
    Activation,
    Add,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    InputLayer,
    Layer,
    MaxPooling2D,
)


def changed(kind: type[Layer], nth: int = 0, **values: Any) -> Graph:
    """Return fer_cnn5 with other settings of its nth layer of a kind."""
    graph = fer_cnn5().graph
    target = [layer for layer in graph.layers if isinstance(layer, kind)][nth]
    layers = [
        dataclasses.replace(layer, **values) if layer is target else layer for layer in graph.layers
    ]
    return Graph.sequential(layers)


def renamed(name: Callable[[int, Layer], str]) -> Graph:
    layers = fer_cnn5().graph.layers
    return Graph.sequential(
        [dataclasses.replace(layer, name=name(i, layer)) for i, layer in enumerate(layers)]
    )


def test_ferjax_s_own_networks() -> None:
    five, eight = recognise(fer_cnn5().graph), recognise(fer_cnn8().graph)
    assert five is not None and five.name.startswith("fer_cnn5")
    assert eight is not None and eight.name.startswith("fer_cnn8")
    assert five.order == eight.order == "sorted"


@pytest.mark.parametrize(
    "graph",
    [
        changed(InputLayer, name="input_7"),
        changed(Dropout, rate=0.1),
        changed(BatchNormalization, axis=3, momentum=0.9),  # TensorFlow's number of the last axis
        changed(Conv2D, kernel_regularizer=L1L2(l2=0.1), kernel_initializer=ONES, trainable=False),
        changed(MaxPooling2D, strides=(2, 2)),
        renamed(lambda i, layer: f"{layer.name.rstrip('_0123456789')}_{i + 12}"),
    ],
    ids=["input", "dropout", "batch norm", "training", "strides", "numbers"],
)
def test_what_does_not_matter(graph: Graph) -> None:
    known = recognise(graph)
    assert known is not None and known.order == "sorted"


@pytest.mark.parametrize(
    "graph",
    [
        changed(Conv2D, filters=33),
        changed(Conv2D, padding="same"),
        changed(Conv2D, activation="elu"),
        changed(BatchNormalization, epsilon=1e-5),
        changed(Dense, nth=2, units=8),
        changed(Dense, nth=2, activation="linear"),
        changed(Dense, nth=2, name="emotion"),  # a name that somebody gave
        fer_cnn5(input_shape=(48, 48, 3)).graph,
        fer_cnn5(input_shape=(64, 64, 1)).graph,
        Graph.sequential([Flatten(), Dense(units=7)], input_shape=(48, 48, 1)),
        Graph.sequential([Dense(units=7)], input_shape=(48,)),
    ],
    ids="filters padding activation epsilon classes logits name rgb size tiny vector".split(),
)
def test_other_networks(graph: Graph) -> None:
    assert recognise(graph) is None


def test_order_of_layers_and_of_sums_does_not_matter() -> None:
    image = InputLayer(name="input", shape=(4, 4, 1))
    relu, tanh = Activation(name="a", activation="relu"), Activation(name="b", activation="tanh")
    layers = (image, relu, tanh, Add(name="add"))
    calls = (Call("input", ()), Call("a", (0,)), Call("b", (0,)), Call("add", (1, 2)))
    other = (Call("input", ()), Call("b", (0,)), Call("a", (0,)), Call("add", (1, 2)))
    third = (Call("input", ()), Call("a", (0,)), Call("b", (1,)), Call("add", (1, 2)))
    first, second, chained = (
        fingerprint(Graph(layers, made, functional=True)) for made in (calls, other, third)
    )
    assert first == second != chained
