"""The network that all peers run: weights in every form, arithmetic, and a NumPy reference.

`prepare` writes into a folder model.h5, model.keras, arrays.npz ("layer/weight": array),
layers.json (the layers in order), and images.npy with what reference.npy says of them.
Dimension keys: B batch, H height, W width, C channels, F filters, K classes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ferjax.nets.graph import Graph
    from ferjax.nets.network import Network

SIZE, CLASSES = 48, 7
CHECKED_IMAGES = 8
TRAINING_IMAGES = 4096  # what batches are drawn from
_SETTINGS = ("padding", "activation", "pool_size", "rate", "momentum", "epsilon")

Images = npt.NDArray[np.uint8]
Arrays = dict[str, npt.NDArray[Any]]
Layers = Sequence[Mapping[str, Any]]


def faces(count: int, seed: int) -> Images:
    """Draw images, uint8 (B, 48, 48): patches of random gray under a little noise."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 224, (count, 6, 6), np.uint8)
    noise = rng.integers(0, 32, (count, SIZE, SIZE), np.uint8)
    return patches.repeat(8, axis=1).repeat(8, axis=2) + noise


def labels(count: int, seed: int) -> npt.NDArray[np.int32]:
    """Draw a class for each image, int32 (B,)."""
    return np.random.default_rng(seed).integers(0, CLASSES, count, np.int32)


def normalized(images: Images) -> npt.NDArray[np.float32]:
    """Return uint8 images, (48, 48) or (B, 48, 48), as float32 in [0, 1], (B, 48, 48, 1)."""
    return images.reshape(-1, SIZE, SIZE, 1).astype(np.float32) / np.float32(255)


def multiply_adds(graph: Graph) -> int:
    """Return the multiply-adds of convolutions and dense layers for one image.

    Batch norm, activations and pooling, some percent of it all, are left out. Direct convolution is
    counted, whatever computes.
    """
    total = 0
    for call, shape in zip(graph.calls, graph.shapes):
        for weight in graph.weights.get(call.layer, ()):
            if len(weight.shape) > 1:  # a kernel, applied at each position of the output
                total += math.prod(weight.shape) * math.prod(size or 1 for size in shape[:-1])
    return total


def prepare(folder: Path, seed: int, network: Network | None = None) -> dict[str, Any]:
    """Draw the weights and write them in every form; return what is known of the network.

    Args:
        network: in place of `fer_cnn8`, of its kinds of layers, input and output.
    """
    import jax

    import ferjax

    network = network or ferjax.nets.fer_cnn8()
    graph = network.graph
    # This generator compiles in a third of the default one's time.
    drawn = jax.jit(network.init)(jax.random.key(seed, impl="rbg"))
    layers = [
        {"kind": layer.kind, "name": layer.name}
        | {name: getattr(layer, name) for name in _SETTINGS if hasattr(layer, name)}
        for layer in graph.layers
    ]
    arrays = {
        f"{layer}/{weight}": np.asarray(array)
        for collection in drawn.values()
        for layer, group in collection.items()
        for weight, array in group.items()
    }
    settle(layers, arrays, seed)
    variables: dict[str, Any] = {
        collection: {
            layer: {weight: arrays[f"{layer}/{weight}"] for weight in group}
            for layer, group in groups.items()
        }
        for collection, groups in drawn.items()
    }
    for name in ("model.h5", "model.keras"):
        ferjax.keras.save(folder / name, network, variables, labels=ferjax.EMOTIONS)
    np.savez(folder / "arrays.npz", allow_pickle=False, **arrays)
    (folder / "layers.json").write_text(json.dumps(layers), encoding="utf-8")
    images = faces(CHECKED_IMAGES, seed + 1)
    np.save(folder / "images.npy", images)
    np.save(folder / "reference.npy", reference(layers, arrays, images))
    device = jax.devices()[0]
    return {
        "network": {
            "name": graph.name,
            "parameters": graph.num_params,
            "multiply_adds": multiply_adds(graph),
        },
        "device": {"platform": device.platform, "kind": device.device_kind},
    }


def read(folder: Path) -> tuple[list[dict[str, Any]], Arrays]:
    """Return the layers and their arrays, by "layer/weight", as `prepare` wrote them."""
    layers = json.loads((folder / "layers.json").read_text(encoding="utf-8"))
    with np.load(folder / "arrays.npz", allow_pickle=False) as arrays:
        return layers, dict(arrays)


def rows_by_channel(kernel: npt.NDArray[Any], channels: int) -> npt.NDArray[Any]:
    """Return a kernel (H * W * C, units) that follows a Flatten as (C * H * W, units).

    For peers that flatten (B, C, H, W).
    """
    split = kernel.reshape(-1, channels, kernel.shape[1])
    return split.transpose(1, 0, 2).reshape(kernel.shape)


def settle(layers: Layers, arrays: Arrays, seed: int) -> None:
    """Make biases and batch norm as after training rather than 0 and 1, in place.

    Means and variances are those of images; so no layer's output dies out or explodes.
    """
    rng = np.random.default_rng(seed)
    for name, array in arrays.items():
        if name.endswith("/bias"):
            arrays[name] = rng.normal(0, 0.1, array.shape).astype(np.float32)
        elif name.endswith("/scale"):
            arrays[name] = rng.uniform(0.8, 1.2, array.shape).astype(np.float32)
    _forward(layers, arrays, faces(8, seed), np.float32, settles=True)


def reference(layers: Layers, arrays: Arrays, images: Images) -> npt.NDArray[np.float64]:
    """Return the probabilities (B, K) of images (B, 48, 48), by NumPy in float64."""
    return _forward(layers, arrays, images, np.float64, settles=False)


def _forward(
    layers: Layers, arrays: Arrays, images: Images, dtype: Any, *, settles: bool
) -> npt.NDArray[Any]:
    x: npt.NDArray[Any] = images.reshape(-1, SIZE, SIZE, 1).astype(dtype) / dtype(255)
    for layer in layers:
        kind, name = layer["kind"], layer["name"]
        if kind == "Conv2D":
            x = _convolution(x, arrays[f"{name}/kernel"], layer["padding"])
            x += arrays[f"{name}/bias"]
        elif kind == "Dense":
            x = x @ arrays[f"{name}/kernel"].astype(dtype) + arrays[f"{name}/bias"]
        elif kind == "BatchNormalization":
            if settles:
                axes = tuple(range(x.ndim - 1))
                arrays[f"{name}/mean"] = x.mean(axes).astype(np.float32)
                # Few images may agree on a feature, and it must not be blown up for others.
                arrays[f"{name}/var"] = (x.var(axes) + 0.05).astype(np.float32)
            deviation = np.sqrt(arrays[f"{name}/var"].astype(dtype) + dtype(layer["epsilon"]))
            x = (x - arrays[f"{name}/mean"]) / deviation
            x = x * arrays[f"{name}/scale"] + arrays[f"{name}/bias"]
        elif kind == "MaxPooling2D":
            h, w = layer["pool_size"]
            x = x[:, : x.shape[1] // h * h, : x.shape[2] // w * w]
            x = x.reshape(len(x), x.shape[1] // h, h, x.shape[2] // w, w, -1).max((2, 4))
        elif kind == "Flatten":
            x = x.reshape(len(x), -1)
        elif kind not in ("InputLayer", "Dropout"):
            raise ValueError(f"no reference for a layer of kind {kind!r}")
        activation = layer.get("activation", "linear")
        if activation == "relu":
            x = np.maximum(x, 0)
        elif activation == "softmax":
            x = np.exp(x - x.max(-1, keepdims=True))
            x /= x.sum(-1, keepdims=True)
    return x


def _convolution(x: npt.NDArray[Any], kernel: npt.NDArray[Any], padding: str) -> npt.NDArray[Any]:
    kh, kw, channels, filters = kernel.shape
    if padding == "same":  # odd kernels: as much on either side
        x = np.pad(x, ((0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(1, 2))  # (B, H, W, C, ..)
    columns = windows.transpose(0, 1, 2, 4, 5, 3).reshape(*windows.shape[:3], kh * kw * channels)
    y: npt.NDArray[Any] = columns @ kernel.reshape(-1, filters).astype(x.dtype)
    return y
