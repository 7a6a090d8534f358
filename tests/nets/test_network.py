"""The Flax module: variables, inference, training, and randomness."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ferjax.errors import LayerError
from ferjax.nets import Network, fer_cnn5, fer_cnn8
from ferjax.nets.layers import (
    Activation,
    Add,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GaussianDropout,
    GaussianNoise,
    GlobalAveragePooling2D,
    InputLayer,
    Layer,
    RandomContrast,
    RandomFlip,
    RandomRotation,
    RandomTranslation,
    RandomZoom,
    Rescaling,
    Reshape,
    Softmax,
    SpatialDropout2D,
)

from ..networks import chain, drawn, functional

KEY = jax.random.key(0)


@partial(jax.jit, static_argnums=0, static_argnames=["train", "logits"])
def applied(network: Network, variables: Any, x: Any, key: Any = None, **options: bool) -> Any:
    """Return what a network computes, in one program where each operation would be another."""
    rngs = None if key is None else {"dropout": key}
    return network.apply(variables, x, rngs=rngs, **options)


def uniform(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(size=shape).astype("float32")


def train(layer: Layer, x: Any, key: jax.Array = KEY) -> np.ndarray:
    """Return what a layer without weights makes of `x` in training."""
    x = np.asarray(x, np.float32)
    return np.asarray(applied(chain(layer, shape=x.shape[1:]), {}, x, key, train=True))


def small() -> Network:
    return chain(
        Conv2D(filters=3, kernel_size=3, activation="relu"),
        BatchNormalization(),
        Flatten(),
        Dropout(rate=0.5),
        Dense(units=4, activation="softmax"),
        shape=(6, 5, 1),
    )


# --- variables ---------------------------------------------------------------------------------


def test_variables_have_keras_s_layer_names() -> None:
    variables = small().init(KEY)
    assert jax.tree.map(jnp.shape, variables) == {
        "params": {
            "conv2d": {"kernel": (3, 3, 1, 3), "bias": (3,)},
            "batch_normalization": {"scale": (3,), "bias": (3,)},
            "dense": {"kernel": (36, 4), "bias": (4,)},
        },
        "batch_stats": {"batch_normalization": {"mean": (3,), "var": (3,)}},
    }
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_both_collections_are_there_even_if_empty() -> None:
    assert chain(Flatten(), shape=(2, 2, 1)).init(KEY) == {"params": {}, "batch_stats": {}}
    assert chain(Dense(units=1), shape=(2,)).init(KEY)["batch_stats"] == {}


@pytest.mark.parametrize(("build", "expected"), [(fer_cnn8, 7_324_615), (fer_cnn5, 2_631_815)])
def test_parameter_counts(build: Any, expected: int) -> None:
    network = build()
    assert network.num_params == expected
    drawn = jax.eval_shape(network.init, KEY)
    assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(drawn)) == expected


def test_initial_values() -> None:
    variables = small().init(KEY)
    kernel = np.asarray(variables["params"]["conv2d"]["kernel"])
    limit = np.sqrt(6 / (9 * 1 + 9 * 3))  # Glorot: sqrt(6 / (fan_in + fan_out))
    assert 0.8 * limit < np.abs(kernel).max() <= limit
    kernel = np.asarray(variables["params"]["dense"]["kernel"])
    limit = np.sqrt(6 / (36 + 4))
    assert 0.95 * limit < np.abs(kernel).max() <= limit
    assert not np.asarray(variables["params"]["dense"]["bias"]).any()
    norm = variables["params"]["batch_normalization"]
    np.testing.assert_array_equal(norm["scale"], 1)
    np.testing.assert_array_equal(norm["bias"], 0)
    statistics = variables["batch_stats"]["batch_normalization"]
    np.testing.assert_array_equal(statistics["mean"], 0)
    np.testing.assert_array_equal(statistics["var"], 1)


def test_another_key_draws_other_kernels_and_layers_draw_differently() -> None:
    network = chain(Dense(units=3), Dense(units=3), shape=(3,))
    one, two = network.init(KEY)["params"], network.init(jax.random.key(1))["params"]
    assert not np.array_equal(one["dense"]["kernel"], two["dense"]["kernel"])
    assert not np.array_equal(one["dense"]["kernel"], one["dense_1"]["kernel"])
    again = network.init(KEY)["params"]
    np.testing.assert_array_equal(one["dense"]["kernel"], again["dense"]["kernel"])


def test_shared_layer_has_one_set_of_weights() -> None:
    vector, dense, add = InputLayer(name="x", shape=(3,)), Dense(name="d", units=3), Add(name="a")
    network = Network(functional((vector, ()), (dense, (0,)), (dense, (1,)), (add, (1, 2))))
    variables = network.init(KEY)
    assert list(variables["params"]) == ["d"]
    kernel = 2 * np.eye(3, dtype="float32")
    params = {"d": {"kernel": kernel, "bias": np.ones(3, np.float32)}}
    # d(x) = 2x + 1; d(x) + d(d(x)) = 2x + 1 + 4x + 3
    outputs = network.apply({"params": params}, jnp.ones((1, 3)))
    np.testing.assert_array_equal(outputs, [[10.0, 10.0, 10.0]])


# --- inference ---------------------------------------------------------------------------------


def test_apply_is_the_same_under_jit_with_a_static_network() -> None:
    network = small()
    variables = drawn(network)
    images = uniform(3, 6, 5, 1)

    traced = []

    @partial(jax.jit, static_argnums=0)
    def predict(network: Network, variables: Any, images: jax.Array) -> Any:
        traced.append(network)
        return network.apply(variables, images)

    expected = network.apply(variables, images)
    np.testing.assert_allclose(predict(network, variables, images), expected, atol=1e-6)
    predict(small(), variables, images)  # equal, so not compiled again
    assert len(traced) == 1
    assert hash(network) == hash(small())


@pytest.mark.parametrize("shape", [(2, 6, 5, 3), (2, 5, 6, 1), (6, 5, 1), (2, 6, 5)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    network = small()
    variables = drawn(network)
    with pytest.raises(LayerError, match=r"expected images of shape \(B, 6, 5, 1\), got \("):
        network.apply(variables, jnp.zeros(shape))


def test_open_size_takes_any_size_and_is_initialised_with_images() -> None:
    network = chain(
        Conv2D(filters=2, kernel_size=3), GlobalAveragePooling2D(), shape=(None, None, 1)
    )
    with pytest.raises(LayerError, match=r"input of open size .* pass init"):
        network.init(KEY)
    variables = network.init(KEY, jnp.zeros((1, 8, 8, 1)))
    for shape in ((1, 3, 9, 1), (4, 12, 5, 1)):
        assert applied(network, variables, np.ones(shape, np.float32)).shape == (shape[0], 2)
    with pytest.raises(LayerError, match=r"expected images of shape \(B, None, None, 1\)"):
        network.apply(variables, jnp.ones((1, 8, 8, 3)))


@pytest.mark.parametrize(
    "end",
    [
        [Dense(units=3, activation="softmax")],
        [Dense(units=3), Activation(activation="softmax")],
        [Dense(units=3), Softmax()],
        [Dense(units=3, activation="softmax"), Dropout(rate=0.5)],
        [
            Dense(units=3),
            Reshape(target_shape=(1, 1, 3)),
            Conv2D(filters=4, kernel_size=1, activation="softmax"),
            Flatten(),
        ],
    ],
    ids=["dense", "activation", "layer", "dropout behind", "convolution"],
)
def test_softmax_of_the_logits_is_the_probabilities(end: list[Layer]) -> None:
    network = chain(Flatten(), *end, shape=(6, 5, 1))
    variables = drawn(network)
    images = uniform(3, 6, 5, 1)
    probabilities = np.asarray(applied(network, variables, images))
    logits = np.asarray(applied(network, variables, images, logits=True))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(jax.nn.softmax(logits), probabilities, atol=1e-6)
    assert logits.min() < 0
    of_logits = jax.eval_shape(lambda: network.init(KEY, images, logits=True))
    assert jax.tree.structure(of_logits) == jax.tree.structure(variables)


def test_logits_of_a_linear_end_are_the_output() -> None:
    network = chain(Dense(units=3), shape=(5,))
    variables = drawn(network)
    x = uniform(2, 5)
    np.testing.assert_array_equal(
        network.apply(variables, x, logits=True), network.apply(variables, x)
    )


def test_logits_leave_out_only_the_last_call_of_a_shared_softmax() -> None:
    softmax = Activation(name="softmax", activation="softmax")
    network = Network(
        functional((InputLayer(name="x", shape=(2,)), ()), (softmax, (0,)), (softmax, (1,)))
    )
    x = jnp.array([[0.0, jnp.log(3.0)]])
    np.testing.assert_allclose(network.apply({}, x, logits=True), [[0.25, 0.75]], rtol=1e-6)


@pytest.mark.parametrize(
    "end",
    [[Dense(units=2, activation="sigmoid")], [Dense(units=3), Activation(activation="relu")]],
)
def test_logits_are_refused_behind_another_activation(end: list[Layer]) -> None:
    network = chain(*end, shape=(5,))
    with pytest.raises(LayerError, match=r"it ends in '(sigmoid|relu)', so there are no logits"):
        network.apply(drawn(network), jnp.ones((1, 5)), logits=True)


@pytest.mark.parametrize(
    "end",
    [[Dense(units=1, activation="sigmoid")], [Dense(units=1), Activation(activation="sigmoid")]],
)
def test_the_logit_of_a_single_sigmoid_unit(end: list[Layer]) -> None:
    network = chain(*end, shape=(5,))
    variables, x = drawn(network), np.ones((1, 5), np.float32)
    logit, p = (np.asarray(applied(network, variables, x, logits=w)).item() for w in (True, False))
    assert float(logit) == pytest.approx(float(variables["params"]["dense"]["kernel"].sum()))
    assert float(p) == pytest.approx(1 / (1 + np.exp(-float(logit))))


# --- other precisions --------------------------------------------------------------------------


EVERYTHING_THAT_DRAWS = (
    RandomFlip(),
    RandomRotation(factor=0.1),
    RandomZoom(height_factor=0.1),
    RandomTranslation(height_factor=0.1, width_factor=0.1),
    RandomContrast(factor=0.1),
    GaussianNoise(stddev=0.1),
    GaussianDropout(rate=0.5),
    SpatialDropout2D(rate=0.5),
    Dropout(rate=0.5),
)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("training", [False, True])
def test_all_is_float32_under_x64_and_of_weights_of_any_precision(
    dtype: str, training: bool
) -> None:
    with jax.enable_x64(True):
        network = chain(
            *EVERYTHING_THAT_DRAWS,
            Conv2D(filters=2, kernel_size=3, activation="relu"),
            BatchNormalization(),
            Flatten(),
            Dense(units=3),
            shape=(8, 8, 2),
        )
        variables = jax.eval_shape(network.init, KEY)
        assert {x.dtype.name for x in jax.tree.leaves(variables)} == {"float32"}
        variables = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype), variables)

        def apply(variables: Any, images: Any) -> Any:
            rngs = {"dropout": KEY}
            return network.apply(
                variables, images, train=training, rngs=rngs, mutable=["batch_stats"]
            )

        output, updated = jax.eval_shape(apply, variables, np.zeros((2, 8, 8, 2), np.float64))
        assert output.dtype == "float32"
        if training:
            assert {x.dtype.name for x in jax.tree.leaves(updated)} == {"float32"}


def test_x64_draws_the_same_numbers() -> None:
    network, x = chain(Dropout(rate=0.5), shape=(50,)), jnp.ones((2, 50), jnp.float32)
    drawn = []
    for x64 in (False, True):
        with jax.enable_x64(x64):
            drawn.append(network.apply({}, x, train=True, rngs={"dropout": KEY}))
    np.testing.assert_array_equal(*drawn)


# --- looking inside ----------------------------------------------------------------------------


def skipping() -> Network:
    """Return x -> d -> tanh -> a, to which x skips; d is called again, on a."""
    dense = Dense(name="d", units=3)
    graph = functional(
        (InputLayer(name="x", shape=(3,)), ()),
        (dense, (0,)),
        (Activation(name="tanh", activation="tanh"), (1,)),
        (Add(name="a"), (0, 2)),
        (dense, (3,)),
    )
    return Network(graph)


def test_hook_sees_each_call_but_the_input() -> None:
    network = skipping()
    variables, x = drawn(network), uniform(2, 3) - 0.5
    seen = {}

    def hook(position: int, output: jax.Array) -> jax.Array:
        seen[position] = np.asarray(output)
        return output

    outputs = network.apply(variables, x, hook=hook)
    assert list(seen) == [1, 2, 3, 4]
    np.testing.assert_allclose(seen[2], np.tanh(seen[1]), rtol=1e-6)
    np.testing.assert_array_equal(seen[3], x + seen[2])
    np.testing.assert_array_equal(seen[4], outputs)


def test_hook_replaces_an_output() -> None:
    network = skipping()
    variables, x = drawn(network), uniform(2, 3) - 0.5
    outputs = network.apply(variables, x, hook=lambda i, y: jnp.ones_like(y) if i == 3 else y)
    weights = variables["params"]["d"]
    expected = np.asarray(weights["kernel"]).sum(0) + weights["bias"]
    np.testing.assert_allclose(outputs, np.tile(expected, (2, 1)), rtol=1e-5)


def test_gradient_by_an_inner_output_is_that_of_finite_differences() -> None:
    network = skipping()
    variables, x = drawn(network), uniform(1, 3) - 0.5

    def score(offset: Any, position: int) -> Any:
        outputs = network.apply(variables, x, hook=lambda i, y: y + offset if i == position else y)
        return jnp.sin(outputs).sum()

    for position in (1, 2, 3, 4):
        gradient = jax.grad(score)(jnp.zeros((1, 3)), position)
        steps = 1e-2 * np.eye(3, dtype=np.float32)[:, None]
        expected = [(score(s, position) - score(-s, position)) / 2e-2 for s in steps]
        np.testing.assert_allclose(gradient[0], expected, atol=2e-3)


def test_network_without_a_hook_is_compiled_as_ever() -> None:
    network = small()
    variables, images = drawn(network), jnp.ones((2, 6, 5, 1))

    def lowered(**options: Any) -> str:
        return (
            jax.jit(lambda v, x: network.apply(v, x, **options)).lower(variables, images).as_text()
        )

    assert lowered() == lowered(hook=None) == lowered(hook=lambda position, output: output)
    np.testing.assert_array_equal(
        network.apply(variables, images),
        network.apply(variables, images, hook=lambda position, output: output),
    )


# --- training ----------------------------------------------------------------------------------


def test_training_needs_a_key_for_dropout() -> None:
    network = small()
    variables = drawn(network)
    images = jnp.ones((2, 6, 5, 1))
    with pytest.raises(Exception, match="dropout"):
        network.apply(variables, images, train=True, mutable=["batch_stats"])


def test_dropout_of_rate_0_is_the_identity_and_needs_no_key() -> None:
    x = np.arange(12.0, dtype="float32").reshape(3, 4)
    network = chain(Dropout(rate=0.0), shape=(4,))
    np.testing.assert_array_equal(network.apply({}, x, train=True, rngs={"dropout": KEY}), x)


def test_dropout_keeps_the_rate_and_the_expectation() -> None:
    outputs = train(Dropout(rate=0.25), np.ones((100, 400)))
    np.testing.assert_allclose(np.unique(outputs), [0, 1 / 0.75], rtol=1e-6)
    # of 40,000: deviation sqrt(0.25 * 0.75 / 40000) = 0.0022
    assert abs((outputs == 0).mean() - 0.25) < 0.01
    assert abs(outputs.mean() - 1) < 0.015


def test_dropout_draws_once_for_what_the_noise_shape_shares() -> None:
    outputs = train(Dropout(rate=0.5, noise_shape=(None, 1, 4)), np.ones((8, 5, 4)))
    np.testing.assert_array_equal(outputs, np.broadcast_to(outputs[:, :1], (8, 5, 4)))
    assert len(np.unique(outputs[:, 0], axis=0)) > 4


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_spatial_dropout_drops_whole_channels(data_format: str) -> None:
    outputs = train(SpatialDropout2D(rate=0.5, data_format=data_format), np.ones((8, 6, 6, 6)))
    axes = (1, 2) if data_format == "channels_last" else (2, 3)
    whole = outputs.mean(axis=axes)
    np.testing.assert_array_equal(np.unique(whole), [0.0, 2.0])
    assert 10 < (whole == 0).sum() < 38  # of 48


def test_gaussian_noise_has_the_deviation() -> None:
    outputs = train(GaussianNoise(stddev=0.3), np.full((100, 400), 5.0))
    assert abs(outputs.mean() - 5) < 0.01
    assert abs(outputs.std() - 0.3) < 0.01


def test_gaussian_dropout_has_mean_1_and_its_deviation() -> None:
    outputs = train(GaussianDropout(rate=0.2), np.full((100, 400), 2.0))
    assert abs(outputs.mean() - 2) < 0.03
    assert abs(outputs.std() - 2 * np.sqrt(0.2 / 0.8)) < 0.03


@pytest.mark.parametrize(
    ("mode", "axes"),
    [("horizontal", [2]), ("vertical", [1]), ("horizontal_and_vertical", [1, 2])],
)
def test_flip_gives_each_image_or_its_mirror_image(mode: str, axes: list[int]) -> None:
    images = np.random.default_rng(0).uniform(size=(32, 3, 4, 2)).astype("float32")
    outputs = train(RandomFlip(mode=mode), images)
    candidates = [images]
    for axis in axes:
        candidates += [np.flip(c, axis) for c in candidates]
    actual = np.array(
        [[np.array_equal(o, c) for c in each] for o, *each in zip(outputs, *candidates)]
    )
    assert (actual.sum(axis=1) == 1).all()
    assert (actual.sum(axis=0) > 0).all(), "each of them occurs"


WHOLE = (-1.0, 1.0)


@pytest.mark.parametrize(
    "layer",
    [
        RandomRotation(factor=(-0.2, 0.2)),
        RandomZoom(height_factor=(-0.5, 0.5)),
        RandomTranslation(height_factor=(-0.4, 0.4), width_factor=(-0.4, 0.4)),
        RandomContrast(factor=(0.5, 0.5), value_range=(0.0, 1.0)),
        GaussianNoise(stddev=0.1),
        Dropout(rate=0.5),
    ],
    ids=lambda layer: layer.kind,
)
def test_images_of_a_batch_get_different_draws(layer: Layer) -> None:
    image = np.random.default_rng(0).uniform(size=(1, 7, 8, 1)).astype("float32")
    outputs = train(layer, image.repeat(6, axis=0))
    assert len(np.unique(outputs.reshape(6, -1), axis=0)) == 6
    again = train(layer, image.repeat(6, axis=0))
    np.testing.assert_array_equal(outputs, again)
    other = train(layer, image.repeat(6, axis=0), jax.random.key(1))
    assert not np.array_equal(outputs, other)


def test_layers_draw_differently_from_one_key() -> None:
    network = chain(Dropout(rate=0.5), Dropout(rate=0.5), shape=(1000,))
    x = jnp.ones((1, 1000))
    outputs = np.asarray(network.apply({}, x, train=True, rngs={"dropout": KEY}))
    # A quarter survives both; half would if both dropped the same.
    assert 0.2 < (outputs > 0).mean() < 0.3


def test_rotation_by_a_quarter_turn() -> None:
    image = np.arange(9.0, dtype="float32").reshape(1, 3, 3, 1)
    layer = RandomRotation(factor=(0.25, 0.25), interpolation="nearest")
    outputs = train(layer, image)[0, :, :, 0]
    np.testing.assert_array_equal(outputs, np.rot90(image[0, :, :, 0], k=1))


def test_zoom_out_to_half_size_leaves_a_border() -> None:
    image = np.ones((1, 8, 8, 1), np.float32)
    layer = RandomZoom(height_factor=(1.0, 1.0), fill_mode="constant", interpolation="nearest")
    outputs = train(layer, image)[0, :, :, 0]
    assert outputs.sum() == 16
    assert outputs[2:6, 2:6].all()


def test_contrast_by_hand() -> None:
    image = np.array([0.2, 0.4, 0.6, 0.8]).reshape(1, 2, 2, 1)
    # 1 - lower = 1 + upper = 1.5 about the mean 0.5
    layer = RandomContrast(factor=(-0.5, 0.5), value_range=(0.0, 0.9))
    np.testing.assert_allclose(train(layer, image).ravel(), [0.05, 0.35, 0.65, 0.9], atol=1e-6)


def test_batch_norm_updates_its_statistics_with_the_biased_variance() -> None:
    network = chain(BatchNormalization(name="n", momentum=0.75, epsilon=0.0), shape=(1,))
    variables = drawn(network)
    x = jnp.array([[1.0], [3.0], [5.0], [7.0]])  # mean 4, variance 5
    outputs, updated = network.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(updated["batch_stats"]["n"]["mean"], [0.75 * 0 + 0.25 * 4])
    np.testing.assert_allclose(updated["batch_stats"]["n"]["var"], [0.75 * 1 + 0.25 * 5])
    np.testing.assert_allclose(outputs.ravel(), np.array([-3, -1, 1, 3]) / np.sqrt(5), rtol=1e-6)


def test_batch_norm_of_images_takes_its_statistics_per_channel() -> None:
    network = chain(BatchNormalization(name="n", momentum=0.0), shape=(2, 2, 2))
    image = jnp.stack([jnp.full((2, 2), 3.0), jnp.array([[0.0, 2.0], [4.0, 6.0]])], -1)[None]
    _, updated = network.apply(drawn(network), image, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(updated["batch_stats"]["n"]["mean"], [3, 3])
    np.testing.assert_allclose(updated["batch_stats"]["n"]["var"], [0, 5], atol=1e-6)


def test_shared_batch_norm_updates_its_statistics_in_each_call() -> None:
    vector, add = InputLayer(name="x", shape=(1,)), Add(name="a")
    norm = BatchNormalization(name="n", momentum=0.5, epsilon=0.0)
    network = Network(functional((vector, ()), (norm, (0,)), (norm, (0,)), (add, (1, 2))))
    x = jnp.array([[1.0], [3.0]])  # mean 2, variance 1
    _, updated = network.apply(drawn(network), x, train=True, mutable=["batch_stats"])
    # 0.5 * (0.5 * 0 + 0.5 * 2) + 0.5 * 2
    np.testing.assert_allclose(updated["batch_stats"]["n"]["mean"], [1.5])


def test_frozen_batch_norm_keeps_and_uses_its_statistics() -> None:
    network = chain(BatchNormalization(name="n", trainable=False), shape=(1,))
    variables = drawn(network)
    x = jnp.array([[1.0], [3.0]])
    outputs, updated = network.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_array_equal(outputs, network.apply(variables, x))
    statistics = updated.get("batch_stats", variables["batch_stats"])
    jax.tree.map(np.testing.assert_array_equal, statistics, variables["batch_stats"])


def test_statistics_stay_without_mutable() -> None:
    network = chain(BatchNormalization(name="n", epsilon=0.0), shape=(1,))
    x = jnp.array([[1.0], [3.0]])
    outputs = network.apply(drawn(network), x, train=True)
    np.testing.assert_allclose(outputs.ravel(), [-1, 1], rtol=1e-6)


def test_training_step_under_jit_gives_finite_gradients_for_every_parameter() -> None:
    network = small()
    variables = drawn(network)
    images = uniform(8, 6, 5, 1)
    labels = np.arange(8) % 4

    def loss(params: Any) -> tuple[jax.Array, Any]:
        logits, updated = network.apply(
            {**variables, "params": params},
            images,
            train=True,
            logits=True,
            rngs={"dropout": KEY},
            mutable=["batch_stats"],
        )
        picked = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
        return -picked.mean(), updated

    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, updated), gradients = step(variables["params"])
    assert np.isfinite(value)
    assert jax.tree.structure(gradients) == jax.tree.structure(variables["params"])
    # A bias in front of a batch norm would have none, but there is a ReLU between.
    assert all(np.isfinite(g).all() and np.any(g) for g in jax.tree.leaves(gradients))
    stats = updated["batch_stats"]["batch_normalization"]
    assert np.any(stats["mean"])


def test_gradient_of_a_dense_layer_by_hand() -> None:
    network = chain(Dense(name="d", units=1), shape=(2,))
    params = {"d": {"kernel": jnp.array([[2.0], [3.0]]), "bias": jnp.array([1.0])}}
    x = jnp.array([[1.0, -1.0]])  # output 2 - 3 + 1 = 0
    gradient = jax.grad(lambda p: (network.apply({"params": p}, x) + 1).sum() ** 2)(params)
    np.testing.assert_allclose(gradient["d"]["kernel"], [[2.0], [-2.0]])
    np.testing.assert_allclose(gradient["d"]["bias"], [2.0])


def test_network_with_another_graph_is_another_network() -> None:
    network = small()
    renamed = Network(dataclasses.replace(network.graph, name="other"))
    assert network == small()
    assert network != renamed


def test_a_module_around_it_may_call_it_twice() -> None:
    class Two(nn.Module):
        net: Network

        @nn.compact
        def __call__(self, a: jax.Array, b: jax.Array) -> jax.Array:
            return self.net(a) + self.net(b)

    network = chain(Conv2D(filters=2, kernel_size=2), Flatten(), Dense(units=3), shape=(3, 3, 1))
    a, b = uniform(2, 4, 3, 3, 1)
    own = drawn(network)
    variables = {group: {"net": tree} for group, tree in own.items() if tree}
    shapes = jax.eval_shape(Two(network).init, KEY, a, b)
    assert jax.tree.map(np.shape, variables) == jax.tree.map(np.shape, shapes)
    expected = network.apply(own, a) + network.apply(own, b)
    actual = Two(network).apply(variables, a, b)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("layer", [Flatten(), GlobalAveragePooling2D()])
def test_no_images(layer: Layer) -> None:
    network = chain(Conv2D(filters=2, kernel_size=2), layer, Dense(units=3), shape=(3, 3, 1))
    actual = applied(network, drawn(network), np.zeros((0, 3, 3, 1), np.float32))
    assert actual.shape == (0, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float16, jnp.bfloat16, ">f4", bool])
def test_images_of_other_dtypes_are_those_of_float32(dtype: Any) -> None:
    network = chain(Rescaling(scale=1 / 255), Conv2D(filters=2, kernel_size=2), shape=(3, 3, 1))
    variables = drawn(network)
    images = np.random.default_rng(0).integers(0, 2, (2, 3, 3, 1))
    images = (images if dtype is bool else images * 96).astype(dtype)
    expected = network.apply(variables, images.astype(np.float32))
    np.testing.assert_array_equal(network.apply(variables, images), expected)


def test_images_may_be_lists() -> None:
    network = chain(Flatten(), shape=(1, 2, 1))
    np.testing.assert_array_equal(network.apply({}, [[[[1], [2]]]]), [[1, 2]])


def test_statistics_of_another_shape_are_refused() -> None:
    network = small()
    variables = drawn(network)
    variables["batch_stats"]["batch_normalization"]["mean"] = jnp.zeros(1)
    with pytest.raises(LayerError, match=r"'batch_normalization': expected mean of shape \(3,\)"):
        network.apply(variables, jnp.zeros((1, *network.input_shape)))
