"""Against what several people said: worked out by hand."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ferjax
from ferjax import keras, metadata
from ferjax.data.dataset import Faces
from ferjax.data.votes import Votes
from ferjax.evaluate import Evaluation, card, evaluate, gallery, plots, provenance, votes
from ferjax.evaluate import write_report as write
from ferjax.evaluate.recording import record
from ferjax.evaluate.report import text
from ferjax.evaluate.tables import percent
from ferjax.scaling import Scaling

from ..networks import drawn, tiny
from .conftest import Stub, known_faces

NAMES = (*ferjax.EMOTIONS, "contempt", "unknown", "not a face")
ANGRY, DISGUST, FEAR, *_ = range(10)
CONTEMPT, UNKNOWN = 7, 8
# Of the six validation images of `known_faces`, of which [0, 0, 2, 1, 0, 6] is predicted.
SAID: list[dict[int, int]] = [
    {ANGRY: 10},
    {ANGRY: 4, DISGUST: 6},
    {FEAR: 5, ANGRY: 5},
    {CONTEMPT: 10},
    {DISGUST: 9, ANGRY: 1},
    {UNKNOWN: 10},
]
# Bayes' rule turns 0.94 for angry and 0.01 for disgust into disgust, and leaves fear as it is.
FREQUENCIES = dict.fromkeys(ferjax.EMOTIONS, 0.1196) | {"angry": 0.4, "disgust": 0.002}


def counted(rows: list[dict[int, int]], names: tuple[str, ...] = NAMES) -> Votes:
    counts = np.zeros((len(rows), len(names)), np.float32)
    for row, said in enumerate(rows):
        for column, people in said.items():
            counts[row, column] = people
    return Votes(counts=counts, names=names)


def faces_with_votes(copies: int = 0, said: list[dict[int, int]] = SAID) -> Faces:
    return dataclasses.replace(known_faces(copies), votes=counted([{}, {}, *said]))


def measured(copies: int = 0, **known: Any) -> votes.AgainstVotes:
    found = evaluate(Stub(**known), faces_with_votes(copies)).votes
    assert found is not None
    return found


def test_the_majority() -> None:
    part = measured().whole
    seven, eight = part.answers["training"].majorities.values()
    assert (seven.correct, seven.images) == (1, 3)  # angry; disgust twice, of which none is said
    assert seven.balanced_accuracy == 0.5
    assert (seven.classes["angry"].recall, seven.classes["disgust"].recall) == (1, 0)
    assert (seven.confusion[0][0], seven.confusion[1][0]) == (1, 2)
    assert (eight.correct, eight.images) == (1, 4)
    assert eight.balanced_accuracy == pytest.approx(1 / 3)
    assert eight.classes["contempt"].recall == 0
    assert eight.balanced_accuracy_interval[0] < 1 / 3 < eight.balanced_accuracy_interval[1]
    assert part.left_out == {
        "7 classes": {"no majority": 1, "contempt": 1, "unknown": 1},
        "8 classes": {"no majority": 1, "unknown": 1},
    }
    assert part.own_label is not None
    assert part.own_label.value == pytest.approx(2 / 3)  # the second image's is angry


def test_one_person_drawn_at_random() -> None:
    answers = measured().whole.answers["training"]
    # Of the people of each image 1, 0.4, 0.5, 0, 0.1 and 0 say what is predicted.
    assert answers.single_tagger.value == pytest.approx(2 / 6)
    assert answers.single_tagger_with_majority is not None
    assert answers.single_tagger_with_majority.value == pytest.approx(1.5 / 3)
    assert answers.reliability is not None
    assert answers.reliability.ece_equal_width == pytest.approx(0.94 - 2 / 6)
    assert [b.images for b in answers.reliability.equal_width if b.images] == [6]


def test_a_uniform_prior() -> None:
    found = measured(training_frequencies=FREQUENCIES)
    assert found.prior == pytest.approx(FREQUENCIES, rel=1e-3)
    uniform = found.whole.answers["uniform"]
    assert uniform.majorities["7 classes"].correct == 2  # disgust now, of three images
    assert uniform.single_tagger.value == pytest.approx((0 + 0.6 + 0.5 + 0 + 0.9 + 0) / 6)
    assert found.whole.answers["training"] == measured().whole.answers["training"]


def test_a_uniform_prior_is_applied_after_the_temperature() -> None:
    found = measured(temperature=2.0, training_frequencies=FREQUENCIES).whole.answers
    assert list(found) == ["training", "calibrated", "uniform"]
    # At a temperature of 2 disgust is the most probable of every image.
    assert found["uniform"].single_tagger.value == pytest.approx((0.6 + 0.9) / 6)
    assert found["calibrated"].single_tagger == found["training"].single_tagger
    assert found["calibrated"].reliability is not None
    confidence = 0.94**0.5 / (0.94**0.5 + 6 * 0.1)
    assert found["calibrated"].reliability.ece_equal_width == pytest.approx(
        confidence - 2 / 6, abs=1e-6
    )


@pytest.mark.parametrize(
    ("known", "why"),
    [
        ({}, "the weights do not say how common each class was in their training"),
        ({"training_frequencies": {"angry": 1.0}}, "metadata: expected a share of each of angry"),
        (
            {"prior": {**FREQUENCIES, "sad": 0}},
            "metadata: expected a positive share of sad for `prior`",
        ),
    ],
)
def test_no_uniform_prior_where_the_frequencies_are_not_known(
    known: dict[str, Any], why: str
) -> None:
    found = evaluate(Stub(**known), faces_with_votes())
    assert found.votes is not None
    assert found.votes.prior is None
    assert list(found.votes.whole.answers) == ["training"]
    assert f"no figures for a uniform prior: {why}" in text(found)


def test_offsets_have_a_prior_of_their_own() -> None:
    stub = Stub(training_frequencies=FREQUENCIES)
    # Angry's odds fall to 0.94 / 94: it is disgust, the first of six, that is said in its place.
    offsets = (-math.log(94), *[0.0] * 6)
    stub.scaling = Scaling(temperature=1.0, offsets=offsets, prior=(1 / 7,) * 7)
    found = evaluate(stub, faces_with_votes()).votes
    assert found is not None
    assert found.prior == pytest.approx(dict.fromkeys(ferjax.EMOTIONS, 1 / 7))
    answers = found.whole.answers
    assert answers["calibrated"].single_tagger.value == pytest.approx((0.6 + 0.5 + 0.9) / 6)
    assert answers["uniform"].single_tagger == answers["calibrated"].single_tagger
    assert answers["training"].single_tagger.value == pytest.approx(2 / 6)
    # Of several views no calibration holds, and its prior no more.
    views = evaluate(stub, faces_with_votes(), tta="flip").votes
    assert views is not None
    assert list(views.whole.answers) == ["training", "uniform"]
    assert views.prior == pytest.approx(FREQUENCIES, rel=1e-3)


def test_without_copies() -> None:
    found = measured(copies=1).without_copies
    assert found is not None
    seven = found.answers["training"].majorities["7 classes"]
    assert (seven.correct, seven.images) == (0, 2)
    assert measured().without_copies is None


def test_what_people_reach() -> None:
    names = ("angry", "happy", "contempt", "unknown")
    found = votes.people(counted([{0: 8, 1: 2}, {0: 1, 1: 1}, {2: 3, 3: 1}, {}], names), names[:2])
    assert (found.images, found.images_with_majority) == (3, 1)
    assert found.second_tagger is not None
    assert found.second_tagger_with_majority is not None
    assert found.most_said_with_majority is not None
    assert found.against_others is not None
    # Pairs that agree: 8 * 7 + 2 of 10 * 9, none of two, 3 * 2 of 4 * 3.
    assert found.second_tagger.value == pytest.approx((58 / 90 + 0 + 6 / 12) / 3)
    assert found.second_tagger_with_majority.value == pytest.approx(58 / 90)
    assert found.most_said.value == pytest.approx((0.8 + 0.5 + 0.75) / 3)
    assert found.most_said_with_majority.value == pytest.approx(0.8)
    # Without any of them the first image's majority is angry, which 8 of 10 say; of the second the
    # other one is the majority; of the third it is for none of the classes.
    assert found.against_others.value == pytest.approx((0.8 + 0) / 2)


def test_one_person_has_no_second() -> None:
    found = votes.people(counted([{0: 1}, {1: 1}]), ferjax.EMOTIONS)
    assert found.second_tagger is None
    assert found.against_others is None
    assert found.most_said.value == 1


def test_shares_are_no_people() -> None:
    shares = Votes(counts=np.array([[0.75, 0.25], [0.5, 0.5]], np.float32), names=("a", "b"))
    found = votes.people(shares, ("a", "b"))
    assert found.second_tagger is None
    assert found.against_others is None
    assert found.most_said.value == pytest.approx(0.625)
    assert found.images_with_majority == 1


def test_distances() -> None:
    # Single votes are left out: the shares are (1, 0) and (0.5, 0.5); the third image has none.
    said = counted([{0: 8, 1: 1}, {0: 2, 1: 2}, {2: 3}], ("a", "b", "unknown"))
    found = votes.distances(said, ("a", "b"), np.full((3, 2), 0.5))
    assert found is not None
    assert found.images == 2
    assert found.cross_entropy.value == pytest.approx(math.log(2))
    assert found.entropy == pytest.approx(math.log(2) / 2)
    # Between (0.5, 0.5) and (1, 0), whose mean is (0.75, 0.25), in bits.
    divergence = (0.5 * math.log2(2 / 3) + 0.5 * math.log2(2) + math.log2(4 / 3)) / 2
    assert found.jensen_shannon.value == pytest.approx((math.sqrt(divergence) + 0) / 2)


def test_no_probability_is_infinitely_wrong() -> None:
    found = votes.distances(counted([{0: 2}], ("a", "b")), ("a", "b"), np.array([[0.0, 1.0]]))
    assert found is not None
    assert math.isfinite(found.cross_entropy.value)
    assert found.jensen_shannon.value == 1


def test_outputs_that_are_no_distribution_have_no_distances() -> None:
    class Independent(Stub):
        def predict_proba(self, images: Any, **_: Any) -> Any:
            return super().predict_proba(images) * np.float32(0.9)

    found = evaluate(Independent(training_frequencies=FREQUENCIES), faces_with_votes()).votes
    assert found is not None
    (answers,) = found.whole.answers.values()
    assert answers.distances is None
    assert answers.reliability is None
    assert answers.majorities["7 classes"].correct == 1


def test_a_majority_for_seven_classes_of_a_network_that_knows_eight() -> None:
    eight = (*ferjax.EMOTIONS, "contempt")
    assert votes.class_sets(eight, NAMES) == {"8 classes": eight, "7 classes": ferjax.EMOTIONS}
    said = np.array([ANGRY, CONTEMPT, CONTEMPT])
    part = votes.against_votes(
        counted([{ANGRY: 10}, {CONTEMPT: 10}, {ANGRY: 10}]),
        np.array([0, 0, 0]),
        eight,
        {"training": votes.Answer(np.eye(8)[said], said)},
    )
    assert part is not None
    found = part.answers["training"].majorities
    assert (found["8 classes"].correct, found["8 classes"].images) == (2, 3)
    assert (found["7 classes"].correct, found["7 classes"].images) == (1, 2)


def test_no_votes_of_the_split() -> None:
    assert evaluate(Stub(), faces_with_votes(said=[{}] * 6)).votes is None
    assert evaluate(Stub(), known_faces()).votes is None


def test_no_majority_at_all() -> None:
    found = evaluate(Stub(), faces_with_votes(said=[{ANGRY: 2, FEAR: 2}] * 6))
    assert found.votes is not None
    assert found.votes.whole.own_label is None
    assert found.votes.whole.answers["training"].majorities == {}
    assert "no majority for the 7 classes: 6 no majority" in text(found)


def test_figures_against_the_own_label_stay_as_they_are() -> None:
    assert evaluate(Stub(), faces_with_votes(1)).whole == evaluate(Stub(), known_faces(1)).whole


@pytest.fixture(scope="module")
def found() -> Evaluation:
    known = {"temperature": 2.0, "training_frequencies": FREQUENCIES}
    return evaluate(Stub(**known), faces_with_votes(1))


def test_json(found: Evaluation) -> None:
    report = json.loads(json.dumps(found.to_json(), allow_nan=False))["votes"]
    assert report["names"] == list(NAMES)
    assert report["outliers"] == 1
    seven = report["whole"]["answers"]["training"]["majorities"]["7 classes"]
    assert (seven["correct"], seven["images"]) == (1, 3)
    assert report["without_copies"]["answers"]["uniform"]["single_tagger"]["interval"]


def test_text(found: Evaluation) -> None:
    lines = [" ".join(line.split()) for line in text(found).splitlines()]
    heading = "against people's votes (all images) as the network says calibrated uniform prior"
    table = lines[lines.index(heading) :]
    assert table[1:3] == ["majority, 7 classes: images 3 3 3", "accuracy 33.33 % 33.33 % 66.67 %"]
    assert "balanced accuracy 50.00 % 50.00 % 50.00 %" in table
    assert "agrees with one person 33.33 % 33.33 % 25.00 %" in table
    assert "no majority for the 7 classes: 1 no majority, 1 contempt, 1 unknown" in table
    # Own label: two of three; the majority: one, as the network says, none by a uniform prior.
    assert "angry 66.67 % 3 100.00 % 0.00 % 1" in table
    assert "against people's votes (without copies)" in text(found)


def test_what_flatters_is_told(found: Evaluation) -> None:
    here = "the calibration was fitted on these images, which flatters the figures after it"
    assert here not in text(found)
    assert found.calibrated is not None
    fitted = dataclasses.replace(found.calibrated, fitted_here=True)
    assert here in text(dataclasses.replace(found, calibrated=fitted))
    labels = "majority of people, 7 classes"
    selected = {"data": "validation", "images": 6, "labels": labels}
    known = {"trained_on": {"data": "x", "votes": "1f"}, "selected_on": selected}
    notes = evaluate(Stub(**known), faces_with_votes()).notes
    assert notes[0] == (
        "the weights were selected on these images (validation, by the majority of people, 7 "
        "classes): the figures flatter them"
    )
    assert provenance.described(known["trained_on"]) == "x, with people's votes"


def test_the_page_and_its_pictures(
    tmp_path: Path, found: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = write(found, tmp_path).read_text(encoding="utf-8")
    assert "What several people said" in page
    assert "66.67 % of the images that have a majority" in page.replace("\n", " ")
    first = " ".join(page[page.index("<h1>") : page.index("<h2>")].split())
    measured = found.votes.whole.answers["training"].majorities if found.votes else {}
    assert list(measured) == ["7 classes", "8 classes"]
    for classes, figures in measured.items():
        agreed = f"Of the {figures.images} on which most of the people who were asked agree"
        share = f"{percent(figures.accuracy)} get what these say"
        assert f"{agreed} ({classes}), {share}" in first
    assert page.count("<td>majority, 8 classes: images</td>") == 2
    pictures = {path.stem for path in tmp_path.glob("*.png")}
    assert {"votes_recall", "votes_reliability"} <= pictures
    monkeypatch.setattr(gallery, "draw_all", lambda *_, **__: {})
    without = dataclasses.replace(found, votes=None)
    assert "several people" not in write(without, tmp_path).read_text(encoding="utf-8")
    assert not list(tmp_path.glob("votes_*.png"))


@pytest.mark.parametrize("draw", [plots.votes_recall, plots.votes_reliability])
def test_nothing_of_the_pictures_is_cut_off(found: Evaluation, draw: Any) -> None:
    figure = draw(found)
    figure.canvas.draw()
    box = figure.get_tightbbox(figure.canvas.get_renderer())  # inches
    width, height = figure.get_size_inches()
    assert min(box.x0, box.y0) >= 0
    assert box.x1 <= width
    assert box.y1 <= height


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    network = tiny()
    path = tmp_path / "tiny.h5"
    keras.save(path, network, drawn(network), labels=ferjax.EMOTIONS)
    metadata.write(path, {"labels": list(ferjax.EMOTIONS)})
    return path


def test_record_keeps_the_labels_apart(weights: Path, found: Evaluation) -> None:
    record(found, weights)
    entries = metadata.read(weights)["accuracy"]
    rows = [
        (e.get("labels"), e.get("prior"), e["correct"], e["images"], e["note"][:12])
        for e in entries
    ]
    seven, eight = "majority of people, 7 classes", "majority of people, 8 classes"
    assert rows == [
        (None, None, 4, 6, "1 of the ima"),
        (None, None, 3, 5, "without exac"),
        (seven, None, 1, 3, "1 of the ima"),
        (seven, None, 0, 2, "without exac"),
        (eight, None, 1, 4, "1 of the ima"),
        (eight, None, 0, 3, "without exac"),
        (seven, "uniform", 2, 3, "1 of the ima"),
        (seven, "uniform", 2, 2, "without exac"),
        (eight, "uniform", 2, 4, "1 of the ima"),
        (eight, "uniform", 2, 3, "without exac"),
    ]
    assert entries[2]["balanced"] == 0.5
    record(found, weights)
    assert metadata.read(weights)["accuracy"] == entries
    record(dataclasses.replace(found, votes=None), weights)
    assert metadata.read(weights)["accuracy"] == entries
    assert (
        "- validation, against the majority of people, 8 classes, prior uniform: 66.67 % of 3 "
        in (card.text(weights))
    )


def test_a_calibration_that_was_fitted_here_is_recorded(weights: Path, found: Evaluation) -> None:
    assert found.calibrated is not None
    fitted = dataclasses.replace(found.calibrated, fitted_here=True)
    record(dataclasses.replace(found, calibrated=fitted), weights)
    entries = metadata.read(weights)["accuracy"]
    flattered = [e.get("prior") for e in entries if e["note"].endswith("fitted on these images")]
    assert flattered == ["uniform"] * 4


def test_a_majority_s_copies_are_counted(weights: Path) -> None:
    faces = faces_with_votes(copies=3)  # of which two have a majority
    own = provenance.measured(faces, "train", 0, "train").data_checksum
    metadata.write(weights, {"trained_on": {"data": "train", "images": 2, "checksum": own}})
    stub = Stub(**metadata.read(weights))
    record(evaluate(stub, faces), weights)
    notes = {e["note"] for e in metadata.read(weights)["accuracy"] if e.get("labels")}
    assert notes == {
        "2 of the images are exact copies of training images",
        "without exact copies of training images",
    }


def test_the_card(tmp_path: Path, weights: Path) -> None:
    report = {**evaluate(weights, faces_with_votes(1)).to_json(), "command": None}
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report), encoding="utf-8")
    text = card.text(weights, [path])
    assert "| against people's votes (all images) | as the network says |" in text
    assert "| majority, 7 classes: images | 3 |" in text
    assert "| recall (without copies) | own label | images |" in text
    assert "| recall (all images)" not in text
    del report["votes"]  # of an earlier version
    path.write_text(json.dumps(report), encoding="utf-8")
    assert "people's votes" not in card.text(weights, [path])
