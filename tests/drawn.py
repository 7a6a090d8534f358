"""Weights of a network drawn by NumPy: where a test needs any, nothing is compiled for them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ferjax.nets import Network
from ferjax.nets.layers import Weight


def drawn(network: Network, seed: int = 0) -> dict[str, Any]:
    """Return {"params", "batch_stats"} as `Network.init` does, of other numbers.

    Zeros and ones where the network begins with these, and glorot_uniform's range elsewhere.
    """
    generator = np.random.default_rng(seed)
    variables: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for layer, weights in network.graph.weights.items():
        for weight in weights:
            group = variables[weight.collection].setdefault(layer, {})
            group[weight.name] = _value(weight, generator)
    return variables


def _value(weight: Weight, generator: np.random.Generator) -> np.ndarray:
    if weight.initializer.name in ("zeros", "ones"):
        constant = float(weight.initializer.name == "ones")
        return np.full(weight.shape, constant, weight.dtype)
    *window, last = (1, *weight.shape)
    fans = math.prod(window) + math.prod(window[:-1]) * last
    limit = math.sqrt(6 / fans)
    return generator.uniform(-limit, limit, weight.shape).astype(weight.dtype)
