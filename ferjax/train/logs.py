"""What a run leaves to look at: log.csv, TensorBoard events, learning curves as a PNG.

All of them are written from the history that the checkpoint holds, so a resumed run has one
seamless log.
"""

from __future__ import annotations

import csv
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ferjax.errors import printable
from ferjax.files import replacing
from ferjax.pictures import palette
from ferjax.pictures.figures import new_figure, percent_ticks, tidy
from ferjax.pictures.figures import title as write_title
from ferjax.pictures.palette import INK, in_hex

CSV, CURVES, EVENTS = "log.csv", "curves.png", "tensorboard"
_DRAW_EVERY = 30.0  # seconds between pictures of the learning curves
COLUMNS = (
    "epoch",  # complete, from 1
    "step",
    "learning_rate",  # of the epoch's last step
    "loss",  # mean of the training loss over the epoch, in nats, penalties included
    "accuracy",  # on the images as they were trained on: augmented, with dropout
    "val_loss",  # mean cross-entropy over all validation images, in nats
    "val_accuracy",
    "images_per_second",  # of training, without validation
    "seconds",  # of the epoch, with validation
)

Row = dict[str, Any]


def write_csv(path: Path, history: Sequence[Row]) -> None:
    """Write a row an epoch."""
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(history)


class Logs:
    """Writes log.csv, the learning curves and, where tensorboardX is installed, its events."""

    def __init__(self, folder: Path, first_step: int, title: str) -> None:
        """Append to a run's folder; events from `first_step` on were undone, and are hidden."""
        self._folder, self._title = folder, title
        self._drawn = time.monotonic()
        self._events: Any = None
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            message = "no TensorBoard log: it needs tensorboardX (pip install 'ferjax[train]')"
            warnings.warn(message, stacklevel=3)
        else:
            self._events = SummaryWriter(str(folder / EVENTS), purge_step=first_step)

    def write(self, history: Sequence[Row], best_epoch: int) -> None:
        """Write what belongs to the last epoch."""
        if self._events is not None:
            row = history[-1]
            scalars = {name: row[name] for name in ("learning_rate", "images_per_second")}
            for name in ("loss", "accuracy"):
                scalars |= {f"train/{name}": row[name], f"validation/{name}": row[f"val_{name}"]}
            for name, value in scalars.items():
                self._events.add_scalar(name, value, row["step"])
            self._events.flush()
        write_csv(self._folder / CSV, history)
        # A picture takes longer than a short epoch.
        if time.monotonic() - self._drawn > _DRAW_EVERY:
            self._draw(history, best_epoch)

    def close(self, history: Sequence[Row], best_epoch: int) -> None:
        """Write the table and the curves of the whole run; `write` draws them now and then."""
        if self._events is not None:
            self._events.close()
        if history:
            write_csv(self._folder / CSV, history)
            if not self._draw(history, best_epoch):
                message = f"no {CURVES}: it needs matplotlib (pip install 'ferjax[train]')"
                warnings.warn(message, stacklevel=3)

    def _draw(self, history: Sequence[Row], best_epoch: int) -> bool:
        self._drawn = time.monotonic()
        path = self._folder / CURVES
        return draw_curves(path, history, title=self._title, best_epoch=best_epoch)


def draw_curves(path: Path, history: Sequence[Row], *, title: str, best_epoch: int) -> bool:
    """Draw loss, accuracy and learning rate by epoch; False where matplotlib is not installed."""
    try:
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        return False
    epochs = [row["epoch"] for row in history]
    figure = new_figure(11, 3.8)
    loss, accuracy, rate = figure.subplots(1, 3)
    blue, orange, green = map(in_hex, (palette.BLUE, palette.VERMILLION, palette.GREEN))
    dots: dict[str, Any] = {"marker": "o", "markersize": 8} if len(epochs) == 1 else {}  # no line
    train = {"color": blue, "label": "training (augmented)", "linestyle": "--", **dots}
    validation = {"color": orange, "label": "validation", **dots}
    for axes, name, label in ((loss, "loss", "loss (nats)"), (accuracy, "accuracy", "accuracy")):
        axes.plot(epochs, [row[name] for row in history], **train)
        axes.plot(epochs, [row[f"val_{name}"] for row in history], **validation)
        axes.set_ylabel(label)
        best = next((row for row in history if row["epoch"] == best_epoch), None)
        if best is not None:
            value = best[f"val_{name}"]
            text = f"{value:.1%}" if name == "accuracy" else f"{value:.3f}"
            axes.plot([best_epoch], [value], "o", color=INK, markersize=4, label=f"best: {text}")
        axes.legend(frameon=False, fontsize="small")
    percent_ticks(accuracy.yaxis)
    rate.plot(epochs, [row["learning_rate"] for row in history], color=green, **dots)
    rate.set_ylabel("learning rate")
    rate.set_ylim(bottom=0)
    for axes in (loss, accuracy, rate):
        axes.set_xlabel("epoch")
        if len(epochs) == 1:
            axes.set_xticks(epochs)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        tidy(axes)
    write_title(figure, printable(title))
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    return True
