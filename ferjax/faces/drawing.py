"""Draw what was found on a photograph: boxes, labels, a bar for every class, maps.

Dimension keys: H height, W width of a picture; K classes; h and w of a map or of a patch.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from ferjax.errors import FerjaxError, ImageError
from ferjax.faces.analysis import Face
from ferjax.faces.cropping import crop_corners, rectangle, turn_of
from ferjax.faces.detection import Detection
from ferjax.faces.lettering import Lettering
from ferjax.faces.placing import (
    Place,
    Rect,
    arrange,
    crossed,
    distance,
    nearest_points,
    overlapping,
)
from ferjax.faces.yunet import is_sideways
from ferjax.image_files import UInt8Array

Colour: TypeAlias = tuple[int, int, int]

CAPTION: Final = "Where the score comes from; not why a person looks so"

LEAST_TEXT: Final = 11  # pixels; smaller letters cannot be read
_STEP: Final = 1.35  # from one size of letters to the next
# Okabe and Ito's colours, told apart by people who see no red or no green, of which black is gray.
_ORANGE, _SKY, _GREEN, _YELLOW = (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66)
_BLUE, _VERMILLION, _PURPLE, _GRAY = (0, 114, 178), (213, 94, 0), (204, 121, 167), (210, 210, 210)
_COLOURS: Final[dict[str, Colour]] = {
    "angry": _VERMILLION,
    "disgust": _GREEN,
    "fear": _PURPLE,
    "happy": _YELLOW,
    "neutral": _GRAY,
    "sad": _SKY,
    "surprise": _ORANGE,
    "contempt": _BLUE,
}
_CYCLE: Final = (_SKY, _ORANGE, _GREEN, _YELLOW, _PURPLE, _VERMILLION, _BLUE, _GRAY)
_PLATE: Final[Colour] = (18, 20, 24)
_PLATE_STRENGTH: Final = 0.88
_INK: Final[Colour] = (255, 255, 255)
_FAINT: Final[Colour] = (200, 204, 210)
_TRACK: Final[Colour] = (84, 88, 96)
_MOST_BARS: Final = 10
_FEW: Final = 8  # faces for which a picture is enlarged
_MANY: Final = 60  # faces; of more, not all have room for bars

_HEAD: Final = 1.8  # the side of what is pixelated over the face's: hair, ears and chin too
_BLOCKS: Final = 8  # across it


def draw(
    image: UInt8Array,
    faces: Sequence[Detection],
    *,
    anonymise: bool = False,
    heatmaps: Sequence[npt.NDArray[np.floating] | None] | None = None,
    enlarge: bool = True,
    font: str | os.PathLike[str] | None = None,
) -> UInt8Array:
    """Return a copy of the picture with its faces marked, uint8 (H, W, 3) in RGB order.

    A `Face` gets a plate with its label, the probability and a bar for every class; where there is
    no room, the label alone; where there is none for that either, its number, counted from 1 in the
    order of `faces`; in the densest crowds nothing but its box. No plate covers a face or another;
    plates further off have a line to their face. A `Detection` that is no `Face` gets its box, and
    its number among several. Boxes of heads that are turned by more than 15 degrees are turned with
    them. The box is dashed where the classifier abstains, and "?" stands before the most probable
    class; it is dotted where the face is smaller than 24 pixels. Colours are told apart by the
    colour-blind, and none says what no word says.

    Where faces leave no room in the picture, such as one that fills it, the picture gets a strip on
    its right or below it, so that boxes still refer to the same pixels.

    Args:
        image: uint8 in [0, 255], (H, W), (H, W, 1) or (H, W, 3) in RGB order.
        faces: what `detect` or `analyze` returned for it.
        anonymise: pixelate every face, with its hair and chin, before anything is drawn: 8 blocks
            across the head, about 5 across the face. People no longer recognise it by the face;
            clothes and places are left, and faces that were not found: look at the result.
        heatmaps: for each face a map, float (h, w) in [0, 1], of the square that `crop` cuts out,
            or None; see `ferjax.faces.heatmaps`.
        enlarge: whether the picture may get a strip; if not, it keeps its size.
        font: a font file for class names that are not in Latin, Greek or Cyrillic letters.

    Raises:
        ImageError: `image` is not of that form.
        FerjaxError: a box is not of four finite numbers, there is not one map for each face, or a
            map is not of that form.
    """
    canvas = _rgb(image)
    _check(faces, heatmaps)
    if not faces:
        return canvas
    if anonymise:
        pixelate(canvas, faces)
    maps = [None] * len(faces) if heatmaps is None else heatmaps
    mapped = [(face, heat) for face, heat in zip(faces, maps) if heat is not None]
    for face, heat in mapped:
        _lay(canvas, face, np.asarray(heat, np.float32))
    lettering = Lettering(font)
    marks = [
        _Mark(face, number if len(faces) > 1 else None, canvas.shape[:2], lettering)
        for number, face in enumerate(faces, 1)
    ]
    canvas, found = _arranged(canvas, marks, enlarge)
    lettering.warn(stacklevel=2)
    for mark in marks:
        mark.draw_box(canvas)
    for mark, place in zip(marks, found):
        if place:
            mark.draw_leader(canvas, place)
    for mark, place in zip(marks, found):
        if place:
            mark.plates[place.level].draw(canvas, round(place.rect.left), round(place.rect.top))
    if mapped:
        taken = [m.outline for m in marks] + [p.rect for p in found if p]
        size = max(LEAST_TEXT, round(max(image.shape[:2]) / 75))
        leaders = [p.leader for p in found if p and p.leader]
        canvas = _captioned(canvas, lettering, size, taken, leaders, enlarge)
    return canvas


# --- what is given -------------------------------------------------------------------------------


def _rgb(image: UInt8Array) -> UInt8Array:
    """Return a copy of a picture, uint8 (H, W, 3)."""
    shape: tuple[int, ...] = getattr(image, "shape", ())
    fits = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or not fits or 0 in shape:
        got = f"{image.dtype} {shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ImageError(
            f"expected uint8 (H, W), (H, W, 1) or (H, W, 3) for `image`, got {got}; "
            "decode files first, in RGB order"
        )
    if len(shape) == 3 and shape[2] == 3:
        return np.array(image, order="C")
    return np.repeat(image.reshape(*shape[:2], 1), 3, axis=2)


def _check(faces: Sequence[Detection], heatmaps: Sequence[Any] | None) -> None:
    for number, face in enumerate(faces, 1):
        box = np.asarray(face.box, np.float64)
        if box.shape != (4,) or not np.isfinite([*box, face.roll]).all() or (box[2:] < 0).any():
            raise FerjaxError(
                f"face {number}: expected four finite numbers for `box`, x, y, width and height, "
                f"and finite degrees for `roll`, got {face.box} and {face.roll}"
            )
    if heatmaps is None:
        return
    if len(heatmaps) != len(faces):
        raise FerjaxError(
            f"expected {len(faces)} maps for `heatmaps`, one a face, got {len(heatmaps)}; give "
            "None for a face without"
        )
    for number, heat in enumerate(heatmaps, 1):
        if heat is None:
            continue
        values = np.asarray(heat)
        if values.ndim != 2 or not values.size or not np.issubdtype(values.dtype, np.floating):
            raise FerjaxError(
                f"map {number}: expected float (h, w) in `heatmaps`, got {values.dtype} "
                f"{values.shape}"
            )
        if not (values.min() >= 0 and values.max() <= 1):
            raise FerjaxError(
                f"map {number}: expected values in [0, 1] in `heatmaps`, got "
                f"{values.min():.3g} to {values.max():.3g}"
            )


# --- geometry of a face --------------------------------------------------------------------------


def outline(face: Detection, wider: float = 0.0) -> npt.NDArray[np.float64]:
    """Return the corners of what is drawn, (4, 2): clockwise from the head's top left.

    The box itself, or about its centre and turned with the head where that is turned by more than
    15 degrees; wider by so many pixels on every side.
    """
    _, _, width, height = face.box
    across, along = (height, width) if is_sideways(face.roll) else (width, height)
    return rectangle(face.centre, across + 2 * wider, along + 2 * wider, turn_of(face.roll))


def _clipped(points: npt.NDArray[np.float64], shape: tuple[int, ...]) -> Rect:
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


# --- pixelating and maps -------------------------------------------------------------------------


def pixelate(canvas: UInt8Array, faces: Sequence[Detection]) -> None:
    """Pixelate the heads in a picture, uint8 (H, W, 3), in place; the largest first."""
    for face in sorted(faces, key=lambda face: -max(face.box[2:])):
        left, top, right, bottom = head(face, canvas.shape[:2])
        if right <= left or bottom <= top:
            continue
        block = max(2, math.ceil(_HEAD * max(face.box[2:]) / _BLOCKS))
        patch = canvas[top:bottom, left:right]
        rows, columns = (np.arange(0, size, block) for size in patch.shape[:2])
        sums = np.add.reduceat(np.add.reduceat(patch, rows, 0, np.int64), columns, 1)
        heights, widths = (
            np.diff([*starts, size]) for starts, size in zip((rows, columns), patch.shape)
        )
        means = np.rint(sums / (heights[:, None] * widths)[..., None]).astype(np.uint8)
        x, y = face.centre
        down, across = (top + rows + heights / 2 - y)[:, None], left + columns + widths / 2 - x
        inside = np.hypot(down, across) <= _HEAD * max(face.box[2:]) / 2  # no corners
        inside = inside.repeat(heights, 0).repeat(widths, 1)
        np.copyto(patch, means.repeat(heights, 0).repeat(widths, 1), where=inside[..., None])


def head(face: Detection, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return the square to pixelate in a picture (H, W): (left, top, right, bottom)."""
    half, centre = _HEAD * max(face.box[2:]) / 2, np.array([face.centre])
    left, top, right, bottom = _clipped(np.concatenate([centre - half, centre + half]), shape)
    return int(left), int(top), int(right), int(bottom)


def _lay(canvas: UInt8Array, face: Detection, heat: npt.NDArray[np.float32]) -> None:
    """Lay a map over the square that `crop` cuts out, whose picture turns gray."""
    import cv2

    corners = crop_corners(face)
    left, top, right, bottom = map(int, _clipped(corners, canvas.shape))
    if right <= left or bottom <= top:
        return
    rows, columns = heat.shape
    # Pixels have their centres at whole numbers for OpenCV.
    source = np.array([[0, 0], [columns, 0], [columns, rows]], np.float32) - 0.5
    target = np.asarray(corners[:3] - (left, top) - 0.5, np.float32)
    size = (right - left, bottom - top)
    matrix = cv2.getAffineTransform(source, target)
    laid = cv2.warpAffine(heat, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    laid = np.clip(laid, 0, 1).astype(np.float32)[..., None]
    inside = np.zeros(size[::-1], np.uint8)
    shape = np.rint((corners - (left, top) - 0.5) * 16).astype(np.int32)
    cv2.fillConvexPoly(inside, shape, 255, cv2.LINE_AA, 4)
    patch = canvas[top:bottom, left:right]
    gray = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY)[..., None]
    strength = 0.7 * laid
    shown = (1 - strength) * gray + strength * viridis(laid[..., 0])
    covered = inside[..., None] / np.float32(255)
    patch[:] = np.rint(patch + (shown - patch) * covered).astype(np.uint8)


def viridis(values: npt.NDArray[np.float32]) -> UInt8Array:
    """Return matplotlib's colours for values in [0, 1]: uint8 (h, w, 3) for (h, w)."""
    import cv2

    levels = np.rint(values * 255).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[..., ::-1], np.uint8)


# --- plates --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Plate:
    """Lines of text, and bars, beside a face; in pixels from the plate's top left corner."""

    width: int
    height: int
    boxes: list[tuple[Rect, Colour]]
    texts: list[tuple[int, int, UInt8Array, Colour]]

    def draw(self, canvas: UInt8Array, x: int, y: int) -> None:
        _darken(canvas, x, y, self.width, self.height)
        for rect, colour in self.boxes:
            left, top, right, bottom = (round(v) for v in rect)
            canvas[y + top : y + bottom, x + left : x + right] = colour
        for dx, dy, line, colour in self.texts:
            _blend(canvas, x + dx, y + dy, line, colour)


def _darken(canvas: UInt8Array, x: int, y: int, width: int, height: int) -> None:
    """Draw the ground of letters, through which the picture hardly shows."""
    patch = canvas[y : y + height, x : x + width]
    ground = np.array(_PLATE) * _PLATE_STRENGTH + 0.5
    shades = np.arange(256)[:, None] * (1 - _PLATE_STRENGTH) + ground  # (256, 3)
    for channel in range(3):
        patch[..., channel] = shades[:, channel].astype(np.uint8)[patch[..., channel]]


def _blend(canvas: UInt8Array, x: int, y: int, mask: UInt8Array, colour: Colour) -> None:
    """Mix a colour into a picture where a mask (h, w), whose corner is at (x, y), says so."""
    top, left = max(0, -y), max(0, -x)
    patch = canvas[max(0, y) : max(0, y + mask.shape[0]), max(0, x) : max(0, x + mask.shape[1])]
    if not patch.size:
        return
    covered = mask[top : top + patch.shape[0], left : left + patch.shape[1], None]
    share = covered * np.float32(1 / 255)
    patch[:] = (patch + (np.array(colour, np.float32) - patch) * share + 0.5).astype(np.uint8)


class _Mark:
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
        self.name, self.share = self._best()
        self.colour = _colour(self.name, face) if self.name and not self.abstains else _INK
        self.least = least
        self.has_bars = isinstance(face, Face)
        self.plates: list[_Plate] = []  # the best first
        self.halo = max(1, round(self.line / 3))
        self.edge = self.line + 2 * self.halo  # beside the box, not over what is in it
        grown = outline(face, self.edge + 2)
        self.outline = _clipped(grown, shape)

    def full(self, share: float) -> list[_Plate]:
        """Return the plate with bars, if any, its text between the least, 0, and the wanted, 1."""
        size = round(self.least + share * (self.text - self.least))
        return [self._full(size)] if self.has_bars else []

    def smaller(self) -> list[_Plate]:
        """Return plates with the label alone and with the number, where there are such."""
        plates = [self._label(self.least)] if isinstance(self.face, Face) else []
        return plates if self.number is None else [*plates, self._number(self.least)]

    def _best(self) -> tuple[str, float]:
        face = self.face
        if not isinstance(face, Face):
            return "", 0.0
        if face.label is not None:
            return face.label, face.confidence
        best = max(face.probabilities, key=lambda name: face.probabilities[name], default="")
        return best, face.confidence

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
            texts.append((round(0.25 * size), above, number, _on(self.colour)))
            x = chip + pad
        if self.name:
            heading = write.line(self._heading(size), size)
            texts.append((x, above, heading, _INK))
            x += heading.shape[1] + pad
        return boxes, texts, x, height

    def _number(self, size: int) -> _Plate:
        write = self.lettering
        number = write.line(str(self.number), size)
        pad, height = round(0.25 * size), write.height(size)
        width = number.shape[1] + 2 * pad
        boxes = [(Rect(0, 0, width, height), self.colour)]
        texts = [(pad, 0, number, _on(self.colour))]
        return _Plate(width=width, height=height, boxes=boxes, texts=texts)

    def _label(self, size: int) -> _Plate:
        boxes, texts, width, height = self._header(size)
        return _Plate(width=width, height=height, boxes=boxes, texts=texts)

    def _full(self, size: int) -> _Plate:
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
        kept = range(len(names))
        if len(names) > _MOST_BARS:
            best = sorted(kept, key=lambda i: (-values[i], i))[: _MOST_BARS - 1]
            kept = sorted(best)  # type: ignore[assignment]
        lines = [write.line(names[i], small) for i in kept]
        column = max(line.shape[1] for line in lines) if lines else 0
        start = pad + column + max(4, round(0.5 * small))
        length = max(4 * small, width - pad - start)
        thick = max(4, round(0.55 * small))
        for i, line in zip(kept, lines):
            chosen = list(face.probabilities)[i] == self.name
            texts.append((pad, y, line, _INK if chosen else _FAINT))
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
        return _Plate(width=width, height=y + max(2, pad // 2), boxes=boxes, texts=texts)

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
                (self.edge, self.edge, _PLATE, 0.0),
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
            ([closed], self.edge, _PLATE),
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
        cv2.line(canvas, start, end, _PLATE, thin + 2 * max(1, thin // 2), cv2.LINE_AA, 4)
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
        x, y = (at[(at - start) % (dash + gap) < dash] for at, start in ((x, left), (y, top)))
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


def _colour(name: str, face: Detection) -> Colour:
    if name in _COLOURS:
        return _COLOURS[name]
    names = list(face.probabilities) if isinstance(face, Face) else []
    return _CYCLE[names.index(name) % len(_CYCLE)] if name in names else _GRAY


def _on(colour: Colour) -> Colour:
    """Return black or white, whichever is read better on a colour."""
    light = 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]
    return (0, 0, 0) if light > 110 else _INK


def _percent(share: float) -> str:
    return f"{share:.0%}" if share == share else "?"


# --- the whole picture ---------------------------------------------------------------------------


def _arranged(
    canvas: UInt8Array, marks: Sequence[_Mark], enlarge: bool
) -> tuple[UInt8Array, list[Place | None]]:
    """Return the picture, with a strip where plates need one, and a place for each plate."""
    height, width = canvas.shape[:2]
    gap = max(2, round(max(height, width) / 400))
    outlines = [mark.outline for mark in marks]
    reach = [2.0 * max(mark.face.box[2:]) + 3 * mark.text for mark in marks]

    def arranged() -> list[Place | None]:
        sizes = [[(plate.width, plate.height) for plate in mark.plates] for mark in marks]
        return arrange(outlines, sizes, Rect(0, 0, width, height), gap=gap, reach=reach)

    # Of one size: the largest at which all have their bars, or else the smallest.
    for share in (1.0, 0.5) if len(marks) <= _MANY else ():
        for mark in marks:
            mark.plates = mark.full(share) or mark.smaller()
        found = arranged()
        if all(found):
            return canvas, found
    for mark in marks:
        mark.plates = [*(mark.full(0.0) if len(marks) <= _MANY else []), *mark.smaller()]
    found = arranged()
    if not enlarge or len(marks) > _FEW:
        return canvas, found
    # One or two faces show their bars, come what may; of several, each shows at least its label.
    worst = 0 if len(marks) <= 2 else 1
    missing = [
        i
        for i, (mark, place) in enumerate(zip(marks, found))
        if mark.has_bars and (place is None or place.level > worst)
    ]
    if not missing:
        return canvas, found
    for i in missing:
        marks[i].plates[:1] = marks[i].full(1.0)
    strips = [_strip(marks, found, missing, (height, width), gap, right) for right in (True, False)]
    # The strip that more faces have a line to, then the smaller one.
    total, added = min(strips, key=lambda strip: (-len(strip[1]), strip[0][0] * strip[0][1]))
    if not added:
        return canvas, found
    larger = np.full((*total, 3), _PLATE, np.uint8)
    larger[:height, :width] = canvas
    return larger, [added.get(i, place) for i, place in enumerate(found)]


def _strip(
    marks: Sequence[_Mark],
    found: Sequence[Place | None],
    missing: Sequence[int],
    shape: tuple[int, int],
    gap: int,
    right: bool,
) -> tuple[tuple[int, int], dict[int, Place]]:
    """Return the (H, W) of the picture with a strip, and what stands there, by face."""
    height, width = shape
    plates = [marks[i].plates[0] for i in missing]
    if right:
        deep, long = max(p.width for p in plates), sum(p.height + gap for p in plates)
        total = (max(height, long + gap), width + deep + 2 * gap)
    else:
        deep, long = max(p.height for p in plates), sum(p.width + gap for p in plates)
        total = (height + deep + 2 * gap, max(width, long + gap))
    added: dict[int, Place] = {}
    for i, rect in zip(missing, _stacked(marks, missing, shape, gap, total, right)):
        face = marks[i].outline
        leader = nearest_points(rect, face) if distance(rect, face) > 1.5 * gap + 1 else None
        others = [m.outline for k, m in enumerate(marks) if k != i]
        others += [p.rect for k, p in enumerate(found) if p and k not in missing]
        if leader is None or not crossed(*leader, np.array(others).reshape(-1, 4)):
            added[i] = Place(0, rect, leader)
    return total, added


def _stacked(
    marks: Sequence[_Mark],
    missing: Sequence[int],
    shape: tuple[int, int],
    gap: int,
    total: tuple[int, int],
    right: bool,
) -> list[Rect]:
    """Return places in the strip, near their faces and in the faces' order."""
    axis = 1 if right else 0  # of (left, top), along the strip
    order = sorted(range(len(missing)), key=lambda k: marks[missing[k]].outline[axis])
    lengths = [marks[i].plates[0].height if right else marks[i].plates[0].width for i in missing]
    starts, free = {}, float(gap)
    for k in order:
        starts[k] = max(free, marks[missing[k]].outline[axis])
        free = starts[k] + lengths[k] + gap
    limit = float(total[1 - axis])
    for k in reversed(order):
        starts[k] = min(starts[k], limit - gap - lengths[k])
        limit = starts[k]
    rects = []
    for k, i in enumerate(missing):
        plate = marks[i].plates[0]
        x, y = (shape[1] + gap, starts[k]) if right else (starts[k], shape[0] + gap)
        rects.append(Rect(x, y, x + plate.width, y + plate.height))
    return rects


def _captioned(
    canvas: UInt8Array,
    lettering: Lettering,
    size: int,
    taken: Sequence[Rect],
    leaders: Sequence[Any],
    enlarge: bool,
) -> UInt8Array:
    """Say what maps show, with their colours from little to much, where nothing is covered."""
    height, width = canvas.shape[:2]
    pad, ramp, high = round(0.4 * size), 4 * size, lettering.height(size)
    words, lines = CAPTION.split(), [""]
    for word in words:
        longer = f"{lines[-1]} {word}".strip()
        if lettering.width(longer, size) + ramp + 3 * pad > max(width, 16 * size):
            lines.append(word)
        else:
            lines[-1] = longer
    written = [lettering.line(line, size) for line in lines]
    w = ramp + 3 * pad + max(line.shape[1] for line in written)
    h = high * len(lines) + pad
    spots = np.array(
        [
            (x, y, x + w, y + h)
            for y in (height - h, 0, (height - h) // 2)
            for x in (0, width - w, (width - w) // 2)
            if x >= 0 and y >= 0
        ],
        float,
    ).reshape(-1, 4)
    free = spots[~overlapping(spots, np.array(taken).reshape(-1, 4))]
    free = np.array([s for s in free if not any(crossed(a, b, s[None]) for a, b in leaders)])
    if len(free):
        x, y = int(free[0, 0]), int(free[0, 1])
    elif enlarge:
        larger = np.full((height + h, max(width, w), 3), _PLATE, np.uint8)
        larger[:height, :width] = canvas
        canvas, x, y = larger, 0, height
    else:
        x, y = 0, max(0, height - h)
    _darken(canvas, x, y, w, h)
    colours = viridis(np.linspace(0, 1, ramp, dtype=np.float32)[None])
    thick = max(3, high // 2)
    top = y + pad // 2 + (high - thick) // 2
    patch = canvas[top : top + thick, x + pad : x + pad + ramp]
    patch[:] = colours[:, : patch.shape[1]]
    for k, line in enumerate(written):
        _blend(canvas, x + ramp + 2 * pad, y + pad // 2 + k * high, line, _INK)
    return canvas
