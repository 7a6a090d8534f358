"""Plateau, early stopping and the best epoch, over sequences worked by hand as Keras has them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

import pytest

from ferjax.train.controllers import Best, Controllers, EarlyStopping, Plateau, score
from ferjax.train.recipes import Recipe


def factors(recipe: Recipe, values: Iterable[float]) -> list[float]:
    """Return the factor of the learning rate after each epoch."""
    plateau, factors = Plateau(), []
    for value in values:
        plateau = plateau.update(recipe, {f"val_{recipe.monitor}": value})
        factors.append(plateau.factor)
    return factors


def stopped_at(recipe: Recipe, values: Iterable[float]) -> int | None:
    """Return the epoch, from 1 on, after which the run ends."""
    stopping = EarlyStopping()
    for epoch, value in enumerate(values, start=1):
        stopping = stopping.update(recipe, {f"val_{recipe.monitor}": value})
        if stopping.stops(recipe):
            return epoch
    return None


def test_less_is_better_for_either_metric() -> None:
    metrics = {"loss": 9.0, "accuracy": 0.1, "val_loss": 1.5, "val_accuracy": 0.75}
    assert score("loss", metrics) == 1.5
    assert score("accuracy", metrics) == -0.75


# --- plateau -------------------------------------------------------------------------------------


def test_plateau_by_hand() -> None:
    recipe = Recipe(
        schedule="plateau",
        learning_rate=1.0,
        plateau_factor=0.5,
        plateau_patience=2,
        plateau_min_delta=0.25,
        plateau_cooldown=2,
        min_learning_rate=0.2,
    )
    epochs = [
        # (loss, factor afterwards)
        (4.0, 1.0),  # the first is the best
        (3.75, 1.0),  # better by the delta, not by more: 1 epoch without improvement
        (3.5, 1.0),  # better than 4 by more, so the count begins again
        (3.5, 1.0),  # 1
        (3.5, 0.5),  # 2: reduced
        (3.5, 0.5),  # 1 epoch of rest is left, and nothing is counted
        (3.5, 0.5),  # the rest is over: 1
        (3.5, 0.25),  # 2: reduced
        (2.0, 0.25),  # an improvement during the rest is one
        (2.0, 0.25),  # the rest is over: 1
        (1.75, 0.2),  # 2: reduced, to the lowest
        (2.0, 0.2),
        (2.0, 0.2),  # 1
        (2.0, 0.2),  # 2: it goes no lower
    ]
    assert factors(recipe, [loss for loss, _ in epochs]) == [factor for _, factor in epochs]


def test_patience_of_one_reduces_at_once_and_again() -> None:
    recipe = Recipe(schedule="plateau", plateau_factor=0.5, plateau_patience=1)
    assert factors(recipe, [1, 1, 1, 0.5, 1]) == [1, 0.5, 0.25, 0.25, 0.125]


def test_no_cooldown_counts_from_the_reduction_on() -> None:
    recipe = Recipe(schedule="plateau", plateau_factor=0.5, plateau_patience=3)
    assert factors(recipe, [1.0] * 8) == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_more_accuracy_is_an_improvement() -> None:
    recipe = Recipe(
        schedule="plateau",
        monitor="accuracy",
        plateau_factor=0.5,
        plateau_patience=1,
        plateau_min_delta=0.125,
    )
    assert factors(recipe, [0.25, 0.5, 0.625, 0.75, 0.5]) == [1, 1, 0.5, 0.5, 0.25]


def test_lowest_rate_above_the_recipe_s_changes_nothing() -> None:
    recipe = Recipe(
        schedule="plateau", learning_rate=0.1, min_learning_rate=0.2, plateau_patience=1
    )
    assert factors(recipe, [1, 1, 1]) == [1, 1, 1]


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
def test_other_schedules_have_no_plateau(schedule: str) -> None:
    plateau = Plateau()
    recipe = Recipe(schedule=schedule, plateau_patience=1)
    for _ in range(3):
        plateau = plateau.update(recipe, {"val_loss": 1.0})
    assert plateau == Plateau()


# --- early stopping ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patience", "losses", "expected"),
    [
        (1, [3, 2, 2, 1], 3),  # as good is not better
        (1, [3, 2, 1], None),
        (2, [3, 4, 2, 3, 1.9999, 2, 2], 7),
        (3, [1, 2, 3, 4], 4),
        (3, [1, 2, 3], None),
    ],
)
def test_early_stopping_by_hand(patience: int, losses: list[float], expected: int | None) -> None:
    assert stopped_at(Recipe(early_stopping=patience), losses) == expected


def test_early_stopping_on_accuracy() -> None:
    recipe = Recipe(early_stopping=2, monitor="accuracy")
    assert stopped_at(recipe, [0.5, 0.6, 0.55, 0.6]) == 4


def test_without_early_stopping_nothing_stops() -> None:
    assert stopped_at(Recipe(early_stopping=None), [1.0] * 50) is None


# --- the best epoch ------------------------------------------------------------------------------


def test_best_epoch_is_the_earlier_of_two_equals() -> None:
    best, recipe = Best(), Recipe(select="accuracy", monitor="loss")
    best_epochs = []
    for epoch, accuracy in enumerate([0.3, 0.5, 0.5, 0.4, 0.6], start=1):
        metrics = {"val_accuracy": accuracy, "val_loss": 1.0}
        best = best.update(recipe, metrics, epoch, step=10 * epoch)
        best_epochs.append((best.epoch, best.step))
    assert best_epochs == [(1, 10), (2, 20), (2, 20), (2, 20), (5, 50)]
    assert best.score == -0.6


def test_all_three_look_at_their_own_metric() -> None:
    recipe = Recipe(schedule="plateau", monitor="loss", select="accuracy", early_stopping=1)
    controllers = Controllers().update(recipe, {"val_loss": 2.0, "val_accuracy": 0.5}, 1, 7)
    controllers = controllers.update(recipe, {"val_loss": 3.0, "val_accuracy": 0.75}, 2, 14)
    assert controllers == Controllers(
        plateau=Plateau(best=2.0, wait=1),
        early_stopping=EarlyStopping(best=2.0, wait=1),
        best=Best(score=-0.75, epoch=2, step=14),
    )
    assert controllers.early_stopping.stops(recipe)


# --- JSON ----------------------------------------------------------------------------------------


def test_json_has_no_infinity_and_gives_the_same_again() -> None:
    fresh = Controllers()
    text = json.dumps(fresh.to_json(), allow_nan=False)
    assert json.loads(text)["plateau"]["best"] is None
    restored = Controllers.from_json(json.loads(text))
    assert restored == fresh
    assert restored.best.score == restored.early_stopping.best == math.inf


def test_json_after_some_epochs() -> None:
    recipe = Recipe(schedule="plateau", plateau_patience=2, plateau_cooldown=3)
    controllers = Controllers()
    for epoch, loss in enumerate([1 / 3, 0.7, 0.7, 0.7], start=1):
        controllers = controllers.update(
            recipe, {"val_loss": loss, "val_accuracy": 1 - loss}, epoch, epoch
        )
    assert controllers.plateau == Plateau(best=1 / 3, wait=0, cooldown=2, factor=0.2)
    text = json.dumps(controllers.to_json(), allow_nan=False)
    assert Controllers.from_json(json.loads(text)) == controllers
