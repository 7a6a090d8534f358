"""The training loop: from a recipe and data to a folder with weights, whatever happens between.

Determinism: step k's batch, augmentation and dropout follow from the recipe's seed and k, and
all else is in the checkpoint. So a run that was killed and resumed ends bit for bit as one that was
not, on the same machine with the same number of devices.
"""

from __future__ import annotations

import dataclasses
import math
import signal
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ferjax.data.dataset import Faces
from ferjax.nets.network import Network
from ferjax.train import begin, optimizers, result
from ferjax.train.begin import Run
from ferjax.train.checkpoints import Progress
from ferjax.train.compiled_steps import CompiledSteps
from ferjax.train.controllers import score
from ferjax.train.distillation import PathLike
from ferjax.train.errors import NonFiniteError, TrainingError
from ferjax.train.logs import Logs
from ferjax.train.recipes import Recipe
from ferjax.train.reporting import Clock, ConsoleReporter, Reporter, Status
from ferjax.train.result import TrainingResult
from ferjax.train.signals import StopSignals
from ferjax.train.state import Totals, TrainState
from ferjax.xla import compile_cache

_AHEAD = 2  # calls that may wait on the device: it never idles, and an error is soon seen


def train_and_evaluate(
    recipe: Recipe | str | None,
    data: PathLike | Faces | None,
    run_dir: PathLike,
    *,
    changes: Sequence[str] = (),
    architecture: PathLike | Network | None = None,
    init: PathLike | None = None,
    teachers: Sequence[PathLike] = (),
    resume: bool = False,
    force: bool = False,
    checkpoint_every: float = 60.0,
    reporter: Reporter | None = None,
    licence: str | None = None,
    command: str | None = None,
) -> TrainingResult:
    """Train a network, keep the best and the last weights, and never lose the run.

    Args:
        recipe: a Recipe or the name of one; None: "fast", or what the run to resume has.
        data: a folder that `ferjax data prepare` made, its faces.npz, or Faces with a train and a
            validation split; None: that of the run to resume. Every host has the same.
        changes: to the recipe, such as "epochs=10"; see `ferjax.train.recipes.override`.
        run_dir: the folder for checkpoints, logs and weights.
        architecture: a name, a model.json, a Keras file or a Network; None: as in `init`, or the
            recipe's.
        init: weights to start from, any file that `ferjax.load` reads; Adam's moments, where it has
            them, are taken over. None: drawn weights, or where the recipe is of `FROM_DEFAULT`,
            ferjax's own.
        teachers: weights of trained networks whose probabilities are learnt beside the labels, any
            files that `ferjax.load` opens; the recipe's `distillation` says how much they count.
        resume: go on with the run in `run_dir`; where there is none yet, begin it.
        force: replace a run in `run_dir`.
        checkpoint_every: seconds between checkpoints; the best epochs are saved in any case. On
            several hosts they are saved at the ends of epochs alone.
        reporter: is told what happens; None: lines and a bar on stderr.
        licence: of the weights, for their metadata.
        command: stored with the run; None: the process's own.

    Returns:
        Where the weights are and what they reached. SIGTERM and SIGINT save a checkpoint and end
        the run early, with `interrupted` set.

    Raises:
        RecipeError, DataError, WeightFileError, TrainingError: recipe, data, network and folder do
            not fit together. Nothing has been written then.
        WriteError: the folder cannot be written to.
        NonFiniteError: the loss is no longer a number; earlier checkpoints stay.
    """
    if resume and force:
        raise TrainingError("expected `resume` or `force`, got both")
    if not checkpoint_every >= 0:  # nor NaN
        raise TrainingError(
            f"expected `checkpoint_every` of at least 0 seconds, got {checkpoint_every!r}"
        )
    # Under jax_enable_x64 draws would differ, and sums be of other dtypes than a checkpoint's.
    with (
        compile_cache(),
        jax.enable_x64(False),
        begin.begun(
            recipe,
            data,
            Path(run_dir),
            changes=changes,
            architecture=architecture,
            init=init,
            teachers=teachers,
            resume=resume,
            force=force,
            checkpoint_every=checkpoint_every,
            reporter=reporter or ConsoleReporter(),
            licence=licence,
            command=command,
        ) as (run, train_state, progress),
        StopSignals() as signals,
    ):
        train_state, progress = _train(run, train_state, progress, signals)
        early = signals.received or int(signal.SIGTERM)
        interrupted = None if run.is_over(progress) else early
        return result.finish(run, train_state, progress, interrupted)


def _train(
    run: Run, train_state: TrainState, progress: Progress, signals: StopSignals
) -> tuple[TrainState, Progress]:
    """Train epoch by epoch until the run is over or is to stop; then everything is saved."""
    recipe, devices = run.recipe, run.devices
    steps = CompiledSteps(recipe, run.network, run.data, run.batches, devices)
    schedule = optimizers.schedule(recipe, len(run.data.train) / recipe.batch_size)
    title = f"{recipe.name}: {run.network.graph.name}"
    logs = Logs(run.folder, progress.step + 1, title) if run.writes else None
    clock = Clock(run.total_steps, progress.seconds)
    stop = False
    while not (stop or run.is_over(progress)):
        # Train: the steps that are left of the epoch.
        began, first = time.monotonic(), progress.step
        train_state, progress, stop = _train_epoch(
            run, steps, train_state, progress, clock, signals
        )
        epoch, step = progress.epoch + 1, progress.step
        if step < run.batches.steps(epoch):
            break
        rate = (step - first) * recipe.batch_size / max(time.monotonic() - began, 1e-9)

        # Validate.
        loss, correct, count = run.evaluator(run.evaluated(train_state))
        if not math.isfinite(loss):
            raise _not_finite(run, "the validation loss", step - 1, epoch)
        totals = train_state.totals
        row = {
            "epoch": epoch,
            "step": step,
            "learning_rate": float(schedule(step - 1) * train_state.rate_factor),
            "loss": float(totals.loss) / int(totals.count),
            "accuracy": int(totals.correct) / int(totals.count),
            "val_loss": loss / count,
            "val_accuracy": correct / count,
            "images_per_second": round(rate, 1),
            "seconds": round(time.monotonic() - began, 2),
        }

        # Decide what follows: the best epoch, a lower rate, an early end.
        progress = progress.with_epoch(recipe, row)
        is_best = progress.controllers.best.epoch == epoch
        run.reporter.epoch(row, is_best=is_best)
        factor = np.float32(progress.controllers.plateau.factor)
        fresh = devices.replicate((factor, jax.tree.map(np.asarray, Totals.zero())))
        train_state = dataclasses.replace(train_state, rate_factor=fresh[0], totals=fresh[1])

        # Save, and log.
        stop = _must_stop(run, step, signals)
        is_due = run.checkpoints.is_due()
        if is_best or stop or is_due or run.is_over(progress) or jax.process_count() > 1:
            progress = dataclasses.replace(progress, seconds=clock.seconds)
            run.checkpoints.save(train_state, progress, score(recipe.select, row))
        if logs is not None:
            logs.write(progress.history, progress.controllers.best.epoch)
    run.checkpoints.wait()
    progress = dataclasses.replace(progress, seconds=clock.seconds)
    if logs is not None:
        logs.close(progress.history, progress.controllers.best.epoch)
    return train_state, progress


def _train_epoch(
    run: Run,
    steps: CompiledSteps,
    train_state: TrainState,
    progress: Progress,
    clock: Clock,
    signals: StopSignals,
) -> tuple[TrainState, Progress, bool]:
    """Do the steps that are left of an epoch; return the state, progress, and whether to stop."""
    end = run.batches.steps(progress.epoch + 1)
    pending: deque[tuple[int, Any]] = deque()
    stop = False
    while progress.step < end and not stop:
        count = min(steps.steps_per_call, end - progress.step)
        train_state, seen = steps(train_state, progress.step, count)
        progress = dataclasses.replace(progress, step=progress.step + count)
        pending.append((progress.step, seen))
        if len(pending) > _AHEAD:
            _report(run, progress.epoch + 1, clock, *pending.popleft())
        stop = _must_stop(run, progress.step, signals)
        # Hosts would not agree on the time; they save at the ends of epochs.
        is_due = run.checkpoints.is_due() and jax.process_count() == 1
        if progress.step < end and (stop or is_due):
            while pending:  # nothing is saved that has not been looked at
                _report(run, progress.epoch + 1, clock, *pending.popleft())
            progress = dataclasses.replace(progress, seconds=clock.seconds)
            run.checkpoints.save(train_state, progress)
    while pending:
        _report(run, progress.epoch + 1, clock, *pending.popleft())
    return train_state, progress, stop


def _report(run: Run, epoch: int, clock: Clock, step: int, seen: tuple[Totals, jax.Array]) -> None:
    """Wait for a call that was sent off a while ago, which ends at `step`; check and report it."""
    totals, bad_step = seen
    if (bad := int(bad_step)) >= 0:
        raise _not_finite(run, "the loss or a gradient", bad, epoch)
    count = max(1, int(totals.count))
    rate, left = clock.at(step)
    run.reporter.step(
        Status(
            epoch=epoch,
            epochs=run.recipe.epochs,
            step=step,
            steps=run.total_steps,
            loss=float(totals.loss) / count,
            accuracy=int(totals.correct) / count,
            images_per_second=rate * run.recipe.batch_size,
            seconds_left=left,
        )
    )


def _not_finite(run: Run, value: str, step: int, epoch: int) -> NonFiniteError:
    return NonFiniteError(
        f"{value} is no longer finite at step {step:,} (epoch {epoch}); the checkpoints before "
        f"it are in {run.checkpoints.folder}. A lower learning_rate, clip_norm=1 or a "
        "warm-up may help",
        step,
    )


def _must_stop(run: Run, step: int, signals: StopSignals) -> bool:
    if jax.process_count() > 1:
        return run.checkpoints.reached_preemption(step)
    return signals.received is not None
