"""A temperature and offsets: found again where they are known, stored, and applied."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ferjax
from ferjax import keras, metadata, released
from ferjax.data.dataset import Faces, checksum
from ferjax.data.votes import Votes
from ferjax.errors import DataError, FerjaxError, LabelsError, WeightFileError
from ferjax.evaluate import calibrate, recording
from ferjax.evaluate.scaling_fits import fit_temperature, fit_vector, fits
from ferjax.scaling import Scaling

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
    found = Scaling(temperature=fit_temperature(labels, ours))(ours)
    np.testing.assert_allclose(found, wanted, atol=2e-4)


def test_probabilities_of_zero_are_no_obstacle() -> None:
    labels, logits = honest(n=500)
    hard = softmax(logits * 15).astype(np.float32)
    assert (hard == 0).any()
    assert 1 < fit_temperature(labels, hard) < 20
    scaled = Scaling(temperature=3.0)(hard)
    assert np.isfinite(scaled).all()
    assert ((scaled == 0) == (hard == 0)).all()


def test_a_temperature_keeps_the_order_of_the_classes_and_the_sum() -> None:
    _, logits = honest(n=200)
    probabilities = softmax(logits).astype(np.float32)
    scaled = Scaling(temperature=2.5)(probabilities)
    assert (scaled.argsort(1) == probabilities.argsort(1)).all()
    np.testing.assert_allclose(scaled.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(scaled, softmax(logits / 2.5), atol=1e-6)
    assert Scaling(temperature=1.0)(probabilities) is probabilities


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
        fits(np.eye(2)[labels], probabilities.astype(np.float32), "temperature", ["a", "b"])
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
    np.testing.assert_allclose(calibrated, Scaling(temperature=after.temperature or 0)(plain))
    assert calibrate(weights, faces).previous == pytest.approx(found.temperature, abs=1e-6)


@pytest.mark.parametrize("brought", [None, "fer_cnn8"])
def test_what_is_stored_with_brought_weights_stays(brought: str | None) -> None:
    path = released.path_of(brought)
    before = metadata.sidecar(path).read_bytes()
    match = rf"{path.name}: what is stored .* stays as it is; `ferjax convert {path.stem} mine.h5`"
    with pytest.raises(WeightFileError, match=match):
        calibrate(brought, make_faces())
    with pytest.raises(WeightFileError, match=match):
        recording.recordable(brought)
    assert metadata.sidecar(path).read_bytes() == before


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


# --- an offset of each class ----------------------------------------------------------------------


@pytest.fixture
def calmer(weights: Path) -> Path:
    """Weights whose logits are a tenth as large."""
    model = keras.load(weights)
    dense = model.variables["params"]["dense"]
    dense["kernel"] = dense["kernel"] / 10
    keras.save(weights, model.graph, model.variables, labels=ferjax.EMOTIONS)
    metadata.write(weights, {"labels": list(ferjax.EMOTIONS)})
    return weights


def test_scaling_by_hand() -> None:
    rows = np.array([[0.8, 0.2], [0.1, 0.9]], np.float32)
    # Squared, and the second class times 16: 0.64 to 0.64, and 0.01 to 12.96.
    found = Scaling(temperature=0.5, offsets=(0.0, float(np.log(16))))(rows)
    np.testing.assert_allclose(found, [[0.5, 0.5], [0.01 / 12.97, 12.96 / 12.97]], atol=1e-6)
    assert found.dtype == np.float32
    # Only differences of offsets count.
    same = Scaling(temperature=0.5, offsets=(7.0, 7.0 + float(np.log(16))))(rows)
    np.testing.assert_allclose(same, found, atol=1e-6)
    no_offsets = Scaling(temperature=0.5, offsets=(0.0, 0.0))(rows)
    np.testing.assert_allclose(no_offsets, Scaling(temperature=0.5)(rows), atol=1e-7)
    assert Scaling(temperature=1.0, offsets=(0.0, 1.0))(np.float32([[1, 0]])).tolist() == [[1, 0]]


@pytest.mark.parametrize(
    "wrong", [{"temperature": 0}, {"temperature": True}, {"offsets": (np.nan, 0.0)}]
)
def test_what_is_no_scaling(wrong: dict[str, Any]) -> None:
    with pytest.raises(FerjaxError, match=r"expected (a positive temperature|finite offsets), got"):
        Scaling(**{"temperature": 1.0, **wrong})


def test_known_offsets_are_found() -> None:
    labels, logits = honest()
    offsets = np.array([1.5, 0.0, -0.5, -1.0])
    # What the network says lacks the offsets, and is too sure by a factor of 2.
    said = softmax(2 * (logits - offsets)).astype(np.float32)
    found = fit_vector(labels, said)
    assert found.temperature == pytest.approx(2, rel=0.03)
    assert found.offsets is not None
    np.testing.assert_allclose(found.offsets, offsets, atol=0.06)
    assert sum(found.offsets) == pytest.approx(0, abs=1e-9)
    # At the optimum each class is as probable on average as it is frequent.
    frequencies = np.bincount(labels) / len(labels)
    np.testing.assert_allclose(found(said).mean(0), frequencies, atol=1e-4)
    np.testing.assert_allclose(found.prior, frequencies, atol=1e-12)
    assert (found(said).argmax(1) == labels).mean() > (said.argmax(1) == labels).mean() + 0.05


def test_shares_are_fitted_as_labels_drawn_by_them_would_be() -> None:
    _, logits = honest(n=2000)
    shares, said = softmax(logits), softmax(1.7 * logits)
    assert fit_temperature(shares, said) == pytest.approx(1.7, rel=1e-3)
    found = fit_vector(shares, said)
    assert found.temperature == pytest.approx(1.7, rel=1e-3)
    np.testing.assert_allclose(found.offsets, np.zeros(4), atol=1e-3)


def test_a_class_without_images_has_no_offset() -> None:
    labels, logits = honest(n=500)
    with pytest.raises(DataError, match="images of every class for offsets, got none of one"):
        fit_vector(np.where(labels == 3, 0, labels), softmax(logits))
    sure = softmax(3 * np.eye(3)[[0, 1, 2] * 20])
    with pytest.raises(DataError, match="no temperature between"):
        fit_vector(np.array([0, 1, 2] * 20), sure)


def test_an_offset_without_a_best_value_is_told() -> None:
    """Of the first two classes ten images each are honest at 70 %; the third's stand apart."""
    third = np.exp(-100.0)
    rows = [[0.7, 0.3, third]] * 10 + [[0.3, 0.7, third]] * 10 + [[1 / 3] * 3] * 10
    labels = np.array([0] * 7 + [1] * 3 + [0] * 3 + [1] * 7 + [2] * 10)
    with pytest.raises(DataError, match=r"no offset is best for these 30 images: .*--method temp"):
        fit_vector(labels, np.array(rows))


def many(n: int = 700) -> Any:
    """Return n validation images of the patterns that the network was taught."""
    train = make_faces()
    rng = np.random.default_rng(0)
    rng.integers(0, 7, len(train))
    patterns = rng.integers(0, 256, (7, 12, 12))  # as `make_faces` draws them
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 7, n).astype(np.int32)
    noise = rng.integers(0, 180, (n, 12, 12))
    images = np.clip(0.3 * patterns[labels] + noise, 0, 255).astype(np.uint8)
    splits = np.repeat(np.array([0, 1], np.int8), [len(train), n])
    return Faces(
        images=np.concatenate([train.images, images]),
        labels=np.concatenate([train.labels, labels]),
        splits=splits,
        names=tuple(f"face {row}" for row in range(len(splits))),
        class_names=ferjax.EMOTIONS,
        source_sizes=np.full((len(splits), 2), 12, np.int32),
    )


def shifted() -> Any:
    """Return faces of which each third is called angry, whatever it is."""
    faces = many()
    rows = np.flatnonzero(faces.splits == 1)
    faces.labels[rows[::3]] = 0
    return faces


def test_offsets_are_stored_found_again_and_applied(calmer: Path, tmp_path: Path) -> None:
    from ferjax.conversion import convert

    faces = shifted()
    found = calibrate(calmer, faces, method="auto")
    assert found.method == "vector scaling" and not found.overfits
    assert found.alone is not None and found.with_offsets == found.after
    assert found.after.negative_log_likelihood < found.alone.negative_log_likelihood - 0.1
    assert found.fits["vector"] < found.fits["temperature"]
    after = ferjax.load(calmer)
    assert after.scaling is not None and after.scaling.offsets is not None
    assert found.offsets is not None
    np.testing.assert_allclose(after.scaling.offsets, [*found.offsets.values()], atol=1e-6)
    assert after.temperature == pytest.approx(found.temperature, abs=1e-6)
    assert max(found.offsets, key=lambda label: found.offsets[label]) == "angry"  # type: ignore[index]
    images = faces.images[faces.splits == 1]
    plain, scaled = (after.predict_proba(images, calibrated=c) for c in (False, True))
    np.testing.assert_array_equal(scaled, after.scaling(plain))
    assert (plain.argmax(1) != scaled.argmax(1)).any()
    # They hold for the classes as frequent as here, which a prior is compared with.
    part = faces.labels[faces.splits == 1]
    assert after.prior is not None
    np.testing.assert_allclose([*after.prior.values()], np.bincount(part) / len(part), atol=1e-5)

    # Classes that get other names keep their numbers, and so do copies of the weights.
    target = tmp_path / "named.keras"
    convert(calmer, target, labels=list("abcdefg"))
    renamed = ferjax.load(target)
    assert renamed.scaling == after.scaling
    assert renamed.prior is not None and list(renamed.prior) == list("abcdefg")
    assert ferjax.load(calmer, labels=list("abcdefg")).scaling == after.scaling
    # A temperature alone takes their place.
    assert calibrate(calmer, faces).alone is None
    assert ferjax.load(calmer).scaling == Scaling(temperature=ferjax.load(calmer).temperature)  # type: ignore[arg-type]


def test_offsets_belong_to_classes_and_not_to_positions(calmer: Path) -> None:
    faces = shifted()
    turned = dataclasses.replace(
        faces, labels=6 - faces.labels, class_names=faces.class_names[::-1]
    )
    first = calibrate(calmer, faces, method="vector")
    stored = ferjax.load(calmer).scaling
    second = calibrate(calmer, turned, method="vector")
    assert first.offsets is not None and second.offsets is not None
    assert second.offsets == pytest.approx(first.offsets, abs=1e-4)
    again = ferjax.load(calmer).scaling
    assert stored is not None and again is not None
    np.testing.assert_allclose(again.offsets, stored.offsets, atol=1e-4)  # type: ignore[arg-type]
    # Metadata may have them in any order.
    known = metadata.read(calmer)
    offsets = known["calibration"]["offsets"]
    known["calibration"]["offsets"] = dict(reversed(offsets.items()))
    metadata.write(calmer, known)
    assert ferjax.load(calmer).scaling == again


def test_offsets_that_overfit_are_told_and_not_chosen(calmer: Path) -> None:
    faces = make_faces(validation=64)
    found = calibrate(calmer, faces, method="auto", store=False)
    assert found.method == "temperature scaling" and found.offsets is None
    assert found.overfits or found.with_offsets is None
    with pytest.warns(UserWarning, match="the offsets overfit: .* a temperature alone is better"):
        forced = calibrate(calmer, faces, method="vector", store=False)
    assert forced.overfits and forced.method == "vector scaling"


def test_offsets_without_images_of_a_class(calmer: Path) -> None:
    faces = make_faces(validation=64)
    faces.labels[(faces.labels == 1) & (faces.splits == 1)] = 0
    found = calibrate(calmer, faces, method="auto", store=False)
    assert (found.offsets, found.with_offsets) == (None, None)
    with pytest.raises(DataError, match=r"for offsets, got none of disgust; --method temperature"):
        calibrate(calmer, faces, method="vector", store=False)


def with_votes(faces: Any) -> Any:
    """Return faces that five people call by their label, four angry and one disgust; the last has
    no class."""
    counts = 5 * np.eye(8)[faces.labels] + 4 * np.eye(8)[0] + np.eye(8)[1]
    counts[-1] = 10 * np.eye(8)[7]
    names = (*faces.class_names, "unknown")
    return dataclasses.replace(faces, votes=Votes(counts=counts.astype(np.float32), names=names))


def test_votes_are_what_is_fitted_to(calmer: Path) -> None:
    faces = with_votes(many(400))
    found = calibrate(calmer, faces, method="auto", targets="votes")
    assert found.method == "vector scaling"
    assert (found.images, found.without_votes_left_out, found.targets) == (399, 1, "votes")
    stored = metadata.read(calmer)["calibration"]
    assert stored["targets"] == "votes"
    assert stored["fitted_on"]["without_votes_left_out"] == 1
    assert stored["fitted_on"]["checksum"] == checksum(faces.take(faces.in_split("validation")))
    # Two in five votes are for the first class, one in ten, single ones, for the second.
    labels = faces.labels[faces.splits == 1][:-1]
    for name, share in (
        ("angry", 0.4 + 0.5 * (labels == 0).mean()),
        ("disgust", 0.1 + 0.5 * (labels == 1).mean()),
    ):
        assert stored["prior"][name] == pytest.approx(share, abs=1e-5)
    rows = ferjax.load(calmer).predict_proba(faces.images[faces.splits == 1][:-1], calibrated=True)
    assert rows[:, 0].mean() == pytest.approx(stored["prior"]["angry"], abs=1e-3)
    to_labels = calibrate(calmer, faces, targets="labels", store=False)
    assert to_labels.after.negative_log_likelihood != found.after.negative_log_likelihood


def test_votes_that_are_not_there(weights: Path) -> None:
    faces = make_faces()
    with pytest.raises(DataError, match=r"people's votes, these have none; `ferjax data prepare"):
        calibrate(weights, faces, targets="votes")
    none = with_votes(faces)
    none.votes.counts[:] = np.float32(10 * np.eye(8)[7])
    with pytest.raises(DataError, match="validation images with votes for the classes, got none"):
        calibrate(weights, none, targets="votes")
    for wrong in ({"method": "platt"}, {"targets": "people"}):
        with pytest.raises(ValueError, match=r"expected one of .* for `(method|targets)`, got"):
            calibrate(weights, faces, **wrong)  # type: ignore[arg-type]
    assert "calibration" not in metadata.read(weights)


OFFSETS = dict.fromkeys(ferjax.EMOTIONS, 0.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"offsets": [0.5] * 7},
        {"offsets": {"angry": 0.5}},
        {"offsets": {**OFFSETS, "contempt": 0.5}},
        {"offsets": {**OFFSETS, "happy": None}},
        {"offsets": {**OFFSETS, "happy": True}},
        {"offsets": {**OFFSETS, "happy": float("inf")}},
        {"offsets": {**OFFSETS, "happy": 10**400}},
        {"offsets": OFFSETS, "prior": {"angry": 1}},
        {"offsets": OFFSETS, "prior": 0.5},
        {"offsets": OFFSETS, "temperature": 10**400},
        {"offsets": OFFSETS, "temperature": -1},
    ],
)
def test_metadata_with_offsets_that_are_none(weights: Path, wrong: dict[str, Any]) -> None:
    metadata.write(weights, {"calibration": {"temperature": 1.5, **wrong}})
    with pytest.raises(WeightFileError, match=r"metadata: expected .* (for|of) "):
        ferjax.load(weights)
