"""The arguments of operations' calls: Keras 2's lists and Keras 3's serialised values.

Read alike: tensors become `Origin`, slices `Slice`; anything else is JSON's own. Nothing is looked
up or run. Written as Keras 3 has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ferjax.errors import printable
from ferjax.keras.inbound_nodes import Origin, begins_as_origin, origin_of
from ferjax.nets.layers import Shape
from ferjax.nets.layers.operations import Operation
from ferjax.problems import Problem

_MOST_NESTING = 10


class Slice(NamedTuple):
    """start:stop:step in brackets; None where nothing stands."""

    start: Any
    stop: Any
    step: Any


ELLIPSIS = object()  # "..." in brackets


def arguments_of(node: Any, place: str) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a call: by place, by name.

    They are Keras 3's `{"args": [...], "kwargs": {...}}`, or Keras 2's `["in", 0, 0, {"y": 127.5}]`
    or a list of them.
    """
    if isinstance(node, dict):
        args, kwargs = node.get("args", []), node.get("kwargs", {})
    else:
        args, kwargs = _keras_2_arguments(node, place)
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise Problem(f"{place}: inbound node {printable(repr(node), 80)}")
    return (
        [value_of(arg, place) for arg in args],
        {key: value_of(value, place) for key, value in kwargs.items()},
    )


def _keras_2_arguments(node: Any, place: str) -> tuple[Any, Any]:
    single = isinstance(node, list) and bool(node) and isinstance(node[0], str)
    items = [node] if single else node
    if not isinstance(items, list) or not items or not all(map(begins_as_origin, items)):
        return None, None
    named = [item[3] if len(item) > 3 else {} for item in items]
    if any(arguments != named[0] for arguments in named):
        raise Problem(f"{place}: expected the same arguments for each input")
    firsts = [item[:3] for item in items]
    return [firsts[0] if single else firsts], named[0]


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
    if set(value) == set(Slice._fields):  # Keras 2
        return Slice(**value)
    if isinstance(config, dict):
        if kind == "__keras_tensor__":
            return origin_of(config.get("keras_history"), place)
        if kind == "__slice__":
            return Slice(*(config.get(key) for key in Slice._fields))
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


# --- writing -----------------------------------------------------------------------------------


def written_call(
    layer: Operation, origins: Sequence[tuple[str, int]], shapes: Sequence[Shape]
) -> dict[str, Any]:
    """Return one call's `inbound_node` as Keras 3 has it.

    Args:
        origins: of each input, the layer and which of its calls.
        shapes: of each input, without the batch.
    """
    tensors = [
        {
            "class_name": "__keras_tensor__",
            "config": {"shape": [None, *shape], "dtype": "float32", "keras_history": [*origin, 0]},
        }
        for origin, shape in zip(origins, shapes)
    ]
    args: list[Any] = list(tensors)
    if layer.operation == "stack":
        args = [tensors]
    elif layer.operation == "get_item":
        args.append([_written_item(item) for item in layer.index])
    elif layer.operands and layer.operation != "clip":
        remaining = iter(tensors)
        args = [next(remaining) if v is None else _written_constant(v) for v in layer.operands]
    return {"args": args, "kwargs": {}}


def _written_constant(value: Any) -> Any:
    if not isinstance(value, tuple):
        return value
    return {"class_name": "__numpy__", "config": {"value": _lists(value), "dtype": "float32"}}


def _lists(value: Any) -> Any:
    return [_lists(item) for item in value] if isinstance(value, tuple) else value


def _written_item(item: Any) -> Any:
    if item == "...":
        return {"class_name": "__ellipsis__", "config": {}}
    if isinstance(item, tuple):
        config = dict(zip(Slice._fields, item))
        return {"class_name": "__slice__", "config": config}
    return item
