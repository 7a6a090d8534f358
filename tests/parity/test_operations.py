"""Operators and functions on tensors against Keras 3, and what it makes of them when reopened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import ferjax.keras

pytestmark = pytest.mark.usefixtures("numpy_initializers")

Compare = Callable[..., ferjax.keras.KerasModel]
BOTH = (".keras", ".h5")
CHANNELS = np.array([0.5, 0.25, 2.0], "float32")


def _mode(mode: str) -> Callable[[Any], list[Any]]:
    """Return the preprocessing of keras.applications, on gray levels."""
    preprocess = keras.applications.imagenet_utils.preprocess_input
    return lambda x: [preprocess(255.0 * x, mode=mode) / (255 if mode == "caffe" else 1)]


# By what they have in common: a list of outputs each.
OPERATIONS: dict[str, Callable[[Any], list[Any]]] = {
    "tf": _mode("tf"),
    "caffe": _mode("caffe"),
    "torch": _mode("torch"),
    "constants": lambda x: [x / 127.5 - 1, 1 - x, 2 / (x + 3), 2 * (2 + x), -x, x - CHANNELS],
    "arrays": lambda x: [
        ops.subtract(CHANNELS, x),
        ops.divide(CHANNELS, x + 1),
        x * np.array([1, 2, 3]),
        x[:, :, :, :1] + ops.convert_to_tensor(CHANNELS),
        x[:, :, :, :1] * np.ones((4, 3), "float32"),
    ],
    "tensors": lambda x: [
        x + x,
        x * ops.tanh(x),
        ops.exp(x) - x,
        x / (x + 2),
        ops.maximum(x, 1 - x),
        ops.minimum(x, 1 - x),
        ops.power(x, x + 1),
        x * ops.mean(x, axis=-1, keepdims=True),
    ],
    "powers": lambda x: [(x - 0.5) ** 2, (x - 0.5) ** 3, x**0.5, 2.0**x, x**-1.5],
    "functions": lambda x: [
        abs(x - 0.5),
        ops.sqrt(x),
        ops.rsqrt(x + 1),
        ops.square(x),
        ops.log(x + 1),
        ops.exp(x),
        ops.clip(x, 0.1, 0.6),
        ops.clip(x, 0, 0.6),
        ops.maximum(x - 0.5, 0.0),
        ops.minimum(x, 0.5),
        ops.stop_gradient(x),
        ops.cast(x, "float32"),
    ],
    "activations": lambda x: [
        ops.relu(x - 0.5),
        ops.relu6(10 * x),
        ops.leaky_relu(x - 0.5, 0.1),
        ops.elu(x - 0.5, alpha=0.5),
        ops.gelu(x - 0.5),
        ops.gelu(x - 0.5, approximate=False),
        ops.silu(x),
        ops.sigmoid(x),
        ops.hard_sigmoid(x),
        ops.hard_silu(x),
        ops.selu(ops.softplus(ops.softsign(x))),
        ops.softmax(x),
        ops.softmax(x, axis=1),
        ops.celu(x - 0.5),
        ops.hard_tanh(3 * x),
        ops.hard_shrink(x),
        ops.soft_shrink(x),
        ops.tanh_shrink(x),
        ops.sparse_plus(x),
        ops.log_softmax(x),
        keras.activations.relu(x, max_value=0.5),
    ],
    "reductions": lambda x: [
        ops.mean(x, axis=[1, 2]),
        ops.mean(x, axis=-1),
        ops.max(x, axis=(1, 2), keepdims=True),
        ops.max(x, axis=-1, keepdims=True),
        ops.min(x, axis=1),
        ops.amax(x, axis=(1, 2)),
        ops.amin(x, axis=-1),
        ops.sum(x, axis=(1, 3)) / 10,
        ops.var(x, axis=[1, 2]),
        ops.std(x, axis=[1, 2, 3], keepdims=True),
    ],
    "slices": lambda x: [
        x[:, 1:3, ::2, 0:1],
        x[:, -3:, -4:-1, ::-2],
        x[..., -1],
        x[:, 2],
        x[..., None],
        x[:, None, 1],
        x[:, ::-1, ::-1, ::-1],
    ],
    "images": lambda x: [
        ops.image.resize(x, (3, 7)),
        ops.image.resize(x, (10, 3), interpolation="nearest"),
        ops.image.resize(x, (2, 3), antialias=True),
        ops.image.resize(x, (3, 3), crop_to_aspect_ratio=True),
        ops.image.rgb_to_grayscale(x),
        ops.pad(x, [[0, 0], [1, 0], [2, 1], [0, 0]]),
        ops.max_pool(x, 2, 2),
        ops.average_pool(x, (3, 2), strides=(2, 1), padding="same"),
    ],
    "rearranged": lambda x: [
        ops.concatenate([x, 2 * x], axis=-1),
        ops.concatenate([x, x, x], axis=1),
        ops.stack([x, 2 * x], axis=1),
        ops.stack([x, 2 * x], axis=-1),
        ops.reshape(x, (-1, 60)),
        ops.reshape(x, (-1, 20, 3)),
        ops.transpose(x, [0, 3, 1, 2]),
        ops.expand_dims(x, -1),
        ops.squeeze(x[:, :1], 1),
        ops.flip(x, (1, -1)),
        ops.repeat(x, 2, axis=1),
        ops.take(x, [2, 1, 0], axis=-1),
    ],
}


# A file of the other kind has the same graph in it, but operations that have other names.
IN_BOTH = {"caffe", "arrays", "tensors", "activations", "images", "rearranged"}


@pytest.mark.parametrize("kind", OPERATIONS)
@pytest.mark.filterwarnings("ignore:.*only Keras 3 opens it")
def test_operations(kind: str, compare: Compare, reopens: Callable[..., None]) -> None:
    inputs = keras.Input((5, 4, 3))
    flat = [layers.Flatten()(output) for output in OPERATIONS[kind](inputs)]
    model = keras.Model(inputs, layers.Concatenate()([*flat, flat[0]]))
    images = np.random.default_rng(0).uniform(size=(2, 5, 4, 3)).astype("float32")
    suffixes = BOTH if kind in IN_BOTH else (".keras",)
    read = compare(model, images, suffixes=suffixes, tolerance=2e-6)
    reopens(model, read, images, suffixes=suffixes, ordered=False, tolerance=2e-6)


def test_operations_in_a_model_that_is_called_twice(compare: Compare) -> None:
    inner_inputs = keras.Input((4,))
    inner = keras.Model(inner_inputs, 1 - layers.Dense(4)(inner_inputs) * 0.5, name="inner")
    inputs = keras.Input((4,))
    outputs = inner(inner(inputs)) * 2
    values = np.random.default_rng(0).uniform(size=(2, 4)).astype("float32")
    compare(keras.Model(inputs, outputs), values, suffixes=BOTH)


def test_a_type_of_less_precision_is_noted(compare: Compare) -> None:
    inputs = keras.Input((4,))
    outputs = layers.Dense(2)(ops.cast(ops.cast(inputs, "float16"), "float32"))
    values = np.array([[0.5, 0.25, 1, 2]], "float32")  # which float16 has
    notes = compare(keras.Model(inputs, outputs), values).notes
    assert notes == ["computed in float32, where the file asks for float16"]


def test_an_operation_that_is_called_with_other_constants(compare: Compare) -> None:
    add = keras.src.ops.numpy.Add(name="shared")
    inputs = keras.Input((4,))
    outputs = layers.Dense(2)(add(add(inputs, 1.0), 3.0))
    values = np.random.default_rng(0).uniform(size=(2, 4)).astype("float32")
    read = compare(keras.Model(inputs, outputs), values)
    assert [layer.name for layer in read.graph.layers if "shared" in layer.name] == [
        "shared",
        "shared_1",
    ]


@pytest.mark.parametrize(
    ("mode", "expected"), [("tf", (0, 255)), ("caffe", (0, 255)), ("torch", (0, 255))]
)
def test_the_range_of_the_images_follows(
    mode: str, expected: tuple[int, int], tmp_path: Path
) -> None:
    inputs = keras.Input((8, 8, 3))
    x = keras.applications.imagenet_utils.preprocess_input(inputs, mode=mode)
    model = keras.Model(inputs, layers.Conv2D(2, 3)(x))
    model.save(tmp_path / "model.keras")
    assert ferjax.keras.load(tmp_path / "model.keras").graph.value_range == expected
