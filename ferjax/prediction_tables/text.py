"""What is in a table of what was predicted, as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ferjax.errors import printable
from ferjax.limits import SMALLEST
from ferjax.prediction_tables.parts import KINDS
from ferjax.prediction_tables.summary import BINS, Spread, Summary

_BAR: Final = 40  # characters of the longest
_NAMED: Final = 10  # kinds of errors
_FACES: Final = ("none", "one", "two", "three or more")  # in a picture
_SPACE: Final = " " * 12


def lines(summary: Summary) -> list[str]:
    """Return what a table holds, for the terminal."""
    s = summary
    files = f"{s.files:,} {s.form} file{'s' * (s.files != 1)}"
    result = [
        printable(f"source:     {s.source}"),
        f"kind:       {KINDS[s.kind]} ({files})",
        f"rows:       {s.rows:,}",
        *_pictures(s),
        *(f"note:       {note}" for note in s.notes),
        "",
        *_classes(s),
        "",
    ]
    if s.faces:
        result += [f"confidence: {_spread(s.confidence, 3)}", *_bars(s.confidence_histogram)]
    if s.faces and s.size is not None and s.too_small is not None:
        small = f"below {SMALLEST} pixels: {s.too_small:,} ({_share(s.too_small, s.faces)})"
        result += [
            f"sizes:      {_spread(s.size, 1)} pixels",
            f"{_SPACE}{small}, too small to tell",
        ]
    return [*result, *_errors(s)]


def _pictures(s: Summary) -> list[str]:
    failed = f"{s.failed:,} could not be read"
    if s.frames is not None:
        first, last = s.frames.first or 0.0, s.frames.last or 0.0
        films = [] if s.frames.films is None else [f"films:      {s.frames.films:,}, {failed}"]
        frames = f"frames:     {s.frames.frames:,} with faces, from {first:.2f} to {last:.2f} s"
        return [*films, frames, f"faces:      {s.faces:,}"]
    assert s.pictures is not None
    p = s.pictures
    read = p.pictures - s.failed
    if s.kind == "crops":
        return [f"pictures:   {p.pictures:,}, {failed}"]
    with_faces = f"{read - p.without_faces:,} with faces, {p.without_faces:,} without"
    pictures = [0] * len(_FACES)
    for faces, count in p.faces.items():
        pictures[min(faces, len(_FACES) - 1)] += count
    listed = ", ".join(f"{words} in {count:,}" for words, count in zip(_FACES, pictures))
    mean = f", {s.faces / read:.2f} a picture: {listed}" if read else ""
    return [
        f"pictures:   {p.pictures:,}: {with_faces}, {failed}",
        f"faces:      {s.faces:,}{mean}",
    ]


def _classes(s: Summary) -> list[str]:
    rows = [["class", "faces", "share", "mean probability", "mean confidence"]]
    for name, c in s.classes.items():
        numbers = [_percent(c.share), _number(c.mean_probability), _number(c.mean_confidence)]
        rows.append([printable(name, 40), f"{c.faces:,}", *numbers])
    rows += [
        [printable(name, 40), f"{count:,}", _share(count, s.faces), "", ""]
        for name, count in s.other_labels.items()
    ]
    if s.abstained:
        rows.append(["abstained", f"{s.abstained:,}", _share(s.abstained, s.faces), "", ""])
    rows.append(["all", f"{s.faces:,}", "", "", _number(s.confidence.mean)])
    return columns(rows)


def _bars(counts: Sequence[int]) -> list[str]:
    highest = max(*counts, 1)
    width = max(len(f"{count:,}") for count in counts)
    return [
        f"{_SPACE}{part / BINS:.1f} to {(part + 1) / BINS:.1f}  {count:>{width},}  "
        f"{'#' * -(-_BAR * count // highest)}".rstrip()
        for part, count in enumerate(counts)
    ]


def _errors(s: Summary) -> list[str]:
    if not s.errors:
        return []
    listed = list(s.errors.items())
    more = sum(count for _, count in listed[_NAMED:])
    shown = [*listed[:_NAMED], *([("other kinds", more)] if more else [])]
    width = max(len(f"{count:,}") for _, count in shown)
    lines = [f"{count:>{width},}  {kind}" for kind, count in shown]
    return [f"errors:     {lines[0]}", *(_SPACE + line for line in lines[1:])]


def _spread(spread: Spread, digits: int) -> str:
    """Return quantiles as a sentence."""
    words = {"0": "least", "0.5": "median", "1": "most"}
    parts = [
        f"{words.get(share, f'{float(share):.0%}')} {value:.{digits}f}"
        for share, value in spread.quantiles.items()
        if value is not None
    ]
    return ", ".join(parts) or "-"


def _share(part: int, whole: int) -> str:
    return _percent(part / whole if whole else None)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines: the first column to the left, others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
