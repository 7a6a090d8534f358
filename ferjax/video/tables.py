"""What is seen in films as tables: a row for each face of each frame, and a row for each event.

CSV files in UTF-8, to which a run that is gone on with adds; the same rows as a pandas frame; and
as a Parquet file, which is made of the CSV file in the end.

Dimension keys: K classes.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from ferjax.errors import FerjaxError, WriteError
from ferjax.faces.results import begins_as, cell, decimal, face_entry, uncell
from ferjax.files import replacing
from ferjax.video.events import Event
from ferjax.video.growing import GrowingFile
from ferjax.video.made import MARK
from ferjax.video.seen import VideoFace, VideoFrame

FIXED: Final = (
    *("time", "frame", "track", "x", "y", "width", "height", "score", "roll", "size"),
    *("too_small", "label", "confidence"),
)
_WHOLE: Final = ("frame", "track", "frames")
EVENTS: Final = ("track", "label", "start", "end", "duration", "confidence", "frames")
_BOM: Final = "\ufeff"
_BLOCK: Final = 1 << 20  # bytes of a CSV file that become Parquet at once


def columns(labels: Sequence[str]) -> list[str]:
    """Return the columns of a face's row: then `raw_` and `smoothed_` with each label behind.

    >>> columns(["happy"])[-3:]
    ['confidence', 'raw_happy', 'smoothed_happy']
    """
    names = [cell(label) for label in labels]
    return [*FIXED, *(f"raw_{name}" for name in names), *(f"smoothed_{name}" for name in names)]


def class_columns(header: Sequence[str]) -> dict[str, str]:
    """Return the classes of a table in output order, by the columns of their smoothed shares.

    >>> class_columns(columns(["happy"]))
    {'smoothed_happy': 'happy'}
    """
    begin = "smoothed_"
    return {name: uncell(name.removeprefix(begin)) for name in header if name.startswith(begin)}


def values(frame: VideoFrame, face: VideoFace) -> list[Any]:
    """Return a face's row as numbers and texts; see `columns`."""
    return [
        *(frame.time, frame.number, face.track, *face.box, face.score, face.roll, face.size),
        *(bool(face.too_small), face.label, face.confidence),
        *face.raw.values(),
        *face.probabilities.values(),
    ]


def row_of(frame: VideoFrame, face: VideoFace) -> list[str]:
    """Return a face's row as texts: times to a microsecond, pixels and degrees to a hundredth."""
    time, number, track, x, y, width, height, score, roll, size, small, label, *shares = values(
        frame, face
    )
    return [
        *(decimal(time, 6), str(number), str(track)),
        *(decimal(value, 2) for value in (x, y, width, height)),
        *(decimal(score, 4), decimal(roll, 2), decimal(size, 2), str(small), cell(label or "")),
        *(decimal(None if math.isnan(share) else share, 6) for share in shares),
    ]


def event_row(event: Event) -> list[str]:
    """Return an event's row; see `EVENTS`."""
    return [
        *(str(event.track), cell(event.label)),
        *(decimal(value, 3) for value in (event.start, event.end, event.duration)),
        *(decimal(event.confidence, 4), str(event.frames)),
    ]


def entry_of(frame: VideoFrame, *, engine: str | None = None) -> dict[str, Any]:
    """Return what JSON says of a frame.

    Args:
        frame: the frame.
        engine: what computed; None: the entry does not say.
    """
    return {
        "frame": frame.number,
        "time": round(frame.time, 6),
        **({} if engine is None else {"engine": engine}),
        "cut": frame.cut,
        "faces": [_face(face) for face in frame.faces],
    }


def _face(face: VideoFace) -> dict[str, Any]:
    entry = face_entry(0, face)
    del entry["face"]
    raw = {label: None if math.isnan(p) else p for label, p in face.raw.items()}
    return {"track": face.track, **entry, "raw": raw}


def json_line(frame: VideoFrame, *, engine: str | None = None) -> str:
    """Return a frame as a line of JSON; see `entry_of`."""
    return json.dumps(entry_of(frame, engine=engine), allow_nan=False) + "\n"


# --- CSV -----------------------------------------------------------------------------------------


class CsvFile:
    """A CSV file that grows by rows, each as a whole or not at all as far as `offset` says."""

    def __init__(self, path: str, header: Sequence[str], *, offset: int | None = None) -> None:
        """Begin a table in the place of what is at a path, or go on with one.

        Args:
            path: the file.
            header: the columns' names.
            offset: bytes of a table that was begun before, after which it goes on; None: anew.

        Raises:
            WriteError: as for GrowingFile, here and in the methods.
        """
        self._file = GrowingFile(path, offset=offset)
        if offset is None:
            plain = all(name.isascii() for name in header)
            self._put(("" if plain else _BOM) + _lines([header]))

    @property
    def offset(self) -> int:
        """Bytes that were written, all of which the operating system has."""
        return self._file.offset

    def add(self, rows: Iterable[Sequence[str]]) -> None:
        """Write rows, and have the operating system take them."""
        text = _lines(rows)
        if text:
            self._put(text)

    def sync(self) -> None:
        """Have the operating system write to the disk what was added so far."""
        self._file.sync()

    def _put(self, text: str) -> None:
        try:
            self._file.put(text.encode("utf-8", "backslashreplace"))
        except WriteError:
            self._file.abandon()
            raise

    def close(self) -> None:
        """Have the operating system write the table to the disk."""
        self._file.close()


def _lines(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def is_table(path: str) -> bool:
    """Whether a file is empty, or begins as a table of faces does."""
    return begins_as(path, FIXED)


def is_events(path: str) -> bool:
    """Whether a file is empty, or begins as a table of events does."""
    return begins_as(path, EVENTS)


# --- pandas and Parquet --------------------------------------------------------------------------


def to_pandas(frames: Iterable[VideoFrame]) -> Any:
    """Return a pandas.DataFrame with a row for each face of each frame; see `columns`.

    Args:
        frames: what `EmotionClassifier.analyze_video` gave.

    Raises:
        FerjaxError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise FerjaxError("pandas is not installed: pip install pandas") from None
    rows: list[list[Any]] = []
    labels: Sequence[str] = ()
    for frame in frames:
        for face in frame.faces:
            labels = labels or list(face.probabilities)
            rows.append(values(frame, face))
    return pandas.DataFrame(rows, columns=columns(labels))


def require_pyarrow() -> Any:
    """Return the package `pyarrow`.

    Raises:
        FerjaxError: it is not installed.
    """
    try:
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError:
        raise FerjaxError(
            'Parquet files take pyarrow, which is not installed: pip install "ferjax[parquet]"'
        ) from None
    return pyarrow


def write_parquet(path: str, table: str, labels: Sequence[str], *, engine: str) -> None:
    """Write the rows of a CSV file of faces as a Parquet file, a block at a time.

    Args:
        path: the Parquet file.
        table: the CSV file.
        labels: of the classes, in output order.
        engine: what computed, for the file's metadata.

    Raises:
        FerjaxError: pyarrow is not installed.
        WriteError: the file cannot be written.
    """
    arrow = require_pyarrow()
    types = {name: arrow.float64() for name in columns(labels)}
    types |= {"label": arrow.string(), "too_small": arrow.bool_()}
    types |= {name: arrow.int64() for name in _WHOLE if name in types}
    options = {
        "read_options": arrow.csv.ReadOptions(block_size=_BLOCK),
        "convert_options": arrow.csv.ConvertOptions(
            column_types=types,
            strings_can_be_null=True,
            null_values=[""],  # a class may be called NA
        ),
    }
    # Files, for Arrow takes no path that is no UTF-8.
    with open(table, "rb") as rows, arrow.csv.open_csv(rows, **options) as reader:
        schema = reader.schema.with_metadata({"made by": MARK, "engine": engine})
        with (
            replacing(path) as temporary,
            open(temporary, "wb") as file,
            arrow.parquet.ParquetWriter(file, schema) as writer,
        ):
            for batch in reader:
                writer.write_batch(batch.replace_schema_metadata(schema.metadata))


def read_rows(table: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file of faces or events, by column."""
    with open(table, encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file)
