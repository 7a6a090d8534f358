"""Variables as few arguments of a compiled program, of which each costs a microsecond a call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import jax
import numpy as np
from jax import lax

Array = jax.Array

_ALIGNMENT = 64  # bytes, a line of the cache
_HUGE_PAGE = 1 << 21


@dataclass(frozen=True)
class Packing:
    """Where the leaves of a tree lie among arguments.

    Attributes:
        structure: of the tree.
        places: for each leaf which argument it is; of a vector in the first argument, where it
            begins and ends there.
    """

    structure: Any
    places: tuple[int | tuple[int, int], ...]

    def unpacked(self, arguments: Sequence[Array]) -> Any:
        """Return the tree, inside the program."""
        leaves = [
            arguments[place] if isinstance(place, int) else lax.slice(arguments[0], *_ends(place))
            for place in self.places
        ]
        return jax.tree.unflatten(self.structure, leaves)


def packed(tree: Any) -> tuple[list[Any], Packing]:
    """Return a tree's arrays as arguments, the first of them all float32 vectors in one.

    Of 164 arrays of `fer_cnn8` 71 are such vectors: biases, and those of batch normalization.
    """
    leaves, structure = jax.tree.flatten(tree)
    vectors = [leaf for leaf in leaves if _is_vector(leaf)]
    arguments: list[Any] = [np.concatenate([np.zeros(0, np.float32), *jax.device_get(vectors)])]
    places: list[int | tuple[int, int]] = []
    end = 0
    for leaf in leaves:
        if _is_vector(leaf):
            places.append((end, end := end + len(leaf)))
        else:
            places.append(len(arguments))
            arguments.append(leaf)
    return [jax.device_put(arguments[0]), *arguments[1:]], Packing(structure, tuple(places))


def _is_vector(leaf: Any) -> bool:
    return np.ndim(leaf) == 1 and leaf.dtype == np.float32


def _ends(place: tuple[int, int]) -> tuple[tuple[int], tuple[int]]:
    return (place[0],), (place[1],)


def in_one_piece(tree: Any) -> Any:
    """Return arrays on the default device; on CPUs NumPy's as copies in one piece of memory.

    NumPy asks for huge pages for it, so that the processor has few addresses to translate: of
    `fer_cnn8` each image takes 33 MB of weights, otherwise from 8,000 pages. XLA's CPU code takes
    aligned arrays of NumPy as they are.
    """
    if jax.default_backend() != "cpu":
        return jax.device_put(tree)
    leaves, structure = jax.tree.flatten(tree)
    # With a line of the cache between them: not all are to begin at the same place of a page.
    sizes = [
        -(-leaf.nbytes // _ALIGNMENT) * _ALIGNMENT + _ALIGNMENT
        for leaf in leaves
        if isinstance(leaf, np.ndarray)
    ]
    memory = np.empty(sum(sizes) + _HUGE_PAGE, np.uint8)
    begins = accumulate(sizes, initial=-memory.ctypes.data % _HUGE_PAGE)

    def copied(array: np.ndarray) -> np.ndarray:
        begin = next(begins)
        copy = memory[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
        copy[...] = array
        return copy

    copies = [copied(leaf) if isinstance(leaf, np.ndarray) else leaf for leaf in leaves]
    return jax.tree.unflatten(structure, jax.device_put(copies))
