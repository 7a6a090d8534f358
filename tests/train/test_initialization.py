"""What a training says of the optimizer's state and the class names that a weight file lacks."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import ferjax
from ferjax.keras import STATE_LEFT_OUT, KerasModel, OptimizerState
from ferjax.nets import fer_cnn5
from ferjax.nets.network import Network
from ferjax.train import initialization
from ferjax.train.initialization import adam_moments, label_note
from ferjax.train.recipes import Recipe
from ferjax.weights import read

from ..networks import one_dense
from .conftest import make_faces

GRAPH = one_dense(2).graph
SETTINGS = {"learning_rate": 0.5, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
RECIPE = Recipe(learning_rate=0.5, epsilon=1e-7)


def model(notes: list[str], name: str | None = "Adam", **settings: float) -> KerasModel:
    state = None if name is None else OptimizerState(name, 1200, {}, {}, {**SETTINGS, **settings})
    return KerasModel("m.keras", "keras", GRAPH, {}, state, notes=notes)


def test_a_state_that_is_left_out_is_told() -> None:
    why = f"{STATE_LEFT_OUT}: the state of 'Adamax' is not read"
    moments_and_notes = adam_moments(RECIPE, model(["layer 'a': x is left out", why], None))
    assert moments_and_notes == (None, [f"m.keras: {why}"])
    assert adam_moments(RECIPE, model([], None)) == (None, [])


def test_settings_that_are_left_out_are_told() -> None:
    of_file = model(["optimizer: clipnorm=1.0 is left out"])
    moments, notes = adam_moments(RECIPE, of_file)
    assert moments is of_file.optimizer_state
    assert notes == [
        "m.keras: Adam goes on after 1,200 steps",
        "m.keras: optimizer: clipnorm=1.0 is left out",
    ]


@pytest.mark.parametrize(
    "decay, ours, expected",
    [
        (
            0.25,
            0.0,
            ["weight_decay was 0.25 there and is 0 here (--set weight_decay=0.25 goes on "],
        ),
        (0.25, 0.25, ["Keras decays every weight, ferjax the kernels alone"]),
        (None, 0.25, ["weight_decay was 0 there and is 0.25 here (--set weight_decay=0 goes on "]),
        (None, 0.0, []),
    ],
)
def test_weight_decay_is_compared(decay: Any, ours: float, expected: list[str]) -> None:
    recipe = dataclasses.replace(RECIPE, optimizer="adamw", weight_decay=ours)
    settings = {} if decay is None else {"weight_decay": decay}
    _, (_, *notes) = adam_moments(recipe, model([], "AdamW", **settings))
    assert len(notes) == len(expected)
    assert all(note.startswith(start) for note, start in zip(notes, expected))


def test_a_run_that_is_begun_again_knows_the_optimizer() -> None:
    """Weights alone do not say it: the whole model did, which was given as their architecture."""
    fixtures = Path(__file__).parents[1] / "fixtures" / "optimizers" / "keras-2.15.0"
    weights = fixtures / "loss_scale.weights.h5"
    config = str(fixtures / "loss_scale.keras")
    model = read(weights, config, with_optimizer=True)
    first = initialization.Start(network=model.network, model=model)
    assert model.optimizer_state is not None
    second = initialization.recorded_start(json.loads(json.dumps(first.recorded)), weights)
    assert second.model is not None and second.model.optimizer_state is not None
    assert second.model.optimizer_state.settings == model.optimizer_state.settings
    assert second.recorded == first.recorded and second.is_of(first.recorded)
    assert initialization.Start(network=model.network).is_of(first.recorded)
    other = initialization.Start(network=Network(GRAPH))
    assert not other.is_of(first.recorded) and other.recorded == other.description


def test_sgd_takes_no_moments() -> None:
    recipe = dataclasses.replace(RECIPE, optimizer="sgd")
    moments, notes = adam_moments(recipe, model([], "AdamW"))
    assert moments is None
    assert notes == ["m.keras: the moments of AdamW are left out: the recipe's optimizer is sgd"]


def test_names_that_the_weights_lack_are_the_data_s() -> None:
    faces = make_faces(8, 8)
    nameless = KerasModel("m.keras", "keras", GRAPH, {})
    taken = (
        "m.keras: has no class names; its outputs are taken for the data's, angry, disgust, fear"
    )
    tells = "(`ferjax inspect m.keras --data FACES` tells their order)"
    note = label_note(nameless, faces)
    assert note is not None and note.startswith(taken) and note.endswith(tells)
    published = KerasModel("m.keras", "keras", fer_cnn5().graph, {})
    note = label_note(published, faces)
    assert note is not None and note.startswith(taken)
    assert note.endswith(", as those of fer_cnn5, the published network are")
    turned = dataclasses.replace(faces, class_names=ferjax.EMOTIONS[::-1])
    note = label_note(published, turned)
    assert note is not None and "data's, surprise, sad, neutral" in note
    assert "but those of fer_cnn5, the published network are angry, disgust, fear" in note
    assert label_note(dataclasses.replace(published, labels=list(ferjax.EMOTIONS)), faces) is None
