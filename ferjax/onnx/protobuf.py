"""ONNX models in the format of Protocol Buffers, which needs no package to be written.

A message is its fields one after the other, each a key, which is the field's number and how its
value is stored, and the value. The numbers are those of `onnx.proto`, whose names stand beside;
fields are written in their order, and repeated numbers one by one, so that the bytes are those that
the package onnx writes.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

_VARINT, _LENGTH, _FIXED32 = 0, 2, 5  # how a value is stored
_FLOAT, _INT, _STRING, _FLOATS, _INTS, _STRINGS = 1, 2, 3, 6, 7, 8  # of AttributeProto.type
_TYPE, _RAW_DATA = 20, 9  # fields of AttributeProto and of TensorProto
_EXTERNAL: Final = 1  # of TensorProto.data_location
# TensorProto.data_type by NumPy's kind and bytes.
_ELEMENTS: Final = {
    "f": {4: 1, 2: 10, 8: 11},
    "i": {1: 3, 2: 5, 4: 6, 8: 7},
    "u": {1: 2},
    "b": {1: 9},
}


class Message:
    """A message that is being written.

    Attributes:
        parts: its bytes, in order.
        size: how many they are.
    """

    def __init__(self) -> None:
        self.parts: list[bytes | memoryview] = []
        self.size = 0

    def integer(self, field: int, value: int) -> Message:
        """Add an integer of 64 bits, or an enumeration's."""
        return self._add(_varint(field << 3 | _VARINT) + _varint(value))

    def single(self, field: int, value: float) -> Message:
        """Add a float32."""
        return self._add(_varint(field << 3 | _FIXED32) + struct.pack("<f", value))

    def text(self, field: int, value: str | bytes) -> Message:
        """Add a text, as UTF-8."""
        return self.data(field, value.encode() if isinstance(value, str) else value)

    def data(self, field: int, value: bytes | memoryview) -> Message:
        """Add bytes."""
        self._add(_varint(field << 3 | _LENGTH) + _varint(len(value)))
        return self._add(value)

    def message(self, field: int, value: Message) -> Message:
        """Add a message."""
        self._add(_varint(field << 3 | _LENGTH) + _varint(value.size))
        self.parts += value.parts
        self.size += value.size
        return self

    def content(self) -> bytes:
        """Return its bytes."""
        return b"".join(self.parts)

    def _add(self, part: bytes | memoryview) -> Message:
        self.parts.append(part)
        self.size += len(part)
        return self


def model(
    graph: Message,
    *,
    opset: int,
    ir_version: int,
    producer: tuple[str, str],
    properties: Mapping[str, str],
) -> bytes:
    """Return a model.

    Args:
        graph: what it computes; see `graph`.
        opset: the version of ONNX's operations.
        ir_version: the version of the format.
        producer: the name and version of what wrote it.
        properties: its metadata.
    """
    written = Message()  # ModelProto
    written.integer(1, ir_version)
    written.text(2, producer[0])  # producer_name
    written.text(3, producer[1])  # producer_version
    written.message(7, graph)
    written.message(8, Message().text(1, "").integer(2, opset))  # opset_import: domain, version
    for key, value in properties.items():
        written.message(14, Message().text(1, key).text(2, value))  # metadata_props
    return written.content()


def graph(
    name: str,
    nodes: Iterable[Message],
    constants: Mapping[str, np.ndarray],
    *,
    inputs: Iterable[Message],
    outputs: Iterable[Message],
    apart: Collection[str] = (),
) -> Message:
    """Return a graph of nodes over constants and inputs.

    Of the constants that are `apart` it has names and shapes alone.
    """
    written = Message()  # GraphProto
    for described in nodes:
        written.message(1, described)  # node
    written.text(2, name)
    for key, array in constants.items():
        written.message(5, _tensor(key, array, key in apart))  # initializer
    for described in inputs:
        written.message(11, described)  # input
    for described in outputs:
        written.message(12, described)  # output
    return written


def node(op: str, inputs: Iterable[str], output: str, attributes: Mapping[str, Any]) -> Message:
    """Return an operation of one output, whose name is the node's too."""
    written = Message()  # NodeProto
    for name in inputs:
        written.text(1, name)  # input
    written.text(2, output).text(3, output).text(4, op)  # output, name, op_type
    for key, value in sorted(attributes.items()):
        written.message(5, _attribute(key, value))  # attribute
    return written


def float_value(name: str, shape: Sequence[int | str | None]) -> Message:
    """Return the description of a float32 input or output; sizes that are open may have names."""
    sizes = Message()  # TensorShapeProto
    for size in shape:
        dimension = Message()
        if isinstance(size, str):
            dimension.text(2, size)  # dim_param
        elif size is not None:
            dimension.integer(1, size)  # dim_value
        sizes.message(1, dimension)  # dim
    tensor = Message().integer(1, _ELEMENTS["f"][4]).message(2, sizes)  # elem_type, shape
    kind = Message().message(1, tensor)  # TypeProto: tensor_type
    return Message().text(1, name).message(2, kind)  # ValueInfoProto: name, type


def _attribute(name: str, value: Any) -> Message:
    """Return an attribute: a float, an integer, a text, or a list of one of them."""
    written = Message().text(1, name)  # AttributeProto
    if isinstance(value, float):
        return written.single(2, value).integer(_TYPE, _FLOAT)
    if isinstance(value, int):
        return written.integer(3, value).integer(_TYPE, _INT)
    if isinstance(value, str):
        return written.text(4, value).integer(_TYPE, _STRING)
    kinds = {type(item) for item in value} if isinstance(value, list | tuple) else set()
    if kinds == {int}:
        for item in value:
            written.integer(8, item)
        return written.integer(_TYPE, _INTS)
    if kinds == {float}:
        for item in value:
            written.single(7, item)
        return written.integer(_TYPE, _FLOATS)
    if kinds == {str}:
        for item in value:
            written.text(9, item)
        return written.integer(_TYPE, _STRINGS)
    raise TypeError(f"expected numbers or texts for `{name}`, got {type(value).__name__}")


def _tensor(name: str, array: np.ndarray, is_apart: bool) -> Message:
    """Return a constant array, its values little-endian in C order, or elsewhere."""
    written = Message()  # TensorProto
    for size in array.shape:
        written.integer(1, size)  # dims
    kind = array.dtype
    written.integer(2, _ELEMENTS[kind.kind][kind.itemsize]).text(8, name)  # data_type, name
    if is_apart:
        place = Message().text(1, "location").text(2, "memory")
        return written.message(13, place).integer(14, _EXTERNAL)  # external_data, data_location
    stored = np.ascontiguousarray(array, kind.newbyteorder("<"))
    return written.data(_RAW_DATA, stored.data.cast("B") if stored.size else b"")


def _varint(value: int) -> bytes:
    """Return an integer in groups of seven bits, the lowest first; negative ones as of 64 bits.

    >>> _varint(300).hex(), len(_varint(-1))
    ('ac02', 10)
    """
    value &= (1 << 64) - 1
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
