"""The temperature: found again where it is known, stored, and applied."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ferjax
from ferjax import keras, metadata
from ferjax.classifier import with_temperature
from ferjax.data.dataset import checksum
from ferjax.errors import DataError, FerjaxError, LabelsError, WeightFileError
from ferjax.evaluate import calibrate, calibration
from ferjax.evaluate.calibration import fit_temperature

from ..train.conftest import make_faces
from .conftest import taught


def softmax(logits: Any) -> Any:
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def honest(n: int = 20_000, k: int = 4) -> tuple[Any, Any]:
    """Logits, and labels drawn from their softmax: the best temperature is 1."""
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(n, k))
    labels = (softmax(logits).cumsum(1) > rng.uniform(size=(n, 1))).argmax(1)
    return labels, logits


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7, 4.0])
def test_a_known_temperature_is_found(temperature: float) -> None:
    labels, logits = honest()
    # Logits that are too large by a factor need a temperature of that factor.
    probabilities = softmax(logits * temperature).astype(np.float32)
    assert fit_temperature(labels, probabilities) == pytest.approx(temperature, rel=0.03)


def test_scikit_learns_temperature_is_the_same() -> None:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    class Logits(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        """Its input is its output."""

        def fit(self, x: Any, y: Any) -> Logits:
            self.classes_ = np.unique(y)
            return self

        def decision_function(self, x: Any) -> Any:
            return x

        def predict(self, x: Any) -> Any:
            return x.argmax(1)

    labels, logits = honest(n=2000)
    known = Logits().fit(logits, labels)
    other = CalibratedClassifierCV(FrozenEstimator(known), method="temperature")
    wanted = other.fit(2 * logits, labels).predict_proba(2 * logits)
    ours = softmax(2 * logits)
    found = with_temperature(ours, fit_temperature(labels, ours))
    np.testing.assert_allclose(found, wanted, atol=2e-4)


def test_probabilities_of_zero_are_no_obstacle() -> None:
    labels, logits = honest(n=500)
    hard = softmax(logits * 15).astype(np.float32)
    assert (hard == 0).any()
    assert 1 < fit_temperature(labels, hard) < 20
    scaled = with_temperature(hard, 3.0)
    assert np.isfinite(scaled).all()
    assert ((scaled == 0) == (hard == 0)).all()


def test_a_temperature_keeps_the_order_of_the_classes_and_the_sum() -> None:
    _, logits = honest(n=200)
    probabilities = softmax(logits).astype(np.float32)
    scaled = with_temperature(probabilities, 2.5)
    assert (scaled.argsort(1) == probabilities.argsort(1)).all()
    np.testing.assert_allclose(scaled.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(scaled, softmax(logits / 2.5), atol=1e-6)
    assert with_temperature(probabilities, 1.0) is probabilities


def test_labels_without_any_relation_have_no_best_temperature() -> None:
    _, logits = honest(n=2000)
    with pytest.raises(DataError, match=r"no temperature between 0.05 and 20 .* in another order"):
        fit_temperature(softmax(logits).argmin(1), softmax(logits))


def sure(images: int, wrong: int) -> tuple[Any, Any]:
    """Labels and probabilities: 0.8 for the first of two classes, which some images are not."""
    return (np.arange(images) < wrong).astype(int), np.tile([0.8, 0.2], (images, 1))


def test_a_network_that_is_never_wrong_has_no_best_temperature() -> None:
    with pytest.raises(
        DataError, match=r"these 15 images; the network is right about them, .*more"
    ):
        fit_temperature(*sure(15, wrong=0))


def test_too_few_images_are_told_as_such() -> None:
    """Of 15 images one is wrong: without its fifth, none is."""
    labels, probabilities = sure(15, wrong=1)
    assert 0.05 < fit_temperature(labels, probabilities) < 20
    with pytest.raises(
        DataError, match=r"too few images to calibrate on, 15: .* expected more"
    ) as raised:
        calibration._cross_fitted(
            np.eye(2)[labels], probabilities.astype(np.float32), calibration._fit_temperature_alone
        )
    assert "order" not in str(raised.value)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = taught(tmp_path / "tiny.h5")
    metadata.write(path, {"licence": "CC0-1.0", "labels": list(ferjax.EMOTIONS)})
    return path


def test_calibrate_stores_what_load_finds(weights: Path) -> None:
    faces = make_faces(copies=8)
    before = ferjax.load(weights)
    assert before.temperature is None
    found = calibrate(weights, faces)
    assert found.path == metadata.sidecar(weights)
    assert (found.images, found.copies_left_out, found.previous) == (56, 8, None)
    assert found.temperature > 1
    assert found.after.negative_log_likelihood < found.before.negative_log_likelihood
    after = ferjax.load(weights)
    assert after.temperature == pytest.approx(found.temperature, abs=1e-6)
    assert after.metadata["licence"] == "CC0-1.0"
    part = faces.take(faces.in_split("validation"))
    record = after.metadata["calibration"]["fitted_on"]
    assert record["data"] == "validation"
    assert record["checksum"] == checksum(part.take(np.arange(64) >= 8))

    images = part.images
    plain = after.predict_proba(images)
    assert (plain == before.predict_proba(images)).all()
    calibrated = after.predict_proba(images, calibrated=True)
    np.testing.assert_allclose(calibrated, with_temperature(plain, after.temperature or 0))
    assert calibrate(weights, faces).previous == pytest.approx(found.temperature, abs=1e-6)


def test_the_temperature_travels_with_conversions_and_gives_way_to_a_new_one(
    tmp_path: Path, weights: Path
) -> None:
    from ferjax.conversion import convert

    calibrate(weights, make_faces())
    target = tmp_path / "other.keras"
    convert(weights, target)
    first = ferjax.load(weights).temperature
    assert ferjax.load(target).temperature == first
    calibrate(target, make_faces().take(np.arange(300)))
    assert ferjax.load(target).temperature not in (None, first)
    assert ferjax.load(weights).temperature == first


def test_copies_that_could_not_be_looked_for_are_told(weights: Path) -> None:
    faces = make_faces()
    parts = [faces.take(faces.in_split(part)) for part in ("train", "validation")]
    trained = {"data": "train of x", "images": 256, "checksum": checksum(*parts)}
    metadata.write(weights, {"trained_on": trained})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calibrate(weights, faces, store=False)
    metadata.write(weights, {"trained_on": {**trained, "images": 300, "checksum": "another"}})
    with pytest.warns(UserWarning, match="not among all that the weights were trained on"):
        calibrate(weights, faces, store=False)


def test_a_dry_run_writes_nothing(weights: Path) -> None:
    before = metadata.sidecar(weights).read_bytes()
    found = calibrate(weights, make_faces(), store=False)
    assert found.path is None
    assert metadata.sidecar(weights).read_bytes() == before


def test_weights_without_metadata_get_some(weights: Path) -> None:
    metadata.sidecar(weights).unlink()
    calibrate(weights, make_faces())
    assert ferjax.load(weights).temperature is not None
    stored = json.loads(metadata.sidecar(weights).read_text(encoding="utf-8"))
    assert stored["labels"] == list(ferjax.EMOTIONS)


def test_names_are_stored_where_somebody_said_them(weights: Path) -> None:
    model = keras.load(weights)
    metadata.sidecar(weights).unlink()
    keras.save(weights, model.graph, model.variables)
    with pytest.raises(LabelsError, match="expected class names for the network's 7 outputs"):
        calibrate(weights, make_faces())
    found = calibrate(weights, make_faces(), labels="sorted")
    stored = json.loads(metadata.sidecar(weights).read_text(encoding="utf-8"))
    assert stored["labels"] == list(ferjax.EMOTIONS)
    assert ferjax.load(weights).temperature == pytest.approx(found.temperature, abs=1e-6)


def test_metadata_of_other_weights_is_not_overwritten(weights: Path) -> None:
    sidecar = metadata.sidecar(weights)
    sidecar.write_text('{"sha256": "another"}', encoding="utf-8")
    with (
        pytest.warns(UserWarning, match="describes other weights"),
        pytest.raises(WeightFileError, match="describes other weights; move it away first"),
    ):
        calibrate(weights, make_faces())
    assert sidecar.read_text(encoding="utf-8") == '{"sha256": "another"}'


def test_only_validation_images_will_do(weights: Path) -> None:
    faces = make_faces()
    faces.splits[faces.splits == 1] = 2
    with pytest.raises(DataError, match="expected validation images, the data has none"):
        calibrate(weights, faces)


def test_all_validation_images_are_copies(weights: Path) -> None:
    with pytest.raises(DataError, match="that are no copies of training images"):
        calibrate(weights, make_faces(validation=5, copies=5))


def test_a_prediction_without_a_temperature(weights: Path) -> None:
    classifier = ferjax.load(weights)
    image = make_faces().images[0]
    with pytest.raises(FerjaxError, match="without a temperature; `ferjax calibrate` fits one"):
        classifier.predict_proba(image, calibrated=True)


def test_abstaining(weights: Path) -> None:
    calibrate(weights, make_faces())
    classifier = ferjax.load(weights)
    images = make_faces().images[256:]
    for calibrated in (False, True):
        rows = classifier.predict_proba(images, calibrated=calibrated)
        threshold = float(np.median(rows.max(1)))
        found = classifier.predict(images, calibrated=calibrated, abstain_below=threshold)
        assert 0 < sum(p.label is None for p in found) < len(found)
        for prediction, row in zip(found, rows):
            assert prediction.confidence == row.max()
            assert (prediction.label is None) == (row.max() < threshold)
            assert (prediction.index is None) == (prediction.label is None)
            assert list(prediction.probabilities.values()) == row.tolist()


@pytest.mark.parametrize("value", [0, -1, "2", None, True, float("inf")])
def test_a_temperature_that_is_none(weights: Path, value: Any) -> None:
    metadata.write(weights, {"calibration": {"temperature": value}})
    with pytest.raises(WeightFileError, match="a positive number} for calibration"):
        ferjax.load(weights)
