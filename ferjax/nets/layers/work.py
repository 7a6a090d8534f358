"""What layers take to compute one image: a file can ask for days of it in a few bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

Shape: TypeAlias = tuple[int | None, ...]

# Multiply-adds of a matrix product in the time of one step of a plain loop, as of pooling.
LOOP = 64


@dataclass(frozen=True)
class Work:
    """What a layer takes for one image, beside holding its inputs and its output.

    Attributes:
        values: numbers that it holds on the way, such as an image with its padding.
        operations: multiply-adds of matrix products; a step of a plain loop counts as `LOOP`.
    """

    values: int = 0
    operations: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.values + other.values, self.operations + other.operations)

    def times(self, count: int) -> Work:
        """Return what the layer takes several times."""
        return Work(count * self.values, count * self.operations)


def num_values(shape: Sequence[int | None]) -> int:
    """Return how many values an array has; an open size counts as 1.

    >>> num_values((48, None, 3)), num_values(())
    (144, 1)
    """
    total = 1
    for size in shape:
        total *= 1 if size is None else size
    return total
