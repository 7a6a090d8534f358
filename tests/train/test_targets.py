"""Training on what several people said: targets, frequencies, and runs that learn them."""

from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ferjax
from ferjax import digests, keras, metadata
from ferjax.data.dataset import Faces
from ferjax.data.votes import NOT_A_FACE, UNKNOWN, Votes
from ferjax.evaluate import provenance
from ferjax.train import (
    Recipe,
    TrainingError,
    TrainingResult,
    initialization,
    optimizers,
    state,
    step,
    targets,
    train_and_evaluate,
    training_data,
)
from ferjax.train.losses import cross_entropy
from ferjax.train.recipes import RECIPES
from ferjax.train.reporting import Reporter, Status
from ferjax.train.result import selected_by

from ..networks import drawn, tiny
from .conftest import make_faces, prepared

pytestmark = pytest.mark.usefixtures("curves_as_text")

NETWORK = tiny()
RECIPE = Recipe(name="test", epochs=2, batch_size=32, learning_rate=3e-3, votes=0.8)
SHORT = dataclasses.replace(RECIPE, epochs=1)
LEFT_OUT = dataclasses.replace(SHORT, unclear="leave out")
COLUMNS = ("tense", "calm", "glad", UNKNOWN, NOT_A_FACE, "bored")


class Recorder(Reporter):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def train(data: Any, run: Path, recipe: Recipe | str | None = RECIPE, **options: Any) -> Any:
    if not options.get("resume"):
        options = {"architecture": NETWORK} | options
    return train_and_evaluate(recipe, data, run, **{"reporter": Reporter()} | options)


def few(counts: list[list[float]], labels: list[int]) -> Faces:
    """Make images of the classes calm, glad and tense, with votes in the order of COLUMNS."""
    n = len(labels)
    return Faces(
        images=np.arange(n * 4, dtype=np.uint8).reshape(n, 2, 2),
        labels=np.array(labels, np.int32),
        splits=np.zeros(n, np.int8),
        names=tuple(f"face {row}" for row in range(n)),
        class_names=("calm", "glad", "tense"),
        source_sizes=np.full((n, 2), 2, np.int32),
        votes=Votes(counts=np.array(counts, np.float32), names=COLUMNS),
    )


def with_votes(faces: Faces | None = None, *, seed: int = 0) -> Faces:
    """Let ten people vote: of every fourth image for the class after its label, of every eighth
    from the third on that it is no face.
    """
    faces = make_faces(copies=10) if faces is None else faces
    rows = np.arange(len(faces))
    voted = np.where(rows % 4 == seed, (faces.labels + 1) % 7, faces.labels)
    counts = np.zeros((len(faces), 8), np.float32)
    counts[rows, voted] = 7
    counts[rows, (voted + 2) % 7] += 3
    counts[rows % 8 == 3] = 10 * np.eye(8)[7]
    votes = Votes(counts=counts, names=(*ferjax.EMOTIONS, NOT_A_FACE))
    return dataclasses.replace(faces, votes=votes)


# --- targets by hand -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "label", "changes", "expected"),
    [
        # Six of ten for calm and four for glad; the label is tense.
        ([0, 6, 4, 0, 0, 0], 2, {}, [0.48, 0.32, 0.2]),
        ([0, 6, 4, 0, 0, 0], 2, {"votes": 1.0}, [0.6, 0.4, 0]),
        ([0, 6, 4, 0, 0, 0], 0, {"votes": 0.5}, [0.8, 0.2, 0]),
        ([0, 6, 4, 0, 0, 0], 2, {"vote_target": "majority"}, [0.8, 0, 0.2]),
        # A single vote is no vote, unless all count.
        ([1, 6, 3, 0, 0, 0], 0, {"votes": 1.0}, [6 / 9, 3 / 9, 0]),
        ([1, 6, 3, 0, 0, 0], 0, {"votes": 1.0, "vote_outliers": 0.0}, [0.6, 0.3, 0.1]),
        # Half of the votes are for a class: that is enough; less is not.
        ([0, 5, 0, 3, 2, 0], 2, {}, [0.8, 0, 0.2]),
        ([0, 4, 0, 3, 3, 0], 2, {}, [0, 0, 1]),
        ([0, 4, 0, 0, 0, 6], 2, {}, [0, 0, 1]),
        # All said that it is no face, or nobody was asked.
        ([0, 0, 0, 0, 10, 0], 1, {}, [0, 1, 0]),
        ([0, 0, 0, 0, 0, 0], 1, {}, [0, 1, 0]),
        # No class has more than half.
        ([0, 5, 5, 0, 0, 0], 2, {"vote_target": "majority"}, [0, 0, 1]),
        ([0, 5, 5, 0, 0, 0], 2, {}, [0.4, 0.4, 0.2]),
    ],
)
def test_targets(
    counts: list[float], label: int, changes: dict[str, Any], expected: list[float]
) -> None:
    by_votes = targets.of_votes(few([counts], [label]), dataclasses.replace(RECIPE, **changes))
    assert by_votes.values.dtype == np.float32
    np.testing.assert_allclose(by_votes.values, [expected], atol=1e-7)
    own = np.eye(3)[label].tolist()
    assert by_votes.named.tolist() == [expected != own]


def test_votes_belong_to_their_images_and_columns() -> None:
    faces = few([[0, 6, 4, 0, 0, 0], [9, 1, 0, 0, 0, 0], [0, 0, 8, 2, 0, 0]], [0, 1, 2])
    assert faces.votes is not None
    values = targets.of_votes(faces, RECIPE).values
    other = Votes(counts=faces.votes.counts[[1, 2, 0]], names=faces.votes.names)
    mixed_up = targets.of_votes(dataclasses.replace(faces, votes=other), RECIPE).values
    np.testing.assert_allclose(values, [[0.68, 0.32, 0], [0, 0.2, 0.8], [0, 0.8, 0.2]], atol=1e-7)
    expected = [[0.2, 0, 0.8], [0, 1, 0], [0.48, 0.32, 0.2]]
    np.testing.assert_allclose(mixed_up, expected, atol=1e-7)
    assert targets.checksum(other) != targets.checksum(faces.votes)
    order = [3, 5, 1, 0, 4, 2]
    turned = Votes(
        counts=faces.votes.counts[:, order], names=tuple(COLUMNS[column] for column in order)
    )
    same = targets.of_votes(dataclasses.replace(faces, votes=turned), RECIPE).values
    np.testing.assert_array_equal(same, values)
    renamed = Votes(counts=faces.votes.counts, names=turned.names)
    assert targets.checksum(renamed) != targets.checksum(faces.votes)


# --- frequencies ---------------------------------------------------------------------------------

SOFT = np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 1, 0]], np.float32)


def test_frequencies_by_hand() -> None:
    np.testing.assert_allclose(targets.frequencies(SOFT), [1.5 / 4, 2.5 / 4, 0])
    # The first two images are one group, the others another; each group comes half the time.
    by_group = targets.frequencies(SOFT, groups=np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(by_group, [0.5 * 0.75, 0.5 * 0.25 + 0.5, 0])
    # Weights of 4 / (2 * 1.5) and 4 / (2 * 2.5), of the second image their mean.
    weights = targets.balanced_weights(SOFT)
    np.testing.assert_allclose(weights, [4 / 3, 0.8, 0], rtol=1e-6)
    middle = (4 / 3 + 0.8) / 2
    sums = np.array([4 / 3 + middle / 2, middle / 2 + 2 * 0.8, 0])
    weighted = targets.frequencies(SOFT, class_weights=weights)
    np.testing.assert_allclose(weighted, sums / sums.sum(), rtol=1e-6)


def test_frequencies_are_those_of_the_images_as_they_come() -> None:
    recipe = dataclasses.replace(SHORT, sampling="balanced")
    data = training_data.load_data(with_votes(), recipe)
    order = training_data.order(recipe, data.groups)
    # Over seven epochs of 256 images each of the seven classes comes 256 times.
    rows = np.concatenate([order.epoch(number) for number in range(7)])
    assert np.bincount(data.groups[rows]).tolist() == [256] * 7
    assert (data.groups != data.train.labels).mean() > 0.1
    assert data.soft_labels is not None
    shown = data.soft_labels[rows].mean(0)
    np.testing.assert_allclose(data.frequencies(recipe), shown, atol=3e-3)
    plain = data.frequencies(SHORT)
    np.testing.assert_allclose(plain, data.soft_labels.mean(0), atol=1e-6)
    assert np.abs(plain - shown).max() > 0.01


def test_what_outputs_stand_for() -> None:
    shares = np.array([0.64, 0.36, 0.0])
    np.testing.assert_allclose(targets.prior(shares, 0), shares)
    np.testing.assert_allclose(targets.prior(shares, 0.5), [0.8 / 1.4, 0.6 / 1.4, 0])
    np.testing.assert_allclose(targets.prior(shares, 1), [0.5, 0.5, 0])


# --- logit adjustment ----------------------------------------------------------------------------


def test_offsets_of_logits() -> None:
    assert targets.logit_offsets(np.array([0.5, 0.5]), 0) is None
    offsets = targets.logit_offsets(np.array([0.5, 0.25, 0.25, 0]), 2)
    assert offsets is not None and offsets.dtype == np.float32
    np.testing.assert_allclose(offsets, 2 * np.log([0.5, 0.25, 0.25, 1]), rtol=1e-6)


def test_the_step_adjusts_the_loss_and_not_the_accuracy() -> None:
    """Weights of zero give logits of zero: the loss is that of the frequencies themselves."""
    recipe = dataclasses.replace(SHORT, optimizer="sgd", momentum=0.0, learning_rate=1.0)
    tx, rate = optimizers.optimizer(recipe), optimizers.schedule(recipe, 1)
    first = state.initial(recipe, NETWORK, tx, initialization.zeros(NETWORK.graph))
    faces = make_faces(32, 0)
    one_hot = np.eye(7, dtype=np.float32)[faces.labels]
    shares = np.array([1, 2, 3, 4, 5, 6, 7]) / 28
    offsets = targets.logit_offsets(shares, 1)
    one_step = step.train_step(recipe, NETWORK, tx, rate, state.step_key(recipe), None, offsets)
    after = jax.jit(one_step)(first, faces.images, one_hot)
    np.testing.assert_allclose(after.totals.loss, -np.log(shares[faces.labels]).sum(), rtol=1e-5)
    assert int(after.totals.correct) == (faces.labels == 0).sum()  # the first of equal logits
    bias = after.params["dense"]["bias"]
    np.testing.assert_allclose(bias, one_hot.mean(0) - shares, atol=1e-6)


def test_logit_adjustment_makes_rare_classes_as_likely() -> None:
    """Images that say nothing: a bias alone learns the frequencies, or none of them."""
    counts = np.array([6, 3, 1])
    one_hot = jnp.asarray(np.eye(3)[np.repeat(np.arange(3), counts)], "float32")
    shares = counts / counts.sum()

    @jax.jit
    def learnt(offsets: Any) -> Any:
        gradient = jax.grad(
            lambda b: cross_entropy(jnp.tile((b + offsets)[None], (10, 1)), one_hot).mean()
        )
        return jax.lax.fori_loop(0, 300, lambda _, b: b - gradient(b), jnp.zeros(3))

    for tau, expected in ((0.0, shares), (1.0, np.full(3, 1 / 3)), (0.5, shares**0.5)):
        offsets = targets.logit_offsets(shares, tau)
        bias = learnt(np.zeros(3, np.float32) if offsets is None else offsets)
        np.testing.assert_allclose(jax.nn.softmax(bias), expected / expected.sum(), atol=1e-4)
        np.testing.assert_allclose(targets.prior(shares, tau), expected / expected.sum())


# --- runs ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingResult, Recorder]:
    recorder = Recorder()
    recipe = dataclasses.replace(LEFT_OUT, logit_adjustment=0.5)
    run = tmp_path_factory.mktemp("voted") / "run"
    return train(with_votes(), run, recipe, reporter=recorder), recorder


def test_what_is_said_of_the_targets(done: tuple[TrainingResult, Recorder]) -> None:
    notes = "\n".join(done[1].notes)
    # 32 of the 256 training images are no faces by their votes; of the others 64 have another
    # majority than their label, and each target has 0.2 of the label and 0.56 of the majority.
    assert (
        "votes of 224 of 256 training images; 32, whose votes name no class, are left out" in notes
    )
    assert "the majority of votes is the image's own label in 71.4%" in notes
    own = (160 * 0.76 + 64 * 0.2) / 224
    assert f"targets give the own label {own:.1%} on average" in notes
    assert "validation: 56 of 64 images, those with a majority of votes" in notes
    assert "9 of the validation images are exact copies" in notes


def test_the_metadata_says_which_labels(done: tuple[TrainingResult, Recorder]) -> None:
    result, faces = done[0], with_votes()
    assert result.last is not None
    stated = metadata.read(result.last)
    name, people = "validation", "majority of people, 7 classes"
    assert [(a.get("labels"), a["images"]) for a in stated["accuracy"]] == [
        (None, 64),
        (None, 64 - 9),
        (people, 56),
        (people, 56 - 9),
    ]
    assert {a["dataset"] for a in stated["accuracy"]} == {name}
    assert stated["trained_on"]["images"] == 256
    assert stated["trained_on"]["left_out"] == 32
    assert stated["selected_on"] == {
        "data": name,
        "images": 64,
        "copies_of_training_images": 9,
        "left_out": 8,
        "labels": people,
    }
    validation = faces.take(faces.in_split("validation"))
    guessed = ferjax.load(result.last).predict_proba(validation.images).argmax(1)
    rows = np.arange(256, 320)
    majority = np.where(rows % 4 == 0, (validation.labels + 1) % 7, validation.labels)
    clear = rows % 8 != 3
    assert stated["accuracy"][0]["correct"] == (guessed == validation.labels).sum()
    assert stated["accuracy"][2]["correct"] == (guessed == majority)[clear].sum()
    assert result.history[-1]["val_accuracy"] == stated["accuracy"][2]["correct"] / 56
    assert selected_by(stated["accuracy"]) == stated["accuracy"][2]


def test_the_metadata_has_frequencies_and_prior(done: tuple[TrainingResult, Recorder]) -> None:
    assert done[0].last is not None
    stated = metadata.read(done[0].last)
    data = training_data.load_data(with_votes(), LEFT_OUT)
    assert data.soft_labels is not None
    shares = data.soft_labels.mean(0, dtype=np.float64)
    assert tuple(stated["training_frequencies"]) == tuple(stated["prior"]) == ferjax.EMOTIONS
    np.testing.assert_allclose(list(stated["training_frequencies"].values()), shares, atol=1e-6)
    expected = shares**0.5 / (shares**0.5).sum()
    np.testing.assert_allclose(list(stated["prior"].values()), expected, atol=1e-6)


def test_without_votes_the_frequencies_are_the_labels(tmp_path: Path) -> None:
    faces = with_votes()
    recipe = dataclasses.replace(SHORT, votes=0.0)
    result = train(faces, tmp_path / "run", recipe)
    assert result.last is not None
    stated = metadata.read(result.last)
    counts = np.bincount(faces.labels[:256]) / 256
    np.testing.assert_allclose(list(stated["training_frequencies"].values()), counts, atol=1e-6)
    assert stated["prior"] == stated["training_frequencies"]
    assert "votes" not in stated["trained_on"]
    assert [a.get("labels") for a in stated["accuracy"]] == [None] * 2
    assert "votes" not in json.loads((tmp_path / "run/run.json").read_text("utf-8"))["data"]


class Stopping(Reporter):
    def step(self, status: Status) -> None:
        if status.step == 10:
            signal.raise_signal(signal.SIGTERM)


def test_a_run_goes_on_to_the_same_bits_and_with_the_same_votes_alone(tmp_path: Path) -> None:
    data = prepared(tmp_path / "data", with_votes())
    whole = train(data, tmp_path / "whole")
    run = tmp_path / "run"
    stopped = train(data, run, reporter=Stopping())
    assert stopped.interrupted == signal.SIGTERM and stopped.step < 16
    for faces in (with_votes(seed=1), dataclasses.replace(with_votes(), votes=None)):
        with pytest.raises(TrainingError, match=r"other data: votes '\w+' there, |has no votes"):
            train(faces, run, None, resume=True)
    with pytest.raises(TrainingError, match=r"another recipe .* votes: 0\.8, 0\.5"):
        train(data, run, dataclasses.replace(RECIPE, votes=0.5), resume=True)
    resumed = train(None, run, None, resume=True)
    assert resumed.step == whole.step == 16
    a, b = (keras.load(result.last).variables for result in (resumed, whole))
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert resumed.last_accuracy == whole.last_accuracy


def test_a_network_learns_what_people_said(tmp_path: Path) -> None:
    faces = make_faces(1024)
    rng = np.random.default_rng(9)
    noise = dataclasses.replace(faces, labels=rng.integers(0, 7, 1088).astype(np.int32))
    counts = 10 * np.eye(7, dtype=np.float32)[faces.labels]
    voted = dataclasses.replace(noise, votes=Votes(counts=counts, names=ferjax.EMOTIONS))
    recipe = dataclasses.replace(RECIPE, epochs=12, votes=1.0)
    own, majority = train(voted, tmp_path / "run", recipe).last_accuracy
    assert majority["top_1"] > 0.8
    assert own["top_1"] < 0.4


def test_teachers_have_their_share_of_the_whole(tmp_path: Path) -> None:
    teacher = tmp_path / "teacher.h5"
    keras.save(teacher, NETWORK, drawn(NETWORK, 1), labels=ferjax.EMOTIONS)
    faces = with_votes()
    recipe = dataclasses.replace(SHORT, distillation=0.6)
    train(faces, tmp_path / "run", recipe, teachers=[teacher])
    soft_labels = np.load(tmp_path / "run" / "soft_labels.npy")
    images = faces.images[:256]
    classifier = ferjax.load(teacher)
    views = [classifier.predict_proba(x) for x in (images, images[:, :, ::-1])]
    mixed = targets.of_votes(faces, recipe).values[:256]
    np.testing.assert_allclose(soft_labels, 0.3 * (views[0] + views[1]) + 0.4 * mixed, atol=1e-6)


# --- what is refused -----------------------------------------------------------------------------


def test_data_without_votes(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"has no votes, of which recipe test makes 0\.8 of"):
        train(make_faces(), tmp_path / "run")
    with pytest.raises(TrainingError, match=r"`ferjax data prepare SOURCE --votes VOTES\.csv` a"):
        train(make_faces(), tmp_path / "run", "votes")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("first", "split"), [(0, "train"), (256, "validation")])
def test_votes_for_nothing(tmp_path: Path, first: int, split: str) -> None:
    faces = with_votes()
    assert faces.votes is not None
    counts = faces.votes.counts.copy()
    counts[first : first + 256] = 0
    nothing = dataclasses.replace(faces, votes=Votes(counts=counts, names=faces.votes.names))
    with pytest.raises(TrainingError, match=f"no {split} image has votes for one of the data's"):
        train(nothing, tmp_path / "run")


def test_fewer_images_than_a_batch(tmp_path: Path) -> None:
    recipe = dataclasses.replace(LEFT_OUT, batch_size=225)
    with pytest.raises(TrainingError, match="of at most 224, the training images in the data"):
        train(with_votes(), tmp_path / "run", recipe)


def test_the_recipe_votes_goes_on_from_the_default_weights(tmp_path: Path) -> None:
    faces = with_votes(make_faces(64, 16, size=48))
    path = initialization.default_init(RECIPES["votes"], faces)
    assert path.name == "fer_cnn8.h5" and path.is_file()

    class Stop(Recorder):
        def note(self, text: str) -> None:
            super().note(text)
            if text.startswith("validation:"):  # the last before training
                raise KeyboardInterrupt

    recorder = Stop()
    with pytest.raises(KeyboardInterrupt):
        train_and_evaluate("votes", faces, tmp_path / "run", reporter=recorder)
    assert recorder.notes[0] == "starting from fer_cnn8.h5, which ferjax brings (--init: others)"
    begun = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    assert begun["started_from"]["sha256"] == digests.sha256(path)
    with pytest.raises(TrainingError, match=r"weights of fer_cnn8: expected `init` for fer_cnn5"):
        train_and_evaluate("votes", faces, tmp_path / "other", architecture="fer_cnn5")
    with pytest.raises(TrainingError, match="expected `init` for another network"):
        train_and_evaluate("votes", faces, tmp_path / "other", architecture=NETWORK)
    eight = dataclasses.replace(faces, class_names=(*ferjax.EMOTIONS, "contempt"))
    with pytest.raises(TrainingError, match=r"for the data's classes, angry, .* contempt \(--ini"):
        train_and_evaluate("votes", eight, tmp_path / "other")


def test_evaluation_knows_the_images_that_weights_were_selected_on(
    done: tuple[TrainingResult, Recorder],
) -> None:
    assert done[0].last is not None
    measured = provenance.measured(with_votes(), "validation", 10, "validation of mine")
    notes = provenance.overlaps(metadata.read(done[0].last), measured)
    expected = "the weights were selected on these images (validation of mine, by the majority of"
    assert notes[0].startswith(expected)
