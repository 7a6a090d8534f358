"""The errors of training."""

from __future__ import annotations

from ferjax.errors import FerjaxError


class RecipeError(FerjaxError, ValueError):
    """A recipe's name, key or value is invalid."""


class TrainingError(FerjaxError, RuntimeError):
    """A run cannot begin or go on: its folder, its data or its checkpoints do not fit."""


class NonFiniteError(TrainingError, ArithmeticError):
    """The loss or a gradient is no longer finite. `step` is the step at which it happened."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step
