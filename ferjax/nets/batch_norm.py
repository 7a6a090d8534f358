"""Batch normalization in training: by the statistics of a batch, with the gradient through them.

On CPUs the gradient is written by hand: before each sum over a large map XLA's code would write a
copy of what is summed. Here sums are taken over parts of the batch that fit into the processor's
cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ferjax.nets import ops
from ferjax.nets.ops import along_axis, in_parts, kept_apart, part_size

Array = jax.Array

# Values of a map that are summed at once: three times as many have to fit into the cache.
_BLOCK = 1 << 17


def normalized(
    x: Array, gamma: Array | None, beta: Array | None, *, axis: int, epsilon: float
) -> tuple[Array, Array, Array]:
    """Normalize a batch by its own mean and its biased variance (Ioffe and Szegedy, 2015).

    Args:
        x: float, (B, ...), of any rank.
        gamma: factor along `axis`, if there is one, in the dtype of `x`.
        beta: what is added along `axis`, likewise.
        axis: the axis of channels, not that of the batch.
        epsilon: added to the variance.

    Returns:
        The batch normalized; mean and variance along `axis`.
    """
    axis %= x.ndim
    # `jax.export` has symbols for sizes, which cannot be divided into parts.
    if jax.default_backend() == "cpu" and all(isinstance(size, int) for size in x.shape):
        return _normalized(x, gamma, beta, axis, epsilon)
    others = _others(x, axis)
    mean, variance = x.mean(axis=others), x.var(axis=others)
    y = ops.batch_norm(x, mean, variance, gamma, beta, axis=axis, epsilon=epsilon)
    return y, mean, variance


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _normalized(
    x: Array, gamma: Array | None, beta: Array | None, axis: int, epsilon: float
) -> tuple[Array, Array, Array]:
    return _forward(x, gamma, beta, axis, epsilon)[0]


def _forward(
    x: Array, gamma: Array | None, beta: Array | None, axis: int, epsilon: float
) -> tuple[tuple[Array, Array, Array], Any]:
    means, variances = _of_parts(_moments, axis, x)
    mean = means.mean(0)
    # Parts are of equal size. No large squares are subtracted: Chan, Golub and LeVeque, "Algorithms
    # for computing the sample variance", 1983.
    variance = variances.mean(0) + jnp.square(means - mean[None]).mean(0)
    factor, shift = kept_apart(ops.factor_and_shift(mean, variance, gamma, beta, epsilon))
    y = ops.scaled(x, factor, shift, axis=axis)
    return (y, mean, variance), (x, mean, variance, factor, gamma, beta)


def _backward(axis: int, epsilon: float, saved: Any, gradients: tuple[Array, Array, Array]) -> Any:
    x, mean, variance, factor, gamma, beta = saved
    dy, dmean, dvariance = gradients
    sums_of = partial(_sums, along_axis(mean, x.ndim, axis))
    sums, products = (parts.sum(0) for parts in _of_parts(sums_of, axis, x, dy))
    inverse = lax.rsqrt(variance + epsilon)
    count = x.size // x.shape[axis]
    vectors = (sums, products, mean, inverse, factor, dmean, dvariance)
    slope, shift = kept_apart(_of_input(*vectors, count))
    dx = dy * along_axis(factor, x.ndim, axis) + ops.scaled(x, slope, shift, axis=axis)
    dgamma = None if gamma is None else products * inverse
    return dx, dgamma, None if beta is None else sums


_normalized.defvjp(_forward, _backward)


def _moments(others: tuple[int, ...], x: Array) -> tuple[Array, Array]:
    """Return the mean and the biased variance, each (C,)."""
    mean = x.mean(axis=others, keepdims=True)
    return mean.squeeze(others), jnp.square(x - mean).mean(axis=others)


def _sums(mean: Array, others: tuple[int, ...], x: Array, dy: Array) -> tuple[Array, Array]:
    """Return the sums of `dy` and of its products with the deviations from the mean, each (C,)."""
    return dy.sum(axis=others), (dy * (x - mean)).sum(axis=others)


def _of_parts(function: Callable[..., Any], axis: int, *maps: Array) -> tuple[Array, Array]:
    """Return what a function returns of each part of the batch, (parts, C)."""
    x, others = maps[0], _others(maps[0], axis)
    batch = x.shape[0]
    images = part_size(batch, _BLOCK // max(1, x.size // max(1, batch)))
    if images >= batch:
        first, second = function(others, *maps)
        return first[None], second[None]
    split = [in_parts(m, images) for m in maps]
    results: tuple[Array, Array] = lax.map(lambda parts: function(others, *parts), split)
    return results


def _others(x: Array, axis: int) -> tuple[int, ...]:
    return tuple(a for a in range(x.ndim) if a != axis)


# In a call of its own: XLA would otherwise do this anew for each value of a map.
@partial(jax.jit, static_argnums=7)
def _of_input(
    sums: Array,
    products: Array,
    mean: Array,
    inverse: Array,
    factor: Array,
    dmean: Array,
    dvariance: Array,
    count: int,
) -> list[Array]:
    """Return (slope, shift) with which dx = dy * factor + x * slope + shift.

    That is factor * (dy - mean(dy) - z * mean(dy * z)) with z = (x - mean) * inverse, and what the
    statistics add, dmean / count + 2 * (x - mean) * dvariance / count.
    """
    slope = (2 * dvariance - products * factor * inverse**2) / count
    return [slope, (dmean - sums * factor) / count - slope * mean]
