"""Models, with the models inside them -> one flat graph, call by call."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ferjax.keras.config_entries import MODELS, entries_of, head
from ferjax.keras.inbound_nodes import Origin, ends_of, inbound_of
from ferjax.keras.layer_config import ScaledAdd
from ferjax.keras.nesting import Leaf, ModelTree
from ferjax.nets.graph import Call, output_shape
from ferjax.nets.layers import VOCABULARY, Activation, InputLayer, Layer, Rescaling, Shape
from ferjax.problems import Problem

if TYPE_CHECKING:
    from ferjax.keras import operations

MOST_LAYERS = 10_000

Node: TypeAlias = tuple[str, int]  # a layer, and which of its calls


class _Entry(NamedTuple):
    """One layer of a functional model, with the origins of the inputs of each of its calls."""

    kind: str
    config: Any
    nodes: list[list[Origin]]
    operation: operations.Reading | None
    first: int = 0  # the number of its first call


@dataclass
class Model:
    """A model while it is being flattened.

    Attributes:
        name: goes in front of its layer names where they are taken; empty: the whole model.
        tree: where its layers and models stand, for the arrays of a file.
        members: its layers, by their names in the graph, and its models; by their names in it.
        entries: the layers of a functional model.
        results: which calls of the graph give what each call of a layer gives.
    """

    name: str
    kind: str
    config: Any
    tree: ModelTree
    members: dict[str, str | Model] = field(default_factory=dict)
    entries: dict[str, _Entry] = field(default_factory=dict)
    results: dict[Node, list[int]] = field(default_factory=dict)

    def node(self, origin: Origin) -> Node:
        """Return which call of which layer a tensor comes from."""
        if origin.layer not in self.entries:
            raise Problem(f"an input comes from {origin.layer!r}, which is not among the layers")
        return origin.layer, origin.node - self.entries[origin.layer].first

    def result(self, origin: Origin) -> int:
        """Return which call of the graph gives a tensor."""
        layer, _, tensor = origin
        positions = self.results.get(self.node(origin))
        if positions is None:
            raise Problem(f"the output is a call of layer {layer!r} that is never made")
        if not 0 <= tensor < len(positions):
            raise Problem(f"layer {layer!r}: its output {tensor} is used, it has {len(positions)}")
        return positions[tensor]


class Flattening:
    """The graph of a model while it is being made.

    Attributes:
        layers: by their names in the graph.
        calls: of the layers, in an order in which inputs are known.
    """

    def __init__(
        self, parsed: Mapping[int, Layer | operations.Reading], reserved: set[str]
    ) -> None:
        """Take all layers of the file, by the id of their configs, and the names to keep."""
        self.layers: dict[str, Layer] = {}
        self.calls: list[Call] = []
        self._parsed = parsed
        self._reserved = reserved  # names of the whole model's own layers
        self._nested_calls = 0
        self._scaled: dict[str, str] = {}  # sums, and what scales their second input
        self._lowered: set[str] = set()  # the layers that are known to be operations
        self._shapes: list[Shape] = []  # of the calls

    def begin(self, layer: InputLayer) -> int:
        self.calls.append(Call(self._register(layer.name, layer, ""), ()))
        return 0

    def apply(self, model: Model, source: int) -> list[int]:
        """Emit the calls of a model on what call `source` gives; return where its outputs are."""
        if model.kind != "Sequential":
            return self._apply_functional(model, source)
        for entry in entries_of(model.kind, model.config):
            name, kind, config = head(entry, "layer")
            if kind != "InputLayer":  # Keras's Sequential does not count it among its layers
                results = self._call(self._member(model, name, kind, config), [source])
                if len(results) != 1:
                    raise Problem(f"model {name!r}: expected one output, got {len(results)}")
                source = results[0]
        return [source]

    def _apply_functional(self, model: Model, source: int) -> list[int]:
        for entry in entries_of(model.kind, model.config):
            name, kind, config = head(entry, "layer")
            parsed = self._parsed.get(id(config))
            if parsed is not None and not isinstance(parsed, Layer):  # an operation
                nodes = [parsed.origins(index) for index in range(len(parsed.calls))]
                model.entries[name] = _Entry(kind, config, nodes, parsed)
            else:
                model.entries[name] = _Entry(kind, config, inbound_of(entry, name), None)
        inputs, outputs = (
            [origin for _, origin in ends_of(model.config.get(key), key)]
            for key in ("input_layers", "output_layers")
        )
        _check_ends(model, inputs, outputs)
        for name in _counted_from_one(model.entries, outputs):
            model.entries[name] = model.entries[name]._replace(first=1)
        for name, entry in model.entries.items():  # the file's order is that of the weights
            if entry.kind != "InputLayer":
                self._member(model, name, entry.kind, entry.config)
            elif name not in model.members:
                model.members[name] = name
                in_graph = None if model.name else name
                model.tree.children.append(Leaf(name, entry.kind, in_graph))
        model.results = {(inputs[0].layer, 0): [source]}
        self._connect(model)
        return [model.result(output) for output in outputs]

    def _connect(self, model: Model) -> None:
        """Emit every call of a functional model once its inputs are known."""
        waiting: dict[Node, list[Node]] = {}
        missing: dict[Node, int] = {}
        ready: deque[Node] = deque()
        for name, entry in model.entries.items():
            for index, origins in enumerate(entry.nodes):
                open_inputs = {model.node(origin) for origin in origins} - model.results.keys()
                missing[name, index] = len(open_inputs)
                for node in open_inputs:
                    waiting.setdefault(node, []).append((name, index))
                if not open_inputs:
                    ready.append((name, index))
        while ready:
            node = ready.popleft()
            entry, member = model.entries[node[0]], model.members[node[0]]
            origins = entry.nodes[node[1]]
            if entry.operation is not None:
                member, origins = self._lower(model, entry.operation, node)
            model.results[node] = self._call(member, [model.result(origin) for origin in origins])
            for behind in waiting.get(node, ()):
                missing[behind] -= 1
                if not missing[behind]:
                    ready.append(behind)
        stuck = sorted({node[0] for node in missing if node not in model.results})
        if stuck:
            raise Problem(f"layers whose inputs never come: {', '.join(map(repr, stuck[:10]))}")

    def _register(self, preferred: str, layer: Layer, prefix: str) -> str:
        """Keep a layer under a name that is unique in the flat graph."""
        name, tries = preferred, 0
        while name in self.layers or (prefix and name in self._reserved):
            if not prefix:
                raise Problem(f"layer {name!r} is there twice")
            tries += 1
            name = f"{prefix}_{preferred}" + (f"_{tries}" if tries > 1 else "")
        renamed = layer.name != name
        self.layers[name] = dataclasses.replace(layer, name=name) if renamed else layer
        return name

    def _member(self, model: Model, name: str, kind: str, config: Any) -> str | Model:
        """Return what goes by a name in a model: a layer's name in the graph, or a nested model.

        It is made at the first call only.
        """
        if name in model.members:
            return model.members[name]
        member: str | Model
        if kind in MODELS and id(config) not in self._parsed:
            nested = ModelTree(name, "Functional" if kind == "Model" else kind)
            member = Model(name, kind, config, nested)
            model.tree.children.append(nested)
        else:
            layer, scaled = self._parsed[id(config)], ""
            if not isinstance(layer, Layer):  # an operation: which layer it is, its inputs tell
                layer = Activation(activation="linear")
            elif isinstance(layer, ScaledAdd):
                kind, scaling = "Add", Rescaling(scale=layer.scale)
                scaled = self._register(f"{name}_scale", scaling, model.name or name)
                model.tree.children.append(Leaf(f"{name}_scale", scaling.kind, scaled))
                layer = VOCABULARY[kind](name=name, trainable=layer.trainable)
            else:
                kind = layer.kind
            member = self._register(name, layer, model.name)
            model.tree.children.append(Leaf(name, kind, member))
            if scaled:
                self._scaled[member] = scaled
        model.members[name] = member
        return member

    def _call(self, member: str | Model, sources: list[int]) -> list[int]:
        if isinstance(member, Model):
            if len(sources) != 1:
                raise Problem(f"model {member.name!r}: expected one input, got {len(sources)}")
            self._nested_calls += 1
            if self._nested_calls > MOST_LAYERS:  # models that call models twice, twice, twice, ...
                raise Problem(f"more than {MOST_LAYERS} calls of nested models")
            return self.apply(member, sources[0])
        if member in self._scaled:
            if len(sources) != 2:
                raise Problem(f"layer {member!r}: expected two inputs, got {len(sources)}")
            self.calls.append(Call(self._scaled[member], (sources[1],)))
            sources = [sources[0], len(self.calls) - 1]
        self.calls.append(Call(member, tuple(sources)))
        if len(self.calls) > MOST_LAYERS:
            raise Problem(f"more than {MOST_LAYERS} layer calls")
        return [len(self.calls) - 1]

    def _lower(
        self, model: Model, operation: operations.Reading, node: Node
    ) -> tuple[str, list[Origin]]:
        """Return the layer that a call of an operation is, and where its inputs come from."""
        name, index = node
        member = model.members[name]
        assert isinstance(member, str)
        layer, origins = operation.layer(index, lambda origin: self._shape(model.result(origin)))
        if member not in self._lowered:
            self.layers[member] = dataclasses.replace(layer, name=member)
        elif self.layers[member] != dataclasses.replace(layer, name=member):
            # Another constant than in an earlier call, or inputs of another shape.
            member = self._register(f"{name}_{index}", layer, model.name or name)
            model.tree.children.append(Leaf(name, model.entries[name].kind, member))
        self._lowered.add(member)
        return member, origins

    def _shape(self, position: int) -> Shape:
        """Return the shape of what a call gives, without the batch."""
        for call in self.calls[len(self._shapes) : position + 1]:
            layer = self.layers[call.layer]
            if isinstance(layer, InputLayer):
                self._shapes.append(layer.shape)
                continue
            if not layer.takes(len(call.inputs)):
                raise layer.error(f"it cannot take {len(call.inputs)} inputs")
            self._shapes.append(output_shape(layer, *(self._shapes[i] for i in call.inputs)))
        return self._shapes[position]


def _counted_from_one(entries: Mapping[str, _Entry], outputs: list[Origin]) -> list[str]:
    """Return the nested models whose call 0 is, in Keras 2, the one made when they were built."""
    highest: dict[str, int] = {}
    for name, node, _ in [*outputs, *(o for e in entries.values() for n in e.nodes for o in n)]:
        highest[name] = max(node, highest.get(name, 0))
    return [
        name
        for name, entry in entries.items()
        if entry.kind in MODELS and highest.get(name) == len(entry.nodes)
    ]


def _check_ends(model: Model, inputs: list[Origin], outputs: list[Origin]) -> None:
    """Refuse a functional model that does not lead from one input to outputs."""
    called = f"model {model.name!r}" if model.name else "the model"
    if len(inputs) != 1 or not outputs:
        raise Problem(
            f"{called}: {len(inputs)} inputs and {len(outputs)} outputs, expected one input"
        )
    for name, entry in model.entries.items():
        if entry.kind == "InputLayer" and name != inputs[0].layer:
            raise Problem(f"layer {name!r} is a second input, expected one")
        if entry.kind != "InputLayer" and not entry.nodes:
            raise Problem(f"layer {name!r} is connected to nothing")
