"""Faces are found as they are in the picture, whatever its size, roll and format."""

from __future__ import annotations

import io
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from ferjax.errors import DetectorError, FerjaxError, ImageError
from ferjax.faces import Detection, crop, detect, own_look, yunet, yunet_network
from ferjax.faces.detection import followed, in_order
from ferjax.image_files import read_image

ROOT = Path(__file__).parents[2]
ASTRONAUT = read_image(ROOT / "examples" / "astronaut.jpg", channels=3)  # 512 x 512
SIDE = 512
ALPHA = np.dstack([ASTRONAUT, np.full((SIDE, SIDE), 255, np.uint8)])
CENTRE = (225.0, 120.5)  # of the face, by hand: between the eyes and the mouth
HEIGHT = 105.3


def the_face(image: Any, **options: Any) -> Detection:
    (face,) = detect(image, **options)
    return face


def centre(face: Detection) -> np.ndarray:
    x, y, width, height = face.box
    return np.array([x + width / 2, y + height / 2])


def scaled(side: int) -> np.ndarray:
    method = cv2.INTER_AREA if side < SIDE else cv2.INTER_CUBIC
    return cv2.resize(ASTRONAUT, (side, side), interpolation=method)


def encoded(kind: str, image: np.ndarray = ASTRONAUT, mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def assert_same(face: Detection, at: Any, height: float, roll: float = 0.0) -> None:
    """Assert that a face is the astronaut's: within 3 percent of its height, and 8 degrees."""
    np.testing.assert_allclose(centre(face), at, atol=0.03 * height)
    assert face.size == pytest.approx(height, rel=0.03)
    # The head is turned by 3 degrees in the photograph itself.
    assert abs((face.roll - roll - 3 + 180) % 360 - 180) < 8
    assert face.score > 0.8


# --- the same face -------------------------------------------------------------------------------


def test_the_face_of_a_photograph() -> None:
    face = the_face(ASTRONAUT)
    assert_same(face, CENTRE, HEIGHT)
    assert not face.too_small
    assert face.landmarks is not None
    assert face.landmarks.dtype == np.float32
    # Read off the photograph: her right eye is on the left.
    by_hand = [[206, 106], [247, 106], [229, 130], [209, 146], [244, 145]]
    np.testing.assert_allclose(face.landmarks, by_hand, atol=6)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_picture_on_its_side(quarters: int) -> None:
    face = the_face(np.rot90(ASTRONAUT, quarters))
    x, y = CENTRE
    for _ in range(quarters):
        x, y = y, SIDE - x
    assert_same(face, (x, y), HEIGHT, roll=-90 * quarters)
    # The landmarks lie as in the upright picture.
    assert face.landmarks is not None
    right_eye, left_eye, nose, *_ = face.landmarks
    across, down = left_eye - right_eye, nose - (left_eye + right_eye) / 2
    assert across[0] * down[1] - across[1] * down[0] > 0  # clockwise, as in no mirror
    turned = math.degrees(math.atan2(across[1], across[0]))
    assert abs((turned + 90 * quarters + 180) % 360 - 180) < 10


@pytest.mark.parametrize("degrees", [20, -35, 45, 120, -160])
def test_a_tilted_picture(degrees: int) -> None:
    matrix = cv2.getRotationMatrix2D((SIDE / 2 - 0.5, SIDE / 2 - 0.5), -degrees, 1)
    matrix[:, 2] += 150
    face = the_face(cv2.warpAffine(ASTRONAUT, matrix, (812, 812)))
    at = matrix[:, :2] @ (np.array(CENTRE) - 0.5) + matrix[:, 2] + 0.5
    assert_same(face, at, HEIGHT, roll=degrees)


@pytest.mark.parametrize("degrees", [-42, -36, 39])
def test_a_tilted_mirror_image(degrees: int) -> None:
    matrix = cv2.getRotationMatrix2D((SIDE / 2 - 0.5, SIDE / 2 - 0.5), -degrees, 1)
    matrix[:, 2] += 153
    mirrored = np.ascontiguousarray(ASTRONAUT[:, ::-1])
    face = the_face(cv2.warpAffine(mirrored, matrix, (819, 819)))
    at = matrix[:, :2] @ (SIDE - CENTRE[0] - 0.5, CENTRE[1] - 0.5) + matrix[:, 2] + 0.5
    assert_same(face, at, HEIGHT, roll=degrees - 6)  # -3 in the mirror image itself


def test_the_mirror_image() -> None:
    face = the_face(ASTRONAUT[:, ::-1])
    np.testing.assert_allclose(centre(face), (SIDE - CENTRE[0], CENTRE[1]), atol=3)
    assert face.size == pytest.approx(HEIGHT, rel=0.03)
    assert face.landmarks is not None
    assert face.landmarks[0, 0] < face.landmarks[1, 0]  # the right eye is that on the left again


@pytest.mark.parametrize("side", [64, 100, 200, 400, 700, 2000])
def test_sizes(side: int) -> None:
    face = the_face(scaled(side))
    by = side / SIDE
    if side < 114:
        assert face.too_small
        np.testing.assert_allclose(centre(face), np.array(CENTRE) * by, atol=0.05 * HEIGHT * by)
        assert face.size == pytest.approx(HEIGHT * by, rel=0.06)
    else:
        assert not face.too_small
        assert_same(face, np.array(CENTRE) * by, HEIGHT * by)


def variants() -> dict[str, tuple[Any, Callable[[float, float], tuple[float, float]], float]]:
    """Return pictures of the astronaut, where in her photograph a point of each is, and by how much
    each is larger."""

    def same(x: float, y: float) -> tuple[float, float]:
        return x, y

    gray = cv2.cvtColor(ASTRONAUT, cv2.COLOR_RGB2GRAY)
    pictures: dict[str, tuple[Any, Callable[[float, float], tuple[float, float]], float]] = {
        "as it is": (ASTRONAUT, same, 1.0),
        "mirrored": (ASTRONAUT[:, ::-1], lambda x, y: (SIDE - x, y), 1.0),
        "by 90 degrees": (np.rot90(ASTRONAUT), lambda x, y: (SIDE - y, x), 1.0),
        "by 180 degrees": (np.rot90(ASTRONAUT, 2), lambda x, y: (SIDE - x, SIDE - y), 1.0),
        "by 270 degrees": (np.rot90(ASTRONAUT, 3), lambda x, y: (y, SIDE - x), 1.0),
        "gray": (gray, same, 1.0),
        "gray on its side": (np.rot90(gray), lambda x, y: (SIDE - y, x), 1.0),
        "alpha": (ALPHA, same, 1.0),
        "CMYK": (encoded("JPEG", mode="CMYK", quality=90), same, 1.0),
        "JPEG of quality 40": (encoded("JPEG", quality=40), same, 1.0),
        "moved": (ASTRONAUT[5:, 3:], lambda x, y: (x + 3, y + 5), 1.0),
    }
    for side in (128, 160, 256, 700, 2048):

        def shrunk(x: float, y: float, by: float = side / SIDE) -> tuple[float, float]:
            return x / by, y / by

        pictures[f"{side} pixels"] = scaled(side), shrunk, side / SIDE
    for degrees in (15, 30, 45):
        angle = math.radians(degrees)
        turned = np.asarray(Image.fromarray(ASTRONAUT).rotate(degrees, Image.Resampling.BICUBIC))

        def back(x: float, y: float, angle: float = angle) -> tuple[float, float]:
            x, y = x - SIDE / 2, y - SIDE / 2
            cos, sin = math.cos(angle), math.sin(angle)
            return x * cos - y * sin + SIDE / 2, x * sin + y * cos + SIDE / 2

        pictures[f"by {degrees} degrees"] = turned, back, 1.0
    return pictures


def test_boxes_of_one_face_are_within_three_percent_of_each_other() -> None:
    seen = []
    for image, back, by in variants().values():
        face = the_face(image)
        width = min(face.box[2:])  # the head's; it is higher than wide
        seen.append((*back(*centre(face)), width / by, face.size / by))
    canvas = np.vstack([np.hstack([ASTRONAUT] * 3)] * 2)
    for face in detect(canvas):
        x, y = centre(face)
        seen.append((x % SIDE, y % SIDE, *face.box[2:]))
    assert len(seen) == len(variants()) + 6
    x, y, widths, heights = np.array(seen).T
    for sides in (widths, heights):
        assert np.ptp(sides) < 0.03 * sides.mean()
    for places in (x, y):
        assert np.ptp(places) < 0.03 * heights.mean()


def test_a_sure_upright_face_takes_two_views_and_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sides: list[int] = []
    run = yunet_network.run

    def counted(
        images: Sequence[np.ndarray], min_score: float, **options: bool
    ) -> list[np.ndarray]:
        sides.extend(max(image.shape) for image in images)
        return run(images, min_score, **options)

    for module in (yunet, own_look):
        monkeypatch.setattr(module, "run", counted)
    the_face(ASTRONAUT)
    assert sides == [SIDE, 128, 128, *[64] * 6]
    sides.clear()
    the_face(np.rot90(ASTRONAUT))  # the full search
    assert len(sides) > 20


def test_a_huge_picture() -> None:
    face = the_face(scaled(4000))
    assert_same(face, np.array(CENTRE) * 4000 / SIDE, HEIGHT * 4000 / SIDE)


def test_six_in_reading_order_or_by_size() -> None:
    canvas = np.vstack([np.hstack([ASTRONAUT] * 3)] * 2)
    faces = detect(canvas)
    places = [(x, y) for y in (0, SIDE) for x in (0, SIDE, 2 * SIDE)]
    for face, place in zip(faces, places, strict=True):
        assert_same(face, np.array(CENTRE) + place, HEIGHT)
    sizes = [face.size for face in detect(canvas, order="size")]
    assert sizes == sorted((face.size for face in faces), reverse=True)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_file_is_obeyed(orientation: int) -> None:
    undo: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, 3),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(undo[orientation](ASTRONAUT))
    assert_same(the_face(encoded("JPEG", stored, exif=exif, quality=95)), CENTRE, HEIGHT)


KINDS: dict[str, Any] = {
    "gray": lambda: cv2.cvtColor(ASTRONAUT, cv2.COLOR_RGB2GRAY),
    "gray with a channel axis": lambda: cv2.cvtColor(ASTRONAUT, cv2.COLOR_RGB2GRAY)[..., None],
    "alpha": lambda: ALPHA,
    "floats": lambda: ASTRONAUT.astype(np.float32) / 255,
    "float64": lambda: ASTRONAUT / 255,
    "a view with strides": lambda: np.repeat(ASTRONAUT, 2, axis=1)[:, ::2],
    "PIL": lambda: Image.fromarray(ASTRONAUT),
    "PIL with a palette": lambda: Image.fromarray(ASTRONAUT).quantize(),
    "PIL in CMYK": lambda: Image.fromarray(ASTRONAUT).convert("CMYK"),
    "PNG": lambda: encoded("PNG"),
    "PNG with alpha": lambda: encoded("PNG", ALPHA, "RGBA"),
    "CMYK JPEG": lambda: encoded("JPEG", mode="CMYK", quality=92),
    "gray JPEG": lambda: encoded("JPEG", mode="L", quality=92),
    "WebP": lambda: encoded("WEBP", quality=90),
    "an open file": lambda: io.BytesIO(encoded("PNG")),
    "a path": lambda: ROOT / "examples" / "astronaut.jpg",
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_images(kind: str) -> None:
    assert_same(the_face(KINDS[kind]()), CENTRE, HEIGHT)


def test_colours_in_the_other_order() -> None:
    face = the_face(ASTRONAUT[..., ::-1], channel_order="bgr")
    assert face.box == the_face(ASTRONAUT).box
    with pytest.raises(ValueError, match="expected 'rgb' or 'bgr' for `channel_order`, got 'hsv'"):
        detect(ASTRONAUT, channel_order="hsv")  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [1.0, 0.8, 0.7])
def test_a_face_that_fills_the_picture(share: float) -> None:
    half = round(share * HEIGHT / 2)
    x, y = map(round, CENTRE)
    face = the_face(ASTRONAUT[y - half : y + half, x - half : x + half])
    assert face.size == pytest.approx(HEIGHT, rel=0.06)
    np.testing.assert_allclose(centre(face), (half, half), atol=0.06 * HEIGHT)


@pytest.mark.parametrize("cut", [(0, 95), (95, 0)])
def test_a_face_that_the_edge_cuts(cut: tuple[int, int]) -> None:
    top, left = (c + 5 for c in cut)
    face = the_face(ASTRONAUT[top:, 2 * left :] if left > 5 else ASTRONAUT[top:])
    assert face.score >= 0.7
    assert crop(ASTRONAUT[top:], face).shape[0] == crop(ASTRONAUT[top:], face).shape[1]


def test_small_faces_in_a_large_picture_take_min_size() -> None:
    canvas = np.full((900, 1300, 3), 120, np.uint8)
    small = scaled(128)  # a face of 27 pixels
    # In the corners, across the cut between two tiles of 800 pixels, and away from both.
    places = [(0, 0), (740, 40), (590, 400), (1172, 772), (340, 560)]
    for x, y in places:
        canvas[y : y + 128, x : x + 128] = small
    faces = detect(canvas, min_size=24)
    expected = sorted((y + 30, x + 56) for x, y in places)
    seen = sorted((centre(face)[1], centre(face)[0]) for face in faces)
    np.testing.assert_allclose(seen, expected, atol=3)
    assert detect(canvas, min_size=40) == []


@pytest.mark.slow
def test_four_hundred_faces() -> None:
    canvas = np.vstack([np.hstack([scaled(96)] * 20)] * 20)
    faces = detect(canvas)
    assert len(faces) == 400
    for number, face in enumerate(faces):
        row, column = divmod(number, 20)
        expected = np.array([column * 96, row * 96]) + np.array(CENTRE) * 96 / SIDE
        np.testing.assert_allclose(centre(face), expected, atol=3)


# --- no face -------------------------------------------------------------------------------------


def texture(kind: str, side: int) -> np.ndarray:
    rng = np.random.default_rng(side)
    if kind == "noise":
        return rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    if kind == "blobs":
        coarse = rng.integers(0, 256, (side // 12, side // 12, 3), dtype=np.uint8)
        return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    if kind == "checkerboard":
        rows, columns = np.indices((side, side)) // 16
        return np.where((rows + columns) % 2, 255, 0).astype(np.uint8)
    if kind == "text":
        page = np.full((side, side), 255, np.uint8)
        for line in range(20, side, 24):
            cv2.putText(page, "the quick brown fox", (4, line), 0, 0.6, 0, 1)
        return page
    return np.full((side, side), 0 if kind == "black" else 255, np.uint8)


@pytest.mark.parametrize("kind", ["noise", "blobs", "checkerboard", "text", "black", "white"])
@pytest.mark.parametrize("side", [90, 400, 900])
def test_no_face(kind: str, side: int) -> None:
    assert detect(texture(kind, side)) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (1, 1, 3), (2, 2), (9, 3000)])
def test_no_face_in_narrow_pictures(shape: tuple[int, ...]) -> None:
    assert detect(np.full(shape, 90, np.uint8)) == []


def test_a_picture_with_too_many_pixels() -> None:
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (30_000, 30_000), (0, 0))
    with pytest.raises(
        ImageError, match=r"array: 30000 x 30000 pixels; expected at most 178,956,9"
    ):
        detect(huge)


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_score": 1.5}, r"expected a number in \[0, 1\] for `min_score`, got 1.5"),
        ({"min_score": math.nan}, r"expected a number in \[0, 1\] for `min_score`, got nan"),
        ({"min_score": "high"}, r"expected a number in \[0, 1\] for `min_score`, got 'high'"),
        ({"min_size": 0}, "expected a positive number of pixels for `min_size`, got 0"),
        ({"min_size": math.inf}, "expected a positive number of pixels for `min_size`, got inf"),
        ({"order": "left"}, "expected 'reading' or 'size' for `order`, got 'left'"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        detect(ASTRONAUT, **options)


def test_min_score_and_min_size_leave_faces_out() -> None:
    assert len(detect(ASTRONAUT, min_size=100)) == 1
    assert detect(ASTRONAUT, min_size=120) == []
    assert detect(ASTRONAUT, min_score=0.99) == []


def test_reading_order_is_line_by_line() -> None:
    # Two lines, the second of which climbs: each face has most of its height in common with it.
    boxes = [(50, 5, 20, 20), (10, 0, 20, 20), (80, 30, 20, 20), (10, 38, 20, 20), (45, 34, 20, 20)]
    faces = [Detection(box=box) for box in boxes]
    in_lines = [face.box for face in in_order(faces, "reading")]
    assert in_lines == [boxes[1], boxes[0], boxes[3], boxes[4], boxes[2]]


def test_a_large_face_beside_small_ones_is_read_with_the_first_line_that_it_shares() -> None:
    boxes = [(100, 0, 90, 100), (0, 10, 20, 20), (30, 60, 20, 20)]
    faces = [Detection(box=box) for box in boxes]
    assert [face.box[0] for face in in_order(faces, "reading")] == [0, 100, 30]


# --- a detector of one's own ---------------------------------------------------------------------


def test_rows_of_a_detector() -> None:
    landmarks = [[40, 30], [40, 50], [30, 40], [20, 32], [20, 48]]  # she lies on her left side
    rows = np.array([[10, 20, 30, 40, 0.75, *np.ravel(landmarks)]], np.float32)
    face = the_face(ASTRONAUT, detector=lambda image: rows)
    assert face.box == (10, 20, 30, 40)
    assert face.score == 0.75
    np.testing.assert_array_equal(face.landmarks, landmarks)
    assert face.roll == 90
    assert face.size == 30  # along the head
    assert detect(ASTRONAUT, detector=lambda image: rows, min_score=0.8) == []


def test_a_detector_sees_the_picture_as_a_viewer_shows_it() -> None:
    seen = []

    def detector(image: np.ndarray) -> list[Detection]:
        seen.append(image)
        return [Detection(box=(1, 2, 3, 4)), Detection(box=(1, 2, 30, 40))]

    faces = detect(ASTRONAUT[..., ::-1] / 255.0, detector=detector, channel_order="bgr")
    assert [face.size for face in faces] == [4, 40]
    np.testing.assert_array_equal(seen[0], ASTRONAUT)
    assert seen[0].dtype == np.uint8


def test_a_detector_may_draw_in_what_it_is_given() -> None:
    def detector(image: np.ndarray) -> list[list[int]]:
        image[...] = 0
        return [[1, 2, 3, 4]]

    picture = ASTRONAUT.copy()
    read_only = np.broadcast_to(picture, picture.shape)
    for image in (picture, read_only):
        assert len(detect(image, detector=detector)) == 1
    np.testing.assert_array_equal(picture, ASTRONAUT)


@pytest.mark.parametrize("nothing", [None, [], (), np.zeros((0, 5)), np.zeros((0, 15), np.float32)])
def test_a_detector_that_finds_nothing(nothing: Any) -> None:
    assert detect(ASTRONAUT, detector=lambda image: nothing) == []


ROW = "expected a sequence of Detection, or rows"
NONSENSE: dict[str, tuple[Any, str]] = {
    "a number": (3, f"{ROW}.*, got int"),
    "a text": ("face", f"{ROW}.*, got str"),
    "a dict": ({"boxes": []}, f"{ROW}.*, got dict"),
    "one row": ([1, 2, 3, 4], f"face 0: {ROW}.*, got int"),
    "one row as an array": (np.array([1.0, 2, 3, 4]), rf"{ROW}.*, got an array of shape \(4,\)"),
    "three axes": (np.zeros((1, 1, 4)), rf"{ROW}.*, got an array of shape \(1, 1, 4\)"),
    "two numbers": ([[1, 2]], f"face 0: {ROW}.*, got 2 numbers"),
    "six numbers": ([[1, 2, 3, 4, 0.5, 6]], f"face 0: {ROW}.*, got 6 numbers"),
    "texts": ([["1", "2", "3", "4"]], "face 0: expected numbers for its row"),
    "no number": ([[1, 2, None, 4]], "face 0: expected numbers for its row"),
    "a ragged row": ([[1, 2, [3], 4]], "face 0: expected numbers for its row"),
    "NaN": ([[1, 2, 3, 4], [math.nan, 2, 3, 4]], "face 1: expected finite numbers for its row"),
    "infinity": ([[1, 2, math.inf, 4]], "face 0: expected finite numbers for its row"),
    "a negative side": ([[1, 2, -3, 4]], "a width and a height above 0 from the detector, got -3 "),
    "no height": ([[1, 2, 3, 0]], "expected a width and a height above 0 .*, got 3 x 0"),
    "a score of 2": ([[1, 2, 3, 4, 2]], r"expected a score in \[0, 1\] from the detector, got 2"),
    "elsewhere": ([[600, 2, 3, 4]], r"in the picture of 512 x 512 pixels .* got \(600, 2, 3, 4\)"),
    "left of it": ([[-20, 2, 10, 10]], "in the picture of 512 x 512 pixels"),
    "huge": ([[0, 0, 1e9, 1e9]], "about the picture's 512 x 512 pixels at most"),
    "too many": (([0, 0, 9, 9] for _ in range(10**9)), "at most 10,000 faces from the detector"),
    "a Detection with NaN": ([Detection(box=(1, math.nan, 3, 4))], "finite numbers for its box"),
    "a Detection with a roll of NaN": (
        [Detection(box=(1, 2, 3, 4), roll=math.nan)],
        "finite numbers for its roll",
    ),
    "four landmarks": (
        [Detection(box=(1, 2, 3, 4), landmarks=np.zeros((4, 2), np.float32))],
        r"expected landmarks of shape \(5, 2\) from the detector, got 8 numbers",
    ),
    "a box of three": ([Detection(box=(1, 2, 3))], "expected a box of 4 numbers, got 3"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_a_detector_that_returns_nonsense(kind: str) -> None:
    result, message = NONSENSE[kind]
    with pytest.raises(DetectorError, match=message) as error:
        detect(ASTRONAUT, detector=lambda image: result)
    assert "\n" not in str(error.value)


def test_a_detector_that_fails() -> None:
    def detector(image: np.ndarray) -> None:
        raise RuntimeError("out of\nmemory")

    message = r"the detector failed: RuntimeError: out of\\nmemory"
    with pytest.raises(DetectorError, match=message) as error:
        detect(ASTRONAUT, detector=detector)
    assert isinstance(error.value.__cause__, RuntimeError)
    with pytest.raises(DetectorError, match="expected a callable for `detector`, got str"):
        detect(ASTRONAUT, detector="yunet")  # type: ignore[arg-type]


# --- the model -----------------------------------------------------------------------------------


def test_the_model_is_the_one_that_was_tested() -> None:
    assert len(yunet_network.read_model()) == 232_589
    assert "MIT License" in (yunet_network.MODEL.parent / "YUNET_LICENSE.txt").read_text("utf-8")


def test_a_model_that_is_missing_or_altered(tmp_path: Path) -> None:
    path = tmp_path / yunet_network.MODEL.name
    with pytest.raises(FerjaxError, match=r"cannot be read: No such file.*; reinstall ferjax"):
        yunet_network.read_model(path)
    data = bytearray(yunet_network.MODEL.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        DetectorError, match=r"2023mar\.onnx: the face detector's file was altered; reinst"
    ):
        yunet_network.read_model(path)


def test_opencv_says_nothing_on_stderr() -> None:
    code = "import numpy as np; from ferjax.faces import detect; detect(np.zeros((64, 64)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_several_threads_at_once() -> None:
    pictures = [scaled(side) for side in (200, 300, 400, 500)]
    expected = [the_face(picture).box for picture in pictures]
    results: dict[int, list[Any]] = {}

    def work(number: int) -> None:
        results[number] = [the_face(pictures[number]).box for _ in range(5)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, box in enumerate(expected):
        assert results[number] == [pytest.approx(box, abs=0.01)] * 5


# --- following -----------------------------------------------------------------------------------


def test_a_face_is_followed_from_where_it_was() -> None:
    face = the_face(ASTRONAUT)
    x, y, width, height = face.box
    for dx, dy, roll in ((0.0, 0.0, 0.0), (0.3, -0.2, 8.0), (-0.3, 0.3, -8.0)):
        was = Detection(box=(x + dx * height, y + dy * height, width, height), roll=roll)
        seen = followed(ASTRONAUT, was)
        assert seen is not None
        assert seen.centre == pytest.approx(face.centre, abs=0.04 * height)
        assert seen.size == pytest.approx(face.size, rel=0.08)
        assert seen.roll == pytest.approx(face.roll, abs=8)


def test_a_face_that_is_gone_is_not_followed() -> None:
    face = the_face(ASTRONAUT)
    assert followed(np.full_like(ASTRONAUT, 90), face) is None
    x, y, width, height = face.box
    for away in (-1e4, 1e4):
        for times in (1, 3):  # the larger one is looked for in a picture that is shrunk
            sides = times * width, times * height
            assert followed(ASTRONAUT, Detection(box=(x + away, y, *sides))) is None
            assert followed(ASTRONAUT, Detection(box=(x, y + away, *sides))) is None
    assert followed(ASTRONAUT, face, min_score=1.0) is None
