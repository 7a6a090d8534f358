"""Operations as Keras 3 writes them: the JSON of one, and of its calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ferjax.nets.layers import Shape
from ferjax.nets.layers.operations import Operation

# Keras 3's class for each operation, below `keras.src.ops`, and what its settings are.
_WRITTEN: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "add": ("numpy", "Add", ()),
    "subtract": ("numpy", "Subtract", ()),
    "multiply": ("numpy", "Multiply", ()),
    "divide": ("numpy", "TrueDivide", ()),
    "power": ("numpy", "Power", ()),
    "maximum": ("numpy", "Maximum", ()),
    "minimum": ("numpy", "Minimum", ()),
    "clip": ("numpy", "Clip", ()),
    "abs": ("numpy", "Absolute", ()),
    "sqrt": ("numpy", "Sqrt", ()),
    "rsqrt": ("math", "Rsqrt", ()),
    "square": ("numpy", "Square", ()),
    "log": ("numpy", "Log", ()),
    "gelu_tanh": ("nn", "Gelu", ()),
    "stop_gradient": ("core", "StopGradient", ()),
    "mean": ("numpy", "Mean", ("axis", "keepdims")),
    "sum": ("numpy", "Sum", ("axis", "keepdims")),
    "max": ("numpy", "Max", ("axis", "keepdims")),
    "min": ("numpy", "Min", ("axis", "keepdims")),
    "var": ("numpy", "Var", ("axis", "keepdims")),
    "std": ("numpy", "Std", ("axis", "keepdims")),
    "get_item": ("numpy", "GetItem", ()),
    "transpose": ("numpy", "Transpose", ()),
    "flip": ("numpy", "Flip", ("axis",)),
    "repeat": ("numpy", "Repeat", ("repeats", "axis")),
    "stack": ("numpy", "Stack", ("axis",)),
    "expand_dims": ("numpy", "ExpandDims", ("axis",)),
    "squeeze": ("numpy", "Squeeze", ("axis",)),
    "grayscale": ("image", "RGBToGrayscale", ()),
}


def written(layer: Operation) -> dict[str, Any]:
    """Return the JSON of an operation as Keras 3 has it, without its calls."""
    module, kind, names = _WRITTEN[layer.operation]
    config: dict[str, Any] = {"name": layer.name}
    for name in names:
        value = getattr(layer, name)
        config[name] = list(value) if isinstance(value, tuple) else value
    if layer.operation == "transpose":
        config["axes"] = list(layer.axis)
    if layer.operation == "gelu_tanh":
        config["approximate"] = True
    if layer.operation == "clip":
        if not all(isinstance(operand, float) for operand in layer.operands[1:]):
            raise layer.error("Keras has no place for bounds other than two numbers")
        config |= {"x_min": layer.operands[1], "x_max": layer.operands[2]}
    return {
        "module": f"keras.src.ops.{module}",
        "class_name": kind,
        "config": config,
        "registered_name": kind,
    }


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
            "config": {
                "shape": [None, *shape],
                "dtype": "float32",
                "keras_history": [*origin, 0],
            },
        }
        for origin, shape in zip(origins, shapes)
    ]
    args: list[Any] = list(tensors)
    if layer.operation == "stack":
        args = [tensors]
    elif layer.operation == "get_item":
        args.append([_written_item(item) for item in layer.index])
    elif layer.operands and layer.operation != "clip":
        rest = iter(tensors)
        args = [next(rest) if v is None else _written_constant(v) for v in layer.operands]
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
        config = dict(zip(("start", "stop", "step"), item))
        return {"class_name": "__slice__", "config": config}
    return item
