"""Share weights on Hugging Face, with a card that says what they are.

Sent are the weight file as it is, its metadata, how faces are preprocessed, and a card with an
example and the header by which the hub finds models: licence, datasets, measured figures. What is
sent is listed first, and becomes one commit. The repository is made where there is none, public
unless --private is given. --dry-run writes the folder that would be sent, and sends nothing.

Log in by `hf auth login`, or set HF_TOKEN.

examples:
  ferjax push hf://owner/name runs/fast/best.h5 --dry-run shared
  ferjax push hf://owner/name runs/fast/best.h5 --report report/report.json --also keras onnx
"""

from __future__ import annotations

import argparse
import sys

from ferjax.cli.options import add_labels, add_reports
from ferjax.publish.formats import EXTRAS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", metavar="ADDRESS", help="hf://owner/name[@branch]")
    parser.add_argument("weights", metavar="WEIGHTS", help="one weight file")
    parser.add_argument(
        "--dry-run", metavar="DIR", help="write there what would be sent, and send nothing"
    )
    parser.add_argument(
        "--private",
        action="store_true",
        help="make the repository private, and refuse a public one",
    )
    parser.add_argument("--revision", metavar="BRANCH", help="where to (default: main)")
    parser.add_argument("--message", metavar="TEXT", help="of the commit")
    parser.add_argument(
        "--also",
        action="extend",
        nargs="+",
        choices=tuple(EXTRAS),
        default=[],
        metavar="FORMAT",
        help=f"write the weights in other formats too, of {', '.join(EXTRAS)}",
    )
    add_labels(parser)
    add_reports(parser)
    parser.add_argument(
        "--licence", metavar="NAME", help="as the hub calls it (default: the metadata's)"
    )
    parser.add_argument(
        "--dataset",
        dest="datasets",
        action="extend",
        nargs="+",
        default=[],
        metavar="OWNER/NAME",
        help="on the hub, what the weights were trained on (default: fer2013, if metadata says so)",
    )
    parser.add_argument(
        "--force", action="store_true", help="replace a card that ferjax did not write"
    )


def run(args: argparse.Namespace) -> int:
    from ferjax.publish import folder, sending

    contents = folder.Contents(
        reports=args.reports,
        other_seeds=args.other_seeds,
        labels=args.labels,
        licence=args.licence,
        datasets=args.datasets,
        also=args.also,
    )
    if args.dry_run is None:
        page = sending.push(
            args.address,
            args.weights,
            contents,
            private=args.private,
            revision=args.revision,
            message=sending.MESSAGE if args.message is None else args.message,
            force=args.force,
            note=lambda line: print(line, file=sys.stderr, flush=True),
        )
        print(page)
        return 0
    path = folder.write_folder(
        args.address, args.weights, args.dry_run, contents, revision=args.revision
    )
    for name, size in folder.listing(path):
        print(f"{path / name}, {size:,} bytes")
    return 0
