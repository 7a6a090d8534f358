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
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ferjax.errors import LayerError, printable
from ferjax.keras import operations
from ferjax.keras.layout import Container, Leaf
from ferjax.keras.operations import Origin
from ferjax.keras.problems import Problem
from ferjax.nets.graph import Call, Graph, output_shape
from ferjax.nets.initializers import L1L2, SETTINGS, Initializer
from ferjax.nets.layers import (
    VOCABULARY,
    Activation,
    Add,
    Dropout,
    InputLayer,
    Layer,
    Rescaling,
    layer_class,
    snake_case,
)
from ferjax.nets.settings import real, setting

_MOST_LAYERS = 10_000
_MOST_NESTING = 20

# The layers that may be an activation.
_ACTIVATING = (
    *(kind for kind, known in VOCABULARY.items() if known.activates),
    "ThresholdedReLU",
)
_MODELS = {"Sequential", "Functional", "Model"}
# The packages in which Keras has been.
_KERAS = {"keras", "keras_core", "tensorflow", "tf_keras"}
# Names under which TensorFlow's Keras has written the same layers.
_ALIASES = {
    "ThresholdedReLU": "ReLU",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
}
# Keras's own classes beside the networks of `keras.applications`, and their settings. The last is
# registered as if it were a user's.
_APPLICATIONS = {
    "LayerScale": {"init_values", "projection_dim"},
    "StochasticDepth": {"drop_path_rate"},
    "CustomScaleLayer": {"scale"},
}
# Keys that say how a layer is trained, built or stored, not what it computes. What ferjax leaves
# out of them is noted if it is set.
_NOTED = {
    "activity_regularizer",
    "beta_constraint",
    "bias_constraint",
    "alpha_constraint",
    "depthwise_constraint",
    "gamma_constraint",
    "kernel_constraint",
    "pointwise_constraint",
    "lora_rank",
}
# Settings that would change the result, with the values under which they don't.
_REFUSED: dict[str, tuple[Any, ...]] = {
    "renorm": (None, False),
    "virtual_batch_size": (None,),
    "quantization_config": (None,),
    "adjustment": (None,),
    "return_state": (None, False),
    "stateful": (None, False),
    "time_major": (None, False),
}


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


@dataclass(frozen=True, kw_only=True)
class _ScaledAdd(Add):
    """Its first input plus `scale` times its second: InceptionResNetV2's CustomScaleLayer."""

    scale: float = setting(real)


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
        self.keras_major = keras_major
        self.layers: dict[str, Layer] = {}
        self.own: set[str] = set()  # names of the whole model's own layers, which keep them
        self.calls: list[Call] = []
        self.notes: list[str] = []
        self.problems: list[str] = []
        self.count = 0
        self.nested_calls = 0
        self.depth = 0  # of layers inside layers
        self.ready: dict[int, Layer] = {}  # by the id of the layer's config
        self.operations: dict[int, operations.Reading] = {}  # likewise
        self.scaled: dict[str, str] = {}  # sums, and what scales their second input
        self.lowered: set[str] = set()  # the layers that are known to be operations
        self.shapes: list[tuple[int | None, ...]] = []  # of the calls

    def parse(self, config: Mapping[str, Any]) -> Architecture:
        if isinstance(own := config.get("class_name"), str) and own not in _MODELS:
            _check_class(config, "model")
        name, kind, inner = _head(config, "model")
        _check_class(config, f"model {name!r}")
        self.check_layers(kind, inner)
        if self.problems:
            raise Problem("; ".join(self.problems))
        root = Container(name, kind)
        try:
            shape, input_name = self.input_of(kind, inner, config)
            self.register(input_name, InputLayer(name=input_name, shape=shape), "")
            self.calls.append(Call(input_name, ()))
            heads = [_head(entry, "layer") for entry in _entries(kind, inner)]
            self.own = {own for own, layer_kind, _ in heads if layer_kind not in _MODELS}
            positions = self.apply(_Model("", kind, inner, root), 0)
            layers = tuple(self.layers.values())
            if kind != "Sequential":  # the file's order holds the InputLayer, not always first
                layers = tuple(self.layers[leaf.name] for leaf in root.leaves() if leaf.name)
            graph = Graph(layers, tuple(self.calls), name, functional=True)
            if kind == "Sequential" and graph.is_chain:  # no branches in a model inside
                graph = dataclasses.replace(graph, functional=False)
            names = [graph.calls[position].layer for position in positions]
            if kind != "Sequential":
                ends = _ends(inner.get("output_layers"), "output_layers")
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
        for entry in _entries(kind, inner):
            self.count += 1
            if self.count > _MOST_LAYERS:
                raise Problem(f"more than {_MOST_LAYERS} layers")
            try:
                name, layer_kind, config = _head(entry, "layer")
                if name in seen:
                    raise Problem(f"layer {name!r} is there twice")
                seen.add(name)
                _check_class(entry, f"layer {name!r}")
                if operations.is_operation(entry):
                    self.operations[id(config)] = operations.read(entry, name)
                    for precision in self.operations[id(config)].precisions:
                        self.note_policy(name, precision)
                    if kind == "Sequential":
                        raise Problem(f"layer {name!r}: an operation in a Sequential model")
                elif layer_kind in _MODELS:
                    self.check_layers(layer_kind, config, depth + 1)
                elif layer_kind != "InputLayer":
                    self.ready[id(config)] = self.layer(name, layer_kind, config)
            except (LayerError, Problem) as error:
                self.problems.append(str(error))

    # --- the model's input ---

    def input_of(
        self, kind: str, inner: Any, model: Mapping[str, Any]
    ) -> tuple[tuple[int | None, ...], str]:
        entries = _entries(kind, inner)
        if kind != "Sequential":
            names = [origin for _, origin in _ends(inner.get("input_layers"), "input_layers")]
            if len(names) != 1:
                raise Problem(
                    f"{len(names)} inputs ({', '.join(n for n, *_ in names)}), expected 1"
                )
            by_name = {_head(e, "layer")[0]: e for e in entries}
            entry = by_name.get(names[0][0])
            if entry is None:
                raise Problem(f"input layer {names[0][0]!r} is not among the layers")
            return _input_shape(_head(entry, "layer")[2], names[0][0]), names[0][0]
        # A Sequential: an InputLayer, or an input shape on the first layer, however deep.
        while entries:
            name, first_kind, config = _head(entries[0], "layer")
            if first_kind not in _MODELS:
                break
            kind, model, entries = first_kind, entries[0], _entries(first_kind, config)
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
        for entry in _entries(model.kind, model.config):
            name, kind, config = _head(entry, "layer")
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
        elif kind in _MODELS:
            nested = Container(name, "Functional" if kind == "Model" else kind)
            made = _Model(name, kind, config, nested)
            model.container.children.append(nested)
        else:
            layer = self.ready[id(config)]
            if isinstance(layer, _ScaledAdd):
                scaling = Rescaling(scale=layer.scale)
                scaled = self.register(f"{name}_scale", scaling, model.name or name)
                model.container.children.append(Leaf(f"{name}_scale", scaling.kind, scaled))
                layer = Add(name=name, trainable=layer.trainable)
            made = self.register(name, layer, model.name)
            model.container.children.append(Leaf(name, layer.kind, made))
            if isinstance(self.ready[id(config)], _ScaledAdd):
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
        for entry in _entries(model.kind, model.config):
            name, kind, config = _head(entry, "layer")
            operation = self.operations.get(id(config))
            if operation is None:
                nodes = _inbound(entry, name)
            else:
                nodes = [operation.origins(index) for index in range(len(operation.calls))]
            entries[name] = _Entry(kind, config, nodes, operation=operation)
        inputs = [origin for _, origin in _ends(model.config.get("input_layers"), "input_layers")]
        outputs = [
            origin for _, origin in _ends(model.config.get("output_layers"), "output_layers")
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

    # --- one layer ---

    def layer(self, name: str, kind: str, config: Mapping[str, Any]) -> Layer:
        if kind == "ThresholdedReLU":  # Keras 2's, of the setting "theta"
            config = {**config, "threshold": config.get("theta", 1.0)}
        kind = _ALIASES.get(kind, kind)
        if kind.rpartition(">")[2] in _APPLICATIONS:
            config = _settings_of_application(name, kind.rpartition(">")[2], config)
        if kind == "StochasticDepth":  # dropout of whole images
            rate = config.get("drop_path_rate")
            return Dropout(name=name, rate=rate, noise_shape=(None, 1, 1, 1))  # type: ignore[arg-type]
        if kind in ("CustomScaleLayer", "Custom>CustomScaleLayer"):
            return _ScaledAdd(name=name, scale=config.get("scale"))  # type: ignore[arg-type]
        known = layer_class(kind, name)
        config = {key: _plain(value) for key, value in config.items()}
        self.note_policy(name, config.get("dtype"))
        if kind == "RandomCrop" and self.keras_major >= 3:
            raise LayerError(
                f"layer {name!r} ({kind}): Keras 3 does not crop at inference; expected CenterCrop"
            )
        if kind == "GRU" and self.keras_major < 3:  # Keras 2.0 had no other and did not say so
            config.setdefault("reset_after", False)
        if kind == "LeakyReLU" and "alpha" in config:
            config["negative_slope"] = config["alpha"]
        fields = {f.name for f in dataclasses.fields(known)} - {"name"}
        given: dict[str, Any] = {}
        for key, value in config.items():
            if key in _REFUSED and value not in _REFUSED[key]:
                raise LayerError(f"layer {name!r} ({kind}): {key}={value!r} is not supported")
            if key in fields and not (key == "data_format" and value is None):
                try:
                    given[key] = self.value(name, key, value)
                except LayerError as error:
                    raise LayerError(f"layer {name!r} ({kind}): {key}: {error}") from None
            elif key in _NOTED and value is not None:
                self.notes.append(f"layer {name!r}: {key} is left out")
        if kind == "ActivityRegularization":
            self.notes.append(
                f"layer {name!r}: its penalty is left out, only training would use it"
            )
        given = {key: value for key, value in given.items() if value is not _DEFAULT}
        required = {f.name for f in dataclasses.fields(known) if f.default is dataclasses.MISSING}
        if not required <= given.keys():
            lacking = ", ".join(sorted(required - given.keys()))
            raise LayerError(f"layer {name!r} ({kind}): no {lacking} given")
        return known(name=name, **given)

    def value(self, name: str, key: str, value: Any) -> Any:
        if key.endswith("_initializer"):
            found = _initializer(value)
            if found is None:
                self.notes.append(f"layer {name!r}: {key} is left out, only training would use it")
                return _DEFAULT
            return found
        if key.endswith("_regularizer"):
            penalty = _regularizer(value)
            if penalty is _DEFAULT:
                self.notes.append(f"layer {name!r}: {key} is left out, only training would use it")
            return penalty
        if key in ("layer", "backward_layer") and isinstance(value, dict):
            return self.inner(value, "layer")
        if key.endswith("activation"):
            if isinstance(value, dict) and value.get("class_name") in _ACTIVATING:
                return self.inner(value, "activation")
            value = _activation(value)
            if value == "hard_sigmoid" and self.keras_major < 3:
                return "keras2_hard_sigmoid"
        return value

    def inner(self, entry: Mapping[str, Any], what: str) -> Layer:
        """Return the layer that is a setting of another."""
        if self.depth == _MOST_NESTING:
            raise LayerError(f"layers inside layers more than {_MOST_NESTING} deep")
        self.depth += 1
        try:
            name, kind, config = _head(entry, what)
            _check_class(entry, f"layer {name!r}")
            if kind in _MODELS:
                raise LayerError(f"expected a single layer, got the {kind} model {name!r}")
            return self.layer(name, kind, config)
        except Problem as problem:
            raise LayerError(str(problem)) from None
        finally:
            self.depth -= 1

    def note_policy(self, name: str, dtype: Any) -> None:
        policy = dtype if isinstance(dtype, str) else None
        if isinstance(dtype, dict):
            inner = dtype.get("config")
            policy = inner.get("name") if isinstance(inner, dict) else None
        if isinstance(policy, str) and policy not in ("float32", "uint8"):
            note = f"computed in float32, where the file asks for {printable(policy, 40)}"
            if note not in self.notes:
                self.notes.append(note)


_DEFAULT = object()


def _head(entry: Any, what: str) -> tuple[str, str, Any]:
    """Return (name, class, config) of a layer's or a model's JSON."""
    if not isinstance(entry, dict) or not isinstance(entry.get("class_name"), str):
        raise Problem(f"{what} without a class_name: {printable(repr(entry), 80)}")
    kind, config = entry["class_name"], entry.get("config")
    if kind == "Sequential" and isinstance(config, list):  # Keras 2.0 and 2.1
        name = entry.get("name", "sequential")
    elif isinstance(config, dict):
        name = config.get("name", entry.get("name", kind.lower()))
    else:
        raise Problem(f"{what} {printable(kind, 80)!r} without a config")
    if what == "model" and kind not in _MODELS:
        raise Problem(f"expected a Sequential or functional model, got {printable(kind, 80)!r}")
    if not isinstance(name, str) or not name or len(name) > 1000:
        raise Problem(f"{what} of class {printable(kind, 80)!r} without a usable name")
    return name, kind, config


def _check_class(entry: Mapping[str, Any], place: str) -> None:
    """Refuse a class that is somebody's own, whatever its name: nothing says what it computes."""
    kind, module, registered = (entry.get(k) for k in ("class_name", "module", "registered_name"))
    if isinstance(kind, str) and ">" in kind:  # in an .h5: what it is registered as
        kind, registered = kind.rpartition(">")[2], kind
    in_keras = isinstance(module, str) and module.split(".")[0] in _KERAS
    scales = kind == "CustomScaleLayer" and registered == "Custom>CustomScaleLayer"
    if scales and (module is None or in_keras):
        return
    # Keras registers some of its own, under their names; older files have no modules.
    if (in_keras and registered in (None, kind)) or (module is None and registered is None):
        return
    why = "whose code the file does not hold"
    advice = "replace it by Keras's own layers and save the model again"
    if kind in VOCABULARY or kind in _MODELS:
        called = registered if registered not in (None, kind) else f"{module or 'custom'}.{kind}"
        raise Problem(
            f"{place}: expected Keras's {kind}, got a class of the same name, "
            f"{printable(str(called), 80)!r}, {why}; {advice}"
        )
    known = [f"registered as {printable(str(registered), 80)!r}"] * (registered is not None)
    package, _, inside = str(registered).rpartition(">")
    if inside and package:
        known.append(f"package {printable(package, 80)!r}")
    if module is not None:
        known.append(f"module {printable(str(module), 80)!r}")
    raise Problem(
        f"{place}: {printable(str(kind), 80)!r} is a custom class ({', '.join(known)}), {why} and "
        f"which ferjax cannot compute; {advice}"
    )


def _settings_of_application(name: str, kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of one of `_APPLICATIONS`; another class of the name has other settings."""
    expected = _APPLICATIONS[kind]
    given = config.keys() - {"name", "trainable", "dtype"}
    if given != expected:
        raise LayerError(
            f"layer {name!r} ({kind}): expected the settings {', '.join(sorted(expected))} of "
            f"Keras's class, got {printable(', '.join(sorted(map(str, given))), 100) or 'none'}"
        )
    return dict(config)


def _entries(kind: str, inner: Any) -> list[Any]:
    layers = inner if isinstance(inner, list) else inner.get("layers")
    if not isinstance(layers, list) or not layers:
        raise Problem(f"a {kind} model without layers")
    return layers


def _ends(value: Any, key: str) -> list[tuple[str | None, Origin]]:
    """Return the ends of a model, each with the name that the file gives it.

    They are `[["in", 0, 0]]` or, Keras 3, a flat `["in", 0, 0]`, or dicts of such by name.
    """
    if isinstance(value, dict):
        return [
            (name if len(ends) == 1 else None, origin)
            for name, end in value.items()
            for ends in [_ends(end, key)]
            for _, origin in ends
        ]
    if not isinstance(value, list) or (value and not isinstance(value[0], list | dict | str)):
        raise Problem(f"expected a list of {key}, got {printable(repr(value), 80)}")
    if value and isinstance(value[0], str):
        return [(None, _origin(value, key))]
    return [end for item in value for end in _ends(item, key)]


def _origin(value: Any, what: str) -> Origin:
    if isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str):
        node, tensor = value[1], value[2]
        if isinstance(node, int) and isinstance(tensor, int):
            return Origin(value[0], node, tensor)
    raise Problem(f"{what}: expected [layer, node, tensor], got {printable(repr(value), 80)}")


def _inbound(entry: Mapping[str, Any], name: str) -> list[list[Origin]]:
    """Return, for each call of a layer, where its inputs come from, in Keras 2's or 3's form."""
    nodes = entry.get("inbound_nodes", [])
    if not isinstance(nodes, list):
        raise Problem(f"layer {name!r}: expected a list of inbound_nodes")
    result = []
    for node in nodes:
        if isinstance(node, dict):
            args = node.get("args")
            origins = list(_histories(args, name)) if isinstance(args, list) else []
            if node.get("kwargs") and any(_histories(node["kwargs"], name)):
                raise Problem(f"layer {name!r}: inputs by keyword are not supported")
        elif isinstance(node, list):
            node = [node] if node and isinstance(node[0], str) else node
            origins = [_origin(origin, f"layer {name!r}") for origin in node]
            if any(len(o) > 3 and isinstance(o[3], dict) and _carries_tensor(o[3]) for o in node):
                raise Problem(f"layer {name!r}: inputs by keyword are not supported")
        else:
            raise Problem(f"layer {name!r}: inbound node {printable(repr(node), 80)}")
        if not origins:
            raise Problem(f"layer {name!r}: a call without inputs")
        result.append(origins)
    return result


def _carries_tensor(kwargs: Mapping[str, Any]) -> bool:
    return any(
        isinstance(value, list)
        and value
        and value[0] != "_CONSTANT_VALUE"
        and isinstance(value[0], str)
        and len(value) >= 3
        for value in kwargs.values()
    )


def _histories(value: Any, name: str, depth: int = 0) -> Iterable[Origin]:
    """Yield the origins of the tensors in Keras 3's call arguments."""
    if depth > 6:
        raise Problem(f"layer {name!r}: call arguments nested too deeply")
    if isinstance(value, list):
        for item in value:
            yield from _histories(item, name, depth + 1)
    elif isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            config = value.get("config")
            history = config.get("keras_history") if isinstance(config, dict) else None
            yield _origin(history, f"layer {name!r}")
        elif value.get("class_name") in ("__tensor__", "__numpy__"):
            raise Problem(
                f"layer {name!r}: a constant among its inputs is not supported, "
                "expected outputs of layers"
            )
        else:
            for item in value.values():
                yield from _histories(item, name, depth + 1)


def _counted_from_one(entries: Mapping[str, _Entry], outputs: list[Origin]) -> list[str]:
    """Return the nested models whose call 0 is, in Keras 2, the one made when they were built."""
    highest: dict[str, int] = {}
    for name, node, _ in [*outputs, *(o for e in entries.values() for n in e.nodes for o in n)]:
        highest[name] = max(node, highest.get(name, 0))
    return [
        name
        for name, entry in entries.items()
        if entry.kind in _MODELS and highest.get(name) == len(entry.nodes)
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
    shape = _plain(config.get("shape"))
    if isinstance(shape, list):
        return _shape_from_batch([None, *shape], name)
    raise Problem(f"layer {name!r}: an input without a shape")


def _shape_from_batch(shape: Any, name: str) -> tuple[int | None, ...]:
    shape = _plain(shape)
    if isinstance(shape, dict) and len(shape) == 1:
        (shape,) = shape.values()
    if not isinstance(shape, list) or not 2 <= len(shape) <= 6:
        raise Problem(f"layer {name!r}: input shape {printable(repr(shape), 80)}")
    return tuple(shape[1:])


def _plain(value: Any) -> Any:
    """Unwrap numbers and tuples that Keras stored with their Python types."""
    if isinstance(value, dict):
        if set(value) == {"type", "value"}:
            return value["value"]
        if value.get("class_name") == "__tuple__" and isinstance(value.get("items"), list):
            return value["items"]
        if value.get("class_name") == "__numpy__" and isinstance(value.get("config"), dict):
            return value["config"].get("value")
    return value


def _activation(value: Any) -> Any:
    if isinstance(value, dict):  # Keras 3: {"module": "builtins", "class_name": "function", ...}
        inner = value.get("config")
        if value.get("class_name") == "function" and isinstance(inner, str):
            return inner
        got = printable(repr(value), 80)
        raise LayerError(f"expected an activation by name or a layer such as LeakyReLU, got {got}")
    return value


_INITIALIZER_ALIASES = {
    "zero": "zeros",
    "one": "ones",
    "uniform": "random_uniform",
    "normal": "random_normal",
    "identity_initializer": "identity",
}
# What VarianceScaling is called where its settings are the well-known ones, as (scale, mode).
_SCHEMES = {(1.0, "fan_avg"): "glorot", (2.0, "fan_in"): "he", (1.0, "fan_in"): "lecun"}


def _initializer(value: Any) -> Initializer | None:
    """Return an initializer of the vocabulary, or None."""
    settings: Any = {}
    if isinstance(value, dict):
        value, settings = value.get("class_name"), value.get("config") or {}
    if not isinstance(value, str) or not isinstance(settings, dict):
        return None
    name = snake_case(value) if value != value.lower() else value
    name = _INITIALIZER_ALIASES.get(name, name)
    if name not in SETTINGS:
        return None
    kept = {k: settings[k] for k in SETTINGS[name] if k in settings}
    if kept.get("distribution") == "normal":  # Keras 2's name for it
        kept["distribution"] = "truncated_normal"
    try:
        found = Initializer(name, tuple(sorted(kept.items())))
    except LayerError:
        return None
    if name == "variance_scaling":
        scheme = _SCHEMES.get((float(kept.get("scale", 1.0)), str(kept.get("mode", "fan_in"))))
        kind = {"uniform": "uniform", "truncated_normal": "normal"}.get(
            str(kept.get("distribution", "truncated_normal"))
        )
        if scheme and kind:
            return Initializer(f"{scheme}_{kind}")
    return found


def _regularizer(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, dict) and isinstance(value.get("config"), dict):
        l1, l2 = (_plain(value["config"].get(k, 0.0)) for k in ("l1", "l2"))
        known = value.get("class_name") in ("L1L2", "L1", "L2")
        with suppress(ValueError):
            if known:
                return L1L2(real(l1), real(l2))
    return _DEFAULT
