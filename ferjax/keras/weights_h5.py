"""The weights of `.weights.h5` files, alone or inside a `.keras` archive.

`layers/conv2d_1/vars/0`: layers go by their class in snake case, counted in the model's order,
arrays by their position; a layer inside another has its own group: `layers/lstm/cell/vars/0`.
"""

from __future__ import annotations

import h5py

from ferjax.keras import hdf5
from ferjax.keras.nesting import Expected, Leaf, ModelTree, expected_weights, flat
from ferjax.nets.graph import Graph
from ferjax.nets.variables import Arrays
from ferjax.problems import Problem, Problems

# Keras 2.12 to 2.14 wrote another group, in which every layer with weights counts twice.
_KERAS_2_12 = "_layer_checkpoint_dependencies"


def read_weights(root: h5py.Group, graph: Graph, layout: ModelTree, problems: Problems) -> Arrays:
    """Return every array of `graph`; a layer that has none is not looked at."""
    arrays: Arrays = {}
    _read_model(root, graph, layout, "", problems, arrays)
    return arrays


def _read_model(
    group: hdf5.Group, graph: Graph, model: ModelTree, path: str, problems: Problems, arrays: Arrays
) -> None:
    """Read the arrays of a model's layers, and of the models among them."""
    if not expected_weights(graph, model):
        return
    is_old = not hdf5.exists(group, "layers") and hdf5.exists(group, _KERAS_2_12)
    keyed = model.keyed_children(lambda node: is_old and bool(expected_weights(graph, node)))
    with problems.at(path or "file"):
        layers = hdf5.subgroup(group, _KERAS_2_12 if is_old else "layers")
        if layers is None:
            raise Problem("its group 'layers' is missing")
        for key, node in keyed:
            if isinstance(node, Leaf):
                with problems.at(f"layer {node.keras_name!r}"):
                    _read_layer(layers, key, graph, node, problems, arrays)
            elif expected_weights(graph, node):
                inner_path = f"{path}/{key}" if path else key
                with problems.at(f"model {node.keras_name!r}"):
                    if (model_group := hdf5.subgroup(layers, key)) is None:
                        raise Problem(f"its group {inner_path!r} is missing")
                    _read_model(model_group, graph, node, inner_path, problems, arrays)


def _read_layer(
    layers: hdf5.Group, key: str, graph: Graph, leaf: Leaf, problems: Problems, arrays: Arrays
) -> None:
    for part, expected in _by_part(graph, leaf).items():
        path = _path(key, part)
        stored = hdf5.subgroup(layers, path)
        names = ", ".join(array.weight.keras_names[0] for array in expected)
        if stored is None:
            raise Problem(f"its group {path!r} is missing, expected {names}")
        total = hdf5.count(stored)
        if total != len(expected):
            raise Problem(f"expected {len(expected)} arrays ({names}), got {total}")
        for position, (_, layer, weight) in enumerate(expected):
            with problems.at(f"layer {leaf.keras_name!r}: {weight.keras_names[0]}"):
                dataset = hdf5.child(stored, str(position))
                arrays[layer, weight.name] = hdf5.read_array(dataset, weight.shape, weight.dtype)


def _by_part(graph: Graph, leaf: Leaf) -> dict[str, list[Expected]]:
    """Return the arrays of a layer by the part of it that holds them, "" for itself."""
    parts: dict[str, list[Expected]] = {}
    for array in expected_weights(graph, leaf):
        parts.setdefault(array.weight.part, []).append(array)
    return parts


def _path(key: str, part: str) -> str:
    """Return where below `layers` the arrays of a layer's part are."""
    return f"{key}/{part}/vars" if part else f"{key}/vars"


def write_weights(root: h5py.Group, graph: Graph, arrays: Arrays) -> None:
    """Write every array of `graph`; Keras 2.15 needs a group for weightless layers too."""
    for key, leaf in flat(graph).keyed_children():
        assert isinstance(leaf, Leaf)
        parts = _by_part(graph, leaf)
        for part in ("", *graph.by_name[leaf.keras_name].parts):
            stored = root.create_group(f"layers/{_path(key, part)}")
            for position, (_, layer, weight) in enumerate(parts.get(part, ())):
                stored.create_dataset(str(position), data=arrays[layer, weight.name])
    root.create_group("vars")
