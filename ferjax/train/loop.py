"""The training loop: from a recipe and data to a folder with weights, whatever happens between.

Determinism: step k's batch, augmentation and dropout follow from the recipe's seed and k, and
all else is in the checkpoint. So a run that was killed and resumed ends bit for bit as one that was
not, on the same machine with the same number of devices.
"""

from __future__ import annotations

import dataclasses
import math
import shlex
import signal
import sys
import time
import warnings
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from ferjax import released
from ferjax.data.dataset import Faces
from ferjax.data.order import TrainingBatches
from ferjax.errors import printable
from ferjax.files import is_utf8
from ferjax.nets.architectures import ARCHITECTURES
from ferjax.nets.network import Network
from ferjax.train import (
    checkpoints,
    distillation,
    export,
    initialization,
    logs,
    optimizers,
    result,
    run_folder,
    state,
    training_data,
)
from ferjax.train.batch_norm import CleanStatistics
from ferjax.train.checkpoints import Checkpoints
from ferjax.train.compiled_steps import CompiledSteps
from ferjax.train.controllers import Controllers, score
from ferjax.train.devices import Devices
from ferjax.train.errors import NonFiniteError, TrainingError
from ferjax.train.initialization import PathLike
from ferjax.train.recipes import FROM_DEFAULT, NEED_WEIGHTS, Recipe, override
from ferjax.train.recipes import recipe as named_recipe
from ferjax.train.reporting import Clock, ConsoleReporter, Reporter, Status, duration
from ferjax.train.result import TrainingResult
from ferjax.train.signals import StopSignals
from ferjax.train.state import Totals, TrainState
from ferjax.train.training_data import TrainingData
from ferjax.train.validation import Evaluator
from ferjax.xla import compile_cache

_DEFAULT_RECIPE = "fast"
_AHEAD = 2  # calls that may wait on the device: it never idles, and an error is soon seen
_DRAW_EVERY = 30.0  # seconds between pictures of the learning curves


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
    init = None if init is None else released.path_of(init)
    teachers = [released.path_of(path) for path in teachers]
    folder = Path(run_dir)
    if not is_utf8(str(folder.absolute())):
        raise TrainingError(
            f"{printable(str(folder))}: expected a folder whose path is UTF-8, Orbax takes no other"
        )
    chosen = named_recipe(recipe) if isinstance(recipe, str) else recipe
    # Under jax_enable_x64 draws would differ, and sums be of other dtypes than a checkpoint's.
    with compile_cache(), jax.enable_x64(False):
        there = run_folder.read(folder)
        if there is not None and not (resume or force):
            raise TrainingError(
                f"{folder}: holds a run; --resume goes on with it, --force replaces it"
            )
        if force:
            there = None
        if chosen is None and there is not None:
            chosen = Recipe.from_json(there["recipe"])
        chosen = override(chosen or named_recipe(_DEFAULT_RECIPE), changes)
        if chosen.name in NEED_WEIGHTS and init is None and there is None:
            raise TrainingError(
                f"recipe {chosen.name} goes on from trained weights: expected `init` "
                "(--init WEIGHTS)"
            )
        if data is None and there is not None:
            data = there["data"]["path"]
        if data is None:
            raise TrainingError(
                "expected `data`: a folder that `ferjax data prepare` made (--data DIR)"
            )
        if architecture is not None and str(architecture) in ARCHITECTURES:
            chosen = dataclasses.replace(chosen, architecture=str(architecture))
        given = training_data.load_data(data, chosen)
        reporter = reporter or ConsoleReporter()
        if chosen.name in FROM_DEFAULT and init is None and there is None:
            init = initialization.default_init(chosen, given.train, architecture)
            reporter.note(f"starting from {init.name}, which ferjax brings (--init: others)")
        run = _Run(
            chosen,
            given,
            folder,
            Devices.all(),
            reporter,
            checkpoint_every,
            licence,
        )
        return run.go(there, architecture, init, teachers, force, command)


class _Run:
    """One process's part in a run."""

    def __init__(
        self,
        recipe: Recipe,
        data: TrainingData,
        folder: Path,
        devices: Devices,
        reporter: Reporter,
        checkpoint_every: float,
        licence: str | None,
    ) -> None:
        self.recipe, self.data, self.folder = recipe, data, folder
        self.devices, self.reporter = devices, reporter
        self.checkpoint_every = checkpoint_every
        self.licence = licence
        self.writes = jax.process_index() == 0
        devices.check_batch(recipe.batch_size)
        self.batches = TrainingBatches(
            order=training_data.order(recipe, data.groups),
            batch_size=recipe.batch_size,
            shard_index=jax.process_index(),
            shard_count=jax.process_count(),
        )
        self.total_steps = self.batches.steps(recipe.epochs)
        self.controllers = Controllers()
        self.history: list[logs.Row] = []
        self.now = 0  # steps done
        self.drawn = time.monotonic()  # when the curves were
        # Set when training begins: when time was counted, the state saved, the epoch begun.
        self.lap = self.saved = self.began = 0.0
        self.seconds = 0.0  # of training, interruptions left out
        self.statistics: CleanStatistics | None = None
        self.hardware = [self.devices.describe()]  # in turn, where a run went on elsewhere

    # --- from nothing, or from where it was -----------------------------------------------------

    def go(
        self,
        there: dict[str, Any] | None,
        architecture: PathLike | Network | None,
        init: PathLike | None,
        teachers: Sequence[PathLike],
        force: bool,
        command: str | None,
    ) -> TrainingResult:
        recipe, described = self.recipe, self.data.describe()
        if there is not None:
            run_folder.check_same(self.folder, there, recipe, described)
            self._check_same_start(there, architecture, init)
            if teachers:
                distillation.check_same(self.folder, there.get("teachers", []), teachers)
        # The order in which a state is found:
        # 1. The latest whole checkpoint of the run.
        # 2. Weights to start from: those of `init`, or what the run to resume was begun with.
        # 3. Weights drawn from the seed.
        begun = there is not None and self._has_checkpoints()
        if there is None:
            start = initialization.start(
                recipe, self.data.train, init=init, architecture=architecture
            )
        else:
            init = None if begun else there["init"]
            start = initialization.again(there["network"], init)
        self.network = start.network
        tx = optimizers.optimizer(recipe)
        first = self._first_state(start, tx, begun)
        soft_labels = None
        if there is None and teachers and self.writes:
            soft_labels = distillation.soft_labels(
                teachers,
                self.data.train,
                recipe.distillation,
                self.reporter.note,
                self.data.soft_labels,
            )
        self._together("checked")  # before any host writes what another still looks for
        with run_folder.locked(self.folder):
            if there is None:
                there = {
                    "recipe": recipe.to_json(),
                    "data": described,
                    "init": None if init is None else str(Path(init).absolute()),
                    "started_from": export.started_from(init),
                    "teachers": [export.known(path) for path in teachers],
                    "network": start.recorded,
                    "command": command or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
                    "hardware": self.hardware[0],
                    "licence": self.licence,
                    "versions": export.versions(),
                }
                if self.writes:
                    if force and run_folder.read(self.folder) is not None:
                        run_folder.clear(self.folder)
                    size = sum(leaf.nbytes for leaf in jax.tree.leaves(first))
                    run_folder.begin(self.folder, there, size, soft_labels)
            self._together("begun")
            if there.setdefault("teachers", []):  # runs of earlier versions had none
                labels = distillation.read(self.folder, self.data.train)
                self.data = dataclasses.replace(self.data, soft_labels=labels)
            # Where a run was begun before this was recorded, what can still be found.
            there.setdefault("started_from", export.started_from(there["init"]))
            self.run = there
            self._introduce(described)
            self.checkpoints = Checkpoints(self.folder)
            try:
                train_state = self.devices.replicate(first)
                found = self.checkpoints.restore_latest(train_state)
                if found is None:
                    self.checkpoints.save(0, train_state, self._record(0, 0), score=None)
                else:
                    train_state = self._resume(*found)
                return self._train(train_state, tx)
            finally:
                self.reporter.close()
                self.checkpoints.close()

    def _check_same_start(
        self, there: dict[str, Any], architecture: PathLike | Network | None, init: PathLike | None
    ) -> None:
        """Refuse to resume with another network, or other weights to start from."""
        if init is not None and str(Path(init).absolute()) != there["init"]:
            raise TrainingError(
                f"{self.folder}: was begun from {there['init'] or 'drawn weights'}, not from "
                f"{init}; resume without --init, or begin in another folder"
            )
        if init is None and architecture is not None:
            start = initialization.start(self.recipe, self.data.train, architecture=architecture)
            if not start.is_of(there["network"]):
                raise TrainingError(
                    f"{self.folder}: was begun with another network; resume without "
                    "--architecture, or begin in another folder"
                )

    def _together(self, where: str) -> None:
        """Wait for the other hosts."""
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"ferjax {where}")

    def _has_checkpoints(self) -> bool:
        folder = self.folder / checkpoints.FOLDER
        return folder.is_dir() and any(p.name.isdigit() for p in folder.iterdir())

    def _first_state(self, start: initialization.Start, tx: Any, begun: bool) -> TrainState:
        model = start.model
        variables = None if model is None else model.variables
        if begun:  # a checkpoint follows: shapes are all that is wanted
            variables = initialization.zeros(start.network.graph)
        size = self.data.train.images.shape[1:]
        first = state.initial(self.recipe, start.network, tx, variables, size)
        if model is not None:
            takes, notes = initialization.adam_notes(self.recipe, model)
            unnamed = initialization.label_note(model, self.data.train)
            for note in [unnamed] * (unnamed is not None) + notes:
                self.reporter.note(f"note: {note}")
            if takes:
                moments = model.optimizer_state
                assert moments is not None
                first = state.with_adam(first, moments.step, moments.mu, moments.nu)
        return first

    def _introduce(self, described: dict[str, Any]) -> None:
        images, note = described["images"], self.reporter.note
        graph = self.network.graph
        note(f"recipe {self.recipe.name}:\n{self.recipe}")
        note(
            f"{graph.name}, {graph.num_params:,} parameters; {images['train']:,} training and "
            f"{images['validation']:,} validation images ({described['names']['validation']}); "
            f"{self.devices.describe()}"
        )
        if self.recipe.compute_dtype == "bfloat16" and jax.default_backend() == "cpu":
            note(
                "note: bfloat16 is for accelerators; on a CPU, float32 has faster code "
                "(--set compute_dtype=float32; --recipe flagship-cpu is made for two cores)"
            )
        for line in training_data.vote_notes(self.data, self.recipe):
            note(line)
        if copies := int(self.data.copies.sum()):
            note(
                f"note: {copies} of the validation images are exact copies of training images, so "
                "accuracy flatters; both figures are given at the end"
            )
        seen = [*self.run["teachers"], *filter(None, [self.run["started_from"]])]
        if self.data.is_held_out and seen:
            note(
                f"note: {' and '.join(dict.fromkeys(one['file'] for one in seen))} may have been "
                "trained on the images that are held out here; then accuracy flatters"
            )

    def _resume(self, found: TrainState, record: dict[str, Any]) -> TrainState:
        self.history = record["history"]
        self.controllers = Controllers.from_json(record["controllers"])
        self.seconds = record["seconds"]
        before = record.get("hardware", [self.run["hardware"]])
        self.hardware = before + [here for here in self.hardware if here != before[-1]]
        if record["batches"] != self.batches.settings:
            raise TrainingError(
                f"{self.folder}: its checkpoints are of another order of images, "
                f"{record['batches']}"
            )
        self.reporter.note(
            f"resumed at step {int(found.step):,} of {self.total_steps:,}, epoch "
            f"{len(self.history) + 1}"
        )
        return found

    def _record(self, step: int, epoch: int) -> dict[str, Any]:
        return {
            "step": step,
            "epoch": epoch,  # complete
            "history": self.history,
            "controllers": self.controllers.to_json(),
            "batches": self.batches.settings,
            "seconds": self.seconds,
            "hardware": self.hardware,
        }

    # --- training -------------------------------------------------------------------------------

    def _train(self, train_state: TrainState, tx: Any) -> TrainingResult:
        calls = CompiledSteps(self.recipe, self.network, tx, self.data, self.batches, self.devices)
        evaluator = Evaluator(self.network, self.data.validation, self.devices)
        if images := self.recipe.clean_statistics:
            self.statistics = CleanStatistics(self.network, self.data.train, self.devices, images)
        self.now = int(train_state.step)
        events = logs.Events(self.folder / logs.EVENTS, self.now + 1) if self.writes else None
        clock = Clock(self.now, self.total_steps)
        self.lap = self.saved = time.monotonic()
        with StopSignals() as signals:
            stop = False
            while not (stop or self._is_over()):
                first = self.now
                train_state, stop = self._train_epoch(train_state, calls, clock, signals)
                seconds = time.monotonic() - self.began
                if self.now == self.batches.steps(len(self.history) + 1):
                    rate = (self.now - first) * self.recipe.batch_size / max(seconds, 1e-9)
                    train_state, stop = self._end_epoch(train_state, evaluator, rate, signals)
                    self._write_logs(events)
            self.checkpoints.wait()
            if events is not None:
                events.close()
            interrupted = None if self._is_over() else signals.received or int(signal.SIGTERM)
            return self._finish(train_state, evaluator, interrupted)

    def _train_epoch(
        self, train_state: TrainState, calls: CompiledSteps, clock: Clock, signals: StopSignals
    ) -> tuple[TrainState, bool]:
        """Do the steps that are left of an epoch; return the state, and whether to stop."""
        epoch, self.began = len(self.history) + 1, time.monotonic()
        end = self.batches.steps(epoch)
        pending: deque[tuple[int, Any]] = deque()
        stop = False
        while self.now < end and not stop:
            steps = min(calls.steps_per_call, end - self.now)
            train_state, seen = calls(train_state, self.now, steps)
            self.now += steps
            pending.append((self.now, seen))
            if len(pending) > _AHEAD:
                self._look(*pending.popleft(), epoch, clock)
            stop = self._must_stop(signals)
            # Hosts would not agree on the time; they save at the ends of epochs.
            late = self._is_late() and jax.process_count() == 1
            if self.now < end and (stop or late):
                while pending:  # nothing is saved that has not been looked at
                    self._look(*pending.popleft(), epoch, clock)
                self._save(train_state, epoch - 1, None)
        while pending:
            self._look(*pending.popleft(), epoch, clock)
        return train_state, stop

    def _end_epoch(
        self, train_state: TrainState, evaluator: Evaluator, rate: float, signals: StopSignals
    ) -> tuple[TrainState, bool]:
        """Validate, decide, save; return the next epoch's state, and whether to stop.

        Args:
            rate: of training, in images a second.
        """
        recipe, epoch, now = self.recipe, len(self.history) + 1, self.now
        loss, correct, count = evaluator(self._evaluated(train_state))
        if not math.isfinite(loss):
            raise self._not_finite("the validation loss", now - 1, epoch)
        schedule = optimizers.schedule(recipe, len(self.data.train) / recipe.batch_size)
        totals = train_state.totals
        row = {
            "epoch": epoch,
            "step": now,
            "learning_rate": float(schedule(now - 1) * train_state.rate_factor),
            "loss": float(totals.loss) / int(totals.count),
            "accuracy": int(totals.correct) / int(totals.count),
            "val_loss": loss / count,
            "val_accuracy": correct / count,
            "images_per_second": round(rate, 1),
            "seconds": round(time.monotonic() - self.began, 2),
        }
        self.history = [*self.history, row]
        self.controllers = self.controllers.update(recipe, row, epoch, now)
        is_best = self.controllers.best.epoch == epoch
        self.reporter.epoch(row, is_best=is_best)
        train_state = self._next_epoch(train_state)
        stop = self._must_stop(signals)
        if is_best or stop or self._is_late() or self._is_over() or jax.process_count() > 1:
            self._save(train_state, epoch, score(recipe.select, row))
        return train_state, stop

    def _save(self, train_state: TrainState, epoch: int, score: float | None) -> None:
        self._count_time()
        self.checkpoints.save(self.now, train_state, self._record(self.now, epoch), score=score)
        self.saved = time.monotonic()

    def _count_time(self) -> None:
        now = time.monotonic()
        self.seconds, self.lap = self.seconds + now - self.lap, now

    def _is_late(self) -> bool:
        return time.monotonic() - self.saved >= self.checkpoint_every

    def _is_over(self) -> bool:
        stops = bool(self.history) and self.controllers.early_stopping.stops(self.recipe)
        return stops or self.now >= self.total_steps

    def _must_stop(self, signals: StopSignals) -> bool:
        if jax.process_count() > 1:
            return self.checkpoints.reached_preemption(self.now)
        return signals.received is not None

    def _next_epoch(self, train_state: TrainState) -> TrainState:
        fresh = self.devices.replicate(
            (np.float32(self.controllers.plateau.factor), jax.tree.map(np.asarray, Totals.zero()))
        )
        return dataclasses.replace(train_state, rate_factor=fresh[0], totals=fresh[1])

    def _look(self, now: int, seen: tuple[Totals, jax.Array], epoch: int, clock: Clock) -> None:
        """Wait for a call that was sent off a while ago; check and report it."""
        totals, bad_step = seen
        if (bad := int(bad_step)) >= 0:
            raise self._not_finite("the loss or a gradient", bad, epoch)
        count = max(1, int(totals.count))
        rate, left = clock.at(now)
        self.reporter.step(
            Status(
                epoch=epoch,
                epochs=self.recipe.epochs,
                step=now,
                steps=self.total_steps,
                loss=float(totals.loss) / count,
                accuracy=int(totals.correct) / count,
                images_per_second=rate * self.recipe.batch_size,
                seconds_left=left,
            )
        )

    def _not_finite(self, what: str, step: int, epoch: int) -> NonFiniteError:
        return NonFiniteError(
            f"{what} is no longer finite at step {step:,} (epoch {epoch}); the checkpoints before "
            f"it are in {self.checkpoints.folder}. A lower learning_rate, clip_norm=1 or a "
            "warm-up may help",
            step,
        )

    def _write_logs(self, events: logs.Events | None) -> None:
        if events is None:
            return
        events.write(self.history[-1])
        logs.write_csv(self.folder / logs.CSV, self.history)
        if time.monotonic() - self.drawn > _DRAW_EVERY:  # a picture takes longer than a short epoch
            self._draw_curves()

    def _draw_curves(self) -> bool:
        self.drawn = time.monotonic()
        best = self.controllers.best.epoch
        title = f"{self.recipe.name}: {self.network.graph.name}"
        path = self.folder / logs.CURVES
        return logs.draw_curves(path, self.history, title=title, best_epoch=best)

    # --- the end --------------------------------------------------------------------------------

    def _finish(
        self, train_state: TrainState, evaluator: Evaluator, interrupted: int | None
    ) -> TrainingResult:
        self._count_time()
        best, epochs, now = self.controllers.best, len(self.history), self.now
        paths: dict[str, Path | None] = {run_folder.BEST: None, run_folder.LAST: None}
        accuracy: dict[str, list[dict[str, Any]]] = {run_folder.BEST: [], run_folder.LAST: []}
        if self.writes and epochs:
            logs.write_csv(self.folder / logs.CSV, self.history)
            if not self._draw_curves():
                warnings.warn(
                    f"no {logs.CURVES}: it needs matplotlib (pip install 'ferjax[train]')",
                    stacklevel=4,
                )
        if epochs:
            self.reporter.note(
                "measuring the last and the best weights"
                if interrupted is None
                else f"step {now:,} is saved; measuring the last and the best weights "
                "(Ctrl-C leaves that out)"
            )
            own_labels = None
            if self.data.majority is not None:
                own_labels = Evaluator(self.network, self.data.whole.validation, self.devices)
            shares = self.data.described_shares(self.recipe)
            measured: dict[int, tuple[Any, list[dict[str, Any]]]] = {}
            for name, epoch, at in (
                (run_folder.LAST, epochs, now),
                (run_folder.BEST, best.epoch, best.step),
            ):
                if at not in measured:  # the last may be the best
                    which = train_state
                    if at != now:
                        which, _ = self.checkpoints.restore(at, train_state)
                    variables = self._evaluated(which)
                    reached = result.measure(evaluator, variables, self.data, own_labels)
                    measured[at] = variables, reached
                variables, accuracy[name] = measured[at]
                paths[name] = self.folder / name
                described = export.describe(
                    licence=self.licence or self.run.get("licence"),
                    network=self.network,
                    run=self.run,
                    hardware=self.hardware,
                    data=self.data.describe(),
                    epoch=epoch,
                    step=at,
                    seconds=self.seconds,
                    accuracy=accuracy[name],
                    shares=shares,
                )
                if self.writes:
                    host = jax.tree.map(np.asarray, variables)
                    export.save(self.folder / name, self.network, host, described)
        if interrupted is None:
            self.reporter.note(f"done in {duration(self.seconds)} of training")
        else:
            self.reporter.note(f"stopped at step {now:,} of {self.total_steps:,}; it is saved")
        return TrainingResult(
            run_dir=self.folder,
            step=now,
            history=self.history,
            best=paths[run_folder.BEST],
            last=paths[run_folder.LAST],
            best_accuracy=accuracy[run_folder.BEST],
            last_accuracy=accuracy[run_folder.LAST],
            data=self.data.path,
            interrupted=interrupted,
            is_first_host=self.writes,
        )

    def _evaluated(self, train_state: TrainState) -> Any:
        """Return the variables that are evaluated and saved."""
        variables = train_state.evaluated()
        return variables if self.statistics is None else self.statistics(variables)
