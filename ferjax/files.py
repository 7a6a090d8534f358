"""Writing files so that a crash leaves the old one or the new one, never half of one."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ferjax.errors import WriteError


@contextmanager
def replacing(path: str | os.PathLike[str], *, directory: bool = False) -> Iterator[Path]:
    """Yield a new path beside `path`; what is written there takes its place when the block ends.

    Args:
        directory: the block makes a directory rather than a file.

    Raises:
        WriteError: the place cannot be written to; `path` is as it was before.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        if not target.parent.is_dir():
            raise WriteError(f"{path}: the folder {target.parent} does not exist")
        if target.is_dir() != directory and target.exists():
            raise WriteError(f"{path}: is {'a folder' if target.is_dir() else 'a file'} already")
        yield temporary
        if directory:
            _replace_directory(temporary, target)
        else:
            _replace_file(temporary, target)
    except OSError as error:
        if isinstance(error, WriteError):
            raise
        raise WriteError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with suppress(OSError):
                temporary.unlink()


def _replace_file(temporary: Path, target: Path) -> None:
    if target.exists():
        shutil.copymode(target, temporary)
    _sync(temporary)
    temporary.replace(target)
    _sync(target.parent)


def _replace_directory(temporary: Path, target: Path) -> None:
    """Swap folders; between the two renames the old one is kept under another name."""
    old = target.with_name(f".{target.name}.{secrets.token_hex(4)}.old")
    if target.exists():
        target.rename(old)
    try:
        temporary.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
    _sync(target.parent)


def _sync(path: Path) -> None:
    """Have the operating system write `path` to the disk; not all can for a folder."""
    with suppress(PermissionError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
