"""Activations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ferjax import settings
from ferjax.frozen import frozen
from ferjax.nets.initializers import L1L2, ZEROS, Initializer
from ferjax.nets.layers.base import Array, Layer, Run, Shape, Weight, as_activation, jax, ops
from ferjax.settings import setting


@frozen
class Activation(Layer):
    """An activation, by name or as a layer."""

    activates: ClassVar[bool] = True

    activation: str | Layer = setting(as_activation)

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        return self.weights_of("activation", shape)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return self.activated(run, weights, inputs[0])

    @property
    def only_reshapes(self) -> bool:  # type: ignore[override]
        return self.activation == "linear"

    def affine(self) -> tuple[tuple[float, float], ...] | None:
        return ((1.0, 0.0),) if self.activation == "linear" else None


@frozen
class _ActivationLayer(Layer):
    """Base of the activations that are layers of their own."""

    activates: ClassVar[bool] = True

    def last_activation(self, ndim: int) -> str | None:
        return "other"


@frozen
class ReLU(_ActivationLayer):
    """min(max(x, 0), max_value), with `negative_slope` below `threshold`."""

    max_value: Any = setting(settings.optional(settings.non_negative), None)
    negative_slope: float = setting(settings.non_negative, 0.0)
    threshold: float = setting(settings.non_negative, 0.0)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return ops.relu(inputs[0], self.max_value, self.negative_slope, self.threshold)


@frozen
class LeakyReLU(_ActivationLayer):
    """x where positive, else negative_slope * x. The default is Keras's 0.3."""

    negative_slope: float = setting(settings.real, 0.3)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return jax.nn.leaky_relu(inputs[0], self.negative_slope)


@frozen
class PReLU(_ActivationLayer):
    """A leaky rectifier with learned slopes, shared over `shared_axes` (counted from the batch)."""

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


@frozen
class ELU(_ActivationLayer):
    """x where positive, else alpha * (exp(x) - 1)."""

    alpha: float = setting(settings.real, 1.0)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return jax.nn.elu(inputs[0], self.alpha)


@frozen
class Softmax(_ActivationLayer):
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

    def last_activation(self, ndim: int) -> str | None:
        return "softmax" if self.axis in (-1, ndim, (-1,), (ndim,)) else "other"
