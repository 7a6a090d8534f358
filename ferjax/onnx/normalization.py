"""Normalization of each image by itself, in the operations of ONNX."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ferjax.nets.layers import (
    GroupNormalization,
    LayerNormalization,
    RMSNormalization,
    UnitNormalization,
)
from ferjax.onnx.builder import Builder, Tensor

OverAxes = LayerNormalization | RMSNormalization | UnitNormalization


def _stored(layer: OverAxes, x: Tensor) -> list[int]:
    return sorted(x.position(axis) for axis in layer.axes(x.ndim))


def _mean_square(b: Builder, x: Tensor, axes: list[int]) -> Tensor:
    return b.node("ReduceMean", b.node("Mul", x, x), axes=axes)


def _over_root(b: Builder, x: Tensor, square: Tensor, epsilon: float) -> Tensor:
    return b.node("Div", x, b.node("Sqrt", b.node("Add", square, b.number(epsilon))))


def _along(b: Builder, name: str, sizes: dict[int, int], x: Tensor) -> str:
    """Add a weight that has the given sizes along Keras's axes of `x`."""
    shape = [sizes.get(axis, 1) for axis in range(x.ndim)]
    return b.spread(name, b.array(name).reshape(shape), x)


def _sizes(layer: OverAxes, x: Tensor) -> dict[int, int]:
    return {axis: layer.known_size(x.shape, axis - 1) for axis in layer.axes(x.ndim)}


def _layer_normalization(layer: LayerNormalization, b: Builder, x: Tensor) -> Tensor:
    axes, sizes = _stored(layer, x), _sizes(layer, x)
    centred = b.node("Sub", x, b.node("ReduceMean", x, axes=axes))
    numerator = x if layer.rms_scaling else centred
    x = _over_root(b, numerator, _mean_square(b, centred, axes), layer.epsilon)
    if layer.scale or layer.rms_scaling:
        x = b.node("Mul", x, _along(b, "scale", sizes, x))
    if layer.center and not layer.rms_scaling:
        x = b.node("Add", x, _along(b, "bias", sizes, x))
    return x


def _rms_normalization(layer: RMSNormalization, b: Builder, x: Tensor) -> Tensor:
    sizes = _sizes(layer, x)
    x = _over_root(b, x, _mean_square(b, x, _stored(layer, x)), layer.epsilon)
    return b.node("Mul", x, _along(b, "scale", sizes, x))


def _unit_normalization(layer: UnitNormalization, b: Builder, x: Tensor) -> Tensor:
    length = b.node("ReduceL2", x, axes=_stored(layer, x))
    return b.node("Div", x, b.node("Max", length, b.number(1e-6)))


def _group_normalization(layer: GroupNormalization, b: Builder, x: Tensor) -> Tensor:
    """Normalize (B, groups, everything else), as ONNX's instances of `groups` channels."""
    axis, ndim = layer.channel_axis(x.ndim), x.ndim
    channels = layer.known_size(x.shape, axis - 1)
    groups = layer.group_count(channels)
    # The channels first, as they are stored behind convolutions.
    axes = (0, axis, *(a for a in range(1, ndim) if a != axis))
    x = b.arranged(x, axes)
    shape = b.node("Shape", x)
    flat = b.node("Reshape", x, b.integers(0, groups, -1), stored=(0, 1, 2))
    ones, zeros = np.ones(groups, np.float32), np.zeros(groups, np.float32)
    parts = b.constant("unit", ones), b.constant("zero", zeros)
    flat = b.node("InstanceNormalization", flat, *parts, epsilon=layer.epsilon)
    x = b.node("Reshape", flat, shape, stored=axes)
    if layer.scale:
        x = b.node("Mul", x, _along(b, "scale", {axis: channels}, x))
    if layer.center:
        x = b.node("Add", x, _along(b, "bias", {axis: channels}, x))
    return x


LAYERS: dict[type, Callable[..., Tensor]] = {
    LayerNormalization: _layer_normalization,
    RMSNormalization: _rms_normalization,
    UnitNormalization: _unit_normalization,
    GroupNormalization: _group_normalization,
}
