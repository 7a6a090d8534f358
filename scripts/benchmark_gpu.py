"""Measure ferjax and PyTorch on one GPU in less than twelve minutes, and trace what leaves it idle.

In this order, each in a process of its own and in bfloat16, ferjax before PyTorch:
  limit       the rate of a large matrix product
  training    steps with augmentation at batches of 128 and 512, and evaluation
  epoch       28,709 images by the recipe `flagship`, and with the evaluation of 3,589
  trace       some steps of it: the device's idle share, the largest gaps by name
  inference   a single image, and batches from the host and on the device; in float32 too
PyTorch computes by autocast, channels last: as it is, by torch.compile, and by torch.compile with
CUDA graphs (torch-graphs). Images and weights are random, of FER2013's shape: what is on them
changes no time. Each figure is the median of five in one process, with the least and the most.

What is done is stored at once, in DIR/gpu.json, with DIR/trace.json.gz for Perfetto; a call that is
cut off keeps it, and nothing is begun after --minutes. The table is printed at the end, and by
`scripts/benchmark.py --table DIR`.

examples:
  python scripts/benchmark_gpu.py --out benchmarks/h100
  python scripts/benchmark_gpu.py --rehearse --out rehearsal

Exit codes: 0 done, 1 done in part, 2 a mistake in the call.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks import gpu_tasks, machine, processes
from benchmarks.arguments import Parser, among, count
from benchmarks.cases import Setup

ROOT: Final = Path(__file__).parents[1]
# What is measured, in the order of what matters most: a run may be cut off.
PLAN: Final = (
    ("limit", "ferjax", "bfloat16"),
    ("training", "ferjax", "bfloat16"),
    ("epoch", "ferjax", "bfloat16"),
    ("trace", "ferjax", "bfloat16"),
    ("training", "torch-compile", "bfloat16"),
    ("training", "torch", "bfloat16"),
    ("inference", "ferjax", "bfloat16"),
    ("inference", "torch-compile", "bfloat16"),
    ("inference", "torch", "bfloat16"),
    ("training", "torch-graphs", "bfloat16"),
    ("inference", "ferjax", "float32"),
    ("inference", "torch", "float32"),
    ("inference", "torch-graphs", "bfloat16"),
)
TASKS: Final = tuple(gpu_tasks.TASKS)
_LEAST: Final = 20.0  # seconds that are left, from which on a task is begun


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = Parser("benchmark_gpu", __doc__)
    add = parser.add_argument
    add("--tasks", type=among(TASKS), default=TASKS, metavar="A,B", help="(default: all)")
    add(
        "--peers",
        type=among(tuple(gpu_tasks.MODULES)),
        default=tuple(gpu_tasks.MODULES),
        metavar="A,B",
        help=f"among {', '.join(gpu_tasks.MODULES)} (default: all)",
    )
    add("--minutes", type=count, default=9, metavar="M", help="all that it takes (default: 9)")
    add("--rehearse", action="store_true", help="on any device, at a small scale: not to be cited")
    add("--out", type=Path, required=True, metavar="DIR", help="where the results go")
    return parser


class Run:
    """The measurements of one call, stored after each.

    Attributes:
        results: all that is known, ready for JSON.
    """

    def __init__(self, args: argparse.Namespace, folder: Path, began: float) -> None:
        self._args, self._folder, self._began = args, folder, began
        scale = gpu_tasks.REHEARSAL if args.rehearse else gpu_tasks.FULL
        self._setup = Setup(
            folder=folder,
            image=ROOT / "examples" / "astronaut.png",
            threads=processes.available_threads(),
            effort=scale.effort,
        )
        env = processes.environment(self._setup.threads, folder)
        env["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [env.get("PYTHONPATH")])])
        # What is compiled for one task serves the next.
        env |= {
            "JAX_COMPILATION_CACHE_DIR": str(folder / "xla"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        }
        self._env = env
        self.results: dict[str, Any] = {
            "format": 1,
            "part": "gpu",
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "quick": args.rehearse,
            "failed": {},
            "results": {},
        }

    def left(self) -> float:
        """Return the seconds that are left."""
        return self._began + 60 * self._args.minutes - time.monotonic()

    def prepare(self) -> str | None:
        """Write the network; return why nothing can be measured, or None."""
        found, reason = self._worker("prepare", "ferjax", "bfloat16")
        if reason is not None:
            return reason
        device = found["device"]
        if device["platform"] == "cpu" and not self._args.rehearse:
            return "JAX finds no GPU; --rehearse takes any device"
        about = machine.describe(self._setup.threads, device, os.getloadavg()[0])
        self.results["results"]["gpu"] = {
            "machine": about,
            "versions": machine.versions(ROOT),
            "network": found["network"],
            "effort": dataclasses.asdict(self._setup.effort),
            "tasks": {},
        }
        self.store()
        return None

    def measure(self) -> None:
        """Measure what is asked for, in order, as long as there is time."""
        for task, entry, dtype in PLAN:
            if task not in self._args.tasks or entry not in self._args.peers:
                continue
            name = f"{task}, {entry}, {dtype}"
            if entry != "ferjax" and not has_torch():
                self._fail(name, "torch is not installed")
            elif self.left() < _LEAST:
                self._fail(name, f"the {self._args.minutes} minutes were over")
            else:
                began = time.monotonic()
                found, reason = self._worker(task, entry, dtype)
                took = time.monotonic() - began
                if reason is None:
                    self.results["results"]["gpu"]["tasks"][name] = found
                    say(f"{name}: {line(found)}  ({took:.0f} s, {self.left():.0f} s left)")
                else:
                    self._fail(name, reason)
            self.store()

    def _fail(self, name: str, reason: str) -> None:
        self.results["failed"][name] = reason
        say(f"{name}: not measured: {reason}")

    def _worker(self, task: str, entry: str, dtype: str) -> tuple[dict[str, Any], str | None]:
        setup = dataclasses.replace(self._setup, dtype=dtype).to_json()
        scale = "rehearse" if self._args.rehearse else "full"
        command = [sys.executable, __file__, "worker", task, entry, scale, setup]
        done = processes.run(command, self._env, self._folder, max(self.left(), _LEAST))
        if done.reason is not None:
            return {}, done.reason
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found, None

    def store(self) -> None:
        """Write what there is; a trace beside it."""
        out: Path = self._args.out
        part = out / ".gpu.json.part"
        part.write_text(json.dumps(self.results, indent=1) + "\n", encoding="utf-8")
        part.replace(out / "gpu.json")
        trace = self._folder / "trace.json.gz"
        if trace.is_file():
            shutil.move(trace, out / trace.name)


def has_torch() -> bool:
    """Whether PyTorch can be measured."""
    return importlib.util.find_spec("torch") is not None


def line(found: dict[str, Any]) -> str:
    """Return what a task measured, in a line.

    >>> line({"batch-128": [10.0, 30.0, 20.0]}), line({"idle": 0.25, "gaps": []})
    ('batch-128 20', 'idle 25%')
    """
    if "idle" in found:
        return "idle unknown" if found["idle"] is None else f"idle {found['idle']:.0%}"
    return ", ".join(f"{name} {sorted(of)[len(of) // 2]:.4g}" for name, of in found.items())


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark, or be one of its processes."""
    began = time.monotonic()
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["worker"]:
        return gpu_tasks.main(argv[1:])
    parser = build_parser()
    args = parser.parse_args(argv)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"argument --out: {args.out}: {error.strerror}")
    args.out = args.out.absolute()
    with tempfile.TemporaryDirectory(prefix="ferjax-gpu-") as folder:
        run = Run(args, Path(folder), began)
        reason = run.prepare()
        if reason is not None:
            say(f"benchmark_gpu: error: {reason}")
            return 1
        run.measure()
    from benchmarks import comparison

    print(comparison.table({"gpu": run.results}))
    return 1 if run.results["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
