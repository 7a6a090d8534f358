"""Convolutions at inference without the pixels that no layer reads, see `ferjax.nets.unread`.

Of maps of 11x11 windows of 2x2 take 10x10, and of 5x5 they take 4x4, so that `fer_cnn8` would
compute an eleventh for nothing.

Dimensions: B batch, H height, W width, C channels; shapes leave the batch axis out.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from jax import lax

from ferjax.nets.graph import Graph
from ferjax.nets.layers import Conv2D, Shape
from ferjax.nets.layers.base import Array
from ferjax.nets.unread import unread


@dataclass(frozen=True)
class Trimmed:
    """A convolution of which only the first rows and columns are used.

    Attributes:
        layer: the same without padding.
        ends: zeros above and below, left and right, that its input gets; below 0: rows and columns
            that it loses.
        input_shape: that of its input with them, (H, W, C).
    """

    layer: Conv2D
    ends: tuple[tuple[int, int], tuple[int, int]]
    input_shape: Shape

    def input(self, x: Array) -> Array:
        """Return what the layer takes of its input, (B, H, W, C)."""
        ends = [(0, 0, 0), *((low, high, 0) for low, high in self.ends), (0, 0, 0)]
        return lax.pad(x, x.dtype.type(0), ends)


def trimmed_calls(graph: Graph) -> dict[int, Trimmed]:
    """Return the convolutions that may be trimmed at inference, by their positions in the calls."""
    left_out = unread(graph)
    trimmed: dict[int, Trimmed] = {}
    for position, call in enumerate(graph.calls):
        layer = graph.by_name[call.layer]
        if call.layer not in left_out or not isinstance(layer, Conv2D):
            continue
        shape = graph.shapes[call.inputs[0]]
        if layer.data_format == "channels_last" and None not in shape:
            rows, columns, _ = graph.shapes[position]
            over = left_out[call.layer]
            size = ((rows or 0) - over[0], (columns or 0) - over[1])
            trimmed[position] = _trimmed(layer, size, shape)
    return trimmed


def _trimmed(layer: Conv2D, size: tuple[int, int], shape: Shape) -> Trimmed:
    *sides, channels = shape
    lows = [(extent - 1) // 2 if layer.padding == "same" else 0 for extent in layer.extents]
    taken = [count + extent - 1 for count, extent in zip(size, layer.extents)]
    (top, bottom), (left, right) = (
        (low, count - low - (side or 0)) for low, count, side in zip(lows, taken, sides)
    )
    valid = dataclasses.replace(layer, padding="valid")
    return Trimmed(valid, ((top, bottom), (left, right)), (*taken, channels))
