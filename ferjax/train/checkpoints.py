"""Checkpoints by Orbax: asynchronous, the best and the last two kept, damage noticed.

A checkpoint holds the whole `TrainState` and, as JSON, its `Progress`: all that a run needs to go
on. Sums over the bits of every array are stored with it, so that an array that is read back
differently is noticed: Orbax itself would not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from ferjax.errors import first_line
from ferjax.train.controllers import Controllers
from ferjax.train.errors import TrainingError
from ferjax.train.logs import Row
from ferjax.train.recipes import Recipe
from ferjax.train.state import TrainState

FOLDER = "checkpoints"
_LAST = 2  # the last, and the one before it in case the last is damaged


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run has come: what a checkpoint holds beside the state."""

    step: int = 0  # steps done
    history: list[Row] = dataclasses.field(default_factory=list)  # one for each complete epoch
    controllers: Controllers = Controllers()
    seconds: float = 0.0  # of training, interruptions left out
    hardware: list[str]  # what the run was on, in turn
    batches: dict[str, Any]  # `TrainingBatches.settings`: which images each step has

    @property
    def epoch(self) -> int:
        """Complete epochs."""
        return len(self.history)

    def with_epoch(self, recipe: Recipe, row: Row) -> Self:
        """Return the progress after another epoch, of which `row` is in the log."""
        controllers = self.controllers.update(recipe, row, row["epoch"], row["step"])
        return dataclasses.replace(self, history=[*self.history, row], controllers=controllers)

    def to_json(self) -> dict[str, Any]:
        """Return values that `json.dumps` takes."""
        return {**vars(self), "epoch": self.epoch, "controllers": self.controllers.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return what `to_json` was called on."""
        fields = {field.name: values[field.name] for field in dataclasses.fields(cls)}
        return cls(**{**fields, "controllers": Controllers.from_json(values["controllers"])})


@jax.jit
def checksums(state: Any) -> jax.Array:
    """Return a sum over the bits of each leaf, uint32 (leaves,), that any changed bit changes.

    Each word times an odd number: a changed bit changes the sum, and so do swapped words.
    """

    def checksum(leaf: jax.Array) -> jax.Array:
        words = jax.lax.bitcast_convert_type(leaf, "uint32").reshape(-1)
        odd = 2 * jnp.arange(words.size, dtype="uint32") + 1
        return (words * odd).sum(dtype="uint32")

    return jnp.stack([checksum(leaf) for leaf in jax.tree.leaves(state)])


def saved_steps(run_dir: Path) -> list[int]:
    """Return the steps of a run's checkpoints by the names of their folders, in any order."""
    return [int(path.name) for path in (run_dir / FOLDER).glob("*") if path.name.isdigit()]


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, run_dir: Path, every: float) -> None:
        """Open or make the folder `checkpoints` of a run, for one every so many seconds."""
        _quieten()
        self.folder, self._every = run_dir / FOLDER, every
        keep = policies.AnyPreservationPolicy(
            [
                policies.LatestN(_LAST),
                policies.BestN(
                    # The best; of equal ones the earliest, which sorts last.
                    get_metric_fn=lambda m: (-m["score"], -m["epoch"]),
                    n=1,
                    keep_checkpoints_without_metrics=False,
                ),
            ]
        )
        self._options = ocp.CheckpointManagerOptions(
            preservation_policy=keep,
            best_fn=lambda m: -m["score"],  # without it metrics are forgotten when a process ends
            save_decision_policy=policies.FixedIntervalPolicy(1),
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
        )
        self._saved = time.monotonic()
        self._open()

    def _open(self) -> None:
        with _one_line_error(f"{self.folder}: cannot be opened"):
            self._manager = ocp.CheckpointManager(self.folder.absolute(), options=self._options)

    def save(self, state: TrainState, progress: Progress, score: float | None = None) -> None:
        """Begin to save, unless the step is saved; the arrays are copied before this returns.

        `score` is that of the epoch that ended here, less is better; None within an epoch.
        """
        if progress.step not in self._manager.all_steps():
            sums = [int(value) for value in np.asarray(checksums(state))]
            with self._saving():
                self._manager.save(
                    progress.step,
                    args=ocp.args.Composite(
                        state=ocp.args.StandardSave(state),
                        record=ocp.args.JsonSave({**progress.to_json(), "checksums": sums}),
                    ),
                    metrics=None if score is None else {"score": score, "epoch": progress.epoch},
                    force=True,
                )
        self._saved = time.monotonic()

    def is_due(self) -> bool:
        """Whether it is time for the next one."""
        return time.monotonic() - self._saved >= self._every

    def wait(self) -> None:
        """Return when everything that was begun is on the disk."""
        with self._saving():
            self._manager.wait_until_finished()

    def reached_preemption(self, step: int) -> bool:
        """Whether all hosts have agreed to stop after `step`, because one is to be preempted."""
        return bool(self._manager.reached_preemption(step))

    def restore_latest(self, like: TrainState) -> tuple[TrainState, Progress] | None:
        """Return the latest checkpoint that is whole, or None where there is none at all.

        A damaged one is named in a warning and put aside, and the one before it is used.

        Args:
            like: a state of the same shapes, dtypes and shardings.

        Raises:
            TrainingError: there are checkpoints, and all are damaged.
        """
        damaged: list[str] = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                restored = self.restore(step, like)
            except TrainingError as error:
                damaged.append(str(error))
                warnings.warn(f"{error}; the one before it is used", stacklevel=2)
                continue
            if damaged:
                self._put_aside(step)
            return restored
        if damaged:
            raise TrainingError(
                f"{self.folder}: no checkpoint is whole ({'; '.join(damaged)}); begin anew with "
                "--force, or put an older copy back"
            )
        return None

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, Progress]:
        """Return the checkpoint of a step, once it is known to be whole."""
        place = f"checkpoint {self.folder / str(step)}"
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(abstract), record=ocp.args.JsonRestore()
                ),
            )
            state, record = restored["state"], dict(restored["record"])
            sums = [int(value) for value in np.asarray(checksums(state))]
        except Exception as error:  # Orbax and TensorStore raise many kinds
            raise TrainingError(f"{place} is damaged ({first_line(error)})") from None
        if record.pop("checksums", None) != sums or int(state.step) != step:
            raise TrainingError(f"{place} is damaged (its arrays are not those that were saved)")
        return state, Progress.from_json(record)

    def close(self) -> None:
        self._manager.close()

    def _put_aside(self, step: int) -> None:
        """Rename checkpoints after `step`, so that new ones can take their place."""
        for later in [saved for saved in self._manager.all_steps() if saved > step]:
            if jax.process_index() == 0:
                folder = self.folder / str(later)
                folder.rename(self.folder.parent / f"damaged-checkpoint-{later}")
        self._manager.close()
        self._open()

    def _saving(self) -> contextlib.AbstractContextManager[None]:
        # Which one: what fails in the background is raised by the next call.
        return _one_line_error(f"{self.folder}: a checkpoint was not saved", self._how_to_go_on)

    def _how_to_go_on(self) -> str:
        steps = saved_steps(self.folder.parent)
        if not steps:
            return "; no checkpoint was saved before"
        return f"; step {max(steps)} is the last that was: mend this and go on with --resume"


@contextlib.contextmanager
def _one_line_error(message: str, hint: Any = lambda: "") -> Iterator[None]:
    """Turn what Orbax, TensorStore and the operating system raise into one line."""
    try:
        yield
    except TrainingError:
        raise
    except Exception as error:
        raise TrainingError(f"{message} ({first_line(error)}){hint()}") from error


def _quieten() -> None:
    """Leave to ferjax what is reported: Orbax tells of every save, and of failures that it raises.

    Its background tasks reach the logs by way of absl and asyncio.
    """
    for name in ("absl", "asyncio"):
        logger = logging.getLogger(name)
        if _not_from_orbax not in logger.filters:
            logger.addFilter(_not_from_orbax)


def _not_from_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname and "orbax" not in record.getMessage()
