"""Between a file's arrays, by (layer, weight), and the variables pytree of a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ferjax.nets.graph import Graph
from ferjax.problems import Problem, Problems

Arrays = dict[tuple[str, str], np.ndarray]


def to_variables(graph: Graph, arrays: Arrays) -> dict[str, Any]:
    """Return {"params": {layer: {weight: array}}, "batch_stats": {...}}."""
    variables: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for layer, weights in graph.weights.items():
        for weight in weights:
            group = variables[weight.collection].setdefault(layer, {})
            group[weight.name] = arrays[layer, weight.name]
    return variables


def from_variables(graph: Graph, variables: Mapping[str, Any], problems: Problems) -> Arrays:
    """Return the arrays of a variables pytree, each checked against the graph; each used once."""
    arrays: Arrays = {}
    unused = {
        (collection, layer, name)
        for collection in ("params", "batch_stats")
        for layer, weights in (variables.get(collection) or {}).items()
        for name in weights
    }
    for layer, weights in graph.weights.items():
        for weight in weights:
            place = f"layer {layer!r}: {weight.collection} {weight.name}"
            with problems.at(place):
                group = (variables.get(weight.collection) or {}).get(layer) or {}
                if weight.name not in group:
                    raise Problem(f"missing, expected an array of shape {weight.shape}")
                unused.discard((weight.collection, layer, weight.name))
                arrays[layer, weight.name] = _checked(
                    group[weight.name], weight.shape, weight.dtype
                )
    for collection, layer, name in sorted(unused):
        problems.add(f"layer {layer!r}: {collection} {name}: the network has no place for it")
    return arrays


def arrays_of(tree: Mapping[str, Any]) -> list[Any]:
    """Return the arrays of variables, in their order."""
    arrays: list[Any] = []
    for branch in tree.values():
        # NumPy's arrays and dicts, as nearly all are, are known much sooner than any mapping.
        if isinstance(branch, np.ndarray) or not isinstance(branch, (dict, Mapping)):
            arrays.append(branch)
        else:
            arrays += arrays_of(branch)
    return arrays


def read_only(tree: Any) -> Any:
    """Return variables with views of NumPy's arrays; JAX's cannot be written to anyway."""
    if isinstance(tree, Mapping):
        return {name: read_only(branch) for name, branch in tree.items()}
    if not isinstance(tree, np.ndarray):
        return tree
    view = tree.view()
    view.flags.writeable = False
    return view


def check_finite(array: np.ndarray) -> None:
    """Refuse NaN and infinity.

    Raises:
        Problem: the array, of numbers, has any.
    """
    finite = np.isfinite(array)
    if not finite.all():
        raise Problem(f"{int((~finite).sum())} of its {array.size} values not finite")


def _checked(value: Any, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:
        raise Problem(f"expected an array of shape {shape}, got a ragged list") from None
    if array.shape != shape:
        raise Problem(f"expected shape {shape}, got {array.shape}")
    if array.dtype.kind not in "fiuV" or array.dtype.names:  # V: bfloat16 and its like
        raise Problem(f"expected {dtype} values, got {array.dtype}")
    try:
        with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite
            array = array.astype(np.dtype(dtype).newbyteorder("<"), copy=False)
    except (TypeError, ValueError):
        raise Problem(f"expected {dtype} values, got {array.dtype}") from None
    check_finite(array)
    return np.ascontiguousarray(array).reshape(shape)
