"""The arguments of operations' calls: Keras 2's lists and Keras 3's serialised values, read alike.

Tensors become `Origin`, slices `Slice`; anything else is JSON's own. Nothing is looked up or run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ferjax.errors import printable
from ferjax.keras.connections import Origin, origin_of
from ferjax.problems import Problem

_MOST_NESTING = 10


class Slice(NamedTuple):
    """start:stop:step in brackets; None where nothing stands."""

    start: Any
    stop: Any
    step: Any


ELLIPSIS = object()  # "..." in brackets


def keras_3_arguments(node: Mapping[str, Any], place: str) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of Keras 3's `{"args": [...], "kwargs": {...}}`: by place, by name."""
    args, kwargs = node.get("args", []), node.get("kwargs", {})
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise Problem(f"{place}: inbound node {printable(repr(node), 80)}")
    return (
        [value_of(arg, place) for arg in args],
        {key: value_of(value, place) for key, value in kwargs.items()},
    )


def keras_2_arguments(node: Any, place: str) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of Keras 2's `["in", 0, 0, {"y": 127.5}]`, or of a list of them."""
    if not isinstance(node, list) or not node:
        raise Problem(f"{place}: inbound node {printable(repr(node), 80)}")
    single = isinstance(node[0], str)
    items = [node] if single else node
    firsts, kwargs = [], None
    for item in items:
        if not isinstance(item, list) or len(item) < 3 or not isinstance(item[0], str):
            raise Problem(f"{place}: inbound node {printable(repr(node), 80)}")
        given = item[3] if len(item) > 3 else {}
        if not isinstance(given, dict) or (kwargs is not None and given != kwargs):
            raise Problem(f"{place}: expected the same arguments for each input")
        kwargs = given
        firsts.append(value_of(item[:3], place))
    named = {key: value_of(value, place) for key, value in (kwargs or {}).items()}
    return [firsts[0] if single else firsts], named


def value_of(value: Any, place: str, depth: int = 0) -> Any:
    """Return an argument: tensors as `Origin`, slices as `Slice`, else JSON's own values."""
    if depth > _MOST_NESTING:
        raise Problem(f"{place}: call arguments nested too deeply")
    if isinstance(value, list):
        if len(value) == 3 and isinstance(value[0], str):
            if value[:2] == ["_CONSTANT_VALUE", -1]:
                return value_of(value[2], place, depth + 1)
            return origin_of(value, place)
        if are_numbers(value):
            return value
        return [value_of(item, place, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    kind, config = value.get("class_name"), value.get("config")
    if kind == "__ellipsis__":
        return ELLIPSIS
    if kind == "__tuple__":
        return value_of(value.get("items"), place, depth + 1)
    if set(value) == {"start", "stop", "step"}:  # Keras 2
        return Slice(value["start"], value["stop"], value["step"])
    if isinstance(config, dict):
        if kind == "__keras_tensor__":
            return origin_of(config.get("keras_history"), place)
        if kind == "__slice__":
            return Slice(*(config.get(key) for key in ("start", "stop", "step")))
        if kind in ("__numpy__", "__tensor__"):
            return value_of(config.get("value"), place, depth + 1)
    raise Problem(f"{place}: expected a constant or a tensor, got {printable(repr(value), 80)}")


def are_numbers(value: list[Any]) -> bool:
    """Whether a list holds numbers alone; truth values are none."""
    return all(type(item) in (float, int) for item in value)


def origins_in(value: Any) -> Iterator[Origin]:
    """Yield the tensors in an argument, in order."""
    if isinstance(value, Origin):
        yield value
    elif isinstance(value, list) and not are_numbers(value):
        for item in value:
            yield from origins_in(item)
