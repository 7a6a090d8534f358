"""Tell a known network by its layers, whatever wrote the file and however it numbered them.

The fingerprint is a hash over what a network computes, from its output back to its input: kinds and
settings of layers, how they are joined, and the names that somebody gave them. It does not depend
on automatic names, the order in which layers are listed, the size of the images, rates of dropout,
initializers, regularizers or optimizers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import warnings
from typing import Any, Final

from ferjax.emotions import KNOWN_NETWORKS, TELL_THE_ORDER, KnownNetwork, Labels, numbers
from ferjax.errors import LabelsWarning, NoLabelsWarning
from ferjax.nets.graph import Graph
from ferjax.nets.head import Head, checked_labels
from ferjax.nets.layers import InputLayer, Layer, TrainingOnly, snake_case

# Ends of the names of settings that change only how a layer is trained.
_TRAINING: Final = ("_initializer", "_regularizer", "momentum", "trainable", "seed")


def recognise(graph: Graph) -> KnownNetwork | None:
    """Return which known network this is, or None."""
    if len(graph.input_shape) != 3:
        return None
    height, width, _ = graph.image_shape
    candidates = [
        network
        for network in KNOWN_NETWORKS
        if any(height in (None, h) and width in (None, w) for h, w in network.sizes)
    ]
    if not candidates:
        return None
    digest = fingerprint(graph)
    return next((network for network in candidates if network.fingerprint == digest), None)


def labels_of(
    graph: Graph, labels: Labels | None, assumed: tuple[float, float] | None
) -> tuple[str, ...]:
    """Return what the classes of a network are called.

    Args:
        labels: their names in output order, or an order by its name; None: those of a known
            network, or else "0", "1", ..., with a warning to the caller's caller.
        assumed: the range of values that its images are taken to have, where nobody stated it.

    Raises:
        LabelsError: there is not a different label for each class.
    """
    if labels is not None:
        return tuple(checked_labels(labels, graph))
    network = recognise(graph)
    if network is not None:
        low, high = network.value_range
        images = ""
        if assumed not in (None, network.value_range):
            images = (
                f"; its source feeds it images in [{low:g}, {high:g}]: --value-range (value_range=)"
            )
        warnings.warn(
            f"the weights come without label names; taken to be {', '.join(network.labels)}, "
            f"the order of {network.name} ({network.source}); --labels (labels=) sets others"
            f"{images}",
            LabelsWarning,
            stacklevel=3,
        )
        return network.labels
    classes = Head.of(graph).num_classes
    warnings.warn(
        f"the weights come without label names and are of no known network: the classes are called "
        f"0 to {classes - 1}; --labels (labels=) names them, {TELL_THE_ORDER}",
        NoLabelsWarning,
        stacklevel=3,
    )
    return numbers(classes)


def fingerprint(graph: Graph) -> str:
    """Return a hash of a network's layers in 16 hexadecimal digits; see the module."""
    digests: list[str] = []
    for call in graph.calls:
        layer = graph.by_name[call.layer]
        inputs = [digests[position] for position in call.inputs]
        if layer.commutes:
            inputs.sort()
        shape = graph.shapes[call.inputs[0]] if call.inputs else ()
        described: Any = ["input", graph.image_shape[2]]
        if not isinstance(layer, InputLayer):
            described = [layer.kind, _given_name(layer), _unusual(layer, len(shape) + 1)]
        digests.append(hashlib.sha256(repr([described, inputs]).encode()).hexdigest()[:16])
    return digests[-1]


def settings(layer: Layer, rank: int) -> dict[str, Any]:
    """Return the settings on which a layer's output depends, by name, without its own.

    Args:
        rank: axes of the layer's inputs, the batch among them; 0 where that is not known.
    """
    values = {
        field.name: getattr(layer, field.name)
        for field in dataclasses.fields(layer)
        if field.name != "name" and not field.name.endswith(_TRAINING)
    }
    for key, value in values.items():
        if isinstance(value, Layer):  # whose own name nothing goes by
            values[key] = (value.kind, settings(value, rank))
    axis = values.get("axis")
    if isinstance(axis, int) and axis < 0:  # files have -1 or, from TensorFlow, the number
        values["axis"] = axis + rank
    return values


def _unusual(layer: Layer, rank: int) -> list[tuple[str, Any]]:
    """Return the settings that are not the defaults: a kind may get more later."""
    defaults = {field.name: field.default for field in dataclasses.fields(layer)}
    if isinstance(layer, TrainingOnly):
        return []
    values = sorted(settings(layer, rank).items())
    return [(name, value) for name, value in values if value != defaults[name]]


def _given_name(layer: Layer) -> str:
    """Return the name that a person gave a layer, or nothing where Keras counted."""
    automatic = re.fullmatch(rf"{snake_case(layer.kind)}(_[0-9]+)?", layer.name)
    return "" if automatic else layer.name
