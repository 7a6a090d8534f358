"""Crop a face as FER2013's faces are cropped: one rule for training and use.

The crop is a square of 0.9 of the height of YuNet's box about the box's centre; what is outside the
picture repeats the picture's edge. A head that is turned by more than 15 degrees is turned upright.
Measured on photographs with the released weights: with 1.0 of the height six points fewer are
right, and levelling smaller rolls gains nothing.

Dimension keys: H height, W width, C channels of a picture; h and w of a crop.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from ferjax.errors import FerjaxError, ImageError
from ferjax.faces.detection import Detection, has_place, is_number
from ferjax.image_files import MAX_PIXELS, UInt8Array
from ferjax.preprocessing import Source, check_size, load_picture, resized

SIDE: Final = 0.9  # of the height of YuNet's box
LEVEL_FROM: Final = 15.0  # degrees of roll from which a head is turned upright


def crop(
    image: Source, face: Detection, *, side: float = SIDE, size: tuple[int, int] | None = None
) -> UInt8Array:
    """Return the square about a face, upright, as FER2013's pictures are.

    Args:
        image: the picture that the face is in: uint8 (H, W) or (H, W, C) with up to four channels,
            whose crop has the same channels, or what else `detect` takes, whose crop is RGB.
        face: the face, of which `box` and `roll` count.
        side: of the square, in heights of the face.
        size: (h, w) of the crop, made by averaging over pixels (INTER_AREA) where both sides
            shrink, else bilinearly. None: the picture's own resolution.

    Returns:
        uint8 (h, w) or (h, w, C), an array of its own.

    Raises:
        ImageError: the image cannot be read, or the crop would have too many pixels.
        ValueError: the box, `side` or `size` is out of range.
        FerjaxError: `face` is none.

    >>> picture = np.arange(100, dtype=np.uint8).reshape(10, 10)
    >>> crop(picture, Detection(box=(2, 3, 4, 4)), side=0.5)  # the centre is (4, 5)
    array([[43, 44],
           [53, 54]], dtype=uint8)
    """
    if not isinstance(face, Detection):
        raise FerjaxError(f"expected a Detection for `face`, got {type(face).__name__}")
    picture = as_it_is(image)
    size = None if size is None else check_size(size)
    length = _length(picture, face, side)
    centre, turn = face.centre, turn_of(face.roll)
    if turn % 90 == 0:
        square = _square(picture, centre, length)
        square = np.rot90(square, round(turn / 90))
    else:
        square = _turned(picture, centre, length, turn)
    if size is not None and size != square.shape[:2]:
        square = resized(np.ascontiguousarray(square), *size, "area")
    return np.array(square, order="C")  # a copy: the picture stays its owner's


def turn_of(roll: float) -> float:
    """Return by how many degrees a face of this roll is turned to be upright: whole ones, so that
    what CPUs compute a little differently changes no pixel.

    Exactly by a multiple of 90 up to 15 degrees from there: FER2013's own faces roll as much.

    >>> [turn_of(roll) for roll in (7.0, -93.0, 40.0, 171.0)]
    [0.0, -90.0, 40.0, 180.0]
    """
    quarter = 90.0 * round(roll / 90)
    return quarter if abs(roll - quarter) <= LEVEL_FROM else float(round(roll))


def crop_corners(face: Detection) -> npt.NDArray[np.float64]:
    """Return the corners of what `crop` cuts out, (4, 2): clockwise from the crop's top left."""
    length, turn = round(max(1.0, SIDE * face.size)), turn_of(face.roll)
    x, y = face.centre
    if turn % 90 == 0:  # whole pixels are cut out
        x, y = (_start(v, length) + length / 2 for v in (x, y))
    return rectangle((x, y), length, length, turn)


def rectangle(
    centre: tuple[float, float], width: float, height: float, degrees: float
) -> npt.NDArray[np.float64]:
    """Return the corners of a rectangle that is turned clockwise, as seen in a picture.

    float64 (4, 2), x and y: clockwise from what is its top left corner before it is turned.
    """
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (width / 2, height / 2)
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    return np.asarray(corners @ np.array([[cosine, sine], [-sine, cosine]]) + centre)


def _start(centre: float, length: int) -> int:
    """Return the first of the pixels about a point."""
    return round(centre - length / 2)


def as_it_is(image: Source) -> UInt8Array:
    """Return a picture, uint8 (H, W) or (H, W, C): an array of that form as it is, else as RGB."""
    is_plain = isinstance(image, np.ndarray) and image.dtype == np.uint8
    if not is_plain or image.size == 0 or image.ndim not in (2, 3):  # type: ignore[union-attr]
        return load_picture(image)
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[-1] > 4:
        raise ImageError(
            f"expected a picture of shape (H, W) or (H, W, 1|2|3|4), got {array.shape}"
        )
    return array


def _length(picture: UInt8Array, face: Detection, side: float) -> int:
    """Return the side of a face's square in pixels, or raise an error where it makes no sense."""
    if not (is_number(side) and side > 0):
        raise ValueError(f"expected a positive number for `side`, got {side!r}")
    if not has_place(face) or min(face.box[2:]) <= 0:
        raise ValueError(f"expected a box of finite numbers and positive sides, got {face.box!r}")
    x, y, width, height = face.box
    height_px, width_px = picture.shape[:2]
    if x >= width_px or y >= height_px or x + width <= 0 or y + height <= 0:
        raise ValueError(
            f"expected a box in the picture of {width_px} x {height_px} pixels, got {face.box!r}; "
            "crop from the picture that the face was found in"
        )
    length = max(1.0, side * face.size)
    if length > math.sqrt(MAX_PIXELS):
        raise ImageError(
            f"expected a crop of at most {MAX_PIXELS:,} pixels, got {length:,.0f} x {length:,.0f}"
        )
    if max(width, height) > MAX_PIXELS:  # whose centre no pixel has
        raise ValueError(
            f"expected a box of at most {MAX_PIXELS:,} pixels a side, got {face.box!r}"
        )
    return round(length)


def _square(picture: UInt8Array, centre: tuple[float, float], length: int) -> UInt8Array:
    """Return the square of `length` about a point, edges replicated; a view where it is inside."""
    x, y = (_start(v, length) + np.arange(length) for v in centre)
    rows, columns = np.clip(y, 0, picture.shape[0] - 1), np.clip(x, 0, picture.shape[1] - 1)
    part = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if part.shape[:2] == (length, length):
        return part
    return part[rows - rows[0]][:, columns - columns[0]]


def _turned(
    picture: UInt8Array, centre: tuple[float, float], length: int, turn: float
) -> UInt8Array:
    """Return the square about a point, turned counter-clockwise by `turn` degrees."""
    import cv2

    centre = round(16 * centre[0]) / 16, round(16 * centre[1]) / 16  # as `turn_of` rounds
    # Only what the square covers: OpenCV turns no picture with a side of 32,768 pixels or more.
    reach = math.ceil(length * math.sqrt(0.5)) + 2
    top, bottom = (max(0, math.floor(centre[1]) - reach), math.ceil(centre[1]) + reach)
    left, right = (max(0, math.floor(centre[0]) - reach), math.ceil(centre[0]) + reach)
    top, left = min(top, picture.shape[0] - 1), min(left, picture.shape[1] - 1)
    part = np.ascontiguousarray(picture[top : max(top + 1, bottom), left : max(left + 1, right)])
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    turned = np.array([[cos, sin], [-sin, cos]])
    # OpenCV's pixels have their centres at whole numbers.
    middle = np.array([centre[0] - left, centre[1] - top]) - 0.5
    shift = (length - 1) / 2 - turned @ middle
    square = cv2.warpAffine(
        part,
        np.concatenate([turned, shift[:, None]], axis=1),
        (length, length),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(square, np.uint8).reshape(length, length, *picture.shape[2:])
