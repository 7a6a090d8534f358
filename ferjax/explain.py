"""Show where in a face the score of a class comes from.

The map is LayerCAM's (Jiang et al., "LayerCAM: Exploring Hierarchical Class Activation Maps for
Localization", IEEE TIP 2021): a layer's output times the score's gradient by it, of which the
positive part is summed over the channels. Where outputs are negative, as behind a batch norm, it
differs: the paper takes the positive part of the gradient alone. Each position is drawn around the
middle of what it sees, not stretched over the image.

Dimension keys: B images, H height, W width, C channels; h and w inside the network.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from ferjax import xla
from ferjax.classifier import EmotionClassifier
from ferjax.errors import FerjaxError, LabelsError, LayerError, near_misses, printable
from ferjax.nets import Graph, Network, layers
from ferjax.nets.head import Head, without_activation
from ferjax.pictures import sheet
from ferjax.preprocessing import ChannelOrder, Resize, Source

MAX_FACES: Final = 48  # on one sheet

_CAPTION: Final = "Where the score of the class comes from; not why a person looks so"
# Positions along an axis that make a map worth looking at: where fer_cnn5 has fewer, hiding what
# the map says matters most costs the class less.
_DETAIL: Final = 10
_CHUNK: Final = 64
_FACE_INCHES: Final = 1.28
_DOTS: Final = 192  # of these inches at the sheet's 150 dots an inch; four for a pixel of 48

# Where outputs lie: for rows and for columns the first's centre and the distance, in pixels.
_Grid = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """Where the score of one class on one image comes from.

    Attributes:
        heatmap: float32 (H, W) in [0, 1], relative to its own maximum; all 0 where nothing speaks
            for the class.
        label: the class.
        index: its position in the network's output.
        confidence: its probability, in [0, 1]; not calibrated.
        layer: the name of the layer whose output was looked at.
        image: float32 (H, W, C) in [0, 1], the image as the network saw it.
    """

    heatmap: npt.NDArray[np.float32]
    label: str
    index: int
    confidence: float
    layer: str
    image: npt.NDArray[np.float32]


def explain(
    classifier: EmotionClassifier,
    images: Source | Sequence[Source],
    *,
    labels: str | int | Sequence[str | int] | None = None,
    layer: str | None = None,
    channel_order: ChannelOrder = "rgb",
    resize: Resize | None = None,
) -> list[Explanation]:
    """Return an Explanation for every image.

    Args:
        images: whatever `classifier.predict_proba` takes.
        labels: the class to explain, by name or index, or one for each image; None: the predicted.
        layer: the layer whose output to look at; None: the last that has at least 10 positions
            along both axes and that everything passes, or else the nearest to that.
        channel_order: "rgb" or "bgr", for arrays of three or four channels.
        resize: as for `classifier.predict_proba`.

    Raises:
        ImageError: an image cannot be read; all such images are named.
        LabelsError: a label is not the classifier's.
        LayerError: there is no such layer, or its output does not lie over the image.
    """
    graph = _scored(classifier)
    tap, grid = looked_at(graph, layer)
    batch = classifier.preprocess(images, channel_order=channel_order, resize=resize)
    probabilities = classifier.predict_batch(batch)
    indices = _indices(labels, classifier, probabilities)
    maps = _maps(classifier, Network(graph), tap, batch, indices)
    low, high = classifier.value_range
    return [
        Explanation(
            heatmap=heatmap,
            label=classifier.labels[index],
            index=int(index),
            confidence=float(row[index]),
            layer=graph.calls[tap].layer,
            image=((image - low) / (high - low)).astype(np.float32),
        )
        for heatmap, index, row, image in zip(
            _spread(maps, grid, classifier.image_size), indices, probabilities, batch
        )
    ]


def check_network(classifier: EmotionClassifier, *, layer: str | None = None) -> None:
    """Raise the LayerError that `explain` would for any image; worth a call before reading many."""
    looked_at(_scored(classifier), layer)


def check_drawing(path: str | os.PathLike[str], count: int) -> None:
    """Raise the FerjaxError that `draw` of `count` faces would; worth a call before `explain`."""
    sheet.check_path(path)
    if not count:
        raise FerjaxError(f"{printable(str(path))}: expected faces to draw, got none")
    if count > MAX_FACES:
        raise FerjaxError(
            f"{printable(str(path))}: expected at most {MAX_FACES} faces to draw, got {count:,}; "
            "give fewer"
        )


def draw(
    explanations: Sequence[Explanation],
    path: str | os.PathLike[str],
    *,
    names: Sequence[str] | None = None,
) -> None:
    """Draw each face, and beside it the face under its map: yellow is most, bare gray is nothing.

    Args:
        path: the file; its name says in which format.
        names: what stands before each face.

    Raises:
        FerjaxError: see `check_drawing`, or the file cannot be written.
    """
    check_drawing(path, len(explanations))
    names = [""] * len(explanations) if names is None else names
    if len(names) != len(explanations):
        raise FerjaxError(f"expected {len(explanations)} names, one a face, got {len(names)}")
    rows = [
        sheet.Row(label=name, detail=f"{e.label} {e.confidence:.2f}", images=[e.image, _overlay(e)])
        for name, e in zip(names, explanations, strict=True)
    ]
    sheet.draw(rows, path, title=_CAPTION, face_inches=_FACE_INCHES)


def _overlay(explanation: Explanation) -> npt.NDArray[np.float32]:
    """Return the gray face under its map, (H, W, 3) in [0, 1], enlarged to what a sheet shows."""
    import matplotlib

    height, width = explanation.heatmap.shape
    scale = max(1, _DOTS // max(height, width))
    size = (scale * width, scale * height)
    gray = cv2.resize(explanation.image.mean(2), size, interpolation=cv2.INTER_NEAREST)[..., None]
    heat = cv2.resize(explanation.heatmap, size, interpolation=cv2.INTER_LINEAR)
    colour = matplotlib.colormaps["viridis"](heat)[..., :3]
    strength = 0.7 * heat[..., None]
    return np.asarray((1 - strength) * gray + strength * colour, np.float32)


# --- the score and its map -----------------------------------------------------------------------


def _scored(classifier: EmotionClassifier) -> Graph:
    """Return the graph for images of one size, with scores at its end that do not saturate."""
    graph = classifier.graph
    (height, width), channels = classifier.image_size, graph.image_shape[2]
    first = graph.data_format == "channels_first"
    shape = (channels, height, width) if first else (height, width, channels)
    changed: dict[str, Any] = {graph.input.name: dataclasses.replace(graph.input, shape=shape)}
    last = graph.by_name[graph.calls[graph.final_call].layer]
    shared = [call.layer for call in graph.calls].count(last.name) > 1
    if graph.final_activation not in ("linear", "other") and not shared:
        changed[last.name] = without_activation(last)
    return graph.map_layers(lambda layer: changed.get(layer.name, layer))


def _indices(
    labels: str | int | Sequence[str | int] | None,
    classifier: EmotionClassifier,
    probabilities: npt.NDArray[np.float32],
) -> npt.NDArray[np.int32]:
    if labels is None:
        return np.asarray(classifier.head.predicted(probabilities), np.int32)
    names = classifier.labels
    count = len(probabilities)
    wanted = [labels] * count if isinstance(labels, str | int | np.integer) else list(labels)
    if len(wanted) != count:
        raise LabelsError(f"expected a label, or one for each of {count} images, got {len(wanted)}")
    for label in wanted:
        if label not in (names if isinstance(label, str) else range(len(names))):
            raise LabelsError(
                f"expected a label among {', '.join(names)}, or its index, got {label!r}"
                f"{near_misses(str(label), names)}"
            )
    return np.array([names.index(w) if isinstance(w, str) else w for w in wanted], np.int32)


def _maps(
    classifier: EmotionClassifier,
    network: Network,
    tap: int,
    batch: npt.NDArray[np.float32],
    indices: npt.NDArray[np.int32],
) -> npt.NDArray[np.float32]:
    """Return the maps, (B, h, w), of preprocessed images, (B, H, W, C)."""
    if network.graph.data_format == "channels_first":
        batch = np.moveaxis(batch, -1, 1)
    xla.begin_keeping()
    variables = _on_device(classifier)
    parts = []
    for start in range(0, len(batch), _CHUNK):
        images, wanted = batch[start : start + _CHUNK], indices[start : start + _CHUNK]
        # To a power of two, and at least 2, as the classifier does.
        missing = max(2, 1 << (len(images) - 1).bit_length()) - len(images)
        padded = np.pad(images, [(0, missing), (0, 0), (0, 0), (0, 0)])
        wanted = np.pad(wanted, (0, missing))
        with jax.default_matmul_precision("highest"), jax.enable_x64(False):
            maps = _layer_cam(network, classifier.head, tap, variables, padded, wanted)
        parts.append(np.asarray(maps)[: len(images)])
    return np.concatenate(parts)


# The arrays of classifiers, and what JAX has of them on its device.
_placed: WeakKeyDictionary[EmotionClassifier, tuple[list[Any], Any]] = WeakKeyDictionary()


def _on_device(classifier: EmotionClassifier) -> Any:
    """Return the variables on JAX's device, where they may be from the time before."""
    arrays = jax.tree.leaves(classifier.variables)
    known, placed = _placed.get(classifier, ([], None))
    if len(arrays) != len(known) or any(a is not b for a, b in zip(arrays, known)):
        placed = jax.device_put(dict(classifier.variables))
        _placed[classifier] = arrays, placed
    return placed


@partial(jax.jit, static_argnums=(0, 1, 2))
def _layer_cam(
    network: Network, head: Head, tap: int, variables: Any, images: jax.Array, indices: jax.Array
) -> jax.Array:
    def score(offset: jax.Array) -> tuple[jax.Array, jax.Array]:
        seen: list[jax.Array] = []

        def hook(position: int, output: jax.Array) -> jax.Array:
            if position != tap:
                return output
            seen.append(output)
            return output + offset

        softmax = network.graph.final_activation == "softmax"
        outputs: Any = network.apply(variables, images, logits=softmax, hook=hook)
        # Images do not mix at inference, so that one gradient is that of each.
        scores = head.scores(outputs)  # (B, K)
        return jnp.take_along_axis(scores, indices[:, None], axis=1).sum(), seen[0]

    zeros = jnp.zeros((len(images), *network.graph.shapes[tap]), jnp.float32)
    gradient, output = jax.grad(score, has_aux=True)(zeros)
    channels = 1 if network.graph.data_format == "channels_first" else 3
    return jax.nn.relu(gradient * output).sum(channels)


def _spread(
    maps: npt.NDArray[np.float32], grid: _Grid, size: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Return maps (B, h, w) as heatmaps (B, H, W), by bilinear interpolation, 0 far outside."""
    rows, columns = (
        np.maximum(0, 1 - np.abs((np.arange(pixels)[:, None] - first) / step - np.arange(count)))
        for (first, step), count, pixels in zip(grid, maps.shape[1:], size)
    )
    heat = rows @ maps.astype(np.float64) @ columns.T
    peak = heat.max((1, 2), keepdims=True)
    return np.asarray(heat / np.where(peak > 0, peak, 1), np.float32)


# --- the layer, and where its output lies --------------------------------------------------------


def looked_at(graph: Graph, name: str | None) -> tuple[int, _Grid]:
    """Return the position of the call to look at, and where its output lies; see `explain`."""
    grids = _grids(graph)
    called = [graph.by_name[call.layer] for call in graph.calls]
    looking = [p for p, layer in enumerate(called) if hasattr(layer, "kernel_size")]
    taps = [p for p in grids if looking and p >= looking[0]]
    if not taps:
        kinds = printable(", ".join(dict.fromkeys(layer.kind for layer in called)), 400)
        raise LayerError(
            "expected a network with convolutions over the image; nothing else says where a score "
            f"comes from, and its layers are {kinds}"
        )
    listed = printable(", ".join(dict.fromkeys(called[p].name for p in taps)), 400)
    if name is None:
        taps = [p for p in taps if not isinstance(called[p], layers.TrainingOnly)]
    elif name not in graph.by_name:
        close = near_misses(name, graph.by_name)
        raise LayerError(f"expected a layer among {listed}, got {name[:100]!r}{close}")
    elif not (taps := [p for p in taps if called[p].name == name]):
        raise graph.by_name[name].error(
            f"its output does not lie over the image; expected a layer among {listed}"
        )

    def worth(position: int) -> tuple[int, bool, int]:
        passed = all(i >= position for call in graph.calls[position + 1 :] for i in call.inputs)
        return min(*_space(graph, position), _DETAIL), passed, position

    best = max(taps, key=worth)
    return best, grids[best]


def _space(graph: Graph, position: int) -> tuple[int, int]:
    """Return the (h, w) of a call's output."""
    shape: Any = graph.shapes[position]
    return shape[1:] if graph.data_format == "channels_first" else shape[:2]


def _grids(graph: Graph) -> dict[int, _Grid]:
    """Return, by position, where outputs lie that have rows and columns of the image."""
    grids: dict[int, _Grid] = {0: ((0.0, 1.0), (0.0, 1.0))}
    for position, call in enumerate(graph.calls[1:], start=1):
        sources = [i for i in call.inputs if i in grids]
        if not sources:
            continue
        windows = _windows(graph.by_name[call.layer], _space(graph, sources[0]))
        if windows:
            y, x = (
                (first + step * ((window - 1) / 2 - before), step * stride)
                for (first, step), (window, stride, before) in zip(grids[sources[0]], windows)
            )
            grids[position] = y, x
        elif graph.by_name[call.layer].kind != "Permute" and len(graph.shapes[position]) == 3:
            # Other layers keep rows and columns or lose them; what a layer merges may be of 1x1.
            alike = [i for i in sources if _space(graph, i) == _space(graph, position)]
            grids.update((position, grids[i]) for i in alike[:1])
    return grids


def _windows(layer: Any, space: tuple[int, int]) -> list[tuple[float, float, float]]:
    """Return (window, stride, padding in front) for rows and columns; none for other layers."""
    if isinstance(layer, layers.UpSampling2D):
        return [(1 / times, 1 / times, 0) for times in layer.size]
    if isinstance(layer, layers.Resizing | layers.CenterCrop):
        added = layer.padding(*space) if isinstance(layer, layers.Resizing) else (0, 0)
        y, x, *sizes = layer.window(*(s + 2 * a for s, a in zip(space, added)))
        steps = (s / new for s, new in zip(sizes, (layer.height, layer.width)))
        return [(s, s, a - start) for s, a, start in zip(steps, added, (y, x))]
    if isinstance(layer, layers.ZeroPadding2D):
        return [(1, 1, before) for before, _ in layer.padding]
    if isinstance(layer, layers.Cropping2D):
        return [(1, 1, -before) for before, _ in layer.cropping]
    if not hasattr(layer, "strides"):
        return []
    sizes = layer.kernel_size if hasattr(layer, "kernel_size") else layer.pool_size
    reaches = [(k - 1) * d + 1 for k, d in zip(sizes, getattr(layer, "dilation_rate", (1, 1)))]
    same = layer.padding == "same"
    return [
        (reach, stride, max((-(-size // stride) - 1) * stride + reach - size, 0) // 2 * same)
        for reach, stride, size in zip(reaches, layer.strides, space)
    ]
