"""Temporary folders of programs that run long: what a killed one leaves does not stay.

Who uses a folder holds a lock on a file in it, which the system lets go of however a process ends.
A folder that nobody holds is removed by the last of its users, or by the next start.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_LOCK: Final = ".in-use"


@contextmanager
def folder(prefix: str) -> Iterator[Path]:
    """Yield a new folder, and remove it when the block ends.

    Folders of that prefix that processes of this user left when they were killed are removed first;
    on Windows, and in file systems without locks, they stay.
    """
    _remove_left_over(prefix)
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        lock = _new_lock(Path(name))
        try:
            yield Path(name)
        finally:
            if lock is not None:
                os.close(lock)


@contextmanager
def used(path: Path) -> Iterator[None]:
    """Keep another process's folder in the block; when that ends, remove it if nobody uses it."""
    lock = _locked(path / _LOCK, exclusively=False)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)
            _remove_unless_used(path)


def _new_lock(path: Path) -> int | None:
    """Return an open file that holds a new folder; None where there are no locks."""
    new = path / f"{_LOCK}.new"  # it gets its name once it is held
    new.touch(exist_ok=False)
    lock = _locked(new, exclusively=False)
    new.rename(path / _LOCK)
    return lock


def _remove_left_over(prefix: str) -> None:
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and _is_own(entry.path):
                _remove_unless_used(Path(entry.path))


def _is_own(path: str) -> bool:
    """Whether a path is a folder of this user, and no link to one."""
    try:
        at = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(at.st_mode) and hasattr(os, "geteuid") and at.st_uid == os.geteuid()


def _remove_unless_used(path: Path) -> None:
    lock = _locked(path / _LOCK, exclusively=True)
    if lock is not None:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _locked(path: Path, *, exclusively: bool) -> int | None:
    """Return an open file with a lock on it; None where it cannot be had."""
    try:
        import fcntl
    except ImportError:
        return None
    try:
        lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(lock, (fcntl.LOCK_EX if exclusively else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock
