"""The forward pass over a graph of layer descriptions: of the Flax module, and without Flax."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ferjax.errors import LayerError
from ferjax.nets.graph import Graph
from ferjax.nets.head import has_logits, without_activation
from ferjax.nets.layers import Conv2D, Layer, Weight
from ferjax.nets.layers.base import Run
from ferjax.nets.packing import in_one_piece
from ferjax.nets.pooled import pooled_by_tile
from ferjax.nets.trimming import Trimmed, trimmed_calls
from ferjax.nets.winograd import Tiles

Hook = Callable[[int, jax.Array], jax.Array]


class WeightedRun(Run, Protocol):
    """One layer's part in one forward pass, with its arrays by name."""

    weights: dict[str, jax.Array]


def forward(
    graph: Graph,
    images: Any,
    run_of: Callable[[str], WeightedRun],
    *,
    logits: bool = False,
    compute_dtype: str = "float32",
    hook: Hook | None = None,
    trimmed: Mapping[int, Trimmed] = MappingProxyType({}),
    tiled: Collection[int] = (),
) -> jax.Array:
    """Do what `Network.__call__` says.

    Args:
        run_of: returns a layer's part in this pass, by the layer's name; it is called once for each
            layer.
        trimmed: what `trimmed_calls` returns, where statistics are not those of the batch.
        tiled: what `pooled_by_tile` returns; a hook sees no tiles.
    """
    replaced = _replaced_for_logits(graph) if logits else {}
    images = jnp.asarray(images, jnp.float32)
    check_images(graph, images)
    last_weights = max(
        (i for i, call in enumerate(graph.calls) if call.layer in graph.weights),
        default=0,
    )
    runs: dict[str, WeightedRun] = {}
    results: list[Any] = [images]  # arrays, and `Tiles`
    for position, call in enumerate(graph.calls[1:], start=1):
        layer = replaced.get(position) or graph.by_name[call.layer]
        if call.layer not in runs:
            runs[call.layer] = run_of(call.layer)
        run = runs[call.layer]
        inputs = [results[i] for i in call.inputs]
        if position in trimmed:
            layer, inputs = trimmed[position].layer, [trimmed[position].input(inputs[0])]
        weights = run.weights
        if compute_dtype != "float32":
            full = layer.full_precision or position >= min(last_weights, graph.final_call)
            inputs, weights = _cast((inputs, weights), "float32" if full else compute_dtype)
        output = _output(layer, run, weights, inputs, in_tiles=hook is None and position in tiled)
        results.append(output if hook is None else hook(position, output))
    return results[-1]


def _output(
    layer: Layer,
    run: Run,
    weights: Mapping[str, jax.Array],
    inputs: Sequence[Any],
    *,
    in_tiles: bool,
) -> Any:
    """Return a layer's output, an array or `Tiles`.

    Args:
        in_tiles: whether it may be the latter.
    """
    if isinstance(inputs[0], Tiles):
        return layer.forward_tiles(run, weights, inputs[0])
    if in_tiles and isinstance(layer, Conv2D):
        tiles = layer.in_tiles(run, weights, inputs[0])
        if tiles is not None:
            return tiles
    return layer.forward(run, weights, *inputs)


def inference(
    graph: Graph, variables: Mapping[str, Any], images: Any, *, direct: bool = False
) -> jax.Array:
    """Return what `Network(graph).apply(variables, images)` does, without importing Flax.

    That draws the shape of each parameter anew, for which tracing takes twice as long.

    Args:
        variables: {"params", "batch_stats"}, and what `with_prepared` adds to them.
        direct: whether convolutions are left to XLA, see `Run`.

    Raises:
        LayerError: the images are of another shape, or a weight is, or is missing.
    """
    return forward(
        graph,
        images,
        lambda layer: _Inference(graph, layer, variables, direct),
        trimmed=trimmed_calls(graph),
        tiled=() if direct else pooled_by_tile(graph),
    )


class _Inference:
    """One layer's part in a forward pass that neither draws nor updates anything."""

    train = False

    def __init__(
        self, graph: Graph, layer: str, variables: Mapping[str, Any], direct: bool
    ) -> None:
        self.direct = direct
        self.weights: dict[str, jax.Array] = {}
        for weight in graph.weights.get(layer, ()):
            arrays = variables.get(weight.collection, {}).get(layer, {})
            if weight.name not in arrays:
                raise LayerError(
                    f"layer {layer!r}: expected {weight.name} of shape {weight.shape}, got none"
                )
            self.weights[weight.name] = fitting(layer, weight, arrays[weight.name])
        self.weights |= variables.get("prepared", {}).get(layer, {}).get("weights", {})

    def key(self) -> jax.Array:
        raise LayerError("expected layers that draw nothing at inference")

    def update(self, name: str, value: jax.Array) -> None:
        raise LayerError(f"expected layers that update nothing at inference, got {name}")


def fitting(layer: str, weight: Weight, value: Any) -> jax.Array:
    """Return a weight's array in its dtype.

    Of another precision, such as float64 under jax_enable_x64, it would mix with images.

    Raises:
        LayerError: it is of another shape.
    """
    if np.shape(value) != weight.shape:
        raise LayerError(
            f"layer {layer!r}: expected {weight.name} of shape {weight.shape}, "
            f"got {np.shape(value)}"
        )
    if isinstance(value, jax.Array) and value.dtype == weight.dtype:
        return value
    return jnp.asarray(value, weight.dtype)


def check_images(graph: Graph, images: jax.Array) -> None:
    """Raise a LayerError where a network cannot take images of such a shape, (B, ...)."""
    if not graph.takes(images.shape[1:]):
        raise LayerError(
            f"expected images of shape (B, {', '.join(map(str, graph.input_shape))}), "
            f"got {tuple(images.shape)}"
        )
    if all(isinstance(size, int) for size in images.shape[1:]):  # `jax.export` has symbols
        graph.check_input(images.shape[1:])


def with_prepared(
    graph: Graph, variables: Mapping[str, Any], batch_size: int, *, direct: bool = False
) -> dict[str, Any]:
    """Return variables for inference alone, with what layers would make of them in each call.

    Args:
        variables: {"params", "batch_stats"}, for which `inference` has to compute the same.
        batch_size: of the largest batch.
        direct: as for `inference`; kernels of convolutions are then taken as they are.

    Returns:
        Beside them a collection "prepared", as `Layer.prepared` makes it, on the default device.
    """
    prepared: dict[str, Any] = {}
    trimmed = trimmed_calls(graph)
    for position, call in enumerate(graph.calls[1:], start=1):
        layer, described = graph.by_name[call.layer], graph.weights.get(call.layer, ())
        shape = graph.shapes[call.inputs[0]]
        if position in trimmed:
            layer, shape = trimmed[position].layer, trimmed[position].input_shape
        weights = {
            w.name: variables.get(w.collection, {}).get(call.layer, {}).get(w.name)
            for w in described
        }
        known = None not in shape and all(
            weights[w.name] is not None and np.shape(weights[w.name]) == w.shape for w in described
        )
        if known and call.layer not in prepared and not (direct and isinstance(layer, Conv2D)):
            sizes = (batch_size, *(size or 0 for size in shape))
            made = layer.prepared(weights, sizes)
            if made:
                prepared[call.layer] = {"weights": made}
    return {**variables, "prepared": in_one_piece(prepared)}


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
