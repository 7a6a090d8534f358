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
from typing import TYPE_CHECKING, Any, NamedTuple

from ferjax import collector, hub
from ferjax.errors import WeightFileError, printable
from ferjax.keras import folders, hdf5, kinds, legacy_h5, optimizer, shards, weights_h5
from ferjax.keras.architecture import Architecture, Output
from ferjax.keras.json_text import is_json, read_json
from ferjax.keras.model_config import model_major, parse_model
from ferjax.keras.nesting import flat, in_keras_order
from ferjax.keras.optimizer import OptimizerState
from ferjax.keras.weight_file import PathLike, WeightFile, compiled_in, opened
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
            shards, or a `.keras` file, or its unzipped folder; or an address of a hub, as
            hf://owner/name/file, from which it is fetched.
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
    path = hub.local(path)
    with fatal(path):
        kind = kinds.identify(path)
        with opened(path, kind) as file:
            network = _network_of(file, config, architecture)
            whole = network.architecture.graph
            keeps_all = several and output is None and len(network.architecture.outputs) > 1
            graph = whole if keeps_all else network.architecture.chosen(output)
            _check_size(file, whole)
            arrays = _read_arrays(file, network)
            metadata = file.metadata()
            model = KerasModel(
                path=str(path),
                kind=kind,
                graph=graph,
                variables=to_variables(graph, arrays),
                keras_version=file.keras_version(),
                labels=stored_labels(metadata),
                metadata=metadata,
                notes=list(network.architecture.notes),
                outputs=network.architecture.outputs,
            )
            if len(graph.trainable_weights()) < len(whole.trainable_weights()):
                if file.compiled():
                    model.notes.append(f"{STATE_LEFT_OUT}: it is of all outputs' layers")
            elif with_optimizer:
                model.optimizer_state, notes = _read_state(file, whole, network.compiled)
                model.notes += notes
    return model


def has_architecture(path: PathLike) -> bool:
    """Whether a Keras file says what network its weights are for.

    Raises:
        WeightFileError: it is no Keras file, or damaged.
    """
    path = hub.local(path)
    with fatal(path), opened(path, kinds.identify(path)) as file:
        return file.config() is not None


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
    architecture = _read_config(config).architecture
    with fatal("config" if isinstance(config, Mapping) else config):
        return dataclasses.replace(architecture, graph=architecture.chosen(output))


def outputs(path: PathLike, config: PathLike | Mapping[str, Any] | None = None) -> list[Output]:
    """Return the outputs of a Keras file's model, or of a config's; none where it has no config.

    Raises:
        WeightFileError: it is no Keras file, or its config cannot be used.
    """
    if config is None and not has_architecture(path):
        return []
    return list(_read_config(path if config is None else config).architecture.outputs)


class _Described(NamedTuple):
    """What is known of the network that weights are for.

    Attributes:
        architecture: its layers.
        compiled: how it was compiled; empty where that is not said.
        by_order: whether layers may be matched by their order alone.
    """

    architecture: Architecture
    compiled: Mapping[str, Any]
    by_order: bool = True


def _read_config(config: PathLike | Mapping[str, Any]) -> _Described:
    """Return what a config says, parsed or in a file."""
    if isinstance(config, Mapping):
        with fatal("config"):
            return _Described(_parsed(config), compiled_in(config))
    config = hub.local(config)
    with fatal(config):
        if not kinds.is_folder(config) and is_json(kinds.first_bytes(config)):
            value = read_json(config, "model config")
            if shards.is_index(value):
                raise Problem("an index of sharded weights, which says nothing of the layers")
            if "modelTopology" in value:
                raise Problem(kinds.TENSORFLOW_JS)
            return _Described(_parsed(value), compiled_in(value))
        with opened(config, kinds.identify(config)) as file:
            stored = file.config()
            if stored is None:
                raise Problem("holds weights only, no config")
            return _Described(_parsed(stored, file.keras_version()), file.compiled())


def _parsed(config: Mapping[str, Any], version: str | None = None) -> Architecture:
    with collector.seldom():  # layers by the thousand, none of them garbage
        return parse_model(config, model_major(config, version))


def _network_of(
    file: WeightFile,
    config: PathLike | Mapping[str, Any] | None,
    architecture: str | Network | Graph | None,
) -> _Described:
    """Return the network that a file's weights are for: the given one, or the file's own."""
    if config is not None:
        return _read_config(config)
    if architecture is not None:
        if isinstance(architecture, str):
            from ferjax.nets.architectures import architecture as named

            architecture = named(architecture)
        graph = architecture if isinstance(architecture, Graph) else architecture.graph
        graph = in_keras_order(graph)  # as the file was written
        return _Described(Architecture(graph, flat(graph)), {})
    stored = file.config()
    if stored is None:
        if file.kind in (kinds.WEIGHTS_ONLY, kinds.V3_WEIGHTS):
            raise Problem(_no_architecture(file.path))
        raise Problem("no model_config: the architecture is missing; give a config")
    return _Described(_parsed(stored, file.keras_version()), {}, by_order=False)


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
                if kinds.is_model(read_json(path.with_name(name), name)):
                    models.append(printable(name, 80))
        return models[:3]
    return []


def _check_size(file: WeightFile, graph: Graph) -> None:
    """Refuse an architecture whose weights the file cannot hold, before anything is read."""
    sizes = {
        name: 4 * sum(math.prod(weight.shape) for weight in weights)
        for name, weights in graph.weights.items()
    }
    total = sum(sizes.values())
    # Trained weights compress by a tenth; a hundredfold is beyond any.
    if total > _MOST_WEIGHT_BYTES or (total > 1 << 20 and total > 100 * file.size):
        largest = max(sizes, key=lambda name: sizes[name])
        raise Problem(
            f"layer {largest!r}: expected arrays of {sizes[largest]} bytes, {total} in all, "
            f"more than a file of {file.size} bytes may hold"
        )


def _read_arrays(file: WeightFile, network: _Described) -> Arrays:
    """Return every array of the network, or raise all that is wrong with them at once."""
    problems = Problems(file.path)
    graph, layout = network.architecture.graph, network.architecture.layout
    if file.kind in (kinds.V3_WEIGHTS, kinds.ARCHIVE):
        arrays = weights_h5.read_weights(file.root, graph, layout, problems)
    else:
        group: Any = file.root
        if file.kind == kinds.WHOLE:
            group = hdf5.subgroup(file.root, "model_weights")
            if group is None:
                raise Problem("its group 'model_weights' is missing")
        arrays = legacy_h5.read_weights(group, graph, layout, problems, by_order=network.by_order)
    problems.raise_any()
    return arrays


def _read_state(
    file: WeightFile, graph: Graph, compiled: Mapping[str, Any]
) -> tuple[OptimizerState | None, list[str]]:
    """Return Adam's state, where the file has it, and notes on what is left out of it.

    Args:
        compiled: how the model was compiled by a config that was given with the file.
    """
    described = optimizer.described(file.compiled()) or optimizer.described(compiled)
    stored = None
    try:
        if file.kind in (kinds.V3_WEIGHTS, kinds.ARCHIVE):
            stored = optimizer.read_v3(file.root, graph, described)
        elif file.kind == kinds.WHOLE:
            group: Any = hdf5.subgroup(file.root, "optimizer_weights")
            stored = group and optimizer.read_legacy(group, graph, described)
    except Problem as problem:  # predictions do not need it
        return None, [printable(f"{STATE_LEFT_OUT}: {problem}", 500)]
    return (stored[0], optimizer.left_out(stored[1], stored[0])) if stored else (None, [])
