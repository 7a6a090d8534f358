"""Keras's operators and functions on tensors, in both directions: `x / 127.5`, `x[..., ::-1]`.

Keras 2 keeps them as layers TFOpLambda and SlicingOpLambda with a function's name, Keras 3 as
classes of `keras.ops`; constants stand among the arguments of the call. What a name means is in
`TABLE` alone: nothing of a file is looked up anywhere else, imported or run.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ferjax.errors import LayerError, near_misses, printable
from ferjax.keras.connections import Origin, origin_of
from ferjax.keras.problems import Problem
from ferjax.nets import settings
from ferjax.nets.layers import (
    VOCABULARY,
    Activation,
    Layer,
    Rescaling,
    Reshape,
    Resizing,
    Shape,
)
from ferjax.nets.layers.operations import Operation

_KERAS_2 = {"TFOpLambda", "SlicingOpLambda"}
_KERAS_3 = re.compile(r"keras(_core)?\.(src\.)?ops(\.\w+)*")
_MOST_NESTING = 10
_MOST_NUMBERS = 100_000  # in a constant


@dataclass(frozen=True)
class _Known:
    """What Keras calls an operation, and what its arguments are called.

    Attributes:
        made: from (arguments by name, shapes of the tensors by origin) to the layer and its inputs.
        keras_3: the class in `keras.ops`.
        keras_2: the functions, each with its names for Keras 3's arguments; without one, the first
            argument is called anything.
        inputs: the arguments that hold tensors, in order.
        settings: the other arguments, with their values where they are not given.
        neutral: arguments that are allowed at these values alone.
    """

    made: Callable[[_Call], tuple[Layer, list[Origin]]]
    keras_3: str
    keras_2: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ("x",)
    settings: Mapping[str, Any] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    neutral: Mapping[str, Any] = field(default_factory=dict)


_REQUIRED = object()


@dataclass
class _Call:
    """One call of an operation: its arguments, and the shapes of the tensors among them."""

    known: _Known
    name: str
    place: str
    arguments: dict[str, Any]
    shape_of: Callable[[Origin], Shape]

    def error(self, message: str) -> LayerError:
        return LayerError(f"{self.place}: {message}")

    def tensor(self, name: str = "x") -> Origin:
        value = self.arguments[name]
        if not isinstance(value, Origin):
            raise self.error(f"{name}: expected a tensor, got {printable(repr(value), 80)}")
        return value

    def shape(self, name: str = "x") -> Shape:
        return self.shape_of(self.tensor(name))

    def tensors(self, name: str = "x") -> list[Origin]:
        value = self.arguments[name]
        values = value if isinstance(value, list) and value else [value]
        if not all(isinstance(item, Origin) for item in values):
            raise self.error(f"expected tensors, got {printable(repr(value), 80)}")
        return list(values)

    def constant(self, name: str) -> Any:
        value = self.arguments[name]
        if any(_origins(value)):
            raise self.error(f"{name}: expected a constant, got a tensor")
        return value

    def numbers(self, name: str) -> Any:
        value = self.constant(name)
        if _count(value) > _MOST_NUMBERS:
            raise self.error(f"{name}: expected at most {_MOST_NUMBERS} numbers")
        try:
            return settings.numbers(value)
        except ValueError as error:
            raise self.error(f"{name}: {error}") from None

    def made_as(self, layer: type[Layer] | str, **given: Any) -> Layer:
        kind = VOCABULARY[layer] if isinstance(layer, str) else layer
        return kind(name=self.name, **given)


def _count(value: Any) -> int:
    return sum(map(_count, value)) if isinstance(value, list) else 1


def _origins(value: Any) -> Iterator[Origin]:
    if isinstance(value, Origin):
        yield value
    elif isinstance(value, list) and not _plain_numbers(value):
        for item in value:
            yield from _origins(item)


# --- which layer an operation is ---------------------------------------------------------------


def _elementwise(operation: str) -> Callable[[_Call], tuple[Layer, list[Origin]]]:
    def made(call: _Call) -> tuple[Layer, list[Origin]]:
        names = call.known.inputs
        tensors = [name for name in names if isinstance(call.arguments[name], Origin)]
        operands = [None if name in tensors else call.numbers(name) for name in names]
        origins = [call.tensor(name) for name in tensors]
        if not origins:
            raise call.error("expected a tensor among its inputs, got constants only")
        divisor: Any = operands[-1]
        if operation == "divide" and divisor is not None and 0 in settings.flat(divisor):
            raise call.error("it divides by 0")
        whole = call.made_as(Operation, operation=operation, operands=tuple(operands))
        shapes = [call.shape_of(origin) for origin in origins]
        result = whole.output_shape(*shapes)
        if len(origins) == 2 and len(operands) == 2:
            return _merged(call, operation) or whole, origins
        if len(origins) == 1 and result == shapes[0]:
            return _rescaled(call, operation, operands, len(result)) or whole, origins
        return whole, origins

    return made


def _merged(call: _Call, operation: str) -> Layer | None:
    """Return Keras's layer of two inputs, for inputs of as many axes."""
    kind = {"add": "Add", "subtract": "Subtract", "multiply": "Multiply"}.get(
        operation, operation.title()
    )
    return call.made_as(kind) if kind in VOCABULARY else None


def _rescaled(call: _Call, operation: str, operands: list[Any], rank: int) -> Layer | None:
    """Return the layer that computes the same of a tensor and a constant, if there is one."""
    if operation == "clip":
        low, high = operands[1:]
        if low == 0 and isinstance(high, float) and high >= 0:
            return call.made_as("ReLU", max_value=high)
        return None
    if len(operands) != 2:
        return None
    right = operands[0] is None
    constant: Any = operands[1] if right else operands[0]
    for _ in range(max(len(settings.dimensions(constant)) - rank, 0)):
        (constant,) = constant  # the batch's axis, of size 1
    if operation == "maximum" and constant == 0:
        return call.made_as("ReLU")
    scale: Any = 1.0
    offset: Any = 0.0
    if operation in ("add", "subtract"):
        minus = operation == "subtract"
        scale = -1.0 if minus and not right else 1.0
        offset = settings.each(constant, lambda c: -c) if minus and right else constant
    elif operation == "multiply":
        scale = constant
    elif operation == "divide" and right and all(abs(c) > 1e-37 for c in settings.flat(constant)):
        scale = settings.each(constant, lambda c: 1 / c)
    else:
        return None
    return call.made_as(Rescaling, scale=scale, offset=offset)


def _negative(call: _Call) -> tuple[Layer, list[Origin]]:
    return call.made_as(Rescaling, scale=-1.0), [call.tensor()]


def _activation(name: str) -> Callable[[_Call], tuple[Layer, list[Origin]]]:
    return lambda call: (call.made_as(Activation, activation=name), [call.tensor()])


def _layer(kind: str, **given: Any) -> Callable[[_Call], tuple[Layer, list[Origin]]]:
    """Return what makes a layer with the settings of the call under the same names."""

    def made(call: _Call) -> tuple[Layer, list[Origin]]:
        own = {name: call.constant(name) for name in call.known.settings}
        return call.made_as(kind, **given, **own), [call.tensor()]

    return made


def _softmax(kind: str) -> Callable[[_Call], tuple[Layer, list[Origin]]]:
    def made(call: _Call) -> tuple[Layer, list[Origin]]:
        axis, ndim = call.constant("axis"), len(call.shape()) + 1
        if not isinstance(axis, int) or isinstance(axis, bool) or axis % ndim == 0:
            raise call.error(f"axis: expected one axis, not the batch, got {axis!r}")
        if axis in (-1, ndim - 1):
            return call.made_as(Activation, activation=kind), [call.tensor()]
        if kind != "softmax":
            raise call.error(f"axis: expected the last, got {axis}")
        return call.made_as("Softmax", axis=axis), [call.tensor()]

    return made


def _gelu(call: _Call) -> tuple[Layer, list[Origin]]:
    if call.constant("approximate"):
        return call.made_as(Operation, operation="gelu_tanh"), [call.tensor()]
    return call.made_as(Activation, activation="gelu"), [call.tensor()]


def _reduced(operation: str) -> Callable[[_Call], tuple[Layer, list[Origin]]]:
    def made(call: _Call) -> tuple[Layer, list[Origin]]:
        axis, shape = call.constant("axis"), call.shape()
        whole = call.made_as(
            Operation,
            operation=operation,
            axis=tuple(axis) if isinstance(axis, list) else axis,
            keepdims=call.constant("keepdims"),
        )
        assert isinstance(whole, Operation)
        pooling = {"mean": "GlobalAveragePooling2D", "max": "GlobalMaxPooling2D"}.get(operation)
        if pooling and len(shape) == 3 and sorted(whole.positions(4)) == [1, 2]:
            return call.made_as(pooling, keepdims=whole.keepdims), [call.tensor()]
        return whole, [call.tensor()]

    return made


def _arranged(operation: str) -> Callable[[_Call], tuple[Layer, list[Origin]]]:
    def made(call: _Call) -> tuple[Layer, list[Origin]]:
        axis = call.constant("axis")
        whole = call.made_as(
            Operation,
            operation=operation,
            axis=tuple(axis) if isinstance(axis, list) else axis,
            repeats=call.constant("repeats") if operation == "repeat" else 1,
        )
        if operation in ("expand_dims", "squeeze"):
            shape = whole.output_shape(call.shape())
            if None not in shape and shape:
                return call.made_as(Reshape, target_shape=shape), [call.tensor()]
        return whole, [call.tensor()]

    return made


def _transposed(call: _Call) -> tuple[Layer, list[Origin]]:
    axes, ndim = call.constant("axes"), len(call.shape()) + 1
    whole = call.made_as(
        Operation, operation="transpose", axis=tuple(axes) if isinstance(axes, list) else axes
    )
    if (
        isinstance(axes, list)
        and sorted(axes[1:]) == list(range(1, ndim))
        and "Permute" in VOCABULARY
    ):
        return call.made_as("Permute", dims=tuple(axes[1:])), [call.tensor()]
    return whole, [call.tensor()]


def _reshaped(call: _Call) -> tuple[Layer, list[Origin]]:
    given = call.constant("newshape")
    first, *rest = given if isinstance(given, list) and given else [given]
    shape = call.shape()
    sizes = (
        [call.made_as(Reshape, target_shape=shape).known(shape, a) for a in range(len(shape))]
        if None not in shape
        else None
    )
    if first not in (-1, None) or sizes is None:
        raise call.error(
            f"shape: expected -1, for the batch, and then sizes, got {printable(repr(given), 80)}"
        )
    layer = call.made_as(Reshape, target_shape=tuple(-1 if size is None else size for size in rest))
    layer.output_shape(shape)
    return layer, [call.tensor()]


def _concatenated(call: _Call) -> tuple[Layer, list[Origin]]:
    origins = call.tensors("xs")
    if len(origins) == 1:
        return call.made_as(Activation, activation="linear"), origins
    return call.made_as("Concatenate", axis=call.constant("axis")), origins


def _stacked(call: _Call) -> tuple[Layer, list[Origin]]:
    layer = call.made_as(Operation, operation="stack", axis=call.constant("axis"))
    return layer, call.tensors("xs")


def _summed(call: _Call) -> tuple[Layer, list[Origin]]:
    origins = call.tensors("xs")
    if len({len(call.shape_of(origin)) for origin in origins}) > 1:
        raise call.error("expected inputs of as many axes")
    if len(origins) == 1:
        return call.made_as(Activation, activation="linear"), origins
    return call.made_as("Add"), origins


def _cast(call: _Call) -> tuple[Layer, list[Origin]]:
    dtype = call.constant("dtype")
    if dtype not in ("float32", "float16", "bfloat16", "float64", None):
        raise call.error(f"dtype: expected a float type, got {printable(repr(dtype), 40)}")
    return call.made_as(Activation, activation="linear"), [call.tensor()]


def _indexed(call: _Call) -> tuple[Layer, list[Origin]]:
    given = call.constant("key")
    items = given if isinstance(given, list) else [given]
    index: list[Any] = []
    for item in items:
        if isinstance(item, _Slice):
            index.append((item.start, item.stop, item.step))
        elif item is _ELLIPSIS:
            index.append("...")
        elif isinstance(item, str):
            raise call.error(f"expected an index, got {printable(repr(item), 80)}")
        else:
            index.append(item)
    shape = call.shape()
    whole = call.made_as(Operation, operation="get_item", index=tuple(index))
    assert isinstance(whole, Operation)
    whole.output_shape(shape)
    # Without the ellipsis, which Keras 3 writes and does not read.
    return dataclasses.replace(whole, index=tuple(whole.items(len(shape) + 1))), [call.tensor()]


def _arithmetic(operation: str) -> Callable[[_Call], tuple[Layer, list[Origin]]]:
    return lambda call: (call.made_as(Operation, operation=operation), [call.tensor()])


def _three_channels(call: _Call) -> tuple[Layer, list[Origin]]:
    if call.shape()[-1:] != (1,):
        raise call.error(f"expected images of one channel, got {call.shape()}")
    return call.made_as(Operation, operation="repeat", axis=-1, repeats=3), [call.tensor()]


def _resized(call: _Call) -> tuple[Layer, list[Origin]]:
    size = call.constant("size")
    if not isinstance(size, list) or len(size) != 2:
        raise call.error(f"size: expected [height, width], got {printable(repr(size), 80)}")
    own = {name: call.constant(name) for name in call.known.settings if name != "size"}
    layer = call.made_as(Resizing, height=size[0], width=size[1], **own)
    layer.output_shape(call.shape())
    return layer, [call.tensor()]


def _padded(call: _Call) -> tuple[Layer, list[Origin]]:
    """Return the layer that surrounds images by zeros, all that there is of padding."""
    widths, value = call.constant("pad_width"), call.constant("constant_values")
    mode = call.constant("mode")
    if not isinstance(mode, str) or mode.lower() != "constant" or value not in (None, 0):
        raise call.error("expected zeros around the images, no other values")
    rows = isinstance(widths, list) and len(widths) == len(call.shape()) + 1 == 4
    if not rows or widths[0] != [0, 0] or widths[3] != [0, 0]:
        raise call.error(
            f"expected a padding of rows and columns alone, got {printable(repr(widths), 80)}"
        )
    padding = tuple(tuple(pair) if isinstance(pair, list) else pair for pair in widths[1:3])
    return call.made_as("ZeroPadding2D", padding=padding), [call.tensor()]


def _mirrored(axis: int) -> Callable[[_Call], tuple[Layer, list[Origin]]]:
    def made(call: _Call) -> tuple[Layer, list[Origin]]:
        if len(call.shape()) != 3:
            raise call.error(f"expected images, (H, W, C), got {call.shape()}")
        return call.made_as(Operation, operation="flip", axis=axis), [call.tensor()]

    return made


def _taken(call: _Call) -> tuple[Layer, list[Origin]]:
    """Return the reversal of an axis, the only order of indices that there is a layer for."""
    axis, size = call.constant("axis"), None
    with_axis = isinstance(axis, int) and -len(call.shape()) <= axis <= len(call.shape())
    if with_axis and axis % (len(call.shape()) + 1):
        size = call.shape()[axis % (len(call.shape()) + 1) - 1]
    if size is None or size > 64 or call.constant("indices") != list(range(size))[::-1]:
        raise call.error("expected all indices of an axis backwards, such as [2, 1, 0]")
    return call.made_as(Operation, operation="flip", axis=axis), [call.tensor()]


_XY = ("x1", "x2")
_Y = {"y": "x2"}
_AXES = {"axis": None, "keepdims": False}


def _operator(name: str, keras_3: str, *keras_2: str, **more: Any) -> _Known:
    return _Known(_elementwise(name), keras_3, keras_2, _XY, renamed={**_Y, **more})


def _function(name: str, keras_3: str, *keras_2: str) -> _Known:
    return _Known(_elementwise(name), keras_3, keras_2)


def _activates(name: str, keras_3: str, *keras_2: str) -> _Known:
    return _Known(_activation(name), keras_3, keras_2)


def _reduces(name: str, keras_3: str, *keras_2: str) -> _Known:
    neutral = {"initial": None, "keep_dims": None, "reduction_indices": None}
    return _Known(_reduced(name), keras_3, keras_2, settings=_AXES, neutral=neutral)


def _same(keras_3: str, *keras_2: str) -> _Known:
    return _Known(_activation("linear"), keras_3, keras_2)


TABLE: tuple[_Known, ...] = (
    _operator("add", "Add", "math.add", "__operators__.add"),
    _operator("subtract", "Subtract", "math.subtract", "__operators__.subtract"),
    _operator("multiply", "Multiply", "math.multiply", "__operators__.multiply"),
    _operator("divide", "TrueDivide", "math.truediv", "realdiv", "__operators__.truediv"),
    _operator("divide", "Divide", "math.divide", "RealDiv"),
    _operator("power", "Power", "math.pow", "__operators__.pow"),
    _operator("maximum", "Maximum", "math.maximum"),
    _operator("minimum", "Minimum", "math.minimum"),
    _Known(
        _elementwise("add"),
        "",
        ("nn.bias_add",),
        _XY,
        renamed={"bias": "x2"},
        neutral={"data_format": (None, "NHWC", "N...C")},
    ),
    _Known(_summed, "", ("math.add_n",), ("xs",)),
    _Known(
        _elementwise("clip"),
        "Clip",
        ("clip_by_value",),
        ("x", "x_min", "x_max"),
        renamed={"clip_value_min": "x_min", "clip_value_max": "x_max"},
    ),
    _Known(_negative, "Negative", ("math.negative", "__operators__.neg")),
    _function("abs", "Absolute", "math.abs"),
    _function("abs", "Abs"),
    _function("sqrt", "Sqrt", "math.sqrt"),
    _function("rsqrt", "Rsqrt", "math.rsqrt"),
    _function("square", "Square", "math.square"),
    _function("log", "Log", "math.log"),
    _function("stop_gradient", "StopGradient", "stop_gradient"),
    _activates("exponential", "Exp", "math.exp"),
    _activates("relu", "Relu", "nn.relu"),
    _Known(_layer("ReLU", max_value=6.0), "Relu6", ("nn.relu6",)),
    _activates("sigmoid", "Sigmoid", "math.sigmoid"),
    _activates("log_sigmoid", "LogSigmoid", "math.log_sigmoid"),
    _activates("tanh", "Tanh", "math.tanh"),
    _activates("silu", "Silu", "nn.silu"),
    _activates("softplus", "Softplus", "math.softplus"),
    _activates("softsign", "Softsign", "nn.softsign"),
    _activates("selu", "Selu", "nn.selu"),
    _activates("hard_sigmoid", "HardSigmoid"),
    _activates("hard_silu", "HardSilu"),
    _activates("squareplus", "Squareplus"),
    _Known(_layer("ELU"), "Elu", ("nn.elu",), settings={"alpha": 1.0}),
    _Known(
        _layer("LeakyReLU"),
        "LeakyRelu",
        ("nn.leaky_relu",),
        settings={"negative_slope": 0.2},
        renamed={"alpha": "negative_slope"},
    ),
    _Known(_gelu, "Gelu", (), settings={"approximate": True}),
    _Known(_gelu, "", ("nn.gelu",), settings={"approximate": False}),
    _Known(_softmax("softmax"), "Softmax", ("nn.softmax",), settings={"axis": -1}),
    _Known(_softmax("log_softmax"), "LogSoftmax", ("nn.log_softmax",), settings={"axis": -1}),
    _reduces("mean", "Mean", "math.reduce_mean", "compat.v1.reduce_mean"),
    _reduces("sum", "Sum", "math.reduce_sum", "compat.v1.reduce_sum"),
    _reduces("max", "Max", "math.reduce_max", "compat.v1.reduce_max"),
    _reduces("min", "Min", "math.reduce_min", "compat.v1.reduce_min"),
    _reduces("var", "Var", "math.reduce_variance"),
    _reduces("std", "Std", "math.reduce_std"),
    _Known(_concatenated, "Concatenate", ("concat",), ("xs",), settings={"axis": 0}),
    _Known(_stacked, "Stack", ("stack",), ("xs",), settings={"axis": 0}),
    _Known(
        _reshaped,
        "Reshape",
        ("reshape",),
        settings={"newshape": _REQUIRED},
        renamed={"shape": "newshape"},
    ),
    _Known(
        _transposed,
        "Transpose",
        ("transpose", "compat.v1.transpose"),
        settings={"axes": None},
        renamed={"perm": "axes"},
        neutral={"conjugate": False},
    ),
    _Known(_arranged("flip"), "Flip", ("reverse",), settings={"axis": _REQUIRED}),
    _Known(
        _arranged("expand_dims"),
        "ExpandDims",
        ("expand_dims", "compat.v1.expand_dims"),
        settings={"axis": _REQUIRED},
        neutral={"dim": None},
    ),
    _Known(
        _arranged("squeeze"),
        "Squeeze",
        ("squeeze", "compat.v1.squeeze"),
        settings={"axis": _REQUIRED},
        neutral={"squeeze_dims": None},
    ),
    _Known(
        _arranged("repeat"), "Repeat", ("repeat",), settings={"repeats": _REQUIRED, "axis": None}
    ),
    _Known(_three_channels, "", ("image.grayscale_to_rgb",)),
    _Known(
        _arithmetic("grayscale"),
        "RGBToGrayscale",
        ("image.rgb_to_grayscale",),
        neutral={"data_format": (None, "channels_last")},
    ),
    _Known(_mirrored(1), "", ("image.flip_up_down",)),
    _Known(_mirrored(2), "", ("image.flip_left_right",)),
    _Known(
        _resized,
        "Resize",
        ("image.resize",),
        settings={
            "size": _REQUIRED,
            "interpolation": "bilinear",
            "antialias": False,
            "crop_to_aspect_ratio": False,
            "pad_to_aspect_ratio": False,
            "fill_mode": "constant",
            "fill_value": 0.0,
        },
        renamed={"method": "interpolation"},
        neutral={"preserve_aspect_ratio": False, "data_format": (None, "channels_last")},
    ),
    _Known(
        _padded,
        "Pad",
        ("pad", "compat.v1.pad"),
        settings={"pad_width": _REQUIRED, "mode": "constant", "constant_values": None},
        renamed={"paddings": "pad_width"},
    ),
    _Known(
        _taken,
        "Take",
        ("gather", "compat.v1.gather"),
        settings={"indices": _REQUIRED, "axis": None},
        neutral={"validate_indices": None, "batch_dims": 0},
    ),
    _Known(_cast, "Cast", ("cast",), settings={"dtype": _REQUIRED}),
    _same("Identity", "identity", "convert_to_tensor"),
    _Known(
        _indexed,
        "GetItem",
        ("__operators__.getitem",),
        settings={"key": _REQUIRED},
        renamed={"slice_spec": "key"},
    ),
)
_BY_CLASS = {known.keras_3: known for known in TABLE if known.keras_3}
_BY_FUNCTION = {name: known for known in TABLE for name in known.keras_2}


# --- reading -----------------------------------------------------------------------------------


class _Slice(NamedTuple):
    start: Any
    stop: Any
    step: Any


_ELLIPSIS = object()


def is_operation(entry: Mapping[str, Any]) -> bool:
    """Whether a layer's JSON is an operator or a function on tensors."""
    module, kind = entry.get("module"), entry.get("class_name")
    if kind in _KERAS_2:
        return True
    if isinstance(module, str):
        return len(module) < 100 and bool(_KERAS_3.fullmatch(module))
    # An .h5 of Keras 3 leaves modules out; but layers say whether they are trainable. A few
    # functions are kept as the layer of that name.
    config, nodes = entry.get("config"), entry.get("inbound_nodes")
    return (
        module is None
        and (kind in _BY_CLASS or kind not in VOCABULARY)
        and isinstance(config, dict)
        and "trainable" not in config
        and isinstance(nodes, list)
        and bool(nodes)
        and all(isinstance(node, dict) for node in nodes)
    )


@dataclass
class Reading:
    """An operation as a file has it, with the arguments of each of its calls."""

    name: str
    known: _Known
    place: str
    calls: list[dict[str, Any]]

    @property
    def precisions(self) -> list[str]:
        """The types of float that its calls ask for, and that make values less exact."""
        asked = [call.get("dtype") for call in self.calls if self.known.made is _cast]
        return [dtype for dtype in asked if dtype in ("float16", "bfloat16")]

    def origins(self, call: int) -> list[Origin]:
        """Return the tensors that a call needs."""
        return list(dict.fromkeys(o for v in self.calls[call].values() for o in _origins(v)))

    def layer(self, call: int, shape_of: Callable[[Origin], Shape]) -> tuple[Layer, list[Origin]]:
        """Return the layer that a call is, and its inputs.

        Raises:
            LayerError: no layer computes it.
        """
        return self.known.made(_Call(self.known, self.name, self.place, self.calls[call], shape_of))


def read(entry: Mapping[str, Any], name: str) -> Reading:
    """Return the operation in a layer's JSON.

    Raises:
        Problem: it is not in `TABLE`, or is called with arguments that are not.
    """
    kind, config = entry["class_name"], entry["config"]
    if kind in _KERAS_2:
        function = config.get("function")
        known = _BY_FUNCTION.get(function) if isinstance(function, str) else None
        called, names = f"tf.{function}", [f"tf.{name}" for name in _BY_FUNCTION]
        own: dict[str, Any] = {}
    else:
        known, called, names = _BY_CLASS.get(kind), kind, list(_BY_CLASS)
        own = {k: v for k, v in config.items() if k not in ("name", "trainable", "dtype")}
        if known is not None and "dtype" in known.settings:
            own["dtype"] = config.get("dtype")
    if known is None:
        raise Problem(
            f"layer {name!r}: the operation {printable(called, 80)!r} is not among those that "
            f"ferjax knows{near_misses(called, names)}"
        )
    place = f"layer {name!r} ({printable(called, 80)})"
    nodes = entry.get("inbound_nodes", [])
    if not isinstance(nodes, list):
        raise Problem(f"layer {name!r}: expected a list of inbound_nodes")
    calls = []
    for node in nodes:
        args, kwargs = _keras_3_node(node, place) if isinstance(node, dict) else _node(node, place)
        own_values = {key: _value(value, place) for key, value in own.items()}
        calls.append(_bound(known, args, {**own_values, **kwargs}, place))
    return Reading(name, known, place, calls)


def _bound(
    known: _Known, args: Sequence[Any], kwargs: Mapping[str, Any], place: str
) -> dict[str, Any]:
    """Return the arguments by Keras 3's names."""
    names = (*known.inputs, *known.settings)
    if len(args) > len(names):
        raise Problem(f"{place}: expected {len(names)} arguments at most, got {len(args)}")
    bound: dict[str, Any] = dict(zip(names, args))
    for key, value in kwargs.items():
        name = known.renamed.get(key, key)
        if name in names:
            if name in bound:
                raise Problem(f"{place}: {printable(key, 40)} is given twice")
            bound[name] = value
        elif key in known.neutral:
            allowed = known.neutral[key]
            if value not in (allowed if isinstance(allowed, tuple) else (allowed,)):
                raise Problem(f"{place}: {key}={printable(repr(value), 80)} is not supported")
        elif key != "name":
            raise Problem(f"{place}: the argument {printable(key, 40)!r} is not supported")
    for name, default in known.settings.items():
        bound.setdefault(name, default)
    lacking = [name for name in names if bound.get(name, _REQUIRED) is _REQUIRED]
    if lacking:
        raise Problem(f"{place}: expected arguments {', '.join(names)}, got no {lacking[0]}")
    return {name: bound[name] for name in names}


def _keras_3_node(node: Mapping[str, Any], place: str) -> tuple[list[Any], dict[str, Any]]:
    args, kwargs = node.get("args", []), node.get("kwargs", {})
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise Problem(f"{place}: inbound node {printable(repr(node), 80)}")
    return (
        [_value(arg, place) for arg in args],
        {key: _value(value, place) for key, value in kwargs.items()},
    )


def _node(node: Any, place: str) -> tuple[list[Any], dict[str, Any]]:
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
        firsts.append(_value(item[:3], place))
    named = {key: _value(value, place) for key, value in (kwargs or {}).items()}
    return [firsts[0] if single else firsts], named


def _value(value: Any, place: str, depth: int = 0) -> Any:
    """Return an argument: tensors as `Origin`, slices as `_Slice`, else JSON's own values."""
    if depth > _MOST_NESTING:
        raise Problem(f"{place}: call arguments nested too deeply")
    if isinstance(value, list):
        if len(value) == 3 and isinstance(value[0], str):
            if value[:2] == ["_CONSTANT_VALUE", -1]:
                return _value(value[2], place, depth + 1)
            return origin_of(value, place)
        if _plain_numbers(value):
            return value
        return [_value(item, place, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    kind, config = value.get("class_name"), value.get("config")
    if kind == "__ellipsis__":
        return _ELLIPSIS
    if kind == "__tuple__":
        return _value(value.get("items"), place, depth + 1)
    if set(value) == {"start", "stop", "step"}:  # Keras 2
        return _Slice(value["start"], value["stop"], value["step"])
    if isinstance(config, dict):
        if kind == "__keras_tensor__":
            return origin_of(config.get("keras_history"), place)
        if kind == "__slice__":
            return _Slice(*(config.get(key) for key in ("start", "stop", "step")))
        if kind in ("__numpy__", "__tensor__"):
            return _value(config.get("value"), place, depth + 1)
    raise Problem(f"{place}: expected a constant or a tensor, got {printable(repr(value), 80)}")


def _plain_numbers(value: list[Any]) -> bool:
    return all(type(item) in (float, int) for item in value)


# --- writing -----------------------------------------------------------------------------------

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
