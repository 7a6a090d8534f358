"""Measure what a prior is worth: mixes of FER2013's PublicTest under each.

Images of PublicTest are drawn so that the classes are as common as they are, as on ordinary
photographs (nearly all happy or neutral), or equally common. Each mix is predicted with the priors
"training", "uniform" and "adapt", and with its true shares, which nobody knows in use. What is
right is the image's own label, or with --truth majority what most of the people who were asked say.

The table goes to stdout (--json: the figures), progress to stderr.

examples:
  python scripts/prior_trials.py --data emotion-detection-fer.zip
  python scripts/prior_trials.py --data fer2013 --weights runs/fast/best.h5 --json
  python scripts/prior_trials.py --data fer2013 --truth majority
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import ferjax
import publictest
from benchmarks.arguments import Parser
from ferjax import priors
from ferjax.data import Faces, votes
from ferjax.errors import DataError

COMMON: Final = ("happy", "neutral")
RARE: Final = 0.06  # of the images of the other classes, how many are kept among ordinary ones
MIXES: Final = ("as it is", "mostly happy or neutral", "each class as common")
PRIORS: Final = ("training", "uniform", "adapt", "true shares")
_BATCH: Final = 256


def build_parser() -> Parser:
    parser = publictest.build_parser("prior_trials", __doc__)
    parser.add_argument(
        "--truth",
        choices=("label", "majority"),
        default="label",
        help="what is right: the image's own label (default), or what more than half of the votes "
        "say that `ferjax data prepare --votes` kept; images without a majority are left out",
    )
    return parser


def by_majority(faces: Faces) -> Faces:
    """Return the faces that have a majority, which becomes their label.

    Raises:
        DataError: nobody's votes are known.
    """
    if faces.votes is None:
        raise DataError(
            "expected votes for --truth majority; `ferjax data prepare --votes` keeps them"
        )
    labels = votes.majority(faces.votes, faces.class_names)
    return replace(faces.take(labels >= 0), labels=labels[labels >= 0])


def mix(
    name: str, labels: npt.NDArray[np.integer], class_names: Sequence[str], seed: int
) -> npt.NDArray[np.intp]:
    """Return the positions of the images of a mix, sorted.

    >>> mix("each class as common", np.array([0, 0, 0, 1]), ["happy", "sad"], seed=0).size
    2
    """
    rng = np.random.default_rng(seed)
    if name == MIXES[1]:
        common = np.isin(labels, [class_names.index(label) for label in COMMON])
        return np.flatnonzero(rng.random(len(labels)) < np.where(common, 1, RARE))
    if name == MIXES[2]:
        of_class = [np.flatnonzero(labels == k) for k in range(len(class_names))]
        fewest = min(map(len, of_class))
        return np.sort(np.concatenate([rng.choice(rows, fewest, False) for rows in of_class]))
    return np.arange(len(labels))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of every mix."""
    faces, name = publictest.read(args.data, limit=args.limit, seed=args.seed)
    if args.truth == "majority":
        faces = by_majority(faces)
    classifier = ferjax.load(args.weights)
    labels = publictest.outputs(classifier, faces)
    progress = publictest.Progress("predicted", len(faces))
    parts = []
    for start in range(0, len(faces), _BATCH):
        images = faces.images[start : start + _BATCH]
        parts.append(
            classifier.predict_proba(
                images, resize="linear", calibrated=classifier.scaling is not None
            )
        )
        progress(start + len(images))
    probabilities = np.concatenate(parts)
    classes = len(classifier.labels)
    mixes = {}
    for kind in MIXES:
        rows = mix(kind, labels, classifier.labels, args.seed)
        true = np.bincount(labels[rows], minlength=classes) / len(rows)
        figures = {}
        for prior in PRIORS:
            # A class that does not occur at all would have no share.
            stated: priors.Prior = np.maximum(true, 1e-6) if prior == PRIORS[-1] else prior
            predicted = classifier.with_prior(probabilities[rows], stated).argmax(1)
            right = predicted == labels[rows]
            recalls = [right[labels[rows] == k].mean() for k in range(classes) if true[k]]
            figures[prior] = {
                "accuracy": float(right.mean()),
                "balanced_accuracy": float(np.mean(recalls)),
            }
        mixes[kind] = {
            "images": len(rows),
            "shares": dict(zip(classifier.labels, true.tolist())),
            "estimated": classifier.adapted_prior,
            "figures": figures,
        }
    heading = publictest.heading(len(faces), name, args)
    return {**heading, "truth": args.truth, "mixes": mixes}


def table(results: dict[str, Any]) -> str:
    """Return the figures as a table of Markdown."""
    lines = [
        f"{results['images']}, {results['count']:,} images, weights {results['weights']}, right is "
        f"the {results['truth']}: accuracy (balanced accuracy), %",
        "",
        f"| mix | images | {' | '.join(PRIORS)} |",
        f"|---|---|{'---|' * len(PRIORS)}",
    ]
    for kind, found in results["mixes"].items():
        cells = (
            f"{100 * f['accuracy']:.1f} ({100 * f['balanced_accuracy']:.1f})"
            for f in found["figures"].values()
        )
        lines.append(f"| {kind} | {found['images']:,} | {' | '.join(cells)} |")
    for kind, found in results["mixes"].items():
        estimated = ", ".join(
            f"{label} {100 * share:.1f} (truly {100 * found['shares'][label]:.1f})"
            for label, share in found["estimated"].items()
        )
        lines += ["", f"{kind}, estimated in %: {estimated}"]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    return publictest.run(build_parser(), measure, table, argv)


if __name__ == "__main__":
    sys.exit(main())
