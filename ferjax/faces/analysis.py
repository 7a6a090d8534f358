"""From photographs to faces with their expressions.

Dimension keys: H height, W width of a picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ferjax.errors import ImageError
from ferjax.faces.detection import MIN_SCORE, Detection, Detector
from ferjax.image_files import UInt8Array
from ferjax.images import ChannelOrder, Source

if TYPE_CHECKING:
    from ferjax.classifier import EmotionClassifier


@dataclass(frozen=True, kw_only=True, eq=False)
class Face(Detection):
    """A face in a picture, and the expression on it.

    Attributes:
        label: the most probable class; None where the classifier abstains.
        index: its position in the network's output; None where it abstains.
        confidence: the highest probability, in [0, 1]; calibrated where that was asked for.
        probabilities: by label, in output order.
    """

    label: str | None
    index: int | None
    confidence: float
    probabilities: dict[str, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Photograph:
    """What came of one photograph.

    Attributes:
        source: what was given: a path, an array, ...
        image: the picture as a viewer shows it, uint8 (H, W, 3) in RGB order; None where it cannot
            be read.
        faces: the faces in it, perhaps none.
        error: why it cannot be used, or None.
    """

    source: Source
    image: UInt8Array | None
    faces: list[Face]
    error: ImageError | None = None


def photographs(
    classifier: EmotionClassifier,
    sources: Iterable[Source],
    *,
    detector: Detector | None = None,
    min_score: float = MIN_SCORE,
    min_size: float | None = None,
    order: str = "reading",
    resize: str = "area",
    channel_order: ChannelOrder = "rgb",
    calibrated: bool = False,
    abstain_below: float = 0.0,
) -> Iterator[Photograph]:
    """Yield a Photograph for every source, in order; bad ones carry their error."""
    raise NotImplementedError
