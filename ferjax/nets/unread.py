"""Which pixels of a convolution no layer reads, so that they need not be computed.

Pooling by "valid" windows leaves out what is over at the end: of 5x5 pixels, pooled by 2, the last
row and column, nine of 25. In training all count: batch normalization takes statistics of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ferjax.nets.graph import Graph
from ferjax.nets.layers import (
    ELU,
    Activation,
    BatchNormalization,
    Conv2D,
    Layer,
    LeakyReLU,
    MaxPooling2D,
    ReLU,
    Shape,
    TrainingOnly,
)

# Those that are of each number by itself.
_ACTIVATIONS: Final = ("linear", "relu", "relu6", "elu", "selu", "tanh", "sigmoid", "swish", "gelu")


def unread(graph: Graph) -> Mapping[str, tuple[int, int]]:
    """Return how many rows and columns at the end of a convolution's output no layer reads.

    By the convolution's name; those of which all is read are not among them. A convolution counts
    whose only reader is a max pooling, behind layers that change each pixel by itself.
    """
    readers: list[list[int]] = [[] for _ in graph.calls]
    for position, call in enumerate(graph.calls):
        for i in call.inputs:
            readers[i].append(position)
    names = [call.layer for call in graph.calls]
    left: dict[str, tuple[int, int]] = {}
    for position, name in enumerate(names):
        layer = graph.by_name[name]
        if not isinstance(layer, Conv2D) or names.count(name) > 1 or layer.strides != (1, 1):
            continue
        if layer.activation not in _ACTIVATIONS:
            continue
        reader = _reader(graph, readers, position, layer.data_format)
        if reader is not None:
            rows, columns = _over(reader, graph.shapes[position])
            if rows or columns:
                left[name] = rows, columns
    return left


def _reader(
    graph: Graph, readers: list[list[int]], position: int, data_format: str
) -> MaxPooling2D | None:
    """Return the max pooling that alone reads what a call gives, if that is so."""
    while len(readers[position]) == 1:
        (position,) = readers[position]
        layer = graph.by_name[graph.calls[position].layer]
        if isinstance(layer, MaxPooling2D):
            return layer if layer.data_format == data_format else None
        if not _is_pixelwise(layer, data_format):
            return None
    return None


def _is_pixelwise(layer: Layer, data_format: str) -> bool:
    """Whether a layer changes each pixel by itself, and all alike."""
    if isinstance(layer, BatchNormalization):
        return layer.axis % 4 == (1 if data_format == "channels_first" else 3)
    if isinstance(layer, Activation):
        return layer.activation in _ACTIVATIONS
    return isinstance(layer, (ReLU, LeakyReLU, ELU, TrainingOnly))


def _over(pooling: MaxPooling2D, shape: Shape) -> tuple[int, int]:
    """Return the rows and columns at the end that no window covers."""
    height, width, _ = pooling.split(shape)
    if pooling.padding != "valid" or height is None or width is None:
        return 0, 0
    rows, columns = (
        (size - window) % stride
        for size, window, stride in zip((height, width), pooling.pool_size, pooling.strides)
    )
    return rows, columns
