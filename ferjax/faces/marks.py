"""What is drawn for one face: its box, and plates with its label, number and bars.

Dimension keys: H height, W width of a picture; h and w of a plate's letters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ferjax.faces.cropping import rectangle, turn_of
from ferjax.faces.detection import Detection
from ferjax.faces.face import Face
from ferjax.faces.own_look import is_sideways
from ferjax.faces.placing import Place, Rect
from ferjax.image_files import UInt8Array
from ferjax.pictures.lettering import Lettering
from ferjax.pictures.palette import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    YELLOW,
    Colour,
)

LEAST_TEXT: Final = 11  # pixels; smaller letters cannot be read
_STEP: Final = 1.35  # from one size of letters to the next
_GRAY: Final[Colour] = (210, 210, 210)  # the palette's black is not seen on a dark ground
COLOURS: Final[dict[str, Colour]] = {
    "angry": VERMILLION,
    "disgust": GREEN,
    "fear": PURPLE,
    "happy": YELLOW,
    "neutral": _GRAY,
    "sad": SKY,
    "surprise": ORANGE,
    "contempt": BLUE,
}
CYCLE: Final = (SKY, ORANGE, GREEN, YELLOW, PURPLE, VERMILLION, BLUE, _GRAY)
GROUND: Final[Colour] = (18, 20, 24)
_STRENGTH: Final = 0.88
INK: Final[Colour] = (255, 255, 255)
_FAINT: Final[Colour] = (200, 204, 210)
_TRACK: Final[Colour] = (84, 88, 96)
_MOST_BARS: Final = 10


def outline(face: Detection, wider: float = 0.0) -> npt.NDArray[np.float64]:
    """Return the corners of what is drawn, (4, 2): clockwise from the head's top left.

    The box itself, or about its centre and turned with the head where that is turned by more than
    15 degrees; wider by so many pixels on every side.
    """
    _, _, width, height = face.box
    across, along = (height, width) if is_sideways(face.roll) else (width, height)
    return rectangle(face.centre, across + 2 * wider, along + 2 * wider, turn_of(face.roll))


def clipped(points: npt.NDArray[np.float64], shape: tuple[int, ...]) -> Rect:
    """Return the upright rectangle around points, as much of it as lies in a picture."""
    height, width = shape[:2]
    left, top = np.floor(points.min(0))
    right, bottom = np.ceil(points.max(0))
    return Rect(
        *(
            float(np.clip(value, 0, limit))
            for value, limit in zip((left, top, right, bottom), (width, height) * 2)
        )
    )


# --- plates --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Plate:
    """Lines of text, and bars, beside a face; in pixels from the plate's top left corner."""

    width: int
    height: int
    boxes: list[tuple[Rect, Colour]]
    texts: list[tuple[int, int, UInt8Array, Colour]]

    def draw(self, canvas: UInt8Array, x: int, y: int) -> None:
        darken(canvas, x, y, self.width, self.height)
        for rect, colour in self.boxes:
            left, top, right, bottom = (round(v) for v in rect)
            canvas[y + top : y + bottom, x + left : x + right] = colour
        for dx, dy, line, colour in self.texts:
            blend(canvas, x + dx, y + dy, line, colour)


def darken(canvas: UInt8Array, x: int, y: int, width: int, height: int) -> None:
    """Draw the ground of letters, through which the picture hardly shows."""
    patch = canvas[y : y + height, x : x + width]
    ground = np.array(GROUND) * _STRENGTH + 0.5
    shades = np.arange(256)[:, None] * (1 - _STRENGTH) + ground  # (256, 3)
    for channel in range(3):
        patch[..., channel] = shades[:, channel].astype(np.uint8)[patch[..., channel]]


def blend(canvas: UInt8Array, x: int, y: int, mask: UInt8Array, colour: Colour) -> None:
    """Mix a colour into a picture where a mask (h, w), whose corner is at (x, y), says so."""
    top, left = max(0, -y), max(0, -x)
    patch = canvas[max(0, y) : max(0, y + mask.shape[0]), max(0, x) : max(0, x + mask.shape[1])]
    if not patch.size:
        return
    covered = mask[top : top + patch.shape[0], left : left + patch.shape[1], None]
    share = covered * np.float32(1 / 255)
    patch[:] = (patch + (np.array(colour, np.float32) - patch) * share + 0.5).astype(np.uint8)


class Mark:
    """One face as it is drawn."""

    def __init__(
        self,
        face: Detection,
        number: int | None,
        shape: tuple[int, ...],
        lettering: Lettering,
    ) -> None:
        self.face, self.number, self.lettering = face, number, lettering
        long = max(shape)
        side = max(face.box[2:])
        # In three steps, so that faces of nearly one size have letters of one size.
        base = max(LEAST_TEXT, long / 85)
        step = round(math.log(max(1.0, side / 9) / base, _STEP))
        self.text = round(base * _STEP ** min(2, max(0, step)))
        least = max(LEAST_TEXT, round(min(base, side / 6)))
        self.line = max(2, round(min(self.text, max(side / 10, long / 400)) / 7))
        self.abstains = isinstance(face, Face) and face.label is None
        self.name, self.share = "", 0.0
        if isinstance(face, Face):
            self.name, self.share = face.most_probable, face.confidence
        self.colour = INK
        if isinstance(face, Face) and self.name and not self.abstains:
            self.colour = colour_of(self.name, list(face.probabilities))
        self.least = least
        self.has_bars = isinstance(face, Face)
        self.plates: list[Plate] = []  # the best first
        self.halo = max(1, round(self.line / 3))
        self.edge = self.line + 2 * self.halo  # beside the box, not over what is in it
        grown = outline(face, self.edge + 2)
        self.outline = clipped(grown, shape)

    def full(self, share: float) -> list[Plate]:
        """Return the plate with bars, if any, its text between the least, 0, and the wanted, 1."""
        size = round(self.least + share * (self.text - self.least))
        return [self._full(size)] if self.has_bars else []

    def smaller(self) -> list[Plate]:
        """Return plates with the label alone and with the number, where there are such."""
        plates = [self._label(self.least)] if isinstance(self.face, Face) else []
        return plates if self.number is None else [*plates, self._number(self.least)]

    def _heading(self, size: int) -> str:
        title = self.lettering.fitted(self.lettering.writable(self.name), size, 11 * size)
        return f"{'? ' if self.abstains else ''}{title}  {_percent(self.share)}"

    def _header(self, size: int) -> tuple[list[Any], list[Any], int, int]:
        """Return boxes, texts, width and height of the first line: the number, then the label."""
        pad = max(3, round(0.35 * size))
        write, above = self.lettering, max(1, round(0.15 * size))
        height = write.height(size) + above
        boxes: list[Any] = []
        texts: list[Any] = []
        x = pad
        if self.number is not None:
            number = write.line(str(self.number), size)
            chip = number.shape[1] + 2 * round(0.25 * size)
            boxes.append((Rect(0, 0, chip, height), self.colour))
            texts.append((round(0.25 * size), above, number, on_colour(self.colour)))
            x = chip + pad
        if self.name:
            heading = write.line(self._heading(size), size)
            texts.append((x, above, heading, INK))
            x += heading.shape[1] + pad
        return boxes, texts, x, height

    def _number(self, size: int) -> Plate:
        write = self.lettering
        number = write.line(str(self.number), size)
        pad, height = round(0.25 * size), write.height(size)
        width = number.shape[1] + 2 * pad
        boxes = [(Rect(0, 0, width, height), self.colour)]
        texts = [(pad, 0, number, on_colour(self.colour))]
        return Plate(width=width, height=height, boxes=boxes, texts=texts)

    def _label(self, size: int) -> Plate:
        boxes, texts, width, height = self._header(size)
        return Plate(width=width, height=height, boxes=boxes, texts=texts)

    def _full(self, size: int) -> Plate:
        face, write = self.face, self.lettering
        assert isinstance(face, Face)
        boxes, texts, width, y = self._header(size)
        small = max(LEAST_TEXT - 1, round(0.8 * size))
        pad, row = max(3, round(0.35 * size)), round(1.3 * small)
        y += max(2, round(0.2 * size))
        if face.too_small:
            note = write.line(f"small: {face.size:.0f} pixels", small)
            texts.append((pad, y, note, _FAINT))
            width, y = max(width, note.shape[1] + 2 * pad), y + row
        names = [write.fitted(write.writable(n), small, 9 * small) for n in face.probabilities]
        values = list(face.probabilities.values())
        shown = list(range(len(names)))
        if len(names) > _MOST_BARS:
            shown = sorted(sorted(shown, key=lambda i: (-values[i], i))[: _MOST_BARS - 1])
        lines = [write.line(names[i], small) for i in shown]
        column = max(line.shape[1] for line in lines) if lines else 0
        start = pad + column + max(4, round(0.5 * small))
        length = max(4 * small, width - pad - start)
        thick = max(4, round(0.55 * small))
        for i, line in zip(shown, lines):
            chosen = list(face.probabilities)[i] == self.name
            texts.append((pad, y, line, INK if chosen else _FAINT))
            top = y + (write.height(small) - thick) // 2 + 1
            boxes.append((Rect(start, top, start + length, top + thick), _TRACK))
            value = values[i] if values[i] == values[i] else 0.0
            filled = round(length * min(1.0, max(0.0, value)))
            colour = self.colour if chosen else _FAINT
            boxes.append((Rect(start, top, start + filled, top + thick), colour))
            y += row
        if len(names) > len(lines):
            texts.append((pad, y, write.line(f"+ {len(names) - len(lines)} more", small), _FAINT))
            y += row
        width = max(width, start + length + pad)
        return Plate(width=width, height=y + max(2, pad // 2), boxes=boxes, texts=texts)

    def draw_box(self, canvas: UInt8Array) -> None:
        """Draw the outline, light on a dark edge, so that it shows on any ground."""
        import cv2

        gaps = 2.0 * self.line
        dash = 0.0 if not (self.abstains or self.face.too_small) else gaps
        dash = 1.5 * dash if self.abstains else dash / 2
        if turn_of(self.face.roll) % 90 == 0:
            corners = np.clip(outline(self.face), -1e5, 1e5)
            (left, top), (right, bottom) = np.floor(corners.min(0)), np.ceil(corners.max(0))
            for wider, thick, colour, on in (
                (self.edge, self.edge, GROUND, 0.0),
                (self.edge - self.halo, self.line, self.colour, dash),
            ):
                frame = (left - wider, top - wider, right + wider, bottom + wider)
                _frame(canvas, tuple(map(int, frame)), thick, colour, on, gaps)
            return
        # Pixels have their centres at whole numbers for OpenCV.
        points = np.clip(outline(self.face, self.edge / 2 + 1), -1e5, 1e5) - 0.5
        closed = np.concatenate([points, points[:1]])
        lines = [closed] if dash == 0 else _pieces(closed, dash, gaps)
        for pieces, thick, colour in (
            ([closed], self.edge, GROUND),
            (lines, self.line, self.colour),
        ):
            fine = [np.rint(piece * 16).astype(np.int32) for piece in pieces]
            cv2.polylines(canvas, fine, False, colour, thick, cv2.LINE_AA, 4)

    def draw_leader(self, canvas: UInt8Array, place: Place) -> None:
        import cv2

        if place.leader is None:
            return
        start, end = (tuple(round(16 * v) for v in point) for point in place.leader)
        thin = max(1, self.line // 2)
        cv2.line(canvas, start, end, GROUND, thin + 2 * max(1, thin // 2), cv2.LINE_AA, 4)
        cv2.line(canvas, start, end, self.colour, thin, cv2.LINE_AA, 4)


def _frame(
    canvas: UInt8Array,
    rect: tuple[int, ...],
    thick: int,
    colour: Colour,
    dash: float,
    gap: float,
) -> None:
    """Draw the sides of an upright rectangle inside its edges; in dashes, unless `dash` is 0."""
    height, width = canvas.shape[:2]
    left, top, right, bottom = rect
    x, y = np.arange(max(0, left), min(width, right)), np.arange(max(0, top), min(height, bottom))
    if dash:
        x, y = (
            pixels[(pixels - start) % (dash + gap) < dash]
            for pixels, start in ((x, left), (y, top))
        )
    for start in (top, bottom - thick):
        canvas[max(0, start) : max(0, start + thick), x] = colour
    for start in (left, right - thick):
        canvas[y, max(0, start) : max(0, start + thick)] = colour


def _pieces(
    points: npt.NDArray[np.float64], dash: float, gap: float
) -> list[npt.NDArray[np.float64]]:
    """Return the dashes along the sides of a polygon, (2, 2) each; at most 60 a side."""
    pieces = []
    for start, end in pairwise(points):
        length = float(np.hypot(*(end - start)))
        count = int(np.clip(length // (dash + gap), 1, 60))
        share = dash / (dash + gap)
        ats = (np.arange(count) + np.array([[(1 - share) / 2], [(1 + share) / 2]])) / count
        pieces += list(start + ats.T[..., None] * (end - start))
    return pieces


def colour_of(name: str, names: Sequence[str]) -> Colour:
    """Return the colour of a class, one of `names`."""
    if name in COLOURS:
        return COLOURS[name]
    return CYCLE[names.index(name) % len(CYCLE)] if name in names else _GRAY


def on_colour(colour: Colour) -> Colour:
    """Return black or white, whichever is read better on a colour."""
    light = 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]
    return (0, 0, 0) if light > 110 else INK


def _percent(share: float) -> str:
    return f"{share:.0%}" if share == share else "?"
