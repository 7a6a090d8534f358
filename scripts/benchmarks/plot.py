"""The picture of stored results: how many times the best each row is, a panel a figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ferjax.pictures import palette
from ferjax.pictures.palette import INK, SOFT_INK, in_hex

from .figures import describe, number

_COLOURS = {
    "ferjax": palette.BLUE,
    "keras-tf": palette.ORANGE,
    "keras-jax": palette.GREEN,
    "torch-compile": palette.VERMILLION,
    "torch": palette.PURPLE,
    "onnxruntime": palette.SKY,
}
_COLUMNS = 2
_DPI = 150


def draw(results: Mapping[str, Any], path: Path) -> bool:
    """Draw the ratios of all figures, on a light background; return whether there are any."""
    import matplotlib.figure

    panels = [
        (case, metric) for case in results["cases"] for metric in case["metrics"] if metric["rows"]
    ]
    if not panels:
        return False
    most = max(len(metric["rows"]) for _, metric in panels)
    lines = -(-len(panels) // _COLUMNS)
    size = (12, 1.1 + lines * (1.0 + 0.32 * most))
    figure = matplotlib.figure.Figure(figsize=size, layout="constrained", facecolor="white")
    axes = list(figure.subplots(lines, _COLUMNS, squeeze=False).flat)
    for ax, (case, metric) in zip(axes, panels):
        _panel(ax, f"{case['name']}, {metric['title']}", metric)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    title = f"Times the best (1 is best, shorter is better)\n{describe(results['machine'])}, "
    title += f"{results['settings']['dtype']}, {results['date'][:10]}"
    figure.suptitle(title, color=INK, fontsize=12)
    figure.savefig(path, dpi=_DPI, format="png")
    return True


def _panel(ax: Any, title: str, metric: Mapping[str, Any]) -> None:
    rows = sorted(metric["rows"], key=lambda row: row["ratio"])
    names = [row["entry"] for row in rows]
    ratios = [row["ratio"] for row in rows]
    bars = ax.barh(names, ratios, color=[colour(name) for name in names], height=0.7)
    labels = [f"{row['ratio']:.2f}x   {number(row['median'])} {metric['unit']}" for row in rows]
    ax.bar_label(bars, labels, padding=4, fontsize=9, color=INK)
    ax.axvline(1, color=SOFT_INK, linewidth=0.8, linestyle=":")
    ax.set_xlim(0, 1.45 * max(ratios))  # room for the labels
    ax.invert_yaxis()
    ax.set_title(title, fontsize=11, color=INK, loc="left")
    ax.tick_params(axis="y", labelsize=10, labelcolor=INK, length=0)
    ax.tick_params(axis="x", labelsize=9, labelcolor=SOFT_INK)
    ax.spines[["top", "right", "left"]].set_visible(False)


def colour(entry: str) -> str:
    """Return the colour of a row: that of its peer, whose name its own begins with."""
    peer = max((name for name in _COLOURS if entry.startswith(name)), key=len)
    return in_hex(_COLOURS[peer])
