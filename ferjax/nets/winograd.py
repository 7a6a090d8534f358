"""Winograd's algorithm F(2x2, 3x3) for convolutions of 3x3: forward, and its gradients.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016. A tile of 2x2 outputs
takes 16 products instead of 36: 4x4 inputs and the kernel are each transformed to 16 values, and
these are multiplied one by one. The rounding errors are about those of the direct sum.

Dimensions: B batch, H height, W width, C channels, K filters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import chain
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from ferjax.nets.ops import in_parts, kept_apart, transposed

Array = jax.Array

# Parts of a batch, or of an image's rows, that are written out instead of in a loop: more take long
# to compile.
_MOST_UNROLLED = 4
# Values of a single image's tiles that one core computes, and multiplies, in one go.
_MOST_VALUES = 20_000


# Outputs of tiles of 2x2: the pixels [i][j] of each, (B, rows, columns, K).
Pixels: TypeAlias = Sequence[Sequence[Array]]


@dataclass(frozen=True, eq=False)
class Tiles:
    """A convolution that is computed once it is known what becomes of its pixels.

    Both are then done for a few images, or a few rows of one, while they are in the cache.

    Attributes:
        compute: takes a function from the pixels of such a part, and returns its results as one
            array.
        size: of the images that come out, (H, W).
        steps: what is done with the pixels first, in this order.
    """

    compute: Callable[[Callable[[Pixels], Array]], Array]
    size: tuple[int, int]
    steps: tuple[Callable[[Array], Array], ...] = ()

    def map(self, step: Callable[[Array], Array]) -> Tiles:
        """Return the same with a further step, which is of each pixel by itself."""
        return replace(self, steps=(*self.steps, step))

    def maximum(self) -> Array:
        """Return the maximum of each tile, (B, H / 2, W / 2, K), where all tiles are whole."""
        return self.compute(lambda pixels: reduce(lax.max, chain(*self._stepped(pixels))))

    def in_order(self) -> Array:
        """Return the images, (B, H, W, K)."""
        height, width = self.size
        y = self.compute(lambda pixels: _interleaved(self._stepped(pixels))[:, :height, :width])
        return y[:, :height]  # of a single image each part may be lower

    def _stepped(self, pixels: Pixels) -> Pixels:
        for step in self.steps:
            pixels = [[step(y) for y in row] for row in pixels]
        return pixels


def convolve(x: Array, weights: Sequence[Array], pad: int, images: int) -> Tiles:
    """Return the cross-correlation of images, (B, H, W, C), that get `pad` zeros at each side.

    Args:
        weights: the `transformed` kernel.
        images: how many of several are done at once, a divisor of B.

    Returns:
        What computes it once it is put in order, or its maximum is taken.
    """
    batch, height, width, _ = x.shape

    def compute(finish: Callable[[Pixels], Array]) -> Array:
        def convolved(part: Array) -> Array:
            # Otherwise the steps before it, such as the first convolution, would be done anew for
            # each of the 16 values.
            tiles = kept_apart(_of_tiles(part, pad))
            return finish(_outputs(_products(tiles, weights)))

        if batch == 1:
            parts = [finish(pixels) for pixels in _of_one(x, weights, pad)]
            return lax.concatenate(parts, 1) if len(parts) > 1 else parts[0]
        if batch <= images * _MOST_UNROLLED:
            return jnp.concatenate([convolved(part) for part in jnp.split(x, batch // images)])
        y = lax.map(convolved, in_parts(x, images))
        return y.reshape(batch, *y.shape[2:])

    return Tiles(compute, (height + 2 * pad - 2, width + 2 * pad - 2))


def _of_one(x: Array, weights: Sequence[Array], pad: int) -> list[Pixels]:
    """Return the outputs for a single image, in parts of its rows from the top.

    Each of the 16 values of tiles is computed in its own call.
    XLA's CPU code divides calls among the cores, which then go on with the products of what they
    have in their caches. It also divides what is in a call of many values, and a large product,
    which costs more than it saves, for the other cores are busy.
    """
    padded = _padded_to_tiles(x, pad)
    rows, columns = (size // 2 - 1 for size in padded.shape[1:3])
    parts = -(-rows * columns * x.shape[3] // _MOST_VALUES)
    count = -(-rows // min(parts, _MOST_UNROLLED))
    results: list[Pixels] = []
    for first in range(0, rows, count):
        which = (first, min(count, rows - first))
        calls = [_of_value(padded, i, j, which) for i in range(4) for j in range(4)]
        tiles = [kept_apart(call)[0] for call in calls]
        products = _products(tiles, weights)
        results.append(_outputs(kept_apart(_held(tiles, products))))
    return results


def _products(tiles: Sequence[Array], weights: Sequence[Array]) -> list[Array]:
    """Multiply values of tiles, one by one: as a batch it would take a copy of all of them."""
    contracted = (((3,), (0,)), ((), ()))
    return [lax.dot_general(tile, w, contracted) for tile, w in zip(tiles, weights)]


def _outputs(products: Sequence[Array]) -> Pixels:
    """Return the outputs of each tile, two rows of two."""
    vertical = [_to_outputs(products[j::4]) for j in range(4)]
    return [_to_outputs([v[i] for v in vertical]) for i in range(2)]


def _interleaved(outputs: Pixels) -> Array:
    """Put outputs of tiles, each (B, rows, columns, K), at their places in images."""
    y = jnp.stack([jnp.stack(row, axis=3) for row in outputs], axis=2)
    _, rows, _, columns, _, filters = y.shape  # (B, rows, 2, columns, 2, K)
    return y.reshape(-1, 2 * rows, 2 * columns, filters)


def gradients(
    x: Array, dy: Array, turned: Array | None, pad: int, images: int
) -> tuple[Array | None, Array]:
    """Return the gradients of that cross-correlation with respect to `x` and to the kernel.

    In one loop over parts of the batch, which writes the gradient of each part over that part: the
    system hands out fresh memory page by page, which takes longer than to write to it.

    Args:
        dy: the gradient of the result, (B, h, w, K).
        turned: the kernel rotated by 180 degrees, its channels and filters swapped, (3, 3, K, C);
            None where the gradient of `x` is not asked for, and then None is returned for it.
    """
    (_, height, width, channels), filters = x.shape, dy.shape[3]
    weights = None if turned is None else kept_apart(transformed(turned))
    dy_parts = in_parts(dy, images)

    def add(i: int, carry: tuple[Array, list[Array]]) -> tuple[Array, list[Array]]:
        parts, total = carry
        part = lax.dynamic_index_in_dim(parts, i, keepdims=False)
        dy_part = lax.dynamic_index_in_dim(dy_parts, i, keepdims=False)
        products = _kernel_products(part, dy_part, pad)
        if weights is not None:
            # The write waits for what reads this part: XLA would copy all parts before each write.
            (after,) = kept_apart(_after(i, products))
            tiles = kept_apart(_of_tiles(dy_part, 2 - pad))
            dx = _interleaved(_outputs(_products(tiles, weights)))[:, :height, :width]
            parts = lax.dynamic_update_index_in_dim(parts, dx, after, 0)
        return parts, [before + product for before, product in zip(total, products)]

    parts = in_parts(x, images)
    nothing = [jnp.zeros((channels, filters), x.dtype) for _ in range(16)]
    dx, total = lax.fori_loop(0, len(parts), add, (parts, nothing))
    rows = _to_kernel([jnp.stack(total[i : i + 4]) for i in range(0, 16, 4)])
    dkernel = jnp.stack([jnp.stack(_to_kernel(list(row))) for row in rows])
    return None if turned is None else dx.reshape(x.shape), dkernel


def _kernel_products(x: Array, dy: Array, pad: int) -> list[Array]:
    """Return the gradient of each of a transformed kernel's 16 values, (C, K).

    Tiles are transposed first, in calls of their own: a product of matrices takes up to twice as
    long where it has to transpose the first.
    """
    ends = [(0, -size % 2) for size in dy.shape[1:3]]
    outputs = kept_apart(_from_outputs(jnp.pad(dy, ((0, 0), *ends, (0, 0)))))
    rows = [tile.reshape(-1, x.shape[3]) for tile in kept_apart(_of_tiles(x, pad))]
    columns = [kept_apart(transposed(tile))[0] for tile in rows]
    return [lax.dot(column, y.reshape(-1, dy.shape[3])) for column, y in zip(columns, outputs)]


@jax.jit
def _after(i: Array, others: list[Array]) -> list[Array]:
    """Return `i` as it is, but only once `others` are computed."""
    untyped: Any = lax.optimization_barrier
    return [untyped((i, others))[0]]


def transformed_kernel(kernel: Any) -> list[Any]:
    """Return a kernel, (3, 3, C, K), transformed: 16 arrays, (C, K), NumPy's or JAX's."""
    return [values for row in _of_kernel(kernel) for values in _of_kernel(row)]


transformed = jax.jit(transformed_kernel)


@jax.jit
def _from_outputs(dy: Array) -> list[Array]:
    """Return 16 values of each tile's gradient, each (B, rows, columns, K)."""
    return [values for row in _of_outputs(dy, 1) for values in _of_outputs(row, 2)]


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


# The paper's matrices along one axis: `_of_tile` is its B^T, `_of_kernel` G, `_to_outputs` A^T; for
# gradients `_to_kernel` is G^T and `_of_outputs` A. What predictions take is by `lax`, traced in a
# third of the time that operators are.


def _of_tile(x: Array, axis: int, count: int, i: int) -> Array:
    # Of pixels a, b, c, d: a - c, b + c, c - b, b - d.
    operate, *pixels = ((lax.sub, 0, 2), (lax.add, 1, 2), (lax.sub, 2, 1), (lax.sub, 1, 3))[i]
    return operate(*(lax.slice_in_dim(x, k, k + 2 * count - 1, 2, axis) for k in pixels))


def _of_kernel(kernel: Any) -> list[Any]:
    first, middle, last = kernel
    ends = first + last
    return [first, (ends + middle) / 2, (ends - middle) / 2, last]


def _to_kernel(products: Sequence[Array]) -> list[Array]:
    a, b, c, d = products
    return [a + (b + c) / 2, (b - c) / 2, (b + c) / 2 + d]


def _to_outputs(products: Sequence[Array]) -> tuple[Array, Array]:
    a, b, c, d = products
    return lax.add(lax.add(a, b), c), lax.sub(lax.sub(b, c), d)


def _of_outputs(y: Array, axis: int) -> list[Array]:
    even, odd = (lax.slice_in_dim(y, i, None, 2, axis) for i in range(2))
    return [even, even + odd, even - odd, -odd]
