"""Learning curves: what their axes say."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from ferjax.train import logs


def row(epoch: int, accuracy: float) -> dict[str, Any]:
    names = ("loss", "val_loss", "accuracy", "val_accuracy", "learning_rate")
    return {"epoch": epoch, **dict.fromkeys(names, accuracy)}


@pytest.mark.parametrize("title", ["$x_$", "a\x00b", "\ud800", "a\nb", "很" * 300])
def test_a_title_may_be_any_text(tmp_path: Path, title: str) -> None:
    """A recipe's and a network's names are anybody's."""
    pytest.importorskip("matplotlib")
    with warnings.catch_warnings(action="ignore"):  # letters that the font lacks
        assert logs.draw_curves(tmp_path / "a.png", [row(1, 0.5)], title=title, best_epoch=1)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are saved."""
    figure = pytest.importorskip("matplotlib.figure")
    figures: list[Any] = []
    save = figure.Figure.savefig

    def saved(self: Any, *args: Any, **kwargs: Any) -> None:
        figures.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(figure.Figure, "savefig", saved)
    return figures


def test_a_single_epoch_is_drawn_as_points(tmp_path: Path, drawn: list[Any]) -> None:
    assert logs.draw_curves(tmp_path / "curves.png", [row(1, 0.5)], title="a", best_epoch=1)
    for axes in drawn[0].axes:
        assert axes.get_xticks().tolist() == [1]
        assert all(line.get_marker() == "o" for line in axes.get_lines())
    history = [row(1, 0.5), row(2, 0.6)]
    assert logs.draw_curves(tmp_path / "curves.png", history, title="a", best_epoch=1)
    assert [line.get_marker() for line in drawn[1].axes[0].get_lines()] == ["None", "None", "o"]


@pytest.mark.parametrize(
    ("lowest", "highest", "expected"), [(0.673, 0.693, "68.50%"), (0.1, 0.7, "40%")]
)
def test_no_two_ticks_of_accuracy_are_named_alike(
    tmp_path: Path, drawn: list[Any], lowest: float, highest: float, expected: str
) -> None:
    history = [row(1, lowest), row(2, highest)]
    assert logs.draw_curves(tmp_path / "curves.png", history, title="a", best_epoch=2)
    _, accuracy, _ = drawn[0].axes
    names = [tick.get_text() for tick in accuracy.get_yticklabels()]
    assert expected in names
    assert len(set(names)) == len(names)
