"""Write any weight file as another kind: Keras's formats and Flax's."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ferjax import keras, metadata
from ferjax.emotions import Labels, are_names
from ferjax.errors import WriteError
from ferjax.keras import KINDS
from ferjax.nets.graph import Graph
from ferjax.nets.head import checked_labels
from ferjax.nets.known import settings
from ferjax.nets.layers import InputLayer, Layer, TrainingOnly
from ferjax.weights import MSGPACK, ORBAX, read

TARGETS = (*KINDS, MSGPACK, ORBAX)


@dataclass(frozen=True)
class Conversion:
    """What was converted into what; `notes` says what was left out."""

    source_kind: str
    target_kind: str
    num_params: int
    notes: list[str] = field(default_factory=list)


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    to: str | None = None,
    config: str | os.PathLike[str] | None = None,
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
    to = to or _target_kind(target)
    model = read(source, config, architecture, output=output, with_optimizer=True)
    notes = list(model.notes)
    state = model.optimizer_state
    if optimizer_state and state is None:
        reasons = [note for note in notes if note.startswith(keras.STATE_LEFT_OUT)]
        why = f"; {reasons[0]}" if reasons else ""
        raise WriteError(f"{source}: holds no optimizer state that could be kept{why}")
    if state is not None and not optimizer_state:
        notes.append(
            f"the state of {state.name} after {state.step} steps is left out "
            "(--optimizer-state keeps it)"
        )
    known = model.metadata
    names = model.labels if labels is None else checked_labels(labels, model.graph)
    names = names if are_names(names) else None
    if names and (known or to == MSGPACK):
        known = {**metadata.renamed(known, model.labels, names), "labels": list(names)}
    beside = bool(known) and to != ORBAX and metadata.is_free(target)
    if to in (MSGPACK, ORBAX):
        from ferjax import flax_files
        from ferjax.nets.architectures import architecture as named

        if optimizer_state:
            raise WriteError(f"{target}: optimizer state goes into Keras files only")
        if not beside and (left_out := _left_out(known, names)):
            why = "an Orbax folder has no place for it"
            if to == MSGPACK:
                why = f"{metadata.sidecar(target)} describes other weights; give another name"
            notes.append(f"metadata is left out ({left_out}): {why}")
        flax_files.save(target, model.variables, orbax=to == ORBAX)
        guess = flax_files.guess(model.variables)
        if guess is None or not _predicts_alike(named(guess).graph, model.graph):
            given = f"--config {config or source}"
            if architecture is not None:
                given = f"--architecture {architecture}"
            taken = "" if guess is None else f", or it is taken for {guess}, which differs"
            notes.append(f"the architecture is left out: read {target} with {given}{taken}")
    else:
        keras.save(
            target,
            model.graph,
            model.variables,
            state if optimizer_state else None,
            names,
            kind=to,
            metadata=known,
        )
    if beside:
        metadata.write(target, known)
    return Conversion(model.kind, to, model.graph.num_params, notes)


def _predicts_alike(a: Graph, b: Graph) -> bool:
    """Whether two graphs make the same of an image with the same weights."""

    def described(graph: Graph) -> list[Any]:
        ranks = {call.layer: len(shape) + 1 for call, shape in zip(graph.calls, graph.shapes)}
        return [layer_of(layer, ranks.get(layer.name, 0)) for layer in graph.layers]

    def layer_of(layer: Layer, rank: int) -> Any:
        if isinstance(layer, TrainingOnly):
            return layer.kind, layer.name
        name = None if isinstance(layer, InputLayer) else layer.name
        return layer.kind, name, settings(layer, rank)

    def connected(graph: Graph) -> Any:
        positions = {layer.name: position for position, layer in enumerate(graph.layers)}
        return [(positions[call.layer], call.inputs) for call in graph.calls]

    return described(a) == described(b) and bool(connected(a) == connected(b))


def _left_out(known: Mapping[str, Any], names: Sequence[str] | None) -> str:
    """Return what metadata says, in words; what predictions depend on comes first."""
    found = {"labels": names, **{key: known[key] for key in known if key != "labels"}}
    first = [key for key in ("labels", "value_range", "input", "calibration") if found.get(key)]
    rest = sum(value is not None for key, value in found.items() if key not in first)
    return ", ".join([key.replace("_", " ") for key in first] + ["..."] * bool(rest))


def _target_kind(target: str | os.PathLike[str]) -> str:
    path = Path(target)
    kind = MSGPACK if path.suffix.lower() == ".msgpack" else keras.kind_of(path)
    if kind is None:
        raise WriteError(
            f"{target}: its name does not tell its kind; give --to {'|'.join(TARGETS)}"
        )
    return kind
