"""One training step and one evaluation step: pure functions, for jit.

Dimension keys: B batch, H height, W width, C channels, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ferjax.data.augment import augment, unit_range
from ferjax.nets.head import Head
from ferjax.nets.network import Network
from ferjax.train import losses
from ferjax.train.recipes import Recipe
from ferjax.train.state import Totals, TrainState

Array = jax.Array
TrainStep = Callable[[TrainState, Array, Array], TrainState]
EvalStep = Callable[[Any, Array, Array, Array], Totals]


def train_step(
    recipe: Recipe,
    network: Network,
    tx: optax.GradientTransformation,
    schedule: optax.Schedule,
    key: Array,
    class_weights: Any = None,
    logit_offsets: Any = None,
) -> TrainStep:
    """Return the function (state, images, labels) -> state.

    Its randomness is that of (`key`, `state.step`) alone. Images are uint8 in [0, 255], (B, H, W),
    labels int32 (B,) or soft, float32 (B, K). `logit_offsets`, (K,), are added to the logits in the
    loss alone. A step whose loss or gradient is not finite is recorded in `bad_step`.
    """
    graph = network.graph
    head = Head.of(graph)
    penalised = losses.has_penalty(graph)
    weights = None if class_weights is None else jnp.asarray(class_weights, "float32")
    offsets = None if logit_offsets is None else jnp.asarray(logit_offsets, "float32")

    def step(state: TrainState, images: Array, labels: Array) -> TrainState:
        augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
        targets = labels  # (B, K)
        if labels.ndim == 1:
            targets = jax.nn.one_hot(labels, head.num_classes, dtype="float32")
        x, targets = augment(augment_key, images, targets, recipe.augmentation)
        x = to_input(network, x)

        def loss_of(params: Any) -> tuple[Array, tuple[Array, Array, Any]]:
            variables = {"params": {**params, **state.frozen}, "batch_stats": state.batch_stats}
            units, updated = network.apply(
                variables,
                x,
                train=True,
                logits=True,
                compute_dtype=recipe.compute_dtype,
                rngs={"dropout": dropout_key},
                mutable=["batch_stats"],
            )
            logits = head.logits(units)  # (B, K)
            adjusted = logits if offsets is None else logits + offsets[None]
            by_image = losses.cross_entropy(adjusted, targets, weights, recipe.label_smoothing)
            loss = by_image.mean()
            if penalised:
                loss += losses.penalty(graph, variables["params"])
            return loss, (loss, logits, updated.get("batch_stats", {}))

        gradient_of = jax.grad(loss_of, has_aux=True)
        gradient, (loss, logits, batch_stats) = gradient_of(state.params)
        if recipe.sam_rho:
            # What is logged and batch norm's statistics are those of the weights themselves.
            gradient, _ = gradient_of(_uphill(state.params, gradient, recipe.sam_rho))
        with jax.numpy_dtype_promotion("standard"):  # optax relies on it
            updates, opt_state = tx.update(gradient, state.opt_state, state.params)
            rate = schedule(state.step) * state.rate_factor
        params = jax.tree.map(lambda p, u: p - rate * u, state.params, updates)
        norms = optax.tree.norm(gradient), optax.tree.norm(params)
        finite = jnp.isfinite(loss) & jnp.isfinite(norms[0]) & jnp.isfinite(norms[1])
        totals = Totals(
            state.totals.loss + loss * len(labels),
            state.totals.correct + _hits(head, logits, targets.argmax(-1)).sum(),
            state.totals.count + len(labels),
        )
        ema = state.ema
        if ema:
            variables = {"params": params, "batch_stats": batch_stats}
            ema = _averaged(ema, variables, state.step, recipe.ema_decay)
        return dataclasses.replace(
            state,
            step=state.step + 1,
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
            ema=ema,
            totals=totals,
            bad_step=jnp.where((state.bad_step < 0) & ~finite, state.step, state.bad_step),
        )

    return step


def _averaged(ema: Any, variables: Any, step: Array, most: float) -> Any:
    """Return the moving averages after a step, their memory at most `most`.

    It is short at first (as TensorFlow's num_updates): the start is soon forgotten.
    """
    done = (step + 1).astype("float32")
    decay = jnp.minimum(most, done / (done + 10))

    def averaged(old: Array, new: Array) -> Array:
        is_count = not jnp.issubdtype(new.dtype, jnp.floating)
        return new if is_count else decay * old + (1 - decay) * new

    return jax.tree.map(averaged, ema, variables)


def eval_step(network: Network) -> EvalStep:
    """Return the function (variables, images, labels, mask) -> Totals of the images in the mask.

    In float32, whatever the training computes in, as `predict` does. The loss is the plain
    cross-entropy, in nats, with neither weights nor smoothing.
    """
    head = Head.of(network.graph)

    def step(variables: Any, images: Array, labels: Array, mask: Array) -> Totals:
        # GPUs would otherwise multiply in TF32.
        with jax.default_matmul_precision("highest"):
            units: Any = network.apply(
                variables, to_input(network, unit_range(images)), logits=True
            )
        logits = head.logits(units)
        by_image = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return Totals(
            jnp.where(mask, by_image, 0.0).sum(),
            jnp.where(mask, _hits(head, logits, labels), 0).sum(),
            mask.astype("int32").sum(),
        )

    return step


def to_input(network: Network, images: Array) -> Array:
    """Return gray images in [0, 1], (B, H, W), as the network takes them.

    (B, H, W, C) or (B, C, H, W), in its range of values; gray is repeated over three channels.
    """
    graph = network.graph
    low, high = graph.value_range
    x = images if (low, high) == (0.0, 1.0) else low + (high - low) * images
    axis = 1 if graph.data_format == "channels_first" else -1
    return jnp.repeat(jnp.expand_dims(x, axis), graph.image_shape[2] or 1, axis=axis)


def _uphill(params: Any, gradient: Any, distance: float) -> Any:
    """Return weights at a distance, in the direction in which the loss grows fastest.

    Equation 2 of Foret et al., arXiv 2010.01412, for p = 2.
    """
    scale = distance / (optax.tree.norm(gradient) + 1e-12)
    return jax.tree.map(lambda p, g: p + scale * g, params, gradient)


def _hits(head: Head, logits: Array, labels: Array) -> Array:
    return jnp.asarray(head.predicted(logits) == labels, "int32")
