"""Which engine computes, and that it computes what the classifier holds now, in this process."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from ferjax import EmotionClassifier, hardware
from ferjax.errors import BackendError, FerjaxError
from ferjax.nets import Graph, Network
from ferjax.nets.compiled import Compiled
from ferjax.nets.head import Head
from ferjax.nets.layers import Dense, Flatten, GlobalAveragePooling2D, Layer
from ferjax.onnx import Engine
from ferjax.prediction_engines import JaxEngine, Predictor

from .networks import as_trained, chain

pytest.importorskip("onnxruntime")

IMAGES = np.random.default_rng(0).random((5, 2, 2, 1)).astype(np.float32)


def graph(*layers: Layer) -> Graph:
    ending = Dense(units=3, activation="softmax")
    return chain(*layers, Flatten(), ending, shape=(2, 2, 1)).graph


def classifier(network: Any = None, engine: str = "auto", **options: Any) -> EmotionClassifier:
    network = graph() if network is None else network
    variables = as_trained(network if isinstance(network, Graph) else network.graph)
    return EmotionClassifier(network, variables, ["a", "b", "c"], engine=engine, **options)


@pytest.fixture
def no_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a process that has not imported jax, on a machine without accelerators."""
    monkeypatch.delitem(sys.modules, "jax")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.delenv("JAX_ENABLE_X64", raising=False)
    monkeypatch.setattr(hardware.importlib.util, "find_spec", lambda name: None)


# --- which ---------------------------------------------------------------------------------------


def test_onnx_runtime_computes_on_cpus_and_is_said_to() -> None:
    made = classifier()
    assert repr(made) == "<EmotionClassifier 'sequential' of a, b, c; engine auto>"
    made.predict_batch(IMAGES)
    assert repr(made) == "<EmotionClassifier 'sequential' of a, b, c; engine onnx>"
    assert made.engine == made.prepare() == "onnx"
    assert classifier(engine="jax").engine == "jax"


def test_jax_computes_on_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "has_accelerator", lambda: True)
    assert classifier().engine == "jax"
    assert classifier(engine="onnx").engine == "onnx"


def test_jax_computes_where_float64_is_asked_for() -> None:
    with jax.enable_x64(True):
        assert classifier().engine == "jax"
        assert classifier(engine="onnx").engine == "onnx"


def test_jax_computes_layers_and_modules_of_ones_own() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Doubled(Layer):
        def forward(self, run: Any, weights: Any, *inputs: Any) -> Any:
            return 2 * inputs[0]

    class Halved(Network):
        def __call__(self, images: Any, **options: Any) -> Any:
            return super().__call__(images / 2, **options)

    rows = [
        classifier(network).predict_batch(IMAGES * scale)
        for network, scale in ((graph(), 1), (graph(Doubled()), 0.5), (Halved(graph()), 2))
    ]
    np.testing.assert_allclose(rows, [rows[0]] * 3, rtol=0, atol=1e-6)
    assert classifier(graph(Doubled())).engine == classifier(Halved(graph())).engine == "jax"
    assert classifier(Network(graph())).engine == "onnx"
    with pytest.raises(FerjaxError, match="there is no ONNX for layers of kind 'Doubled'"):
        classifier(graph(Doubled()), engine="onnx")


def test_jax_computes_without_onnx_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert classifier().engine == "jax"
    with pytest.raises(FerjaxError, match="running ONNX needs onnxruntime: pip install onnx"):
        classifier(engine="onnx")


def test_jax_computes_what_onnx_runtime_fails_at(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = classifier(engine="jax").predict_batch(IMAGES)
    made, asked = classifier(), classifier(engine="onnx")
    assert made.engine == "onnx"

    def fail(self: Engine, images: Any) -> Any:
        raise RuntimeError("Non-zero status code returned")

    monkeypatch.setattr(Engine, "__call__", fail)
    np.testing.assert_array_equal(made.predict_batch(IMAGES), expected)
    assert made.engine == "jax"
    with pytest.raises(RuntimeError, match="Non-zero status code"):
        asked.predict_batch(IMAGES)


@pytest.mark.parametrize(
    ("images", "is_few"), [(None, False), (0, True), (256, True), (257, False)]
)
@pytest.mark.parametrize("before", [True, False])
def test_how_many_images_are_expected_decides_what_jax_compiles(
    images: int | None, is_few: bool, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def computed(self: Compiled, variables: Any, batch: Any) -> Any:
        seen.append(self.is_few)
        return np.full((len(batch), 3), 1 / 3, np.float32)

    monkeypatch.setattr(Compiled, "__call__", computed)
    made = classifier(engine="jax")
    assert made.expected_images is None
    if not before:
        made.predict_batch(IMAGES)
    made.expected_images = images
    assert made.expected_images == pickle.loads(pickle.dumps(made)).expected_images == images
    made.predict_batch(IMAGES)
    assert seen[-1] == is_few


def test_onnx_runtime_computes_few_images_as_many() -> None:
    few, many = classifier(engine="onnx"), classifier(engine="onnx")
    few.expected_images = 1
    np.testing.assert_array_equal(few.predict_batch(IMAGES), many.predict_batch(IMAGES))


@pytest.mark.parametrize("images", [-1, "3", 2.5, [1]])
def test_what_is_no_number_of_images_is_refused(images: Any) -> None:
    with pytest.raises(FerjaxError, match="expected a number of images of at least 0, or None"):
        classifier().expected_images = images


@pytest.mark.parametrize(
    ("platforms", "plugins", "expected"),
    [
        (None, [], False),
        ("cpu", ["jax_plugins"], False),
        ("cpu,cuda", ["jax_plugins"], False),
        (None, ["jax_plugins"], True),
        (None, ["libtpu"], True),
        ("cuda", [], True),
        ("", ["libtpu"], True),
    ],
)
def test_an_accelerator_is_looked_for_without_jax(
    platforms: str | None,
    plugins: list[str],
    expected: bool,
    no_jax: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if platforms is not None:
        monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.setattr(hardware.importlib.util, "find_spec", lambda name: name in plugins or None)
    asked: list[None] = []
    monkeypatch.setattr(hardware, "check_backend", lambda: asked.append(None))
    assert hardware.has_accelerator() is False  # there is none here
    assert bool(asked) is expected


def test_what_jax_is_set_to_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    settings = SimpleNamespace(jax_platforms="cpu", jax_enable_x64=False)
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(config=settings))  # type: ignore[arg-type]
    assert not hardware.has_accelerator()
    assert not hardware.has_float64()


@pytest.mark.parametrize("value", ["1", "true", "True", "yes"])
def test_float64_is_asked_for_in_the_environment(
    value: str, no_jax: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not hardware.has_float64()
    monkeypatch.setenv("JAX_ENABLE_X64", value)
    assert hardware.has_float64()


def test_a_platform_that_is_asked_for_and_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise BackendError("JAX cannot use the platform that JAX_PLATFORMS names, 'cuda'")

    monkeypatch.setattr(jax, "config", SimpleNamespace(jax_platforms="cuda", jax_enable_x64=False))
    monkeypatch.setattr(hardware, "check_backend", missing)
    with pytest.raises(BackendError, match="'cuda'"):
        classifier().predict_batch(IMAGES)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="needs the CPU backend")
def test_a_caller_with_one_thread_gets_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    names: set[str] = set()

    def compute(self: JaxEngine, batch: np.ndarray, threads: int | None) -> np.ndarray:
        names.add(threading.current_thread().name)
        return np.zeros((len(batch), 3), np.float32)

    monkeypatch.setattr(hardware, "cores", lambda: 4)
    monkeypatch.setattr(JaxEngine, "__call__", compute)
    images = np.concatenate([IMAGES] * 8)
    classifier(engine="jax").predict_batch(images, threads=1)
    assert names == {threading.current_thread().name}
    classifier(engine="jax").predict_batch(images)
    assert any(name.startswith("ferjax-predict") for name in names)


# --- what ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["auto", "jax"])
def test_replaced_variables_are_what_predicts(engine: str) -> None:
    made, other = classifier(engine=engine), as_trained(graph(), seed=7)
    before = made.predict_batch(IMAGES)
    made.variables = other
    after = made.predict_batch(IMAGES)
    assert np.abs(after - before).max() > 1e-3
    expected = EmotionClassifier(graph(), other, ["a", "b", "c"], engine=engine)
    np.testing.assert_array_equal(after, expected.predict_batch(IMAGES))
    layer = next(iter(made.variables["params"]))  # in its place in the tree too
    made.variables["params"][layer]["bias"] = np.array([0, 0, 9], np.float32)
    assert (made.predict_batch(IMAGES)[:, 2] > 0.99).all()


def test_arrays_cannot_be_written_to_once_they_are_in_use() -> None:
    made = classifier()
    variables = as_trained(graph())
    made.variables = variables
    made.predict_batch(IMAGES)
    layer = next(iter(made.variables["params"]))
    with pytest.raises(ValueError, match="read-only"):
        made.variables["params"][layer]["bias"][0] = 1
    variables["params"][layer]["bias"][0] += 1  # the caller's own stay as they were


def test_weights_that_are_not_finite_are_predicted_as_they_are() -> None:
    made = classifier()
    assert made.engine == "onnx"
    layer = next(iter(made.variables["params"]))
    made.variables["params"][layer]["bias"] = np.array([0, np.nan, 0], np.float32)
    assert np.isnan(made.predict_batch(IMAGES)).all()
    assert made.engine == "jax"


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
@pytest.mark.parametrize("used", [False, True])
def test_copies_choose_for_themselves(copied: Any, used: bool) -> None:
    made = classifier()
    expected = classifier().predict_batch(IMAGES)
    if used:
        made.predict_batch(IMAGES)
    other = copied(made)
    assert "engine auto" in repr(other)
    np.testing.assert_array_equal(other.predict_batch(IMAGES), expected)


def test_threads_that_predict_at_once_share_one_engine() -> None:
    predictor = Predictor(graph(), Head.of(graph()), as_trained(graph()), "auto")
    with ThreadPoolExecutor(8) as pool:
        engines = list(pool.map(lambda _: predictor.engine(1), range(32)))
    assert {id(engine) for engine in engines} == {id(engines[0])}


@pytest.fixture(scope="module")
def rows() -> Iterator[tuple[EmotionClassifier, np.ndarray, np.ndarray]]:
    import ferjax

    released = ferjax.load(Path(__file__).parents[1] / "checkpoints" / "fer_cnn5.h5")
    images = np.random.default_rng(0).random((35, 48, 48, 1)).astype(np.float32)
    yield released, images, released.predict_batch(images)


@pytest.mark.parametrize("threads", [None, 1, 2])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 33])
def test_a_face_has_the_same_numbers_in_every_batch(
    threads: int | None, count: int, rows: tuple[EmotionClassifier, np.ndarray, np.ndarray]
) -> None:
    released, images, expected = rows
    found = released.predict_batch(images[:count], threads=threads)
    np.testing.assert_array_equal(found, expected[:count])


def test_the_jax_engine_takes_what_it_is_given() -> None:
    network, variables = Network(graph()), as_trained(graph())
    engine = JaxEngine(network, Head.of(network.graph), variables)
    assert engine.name == "jax" and engine.is_current({}) and engine.variables == {}


def test_pooled_networks_of_open_size() -> None:
    open_graph = Graph.sequential(
        [GlobalAveragePooling2D(), Dense(units=3)], input_shape=(None, None, 1)
    )
    made = classifier(open_graph)
    assert made.predict_proba(np.zeros((7, 9), np.uint8)).shape == (1, 3)
    assert made.engine == "onnx"
