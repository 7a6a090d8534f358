"""A file that grows part by part, and is cut off after a part where a run goes on with it."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import IO

from ferjax.errors import WriteError
from ferjax.files import lock


class GrowingFile:
    """A file that grows by parts, each as a whole or not at all as far as `offset` says.

    Attributes:
        path: the file.
        offset: bytes that were written, all of which the operating system has.
    """

    def __init__(self, path: str, *, offset: int | None = None) -> None:
        """Begin a file in the place of what is at a path, or go on with one.

        Args:
            path: the file.
            offset: bytes of a file that was begun before, after which it goes on; None: anew.

        Raises:
            WriteError: the file cannot be written, here and in the methods, or has fewer bytes, or
                another process is writing it.
        """
        self.path = path
        real = os.path.realpath(path)
        try:
            if offset is None:  # what is there stays, until nobody else is known to write it
                with open(real, "ab"):
                    pass
            # Without a buffer, which would go on trying to write what a full disk did not take.
            self._file: IO[bytes] = open(real, "r+b", buffering=0)  # noqa: SIM115
        except FileNotFoundError as error:
            if offset is None:
                raise self._error(error) from error
            raise WriteError(
                f"{path}: is gone, which the run wrote; --force begins anew"
            ) from error
        except (OSError, ValueError) as error:
            raise self._error(error) from error
        if not lock(self._file.fileno()):
            self.abandon()
            raise WriteError(f"{path}: another process is writing it")
        try:
            size = self._file.seek(0, os.SEEK_END)
            self._file.truncate(min(size, offset or 0))
            self._file.seek(0, os.SEEK_END)
        except (OSError, ValueError) as error:
            self.abandon()
            raise self._error(error) from error
        if size < (offset or 0):
            self._file.close()
            raise WriteError(
                f"{path}: has {size:,} bytes, expected the {offset:,} that the run wrote; --force "
                "begins anew"
            )
        self.offset = offset or 0

    def put(self, data: bytes) -> None:
        """Write a part, and have the operating system take it, or nothing of it."""
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
        except (OSError, ValueError) as error:
            with suppress(OSError, ValueError):
                self._file.truncate(self.offset)
            raise self._error(error) from error
        self.offset += len(data)

    def replace(self, at: int, data: bytes) -> None:
        """Write in the place of as many bytes that were written before, from a byte on."""
        try:
            self._file.seek(at)
            self._file.write(data)
            self._file.seek(0, os.SEEK_END)
        except (OSError, ValueError) as error:
            raise self._error(error) from error

    def sync(self) -> None:
        """Have the operating system write to the disk what it was given so far."""
        try:
            os.fsync(self._file.fileno())
        except (OSError, ValueError) as error:
            raise self._error(error) from error

    def close(self) -> None:
        """Have the operating system write the file to the disk."""
        try:
            with self._file:
                os.fsync(self._file.fileno())
        except (OSError, ValueError) as error:
            raise self._error(error) from error

    def abandon(self) -> None:
        """Close the file as it is."""
        with suppress(OSError, ValueError):
            self._file.close()

    def _error(self, error: Exception) -> WriteError:
        reason = getattr(error, "strerror", None) or error
        return WriteError(f"{self.path}: cannot be written ({reason})")
