"""Weights of rows in images of another size, by hand; layers are compared with Keras in parity."""

from __future__ import annotations

import numpy as np
import pytest

from ferjax.errors import LayerError
from ferjax.nets import Graph
from ferjax.nets.layers import CenterCrop, Resizing, UpSampling2D
from ferjax.nets.resampling import INTERPOLATIONS, fitting_window, resampling, surrounding


@pytest.mark.parametrize(
    ("interpolation", "size", "new", "expected"),
    [
        ("nearest", 4, 2, [[0, 1, 0, 0], [0, 0, 0, 1]]),
        ("bilinear", 4, 2, [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]),
        ("bilinear", 1, 3, [[1], [1], [1]]),
        ("area", 3, 2, [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]]),
        # Keys's cubic half way between rows: -1/16, 9/16, 9/16, -1/16; at the edge what is left.
        ("bicubic", 4, 2, [[9 / 17, 9 / 17, -1 / 17, 0], [0, -1 / 17, 9 / 17, 9 / 17]]),
    ],
)
def test_weights_by_hand(interpolation: str, size: int, new: int, expected: list[float]) -> None:
    np.testing.assert_allclose(resampling(size, new, interpolation), expected, atol=1e-7)


def test_antialiasing_takes_in_all_rows() -> None:
    # A triangle as wide as two new rows, over rows 1.5, 0.5, 0.5, 1.5 from the middle.
    weights = resampling(4, 1, "bilinear", True)
    np.testing.assert_allclose(weights, [[0.2083333, 0.2916667, 0.2916667, 0.2083333]], atol=1e-6)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_weights_of_a_row_add_up_to_one(interpolation: str) -> None:
    for size, new in ((7, 3), (3, 7), (5, 5)):
        sums = resampling(size, new, interpolation).sum(axis=1)
        np.testing.assert_allclose(sums, 1, atol=1e-6)


def test_window_and_border_of_the_new_shape() -> None:
    assert fitting_window(9, 5, (4, 6)) == (3, 0, 3, 5)
    assert surrounding(9, 5, (4, 6)) == (0, 4)


def test_output_shapes() -> None:
    assert Resizing(height=4, width=6).output_shape((None, None, 3)) == (4, 6, 3)
    assert CenterCrop(height=4, width=6).output_shape((9, 9, 1)) == (4, 6, 1)
    assert UpSampling2D(size=(2, 3)).output_shape((4, None, 1)) == (8, None, 1)


def test_settings_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(LayerError, match="expected crop_to_aspect_ratio or pad_to_aspect_ratio"):
        Resizing(height=4, width=4, crop_to_aspect_ratio=True, pad_to_aspect_ratio=True)
    with pytest.raises(LayerError, match="antialias: expected false with interpolation 'area'"):
        Resizing(height=4, width=4, interpolation="area", antialias=True)
    with pytest.raises(LayerError, match=r"interpolation: expected one of .*got 'cubic'"):
        UpSampling2D(interpolation="cubic")
    with pytest.raises(LayerError, match="expected inputs of 3 axes"):
        Graph.sequential([Resizing(height=4, width=4)], input_shape=(4, 4))
