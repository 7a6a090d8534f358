"""Training a network of one sigmoid unit on two classes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ferjax
from ferjax import keras, metadata
from ferjax.data.augment import Augmentation
from ferjax.data.dataset import Faces
from ferjax.errors import LabelsError
from ferjax.evaluate import evaluate
from ferjax.nets import Graph, Network
from ferjax.nets.head import Head
from ferjax.nets.layers import Dense, Flatten, Layer
from ferjax.train import (
    Recipe,
    TrainingError,
    TrainingResult,
    losses,
    optimizers,
    state,
    step,
    train_and_evaluate,
)
from ferjax.train.reporting import Reporter

from ..networks import chain, drawn, tiny_graph
from .conftest import make_faces, two_classes

pytestmark = pytest.mark.usefixtures("curves_as_text")

CLASSES = ("calm", "tense")
RECIPE = Recipe(name="test", epochs=4, batch_size=32, learning_rate=1e-2)


def one_unit(activation: str = "sigmoid") -> Network:
    layers = tiny_graph().layers[:-1]
    return Network(Graph.sequential([*layers, Dense(units=1, activation=activation)], name="one"))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file of one unit, without labels, as Keras writes it."""
    network = one_unit()
    path = tmp_path / "one.h5"
    keras.save(path, network, drawn(network))
    return path


def train(
    data: Faces | None, run: Path, recipe: Recipe | None = RECIPE, **options: Any
) -> TrainingResult:
    return train_and_evaluate(recipe, data, run, reporter=Reporter(), **options)


# --- a step --------------------------------------------------------------------------------------


def test_the_loss_is_the_binary_cross_entropy() -> None:
    head = Head.of(one_unit().graph)
    p = np.array([[0.2], [0.9]])
    logits = head.logits(jnp.asarray(np.log(p / (1 - p)), "float32"))
    labels = jax.nn.one_hot(jnp.array([1, 0]), 2)
    plain = [-np.log(0.2), -np.log(0.1)]
    np.testing.assert_allclose(losses.cross_entropy(logits, labels), plain, rtol=1e-5)
    # Smoothed by 0.2, Keras's binary labels are 0.9 and 0.1.
    smooth = [-(0.9 * np.log(0.2) + 0.1 * np.log(0.8)), -(0.1 * np.log(0.9) + 0.9 * np.log(0.1))]
    by_image = losses.cross_entropy(logits, labels, smoothing=0.2)
    np.testing.assert_allclose(by_image, smooth, rtol=1e-5)
    weighted = losses.cross_entropy(logits, labels, jnp.array([3.0, 5.0]))
    np.testing.assert_allclose(weighted, [5 * plain[0], 3 * plain[1]], rtol=1e-5)


def bias_alone(*end: Layer) -> Network:
    return chain(Flatten(), *end, shape=(12, 12, 1))


@pytest.mark.parametrize("labels", ["integers", "soft"])
def test_the_gradient_of_a_step_by_hand(labels: str) -> None:
    # p = 1/2 of each image, so the gradient of the bias is the mean of p - y.
    network = bias_alone(Dense(name="dense", units=1, activation="sigmoid"))
    recipe = Recipe(optimizer="sgd", nesterov=False, learning_rate=0.5, momentum=0.0)
    variables = {"params": {"dense": {"kernel": np.zeros((144, 1)), "bias": np.zeros(1)}}}
    variables = jax.tree.map(np.float32, {**variables, "batch_stats": {}})
    tx = optimizers.optimizer(recipe)
    first = state.initial(recipe, network, tx, variables)
    schedule = optimizers.schedule(recipe, 1)
    one_step = step.train_step(recipe, network, tx, schedule, state.step_key(recipe))
    y = np.array([1, 1, 1, 0], np.int32)
    targets = y if labels == "integers" else np.eye(2, dtype=np.float32)[y]
    after = jax.jit(one_step)(first, np.zeros((4, 12, 12), np.uint8), targets)
    np.testing.assert_allclose(after.params["dense"]["bias"], [-0.5 * (0.5 - 0.75)], rtol=1e-6)
    assert float(after.totals.loss) == pytest.approx(4 * np.log(2))
    assert int(after.totals.correct) == 3  # at 0.5 it says the second

    totals = step.eval_step(network)(
        variables, np.zeros((4, 12, 12), np.uint8), jnp.asarray(y), jnp.ones(4, bool)
    )
    assert float(totals.loss) == pytest.approx(4 * np.log(2))
    assert int(totals.correct) == 3


# --- a run ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_file_of_one_unit_goes_on(tmp_path: Path, weights: Path) -> None:
    faces = two_classes()
    result = train(faces, tmp_path / "run", init=weights)
    history = result.history
    assert history[-1]["loss"] < history[0]["loss"] - 0.05
    assert history[-1]["accuracy"] > 0.65  # 4 of 7 patterns are calm
    assert result.best is not None
    assert result.last is not None
    model = keras.load(result.last)
    assert model.graph.output_shape == (1,)
    assert model.labels == list(CLASSES)
    assert metadata.read(result.last)["labels"] == list(CLASSES)
    evaluation = evaluate(result.last, faces)
    assert evaluation.whole.accuracy == pytest.approx(history[-1]["val_accuracy"])
    assert evaluation.whole.calibration is not None
    nll = evaluation.whole.calibration.negative_log_likelihood
    assert nll == pytest.approx(history[-1]["val_loss"], abs=1e-4)
    # What it has written goes on, with its labels, and a finished run is resumed as it is.
    resumed = train(faces, tmp_path / "run", None, resume=True)
    assert resumed.history == history
    more = train(faces, tmp_path / "more", init=result.best)
    assert more.history[0]["loss"] < history[0]["loss"]


def test_everything_that_a_recipe_has(tmp_path: Path, weights: Path) -> None:
    network = one_unit()
    teacher = tmp_path / "teacher.h5"
    keras.save(teacher, network, drawn(network, 1), labels=CLASSES[::-1])
    recipe = dataclasses.replace(
        RECIPE,
        epochs=1,
        label_smoothing=0.1,
        class_weights="balanced",
        logit_adjustment=0.5,
        distillation=0.5,
        sam_rho=0.05,
        ema_decay=0.9,
        clean_statistics=64,
        augmentation=Augmentation(mixup=0.3),
    )
    result = train(two_classes(), tmp_path / "run", recipe, init=weights, teachers=[teacher])
    assert np.isfinite(result.history[0]["loss"])
    soft = np.load(tmp_path / "run" / "soft_labels.npy")
    assert soft.shape == (256, 2)
    # The teacher's labels are in another order than the data's.
    faces = two_classes()
    train_images, own = faces.images[:256], np.eye(2)[faces.labels[:256]]
    classifier = ferjax.load(teacher)
    views = [classifier.predict_proba(x)[:, ::-1] for x in (train_images, train_images[:, :, ::-1])]
    np.testing.assert_allclose(soft, 0.25 * sum(views) + 0.5 * own, atol=1e-6)


def test_a_run_from_scratch_by_a_config(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=1)
    result = train(two_classes(), tmp_path / "run", recipe, architecture=one_unit())
    assert result.last is not None
    assert ferjax.load(result.last).labels == CLASSES


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        ("linear", "it ends in one linear unit, which may be the logit"),
        ("softmax", "the network can only ever say one thing"),
        ("tanh", "one unit of activation 'tanh' that nothing makes a probability"),
        ("hard_sigmoid", "for two classes, in one sigmoid unit, its last act.* 'hard_sigmoid'"),
    ],
)
def test_other_units_are_not_trained(tmp_path: Path, activation: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        train(two_classes(), tmp_path / "run", architecture=one_unit(activation))
    assert not (tmp_path / "run").exists()


def test_data_and_labels_that_do_not_fit(tmp_path: Path) -> None:
    network = one_unit()
    with pytest.raises(TrainingError, match=r"7 classes .* of shape \(1,\), which tells 2 apart"):
        train(make_faces(), tmp_path / "run", architecture=network)
    path = tmp_path / "other.h5"
    keras.save(path, network, drawn(network), labels=CLASSES[::-1])
    with pytest.raises(LabelsError, match="in their order, calm, tense, got tense, calm"):
        train(two_classes(), tmp_path / "run", init=path)


# --- what is measured ----------------------------------------------------------------------------


def test_images_at_a_half_count_as_the_second(tmp_path: Path) -> None:
    network = bias_alone(Dense(units=1, activation="sigmoid"))
    dense = {"kernel": np.zeros((144, 1), np.float32), "bias": np.zeros(1, np.float32)}
    path = tmp_path / "half.h5"
    variables = {"params": {"dense": dense}, "batch_stats": {}}
    keras.save(path, network, variables, labels=CLASSES)
    faces = two_classes()
    seconds = int(faces.labels[256:].sum())
    evaluation = evaluate(path, faces, tta="flip")
    assert evaluation.predictions.predicted.tolist() == [1] * 64
    assert (evaluation.whole.correct, evaluation.whole.confusion) == (
        seconds,
        ((0, 64 - seconds), (0, seconds)),
    )
    assert evaluation.whole.abstention[0].accuracy == evaluation.whole.accuracy
    assert evaluation.whole.calibration is not None
    assert evaluation.whole.calibration.ece_equal_width == pytest.approx(abs(seconds / 64 - 0.5))
