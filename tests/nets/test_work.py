"""What layers take for an image is counted, and networks that take days are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ferjax import EMOTIONS, EmotionClassifier
from ferjax.errors import LayerError
from ferjax.nets import Call, Graph, Network
from ferjax.nets.layers import (
    LSTM,
    Add,
    AveragePooling2D,
    Bidirectional,
    Conv1D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    GlobalAveragePooling2D,
    InputLayer,
    Layer,
    MaxPooling1D,
    MaxPooling2D,
    ReLU,
    RepeatVector,
    Resizing,
    SeparableConv2D,
    TimeDistributed,
    UpSampling2D,
    ZeroPadding2D,
)
from ferjax.nets.layers.work import LOOP, Work

from ..networks import as_trained

SAME: dict[str, Any] = {"padding": "same"}
HUGE = 1 << 27


@pytest.mark.parametrize(
    ("layer", "shape", "operations"),
    [
        (Conv2D(filters=5, kernel_size=3), (8, 6, 4), 6 * 4 * 5 * 9 * 4),
        (Conv2D(filters=5, kernel_size=7, padding="same"), (8, 6, 4), 48 * 5 * 49 * 4 * LOOP),
        (Conv2D(filters=4, kernel_size=3, groups=2), (8, 6, 4), 6 * 4 * 4 * 9 * 2 * LOOP),
        (Conv1D(filters=5, kernel_size=3, dilation_rate=2), (9, 4), 5 * 5 * 3 * 4),
        (DepthwiseConv2D(kernel_size=3, depth_multiplier=2), (8, 6, 4), 6 * 4 * 8 * 9 * LOOP),
        (SeparableConv2D(kernel_size=3, filters=5), (8, 6, 4), 6 * 4 * 4 * (9 * LOOP + 5)),
        (Dense(units=5), (8, 4), 8 * 4 * 5),
        (MaxPooling2D(pool_size=3, strides=1), (8, 6, 4), 6 * 4 * 4 * 9 * LOOP),
        (MaxPooling1D(pool_size=3), (9, 4), 3 * 4 * 3 * LOOP),
        (UpSampling2D(size=(2, 3), interpolation="bilinear"), (8, 6, 1), 16 * 6 * 8 + 16 * 18 * 6),
        (Resizing(height=4, width=3), (8, 6, 1), 4 * 6 * 8 + 4 * 3 * 6),
        (TimeDistributed(layer=Dense(units=5)), (7, 8, 4), 7 * 8 * 4 * 5),
        (ReLU(), (8, 6, 4), 0),
    ],
    ids=lambda value: value.kind if isinstance(value, Layer) else "",
)
def test_operations_by_hand(layer: Layer, shape: tuple[int, ...], operations: int) -> None:
    assert layer.work(shape).operations == operations


def test_work_of_layers_in_layers() -> None:
    lstm = LSTM(units=3)
    work = lstm.work((5, 2))
    assert work == Work(5 * 12, 5 * ((2 + 3) * 12 + 2**19))
    assert Bidirectional(layer=lstm).work((5, 2)) == work + work
    assert Add().work((4, 4), (4, 4), (4, 1)).operations == 2 * 16 * LOOP


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        ([MaxPooling2D(pool_size=HUGE, strides=1, **SAME)], "max_pooling2d"),
        ([AveragePooling2D(pool_size=(HUGE, 1), strides=1, **SAME)], "average_pooling2d"),
        ([MaxPooling2D(pool_size=(1, 1 << 30), strides=1 << 30, **SAME)], "max_pooling2d"),
        ([ZeroPadding2D(padding=4000), MaxPooling2D(pool_size=4000, strides=1)], "max_pooling2d"),
        ([MaxPooling2D(pool_size=400, strides=1, **SAME)] * 40, "max_pooling2d_23"),
        ([Conv2D(filters=1, kernel_size=3, dilation_rate=HUGE, **SAME)], "conv2d"),
        ([Conv2D(filters=1, kernel_size=8192, **SAME)], "conv2d"),
        ([DepthwiseConv2D(kernel_size=3, dilation_rate=HUGE, **SAME)], "depthwise_conv2d"),
        ([DepthwiseConv2D(kernel_size=2048, **SAME)], "depthwise_conv2d"),
        ([SeparableConv2D(kernel_size=1, filters=1, depth_multiplier=1 << 18)], "separable_conv2d"),
        ([UpSampling2D(size=(1 << 16, 1), interpolation="bilinear")], "up_sampling2d"),
        ([ZeroPadding2D(padding=((0, 0), (0, 1 << 22))), Resizing(height=1, width=9)], "resizing"),
        (
            [
                ZeroPadding2D(padding=((0, 0), (0, 1 << 20))),
                Resizing(height=2, width=2, pad_to_aspect_ratio=True),
            ],
            "resizing",
        ),
        ([UpSampling2D(size=85), Dense(units=8), *[ReLU()] * 40], "re_lu_31"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_images_that_would_take_too_long(layers: list[Layer], named: str) -> None:
    with pytest.raises(LayerError, match=rf"layer '{named}\w*' .*expected at most \d+ (val|mult)"):
        Graph.sequential(layers, input_shape=(48, 48, 1))


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        ([Conv1D(filters=1, kernel_size=2, dilation_rate=4 * HUGE, padding="causal")], "conv1d"),
        ([MaxPooling1D(pool_size=2 * HUGE, strides=1, **SAME)], "max_pooling1d"),
        ([Flatten(), RepeatVector(n=1 << 21), LSTM(units=1)], "lstm"),
        (
            [Flatten(), RepeatVector(n=1 << 21), Bidirectional(layer=LSTM(units=1))],
            "bidirectional",
        ),
        ([TimeDistributed(layer=Dense(units=1 << 25))], "time_distributed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_sequences_that_would_take_too_long(layers: list[Layer], named: str) -> None:
    with pytest.raises(LayerError, match=rf"layer '{named}' .*expected at most \d+ (val|mult)"):
        Graph.sequential(layers, input_shape=(64, 1))


def test_a_layer_that_is_called_again_and_again() -> None:
    image = InputLayer(name="image", shape=(48, 48, 1))
    pool = MaxPooling2D(name="pool", pool_size=400, strides=1, **SAME)
    calls = [Call("image", ()), *(Call("pool", (i,)) for i in range(40))]
    with pytest.raises(LayerError, match=r"'pool' .*multiply-adds for an image in all layers, got"):
        Graph((image, pool), tuple(calls), functional=True)
    Graph((image, pool), tuple(calls[:9]), functional=True)


def test_many_inputs_that_are_made_larger() -> None:
    layers = (
        InputLayer(name="image", shape=(48, 48, 1)),
        UpSampling2D(name="up", size=256),
        Dense(name="dense", units=1),
        GlobalAveragePooling2D(name="mean", keepdims=True),
        Add(name="add"),
    )
    calls = [Call("image", ()), Call("up", (0,)), Call("mean", (1,)), Call("dense", (2,))]
    calls.append(Call("add", (1, *[3] * 200)))
    with pytest.raises(LayerError, match=r"layer 'add' .*multiply-adds"):
        Graph(layers, tuple(calls), functional=True)


def test_what_is_held_for_a_later_layer() -> None:
    layers = (
        InputLayer(name="image", shape=(48, 48, 1)),
        *(UpSampling2D(name=f"up{i}", size=240) for i in range(5)),  # 2**27 values each
        Add(name="add"),
    )
    ups = [Call(f"up{i}", (0,)) for i in range(5)]
    calls = (Call("image", ()), *ups, Call("add", (1, 2, 3, 4, 5)))
    with pytest.raises(LayerError, match=r"layer 'up4' .* values of an image at a time, got 6635"):
        Graph(layers, calls, functional=True)
    pairs = (Call("add", (1, 2)), Call("up2", (0,)), Call("add", (3, 4)))  # of which two are held
    kept = (*layers[:4], layers[-1])
    Graph(kept, (*calls[:3], *pairs), functional=True)


def test_large_networks_that_are_in_use() -> None:
    """Of the most costly families: EfficientNetB7's widest blocks at 600 pixels, a large pool."""
    Graph.sequential(
        [
            Conv2D(filters=64, kernel_size=3, strides=2, **SAME),
            *[DepthwiseConv2D(kernel_size=3, **SAME)] * 4,
            Conv2D(filters=32, kernel_size=1),
            Conv2D(filters=192, kernel_size=1),
            *[DepthwiseConv2D(kernel_size=3, **SAME), Conv2D(filters=192, kernel_size=1)] * 4,
            MaxPooling2D(pool_size=13, strides=1, **SAME),
            Conv2D(filters=3, kernel_size=1),
            Resizing(height=2048, width=2048),
        ],
        input_shape=(600, 600, 3),
    )


def open_sized() -> Graph:
    layers: list[Layer] = [
        MaxPooling2D(pool_size=200, strides=1, **SAME),
        GlobalAveragePooling2D(),
        Dense(units=7, activation="softmax"),
    ]
    image: Any = InputLayer(name="image", shape=(None, None, 1))
    return Graph.sequential([image, *layers])


@pytest.mark.parametrize("engine", ["jax", "onnx"])
def test_networks_of_open_size_are_checked_for_the_images(engine: str) -> None:
    if engine == "onnx":
        pytest.importorskip("onnxruntime")
    graph = open_sized()
    classifier = EmotionClassifier(Network(graph), as_trained(graph), EMOTIONS, engine=engine)
    assert classifier.predict_batch(np.zeros((1, 5, 4, 1), np.float32)).shape == (1, 7)
    with pytest.raises(LayerError, match=r"'max_pooling2d' .*multiply-adds for an image"):
        classifier.predict_batch(np.zeros((1, 1000, 1000, 1), np.float32))
    with pytest.raises(LayerError, match=r"expected .*images of shape \(B, (None|any)"):
        classifier.predict_batch(np.zeros((1, 1000, 1000, 3), np.float32))


def test_check_input() -> None:
    graph = open_sized()
    graph.check_input((5, 4, 1))
    graph.check_input((5, 4, 3))  # which the network does not take: whoever computes says so
    with pytest.raises(LayerError, match="multiply-adds"):
        graph.check_input((1000, 1000, 1))
