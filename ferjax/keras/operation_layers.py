"""Which layer an operation of Keras's is, for the arguments and the shapes of one call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ferjax import settings
from ferjax.errors import LayerError, printable
from ferjax.keras.inbound_nodes import Origin
from ferjax.keras.operation_arguments import ELLIPSIS, Slice, origins_in
from ferjax.nets.layers import VOCABULARY, Activation, Layer, Rescaling, Reshape, Shape
from ferjax.nets.layers.operations import Operation

_MOST_NUMBERS = 100_000  # in a constant


@dataclass(frozen=True)
class KnownOperation:
    """What Keras calls an operation, and what its arguments are called.

    Attributes:
        maker: makes the layer that takes the tensors of a call.
        keras_3: the class below `keras.src.ops`, with its module where that is not `numpy`; empty:
            Keras 3 has none.
        keras_2: the functions of TensorFlow that Keras 2 names, without "tf.".
        inputs: the arguments that hold tensors, in order, by Keras 3's names.
        settings: the other arguments, with their values where they are not given.
        renamed: from other names of arguments, such as Keras 2's, to those of Keras 3.
        neutral: arguments that are allowed at these values alone.
        operation: which `Operation` it is, where that is the layer; empty: it is another layer.
    """

    maker: Maker
    keras_3: str
    keras_2: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ("x",)
    settings: Mapping[str, Any] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    neutral: Mapping[str, Any] = field(default_factory=dict)
    operation: str = ""

    @property
    def class_name(self) -> str:
        return self.keras_3.rpartition(".")[2]

    @property
    def module(self) -> str:
        return f"keras.src.ops.{self.keras_3.rpartition('.')[0] or 'numpy'}"


REQUIRED = object()  # among settings: there is no default


@dataclass
class OperationCall:
    """One call of an operation: its arguments, and the shapes of the tensors among them.

    Attributes:
        spec: which operation it is.
        name: of the layer.
        place: where it stands, for errors.
        arguments: by Keras 3's names; see `ferjax.keras.operation_arguments`.
        shape_of: returns a tensor's shape, without the batch.
    """

    spec: KnownOperation
    name: str
    place: str
    arguments: dict[str, Any]
    shape_of: Callable[[Origin], Shape]

    def error(self, message: str) -> LayerError:
        return LayerError(f"{self.place}: {message}")

    @property
    def tensors(self) -> list[Origin]:
        """What the layer takes, in order: the tensors among its inputs, one at least."""
        names = self.spec.inputs
        values = [self.arguments[name] for name in names]
        if names == ("xs",) and isinstance(values[0], list):
            values = values[0] or values
        elif len(names) > 1:  # beside constants
            values = [value for value in values if isinstance(value, Origin)]
            if not values:
                raise self.error("expected a tensor among its inputs, got constants only")
        for value in values:
            if not isinstance(value, Origin):
                got = printable(repr(value), 80)
                raise self.error(f"{names[0]}: expected a tensor, got {got}")
        return values

    @property
    def shapes(self) -> list[Shape]:
        return [self.shape_of(origin) for origin in self.tensors]

    @property
    def shape(self) -> Shape:
        return self.shapes[0]

    def constant(self, name: str) -> Any:
        value = self.arguments[name]
        if any(origins_in(value)):
            raise self.error(f"{name}: expected a constant, got a tensor")
        return value

    @property
    def settings(self) -> dict[str, Any]:
        return {name: self.constant(name) for name in self.spec.settings}

    def numbers(self, name: str) -> Any:
        value = self.constant(name)
        if _count(value) > _MOST_NUMBERS:
            raise self.error(f"{name}: expected at most {_MOST_NUMBERS} numbers")
        try:
            return settings.numbers(value)
        except ValueError as error:
            raise self.error(f"{name}: {error}") from None

    def check_images(self) -> None:
        if len(self.shape) != 3:
            raise self.error(f"expected images, (H, W, C), got {self.shape}")

    def layer(self, kind: type[Layer] | str, **settings: Any) -> Layer:
        layer_type = VOCABULARY[kind] if isinstance(kind, str) else kind
        return layer_type(name=self.name, **settings)

    def operation(self, axis: Any = None, **settings: Any) -> Operation:
        """Return the `Operation` that computes the same, whatever layer does so too."""
        axis = tuple(axis) if isinstance(axis, list) else axis
        return Operation(name=self.name, operation=self.spec.operation, axis=axis, **settings)


Maker = Callable[[OperationCall], Layer]


def _count(value: Any) -> int:
    return sum(map(_count, value)) if isinstance(value, list) else 1


def elementwise(call: OperationCall) -> Layer:
    names, operation, shapes = call.spec.inputs, call.spec.operation, call.shapes
    operands = [
        None if isinstance(call.arguments[name], Origin) else call.numbers(name) for name in names
    ]
    divisor: Any = operands[-1]
    if operation == "divide" and divisor is not None and 0 in settings.flat(divisor):
        raise call.error("it divides by 0")
    general = call.operation(operands=tuple(operands))
    result = general.output_shape(*shapes)
    if len(shapes) == 2 and len(operands) == 2:
        return _merged(call, operation) or general
    if len(shapes) == 1 and result == shapes[0]:
        return _rescaled(call, operation, operands, len(result)) or general
    return general


def _merged(call: OperationCall, operation: str) -> Layer | None:
    """Return Keras's layer of two inputs, for inputs of as many axes."""
    kind = {"add": "Add", "subtract": "Subtract", "multiply": "Multiply"}.get(
        operation, operation.title()
    )
    return call.layer(kind) if kind in VOCABULARY else None


def _rescaled(call: OperationCall, operation: str, operands: list[Any], rank: int) -> Layer | None:
    """Return the layer that computes the same of a tensor and a constant, if there is one."""
    if operation == "clip":
        low, high = operands[1:]
        if low == 0 and isinstance(high, float) and high >= 0:
            return call.layer("ReLU", max_value=high)
        return None
    if len(operands) != 2:
        return None
    right = operands[0] is None
    constant: Any = operands[1] if right else operands[0]
    for _ in range(max(len(settings.dimensions(constant)) - rank, 0)):
        (constant,) = constant  # the batch's axis, of size 1
    if operation == "maximum" and constant == 0:
        return call.layer("ReLU")
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
    return call.layer(Rescaling, scale=scale, offset=offset)


def negative(call: OperationCall) -> Layer:
    return call.layer(Rescaling, scale=-1.0)


def activation(name: str) -> Maker:
    return lambda call: call.layer(Activation, activation=name)


def layer(kind: str, **settings: Any) -> Maker:
    """Return what makes a layer with the settings of the call under the same names."""

    def make(call: OperationCall) -> Layer:
        return call.layer(kind, **settings, **call.settings)

    return make


def softmax(kind: str) -> Maker:
    def make(call: OperationCall) -> Layer:
        axis, ndim = call.constant("axis"), len(call.shape) + 1
        if not isinstance(axis, int) or isinstance(axis, bool) or axis % ndim == 0:
            raise call.error(f"axis: expected one axis, not the batch, got {axis!r}")
        if axis in (-1, ndim - 1):
            return call.layer(Activation, activation=kind)
        if kind != "softmax":
            raise call.error(f"axis: expected the last, got {axis}")
        return call.layer("Softmax", axis=axis)

    return make


def gelu(call: OperationCall) -> Layer:
    if call.constant("approximate"):
        return call.operation()
    return call.layer(Activation, activation="gelu")


def reduced(call: OperationCall) -> Layer:
    operation, shape = call.operation(**call.settings), call.shape
    layers = {"mean": "GlobalAveragePooling2D", "max": "GlobalMaxPooling2D"}
    pooling = layers.get(operation.operation)
    if pooling and len(shape) == 3 and sorted(operation.positions(4)) == [1, 2]:
        return call.layer(pooling, keepdims=operation.keepdims)
    return operation


def arranged(call: OperationCall) -> Layer:
    operation = call.operation(**call.settings)
    if operation.operation in ("expand_dims", "squeeze"):
        shape = operation.output_shape(call.shape)
        if None not in shape and shape:
            return call.layer(Reshape, target_shape=shape)
    return operation


def transposed(call: OperationCall) -> Layer:
    axes, ndim = call.constant("axes"), len(call.shape) + 1
    operation = call.operation(axes)
    if isinstance(axes, list) and sorted(axes[1:]) == list(range(1, ndim)):
        return call.layer("Permute", dims=tuple(axes[1:]))
    return operation


def reshaped(call: OperationCall) -> Layer:
    new_shape = call.constant("newshape")
    first, *sizes = new_shape if isinstance(new_shape, list) and new_shape else [new_shape]
    shape = call.shape
    if first not in (-1, None) or None in shape:
        raise call.error(
            f"shape: expected -1, for the batch, and then sizes, got "
            f"{printable(repr(new_shape), 80)}"
        )
    layer = call.layer(Reshape, target_shape=tuple(-1 if size is None else size for size in sizes))
    layer.output_shape(shape)
    return layer


def concatenated(call: OperationCall) -> Layer:
    if len(call.tensors) == 1:
        return call.layer(Activation, activation="linear")
    return call.layer("Concatenate", axis=call.constant("axis"))


def summed(call: OperationCall) -> Layer:
    if len(set(map(len, call.shapes))) > 1:
        raise call.error("expected inputs of as many axes")
    if len(call.tensors) == 1:
        return call.layer(Activation, activation="linear")
    return call.layer("Add")


def cast(call: OperationCall) -> Layer:
    dtype = call.constant("dtype")
    if dtype not in ("float32", "float16", "bfloat16", "float64", None):
        raise call.error(f"dtype: expected a float type, got {printable(repr(dtype), 40)}")
    return call.layer(Activation, activation="linear")


def indexed(call: OperationCall) -> Layer:
    key = call.constant("key")
    items = key if isinstance(key, list) else [key]
    index: list[Any] = []
    for item in items:
        if isinstance(item, Slice):
            index.append((item.start, item.stop, item.step))
        elif item is ELLIPSIS:
            index.append("...")
        elif isinstance(item, str):
            raise call.error(f"expected an index, got {printable(repr(item), 80)}")
        else:
            index.append(item)
    shape = call.shape
    operation = call.operation(index=tuple(index))
    operation.output_shape(shape)
    # Without the ellipsis, which Keras 3 writes and does not read.
    return dataclasses.replace(operation, index=tuple(operation.items(len(shape) + 1)))


def unchanged(call: OperationCall) -> Layer:
    """Return the `Operation` that Keras has too, with the same settings."""
    return call.operation(**call.settings)


def three_channels(call: OperationCall) -> Layer:
    if call.shape[-1:] != (1,):
        raise call.error(f"expected images of one channel, got {call.shape}")
    return call.layer(Operation, operation="repeat", axis=-1, repeats=3)


def resized(call: OperationCall) -> Layer:
    settings = call.settings
    size = settings.pop("size")
    if not isinstance(size, list) or len(size) != 2:
        raise call.error(f"size: expected [height, width], got {printable(repr(size), 80)}")
    layer = call.layer("Resizing", height=size[0], width=size[1], **settings)
    layer.output_shape(call.shape)
    return layer


def padded(call: OperationCall) -> Layer:
    """Return the layer that surrounds images by zeros, all that there is of padding."""
    widths, value = call.constant("pad_width"), call.constant("constant_values")
    mode = call.constant("mode")
    if not isinstance(mode, str) or mode.lower() != "constant" or value not in (None, 0):
        raise call.error("expected zeros around the images, no other values")
    rows = isinstance(widths, list) and len(widths) == len(call.shape) + 1 == 4
    if not rows or widths[0] != [0, 0] or widths[3] != [0, 0]:
        raise call.error(
            f"expected a padding of rows and columns alone, got {printable(repr(widths), 80)}"
        )
    padding = tuple(tuple(pair) if isinstance(pair, list) else pair for pair in widths[1:3])
    return call.layer("ZeroPadding2D", padding=padding)


def pooled(kind: str) -> Maker:
    """Return what makes a layer that pools images; TensorFlow's padding is in capitals."""

    def make(call: OperationCall) -> Layer:
        call.check_images()
        settings = call.settings
        if isinstance(settings["padding"], str):
            settings["padding"] = settings["padding"].lower()
        return call.layer(kind, **settings)

    return make


def mirrored(axis: int) -> Maker:
    def make(call: OperationCall) -> Layer:
        call.check_images()
        return call.layer(Operation, operation="flip", axis=axis)

    return make


def taken(call: OperationCall) -> Layer:
    """Return the reversal of an axis, the only order of indices that there is a layer for."""
    axis, size = call.constant("axis"), None
    with_axis = isinstance(axis, int) and -len(call.shape) <= axis <= len(call.shape)
    if with_axis and axis % (len(call.shape) + 1):
        size = call.shape[axis % (len(call.shape) + 1) - 1]
    if size is None or size > 64 or call.constant("indices") != list(range(size))[::-1]:
        raise call.error("expected all indices of an axis backwards, such as [2, 1, 0]")
    return call.layer(Operation, operation="flip", axis=axis)
