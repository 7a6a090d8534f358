"""Keras's operators and functions on tensors, read and written: `x / 127.5`, `x[..., ::-1]`.

Keras 2 keeps them as layers TFOpLambda and SlicingOpLambda with a function's name, Keras 3 as
classes of `keras.ops`; constants stand among the arguments of the call. What a name means is in
`operation_table.TABLE` alone: nothing of a file is looked up anywhere else, imported or run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ferjax.errors import near_misses, printable
from ferjax.keras.config_entries import KERAS_2_OPERATIONS
from ferjax.keras.inbound_nodes import Origin, nodes_of
from ferjax.keras.operation_arguments import arguments_of, origins_in, value_of
from ferjax.keras.operation_layers import REQUIRED, KnownOperation, OperationCall, cast
from ferjax.keras.operation_table import BY_CLASS, BY_FUNCTION, BY_OPERATION
from ferjax.nets.layers import Layer, Shape
from ferjax.nets.layers.operations import Operation
from ferjax.problems import Problem


@dataclass
class Reading:
    """An operation as a file has it, with the arguments of each of its calls."""

    name: str
    spec: KnownOperation
    place: str
    calls: list[dict[str, Any]]

    @property
    def precisions(self) -> list[str]:
        """The types of float that its calls ask for, and that make values less exact."""
        dtypes = [call.get("dtype") for call in self.calls if self.spec.maker is cast]
        return [dtype for dtype in dtypes if dtype in ("float16", "bfloat16")]

    def origins(self, call: int) -> list[Origin]:
        """Return the tensors that a call needs."""
        return list(dict.fromkeys(o for v in self.calls[call].values() for o in origins_in(v)))

    def layer(self, call: int, shape_of: Callable[[Origin], Shape]) -> tuple[Layer, list[Origin]]:
        """Return the layer that a call is, and its inputs.

        Raises:
            LayerError: no layer computes it.
        """
        bound = OperationCall(self.spec, self.name, self.place, self.calls[call], shape_of)
        return self.spec.maker(bound), bound.tensors


def read(entry: Mapping[str, Any], name: str) -> Reading:
    """Return the operation in a layer's JSON.

    Raises:
        Problem: it is not in `TABLE`, or is called with arguments that are not.
    """
    kind, config = entry["class_name"], entry["config"]
    if kind in KERAS_2_OPERATIONS:
        function = config.get("function")
        spec = BY_FUNCTION.get(function) if isinstance(function, str) else None
        called, names = f"tf.{function}", [f"tf.{name}" for name in BY_FUNCTION]
        from_config: dict[str, Any] = {}
    else:
        spec, called, names = BY_CLASS.get(kind), kind, list(BY_CLASS)
        from_config = {k: v for k, v in config.items() if k not in ("name", "trainable", "dtype")}
        if spec is not None and "dtype" in spec.settings:
            from_config["dtype"] = config.get("dtype")
    if spec is None:
        raise Problem(
            f"layer {name!r}: the operation {printable(called, 80)!r} is not among those that "
            f"ferjax knows{near_misses(called, names)}"
        )
    place = f"layer {name!r} ({printable(called, 80)})"
    from_config = {key: value_of(value, place) for key, value in from_config.items()}
    nodes = [arguments_of(node, place) for node in nodes_of(entry, name)]
    calls = [_bound(spec, args, {**from_config, **kwargs}, place) for args, kwargs in nodes]
    return Reading(name, spec, place, calls)


def _bound(
    spec: KnownOperation, args: Sequence[Any], kwargs: Mapping[str, Any], place: str
) -> dict[str, Any]:
    """Return the arguments by Keras 3's names."""
    names = (*spec.inputs, *spec.settings)
    if len(args) > len(names):
        raise Problem(f"{place}: expected {len(names)} arguments at most, got {len(args)}")
    bound: dict[str, Any] = dict(zip(names, args))
    for key, value in kwargs.items():
        name = spec.renamed.get(key, key)
        if name not in names:
            _check_unused(spec, key, value, place)
        elif name in bound:
            raise Problem(f"{place}: {printable(key, 40)} is given twice")
        else:
            bound[name] = value
    bound = {**spec.settings, **bound}
    lacking = [name for name in names if bound.get(name, REQUIRED) is REQUIRED]
    if lacking:
        raise Problem(f"{place}: expected arguments {', '.join(names)}, got no {lacking[0]}")
    return {name: bound[name] for name in names}


def _check_unused(spec: KnownOperation, key: str, value: Any, place: str) -> None:
    """Refuse an argument that ferjax does not take, unless its value changes nothing."""
    if key not in spec.neutral and key != "name":
        raise Problem(f"{place}: the argument {printable(key, 40)!r} is not supported")
    allowed = spec.neutral.get(key, value)
    if value not in (allowed if isinstance(allowed, tuple) else (allowed,)):
        raise Problem(f"{place}: {key}={printable(repr(value), 80)} is not supported")


def written(layer: Operation) -> dict[str, Any]:
    """Return the JSON of an operation as Keras 3 has it, without its calls."""
    spec = BY_OPERATION[layer.operation]
    # Those that the layer has not: at their defaults, or among the arguments of the call.
    settings = {
        name: getattr(layer, "axis" if name == "axes" else name, default)
        for name, default in spec.settings.items()
    }
    if layer.operation == "clip":
        if not all(isinstance(operand, float) for operand in layer.operands[1:]):
            raise layer.error("Keras has no place for bounds other than two numbers")
        settings = dict(zip(spec.inputs[1:], layer.operands[1:]))
    config = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in settings.items()
        if value is not REQUIRED
    }
    return {
        "module": spec.module,
        "class_name": spec.class_name,
        "config": {"name": layer.name, **config},
        "registered_name": spec.class_name,
    }
