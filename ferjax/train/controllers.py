"""What the validation images decide, epoch by epoch: plateau, early stopping, the best epoch.

Each is a frozen record; `update` returns the next one. They are stored with every checkpoint.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from ferjax.train.recipes import Recipe


def score(monitor: str, metrics: Mapping[str, float]) -> float:
    """Return the monitored metric such that less is better."""
    value = metrics[f"val_{monitor}"]
    return -value if monitor == "accuracy" else value


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """Reduce the learning rate when nothing gets better, as Keras's ReduceLROnPlateau does."""

    best: float = math.inf
    wait: int = 0  # epochs without improvement
    cooldown: int = 0  # epochs of rest that are left
    factor: float = 1.0  # times the recipe's learning rate

    def update(self, recipe: Recipe, metrics: Mapping[str, float]) -> Self:
        if recipe.schedule != "plateau":
            return self
        cooldown = max(0, self.cooldown - 1)
        value = score(recipe.monitor, metrics)
        if value < self.best - recipe.plateau_min_delta:
            return dataclasses.replace(self, best=value, wait=0, cooldown=cooldown)
        if cooldown:
            return dataclasses.replace(self, cooldown=cooldown)
        if self.wait + 1 < recipe.plateau_patience:
            return dataclasses.replace(self, wait=self.wait + 1, cooldown=0)
        lowest = recipe.min_learning_rate / recipe.learning_rate
        factor = max(self.factor * recipe.plateau_factor, min(lowest, self.factor))
        return dataclasses.replace(self, wait=0, cooldown=recipe.plateau_cooldown, factor=factor)


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """End the run when nothing gets better, as Keras's EarlyStopping does."""

    best: float = math.inf
    wait: int = 0  # epochs without improvement

    def update(self, recipe: Recipe, metrics: Mapping[str, float]) -> Self:
        value = score(recipe.monitor, metrics)
        if value < self.best:
            return dataclasses.replace(self, best=value, wait=0)
        return dataclasses.replace(self, wait=self.wait + 1)

    def stops(self, recipe: Recipe) -> bool:
        return recipe.early_stopping is not None and self.wait >= recipe.early_stopping


@dataclass(frozen=True, kw_only=True)
class Best:
    """The epoch with the best validation metric; the earlier one where two are equal."""

    score: float = math.inf
    epoch: int = 0  # 0: none yet
    step: int = 0

    def update(self, recipe: Recipe, metrics: Mapping[str, float], epoch: int, step: int) -> Self:
        value = score(recipe.select, metrics)
        if value < self.score:
            return dataclasses.replace(self, score=value, epoch=epoch, step=step)
        return self


@dataclass(frozen=True, kw_only=True)
class Controllers:
    """All three together."""

    plateau: Plateau = Plateau()
    early_stopping: EarlyStopping = EarlyStopping()
    best: Best = Best()

    def update(self, recipe: Recipe, metrics: Mapping[str, float], epoch: int, step: int) -> Self:
        return dataclasses.replace(
            self,
            plateau=self.plateau.update(recipe, metrics),
            early_stopping=self.early_stopping.update(recipe, metrics),
            best=self.best.update(recipe, metrics, epoch, step),
        )

    def to_json(self) -> dict[str, Any]:
        """Return values that `json.dumps` takes; infinity as None."""
        return {
            name: {k: None if v == math.inf else v for k, v in part.items()}
            for name, part in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return what `to_json` was called on."""
        kinds: dict[str, Any] = {"plateau": Plateau, "early_stopping": EarlyStopping, "best": Best}
        return cls(
            **{
                name: kind(**{k: math.inf if v is None else v for k, v in values[name].items()})
                for name, kind in kinds.items()
            }
        )
