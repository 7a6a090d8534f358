"""What many photographs and large trainings cost, on paper: tables in Markdown from measured rates.

    python scripts/cost_tables.py                         # the tables of docs/guides/costs.md
    python scripts/cost_tables.py --measure               # CPU ms by stage, on this machine
    python scripts/cost_tables.py --rates mine.json       # tables from what --measure --out stored

Rates are CPU time of one core, so that neighbours on the machine count for little. All else is
arithmetic: of the network's parameters and multiply-adds, which are counted from its layers, and of
figures that are arguments with their sources. Nothing here was measured on a GPU or a TPU.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import machine, processes
from benchmarks.network import multiply_adds
from ferjax.nets.architectures import fer_cnn8
from ferjax.nets.graph import Graph
from ferjax.nets.layers.work import num_values

ROOT = Path(__file__).parents[1]
STORED = ROOT / "benchmarks" / "cost-rates.json"  # what --measure gave, and where
TITLES = {
    "one": "640x480, one face",
    "six": "640x480, six faces",
    "large": "4000x3000, one face",
}
STAGES = {
    "decode": "read, decode",
    "detect": "find faces",
    "crop": "crop",
    "network": "network",
    "write": "rows",
}
COUNTS = (10**6, 10**8, 10**9)
TRAINING_IMAGES = 28_709  # of FER2013
IMAGENET_IMAGES = 1_281_167  # of ILSVRC 2012, on which the batch sizes below were published
# Batch sizes without loss of accuracy, and their source.
PUBLISHED = (
    (8192, "SGD, linear scaling, warm-up (Goyal et al. 2017, ResNet-50)"),
    (32768, "LARS (You et al. 2017, ResNet-50)"),
)


# --- photographs ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What a photograph takes of one core, in milliseconds, by stage.

    Attributes:
        kind: a key of `TITLES`.
        stages: by `STAGES`, of a photograph with all its faces.
        whole: what all of it takes, measured on its own.
        faces: a photograph has.
        bytes: of its file.
    """

    kind: str
    stages: dict[str, float]
    whole: float
    faces: float
    bytes: float

    @classmethod
    def of(cls, kind: str, measured: dict[str, float]) -> Rate:
        """Return the rate of what `face_stages.measure` gave, in which two stages are by face."""
        stages = {name: measured[name] for name in STAGES}
        for name in ("crop", "network"):
            stages[name] *= measured["faces"]
        others = {name: measured[name] for name in ("whole", "faces", "bytes")}
        return cls(kind=kind, stages=stages, **others)

    @property
    def total(self) -> float:
        """Milliseconds of a core for a photograph."""
        return sum(self.stages.values())

    @property
    def bottleneck(self) -> str:
        """The stage that takes longest."""
        return max(self.stages, key=lambda name: self.stages[name])


def core_hours(photographs: int, milliseconds: float) -> float:
    """Return what photographs take.

    >>> core_hours(3_600_000, 10.0)
    10.0
    """
    return photographs * milliseconds / 3.6e6


def cores_of_link(gigabits: float, size: float, milliseconds: float) -> tuple[float, float]:
    """Return the photographs a second that a link carries, and the cores that they keep busy.

    >>> cores_of_link(10, 125_000, 20.0)
    (10000.0, 200.0)
    """
    rate = gigabits * 1e9 / 8 / size
    return rate, rate * milliseconds / 1000


# --- the network ---------------------------------------------------------------------------------


def batch_norms(graph: Graph) -> int:
    """Return how many layers take statistics of the batch, which chips sum forward and backward."""
    return sum(layer.kind == "BatchNormalization" for layer in graph.layers)


def all_reduce(size: float, chips: int, bandwidth: float, side: int, latency: float) -> float:
    """Return the seconds in which chips on a torus sum `size` bytes: by rings, sending each byte
    nearly twice, and waiting for every step of a ring along each axis there and back.

    Args:
        size: in bytes.
        chips: how many.
        bandwidth: of a chip, in bytes a second.
        side: chips along the longer axis.
        latency: of a step, in seconds.

    >>> all_reduce(1e6, 1, 1e9, 1, 1e-6), round(all_reduce(1e6, 4, 1e9, 2, 1e-6), 9)
    (0.0, 0.001504)
    """
    if chips == 1:
        return 0.0
    return 2 * (chips - 1) / chips * size / bandwidth + 4 * (side - 1) * latency


# --- tables --------------------------------------------------------------------------------------


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as Markdown."""
    head, *rest = rows
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rest)]


def number(value: float) -> str:
    """Return a number with two or three figures.

    >>> [number(value) for value in (0.0123, 4.56, 78.9, 12345.6)]
    ['0.012', '4.6', '79', '12,300']
    """
    if value == 0:
        return "0"
    digits = 1 - math.floor(math.log10(abs(value)))
    if value >= 1000:
        return f"{round(value, digits + 1):,.0f}"
    return f"{value:,.{max(0, digits)}f}"


def stage_rows(rates: Sequence[Rate]) -> list[list[str]]:
    rows = [["CPU ms a photograph", *STAGES.values(), "sum", "all together", "longest"]]
    for rate in rates:
        stages = [f"{rate.stages[name]:.2f}" for name in STAGES]
        longest = f"{STAGES[rate.bottleneck]}, {rate.stages[rate.bottleneck] / rate.total:.0%}"
        sums = [f"{rate.total:.1f}", f"{rate.whole:.1f}"]
        rows.append([TITLES[rate.kind], *stages, *sums, longest])
    return rows


def photograph_rows(rates: Sequence[Rate], cores: int) -> list[list[str]]:
    rows = [["photographs", "kind", "core-hours", f"hours on {cores:,} cores", "files, TB"]]
    for count in COUNTS:
        for rate in rates:
            hours = core_hours(count, rate.whole)
            size = count * rate.bytes / 1e12
            cells = [number(hours), number(hours / cores), number(size)]
            rows.append([f"{count:,}", TITLES[rate.kind], *cells])
    return rows


def gpu_rows(rates: Sequence[Rate], graph: Graph, teraflops: float) -> list[list[str]]:
    """Return what a GPU would take off the cores: the network."""
    faces_a_second = teraflops * 1e12 / (2 * multiply_adds(graph))
    rows = [
        [
            "photographs",
            "kind",
            "GPU-hours of the network",
            "core-hours that are left",
            "cores that keep a GPU busy",
        ]
    ]
    for count in COUNTS:
        for rate in rates:
            left = rate.whole - rate.stages["network"]
            gpu = count * rate.faces / faces_a_second / 3600
            feeding = faces_a_second / rate.faces * left / 1000
            cells = [number(gpu), number(core_hours(count, left)), number(feeding)]
            rows.append([f"{count:,}", TITLES[rate.kind], *cells])
    return rows


def link_rows(rates: Sequence[Rate], gigabits: float, cores: int) -> list[list[str]]:
    head = [f"{gigabits:g} Gbit/s", "photographs/s", "cores", f"workers of {cores} cores"]
    rows = [head]
    for rate in rates:
        carried, busy = cores_of_link(gigabits, rate.bytes, rate.whole)
        kind = f"{TITLES[rate.kind]}, {rate.bytes / 1000:,.0f} kB"
        rows.append([kind, number(carried), number(busy), f"{math.ceil(busy / cores):,}"])
    return rows


def network_rows(graph: Graph) -> list[list[str]]:
    trained = sum(math.prod(weight.shape) for _, weight in graph.trainable_weights())
    forward = 2 * multiply_adds(graph)
    return [
        ["the network of eight convolutions", ""],
        ["parameters, of which trained", f"{graph.num_params:,}, {trained:,}"],
        ["gradients in float32", f"{4 * trained / 1e6:.1f} MB"],
        ["one image forward", f"{forward / 1e9:.3f} GFLOP"],
        ["a training step, by image", f"{3 * forward / 1e9:.3f} GFLOP"],
        ["an image as it is stored", f"{num_values(graph.input_shape):,} bytes"],
    ]


def training_rows(graph: Graph, args: argparse.Namespace) -> list[list[str]]:
    rows = [
        [
            "chips",
            "global batch",
            "of a chip",
            "compute, ms",
            "gradients, ms",
            "batch norm, ms",
            "of both",
            "images/s",
            "input, MB/s",
            "an epoch of FER2013, s",
        ]
    ]
    trained = sum(math.prod(weight.shape) for _, weight in graph.trainable_weights())
    step = 3 * 2 * multiply_adds(graph)
    for chips in (1, 8, 64, 256):
        side = 2 ** math.ceil(math.log2(chips) / 2)
        for batch in args.batches:
            if batch < chips:
                continue
            compute = step * batch / chips / (args.tpu_teraflops * args.utilization * 1e12)
            ring = args.ici_gigabytes * 1e9
            hop = args.hop_microseconds * 1e-6
            gradients = all_reduce(4 * trained, chips, ring, side, hop)
            # Sums of a few channels: what counts is how often all wait for one another.
            norms = 2 * batch_norms(graph) * all_reduce(0, chips, ring, side, hop)
            reduce = gradients + norms
            total = compute + reduce
            images = batch / total
            size = num_values(graph.input_shape)
            rows.append(
                [
                    f"{chips}",
                    f"{batch:,}",
                    f"{batch // chips:,}",
                    number(1000 * compute),
                    number(1000 * gradients),
                    number(1000 * norms),
                    f"{reduce / total:.0%}",
                    number(images),
                    number(images * size / 1e6),
                    number(math.ceil(TRAINING_IMAGES / batch) * total),
                ]
            )
    return rows


def batch_rows() -> list[list[str]]:
    rows = [
        [
            "without loss on ImageNet",
            "by",
            "steps an epoch there",
            "as many steps an epoch: FER2013",
            "a million faces",
        ]
    ]
    for batch, source in PUBLISHED:
        steps = IMAGENET_IMAGES / batch
        of_both = [f"{min(batch, count / steps):,.0f}" for count in (TRAINING_IMAGES, 10**6)]
        rows.append([f"{batch:,}", source, f"{steps:.0f}", *of_both])
    return rows


def tables(rates: Sequence[Rate], args: argparse.Namespace) -> str:
    """Return all tables."""
    graph = fer_cnn8().graph
    parts = [
        ("Rates", stage_rows(rates)),
        ("Photographs on cores", photograph_rows(rates, args.cores)),
        ("A link", link_rows(rates, args.link_gigabits, args.worker_cores)),
        (
            f"The network on a GPU that reaches {args.gpu_teraflops:g} TFLOP/s",
            gpu_rows(rates, graph, args.gpu_teraflops),
        ),
        ("The network", network_rows(graph)),
        (
            f"Training: {args.tpu_teraflops:g} TFLOP/s a chip, of which {args.utilization:.0%} are "
            f"reached, {args.ici_gigabytes:g} GB/s and {args.hop_microseconds:g} µs a step between "
            "chips",
            training_rows(graph, args),
        ),
        ("The largest batch", batch_rows()),
    ]
    return "\n\n".join("\n".join([f"**{title}**", "", *table(rows)]) for title, rows in parts)


# --- the command ---------------------------------------------------------------------------------


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", action="store_true", help="measure the rates on this machine")
    parser.add_argument(
        "--photographs", type=int, default=24, metavar="N", help="of each kind (default: 24)"
    )
    parser.add_argument("--weights", metavar="FILE", help="to measure (default: ferjax's own)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="store what is measured")
    parser.add_argument(
        "--rates", type=Path, default=STORED, metavar="FILE.json", help=f"(default: {STORED.name})"
    )
    for name, default, what in (
        ("--cores", 1000, "cores, for the hours that a run takes"),
        ("--worker-cores", 4, "cores of a worker"),
    ):
        parser.add_argument(
            name, type=int, default=default, metavar="N", help=f"{what} ({default})"
        )
    for name, value, what in (
        ("--link-gigabits", 10.0, "a link, in Gbit/s"),
        ("--gpu-teraflops", 10.0, "what a GPU reaches on the network; an assumption"),
        ("--tpu-teraflops", 197.0, "a TPU chip's peak in bfloat16; v5e by Google's documentation"),
        ("--utilization", 0.3, "share of the peak that training reaches; an assumption"),
        ("--ici-gigabytes", 100.0, "between chips, GB/s; half of v5e's 1,600 Gbit/s a chip"),
        ("--hop-microseconds", 1.0, "a step between neighbours; an assumption"),
    ):
        parser.add_argument(
            name, type=float, default=value, metavar="X", help=f"{what} ({value:g})"
        )
    parser.add_argument(
        "--batches", type=int, nargs="+", default=[128, 1024, 8192], metavar="B", help="global ones"
    )
    return parser


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """Return the rates of this machine's core."""
    processes.bind(1)
    from benchmarks import face_stages

    with tempfile.TemporaryDirectory(prefix="ferjax-costs-") as folder:
        photograph = ROOT / "examples" / "astronaut.jpg"
        kinds = face_stages.pictures(photograph, Path(folder), args.photographs, seed=0)
        rates = {kind: face_stages.measure(paths, args.weights) for kind, paths in kinds.items()}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": machine.cpu_model(),
        "command": "python scripts/cost_tables.py --measure",
        "versions": machine.versions(),
        "rates": {
            kind: {name: round(value, 4) for name, value in rate.items()}
            for kind, rate in rates.items()
        },
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, or print the tables."""
    args = build_parser().parse_args(argv)
    if args.measure:
        found = measured(args)
        if args.out is not None:
            args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    else:
        try:
            found = json.loads(args.rates.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            print(f"cost_tables: error: {args.rates}: cannot be read ({error})", file=sys.stderr)
            return 2
    rates = [Rate.of(kind, rate) for kind, rate in found["rates"].items()]
    print(f"Rates of one core of {found['cpu']}, {found['date']}: `{found['command']}`\n")
    print("\n".join(table(stage_rows(rates))) if args.measure else tables(rates, args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
