"""The optimizer and the schedule of a recipe, from optax.

The learning rate is not part of the optax chain: the step multiplies by it, so that a plateau's
factor and the value in the log are the one that is used.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ferjax.train.recipes import Recipe

_DECAYED = "kernel"  # what is decayed: kernels, not biases nor batch norm


def optimizer(recipe: Recipe) -> optax.GradientTransformation:
    """Return the transformation of gradients into updates for a learning rate of -1."""
    parts = [] if recipe.clip_norm is None else [optax.clip_by_global_norm(recipe.clip_norm)]
    decay = optax.add_decayed_weights(recipe.weight_decay, mask=_is_kernel)
    adam = _adam(recipe.beta_1, recipe.beta_2, recipe.epsilon)
    if recipe.optimizer == "sgd":
        parts += [decay] * (recipe.weight_decay > 0)
        parts += [optax.trace(recipe.momentum, recipe.nesterov)] * (recipe.momentum > 0)
    else:
        parts += [adam] + [decay] * (recipe.weight_decay > 0)
    return optax.chain(*parts) if parts else optax.identity()


def _adam(beta_1: float, beta_2: float, epsilon: float) -> optax.GradientTransformation:
    """Return Adam with its epsilon where Keras has it, before the bias correction.

    The "epsilon hat" of Kingma and Ba (arXiv 1412.6980, section 2). optax adds its epsilon after
    the correction, which is less by sqrt(1 - beta_2**t): in the first hundreds of steps, weights
    with small gradients would move otherwise than in Keras.
    """

    def update(gradient: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        count = optax.safe_increment(state.count)
        mu = optax.tree.update_moment(gradient, state.mu, beta_1, 1)
        nu = optax.tree.update_moment(gradient, state.nu, beta_2, 2)
        steps = count.astype("float32")
        factor = jnp.sqrt(1 - beta_2**steps) / (1 - beta_1**steps)
        updates = jax.tree.map(lambda m, v: factor * m / (jnp.sqrt(v) + epsilon), mu, nu)
        return updates, optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(optax.scale_by_adam().init, update)


def _is_kernel(params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(
        lambda path, _: str(getattr(path[-1], "key", path[-1])).endswith(_DECAYED), params
    )


def schedule(recipe: Recipe, steps_per_epoch: float) -> optax.Schedule:
    """Return the learning rate by step, float32, without a plateau's factor.

    Args:
        steps_per_epoch: images by batch size.
    """
    total = max(1, math.ceil(round(recipe.epochs * steps_per_epoch, 6)))
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    peak, rest = recipe.learning_rate, max(1, total - warmup)
    if recipe.schedule == "cosine":
        main = optax.cosine_decay_schedule(peak, rest, alpha=recipe.final_factor)
    elif recipe.schedule == "one_cycle":
        up = max(1, round(recipe.peak_at * rest))
        main = optax.join_schedules(
            [
                _cosine(recipe.start_factor * peak, peak, up),
                _cosine(peak, recipe.final_factor * peak, max(1, rest - up)),
            ],
            [up],
        )
    else:
        main = optax.constant_schedule(peak)
    if warmup:
        main = optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), main], [warmup])
    return lambda step: jnp.asarray(main(step), "float32")


def _cosine(first: float, last: float, steps: int) -> optax.Schedule:
    def value(step: Any) -> Any:
        done = jnp.clip(jnp.asarray(step, "float32") / steps, 0, 1)
        return last + (first - last) * 0.5 * (1 + jnp.cos(jnp.pi * done))

    return value
