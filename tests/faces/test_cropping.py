"""The square about a face: by hand in tiny pictures, and against the photograph itself."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ferjax.errors import FerjaxError, ImageError
from ferjax.faces import Detection, crop
from ferjax.faces.cropping import turn_of
from ferjax.image_files import read_image

PICTURE = np.arange(100, dtype=np.uint8).reshape(10, 10)  # 10 * row + column
ASTRONAUT = Path(__file__).parents[2] / "examples" / "astronaut.jpg"


def face(*box: float, roll: float = 0.0) -> Detection:
    return Detection(box=box, roll=roll)  # type: ignore[arg-type]


def test_the_side_is_nine_tenths_of_the_height_about_the_centre() -> None:
    # A height of 10 / 3 gives a side of 3; the centre is (4.5, 5.5).
    square = crop(PICTURE, face(4, 5.5 - 5 / 3, 1, 10 / 3))
    np.testing.assert_array_equal(square, [[43, 44, 45], [53, 54, 55], [63, 64, 65]])


def test_the_width_does_not_count() -> None:
    wide, narrow = face(0, 3, 10, 4), face(4, 3, 2, 4)
    np.testing.assert_array_equal(crop(PICTURE, wide), crop(PICTURE, narrow))


def test_edges_are_replicated() -> None:
    square = crop(PICTURE, face(-2, -2, 4, 4), side=1.0)
    expected = [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1], [10, 10, 10, 11]]
    np.testing.assert_array_equal(square, expected)
    square = crop(PICTURE, face(8, 8, 4, 4), side=1.0)
    expected = [[88, 89, 89, 89], [98, 99, 99, 99], [98, 99, 99, 99], [98, 99, 99, 99]]
    np.testing.assert_array_equal(square, expected)


def test_a_centre_outside_the_picture() -> None:
    square = crop(PICTURE, face(-8, 2, 9, 4), side=0.5)
    np.testing.assert_array_equal(square, [[30, 30], [40, 40]])


@pytest.mark.parametrize(
    ("roll", "expected"),
    [
        # A head that is turned clockwise by a quarter has its top at the right.
        (90, [[45, 55], [44, 54]]),
        (-90, [[54, 44], [55, 45]]),
        (180, [[55, 54], [45, 44]]),
        (0, [[44, 45], [54, 55]]),
    ],
)
@pytest.mark.parametrize("off", [0, 12, -14.9])
def test_quarter_turns_are_exact(roll: float, off: float, expected: Any) -> None:
    rolled = (roll + off + 179) % 360 - 179
    np.testing.assert_array_equal(crop(PICTURE, face(3, 3, 4, 4, roll=rolled), side=0.5), expected)


@pytest.mark.parametrize("roll", [30.0, -45.0, 60.0, 135.0, -120.0])
def test_other_rolls_are_turned_upright(roll: float) -> None:
    upright = read_image(ASTRONAUT, channels=3)
    whole = cv2.GaussianBlur(upright, (0, 0), 2)  # which bilinear interpolation leaves alone
    expected = crop(whole, face(180, 66, 90, 108))
    matrix = cv2.getRotationMatrix2D((255.5, 255.5), -roll, 1)
    turned = cv2.warpAffine(whole, matrix, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    x, y = matrix[:, :2] @ (225 - 0.5, 120 - 0.5) + matrix[:, 2] + 0.5
    width, height = (108, 90) if 45 < abs(roll) < 135 else (90, 108)
    square = crop(turned, face(x - width / 2, y - height / 2, width, height, roll=roll))
    assert square.shape == expected.shape == (97, 97, 3)
    # Half a pixel at most, by which an upright square is rounded.
    assert np.abs(square.astype(int) - expected).mean() < 4


@pytest.mark.parametrize(
    ("roll", "turn"),
    [(0, 0), (15, 0), (-15, 0), (15.5, 16), (76, 90), (-104, -90), (105.5, 106), (170, 180)],
)
def test_turns(roll: float, turn: float) -> None:
    assert turn_of(roll) == turn


def test_shapes_and_channels() -> None:
    for shape in ((10, 10), (10, 10, 1), (10, 10, 3), (10, 10, 4)):
        picture = np.zeros(shape, np.uint8)
        for roll in (0, 90, 30):
            square = crop(picture, face(2, 2, 5, 5, roll=roll), side=1.0)
            assert square.shape == (5, 5, *shape[2:])
            assert square.flags.c_contiguous
            assert crop(picture, face(2, 2, 5, 5, roll=roll), size=(3, 8)).shape[:2] == (3, 8)


def test_a_size_is_reached_by_the_mean_of_pixels_or_bilinearly() -> None:
    shrunk = crop(PICTURE, face(2, 2, 4, 4), side=1.0, size=(2, 2))
    np.testing.assert_array_equal(shrunk, [[28, 30], [48, 50]])  # means of 22, 23, 32, 33; ...
    grown = crop(PICTURE, face(2, 2, 2, 2), side=1.0, size=(4, 4))
    # By 22, 23, 32, 33; a pixel's centre is a quarter of a pixel from that which it repeats.
    np.testing.assert_array_equal(grown[0], [22, 22, 23, 23])
    np.testing.assert_array_equal(grown[:, 0], [22, 25, 30, 32])


def test_the_crop_is_no_view() -> None:
    picture = PICTURE.copy()
    crop(picture, face(2, 2, 4, 4))[:] = 0
    np.testing.assert_array_equal(picture, PICTURE)


def test_what_is_no_uint8_array_is_read_as_colour() -> None:
    square = crop(str(ASTRONAUT), face(180, 66, 90, 108))
    np.testing.assert_array_equal(
        square, crop(read_image(ASTRONAUT, channels=3), face(180, 66, 90, 108))
    )
    floats = crop(PICTURE / 255, face(2, 2, 4, 4), side=1.0)
    np.testing.assert_array_equal(floats[..., 0], PICTURE[2:6, 2:6])


@pytest.mark.parametrize(
    ("box", "options", "error", "message"),
    [
        (
            (0, 0, 1e9, 1e9),
            {},
            ImageError,
            "expected a crop of at most 178,956,970 pixels, got 900",
        ),
        (
            (math.nan, 0, 4, 4),
            {},
            ValueError,
            "expected a box of finite numbers and positive sides",
        ),
        ((0, 0, -4, 4), {}, ValueError, "expected a box of finite numbers and positive sides"),
        ((40, 0, 4, 4), {}, ValueError, "expected a box in the picture of 10 x 10 pixels"),
        ((-5e98, 0, 1e99, 4), {}, ValueError, "expected a box of at most 178,956,970 pixels a si"),
        ((0, 0, 4, 1e300), {}, ImageError, "expected a crop of at most 178,956,970 pixels, got"),
        ((0, 0, 4, 4), {"side": 0}, ValueError, "expected a positive number for `side`, got 0"),
        ((0, 0, 4, 4), {"side": "1"}, ValueError, "expected a positive number for `side`, got '1'"),
        ((0, 0, 4, 4), {"size": (0, 4)}, ValueError, r"in pixels for `size`, got \(0, 4\)"),
        ((0, 0, 4, 4), {"size": 48}, ValueError, r"in pixels for `size`, got 48"),
    ],
)
def test_what_makes_no_sense(
    box: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        crop(PICTURE, face(*box), **options)


def test_too_many_channels() -> None:
    with pytest.raises(ImageError, match=r"expected a picture of shape .*, got \(10, 10, 5\)"):
        crop(np.zeros((10, 10, 5), np.uint8), face(2, 2, 4, 4))


def test_what_is_no_face() -> None:
    with pytest.raises(FerjaxError, match="expected a Detection for `face`, got tuple"):
        crop(PICTURE, (2, 2, 4, 4))  # type: ignore[arg-type]
    for box in (None, (1, 2, 3), (1, 2, "3", 4)):
        with pytest.raises(ValueError, match="expected a box of finite numbers"):
            crop(PICTURE, Detection(box=box))  # type: ignore[arg-type]
