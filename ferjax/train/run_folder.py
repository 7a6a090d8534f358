"""The folder of a run: what lies in it, whose it is, and who writes to it.

run.json      recipe, network, data, command: written once, before the first step
soft_labels.npy  where there are teachers; see `ferjax.train.distillation`
checkpoints/  see `ferjax.train.checkpoints`
log.csv, curves.png, tensorboard/
best.h5, last.h5, each with a .metadata.json, when the run ends or is stopped
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from ferjax import metadata
from ferjax.errors import WriteError
from ferjax.files import json_text, replacing
from ferjax.train import checkpoints, distillation, logs
from ferjax.train.errors import TrainingError
from ferjax.train.recipes import Recipe, differences

RUN = "run.json"
BEST, LAST = "best.h5", "last.h5"
_FORMAT = 1


def read(folder: Path) -> dict[str, Any] | None:
    """Return what run.json says, or None where the folder holds no run.

    Raises:
        TrainingError: run.json cannot be read, or the folder holds something else.
    """
    try:
        text = (folder / RUN).read_text(encoding="utf-8")
    except FileNotFoundError:
        if folder.is_dir() and any(not _is_left_over(p) for p in folder.iterdir()):
            raise TrainingError(
                f"{folder}: holds something else than a run; give another folder"
            ) from None
        return None
    except OSError as error:
        raise TrainingError(f"{folder}: cannot be read ({error.strerror})") from None
    try:
        found = json.loads(text)
        if found["format"] != _FORMAT:
            raise TrainingError(f"{folder}: was made by another version of ferjax")
        return dict(found)
    except (ValueError, KeyError, TypeError):
        raise TrainingError(f"{folder / RUN}: damaged; it is not what a run begins with") from None


def begin(
    folder: Path,
    values: Mapping[str, Any],
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
        temporary.write_text(json_text({"format": _FORMAT, **values}), encoding="utf-8")


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


def check_same(
    folder: Path, there: Mapping[str, Any], recipe: Recipe, data: Mapping[str, Any]
) -> None:
    """Refuse to go on with another recipe or other data.

    Args:
        there: what `read` returned.
        recipe: that was asked for.
        data: the description of the data that was given.
    """
    changed = differences(Recipe.from_json(there["recipe"]), recipe)
    if changed:
        raise TrainingError(
            f"{folder}: was begun with another recipe (there, here): {'; '.join(changed)}; resume "
            "without --recipe and --set to go on as it was, or begin in another folder, with "
            f"--init {folder / LAST} to start from its weights"
        )
    for name in ("checksum", "class_names", "images", "votes"):
        theirs, ours = there["data"].get(name), data.get(name)
        if theirs != ours:
            raise TrainingError(
                f"{folder}: was begun with other data: {name} {theirs!r} there, {ours!r} here; "
                f"its data was {there['data'].get('path')}"
            )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run's folder; a killed process leaves no lock behind.

    Raises:
        TrainingError: another process is training in it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    if jax.process_index():
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise WriteError(f"{folder}: cannot be written to ({error.strerror})") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainingError(f"{folder}: another process is training in it") from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(handle)
