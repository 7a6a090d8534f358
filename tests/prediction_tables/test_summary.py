"""What is counted in tables of what was predicted, in Parquet and CSV files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferjax import prediction_tables
from ferjax.errors import DataError
from ferjax.prediction_tables.histogram import Histogram
from ferjax.prediction_tables.summary import ClassFaces, Frames, Pictures, Summary, error_kind

pa = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'ferjax[parquet]'")

from .written import (  # noqa: E402
    ENTRIES,
    crops,
    entry,
    face,
    many,
    table_of,
    write,
    write_csv,
    write_film,
    write_parts,
)


def summary(path: Path) -> Summary:
    return prediction_tables.summarize(prediction_tables.opened(path))


@pytest.mark.parametrize("value", [float("inf"), 1e308])
@pytest.mark.parametrize("name", ["confidence", "happy", "size", "face"])
def test_numbers_without_end_are_none(tmp_path: Path, name: str, value: float) -> None:
    table = table_of()
    table = table.set_column(table.column_names.index(name), name, pa.array([value] * 9))
    found = summary(write(tmp_path / "t.parquet", table))
    json.dumps(found.to_json(), allow_nan=False)  # which raises for such a number


def rounded(value: Any) -> Any:
    """Return JSON's values with numbers that do not depend on the order of a sum."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return round(value, 9) if isinstance(value, float) else value


def test_pictures_faces_and_errors(tmp_path: Path) -> None:
    found = summary(write(tmp_path / "t.parquet"))
    assert (found.kind, found.form, found.files, found.rows) == ("photographs", "parquet", 1, 9)
    assert found.pictures == Pictures(pictures=7, without_faces=1, faces={0: 1, 1: 2, 2: 2})
    assert (found.faces, found.failed, found.frames, found.notes) == (6, 2, None, ())
    assert found.errors == {
        "truncated: a JPEG without its end-of-image marker": 1,
        "N x N pixels; expected at most N in all, scale it down": 1,
    }


def test_labels_and_mean_probabilities(tmp_path: Path) -> None:
    found = summary(write(tmp_path / "t.parquet"))
    assert found.abstained == 1
    assert {name: c.faces for name, c in found.classes.items()} == {
        "happy": 2,
        "sad": 1,
        "neutral": 2,
    }
    happy = found.classes["happy"]
    # 0.9 and 0.25 of the first photograph, 0.3 of the one that abstains, 0.15 and 0.6, 0.
    assert happy.mean_probability == pytest.approx((0.9 + 0.25 + 0.3 + 0.15 + 0.6 + 0) / 6)
    assert happy.mean_confidence == pytest.approx(0.75)
    assert happy.share == pytest.approx(1 / 3)


def test_confidence_and_sizes(tmp_path: Path) -> None:
    found = summary(write(tmp_path / "t.parquet"))  # 0.4, 0.5, 0.6, 0.7, 0.9, 1.0
    assert found.confidence.mean == pytest.approx(4.1 / 6)
    assert (found.confidence.quantiles["0"], found.confidence.quantiles["1"]) == (0.4, 1.0)
    assert found.confidence.quantiles["0.5"] == 0.6
    assert found.confidence_histogram == (0, 0, 0, 0, 1, 1, 1, 1, 0, 2)
    assert found.size is not None  # 20, 25, 30, 60, 90, 100
    assert (found.size.quantiles["0.25"], found.size.quantiles["0.75"]) == (25.0, 90.0)
    assert found.too_small == 1


def test_files_of_every_form_say_the_same(tmp_path: Path) -> None:
    whole = rounded(summary(write(tmp_path / "t.parquet")).to_json())
    for path in (
        write_csv(tmp_path / "t.csv"),
        write_parts(tmp_path / "parts", ENTRIES[3:], ENTRIES[:3]),
        write(tmp_path / "small.parquet", row_group_size=2),
        write(tmp_path / "plain.parquet", use_dictionary=False, compression="none"),
    ):
        other = rounded(summary(path).to_json())
        assert {**other, **{key: whole[key] for key in ("source", "form", "files")}} == whole


def test_numbers_may_be_text(tmp_path: Path) -> None:
    table = table_of()
    texts = [
        pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.string())
        for column in table.columns
    ]
    found = summary(write(tmp_path / "t.parquet", pa.table(texts, names=table.column_names)))
    assert found.too_small == 1
    assert found.confidence.mean == pytest.approx(4.1 / 6)


def test_class_names_as_they_were(tmp_path: Path) -> None:
    classes = ("Label", "=1+1", "neutral")  # the first is a column's name, the next a formula
    faces = [face("=1+1", 0.8, classes=classes), face("Label", 0.6, classes=classes)]
    path = write_csv(tmp_path / "t.csv", [entry("a.jpg", *faces)], classes)
    found = summary(path)
    assert [(name, c.faces) for name, c in found.classes.items()] == [
        ("Label", 1),
        ("=1+1", 1),
        ("neutral", 0),
    ]
    assert found.other_labels == {}


def test_labels_that_are_no_class(tmp_path: Path) -> None:
    table = table_of()
    labels = pa.array([None if v is None else "bored" for v in table["label"].to_pylist()])
    at = table.column_names.index("label")
    found = summary(write(tmp_path / "t.parquet", table.set_column(at, "label", labels)))
    assert found.other_labels == {"bored": 5}
    assert found.notes == ("labels that are no class: bored",)


def test_a_run_that_is_not_finished(tmp_path: Path) -> None:
    folder = write_parts(tmp_path / "out", ENTRIES)
    record = folder / ".ferjax-run.json"
    for text, notes in (
        ('{"ended": false}', ("the run is not finished; --resume goes on with it",)),
        ('{"ended": true}', ()),
        ("[", ()),
    ):
        record.write_text(text)
        assert summary(folder).notes == notes


def test_faces_that_are_missing_are_told(tmp_path: Path) -> None:
    table = table_of()
    rest = table.filter(pa.array(np.arange(len(table)) != 0))  # the second face of the first stays
    assert summary(write(tmp_path / "t.parquet", rest)).notes == ()  # another's first stands in
    both = pa.concat_tables([table, table.slice(1, 1), table.slice(1, 1), table.slice(1, 1)])
    assert "stand in the table twice" in summary(write(tmp_path / "u.parquet", both)).notes[0]


def test_only_pictures_without_a_face(tmp_path: Path) -> None:
    found = summary(write(tmp_path / "t.parquet", table_of([entry("a.jpg"), entry("b.jpg")])))
    assert found.pictures == Pictures(pictures=2, without_faces=2, faces={0: 2})
    assert found.confidence.mean is None
    assert found.classes["happy"] == ClassFaces(
        faces=0, share=None, mean_probability=None, mean_confidence=None
    )


def test_pictures_of_one_face_each(tmp_path: Path) -> None:
    table = crops(
        ("happy/1.png", "happy", 0.8, None),
        ("happy/2.png", None, None, "happy/2.png: no such file"),
        ("sad/3.png", "sad", 0.6, None),
    )
    found = summary(write(tmp_path / "t.parquet", table))
    assert (found.kind, found.rows, found.faces, found.failed) == ("crops", 3, 2, 1)
    assert found.pictures == Pictures(pictures=3, without_faces=0, faces={1: 2})
    assert (found.size, found.too_small, found.errors) == (None, None, {"no such file": 1})
    assert found.classes["sad"].mean_confidence == pytest.approx(0.6)


def test_a_film(tmp_path: Path) -> None:
    found = summary(write_film(tmp_path / "f.parquet"))
    assert found.kind == "films"
    assert found.frames == Frames(films=None, frames=2, first=0.0, last=0.12)
    assert (found.faces, found.pictures) == (3, None)
    assert found.classes["happy"].faces == 2
    # Smoothed shares, not the frame's own.
    assert found.classes["happy"].mean_probability == pytest.approx((0.8 + 0.2 + 0.7) / 3)
    assert summary(tmp_path / "f.csv").frames == found.frames


def test_films_by_path(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    film = pq.read_table(write_film(tmp_path / "f.parquet"))
    rows = pa.concat_tables([film, film])
    rows = rows.add_column(0, "path", pa.array(["a.mp4"] * 3 + ["b.mp4"] * 3))
    rows = rows.append_column("error", pa.nulls(6, pa.string()))
    bad = pa.table({"path": ["c.mp4"], "error": ["c.mp4: truncated"]})
    rows = pa.concat_tables([rows, bad], promote_options="default")
    found = summary(write(tmp_path / "films" / "part.parquet", rows))
    assert found.frames == Frames(films=3, frames=4, first=0.0, last=0.12)
    assert (found.faces, found.errors) == (6, {"truncated": 1})


def test_rows_are_read_some_at_a_time(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", many(150_000), row_group_size=150_000)
    sizes: list[int] = []
    done: list[tuple[int, int, str]] = []
    found = prediction_tables.summarize(
        prediction_tables.opened(path),
        look=lambda rows: sizes.append(len(rows)),
        progress=lambda *at: done.append(at),
    )
    assert max(sizes) <= 1 << 16 and sum(sizes) == 150_000
    assert done[-1] == (150_000, 150_000, "rows")
    assert found.faces == 150_000
    assert [c.faces for c in found.classes.values()] == [50_000] * 3
    assert found.confidence.mean == pytest.approx(0.745)
    assert found.confidence.quantiles["0.5"] == pytest.approx(0.74)
    assert found.too_small == 75_000


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    part = many(125_000)
    peaks = []
    for files in (1, 8):
        for number in range(files):
            write(tmp_path / str(files) / f"{number}.parquet", part)
        code = (
            "import resource, sys\nfrom ferjax import prediction_tables\n"
            "found = prediction_tables.summarize(prediction_tables.opened(sys.argv[1]))\n"
            "print(found.rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        command = [sys.executable, "-c", code, str(tmp_path / str(files))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows, peak = map(int, done.stdout.split())
        assert rows == files * 125_000
        peaks.append(peak * (1 if sys.platform == "darwin" else 1024))
    assert peaks[1] - peaks[0] < 100e6  # of a million rows of 290 bytes


def test_small_files_are_looked_at_together(tmp_path: Path) -> None:
    folder = write_parts(tmp_path / "out", *([each] for each in ENTRIES))
    sizes: list[int] = []
    done: list[tuple[int, int, str]] = []
    table = prediction_tables.opened(folder, progress=lambda *at: done.append(at))
    found = prediction_tables.summarize(table, look=lambda rows: sizes.append(len(rows)))
    assert sizes == [9]
    assert done[-1] == (7, 7, "files")
    whole = rounded(summary(write(tmp_path / "t.parquet")).to_json())
    together = rounded(found.to_json())
    assert {**together, "source": whole["source"], "files": 1} == whole


def test_an_empty_table(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", table_of([]))
    with pytest.raises(DataError, match=r"t\.parquet: expected rows, the table is empty"):
        summary(path)


def test_errors_of_a_kind() -> None:
    assert error_kind("x/1.jpg: no such file", "x/1.jpg") == "no such file"
    assert error_kind("./=1.jpg: empty, 0 bytes", "./=1.jpg") == "empty, N bytes"
    starts = "a.jpg: not an image that ferjax can read (starts with b'\\x00\\'a'); JPEG 2000"
    assert error_kind(starts, "a.jpg") == (
        "not an image that ferjax can read (starts with '...'); JPEG 2000"
    )
    assert error_kind("cannot open x/1.jpg", "x/1.jpg") == "cannot open ..."


def test_quantiles_of_nothing_and_beyond_the_scale() -> None:
    histogram = Histogram(0.1, 1.0)
    assert (histogram.mean, histogram.quantile(0.5)) == (None, None)
    histogram.add(np.array([-1.0, 0.31, 7.0, np.inf]))
    assert [histogram.quantile(share) for share in (0.0, 0.5, 1.0)] == [0.0, 0.3, 1.0]
    assert histogram.mean == pytest.approx(6.31 / 3)
