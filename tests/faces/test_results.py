"""Faces of photographs as JSON, as a table and as text."""

from __future__ import annotations

import csv
import gc
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferjax.errors import ImageError, WriteError
from ferjax.faces import results
from ferjax.faces.face import Face, Photograph

LABELS = ("happy", "sad")


def face(**values: Any) -> Face:
    given = {
        "box": (10.123, -2.0, 30.0, 40.456),
        "score": 0.91239,
        "landmarks": np.arange(10, dtype=np.float32).reshape(5, 2) / 3,
        "roll": -3.14159,
        "label": "happy",
        "index": 0,
        "confidence": 0.75,
        "probabilities": {"happy": 0.75, "sad": 0.25},
    }
    return Face(**(given | values))


def entry(path: str = "a.jpg", *faces: Face, error: str | None = None) -> dict[str, Any]:
    bad = None if error is None else ImageError(error)
    shape = None if error else (48, 64)
    photograph = Photograph(source=path, shape=shape, faces=list(faces), error=bad)
    return results.entry_of(path, photograph)


def table(path: Path, *entries: dict[str, Any], ascii_only: bool = True) -> list[dict[str, str]]:
    written = results.Table(str(path), LABELS, ascii_only=ascii_only)
    for values in entries:
        written.add(values)
    written.close()
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))


def test_an_entry_says_what_computed_where_that_is_known() -> None:
    photograph = Photograph(source="a.jpg", shape=(48, 64), faces=[])
    said = results.entry_of("a.jpg", photograph, engine="onnx")
    assert said == {"engine": "onnx", **entry("a.jpg")}
    assert list(said)[:2] == ["path", "engine"]


def test_an_entry_is_what_is_known_of_a_photograph() -> None:
    assert entry("a.jpg", face(), face(box=(0, 0, 9, 9), landmarks=None)) == {
        "path": "a.jpg",
        "width": 64,
        "height": 48,
        "error": None,
        "faces": [
            {
                "face": 1,
                "box": [10.12, -2.0, 30.0, 40.46],
                "score": 0.9124,
                "landmarks": [[0, 0.33], [0.67, 1], [1.33, 1.67], [2, 2.33], [2.67, 3]],
                "roll": -3.14,
                "label": "happy",
                "index": 0,
                "confidence": 0.75,
                "probabilities": {"happy": 0.75, "sad": 0.25},
                "size": 40.46,
                "too_small": False,
            },
            {
                "face": 2,
                "box": [0, 0, 9, 9],
                "score": 0.9124,
                "landmarks": None,
                "roll": -3.14,
                "label": "happy",
                "index": 0,
                "confidence": 0.75,
                "probabilities": {"happy": 0.75, "sad": 0.25},
                "size": 9,
                "too_small": True,
            },
        ],
    }


def test_json_is_one_list_without_what_json_lacks() -> None:
    entries = [
        entry("a.jpg", face(confidence=float("nan"), score=float("inf")), face(label=None)),
        entry('[] "b".jpg'),
        entry(os.fsdecode(b"\xff.jpg"), error="c.jpg: empty"),
    ]
    text = "".join(results.json_list(iter(entries)))
    assert text.isascii()

    def refuse(name: str) -> None:
        pytest.fail(f"{name} is no JSON")

    assert json.loads(text, parse_constant=refuse) == entries
    assert entries[0]["faces"][0]["confidence"] is None
    assert json.loads("".join(results.json_list(iter([])))) == []


def test_a_table_has_a_row_for_each_face(tmp_path: Path) -> None:
    one, two, none, bad = table(
        tmp_path / "faces.csv",
        entry("a.jpg", face(), face(label=None, landmarks=None, box=(0, 0, 5, 6))),
        entry("b.jpg"),
        entry("c.jpg", error="c.jpg: empty, 0 bytes"),
    )
    assert one["path"] == two["path"] == "a.jpg"
    assert [row["face"] for row in (one, two, none, bad)] == ["1", "2", "0", "0"]
    assert [
        one[name] for name in ("x", "y", "width", "height")
    ] == "10.12 -2.00 30.00 40.46".split()
    assert (one["score"], one["roll"], one["size"]) == ("0.9124", "-3.14", "40.46")
    assert (one["right_eye_x"], one["left_mouth_y"]) == ("0.00", "3.00")
    assert (one["label"], one["confidence"]) == ("happy", "0.750000")
    assert (one["happy"], one["sad"]) == ("0.750000", "0.250000")
    assert (one["too_small"], two["too_small"]) == ("False", "True")
    assert (two["label"], two["right_eye_x"], two["confidence"]) == ("", "", "0.750000")
    assert set(none) == set(one)
    assert set(none.values()) == {"b.jpg", "0", ""}
    assert bad["error"] == "c.jpg: empty, 0 bytes"
    assert one["error"] == none["error"] == ""


@pytest.mark.parametrize("name", ["a,b.jpg", 'a "b".jpg', "a\nb\r.jpg", "ä.jpg", " a ;'.jpg"])
def test_names_come_back_from_a_table(tmp_path: Path, name: str) -> None:
    (row,) = table(tmp_path / "faces.csv", entry(name, face()), ascii_only=name.isascii())
    assert row["path"] == name
    assert row["label"] == "happy"


@pytest.mark.parametrize("name", ["=A1+1.jpg", "+a.jpg", "-a.jpg", "@a.jpg", "\ta.jpg"])
def test_no_path_is_a_formula_and_each_leads_to_its_file(tmp_path: Path, name: str) -> None:
    (row,) = table(tmp_path / "faces.csv", entry(name, error=f"{name}: empty"))
    assert row["path"] == f"./{name}"
    assert row["error"] == f"./{name}: empty"


def test_no_label_is_a_formula() -> None:
    assert results.columns(["=1+1", "b"])[-3:] == ["'=1+1", "b", "error"]
    (row,) = results.rows(entry("a.jpg", face(label="=1+1")))
    assert "'=1+1" in row


def test_labels_that_are_columns_get_other_names() -> None:
    assert results.columns(["happy", "Score"])[-3:] == ["p_happy", "p_Score", "error"]
    assert len(set(results.columns(["happy", "Score"]))) == len(results.columns(["a", "b"]))


def test_excel_is_told_of_letters_beyond_ascii(tmp_path: Path) -> None:
    path = tmp_path / "faces.csv"
    table(path, entry("a.jpg"))
    assert path.read_bytes().startswith(b"path,face,")
    table(path, entry("ä.jpg"), ascii_only=False)
    assert path.read_bytes().startswith("\ufeffpath,face,".encode())
    assert results.is_table(str(path))
    path.write_text("path,size\n")
    assert not results.is_table(str(path))
    path.write_text("")
    assert results.is_table(str(path))


def test_names_that_are_no_text_are_escaped_in_a_table(tmp_path: Path) -> None:
    (row,) = table(tmp_path / "faces.csv", entry(os.fsdecode(b"\xff.jpg"), face()))
    assert row["path"] == r"\udcff.jpg"


def test_a_row_is_in_the_file_before_the_next_comes(tmp_path: Path) -> None:
    path = tmp_path / "faces.csv"
    written = results.Table(str(path), LABELS, ascii_only=True)
    written.add(entry("a.jpg", face()))
    lines = path.read_text().splitlines()
    written.abandon()
    assert len(lines) == 2
    assert lines[1].startswith("a.jpg,1,")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a disk that is full")
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_is_a_line() -> None:
    with pytest.raises(WriteError, match=r"/dev/full: cannot be written \(No space left"):
        results.Table("/dev/full", LABELS, ascii_only=True)
    gc.collect()  # a file that were left open would be written again


def test_text_is_aligned() -> None:
    entries = [
        entry("long name.jpg", face(), face(label=None, confidence=0.5)),
        entry("b\n.jpg"),
        entry("c.jpg", face(box=(100, 1000, 20, 20.4))),
        entry("d.jpg", error="d.jpg: empty"),
    ]
    paths = [values["path"] for values in entries]
    lines = "".join(results.text_lines(iter(entries), paths, LABELS, abstains=True)).splitlines()
    assert lines == [
        "long name.jpg   1  happy  0.750            at   10,  -2    30 x  40",
        "long name.jpg   2  abstains (happy 0.500)  at   10,  -2    30 x  40",
        "b\\n.jpg         -  no face",
        "c.jpg           1  happy  0.750            at  100,1000    20 x  20  too small to tell",
    ]
