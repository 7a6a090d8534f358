"""Learning curves: what their axes say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ferjax.train import logs


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
    history = [
        {
            "epoch": epoch,
            "loss": 1.0,
            "val_loss": 1.0,
            "accuracy": lowest,
            "val_accuracy": accuracy,
            "learning_rate": 1e-3,
        }
        for epoch, accuracy in ((1, lowest), (2, highest))
    ]
    assert logs.draw_curves(tmp_path / "curves.png", history, title="a", best_epoch=2)
    _, accuracy, _ = drawn[0].axes
    names = [tick.get_text() for tick in accuracy.get_yticklabels()]
    assert expected in names
    assert len(set(names)) == len(names)
