"""Smoothing: values by hand, any rate of frames, what it gains, and options that are refused."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from ferjax.errors import FerjaxError
from ferjax.video.smoothing import Smoother, rates_of

UP, DOWN = np.array([0.9, 0.1], np.float32), np.array([0.2, 0.8], np.float32)


def test_off_gives_the_rows_as_they_are() -> None:
    smoother = Smoother(2, smooth=0)
    assert smoother.smoothed(1, 0.0, UP) is UP
    assert smoother.smoothed(1, 0.1, DOWN) is DOWN


def test_exponential_by_hand() -> None:
    smoother = Smoother(2, smooth=0.5)
    assert smoother.smoothed(1, 0.0, UP) == pytest.approx(UP)
    kept = math.exp(-0.25 / 0.5)
    row = smoother.smoothed(1, 0.25, DOWN)
    assert row == pytest.approx(kept * UP + (1 - kept) * DOWN)
    assert row.dtype == np.float32
    assert smoother.smoothed(2, 0.25, DOWN) == pytest.approx(DOWN)  # another track


def test_the_rate_of_frames_does_not_count() -> None:
    rows = []
    for rate in (5, 30, 120):
        smoother = Smoother(2, smooth=0.5)
        smoother.smoothed(1, 0.0, UP)
        for i in range(1, rate + 1):
            row = smoother.smoothed(1, i / rate, DOWN)
        rows.append(row)
    for row in rows[1:]:
        assert row == pytest.approx(rows[0], abs=1e-6)


def test_a_hidden_markov_model_by_hand() -> None:
    smoother = Smoother(2, smooth=2.0, method="hmm")
    first = smoother.smoothed(1, 0.0, UP)
    assert first == pytest.approx(UP)  # before the first, both are as likely
    # Of two classes that change at a rate of r a second, (1 + exp(-2 r t)) / 2 have not changed.
    stay = (1 + math.exp(-2 * 0.5 * 1.0)) / 2
    expected = np.array([0.9 * stay + 0.1 * (1 - stay), 0.9 * (1 - stay) + 0.1 * stay])
    chances = expected * DOWN
    assert smoother.smoothed(1, 1.0, DOWN) == pytest.approx(chances / chances.sum())


def test_a_transition_may_forbid_a_change() -> None:
    never_back = [[0, 1.0], [0, 0]]
    smoother = Smoother(2, method="hmm", transition=never_back)
    for i in range(5):
        smoother.smoothed(1, 0.1 * i, np.array([0.0, 1.0], np.float32))
    row = smoother.smoothed(1, 1.0, UP)
    assert row[1] > 0.9
    assert rates_of(never_back, 2, 1.0).tolist() == [[-1, 1], [0, 0]]


def test_how_common_a_class_is_counts_once() -> None:
    smoother = Smoother(2, method="hmm", shares=[0.9, 0.1])
    shares = np.array([0.9, 0.1], np.float32)  # a frame that says nothing new
    for i in range(20):
        row = smoother.smoothed(1, 10.0 * i, shares)
    assert row == pytest.approx([0.5, 0.5], abs=1e-3)


@pytest.mark.parametrize("method", ["exponential", "hmm"])
def test_smoothed_labels_are_right_more_often(method: str) -> None:
    rng = np.random.default_rng(0)
    true = np.repeat(rng.integers(0, 7, 20), 45)  # 1.5 s each at 30 frames/s
    shown = np.where(rng.random(len(true)) < 0.85, true, rng.integers(0, 7, len(true)))
    rows = np.full((len(true), 7), 0.05, np.float32)
    rows[np.arange(len(true)), shown] = 0.7
    smoother = Smoother(7, method=method, smooth=0.3 if method == "exponential" else 2.0)
    smooth = [smoother.smoothed(1, i / 30, row).argmax() for i, row in enumerate(rows)]
    raw = (rows.argmax(1) == true).mean()
    assert raw == pytest.approx(0.87, abs=0.03)
    assert (np.array(smooth) == true).mean() > raw + 0.02


@pytest.mark.parametrize("method", ["exponential", "hmm"])
def test_it_goes_on_from_its_state(method: str) -> None:
    whole, first, second = (Smoother(2, method=method) for _ in range(3))
    rows = [UP, DOWN, DOWN, UP]
    expected = [whole.smoothed(1, 0.1 * i, row).tolist() for i, row in enumerate(rows)]
    done = [first.smoothed(1, 0.1 * i, row).tolist() for i, row in enumerate(rows[:2])]
    second.restore(json.loads(json.dumps(first.state())))
    done += [second.smoothed(1, 0.1 * i, row).tolist() for i, row in enumerate(rows) if i > 1]
    assert done == expected


def test_a_track_that_is_over_is_forgotten() -> None:
    smoother = Smoother(2)
    smoother.smoothed(1, 0.0, UP)
    smoother.smoothed(2, 0.0, UP)
    smoother.keep({2})
    assert [track for track, *_ in smoother.state()] == [2]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"smooth": -1}, ValueError, "expected seconds from 0 on for `smooth`, got -1"),
        ({"smooth": math.nan}, ValueError, "for `smooth`, got nan"),
        ({"method": "mean"}, ValueError, "expected exponential or hmm for `smoothing`, got 'mean'"),
        ({"transition": [[0, 1], [1, 0]]}, FerjaxError, "is for smoothing='hmm'"),
        ({"method": "hmm", "transition": [1, 2]}, FerjaxError, r"expected rates \(2, 2\)"),
        ({"method": "hmm", "transition": "x"}, FerjaxError, r"expected rates \(2, 2\)"),
        ({"method": "hmm", "transition": [[0, -1], [1, 0]]}, FerjaxError, "from 0 on"),
        ({"method": "hmm", "transition": [[0, math.inf], [1, 0]]}, FerjaxError, "finite rates"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Smoother(2, **options)


@pytest.mark.parametrize("options", [{"smooth": 1e-300}, {"transition": [[0, 1e300], [1e-300, 0]]}])
def test_rates_beyond_all_frames_give_numbers(options: dict[str, Any]) -> None:
    smoother = Smoother(2, method="hmm", **options)
    smoother.smoothed(1, 0.0, UP)
    row = smoother.smoothed(1, 0.04, DOWN)
    assert np.isfinite(row).all()
    assert row.sum() == pytest.approx(1)
