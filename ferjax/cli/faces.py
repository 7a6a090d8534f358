"""Find the faces in photographs, and the expression on each.

Folders are searched for photographs; drawings and crops that ferjax put there are left out.
Each face has a line: the photograph, the face's number in it from 1, its label and probability, and
its box (left and upper edge, width x height) in pixels of the picture as a viewer shows it; below
24 pixels of height it is too small to tell. A photograph that cannot be read is named on stderr,
the others are done, and the exit code is 1; it is 2 where none of the paths exists.

--draw writes every photograph with its faces marked: party.jpg as DIR/party.faces.jpg. --crops
writes each face as it is cropped for the network, not yet resized: DIR/party.face1.png; `ferjax
predict DIR --resize area` gives the same probabilities. No file that ferjax did not make is
overwritten: where one has such a name, another is taken.

--csv writes a row for each face: path, face, x, y, width, height, score, landmarks, roll, size (its
height), too_small (below 24 pixels), label, confidence, the probability of each class, error. A
photograph without a face has one row, whose face is 0; so has one that cannot be read, with its
error.

What is done is recorded in a hidden file beside the CSV file, or else in DIR: with the same options
and --resume an interrupted run goes on, and leaves the same files as one that was not interrupted.
Photographs that were changed or added since are done too.

--prior says how common each expression is among such faces; with adapt that is estimated from all
of them, for which all photographs are looked at before the first result, in about the same time
once more. What is estimated is told on stderr; a run that --resume goes on with keeps it.

--on ray does photographs by the million, on all cores or a cluster, and folders may be at addresses
such as s3://bucket/photos: --out gets Parquet files with the rows of --csv and, in the end,
_summary.json. With --resume what is in them is not done again.

examples:
  ferjax faces party.jpg --draw .
  ferjax faces photos/ --csv faces.csv --draw drawn/ --resume
  ferjax faces photos/ --json --min-size 40 --calibrated --abstain-below 0.6
  ferjax faces photos/ --csv faces.csv --prior adapt
  ferjax faces photos/ --draw to_publish/ --anonymise
  ferjax faces s3://bucket/photos --on ray --workers 8 --out rows/
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ferjax.cli import on_ray, options
from ferjax.cli.progress import Progress
from ferjax.errors import printable

if TYPE_CHECKING:
    from ferjax.faces.batch import Batch
    from ferjax.faces.settings import Settings

_MANY = 10  # photographs, from which on they are counted at the end
_FACES = 4  # expected in a photograph: an estimate, which decides what JAX compiles


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "photographs",
        nargs="+",
        metavar="PHOTO_OR_FOLDER",
        help="photographs, and folders that are searched for them",
    )
    _add_written(parser)
    _add_which(parser)
    network = parser.add_argument_group("what says the expression")
    options.add_classifier(network)
    options.add_face_resize(network)
    options.add_confidence(network)
    options.add_prior(network)
    on_ray.add_arguments(parser)


def _add_written(parser: argparse.ArgumentParser) -> None:
    written = parser.add_argument_group("what is written")
    written.add_argument("--draw", metavar="DIR", help="annotated pictures, in this folder")
    written.add_argument(
        "--crops", metavar="DIR", help="each face in the photograph's own resolution, as PNG"
    )
    written.add_argument("--csv", metavar="FILE", help="a table in UTF-8 with a row for each face")
    written.add_argument("--json", action="store_true", help="print one JSON list")
    written.add_argument(
        "--anonymise",
        "--anonymize",
        action="store_true",
        help="with --draw: pixelate the faces that are found; those that --min-score and "
        "--min-size leave out stay as they are",
    )
    written.add_argument(
        "--explain",
        action="store_true",
        help="with --draw: show on each face where the score of the predicted class comes from",
    )
    options.add_going_on(written, "an unfinished run, or a --csv FILE that ferjax did not write")


def _add_which(parser: argparse.ArgumentParser) -> None:
    chosen = parser.add_argument_group("which faces")
    chosen.add_argument(
        "--min-score",
        type=options.fraction,
        metavar="P",
        help="leave out what is less surely a face, in [0, 1] (default: 0.7)",
    )
    chosen.add_argument(
        "--min-size",
        type=options.pixels,
        metavar="PIXELS",
        help="leave out faces of less height, and look closely enough to find those of this "
        "height, down to about 11 (default: all that are found, from about 24 in ordinary "
        "pictures, from 1/65 of the long side in large ones)",
    )
    chosen.add_argument(
        "--largest", action="store_true", help="only the largest face of each photograph"
    )
    chosen.add_argument(
        "--order",
        choices=("reading", "size"),
        default="reading",
        help="of the faces in a photograph: line by line from the left, or the largest first "
        "(default: reading)",
    )


@options.keeps_programs
def run(args: argparse.Namespace) -> int:
    from ferjax.faces import results
    from ferjax.faces.batch import Batch
    from ferjax.faces.detection import MIN_SCORE
    from ferjax.faces.settings import Settings

    settings = Settings(
        min_score=MIN_SCORE if args.min_score is None else args.min_score,
        min_size=args.min_size,
        largest=args.largest,
        order=args.order,
        resize=args.resize,
        calibrated=args.calibrated,
        prior=args.prior,
        abstain_below=args.abstain_below,
        anonymise=args.anonymise,
        explain=args.explain,
        draw=args.draw,
        crops=args.crops,
        table=args.csv,
        resume=args.resume,
        force=args.force,
    )
    if args.on is not None:
        return _on_ray(args, settings)
    on_ray.check_alone(args)
    settings.check()
    classifier = options.load_classifier(args)
    options.check_given(args.photographs)
    batch = Batch(classifier, args.photographs, settings)
    classifier.expected_images = _FACES * (batch.total - batch.recorded)
    if batch.left_out:
        print(f"ferjax: note: {batch.left_out:,} drawings and crops are left out", file=sys.stderr)
    if batch.recorded:
        print(
            f"ferjax: note: {batch.recorded:,} of {batch.total:,} are done already", file=sys.stderr
        )
    options.note_unread_images(args.photographs)
    if args.prior == "adapt":
        _tell_prior(batch)
    progress = Progress(batch.total - batch.recorded, "photographs")
    entries = _told(batch, progress)
    if args.json:
        parts = results.json_list(entries)
    else:
        abstains = args.abstain_below > 0
        parts = results.text_lines(entries, batch.paths, classifier.labels, abstains=abstains)
    start = time.monotonic()
    try:
        for part in parts:
            progress.clear()
            print(part, end="")
    except KeyboardInterrupt:
        progress.clear()
        print(f"interrupted: {batch.left_to_say}", file=sys.stderr)
        raise
    progress.clear()
    if batch.total >= _MANY:
        rate = batch.processed / max(1e-3, time.monotonic() - start)
        speed = f"; {rate:.1f} a second" if batch.processed else ""
        print(f"{batch.counts}{speed}", file=sys.stderr)
    return 1 if batch.counts.failed else 0


def _on_ray(args: argparse.Namespace, settings: Settings) -> int:
    """Do all photographs by Ray."""
    from ferjax.scale.jobs import PictureJob

    names = ("draw", "crops", "csv", "json", "anonymise", "explain")
    on_ray.check_together(args, {f"--{name}": getattr(args, name) for name in names})
    classifier = options.load_classifier(args)
    options.note_unread_images(args.photographs)
    job = PictureJob(settings.of_faces)
    return on_ray.run(args, args.photographs, classifier, job, settings.asked(classifier, []))


def _tell_prior(batch: Batch) -> None:
    """Say what prior is estimated, or was by the run that is gone on with."""
    from ferjax.priors import as_text

    how = "as the run was begun with"
    if batch.needs_estimate:
        progress = Progress(batch.total, "photographs, for the prior")

        def advance(count: int) -> None:
            progress.advance(count)
            if progress.done == progress.total:  # a warning may follow
                progress.close()

        faces = batch.estimate_prior(advance)
        how = f"estimated from {faces:,} faces"
    assert isinstance(batch.prior, dict)
    print(f"ferjax: note: prior {how}: {printable(as_text(batch.prior))}", file=sys.stderr)


def _told(batch: Batch, progress: Progress) -> Iterator[dict[str, Any]]:
    """Yield a run's entries, say how far it is, and name what cannot be read."""
    for entry in batch:
        if entry["error"] is not None:
            progress.clear()
            print(f"ferjax: error: {entry['error']}", file=sys.stderr)
        yield entry
        if not progress.done:
            progress.begin(batch.processed)
        else:
            progress.advance(batch.processed - progress.done)
