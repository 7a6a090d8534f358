"""Read a Keras file, train on in JAX with optax, and write a Keras file that Keras opens.

The network takes gray images and ends in a softmax; DATA is what `ferjax data prepare` made. Run:

    python examples/continue_keras_training.py model.h5 DATA --out trained.keras
"""

import argparse
import sys
from typing import Any

import jax
import numpy as np
import optax

import ferjax


def make_step(network: ferjax.nets.Network, optimizer: optax.GradientTransformation) -> Any:
    def loss_of(params: Any, rest: Any, images: Any, labels: Any, key: Any) -> Any:
        mode: Any = {"train": True, "logits": True, "mutable": ["batch_stats"]}
        variables, rngs = {"params": params, **rest}, {"dropout": key}
        logits, rest = network.apply(variables, images, rngs=rngs, **mode)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), rest

    @jax.jit
    def step(params: Any, rest: Any, state: Any, images: Any, labels: Any, key: Any) -> Any:
        gradient_of = jax.value_and_grad(loss_of, has_aux=True)
        (loss, rest), gradient = gradient_of(params, rest, images, labels, key)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), rest, state, loss

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("weights", help="a Keras file with its architecture")
    parser.add_argument("data", metavar="DATA", help="prepared faces")
    parser.add_argument("--out", default="trained.keras", help="(default: trained.keras)")
    parser.add_argument("--steps", type=int, default=100, help="of 64 images (default: 100)")
    args = parser.parse_args()

    model, faces = ferjax.keras.load(args.weights), ferjax.data.load(args.data)
    training, (low, high) = faces.in_split("train"), model.network.graph.value_range
    params, rest = model.variables["params"], {"batch_stats": model.variables["batch_stats"]}
    optimizer = optax.adam(1e-4, eps=1e-7)  # Keras's epsilon
    state, step, loss = optimizer.init(params), make_step(model.network, optimizer), np.nan
    for number in range(args.steps):
        rows = np.random.default_rng(number).choice(np.flatnonzero(training), 64)
        images = low + (high - low) * np.float32(faces.images[rows, :, :, None]) / 255
        key, labels = jax.random.fold_in(jax.random.key(0), number), faces.labels[rows]
        params, rest, state, loss = step(params, rest, state, images, labels, key)
    print(f"loss of step {args.steps}: {loss:.3f}")
    trained = {"batch_stats": {}, **rest, "params": params}
    ferjax.keras.save(args.out, model.network, trained, labels=faces.class_names)


if __name__ == "__main__":
    try:
        main()
    except (ferjax.FerjaxError, OSError) as error:
        sys.exit(f"error: {error}")
