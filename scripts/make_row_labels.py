"""Write the packaged table of FER2013's row labels: which label each row of fer2013.csv has.

The source is fer2013.csv itself, or a text of its 35,887 labels as digits. The labels alone are
written, no pixel.

example:
  python scripts/make_row_labels.py fer2013.csv ferjax/data/fer2013_row_labels.txt.xz
"""

from __future__ import annotations

import argparse
import lzma
from collections.abc import Iterator
from pathlib import Path

ROWS = 35_887


def labels_of(path: Path) -> Iterator[str]:
    """Yield the digits of a file, 0 to 6, one for each row."""
    with open(path, encoding="ascii") as lines:
        first = next(lines)
        if first.strip().isdecimal():
            yield from first.strip()
            return
        column = [name.strip().lower() for name in first.split(",")].index("emotion")
        for line in lines:
            yield line.split(",")[column].strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, metavar="SOURCE")
    parser.add_argument("out", type=Path, metavar="OUT.txt.xz")
    args = parser.parse_args()
    labels = list(labels_of(args.source))
    if len(labels) != ROWS or not set(labels) <= set("0123456"):
        parser.error(f"expected {ROWS:,} labels of 0 to 6 in {args.source}, got {len(labels):,}")
    packed = lzma.compress("".join(labels).encode(), preset=9 | lzma.PRESET_EXTREME)
    args.out.write_bytes(packed)
    print(f"{args.out}: {len(labels):,} labels in {len(packed):,} bytes")


if __name__ == "__main__":
    main()
