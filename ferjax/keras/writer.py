"""Write networks as files that Keras opens."""

from __future__ import annotations

import io
import json
import os
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from ferjax.emotions import Labels, are_names
from ferjax.errors import WriteError
from ferjax.files import replacing
from ferjax.keras import kinds, legacy_h5, optimizer, weights_h5
from ferjax.keras.model_config import hard_sigmoids, keras_version, model_config
from ferjax.keras.nesting import has_operations, in_keras_order
from ferjax.keras.optimizer import OptimizerState
from ferjax.keras.weight_file import COMPILED
from ferjax.metadata import METADATA
from ferjax.nets.graph import Graph
from ferjax.nets.head import checked_labels
from ferjax.nets.layers import LayerScale, Operation
from ferjax.nets.variables import Arrays, from_variables
from ferjax.problems import Problems, checked_path, fatal

if TYPE_CHECKING:
    from ferjax.nets.network import Network


# The kinds by the ends of names, of which the first that fits counts.
_SUFFIXES = {
    ".weights.h5": kinds.V3_WEIGHTS,
    ".h5": kinds.WHOLE,
    ".hdf5": kinds.WHOLE,
    ".keras": kinds.ARCHIVE,
}


def kind_of(path: str | os.PathLike[str]) -> str | None:
    """Return the kind that a file name stands for, or None where it is ambiguous.

    >>> [kind_of(name) for name in ("a.h5", "a.weights.h5", "a.keras", "a.bin")]
    ['h5', 'weights.h5', 'keras', None]
    """
    name = checked_path(path).name.lower()
    return next((kind for suffix, kind in _SUFFIXES.items() if name.endswith(suffix)), None)


def save(
    path: str | os.PathLike[str],
    network: Network | Graph,
    variables: Mapping[str, Any],
    optimizer_state: OptimizerState | None = None,
    labels: Labels | None = None,
    *,
    kind: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a Keras file; a crash leaves the old file or the new one.

    A whole-model `.h5` opens with plain `load_model` in Keras 2.2.4 to 3.15, a `.keras` in
    Keras 2.15 and 3.

    Args:
        path: ending in `.h5`, `.weights.h5` or `.keras`, unless `kind` is given.
        network: a Network, or its Graph.
        variables: {"params", "batch_stats"} as `network.init` returns them.
        optimizer_state: Adam's; an `.h5` with it is for Keras 2.15, `.keras` and `.weights.h5`
            with it are for Keras 3.
        labels: the class names in output order, or an order by its name, as for `ferjax.load`;
            stored where Keras does not mind them.
        kind: "h5", "weights-only-h5", "weights.h5" or "keras".
        metadata: JSON values to store beside the labels.

    Raises:
        WeightFileError: the variables do not fit the network, or are not finite.
        LabelsError: there are not as many different labels as the network has classes.
        WriteError: the file cannot be written, or its kind is not told by its name.
    """
    kind = kind or kind_of(path)
    if kind not in kinds.KINDS:
        raise WriteError(f"{path}: expected a kind among {', '.join(kinds.KINDS)}, got {kind!r}")
    graph = in_keras_order(network if isinstance(network, Graph) else network.graph)
    if optimizer_state is not None and kind == kinds.WEIGHTS_ONLY:
        raise WriteError(f"{path}: a weights-only .h5 has no place for optimizer state")
    problems = Problems(path)
    arrays = from_variables(graph, variables, problems)
    problems.raise_any()
    stored_metadata = dict(metadata or {})
    if labels is not None:
        names = checked_labels(labels, graph)
        if are_names(names):  # numbers would later pass for names that somebody knew
            stored_metadata["labels"] = names
    with fatal(path):
        _warn(path, graph, kind)
        version = keras_version(graph)
        if optimizer_state is not None:
            optimizer.flat_moments(graph, optimizer_state)  # problems come before any file
        contents = _Contents(graph, arrays, version, optimizer_state, stored_metadata)
        with replacing(path) as temporary:
            if kind == kinds.ARCHIVE:
                _write_archive(temporary, contents)
            else:
                # In memory first: HDF5 leaves no clean error behind when a disk is full.
                temporary.write_bytes(_hdf5(kind, contents))


@dataclass(frozen=True)
class _Contents:
    """What goes into a file; `version` is of the Keras that the file says it is of."""

    graph: Graph
    arrays: Arrays
    version: str
    state: OptimizerState | None
    metadata: dict[str, Any]


def _hdf5(kind: str, contents: _Contents) -> bytes:
    """Return an HDF5 file of a kind; of `ARCHIVE` the member that has the arrays."""
    graph, arrays, state = contents.graph, contents.arrays, contents.state
    file = io.BytesIO()
    with h5py.File(file, "w") as root:
        if contents.metadata and kind != kinds.ARCHIVE:
            root.attrs[METADATA] = _text(contents.metadata)
        if kind in (kinds.ARCHIVE, kinds.V3_WEIGHTS):
            weights_h5.write_weights(root, graph, arrays)
            if state is not None:
                optimizer.write_v3(root, graph, state)
                if kind == kinds.V3_WEIGHTS:
                    root.attrs[COMPILED] = _text(optimizer.training_config(state, keras_3=True))
        elif kind == kinds.WEIGHTS_ONLY:
            legacy_h5.write_weights(root, graph, arrays, contents.version)
        else:
            legacy_h5.write_version(root, contents.version)
            root.attrs["model_config"] = _text(model_config(graph))
            group = root.create_group("model_weights")
            legacy_h5.write_weights(group, graph, arrays, contents.version)
            if state is not None:
                config = optimizer.training_config(state, keras_3=False)
                root.attrs["training_config"] = _text(config)
                moments = optimizer.legacy_arrays(graph, state)
                legacy_h5.write_arrays(root.create_group("optimizer_weights"), moments)
    return file.getvalue()  # no view: collecting one that a traceback keeps crashes CPython 3.12


def _write_archive(path: Path, contents: _Contents) -> None:
    config: dict[str, Any] = {
        "module": "keras",
        "registered_name": None,
        **model_config(contents.graph),
        "build_config": {"input_shape": [None, *contents.graph.input_shape]},
    }
    if contents.state is not None:
        config["compile_config"] = optimizer.training_config(contents.state, keras_3=True)
    described: dict[str, Any] = {"keras_version": contents.version, "date_saved": ""}
    if contents.metadata:
        described[METADATA] = contents.metadata
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in (
            (kinds.ARCHIVE_METADATA, json.dumps(described)),
            (kinds.ARCHIVE_CONFIG, json.dumps(config)),
            (kinds.ARCHIVE_WEIGHTS, _hdf5(kinds.ARCHIVE, contents)),
        ):
            # A fixed date: the same network gives the same bytes.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)


def _text(value: Any) -> bytes:
    """Return JSON as bytes, of variable length in HDF5: fixed-length text is bounded to 64 KB."""
    return json.dumps(value).encode()


def _warn(path: object, graph: Graph, kind: str) -> None:
    """Warn of what some version of Keras does not open, or computes otherwise."""
    if kind in (kinds.WEIGHTS_ONLY, kinds.V3_WEIGHTS):
        return
    if any("/" in layer.name for layer in graph.layers):
        warnings.warn(
            f"{path}: Keras 3 refuses layer names with '/', Keras 2 opens it", stacklevel=3
        )
    new_layers = {la.kind for la in graph.layers if isinstance(la, LayerScale | Operation)}
    if new_layers:
        warnings.warn(
            f"{path}: only Keras 3 opens it, Keras 2 has no layers for "
            f"{', '.join(sorted(new_layers))}",
            stacklevel=3,
        )
    if has_operations(graph):
        return
    for version in hard_sigmoids(graph):
        warnings.warn(
            f"{path}: its hard_sigmoid is Keras {version}'s; Keras {5 - version} computes another "
            "function under that name",
            stacklevel=3,
        )
