"""The classifier: the same pixels give the same probabilities, in every form and batch size."""

from __future__ import annotations

import contextlib
import copy
import gc
import io
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import psutil
import pytest
from PIL import Image

import ferjax
from ferjax import EMOTIONS, EmotionClassifier, Prediction, classifier, metadata
from ferjax.emotions import FER2013_CSV_ORDER
from ferjax.errors import (
    FerjaxError,
    ImageError,
    LabelsError,
    LayerError,
    SkippedPixelsWarning,
    WeightFileError,
)
from ferjax.nets.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    Layer,
    MaxPooling2D,
    Normalization,
    Rescaling,
    Reshape,
    Softmax,
)

from .networks import chain, dense_weights, drawn, one_dense

ROOT = Path(__file__).parents[1]
ASTRONAUT = ROOT / "examples" / "astronaut.png"
ABC = ["a", "b", "c"]


def made(
    *layers: Layer,
    shape: tuple[int | None, ...],
    dense: Any = None,
    labels: Sequence[str] | None = None,
    **options: Any,
) -> EmotionClassifier:
    """Return a classifier of these layers; `dense` is the kernel of the only Dense layer."""
    network = chain(*layers, shape=shape)
    variables = drawn(network)
    if dense is not None:
        variables["params"]["dense"]["kernel"] = np.asarray(dense, np.float32)
    if labels is None:
        labels = [f"class {index}" for index in range(network.output_shape[0] or 0)]
    return EmotionClassifier(network, variables, labels, **options)


def seeing(*layers: Layer, shape: tuple[int, int, int], **options: Any) -> EmotionClassifier:
    """Return a classifier whose "probabilities" are the values that reach the layer after these.

    Its ReLU keeps what is not negative, and marks the output as no logits.
    """
    count = int(np.prod(shape))
    flat = [*layers, Flatten(), Dense(units=count, activation="relu")]
    return made(*flat, shape=shape, dense=np.eye(count), **options)


def faces(count: int, seed: int = 0) -> np.ndarray:
    """Return smooth random pictures, uint8 (B, 48, 48)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 6, 6), dtype=np.uint8)
    return np.stack([cv2.resize(c, (48, 48), interpolation=cv2.INTER_LINEAR) for c in coarse])


@pytest.fixture(scope="module")
def default() -> EmotionClassifier:
    return ferjax.load()


# --- the weights that ferjax brings --------------------------------------------------------------


def test_the_default_weights_find_the_astronaut_happy(default: EmotionClassifier) -> None:
    (prediction,) = default.predict(ASTRONAUT, resize="linear")
    assert isinstance(prediction, Prediction)
    assert prediction.label == "happy"
    assert prediction.index == 3
    assert 0.7 < prediction.confidence <= 1
    assert list(prediction.probabilities) == list(EMOTIONS)
    assert prediction.confidence == prediction.probabilities["happy"]
    assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-6)


def test_the_default_weights_load_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = ferjax.load()
    assert loaded.labels == EMOTIONS
    assert loaded.image_size == (48, 48)
    assert loaded.value_range == (0, 1)
    assert loaded.metadata["licence"]


@pytest.mark.parametrize("kind", [str, Path])
def test_predict_emotion_returns_the_index_of_the_class(kind: type) -> None:
    index = ferjax.predict_emotion(kind(ASTRONAUT))
    assert type(index) is int
    assert EMOTIONS[index] == "happy"


def test_predict_emotion_names_a_missing_file() -> None:
    with pytest.raises(ImageError, match=r"nowhere\.png: no such file"):
        ferjax.predict_emotion("nowhere.png")


# --- forms of images -----------------------------------------------------------------------------


def test_every_form_of_the_same_pixels_gives_the_same_probabilities(
    default: EmotionClassifier, tmp_path: Path
) -> None:
    gray = faces(1)[0]
    rgb = np.repeat(gray[..., None], 3, axis=-1)
    path = tmp_path / "face.png"
    Image.fromarray(gray).save(path)
    tensor = jax.numpy.asarray(gray)
    forms: dict[str, Any] = {
        "uint8 (H, W, 1)": gray[..., None],
        "uint8 (H, W, 3)": rgb,
        "uint8 (H, W, 4)": np.dstack([rgb, np.full_like(gray, 255)]),
        "uint8 (B, H, W)": gray[None],
        "uint8 (B, H, W, 1)": gray[None, ..., None],
        "uint8 (B, H, W, 3)": rgb[None],
        "float32": gray.astype(np.float32) / 255,
        "float64 (H, W, 1)": gray[..., None] / 255,
        "float16": (gray / 255).astype(np.float16),
        "not contiguous": np.asfortranarray(gray),
        "jax": tensor,
        "str": str(path),
        "path": path,
        "bytes": path.read_bytes(),
        "bytearray": bytearray(path.read_bytes()),
        "PIL L": Image.fromarray(gray),
        "PIL RGB": Image.fromarray(rgb),
        "list of one array": [gray],
        "tuple of one path": (path,),
    }
    expected = default.predict_proba(gray)
    assert expected.shape == (1, 7)
    assert expected.dtype == np.float32
    for name, form in forms.items():
        found = default.predict_proba(form)
        assert found.shape == (1, 7), name
        # float16 has 11 bits: its pixels differ by up to 2.5e-4.
        tolerance = 1e-2 if name == "float16" else 1e-6
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance, err_msg=name)


def test_a_list_mixes_forms_and_keeps_their_order(
    default: EmotionClassifier, tmp_path: Path
) -> None:
    batch = faces(4)
    Image.fromarray(batch[1]).save(tmp_path / "one.png")
    buffer = io.BytesIO()
    Image.fromarray(batch[2]).save(buffer, "PNG")
    mixed = [batch[0], tmp_path / "one.png", buffer.getvalue(), Image.fromarray(batch[3])]
    found = default.predict_proba(mixed)
    np.testing.assert_allclose(found, default.predict_proba(batch), rtol=0, atol=1e-6)


def test_images_of_any_size_are_resized(default: EmotionClassifier) -> None:
    large = faces(1)[0].repeat(3, axis=0).repeat(3, axis=1)  # 144x144
    resized = cv2.resize(large, (48, 48))
    expected = default.predict_proba(resized)
    np.testing.assert_allclose(default.predict_proba(large), expected, rtol=0, atol=1e-6)


def test_the_callers_array_stays_as_it_is(default: EmotionClassifier) -> None:
    image = faces(1)[0].astype(np.float32) / 255
    before = image.copy()
    default.predict(image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((48, 48), 200.0, np.float32), "values up to 200.0"),
        (np.full((48, 48), -0.5, np.float32), "values down to -0.5"),
        (np.full((48, 48), np.nan, np.float32), "NaN or infinity"),
        (np.zeros((48, 48), np.int64), "got dtype int64"),
        (np.zeros((48, 48), bool), "got dtype bool"),
        (np.zeros(48, np.uint8), r"got \(48,\)"),
        (np.zeros((1, 48, 48, 2), np.uint8), r"got \(1, 48, 48, 2\)"),
        (7, "expected a path, bytes, array"),
    ],
)
def test_what_is_no_image_is_an_error_and_not_a_guess(
    default: EmotionClassifier, image: Any, message: str
) -> None:
    with pytest.raises(ImageError, match=message):
        default.predict(image)


def test_all_bad_images_of_a_list_are_named_at_once(default: EmotionClassifier) -> None:
    with pytest.raises(ImageError, match=r"(?s)2 of 3 images.*gone\.png.*image 2 \(bytes\)"):
        default.predict(["gone.png", faces(1)[0], b"no image"])


def test_an_empty_list_is_an_error_and_an_empty_batch_gives_no_rows(
    default: EmotionClassifier,
) -> None:
    with pytest.raises(ImageError, match="at least one image"):
        default.predict([])
    rows = default.predict_batch(np.zeros((0, 48, 48, 1), np.float32))
    assert rows.shape == (0, 7)
    assert rows.dtype == np.float32


# --- batches -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many() -> np.ndarray:
    return faces(600, seed=1)


@pytest.fixture(scope="module")
def five() -> EmotionClassifier:
    """The smaller network, for many images."""
    return ferjax.load(ROOT / "checkpoints" / "fer_cnn5.h5")


@pytest.fixture(scope="module")
def rows(five: EmotionClassifier, many: np.ndarray) -> np.ndarray:
    """Probabilities of `many`, computed in batches of 8."""
    return np.concatenate([five.predict_proba(many[i : i + 8]) for i in range(0, 600, 8)])


@pytest.mark.parametrize("count", [1, 2, 3, 5, 17])
def test_rows_of_the_default_weights_do_not_depend_on_the_batch_size(
    default: EmotionClassifier, many: np.ndarray, count: int
) -> None:
    expected = np.concatenate([default.predict_proba(many[i : i + 8]) for i in (0, 8, 16)])
    found = default.predict_proba(many[:count])
    assert found.shape == (count, 7)
    np.testing.assert_allclose(found, expected[:count], rtol=0, atol=1e-6)
    assert np.ptp(expected, axis=0).min() > 0.002  # or this would prove nothing


@pytest.mark.parametrize("count", [1, 3, 17, 256, 257, 600])
def test_rows_do_not_depend_on_the_batch_size(
    five: EmotionClassifier, many: np.ndarray, rows: np.ndarray, count: int
) -> None:
    found = five.predict_proba(many[:count])
    assert found.shape == (count, 7)
    np.testing.assert_allclose(found, rows[:count], rtol=0, atol=1e-6)


def test_rows_differ_between_images(rows: np.ndarray) -> None:
    assert np.ptp(rows, axis=0).min() > 0.02  # or the test above would prove nothing


def test_one_image_gives_its_row_of_a_batch(
    five: EmotionClassifier, many: np.ndarray, rows: np.ndarray
) -> None:
    for index in (0, 7, 8, 255, 256, 599):
        found = five.predict_proba(many[index])[0]
        np.testing.assert_allclose(found, rows[index], rtol=0, atol=1e-6)


def test_each_row_of_predict_describes_predict_proba(
    default: EmotionClassifier, many: np.ndarray
) -> None:
    probabilities = default.predict_proba(many[:9])
    for row, prediction in zip(probabilities, default.predict(many[:9]), strict=True):
        assert prediction.index == row.argmax()
        assert prediction.label == EMOTIONS[prediction.index]
        assert list(prediction.probabilities.values()) == row.tolist()


@contextlib.contextmanager
def compilations() -> Iterator[list[str]]:
    """Collect the names of the programs that JAX compiles for predictions."""
    compiled: list[str] = []

    def listen(event: str, _: float, *, fun_name: str = "", **__: Any) -> None:
        compiles = event == "/jax/core/compile/backend_compile_duration"
        if compiles and "probabilities" in fun_name:  # once in a process JAX is tried out too
            compiled.append(fun_name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_few_batch_sizes_are_compiled() -> None:
    model = made(Flatten(), Dense(units=3, activation="softmax"), shape=(2, 2, 1), engine="jax")
    pixels = np.random.default_rng(0).integers(0, 256, (300, 2, 2), dtype=np.uint8)
    with compilations() as compiled:
        for count in range(1, 301):
            assert len(model.predict(pixels[:count])) == count
    # On CPUs 1, 2, 4, 8; elsewhere up to 256.
    assert len(compiled) == (4 if jax.default_backend() == "cpu" else 9)


def test_batches_at_the_same_time_give_what_each_gives_and_compile_once() -> None:
    model = made(Flatten(), Dense(units=3, activation="softmax"), shape=(2, 2, 1), engine="jax")
    images = np.random.default_rng(0).random((83, 2, 2, 1), np.float32)
    with compilations() as compiled:
        together = model.predict_batch(images)
    assert len(compiled) == (2 if jax.default_backend() == "cpu" else 1)  # of 8, and of 3 with 1
    one_by_one = np.concatenate([model.predict_batch(image[None]) for image in images])
    np.testing.assert_allclose(together, one_by_one, rtol=0, atol=1e-6)


def test_threads_get_their_own_answers(five: EmotionClassifier, many: np.ndarray) -> None:
    pieces = [many[start : start + 1 + start % 7] for start in range(0, 96, 3)]
    expected = [five.predict_proba(piece) for piece in pieces]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(five.predict_proba, pieces))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


FORKS = """
import multiprocessing, os, sys
import numpy as np
import ferjax
classifier = ferjax.load("checkpoints/fer_cnn5.h5", engine=sys.argv[1])
if sys.argv[2] == "used":
    classifier.predict_proba(np.zeros((48, 48), np.uint8))
def shape(image):
    try:
        return classifier.predict_proba(image).shape
    except ferjax.FerjaxError as error:
        return f"{type(error).__name__}: {error}"
with multiprocessing.get_context("fork").Pool(1) as pool:
    print(pool.map_async(shape, [np.zeros((48, 48), np.uint8)]).get(60)[0])
if sys.argv[1] == "auto":  # as gunicorn does, whose workers end as any process
    child = os.fork()
    if not child:
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    ("engine", "state", "expected"),
    [
        ("jax", "loaded", "(1, 7)"),
        ("jax", "used", "BackendError: JAX was used before this process was forked, and cannot be"),
        ("auto", "loaded", "(1, 7)"),
        ("auto", "used", "(1, 7)"),
    ],
)
def test_workers_that_are_forked(engine: str, state: str, expected: str) -> None:
    """As by `gunicorn --preload`: only JAX that has predicted before cannot, and says so."""
    if engine == "auto":
        pytest.importorskip("onnxruntime")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS, engine, state],
        capture_output=True, text=True, cwd=ROOT, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith(expected)


@pytest.mark.parametrize("engine", ["jax", "onnx"])
def test_ten_thousand_calls_do_not_grow_memory_or_compile_without_end(engine: str) -> None:
    ending = Dense(units=3, activation="softmax")
    model = made(Flatten(), ending, shape=(4, 4, 1), engine=engine)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 4, 4), dtype=np.uint8)
    process = psutil.Process()

    def predict(calls: int) -> int:
        for call in range(calls):
            model.predict(pixels[: 1 + call % 32])
        gc.collect()
        return process.memory_info().rss

    with compilations() as compiled:
        before = predict(1_000)
        assert predict(10_000) - before < 20e6
    assert (1 if engine == "jax" else 0) <= len(compiled) <= 6  # 1, 2, 4, 8, 16, 32


# --- labels --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "b"], "expected 3 different labels in output order, got 2: a, b"),
        (["a", "b", "c", "d"], "expected 3 different labels in output order, got 4"),
        (["a", "b", "a"], "expected 3 different labels in output order, got 3: a, b, a"),
        ([], "expected 3 different labels"),
        ("abc", "expected a list of label names, got 'abc'"),
        ([0, 1, 2], r"expected a list of label names, got \[0, 1, 2\]"),
        ({"a", "b", "c"}, "expected a list of label names, got {"),  # in no order
        ({"a": 0, "b": 1, "c": 2}, "expected a list of label names, got {"),
        (3, "expected a list of label names, got 3"),
    ],
)
def test_labels_that_do_not_fit_are_an_error(labels: Any, message: str) -> None:
    network = one_dense(3)
    with pytest.raises(LabelsError, match=message):
        EmotionClassifier(network, drawn(network), labels)


def test_nameless_classes_are_numbered_with_a_warning(source: Path) -> None:
    message = (
        "the weights come without label names and are of no known network: the classes are called "
        r"0 to 6; --labels \(labels=\) names them, `ferjax inspect FILE --data FACES` tells"
    )
    with pytest.warns(UserWarning, match=message) as warned:
        loaded = ferjax.load(source)
    assert len(warned) == 1
    assert loaded.labels == ("0", "1", "2", "3", "4", "5", "6")
    (prediction,) = loaded.predict(np.zeros((12, 12), np.uint8))
    assert prediction.label == str(prediction.index)


def test_a_known_network_gets_its_order_with_a_warning(tmp_path: Path) -> None:
    network = ferjax.nets.fer_cnn5()
    ferjax.keras.save(tmp_path / "m.h5", network, drawn(network))
    message = (
        "the weights come without label names; taken to be angry, disgust, fear, happy, neutral, "
        r"sad, surprise, the order of fer_cnn5, the published network \(kaggle.com, .*\); --labels "
        r"\(labels=\) sets others$"
    )
    with pytest.warns(UserWarning, match=message) as warned:
        assert ferjax.load(tmp_path / "m.h5").labels == EMOTIONS
    assert len(warned) == 1


@pytest.mark.parametrize("order", ["fer2013", " FER2013 ", ["fer2013"]])
def test_labels_may_be_an_order(source: Path, order: Any) -> None:
    loaded = ferjax.load(source, labels=order)
    assert loaded.labels == FER2013_CSV_ORDER


def test_labels_given_for_a_nameless_file_are_taken_without_a_warning(source: Path) -> None:
    names = tuple("abcdefg")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = ferjax.load(source, labels=names)
    assert loaded.labels == names


def test_any_number_of_nameless_classes_is_numbered(tmp_path: Path) -> None:
    model = made(Flatten(), Dense(units=3), shape=(2, 2, 1))
    ferjax.keras.save(tmp_path / "three.h5", model.network, model.variables)
    with pytest.warns(UserWarning, match="the classes are called 0 to 2; --labels"):
        loaded = ferjax.load(tmp_path / "three.h5")
    assert loaded.labels == ("0", "1", "2")
    assert ferjax.load(tmp_path / "three.h5", labels=ABC).labels == ("a", "b", "c")
    # Numbers do not become names by being stored.
    ferjax.keras.save(tmp_path / "n.h5", loaded.network, loaded.variables, labels=loaded.labels)
    assert ferjax.keras.load(tmp_path / "n.h5").labels is None


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_labels_travel_with_the_weights(tmp_path: Path, name: str) -> None:
    model = made(Flatten(), Dense(units=3), shape=(2, 2, 1))
    ferjax.keras.save(tmp_path / name, model.network, model.variables, labels=ABC)
    assert ferjax.load(tmp_path / name).labels == ("a", "b", "c")
    assert ferjax.load(tmp_path / name, labels=["x", "y", "z"]).labels == ("x", "y", "z")


def test_labels_and_value_range_come_from_the_metadata_beside_a_file(
    source: Path, tmp_path: Path
) -> None:
    path = shutil.copy(source, tmp_path / "model.h5")
    names = list("gfedcba")
    metadata.write(path, {"labels": names, "value_range": [-1, 1], "source": "here"})
    loaded = ferjax.load(path)
    assert loaded.labels == tuple(names)
    assert loaded.value_range == (-1, 1)
    assert loaded.metadata["source"] == "here"
    assert ferjax.load(path, value_range=(0, 255)).value_range == (0, 255)


def test_a_value_range_that_is_none_is_an_error(source: Path, tmp_path: Path) -> None:
    path = shutil.copy(source, tmp_path / "model.h5")
    for wrong in ([1, 0], [0], [0, 1, 2], ["a", "b"], 255, [0, float("inf")]):
        metadata.write(path, {"labels": list("abcdefg"), "value_range": wrong})
        with pytest.raises(WeightFileError, match=r"expected \[black, white\] for value_range"):
            ferjax.load(path)


# --- other networks ------------------------------------------------------------------------------


def test_a_network_sees_gray_in_0_to_1() -> None:
    image = np.array([[0, 51], [102, 255]], np.uint8)
    found = seeing(shape=(2, 2, 1)).predict_proba(image)
    np.testing.assert_allclose(found, [[0, 0.2, 0.4, 1]], rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("rescaling", "expected"),
    [
        (Rescaling(scale=1 / 255), [0, 0.2, 0.4, 1]),
        (Rescaling(scale=1 / 127.5, offset=-1), [0, 0, 0, 1]),  # below 0 the ReLU cuts
        (Rescaling(scale=-1 / 255, offset=1), [1, 0.8, 0.6, 0]),
    ],
)
def test_a_built_in_rescaling_gets_0_to_255(rescaling: Layer, expected: list[float]) -> None:
    model = seeing(rescaling, shape=(2, 2, 1))
    assert model.value_range == (0, 255)
    image = np.array([[0, 51], [102, 255]], np.uint8)
    for form in (image, image / 255):
        np.testing.assert_allclose(model.predict_proba(form), [expected], rtol=0, atol=1e-6)


def test_a_rescaling_of_0_to_1_gets_0_to_1() -> None:
    model = seeing(Rescaling(scale=2, offset=-1), shape=(1, 2, 1))
    assert model.value_range == (0, 1)
    found = model.predict_proba(np.array([[255, 204]], np.uint8))
    np.testing.assert_allclose(found, [[1, 0.6]], rtol=0, atol=1e-6)


def test_a_normalization_of_gray_levels_gets_0_to_255() -> None:
    """Made with and without its statistics told to the graph, as files are read."""
    network = chain(Normalization(), Flatten(), shape=(1, 2, 1))
    stats = {"mean": np.float32([100]), "var": np.float32([2500]), "count": np.int32(0)}
    variables = {"params": {}, "batch_stats": {"normalization": stats}}
    model = EmotionClassifier(network, variables, labels=["dark", "light"])
    assert model.value_range == (0, 255)
    batch = model.preprocess(np.array([[0, 200]], np.uint8))
    np.testing.assert_allclose(network.apply(variables, batch), [[-2, 2]], rtol=0, atol=1e-6)
    stats["mean"] = np.float32([-100])
    with pytest.raises(LayerError, match=r"give value_range=\(black, white\)"):
        EmotionClassifier(network, variables, labels=["dark", "light"])
    given = EmotionClassifier(network, variables, labels=["dark", "light"], value_range=(-128, 127))
    assert given.value_range == (-128, 127)


def test_a_given_value_range_replaces_that_of_the_layers() -> None:
    image = np.array([[0, 255]], np.uint8)
    model = seeing(Rescaling(scale=1 / 255), shape=(1, 2, 1), value_range=(0, 510))
    np.testing.assert_allclose(model.predict_proba(image), [[0, 2]], rtol=0, atol=1e-6)
    # The ReLU would hide -1, so that white is looked at, and a middle gray just above 0.
    model = seeing(shape=(1, 2, 1), value_range=(-1, 1))
    found = model.predict_proba(np.array([[128, 255]], np.uint8))
    np.testing.assert_allclose(found, [[1 / 255, 1]], rtol=0, atol=1e-6)


def test_a_colour_network_sees_red_green_blue(tmp_path: Path) -> None:
    model = seeing(shape=(1, 1, 3))
    orange = np.array([[[255, 102, 51]]], np.uint8)
    Image.fromarray(orange).save(tmp_path / "orange.png")
    expected = [[1, 0.4, 0.2]]
    forms = (orange, orange / 255, orange[None], tmp_path / "orange.png", Image.fromarray(orange))
    for form in forms:
        np.testing.assert_allclose(model.predict_proba(form), expected, rtol=0, atol=1e-6)
    found = model.predict_proba(orange[..., ::-1], channel_order="bgr")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert model.predict(orange[..., ::-1], channel_order="bgr")[0].index == 0
    gray = model.predict_proba(np.array([[51]], np.uint8))
    np.testing.assert_allclose(gray, [[0.2, 0.2, 0.2]], rtol=0, atol=1e-6)


def test_a_channels_first_network_sees_the_same_picture() -> None:
    # 2x3 pixels of 3 colours: no two axes can be confused without a wrong order.
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 3), dtype=np.uint8)
    first = "channels_first"
    pooling = MaxPooling2D(pool_size=(1, 1), data_format=first)
    layers = [pooling, Flatten(data_format=first), Dense(units=18, activation="relu")]
    model = made(*layers, shape=(3, 2, 3), dense=np.eye(18))
    assert model.image_size == (2, 3)
    # Keras's Flatten puts the channels last again.
    found = model.predict_proba(image)
    np.testing.assert_allclose(found, image.reshape(1, 18) / 255, rtol=0, atol=1e-6)


def test_a_network_of_another_input_size_gets_its_own() -> None:
    model = seeing(MaxPooling2D(pool_size=(1, 1)), shape=(3, 5, 1))
    assert model.image_size == (3, 5)
    image = np.random.default_rng(0).integers(0, 256, (3, 5), dtype=np.uint8)
    np.testing.assert_allclose(model.predict_proba(image)[0], image.ravel() / 255, atol=1e-6)
    assert model.preprocess(ASTRONAUT).shape == (1, 3, 5, 1)


def test_an_open_input_size_gets_48x48() -> None:
    layers = [GlobalAveragePooling2D(), Dense(units=2, activation="relu")]
    model = made(*layers, shape=(None, None, 1), dense=[[1, 2]])
    assert model.image_size == (48, 48)
    found = model.predict_proba(np.full((7, 9), 51, np.uint8))
    np.testing.assert_allclose(found, [[0.2, 0.4]], rtol=0, atol=5e-6)  # ONNX Runtime's mean


# White gives the logits log 1, log 2, log 5, so that the probabilities are 1/8, 2/8, 5/8.
LOGITS = np.log([[1.0, 2.0, 5.0]])
EIGHTHS = [[0.125, 0.25, 0.625]]
WHITE = np.array([[255]], np.uint8)


@pytest.mark.parametrize(
    "ending",
    [
        [Dense(units=3, activation="softmax")],
        [Dense(units=3)],
        [Dense(units=3), Activation(activation="softmax")],
        [Dense(units=3), Softmax()],
        [Dense(units=3, activation="log_softmax")],
        [Dense(units=3), Activation(activation="log_softmax")],
        [Dense(units=3, activation="softmax"), Dropout(rate=0.5)],
        [Dense(units=3, activation="softmax"), Reshape(target_shape=(1, 1, 3)), Flatten()],
        [Dense(units=3), Reshape(target_shape=(1, 1, 3)), Flatten()],
        [Dense(units=3), Reshape(target_shape=(1, 1, 3)), Softmax(), GlobalAveragePooling2D()],
    ],
    ids=lambda layers: "-".join(
        f"{layer.kind}({getattr(layer, 'activation', '')})" for layer in layers
    ),
)
def test_softmax_logits_and_log_probabilities_all_give_probabilities(ending: list[Layer]) -> None:
    model = made(Flatten(), *ending, shape=(1, 1, 1), dense=LOGITS, labels=ABC)
    found = model.predict_proba(WHITE)
    np.testing.assert_allclose(found, EIGHTHS, rtol=0, atol=1e-6)
    assert model.predict(WHITE)[0].label == "c"


def test_sigmoids_at_the_end_stay_as_they_are() -> None:
    # sigmoid(log x) = x / (1 + x): 1/2, 2/3, 5/6. They are independent, and do not sum to 1.
    ending = Dense(units=3, activation="sigmoid")
    model = made(Flatten(), ending, shape=(1, 1, 1), dense=LOGITS, labels=ABC)
    found = model.predict_proba(WHITE)
    np.testing.assert_allclose(found, [[1 / 2, 2 / 3, 5 / 6]], rtol=0, atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_sigmoids_at_the_end_cannot_be_calibrated(temperature: float) -> None:
    ending = Dense(units=3, activation="sigmoid")
    shape = (1, 1, 1)
    model = made(Flatten(), ending, shape=shape, dense=LOGITS, labels=ABC, temperature=temperature)
    with pytest.raises(FerjaxError, match="expected outputs that sum to 1, as softmax's do"):
        model.predict_proba(WHITE, calibrated=True)


# --- other precisions ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
@pytest.mark.parametrize("x64", [False, True])
def test_weights_of_any_precision_predict_in_float32(dtype: str, x64: bool) -> None:
    ending = Dense(units=3, activation="softmax")
    model = made(Flatten(), ending, shape=(1, 1, 1), dense=[[1, 2, 3]], labels=ABC)
    expected = model.predict_proba(WHITE)
    given = jax.tree.map(lambda a: np.asarray(a).astype(dtype), model.variables)
    with jax.enable_x64(x64):
        for other in (given, jax.tree.map(jnp.asarray, given)):
            found = EmotionClassifier(model.network, other, ABC).predict_proba(WHITE)
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, expected)


def test_x64_changes_no_prediction() -> None:
    expected = ferjax.load(engine="jax").predict_proba(ASTRONAUT)
    with jax.enable_x64(True):
        loaded = ferjax.load()
        assert loaded.engine == "jax"
        np.testing.assert_array_equal(loaded.predict_proba(ASTRONAUT), expected)
        assert {x.dtype.name for x in jax.tree.leaves(loaded.variables)} == {"float32"}
        batch = loaded.preprocess(ASTRONAUT)
        np.testing.assert_array_equal(loaded.predict_batch(batch.astype(np.float64)), expected)


# --- one unit for two classes -------------------------------------------------------------------


def unit(bias: float, **options: Any) -> EmotionClassifier:
    """Return a classifier of one sigmoid unit that sees nothing but its bias."""
    variables = dense_weights([[0.0]], bias)
    return EmotionClassifier(one_dense(1, "sigmoid"), variables, ["calm", "tense"], **options)


@pytest.mark.parametrize("engine", classifier.ENGINES)
@pytest.mark.parametrize(
    ("bias", "index"), [(-np.log(3), 0), (np.log(3), 1), (0.0, 1)], ids=["1/4", "3/4", "1/2"]
)
def test_one_unit_is_the_probability_of_the_second(engine: str, bias: float, index: int) -> None:
    if engine == "onnx":
        pytest.importorskip("onnxruntime")
    model = unit(bias, engine=engine, temperature=2.0)
    p = 1 / (1 + np.exp(-bias))
    np.testing.assert_allclose(model.predict_proba(WHITE), [[1 - p, p]], rtol=0, atol=1e-6)
    (found,) = model.predict(WHITE)
    assert (found.label, found.index) == (("calm", "tense")[index], index)
    assert found.confidence == pytest.approx(max(p, 1 - p))
    assert list(found.probabilities) == ["calm", "tense"]
    # The logit is divided by the temperature.
    (cool,) = model.predict(WHITE, calibrated=True)
    assert cool.probabilities["tense"] == pytest.approx(1 / (1 + np.exp(-bias / 2)), abs=1e-6)
    assert cool.index == index
    (unsure,) = model.predict(WHITE, abstain_below=0.8)
    assert (unsure.label, unsure.index) == (None, None)


def test_one_unit_is_pickled_and_takes_no_images() -> None:
    model = pickle.loads(pickle.dumps(unit(-5.0)))
    assert model.predict(WHITE)[0].label == "calm"
    assert model.predict_batch(np.zeros((0, 1, 1, 1), np.float32)).shape == (0, 2)


@pytest.mark.parametrize("labels", [["happy"], ["a", "b", "c"], ["a", "a"]])
def test_one_unit_needs_two_labels(labels: list[str]) -> None:
    model = unit(0.0)
    with pytest.raises(LabelsError, match=f"expected 2 different labels .*, got {len(labels)}"):
        EmotionClassifier(model.network, model.variables, labels)
    with pytest.warns(UserWarning, match="classes are called 0 to 1"):
        assert EmotionClassifier(model.network, model.variables).labels == ("0", "1")


def test_batch_statistics_are_used_and_not_those_of_the_batch() -> None:
    layers = [BatchNormalization(epsilon=0.01), Flatten(), Activation(activation="relu")]
    network = chain(*layers, shape=(1, 2, 1))
    variables = {
        "params": {"batch_normalization": {"scale": np.float32([2]), "bias": np.float32([0.5])}},
        "batch_stats": {
            "batch_normalization": {"mean": np.float32([0.2]), "var": np.float32([0.15])}
        },
    }
    model = EmotionClassifier(network, variables, ["left", "right"])
    # 2 * (1 - 0.2) / sqrt(0.15 + 0.01) + 0.5 = 4.5
    np.testing.assert_allclose(model.predict_proba(WHITE), [[4.5, 4.5]], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        ([Conv2D(filters=7, kernel_size=1)], (8, 8, 1), r"an output of \(K,\), .* \(8, 8, 7\)"),
        ([Flatten(), Dense(units=1)], (8, 8, 1), "one linear unit, which may be the logit of two"),
        ([Flatten(), Dense(units=1, activation="softmax")], (8, 8, 1), "only ever say one thing"),
        ([Flatten(), Dense(units=7)], (8, 8, 2), "1 or 3 channels, the network takes 2"),
        ([Dense(units=7)], (8,), r"a network over images, \(H, W, C\), got inputs of \(8,\)"),
    ],
)
def test_a_network_that_does_not_classify_images_is_an_error(
    layers: list[Layer], shape: tuple[int, ...], message: str
) -> None:
    network = chain(*layers, shape=shape)
    with pytest.raises(LayerError, match=message):
        EmotionClassifier(network, drawn(network), list("abcdefg"))


# --- loading -------------------------------------------------------------------------------------


def test_a_missing_file_is_an_error_that_names_it() -> None:
    with pytest.raises(WeightFileError, match=r"nowhere\.h5: no such file"):
        ferjax.load("nowhere.h5")


def test_a_weights_only_file_is_loaded_with_a_config_or_a_name(
    fixtures: Path, tmp_path: Path, five: EmotionClassifier
) -> None:
    folder = fixtures / "keras-2.15.0"
    whole = ferjax.load(folder / "sequential.h5", labels=list("abcdefg"))
    alone = ferjax.load(
        folder / "sequential_weights.h5",
        config=folder / "sequential.json",
        labels=list("abcdefg"),
    )
    images = faces(3)
    np.testing.assert_array_equal(alone.predict_proba(images), whole.predict_proba(images))

    path = tmp_path / "five.weights.h5"
    ferjax.keras.save(path, five.network, five.variables, labels=EMOTIONS)
    named = ferjax.load(path, architecture="fer_cnn5")
    np.testing.assert_array_equal(named.predict_proba(images), five.predict_proba(images))
    with pytest.raises(WeightFileError, match="not both"):
        ferjax.load(path, architecture="fer_cnn5", config=folder / "sequential.json")


def test_loading_gives_what_keras_predicted(fixtures: Path) -> None:
    folder = fixtures / "keras-2.15.0"
    expected = np.load(folder / "expected.npz")
    loaded = ferjax.load(folder / "sequential.h5", labels=list("abcdefg"))
    found = loaded.predict_batch(expected["sequential_inputs"])
    np.testing.assert_allclose(found, expected["sequential_outputs"], rtol=0, atol=1e-6)


# --- engines -------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["softmax", "linear", "log_softmax", "sigmoid"])
@pytest.mark.parametrize("count", [1, 3, 300])
def test_onnx_runtime_predicts_the_same(end: str, count: int) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'ferjax[onnx]'")
    layers = (Conv2D(filters=4, kernel_size=3), MaxPooling2D(), Flatten())
    last = Dense(units=3, activation=end)
    images = np.random.default_rng(0).random((count, 12, 12)).astype(np.float32)
    found = [
        made(*layers, last, shape=(12, 12, 1), engine=engine).predict_proba(images)
        for engine in ("jax", "onnx")
    ]
    assert found[0].shape == found[1].shape == (count, 3)
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_the_released_weights_in_onnx_runtime() -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'ferjax[onnx]'")
    other = ferjax.load(engine="onnx").predict(ASTRONAUT)[0]
    ours = ferjax.load().predict(ASTRONAUT)[0]
    assert other.label == ours.label == "happy"
    assert other.confidence == pytest.approx(ours.confidence, abs=2e-6)


def test_an_unknown_engine() -> None:
    with pytest.raises(
        FerjaxError, match="expected an engine among auto, jax, onnx, got 'tensorrt'"
    ):
        ferjax.load(engine="tensorrt")


@pytest.mark.parametrize("engine", ["jax", "onnx"])
@pytest.mark.parametrize("count", [1, 3, 4])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "float64", "float16", "bfloat16"])
def test_preprocessed_images_of_other_floats(engine: str, count: int, dtype: str) -> None:
    if engine == "onnx":
        pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'ferjax[onnx]'")
    layers = (Conv2D(filters=2, kernel_size=2), Flatten(), Dense(units=3, activation="softmax"))
    model = made(*layers, shape=(3, 3, 1), engine=engine)
    batch = np.random.default_rng(0).integers(0, 9, (count, 3, 3, 1)).astype(np.float32) / 8
    expected = model.predict_batch(batch)
    np.testing.assert_array_equal(model.predict_batch(batch.astype(dtype)), expected)
    np.testing.assert_array_equal(model.predict_batch(jnp.asarray(batch)), expected)


@pytest.mark.parametrize("count", [1, 3])
def test_images_before_preprocessing_are_no_batch(count: int) -> None:
    model = made(Flatten(), Dense(units=3), shape=(3, 3, 1))
    with pytest.raises(ImageError, match="expected preprocessed images, float32, got uint8"):
        model.predict_batch(np.ones((count, 3, 3, 1), np.uint8))


# --- copies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["jax", "onnx"])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_predicts_the_same(engine: str, copied: Any) -> None:
    if engine == "onnx":
        pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'ferjax[onnx]'")
    model = made(Flatten(), Dense(units=3, activation="softmax"), shape=(3, 3, 1), engine=engine)
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 3), dtype=np.uint8)
    other = copied(model)
    assert other.labels == model.labels
    np.testing.assert_array_equal(other.predict_proba(images), model.predict_proba(images))


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.inf, np.nan])
def test_a_temperature_is_positive(temperature: float) -> None:
    with pytest.raises(FerjaxError, match="expected a positive temperature, got"):
        made(Flatten(), shape=(1, 3, 1), labels=ABC, temperature=temperature)


@pytest.mark.parametrize("threshold", [-0.1, 70, np.nan])
def test_a_threshold_is_a_probability(threshold: float) -> None:
    model = made(Flatten(), Softmax(), shape=(1, 3, 1), labels=ABC)
    with pytest.raises(FerjaxError, match=r"`abstain_below` in \[0, 1\], got"):
        model.predict(np.zeros((1, 3), np.uint8), abstain_below=threshold)


def test_paths_from_a_numpy_array() -> None:
    model = made(Flatten(), Softmax(), shape=(1, 3, 1), labels=ABC)
    paths = list(np.array([str(ASTRONAUT)]))
    expected = model.predict_proba([str(ASTRONAUT)])
    np.testing.assert_array_equal(model.predict_proba(paths), expected)
    np.testing.assert_array_equal(model.predict_proba(paths[0]), expected)


@pytest.mark.parametrize("value_range", [(255, 0), "ab", (0, np.nan)])
def test_a_value_range_is_low_and_high(value_range: Any) -> None:
    with pytest.raises(ValueError, match=r"expected \(low, high\) for `value_range`, got"):
        made(Flatten(), shape=(1, 3, 1), labels=ABC, value_range=value_range)


@pytest.mark.parametrize("dtype", [object, str])
def test_an_array_of_paths_is_told_to_be_a_list(dtype: type) -> None:
    model = made(Flatten(), Softmax(), shape=(1, 3, 1), labels=ABC)
    with pytest.raises(ImageError, match=r"expected numbers, got dtype .*`\.tolist\(\)`"):
        model.predict_proba(np.array([str(ASTRONAUT)], dtype))


# --- large images --------------------------------------------------------------------------------


def test_large_images_are_averaged_where_that_is_asked_for(default: EmotionClassifier) -> None:
    image = cv2.imread(str(ASTRONAUT), cv2.IMREAD_GRAYSCALE)
    small = cv2.resize(image, (48, 48), interpolation=cv2.INTER_AREA)
    expected = default.predict_proba(small)
    for source in (ASTRONAUT, [ASTRONAUT], image):
        np.testing.assert_array_equal(default.predict_proba(source, resize="area"), expected)
        (prediction,) = default.predict(source, resize="area")
        assert list(prediction.probabilities.values()) == expected[0].tolist()
        batch = default.preprocess(source, resize="area")
        np.testing.assert_array_equal(batch, default.preprocess(small))
    assert np.abs(default.predict_proba(image, resize="linear") - expected).max() > 0.0005
    with pytest.raises(ValueError, match="expected 'linear' or 'area' for `resize`, got 'cubic'"):
        default.predict(image, resize="cubic")  # type: ignore[arg-type]


def test_skipped_pixels_are_warned_about_once_a_place(default: EmotionClassifier) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")  # as in a program
        for _ in range(3):
            default.predict(ASTRONAUT)
        default.predict_proba([ASTRONAUT, ASTRONAUT])
        default.preprocess(ASTRONAUT)
    assert [warning.category for warning in caught] == [SkippedPixelsWarning] * 3
    assert {warning.filename for warning in caught} == {__file__}
    assert len({warning.lineno for warning in caught}) == 3


def test_nothing_is_warned_about_where_linear_is_meant(default: EmotionClassifier) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        default.predict(ASTRONAUT, resize="linear")
        default.predict(faces(3))
        default.predict(np.zeros((96, 96), np.uint8))
        ferjax.predict_emotion(ASTRONAUT)
        default.analyze(ASTRONAUT)
