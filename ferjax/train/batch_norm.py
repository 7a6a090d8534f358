"""Batch norm's statistics for inference, taken anew from clean training images.

Dropout and augmentation change the variances that batch norm sees, so the running averages of
training do not fit what a network meets at inference (Li et al., arXiv 1801.05134). Statistics of
training images as they are, without dropout, do ("precise BN": Wu and Johnson, arXiv 2105.07576).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ferjax.data.augment import unit_range
from ferjax.data.dataset import Faces
from ferjax.data.device_pipeline import DevicePipeline, to_device
from ferjax.data.order import EvaluationBatches
from ferjax.nets import layers
from ferjax.nets.graph import Graph
from ferjax.nets.layers import BatchNormalization, Layer
from ferjax.nets.network import Network
from ferjax.train.devices import Devices
from ferjax.train.recipes import Recipe
from ferjax.train.state import TrainState
from ferjax.train.step import to_input
from ferjax.xla import compiler_options

_BATCH = 256


class CleanStatistics:
    """Training images on the devices, and the jitted pass that takes their statistics."""

    def __init__(self, network: Network, faces: Faces, devices: Devices, images: int) -> None:
        """Choose `images` of the training images.

        Rounded up to whole batches, and spread evenly, over the classes too.
        """
        images = min(images, len(faces))
        size = min(_BATCH, images)
        size = -(-size // devices.count) * devices.count
        count = -(-images // size)
        # Each batch spans the whole array, which may be sorted by class.
        rows = np.linspace(0, len(faces) - 1, count * size).round().astype(int)
        rows = rows.reshape(size, count).T.reshape(-1)
        self._batches = EvaluationBatches(size=len(rows), batch_size=size, **devices.shard)
        self._devices = devices
        pipeline = DevicePipeline(
            faces.images[rows], faces.labels[rows], self._batches, sharding=devices.batch
        )
        self._data = pipeline.data
        clean = Network(_without_noise(network.graph))
        self._renewed = [
            layer.name
            for layer in clean.graph.layers
            if isinstance(layer, BatchNormalization) and layer.trainable
        ]

        def of_batch(variables: Any, data: Any, rows: Any) -> Any:
            x = to_input(clean, unit_range(data.gather(rows)[0]))
            _, updated = clean.apply(variables, x, train=True, logits=True, mutable=["batch_stats"])
            return {name: updated["batch_stats"][name] for name in self._renewed}

        def combine(stats: Any, parts: Any) -> Any:
            stacked = jax.tree.map(lambda *leaves: jax.numpy.stack(leaves), *parts)
            return stats | {
                name: {
                    "mean": s["mean"].mean(axis=0),
                    "var": s["var"].mean(axis=0) + s["mean"].var(axis=0),
                }
                for name, s in stacked.items()
            }

        options: dict[str, Any] = {"out_shardings": devices.replicated}
        self._of_batch = jax.jit(of_batch, compiler_options=compiler_options(), **options)
        self._combine = jax.jit(combine, **options)

    def __call__(self, variables: Any) -> Any:
        """Return the variables with new statistics.

        Args:
            variables: {"params", "batch_stats"} on the devices; they stay as they are.
        """
        if not self._renewed:
            return variables
        parts = []
        for index in range(len(self._batches)):
            rows = to_device(self._batches.at(index).rows, self._devices.batch)
            parts.append(self._of_batch(variables, self._data, rows))
        return variables | {"batch_stats": self._combine(variables["batch_stats"], parts)}


def evaluated_variables(
    recipe: Recipe, network: Network, faces: Faces, devices: Devices
) -> Callable[[TrainState], Any]:
    """Return the function from a state to the variables that are evaluated and saved.

    Averages where the recipe has them; with statistics of clean training images where it wants
    any. Arguments are those of `CleanStatistics`.
    """
    if not recipe.clean_statistics:
        return TrainState.evaluated
    statistics = CleanStatistics(network, faces, devices, recipe.clean_statistics)
    return lambda train_state: statistics(train_state.evaluated())


def _without_noise(graph: Graph) -> Graph:
    """Return the graph without dropout and the like; its statistics become those of the batch."""

    def changed(layer: Layer) -> Layer:
        if isinstance(layer, layers.TrainingOnly):
            return layers.Activation(name=layer.name, activation="linear")
        if isinstance(layer, layers.RandomCrop):
            size: dict[str, Any] = {"height": layer.height, "width": layer.width}
            size["data_format"] = layer.data_format
            return layers.Resizing(name=layer.name, crop_to_aspect_ratio=True, **size)
        settings: dict[str, Any] = {}
        if isinstance(layer, BatchNormalization):
            settings["momentum"] = 0.0
        if isinstance(layer, layers.Recurrent):
            settings |= {"dropout": 0.0, "recurrent_dropout": 0.0}
        for field in dataclasses.fields(layer):
            if isinstance(inner := getattr(layer, field.name), Layer):
                settings[field.name] = changed(inner)
        return dataclasses.replace(layer, **settings) if settings else layer

    return graph.map_layers(changed)
