"""One measurement in a process of its own: `benchmark.py worker TASK ENTRY SETUP`.

The last line on stdout is a JSON object. What goes wrong is on stderr, its last line says what.
The hidden command is for `run.py`.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import cases, network
from .cases import Setup

_PASS_BATCH = 256  # of the pass over all images, for peers that divide nothing themselves


def _module(entry: str) -> Any:
    return importlib.import_module(f".{cases.ENTRIES[entry].module}", __package__)


def _rate(do: Callable[[], int], seconds: float) -> float:
    """Return the images a second of calls, each of which returns how many images it did."""
    images, began = 0, time.perf_counter()
    while True:
        images += do()
        passed = time.perf_counter() - began
        if passed >= seconds:
            return images / passed


def prepare(entry: str, setup: Setup) -> dict[str, Any]:
    """Write weights and images, and what the peer needs of them."""
    if entry == "onnxruntime":
        from . import peer_onnx

        peer_onnx.export(setup)
        return {}
    return network.prepare(setup.folder, setup.seed)


def agreement(entry: str, setup: Setup) -> dict[str, Any]:
    """Compare probabilities with the reference, of a batch and of a single image."""
    predict = _module(entry).predictor(entry, setup)
    images = np.load(setup.folder / "images.npy")
    expected = np.load(setup.folder / "reference.npy")
    single = predict(images[0])
    found = np.asarray(predict(images))
    if found.shape != expected.shape or np.shape(single) != (1, network.CLASSES):
        raise ValueError(f"expected probabilities of {expected.shape}, got {found.shape}")
    difference = max(np.abs(found - expected).max(), np.abs(single - expected[:1]).max())
    return {"difference": float(difference)}  # not a number where one is not


def latency(entry: str, setup: Setup) -> dict[str, Any]:
    """Time single images, each call on its own, in milliseconds."""
    predict = _module(entry).predictor(entry, setup)
    effort = setup.effort
    images = network.faces(64, setup.seed)
    for number in range(effort.warm_calls):
        predict(images[number % len(images)])
    milliseconds = []
    for number in range(effort.calls):
        image = images[number % len(images)]
        began = time.perf_counter()
        predict(image)
        milliseconds.append(1e3 * (time.perf_counter() - began))
    return {"p50": float(np.median(milliseconds)), "p99": float(np.percentile(milliseconds, 99))}


def throughput(entry: str, setup: Setup) -> dict[str, Any]:
    """Time batches of each size, and one pass over many images, in images a second."""
    predict = _module(entry).predictor(entry, setup)
    effort = setup.effort
    images = network.faces(effort.image_count, setup.seed)
    values = {}
    for size in effort.batch_sizes:
        batch = np.resize(images, (size, *images.shape[1:]))
        calls = math.ceil(effort.timed_images / size)

        def batches(batch: Any = batch, calls: int = calls) -> int:
            for _ in range(calls):
                predict(batch)
            return calls * len(batch)

        for _ in range(2):
            predict(batch)
        values[f"batch-{size}"] = _rate(batches, effort.seconds)

    def whole(images: Any) -> int:
        if cases.ENTRIES[entry].batches_itself:
            predict(images)
        else:
            for start in range(0, len(images), _PASS_BATCH):
                predict(images[start : start + _PASS_BATCH])
        return len(images)

    # Warmed by a full batch and one of the last batch's size: every shape is compiled.
    whole(images[: _PASS_BATCH + len(images) % _PASS_BATCH])
    values["all"] = _rate(lambda: whole(images), 0)
    return values


def training(entry: str, setup: Setup) -> dict[str, Any]:
    """Time training steps of each batch size, in images a second."""
    module, effort = _module(entry), setup.effort
    values = {}
    for size in effort.train_batches:
        trainer = module.trainer(entry, setup, size)
        steps = math.ceil(effort.train_images / size)
        trainer.run(2)  # compiles

        def some(trainer: Any = trainer, steps: int = steps) -> int:
            return int(trainer.run(steps))

        values[f"batch-{size}"] = _rate(some, effort.seconds)
        if not math.isfinite(trainer.loss()):
            raise RuntimeError(f"the training loss is {trainer.loss()}")
    trainer.evaluate(effort.evaluated)  # compiles

    def evaluated() -> int:
        trainer.evaluate(effort.evaluated)
        return effort.evaluated

    values["evaluation"] = _rate(evaluated, effort.seconds)
    evaluation = effort.epoch_evaluated / values["evaluation"]
    for size in effort.train_batches:
        seconds = effort.epoch_images / values[f"batch-{size}"] + evaluation
        values[f"epoch-{size}"] = seconds
    return values


def cold_start(entry: str, setup: Setup) -> dict[str, Any]:
    """Predict one PNG, read as the published preprocessing reads it."""
    import cv2

    predict = _module(entry).predictor(entry, setup)
    image: Any = cv2.imread(str(setup.image), cv2.IMREAD_GRAYSCALE)
    row = predict(cv2.resize(image, (network.SIZE, network.SIZE)))[0]
    return {"index": int(row.argmax()), "confidence": float(row.max())}


def conversion(entry: str, setup: Setup) -> dict[str, Any]:
    """Time the call that converts, or for Keras reads, in seconds, once all is imported."""
    call = _module(entry).convert(entry, setup)
    began = time.perf_counter()
    call()
    return {"call": time.perf_counter() - began}


def epoch(entry: str, setup: Setup) -> dict[str, Any]:
    """Time one epoch, in seconds, compilation left out."""
    count = setup.effort.epoch_images
    trainer, batch_size = _module(entry).flagship(setup, count)
    trainer.run(1)  # compiles
    began = time.perf_counter()
    images = trainer.run(math.ceil(count / batch_size))
    # Whole calls of several steps may do a little more than an epoch.
    return {"seconds": (time.perf_counter() - began) * count / images}


def limit(entry: str, setup: Setup) -> dict[str, Any]:
    """Return the rate of a large matrix product, in multiply-adds times two a second.

    By NumPy's BLAS in float32, or by JAX in what is computed in: its best case on this machine. On
    GPUs JAX's default precision for float32 may be TF32.
    """
    size = setup.effort.matrix
    rng = np.random.default_rng(setup.seed)
    a, b = (rng.standard_normal((size, size), np.float32) for _ in range(2))
    if entry == "numpy":

        def product() -> Any:
            return a @ b

    else:
        import jax
        import jax.numpy as jnp

        x, y = (jnp.asarray(m, setup.dtype) for m in (a, b))
        multiply = jax.jit(jnp.matmul)

        def product() -> Any:
            return multiply(x, y).block_until_ready()

    product()
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - began)
    return {"rate": 2 * size**3 / min(seconds)}


_TASKS = {
    "prepare": prepare,
    "agreement": agreement,
    "latency": latency,
    "throughput": throughput,
    "training": training,
    "cold-start": cold_start,
    "conversion": conversion,
    "epoch": epoch,
    "limit": limit,
}


def main(arguments: Sequence[str]) -> int:
    """Measure, and print the values as one line of JSON."""
    task, entry, text = arguments
    if entry == "ferjax" and task in ("training", "epoch"):
        from ferjax.cli import process

        process.prepare(["train"])
    try:
        values = _TASKS[task](entry, Setup.from_json(text))
    except Exception as error:
        traceback.print_exc()
        first = (str(error).strip().splitlines() or ["no message"])[0]
        print(f"{type(error).__name__}: {first}", file=sys.stderr)
        return 1
    print(json.dumps(values))
    return 0
