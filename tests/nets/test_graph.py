"""Graphs: names, connections, and what is derived from them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ferjax.errors import LayerError
from ferjax.nets import Call, Graph
from ferjax.nets.layers import (
    Activation,
    Add,
    BatchNormalization,
    CenterCrop,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    InputLayer,
    Layer,
    MaxPooling1D,
    MaxPooling2D,
    Permute,
    PReLU,
    RandomFlip,
    ReLU,
    RepeatVector,
    Rescaling,
    Reshape,
    Resizing,
    Softmax,
    TimeDistributed,
    UpSampling2D,
    ZeroPadding2D,
)

FIRST = "channels_first"


def conv(name: str = "", **settings: Any) -> Conv2D:
    return Conv2D(name=name, **{"filters": 2, "kernel_size": 3, "padding": "same", **settings})


IMAGE = InputLayer(name="image", shape=(8, 6, 2))


def residual() -> Graph:
    layers = (IMAGE, conv("a"), conv("b"), Add(name="add"), Flatten(name="flat"))
    calls = (
        Call("image", ()),
        Call("a", (0,)),
        Call("b", (1,)),
        Call("add", (2, 0)),
        Call("flat", (3,)),
    )
    return Graph(layers, calls, "residual", functional=True)


# --- names -------------------------------------------------------------------------------------


def test_empty_names_are_filled_in_as_keras_does() -> None:
    chain: list[Layer] = [
        conv(), BatchNormalization(), MaxPooling2D(), conv(), PReLU(), ReLU(), BatchNormalization(),
        conv(), Flatten(), Dense(units=2),
    ]  # fmt: skip
    graph = Graph.sequential(chain, input_shape=(8, 8, 1))
    assert [layer.name for layer in graph.layers] == [
        "input", "conv2d", "batch_normalization", "max_pooling2d", "conv2d_1", "p_re_lu", "re_lu",
        "batch_normalization_1", "conv2d_2", "flatten", "dense",
    ]  # fmt: skip


def test_given_names_stay_and_are_not_given_again() -> None:
    chain = [conv("conv2d_1"), conv(), conv(), conv("x")]
    graph = Graph.sequential(chain, input_shape=(8, 8, 1))
    assert [layer.name for layer in graph.layers[1:]] == ["conv2d_1", "conv2d", "conv2d_2", "x"]


def test_names_are_unique() -> None:
    with pytest.raises(LayerError, match="unique layer names, got 'same' twice"):
        Graph.sequential([conv("same"), conv("same")], input_shape=(8, 8, 1))


# --- connections -------------------------------------------------------------------------------


def test_every_layer_is_called() -> None:
    graph = residual()
    with pytest.raises(LayerError, match="layers that nothing calls: 'c', 'd'"):
        dataclasses.replace(graph, layers=(*graph.layers, conv("c"), conv("d")))


@pytest.mark.parametrize("source", [1, 2, -1, 99])
def test_inputs_are_called_before_what_takes_them(source: int) -> None:
    with pytest.raises(LayerError, match=r"'a' \(Conv2D\): it is called before its inputs"):
        Graph((IMAGE, conv("a")), (Call("image", ()), Call("a", (source,))))


@pytest.mark.parametrize(
    ("layers", "calls"),
    [
        ((conv("a"),), (Call("a", ()),)),
        ((conv("a"), IMAGE), (Call("image", ()), Call("a", (0,)), Call("image", ()))),
        (
            (IMAGE, InputLayer(name="two", shape=(8, 6, 2)), Add(name="add")),
            (Call("image", ()), Call("two", ()), Call("add", (0, 1))),
        ),
    ],
)
def test_there_is_one_input_and_it_is_the_first_call(layers: Any, calls: Any) -> None:
    with pytest.raises(LayerError, match="expected one InputLayer, as the first call"):
        Graph(layers, calls, functional=True)


@pytest.mark.parametrize(
    ("layer", "inputs"), [(conv("a"), (0, 0)), (conv("a"), ()), (Add(name="a"), (0,))], ids=repr
)
def test_layers_take_one_input_and_merges_two_or_more(layer: Layer, inputs: Any) -> None:
    with pytest.raises(LayerError, match=f"it cannot take {len(inputs)} inputs"):
        Graph((IMAGE, layer), (Call("image", ()), Call("a", inputs)), functional=True)


def test_only_a_functional_graph_branches() -> None:
    graph = residual()
    assert not graph.is_chain
    with pytest.raises(LayerError, match="expected functional=True"):
        dataclasses.replace(graph, functional=False)


def test_chain_may_be_functional() -> None:
    chain = Graph.sequential([conv("a")], input_shape=(8, 6, 2))
    assert chain.is_chain
    functional = dataclasses.replace(chain, functional=True)
    assert functional.is_chain
    assert functional != chain


def test_shared_layer_is_not_a_chain_and_needs_inputs_of_one_size() -> None:
    twice = (Call("image", ()), Call("a", (0,)), Call("a", (1,)))
    graph = Graph((IMAGE, conv("a")), twice, functional=True)
    assert not graph.is_chain
    assert graph.num_params == 3 * 3 * 2 * 2 + 2
    with pytest.raises(LayerError, match=r"'a' .* shared between inputs of different sizes"):
        Graph((IMAGE, conv("a", filters=3)), twice, functional=True)


def test_shapes_that_do_not_fit_are_refused_when_the_graph_is_made() -> None:
    chain = [MaxPooling2D(), MaxPooling2D(), MaxPooling2D(name="last"), MaxPooling2D()]
    with pytest.raises(LayerError, match=r"'last' .* nothing is left of its input"):
        Graph.sequential(chain, input_shape=(8, 7, 1))


# --- what is derived ---------------------------------------------------------------------------


def test_shapes_of_each_call() -> None:
    graph = residual()
    assert graph.shapes == ((8, 6, 2), (8, 6, 2), (8, 6, 2), (8, 6, 2), (96,))
    assert graph.input_shape == (8, 6, 2)
    assert graph.output_shape == (96,)


def test_weights_are_in_the_order_of_the_layers() -> None:
    graph = residual()
    swapped = dataclasses.replace(
        graph, layers=(IMAGE, graph.by_name["b"], graph.by_name["a"], *graph.layers[3:])
    )
    assert list(graph.weights) == ["a", "b"]
    assert list(swapped.weights) == ["b", "a"]
    assert graph.num_params == 2 * (3 * 3 * 2 * 2 + 2)


def test_frozen_layers_and_statistics_are_not_trainable() -> None:
    chain = [conv("a", trainable=False), BatchNormalization(name="n"), conv("b")]
    graph = Graph.sequential(chain, input_shape=(8, 8, 1))
    assert [(layer, weight.name) for layer, weight in graph.trainable_weights()] == [
        ("n", "scale"),
        ("n", "bias"),
        ("b", "kernel"),
        ("b", "bias"),
    ]


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ([conv()], "channels_last"),
        ([conv(data_format=FIRST)], FIRST),
        ([Dropout(rate=0.5), BatchNormalization(axis=1), MaxPooling2D(data_format=FIRST)], FIRST),
        ([conv(), MaxPooling2D(data_format=FIRST)], "channels_last"),
        ([RandomFlip(), conv()], "channels_last"),
        ([Dense(units=2)], "channels_last"),
        (
            [Reshape(target_shape=(6, 32)), GlobalAveragePooling1D(data_format=FIRST)],
            "channels_last",
        ),
    ],
)
def test_data_format_is_that_of_the_first_layers_that_state_one(
    chain: list[Layer], expected: str
) -> None:
    assert Graph.sequential(chain, input_shape=(4, 6, 8)).data_format == expected


def test_image_shape_is_height_width_channels_in_either_order() -> None:
    last = Graph.sequential([conv()], input_shape=(8, 6, 2))
    first = Graph.sequential([conv(data_format=FIRST)], input_shape=(2, 8, 6))
    assert last.image_shape == first.image_shape == (8, 6, 2)
    vectors = Graph.sequential([Dense(units=2)], input_shape=(5,))
    with pytest.raises(LayerError, match=r"expected a network over images, .* got inputs of \(5,"):
        _ = vectors.image_shape


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ([conv()], (0.0, 1.0)),
        ([Rescaling(scale=1 / 255), conv()], (0.0, 255.0)),
        ([Rescaling(scale=1 / 127.5, offset=-1), conv()], (0.0, 255.0)),
        ([Rescaling(scale=[1 / 255, 1 / 128]), conv()], (0.0, 255.0)),
        ([RandomFlip(), Rescaling(scale=1 / 255), conv()], (0.0, 255.0)),
        ([Reshape(target_shape=(48, 2)), MaxPooling1D(), Rescaling(scale=1 / 255)], (0.0, 255.0)),
        ([GlobalMaxPooling2D(), Rescaling(scale=1 / 255)], (0.0, 255.0)),
        ([TimeDistributed(layer=Permute(dims=(2, 1))), Rescaling(scale=1 / 255)], (0.0, 255.0)),
        ([Rescaling(scale=2.0, offset=-1.0), conv()], (0.0, 1.0)),
        ([conv(), Rescaling(scale=1 / 255)], (0.0, 1.0)),
        ([BatchNormalization(), Rescaling(scale=1 / 255)], (0.0, 1.0)),
    ],
)
def test_value_range_follows_a_rescaling_in_front(
    chain: list[Layer], expected: tuple[float, float]
) -> None:
    assert Graph.sequential(chain, input_shape=(8, 6, 2)).value_range == expected


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ([Dense(units=2, activation="softmax")], "softmax"),
        ([Dense(units=2)], "linear"),
        ([Dense(units=2), Activation(activation="softmax")], "softmax"),
        ([Dense(units=2), Softmax()], "softmax"),
        ([Dense(units=2), Softmax(axis=1)], "softmax"),
        ([Dense(units=2, activation="sigmoid")], "sigmoid"),
        ([Dense(units=2), BatchNormalization()], "linear"),
        ([ReLU()], "other"),
        ([Dropout(rate=0.5)], "linear"),
        ([PReLU()], "other"),
        ([Dense(units=2), Softmax(axis=0)], "other"),
        ([Dense(units=2, activation="softmax"), Dropout(rate=0.5)], "softmax"),
        ([Dense(units=2, activation="softmax"), Activation(activation="linear")], "softmax"),
        ([Dense(units=2, activation="softmax"), Reshape(target_shape=(1, 2))], "softmax"),
        ([Reshape(target_shape=(2, 1)), Softmax(axis=1), Flatten()], "other"),
        ([Reshape(target_shape=(1, 2)), Softmax(axis=2), Flatten()], "softmax"),
        ([Reshape(target_shape=(2, 1)), Activation(activation="softmax"), Flatten()], "other"),
        ([Flatten()], "linear"),
    ],
)
def test_final_activation(last: list[Layer], expected: str) -> None:
    chain = [GlobalAveragePooling2D(), *last]
    assert Graph.sequential(chain, input_shape=(8, 6, 2)).final_activation == expected


def sums(count: int) -> Graph:
    """Return a network that doubles its image `count` times, by adding it to itself."""
    names = [f"add_{i}" for i in range(count)]
    layers = [InputLayer(name="in", shape=(1,)), *(Add(name=name) for name in names)]
    calls = [Call("in", ()), *(Call(name, (i, i)) for i, name in enumerate(names))]
    return Graph(tuple(layers), tuple(calls), functional=True)


def test_what_activations_say_takes_time_and_depth_by_the_number_of_calls() -> None:
    graph = sums(3000)  # 2 ** 3000 ways lead from the input to the output
    assert graph.final_activation == "linear"
    assert not graph.ends_in_unit_interval


@pytest.mark.parametrize(
    "layers",
    [
        [UpSampling2D(size=1 << 13)],
        [ZeroPadding2D(padding=1 << 14)],
        [UpSampling2D(size=1 << 30), UpSampling2D(size=1 << 30)],
        [Flatten(), RepeatVector(n=1 << 30)],
    ],
)
def test_what_no_memory_holds_is_refused(layers: list[Layer]) -> None:
    with pytest.raises(LayerError, match="expected at most 268435456 values of an image, got"):
        Graph.sequential(layers, input_shape=(8, 8, 1))


@pytest.mark.parametrize("kind", [Resizing, CenterCrop])
def test_sizes_that_no_image_has_are_refused(kind: Any) -> None:
    with pytest.raises(LayerError, match=r"at most 16384 rows and columns, got \(1, 1000000\)"):
        kind(height=1, width=1_000_000)


def test_graphs_are_hashable_and_equal_by_value() -> None:
    assert residual() == residual()
    assert hash(residual()) == hash(residual())
    assert residual() != dataclasses.replace(residual(), name="other")
