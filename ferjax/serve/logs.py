"""What is logged: how the service does, on stderr, and nothing of what it is asked."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


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


@contextmanager
def own_alone() -> Iterator[None]:
    """Log as after `set_up`; in the block nothing else comes to stderr but what Python writes.

    Libraries in C say there what is wrong with a picture, libpng a line for each of its chunks.
    """
    try:
        is_redirectable = sys.stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):  # it is none, or is captured
        is_redirectable = False
    if not is_redirectable:
        set_up()
        yield
        return
    before = sys.stderr
    before.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    with open(kept, "w", encoding=before.encoding, errors=before.errors, buffering=1) as own:
        sys.stderr = own
        try:
            set_up()
            yield
        finally:
            own.flush()
            os.dup2(kept, 2)
            sys.stderr = before
            set_up()
