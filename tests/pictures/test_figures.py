"""What all pictures share: names of ticks, short names, a word where the font lacks letters."""

from __future__ import annotations

import warnings

import pytest

from ferjax.pictures.figures import missing_letters_told, percent_ticks, shortened

figures = pytest.importorskip("matplotlib.figure", reason="needs matplotlib")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, {"0%", "100%"}),
        (0.976, 0.994, {"97.50%", "98.75%"}),
        (0.6, 0.8, {"62.5%", "65.0%"}),
        (0.6971, 0.6974, {"69.710%", "69.735%"}),
    ],
)
def test_no_two_ticks_are_named_alike(low: float, high: float, expected: set[str]) -> None:
    axes = figures.Figure().subplots()
    percent_ticks(axes.yaxis)
    axes.set_ylim(low, high)  # after it: the names follow
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert expected <= set(names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("most", [12, 13, 18])
def test_long_names_stay_apart(most: int) -> None:
    first, second = (shortened(f"participants who are {age}", most) for age in ("young", "old"))
    assert first != second
    assert len(first) == len(second) == most
    assert shortened("x" * most, most) == "x" * most


def test_missing_letters_are_told_once_and_other_warnings_stay() -> None:
    figure = figures.Figure()
    figure.text(0, 0, "表情 a")
    figure.text(0, 0, "表 b")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with missing_letters_told():
            figure.draw_without_rendering()
            warnings.warn("another", stacklevel=1)
    another, boxes = (str(warning.message) for warning in caught)
    assert another == "another"
    assert boxes == ("boxes stand in the picture for letters that matplotlib's font lacks: 表, 情")
