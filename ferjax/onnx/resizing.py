"""Images of another size in the operations of ONNX: products with the weights of the rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ferjax.nets.layers import CenterCrop, RandomCrop, Resizing, UpSampling2D
from ferjax.nets.resampling import resampling
from ferjax.onnx.builder import Builder, Tensor
from ferjax.onnx.spatial import images


def _sizes(layer: Any, x: Tensor) -> tuple[int, int]:
    height, width, _ = layer.split(x.shape)
    if height is None or width is None:
        raise layer.error(f"there is no ONNX for images of open size, got inputs of {x.shape}")
    return height, width


def _multiplied(b: Builder, x: Tensor, rows: np.ndarray, columns: np.ndarray) -> Tensor:
    """Return rows @ x @ columns^T of images (B, C, H, W)."""
    left = Tensor(b.constant("rows", rows), x.shape, x.axes)
    y = b.node("MatMul", x, b.constant("columns", np.ascontiguousarray(columns.T)))
    return b.node("MatMul", left, y)


def _to_size(layer: Resizing | CenterCrop | RandomCrop, b: Builder, x: Tensor) -> Tensor:
    height, width = _sizes(layer, x)
    x = images(layer, b, x)
    kind, antialias = "bilinear", False
    if isinstance(layer, Resizing):
        kind, antialias = layer.interpolation, layer.antialias
        rows, columns = layer.padding(height, width)
        if rows or columns:
            pads = b.integers(0, 0, rows, columns, 0, 0, rows, columns)
            x = b.node("Pad", x, pads, b.number(layer.fill_value))
            height, width = height + 2 * rows, width + 2 * columns
    y, left, tall, wide = layer.window(height, width)
    if (tall, wide) != (height, width):
        starts, ends = b.integers(y, left), b.integers(y + tall, left + wide)
        x = b.node("Slice", x, starts, ends, b.integers(2, 3))
    if (tall, wide) == layer.size:
        return x
    weights = (resampling(s, n, kind, antialias) for s, n in zip((tall, wide), layer.size))
    return _multiplied(b, x, *weights)


def _up_sampling2d(layer: UpSampling2D, b: Builder, x: Tensor) -> Tensor:
    x = images(layer, b, x)
    if layer.interpolation == "nearest":
        scales = b.constant("scales", np.array([1, 1, *layer.size], np.float32))
        return b.node(
            "Resize",
            x,
            "",
            scales,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    weights = (
        resampling(size, size * times, layer.interpolation)
        for size, times in zip(_sizes(layer, x), layer.size)
    )
    return _multiplied(b, x, *weights)


LAYERS: dict[type, Callable[..., Tensor]] = {
    Resizing: _to_size,
    CenterCrop: _to_size,
    RandomCrop: _to_size,
    UpSampling2D: _up_sampling2d,
}
