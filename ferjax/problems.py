"""Collect everything that is wrong with a file, to be reported at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ferjax.errors import FerjaxError, WeightFileError, WriteError, printable

_MOST = 20


class Problem(Exception):
    """One thing that is wrong with the file being read."""


class Problems:
    """The problems of one file, each with the place it was found at."""

    def __init__(self, path: object) -> None:
        self.path = path
        self.found: list[str] = []

    def add(self, problem: str) -> None:
        self.found.append(printable(problem, 500))

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Collect a problem that the block meets, and go on behind it."""
        try:
            yield
        except Problem as problem:
            self.add(f"{place}: {problem}" if place else str(problem))

    def raise_any(self) -> None:
        """Raise one WeightFileError with all that was found, if anything was."""
        if len(self.found) > _MOST:
            more = f"and {len(self.found) - _MOST} more"
            raise WeightFileError(self.path, [*self.found[:_MOST], more])
        if self.found:
            raise WeightFileError(self.path, self.found)


def checked_path(path: object) -> Path:
    """Return the path of a weight file.

    Raises:
        WeightFileError: it is something else, such as the content of a file.
    """
    if isinstance(path, (str, os.PathLike)):
        return Path(path)
    raise WeightFileError(
        type(path).__name__,
        "expected the path of a weight file; write what is in memory or in an open file to a file "
        "first",
    )


@contextmanager
def fatal(path: object) -> Iterator[None]:
    """Turn a problem that leaves nothing to go on with into the error that callers see."""
    checked_path(path)
    try:
        yield
    except Problem as problem:
        raise WeightFileError(path, printable(str(problem))) from None
    except (WeightFileError, WriteError):
        raise
    except FerjaxError as error:  # an invalid layer or graph
        raise WeightFileError(path, printable(str(error))) from None
