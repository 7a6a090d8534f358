"""The crops of several pictures through the network together, in full batches.

Dimension keys: N faces of a picture, K classes; h, w, C of the network's input.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from ferjax.faces.deferring import Deferred
from ferjax.preprocessing import Float32Array
from ferjax.priors import Prior

if TYPE_CHECKING:
    from ferjax.classifier import EmotionClassifier

MAX_CROPS: Final = 64  # that wait for the network, whatever it takes at once


class Cropped(Protocol):
    """A picture whose faces are cropped, each float32 (h, w, C)."""

    crops: Sequence[Float32Array]


T = TypeVar("T", bound=Cropped)


def classified(
    classifier: EmotionClassifier,
    pictures: Generator[T, None, None],
    *,
    ahead: int,
    is_full: Callable[[], bool],
    calibrated: bool,
    prior: Prior,
    full_batches: bool,
    batch: int | None = None,
) -> Generator[tuple[T, list[npt.NDArray[np.float32]]], None, None]:
    """Yield each picture, in order, with its faces' probabilities, N rows (K,).

    What the pictures' iterator raises is raised once all pictures before were given.

    Args:
        classifier: what tells the expressions.
        pictures: whose crops are taken away once they wait for the network.
        ahead: how many pictures may wait so that the network gets full batches.
        is_full: whether no more may wait, however few they are.
        calibrated: as for `EmotionClassifier.predict_proba`.
        prior: likewise, but for "adapt".
        full_batches: give the network batches of one size, whose rest is empty: then the numbers of
            a face are the same to the last bit whatever faces come before and after it.
        batch: crops that go through the network at once; None: as many as it takes, 64 at most.
    """
    waiting: deque[tuple[T, int]] = deque()  # with how many faces
    crops: list[Float32Array] = []
    rows: deque[npt.NDArray[np.float32]] = deque()  # of the faces of the pictures that wait
    padded = full_batches

    def classify(count: int) -> None:
        nonlocal padded
        if count and batch:
            images = np.stack(crops[:count])
            # To compile for the sizes of what is left over takes longer than a full batch.
            padded |= count == batch and classifier.engine == "jax"
            if padded:
                images = np.pad(images, [(0, -count % batch), (0, 0), (0, 0), (0, 0)])
            rows.extend(
                classifier.predict_batch(images, calibrated=calibrated, prior=prior)[:count]
            )
            del crops[:count]

    def finished() -> tuple[T, list[Any]]:
        picture, count = waiting.popleft()
        return picture, [rows.popleft() for _ in range(count)]

    source = Deferred(pictures)
    with closing(pictures):
        for picture in source:
            if picture.crops and batch is None:
                batch = min(classifier.largest_batch, MAX_CROPS)
            crops.extend(picture.crops)
            waiting.append((picture, len(picture.crops)))
            picture.crops = ()
            del picture
            while batch and len(crops) >= batch:
                classify(batch)
            if len(waiting) > ahead or is_full():
                classify(len(crops))
            while waiting and waiting[0][1] <= len(rows):
                yield finished()
        classify(len(crops))
        while waiting:
            yield finished()
        source.end()
