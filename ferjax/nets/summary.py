"""The table that Keras 2.15's `model.summary()` prints."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ferjax.nets.graph import Graph
from ferjax.nets.layers import InputLayer, Shape

# A row breaks where a list or a tuple ends, rather than in the middle of the next.
_BREAKS = ("),", "},", "],", "',")


def summary(graph: Graph) -> str:
    """Return the layers with output shapes and parameters, and the totals."""
    chain = graph.is_chain
    width = 65 if chain else 98
    edges = [int(width * p) for p in ([0.45, 0.85, 1.0] if chain else [0.3, 0.6, 0.7, 1.0])]
    heads = ["Layer (type)", "Output Shape", "Param #", "Connected to"][: len(edges)]
    lines = [f'Model: "{graph.name}"', "_" * width, *_row(heads, edges), "=" * width]
    totals = {True: 0, False: 0}
    for layer in graph.layers:
        if isinstance(layer, InputLayer) and not graph.functional:
            continue  # Keras's Sequential hides it
        weights = graph.weights.get(layer.name, ())
        for weight in weights:
            learned = layer.trainable and weight.collection == "params"
            totals[learned] += math.prod(weight.shape)
        calls = [i for i, call in enumerate(graph.calls) if call.layer == layer.name]
        shapes = [_text(graph.shapes[i]) for i in calls]
        shape = shapes[0] if len(set(shapes)) == 1 else "multiple"
        if isinstance(layer, InputLayer):
            shape = f"[{shape}]"
        fields = [
            f"{layer.name} ({layer.kind})",
            shape,
            str(sum(math.prod(w.shape) for w in weights)),
        ]
        if not chain:
            fields.append(str([_origin(graph, i) for c in calls for i in graph.calls[c].inputs]))
        lines += [*_row(fields, edges), " " * width]
    lines.append("=" * width)
    trainable, frozen = totals[True], totals[False]
    for title, count in (
        ("Total params", trainable + frozen),
        ("Trainable params", trainable),
        ("Non-trainable params", frozen),
    ):
        lines.append(f"{title}: {count} ({_size(4 * count)})")
    lines.append("_" * width)
    return "\n".join(lines)


def _origin(graph: Graph, position: int) -> str:
    layer = graph.calls[position].layer
    earlier = [call.layer for call in graph.calls[:position]].count(layer)
    return f"{layer}[{earlier}][0]"


def _text(shape: Shape) -> str:
    inner = ", ".join(map(str, (None, *shape)))
    return f"({inner},)" if not shape else f"({inner})"


def _size(num_bytes: float) -> str:
    """Return bytes as Keras 2.15 does, in the largest unit that leaves at least 1.

    >>> _size(10527260)
    '10.04 MB'
    """
    if not num_bytes:
        return "0.00 Byte"
    power = min(int(math.log(num_bytes, 1024)), 5)
    unit = ["Byte", "KB", "MB", "GB", "TB", "PB"][power]
    return f"{num_bytes / 1024**power:.2f} {unit}"


def _row(fields: Sequence[str], edges: Sequence[int]) -> list[str]:
    """Lay fields into columns that end at `edges`, over as many lines as the longest needs."""
    remaining, lines = list(fields), []
    while any(remaining):
        line = ""
        for column, edge in enumerate(edges):
            last = column == len(edges) - 1
            start = edges[column - 1] if column else 0
            cut = edge - start - (0 if last else 3)  # two spaces between columns, one before
            piece = remaining[column][:cut]
            breaks = [piece.find(b) + len(b) for b in _BREAKS if b in piece]
            if breaks:
                cut = min(breaks)
                piece = piece[:cut]
            remaining[column] = remaining[column][cut:]
            line += (" " if column == 0 else "") + piece + ("" if last else "  ")
            line += " " * (edge - len(line))
        lines.append(line)
    return lines
