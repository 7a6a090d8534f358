"""Convolution of images and sequences: XLA's own, and other ways where its CPU code is slow.

Dimensions: B batch, H height, W width, T steps, C channels, K filters; see `ferjax.nets.ops`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ferjax.nets.ops import kept_apart, spatial_axes

Array = jax.Array
# A kernel as "tiles", 16 arrays (C, K) of Winograd's algorithm, or as "columns", arrays (9 * C, a
# part of K).
Prepared: TypeAlias = Mapping[str, Sequence[Any]]

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
_MOST_UNROLLED = 4
# Values of a single image's tiles that one core computes, and multiplies, in one go.
_MOST_VALUES = 20_000
# Kernels that are wide where few pixels are left: XLA's CPU code takes longer for one product than
# for four of a quarter of the filters.
_MOST_PIXELS_OF_COLUMNS = 64
_FEWEST_WEIGHTS_OF_COLUMNS = 1 << 20
_PARTS_OF_COLUMNS = 4
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
            if prepared and "columns" in prepared:
                return _by_columns(x, prepared["columns"], pad)
            images = _images_in_tiles(x, kernel, pad, prepared)
            if prepared and images:
                return _winograd(x, prepared["tiles"], pad, images)
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
    """Return what `conv2d` returns of a single image before it puts its pixels in order.

    None where it computes them in another way, and where the last tiles are no whole ones.
    """
    if not (_is_plain(strides, dilation_rate, groups) and has_own_code(x, kernel, data_format)):
        return None
    pad = 1 if padding == "same" else 0
    is_even = all((size + 2 * pad) % 2 == 0 for size in x.shape[1:3])
    is_one = x.shape[0] == 1 and _images_in_tiles(x, kernel, pad, prepared)
    if not (prepared and is_one and is_even):
        return None
    return _winograd_of_one(x, prepared["tiles"], pad)


@dataclass(frozen=True, eq=False)
class Tiles:
    """Pixels of a single image as tiles of 2x2, not yet in their order.

    Attributes:
        parts: of the rows of tiles, one below the other; of each part the pixels [i][j] of its
            tiles, (1, rows, columns, C).
    """

    parts: list[list[Sequence[Array]]]

    def map(self, function: Callable[[Array], Array]) -> Tiles:
        """Return what a function makes of the pixels, each by itself."""
        return Tiles([[[function(y) for y in row] for row in part] for part in self.parts])

    def maximum(self) -> Array:
        """Return that of each tile, (1, rows, columns, C)."""
        parts = [reduce(lax.max, [y for row in part for y in row]) for part in self.parts]
        return lax.concatenate(parts, 1) if len(parts) > 1 else parts[0]

    def in_order(self) -> Array:
        """Return the image, (1, 2 * rows, 2 * columns, C)."""
        return jnp.concatenate([_interleaved(part) for part in self.parts], axis=1)


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
        return _winograd(x, kept_apart(_transformed(kernel)), pad, images)
    return _direct(x, kernel, pad)


def _forward(x: Array, kernel: Array, pad: int) -> tuple[Array, tuple[Array, Array]]:
    if kernel.shape[2] == 1:
        # Not the multiply-adds: XLA would do them anew for each statistic and gradient.
        return _columns(x, pad) @ kernel.reshape(9, -1), (x, kernel)
    return _conv3x3(x, kernel, pad), (x, kernel)


def _backward(pad: int, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    dx = _conv3x3(dy, jnp.flip(kernel, (0, 1)).swapaxes(2, 3), 2 - pad)
    if kernel.shape[2] == 1:
        # As one matrix product, five times as fast as XLA's convolution.
        columns = _columns(x, pad).reshape(-1, 9)
        return dx, (columns.T @ dy.reshape(-1, dy.shape[-1])).reshape(kernel.shape)
    images = images_at_once(x.shape, kernel.shape, pad)
    if images and kernel.shape[2] * kernel.shape[3] >= 2 * _FEWEST_CHANNELS**2:
        return dx, _winograd_gradient(x, dy, pad, images)
    if dy.shape[1] * dy.shape[2] >= _FEWEST_PIXELS:
        return dx, _gradient_by_rows(x, dy, pad)
    _, pullback = jax.vjp(lambda k: _direct(x, k, pad), kernel)
    return dx, pullback(dy)[0]


_conv3x3.defvjp(_forward, _backward)


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
    images = _divisor(batch, most)
    return images if most and images * height * width >= fewest else 0


def _images_in_tiles(x: Array, kernel: Array, pad: int, prepared: Prepared | None) -> int:
    """Return for how many images at once the prepared tiles are taken; 0 if for none."""
    if not prepared or "tiles" not in prepared:
        return 0
    return images_at_once(x.shape, kernel.shape, pad, prepared=True)


def _by_columns(x: Array, kernels: Sequence[Array], pad: int) -> Array:
    """Cross-correlate by one matrix product for each part of the filters."""
    # Side by side in two steps: nine slices in one take a quarter of a second to compile.
    (wide,) = kept_apart(_side_by_side(_padded(x, pad), 2))
    (columns,) = kept_apart(_side_by_side(wide, 1))
    batch, height, width, values = columns.shape
    rows = columns.reshape(-1, values)
    (y,) = kept_apart(_joined([lax.dot(rows, kernel) for kernel in kernels]))
    return y.reshape(batch, height, width, -1)


@partial(jax.jit, static_argnums=1)
def _side_by_side(x: Array, axis: int) -> list[Array]:
    """Put three neighbours along an axis into one, as three times the channels."""
    count = x.shape[axis] - 2
    shifted = [lax.slice_in_dim(x, i, i + count, axis=axis) for i in range(3)]
    return [lax.concatenate(shifted, 3)]


@jax.jit
def _joined(parts: list[Array]) -> list[Array]:
    return [lax.concatenate(parts, 1)]


def _winograd(x: Array, weights: Sequence[Array], pad: int, images: int) -> Array:
    """Cross-correlate by F(2x2, 3x3) of Lavin and Gray, "Fast Algorithms for Convolutional Neural
    Networks", 2016: 16 products instead of 36 for each tile of 2x2 outputs.

    The rounding errors are about those of the direct sum. `images` of the batch are done at once.
    `weights` are the `_transformed` kernel.
    """
    batch, (height, width) = x.shape[0], (size + 2 * pad - 2 for size in x.shape[1:3])
    if batch == 1:
        return _winograd_of_one(x, weights, pad).in_order()[:, :height, :width]

    def convolve(part: Array) -> Array:
        # Otherwise the steps before it, such as the first convolution, would be done anew for each
        # of the 16 values.
        tiles = kept_apart(_of_tiles(part, pad))
        return _interleaved(_outputs(_products(tiles, weights)))[:, :height, :width]

    if batch <= images * _MOST_UNROLLED:
        return jnp.concatenate([convolve(part) for part in jnp.split(x, batch // images)])
    parts = lax.map(convolve, _split(x, images))
    return parts.reshape(batch, *parts.shape[2:])


def _winograd_of_one(x: Array, weights: Sequence[Array], pad: int) -> Tiles:
    """Do the same for a single image: in parts of its rows, each value of tiles in its own call.

    XLA's CPU code divides calls among the cores, which then go on with the products of what they
    have in their caches. It also divides what is in a call of many values, and a large product,
    which costs more than it saves, for the other cores are busy.
    """
    padded = _padded_to_tiles(x, pad)
    rows, columns = (size // 2 - 1 for size in padded.shape[1:3])
    parts = -(-rows * columns * x.shape[3] // _MOST_VALUES)
    count = -(-rows // min(parts, _MOST_UNROLLED))
    results = []
    for first in range(0, rows, count):
        which = (first, min(count, rows - first))
        calls = [_of_value(padded, i, j, which) for i in range(4) for j in range(4)]
        tiles = [kept_apart(call)[0] for call in calls]
        products = _products(tiles, weights)
        results.append(_outputs(kept_apart(_held(tiles, products))))
    return Tiles(results)


def _products(tiles: Sequence[Array], weights: Sequence[Array]) -> list[Array]:
    """Multiply values of tiles, one by one: as a batch it would take a copy of all of them."""
    contracted = (((3,), (0,)), ((), ()))
    return [lax.dot_general(tile, w, contracted) for tile, w in zip(tiles, weights)]


def _outputs(products: Sequence[Array]) -> list[Sequence[Array]]:
    """Return the outputs of each tile, two rows of two."""
    vertical = [_to_outputs(products[j::4]) for j in range(4)]
    return [_to_outputs([v[i] for v in vertical]) for i in range(2)]


def _interleaved(outputs: Sequence[Sequence[Array]]) -> Array:
    """Put outputs of tiles, each (B, rows, columns, K), at their places in images."""
    y = jnp.stack([jnp.stack(row, axis=3) for row in outputs], axis=2)
    _, rows, _, columns, _, filters = y.shape  # (B, rows, 2, columns, 2, K)
    return y.reshape(-1, 2 * rows, 2 * columns, filters)


def _winograd_gradient(x: Array, dy: Array, pad: int, images: int) -> Array:
    """Return the gradient of `_winograd` with respect to the kernel."""

    def add(total: Array, parts: tuple[Array, Array]) -> tuple[Array, None]:
        tiles = jnp.stack(_of_tiles(parts[0], pad)).reshape(16, -1, x.shape[3])
        ends = [(0, -size % 2) for size in dy.shape[1:3]]
        padded = jnp.pad(parts[1], ((0, 0), *ends, (0, 0)))
        outputs = jnp.stack([t for r in _of_outputs(padded, 1) for t in _of_outputs(r, 2)])
        outputs = outputs.reshape(16, -1, dy.shape[3])
        return total + lax.dot_general(tiles, outputs, (((1,), (1,)), ((0,), (0,)))), None

    nothing = jnp.zeros((16, x.shape[3], dy.shape[3]), x.dtype)
    total = lax.scan(add, nothing, (_split(x, images), _split(dy, images)))[0]
    rows = _to_kernel(total.reshape(4, 4, *total.shape[1:]))
    return jnp.stack([jnp.stack(_to_kernel(row)) for row in rows])


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

    images = _divisor(batch, 2 * _BLOCK // (height * wide * (channels + 3 * filters)))
    nothing = jnp.zeros((3, channels, 3 * filters), x.dtype)
    total = lax.scan(add, nothing, (_split(x, images), _split(dy, images)))[0]
    return total.reshape(3, channels, 3, filters).swapaxes(1, 2)


@partial(jax.jit, static_argnums=1)
def _of_tiles(x: Array, pad: int) -> list[Array]:
    """Return 16 values of each tile, transformed, each (B, rows, columns, C)."""
    padded = _padded_to_tiles(x, pad)
    rows, columns = (size // 2 - 1 for size in padded.shape[1:3])
    values = [_of_tile(padded, 1, rows, i) for i in range(4)]
    return [_of_tile(value, 2, columns, j) for value in values for j in range(4)]


@jax.jit
def _held(tiles: list[Array], products: list[Array]) -> list[Array]:
    """Return the products as they are, in a call that tiles have to be there for.

    XLA would otherwise give the memory of a tile that it has multiplied to the product of another,
    so that each waited for the one before. Without the barrier JAX would leave the call out.
    """
    untyped: Any = lax.optimization_barrier
    return untyped((tiles, products))[1]


def _padded_to_tiles(x: Array, pad: int) -> Array:
    """Add zeros so that tiles of 4x4 pixels, two apart, fit in."""
    ends = [(pad, pad + size % 2) for size in x.shape[1:3]]
    return jnp.pad(x, ((0, 0), *ends, (0, 0)))


@partial(jax.jit, static_argnums=(1, 2, 3))
def _of_value(padded: Array, i: int, j: int, rows: tuple[int, int]) -> list[Array]:
    """Return one of the 16 values of some rows of tiles, given as the first and their number."""
    first, count = rows
    part = lax.slice_in_dim(padded, 2 * first, 2 * (first + count + 1), axis=1)
    return [_of_tile(_of_tile(part, 1, count, i), 2, padded.shape[2] // 2 - 1, j)]


# Of one axis each: the three matrices of the algorithm, and two of them transposed. What
# predictions take of them is by `lax`, which is traced in a third of the time that operators are.


def _of_tile(x: Array, axis: int, count: int, i: int) -> Array:
    # Of pixels a, b, c, d: a - c, b + c, c - b, b - d.
    operate, *pixels = ((lax.sub, 0, 2), (lax.add, 1, 2), (lax.sub, 2, 1), (lax.sub, 1, 3))[i]
    return operate(*(lax.slice_in_dim(x, k, k + 2 * count - 1, 2, axis) for k in pixels))


def _of_kernel(kernel: Any) -> list[Any]:
    first, middle, last = kernel
    ends = first + last
    return [first, (ends + middle) / 2, (ends - middle) / 2, last]


def _to_kernel(products: Array) -> list[Array]:
    a, b, c, d = products
    return [a + (b + c) / 2, (b - c) / 2, (b + c) / 2 + d]


def _to_outputs(products: Sequence[Array]) -> tuple[Array, Array]:
    a, b, c, d = products
    return lax.add(lax.add(a, b), c), lax.sub(lax.sub(b, c), d)


def _of_outputs(y: Array, axis: int) -> list[Array]:
    even, odd = (lax.slice_in_dim(y, i, None, 2, axis) for i in range(2))
    return [even, even + odd, even - odd, -odd]


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
        weights = [w for row in _of_kernel(kernel) for w in _of_kernel(row)]
        return {"tiles": [np.ascontiguousarray(w) for w in weights]}
    pixels = (x[1] + 2 * pad - 2) * (x[2] + 2 * pad - 2)
    few = x[0] == 1 and min(x[1:3]) >= 3 and pixels <= _MOST_PIXELS_OF_COLUMNS
    if few and kernel.size >= _FEWEST_WEIGHTS_OF_COLUMNS:
        parts = np.array_split(kernel.reshape(-1, kernel.shape[3]), _PARTS_OF_COLUMNS, axis=1)
        return {"columns": [np.ascontiguousarray(part) for part in parts]}
    return None


@jax.jit
def _transformed(kernel: Array) -> list[Array]:
    return [w for row in _of_kernel(kernel) for w in _of_kernel(row)]


def _divisor(batch: int, most: int) -> int:
    """Return the largest number of images, up to `most` but at least 1, that divides the batch."""
    return next(n for n in range(max(1, min(most, batch)), 0, -1) if batch % n == 0)


def _split(x: Array, images: int) -> Array:
    return x.reshape(-1, images, *x.shape[1:])


def _padded(x: Array, pad: int) -> Array:
    return jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))


def _columns(x: Array, pad: int) -> Array:
    """Return what each window sees, (B, H, W, 9 * C)."""
    return jnp.concatenate(_shifted(_padded(x, pad), (3, 3)), axis=-1)


def _shifted(x: Array, window: tuple[int, int]) -> list[Array]:
    """Return views of (B, H, W, C) that a window's positions see, row by row."""
    height, width = x.shape[1] - window[0] + 1, x.shape[2] - window[1] + 1
    return [x[:, i : i + height, j : j + width] for i in range(window[0]) for j in range(window[1])]
