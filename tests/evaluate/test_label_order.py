"""The order of outputs, told by predictions on labelled faces."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import ferjax
from ferjax import EmotionClassifier, keras
from ferjax.emotions import FER2013_CSV_ORDER, FERPLUS_ORDER
from ferjax.errors import DataError
from ferjax.evaluate import label_order
from ferjax.evaluate.label_order import LabelOrder, measure_order

from ..networks import drawn, tiny
from ..train.conftest import make_faces
from .conftest import taught


def said(
    labels: np.ndarray, outputs: list[int], columns: int, *, right: float = 0.8, seed: int = 0
) -> np.ndarray:
    """Return probabilities that mean class c by output `outputs[c]`, `right` of the time."""
    rng = np.random.default_rng(seed)
    meant = np.array(outputs)[labels]
    wrong = rng.random(len(labels)) > right
    meant[wrong] = rng.integers(0, columns, wrong.sum())
    found = rng.uniform(0.01, 0.1, (len(labels), columns))
    found[np.arange(len(labels)), meant] += 1
    return np.asarray(found / found.sum(1, keepdims=True), np.float32)


def measured(
    classes: tuple[str, ...],
    outputs: list[int],
    columns: int,
    *,
    each: int = 30,
    right: float = 0.8,
) -> LabelOrder:
    labels = np.repeat(np.arange(len(classes)), each)
    return measure_order(labels, said(labels, outputs, columns, right=right), classes)


def test_by_hand() -> None:
    probabilities = np.array([[0.1, 0.9], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]] * 10)
    found = measure_order(np.array([0, 0, 1, 1] * 10), probabilities, ("calm", "tense"))
    assert found.best.labels == ("tense", "calm")
    assert found.best.accuracy == 0.75
    assert found.runner_up is not None
    assert found.runner_up.labels == ("calm", "tense")
    assert found.runner_up.accuracy == 0.25
    assert (found.clear, found.reasons, found.orders) == (True, (), ())
    assert found.argument == "tense,calm"
    assert found.images == 40


def test_an_order_is_called_by_its_name() -> None:
    places = [FER2013_CSV_ORDER.index(name) for name in ferjax.EMOTIONS]
    found = measured(ferjax.EMOTIONS, places, 7)
    assert (found.best.labels, found.best.order) == (FER2013_CSV_ORDER, "fer2013")
    assert found.argument == "fer2013"
    assert found.clear
    assert [candidate.order for candidate in found.orders] == ["fer2013", "sorted", "rafdb"]
    assert found.orders[0].accuracy == found.best.accuracy > found.orders[1].accuracy
    assert json.loads(json.dumps(found.to_json()))["argument"] == "fer2013"


def test_an_output_that_is_always_high_gains_nothing_by_it() -> None:
    labels = np.repeat(np.arange(3), [100, 20, 20])
    probabilities = said(labels, [2, 0, 1], 3)
    probabilities[:, 1] *= 30  # even where another class is meant
    found = measure_order(labels, probabilities / probabilities.sum(1, keepdims=True), "abc")
    assert found.best.labels == ("b", "c", "a")


def test_guesses_are_not_clear() -> None:
    found = measured(ferjax.EMOTIONS, list(range(7)), 7, right=0)
    assert not found.clear
    assert "another assignment fits these images about as well" in found.reasons


def test_outputs_that_never_change_are_not_clear() -> None:
    labels = np.repeat(np.arange(3), 20)
    found = measure_order(labels, np.full((60, 3), 1 / 3), "abc")
    assert not found.clear


def test_few_images_are_not_clear() -> None:
    found = measured(("calm", "tense"), [1, 0], 2, each=9, right=1)
    assert found.best.labels == ("tense", "calm")
    assert found.reasons == ("there are fewer than 10 images of calm, tense",)


def test_an_output_without_a_class() -> None:
    found = measured(("calm", "tense"), [2, 0], 3)
    assert found.best.labels == ("tense", "1", "calm")
    assert found.argument == "tense,1,calm"
    assert "the data has no class for output 1" in found.reasons


def test_contempt_follows_from_the_order_that_agrees() -> None:
    places = [FERPLUS_ORDER.index(name) for name in ferjax.EMOTIONS]
    found = measured(ferjax.EMOTIONS, places, 8)
    assert (found.best.labels, found.best.order) == (FERPLUS_ORDER, "ferplus")
    assert found.reasons == ("the data has no class for output 7",)


def test_more_classes_than_outputs() -> None:
    found = measured(("calm", "tense", "tired"), [0, 1, 1], 2)
    assert not found.clear
    assert "the data has 3 classes, the network 2 outputs" in found.reasons


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights without class names whose outputs are in fer2013's order."""
    path = tmp_path_factory.mktemp("order") / "tiny.h5"
    model = keras.load(taught(path))
    dense = model.variables["params"]["dense"]
    order = [ferjax.EMOTIONS.index(name) for name in FER2013_CSV_ORDER]
    dense["kernel"], dense["bias"] = dense["kernel"][:, order], dense["bias"][order]
    keras.save(path, model.graph, model.variables)
    return path


def test_a_file_on_a_prepared_folder(
    weights: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    calls: list[tuple[int, int, str]] = []
    faces = make_faces()
    np.savez(
        tmp_path / "faces.npz",
        images=faces.images,
        labels=faces.labels,
        splits=np.ones_like(faces.splits),
        names=np.array(faces.names),
        class_names=np.array(faces.class_names),
        source_sizes=faces.source_sizes,
        notes=np.array([], np.str_),
    )
    (tmp_path / "manifest.json").write_text("{}")
    found = label_order(weights, tmp_path, progress=lambda *call: calls.append(call))
    assert (found.best.order, found.clear) == ("fer2013", True)
    assert (found.images, found.data) == (320, f"validation of {tmp_path.name}")
    assert calls[-1] == (320, 320, "predictions")
    # That there are no names is what is asked.
    assert not any("label names" in str(warning.message) for warning in recwarn.list)


def test_names_of_the_weights_are_compared(weights: Path) -> None:
    faces = make_faces()
    assert label_order(weights, faces).agrees is None
    for order, agrees in (("fer2013", True), ("sorted", False)):
        found = label_order(ferjax.load(weights, labels=order), faces.take(faces.in_split("train")))
        assert (found.best.order, found.agrees) == ("fer2013", agrees)


def test_faces_of_training_where_there_are_no_others(weights: Path) -> None:
    faces = make_faces()
    found = label_order(weights, faces.take(faces.in_split("train")))
    assert found.data == "train"
    assert found.best.order == "fer2013"


def test_another_range_of_values_is_thought_of() -> None:
    network = tiny()
    knows_nothing = EmotionClassifier(network, drawn(network), "sorted")
    found = label_order(knows_nothing, make_faces())
    why = "the network may expect other values than [0, 1] (--value-range)"
    assert found.reasons[-1] == why and not found.clear


def test_faces_of_one_class(weights: Path) -> None:
    faces = make_faces()
    with pytest.raises(
        DataError, match="expected images of two classes or more to tell outputs by"
    ):
        label_order(weights, faces.take(faces.labels == 3))


def test_no_faces(weights: Path) -> None:
    faces = make_faces()
    with pytest.raises(DataError, match="expected images, the data has none"):
        label_order(weights, faces.take(faces.labels == 9))
