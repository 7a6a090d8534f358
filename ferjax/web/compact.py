"""The network's file for the page, half as large: its large weights in 16 bits, which the runtime
makes 32 again when it opens the file.

Probabilities of the released weights change by 2e-4 at most. A network whose probabilities change
by more keeps all its bits.

Dimension keys: B images, H height, W width, C channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from ferjax.preprocessing import Float32Array

if TYPE_CHECKING:
    import onnx

    from ferjax.classifier import EmotionClassifier

TOLERANCE: Final = 3e-4  # of a probability, by which 16 bits may change it
_SMALLEST: Final = 1024  # numbers of an array that is worth it
_IMAGES: Final = 24  # that both are compared on


def network_file(classifier: EmotionClassifier) -> bytes:
    """Return a classifier's network as an ONNX file for the page.

    Raises:
        FerjaxError: the package onnx is missing, or as for `ferjax.onnx.to_model`.
    """
    from ferjax.onnx import to_model

    model = to_model(classifier.network, classifier.variables, labels=list(classifier.labels))
    whole = model.SerializeToString()
    compact = compacted(model)
    return compact if _change(classifier, whole, compact) <= TOLERANCE else whole


def compacted(model: onnx.ModelProto) -> bytes:
    """Return a model as a file, its large weights of float32 as float16 where they fit into it."""
    import onnx
    from onnx import helper, numpy_helper

    result = onnx.ModelProto()
    result.CopyFrom(model)
    casts = []
    for weight in result.graph.initializer:
        array = numpy_helper.to_array(weight)
        if array.dtype != np.float32 or array.size < _SMALLEST:
            continue
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        if not np.isfinite(half).all():
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(half, f"{name} of 16 bits"))
        casts.append(helper.make_node("Cast", [weight.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *result.graph.node]
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result.SerializeToString()


def _change(classifier: EmotionClassifier, whole: bytes, compact: bytes) -> float:
    """Return by how much probabilities differ at most between two files."""
    from ferjax.onnx import Engine

    images = _images(classifier)
    first, second = (
        classifier.head.probabilities(Engine(file)(images)).astype(np.float64)
        for file in (whole, compact)
    )
    change = float(np.abs(first - second).max())
    return change if np.isfinite(change) else np.inf


def _images(classifier: EmotionClassifier) -> Float32Array:
    """Return pictures as the network takes them, (B, H, W, C) or (B, C, H, W): coarse and fine
    noise, of much contrast and little."""
    graph = classifier.network.graph
    height, width = classifier.image_size
    channels = graph.image_shape[2] or 1
    low, high = classifier.value_range
    rng = np.random.default_rng(0)
    rows, columns = np.arange(height) * 6 // height, np.arange(width) * 6 // width
    coarse = rng.random((_IMAGES, 6, 6, channels))[:, rows][:, :, columns]
    fine = rng.random((_IMAGES, height, width, channels))
    contrast = np.linspace(0.2, 1, _IMAGES)[:, None, None, None]
    images = 0.5 + contrast * (0.7 * coarse + 0.3 * fine - 0.5)
    batch = np.asarray(low + (high - low) * images, np.float32)
    return np.moveaxis(batch, -1, 1) if graph.data_format == "channels_first" else batch
