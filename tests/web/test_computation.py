"""What the page computes without its networks, against OpenCV and what Python computes."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ferjax import preprocessing
from ferjax.faces import Detection, crop, detection, yunet, yunet_network
from ferjax.faces.own_look import Pose

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="needs node")


def called(*calls: tuple[str, str, list[Any]]) -> list[Any]:
    """Return what functions of the page return: (module, function, arguments) each."""
    assert NODE is not None
    script = Path(__file__).parent / "call.js"
    done = subprocess.run(
        [NODE, "--experimental-detect-module", "--no-warnings", script],
        input=json.dumps(calls, default=_written),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return [answer.get("error", _read(answer.get("result"))) for answer in json.loads(done.stdout)]


def _written(value: Any) -> Any:
    """Return an array of pixels as the page has pictures."""
    height, width, channels = value.shape
    data = base64.b64encode(np.ascontiguousarray(value)).decode()
    return {"base64": data, "width": width, "height": height, "channels": channels}


def _read(result: Any) -> Any:
    if not isinstance(result, dict) or "channels" not in result:
        return result
    data = np.frombuffer(base64.b64decode(result["data"]), np.uint8)
    return data.reshape(result["height"], result["width"], result["channels"])


def noise(height: int, width: int, channels: int = 3, *, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_gray_is_opencvs():
    image = noise(200, 300)
    (gray,) = called(("picture.js", "gray", [image]))
    np.testing.assert_array_equal(gray[..., 0], cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))


@pytest.mark.parametrize("channels", [1, 3])
def test_resized_is_opencvs(channels: int):
    # Whole pixels, by two too; parts of pixels; one side as it is; larger; one larger, one smaller.
    sizes = [
        *((96, 144, 48, 48), (96, 96, 48, 48), (100, 75, 10, 15), (97, 61, 48, 48)),
        *((480, 641, 333, 640), (50, 48, 48, 48), (1, 9, 1, 4), (201, 333, 48, 48)),
        *((31, 47, 48, 48), (20, 20, 320, 320), (33, 40, 100, 77), (1, 1, 48, 48), (3, 2, 31, 7)),
        *((60, 100, 75, 80), (100, 30, 60, 48), (96, 24, 48, 48)),
    ]
    images = [noise(h, w, channels, seed=i) for i, (h, w, _, _) in enumerate(sizes)]
    results = called(
        *(("resize.js", "resized", [x, h, w]) for x, (_, _, h, w) in zip(images, sizes))
    )
    for image, size, result in zip(images, sizes, results):
        expected = preprocessing.resized(image, *size[2:], "area")
        np.testing.assert_array_equal(result, expected, err_msg=str(size))


@pytest.mark.parametrize("cubic", [False, True])
@pytest.mark.parametrize("repeats_edge", [False, True])
def test_warped_is_opencvs(cubic: bool, repeats_edge: bool):
    image = cv2.GaussianBlur(noise(90, 110), (0, 0), 1.2)
    affines = []
    for scale, degrees, flip in ((1.7, 0, 1), (0.6, 33, 1), (1.1, -100, -1), (2.5, 180, 1)):
        cos, sin = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
        affines.append([flip * cos, flip * sin, 31.3, -sin, cos, 58.9])
    options = {"cubic": cubic, "repeatsEdge": repeats_edge}
    results = called(*(("warp.js", "warped", [image, a, 128, options]) for a in affines))
    for affine, result in zip(affines, results):
        expected = cv2.warpAffine(
            image,
            np.array(affine).reshape(2, 3),
            (128, 128),
            flags=cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE if repeats_edge else cv2.BORDER_CONSTANT,
        )
        off = np.abs(result.astype(int) - expected)
        if cv2.__version__ < "5":  # places in 32nds of a pixel
            assert off.mean() < 1
        else:
            assert off.max() <= 1 and (off > 0).mean() < 1e-3


def test_pictures_are_turned_and_bordered_as_by_numpy():
    image = noise(5, 7)
    turned = called(
        *(("picture.js", "turned", [image, quarters]) for quarters in (-2, -1, 0, 1, 3))
    )
    for quarters, result in zip((-2, -1, 0, 1, 3), turned):
        np.testing.assert_array_equal(result, np.rot90(image, quarters))
    edges, black, inner = called(
        ("picture.js", "partWithEdges", [image, -2, -3, 11, 11]),
        ("picture.js", "filledUp", [image, 9, 8]),
        ("picture.js", "part", [image, 1, 2, 4, 5]),
    )
    np.testing.assert_array_equal(edges, np.pad(image, [(3, 3), (2, 2), (0, 0)], "edge"))
    np.testing.assert_array_equal(black, np.pad(image, [(0, 3), (0, 2), (0, 0)]))
    np.testing.assert_array_equal(inner, image[2:5, 1:4])


def test_transparency_is_shown_over_white():
    image = noise(40, 40, 4)
    (result,) = called(
        ("picture.js", "fromRgba", [image.ravel().tolist(), 40, 40]),
    )
    np.testing.assert_array_equal(result, preprocessing.load_picture(image))


def test_overlapping_boxes_are_left_out_as_by_opencv():
    rng = np.random.default_rng(1)
    rows = np.concatenate(
        [rng.uniform(0, 60, (300, 2)), rng.uniform(5, 40, (300, 2)), rng.random((300, 11))], axis=1
    ).astype(np.float32)
    rows[10:20, 14] = rows[10, 14]  # equal scores keep their order
    (result,) = called(("yunet.js", "distinct", [rows.tolist()]))
    np.testing.assert_array_equal(np.float32(result), yunet_network.distinct(rows))


def test_what_overlaps_is_one_face():
    rng = np.random.default_rng(2)
    poses = [
        Pose(x, y, w, h, score, np.zeros((5, 2)), roll)
        for x, y, w, h, score, roll in zip(
            *rng.uniform(0, 80, (2, 60)),
            *rng.uniform(8, 40, (2, 60)),
            rng.random(60),
            rng.uniform(-180, 180, 60),
        )
    ]
    fields = ("x", "y", "width", "height", "score", "roll")
    plain = [{name: getattr(pose, name) for name in fields} for pose in poses]
    (result,) = called(("looks.js", "merged", [plain]))
    assert [face["score"] for face in result] == [face.score for face in yunet.merged(poses)]


def test_looks_and_tiles():
    shapes = [(480, 640), (48, 64), (3000, 4000), (333, 801), (20, 3000), (900, 1000)]
    cases = [(shape, size) for shape in shapes for size in (None, 24, 48, 240)]
    results = called(*(("looks.js", "scales", [*shape, size]) for shape, size in cases))
    for (shape, size), result in zip(cases, results):
        assert result == pytest.approx(yunet.scales(shape, size))
    lengths = [(640, 1.0), (5000, 1.0), (4001, 0.4), (9999, 3.0)]
    for (length, scale), result in zip(
        lengths, called(*(("looks.js", "tiles", [*case, 120]) for case in lengths))
    ):
        rows = [(t["start"], t["end"], float(t["coreStart"]), float(t["coreEnd"])) for t in result]
        assert rows == [
            (a, b, float(str(c).replace("inf", "Infinity")), d)
            for a, b, c, d in yunet.tiles(length, scale, 120)
        ]


def test_faces_come_in_reading_order():
    rng = np.random.default_rng(3)
    boxes = [tuple(map(float, box)) for box in rng.uniform(5, 300, (40, 4))]
    faces = detection.in_order([Detection(box=box) for box in boxes], "reading")
    (result,) = called(("detect.js", "inReadingOrder", [[{"box": box} for box in boxes]]))
    assert [tuple(face["box"]) for face in result] == [face.box for face in faces]


def test_crops_are_pythons():
    image = cv2.GaussianBlur(noise(120, 160), (0, 0), 1)
    faces = [
        Detection(box=box, roll=roll)
        for box in ((30, 20, 40, 50), (-10, 60, 61, 55), (100.5, 90.5, 80, 25))
        for roll in (0, 14.9, 90.0, -80, 177, 33.3, -130.0, 15.0)
    ]
    results = called(
        *(
            ("crop.js", "crop", [image, {"box": f.box, "roll": f.roll, "size": f.size}])
            for f in faces
        )
    )
    for face, result in zip(faces, results):
        off = np.abs(result.astype(int) - crop(image, face))
        assert off.max() <= (1 if face.roll in (33.3, -130.0) else 0), face
        assert (off > 0).mean() < 1e-2


def test_halves_are_rounded_to_even_numbers():
    values = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49999999999999994, 1e15 + 0.5, -0.2, 7.51]
    assert called(*(("numbers.js", "rounded", [v]) for v in values)) == [round(v) for v in values]


def test_network_input_is_preprocesss():
    image = noise(70, 90)
    cases = [
        ("nhwc", 1, (0.0, 1.0)),
        ("nhwc", 3, (-1.0, 1.0)),
        ("nchw", 3, (0.0, 255.0)),
        ("nchw", 1, (-0.5, 0.5)),
    ]
    calls = []
    for layout, channels, value_range in cases:
        settings = {
            "imageSize": [48, 40],
            "channels": channels,
            "layout": layout,
            "valueRange": value_range,
        }
        calls.append(("classify.js", "networkInput", [[image, image[::-1]], settings]))
    for (layout, channels, value_range), result in zip(cases, called(*calls)):
        expected = preprocessing.preprocess(
            [image, image[::-1]],
            size=(48, 40),
            channels=channels,  # type: ignore[arg-type]
            value_range=value_range,
            resize="area",
        )
        if layout == "nchw":
            expected = np.moveaxis(expected, -1, 1)
        np.testing.assert_array_equal(np.float32(result), expected.ravel())
