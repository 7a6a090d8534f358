"""Write the model card of a weight file from its metadata and measured reports.

Intended and ruled-out uses, data, figures with their intervals, robustness, groups where they were
measured, limits, licence and hash. Nothing is measured here: give the report.json files that
`ferjax evaluate --out` made with these weights; what none of them has, the card calls not measured.

examples:
  ferjax evaluate --data fer2013 --robustness --out report
  ferjax card --report report/report.json --out MODEL_CARD.md
  ferjax card --report report/report.json --other-seeds runs/seed1/best.metadata.json
"""

from __future__ import annotations

import argparse

from ferjax.cli.options import add_labels, add_reports, add_weights


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_weights(parser)
    add_labels(parser)
    add_reports(parser)
    parser.add_argument(
        "--out",
        metavar="FILE.md",
        default="MODEL_CARD.md",
        help="where to write it (default: MODEL_CARD.md); - prints it",
    )
    parser.add_argument(
        "--force", action="store_true", help="replace a file that ferjax did not write"
    )


def run(args: argparse.Namespace) -> int:
    from ferjax.evaluate import card

    if args.out == "-":
        text = card.text(args.weights, args.reports, args.other_seeds, labels=args.labels)
        print(text, end="")
        return 0
    path = card.write_card(
        args.weights,
        args.reports,
        args.out,
        labels=args.labels,
        other_seeds=args.other_seeds,
        force=args.force,
    )
    print(path)
    return 0
