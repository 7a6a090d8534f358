"""Figures of confusion matrices by hand, and intervals where they are known."""

from __future__ import annotations

import numpy as np
import pytest

from ferjax.evaluate.intervals import (
    accuracy,
    balanced_accuracy,
    bootstrap,
    bootstrap_ratio,
    macro_f1,
    wilson,
)

# Of the first class 3 of 4 are found, of the second 1 of 1, of the third there are none.
BY_HAND = np.array([[3, 1, 0], [0, 1, 0], [0, 0, 0]])
RIGHT = np.diag([2, 1, 0])


def test_figures_by_hand() -> None:
    assert accuracy(BY_HAND) == 4 / 5
    assert balanced_accuracy(BY_HAND) == pytest.approx((3 / 4 + 1) / 2)
    assert macro_f1(BY_HAND) == pytest.approx((6 / 7 + 2 / 3) / 2)


@pytest.mark.parametrize("figure", [accuracy, balanced_accuracy, macro_f1])
def test_several_matrices_have_a_figure_each(figure: object) -> None:
    both = np.stack([BY_HAND, RIGHT])
    assert callable(figure)
    np.testing.assert_array_equal(figure(both), [figure(BY_HAND), 1.0])


def test_what_every_draw_has_in_common_has_an_interval_of_no_width() -> None:
    ends = bootstrap(RIGHT, (accuracy, macro_f1), np.random.default_rng(0), draws=50)
    assert ends == [(1.0, 1.0), (1.0, 1.0)]
    assert bootstrap_ratio(np.array([2.0, 4.0]), np.array([1.0, 2.0]), seed=0) == (2.0, 2.0)


def test_the_interval_of_an_accuracy_is_about_wilsons() -> None:
    confusion = np.array([[700, 300], [200, 800]])
    (ends,) = bootstrap(confusion, (accuracy,), np.random.default_rng(0))
    assert ends == pytest.approx(wilson(1500, 2000), abs=0.002)


def test_images_of_no_weight_do_not_count() -> None:
    values, weights = np.array([1.0, 0.0, 0.0, 0.0]), np.array([1.0, 1.0, 0.0, 0.0])
    low, high = bootstrap_ratio(values, weights, seed=0)
    assert (low, high) == (0.0, 1.0)
