"""The SHA-256 of files, computed at once, or ahead of who needs it in a thread."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from typing import Final

from ferjax.files import chunks

# Bytes. To hash a larger file takes longer than what is kept of it saves.
LARGEST: Final = 128 << 20

_pending: dict[str, BackgroundSha256] = {}


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    for chunk in chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


class BackgroundSha256:
    """The SHA-256 of a file, which a thread begins to compute when this is made."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._digest: str | None = None
        self._thread = threading.Thread(target=self._compute, name="ferjax-hash", daemon=True)
        with contextlib.suppress(RuntimeError):  # no room for another: `result` computes it
            self._thread.start()

    def _compute(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # `result` meets it again
            self._digest = sha256(self._path)

    def result(self) -> str:
        """Wait for the thread and return the hash; of a file that changed meanwhile it may be of
        neither content.

        Raises:
            OSError: as for `sha256`.
        """
        if self._thread.ident is not None:
            self._thread.join()
        return self._digest or sha256(self._path)  # a forked process has no such thread


@contextlib.contextmanager
def precomputing(path: str | os.PathLike[str] | None) -> Iterator[None]:
    """Hash a file in a thread while the block runs, for the first `precomputed` in it.

    Args:
        path: the file; None, what is no file, and files above `LARGEST` are left alone.
    """
    key = None
    with contextlib.suppress(OSError):  # it is gone: who needs it says so
        if path is not None and os.path.isfile(path) and os.path.getsize(path) <= LARGEST:
            key = _key(path)
            _pending[key] = BackgroundSha256(path)
    try:
        yield
    finally:
        if key is not None:
            _pending.pop(key, None)


def precomputed(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file: the one that `precomputing` began, or else a new one.

    Raises:
        OSError: as for `sha256`.
    """
    found = _pending.pop(_key(path), None)
    return sha256(path) if found is None else found.result()


def _key(path: str | os.PathLike[str]) -> str:
    return os.path.abspath(path)
