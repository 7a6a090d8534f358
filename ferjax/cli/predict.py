"""Predict the emotion on faces in image files.

Each image is taken for one face, cropped to it; `ferjax faces` finds and crops the faces of
photographs. Folders are searched for images. An image that cannot be read is named on stderr, the
others are predicted, and the exit code is 1; it is 2 where none of the paths exists.

Images are resized as the published code does it, which skips most pixels of large ones; --resize
area averages them instead.

Confidences are as Keras gives them; --calibrated applies the temperature that `ferjax calibrate`
stored with the weights, and --abstain-below withholds labels of lower confidence. --explain draws
which parts of each face the class's score comes from.

--prior says how common each expression is among such faces, where that differs from those that the
network was trained on: uniform, as where each is posed as often, stated by class, or
adapt, estimated from all the images given, which is told on stderr.

--on ray predicts images by the million, on all cores or a cluster, and folders may be at addresses
such as s3://bucket/faces: --out gets Parquet files with a row for each image (path, label,
confidence, the probability of each class, error) and, in the end, _summary.json.

examples:
  ferjax predict examples/astronaut.png --top 3
  ferjax predict faces/ --calibrated --abstain-below 0.7
  ferjax predict faces/ --prior happy=4,neutral=4,sad=1,surprise=1,angry=1,fear=.3,disgust=.3
  ferjax predict examples/astronaut.png --explain why.png
  ferjax predict faces/ --on ray --out rows/
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ferjax.cli import on_ray, options
from ferjax.cli.progress import Progress
from ferjax.errors import FerjaxError, ImageError, printable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ferjax.classifier import EmotionClassifier
    from ferjax.image_files import UInt8Array
    from ferjax.prediction import Prediction

_CHUNK = 256
_FEW: Final = 8  # images that one thread predicts before others would be there to help
_LOOKED_AT: Final = 16  # images in which a small face is looked for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE_OR_FOLDER")
    options.add_classifier(parser)
    parser.add_argument(
        "--resize",
        choices=("linear", "area"),
        help="how images come to the network's size: linear, bilinear as published (default), or "
        "area, the mean of the pixels, better where they are much larger",
    )
    options.add_confidence(parser)
    options.add_prior(parser)
    parser.add_argument(
        "--top", type=_positive, default=1, metavar="K", help="classes to print (default: 1)"
    )
    parser.add_argument(
        "--explain",
        metavar="OUT.png",
        help="draw where the score of the predicted class comes from (.png, .pdf, .svg)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON list on stdout")
    on_ray.add_arguments(parser, with_going_on=True)


@options.keeps_programs
def run(args: argparse.Namespace) -> int:
    from ferjax.preprocessing import find_images
    from ferjax.priors import as_text

    if args.on is not None:
        return _on_ray(args)
    on_ray.check_alone(args)
    for name in ("resume", "force"):
        if getattr(args, name):
            raise FerjaxError(f"--{name} is for runs on Ray: give --on ray too")
    paths = find_images(args.images)
    options.note_unread_images(args.images)
    classifier = options.load_classifier(args)
    classifier.expected_images = len(paths)
    options.check_given(args.images)
    # What cannot be done is said before any image is read.
    classifier.check_confidence(calibrated=args.calibrated, prior=args.prior)
    if args.explain is not None:
        from ferjax import explain

        explain.check_drawing(args.explain, len(paths))
    threads = 1 if len(paths) <= _FEW else None
    with options.preparing(classifier, args, threads=threads):
        readable, rows = _predicted(classifier, paths, args, threads)
    if readable:
        rows = classifier.with_prior(rows, args.prior)
    if args.prior == "adapt" and classifier.adapted_prior is not None:
        faces, shares = len(readable), printable(as_text(classifier.adapted_prior))
        print(f"ferjax: note: prior estimated from {faces:,} faces: {shares}", file=sys.stderr)
    results = [
        (path, classifier.describe(row, abstain_below=args.abstain_below))
        for path, row in zip(readable, rows)
    ]
    if args.explain is not None and results:
        labels = [int(classifier.head.predicted(row)) for row in rows]
        resize: Any = args.resize or "linear"
        explanations = explain.explain(classifier, readable, labels=labels, resize=resize)
        explain.draw(explanations, args.explain, names=[path.name for path in readable])
        print(f"explained: {args.explain}", file=sys.stderr)
    _print(classifier, results, args)
    return 1 if len(readable) < len(paths) else 0


def _on_ray(args: argparse.Namespace) -> int:
    """Predict all images by Ray."""
    from ferjax.faces.options import FaceOptions
    from ferjax.faces.settings import asked_of
    from ferjax.scale.jobs import PictureJob

    given = {"--top": args.top > 1, "--explain": args.explain, "--json": args.json}
    on_ray.check_together(args, given)
    classifier = options.load_classifier(args)
    options.note_unread_images(args.images)
    resize: Any = args.resize or "linear"
    chosen = FaceOptions(
        resize=resize,
        # A prior is for calibrated probabilities.
        calibrated=args.calibrated or (args.prior != "training" and classifier.scaling is not None),
        prior=args.prior,
        abstain_below=args.abstain_below,
    )
    asked = {
        **asked_of(classifier, args.prior),
        "--resize": resize,
        "--calibrated": chosen.calibrated,
        "--abstain-below": args.abstain_below,
    }
    return on_ray.run(args, args.images, classifier, PictureJob(chosen, faces=False), asked)


def _predicted(
    classifier: EmotionClassifier,
    paths: list[Path],
    args: argparse.Namespace,
    threads: int | None,
) -> tuple[list[Path], npt.NDArray[np.float32]]:
    """Return the images that can be read, N, and their probabilities, float32 (N, K)."""
    import numpy as np

    from ferjax.preprocessing import read_image

    channels: Any = classifier.graph.image_shape[2]
    resize: Any = args.resize or "linear"
    # A prior is for calibrated probabilities, and for all of them together.
    calibrated = args.calibrated or (args.prior != "training" and classifier.scaling is not None)
    notes = _Notes(classifier.image_size, args.resize is None)
    progress = Progress(len(paths), "images")
    readable: list[Path] = []
    parts = [np.zeros((0, len(classifier.labels)), np.float32)]
    for start in range(0, len(paths), _CHUNK):
        chunk = paths[start : start + _CHUNK]
        batches = []
        for path in chunk:
            try:
                image = read_image(path, channels=channels)
                batches.append(classifier.preprocess(image, resize=resize))
                readable.append(path)
                notes.look_at(image, path)
            except ImageError as error:
                print(f"ferjax: error: {error}", file=sys.stderr)
        if batches:
            batch = np.concatenate(batches)
            parts.append(classifier.predict_batch(batch, calibrated=calibrated, threads=threads))
        notes.say()
        progress.advance(len(chunk))
    progress.close()
    notes.say(done=True)
    return readable, np.concatenate(parts)


def _print(
    classifier: EmotionClassifier, results: list[tuple[Path, Prediction]], args: argparse.Namespace
) -> None:
    if args.json:
        entries = [
            {"path": os.fspath(path), "engine": classifier.engine, **vars(said)}
            for path, said in results
        ]
        print(json.dumps(entries, indent=2))
    else:
        names = [printable(os.fspath(path)) for path, _ in results]
        width = max(map(len, names), default=0)
        for name, (_, prediction) in zip(names, results):
            classes = list(prediction.probabilities.items())
            ranked = classifier.head.ranked([p for _, p in classes])[: args.top]
            best = "  ".join(f"{classes[index][0]} {classes[index][1]:.3f}" for index in ranked)
            best = f"abstains ({best})" if prediction.label is None else best
            print(f"{name:<{width}}  {printable(best)}")


class _Notes:
    """What is said once each: that images are no crops, that their pixels are skipped."""

    def __init__(self, size: tuple[int, int], on_pixels: bool) -> None:
        self._size = size
        self._on_pixels = on_pixels
        self._looks = _LOOKED_AT
        self._no_crops = _Images()
        self._skipped = _Images()
        self._shape = (0, 0)  # of the first that is skipped

    def look_at(self, image: UInt8Array, path: Path) -> None:
        """Look at an image, uint8 (H, W) or (H, W, 3), that is going to be predicted."""
        from ferjax.faces.detection import has_small_face
        from ferjax.preprocessing import skips_pixels

        height, width = image.shape[:2]
        if not (self._looks or self._on_pixels) or not skips_pixels(height, width, self._size):
            return
        if self._looks:
            self._looks -= 1
            if has_small_face(image):
                self._no_crops.add(path)
                return
        if self._on_pixels:
            self._shape = self._shape if self._skipped.count else (height, width)
            self._skipped.add(path)

    def say(self, *, done: bool = False) -> None:
        """Print what is known for all images, which is everything where they are `done`."""
        if self._no_crops.count and (done or not self._looks):
            of = "" if self._looks else f", of {_LOOKED_AT} that were looked at"
            each, them = ("each", "them") if self._no_crops.count > 1 else ("it", "it")
            self._no_crops.say(
                f"the face fills less than half of {each}, and all of it is taken for one; "
                f"`ferjax faces` finds and crops {them}",
                of,
            )
        if self._skipped.count and done:
            height, width = self._shape
            pixels = f"its {width} x {height} pixels"
            if self._skipped.count > 1:
                pixels = f"their pixels, {width} x {height} in the first,"
            rows, columns = self._size
            self._skipped.say(
                f"of {pixels} the published resize to {columns} x {rows} skips most; "
                "--resize area averages them, --resize linear leaves this note out"
            )


class _Images:
    """Those that a note is for: the first by its name, the others by their number."""

    def __init__(self) -> None:
        self.count = 0
        self._first = Path()

    def add(self, path: Path) -> None:
        self._first = self._first if self.count else path
        self.count += 1

    def say(self, text: str, of: str = "") -> None:
        """Print a note, and begin anew."""
        others = f" and {self.count - 1:,} more{of}" if self.count > 1 else ""
        print(f"ferjax: note: {printable(os.fspath(self._first))}{others}: {text}", file=sys.stderr)
        self.count = 0


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text!r}")
    return value
