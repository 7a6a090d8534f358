"""Layers that are the identity at inference: dropout, noise and random images, penalties."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ferjax import settings
from ferjax.nets.layers.base import DATA_FORMAT, Array, Layer, Run, Shape, jax, jnp, ops
from ferjax.settings import Range, setting


@dataclass(frozen=True, kw_only=True)
class TrainingOnly(Layer):
    """The identity at inference; what else it is, training alone sees."""

    moves: ClassVar[bool] = True

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return self.disturb(run, inputs[0]) if run.train else inputs[0]

    def disturb(self, run: Run, x: Array) -> Array:
        return x


@dataclass(frozen=True, kw_only=True)
class Identity(TrainingOnly):
    """What it takes."""


@dataclass(frozen=True, kw_only=True)
class ActivityRegularization(TrainingOnly):
    """What it takes; the penalties on it, `l1` and `l2`, are kept for Keras."""

    l1: float = setting(settings.non_negative, 0.0)
    l2: float = setting(settings.non_negative, 0.0)


@dataclass(frozen=True, kw_only=True)
class _Random(TrainingOnly):
    """Base of the random ones; `seed` is kept for Keras, randomness here is the run's."""

    seed: Any = setting(settings.optional(settings.integer), None)


@dataclass(frozen=True, kw_only=True)
class _DisturbsImages(_Random):
    """Base of those that need images."""

    data_format: str = setting(DATA_FORMAT, "channels_last")

    def output_shape(self, *shapes: Shape) -> Shape:
        self.check_rank(shapes[0], 3)
        return shapes[0]


@dataclass(frozen=True, kw_only=True)
class Dropout(_Random):
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
class GaussianNoise(_Random):
    """Add normal noise of deviation `stddev`."""

    stddev: float = setting(settings.non_negative)

    def disturb(self, run: Run, x: Array) -> Array:
        return x + self.stddev * jax.random.normal(run.key(), x.shape, x.dtype)


@dataclass(frozen=True, kw_only=True)
class GaussianDropout(_Random):
    """Multiply by normal noise of mean 1 and deviation sqrt(rate / (1 - rate))."""

    rate: float = setting(settings.rate)

    def disturb(self, run: Run, x: Array) -> Array:
        deviation = math.sqrt(self.rate / (1 - self.rate))
        return x * (1 + deviation * jax.random.normal(run.key(), x.shape, x.dtype))


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
class SpatialDropout1D(_Random):
    """Dropout of whole channels of a sequence, (T, C)."""

    rate: float = setting(settings.rate)

    def output_shape(self, *shapes: Shape) -> Shape:
        self.check_rank(shapes[0], 2)
        return shapes[0]

    def disturb(self, run: Run, x: Array) -> Array:
        return ops.dropout(x, self.rate, run.key(), (x.shape[0], 1, x.shape[2]))


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
            flip = jax.random.bernoulli(run.key(), np.float32(0.5), (x.shape[0], 1, 1, 1))
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
        linear = jnp.broadcast_to(jnp.eye(2, dtype="float32"), (batch, 2, 2))
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


@dataclass(frozen=True, kw_only=True)
class RandomBrightness(_DisturbsImages):
    """Add to each image a fraction in `factor` of the width of `value_range`, and clip to that."""

    factor: Range = setting(settings.symmetric_range)
    value_range: Range = setting(settings.range_or_same, (0.0, 255.0))

    def disturb(self, run: Run, x: Array) -> Array:
        lower, upper = sorted(self.value_range)
        fraction = jax.random.uniform(run.key(), (x.shape[0], 1, 1, 1), x.dtype, *self.factor)
        return jnp.clip(x + fraction * (upper - lower), lower, upper)


@dataclass(frozen=True, kw_only=True)
class _ForInference(_DisturbsImages):
    """Base of random layers that ferjax keeps for Keras and does not train with."""

    def disturb(self, run: Run, x: Array) -> Array:
        raise self.error(
            "ferjax does not train with it; take it out, and use --augment or the random layers "
            "RandomFlip, RandomRotation, RandomZoom, RandomTranslation, RandomContrast and "
            "RandomBrightness"
        )


@dataclass(frozen=True, kw_only=True)
class RandomHeight(_ForInference):
    """Keras 2's: another height while training."""

    factor: Any = setting(settings.plain)
    interpolation: str = setting(settings.text, "bilinear")


@dataclass(frozen=True, kw_only=True)
class RandomWidth(_ForInference):
    """Keras 2's: another width while training."""

    factor: Any = setting(settings.plain)
    interpolation: str = setting(settings.text, "bilinear")


@dataclass(frozen=True, kw_only=True)
class _RandomColors(_ForInference):
    factor: Any = setting(settings.plain)
    value_range: Range = setting(settings.range_or_same, (0.0, 255.0))


@dataclass(frozen=True, kw_only=True)
class RandomColorDegeneration(_RandomColors):
    """Keras 3's: less color."""


@dataclass(frozen=True, kw_only=True)
class RandomHue(_RandomColors):
    """Keras 3's: other colors."""


@dataclass(frozen=True, kw_only=True)
class RandomSaturation(_RandomColors):
    """Keras 3's: less color, or more."""


@dataclass(frozen=True, kw_only=True)
class RandomSharpness(_RandomColors):
    """Keras 3's: blurred or sharpened."""


@dataclass(frozen=True, kw_only=True)
class RandomPosterization(_RandomColors):
    """Keras 3's: fewer gray levels."""


@dataclass(frozen=True, kw_only=True)
class RandomInvert(_RandomColors):
    """Keras 3's: the negative, by chance."""

    factor: Any = setting(settings.plain, 1.0)


@dataclass(frozen=True, kw_only=True)
class RandomGrayscale(_ForInference):
    """Keras 3's: without color, by chance."""

    factor: Any = setting(settings.plain, 0.5)


@dataclass(frozen=True, kw_only=True)
class RandomColorJitter(_ForInference):
    """Keras 3's: brightness, contrast, saturation and hue at once."""

    value_range: Range = setting(settings.range_or_same, (0.0, 255.0))
    brightness_factor: Any = setting(settings.plain, None)
    contrast_factor: Any = setting(settings.plain, None)
    saturation_factor: Any = setting(settings.plain, None)
    hue_factor: Any = setting(settings.plain, None)


@dataclass(frozen=True, kw_only=True)
class RandomErasing(_ForInference):
    """Keras 3's: rectangles are covered."""

    factor: Any = setting(settings.plain, 1.0)
    scale: Any = setting(settings.plain, (0.02, 0.33))
    fill_value: Any = setting(settings.plain, None)
    value_range: Range = setting(settings.range_or_same, (0.0, 255.0))


@dataclass(frozen=True, kw_only=True)
class RandomGaussianBlur(_ForInference):
    """Keras 3's: blurred."""

    factor: Any = setting(settings.plain, 1.0)
    kernel_size: Any = setting(settings.positive_pair, (3, 3))
    sigma: Any = setting(settings.plain, 1.0)
    value_range: Range = setting(settings.range_or_same, (0.0, 255.0))


@dataclass(frozen=True, kw_only=True)
class RandomPerspective(_ForInference):
    """Keras 3's: seen from another side."""

    factor: Any = setting(settings.plain, 1.0)
    scale: Any = setting(settings.plain, 1.0)
    interpolation: str = setting(settings.text, "bilinear")
    fill_value: Any = setting(settings.plain, 0.0)


@dataclass(frozen=True, kw_only=True)
class RandomElasticTransform(_ForInference):
    """Keras 3's: bent."""

    factor: Any = setting(settings.plain, 1.0)
    scale: Any = setting(settings.plain, 1.0)
    interpolation: str = setting(settings.text, "bilinear")
    fill_mode: str = setting(settings.text, "reflect")
    fill_value: Any = setting(settings.plain, 0.0)
    value_range: Range = setting(settings.range_or_same, (0.0, 255.0))
