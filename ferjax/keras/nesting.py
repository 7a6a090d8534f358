"""Where the layers of a graph stand in the Keras model that a file was written from.

The graph is flat; the model may be nested, and files keep a nested model's weights together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ferjax.nets.graph import Graph
from ferjax.nets.layers import Weight, snake_case


@dataclass(frozen=True)
class Leaf:
    """One layer: its name in the file, and in the graph (None for a nested model's input)."""

    keras_name: str
    kind: str
    name: str | None


@dataclass
class ModelTree:
    """A model: the whole one, or one used as a layer."""

    keras_name: str
    kind: str
    children: list[Leaf | ModelTree] = field(default_factory=list)

    def leaves(self) -> Iterator[Leaf]:
        for node in self.children:
            if isinstance(node, Leaf):
                yield node
            else:
                yield from node.leaves()

    def keyed_children(
        self, counts_twice: Callable[[Leaf | ModelTree], bool] = lambda node: False
    ) -> Iterator[tuple[str, Leaf | ModelTree]]:
        """Yield the children with their keys in a .weights.h5: the class in snake case, counted."""
        counts: dict[str, int] = {}
        for node in self.children:
            stem = snake_case(node.kind)
            count = counts.get(stem, 0)
            counts[stem] = count + (2 if counts_twice(node) else 1)
            yield (f"{stem}_{count}" if count else stem), node


def flat(graph: Graph) -> ModelTree:
    """Return the layout of a graph that is written as it is, without nested models."""
    layers = [Leaf(layer.name, layer.kind, layer.name) for layer in graph.layers]
    if not graph.functional:  # Keras's Sequential does not count its input among its layers
        layers = [leaf for leaf in layers if leaf.kind != "InputLayer"]
    kind = "Functional" if graph.functional else "Sequential"
    return ModelTree(graph.name, kind, list(layers))


def has_operations(graph: Graph) -> bool:
    """Whether there is arithmetic for which Keras 2 and 3 have no common layer."""
    return any(layer.is_operation for layer in graph.layers)


def in_keras_order(graph: Graph) -> Graph:
    """Return a graph whose layers stand in the order that Keras gives them when it opens a file.

    Whatever order the config has, Keras rebuilds a functional model and sorts its layers: by
    their depth, the longest way to the output first, and layers of one depth as a walk back from
    the output meets them. Weights and moments are then assigned by position. The layers of a
    nested model that was flattened, or of a graph made by hand, may stand in another order.
    """
    if not graph.functional and has_operations(graph):
        graph = replace(graph, functional=True)  # Keras has no operations in a Sequential
    if not graph.functional:
        return graph
    met: dict[str, int] = {}
    walked: list[int] = []  # calls, inputs before what they feed
    seen: set[int] = set()
    stack = [(len(graph.calls) - 1, False)]
    while stack:
        position, inputs_done = stack.pop()
        if inputs_done:
            walked.append(position)
        elif position not in seen:
            seen.add(position)
            call = graph.calls[position]
            met.setdefault(call.layer, len(met))
            stack.append((position, True))
            stack += [(i, False) for i in reversed(call.inputs)]
    depths: dict[str, int] = {}
    of_call = dict.fromkeys(walked, 0)
    for position in reversed(walked):
        call = graph.calls[position]
        # A call of a shared layer takes the depth that an earlier one has given the layer.
        depth = max(of_call[position], depths.get(call.layer, 0))
        depths[call.layer] = depth
        for i in call.inputs:
            of_call[i] = max(of_call[i], depth + 1)
    # Keras drops layers that do not lead to the output; at the end they shift no others.
    order = sorted(
        graph.layers, key=lambda la: (-depths.get(la.name, -1), met.get(la.name, len(met)))
    )
    return graph if tuple(order) == graph.layers else replace(graph, layers=tuple(order))


class Expected(NamedTuple):
    """An array that a file should have: its layer's names in the file and in the graph."""

    keras_name: str
    layer: str
    weight: Weight


def expected_weights(graph: Graph, node: Leaf | ModelTree) -> list[Expected]:
    """Return the arrays of a layer or model in the order in which Keras stores them together."""
    leaves = [node] if isinstance(node, Leaf) else node.leaves()
    arrays = [
        Expected(leaf.keras_name, leaf.name, weight)
        for leaf in leaves
        if leaf.name is not None
        for weight in graph.weights.get(leaf.name, ())
    ]
    if isinstance(node, Leaf):
        return arrays

    def is_frozen(array: Expected) -> bool:
        return array.weight.collection != "params" or not graph.by_name[array.layer].trainable

    return sorted(arrays, key=is_frozen)  # a nested model: all trainable first; the sort is stable
