"""From a recipe and prepared faces to weights that JAX and Keras use.

`recipes` says what is done, in the words of `recipe_fields`; `training_data` and `targets` are what
is learnt, `initialization` the network and weights to begin with; `optimizers`, `losses` and
`state` make it up; `step` is the pure function, which `compiled_steps` has the devices run;
`distillation` is for what it learns from, `batch_norm` and `validation` for what it has made;
`checkpoints`, `controllers`, `logs`, `export` and `result` are what goes on around it; `loop` puts
them together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ferjax.train.recipes import RECIPES, Recipe, recipe

if TYPE_CHECKING:
    from ferjax.train.errors import NonFiniteError, TrainingError
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
    if name == "train_and_evaluate":
        from ferjax.train.loop import train_and_evaluate

        return train_and_evaluate
    if name == "TrainingResult":
        from ferjax.train.result import TrainingResult

        return TrainingResult
    if name in ("NonFiniteError", "TrainingError"):
        from ferjax.train import errors

        return getattr(errors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
