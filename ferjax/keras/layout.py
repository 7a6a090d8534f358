"""Where the layers of a graph stand in the Keras model that a file was written from.

The graph is flat; the model may be nested, and files keep a nested model's weights together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ferjax.nets.graph import Graph
from ferjax.nets.layers import Weight, snake_case


@dataclass(frozen=True)
class Leaf:
    """One layer: its name in the file, and in the graph (None for a nested model's input)."""

    keras_name: str
    kind: str
    name: str | None


@dataclass
class Container:
    """A model: the whole one, or one used as a layer."""

    keras_name: str
    kind: str
    children: list[Leaf | Container] = field(default_factory=list)

    def leaves(self) -> Iterator[Leaf]:
        for node in self.children:
            if isinstance(node, Leaf):
                yield node
            else:
                yield from node.leaves()

    def keyed_children(
        self, counts_twice: Callable[[Leaf | Container], bool] = lambda node: False
    ) -> Iterator[tuple[str, Leaf | Container]]:
        """Yield the children with their keys in a v3 file: the class in snake case, counted."""
        counts: dict[str, int] = {}
        for node in self.children:
            stem = snake_case(node.kind)
            count = counts.get(stem, 0)
            counts[stem] = count + (2 if counts_twice(node) else 1)
            yield (f"{stem}_{count}" if count else stem), node


def flat(graph: Graph) -> Container:
    """Return the layout of a graph that is written as it is, without nested models."""
    layers = [Leaf(layer.name, layer.kind, layer.name) for layer in graph.layers]
    if not graph.functional:  # Keras's Sequential does not count its input among its layers
        layers = [leaf for leaf in layers if leaf.kind != "InputLayer"]
    kind = "Functional" if graph.functional else "Sequential"
    return Container(graph.name, kind, list(layers))


def expected_weights(graph: Graph, node: Leaf | Container) -> list[tuple[Leaf, Weight]]:
    """Return the arrays of a layer or model in the order in which Keras stores them together."""
    leaves = [node] if isinstance(node, Leaf) else list(node.leaves())
    found = [
        (leaf, weight)
        for leaf in leaves
        if leaf.name is not None
        for weight in graph.weights.get(leaf.name, ())
    ]
    if isinstance(node, Leaf):
        return found

    def frozen(item: tuple[Leaf, Weight]) -> bool:
        leaf, weight = item
        trainable = leaf.name is not None and graph.by_name[leaf.name].trainable
        return weight.collection != "params" or not trainable

    return sorted(found, key=frozen)  # a nested model: all trainable first; the sort is stable
