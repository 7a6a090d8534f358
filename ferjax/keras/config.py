"""Keras's model JSON -> Graph, of every Keras from 2.0 to 3.15.

Layers are looked up in the vocabulary by `class_name` alone. What a config says of modules,
registered names or functions is never imported, decoded or run; it only tells classes that are
named like Keras's from Keras's own.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ferjax.errors import LayerError, printable
from ferjax.keras import operations
from ferjax.keras.connections import Origin, ends_of, inbound_of
from ferjax.keras.entries import MODELS, check_class, entries_of, head, plain
from ferjax.keras.layer_config import LayerReader, ScaledAdd
from ferjax.keras.nesting import Container, Leaf
from ferjax.nets.graph import Call, Graph, output_shape
from ferjax.nets.layers import (
    Activation,
    Add,
    InputLayer,
    Layer,
    Rescaling,
)
from ferjax.problems import Problem

_MOST_LAYERS = 10_000
_MOST_NESTING = 20


@dataclass(frozen=True)
class Output:
    """One of a model's outputs: its name, which call gives it, its shape without the batch."""

    name: str
    position: int
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{printable(self.name, 100)!r} {self.shape}"


@dataclass
class Architecture:
    """What a model's JSON says.

    Attributes:
        graph: every layer of the model; its last call need not be an output.
        layout: where the layers stand in the model.
        notes: what was left out.
        outputs: in the file's order.
    """

    graph: Graph
    layout: Container
    notes: list[str] = field(default_factory=list)
    outputs: tuple[Output, ...] = ()

    def chosen(self, output: str | int | None = None) -> Graph:
        """Return the part of the graph that leads to one output.

        Args:
            output: its name or its layer's, or its number from 0, also as text; None: the only
                one.

        Raises:
            Problem: there is no such output, or none is named and there are several.
        """
        if not self.outputs:
            return self.graph
        listed = ", ".join(f"{number}: {output}" for number, output in enumerate(self.outputs))
        if output is None:
            if len(self.outputs) > 1:
                raise Problem(
                    f"{len(self.outputs)} outputs, expected the choice of one (output=, --output; "
                    f"`ferjax convert` keeps one) among {listed}"
                )
            return self.graph.leading_to(self.outputs[0].position)
        named = [known for known in self.outputs if known.name == output] or [
            known for known in self.outputs if self.graph.calls[known.position].layer == output
        ]
        number = output if isinstance(output, int) else -1
        if isinstance(output, str) and output.isascii() and output.isdigit() and len(output) < 9:
            number = int(output)
        if not named and not isinstance(output, bool) and 0 <= number < len(self.outputs):
            named = [self.outputs[number]]
        if len(named) != 1:
            what = "an output" if not named else "the number of an output"
            raise Problem(f"expected {what} among {listed}, got {printable(repr(output), 80)}")
        return self.graph.leading_to(named[0].position)


def parse_model(config: Mapping[str, Any], keras_major: int) -> Architecture:
    """Return the architecture of a model config, `{"class_name": ..., "config": ...}`.

    Nested models are flattened; a layer name that occurs twice gets the nested model's name in
    front.

    Raises:
        Problem: anything in it is outside the vocabulary or inconsistent; all of it is named.
    """
    return _Parser(keras_major).parse(config)


def model_major(config: Mapping[str, Any], stated: str | None) -> int:
    """Return the major Keras version behind a config, from what it states or how it looks."""
    version = stated if stated is not None else config.get("keras_version")
    if isinstance(version, str) and (number := re.match(r"[0-9]{1,4}", version)):
        return int(number[0])
    # A bare config: only Keras 3 writes modules for every layer and InputLayers with batch_shape.
    return 3 if '"batch_shape"' in json.dumps(config)[:200_000] else 2


class _Entry(NamedTuple):
    """One layer of a functional model, with the origins of the inputs of each of its calls."""

    kind: str
    config: Any
    nodes: list[list[Origin]]
    first: int = 0  # the number of its first call
    operation: operations.Reading | None = None


@dataclass
class _Model:
    """A model while it is being flattened."""

    name: str  # goes in front of its layer names where they are taken; empty: the whole model
    kind: str
    config: Any
    container: Container
    made: dict[str, str | _Model] = field(default_factory=dict)


class _Parser:
    def __init__(self, keras_major: int) -> None:
        self.layers: dict[str, Layer] = {}
        self.own: set[str] = set()  # names of the whole model's own layers, which keep them
        self.calls: list[Call] = []
        self.notes: list[str] = []
        self.reader = LayerReader(keras_major, self.notes)
        self.problems: list[str] = []
        self.count = 0
        self.nested_calls = 0
        self.ready: dict[int, Layer] = {}  # by the id of the layer's config
        self.operations: dict[int, operations.Reading] = {}  # likewise
        self.scaled: dict[str, str] = {}  # sums, and what scales their second input
        self.lowered: set[str] = set()  # the layers that are known to be operations
        self.shapes: list[tuple[int | None, ...]] = []  # of the calls

    def parse(self, config: Mapping[str, Any]) -> Architecture:
        if isinstance(own := config.get("class_name"), str) and own not in MODELS:
            check_class(config, "model")
        name, kind, inner = head(config, "model")
        check_class(config, f"model {name!r}")
        self.check_layers(kind, inner)
        if self.problems:
            raise Problem("; ".join(self.problems))
        root = Container(name, kind)
        try:
            shape, input_name = self.input_of(kind, inner, config)
            self.register(input_name, InputLayer(name=input_name, shape=shape), "")
            self.calls.append(Call(input_name, ()))
            heads = [head(entry, "layer") for entry in entries_of(kind, inner)]
            self.own = {own for own, layer_kind, _ in heads if layer_kind not in MODELS}
            positions = self.apply(_Model("", kind, inner, root), 0)
            layers = tuple(self.layers.values())
            if kind != "Sequential":  # the file's order holds the InputLayer, not always first
                layers = tuple(self.layers[leaf.name] for leaf in root.leaves() if leaf.name)
            graph = Graph(layers, tuple(self.calls), name, functional=True)
            if kind == "Sequential" and graph.is_chain:  # no branches in a model inside
                graph = dataclasses.replace(graph, functional=False)
            names = [graph.calls[position].layer for position in positions]
            if kind != "Sequential":
                ends = ends_of(inner.get("output_layers"), "output_layers")
                names = [key or origin.layer for key, origin in ends]
            outputs = [Output(n, p, graph.shapes[p]) for n, p in zip(names, positions)]
        except LayerError as error:
            raise Problem(str(error)) from None
        return Architecture(graph, root, self.notes, tuple(outputs))

    # --- a first pass over everything, so that all problems are named at once ---

    def check_layers(self, kind: str, inner: Any, depth: int = 0) -> None:
        if depth > _MOST_NESTING:
            raise Problem(f"models nested more than {_MOST_NESTING} deep")
        seen: set[str] = set()
        for entry in entries_of(kind, inner):
            self.count += 1
            if self.count > _MOST_LAYERS:
                raise Problem(f"more than {_MOST_LAYERS} layers")
            try:
                name, layer_kind, config = head(entry, "layer")
                if name in seen:
                    raise Problem(f"layer {name!r} is there twice")
                seen.add(name)
                check_class(entry, f"layer {name!r}")
                if operations.is_operation(entry):
                    self.operations[id(config)] = operations.read(entry, name)
                    for precision in self.operations[id(config)].precisions:
                        self.reader.note_policy(name, precision)
                    if kind == "Sequential":
                        raise Problem(f"layer {name!r}: an operation in a Sequential model")
                elif layer_kind in MODELS:
                    self.check_layers(layer_kind, config, depth + 1)
                elif layer_kind != "InputLayer":
                    self.ready[id(config)] = self.reader.layer(name, layer_kind, config)
            except (LayerError, Problem) as error:
                self.problems.append(str(error))

    # --- the model's input ---

    def input_of(
        self, kind: str, inner: Any, model: Mapping[str, Any]
    ) -> tuple[tuple[int | None, ...], str]:
        entries = entries_of(kind, inner)
        if kind != "Sequential":
            names = [origin for _, origin in ends_of(inner.get("input_layers"), "input_layers")]
            if len(names) != 1:
                raise Problem(
                    f"{len(names)} inputs ({', '.join(n for n, *_ in names)}), expected 1"
                )
            by_name = {head(e, "layer")[0]: e for e in entries}
            entry = by_name.get(names[0][0])
            if entry is None:
                raise Problem(f"input layer {names[0][0]!r} is not among the layers")
            return _input_shape(head(entry, "layer")[2], names[0][0]), names[0][0]
        # A Sequential: an InputLayer, or an input shape on the first layer, however deep.
        while entries:
            name, first_kind, config = head(entries[0], "layer")
            if first_kind not in MODELS:
                break
            kind, model, entries = first_kind, entries[0], entries_of(first_kind, config)
        else:
            raise Problem("a model without layers")
        if first_kind == "InputLayer":
            return _input_shape(config, name), name
        built = model.get("build_config") or {}
        shape = config.get("batch_input_shape") or config.get("batch_shape")
        if shape is None and isinstance(inner, dict):
            shape = inner.get("build_input_shape")
        if shape is None and isinstance(built, dict):
            shape = built.get("input_shape")
        if shape is None:
            raise Problem(f"layer {name!r}: the model's input shape is nowhere in its config")
        return _shape_from_batch(shape, name), f"{name}_input"

    # --- layers and their connections ---

    def register(self, wanted: str, layer: Layer, prefix: str) -> str:
        """Keep a layer under a name that is unique in the flat graph."""
        name, tries = wanted, 0
        while name in self.layers or (prefix and name in self.own):
            if not prefix:
                raise Problem(f"layer {name!r} is there twice")
            tries += 1
            name = f"{prefix}_{wanted}" + (f"_{tries}" if tries > 1 else "")
        self.layers[name] = dataclasses.replace(layer, name=name)
        return name

    def apply(self, model: _Model, source: int) -> list[int]:
        """Emit the calls of a model on what call `source` gives; return where its outputs are."""
        if model.kind != "Sequential":
            return self.apply_functional(model, source)
        for entry in entries_of(model.kind, model.config):
            name, kind, config = head(entry, "layer")
            if kind != "InputLayer":  # Keras's Sequential does not count it among its layers
                made = self.make(model, name, kind, config)
                results = self.call(made, [source])
                if len(results) != 1:
                    raise Problem(f"model {name!r}: expected one output, got {len(results)}")
                source = results[0]
        return [source]

    def make(self, model: _Model, name: str, kind: str, config: Any) -> str | _Model:
        """Return a layer's name in the graph, or a nested model; made at the first call only."""
        if name in model.made:
            return model.made[name]
        made: str | _Model
        if id(config) in self.operations:  # which layer it is, its inputs tell
            made = self.register(name, Activation(activation="linear"), model.name)
            model.container.children.append(Leaf(name, kind, made))
        elif kind in MODELS:
            nested = Container(name, "Functional" if kind == "Model" else kind)
            made = _Model(name, kind, config, nested)
            model.container.children.append(nested)
        else:
            layer = self.ready[id(config)]
            if isinstance(layer, ScaledAdd):
                scaling = Rescaling(scale=layer.scale)
                scaled = self.register(f"{name}_scale", scaling, model.name or name)
                model.container.children.append(Leaf(f"{name}_scale", scaling.kind, scaled))
                layer = Add(name=name, trainable=layer.trainable)
            made = self.register(name, layer, model.name)
            model.container.children.append(Leaf(name, layer.kind, made))
            if isinstance(self.ready[id(config)], ScaledAdd):
                self.scaled[made] = scaled
        model.made[name] = made
        return made

    def call(self, made: str | _Model, sources: list[int]) -> list[int]:
        if isinstance(made, _Model):
            if len(sources) != 1:
                raise Problem(f"model {made.name!r}: expected one input, got {len(sources)}")
            self.nested_calls += 1
            if self.nested_calls > _MOST_LAYERS:  # models that call models twice, twice, twice, ...
                raise Problem(f"more than {_MOST_LAYERS} calls of nested models")
            return self.apply(made, sources[0])
        if made in self.scaled:
            if len(sources) != 2:
                raise Problem(f"layer {made!r}: expected two inputs, got {len(sources)}")
            self.calls.append(Call(self.scaled[made], (sources[1],)))
            sources = [sources[0], len(self.calls) - 1]
        self.calls.append(Call(made, tuple(sources)))
        if len(self.calls) > _MOST_LAYERS:
            raise Problem(f"more than {_MOST_LAYERS} layer calls")
        return [len(self.calls) - 1]

    def apply_functional(self, model: _Model, source: int) -> list[int]:
        entries: dict[str, _Entry] = {}
        for entry in entries_of(model.kind, model.config):
            name, kind, config = head(entry, "layer")
            operation = self.operations.get(id(config))
            if operation is None:
                nodes = inbound_of(entry, name)
            else:
                nodes = [operation.origins(index) for index in range(len(operation.calls))]
            entries[name] = _Entry(kind, config, nodes, operation=operation)
        inputs = [origin for _, origin in ends_of(model.config.get("input_layers"), "input_layers")]
        outputs = [
            origin for _, origin in ends_of(model.config.get("output_layers"), "output_layers")
        ]
        called = f"model {model.name!r}" if model.name else "the model"
        if len(inputs) != 1 or not outputs:
            raise Problem(
                f"{called}: {len(inputs)} inputs and {len(outputs)} outputs, expected one input"
            )
        for name in _counted_from_one(entries, outputs):
            entries[name] = entries[name]._replace(first=1)
        input_name = inputs[0].layer
        for name, entry in entries.items():  # in the file's order, which is that of the weights
            if entry.kind != "InputLayer":
                if not entry.nodes:
                    raise Problem(f"layer {name!r} is connected to nothing")
                self.make(model, name, entry.kind, entry.config)
            elif name != input_name:
                raise Problem(f"layer {name!r} is a second input, expected one")
            elif name not in model.made:
                model.made[name] = name
                in_graph = None if model.name else name
                model.container.children.append(Leaf(name, entry.kind, in_graph))
        results = self.connect(model, entries, input_name, source)
        return [_result(entries, results, output) for output in outputs]

    def connect(
        self, model: _Model, entries: Mapping[str, _Entry], input_name: str, source: int
    ) -> dict[tuple[str, int], list[int]]:
        """Emit every call once its inputs are known; return where its results are."""
        results = {(input_name, 0): [source]}
        waiting: dict[tuple[str, int], list[tuple[str, int]]] = {}
        missing: dict[tuple[str, int], int] = {}
        ready: deque[tuple[str, int]] = deque()
        for name, entry in entries.items():
            for index, node in enumerate(entry.nodes):
                here = (name, index)
                open_inputs = {_node(entries, origin) for origin in node} - results.keys()
                missing[here] = len(open_inputs)
                for origin in open_inputs:
                    waiting.setdefault(origin, []).append(here)
                if not open_inputs:
                    ready.append(here)
        while ready:
            here = ready.popleft()
            name, index = here
            entry = entries[name]
            made = model.made[name]
            if entry.operation is None:
                sources = [_result(entries, results, origin) for origin in entry.nodes[index]]
            else:
                made, sources = self.operation(model, entries, results, here)
            results[here] = self.call(made, sources)
            for behind in waiting.get(here, ()):
                missing[behind] -= 1
                if not missing[behind]:
                    ready.append(behind)
        stuck = sorted({name for (name, index) in missing if (name, index) not in results})
        if stuck:
            raise Problem(f"layers whose inputs never come: {', '.join(map(repr, stuck[:10]))}")
        return results

    def operation(
        self,
        model: _Model,
        entries: Mapping[str, _Entry],
        results: Mapping[tuple[str, int], list[int]],
        here: tuple[str, int],
    ) -> tuple[str, list[int]]:
        """Return the layer that a call of an operation is, and where its inputs are."""
        name, index = here
        operation, made = entries[name].operation, model.made[name]
        assert operation is not None and isinstance(made, str)

        def shape_of(origin: Origin) -> tuple[int | None, ...]:
            return self.shape(_result(entries, results, origin))

        layer, origins = operation.layer(index, shape_of)
        if made not in self.lowered:
            self.lowered.add(made)
            self.layers[made] = dataclasses.replace(layer, name=made)
        elif self.layers[made] != dataclasses.replace(layer, name=made):
            # Another constant than in an earlier call, or inputs of another shape.
            made = self.register(f"{name}_{index}", layer, model.name or name)
            self.lowered.add(made)
            model.container.children.append(Leaf(name, entries[name].kind, made))
        return made, [_result(entries, results, origin) for origin in origins]

    def shape(self, position: int) -> tuple[int | None, ...]:
        """Return the shape of what a call gives, without the batch."""
        for call in self.calls[len(self.shapes) : position + 1]:
            layer = self.layers[call.layer]
            if isinstance(layer, InputLayer):
                self.shapes.append(layer.shape)
                continue
            if not layer.takes(len(call.inputs)):
                raise layer.error(f"it cannot take {len(call.inputs)} inputs")
            self.shapes.append(output_shape(layer, *(self.shapes[i] for i in call.inputs)))
        return self.shapes[position]


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


def _node(entries: Mapping[str, _Entry], origin: Origin) -> tuple[str, int]:
    """Return which call of which layer a tensor comes from."""
    if origin.layer not in entries:
        raise Problem(f"an input comes from {origin.layer!r}, which is not among the layers")
    return origin.layer, origin.node - entries[origin.layer].first


def _result(
    entries: Mapping[str, _Entry], results: Mapping[tuple[str, int], list[int]], origin: Origin
) -> int:
    """Return which call of the graph gives a tensor."""
    positions = results.get(_node(entries, origin))
    if positions is None:
        raise Problem(f"the output is a call of layer {origin.layer!r} that is never made")
    if not 0 <= origin.tensor < len(positions):
        raise Problem(
            f"layer {origin.layer!r}: its output {origin.tensor} is used, it has {len(positions)}"
        )
    return positions[origin.tensor]


def _input_shape(config: Any, name: str) -> tuple[int | None, ...]:
    for key in ("batch_shape", "batch_input_shape"):
        if config.get(key) is not None:
            return _shape_from_batch(config[key], name)
    shape = plain(config.get("shape"))
    if isinstance(shape, list):
        return _shape_from_batch([None, *shape], name)
    raise Problem(f"layer {name!r}: an input without a shape")


def _shape_from_batch(shape: Any, name: str) -> tuple[int | None, ...]:
    shape = plain(shape)
    if isinstance(shape, dict) and len(shape) == 1:
        (shape,) = shape.values()
    if not isinstance(shape, list) or not 2 <= len(shape) <= 6:
        raise Problem(f"layer {name!r}: input shape {printable(repr(shape), 80)}")
    return tuple(shape[1:])
