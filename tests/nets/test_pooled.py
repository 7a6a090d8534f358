"""Images are pooled before their pixels are put in order, where nothing else reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import pytest

from ferjax.nets import Network, convolution, fer_cnn8, winograd
from ferjax.nets.forward import inference, with_prepared
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
    MaxPooling2D,
    PReLU,
    ReLU,
)
from ferjax.nets.pooled import pooled, pooled_by_tile

from ..networks import as_trained, chain, functional

END: tuple[Layer, ...] = (Flatten(), Dense(units=3, activation="softmax"))


def conv(**settings: Any) -> Conv2D:
    return Conv2D(**{"filters": 64, "kernel_size": 3, "padding": "same"} | settings)


def count_pooled(graph: Graph, monkeypatch: pytest.MonkeyPatch, size: int) -> tuple[int, Any]:
    """Return how many poolings were of tiles, and how far predictions are from XLA's own."""
    count = 0
    maximum = winograd.Tiles.maximum

    def counted(self: winograd.Tiles) -> jax.Array:
        nonlocal count
        count += 1
        return maximum(self)

    monkeypatch.setattr(winograd.Tiles, "maximum", counted)
    network = Network(graph)
    variables = as_trained(network)
    images = np.random.default_rng(0).random((size, *graph.input_shape)).astype(np.float32)
    prepared = with_prepared(graph, variables, size)
    got = jax.jit(lambda v, x: inference(graph, v, x))(prepared, images)
    return count, np.abs(got - inference(graph, variables, images, direct=True)).max()


# Layers behind 64 channels of 24x24, and whether they are pooled in tiles.
CASES: dict[str, tuple[tuple[Layer, ...], bool]] = {
    "at once": ((conv(), MaxPooling2D()), True),
    "with layers between": (
        (
            conv(activation="relu"),
            BatchNormalization(),
            Activation(activation="tanh"),
            Dropout(rate=0.5),
            ELU(),
            MaxPooling2D(),
        ),
        True,
    ),
    "without padding": ((conv(padding="valid"), MaxPooling2D()), True),
    "padded pooling of an even size": ((conv(), MaxPooling2D(padding="same")), True),
    "in parts of rows": ((conv(filters=128), conv(filters=128), MaxPooling2D()), True),
    "windows of three": ((conv(), MaxPooling2D(pool_size=3)), False),
    "windows that overlap": ((conv(), MaxPooling2D(pool_size=2, strides=1)), False),
    "windows with gaps": ((conv(), MaxPooling2D(pool_size=2, strides=3)), False),
    "another kernel": ((conv(kernel_size=5), MaxPooling2D()), False),
    "strides": ((conv(strides=2), MaxPooling2D()), False),
    "slopes of each pixel": ((conv(), PReLU(), MaxPooling2D()), False),
    "slopes in it": ((conv(activation=PReLU()), MaxPooling2D()), False),
    "statistics of rows": ((conv(), BatchNormalization(axis=1), MaxPooling2D()), False),
    "all pixels count": ((conv(), GlobalAveragePooling2D()), False),
    "pooling of other axes": ((conv(), MaxPooling2D(data_format="channels_first")), False),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_pooled_by_tile(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layers, expected = CASES[name]
    end = END[1:] if isinstance(layers[-1], GlobalAveragePooling2D) else END
    graph = chain(*layers, *end, shape=(24, 24, 64)).graph
    count, difference = count_pooled(graph, monkeypatch, 1)
    assert count == expected
    assert difference < 1e-6


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("shape", [(23, 24, 64), (24, 23, 64)])
def test_odd_sizes_lose_what_pooling_drops(
    shape: tuple[int, ...], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = chain(conv(), MaxPooling2D(), *END, shape=shape).graph
    count, difference = count_pooled(graph, monkeypatch, size)
    assert count == 1
    assert difference < 1e-6


@pytest.mark.parametrize("size", [1, 3])
def test_odd_sizes_of_which_all_is_read_are_put_in_order(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = chain(conv(), MaxPooling2D(padding="same"), *END, shape=(23, 24, 64)).graph
    count, difference = count_pooled(graph, monkeypatch, size)
    assert count == 0
    assert difference < 1e-6


@pytest.mark.parametrize("size, parts", [(3, 1), (16, 4), pytest.param(32, 8, id="32, by a loop")])
def test_batches_are_pooled_by_tile(size: int, parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = conv(activation="relu"), BatchNormalization(), ELU(), MaxPooling2D()
    graph = chain(*layers, *END, shape=(24, 24, 64)).graph
    images = convolution.images_at_once((size, 24, 24, 64), (3, 3, 64, 64), 1, prepared=True)
    assert size == parts * images
    count, difference = count_pooled(graph, monkeypatch, size)
    assert count == 1
    assert difference < 1e-6


def test_what_two_layers_read_is_put_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = functional(
        (InputLayer(name="in", shape=(24, 24, 64)), ()),
        (conv(name="conv"), (0,)),
        (MaxPooling2D(name="a"), (1,)),
        (MaxPooling2D(name="b"), (1,)),
        (Concatenate(name="c"), (2, 3)),
        (Flatten(name="d"), (4,)),
        (Dense(name="e", units=3, activation="softmax"), (5,)),
    )
    count, difference = count_pooled(graph, monkeypatch, 1)
    assert count == 0
    assert difference < 1e-6


def test_a_convolution_that_is_called_twice_does_not_count() -> None:
    graph = functional(
        (InputLayer(name="in", shape=(24, 24, 64)), ()),
        (conv(name="conv"), (0,)),
        (conv(name="conv"), (1,)),
        (MaxPooling2D(name="a"), (2,)),
        (Flatten(name="d"), (3,)),
    )
    assert not pooled(graph)


def test_fer_cnn8() -> None:
    graph = fer_cnn8().graph
    found = [graph.calls[position].layer for position in sorted(pooled_by_tile(graph))]
    assert found == ["conv2d_1", "conv2d_3", "conv2d_5", "conv2d_7"]


def test_channels_first_is_pooled_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = conv(data_format="channels_first"), MaxPooling2D(data_format="channels_first")
    graph = chain(*layers, *END, shape=(64, 24, 24)).graph
    count, difference = count_pooled(graph, monkeypatch, 1)
    assert count == 0
    assert difference < 1e-6


@dataclass(frozen=True, kw_only=True)
class Halved(Conv2D):
    def forward(self, run: Any, weights: Any, *inputs: Any) -> Any:
        return super().forward(run, weights, *inputs) / 2


@dataclass(frozen=True, kw_only=True)
class Negated(MaxPooling2D):
    def forward(self, run: Any, weights: Any, *inputs: Any) -> Any:
        return -super().forward(run, weights, *inputs)


@dataclass(frozen=True, kw_only=True)
class Turned(ReLU):
    def forward(self, run: Any, weights: Any, *inputs: Any) -> Any:
        return super().forward(run, weights, inputs[0][:, ::-1])


@pytest.mark.parametrize("size", [(24, 24, 64), (23, 23, 64)])
@pytest.mark.parametrize(
    "layers",
    [
        (Halved(filters=64, kernel_size=(3, 3), padding="same"), MaxPooling2D()),
        (conv(), Negated()),
        (conv(), Turned(), MaxPooling2D()),
    ],
    ids=["convolution", "pooling", "between"],
)
def test_layers_of_ones_own_do_what_they_do(
    layers: tuple[Layer, ...], size: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = chain(*layers, *END, shape=size).graph
    count, difference = count_pooled(graph, monkeypatch, 1)
    assert count == 0
    assert difference < 1e-6


def test_tiles_keep_their_memory_until_all_are_multiplied() -> None:
    graph = chain(conv(), MaxPooling2D(), *END, shape=(24, 24, 64)).graph
    prepared = with_prepared(graph, as_trained(graph), 1)
    images = np.zeros((1, 24, 24, 64), np.float32)
    lowered = jax.jit(lambda v, x: inference(graph, v, x)).lower(prepared, images)
    held = [line for line in lowered.compile().as_text().splitlines() if "(_held)" in line]
    taken = [line.split(" call(")[1].split(")")[0] for line in held if " call(" in line]
    assert [len(names.split(", ")) for names in taken] == [32]
