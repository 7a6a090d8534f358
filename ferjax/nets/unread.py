"""Which pixels of a convolution no layer reads, so that they need not be computed.

Pooling by "valid" windows leaves out what is over at the end: of 5x5 pixels, pooled by 2, the last
row and column, nine of 25. In training all count: batch normalization takes statistics of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from ferjax.nets.graph import Graph
from ferjax.nets.layers import Conv2D, MaxPooling2D, Shape
from ferjax.nets.pooled import pooled


def unread(graph: Graph) -> Mapping[str, tuple[int, int]]:
    """Return how many rows and columns at the end of a convolution's output no layer reads.

    By the convolution's name; those of which all is read are not among them. A convolution counts
    that is `pooled`.
    """
    left: dict[str, tuple[int, int]] = {}
    for position, pooling in pooled(graph).items():
        layer = graph.by_name[graph.calls[position].layer]
        rows, columns = _over(pooling, graph.shapes[position])
        if isinstance(layer, Conv2D) and layer.strides == (1, 1) and (rows or columns):
            left[layer.name] = rows, columns
    return left


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
