"""What pictures by matplotlib share: a figure, ticks, short names, a word for missing letters."""

from __future__ import annotations

import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ferjax.errors import FerjaxError, printable
from ferjax.pictures.palette import PAPER, SOFT_INK, Colour, in_hex


def require_matplotlib() -> None:
    """Raise where matplotlib is not installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise FerjaxError("drawing needs matplotlib: pip install 'ferjax[evaluate]'") from error


def new_figure(width: float | None = None, height: float | None = None, **options: Any) -> Any:
    """Return a matplotlib figure; of a width and height, in inches, it arranges its axes itself."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if width is not None:
        options |= {"figsize": (width, height), "layout": "constrained"}
    # No pyplot: it would take a display or change the caller's figures.
    figure = Figure(facecolor=PAPER, **options)
    FigureCanvasAgg(figure)
    return figure


def named_ticks(axis: Any, step: float, name: Callable[[float], str]) -> None:
    """Set ticks on a matplotlib axis at multiples of a step, and name each by a function of it."""
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    axis.set_major_locator(MultipleLocator(step))
    axis.set_major_formatter(FuncFormatter(lambda value, _: name(value)))


def colour_legend(
    figure: Any, names: Sequence[str], colours: Sequence[Colour], corner: tuple[float, float]
) -> None:
    """Say in a row what colours stand for; its upper left corner in fractions of the figure."""
    from matplotlib.patches import Patch

    legend = figure.legend(
        handles=[
            Patch(facecolor=in_hex(colour), edgecolor=SOFT_INK, linewidth=0.4) for colour in colours
        ],
        labels=list(names),
        loc="upper left",
        bbox_to_anchor=corner,
        ncols=min(len(names), 10),
        frameon=False,
        fontsize=9,
        handlelength=1.1,
        columnspacing=1.2,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def percent_ticks(axis: Any) -> None:
    """Name the ticks of a matplotlib axis of fractions in percent, no two of them alike."""
    from matplotlib.ticker import PercentFormatter

    class Percent(PercentFormatter):
        def set_locs(self, locs: Any) -> None:
            """Take as many decimals as the ticks have, which zooming and more data change."""
            super().set_locs(locs)
            ends = [100 * float(value) for value in locs]
            fits = (d for d in range(4) if all(abs(round(x, d) - x) < 1e-6 for x in ends))
            self.decimals = next(fits, 4)

    axis.set_major_formatter(Percent(1))


def percent_axes(axes: Any, which: str) -> None:
    """Name the ticks of axes of fractions in percent: "x", "y" or "both"."""
    for axis in {"x": (axes.xaxis,), "y": (axes.yaxis,), "both": (axes.xaxis, axes.yaxis)}[which]:
        percent_ticks(axis)


def end_at_0_and_1(axes: Any, which: str) -> None:
    """End an axis of fractions, "x" or "y", at 0 and 1, whatever margin is around its data."""
    low, high = getattr(axes, f"get_{which}lim")()
    getattr(axes, f"set_{which}lim")(max(low, 0), min(high, 1))


def tidy(axes: Any) -> None:
    """Draw a faint grid, and no frame at the top and the right."""
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def title(figure: Any, text: str) -> None:
    """Write a title over a figure, in as many lines as it takes."""
    width = int(figure.get_figwidth() * 13)
    lines = [part for line in text.splitlines() for part in textwrap.wrap(line, width) or [""]]
    figure.suptitle("\n".join(lines), fontsize=10, parse_math=False)


def shortened(text: str, most: int) -> str:
    """Return text on one line of at most `most` characters, cut in the middle: names that begin
    alike stay apart.

    >>> shortened("a long name, first", 11)
    'a lon…first'
    """
    line = printable(text, 10_000)
    end = (most - 1) // 2
    return line if len(line) <= most else f"{line[: most - 1 - end]}…{line[len(line) - end :]}"


@contextmanager
def missing_letters_told() -> Iterator[None]:
    """Say once, in plain words, which letters matplotlib's font lacks, for which it draws boxes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    letters: dict[str, None] = {}
    for warning in caught:
        if glyph := re.match(r"Glyph (\d+) .*missing from", str(warning.message)):
            letters[chr(int(glyph[1]))] = None
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    if letters:
        dots = ", ..." if len(letters) > 5 else ""
        warnings.warn(
            "boxes stand in the picture for letters that matplotlib's font lacks: "
            f"{', '.join(list(letters)[:5])}{dots}",
            stacklevel=4,
        )
