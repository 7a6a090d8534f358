"""The layer vocabulary: one frozen dataclass a kind, with its settings, its weights, its forward.

Class and field names are Keras's, so a description is also the layer's Keras config. Weights keep
Keras's shapes and take Flax's names where those differ (scale and bias for gamma and beta).

Dimensions: B batch, H height, W width, C channels, F filters. Shapes leave the batch axis out.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from ferjax._lazy import LazyModule
from ferjax.errors import LayerError, UnknownLayerError, near_misses
from ferjax.nets import settings
from ferjax.nets.initializers import GLOROT_UNIFORM, ONES, ZEROS, Initializer
from ferjax.nets.settings import Pair, Range, setting

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp

    from ferjax.nets import ops
else:  # none is needed to describe a network, and jax is slow to import
    jax, jnp = LazyModule("jax"), LazyModule("jax.numpy")
    ops = LazyModule("ferjax.nets.ops")

Array = Any  # a jax.Array; also a NumPy array outside of jit
Shape = tuple[int | None, ...]

_DATA_FORMAT = settings.choice("channels_last", "channels_first")
_PADDING = settings.choice("valid", "same")


@dataclass(frozen=True)
class Weight:
    """Describe one array of a layer.

    Attributes:
        name: its key in the variables pytree.
        keras_names: what Keras versions call it; the first is Keras 2's.
        shape: its shape, the same here and in Keras.
        initializer: how it is drawn.
        collection: "params" for what the optimizer may change, else "batch_stats".
    """

    name: str
    keras_names: tuple[str, ...]
    shape: tuple[int, ...]
    initializer: Initializer
    collection: Literal["params", "batch_stats"] = "params"
    dtype: str = "float32"


class Run(Protocol):
    """What a layer may ask of the forward pass that it is part of."""

    train: bool

    def key(self) -> jax.Array:
        """Return a fresh random key for this layer."""

    def update(self, name: str, value: jax.Array) -> None:
        """Replace a weight of collection "batch_stats"."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Base of all layers. An empty name is filled in by `Graph`, as Keras names layers."""

    name: str = setting(settings.text, "")
    trainable: bool = setting(settings.boolean, True)

    # Whether inputs are exactly one tensor, or two and more.
    merges: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            try:
                value = field.metadata["convert"](getattr(self, field.name))
            except ValueError as error:
                raise self.error(f"{field.name}: {error}") from None
            object.__setattr__(self, field.name, value)

    @property
    def kind(self) -> str:
        """The Keras class name."""
        return type(self).__name__

    def error(self, message: str) -> LayerError:
        return LayerError(f"layer {self.name!r} ({self.kind}): {message}")

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        """Return the layer's arrays for inputs of `shape`, in Keras's order."""
        return ()

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the shape of the output for inputs of `shapes`."""
        return shapes[0]

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        """Return the output for `inputs`, each (B, ...)."""
        raise NotImplementedError

    def rank(self, shape: Shape, expected: int) -> None:
        if len(shape) != expected:
            raise self.error(f"expected inputs of {expected} axes (without the batch), got {shape}")

    def broadcasts(self, name: str, sizes: Shape) -> None:
        """Check that the numbers of setting `name` broadcast to `sizes`, from the right."""
        given = settings.dimensions(getattr(self, name))
        pairs = zip(given[::-1], sizes[::-1])
        if len(given) > len(sizes) or any(n != 1 and s not in (n, None) for n, s in pairs):
            raise self.error(f"{name}: expected numbers for axes of sizes {sizes}, got {given}")

    def known(self, shape: Shape, axis: int) -> int:
        size = shape[axis]
        if size is None:
            raise self.error(f"expected a known size of axis {axis}, got inputs of shape {shape}")
        return size


@dataclass(frozen=True, kw_only=True)
class InputLayer(Layer):
    """The network's input: (H, W, C), or (C, H, W); None where a size is open."""

    shape: Shape = setting(settings.shape)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return inputs[0]


# --- images in, images out ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Spatial(Layer):
    """Base of the layers that work on (H, W, C) or, channels_first, on (C, H, W)."""

    data_format: str = setting(_DATA_FORMAT, "channels_last")

    def split(self, shape: Shape) -> tuple[int | None, int | None, int | None]:
        """Return (H, W, C) of a shape in either order."""
        self.rank(shape, 3)
        if self.data_format == "channels_first":
            return shape[1], shape[2], shape[0]
        return shape[0], shape[1], shape[2]

    def join(self, height: int | None, width: int | None, channels: int | None) -> Shape:
        sizes = {"H": height, "W": width}
        for axis, size in sizes.items():
            if size is not None and size < 1:
                raise self.error(f"nothing is left of its input: axis {axis} would have {size}")
        if self.data_format == "channels_first":
            return channels, height, width
        return height, width, channels

    def channels(self, shape: Shape) -> int:
        self.rank(shape, 3)
        return self.known(shape, 0 if self.data_format == "channels_first" else 2)

    def add_bias(self, x: Array, bias: Array) -> Array:
        return x + ops.along_axis(bias, x.ndim, ops.channel_axis(self.data_format, x.ndim))


def _windows(size: int | None, window: int, stride: int, padding: str) -> int | None:
    """Return how many windows fit into `size`; "same" rounds up, "valid" drops the rest."""
    if size is None:
        return None
    return -(-size // stride) if padding == "same" else (size - window) // stride + 1


@dataclass(frozen=True, kw_only=True)
class _Convolution(_Spatial):
    """What the three convolutions share."""

    kernel_size: Pair = setting(settings.positive_pair)
    strides: Pair = setting(settings.positive_pair, (1, 1))
    padding: str = setting(_PADDING, "valid")
    dilation_rate: Pair = setting(settings.positive_pair, (1, 1))
    activation: str = setting(settings.activation, "linear")
    use_bias: bool = setting(settings.boolean, True)
    bias_initializer: Initializer = setting(settings.initializer, ZEROS)
    bias_regularizer: Any = setting(settings.regularizer, None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise self.error("expected strides or dilation_rate of 1: Keras has not both at once")

    def filters_out(self, shape: Shape) -> int:
        raise NotImplementedError

    def output_shape(self, *shapes: Shape) -> Shape:
        height, width, _ = self.split(shapes[0])
        extents = [(k - 1) * d + 1 for k, d in zip(self.kernel_size, self.dilation_rate)]
        return self.join(
            _windows(height, extents[0], self.strides[0], self.padding),
            _windows(width, extents[1], self.strides[1], self.padding),
            self.filters_out(shapes[0]),
        )

    def bias(self, filters: int) -> tuple[Weight, ...]:
        bias = Weight("bias", ("bias",), (filters,), self.bias_initializer)
        return (bias,) if self.use_bias else ()

    def finish(self, x: Array, weights: Mapping[str, Array]) -> Array:
        if self.use_bias:
            x = self.add_bias(x, weights["bias"])
        return ops.ACTIVATIONS[self.activation](x)  # a softmax over the last axis, as in Keras


@dataclass(frozen=True, kw_only=True)
class Conv2D(_Convolution):
    """Convolution: kernel (kh, kw, C/groups, F), bias (F,)."""

    filters: int = setting(settings.positive_int)
    groups: int = setting(settings.positive_int, 1)
    kernel_initializer: Initializer = setting(settings.initializer, GLOROT_UNIFORM)
    kernel_regularizer: Any = setting(settings.regularizer, None)

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
        return (kernel, *self.bias(self.filters))

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = ops.conv2d(
            inputs[0],
            weights["kernel"],
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
            groups=self.groups,
        )
        return self.finish(x, weights)


@dataclass(frozen=True, kw_only=True)
class DepthwiseConv2D(_Convolution):
    """A convolution of each channel by itself: kernel (kh, kw, C, multiplier)."""

    depth_multiplier: int = setting(settings.positive_int, 1)
    depthwise_initializer: Initializer = setting(settings.initializer, GLOROT_UNIFORM)
    depthwise_regularizer: Any = setting(settings.regularizer, None)

    def filters_out(self, shape: Shape) -> int:
        return self.channels(shape) * self.depth_multiplier

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        kernel_shape = (*self.kernel_size, self.channels(shape), self.depth_multiplier)
        names = ("depthwise_kernel", "kernel")
        kernel = Weight("kernel", names, kernel_shape, self.depthwise_initializer)
        return (kernel, *self.bias(self.filters_out(shape)))

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = ops.depthwise_conv2d(
            inputs[0],
            weights["kernel"],
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
        )
        return self.finish(x, weights)


@dataclass(frozen=True, kw_only=True)
class SeparableConv2D(_Convolution):
    """A depthwise convolution (kh, kw, C, multiplier), then a pointwise (1, 1, C*multiplier, F)."""

    filters: int = setting(settings.positive_int)
    depth_multiplier: int = setting(settings.positive_int, 1)
    depthwise_initializer: Initializer = setting(settings.initializer, GLOROT_UNIFORM)
    depthwise_regularizer: Any = setting(settings.regularizer, None)
    pointwise_initializer: Initializer = setting(settings.initializer, GLOROT_UNIFORM)
    pointwise_regularizer: Any = setting(settings.regularizer, None)

    def filters_out(self, shape: Shape) -> int:
        return self.filters

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        channels = self.channels(shape)
        deep = (*self.kernel_size, channels, self.depth_multiplier)
        point = (1, 1, channels * self.depth_multiplier, self.filters)
        return (
            Weight("depthwise_kernel", ("depthwise_kernel",), deep, self.depthwise_initializer),
            Weight("pointwise_kernel", ("pointwise_kernel",), point, self.pointwise_initializer),
            *self.bias(self.filters),
        )

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = ops.depthwise_conv2d(
            inputs[0],
            weights["depthwise_kernel"],
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
        )
        x = ops.conv2d(
            x,
            weights["pointwise_kernel"],
            strides=(1, 1),
            padding="valid",
            data_format=self.data_format,
            dilation_rate=(1, 1),
        )
        return self.finish(x, weights)


@dataclass(frozen=True, kw_only=True)
class _Pooling(_Spatial):
    pool_size: Pair = setting(settings.positive_pair, (2, 2))
    strides: Pair = setting(settings.optional(settings.positive_pair), None)
    padding: str = setting(_PADDING, "valid")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.strides is None:  # Keras's default
            object.__setattr__(self, "strides", self.pool_size)

    def output_shape(self, *shapes: Shape) -> Shape:
        height, width, channels = self.split(shapes[0])
        return self.join(
            _windows(height, self.pool_size[0], self.strides[0], self.padding),
            _windows(width, self.pool_size[1], self.strides[1], self.padding),
            channels,
        )


@dataclass(frozen=True, kw_only=True)
class MaxPooling2D(_Pooling):
    """The maximum of each window."""

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return ops.max_pool2d(
            inputs[0], self.pool_size, self.strides, self.padding, self.data_format
        )


@dataclass(frozen=True, kw_only=True)
class AveragePooling2D(_Pooling):
    """The mean of each window, without what padding adds."""

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return ops.average_pool2d(
            inputs[0], self.pool_size, self.strides, self.padding, self.data_format
        )


@dataclass(frozen=True, kw_only=True)
class _GlobalPooling(_Spatial):
    keepdims: bool = setting(settings.boolean, False)

    def output_shape(self, *shapes: Shape) -> Shape:
        _, _, channels = self.split(shapes[0])
        return self.join(1, 1, channels) if self.keepdims else (channels,)


@dataclass(frozen=True, kw_only=True)
class GlobalAveragePooling2D(_GlobalPooling):
    """The mean over the image: (C,)."""

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return inputs[0].mean(axis=ops.spatial_axes(self.data_format), keepdims=self.keepdims)


@dataclass(frozen=True, kw_only=True)
class GlobalMaxPooling2D(_GlobalPooling):
    """The maximum over the image: (C,)."""

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return inputs[0].max(axis=ops.spatial_axes(self.data_format), keepdims=self.keepdims)


@dataclass(frozen=True, kw_only=True)
class ZeroPadding2D(_Spatial):
    """Zeros around the image: ((top, bottom), (left, right))."""

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


@dataclass(frozen=True, kw_only=True)
class Cropping2D(_Spatial):
    """The image without its edges: ((top, bottom), (left, right))."""

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


# --- shapes ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Flatten(Layer):
    """All axes as one, in the order (H, W, C) also where the image is channels_first."""

    data_format: str = setting(_DATA_FORMAT, "channels_last")

    def output_shape(self, *shapes: Shape) -> Shape:
        sizes = [self.known(shapes[0], axis) for axis in range(len(shapes[0]))]
        return (math.prod(sizes),)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = inputs[0]
        if self.data_format == "channels_first" and x.ndim > 2:
            x = jnp.moveaxis(x, 1, -1)
        return x.reshape(x.shape[0], -1)


@dataclass(frozen=True, kw_only=True)
class Reshape(Layer):
    """Another shape, row by row; one axis may be -1."""

    target_shape: tuple[int, ...] = setting(
        settings.tuple_of(settings.integer, "a shape such as (7,)")
    )

    def output_shape(self, *shapes: Shape) -> Shape:
        total = math.prod(self.known(shapes[0], axis) for axis in range(len(shapes[0])))
        fixed = math.prod(size for size in self.target_shape if size != -1)
        open_axes = self.target_shape.count(-1)
        negative = any(size < -1 for size in self.target_shape)
        if (
            negative
            or fixed < 1
            or open_axes > 1
            or (total % fixed if open_axes else total != fixed)
        ):
            raise self.error(f"expected a target_shape of {total} items, got {self.target_shape}")
        return tuple(total // fixed if size == -1 else size for size in self.target_shape)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return inputs[0].reshape(inputs[0].shape[0], *self.target_shape)


# --- dense and normalization -------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Dense(Layer):
    """Fully connected on the last axis: kernel (in, units), bias (units,)."""

    units: int = setting(settings.positive_int)
    activation: str = setting(settings.activation, "linear")
    use_bias: bool = setting(settings.boolean, True)
    kernel_initializer: Initializer = setting(settings.initializer, GLOROT_UNIFORM)
    bias_initializer: Initializer = setting(settings.initializer, ZEROS)
    kernel_regularizer: Any = setting(settings.regularizer, None)
    bias_regularizer: Any = setting(settings.regularizer, None)

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        kernel_shape = (self.known(shape, -1), self.units)
        kernel = Weight("kernel", ("kernel",), kernel_shape, self.kernel_initializer)
        bias = Weight("bias", ("bias",), (self.units,), self.bias_initializer)
        return (kernel, bias) if self.use_bias else (kernel,)

    def output_shape(self, *shapes: Shape) -> Shape:
        return (*shapes[0][:-1], self.units)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = inputs[0] @ weights["kernel"]
        if self.use_bias:
            x = x + ops.along_axis(weights["bias"], x.ndim, -1)
        return ops.ACTIVATIONS[self.activation](x)


@dataclass(frozen=True, kw_only=True)
class BatchNormalization(Layer):
    """Batch normalization along `axis` (Ioffe and Szegedy, arXiv 1502.03167).

    epsilon is Keras's 1e-3 (Flax has 1e-5), momentum Keras's 0.99: new = momentum * old +
    (1 - momentum) * batch, with the biased batch variance, as in Keras 3. (The fused kernel of
    Keras 2 stores the unbiased one; the difference is 1 / (B * H * W).)
    """

    axis: int = setting(settings.one_axis, -1)
    momentum: float = setting(settings.real, 0.99)
    epsilon: float = setting(settings.non_negative, 1e-3)
    center: bool = setting(settings.boolean, True)
    scale: bool = setting(settings.boolean, True)
    gamma_initializer: Initializer = setting(settings.initializer, ONES)
    beta_initializer: Initializer = setting(settings.initializer, ZEROS)
    moving_mean_initializer: Initializer = setting(settings.initializer, ZEROS)
    moving_variance_initializer: Initializer = setting(settings.initializer, ONES)
    gamma_regularizer: Any = setting(settings.regularizer, None)
    beta_regularizer: Any = setting(settings.regularizer, None)

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        ndim = len(shape) + 1
        if not -ndim < self.axis < ndim or self.axis == 0:
            raise self.error(f"axis: expected an axis of {ndim}, not the batch, got {self.axis}")
        size = (self.known(shape, self.axis - 1 if self.axis > 0 else self.axis),)
        # Keras 1's running_std holds a variance.
        means = ("moving_mean", "running_mean")
        variances = ("moving_variance", "running_std")
        stats: Literal["batch_stats"] = "batch_stats"
        gamma = Weight("scale", ("gamma",), size, self.gamma_initializer)
        beta = Weight("bias", ("beta",), size, self.beta_initializer)
        return (
            *((gamma,) if self.scale else ()),
            *((beta,) if self.center else ()),
            Weight("mean", means, size, self.moving_mean_initializer, stats),
            Weight("var", variances, size, self.moving_variance_initializer, stats),
        )

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x, mean, variance = inputs[0], weights["mean"], weights["var"]
        if run.train and self.trainable:  # a frozen layer keeps its statistics, as in Keras
            others = tuple(a for a in range(x.ndim) if a != self.axis % x.ndim)
            batch_mean, batch_variance = x.mean(axis=others), x.var(axis=others)
            rest = 1 - self.momentum
            run.update("mean", self.momentum * mean + rest * batch_mean)
            run.update("var", self.momentum * variance + rest * batch_variance)
            mean, variance = batch_mean, batch_variance
        return ops.batch_norm(
            x,
            mean,
            variance,
            weights.get("scale"),
            weights.get("bias"),
            axis=self.axis,
            epsilon=self.epsilon,
        )


@dataclass(frozen=True, kw_only=True)
class Rescaling(Layer):
    """x * scale + offset; each a number, or one for every channel."""

    scale: Any = setting(settings.numbers)
    offset: Any = setting(settings.numbers, 0.0)

    def output_shape(self, *shapes: Shape) -> Shape:
        self.broadcasts("scale", shapes[0])
        self.broadcasts("offset", shapes[0])
        return shapes[0]

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = inputs[0]

        def constant(value: Any) -> Array:
            array = jnp.asarray(value, x.dtype)
            return array.reshape((1,) * (x.ndim - array.ndim) + array.shape)

        return x * constant(self.scale) + constant(self.offset)


@dataclass(frozen=True, kw_only=True)
class Normalization(Layer):
    """(x - mean) / max(sqrt(variance), 1e-7) along `axis`, or with `invert` the reverse.

    Without `mean` and `variance` in the settings they are weights: mean, variance and a count.
    """

    axis: Any = setting(settings.optional(settings.axis_or_axes), -1)
    mean: Any = setting(settings.optional(settings.numbers), None)
    variance: Any = setting(settings.optional(settings.numbers), None)
    invert: bool = setting(settings.boolean, False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.mean is None) != (self.variance is None):
            raise self.error("expected mean and variance, or neither")

    def kept(self, ndim: int) -> tuple[int, ...]:
        axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        axes = () if self.axis is None else axes
        if any(not -ndim <= a < ndim or a % ndim == 0 for a in axes):
            raise self.error(f"axis: expected axes of {ndim}, not the batch, got {self.axis}")
        return tuple(sorted(a % ndim for a in axes))

    def output_shape(self, *shapes: Shape) -> Shape:
        sizes = tuple(shapes[0][axis - 1] for axis in self.kept(len(shapes[0]) + 1))
        if self.mean is not None:
            self.broadcasts("mean", sizes)
            self.broadcasts("variance", sizes)
        return shapes[0]

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        if self.mean is not None:
            return ()
        sizes = tuple(self.known(shape, a - 1) for a in self.kept(len(shape) + 1))
        stats: Literal["batch_stats"] = "batch_stats"
        return (
            Weight("mean", ("mean",), sizes, ZEROS, stats),
            Weight("var", ("variance",), sizes, ONES, stats),
            Weight("count", ("count",), (), ZEROS, stats, dtype="int32"),
        )

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = inputs[0]
        kept = self.kept(x.ndim)

        def spread(value: Any) -> Array:
            """Return `value` with the sizes of the kept axes, matched from the right."""
            array = jnp.asarray(value, x.dtype)
            shape = [1] * x.ndim
            for axis, size in zip(kept[::-1], array.shape[::-1]):
                shape[axis] = size
            return array.reshape(shape)

        mean = spread(weights["mean"] if self.mean is None else self.mean)
        variance = spread(weights["var"] if self.variance is None else self.variance)
        deviation = jnp.maximum(jnp.sqrt(variance), 1e-7)
        return mean + x * deviation if self.invert else (x - mean) / deviation


# --- activations -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Activation(Layer):
    """An activation by name."""

    activation: str = setting(settings.activation)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return ops.ACTIVATIONS[self.activation](inputs[0])


@dataclass(frozen=True, kw_only=True)
class ReLU(Layer):
    """min(max(x, 0), max_value), with `negative_slope` below `threshold`."""

    max_value: Any = setting(settings.optional(settings.non_negative), None)
    negative_slope: float = setting(settings.non_negative, 0.0)
    threshold: float = setting(settings.non_negative, 0.0)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return ops.relu(inputs[0], self.max_value, self.negative_slope, self.threshold)


@dataclass(frozen=True, kw_only=True)
class LeakyReLU(Layer):
    """x where positive, else negative_slope * x. The default is Keras's 0.3."""

    negative_slope: float = setting(settings.real, 0.3)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return jax.nn.leaky_relu(inputs[0], self.negative_slope)


@dataclass(frozen=True, kw_only=True)
class PReLU(Layer):
    """A leaky rectifier with learned slopes, shared over `shared_axes` (counted from the batch)."""

    shared_axes: Any = setting(
        settings.optional(settings.tuple_of(settings.positive_int, "a list of axes")), None
    )
    alpha_initializer: Initializer = setting(settings.initializer, ZEROS)
    alpha_regularizer: Any = setting(settings.regularizer, None)

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        shared = self.shared_axes or ()
        if any(axis > len(shape) for axis in shared):
            raise self.error(f"shared_axes: expected axes of {len(shape) + 1}, got {shared}")
        sizes = tuple(
            1 if axis + 1 in shared else self.known(shape, axis) for axis in range(len(shape))
        )
        return (Weight("alpha", ("alpha",), sizes, self.alpha_initializer),)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = inputs[0]
        return jax.nn.relu(x) - weights["alpha"][None] * jax.nn.relu(-x)


@dataclass(frozen=True, kw_only=True)
class ELU(Layer):
    """x where positive, else alpha * (exp(x) - 1)."""

    alpha: float = setting(settings.real, 1.0)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return jax.nn.elu(inputs[0], self.alpha)


@dataclass(frozen=True, kw_only=True)
class Softmax(Layer):
    """Softmax over one axis or several."""

    axis: Any = setting(settings.axis_or_axes, -1)

    def output_shape(self, *shapes: Shape) -> Shape:
        ndim = len(shapes[0]) + 1
        axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        inside = all(-ndim <= axis < ndim for axis in axes)
        if not inside or len({axis % ndim for axis in axes}) < len(axes):
            raise self.error(f"axis: expected different axes of {ndim}, got {self.axis}")
        return shapes[0]

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return jax.nn.softmax(inputs[0], axis=self.axis)


# --- layers that act only in training ----------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TrainingOnly(Layer):
    """The identity at inference; `seed` is kept for Keras, randomness here is the run's."""

    seed: Any = setting(settings.optional(settings.integer), None)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return self.disturb(run, inputs[0]) if run.train else inputs[0]

    def disturb(self, run: Run, x: Array) -> Array:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class _DisturbsImages(TrainingOnly):
    """Base of those that need images."""

    data_format: str = setting(_DATA_FORMAT, "channels_last")

    def output_shape(self, *shapes: Shape) -> Shape:
        self.rank(shapes[0], 3)
        return shapes[0]


@dataclass(frozen=True, kw_only=True)
class Dropout(TrainingOnly):
    """Zero a fraction `rate`, scale the rest by 1 / (1 - rate) (Srivastava et al., 2014)."""

    rate: float = setting(settings.rate)
    noise_shape: Any = setting(
        settings.optional(
            settings.tuple_of(settings.optional(settings.positive_int), "a shape or None")
        ),
        None,
    )

    def output_shape(self, *shapes: Shape) -> Shape:
        if self.noise_shape is not None:
            pairs = zip(self.noise_shape[1:], shapes[0])
            fits = all(n in (None, 1, s) or s is None for n, s in pairs)
            if len(self.noise_shape) != len(shapes[0]) + 1 or not fits:
                raise self.error(
                    f"noise_shape: expected one for inputs of {(None, *shapes[0])}, "
                    f"got {self.noise_shape}"
                )
        return shapes[0]

    def disturb(self, run: Run, x: Array) -> Array:
        shape = x.shape
        if self.noise_shape is not None:
            shape = tuple(s if n is None else n for n, s in zip(self.noise_shape, shape))
        return ops.dropout(x, self.rate, run.key(), shape)


@dataclass(frozen=True, kw_only=True)
class SpatialDropout2D(_DisturbsImages):
    """Dropout of whole channels (Tompson et al., arXiv 1411.4280)."""

    rate: float = setting(settings.rate)

    def disturb(self, run: Run, x: Array) -> Array:
        shape = list(x.shape)
        for axis in ops.spatial_axes(self.data_format):
            shape[axis] = 1
        return ops.dropout(x, self.rate, run.key(), shape)


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(TrainingOnly):
    """Add normal noise of deviation `stddev`."""

    stddev: float = setting(settings.non_negative)

    def disturb(self, run: Run, x: Array) -> Array:
        return x + self.stddev * jax.random.normal(run.key(), x.shape, x.dtype)


@dataclass(frozen=True, kw_only=True)
class GaussianDropout(TrainingOnly):
    """Multiply by normal noise of mean 1 and deviation sqrt(rate / (1 - rate))."""

    rate: float = setting(settings.rate)

    def disturb(self, run: Run, x: Array) -> Array:
        deviation = math.sqrt(self.rate / (1 - self.rate))
        return x * (1 + deviation * jax.random.normal(run.key(), x.shape, x.dtype))


@dataclass(frozen=True, kw_only=True)
class RandomFlip(_DisturbsImages):
    """Mirror each image or not, by chance, along one or both axes."""

    mode: str = setting(
        settings.choice("horizontal", "vertical", "horizontal_and_vertical"),
        "horizontal_and_vertical",
    )

    def disturb(self, run: Run, x: Array) -> Array:
        vertical, horizontal = ops.spatial_axes(self.data_format)
        axes = {"horizontal": [horizontal], "vertical": [vertical]}
        for axis in axes.get(self.mode, [horizontal, vertical]):
            flip = jax.random.bernoulli(run.key(), 0.5, (x.shape[0], 1, 1, 1))
            x = jnp.where(flip, jnp.flip(x, axis), x)
        return x


@dataclass(frozen=True, kw_only=True)
class _RandomWarp(_DisturbsImages):
    """Base of the layers that move each image by a random affine map."""

    fill_mode: str = setting(settings.choice("reflect", "wrap", "constant", "nearest"), "reflect")
    interpolation: str = setting(settings.choice("bilinear", "nearest"), "bilinear")
    fill_value: float = setting(settings.real, 0.0)

    def maps(self, run: Run, batch: int, height: int, width: int) -> Array:
        """Draw (B, 2, 3) maps from output pixels (x, y, 1) to input pixels."""
        raise NotImplementedError

    def draw(self, run: Run, bounds: Range, batch: int) -> Array:
        return jax.random.uniform(run.key(), (batch,), "float32", *bounds)

    def disturb(self, run: Run, x: Array) -> Array:
        height, width = (x.shape[a] for a in ops.spatial_axes(self.data_format))
        return ops.affine_warp(
            x,
            self.maps(run, x.shape[0], height, width),
            interpolation=self.interpolation,
            fill_mode=self.fill_mode,
            fill_value=self.fill_value,
            data_format=self.data_format,
        )


@dataclass(frozen=True, kw_only=True)
class RandomRotation(_RandomWarp):
    """Rotate by an angle in `factor`, as fractions of a full turn."""

    factor: Range = setting(settings.symmetric_range)

    def maps(self, run: Run, batch: int, height: int, width: int) -> Array:
        angle = 2 * math.pi * self.draw(run, self.factor, batch)
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        rows = [jnp.stack([cos, -sin], -1), jnp.stack([sin, cos], -1)]
        return ops.centred(jnp.stack(rows, 1), height, width)


@dataclass(frozen=True, kw_only=True)
class RandomZoom(_RandomWarp):
    """Zoom out by a positive factor, in by a negative one, about the centre."""

    height_factor: Range = setting(settings.symmetric_range)
    # None: the same zoom as the height's
    width_factor: Any = setting(settings.optional(settings.symmetric_range), None)

    def maps(self, run: Run, batch: int, height: int, width: int) -> Array:
        tall = 1 + self.draw(run, self.height_factor, batch)
        wide = tall
        if self.width_factor is not None:
            wide = 1 + self.draw(run, self.width_factor, batch)
        none = jnp.zeros_like(tall)
        rows = [jnp.stack([wide, none], -1), jnp.stack([none, tall], -1)]
        return ops.centred(jnp.stack(rows, 1), height, width)


@dataclass(frozen=True, kw_only=True)
class RandomTranslation(_RandomWarp):
    """Shift down and right by fractions of the height and the width."""

    height_factor: Range = setting(settings.symmetric_range)
    width_factor: Range = setting(settings.symmetric_range)

    def maps(self, run: Run, batch: int, height: int, width: int) -> Array:
        down = height * self.draw(run, self.height_factor, batch)
        right = width * self.draw(run, self.width_factor, batch)
        linear = jnp.broadcast_to(jnp.eye(2), (batch, 2, 2))
        return jnp.concatenate([linear, -jnp.stack([right, down], -1)[..., None]], -1)


@dataclass(frozen=True, kw_only=True)
class RandomContrast(_DisturbsImages):
    """Scale the distance to each channel's mean by a factor in [1 - lower, 1 + upper]."""

    factor: Range = setting(settings.range_or_same)
    value_range: Range = setting(settings.range_or_same, (0.0, 255.0))

    def disturb(self, run: Run, x: Array) -> Array:
        lower, upper = self.factor
        shape = (x.shape[0], 1, 1, 1)
        factor = jax.random.uniform(run.key(), shape, x.dtype, 1 - lower, 1 + upper)
        mean = x.mean(axis=ops.spatial_axes(self.data_format), keepdims=True)
        return jnp.clip((x - mean) * factor + mean, *self.value_range)


# --- several inputs ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Merge(Layer):
    merges: ClassVar[bool] = True

    def output_shape(self, *shapes: Shape) -> Shape:
        """Broadcast axis by axis from the right, as Keras does."""
        ndim = max(map(len, shapes))
        result: list[int | None] = []
        for axis in range(ndim):
            sizes = {s[axis - ndim + len(s)] for s in shapes if axis - ndim + len(s) >= 0}
            known = sizes - {None, 1}
            if len(known) > 1:
                raise self.error(f"expected inputs of equal shapes, got {list(shapes)}")
            result.append(known.pop() if known else None if None in sizes else 1)
        return tuple(result)

    def combine(self, x: Array, y: Array) -> Array:
        raise NotImplementedError

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        result, *rest = inputs
        for x in rest:
            ndim = max(result.ndim, x.ndim)
            # Missing axes stand behind the batch axis.
            result, x = (
                a.reshape(a.shape[0], *(1,) * (ndim - a.ndim), *a.shape[1:]) for a in (result, x)
            )
            result = self.combine(result, x)
        return result


@dataclass(frozen=True, kw_only=True)
class Add(_Merge):
    """The sum of the inputs."""

    def combine(self, x: Array, y: Array) -> Array:
        return x + y


@dataclass(frozen=True, kw_only=True)
class Multiply(_Merge):
    """The product of the inputs."""

    def combine(self, x: Array, y: Array) -> Array:
        return x * y


@dataclass(frozen=True, kw_only=True)
class Concatenate(_Merge):
    """The inputs side by side along `axis` (counted from the batch)."""

    axis: int = setting(settings.integer, -1)

    def output_shape(self, *shapes: Shape) -> Shape:
        ndim = len(shapes[0]) + 1
        if any(len(s) + 1 != ndim for s in shapes) or not -ndim < self.axis < ndim:
            raise self.error(f"expected inputs of as many axes, got {list(shapes)}")
        axis = self.axis % ndim - 1
        others = [s[:axis] + s[axis + 1 :] for s in shapes]
        if axis < 0 or len(set(others)) > 1:
            raise self.error(f"expected inputs that differ in axis {self.axis}, got {list(shapes)}")
        sizes = [s[axis] for s in shapes]
        total = None if None in sizes else sum(size for size in sizes if size is not None)
        return (*shapes[0][:axis], total, *shapes[0][axis + 1 :])

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return jnp.concatenate(inputs, axis=self.axis)


VOCABULARY: dict[str, type[Layer]] = {
    layer.__name__: layer
    for layer in (
        InputLayer,
        Conv2D,
        DepthwiseConv2D,
        SeparableConv2D,
        Dense,
        BatchNormalization,
        Activation,
        ReLU,
        LeakyReLU,
        PReLU,
        ELU,
        Softmax,
        MaxPooling2D,
        AveragePooling2D,
        GlobalAveragePooling2D,
        GlobalMaxPooling2D,
        ZeroPadding2D,
        Cropping2D,
        Flatten,
        Reshape,
        Dropout,
        SpatialDropout2D,
        GaussianNoise,
        GaussianDropout,
        Rescaling,
        Normalization,
        RandomFlip,
        RandomRotation,
        RandomZoom,
        RandomTranslation,
        RandomContrast,
        Add,
        Multiply,
        Concatenate,
    )
}


def layer_class(kind: str, name: str) -> type[Layer]:
    """Return the class for a Keras class name; `name` is the layer's, for the error."""
    if kind not in VOCABULARY:
        raise UnknownLayerError(
            f"layer {name!r}: {kind!r} is not among the layers that ferjax knows: "
            f"{', '.join(VOCABULARY)}{near_misses(kind, VOCABULARY)}"
        )
    return VOCABULARY[kind]


def snake_case(kind: str) -> str:
    """Return the name that Keras derives from a class name.

    >>> [snake_case(kind) for kind in ("Conv2D", "MaxPooling2D", "PReLU", "InputLayer")]
    ['conv2d', 'max_pooling2d', 'p_re_lu', 'input_layer']
    """
    kind = re.sub(r"\W+", "", kind)
    kind = re.sub("(.)([A-Z][a-z0-9]+)", r"\1_\2", kind)
    return re.sub("([a-z])([A-Z])", r"\1_\2", kind).lower()
