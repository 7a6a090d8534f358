"""Keras's model JSON <-> Graph: read of every Keras from 2.0 to 3.15, written for all of them.

Layers are looked up in the vocabulary by `class_name` alone. What a config says of modules,
registered names or functions is never imported, decoded or run; it only tells classes that are
named like Keras's from Keras's own.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from ferjax._lazy import LazyModule
from ferjax.errors import LayerError
from ferjax.keras import layer_config
from ferjax.keras.architecture import Architecture, Output
from ferjax.keras.config_entries import (
    MODELS,
    check_class,
    entries_of,
    head,
    is_operation,
    plain,
)
from ferjax.keras.flattening import MOST_LAYERS, Flattening, Model
from ferjax.keras.inbound_nodes import ends_of
from ferjax.keras.layer_config import LayerReader, input_shape, without_batch
from ferjax.keras.nesting import ModelTree, has_operations, in_keras_order
from ferjax.keras.setting_forms import HARD_SIGMOIDS
from ferjax.nets.graph import Graph, is_chain
from ferjax.nets.layers import InputLayer, Layer
from ferjax.problems import Problem

if TYPE_CHECKING:
    from ferjax.keras import operation_arguments, operations
    from ferjax.nets.layers import Operation
else:  # most models have none
    operation_arguments = LazyModule("ferjax.keras.operation_arguments")
    operations = LazyModule("ferjax.keras.operations")

_MOST_NESTING = 20


def parse_model(config: Mapping[str, Any], keras_major: int) -> Architecture:
    """Return the architecture of a model config, `{"class_name": ..., "config": ...}`.

    Nested models are flattened; a layer name that occurs twice gets the nested model's name in
    front.

    Raises:
        Problem: anything in it is outside the vocabulary or inconsistent; all of it is named.
    """
    if isinstance(stated := config.get("class_name"), str) and stated not in MODELS:
        check_class(config, "model")
    name, kind, inner = head(config, "model")
    check_class(config, f"model {name!r}")
    contents = _Contents(keras_major)
    contents.add(kind, inner)
    if contents.problems:
        raise Problem("; ".join(contents.problems))
    try:
        heads = [head(entry, "layer") for entry in entries_of(kind, inner)]
        layer_names = {key for key, layer_kind, _ in heads if layer_kind not in MODELS}
        flat = Flattening(contents.layers, layer_names)
        root = ModelTree(name, kind)
        source = flat.begin(_input_of(kind, inner, config))
        positions = flat.apply(Model("", kind, inner, root), source)
        layers = tuple(flat.layers.values())
        if kind != "Sequential":  # the file's order holds the InputLayer, not always first
            layers = tuple(flat.layers[leaf.name] for leaf in root.leaves() if leaf.name)
        calls = tuple(flat.calls)
        # A Sequential may hold a model with branches.
        graph = Graph(
            layers, calls, name, functional=kind != "Sequential" or not is_chain(layers, calls)
        )
        names = [graph.calls[position].layer for position in positions]
        if kind != "Sequential":
            ends = ends_of(inner.get("output_layers"), "output_layers")
            names = [key or origin.layer for key, origin in ends]
        outputs = [Output(n, p, graph.shapes[p]) for n, p in zip(names, positions)]
    except LayerError as error:
        raise Problem(str(error)) from None
    return Architecture(graph, root, contents.notes, tuple(outputs))


def model_major(config: Mapping[str, Any], stated: str | None) -> int:
    """Return the major Keras version behind a config, from what it states or how it looks."""
    version = stated if stated is not None else config.get("keras_version")
    if isinstance(version, str) and (number := re.match(r"[0-9]{1,4}", version)):
        return int(number[0])
    # A bare config: only Keras 3 writes modules for every layer and InputLayers with batch_shape.
    return 3 if '"batch_shape"' in json.dumps(config)[:200_000] else 2


class _Contents:
    """Every layer of a model and of the models in it, read once.

    Attributes:
        layers: by the id of the layer's config.
        notes: what was left out.
        problems: of all layers, to be named at once.
    """

    def __init__(self, keras_major: int) -> None:
        self.layers: dict[int, Layer | operations.Reading] = {}
        self.notes: list[str] = []
        self.problems: list[str] = []
        self._reader = LayerReader(keras_major, self.notes)
        self._count = 0

    def add(self, kind: str, inner: Any, depth: int = 0) -> None:
        """Read the layers in the config of a model of a kind."""
        if depth > _MOST_NESTING:
            raise Problem(f"models nested more than {_MOST_NESTING} deep")
        seen: set[str] = set()
        for entry in entries_of(kind, inner):
            self._count += 1
            if self._count > MOST_LAYERS:
                raise Problem(f"more than {MOST_LAYERS} layers")
            try:
                name, layer_kind, config = head(entry, "layer")
                if name in seen:
                    raise Problem(f"layer {name!r} is there twice")
                seen.add(name)
                check_class(entry, f"layer {name!r}")
                if is_operation(entry):
                    operation = self.layers[id(config)] = operations.read(entry, name)
                    for precision in operation.precisions:
                        self._reader.note_policy(name, precision)
                    if kind == "Sequential":
                        raise Problem(f"layer {name!r}: an operation in a Sequential model")
                elif layer_kind in MODELS:
                    self.add(layer_kind, config, depth + 1)
                elif layer_kind != "InputLayer":
                    self.layers[id(config)] = self._reader.layer(name, layer_kind, config)
            except (LayerError, Problem) as error:
                self.problems.append(str(error))


def _input_of(kind: str, inner: Any, model: Mapping[str, Any]) -> InputLayer:
    """Return the input of a model."""
    entries = entries_of(kind, inner)
    if kind != "Sequential":
        names = [origin.layer for _, origin in ends_of(inner.get("input_layers"), "input_layers")]
        if len(names) != 1:
            raise Problem(f"{len(names)} inputs ({', '.join(names)}), expected 1")
        configs = {name: config for name, _, config in (head(e, "layer") for e in entries)}
        if names[0] not in configs:
            raise Problem(f"input layer {names[0]!r} is not among the layers")
        return _input_layer(names[0], configs[names[0]])
    # A Sequential: an InputLayer, or an input shape on the first layer, however deep.
    while True:
        name, first_kind, config = head(entries[0], "layer")
        if first_kind not in MODELS:
            break
        model, entries = entries[0], entries_of(first_kind, config)
    if first_kind == "InputLayer":
        return _input_layer(name, config)
    shape = input_shape(config, name)
    for holder, key in ((inner, "build_input_shape"), (model.get("build_config"), "input_shape")):
        if shape is None and isinstance(holder, dict) and holder.get(key) is not None:
            shape = without_batch(holder[key], name)
    if shape is None:
        raise Problem(f"layer {name!r}: the model's input shape is nowhere in its config")
    return InputLayer(name=f"{name}_input", shape=shape)


def _input_layer(name: str, config: Any) -> InputLayer:
    config = config if isinstance(config, dict) else {}  # a nested model's may be a list
    shape = input_shape(config, name)
    if shape is None and isinstance(sizes := plain(config.get("shape")), list):
        shape = without_batch([None, *sizes], name)
    if shape is None:
        raise Problem(f"layer {name!r}: an input without a shape")
    return InputLayer(name=name, shape=shape)


# --- writing ---


def keras_version(graph: Graph) -> str:
    """Return the Keras version to state in a file, for readers that go by it.

    Keras 2's, which every reader accepts, unless the network has operations or Keras 3's
    hard_sigmoid: the two share a name, and only the version tells them apart.
    """
    sigmoids, arithmetic = hard_sigmoids(graph), has_operations(graph)
    if len(sigmoids) > 1:
        raise LayerError(
            "layers with Keras 2's and with Keras 3's hard_sigmoid: no Keras file can hold both"
        )
    if arithmetic and 2 in sigmoids:
        raise LayerError(
            "Keras 2's hard_sigmoid beside operations, which only Keras 3 opens: "
            "no Keras file can hold both"
        )
    return "3.0.0" if arithmetic or 3 in sigmoids else "2.15.0"


def hard_sigmoids(graph: Graph) -> list[int]:
    """Return which Keras versions' hard_sigmoid layers have, layers inside layers too."""
    names: set[str] = set()
    layers: list[Layer] = list(graph.layers)
    while layers:
        layer = layers.pop()
        for f in dataclasses.fields(layer):
            value = getattr(layer, f.name)
            if isinstance(value, Layer):
                layers.append(value)
            elif f.name.endswith("activation"):
                names.add(value)
    return [major for major, name in HARD_SIGMOIDS.items() if name in names]


def model_config(graph: Graph) -> dict[str, Any]:
    """Return the smallest config that Keras 2.2.4 to 3.15 all load, as far as they know the layers.

    It is Keras 2's: InputLayer with `batch_input_shape`, `class_name` "Model" and Keras 2's
    `inbound_nodes` for a functional model.
    """
    graph = in_keras_order(graph)
    outputs = {call.layer: shape for call, shape in zip(graph.calls, graph.shapes)}
    layers = [layer_config.written(layer, outputs[layer.name]) for layer in graph.layers]
    if not graph.functional:
        return {"class_name": "Sequential", "config": {"name": graph.name, "layers": layers}}
    nodes: dict[str, list[Any]] = {layer.name: [] for layer in graph.layers}
    origins: list[tuple[str, int]] = []  # of each call: layer name, which of its calls
    for call in graph.calls:
        layer, sources = graph.by_name[call.layer], [origins[i] for i in call.inputs]
        origins.append((call.layer, len(nodes[call.layer])))
        if layer.is_operation:
            shapes = [graph.shapes[i] for i in call.inputs]
            operation = cast("Operation", layer)
            nodes[call.layer].append(operation_arguments.written_call(operation, sources, shapes))
        elif sources:
            nodes[call.layer].append([[*origin, 0, {}] for origin in sources])
    return {
        "class_name": "Model",
        "config": {
            "name": graph.name,
            "layers": [
                {**entry, "name": name, "inbound_nodes": nodes[name]}
                for entry, name in zip(layers, nodes)
            ],
            "input_layers": [[*origins[0], 0]],
            "output_layers": [[*origins[-1], 0]],
        },
    }
