"""Convolutions, pooling, padding and cropping in the operations of ONNX.

ONNX's images are (B, C, H, W). Kernels are turned once, when the file is written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from ferjax.nets.layers import (
    AveragePooling2D,
    Conv1D,
    Conv2D,
    Cropping2D,
    DepthwiseConv2D,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    MaxPooling1D,
    MaxPooling2D,
    SeparableConv2D,
    Shape,
    ZeroPadding2D,
)
from ferjax.onnx.activations import activated
from ferjax.onnx.builder import TO_THE_END, Builder, Tensor

_CHANNELS_FIRST = {"channels_last": (0, 3, 1, 2), "channels_first": (0, 1, 2, 3)}
_SEQUENCES = {"channels_last": (0, 2, 1), "channels_first": (0, 1, 2)}

Convolution: TypeAlias = Conv1D | Conv2D | DepthwiseConv2D | SeparableConv2D
Pooling: TypeAlias = MaxPooling1D | MaxPooling2D | AveragePooling2D
GlobalPooling1D: TypeAlias = GlobalAveragePooling1D | GlobalMaxPooling1D
GlobalPooling: TypeAlias = GlobalAveragePooling2D | GlobalMaxPooling2D


def images(layer: Any, b: Builder, x: Tensor) -> Tensor:
    """Return images as (B, C, H, W), whichever of Keras's axes the layer takes for channels."""
    return b.arranged(x, _CHANNELS_FIRST[layer.data_format])


def _sequences(layer: Any, b: Builder, x: Tensor) -> Tensor:
    """Return sequences as (B, C, T), as `images` does."""
    return b.arranged(x, _SEQUENCES[layer.data_format])


def _padding(
    layer: Convolution | Pooling, shape: Shape, extents: tuple[int, ...]
) -> dict[str, Any]:
    """Return the attributes for the layer's padding; "same" puts the odd pixel at the end.

    Args:
        shape: of the layer's input.
        extents: how many pixels a window spans.
    """
    if layer.padding == "valid":
        return {}
    if layer.padding == "causal":
        return {"pads": [extents[0] - 1, 0]}
    windows = list(zip(layer.split(shape), extents, layer.strides))
    if any(size is None and min(extent, stride) > 1 for size, extent, stride in windows):
        # What is padded depends on a size that only the runtime sees. It works it out, but for
        # windows that leave gaps.
        if any(extent < stride for _, extent, stride in windows):
            raise layer.error(
                'padding: of "same" with strides beyond the window there is no ONNX for images of '
                f"open size, got inputs of shape {shape}"
            )
        return {"auto_pad": "SAME_UPPER"}
    # An open size is covered without padding by windows of one pixel, at strides of one by all.
    totals = [
        extent - 1 if size is None else max((-(-size // stride) - 1) * stride + extent - size, 0)
        for size, extent, stride in windows
    ]
    before = [total // 2 for total in totals]
    return {"pads": [*before, *(total - start for total, start in zip(totals, before))]}


def _geometry(layer: Convolution, shape: Shape) -> dict[str, Any]:
    extents = tuple((k - 1) * d + 1 for k, d in zip(layer.kernel_size, layer.dilation_rate))
    return {
        "kernel_shape": list(layer.kernel_size),
        "strides": list(layer.strides),
        "dilations": list(layer.dilation_rate),
        **_padding(layer, shape, extents),
    }


def _kernel(b: Builder, name: str, kernel: np.ndarray) -> str:
    """Add a kernel (kh, kw, C/groups, F) as (F, C/groups, kh, kw)."""
    height, width, channels, filters = kernel.shape
    stored = np.empty((filters, channels, height, width), kernel.dtype)
    # Position by position: NumPy transposes large kernels in half the time so, small ones slower.
    for row, column in np.ndindex(height, width):
        stored[:, :, row, column] = kernel[row, column].T
    return b.constant(name, stored)


def _depthwise_kernel(b: Builder, name: str) -> str:
    """Add a kernel (kh, kw, C, multiplier) as one of C groups."""
    kernel = b.array(name)
    return _kernel(b, name, kernel.reshape(*kernel.shape[:2], 1, -1))


def _bias(layer: Convolution, b: Builder) -> list[str]:
    return [b.weight("bias")] if layer.use_bias else []


def _conv2d(layer: Conv2D, b: Builder, x: Tensor) -> Tensor:
    parts = [_kernel(b, "kernel", b.array("kernel")), *_bias(layer, b)]
    geometry = _geometry(layer, x.shape)
    if "pads" in geometry:  # by so much less at the end the output is smaller
        *before, bottom, right = geometry["pads"]
        rows, columns = b.unread.get(b.layer, (0, 0))
        geometry["pads"] = [*before, max(0, bottom - rows), max(0, right - columns)]
    x = b.node("Conv", images(layer, b, x), *parts, group=layer.groups, **geometry)
    return activated(b, layer.activation, x)


def _conv1d(layer: Conv1D, b: Builder, x: Tensor) -> Tensor:
    kernel = b.constant("kernel", b.array("kernel").transpose(2, 1, 0))  # (F, C/groups, k)
    geometry, sequences = _geometry(layer, x.shape), _sequences(layer, b, x)
    x = b.node("Conv", sequences, kernel, *_bias(layer, b), group=layer.groups, **geometry)
    return activated(b, layer.activation, x)


def _depthwise_conv2d(layer: DepthwiseConv2D, b: Builder, x: Tensor) -> Tensor:
    parts = [_depthwise_kernel(b, "kernel"), *_bias(layer, b)]
    geometry, groups = _geometry(layer, x.shape), layer.channels(x.shape)
    x = b.node("Conv", images(layer, b, x), *parts, group=groups, **geometry)
    return activated(b, layer.activation, x)


def _separable_conv2d(layer: SeparableConv2D, b: Builder, x: Tensor) -> Tensor:
    kernel = _depthwise_kernel(b, "depthwise_kernel")
    geometry, groups = _geometry(layer, x.shape), layer.channels(x.shape)
    x = b.node("Conv", images(layer, b, x), kernel, group=groups, **geometry)
    parts = [_kernel(b, "pointwise_kernel", b.array("pointwise_kernel")), *_bias(layer, b)]
    return activated(b, layer.activation, b.node("Conv", x, *parts, kernel_shape=[1, 1]))


def _pooling(op: str, **attributes: Any) -> Callable[[Pooling, Builder, Tensor], Tensor]:
    def write(layer: Pooling, b: Builder, x: Tensor) -> Tensor:
        arranged = _sequences if isinstance(layer, MaxPooling1D) else images
        return b.node(
            op,
            arranged(layer, b, x),
            kernel_shape=list(layer.pool_size),
            strides=list(layer.strides),
            **_padding(layer, x.shape, layer.pool_size),
            **attributes,
        )

    return write


def _global_pooling(op: str) -> Callable[[GlobalPooling, Builder, Tensor], Tensor]:
    def write(layer: GlobalPooling, b: Builder, x: Tensor) -> Tensor:
        pooled = b.node(op, images(layer, b, x))  # (B, C, 1, 1)
        return pooled if layer.keepdims else b.node("Flatten", pooled, stored=(0, 1), axis=1)

    return write


def _global_pooling1d(op: str) -> Callable[[GlobalPooling1D, Builder, Tensor], Tensor]:
    def write(layer: GlobalPooling1D, b: Builder, x: Tensor) -> Tensor:
        axes, keepdims = [layer.steps_axis], layer.keepdims
        stored = (0, 1, 2) if keepdims else (0, 1)
        return b.node(op, b.plain(x), stored=stored, axes=axes, keepdims=int(keepdims))

    return write


def _edges(layer: Any, x: Tensor, edges: tuple[tuple[int, int], ...]) -> dict[int, tuple[int, int]]:
    """Return (before, after) by stored axis."""
    height = 2 if layer.data_format == "channels_first" else 1
    return {x.position(height + i): pair for i, pair in enumerate(edges)}


def _zero_padding2d(layer: ZeroPadding2D, b: Builder, x: Tensor) -> Tensor:
    edges = _edges(layer, x, layer.padding)
    pads = [edges.get(axis, (0, 0))[side] for side in (0, 1) for axis in range(x.ndim)]
    return b.node("Pad", x, b.integers(*pads))


def _cropping2d(layer: Cropping2D, b: Builder, x: Tensor) -> Tensor:
    edges = _edges(layer, x, layer.cropping)
    starts = [before for before, _ in edges.values()]
    ends = [-after or TO_THE_END for _, after in edges.values()]
    return b.node("Slice", x, b.integers(*starts), b.integers(*ends), b.integers(*edges))


LAYERS: dict[type, Callable[..., Tensor]] = {
    Conv1D: _conv1d,
    Conv2D: _conv2d,
    DepthwiseConv2D: _depthwise_conv2d,
    SeparableConv2D: _separable_conv2d,
    MaxPooling1D: _pooling("MaxPool"),
    MaxPooling2D: _pooling("MaxPool"),
    AveragePooling2D: _pooling("AveragePool", count_include_pad=0),
    GlobalAveragePooling2D: _global_pooling("GlobalAveragePool"),
    GlobalMaxPooling2D: _global_pooling("GlobalMaxPool"),
    GlobalAveragePooling1D: _global_pooling1d("ReduceMean"),
    GlobalMaxPooling1D: _global_pooling1d("ReduceMax"),
    ZeroPadding2D: _zero_padding2d,
    Cropping2D: _cropping2d,
}
