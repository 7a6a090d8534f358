"""What a run came to: its weights and what they reach."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ferjax import metadata
from ferjax.train import logs
from ferjax.train.evaluation import Evaluator
from ferjax.train.setup import TrainingData
from ferjax.train.targets import MAJORITY


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a run came to.

    Attributes:
        run_dir: its folder.
        step: steps done.
        history: the rows of log.csv, one for each epoch.
        best, last: paths of the weights; None where no epoch was completed.
        best_accuracy, last_accuracy: what they reach, as in their metadata: on all validation
            images, and where some are copies of training images, on the others alone; where votes
            were used, against their majority first, then against the images' own labels.
        data: the folder of the data, or None where it was in memory.
        interrupted: the signal that ended it before its time, or None.
        is_first_host: whether this process wrote the files; one of several hosts does.
    """

    run_dir: Path
    step: int
    history: list[logs.Row]
    best: Path | None
    last: Path | None
    best_accuracy: list[dict[str, Any]]
    last_accuracy: list[dict[str, Any]]
    data: str | None = None
    interrupted: int | None = None
    is_first_host: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the result as values that `json.dumps` takes."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        paths = ("run_dir", "best", "last")
        return values | {k: None if values[k] is None else str(values[k]) for k in paths}


def measure(
    evaluator: Evaluator, variables: Any, data: TrainingData, own_labels: Evaluator | None = None
) -> list[dict[str, Any]]:
    """Return the accuracy on all validation images and, where some are copies, without these.

    Args:
        evaluator: of the validation images.
        variables: {"params", "batch_stats"} on the devices.
        data: of the run.
        own_labels: where validation is by votes, of all its images with their own labels; what is
            measured against votes says so in its name.
    """
    name = data.name("validation")
    if data.majority is None:
        return _measured(evaluator, variables, name, data.copies)
    found = _measured(evaluator, variables, f"{name}, {MAJORITY}", data.copies)
    if own_labels is not None:
        found += _measured(own_labels, variables, name, data.whole.copies)
    return found


def _measured(
    evaluator: Evaluator, variables: Any, name: str, copies: npt.NDArray[np.bool_]
) -> list[dict[str, Any]]:
    loss, correct, count = evaluator(variables)
    note = f"{int(copies.sum())} of the images are exact copies of training images"
    found = [metadata.accuracy(name, correct, count, loss / count, note=note)]
    if copies.any() and not copies.all():
        loss, correct, count = evaluator(variables, ~copies)
        note = "without exact copies of training images"
        found.append(metadata.accuracy(name, correct, count, loss / count, note=note))
    return found
