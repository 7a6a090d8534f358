"""The plateau and early stopping decide as Keras's own callbacks do."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from ferjax.train.controllers import EarlyStopping, Plateau
from ferjax.train.recipes import Recipe

# Keras's own reading of the learning rate, some thousand times.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def losses(seed: int) -> list[float]:
    """Return values with many ties, and exact in float32, in which Keras compares."""
    return (np.random.default_rng(seed).integers(0, 16, 40) / 16).tolist()


def begun(callback: Any, learning_rate: float) -> Any:
    """Return the callback at the begin of training, on what it needs of a model."""
    optimizer = keras.optimizers.SGD(learning_rate)
    callback.set_model(SimpleNamespace(optimizer=optimizer, stop_training=False))
    callback.on_train_begin()
    return callback


@pytest.mark.parametrize("monitor", ["loss", "accuracy"])
@pytest.mark.parametrize("min_delta", [0.0, 1 / 16, 1 / 8])
@pytest.mark.parametrize("min_rate", [0.0, 0.01])
def test_plateau(monitor: str, min_delta: float, min_rate: float) -> None:
    reductions = 0
    for patience, cooldown, seed in itertools.product((1, 2, 5), (0, 1, 4), range(3)):
        recipe = Recipe(
            schedule="plateau",
            monitor=monitor,
            learning_rate=0.5,
            plateau_factor=0.5,
            plateau_patience=patience,
            plateau_min_delta=min_delta,
            plateau_cooldown=cooldown,
            min_learning_rate=min_rate,
        )
        callback = begun(
            keras.callbacks.ReduceLROnPlateau(
                monitor=f"val_{monitor}",
                mode="min" if monitor == "loss" else "max",
                factor=0.5,
                patience=patience,
                min_delta=min_delta,
                cooldown=cooldown,
                min_lr=min_rate,
            ),
            0.5,
        )
        plateau, ours, theirs = Plateau(), [], []
        for epoch, value in enumerate(losses(seed)):
            plateau = plateau.update(recipe, {f"val_{monitor}": value})
            callback.on_epoch_end(epoch, {f"val_{monitor}": value})
            ours.append(0.5 * plateau.factor)
            theirs.append(float(callback.model.optimizer.learning_rate))
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, err_msg=str((patience, cooldown, seed)))
        reductions += len(set(ours)) - 1
    assert reductions > 60  # so there was something to compare


@pytest.mark.parametrize("monitor", ["loss", "accuracy"])
def test_early_stopping(monitor: str) -> None:
    epochs = set()
    for patience, seed in itertools.product((1, 2, 3, 6), range(10)):
        recipe = Recipe(monitor=monitor, early_stopping=patience)
        callback = begun(
            keras.callbacks.EarlyStopping(
                monitor=f"val_{monitor}",
                mode="min" if monitor == "loss" else "max",
                patience=patience,
            ),
            0.5,
        )
        stopping = EarlyStopping()
        for epoch, value in enumerate(losses(seed)):
            stopping = stopping.update(recipe, {f"val_{monitor}": value})
            callback.on_epoch_end(epoch, {f"val_{monitor}": value})
            assert stopping.stops(recipe) == callback.model.stop_training, (patience, seed, epoch)
            if callback.model.stop_training:
                epochs.add(epoch)
                break
        else:
            pytest.fail("it never stops")
    assert len(epochs) > 5
