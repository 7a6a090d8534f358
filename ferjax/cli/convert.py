"""Convert weights between Keras formats and Flax's.

The kind of SRC is told by its content, that of DST by its name: .h5 (whole model), .weights.h5,
.keras, .msgpack (Flax). An existing DST is replaced once the new one is complete.

example:
  ferjax convert cnn_emotion_detection.h5 model.keras
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ferjax.cli.options import add_architecture, add_labels, add_output

# As in `ferjax.conversion.TARGETS`; here too, because that module imports h5py.
_TARGETS = ("h5", "weights-only-h5", "weights.h5", "keras", "msgpack", "orbax")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC")
    parser.add_argument("target", metavar="DST")
    parser.add_argument("--to", choices=_TARGETS, help="kind of DST (default: by its name)")
    add_architecture(parser)
    add_output(parser)
    add_labels(parser)
    parser.add_argument(
        "--optimizer-state",
        action="store_true",
        help="keep Adam's or AdamW's moments: an .h5 is then for Keras 2.15, any other for 3",
    )


def run(args: argparse.Namespace) -> int:
    from ferjax.conversion import convert

    conversion = convert(
        args.source,
        args.target,
        to=args.to,
        config=args.config,
        architecture=args.architecture,
        output=args.output,
        labels=args.labels,
        optimizer_state=args.optimizer_state,
    )
    for note in conversion.notes:
        print(f"ferjax: note: {note}", file=sys.stderr)
    target = Path(args.target)
    files = [target] if target.is_file() else [f for f in target.rglob("*") if f.is_file()]
    size = sum(file.stat().st_size for file in files) / 1e6
    print(
        f"{args.source} ({conversion.source_kind}) -> {args.target} ({conversion.target_kind}): "
        f"{conversion.num_params:,} parameters, {size:.1f} MB"
    )
    return 0
