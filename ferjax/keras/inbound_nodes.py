"""Where the inputs of layers come from, in the forms of Keras 2 and of Keras 3."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    """Return, for each call of a layer, where its inputs come from, in Keras 2's or 3's form."""
    result = []
    for node in nodes_of(entry, name):
        if isinstance(node, dict):
            args = node.get("args")
            origins = list(_histories(args, name)) if isinstance(args, list) else []
            if node.get("kwargs") and any(_histories(node["kwargs"], name)):
                raise Problem(f"layer {name!r}: inputs by keyword are not supported")
        elif isinstance(node, list):
            node = [node] if node and isinstance(node[0], str) else node
            origins = [origin_of(origin, f"layer {name!r}") for origin in node]
            if any(len(o) > 3 and isinstance(o[3], dict) and _carries_tensor(o[3]) for o in node):
                raise Problem(f"layer {name!r}: inputs by keyword are not supported")
        else:
            raise Problem(f"layer {name!r}: inbound node {printable(repr(node), 80)}")
        if not origins:
            raise Problem(f"layer {name!r}: a call without inputs")
        result.append(origins)
    return result


def begins_as_origin(value: Any) -> bool:
    """Whether a value of Keras 2's call arguments is [layer, node, tensor], or begins so."""
    return isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str)


def _carries_tensor(kwargs: Mapping[str, Any]) -> bool:
    return any(begins_as_origin(v) and v[0] != "_CONSTANT_VALUE" for v in kwargs.values())


def _histories(value: Any, name: str, depth: int = 0) -> Iterable[Origin]:
    """Yield the origins of the tensors in Keras 3's call arguments."""
    if depth > 6:
        raise Problem(f"layer {name!r}: call arguments nested too deeply")
    if isinstance(value, list):
        for item in value:
            yield from _histories(item, name, depth + 1)
    elif isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            config = value.get("config")
            history = config.get("keras_history") if isinstance(config, dict) else None
            yield origin_of(history, f"layer {name!r}")
        elif value.get("class_name") in ("__tensor__", "__numpy__"):
            raise Problem(
                f"layer {name!r}: a constant among its inputs is not supported, "
                "expected outputs of layers"
            )
        else:
            for item in value.values():
                yield from _histories(item, name, depth + 1)
