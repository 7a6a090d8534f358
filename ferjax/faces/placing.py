"""Find free places for plates beside faces: geometry alone, nothing is drawn.

A rectangle is (left, top, right, bottom) in pixels, right and bottom outside of it.

Dimension keys: N rectangles, M others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Rects: TypeAlias = npt.NDArray[np.float64]  # (N, 4)

# Distances from a face at which places are looked for, in heights of what is placed; the first is
# beside the face.
_RINGS: Final = (0.0, 0.5, 1.0, 1.75, 2.5, 3.5)
# Where along a face's side a plate may stand: its start at the face's, centred, its end at the
# face's, and beyond both by so much of the plate.
_BEYOND: Final = (0.5, 1.0)
_BESIDE: Final = 1.5  # times the gap; what is further off has a line to its face
_TRIES: Final = 4
_NOWHERE: Final = -1e9


class Rect(NamedTuple):
    """A rectangle; see the module."""

    left: float
    top: float
    right: float
    bottom: float


class Place(NamedTuple):
    """Where a plate stands: of which of the sizes that were offered, and where."""

    level: int
    rect: Rect
    # From the plate to its face, (x, y) each; None where the plate stands beside it.
    leader: tuple[tuple[float, float], tuple[float, float]] | None


def overlapping(rects: Rects, others: Rects) -> npt.NDArray[np.bool_]:
    """Return which of N rectangles share area with any of M others, (N,).

    >>> a = np.array([[0, 0, 10, 10], [10, 0, 20, 10]], float)
    >>> overlapping(a, np.array([[10, 5, 12, 7]], float))
    array([False,  True])
    """
    a, b = rects[:, None], others[None]
    apart = (a[..., :2] >= b[..., 2:]) | (a[..., 2:] <= b[..., :2])
    return np.asarray((~apart.any(-1)).any(-1), np.bool_)


def crossed(start: tuple[float, float], end: tuple[float, float], rects: Rects) -> bool:
    """Return whether the line between two points passes through any of the rectangles.

    >>> crossed((0, 0), (10, 10), np.array([[4, 5, 6, 7]], float))
    True
    >>> crossed((0, 0), (10, 0), np.array([[4, 5, 6, 7]], float))
    False
    """
    return bool(_crossing(start, end, rects).any())


def _crossing(
    start: tuple[float, float], end: tuple[float, float], rects: Rects
) -> npt.NDArray[np.bool_]:
    origin, step = np.array(start, float), np.subtract(end, start).astype(float)
    step = np.where(np.abs(step) < 1e-9, 1e-9, step)
    first, second = (rects[:, :2] - origin) / step, (rects[:, 2:] - origin) / step
    enter = np.minimum(first, second).max(1, initial=-np.inf)
    leave = np.maximum(first, second).min(1, initial=np.inf)
    return (enter < leave) & (leave > 0) & (enter < 1)


def distance(a: Rect, b: Rect) -> float:
    """Return how far apart two rectangles are; 0 where they touch or overlap."""
    across = max(a.left - b.right, b.left - a.right, 0)
    down = max(a.top - b.bottom, b.top - a.bottom, 0)
    return float(np.hypot(across, down))


def nearest_points(a: Rect, b: Rect) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the points of two rectangles, each (x, y), that are nearest to one another.

    >>> nearest_points(Rect(0, 0, 10, 10), Rect(20, 2, 30, 6))
    ((10, 4.0), (20, 4.0))
    """
    pairs = []
    for low, high, start, stop in (
        (a.left, a.right, b.left, b.right),
        (a.top, a.bottom, b.top, b.bottom),
    ):
        if high <= start:
            pairs.append((high, start))
        elif stop <= low:
            pairs.append((low, stop))
        else:
            middle = (max(low, start) + min(high, stop)) / 2
            pairs.append((middle, middle))
    (ax, bx), (ay, by) = pairs
    return (ax, ay), (bx, by)


def places(face: Rect, size: tuple[float, float], canvas: Rect, gap: float, reach: float) -> Rects:
    """Return where a plate may stand, (N, 4), the best first: beside the face, then further off.

    Args:
        face: what is to be described.
        size: width and height of the plate.
        canvas: what every place lies in.
        gap: between the face and a plate beside it.
        reach: how far off a plate may stand.
    """
    width, height = size
    rings = [gap + r * min(height, width) for r in _RINGS]
    rings = [r for r in rings if r <= gap + reach]
    xs = _along(face.left, face.right, width)
    ys = _along(face.top, face.bottom, height)
    # What is low stands below its face or above, so that in a row of faces it is seen whose it is.
    wide = width > 2.5 * height or height < 0.6 * (face.bottom - face.top)
    rows: list[tuple[float, float, float]] = []
    for ring in rings:
        off = ring + 0.3 * min(width, height) * (ring > gap)
        for place, (x, extra) in enumerate(xs):
            cost = off + 0.02 * height * place + extra
            rows.append((cost + (0.1 if wide else 0.6) * height, x, face.top - ring - height))
            rows.append((cost + (0.0 if wide else 0.4) * height, x, face.bottom + ring))
        for place, (y, extra) in enumerate(ys):
            cost = off + 0.02 * height * place + extra
            rows.append((cost + (0.8 * height if wide else 0.0), face.right + ring, y))
            rows.append(
                (cost + (0.9 * height if wide else 0.1 * height), face.left - ring - width, y)
            )
    table = np.array(rows)
    order = np.argsort(table[:, 0], kind="stable")
    x = np.clip(table[order, 1], canvas.left, max(canvas.left, canvas.right - width))
    y = np.clip(table[order, 2], canvas.top, max(canvas.top, canvas.bottom - height))
    rects = np.stack([x, y, x + width, y + height], 1).round()
    inside = (rects[:, 2] <= canvas.right) & (rects[:, 3] <= canvas.bottom)
    return rects[inside]


def _along(start: float, stop: float, length: float) -> list[tuple[float, float]]:
    """Return where something of a length may begin beside a side, and what each costs more."""
    first = [(start, 0.0), ((start + stop - length) / 2, 0.0), (stop - length, 0.0)]
    beyond = [
        (begin, share * length * 0.3)
        for share in _BEYOND
        for begin in (start - share * length, stop - length + share * length)
    ]
    return first + beyond


def arrange(
    faces: Sequence[Rect],
    sizes: Sequence[Sequence[tuple[float, float]]],
    canvas: Rect,
    *,
    gap: float,
    reach: Sequence[float],
) -> list[Place | None]:
    """Return a place for a plate of every face, or None where there is none.

    No place covers a face or another place, all lie in the canvas, each is nearer to its face than
    to another, and no line from a place to its face passes through another. Everyone gets a
    small plate before anyone gets a large one.

    Args:
        faces: what must stay free; a place is looked for around each.
        sizes: for each face widths and heights of plates, the best first; none: it has no plate.
        canvas: what every place lies in.
        gap: between a face and a plate beside it.
        reach: for each face how far off its plate may stand.
    """
    order = sorted(range(len(faces)), key=lambda i: -_area(faces[i]))
    for _ in range(_TRIES):
        search = _Search(faces, canvas, gap, reach)
        failed = next((i for i in order if sizes[i] and not search.improve(i, sizes[i], 0)), None)
        if failed is None:
            return search.placed
        order.remove(failed)
        order.insert(0, failed)  # who has the least room chooses first
    levels = list(reversed(range(max(map(len, sizes), default=0))))
    searches = []
    # The smallest but one first leaves more of these, and perhaps someone without any.
    for turns in ([*levels[1:2], *levels], levels):
        search = _Search(faces, canvas, gap, reach)
        searches.append(search)
        for level in turns:
            for i in order:
                if level < len(sizes[i]):
                    search.improve(i, sizes[i], level)
        if all(search.placed):
            break
    return min(searches, key=lambda search: search.placed.count(None)).placed


def _area(rect: Rect) -> float:
    return (rect.right - rect.left) * (rect.bottom - rect.top)


class _Search:
    """Places that are taken so far."""

    def __init__(
        self, faces: Sequence[Rect], canvas: Rect, gap: float, reach: Sequence[float]
    ) -> None:
        self.faces = np.array(faces, float).reshape(-1, 4)
        self.canvas, self.gap, self.reach = canvas, gap, reach
        self.placed: list[Place | None] = [None] * len(faces)
        self.plates = np.full((len(faces), 4), _NOWHERE)  # of no area, until there is one
        self.leaders = np.full((len(faces), 4), np.nan)

    def improve(self, i: int, sizes: Sequence[tuple[float, float]], level: int) -> bool:
        """Give face i a plate of this level instead of the one it has; return whether it could."""
        face, before = Rect(*self.faces[i]), self.placed[i]
        if before and before.level <= level:
            return True
        options = places(face, sizes[level], self.canvas, self.gap, self.reach[i])
        if before and not before.leader:  # what stands beside the face is not sent away
            options = options[_apart(options, self.faces[i]) <= _BESIDE * self.gap + 1]
        if not len(options):
            return False
        reached = np.array([*options[:, :2].min(0), *options[:, 2:].max(0)])
        reached += np.array([-1, -1, 1, 1]) * max(1.0, self.gap)
        own = np.arange(len(self.faces)) == i
        faces = self.faces[overlapping(self.faces, reached[None]) & ~own]
        plates = self.plates[overlapping(self.plates, reached[None]) & ~own]
        taken = np.concatenate([faces, self.faces[i][None], plates])
        taken[len(faces) + 1 :] += np.array([-1, -1, 1, 1]) * self.gap / 2
        options = options[~overlapping(options, taken)]
        away = _apart(options, self.faces[i])
        nearest = [_apart(options, rect) for rect in faces]
        near = away <= np.min(nearest, axis=0, initial=np.inf) + 1
        lines = self.leaders[~own & ~np.isnan(self.leaders[:, 0])]
        for row, off in zip(options[near], away[near]):
            if any(_crossing((x, y), (u, v), row[None])[0] for x, y, u, v in lines):
                continue
            rect, leader = Rect(*map(float, row)), None
            if off > _BESIDE * self.gap + 1:
                leader = nearest_points(rect, face)
                if crossed(*leader, np.concatenate([faces, plates])):
                    continue
            self.plates[i] = row
            self.leaders[i] = np.nan if leader is None else np.ravel(leader)
            self.placed[i] = Place(level, rect, leader)
            return True
        return False


def _apart(rects: Rects, other: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return how far each of N rectangles is from another, (N,)."""
    gaps = np.maximum(rects[:, :2] - other[2:], other[:2] - rects[:, 2:])
    return np.asarray(np.hypot(*np.maximum(gaps, 0).T))
