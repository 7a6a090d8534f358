"""Where the inputs of layers come from, in the forms of Keras 2 and of Keras 3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ferjax.errors import printable
from ferjax.problems import Problem


class Origin(NamedTuple):
    """Where a tensor comes from: a layer, which of its calls, which of that call's outputs."""

    layer: str
    node: int
    tensor: int


def ends_of(value: Any, key: str) -> list[tuple[str | None, Origin]]:
    """Return the ends of a model, each with the name that the file gives it.

    They are `[["in", 0, 0]]` or, Keras 3, a flat `["in", 0, 0]`, or dicts of such by name.
    """
    if isinstance(value, dict):
        return [
            (name if len(ends) == 1 else None, origin)
            for name, end in value.items()
            for ends in [ends_of(end, key)]
            for _, origin in ends
        ]
    if not isinstance(value, list) or (value and not isinstance(value[0], list | dict | str)):
        raise Problem(f"expected a list of {key}, got {printable(repr(value), 80)}")
    if value and isinstance(value[0], str):
        return [(None, origin_of(value, key))]
    return [end for item in value for end in ends_of(item, key)]


def origin_of(value: Any, place: str) -> Origin:
    """Return the origin that a file writes as [layer, node, tensor], whatever stands behind.

    Raises:
        Problem: it is none; `place` says where it stands.
    """
    if begins_as_origin(value):
        node, tensor = value[1:3]
        if all(isinstance(n, int) and not isinstance(n, bool) for n in (node, tensor)):
            return Origin(value[0], node, tensor)
    raise Problem(f"{place}: expected [layer, node, tensor], got {printable(repr(value), 80)}")


def nodes_of(entry: Mapping[str, Any], name: str) -> list[Any]:
    """Return what the file has of each call of a layer."""
    nodes = entry.get("inbound_nodes", [])
    if not isinstance(nodes, list):
        raise Problem(f"layer {name!r}: expected a list of inbound_nodes")
    return nodes


def inbound_of(entry: Mapping[str, Any], name: str) -> list[list[Origin]]:
    """Return, for each call of a layer, where its inputs come from."""
    return [_inputs_of(node, f"layer {name!r}") for node in nodes_of(entry, name)]


def _inputs_of(node: Any, place: str) -> list[Origin]:
    """Return where the inputs of a call come from, which a node has in Keras 2's or 3's form."""
    if isinstance(node, dict):
        args, kwargs = node.get("args"), node.get("kwargs")
        origins = list(_histories(args, place)) if isinstance(args, list) else []
        has_keywords = bool(kwargs) and any(_histories(kwargs, place))
    elif isinstance(node, list):
        inputs = [node] if node and isinstance(node[0], str) else node
        origins = [origin_of(value, place) for value in inputs]
        keywords = [value[3] for value in inputs if len(value) > 3]
        has_keywords = any(isinstance(k, dict) and _carries_tensor(k) for k in keywords)
    else:
        raise Problem(f"{place}: inbound node {printable(repr(node), 80)}")
    if has_keywords:
        raise Problem(f"{place}: inputs by keyword are not supported")
    if not origins:
        raise Problem(f"{place}: a call without inputs")
    return origins


def begins_as_origin(value: Any) -> bool:
    """Whether a value of Keras 2's call arguments is [layer, node, tensor], or begins so."""
    return isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str)


def _carries_tensor(kwargs: Mapping[str, Any]) -> bool:
    return any(begins_as_origin(v) and v[0] != "_CONSTANT_VALUE" for v in kwargs.values())


def _histories(value: Any, place: str, depth: int = 0) -> Iterator[Origin]:
    """Yield the origins of the tensors in Keras 3's call arguments."""
    if depth > 6:
        raise Problem(f"{place}: call arguments nested too deeply")
    kind = value.get("class_name") if isinstance(value, dict) else None
    if kind == "__keras_tensor__":
        config = value.get("config")
        yield origin_of(config.get("keras_history") if isinstance(config, dict) else None, place)
    elif kind in ("__tensor__", "__numpy__"):
        raise Problem(
            f"{place}: a constant among its inputs is not supported, expected outputs of layers"
        )
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _histories(item, place, depth + 1)
