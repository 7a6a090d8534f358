"""A run, and how it begins: found, checked and locked, its first state made or restored."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.experimental import multihost_utils

from ferjax import released
from ferjax.data.dataset import Faces
from ferjax.data.order import TrainingBatches
from ferjax.errors import printable
from ferjax.files import is_utf8
from ferjax.nets.architectures import ARCHITECTURES
from ferjax.nets.network import Network
from ferjax.train import checkpoints, distillation, initialization, optimizers, run_folder, state
from ferjax.train.batch_norm import evaluated_variables
from ferjax.train.checkpoints import Checkpoints, Progress
from ferjax.train.devices import Devices
from ferjax.train.distillation import PathLike
from ferjax.train.errors import TrainingError
from ferjax.train.recipes import FROM_DEFAULT, NEED_WEIGHTS, Recipe, override
from ferjax.train.recipes import recipe as named_recipe
from ferjax.train.reporting import Reporter
from ferjax.train.run_folder import RunRecord, origin, versions
from ferjax.train.state import TrainState
from ferjax.train.training_data import TrainingData, load_data, order, vote_notes
from ferjax.train.validation import Evaluator

_DEFAULT_RECIPE = "fast"


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

    def is_over(self, progress: Progress) -> bool:
        """Whether all steps are done, or early stopping ends the run."""
        stops = progress.epoch > 0 and progress.controllers.early_stopping.stops(self.recipe)
        return stops or progress.step >= self.total_steps


@contextmanager
def begun(
    recipe: Recipe | str | None,
    data: PathLike | Faces | None,
    folder: Path,
    *,
    changes: Sequence[str],
    architecture: PathLike | Network | None,
    init: PathLike | None,
    teachers: Sequence[PathLike],
    resume: bool,
    force: bool,
    checkpoint_every: float,
    reporter: Reporter,
    licence: str | None,
    command: str | None,
) -> Iterator[tuple[Run, TrainState, Progress]]:
    """Yield a run, its state and how far it has come, while its folder is locked.

    Arguments and errors are those of `ferjax.train.train_and_evaluate`.
    """
    # Find the run to resume, if any, its recipe and images, and the weights to start from.
    teachers = [released.path_of(path) for path in teachers]
    record, recipe, images, init = _find(
        recipe, data, folder, changes, architecture, init, resume, force, reporter
    )

    # Check that all of it fits together; make the first state.
    devices, described, begins = Devices.all(), images.describe(), record is None
    devices.check_batch(recipe.batch_size)
    batches = TrainingBatches(
        order=order(recipe, images.groups), batch_size=recipe.batch_size, **devices.shard
    )
    if record is not None:
        record.check_same(folder, recipe, described, init, teachers)
    start, first = _first_state(folder, record, recipe, images, architecture, init, reporter)
    record = record or RunRecord(
        recipe=recipe,
        data=described,
        init=None if init is None else str(Path(init).absolute()),
        started_from=None if init is None else origin(init),
        teachers=[origin(path) for path in teachers],
        network=start.recorded,
        command=command or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        hardware=devices.describe(),
        licence=licence,
        versions=versions(),
    )
    record = dataclasses.replace(record, licence=licence or record.licence)
    soft_labels = None
    if begins and teachers and jax.process_index() == 0:
        share, targets = recipe.distillation, images.soft_labels
        soft_labels = distillation.soft_labels(
            teachers, images.train, share, reporter.note, targets
        )
    _wait_for_other_hosts("checked")  # before any writes what another still looks for

    # Lock the folder and begin, or go on.
    with run_folder.locked(folder):
        if begins and jax.process_index() == 0:
            _begin_in(folder, record, first, soft_labels, force=force)
        _wait_for_other_hosts("begun")
        if record.teachers:
            labels = distillation.read(folder, images.train)
            images = dataclasses.replace(images, soft_labels=labels)
        _introduce(record, images, start.network, devices, reporter)
        # The reporter is closed first.
        with closing(Checkpoints(folder, checkpoint_every)) as opened, closing(reporter):
            run = Run(
                folder=folder,
                record=record,
                data=images,
                network=start.network,
                devices=devices,
                batches=batches,
                reporter=reporter,
                checkpoints=opened,
                evaluator=Evaluator(start.network, images.validation, devices),
                evaluated=evaluated_variables(recipe, start.network, images.train, devices),
            )
            yield run, *_first_or_restored(run, devices.replicate(first))


def _find(
    recipe: Recipe | str | None,
    data: PathLike | Faces | None,
    folder: Path,
    changes: Sequence[str],
    architecture: PathLike | Network | None,
    init: PathLike | None,
    resume: bool,
    force: bool,
    reporter: Reporter,
) -> tuple[RunRecord | None, Recipe, TrainingData, PathLike | None]:
    """Return what the run to resume, if any, was begun with, and recipe, images and `init`."""
    init = None if init is None else released.path_of(init)
    if not is_utf8(str(folder.absolute())):
        raise TrainingError(
            f"{printable(str(folder))}: expected a folder whose path is UTF-8, Orbax takes no other"
        )
    record = run_folder.read(folder)
    if record is not None and not (resume or force):
        raise TrainingError(f"{folder}: holds a run; --resume goes on with it, --force replaces it")
    record = None if force else record
    if record is not None:
        recipe = recipe or record.recipe
        data = record.data["path"] if data is None else data
    recipe = recipe or _DEFAULT_RECIPE
    recipe = override(named_recipe(recipe) if isinstance(recipe, str) else recipe, changes)
    if recipe.name in NEED_WEIGHTS and init is None and record is None:
        raise TrainingError(
            f"recipe {recipe.name} goes on from trained weights: expected `init` (--init WEIGHTS)"
        )
    if str(architecture) in ARCHITECTURES:
        recipe = dataclasses.replace(recipe, architecture=str(architecture))
    images = load_data(data, recipe)
    if recipe.name in FROM_DEFAULT and init is None and record is None:
        init = initialization.default_init(recipe, images.train, architecture)
        reporter.note(f"starting from {init.name}, which ferjax brings (--init: others)")
    return record, recipe, images, init


def _first_state(
    folder: Path,
    record: RunRecord | None,
    recipe: Recipe,
    images: TrainingData,
    architecture: PathLike | Network | None,
    init: PathLike | None,
    reporter: Reporter,
) -> tuple[initialization.Start, TrainState]:
    """Return the network, and the state to begin with: resume, then warm start, then scratch."""
    has_checkpoints = record is not None and bool(checkpoints.saved_steps(folder))
    if record is None:
        start = initialization.start(recipe, images.train, init=init, architecture=architecture)
    else:
        if init is None and architecture is not None:
            asked = initialization.start(recipe, images.train, architecture=architecture)
            if not asked.is_of(record.network):
                raise TrainingError(
                    f"{folder}: was begun with another network; resume without --architecture, or "
                    "begin in another folder"
                )
        init = None if has_checkpoints else record.init
        start = initialization.recorded_start(record.network, init)
    if has_checkpoints:  # 1. The latest whole checkpoint of the run follows: shapes will do.
        variables = initialization.zeros(start.network.graph)
    elif start.model is not None:  # 2. Weights to start from, of `init` now or at first.
        variables = start.model.variables
    else:  # 3. Weights drawn from the seed.
        variables = None
    tx, size = optimizers.optimizer(recipe), images.train.images.shape[1:]
    first = state.initial(recipe, start.network, tx, variables, size)
    if start.model is not None:
        adam, notes = initialization.adam_moments(recipe, start.model)
        unnamed = initialization.label_note(start.model, images.train)
        for note in [unnamed] * (unnamed is not None) + notes:
            reporter.note(f"note: {note}")
        if adam is not None:
            first = state.with_adam(first, adam.step, adam.mu, adam.nu)
    return start, first


def _begin_in(
    folder: Path,
    record: RunRecord,
    first: TrainState,
    soft_labels: distillation.SoftLabels | None,
    *,
    force: bool,
) -> None:
    """Begin a run in a folder that this process has locked."""
    if run_folder.read(folder) is not None:
        if not force:  # there was none when this process looked
            raise TrainingError(
                f"{folder}: another process began a run in it; give another folder, or --resume to "
                "go on with it"
            )
        run_folder.clear(folder)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(first))
    run_folder.begin(folder, record, size, soft_labels)


def _wait_for_other_hosts(where: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"ferjax {where}")


def _introduce(
    record: RunRecord, data: TrainingData, network: Network, devices: Devices, reporter: Reporter
) -> None:
    """Report what is trained, on what, and what to know of it."""
    recipe, graph, note, whole = record.recipe, network.graph, reporter.note, data.whole
    note(f"recipe {recipe.name}:\n{recipe}")
    note(
        f"{printable(graph.name, 100)}, {graph.num_params:,} parameters; "
        f"{len(whole.train):,} training and {len(whole.validation):,} validation images "
        f"({data.name('validation')}); {devices.describe()}"
    )
    if recipe.compute_dtype == "bfloat16" and jax.default_backend() == "cpu":
        note(
            "note: bfloat16 is for accelerators; on a CPU, float32 has faster code "
            "(--set compute_dtype=float32; --recipe flagship-cpu is made for two cores)"
        )
    for line in vote_notes(data, recipe):
        note(line)
    if copies := int(data.copies.sum()):
        note(
            f"note: {copies} of the validation images are exact copies of training images, so "
            "accuracy flatters; both figures are given at the end"
        )
    trained = [*record.teachers, *filter(None, [record.started_from])]
    if data.is_held_out and trained:
        note(
            f"note: {' and '.join(dict.fromkeys(weights['file'] for weights in trained))} may have "
            "been trained on the images that are held out here; then accuracy flatters"
        )


def _first_or_restored(run: Run, first: TrainState) -> tuple[TrainState, Progress]:
    """Return the latest checkpoint; where there is none, save the first state as one."""
    hardware, order = run.devices.describe(), run.batches.settings
    restored = run.checkpoints.restore_latest(first)
    if restored is None:
        progress = Progress(hardware=[hardware], batches=order)
        run.checkpoints.save(first, progress)
        return first, progress
    train_state, progress = restored
    if progress.hardware[-1] != hardware:
        progress = dataclasses.replace(progress, hardware=[*progress.hardware, hardware])
    if progress.batches != order:
        raise TrainingError(
            f"{run.folder}: its checkpoints are of another order of images, {progress.batches}"
        )
    run.reporter.note(
        f"resumed at step {progress.step:,} of {run.total_steps:,}, epoch {progress.epoch + 1}"
    )
    return train_state, progress
