"""Batch normalization in training against autodiff of its definition, in float64."""

from __future__ import annotations

from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from ferjax.nets import batch_norm, ops

# Shapes, and the axis of channels.
CASES = [
    ((6, 5), 1),
    ((5, 4, 3, 7), 3),
    ((5, 7, 4, 3), 1),
    ((6, 24, 40, 64), -1),  # on CPUs in parts, of 2 images
    ((7, 46, 46, 64), 3),  # and of one
]


def plain(x: Any, gamma: Any, beta: Any, axis: int, epsilon: float) -> tuple[Any, Any, Any]:
    others = tuple(a for a in range(x.ndim) if a != axis % x.ndim)
    mean, variance = x.mean(axis=others), x.var(axis=others)
    y = ops.batch_norm(x, mean, variance, gamma, beta, axis=axis, epsilon=epsilon)
    return y, mean, variance


def by_hand(x: Any, gamma: Any, beta: Any, axis: int, epsilon: float) -> tuple[Any, Any, Any]:
    return batch_norm.normalized(x, gamma, beta, axis=axis, epsilon=epsilon)


@pytest.mark.parametrize(("shape", "axis"), CASES)
@pytest.mark.parametrize("has", [(True, True), (False, True), (True, False), (False, False)])
def test_values_and_gradients(shape: tuple[int, ...], axis: int, has: tuple[bool, bool]) -> None:
    rng = np.random.default_rng(0)
    size = (shape[axis],)
    # A mean of ten deviations: the mean of squares minus the square of it would lose digits.
    x = rng.normal(size=shape) + 10
    gamma, beta = (rng.normal(size=size) if given else None for given in has)
    gradients = rng.normal(size=shape), rng.normal(size=size), rng.normal(size=size)

    def all_of(function: Any, dtype: str) -> list[np.ndarray]:
        inputs, outputs = (
            jax.tree.map(lambda a: jnp.asarray(a, dtype), tree)
            for tree in ((x, gamma, beta), gradients)
        )
        run = jax.jit(lambda i, o: jax.vjp(lambda *i: function(*i, axis, 1e-3), *i)[1](o))
        values = jax.jit(lambda i: function(*i, axis, 1e-3))(inputs)
        return [np.asarray(a) for a in jax.tree.leaves((values, run(inputs, outputs)))]

    with jax.enable_x64(True):
        expected = all_of(plain, "float64")
    actual = all_of(by_hand, "float32")
    assert len(actual) == len(expected) == 4 + sum(has)
    for a, b in zip(actual, expected):
        assert a.dtype == np.float32 and a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * np.abs(b).max())


def test_no_worse_than_autodiff() -> None:
    rng = np.random.default_rng(1)
    x = np.maximum(rng.normal(size=(8, 46, 46, 64)), 0).astype("float32")
    dy = rng.normal(size=x.shape).astype("float32")
    gamma, beta = rng.normal(size=(2, 64)).astype("float32")

    def dx_of(function: Any, *arrays: Any) -> np.ndarray:
        def gradient(x: Any, gamma: Any, beta: Any, dy: Any) -> Any:
            return jax.vjp(lambda x: function(x, gamma, beta, 3, 1e-3)[0], x)[1](dy)[0]

        return np.asarray(jax.jit(gradient)(*arrays))

    with jax.enable_x64(True):
        exact = dx_of(plain, *(a.astype("float64") for a in (x, gamma, beta, dy)))
    errors = [np.abs(dx_of(f, x, gamma, beta, dy) - exact).max() for f in (by_hand, plain)]
    assert errors[0] <= 1.5 * errors[1] and errors[0] <= 1e-6 * np.abs(exact).max()


def test_other_transformations() -> None:
    x = np.random.default_rng(2).normal(size=(3, 4, 9, 8, 16)).astype("float32")

    def loss(function: Any, x: Any, gamma: Any) -> Any:
        return (function(x, gamma, None, -1, 1e-3)[0] ** 3).mean()

    def each(function: Any) -> list[Any]:
        one, gamma = x[0], np.linspace(1, 2, 16).astype("float32")
        of = jax.tree_util.Partial(loss, function)
        inner = jax.grad(lambda g: (jax.grad(of)(one, g) ** 2).sum())
        return [
            jax.jit(jax.vmap(jax.grad(of), (0, None)))(x, gamma),
            jax.grad(jax.checkpoint(of), 1)(one, gamma),
            jax.grad(jax.jit(of), (0, 1))(one, gamma),
            jax.jit(inner)(gamma),
        ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_norm, "_BLOCK", 1)  # each image is a part
        actual = each(by_hand)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(each(plain)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


def test_batch_of_any_size() -> None:
    sizes = jax.export.symbolic_shape("b")
    shape = jax.ShapeDtypeStruct((*sizes, 5, 5, 4), "float32")
    exported = jax.export.export(jax.jit(lambda x: by_hand(x, None, None, 3, 1e-3)))(shape)
    x = np.random.default_rng(3).normal(size=(6, 5, 5, 4)).astype("float32")
    for a, b in zip(exported.call(x), by_hand(x, None, None, 3, 1e-3), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
