"""Measure how a face is to be cropped and resized: FER2013's PublicTest, cropped anew.

Each image is enlarged, the detector finds the face in it, and the face is cropped by
`ferjax.faces.crop` with squares of several sizes; the edges are replicated where a square reaches
over the image. Each is compared with the image as it is, on the images in which a face is found,
image by image: its interval is 95 %, by bootstrap over images.

The second table crops the same faces by ferjax's rule out of images enlarged to several sizes and
resizes the crops as the published code does (linear) and with anti-aliasing (area). An enlarged
image has no detail of its own; Gaussian noise, of the given standard deviation in gray levels,
stands for the grain and detail of a photograph.

The tables go to stdout (--json: the figures), progress to stderr.

examples:
  python scripts/crop_factors.py --data emotion-detection-fer.zip
  python scripts/crop_factors.py --data emotion-detection-fer.zip --limit 200 --json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

import ferjax
import publictest
from benchmarks.arguments import Parser
from ferjax.classifier import EmotionClassifier
from ferjax.errors import FerjaxError
from ferjax.faces import Detection, crop, detect
from ferjax.preprocessing import Resize
from publictest import Difference, Progress

UInt8Array = npt.NDArray[np.uint8]
Right = npt.NDArray[np.bool_]

ENLARGED: Final = 288  # pixels of the image in which faces are looked for
# The square's side, and how much lower its centre lies, both over the box's height.
SETTINGS: Final = (
    (0.7, 0.0),
    (0.8, 0.0),
    (0.9, 0.0),
    (1.0, 0.0),
    (1.0, 0.03),
    (1.1, 0.0),
    (1.25, 0.0),
    (1.5, 0.0),
)
SIZES: Final = (150, 300)
NOISES: Final = (0, 10)


@dataclass(frozen=True)
class Crops:
    """A crop rule on PublicTest.

    Attributes:
        side: of the square, over the height of the detector's box.
        lower: how much lower than the box's its centre lies, over the height of the box.
        accuracy: in percent.
        difference: to the images as they are.
    """

    side: float
    lower: float
    accuracy: float
    difference: Difference


@dataclass(frozen=True)
class Resizes:
    """Both resizes of the same crops.

    Attributes:
        size: of the images that the faces are cropped out of, in pixels.
        noise: its standard deviation, in gray levels of 255.
        linear: the accuracy of bilinear resizing, in percent.
        area: that of resizing with anti-aliasing.
        difference: of area to linear.
    """

    size: int
    noise: int
    linear: float
    area: float
    difference: Difference


def enlarged(image: UInt8Array, size: int) -> UInt8Array:
    """Return a square image, uint8 (h, h), bicubic in another size, (size, size)."""
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC), np.uint8)


def find(images: Sequence[UInt8Array], progress: Progress) -> list[Detection | None]:
    """Return the largest face of each image, in the pixels of the image enlarged; None without."""
    largest: list[Detection | None] = []
    for image in images:
        faces = detect(enlarged(image, ENLARGED), order="size")
        largest.append(faces[0] if faces else None)
        progress(len(largest))
    return largest


def moved(face: Detection, *, scale: float = 1.0, lower: float = 0.0) -> Detection:
    """Return a face in the same image at another scale, its box lower by a part of its height."""
    x, y, width, height = face.box
    box = (x * scale, (y + lower * height) * scale, width * scale, height * scale)
    landmarks = None if face.landmarks is None else face.landmarks * np.float32(scale)
    return replace(face, box=box, landmarks=landmarks)


def geometry(faces: Sequence[Detection]) -> dict[str, float]:
    """Return medians of the boxes, as fractions of the image's side."""
    boxes = np.array([face.box for face in faces]) / ENLARGED
    x, y, width, height = boxes.T
    columns = {
        "width": width,
        "height": height,
        "centre_x": x + width / 2,
        "centre_y": y + height / 2,
    }
    return {name: float(np.median(column)) for name, column in columns.items()}


@dataclass(frozen=True)
class _Measured:
    """What both tables are measured on: N images, their faces, and the outputs that are right."""

    classifier: EmotionClassifier
    images: UInt8Array  # (N, H, W)
    labels: npt.NDArray[np.intp]  # (N,)
    faces: Sequence[Detection]
    seed: int

    def right(self, crops: Iterable[UInt8Array], what: str, resize: Resize) -> Right:
        return publictest.correct(self.classifier, crops, self.labels, what, resize=resize)


def crop_table(measured: _Measured) -> tuple[float, list[Crops]]:
    """Return the accuracy of images as they are, in percent, and every setting's."""
    whole = measured.right(measured.images, "as it is", "linear")
    rows = []
    for side, lower in SETTINGS:
        crops = (
            crop(enlarged(image, ENLARGED), moved(face, lower=lower), side=side)
            for image, face in zip(measured.images, measured.faces)
        )
        what = f"side {side:g}" + (f", {lower:g} lower" if lower else "")
        cropped = measured.right(crops, what, "area")
        gain = publictest.difference(cropped, whole, seed=measured.seed)
        rows.append(Crops(side, lower, 100 * float(cropped.mean()), gain))
    return 100 * float(whole.mean()), rows


def resize_table(measured: _Measured) -> list[Resizes]:
    """Return the accuracies of both resizes, by the images' size and noise."""

    def right(size: int, noise: int, resize: Resize) -> Right:
        rng = np.random.default_rng(measured.seed)  # the same noise for both
        crops = (
            crop(noisy(enlarged(image, size), noise, rng), moved(face, scale=size / ENLARGED))
            for image, face in zip(measured.images, measured.faces)
        )
        return measured.right(crops, f"{size} pixels, noise {noise}, {resize}", resize)

    rows = []
    for size in SIZES:
        for noise in NOISES:
            linear, area = right(size, noise, "linear"), right(size, noise, "area")
            gain = publictest.difference(area, linear, seed=measured.seed)
            accuracies = (100 * float(linear.mean()), 100 * float(area.mean()))
            rows.append(Resizes(size, noise, *accuracies, gain))
    return rows


def noisy(image: UInt8Array, deviation: float, rng: np.random.Generator) -> UInt8Array:
    """Return an image, uint8, with Gaussian noise."""
    if not deviation:
        return image
    return np.clip(image + rng.normal(0, deviation, image.shape), 0, 255).round().astype(np.uint8)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return all figures, ready for JSON but for dataclasses."""
    classifier = ferjax.load(args.weights)
    faces, name = publictest.read(args.data, limit=args.limit, seed=args.seed)
    results = publictest.heading(len(faces), name, args)
    labels = publictest.outputs(classifier, faces)
    everywhere = publictest.correct(classifier, faces.images, labels, "all images")
    results["all"] = 100 * float(everywhere.mean())
    boxes = find(list(faces.images), Progress("faces", len(faces)))
    rows = np.array([i for i, face in enumerate(boxes) if face is not None], np.intp)
    if not len(rows):
        raise FerjaxError("no face is found in any of the images")
    shown = [face for face in boxes if face is not None]
    results |= {"enlarged": ENLARGED, "found": len(shown), "geometry": geometry(shown)}
    measured = _Measured(classifier, faces.images[rows], labels[rows], shown, args.seed)
    results["as_it_is"], results["crops"] = crop_table(measured)
    results["resizes"] = resize_table(measured)
    return results


def table(results: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    box = results["geometry"]
    lines = [
        publictest.introduction(results),
        f"Enlarged to {results['enlarged']} pixels, {results['found']:,} images show a face. "
        f"Its box, medians over the image's side: width {box['width']:.2f}, height "
        f"{box['height']:.2f}, centre ({box['centre_x']:.2f}, {box['centre_y']:.2f}). "
        f"All images as they are: {results['all']:.1f} %.",
        "",
        "| square's side over box height | accuracy, % | difference, points |",
        "|---|---|---|",
        f"| as it is | {results['as_it_is']:.1f} | |",
    ]
    for row in results["crops"]:
        centre = f", centre {row.lower:g} h lower" if row.lower else ""
        lines.append(f"| {row.side:g}{centre} | {row.accuracy:.1f} | {row.difference} |")
    lines += [
        "",
        "| cropped out of | noise | linear, % | area, % | area against linear, points |",
        "|---|---|---|---|---|",
    ]
    for row in results["resizes"]:
        lines.append(
            f"| {row.size} pixels | {row.noise} | {row.linear:.1f} | {row.area:.1f} "
            f"| {row.difference} |"
        )
    return "\n".join(lines)


def build_parser() -> Parser:
    """Return the parser of the command line."""
    return publictest.build_parser("crop_factors", __doc__)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    return publictest.run(build_parser(), measure, table, argv)


if __name__ == "__main__":
    sys.exit(main())
