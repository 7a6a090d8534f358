"""The training loss: softmax cross-entropy and the penalties that layers carry.

Of a single sigmoid unit, whose logits `Head.logits` makes, it is the binary cross-entropy.

Dimension keys: B batch, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ferjax.nets.graph import Graph
from ferjax.nets.layers import Layer

Array = jax.Array


def cross_entropy(
    logits: Array, labels: Array, class_weights: Array | None = None, smoothing: float = 0.0
) -> Array:
    """Return each image's softmax cross-entropy, float32 (B,).

    Args:
        logits: float32 (B, K).
        labels: one-hot or soft, float32 (B, K).
        class_weights: float32 (K,), times each image's loss by its label, as Keras's class_weight.
        smoothing: what part of a label is spread evenly over all classes.
    """
    targets = optax.smooth_labels(labels, smoothing) if smoothing else labels
    losses = optax.softmax_cross_entropy(logits, targets)
    return losses if class_weights is None else losses * (labels @ class_weights)


def penalty(graph: Graph, params: Mapping[str, Any]) -> Array:
    """Return the sum of the penalties that layers put on their weights (Keras's regularizers).

    Those of layers that are not trainable do not count, as in Keras.
    """
    total = jnp.zeros((), "float32")
    for layer, weight in graph.trainable_weights():
        # depthwise_kernel has depthwise_regularizer; kernel has kernel_regularizer.
        stems = [name for k in weight.keras_names for name in (k, k.removesuffix("_kernel"))]
        owner = graph.by_name[layer]
        for part in weight.part.split("/"):  # a learned activation has its own
            owner = getattr(owner, part, owner)
        regularizers = [getattr(owner, f"{s}_regularizer", None) for s in stems]
        for regularizer in dict.fromkeys(r for r in regularizers if r is not None):
            value = params[layer][weight.name]
            if regularizer.l1:
                total += regularizer.l1 * jnp.abs(value).sum()
            if regularizer.l2:
                total += regularizer.l2 * jnp.square(value).sum()
    return total


def has_penalty(graph: Graph) -> bool:
    """Whether any layer puts a penalty on a weight."""
    return any(_has_penalty(layer) for layer in graph.layers)


def _has_penalty(layer: Layer) -> bool:
    settings = [(f.name, getattr(layer, f.name)) for f in dataclasses.fields(layer)]
    return any(
        _has_penalty(value) if isinstance(value, Layer) else name.endswith("_regularizer") and value
        for name, value in settings
    )
