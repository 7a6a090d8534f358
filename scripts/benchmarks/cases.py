"""The cases: what is measured, in which units, how much of it, and who takes part."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import rounds

TOLERANCE = {"float32": 1e-4, "bfloat16": 0.2}  # of probabilities, to the NumPy reference
TRAINING_FACTOR = 3  # forward, and backward to the inputs and to the weights


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is measured in each process, and how often."""

    repeats: int = 5
    calls: int = 300  # latency
    warm_calls: int = 10
    batch_sizes: tuple[int, ...] = (16, 64, 256)  # throughput
    timed_images: int = 768  # of each batch size, at least
    image_count: int = 3589  # of the pass over all: FER2013's PublicTest has as many
    train_batches: tuple[int, ...] = (64, 256)
    train_images: int = 640  # of each batch size, at least
    evaluated: int = 256  # images of an evaluation
    seconds: float = 1.0  # of each rate, at least
    matrix: int = 4096  # rows and columns of the product that sets the limit
    epoch_images: int = 28_709  # as in FER2013's training split
    epoch_evaluated: int = 3589


QUICK = Effort(
    repeats=1,
    calls=5,
    warm_calls=2,
    batch_sizes=(16,),
    timed_images=16,
    image_count=64,
    train_batches=(8,),
    train_images=8,
    evaluated=128,  # ferjax pads a batch to as many
    seconds=0.0,
    matrix=512,
    epoch_images=256,
)
SHORT = Effort(calls=200, timed_images=512, image_count=512, train_images=256)  # for --minutes


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What every measuring process is told.

    Attributes:
        folder: where `network.prepare` has put weights and images.
        image: the PNG of the cold start.
        threads: how many each peer may use.
        dtype: "float32" or "bfloat16", what is computed in.
        effort: how much is measured.
        seed: of weights, images and order.
    """

    folder: Path
    image: Path
    threads: int
    dtype: str = "float32"
    effort: Effort = field(default_factory=Effort)
    seed: int = 0

    def to_json(self) -> str:
        """Return what `from_json` reads, for a process's command line."""
        return json.dumps(dataclasses.asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Setup:
        """Return what `to_json` wrote."""
        values = json.loads(text)
        effort: Any = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values["effort"].items()
        }
        paths = {name: Path(values[name]) for name in ("folder", "image")}
        return cls(**{**values, **paths, "effort": Effort(**effort)})


@dataclass(frozen=True)
class Entry:
    """One way of one peer, a row of the tables.

    Attributes:
        peer: what `--peers` calls it.
        module: of this package, with `predictor` and, where it trains, `trainer`.
        packages: what it imports.
        checked_as: whose probabilities have to be right before this is timed; itself if empty.
        batches_itself: whether it takes any number of images at once.
    """

    peer: str
    module: str
    packages: tuple[str, ...]
    checked_as: str = ""
    batches_itself: bool = False

    def missing(self) -> str | None:
        """Return why it cannot run here, or None."""
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                return f"{package} is not installed"
        return None


_FERJAX = ("ferjax", "jax", "flax")
_KERAS_TF, _KERAS_JAX = ("keras", "tensorflow"), ("keras", "jax")

ENTRIES: Mapping[str, Entry] = {
    "ferjax": Entry("ferjax", "peer_ferjax", _FERJAX, batches_itself=True),
    "ferjax-onnx": Entry("ferjax", "peer_ferjax", (*_FERJAX, "onnxruntime"), batches_itself=True),
    "ferjax-default": Entry("ferjax", "peer_ferjax", _FERJAX, "ferjax"),
    "keras-tf-predict": Entry("keras-tf", "peer_keras", _KERAS_TF, batches_itself=True),
    "keras-tf-call": Entry("keras-tf", "peer_keras", _KERAS_TF),
    "keras-tf": Entry("keras-tf", "peer_keras", _KERAS_TF, "keras-tf-call"),
    "keras-jax": Entry("keras-jax", "peer_keras", _KERAS_JAX),
    "torch": Entry("torch", "peer_torch", ("torch",)),
    "torch-compile": Entry("torch-compile", "peer_torch", ("torch",)),
    "onnxruntime": Entry("onnxruntime", "peer_onnx", ("onnxruntime",)),
}
OWN = ("ferjax", "ferjax-onnx", "ferjax-default")
PEERS = tuple(dict.fromkeys(entry.peer for entry in ENTRIES.values()))
IN_BFLOAT16 = ("ferjax", "torch", "torch-compile")


def checked_as(entry: str) -> str:
    """Return the entry whose probabilities speak for this one.

    >>> checked_as("keras-tf"), checked_as("ferjax-default (before)")
    ('keras-tf-call', 'ferjax (before)')
    """
    name = rounds.plain(entry)
    return (ENTRIES[name].checked_as or name) + entry.removeprefix(name)


@dataclass(frozen=True)
class Metric:
    """One figure of a case; `factor` times the multiply-adds of a forward pass is its arithmetic
    for an image, 0 where no share of the machine's limit is given."""

    key: str
    title: str
    unit: str
    higher_is_better: bool = False
    factor: int = 0


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        what: in a sentence.
        entries: who takes part, each measured in processes of its own.
        excused: why which peer does not.
    """

    name: str
    what: str
    entries: tuple[str, ...]
    excused: Mapping[str, str] = field(default_factory=dict)

    def metrics(self, effort: Effort) -> list[Metric]:
        """Return the figures, in the order of the tables' columns."""
        if self.name == "latency":
            return [Metric("p50", "median", "ms"), Metric("p99", "99th percentile", "ms")]
        if self.name in ("throughput", "training"):
            trains = self.name == "training"
            factor = TRAINING_FACTOR if trains else 1
            sizes = effort.train_batches if trains else effort.batch_sizes
            titles = {f"batch-{size}": f"batches of {size}" for size in sizes}
            if not trains:
                titles["all"] = f"all of {effort.image_count:,}"
            rates = [Metric(key, title, "images/s", True, factor) for key, title in titles.items()]
            if not trains:
                return rates
            seconds = {f"epoch-{size}": f"epoch by {size} with evaluation" for size in sizes}
            return [
                *rates,
                Metric("evaluation", "evaluation", "images/s", True, 1),
                *(Metric(key, title, "s") for key, title in seconds.items()),
            ]
        if self.name == "conversion":
            return [Metric("process", "process", "s"), Metric("call", "call alone", "s")]
        title = "first prediction" if self.name == "cold-start" else "epoch"
        return [Metric("seconds", title, "s")]


_PREDICT = "keras-tf-predict keras-tf-call keras-jax torch torch-compile onnxruntime".split()
_INFERENCE = ["ferjax", *_PREDICT, "ferjax-onnx"]
_NO_KERAS = "it reads no Keras files"
_FERJAX_ALONE = "the case is ferjax's own"

CASES: Mapping[str, Case] = {
    case.name: case
    for case in (
        Case(
            "latency",
            "One 48x48 uint8 image in, probabilities out, warm, a call at a time.",
            tuple(_INFERENCE),
        ),
        Case(
            "throughput",
            "uint8 images in, probabilities out, warm.",
            tuple(_INFERENCE),
        ),
        Case(
            "training",
            "Whole steps: batch gathered, flipped and warped, loss with label smoothing, backward "
            "through dropout and batch norm, Adam. Then images evaluated as at the end of an "
            "epoch, which is 28,709 images of steps and 3,589 evaluated, by these rates.",
            ("ferjax", "keras-tf", "keras-jax", "torch", "torch-compile"),
            {"onnxruntime": "it trains no networks"},
        ),
        Case(
            "cold-start",
            "A new process reads weights and a PNG and prints its first prediction. ferjax, by "
            "`--engine jax` and as its default is, first with an empty cache, then with what that "
            "start has left there.",
            ("ferjax", "ferjax-default", *_PREDICT),
        ),
        Case(
            "conversion",
            "`ferjax convert model.h5 model.keras` in a new process, against a process in which "
            "Keras only loads the .h5; then the call alone, without imports.",
            ("ferjax", "keras-tf", "keras-jax"),
            dict.fromkeys(("torch", "torch-compile", "onnxruntime"), _NO_KERAS),
        ),
        Case(
            "epoch",
            "One epoch of random images by the recipe `flagship`, with all its augmentation.",
            ("ferjax",),
            dict.fromkeys(PEERS[1:], _FERJAX_ALONE),
        ),
    )
}


# Whose limit is the rate of a large matrix product.
LIMITED = ("latency", "throughput", "training", "epoch")


def selected(case: str, peers: tuple[str, ...], dtype: str) -> tuple[list[str], dict[str, str]]:
    """Return the entries of a case to measure, and why which others of these peers are not."""
    chosen = CASES[case]
    excused = {peer: why for peer, why in chosen.excused.items() if peer in peers}
    entries = []
    for name in chosen.entries:
        peer = ENTRIES[name].peer
        if peer not in peers:
            continue
        if dtype != "float32" and name not in IN_BFLOAT16:
            excused[name] = f"measured in float32 alone, not in {dtype}"
        else:
            entries.append(name)
    return entries, excused


def as_json(effort: Effort) -> dict[str, Any]:
    """Return how much is measured, ready for JSON."""
    return dataclasses.asdict(effort)
