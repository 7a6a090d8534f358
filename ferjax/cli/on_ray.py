"""`--on ray` of the commands that say what is on pictures and films."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ferjax.cli import options
from ferjax.cli.progress import Progress
from ferjax.errors import FerjaxError

if TYPE_CHECKING:
    from ferjax.classifier import EmotionClassifier
    from ferjax.scale.jobs import Job

_ALONE = ("address", "workers", "gpus", "out")  # options that nothing but --on takes


def add_arguments(parser: argparse.ArgumentParser, *, with_going_on: bool = False) -> None:
    """Add --on, --out and where it computes; `with_going_on`, --resume and --force too."""
    group = parser.add_argument_group("many, on several cores or machines")
    group.add_argument(
        "--on",
        choices=("ray",),
        help="compute by Ray, on this machine or a cluster, and write Parquet files to --out; then "
        "folders may be addresses, such as s3://bucket/photos or gs://bucket/photos",
    )
    group.add_argument(
        "--out", metavar="DIR", help="folder of the Parquet files, a path or an address"
    )
    group.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="a Ray cluster, or auto for the one that runs here (default: "
        "RAY_ADDRESS, or else this machine alone)",
    )
    group.add_argument(
        "--workers",
        type=options.count,
        metavar="N",
        help="processes (default: one for each core, or with --gpus for each of those)",
    )
    group.add_argument(
        "--gpus",
        type=options.positive,
        metavar="G",
        help="GPUs for each worker, such as 1 or 0.5 (default: none)",
    )
    if with_going_on:
        options.add_going_on(group, "the run that is in --out")


def check_alone(args: argparse.Namespace) -> None:
    """Raise where options of --on are given without it."""
    for name in _ALONE:
        if getattr(args, name) is not None:
            raise FerjaxError(f"--{name} is for runs on Ray: give --on ray too")


def check_together(args: argparse.Namespace, others: Mapping[str, Any]) -> None:
    """Raise where options are given that runs on Ray have no use for.

    Args:
        args: the command's.
        others: the values of these, by their names.
    """
    for name, value in others.items():
        if value:
            raise FerjaxError(f"{name} is not for runs on Ray, which write Parquet files to --out")
    if not args.out:
        raise FerjaxError("--on ray writes Parquet files: give --out DIR too")
    if getattr(args, "prior", None) == "adapt":
        raise FerjaxError(
            "--prior adapt takes all faces before the first result, and runs on Ray do not wait; "
            "give shares by class or uniform"
        )


def run(
    args: argparse.Namespace,
    sources: Sequence[str],
    classifier: EmotionClassifier,
    job: Job,
    asked: Mapping[str, Any],
) -> int:
    """Do a run on Ray, say how far it is and what came of it, and return the exit code."""
    from ferjax.scale.cluster import ClusterOptions
    from ferjax.scale.run import Run

    cluster = ClusterOptions(address=args.address, workers=args.workers, gpus=args.gpus or 0.0)
    work = Run(
        classifier,
        sources,
        job,
        {"COMMAND": args.command, **asked},
        out=args.out,
        cluster=cluster,
        resume=args.resume,
        force=args.force,
    )
    result = work.result
    if result.left_out:
        print(f"ferjax: note: {result.left_out:,} other files are left out", file=sys.stderr)
    if args.resume and not work.goes_on:
        print("ferjax: note: begins anew: no run is unfinished", file=sys.stderr)
    progress = Progress(result.total, result.what)

    def begun() -> None:
        if result.before:
            print(
                f"ferjax: note: {result.before:,} of {result.total:,} are done already",
                file=sys.stderr,
            )
        progress.total = result.total
        progress.begin(result.before)

    def note(text: str) -> None:
        progress.clear()
        print(f"ferjax: note: {text}", file=sys.stderr)

    try:
        work.do(progress.advance, begun, note)
    except KeyboardInterrupt:
        progress.clear()
        print(
            f"interrupted: {result.counts.inputs:,} of {result.total:,} {result.what} are done; "
            "--resume goes on with the others",
            file=sys.stderr,
        )
        raise
    finally:
        progress.clear()
    for line in result.lines():
        print(line)
    return 1 if result.counts.failed else 0
