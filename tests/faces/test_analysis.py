"""From photographs to faces: every kind of input, order, errors, batches, threads and memory."""

from __future__ import annotations

import gc
import inspect
import io
import itertools
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np
import pytest
from PIL import Image

import ferjax
from ferjax import EmotionClassifier, Prediction, preprocessing
from ferjax.emotions import EMOTIONS
from ferjax.errors import DetectorError, FerjaxError, ImageError, PriorError, PriorWarning
from ferjax.faces import Detection, Face, crop
from ferjax.faces import stream as streaming
from ferjax.faces.analysis import Options
from ferjax.faces.face import Photograph
from ferjax.faces.options import FaceOptions
from ferjax.faces.stream import photographs
from ferjax.nets.layers import Dense, GlobalAveragePooling2D

from ..networks import chain, dense_weights

ROOT = Path(__file__).parents[2]
ASTRONAUT = ROOT / "examples" / "astronaut.png"


class Brightness:
    """A classifier whose confidence is how bright a crop is, in batches of 4."""

    labels = ("dark", "light")
    largest_batch = 4

    def __init__(self, engine: str = "jax") -> None:
        self.engine = engine
        self.batches: list[int] = []

    def preprocess(self, image: Any, *, resize: Any) -> np.ndarray:
        return preprocessing.preprocess(image, size=(2, 2), resize=resize)

    def prepare(self, *, threads: int | None = None) -> str:
        return self.engine

    def predict_batch(
        self, batch: np.ndarray, *, calibrated: bool, prior: str, threads: int | None = None
    ) -> np.ndarray:
        self.batches.append(len(batch))
        bright = batch.mean(axis=(1, 2, 3))
        return np.stack([1 - bright, bright], axis=1)

    def describe(self, row: np.ndarray, *, abstain_below: float) -> Prediction:
        return Prediction("light", 1, float(row[1]), dict(zip(self.labels, row.tolist())))

    def check_confidence(self, *, calibrated: bool, prior: str) -> None:
        if calibrated:
            raise FerjaxError("the weights come without a temperature")


def gray(level: int, side: int = 16) -> np.ndarray:
    return np.full((side, side), level, np.uint8)


def whole(image: np.ndarray) -> list[Detection]:
    """Take a picture for one face."""
    height, width = image.shape[:2]
    return [Detection(box=(0, 0, width, height))]


def as_many(image: np.ndarray) -> list[Detection]:
    """Find 0 to 3 faces, as the picture's brightness says."""
    return [Detection(box=(4 * i, 0, 4, 4)) for i in range(int(image[0, 0, 0]) % 4)]


def stream(sources: Any, detector: Any = whole, **options: Any) -> Any:
    names = {field.name for field in fields(FaceOptions)} & options.keys()
    asked = FaceOptions(detector=detector, **{name: options.pop(name) for name in names})
    return photographs(Brightness(), sources, asked, **options)  # type: ignore[arg-type]


def levels(done: Sequence[Photograph]) -> list[int]:
    """Return how bright the only face of each photograph is."""
    return [round(255 * photograph.faces[0].confidence) for photograph in done]


def workers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "ferjax-faces" in thread.name]


@pytest.fixture(scope="module")
def default() -> EmotionClassifier:
    return ferjax.load()


@pytest.fixture(scope="module")
def astronaut(default: EmotionClassifier) -> Face:
    (face,) = default.analyze(ASTRONAUT)
    return face


# --- analyze -------------------------------------------------------------------------------------


def test_the_options_are_told_alike_wherever_they_stand() -> None:
    signature = inspect.signature(EmotionClassifier.analyze).parameters
    names = [field.name for field in fields(FaceOptions)]
    assert names == [*Options.__annotations__] == [*signature][2:]
    assert {name: signature[name].default for name in names} == vars(FaceOptions())


def test_a_face_is_found_cropped_and_read(default: EmotionClassifier, astronaut: Face) -> None:
    picture = preprocessing.read_image(ASTRONAUT, channels=3)
    (expected,) = default.predict(crop(picture, astronaut), resize="area")
    assert astronaut.label == expected.label == "happy"
    assert (astronaut.index, astronaut.confidence) == (3, expected.confidence)
    assert astronaut.probabilities == expected.probabilities
    assert astronaut.score > 0.8
    assert astronaut.landmarks is not None and astronaut.landmarks.shape == (5, 2)
    assert abs(astronaut.roll) < 15
    x, y, width, height = astronaut.box
    assert (x, y, width, height) == pytest.approx((32, 37, 90, 111), abs=8)
    assert astronaut.size == height and not astronaut.too_small


def test_every_kind_of_image_gives_the_same_face(
    default: EmotionClassifier, astronaut: Face
) -> None:
    data = ASTRONAUT.read_bytes()
    rgb = preprocessing.read_image(data, channels=3)
    sources = [str(ASTRONAUT), data, bytearray(data), io.BytesIO(data), Image.open(ASTRONAUT)]
    for source in [*sources, rgb, jax.numpy.asarray(rgb), rgb / np.float32(255)]:
        (face,) = default.analyze(source)
        assert (face.box, face.probabilities) == (astronaut.box, astronaut.probabilities)


def test_bgr_is_told(default: EmotionClassifier, astronaut: Face) -> None:
    bgr = cv2.imread(str(ASTRONAUT))
    (face,) = default.analyze(bgr, channel_order="bgr")
    assert (face.box, face.probabilities) == (astronaut.box, astronaut.probabilities)
    ((face,),) = default.analyze(bgr[None], channel_order="bgr")
    assert face.probabilities == astronaut.probabilities
    (other,) = default.analyze(bgr)
    assert other.probabilities != astronaut.probabilities


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_in_the_picture_as_a_viewer_shows_it(
    default: EmotionClassifier, astronaut: Face, orientation: int
) -> None:
    picture = np.asarray(Image.open(ASTRONAUT).convert("RGB"))
    # How a file stores a picture that a viewer is to show upright.
    stored = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.swapaxes(0, 1),
        6: np.rot90(picture, 1),
        7: picture[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(picture, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(stored)).save(file, "JPEG", quality=98, exif=exif)
    (face,) = default.analyze(file.getvalue())
    assert face.label == "happy"
    assert face.box == pytest.approx(astronaut.box, abs=0.03 * astronaut.size)


def test_lists_give_lists_and_iterators_give_iterators(default: EmotionClassifier) -> None:
    blank = np.zeros((64, 64), np.uint8)
    single = default.analyze(blank)
    assert single == []
    several = default.analyze([blank, ASTRONAUT, blank])
    assert [len(faces) for faces in several] == [0, 1, 0]
    assert isinstance(several, list) and isinstance(several[1][0], Face)
    assert [len(faces) for faces in default.analyze((ASTRONAUT,))] == [1]
    lazy = default.analyze(path for path in [blank, ASTRONAUT])
    assert iter(lazy) is lazy
    assert [len(faces) for faces in lazy] == [0, 1]
    assert list(default.analyze(iter([]))) == []


def test_three_axes_are_one_image_or_a_batch_as_predict_takes_them(
    default: EmotionClassifier,
) -> None:
    rgb = preprocessing.read_image(ASTRONAUT, channels=3)
    assert len(default.analyze(rgb)) == 1
    assert isinstance(default.analyze(rgb)[0], Face)  # (H, W, 3) is one image
    assert [len(faces) for faces in default.analyze(np.stack([rgb, rgb]))] == [1, 1]
    assert [len(faces) for faces in default.analyze(rgb[None])] == [1]
    plain = preprocessing.read_image(ASTRONAUT)
    assert len(default.analyze(plain)) == 1
    assert [len(faces) for faces in default.analyze(np.stack([plain, plain]))] == [1, 1]


def test_faces_are_pickled_and_say_what_they_are(astronaut: Face) -> None:
    copied = pickle.loads(pickle.dumps(astronaut))
    assert isinstance(copied, Face)
    assert (copied.box, copied.probabilities) == (astronaut.box, astronaut.probabilities)
    np.testing.assert_array_equal(copied.landmarks, astronaut.landmarks)
    face = Face(
        box=(1, 2.25, 30, 40),
        score=0.9,
        label=None,
        index=None,
        confidence=0.5,
        probabilities={"a": 0.5, "b": 0.5},
    )
    expected = (
        "Face(label=None, confidence=0.500, box=(1.0, 2.2, 30.0, 40.0), score=0.900, roll=0.0)"
    )
    assert repr(face) == expected


def test_onnx_runtime_reads_the_same(astronaut: Face) -> None:
    pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: pip install 'ferjax[onnx]'")
    (face,) = ferjax.load(engine="onnx").analyze(ASTRONAUT)
    assert face.box == astronaut.box
    assert face.probabilities == pytest.approx(astronaut.probabilities, abs=1e-5)


def test_a_colour_network_sees_red_green_blue() -> None:
    layers = [GlobalAveragePooling2D(), Dense(units=3, activation="relu")]
    network, names = chain(*layers, shape=(4, 4, 3)), ["red", "green", "blue"]
    classifier = EmotionClassifier(network, dense_weights(np.eye(3)), names)
    picture = np.full((20, 20, 3), (200, 100, 50), np.uint8)
    (face,) = classifier.analyze(picture, detector=whole)
    assert list(face.probabilities.values()) == pytest.approx([200 / 255, 100 / 255, 50 / 255])
    (face,) = classifier.analyze(picture, detector=whole, channel_order="bgr")
    assert list(face.probabilities.values()) == pytest.approx([50 / 255, 100 / 255, 200 / 255])


def test_the_classifier_abstains(default: EmotionClassifier, astronaut: Face) -> None:
    (face,) = default.analyze(ASTRONAUT, abstain_below=0.999)
    assert (face.label, face.index) == (None, None)
    assert face.confidence == astronaut.confidence


def test_calibration_changes_confidences(astronaut: Face) -> None:
    classifier = ferjax.load()
    classifier.temperature = 2.0
    (face,) = classifier.analyze(ASTRONAUT, calibrated=True)
    assert face.label == "happy"
    assert face.confidence < astronaut.confidence - 0.05


def test_a_prior_changes_probabilities(default: EmotionClassifier) -> None:
    (face,) = default.analyze(ASTRONAUT, calibrated=True)
    rows = np.float32([[*face.probabilities.values()]])
    stream = default.analyze(iter([ASTRONAUT]), prior={**dict.fromkeys(EMOTIONS, 1), "sad": 1e6})
    ((sad,),) = stream
    assert sad.label == "sad"
    prior = [1e6 if label == "sad" else 1 for label in EMOTIONS]
    assert [*sad.probabilities.values()] == default.with_prior(rows, prior)[0].tolist()


def test_a_list_of_photographs_is_adapted_to(default: EmotionClassifier) -> None:
    dark = np.zeros((60, 60, 3), np.uint8)
    sources = [dark, ASTRONAUT, ASTRONAUT]
    options: dict[str, Any] = {"detector": whole, "abstain_below": 0.99}
    plain = default.analyze(sources, calibrated=True, **options)
    rows = np.float32([[*face.probabilities.values()] for (face,) in plain])
    with pytest.warns(PriorWarning, match="estimated from 3 faces"):
        done = default.analyze(sources, prior="adapt", **options)
    with pytest.warns(PriorWarning):
        expected = default.with_prior(rows, "adapt")
    for (face,), row, (before,) in zip(done, expected, plain):
        assert [*face.probabilities.values()] == row.tolist()
        assert face.confidence == max(row.tolist())
        assert (face.label is None) == (face.confidence < 0.99)
        np.testing.assert_array_equal(face.box, before.box)
    assert default.adapted_prior is not None


def test_what_cannot_be_adapted_to(default: EmotionClassifier) -> None:
    taken: list[int] = []
    sources = (taken.append(1) or ASTRONAUT for _ in range(3))  # type: ignore[func-returns-value]
    with pytest.raises(PriorError, match=r"'adapt', which needs all faces .* give a list"):
        default.analyze(sources, prior="adapt")
    assert not taken
    for lone in (ASTRONAUT, [ASTRONAUT], [gray(0)]):
        with pytest.raises(PriorError, match="at least 2 faces for the prior 'adapt', got"):
            default.analyze(lone, prior="adapt")


def test_crops_are_averaged_unless_asked_otherwise(default: EmotionClassifier) -> None:
    fine = np.zeros((480, 480), np.uint8)
    fine[::2] = 255  # bilinear resizing takes some lines and leaves others
    options: dict[str, Any] = {"detector": whole}
    (area,) = default.analyze(fine, **options)
    (linear,) = default.analyze(fine, resize="linear", **options)
    inside = fine[24:456, 24:456]
    assert area.probabilities == default.predict(inside, resize="area")[0].probabilities
    assert linear.probabilities == default.predict(inside, resize="linear")[0].probabilities
    assert area.probabilities != linear.probabilities


# --- errors --------------------------------------------------------------------------------------


def test_all_bad_photographs_of_a_list_are_named(default: EmotionClassifier) -> None:
    with pytest.raises(ImageError) as caught:
        default.analyze(["gone.png", ASTRONAUT, np.zeros((2, 9, 9, 3), np.uint8), b"no image"])
    first, *rest = str(caught.value).splitlines()
    assert first == "3 of 4 images cannot be used:"
    assert rest[0] == "gone.png: no such file"
    assert rest[1].startswith("image 2 (array): expected one image, got a batch of shape (2, 9,")
    assert rest[2].startswith("image 3 (bytes): ")


def test_an_iterator_raises_in_the_place_of_a_bad_photograph(default: EmotionClassifier) -> None:
    lazy = default.analyze(iter([ASTRONAUT, "gone.png", ASTRONAUT]))
    assert len(next(lazy)) == 1
    with pytest.raises(ImageError, match=r"^gone\.png: no such file$"):
        next(lazy)
    assert not workers()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gone.png", r"^gone\.png: no such file$"),
        (np.zeros((4, 4), int), r"^array: expected uint8 in \[0, 255\] or floats in \[0, 1\], got"),
        (np.zeros((0, 4, 4, 3), np.uint8), "expected at least one pixel"),
        (np.array(["a.png", "b.png"]), "paths and images go in a list"),
        ([], "expected at least one image, got an empty sequence"),
        (7, "an open file or an iterable of them, got int"),
        (None, "an open file or an iterable of them, got NoneType"),
        ({"a.png": 1}, "an open file or an iterable of them, got dict"),
        ([7], r"^image 0 \(int\): expected a path, bytes, array or PIL image"),
    ],
)
def test_what_is_no_photograph(default: EmotionClassifier, source: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        default.analyze(source)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_score": 1.5}, r"expected a number in \[0, 1\] for `min_score`, got 1.5"),
        ({"min_score": float("nan")}, r"for `min_score`, got nan"),
        ({"min_score": "0.5"}, r"for `min_score`, got '0.5'"),
        ({"min_size": -1}, r"expected a positive number of pixels for `min_size`, got -1"),
        ({"min_size": float("inf")}, r"for `min_size`, got inf"),
        ({"order": "left"}, r"expected 'reading' or 'size' for `order`, got 'left'"),
        ({"resize": "cubic"}, r"expected 'linear' or 'area' for `resize`, got 'cubic'"),
        ({"resize": None}, r"expected 'linear' or 'area' for `resize`, got None"),
        ({"channel_order": "gbr"}, r"expected 'rgb' or 'bgr' for `channel_order`, got 'gbr'"),
        ({"abstain_below": 2}, r"expected `abstain_below` in \[0, 1\], got 2"),
        ({"calibrated": True}, "the weights come without a temperature"),
        ({"detector": "yunet"}, "expected a callable for `detector`, got str"),
        ({"threads": -1}, r"expected an integer of at least 0 for `threads`, got -1"),
        ({"ahead": 0.5}, r"expected an integer of at least 0 for `ahead`, got 0.5"),
    ],
)
def test_options_are_checked_before_any_work(options: dict[str, Any], message: str) -> None:
    taken: list[int] = []
    sources = (taken.append(1) or gray(0) for _ in range(3))  # type: ignore[func-returns-value]
    with pytest.raises((ValueError, FerjaxError), match=message):
        stream(sources, **options)
    assert not taken


def test_sources_are_iterable() -> None:
    with pytest.raises(ImageError, match="expected an iterable of images, got int"):
        stream(3)


# --- streams -------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_photographs_keep_their_order_and_faces(threads: int) -> None:
    done = list(stream([gray(n) for n in range(40)], as_many, threads=threads))
    assert [len(photograph.faces) for photograph in done] == [n % 4 for n in range(40)]
    for n, photograph in enumerate(done):
        assert [round(255 * face.confidence) for face in photograph.faces] == [n] * (n % 4)
        assert [face.box[0] for face in photograph.faces] == [0, 4, 8][: n % 4]
        assert (photograph.shape, photograph.image, photograph.error) == ((16, 16), None, None)


def test_crops_of_several_photographs_fill_the_batches() -> None:
    classifier: Any = Brightness()
    done = list(
        photographs(classifier, [gray(n) for n in range(41)], FaceOptions(detector=as_many))
    )
    assert sum(len(photograph.faces) for photograph in done) == 60
    assert classifier.batches == [4] * 15


@pytest.mark.parametrize(
    ("engine", "count", "batches"),
    [
        ("jax", 3, [3]),
        ("jax", 6, [4, 4]),  # 2 would have to be compiled
        ("onnx", 6, [4, 2]),
    ],
)
def test_what_is_left_of_full_batches_is_filled_up(
    engine: str, count: int, batches: list[int]
) -> None:
    classifier: Any = Brightness(engine)
    done = list(photographs(classifier, map(gray, range(count)), FaceOptions(detector=whole)))
    assert levels(done) == list(range(count))
    assert classifier.batches == batches


def test_paths_are_decoded_in_threads_in_order(tmp_path: Path) -> None:
    paths = []
    for n in range(20):
        paths.append(tmp_path / f"{n}.png")
        side = 900 if n % 5 == 0 else 16  # these take longer
        cv2.imwrite(str(paths[-1]), gray(10 * n, side))
    paths[7].write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    done = list(stream(iter(paths)))
    assert [photograph.source for photograph in done] == paths
    assert done[7].error is not None and done[7].faces == [] and done[7].shape is None
    assert str(done[7].error).startswith(f"{paths[7]}: ")
    good = done[:7] + done[8:]
    assert levels(good) == [10 * n for n in range(20) if n != 7]


def test_few_sources_are_taken_ahead_of_an_endless_one() -> None:
    taken = itertools.count()
    endless = (gray(next(taken) % 256) for _ in itertools.count())
    done = stream(endless, threads=2, ahead=6)
    assert levels([next(done) for _ in range(50)]) == list(range(50))
    assert 50 <= next(taken) <= 50 + 6 + 2 * 2 + 3
    done.close()


def test_nothing_is_taken_ahead_of_a_camera() -> None:
    taken: list[int] = []
    camera = (taken.append(n) or gray(n) for n in itertools.count())  # type: ignore[func-returns-value]
    done = stream(camera, ahead=0)
    for n in range(5):
        assert levels([next(done)]) == [n]
        assert taken == list(range(n + 1))
    done.close()


def test_a_photograph_without_faces_waits_for_no_other() -> None:
    done = stream((gray(0) for _ in itertools.count()), as_many, threads=1, ahead=10**6)
    assert next(done).faces == []
    done.close()


@pytest.mark.parametrize("keep_images", [False, True])
def test_a_source_may_reuse_its_array(keep_images: bool) -> None:
    def camera() -> Iterator[np.ndarray]:
        buffer = np.zeros((16, 16, 3), np.uint8)
        for n in range(20):
            buffer[:] = n
            yield buffer

    done = list(stream(camera(), keep_images=keep_images))
    assert levels(done) == list(range(20))
    if keep_images:
        assert [photograph.image[0, 0, 0] for photograph in done] == list(range(20))


def test_a_source_may_close_its_file(tmp_path: Path) -> None:
    for n in range(10):
        cv2.imwrite(str(tmp_path / f"{n}.png"), gray(n))

    def files() -> Iterator[Any]:
        for n in range(10):
            with open(tmp_path / f"{n}.png", "rb") as file:
                yield file
        for n in range(10):
            with Image.open(tmp_path / f"{n}.png") as image:
                yield image

    assert levels(list(stream(files()))) == 2 * list(range(10))


def test_pictures_are_kept_where_that_is_asked_for() -> None:
    rgba = np.zeros((6, 9, 4), np.uint8)  # transparent, so white
    kept = list(stream([gray(7), rgba], keep_images=True))
    image = kept[0].image
    assert image is not None and image.dtype == np.uint8 and image.shape == (16, 16, 3)
    assert (image == 7).all()
    np.testing.assert_array_equal(kept[1].image, np.full((6, 9, 3), 255))
    assert kept[1].shape == (6, 9)


def test_faces_are_chosen_and_ordered() -> None:
    boxes = [(0, 0, 4, 4), (4, 0, 8, 8), (12, 0, 2, 2)]

    def detector(image: np.ndarray) -> list[Detection]:
        return [Detection(box=box, score=score) for box, score in zip(boxes, (0.9, 0.8, 0.6))]

    def found(**options: Any) -> list[float]:
        (photograph,) = stream([gray(9)], detector, **options)
        return [face.size for face in photograph.faces]

    assert found(min_score=0.5) == [4, 8, 2]
    assert found() == [4, 8]
    assert found(order="size", min_score=0) == [8, 4, 2]
    assert found(min_size=5) == [8]
    assert found(largest=True, order="reading") == [8]
    assert found(min_score=1) == []
    assert found(min_score=1, largest=True) == []


# --- threads -------------------------------------------------------------------------------------


def test_a_detector_is_called_in_the_thread_that_asks() -> None:
    callers = set()

    def detector(image: np.ndarray) -> list[Detection]:
        callers.add(threading.get_ident())
        return whole(image)

    list(stream([gray(n) for n in range(20)], detector, threads=3))
    assert callers == {threading.get_ident()}


def test_closing_early_ends_the_threads() -> None:
    done = stream((gray(1) for _ in itertools.count()), threads=2)
    next(done)
    assert workers()
    done.close()
    assert not workers()
    done = stream((gray(1) for _ in itertools.count()), threads=2)
    next(done)
    del done
    gc.collect()
    assert not workers()


def test_an_iterator_that_is_closed_ends_its_threads(default: EmotionClassifier) -> None:
    lazy = default.analyze(gray(0) for _ in itertools.count())
    next(lazy)
    assert workers()
    lazy.close()
    assert not workers()


@pytest.mark.parametrize("kind", [RuntimeError, ImageError, KeyboardInterrupt])
def test_what_the_sources_raise_comes_after_the_photographs_before(kind: Any) -> None:
    def sources() -> Iterator[np.ndarray]:
        yield gray(0)
        yield gray(1)
        raise kind("no more")

    done = stream(sources())
    if kind is not KeyboardInterrupt:  # whoever interrupts does not wait
        assert levels([next(done), next(done)]) == [0, 1]
    with pytest.raises(kind, match="no more"):
        next(done)
    assert not workers()


@pytest.mark.parametrize("kind", [RuntimeError, ImageError, KeyboardInterrupt])
def test_what_the_detector_raises_comes_after_the_photographs_before(kind: Any) -> None:
    def detector(image: np.ndarray) -> list[Detection]:
        if image[0, 0, 0] == 2:
            raise kind("no detection")
        return whole(image)

    done = stream((gray(n) for n in itertools.count()), detector)
    if kind is not KeyboardInterrupt:
        assert levels([next(done), next(done)]) == [0, 1]
    raised = KeyboardInterrupt if kind is KeyboardInterrupt else DetectorError
    with pytest.raises(raised, match="no detection"):
        next(done)
    assert not workers()


def test_a_process_may_end_before_an_iterator() -> None:
    code = f"""
import itertools, ferjax
from ferjax.faces.options import FaceOptions
from ferjax.faces.stream import photographs
done = photographs(
    ferjax.load(), itertools.repeat({str(ASTRONAUT)!r}), FaceOptions(), keep_images=True
)
print(len(next(done).faces))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


# --- memory --------------------------------------------------------------------------------------


class Counted(np.ndarray):
    """An array that can be watched going."""


class Alive:
    """How many pictures are in memory, now and at most."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self._lock = threading.RLock()

    def watch(self, picture: np.ndarray) -> np.ndarray:
        counted = picture.view(Counted)
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        weakref.finalize(counted, self._gone)
        return counted

    def _gone(self) -> None:
        with self._lock:
            self.now -= 1


def test_memory_does_not_grow_with_the_number_of_photographs() -> None:
    alive = Alive()

    def sources() -> Iterator[np.ndarray]:
        for n in range(3000):
            yield alive.watch(gray(n % 256))

    count = 0
    blocks = 0
    for photograph in stream(sources(), as_many, threads=2):
        assert len(photograph.faces) == count % 256 % 4
        count += 1
        if count == 1000:
            gc.collect()
            blocks = sys.getallocatedblocks()
    del photograph
    gc.collect()
    assert count == 3000
    assert alive.most <= 16 + 2 + 3 + 2
    assert alive.now == 0
    assert sys.getallocatedblocks() - blocks < 2000  # 2,000 more photographs


@pytest.mark.parametrize("detector", [whole, None])
def test_large_pictures_wait_for_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, detector: Any
) -> None:
    alive = Alive()
    load = preprocessing.load_picture

    def watched(*arguments: Any, **options: Any) -> np.ndarray:
        return alive.watch(load(*arguments, **options))

    monkeypatch.setattr(streaming.preprocessing, "load_picture", watched)
    monkeypatch.setattr(streaming, "MAX_BYTES", 20_000)
    paths = [tmp_path / f"{n}.png" for n in range(24)]
    for n, path in enumerate(paths):
        cv2.imwrite(str(path), gray(n, side=100))  # 30,000 bytes of RGB
    done = stream(iter(paths), detector, threads=4, keep_images=True)
    shown = []
    for photograph in done:
        shown.append(photograph.image[0, 0, 0])
        del photograph
    assert shown == list(range(24))
    assert alive.most <= 3
    assert alive.now == 0
