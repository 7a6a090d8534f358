"""Train a recipe and changes of it with several seeds; print what each change is worth.

Each change is a text as `ferjax train --set` takes it, several keys in one text; also another
network by architecture=model.json, weights to start from by init=weights.h5, and a teacher by
teacher=weights.h5. Every run is an own `ferjax train --resume` in a folder of its own, so an
interrupted comparison goes on where it stopped. What counts is the validation accuracy after the
last epoch: the best of several epochs flatters noisy runs. Of data with votes (`ferjax data prepare
--votes`) all are measured against the majority of people, whatever they were trained on, with the
mean recall over classes, both as they are and for a uniform prior, and against the images' own
labels. The table goes to stdout, the results to RUNS/ablations.json, progress to stderr.

examples:
  python scripts/ablations.py --data fer2013 --recipe fast --set epochs=10 --seeds 0,1 \\
      --out runs/ablations "augmentation=none" "optimizer=sgd learning_rate=0.05"
  python scripts/ablations.py --data fer2013 --recipe votes \\
      --set init=checkpoints/fer_cnn5.h5 epochs=3 --seeds 0,1 --out runs/votes \\
      "vote_target=majority" "votes=0" "votes=0.5" "votes=1" "unclear='leave out'" \\
      "vote_outliers=0" "label_smoothing=0" "logit_adjustment=0.5" "logit_adjustment=1" \\
      "class_weights=balanced" "sampling=balanced"
  python scripts/ablations.py --table runs/ablations/ablations.json
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import math
import re
import shlex
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import trainings
from ferjax.data.dataset import Faces
from ferjax.errors import FerjaxError
from ferjax.evaluate.evaluation import evaluate
from ferjax.files import replacing
from ferjax.train import targets
from ferjax.train.recipes import Recipe, differences, override, recipe
from ferjax.train.training_data import load_data
from trainings import Training, say

RESULTS = "ablations.json"
_OPTIONS = ("architecture", "init", "teacher")  # of `ferjax train`, beside the recipe


@dataclass(frozen=True)
class VoteFigures:
    """What a run reaches beside its accuracy against the majority of people, each in [0, 1].

    Attributes:
        balanced: the mean recall over the classes of the majority.
        uniform, uniform_balanced: accuracy and mean recall for a uniform prior; None where what the
            outputs stand for is not known.
        own_labels: the accuracy against the images' own labels.
        recalls: by class, of the majority's; the rarest first.
    """

    balanced: float
    uniform: float | None
    uniform_balanced: float | None
    own_labels: float
    recalls: dict[str, float | None]


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        change: to the recipe; "" is the recipe as it is.
        seed: of the run.
        accuracy: on the validation images after the last epoch, in [0, 1]; of data with votes
            against the majority.
        votes: what else is measured against votes; None for data without.
    """

    change: str
    seed: int
    accuracy: float
    votes: VoteFigures | None = None


@dataclass(frozen=True)
class Comparison:
    """What the runs of a comparison have in common, and their results.

    Attributes:
        recipe: what is changed.
        options: files of a network, of weights to start from or of a teacher, for all runs.
        data: the names and numbers of images, and checksums of them and of their votes.
        runs: those that are through.
    """

    recipe: Recipe
    options: dict[str, str]
    data: dict[str, Any]
    runs: list[Run]


def keys_and_options(keys: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Return what of some changes goes to --set, and options such as --architecture.

    >>> keys_and_options(["learning_rate=0.05", "architecture=other.json"])
    (['learning_rate=0.05'], {'architecture': 'other.json'})
    """
    others, options = [], {}
    for key in keys:
        name, _, value = key.partition("=")
        if name in _OPTIONS:
            options[name] = value
        else:
            others.append(key)
    return others, options


def parts(change: str) -> list[str]:
    """Return the keys with their values of a change; a value with spaces is in quotes.

    >>> parts("votes=1 unclear='leave out'")
    ['votes=1', 'unclear=leave out']
    """
    try:
        return shlex.split(change)
    except ValueError as error:
        raise FerjaxError(
            f"expected key=value with quotes in pairs, got {change!r}: {error}"
        ) from None


def folder(out: Path, change: str, seed: int) -> Path:
    """Return where a run lies: a name that a person can read.

    >>> folder(Path("runs"), "optimizer=sgd learning_rate=0.05", 1).as_posix()
    'runs/optimizer=sgd_learning_rate=0.05.1'
    """
    return out / f"{re.sub(r'[^A-Za-z0-9=.,-]+', '_', change) or 'base'}.{seed}"


def training(args: argparse.Namespace, change: str, seed: int) -> Training:
    """Return the run of a change and a seed."""
    keys, options = keys_and_options([*args.set, *parts(change)])
    arguments = ["--data", args.data, "--recipe", args.recipe]
    for name, value in options.items():
        arguments += [f"--{name}", value]
    arguments += ["--set", *keys, f"seed={seed}"]  # the last of a key wins
    name = f"{change or 'no change'}, seed {seed}"
    return Training(name, folder(args.out, change, seed), tuple(arguments))


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


def against_votes(run: Path, faces: Faces) -> tuple[float, VoteFigures] | None:
    """Return the accuracy against the majority, and what else is measured; None without votes."""
    if faces.votes is None:
        return None
    evaluation = evaluate(run / "last.h5", faces)
    if evaluation.votes is None:
        return None
    own = f"{len(faces.class_names)} classes"
    answers = evaluation.votes.whole.answers
    measured = answers["training"].majorities.get(own)
    if measured is None:
        return None
    uniform = answers["uniform"].majorities[own] if "uniform" in answers else None
    classes = sorted(measured.classes.items(), key=lambda item: item[1].support)
    return measured.accuracy, VoteFigures(
        balanced=measured.balanced_accuracy,
        uniform=None if uniform is None else uniform.accuracy,
        uniform_balanced=None if uniform is None else uniform.balanced_accuracy,
        own_labels=evaluation.whole.accuracy,
        recalls={name: figures.recall for name, figures in classes if figures.support},
    )


def table(runs: Sequence[Run]) -> str:
    """Return the runs as a Markdown table, a change a row, the difference to the recipe beside it.

    The error after the sign is the standard error of a difference of two means over seeds, from
    the spread within all changes: two or three seeds say little of one change's own. Of data with
    votes what else is measured follows, means over the seeds, with the recall of the two rarest
    classes.
    """
    by_change: dict[str, list[Run]] = {}
    for run in runs:
        by_change.setdefault(run.change, []).append(run)
    spread = _spread([[100 * r.accuracy for r in group] for group in by_change.values()])
    base = by_change.get("", [])
    rare = next((tuple(run.votes.recalls)[:2] for run in runs if run.votes is not None), None)
    header = ["change", "accuracy, %" if rare is None else "majority, %"]
    header += ["difference, points", "seeds"]
    if rare is not None:
        header += ["balanced, %", "uniform prior, %", "balanced so, %", "own labels, %"]
        header += [f"recall of {name}, %" for name in rare]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
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
        cells = [name, f"{mean:.2f}", beside, each]
        if rare is not None:
            cells += _voted(group, rare)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _voted(group: Sequence[Run], rare: Sequence[str]) -> list[str]:
    """Return the cells of what is measured against votes: means over the seeds that have it."""
    measured = [run.votes for run in group if run.votes is not None]
    columns: list[list[float | None]] = [
        [votes.balanced for votes in measured],
        [votes.uniform for votes in measured],
        [votes.uniform_balanced for votes in measured],
        [votes.own_labels for votes in measured],
        *([votes.recalls.get(name) for votes in measured] for name in rare),
    ]
    known = [[100 * value for value in column if value is not None] for column in columns]
    return [f"{statistics.fmean(values):.2f}" if values else "" for values in known]


def _spread(groups: Sequence[Sequence[float]]) -> float | None:
    """Return the standard deviation within groups, over all of them; None without two seeds."""
    freedom = sum(len(group) - 1 for group in groups)
    if freedom == 0:
        return None
    return math.sqrt(sum(statistics.pvariance(g) * len(g) for g in groups) / freedom)


def run_all(args: argparse.Namespace) -> list[Run]:
    """Train what is not through yet, `args.jobs` runs at once, and return every run's result."""
    changes = list(dict.fromkeys(["", *args.changes]))
    epochs = {}  # that a run has when it is through, at least
    for change in changes:
        keys, _ = keys_and_options([*args.set, *parts(change)])
        changed = override(recipe(args.recipe), keys)
        epochs[change] = changed.epochs if changed.early_stopping is None else 1
    comparison, validation = asked_for(args)
    plan = [(change, seed) for seed in args.seeds for change in changes]
    measured = [r for r in comparison.runs if validation.votes is None or r.votes is not None]
    done = {(run.change, run.seed): run for run in measured}
    waiting = {training(args, *job): job for job in plan if job not in done}
    through, start = 0, time.monotonic()

    def ended(one: Training, code: int) -> None:
        nonlocal through
        change, seed = waiting[one]
        found = accuracy_of(one.run, epochs[change])
        if code or found is None:
            raise FerjaxError(f"{one.run}: the run failed; what it printed is in {one.log}")
        voted = against_votes(one.run, validation)
        if voted is not None:
            found = voted[0]
        done[change, seed] = Run(change, seed, found, None if voted is None else voted[1])
        runs = [done[job] for job in dict.fromkeys((*plan, *done)) if job in done]
        write(args.out / RESULTS, dataclasses.replace(comparison, runs=runs))
        through += 1
        left = (time.monotonic() - start) / through * (len(waiting) - through) / 60
        say(f"{one.name}: {found:.2%} ({through} of {len(waiting)}, about {left:.0f} min left)")

    args.out.mkdir(parents=True, exist_ok=True)
    trainings.run(list(waiting), args.jobs, ended)
    return [done[job] for job in plan]


def asked_for(args: argparse.Namespace) -> tuple[Comparison, Faces]:
    """Return the comparison that was asked for, with the results that `args.out` has of it, and
    the validation images.

    Raises:
        FerjaxError: they are of another recipe, network, teacher or data.
    """
    keys, options = keys_and_options(args.set)
    base = override(recipe(args.recipe), keys)
    loaded = load_data(args.data, base)
    described = loaded.describe()
    data = {key: described[key] for key in ("names", "images", "checksum")}
    validation = loaded.whole.validation
    if validation.votes is not None:
        data["votes"] = targets.checksum(validation.votes)
    asked = Comparison(base, options, data, [])
    path = args.out / RESULTS
    if not path.exists():
        return asked, validation
    there = read(path)
    others = differences(there.recipe, asked.recipe)
    for name in _OPTIONS:
        theirs, ours = there.options.get(name), asked.options.get(name)
        if theirs != ours:
            others.append(f"{name}: {theirs}, {ours}")
    if there.data != asked.data:
        others.append(f"data: {there.data}, {asked.data}")
    if others:
        raise FerjaxError(
            f"{path}: its runs differ in more than their changes; give another --out (theirs, "
            f"yours: {'; '.join(others)})"
        )
    return dataclasses.replace(asked, runs=there.runs), validation


def read(path: Path) -> Comparison:
    """Return what `write` stored."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Comparison(
            recipe=Recipe.from_json(found["recipe"]),
            options=dict(found["options"]),
            data=found["data"],
            runs=[_run(run) for run in found["runs"]],
        )
    except (ValueError, KeyError, TypeError):
        raise FerjaxError(f"{path}: not the results of a comparison") from None


def _run(stored: dict[str, Any]) -> Run:
    votes = stored.get("votes")
    return Run(**{**stored, "votes": None if votes is None else VoteFigures(**votes)})


def write(path: Path, comparison: Comparison) -> None:
    """Store a comparison, so that the folders of the runs can go."""
    with replacing(path) as temporary:
        text = json.dumps(asdict(comparison), indent=2)
        temporary.write_text(text + "\n", encoding="utf-8")


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
        type=trainings.seeds,
        default=[0, 1],
        metavar="A,B",
        help="(default: 0,1)",
    )
    add("--jobs", type=trainings.count, default=1, metavar="N", help="runs at once (default: 1)")
    add("--out", type=Path, metavar="RUNS", help="a folder, a run in each of its folders")
    add("--table", type=Path, metavar="FILE.json", help="print stored results and train nothing")
    return parser


def main() -> int:
    parser = build_parser()
    args = parser.parse_args()

    def work() -> None:
        if args.table is not None:
            print(table(read(args.table).runs))
            return
        if args.data is None or args.out is None:
            parser.error("expected --data and --out")
        print(table(run_all(args)))

    return trainings.exit_code("ablations", work)


if __name__ == "__main__":
    sys.exit(main())
