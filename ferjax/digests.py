"""The SHA-256 of files, which a thread may begin with ahead of who needs it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from typing import Final

LARGEST: Final = 128 << 20  # bytes of a file beyond which a hash takes longer than it may win

_begun: dict[str, Ahead] = {}


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Ahead:
    """The SHA-256 of a file, which a thread begins to compute at once."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._digest: str | None = None
        self._thread = threading.Thread(target=self._compute, daemon=True)
        self._thread.start()

    def _compute(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # which the result meets, too
            self._digest = sha256(self._path)

    def result(self) -> str:
        """Wait for the hash, which is of the file as it was in between.

        Raises:
            OSError: as for `sha256`.
        """
        self._thread.join()  # it is not there in a process that was forked since
        return self._digest or sha256(self._path)


@contextlib.contextmanager
def ahead(path: str | os.PathLike[str] | None) -> Iterator[None]:
    """Have the first `begun` of a file inside of this find its hash begun.

    Args:
        path: the file; nothing is begun of what is none, or larger than `LARGEST`.
    """
    key = None
    if path is not None and os.path.isfile(path) and os.path.getsize(path) <= LARGEST:
        key = _key(path)
        _begun[key] = Ahead(path)
    try:
        yield
    finally:
        if key is not None:
            _begun.pop(key, None)


def begun(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, as it was when it was begun `ahead`, or is now.

    Raises:
        OSError: as for `sha256`.
    """
    found = _begun.pop(_key(path), None)
    return sha256(path) if found is None else found.result()


def _key(path: str | os.PathLike[str]) -> str:
    return os.path.abspath(path)
