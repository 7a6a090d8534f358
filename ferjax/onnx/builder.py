"""The ONNX graph while it is being written; of the onnx package nothing is needed for that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ferjax.errors import printable
from ferjax.nets.layers import Shape

Axes = tuple[int, ...]
TO_THE_END = 2**31 - 1  # where a Slice ends that leaves nothing out; negative, backwards


@dataclass(frozen=True)
class Tensor:
    """A tensor of the network, as the ONNX graph holds it.

    Attributes:
        name: its name there.
        shape: in Keras's order, without the batch axis.
        axes: which of Keras's axes each stored axis is, the batch axis included. Images whose
            Keras order is (B, H, W, C) are (0, 3, 1, 2), that is (B, C, H, W), from their first
            convolution on.
    """

    name: str
    shape: Shape
    axes: Axes

    @property
    def ndim(self) -> int:
        return len(self.axes)

    def position(self, axis: int) -> int:
        """Return where Keras's `axis` is stored; it may count from the end."""
        return self.axes.index(axis % self.ndim)


@dataclass(frozen=True)
class Node:
    """One operation of the ONNX graph."""

    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any]


class Builder:
    """Collects nodes and constants, and names both after the layers that they come from.

    Attributes:
        nodes: in an order in which they can be computed.
        constants: the weights and the other fixed arrays, by name.
        layer: the name of the layer that is being written.
        part: the layer inside it that is being written, such as "activation"; mostly empty.
        unread: rows and columns at the end of convolutions' outputs that no layer reads, by the
            layer's name; see `ferjax.nets.unread`.
    """

    def __init__(
        self,
        arrays: Mapping[tuple[str, str], np.ndarray],
        input_name: str,
        output_name: str,
        *,
        unread: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        """Begin a graph.

        Args:
            arrays: the network's weights by (layer, weight).
            input_name: what the input is called.
            output_name: what the output will be called, if the input is not called that.
            unread: see above; None: all is read.
        """
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}
        self.layer = ""
        self.part = ""
        self.unread = unread or {}
        self._arrays = arrays
        self._names: set[str] = set()
        self._versions: dict[str, list[str]] = {}
        self._arranged: dict[tuple[str, Axes], Tensor] = {}
        self.input_name = self._unique(input_name)
        self.output_name = self._unique(output_name)

    def node(
        self, op: str, *inputs: Tensor | str, stored: Axes | None = None, **attributes: Any
    ) -> Tensor:
        """Add an operation of one output.

        Args:
            inputs: tensors, and names of constants.
            stored: the axes of the output; None: those of the first tensor among `inputs`.
        """
        first = next(x for x in inputs if isinstance(x, Tensor))
        names = tuple(x if isinstance(x, str) else x.name for x in inputs)
        output = self._unique(f"{self.layer}/{op}")
        self.nodes.append(Node(op, names, output, attributes))
        return Tensor(output, first.shape, first.axes if stored is None else stored)

    def arranged(self, x: Tensor, axes: Axes) -> Tensor:
        """Return `x` stored as `axes` say; what was transposed once is not transposed again."""
        if x.axes == axes:
            return x
        transposed = self._arranged.get((x.name, axes))
        if transposed is None:
            order = [x.axes.index(axis) for axis in axes]
            transposed = self.node("Transpose", x, stored=axes, perm=order)
            self._arranged[x.name, axes] = transposed
            self._arranged[transposed.name, x.axes] = x
        return transposed

    def plain(self, x: Tensor) -> Tensor:
        """Return `x` in Keras's order."""
        return self.arranged(x, tuple(range(x.ndim)))

    def array(self, weight: str) -> np.ndarray:
        """Return a weight of the layer that is being written."""
        return self._arrays[self.layer, f"{self.part}_{weight}" if self.part else weight]

    @contextmanager
    def inside(self, part: str) -> Iterator[None]:
        """Take the weights of the layer in setting `part` of the one that is being written."""
        outer, self.part = self.part, f"{self.part}_{part}" if self.part else part
        try:
            yield
        finally:
            self.part = outer

    def constant(self, name: str, array: np.ndarray) -> str:
        """Add an array of the layer that is being written."""
        return self._add("/".join(filter(None, (self.layer, self.part, name))), array)

    def weight(self, name: str) -> str:
        """Add a weight of the layer that is being written, as it is."""
        return self.constant(name, self.array(name))

    def spread(self, name: str, array: np.ndarray, x: Tensor) -> str:
        """Add an array that broadcasts to `x`: its axes are Keras's last ones of `x`."""
        full = array.reshape((1,) * (x.ndim - array.ndim) + array.shape)
        return self.constant(name, full.transpose(x.axes))

    def number(self, value: float) -> str:
        """Add a float32 scalar."""
        return self._add(f"number/{value:g}", np.array(value, np.float32))

    def integers(self, *values: int) -> str:
        """Add a vector of int64, as which shapes and axes are given."""
        return self._add(f"integers/{'_'.join(map(str, values))}", np.array(values, np.int64))

    def finish(self, output: Tensor) -> None:
        """End the graph: give the output its name, and Keras's order."""
        output = self.plain(output)
        if output.name == self.input_name:
            output = self.node("Identity", output)

        def final(name: str) -> str:
            return self.output_name if name == output.name else name

        self.nodes = [
            Node(node.op, tuple(map(final, node.inputs)), final(node.output), node.attributes)
            for node in self.nodes
        ]

    def _add(self, name: str, array: np.ndarray) -> str:
        """Add an array once: what shared layers use again has the same name again."""
        versions = self._versions.setdefault(name, [])
        for version in versions:
            if np.array_equal(self.constants[version], array):
                return version
        versions.append(self._unique(name))
        self.constants[versions[-1]] = array
        return versions[-1]

    def _unique(self, name: str) -> str:
        name = candidate = printable(name)
        count = 0
        while candidate in self._names:
            count += 1
            candidate = f"{name}_{count}"
        self._names.add(candidate)
        return candidate
