"""Layers that make images of another size.

Dimensions: B batch, H height, W width, C channels. Shapes leave the batch axis out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ferjax import settings
from ferjax.frozen import frozen
from ferjax.nets.layers.base import Array, Run, Shape, Work, jax, jnp, ops
from ferjax.nets.layers.spatial import Spatial
from ferjax.nets.resampling import INTERPOLATIONS, fitting_window, resampling, surrounding
from ferjax.settings import Pair, setting

_MOST_ROWS = 1 << 14
_PER_WEIGHT = 32  # numbers that are held for each weight while a matrix of them is made
_INTERPOLATION = settings.choice(*INTERPOLATIONS)


def _resampling(sizes: Sequence[int], new: Pair, channels: int | None) -> Work:
    """Return what it takes to make an image of one size of another, rows first."""
    between = new[0] * sizes[1] * (channels or 1)
    made = new[0] * new[1] * (channels or 1)
    weights = max(new[0] * sizes[0], new[1] * sizes[1])
    return Work(between + _PER_WEIGHT * weights, between * sizes[0] + made * sizes[1])


@frozen
class _ToSize(Spatial):
    """Base of those that give images of `height` and `width`."""

    moves: ClassVar[bool] = True
    full_precision: ClassVar[bool] = True  # gray levels up to 255 have 8 bits

    height: int = setting(settings.positive_int)
    width: int = setting(settings.positive_int)

    def __post_init__(self) -> None:
        super().__post_init__()
        if max(self.size) > _MOST_ROWS:
            raise self.error(f"expected at most {_MOST_ROWS} rows and columns, got {self.size}")

    @property
    def size(self) -> Pair:
        return self.height, self.width

    def output_shape(self, *shapes: Shape) -> Shape:
        return self.join(self.height, self.width, self.split(shapes[0])[2])

    def work(self, *shapes: Shape) -> Work:
        height, width, channels = self.split(shapes[0])
        rows, columns = self.padding(height or 1, width or 1)
        tall, wide = (height or 1) + 2 * rows, (width or 1) + 2 * columns
        work = _resampling(self.window(tall, wide)[2:], self.size, channels)
        return work + Work(values=tall * wide * (channels or 1) if rows or columns else 0)

    def padding(self, height: int, width: int) -> Pair:
        """Return the rows above and below, and the columns left and right, that are added."""
        return 0, 0

    def window(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return the part of an image that is resized: (y, x, height, width)."""
        return 0, 0, height, width

    def resized(self, x: Array, interpolation: str, antialias: bool = False) -> Array:
        """Resize the window of images to `size`."""
        axes = ops.spatial_axes(self.data_format)
        y, left, *sizes = self.window(*(x.shape[axis] for axis in axes))
        for axis, start, length, new in zip(axes, (y, left), sizes, self.size):
            x = jax.lax.slice_in_dim(x, start, start + length, axis=axis)
            x = ops.resample(x, axis, resampling(length, new, interpolation, antialias))
        return x


@frozen
class Resizing(_ToSize):
    """The image at another size, distorted, cropped or, Keras 3's, padded to its shape."""

    interpolation: str = setting(_INTERPOLATION, "bilinear")
    crop_to_aspect_ratio: bool = setting(settings.boolean, False)
    pad_to_aspect_ratio: bool = setting(settings.boolean, False)
    fill_mode: str = setting(settings.choice("constant"), "constant")
    fill_value: float = setting(settings.real, 0.0)
    antialias: bool = setting(settings.boolean, False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop_to_aspect_ratio and self.pad_to_aspect_ratio:
            raise self.error("expected crop_to_aspect_ratio or pad_to_aspect_ratio, got both")
        if self.antialias and self.interpolation == "area":
            raise self.error("antialias: expected false with interpolation 'area', got true")

    def window(self, height: int, width: int) -> tuple[int, int, int, int]:
        if self.crop_to_aspect_ratio:
            return fitting_window(height, width, self.size)
        return 0, 0, height, width

    def padding(self, height: int, width: int) -> Pair:
        return surrounding(height, width, self.size) if self.pad_to_aspect_ratio else (0, 0)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = inputs[0]
        axes = ops.spatial_axes(self.data_format)
        added = self.padding(*(x.shape[axis] for axis in axes))
        around = [(0, 0)] * 4
        for axis, count in zip(axes, added):
            around[axis] = (count, count)
        x = jnp.pad(x, around, constant_values=self.fill_value) if any(added) else x
        return self.resized(x, self.interpolation, self.antialias)


@frozen
class CenterCrop(_ToSize):
    """The middle of the image; of a smaller one the largest part of its shape, resized."""

    def crops(self, height: int, width: int) -> bool:
        return height >= self.height and width >= self.width

    def window(self, height: int, width: int) -> tuple[int, int, int, int]:
        if self.crops(height, width):
            top, left = (height - self.height) // 2, (width - self.width) // 2
            return top, left, self.height, self.width
        return fitting_window(height, width, self.size)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return self.resized(inputs[0], "bilinear")


@frozen
class RandomCrop(_ToSize):
    """Keras 2's: while training a random part of the image, else the largest of its shape, resized.

    All images of a batch are cropped alike.
    """

    seed: Any = setting(settings.optional(settings.integer), None)

    def window(self, height: int, width: int) -> tuple[int, int, int, int]:
        return fitting_window(height, width, self.size)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = inputs[0]
        axes = ops.spatial_axes(self.data_format)
        spare = [x.shape[axis] - new for axis, new in zip(axes, self.size)]
        if not run.train or min(spare) < 0:
            return self.resized(x, "bilinear")
        for axis, most, new in zip(axes, spare, self.size):
            start = jax.random.randint(run.key(), (), 0, most + 1)
            x = jax.lax.dynamic_slice_in_dim(x, start, new, axis)
        return x


@frozen
class UpSampling2D(Spatial):
    """The image `size` times as high and wide."""

    moves: ClassVar[bool] = True

    size: Pair = setting(settings.positive_pair, (2, 2))
    interpolation: str = setting(_INTERPOLATION, "nearest")

    def output_shape(self, *shapes: Shape) -> Shape:
        height, width, channels = self.split(shapes[0])
        return self.join(
            None if height is None else height * self.size[0],
            None if width is None else width * self.size[1],
            channels,
        )

    def work(self, *shapes: Shape) -> Work:
        height, width, channels = self.split(shapes[0])
        if self.interpolation == "nearest":
            return Work()
        sizes = height or 1, width or 1
        new = sizes[0] * self.size[0], sizes[1] * self.size[1]
        return _resampling(sizes, new, channels)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = inputs[0]
        for axis, times in zip(ops.spatial_axes(self.data_format), self.size):
            if self.interpolation == "nearest":
                x = jnp.repeat(x, times, axis=axis)
            else:
                length = x.shape[axis]
                x = ops.resample(x, axis, resampling(length, length * times, self.interpolation))
        return x
