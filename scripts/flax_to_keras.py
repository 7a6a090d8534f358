"""Convert Flax variables, a .msgpack file or an Orbax folder, to a Keras file.

example:
  python scripts/flax_to_keras.py fer_cnn5.msgpack fer_cnn5.h5
"""

from __future__ import annotations

import sys

from ferjax.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
