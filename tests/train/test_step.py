"""One step of training and one of evaluation, on a network of 8 x 8 images."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ferjax import EmotionClassifier
from ferjax.data.augment import Augmentation, augment
from ferjax.nets import Network, convolution
from ferjax.nets.initializers import L1L2
from ferjax.nets.layers import (
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    Layer,
    Normalization,
    Rescaling,
)
from ferjax.train import optimizers, state, step
from ferjax.train.recipes import Recipe
from ferjax.train.state import Totals, TrainState
from ferjax.train.step import eval_step, to_input

from .. import networks
from ..networks import drawn

SGD = Recipe(optimizer="sgd", learning_rate=0.1)
PLAIN = dataclasses.replace(SGD, momentum=0.0, nesterov=False, learning_rate=1.0)
CLASS_WEIGHTS = (2.0, 0.5, 4.0)
RNGS = {"dropout": jax.random.key(0)}  # a dropout of rate 0 asks for one too


chain = functools.partial(networks.chain, shape=(8, 8, 1))


def small(*, dropout: float = 0.0, frozen: bool = False) -> Network:
    return chain(
        Conv2D(name="conv", filters=4, kernel_size=3, activation="relu", trainable=not frozen),
        BatchNormalization(name="norm", momentum=0.5, trainable=not frozen),
        GlobalAveragePooling2D(),
        Dropout(rate=dropout),
        Dense(name="dense", units=3, activation="softmax"),
    )


@functools.cache
def batch(size: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy images with rows, columns or checks of light, and which of them each has."""
    generator = np.random.default_rng(0)
    labels = (np.arange(size) % 3).astype("int32")
    row, column = np.indices((8, 8))
    patterns = np.stack([row % 2, column % 2, (row + column) % 2])
    noise = generator.uniform(0, 55, (size, 8, 8))
    return (200 * patterns[labels] + noise).astype("uint8"), labels


def jitted(recipe: Recipe, network: Network, weights: tuple[float, ...] | None = None) -> Any:
    """Return the step; those of recipes that differ in their seed are one program."""
    keyed = _keyed(dataclasses.replace(recipe, seed=0), network, weights)
    return functools.partial(keyed, state.step_key(recipe))


@functools.cache
def _keyed(recipe: Recipe, network: Network, weights: tuple[float, ...] | None) -> Any:
    return jax.jit(lambda key, *arguments: pure(recipe, network, weights, key)(*arguments))


def pure(
    recipe: Recipe,
    network: Network,
    weights: tuple[float, ...] | None = None,
    key: jax.Array | None = None,
) -> Any:
    tx = optimizers.optimizer(recipe)
    rate = optimizers.schedule(recipe, 4)
    key = state.step_key(recipe) if key is None else key
    return step.train_step(recipe, network, tx, rate, key, weights)


@functools.cache
def evaluating(network: Network) -> Any:
    return jax.jit(eval_step(network))


def begin(recipe: Recipe, network: Network, variables: Any = None) -> TrainState:
    return state.initial(recipe, network, optimizers.optimizer(recipe), variables)


def run(recipe: Recipe, network: Network, steps: int, size: int = 8) -> list[TrainState]:
    """Return the state at first and after each step on the same images."""
    states = [begin(recipe, network)]
    for _ in range(steps):
        states.append(jitted(recipe, network)(states[-1], *batch(size)))
    return states


def same(left: Any, right: Any) -> bool:
    equal = jax.tree.map(lambda a, b: np.array_equal(a, b, equal_nan=True), left, right)
    return jax.tree.all(equal)


def in_training(network: Network, variables: Any, images: Any) -> np.ndarray:
    """Return log-probabilities with the statistics of the batch."""
    return np.asarray(jax.nn.log_softmax(_logits(network, True, "float32")(variables, images)))


@functools.cache
def _logits(network: Network, train: bool, dtype: str) -> Any:
    @jax.jit
    def logits(variables: Any, images: Any) -> jax.Array:
        outputs, _ = network.apply(
            variables,
            images,
            train=train,
            logits=True,
            compute_dtype=dtype,
            rngs=RNGS,
            mutable=["batch_stats"],
        )
        return outputs

    return logits


def unit(images: np.ndarray) -> np.ndarray:
    return (images / np.float32(255))[..., None]


# --- the state -----------------------------------------------------------------------------------


def test_first_state_is_drawn_from_the_seed() -> None:
    first = begin(SGD, small())
    assert same(first, begin(SGD, small()))
    other = begin(dataclasses.replace(SGD, seed=1), small())
    assert not same(first.params["conv"], other.params["conv"])
    assert (first.step, first.bad_step, first.rate_factor) == (0, -1, 1)


def test_arrays_of_a_state_are_its_own() -> None:
    variables = drawn(small(), 3)
    first = begin(dataclasses.replace(SGD, ema_decay=0.9), small(), variables)
    assert same(first.variables(), variables)
    assert same(first.ema, variables)
    leaves = jax.tree.leaves((first, jax.tree.map(np.asarray, variables)))
    assert len({leaf.ctypes.data for leaf in leaves if leaf.size}) == len(leaves)


def test_moments_of_adam_are_taken_over() -> None:
    recipe = Recipe(optimizer="adamw", clip_norm=1.0, weight_decay=0.1)
    first = begin(recipe, small())
    mu = jax.tree.map(lambda p: np.full_like(p, 2), first.params)
    nu = jax.tree.map(lambda p: np.full_like(p, 3), first.params)
    warm = state.with_adam(first, 17, mu, nu)
    inner = {str(path[-1]): leaf for path, leaf in _numbers(warm.opt_state)}
    assert inner[".count"] == 17
    assert inner[".count"].dtype == np.int32
    leaves = [np.unique(leaf).tolist() for _, leaf in _numbers(warm.opt_state)]
    assert sorted(leaves) == [[2]] * 6 + [[3]] * 6 + [[17]]
    assert jax.tree.structure(warm) == jax.tree.structure(first)


@pytest.mark.parametrize(
    "recipe",
    [
        dataclasses.replace(SGD, clip_norm=1.0, weight_decay=0.1),
        Recipe(optimizer="adam"),
        Recipe(optimizer="adamw", weight_decay=0.1, clip_norm=1.0),
    ],
)
def test_first_state_of_an_optimizer_is_optax_s(recipe: Recipe) -> None:
    first = begin(recipe, small())
    expected = optimizers.optimizer(recipe).init(first.params)
    assert jax.tree.structure(first.opt_state) == jax.tree.structure(expected)
    assert same(first.opt_state, expected)
    kinds = [[leaf.dtype for leaf in jax.tree.leaves(s)] for s in (first.opt_state, expected)]
    assert kinds[0] == kinds[1]


def _numbers(tree: Any) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_leaves_with_path(tree)


@pytest.mark.parametrize(
    "recipe",
    [
        SGD,
        dataclasses.replace(SGD, ema_decay=0.9, clip_norm=1.0, weight_decay=0.1),
        Recipe(optimizer="adam", compute_dtype="bfloat16", ema_decay=0.9, sam_rho=0.05),
        Recipe(optimizer="adamw", weight_decay=0.1, schedule="one_cycle", label_smoothing=0.1),
        Recipe(schedule="cosine", warmup_epochs=1, augmentation=Augmentation(mixup=0.2, zoom=0.1)),
    ],
)
def test_state_keeps_its_shapes_and_dtypes(recipe: Recipe) -> None:
    check_kinds(recipe, small(dropout=0.5))


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_count_of_a_normalization_stays_an_integer(ema_decay: float) -> None:
    network = chain(Normalization(name="data"), Flatten(), Dense(units=3))
    check_kinds(dataclasses.replace(SGD, ema_decay=ema_decay), network)


def check_kinds(recipe: Recipe, network: Network) -> None:
    """Check what a scan over steps demands, and a checkpoint."""
    before = begin(recipe, network)
    after = jax.eval_shape(pure(recipe, network), before, *batch())
    assert jax.tree.structure(after) == jax.tree.structure(before)
    kinds, restored_kinds = (
        {jax.tree_util.keystr(path): (x.dtype.name, x.shape) for path, x in _numbers(tree)}
        for tree in (before, after)
    )
    assert restored_kinds == kinds


# --- randomness ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("augmentation", "dropout"),
    [(Augmentation(), 0.5), (Augmentation(horizontal_flip=0.5, brightness=0.3), 0.0)],
    ids=["dropout", "augmentation"],
)
def test_randomness_is_that_of_seed_and_step(augmentation: Augmentation, dropout: float) -> None:
    recipe = dataclasses.replace(PLAIN, augmentation=augmentation)
    network = small(dropout=dropout)
    at_4 = dataclasses.replace(begin(recipe, network), step=np.int32(4))
    at_5 = dataclasses.replace(at_4, step=np.int32(5))
    once = jitted(recipe, network)(at_4, *batch())
    assert same(once, jitted(recipe, network)(at_4, *batch()))
    assert not same(once.params, jitted(recipe, network)(at_5, *batch()).params)
    seeded = jitted(dataclasses.replace(recipe, seed=1), network)(at_4, *batch())
    assert not same(once.params, seeded.params)


def test_without_dropout_and_augmentation_nothing_is_random() -> None:
    first = begin(SGD, small())
    once = jitted(SGD, small())(first, *batch())
    later = jitted(SGD, small())(dataclasses.replace(first, step=np.int32(9)), *batch())
    assert same(once.params, later.params)
    assert (once.step, later.step) == (1, 10)


# --- what a step does ----------------------------------------------------------------------------


def test_step_is_the_rate_times_the_gradient() -> None:
    # logits = 0, so the gradient of the bias is the mean of softmax - one-hot.
    network = chain(Flatten(), Dense(name="dense", units=3, activation="softmax"))
    recipe = dataclasses.replace(SGD, nesterov=False, learning_rate=0.5)
    variables = {"params": {"dense": {"kernel": np.zeros((64, 3)), "bias": np.zeros(3)}}}
    variables = jax.tree.map(np.float32, {**variables, "batch_stats": {}})
    images, labels = batch(4)  # 0, 1, 2, 0
    first = begin(recipe, network, variables)
    after = jitted(recipe, network)(first, images, labels)
    mean = 1 / 3 - np.array([2, 1, 1]) / 4
    np.testing.assert_allclose(after.params["dense"]["bias"], -0.5 * mean, rtol=1e-5)
    error = 1 / 3 - np.eye(3)[labels]
    kernel = np.einsum("bp,bk->pk", images.reshape(4, 64) / 255, error) / 4
    np.testing.assert_allclose(after.params["dense"]["kernel"], -0.5 * kernel, atol=1e-6)

    reduced = dataclasses.replace(first, rate_factor=np.float32(0.1))
    after = jitted(recipe, network)(reduced, images, labels)
    np.testing.assert_allclose(after.params["dense"]["bias"], -0.05 * mean, rtol=1e-5)


def test_rate_is_the_schedule_s_at_the_step() -> None:
    recipe = dataclasses.replace(SGD, warmup_epochs=1.0)  # 4 steps
    states = run(recipe, small(), 2)
    assert same(states[1].params, states[0].params)
    assert not same(states[2].params, states[1].params)


def learning(dtype: str, steps: int) -> list[TrainState]:
    """Return the state at first and after each step, of a recipe that learns fast."""
    recipe = Recipe(learning_rate=0.02, ema_decay=0.9, compute_dtype=dtype)
    return run(recipe, small(dropout=0.1), steps, 24)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_loss_goes_down(dtype: str) -> None:
    now = learning(dtype, 60)[-1]
    evaluate = evaluating(small(dropout=0.1))
    images, labels = batch(24)
    everything = np.ones(24, bool)
    after = evaluate(now.evaluated(), images, labels, everything)
    assert after.correct == 24
    assert after.loss / 24 < 0.3 * np.log(3)
    # The mean over all 60 steps lies between that of the last and that of guessing.
    assert float(after.loss) / 24 < float(now.totals.loss) / (24 * 60) < 1.2 * np.log(3)
    assert (now.totals.count, now.step, now.bad_step) == (24 * 60, 60, -1)


def test_frozen_layers_stay() -> None:
    recipe = dataclasses.replace(SGD, weight_decay=0.1, ema_decay=0.5)
    network = small(frozen=True)
    first, *_, last = run(recipe, network, 3)
    assert set(first.params) == set(first.ema["params"]) == {"dense"}
    assert set(first.frozen) == {"conv", "norm"}
    assert same(last.frozen, first.frozen)
    assert same(last.batch_stats, first.batch_stats)
    assert not same(last.params["dense"]["kernel"], first.params["dense"]["kernel"])
    assert same(last.evaluated()["params"]["conv"], first.frozen["conv"])
    expected = jax.tree.structure(jax.eval_shape(network.init, jax.random.key(0)))
    assert jax.tree.structure(last.variables()) == expected
    assert jax.tree.structure(last.evaluated()) == expected


def test_statistics_are_updated_by_the_batch() -> None:
    first, after = run(SGD, small(), 1)
    windows = np.lib.stride_tricks.sliding_window_view(unit(batch()[0])[..., 0], (3, 3), (1, 2))
    x = np.einsum("bhwij,ijf->bhwf", windows, first.params["conv"]["kernel"][:, :, 0])
    x += first.params["conv"]["bias"]
    x = np.maximum(x, 0)
    stats = after.batch_stats["norm"]
    np.testing.assert_allclose(stats["mean"], 0.5 * x.mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(stats["var"], 0.5 + 0.5 * x.var((0, 1, 2)), rtol=1e-5)


# --- sharpness-aware minimization ----------------------------------------------------------------


def gradient_at(variables: Any, network: Network) -> Any:
    """Return the gradient of the first step, which plain descent subtracts."""
    first = begin(PLAIN, network, variables)
    after = jitted(PLAIN, network)(first, *batch())
    return jax.tree.map(lambda p, q: np.float64(p) - np.float64(q), first.params, after.params)


def test_sharpness_aware_step_follows_the_gradient_uphill() -> None:
    network = small(dropout=0.5)  # its mask is that of both gradients
    first = begin(PLAIN, network)
    gradient = gradient_at(first.variables(), network)
    norm = np.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(gradient)))
    uphill = jax.tree.map(lambda p, g: np.float32(p + 0.3 * g / norm), first.params, gradient)
    expected = gradient_at({**first.variables(), "params": uphill}, network)
    recipe = dataclasses.replace(PLAIN, sam_rho=0.3)
    after = jitted(recipe, network)(first, *batch())
    steps = jax.tree.map(lambda p, q: np.float64(p) - np.float64(q), first.params, after.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), steps, expected)
    apart = jax.tree.map(lambda a, b: np.abs(a - b).max(), steps, gradient)
    assert max(jax.tree.leaves(apart)) > 1e-3


def test_sharpness_aware_step_logs_what_the_weights_themselves_do() -> None:
    plain = run(PLAIN, small(dropout=0.5), 1)[-1]
    aware = run(dataclasses.replace(PLAIN, sam_rho=0.3), small(dropout=0.5), 1)[-1]
    assert not same(aware.params, plain.params)
    assert same(aware.batch_stats, plain.batch_stats)
    assert same((aware.totals.correct, aware.totals.count), (plain.totals.correct, 8))
    np.testing.assert_allclose(aware.totals.loss, plain.totals.loss, rtol=1e-6)


# --- running averages ----------------------------------------------------------------------------


def test_averages_of_weights_and_statistics() -> None:
    recipe = dataclasses.replace(SGD, ema_decay=0.2)
    first, *states = run(recipe, small(), 3)
    expected = first.variables()
    # (k / (k + 10)) is 1 / 11, 2 / 12, 3 / 13, of which the last is more than 0.2.
    for decay, now in zip((1 / 11, 2 / 12, 0.2), states):
        expected = jax.tree.map(
            lambda average, new, d=decay: d * np.float64(average) + (1 - d) * np.float64(new),
            expected,
            now.variables(),
        )
        assert jax.tree.structure(now.ema) == jax.tree.structure(expected)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), now.ema, expected
        )
    assert same(states[-1].evaluated(), states[-1].ema)
    assert not same(states[-1].ema, states[-1].variables())


def test_averages_change_nothing_else() -> None:
    plain = run(SGD, small(), 2)[-1]
    averaged = run(dataclasses.replace(SGD, ema_decay=0.2), small(), 2)[-1]
    assert same(averaged.variables(), plain.variables())
    assert plain.ema == {}
    assert same(plain.evaluated(), plain.variables())


# --- totals and the loss -------------------------------------------------------------------------


def test_totals_are_sums_over_images() -> None:
    images, labels = batch()
    states = run(SGD, small(), 3)
    loss = correct = 0
    for before in states[:-1]:
        logs = in_training(small(), before.variables(), unit(images))
        loss -= logs[np.arange(8), labels].sum()
        correct += (logs.argmax(1) == labels).sum()
    totals = states[-1].totals
    np.testing.assert_allclose(totals.loss, loss, rtol=1e-5)
    assert totals.correct == correct
    assert totals.count == 24
    assert (totals.loss.dtype, totals.correct.dtype, totals.count.dtype) == (
        jnp.float32,
        jnp.int32,
        jnp.int32,
    )


def test_loss_with_mixup_smoothing_and_class_weights() -> None:
    recipe = dataclasses.replace(SGD, label_smoothing=0.3, augmentation=Augmentation(mixup=0.4))
    images, labels = batch()
    first = begin(recipe, small())
    key = jax.random.split(jax.random.fold_in(state.step_key(recipe), 0))[0]
    one_hot = np.eye(3, dtype="float32")[labels]

    @jax.jit  # both in one program
    def both(first: TrainState) -> Any:
        after = pure(recipe, small(), CLASS_WEIGHTS)(first, images, labels)
        return after, augment(key, images, one_hot, recipe.augmentation)

    after, mixed_soft = both(first)
    mixed, soft = (np.asarray(x) for x in mixed_soft)
    assert 0.05 < np.abs(soft - one_hot).max() < 1
    logs = in_training(small(), first.variables(), mixed[..., None])
    expected = -((0.7 * soft + 0.1) * logs).sum(1) * (soft @ np.float32(CLASS_WEIGHTS))
    np.testing.assert_allclose(after.totals.loss, expected.sum(), rtol=1e-5)
    assert after.totals.correct == (logs.argmax(1) == soft.argmax(1)).sum()
    assert not same(after.params, first.params)


def test_class_weights_scale_the_gradient() -> None:
    first = begin(SGD, small())
    alike = jitted(SGD, small(), (2.0, 2.0, 2.0))(first, *batch())
    double = jitted(SGD, small())(dataclasses.replace(first, rate_factor=np.float32(2)), *batch())
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), alike.params, double.params
    )


def test_penalties_are_part_of_loss_and_gradient() -> None:
    def dense(**settings: Any) -> Network:
        return chain(Flatten(), Dense(name="dense", units=3, activation="softmax", **settings))

    plain, penalised = dense(), dense(kernel_regularizer=L1L2(l2=0.5))
    recipe = dataclasses.replace(SGD, nesterov=False, learning_rate=0.5)
    first = begin(recipe, plain)
    kernel = first.params["dense"]["kernel"]
    without = jitted(recipe, plain)(first, *batch())
    penalised_step = jitted(recipe, penalised)(first, *batch())
    penalty = 0.5 * np.square(kernel).sum()
    np.testing.assert_allclose(
        penalised_step.totals.loss, without.totals.loss + 8 * penalty, rtol=1e-5
    )
    # 0.5, the rate, times 2 * 0.5 * w.
    expected = without.params["dense"]["kernel"] - 0.5 * kernel
    np.testing.assert_allclose(penalised_step.params["dense"]["kernel"], expected, atol=1e-6)


# --- steps that are not finite -------------------------------------------------------------------


def test_first_step_with_a_loss_that_is_not_finite_is_kept() -> None:
    states = run(SGD, small(), 2)
    assert states[-1].bad_step == -1
    broken = dataclasses.replace(
        states[-1], params=jax.tree.map(lambda p: np.full_like(p, np.nan), states[-1].params)
    )
    once = jitted(SGD, small())(broken, *batch())
    twice = jitted(SGD, small())(once, *batch())
    healed = jitted(SGD, small())(dataclasses.replace(twice, params=states[-1].params), *batch())
    assert [int(s.bad_step) for s in (once, twice, healed)] == [2, 2, 2]
    assert once.bad_step.dtype == jnp.int32


def test_gradient_that_is_not_finite_is_seen_where_the_loss_is() -> None:
    # Logits of 0 for all, and weights behind them whose gradient leaves float32.
    network = chain(Flatten(), Dense(name="a", units=1), Dense(name="b", units=3))
    large = np.array([[3e38, -3e38, -3e38]])
    params = {
        "a": {"kernel": np.zeros((64, 1)), "bias": np.zeros(1)},
        "b": {"kernel": large, "bias": np.zeros(3)},
    }
    first = begin(SGD, network, jax.tree.map(np.float32, {"params": params, "batch_stats": {}}))
    after = jitted(SGD, network)(first, *batch(1))
    np.testing.assert_allclose(after.totals.loss, np.log(3), rtol=1e-6)
    assert after.bad_step == 0


# --- bfloat16 ------------------------------------------------------------------------------------


def equations(jaxpr: Any) -> Iterator[Any]:
    """Yield all equations, those of inner functions too."""
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        yield equation
        for value in jax.tree.leaves(equation.params, is_leaf=lambda v: hasattr(v, "eqns")):
            if hasattr(getattr(value, "jaxpr", value), "eqns"):
                yield from equations(value)


def operands(recipe: Recipe, network: Network, primitive: str) -> list[set[str]]:
    traced = jax.make_jaxpr(pure(recipe, network))(begin(recipe, network), *batch())
    return [
        {v.aval.dtype.name for v in equation.invars}
        for equation in equations(traced)
        if equation.primitive.name == primitive
    ]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_convolutions_compute_in_the_dtype_and_the_last_layer_in_float32(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All of them by XLA's convolution, to be counted.
    monkeypatch.setattr(convolution, "has_own_code", lambda *_: False)
    layers = small().layers[1:-1]
    network = chain(*layers, Dense(units=5), Dense(units=3, activation="softmax"))
    recipe = Recipe(compute_dtype=dtype)
    # Forward, and back to the kernel: the images need no gradient.
    assert operands(recipe, network, "conv_general_dilated") == [{dtype}] * 2
    products = operands(recipe, network, "dot_general")
    assert all(len(kinds) == 1 for kinds in products)
    # Forward, back to the inputs, and to the kernel.
    assert sum(kinds == {dtype} for kinds in products) == (6 if dtype == "float32" else 3)
    assert sum(kinds == {"float32"} for kinds in products) == (6 if dtype == "float32" else 3)


def test_bfloat16_keeps_the_state_in_float32_near_that_of_float32() -> None:
    ours, theirs = learning("bfloat16", 5)[-1], learning("float32", 5)[-1]
    arrays = (ours.params, ours.batch_stats, ours.ema, ours.totals.loss)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(arrays)} == {"float32"}
    dtypes = {leaf.dtype.name for leaf in jax.tree.leaves(ours.opt_state)}
    assert dtypes == {"float32", "int32"}  # the count
    np.testing.assert_allclose(ours.totals.loss, theirs.totals.loss, rtol=0.02)
    assert ours.totals.loss != theirs.totals.loss
    # Weights and statistics are not rounded to bfloat16.
    for kernel in (ours.params["conv"]["kernel"], ours.batch_stats["norm"]["mean"]):
        assert not np.array_equal(kernel, kernel.astype("bfloat16").astype("float32"))


@pytest.mark.parametrize("train", [True, False])
def test_logits_of_bfloat16_are_float32(train: bool) -> None:
    network, images = small(), unit(batch()[0])
    variables = drawn(network)
    half, full = (_logits(network, train, d)(variables, images) for d in ("bfloat16", "float32"))
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, full, atol=0.02)
    assert not np.array_equal(half, half.astype("bfloat16").astype("float32"))


# --- images for any network ----------------------------------------------------------------------


def reading(kind: str) -> Network:
    """Return a network for gray or color images, of another range or order of axes."""
    first: dict[str, list[Layer]] = {
        "gray": [],
        "color": [],
        "rescaling": [Rescaling(scale=1 / 255)],
        "signed": [Rescaling(scale=1 / 127.5, offset=-1.0)],
        "channels first": [],
        "color, channels first": [Rescaling(scale=1 / 255)],
    }
    order = "channels_first" if "first" in kind else "channels_last"
    channels = 3 if "color" in kind else 1
    return chain(
        *first[kind],
        Conv2D(filters=2, kernel_size=5, data_format=order),
        Flatten(data_format=order),
        Dense(units=3, activation="softmax"),
        shape=(channels, 8, 8) if "first" in kind else (8, 8, channels),
    )


KINDS = ["gray", "color", "rescaling", "signed", "channels first", "color, channels first"]


def test_input_is_in_the_network_s_range_and_order() -> None:
    images = np.arange(128, dtype="float32").reshape(2, 8, 8) / 128
    inputs = jax.jit(lambda x: {kind: to_input(reading(kind), x) for kind in KINDS})(images)
    x = images
    np.testing.assert_array_equal(inputs["gray"], x[..., None])
    np.testing.assert_array_equal(inputs["color"], np.stack([x, x, x], -1))
    np.testing.assert_array_equal(inputs["rescaling"], 255 * x[..., None])
    np.testing.assert_array_equal(inputs["signed"], 255 * x[..., None])
    np.testing.assert_array_equal(inputs["channels first"], x[:, None])
    np.testing.assert_array_equal(inputs["color, channels first"], 255 * np.stack([x, x, x], 1))
    assert {value.dtype.name for value in inputs.values()} == {"float32"}


@pytest.mark.parametrize("kind", ["color", "rescaling", "color, channels first"])
def test_loss_of_a_step_is_that_of_the_classifier_s_probabilities(kind: str) -> None:
    # Neither dropout nor normalization: training and prediction compute the same.
    network, (images, labels) = reading(kind), batch()
    first = begin(SGD, network)
    classifier = EmotionClassifier(network, first.variables(), labels=["a", "b", "c"])
    probabilities = classifier.predict_proba(images)[np.arange(8), labels]
    after = jitted(SGD, network)(first, images, labels)
    np.testing.assert_allclose(after.totals.loss, -np.log(probabilities).sum(), rtol=1e-5)
    assert not same(after.params, first.params)


# --- evaluation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gray", "rescaling", "color, channels first"])
def test_evaluation_is_that_of_the_classifier_on_the_images_of_the_mask(kind: str) -> None:
    network = small(dropout=0.5) if kind == "gray" else reading(kind)
    images, labels = batch()
    variables = drawn(network, 1)
    mask = np.array([1, 0, 1, 1, 0, 1, 1, 0], bool)
    totals = evaluating(network)(variables, images, labels, mask)
    classifier = EmotionClassifier(network, variables, labels=["a", "b", "c"])
    probabilities = classifier.predict_proba(images)
    by_image = -np.log(probabilities[np.arange(8), labels])
    np.testing.assert_allclose(totals.loss, by_image[mask].sum(), rtol=1e-5)
    assert totals.correct == (probabilities.argmax(1) == labels)[mask].sum()
    assert totals.count == 5
    assert (totals.loss.dtype, totals.correct.dtype, totals.count.dtype) == (
        jnp.float32,
        jnp.int32,
        jnp.int32,
    )


def test_evaluation_leaves_out_what_fills_a_batch() -> None:
    network, (images, labels) = small(), batch()
    evaluate = evaluating(network)
    variables = drawn(network, 1)
    mask = np.arange(8) < 5
    totals = evaluate(variables, images, labels, mask)
    filled = np.where(mask[:, None, None], images, 255).astype("uint8")
    others = np.where(mask, labels, 2).astype("int32")
    assert same(evaluate(variables, filled, others, mask), totals)
    assert same(evaluate(variables, images, labels, np.zeros(8, bool)), Totals.zero())


def test_evaluation_of_an_image_does_not_depend_on_the_others() -> None:
    network, (images, labels) = small(dropout=0.5), batch()
    evaluate = evaluating(network)
    variables = run(SGD, network, 2)[-1].variables()
    whole = evaluate(variables, images, labels, np.ones(8, bool))
    parts = [evaluate(variables, images, labels, np.arange(8) == i) for i in range(8)]
    np.testing.assert_allclose(sum(float(p.loss) for p in parts), whole.loss, rtol=1e-6)
    assert sum(int(p.correct) for p in parts) == whole.correct
    assert {int(p.count) for p in parts} == {1}
