"""The crops of several pictures through the network together, in the threads that find them.

No thread is there for the network alone, and none waits for another: whoever brings the last crop
of a batch computes it.

Dimension keys: B crops, N faces of a picture, K classes; h, w, C of the network's input.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeAlias

import numpy as np

from ferjax.preprocessing import Float32Array

_Waiting: TypeAlias = "tuple[Sequence[Float32Array], Future[Float32Array]]"


class Together:
    """Crops that wait until there is a batch of them; for several threads."""

    def __init__(
        self, predict: Callable[[Float32Array], Float32Array], *, batch: int, padded: bool
    ) -> None:
        """Begin without any.

        Args:
            predict: makes probabilities (B, K) of crops (B, h, w, C); called in several threads.
            batch: how many it gets at once, at most.
            padded: give it no fewer, some of them empty: then a crop's numbers do not depend on how
                many others there are.
        """
        self._predict, self._batch, self._padded = predict, batch, padded
        self._waiting: list[_Waiting] = []
        self._count = 0
        self._lock = threading.Lock()

    def add(self, crops: Sequence[Float32Array]) -> Future[Float32Array]:
        """Return the probabilities that crops, each (h, w, C), are going to have, (N, K).

        Where there is a batch now, it is computed before that.
        """
        future: Future[Float32Array] = Future()
        with self._lock:
            self._waiting.append((crops, future))
            self._count += len(crops)
            taken = self._taken() if self._count >= self._batch else []
        self._compute(taken)
        return future

    def flush(self) -> None:
        """Compute what waits, though it is less than a batch."""
        with self._lock:
            taken = self._taken()
        self._compute(taken)

    def _taken(self) -> list[_Waiting]:
        taken, self._waiting, self._count = self._waiting, [], 0
        return taken

    def _compute(self, taken: Sequence[_Waiting]) -> None:
        if not taken:
            return
        try:
            images = np.stack([image for crops, _ in taken for image in crops])
            count = len(images)
            if self._padded:
                images = np.pad(images, [(0, -count % self._batch), (0, 0), (0, 0), (0, 0)])
            parts = [
                self._predict(images[start : start + self._batch])
                for start in range(0, count, self._batch)
            ]
            rows: Any = iter(np.concatenate(parts))
            for crops, future in taken:
                future.set_result(np.stack([next(rows) for _ in crops]))
        except Exception as error:  # which whoever waits for these is told
            for _, future in taken:
                if not future.done():
                    future.set_exception(error)
