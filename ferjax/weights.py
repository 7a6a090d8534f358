"""Read any weight file, Keras's or Flax's, with the metadata beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ferjax import keras, metadata, released
from ferjax.errors import FerjaxError, HubError, WeightFileError
from ferjax.keras import Inspection, KerasModel
from ferjax.problems import checked_path

MSGPACK, ORBAX = "msgpack", "orbax"  # the kinds of Flax's files

PathLike = str | os.PathLike[str]


def located(source: PathLike) -> Path:
    """Return the path of weights that are given by their path, a name of `released.NAMES`, or an
    address of a hub.

    Raises:
        WeightFileError: it is no path, or a name that is none of these.
        HubError: the weights at the address cannot be had.
    """
    checked_path(source)
    return released.path_of(source)


def read(
    source: PathLike,
    config: PathLike | Mapping[str, Any] | None = None,
    architecture: str | None = None,
    *,
    output: str | int | None = None,
    with_optimizer: bool = False,
) -> KerasModel:
    """Read a Keras file, a Flax msgpack or an Orbax folder, and the metadata beside it.

    `output` chooses among several, as for `ferjax.keras.load`.
    """
    path = located(source)
    if (kind := _flax_kind(path)) is not None:
        return _with_sidecar(_read_flax(path, kind, config, architecture, output))
    return _with_sidecar(
        keras.load(path, config, architecture, output=output, with_optimizer=with_optimizer)
    )


def has_architecture(source: PathLike) -> bool:
    """Whether a file says what network its weights are for; Flax's never do."""
    path = located(source)
    return _flax_kind(path) is None and keras.has_architecture(path)


def inspect(
    source: PathLike,
    config: PathLike | Mapping[str, Any] | None = None,
    architecture: str | None = None,
    *,
    output: str | int | None = None,
) -> Inspection:
    """Look into any file that `read` reads; an unusable one gives problems, not an error.

    Of several `model.outputs` without a choice the model has all layers.
    """
    path, kind = checked_path(source), None
    try:
        path = located(source)
        if (kind := _flax_kind(path)) is not None:
            model = read(path, config, architecture, output=output)
            return Inspection(str(path), kind, None, model)
    except FerjaxError as error:
        problems = error.problems if isinstance(error, WeightFileError) else [str(error)]
        name = error.path if isinstance(error, HubError) else str(path)
        return Inspection(name, kind, None, None, problems)
    inspection = keras.inspect(path, config, architecture, output=output)
    if inspection.model is not None:
        _with_sidecar(inspection.model)
    return inspection


def _read_flax(
    path: Path,
    kind: str,
    config: PathLike | Mapping[str, Any] | None,
    architecture: str | None,
    output: str | int | None,
) -> KerasModel:
    from ferjax import flax_files
    from ferjax.nets.architectures import architecture as named

    if config is not None and architecture is not None:
        raise WeightFileError(path, "give a config or an architecture, not both")
    graph = None
    if config is not None:
        graph = keras.load_architecture(config, output).graph
    elif architecture is not None:
        graph = named(architecture).graph
    graph, variables = flax_files.load(path, graph)
    return KerasModel(str(path), kind, graph, variables)


def _with_sidecar(model: KerasModel) -> KerasModel:
    """Add what the metadata beside the file says. It has the file's hash, so it was written after
    the file, and comes before what the file itself says.
    """
    # A file that has its own may lie beside the one that it was converted from.
    has_own = bool(model.metadata) and metadata.is_shared(model.path)
    beside = metadata.read(model.path, quiet=has_own)
    beside.pop("sha256", None)  # of this file, not of what it is converted into
    model.metadata = {**model.metadata, **beside}
    model.labels = metadata.labels(beside) or model.labels
    return model


def _flax_kind(path: Path) -> str | None:
    """Return which of Flax's kinds this is: an Orbax folder, or a file that begins as a msgpack map
    with "params"; None for any other."""
    if path.is_dir():
        markers = ("_METADATA", "_CHECKPOINT_METADATA")
        return ORBAX if any((path / name).exists() for name in markers) else None
    try:
        with open(path, "rb") as file:
            head = file.read(64)
    except (OSError, ValueError):  # no path: with a null byte
        return None
    is_map = bool(head) and (0x80 <= head[0] <= 0x8F or head[0] in (0xDE, 0xDF))
    return MSGPACK if is_map and any(key in head for key in (b"params", b"batch_stats")) else None
