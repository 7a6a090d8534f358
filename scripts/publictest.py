"""What the measurements on FER2013's PublicTest share: the faces, paired differences, a heading.

PublicTest is what ferjax's settings are chosen on; PrivateTest, the test part, is never read here.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks import machine
from benchmarks.arguments import Parser, count
from ferjax import released
from ferjax.classifier import EmotionClassifier
from ferjax.data import Faces, preparation, sources, splits
from ferjax.errors import DataError, FerjaxError
from ferjax.evaluate.predictions import outputs_of_classes
from ferjax.preprocessing import Resize

ROOT: Final = Path(__file__).parents[1]
RESAMPLES: Final = 10_000
_BATCH: Final = 256


class Progress:
    """A line on stderr that says how far a part of the work is, at most once a second."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._began = self._said = time.monotonic()

    def __call__(self, through: int) -> None:
        now = time.monotonic()
        if through < self._total and now - self._said < 1:
            return
        self._said = now
        left = (now - self._began) / max(1, through) * (self._total - through)
        text = f"{self._what}: {through:,} of {self._total:,}, about {left:.0f} s left"
        end = "\n" if through >= self._total else ""
        print(f"\r{text:<78}", end=end, file=sys.stderr, flush=True)


def build_parser(name: str, description: str | None) -> Parser:
    """Return the parser of a measurement, with the options that all have."""
    parser = Parser(name, description)
    add = parser.add_argument
    add(
        "--data",
        type=Path,
        required=True,
        metavar="PATH",
        help="FER2013: its archive or csv, or a folder of `ferjax data prepare`",
    )
    add("--weights", type=Path, metavar="FILE", help="(default: those that ferjax brings)")
    add("--limit", type=count, metavar="N", help="measure on N images of PublicTest alone")
    add("--seed", type=int, default=0, help="of every draw (default: 0)")
    add("--json", action="store_true", help="print the results as JSON")
    return parser


def run(
    parser: Parser,
    measure: Callable[[argparse.Namespace], dict[str, Any]],
    table: Callable[[dict[str, Any]], str],
    argv: Sequence[str] | None,
) -> int:
    """Measure and print, as JSON or as a table; a mistake gives one line and exit code 2."""
    args = parser.parse_args(argv)
    try:
        results = measure(args)
    except (FerjaxError, OSError) as error:
        print(f"{parser.name}: error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(results, indent=1, default=_as_dict) if args.json else table(results))
    return 0


def outputs(classifier: EmotionClassifier, faces: Faces) -> npt.NDArray[np.intp]:
    """Return which of the classifier's outputs is each face's label, (N,).

    Raises:
        LabelsError: its classes are others than the data's.
    """
    return np.array(outputs_of_classes(classifier, faces), np.intp)[faces.labels]


def read(path: Path, *, limit: int | None = None, seed: int = 0) -> tuple[Faces, str]:
    """Return PublicTest, or the validation faces of other data, and what they are called.

    Args:
        path: a source of faces, or a folder that `ferjax data prepare` has written.
        limit: how many of them, drawn at random; None: all.

    Raises:
        DataError: there are none.
    """
    if preparation.is_prepared(path):
        faces = preparation.load(path)
    else:
        faces = splits.official(sources.read(path).faces)
    faces = faces.take(faces.in_split("validation"))
    if not len(faces):
        raise DataError(f"expected validation images in {path}, got none; give FER2013's archive")
    name = splits.part_name(faces, "validation", path)
    if limit is not None and limit < len(faces):
        rng = np.random.default_rng(seed)
        faces = faces.take(np.sort(rng.choice(len(faces), limit, replace=False)))
    return faces, name


def correct(
    classifier: EmotionClassifier,
    images: Iterable[npt.NDArray[np.uint8]],
    labels: npt.NDArray[np.integer],
    what: str,
    *,
    resize: Resize = "linear",
) -> npt.NDArray[np.bool_]:
    """Return which images, uint8 (h, w) each, get their label, (N,).

    Args:
        images: made when they are needed, where they come from a generator.
        labels: int, positions among the classifier's outputs, (N,).
        what: the images are, for the progress.
        resize: how they come to the size that the network takes.
    """
    progress, stream = Progress(what, len(labels)), iter(images)
    right = np.zeros(len(labels), bool)
    for start in range(0, len(labels), _BATCH):
        part = labels[start : start + _BATCH]
        rows = classifier.predict_proba(list(itertools.islice(stream, len(part))), resize=resize)
        right[start : start + len(part)] = rows.argmax(1) == part
        progress(start + len(part))
    return right


@dataclass(frozen=True)
class Difference:
    """How an accuracy differs from another on the same images.

    Attributes:
        points: the difference in percentage points.
        low: the lower end of its 95 % interval, by bootstrap over images.
        high: the upper end.
    """

    points: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.points:+.1f} ({self.low:+.1f} to {self.high:+.1f})"


def difference(
    ours: npt.NDArray[np.bool_], theirs: npt.NDArray[np.bool_], *, seed: int = 0
) -> Difference:
    """Return by how much `ours` is right more often than `theirs`, image by image, (N,) each.

    >>> difference(np.array([True, True, False, True]), np.array([True, False, False, True])).points
    25.0
    """
    gained, lost = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    n = len(ours)
    # Of an image counts only whether it was gained, lost or neither, so that a resample of all
    # images is one draw of these three counts.
    shares = np.array([gained, lost, n - gained - lost]) / n
    drawn = np.random.default_rng(seed).multinomial(n, shares, size=RESAMPLES)
    low, high = np.percentile(100 * (drawn[:, 0] - drawn[:, 1]) / n, [2.5, 97.5])
    return Difference(100 * (gained - lost) / n, float(low), float(high))


def heading(count: int, name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return what the figures were measured on, ready for JSON."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": machine.cpu_model(),
        "cores": os.cpu_count(),
        "versions": machine.versions(),
        "weights": args.weights.name if args.weights else released.DEFAULT,
        "images": name,
        "count": count,
        "seed": args.seed,
    }


def introduction(results: dict[str, Any]) -> str:
    """Return the heading as two lines."""
    versions = results["versions"]
    named = ("ferjax", "jax", "opencv-python-headless", "numpy")
    shown = ", ".join(f"{name} {versions[name]}" for name in named if name in versions)
    return (
        f"Measured on {results['date'][:10]}: {results['cpu']}, {results['cores']} cores; "
        f"{shown}.\n"
        f"{results['count']:,} images of {results['images']}, weights {results['weights']}, "
        f"seed {results['seed']}."
    )


def _as_dict(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"expected a dataclass, got {type(value).__name__}")
