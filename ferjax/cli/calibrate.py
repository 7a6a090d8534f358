"""Fit the temperature that makes confidences honest, and store it with the weights.

It is fitted on validation images without exact copies of training images, and goes into the
metadata file beside the weights. `ferjax predict --calibrated` and `ferjax evaluate` use it; plain
predictions stay as Keras gives them.

example:
  ferjax calibrate --weights runs/fast/best.h5 --data fer2013
"""

from __future__ import annotations

import argparse
import dataclasses
import json

from ferjax.cli.options import add_labels, add_output, add_value_range, value_range_of
from ferjax.cli.progress import reported


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights", metavar="FILE", help="any weight file of Keras or Flax (default: ferjax's own)"
    )
    add_labels(parser)
    add_value_range(parser, "as the metadata or the layers say")
    add_output(parser)
    parser.add_argument(
        "--data", required=True, metavar="DIR", help="what `ferjax data prepare` made"
    )
    parser.add_argument("--dry-run", action="store_true", help="fit and show, store nothing")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def run(args: argparse.Namespace) -> int:
    from ferjax.xla import compile_cache

    with compile_cache():
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    from ferjax.evaluate import calibrate

    with reported() as progress:
        found = calibrate(
            args.weights,
            args.data,
            labels=args.labels,
            value_range=value_range_of(args),
            output=args.output,
            store=not args.dry_run,
            progress=progress,
        )
    if args.json:
        values = dataclasses.asdict(found)
        print(json.dumps({**values, "path": str(found.path) if found.path else None}, indent=2))
        return 0
    left_out = ""
    if found.copies_left_out:
        left_out = f", without {found.copies_left_out:,} copies of training images"
    print(f"temperature {found.temperature:.4f}, fitted on {found.images:,} images of ", end="")
    print(f"{found.data}{left_out}")
    print(f"{'':<32}  {'before':>8}  {'after':>8}  (each image by the other four fifths)")
    b, a = found.before, found.after
    for label, before, after in (
        ("negative log-likelihood (nats)", b.negative_log_likelihood, a.negative_log_likelihood),
        ("Brier score (0 to 2)", b.brier_score, a.brier_score),
        ("calibration error, equal width", b.ece_equal_width, a.ece_equal_width),
        ("calibration error, equal mass", b.ece_equal_mass, a.ece_equal_mass),
    ):
        print(f"{label:<32}  {before:8.4f}  {after:8.4f}")
    if found.path is None:
        print("not stored")
    else:
        instead = f", instead of {found.previous:.4f}" if found.previous is not None else ""
        print(f"stored in {found.path}{instead}")
    return 0
