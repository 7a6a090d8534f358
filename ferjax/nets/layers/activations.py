"""Activations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ferjax import settings
from ferjax.nets.initializers import L1L2, ZEROS, Initializer
from ferjax.nets.layers.base import Array, Layer, Run, Shape, Weight, as_activation, jax, ops
from ferjax.settings import setting


@dataclass(frozen=True, kw_only=True)
class Activation(Layer):
    """An activation, by name or as a layer."""

    activates: ClassVar[bool] = True

    activation: str | Layer = setting(as_activation)

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        return self.weights_of("activation", shape)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return self.activated(run, weights, inputs[0])

    def affine(self) -> tuple[tuple[float, float], ...] | None:
        return ((1.0, 0.0),) if self.activation == "linear" else None


@dataclass(frozen=True, kw_only=True)
class ReLU(Layer):
    """min(max(x, 0), max_value), with `negative_slope` below `threshold`."""

    activates: ClassVar[bool] = True

    max_value: Any = setting(settings.optional(settings.non_negative), None)
    negative_slope: float = setting(settings.non_negative, 0.0)
    threshold: float = setting(settings.non_negative, 0.0)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return ops.relu(inputs[0], self.max_value, self.negative_slope, self.threshold)


@dataclass(frozen=True, kw_only=True)
class LeakyReLU(Layer):
    """x where positive, else negative_slope * x. The default is Keras's 0.3."""

    activates: ClassVar[bool] = True

    negative_slope: float = setting(settings.real, 0.3)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return jax.nn.leaky_relu(inputs[0], self.negative_slope)


@dataclass(frozen=True, kw_only=True)
class PReLU(Layer):
    """A leaky rectifier with learned slopes, shared over `shared_axes` (counted from the batch)."""

    activates: ClassVar[bool] = True

    shared_axes: Any = setting(
        settings.optional(settings.tuple_of(settings.positive_int, "a list of axes")), None
    )
    alpha_initializer: Initializer = setting(Initializer.of, ZEROS)
    alpha_regularizer: Any = setting(L1L2.of, None)

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        shared = self.shared_axes or ()
        if any(axis > len(shape) for axis in shared):
            raise self.error(f"shared_axes: expected axes of {len(shape) + 1}, got {shared}")
        sizes = tuple(
            1 if axis + 1 in shared else self.known_size(shape, axis) for axis in range(len(shape))
        )
        return (Weight("alpha", ("alpha",), sizes, self.alpha_initializer),)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = inputs[0]
        return jax.nn.relu(x) - weights["alpha"][None] * jax.nn.relu(-x)


@dataclass(frozen=True, kw_only=True)
class ELU(Layer):
    """x where positive, else alpha * (exp(x) - 1)."""

    activates: ClassVar[bool] = True

    alpha: float = setting(settings.real, 1.0)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return jax.nn.elu(inputs[0], self.alpha)


@dataclass(frozen=True, kw_only=True)
class Softmax(Layer):
    """Softmax over one axis or several."""

    activates: ClassVar[bool] = True

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
