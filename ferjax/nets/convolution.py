"""Convolution of images and sequences: XLA's own, and other ways where its CPU code is slow.

Dimensions: B batch, H height, W width, T steps, C channels, K filters; see `ferjax.nets.ops`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial, reduce
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from ferjax.nets import winograd
from ferjax.nets.ops import (
    along_axis,
    in_parts,
    kept_apart,
    largest_divisor,
    part_size,
    spatial_axes,
    transposed,
)
from ferjax.nets.winograd import Tiles

Array = jax.Array
# A kernel as "tiles", 16 arrays (C, K) of Winograd's algorithm, or as a "matrix", (K, 9 * C).
Prepared: TypeAlias = Mapping[str, Any]

# Winograd's transforms cost too much where few pixels share a kernel, or few channels a pixel.
_FEWEST_PIXELS = 400
_FEWEST_CHANNELS = 64
_SMALLEST_SIDE = 8
# The same where the kernel is transformed beforehand. On maps of 4x4 rounding errors of `fer_cnn5`
# would be a third larger.
_FEWEST_PIXELS_PREPARED = 100
_SMALLEST_SIDE_PREPARED = 5
# Values of images and of their convolutions, together, that are transformed at once: four times as
# many have to fit into the processor's cache.
_BLOCK = 1 << 19
# Wide kernels of few pixels: XLA's convolution takes longer than one product in which the weights
# of each filter lie side by side.
_MOST_PIXELS_OF_MATRIX = 64
_FEWEST_WEIGHTS_OF_MATRIX = 1 << 20
# Shifted copies of an image that are put side by side: with more, compiling takes many seconds.
_MOST_SHIFTS = 25


def conv2d(
    x: Array,
    kernel: Array,
    *,
    strides: tuple[int, int],
    padding: str,
    data_format: str,
    dilation_rate: tuple[int, int],
    groups: int = 1,
    prepared: Prepared | None = None,
    direct: bool = False,
) -> Array:
    """Cross-correlate `x` with `kernel`, (kh, kw, C/groups, K).

    Args:
        prepared: what `prepared_kernel` makes of it, if anything.
        direct: take XLA's convolution where there is own code too: its CPU code has nothing to
            compile for it. Images smaller than the kernel are still one matrix product.
    """
    height, width = (x.shape[axis] for axis in spatial_axes(data_format))
    if _is_plain(strides, dilation_rate, groups):
        smaller = height < kernel.shape[0] or width < kernel.shape[1]
        few = kernel.shape[0] * kernel.shape[1] <= _MOST_SHIFTS
        if smaller and few and padding == "same":
            return _of_small_images(x, kernel, data_format)
        if not direct and has_own_code(x, kernel, data_format):
            pad = 1 if padding == "same" else 0
            if prepared and "matrix" in prepared:
                return _by_matrix(x, prepared["matrix"], pad)
            images = _images_in_tiles(x, kernel, pad, prepared)
            if prepared and images:
                return winograd.convolve(x, prepared["tiles"], pad, images).in_order()
            return _conv3x3(x, kernel, pad)
    layout = "NHWC" if data_format == "channels_last" else "NCHW"
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=strides,
        padding=padding.upper(),
        rhs_dilation=dilation_rate,
        dimension_numbers=(layout, "HWIO", layout),
        feature_group_count=groups,
    )


def rectified_conv2d(
    x: Array,
    kernel: Array,
    bias: Array,
    *,
    strides: tuple[int, int],
    padding: str,
    data_format: str,
    dilation_rate: tuple[int, int],
    groups: int = 1,
) -> Array | None:
    """Return relu(conv2d(...) + bias) where that takes fewer passes over memory; otherwise None.

    For training: the result alone is kept for the gradients.
    """
    if not (_is_plain(strides, dilation_rate, groups) and has_own_code(x, kernel, data_format)):
        return None
    if min(x.shape[1:3]) < 3 or bias.dtype != x.dtype:
        return None
    return _rectified3x3(x, kernel, bias, 1 if padding == "same" else 0)


def conv2d_in_tiles(
    x: Array,
    kernel: Array,
    *,
    strides: tuple[int, int],
    padding: str,
    data_format: str,
    dilation_rate: tuple[int, int],
    groups: int = 1,
    prepared: Prepared | None = None,
) -> Tiles | None:
    """Return the result of `conv2d` as tiles that are not yet computed.

    None where it is computed in another way, and where the last tiles are not whole.
    """
    if not (_is_plain(strides, dilation_rate, groups) and has_own_code(x, kernel, data_format)):
        return None
    pad = 1 if padding == "same" else 0
    is_even = all((size + 2 * pad) % 2 == 0 for size in x.shape[1:3])
    images = _images_in_tiles(x, kernel, pad, prepared)
    if not (prepared and images and is_even):
        return None
    return winograd.convolve(x, prepared["tiles"], pad, images)


def conv1d(
    x: Array,
    kernel: Array,
    *,
    strides: tuple[int],
    padding: str,
    data_format: str,
    dilation_rate: tuple[int],
    groups: int = 1,
) -> Array:
    """Cross-correlate sequences, (B, T, C) or (B, C, T), with `kernel`, (k, C/groups, K)."""
    reach = (kernel.shape[0] - 1) * dilation_rate[0]
    layout = "NWC" if data_format == "channels_last" else "NCW"
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=strides,
        padding=[(reach, 0)] if padding == "causal" else padding.upper(),
        rhs_dilation=dilation_rate,
        dimension_numbers=(layout, "WIO", layout),
        feature_group_count=groups,
    )


def depthwise_conv2d(
    x: Array,
    kernel: Array,
    *,
    strides: tuple[int, int],
    padding: str,
    data_format: str,
    dilation_rate: tuple[int, int],
) -> Array:
    """Cross-correlate each channel with its own filters, (kh, kw, C, multiplier)."""
    kh, kw, channels, multiplier = kernel.shape
    return conv2d(
        x,
        kernel.reshape(kh, kw, 1, channels * multiplier),
        strides=strides,
        padding=padding,
        data_format=data_format,
        dilation_rate=dilation_rate,
        groups=channels,
    )


def _of_small_images(x: Array, kernel: Array, data_format: str) -> Array:
    """Cross-correlate images that are smaller than the kernel, padded to keep their size.

    As one matrix product: XLA's CPU code computes such a convolution in plain loops, which for 2x2
    images is 40 times slower, forward and backward.
    """
    if data_format == "channels_first":
        x = jnp.moveaxis(x, 1, -1)
    kh, kw, channels, filters = kernel.shape
    top, left = (kh - 1) // 2, (kw - 1) // 2
    padded = jnp.pad(x, ((0, 0), (top, kh - 1 - top), (left, kw - 1 - left), (0, 0)))
    columns = jnp.concatenate(_shifted(padded, (kh, kw)), axis=-1)  # (B, H, W, kh * kw * C)
    y = columns @ kernel.reshape(kh * kw * channels, filters)
    return jnp.moveaxis(y, -1, 1) if data_format == "channels_first" else y


def _is_plain(strides: tuple[int, int], dilation_rate: tuple[int, int], groups: int) -> bool:
    return (strides, dilation_rate, groups) == ((1, 1), (1, 1), 1)


def has_own_code(x: Any, kernel: Any, data_format: str) -> bool:
    """Return whether a convolution is computed here and not by XLA: by its device and sizes."""
    return (
        jax.default_backend() == "cpu"
        and kernel.shape[:2] == (3, 3)
        and data_format == "channels_last"
        and x.dtype == kernel.dtype == jnp.float32
        and isinstance(x.shape[0], int)  # no symbol, as `jax.export` has
        and x.shape[0] > 0
    )


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv3x3(x: Array, kernel: Array, pad: int) -> Array:
    """Cross-correlate float32 images, (B, H, W, C), that get `pad` zeros at each side."""
    if kernel.shape[2] == 1:
        # Nine multiply-adds, up to three times as fast as a convolution.
        taps = zip(_shifted(_padded(x, pad), (3, 3)), kernel.reshape(9, 1, 1, 1, -1))
        return reduce(jnp.add, [image * weights for image, weights in taps])
    images = images_at_once(x.shape, kernel.shape, pad)
    if images:
        # Otherwise a kernel that is turned round for a gradient would be so for each of 16 values.
        weights = kept_apart(winograd.transformed(kernel))
        return winograd.convolve(x, weights, pad, images).in_order()
    return _direct(x, kernel, pad)


def _conv3x3_forward(x: Any, kernel: Any, pad: int) -> tuple[Array, Any]:
    saved = _saved(x, kernel)
    if kernel.value.shape[2] == 1:
        # Not the multiply-adds: XLA would do them anew for each statistic and gradient.
        return _columns(x.value, pad) @ kernel.value.reshape(9, -1), saved
    return _conv3x3(x.value, kernel.value, pad), saved


def _conv3x3_backward(pad: int, saved: Any, dy: Any) -> tuple[Array | None, Array | None]:
    x, kernel = saved
    return (None, None) if isinstance(dy, SymbolicZero) else _gradients(x, kernel, dy, pad)


_conv3x3.defvjp(_conv3x3_forward, _conv3x3_backward, symbolic_zeros=True)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _rectified3x3(x: Array, kernel: Array, bias: Array, pad: int) -> Array:
    """Return relu(_conv3x3(x, kernel, pad) + bias), each part while it is in the cache."""

    def finish(y: Array) -> Array:
        return jax.nn.relu(y + along_axis(bias, 4, 3))

    if kernel.shape[2] == 1:
        _, height, width, _ = x.shape
        # The product and what becomes of it; nine columns are few beside the filters.
        most = _BLOCK // (2 * height * width * kernel.shape[3])
        parts = in_parts(x, part_size(x.shape[0], most))
        y = lax.map(lambda part: finish(_columns(part, pad) @ kernel.reshape(9, -1)), parts)
        return y.reshape(-1, *y.shape[2:])
    images = images_at_once(x.shape, kernel.shape, pad)
    if images:
        weights = kept_apart(winograd.transformed(kernel))
        return winograd.convolve(x, weights, pad, images).map(finish).in_order()
    return finish(_direct(x, kernel, pad))


def _rectified3x3_forward(x: Any, kernel: Any, bias: Any, pad: int) -> tuple[Array, Any]:
    y = _rectified3x3(x.value, kernel.value, bias.value, pad)
    return y, (*_saved(x, kernel), y)


def _rectified3x3_backward(pad: int, saved: Any, dy: Any) -> tuple[Array | None, ...]:
    if isinstance(dy, SymbolicZero):
        return None, None, None
    x, kernel, y = saved
    dy = jnp.where(y > 0, dy, 0)
    return *_gradients(x, kernel, dy, pad), dy.sum((0, 1, 2))


_rectified3x3.defvjp(_rectified3x3_forward, _rectified3x3_backward, symbolic_zeros=True)


def _saved(x: Any, kernel: Any) -> tuple[Array | None, Array | None]:
    """Return what the gradients need: the kernel for that of `x`, `x` for that of the kernel."""
    return x.value if kernel.perturbed else None, kernel.value if x.perturbed else None


def _gradients(
    x: Array | None, kernel: Array | None, dy: Array, pad: int
) -> tuple[Array | None, Array | None]:
    """Return the gradients with respect to images and kernel, of what `_saved` returned."""
    turned = None if kernel is None else jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    if x is not None:
        images = images_at_once(x.shape, (3, 3, x.shape[3], dy.shape[3]), pad)
        if images:
            return winograd.gradients(x, dy, turned, pad, images)
    dx = None if turned is None else _conv3x3(dy, turned, 2 - pad)
    return dx, None if x is None else _kernel_gradient(x, dy, pad)


def _kernel_gradient(x: Array, dy: Array, pad: int) -> Array:
    if x.shape[3] == 1:
        # As one matrix product, five times as fast as XLA's convolution.
        columns = _columns(x, pad).reshape(-1, 9)
        return (columns.T @ dy.reshape(-1, dy.shape[3])).reshape(3, 3, 1, -1)
    if dy.shape[1] * dy.shape[2] >= _FEWEST_PIXELS:
        return _gradient_by_rows(x, dy, pad)
    kernel = jnp.zeros((3, 3, x.shape[3], dy.shape[3]), x.dtype)  # the gradient is that of any
    (dkernel,) = jax.vjp(lambda k: _direct(x, k, pad), kernel)[1](dy)
    return dkernel


def _direct(x: Array, kernel: Array, pad: int) -> Array:
    return lax.conv_general_dilated(
        x, kernel, (1, 1), [(pad, pad)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def images_at_once(
    x: Sequence[int], kernel: Sequence[int], pad: int, *, prepared: bool = False
) -> int:
    """Return for how many images at once Winograd's algorithm is faster; 0 if for none."""
    fewest = _FEWEST_PIXELS_PREPARED if prepared else _FEWEST_PIXELS
    smallest = _SMALLEST_SIDE_PREPARED if prepared else _SMALLEST_SIDE
    batch, height, width, channels = x
    height, width, filters = height + 2 * pad - 2, width + 2 * pad - 2, kernel[3]
    if min(channels, filters) < _FEWEST_CHANNELS or min(height, width) < smallest:
        return 0
    most = _BLOCK // (height * width * (channels + filters))
    images = largest_divisor(batch, most)
    return images if most and images * height * width >= fewest else 0


def _images_in_tiles(x: Array, kernel: Array, pad: int, prepared: Prepared | None) -> int:
    """Return for how many images at once the prepared tiles are taken; 0 if for none."""
    if not prepared or "tiles" not in prepared:
        return 0
    return images_at_once(x.shape, kernel.shape, pad, prepared=True)


def _by_matrix(x: Array, kernel: Array, pad: int) -> Array:
    """Cross-correlate by one matrix product with a kernel (K, 9 * C)."""
    # Side by side in two steps: nine slices in one take a quarter of a second to compile.
    (wide,) = kept_apart(_side_by_side(_padded(x, pad), 2))
    (columns,) = kept_apart(_side_by_side(wide, 1))  # (B, H, W, 9 * C)
    batch, height, width, values = columns.shape
    y = lax.dot_general(kernel, columns.reshape(-1, values), (((1,), (1,)), ((), ())))  # (K, B*H*W)
    # In a call of its own: otherwise XLA swaps the two factors. With the kernel second the product
    # takes five times as long.
    (y,) = kept_apart(transposed(y))
    return y.reshape(batch, height, width, -1)


@partial(jax.jit, static_argnums=1)
def _side_by_side(x: Array, axis: int) -> list[Array]:
    """Put three neighbours along an axis into one, as three times the channels."""
    count = x.shape[axis] - 2
    shifted = [lax.slice_in_dim(x, i, i + count, axis=axis) for i in range(3)]
    return [lax.concatenate(shifted, 3)]


def _gradient_by_rows(x: Array, dy: Array, pad: int) -> Array:
    """Return the gradient of `_direct` with respect to the kernel.

    XLA's own convolution for it takes images transposed, and for that does the steps before it
    anew, in a slow order: pooling and dropout took longer than the products. The inputs of a loop,
    here over parts of the batch, are computed once.
    """
    batch, height, width, filters = dy.shape
    channels, wide = x.shape[3], x.shape[2] + 2 * pad

    def add(total: Array, parts: tuple[Array, Array]) -> tuple[Array, None]:
        rows = _padded(parts[0], pad)
        # Three copies of `dy`, shifted against whole rows of the images, which need no copies.
        ends = [(j, wide - width - j) for j in range(3)]
        shifted = [jnp.pad(parts[1], [(0, 0), (0, 0), end, (0, 0)]) for end in ends]
        columns = jnp.concatenate(shifted, axis=3).reshape(-1, 3 * filters)
        taps = [rows[:, i : i + height].reshape(-1, channels).T @ columns for i in range(3)]
        return total + jnp.stack(taps), None

    images = largest_divisor(batch, 2 * _BLOCK // (height * wide * (channels + 3 * filters)))
    nothing = jnp.zeros((3, channels, 3 * filters), x.dtype)
    total = lax.scan(add, nothing, (in_parts(x, images), in_parts(dy, images)))[0]
    return total.reshape(3, channels, 3, filters).swapaxes(1, 2)


def prepared_kernel(
    kernel: Any,
    x: Sequence[int],
    *,
    strides: tuple[int, int],
    padding: str,
    data_format: str,
    dilation_rate: tuple[int, int],
    groups: int = 1,
) -> Prepared | None:
    """Return a kernel as it is multiplied by, made once and not in every call.

    With kernels that are transformed beforehand, Winograd's algorithm pays for fewer pixels.

    Args:
        x: the shape of the largest batch of images, (B, H, W, C). Of single images, whose kernels
            may be prepared in another way, it is the shape of one.

    Returns:
        NumPy's arrays; None where the kernel is taken as it is.
    """
    plain = _is_plain(strides, dilation_rate, groups)
    images, kernel = np.broadcast_to(np.float32(0), x), np.asarray(kernel, np.float32)
    pad = 1 if padding == "same" else 0
    if not (plain and has_own_code(images, kernel, data_format)):
        return None
    if images_at_once(x, kernel.shape, pad, prepared=True):
        # By NumPy, so that nothing has to be compiled.
        return {"tiles": [np.ascontiguousarray(w) for w in winograd.transformed_kernel(kernel)]}
    pixels = (x[1] + 2 * pad - 2) * (x[2] + 2 * pad - 2)
    few = x[0] == 1 and min(x[1:3]) >= 3 and pixels <= _MOST_PIXELS_OF_MATRIX
    if few and kernel.size >= _FEWEST_WEIGHTS_OF_MATRIX:
        return {"matrix": np.ascontiguousarray(kernel.reshape(-1, kernel.shape[3]).T)}
    return None


def _padded(x: Array, pad: int) -> Array:
    return jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))


def _columns(x: Array, pad: int) -> Array:
    """Return what each window sees, (B, H, W, 9 * C)."""
    return jnp.concatenate(_shifted(_padded(x, pad), (3, 3)), axis=-1)


def _shifted(x: Array, window: tuple[int, int]) -> list[Array]:
    """Return views of (B, H, W, C) that a window's positions see, row by row."""
    height, width = x.shape[1] - window[0] + 1, x.shape[2] - window[1] + 1
    return [x[:, i : i + height, j : j + width] for i in range(window[0]) for j in range(window[1])]
