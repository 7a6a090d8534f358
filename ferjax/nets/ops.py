"""The arithmetic of the layers, with Keras's constants where they differ from JAX's.

Dimensions: B batch, H height, W width, C channels; images are (B, H, W, C) or, where
`data_format` is "channels_first", (B, C, H, W).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata
from jax.scipy import ndimage

Array = jax.Array

_BLOCK = 64
# Slices that pooling takes the maximum of: with more, compiling takes many seconds.
_MOST_SLICES = 16


def dense(x: Array, kernel: Array) -> Array:
    """Multiply the last axis of `x`, (..., in), by a kernel (in, out).

    A single row is summed in blocks: XLA's CPU code adds its products one after the other, and the
    sum of sums of 64 is eight times as near to the exact value, in the same time. For more rows
    blocks are ten times slower than the library's product, which sums in blocks itself.
    """
    blocks, remainder = divmod(kernel.shape[0], _BLOCK)
    if math.prod(x.shape[:-1]) != 1 or blocks < 2:
        return x @ kernel
    row = x.reshape(1, -1)
    if remainder:
        return (jnp.repeat(row, 2, axis=0) @ kernel)[:1].reshape(*x.shape[:-1], -1)
    split = row.reshape(1, blocks, _BLOCK)
    parts = jnp.einsum("xbi,bio->xbo", split, kernel.reshape(blocks, _BLOCK, -1))
    return parts.sum(axis=1).reshape(*x.shape[:-1], -1)


def trained_dense(x: Array, kernel: Array) -> Array:
    """Multiply the last axis of `x`, (..., in), by a kernel (in, out), in training.

    On CPUs the gradient of `x` is (kernel @ dy.T).T: XLA's code takes several times as long to
    multiply by a transposed kernel. In reverse mode alone.
    """
    if x.ndim == 2 and jax.default_backend() == "cpu":
        return _product(x, kernel)
    return x @ kernel


@jax.custom_vjp
def _product(x: Array, kernel: Array) -> Array:
    return x @ kernel


def _product_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return x @ kernel, (x, kernel)


def _product_backward(saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    (columns,) = kept_apart(transposed(dy))
    (dx,) = kept_apart(transposed(kernel @ columns))
    return dx, x.T @ dy


_product.defvjp(_product_forward, _product_backward)


@jax.jit
def transposed(x: Array) -> list[Array]:
    """Return a matrix transposed, as a list of one, for `kept_apart`."""
    return [x.T]


def spatial_mean(x: Array, data_format: str, *, keepdims: bool) -> Array:
    """Take the mean of each image's channels, (B, C).

    Of the means of its rows: XLA's CPU code adds up the pixels of a single image one after the
    other, which for 48x48 of them is a hundred times as far from the exact value.
    """
    axes = spatial_axes(data_format)
    mean = x.mean(axis=axes[1], keepdims=True).mean(axis=axes[0], keepdims=True)
    return mean if keepdims else mean.squeeze(axes)


def along_axis(vector: Array, ndim: int, axis: int) -> Array:
    """Reshape a vector so that it broadcasts along `axis` of an array of `ndim` axes."""
    shape = [1] * ndim
    shape[axis] = -1
    return vector.reshape(shape)


def largest_divisor(batch: int, most: int) -> int:
    """Return the largest divisor of a batch that is at most `most`, and at least 1.

    >>> largest_divisor(64, 20), largest_divisor(64, 0)
    (16, 1)
    """
    return next(n for n in range(max(1, min(most, batch)), 0, -1) if batch % n == 0)


def part_size(batch: int, most: int) -> int:
    """Return how many images at once a batch is gone through: a divisor, up to `most`.

    All of them where the largest is less than half of `most`: many small parts take longer.

    >>> part_size(64, 20), part_size(64, 0), part_size(61, 20)
    (16, 1, 61)
    """
    images = largest_divisor(batch, most)
    return images if 2 * images >= most else batch


def in_parts(x: Array, images: int) -> Array:
    """Return a batch, (B, ...), as (B / images, images, ...)."""
    return x.reshape(x.shape[0] // images, images, *x.shape[1:])


def channel_axis(data_format: str, ndim: int = 4) -> int:
    return 1 if data_format == "channels_first" else ndim - 1


def spatial_axes(data_format: str) -> tuple[int, int]:
    return (2, 3) if data_format == "channels_first" else (1, 2)


def _window(pair: tuple[int, int], data_format: str) -> tuple[int, ...]:
    return (1, 1, *pair) if data_format == "channels_first" else (1, *pair, 1)


def max_pool2d(
    x: Array, pool_size: tuple[int, int], strides: tuple[int, int], padding: str, data_format: str
) -> Array:
    """Take the maximum of each window."""
    if pool_size == strides and padding == "valid" and math.prod(pool_size) <= _MOST_SLICES:
        # Windows that do not overlap: the maximum of strided slices, about three times as fast on
        # XLA's CPU backend as reduce_window, with the same values; backward as well.
        height, width = spatial_axes(data_format)
        (ph, pw), shape = pool_size, x.shape
        h, w = shape[height] // ph * ph, shape[width] // pw * pw

        def corner(i: int, j: int) -> Array:
            rows = lax.slice_in_dim(x, i, h, ph, axis=height)
            return lax.slice_in_dim(rows, j, w, pw, axis=width)

        columns = [reduce(jnp.maximum, [corner(i, j) for i in range(ph)]) for j in range(pw)]
        return reduce(jnp.maximum, columns)
    return lax.reduce_window(
        x,
        np.array(-np.inf, x.dtype),  # as a constant: only then JAX knows the gradient under jit
        lax.max,
        _window(pool_size, data_format),
        _window(strides, data_format),
        padding.upper(),
    )


def trained_max_pool2d(
    x: Array, pool_size: tuple[int, int], strides: tuple[int, int], padding: str, data_format: str
) -> Array:
    """Do what `max_pool2d` does, in training.

    On CPUs windows of 2x2 have a gradient of their own, of the same values; in reverse mode alone.
    """
    usual = ((2, 2), (2, 2), "valid", "channels_last")
    if (pool_size, strides, padding, data_format) == usual and jax.default_backend() == "cpu":
        return _max_of_squares(x)
    return max_pool2d(x, pool_size, strides, padding, data_format)


@jax.custom_vjp
def _max_of_squares(x: Array) -> Array:
    """Take the maximum of windows of 2x2, with the same gradient as `max_pool2d`.

    Of equal values in a column each gets half of what the column gets, and of two equal columns
    each half of what the window does. By autodiff XLA's CPU code would write four maps, each as
    large as `x`, and add them.
    """
    return max_pool2d(x, (2, 2), (2, 2), "valid", "channels_last")


def _max_of_squares_forward(x: Array) -> tuple[Array, Array]:
    return _max_of_squares(x), x


def _max_of_squares_backward(x: Array, dy: Array) -> tuple[Array]:
    batch, height, width, channels = x.shape
    rows, columns = height // 2, width // 2
    squares = x[:, : 2 * rows, : 2 * columns].reshape(batch, rows, 2, columns, 2, channels)
    top, bottom = (lax.slice_in_dim(squares, i, i + 1, axis=2) for i in range(2))
    left, right = (lax.slice_in_dim(jnp.maximum(top, bottom), j, j + 1, axis=4) for j in range(2))
    shares = jnp.where(top == bottom, 0.5, 1.0) * jnp.where(left == right, 0.5, 1.0)
    is_largest = squares == jnp.maximum(left, right)
    # Multiplied, so that what is not a number stays one.
    dx = jnp.where(is_largest, shares, 0.0).astype(dy.dtype) * jnp.expand_dims(dy, (2, 4))
    dx = dx.reshape(batch, 2 * rows, 2 * columns, channels)
    return (jnp.pad(dx, ((0, 0), (0, height % 2), (0, width % 2), (0, 0))),)


_max_of_squares.defvjp(_max_of_squares_forward, _max_of_squares_backward)


def max_pool1d(
    x: Array, pool_size: tuple[int], strides: tuple[int], padding: str, data_format: str
) -> Array:
    """Take the maximum of each window of sequences, (B, T, C) or (B, C, T)."""
    column = spatial_axes(data_format)[1]  # sequences are images of one column
    images = jnp.expand_dims(x, column)
    pooled = max_pool2d(images, (*pool_size, 1), (*strides, 1), padding, data_format)
    return pooled.squeeze(column)


def average_pool2d(
    x: Array, pool_size: tuple[int, int], strides: tuple[int, int], padding: str, data_format: str
) -> Array:
    """Take the mean of each window; what padding adds does not count."""
    sums = lax.reduce_window(
        x,
        np.array(0, x.dtype),  # as above
        lax.add,
        _window(pool_size, data_format),
        _window(strides, data_format),
        padding.upper(),
    )
    if padding == "valid":
        return sums / math.prod(pool_size)
    # Not the sums of windows of ones, which XLA computes while it compiles, in minutes for large
    # windows.
    axes = spatial_axes(data_format)
    counts = [
        along_axis(jnp.asarray(_inside(x.shape[axis], window, stride), x.dtype), x.ndim, axis)
        for axis, window, stride in zip(axes, pool_size, strides)
    ]
    return sums / (counts[0] * counts[1])


def _inside(size: int, window: int, stride: int) -> np.ndarray:
    """Return how many pixels of an axis each window covers that padding "same" makes fit.

    >>> _inside(5, 3, 2).tolist(), _inside(4, 3, 2).tolist()
    ([2, 3, 2], [3, 2])
    """
    windows = -(-size // stride)
    added = max((windows - 1) * stride + window - size, 0)
    starts = np.arange(windows) * stride - added // 2
    return np.minimum(starts + window, size) - np.maximum(starts, 0)


def resample(x: Array, axis: int, weights: np.ndarray) -> Array:
    """Replace the rows along `axis` by weighted sums of them; see `ferjax.nets.resampling`.

    Args:
        x: of any shape, with n rows along `axis`.
        weights: float32 (new, n).
    """
    if weights.shape[0] == weights.shape[1] and np.array_equal(weights, np.eye(len(weights))):
        return x
    chosen = weights.argmax(axis=1)
    if np.array_equal(weights, np.eye(weights.shape[1])[chosen]):  # nearest: no sums
        return jnp.take(x, chosen, axis=axis)
    sums = jnp.tensordot(
        x, jnp.asarray(weights, x.dtype), axes=((axis,), (1,)), precision="highest"
    )
    return jnp.moveaxis(sums, -1, axis)


def batch_norm(
    x: Array,
    mean: Array,
    variance: Array,
    gamma: Array | None,
    beta: Array | None,
    *,
    axis: int,
    epsilon: float,
) -> Array:
    """Normalize `x` along `axis` as one multiply-add, which is how Keras computes it."""
    # XLA would otherwise take the root anew for every value of `x`.
    factor, shift = kept_apart(factor_and_shift(mean, variance, gamma, beta, epsilon))
    return scaled(x, factor, shift, axis=axis)


def scaled(x: Array, factor: Array, shift: Array, *, axis: int) -> Array:
    """Return x * factor + shift, which are vectors along `axis`."""
    return x * along_axis(factor, x.ndim, axis) + along_axis(shift, x.ndim, axis)


def prepared_norm(
    mean: Any, variance: Any, gamma: Any | None, beta: Any | None, *, epsilon: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return what `batch_norm` multiplies by and adds, float32 (C,), by NumPy in float64.

    Beforehand, it is a program less to compile for each layer.
    """
    mean, variance = (np.asarray(x, np.float64) for x in (mean, variance))
    factor = (1.0 if gamma is None else np.asarray(gamma, np.float64)) / np.sqrt(variance + epsilon)
    shift = (0.0 if beta is None else np.asarray(beta, np.float64)) - mean * factor
    return factor.astype(np.float32), shift.astype(np.float32)


@partial(jax.jit, static_argnums=4)
def factor_and_shift(
    mean: Array, variance: Array, gamma: Array | None, beta: Array | None, epsilon: float
) -> list[Array]:
    """Return what `batch_norm` multiplies by and adds, (C,), for `kept_apart`."""
    factor = lax.rsqrt(variance + epsilon)
    factor = factor if gamma is None else factor * gamma
    return [factor, -mean * factor if beta is None else beta - mean * factor]


def kept_apart(results: Sequence[Array]) -> list[Array]:
    """Have XLA's CPU code compute the results of a jitted function for themselves.

    It would otherwise fuse the function's steps, and those before it, into whatever uses the
    results, and do them as often; optimization barriers are dropped before it does. A call that is
    not inlined takes its arguments from memory and leaves its results there.

    Args:
        results: all that one call of a function under `jax.jit` returned.
    """
    if jax.default_backend() != "cpu":
        return list(results)
    mark: Any = set_xla_metadata
    return [mark(results[0], inlineable="false"), *results[1:]]


def relu(
    x: Array, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0
) -> Array:
    """Rectify as Keras's ReLU layer: max_value from `max_value` up, a slope below `threshold`."""
    positive = jnp.where(x > threshold, x, 0) if threshold else jax.nn.relu(x)
    if max_value is not None:
        positive = jnp.clip(positive, 0, max_value)
    if negative_slope:
        positive -= negative_slope * jax.nn.relu(threshold - x)
    return positive


def _sparse_plus(x: Array) -> Array:
    return jnp.where(x <= -1, 0, jnp.where(x >= 1, x, 0.25 * (x + 1) ** 2))


def _hard_sigmoid(x: Array) -> Array:
    return jnp.clip(x / 6 + 0.5, 0, 1)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda x: x,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "celu": jax.nn.celu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "log_sigmoid": jax.nn.log_sigmoid,
    "softplus": jax.nn.softplus,
    "softsign": jax.nn.soft_sign,
    "swish": jax.nn.silu,
    "silu": jax.nn.silu,
    "mish": lambda x: x * jnp.tanh(jax.nn.softplus(x)),
    # Keras's string is the erf form; JAX's default is the tanh approximation.
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    # 0.2 as the string, 0.3 as the layer LeakyReLU; JAX's default is 0.01.
    "leaky_relu": lambda x: jax.nn.leaky_relu(x, 0.2),
    "hard_sigmoid": _hard_sigmoid,
    # Keras 2 drew the line with slope 0.2 instead of 1/6 under the same name.
    "keras2_hard_sigmoid": lambda x: jnp.clip(0.2 * x + 0.5, 0, 1),
    "hard_silu": lambda x: x * _hard_sigmoid(x),
    "hard_swish": lambda x: x * _hard_sigmoid(x),
    "hard_tanh": jax.nn.hard_tanh,
    "hard_shrink": lambda x: jnp.where(jnp.abs(x) > 0.5, x, 0),
    "soft_shrink": lambda x: jnp.sign(x) * jax.nn.relu(jnp.abs(x) - 0.5),
    "tanh_shrink": lambda x: x - jnp.tanh(x),
    "squareplus": lambda x: (x + jnp.sqrt(x**2 + 4)) / 2,
    "sparse_plus": _sparse_plus,
    "exponential": jnp.exp,
    "softmax": jax.nn.softmax,
    "log_softmax": jax.nn.log_softmax,
}


def dropout(x: Array, rate: float, key: Array, shape: Sequence[int] | None = None) -> Array:
    """Zero a fraction `rate` of `x` and scale the rest by 1 / (1 - rate)."""
    if rate == 0:
        return x
    # A Python float would draw other numbers under jax_enable_x64.
    mask = jax.random.bernoulli(key, np.float32(1 - rate), tuple(shape or x.shape))
    return jnp.where(mask, x / (1 - rate), 0)


def affine_warp(
    images: Array,
    matrices: Array,
    *,
    interpolation: str,
    fill_mode: str,
    fill_value: float,
    data_format: str,
) -> Array:
    """Warp each image by its own affine map.

    Args:
        images: float, (B, H, W, C) or (B, C, H, W).
        matrices: float32, (B, 2, 3): rows x and y of the map from an output pixel (x, y, 1) to the
            input pixel that it shows.
    """
    axes = spatial_axes(data_format)
    height, width = (images.shape[a] for a in axes)
    y, x = jnp.meshgrid(
        jnp.arange(height, dtype=matrices.dtype),
        jnp.arange(width, dtype=matrices.dtype),
        indexing="ij",
    )
    grid = jnp.stack([x, y, jnp.ones_like(x)])  # (3, H, W)
    source = jnp.einsum("bij,jhw->bihw", matrices, grid)  # (B, 2, H, W)

    def warp_channel(channel: Array, xy: Array) -> Array:
        return ndimage.map_coordinates(
            channel,
            [xy[1], xy[0]],
            order={"nearest": 0, "bilinear": 1}[interpolation],
            mode=fill_mode,
            cval=fill_value,
        )

    channels = channel_axis(data_format) - 1  # without the batch axis
    warp = jax.vmap(warp_channel, in_axes=(channels, None), out_axes=channels)
    return jax.vmap(warp)(images, source)


def centred(linear: Array, height: int, width: int) -> Array:
    """Return the (B, 2, 3) maps that apply `linear`, (B, 2, 2), about the centre of the image."""
    centre = jnp.array([(width - 1) / 2, (height - 1) / 2], linear.dtype)
    return jnp.concatenate([linear, (centre[None] - linear @ centre)[..., None]], axis=-1)
