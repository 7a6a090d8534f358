"""The weights of legacy `.h5` files: a group a layer, with its arrays listed by name.

Written by Keras 1 and 2, and as whole models by Keras 3. The order of the layers stands in the
attribute `layer_names` alone, that of a layer's arrays in its `weight_names`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from ferjax.keras import hdf5
from ferjax.keras.nesting import Container, Leaf, expected_weights, flat
from ferjax.nets.graph import Graph
from ferjax.nets.layers import Conv2D, Weight
from ferjax.nets.variables import Arrays
from ferjax.problems import Problem, Problems

# HDF5 limits an object's header; Keras splits longer lists of names.
HEADER_LIMIT = 64512
_GENERATORS = ("StateVar", "seed_generator_state")  # of random numbers: how their arrays are called


def read_weights(
    group: h5py.Group, graph: Graph, layout: Container, problems: Problems, *, by_order: bool
) -> Arrays:
    """Return every array of `graph` from the group that holds `layer_names`.

    Args:
        by_order: a weights-only file, whose layers may have other names than the graph's; then
            the layers with weights are matched in order, as Keras does.
    """
    arrays: Arrays = {}
    stored = hdf5.names(group, "layer_names") or []
    if len(set(stored)) != len(stored):
        raise Problem("layer_names: a name is there twice")
    wanted = {n.keras_name: n for n in layout.children if expected_weights(graph, n)}
    sources: dict[str, str] = {}  # layer name -> group name
    weight_names: dict[str, list[str]] = {}
    total = 0
    for name in stored:
        with problems.at(f"layer {name!r}"):
            weight_names[name] = _weight_names(group, name)
            total += len(weight_names[name])
        if total > hdf5.MOST_NAMES:
            raise Problem(f"more than {hdf5.MOST_NAMES} arrays are listed")
    weighted = [name for name in stored if weight_names.get(name) or name in wanted]
    if set(weighted) == set(wanted) or not by_order:
        for name in wanted:
            if name in weight_names:
                sources[name] = name
            elif name not in stored:
                problems.add(f"layer {name!r}: missing in the file")
        extra = [name for name in weighted if name not in wanted]
        for name in extra:
            if _left_over(graph, name, weight_names[name]):
                problems.add(f"layer {name!r}: weights that the architecture has no place for")
    elif len(weighted) != len(wanted):
        problems.raise_any()  # layers that cannot be read are missing in the count
        raise Problem(
            f"expected {len(wanted)} layers with weights for {graph.name!r}, "
            f"got {len(weighted)}: {', '.join(weighted[:30]) or 'none'}"
        )
    else:
        sources = dict(zip(wanted, weighted))
    for name, source in sources.items():
        if source not in weight_names:
            continue  # why is among the problems
        _read_layer(group, source, weight_names[source], graph, wanted[name], problems, arrays)
    return arrays


def _left_over(graph: Graph, name: str, weights: list[str]) -> bool:
    """Whether weights of a layer that should have none matter (a random generator's do not)."""
    return name not in graph.by_name or not all(_last(w).startswith(_GENERATORS) for w in weights)


def _weight_names(group: h5py.Group, layer: str) -> list[str]:
    inside = hdf5.subgroup(group, layer)
    if inside is None:
        raise Problem("listed in layer_names, but missing in the file")
    names = hdf5.names(inside, "weight_names")
    if names is None:
        raise Problem("its list of weight_names is missing")
    return names


def _last(weight_name: str) -> str:
    """Return the array's own name: `kernel` of `conv2d_2/kernel:0`."""
    return weight_name.rsplit("/", 1)[-1].split(":", 1)[0]


def _read_layer(
    group: h5py.Group,
    source: str,
    names: list[str],
    graph: Graph,
    node: Leaf | Container,
    problems: Problems,
    arrays: Arrays,
) -> None:
    place = f"layer {source!r}"
    with problems.at(place):
        inside = hdf5.subgroup(group, source)
        assert inside is not None
        expected = expected_weights(graph, node)
        if len(set(names)) != len(names):
            raise Problem("weight_names: a name is there twice")
        matched = _match(names, expected, isinstance(node, Container))
        for (leaf, weight), name in zip(expected, matched):
            with problems.at(f"{place}: {weight.keras_names[0]}"):
                dataset = hdf5.child(inside, name)
                assert leaf.name is not None
                layer = graph.by_name[leaf.name]
                keras1 = _last(name).endswith("_W") and isinstance(layer, Conv2D)
                arrays[leaf.name, weight.name] = (
                    _keras1_kernel(dataset, weight)
                    if keras1
                    else hdf5.read_array(dataset, weight.shape, weight.dtype)
                )


def _match(names: list[str], expected: list[tuple[Leaf, Weight]], nested: bool) -> list[str]:
    """Return the stored name of each expected array.

    A layer's arrays are told by the end of their names; those of a nested model by the layer's
    name before it, or in order where that is not unique.
    """
    kept = [name for name in names if not _last(name).startswith(_GENERATORS)]
    if len(kept) != len(expected):
        listed = ", ".join(w.keras_names[0] for _, w in expected[:8])
        raise Problem(f"expected {len(expected)} arrays ({listed}), got {len(kept)}: {kept[:8]}")
    ends = [_keras2_name(_last(name)) for name in kept]
    by_key: dict[Any, str] = dict(zip(ends, kept))
    wanted: list[list[Any]] = [list(weight.keras_names) for _, weight in expected]
    if nested:
        by_key = {(name.split("/")[-2] if "/" in name else "", _last(name)): name for name in kept}
        wanted = [[(leaf.keras_name, key) for key in w.keras_names] for leaf, w in expected]
    matched = [next((by_key[key] for key in keys if key in by_key), "") for keys in wanted]
    if "" not in matched and len(set(matched)) == len(expected):
        return matched
    # Two layers in one, which Keras lists in their order; or layers whose names say nothing.
    if nested or all(end in weight.keras_names for end, (_, weight) in zip(ends, expected)):
        return kept
    listed = ", ".join(weight.keras_names[0] for _, weight in expected)
    raise Problem(f"expected arrays named {listed}, got {', '.join(kept)}")


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


def _keras1_kernel(dataset: Any, weight: Weight) -> np.ndarray:
    """Read a convolution kernel of Keras 1, which may be stored in Theano's order, OIHW."""
    height, width, channels, filters = weight.shape
    theano = (filters, channels, height, width)
    if hdf5.described(dataset)[0] == theano != weight.shape:
        return np.ascontiguousarray(hdf5.read_array(dataset, theano).transpose(2, 3, 1, 0))
    return hdf5.read_array(dataset, weight.shape)


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
