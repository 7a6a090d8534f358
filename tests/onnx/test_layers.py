"""Every layer kind, with its settings: what ONNX Runtime computes against the network itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ferjax.nets import Graph
from ferjax.nets.graph import Call
from ferjax.nets.layers import (
    ELU,
    GRU,
    LSTM,
    VOCABULARY,
    Activation,
    Add,
    Average,
    BatchNormalization,
    Concatenate,
    Conv2D,
    Cropping2D,
    Dense,
    Flatten,
    GlobalAveragePooling2D,
    InputLayer,
    Layer,
    LeakyReLU,
    Maximum,
    Minimum,
    Multiply,
    Operation,
    PReLU,
    ReLU,
    Rescaling,
    Reshape,
    SimpleRNN,
    Softmax,
    Subtract,
    TrainingOnly,
    layer_class,
)
from ferjax.nets.layers.base import ACTIVATION_NAMES
from ferjax.onnx import exporting

from ..networks import functional

REASON = "needs onnxruntime: pip install 'ferjax[onnx]'"
pytest.importorskip("onnxruntime", reason=REASON)
pytest.importorskip("onnx", reason=REASON)

Make = Callable[..., Any]
Case = tuple[str, dict[str, Any], tuple[int, ...]]

# The shapes are (H, W, C): not square, odd and even.
SPATIAL: list[Case] = [
    ("Conv2D", {"filters": 3, "kernel_size": 3}, (7, 6, 1)),
    ("Conv2D", {"filters": 3, "kernel_size": 3, "padding": "same", "use_bias": False}, (7, 6, 3)),
    ("Conv2D", {"filters": 2, "kernel_size": 4, "padding": "same"}, (7, 8, 2)),
    ("Conv2D", {"filters": 2, "kernel_size": 5, "padding": "same"}, (2, 3, 2)),
    ("Conv2D", {"filters": 2, "kernel_size": (2, 3), "strides": 2, "padding": "same"}, (8, 7, 2)),
    ("Conv2D", {"filters": 2, "kernel_size": 2, "strides": (3, 2), "padding": "same"}, (8, 9, 2)),
    ("Conv2D", {"filters": 2, "kernel_size": 1, "strides": 3, "padding": "same"}, (8, 9, 2)),
    ("Conv2D", {"filters": 2, "kernel_size": (3, 2), "dilation_rate": (1, 3), "padding": "same"},
     (9, 8, 2)),
    ("Conv2D", {"filters": 6, "kernel_size": 3, "groups": 2}, (6, 5, 4)),
    ("Conv2D", {"filters": 3, "kernel_size": 2, "activation": "softmax"}, (6, 5, 2)),
    ("DepthwiseConv2D", {"kernel_size": 3, "padding": "same"}, (6, 7, 3)),
    ("DepthwiseConv2D", {"kernel_size": 2, "depth_multiplier": 3, "strides": 2, "padding": "same"},
     (7, 8, 2)),
    ("DepthwiseConv2D", {"kernel_size": 3, "dilation_rate": 2, "activation": "tanh"}, (7, 8, 2)),
    ("SeparableConv2D", {"filters": 4, "kernel_size": 3, "use_bias": False}, (7, 6, 1)),
    ("SeparableConv2D", {"filters": 4, "kernel_size": 3, "depth_multiplier": 2, "strides": 2,
                         "padding": "same", "activation": "log_softmax"}, (7, 8, 3)),
    ("MaxPooling2D", {}, (7, 8, 2)),
    ("MaxPooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, (8, 7, 2)),
    ("MaxPooling2D", {"pool_size": 2, "strides": 3, "padding": "same"}, (9, 7, 1)),
    ("AveragePooling2D", {"pool_size": 3, "strides": (1, 2)}, (7, 8, 2)),
    ("AveragePooling2D", {"pool_size": (3, 2), "strides": 1, "padding": "same"}, (6, 7, 2)),
    ("AveragePooling2D", {"pool_size": 2, "padding": "same"}, (5, 7, 2)),
    ("GlobalAveragePooling2D", {}, (5, 6, 3)),
    ("GlobalAveragePooling2D", {"keepdims": True}, (5, 6, 3)),
    ("GlobalMaxPooling2D", {}, (5, 6, 3)),
    ("GlobalMaxPooling2D", {"keepdims": True}, (5, 6, 3)),
    ("ZeroPadding2D", {"padding": ((1, 0), (2, 3))}, (3, 4, 2)),
    ("Cropping2D", {"cropping": ((2, 0), (0, 1))}, (5, 4, 2)),
    ("UpSampling2D", {}, (3, 4, 2)),
    ("UpSampling2D", {"size": (2, 3), "interpolation": "bilinear"}, (3, 4, 2)),
    ("UpSampling2D", {"size": 2, "interpolation": "bicubic"}, (5, 4, 2)),
    ("Resizing", {"height": 6, "width": 3}, (4, 5, 2)),
    ("Resizing", {"height": 5, "width": 7, "interpolation": "nearest"}, (8, 3, 2)),
    ("Resizing", {"height": 10, "width": 8, "interpolation": "gaussian"}, (5, 16, 2)),
    ("Resizing", {"height": 3, "width": 9, "interpolation": "lanczos3", "antialias": True},
     (8, 6, 2)),
    ("Resizing", {"height": 9, "width": 4, "interpolation": "area"}, (7, 8, 1)),
    ("Resizing", {"height": 4, "width": 6, "crop_to_aspect_ratio": True}, (9, 5, 2)),
    ("Resizing", {"height": 4, "width": 6, "pad_to_aspect_ratio": True, "fill_value": 0.5},
     (9, 5, 2)),
    ("Resizing", {"height": 6, "width": 4, "pad_to_aspect_ratio": True, "antialias": True},
     (5, 10, 2)),
    ("CenterCrop", {"height": 4, "width": 3}, (7, 8, 2)),
    ("CenterCrop", {"height": 4, "width": 3}, (7, 2, 2)),
    ("Flatten", {}, (3, 4, 2)),
    ("SpatialDropout2D", {"rate": 0.5}, (3, 4, 2)),
]  # fmt: skip

OTHER: list[Case] = [
    ("Flatten", {}, (5,)),
    ("Reshape", {"target_shape": (2, -1, 3)}, (3, 4, 2)),
    ("Reshape", {"target_shape": (-1,)}, (3, 4, 2)),
    ("Dense", {"units": 5}, (3,)),
    ("Dense", {"units": 5, "use_bias": False}, (3,)),
    ("Dense", {"units": 5, "activation": "softmax"}, (3, 4, 2)),
    ("Dense", {"units": 5, "use_bias": False}, (4, 3)),
    ("BatchNormalization", {}, (3, 4, 2)),
    ("BatchNormalization", {"scale": False, "epsilon": 0.1}, (3, 4, 2)),
    ("BatchNormalization", {"center": False}, (5,)),
    ("BatchNormalization", {"center": False, "scale": False}, (4, 3)),
    ("BatchNormalization", {"axis": 1}, (3, 4, 2)),
    ("BatchNormalization", {"axis": -2, "epsilon": 1e-5}, (3, 4, 2)),
    ("LayerNormalization", {}, (3, 4, 2)),
    ("LayerNormalization", {"axis": (1, 3), "scale": False}, (3, 4, 2)),
    ("LayerNormalization", {"axis": (2, 3), "rms_scaling": True}, (3, 4, 2)),
    ("RMSNormalization", {"axis": (1, 2), "epsilon": 0.1}, (3, 4, 2)),
    ("UnitNormalization", {"axis": (1, 3)}, (3, 4, 2)),
    ("GroupNormalization", {"groups": 2}, (3, 4, 6)),
    ("GroupNormalization", {"groups": 3, "axis": 1, "center": False}, (3, 4, 2)),
    ("GroupNormalization", {"groups": -1, "axis": 2, "scale": False}, (3, 4, 2)),
    ("Permute", {"dims": (3, 1, 2)}, (3, 4, 2)),
    ("RepeatVector", {"n": 3}, (4,)),
    ("Conv1D", {"filters": 3, "kernel_size": 3, "activation": "softmax"}, (6, 2)),
    (
        "Conv1D",
        {"filters": 4, "kernel_size": 5, "strides": 2, "padding": "same", "groups": 2},
        (8, 4),
    ),
    ("Conv1D", {"filters": 3, "kernel_size": 2, "dilation_rate": 3, "padding": "causal"}, (7, 2)),
    (
        "Conv1D",
        {
            "filters": 3,
            "kernel_size": 3,
            "padding": "causal",
            "use_bias": False,
            "data_format": "channels_first",
        },
        (2, 7),
    ),
    ("MaxPooling1D", {}, (7, 2)),
    ("MaxPooling1D", {"pool_size": 3, "strides": 2, "padding": "same"}, (8, 2)),
    ("MaxPooling1D", {"strides": 3, "padding": "same", "data_format": "channels_first"}, (2, 9)),
    ("GlobalAveragePooling1D", {}, (4, 5)),
    ("GlobalAveragePooling1D", {"data_format": "channels_first", "keepdims": True}, (4, 5)),
    ("GlobalMaxPooling1D", {"keepdims": True}, (4, 5)),
    ("GlobalMaxPooling1D", {"data_format": "channels_first"}, (4, 5)),
    ("LSTM", {"units": 3}, (4, 5)),
    (
        "LSTM",
        {
            "units": 3,
            "return_sequences": True,
            "go_backwards": True,
            "use_bias": False,
            "dropout": 0.2,
        },
        (4, 5),
    ),
    (
        "LSTM",
        {
            "units": 3,
            "activation": "relu",
            "recurrent_activation": "hard_sigmoid",
            "unit_forget_bias": False,
        },
        (4, 5),
    ),
    ("GRU", {"units": 3}, (4, 5)),
    ("GRU", {"units": 3, "reset_after": False, "return_sequences": True}, (4, 5)),
    ("GRU", {"units": 3, "use_bias": False, "go_backwards": True, "activation": "elu"}, (4, 5)),
    ("GRU", {"units": 3, "use_bias": False, "reset_after": False}, (4, 5)),
    ("SimpleRNN", {"units": 3, "return_sequences": True, "go_backwards": True}, (4, 5)),
    ("SimpleRNN", {"units": 3, "use_bias": False, "activation": "softsign"}, (4, 5)),
    ("Bidirectional", {"layer": LSTM(units=3)}, (4, 5)),
    ("Bidirectional", {"layer": GRU(units=3, return_sequences=True), "merge_mode": "ave"}, (4, 5)),
    ("Bidirectional", {"layer": SimpleRNN(units=3), "merge_mode": "mul"}, (4, 5)),
    ("TimeDistributed", {"layer": Flatten()}, (3, 4, 2)),
    ("TimeDistributed", {"layer": Dense(units=3, activation="tanh")}, (3, 4, 2)),
    ("TimeDistributed", {"layer": BatchNormalization()}, (3, 4)),
    ("TimeDistributed", {"layer": Conv2D(filters=2, kernel_size=2)}, (2, 3, 4, 2)),
    ("TimeDistributed", {"layer": LSTM(units=2)}, (2, 3, 4)),
    ("Identity", {}, (3, 4, 2)),
    ("ActivityRegularization", {"l2": 0.1}, (3, 4, 2)),
    ("RandomBrightness", {"factor": 0.5}, (3, 4, 2)),
    ("ReLU", {}, (3, 4, 2)),
    ("ReLU", {"max_value": 0.5}, (3, 4, 2)),
    ("ReLU", {"negative_slope": 0.1}, (3, 4, 2)),
    ("ReLU", {"threshold": 0.5}, (3, 4, 2)),
    ("ReLU", {"max_value": 1.0, "negative_slope": 0.2, "threshold": 0.25}, (3, 4, 2)),
    ("ReLU", {"max_value": 1.0, "negative_slope": 0.2}, (3, 4, 2)),
    ("LeakyReLU", {}, (3, 4, 2)),
    ("LeakyReLU", {"negative_slope": 0.05}, (3, 4, 2)),
    ("PReLU", {}, (3, 4, 2)),
    ("PReLU", {"shared_axes": (1, 2)}, (3, 4, 2)),
    ("PReLU", {"shared_axes": (3,)}, (3, 4, 2)),
    ("PReLU", {}, (6,)),
    ("ELU", {"alpha": 0.3}, (3, 4, 2)),
    ("Softmax", {}, (3, 4, 2)),
    ("Softmax", {"axis": 1}, (3, 4, 2)),
    ("Softmax", {"axis": (-1, 1)}, (3, 4, 2)),
    ("Rescaling", {"scale": 2.5}, (3, 4, 2)),
    ("Rescaling", {"scale": (0.5, 2.0), "offset": (1.0, -1.0)}, (3, 4, 2)),
    ("Rescaling", {"scale": 2, "offset": ((1.0,), (2.0,), (3.0,), (4.0,))}, (3, 4, 2)),
    ("Normalization", {}, (3, 4, 2)),
    ("Normalization", {"axis": (3, 1), "invert": True}, (3, 4, 2)),
    ("Normalization", {"axis": None, "mean": 0.5, "variance": 2.0}, (3, 4, 2)),
    ("Normalization", {"mean": (0.5, -0.5), "variance": (2.0, 0.25), "invert": True}, (3, 4, 2)),
    ("LayerScale", {"projection_dim": 2}, (3, 4, 2)),
    ("Dropout", {"rate": 0.5}, (3, 4, 2)),
    ("SpatialDropout1D", {"rate": 0.5}, (3, 4)),
    ("RandomCrop", {"height": 4, "width": 3}, (7, 8, 2)),
    ("GaussianNoise", {"stddev": 0.5}, (3, 4, 2)),
    ("GaussianDropout", {"rate": 0.5}, (3, 4, 2)),
    ("RandomFlip", {}, (3, 4, 2)),
    ("RandomRotation", {"factor": 0.1}, (3, 4, 2)),
    ("RandomZoom", {"height_factor": 0.1}, (3, 4, 2)),
    ("RandomTranslation", {"height_factor": 0.1, "width_factor": 0.1}, (3, 4, 2)),
    ("RandomContrast", {"factor": 0.5}, (3, 4, 2)),
]


def _id(case: Any) -> str:
    kind, settings, shape = case
    told = "-".join(f"{key}={value}" for key, value in settings.items() if key != "filters")
    return f"{kind}({told})-{'x'.join(map(str, shape))}".replace(" ", "")


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("case", SPATIAL, ids=_id)
def test_spatial_layer(case: Case, data_format: str, compare: Make, draw: Make) -> None:
    kind, settings, shape = case
    if data_format == "channels_first":
        shape = (shape[2], *shape[:2])
    layer = layer_class(kind, "")(**settings, data_format=data_format)
    compare(Graph.sequential([layer], input_shape=shape), draw(2, *shape))


@pytest.mark.parametrize("case", OTHER, ids=_id)
def test_layer(case: Case, compare: Make, draw: Make) -> None:
    kind, settings, shape = case
    layer = layer_class(kind, "")(**settings)
    compare(Graph.sequential([layer], input_shape=shape), draw(2, *shape))


@pytest.mark.parametrize("case", [case for case in OTHER if len(case[2]) == 3], ids=_id)
def test_layer_behind_a_convolution(case: Case, compare: Make, draw: Make) -> None:
    """Convolutions leave images in another order of axes than Keras's."""
    kind, settings, shape = case
    chain = [Conv2D(filters=shape[-1], kernel_size=1), layer_class(kind, "")(**settings)]
    compare(Graph.sequential(chain, input_shape=shape), draw(2, *shape))


def test_every_layer_kind_is_compared() -> None:
    compared = {kind for kind, *_ in SPATIAL + OTHER}
    compared |= {"InputLayer", "Activation", *(kind.__name__ for kind in MERGING)}
    unseen = {kind for kind, known in VOCABULARY.items() if issubclass(known, TrainingOnly)}
    assert compared | unseen == set(VOCABULARY)
    written = set(VOCABULARY) - {"InputLayer"} | {"Operation"}
    kinds: dict[str, type[Layer]] = {**VOCABULARY, "Operation": Operation}
    assert {name for name, kind in kinds.items() if exporting.writer_of(kind)} == written


OPERATIONS: list[dict[str, Any]] = [
    {"operation": "add", "operands": (None, (1.0, 2.0, 3.0))},
    {"operation": "subtract", "operands": (1.0, None)},
    {"operation": "multiply", "operands": (None, ((1.0,), (2.0,), (3.0,), (4.0,), (5.0,)))},
    {"operation": "divide", "operands": (2.0, None)},
    {"operation": "power", "operands": (None, 3.0)},
    {"operation": "power", "operands": (2.0, None)},
    {"operation": "maximum", "operands": (None, 0.5)},
    {"operation": "minimum", "operands": ((0.1, 0.5, 0.9), None)},
    {"operation": "clip", "operands": (None, 0.2, 0.6)},
    *({"operation": name} for name in ("abs", "sqrt", "rsqrt", "square", "log", "gelu_tanh")),
    {"operation": "stop_gradient"},
    {"operation": "grayscale"},
    {"operation": "mean", "axis": (2, -1)},
    {"operation": "sum", "axis": 3, "keepdims": True},
    {"operation": "max", "axis": (1,)},
    {"operation": "min", "axis": (1, 2, 3)},
    {"operation": "var", "axis": (1, 2)},
    {"operation": "std", "axis": (-1,), "keepdims": True},
    {"operation": "get_item", "index": ("...", (None, None, -1))},
    {"operation": "get_item", "index": ((None, None, None), (-3, None, None), (4, 0, -2), -1)},
    {"operation": "get_item", "index": ((None, None, None), None, 1, (0, 1, None), None)},
    {"operation": "transpose", "axis": (0, 3, 1, 2)},
    {"operation": "flip", "axis": (1, 3)},
    {"operation": "repeat", "axis": 1, "repeats": 2},
    {"operation": "repeat", "axis": -1, "repeats": 3},
    {"operation": "stack", "axis": -1},
    {"operation": "expand_dims", "axis": -2},
]


@pytest.mark.parametrize("behind_a_convolution", [False, True])
def test_operations(behind_a_convolution: bool, compare: Make, draw: Make) -> None:
    """All in one network: a session each would take most of the time."""
    layers: list[Layer] = [InputLayer(name="in", shape=(4, 5, 3))]
    calls = [Call("in", ())]
    if behind_a_convolution:
        layers.append(Conv2D(name="conv", filters=3, kernel_size=1, activation="sigmoid"))
        calls.append(Call("conv", (0,)))
    flat = []
    for number, settings in enumerate(OPERATIONS):
        layers += [Operation(name=f"op{number}", **settings), Flatten(name=f"flat{number}")]
        calls.append(Call(f"op{number}", (int(behind_a_convolution),)))
        calls.append(Call(f"flat{number}", (len(calls) - 1,)))
        flat.append(len(calls) - 1)
    layers.append(Concatenate(name="together"))
    calls.append(Call("together", tuple(flat)))
    graph = Graph(tuple(layers), tuple(calls), functional=True)
    compare(graph, np.abs(draw(2, 4, 5, 3)) + 0.1)


@pytest.mark.parametrize("name", ACTIVATION_NAMES)
def test_activation(name: str, compare: Make, draw: Make) -> None:
    wide = np.linspace(-8, 8, 96, dtype=np.float32).reshape(2, 4, 6, 2)
    layer = Activation(activation=name)
    # exp(8) is about 3000: single precision has 4e-4 there.
    images = wide / 4 if name == "exponential" else wide
    compare(Graph.sequential([layer], input_shape=(4, 6, 2)), images)
    after = [Conv2D(filters=3, kernel_size=2), layer]
    compare(Graph.sequential(after, input_shape=(4, 6, 2)), draw(2, 4, 6, 2) / 4)


@pytest.mark.parametrize(
    "activation",
    [
        LeakyReLU(negative_slope=0.1),
        ReLU(max_value=1.0, negative_slope=0.2, threshold=0.25),
        Softmax(axis=1),
        Activation(activation=ELU(alpha=0.5)),
        PReLU(shared_axes=(1, 2)),
    ],
    ids=repr,
)
def test_activation_that_is_a_layer(activation: Layer, compare: Make, draw: Make) -> None:
    chain = [
        Dense(units=3, activation=activation),
        Conv2D(filters=3, kernel_size=2, activation=activation),
    ]
    compare(Graph.sequential(chain, input_shape=(5, 4, 2)), draw(2, 5, 4, 2))


MERGING = [Add, Subtract, Multiply, Average, Maximum, Minimum, Concatenate]


@pytest.mark.parametrize("kind", MERGING)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_merge_of_branches(kind: type[Layer], data_format: str, compare: Make, draw: Make) -> None:
    """One branch is in Keras's order, two come from convolutions."""
    settings: dict[str, Any] = {"filters": 3, "kernel_size": 1, "data_format": data_format}
    graph = functional(
        (InputLayer(name="input", shape=(3, 4, 3)), ()),
        (Rescaling(name="half", scale=0.5), (0,)),
        (Conv2D(name="a", **settings), (0,)),
        (Conv2D(name="b", **settings), (1,)),
        (kind(name="merged"), (1, 2, 3)[: 2 if kind is Subtract else 3]),
    )
    compare(graph, draw(2, 3, 4, 3))


@pytest.mark.parametrize("kind", [Add, Multiply])
@pytest.mark.parametrize("order", [(1, 2, 3, 5), (5, 3, 2, 1), (3, 1, 5, 2)])
def test_merge_broadcasts_missing_axes_and_axes_of_one(
    kind: type[Layer], order: tuple[int, ...], compare: Make, draw: Make
) -> None:
    graph = functional(
        (InputLayer(name="input", shape=(3, 4, 2)), ()),
        (Conv2D(name="images", filters=2, kernel_size=1), (0,)),
        (GlobalAveragePooling2D(name="vector"), (1,)),
        (GlobalAveragePooling2D(name="pixel", keepdims=True), (1,)),
        # (4, 2) of one row stands for (1, 4, 2).
        (Cropping2D(name="row", cropping=((1, 1), (0, 0))), (1,)),
        (Reshape(name="columns", target_shape=(4, 2)), (4,)),
        (kind(name="merged"), order),
    )
    compare(graph, draw(2, 3, 4, 2))


@pytest.mark.parametrize("axis", [1, 2, 3, -1, -2, -3])
def test_concatenate_along_each_axis(axis: int, compare: Make, draw: Make) -> None:
    graph = functional(
        (InputLayer(name="input", shape=(5, 4, 3)), ()),
        (Conv2D(name="conv", filters=3, kernel_size=1), (0,)),
        (Concatenate(name="both", axis=axis), (0, 1)),
    )
    compare(graph, draw(2, 5, 4, 3))
