"""The SHA-256 of files, which a thread may begin with ahead of who needs it."""

from __future__ import annotations

import hashlib
import os
import threading
from typing import Final

LARGEST: Final = 128 << 20  # bytes of a file beyond which a hash takes longer than it may win

_pending: dict[str, _Ahead] = {}


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def begin(path: str | os.PathLike[str]) -> None:
    """Begin to compute the SHA-256 of a file, for the first `begun` that asks for it; not of one
    larger than `LARGEST`, or of none."""
    if os.path.isfile(path) and os.path.getsize(path) <= LARGEST:
        _pending[_key(path)] = _Ahead(path)


def begun(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file: as it was when `begin` was called, the first time after it.

    Raises:
        OSError: as for `sha256`.
    """
    ahead = _pending.pop(_key(path), None)
    return (None if ahead is None else ahead.result()) or sha256(path)


class _Ahead:
    """A hash that a thread computes."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._digest: str | None = None
        self._thread = threading.Thread(target=self._compute, args=(path,), daemon=True)
        self._thread.start()

    def _compute(self, path: str | os.PathLike[str]) -> None:
        try:
            self._digest = sha256(path)
        except (OSError, ValueError):  # who needs it computes it anew, and says so
            return

    def result(self) -> str | None:
        """Wait for the hash; None where there is none, as in a process that was forked since."""
        self._thread.join()
        return self._digest


def _key(path: str | os.PathLike[str]) -> str:
    return os.path.abspath(path)
