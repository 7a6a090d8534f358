"""Compare the predictions of two weight files.

Prints the largest difference of a probability over all images and classes. Without --images it is
taken over generated ones. The exit code is 1 if it exceeds the tolerance, or if both files come
with labels and these differ.

example:
  ferjax verify cnn_emotion_detection.h5 converted.keras
"""

from __future__ import annotations

import argparse
import json

from ferjax.cli.options import add_architecture, add_output, fraction


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A")
    parser.add_argument("b", metavar="B")
    parser.add_argument(
        "--images", nargs="+", metavar="IMAGE_OR_FOLDER", help="images to predict on"
    )
    add_architecture(parser)
    add_output(parser)
    parser.add_argument(
        "--tolerance",
        type=fraction,
        default=1e-5,
        metavar="P",
        help="largest difference of a probability that counts as equal (default: 1e-5)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def run(args: argparse.Namespace) -> int:
    from ferjax.comparison import compare
    from ferjax.preprocessing import find_images

    images = find_images(args.images) if args.images else None
    result = compare(
        args.a,
        args.b,
        images,
        config=args.config,
        architecture=args.architecture,
        output=args.output,
    )
    equal = result.largest_difference <= args.tolerance and result.same_labels
    if args.json:
        document = {
            "a": args.a,
            "b": args.b,
            "images": result.images,
            "largest_difference": result.largest_difference,
            "different_classes": result.different_classes,
            "same_labels": result.same_labels,
            "tolerance": args.tolerance,
            "equal": equal,
        }
        print(json.dumps(document, indent=2))
    else:
        kind = "images" if args.images else "generated images"
        verdict = "equal" if equal else "different"
        print(
            f"{verdict}: largest difference {result.largest_difference:.3g} over {result.images} "
            f"{kind} (tolerance {args.tolerance:g}), another class for {result.different_classes}"
            + ("" if result.same_labels else "; the labels differ")
        )
    return 0 if equal else 1
