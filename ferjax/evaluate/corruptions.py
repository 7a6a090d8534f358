"""Corruptions of gray faces, at severities 1 to 5, and occlusions.

After Hendrycks and Dietterich (ICLR 2019, arXiv 1903.12261), with kinds and strengths of ferjax's
own: small gray crops of faces stand less blur and noise than photographs of 224 x 224, lighting and
a detector's loose crop matter more, and snow and fog hardly occur. Severity 1 is barely visible; at
5 a person still recognises most expressions. Figures are therefore not comparable with theirs.

Gray levels are in [0, 255]; black to white is "the range". Lengths are fractions of the side, the
shorter one of an image that is not square. Dimension keys: N images, H height, W width.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from ferjax._lazy import LazyModule
from ferjax.errors import DataError, near_misses

if TYPE_CHECKING:
    import cv2
else:
    cv2 = LazyModule("cv2")

T = TypeVar("T")
Images = npt.NDArray[np.uint8]
# Each image's own random numbers, in the order of the images.
Draws = Iterable[np.random.Generator]
Levels = npt.NDArray[Any]  # uint8, or floats that `corrupt` rounds and clips
Apply = Callable[[Images, float, Draws], Levels]

SEVERITIES: Final = (1, 2, 3, 4, 5)

_SMALLEST: Final = 8  # pixels a side


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """A way in which images get worse.

    Attributes:
        name: its key in `CORRUPTIONS`.
        title: what stands in a plot.
        family: "noise", "blur", "digital", "light" or "geometry".
        parameter: what the values are, and their unit.
        values: one for each of `SEVERITIES`.
        apply: from images (N, H, W), a value and N generators to gray levels (N, H, W).
    """

    name: str
    title: str
    family: str
    parameter: str
    values: tuple[float, ...]
    apply: Apply


@dataclass(frozen=True, kw_only=True)
class Occlusion:
    """A region of a face that is covered.

    Attributes:
        name: its key in `OCCLUSIONS`.
        title: what stands in a plot.
        top: where it begins, as a fraction of the height.
        bottom: where it ends, likewise.
        left: where it begins, as a fraction of the width, as the viewer sees it.
        right: where it ends, likewise.
    """

    name: str
    title: str
    top: float = 0.0
    bottom: float = 1.0
    left: float = 0.0
    right: float = 1.0

    def region(self, height: int, width: int) -> tuple[slice, slice]:
        """Return the rows and columns of an image that it covers.

        >>> OCCLUSIONS["right_half"].region(48, 48)
        (slice(0, 48, None), slice(24, 48, None))
        """
        rows = slice(round(self.top * height), round(self.bottom * height))
        return rows, slice(round(self.left * width), round(self.right * width))


def corrupt(images: Images, name: str, severity: int, *, seed: int = 0, first: int = 0) -> Images:
    """Return images with one kind of corruption.

    Each image draws from a stream of its own, which the seed, the kind and the image's position
    determine: neither the other images nor their number matter, and corrupting a batch in parts
    gives what corrupting it whole does. All severities share the stream: an image is turned further
    in the same direction, not anew.

    Args:
        images: uint8 in [0, 255], (N, H, W), H and W of at least 8.
        name: one of `CORRUPTIONS`.
        severity: from 1 to 5.
        seed: of the random numbers, at least 0.
        first: the position of the first image, where `images` are a part of a larger batch.

    Raises:
        DataError: there is no such corruption or severity.
        ValueError: the images are not as described.
    """
    _check(images)
    kind = _find(name, CORRUPTIONS, "a corruption")
    if severity not in SEVERITIES:
        raise DataError(f"expected a severity from 1 to 5, got {severity!r}")
    if seed < 0 or first < 0:
        raise ValueError(f"expected `seed` and `first` of at least 0, got {seed} and {first}")
    key = np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(2, np.uint64)
    # The position is the counter's highest word: streams never meet, however long.
    draws = (
        np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, first + i]))
        for i in range(len(images))
    )
    value = kind.values[SEVERITIES.index(severity)]
    return _rounded(kind.apply(np.ascontiguousarray(images), value, draws))


def occlude(images: Images, name: str) -> Images:
    """Return images with a region filled with the mean gray of each.

    Black would add a cue of its own, a hard dark bar, and darken the image; the mean adds as little
    as possible, so that what is lost is the region. It says how much a network depends on that,
    and not what real masks or sunglasses do, which are not flat and gray.

    Args:
        images: uint8 in [0, 255], (N, H, W), faces that fill the image as FER2013's do.
        name: one of `OCCLUSIONS`.

    Raises:
        DataError: there is no such occlusion.
        ValueError: the images are not as described.
    """
    _check(images)
    region = _find(name, OCCLUSIONS, "an occlusion").region(*images.shape[1:])
    result = images.copy()
    result[:, *region] = _rounded(_means(images))
    return result


def _check(images: Images) -> None:
    if images.ndim != 3 or images.dtype != np.uint8:
        raise ValueError(
            f"expected uint8 (N, H, W) for `images`, got {images.dtype} {images.shape}"
        )
    if min(images.shape[1:]) < _SMALLEST:
        raise ValueError(
            f"expected `images` of at least {_SMALLEST} x {_SMALLEST}, got "
            f"{images.shape[1]} x {images.shape[2]}"
        )


def _find(name: str, table: Mapping[str, T], noun: str) -> T:
    if name not in table:
        raise DataError(
            f"expected {noun} among {', '.join(table)}, got {name!r}{near_misses(name, table)}"
        )
    return table[name]


def _rounded(levels: Levels) -> Images:
    if levels.dtype == np.uint8:
        return levels
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def _means(images: Images) -> npt.NDArray[np.float64]:
    """Return each image's mean level, (N, 1, 1), from whole numbers: no order of adding matters."""
    sums = images.sum(axis=(1, 2), keepdims=True, dtype=np.int64)
    return sums / (images.shape[1] * images.shape[2])


def _side(images: Images) -> int:
    return min(images.shape[1:])


def _each(images: Images, draws: Draws, change: Callable[[Any, Any], Any]) -> Images:
    """Change one image at a time, by (image, generator)."""
    result = np.empty_like(images)
    for image, generator, place in zip(images, draws, result):
        place[...] = change(image, generator)
    return result


def _filtered(image: Images, kernel: npt.NDArray[Any]) -> Any:
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def _grid(radius: float) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return y, (k, 1), and x, (1, k), of the pixels within a radius of the one in the middle."""
    reach = math.ceil(radius)
    line = np.arange(-reach, reach + 1.0)
    return line[:, None], line[None]


_kinds: dict[str, Corruption] = {}


def _kind(
    title: str, family: str, values: tuple[float, ...], parameter: str
) -> Callable[[Apply], Apply]:
    """Register what a function _name does as the corruption "name"."""

    def register(apply: Apply) -> Apply:
        name = apply.__name__.removeprefix("_")
        _kinds[name] = Corruption(
            name=name, title=title, family=family, parameter=parameter, values=values, apply=apply
        )
        return apply

    return register


@_kind(
    "Gaussian noise",
    "noise",
    (0.02, 0.04, 0.07, 0.11, 0.16),
    "standard deviation, of the range of gray levels",
)
def _gaussian_noise(images: Images, value: float, draws: Draws) -> Levels:
    def change(image: Images, generator: np.random.Generator) -> Images:
        noise = generator.standard_normal(image.shape, np.float32)
        return _rounded(image + np.float32(255 * value) * noise)

    return _each(images, draws, change)


@_kind(
    "Shot noise", "noise", (1000, 300, 100, 40, 20), "photons that a white pixel counts on average"
)
def _shot_noise(images: Images, value: float, draws: Draws) -> Levels:
    return _each(images, draws, lambda x, g: _rounded(g.poisson(x * (value / 255)) * (255 / value)))


@_kind(
    "Impulse noise",
    "noise",
    (0.005, 0.02, 0.04, 0.08, 0.13),
    "fraction of the pixels that turn black or white",
)
def _impulse_noise(images: Images, value: float, draws: Draws) -> Levels:
    def change(image: Images, generator: np.random.Generator) -> Images:
        number = generator.random(image.shape, np.float32)
        return np.where(number < value / 2, 0, np.where(number >= 1 - value / 2, 255, image))

    return _each(images, draws, change)


@_kind(
    "Gaussian blur", "blur", (0.01, 0.015, 0.02, 0.027, 0.035), "standard deviation, of the side"
)
def _gaussian_blur(images: Images, value: float, draws: Draws) -> Levels:
    sigma, border = value * _side(images), cv2.BORDER_REPLICATE
    return _each(images, draws, lambda x, _: cv2.GaussianBlur(x, (0, 0), sigma, borderType=border))


@_kind("Motion blur", "blur", (0.04, 0.07, 0.1, 0.14, 0.18), "length of the line, of the side")
def _motion_blur(images: Images, value: float, draws: Draws) -> Levels:
    # Symmetric, unlike the original's, which also shifts the image. The ends and edges of the line
    # cover pixels in part; one pixel long, it changes nothing.
    half = value * _side(images) / 2
    y, x = _grid(half)

    def change(image: Images, generator: np.random.Generator) -> Any:
        angle = math.pi * generator.random()
        along = np.abs(x * math.cos(angle) + y * math.sin(angle))
        across = np.abs(y * math.cos(angle) - x * math.sin(angle))
        return _filtered(image, np.clip(half + 0.5 - along, 0, 1) * np.clip(1 - across, 0, 1))

    return _each(images, draws, change)


@_kind("Defocus blur", "blur", (0.02, 0.03, 0.04, 0.052, 0.065), "radius of the disc, of the side")
def _defocus_blur(images: Images, value: float, draws: Draws) -> Levels:
    radius = value * _side(images)
    y, x = _grid(radius)
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)  # pixels of the edge in part
    return _each(images, draws, lambda image, _: _filtered(image, disc))


@_kind("JPEG", "digital", (60, 35, 22, 15, 10), "quality, of 100")
def _jpeg(images: Images, value: float, draws: Draws) -> Levels:
    settings = [cv2.IMWRITE_JPEG_QUALITY, int(value)]

    def change(image: Images, _: np.random.Generator) -> Any:
        return cv2.imdecode(cv2.imencode(".jpg", image, settings)[1], cv2.IMREAD_GRAYSCALE)

    return _each(images, draws, change)


@_kind("Fewer pixels", "digital", (0.75, 0.5, 0.42, 0.35, 0.3), "length that is left of each side")
def _downscale(images: Images, value: float, draws: Draws) -> Levels:
    height, width = images.shape[1:]
    small = (round(value * width), round(value * height))

    def change(image: Images, _: np.random.Generator) -> Any:
        less = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        return cv2.resize(less, (width, height), interpolation=cv2.INTER_LINEAR)

    return _each(images, draws, change)


@_kind(
    "Brighter",
    "light",
    (0.05, 0.1, 0.16, 0.23, 0.3),
    "level that is added, of the range of gray levels",
)
def _brightness_up(images: Images, value: float, _: Draws) -> Levels:
    return _rounded(np.arange(256) + 255 * value)[images]


@_kind(
    "Darker",
    "light",
    (0.05, 0.1, 0.16, 0.23, 0.3),
    "level that is taken away, of the range of gray levels",
)
def _brightness_down(images: Images, value: float, _: Draws) -> Levels:
    return _rounded(np.arange(256) - 255 * value)[images]


@_kind(
    "Less contrast",
    "light",
    (0.75, 0.5, 0.35, 0.25, 0.15),
    "factor of the levels' distance from the image's mean",
)
def _contrast(images: Images, value: float, _: Draws) -> Levels:
    means = _means(images).astype(np.float32)
    return means + np.float32(value) * (images - means)


@_kind(
    "Gamma, darker",
    "light",
    (1.2, 1.5, 1.9, 2.4, 3),
    "exponent of the levels in [0, 1], which darkens",
)
def _gamma_up(images: Images, value: float, _: Draws) -> Levels:
    return _rounded(255 * (np.arange(256) / 255) ** value)[images]


@_kind(
    "Gamma, lighter",
    "light",
    (0.8, 0.65, 0.5, 0.4, 0.3),
    "exponent of the levels in [0, 1], which lightens",
)
def _gamma_down(images: Images, value: float, draws: Draws) -> Levels:
    return _gamma_up(images, value, draws)


@_kind(
    "Light from one side",
    "light",
    (0.2, 0.4, 0.6, 0.75, 0.9),
    "fraction of the light that the dark side lacks",
)
def _side_light(images: Images, value: float, draws: Draws) -> Levels:
    # Smoothstep over the middle half: a quarter stays as it is, the opposite one is darkest.
    width = images.shape[2]
    t = np.clip(2 * np.arange(0.5, width) / width - 0.5, 0, 1)
    ramp = (1 - value * t * t * (3 - 2 * t)).astype(np.float32)
    ramps = np.stack([ramp, ramp[::-1]])[:, None]  # (2, 1, W): dark on the right, on the left
    return images * ramps[[int(generator.random() < 0.5) for generator in draws]]


@_kind("Rotation", "geometry", (5, 10, 15, 22, 30), "degrees, to the left or to the right")
def _rotation(images: Images, value: float, draws: Draws) -> Levels:
    height, width = images.shape[1:]
    centre = ((width - 1) / 2, (height - 1) / 2)
    maps = [cv2.getRotationMatrix2D(centre, angle, 1) for angle in (value, -value)]

    def change(image: Images, generator: np.random.Generator) -> Any:
        turn = maps[int(generator.random() < 0.5)]
        return cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)

    return _each(images, draws, change)


@_kind(
    "Shift", "geometry", (0.04, 0.08, 0.12, 0.17, 0.22), "distance in any direction, of the side"
)
def _shift(images: Images, value: float, draws: Draws) -> Levels:
    # By whole pixels each way: interpolation would blur as well.
    height, width = images.shape[1:]
    length = value * _side(images)

    def change(image: Images, generator: np.random.Generator) -> Images:
        angle = 2 * math.pi * generator.random()
        right, down = round(length * math.cos(angle)), round(length * math.sin(angle))
        y = np.clip(np.arange(height) - down, 0, height - 1)
        x = np.clip(np.arange(width) - right, 0, width - 1)
        return image[y[:, None], x]

    return _each(images, draws, change)


CORRUPTIONS: Final[Mapping[str, Corruption]] = MappingProxyType(_kinds)

# Chosen by eye on FER2013: of a hundred validation images, about 95 have their eyes and brows in
# the one region, and as many their mouth in the other.
OCCLUSIONS: Final[Mapping[str, Occlusion]] = MappingProxyType(
    {
        occlusion.name: occlusion
        for occlusion in (
            Occlusion(name="eyes", title="Eyes", top=0.17, bottom=0.54),
            Occlusion(name="mouth", title="Mouth", top=0.6, left=0.15, right=0.85),
            Occlusion(name="lower_face", title="Lower face", top=0.5),
            Occlusion(name="left_half", title="Left half", right=0.5),
            Occlusion(name="right_half", title="Right half", left=0.5),
        )
    }
)
