"""Optimizers and schedules, against values worked by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ferjax.nets.layers import (
    BatchNormalization,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    PReLU,
    SeparableConv2D,
)
from ferjax.train.optimizers import optimizer, schedule
from ferjax.train.recipes import Recipe

from ..networks import chain, drawn


@pytest.fixture(autouse=True)
def optax_promotes(strict_jax: None) -> Iterator[None]:
    """Let optax add integers and floats, which it does in Adam's bias correction and in cosines."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def updates(recipe: Recipe, params: Any, gradients: Sequence[Any], rate: float = 0.1) -> list[Any]:
    """Return the update of each step, for a kernel that moves at `rate`."""
    tx = optimizer(recipe)
    params = jax.tree.map(lambda p: jnp.asarray(p, "float32"), params)
    state, by_step = tx.init(params), []
    for gradient in gradients:
        gradient = jax.tree.map(lambda g: jnp.asarray(g, "float32"), gradient)
        update, state = tx.update(gradient, state, params)
        params = jax.tree.map(lambda p, u: p - rate * u, params, update)
        by_step.append(jax.tree.map(np.asarray, update))
    return by_step


def of_kernel(recipe: Recipe, gradients: Sequence[float], start: float = 1.0) -> list[float]:
    """Return the updates of a single number named as a kernel."""
    by_step = updates(recipe, {"a": {"kernel": start}}, [{"a": {"kernel": g}} for g in gradients])
    return [float(update["a"]["kernel"]) for update in by_step]


# --- optimizers ----------------------------------------------------------------------------------


def test_nesterov_by_hand() -> None:
    # v = 0.5 v + g is 1, 2.5, 0.25; the update is g + 0.5 v.
    recipe = Recipe(optimizer="sgd", momentum=0.5, nesterov=True)
    np.testing.assert_allclose(of_kernel(recipe, [1, 2, -1]), [1.5, 3.25, -0.875], rtol=1e-6)


def test_momentum_by_hand() -> None:
    recipe = Recipe(optimizer="sgd", momentum=0.5, nesterov=False)
    np.testing.assert_allclose(of_kernel(recipe, [1, 2, -1]), [1, 2.5, 0.25], rtol=1e-6)


def test_plain_sgd_is_the_gradient() -> None:
    assert of_kernel(Recipe(optimizer="sgd", momentum=0), [1, 2, -1]) == [1, 2, -1]


def test_sgd_has_weight_decay_in_the_gradient() -> None:
    # From 2: g = 1 + 0.1 * 2 = 1.2 leads to 2 - 0.1 * 1.2 = 1.88; 1.188 + 0.5 * 1.2 is next.
    recipe = Recipe(optimizer="sgd", momentum=0.5, nesterov=False, weight_decay=0.1)
    np.testing.assert_allclose(of_kernel(recipe, [1, 1], start=2.0), [1.2, 1.788], rtol=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_by_hand(name: str) -> None:
    # m = 1, 1 and v = 1, 1, corrected by sqrt(1 - 0.75) / (1 - 0.5) and sqrt(0.4375) / 0.75; the
    # epsilon is Keras's, beside the square root of the uncorrected v.
    recipe = Recipe(optimizer=name, beta_1=0.5, beta_2=0.75, epsilon=0.5)
    expected = [1 / (1 + 0.5), math.sqrt(0.4375) / 0.75 / (1 + 0.5)]
    np.testing.assert_allclose(of_kernel(recipe, [2, 1]), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_decays_beside_its_moments(name: str) -> None:
    recipe = Recipe(optimizer=name, beta_1=0.5, beta_2=0.75, epsilon=0.5, weight_decay=0.1)
    # 2 / 3 + 0.1 * 3, times the rate of 0.1, leads from 3 to 2.90333.
    first, where = 2 / 3 + 0.3, 3 - 0.1 * (2 / 3 + 0.3)
    second = math.sqrt(0.4375) / 0.75 / 1.5 + 0.1 * where
    np.testing.assert_allclose(of_kernel(recipe, [2, 1], start=3.0), [first, second], rtol=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_without_a_gradient_kernels_alone_decay(name: str) -> None:
    layers = [
        Conv2D(name="conv", filters=2, kernel_size=3),
        BatchNormalization(name="norm"),
        PReLU(name="prelu"),
        DepthwiseConv2D(name="deep", kernel_size=3),
        SeparableConv2D(name="apart", filters=3, kernel_size=3),
        Flatten(),
        Dense(name="dense", units=2),
    ]
    network = chain(*layers, shape=(8, 8, 1))
    params = jax.tree.map(lambda p: np.full_like(p, 4.0), drawn(network)["params"])
    recipe = Recipe(optimizer=name, momentum=0, weight_decay=0.25)
    (update,) = updates(recipe, params, [jax.tree.map(np.zeros_like, params)])
    changed = {
        f"{layer}/{weight}": np.unique(value).tolist()
        for layer, weights in update.items()
        for weight, value in weights.items()
    }
    assert changed == {
        "conv/kernel": [1],
        "conv/bias": [0],
        "norm/scale": [0],
        "norm/bias": [0],
        "prelu/alpha": [0],
        "deep/kernel": [1],
        "deep/bias": [0],
        "apart/depthwise_kernel": [1],
        "apart/pointwise_kernel": [1],
        "apart/bias": [0],
        "dense/kernel": [1],
        "dense/bias": [0],
    }


@pytest.mark.parametrize(
    ("clip_norm", "expected"), [(1.0, (0.6, 0.8)), (10.0, (3, 4)), (None, (3, 4))]
)
def test_gradients_are_clipped_by_their_norm_over_all_weights(
    clip_norm: float | None, expected: tuple[float, float]
) -> None:
    recipe = Recipe(optimizer="sgd", momentum=0.5, nesterov=False, clip_norm=clip_norm)
    gradient = {"a": {"kernel": 3.0}, "b": {"bias": 4.0}}
    (update,) = updates(recipe, gradient, [gradient])
    values = (update["a"]["kernel"], update["b"]["bias"])
    np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_decay_is_not_clipped() -> None:
    recipe = Recipe(optimizer="sgd", momentum=0, clip_norm=1.0, weight_decay=0.5)
    np.testing.assert_allclose(of_kernel(recipe, [5], start=10.0), [1 + 0.5 * 10], rtol=1e-6)


# --- schedules -----------------------------------------------------------------------------------


def check(recipe: Recipe, expected: dict[int, float], steps_per_epoch: float = 10) -> None:
    """Compare the rate at each step, on the host and traced."""
    rate = schedule(recipe, steps_per_epoch)
    rates = [rate(step) for step in expected]
    assert {value.dtype for value in rates} == {jnp.dtype("float32")}
    np.testing.assert_allclose(rates, list(expected.values()), rtol=1e-5, atol=1e-7)
    traced = jax.jit(jax.vmap(rate))(jnp.asarray(list(expected), "int32"))
    np.testing.assert_allclose(traced, rates, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["constant", "plateau"])
def test_rate_is_constant(name: str) -> None:
    check(Recipe(schedule=name, learning_rate=0.5, epochs=2), {0: 0.5, 13: 0.5, 99: 0.5})


@pytest.mark.parametrize("name", ["constant", "plateau"])
def test_constant_rate_after_a_warm_up(name: str) -> None:
    recipe = Recipe(schedule=name, learning_rate=0.5, warmup_epochs=2, epochs=9)
    check(recipe, {0: 0.0, 5: 0.125, 10: 0.25, 19: 0.475, 20: 0.5, 21: 0.5, 80: 0.5})


def test_cosine() -> None:
    recipe = Recipe(schedule="cosine", learning_rate=2, epochs=10)
    expected = {0: 2.0, 25: 1 + math.cos(math.pi / 4), 50: 1.0, 100: 0.0, 120: 0.0}
    check(recipe, expected)


def test_cosine_after_a_warm_up_ends_at_the_last_step() -> None:
    recipe = Recipe(
        schedule="cosine", learning_rate=2, epochs=10, warmup_epochs=2, final_factor=0.1
    )
    # Up over 20 steps; the 80 that are left lead from 2 to 0.2, halfway at 1.1.
    check(recipe, {0: 0.0, 10: 1.0, 20: 2.0, 60: 1.1, 100: 0.2, 101: 0.2})


def test_one_cycle() -> None:
    recipe = Recipe(
        schedule="one_cycle",
        learning_rate=2,
        epochs=10,
        peak_at=0.3,
        start_factor=0.5,
        final_factor=0.1,
    )
    check(recipe, {0: 1.0, 15: 1.5, 30: 2.0, 65: 1.1, 100: 0.2, 130: 0.2})


def test_one_cycle_is_over_the_steps_that_a_warm_up_leaves() -> None:
    recipe = Recipe(
        schedule="one_cycle",
        learning_rate=2,
        epochs=12,
        warmup_epochs=2,
        peak_at=0.3,
        start_factor=0.5,
        final_factor=0.1,
    )
    check(recipe, {0: 0.0, 10: 1.0, 20: 1.0, 35: 1.5, 50: 2.0, 85: 1.1, 120: 0.2})


@pytest.mark.parametrize(
    ("peak_at", "expected"), [(0.0, {1: 2.0, 10: 0.0}), (1.0, {0: 1.0, 5: 1.5, 10: 2.0, 11: 0.0})]
)
def test_one_cycle_with_its_peak_at_an_end(peak_at: float, expected: dict[int, float]) -> None:
    recipe = Recipe(
        schedule="one_cycle", learning_rate=2, epochs=1, peak_at=peak_at, start_factor=0.5
    )
    check(recipe, expected)


def test_a_part_of_a_step_counts_as_one() -> None:
    # 3 epochs of 2.5 batches are 8 steps.
    check(Recipe(schedule="cosine", learning_rate=2, epochs=3), {4: 1.0, 8: 0.0}, 2.5)


def test_a_run_of_one_step_has_the_full_rate() -> None:
    check(Recipe(schedule="cosine", learning_rate=2, epochs=1), {0: 2.0}, 0.25)
