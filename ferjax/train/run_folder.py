"""The folder of a run: what lies in it, whose it is, and who writes to it.

run.json      what it was begun with, a `RunRecord`: written once, before the first step
soft_labels.npy  where there are teachers; see `ferjax.train.distillation`
checkpoints/  see `ferjax.train.checkpoints`
log.csv, curves.png, tensorboard/
best.h5, last.h5, each with a .metadata.json, when the run ends or is stopped
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import jax

from ferjax import digests, metadata
from ferjax._version import __version__
from ferjax.errors import WriteError
from ferjax.files import json_text, lock, replacing
from ferjax.train import checkpoints, distillation, logs
from ferjax.train.distillation import PathLike
from ferjax.train.errors import RecipeError, TrainingError
from ferjax.train.recipes import Recipe, differences

RUN = "run.json"
BEST, LAST = "best.h5", "last.h5"
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a run was begun with; run.json keeps it."""

    recipe: Recipe
    data: dict[str, Any]  # `TrainingData.describe()`
    init: str | None  # path of the weights to start from; None: they were drawn
    started_from: dict[str, Any] | None  # what is known of these; see `origin`
    teachers: list[dict[str, Any]]  # the same of each teacher
    network: dict[str, Any]  # `initialization.Start.recorded`
    command: str
    hardware: str
    licence: str | None  # of the weights to come
    versions: dict[str, Any]  # of ferjax, Python and the libraries

    def __post_init__(self) -> None:
        weights = [*self.teachers, *([] if self.started_from is None else [self.started_from])]
        mappings = [self.data, self.network, self.versions, *weights]
        texts = [self.command, self.hardware, *(facts["file"] for facts in weights)]
        hashes = [facts["sha256"] for facts in weights]
        for kind, values in (
            (dict, mappings),
            (str, texts),
            (str | None, [self.init, self.licence, self.data["path"], *hashes]),
        ):
            if not all(isinstance(value, kind) for value in values):
                raise TypeError(f"expected {kind}")

    def to_json(self) -> dict[str, Any]:
        """Return the record as values that `json.dumps` takes."""
        return {**vars(self), "recipe": self.recipe.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return what `to_json` was called on; KeyError, TypeError or RecipeError if it was not."""
        values = {field.name: values[field.name] for field in dataclasses.fields(cls)}
        return cls(**{**values, "recipe": Recipe.from_json(values["recipe"])})

    def check_same(
        self,
        folder: Path,
        recipe: Recipe,
        data: Mapping[str, Any],
        init: PathLike | None,
        teachers: Sequence[PathLike],
    ) -> None:
        """Refuse to go on with another recipe, other data, weights to start from or teachers."""
        if changed := differences(self.recipe, recipe):
            raise TrainingError(
                f"{folder}: was begun with another recipe (there, here): {'; '.join(changed)}; "
                "resume without --recipe and --set to go on as it was, or begin in another folder, "
                f"with --init {folder / LAST} to start from its weights"
            )
        for name in ("checksum", "class_names", "images", "votes"):
            theirs, ours = self.data.get(name), data.get(name)
            if theirs != ours:
                raise TrainingError(
                    f"{folder}: was begun with other data: {name} {theirs!r} there, {ours!r} here; "
                    f"its data was {self.data['path']}"
                )
        if init is not None and str(Path(init).absolute()) != self.init:
            raise TrainingError(
                f"{folder}: was begun from {self.init or 'drawn weights'}, not from "
                f"{init}; resume without --init, or begin in another folder"
            )
        recorded = [teacher["sha256"] for teacher in self.teachers]
        if teachers and recorded != [origin(path)["sha256"] for path in teachers]:
            names = ", ".join(teacher["file"] for teacher in self.teachers) or "none"
            raise TrainingError(
                f"{folder}: was begun with other teachers ({names}); resume without --teacher, or "
                "begin in another folder"
            )


def read(folder: Path) -> RunRecord | None:
    """Return what run.json says, or None where the folder holds no run.

    Raises:
        TrainingError: run.json cannot be read, or the folder holds something else.
    """
    try:
        text = (folder / RUN).read_bytes()
    except FileNotFoundError:
        if folder.is_dir() and any(not _is_left_over(p) for p in folder.iterdir()):
            raise TrainingError(
                f"{folder}: holds something else than a run; give another folder"
            ) from None
        return None
    except OSError as error:
        raise TrainingError(f"{folder}: cannot be read ({error.strerror})") from None
    try:
        values = json.loads(text)
        if values["format"] != _FORMAT:
            raise TrainingError(f"{folder}: was made by another version of ferjax")
        return RunRecord.from_json(values)
    except RecipeError as error:
        raise TrainingError(f"{folder / RUN}: {error}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise TrainingError(f"{folder / RUN}: damaged; it is not what a run begins with") from None


def begin(
    folder: Path,
    record: RunRecord,
    state_bytes: int,
    soft_labels: distillation.SoftLabels | None = None,
) -> None:
    """Make the folder and write run.json.

    Args:
        state_bytes: of a checkpoint's arrays; several have to fit on the disk.
        soft_labels: what teachers said.

    Raises:
        WriteError: the folder cannot be written to, or its disk is too full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise WriteError(f"{folder}: cannot be made ({error.strerror})") from None
    # The best, the last two and one that is being written, and then the weights.
    needed = 5 * state_bytes + (8 << 20)
    if free < needed:
        raise WriteError(
            f"{folder}: its disk has {free / 1e6:,.0f} MB free, a run with its checkpoints takes "
            f"{needed / 1e6:,.0f} MB; free some, or give a folder elsewhere"
        )
    if soft_labels is not None:  # first: with run.json the run is complete
        distillation.write(folder, soft_labels)
    with replacing(folder / RUN) as temporary:
        text = json_text({"format": _FORMAT, **record.to_json()})
        temporary.write_text(text, encoding="utf-8")


def clear(folder: Path) -> None:
    """Remove a run's files; anything else in the folder stays."""
    for path in list(folder.iterdir()):
        if path.name == RUN or path.name in (checkpoints.FOLDER, logs.EVENTS):
            continue
        if path.name in _FILES or path.name.startswith("damaged-checkpoint-"):
            _remove(path)
    for name in (logs.EVENTS, checkpoints.FOLDER, RUN):  # while run.json is there, it is a run
        _remove(folder / name)


_FILES = {
    logs.CSV,
    logs.CURVES,
    distillation.FILE,
    *(f for name in (BEST, LAST) for f in (name, metadata.sidecar(name).name)),
}
_LOCK = ".lock"


def _is_left_over(path: Path) -> bool:
    """Whether a run leaves this behind where it was stopped before it began."""
    return path.name in (_LOCK, distillation.FILE) or (
        path.name.startswith(".") and path.name.endswith(".tmp")
    )


def _remove(path: Path) -> None:
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(f"{path}: cannot be removed ({error.strerror})") from None


def origin(weights: PathLike) -> dict[str, Any]:
    """Return what is known of weights that take part in a training.

    "file", its name; "sha256", None where they are not one file; and where its metadata says so,
    "source", "trained_on" and "training", which says in turn what that training started from.
    """
    path = Path(weights)
    if metadata.in_parts(path) or not path.is_file():
        return {"file": path.name, "sha256": None}
    stated = metadata.read(path)
    stated = {k: stated[k] for k in ("source", "trained_on", "training") if k in stated}
    return {"file": path.name, "sha256": digests.sha256(path), **stated}


def versions() -> dict[str, Any]:
    """Return the versions of what takes part in a run."""
    import flax
    import jaxlib.version
    import optax
    import orbax.checkpoint

    return {
        "ferjax": __version__,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.version.__version__,
        "flax": flax.__version__,
        "optax": optax.__version__,
        "orbax-checkpoint": orbax.checkpoint.__version__,
    }


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run's folder; a killed process leaves no lock behind.

    Raises:
        TrainingError: another process is training in it.
    """
    if sys.platform == "win32" or jax.process_index():
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise WriteError(f"{folder}: cannot be written to ({error.strerror})") from None
    try:
        if not lock(handle):
            raise TrainingError(f"{folder}: another process is training in it")
        yield
    finally:
        os.close(handle)
