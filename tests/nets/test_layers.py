"""Layer descriptions: shapes by hand, what they refuse, and values that a person can work out."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ferjax.errors import FerjaxError, LayerError, UnknownLayerError
from ferjax.nets import Graph, Network, layers, ops
from ferjax.nets.layers import (
    ELU,
    GRU,
    LSTM,
    VOCABULARY,
    Activation,
    Add,
    AlphaDropout,
    AveragePooling2D,
    BatchNormalization,
    Bidirectional,
    Concatenate,
    Conv1D,
    Conv2D,
    Cropping2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GaussianNoise,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    GroupNormalization,
    InputLayer,
    Layer,
    LayerNormalization,
    LeakyReLU,
    MaxPooling1D,
    MaxPooling2D,
    Multiply,
    Normalization,
    Permute,
    PReLU,
    RandomContrast,
    RandomCrop,
    RandomFlip,
    RandomHue,
    RandomRotation,
    RandomZoom,
    ReLU,
    RepeatVector,
    Rescaling,
    Reshape,
    RMSNormalization,
    SeparableConv2D,
    Softmax,
    Subtract,
    TimeDistributed,
    UnitNormalization,
    ZeroPadding2D,
    layer_class,
)
from ferjax.nets.layers.base import ACTIVATION_NAMES
from ferjax.nets.ops import ACTIVATIONS

from ..networks import chain, drawn

FIRST = "channels_first"


def apply(layer: Layer, x: Any, **variables: Any) -> np.ndarray:
    """Return what a layer alone makes of float32 `x`."""
    x = np.asarray(x, np.float32)
    network = chain(layer, shape=x.shape[1:])
    return np.asarray(network.apply(variables, x))


def accepts(layer: Layer, shape: Any) -> bool:
    """Return whether a network can begin with a layer on images of a shape."""
    try:
        Graph.sequential([layer], input_shape=shape)
    except LayerError:
        return False
    return True


# --- shapes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (Conv2D(filters=8, kernel_size=3), (48, 40, 1), (46, 38, 8)),
        (Conv2D(filters=8, kernel_size=3, padding="same"), (48, 40, 1), (48, 40, 8)),
        (Conv2D(filters=8, kernel_size=(3, 5), strides=2), (9, 9, 1), (4, 3, 8)),
        (Conv2D(filters=8, kernel_size=3, strides=2, padding="same"), (9, 8, 1), (5, 4, 8)),
        (Conv2D(filters=8, kernel_size=3, dilation_rate=2), (9, 8, 1), (5, 4, 8)),
        (Conv2D(filters=8, kernel_size=3, data_format=FIRST), (1, 48, 40), (8, 46, 38)),
        (Conv2D(filters=8, kernel_size=3), (None, None, 1), (None, None, 8)),
        (DepthwiseConv2D(kernel_size=3, depth_multiplier=2), (5, 6, 3), (3, 4, 6)),
        (SeparableConv2D(filters=7, kernel_size=3), (5, 6, 3), (3, 4, 7)),
        (MaxPooling2D(), (11, 10, 3), (5, 5, 3)),
        (MaxPooling2D(padding="same"), (11, 10, 3), (6, 5, 3)),
        (MaxPooling2D(pool_size=3, strides=2), (11, 10, 3), (5, 4, 3)),
        (AveragePooling2D(pool_size=(2, 5), data_format=FIRST), (3, 11, 10), (3, 5, 2)),
        (MaxPooling1D(), (11, 3), (5, 3)),
        (MaxPooling1D(pool_size=3, strides=2, padding="same"), (11, 3), (6, 3)),
        (MaxPooling1D(pool_size=3, data_format=FIRST), (3, 11), (3, 3)),
        (MaxPooling1D(), (None, 3), (None, 3)),
        (GlobalAveragePooling2D(), (11, 10, 3), (3,)),
        (GlobalAveragePooling1D(keepdims=True), (11, 3), (1, 3)),
        (GlobalMaxPooling1D(keepdims=True, data_format=FIRST), (11, 3), (11, 1)),
        (GlobalMaxPooling1D(data_format=FIRST), (11, None), (11,)),
        (GlobalAveragePooling2D(), (None, None, 3), (3,)),
        (Conv1D(filters=4, kernel_size=3), (11, 3), (9, 4)),
        (Conv1D(filters=4, kernel_size=3, strides=2, padding="same"), (11, 3), (6, 4)),
        (Conv1D(filters=4, kernel_size=3, strides=2, padding="causal"), (10, 3), (5, 4)),
        (Conv1D(filters=4, kernel_size=3, dilation_rate=2, data_format=FIRST), (3, 11), (4, 7)),
        (Conv1D(filters=4, kernel_size=3), (None, 3), (None, 4)),
        (GlobalMaxPooling2D(keepdims=True), (11, 10, 3), (1, 1, 3)),
        (GlobalMaxPooling2D(keepdims=True, data_format=FIRST), (3, 11, 10), (3, 1, 1)),
        (ZeroPadding2D(padding=((1, 2), (3, 4))), (5, 6, 1), (8, 13, 1)),
        (Cropping2D(cropping=(1, 2)), (5, 6, 1), (3, 2, 1)),
        (Flatten(), (5, 6, 2), (60,)),
        (Reshape(target_shape=(-1, 4)), (5, 6, 2), (15, 4)),
        (Dense(units=3), (7,), (3,)),
        (Dense(units=3), (5, 6, 2), (5, 6, 3)),
        (BatchNormalization(), (5, 6, 2), (5, 6, 2)),
        (Softmax(), (4,), (4,)),
    ],
    ids=repr,
)
def test_output_shape(layer: Layer, shape: Any, expected: Any) -> None:
    assert layer.output_shape(shape) == expected


@pytest.mark.parametrize(
    ("layer", "shapes", "expected"),
    [
        (Add(), [(4, 5, 2), (4, 5, 2)], (4, 5, 2)),
        (Multiply(), [(1, 1, 2), (4, 5, 2), (2,)], (4, 5, 2)),
        (Add(), [(None, 5, 2), (1, 5, 2)], (None, 5, 2)),
        (Concatenate(), [(4, 5, 2), (4, 5, 3), (4, 5, 1)], (4, 5, 6)),
        (Concatenate(axis=1), [(4, 5, 2), (3, 5, 2)], (7, 5, 2)),
        (Concatenate(axis=1), [(None, 5, 2), (3, 5, 2)], (None, 5, 2)),
    ],
    ids=repr,
)
def test_output_shape_of_several_inputs(layer: Layer, shapes: Any, expected: Any) -> None:
    assert layer.output_shape(*shapes) == expected


def test_open_height_stays_open_through_every_spatial_layer() -> None:
    for layer in (MaxPooling2D(), ZeroPadding2D(), Cropping2D(), Conv2D(filters=1, kernel_size=2)):
        assert layer.output_shape((None, 6, 1))[0] is None


# --- weights -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (
            Conv2D(filters=8, kernel_size=(3, 5), groups=2),
            (9, 9, 4),
            {"kernel": (3, 5, 2, 8), "bias": (8,)},
        ),
        (Conv2D(filters=8, kernel_size=3, use_bias=False), (9, 9, 4), {"kernel": (3, 3, 4, 8)}),
        (
            Conv2D(filters=8, kernel_size=3, data_format=FIRST),
            (4, 9, 9),
            {"kernel": (3, 3, 4, 8), "bias": (8,)},
        ),
        (Conv1D(filters=8, kernel_size=3, groups=2), (9, 4), {"kernel": (3, 2, 8), "bias": (8,)}),
        (
            DepthwiseConv2D(kernel_size=3, depth_multiplier=2),
            (9, 9, 4),
            {"kernel": (3, 3, 4, 2), "bias": (8,)},
        ),
        (
            SeparableConv2D(filters=5, kernel_size=3, depth_multiplier=2),
            (9, 9, 4),
            {"depthwise_kernel": (3, 3, 4, 2), "pointwise_kernel": (1, 1, 8, 5), "bias": (5,)},
        ),
        (Dense(units=3), (5, 6, 2), {"kernel": (2, 3), "bias": (3,)}),
        (BatchNormalization(), (5, 6, 2), {"scale": (2,), "bias": (2,), "mean": (2,), "var": (2,)}),
        (BatchNormalization(axis=1), (5, 6, 2),
         {"scale": (5,), "bias": (5,), "mean": (5,), "var": (5,)}),
        (BatchNormalization(axis=-2, scale=False), (5, 6, 2),
         {"bias": (6,), "mean": (6,), "var": (6,)}),
        (BatchNormalization(scale=False, center=False), (5, 6, 2), {"mean": (2,), "var": (2,)}),
        (PReLU(), (5, 6, 2), {"alpha": (5, 6, 2)}),
        (PReLU(shared_axes=[1, 2]), (None, None, 2), {"alpha": (1, 1, 2)}),
        (Normalization(), (5, 6, 2), {"mean": (2,), "var": (2,), "count": ()}),
        (Normalization(axis=(1, -1)), (5, 6, 2), {"mean": (5, 2), "var": (5, 2), "count": ()}),
        (Normalization(axis=None), (5, 6, 2), {"mean": (), "var": (), "count": ()}),
        (Normalization(mean=1.0, variance=2.0), (5, 6, 2), {}),
        (Dropout(rate=0.5), (5, 6, 2), {}),
    ],
    ids=repr,
)  # fmt: skip
def test_weight_shapes_in_keras_s_order(layer: Layer, shape: Any, expected: Any) -> None:
    actual = {weight.name: weight.shape for weight in layer.weights(shape)}
    assert list(actual.items()) == list(expected.items())


def test_only_statistics_are_outside_params() -> None:
    collections = {w.name: w.collection for w in BatchNormalization().weights((4, 4, 2))}
    assert collections == {
        "scale": "params",
        "bias": "params",
        "mean": "batch_stats",
        "var": "batch_stats",
    }
    assert {w.collection for w in Normalization().weights((4, 4, 2))} == {"batch_stats"}


# --- settings ----------------------------------------------------------------------------------


def test_defaults_are_keras_s() -> None:
    assert Conv2D(filters=1, kernel_size=3).padding == "valid"
    assert MaxPooling2D(pool_size=(2, 3)).strides == (2, 3)
    assert MaxPooling1D(pool_size=(3,)).strides == (3,)
    assert BatchNormalization().epsilon == 1e-3
    assert BatchNormalization().momentum == 0.99
    assert LeakyReLU().negative_slope == 0.3
    assert ELU().alpha == 1.0
    assert RandomRotation(factor=0.1).fill_mode == "reflect"
    assert RandomContrast(factor=0.1).value_range == (0.0, 255.0)


def test_settings_are_brought_to_one_form() -> None:
    layer = Conv2D(filters=4.0, kernel_size=[3, 1], strides=2)  # type: ignore[arg-type]
    assert layer.filters == 4
    assert isinstance(layer.filters, int)
    assert layer.kernel_size == (3, 1)
    assert layer.strides == (2, 2)
    assert ZeroPadding2D(padding=2).padding == ((2, 2), (2, 2))  # type: ignore[arg-type]
    assert ZeroPadding2D(padding=(1, 2)).padding == ((1, 1), (2, 2))  # type: ignore[arg-type]
    assert RandomZoom(height_factor=0.2).height_factor == (-0.2, 0.2)  # type: ignore[arg-type]
    assert RandomZoom(height_factor=(0.3, -0.1)).height_factor == (-0.1, 0.3)
    assert RandomContrast(factor=0.2).factor == (0.2, 0.2)  # type: ignore[arg-type]
    assert BatchNormalization(axis=[3]).axis == 3  # type: ignore[arg-type]
    assert Activation(activation=None).activation == "linear"  # type: ignore[arg-type]
    assert Rescaling(scale=[0.5, 2]).scale == (0.5, 2.0)


REQUIRED: dict[str, dict[str, Any]] = {
    "InputLayer": {"shape": (4, 4, 1)},
    "Conv2D": {"filters": 2, "kernel_size": 3},
    "Conv1D": {"filters": 2, "kernel_size": 3},
    "DepthwiseConv2D": {"kernel_size": 3},
    "SeparableConv2D": {"filters": 2, "kernel_size": 3},
    "Dense": {"units": 2},
    "LayerScale": {"projection_dim": 2},
    "Activation": {"activation": "relu"},
    "Reshape": {"target_shape": [1, -1]},
    "Permute": {"dims": [1]},
    "AlphaDropout": {"rate": 0.5},
    "SpatialDropout1D": {"rate": 0.5},
    "RandomCrop": {"height": 4, "width": 4},
    "RandomHeight": {"factor": 0.5},
    "RandomWidth": {"factor": [0.1, 0.2]},
    "RandomColorDegeneration": {"factor": 0.5},
    "RandomHue": {"factor": 0.5},
    "RandomSaturation": {"factor": 0.5},
    "RandomSharpness": {"factor": 0.5},
    "RandomPosterization": {"factor": 3},
    "LSTM": {"units": 2},
    "GRU": {"units": 2},
    "SimpleRNN": {"units": 2},
    "TimeDistributed": {"layer": Dense(units=2)},
    "Bidirectional": {"layer": LSTM(units=2)},
    "Resizing": {"height": 4, "width": 4},
    "CenterCrop": {"height": 4, "width": 4},
    "RepeatVector": {"n": 2},
    "RandomBrightness": {"factor": 0.1},
    "Dropout": {"rate": 0.5, "noise_shape": [None, 1]},
    "SpatialDropout2D": {"rate": 0.5},
    "GaussianNoise": {"stddev": 0.5},
    "GaussianDropout": {"rate": 0.5},
    "Rescaling": {"scale": [1.0, 2.0]},
    "RandomRotation": {"factor": 0.1},
    "RandomZoom": {"height_factor": 0.1},
    "RandomTranslation": {"height_factor": 0.1, "width_factor": 0.1},
    "RandomContrast": {"factor": 0.1},
}


def test_the_vocabulary_has_every_layer_that_is_written() -> None:
    for module in pkgutil.iter_modules(layers.__path__, f"{layers.__name__}."):
        importlib.import_module(module.name)
    pending, written = [Layer], set()
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        if kind.__module__.startswith("ferjax.nets.layers.") and not kind.__name__.startswith("_"):
            written.add(kind.__name__)
    bases = {"RandomImageLayer", "Layer", "Operation", "RandomLayer", "Recurrent", "Spatial"}
    bases.add("TrainingOnly")
    assert written == set(VOCABULARY) | bases
    assert all(hasattr(layers, name) for name in layers.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Conv3D'"):
        layers.Conv3D  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("kind", VOCABULARY)
def test_layers_are_frozen_hashable_and_equal_by_value(kind: str) -> None:
    layer = VOCABULARY[kind](name="a", **REQUIRED.get(kind, {}))
    again = VOCABULARY[kind](name="a", **REQUIRED.get(kind, {}))
    assert layer == again
    assert hash(layer) == hash(again)
    assert layer != dataclasses.replace(layer, name="b")
    assert layer.kind == kind
    with pytest.raises(dataclasses.FrozenInstanceError):
        layer.name = "c"  # type: ignore[misc]


@pytest.mark.parametrize(
    "kind", [k for k, known in VOCABULARY.items() if not known.merges and k != "InputLayer"]
)
def test_layers_that_only_move_values_say_so(kind: str) -> None:
    layer = VOCABULARY[kind](name="a", **REQUIRED.get(kind, {}))
    shape = next(s for s in [(4, 4, 3), (4, 4, 2), (4, 3), (4,), (32,)] if accepts(layer, s))
    if layer.weights(shape):
        assert not layer.moves
        return
    images = np.random.default_rng(0).uniform(2, 3, (1, *shape)).astype(np.float32)
    outputs = np.concatenate([apply(layer, images), -apply(layer, -images)])
    # Between the least and the most of the inputs, but for the zeros of padding.
    within = (outputs >= images.min()) & (outputs <= images.max())
    kept = (within | (outputs == 0)).all() and within.reshape(2, -1).any(axis=1).all()
    assert layer.moves == kept, f"set `moves` in {kind}"


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("Conv2D", {"filters": 0, "kernel_size": 3}, "filters: expected a positive integer, got 0"),
        ("Conv2D", {"filters": 2.5, "kernel_size": 3}, "filters: expected a positive integer"),
        ("Conv2D", {"filters": True, "kernel_size": 3}, "filters: .* got True"),
        ("Conv2D", {"filters": "8", "kernel_size": 3}, "filters: .* got '8'"),
        ("Conv2D", {"filters": 2**31, "kernel_size": 3}, "filters: expected a positive integer"),
        ("Conv2D", {"filters": float("inf"), "kernel_size": 3}, "filters: expected a positive"),
        ("Conv2D", {"filters": float("nan"), "kernel_size": 3}, "filters: expected a positive"),
        ("Conv2D", {"filters": 8, "kernel_size": [3, 3, 3]}, "kernel_size: .* or two of them"),
        ("Conv2D", {"filters": 8, "kernel_size": [3, -1]}, "kernel_size: .* got -1"),
        ("Conv2D", {"filters": 8, "kernel_size": None}, "kernel_size: .* got None"),
        ("Conv2D", {"filters": 8, "kernel_size": 3, "padding": "causal"},
         "padding: expected one of 'valid', 'same', got 'causal'"),
        ("Conv2D", {"filters": 8, "kernel_size": 3, "padding": ["same"]}, "padding: expected one"),
        ("Conv1D", {"filters": 8, "kernel_size": [3, 3]},
         r"kernel_size: expected a positive integer or a list of one, got \[3, 3\]"),
        ("Conv1D", {"filters": 8, "kernel_size": 0}, "kernel_size: .* a positive integer, got 0"),
        ("Conv1D", {"filters": 8, "kernel_size": None}, "kernel_size: .* integer, got None"),
        ("Conv1D", {"filters": 8, "kernel_size": 3, "padding": "full"},
         "padding: expected one of 'valid', 'same', 'causal', got 'full'"),
        ("Conv1D", {"filters": 8, "kernel_size": 3, "strides": 2, "dilation_rate": 2},
         "Keras has not both at once"),
        ("MaxPooling1D", {"pool_size": [2, 2]}, r"pool_size: .* list of one, got \[2, 2\]"),
        ("MaxPooling1D", {"strides": 0}, "strides: expected a positive integer, got 0"),
        ("MaxPooling1D", {"padding": "causal"}, "padding: expected one of 'valid', 'same', got"),
        ("Conv2D", {"filters": 8, "kernel_size": 3, "data_format": "NHWC"}, "got 'NHWC'"),
        ("Conv2D", {"filters": 8, "kernel_size": 3, "use_bias": 1}, "use_bias: expected true or"),
        ("Conv2D", {"filters": 8, "kernel_size": 3, "strides": 2, "dilation_rate": 2},
         "expected strides or dilation_rate of 1"),
        ("Conv2D", {"filters": 8, "kernel_size": 3, "activation": "rellu"},
         "activation: .*got 'rellu'; did you mean .*'relu'"),
        ("Conv2D", {"filters": 8, "kernel_size": 3, "activation": ["relu"]}, "activation: exp"),
        ("Conv2D", {"filters": 8, "kernel_size": 3, "activation": {"a": 1}}, "activation: exp"),
        ("Conv2D", {"filters": 8, "kernel_size": 3, "kernel_initializer": "glorot"},
         "expected an initializer among .*got 'glorot'"),
        ("Conv2D", {"filters": 8, "kernel_size": 3, "kernel_initializer": 1},
         "kernel_initializer: expected a string, got 1"),
        ("Conv2D", {"filters": 8, "kernel_size": 3, "kernel_regularizer": "l2"},
         "kernel_regularizer: expected an L1L2 penalty or None"),
        ("Dense", {"units": -1}, "units: expected a positive integer, got -1"),
        ("Dense", {"units": 3, "name": 7}, "name: expected a string, got 7"),
        ("Dense", {"units": 3, "trainable": "yes"}, "trainable: expected true or false"),
        ("Activation", {"activation": "Relu"}, "did you mean .*'relu'"),
        ("Dropout", {"rate": 1.0}, "rate: expected a rate of at least 0 and below 1, got 1.0"),
        ("Dropout", {"rate": -0.1}, "rate: expected a rate"),
        ("Dropout", {"rate": "0.5"}, "rate: expected a finite number"),
        ("Dropout", {"rate": 0.5, "seed": 1.5}, "seed: expected an integer, got 1.5"),
        ("GaussianNoise", {"stddev": float("nan")}, "stddev: expected a finite number, got nan"),
        ("GaussianNoise", {"stddev": 10**400}, "stddev: expected a finite number, got 1000"),
        ("GaussianNoise", {"stddev": -1}, "stddev: expected a number of at least 0, got -1"),
        ("BatchNormalization", {"axis": [1, 2]}, "axis: expected one axis"),
        ("BatchNormalization", {"epsilon": -1e-3}, "epsilon: expected a number of at least 0"),
        ("ReLU", {"max_value": -1}, "max_value: expected a number of at least 0"),
        ("PReLU", {"shared_axes": [0]}, "shared_axes: expected a positive integer, got 0"),
        ("RandomFlip", {"mode": "diagonal"}, "mode: expected one of 'horizontal'"),
        ("RandomRotation", {"factor": [0.1]}, "factor: expected a number or two"),
        ("RandomZoom", {"height_factor": 0.1, "fill_mode": "mirror"}, "got 'mirror'"),
        ("Rescaling", {"scale": "1/255"}, "scale: expected a finite number"),
        ("Rescaling", {"scale": [[1, 2], [1]]}, "scale: expected rows of equal length"),
        ("Rescaling", {"scale": [[[[[[[1]]]]]]]}, "scale: .* nested at most 6 deep"),
        ("Normalization", {"mean": 0.5}, "expected mean and variance, or neither"),
        ("ZeroPadding2D", {"padding": [[1, -1], [0, 0]]},
         "padding: expected an integer of at least 0, got -1"),
        ("Cropping2D", {"cropping": [1, 2, 3]}, "cropping: .*got \\[1, 2, 3\\]"),
        ("Reshape", {"target_shape": 7}, "target_shape: expected a shape such as"),
        ("InputLayer", {"shape": [48, 0, 1]}, "shape: expected a positive integer, got 0"),
        ("Concatenate", {"axis": None}, "axis: expected an integer, got None"),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_settings_are_refused_by_name(
    kind: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(LayerError, match=message) as raised:
        VOCABULARY[kind](**{"name": "some", **settings})
    assert kind in str(raised.value)
    assert isinstance(raised.value, FerjaxError | ValueError)


def test_required_settings_have_to_be_given() -> None:
    with pytest.raises(TypeError, match="filters"):
        Conv2D(kernel_size=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("layer", "shapes", "message"),
    [
        (Conv2D(filters=1, kernel_size=5), [(4, 9, 1)], "nothing is left of its input: axis H"),
        (MaxPooling2D(pool_size=3), [(9, 2, 1)], "nothing is left of its input: axis W"),
        (MaxPooling1D(pool_size=3), [(2, 1)], "nothing is left of its input: axis T"),
        (MaxPooling1D(), [(4, 4, 1)], "expected inputs of 2 axes"),
        (Cropping2D(cropping=2), [(4, 9, 1)], "axis H would have 0"),
        (Conv2D(filters=1, kernel_size=1), [(4,)], "expected inputs of 3 axes"),
        (Conv1D(filters=1, kernel_size=5), [(4, 1)], "nothing is left of its input: axis T"),
        (Conv1D(filters=1, kernel_size=1), [(4, 4, 1)], "expected inputs of 2 axes"),
        (GlobalAveragePooling2D(), [(4, 4)], "expected inputs of 3 axes"),
        (Flatten(), [(None, 4, 1)], "expected a known size of axis 0"),
        (Reshape(target_shape=(5, 5)), [(4, 6)], "expected a target_shape of 24 items"),
        (Reshape(target_shape=(-1, 5)), [(4, 6)], "expected a target_shape of 24 items"),
        (Reshape(target_shape=(-1, -1)), [(4, 6)], "expected a target_shape of 24 items"),
        (Reshape(target_shape=(-2, -12)), [(4, 6)], "expected a target_shape of 24 items"),
        (Reshape(target_shape=(0,)), [(4, 6)], "expected a target_shape of 24 items"),
        (Add(), [(4, 4, 1), (4, 5, 1)], "expected inputs of equal shapes"),
        (Multiply(), [(4, 4, 3), (2,)], "expected inputs of equal shapes"),
        (Subtract(), [(4,), (4,), (4,)], "expected two inputs, got 3"),
        (Permute(dims=(2, 2)), [(4, 4)], r"dims: expected the axes 1 to 2, each once, got \(2, 2"),
        (RepeatVector(n=2), [(4, 4)], "expected inputs of 1 axes"),
        (LayerNormalization(axis=(2, 1)), [(4, 4)], r"expected ascending axes of 3, .*\(2, 1\)"),
        (LayerNormalization(axis=0), [(4, 4)], "expected ascending axes of 3, not the batch"),
        (Concatenate(), [(4, 4, 1), (4, 5, 1)], "expected inputs that differ in axis -1"),
        (Concatenate(), [(4, 4, 1), (4,)], "expected inputs of as many axes"),
        (Concatenate(axis=0), [(4,), (4,)], "expected inputs that differ in axis 0"),
        (Concatenate(axis=4), [(4, 4, 1), (4, 4, 1)], "expected inputs of as many axes"),
    ],
    ids=repr,
)  # fmt: skip
def test_inputs_that_do_not_fit_are_refused(layer: Layer, shapes: Any, message: str) -> None:
    with pytest.raises(LayerError, match=message):
        layer.output_shape(*shapes)


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (Conv2D(filters=4, kernel_size=1, groups=2), (4, 4, 3), "groups=2, got 3 and 4"),
        (Conv2D(filters=3, kernel_size=1, groups=2), (4, 4, 4), "groups=2, got 4 and 3"),
        (Conv2D(filters=3, kernel_size=1), (4, 4, None), "expected a known size of axis 2"),
        (Conv1D(filters=4, kernel_size=1, groups=2), (4, 3), "groups=2, got 3 and 4"),
        (Conv1D(filters=3, kernel_size=1), (4, None), "expected a known size of axis 1"),
        (Dense(units=2), (4, None), "expected a known size of axis -1"),
        (BatchNormalization(axis=0), (4, 4, 3), "axis: expected an axis of 4, not the batch"),
        (BatchNormalization(axis=-4), (4, 4, 3), "axis: expected an axis of 4, not the batch"),
        (BatchNormalization(axis=4), (4, 4, 3), "axis: expected an axis of 4"),
        (Normalization(axis=(-1, 3)), (4, 4, 3), r"axis: expected different axes, got \(-1, 3\)"),
        (Normalization(axis=0), (4, 4, 3), "axis: expected axes of 4, not the batch"),
        (Normalization(axis=(1, 9)), (4, 4, 3), "axis: expected axes of 4"),
        (GroupNormalization(groups=2), (4, 4, 3), "groups: expected a divisor of 3 channels"),
        (GroupNormalization(axis=0), (4, 4, 3), "axis: expected an axis of 4, not the batch"),
        (PReLU(), (None, 4, 3), "expected a known size of axis 0"),
        (PReLU(shared_axes=[4]), (4, 4, 3), "shared_axes: expected axes of 4"),
    ],
    ids=repr,
)
def test_inputs_that_do_not_fit_the_weights_are_refused(
    layer: Layer, shape: Any, message: str
) -> None:
    with pytest.raises(LayerError, match=message):
        layer.weights(shape)


@pytest.mark.parametrize(
    "layer",
    [
        Softmax(axis=4),
        Softmax(axis=(1, 7)),
        Normalization(axis=9, mean=1.0, variance=1.0),
        Normalization(axis=-1, mean=[1.0, 2.0, 3.0], variance=[1.0, 2.0, 3.0]),
        Normalization(axis=-1, mean=[[1.0, 2.0]], variance=[[1.0, 2.0]]),
        Rescaling(scale=[1.0, 2.0, 3.0]),
        Dropout(rate=0.5, noise_shape=(None, 3, 1, 1)),
        RandomFlip(),
    ],
    ids=repr,
)
def test_settings_that_do_not_fit_the_input_are_refused_with_the_graph(layer: Layer) -> None:
    shape = (4,) if isinstance(layer, RandomFlip) else (4, 5, 2)
    with pytest.raises(LayerError, match=layer.kind):
        Graph.sequential([layer], input_shape=shape)


def test_unknown_layer_kinds_are_refused_with_near_misses() -> None:
    with pytest.raises(UnknownLayerError, match=r"'conv': 'Conv2d' .* did you mean 'Conv2D'"):
        layer_class("Conv2d", "conv")
    with pytest.raises(UnknownLayerError, match="'Lambda' is not among the layers"):
        layer_class("Lambda", "x")


# --- values ------------------------------------------------------------------------------------

X = [-8.0, -3.0, -2.5, -1.0, -0.25, 0.0, 0.25, 1.0, 2.5, 3.0, 8.0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("linear", X),
        ("relu", [0, 0, 0, 0, 0, 0, 0.25, 1, 2.5, 3, 8]),
        ("relu6", [0, 0, 0, 0, 0, 0, 0.25, 1, 2.5, 3, 6]),
        ("leaky_relu", [-1.6, -0.6, -0.5, -0.2, -0.05, 0, 0.25, 1, 2.5, 3, 8]),
        # Keras 2: 0.2 x + 0.5; Keras 3: x / 6 + 0.5
        ("keras2_hard_sigmoid", [0, 0, 0, 0.3, 0.45, 0.5, 0.55, 0.7, 1, 1, 1]),
        ("hard_sigmoid", [0, 0, 1 / 12, 1 / 3, 11 / 24, 0.5, 13 / 24, 2 / 3, 11 / 12, 1, 1]),
        ("hard_tanh", [-1, -1, -1, -1, -0.25, 0, 0.25, 1, 1, 1, 1]),
        ("hard_shrink", [-8, -3, -2.5, -1, 0, 0, 0, 1, 2.5, 3, 8]),
        ("soft_shrink", [-7.5, -2.5, -2, -0.5, 0, 0, 0, 0.5, 2, 2.5, 7.5]),
        ("sparse_plus", [0, 0, 0, 0, 0.140625, 0.25, 0.390625, 1, 2.5, 3, 8]),
        ("softsign", [-8 / 9, -0.75, -2.5 / 3.5, -0.5, -0.2, 0, 0.2, 0.5, 2.5 / 3.5, 0.75, 8 / 9]),
    ],
)  # fmt: skip
def test_activation_values(name: str, expected: list[float]) -> None:
    outputs = apply(Activation(activation=name), [X])
    np.testing.assert_allclose(outputs, [expected], atol=1e-6)


def test_every_activation_name_is_implemented() -> None:
    assert set(ACTIVATION_NAMES) == set(ACTIVATIONS)


def test_relu_layer_has_a_threshold_a_slope_and_a_ceiling() -> None:
    layer = ReLU(max_value=2.0, negative_slope=0.1, threshold=1.0)
    # below 1: 0.1 (x - 1); from 1: x, at most 2
    outputs = apply(layer, [[-1.0, 0.5, 1.5, 3.0]])
    np.testing.assert_allclose(outputs, [[-0.2, -0.05, 1.5, 2.0]], atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (MaxPooling2D(), (6, 5, 2)),
        (MaxPooling2D(pool_size=3, strides=2), (6, 5, 2)),
        (MaxPooling2D(padding="same"), (5, 5, 2)),
        (MaxPooling2D(pool_size=3, strides=2, data_format=FIRST), (2, 6, 5)),
        (MaxPooling1D(), (7, 2)),
        (MaxPooling1D(pool_size=3, strides=2, padding="same", data_format=FIRST), (2, 7)),
        (AveragePooling2D(), (6, 5, 2)),
        (AveragePooling2D(pool_size=3, strides=2), (6, 5, 2)),
        (AveragePooling2D(padding="same"), (5, 5, 2)),
        (AveragePooling2D(data_format=FIRST), (2, 6, 5)),
        (GlobalAveragePooling2D(), (6, 5, 2)),
        (GlobalMaxPooling2D(), (6, 5, 2)),
        (Conv2D(filters=2, kernel_size=3, strides=2, padding="same"), (6, 5, 2)),
        (Conv2D(filters=2, kernel_size=5, padding="same"), (2, 2, 2)),
        (DepthwiseConv2D(kernel_size=3), (6, 5, 2)),
        (SeparableConv2D(filters=2, kernel_size=3), (6, 5, 2)),
        (BatchNormalization(), (6, 5, 2)),
        (LayerNormalization(), (6, 5, 2)),
        (LSTM(units=2), (3, 2)),
        (GRU(units=2, return_sequences=True), (3, 2)),
        (Bidirectional(layer=GRU(units=2, reset_after=False)), (3, 2)),
        (GroupNormalization(groups=2), (3, 2, 4)),
        (PReLU(), (6, 5, 2)),
        (Dense(units=3, activation="softmax"), (4,)),
    ],
    ids=repr,
)
def test_gradients_inside_jit_are_those_of_finite_differences(layer: Layer, shape: Any) -> None:
    """All in one program: that of every step and product would be another."""
    network = chain(layer, shape=shape)
    rng = np.random.default_rng(0)

    def like(tree: Any, low: float = -1.0, high: float = 1.0) -> Any:
        return jax.tree.map(lambda w: rng.uniform(low, high, w.shape).astype(w.dtype), tree)

    shapes = jax.eval_shape(network.init, jax.random.key(0))
    statistics = like(shapes["batch_stats"], 0.5, 1.5)
    images = rng.normal(size=(2, *shape)).astype(np.float32)
    point = (like(shapes["params"]), images)
    direction = like(point)
    towards = rng.normal(size=(2, *network.output_shape)).astype(np.float32)
    step = 5e-3

    @jax.jit
    def both(point: Any, direction: Any) -> Any:
        def output(point: Any) -> Any:
            params, images = point
            return network.apply({"params": params, "batch_stats": statistics}, images)

        def moved(by: float) -> Any:
            return output(jax.tree.map(lambda p, d: p + by * d, point, direction))

        _, pullback = jax.vjp(output, point)
        return pullback(towards)[0], (moved(step), moved(-step))

    gradients, (after, before) = both(point, direction)
    products = jax.tree.map(
        lambda g, d: np.vdot(np.asarray(g, np.float64), d), gradients, direction
    )
    difference = (np.asarray(after, np.float64) - np.asarray(before, np.float64)) / (2 * step)
    expected = np.vdot(towards, difference)
    assert abs(expected) > 0.1
    np.testing.assert_allclose(sum(jax.tree.leaves(products)), expected, rtol=0.01, atol=0.01)


def test_average_pooling_leaves_padding_out_of_the_mean() -> None:
    layer = AveragePooling2D(pool_size=2, padding="same")
    image = np.array([[1.0, 2.0, 3.0]]).reshape(1, 1, 3, 1)
    np.testing.assert_allclose(apply(layer, image).ravel(), [1.5, 3.0])


@pytest.mark.parametrize("shape", [(2, 6, 8, 3), (3, 5, 7, 2), (1, 2, 3, 64)])
def test_gradient_of_max_pooling_in_training(shape: tuple[int, ...]) -> None:
    # Few values, so that many windows have several that are equal.
    x = np.random.default_rng(0).integers(0, 3, shape).astype("float32")
    geometry: Any = ((2, 2), (2, 2), "valid", "channels_last")
    y, of_usual = jax.vjp(lambda x: ops.max_pool2d(x, *geometry), x)
    trained, of_trained = jax.vjp(lambda x: ops.trained_max_pool2d(x, *geometry), x)
    np.testing.assert_array_equal(trained, y)
    dy = np.random.default_rng(1).normal(size=y.shape).astype("float32")
    np.testing.assert_array_equal(of_trained(dy)[0], of_usual(dy)[0])
    x[0, 1, 1], dy[-1] = np.nan, np.inf  # a training that diverges is seen to do so
    for function in (ops.max_pool2d, ops.trained_max_pool2d):
        (dx,) = jax.vjp(lambda x, pool=function: pool(x, *geometry), x)[1](dy)
        assert not np.isfinite(dx[-1, :2, :2]).any()


@pytest.mark.parametrize("shape", [(5, 12), (1, 12), (2, 3, 12)])
def test_gradients_of_dense_layers_in_training(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=shape), rng.normal(size=(12, 7))
    dy = rng.normal(size=(*shape[:-1], 7))
    y, pullback = jax.vjp(ops.trained_dense, *(jnp.asarray(a, "float32") for a in (x, kernel)))
    rows = x.reshape(-1, 12).T @ dy.reshape(-1, 7)
    actual = (y, *pullback(jnp.asarray(dy, "float32")))
    for a, b in zip(actual, (x @ kernel, dy @ kernel.T, rows), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_max_pooling_leaves_an_odd_rest_out() -> None:
    image = np.arange(15.0).reshape(1, 3, 5, 1)
    np.testing.assert_array_equal(apply(MaxPooling2D(), image).ravel(), [6, 8])


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (MaxPooling1D(), [4, 5]),  # the odd rest is left out
        (MaxPooling1D(padding="same"), [4, 5, -3]),
        (MaxPooling1D(strides=1), [4, 5, 5, 2]),
        (MaxPooling1D(pool_size=3, strides=2, padding="same"), [4, 5, 2]),
        (MaxPooling1D(pool_size=2, strides=3), [4, 2]),
    ],
    ids=repr,
)
def test_max_pooling_of_a_sequence_by_hand(layer: MaxPooling1D, expected: list[float]) -> None:
    steps = np.array([-1.0, 4.0, 5.0, 2.0, -3.0]).reshape(1, 5, 1)
    assert apply(layer, steps).ravel().tolist() == expected
    first = dataclasses.replace(layer, data_format=FIRST)
    assert apply(first, steps.reshape(1, 1, 5)).ravel().tolist() == expected


def test_convolution_is_a_cross_correlation_with_keras_s_padding() -> None:
    layer = Conv2D(name="c", filters=1, kernel_size=(1, 2), padding="same")
    kernel = np.array([10.0, 1.0], np.float32).reshape(1, 2, 1, 1)
    params = {"c": {"kernel": kernel, "bias": np.array([0.5], np.float32)}}
    image = np.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
    # An even kernel is padded behind: 10 * 1 + 2, 10 * 2 + 3, 10 * 3 + 0.
    outputs = apply(layer, image, params=params)
    np.testing.assert_allclose(outputs.ravel(), [12.5, 23.5, 30.5])


def test_causal_convolution_sees_no_later_step() -> None:
    kernel = np.array([[[1.0]], [[10.0]]], np.float32)
    layer = Conv1D(name="c", filters=1, kernel_size=2, dilation_rate=2, padding="causal")
    variables = {"params": {"c": {"kernel": kernel, "bias": np.zeros(1, np.float32)}}}
    steps = [[[1.0], [2.0], [3.0], [4.0]]]
    assert apply(layer, steps, **variables).ravel().tolist() == [10, 20, 31, 42]
    same = dataclasses.replace(layer, dilation_rate=1, padding="same")  # one zero, at the end
    assert apply(same, steps, **variables).ravel().tolist() == [21, 32, 43, 4]


def test_flatten_of_channels_first_is_in_the_order_of_channels_last() -> None:
    image = np.arange(12.0).reshape(1, 2, 2, 3)  # (H, W, C)
    flat = apply(Flatten(), image)
    np.testing.assert_array_equal(flat, np.arange(12.0)[None])
    first = apply(Flatten(data_format=FIRST), np.moveaxis(image, -1, 1))
    np.testing.assert_array_equal(first, flat)


def test_batch_normalization_by_hand() -> None:
    layer = BatchNormalization(name="n", epsilon=0.25)
    one = np.ones(1, np.float32)
    variables = {
        "params": {"n": {"scale": 2 * one, "bias": one}},
        "batch_stats": {"n": {"mean": 3 * one, "var": 3.75 * one}},
    }
    # (7 - 3) / sqrt(3.75 + 0.25) * 2 + 1
    np.testing.assert_allclose(apply(layer, [[7.0]], **variables), [[5.0]], rtol=1e-6)


def test_normalization_by_hand_and_inverted() -> None:
    settings: dict[str, Any] = {"mean": [1.0, 2.0], "variance": [4.0, 16.0]}
    outputs = apply(Normalization(**settings), [[3.0, -2.0]])
    np.testing.assert_allclose(outputs, [[1.0, -1.0]])
    again = apply(Normalization(invert=True, **settings), outputs)
    np.testing.assert_allclose(again, [[3.0, -2.0]])


def test_noise_layers_are_the_identity_at_inference() -> None:
    x = np.ones((1, 4, 4, 1), np.float32)
    for layer in (GaussianNoise(stddev=1.0), Dropout(rate=0.9), RandomRotation(factor=0.5)):  # type: ignore[arg-type]
        np.testing.assert_array_equal(apply(layer, x), x)


def test_input_layer_names_the_shape() -> None:
    network = Network(Graph.sequential([InputLayer(name="x", shape=(3,)), Dense(units=2)]))
    assert network.input_shape == (3,)
    assert network.output_shape == (2,)
    assert jax.tree.map(np.shape, network.init(jax.random.key(0))["params"]) == {
        "dense": {"bias": (2,), "kernel": (3, 2)}
    }


# --- layers inside layers ----------------------------------------------------------------------


def test_activation_may_be_a_layer() -> None:
    layer = Dense(units=2, use_bias=False, activation=LeakyReLU(negative_slope=0.1), name="d")
    kernel = np.eye(2, dtype=np.float32)
    outputs = apply(layer, [[-3.0, 2.0]], params={"d": {"kernel": kernel}})
    np.testing.assert_allclose(outputs, [[-0.3, 2.0]], rtol=1e-6)


def test_learned_activation_brings_its_weights() -> None:
    layer = Conv2D(filters=3, kernel_size=2, activation=PReLU(shared_axes=(1, 2)), name="c")
    weights = {w.name: (w.shape, w.part) for w in layer.weights((5, 4, 2))}
    assert weights == {
        "kernel": ((2, 2, 2, 3), ""),
        "bias": ((3,), ""),
        "activation_alpha": ((1, 1, 3), "activation"),
    }
    assert (layer.parts, Conv2D(filters=3, kernel_size=2).parts) == (("activation",), ())


def test_weights_of_layers_in_layers_keep_their_places() -> None:
    both = Bidirectional(layer=GRU(units=3, use_bias=False))
    assert [(w.name, w.shape, w.part) for w in both.weights((4, 5))] == [
        ("forward_layer_kernel", (5, 9), "forward_layer/cell"),
        ("forward_layer_recurrent_kernel", (3, 9), "forward_layer/cell"),
        ("backward_layer_kernel", (5, 9), "backward_layer/cell"),
        ("backward_layer_recurrent_kernel", (3, 9), "backward_layer/cell"),
    ]
    assert both.backward_layer == GRU(
        name="backward_gru", units=3, use_bias=False, go_backwards=True
    )
    steps = TimeDistributed(layer=BatchNormalization(scale=False))
    assert [(w.name, w.collection, w.part) for w in steps.weights((4, 5))] == [
        ("layer_bias", "params", "layer"),
        ("layer_mean", "batch_stats", "layer"),
        ("layer_var", "batch_stats", "layer"),
    ]


def test_lstm_starts_with_open_forget_gates() -> None:
    graph = Graph.sequential([LSTM(name="r", units=2)], input_shape=(3, 2))
    bias = Network(graph).init(jax.random.key(0))["params"]["r"]["bias"]
    np.testing.assert_array_equal(bias, [0, 0, 1, 1, 0, 0, 0, 0])


def test_lstm_and_gru_by_hand() -> None:
    """One unit, one channel, gates all half open: the products with the state are 0."""
    lstm = LSTM(name="r", units=1, activation="linear", use_bias=False)
    params = {"kernel": [[0.0, 0.0, 1.0, 0.0]], "recurrent_kernel": [[0.0] * 4]}
    arrays = {name: np.array(value, np.float32) for name, value in params.items()}
    # c = 0.5 c + 0.5 x: 4, then 2 + 1; h = 0.5 c
    outputs = apply(lstm, [[[8.0], [2.0]]], params={"r": arrays})
    np.testing.assert_allclose(outputs, [[1.5]])
    gru = GRU(name="r", units=1, activation="linear", use_bias=False, return_sequences=True)
    arrays = {name: array[:, :3] for name, array in arrays.items()}
    # h = 0.5 h + 0.5 x: 4, then 2 + 1
    outputs = apply(gru, [[[8.0], [2.0]]], params={"r": arrays})
    np.testing.assert_allclose(outputs, [[[4.0], [3.0]]])


def test_dropout_of_a_recurrent_layer_acts_in_training_alone() -> None:
    layers = [LSTM(name="r", units=64, dropout=0.5, recurrent_dropout=0.5)]
    network = chain(*layers, shape=(3, 8))
    variables = drawn(network)
    images = np.ones((1, 3, 8), np.float32)

    @jax.jit
    def trained(seed: int) -> Any:
        rngs = {"dropout": jax.random.key(seed)}
        return network.apply(variables, images, train=True, rngs=rngs)

    np.testing.assert_array_equal(trained(0), trained(0))
    assert np.ptp([trained(0), trained(1)], axis=0).max() > 0.01


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    network = chain(AlphaDropout(rate=0.4), shape=(20_000,))
    x = np.random.default_rng(0).normal(size=(1, 20_000)).astype(np.float32)
    rngs = {"dropout": jax.random.key(0)}
    outputs = np.asarray(network.apply({}, x, train=True, rngs=rngs))
    assert abs(outputs.mean()) < 0.03
    assert abs(outputs.std() - 1) < 0.03
    _, counts = np.unique(outputs, return_counts=True)
    assert abs(counts.max() / 20_000 - 0.4) < 0.02  # the dropped ones are of one value


def test_random_crop_is_of_the_middle_at_inference_and_anywhere_in_training() -> None:
    network = chain(RandomCrop(height=2, width=2), shape=(2, 6, 1))
    image = np.arange(12.0, dtype=np.float32).reshape(1, 2, 6, 1)
    np.testing.assert_allclose(network.apply({}, image)[0, 0, :, 0], [2, 3])

    @jax.jit
    def crop(seed: int) -> Any:
        rngs = {"dropout": jax.random.key(seed)}
        return network.apply({}, image, train=True, rngs=rngs)

    def left(seed: int) -> float:
        cropped = np.asarray(crop(seed))
        np.testing.assert_allclose(np.diff(cropped[0, :, :, 0]), 1)
        return float(cropped[0, 0, 0, 0])

    assert {left(seed) for seed in range(30)} == {0, 1, 2, 3, 4}


def test_random_layer_that_is_kept_for_keras_is_not_trained_with() -> None:
    network = chain(RandomHue(factor=0.5), shape=(2, 2, 3))
    images = np.ones((1, 2, 2, 3), np.float32)
    np.testing.assert_array_equal(network.apply({}, images), images)
    with pytest.raises(LayerError, match=r"\(RandomHue\): ferjax does not train with it; take it"):
        network.apply({}, images, train=True)


def test_statistics_of_a_layer_of_every_step_are_updated() -> None:
    norm = BatchNormalization(momentum=0.0)
    network = chain(TimeDistributed(name="t", layer=norm), shape=(2, 1))
    variables = drawn(network)
    images = np.array([[[1.0], [3.0]]], np.float32)
    _, updated = network.apply(variables, images, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(updated["batch_stats"]["t"]["layer_mean"], [2])
    np.testing.assert_allclose(updated["batch_stats"]["t"]["layer_var"], [1])


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("TimeDistributed", {"layer": "dense"}, "layer: expected a layer, got 'dense'"),
        ("TimeDistributed", {"layer": Subtract()}, "layer: expected a layer of one input, got Sub"),
        ("Bidirectional", {"layer": Flatten()}, "layer: expected a recurrent layer, got Flatten"),
        ("Bidirectional", {"layer": LSTM(units=2), "backward_layer": GRU(units=2)},
         "backward_layer: expected different go_backwards"),
        ("Bidirectional",
         {"layer": LSTM(units=2), "backward_layer": GRU(units=3, go_backwards=True)},
         "backward_layer: expected the same units"),
        ("Bidirectional", {"layer": LSTM(units=2), "merge_mode": None}, "merge_mode: expected one"),
        ("LSTM", {"units": 2, "activation": PReLU()}, "activation: expected one without weights"),
    ],
)  # fmt: skip
def test_layers_that_do_not_go_together_are_refused(
    kind: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(LayerError, match=message):
        VOCABULARY[kind](name="x", **settings)


def test_activation_layer_as_activation_is_what_it_activates() -> None:
    assert Dense(units=2, activation=Activation(activation="tanh")).activation == "tanh"


def test_layer_that_is_no_activation_is_refused_as_one() -> None:
    with pytest.raises(LayerError, match="or a layer such as LeakyReLU, got Flatten"):
        Dense(units=2, activation=Flatten())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        # mean 4, deviation 2: (2 - 4) / 2, (6 - 4) / 2
        (LayerNormalization(epsilon=0.0), [-1.0, 1.0]),
        (LayerNormalization(epsilon=0.0, rms_scaling=True), [1.0, 3.0]),
        (RMSNormalization(epsilon=0.0), [2 / 20**0.5, 6 / 20**0.5]),
        (UnitNormalization(), [2 / 40**0.5, 6 / 40**0.5]),
        (GroupNormalization(groups=1, epsilon=0.0), [-1.0, 1.0]),
    ],
    ids=repr,
)
def test_normalization_of_one_image_by_hand(layer: Layer, expected: list[float]) -> None:
    network = chain(layer, shape=(2,))
    outputs = network.apply(drawn(network), np.array([[2.0, 6.0]], np.float32))
    np.testing.assert_allclose(np.asarray(outputs), [expected], rtol=1e-6)
