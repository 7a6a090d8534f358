"""From a recipe and prepared faces to weights that JAX and Keras use.

`loop` reads from top to bottom: `begin` finds, checks and locks a run, in a `run_folder`, and makes
its first state; then come the epochs, and `result` measures, saves and returns. `recipes` says what
is done, in the words of `recipe_fields`; `training_data` and `targets` are what is learnt,
`initialization` the network and weights to begin with, `distillation` what other networks add;
`optimizers`, `losses` and `state` make up `step`, the pure function, which `compiled_steps` has the
`devices` run; `batch_norm` and `validation` are for what it has made; `checkpoints`, `controllers`,
`logs`, `reporting`, `signals` and `export` are what goes on around it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ferjax.train.errors import NonFiniteError, TrainingError
from ferjax.train.recipes import RECIPES, Recipe, recipe

if TYPE_CHECKING:
    from ferjax.train.loop import train_and_evaluate
    from ferjax.train.result import TrainingResult

__all__ = [
    "RECIPES",
    "NonFiniteError",
    "Recipe",
    "TrainingError",
    "TrainingResult",
    "recipe",
    "train_and_evaluate",
]


def __getattr__(name: str) -> Any:
    # optax and Orbax are imported when something is trained: a recipe needs neither.
    if name in ("TrainingResult", "train_and_evaluate"):
        return getattr(importlib.import_module("ferjax.train.loop"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
