"""Every layer kind, with each of its settings, against Keras 3 on the same weights and inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import ferjax.keras
from ferjax.errors import WeightFileError
from ferjax.nets.layers import VOCABULARY
from ferjax.nets.layers.base import ACTIVATION_NAMES

Shape = tuple[int | None, ...]
Case = tuple[str, dict[str, Any], Shape]
Check = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("numpy_initializers")

# The shapes are (H, W, C): not square, odd and even.
SPATIAL: list[Case] = [
    ("Conv2D", {"filters": 3, "kernel_size": 3}, (7, 6, 1)),
    ("Conv2D", {"filters": 3, "kernel_size": 3, "padding": "same"}, (7, 6, 3)),
    ("Conv2D", {"filters": 4, "kernel_size": 1, "use_bias": False}, (5, 4, 3)),
    ("Conv2D", {"filters": 2, "kernel_size": [2, 3], "padding": "same"}, (5, 6, 2)),
    ("Conv2D", {"filters": 2, "kernel_size": 4, "padding": "same"}, (7, 8, 2)),
    ("Conv2D", {"filters": 2, "kernel_size": 3, "strides": 2}, (8, 7, 2)),
    ("Conv2D", {"filters": 2, "kernel_size": 3, "strides": 2, "padding": "same"}, (8, 7, 2)),
    ("Conv2D", {"filters": 2, "kernel_size": 2, "strides": [3, 2], "padding": "same"}, (8, 9, 2)),
    ("Conv2D", {"filters": 2, "kernel_size": 1, "strides": 3, "padding": "same"}, (8, 9, 2)),
    ("Conv2D", {"filters": 2, "kernel_size": 3, "dilation_rate": 2}, (9, 8, 2)),
    ("Conv2D", {"filters": 2, "kernel_size": [3, 2], "dilation_rate": [1, 3], "padding": "same"},
     (9, 8, 2)),
    ("Conv2D", {"filters": 6, "kernel_size": 3, "groups": 2}, (6, 5, 4)),
    ("Conv2D", {"filters": 4, "kernel_size": 3, "groups": 4, "strides": 2}, (6, 7, 4)),
    ("DepthwiseConv2D", {"kernel_size": 3}, (6, 7, 1)),
    ("DepthwiseConv2D", {"kernel_size": 3, "padding": "same", "use_bias": False}, (6, 7, 3)),
    ("DepthwiseConv2D", {"kernel_size": 3, "depth_multiplier": 2}, (6, 7, 3)),
    ("DepthwiseConv2D", {"kernel_size": 2, "depth_multiplier": 3, "strides": 2, "padding": "same"},
     (7, 8, 2)),
    ("DepthwiseConv2D", {"kernel_size": 3, "dilation_rate": 2, "padding": "same"}, (7, 8, 2)),
    ("SeparableConv2D", {"filters": 5, "kernel_size": 3}, (7, 6, 3)),
    ("SeparableConv2D", {"filters": 4, "kernel_size": 3, "padding": "same", "use_bias": False},
     (7, 6, 1)),
    ("SeparableConv2D", {"filters": 4, "kernel_size": 3, "depth_multiplier": 2, "strides": 2,
                         "padding": "same"}, (7, 8, 3)),
    ("SeparableConv2D", {"filters": 4, "kernel_size": [2, 4], "dilation_rate": 2}, (9, 9, 2)),
    ("MaxPooling2D", {}, (7, 8, 2)),
    ("MaxPooling2D", {"pool_size": [3, 2]}, (8, 7, 2)),
    ("MaxPooling2D", {"pool_size": 3, "strides": 2}, (8, 7, 2)),
    ("MaxPooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, (8, 7, 2)),
    ("MaxPooling2D", {"pool_size": 2, "strides": 1, "padding": "same"}, (5, 6, 2)),
    ("MaxPooling2D", {"pool_size": 2, "padding": "same"}, (5, 7, 2)),
    ("MaxPooling2D", {"pool_size": 2, "strides": 3}, (9, 8, 1)),
    ("AveragePooling2D", {"pool_size": 2}, (7, 8, 2)),
    ("AveragePooling2D", {"pool_size": 3, "strides": [1, 2]}, (7, 8, 2)),
    ("AveragePooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, (8, 7, 2)),
    ("AveragePooling2D", {"pool_size": [3, 2], "strides": 1, "padding": "same"}, (6, 7, 2)),
    ("AveragePooling2D", {"pool_size": 2, "padding": "same"}, (5, 7, 2)),
    ("GlobalAveragePooling2D", {}, (5, 6, 3)),
    ("GlobalAveragePooling2D", {"keepdims": True}, (5, 6, 3)),
    ("GlobalMaxPooling2D", {}, (5, 6, 3)),
    ("GlobalMaxPooling2D", {"keepdims": True}, (5, 6, 3)),
    ("ZeroPadding2D", {}, (3, 4, 2)),
    ("ZeroPadding2D", {"padding": [0, 2]}, (3, 4, 2)),
    ("ZeroPadding2D", {"padding": [[1, 0], [2, 3]]}, (3, 4, 2)),
    ("Cropping2D", {"cropping": 1}, (5, 4, 2)),
    ("Cropping2D", {"cropping": [0, 1]}, (5, 4, 2)),
    ("Cropping2D", {"cropping": [[2, 0], [0, 1]]}, (5, 4, 2)),
    ("UpSampling2D", {}, (3, 4, 2)),
    ("UpSampling2D", {"size": [2, 3], "interpolation": "bilinear"}, (3, 4, 2)),
    ("UpSampling2D", {"size": 2, "interpolation": "bicubic"}, (5, 4, 2)),
    ("Resizing", {"height": 6, "width": 3}, (4, 5, 2)),
    ("Resizing", {"height": 5, "width": 7, "interpolation": "nearest"}, (8, 3, 2)),
    ("Resizing", {"height": 10, "width": 8, "interpolation": "bicubic"}, (5, 16, 2)),
    ("Resizing", {"height": 3, "width": 9, "interpolation": "lanczos3", "antialias": True},
     (8, 6, 2)),
    ("Resizing", {"height": 9, "width": 4, "interpolation": "lanczos5"}, (7, 8, 1)),
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
    ("Reshape", {"target_shape": [8, 3]}, (3, 4, 2)),
    ("Reshape", {"target_shape": [2, -1, 3]}, (3, 4, 2)),
    ("Reshape", {"target_shape": [-1]}, (3, 4, 2)),
    ("Dense", {"units": 5}, (3,)),
    ("Dense", {"units": 5, "use_bias": False}, (3,)),
    ("Dense", {"units": 5, "activation": "softmax"}, (3, 4, 2)),
    ("BatchNormalization", {}, (3, 4, 2)),
    ("BatchNormalization", {"scale": False, "epsilon": 0.1}, (3, 4, 2)),
    ("BatchNormalization", {"center": False}, (3, 4, 2)),
    ("BatchNormalization", {"center": False, "scale": False}, (5,)),
    ("BatchNormalization", {"axis": 1}, (3, 4, 2)),
    ("BatchNormalization", {"axis": 2, "epsilon": 1e-5}, (3, 4, 2)),
    ("BatchNormalization", {"axis": -3}, (3, 4, 2)),
    ("LayerNormalization", {}, (3, 4, 6)),
    ("LayerNormalization", {"axis": 1, "epsilon": 0.1}, (3, 4, 2)),
    ("LayerNormalization", {"axis": [1, 2, 3], "center": False}, (3, 4, 2)),
    ("LayerNormalization", {"axis": [1, 3], "scale": False}, (3, 4, 2)),
    ("LayerNormalization", {"axis": [-2, -1], "rms_scaling": True}, (3, 4, 2)),
    ("LayerNormalization", {"scale": False, "rms_scaling": True}, (5,)),
    ("RMSNormalization", {}, (3, 4, 2)),
    ("RMSNormalization", {"axis": [2, 3], "epsilon": 0.1}, (3, 4, 2)),
    ("UnitNormalization", {}, (3, 4, 2)),
    ("UnitNormalization", {"axis": [1, 2]}, (3, 4, 2)),
    ("GroupNormalization", {"groups": 2}, (3, 4, 6)),
    ("GroupNormalization", {"groups": -1, "center": False}, (3, 4, 2)),
    ("GroupNormalization", {"groups": 1, "scale": False, "epsilon": 0.1}, (3, 4, 2)),
    ("GroupNormalization", {"groups": 3, "axis": 1}, (3, 4, 2)),
    ("GroupNormalization", {"groups": 2}, (6,)),
    ("Permute", {"dims": [3, 1, 2]}, (3, 4, 2)),
    ("Permute", {"dims": [2, 1]}, (3, 4)),
    ("RepeatVector", {"n": 3}, (4,)),
    ("Conv1D", {"filters": 3, "kernel_size": 3}, (6, 2)),
    ("Conv1D", {"filters": 1, "kernel_size": 5, "padding": "same", "use_bias": False}, (3, 1)),
    ("Conv1D", {"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same", "groups": 2,
                "activation": "tanh"}, (8, 4)),
    ("Conv1D", {"filters": 3, "kernel_size": 2, "dilation_rate": 3, "padding": "causal"}, (7, 2)),
    ("Conv1D", {"filters": 3, "kernel_size": 4, "strides": 3, "padding": "causal"}, (7, 2)),
    ("Conv1D", {"filters": 3, "kernel_size": 3, "padding": "causal",
                "data_format": "channels_first"}, (2, 7)),
    ("MaxPooling1D", {}, (7, 2)),
    ("MaxPooling1D", {"pool_size": 3, "strides": 2, "padding": "same"}, (8, 2)),
    ("MaxPooling1D", {"pool_size": 3, "strides": 1}, (5, 1)),
    ("MaxPooling1D", {"padding": "same", "data_format": "channels_first"}, (2, 7)),
    ("MaxPooling1D", {"strides": 3, "data_format": "channels_first"}, (2, 8)),
    ("GlobalAveragePooling1D", {}, (4, 5)),
    ("GlobalAveragePooling1D", {"data_format": "channels_first", "keepdims": True}, (4, 5)),
    ("GlobalMaxPooling1D", {"keepdims": True}, (4, 5)),
    ("GlobalMaxPooling1D", {"data_format": "channels_first"}, (4, 5)),
    ("LSTM", {"units": 3}, (4, 5)),
    ("LSTM", {"units": 3, "return_sequences": True, "go_backwards": True, "use_bias": False,
              "dropout": 0.2, "recurrent_dropout": 0.3}, (4, 5)),
    ("LSTM", {"units": 3, "activation": "relu", "recurrent_activation": "hard_sigmoid",
              "unit_forget_bias": False}, (4, 5)),
    ("GRU", {"units": 3}, (4, 5)),
    ("GRU", {"units": 3, "reset_after": False, "return_sequences": True}, (4, 5)),
    ("GRU", {"units": 3, "use_bias": False, "go_backwards": True, "activation": "elu"}, (4, 5)),
    ("GRU", {"units": 3, "use_bias": False, "reset_after": False}, (4, 5)),
    ("SimpleRNN", {"units": 3, "return_sequences": True, "go_backwards": True}, (4, 5)),
    ("SimpleRNN", {"units": 3, "use_bias": False, "activation": "softsign"}, (4, 5)),
    ("Identity", {}, (3, 4, 2)),
    ("ActivityRegularization", {"l1": 0.1, "l2": 0.2}, (3, 4, 2)),
    ("RandomBrightness", {"factor": 0.5}, (3, 4, 2)),
    ("RandomBrightness", {"factor": [0.1, 0.3], "value_range": [0.0, 1.0], "seed": 2}, (3, 4, 2)),
    ("ReLU", {}, (3, 4, 2)),
    ("ReLU", {"max_value": 6.0}, (3, 4, 2)),
    ("ReLU", {"max_value": 0.5}, (3, 4, 2)),
    ("ReLU", {"negative_slope": 0.1}, (3, 4, 2)),
    ("ReLU", {"threshold": 0.5}, (3, 4, 2)),
    ("ReLU", {"max_value": 1.0, "threshold": 0.5}, (3, 4, 2)),
    ("ReLU", {"max_value": 1.0, "negative_slope": 0.2, "threshold": 0.25}, (3, 4, 2)),
    ("LeakyReLU", {}, (3, 4, 2)),
    ("LeakyReLU", {"negative_slope": 0.05}, (3, 4, 2)),
    ("PReLU", {}, (3, 4, 2)),
    ("PReLU", {"shared_axes": [1, 2]}, (3, 4, 2)),
    ("PReLU", {"shared_axes": [3]}, (3, 4, 2)),
    ("PReLU", {}, (6,)),
    ("ELU", {}, (3, 4, 2)),
    ("ELU", {"alpha": 0.3}, (3, 4, 2)),
    ("Softmax", {}, (3, 4, 2)),
    ("Softmax", {"axis": 1}, (3, 4, 2)),
    ("Softmax", {"axis": [1, 2]}, (3, 4, 2)),
    ("Softmax", {"axis": [-1, 1]}, (3, 4, 2)),
    ("Rescaling", {"scale": 2.5}, (3, 4, 2)),
    ("Rescaling", {"scale": 2, "offset": -1}, (3, 4, 2)),
    ("Rescaling", {"scale": [0.5, 2.0], "offset": [1.0, -1.0]}, (3, 4, 2)),
    ("Rescaling", {"scale": 0.5, "offset": [1.0, -1.0]}, (3, 4, 2)),
    ("Normalization", {"mean": 0.5, "variance": 2.0}, (3, 4, 2)),
    ("Normalization", {"mean": [0.5, -0.5], "variance": [2.0, 0.25]}, (3, 4, 2)),
    ("Normalization", {"mean": [0.5, -0.5], "variance": [2.0, 0.25], "invert": True}, (3, 4, 2)),
    ("Normalization", {"axis": None, "mean": 0.5, "variance": 2.0}, (3, 4, 2)),
    ("Normalization", {"axis": [2, 3], "mean": [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.7, 0.8]],
                       "variance": [[1.0, 2.0], [3.0, 4.0], [0.1, 0.2], [0.3, 0.4]]}, (3, 4, 2)),
    ("Normalization", {"axis": [1, 3], "mean": [0.1, 0.2], "variance": [1.0, 2.0]}, (3, 4, 2)),
    ("Dropout", {"rate": 0.5}, (3, 4, 2)),
    ("Dropout", {"rate": 0.5, "noise_shape": [None, 1, 1, 2], "seed": 3}, (3, 4, 2)),
    ("AlphaDropout", {"rate": 0.5}, (3, 4, 2)),
    ("SpatialDropout1D", {"rate": 0.5}, (3, 4)),
    ("GaussianNoise", {"stddev": 0.5}, (3, 4, 2)),
    ("GaussianDropout", {"rate": 0.5}, (3, 4, 2)),
    ("RandomFlip", {}, (3, 4, 2)),
    ("RandomFlip", {"mode": "horizontal", "seed": 1}, (3, 4, 2)),
    ("RandomRotation", {"factor": 0.1}, (3, 4, 2)),
    ("RandomRotation", {"factor": [-0.2, 0.3], "fill_mode": "constant", "fill_value": 0.5},
     (3, 4, 2)),
    ("RandomZoom", {"height_factor": 0.1}, (3, 4, 2)),
    ("RandomZoom", {"height_factor": [0.1, 0.2], "width_factor": 0.3}, (3, 4, 2)),
    ("RandomTranslation", {"height_factor": 0.1, "width_factor": [0.0, 0.2]}, (3, 4, 2)),
    ("RandomContrast", {"factor": 0.5}, (3, 4, 2)),
    ("RandomContrast", {"factor": [0.2, 0.5], "value_range": [0.0, 1.0]}, (3, 4, 2)),
]  # fmt: skip

ADAPTED: list[dict[str, Any]] = [
    {},
    {"axis": None},
    {"axis": 1},
    {"axis": [1, -1]},
    {"axis": [3, 1]},
    {"invert": True},
]


def _id(case: Any) -> str:
    if isinstance(case, str):
        return case
    kind, settings, shape = case
    told = "-".join(f"{key}={value}" for key, value in settings.items() if key != "filters")
    return f"{kind}({told})-{'x'.join(map(str, shape))}".replace(" ", "")


def _images(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def _model(layer: Any, shape: Shape) -> Any:
    return keras.Sequential([keras.Input(shape), layer])


def _first(shape: Shape) -> Shape:
    return shape[2], shape[0], shape[1]


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("case", SPATIAL, ids=_id)
def test_spatial_layer(case: Case, data_format: str, compare: Check, reopens: Check) -> None:
    kind, settings, shape = case
    shape = shape if data_format == "channels_last" else _first(shape)
    layer = getattr(keras.layers, kind)(**settings, data_format=data_format)
    model, images = _model(layer, shape), _images(2, *shape)
    read = compare(model, images)
    if data_format == "channels_last":  # in the other order it is the same but for its name
        reopens(model, read, images)


@pytest.mark.filterwarnings("ignore:.*its hard_sigmoid is Keras 3's")
@pytest.mark.parametrize("case", OTHER, ids=_id)
def test_layer(case: Case, compare: Check, reopens: Check) -> None:
    kind, settings, shape = case
    model = _model(getattr(keras.layers, kind)(**settings), shape)
    images = _images(2, *shape)
    reopens(model, compare(model, images), images)


@pytest.mark.parametrize("settings", ADAPTED, ids=str)
def test_adapted_normalization(settings: dict[str, Any], compare: Check, reopens: Check) -> None:
    layer = keras.layers.Normalization(**settings)
    layer.adapt(3 + 2 * _images(16, 3, 4, 2))
    model, images = _model(layer, (3, 4, 2)), _images(2, 3, 4, 2, seed=2)
    read = compare(model, images, randomise=False)
    assert "mean" in read.variables["batch_stats"]["normalization"]
    reopens(model, read, images)


@pytest.mark.parametrize("registered", [True, False], ids=["registered", "unregistered"])
def test_class_that_is_named_like_one_of_keras(registered: bool, tmp_path: Path) -> None:
    class Dense(keras.layers.Dense):  # type: ignore[misc]
        def call(self, inputs: Any, training: Any = None) -> Any:
            return 2 * super().call(inputs, training)

    if registered:
        keras.saving.register_keras_serializable("mine")(Dense)
    _model(Dense(3, name="odd"), (4,)).save(tmp_path / "m.keras")
    called = "mine>Dense" if registered else f"{__name__}.Dense"
    with pytest.raises(WeightFileError, match=f"layer 'odd': expected .*, '{called}'"):
        ferjax.keras.load(tmp_path / "m.keras")


def test_normalization_of_an_image_without_variance_divides_by_1e_7(
    compare: Check,
) -> None:
    layer = keras.layers.Normalization(mean=0.5, variance=0.0)
    images = (0.5 + 1e-7 * _images(1, 3, 4, 1)).astype("float32")
    compare(_model(layer, (3, 4, 1)), images)


# Keras 2's hard sigmoid has no name in Keras 3; its values are checked by hand in tests/nets.
IN_KERAS_3 = [name for name in ACTIVATION_NAMES if name != "keras2_hard_sigmoid"]


@pytest.mark.parametrize("name", IN_KERAS_3)
def test_activation(name: str, compare: Check) -> None:
    wide = np.linspace(-8, 8, 96, dtype="float32").reshape(2, 4, 6, 2)
    # exp(8) is about 3000: single precision has 4e-4 there.
    images = wide / 4 if name == "exponential" else wide
    compare(_model(keras.layers.Activation(name), (4, 6, 2)), images)


@pytest.mark.parametrize("name", IN_KERAS_3)
def test_activation_of_layers_with_weights(name: str, compare: Check) -> None:
    chain = [
        keras.Input((5, 4, 2)),
        keras.layers.Conv2D(3, 2, activation=name),
        keras.layers.DepthwiseConv2D(2, activation=name),
        keras.layers.SeparableConv2D(3, 1, activation=name),
        keras.layers.Flatten(),
        keras.layers.Dense(4, activation=name),
    ]
    model = keras.Sequential(chain)
    if name == "exponential":  # of an exponential: small weights keep it finite
        model.set_weights([0.1 * weight for weight in model.get_weights()])
        compare(model, _images(2, 5, 4, 2), randomise=False, tolerance=2e-6)
    else:
        compare(model, _images(2, 5, 4, 2))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("LeakyReLU", {"negative_slope": 0.1}),
        ("ELU", {"alpha": 0.5}),
        ("ReLU", {"max_value": 1.0, "negative_slope": 0.2, "threshold": 0.25}),
        ("Softmax", {}),
        ("Activation", {"activation": "tanh"}),
        ("PReLU", {}),
    ],
)
def test_activation_that_is_a_layer(
    kind: str,
    settings: dict[str, Any],
    compare: Check,
    reopens: Check,
) -> None:
    def activation() -> Any:
        return getattr(keras.layers, kind)(**settings)

    chain = [
        keras.Input((5, 4, 2)),
        keras.layers.Conv2D(3, 2, activation=activation()),
        keras.layers.DepthwiseConv2D(2, activation=activation()),
        keras.layers.SeparableConv2D(3, 1, activation=activation()),
        keras.layers.Flatten(),
        keras.layers.Activation(activation()),
        keras.layers.Dense(4, activation=activation()),
    ]
    model = keras.Sequential(chain)
    images = _images(2, 5, 4, 2)
    if kind == "PReLU":
        model(images)  # makes its weights
    read = compare(model, images, suffixes=(".keras", ".h5"))
    ends = {"Softmax": "softmax", "Activation": "tanh"}
    assert read.graph.final_activation == ends.get(kind, "other")
    reopens(model, read, images)


# The identity at inference, and for that alone in ferjax; Keras 2's are there for its files.
RANDOM: list[tuple[str, dict[str, Any]]] = [
    ("RandomColorDegeneration", {"factor": 0.5}),
    ("RandomHue", {"factor": 0.5}),
    ("RandomSaturation", {"factor": [0.2, 0.7], "value_range": [0.0, 1.0]}),
    ("RandomSharpness", {"factor": 0.5}),
    ("RandomPosterization", {"factor": 3}),
    ("RandomInvert", {"factor": 0.5, "seed": 1}),
    ("RandomGrayscale", {"factor": 0.5}),
    ("RandomColorJitter", {"brightness_factor": 0.2, "hue_factor": [0.1, 0.3]}),
    ("RandomErasing", {"scale": [0.1, 0.2]}),
    ("RandomGaussianBlur", {"kernel_size": 3}),
    ("RandomPerspective", {"factor": 0.5}),
    ("RandomElasticTransform", {"factor": 0.5}),
]
OF_KERAS_2 = {"RandomCrop", "RandomHeight", "RandomWidth"}


def test_random_layers_that_are_kept_for_keras(compare: Check, reopens: Check) -> None:
    layers = [getattr(keras.layers, kind)(**settings) for kind, settings in RANDOM]
    model = keras.Sequential([keras.Input((4, 5, 3)), *layers])
    images = np.random.default_rng(0).uniform(size=(2, 4, 5, 3)).astype("float32")
    read = compare(model, images)
    assert [layer.kind for layer in read.graph.layers[1:]] == [kind for kind, _ in RANDOM]
    reopens(model, read, images)


def test_random_crop_of_keras_3_does_not_crop(tmp_path: Path) -> None:
    _model(keras.layers.RandomCrop(2, 2), (4, 4, 1)).save(tmp_path / "m.keras")
    with pytest.raises(WeightFileError, match="does not crop at inference; expected CenterCrop"):
        ferjax.keras.load(tmp_path / "m.keras")


INSIDE: list[Case] = [
    ("Flatten", {}, (3, 4, 2)),
    ("Dense", {"units": 3}, (3, 4)),
    ("BatchNormalization", {}, (3, 4)),
    ("Dropout", {"rate": 0.5}, (3, 4)),
    ("Conv2D", {"filters": 2, "kernel_size": 2, "padding": "same"}, (3, 5, 4, 2)),
    ("LSTM", {"units": 2}, (2, 3, 4)),
]


@pytest.mark.parametrize("case", INSIDE, ids=_id)
def test_layer_of_every_step(case: Case, compare: Check, reopens: Check) -> None:
    kind, settings, shape = case
    layer = keras.layers.TimeDistributed(getattr(keras.layers, kind)(**settings))
    model, images = _model(layer, shape), _images(2, *shape)
    reopens(model, compare(model, images, suffixes=(".keras", ".h5")), images)


@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize(
    ("kind", "merge_mode"),
    [("LSTM", "concat"), ("GRU", "sum"), ("SimpleRNN", "ave"), ("LSTM", "mul")],
)
def test_recurrent_layer_in_both_directions(
    kind: str, merge_mode: str, sequences: bool, compare: Check, reopens: Check
) -> None:
    forward = getattr(keras.layers, kind)(3, return_sequences=sequences)
    layer = keras.layers.Bidirectional(forward, merge_mode=merge_mode)
    model, images = _model(layer, (4, 5)), _images(2, 4, 5)
    read = compare(model, images, suffixes=(".keras", ".h5"))
    assert read.graph.final_activation == "other"
    reopens(model, read, images)


def test_two_recurrent_layers_in_the_two_directions(compare: Check, reopens: Check) -> None:
    backward = keras.layers.GRU(3, go_backwards=True)
    layer = keras.layers.Bidirectional(keras.layers.LSTM(3), backward_layer=backward)
    model, images = _model(layer, (4, 5)), _images(2, 4, 5)
    reopens(model, compare(model, images), images)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "relu"])
@pytest.mark.parametrize("kind", ["Conv2D", "SeparableConv2D", "DepthwiseConv2D"])
def test_activation_of_a_channels_first_convolution(kind: str, name: str, compare: Check) -> None:
    settings = {} if kind == "DepthwiseConv2D" else {"filters": 3}
    layer = getattr(keras.layers, kind)(
        kernel_size=2, activation=name, data_format="channels_first", **settings
    )
    compare(_model(layer, (3, 5, 4)), _images(2, 3, 5, 4))


MERGING = ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"]


@pytest.mark.parametrize("kind", MERGING)
@pytest.mark.parametrize("count", [2, 3])
def test_merge(kind: str, count: int, compare: Check, reopens: Check) -> None:
    if (kind, count) == ("Subtract", 3):
        pytest.skip("Keras subtracts one from another")
    inputs = keras.Input((5, 4, 2))
    branches = [keras.layers.Conv2D(3, 2)(inputs) for _ in range(count)]
    outputs = getattr(keras.layers, kind)()(branches)
    model = keras.Model(inputs, outputs)
    images = _images(2, 5, 4, 2)
    reopens(model, compare(model, images), images)


@pytest.mark.parametrize("kind", ["Add", "Multiply", "Average", "Maximum"])
def test_merge_broadcasts_over_axes_of_one(kind: str, compare: Check) -> None:
    inputs = keras.Input((5, 4, 3))
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True)(inputs)
    narrow = keras.layers.Conv2D(1, 1)(inputs)
    outputs = getattr(keras.layers, kind)()([pooled, inputs, narrow])
    compare(keras.Model(inputs, outputs), _images(2, 5, 4, 3))


@pytest.mark.parametrize("kind", ["Add", "Multiply"])
@pytest.mark.parametrize("vector_first", [True, False])
def test_merge_broadcasts_a_vector_along_the_channels(
    kind: str, vector_first: bool, compare: Check
) -> None:
    inputs = keras.Input((5, 4, 3))
    both = [keras.layers.GlobalAveragePooling2D()(inputs), inputs]
    outputs = getattr(keras.layers, kind)()(both if vector_first else both[::-1])
    compare(keras.Model(inputs, outputs), _images(2, 5, 4, 3))


@pytest.mark.parametrize("axis", [1, 2, 3, -1, -2, -3])
def test_concatenate_along_each_axis(axis: int, compare: Check) -> None:
    inputs = keras.Input((5, 4, 3))
    other = keras.layers.Rescaling(2.0)(inputs)
    outputs = keras.layers.Concatenate(axis=axis)([inputs, other])
    compare(keras.Model(inputs, outputs), _images(2, 5, 4, 3))


def test_concatenate_of_images_of_different_channels(compare: Check) -> None:
    inputs = keras.Input((5, 4, 2))
    other = keras.layers.Conv2D(3, 1)(inputs)
    outputs = keras.layers.Concatenate()([inputs, other])
    compare(keras.Model(inputs, outputs), _images(2, 5, 4, 2))


@pytest.mark.parametrize("pooling", ["GlobalAveragePooling2D", "GlobalMaxPooling2D"])
def test_input_of_open_size(pooling: str, compare: Check) -> None:
    chain = [
        keras.Input((None, None, 1)),
        keras.layers.Conv2D(3, 3, strides=2, padding="same"),
        keras.layers.MaxPooling2D(),
        keras.layers.ZeroPadding2D(1),
        keras.layers.Cropping2D(1),
        getattr(keras.layers, pooling)(),
        keras.layers.Dense(4),
    ]
    model = keras.Sequential(chain)
    read = compare(model, _images(2, 11, 8, 1))
    assert read.graph.image_shape == (None, None, 1)
    compare(model, _images(2, 6, 13, 1))


def test_efficient_channel_attention(compare: Check, reopens: Check) -> None:
    """ECA-Net (Wang et al., arXiv 1910.03151): a convolution along the channels' means."""
    inputs = keras.Input((5, 4, 6))
    scores = keras.layers.Reshape((6, 1))(keras.layers.GlobalAveragePooling2D()(inputs))
    scores = keras.layers.Conv1D(1, 3, padding="same", use_bias=False)(scores)
    scores = keras.layers.Activation("sigmoid")(keras.layers.Reshape((1, 1, 6))(scores))
    model = keras.Model(inputs, keras.layers.Multiply()([inputs, scores]))
    images = _images(2, 5, 4, 6)
    reopens(model, compare(model, images), images)


def test_network_that_mixes_orders_of_axes(compare: Check) -> None:
    chain = [
        keras.Input((6, 8, 2)),
        keras.layers.Conv2D(4, 3, data_format="channels_last", padding="same"),
        keras.layers.MaxPooling2D(2, data_format="channels_first"),  # (6, 4, 2)
        keras.layers.Conv2D(3, (2, 1), data_format="channels_first", activation="softmax"),
        keras.layers.ZeroPadding2D(((1, 0), (2, 0)), data_format="channels_first"),
        keras.layers.BatchNormalization(axis=2),
        keras.layers.AveragePooling2D(2, data_format="channels_last", padding="same"),
        keras.layers.Flatten(data_format="channels_first"),
        keras.layers.Dense(4),
    ]
    read = compare(keras.Sequential(chain), _images(2, 6, 8, 2))
    assert read.graph.data_format == "channels_last"


def test_channels_first_network(compare: Check) -> None:
    first = {"data_format": "channels_first"}
    chain = [
        keras.Input((1, 8, 10)),
        keras.layers.Conv2D(4, 3, activation="relu", **first),
        keras.layers.BatchNormalization(axis=1),
        keras.layers.MaxPooling2D(2, **first),
        keras.layers.SeparableConv2D(3, 3, padding="same", **first),
        keras.layers.SpatialDropout2D(0.3, **first),
        keras.layers.Flatten(**first),
        keras.layers.Dense(4, activation="softmax"),
    ]
    read = compare(keras.Sequential(chain), _images(2, 1, 8, 10))
    assert read.graph.data_format == "channels_first"
    assert read.graph.image_shape == (8, 10, 1)


def test_every_layer_kind_is_compared() -> None:
    compared = {kind for kind, *_ in SPATIAL + OTHER}
    compared |= OF_KERAS_2 | {kind for kind, _ in RANDOM}
    compared |= {"InputLayer", "Activation", "Bidirectional", "TimeDistributed", *MERGING}
    compared.add("LayerScale")  # of keras.applications: in test_applications
    assert compared == set(VOCABULARY)
