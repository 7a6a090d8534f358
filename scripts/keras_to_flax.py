"""Convert a Keras weight file to Flax: a .msgpack file, or an Orbax folder.

example:
  python scripts/keras_to_flax.py checkpoints/fer_cnn5.h5 fer_cnn5.msgpack
"""

from __future__ import annotations

import sys

from ferjax.cli.main import build_parser, main

if __name__ == "__main__":
    arguments = ["convert", *sys.argv[1:]]
    parsed = build_parser().parse_args(arguments)
    if parsed.to is None and not parsed.target.lower().endswith(".msgpack"):
        arguments.insert(1, "--to=orbax")
    sys.exit(main(arguments))
