"""An iterator's error, raised once all that came before it was given."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Deferred(Generic[T]):
    """The items of an iterable, of which some are held back: its error waits for them.

    >>> def items():
    ...     yield 1
    ...     raise ValueError("no more")
    >>> numbers = Deferred(items())
    >>> list(numbers)
    [1]
    >>> numbers.end()
    Traceback (most recent call last):
    ValueError: no more
    """

    def __init__(self, items: Iterable[T]) -> None:
        self._items = items
        self._error: Exception | None = None

    def __iter__(self) -> Generator[T, None, None]:
        """Yield the items, up to an error."""
        try:
            yield from self._items
        except Exception as error:  # not where a user closes the iterator
            self._error = error

    def end(self) -> None:
        """Raise the error that the items ended with, if they did."""
        if self._error is not None:
            raise self._error
