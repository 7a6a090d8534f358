"""What is logged: how the service does, on stderr, and nothing of what it is asked."""

from __future__ import annotations

import logging
import sys


def set_up() -> None:
    """Log to stderr what the service says, and of its libraries only what fails."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("ferjax: %(levelname)s: %(message)s"))
    own = logging.getLogger("ferjax.serve")
    own.handlers, own.propagate = [handler], False
    own.setLevel(logging.INFO)
    libraries = logging.getLogger("uvicorn.error")
    libraries.handlers, libraries.propagate = [handler], False
    libraries.setLevel(logging.ERROR)
    for name in ("asyncio", "python_multipart"):  # which log what an exception says, and bytes
        logging.getLogger(name).setLevel(logging.CRITICAL)
