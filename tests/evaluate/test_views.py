"""Views of a face: which, how many, and where the crops lie."""

from __future__ import annotations

import numpy as np
import pytest

from ferjax.errors import DataError
from ferjax.evaluate.views import VIEWS, views

RAMP = np.arange(2 * 12 * 12, dtype=np.uint16).reshape(2, 12, 12).astype(np.uint8)


@pytest.mark.parametrize("kind", VIEWS)
def test_the_number_of_views(kind: str) -> None:
    found = list(views(RAMP, kind))
    assert len(found) == VIEWS[kind]
    assert all(view.shape == RAMP.shape and view.dtype == np.uint8 for view in found)


def test_none_and_flip() -> None:
    (only,) = views(RAMP, "none")
    assert np.array_equal(only, RAMP)
    first, mirror = views(RAMP, "flip")
    assert np.array_equal(first, RAMP)
    assert np.array_equal(mirror, RAMP[:, :, ::-1])


def test_ten_crops_are_four_corners_and_the_centre_with_their_mirror_images() -> None:
    image = np.zeros((1, 12, 12), np.uint8)
    # A 4x4 block in each corner and the centre; crops of 4 pixels show one of them alone.
    blocks = [(0, 0), (0, 8), (8, 0), (8, 8), (4, 4)]
    for level, (y, x) in enumerate(blocks, start=1):
        image[0, y : y + 4, x : x + 4] = 40 * level
    found = list(views(image, "ten-crop", crop=4 / 12))
    assert [np.unique(view).tolist() for view in found] == [
        [40 * level] for level in range(1, 6) for _ in range(2)
    ]


def test_a_crop_as_large_as_the_image_is_the_image() -> None:
    found = list(views(RAMP, "ten-crop", crop=1.0))
    assert all(np.array_equal(view, RAMP) for view in found[::2])
    assert all(np.array_equal(view, RAMP[:, :, ::-1]) for view in found[1::2])


def test_no_images() -> None:
    assert [len(view) for view in views(RAMP[:0], "ten-crop")] == [0] * 10


def test_an_unknown_kind() -> None:
    with pytest.raises(DataError, match="none, flip, ten-crop, got 'ten_crop'; did you mean 'ten-"):
        next(views(RAMP, "ten_crop"))
