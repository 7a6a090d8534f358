"""Where plates stand: free of faces and of one another, inside, near, and everyone gets one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from ferjax.faces.placing import Place, Rect, arrange, crossed, distance, nearest_points

CANVAS = Rect(0, 0, 640, 480)


def share_area(a: Rect, b: Rect) -> bool:
    across = min(a.right, b.right) - max(a.left, b.left)
    down = min(a.bottom, b.bottom) - max(a.top, b.top)
    return across > 0 and down > 0


def grid(count: int, side: int, seed: int) -> list[Rect]:
    """Return squares that do not overlap, each somewhere in its cell, some over an edge."""
    rng = np.random.default_rng(seed)
    columns = math.ceil(math.sqrt(count * 640 / 480))
    rows = math.ceil(count / columns)
    width, height = 640 / columns, 480 / rows
    faces = []
    for i in range(count):
        x = (i % columns) * width + rng.uniform(0, width - side)
        y = (i // columns) * height + rng.uniform(0, height - side)
        faces.append(Rect(math.floor(x), math.floor(y), math.floor(x) + side, math.floor(y) + side))
    return faces


def places(faces: list[Rect], *sizes: tuple[int, int], reach: float = 200) -> list[Place | None]:
    every = [list(sizes)] * len(faces)
    return arrange(faces, every, CANVAS, gap=3, reach=[reach] * len(faces))


@pytest.mark.parametrize(("count", "side"), [(1, 200), (6, 110), (20, 60), (40, 44), (120, 28)])
def test_plates_cover_no_face_and_no_other_plate_and_lie_inside(count: int, side: int) -> None:
    faces = grid(count, side, seed=count)
    placed = places(faces, (96, 110), (80, 18), (20, 18))
    rects = [place.rect for place in placed if place]
    assert len(rects) >= 0.9 * count
    for rect in rects:
        assert CANVAS.left <= rect.left < rect.right <= CANVAS.right
        assert CANVAS.top <= rect.top < rect.bottom <= CANVAS.bottom
        assert not any(share_area(rect, face) for face in faces)
    assert not any(share_area(a, b) for a, b in itertools.combinations(rects, 2))


@pytest.mark.parametrize(("count", "side"), [(6, 110), (40, 44), (120, 28)])
def test_a_plate_is_nearest_to_its_own_face(count: int, side: int) -> None:
    faces = grid(count, side, seed=count)
    for i, place in enumerate(places(faces, (96, 110), (80, 18), (20, 18))):
        if place:
            others = [distance(place.rect, face) for k, face in enumerate(faces) if k != i]
            assert distance(place.rect, faces[i]) <= min(others) + 1


def test_a_line_leads_from_a_plate_further_off_and_crosses_no_face_and_no_plate() -> None:
    faces = grid(40, 44, seed=5)
    placed = places(faces, (80, 18), (20, 18))
    lines = [(i, place.leader) for i, place in enumerate(placed) if place and place.leader]
    assert lines
    for i, (start, end) in lines:
        others = [face for k, face in enumerate(faces) if k != i]
        others += [place.rect for k, place in enumerate(placed) if place and k != i]
        for share in np.linspace(0.01, 0.99, 99):
            x, y = (a + share * (b - a) for a, b in zip(start, end))
            assert not any(o.left < x < o.right and o.top < y < o.bottom for o in others)
    for place in placed:
        if place and not place.leader:
            assert min(distance(place.rect, face) for face in faces) <= 5.5


def test_a_plate_stands_beside_a_face_in_the_middle() -> None:
    (place,) = places([Rect(100, 100, 200, 200)], (90, 120))
    assert place == Place(0, Rect(203, 100, 293, 220), None)


def test_a_label_stands_below_a_face() -> None:
    (place,) = places([Rect(100, 100, 200, 200)], (90, 20))
    assert place == Place(0, Rect(100, 203, 190, 223), None)


def test_at_the_right_edge_it_stands_on_the_left() -> None:
    (place,) = places([Rect(540, 100, 640, 200)], (90, 120))
    assert place == Place(0, Rect(447, 100, 537, 220), None)


def test_in_a_corner_it_is_moved_into_the_picture() -> None:
    (place,) = places([Rect(0, 400, 80, 480)], (90, 120))
    assert place == Place(0, Rect(83, 360, 173, 480), None)


def test_beside_a_face_that_fills_the_picture_is_no_place() -> None:
    assert places([CANVAS], (90, 120), (20, 18)) == [None]


def test_everyone_gets_a_small_plate_before_anyone_gets_a_large_one() -> None:
    canvas = Rect(0, 0, 200, 60)  # 100 pixels are free between two faces, none elsewhere
    faces = [Rect(0, 0, 50, 60), Rect(150, 0, 200, 60)]
    sizes = [[(90, 50), (40, 50)]] * 2
    placed = arrange(faces, sizes, canvas, gap=2, reach=[100, 100])
    assert [place and place.level for place in placed] == [1, 1]


def test_who_has_the_least_room_chooses_first() -> None:
    canvas = Rect(0, 0, 260, 100)
    # The large face's plate goes to its right first, where alone that of the small one can be.
    faces = [Rect(70, 0, 170, 100), Rect(240, 0, 260, 100)]
    placed = arrange(faces, [[(60, 90)]] * 2, canvas, gap=2, reach=[100, 100])
    assert [place and place.rect.left for place in placed] == [8, 178]


def test_nearest_points_and_crossing() -> None:
    corner, square = Rect(0, 0, 10, 10), Rect(13, 14, 20, 20)
    assert nearest_points(corner, square) == ((10, 10), (13, 14))
    assert distance(corner, square) == 5
    assert distance(corner, Rect(5, 5, 20, 20)) == 0
    box = np.array([[4.0, 4.0, 6.0, 6.0]])
    assert crossed((0, 5), (10, 5), box)
    assert crossed((5, 5), (5, 6), box)  # begins inside
    assert not crossed((0, 5), (3, 5), box)  # ends before
    assert not crossed((0, 3), (10, 3), box)  # passes by
    assert not crossed((0, 0), (1, 1), np.zeros((0, 4)))
