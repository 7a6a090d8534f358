"""Measure the detector and the whole way to a label on faces that are pasted into pictures.

Faces of FER2013's PublicTest, in several sizes, are pasted at random places on canvases of random
sizes with textures made by arithmetic, with soft edges and several on a canvas. Half the canvases
are in colour, and the faces on them are tinted like skin; the others are gray. A face's size is the
side of its square, which is about the height of the detector's box. The faces are cut off at
forehead and chin, as FER2013's are, so that the recall is not that of whole heads.

recall          of `ferjax.faces.detect`, by size and by the score that a face needs; a face is
                found where a box overlaps its own by 0.35 (intersection over union)
false alarms    boxes that lie on none, by their own size; then on canvases without faces
accuracy        of `EmotionClassifier.analyze` where it finds the face, against the untouched image
                of the same faces; the difference's interval is 95 %, by bootstrap over faces

The tables go to stdout (--json: the figures), progress to stderr.

examples:
  python scripts/pasted_faces.py --data emotion-detection-fer.zip
  python scripts/pasted_faces.py --data emotion-detection-fer.zip --limit 20 --json
  python scripts/pasted_faces.py --data emotion-detection-fer.zip --limit 5 --pictures DIR
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

import canvases
import ferjax
import publictest
from benchmarks.arguments import Parser, count
from ferjax.data import Faces
from ferjax.faces import Detection, detect
from ferjax.faces.detection import MIN_SCORE
from publictest import Difference, Progress

UInt8Array = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]

SIZES: Final = (24, 32, 48, 64, 96, 128, 200, 300, 400)
MIN_SCORES: Final = (0.5, 0.6, 0.7, 0.8, 0.9)
SIDES: Final = (640, 1600)  # of canvases, in pixels
MOST: Final = 8  # faces of a canvas
TRIES: Final = 50  # to find room for one
OVERLAP: Final = 0.35  # intersection over union from which a box is a face's
FADE: Final = 0.04  # of a face's side, over which its edges fade
# From gray to red, green and blue: tones of skin lie between these.
SKINS: Final = ((1.0, 0.72, 0.55), (1.0, 0.8, 0.7))
LUMA: Final = (0.299, 0.587, 0.114)
# YuNet's box of a FER2013 image, over the image's side: left, top, width, height.
BOX: Final = (0.115, -0.025, 0.77, 1.01)
DEFAULT_LIMIT: Final = 300
EMPTY: Final = 200


@dataclass(frozen=True)
class Pasted:
    """A face on a canvas: its position in the data, its size, the box that it should have, and
    whether the canvas is in colour."""

    row: int
    size: int
    box: Box
    colour: bool


@dataclass(frozen=True)
class SizeResult:
    """What became of the faces of a size.

    Attributes:
        size: in pixels.
        faces: how many were pasted.
        recall: "colour" and "gray", each by `min_score`, in percent.
        false_alarms: by `min_score`, boxes nearest to this size that lie on no face.
        found: faces that `analyze` finds.
        accuracy: of them, in percent; None without a face.
        untouched: the accuracy of the same faces' untouched images.
        difference: of the two; None without a face.
    """

    size: int
    faces: int
    recall: dict[str, dict[str, float]]
    false_alarms: dict[str, int]
    found: int
    accuracy: float | None
    untouched: float | None
    difference: Difference | None


def plan(rows: int, sizes: Sequence[int], rng: np.random.Generator) -> list[list[tuple[int, int]]]:
    """Return the faces of each canvas as (row, size): each row in each size once, shuffled."""
    wanted = [(row, size) for row in range(rows) for size in sizes]
    order = [wanted[i] for i in rng.permutation(len(wanted))]
    groups, start = [], 0
    while start < len(order):
        count = int(rng.integers(1, MOST + 1))
        groups.append(order[start : start + count])
        start += count
    return groups


def compose(
    images: UInt8Array, group: Sequence[tuple[int, int]], rng: np.random.Generator
) -> tuple[UInt8Array, list[Pasted], list[tuple[int, int]]]:
    """Return a canvas, uint8 (H, W, 3), the faces on it, and those for which it has no room."""
    height, width = (int(side) for side in rng.integers(SIDES[0], SIDES[1] + 1, 2))
    canvas = canvases.canvas(height, width, rng)
    colour = bool(rng.random() < 0.5)
    if not colour:
        gray = cv2.cvtColor(canvas, cv2.COLOR_RGB2GRAY)
        canvas = np.repeat(np.asarray(gray, np.uint8)[..., None], 3, axis=-1)
    taken: list[tuple[int, int, int]] = []
    pasted, left_over = [], []
    for row, size in group:
        place = _place(height, width, size, taken, rng)
        if place is None:
            left_over.append((row, size))
            continue
        x, y = place
        taken.append((x, y, size))
        tint = rng.uniform(*SKINS) if colour else np.ones(3)
        paste(canvas, images[row], x, y, size, tint / (tint @ LUMA))  # its gray stays as it is
        left, top, across, down = (size * part for part in BOX)
        pasted.append(Pasted(row, size, (x + left, y + top, across, down), colour))
    return canvas, pasted, left_over


def _place(
    height: int,
    width: int,
    size: int,
    taken: Sequence[tuple[int, int, int]],
    rng: np.random.Generator,
) -> tuple[int, int] | None:
    """Return where a square fits, a tenth of its side from the edges and from others."""
    gap = size // 10 + 1
    if min(height, width) < size + 2 * gap:
        return None
    for _ in range(TRIES):
        x = int(rng.integers(gap, width - size - gap + 1))
        y = int(rng.integers(gap, height - size - gap + 1))
        if all(
            x + size + gap <= a or a + s + gap <= x or y + size + gap <= b or b + s + gap <= y
            for a, b, s in taken
        ):
            return x, y
    return None


def paste(
    canvas: UInt8Array,
    face: UInt8Array,
    x: int,
    y: int,
    size: int,
    tint: npt.NDArray[np.float64],
) -> None:
    """Put a face, uint8 (h, h), onto a canvas in a size, in gray times `tint`, (3,)."""
    shrinks = size < face.shape[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    coloured = cv2.resize(face, (size, size), interpolation=method)[..., None] * tint
    from_edge = np.minimum(np.arange(size), np.arange(size)[::-1]) + 0.5
    ramp = np.clip(from_edge / (FADE * size), 0, 1)
    alpha = np.minimum(ramp[:, None], ramp[None])[..., None]
    part = canvas[y : y + size, x : x + size]
    part[:] = np.clip(alpha * coloured + (1 - alpha) * part, 0, 255).round().astype(np.uint8)


def overlap(a: Box, b: Box) -> float:
    """Return the intersection of two boxes over their union.

    >>> overlap((0, 0, 2, 2), (1, 0, 2, 2)) == 1 / 3
    True
    """
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(0.0, across) * max(0.0, down)
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def matched(pasted: Sequence[Pasted], boxes: Sequence[Box]) -> tuple[dict[int, int], list[int]]:
    """Return which box each face has, by their positions, and the boxes that lie on no face.

    The pairs that overlap most come first; a second box on a face is a false alarm.
    """
    pairs = sorted(
        (
            (overlap(face.box, box), i, j)
            for i, face in enumerate(pasted)
            for j, box in enumerate(boxes)
        ),
        reverse=True,
    )
    matches: dict[int, int] = {}
    for value, i, j in pairs:
        if value >= OVERLAP and i not in matches and j not in matches.values():
            matches[i] = j
    return matches, [j for j in range(len(boxes)) if j not in matches.values()]


def nearest(size: float, sizes: Sequence[int]) -> int:
    """Return which of the sizes is nearest by ratio.

    >>> nearest(39, [24, 32, 48]), nearest(40, [24, 32, 48])
    (32, 48)
    """
    return min(sizes, key=lambda known: abs(np.log(size / known)))


class _Tally:
    """Counts of one measurement."""

    def __init__(self, sizes: Sequence[int], min_scores: Sequence[float]) -> None:
        self._sizes, self._min_scores = sizes, min_scores
        self._pasted: Counter[tuple[int, bool]] = Counter()  # by size and whether in colour
        self._detected: Counter[tuple[int, bool, float]] = Counter()
        self._alarms: Counter[tuple[int, float]] = Counter()
        self._labels: dict[int, list[tuple[int, bool]]] = {size: [] for size in sizes}

    def pasted(self, faces: Sequence[Pasted]) -> None:
        self._pasted.update((face.size, face.colour) for face in faces)

    def detected(self, pasted: Sequence[Pasted], faces: Sequence[Detection], score: float) -> None:
        pairs, others = matched(pasted, [face.box for face in faces])
        self._detected.update((pasted[i].size, pasted[i].colour, score) for i in pairs)
        sizes = (nearest(max(1.0, faces[j].size), self._sizes) for j in others)
        self._alarms.update((size, score) for size in sizes)

    def labelled(self, face: Pasted, right: bool) -> None:
        self._labels[face.size].append((face.row, right))

    def results(self, untouched: npt.NDArray[np.bool_], seed: int) -> list[SizeResult]:
        """Return a row for each size; `untouched` says which images as they are get their label."""
        return [self._result(size, untouched, seed) for size in self._sizes]

    def _result(self, size: int, untouched: npt.NDArray[np.bool_], seed: int) -> SizeResult:
        recall = {
            name: {
                f"{score:g}": 100 * self._detected[size, colour, score] / number
                for score in self._min_scores
            }
            for name, colour in (("colour", True), ("gray", False))
            if (number := self._pasted[size, colour])
        }
        ours = np.array([right for _, right in self._labels[size]], bool)
        theirs = untouched[[row for row, _ in self._labels[size]]]
        return SizeResult(
            size=size,
            faces=self._pasted[size, True] + self._pasted[size, False],
            recall=recall,
            false_alarms={f"{score:g}": self._alarms[size, score] for score in self._min_scores},
            found=len(ours),
            accuracy=100 * float(ours.mean()) if len(ours) else None,
            untouched=100 * float(theirs.mean()) if len(ours) else None,
            difference=publictest.difference(ours, theirs, seed=seed) if len(ours) else None,
        )


class _Seen:
    """A detector that returns what was seen before, so that a canvas is looked at once."""

    def __init__(self, faces: list[Detection]) -> None:
        self._faces = faces

    def __call__(self, image: UInt8Array) -> list[Detection]:
        return self._faces


def with_faces(
    classifier: ferjax.EmotionClassifier, faces: Faces, args: argparse.Namespace
) -> tuple[list[SizeResult], int]:
    """Return what became of the faces by size, and the number of canvases."""
    rng = np.random.default_rng(args.seed)
    labels = publictest.outputs(classifier, faces)
    groups = plan(len(faces), args.sizes, rng)
    total = len(faces) * len(args.sizes)
    tally, progress, through = _Tally(args.sizes, args.min_scores), Progress("faces", total), 0
    number = 0
    while groups:
        canvas, pasted, left_over = compose(faces.images, groups.pop(), rng)
        if left_over:
            groups.append(left_over)  # on the next canvas; one that is empty takes any size
        if not pasted:
            continue
        number += 1
        _store(args.pictures, f"faces-{number}", canvas)
        tally.pasted(pasted)
        seen = detect(canvas, min_score=min(*args.min_scores, MIN_SCORE))
        for score in args.min_scores:
            tally.detected(pasted, [face for face in seen if face.score >= score], score)
        named = classifier.analyze(canvas, detector=_Seen(seen))
        pairs, _ = matched(pasted, [face.box for face in named])
        for i, j in pairs.items():
            tally.labelled(pasted[i], named[j].index == labels[pasted[i].row])
        through += len(pasted)
        progress(through)
    untouched = publictest.correct(classifier, faces.images, labels, "untouched")
    return tally.results(untouched, args.seed), number


def without_faces(args: argparse.Namespace) -> dict[str, dict[str, int]]:
    """Return false alarms on canvases without faces, by `min_score` and by texture."""
    rng = np.random.default_rng(args.seed + 1)
    counts = {f"{m:g}": dict.fromkeys(canvases.TEXTURES, 0) for m in args.min_scores}
    progress = Progress("canvases without faces", args.empty)
    for number in range(args.empty):
        height, width = (int(side) for side in rng.integers(SIDES[0], SIDES[1] + 1, 2))
        kind = list(canvases.TEXTURES)[number % len(canvases.TEXTURES)]
        canvas = canvases.canvas(height, width, rng, kind)
        _store(args.pictures, f"{kind}-{number}", canvas)
        seen = detect(canvas, min_score=min(args.min_scores))
        for score in args.min_scores:
            counts[f"{score:g}"][kind] += sum(face.score >= score for face in seen)
        progress(number + 1)
    return counts


def _store(folder: Path | None, name: str, canvas: UInt8Array) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{name}.jpg"), canvas[..., ::-1])


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return all figures, ready for JSON but for dataclasses."""
    classifier = ferjax.load(args.weights)
    faces, name = publictest.read(args.data, limit=args.limit, seed=args.seed)
    results = publictest.heading(len(faces), name, args)
    results["sizes"], results["canvases"] = with_faces(classifier, faces, args)
    results["empty"] = {"canvases": args.empty, "false_alarms": without_faces(args)}
    return results


def table(results: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    sizes: list[SizeResult] = results["sizes"]
    scores = list(sizes[0].false_alarms)
    columns = " | ".join(f"from {score}" for score in scores)
    rule = "---|" * (1 + len(scores))
    lines = [
        publictest.introduction(results),
        f"Each face in each size once, on {results['canvases']:,} canvases.",
    ]
    for kind in ("colour", "gray"):
        lines += ["", f"| size, pixels: faces found in {kind}, % | {columns} |", f"|{rule}"]
        for row in sizes:
            if kind in row.recall:
                cells = " | ".join(f"{row.recall[kind][score]:.1f}" for score in scores)
                lines.append(f"| {row.size} | {cells} |")
    lines += ["", f"| size, pixels: false alarms beside faces | {columns} |", f"|{rule}"]
    for row in sizes:
        cells = " | ".join(str(row.false_alarms[score]) for score in scores)
        lines.append(f"| {row.size} | {cells} |")
    empty = results["empty"]
    title = f"false alarms on {empty['canvases']} canvases without faces"
    lines += ["", f"| {title} | {columns} |", f"|{rule}"]
    for kind in empty["false_alarms"][scores[0]]:
        cells = " | ".join(str(empty["false_alarms"][score][kind]) for score in scores)
        lines.append(f"| {kind} | {cells} |")
    totals = " | ".join(str(sum(empty["false_alarms"][score].values())) for score in scores)
    lines += [f"| all | {totals} |"] if empty["canvases"] else []
    lines += [
        "",
        "| size, pixels | found by analyze | accuracy, % | untouched, % | difference, points |",
        "|---|---|---|---|---|",
    ]
    for row in sizes:
        figures = "| | |"
        if row.difference is not None:
            figures = f"| {row.accuracy:.1f} | {row.untouched:.1f} | {row.difference} |"
        lines.append(f"| {row.size} | {row.found} of {row.faces} {figures}")
    return "\n".join(lines)


def _numbers(text: str, kind: type, low: float, high: float) -> tuple[Any, ...]:
    try:
        values = tuple(kind(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or not all(low <= value <= high for value in values):
        raise argparse.ArgumentTypeError(
            f"expected numbers from {low:g} to {high:g}, separated by commas, got {text!r}"
        )
    return tuple(sorted(set(values)))


def sizes(text: str) -> tuple[int, ...]:
    """Read sizes of faces for argparse."""
    return _numbers(text, int, 8, SIDES[0] * 3 // 4)


def scores(text: str) -> tuple[float, ...]:
    """Read scores for argparse."""
    return _numbers(text, float, 0, 1)


def build_parser() -> Parser:
    """Return the parser of the command line."""
    parser = publictest.build_parser("pasted_faces", __doc__)
    add = parser.add_argument
    add("--sizes", type=sizes, default=SIZES, metavar="A,B", help=f"pixels (default: {SIZES})")
    add(
        "--min-scores", type=scores, default=MIN_SCORES, metavar="P,Q", help="(default: 0.5 to 0.9)"
    )
    add(
        "--empty",
        type=count,
        default=EMPTY,
        metavar="N",
        help=f"canvases without faces (default: {EMPTY})",
    )
    add("--pictures", type=Path, metavar="DIR", help="store the canvases, to look at")
    parser.set_defaults(limit=DEFAULT_LIMIT)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    return publictest.run(build_parser(), measure, table, argv)


if __name__ == "__main__":
    sys.exit(main())
