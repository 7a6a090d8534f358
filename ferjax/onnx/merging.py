"""Layers of several inputs in the operations of ONNX."""

from __future__ import annotations

from collections.abc import Callable

from ferjax.nets import layers
from ferjax.onnx.builder import Axes, Builder, Tensor


def common_axes(inputs: tuple[Tensor, ...]) -> Axes:
    """Return how inputs of the most axes are stored: as images, where one of them is."""
    ndim = max(x.ndim for x in inputs)
    plain = tuple(range(ndim))
    return next((x.axes for x in inputs if x.ndim == ndim and x.axes != plain), plain)


def _expanded(b: Builder, x: Tensor, axes: Axes) -> Tensor:
    """Return `x` stored as `axes` say; axes that it lacks are of size 1, behind the batch."""
    missing = len(axes) - x.ndim
    if not missing:
        return b.arranged(x, axes)
    # Keras's axes 1 to `missing` are the new ones; what it has is stored in the order of the rest.
    order = tuple(axis and axis - missing for axis in axes if not 0 < axis <= missing)
    new = [stored for stored, axis in enumerate(axes) if 0 < axis <= missing]
    return b.node("Unsqueeze", b.arranged(x, order), b.integers(*new), stored=axes)


def _combined(op: str) -> Callable[..., Tensor]:
    def write(layer: layers.Layer, b: Builder, *inputs: Tensor) -> Tensor:
        axes = common_axes(inputs)
        result, *others = (_expanded(b, x, axes) for x in inputs)
        for x in others:
            result = b.node(op, result, x)
        return result

    return write


def _average(layer: layers.Average, b: Builder, *inputs: Tensor) -> Tensor:
    return b.node("Div", _combined("Add")(layer, b, *inputs), b.number(len(inputs)))


def _concatenate(layer: layers.Concatenate, b: Builder, *inputs: Tensor) -> Tensor:
    axes = common_axes(inputs)
    parts = [b.arranged(x, axes) for x in inputs]
    return b.node("Concat", *parts, axis=parts[0].position(layer.axis))


LAYERS: dict[type, Callable[..., Tensor]] = {
    layers.Add: _combined("Add"),
    layers.Subtract: _combined("Sub"),
    layers.Multiply: _combined("Mul"),
    layers.Average: _average,
    layers.Maximum: _combined("Max"),
    layers.Minimum: _combined("Min"),
    layers.Concatenate: _concatenate,
}
