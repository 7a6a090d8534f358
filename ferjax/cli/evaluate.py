"""Measure weights, or what a run predicted, and say how far the figures can be trusted.

With --data the weights predict the faces that `ferjax data prepare` prepared.

Accuracy, balanced accuracy, macro F1, precision and recall by class, calibration, and what is left
when unsure predictions are withheld; beside each the same without exact copies of training images.
With --out also pictures and a report as one HTML page and as JSON. A warning says where the images
are those that the weights were trained or selected on.

Data with votes (`ferjax data prepare --votes`) are measured against these too, as the network says
and under a uniform prior: accuracy and recall against the majority, how often a person says what
the network says and what another person does, distances to the shares of the votes, calibration.

With TABLE, what `ferjax faces --on ray`, `ferjax predict --on ray` or `ferjax faces --csv` wrote,
the probabilities in it are measured on the pictures whose label is known, and no network runs. The
label is the name of the picture's folder, as in happy/im0.png, or stands in --labels FILE.csv,
whose columns are path and label. A picture counts once, by its only face or by the one that is
clearly the largest (--several). How many pictures have no label is told.

--attributes FILE.csv gives figures by group: a header, a column of image names as in the data
(test/angry/im0.png), then any attributes of your own. ferjax never guesses anybody's attributes.

examples:
  ferjax evaluate --weights runs/fast/best.h5 --data fer2013 --out report
  ferjax evaluate --weights runs/fast/best.h5 --data fer2013 --tta flip --record
  ferjax evaluate --data fer2013 --robustness --attributes people.csv --out report
  ferjax evaluate out/ --labels labels.csv --out report
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING

from ferjax import released
from ferjax.cli.data_info import SEVERAL
from ferjax.cli.options import add_measured, keeps_programs, label_list, value_range_of
from ferjax.cli.progress import reported
from ferjax.errors import FerjaxError

if TYPE_CHECKING:
    from ferjax.evaluate.evaluation import Evaluation

_OF_DATA = "weights value_range output split tta robustness baseline record".split()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    predicted = parser.add_argument_group("what was predicted")
    predicted.add_argument(
        "table", nargs="?", metavar="TABLE", help="Parquet files or a CSV file, instead of --data"
    )
    predicted.add_argument(
        "--several",
        choices=SEVERAL,
        help="where a picture has several faces: clear, the largest where it is at least 1.5 times "
        "as large as the next, else none; largest, always; skip, none (default: clear)",
    )
    weights = parser.add_argument_group("weights, on --data")
    add_measured(weights, or_table=True)
    weights.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        help="which images (default: validation, FER2013's PublicTest)",
    )
    weights.add_argument(
        "--tta",
        choices=("none", "flip", "ten-crop"),
        help="average over views of each image: the mirror image too, or ten crops (default: none)",
    )
    weights.add_argument(
        "--robustness",
        action="store_true",
        help="measure corrupted and partly covered faces too: 86 times as many images",
    )
    weights.add_argument(
        "--baseline",
        metavar="REPORT.json",
        help="with --robustness: errors relative to another report's (default: ferjax's fer_cnn5)",
    )
    weights.add_argument(
        "--record",
        action="store_true",
        help="write the accuracy into the metadata beside the weights",
    )
    figures = parser.add_argument_group("figures")
    figures.add_argument(
        "--attributes", metavar="FILE.csv", help="by group, too: image name, then attributes"
    )
    figures.add_argument(
        "--out", metavar="DIR", help="write report.html, report.json and pictures there"
    )
    figures.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of bootstraps, permutations and corruptions (default: 0)",
    )
    figures.add_argument("--json", action="store_true", help="one JSON document on stdout")


@keeps_programs
def run(args: argparse.Namespace) -> int:
    from ferjax.evaluate import evaluation, recording, report
    from ferjax.files import check_folder

    _check(args)
    if args.baseline and not args.robustness:
        raise FerjaxError("--baseline is for --robustness: give that too")
    if args.record and args.output is not None:
        raise FerjaxError(
            "--record has no place for several outputs: `ferjax convert --output` makes a file of "
            "one"
        )
    if args.seed < 0:
        raise FerjaxError(f"expected a --seed of 0 or more, got {args.seed}")
    if args.out is not None:  # before minutes of computing
        report.require()
        check_folder(args.out)
    if args.record and released.path_of(args.weights).exists():
        check_folder(recording.recordable(args.weights)[0].parent)
    measured = _measured(args) if args.table is None else _measured_table(args)
    evaluation.warn(measured)
    if args.json:
        print(json.dumps({**measured.to_json(), "command": args.call}, indent=2, allow_nan=False))
    else:
        print(report.text(measured))
    if args.out is not None:
        with reported() as progress:
            page = report.write_report(measured, args.out, command=args.call, progress=progress)
        print(f"report: {page}", file=sys.stderr)
    if args.record:
        print(f"recorded in {recording.record(measured, args.weights)}", file=sys.stderr)
    return 0


def _check(args: argparse.Namespace) -> None:
    """Raise where options do not go together with what is measured."""
    from ferjax.data.manifest import ARRAYS

    if args.table is not None and args.data is not None:
        raise FerjaxError("expected either TABLE or --data, got both")
    if args.table is not None and os.path.isfile(os.path.join(args.table, ARRAYS)):
        raise FerjaxError(f"{args.table}: prepared faces, which --data takes")
    if args.table is None and args.data is None:
        raise FerjaxError(
            "expected --data DIR, faces to measure weights on, or TABLE, what was predicted"
        )
    for name in _OF_DATA if args.table is not None else ():
        if getattr(args, name) not in (None, False):
            raise FerjaxError(
                f"--{name.replace('_', '-')} is for --data; of a table only what is stored in it "
                "is measured"
            )
    if args.several is not None and args.table is None:
        raise FerjaxError("--several is for TABLE")


def _measured(args: argparse.Namespace) -> Evaluation:
    from ferjax.evaluate import evaluation

    try:
        labels = None if args.labels is None else label_list(args.labels)
    except argparse.ArgumentTypeError as error:
        raise FerjaxError(f"--labels: {error}") from None
    with reported() as progress:
        return evaluation.evaluate(
            args.weights,
            args.data,
            args.split or "validation",
            labels=labels,
            value_range=value_range_of(args),
            output=args.output,
            tta=args.tta or "none",
            with_robustness=args.robustness,
            baseline=args.baseline,
            attributes=args.attributes,
            seed=args.seed,
            progress=progress,
        )


def _measured_table(args: argparse.Namespace) -> Evaluation:
    from ferjax.evaluate.prediction_table import evaluate_table

    with reported() as progress:
        return evaluate_table(
            args.table,
            labels=args.labels,
            several=args.several or "clear",
            attributes=args.attributes,
            seed=args.seed,
            progress=progress,
        )
