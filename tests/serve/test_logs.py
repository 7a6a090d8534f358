"""What comes to stderr."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

CODE = """
import logging, os, sys
from ferjax.serve import logs
with logs.own_alone():
    os.write(2, b"libpng warning: of a picture\\n")
    print("own", file=sys.stderr)
    logging.getLogger("ferjax.serve").warning("begun")
logging.getLogger("ferjax.serve").warning("ended")
os.write(2, b"later\\n")
"""


def test_what_libraries_in_c_say_of_pictures_is_not_logged() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr == "own\nferjax: WARNING: begun\nferjax: WARNING: ended\nlater\n"
