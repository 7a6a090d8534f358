"""Write any weight file as another kind: Keras's formats and Flax's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ferjax import hub, keras, metadata
from ferjax.emotions import Labels, are_names
from ferjax.errors import WriteError
from ferjax.keras import KINDS, KerasModel
from ferjax.nets.graph import Graph
from ferjax.nets.head import checked_labels
from ferjax.nets.known import settings
from ferjax.nets.layers import InputLayer, TrainingOnly
from ferjax.weights import MSGPACK, ORBAX, PathLike, read

TARGETS = (*KINDS, MSGPACK, ORBAX)


@dataclass(frozen=True)
class Conversion:
    """What was converted into what; `notes` says what was left out."""

    source_kind: str
    target_kind: str
    num_params: int
    notes: list[str] = field(default_factory=list)


def convert(
    source: PathLike,
    target: PathLike,
    *,
    to: str | None = None,
    config: PathLike | None = None,
    architecture: str | None = None,
    output: str | int | None = None,
    labels: Labels | None = None,
    optimizer_state: bool = False,
) -> Conversion:
    """Read any weight file and write it as another kind, with what is known of it.

    Metadata, from inside the source or beside it, goes into Keras files and beside every file; a
    metadata file of other weights in that place stays as it is.

    Args:
        source: a Keras file, a Flax msgpack or an Orbax folder.
        target: the new file; an existing one is replaced only when the new one is complete.
        to: one of `TARGETS`; None: as the name of `target` says.
        config: the architecture where `source` has none, as for `ferjax.keras.load`.
        architecture: instead, a named architecture.
        output: of several outputs the one to keep, as for `ferjax.keras.load`.
        labels: class names to store, or an order by its name, as for `ferjax.load`; None: those of
            `source`, where it has any.
        optimizer_state: keep Adam's moments and step count.

    Raises:
        WeightFileError: `source` cannot be used.
        LabelsError: there are not as many different labels as the network has classes.
        WriteError: `target` cannot be written, or its kind is not told by its name.
    """
    if (address := hub.parse(target)) is not None:
        raise WriteError(f"{address}: a hub is written to by `ferjax push {address} WEIGHTS`")
    kind = to or _target_kind(target)
    model = read(source, config, architecture, output=output, with_optimizer=True)
    notes = list(model.notes)
    state = model.optimizer_state
    if optimizer_state:
        _check_state(source, target, kind, model)
    elif state is not None:
        notes.append(
            f"the state of {state.name} after {state.step} steps is left out "
            "(--optimizer-state keeps it)"
        )
    names = model.labels if labels is None else checked_labels(labels, model.graph)
    names = names if are_names(names) else None
    described = model.metadata
    if names and (described or kind == MSGPACK):
        described = {**metadata.renamed(described, model.labels, names), "labels": list(names)}
    has_sidecar = bool(described) and kind != ORBAX and metadata.is_free(target)
    if kind in (MSGPACK, ORBAX):
        from ferjax import flax_files

        flax_files.save(target, model.variables, orbax=kind == ORBAX)
        notes += [] if has_sidecar else _metadata_note(target, kind, described, names)
        notes += _architecture_note(target, model, config, architecture)
    else:
        state = state if optimizer_state else None
        graph, variables = model.graph, model.variables
        keras.save(target, graph, variables, state, names, kind=kind, metadata=described)
    if has_sidecar:
        metadata.write(target, described)
    return Conversion(model.kind, kind, model.graph.num_params, notes)


def _check_state(source: PathLike, target: PathLike, kind: str, model: KerasModel) -> None:
    """Refuse to keep optimizer state that there is none of, or that has no place."""
    if model.optimizer_state is None:
        reasons = [note for note in model.notes if note.startswith(keras.STATE_LEFT_OUT)]
        why = f"; {reasons[0]}" if reasons else ""
        raise WriteError(f"{source}: holds no optimizer state that could be kept{why}")
    if kind in (MSGPACK, ORBAX):
        raise WriteError(f"{target}: optimizer state goes into Keras files only")


def _metadata_note(
    target: PathLike, kind: str, described: Mapping[str, Any], names: Sequence[str] | None
) -> list[str]:
    """Return the note on metadata that has no place, what predictions depend on first in it."""
    parts = {**described, "labels": names}
    first = [key for key in ("labels", "value_range", "input", "calibration") if parts.get(key)]
    has_more = any(value is not None for key, value in parts.items() if key not in first)
    if not first and not has_more:
        return []
    why = "an Orbax folder has no place for it"
    if kind == MSGPACK:
        why = f"{metadata.sidecar(target)} describes other weights; give another name"
    listed = ", ".join([key.replace("_", " ") for key in first] + ["..."] * has_more)
    return [f"metadata is left out ({listed}): {why}"]


def _architecture_note(
    target: PathLike, model: KerasModel, config: PathLike | None, architecture: str | None
) -> list[str]:
    """Return the note that a Flax file of a network does not tell its architecture, if so."""
    from ferjax import flax_files
    from ferjax.nets.architectures import architecture as named

    guess = flax_files.guess(model.variables)
    if guess is not None and _function(named(guess).graph) == _function(model.graph):
        return []
    mistaken = "" if guess is None else f", or it is taken for {guess}, which differs"
    options = f"--config {config or model.path}"
    if architecture is not None:
        options = f"--architecture {architecture}"
    return [f"the architecture is left out: read {target} with {options}{mistaken}"]


def _function(graph: Graph) -> Any:
    """Return what two graphs have in common that make the same of an image with the same weights.

    Names of the network and of its input are not in it, nor is how layers are trained.
    """
    ranks = {call.layer: len(shape) + 1 for call, shape in zip(graph.calls, graph.shapes)}
    layers = [
        (
            layer.kind,
            None if isinstance(layer, InputLayer) else layer.name,
            None if isinstance(layer, TrainingOnly) else settings(layer, ranks.get(layer.name, 0)),
        )
        for layer in graph.layers
    ]
    positions = {layer.name: position for position, layer in enumerate(graph.layers)}
    return layers, [(positions[call.layer], call.inputs) for call in graph.calls]


def _target_kind(target: PathLike) -> str:
    path = Path(target)
    kind = MSGPACK if path.suffix.lower() == ".msgpack" else keras.kind_of(path)
    if kind is None:
        kinds = f"give --to {'|'.join(TARGETS)}"
        if path.suffix.lower() == ".onnx":
            kinds = f"`ferjax export --weights SOURCE` writes ONNX; for another kind {kinds}"
        raise WriteError(f"{target}: its name does not tell its kind; {kinds}")
    return kind
