"""How closely a picture is looked at, where it is cut, and what is merged."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ferjax.faces.own_look import Pose, wrapped
from ferjax.faces.yunet import confirmed, merged, scales, tiles


def pose(x: float, y: float, side: float, score: float) -> Pose:
    return Pose(x, y, side, side, score, np.zeros((5, 2)))


def test_an_ordinary_picture_is_looked_at_once() -> None:
    assert scales((480, 640), None) == [1]
    assert scales((600, 800), None) == [1]  # not worth two
    assert scales((32, 64), None) == [5]
    assert scales((1200, 1600), None) == pytest.approx([0.4, 1])
    assert scales((3000, 4000), None) == pytest.approx([0.16, 0.4])
    assert scales((3000, 4000), 48) == pytest.approx([0.16, 0.4, 1])
    assert scales((3000, 4000), 300) == pytest.approx([0.16])
    assert max(scales((3000, 4000), 0.001)) == 3


def test_a_panorama_is_not_shrunk_to_a_line() -> None:
    first, *_ = scales((600, 30_000), None)
    assert first == pytest.approx((640 * 480 / (600 * 30_000)) ** 0.5)


@pytest.mark.parametrize("length", [1601, 2000, 2719, 2720, 5000, 30_000])
def test_tiles_overlap_by_more_than_the_largest_face_that_they_are_for(length: int) -> None:
    parts = tiles(length, 1.0, 120)
    assert parts[0][0] == 0
    assert parts[-1][1] == length
    for start, end, low, high in parts:
        assert end - start == 1600
        # Half a face of 240 pixels about a centre in the core is in the tile.
        assert start == 0 or low - start >= 119
        assert end == length or end - high >= 119
    for (*_, high), (_, _, low, _) in itertools.pairwise(parts):
        assert high == low  # each centre is in one core


def test_the_same_face_is_kept_once() -> None:
    sure, shifted, part = pose(50, 50, 40, 0.9), pose(55, 50, 40, 0.8), pose(62, 50, 14, 0.7)
    other = pose(95, 50, 40, 0.6)
    assert merged([other, part, shifted, sure]) == [sure, other]
    assert merged([]) == []


@pytest.mark.parametrize("x", [-3e7, -41.0, 141.0])
def test_a_face_outside_the_picture_is_none(x: float) -> None:
    image = np.full((60, 100, 3), 90, np.uint8)
    assert confirmed(image, [pose(x, 30, 40, 1.0), pose(50, x, 40, 1.0)], 0.0) == []


def test_angles() -> None:
    assert [wrapped(angle) for angle in (0, 180, -180, 190, -190, 540)] == [
        0,
        180,
        180,
        -170,
        170,
        180,
    ]
