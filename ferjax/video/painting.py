"""Draw what is seen in a frame on it, so that it is steady from frame to frame.

Boxes, plates and colours are those of photographs (`ferjax.faces.marks`). A plate stays on the side
of its face where it was as long as there is room: beside it with a bar for every class, or above or
below with the label alone.

Dimension keys: H height, W width of a frame.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from ferjax.faces.detection import Detection
from ferjax.faces.drawing import pixelate
from ferjax.faces.marks import INK, LEAST_TEXT, Mark, Plate, blend, darken
from ferjax.faces.placing import Rect
from ferjax.image_files import UInt8Array
from ferjax.pictures.lettering import Lettering
from ferjax.video.seen import VideoFrame

_SIDES: Final = ("right", "left", "above", "below")
_TEXT: Final = 0.4  # between the least size of letters and the wanted one


class Painter:
    """Draws frame after frame."""

    def __init__(self, *, anonymise: bool = False) -> None:
        """Begin a film.

        Args:
            anonymise: pixelate the faces, also where one is expected and not seen.
        """
        self._anonymise = anonymise
        self._lettering = Lettering()
        self._sides: dict[int, str] = {}  # by track, where its plate was

    def painted(self, frame: VideoFrame) -> UInt8Array:
        """Return a copy of a frame's picture with its faces marked, uint8 (H, W, 3)."""
        assert frame.image is not None
        canvas = np.array(frame.image, order="C")
        if self._anonymise:
            faces: list[Detection] = [*frame.faces, *frame.unseen]
            pixelate(canvas, faces)
        shape = canvas.shape[:2]
        marks = [Mark(face, face.track, shape, self._lettering) for face in frame.faces]
        taken = [mark.outline for mark in marks]
        plates = []
        for mark, face in zip(marks, frame.faces):
            others = [rect for rect in taken if rect is not mark.outline]
            place = self._place(face.track, mark, others, shape)
            if place is not None:
                plates.append(place)
                taken.append(place[1])
        for mark in marks:
            mark.draw_box(canvas)
        for plate, rect in plates:
            plate.draw(canvas, round(rect.left), round(rect.top))
        self._draw_time(canvas, frame.time, taken)
        live = set(frame.live)
        self._sides = {track: side for track, side in self._sides.items() if track in live}
        return canvas

    def state(self) -> list[tuple[int, str]]:
        """Return where plates are, as JSON has it."""
        return list(self._sides.items())

    def restore(self, state: Iterable[tuple[int, str]]) -> None:
        """Go on from what `state` gave."""
        self._sides = dict(state)

    def _place(
        self, track: int, mark: Mark, taken: list[Rect], shape: tuple[int, int]
    ) -> tuple[Plate, Rect] | None:
        """Return a face's plate and where it stands, or None where there is no room."""
        before = self._sides.get(track)
        order = list(_SIDES)
        if before is not None:
            order.remove(before)
            order.insert(0, before)
        full = mark.full(_TEXT)[0]
        label = mark.smaller()[0]
        for side in order:
            plate = full if side in ("right", "left") else label
            rect = _beside(mark.outline, plate, side, shape)
            if rect is not None and not any(_overlap(rect, other) for other in taken):
                self._sides[track] = side
                return plate, rect
        return None

    def _draw_time(self, canvas: UInt8Array, seconds: float, taken: list[Rect]) -> None:
        """Write the time into a corner that nothing else is in."""
        height, width = canvas.shape[:2]
        size = max(LEAST_TEXT, round(max(height, width) / 60))
        line = self._lettering.line(clock(seconds, tenths=True), size)
        pad = max(3, size // 3)
        w, h = line.shape[1] + 2 * pad, line.shape[0] + pad // 2
        for x, y in ((0, height - h), (width - w, height - h), (0, 0), (width - w, 0)):
            rect = Rect(x, y, x + w, y + h)
            if x >= 0 and y >= 0 and not any(_overlap(rect, other) for other in taken):
                darken(canvas, x, y, w, h)
                blend(canvas, x + pad, y, line, INK)
                return


def clock(seconds: float, *, tenths: bool = False) -> str:
    """Return a time as people read it.

    >>> clock(75.24), clock(75.24, tenths=True), clock(3675), clock(7.96, tenths=True)
    ('1:15', '1:15.2', '1:01:15', '0:07.9')
    """
    whole = int(seconds)
    hours, minutes, left = whole // 3600, whole // 60 % 60, whole % 60
    text = f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
    return f"{text}.{int(10 * (seconds - whole) + 1e-6)}" if tenths else text


def _beside(face: Rect, plate: Plate, side: str, shape: tuple[int, int]) -> Rect | None:
    """Return where a plate stands on a side of a face, or None where it does not fit."""
    height, width = shape
    gap = 2
    x, y = face.left, face.top
    if side == "right":
        x = face.right + gap
    elif side == "left":
        x = face.left - gap - plate.width
    elif side == "above":
        y = face.top - gap - plate.height
    else:
        y = face.bottom + gap
    if side in ("right", "left"):
        y = min(max(0.0, y), height - plate.height)
    else:
        x = min(max(0.0, x), width - plate.width)
    rect = Rect(round(x), round(y), round(x) + plate.width, round(y) + plate.height)
    inside = rect.left >= 0 and rect.top >= 0 and rect.right <= width and rect.bottom <= height
    return rect if inside else None


def _overlap(first: Rect, second: Rect) -> bool:
    return (
        first.left < second.right
        and second.left < first.right
        and first.top < second.bottom
        and second.top < first.bottom
    )
