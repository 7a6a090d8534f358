"""Votes and the protocol of FER+'s authors, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ferjax.data.votes import Votes, distribution, majority, paper_protocol

NAMES = ("neutral", "happy", "sad", "fear", "contempt", "unknown", "not a face")
CLASSES = ("fear", "happy", "neutral", "sad")


def votes(*rows: list[float]) -> Votes:
    return Votes(counts=np.array(rows, np.float32), names=NAMES)


@pytest.mark.parametrize(
    ("row", "target", "reason"),
    [
        ([6, 2, 2, 0, 0, 0, 0], "neutral", ""),
        ([5, 5, 0, 0, 0, 0, 0], None, "no majority"),
        ([5, 2, 1, 1, 1, 0, 0], "neutral", ""),  # five of seven, without single votes
        ([5, 2, 2, 0, 0, 1, 0], "neutral", ""),  # five of nine
        ([5, 2, 3, 0, 0, 0, 0], None, "no majority"),
        ([1, 0, 0, 0, 0, 9, 0], None, "unknown"),
        ([0, 0, 0, 0, 0, 0, 10], None, "not a face"),
        ([5, 0, 0, 0, 0, 5, 0], None, "no majority"),  # "unknown" counts among all
        ([0, 0, 0, 0, 8, 2, 0], None, "contempt"),
        ([0, 0, 0, 0, 0, 0, 0], None, "no votes"),
        ([0, 0, 1, 0, 0, 0, 0], "sad", ""),  # the only vote is no outlier
    ],
)
def test_the_papers_majority(row: list[float], target: str | None, reason: str) -> None:
    made = paper_protocol(votes(row), CLASSES)
    assert made.reasons.tolist() == [reason]
    expected = [float(name == target) for name in CLASSES]
    assert made.shares.tolist() == [expected]
    assert majority(votes(row), CLASSES)[0] == (CLASSES.index(target) if target else -1)


@pytest.mark.parametrize(
    ("row", "shares", "reason"),
    [
        # 6 of 10 are not yet three quarters, 9 are: fear's single vote was left out before.
        ([6, 3, 0, 1, 0, 0, 0], {"neutral": 6 / 9, "happy": 3 / 9}, ""),
        ([8, 2, 0, 0, 0, 0, 0], {"neutral": 1.0}, ""),  # 8 of 10 are enough
        ([4, 2, 2, 2, 0, 0, 0], {}, "no majority"),  # equal numbers make them four
        ([3, 3, 2, 0, 2, 0, 0], {}, "no majority"),
        ([5, 5, 0, 0, 0, 0, 0], {"neutral": 0.5, "happy": 0.5}, ""),
        ([0, 6, 0, 0, 0, 4, 0], {"happy": 1.0}, ""),  # "unknown" ends it, and is not taken
        ([0, 5, 0, 0, 0, 5, 0], {}, "no majority"),  # no more than half are for happy
        ([0, 2, 0, 0, 0, 8, 0], {}, "unknown"),
        ([0, 0, 0, 0, 6, 4, 0], {}, "contempt"),
        ([0, 4, 0, 0, 6, 0, 0], {}, "contempt"),  # most of all, and not among the classes
        ([0, 6, 0, 0, 4, 0, 0], {"happy": 1.0}, ""),
    ],
)
def test_the_papers_probabilities(row: list[float], shares: dict[str, float], reason: str) -> None:
    made = paper_protocol(votes(row), CLASSES, mode="probability")
    assert made.reasons.tolist() == [reason]
    expected = [shares.get(name, 0.0) for name in CLASSES]
    np.testing.assert_allclose(made.shares[0], expected, rtol=1e-6)


def test_rows_do_not_depend_on_one_another() -> None:
    rng = np.random.default_rng(0)
    rows = rng.multinomial(10, [0.3, 0.25, 0.2, 0.1, 0.05, 0.05, 0.05], 50).astype(float)
    for mode in ("majority", "probability"):
        together = paper_protocol(votes(*rows.tolist()), CLASSES, mode=mode)
        for at, row in enumerate(rows.tolist()):
            alone = paper_protocol(votes(row), CLASSES, mode=mode)
            np.testing.assert_array_equal(alone.shares[0], together.shares[at])
            assert alone.reasons[0] == together.reasons[at]
        sums = together.shares.sum(1)
        assert ((sums == 0) == (together.reasons != "")).all()
        np.testing.assert_allclose(sums[sums > 0], 1, rtol=1e-6)


def test_unknown_modes_are_named() -> None:
    with pytest.raises(ValueError, match="expected majority or probability for `mode`, got 'most'"):
        paper_protocol(votes([1] * 7), CLASSES, mode="most")


def test_distributions_leave_out_what_is_no_class() -> None:
    shares = distribution(votes([4, 2, 0, 1, 0, 3, 0]), CLASSES)
    np.testing.assert_allclose(shares, [[0, 2 / 6, 4 / 6, 0]], rtol=1e-6)
    shares = distribution(votes([4, 2, 0, 1, 0, 3, 0]), CLASSES, outliers=0)
    np.testing.assert_allclose(shares, [[1 / 7, 2 / 7, 4 / 7, 0]], rtol=1e-6)
    assert not distribution(votes([0, 0, 0, 0, 0, 10, 0]), CLASSES).any()


@pytest.mark.parametrize(
    ("counts", "names", "message"),
    [
        (np.zeros((2, 2)), ("a", "b"), r"expected float32 \(N, 2\) for `counts`, got float64"),
        (np.zeros((2, 3), np.float32), ("a", "b"), r"expected float32 \(N, 2\)"),
        (np.full((2, 2), -1, np.float32), ("a", "b"), "expected finite `counts` of at least 0"),
        (np.full((2, 2), np.nan, np.float32), ("a", "b"), "expected finite `counts`"),
        (np.zeros((2, 2), np.float32), ("a", "a"), "expected different `names`, got a, a"),
    ],
)
def test_what_are_no_votes(counts: np.ndarray, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Votes(counts=counts, names=names)
