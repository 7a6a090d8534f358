"""What a run comes to: its weights measured, saved and returned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ferjax import metadata
from ferjax.train import export, logs
from ferjax.train.begin import Run
from ferjax.train.checkpoints import Progress
from ferjax.train.reporting import duration
from ferjax.train.run_folder import BEST, LAST
from ferjax.train.state import TrainState
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
        paths = {"run_dir": self.run_dir, "best": self.best, "last": self.last}
        return {**vars(self), **{k: None if v is None else str(v) for k, v in paths.items()}}


def finish(
    run: Run, train_state: TrainState, progress: Progress, interrupted: int | None
) -> TrainingResult:
    """Measure the last and the best weights, save them, and return what the run came to.

    `interrupted` is the signal that ended it before its time, or None.
    """
    step, note = progress.step, run.reporter.note
    accuracy: dict[str, list[dict[str, Any]]] = {}
    if progress.epoch:
        note(
            "measuring the last and the best weights"
            if interrupted is None
            else f"step {step:,} is saved; measuring the last and the best weights "
            "(Ctrl-C leaves that out)"
        )
        accuracy = _measure_and_save(run, train_state, progress)
    if interrupted is None:
        note(f"done in {duration(progress.seconds)} of training")
    else:
        note(f"stopped at step {step:,} of {run.total_steps:,}; it is saved")
    return TrainingResult(
        run_dir=run.folder,
        step=step,
        history=progress.history,
        best=run.folder / BEST if accuracy else None,
        last=run.folder / LAST if accuracy else None,
        best_accuracy=accuracy.get(BEST, []),
        last_accuracy=accuracy.get(LAST, []),
        data=run.data.path,
        interrupted=interrupted,
        is_first_host=run.writes,
    )


def _measure_and_save(
    run: Run, train_state: TrainState, progress: Progress
) -> dict[str, list[dict[str, Any]]]:
    """Save the last and the best weights; return what each reaches, by the name of its file."""
    own_labels = None
    if run.data.majority is not None:
        own_labels = Evaluator(run.network, run.data.whole.validation, run.devices)
    best, accuracy = progress.controllers.best, {}
    measured: dict[int, tuple[Any, list[dict[str, Any]]]] = {}
    for name, epoch, step in ((LAST, progress.epoch, progress.step), (BEST, best.epoch, best.step)):
        if step not in measured:  # the last may be the best
            if step != progress.step:
                train_state, _ = run.checkpoints.restore(step, train_state)
            variables = run.evaluated(train_state)
            measured[step] = variables, _measure(run, variables, own_labels)
        variables, accuracy[name] = measured[step]
        described = export.describe(run, progress, epoch=epoch, step=step, accuracy=accuracy[name])
        if run.writes:
            host = jax.tree.map(np.asarray, variables)
            export.save(run.folder / name, run.network, host, described)
    return accuracy


def _measure(run: Run, variables: Any, own_labels: Evaluator | None) -> list[dict[str, Any]]:
    """Return the accuracy on all validation images and, where some are copies, without these.

    Where validation is by votes, `own_labels`, of all its images with their own, comes first.
    """
    data, accuracies = run.data, []
    passes = [(run.evaluator, data.copies, data.labels)]
    if own_labels is not None:
        passes = [(own_labels, data.whole.copies, None), *passes]
    for evaluator, copies, labels in passes:
        note = f"{int(copies.sum())} of the images are exact copies of training images"
        counted: list[Any] = [(None, note)]
        if copies.any() and not copies.all():
            counted += [(~copies, "without exact copies of training images")]
        for only, note in counted:
            loss, correct, count = evaluator(variables, only)
            name, mean = data.name("validation"), loss / count
            accuracies.append(
                metadata.accuracy(name, correct, count, mean, note=note, labels=labels)
            )
    return accuracies


def selected_by(accuracies: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the accuracy, of those that a run recorded, by which its weights were selected.

    >>> selected_by([{"top_1": 0.7}, {"labels": "majority of people, 7 classes", "top_1": 0.8}])
    {'labels': 'majority of people, 7 classes', 'top_1': 0.8}
    """
    of_people = (a for a in accuracies if a.get("labels") and not a.get("prior"))
    return next(of_people, accuracies[0])
