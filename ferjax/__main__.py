"""`python -m ferjax` is `ferjax`."""

from __future__ import annotations

import sys

from ferjax.cli.main import console

sys.exit(console())
