"""Check, split and clean a dataset of faces once, for training and evaluation.

SOURCE is anything that `ferjax data info --help` lists.

DIR gets faces.npz, which training reads without TensorFlow; tfds/, which tfds.load and
tfds.data_source read, where tensorflow-datasets is installed; and manifest.json: source hash,
split, counts, what was dropped and why.

With --find-faces the images are whole photographs: the face in each is cropped as `ferjax faces`
crops it, and manifest.json says where it is. Pictures with no face are left out; they, and those
with several, are listed there.

With --votes each image keeps what several people said of it, as counts: FER+'s fer2013new.csv joins
every form of FER2013 in which images can be told; a csv with image names and a column of votes for
each class, or with a line for each image and annotator, joins any source by the images' names.

The same call again does nothing. An interrupted call leaves nothing half-made.

examples:
  ferjax data prepare emotion-detection-fer.zip --out fer2013 --drop blank,leaks
  ferjax data prepare emotion-detection-fer.zip --out ferplus --votes fer2013new.csv
  ferjax data prepare raf-db.zip --out rafdb --labels rafdb
  ferjax data prepare photographs/ --out mine --find-faces --split card
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from ferjax.cli.data_info import add_reading, add_votes, check_reading, finding, tell_faces
from ferjax.cli.progress import reported
from ferjax.errors import printable

_DROPS = ("blank", "conflicts", "leaks")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="a dataset, as for `ferjax data info`")
    parser.add_argument("--out", required=True, metavar="DIR", help="the prepared folder")
    add_reading(parser)
    add_votes(parser)
    parser.add_argument(
        "--classes",
        type=int,
        choices=(7, 8),
        help="with --votes: 8 adds contempt to FER2013's seven classes (default: the source's)",
    )
    parser.add_argument(
        "--drop",
        type=_drops,
        default=[],
        metavar="A,B,...",
        help="leave out: blank (all pixels equal), conflicts (copies with different labels), "
        "leaks (training images with an exact copy in validation or test)",
    )
    parser.add_argument("--no-tfds", action="store_true", help="write no TFDS dataset")
    parser.add_argument("--force", action="store_true", help="replace what DIR holds")
    parser.add_argument("--json", action="store_true", help="the manifest as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    from ferjax.data.preparation import prepare

    check_reading(args)
    with reported() as progress:
        done = prepare(
            args.source,
            args.out,
            split=args.split,
            seed=args.seed or 0,
            drop=args.drop,
            skip_bad=args.skip_bad,
            classes_level=args.classes_level,
            labels=args.labels,
            find_faces=finding(args),
            votes=args.votes,
            classes=args.classes,
            with_tfds=False if args.no_tfds else None,
            force=args.force,
            progress=progress,
        )
    manifest = done.manifest
    for item in manifest["bad"]:
        print(f"ferjax: error: {printable(item['name'])}: {item['reason']}", file=sys.stderr)
    if args.find_faces:
        several = [(item["name"], item["taken"]) for item in manifest["several_faces"]]
        tell_faces(manifest["no_face"], several)
    if not (args.no_tfds or manifest["options"]["tfds"]):
        print(
            "ferjax: note: no tfds/, which tensorflow-datasets writes: "
            "pip install 'ferjax[train]', then --force",
            file=sys.stderr,
        )
    if args.json:
        print(json.dumps(manifest, indent=2))
    else:
        _print(manifest, args.out, done.fresh)
    return 1 if manifest["bad"] else 0


def _print(manifest: dict[str, Any], out: str, fresh: bool) -> None:
    for note in manifest["notes"]:
        print(f"note: {printable(note)}")
    reasons = [item["drop"] for item in manifest["dropped"]]
    for reason in _DROPS:
        if reason in reasons:
            print(f"dropped: {reasons.count(reason)} images, {reason}")
    counts = {split: sum(by_class.values()) for split, by_class in manifest["counts"].items()}
    text = ", ".join(f"{count:,} {split}" for split, count in counts.items() if count)
    out = printable(out)
    print(f"{out}: {text}" if fresh else f"{out}: prepared already, {text}")


def _drops(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in _DROPS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"expected names among {', '.join(_DROPS)}, got {', '.join(unknown)}"
        )
    return names
