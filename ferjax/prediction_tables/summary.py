"""Count what is in a table of what was predicted, in memory that does not grow with its rows.

Dimension keys: N rows at a time, K classes.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ferjax.errors import DataError, printable
from ferjax.faces.results import uncell
from ferjax.prediction_tables.histogram import Histogram
from ferjax.prediction_tables.parts import PredictionTable, Progress
from ferjax.prediction_tables.rows import Rows

QUANTILES: Final = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
BINS: Final = 10  # of confidence

_CONFIDENCE_STEP: Final = 1e-4
_SIZE_STEP: Final = 0.1  # pixels
_LARGEST: Final = 65_536.0  # pixels
_MOST_FACES: Final = 10_000  # of a picture that are counted one by one
_MOST_KINDS: Final = 200  # of errors that are told apart
_LONGEST_ERROR: Final = 1_000  # characters that are looked at
_OTHERS: Final = "others"


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How values are spread.

    Attributes:
        mean: None without values, as the quantiles.
        quantiles: by the share of values that do not exceed each.
    """

    mean: float | None
    quantiles: dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class ClassFaces:
    """The faces of a class.

    Attributes:
        faces: that have its label.
        share: of all faces; None without any.
        mean_probability: of the class, over all faces; None without any.
        mean_confidence: of the faces that have its label; None without any.
    """

    faces: int
    share: float | None
    mean_probability: float | None
    mean_confidence: float | None


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The photographs, or pictures of one face each.

    Attributes:
        pictures: how many, those included that could not be read.
        without_faces: of those that could be read.
        faces: by number of faces, how many pictures that could be read have that many.
    """

    pictures: int
    without_faces: int
    faces: dict[int, int]


@dataclass(frozen=True, kw_only=True)
class Frames:
    """The frames of films that show faces.

    Attributes:
        films: how many, those included that could not be read; None where the table does not say.
        frames: how many.
        first, last: their times in seconds; None without any.
    """

    films: int | None
    frames: int
    first: float | None
    last: float | None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a table of what was predicted holds.

    Attributes:
        source: the folder or file.
        kind: a key of `ferjax.prediction_tables.parts.KINDS`.
        form: "parquet" or "csv".
        files: how many.
        rows: in them.
        pictures: None for films.
        frames: None for pictures.
        failed: pictures or films that could not be read.
        errors: how many of these by kind, from the most frequent.
        faces: how many.
        classes: by name, in output order.
        other_labels: faces by label, of labels that are no class.
        abstained: faces without a label.
        confidence: quantiles to 0.0001.
        confidence_histogram: faces in each tenth of [0, 1].
        size: of faces in pixels, quantiles to 0.1; None for pictures of one face each.
        too_small: faces of less than 24 pixels; None likewise.
        notes: what is odd, a sentence each.
    """

    source: str
    kind: str
    form: str
    files: int
    rows: int
    pictures: Pictures | None
    frames: Frames | None
    failed: int
    errors: dict[str, int]
    faces: int
    classes: dict[str, ClassFaces]
    other_labels: dict[str, int]
    abstained: int
    confidence: Spread
    confidence_histogram: tuple[int, ...]
    size: Spread | None
    too_small: int | None
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return values that `json.dumps` takes."""
        return dataclasses.asdict(self)


def summarize(
    table: PredictionTable,
    *,
    look: Callable[[Rows], None] | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Count what is in a table.

    Args:
        table: see `ferjax.prediction_tables.opened`.
        look: called with all rows too, some at a time.
        progress: called with (done, total, unit) now and then.

    Raises:
        DataError: a file is damaged, a column holds what does not belong there, or there is no row.
    """
    counts = _Counts(table)
    for rows in table.batches(progress=progress):
        counts.add(rows)
        if look is not None:
            look(rows)
    if not counts.rows:
        raise DataError(printable(f"{table.shown}: expected rows, the table is empty"))
    return counts.summary()


class _Counts:
    """What the rows so far hold."""

    def __init__(self, table: PredictionTable) -> None:
        self._table = table
        self.rows = 0
        self._faces = 0
        self._labels = _LabelCounts()
        self._errors = _ErrorCounts()
        self._probabilities = np.zeros(len(table.class_names))
        self._with_probabilities = 0
        self._confidence = Histogram(_CONFIDENCE_STEP, 1.0)
        self._size = Histogram(_SIZE_STEP, _LARGEST)
        self._too_small = 0
        self._pictures = _PictureCounts()
        self._frames = _FrameCounts()

    def add(self, rows: Rows) -> None:
        is_face = rows.is_face()
        self.rows += len(rows)
        self._faces += int(is_face.sum())
        self._errors.add(rows)
        if self._table.kind == "photographs":
            self._pictures.add(rows)
        if self._table.kind == "films":
            self._frames.add(rows, is_face)
        confidence = rows.numbers("confidence")[is_face]
        self._confidence.add(confidence)
        if self._table.kind != "crops":
            self._size.add(rows.numbers("size")[is_face])
            self._too_small += int((rows.numbers("too_small")[is_face] == 1).sum())
        probabilities = rows.probabilities()[is_face]
        probabilities = probabilities[np.isfinite(probabilities).all(1)]
        self._probabilities += probabilities.sum(0)
        self._with_probabilities += len(probabilities)
        self._labels.add(rows, is_face, confidence)

    def summary(self) -> Summary:
        table, failed = self._table, self._errors.failed
        pictures = frames = None
        notes = ["the run is not finished; --resume goes on with it"] * table.is_unfinished
        if table.kind == "photographs":
            pictures = self._pictures.pictures(failed)
            notes += self._pictures.notes()
        elif table.kind == "crops":
            faces = {1: self._faces} if self._faces else {}
            pictures = Pictures(pictures=self.rows, without_faces=0, faces=faces)
        else:
            frames = self._frames.frames()
        others = self._labels.others(table.class_names)
        if others:
            notes.append(f"labels that are no class: {printable(', '.join(others), 200)}")
        if self._with_probabilities < self._faces:
            without = self._faces - self._with_probabilities
            notes.append(f"{without:,} faces have no probabilities")
        is_placed = table.kind != "crops"
        return Summary(
            source=table.shown,
            kind=table.kind,
            form=table.form,
            files=len(table.parts),
            rows=self.rows,
            pictures=pictures,
            frames=frames,
            failed=failed,
            errors=dict(self._errors.kinds.most_common()),
            faces=self._faces,
            classes=self._classes(),
            other_labels=others,
            abstained=self._labels.faces[""],
            confidence=_spread(self._confidence),
            confidence_histogram=tuple(self._confidence.parts(BINS)),
            size=_spread(self._size) if is_placed else None,
            too_small=self._too_small if is_placed else None,
            notes=tuple(notes),
        )

    def _classes(self) -> dict[str, ClassFaces]:
        means = self._probabilities / max(self._with_probabilities, 1)
        classes = {}
        for name, mean in zip(self._table.class_names, means.tolist()):
            faces = self._labels.faces[name]
            classes[name] = ClassFaces(
                faces=faces,
                share=faces / self._faces if self._faces else None,
                mean_probability=mean if self._with_probabilities else None,
                mean_confidence=self._labels.confidence[name] / faces if faces else None,
            )
        return classes


class _LabelCounts:
    """Faces and their summed confidence by label, "" for none."""

    def __init__(self) -> None:
        self.faces: Counter[str] = Counter()
        self.confidence: Counter[str] = Counter()

    def add(
        self, rows: Rows, is_face: npt.NDArray[np.bool_], confidence: npt.NDArray[np.float64]
    ) -> None:
        codes, names = rows.codes("label")
        codes = codes[is_face] + 1  # 0: none
        counts = np.bincount(codes, minlength=len(names) + 1)
        sums = np.bincount(codes, np.nan_to_num(confidence), minlength=len(names) + 1)
        for name, count, total in zip(["", *names], counts.tolist(), sums.tolist()):
            name = uncell(name)
            if name not in self.faces and len(self.faces) >= _MOST_KINDS:
                name = _OTHERS
            self.faces[name] += count
            self.confidence[name] += total

    def others(self, class_names: Sequence[str]) -> dict[str, int]:
        """Return the faces by label, of labels that are no class."""
        known = {"", *class_names}
        return {n: count for n, count in sorted(self.faces.items()) if count and n not in known}


class _ErrorCounts:
    """What could not be read, by kind."""

    def __init__(self) -> None:
        self.failed = 0
        self.kinds: Counter[str] = Counter()

    def add(self, rows: Rows) -> None:
        if not rows.table.has("error"):
            return
        codes, texts = rows.codes("error")
        has_path = rows.table.has("path")
        different, firsts, counts = np.unique(codes, return_index=True, return_counts=True)
        for code, row, count in zip(different.tolist(), firsts.tolist(), counts.tolist()):
            if code < 0:
                continue
            kind = error_kind(texts[code], rows.text("path", row) if has_path else "")
            known = kind in self.kinds or len(self.kinds) < _MOST_KINDS
            self.kinds[kind if known else _OTHERS] += count
            self.failed += count


class _PictureCounts:
    """The photographs so far, whose faces are numbered from 1: no path needs to be remembered."""

    def __init__(self) -> None:
        # By number, the faces that have it; at 0, the pictures without a face.
        self._numbered = np.zeros(_MOST_FACES + 2, np.int64)

    def add(self, rows: Rows) -> None:
        numbers = np.nan_to_num(rows.numbers("face"), nan=0.0)
        numbers = np.clip(numbers, 0, _MOST_FACES + 1).astype(np.int64)
        self._numbered += np.bincount(numbers, minlength=len(self._numbered))

    def notes(self) -> list[str]:
        """Return what cannot be where each picture stands in the table once, and wholly."""
        if (np.diff(self._numbered[1:]) > 0).any():
            return ["faces of some pictures are missing, or stand in the table twice"]
        return []

    def pictures(self, failed: int) -> Pictures:
        at_least = self._numbered[1:]
        exactly = np.maximum(at_least - np.append(at_least[1:], 0), 0)
        empty = max(0, int(self._numbered[0]) - failed)
        faces = {number + 1: int(exactly[number]) for number in np.flatnonzero(exactly).tolist()}
        return Pictures(
            pictures=int(self._numbered[0] + self._numbered[1]),
            without_faces=empty,
            faces={**({0: empty} if empty else {}), **faces},
        )


class _FrameCounts:
    """The frames of films so far; the faces of one stand together."""

    def __init__(self) -> None:
        self._frames = 0
        self._films: set[str] | None = None
        self._before: tuple[float, str] = (-1.0, "")
        self._times: list[float] = []

    def add(self, rows: Rows, is_face: npt.NDArray[np.bool_]) -> None:
        films = np.zeros(len(rows), np.int64)
        names = [""]
        if rows.table.has("path"):
            films, names = rows.codes("path")
            self._films = (self._films or set()).union(names)
        frames, films = rows.numbers("frame")[is_face], films[is_face]
        if not len(frames):
            return
        is_next = (np.diff(frames) != 0) | (np.diff(films) != 0)
        first = float(frames[0]), names[films[0]]
        self._frames += int(is_next.sum()) + (first != self._before)
        self._before = float(frames[-1]), names[films[-1]]
        times = np.append(rows.numbers("time"), self._times)
        times = times[np.isfinite(times)]
        self._times = [float(times.min()), float(times.max())] if len(times) else []

    def frames(self) -> Frames:
        first, last = self._times or (None, None)
        films = None if self._films is None else len(self._films)
        return Frames(films=films, frames=self._frames, first=first, last=last)


def error_kind(error: str, path: str) -> str:
    """Return what errors of one kind have in common: no path, no numbers, nothing quoted.

    >>> error_kind("a/b.jpg: 40 x 30,000 pixels; expected at most 9", "a/b.jpg")
    'N x N pixels; expected at most N'
    """
    for name in (path, printable(path)):
        error = error.removeprefix(f"{name}: ")
    error = error[:_LONGEST_ERROR]
    error = error.replace(path, "...") if path else error
    error = re.sub(r"""b?(["']).*?(?<!\\)\1""", "'...'", error)
    error = re.sub(r"(?<!JPEG )(?<!\d)\d[\d,.]*(?<![,.])", "N", error)  # JPEG 2000 is a format
    return printable(error, 120) or "not said"


def _spread(histogram: Histogram) -> Spread:
    quantiles = {f"{share:g}": histogram.quantile(share) for share in QUANTILES}
    return Spread(mean=histogram.mean, quantiles=quantiles)
