"""What a training says of the optimizer's state that a weight file has, or has not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ferjax.keras import STATE_LEFT_OUT, KerasModel, OptimizerState
from ferjax.nets.graph import Graph
from ferjax.nets.layers import Dense, Flatten
from ferjax.train.recipes import Recipe
from ferjax.train.setup import adam_notes

GRAPH = Graph.sequential([Flatten(), Dense(units=2)], input_shape=(2, 2, 1))
SETTINGS = {"learning_rate": 0.5, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
RECIPE = Recipe(learning_rate=0.5, epsilon=1e-7)


def model(notes: list[str], name: str | None = "Adam", **settings: float) -> KerasModel:
    state = None if name is None else OptimizerState(name, 1200, {}, {}, {**SETTINGS, **settings})
    return KerasModel("m.keras", "keras", GRAPH, {}, state, notes=notes)


def test_a_state_that_is_left_out_is_told() -> None:
    why = f"{STATE_LEFT_OUT}: the state of 'Adamax' is not read"
    found = adam_notes(RECIPE, model(["layer 'a': x is left out", why], None))
    assert found == (False, [f"m.keras: {why}"])
    assert adam_notes(RECIPE, model([], None)) == (False, [])


def test_settings_that_are_left_out_are_told() -> None:
    takes, notes = adam_notes(RECIPE, model(["optimizer: clipnorm=1.0 is left out"]))
    assert takes
    assert notes == [
        "m.keras: Adam goes on after 1,200 steps",
        "m.keras: optimizer: clipnorm=1.0 is left out",
    ]


@pytest.mark.parametrize(
    "decay, ours, said",
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
def test_weight_decay_is_compared(decay: Any, ours: float, said: list[str]) -> None:
    recipe = dataclasses.replace(RECIPE, optimizer="adamw", weight_decay=ours)
    settings = {} if decay is None else {"weight_decay": decay}
    _, (_, *notes) = adam_notes(recipe, model([], "AdamW", **settings))
    assert len(notes) == len(said)
    assert all(note.startswith(start) for note, start in zip(notes, said))


def test_sgd_takes_no_moments() -> None:
    recipe = dataclasses.replace(RECIPE, optimizer="sgd")
    takes, notes = adam_notes(recipe, model([], "AdamW"))
    assert not takes
    assert notes == ["m.keras: the moments of AdamW are left out: the recipe's optimizer is sgd"]
