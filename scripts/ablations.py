"""Train a recipe and changes of it with several seeds; print what each change is worth.

Each change is a text as `ferjax train --set` takes it, several keys in one text; with
architecture=model.json also another network. Every run is an own `ferjax train --resume` in a
folder of its own, so an interrupted comparison goes on where it stopped. What counts is the
validation accuracy after the last epoch: the best of several epochs flatters noisy runs. The table
goes to stdout, the results to RUNS/ablations.json, progress to stderr.

examples:
  python scripts/ablations.py --data fer2013 --recipe fast --set epochs=10 --seeds 0,1 \\
      --out runs/ablations "augmentation=none" "optimizer=sgd learning_rate=0.05"
  python scripts/ablations.py --table runs/ablations/ablations.json
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ferjax.errors import FerjaxError
from ferjax.files import replacing
from ferjax.train.recipes import Recipe, differences, override, recipe
from ferjax.train.setup import load_data

RESULTS = "ablations.json"


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        change: to the recipe; "" is the recipe as it is.
        seed: of the run.
        accuracy: on the validation images after the last epoch, in [0, 1].
    """

    change: str
    seed: int
    accuracy: float


@dataclass(frozen=True)
class Comparison:
    """What the runs of a comparison have in common, and their results.

    Attributes:
        recipe: what is changed.
        network: a file with another network than the recipe's, for all runs.
        data: the names and numbers of images, and a checksum of them.
        runs: those that are through.
    """

    recipe: Recipe
    network: str | None
    data: dict[str, Any]
    runs: list[Run]


def keys_and_network(keys: Iterable[str]) -> tuple[list[str], str | None]:
    """Return what of some changes goes to --set, and the network for --architecture.

    >>> keys_and_network(["learning_rate=0.05", "architecture=other.json"])
    (['learning_rate=0.05'], 'other.json')
    """
    others, network = [], None
    for key in keys:
        if key.startswith("architecture="):
            network = key.partition("=")[2]
        else:
            others.append(key)
    return others, network


def folder(out: Path, change: str, seed: int) -> Path:
    """Return where a run lies: a name that a person can read.

    >>> folder(Path("runs"), "optimizer=sgd learning_rate=0.05", 1).as_posix()
    'runs/optimizer=sgd_learning_rate=0.05.1'
    """
    return out / f"{re.sub(r'[^A-Za-z0-9=.,-]+', '_', change) or 'base'}.{seed}"


def begin(
    args: argparse.Namespace, change: str, seed: int, cores: Sequence[int] | None
) -> subprocess.Popen[bytes]:
    """Begin a run, or go on with it, on some cores; what it prints goes to a file beside it."""
    keys, network = keys_and_network([*args.set, *change.split()])
    at = folder(args.out, change, seed)
    call = [sys.executable, "-m", "ferjax", "train", "--data", args.data, "--recipe", args.recipe]
    call += ["--out", str(at), "--resume"]
    call += ["--architecture", network] if network else []
    call += ["--set", *keys, f"seed={seed}"]  # the last of a key wins
    with at.with_name(at.name + ".log").open("ab") as log:
        process = subprocess.Popen(call, stdout=log, stderr=subprocess.STDOUT)
    if cores is not None:
        os.sched_setaffinity(process.pid, cores)
    return process


def accuracy_of(run: Path, epochs: int) -> float | None:
    """Return the validation accuracy after the last epoch; None where a run is not through."""
    try:
        with (run / "log.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        return None
    if not rows or int(rows[-1]["epoch"]) < epochs or not (run / "last.h5").exists():
        return None
    return float(rows[-1]["val_accuracy"])


def table(runs: Sequence[Run]) -> str:
    """Return the runs as a Markdown table, a change a row, the difference to the recipe beside it.

    The error after the sign is the standard error of a difference of two means over seeds, from
    the spread within all changes: two or three seeds say little of one change's own.
    """
    by_change: dict[str, list[Run]] = {}
    for run in runs:
        by_change.setdefault(run.change, []).append(run)
    spread = _spread([[100 * r.accuracy for r in group] for group in by_change.values()])
    base = by_change.get("", [])
    lines = ["| change | accuracy, % | difference, points | seeds |", "|---|---|---|---|"]
    for change, group in by_change.items():
        mean = statistics.fmean(100 * r.accuracy for r in group)
        each = ", ".join(f"{100 * r.accuracy:.1f}" for r in sorted(group, key=lambda r: r.seed))
        beside = ""
        if change and base:
            difference = mean - statistics.fmean(100 * r.accuracy for r in base)
            beside = f"{difference:+.2f}"
            if spread is not None:
                beside += f" ± {spread * math.sqrt(1 / len(group) + 1 / len(base)):.2f}"
        name = f"`{change}`" if change else "none"
        lines.append(f"| {name} | {mean:.2f} | {beside} | {each} |")
    return "\n".join(lines)


def _spread(groups: Sequence[Sequence[float]]) -> float | None:
    """Return the standard deviation within groups, over all of them; None without two seeds."""
    freedom = sum(len(group) - 1 for group in groups)
    if freedom == 0:
        return None
    return math.sqrt(sum(statistics.pvariance(g) * len(g) for g in groups) / freedom)


def run_all(args: argparse.Namespace) -> list[Run]:
    """Train what is not through yet, `args.jobs` runs at once, and return every run's result."""
    changes = list(dict.fromkeys(["", *args.changes]))
    epochs = {}
    for change in changes:
        keys, _ = keys_and_network([*args.set, *change.split()])
        epochs[change] = override(recipe(args.recipe), keys).epochs
    comparison = asked_for(args)
    plan = [(change, seed) for seed in args.seeds for change in changes]
    done = {(run.change, run.seed): run for run in comparison.runs}
    waiting = [job for job in plan if job not in done]
    free = _shares(args.jobs)
    running: list[tuple[subprocess.Popen[bytes], list[int] | None, tuple[str, int]]] = []
    count, start = len(waiting), time.monotonic()
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        while waiting or running:
            while waiting and free:
                job, cores = waiting.pop(0), free.pop(0)
                running.append((begin(args, *job, cores), cores, job))
                _say(f"{job[0] or 'no change'}, seed {job[1]}: begun")
            time.sleep(0.5)
            for ended in [entry for entry in running if entry[0].poll() is not None]:
                process, cores, job = ended
                running.remove(ended)
                free.append(cores)
                at = folder(args.out, *job)
                found = accuracy_of(at, epochs[job[0]])
                if process.returncode or found is None:
                    raise FerjaxError(f"{at}: the run failed; what it printed is in {at}.log")
                done[job] = Run(*job, found)
                runs = [done[job] for job in dict.fromkeys((*plan, *done)) if job in done]
                write(args.out / RESULTS, dataclasses.replace(comparison, runs=runs))
                through = count - len(waiting) - len(running)
                left = (time.monotonic() - start) / through * (count - through) / 60
                _say(
                    f"{job[0] or 'no change'}, seed {job[1]}: {found:.2%} "
                    f"({through} of {count}, about {left:.0f} min left)"
                )
    finally:
        for process, *_ in running:
            process.terminate()  # it saves a checkpoint
        for process, *_ in running:
            process.wait()
    return [done[job] for job in plan]


def asked_for(args: argparse.Namespace) -> Comparison:
    """Return the comparison that was asked for, with the results that `args.out` has of it.

    Raises:
        FerjaxError: they are of another recipe, network or data.
    """
    keys, network = keys_and_network(args.set)
    base = override(recipe(args.recipe), keys)
    described = load_data(args.data, base).describe()
    data = {key: described[key] for key in ("names", "images", "checksum")}
    asked = Comparison(base, network, data, [])
    path = args.out / RESULTS
    if not path.exists():
        return asked
    there = read(path)
    others = differences(there.recipe, asked.recipe)
    if there.network != asked.network:
        others.append(f"architecture: {there.network}, {asked.network}")
    if there.data != asked.data:
        others.append(f"data: {there.data}, {asked.data}")
    if others:
        raise FerjaxError(
            f"{path}: its runs differ in more than their changes; give another --out (theirs, "
            f"yours: {'; '.join(others)})"
        )
    return dataclasses.replace(asked, runs=there.runs)


def read(path: Path) -> Comparison:
    """Return what `write` stored."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Comparison(
            recipe=Recipe.from_json(found["recipe"]),
            network=found["network"],
            data=found["data"],
            runs=[Run(**run) for run in found["runs"]],
        )
    except (ValueError, KeyError, TypeError):
        raise FerjaxError(f"{path}: not the results of a comparison") from None


def write(path: Path, comparison: Comparison) -> None:
    """Store a comparison, so that the folders of the runs can go."""
    with replacing(path) as temporary:
        text = json.dumps(asdict(comparison), indent=2)
        temporary.write_text(text + "\n", encoding="utf-8")


def _shares(jobs: int) -> list[list[int] | None]:
    """Divide the cores: a small network gets more out of one core each than out of two."""
    if jobs == 1 or not hasattr(os, "sched_getaffinity"):
        return [None] * jobs
    cores = sorted(os.sched_getaffinity(0))
    return [cores[i::jobs] or cores for i in range(jobs)]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _seeds(text: str) -> list[int]:
    try:
        return [int(seed) for seed in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers such as 0,1, got {text!r}") from None


def _jobs(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text!r}")
    return int(text)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("changes", nargs="*", metavar="CHANGE", help='such as "augmentation=none epochs=3"')
    add("--data", metavar="DIR", help="prepared faces with a validation split")
    add("--recipe", default="fast", metavar="NAME", help="what is changed (default: fast)")
    add(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="holds for every run: epochs=10",
    )
    add(
        "--seeds",
        type=_seeds,
        default=[0, 1],
        metavar="A,B",
        help="(default: 0,1)",
    )
    add("--jobs", type=_jobs, default=1, metavar="N", help="runs at once (default: 1)")
    add("--out", type=Path, metavar="RUNS", help="a folder, a run in each of its folders")
    add("--table", type=Path, metavar="FILE.json", help="print stored results and train nothing")
    return parser


def main() -> int:
    parser = build_parser()
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the runs are stopped with it
    try:
        if args.table is not None:
            print(table(read(args.table).runs))
            return 0
        if args.data is None or args.out is None:
            parser.error("expected --data and --out")
        print(table(run_all(args)))
        return 0
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130
    except (FerjaxError, OSError) as error:
        print(f"ablations: error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
