"""What is measured on what, and what is said about it."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import ferjax
from ferjax import digests, keras, metadata
from ferjax.data.dataset import checksum, in_classes_of
from ferjax.emotions import EMOTIONS, FER2013_CSV_ORDER, FERPLUS_ORDER
from ferjax.errors import DataError, FerjaxError, LabelsError, WeightFileError
from ferjax.evaluate import evaluate, evaluation, metrics, predictions, provenance, report
from ferjax.evaluate.recording import record
from ferjax.scaling import Scaling

from ..networks import drawn, tiny
from ..train.conftest import make_faces
from .conftest import Stub, known_faces, taught

TRAINED = {"data": "FER2013 Training", "images": 28709}


def test_by_hand(stub: Stub) -> None:
    found = evaluate(stub, known_faces(copies=1))
    assert (found.whole.images, found.whole.correct) == (6, 4)
    assert found.whole.classes["angry"].recall == pytest.approx(2 / 3)
    assert found.whole.classes["happy"].recall is None
    assert found.data["copies"] == 1
    assert found.without_copies is not None
    assert (found.without_copies.images, found.without_copies.correct) == (5, 3)
    assert found.predictions.copies.tolist() == [True, False, False, False, False, False]
    assert found.predictions.names[0] == "faces/2.png"
    assert (found.tta, found.views) == ("none", 1)


def test_no_copies_no_second_figure(stub: Stub) -> None:
    found = evaluate(stub, known_faces())
    assert found.without_copies is None
    assert found.data["copies"] == 0


def test_a_class_that_no_label_is_needs_no_output(stub: Stub) -> None:
    eight = in_classes_of(known_faces(copies=1), FERPLUS_ORDER)
    assert len(eight.class_names) == 8
    found = evaluate(stub, eight)
    assert found.class_names == EMOTIONS
    assert found.whole == evaluate(stub, known_faces(copies=1)).whole


def test_json_has_everything_but_the_single_predictions(stub: Stub) -> None:
    found = json.loads(json.dumps(evaluate(stub, known_faces(1)).to_json(), allow_nan=False))
    assert found["format"] == "ferjax evaluation 1"
    assert found["whole"]["classes"]["angry"]["support"] == 3
    assert found["data"]["name"] == "validation"
    assert "predictions" not in found


def test_views_are_averaged() -> None:
    class Sided(Stub):
        """Says class 0 where the left column is dark, else class 1."""

        def predict_proba(self, images, **_):  # type: ignore[no-untyped-def]
            return np.eye(7, dtype=np.float32)[(np.asarray(images)[:, 0, 0] > 0).astype(int)]

    images = np.zeros((1, 12, 12), np.uint8)
    images[:, :, -1] = 255

    def said(tta: str) -> list[float]:
        return predictions.predict(Sided(), images, tta)[0, :2].tolist()

    assert said("none") == [1, 0]
    assert said("flip") == [0.5, 0.5]
    # Of the crops only the mirror images of the two at the right edge begin with the bright column.
    assert said("ten-crop") == pytest.approx([0.8, 0.2])


def test_crops_are_as_large_as_those_of_the_training() -> None:
    assert predictions.trained_crop(Stub()) == pytest.approx(44 / 48)
    recipe = {"recipe": {"augmentation": {"crop": [9, 9]}}}
    assert predictions.trained_crop(Stub(training=recipe)) == 9 / 12
    for odd in ("all", {"recipe": None}, {"recipe": {"augmentation": {"crop": None}}}):
        assert predictions.trained_crop(Stub(training=odd)) == pytest.approx(44 / 48)


def test_calibration_with_the_stored_temperature() -> None:
    found = evaluate(Stub(temperature=2.0), known_faces(copies=1))
    assert found.calibrated is not None
    assert found.calibrated.temperature == 2
    p = Scaling(temperature=2.0)(found.predictions.probabilities)
    assert found.calibrated.whole == metrics.calibration(found.predictions.labels, p)
    assert found.calibrated.without_copies is not None
    assert not found.calibrated.fitted_here
    # At a temperature of 2 the confidence is sqrt(0.94) / (sqrt(0.94) + 6 sqrt(0.01)) = 0.618.
    kept = [row.images for row in found.calibrated.abstention if row.threshold in (0.6, 0.7)]
    assert kept == [6, 0]
    assert [row.images for row in found.whole.abstention if row.threshold in (0.6, 0.7)] == [6, 6]
    # The figures above it stay those of the network itself.
    assert found.whole == evaluate(Stub(), known_faces(copies=1)).whole


def test_a_temperature_is_not_applied_to_several_views() -> None:
    assert evaluate(Stub(temperature=2.0), known_faces(), tta="flip").calibrated is None


def test_a_temperature_fitted_on_what_is_measured_is_told() -> None:
    faces = known_faces()
    part = faces.take(faces.in_split("validation"))
    fitted = {"temperature": 2.0, "fitted_on": {"data": "x", "checksum": checksum(part)}}
    found = evaluate(Stub(temperature=2.0, calibration=fitted), faces)
    assert found.calibrated is not None
    assert found.calibrated.fitted_here


@pytest.mark.parametrize(
    ("known", "split", "note"),
    [
        ({}, "train", "accuracy on training images says little"),
        ({"trained_on": {"data": "validation", "images": 6}}, "validation", "on training images"),
        (
            {"trained_on": TRAINED, "selected_on": {"data": "validation", "images": 6}},
            "validation",
            r"were selected on these images \(validation\): the figures flatter them",
        ),
        (
            {
                "trained_on": {"data": "anything", "images": 2, "checksum": "same"},
                "selected_on": {"data": "anything else", "images": 6},
            },
            "validation",
            "were selected on these images",
        ),
        ({}, "validation", "does not say what they were trained on"),
        ({"trained_on": TRAINED}, "validation", "does not say what they were selected on"),
        (
            {"trained_on": TRAINED, "selected_on": {"data": "FER2013 PublicTest"}},
            "validation",
            "overlaps with what the weights were trained on .FER2013 Training .28,709 images.. is "
            "not known: exact copies could be looked for only among this data's own training "
            "images$",
        ),
        (
            {"trained_on": TRAINED, "selected_on": {"data": "validation", "images": 6}},
            "validation",
            "figures flatter them; exact copies could be looked for only among this data's own "
            "training images, not among what the weights were trained on .FER2013 Training",
        ),
        ({"trained_on": {**TRAINED, "checksum": "same"}}, "train", "on training images says"),
        (
            {"trained_on": TRAINED, "selected_on": {"data": "FER2013 PublicTest"}},
            "train",
            "^whether train overlaps with what the weights were trained on .FER2013 Training "
            ".28,709 images.. is not known$",
        ),
    ],
)
def test_overlaps_are_told(known: dict, split: str, note: str) -> None:
    faces = known_faces()
    if known.get("trained_on", {}).get("checksum") == "same":
        parts = [faces.take(faces.in_split(part)) for part in ("train", "validation")]
        known["trained_on"]["checksum"] = checksum(*parts)
    found = evaluate(Stub(**known), faces, split)
    assert re.search(note, "; ".join(found.notes))
    with pytest.warns(UserWarning) as warned:
        evaluation.warn(found)
    assert [str(w.message) for w in warned] == list(found.notes)


def test_nothing_is_said_of_images_that_the_weights_have_not_seen() -> None:
    faces = make_faces(train=20, validation=20, size=12)
    parts = [faces.take(faces.in_split(part)) for part in ("train", "validation")]
    seen = {"data": "train of x", "images": 20, "checksum": checksum(*parts)}
    moved = make_faces(train=20, validation=20, size=12)
    moved.splits[moved.splits == 1] = 2  # the same images as a test split
    known = {"trained_on": seen, "selected_on": {"data": "validation of x", "images": 20}}
    assert [n for n in evaluate(Stub(**known), moved, "test").notes if "selected" in n] == []


OWN = {"data": "train of mine", "images": 2}  # with the checksum of `known_faces`
OTHER = {"data": "train of other", "images": 9, "checksum": "another"}


def begun(known: dict | None, *teachers: dict, **others: object) -> dict:
    """Return the metadata of weights that were trained on `OWN`, by what these started from."""
    return {
        "trained_on": OWN,
        "selected_on": {"data": "validation", "images": 6},
        "training": {"started_from": known, "teachers": list(teachers)},
        **others,
    }


@pytest.mark.parametrize(
    ("known", "notes"),
    [
        (begun(None), []),
        (begun({"file": "a.h5", "sha256": "0123456789ab", "trained_on": OWN}), []),
        (
            begun({"file": "a.h5", "sha256": "0123456789ab", "trained_on": OTHER}),
            [
                "whether test overlaps with what a.h5 (SHA-256 01234567...), which the weights "
                "started from, was trained on (train of other (9 images)) is not known"
            ],
        ),
        (
            begun(
                None, {"file": "a.h5", "trained_on": OTHER}, {"file": "b.h5", "trained_on": OTHER}
            ),
            [
                "whether test overlaps with what a.h5 and b.h5, which taught the weights, were "
                "trained on (train of other (9 images)) is not known"
            ],
        ),
        (
            begun(
                begun(None, {"file": "b.h5", "trained_on": OTHER}, file="a.h5"),
                begun({"file": "d.h5"}, file="c.h5"),
            ),
            [
                "whether test overlaps with what b.h5, which taught a.h5, was trained on (train of "
                "other (9 images)) is not known",
                "nothing says what d.h5, which c.h5 started from, was trained on: these images may "
                "be among it",
            ],
        ),
        (
            begun({"file": "a.h5", "trained_on": {"data": "test", "images": 6}}),
            [
                "a.h5, which the weights started from, was trained on these images (test): the "
                "figures flatter the weights"
            ],
        ),
        (begun({"file": "a.h5"}, trained_on={}), ["nothing says what a.h5", "does not say what"]),
        ({**begun(None), "training": {"started_from": "a.h5", "teachers": "b.h5"}}, []),
        ({**begun(None), "training": {"started_from": ["a.h5"], "teachers": [None, 3]}}, []),
    ],
)
def test_what_earlier_weights_were_trained_on_is_told(known: dict, notes: list[str]) -> None:
    faces = known_faces()
    faces.splits[faces.splits == 1] = 2
    own = checksum(faces.take(faces.in_split("train")), faces.take(faces.in_split("validation")))
    found = json.loads(
        json.dumps(known).replace('"images": 2', f'"images": 2, "checksum": "{own}"')
    )
    notes_found = evaluate(Stub(**found), faces, "test").notes
    assert len(notes_found) == len(notes)
    for one, note in zip(notes_found, notes):
        assert one.startswith(note) or note in one


def test_what_earlier_weights_were_selected_on_is_told_once() -> None:
    faces = known_faces()
    parts = [faces.take(faces.in_split(part)) for part in ("train", "validation")]
    before = {"file": "a.h5", "trained_on": {**OWN, "checksum": checksum(*parts)}}
    known = begun(before, trained_on=OTHER, selected_on={"data": "another", "images": 1})
    first, second = evaluate(Stub(**known), faces).notes
    assert first.startswith("whether validation overlaps with what the weights were trained on")
    assert second == (
        "a.h5, which the weights started from, was selected on these images (validation): the "
        "figures flatter the weights"
    )
    known["selected_on"] = {"data": "validation", "images": 6}
    selected, copies = evaluate(Stub(**known), faces).notes
    assert selected.startswith("the weights were selected on these images")
    assert copies.startswith("exact copies could be looked for only among")


def test_a_long_chain_of_trainings_is_followed_to_its_end() -> None:
    known: dict = {"file": "0.h5", "trained_on": OTHER}
    for n in range(1, 3000):
        trained = {"data": "FER2013 Training", "checksum": "same"}
        known = begun(known, file=f"{n}.h5", trained_on=trained)
    images = provenance.Measured(
        name="FER2013 PrivateTest",
        split="test",
        images=3589,
        copies=0,
        checksum="",
        data_checksum="same",
    )
    (note,) = provenance.overlaps(known, images)
    assert "what 0.h5, which 1.h5 started from, was trained on (train of other" in note


def test_what_earlier_weights_were_trained_on_is_told_of_training_images_too() -> None:
    faces = known_faces()
    parts = [faces.take(faces.in_split(part)) for part in ("train", "validation")]
    before = {"file": "a.h5", "trained_on": {**OWN, "checksum": checksum(*parts)}}
    known = begun(before, trained_on=OTHER)
    first, second = evaluate(Stub(**known), faces, "train").notes
    assert first.startswith("whether train overlaps with what the weights were trained on")
    assert second.startswith("a.h5, which the weights started from, was trained on these images")


def test_copies_of_what_earlier_weights_were_trained_on_are_told_as_unknown() -> None:
    """As where FER2013 without leaks goes on from weights that have seen all of it."""
    known = begun(
        {"file": "a.h5", "trained_on": TRAINED},
        trained_on={"data": "train of noleaks", "images": 28358, "checksum": "noleaks"},
        selected_on={"data": "FER2013 PublicTest", "images": 3589},
    )
    images = provenance.Measured(
        name="FER2013 PublicTest",
        split="validation",
        images=3589,
        copies=0,
        checksum="",
        data_checksum="noleaks",
    )
    selected, copies = provenance.overlaps(known, images)
    assert selected.startswith("the weights were selected on these images")
    assert copies == (
        "exact copies could be looked for only among this data's own training images, not among "
        "what a.h5, which the weights started from, was trained on (FER2013 Training (28,709 "
        "images))"
    )
    assert provenance.copies_unknown(known, images) is not None


@pytest.mark.parametrize(
    ("trained", "were"), [({**OWN, "checksum": "same"}, "were"), (OTHER, "may have been")]
)
def test_copies_of_validation_images_are_told(trained: dict, were: str) -> None:
    faces = known_faces()
    faces.splits[5:] = 2  # three of validation, three of test
    faces.images[5] = faces.images[2]
    parts = [faces.take(faces.in_split(part)) for part in ("train", "validation")]
    if trained["checksum"] == "same":
        trained = {**trained, "checksum": checksum(*parts)}
    known = {"trained_on": trained, "selected_on": {"data": "validation of mine", "images": 3}}
    found = evaluate(Stub(**known), faces, "test")
    assert found.data["copies_of_validation"] == 1
    assert found.notes[-1] == (
        "1 of the 3 images are exact copies of validation images, on which the weights "
        f"{were} selected"
    )


def test_copies_are_told(stub: Stub) -> None:
    notes = " ".join(evaluate(stub, known_faces(copies=1)).notes)
    assert "1 of the 6 images are exact copies of training images" in notes


def test_weights_by_path(tmp_path: Path) -> None:
    network = tiny()
    path = tmp_path / "tiny.h5"
    keras.save(path, network, drawn(network), labels=ferjax.EMOTIONS)
    metadata.write(path, {"licence": "CC0-1.0", "trained_on": {"data": "train of x", "images": 3}})
    found = evaluate(path, make_faces(40, 20))
    assert found.weights["name"] == "tiny.h5"
    assert found.weights["sha256"] == digests.sha256(path)
    assert found.weights["trained_on"] == "train of x (3 images)"
    assert found.weights["licence"] == "CC0-1.0"
    assert found.weights["parameters"] == network.num_params


def test_an_unknown_split(stub: Stub) -> None:
    with pytest.raises(DataError, match="among train, validation, test, got 'dev'"):
        evaluate(stub, known_faces(), "dev")


def test_an_empty_split(stub: Stub) -> None:
    with pytest.raises(
        DataError, match="expected test images, the data has none; `ferjax data prepa"
    ):
        evaluate(stub, known_faces(), "test")


def test_classes_in_another_order(tmp_path: Path) -> None:
    path = taught(tmp_path / "tiny.h5")
    expected = evaluate(path, make_faces())
    model = keras.load(path)
    order = [FER2013_CSV_ORDER.index(name) for name in ferjax.EMOTIONS]
    params = model.variables["params"]["dense"]
    params["kernel"] = params["kernel"][:, np.argsort(order)]
    params["bias"] = params["bias"][np.argsort(order)]
    other = tmp_path / "other.h5"
    keras.save(other, model.graph, model.variables)
    unnamed = "expected class names for the network's 7 outputs, the weights have none"
    with pytest.raises(LabelsError, match=unnamed), warnings.catch_warnings():
        warnings.simplefilter("error")  # the error says it all
        evaluate(other, make_faces())
    found = evaluate(other, make_faces(), labels="fer2013")
    assert found.class_names == ferjax.EMOTIONS
    assert 0 < found.whole.correct == expected.whole.correct
    assert found.whole.confusion == expected.whole.confusion
    # The same classes by other names.
    names = ["Anger", "disgusted", "Fear", "happiness", "Sadness", "surprised", "neutral"]
    assert evaluate(other, make_faces(), labels=names).whole.correct == expected.whole.correct
    with pytest.raises(LabelsError, match=r"whatever their order, angry, .* got a, b, c, d, e, f"):
        evaluate(other, make_faces(), labels="a,b,c,d,e,f,g")


def test_labels_are_for_files(stub: Stub) -> None:
    with pytest.raises(FerjaxError, match="`value_range` and `output` are of weights in a file"):
        evaluate(stub, known_faces(), labels="sorted")


def test_corruptions_are_measured_in_the_network_s_order() -> None:
    class Reversed(Stub):
        def __init__(self) -> None:
            super().__init__()
            self.labels = tuple(reversed(ferjax.EMOTIONS))

        def predict_proba(self, images, **_):  # type: ignore[no-untyped-def]
            return super().predict_proba(images)[:, ::-1]

    found = evaluate(Reversed(), known_faces(), with_robustness=True)
    assert found.robustness is not None
    assert found.robustness.clean == found.whole.accuracy == pytest.approx(4 / 6)


def test_an_unknown_view(stub: Stub) -> None:
    with pytest.raises(DataError, match="expected test-time augmentation among none, flip"):
        evaluate(stub, known_faces(), tta="flips")


def test_accuracy_is_recorded_in_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    path = taught(tmp_path / "tiny.h5")
    found = evaluate(path, make_faces(copies=4))
    with pytest.raises(WeightFileError, match="no metadata beside it"):
        record(found, path)
    other = metadata.accuracy("elsewhere", 1, 2, None, note="")
    stale = metadata.accuracy("validation", 1, 64, 2.0, note="")
    metadata.write(path, {"licence": "CC0-1.0", "accuracy": [stale, other]})
    record(found, path)
    record(evaluate(path, make_faces(copies=4), tta="flip"), path)
    known = metadata.read(path)
    assert known["licence"] == "CC0-1.0"
    whole, clean, third, flipped, flipped_clean = known["accuracy"]
    assert third == other
    assert (whole["correct"], whole["images"]) == (found.whole.correct, 64)
    assert whole["note"] == "4 of the images are exact copies of training images"
    assert found.without_copies is not None
    assert (clean["correct"], clean["images"]) == (found.without_copies.correct, 60)
    assert (clean["view"], flipped["view"], flipped_clean["view"]) == ("single", "flip", "flip")


def test_copies_that_could_not_be_looked_for_are_recorded_as_unknown(tmp_path: Path) -> None:
    path = taught(tmp_path / "tiny.h5")
    metadata.write(path, {"trained_on": TRAINED})
    record(evaluate(path, make_faces(copies=4)), path)
    assert [entry["note"] for entry in metadata.read(path)["accuracy"]] == [
        "copies of training images not known",
        "without exact copies of this data's training images",
    ]


def test_calibration_with_offsets_may_change_labels() -> None:
    stub = Stub()
    offsets = (0.0,) * 6 + (10.0,)  # all are surprise
    stub.scaling = Scaling(temperature=1.0, offsets=offsets)
    found = evaluate(stub, known_faces(copies=1))
    assert found.calibrated is not None
    assert found.calibrated.offsets == dict(zip(ferjax.EMOTIONS, offsets))
    surprised = int((found.predictions.labels == 6).sum())
    assert (found.calibrated.correct, surprised) == (1, 1)
    assert found.calibrated.correct_without_copies == 1
    assert found.calibrated.abstention[0].accuracy == pytest.approx(1 / 6)
    p = stub.scaling(found.predictions.probabilities)
    assert found.calibrated.whole == metrics.calibration(found.predictions.labels, p)
    text = report.text(found)
    assert "with temperature 1.000 and offsets, fitted on not known" in text
    assert "16.67 %" in text
    assert found.whole == evaluate(Stub(), known_faces(copies=1)).whole
