"""Read what any Keras wrote: architecture, weights, optimizer state, labels."""

from __future__ import annotations

import dataclasses
import math
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferjax.errors import WeightFileError, printable
from ferjax.keras import folders, hdf5, legacy_h5, optimizer, shards, weights_h5
from ferjax.keras.architecture import Architecture, Output
from ferjax.keras.json_text import is_json, read_json
from ferjax.keras.kinds import (
    ARCHIVE,
    TENSORFLOW_JS,
    V3_WEIGHTS,
    WEIGHTS_ONLY,
    WHOLE,
    first_bytes,
    identify,
    is_folder,
    is_model,
)
from ferjax.keras.model_config import model_major, parse_model
from ferjax.keras.nesting import flat, in_keras_order
from ferjax.keras.optimizer import OptimizerState
from ferjax.keras.source import PathLike, Source, compiled_in, opened
from ferjax.metadata import labels as stored_labels
from ferjax.nets.graph import Graph
from ferjax.nets.variables import Arrays, to_variables
from ferjax.problems import Problem, Problems, fatal

if TYPE_CHECKING:
    from ferjax.nets.network import Network

# How a note begins that says why the optimizer's state is not read.
STATE_LEFT_OUT = "optimizer state is left out"
_MOST_WEIGHT_BYTES = 1 << 32
# Of what lies beside weights and may be their architecture.
_MOST_JSON_FILES, _MOST_JSON_BYTES = 20, 1 << 20


@dataclass
class KerasModel:
    """What a Keras file holds.

    Attributes:
        path: the file.
        kind: "h5", "weights-only-h5", "weights.h5" or "keras".
        graph: the layers and their connections; nested models are flattened.
        variables: {"params", "batch_stats"}: {layer: {weight: array}}, NumPy float32.
        optimizer_state: the moments and step count of Adam or AdamW, or None; where the file has
            those of another optimizer, or does not say whose, a note tells.
        keras_version: the version that wrote the file, or None where it does not say.
        labels: the class names in output order, where the file has them.
        metadata: what else ferjax stored with the weights.
        notes: what was left out or replaced, and why.
        outputs: of the model in the file, of which `graph` leads to one.
    """

    path: str
    kind: str
    graph: Graph
    variables: dict[str, Any]
    optimizer_state: OptimizerState | None = None
    keras_version: str | None = None
    labels: list[str] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    outputs: tuple[Output, ...] = ()

    def __post_init__(self) -> None:
        self.graph = self.graph.with_statistics(self.variables)

    @cached_property
    def network(self) -> Network:
        """The Flax module; made when first asked for, because Flax is slow to import."""
        from ferjax.nets.network import Network

        return Network(self.graph)


def load(
    path: PathLike,
    config: PathLike | Mapping[str, Any] | None = None,
    architecture: str | Network | Graph | None = None,
    *,
    with_optimizer: bool = True,
    output: str | int | None = None,
) -> KerasModel:
    """Read a Keras file of any kind, told by its content; nothing in it is ever run.

    Args:
        path: a whole-model or weights-only `.h5`, a `.weights.h5`, the `.weights.json` of its
            shards, or a `.keras` file, or its unzipped folder.
        config: the architecture of a weights-only file: a `model.json`, any Keras file that has a
            config, or the parsed JSON.
        architecture: instead, a named architecture ("fer_cnn8", "fer_cnn5") or a Network.
        with_optimizer: read Adam's moments too, where the file has them.
        output: of a model of several outputs the one to keep, by its name or its number from 0;
            what does not lead to it is left out.

    Raises:
        WeightFileError: the file cannot be used; it names everything that is wrong, by layer.
    """
    return load_whole(path, config, architecture, with_optimizer=with_optimizer, output=output)


def load_whole(
    path: PathLike,
    config: PathLike | Mapping[str, Any] | None = None,
    architecture: str | Network | Graph | None = None,
    *,
    with_optimizer: bool = True,
    output: str | int | None = None,
    several: bool = False,
) -> KerasModel:
    """Read as `load` does; `several` outputs are kept where none is chosen.

    Then the last call of the graph is any of them, and it is there to be looked at only.
    """
    if config is not None and architecture is not None:
        raise WeightFileError(path, "give a config or an architecture, not both")
    with fatal(path):
        kind = identify(path)
        with opened(path, kind) as source:
            chosen, by_order, given = _architecture(source, config, architecture)
            keep_all = several and output is None and len(chosen.outputs) > 1
            graph = chosen.graph if keep_all else chosen.chosen(output)
            problems = Problems(path)
            _check_size(source, chosen.graph)
            arrays = _read_arrays(source, chosen, by_order, problems)
            problems.raise_any()
            metadata = source.metadata()
            model = KerasModel(
                path=str(path),
                kind=kind,
                graph=graph,
                variables=to_variables(graph, arrays),
                keras_version=source.keras_version(),
                labels=stored_labels(metadata),
                metadata=metadata,
                notes=list(chosen.notes),
                outputs=chosen.outputs,
            )
            if len(graph.trainable_weights()) < len(chosen.graph.trainable_weights()):
                if source.compiled():
                    model.notes.append(f"{STATE_LEFT_OUT}: it is of all outputs' layers")
            elif with_optimizer:
                described = optimizer.described(source.compiled()) or optimizer.described(given)
                try:
                    stored = _read_optimizer(source, chosen.graph, described)
                    if stored is not None:
                        model.optimizer_state, described = stored
                        model.notes += optimizer.left_out(described, model.optimizer_state)
                except Problem as problem:  # predictions do not need it
                    model.notes.append(printable(f"{STATE_LEFT_OUT}: {problem}", 500))
    return model


def has_architecture(path: PathLike) -> bool:
    """Whether a Keras file says what network its weights are for.

    Raises:
        WeightFileError: it is no Keras file, or damaged.
    """
    with fatal(path), opened(path, identify(path)) as source:
        return source.config() is not None


def load_architecture(
    config: PathLike | Mapping[str, Any], output: str | int | None = None
) -> Architecture:
    """Return the architecture from a `model.json` or from any Keras file that has a config.

    Args:
        output: of several outputs the one that the graph leads to, as for `load`.

    Raises:
        WeightFileError: there is none, it is invalid or outside the vocabulary, or has several
            outputs and none is chosen.
    """
    read = _read_config(config)[0]
    with fatal("config" if isinstance(config, Mapping) else config):
        return dataclasses.replace(read, graph=read.chosen(output))


def outputs(path: PathLike, config: PathLike | Mapping[str, Any] | None = None) -> list[Output]:
    """Return the outputs of a Keras file's model, or of a config's; none where it has no config.

    Raises:
        WeightFileError: it is no Keras file, or its config cannot be used.
    """
    if config is None and not has_architecture(path):
        return []
    return list(_read_config(path if config is None else config)[0].outputs)


def _read_config(config: PathLike | Mapping[str, Any]) -> tuple[Architecture, Mapping[str, Any]]:
    """Return the architecture, and what the config says of how the model was compiled."""
    if isinstance(config, Mapping):
        with fatal("config"):
            return parse_model(config, model_major(config, None)), compiled_in(config)
    with fatal(config):
        if not is_folder(config) and is_json(first_bytes(config)):
            parsed = read_json(config, "model config")
            if shards.is_index(parsed):
                raise Problem("an index of sharded weights, which says nothing of the layers")
            if "modelTopology" in parsed:
                raise Problem(TENSORFLOW_JS)
            return parse_model(parsed, model_major(parsed, None)), compiled_in(parsed)
        with opened(config, identify(config)) as source:
            stored = source.config()
            if stored is None:
                raise Problem("holds weights only, no config")
            major = model_major(stored, source.keras_version())
            return parse_model(stored, major), source.compiled()


def _architecture(
    source: Source,
    config: PathLike | Mapping[str, Any] | None,
    architecture: str | Network | Graph | None,
) -> tuple[Architecture, bool, Mapping[str, Any]]:
    """Return the architecture, whether layers may be matched by their order alone, and what a
    config that was given says of how the model was compiled.
    """
    if config is not None:
        chosen, compiled = _read_config(config)
        return chosen, True, compiled
    if architecture is not None:
        if isinstance(architecture, str):
            from ferjax.nets.architectures import architecture as named

            architecture = named(architecture)
        graph = architecture if isinstance(architecture, Graph) else architecture.graph
        graph = in_keras_order(graph)  # as the file was written
        return Architecture(graph, flat(graph)), True, {}
    stored = source.config()
    if stored is None:
        if source.kind in (WEIGHTS_ONLY, V3_WEIGHTS):
            raise Problem(_no_architecture(source.path))
        raise Problem("no model_config: the architecture is missing; give a config")
    return parse_model(stored, model_major(stored, source.keras_version())), False, {}


def _no_architecture(path: str) -> str:
    beside = _models_beside(Path(path))
    hint = f" ({' and '.join(beside)} {'lies' if len(beside) == 1 else 'lie'} beside it)"
    return (
        "holds weights only: give the architecture, as config (--config model.json)"
        f"{hint if beside else ''} or by name (--architecture fer_cnn5)"
    )


def _models_beside(path: Path) -> list[str]:
    """Return the names of files beside a weight file that are the JSON of a model; at most three.

    Of many files, or large ones, not all are looked into.
    """
    with suppress(Problem):
        names = [name for name in folders.names(path.parent) if name.lower().endswith(".json")]
        likely = ("model", path.stem.removesuffix(".weights"))
        names.sort(key=lambda name: (Path(name).stem not in likely, name))
        models = []
        for name in names[:_MOST_JSON_FILES]:
            with suppress(Problem, OSError):
                mode = os.stat(path.with_name(name))
                if not stat.S_ISREG(mode.st_mode) or mode.st_size > _MOST_JSON_BYTES:
                    continue
                if is_model(read_json(path.with_name(name), name)):
                    models.append(printable(name, 80))
        return models[:3]
    return []


def _check_size(source: Source, graph: Graph) -> None:
    """Refuse an architecture whose weights the file cannot hold, before anything is read."""
    sizes = {
        name: 4 * sum(math.prod(weight.shape) for weight in weights)
        for name, weights in graph.weights.items()
    }
    total = sum(sizes.values())
    # Trained weights compress by a tenth; a hundredfold is beyond any.
    if total > _MOST_WEIGHT_BYTES or (total > 1 << 20 and total > 100 * source.size):
        largest = max(sizes, key=lambda name: sizes[name])
        raise Problem(
            f"layer {largest!r}: expected arrays of {sizes[largest]} bytes, {total} in all, "
            f"more than a file of {source.size} bytes may hold"
        )


def _read_arrays(
    source: Source, chosen: Architecture, by_order: bool, problems: Problems
) -> Arrays:
    if source.kind in (V3_WEIGHTS, ARCHIVE):
        return weights_h5.read_weights(source.root, chosen.graph, chosen.layout, problems)
    group: Any = source.root
    if source.kind == WHOLE:
        group = hdf5.subgroup(source.root, "model_weights")
        if group is None:
            raise Problem("its group 'model_weights' is missing")
    return legacy_h5.read_weights(group, chosen.graph, chosen.layout, problems, by_order=by_order)


def _read_optimizer(
    source: Source, graph: Graph, described: optimizer.Described | None
) -> tuple[OptimizerState, optimizer.Described] | None:
    if source.kind in (V3_WEIGHTS, ARCHIVE):
        return optimizer.read_v3(source.root, graph, described)
    if source.kind == WHOLE:
        group = hdf5.subgroup(source.root, "optimizer_weights")
        if group is not None:
            return optimizer.read_legacy(group, graph, described)
    return None
