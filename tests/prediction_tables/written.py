"""Tables of what was predicted, as `ferjax faces` and `ferjax video` write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ferjax.errors import ImageError
from ferjax.faces import results
from ferjax.faces.face import Face, Photograph
from ferjax.video import tables as films
from ferjax.video.seen import VideoFace, VideoFrame

CLASSES = ("happy", "sad", "neutral")
WHOLE = ("face", "frame", "track")

Entry = dict[str, Any]


def shares(label: str, confidence: float, classes: Sequence[str] = CLASSES) -> dict[str, float]:
    """Return probabilities: one class's confidence, the rest to the others."""
    rest = (1 - confidence) / (len(classes) - 1)
    return {name: confidence if name == label else rest for name in classes}


def face(
    label: str,
    confidence: float,
    size: float = 50.0,
    *,
    at: tuple[float, float] = (0.0, 0.0),
    said: bool = True,
    classes: Sequence[str] = CLASSES,
) -> Face:
    """Return a face; without `said` the run abstained."""
    return Face(
        box=(*at, size, size),
        score=0.9,
        label=label if said else None,
        index=classes.index(label) if said else None,
        confidence=confidence,
        probabilities=shares(label, confidence, classes),
    )


def entry(path: str, *faces: Face, error: str | None = None) -> Entry:
    """Return what is said of a photograph."""
    problem = None if error is None else ImageError(f"{path}: {error}")
    shape = (480, 640) if error is None else None
    photograph = Photograph(source=path, faces=list(faces), shape=shape, error=problem)
    return results.entry_of(path, photograph)


# Seven photographs: six faces in four, one without, two that could not be read.
ENTRIES = [
    entry("a/happy/1.jpg", face("happy", 0.9, 60), face("sad", 0.5, 30)),
    entry("a/happy/2.jpg"),
    entry("a/sad/3.jpg", error="truncated: a JPEG without its end-of-image marker"),
    entry("a/sad/4.jpg", face("sad", 0.4, 20, said=False)),
    entry("a/sad/5.jpg", error="40 x 30,000 pixels; expected at most 9 in all, scale it down"),
    entry("a/none/6.jpg", face("neutral", 0.7, 100), face("happy", 0.6, 90)),
    entry("a/neutral/7.jpg", face("neutral", 1.0, 25)),
]


def write_csv(
    path: Path, entries: Sequence[Entry] = ENTRIES, classes: Sequence[str] = CLASSES
) -> Path:
    """Write a table as `ferjax faces --csv` does."""
    table = results.Table(str(path), classes, ascii_only=True)
    for each in entries:
        table.add(each)
    table.close()
    return path


def typed(name: str, texts: Sequence[str]) -> Any:
    """Return a column as a table of typed columns has it."""
    values = [text or None for text in texts]
    if name in ("path", "label", "error"):
        return pa.array(values, pa.string())
    if name == "too_small":
        return pa.array([None if v is None else v == "True" for v in values], pa.bool_())
    if name in WHOLE:
        return pa.array([None if v is None else int(v) for v in values], pa.int64())
    return pa.array([None if v is None else float(v) for v in values], pa.float64())


def table_of(entries: Sequence[Entry] = ENTRIES, classes: Sequence[str] = CLASSES) -> Any:
    """Return the same rows as a table of typed columns."""
    names = results.columns(classes)
    rows = [row for each in entries for row in results.rows(each)]
    rows = [[*row[:-1], *[""] * (len(names) - len(row)), row[-1]] for row in rows]
    columns = zip(*rows) if rows else [()] * len(names)
    return pa.table({name: typed(name, texts) for name, texts in zip(names, columns)})


def write(path: Path, table: Any = None, **options: Any) -> Path:
    """Write a Parquet file, in a folder that is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table_of() if table is None else table, path, **options)
    return path


def write_parts(folder: Path, *parts: Sequence[Entry]) -> Path:
    """Write a folder of Parquet files."""
    for number, part in enumerate(parts):
        write(folder / f"part-{number}.parquet", table_of(part))
    return folder


def crops(*rows: tuple[str, str | None, float | None, str | None]) -> Any:
    """Return a table of pictures of one face each: path, label, confidence, error."""
    probabilities = [
        dict.fromkeys(CLASSES) if label is None or confidence is None else shares(label, confidence)
        for _, label, confidence, _ in rows
    ]
    paths, labels, confidences, errors = zip(*rows)
    return pa.table(
        {
            "path": pa.array(paths),
            "label": pa.array(labels, pa.string()),
            "confidence": pa.array(confidences, pa.float64()),
            **{name: pa.array([p[name] for p in probabilities], pa.float64()) for name in CLASSES},
            "error": pa.array(errors, pa.string()),
        }
    )


def write_film(path: Path) -> Path:
    """Write the rows of a film: two frames, the first with two faces."""

    def seen(track: int, label: str, confidence: float) -> VideoFace:
        each = vars(face(label, confidence, 40))
        return VideoFace(**each, track=track, raw=shares(label, 0.5))

    frames = [
        VideoFrame(
            number=0, time=0.0, shape=(9, 9), faces=[seen(1, "happy", 0.8), seen(2, "sad", 0.6)]
        ),
        VideoFrame(number=3, time=0.12, shape=(9, 9), faces=[seen(1, "happy", 0.7)]),
    ]
    table = films.CsvFile(str(path.with_suffix(".csv")), films.columns(CLASSES))
    for frame in frames:
        table.add(films.row_of(frame, each) for each in frame.faces)
    table.close()
    films.write_parquet(str(path), str(path.with_suffix(".csv")), CLASSES, engine="onnx")
    return path


def many(rows: int) -> Any:
    """Return a table of so many rows, a face each, whose figures are known.

    Confidences are 0.5, 0.51, ... 0.99 and so on again; labels in turn; sizes 20 and 40 in turn.
    """
    number = np.arange(rows)
    confidence = 0.5 + number % 50 / 100
    columns: dict[str, Any] = {
        name: np.zeros(rows) for name in results.columns(CLASSES) if name != "error"
    }
    columns |= {
        "path": pa.array([f"p/{i}.jpg" for i in range(rows)]),
        "face": np.ones(rows, np.int64),
        "size": np.where(number % 2, 40.0, 20.0),
        "too_small": number % 2 == 0,
        "label": pa.array(np.array(CLASSES)[number % 3]),
        "confidence": confidence,
        **{
            name: np.where(number % 3 == k, confidence, (1 - confidence) / 2)
            for k, name in enumerate(CLASSES)
        },
        "error": pa.nulls(rows, pa.string()),
    }
    return pa.table(columns)
