"""Compare ferjax with Keras, PyTorch, ONNX Runtime and fer on this machine; the suite's entry.

--part measures parts of the suite, each in less than ten minutes, beside what it is compared with
and what is the limit; --parts lists them, and --minutes gives each as long as a slow machine needs
for several rounds. A part's results go to benchmarks/MACHINE/PART.json, and
--table benchmarks/MACHINE prints them all in one table: before, now, the best peer, the limit. For
`before`, --before names a checkout of an earlier ferjax, which is then measured in turn with this
one, or --table takes the folder of an earlier run as a second.

Without --part the network alone is measured, for the hour that it takes: one network, the same
weights.

Cases: latency (a single image), throughput, training, cold-start (a new process up to its first
prediction), conversion (of a Keras file); on a GPU also epoch. The peak memory of each process is
given beside its figures. Peers: ferjax, keras-tf and keras-jax (Keras 3), torch, torch-compile,
onnxruntime. All run the 8-convolution network with the same threads; a peer is timed only where
its probabilities are those of a NumPy reference. Each measurement is a process of its own; peers
take turns, and each repeat begins with another. One that is not installed, fails or disagrees is
listed with its reason.

The results go to benchmarks/NAME.json with a picture beside it; the table is printed. Progress and
the time left are on stderr; leave the machine alone meanwhile.

examples:
  pip install ".[bench]"
  git worktree add ../earlier v0.1.0
  python scripts/benchmark.py --part latency,start --before ../earlier
  python scripts/benchmark.py --part training --minutes 20
  python scripts/benchmark.py --part photographs --fer-python fer-env/bin/python
  python scripts/benchmark.py --table benchmarks/MACHINE
  python scripts/benchmark.py
  python scripts/benchmark.py --quick --peers ferjax,torch --cases latency,training
  python scripts/benchmark.py --table benchmarks/NAME.json

Exit codes: 0 done, 1 done in part, 2 a mistake in the call.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import cases, comparison, figures, machine, parts, plot, processes
from benchmarks.arguments import Parser, add_rounds, among, count
from benchmarks.run import Benchmark, SetupError

ROOT = Path(__file__).parents[1]


def _file_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text):
        raise argparse.ArgumentTypeError(f"expected letters, digits, '.', '_', '-', got {text!r}")
    return text


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = Parser("benchmark", __doc__)
    add = parser.add_argument
    add("--parts", action="store_true", help="list the parts of the suite")
    add("--part", type=among(tuple(parts.PARTS)), metavar="A,B", help="measure these parts")
    add("--fer-python", type=Path, metavar="FILE", help="for --part: of the environment with `fer`")
    add("--data", type=Path, metavar="PATH", help="for --part: FER2013, for pictures of six faces")
    add(
        "--cases",
        type=among(tuple(cases.CASES)),
        metavar="A,B",
        help=f"among {', '.join(cases.CASES)} (default: all; epoch only on a GPU)",
    )
    add(
        "--peers",
        type=among(cases.PEERS),
        default=cases.PEERS,
        metavar="A,B",
        help=f"among {', '.join(cases.PEERS)} (default: all)",
    )
    add("--repeats", type=count, metavar="N", help="processes for each figure (default: 5)")
    add("--quick", action="store_true", help="a small run, to see that it works: 1 repeat")
    add_rounds(parser)
    add(
        "--image-count",
        type=count,
        metavar="N",
        help="images of the pass over all (default: 3589)",
    )
    add("--threads", type=count, metavar="N", help="for every peer (default: all cores)")
    add(
        "--dtype",
        choices=tuple(cases.TOLERANCE),
        default="float32",
        help="bfloat16: ferjax and PyTorch alone, PyTorch by autocast (default: float32)",
    )
    add(
        "--out", type=Path, default=ROOT / "benchmarks", metavar="DIR", help="(default: benchmarks)"
    )
    add(
        "--name",
        type=_file_name,
        help="of the two files, or of the parts' folder (default: from the processor or GPU)",
    )
    add("--no-picture", action="store_true", help="store the results alone")
    add(
        "--table",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="print stored results, a file's or a folder's beside those of an earlier one, and "
        "measure nothing",
    )
    return parser


def effort(args: argparse.Namespace, *, on_gpu: bool = False) -> cases.Effort:
    """Return how much is measured."""
    chosen = cases.SHORT if args.minutes else cases.Effort()
    chosen = cases.QUICK if args.quick else chosen
    changes: dict[str, Any] = {}
    if on_gpu and not args.quick:
        changes["train_images"] = 25_600  # the host waits for the device after as many
    if args.repeats is not None:
        changes["repeats"] = args.repeats
    if args.image_count is not None:
        changes["image_count"] = args.image_count
    return dataclasses.replace(chosen, **changes)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark, print a stored one, or be one of its processes."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["worker"]:
        from benchmarks import worker

        return worker.main(argv[1:])
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.parts:
        print(parts.listing())
        return 0
    if args.table is not None:
        try:
            print(stored_table(args.table))
        except (figures.ResultError, parts.PartError) as error:
            parser.error(str(error))
        return 0
    available = processes.available_threads()
    threads = args.threads or available
    if threads > available:
        parser.error(f"argument --threads: expected at most {available}, got {threads}")
    for name in ("fer_python", "data"):
        path = getattr(args, name)
        if path is not None and args.part is None:
            parser.error(f"argument --{name.replace('_', '-')}: it takes --part too")
        if path is not None and not path.exists():
            parser.error(f"argument --{name.replace('_', '-')}: {path}: no such file")
    for name in ("cases", "peers", "repeats", "image_count", "dtype"):
        if args.part and getattr(args, name) != parser.get_default(name):
            parser.error(f"argument --{name.replace('_', '-')}: a part has its own")
    names = args.cases or tuple(cases.CASES)
    if not any(cases.selected(case, args.peers, args.dtype)[0] for case in names):
        parser.error("none of these peers takes part in these cases")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"argument --out: {args.out}: {error.strerror}")
    if not os.access(args.out, os.W_OK):
        parser.error(f"argument --out: {args.out}: it cannot be written to")
    if threads < available:
        processes.bind(threads)
    busy = os.getloadavg()[0]
    if busy > 0.5 and not args.quick:
        print(f"note: the machine is busy, with a load of {busy:.1f}", file=sys.stderr)
    if args.part:
        return measure_parts(args)
    with tempfile.TemporaryDirectory(prefix="ferjax-benchmark-") as folder:
        return measure(args, threads, Path(folder))


def measure(args: argparse.Namespace, threads: int, folder: Path) -> int:
    """Measure, store, draw and print; return the exit code."""
    setup = cases.Setup(
        folder=folder,
        image=ROOT / "examples" / "astronaut.png",
        threads=threads,
        dtype=args.dtype,
        effort=effort(args),
    )
    names = args.cases or tuple(cases.CASES)
    benchmark = Benchmark(setup, names, args.peers, before=args.before, minutes=args.minutes)
    interrupted = False
    try:
        on_gpu = benchmark.prepare()
        if on_gpu:
            benchmark.setup = dataclasses.replace(setup, effort=effort(args, on_gpu=True))
        elif args.cases is None:
            benchmark.leave_out("epoch")  # minutes on a CPU, where `training` says the same
        benchmark.check()
        benchmark.measure()
    except SetupError as error:
        print(f"benchmark: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        interrupted = True
    if not (benchmark.values or benchmark.complete):
        return 130
    results = benchmark.results()
    name = args.name or machine.file_name(results["machine"])
    if args.name is None:  # a small run does not replace a real one
        name += f"-{args.dtype}" * (args.dtype != "float32") + "-quick" * args.quick
    target = args.out / f"{name}.json"
    store(results, target)
    drawn = args.no_picture or draw(results, target.with_suffix(".png"))
    print(figures.table(results))
    if interrupted:
        return 130
    return 0 if drawn and not benchmark.failures else 1


def stored_table(paths: Sequence[Path]) -> str:
    """Return the table of a file, or of a folder of parts beside an earlier one.

    Raises:
        ResultError: a file holds no results.
        PartError: a folder holds no parts, or there are more than two.
    """
    if len(paths) > 2:
        raise parts.PartError(f"expected a folder and an earlier one, got {len(paths)} paths")
    if len(paths) == 1 and not paths[0].is_dir():
        return figures.table(figures.read(paths[0]))
    return comparison.of_folder(*paths)


def measure_parts(args: argparse.Namespace) -> int:
    """Measure parts of the suite, store each and print them; return the exit code."""
    given = {
        **{name: getattr(args, name) for name in ("threads", "before", "data", "minutes")},
        "fer-python": args.fer_python,
    }
    given = {k: v.absolute() if isinstance(v, Path) else v for k, v in given.items()}
    here = machine.describe(processes.available_threads(), {"platform": "cpu", "kind": ""}, 0)
    folder = args.out / ((args.name or machine.file_name(here)) + "-quick" * args.quick)
    folder.mkdir(parents=True, exist_ok=True)
    stored, whole = {}, True
    for name in args.part:
        try:
            stored[name] = parts.run(name, given, quick=args.quick)
        except parts.PartError as error:
            print(f"benchmark: error: {error}", file=sys.stderr)
            whole = False
            continue
        store(stored[name], folder / f"{name}.json")
        whole = whole and not stored[name]["failed"]
    if stored:
        print(comparison.table(stored))
    return 0 if whole else 1


def store(results: dict[str, Any], path: Path) -> None:
    """Write the results as JSON; what was there before is replaced at once."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
    print(f"results: {path}", file=sys.stderr)


def draw(results: dict[str, Any], path: Path) -> bool:
    """Draw the picture, where matplotlib is installed; return whether it could be."""
    if importlib.util.find_spec("matplotlib") is None:
        print("no picture: matplotlib is not installed", file=sys.stderr)
        return False
    if not plot.draw(results, path):
        print("no picture: nothing was measured", file=sys.stderr)
        return False
    print(f"picture: {path}", file=sys.stderr)
    return True


if __name__ == "__main__":
    sys.exit(main())
