"""A run that has begun: what stays the same in it, and how far it has come."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import jax

from ferjax.data.order import TrainingBatches
from ferjax.nets.network import Network
from ferjax.train.checkpoints import Checkpoints
from ferjax.train.controllers import Controllers
from ferjax.train.devices import Devices
from ferjax.train.logs import Row
from ferjax.train.recipes import Recipe
from ferjax.train.reporting import Reporter
from ferjax.train.run_folder import RunRecord
from ferjax.train.state import TrainState
from ferjax.train.training_data import TrainingData
from ferjax.train.validation import Evaluator


@dataclass(frozen=True, kw_only=True)
class Run:
    """What stays the same in a run."""

    folder: Path
    record: RunRecord
    data: TrainingData
    network: Network
    devices: Devices
    batches: TrainingBatches  # which images each step has
    reporter: Reporter  # is told what happens
    checkpoints: Checkpoints
    evaluator: Evaluator  # of the validation images
    evaluated: Callable[[TrainState], Any]  # returns the variables that are evaluated and saved

    @property
    def recipe(self) -> Recipe:
        return self.record.recipe

    @property
    def total_steps(self) -> int:
        return self.batches.steps(self.recipe.epochs)

    @property
    def writes(self) -> bool:
        """Whether this process writes the files; one of several hosts does."""
        return jax.process_index() == 0

    def save(self, train_state: TrainState, progress: Progress, score: float | None = None) -> None:
        """Begin to save a checkpoint; `score` is as for `Checkpoints.save`."""
        record = {**progress.to_json(), "batches": self.batches.settings}
        self.checkpoints.save(progress.step, train_state, record, score=score)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run has come: with the state, what a checkpoint holds."""

    step: int = 0  # steps done
    history: list[Row] = dataclasses.field(default_factory=list)  # one for each complete epoch
    controllers: Controllers = Controllers()
    seconds: float = 0.0  # of training, interruptions left out
    hardware: list[str]  # what the run was on, in turn

    @property
    def epoch(self) -> int:
        """Complete epochs."""
        return len(self.history)

    def with_epoch(self, recipe: Recipe, row: Row) -> Self:
        """Return the progress after another epoch, of which `row` is in the log."""
        controllers = self.controllers.update(recipe, row, row["epoch"], row["step"])
        return dataclasses.replace(self, history=[*self.history, row], controllers=controllers)

    def is_over(self, run: Run) -> bool:
        """Whether all steps are done, or early stopping ends the run."""
        stops = self.epoch > 0 and self.controllers.early_stopping.stops(run.recipe)
        return stops or self.step >= run.total_steps

    def to_json(self) -> dict[str, Any]:
        """Return values that `json.dumps` takes."""
        return {**vars(self), "epoch": self.epoch, "controllers": self.controllers.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return what `to_json` was called on."""
        fields = {field.name: values[field.name] for field in dataclasses.fields(cls)}
        return cls(**{**fields, "controllers": Controllers.from_json(values["controllers"])})
