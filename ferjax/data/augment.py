"""Augmentation on the device: a pure function of (key, batch), each image with its own randomness.

Rotation, shear, zoom, shifts, flip and crop are one affine map, so an image is interpolated once.
The map is Keras's: `ImageDataGenerator` with the same ranges draws from the same distribution.
Dimension keys: B batch, H height, W width, C channels, K classes.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from ferjax.errors import FerjaxError, near_misses
from ferjax.nets import ops, settings

Array = jax.Array
Range = tuple[float, float]

FILL_MODES = ("nearest", "constant", "reflect", "wrap")

# One uniform number an image and name. New names go to the end: the others keep their numbers.
_DRAWS = (
    "flip rotation rotates shear zoom_x zoom_y shift_x shift_y shifts crop_x crop_y brightness "
    "contrast erases erase_area erase_aspect erase_x erase_y blur blurs noise noises "
    "scale resolution resolutions"
).split()


class AugmentationError(FerjaxError, ValueError):
    """An augmentation's setting is invalid, or the batch does not fit it."""


def _around_zero(value: Any) -> Range:
    """Return (low, high); a number f means (-f, f)."""
    return _range((-value, value) if isinstance(value, int | float) else value)


def _from_zero(value: Any) -> Range:
    """Return (low, high); a number f means (0, f)."""
    return _range((0, value) if isinstance(value, int | float) else value)


def _around_one(value: Any) -> Range:
    """Return (low, high); a number f means (1 - f, 1 + f)."""
    return _range((1 - value, 1 + value) if isinstance(value, int | float) else value)


def _up_to_one(value: Any) -> Range:
    """Return (low, high); a number f means (f, 1)."""
    return _range((value, 1) if isinstance(value, int | float) else value)


def _range(value: Any) -> Range:
    low, high = (settings.real(v) for v in settings.sequence(value, "a number or two", 2))
    if low > high:
        raise ValueError(f"expected a range (low, high), got {(low, high)}")
    return low, high


def _within(convert: settings.Convert, low: float, high: float, what: str) -> settings.Convert:
    def within(value: Any) -> Any:
        converted = convert(value)
        ends = converted if isinstance(converted, tuple) else (converted,)
        if not all(low <= end <= high for end in ends):
            raise ValueError(f"expected {what}, got {value!r}")
        return converted

    return within


_probability = _within(settings.real, 0, 1, "a probability in [0, 1]")
_level = _within(settings.real, 0, 1, "a gray level in [0, 1]")
_factor = _within(_around_one, 0, 1e3, "factors of at least 0")
_shift = _within(_around_zero, -1, 1, "shifts in [-1, 1], fractions of the size")


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is done to each training image. The default is nothing.

    A range is (low, high), from which each image draws evenly; (a, a) pins it. One number f stands
    for (-f, f) where 0 changes nothing, or (0, f) where nothing is below it, and for
    (1 - f, 1 + f) where 1 does, or (f, 1) where nothing is above it.
    """

    # The affine map, in the order in which it is composed from the input on.
    rotation: Range = settings.setting(
        _within(_around_zero, -180, 180, "degrees in [-180, 180]"), (0.0, 0.0)
    )  # degrees, counter-clockwise
    rotation_probability: float = settings.setting(_probability, 1.0)
    shift_x: Range = settings.setting(_shift, (0.0, 0.0))  # of the width, to the right
    shift_y: Range = settings.setting(_shift, (0.0, 0.0))  # of the height, down
    shift_probability: float = settings.setting(_probability, 1.0)  # both axes together
    shear: Range = settings.setting(
        _within(_around_zero, -80, 80, "degrees in [-80, 80]"), (0.0, 0.0)
    )  # degrees, as Keras's shear_range
    zoom: Range = settings.setting(
        _within(_around_one, 1e-3, 1e3, "factors above 0"), (1.0, 1.0)
    )  # what is seen, by the whole: below 1 enlarges; each axis draws its own, as in Keras
    scale: Range = settings.setting(
        _within(_around_one, 1e-3, 1e3, "factors above 0"), (1.0, 1.0)
    )  # as zoom, but both axes alike: the side of the box around a face, by what it should be
    horizontal_flip: float = settings.setting(_probability, 0.0)  # probability
    crop: tuple[int, int] | None = settings.setting(
        settings.optional(settings.positive_pair), None
    )  # (height, width) in pixels of a window at a random place
    resize_crop: bool = settings.setting(settings.boolean, False)  # back to the whole size
    fill_mode: str = settings.setting(settings.choice(*FILL_MODES), "nearest")  # beyond the edges
    fill_value: float = settings.setting(_level, 0.0)  # in [0, 1], for "constant"

    # What a lens does, before the light changes: a Gaussian blur.
    blur: Range = settings.setting(
        _within(_from_zero, 0, 0.2, "standard deviations in [0, 0.2], fractions of the side"),
        (0.0, 0.0),
    )  # standard deviation, of the shorter side
    blur_probability: float = settings.setting(_probability, 1.0)

    # What a face of few pixels looks like when it is enlarged: shrunk by area, then enlarged
    # bilinearly, as `ferjax.preprocessing` resizes crops.
    resolution: Range = settings.setting(
        _within(_up_to_one, 1e-3, 1, "fractions in (0, 1]"), (1.0, 1.0)
    )  # rows and columns kept, by the whole, to the nearest pixel: 0.5 of 48 is a face of 24
    resolution_probability: float = settings.setting(_probability, 1.0)

    # The gray levels, clipped to [0, 1] after each.
    brightness: Range = settings.setting(_factor, (1.0, 1.0))  # factor of the levels
    contrast: Range = settings.setting(
        _factor, (1.0, 1.0)
    )  # factor of their distance from the mean

    # What a sensor adds: Gaussian noise, clipped to [0, 1] (Rusak et al., arXiv 2001.06057).
    noise: Range = settings.setting(
        _within(_from_zero, 0, 1, "standard deviations in [0, 1]"), (0.0, 0.0)
    )  # standard deviation, of the range from black to white
    noise_probability: float = settings.setting(_probability, 1.0)

    # Random erasing (Zhong et al., arXiv 1708.04896).
    erase: float = settings.setting(_probability, 0.0)  # probability of one rectangle
    erase_area: Range = settings.setting(
        _within(_range, 0, 1, "fractions in [0, 1]"), (0.02, 0.33)
    )  # fraction of the image
    erase_aspect: Range = settings.setting(
        _within(_range, 1e-3, 1e3, "ratios above 0"), (0.3, 3.3)
    )  # height by width, drawn evenly in its logarithm
    erase_value: float = settings.setting(_level, 0.0)  # what is left, in [0, 1]

    # Mixup (Zhang et al., arXiv 1710.09412): alpha of Beta(alpha, alpha); 0 turns it off.
    mixup: float = settings.setting(settings.non_negative, 0.0)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            try:
                value = field.metadata["convert"](getattr(self, field.name))
            except ValueError as error:
                raise AugmentationError(f"`{field.name}`: {error}") from None
            object.__setattr__(self, field.name, value)
        if self.resize_crop and self.crop is None:
            raise AugmentationError(
                "expected a size for `crop` where `resize_crop` is set, got None"
            )

    @property
    def warps(self) -> bool:
        """Whether images are interpolated."""
        still = (self.rotation, self.shear, self.shift_x, self.shift_y) == ((0.0, 0.0),) * 4
        still &= (self.zoom, self.scale) == ((1.0, 1.0),) * 2
        still &= not self.horizontal_flip and self.crop is None
        return not still

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width that images of a height and width get."""
        if self.crop is None:
            return height, width
        if self.crop[0] > height or self.crop[1] > width:
            raise AugmentationError(
                f"expected a `crop` of at most the images' {height} x {width}, got "
                f"{self.crop[0]} x {self.crop[1]}"
            )
        return (height, width) if self.resize_crop else self.crop


PRESETS = {
    "none": Augmentation(),
    # What a network learns within a few dozen epochs: faces a little tilted, resized and moved.
    "light": Augmentation(
        rotation=(-10, 10),
        zoom=(0.9, 1.1),
        shift_x=(-0.08, 0.08),
        shift_y=(-0.08, 0.08),
        horizontal_flip=0.5,
    ),
    # The published model's training: zoom_range=0.3, horizontal_flip=True, rotation_range=20,
    # width_shift_range=height_shift_range=0.2, shear_range=0.2 (Keras takes it in degrees),
    # brightness_range=(0.8, 1.2), fill_mode="nearest". Keras rounds to gray levels on the way.
    "published": Augmentation(
        zoom=(0.7, 1.3),
        horizontal_flip=0.5,
        rotation=(-20, 20),
        shift_x=(-0.2, 0.2),
        shift_y=(-0.2, 0.2),
        shear=(-0.2, 0.2),
        brightness=(0.8, 1.2),
        fill_mode="nearest",
    ),
    # For long trainings: `light` with more sizes, gray levels changed, half of the images erased in
    # part. The range of sizes has that of whole images in it.
    "medium": Augmentation(
        rotation=(-10, 10),
        zoom=(0.8, 1.1),
        shift_x=(-0.1, 0.1),
        shift_y=(-0.1, 0.1),
        horizontal_flip=0.5,
        brightness=(0.8, 1.2),
        contrast=(0.8, 1.2),
        erase=0.5,
    ),
    # After the best networks from scratch (Khaireddin and Chen, arXiv 2105.03588): half of the
    # images rotated by up to 10 degrees, half shifted by up to 0.2, flipped, a 40 px window of 48
    # enlarged, half erased in part; their resized crop of 0.8 to 1.2 in area is the zoom here.
    # Brightness is after a ResNet18 recipe, over a narrower range; contrast is ferjax's own choice.
    # For images of 48 px.
    "strong": Augmentation(
        zoom=(0.9, 1.1),
        horizontal_flip=0.5,
        rotation=(-10, 10),
        rotation_probability=0.5,
        shift_x=(-0.2, 0.2),
        shift_y=(-0.2, 0.2),
        shift_probability=0.5,
        crop=(40, 40),
        resize_crop=True,
        brightness=(0.8, 1.2),
        contrast=(0.8, 1.2),
        erase=0.5,
        fill_mode="constant",
    ),
    # What faces bring that are found in photographs. Measured on FER2013's PublicTest, between its
    # boxes and YuNet's on the same face: 80 % of the sides within 0.86 to 1.18 of the median, of
    # the centres within 0.05 (across) and 0.06 (down) of it, in sides; YuNet alone, of one face at
    # four sizes, strays by 0.05 in its side and 0.02 in its place. A crop is levelled from 15
    # degrees on, and keeps smaller angles. Half of the images become faces of 24 px and more
    # enlarged to 48, below which `ferjax faces` calls a face too small. Levels are `medium`'s; the
    # noise is ferjax's own choice. For images of 48 px.
    "photographs": Augmentation(
        rotation=(-10, 10),
        scale=(0.85, 1.15),
        shift_x=(-0.06, 0.06),
        shift_y=(-0.06, 0.06),
        horizontal_flip=0.5,
        resolution=(0.45, 1.0),
        resolution_probability=0.5,
        brightness=(0.8, 1.2),
        contrast=(0.8, 1.2),
        noise=(0.0, 0.02),
        noise_probability=0.3,
    ),
}


def preset(name: str) -> Augmentation:
    """Return an augmentation of `PRESETS`; `dataclasses.replace` changes it.

    >>> preset("published").rotation
    (-20.0, 20.0)
    """
    if name not in PRESETS:
        known = ", ".join(map(repr, PRESETS))
        raise AugmentationError(
            f"expected one of {known} for the augmentation, got {name!r}"
            f"{near_misses(name, PRESETS)}"
        )
    return PRESETS[name]


def unit_range(images: Array) -> Array:
    """Map uint8 [0, 255] to float32 [0, 1]: x / 255 bit for bit, as `ferjax.preprocessing` divides.

    XLA multiplies by 1 / 255 instead of dividing, which is a bit off for half of the levels.
    """
    if images.dtype != jnp.uint8:
        raise AugmentationError(f"expected uint8 in [0, 255] for `images`, got {images.dtype}")
    return jnp.take(jnp.asarray(_LEVELS), images.astype("int32"), mode="clip")


_LEVELS = np.arange(256, dtype=np.float32) / np.float32(255)


def augment(
    key: Array,
    images: Array,
    labels: Array,
    augmentation: Augmentation,
    *,
    positions: Array | None = None,
) -> tuple[Array, Array]:
    """Augment a batch. Under jit the augmentation is static.

    An image's result depends on the key, on the image and on its position, but neither on the
    batch's size nor on the other images; mixup alone adds the next image of the batch, to the last
    one the first.

    Args:
        key: such as `jax.random.fold_in(key, step)`.
        images: uint8 in [0, 255], (B, H, W) or (B, H, W, C).
        labels: integers, (B,), or one-hot or soft labels, float (B, K), which mixup needs.
        augmentation: what is done.
        positions: integers, (B,), by which the key is folded for each image; 0 to B - 1 unless the
            batch is a part of a larger one.

    Returns:
        Images, float32 in [0, 1], of as many axes as were given and of the augmentation's
        `output_size`; and the labels, mixed where images are.
    """
    if images.ndim not in (3, 4):
        raise AugmentationError(
            f"expected (B, H, W) or (B, H, W, C) for `images`, got {images.shape}"
        )
    if labels.shape[:1] != images.shape[:1]:
        raise AugmentationError(
            f"expected as many `labels` as images, {len(images)}, got shape {labels.shape}"
        )
    if augmentation.mixup and not (labels.ndim == 2 and jnp.issubdtype(labels.dtype, jnp.floating)):
        raise AugmentationError(
            f"expected float labels of shape (B, K) for mixup, got {labels.dtype} {labels.shape}; "
            "pass jax.nn.one_hot(labels, num_classes)"
        )
    height, width = augmentation.output_size(*images.shape[1:3])
    positions = jnp.arange(len(images), dtype="int32") if positions is None else positions
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, positions)
    numbers = jax.vmap(lambda k: jax.random.uniform(k, (len(_DRAWS),), "float32"))(keys)
    draws = dict(zip(_DRAWS, numbers.T))

    x = unit_range(images)
    x = x if images.ndim == 4 else x[..., None]  # (B, H, W, C)
    if augmentation.warps:
        x = _warp(x, draws, augmentation)[:, :height, :width]
    if augmentation.blur != (0.0, 0.0):
        x = _blur(x, draws, augmentation)
    if augmentation.resolution != (1.0, 1.0):
        x = _fewer_pixels(x, draws, augmentation)
    x = _levels(x, draws, augmentation)
    if augmentation.noise != (0.0, 0.0):
        x = _noise(keys, x, draws, augmentation)
    if augmentation.erase:
        x = _erase(x, draws, augmentation)
    if augmentation.mixup:
        x, labels = _mixup(keys, x, labels, augmentation.mixup)
    return x if images.ndim == 4 else x[..., 0], labels


def _between(number: Array, bounds: Range) -> Array:
    """Move numbers in [0, 1) into a range, one that is pinned without rounding."""
    low, high = bounds
    return low + (high - low) * number


def _where(chosen: Array, value: Array) -> Array:
    return jnp.where(chosen, value, 0.0)


def _place(number: Array, room: Array | int) -> Array:
    """Return a whole number in [0, room] for each number in [0, 1)."""
    return jnp.minimum(jnp.floor(number * (room + 1)), room)


def affine_maps(
    draws: dict[str, Array], augmentation: Augmentation, height: int, width: int
) -> Array:
    """Return the maps, (B, 2, 3), from output pixels (x, y, 1) to the input pixels they show.

    Args:
        draws: numbers in [0, 1), (B,), for each name of `_DRAWS`.
        augmentation: the ranges.
        height: of the input images, in pixels.
        width: likewise.
    """
    a = augmentation
    one, zero = jnp.ones_like(draws["flip"]), jnp.zeros_like(draws["flip"])

    def matrix(*rows: tuple[Array, Array, Array]) -> Array:
        return jnp.stack([jnp.stack(row, -1) for row in (*rows, (zero, zero, one))], 1)

    rotates = draws["rotates"] < a.rotation_probability
    angle = jnp.deg2rad(_where(rotates, _between(draws["rotation"], a.rotation)))
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    shifts = draws["shifts"] < a.shift_probability
    right = width * _where(shifts, _between(draws["shift_x"], a.shift_x))
    down = height * _where(shifts, _between(draws["shift_y"], a.shift_y))
    shear = jnp.deg2rad(_between(draws["shear"], a.shear))
    zoom_x, zoom_y = _between(draws["zoom_x"], a.zoom), _between(draws["zoom_y"], a.zoom)
    if a.scale != (1.0, 1.0):
        scale = _between(draws["scale"], a.scale)
        zoom_x, zoom_y = zoom_x * scale, zoom_y * scale
    mirror = jnp.where(draws["flip"] < a.horizontal_flip, -one, one)
    centre_x, centre_y = (width - 1) / 2 * one, (height - 1) / 2 * one

    maps = [
        matrix((one, zero, centre_x), (zero, one, centre_y)),
        matrix((cos, -sin, zero), (sin, cos, zero)),
        matrix((one, zero, -right), (zero, one, -down)),
        matrix((one, -jnp.sin(shear), zero), (zero, jnp.cos(shear), zero)),
        matrix((zoom_x * mirror, zero, zero), (zero, zoom_y, zero)),
        matrix((one, zero, -centre_x), (zero, one, -centre_y)),
    ]
    if a.crop is not None:
        high, wide = a.crop
        left = _place(draws["crop_x"], width - wide)
        top = _place(draws["crop_y"], height - high)
        # Pixels have their centres at whole numbers, so the edge of an image is at -1/2.
        scale_x, scale_y = (wide / width, high / height) if a.resize_crop else (1.0, 1.0)
        left, top = left + (scale_x - 1) / 2, top + (scale_y - 1) / 2
        maps.append(matrix((scale_x * one, zero, left), (zero, scale_y * one, top)))
    return reduce(jnp.matmul, maps)[:, :2]


def _warp(x: Array, draws: dict[str, Array], augmentation: Augmentation) -> Array:
    height, width = x.shape[1:3]
    # Coordinates need all their bits; accelerators would multiply matrices in fewer.
    with jax.default_matmul_precision("highest"):
        return ops.affine_warp(
            x,
            affine_maps(draws, augmentation, height, width),
            interpolation="bilinear",
            fill_mode=augmentation.fill_mode,
            fill_value=augmentation.fill_value,
            data_format="channels_last",
        )


def _blur(x: Array, draws: dict[str, Array], augmentation: Augmentation) -> Array:
    """Blur each image by its own deviation; pixels beyond an edge are as those at it."""
    side = min(x.shape[1:3])
    blurs = draws["blurs"] < augmentation.blur_probability
    sigma = side * _where(blurs, _between(draws["blur"], augmentation.blur))
    reach = math.ceil(3 * side * augmentation.blur[1])
    distance = jnp.arange(-reach, reach + 1, dtype="float32")
    # A deviation of 0 leaves the middle alone: the images stay as they are, bit for bit.
    weights = jnp.exp(-0.5 * jnp.square(distance[None] / jnp.maximum(sigma, 1e-3)[:, None]))
    weights = weights / weights.sum(axis=1, keepdims=True)  # (B, taps)
    for axis in (1, 2):
        size = x.shape[axis]
        pads = [(reach, reach) if i == axis else (0, 0) for i in range(x.ndim)]
        padded = jnp.pad(x, pads, mode="edge")
        x = sum(
            jax.lax.slice_in_dim(padded, i, i + size, axis=axis)
            * ops.along_axis(weights[:, i], x.ndim, 0)
            for i in range(2 * reach + 1)
        )  # type: ignore[assignment]
    return x


def _fewer_pixels(x: Array, draws: dict[str, Array], augmentation: Augmentation) -> Array:
    """Shrink each image to its own number of rows and columns, and enlarge it to its size."""
    chosen = draws["resolutions"] < augmentation.resolution_probability
    kept = jnp.where(chosen, _between(draws["resolution"], augmentation.resolution), 1.0)
    y = x
    with jax.default_matmul_precision("highest"):
        for axis, pattern in ((1, "brs,bswc->brwc"), (2, "brs,bhsc->bhrc")):
            y = jnp.einsum(pattern, _fewer_and_back(kept, x.shape[axis]), y)
    # What keeps all its pixels stays as it is, bit for bit, on every accelerator.
    return jnp.where(ops.along_axis(kept < 1, x.ndim, 0), jnp.clip(y, 0, 1), x)


def _fewer_and_back(kept: Array, size: int) -> Array:
    """Return weights (B, size, size) that shrink rows by area to `kept`, (B,), and enlarge them."""
    fewer = jnp.clip(jnp.round(kept * size), 1, size)[:, None, None]
    numbers = jnp.arange(size, dtype="float32")
    new, old = numbers[None, :, None], numbers[None, None, :]
    step = size / fewer
    starts = step * new
    overlap = jnp.minimum(starts + step, old + 1) - jnp.maximum(starts, old)
    shrink = jnp.maximum(overlap, 0) / step  # those from `fewer` on lie beyond the image: 0
    # Pixels have their centres at whole numbers, and none lies beyond the first or the last.
    places = jnp.clip((new + 0.5) / step - 0.5, 0, fewer - 1)
    enlarge = jnp.maximum(1 - jnp.abs(places - old), 0)
    return enlarge @ shrink


def _levels(x: Array, draws: dict[str, Array], augmentation: Augmentation) -> Array:
    if augmentation.brightness != (1.0, 1.0):
        factor = _between(draws["brightness"], augmentation.brightness)
        x = jnp.clip(x * ops.along_axis(factor, x.ndim, 0), 0, 1)
    if augmentation.contrast != (1.0, 1.0):
        factor = _between(draws["contrast"], augmentation.contrast)
        mean = x.mean(axis=(1, 2, 3), keepdims=True)
        x = jnp.clip(mean + (x - mean) * ops.along_axis(factor, x.ndim, 0), 0, 1)
    return x


def _noise(keys: Array, x: Array, draws: dict[str, Array], augmentation: Augmentation) -> Array:
    # Apart from the uniform numbers, and from mixup's.
    keys = jax.vmap(lambda k: jax.random.fold_in(k, 2))(keys)
    noise = jax.vmap(lambda k: jax.random.normal(k, x.shape[1:], x.dtype))(keys)
    chosen = draws["noises"] < augmentation.noise_probability
    sigma = _where(chosen, _between(draws["noise"], augmentation.noise))
    return jnp.clip(x + ops.along_axis(sigma, x.ndim, 0) * noise, 0, 1)


def _erase(x: Array, draws: dict[str, Array], augmentation: Augmentation) -> Array:
    """Fill a rectangle with one level. One that is too long for the image is cut to fit."""
    height, width = x.shape[1:3]
    area = height * width * _between(draws["erase_area"], augmentation.erase_area)
    low, high = (float(np.log(ratio)) for ratio in augmentation.erase_aspect)
    aspect = jnp.exp(_between(draws["erase_aspect"], (low, high)))
    tall = jnp.clip(jnp.round(jnp.sqrt(area * aspect)), 0, height)
    wide = jnp.clip(jnp.round(jnp.sqrt(area / aspect)), 0, width)
    top, left = _place(draws["erase_y"], height - tall), _place(draws["erase_x"], width - wide)

    def inside(size: int, first: Array, length: Array) -> Array:
        pixel = jnp.arange(size, dtype="float32")[None]
        return (pixel >= first[:, None]) & (pixel < (first + length)[:, None])  # (B, size)

    erased = (
        inside(height, top, tall)[:, :, None, None]
        & inside(width, left, wide)[:, None, :, None]
        & ops.along_axis(draws["erases"] < augmentation.erase, x.ndim, 0)
    )
    return jnp.where(erased, augmentation.erase_value, x)


def _beta(numbers: Array, alpha: float) -> Array:
    """Turn numbers in [0, 1) into draws from Beta(alpha, alpha), by a table of its quantiles.

    `jax.random.beta` rejects in loops, which on GPUs take twenty times as long as the step.
    """
    table = jnp.asarray(_beta_quantiles(alpha))
    place = numbers * (len(table) - 1)
    before = jnp.floor(place)
    low, high = (jnp.take(table, before.astype("int32") + i, mode="clip") for i in (0, 1))
    return low + (place - before) * (high - low)


@lru_cache(maxsize=8)
def _beta_quantiles(alpha: float) -> npt.NDArray[np.float32]:
    from scipy.special import betaincinv

    return betaincinv(alpha, alpha, np.linspace(0, 1, 4097)).astype(np.float32)


def _mixup(keys: Array, x: Array, labels: Array, alpha: float) -> tuple[Array, Array]:
    """Mix each image and label with the next of the batch; training batches are shuffled."""
    # Apart from the uniform numbers, which are drawn from the keys themselves.
    keys = jax.vmap(lambda k: jax.random.fold_in(k, 1))(keys)
    share = _beta(jax.vmap(lambda k: jax.random.uniform(k, dtype="float32"))(keys), alpha)

    def mix(values: Array) -> Array:
        part = ops.along_axis(share.astype(values.dtype), values.ndim, 0)
        return part * values + (1 - part) * jnp.roll(values, -1, axis=0)

    return mix(x), mix(labels)
