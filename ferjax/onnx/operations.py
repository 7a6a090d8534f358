"""Arithmetic between layers in the operations of ONNX."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ferjax.nets.layers import LayerScale, Operation
from ferjax.nets.layers.operations import GRAY
from ferjax.onnx.builder import TO_THE_END, Builder, Tensor
from ferjax.onnx.merging import common_axes

_BINARY = {"add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div", "power": "Pow"}
_BINARY |= {"maximum": "Max", "minimum": "Min"}
_UNARY = {"abs": "Abs", "sqrt": "Sqrt", "log": "Log"}
_REDUCED = {"mean": "ReduceMean", "max": "ReduceMax", "min": "ReduceMin"}


def _operation(layer: Operation, b: Builder, *inputs: Tensor) -> Tensor:
    name = layer.operation
    if name in _BINARY:
        x, y = _operands(layer, b, inputs)
        return b.node(_BINARY[name], x, y, stored=common_axes(inputs))
    if name == "clip":
        x, low, high = _operands(layer, b, inputs)
        above = b.node("Max", x, low, stored=common_axes(inputs))
        return b.node("Min", above, high, stored=common_axes(inputs))
    x = inputs[0]
    if name in _UNARY:
        return b.node(_UNARY[name], x)
    if name == "square":
        return b.node("Mul", x, x)
    if name == "rsqrt":
        return b.node("Reciprocal", b.node("Sqrt", x))
    if name == "gelu_tanh":
        return _gelu_tanh(b, x)
    if name == "stop_gradient":
        return b.node("Identity", x)
    if name == "stack":
        axis = layer.axis % (x.ndim + 1)
        parts = [_expanded(b, b.plain(part), axis) for part in inputs]
        return b.node("Concat", *parts, axis=axis)
    if name == "grayscale":
        x = b.plain(x)
        shares = b.node("Mul", x, b.spread("shares", np.asarray(GRAY, np.float32), x))
        last = b.integers(x.ndim - 1)
        return b.node("ReduceSum", shares, last, stored=tuple(range(x.ndim)), keepdims=1)
    if name in ("var", "std"):
        return _spread(layer, b, b.plain(x))
    if name in _REDUCED or name == "sum":
        return _reduced(layer, b, b.plain(x), name)
    return _rearranged(layer, b, b.plain(x))


def _operands(layer: Operation, b: Builder, inputs: tuple[Tensor, ...]) -> list[Tensor | str]:
    """Return the operands, all stored alike."""
    axes = common_axes(inputs)
    tensors = iter(inputs)
    operands: list[Tensor | str] = []
    for index, operand in enumerate(layer.operands):
        if operand is None:
            operands.append(b.arranged(next(tensors), axes))
        else:
            like = b.arranged(inputs[0], axes)
            operands.append(b.spread(f"constant_{index}", np.asarray(operand, np.float32), like))
    return operands


def _gelu_tanh(b: Builder, x: Tensor) -> Tensor:
    cube = b.node("Mul", b.node("Mul", x, x), x)
    inner = b.node("Add", x, b.node("Mul", cube, b.number(0.044715)))
    tanh = b.node("Tanh", b.node("Mul", inner, b.number(0.7978845608028654)))
    half = b.node("Mul", x, b.number(0.5))
    return b.node("Mul", half, b.node("Add", tanh, b.number(1)))


def _reduced(layer: Operation, b: Builder, x: Tensor, name: str, keep: bool = False) -> Tensor:
    axes = sorted(layer.positions(x.ndim))
    keepdims = layer.keepdims or keep
    ndim = x.ndim if keepdims else x.ndim - len(axes)
    stored = tuple(range(ndim))
    if name == "sum":  # whose axes are an input since opset 13
        return b.node("ReduceSum", x, b.integers(*axes), stored=stored, keepdims=int(keepdims))
    return b.node(_REDUCED[name], x, stored=stored, axes=axes, keepdims=int(keepdims))


def _spread(layer: Operation, b: Builder, x: Tensor) -> Tensor:
    centred = b.node("Sub", x, _reduced(layer, b, x, "mean", keep=True))
    variance = _reduced(layer, b, b.node("Mul", centred, centred), "mean")
    return b.node("Sqrt", variance) if layer.operation == "std" else variance


def _rearranged(layer: Operation, b: Builder, x: Tensor) -> Tensor:
    name = layer.operation
    if name == "get_item":
        return _indexed(layer, b, x)
    if name == "transpose":
        return b.node("Transpose", x, perm=list(layer.axis))
    if name == "expand_dims":
        return _expanded(b, x, layer.axis % (x.ndim + 1))
    axes = layer.positions(x.ndim)
    if name == "squeeze":
        return b.node("Squeeze", x, b.integers(*axes), stored=tuple(range(x.ndim - len(axes))))
    if name == "flip":
        backwards = [b.integers(*[value] * len(axes)) for value in (-1, -TO_THE_END)]
        return b.node("Slice", x, *backwards, b.integers(*axes), b.integers(*[-1] * len(axes)))
    (axis,) = axes  # "repeat": each in turn, so behind an axis of their own
    size = layer.known_size(x.shape, axis - 1)
    repeated = _expanded(b, x, axis + 1)
    repeats = [layer.repeats if i == axis + 1 else 1 for i in range(x.ndim + 1)]
    tiled = b.node("Tile", repeated, b.integers(*repeats))
    # 0 stands for the size that is there: of the axes before the repeated one alone.
    sizes = [0] * axis + [size * layer.repeats]
    sizes += [layer.known_size(x.shape, i - 1) for i in range(axis + 1, x.ndim)]
    return b.node("Reshape", tiled, b.integers(*sizes), stored=tuple(range(x.ndim)))


def _expanded(b: Builder, x: Tensor, axis: int) -> Tensor:
    return b.node("Unsqueeze", x, b.integers(axis), stored=tuple(range(x.ndim + 1)))


def _indexed(layer: Operation, b: Builder, x: Tensor) -> Tensor:
    cuts: list[tuple[int, int, int, int]] = []  # start, stop, axis, step
    squeezed: list[int] = []
    inserted: list[int] = []
    axis = position = 0
    for item in layer.items(x.ndim):
        if item is None:
            inserted.append(position)
            position += 1
            continue
        if isinstance(item, int):
            start, stop, step = item, item + 1 if item != -1 else TO_THE_END, 1
            squeezed.append(axis)
        else:
            start, stop, step = item
            step = 1 if step is None else step
            start = (0 if step > 0 else -1) if start is None else start
            stop = (TO_THE_END if step > 0 else -TO_THE_END) if stop is None else stop
            position += 1
        if (start, stop, step) != (0, TO_THE_END, 1):
            cuts.append((start, stop, axis, step))
        axis += 1
    if cuts:
        x = b.node("Slice", x, *(b.integers(*values) for values in zip(*cuts)))
    if squeezed:
        x = b.node("Squeeze", x, b.integers(*squeezed), stored=tuple(range(x.ndim - len(squeezed))))
    if inserted:
        x = b.node(
            "Unsqueeze", x, b.integers(*inserted), stored=tuple(range(x.ndim + len(inserted)))
        )
    return x


def _layer_scale(layer: LayerScale, b: Builder, x: Tensor) -> Tensor:
    return b.node("Mul", x, b.spread("gamma", b.array("gamma"), x))


LAYERS: dict[type, Callable[..., Tensor]] = {Operation: _operation, LayerScale: _layer_scale}
