"""What the page computes without its networks, against OpenCV and what Python computes."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from ferjax import preprocessing
from ferjax.confidence import Confidence
from ferjax.faces import Detection, crop, detection, results, yunet, yunet_network
from ferjax.faces.own_look import Pose
from ferjax.nets.head import Head
from ferjax.scaling import Scaling
from ferjax.video import tables

NODE = shutil.which("node")
OPENCV = int(cv2.__version__.split(".")[0])
pytestmark = pytest.mark.skipif(NODE is None, reason="needs node")


@pytest.fixture(scope="module", autouse=True)
def process() -> Iterator[None]:
    """Run Node once for all tests of this module."""
    global _process
    assert NODE is not None
    command = [NODE, "--experimental-detect-module", "--no-warnings", "call.js"]
    with subprocess.Popen(
        command,
        cwd=Path(__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as _process:
        yield
        assert _process.stdin is not None
        _process.stdin.close()


_process: subprocess.Popen[str]


def called(*calls: tuple[str, str, list[Any]]) -> list[Any]:
    """Return what functions of the page return: (module, function, arguments) each; of one that
    fails its message."""
    assert _process.stdin is not None and _process.stdout is not None
    _process.stdin.write(json.dumps(calls, default=_written) + "\n")
    _process.stdin.flush()
    answers = json.loads(_process.stdout.readline())
    return [answer.get("error", _read(answer.get("result"))) for answer in answers]


def _written(value: Any) -> Any:
    """Return an array of pixels, or the bytes of a file, as `call.js` takes them."""
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
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


def test_blurred_is_opencvs():
    image = noise(50, 70, 1)
    (blurred,) = called(("picture.js", "blurred", [image, 1.5, 7]))
    expected = cv2.GaussianBlur(image, (7, 7), 1.5, borderType=cv2.BORDER_REPLICATE)
    np.testing.assert_array_equal(blurred[..., 0], expected)


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
    options = {"cubic": cubic, "repeatsEdge": repeats_edge, "outside": 96}
    cases = [(affine, size) for affine in affines for size in (128, 61)]
    results = called(*(("warp.js", "warped", [image, *case, options]) for case in cases))
    for (affine, size), result in zip(cases, results):
        expected = cv2.warpAffine(
            image,
            np.array(affine).reshape(2, 3),
            (size, size),
            flags=cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE if repeats_edge else cv2.BORDER_CONSTANT,
            borderValue=(96, 96, 96),
        )
        off = np.abs(result.astype(int) - expected)
        if OPENCV < 5:  # places in 32nds of a pixel
            assert off.mean() < 1
        else:  # to the bit where the CPU adds unrounded products, as x86 does since 2013
            assert off.max() <= 1 and (off > 0).mean() < (1e-4 if cubic else 1e-3)


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


def test_pictures_are_shown_upright():
    image = noise(5, 7)
    results = called(*(("picture.js", "upright", [image, number]) for number in range(1, 9)))
    for number, result in enumerate(results, 1):
        picture = Image.fromarray(image)
        picture.getexif()[0x0112] = number
        np.testing.assert_array_equal(result, np.asarray(ImageOps.exif_transpose(picture)))


def test_canvases_draw_pictures_upright():
    image = noise(5, 7)
    for number in range(1, 9):
        height, width = (5, 7) if number < 5 else (7, 5)
        (upright, (a, b, c, d, e, f)) = called(
            ("picture.js", "upright", [image, number]),
            ("picture.js", "uprightBy", [number, width, height]),
        )
        y, x = np.indices((5, 7)) + 0.5  # the middles of pixels
        across, down = (a * x + c * y + e).astype(int), (b * x + d * y + f).astype(int)
        np.testing.assert_array_equal(upright[down, across], image)


FORMATS = {"PNG": "PNG", "JPEG": "JPEG", "GIF": "GIF", "BMP": "BMP", "WebP": "WEBP", "AVIF": "AVIF"}


def encoded(kind: str, size: tuple[int, int] = (231, 97), **options: Any) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(noise(size[1], size[0]))
    image.save(file, FORMATS.get(kind, kind), **options)
    return file.getvalue()


def test_headers_say_format_and_size():
    files = {name: encoded(name) for name in FORMATS}
    kinds = called(*(("image_formats.js", "kindOf", [data]) for data in files.values()))
    assert kinds == list(files)
    webps = [encoded("WebP", lossless=True), encoded("WebP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0")]
    cases = [*((d, k) for k, d in files.items() if k != "AVIF"), *((w, "WebP") for w in webps)]
    for result in called(*(("image_formats.js", "headerSize", list(case)) for case in cases)):
        assert result == [231, 97]
    cut = [[data[:n], kind] for data, kind in cases for n in (0, 13, 15, 19)]
    sizes = called(*(("image_formats.js", "headerSize", case) for case in cut))
    assert all(size is None or size == [231, 97] for size in sizes)
    others = [b"", b"P6 1 1", b"\0\0\0\x18ftypheic\0\0\0\0", b"\0\0\0\x18ftypisom"]
    kinds = called(*(("image_formats.js", "kindOf", [data]) for data in others))
    assert kinds == [None, None, "HEIC", "a video"]
    reasons = called(*(("image_formats.js", "whyNot", [kind]) for kind in [*kinds[1:], "PNG"]))
    assert [reason[:20] for reason in reasons] == [
        *(
            "This is not a pictur",
            "This browser does no",
            "This is a video, not",
            "The browser cannot r",
        ),
    ]


def test_files_that_end_early_are_refused():
    files = {name: encoded(name) for name in ("JPEG", "PNG", "WebP")}
    thumbnail = encoded("JPEG", (40, 30))
    files["JPEG"] = encoded("JPEG", exif=b"Exif\0\0" + thumbnail)  # whose end is not the picture's
    whole = [("image_formats.js", "checkWhole", [d, kind]) for kind, d in files.items()]
    cut = [
        ("image_formats.js", "checkWhole", [d[: len(d) * part // 10], kind])
        for kind, d in files.items()
        for part in (5, 9)
    ]
    assert called(*whole) == [None] * 3
    for (_, _, (_, kind)), message in zip(cut, called(*cut)):
        assert message == f"The file is only a part of a {kind}: it ends early."


def test_the_orientation_of_a_webp_is_read():
    files = []
    for orientation in (1, 6, 8):
        for order in ("<", ">"):
            exif = Image.Exif()
            exif.endian = order
            exif[0x0112] = orientation
            files.append(encoded("WebP", exif=exif))
    files += [encoded("WebP"), encoded("WebP", exif=b"II*\0\xff\xff\0\0"), files[2][:-20]]
    results = called(*(("image_formats.js", "webpOrientation", [data]) for data in files))
    assert results[:-1] == [1, 1, 6, 6, 8, 8, 1, 1]


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
        assert (off > 0).mean() < (1e-2 if OPENCV >= 5 else 0.3)


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


# --- what is said of a face ----------------------------------------------------------------------

LABELS = ["angry", "calm", "happy"]
SETTINGS = {
    "labels": LABELS,
    "output": "probabilities",
    "distribution": True,
    "scaling": None,
    "trainingFrequencies": [0.2, 0.5, 0.3],
}


def said(raw: list[float], options: dict[str, Any], **changed: Any) -> tuple[str, str, list[Any]]:
    return ("probabilities.js", "confident", [raw, {**SETTINGS, **changed}, options])


@pytest.mark.parametrize(
    "scaling",
    [
        None,
        Scaling(temperature=1.7),
        Scaling(temperature=0.6, offsets=(0.3, -0.4, 0.1), prior=(0.4, 0.4, 0.2)),
    ],
)
def test_calibration_and_priors_are_pythons(scaling: Scaling | None):
    confidence = Confidence(
        labels=tuple(LABELS),
        head=Head(3, "softmax"),
        scaling=scaling,
        training_frequencies=np.array(SETTINGS["trainingFrequencies"]),
        metadata={},
    )
    stated = None
    if scaling is not None:
        prior = confidence.prior_after(scaling)
        assert prior is not None
        stated = {
            "temperature": scaling.temperature,
            "offsets": scaling.offsets,
            "prior": prior.tolist(),
        }
    rows = np.random.default_rng(0).dirichlet([0.4] * 3, 20).astype(np.float32)
    rows[0] = [0, 1, 0]
    for prior in ("uniform", {"angry": 5, "calm": 1, "happy": 3}):
        results = called(
            *(said(row.astype(float).tolist(), {"prior": prior}, scaling=stated) for row in rows)
        )
        with warnings.catch_warnings(action="ignore"):  # of weights without a calibration
            expected, _ = confidence.with_prior(confidence.calibrated(rows), prior)
        np.testing.assert_allclose(
            [result["probabilities"] for result in results], expected, atol=1e-6
        )
    if scaling is not None:
        results = called(
            *(
                said(row.astype(float).tolist(), {"calibrated": True}, scaling=stated)
                for row in rows
            )
        )
        np.testing.assert_allclose(
            [result["probabilities"] for result in results], scaling(rows), atol=1e-6
        )


def test_what_is_said():
    raw = [0.2, 0.4, 0.4]
    plain, unsure, second, first = called(
        said(raw, {}),
        said(raw, {"abstainBelow": 0.41}),
        said([0.5, 0.5], {}, output="second", labels=["no", "yes"]),
        said([0.5, 0.5], {}, labels=["no", "yes"]),
    )
    assert plain == {"probabilities": raw, "label": "calm", "index": 1, "confidence": 0.4}
    assert unsure == {"probabilities": raw, "label": None, "index": None, "confidence": 0.4}
    assert (second["label"], first["label"]) == ("yes", "no")


def test_what_cannot_be_said():
    raw = [0.2, 0.4, 0.4]
    messages = called(
        said(raw, {"calibrated": True}),
        said(raw, {"abstainBelow": 1.5}),
        said(raw, {"prior": {"angry": 1, "calm": 0, "happy": 1}}),
        said(raw, {"prior": {"angry": 1, "calm": 1}}),
        said(raw, {"prior": {"angry": 1, "calm": 1, "happy": 1, "bored": 1}}),
        said(raw, {"prior": {"angry": 1, "calm": 1, "happy": 1e-13}}),
        said(raw, {"prior": "usual"}),
        said(raw, {"prior": "uniform"}, trainingFrequencies=None),
        said([0.9, 0.9, 0.2], {"prior": "uniform"}),
    )
    expected = [
        "the weights come without a calibration",
        "expected a confidence in [0, 1] to abstain below, got 1.5",
        "expected a share above 0 of calm, got 0",
        "expected a share above 0 of happy, got undefined",
        "there is no class bored",
        "expected a share of at least 1e-12 of happy, got",
        'expected "training", "uniform" or shares by class, got usual',
        "the weights do not say how common each class was in their training, which a prior needs",
        "expected outputs that sum to 1, as softmax's do; of others a prior says nothing",
    ]
    for message, start in zip(messages, expected):
        assert message.startswith(start)


@pytest.mark.parametrize(
    ("kind", "activation", "single"),
    [
        ("probabilities", "softmax", False),
        ("logits", "linear", False),
        ("log_probabilities", "log_softmax", False),
        ("second", "sigmoid", True),
    ],
)
def test_outputs_become_probabilities(kind: str, activation: str, single: bool):
    outputs = np.array([[0.3]] if single else [[-1.5, 0.2, 2.0]], np.float32)
    head = Head(2 if single else 3, activation, single)
    (result,) = called(("classify.js", "probabilities", [outputs[0].tolist(), kind]))
    np.testing.assert_allclose(result, head.probabilities(outputs)[0], rtol=1e-6)


# --- tables --------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [["happy", "=sad"], ["happy", "Label"]])
def test_columns_of_tables(labels: list[str]):
    (header,) = called(("ui/csv.js", "photographsTable", [[], labels]))
    assert header == ",".join(results.columns(labels)) + "\n"


def test_columns_of_tables_over_time():
    (header,) = called(("ui/csv.js", "framesTable", [[], ["happy", "sad"]]))
    assert header == ",".join([*tables.columns([]), "happy", "sad"]) + "\n"
