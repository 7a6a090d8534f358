"""Graph -> Keras's model JSON, in the form that the most versions load."""

from __future__ import annotations

import dataclasses
from typing import Any

from ferjax.errors import LayerError
from ferjax.keras import operations
from ferjax.keras.nesting import in_keras_order
from ferjax.keras.operation_arguments import written_call
from ferjax.nets.graph import Graph
from ferjax.nets.initializers import L1L2, Initializer
from ferjax.nets.layers import InputLayer, Layer, LayerScale, Operation, Shape


def keras_version(graph: Graph) -> str:
    """Return the Keras version to state in a file, for readers that go by it.

    Keras 2's, which every reader accepts, unless the network has operations or Keras 3's
    hard_sigmoid: the two share a name, and only the version tells them apart.
    """
    activations = activation_names(graph)
    if {"hard_sigmoid", "keras2_hard_sigmoid"} <= activations:
        raise LayerError(
            "layers with Keras 2's and with Keras 3's hard_sigmoid: no Keras file can hold both"
        )
    arithmetic = has_operations(graph)
    if arithmetic and "keras2_hard_sigmoid" in activations:
        raise LayerError(
            "Keras 2's hard_sigmoid beside operations, which only Keras 3 opens: "
            "no Keras file can hold both"
        )
    return "3.0.0" if arithmetic or "hard_sigmoid" in activations else "2.15.0"


def has_operations(graph: Graph) -> bool:
    """Whether there is arithmetic for which Keras 2 and 3 have no common layer."""
    return any(isinstance(layer, Operation) for layer in graph.layers)


def activation_names(graph: Graph) -> set[str]:
    """Return the activations that any setting of any layer names, of layers inside layers too."""
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
    return names


def model_config(graph: Graph) -> dict[str, Any]:
    """Return the smallest config that Keras 2.2.4 to 3.15 all load, as far as they know the layers.

    It is Keras 2's: InputLayer with `batch_input_shape`, `class_name` "Model" and Keras 2's
    `inbound_nodes` for a functional model.
    """
    graph = in_keras_order(graph)
    outputs = {call.layer: shape for call, shape in zip(graph.calls, graph.shapes)}
    if not graph.functional:
        layers = [_entry(layer, outputs[layer.name]) for layer in graph.layers]
        return {"class_name": "Sequential", "config": {"name": graph.name, "layers": layers}}
    indices: dict[str, int] = {}
    origins: list[tuple[str, int]] = []  # of each call: layer name, which of its calls
    for call in graph.calls:
        origins.append((call.layer, indices.get(call.layer, 0)))
        indices[call.layer] = indices.get(call.layer, 0) + 1
    entries = []
    for layer in graph.layers:
        calls = [call for call in graph.calls if call.layer == layer.name and call.inputs]
        nodes: list[Any] = [[[*origins[i], 0, {}] for i in call.inputs] for call in calls]
        if isinstance(layer, Operation):
            nodes = [
                written_call(
                    layer,
                    [origins[i] for i in call.inputs],
                    [graph.shapes[i] for i in call.inputs],
                )
                for call in calls
            ]
        entries.append(
            {**_entry(layer, outputs[layer.name]), "name": layer.name, "inbound_nodes": nodes}
        )
    return {
        "class_name": "Model",
        "config": {
            "name": graph.name,
            "layers": entries,
            "input_layers": [[*origins[0], 0]],
            "output_layers": [[*origins[-1], 0]],
        },
    }


# Names that differ between what a layer is called here and what every Keras accepts.
_WRITTEN_AS = {("LeakyReLU", "negative_slope"): "alpha"}
# Left out at these values, because an older or newer Keras does not know the key.
_OMITTED: dict[str, Any] = {
    "groups": 1,
    "keepdims": False,
    "seed": None,
    "noise_shape": None,
    "value_range": (0.0, 255.0),
    "mean": None,
    "variance": None,
    "rms_scaling": False,
    "pad_to_aspect_ratio": False,
    "fill_mode": "constant",
    "fill_value": 0.0,
    "antialias": False,
}
# Keras 2 does not know the `data_format` of these.
_NO_DATA_FORMAT = ("Random", "Resizing", "CenterCrop")


# Keras cannot make them with `trainable`, which means nothing to them.
_NO_TRAINABLE = {"InputLayer", "SpatialDropout1D", "SpatialDropout2D"}


def _entry(layer: Layer, output_shape: Shape) -> dict[str, Any]:
    if isinstance(layer, Operation):
        return operations.written(layer)
    config: dict[str, Any] = {"name": layer.name, "trainable": layer.trainable, "dtype": "float32"}
    if layer.kind in _NO_TRAINABLE:
        del config["trainable"]
    if isinstance(layer, InputLayer):
        config |= {"batch_input_shape": [None, *layer.shape], "sparse": False}
        return {"class_name": layer.kind, "config": config}
    for f in dataclasses.fields(layer):
        value = getattr(layer, f.name)
        if f.name in ("name", "trainable"):
            continue
        if f.name in _OMITTED and value == f.default == _OMITTED[f.name]:
            continue
        unknown = f.name == "data_format" and layer.kind.startswith(_NO_DATA_FORMAT)
        if unknown and value == "channels_last":
            continue
        if f.name == "backward_layer" and value == getattr(layer, "reversed_layer", None):
            continue  # Keras 2.2.4 makes it, and knows no other
        if isinstance(value, Layer):
            # With a module: without one Keras 3 does not look among its layers.
            written = {
                "module": "keras.layers",
                "registered_name": None,
                **_entry(value, output_shape),
            }
            if f.name == "activation":  # Keras 3 does not build it before it reads the weights
                written["build_config"] = {"input_shape": [None, *output_shape]}
        else:
            written = _json(value)
        config[_WRITTEN_AS.get((layer.kind, f.name), f.name)] = written
    entry: dict[str, Any] = {"class_name": layer.kind, "config": config}
    if isinstance(layer, LayerScale):
        entry |= {"module": "keras.src.applications.convnext", "registered_name": layer.kind}
    if not isinstance(getattr(layer, "axis", 0), int):
        # Without a module Keras 3 takes it for Keras 2's, and drops an axis that is no number.
        entry |= {"module": "keras.layers", "registered_name": None}
    return entry


def _json(value: Any) -> Any:
    if isinstance(value, Initializer):
        if not value.settings:
            return value.name
        kind = "".join(part.title() for part in value.name.split("_"))
        return {"class_name": kind, "config": dict(value.settings)}
    if isinstance(value, L1L2):
        return {"class_name": "L1L2", "config": {"l1": value.l1, "l2": value.l2}}
    if isinstance(value, str) and value == "keras2_hard_sigmoid":
        return "hard_sigmoid"
    if isinstance(value, tuple):
        return [_json(item) for item in value]
    return value
