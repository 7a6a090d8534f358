"""The Flax module over a graph of layer descriptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.core import Scope

from ferjax.errors import LayerError
from ferjax.nets.graph import Graph
from ferjax.nets.head import has_logits, without_activation
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
        self._check(images)
        for layer in dict.fromkeys(call.layer for call in self.graph.calls[1:]):
            self._run(layer, train=False)

    def __call__(
        self,
        images: jax.Array,
        *,
        train: bool = False,
        logits: bool = False,
        compute_dtype: str = "float32",
        hook: Callable[[int, jax.Array], jax.Array] | None = None,
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
        replaced = _replaced_for_logits(self.graph) if logits else {}
        images = jnp.asarray(images, jnp.float32)
        self._check(images)
        last_weights = max(
            (i for i, call in enumerate(self.graph.calls) if call.layer in self.graph.weights),
            default=0,
        )
        runs: dict[str, _Run] = {}
        results: list[jax.Array] = [images]
        for position, call in enumerate(self.graph.calls[1:], start=1):
            layer = replaced.get(position) or self.graph.by_name[call.layer]
            if call.layer not in runs:
                runs[call.layer] = self._run(call.layer, train)
            run = runs[call.layer]
            inputs = [results[i] for i in call.inputs]
            weights = run.weights
            if compute_dtype != "float32":
                full = layer.full_precision or position >= min(last_weights, self.graph.final_call)
                inputs, weights = _cast((inputs, weights), "float32" if full else compute_dtype)
            output = layer.forward(run, weights, *inputs)
            results.append(output if hook is None else hook(position, output))
        return results[-1]

    @nn.nowrap
    def _run(self, layer: str, train: bool) -> _Run:
        assert self.scope is not None
        # A module around this one may call it several times.
        scope = self.scope.push(layer, reuse=True)
        return _Run(scope, self.graph.weights.get(layer, ()), train)

    @nn.nowrap
    def _check(self, images: jax.Array) -> None:
        if not self.graph.takes(images.shape[1:]):
            raise LayerError(
                f"expected images of shape (B, {', '.join(map(str, self.input_shape))}), "
                f"got {tuple(images.shape)}"
            )
        if all(isinstance(size, int) for size in images.shape[1:]):  # `jax.export` has symbols
            self.graph.check_input(images.shape[1:])

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
                if variable.value.shape != weight.shape:  # Flax itself looks at parameters alone
                    raise LayerError(
                        f"layer {scope.name!r}: expected {weight.name} of shape {weight.shape}, "
                        f"got {variable.value.shape}"
                    )
                value = variable.value
            # Of another precision, such as float64 under jax_enable_x64, it would mix with images.
            self.weights[weight.name] = jnp.asarray(value, weight.dtype)
        self.weights |= scope.get_variable("prepared", "weights", {})  # see `with_prepared`

    def key(self) -> jax.Array:
        return self._scope.make_rng("dropout")

    def update(self, name: str, value: jax.Array) -> None:
        if self._scope.is_mutable_collection("batch_stats"):
            self._scope.put_variable("batch_stats", name, value)
            self.weights[name] = value  # where the layer is called again


def with_prepared(graph: Graph, variables: Mapping[str, Any], batch_size: int) -> dict[str, Any]:
    """Return variables for inference alone, with what layers would make of them in each call.

    Args:
        variables: {"params", "batch_stats"}, for which `Network` has to compute the same.
        batch_size: of the largest batch.

    Returns:
        Beside them a collection "prepared", as `Layer.prepared` makes it.
    """
    params = variables.get("params", {})
    prepared: dict[str, Any] = {}
    for call in graph.calls[1:]:
        layer, described = graph.by_name[call.layer], graph.weights.get(call.layer, ())
        shape, weights = graph.shapes[call.inputs[0]], params.get(call.layer, {})
        known = None not in shape and all(
            np.shape(weights.get(w.name)) == w.shape for w in described if w.collection == "params"
        )
        if known and call.layer not in prepared:
            sizes = (batch_size, *(size or 0 for size in shape))
            made = layer.prepared(weights, sizes)
            if made:
                prepared[call.layer] = {"weights": made}
    return {**variables, "prepared": prepared}


def _cast(tree: Any, dtype: str) -> Any:
    return jax.tree.map(
        lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
    )


def _replaced_for_logits(graph: Graph) -> dict[int, Layer]:
    """Return, by its position, the call's layer without whose activation logits are the output."""
    position = graph.final_call
    layer = graph.by_name[graph.calls[position].layer]
    if graph.final_activation == "linear":
        return {}
    if not has_logits(graph):
        raise layer.error(f"it ends in {graph.final_activation!r}, so there are no logits")
    return {position: without_activation(layer)}
