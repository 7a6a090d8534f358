"""Measure the accuracy of weights on prepared faces, with its confidence interval.

Where images of the split are exact copies of training images, accuracy without them is printed too.

example:
  ferjax evaluate --weights runs/fast/best.h5 --data fer2013
"""

from __future__ import annotations

import argparse
import json
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ferjax.evaluate import Accuracy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights", metavar="FILE", help="any weight file of Keras or Flax (default: ferjax's own)"
    )
    parser.add_argument(
        "--data", required=True, metavar="DIR", help="what `ferjax data prepare` made"
    )
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        default="validation",
        help="which images (default: validation, FER2013's PublicTest)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def run(args: argparse.Namespace) -> int:
    from ferjax.evaluate import evaluate

    found = evaluate(args.weights, args.data, args.split)
    if args.split == "train":
        warnings.warn("accuracy on training images says little about any others", stacklevel=1)
    if args.json:
        print(json.dumps(found.to_json(), indent=2))
        return 0
    print(f"{args.split}, single view: {_text(found.whole)}")
    if found.without_copies is not None:
        print(
            f"without {found.copies:,} exact copies of training images: "
            f"{_text(found.without_copies)}"
        )
    width = max(map(len, found.whole.support))
    print(f"{'class':<{width}}  recall  images")
    for name, recall in found.whole.recall.items():
        shown = "   -  " if recall is None else f"{recall:6.1%}"
        print(f"{name:<{width}}  {shown}  {found.whole.support[name]:6,}")
    return 0


def _text(a: Accuracy) -> str:
    low, high = a.interval
    return f"{a.top_1:.2%} ({a.correct:,} of {a.images:,}), 95 % interval {low:.2%} to {high:.2%}"
