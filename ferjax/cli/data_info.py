"""Show what a dataset of faces holds, and what is wrong with it; or what a run predicted.

SOURCE is Kaggle's archive of FER2013 or its JPEG mirror, as a .zip, .tar.gz or folder; fer2013.csv
or other tables of pixels, whatever their separators, columns and packing; Hugging Face's parquet
files; images beside a list of their labels; or your own faces in <class>/ or <split>/<class>/
folders; or what `ferjax data prepare` made. Its kind is told by its content. With --find-faces the
images are whole photographs: the face in each is cropped as `ferjax faces` crops it.

With --votes it shows how far people agree, with the labels and with one another: see
`ferjax data prepare --help`.

SOURCE may also be a table of what was predicted, of any number of rows: what --on ray of `ferjax
faces`, `predict` and `video` wrote, `ferjax faces --csv` or `ferjax video --parquet`. Labels,
confidence, sizes of faces and errors are counted. --sheet draws the most and the least confident
faces of each class, from the photographs that still lie where they were; those that do not are
named on stderr, and the exit code is 1.

With --skip-bad, images that cannot be read are named on stderr, the others are shown, and the exit
code is 1.

examples:
  ferjax data info emotion-detection-fer.zip --sheet faces.png --augment published
  ferjax data info raf-db.zip --labels rafdb
  ferjax data info emotion-detection-fer.zip --votes fer2013new.csv --disagreement faces.png
  ferjax data info photographs/ --find-faces --sheet faces.png --augment photographs
  ferjax data info out/ --sheet examples.png
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ferjax.cli import table_info
from ferjax.cli.options import fraction, order_names, pixels
from ferjax.cli.progress import reported
from ferjax.errors import FerjaxError, printable

if TYPE_CHECKING:
    from ferjax.data.checks import Report
    from ferjax.data.photographs import FindFaces
    from ferjax.data.sources import Read

_NAMED = 20  # bad items named on stderr
_PICTURES = 5  # pictures named in a note
# Importing them takes a while.
SEVERAL = ("clear", "largest", "skip")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from ferjax.data.augmentation import PRESETS

    parser.add_argument(
        "source", metavar="SOURCE", help="a dataset, or a table of what was predicted; see above"
    )
    add_reading(
        parser,
        seeded="of --split card; of a table, by which --sheet chooses among faces of the same "
        "confidence",
    )
    parser.add_argument(
        "--sheet", metavar="FILE.png", help="draw sample faces of each class (.png, .pdf, .svg)"
    )
    parser.add_argument(
        "--augment",
        metavar="PRESET",
        help=f"with --sheet: show each row again as training would see it ({', '.join(PRESETS)})",
    )
    add_votes(parser)
    parser.add_argument(
        "--disagreement",
        metavar="FILE.png",
        help="with --votes: draw the faces that people disagree on most, with their votes",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def add_reading(parser: argparse.ArgumentParser, *, seeded: str = "of --split card") -> None:
    """Add the options that say how a source is read; `seeded` says what --seed is of."""
    parser.add_argument(
        "--split",
        choices=("official", "card"),
        default="official",
        help="official: FER2013's parts, or the source's own splits; card: 80/10/10 of all images "
        "(default: official)",
    )
    parser.add_argument("--seed", type=int, metavar="N", help=f"seed {seeded} (default: 0)")
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="go on without images and rows that are bad, and without classes of which there are "
        "none",
    )
    parser.add_argument(
        "--classes-level",
        type=int,
        metavar="N",
        help="which of the folders that lead to an image is its class: 1 for the outermost "
        "(default: told by names and structure)",
    )
    parser.add_argument(
        "--labels",
        metavar="ORDER",
        help=f"what numbers mean that stand for classes: {order_names()}; names in the order of "
        "the numbers, A,B,C or 1=A,2=B; or numbers, to keep them",
    )
    parser.add_argument(
        "--find-faces",
        action="store_true",
        help="the images are whole photographs: find the face in each and crop it, as `ferjax "
        "faces` does",
    )
    parser.add_argument(
        "--several",
        choices=SEVERAL,
        help="with --find-faces, where a picture has several faces: clear, the largest where it is "
        "at least 1.5 times as large as the next, else none; largest, always; skip, none "
        "(default: clear)",
    )
    parser.add_argument(
        "--min-score",
        type=fraction,
        metavar="P",
        help="with --find-faces: the score that a face needs, in [0, 1] (default: 0.7)",
    )
    parser.add_argument(
        "--min-size",
        type=pixels,
        metavar="PIXELS",
        help="with --find-faces: the height that a face needs (default: any)",
    )


def add_votes(parser: argparse.ArgumentParser) -> None:
    """Add the option that names a table of votes."""
    parser.add_argument(
        "--votes",
        metavar="FILE",
        help="what several people said of each image: FER+'s fer2013new.csv, or a csv of image "
        "names and a column of votes for each class",
    )


def check_reading(args: argparse.Namespace) -> None:
    """Raise where the options that `add_reading` adds do not go together."""
    if args.seed is not None and args.split != "card":
        raise FerjaxError("--seed is for --split card; the official split has none")
    for name in ("several", "min_score", "min_size"):
        if getattr(args, name) is not None and not args.find_faces:
            raise FerjaxError(f"--{name.replace('_', '-')} is for --find-faces")


def finding(args: argparse.Namespace) -> FindFaces | bool:
    """Return how faces are found, as the options of `add_reading` say."""
    if not args.find_faces:
        return False
    from ferjax.data.photographs import FindFaces

    options = {name: getattr(args, name) for name in ("several", "min_score", "min_size")}
    return FindFaces(**{name: value for name, value in options.items() if value is not None})


def tell_faces(without: Sequence[str], several: Sequence[tuple[str, bool]]) -> None:
    """Say on stderr which pictures have no face, and which several, and whether one was taken."""
    left_out = [name for name, taken in several if not taken]
    _tell("no face in", without, "left out")
    _tell("several faces in", [name for name, taken in several if taken], "the largest is taken")
    _tell("several faces in", left_out, "left out; --several largest takes the largest")


def _tell(finding: str, names: Sequence[str], consequence: str) -> None:
    if not names:
        return
    listed = ", ".join(printable(name, 100) for name in names[:_PICTURES])
    more = f" and {len(names) - _PICTURES:,} more" if len(names) > _PICTURES else ""
    plural = "picture" if len(names) == 1 else "pictures"
    text = f"ferjax: note: {finding} {len(names):,} {plural}, {consequence}: {listed}{more}"
    print(text, file=sys.stderr)


def run(args: argparse.Namespace) -> int:
    from ferjax import filesystems, prediction_tables
    from ferjax.data import checks, preparation, sheet_rows
    from ferjax.data.augmentation import preset
    from ferjax.pictures import sheet

    if args.augment and not args.sheet:
        raise FerjaxError("--augment shows images: give --sheet FILE.png too")
    if args.sheet:
        sheet.check_path(args.sheet)  # before reading, which takes a while
    is_prepared = preparation.is_prepared(args.source)
    if filesystems.is_address(args.source) or (
        not is_prepared and prediction_tables.is_prediction_table(args.source)
    ):
        return table_info.run(args)
    if args.disagreement:
        if args.votes is None and not is_prepared:
            raise FerjaxError("--disagreement shows votes: give --votes FILE too")
        sheet.check_path(args.disagreement)
    augmentation = preset(args.augment) if args.augment else None
    source, votes = (_read_prepared if is_prepared else _read)(args)
    report = checks.check(source.faces)
    name = os.path.basename(os.path.normpath(args.source))
    if args.sheet:
        title = f"{name}: {len(source.faces):,} images, {args.split} split"
        rows = sheet_rows.class_rows(source.faces)
        if augmentation is not None:
            rows = sheet_rows.augmented_rows(rows, augmentation)
            title += f", augmented: {args.augment}"
        sheet.draw(rows, args.sheet, title=title)
    if args.disagreement:
        title = f"{name}: [label] and the votes that differ most, {votes['votes']['file']}"
        sheet_rows.draw_disputed(source.faces, args.disagreement, title=title)
    if args.json:
        print(json.dumps({**_as_json(args, source, report), **votes}, indent=2))
    else:
        _print(args, source, report)
        if votes:
            _print_votes(args, votes["votes"])
    return 1 if source.bad else 0


def _read(args: argparse.Namespace) -> tuple[Read, dict[str, Any]]:
    """Read and split `args.source`, with progress and bad items on stderr.

    Returns:
        What it holds, with votes where they are given, and what they say: under "votes", or
        nothing.
    """
    from ferjax.data import agreement, sources, splits, votes_files, votes_joining

    check_reading(args)
    table = None if args.votes is None else votes_files.read(args.votes)
    with reported() as progress:
        source = sources.read(
            args.source,
            skip_bad=args.skip_bad,
            classes_level=args.classes_level,
            labels=args.labels,
            find_faces=finding(args),
            progress=progress,
        )
    votes: dict[str, Any] = {}
    if table is not None:  # before images move
        joined = votes_joining.join(source, table)
        source = replace(source, faces=joined.faces)
        about = {**joined.to_json(table), **agreement.agreement(joined.faces).to_json()}
        votes = {"votes": about}
    for name, reason in source.bad[:_NAMED]:
        print(printable(f"ferjax: error: {name}: {reason}"), file=sys.stderr)
    if len(source.bad) > _NAMED:
        print(f"ferjax: error: ... and {len(source.bad) - _NAMED:,} more", file=sys.stderr)
    pictures = source.pictures.items()
    tell_faces(
        [name for name, picture in pictures if not picture.faces],
        [(name, p.face is not None) for name, p in pictures if p.faces > 1],
    )
    faces = splits.apply(source.faces, args.split, seed=args.seed or 0, left_out=source.left_out)
    return replace(source, faces=faces), votes


def _read_prepared(args: argparse.Namespace) -> tuple[Read, dict[str, Any]]:
    """Return what a folder holds that `ferjax data prepare` made, as `_read` does.

    Its split stands in `args` then.
    """
    from ferjax.data import agreement, preparation
    from ferjax.data.manifest import ARRAYS

    reading = "skip_bad classes_level labels find_faces several min_score min_size votes seed"
    options = [name for name in reading.split() if getattr(args, name) not in (None, False)]
    if args.split != "official":
        options.append("split")
    if options:
        option = options[0].replace("_", "-")
        raise FerjaxError(
            f"{args.source}: prepared already, and --{option} is for what it was prepared from"
        )
    source, manifest = preparation.read_prepared(args.source)
    made_by = manifest.get("options", {})
    args.split, args.seed = made_by.get("split", "official"), made_by.get("seed")
    if source.faces.votes is None and args.disagreement:
        raise FerjaxError(f"{args.source}: has no votes; `ferjax data prepare --votes` adds some")
    if source.faces.votes is None:
        return source, {}
    about = {"file": ARRAYS, "joined_by": "ferjax data prepare"}
    about |= manifest.get("votes", {})
    return source, {"votes": {**about, **agreement.agreement(source.faces).to_json()}}


def _as_json(args: argparse.Namespace, source: Read, report: Report) -> dict[str, Any]:
    """Return everything but the votes."""
    from ferjax.data import photographs

    pictures = photographs.described(source.pictures, source.faces) if source.pictures else {}
    return {
        "source": args.source,
        "kind": source.kind,
        "container": source.container,
        "split": args.split,
        "seed": (args.seed or 0) if args.split == "card" else None,
        "notes": list(source.faces.notes),
        "bad": [{"name": name, "reason": reason} for name, reason in source.bad],
        **pictures,
        **report.to_json(),
    }


def _print(args: argparse.Namespace, source: Read, report: Report) -> None:
    from ferjax.data.sources import KINDS

    def by_split(counts: dict[str, int]) -> str:
        return ", ".join(f"{n:,} in {split}" for split, n in counts.items() if n)

    container = "" if source.container == "file" else f" ({source.container})"
    print(printable(f"source:     {args.source}"))
    print(f"kind:       {KINDS[source.kind]}{container}")
    print(f"split:      {args.split}{f', seed {args.seed or 0}' * (args.split == 'card')}")
    for note in source.faces.notes:
        print(f"note:       {note}")
    print()
    print(_table(report))
    print()
    unique, surplus = report.unique_images, report.images - report.unique_images
    print(f"copies:     {unique:,} different images, {surplus:,} surplus copies")
    if any(report.surplus_copies.values()):
        print(f"            within a split: {by_split(report.surplus_copies)}")
    for split, count in report.copies_of_training.items():
        if total := sum(report.counts[split].values()):
            share = f"{count:,} of {total:,} {split} images ({count / total:.1%})"
            print(f"            {share} copy training images")
    validation, test = (sum(report.counts[split].values()) for split in ("validation", "test"))
    if validation and test:
        count = report.copies_of_validation
        share = f"{count:,} of {test:,} test images ({count / test:.1%})"
        print(f"            {share} copy validation images")
    if report.copied_training_images:
        print(f"            {report.copied_training_images:,} training images are copied there")
    inside = sum(map(len, report.conflicts))
    groups = f"{len(report.conflicts):,} groups of copies with different labels"
    print(f"conflicts:  {groups}, {inside:,} images" if inside else "conflicts:  none")
    blank = by_split(report.blank_counts) or "none"
    print(f"blank:      {blank}")
    print(f"sizes:      {_sizes(report)}")
    pixels = [
        f"{part} mean {p['mean']:.1f}, std {p['std']:.1f}" for part, p in report.pixels.items()
    ]
    print(f"pixels:     {'; '.join(pixels)}")
    if source.bad:
        print(f"left out:   {len(source.bad):,} bad items")
    if args.sheet:
        print(printable(f"sheet:      {args.sheet}"))


def _print_votes(args: argparse.Namespace, votes: dict[str, Any]) -> None:
    def share(part: int, whole: int) -> str:
        return f"{part / whole:.1%}" if whole else "-"

    images, clear = votes["images"], votes["clear"]
    print()
    source = f" ({votes['source']}, {votes['licence']})" if "source" in votes else ""
    print(printable(f"votes:      {votes['file']}{source}, joined by {votes['joined_by']}"))
    least_and_most = ""
    if votes["voters"]:
        least, usual, most = votes["voters"]
        least_and_most = f"; {usual} people an image" + f", {least} to {most}" * (least < most)
    without = f", {votes['without_votes']:,} have none" if votes["without_votes"] else ""
    print(f"            {images:,} images have votes{without}{least_and_most}")
    rows = [["label", "images", "majority", "agrees", "entropy"]]
    everything = {name: votes[name] for name in ("images", "clear", "agree", "entropy")}
    for name, part in (*votes["by_class"].items(), ("all", everything)):
        agrees = share(part["agree"], part["clear"])
        numbers = [f"{part['images']:,}", f"{part['clear']:,}", agrees, f"{part['entropy']:.2f}"]
        rows.append([printable(name, 40), *numbers])
    print()
    print(_columns(rows))
    print()
    print("            majority: images with one for a class, by the protocol of Barsoum et al.;")
    print("            agrees: of those, with their label; entropy: of an image's votes, in bits")
    reasons = ", ".join(f"{printable(why, 40)} {n:,}" for why, n in votes["left_out"].items())
    out = images - clear
    print(f"left out:   {out:,} images by that protocol ({share(out, images)})", end="")
    print(f": {reasons}" if reasons else "")
    singles, total = votes["outliers"]
    if singles:
        print(
            f"            {singles:,} of {total:,} votes are single ones, which do not count in it"
        )
    if votes["alpha"] is None:
        print(f"agreement:  not measured: {votes['alpha_missing']}")
    else:
        print(f"agreement:  Krippendorff's alpha {votes['alpha']:.3f}, between people")
    if args.disagreement:
        print(printable(f"disagreed:  {args.disagreement}"))


def _table(report: Report) -> str:
    splits = list(report.counts)
    rows = [["class", *splits, "total"]]
    for name in report.class_names:
        numbers = [report.counts[split][name] for split in splits]
        rows.append([printable(name, 40), *(f"{n:,}" for n in (*numbers, sum(numbers)))])
    totals = [sum(report.counts[split].values()) for split in splits]
    rows.append(["all", *(f"{n:,}" for n in (*totals, sum(totals)))])
    return _columns(rows)


def _columns(rows: Sequence[Sequence[str]]) -> str:
    from ferjax.prediction_tables.text import columns

    return "\n".join(columns(rows))


def _sizes(report: Report) -> str:
    height, width = report.size
    if not report.resized:
        return f"all {height}x{width}"
    common = list(report.source_sizes.items())[:5]
    listed = ", ".join(f"{size} {count:,}" for size, count in common)
    more = f" and {len(report.source_sizes) - 5:,} more sizes" * (len(report.source_sizes) > 5)
    return f"{report.resized:,} images resized to {height}x{width}; height x width: {listed}{more}"
