"""What augmentation does to training images: its settings, checked, and presets of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ferjax import settings
from ferjax.errors import FerjaxError, near_misses
from ferjax.settings import Range, setting, within

FILL_MODES = ("nearest", "constant", "reflect", "wrap")


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


_probability = within(settings.real, 0, 1, "a probability in [0, 1]")
_level = within(settings.real, 0, 1, "a gray level in [0, 1]")
_factor = within(_around_one, 0, 1e3, "factors of at least 0")
_shift = within(_around_zero, -1, 1, "shifts in [-1, 1], fractions of the size")


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is done to each training image. The default is nothing.

    A range is (low, high), from which each image draws evenly; (a, a) pins it. One number f stands
    for (-f, f) where 0 changes nothing, or (0, f) where nothing is below it, and for
    (1 - f, 1 + f) where 1 does, or (f, 1) where nothing is above it.
    """

    # --- the affine map, in the order in which it is composed from the input on ---

    # Degrees, counter-clockwise.
    rotation: Range = setting(within(_around_zero, -180, 180, "degrees in [-180, 180]"), (0.0, 0.0))
    rotation_probability: float = setting(_probability, 1.0)
    shift_x: Range = setting(_shift, (0.0, 0.0))  # of the width, to the right
    shift_y: Range = setting(_shift, (0.0, 0.0))  # of the height, down
    shift_probability: float = setting(_probability, 1.0)  # both axes together
    # Degrees, as Keras's shear_range.
    shear: Range = setting(within(_around_zero, -80, 80, "degrees in [-80, 80]"), (0.0, 0.0))
    # What is seen, by the whole: below 1 enlarges; each axis draws its own, as in Keras.
    zoom: Range = setting(within(_around_one, 1e-3, 1e3, "factors above 0"), (1.0, 1.0))
    # As zoom, but both axes alike: the side of the box around a face, by what it should be.
    scale: Range = setting(within(_around_one, 1e-3, 1e3, "factors above 0"), (1.0, 1.0))
    horizontal_flip: float = setting(_probability, 0.0)  # probability
    # (height, width) in pixels of a window at a random place.
    crop: tuple[int, int] | None = setting(settings.optional(settings.positive_pair), None)
    resize_crop: bool = setting(settings.boolean, False)  # back to the whole size
    fill_mode: str = setting(settings.choice(*FILL_MODES), "nearest")  # beyond the edges
    fill_value: float = setting(_level, 0.0)  # in [0, 1], for "constant"

    # --- what a lens does, before the light changes: a Gaussian blur ---

    # Standard deviation, of the shorter side.
    blur: Range = setting(
        within(_from_zero, 0, 0.2, "standard deviations in [0, 0.2], fractions of the side"),
        (0.0, 0.0),
    )
    blur_probability: float = setting(_probability, 1.0)

    # --- a face of few pixels that is enlarged: shrunk by area, then enlarged bilinearly, as
    # `ferjax.preprocessing` resizes crops ---

    # Rows and columns kept, by the whole, to the nearest pixel: 0.5 of 48 is a face of 24.
    resolution: Range = setting(within(_up_to_one, 1e-3, 1, "fractions in (0, 1]"), (1.0, 1.0))
    resolution_probability: float = setting(_probability, 1.0)

    # --- the gray levels, clipped to [0, 1] after each ---

    brightness: Range = setting(_factor, (1.0, 1.0))  # factor of the levels
    contrast: Range = setting(_factor, (1.0, 1.0))  # factor of their distance from the mean

    # --- what a sensor adds: Gaussian noise, clipped to [0, 1] (Rusak et al., arXiv 2001.06057) ---

    # Standard deviation, of the range from black to white.
    noise: Range = setting(within(_from_zero, 0, 1, "standard deviations in [0, 1]"), (0.0, 0.0))
    noise_probability: float = setting(_probability, 1.0)

    # --- random erasing (Zhong et al., arXiv 1708.04896) ---

    erase: float = setting(_probability, 0.0)  # probability of one rectangle
    # Fraction of the image.
    erase_area: Range = setting(within(_range, 0, 1, "fractions in [0, 1]"), (0.02, 0.33))
    # Height by width, drawn evenly in its logarithm.
    erase_aspect: Range = setting(within(_range, 1e-3, 1e3, "ratios above 0"), (0.3, 3.3))
    erase_value: float = setting(_level, 0.0)  # what is left, in [0, 1]

    # --- mixup (Zhang et al., arXiv 1710.09412) ---

    # Alpha of Beta(alpha, alpha); 0 turns it off.
    mixup: float = setting(settings.non_negative, 0.0)

    def __post_init__(self) -> None:
        settings.convert_fields(self, lambda name, error: AugmentationError(f"`{name}`: {error}"))
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
        raise AugmentationError(
            f"expected one of {', '.join(map(repr, PRESETS))} for the augmentation, got {name!r}"
            f"{near_misses(name, PRESETS)}"
        )
    return PRESETS[name]
