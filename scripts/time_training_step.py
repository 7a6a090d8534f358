"""Time the training step with its input pipeline and augmentation against one fixed batch.

Three loops are interleaved, so that a noisy machine slows all alike, and medians are compared:
  fixed      the bare step: one batch that lies on the device, not augmented
  augmented  the same, augmented on the device
  real       the step of `ferjax train`: each step its own batch, fetched and augmented

example:
  python scripts/time_training_step.py --data fer2013 --recipe fast
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ferjax.data.augment import Augmentation
from ferjax.data.device_pipeline import DevicePipeline, to_device
from ferjax.data.order import TrainingBatches
from ferjax.train import initialization, optimizers, state, step, training_data
from ferjax.train.recipes import Recipe, override, recipe
from ferjax.xla import compiler_options


def loops(chosen: Recipe, data: training_data.TrainingData) -> dict[str, Callable[[int], Any]]:
    """Return a function for each kind of loop that does one step, given its number."""
    train = data.train
    network = initialization.start(chosen, train).network
    batches = TrainingBatches(
        order=training_data.order(chosen, train.labels), batch_size=chosen.batch_size
    )
    pipeline = DevicePipeline(train.images, train.labels, batches)
    rows = to_device(batches.at(0).rows)

    def loop(changed: Recipe, fetch: Callable[[int], Any]) -> Callable[[int], Any]:
        tx = optimizers.optimizer(changed)
        schedule = optimizers.schedule(changed, len(train) / changed.batch_size)
        one = step.train_step(changed, network, tx, schedule, state.step_key(changed))
        jitted = jax.jit(
            lambda s, d, r: one(s, *d.gather(r)),
            donate_argnums=0,
            compiler_options=compiler_options(),
        )
        carried = [jax.device_put(state.initial(changed, network, tx))]

        def do(number: int) -> Any:
            carried[0] = jitted(carried[0], pipeline.data, fetch(number))
            return carried[0]

        return do

    plain = dataclasses.replace(chosen, augmentation=Augmentation())
    return {
        "fixed": loop(plain, lambda _: rows),
        "augmented": loop(chosen, lambda _: rows),
        "real": loop(chosen, lambda number: to_device(batches.at(number).rows)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, metavar="DIR", help="prepared faces")
    parser.add_argument("--recipe", default="fast", metavar="NAME", help="(default: fast)")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    parser.add_argument("--rounds", type=int, default=9, help="of each loop (default: 9)")
    parser.add_argument("--steps", type=int, default=8, help="in a round (default: 8)")
    args = parser.parse_args()
    chosen = override(recipe(args.recipe), args.set)
    timed = loops(chosen, training_data.load_data(args.data, chosen))
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for round_ in range(args.rounds + 1):
        for name, do in timed.items():
            began = time.perf_counter()
            for number in range(args.steps):
                last = do(round_ * args.steps + number)
            last.step.block_until_ready()
            if round_:  # the first compiles
                seconds[name].append((time.perf_counter() - began) / args.steps)
    ratios = {
        name: statistics.median(np.divide(values, seconds["fixed"]))
        for name, values in seconds.items()
    }
    result = {
        "milliseconds": {n: round(1e3 * statistics.median(v), 2) for n, v in seconds.items()},
        "ratio_to_fixed": {name: round(float(ratio), 3) for name, ratio in ratios.items()},
        "images_per_second": round(chosen.batch_size / statistics.median(seconds["real"]), 1),
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
