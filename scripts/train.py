"""Train a network from a checkout.

example:
  python scripts/train.py --data fer2013 --recipe fast --out runs/fast
"""

from __future__ import annotations

import sys

from ferjax.cli import main, process

if __name__ == "__main__":
    call = ["train", *sys.argv[1:]]
    process.prepare(call)
    sys.exit(main.main(call))
