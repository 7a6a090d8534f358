"""Corruptions and occlusions against figures worked out by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
import pytest

from ferjax.errors import DataError
from ferjax.evaluate.corruptions import (
    CORRUPTIONS,
    OCCLUSIONS,
    SEVERITIES,
    corrupt,
    occlude,
)

NOISE = np.random.default_rng(0).integers(0, 256, (12, 48, 48), np.uint8)
# Smooth enough to look like something, and over the whole range.
BLURRED = [cv2.GaussianBlur(image.astype(float), (0, 0), 2.5) for image in NOISE]
FACES = np.stack([cv2.normalize(x, None, 20, 235, cv2.NORM_MINMAX) for x in BLURRED]).astype(
    "uint8"
)
RANDOM = ["gaussian_noise", "shot_noise", "impulse_noise", "motion_blur", "side_light"]
RANDOM += ["rotation", "shift"]

every_kind = pytest.mark.parametrize("name", CORRUPTIONS)
every_severity = pytest.mark.parametrize("severity", SEVERITIES)


def flat(level: int, *shape: int) -> np.ndarray:
    return np.full(shape or (1, 48, 48), level, np.uint8)


def value_of(name: str, severity: int) -> float:
    return CORRUPTIONS[name].values[severity - 1]


def test_the_kinds() -> None:
    names = (
        "gaussian_noise shot_noise impulse_noise gaussian_blur motion_blur defocus_blur jpeg "
        "downscale brightness_up brightness_down contrast gamma_up gamma_down side_light "
        "rotation shift"
    )
    assert list(CORRUPTIONS) == names.split()
    for name, kind in CORRUPTIONS.items():
        assert kind.name == name
        assert kind.title
        assert kind.parameter
        assert kind.family in {"noise", "blur", "digital", "light", "geometry"}
        steps = np.diff(kind.values)
        assert len(kind.values) == 5
        assert (steps > 0).all() or (steps < 0).all()
    assert len({kind.title for kind in CORRUPTIONS.values()}) == len(CORRUPTIONS)


def test_nothing_can_be_changed() -> None:
    with pytest.raises(TypeError):
        CORRUPTIONS["fog"] = CORRUPTIONS["jpeg"]  # type: ignore[index]
    with pytest.raises(TypeError):
        OCCLUSIONS["nose"] = OCCLUSIONS["eyes"]  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        CORRUPTIONS["jpeg"].family = "light"  # type: ignore[misc]


@every_kind
def test_same_shape_and_dtype_and_the_input_stays(name: str) -> None:
    for shape in ((3, 48, 48), (2, 40, 64), (2, 31, 17), (2, 8, 8), (0, 48, 48)):
        images = NOISE.ravel()[: np.prod(shape)].reshape(shape)
        before = images.copy()
        images.setflags(write=False)
        for severity in (1, 5):
            ours = corrupt(images, name, severity)
            assert ours.shape == shape
            assert ours.dtype == np.uint8
            assert not np.shares_memory(ours, images)
        np.testing.assert_array_equal(images, before)


@every_kind
def test_a_view_in_another_order_is_as_good_as_a_copy(name: str) -> None:
    mirrored = FACES[:3, :, ::-1]
    np.testing.assert_array_equal(corrupt(mirrored, name, 4), corrupt(mirrored.copy(), name, 4))


@every_kind
def test_the_distance_from_the_original_grows_with_the_severity(name: str) -> None:
    worse = [corrupt(FACES, name, severity).astype(float) for severity in SEVERITIES]
    distances = [np.sqrt(np.mean((images - FACES) ** 2)) for images in worse]
    assert distances[0] > 0.5
    assert (np.diff(distances) > 0.3).all(), distances


@every_kind
def test_the_seed_determines_everything(name: str) -> None:
    first, again = (corrupt(FACES, name, 3, seed=7) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = corrupt(FACES, name, 3, seed=8)
    assert (other != first).any() == (name in RANDOM)


@every_kind
def test_each_image_has_its_own_randomness(name: str) -> None:
    ours = corrupt(FACES[:1].repeat(12, 0), name, 3)
    different = len({image.tobytes() for image in ours})
    assert different == {"rotation": 2, "side_light": 2}.get(name, 12 if name in RANDOM else 1)


@every_kind
@every_severity
def test_parts_give_what_the_whole_does(name: str, severity: int) -> None:
    whole = corrupt(FACES, name, severity, seed=3)
    parts = [
        corrupt(FACES[i:j], name, severity, seed=3, first=i)
        for i, j in ((0, 1), (1, 6), (6, 6), (6, 12))
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@every_severity
def test_gaussian_noise_has_the_stated_deviation(severity: int) -> None:
    noise = corrupt(flat(128, 20, 48, 48), "gaussian_noise", severity) - 128.0
    # 46,080 pixels; levels beyond three deviations are clipped at the strongest.
    assert noise.std() / 255 == pytest.approx(value_of("gaussian_noise", severity), rel=0.02)
    assert abs(noise.mean()) < 1


@every_severity
def test_shot_noise_is_of_counted_photons(severity: int) -> None:
    photons = value_of("shot_noise", severity)
    ours = corrupt(flat(51, 20, 48, 48), "shot_noise", severity) / 255
    # A fifth of the photons: a variance as large as the mean, in photons.
    assert ours.mean() * photons == pytest.approx(photons / 5, rel=0.02)
    assert ours.std() * photons == pytest.approx(np.sqrt(photons / 5), rel=0.03)
    assert (corrupt(flat(0), "shot_noise", severity) == 0).all()


@every_severity
def test_impulse_noise_turns_the_stated_fraction_black_or_white(severity: int) -> None:
    fraction = value_of("impulse_noise", severity)
    ours = corrupt(flat(100, 20, 48, 48), "impulse_noise", severity)
    assert set(np.unique(ours)) == {0, 100, 255}
    for level in (0, 255):
        # Five standard errors over 46,080 pixels.
        bound = 5 * np.sqrt(fraction / 2 / ours.size)
        assert (ours == level).mean() == pytest.approx(fraction / 2, abs=bound)


def point(*shape: int) -> np.ndarray:
    """A white pixel in the middle of black."""
    images = flat(0, *shape)
    images[:, shape[1] // 2, shape[2] // 2] = 255
    return images


def widths(image: np.ndarray) -> tuple[float, float]:
    """Return the standard deviations of a spot, in pixels, along its longer and shorter axis."""
    y, x = np.indices(image.shape)
    longer, shorter = np.linalg.eigvalsh(np.cov(x.ravel(), y.ravel(), aweights=image.ravel()))[::-1]
    return float(np.sqrt(longer)), float(np.sqrt(max(shorter, 0)))


@pytest.mark.parametrize("name", ["gaussian_blur", "motion_blur", "defocus_blur"])
@every_severity
def test_blurs_keep_flat_images_and_light(name: str, severity: int) -> None:
    images = np.concatenate([flat(0), flat(77), flat(255)])
    np.testing.assert_array_equal(corrupt(images, name, severity), images)
    square = flat(0)
    square[:, 18:30, 18:30] = 240
    ours = corrupt(square, name, severity)
    assert ours.mean() == pytest.approx(square.mean(), rel=0.01)
    # What is symmetric stays so: a blur is no shift.
    np.testing.assert_allclose(ours[0], ours[0, ::-1, ::-1], atol=1)


def test_gaussian_blur_has_the_stated_width() -> None:
    edge = flat(0, 1, 100, 120)
    edge[:, :, 60:] = 255
    steps = np.diff(corrupt(edge, "gaussian_blur", 5)[0, 50].astype(float))
    x = np.arange(len(steps))
    mean = np.average(x, weights=steps)
    assert mean == pytest.approx(59, abs=0.02)
    # 0.035 of 100 pixels, a little less where the filter ends
    assert np.average((x - mean) ** 2, weights=steps) == pytest.approx(3.5**2, rel=0.05)


def test_motion_blur_is_a_line_of_the_stated_length() -> None:
    # 0.18 of 100 pixels; a line of length L has a deviation of L / sqrt(12).
    images = corrupt(point(40, 101, 100), "motion_blur", 5)
    for image in images:
        longer, shorter = widths(image)
        assert longer == pytest.approx(18 / np.sqrt(12), rel=0.06)
        assert shorter < 0.6
    y, x = np.indices(images.shape[1:])
    # Both diagonals occur: the angle differs by image.
    slopes = [np.cov(x.ravel(), y.ravel(), aweights=image.ravel())[0, 1] for image in images]
    assert min(slopes) < -5 < 5 < max(slopes)


def test_defocus_blur_is_a_disc_of_the_stated_radius() -> None:
    # 0.065 of 100 pixels: a radius of 6.5 and an area of 133 pixels, a little more with its edge.
    image = corrupt(point(1, 101, 100), "defocus_blur", 5)[0]
    y, x = np.nonzero(image)
    assert np.hypot(y - 50, x - 50).max() == pytest.approx(6.5, abs=0.5)
    assert image.max() == 255 // 133 + 1
    assert (image > 0).sum() == pytest.approx(133, rel=0.1)


def test_jpeg_is_opencvs_at_the_stated_quality() -> None:
    _, coded = cv2.imencode(".jpg", FACES[0], [cv2.IMWRITE_JPEG_QUALITY, 10])
    theirs = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(corrupt(FACES[:1], "jpeg", 5)[0], theirs)
    assert value_of("jpeg", 5) == 10


@every_severity
def test_downscale_leaves_flat_images(severity: int) -> None:
    for images in (flat(77), flat(200, 1, 33, 50)):
        np.testing.assert_array_equal(corrupt(images, "downscale", severity), images)


def test_downscale_by_hand() -> None:
    # Half the side: pairs of stripes become their mean.
    stripes = np.tile(np.array([40, 100], np.uint8), 24)[None, None].repeat(48, 1)
    np.testing.assert_array_equal(corrupt(stripes, "downscale", 2), flat(70))


def test_brightness_by_hand() -> None:
    levels = np.array([0, 100, 200, 255], np.uint8).repeat(16).reshape(1, 8, 8)
    assert value_of("brightness_up", 2) == value_of("brightness_down", 2) == 0.1
    # 25.5, rounded to even
    up, down = (corrupt(levels, f"brightness_{way}", 2)[0, ::2, 0] for way in ("up", "down"))
    assert up.tolist() == [26, 126, 226, 255]
    assert down.tolist() == [0, 74, 174, 230]


def test_contrast_by_hand() -> None:
    levels = np.array([0, 40, 100, 180], np.uint8).repeat(16).reshape(1, 8, 8)  # mean 80
    assert value_of("contrast", 2) == 0.5
    assert corrupt(levels, "contrast", 2)[0, ::2, 0].tolist() == [40, 60, 90, 130]


@every_severity
def test_contrast_keeps_the_mean(severity: int) -> None:
    ours = corrupt(FACES, "contrast", severity)
    np.testing.assert_allclose(ours.mean((1, 2)), FACES.mean((1, 2)), atol=0.5)
    expected = value_of("contrast", severity) * FACES.std((1, 2))
    np.testing.assert_allclose(ours.std((1, 2)), expected, rtol=0.02)


def test_gamma_by_hand() -> None:
    ends = np.concatenate([flat(0), flat(255)])
    for name in ("gamma_up", "gamma_down"):
        np.testing.assert_array_equal(corrupt(ends, name, 5), ends)
    # 255 (128/255)^3 = 32.25; 255 sqrt(64/255) = 127.7
    assert (value_of("gamma_up", 5), value_of("gamma_down", 3)) == (3, 0.5)
    np.testing.assert_array_equal(corrupt(flat(128), "gamma_up", 5), flat(32))
    np.testing.assert_array_equal(corrupt(flat(64), "gamma_down", 3), flat(128))


@every_severity
def test_side_light_darkens_one_side_only(severity: int) -> None:
    ours = corrupt(flat(200, 30, 40, 48), "side_light", severity)
    lit = round(200 * (1 - value_of("side_light", severity)))
    dark_left = 0
    for image in ours:
        assert (image == image[:1]).all()  # all rows alike
        row = image[0].astype(int)
        dark_left += row[0] < row[-1]
        row = row if row[0] > row[-1] else row[::-1]
        assert (row[:12] == 200).all()
        assert (row[-12:] == lit).all()
        assert (np.diff(row) <= 0).all()
        # Smooth: the steepest step of a smoothstep over 24 pixels is 1.5 / 24 of the whole.
        assert -np.diff(row).min() <= (200 - lit) * 1.5 / 24 + 1
    assert 5 < dark_left < 25


@every_severity
def test_rotation_leaves_a_disc_in_the_middle(severity: int) -> None:
    y, x = np.indices((48, 64))
    disc = (200 * np.exp(-(((x - 31.5) ** 2 + (y - 23.5) ** 2) / 100))).astype(np.uint8)[None]
    ours = corrupt(disc, "rotation", severity)
    np.testing.assert_allclose(ours, disc, rtol=0, atol=3)


@every_severity
def test_rotation_is_by_the_stated_angle_both_ways(severity: int) -> None:
    image = flat(0, 1, 49, 49)
    image[:, 24, 40] = 255  # 16 pixels to the right of the middle
    angles = set()
    for turned in corrupt(image.repeat(20, 0), "rotation", severity):
        y, x = (np.indices(turned.shape) * turned).sum((1, 2)) / turned.sum() - 24
        assert np.hypot(y, x) == pytest.approx(16, abs=0.2)
        angles.add(round(float(np.degrees(np.arctan2(-y, x)))))
    angle = int(value_of("rotation", severity))
    assert angles == {-angle, angle}


def test_rotation_repeats_the_border() -> None:
    np.testing.assert_array_equal(corrupt(flat(90), "rotation", 5), flat(90))


@every_severity
def test_shift_moves_a_pixel_by_the_stated_distance(severity: int) -> None:
    # Of the shorter side, 48; each axis is rounded to whole pixels.
    length = value_of("shift", severity) * 48
    ours = corrupt(point(60, 48, 64), "shift", severity)
    moves = []
    for image in ours:
        ((y, x),) = np.argwhere(image)
        assert image[y, x] == 255
        moves.append((y - 24, x - 32))
    lengths = np.hypot(*np.transpose(moves))
    np.testing.assert_allclose(lengths, length, rtol=0, atol=np.sqrt(0.5))
    # Every direction
    for quadrant in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        assert (np.asarray(moves) * quadrant > 0).all(1).any()


def test_shift_repeats_the_border() -> None:
    image = np.arange(48, dtype=np.uint8)[None, None].repeat(48, 1)  # each column its own level
    for shifted in corrupt(image.repeat(10, 0), "shift", 5):
        right = 20 - int(shifted[0, 20])
        np.testing.assert_array_equal(shifted[0], np.clip(np.arange(48) - right, 0, 47))
        assert (shifted == shifted[:1]).all()


@pytest.mark.parametrize(
    ("name", "top", "bottom", "left", "right"),
    [
        ("eyes", 8, 26, 0, 48),
        ("mouth", 29, 48, 7, 41),
        ("lower_face", 24, 48, 0, 48),
        ("left_half", 0, 48, 0, 24),
        ("right_half", 0, 48, 24, 48),
    ],
)
def test_an_occluded_region_has_the_mean_and_the_rest_stays(
    name: str, top: int, bottom: int, left: int, right: int
) -> None:
    before = FACES.copy()
    ours = occlude(FACES, name)
    np.testing.assert_array_equal(FACES, before)
    assert ours.dtype == np.uint8
    inside = np.zeros((48, 48), bool)
    inside[top:bottom, left:right] = True
    np.testing.assert_array_equal(ours[:, ~inside], FACES[:, ~inside])
    means = np.rint(FACES.mean((1, 2)))
    np.testing.assert_array_equal(ours[:, inside], means[:, None].repeat(inside.sum(), 1))
    assert OCCLUSIONS[name].name == name


def test_the_halves_meet_at_any_size() -> None:
    images = NOISE[:2, :20, :31]
    left, right = (occlude(images, f"{side}_half") for side in ("left", "right"))
    assert ((left != images) <= (right == images)).all()
    np.testing.assert_array_equal(left[:, :, 16:], images[:, :, 16:])
    np.testing.assert_array_equal(right[:, :, :16], images[:, :, :16])
    assert len(np.unique(left[0, :, :16])) == len(np.unique(right[0, :, 16:])) == 1


@pytest.mark.parametrize("name", OCCLUSIONS)
def test_occluding_no_images(name: str) -> None:
    assert occlude(NOISE[:0], name).shape == (0, 48, 48)


@pytest.mark.parametrize(
    ("name", "severity", "message"),
    [
        (
            "gausian_noise",
            1,
            r"expected a corruption among gaussian_noise, .*, got 'gausian_noise'; ",
        ),
        ("gausian_noise", 1, "did you mean 'gaussian_noise'"),
        ("jpeg", 0, "expected a severity from 1 to 5, got 0"),
        ("jpeg", 6, "expected a severity from 1 to 5, got 6"),
        ("jpeg", 1.5, r"expected a severity from 1 to 5, got 1\.5"),
    ],
)
def test_unknown_corruptions(name: str, severity: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        corrupt(FACES, name, severity)


def test_unknown_occlusion() -> None:
    message = "expected an occlusion among eyes, .*, got 'mouths'; did you mean 'mouth'"
    with pytest.raises(DataError, match=message):
        occlude(FACES, "mouths")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (FACES / 255, r"expected uint8 \(N, H, W\) for `images`, got float64 \(12, 48, 48\)"),
        (FACES[0], r"expected uint8 \(N, H, W\) for `images`, got uint8 \(48, 48\)"),
        (FACES[..., None], r"got uint8 \(12, 48, 48, 1\)"),
        (FACES[:, :7], "expected `images` of at least 8 x 8, got 7 x 48"),
    ],
)
def test_images_that_do_not_fit(images: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        corrupt(images, "jpeg", 1)
    with pytest.raises(ValueError, match=message):
        occlude(images, "eyes")


@pytest.mark.parametrize("numbers", [{"seed": -1}, {"first": -1}])
def test_negative_numbers(numbers: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"expected `seed` and `first` of at least 0, got .*-1"):
        corrupt(FACES, "shift", 1, **numbers)
