"""Convert a Keras weight file to Flax: a .msgpack file, or an Orbax folder.

example:
  python scripts/keras_to_flax.py checkpoints/fer_cnn5.h5 fer_cnn5.msgpack
"""

from __future__ import annotations

import sys

from ferjax.cli.main import main

if __name__ == "__main__":
    arguments = sys.argv[1:]
    names = [a for a in arguments if not a.startswith("-")]
    if len(names) > 1 and not names[1].endswith(".msgpack") and "--to" not in arguments:
        arguments += ["--to", "orbax"]
    sys.exit(main(["convert", *arguments]))
