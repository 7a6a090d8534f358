"""Read any weight file, Keras's or Flax's, with the metadata beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ferjax import metadata, released
from ferjax._lazy import LazyModule
from ferjax.errors import FerjaxError, HubError, WeightFileError
from ferjax.nets.graph import Graph
from ferjax.problems import checked_path
from ferjax.session_cache import Entry, Facts, Kept

if TYPE_CHECKING:
    from ferjax import keras
    from ferjax.keras import Inspection, KerasModel
else:
    keras = LazyModule("ferjax.keras")  # with h5py, which a file that is kept does without

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
    return _with_sidecar(_read(path, config, architecture, output, with_optimizer))


def _read(
    path: Path,
    config: PathLike | Mapping[str, Any] | None = None,
    architecture: str | None = None,
    output: str | int | None = None,
    with_optimizer: bool = False,
) -> KerasModel:
    """Do what `read` says, of a file alone."""
    if (kind := _flax_kind(path)) is not None:
        return _read_flax(path, kind, config, architecture, output)
    return keras.load(path, config, architecture, output=output, with_optimizer=with_optimizer)


@dataclass
class KeptModel:
    """What a classifier takes of a weight file; as in `KerasModel`, but for the variables."""

    path: str
    graph: Graph
    variables: Kept
    labels: list[str] | None
    metadata: dict[str, Any]


def read_kept(path: Path, entry: Entry) -> KeptModel:
    """Return what `read` does, as far as the cache has it; or read the file, to be kept there."""

    def variables() -> Mapping[str, Any]:
        return _read(entry.path).variables

    facts = entry.facts()
    if facts is not None:
        kept = Kept(entry, facts, read=variables)
    else:
        model = _read(path)
        facts = Facts(model.graph, model.labels, model.metadata)
        kept = Kept(entry, facts, variables=model.variables, read=variables)
    labels, own = facts.labels, dict(facts.metadata)
    return _with_sidecar(KeptModel(str(path), facts.graph, kept, labels, own), entry.digest)


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
    from ferjax.keras import Inspection

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
    from ferjax.keras import KerasModel
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


class _Described(Protocol):
    path: str
    labels: list[str] | None
    metadata: dict[str, Any]


_Model = TypeVar("_Model", bound=_Described)


def _with_sidecar(model: _Model, digest: str | None = None) -> _Model:
    """Add what the metadata beside the file says. It has the file's hash, so it was written after
    the file, and comes before what the file itself says.
    """
    # A file that has its own may lie beside the one that it was converted from.
    has_own = bool(model.metadata) and metadata.is_shared(model.path)
    beside = metadata.read(model.path, quiet=has_own, digest=digest)
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
