"""What pictures by matplotlib share: a figure, ticks, short names, a word for missing letters."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ferjax.errors import FerjaxError, printable
from ferjax.pictures.palette import PAPER


def require_matplotlib() -> None:
    """Raise where matplotlib is not installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise FerjaxError("drawing needs matplotlib: pip install 'ferjax[evaluate]'") from error


def new_figure(**options: Any) -> Any:
    """Return a matplotlib figure that can be measured and saved; `options` are its own.

    Without pyplot, which would take a display or change the caller's figures.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(facecolor=PAPER, **options)
    FigureCanvasAgg(figure)
    return figure


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
