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


@pytest.mark.parametrize(
    ("lowest", "highest", "expected"), [(0.673, 0.693, "68.50%"), (0.1, 0.7, "40%")]
)
def test_no_two_ticks_of_accuracy_are_named_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lowest: float, highest: float, expected: str
) -> None:
    figure = pytest.importorskip("matplotlib.figure")
    drawn: list[Any] = []
    save = figure.Figure.savefig

    def saved(self: Any, *args: Any, **kwargs: Any) -> None:
        drawn.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(figure.Figure, "savefig", saved)
    history = [row(1, lowest), row(2, highest)]
    assert logs.draw_curves(tmp_path / "curves.png", history, title="a", best_epoch=2)
    _, accuracy, _ = drawn[0].axes
    names = [tick.get_text() for tick in accuracy.get_yticklabels()]
    assert expected in names
    assert len(set(names)) == len(names)
