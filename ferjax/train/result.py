"""What a run came to: its weights and what they reach."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ferjax import metadata
from ferjax.train import logs
from ferjax.train.training_data import TrainingData
from ferjax.train.validation import Evaluator


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
            were used, then against their majority: "labels" says so.
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
        own_labels: where validation is by votes, of all its images with their own labels.

    Returns:
        As `metadata.accuracy`: against the images' own labels first, then against the votes.
    """
    accuracies = []
    if own_labels is not None:
        accuracies = _measured(own_labels, variables, data, data.whole.copies)
    return accuracies + _measured(evaluator, variables, data, data.copies, data.labels)


def selected_by(accuracies: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the accuracy, of those that a run recorded, by which its weights were selected.

    >>> selected_by([{"top_1": 0.7}, {"labels": "majority of people, 7 classes", "top_1": 0.8}])
    {'labels': 'majority of people, 7 classes', 'top_1': 0.8}
    """
    of_people = (e for e in accuracies if e.get("labels") and not e.get("prior"))
    return next(of_people, accuracies[0])


def _measured(
    evaluator: Evaluator,
    variables: Any,
    data: TrainingData,
    copies: npt.NDArray[np.bool_],
    labels: str | None = None,
) -> list[dict[str, Any]]:
    name = data.name("validation")
    loss, correct, count = evaluator(variables)
    note = f"{int(copies.sum())} of the images are exact copies of training images"
    accuracies = [metadata.accuracy(name, correct, count, loss / count, note=note, labels=labels)]
    if copies.any() and not copies.all():
        loss, correct, count = evaluator(variables, ~copies)
        note = "without exact copies of training images"
        accuracies.append(
            metadata.accuracy(name, correct, count, loss / count, note=note, labels=labels)
        )
    return accuracies
