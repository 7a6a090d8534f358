"""The Flax module over a graph of layer descriptions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax.core import Scope

from ferjax.errors import LayerError
from ferjax.nets.forward import Hook, check_images, fitting, forward
from ferjax.nets.graph import Graph
from ferjax.nets.layers import Layer, Shape, Weight
from ferjax.nets.summary import summary


class Network(nn.Module):
    """A network: `Network(graph)`, with parameters named by the Keras layer names.

    A Linen module without hidden state: `variables = network.init(key)` draws
    {"params": {layer: {weight: array}}, "batch_stats": {...}}, and
    `network.apply(variables, images)` returns what the Keras model returns. While training:
    `network.apply(variables, images, train=True, logits=True, rngs={"dropout": key},
    mutable=["batch_stats"])`.

    >>> from ferjax.nets import fer_cnn5
    >>> network = fer_cnn5()
    >>> network.input_shape, network.num_params
    ((48, 48, 1), 2631815)

    Attributes:
        graph: the layers and their connections.
    """

    graph: Graph

    @nn.nowrap
    def init(self, rngs: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Draw the variables from a key.

        Args:
            rngs: a `jax.random.key`.
            args: images, needed only where the input size is open.

        Returns:
            {"params", "batch_stats"}, float32 (int32 for counts).
        """
        if not args:
            if None in self.input_shape:
                raise LayerError(f"input of open size {self.input_shape}: pass init(key, images)")
            args = (np.zeros((1, *(size or 1 for size in self.input_shape)), np.float32),)
        # The graph knows the weights' shapes: no layer needs to compute for them.
        variables: Any = super().init(rngs, *args, **(kwargs or {"method": Network._draw}))
        return {"params": {}, "batch_stats": {}, **variables}

    def _draw(self, images: jax.Array) -> None:
        """Draw every layer's weights, as `__call__` does, and compute nothing."""
        check_images(self.graph, images)
        for layer in dict.fromkeys(call.layer for call in self.graph.calls[1:]):
            self._run(layer, train=False)

    def __call__(
        self,
        images: jax.Array,
        *,
        train: bool = False,
        logits: bool = False,
        compute_dtype: str = "float32",
        hook: Hook | None = None,
    ) -> jax.Array:
        """Return probabilities, or whatever else the network's last layer gives.

        Args:
            images: (B, *input_shape), in `graph.value_range`; float32, or what is cast to it, as
                Keras does; so are weights of other precision, under jax_enable_x64 too.
            train: batch statistics from the batch, and active dropout and augmentation layers,
                which draw from the rng "dropout".
            logits: leave the softmax at the end out, or the sigmoid of a single unit.
            compute_dtype: "bfloat16" for convolutions, dense layers and what lies between them;
                weights and normalization stay float32, as does all from the last weights on.
            hook: takes the position in `graph.calls` and the output of every call but the input,
                and returns what the network goes on with; so one sees what is inside and
                differentiates with respect to it.

        Returns:
            float32 (B, K).
        """
        return forward(
            self.graph,
            images,
            lambda layer: self._run(layer, train),
            logits=logits,
            compute_dtype=compute_dtype,
            hook=hook,
        )

    @nn.nowrap
    def _run(self, layer: str, train: bool) -> _Run:
        assert self.scope is not None
        # A module around this one may call it several times.
        scope = self.scope.push(layer, reuse=True)
        return _Run(scope, self.graph.weights.get(layer, ()), train)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layer descriptions, in the order of the Keras model."""
        return self.graph.layers

    @property
    def input_shape(self) -> Shape:
        """The input's shape without the batch axis."""
        return self.graph.input_shape

    @property
    def output_shape(self) -> Shape:
        """The output's shape without the batch axis."""
        return self.graph.output_shape

    @property
    def num_params(self) -> int:
        """The number of all values in all weights, batch statistics included."""
        return self.graph.num_params

    @nn.nowrap
    def summary(self, print_fn: Callable[[str], None] = print) -> None:
        """Print the table that Keras 2's `summary()` prints."""
        print_fn(summary(self.graph))


class _Run:
    """One layer's part in one forward pass: its arrays, its randomness, its updates."""

    direct = False

    def __init__(self, scope: Scope, weights: tuple[Weight, ...], train: bool) -> None:
        self.train = train
        self._scope = scope
        self.weights: dict[str, jax.Array] = {}
        for weight in weights:
            if weight.collection == "params":
                value = scope.param(weight.name, weight.initializer, weight.shape, weight.dtype)
            else:
                variable = scope.variable(
                    weight.collection,
                    weight.name,
                    # A key of its own is not worth asking for: statistics start as constants.
                    lambda w=weight: w.initializer(jax.random.key(0), w.shape, w.dtype),
                )
                value = variable.value
            self.weights[weight.name] = fitting(str(scope.name), weight, value)

    def key(self) -> jax.Array:
        return self._scope.make_rng("dropout")

    def update(self, name: str, value: jax.Array) -> None:
        if self._scope.is_mutable_collection("batch_stats"):
            self._scope.put_variable("batch_stats", name, value)
            self.weights[name] = value  # where the layer is called again
