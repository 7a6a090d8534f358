"""A face with its expression, and a photograph with its faces."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from ferjax.errors import ImageError
from ferjax.faces.detection import Detection
from ferjax.image_files import UInt8Array
from ferjax.preprocessing import Source


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Face(Detection):
    """A face in a picture, and the expression on it; see Detection for where it is.

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

    @property
    def most_probable(self) -> str:
        """The label, or where the classifier abstains the most probable class."""
        if self.label is not None:
            return self.label
        return max(self.probabilities, key=lambda name: self.probabilities[name], default="")

    def __repr__(self) -> str:
        x, y, width, height = (round(float(v), 1) for v in self.box)
        return (
            f"Face(label={self.label!r}, confidence={self.confidence:.3f}, "
            f"box=({x}, {y}, {width}, {height}), score={self.score:.3f}, roll={self.roll:.1f})"
        )


def placed(face: Detection) -> dict[str, Any]:
    """Return where a face is, as the fields of a Detection."""
    return {field.name: getattr(face, field.name) for field in fields(Detection)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Photograph:
    """What came of one photograph.

    Attributes:
        source: what was given: a path, an array, ...
        faces: the faces in it, perhaps none.
        shape: (H, W) of the picture as a viewer shows it, in pixels; None where it cannot be read.
        image: the picture as a viewer shows it, uint8 (H, W, 3) in RGB order, where pictures are
            kept; else None.
        error: why it cannot be used, or None.
    """

    source: Source = field(repr=False)
    faces: list[Face]
    shape: tuple[int, int] | None = None
    image: UInt8Array | None = field(default=None, repr=False)
    error: ImageError | None = None
