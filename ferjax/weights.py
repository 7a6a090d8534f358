"""Read any weight file, Keras's or Flax's, with the metadata beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ferjax import keras, metadata
from ferjax.errors import FerjaxError, WeightFileError
from ferjax.keras import Inspection, KerasModel
from ferjax.problems import checked_path

MSGPACK, ORBAX = "msgpack", "orbax"  # the kinds of Flax's files


def read(
    source: str | os.PathLike[str],
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    architecture: str | None = None,
    *,
    output: str | int | None = None,
    with_optimizer: bool = False,
) -> KerasModel:
    """Read a Keras file, a Flax msgpack or an Orbax folder, and the metadata beside it.

    `output` chooses among several, as for `ferjax.keras.load`.
    """
    if _is_flax(checked_path(source)):
        model = _read_flax(source, config, architecture, output)
    else:
        model = keras.load(
            source, config, architecture, output=output, with_optimizer=with_optimizer
        )
    return _with_sidecar(model)


def has_architecture(source: str | os.PathLike[str]) -> bool:
    """Whether a file says what network its weights are for; Flax's never do."""
    return not _is_flax(checked_path(source)) and keras.has_architecture(source)


def inspect(
    path: str | os.PathLike[str],
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    architecture: str | None = None,
    *,
    output: str | int | None = None,
) -> Inspection:
    """Look into any file that `read` reads; an unusable one gives problems, not an error.

    Of several `model.outputs` without a choice the model has all layers.
    """
    if not _is_flax(checked_path(path)):
        found = keras.inspect(path, config, architecture, output=output)
        if found.model is not None:
            _with_sidecar(found.model)
        return found
    kind = _flax_kind(path)
    try:
        return Inspection(str(path), kind, None, read(path, config, architecture, output=output))
    except FerjaxError as error:
        problems = error.problems if isinstance(error, WeightFileError) else [str(error)]
        return Inspection(str(path), kind, None, None, problems)


def _read_flax(
    source: str | os.PathLike[str],
    config: str | os.PathLike[str] | Mapping[str, Any] | None,
    architecture: str | None,
    output: str | int | None,
) -> KerasModel:
    from ferjax import flax_files
    from ferjax.nets.architectures import architecture as named

    if config is not None and architecture is not None:
        raise WeightFileError(source, "give a config or an architecture, not both")
    graph = None
    if config is not None:
        graph = keras.load_architecture(config, output).graph
    elif architecture is not None:
        graph = named(architecture).graph
    graph, variables = flax_files.load(source, graph)
    return KerasModel(str(source), _flax_kind(source), graph, variables)


def _with_sidecar(model: KerasModel) -> KerasModel:
    """Add what the metadata beside the file says. It has the file's hash, so it was written after
    the file, and comes before what the file itself says.
    """
    # A file that has its own may lie beside the one that it was converted from.
    known = bool(model.metadata) and metadata.is_shared(model.path)
    beside = metadata.read(model.path, quiet=known)
    beside.pop("sha256", None)  # of this file, not of what it is converted into
    model.metadata = {**model.metadata, **beside}
    model.labels = metadata.labels(beside) or model.labels
    return model


def _is_flax(path: Path) -> bool:
    """Whether this is an Orbax folder, or a file that begins as a msgpack map with "params"."""
    if path.is_dir():
        return any((path / name).exists() for name in ("_METADATA", "_CHECKPOINT_METADATA"))
    try:
        with open(path, "rb") as file:
            head = file.read(64)
    except (OSError, ValueError):  # no path: with a null byte
        return False
    is_map = bool(head) and (0x80 <= head[0] <= 0x8F or head[0] in (0xDE, 0xDF))
    return is_map and any(key in head for key in (b"params", b"batch_stats"))


def _flax_kind(path: str | os.PathLike[str]) -> str:
    return ORBAX if Path(path).is_dir() else MSGPACK
