"""Train a network, or go on with a run that was interrupted.

DIR is what `ferjax data prepare` makes. RUN gets checkpoints, log.csv, curves.png, TensorBoard
events, and at the end best.h5 and last.h5, which every Keras opens. Ctrl-C and SIGTERM save first;
after any interruption --resume goes on, to the same weights bit for bit.

examples:
  ferjax train --data fer2013 --recipe fast --out runs/fast
  ferjax train --out runs/fast --resume
  ferjax train --data faces --recipe fine-tune --init model.h5 --set epochs=10 --out runs/more
  ferjax train --data fer2013 --recipe votes --out runs/votes
  ferjax train --data fer2013 --recipe fast --teacher checkpoints/fer_cnn8.h5 --out runs/taught
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
from typing import TYPE_CHECKING

from ferjax.errors import DataError, FerjaxError, printable

if TYPE_CHECKING:
    from ferjax.train.result import TrainingResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from ferjax.train.recipes import NAMED

    recipes = "; ".join(f"{named.recipe.name}: {named.summary}" for named in NAMED)
    parser.add_argument(
        "--data", metavar="DIR", help="prepared faces (default: those of the run to resume)"
    )
    parser.add_argument("--out", metavar="RUN", help="the run's folder")
    parser.add_argument("--recipe", metavar="NAME", help=f"{recipes} (default: fast)")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="change any field of the recipe: learning_rate=3e-4 augmentation.rotation=15",
    )
    parser.add_argument(
        "--print-recipe",
        action="store_true",
        help="print the recipe, its fields as --set takes them, and train nothing",
    )
    parser.add_argument(
        "--architecture",
        metavar="NAME|FILE",
        help="fer_cnn8, fer_cnn5, a model.json or a Keras file (default: the recipe's)",
    )
    parser.add_argument(
        "--init",
        metavar="WEIGHTS",
        help="start from any Keras file, with its Adam moments where it has them (default: drawn "
        "weights; recipe votes: fer_cnn8)",
    )
    parser.add_argument(
        "--teacher",
        nargs="+",
        action="extend",
        default=[],
        metavar="WEIGHTS",
        help="learn the probabilities of trained networks beside the labels, any files that "
        "ferjax opens; --set distillation=0.5 says how much of each label is theirs",
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in RUN; begin it where there is none yet",
    )
    group.add_argument("--force", action="store_true", help="replace the run in RUN")
    parser.add_argument(
        "--checkpoint-every",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="between checkpoints; the best epochs are saved in any case (default: 60)",
    )
    parser.add_argument(
        "--licence", metavar="TEXT", help="of the weights, for their metadata: Apache-2.0"
    )
    parser.add_argument("--json", action="store_true", help="the result as JSON on stdout")
    hosts = parser.add_argument_group("several hosts")
    hosts.add_argument(
        "--distributed",
        action="store_true",
        help="join the other hosts; on Slurm, Open MPI and Cloud TPU the rest is found out",
    )
    hosts.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0")
    hosts.add_argument("--num-processes", type=int, metavar="N")
    hosts.add_argument("--process-id", type=int, metavar="I", help="of this process, from 0")


def run(args: argparse.Namespace) -> int:
    from ferjax.nets.architectures import ARCHITECTURES
    from ferjax.train.recipes import override, recipe

    if args.print_recipe:
        chosen = override(recipe(args.recipe or "fast"), args.set)
        if args.architecture in ARCHITECTURES:
            chosen = dataclasses.replace(chosen, architecture=args.architecture)
        if args.json:
            print(json.dumps(chosen.to_json(), indent=2))
        else:
            print(f"recipe {chosen.name}:\n{chosen}")
        return 0
    if args.out is None:
        raise FerjaxError("expected --out RUN, a folder for the run")
    if args.distributed or args.coordinator:
        from ferjax.train.devices import initialize

        initialize(args.coordinator, args.num_processes, args.process_id)
    elif args.num_processes is not None or args.process_id is not None:
        raise FerjaxError(
            "expected --coordinator HOST:PORT with --num-processes and --process-id, or each host "
            "would train alone"
        )
    from ferjax.train.loop import train_and_evaluate

    result = train_and_evaluate(
        args.recipe,
        args.data,
        args.out,
        changes=args.set,
        architecture=args.architecture,
        init=args.init,
        teachers=args.teacher,
        resume=args.resume,
        force=args.force,
        checkpoint_every=args.checkpoint_every,
        licence=args.licence,
        command=args.call,
    )
    if result.is_first_host:
        if args.json:
            print(json.dumps(result.to_json(), indent=2))
        else:
            _print(result, args.out)
    return 0 if result.interrupted is None else 128 + result.interrupted


def _print(result: TrainingResult, out: str) -> None:
    for which, path, measured in (
        ("best", result.best, result.best_accuracy),
        ("last", result.last, result.last_accuracy),
    ):
        for m in measured:
            print(
                f"{printable(str(path))} ({which}): {m['top_1']:.2%} "
                f"({m['correct']:,} of {m['images']:,}), {m['dataset']}"
                f"{', against the ' + m['labels'] if m.get('labels') else ''}, {m['note']}"
            )
    if result.interrupted is not None:
        print(f"go on with: ferjax train --out {printable(shlex.quote(out))} --resume")
    elif result.best is not None and result.data is not None:
        arguments = ["--weights", str(result.best), "--data", result.data]
        split = _measurable(result.data)
        if split is not None:
            arguments += [] if split == "validation" else ["--split", split]
            call = shlex.join(["ferjax", "evaluate", *arguments])
            print(f"evaluate with: {printable(call)}")


def _measurable(data: str) -> str | None:
    """Return a split beside train that the data has: where images were held out, perhaps none."""
    from ferjax.data.preparation import load

    try:
        faces = load(data)
    except DataError:  # gone since
        return None
    return next((split for split in ("validation", "test") if faces.in_split(split).any()), None)
