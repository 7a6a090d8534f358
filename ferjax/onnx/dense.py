"""Dense and normalizing layers, and changes of shape, in the operations of ONNX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ferjax.nets import layers
from ferjax.onnx.activations import activated
from ferjax.onnx.builder import Builder, Tensor


def _flatten(layer: layers.Flatten, b: Builder, x: Tensor) -> Tensor:
    order = list(range(x.ndim))
    if layer.data_format == "channels_first" and x.ndim > 2:
        order.append(order.pop(1))  # (H, W, C) also then
    return b.node("Flatten", b.arranged(x, tuple(order)), stored=(0, 1), axis=1)


def _reshape(layer: layers.Reshape, b: Builder, x: Tensor) -> Tensor:
    shape = layer.output_shape(x.shape)
    sizes = [layer.known_size(shape, axis) for axis in range(len(shape))]
    axes = tuple(range(len(shape) + 1))
    # 0 stands for the size that is there, the batch's.
    return b.node("Reshape", b.plain(x), b.integers(0, *sizes), stored=axes)


def _permute(layer: layers.Permute, b: Builder, x: Tensor) -> Tensor:
    order = (0, *layer.dims)
    return b.node("Transpose", b.plain(x), perm=list(order), stored=tuple(range(x.ndim)))


def _repeat_vector(layer: layers.RepeatVector, b: Builder, x: Tensor) -> Tensor:
    row = b.node("Unsqueeze", x, b.integers(1), stored=(0, 1, 2))
    return b.node("Tile", row, b.integers(1, layer.n, 1))


def _dense(layer: layers.Dense, b: Builder, x: Tensor) -> Tensor:
    parts = [b.weight("kernel"), *([b.weight("bias")] if layer.use_bias else [])]
    x = b.plain(x)
    if x.ndim == 2:
        x = b.node("Gemm", x, *parts)
    else:
        x = b.node("MatMul", x, parts[0])
        if layer.use_bias:
            x = b.node("Add", x, parts[1])
    return activated(b, layer.activation, x)


def _batch_normalization(layer: layers.BatchNormalization, b: Builder, x: Tensor) -> Tensor:
    mean, variance = b.array("mean"), b.array("var")
    gamma = b.array("scale") if layer.scale else np.ones_like(mean)
    beta = b.array("bias") if layer.center else np.zeros_like(mean)
    if x.position(layer.axis) == 1:  # where ONNX has the channels
        arrays = {"scale": gamma, "bias": beta, "mean": mean, "var": variance}
        parts = [b.constant(name, array) for name, array in arrays.items()]
        return b.node("BatchNormalization", x, *parts, epsilon=layer.epsilon)
    factor = gamma / np.sqrt(variance.astype(np.float64) + layer.epsilon)
    shift = beta - mean * factor
    along = [1] * x.ndim
    along[layer.axis] = -1
    for op, name, vector in (("Mul", "factor", factor), ("Add", "shift", shift)):
        x = b.node(op, x, b.spread(name, vector.astype(np.float32).reshape(along), x))
    return x


def _rescaling(layer: layers.Rescaling, b: Builder, x: Tensor) -> Tensor:
    scale, offset = (np.asarray(v, np.float32) for v in (layer.scale, layer.offset))
    x = b.node("Mul", x, b.spread("scale", scale, x))
    return b.node("Add", x, b.spread("offset", offset, x)) if offset.any() else x


def _normalization(layer: layers.Normalization, b: Builder, x: Tensor) -> Tensor:
    axes = layer.kept_axes(x.ndim)

    def spread(name: str, value: Any) -> str:
        """Add an array with the sizes of the kept axes, matched from the right."""
        array = np.asarray(value, np.float32)
        shape = [1] * x.ndim
        for axis, size in zip(axes[::-1], array.shape[::-1]):
            shape[axis] = size
        return b.spread(name, array.reshape(shape), x)

    mean = b.array("mean") if layer.mean is None else layer.mean
    variance = b.array("var") if layer.variance is None else layer.variance
    deviation = np.maximum(np.sqrt(np.asarray(variance, np.float32)), np.float32(1e-7))
    parts = spread("mean", mean), spread("deviation", deviation)
    if layer.invert:
        return b.node("Add", b.node("Mul", x, parts[1]), parts[0])
    return b.node("Div", b.node("Sub", x, parts[0]), parts[1])


LAYERS: dict[type, Callable[..., Tensor]] = {
    layers.Flatten: _flatten,
    layers.Reshape: _reshape,
    layers.Permute: _permute,
    layers.RepeatVector: _repeat_vector,
    layers.Dense: _dense,
    layers.BatchNormalization: _batch_normalization,
    layers.Rescaling: _rescaling,
    layers.Normalization: _normalization,
}
