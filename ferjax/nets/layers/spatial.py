"""Convolutions, pooling, padding and cropping.

Dimensions: B batch, H height, W width, T steps of a sequence, C channels, F filters. Shapes leave
the batch axis out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ferjax import settings
from ferjax.frozen import frozen
from ferjax.nets.initializers import GLOROT_UNIFORM, L1L2, ZEROS, Initializer
from ferjax.nets.layers.base import (
    DATA_FORMAT,
    LOOP,
    Array,
    Layer,
    Run,
    Shape,
    Weight,
    Work,
    as_activation,
    convolution,
    is_direct,
    jax,
    jnp,
    num_values,
    ops,
)
from ferjax.settings import Pair, setting

if TYPE_CHECKING:
    from ferjax.nets import winograd

_PADDING = settings.choice("valid", "same")


@frozen
class Spatial(Layer):
    """Base of the layers that work on (H, W, C) or, channels_first, on (C, H, W)."""

    axes: ClassVar[str] = "HW"  # those that windows move along

    data_format: str = setting(DATA_FORMAT, "channels_last")

    def split(self, shape: Shape) -> Shape:
        """Return (H, W, C) of a shape in either order."""
        self.check_rank(shape, len(self.axes) + 1)
        return (*shape[1:], shape[0]) if self.data_format == "channels_first" else shape

    def join(self, *shape: int | None) -> Shape:
        """Return a shape, (H, W, C), in the layer's order."""
        for axis, size in zip(self.axes, shape):
            if size is not None and size < 1:
                raise self.error(f"nothing is left of its input: axis {axis} would have {size}")
        return (shape[-1], *shape[:-1]) if self.data_format == "channels_first" else shape

    def channels(self, shape: Shape) -> int:
        self.check_rank(shape, len(self.axes) + 1)
        return self.known_size(shape, 0 if self.data_format == "channels_first" else len(self.axes))

    def padded(self, shape: Shape, windows: tuple[int, ...], padding: str) -> int:
        """Return how many values an image has with what padding adds for windows; 0 for none."""
        if padding == "valid":
            return 0
        *sizes, channels = self.split(shape)
        return num_values([channels, *((s or 1) + window - 1 for s, window in zip(sizes, windows))])

    def add_bias(self, x: Array, bias: Array) -> Array:
        return x + ops.along_axis(bias, x.ndim, ops.channel_axis(self.data_format, x.ndim))


def _windows(size: int | None, window: int, stride: int, padding: str) -> int | None:
    """Return how many windows fit into `size`; "valid" drops the rest, the others round up."""
    if size is None:
        return None
    return (size - window) // stride + 1 if padding == "valid" else -(-size // stride)


@frozen
class _Convolution(Spatial):
    """What the convolutions share."""

    kernel_size: tuple[int, ...] = setting(settings.positive_pair)
    strides: tuple[int, ...] = setting(settings.positive_pair, (1, 1))
    padding: str = setting(_PADDING, "valid")
    dilation_rate: tuple[int, ...] = setting(settings.positive_pair, (1, 1))
    activation: str | Layer = setting(as_activation, "linear")
    use_bias: bool = setting(settings.boolean, True)
    bias_initializer: Initializer = setting(Initializer.of, ZEROS)
    bias_regularizer: Any = setting(L1L2.of, None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise self.error("expected strides or dilation_rate of 1: Keras has not both at once")

    @property
    def geometry(self) -> dict[str, Any]:
        """What the arithmetic takes besides the kernel."""
        names = ("strides", "padding", "data_format", "dilation_rate")
        return {name: getattr(self, name) for name in names}

    def filters_out(self, shape: Shape) -> int:
        raise NotImplementedError

    def output_shape(self, *shapes: Shape) -> Shape:
        *sizes, _ = self.split(shapes[0])
        windows = [
            _windows(size, extent, stride, self.padding)
            for size, extent, stride in zip(sizes, self.extents, self.strides)
        ]
        return self.join(*windows, self.filters_out(shapes[0]))

    @property
    def extents(self) -> tuple[int, ...]:
        """How many pixels a window spans along each axis."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel_size, self.dilation_rate))

    def work(self, *shapes: Shape) -> Work:
        padded = self.padded(shapes[0], self.extents, self.padding)
        return Work(padded, self.products(shapes[0]))

    def products(self, shape: Shape) -> int:
        """Return how many multiply-adds it takes."""
        raise NotImplementedError

    def bias_and_activation(self, shape: Shape) -> tuple[Weight, ...]:
        bias = Weight("bias", ("bias",), (self.filters_out(shape),), self.bias_initializer)
        activation = self.weights_of("activation", self.output_shape(shape))
        return (bias, *activation) if self.use_bias else activation

    def finish(self, run: Run, x: Array, weights: Mapping[str, Array]) -> Array:
        if self.use_bias:
            x = self.add_bias(x, weights["bias"])
        return self.activated(run, weights, x)  # a softmax over the last axis, as in Keras


@frozen
class _DenseConvolution(_Convolution):
    """A convolution of all channels of a group: kernel (..., C/groups, F), bias (F,)."""

    filters: int = setting(settings.positive_int)
    groups: int = setting(settings.positive_int, 1)
    kernel_initializer: Initializer = setting(Initializer.of, GLOROT_UNIFORM)
    kernel_regularizer: Any = setting(L1L2.of, None)

    def filters_out(self, shape: Shape) -> int:
        return self.filters

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        channels = self.channels(shape)
        if channels % self.groups or self.filters % self.groups:
            raise self.error(
                f"expected channels and filters divisible by groups={self.groups}, "
                f"got {channels} and {self.filters}"
            )
        kernel_shape = (*self.kernel_size, channels // self.groups, self.filters)
        kernel = Weight("kernel", ("kernel",), kernel_shape, self.kernel_initializer)
        return (kernel, *self.bias_and_activation(shape))

    def products(self, shape: Shape) -> int:
        *sizes, channels = self.split(shape)
        of_each = num_values(self.kernel_size) * ((channels or 1) // self.groups)
        # XLA's CPU code computes in loops what is in groups, and images smaller than the kernel.
        smaller = any((size or 1) < kernel for size, kernel in zip(sizes, self.kernel_size))
        loops = LOOP if smaller or self.groups > 1 else 1
        return num_values(self.output_shape(shape)) * of_each * loops


@frozen
class Conv2D(_DenseConvolution):
    """Convolution: kernel (kh, kw, C/groups, F), bias (F,)."""

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        is_rectified = self.use_bias and self.activation == "relu"
        if run.train and is_rectified and not is_direct(run):
            y = convolution.rectified_conv2d(
                inputs[0], weights["kernel"], weights["bias"], groups=self.groups, **self.geometry
            )
            if y is not None:
                return y
        x = convolution.conv2d(
            inputs[0],
            weights["kernel"],
            groups=self.groups,
            prepared=weights.get("prepared_kernel"),
            direct=is_direct(run),
            **self.geometry,
        )
        return self.finish(run, x, weights)

    def in_tiles(self, run: Run, weights: Mapping[str, Array], x: Array) -> winograd.Tiles | None:
        """Return the result of `forward` in tiles, not yet computed; see `conv2d_in_tiles`."""
        tiles = convolution.conv2d_in_tiles(
            x,
            weights["kernel"],
            groups=self.groups,
            prepared=weights.get("prepared_kernel"),
            **self.geometry,
        )
        return None if tiles is None else tiles.map(lambda y: self.finish(run, y, weights))

    def prepared(self, weights: Mapping[str, Array], shape: tuple[int, ...]) -> dict[str, Any]:
        kernel = convolution.prepared_kernel(
            weights["kernel"], shape, groups=self.groups, **self.geometry
        )
        return {} if kernel is None else {"prepared_kernel": kernel}


@frozen
class Conv1D(_DenseConvolution):
    """Convolution of a sequence, (T, C) or (C, T): kernel (k, C/groups, F), bias (F,).

    "causal" pads the beginning alone: no output depends on a later step.
    """

    axes: ClassVar[str] = "T"

    kernel_size: tuple[int, ...] = setting(settings.positive_single)
    strides: tuple[int, ...] = setting(settings.positive_single, (1,))
    padding: str = setting(settings.choice("valid", "same", "causal"), "valid")
    dilation_rate: tuple[int, ...] = setting(settings.positive_single, (1,))

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = convolution.conv1d(inputs[0], weights["kernel"], groups=self.groups, **self.geometry)
        return self.finish(run, x, weights)


@frozen
class DepthwiseConv2D(_Convolution):
    """A convolution of each channel by itself: kernel (kh, kw, C, multiplier)."""

    depth_multiplier: int = setting(settings.positive_int, 1)
    depthwise_initializer: Initializer = setting(Initializer.of, GLOROT_UNIFORM)
    depthwise_regularizer: Any = setting(L1L2.of, None)

    def filters_out(self, shape: Shape) -> int:
        return self.channels(shape) * self.depth_multiplier

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        kernel_shape = (*self.kernel_size, self.channels(shape), self.depth_multiplier)
        names = ("depthwise_kernel", "kernel")
        kernel = Weight("kernel", names, kernel_shape, self.depthwise_initializer)
        return (kernel, *self.bias_and_activation(shape))

    def products(self, shape: Shape) -> int:
        return num_values(self.output_shape(shape)) * num_values(self.kernel_size) * LOOP

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = convolution.depthwise_conv2d(inputs[0], weights["kernel"], **self.geometry)
        return self.finish(run, x, weights)


@frozen
class SeparableConv2D(_Convolution):
    """A depthwise convolution (kh, kw, C, multiplier), then a pointwise (1, 1, C*multiplier, F)."""

    filters: int = setting(settings.positive_int)
    depth_multiplier: int = setting(settings.positive_int, 1)
    depthwise_initializer: Initializer = setting(Initializer.of, GLOROT_UNIFORM)
    depthwise_regularizer: Any = setting(L1L2.of, None)
    pointwise_initializer: Initializer = setting(Initializer.of, GLOROT_UNIFORM)
    pointwise_regularizer: Any = setting(L1L2.of, None)

    def filters_out(self, shape: Shape) -> int:
        return self.filters

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        channels = self.channels(shape)
        deep = (*self.kernel_size, channels, self.depth_multiplier)
        point = (1, 1, channels * self.depth_multiplier, self.filters)
        return (
            Weight("depthwise_kernel", ("depthwise_kernel",), deep, self.depthwise_initializer),
            Weight("pointwise_kernel", ("pointwise_kernel",), point, self.pointwise_initializer),
            *self.bias_and_activation(shape),
        )

    def work(self, *shapes: Shape) -> Work:
        return super().work(*shapes) + Work(values=self._between(shapes[0]))

    def products(self, shape: Shape) -> int:
        return self._between(shape) * (num_values(self.kernel_size) * LOOP + self.filters)

    def _between(self, shape: Shape) -> int:
        """Return how many values the depthwise convolution gives."""
        *pixels, _ = self.split(self.output_shape(shape))
        return num_values(pixels) * self.channels(shape) * self.depth_multiplier

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = convolution.depthwise_conv2d(inputs[0], weights["depthwise_kernel"], **self.geometry)
        x = convolution.conv2d(
            x,
            weights["pointwise_kernel"],
            strides=(1, 1),
            padding="valid",
            data_format=self.data_format,
            dilation_rate=(1, 1),
            direct=is_direct(run),
        )
        return self.finish(run, x, weights)


@frozen
class _Pooling(Spatial):
    moves: ClassVar[bool] = True

    pool_size: tuple[int, ...] = setting(settings.positive_pair, (2, 2))
    strides: tuple[int, ...] = setting(settings.optional(settings.positive_pair), None)
    padding: str = setting(_PADDING, "valid")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.strides is None:  # Keras's default
            object.__setattr__(self, "strides", self.pool_size)

    @property
    def geometry(self) -> dict[str, Any]:
        """What the arithmetic takes."""
        names = ("pool_size", "strides", "padding", "data_format")
        return {name: getattr(self, name) for name in names}

    def output_shape(self, *shapes: Shape) -> Shape:
        *sizes, channels = self.split(shapes[0])
        windows = [
            _windows(size, window, stride, self.padding)
            for size, window, stride in zip(sizes, self.pool_size, self.strides)
        ]
        return self.join(*windows, channels)

    def work(self, *shapes: Shape) -> Work:
        padded = self.padded(shapes[0], self.pool_size, self.padding)
        steps = num_values(self.output_shape(*shapes)) * num_values(self.pool_size)
        return Work(padded, steps * LOOP)


@frozen
class MaxPooling2D(_Pooling):
    """The maximum of each window."""

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        pool = ops.trained_max_pool2d if run.train else ops.max_pool2d
        return pool(inputs[0], **self.geometry)

    def forward_tiles(self, run: Run, weights: Mapping[str, Array], tiles: winograd.Tiles) -> Array:
        return tiles.maximum()


@frozen
class MaxPooling1D(_Pooling):
    """The maximum of each window of a sequence, (T, C) or (C, T)."""

    axes: ClassVar[str] = "T"

    pool_size: tuple[int, ...] = setting(settings.positive_single, (2,))
    strides: tuple[int, ...] = setting(settings.optional(settings.positive_single), None)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return ops.max_pool1d(inputs[0], **self.geometry)


@frozen
class AveragePooling2D(_Pooling):
    """The mean of each window, without what padding adds."""

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return ops.average_pool2d(inputs[0], **self.geometry)


@frozen
class _GlobalPooling(Spatial):
    moves: ClassVar[bool] = True

    keepdims: bool = setting(settings.boolean, False)

    def output_shape(self, *shapes: Shape) -> Shape:
        _, _, channels = self.split(shapes[0])
        return self.join(1, 1, channels) if self.keepdims else (channels,)


@frozen
class GlobalAveragePooling2D(_GlobalPooling):
    """The mean over the image: (C,)."""

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return ops.spatial_mean(inputs[0], self.data_format, keepdims=self.keepdims)


@frozen
class GlobalMaxPooling2D(_GlobalPooling):
    """The maximum over the image: (C,)."""

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return inputs[0].max(axis=ops.spatial_axes(self.data_format), keepdims=self.keepdims)


@frozen
class _GlobalPooling1D(Layer):
    """Base of those that pool a sequence, (T, C) or, channels_first, (C, T)."""

    moves: ClassVar[bool] = True

    data_format: str = setting(DATA_FORMAT, "channels_last")
    keepdims: bool = setting(settings.boolean, False)

    @property
    def steps_axis(self) -> int:
        return 2 if self.data_format == "channels_first" else 1

    def output_shape(self, *shapes: Shape) -> Shape:
        self.check_rank(shapes[0], 2)
        channels = self.known_size(shapes[0], 2 - self.steps_axis)
        if not self.keepdims:
            return (channels,)
        return (channels, 1) if self.data_format == "channels_first" else (1, channels)


@frozen
class GlobalAveragePooling1D(_GlobalPooling1D):
    """The mean over the steps: (C,)."""

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return inputs[0].mean(axis=self.steps_axis, keepdims=self.keepdims)


@frozen
class GlobalMaxPooling1D(_GlobalPooling1D):
    """The maximum over the steps: (C,)."""

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return inputs[0].max(axis=self.steps_axis, keepdims=self.keepdims)


@frozen
class ZeroPadding2D(Spatial):
    """Zeros around the image: ((top, bottom), (left, right))."""

    moves: ClassVar[bool] = True

    padding: tuple[Pair, Pair] = setting(settings.edges, ((1, 1), (1, 1)))

    def output_shape(self, *shapes: Shape) -> Shape:
        height, width, channels = self.split(shapes[0])
        return self.join(
            None if height is None else height + sum(self.padding[0]),
            None if width is None else width + sum(self.padding[1]),
            channels,
        )

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        around = [(0, 0)] * 4
        for axis, pair in zip(ops.spatial_axes(self.data_format), self.padding):
            around[axis] = pair
        return jnp.pad(inputs[0], around)


@frozen
class Cropping2D(Spatial):
    """The image without its edges: ((top, bottom), (left, right))."""

    moves: ClassVar[bool] = True

    cropping: tuple[Pair, Pair] = setting(settings.edges, ((0, 0), (0, 0)))

    def output_shape(self, *shapes: Shape) -> Shape:
        height, width, channels = self.split(shapes[0])
        return self.join(
            None if height is None else height - sum(self.cropping[0]),
            None if width is None else width - sum(self.cropping[1]),
            channels,
        )

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = inputs[0]
        for axis, (before, after) in zip(ops.spatial_axes(self.data_format), self.cropping):
            x = jax.lax.slice_in_dim(x, before, x.shape[axis] - after, axis=axis)
        return x
