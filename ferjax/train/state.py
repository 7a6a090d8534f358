"""The state of a run: one pytree, from which and the data every later state follows."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ferjax.nets.network import Network
from ferjax.train.recipes import Recipe

# Streams of the seed.
_INIT, _STEPS = 0, 1

Tree = dict[str, Any]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Totals:
    """Sums over the images since the epoch began."""

    loss: jax.Array  # float32, sum over images
    correct: jax.Array  # int32
    count: jax.Array  # int32

    @classmethod
    def zero(cls) -> Totals:
        return cls(jnp.zeros((), "float32"), jnp.zeros((), "int32"), jnp.zeros((), "int32"))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Everything that a step reads and writes."""

    step: jax.Array  # int32, steps done
    params: Tree  # {layer: {weight: array}} of the layers that are trained, float32
    frozen: Tree  # the same of the layers that are not
    batch_stats: Tree  # {layer: {weight: array}}
    opt_state: Any  # optax's
    ema: Tree  # {"params", "batch_stats"}, their running averages; {} where there are none
    rate_factor: jax.Array  # float32, what a plateau has made of the learning rate
    totals: Totals  # of the epoch so far
    bad_step: jax.Array  # int32, the first with a loss or gradient that is not finite; -1: none

    def variables(self) -> Tree:
        """Return {"params", "batch_stats"} as `Network.apply` takes them."""
        return {"params": {**self.params, **self.frozen}, "batch_stats": self.batch_stats}

    def evaluated(self) -> Tree:
        """Return the variables that are evaluated and saved: the averages where there are any."""
        if not self.ema:
            return self.variables()
        params = {**self.ema["params"], **self.frozen}
        return {"params": params, "batch_stats": self.ema["batch_stats"]}


def initial(
    recipe: Recipe,
    network: Network,
    tx: optax.GradientTransformation,
    variables: Mapping[str, Any] | None = None,
    size: tuple[int, int] = (48, 48),
) -> TrainState:
    """Return the state before the first step, on the host.

    Args:
        variables: to start from, {"params", "batch_stats"}; None: drawn from the recipe's seed.
        size: (H, W) of the images, for a network of open size.
    """
    if variables is None:
        key = jax.random.fold_in(jax.random.key(recipe.seed), _INIT)
        variables = _drawn(network, key, *_blank(network, size))
    variables = jax.tree.map(np.asarray, dict(variables))
    trained = {layer for layer, _ in network.graph.trainable_weights()}
    params = {k: v for k, v in variables["params"].items() if k in trained}
    frozen = {k: v for k, v in variables["params"].items() if k not in trained}
    stats = variables["batch_stats"]
    # Every optimizer of a recipe begins with zeros; so nothing is compiled for each of them.
    moments = jax.eval_shape(tx.init, params)
    state = TrainState(
        step=jnp.zeros((), "int32"),
        params=params,
        frozen=frozen,
        batch_stats=stats,
        opt_state=jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), moments),
        ema={"params": params, "batch_stats": stats} if recipe.ema_decay else {},
        rate_factor=jnp.ones((), "float32"),
        totals=Totals.zero(),
        bad_step=jnp.full((), -1, "int32"),
    )
    # Each leaf an array of its own: the step's input is donated, and may not be donated twice.
    return jax.tree.map(np.array, state)


@functools.partial(jax.jit, static_argnums=0)
def _drawn(network: Network, key: jax.Array, *images: np.ndarray) -> Tree:
    return network.init(key, *images)


def _blank(network: Network, size: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Return the image that `init` needs for a network of open size; none for another."""
    shape = list(network.input_shape)
    if None not in shape:
        return ()
    first = 1 if network.graph.data_format == "channels_first" else 0
    shape[first : first + 2] = size
    return (np.zeros((1, *(length or 1 for length in shape)), np.float32),)


def with_adam(state: TrainState, step: int, mu: Tree, nu: Tree) -> TrainState:
    """Return the state with Adam's moments and step count, such as those of a Keras file."""
    opt_state = optax.tree.set(
        state.opt_state, count=np.asarray(step, np.int32), mu=dict(mu), nu=dict(nu)
    )
    return dataclasses.replace(state, opt_state=opt_state)


def step_key(recipe: Recipe) -> jax.Array:
    """Return the key that the step's number is folded into."""
    return jax.random.fold_in(jax.random.key(recipe.seed), _STEPS)
