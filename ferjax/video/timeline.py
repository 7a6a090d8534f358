"""A picture of who shows what when: for each track a band, its probabilities stacked over time.

A film of ten seconds is one line, one of two hours eight of a quarter of an hour each. In a line,
tracks that are not seen at the same time share a row. Above each band stand the events, by name
where there is room.

Dimension keys: K classes, T points of time in a line.
"""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ferjax.errors import FerjaxError, printable
from ferjax.faces.marks import colour_of, on_colour
from ferjax.faces.results import cell
from ferjax.files import replacing
from ferjax.image_files import UInt8Array
from ferjax.pictures.figures import (
    colour_legend,
    missing_letters_told,
    named_ticks,
    new_figure,
    require_matplotlib,
)
from ferjax.pictures.palette import INK, SOFT_INK, in_hex
from ferjax.video.events import Event, find_events
from ferjax.video.made import MARK
from ferjax.video.painting import clock
from ferjax.video.seen import VideoFrame
from ferjax.video.tables import read_rows

SUFFIXES: Final = (".png", ".pdf", ".svg")
NOTE: Final = "What the faces look like to the network, not what people feel."

_LINES: Final = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200)  # seconds of one
_MOST_LINES: Final = 8
_TICKS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)  # seconds
_MOST_TICKS: Final = 15
_MOST_ROWS: Final = 8  # in a line; more faces at once are counted
_WIDE: Final = 13.0  # inches
_DPI: Final = 120
_POINTS: Final = 900  # of time in a line
_BAND: Final = 0.66  # of a row's height; events stand above
_TALL: Final = 48  # pixels of a band's picture
_LETTER: Final = 0.075  # inches that a letter takes


class Timeline:
    """Probabilities of faces over time, to be drawn.

    It keeps 12 bytes and 4 for each class of each face in each frame.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        """Begin without faces; `labels` are the K classes."""
        self._labels = list(labels)
        self._times, self._tracks, self._shares = array("d"), array("l"), array("f")

    def add(self, time: float, track: int, shares: Iterable[float]) -> None:
        """Take a face of a frame: seconds, its track, and its K probabilities."""
        self._times.append(time)
        self._tracks.append(track)
        self._shares.extend(shares)

    def save(self, path: str, events: Sequence[Event], *, title: str = "") -> None:
        """Write the picture; its format is that of the name.

        Raises:
            WriteError: the file cannot be written.
            FerjaxError: matplotlib is not installed.
        """
        figure = self.drawn(events, title=title)
        suffix = Path(path).suffix.lower().lstrip(".")
        with replacing(path) as temporary, missing_letters_told():
            mark = {"Software" if suffix == "png" else "Creator": MARK}
            figure.savefig(temporary, format=suffix, dpi=_DPI, metadata=mark)

    def drawn(self, events: Sequence[Event], *, title: str = "") -> Any:
        """Return the picture as a matplotlib figure."""
        times = np.array(self._times)
        tracks = np.array(self._tracks, np.int64)
        shares = np.array(self._shares, np.float32).reshape(len(times), len(self._labels))
        begin = float(times.min()) if len(times) else 0.0
        end = float(times.max()) if len(times) else 1.0
        seconds = line_seconds(end - begin)
        first = seconds * math.floor(begin / seconds) if end - begin > seconds else begin
        count = max(1, math.ceil((end - first + 1e-9) / seconds))
        lines = []
        for i in range(count):
            start = first + i * seconds
            stop = start + seconds if count > 1 else max(end, start + 1e-3)
            inside = (times >= start) & (times < stop if i < count - 1 else times <= stop)
            lines.append(_Line(start, stop, times[inside], tracks[inside], shares[inside]))
        return _figure(lines, self._labels, events, title, len(set(tracks.tolist())))


def line_seconds(seconds: float) -> float:
    """Return how many seconds a line of a timeline shows.

    >>> [line_seconds(s) for s in (9.5, 50, 600, 7200, 100_000)]
    [15, 60, 120, 900, 14400]
    """
    most = 1 if seconds <= 60 else _MOST_LINES
    return next((s for s in _LINES if seconds <= most * s), math.ceil(seconds / most))


class _Line:
    """What one line of the picture shows."""

    def __init__(
        self,
        start: float,
        stop: float,
        times: npt.NDArray[np.float64],
        tracks: npt.NDArray[np.int64],
        shares: npt.NDArray[np.float32],
    ) -> None:
        self.start, self.stop = start, stop
        order = np.argsort(tracks, kind="stable")
        numbers, begins = np.unique(tracks[order], return_index=True)
        self.faces: dict[int, tuple[Any, Any]] = {}  # by track: times, shares (N, K)
        for number, part in zip(numbers.tolist(), np.split(order, begins[1:])):
            self.faces[number] = (times[part], shares[part])
        spans = {n: (float(t[0]), float(t[-1])) for n, (t, _) in self.faces.items()}
        self.rows, self.left_out = packed(spans, (stop - start) / 100)

    def bands(self, row: Sequence[int], colours: npt.NDArray[np.uint8]) -> UInt8Array:
        """Return the picture of a row of tracks, uint8 (48, T, 3), white where none is seen."""
        width = (self.stop - self.start) / _POINTS
        picture = np.full((_TALL, _POINTS, 3), 255, np.uint8)
        level = (np.arange(_TALL)[::-1] + 0.5) / _TALL  # from the foot
        for track in row:
            times, shares = self.faces[track]
            at = np.clip(((times - self.start) / width).astype(int), 0, _POINTS - 1)
            step = float(np.median(np.diff(times))) if len(times) > 1 else width
            sums = np.zeros((_POINTS, shares.shape[1]))
            np.add.at(sums, at, np.nan_to_num(shares))
            filled = np.flatnonzero(sums.sum(axis=1) > 0)
            if not len(filled):  # a network may give nothing but NaN
                continue
            reach = max(1, math.ceil(1.5 * step / width))  # points that a frame stands for
            for point, following in zip(filled, [*filled[1:], filled[-1] + 1]):
                stack = np.cumsum(sums[point] / sums[point].sum())
                which = np.minimum(np.searchsorted(stack, level), len(stack) - 1)
                to = min(int(following), int(point) + reach, _POINTS)
                picture[:, point:to] = colours[which][:, None]
        return picture


def packed(spans: dict[int, tuple[float, float]], gap: float) -> tuple[list[list[int]], int]:
    """Return rows of tracks that do not overlap in time, and how many had no room in eight rows.

    >>> packed({1: (0, 5), 2: (3, 9), 3: (6, 8)}, 0.5)
    ([[1, 3], [2]], 0)
    """
    rows: list[list[int]] = []
    ends: list[float] = []
    left_out = 0
    for track, (start, end) in sorted(spans.items(), key=lambda item: (item[1][0], item[0])):
        row = next((i for i, e in enumerate(ends) if e + gap <= start), None)
        if row is not None:
            rows[row].append(track)
            ends[row] = end
        elif len(rows) < _MOST_ROWS:
            rows.append([track])
            ends.append(end)
        else:
            left_out += 1
    return rows, left_out


# --- the picture ---------------------------------------------------------------------------------


def _figure(
    lines: Sequence[_Line], labels: list[str], events: Sequence[Event], title: str, tracks: int
) -> Any:
    require_matplotlib()
    heights = [max(1, len(line.rows)) * 0.62 + 0.32 for line in lines]
    top, foot = 0.8, 0.5  # inches
    total = sum(heights) + top + foot
    by_track: dict[int, list[Event]] = {}
    for event in events:
        by_track.setdefault(event.track, []).append(event)
    figure = new_figure(figsize=(_WIDE, total))
    colours = [colour_of(label, labels) for label in labels]
    _head(figure, labels, colours, title, tracks, total)
    y = total - top
    for line, height in zip(lines, heights):
        y -= height
        box = (0.45 / _WIDE, (y + 0.26) / total, 1 - 0.75 / _WIDE, (height - 0.32) / total)
        _draw_line(figure.add_axes(box), line, labels, colours, by_track)
    figure.text(0.45 / _WIDE, 0.12 / total, NOTE, fontsize=8, color=SOFT_INK)
    return figure


def _head(
    figure: Any,
    labels: Sequence[str],
    colours: Sequence[Any],
    title: str,
    tracks: int,
    total: float,
) -> None:
    name = printable(title, 90)
    figure.text(
        0.45 / _WIDE,
        1 - 0.34 / total,
        f"{name}{': ' if name else ''}{tracks:,} track{'' if tracks == 1 else 's'}",
        fontsize=12,
        color=INK,
        parse_math=False,
    )
    if labels:
        colour_legend(figure, labels, colours, (0.37 / _WIDE, 1 - 0.42 / total))


def _draw_line(
    axes: Any,
    line: _Line,
    labels: list[str],
    colours: Sequence[Any],
    events: dict[int, list[Event]],
) -> None:
    """Draw a line's rows from the top down, a unit of height each."""
    count = max(1, len(line.rows))
    axes.set_xlim(line.start, line.stop)
    axes.set_ylim(0, count)
    palette = np.array(colours, np.uint8)
    inch = (_WIDE - 0.75) / (line.stop - line.start)  # inches a second
    for i, row in enumerate(line.rows):
        foot = count - 1 - i
        extent = (line.start, line.stop, foot, foot + _BAND)
        picture = line.bands(row, palette)
        axes.imshow(picture, extent=extent, aspect="auto", interpolation="nearest", zorder=1)
        for track in row:
            times, _ = line.faces[track]
            begin, end = float(times[0]), float(times[-1])
            axes.plot([begin, end], [foot, foot], color=SOFT_INK, linewidth=0.6, zorder=2)
            _draw_events(axes, line, foot, labels, events.get(track, []), inch)
            if (end - begin) * inch > 0.25:
                axes.text(
                    *(begin + 0.03 / inch, foot + 0.04),
                    str(track),
                    fontsize=7,
                    color=INK,
                    zorder=4,
                    bbox={"facecolor": "white", "alpha": 0.8, "pad": 1, "linewidth": 0},
                )
    if not line.rows:
        middle = (line.start + line.stop) / 2
        axes.text(middle, 0.5, "no face", ha="center", va="center", fontsize=8, color=SOFT_INK)
    if line.left_out:
        text = f"and {line.left_out:,} more tracks"
        axes.text(1.0, 1.0, text, transform=axes.transAxes, ha="right", fontsize=7, color=SOFT_INK)
    axes.set_yticks([])
    span = line.stop - line.start
    step = next((s for s in _TICKS if span <= _MOST_TICKS * s), span / _MOST_TICKS)
    named_ticks(axes.xaxis, step, lambda value: clock(max(0.0, value), tenths=step < 1))
    axes.tick_params(labelsize=8, colors=SOFT_INK, length=3)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(SOFT_INK)


def _draw_events(
    axes: Any,
    line: _Line,
    foot: int,
    labels: list[str],
    events: Sequence[Event],
    inch: float,
) -> None:
    """Draw a track's events above its band, with their names where there is room."""
    low, high = foot + _BAND + 0.02, foot + 0.95
    for event in events:
        start, end = max(event.start, line.start), min(event.end, line.stop)
        if end <= start:
            continue
        colour = colour_of(event.label, labels)
        axes.fill_between(
            [start, end],
            low,
            high,
            facecolor=in_hex(colour),
            edgecolor="white",
            linewidth=0.5 if (end - start) * inch > 0.05 else 0,
            zorder=3,
        )
        room = int((end - start) * inch / _LETTER)
        name = event.label if len(event.label) <= room else f"{event.label[: max(0, room - 1)]}…"
        if room >= min(len(event.label), 4):
            axes.text(
                (start + end) / 2,
                (low + high) / 2 - 0.01,
                name,
                ha="center",
                va="center",
                fontsize=7.5,
                color=in_hex(on_colour(colour)),
                zorder=5,
                clip_on=True,
                parse_math=False,
            )


# --- from frames and from tables -----------------------------------------------------------------


def check_plot(path: str) -> None:
    """Raise a FerjaxError where a timeline cannot be written under a name."""
    if not path.lower().endswith(SUFFIXES):
        raise FerjaxError(
            f"expected a name that ends in {', '.join(SUFFIXES)} for --plot, got {path}"
        )
    require_matplotlib()


def plot(
    frames: Iterable[VideoFrame], path: str | os.PathLike[str], *, title: str = ""
) -> list[Event]:
    """Write a timeline of what is seen in a film, and return its events.

    Args:
        frames: what `EmotionClassifier.analyze_video` gave.
        path: of the picture: .png, .pdf or .svg.
        title: what stands above it.

    Raises:
        FerjaxError: the name has another ending, or matplotlib is not installed.
        WriteError: the file cannot be written.
    """
    check_plot(os.fspath(path))
    timelines: list[Timeline] = []

    def kept() -> Iterable[VideoFrame]:
        for frame in frames:
            for face in frame.faces:
                if not timelines:
                    timelines.append(Timeline(list(face.probabilities)))
                timelines[0].add(frame.time, face.track, face.probabilities.values())
            yield frame

    events = list(find_events(kept()))
    (timelines or [Timeline(())])[0].save(os.fspath(path), events, title=title)
    return events


def plot_tables(
    path: str, rows: str, events: str, labels: Sequence[str], *, title: str = ""
) -> None:
    """Write a timeline of the tables of a run; see `plot`.

    Args:
        path: of the picture.
        rows: the CSV file of faces.
        events: the CSV file of events.
        labels: the K classes.
        title: what stands above it.
    """
    timeline = Timeline(labels)
    count, names = len(labels), {cell(label): label for label in labels}
    for row in read_rows(rows):
        shares = list(row.values())[-count:] if count else []
        values = (float(value) if value else math.nan for value in shares)
        timeline.add(float(row["time"]), int(row["track"]), values)
    listed = [
        Event(
            track=int(row["track"]),
            label=names.get(row["label"], row["label"]),
            start=float(row["start"]),
            end=float(row["end"]),
            confidence=float(row["confidence"]),
            frames=int(row["frames"]),
        )
        for row in read_rows(events)
    ]
    timeline.save(path, listed, title=title)
