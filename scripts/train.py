"""Train a network from a checkout.

example:
  python scripts/train.py --data fer2013 --recipe fast --out runs/fast
"""

from __future__ import annotations

import sys

from ferjax.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
