"""Fine-tune weights on faces of your own, and measure them before and after.

FACES has a folder for each class: happy/1.jpg, neutral/2.jpg, ... Run:

    python examples/fine_tune.py FACES --out runs/mine --set epochs=3
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import ferjax


def fine_tune(faces: Path, out: Path, init: str, changes: list[str]) -> Path:
    """Train on 80 % of the faces, choose the epoch by 10 %, measure on the rest."""
    ferjax.data.prepare(faces, out / "data", split="card", with_tfds=False)
    result = ferjax.train.train_and_evaluate(
        "fine-tune", out / "data", out / "run", init=init, changes=changes
    )
    assert result.best is not None
    prepared = ferjax.data.load(out / "data")
    for weights in (init, result.best):
        measured = ferjax.evaluate.evaluate(ferjax.load(weights), prepared, split="test").whole
        low, high = measured.accuracy_interval
        print(
            f"{weights}: {measured.accuracy:.1%} of {measured.images} test images "
            f"({low:.1%} to {high:.1%})"
        )
    return result.best


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("faces", type=Path, metavar="FACES", help="a folder for each class")
    parser.add_argument("--out", type=Path, required=True, help="for the prepared data and the run")
    parser.add_argument("--init", default="fer_cnn8", help="weights (default: ferjax's fer_cnn8)")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="as in ferjax train"
    )
    args = parser.parse_args()
    print(f"weights: {fine_tune(args.faces, args.out, args.init, args.set)}")


if __name__ == "__main__":
    try:
        main()
    except (ferjax.FerjaxError, OSError) as error:
        sys.exit(f"error: {error}")
