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
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from ferjax.data.balance import class_weights
from ferjax.data.dataset import Faces
from ferjax.data.device_pipeline import DevicePipeline, to_device
from ferjax.data.order import TrainingBatches
from ferjax.nets.architectures import ARCHITECTURES
from ferjax.nets.network import Network
from ferjax.train import checkpoints, export, logs, optimizers, run_folder, setup, state, step
from ferjax.train.checkpoints import Checkpoints
from ferjax.train.controllers import Controllers, score
from ferjax.train.devices import Devices, compile_cache, on_gpu
from ferjax.train.errors import NonFiniteError, TrainingError
from ferjax.train.evaluation import Evaluator
from ferjax.train.recipes import Recipe, override
from ferjax.train.recipes import recipe as named_recipe
from ferjax.train.reporting import ConsoleReporter, Reporter, Status, duration
from ferjax.train.setup import PathLike, TrainingData
from ferjax.train.state import Totals, TrainState

_DEFAULT_RECIPE = "fast"
_AHEAD = 2  # calls that may wait on the device: it never idles, and an error is soon seen
_STEPS_ON_ACCELERATORS = 16
_DRAW_EVERY = 30.0  # seconds between pictures of the learning curves


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a run came to.

    Attributes:
        run_dir: its folder.
        step: steps done.
        history: the rows of log.csv, one for each epoch.
        best, last: paths of the weights; None where no epoch was completed.
        best_accuracy, last_accuracy: what they reach, as in their metadata: on all validation
            images, and where some are copies of training images, on the others alone.
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


def train_and_evaluate(
    recipe: Recipe | str | None,
    data: PathLike | Faces | None,
    run_dir: PathLike,
    *,
    changes: Sequence[str] = (),
    architecture: PathLike | Network | None = None,
    init: PathLike | None = None,
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
            them, are taken over.
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
    folder = Path(run_dir)
    chosen = named_recipe(recipe) if isinstance(recipe, str) else recipe
    with compile_cache():
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
        if data is None and there is not None:
            data = there["data"]["path"]
        if data is None:
            raise TrainingError(
                "expected `data`: a folder that `ferjax data prepare` made (--data DIR)"
            )
        if architecture is not None and str(architecture) in ARCHITECTURES:
            chosen = dataclasses.replace(chosen, architecture=str(architecture))
        run = _Run(
            chosen,
            setup.load_data(data, chosen),
            folder,
            Devices.all(),
            reporter or ConsoleReporter(),
            checkpoint_every,
            licence,
        )
        return run.go(there, architecture, init, force, command)


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
            order=setup.order(recipe, data.train.labels),
            batch_size=recipe.batch_size,
            shard_index=jax.process_index(),
            shard_count=jax.process_count(),
        )
        self.total_steps = self.batches.steps(recipe.epochs)
        self.controllers = Controllers()
        self.history: list[logs.Row] = []
        self.drawn = time.monotonic()  # when the curves were
        self.seconds = 0.0  # of training, interruptions left out

    # --- from nothing, or from where it was -----------------------------------------------------

    def go(
        self,
        there: dict[str, Any] | None,
        architecture: PathLike | Network | None,
        init: PathLike | None,
        force: bool,
        command: str | None,
    ) -> TrainingResult:
        recipe, described = self.recipe, self.data.describe()
        if there is not None:
            run_folder.check_same(self.folder, there, recipe, described)
            self._check_same_start(there, architecture, init)
        # The order in which a state is found:
        # 1. The latest whole checkpoint of the run.
        # 2. Weights to start from: those of `init`, or what the run to resume was begun with.
        # 3. Weights drawn from the seed.
        begun = there is not None and self._has_checkpoints()
        if there is None:
            start = setup.start(recipe, self.data.train, init=init, architecture=architecture)
        else:
            init = None if begun else there["init"]
            start = setup.again(there["network"], init)
        self.network = start.network
        tx = optimizers.optimizer(recipe)
        first = self._first_state(start, tx, begun)
        self._together("checked")  # before any host writes what another still looks for
        with run_folder.locked(self.folder):
            if there is None:
                there = {
                    "recipe": recipe.to_json(),
                    "data": described,
                    "init": None if init is None else str(Path(init).absolute()),
                    "network": start.description,
                    "command": command or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
                    "hardware": self.devices.describe(),
                    "versions": export.versions(),
                }
                if self.writes:
                    if force and run_folder.read(self.folder) is not None:
                        run_folder.clear(self.folder)
                    size = sum(leaf.nbytes for leaf in jax.tree.leaves(first))
                    run_folder.begin(self.folder, there, size)
            self._together("begun")
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
            start = setup.start(self.recipe, self.data.train, architecture=architecture)
            if start.description != there["network"]:
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

    def _first_state(self, start: setup.Start, tx: Any, begun: bool) -> TrainState:
        model = start.model
        variables = None if model is None else model.variables
        if begun:  # a checkpoint follows: shapes are all that is wanted
            variables = setup.zeros(start.network.graph)
        first = state.initial(self.recipe, start.network, tx, variables)
        if model is not None:
            takes, notes = setup.adam_notes(self.recipe, model)
            for note in notes:
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
            f"{images['validation']:,} validation images ({described['validation_is']}); "
            f"{self.devices.describe()}"
        )
        if copies := described["validation_copies_of_training"]:
            note(
                f"note: {copies} of the validation images are exact copies of training images, so "
                "accuracy flatters; both figures are given at the end"
            )

    def _resume(self, found: TrainState, record: dict[str, Any]) -> TrainState:
        self.history = record["history"]
        self.controllers = Controllers.from_json(record["controllers"])
        self.seconds = record["seconds"]
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
        }

    # --- training -------------------------------------------------------------------------------

    def _compiled(self, tx: Any) -> tuple[Callable[..., Any], Callable[[int, int], Any], int]:
        """Return the jitted call, what fetches its input for (step, steps), and steps a call."""
        recipe, devices = self.recipe, self.devices
        labels = self.data.train.labels
        weights = None
        if recipe.class_weights == "balanced":
            weights = class_weights(labels, len(self.data.train.class_names))
        one = step.train_step(
            recipe,
            self.network,
            tx,
            optimizers.schedule(recipe, len(labels) / recipe.batch_size),
            state.step_key(recipe),
            weights,
        )
        on_cpu = jax.default_backend() == "cpu"
        at_once = recipe.steps_per_call or (1 if on_cpu else _STEPS_ON_ACCELERATORS)
        make = self._device_pipeline if recipe.pipeline == "device" else self._tf_pipeline
        over, fetch, at_once = make(one, at_once)

        def call(train_state: TrainState, data: Any, given: Any) -> Any:
            after = over(train_state, data, given)
            # Copies for the host: the state itself is given away to the next call.
            return after, (after.totals, after.bad_step)

        options: dict[str, Any] = {}
        if recipe.deterministic and on_gpu():
            options = {"compiler_options": {"xla_gpu_deterministic_ops": True}}
        replicated = devices.replicated
        jitted = jax.jit(call, donate_argnums=0, out_shardings=replicated, **options)
        return jitted, fetch, at_once

    def _device_pipeline(self, one: step.TrainStep, at_once: int) -> tuple[Any, Any, int]:
        train = self.data.train
        pipeline = DevicePipeline(
            train.images, train.labels, self.batches, sharding=self.devices.batch
        )

        def over(train_state: TrainState, data: Any, rows: jax.Array) -> TrainState:
            if len(rows) == 1:
                return one(train_state, *data.gather(rows[0]))

            def body(carry: TrainState, these: jax.Array) -> tuple[TrainState, None]:
                return one(carry, *data.gather(these)), None

            return jax.lax.scan(body, train_state, rows)[0]

        def fetch(first: int, steps: int) -> tuple[Any, Any]:
            rows = self.batches.block(first, steps).rows
            return pipeline.data, to_device(rows, self.devices.block)

        return over, fetch, at_once

    def _tf_pipeline(self, one: step.TrainStep, at_once: int) -> tuple[Any, Any, int]:
        from ferjax.data.tf_pipeline import TFPipeline

        train = self.data.train
        pipeline = TFPipeline(train.images, train.labels, self.batches)
        opened: list[Iterator[Any]] = []

        def over(train_state: TrainState, _: Any, batch: Any) -> TrainState:
            return one(train_state, *batch)

        def fetch(first: int, _: int) -> tuple[Any, Any]:
            if not opened:
                opened.append(pipeline.start(first))
            batch = next(opened[0])
            return None, to_device((batch.images, batch.labels), self.devices.batch)

        return over, fetch, 1

    def _train(self, train_state: TrainState, tx: Any) -> TrainingResult:
        recipe = self.recipe
        call, fetch, at_once = self._compiled(tx)
        evaluator = Evaluator(self.network, self.data.validation, self.devices)
        rate_of = optimizers.schedule(recipe, len(self.data.train) / recipe.batch_size)
        now = int(train_state.step)
        events = logs.Events(self.folder / logs.EVENTS, now + 1) if self.writes else None
        clock = _Clock(now, self.total_steps)
        saved = time.monotonic()
        with _Signals() as signals:
            while now < self.total_steps and not self._is_over(len(self.history)):
                epoch = len(self.history) + 1
                end = self.batches.steps(epoch)
                began, trained = time.monotonic(), 0
                lap = began
                pending: deque[tuple[int, Any]] = deque()
                while now < end:
                    steps = min(at_once, end - now)
                    data, given = fetch(now, steps)
                    train_state, seen = call(train_state, data, given)
                    now, trained = now + steps, trained + steps
                    pending.append((now, seen))
                    if len(pending) > _AHEAD:
                        self._look(*pending.popleft(), epoch, clock)
                    late = time.monotonic() - saved >= self.checkpoint_every
                    stop = signals.received or self._preempted(now)
                    if now < end and (stop or (late and jax.process_count() == 1)):
                        self._drain(pending, epoch, clock)
                        saved = time.monotonic()
                        self.seconds, lap = self.seconds + saved - lap, saved
                        record = self._record(now, epoch - 1)
                        self.checkpoints.save(now, train_state, record, score=None)
                    if stop:
                        break
                self._drain(pending, epoch, clock)
                training_seconds = time.monotonic() - began
                if now < end:
                    break
                loss, correct, count = evaluator(train_state.evaluated())
                if not math.isfinite(loss):
                    raise self._not_finite("the validation loss", now - 1, epoch)
                totals = train_state.totals
                rate = float(rate_of(now - 1) * train_state.rate_factor)
                ended = time.monotonic()
                self.seconds += ended - lap
                row = {
                    "epoch": epoch,
                    "step": now,
                    "learning_rate": rate,
                    "loss": float(totals.loss) / int(totals.count),
                    "accuracy": int(totals.correct) / int(totals.count),
                    "val_loss": loss / count,
                    "val_accuracy": correct / count,
                    "images_per_second": round(
                        trained * recipe.batch_size / max(training_seconds, 1e-9), 1
                    ),
                    "seconds": round(ended - began, 2),
                }
                self.history = [*self.history, row]
                self.controllers = self.controllers.update(recipe, row, epoch, now)
                is_best = self.controllers.best.epoch == epoch
                train_state = self._next_epoch(train_state)
                self.reporter.epoch(row, is_best=is_best)
                ends = now >= self.total_steps or self._is_over(epoch)
                late = time.monotonic() - saved >= self.checkpoint_every
                stop = signals.received or self._preempted(now)
                if is_best or late or ends or stop or jax.process_count() > 1:
                    value = score(recipe.select, row)
                    self.checkpoints.save(now, train_state, self._record(now, epoch), score=value)
                    saved = time.monotonic()
                self._write_logs(events, row)
                if stop:
                    break
            self.checkpoints.wait()
            if events is not None:
                events.close()
            finished = now >= self.total_steps or self._is_over(len(self.history))
            interrupted = None if finished else signals.received or int(signal.SIGTERM)
            return self._finish(train_state, now, evaluator, interrupted)

    def _is_over(self, epochs: int) -> bool:
        return epochs > 0 and self.controllers.early_stopping.stops(self.recipe)

    def _preempted(self, step: int) -> bool:
        return jax.process_count() > 1 and self.checkpoints.reached_preemption(step)

    def _next_epoch(self, train_state: TrainState) -> TrainState:
        fresh = self.devices.replicate(
            (np.float32(self.controllers.plateau.factor), jax.tree.map(np.asarray, Totals.zero()))
        )
        return dataclasses.replace(train_state, rate_factor=fresh[0], totals=fresh[1])

    def _drain(self, pending: deque[tuple[int, Any]], epoch: int, clock: _Clock) -> None:
        while pending:
            self._look(*pending.popleft(), epoch, clock)

    def _look(self, now: int, seen: tuple[Totals, jax.Array], epoch: int, clock: _Clock) -> None:
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

    def _write_logs(self, events: logs.Events | None, row: logs.Row) -> None:
        if events is None:
            return
        events.write(row)
        logs.write_csv(self.folder / logs.CSV, self.history)
        if time.monotonic() - self.drawn > _DRAW_EVERY:  # a picture takes longer than a short epoch
            self._draw_curves()

    def _draw_curves(self) -> None:
        self.drawn = time.monotonic()
        best = self.controllers.best.epoch
        title = f"{self.recipe.name}: {self.network.graph.name}"
        logs.draw_curves(self.folder / logs.CURVES, self.history, title=title, best_epoch=best)

    # --- the end --------------------------------------------------------------------------------

    def _finish(
        self, train_state: TrainState, now: int, evaluator: Evaluator, interrupted: int | None
    ) -> TrainingResult:
        best, epochs = self.controllers.best, len(self.history)
        paths: dict[str, Path | None] = {run_folder.BEST: None, run_folder.LAST: None}
        accuracy: dict[str, list[dict[str, Any]]] = {run_folder.BEST: [], run_folder.LAST: []}
        if self.writes and epochs:
            logs.write_csv(self.folder / logs.CSV, self.history)
            self._draw_curves()
        if epochs:
            for name, epoch, at in (
                (run_folder.LAST, epochs, now),
                (run_folder.BEST, best.epoch, best.step),
            ):
                which = train_state
                if at != now:
                    which, _ = self.checkpoints.restore(at, train_state)
                variables = which.evaluated()
                accuracy[name] = self._measure(evaluator, variables)
                paths[name] = self.folder / name
                described = export.describe(
                    licence=self.licence,
                    network=self.network,
                    run=self.run,
                    epoch=epoch,
                    step=at,
                    seconds=self.seconds,
                    accuracy=accuracy[name],
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

    def _measure(self, evaluator: Evaluator, variables: Any) -> list[dict[str, Any]]:
        copies = self.data.copies
        name = "held-out training images" if self.data.is_held_out else "validation split"
        loss, correct, count = evaluator(variables)
        note = f"{int(copies.sum())} of the images are exact copies of training images"
        found = [export.measured(name, correct, count, loss / count, note=note)]
        if copies.any() and not copies.all():
            loss, correct, count = evaluator(variables, ~copies)
            note = "without exact copies of training images"
            found.append(export.measured(name, correct, count, loss / count, note=note))
        return found


class _Clock:
    """How fast a run is, and how long it still takes."""

    def __init__(self, first: int, total: int) -> None:
        self._total = total
        self._marks: deque[tuple[float, int]] = deque(maxlen=200)
        self._start: tuple[float, int] | None = None  # after the first call, which compiles
        self._first = first

    def at(self, step: int) -> tuple[float, float | None]:
        """Return steps a second lately, and the seconds left, None where it is too early to say."""
        now = time.monotonic()
        self._start = self._start or (now, step)
        self._marks.append((now, step))
        (then, before), (began, first) = self._marks[0], self._start
        rate = (step - before) / (now - then) if step > before and now > then else 0.0
        if step - first < 5 or now <= began:
            return rate, None
        # Over all that was done in this process, so that validation counts.
        return rate, (self._total - step) * (now - began) / (step - first)


class _Signals:
    """Note SIGTERM and SIGINT for the loop to see; the second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():
            # On several hosts SIGTERM is JAX's: it has all of them stop after the same step.
            alone = jax.process_count() == 1
            for number in (signal.SIGINT, signal.SIGTERM) if alone else ():
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.received = number
