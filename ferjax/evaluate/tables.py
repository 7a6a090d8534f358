"""How figures are written, and tables of them for the terminal."""

from __future__ import annotations

from collections.abc import Sequence


def percent(value: float | None) -> str:
    """Return a fraction in percent.

    >>> percent(0.66816), percent(None)
    ('66.82 %', '-')
    """
    return "-" if value is None else f"{100 * value:.2f} %"


def between(interval: Sequence[float] | None) -> str:
    """Return an interval in percent.

    >>> between((0.6526, 0.6834))
    '65.26 to 68.34 %'
    """
    return "-" if interval is None else f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f} %"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows with aligned columns, the first to the left, the others to the right."""
    # A heading over several columns does not widen the first.
    widths = [max(len(row[i]) for row in rows if i or any(row[1:])) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if not i else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
