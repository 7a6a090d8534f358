"""Augmentation on the device: a pure function of (key, batch), each image with its own randomness.

Rotation, shear, zoom, shifts, flip and crop are one affine map, so an image is interpolated once.
The map is Keras's: `ImageDataGenerator` with the same ranges draws from the same distribution.
Dimension keys: B batch, H height, W width, C channels, K classes.
"""

from __future__ import annotations

import math
from functools import lru_cache, reduce

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from ferjax.data.augmentation import PRESETS, Augmentation, AugmentationError, preset
from ferjax.nets import ops
from ferjax.settings import Range

__all__ = ["PRESETS", "Augmentation", "AugmentationError", "augment", "preset", "unit_range"]

Array = jax.Array

# One uniform number an image and name. New names go to the end: the others keep their numbers.
_DRAWS = (
    "flip rotation rotates shear zoom_x zoom_y shift_x shift_y shifts crop_x crop_y brightness "
    "contrast erases erase_area erase_aspect erase_x erase_y blur blurs noise noises "
    "scale resolution resolutions"
).split()


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
    ones, zeros = jnp.ones_like(draws["flip"]), jnp.zeros_like(draws["flip"])

    def matrix(*rows: tuple[Array, Array, Array]) -> Array:
        return jnp.stack([jnp.stack(row, -1) for row in (*rows, (zeros, zeros, ones))], 1)

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
    mirror = jnp.where(draws["flip"] < a.horizontal_flip, -ones, ones)
    centre_x, centre_y = (width - 1) / 2 * ones, (height - 1) / 2 * ones

    maps = [
        matrix((ones, zeros, centre_x), (zeros, ones, centre_y)),
        matrix((cos, -sin, zeros), (sin, cos, zeros)),
        matrix((ones, zeros, -right), (zeros, ones, -down)),
        matrix((ones, -jnp.sin(shear), zeros), (zeros, jnp.cos(shear), zeros)),
        matrix((zoom_x * mirror, zeros, zeros), (zeros, zoom_y, zeros)),
        matrix((ones, zeros, -centre_x), (zeros, ones, -centre_y)),
    ]
    if a.crop is not None:
        high, wide = a.crop
        left = _place(draws["crop_x"], width - wide)
        top = _place(draws["crop_y"], height - high)
        # Pixels have their centres at whole numbers, so the edge of an image is at -1/2.
        scale_x, scale_y = (wide / width, high / height) if a.resize_crop else (1.0, 1.0)
        left, top = left + (scale_x - 1) / 2, top + (scale_y - 1) / 2
        maps.append(matrix((scale_x * ones, zeros, left), (zeros, scale_y * ones, top)))
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
    share = jnp.where(chosen, _between(draws["resolution"], augmentation.resolution), 1.0)
    y = x
    with jax.default_matmul_precision("highest"):
        for axis, pattern in ((1, "brs,bswc->brwc"), (2, "brs,bhsc->bhrc")):
            y = jnp.einsum(pattern, _fewer_and_back(share, x.shape[axis]), y)
    # What keeps all its pixels stays as it is, bit for bit, on every accelerator.
    return jnp.where(ops.along_axis(share < 1, x.ndim, 0), jnp.clip(y, 0, 1), x)


def _fewer_and_back(share: Array, size: int) -> Array:
    """Return weights (B, size, size) that shrink rows by area to `kept`, (B,), and enlarge them."""
    fewer = jnp.clip(jnp.round(share * size), 1, size)[:, None, None]
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
    position = numbers * (len(table) - 1)
    before = jnp.floor(position)
    low, high = (jnp.take(table, before.astype("int32") + i, mode="clip") for i in (0, 1))
    return low + (position - before) * (high - low)


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
