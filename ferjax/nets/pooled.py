"""Which convolutions only a max pooling reads, so that one may be computed for the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ferjax.nets.graph import Graph
from ferjax.nets.layers import (
    ELU,
    VOCABULARY,
    Activation,
    BatchNormalization,
    Conv2D,
    Layer,
    LeakyReLU,
    MaxPooling2D,
    ReLU,
    TrainingOnly,
)

# Those that are of each number by itself.
_ACTIVATIONS: Final = ("linear", "relu", "relu6", "elu", "selu", "tanh", "sigmoid", "swish", "gelu")


def pooled(graph: Graph) -> Mapping[int, MaxPooling2D]:
    """Return the max pooling that alone reads a convolution's output, by the convolution's call.

    Between the two may be layers that change each pixel by itself, and all alike. A convolution
    that is called several times does not count, nor do layers of one's own, which may do anything.
    """
    readers: list[list[int]] = [[] for _ in graph.calls]
    for position, call in enumerate(graph.calls):
        for i in call.inputs:
            readers[i].append(position)
    names = [call.layer for call in graph.calls]
    found: dict[int, MaxPooling2D] = {}
    for position, name in enumerate(names):
        layer = graph.by_name[name]
        if not isinstance(layer, Conv2D) or not _is_known(layer) or names.count(name) > 1:
            continue
        if layer.activation not in _ACTIVATIONS:
            continue
        reader = _reader(graph, readers, position, layer.data_format)
        if reader is not None:
            found[position] = reader
    return found


def pooled_by_tile(graph: Graph) -> frozenset[int]:
    """Return the calls of convolutions that are `pooled` by windows of 2x2 side by side.

    Those are the tiles of Winograd's algorithm: pixels need not be put in order before.
    """
    windows = {position: (p.pool_size, p.strides) for position, p in pooled(graph).items()}
    return frozenset(p for p, window in windows.items() if window == ((2, 2), (2, 2)))


def _reader(
    graph: Graph, readers: list[list[int]], position: int, data_format: str
) -> MaxPooling2D | None:
    """Return the max pooling that alone reads what a call gives, if that is so."""
    while len(readers[position]) == 1:
        (position,) = readers[position]
        layer = graph.by_name[graph.calls[position].layer]
        if not _is_known(layer):
            return None
        if isinstance(layer, MaxPooling2D):
            return layer if layer.data_format == data_format else None
        if not _is_pixelwise(layer, data_format):
            return None
    return None


def _is_known(layer: Layer) -> bool:
    return VOCABULARY.get(layer.kind) is type(layer)


def _is_pixelwise(layer: Layer, data_format: str) -> bool:
    """Whether a layer changes each pixel by itself, and all alike."""
    if isinstance(layer, BatchNormalization):
        return layer.axis % 4 == (1 if data_format == "channels_first" else 3)
    if isinstance(layer, Activation):
        return layer.activation in _ACTIVATIONS
    return isinstance(layer, (ReLU, LeakyReLU, ELU, TrainingOnly))
