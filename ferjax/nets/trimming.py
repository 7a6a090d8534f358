"""Which pixels of a convolution nothing uses: pooling drops what does not fill a window.

Of maps of 11x11 windows of 2x2 take 10x10, and of 5x5 they take 4x4, so that `fer_cnn8` computes
an eleventh for nothing. In training all count: batch normalization takes statistics of every pixel.

Dimensions: B batch, H height, W width, C channels; shapes leave the batch axis out.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from jax import lax

from ferjax.nets.graph import Graph
from ferjax.nets.layers import (
    ELU,
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Layer,
    LeakyReLU,
    MaxPooling2D,
    ReLU,
    Shape,
)
from ferjax.nets.layers.base import Array
from ferjax.nets.layers.training import TrainingOnly

_Size = tuple[int, int]  # rows and columns, from the top left


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
    needed = _needed(graph)
    trimmed: dict[int, Trimmed] = {}
    for position, call in enumerate(graph.calls[1:], start=1):
        layer, size = graph.by_name[call.layer], needed[position]
        if isinstance(layer, Conv2D) and size is not None and size != graph.shapes[position][:2]:
            shape = graph.shapes[call.inputs[0]]
            if _may_be_trimmed(layer) and None not in shape:
                trimmed[position] = _trimmed(layer, size, shape)
    return trimmed


def _may_be_trimmed(layer: Conv2D) -> bool:
    at_each_pixel = isinstance(layer.activation, str)  # a layer may have weights for each
    return layer.strides == (1, 1) and layer.data_format == "channels_last" and at_each_pixel


def _trimmed(layer: Conv2D, size: _Size, shape: Shape) -> Trimmed:
    *sides, channels = shape
    lows = [(extent - 1) // 2 if layer.padding == "same" else 0 for extent in layer.extents]
    taken = [count + extent - 1 for count, extent in zip(size, layer.extents)]
    (top, bottom), (left, right) = (
        (low, count - low - (side or 0)) for low, count, side in zip(lows, taken, sides)
    )
    valid = dataclasses.replace(layer, padding="valid")
    return Trimmed(valid, ((top, bottom), (left, right)), (*taken, channels))


def _needed(graph: Graph) -> list[_Size | None]:
    """Return how much of each call's output others use; None: all, or what is no image."""
    users: list[list[int]] = [[] for _ in graph.calls]
    for position, call in enumerate(graph.calls[1:], start=1):
        for source in call.inputs:
            users[source].append(position)
    needed: list[_Size | None] = [None] * len(graph.calls)
    for position in range(len(graph.calls) - 1, 0, -1):
        sizes = [_taken(graph, user, needed[user]) for user in users[position]]
        known = [size for size in sizes if size is not None]
        if known and len(known) == len(sizes):
            rows, columns = (max(counts) for counts in zip(*known))
            needed[position] = (rows, columns)
    return needed


def _taken(graph: Graph, position: int, needed: _Size | None) -> _Size | None:
    """Return how much of its input a call takes for so much of its output; None: all."""
    layer, shape = graph.by_name[graph.calls[position].layer], graph.shapes[position]
    if isinstance(layer, (MaxPooling2D, AveragePooling2D)):
        plain = layer.padding == "valid" and layer.data_format == "channels_last"
        if not plain or None in shape:
            return None
        rows, columns = (
            ((count or 0) - 1) * stride + window
            for count, stride, window in zip(shape, layer.strides, layer.pool_size)
        )
        return rows, columns
    return needed if _is_pixelwise(layer, len(shape)) else None


def _is_pixelwise(layer: Layer, rank: int) -> bool:
    """Whether at inference each pixel of a layer's output is made of the same one of its input."""
    if isinstance(layer, BatchNormalization):
        return layer.axis % (rank + 1) == rank
    if isinstance(layer, Activation):
        return isinstance(layer.activation, str)
    return isinstance(layer, (ReLU, LeakyReLU, ELU, TrainingOnly))
