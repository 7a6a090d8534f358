"""Augmentation against examples worked by hand, OpenCV and Keras's ImageDataGenerator."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ferjax.data.augment import augment, unit_range
from ferjax.data.augmentation import (
    FILL_MODES,
    PRESETS,
    Augmentation,
    AugmentationError,
    preset,
)

# Most tests augment operation by operation, on images of few shapes, for which each operation is
# compiled once; whole programs would be compiled anew for each augmentation.
KEY = jax.random.key(0)
NOISE = np.random.default_rng(0).integers(0, 256, (6, 12, 12), np.uint8)
MANY = (2000, 12, 12)
# Smooth, so that coordinates that are a little off change little.
SMOOTH = np.stack([cv2.GaussianBlur(image, (0, 0), 1.5) for image in NOISE])
BORDERS = {
    "nearest": cv2.BORDER_REPLICATE,
    "constant": cv2.BORDER_CONSTANT,
    "reflect": cv2.BORDER_REFLECT,
    "wrap": cv2.BORDER_WRAP,
}

augment_in_jit = jax.jit(augment, static_argnames="augmentation")


def _augment(images: Any, key: jax.Array = KEY, **settings: Any) -> np.ndarray:
    """Return the images only."""
    count = len(images)
    # An image does not depend on the batch: a single one comes as many as others do.
    images = np.resize(np.asarray(images, "uint8"), (max(count, 6), *np.shape(images)[1:]))
    labels = np.zeros(len(images), "int32")
    augmentation = Augmentation(**settings)
    many_operations = augmentation.blur[1] or augmentation.erase
    call = augment_in_jit if many_operations else augment
    return np.asarray(call(key, jnp.asarray(images), labels, augmentation)[0])[:count]


def _rows(*values: int, **settings: Any) -> np.ndarray:
    """Augment a square image of equal rows; gray levels in and out are in [0, 255]."""
    return 255 * _augment(np.tile(np.uint8(values), (1, len(values), 1)), **settings)[0]


def _row(*values: int, **settings: Any) -> list[float]:
    return np.round(_rows(*values, **settings)[0], 3).tolist()


def test_none_is_division_by_255_bit_for_bit() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    labels = jnp.array([3])
    ours, same = augment_in_jit(KEY, jnp.asarray(images), labels, preset("none"))
    assert ours.dtype == jnp.float32
    np.testing.assert_array_equal(ours, images / np.float32(255))
    assert same.tolist() == [3]
    np.testing.assert_array_equal(jax.jit(unit_range)(jnp.asarray(images)), ours)


def test_a_map_that_moves_nothing_is_exact_too() -> None:
    # The probability is too small to come up, so the warp is computed and is the identity.
    ours = _augment(NOISE, horizontal_flip=1e-9, rotation=90, rotation_probability=0)
    np.testing.assert_array_equal(ours, NOISE / np.float32(255))


def test_images_that_are_neither_blurred_nor_noisy_stay_as_they_are() -> None:
    ours = _augment(NOISE, blur=0.1, blur_probability=0, noise=0.2, noise_probability=0)
    np.testing.assert_array_equal(ours, NOISE / np.float32(255))


def test_flip_is_exact() -> None:
    np.testing.assert_array_equal(
        _augment(NOISE, horizontal_flip=1), NOISE[:, :, ::-1] / np.float32(255)
    )
    assert cv2.flip(NOISE[0], 1).tolist() == NOISE[0, :, ::-1].tolist()


@pytest.mark.parametrize(
    ("shift", "fill_mode", "expected"),
    [
        (0.25, "nearest", [10, 10, 20, 30]),  # one pixel of four to the right
        (0.25, "constant", [0, 10, 20, 30]),
        (0.25, "wrap", [40, 10, 20, 30]),
        (0.5, "reflect", [20, 10, 10, 20]),
        (-0.25, "nearest", [20, 30, 40, 40]),
        (0.125, "nearest", [10, 15, 25, 35]),  # half a pixel
        (0.125, "constant", [5, 15, 25, 35]),
    ],
)
def test_shift_by_hand(shift: float, fill_mode: str, expected: list[float]) -> None:
    settings = {"shift_x": (shift, shift), "fill_mode": fill_mode}
    assert _row(10, 20, 30, 40, **settings) == expected
    column = np.tile(np.uint8([[10], [20], [30], [40]]), (1, 1, 4))
    down = _augment(column, shift_y=(shift, shift), fill_mode=fill_mode)
    np.testing.assert_allclose(255 * down[0, :, 0], expected, atol=1e-3)


def test_fill_value() -> None:
    settings = {"shift_x": (0.5, 0.5), "fill_mode": "constant", "fill_value": 0.2}
    assert _row(10, 20, 30, 40, **settings) == [51, 51, 10, 20]


def test_zoom_by_hand() -> None:
    # About the third pixel of five: below 1 shows less of the image, above 1 more.
    assert _row(0, 20, 40, 60, 80, zoom=(0.5, 0.5)) == [20, 30, 40, 50, 60]
    assert _row(0, 20, 40, 60, 80, zoom=(2, 2)) == [0, 0, 40, 80, 80]


def test_scale_by_hand() -> None:
    assert _row(0, 20, 40, 60, 80, scale=(0.5, 0.5)) == [20, 30, 40, 50, 60]
    assert _row(0, 20, 40, 60, 80, scale=(2, 2)) == [0, 0, 40, 80, 80]
    # A box of half the side, and zoom on top of it.
    assert _row(0, 20, 40, 60, 80, scale=(0.5, 0.5), zoom=(4, 4)) == [0, 0, 40, 80, 80]


def test_both_axes_have_one_scale() -> None:
    images = np.zeros(MANY, np.uint8)
    images[:, 5:7, 5:7] = 250
    ours = _augment(images, scale=(0.25, 0.5))
    width, height = ours[:, 5].sum(1) * 255 / 250, ours[:, :, 5].sum(1) * 255 / 250
    np.testing.assert_allclose(width, height, atol=1e-3)
    assert 3.9 < width.min() < 4.1
    assert 7.8 < width.max() < 8.1


def test_each_axis_draws_its_own_zoom() -> None:
    images = np.zeros(MANY, np.uint8)
    images[:, 5:7, 5:7] = 250
    ours = _augment(images, zoom=(0.25, 0.5))
    # Two pixels about the middle become 2 / zoom of them.
    width, height = ours[:, 5].sum(1) * 255 / 250, ours[:, :, 5].sum(1) * 255 / 250
    for size in (width, height):
        assert 3.9 < size.min() < 4.1
        assert 7.8 < size.max() < 8.1
    assert abs(np.corrcoef(width, height)[0, 1]) < 0.112  # five standard errors


def test_rotation_is_counter_clockwise() -> None:
    turned = _augment(NOISE, rotation=(90, 90))
    np.testing.assert_allclose(turned, np.rot90(NOISE, axes=(1, 2)) / 255, atol=1e-4)


def test_shear_by_hand() -> None:
    # sin 30 = 1/2: the row one below the centre shows what is half a pixel to the left.
    ours = _rows(0, 0, 0, 200, 200, shear=(30, 30))
    np.testing.assert_allclose(ours[2], [0, 0, 0, 200, 200], atol=1e-3)
    np.testing.assert_allclose(ours[3], [0, 0, 0, 100, 200], atol=1e-3)
    np.testing.assert_allclose(ours[1], [0, 0, 100, 200, 200], atol=1e-3)


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize(("angle", "zoom"), [(17, 0.8), (-40, 1.4), (120, 1)])
def test_rotation_and_zoom_against_opencv(angle: float, zoom: float, fill_mode: str) -> None:
    ours = _augment(
        SMOOTH, rotation=(angle, angle), zoom=(zoom, zoom), fill_mode=fill_mode, fill_value=0.4
    )
    matrix = cv2.getRotationMatrix2D((5.5, 5.5), angle, 1 / zoom)
    theirs = [
        cv2.warpAffine(
            image,
            matrix,
            (12, 12),
            flags=cv2.INTER_LINEAR,
            borderMode=BORDERS[fill_mode],
            borderValue=0.4,
        )
        for image in SMOOTH / np.float32(255)
    ]
    # OpenCV may round coordinates to 1/32 of a pixel; neighbours differ by up to 0.4 at "wrap".
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=0.4 / 32)
    assert np.abs(ours - SMOOTH / 255).max() > 0.05


@pytest.mark.filterwarnings("ignore:Please import `affine_transform`:DeprecationWarning")
@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize(
    ("theta", "zoom", "right", "down", "shear", "flip"),
    [
        (20, 0.7, 0.2, -0.1, 0, False),
        (-13, 1.3, -0.2, 0.15, 0.2, True),
        (5, 1, 0.1, 0.2, 25, False),
    ],
)
def test_the_whole_map_against_keras(
    theta: float, zoom: float, right: float, down: float, shear: float, flip: bool, fill_mode: str
) -> None:
    legacy = pytest.importorskip("keras.src.legacy.preprocessing.image", reason="needs Keras")
    ours = _augment(
        NOISE,
        rotation=(theta, theta),
        zoom=(zoom, zoom),
        shift_x=(right, right),
        shift_y=(down, down),
        shear=(shear, shear),
        horizontal_flip=float(flip),
        fill_mode=fill_mode,
    )
    theirs = np.stack(
        [
            legacy.apply_affine_transform(
                image[None] / np.float32(255),
                theta=theta,
                tx=-right * 12,  # Keras's shift moves the window, not what is seen
                ty=-down * 12,
                shear=shear,
                zx=zoom,
                zy=zoom,
                # SciPy's names of what Keras and ferjax call "constant" and "wrap"
                fill_mode={"constant": "grid-constant", "wrap": "grid-wrap"}.get(
                    fill_mode, fill_mode
                ),
            )[0]
            for image in NOISE
        ]
    )
    np.testing.assert_allclose(ours, theirs[:, :, ::-1] if flip else theirs, rtol=0, atol=2e-5)


def test_crop_is_a_window_at_every_place() -> None:
    ours = _augment(np.repeat(NOISE[:1], MANY[0], 0), crop=(10, 9))
    assert ours.shape == (MANY[0], 10, 9)
    windows = {
        (NOISE[0, y : y + 10, x : x + 9] / np.float32(255)).tobytes(): (y, x)
        for y in range(3)
        for x in range(4)
    }
    assert {windows[image.tobytes()] for image in ours} == set(windows.values())


def test_crop_of_a_flipped_image() -> None:
    window = _augment(NOISE, crop=12, horizontal_flip=1)
    np.testing.assert_array_equal(window, NOISE[:, :, ::-1] / np.float32(255))


def test_crop_resized_back_against_opencv() -> None:
    images = np.repeat(NOISE[:1], MANY[0], 0)
    windows = _augment(images, crop=8)[:40]
    ours = _augment(images, crop=8, resize_crop=True)  # the same windows, by the same key
    assert ours.shape == images.shape
    ours = ours[:40]
    theirs = np.stack([cv2.resize(window, (12, 12)) for window in windows])
    # The outermost pixels see half a pixel beyond the window, which OpenCV does not have.
    np.testing.assert_allclose(ours[:, 1:-1, 1:-1], theirs[:, 1:-1, 1:-1], rtol=0, atol=1 / 32)


def test_output_size() -> None:
    assert Augmentation(crop=40).output_size(48, 50) == (40, 40)
    assert Augmentation(crop=(40, 44), resize_crop=True).output_size(48, 50) == (48, 50)
    assert Augmentation().output_size(48, 50) == (48, 50)


def test_brightness_by_hand() -> None:
    assert _row(0, 40, 100, 200, brightness=(1.5, 1.5)) == [0, 60, 150, 255]
    assert _row(0, 40, 100, 200, brightness=(0.5, 0.5)) == [0, 20, 50, 100]


def test_contrast_by_hand() -> None:
    # The mean, 80, stays.
    assert _row(0, 40, 100, 180, contrast=(0.5, 0.5)) == [40, 60, 90, 130]
    assert _row(0, 40, 100, 180, contrast=(2, 2)) == [0, 0, 120, 255]


@pytest.mark.parametrize("sigma", [0.7, 1.5, 2.3])  # pixels
def test_blur_against_opencv(sigma: float) -> None:
    ours = _augment(NOISE, blur=(sigma / 12, sigma / 12))
    taps = 2 * math.ceil(3 * sigma) + 1
    theirs = [
        cv2.GaussianBlur(image / 255, (taps, taps), sigma, borderType=cv2.BORDER_REPLICATE)
        for image in NOISE
    ]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    assert np.abs(ours - NOISE / 255).max() > 0.1


def test_blur_is_of_the_shorter_side() -> None:
    wide = np.zeros((1, 10, 40), np.uint8)
    wide[0, 5, 20] = 255
    ours = _augment(wide, blur=(0.1, 0.1))[0]
    assert ours[5, 19] / ours[5, 20] == pytest.approx(np.exp(-0.5), abs=1e-4)
    assert ours[4, 20] / ours[5, 20] == pytest.approx(np.exp(-0.5), abs=1e-4)


def test_each_image_draws_its_own_blur() -> None:
    images = np.zeros((2000, 1, 61), np.uint8)
    images[..., 30] = 255
    line = np.repeat(images, 61, 1)  # the same in all rows: they blur into themselves
    ours = _augment(line, blur=(0.02, 0.08))[:, 0]
    place = np.arange(61) - 30
    deviations = np.sqrt((ours * place**2).sum(1) / ours.sum(1)) / 61
    # The Gaussian ends at three of the largest deviations.
    assert 0.0195 < deviations.min() < 0.0215
    assert 0.077 < deviations.max() < 0.0801
    counts, _ = np.histogram(deviations, bins=3, range=(0.02, 0.08))
    assert np.abs(counts - 2000 / 3).max() < 120  # more than five standard errors


@pytest.mark.parametrize("sigma", [0.01, 0.06])
def test_noise_is_gaussian(sigma: float) -> None:
    ours = _augment(np.full(MANY, 102), noise=(sigma, sigma)) - 0.4
    n = ours.size
    assert ours.mean() == pytest.approx(0, abs=5 * sigma / np.sqrt(n))
    assert ours.std() == pytest.approx(sigma, rel=5 / np.sqrt(2 * n))
    assert (np.abs(ours) < sigma).mean() == pytest.approx(0.6827, abs=0.005)
    neighbours = [
        np.corrcoef(ours.ravel(), np.roll(ours, 1, axis).ravel())[0, 1] for axis in range(3)
    ]
    assert np.abs(neighbours).max() < 5 / np.sqrt(n)


def test_each_image_draws_its_own_noise() -> None:
    ours = _augment(np.full(MANY, 128), noise=0.1)  # 0.1 stands for (0, 0.1)
    deviations = (ours - 128 / 255).std(axis=(1, 2))
    assert deviations.min() < 0.002
    assert 0.095 < deviations.max() < 0.125  # each is estimated from 144 pixels, to 6 %
    assert deviations.mean() == pytest.approx(0.05, abs=0.005)
    # Noise and mixup's shares have numbers of their own: mixing leaves the noise as it is.
    labels = jnp.eye(6, dtype="float32")
    gray = jnp.full(NOISE.shape, 128, "uint8")
    mixed, shares = augment(KEY, gray, labels, Augmentation(noise=(0.1, 0.1), mixup=1.0))
    plain = _augment(gray, noise=(0.1, 0.1))
    share = np.diag(shares)[:, None, None]
    np.testing.assert_allclose(
        mixed, share * plain + (1 - share) * np.roll(plain, -1, 0), atol=1e-6
    )


def test_resolution_by_hand() -> None:
    # Two pixels of four: means of pairs, then a bilinear enlargement, whose ends stay level.
    assert _row(0, 40, 100, 180, resolution=(0.5, 0.5)) == [20, 50, 110, 140]
    assert _row(0, 40, 100, 180, resolution=(0.25, 0.25)) == [80, 80, 80, 80]
    assert _row(0, 40, 100, 180, resolution=(0.1, 0.1)) == [80, 80, 80, 80]  # a pixel is left


@pytest.mark.parametrize("fraction", [0.3, 0.45, 0.7, 0.95])
@pytest.mark.parametrize("shape", [(12, 12), (8, 12)])
def test_resolution_against_opencv(fraction: float, shape: tuple[int, int]) -> None:
    height, width = shape
    images = NOISE[:, :height]
    ours = _augment(images, resolution=(fraction, fraction))
    fewer = (round(fraction * width), round(fraction * height))
    theirs = [
        cv2.resize(
            cv2.resize(image.astype(np.float32) / 255, fewer, interpolation=cv2.INTER_AREA),
            (width, height),
            interpolation=cv2.INTER_LINEAR,
        )
        for image in images
    ]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "settings", [{"resolution": (0.97, 1)}, {"resolution": 0.2, "resolution_probability": 0}]
)
def test_images_that_keep_all_pixels_stay_as_they_are(settings: dict[str, Any]) -> None:
    # 0.97 of 12 pixels is 12 pixels.
    np.testing.assert_array_equal(_augment(NOISE, **settings), NOISE / np.float32(255))


def test_each_image_draws_its_own_resolution() -> None:
    images = np.zeros(MANY, np.uint8)
    images[..., ::2] = 200  # of one pixel a stripe, which is gone at half of them
    contrast = _augment(images, resolution=(0.5, 1.0), resolution_probability=0.5).std(axis=(1, 2))
    whole = np.isclose(contrast, 100 / 255)
    # Half of the images, and of the others those from 11.5 pixels on.
    assert whole.mean() == pytest.approx(0.5 + 0.5 / 12, abs=0.056)  # five standard errors
    halved = contrast < 1e-6
    assert halved.mean() == pytest.approx(0.5 / 12, abs=0.023)


def test_new_settings_leave_the_numbers_of_the_others() -> None:
    # Drawn by an earlier version, whose settings had neither scale nor resolution.
    before = [1.1062865, 1.6649603, 1.9226243, 0.6382270, 0.1666172, 1.4380967]
    ours = _augment(np.full(NOISE.shape, 102), brightness=(0, 2))[:, 0, 0] / 0.4
    np.testing.assert_allclose(ours, before, rtol=1e-6)


def test_blur_comes_before_noise_and_both_before_erasing() -> None:
    settings = {"blur": (0.1, 0.1), "noise": (0.05, 0.05)}
    gray = np.full(NOISE.shape, 100)
    both = _augment(gray, **settings)
    noise_alone = _augment(gray, noise=(0.05, 0.05))
    np.testing.assert_allclose(both, noise_alone, rtol=0, atol=1e-6)
    erased = _augment(NOISE, **settings, erase=1, erase_area=(1, 1), erase_aspect=(1, 1))
    assert not erased.any()


def test_erasing_by_hand() -> None:
    # A quarter of 8 x 12 pixels at height : width = 2 : 3 is 4 x 6.
    images = np.full((200, 8, 12), 255)
    ours = _augment(
        images, erase=1, erase_area=(0.25, 0.25), erase_aspect=(2 / 3, 2 / 3), erase_value=0.3
    )
    corners = set()
    for image in ours:
        rows, columns = np.nonzero(image == np.float32(0.3))
        assert len(rows) == 24
        assert np.ptp(rows) == 3
        assert np.ptp(columns) == 5
        assert (image != np.float32(0.3)).sum() == (image == 1).sum() == 72
        corners.add((rows.min(), columns.min()))
    assert {y for y, _ in corners} == set(range(5))
    assert {x for _, x in corners} == set(range(7))


def test_erasing_is_cut_to_the_image() -> None:
    ours = _augment(np.full((3, 4, 4), 255), erase=1, erase_area=(1, 1), erase_aspect=(4, 4))
    assert (ours == 0).sum(axis=(1, 2)).tolist() == [8, 8, 8]  # 8 x 2 pixels, of which 4 x 2


@pytest.mark.parametrize(
    ("settings", "probability"),
    [
        ({"horizontal_flip": 0.5}, 0.5),
        ({"horizontal_flip": 0.1}, 0.1),
        ({"rotation": (90, 90), "rotation_probability": 0.3}, 0.3),
        ({"shift_x": (0.5, 0.5), "shift_probability": 0.7}, 0.7),
        ({"erase": 0.4}, 0.4),
        ({"blur": (0.1, 0.1), "blur_probability": 0.3}, 0.3),
        ({"noise": (0.1, 0.1), "noise_probability": 0.6}, 0.6),
    ],
)
def test_probabilities(settings: dict[str, Any], probability: float) -> None:
    images = np.repeat(NOISE[:1], MANY[0], 0)
    changed = np.abs(_augment(images, **settings) - images / 255).max(axis=(1, 2)) > 1e-3
    # Five standard errors of at most sqrt(.25 / 2000).
    assert changed.mean() == pytest.approx(probability, abs=0.056)


def test_ranges_are_drawn_evenly_from_end_to_end() -> None:
    factors = _augment(np.full(MANY, 102), brightness=(0.8, 1.2))[:, 0, 0] / 0.4
    assert 0.8 <= factors.min() < 0.802
    assert 1.198 < factors.max() <= 1.2
    counts, _ = np.histogram(factors, bins=4, range=(0.8, 1.2))
    assert np.abs(counts - 500).max() < 97  # five standard errors of sqrt(2000 * 3 / 16)


def test_draws_of_one_image_are_independent() -> None:
    images = np.zeros(MANY, np.uint8)
    images[:, 5, 5] = 200
    settings = {"shift_x": 0.4, "shift_y": 0.4, "brightness": (0.5, 1.0)}
    ours = _augment(images, fill_mode="constant", **settings)
    total = ours.sum(axis=(1, 2))
    x = (ours * np.arange(12)).sum(axis=(1, 2)) / total
    y = (ours * np.arange(12)[:, None]).sum(axis=(1, 2)) / total
    correlations = np.corrcoef([x, y, total])[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() < 0.112  # five standard errors of 1 / sqrt(2000)


EVERYTHING = dataclasses.replace(
    preset("strong"),
    crop=10,
    shear=5,
    scale=0.1,
    fill_mode="reflect",
    blur=0.1,
    resolution=0.5,
    noise=0.1,
)


def test_an_image_does_not_depend_on_its_neighbours() -> None:
    whole = _augment(NOISE, **dataclasses.asdict(EVERYTHING))
    for rows in ([0, 1], [4, 2]):
        part, _ = augment_in_jit(
            KEY,
            jnp.asarray(NOISE[rows]),
            jnp.zeros(2, "int32"),
            EVERYTHING,
            positions=jnp.array(rows),
        )
        np.testing.assert_allclose(part, whole[rows], rtol=0, atol=1e-6)


def test_the_key_determines_everything() -> None:
    first, again = (_augment(NOISE, **dataclasses.asdict(EVERYTHING)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = _augment(NOISE, jax.random.key(1), **dataclasses.asdict(EVERYTHING))
    assert (np.abs(first - other).max(axis=(1, 2)) > 0.1).all()
    same = np.repeat(NOISE[:1], 6, 0)
    ours = _augment(same, **dataclasses.asdict(EVERYTHING))
    assert len({image.tobytes() for image in ours}) == 6
    _check_range(ours, (6, *EVERYTHING.output_size(12, 12)))


def test_one_effect_does_not_change_the_others() -> None:
    plain = _augment(NOISE, crop=8)
    with_more = _augment(NOISE, crop=8, brightness=(0.5, 0.5), erase=1, erase_area=(0, 0))
    np.testing.assert_allclose(with_more, plain / 2, rtol=0, atol=1e-6)


def _check_range(images: Any, shape: tuple[int, ...]) -> None:
    assert images.shape == shape
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1


@pytest.mark.parametrize("augmentation", PRESETS.values(), ids=str)
def test_values_stay_in_range(augmentation: Augmentation) -> None:
    images = np.random.default_rng(1).integers(0, 256, (32, 48, 48), np.uint8)
    ours, _ = augment_in_jit(KEY, jnp.asarray(images), jnp.zeros(32, "int32"), augmentation)
    _check_range(ours, (32, *augmentation.output_size(48, 48)))


@pytest.mark.parametrize("name", ["none", "published", "strong", "photographs"])
def test_colour_is_each_channel_under_the_same_map(name: str) -> None:
    augmentation = dataclasses.replace(
        preset(name), crop=None, resize_crop=False, contrast=(1.0, 1.0), noise=(0.0, 0.0)
    )
    settings = dataclasses.asdict(augmentation)
    colour = _augment(np.stack([NOISE, NOISE // 2], -1), **settings)
    assert colour.shape == (*NOISE.shape, 2)
    np.testing.assert_allclose(colour[..., 0], _augment(NOISE, **settings), rtol=0, atol=1e-6)
    np.testing.assert_allclose(colour[..., 1], _augment(NOISE // 2, **settings), atol=1e-6)


def test_images_of_unequal_sides() -> None:
    wide = np.ascontiguousarray(NOISE[:, :8])
    turned = _augment(wide, rotation=(180, 180))
    np.testing.assert_allclose(turned, wide[:, ::-1, ::-1] / 255, atol=1e-4)


def test_mixup_mixes_images_and_labels_alike() -> None:
    images = np.stack([np.full((2, 3), level) for level in (0, 50, 100, 250)])
    labels = jnp.eye(4, dtype="float32")
    augmentation = Augmentation(mixup=0.4)
    mixed, shares = augment_in_jit(KEY, jnp.asarray(images, "uint8"), labels, augmentation)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)
    for i in range(4):
        share, following = float(shares[i, i]), (i + 1) % 4
        assert float(shares[i, following]) == pytest.approx(1 - share, abs=1e-6)
        expected = (share * images[i] + (1 - share) * images[following]) / 255
        np.testing.assert_allclose(mixed[i], expected, atol=1e-6)
    assert len(set(np.diag(shares).tolist())) == 4


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_draws_from_beta(alpha: float) -> None:
    labels = jnp.tile(jnp.eye(2, dtype="float32"), (1000, 1))
    images = jnp.zeros((2000, 1, 1), "uint8")
    shares = augment_in_jit(KEY, images, labels, Augmentation(mixup=alpha))[1]
    share = np.asarray(shares)[np.arange(2000), np.arange(2000) % 2]
    assert share.mean() == pytest.approx(0.5, abs=0.06)
    assert share.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_published_preset_is_the_published_training() -> None:
    assert dataclasses.asdict(preset("published")) == {
        **dataclasses.asdict(Augmentation()),
        "zoom": (0.7, 1.3),
        "horizontal_flip": 0.5,
        "rotation": (-20, 20),
        "shift_x": (-0.2, 0.2),
        "shift_y": (-0.2, 0.2),
        "shear": (-0.2, 0.2),
        "brightness": (0.8, 1.2),
        "fill_mode": "nearest",
    }


def test_one_number_stands_for_a_range() -> None:
    short = Augmentation(zoom=0.3, rotation=20, shift_x=0.2, brightness=0.25, crop=40)  # type: ignore[arg-type]
    assert short.zoom == (0.7, 1.3)
    assert short.rotation == (-20, 20)
    assert short.shift_x == (-0.2, 0.2)
    assert short.brightness == (0.75, 1.25)
    assert short.crop == (40, 40)
    assert Augmentation(noise=0.1, blur=0.03).noise == (0, 0.1)  # type: ignore[arg-type]
    assert Augmentation(scale=0.1).scale == (0.9, 1.1)  # type: ignore[arg-type]
    assert Augmentation(resolution=0.5).resolution == (0.5, 1)  # type: ignore[arg-type]
    # From JSON ranges come as lists; jit needs them hashable.
    assert hash(Augmentation(zoom=[0.7, 1.3])) == hash(Augmentation(zoom=(0.7, 1.3)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rotation": "much"}, r"`rotation`: expected a number or two, got 'much'"),
        ({"rotation": 200}, r"`rotation`: expected degrees in \[-180, 180\], got 200"),
        ({"rotation": (5, -5)}, r"`rotation`: expected a range \(low, high\), got \(5\.0, -5\.0\)"),
        ({"zoom": (0, 1)}, r"`zoom`: expected factors above 0, got \(0, 1\)"),
        ({"zoom": 1.5}, r"`zoom`: expected factors above 0, got 1\.5"),
        ({"shear": 90}, r"`shear`: expected degrees in \[-80, 80\], got 90"),
        ({"shift_x": 10}, r"`shift_x`: expected shifts in \[-1, 1\], fractions .*, got 10"),
        ({"brightness": (-1, 1)}, "`brightness`: expected factors of at least 0"),
        ({"contrast": (1, float("nan"))}, "`contrast`: expected a finite number, got nan"),
        ({"horizontal_flip": True}, "`horizontal_flip`: expected a finite number, got True"),
        ({"horizontal_flip": 2}, r"`horizontal_flip`: expected a probability in \[0, 1\], got 2"),
        ({"erase_area": (0.1, 2)}, r"`erase_area`: expected fractions in \[0, 1\]"),
        ({"erase_aspect": (0, 1)}, "`erase_aspect`: expected ratios above 0"),
        ({"fill_mode": "edge"}, "`fill_mode`: expected one of 'nearest', .*, got 'edge'"),
        ({"fill_value": 255}, r"`fill_value`: expected a gray level in \[0, 1\], got 255"),
        ({"crop": 0}, "`crop`: expected a positive integer, got 0"),
        ({"resize_crop": True}, "expected a size for `crop` where `resize_crop` is set, got None"),
        ({"blur": 3}, r"`blur`: expected standard deviations in \[0, 0\.2\], fractions .*, got 3"),
        ({"noise": -0.1}, r"`noise`: expected a range \(low, high\), got \(0\.0, -0\.1\)"),
        ({"noise": 25}, r"`noise`: expected standard deviations in \[0, 1\], got 25"),
        ({"noise_probability": 2}, r"`noise_probability`: expected a probability in \[0, 1\]"),
        ({"scale": (0, 1)}, r"`scale`: expected factors above 0, got \(0, 1\)"),
        ({"resolution": 0}, r"`resolution`: expected fractions in \(0, 1\], got 0"),
        ({"resolution": (0.5, 2)}, r"`resolution`: expected fractions in \(0, 1\], got \(0\.5, 2"),
        ({"resolution": 24}, r"`resolution`: expected a range \(low, high\), got \(24\.0, 1\.0\)"),
        ({"resolution_probability": 2}, r"`resolution_probability`: expected a probability in"),
        ({"mixup": -0.1}, "`mixup`: expected a number of at least 0, got -0.1"),
    ],
)
def test_invalid_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(AugmentationError, match=message):
        Augmentation(**settings)


def test_unknown_preset() -> None:
    with pytest.raises(AugmentationError, match="got 'publish'; did you mean 'published'"):
        preset("publish")


@pytest.mark.parametrize(
    ("images", "labels", "settings", "message"),
    [
        (NOISE / 255, np.zeros(6), {}, "expected uint8 .* for `images`, got float"),
        (NOISE[0], np.zeros(12), {}, r"expected \(B, H, W\) .*, got \(12, 12\)"),
        (NOISE, np.zeros(5), {}, r"expected as many `labels` as images, 6, got shape \(5,\)"),
        (NOISE, np.zeros(6, int), {"mixup": 1}, r"expected float labels .* pass jax\.nn\.one_hot"),
        (NOISE, np.zeros(6), {"crop": 13}, "at most the images' 12 x 12, got 13 x 13"),
    ],
)
def test_batches_that_do_not_fit(
    images: Any, labels: Any, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(AugmentationError, match=message):
        augment(KEY, jnp.asarray(images), jnp.asarray(labels), Augmentation(**settings))
