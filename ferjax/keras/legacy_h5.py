"""The weights of legacy `.h5` files: a group a layer, with its arrays listed by name.

Written by Keras 1 and 2, and as whole models by Keras 3. The order of the layers stands in the
attribute `layer_names` alone, that of a layer's arrays in its `weight_names`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import h5py
import numpy as np

from ferjax.keras import hdf5
from ferjax.keras.nesting import Expected, Leaf, ModelTree, expected_weights, flat
from ferjax.nets.graph import Graph
from ferjax.nets.layers import Conv2D, Layer, Weight
from ferjax.nets.variables import Arrays
from ferjax.problems import Problem, Problems

# HDF5 limits an object's header; Keras splits longer lists of names.
HEADER_LIMIT = 64512
_GENERATORS = ("StateVar", "seed_generator_state")  # of random numbers: how their arrays are called


def read_weights(
    group: h5py.Group, graph: Graph, layout: ModelTree, problems: Problems, *, by_order: bool
) -> Arrays:
    """Return every array of `graph` from the group that holds `layer_names`.

    Args:
        by_order: a weights-only file, whose layers may have other names than the graph's; then
            the layers with weights are matched in order, as Keras does.
    """
    arrays: Arrays = {}
    layers = _stored_layers(group, problems)
    nodes = {node.keras_name: node for node in layout.children if expected_weights(graph, node)}
    for name, stored_name in _matched_layers(graph, nodes, layers, problems, by_order).items():
        layer = layers[stored_name]
        if layer is None:
            continue  # why is among the problems
        place = f"layer {stored_name!r}"
        with problems.at(place):
            expected = expected_weights(graph, nodes[name])
            matched = _matched_arrays(layer.names, expected, isinstance(nodes[name], ModelTree))
            for array, path in zip(expected, matched):
                with problems.at(f"{place}: {array.weight.keras_names[0]}"):
                    values = _read_array(
                        layer.group, path, graph.by_name[array.layer], array.weight
                    )
                    arrays[array.layer, array.weight.name] = values
    return arrays


class _Stored(NamedTuple):
    """A layer in a file: its group, and the names of its arrays there."""

    group: hdf5.Group
    names: list[str]


def _stored_layers(group: h5py.Group, problems: Problems) -> dict[str, _Stored | None]:
    """Return the layers of a file in its order; None: one that cannot be read, which is told."""
    layers: dict[str, _Stored | None] = {}
    total = 0
    for name in hdf5.names(group, "layer_names") or []:
        if name in layers:
            raise Problem("layer_names: a name is there twice")
        layers[name] = None
        with problems.at(f"layer {name!r}"):
            layers[name] = layer = _stored_layer(group, name)
            total += len(layer.names)
        if total > hdf5.MOST_NAMES:
            raise Problem(f"more than {hdf5.MOST_NAMES} arrays are listed")
    return layers


def _stored_layer(group: h5py.Group, layer: str) -> _Stored:
    layer_group = hdf5.subgroup(group, layer)
    if layer_group is None:
        raise Problem("listed in layer_names, but missing in the file")
    names = hdf5.names(layer_group, "weight_names")
    if names is None:
        raise Problem("its list of weight_names is missing")
    return _Stored(layer_group, names)


def _matched_layers(
    graph: Graph,
    nodes: Mapping[str, Leaf | ModelTree],
    layers: Mapping[str, _Stored | None],
    problems: Problems,
    by_order: bool,
) -> dict[str, str]:
    """Return the stored layer of each of the `nodes`, all by their names."""
    weighted = [name for name, layer in layers.items() if name in nodes or (layer and layer.names)]
    if by_order and set(weighted) != set(nodes):
        if len(weighted) != len(nodes):
            problems.raise_any()  # layers that cannot be read are missing in the count
            raise Problem(
                f"expected {len(nodes)} layers with weights for {graph.name!r}, "
                f"got {len(weighted)}: {', '.join(weighted[:30]) or 'none'}"
            )
        return dict(zip(nodes, weighted))
    for name in nodes:
        if name not in layers:
            problems.add(f"layer {name!r}: missing in the file")
    for name in weighted:
        if name not in nodes and _is_left_over(graph, name, layers[name]):
            problems.add(f"layer {name!r}: weights that the architecture has no place for")
    return {name: name for name in nodes if name in layers}


def _is_left_over(graph: Graph, name: str, layer: _Stored | None) -> bool:
    """Whether weights of a layer that should have none matter (a random generator's do not)."""
    names = layer.names if layer else []
    return name not in graph.by_name or not all(_last(n).startswith(_GENERATORS) for n in names)


def _last(path: str) -> str:
    """Return the array's own name: `kernel` of `conv2d_2/kernel:0`."""
    return path.rsplit("/", 1)[-1].split(":", 1)[0]


def _matched_arrays(paths: list[str], expected: list[Expected], is_model: bool) -> list[str]:
    """Return the stored path of each expected array.

    A layer's arrays are told by the end of their paths; those of a nested model by the layer's
    name before it, or in order where that is not unique.
    """
    if len(set(paths)) != len(paths):
        raise Problem("weight_names: a name is there twice")
    paths = [path for path in paths if not _last(path).startswith(_GENERATORS)]
    names = [array.weight.keras_names[0] for array in expected]
    if len(paths) != len(expected):
        shown = f"({', '.join(names[:8])}), got {len(paths)}: {paths[:8]}"
        raise Problem(f"expected {len(expected)} arrays {shown}")
    keys: list[Any] = [_keras2_name(_last(path)) for path in paths]
    known_keys: list[list[Any]] = [list(array.weight.keras_names) for array in expected]
    if is_model:
        keys = [(path.split("/")[-2] if "/" in path else "", _last(path)) for path in paths]
        known_keys = [[(a.keras_name, name) for name in a.weight.keras_names] for a in expected]
    by_key = dict(zip(keys, paths))
    matched = [next((by_key[key] for key in known if key in by_key), "") for known in known_keys]
    if "" not in matched and len(set(matched)) == len(expected):
        return matched
    # Two layers in one, which Keras lists in their order; or layers whose names say nothing.
    if is_model or all(key in known for key, known in zip(keys, known_keys)):
        return paths
    raise Problem(f"expected arrays named {', '.join(names)}, got {', '.join(paths)}")


def _keras2_name(name: str) -> str:
    """Return Keras 2's name of an array for Keras 1's, such as `convolution2d_1_W`.

    Of what Keras 3 has numbered, `variable_3`, the name without the number.
    """
    for end, keras2 in (("_W", "kernel"), ("_b", "bias")):
        if name.endswith(end):
            return keras2
    for end in ("gamma", "beta", "running_mean", "running_std"):
        if name.endswith(f"_{end}"):
            return end
    if name.startswith("variable_"):  # Keras 3's, for arrays without a name; counted
        return "variable"
    return name


def _read_array(group: hdf5.Group, path: str, layer: Layer, weight: Weight) -> np.ndarray:
    """Read an array; a convolution kernel of Keras 1 may be stored in Theano's order, OIHW."""
    dataset = hdf5.child(group, path)
    if _last(path).endswith("_W") and isinstance(layer, Conv2D):
        height, width, channels, filters = weight.shape
        theano = (filters, channels, height, width)
        if hdf5.described(dataset)[0] == theano != weight.shape:
            return np.ascontiguousarray(hdf5.read_array(dataset, theano).transpose(2, 3, 1, 0))
    return hdf5.read_array(dataset, weight.shape, weight.dtype)


# --- writing -----------------------------------------------------------------------------------


def write_weights(group: h5py.Group, graph: Graph, arrays: Arrays, version: str) -> None:
    """Write every array of `graph` so that Keras 1.2 to 3.15 find it: `LAYER/LAYER/kernel:0`."""
    names = [leaf.keras_name for leaf in flat(graph).leaves()]
    for name in names:
        _check_name(name)
    write_version(group, version)
    write_names(group, "layer_names", names)
    for name in sorted(names):  # the order in which Keras creates the groups
        weights = graph.weights.get(name, ())
        stored = {f"{name}/{w.keras_path}:0": arrays[name, w.name] for w in weights}
        try:
            write_arrays(group.require_group(name), stored)  # a layer "a/b" makes a group "a"
        except (TypeError, ValueError):
            raise Problem(f"layer {name!r}: its name cannot stand beside the others'") from None
    if "top_level_model_weights" not in group:
        write_arrays(group.create_group("top_level_model_weights"), {})


def write_version(group: h5py.Group, version: str) -> None:
    # Bytes, because Keras up to 2.4 decodes what it reads.
    group.attrs["keras_version"] = np.bytes_(version)
    group.attrs["backend"] = np.bytes_("tensorflow")


def _check_name(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise Problem(f"layer {name!r}: its name is not Unicode text") from None
    if "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise Problem(f"layer {name!r}: its name has no place in an .h5 file")


def write_arrays(group: h5py.Group, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays under their names, and the list of them that gives their order."""
    write_names(group, "weight_names", list(arrays))
    for name, array in arrays.items():
        group.create_dataset(name, data=array)


def write_names(group: h5py.Group, attribute: str, names: list[str]) -> None:
    """Write a list of names as Keras does: fixed-width bytes, in chunks where they are long."""
    encoded = [name.encode() for name in names]
    width = max(map(len, encoded), default=1)
    if width > HEADER_LIMIT:
        raise Problem(f"a name of {width} bytes is more than HDF5 can list")
    fit = max(HEADER_LIMIT // max(width, 1), 1)
    if len(encoded) <= fit:
        group.attrs[attribute] = np.array(encoded, dtype=f"S{max(width, 1)}")
        return
    for index in range(0, len(encoded), fit):
        chunk = np.array(encoded[index : index + fit], dtype=f"S{width}")
        group.attrs[f"{attribute}{index // fit}"] = chunk
