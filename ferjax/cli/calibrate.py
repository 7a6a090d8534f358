"""Fit what makes confidences honest, and store it with the weights.

It is fitted on validation images without exact copies of training images, and goes into the
metadata file beside the weights. `ferjax predict --calibrated` and `ferjax evaluate` use it; plain
predictions stay as Keras gives them.

A temperature is one number, by which the logits are divided: it never changes a label. --method
vector fits an offset of each class too, which may change labels: right where classes are said too
often or too seldom, if there are images enough. --method auto takes the offsets where the
likelihood of images that they were not fitted on is the higher for them.

With --targets votes it is fitted to what people said of the images and not to their labels.

examples:
  ferjax calibrate --weights runs/fast/best.h5 --data fer2013
  ferjax calibrate --weights runs/fast/best.h5 --data ferplus --targets votes --method auto
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from ferjax.cli.options import add_measured, keeps_programs, value_range_of
from ferjax.cli.progress import reported
from ferjax.errors import printable

if TYPE_CHECKING:
    from ferjax.evaluate import Fitted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_measured(parser)
    parser.add_argument(
        "--method",
        choices=("temperature", "vector", "auto"),
        default="temperature",
        help="a temperature; vector, a temperature and an offset of each class; or auto, whichever "
        "is better on images that it was not fitted on (default: temperature)",
    )
    parser.add_argument(
        "--targets",
        choices=("labels", "votes"),
        default="labels",
        help="fit to the images' own labels, or to the share of people's votes for each class, "
        "which --data has then (default: labels)",
    )
    parser.add_argument("--dry-run", action="store_true", help="fit and show, store nothing")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


@keeps_programs
def run(args: argparse.Namespace) -> int:
    from ferjax.evaluate import calibrate

    with reported() as progress:
        fitted = calibrate(
            args.weights,
            args.data,
            method=args.method,
            targets=args.targets,
            labels=args.labels,
            value_range=value_range_of(args),
            output=args.output,
            store=not args.dry_run,
            progress=progress,
        )
    if args.json:
        values = dataclasses.asdict(fitted)
        print(json.dumps({**values, "path": str(fitted.path) if fitted.path else None}, indent=2))
        return 0
    left_out = ""
    if fitted.copies_left_out:
        left_out = f", without {fitted.copies_left_out:,} copies of training images"
    if fitted.without_votes_left_out:
        left_out += (
            f", without {fitted.without_votes_left_out:,} that have no votes for the classes"
        )
    offsets = "" if fitted.offsets is None else " and offsets"
    target = ", to people's votes" if fitted.targets == "votes" else ""
    print(
        f"temperature {fitted.temperature:.4f}{offsets}, fitted on {fitted.images:,} images ",
        end="",
    )
    print(f"of {fitted.data}{left_out}{target}")
    if fitted.offsets is not None:
        listed = (f"{printable(name)} {value:+.3f}" for name, value in fitted.offsets.items())
        print(f"offsets: {', '.join(listed)}")
    print(f"{'':<32}  {'before':>8}  {'after':>8}  (each image by the other four fifths)")
    b, a = fitted.before, fitted.after
    for label, before, after in (
        ("negative log-likelihood (nats)", b.negative_log_likelihood, a.negative_log_likelihood),
        ("Brier score (0 to 2)", b.brier_score, a.brier_score),
        ("calibration error, equal width", b.ece_equal_width, a.ece_equal_width),
        ("calibration error, equal mass", b.ece_equal_mass, a.ece_equal_mass),
    ):
        print(f"{label:<32}  {before:8.4f}  {after:8.4f}")
    if args.method != "temperature":
        _print_compared(fitted)
    if fitted.path is None:
        print("not stored")
    else:
        instead = f", instead of {fitted.previous:.4f}" if fitted.previous is not None else ""
        print(f"stored in {fitted.path}{instead}")
    return 0


def _print_compared(fitted: Fitted) -> None:
    """Say what a temperature alone and offsets are worth beside each other."""
    print(f"{'negative log-likelihood by':<32}  {'these':>8}  {'others':>8}")
    for label, kind, figures in (
        ("a temperature alone", "temperature", fitted.alone),
        ("a temperature and offsets", "vector", fitted.with_offsets),
    ):
        if figures is None:
            print(f"{label:<32}  none fits: too few images, of a class perhaps")
        else:
            print(f"{label:<32}  {fitted.fits[kind]:8.4f}  {figures.negative_log_likelihood:8.4f}")
    if fitted.overfits:
        print("the offsets overfit: on images that they were not fitted on they are no better")
