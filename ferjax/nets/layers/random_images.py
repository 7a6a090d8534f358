"""Keras's random augmentation layers for images; at inference the identity."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ferjax import settings
from ferjax.frozen import frozen
from ferjax.nets.layers.base import Array, Run, jax, jnp, ops
from ferjax.nets.layers.training import RandomImageLayer
from ferjax.settings import Range, setting


@frozen
class RandomFlip(RandomImageLayer):
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


@frozen
class _RandomWarp(RandomImageLayer):
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


@frozen
class RandomRotation(_RandomWarp):
    """Rotate by an angle in `factor`, as fractions of a full turn."""

    factor: Range = setting(settings.symmetric_range)

    def maps(self, run: Run, batch: int, height: int, width: int) -> Array:
        angle = 2 * math.pi * self.draw(run, self.factor, batch)
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        rows = [jnp.stack([cos, -sin], -1), jnp.stack([sin, cos], -1)]
        return ops.centred(jnp.stack(rows, 1), height, width)


@frozen
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


@frozen
class RandomTranslation(_RandomWarp):
    """Shift down and right by fractions of the height and the width."""

    height_factor: Range = setting(settings.symmetric_range)
    width_factor: Range = setting(settings.symmetric_range)

    def maps(self, run: Run, batch: int, height: int, width: int) -> Array:
        down = height * self.draw(run, self.height_factor, batch)
        right = width * self.draw(run, self.width_factor, batch)
        linear = jnp.broadcast_to(jnp.eye(2, dtype="float32"), (batch, 2, 2))
        return jnp.concatenate([linear, -jnp.stack([right, down], -1)[..., None]], -1)


@frozen
class RandomContrast(RandomImageLayer):
    """Scale the distance to each channel's mean by a factor in [1 - lower, 1 + upper]."""

    factor: Range = setting(settings.range_or_same)
    value_range: Range = setting(settings.range_or_same, (0.0, 255.0))

    def disturb(self, run: Run, x: Array) -> Array:
        lower, upper = self.factor
        shape = (x.shape[0], 1, 1, 1)
        factor = jax.random.uniform(run.key(), shape, x.dtype, 1 - lower, 1 + upper)
        mean = x.mean(axis=ops.spatial_axes(self.data_format), keepdims=True)
        return jnp.clip((x - mean) * factor + mean, *self.value_range)


@frozen
class RandomBrightness(RandomImageLayer):
    """Add to each image a fraction in `factor` of the width of `value_range`, and clip to that."""

    factor: Range = setting(settings.symmetric_range)
    value_range: Range = setting(settings.range_or_same, (0.0, 255.0))

    def disturb(self, run: Run, x: Array) -> Array:
        lower, upper = sorted(self.value_range)
        fraction = jax.random.uniform(run.key(), (x.shape[0], 1, 1, 1), x.dtype, *self.factor)
        return jnp.clip(x + fraction * (upper - lower), lower, upper)


@frozen
class _ForInference(RandomImageLayer):
    """Base of random layers that ferjax keeps for Keras and does not train with."""

    def disturb(self, run: Run, x: Array) -> Array:
        raise self.error(
            "ferjax does not train with it; take it out, and use --augment or the random layers "
            "RandomFlip, RandomRotation, RandomZoom, RandomTranslation, RandomContrast and "
            "RandomBrightness"
        )


@frozen
class RandomHeight(_ForInference):
    """Keras 2's: another height while training."""

    factor: Any = setting(settings.plain)
    interpolation: str = setting(settings.text, "bilinear")


@frozen
class RandomWidth(_ForInference):
    """Keras 2's: another width while training."""

    factor: Any = setting(settings.plain)
    interpolation: str = setting(settings.text, "bilinear")


@frozen
class _RandomColors(_ForInference):
    factor: Any = setting(settings.plain)
    value_range: Range = setting(settings.range_or_same, (0.0, 255.0))


@frozen
class RandomColorDegeneration(_RandomColors):
    """Keras 3's: less color."""


@frozen
class RandomHue(_RandomColors):
    """Keras 3's: other colors."""


@frozen
class RandomSaturation(_RandomColors):
    """Keras 3's: less color, or more."""


@frozen
class RandomSharpness(_RandomColors):
    """Keras 3's: blurred or sharpened."""


@frozen
class RandomPosterization(_RandomColors):
    """Keras 3's: fewer gray levels."""


@frozen
class RandomInvert(_RandomColors):
    """Keras 3's: the negative, by chance."""

    factor: Any = setting(settings.plain, 1.0)


@frozen
class RandomGrayscale(_ForInference):
    """Keras 3's: without color, by chance."""

    factor: Any = setting(settings.plain, 0.5)


@frozen
class RandomColorJitter(_ForInference):
    """Keras 3's: brightness, contrast, saturation and hue at once."""

    value_range: Range = setting(settings.range_or_same, (0.0, 255.0))
    brightness_factor: Any = setting(settings.plain, None)
    contrast_factor: Any = setting(settings.plain, None)
    saturation_factor: Any = setting(settings.plain, None)
    hue_factor: Any = setting(settings.plain, None)


@frozen
class RandomErasing(_ForInference):
    """Keras 3's: rectangles are covered."""

    factor: Any = setting(settings.plain, 1.0)
    scale: Any = setting(settings.plain, (0.02, 0.33))
    fill_value: Any = setting(settings.plain, None)
    value_range: Range = setting(settings.range_or_same, (0.0, 255.0))


@frozen
class RandomGaussianBlur(_ForInference):
    """Keras 3's: blurred."""

    factor: Any = setting(settings.plain, 1.0)
    kernel_size: Any = setting(settings.positive_pair, (3, 3))
    sigma: Any = setting(settings.plain, 1.0)
    value_range: Range = setting(settings.range_or_same, (0.0, 255.0))


@frozen
class RandomPerspective(_ForInference):
    """Keras 3's: seen from another side."""

    factor: Any = setting(settings.plain, 1.0)
    scale: Any = setting(settings.plain, 1.0)
    interpolation: str = setting(settings.text, "bilinear")
    fill_value: Any = setting(settings.plain, 0.0)


@frozen
class RandomElasticTransform(_ForInference):
    """Keras 3's: bent."""

    factor: Any = setting(settings.plain, 1.0)
    scale: Any = setting(settings.plain, 1.0)
    interpolation: str = setting(settings.text, "bilinear")
    fill_mode: str = setting(settings.text, "reflect")
    fill_value: Any = setting(settings.plain, 0.0)
    value_range: Range = setting(settings.range_or_same, (0.0, 255.0))
