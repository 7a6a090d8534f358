"""Tables: columns, cells that spreadsheets would compute, files that go on after some bytes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from ferjax.errors import FerjaxError, WriteError
from ferjax.faces.results import begins_as
from ferjax.video import tables
from ferjax.video.events import Event
from ferjax.video.seen import VideoFace, VideoFrame


def frame(label: str = "happy", share: float = 0.75) -> VideoFrame:
    face = VideoFace(
        box=(1.234, 2.0, 30.0, 40.456),
        score=0.91239,
        roll=-3.14159,
        label=label,
        index=0,
        confidence=share,
        probabilities={label: share, "sad": 1 - share},
        track=7,
        raw={label: 0.5, "sad": 0.5},
    )
    return VideoFrame(number=12, time=0.4, faces=[face], shape=(48, 64))


def test_a_row_by_hand() -> None:
    seen = frame()
    row = dict(
        zip(tables.columns(["happy", "sad"]), tables.row_of(seen, seen.faces[0]), strict=True)
    )
    assert row == {
        "time": "0.400000",
        "frame": "12",
        "track": "7",
        "x": "1.23",
        "y": "2.00",
        "width": "30.00",
        "height": "40.46",
        "score": "0.9124",
        "roll": "-3.14",
        "size": "40.46",
        "too_small": "False",
        "label": "happy",
        "confidence": "0.750000",
        "raw_happy": "0.500000",
        "raw_sad": "0.500000",
        "smoothed_happy": "0.750000",
        "smoothed_sad": "0.250000",
    }


def test_no_cell_is_a_formula_and_none_is_nan() -> None:
    seen = frame("=1+1", math.nan)
    row = tables.row_of(seen, seen.faces[0])
    assert "'=1+1" in row
    assert "nan" not in row
    event = Event(track=1, label="@x", start=0, end=1, confidence=0.5, frames=3)
    assert tables.event_row(event) == ["1", "'@x", "0.000", "1.000", "1.000", "0.5000", "3"]
    (face,) = json.loads(tables.json_line(seen))["faces"]
    assert face["probabilities"] == {"=1+1": None, "sad": None}


def test_a_file_goes_on_after_a_number_of_bytes(tmp_path: Path) -> None:
    path = str(tmp_path / "a.csv")
    file = tables.CsvFile(path, ["a", "b"])
    file.add([["1", "x,y"], ["2", 'say "z"']])
    offset = file.offset
    file.add([["3", "lost"]])
    file.close()
    file = tables.CsvFile(path, ["a", "b"], offset=offset)
    file.add([["4", "new"]])
    file.add([])
    file.close()
    assert list(tables.read_rows(path)) == [
        {"a": "1", "b": "x,y"},
        {"a": "2", "b": 'say "z"'},
        {"a": "4", "b": "new"},
    ]
    assert begins_as(path, ["a", "b"])
    assert not tables.is_table(path)
    with pytest.raises(WriteError, match=r"has .* bytes, expected the 999 that the run wrote"):
        tables.CsvFile(path, ["a", "b"], offset=999)
    assert len(list(tables.read_rows(path))) == 3


def test_one_process_writes_a_file_at_a_time(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    path = str(tmp_path / "a.csv")
    file = tables.CsvFile(path, ["a"])
    file.add([["1"]])
    for offset in (None, 2):
        with pytest.raises(WriteError, match=r"a\.csv: another process is writing it"):
            tables.CsvFile(path, ["a"], offset=offset)
    file.add([["2"]])
    file.close()
    assert [row["a"] for row in tables.read_rows(path)] == ["1", "2"]
    tables.CsvFile(path, ["a"]).close()


def test_letters_beyond_ascii_begin_with_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    tables.CsvFile(str(path), ["fröhlich"]).close()
    assert path.read_bytes() == b"\xef\xbb\xbffr\xc3\xb6hlich\n"
    assert begins_as(str(path), ["fröhlich"])


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"none/a\.csv: cannot be written \(No such file"):
        tables.CsvFile(str(tmp_path / "none" / "a.csv"), ["a"])


def test_a_class_called_na_is_not_missing_in_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table, path = str(tmp_path / "a.csv"), str(tmp_path / "a.parquet")
    seen = frame("NA")
    file = tables.CsvFile(table, tables.columns(["NA", "sad"]))
    file.add([tables.row_of(seen, seen.faces[0])])
    file.close()
    tables.write_parquet(path, table, ["NA", "sad"], engine="onnx")
    (row,) = parquet.read_table(path).to_pylist()
    assert (row["label"], row["raw_NA"], row["frame"]) == ("NA", 0.5, 12)
    assert parquet.read_schema(path).metadata[b"engine"] == b"onnx"


def test_without_pandas_and_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = __import__("sys").modules
    monkeypatch.setitem(modules, "pandas", None)
    with pytest.raises(FerjaxError, match="pandas is not installed: pip install pandas"):
        tables.to_pandas([])
    monkeypatch.setitem(modules, "pyarrow.csv", None)
    with pytest.raises(FerjaxError, match=r'pip install "ferjax\[parquet\]"'):
        tables.require_pyarrow()
