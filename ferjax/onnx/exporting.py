"""Write a network as an ONNX model, layer by layer from its description.

The model takes what the Keras model takes and gives what it gives: float32 images in Keras's order
of axes, any number of them. Inside, images are (B, C, H, W), which is what runtimes compute on:
they are transposed before the first layer that works on images and behind the last, not between.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ferjax._version import __version__
from ferjax.emotions import Labels, are_names
from ferjax.errors import FerjaxError, UnknownLayerError, WriteError, printable
from ferjax.files import replacing
from ferjax.metadata import METADATA, renamed
from ferjax.nets import layers
from ferjax.nets.graph import Graph
from ferjax.nets.head import checked_labels
from ferjax.nets.layers import VOCABULARY, Layer, Shape, TrainingOnly
from ferjax.nets.unread import unread
from ferjax.nets.variables import Arrays, from_variables
from ferjax.onnx import protobuf
from ferjax.onnx.builder import Builder, Tensor
from ferjax.problems import Problems

if TYPE_CHECKING:
    import onnx

    from ferjax.nets.network import Network

# Of 2022; ONNX Runtime has opened them since 1.12, and nothing here needs anything newer.
OPSET = 17
IR_VERSION = 8

_APART = (
    1024  # values of an array that is given beside a model; smaller ones are shapes and the like
)

# Layers that are written in a module of another name than their own.
_ELSEWHERE = {"applications": "operations"}

MOST_BYTES = (1 << 31) - (1 << 20)  # Protocol Buffers' limit, less what surrounds the weights


def _identity(layer: TrainingOnly, b: Builder, x: Tensor) -> Tensor:
    return x


def _written(layer: Layer, b: Builder, *inputs: Tensor) -> Tensor:
    """Write one layer."""
    write = writer_of(type(layer))
    if write is None:
        raise UnknownLayerError(
            f"layer {layer.name!r}: there is no ONNX for layers of kind {layer.kind!r}"
        )
    return write(layer, b, *inputs)


def writer_of(kind: type[Layer]) -> Callable[..., Tensor] | None:
    """Return the function that writes layers of a kind, called with (layer, builder, *inputs).

    Layers of a module of `ferjax.nets.layers` are written in the module of the same name here.
    None where nothing writes them.
    """
    package, _, module = kind.__module__.rpartition(".")
    if package != layers.__name__:  # one of a person's own
        return None
    if issubclass(kind, TrainingOnly):
        return _identity if VOCABULARY.get(kind.__name__) is kind else None
    if kind.__name__ == "TimeDistributed":
        from ferjax.onnx import recurrent

        return recurrent.time_distributed(_written)
    if module == "base":  # the input, which is none of the nodes
        return None
    writing = importlib.import_module(f"{__package__}.{_ELSEWHERE.get(module, module)}")
    found: Callable[..., Tensor] | None = writing.LAYERS.get(kind)
    return found


def save(
    path: str | os.PathLike[str],
    network: Network | Graph,
    variables: Mapping[str, Any],
    *,
    labels: Labels | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write an ONNX file; a crash leaves the old file or the new one. See `to_bytes`.

    Raises:
        WeightFileError: the variables do not fit the network, or are not finite.
        LabelsError: there are not as many different labels as the network has classes.
        WriteError: the file cannot be written, or would be larger than an ONNX file can be.
    """
    content, _ = _content(path, network, variables, labels, metadata)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def to_bytes(
    network: Network | Graph,
    variables: Mapping[str, Any],
    *,
    labels: Labels | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> bytes:
    """Return a network at inference as an ONNX file's content.

    Its input has the input layer's name, float32 ("batch", H, W, C), or (C, H, W) where
    `graph.data_format` says so. Its output is "probabilities" where the network ends in a softmax;
    else it has the output layer's name.
    A single sigmoid unit stays one: it gives the probability of the second label.

    Args:
        network: a Network, or its Graph.
        variables: {"params", "batch_stats"} as `network.init` returns them.
        labels: the class names in output order, or an order by its name, as for `ferjax.load`;
            stored in the model's metadata.
        metadata: JSON values to store beside the labels.

    Raises:
        WeightFileError: the variables do not fit the network, or are not finite.
        LabelsError: there are not as many different labels as the network has classes.
        WriteError: the weights are larger than an ONNX file can be.
    """
    graph = network if isinstance(network, Graph) else network.graph
    content, _ = _content(graph.name, graph, variables, labels, metadata)
    return content


def to_parts(
    network: Network | Graph, variables: Mapping[str, Any]
) -> tuple[bytes, dict[str, np.ndarray]]:
    """Return what `to_bytes` does, and apart from it its large arrays, float32 by name.

    A runtime that takes them beside the model need not copy them through it.

    Raises:
        WeightFileError, WriteError: as for `to_bytes`.
    """
    graph = network if isinstance(network, Graph) else network.graph
    return _content(graph.name, graph, variables, None, None, apart=_APART)


def to_model(
    network: Network | Graph,
    variables: Mapping[str, Any],
    *,
    labels: Labels | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> onnx.ModelProto:
    """Return what `to_bytes` does as an `onnx.ModelProto`, checked.

    Raises:
        WeightFileError, LabelsError, WriteError: as for `to_bytes`.
        FerjaxError: the package onnx is missing.
    """
    package = _onnx()
    content = to_bytes(network, variables, labels=labels, metadata=metadata)
    model: onnx.ModelProto = package.load_model_from_string(content)
    package.checker.check_model(model, full_check=True)
    return model


def _content(
    place: str | os.PathLike[str],
    network: Network | Graph,
    variables: Mapping[str, Any],
    labels: Labels | None,
    metadata: Mapping[str, Any] | None,
    *,
    apart: float = math.inf,
) -> tuple[bytes, dict[str, np.ndarray]]:
    """Return the file's content, and the arrays of at least `apart` values that it lacks.

    `place` is what errors name.
    """
    graph = network if isinstance(network, Graph) else network.graph
    problems = Problems(place)
    arrays = from_variables(graph, variables, problems)
    problems.raise_any()
    builder = _built(graph, arrays)
    size = sum(array.nbytes for array in builder.constants.values())
    if size > MOST_BYTES:
        raise WriteError(
            f"{place}: its weights take {size / 2**30:.1f} GB, an ONNX file holds less than 2"
        )
    extra = dict(metadata or {})
    if labels is not None:
        names = checked_labels(labels, graph)
        if are_names(names):
            extra = {**renamed(extra, extra.get("labels"), names), "labels": names}
    large = {
        name: np.ascontiguousarray(array)
        for name, array in builder.constants.items()
        if array.dtype == np.float32 and array.size >= apart
    }
    content = protobuf.model(
        protobuf.graph(
            printable(graph.name) or "network",
            [protobuf.node(n.op, n.inputs, n.output, n.attributes) for n in builder.nodes],
            builder.constants,
            inputs=[protobuf.float_value(builder.input_name, ["batch", *_named(graph)])],
            outputs=[protobuf.float_value(builder.output_name, ["batch", *graph.output_shape])],
            apart=large,
        ),
        opset=OPSET,
        ir_version=IR_VERSION,
        producer=("ferjax", __version__),
        properties={METADATA: json.dumps(extra)} if extra else {},
    )
    return content, large


def _built(graph: Graph, arrays: Arrays) -> Builder:
    """Write all layers."""
    output = "probabilities" if graph.final_activation == "softmax" else graph.calls[-1].layer
    builder = Builder(arrays, graph.input.name, output, unread=unread(graph))
    axes = tuple(range(len(graph.input_shape) + 1))
    results = [Tensor(builder.input_name, graph.input_shape, axes)]
    for call, shape in zip(graph.calls[1:], graph.shapes[1:]):
        layer = graph.by_name[call.layer]
        builder.layer = layer.name
        result = _written(layer, builder, *(results[i] for i in call.inputs))
        results.append(dataclasses.replace(result, shape=shape))
    builder.finish(results[-1])
    return builder


def _named(graph: Graph) -> tuple[int | str | None, ...]:
    """Return the input's shape with names for the sizes of images that are open."""
    names = ("height", "width", "channels")
    if graph.data_format == "channels_first":
        names = ("channels", "height", "width")
    shape: Shape = graph.input_shape
    if len(shape) != len(names):
        return shape
    return tuple(name if size is None else size for name, size in zip(names, shape))


def _onnx() -> Any:
    try:
        import onnx
        import onnx.checker
    except ImportError:
        raise FerjaxError(
            "an onnx.ModelProto needs onnx: pip install 'ferjax[onnx]'; `to_bytes` does not"
        ) from None
    return onnx
