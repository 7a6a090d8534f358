"""Predict the emotion on every face crop in a folder, and write a table.

Each picture is taken for one face, cropped to it; for photographs use `ferjax faces`. Run:

    python examples/predict_folder.py FACES --out faces.csv
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import ferjax


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folder", type=Path, metavar="FACES", help="searched for JPEG and PNG files"
    )
    parser.add_argument("--out", type=Path, default=Path("faces.csv"), help="(default: faces.csv)")
    parser.add_argument("--weights", help="any file of Keras or Flax (default: ferjax's own)")
    args = parser.parse_args()

    classifier = ferjax.load(args.weights)
    paths = sorted(p for p in args.folder.rglob("*") if p.suffix.lower() in (".jpg", ".png"))
    if not paths:
        parser.error(f"{args.folder}: no JPEG or PNG files")
    with open(args.out, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "confidence", *classifier.labels])
        for start in range(0, len(paths), 256):  # what is in memory at once
            part = paths[start : start + 256]
            predictions = classifier.predict(part, resize="area")
            for path, prediction in zip(part, predictions, strict=True):
                probabilities = [f"{p:.4f}" for p in prediction.probabilities.values()]
                table.writerow(
                    [path, prediction.label, f"{prediction.confidence:.4f}", *probabilities]
                )
    print(f"{args.out}: {len(paths)} faces")


if __name__ == "__main__":
    try:
        main()
    except (ferjax.FerjaxError, OSError) as error:
        sys.exit(f"error: {error}")
