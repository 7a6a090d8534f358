"""Train a recipe with several seeds, release the median one and measure it.

Each step is a command of ferjax, printed before it runs: `train` for every seed, `convert` of the
median's best epoch, `calibrate`, `evaluate` (single view with corruptions, flip, ten-crop) of all
seeds, `card`. OUT/release gets the weights, their metadata, curves, reports and card, and the other
seeds' metadata. The median is that of validation accuracy, single view, at each seed's best epoch.

Interrupted, the same command goes on, and what is through is not done again. Trainings can be done
on another machine, such as one with a GPU: --only train there, and here, with OUT copied, --only
release.

examples:
  python scripts/release.py --data fer2013 --recipe flagship --jobs 3 --out runs/flagship
  python scripts/release.py --data fer2013 --recipe flagship --jobs 3 --only train --minutes 10 \\
      --out runs/flagship
  python scripts/release.py --data fer2013 --recipe fine-tune \\
      --init runs/flagship/seed{seed}/best.h5 --out runs/fine-tuned
  python scripts/release.py --data fer2013 --recipe flagship \\
      --teacher runs/flagship/seed*/best.h5 --out runs/taught
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import trainings
from ferjax import digests, metadata
from ferjax.cli.main import main as ferjax_command
from ferjax.errors import FerjaxError
from ferjax.files import replacing
from ferjax.train.recipes import Recipe, override, recipe
from ferjax.train.result import selected_by
from ferjax.train.training_data import load_data
from trainings import Training, say

VIEWS = {"single": (), "flip": ("--tta", "flip"), "ten-crop": ("--tta", "ten-crop")}
_INTERRUPTED = 128 + signal.SIGINT
_STOPPED = (128 + signal.SIGTERM, -signal.SIGTERM)  # the latter before a training listens to it


class Steps:
    """What is through, in a file: a step is done again where its command or its weights changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: dict[str, str] = {}
        if path.exists():
            try:
                self.done = dict(json.loads(path.read_text(encoding="utf-8")))
            except (ValueError, TypeError):
                raise FerjaxError(f"{path}: not the steps of a release; remove it") from None

    def is_through(self, name: str, command: Sequence[str], weights: Path | None = None) -> bool:
        return self.done.get(name) == self._digest(command, weights)

    def through(self, name: str, command: Sequence[str], weights: Path | None = None) -> None:
        self.done[name] = self._digest(command, weights)
        self._write()

    def forget(self, names: Sequence[str]) -> None:
        for name in names:
            self.done.pop(name, None)
        self._write()

    def _write(self) -> None:
        with replacing(self.path) as temporary:
            temporary.write_text(json.dumps(self.done, indent=2) + "\n", encoding="utf-8")

    def run(self, name: str, command: Sequence[str], weights: Path, result: Path) -> None:
        """Run a command of ferjax on weights, unless its result is there."""
        if self.is_through(name, command, weights) and result.exists():
            return
        say(f"$ {shlex.join(['ferjax', *command])}")
        code = ferjax_command(command)
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        if code:
            raise FerjaxError(f"{shlex.join(['ferjax', *command])}: failed with exit code {code}")
        self.through(name, command, weights)

    def _digest(self, command: Sequence[str], weights: Path | None) -> str:
        text = json.dumps([*command, None if weights is None else digests.sha256(weights)])
        return hashlib.sha256(text.encode()).hexdigest()


def training(args: argparse.Namespace, seed: int) -> Training:
    """Return the training of a seed."""
    arguments = ["--data", args.data, "--recipe", args.recipe]
    if args.architecture:
        arguments += ["--architecture", args.architecture]
    if args.init:
        arguments += ["--init", args.init.replace("{seed}", str(seed))]
    if args.teacher:
        arguments += ["--teacher", *(path.replace("{seed}", str(seed)) for path in args.teacher)]
    if args.licence:
        arguments += ["--licence", args.licence]
    arguments += ["--set", *args.set, f"seed={seed}"]
    return Training(f"seed {seed}", args.out / f"seed{seed}", tuple(arguments))


def train(args: argparse.Namespace, steps: Steps) -> None:
    """Train every seed that is not through, for at most `args.minutes`."""
    waiting = [
        one
        for one in (training(args, seed) for seed in args.seeds)
        if not (steps.is_through(one.name, one.arguments) and best(one.run).exists())
    ]
    for one in waiting:
        say(f"$ {shlex.join(['ferjax', 'train', *one.arguments])} --out {one.run} --resume")

    def ended(one: Training, code: int) -> None:
        # Its metadata is new.
        steps.forget(["convert", *(f"evaluate {one.name} {view}" for view in VIEWS)])
        if code == 0:
            steps.through(one.name, one.arguments)
            say(f"{one.name}: {accuracy(best(one.run)):.2%} on validation")
        elif code in _STOPPED and args.minutes is not None:
            say(f"{one.name}: stopped; the same command goes on")
        else:
            raise FerjaxError(f"{one.run}: the run failed; what it printed is in {one.log}")

    seconds = None if args.minutes is None else 60 * args.minutes
    trainings.run(waiting, args.jobs, ended, seconds=seconds)


def check_comparable(recipe: Recipe, seeds: Sequence[int]) -> None:
    """Refuse seeds that would be trained and measured on other images each."""
    if recipe.hold_out and len(seeds) > 1:
        raise FerjaxError(
            f"the recipe holds out {recipe.hold_out:.0%} of the training images, other ones with "
            "each seed, so that seeds cannot be compared: --set hold_out=0 validates on the data's "
            "validation split, --seeds 0 releases one training"
        )


def best(run: Path) -> Path:
    return run / "best.h5"


def accuracy(weights: Path) -> float:
    """Return what a training measured on all validation images, single view, in [0, 1]."""
    if not weights.exists():
        raise FerjaxError(f"{weights}: not there; train all seeds up to an epoch's end first")
    found = metadata.read(weights)
    try:
        return float(selected_by(found["accuracy"])["top_1"])
    except (KeyError, IndexError, TypeError):
        raise FerjaxError(f"{weights}: its metadata has no accuracy; train it again") from None


def median(accuracies: dict[int, float]) -> int:
    """Return the seed of the median accuracy, of an odd number of seeds.

    >>> median({0: 0.70, 1: 0.68, 2: 0.69})
    2
    """
    ranked = sorted(accuracies, key=lambda seed: (accuracies[seed], seed))
    return ranked[len(ranked) // 2]


def release(args: argparse.Namespace, steps: Steps) -> Path:
    """Convert, calibrate, measure and describe the median seed; return the release's folder."""
    runs = {seed: args.out / f"seed{seed}" for seed in args.seeds}
    accuracies = {seed: accuracy(best(run)) for seed, run in runs.items()}
    chosen = median(accuracies)
    each = ", ".join(f"{seed}: {value:.2%}" for seed, value in accuracies.items())
    say(f"validation accuracy by seed: {each}; the median is seed {chosen}")

    folder = args.out / "release"
    reports, seeds = folder / "reports", folder / "seeds"
    for one in (reports, seeds):
        one.mkdir(parents=True, exist_ok=True)
    weights, source = folder / f"{args.name}.h5", best(runs[chosen])
    convert = ["convert", str(source), str(weights)]
    if not (steps.is_through("convert", convert, source) and weights.exists()):
        # Its metadata will be new, and what the next steps wrote into it gone.
        steps.forget(["calibrate", *(f"evaluate {view}" for view in VIEWS)])
    steps.run("convert", convert, source, weights)
    if (curves := runs[chosen] / "curves.png").exists():  # drawn where matplotlib is installed
        shutil.copyfile(curves, folder / f"{args.name}.curves.png")
    on = ["--weights", str(weights), "--data", args.data]
    steps.run("calibrate", ["calibrate", *on], weights, weights)
    kept = []
    for view, options in VIEWS.items():
        at = args.out / "reports" / view
        call = ["evaluate", *on, *options, "--record", "--out", str(at)]
        call += ["--robustness"] if view == "single" and not args.no_robustness else []
        steps.run(f"evaluate {view}", call, weights, at / "report.json")
        kept.append(reports / f"{args.name}{'' if view == 'single' else f'.{view}'}.json")
        shutil.copyfile(at / "report.json", kept[-1])
    others = []
    for seed, run in runs.items():
        there = seeds / f"{args.name}.seed{seed}.metadata.json"
        there.unlink(missing_ok=True)
        if seed == chosen:
            continue
        for view, options in VIEWS.items():
            call = ["evaluate", "--weights", str(best(run)), "--data", args.data, *options]
            name = f"evaluate seed {seed} {view}"
            steps.run(name, [*call, "--record"], best(run), metadata.sidecar(best(run)))
        shutil.copyfile(metadata.sidecar(best(run)), there)
        others.append(str(there))
    card = folder / "MODEL_CARD.md"
    call = ["card", "--weights", str(weights), "--report", *map(str, kept)]
    call += ["--other-seeds", *others] if others else []
    card.unlink(missing_ok=True)  # the metadata may have changed
    steps.run("card", [*call, "--out", str(card)], weights, card)
    return folder


def _seeds(text: str) -> list[int]:
    found = trainings.seeds(text)
    if len(found) % 2 == 0:
        raise argparse.ArgumentTypeError(
            f"expected an odd number of seeds, of which one is the median, got {text!r}"
        )
    return found


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", required=True, metavar="DIR", help="what `ferjax data prepare` made")
    add("--out", required=True, type=Path, metavar="OUT", help="a folder for runs and release")
    add("--recipe", default="flagship", metavar="NAME", help="(default: flagship)")
    add("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="as for train")
    add("--architecture", metavar="NAME|FILE", help="as for train")
    add("--init", metavar="WEIGHTS", help="as for train; {seed} in it stands for the seed")
    add("--teacher", nargs="+", action="extend", default=[], metavar="WEIGHTS", help="as --init")
    add("--licence", metavar="TEXT", help="of the weights, for their metadata: Apache-2.0")
    add("--seeds", type=_seeds, default=[0, 1, 2], metavar="A,B,C", help="(default: 0,1,2)")
    add("--jobs", type=trainings.count, default=1, metavar="N", help="at once (default: 1)")
    add("--minutes", type=float, metavar="M", help="stop trainings then, and go on with the best")
    add("--only", choices=("train", "release"), help="one half of the work (default: both)")
    add("--name", metavar="NAME", help="of the released files (default: OUT's)")
    add("--no-robustness", action="store_true", help="leave out corruptions: 86 times the images")
    return parser


def main() -> int:
    args = build_parser().parse_args()
    args.name = args.name or args.out.resolve().name

    def work() -> None:
        chosen = override(recipe(args.recipe), args.set)  # mistakes show here
        check_comparable(chosen, args.seeds)
        load_data(args.data, chosen)
        args.out.mkdir(parents=True, exist_ok=True)
        steps = Steps(args.out / "steps.json")
        if args.only != "release":
            train(args, steps)
        if args.only != "train":
            print(release(args, steps))

    return trainings.exit_code("release", work)


if __name__ == "__main__":
    sys.exit(main())
