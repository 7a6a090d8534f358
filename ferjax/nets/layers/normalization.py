"""Normalization of each image by itself: over axes, over groups of channels, to unit length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ferjax import settings
from ferjax.frozen import frozen
from ferjax.nets.initializers import L1L2, ONES, ZEROS, Initializer
from ferjax.nets.layers.base import Array, Layer, Run, Shape, Weight, jax, jnp, ops
from ferjax.settings import setting


@frozen
class _OverAxes(Layer):
    """Base of those that normalize over `axis`, one or several, counted from the batch."""

    full_precision: ClassVar[bool] = True

    axis: Any = setting(settings.axis_or_axes, -1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.axis, tuple) and len(self.axis) == 1:  # as Keras 2.15 writes it
            object.__setattr__(self, "axis", self.axis[0])

    def axes(self, ndim: int) -> tuple[int, ...]:
        """Return the axes among `ndim`, counted from the front."""
        stated = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        axes = tuple(axis % ndim for axis in stated if -ndim <= axis < ndim)
        # In another order Keras gives the weights to other axes than it takes them from.
        if len(axes) < max(len(stated), 1) or 0 in axes or list(axes) != sorted(set(axes)):
            raise self.error(
                f"axis: expected ascending axes of {ndim}, not the batch, got {self.axis}"
            )
        return axes

    def output_shape(self, *shapes: Shape) -> Shape:
        self.axes(len(shapes[0]) + 1)
        return shapes[0]

    def sizes(self, shape: Shape) -> tuple[int, ...]:
        return tuple(self.known_size(shape, axis - 1) for axis in self.axes(len(shape) + 1))

    def spread(self, weight: Array, x: Array) -> Array:
        """Return a weight of the axes' sizes such that it broadcasts to `x`."""
        axes = self.axes(x.ndim)
        return weight.reshape([x.shape[a] if a in axes else 1 for a in range(x.ndim)])


@frozen
class LayerNormalization(_OverAxes):
    """Normalize each image over `axis` (Ba et al., arXiv 1607.06450); epsilon is Keras's 1e-3.

    With `rms_scaling`, Keras 3's, it divides by the deviation without subtracting the mean.
    """

    epsilon: float = setting(settings.non_negative, 1e-3)
    center: bool = setting(settings.boolean, True)
    scale: bool = setting(settings.boolean, True)
    rms_scaling: bool = setting(settings.boolean, False)
    gamma_initializer: Initializer = setting(Initializer.of, ONES)
    beta_initializer: Initializer = setting(Initializer.of, ZEROS)
    gamma_regularizer: Any = setting(L1L2.of, None)
    beta_regularizer: Any = setting(L1L2.of, None)

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        gamma = Weight("scale", ("gamma",), self.sizes(shape), self.gamma_initializer)
        beta = Weight("bias", ("beta",), self.sizes(shape), self.beta_initializer)
        return (
            *((gamma,) if self.scale or self.rms_scaling else ()),
            *((beta,) if self.center and not self.rms_scaling else ()),
        )

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = inputs[0]
        axes = self.axes(x.ndim)
        factor = jax.lax.rsqrt(x.var(axis=axes, keepdims=True) + self.epsilon)
        if not self.rms_scaling:
            x = x - x.mean(axis=axes, keepdims=True)
        x = x * factor
        if "scale" in weights:
            x = x * self.spread(weights["scale"], x)
        return x + self.spread(weights["bias"], x) if "bias" in weights else x


@frozen
class RMSNormalization(_OverAxes):
    """Divide by the root of the mean square (Zhang and Sennrich, arXiv 1910.07467)."""

    epsilon: float = setting(settings.non_negative, 1e-6)

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        return (Weight("scale", ("scale",), self.sizes(shape), ONES),)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = inputs[0]
        square = jnp.square(x).mean(axis=self.axes(x.ndim), keepdims=True)
        return x * jax.lax.rsqrt(square + self.epsilon) * self.spread(weights["scale"], x)


@frozen
class UnitNormalization(_OverAxes):
    """Divide by the Euclidean length over `axis`, or by 1e-6 where that is shorter."""

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = inputs[0]
        square = jnp.square(x).sum(axis=self.axes(x.ndim), keepdims=True)
        return x * jax.lax.rsqrt(jnp.maximum(square, 1e-12))


@frozen
class GroupNormalization(Layer):
    """Normalize each image over groups of channels (Wu and He, arXiv 1803.08494).

    `groups` of -1 are as many as channels; epsilon is Keras's 1e-3.
    """

    full_precision: ClassVar[bool] = True

    groups: int = setting(settings.integer, 32)
    axis: int = setting(settings.one_axis, -1)
    epsilon: float = setting(settings.non_negative, 1e-3)
    center: bool = setting(settings.boolean, True)
    scale: bool = setting(settings.boolean, True)
    gamma_initializer: Initializer = setting(Initializer.of, ONES)
    beta_initializer: Initializer = setting(Initializer.of, ZEROS)
    gamma_regularizer: Any = setting(L1L2.of, None)
    beta_regularizer: Any = setting(L1L2.of, None)

    def channel_axis(self, ndim: int) -> int:
        if not -ndim < self.axis < ndim or self.axis == 0:
            raise self.error(f"axis: expected an axis of {ndim}, not the batch, got {self.axis}")
        return self.axis % ndim

    def group_count(self, channels: int) -> int:
        groups = channels if self.groups == -1 else self.groups
        if groups < 1 or channels % groups:
            raise self.error(f"groups: expected a divisor of {channels} channels, got {groups}")
        return groups

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        channels = self.known_size(shape, self.channel_axis(len(shape) + 1) - 1)
        self.group_count(channels)
        gamma = Weight("scale", ("gamma",), (channels,), self.gamma_initializer)
        beta = Weight("bias", ("beta",), (channels,), self.beta_initializer)
        return (*((gamma,) if self.scale else ()), *((beta,) if self.center else ()))

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = inputs[0]
        axis = self.channel_axis(x.ndim)
        shape, channels = x.shape, x.shape[axis]
        groups = self.group_count(channels)
        x = x.reshape(*shape[:axis], groups, channels // groups, *shape[axis + 1 :])
        others = tuple(a for a in range(1, x.ndim) if a != axis)
        factor = jax.lax.rsqrt(x.var(axis=others, keepdims=True) + self.epsilon)
        x = ((x - x.mean(axis=others, keepdims=True)) * factor).reshape(shape)
        if self.scale:
            x = x * ops.along_axis(weights["scale"], x.ndim, axis)
        return x + ops.along_axis(weights["bias"], x.ndim, axis) if self.center else x
