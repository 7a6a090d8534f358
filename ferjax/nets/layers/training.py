"""Layers that are the identity at inference: dropout, noise, penalties."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ferjax import settings
from ferjax.frozen import frozen
from ferjax.nets.layers.base import DATA_FORMAT, Array, Layer, Run, Shape, jax, jnp, ops
from ferjax.settings import setting


@frozen
class TrainingOnly(Layer):
    """The identity at inference; what else it is, training alone sees."""

    moves: ClassVar[bool] = True
    only_reshapes: ClassVar[bool] = True

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return self.disturb(run, inputs[0]) if run.train else inputs[0]

    def disturb(self, run: Run, x: Array) -> Array:
        return x


@frozen
class Identity(TrainingOnly):
    """What it takes."""


@frozen
class ActivityRegularization(TrainingOnly):
    """What it takes; the penalties on it, `l1` and `l2`, are kept for Keras."""

    l1: float = setting(settings.non_negative, 0.0)
    l2: float = setting(settings.non_negative, 0.0)


@frozen
class RandomLayer(TrainingOnly):
    """Base of the random ones; `seed` is kept for Keras, randomness here is the run's."""

    seed: Any = setting(settings.optional(settings.integer), None)


@frozen
class RandomImageLayer(RandomLayer):
    """Base of those that need images."""

    data_format: str = setting(DATA_FORMAT, "channels_last")

    def output_shape(self, *shapes: Shape) -> Shape:
        self.check_rank(shapes[0], 3)
        return shapes[0]


@frozen
class Dropout(RandomLayer):
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

    def mask_shape(self, x: Array) -> tuple[int, ...]:
        """Return the shape in which what is dropped is drawn; it broadcasts to `x`."""
        shape: tuple[int, ...] = x.shape
        if self.noise_shape is None:
            return shape
        return tuple(s if n is None else n for n, s in zip(self.noise_shape, shape))

    def disturb(self, run: Run, x: Array) -> Array:
        return ops.dropout(x, self.rate, run.key(), self.mask_shape(x))


@frozen
class SpatialDropout2D(RandomImageLayer):
    """Dropout of whole channels (Tompson et al., arXiv 1411.4280)."""

    rate: float = setting(settings.rate)

    def disturb(self, run: Run, x: Array) -> Array:
        shape = list(x.shape)
        for axis in ops.spatial_axes(self.data_format):
            shape[axis] = 1
        return ops.dropout(x, self.rate, run.key(), shape)


@frozen
class GaussianNoise(RandomLayer):
    """Add normal noise of deviation `stddev`."""

    stddev: float = setting(settings.non_negative)

    def disturb(self, run: Run, x: Array) -> Array:
        return x + self.stddev * jax.random.normal(run.key(), x.shape, x.dtype)


@frozen
class GaussianDropout(RandomLayer):
    """Multiply by normal noise of mean 1 and deviation sqrt(rate / (1 - rate))."""

    rate: float = setting(settings.rate)

    def disturb(self, run: Run, x: Array) -> Array:
        deviation = math.sqrt(self.rate / (1 - self.rate))
        return x * (1 + deviation * jax.random.normal(run.key(), x.shape, x.dtype))


@frozen
class AlphaDropout(Dropout):
    """Set a fraction `rate` to SELU's lowest value; mean and variance stay (arXiv 1706.02515)."""

    def disturb(self, run: Run, x: Array) -> Array:
        if self.rate == 0:
            return x
        lowest = -1.6732632423543772 * 1.0507009873554805  # -alpha * scale of SELU
        # A Python float would draw other numbers under jax_enable_x64.
        mask = jax.random.bernoulli(run.key(), np.float32(1 - self.rate), self.mask_shape(x))
        factor = ((1 - self.rate) * (1 + self.rate * lowest**2)) ** -0.5
        return factor * (jnp.where(mask, x, lowest) - lowest * self.rate)


@frozen
class SpatialDropout1D(RandomLayer):
    """Dropout of whole channels of a sequence, (T, C)."""

    rate: float = setting(settings.rate)

    def output_shape(self, *shapes: Shape) -> Shape:
        self.check_rank(shapes[0], 2)
        return shapes[0]

    def disturb(self, run: Run, x: Array) -> Array:
        return ops.dropout(x, self.rate, run.key(), (x.shape[0], 1, x.shape[2]))
