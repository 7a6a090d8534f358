"""Preprocessing: the published recipe bit for bit, every kind of file, and clear errors."""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from PIL import Image, ImageOps, features

from ferjax import image_files, image_formats
from ferjax.errors import FerjaxError, ImageError, SkippedPixelsWarning
from ferjax.image_files import MAX_PIXELS, find_images, read_image
from ferjax.preprocessing import load_picture, preprocess

FER_ZIP = Path(__file__).resolve().parents[2] / "shared/data/emotion-detection-fer.zip"
FER_FOLDERS = ["angry", "disgusted", "fearful", "happy", "neutral", "sad", "surprised"]
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")


def published(path: Path) -> np.ndarray:
    """Do what the published model's card says, word for word."""
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    image = cv2.resize(image, (48, 48))
    image = image.astype(np.float32) / 255
    return image[np.newaxis, :, :, np.newaxis]


def picture(height: int = 61, width: int = 83, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Return a smooth random picture, uint8 (H, W, C), or (H, W) for one channel."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (7, 7, channels), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def as_viewed(data: bytes) -> np.ndarray:
    """Return RGB over white and upright, as Pillow has it."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image.convert("RGBA")).convert("RGB"))


def difference(a: np.ndarray, b: np.ndarray) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [png_chunk(b"IHDR", header), *extra, png_chunk(b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + png_chunk(b"IEND", b"")


RGB = Image.fromarray(picture())
GRAY = RGB.convert("L")

# One file of each kind that the published recipe reads.
FILES: dict[str, bytes] = {
    "rgb.png": encode(RGB, "PNG"),
    "gray.png": encode(GRAY, "PNG"),
    "one-bit.png": encode(GRAY.convert("1"), "PNG"),
    "palette.png": encode(RGB.quantize(16), "PNG"),
    "interlaced.png": cv2.imencode(".png", picture())[1].tobytes(),
    "gray16.png": encode(Image.fromarray(np.asarray(GRAY).astype(np.uint16) * 256 + 200), "PNG"),
    "rgb16.png": cv2.imencode(".png", picture().astype(np.uint16) * 256 + 200)[1].tobytes(),
    "opaque.png": encode(RGB.convert("RGBA"), "PNG"),
    "gray-opaque.png": encode(GRAY.convert("LA"), "PNG"),
    "rgb.jpg": encode(RGB, "JPEG", quality=90),
    "gray.jpg": encode(GRAY, "JPEG"),
    "progressive.jpg": encode(RGB, "JPEG", progressive=True),
    "restarts.jpg": encode(RGB, "JPEG", restart_marker_blocks=2),
    "cmyk.jpg": encode(RGB.convert("CMYK"), "JPEG", quality=95),
    "lossy.webp": encode(RGB, "WEBP"),
    "lossless.webp": encode(RGB, "WEBP", lossless=True),
    "rgb.bmp": encode(RGB, "BMP"),
    "gray.bmp": encode(GRAY, "BMP"),
    "one-bit.bmp": encode(GRAY.convert("1"), "BMP"),
    "rgb.tif": encode(RGB, "TIFF"),
    "lzw.tif": encode(RGB, "TIFF", compression="tiff_lzw"),
    "one-bit.tif": encode(GRAY.convert("1"), "TIFF", compression="group4"),
    "palette.tif": encode(RGB.quantize(16), "TIFF"),
    "gray16.tif": encode(Image.fromarray(np.asarray(GRAY).astype(np.uint16) * 256 + 9), "TIFF"),
    "cmyk.tif": encode(RGB.convert("CMYK"), "TIFF"),
    "opaque.tif": encode(RGB.convert("RGBA"), "TIFF"),
    "palette.gif": encode(RGB, "GIF"),
    "rgb.ppm": encode(RGB, "PPM"),
    "gray.pgm": encode(GRAY, "PPM"),
    "rgb.jp2": encode(RGB, "JPEG2000"),
    "pixel.png": encode(RGB.crop((0, 0, 1, 1)), "PNG"),
    "row.png": encode(RGB.crop((0, 0, 83, 1)), "PNG"),
    "large.png": encode(RGB.resize((700, 500)), "PNG"),
    "48.png": encode(GRAY.resize((48, 48)), "PNG"),
    "no-suffix": encode(RGB, "PNG"),
    "wrong-suffix.jpg": encode(RGB, "PNG"),
}


class TestPublishedRecipe:
    @pytest.mark.parametrize("name", FILES)
    def test_path_and_bytes_match_bit_for_bit(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        path.write_bytes(FILES[name])
        expected = published(path)
        for source in (path, str(path), FILES[name]):
            result = preprocess(source)
            assert result.shape == (1, 48, 48, 1) and result.dtype == np.float32
            np.testing.assert_array_equal(result, expected)

    @pytest.mark.parametrize("name", FILES)
    def test_read_image_matches_imread(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        path.write_bytes(FILES[name])
        gray = read_image(path)
        assert gray.dtype == np.uint8 and gray.flags.c_contiguous
        np.testing.assert_array_equal(gray, cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
        bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(read_image(path, channels=3), bgr[..., ::-1])

    @pytest.mark.skipif(not FER_ZIP.exists(), reason=f"no {FER_ZIP.name} in ../shared/data")
    def test_fer2013_images(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(FER_ZIP) as archive:
            names = [f"test/{f}/im{k}.png" for f in FER_FOLDERS for k in range(10)]
            archive.extractall(tmp_path, names)
        paths = [tmp_path / name for name in names]
        expected = np.concatenate([published(path) for path in paths])
        np.testing.assert_array_equal(preprocess(paths), expected)
        np.testing.assert_array_equal(preprocess([p.read_bytes() for p in paths]), expected)
        np.testing.assert_array_equal(preprocess(find_images(tmp_path)), expected)

    def test_known_values(self) -> None:
        image = np.array([[0, 51], [102, 255]], np.uint8)
        result = preprocess(image, size=(2, 2))[0, :, :, 0]
        np.testing.assert_array_equal(result, np.array([[0, 0.2], [0.4, 1]], np.float32))
        # Halving with bilinear weights is the mean of 2x2: (0 + 51 + 102 + 255) / 4 = 102.
        assert preprocess(image, size=(1, 1))[0, 0, 0, 0] == np.float32(0.4)

    def test_size_is_height_then_width(self) -> None:
        assert preprocess(picture(), size=(20, 30)).shape == (1, 20, 30, 1)
        assert preprocess([FILES["rgb.png"]], size=(20, 30), channels=3).shape == (1, 20, 30, 3)


class TestOptions:
    def test_value_ranges(self) -> None:
        image = np.arange(256, dtype=np.uint8).reshape(16, 16)

        def run(value_range: tuple[float, float]) -> np.ndarray:
            return preprocess(image, size=(16, 16), value_range=value_range).ravel()

        x = np.arange(256, dtype=np.float32)
        np.testing.assert_array_equal(run((0, 1)), x / 255)
        np.testing.assert_array_equal(run((0, 255)), x)
        np.testing.assert_array_equal(run((-1, 1)), x / np.float32(127.5) - 1)
        np.testing.assert_allclose(run((2, 4)), 2 + x / 127.5, rtol=1e-6)
        assert run((np.float64(-1), np.float64(1))).dtype == np.float32

    def test_value_ranges_of_floats(self) -> None:
        image = np.array([[0, 0.25], [0.5, 1]], np.float32)
        for value_range, expected in [
            ((0, 1), [0, 0.25, 0.5, 1]),
            ((0, 255), [0, 63.75, 127.5, 255]),
            ((-1, 1), [-1, -0.5, 0, 1]),
        ]:
            result = preprocess(image, size=(2, 2), value_range=value_range)
            np.testing.assert_array_equal(result.ravel(), np.array(expected, np.float32))

    def test_three_channels_of_a_gray_image_are_equal(self) -> None:
        for source in (np.asarray(GRAY), FILES["gray.png"], GRAY):
            result = preprocess(source, channels=3)
            assert result.shape == (1, 48, 48, 3)
            np.testing.assert_array_equal(result[..., 0], preprocess(source)[..., 0])
            assert (result[..., :1] == result).all()

    def test_files_come_as_rgb(self) -> None:
        red = encode(Image.new("RGB", (5, 5), (255, 0, 0)), "PNG")
        assert preprocess(red, channels=3)[0, 0, 0].tolist() == [1, 0, 0]

    def test_channel_order_of_arrays(self) -> None:
        rgb = picture()
        bgr = rgb[..., ::-1]
        for channels in (1, 3):
            expected = preprocess(rgb, channels=channels)
            result = preprocess(bgr, channels=channels, channel_order="bgr")
            np.testing.assert_array_equal(result, expected)
        alpha = np.full((*rgb.shape[:2], 1), 90, np.uint8)
        np.testing.assert_array_equal(
            preprocess(np.concatenate([bgr, alpha], -1), channel_order="bgr"),
            preprocess(np.concatenate([rgb, alpha], -1)),
        )

    def test_channel_order_leaves_files_and_pil_images_alone(self) -> None:
        for source in (FILES["rgb.png"], RGB):
            np.testing.assert_array_equal(
                preprocess(source, channel_order="bgr", channels=3), preprocess(source, channels=3)
            )

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"size": (48,)}, r"expected \(height, width\) in pixels for `size`, got \(48,\)"),
            ({"size": 48}, "for `size`, got 48"),
            ({"size": (0, 48)}, "for `size`"),
            ({"size": (48.5, 48)}, "for `size`"),
            ({"size": (10**6, 10**6)}, "for `size`"),
            ({"channels": 4}, r"expected 1 \(gray\) or 3 \(RGB\) for `channels`, got 4"),
            ({"channel_order": "grb"}, "expected 'rgb' or 'bgr' for `channel_order`, got 'grb'"),
            ({"value_range": (1, 0)}, r"expected \(low, high\) for `value_range`, got \(1, 0\)"),
            ({"value_range": (0, np.inf)}, "for `value_range`"),
            ({"value_range": 255}, "for `value_range`, got 255"),
            ({"resize": "cubic"}, "expected 'linear' or 'area' for `resize`, got 'cubic'"),
            ({"resize": ""}, "expected 'linear' or 'area' for `resize`, got ''"),
        ],
    )
    def test_bad_options(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            preprocess(picture(), **options)

    def test_read_image_options(self) -> None:
        with pytest.raises(ValueError, match="for `channels`, got 2"):
            read_image(b"x", channels=2)  # type: ignore[arg-type]
        with pytest.raises(ImageError, match="a path, bytes or an open file, got ndarray"):
            read_image(picture())  # type: ignore[arg-type]


class TestResize:
    def test_linear_is_the_default(self) -> None:
        image = picture(301, 203)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            expected = preprocess(image)
            np.testing.assert_array_equal(preprocess(image, resize="linear"), expected)
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        by_hand = cv2.resize(gray, (48, 48)).astype(np.float32) / 255
        np.testing.assert_array_equal(expected[0, :, :, 0], by_hand)

    def test_area_is_the_mean_of_the_pixels(self) -> None:
        image = np.zeros((6, 4), np.uint8)
        image[0, 0], image[3:, 2:] = 60, 255
        result = preprocess(image, size=(2, 2), resize="area")[0, :, :, 0] * 255
        np.testing.assert_allclose(result, [[10, 0], [0, 255]], rtol=1e-6)
        floats = preprocess(image / np.float32(255), size=(2, 2), resize="area")[0, :, :, 0] * 255
        np.testing.assert_allclose(floats, [[10, 0], [0, 255]], rtol=1e-6)
        colour = np.stack([image, image // 3, 255 - image], axis=-1)
        result = preprocess(colour, size=(2, 2), resize="area", channels=3)[0] * 255
        np.testing.assert_allclose(result[0, 0], [10, 20 / 6, 245], atol=0.51)
        np.testing.assert_allclose(result[1, 1], [255, 85, 0], atol=1e-4)

    @pytest.mark.parametrize("size", [(96, 96), (49, 48), (30, 96), (96, 30)])
    def test_area_enlarges_bilinearly(self, size: tuple[int, int]) -> None:
        image = picture(48, 48, 1)
        enlarged = preprocess(image, size=size, resize="area")
        np.testing.assert_array_equal(enlarged, preprocess(image, size=size))
        repeated = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
        if min(size) > 49:  # what INTER_AREA would have made of it
            assert np.abs(enlarged[0, :, :, 0] * 255 - repeated).max() > 2

    def test_area_shrinks_one_side(self) -> None:
        image = np.zeros((2, 8), np.uint8)
        image[:, 0] = 200
        result = preprocess(image, size=(2, 2), resize="area")[0, :, :, 0] * 255
        np.testing.assert_allclose(result, [[50, 0], [50, 0]], rtol=1e-6)

    def test_every_kind_of_image_is_resized_the_same(self, tmp_path: Path) -> None:
        image = picture(150, 170, 1)
        path = tmp_path / "a.png"
        path.write_bytes(encode(Image.fromarray(image), "PNG"))
        expected = preprocess(image, resize="area")
        assert np.abs(expected - preprocess(image)).max() > 0.001
        for source in (path, [path], image[None], Image.fromarray(image), path.read_bytes()):
            np.testing.assert_array_equal(preprocess(source, resize="area"), expected)

    def test_an_image_of_the_size_stays(self) -> None:
        image = picture(48, 48, 1)
        np.testing.assert_array_equal(preprocess(image, resize="area"), preprocess(image))

    def test_what_skips_pixels_is_warned_about_where_none_was_chosen(self) -> None:
        large = picture(97, 97)
        for image in (large, [large, large], np.stack([large, large])):
            with pytest.warns(SkippedPixelsWarning, match='resize="area" averages them') as caught:
                result = preprocess(image, resize=None)
            (warning,) = caught  # once a call
            assert warning.filename == __file__
            np.testing.assert_array_equal(result[0], preprocess(large)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for shape in ((96, 96), (97, 96), (96, 500), (48, 48), (20, 20)):
                preprocess(picture(*shape), resize=None)
            preprocess(large, resize="area")


class TestPicture:
    def test_pictures_are_as_a_viewer_shows_them(self) -> None:
        rgb = picture()
        np.testing.assert_array_equal(load_picture(rgb), rgb)
        np.testing.assert_array_equal(load_picture(rgb[..., ::-1], channel_order="bgr"), rgb)
        np.testing.assert_array_equal(load_picture(encode(Image.fromarray(rgb), "PNG")), rgb)
        gray = load_picture(picture(5, 6, 1))
        assert gray.shape == (5, 6, 3) and gray.dtype == np.uint8
        floats = load_picture(np.array([[0, 0.5], [0.999, 1]], np.float32))
        assert floats[..., 0].tolist() == [[0, 128], [255, 255]]

    def test_errors_name_it(self) -> None:
        with pytest.raises(ImageError, match=r"^mine: expected one image, got a batch"):
            load_picture(np.zeros((2, 9, 9), np.uint8), name="mine")
        with pytest.raises(ImageError, match=r"^none\.png: no such file$"):
            load_picture("none.png")
        with pytest.raises(ValueError, match="for `channel_order`, got 'grb'"):
            load_picture(picture(), channel_order="grb")  # type: ignore[arg-type]


class TestArrays:
    @pytest.mark.parametrize(
        ("shape", "count"),
        [
            ((50, 60), 1),
            ((50, 60, 1), 1),
            ((50, 60, 3), 1),
            ((50, 60, 4), 1),
            ((5, 50, 60), 5),
            ((1, 48, 48), 1),
            ((5, 50, 60, 1), 5),
            ((5, 50, 60, 3), 5),
            ((5, 50, 60, 4), 5),
            ((48, 48, 4), 1),
            ((1, 1), 1),
            ((3, 4, 2), 3),
        ],
    )
    @pytest.mark.parametrize("dtype", [np.uint8, np.float32])
    def test_shapes(self, shape: tuple[int, ...], count: int, dtype: type) -> None:
        array = np.ones(shape, dtype)
        assert preprocess(array).shape == (count, 48, 48, 1)
        assert preprocess(array, channels=3).shape == (count, 48, 48, 3)

    @pytest.mark.parametrize("side", [48, 40])
    @pytest.mark.parametrize("shape", [(), (1,), (3,), (4,)])
    @pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_batch_equals_one_by_one(
        self, side: int, shape: tuple[int, ...], dtype: type, channels: Any
    ) -> None:
        rng = np.random.default_rng(1)
        batch = rng.integers(0, 256, (7, side, side, *shape), dtype=np.uint8)
        if dtype is not np.uint8:
            batch = (batch / 255).astype(dtype)
        result = preprocess(batch, channels=channels)
        alone = np.concatenate([preprocess(image, channels=channels) for image in batch])
        np.testing.assert_array_equal(result, alone)
        np.testing.assert_array_equal(preprocess(list(batch), channels=channels), alone)

    def test_batch_at_target_size_needs_no_resize(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*args: object) -> None:
            raise AssertionError("resized")

        monkeypatch.setattr(cv2, "resize", fail)
        batch = np.random.default_rng(0).integers(0, 256, (9, 48, 48), dtype=np.uint8)
        expected = batch[..., None].astype(np.float32) / 255
        np.testing.assert_array_equal(preprocess(batch), expected)

    def test_array_from_imread_equals_its_file(self) -> None:
        gray = cv2.imdecode(np.frombuffer(FILES["rgb.png"], np.uint8), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(preprocess(gray), preprocess(FILES["rgb.png"]))

    def test_floats_are_resized_as_float32(self) -> None:
        image = picture(channels=1).astype(np.float64) / 255
        expected = cv2.resize(image.astype(np.float32), (48, 48))
        np.testing.assert_array_equal(preprocess(image)[0, :, :, 0], expected)

    def test_views_and_byte_orders(self) -> None:
        image = picture()
        flipped = image[::-1, ::-1]
        np.testing.assert_array_equal(preprocess(flipped), preprocess(flipped.copy()))
        fortran = np.asfortranarray(image)
        np.testing.assert_array_equal(preprocess(fortran), preprocess(image))
        scaled = (image / 255).astype(np.float32)
        np.testing.assert_array_equal(preprocess(scaled.astype(">f4")), preprocess(scaled))

    @pytest.mark.parametrize("dtype", [np.uint8, np.float32])
    def test_the_input_is_not_changed(self, dtype: type) -> None:
        image = np.ones((48, 48), dtype)
        image.flags.writeable = False
        preprocess(image, value_range=(0, 255))[:] = 7
        assert (image == 1).all()

    def test_very_long_images(self) -> None:
        assert preprocess(np.full((40_000, 3), 255, np.uint8)).min() == 1

    def test_rounding_beyond_one_is_cut(self) -> None:
        image = np.full((48, 48), 1.0000001, np.float64)
        image[0] = -1e-7
        result = preprocess(image)
        assert result.min() == 0 and result.max() == 1
        with pytest.raises(ImageError, match=r"values up to 1\.00001"):
            preprocess(np.full((4, 4), 1.00001))

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (
                np.full((4, 4), 255.0),
                r"expected float images in \[0, 1\], got values up to 255.0; divide by 255 or pass",
            ),
            (np.full((4, 4), -0.5), r"\[0, 1\], got values down to -0.5; shift and scale"),
            (np.full((4, 4), np.nan), "got NaN or infinity"),
            (np.array([[0.5, np.inf]]), "got NaN or infinity"),
            (np.array([[0.5, -np.inf]]), "got NaN or infinity"),
            (np.zeros((4, 4), np.int32), r"got dtype int32; convert values in \[0, 255\] with"),
            (np.zeros((4, 4), np.int8), "got dtype int8"),
            (np.zeros((4, 4), np.uint16), "got dtype uint16; divide by the white value, 65535"),
            (np.zeros((4, 4), bool), r"got dtype bool; convert with astype\(np.float32\)"),
            (np.zeros((4, 4), object), "got dtype object"),
            (np.zeros((4, 4), complex), "got dtype complex128"),
            (np.array([["a", "b"]]), "got dtype <U1"),
            (np.zeros((0,), np.uint8), r"expected shape .*, got \(0,\)"),
            (np.zeros((0, 48, 48, 1), np.uint8), r"at least one pixel, got shape \(0, 48, 48, 1\)"),
            (np.zeros((48, 0), np.uint8), r"at least one pixel, got shape \(48, 0\)"),
            (np.zeros((2, 0, 4, 3), np.float32), "at least one pixel"),
            (np.zeros((), np.uint8), r"expected shape .*, got \(\)"),
            (np.zeros((9,), np.uint8), r"expected shape .*, got \(9,\)"),
            (np.zeros((2, 4, 4, 2), np.uint8), r"expected shape .*, got \(2, 4, 4, 2\)"),
            (np.zeros((2, 4, 4, 5), np.uint8), r"expected shape .*, got \(2, 4, 4, 5\)"),
            (np.zeros((1, 2, 4, 4, 1), np.uint8), r"expected shape .*, got \(1, 2, 4, 4, 1\)"),
        ],
    )
    def test_bad_arrays(self, array: np.ndarray, message: str) -> None:
        with pytest.raises(ImageError, match="^array: .*" + message) as info:
            preprocess(array)
        assert "\n" not in str(info.value)
        with pytest.raises(ImageError, match=r"^image 0 \(array\): .*" + message):
            preprocess([array])

    def test_other_arrays_convert_themselves(self) -> None:
        class Foreign:
            dtype = np.dtype(np.uint8)

            def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
                return picture()

        class Elsewhere(Foreign):
            def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
                raise TypeError("on another device\nmove it")

        np.testing.assert_array_equal(preprocess(Foreign()), preprocess(picture()))  # type: ignore[arg-type]
        with pytest.raises(ImageError, match=r"array: cannot become .* on another device\\nmove"):
            preprocess(Elsewhere())  # type: ignore[arg-type]


class Tensor:
    """An array of another library, which NumPy can take."""

    dtype = "framework.float32"

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.values if dtype is None else self.values.astype(dtype)


class TestFloats:
    @pytest.mark.parametrize(
        "dtype", ["float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"]
    )
    @pytest.mark.parametrize("xp", [np, jnp])
    def test_floats_of_any_width_are_their_values(self, dtype: str, xp: Any) -> None:
        image = (picture(48, 48, 1) / 255).astype(getattr(ml_dtypes, dtype, dtype))
        expected = image.astype(np.float32)[None, ..., None]
        np.testing.assert_array_equal(preprocess(xp.asarray(image)), expected)
        np.testing.assert_array_equal(preprocess([xp.asarray(image)]), expected)

    def test_another_librarys_array(self) -> None:
        image = picture(48, 48, 1)
        tensor: Any = Tensor(image)
        np.testing.assert_array_equal(preprocess(tensor), preprocess(image))

    @pytest.mark.parametrize(
        ("image", "message"),
        [
            (np.full((4, 4), 2, ml_dtypes.bfloat16), "values up to 2.0; divide by 255"),
            (np.full((4, 4), np.nan, ml_dtypes.bfloat16), "NaN or infinity"),
            (np.zeros((4, 4), ml_dtypes.int4), "got dtype int4"),
            (np.zeros((4, 4), "f4,f4"), "got dtype .*f0"),
        ],
    )
    def test_they_are_checked_as_others_are(self, image: np.ndarray, message: str) -> None:
        with pytest.raises(ImageError, match=message):
            preprocess(image)


class TestSequences:
    def test_mixed_sources(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        path.write_bytes(FILES["gray.png"])
        gray = np.asarray(GRAY)
        result = preprocess([path, str(path), FILES["gray.png"], gray, gray[..., None], GRAY])
        assert result.shape == (6, 48, 48, 1)
        assert (result == result[:1]).all()
        np.testing.assert_array_equal(preprocess((path,)), result[:1])

    def test_all_bad_items_at_once(self, tmp_path: Path) -> None:
        text = tmp_path / "page.html"
        text.write_text("<!DOCTYPE html>")
        missing = tmp_path / "none.png"
        items = [missing, GRAY, text, np.full((4, 4), 9.0), b"", 7, np.zeros((2, 5, 5), np.uint8)]
        with pytest.raises(ImageError) as info:
            preprocess(items)  # type: ignore[arg-type]
        lines = str(info.value).splitlines()
        assert lines[0] == "6 of 7 images cannot be used:"
        for line, pattern in zip(
            lines[1:],
            [
                r"none\.png: no such file",
                r"page\.html: not an image",
                r"^image 3 \(array\): .* up to 9.0",
                r"^image 4 \(bytes\): empty",
                r"^image 5 \(int\): expected a path, bytes, array or PIL image",
                r"^image 6 \(array\): expected one image, got a batch of shape \(2, 5, 5\)",
            ],
            strict=True,
        ):
            assert re.search(pattern, line), line

    def test_a_long_list_of_errors_is_cut(self) -> None:
        with pytest.raises(ImageError, match=r"(?s)80 of 81 images.*\n\.\.\. and 30 more$"):
            preprocess([picture(), *[b"x"] * 80])

    @pytest.mark.parametrize("empty", [[], ()])
    def test_an_empty_sequence(self, empty: Any) -> None:
        with pytest.raises(ImageError, match="at least one image, got an empty sequence"):
            preprocess(empty)

    @pytest.mark.parametrize("wrong", [None, 3, {"a": 1}, {1}, iter([])])
    def test_what_is_no_sequence(self, wrong: Any) -> None:
        with pytest.raises(ImageError, match="expected a path, bytes, array, PIL image or a seq"):
            preprocess(wrong)

    def test_nested_lists_are_no_images(self) -> None:
        with pytest.raises(ImageError, match=r"image 0 \(list\): expected a path, bytes"):
            preprocess([[0.1, 0.2], [0.3, 0.4]])  # type: ignore[list-item]


class Upload:
    """Gives all it has at once, as some web servers' uploads do."""

    def __init__(self, data: Any, name: str = "selfie.png") -> None:
        self.data, self.filename, self.name = data, name, "field"

    def read(self) -> Any:
        data, self.data = self.data, b""
        return data


class Trickle(io.RawIOBase):
    """Gives a few bytes at a time, as a socket does."""

    def __init__(self, data: bytes) -> None:
        self.data = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self.data.read(min(size, 100) if size >= 0 else -1)


class Awaited:
    async def read(self, size: int = -1) -> bytes:
        return b"never"


class TestOpenFiles:
    def test_an_open_file_is_what_its_bytes_are(self, tmp_path: Path) -> None:
        data = encode(Image.fromarray(picture()), "PNG")
        (tmp_path / "a.png").write_bytes(data)
        expected = preprocess(data)
        with open(tmp_path / "a.png", "rb") as file, open(tmp_path / "a.png", "rb", 0) as raw:
            for source in (file, raw, io.BytesIO(data), Upload(data), Trickle(data)):
                np.testing.assert_array_equal(preprocess(source), expected)
        found = preprocess([Upload(bytearray(data)), data, io.BytesIO(data)], channels=3)
        np.testing.assert_array_equal(found, np.repeat(preprocess(data, channels=3), 3, axis=0))
        np.testing.assert_array_equal(read_image(io.BytesIO(data)), read_image(data))

    def test_it_is_read_from_where_it_stands(self) -> None:
        data = encode(Image.fromarray(picture()), "PNG")
        file = io.BytesIO(b"header" + data)
        file.seek(6)
        np.testing.assert_array_equal(preprocess(file), preprocess(data))
        with pytest.raises(ImageError, match=r"^BytesIO: empty, .* read or written .* seek\(0\)"):
            preprocess(file)

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            (io.StringIO("text"), r"^StringIO: .* opened in binary mode \('rb'\), .* gives text"),
            (Upload("text"), r"^selfie\.png: .* opened in binary mode"),
            (Upload(b"GIF9"), r"^selfie\.png: not an image that ferjax can read"),
            (Upload(b"", "a\nb.png"), r"^a\\nb\.png: empty, 0 bytes"),
            (Upload(None), r"^selfie\.png: expected bytes from \.read\(\), got NoneType"),
            (Upload(7, name=""), r"^field: expected bytes from \.read\(\), got int"),
            (Awaited(), r"^Awaited: .* it has to be awaited; pass `await file\.read\(\)`"),
        ],
    )
    @pytest.mark.filterwarnings("error")
    def test_what_gives_no_image(self, source: Any, message: str) -> None:
        with pytest.raises(ImageError, match=message):
            preprocess(source)

    @pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
    def test_a_file_opened_as_text(self, tmp_path: Path, encoding: str) -> None:
        path = tmp_path / "a.png"
        path.write_bytes(encode(Image.fromarray(picture()), "PNG"))
        with (
            open(path, encoding=encoding) as file,
            pytest.raises(ImageError, match=r"a\.png: expected a file opened in binary mode"),
        ):
            preprocess(file)

    def test_a_file_that_cannot_be_read(self) -> None:
        file = io.BytesIO(b"x")
        file.close()
        with pytest.raises(ImageError, match=r"^BytesIO: cannot be read: I/O operation on closed"):
            preprocess(file)
        with pytest.raises(ImageError, match=r"image 0 \(selfie\.png\): empty"):
            preprocess([Upload(b"")])

    def test_a_file_without_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(image_files, "MAX_FILE_BYTES", 1000)
        with pytest.raises(ImageError, match="expected an image file of at most"):
            preprocess(Trickle(bytes(10**6)))


class TestAlpha:
    ALPHA = np.repeat(np.array([0, 128, 255, 254], np.uint8), [20, 20, 20, 23])[None].repeat(61, 0)
    RGBA = Image.fromarray(np.dstack([picture(), ALPHA]))
    LA = Image.merge("LA", [GRAY, Image.fromarray(ALPHA)])

    @pytest.mark.parametrize(
        "data",
        [
            encode(RGBA, "PNG"),
            encode(LA, "PNG"),
            encode(RGBA.quantize(32), "PNG"),
            encode(RGB.quantize(8), "PNG", transparency=0),
            encode(GRAY, "PNG", transparency=int(np.asarray(GRAY)[30, 40])),
            encode(RGB, "PNG", transparency=tuple(picture()[0, 0].tolist())),
            encode(RGBA, "WEBP", lossless=True, exact=True),
            encode(RGBA, "TIFF"),
            encode(RGBA, "JPEG2000"),
            encode(RGBA, "GIF"),
        ],
        ids=[
            *["rgba", "la", "palette", "palette-trns", "gray-trns", "rgb-trns"],
            *["webp", "tiff", "jp2", "gif"],
        ],
    )
    def test_transparency_is_shown_over_white(self, data: bytes) -> None:
        expected = as_viewed(data)
        result = read_image(data, channels=3)
        assert difference(result, expected) <= 1
        weights = np.array([0.299, 0.587, 0.114])
        assert difference(read_image(data), np.rint(expected @ weights)) <= 2
        opened = Image.open(io.BytesIO(data))
        by_pil = preprocess(opened, channels=3, size=result.shape[:2], value_range=(0, 255))[0]
        assert difference(by_pil, result) <= 1

    def test_array_alpha(self) -> None:
        image = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 100, 255, 51]]], np.uint8)
        result = preprocess(image, size=(1, 3), channels=3, value_range=(0, 255))[0, 0]
        # 51 / 255 is a fifth: 0 / 5 + 4 / 5 * 255 = 204, 100 / 5 + 204 = 224, 51 + 204 = 255.
        assert result.tolist() == [[10, 20, 30], [255, 255, 255], [204, 224, 255]]
        floats = preprocess((image / 255).astype(np.float32), size=(1, 3), channels=3)[0, 0]
        np.testing.assert_allclose(floats * 255, result, atol=1e-3)

    @pytest.mark.parametrize("dtype", [np.uint8, np.float32])
    def test_opaque_alpha_changes_nothing(self, dtype: type) -> None:
        top = 255 if dtype is np.uint8 else 1
        rgb = picture() if dtype is np.uint8 else (picture() / 255).astype(np.float32)
        rgba = np.concatenate([rgb, np.full((61, 83, 1), top, dtype)], -1)
        np.testing.assert_array_equal(preprocess(rgba), preprocess(rgb))

    def test_opaque_pixels_keep_imreads_gray(self) -> None:
        data = encode(self.RGBA, "PNG")
        imread = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        opaque = self.ALPHA == 255
        np.testing.assert_array_equal(read_image(data)[opaque], imread[opaque])

    @pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
    def test_gray_png_with_one_transparent_value(self, depth: int) -> None:
        # Two pixels, black and one above; black is transparent.
        rows = {1: b"\x40", 2: b"\x10", 4: b"\x01", 8: b"\0\x01", 16: b"\0\0\x01\0"}[depth]
        data = png(2, 1, depth, 0, b"\0" + rows, png_chunk(b"tRNS", b"\0\0"))
        step = {1: 255, 2: 85, 4: 17, 8: 1, 16: 1}[depth]
        assert read_image(data).tolist() == [[255, step]]

    def test_sixteen_bits_with_alpha(self) -> None:
        image = np.array([[[0, 0, 0, 0], [1000, 20000, 65535, 65535]]], np.uint16)  # BGRA
        data = cv2.imencode(".png", image)[1].tobytes()
        assert read_image(data, channels=3).tolist() == [[[255] * 3, [255, 78, 3]]]

    @pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_rotated_with_alpha(self, kind: str, orientation: int) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options: dict[str, Any] = {"exif": exif}
        if kind == "WEBP":
            options.update(lossless=True, exact=True)
        data = encode(self.RGBA, kind, **options)
        assert difference(read_image(data, channels=3), as_viewed(data)) <= 1


class TestOrientation:
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_files_are_shown_upright(self, kind: str, orientation: int) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encode(RGB, kind, exif=exif, **options)
        limit = 12 if kind == "JPEG" else 1
        assert difference(read_image(data, channels=3), as_viewed(data)) <= limit
        opened = Image.open(io.BytesIO(data))
        by_pil = preprocess(opened, channels=3)
        assert np.abs(by_pil - preprocess(data, channels=3)).max() < 0.05

    @needs_avif
    @pytest.mark.parametrize("orientation", range(2, 9))
    def test_rotated_avif_is_refused(self, orientation: int) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        with pytest.raises(ImageError, match="bytes: a rotated or mirrored AVIF"):
            read_image(encode(RGB, "AVIF", exif=exif))

    @needs_avif
    def test_upright_avif(self) -> None:
        data = encode(RGB, "AVIF", quality=95)
        assert difference(read_image(data, channels=3), as_viewed(data)) <= 16


class TestKinds:
    def test_cmyk_jpeg_is_close_to_pillow(self) -> None:
        assert (
            difference(read_image(FILES["cmyk.jpg"], channels=3), as_viewed(FILES["cmyk.jpg"])) <= 4
        )

    @pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
    def test_the_first_picture_of_several(self, tmp_path: Path, kind: str) -> None:
        others = [Image.fromarray(picture(seed=seed)) for seed in (1, 2)]
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encode(RGB, kind, save_all=True, append_images=others, **options)
        limit = 60 if kind == "GIF" else 1  # 256 colours
        assert difference(read_image(data, channels=3), picture()) <= limit
        path = tmp_path / "many"
        path.write_bytes(data)
        np.testing.assert_array_equal(preprocess(data), published(path))

    def test_animated_png_with_a_separate_default_image(self, tmp_path: Path) -> None:
        others = [Image.fromarray(picture(seed=seed)) for seed in (1, 2)]
        data = encode(RGB, "PNG", save_all=True, append_images=others, default_image=True)
        path = tmp_path / "animated.png"
        path.write_bytes(data)
        np.testing.assert_array_equal(preprocess(data), published(path))
        np.testing.assert_array_equal(read_image(data, channels=3), picture())

    def test_os2_bmp(self) -> None:
        head = b"BM" + struct.pack("<IHHI", 42, 0, 0, 26) + struct.pack("<IHHHH", 12, 3, 1, 1, 24)
        data = head + bytes([0, 0, 255, 0, 255, 0, 255, 0, 0, 0, 0, 0])  # BGR, rows padded to 4
        assert read_image(data, channels=3).tolist() == [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]

    def test_bytes_like(self) -> None:
        expected = preprocess(FILES["rgb.png"])
        for like in (bytearray, memoryview):
            np.testing.assert_array_equal(preprocess(like(FILES["rgb.png"])), expected)  # type: ignore[arg-type]

    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "La"])
    def test_pil_modes(self, mode: str) -> None:
        # Pillow reaches premultiplied modes from their straight ones only.
        straight = RGB.convert({"RGBa": "RGBA", "La": "LA"}.get(mode, mode))
        result = preprocess(straight.convert(mode), channels=3, size=(61, 83), value_range=(0, 255))
        assert difference(result[0], np.asarray(straight.convert("RGB"))) <= 1
        if mode in ("L", "RGB", "RGBA"):
            np.testing.assert_array_equal(preprocess(straight), preprocess(np.asarray(straight)))

    def test_transparency_of_a_quantized_image(self) -> None:
        clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0)).quantize(4)
        assert clear.mode == "P" and not clear.info
        np.testing.assert_array_equal(preprocess(clear), 1)  # white, and not the black below it

    @pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV"])
    def test_pil_colour_spaces(self, mode: str) -> None:
        result = preprocess(RGB.convert(mode), channels=3, size=(61, 83), value_range=(0, 255))[0]
        assert difference(result, picture()) <= 8

    def test_pil_sixteen_bits_keep_the_high_byte(self) -> None:
        image = Image.open(io.BytesIO(FILES["gray16.png"]))
        assert image.mode.startswith("I")
        np.testing.assert_array_equal(preprocess(image), preprocess(FILES["gray16.png"]))

    @pytest.mark.parametrize("mode", ["I", "F"])
    def test_pil_modes_without_a_known_range(self, mode: str) -> None:
        with pytest.raises(ImageError, match=f"PIL image: expected 8 or 16 bits .* mode '{mode}'"):
            preprocess(Image.new(mode, (4, 4)))

    def test_truncated_pil_image(self) -> None:
        data = FILES["rgb.jpg"]
        with pytest.raises(ImageError, match=r"PIL image: Pillow cannot decode it: .*truncated"):
            preprocess(Image.open(io.BytesIO(data[: len(data) // 2])))


class TestBadFiles:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "empty, 0 bytes"),
            (b"<!DOCTYPE html><html>", r"not an image .*starts with b'<!DOCTYPE ht'"),
            (b"plain text", "not an image that ferjax can read"),
            (b"\0\0\0\x18ftypisom\0\0\2\0isommp41", "a video, not an image .* save its frames"),
            (b"\x1aE\xdf\xa3\x9fB\x86\x81\1", "a video, not an image .* save its frames"),
            (b"RIFF\x24\0\0\0AVI LIST", "a video, not an image .* save its frames"),
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC, not an image .* save it as JPEG"),
            (b"\x89HDF\r\n\x1a\n" + bytes(600), "not an image .*HDF"),
            (b"PK\x03\x04" + bytes(99), "not an image .*PK"),
            (b"<svg width='4' height='4'></svg>", "not an image .*svg"),
            (b"\x89PNG\r\n\x1a\n", "PNG whose header cannot be read: truncated or corrupt"),
            (b"\xff\xd8\xff\xe0", "JPEG whose header cannot be read: truncated or corrupt"),
            (b"BM", "BMP whose header cannot be read"),
            (b"GIF89a", "GIF whose header cannot be read"),
            (b"II*\0", "TIFF whose header cannot be read"),
            (b"RIFF\0\0\0\0WEBP", "WebP whose header cannot be read"),
            (b"P5 \n", "PNM whose header cannot be read"),
            (b"GIF89a\0\0\0\0" + bytes(20), "GIF whose header cannot be read"),
            (b"\0\0\0\x1cftypavif" + bytes(40), "AVIF whose header cannot be read"),
            (b"BM" + bytes(200), "BMP whose header cannot be read"),
        ],
    )
    def test_content(self, tmp_path: Path, content: bytes, message: str) -> None:
        path = tmp_path / "face.png"
        path.write_bytes(content)
        for source, name in ((path, re.escape(str(path))), (content, "bytes")):
            with pytest.raises(ImageError, match=f"^{name}: .*{message}") as info:
                preprocess(source)
            assert "\n" not in str(info.value)

    @pytest.mark.parametrize(
        "name", [n for n in FILES if not n.startswith(("pixel", "48", "large"))]
    )
    def test_truncated(self, name: str, capfd: pytest.CaptureFixture[str]) -> None:
        data = FILES[name]
        whole = read_image(data)
        cuts = [*range(30, len(data), max(1, len(data) // 25)), len(data) - 20, len(data) - 1]
        for cut in cuts:
            try:
                result = read_image(data[:cut])
            except ImageError as error:
                assert re.match("bytes: .*truncated", str(error))
            else:  # nothing refers to the last bytes of this TIFF
                assert name == "one-bit.tif" and cut > len(data) - 5
                np.testing.assert_array_equal(result, whole)
        assert capfd.readouterr().err == ""

    @pytest.mark.parametrize(
        "name", ["rgb.jpg", "progressive.jpg", "rgb.png", "lossy.webp", "rgb.bmp"]
    )
    def test_bytes_after_the_end_do_not_matter(self, name: str) -> None:
        expected = preprocess(FILES[name])
        for tail in (b"\0", b"\r\n", FILES["rgb.jpg"], bytes(1000)):
            np.testing.assert_array_equal(preprocess(FILES[name] + tail), expected)

    def test_the_end_marker_of_a_thumbnail_does_not_count(self) -> None:
        thumbnail = b"Exif\0\0" + FILES["gray.jpg"]
        segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
        data = FILES["rgb.jpg"][:2] + segment + FILES["rgb.jpg"][2:]
        np.testing.assert_array_equal(read_image(data), read_image(FILES["rgb.jpg"]))
        with pytest.raises(ImageError, match="truncated: a JPEG without its end-of-image marker"):
            read_image(data[:-200])

    def test_a_jpeg_of_thousands_of_scans(self) -> None:
        """Each goes over the whole picture, in ten bytes."""
        data = FILES["progressive.jpg"]
        starts = [match.start() for match in re.finditer(rb"\xff\xda", data)]
        first = data[starts[0] : starts[1]]
        many = data[: starts[0]] + 190 * first + data[starts[0] :]
        np.testing.assert_array_equal(read_image(many).shape, read_image(data).shape)
        with pytest.raises(ImageError, match="bytes: a JPEG of more than 200 scans"):
            read_image(data[: starts[0]] + 5000 * first + data[starts[0] :])

    def test_corrupt_png(self) -> None:
        data = bytearray(FILES["rgb.png"])
        data[len(data) // 2] ^= 1
        with pytest.raises(ImageError, match="corrupt: wrong checksum in the PNG's b'IDAT' chunk"):
            read_image(bytes(data))

    def test_opencv_cannot_decode(self, capfd: pytest.CaptureFixture[str]) -> None:
        tiff = encode(RGB, "TIFF", compression="packbits")
        entry = struct.pack("<HHII", 259, 3, 1, 32773)
        lzma = tiff.replace(entry, struct.pack("<HHII", 259, 3, 1, 34925))  # not built in
        assert lzma != tiff
        with pytest.raises(ImageError, match="bytes: TIFF that OpenCV cannot decode"):
            read_image(lzma)
        assert capfd.readouterr().err == ""
        # A valid frame around compressed data that are too short. libpng itself writes to stderr.
        with pytest.raises(ImageError, match="bytes: PNG that OpenCV cannot decode"):
            read_image(png(9, 9, 8, 0, b"\0"))

    @pytest.mark.parametrize("order", ["<", ">"])
    def test_tiff_whose_directory_comes_first(self, order: str) -> None:
        # 4 x 2 gray pixels in two strips at 200 and 204, named by arrays at 150 and 160.
        tags = [(256, 3, 1, 4), (257, 3, 1, 2), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
        tags += [(273, 4, 2, 150), (277, 3, 1, 1), (278, 3, 1, 1), (279, 4, 2, 160)]
        data = bytearray(208)
        struct.pack_into(order + "2sHIH", data, 0, b"II" if order == "<" else b"MM", 42, 8, 9)
        for k, (tag, kind, count, value) in enumerate(tags):
            layout = "HHIHxx" if kind == 3 else "HHII"
            struct.pack_into(order + layout, data, 10 + 12 * k, tag, kind, count, value)
        struct.pack_into(order + "2I", data, 150, 200, 204)
        struct.pack_into(order + "2I", data, 160, 4, 4)
        data[200:] = range(1, 9)
        assert read_image(bytes(data)).tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
        with pytest.raises(ImageError, match="truncated: a TIFF whose pixel data lie beyond"):
            read_image(bytes(data[:-1]))

    def test_paths(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match=r"none\.png: no such file$"):
            preprocess(tmp_path / "none.png")
        with pytest.raises(ImageError, match=f"^{re.escape(str(tmp_path))}: is a folder, not an"):
            preprocess(tmp_path)
        with pytest.raises(ImageError, match="got an empty string"):
            preprocess("")
        with pytest.raises(ImageError, match=r"a\\x00b: cannot be read: .*embedded null"):
            preprocess("a\0b")
        for address in ("https://example.org/face.jpg", "s3://bucket/face.jpg"):
            with pytest.raises(ImageError, match="only local files are read, download it first"):
                preprocess(address)
        with pytest.raises(ImageError, match="cannot be read: File name too long"):
            preprocess("x" * 300)
        file = tmp_path / "file"
        file.write_bytes(b"x")
        with pytest.raises(ImageError, match="cannot be read: Not a directory"):
            preprocess(file / "a.png")

    def test_names_stay_on_one_line(self, tmp_path: Path) -> None:
        path = tmp_path / "a\nb.png"
        path.write_bytes(b"text")
        with pytest.raises(ImageError, match=r"a\\nb\.png: not an image") as info:
            preprocess(path)
        assert "\n" not in str(info.value)

    @pytest.mark.parametrize("name", ["gesicht-äöü.png", "顔.png", "лицо.png", "a b'c.png"])
    def test_names_that_are_not_ascii(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        path.write_bytes(FILES["rgb.png"])
        np.testing.assert_array_equal(preprocess(path), preprocess(FILES["rgb.png"]))

    @pytest.mark.skipif(os.name == "nt", reason="no such files on Windows")
    def test_special_files(self, tmp_path: Path) -> None:
        fifo = tmp_path / "fifo.png"
        os.mkfifo(fifo)
        for path in (fifo, Path("/dev/zero")):
            with pytest.raises(ImageError, match=f"{path}: not a regular file"):
                preprocess(path)
        loop = tmp_path / "loop.png"
        loop.symlink_to(loop)
        with pytest.raises(ImageError, match=r"loop\.png: cannot be read: Too many levels"):
            preprocess(loop)

    def test_permission_denied(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "mine.png"
        path.write_bytes(FILES["rgb.png"])
        path.chmod(0)
        if os.access(path, os.R_OK):  # root reads everything

            def refuse(*args: object) -> None:
                raise PermissionError(13, "Permission denied")

            monkeypatch.setattr("builtins.open", refuse)
        with pytest.raises(ImageError, match=r"mine\.png: permission denied$"):
            preprocess(path)

    def test_large_files_are_not_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "huge.png"
        with path.open("wb") as file:
            file.truncate(3 * 2**30)  # sparse: takes no space
        with pytest.raises(ImageError, match=r"huge\.png: 3,072 MiB; expected .* at most 256 MiB"):
            preprocess(path)
        monkeypatch.setattr(image_files, "MAX_FILE_BYTES", 100)
        with pytest.raises(ImageError, match="bytes: 0 MiB; expected an image file of at most"):
            preprocess(FILES["rgb.png"])

    @pytest.mark.parametrize(
        "data",
        [
            png(30_000, 30_000, 8, 0, bytes(1000)),
            FILES["rgb.jpg"].replace(struct.pack(">HH", 61, 83), struct.pack(">HH", 30000, 30000)),
            b"GIF89a" + struct.pack("<HH", 40_000, 40_000) + bytes(99),
            b"P5 30000 30000 255 " + bytes(99),
            b"BM" + bytes(12) + struct.pack("<IiiHH", 40, 30_000, -30_000, 1, 24) + bytes(99),
        ],
        ids=["png", "jpeg", "gif", "pgm", "bmp"],
    )
    def test_enormous_images_are_refused_from_the_header(self, data: bytes) -> None:
        tracemalloc.start()
        start = time.process_time()
        with pytest.raises(ImageError, match=r"[34]0000 x [34]0000 pixels; .*178,956,970 in all"):
            preprocess(data)
        seconds = time.process_time() - start
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert seconds < 1
        assert peak < 5_000_000

    def test_a_whole_enormous_file(self, tmp_path: Path) -> None:
        path = tmp_path / "vast.png"
        squeeze = zlib.compressobj(1)
        row = bytes(30_001)
        body = b"".join(squeeze.compress(row) for _ in range(30_000)) + squeeze.flush()
        header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0))
        ends = png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + ends)
        start = time.process_time()
        with pytest.raises(ImageError, match=r"vast\.png: 30000 x 30000 pixels"):
            preprocess(path)
        assert time.process_time() - start < 1

    def test_the_limit_is_pillows(self) -> None:
        assert Image.MAX_IMAGE_PIXELS is not None
        assert MAX_PIXELS == 2 * Image.MAX_IMAGE_PIXELS

    def test_error_classes(self) -> None:
        assert issubclass(ImageError, FerjaxError) and issubclass(ImageError, ValueError)


class TestOpenCVLog:
    @pytest.fixture(params=[2, 3])  # error, warning
    def level(self, request: pytest.FixtureRequest) -> Iterator[Callable[[], bool]]:
        """Set OpenCV's log level; the value says whether it is still the same."""
        log = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging  # OpenCV 4 or 5
        before = log.setLogLevel(request.param)
        yield lambda: log.getLogLevel() == request.param
        log.setLogLevel(before)

    def test_level_is_restored(self, level: Callable[[], bool]) -> None:
        read_image(FILES["rgb.png"])
        with pytest.raises(ImageError):
            read_image(FILES["rgb.tif"][:-30])
        assert level()

    def test_level_is_restored_after_threads(self, level: Callable[[], bool]) -> None:
        def work() -> None:
            for _ in range(50):
                read_image(FILES["rgb.jpg"])

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert level()


class TestFindImages:
    def make(self, root: Path, *names: str) -> None:
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(b"x")

    def test_natural_order_in_depth(self, tmp_path: Path) -> None:
        self.make(
            tmp_path, "b/im10.png", "b/im2.PNG", "b/im1.jpg", "a10/x.webp", "a9/x.bmp", "c.tif"
        )
        found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
        assert found == [
            *["a9/x.bmp", "a10/x.webp", "b/im1.jpg", "b/im2.PNG", "b/im10.png"],
            "c.tif",
        ]

    def test_hidden_and_other_files_are_left_out(self, tmp_path: Path) -> None:
        self.make(
            tmp_path, "a.png", ".b.png", "._a.png", ".git/c.png", "notes.txt", "model.h5", "png"
        )
        assert find_images(str(tmp_path)) == [tmp_path / "a.png"]

    def test_an_empty_path_is_not_the_current_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.make(tmp_path, "a.png")
        monkeypatch.chdir(tmp_path)
        assert find_images(".") == [Path("a.png")]
        for paths in ("", ["a.png", ""]):
            with pytest.raises(ImageError, match="expected a path, got an empty string"):
                find_images(paths)

    def test_named_files_are_kept(self, tmp_path: Path) -> None:
        self.make(tmp_path, "in/a.png", "data.bin", ".hidden.png")
        named = [tmp_path / "none.png", tmp_path / "in", tmp_path / "data.bin", ".hidden.png"]
        assert find_images(named) == [
            *[tmp_path / "none.png", tmp_path / "in/a.png", tmp_path / "data.bin"],
            Path(".hidden.png"),
        ]
        assert find_images([]) == []

    def test_order_of_the_arguments_is_kept(self, tmp_path: Path) -> None:
        self.make(tmp_path, "z/a.png", "a/z.png")
        found = find_images([tmp_path / "z", tmp_path / "a"])
        assert found == [tmp_path / "z/a.png", tmp_path / "a/z.png"]

    def test_folders_without_images(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match=f"^{re.escape(str(tmp_path))}: no images in this fol"):
            find_images(tmp_path)
        self.make(tmp_path, "notes.txt")
        with pytest.raises(ImageError, match="no images in this folder"):
            find_images([tmp_path])

    def test_folders_that_cannot_be_listed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(path: object) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(ImageError, match="cannot list this folder: Permission denied"):
            find_images(tmp_path)

    def test_a_folder_in_a_folder_that_cannot_be_listed_is_one_bad_image(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.make(tmp_path, "a.png", "lost+found/b.png", "z.png")
        scandir = os.scandir

        def refuse(path: Any) -> Any:
            if os.fspath(path).endswith("lost+found"):
                raise PermissionError(13, "Permission denied", str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)
        paths = find_images(tmp_path)
        assert [path.name for path in paths] == ["a.png", "lost+found", "z.png"]
        with pytest.raises(ImageError, match=r"found: cannot list this folder: Permission denied"):
            read_image(paths[1])
        assert image_files.find_unread_images([tmp_path]) == []

    @pytest.mark.skipif(os.name == "nt", reason="symlinks need rights on Windows")
    def test_loops_of_links_end(self, tmp_path: Path) -> None:
        self.make(tmp_path, "a.png")
        (tmp_path / "again").symlink_to(tmp_path)
        assert find_images(tmp_path) == [tmp_path / "a.png"]


def test_import_loads_neither_opencv_nor_pillow_nor_jax() -> None:
    code = (
        "import sys, ferjax.preprocessing, ferjax.emotions\n"
        "print(*{'cv2', 'PIL', 'jax'} & {*sys.modules})"
    )
    root = Path(__file__).resolve().parents[1]
    environment = os.environ | {"PYTHONPATH": str(root)}
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert output.stdout.strip() == ""


def test_the_example_image() -> None:
    path = Path(__file__).resolve().parents[1] / "examples/astronaut.png"
    assert read_image(path, channels=3).shape == (160, 160, 3)
    np.testing.assert_array_equal(preprocess(path), published(path))


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        (b"", (300, 200)),
        (b"\xff\xff\xff", (300, 200)),  # fill bytes
        (b"\xff\xe1\x00\x04\xff\xc0", (300, 200)),  # what is in a segment is none
        (b"\xff\xc4\x00\x09" + b"\x00\x01\x00\x01\x00\x01\x00", (300, 200)),  # a Huffman table
        (b"\xff\xe1\x00\x00", (-1, -1)),  # shorter than its own length
        (b"\xff\xe1\xff\xff", (-1, -1)),  # beyond the end
    ],
)
@pytest.mark.parametrize("marker", [0xC0, 0xC2, 0xCF])
def test_the_size_of_a_jpeg_is_that_of_its_frame(
    segments: bytes, expected: tuple[int, int], marker: int
) -> None:
    frame = bytes([0xFF, marker, 0, 17, 8, 0, 200, 1, 44, 3]) + b"\x00" * 9
    data = b"\xff\xd8" + segments + frame
    assert image_formats.header_size(data, "JPEG") == expected
