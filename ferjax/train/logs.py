"""What a run leaves to look at: log.csv, TensorBoard events, learning curves as a PNG.

All of them are written from the history that the checkpoint holds, so a resumed run has one
seamless log.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ferjax.files import replacing
from ferjax.pictures.figures import percent_ticks

CSV, CURVES, EVENTS = "log.csv", "curves.png", "tensorboard"
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


class Events:
    """TensorBoard's scalars; nothing where tensorboardX is not installed."""

    def __init__(self, folder: Path, first_step: int) -> None:
        """Append to a folder; what it has from `first_step` on was undone and is hidden."""
        self._writer: Any = None
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            warnings.warn(
                "no TensorBoard log: it needs tensorboardX (pip install 'ferjax[train]')",
                stacklevel=3,
            )
            return
        self._writer = SummaryWriter(str(folder), purge_step=first_step)

    def write(self, row: Row) -> None:
        if self._writer is not None:
            for name in ("loss", "accuracy"):
                self._writer.add_scalar(f"train/{name}", row[name], row["step"])
                self._writer.add_scalar(f"validation/{name}", row[f"val_{name}"], row["step"])
            for name in ("learning_rate", "images_per_second"):
                self._writer.add_scalar(name, row[name], row["step"])
            self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def draw_curves(path: Path, history: Sequence[Row], *, title: str, best_epoch: int) -> bool:
    """Draw loss, accuracy and learning rate by epoch; False where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        return False
    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    loss, accuracy, rate = figure.subplots(1, 3)
    # Blue and orange of a palette that colour-blind readers tell apart (Okabe and Ito, 2008).
    train = {"color": "#0072B2", "label": "training (augmented)", "linestyle": "--"}
    validation = {"color": "#D55E00", "label": "validation"}
    for axes, name, label in ((loss, "loss", "loss (nats)"), (accuracy, "accuracy", "accuracy")):
        axes.plot(epochs, [row[name] for row in history], **train)
        axes.plot(epochs, [row[f"val_{name}"] for row in history], **validation)
        axes.set_ylabel(label)
        best = next((row for row in history if row["epoch"] == best_epoch), None)
        if best is not None:
            value = best[f"val_{name}"]
            text = f"{value:.1%}" if name == "accuracy" else f"{value:.3f}"
            axes.plot(
                [best_epoch], [value], "o", color="#000000", markersize=4, label=f"best: {text}"
            )
        axes.legend(frameon=False, fontsize="small")
    percent_ticks(accuracy.yaxis)
    rate.plot(epochs, [row["learning_rate"] for row in history], color="#009E73")
    rate.set_ylabel("learning rate")
    rate.set_ylim(bottom=0)
    for axes in (loss, accuracy, rate):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize="medium")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    return True
