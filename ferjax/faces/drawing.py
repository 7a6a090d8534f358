"""Draw what was found on a photograph: boxes, labels, a bar for every class, maps.

Dimension keys: H height, W width of a picture; K classes; h and w of a map or of a patch.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ferjax.errors import FerjaxError
from ferjax.faces.cropping import crop_corners
from ferjax.faces.detection import Detection, faces_of, has_place
from ferjax.faces.marks import GROUND, INK, LEAST_TEXT, Mark, blend, clipped, darken
from ferjax.faces.placing import (
    Place,
    Rect,
    arrange,
    crossed,
    distance,
    nearest_points,
    overlapping,
)
from ferjax.image_files import UInt8Array
from ferjax.pictures.lettering import Lettering
from ferjax.preprocessing import Source, is_array, load_picture

CAPTION: Final = "Where the score comes from; not why a person looks so"

_FEW: Final = 8  # faces for which a picture is enlarged
_MANY: Final = 60  # faces; of more, not all have room for bars

_HEAD: Final = 1.8  # the side of what is pixelated over the face's: hair, ears and chin too
_BLOCKS: Final = 8  # across it


def draw(
    image: Source,
    faces: Iterable[Detection],
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
        image: one image, of any kind that `detect` takes.
        faces: what `detect` or `analyze` returned for it.
        anonymise: pixelate every face, with its hair and chin, before anything is drawn: 8 blocks
            across the head, about 5 across the face. People no longer recognise it by the face;
            clothes and places are left, and faces that were not found: look at the result.
        heatmaps: for each face a map, float (h, w) in [0, 1], of the square that `crop` cuts out,
            or None; see `ferjax.faces.heatmaps`.
        enlarge: whether the picture may get a strip; if not, it keeps its size.
        font: a font file for class names that are not in Latin, Greek or Cyrillic letters.

    Raises:
        ImageError: the image cannot be read.
        FerjaxError: `faces` are none, a box is not of four finite numbers, there is not one map for
            each face, or a map is not of that form.
    """
    faces = faces_of(faces)
    _check(faces, heatmaps)
    canvas = _copied(image)
    shape = canvas.shape
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
        Mark(face, number if len(faces) > 1 else None, canvas.shape[:2], lettering)
        for number, face in enumerate(faces, 1)
    ]
    canvas, places = _arranged(canvas, marks, enlarge)
    lettering.warn(stacklevel=2)
    for mark in marks:
        mark.draw_box(canvas)
    for mark, place in zip(marks, places):
        if place:
            mark.draw_leader(canvas, place)
    for mark, place in zip(marks, places):
        if place:
            mark.plates[place.level].draw(canvas, round(place.rect.left), round(place.rect.top))
    if mapped:
        taken = [m.outline for m in marks] + [p.rect for p in places if p]
        size = max(LEAST_TEXT, round(max(shape[:2]) / 75))
        leaders = [p.leader for p in places if p and p.leader]
        canvas = _captioned(canvas, lettering, size, taken, leaders, enlarge)
    return canvas


# --- what is given -------------------------------------------------------------------------------


def _copied(image: Source) -> UInt8Array:
    """Return a copy of a picture, uint8 (H, W, 3) in RGB order."""
    picture = load_picture(image)
    # Of an array it may be a view, which stays its owner's; of a PIL image it may be read-only.
    keeps = not is_array(image) and picture.flags.writeable
    return picture if keeps else np.array(picture, order="C")


def _check(faces: Sequence[Detection], heatmaps: Sequence[Any] | None) -> None:
    for number, face in enumerate(faces, 1):
        if not has_place(face) or min(face.box[2:]) < 0:
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
    left, top, right, bottom = clipped(np.concatenate([centre - half, centre + half]), shape)
    return int(left), int(top), int(right), int(bottom)


def _lay(canvas: UInt8Array, face: Detection, heat: npt.NDArray[np.float32]) -> None:
    """Lay a map over the square that `crop` cuts out, whose picture turns gray."""
    import cv2

    corners = crop_corners(face)
    left, top, right, bottom = map(int, clipped(corners, canvas.shape))
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


# --- the whole picture ---------------------------------------------------------------------------


def _arranged(
    canvas: UInt8Array, marks: Sequence[Mark], enlarge: bool
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
        places = arranged()
        if all(places):
            return canvas, places
    for mark in marks:
        mark.plates = [*(mark.full(0.0) if len(marks) <= _MANY else []), *mark.smaller()]
    places = arranged()
    if not enlarge or len(marks) > _FEW:
        return canvas, places
    # One or two faces show their bars, come what may; of several, each shows at least its label.
    worst = 0 if len(marks) <= 2 else 1
    missing = [
        i
        for i, (mark, place) in enumerate(zip(marks, places))
        if mark.has_bars and (place is None or place.level > worst)
    ]
    if not missing:
        return canvas, places
    for i in missing:
        marks[i].plates[:1] = marks[i].full(1.0)
    strips = [
        _strip(marks, places, missing, (height, width), gap, right) for right in (True, False)
    ]
    # The strip that more faces have a line to, then the smaller one.
    total, added = min(strips, key=lambda strip: (-len(strip[1]), strip[0][0] * strip[0][1]))
    if not added:
        return canvas, places
    larger = np.full((*total, 3), GROUND, np.uint8)
    larger[:height, :width] = canvas
    return larger, [added.get(i, place) for i, place in enumerate(places)]


def _strip(
    marks: Sequence[Mark],
    places: Sequence[Place | None],
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
        others += [p.rect for k, p in enumerate(places) if p and k not in missing]
        if leader is None or not crossed(*leader, np.array(others).reshape(-1, 4)):
            added[i] = Place(0, rect, leader)
    return total, added


def _stacked(
    marks: Sequence[Mark],
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
        larger = np.full((height + h, max(width, w), 3), GROUND, np.uint8)
        larger[:height, :width] = canvas
        canvas, x, y = larger, 0, height
    else:
        x, y = 0, max(0, height - h)
    darken(canvas, x, y, w, h)
    colours = viridis(np.linspace(0, 1, ramp, dtype=np.float32)[None])
    thick = max(3, high // 2)
    top = y + pad // 2 + (high - thick) // 2
    patch = canvas[top : top + thick, x + pad : x + pad + ramp]
    patch[:] = colours[:, : patch.shape[1]]
    for k, line in enumerate(written):
        blend(canvas, x + ramp + 2 * pad, y + pad // 2 + k * high, line, INK)
    return canvas
