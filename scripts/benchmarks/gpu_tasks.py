"""What `benchmark_gpu.py` measures, each in a process of its own: `benchmark_gpu.py worker ...`.

Each function returns lists of what was measured several times in the process, all programs being
compiled; figures are images a second, or seconds and milliseconds where the name says so.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import math
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import cases, network, traces
from .cases import Setup

Found = dict[str, list[float]]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is measured.

    Attributes:
        blocks: how often each figure is measured.
        seconds: of each, at least.
        traced: calls of several steps in the trace.
        effort: batch sizes and numbers of images.
    """

    blocks: int = 5
    seconds: float = 1.0
    traced: int = 3
    effort: cases.Effort = dataclasses.field(
        default_factory=lambda: cases.Effort(
            calls=300,
            warm_calls=30,
            batch_sizes=(256, 4096),
            train_batches=(128, 512),
            train_images=8192,
            evaluated=3584,  # 28 batches of 128
            matrix=8192,
        )
    )


FULL = Scale()
REHEARSAL = Scale(
    blocks=2,
    seconds=0.0,
    traced=1,
    effort=dataclasses.replace(cases.QUICK, matrix=256, epoch_images=16, epoch_evaluated=8),
)


def blocks(do: Callable[[], int], scale: Scale) -> list[float]:
    """Return the images a second of several blocks of calls."""
    rates = []
    for _ in range(scale.blocks):
        images, began = 0, time.perf_counter()
        while True:
            images += do()
            passed = time.perf_counter() - began
            if passed >= scale.seconds:
                break
        rates.append(images / passed)
    return rates


def limit(entry: str, setup: Setup, scale: Scale) -> Found:
    """Return the rate of a large matrix product in what is computed in, TFLOP/s."""
    import jax
    import jax.numpy as jnp

    size = setup.effort.matrix
    rng = np.random.default_rng(setup.seed)
    x, y = (jnp.asarray(rng.standard_normal((size, size), np.float32), setup.dtype) for _ in "xy")
    multiply = jax.jit(jnp.matmul)
    multiply(x, y).block_until_ready()
    calls = 20 if scale.seconds else 1

    def products() -> int:
        for _ in range(calls):
            last = multiply(x, y)
        last.block_until_ready()
        return calls

    return {"tflops": [2e-12 * size**3 * rate for rate in blocks(products, scale)]}


def training(entry: str, setup: Setup, scale: Scale) -> Found:
    """Return the rates of training steps with augmentation, and of evaluation."""
    effort, found = setup.effort, {}
    for size in effort.train_batches:
        trainer = _module(entry).trainer(entry, setup, size)
        steps = math.ceil(effort.train_images / size)
        trainer.run(steps)  # compiles
        found[f"batch-{size}"] = blocks(functools.partial(trainer.run, steps), scale)
        if not math.isfinite(trainer.loss()):
            raise RuntimeError(f"the training loss is {trainer.loss()}")

    def evaluated() -> int:
        trainer.evaluate(effort.evaluated)
        return effort.evaluated

    evaluated()
    return {**found, "evaluation": blocks(evaluated, scale)}


def epoch(entry: str, setup: Setup, scale: Scale) -> Found:
    """Return the seconds of an epoch by the recipe `flagship`, and with its evaluation."""
    effort = setup.effort
    trainer, batch_size = _module(entry).flagship(setup, effort.epoch_images)
    steps = math.ceil(effort.epoch_images / batch_size)
    trainer.run(steps)
    trainer.evaluate(effort.epoch_evaluated)
    found: Found = {"steps_s": [], "with_evaluation_s": []}
    for _ in range(scale.blocks):
        began = time.perf_counter()
        images = trainer.run(steps)
        trained = time.perf_counter()
        trainer.evaluate(effort.epoch_evaluated)
        ended = time.perf_counter()
        # Whole calls of several steps may do a little more than an epoch.
        seconds = (trained - began) * effort.epoch_images / images
        found["steps_s"].append(seconds)
        found["with_evaluation_s"].append(seconds + ended - trained)
    return found


def inference(entry: str, setup: Setup, scale: Scale) -> Found:
    """Return latencies of a single image and rates of batches, from the host and on the device.

    From the host: uint8 images in, probabilities out. On the device: normalized images that lie
    there, calls that do not wait for each other, as the device's own rate. Probabilities are
    compared with the reference first. Of single images the median, the first and the 99th
    percentile are given.
    """
    module, effort, found = _module(entry), setup.effort, {}
    predict = module.predictor(entry, setup)
    expected = np.load(setup.folder / "reference.npy")
    seen = np.asarray(predict(np.load(setup.folder / "images.npy")))
    difference = float(np.abs(seen - expected).max())
    if not difference <= cases.TOLERANCE[setup.dtype]:
        raise RuntimeError(f"the probabilities differ by {difference:.1e} from the reference")
    found["difference"] = [difference]
    images = network.faces(max(effort.batch_sizes), setup.seed)
    for number in range(effort.warm_calls):
        predict(images[number % len(images)])
    latencies, calls = [], 16 if scale.seconds else 1
    for number in range(effort.calls):
        image = images[number % len(images)]
        began = time.perf_counter()
        predict(image)
        latencies.append(1e3 * (time.perf_counter() - began))
    found["single_ms"] = [float(np.percentile(latencies, part)) for part in (50, 1, 99)]
    for size in effort.batch_sizes:
        batch = images[:size]

        def from_host(batch: Any = batch) -> int:
            predict(batch)
            return len(batch)

        from_host()
        found[f"host-{size}"] = blocks(from_host, scale)
        call, wait = module.resident(entry, setup, batch)

        def on_device(batch: Any = batch, call: Any = call, wait: Any = wait) -> int:
            for _ in range(calls):
                last = call()
            wait(last)
            return calls * len(batch)

        on_device()
        found[f"device-{size}"] = blocks(on_device, scale)
    return found


def trace(entry: str, setup: Setup, scale: Scale) -> dict[str, Any]:
    """Trace some calls of the training by `flagship`; return its idle share and largest gaps.

    The trace itself goes to trace.json.gz beside the weights, for Perfetto or chrome://tracing.
    """
    import jax

    trainer, _ = _module(entry).flagship(setup, setup.effort.epoch_images)
    for _ in range(2):
        trainer.run(trainer.at_once)
    folder = setup.folder / "trace"
    with jax.profiler.trace(str(folder)):
        trainer.run(scale.traced * trainer.at_once)
    for content in folder.rglob("*.trace.json.gz"):
        content.replace(setup.folder / "trace.json.gz")
    events = traces.device_events(next(folder.rglob("*.xplane.pb")))
    steps = scale.traced * trainer.at_once
    return {"steps": steps, **traces.summary(events)}


def _module(entry: str) -> Any:
    return importlib.import_module(f".{MODULES[entry]}", __package__)


MODULES = {
    "ferjax": "peer_ferjax",
    "torch": "peer_torch",
    "torch-compile": "peer_torch",
    "torch-graphs": "peer_torch",
}
TASKS: dict[str, Callable[[str, Setup, Scale], dict[str, Any]]] = {
    "limit": limit,
    "training": training,
    "epoch": epoch,
    "inference": inference,
    "trace": trace,
}


def prepare(setup: Setup) -> dict[str, Any]:
    """Write weights and images, and return what is known of the network and the device."""
    about = network.prepare(setup.folder, setup.seed)
    import jax

    return {**about, "jax_devices": [str(device) for device in jax.devices()]}


def main(arguments: Sequence[str]) -> int:
    """Measure, and print the values as one line of JSON."""
    task, entry, rehearse, text = arguments
    setup = Setup.from_json(text)
    scale = REHEARSAL if rehearse == "rehearse" else FULL
    if entry == "ferjax" and task in ("training", "epoch", "trace"):
        from ferjax.cli import process

        process.prepare(["train"])
    try:
        found = prepare(setup) if task == "prepare" else TASKS[task](entry, setup, scale)
    except Exception as error:
        traceback.print_exc()
        first = (str(error).strip().splitlines() or ["no message"])[0]
        print(f"{type(error).__name__}: {first}", file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0
