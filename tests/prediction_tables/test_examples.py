"""The sheet of examples: which faces, cut out of which pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ferjax import prediction_tables
from ferjax.errors import DataError, FerjaxError
from ferjax.pictures import sheet
from ferjax.pictures.sheet import Row
from ferjax.prediction_tables.examples import Examples

pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'ferjax[parquet]'")
pytest.importorskip("matplotlib", reason="needs matplotlib: pip install 'ferjax[evaluate]'")

from .written import (
    Entry,
    crops,
    entry,
    face,
    write,
    write_csv,
    write_film,
    write_parts,
)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """The rows of the last sheet, which is not drawn."""
    rows: list[Row] = []

    def keep(given: Sequence[Row], *_: Any, **__: Any) -> None:
        rows[:] = given

    monkeypatch.setattr(sheet, "draw", keep)
    return rows


def picture(path: Path, level: int) -> Path:
    """Write a dark picture in which the square at (20, 10), 40 pixels wide, has a level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.zeros((80, 100, 3), np.uint8)
    image[10:50, 20:60] = level
    cv2.imwrite(os.fspath(path), image)
    return path


def photographs(folder: Path, confidences: Sequence[float]) -> list[Entry]:
    """Write photographs of a happy face each, brighter from one to the next."""
    return [
        entry(
            os.fspath(picture(folder / f"{number}.png", 100 + number)),
            face("happy", confidence, 40, at=(20, 10)),
        )
        for number, confidence in enumerate(confidences)
    ]


def look(path: Path, **options: Any) -> Examples:
    table = prediction_tables.opened(path)
    chosen = Examples(table, **options)
    prediction_tables.summarize(table, look=chosen.look)
    return chosen


def levels(row: Row) -> list[int]:
    return [int(image[48, 48, 0]) for image in row.images]


def test_the_most_and_the_least_confident(tmp_path: Path, drawn: list[Row]) -> None:
    entries = photographs(tmp_path, [0.6, 0.9, 0.5, 0.8, 0.7])
    path = write_csv(tmp_path / "t.csv", entries)
    assert look(path, columns=2).draw("sheet.png") == []
    most, least = drawn
    assert (most.label, most.detail) == ("happy", "5 faces\nmost confident")
    assert (most.captions, least.captions) == (["0.900", "0.800"], ["0.500", "0.600"])
    assert (levels(most), levels(least)) == ([101, 103], [102, 100])
    assert (least.detail, least.joined) == ("least confident", True)
    assert all(image.shape == (96, 96, 3) for image in most.images)


def test_each_face_is_shown_once(tmp_path: Path, drawn: list[Row]) -> None:
    path = write_csv(tmp_path / "t.csv", photographs(tmp_path, [0.6, 0.9, 0.5]))
    look(path, columns=2).draw("sheet.png")
    assert [row.captions for row in drawn] == [["0.900", "0.600"], ["0.500"]]


def test_alike_faces_are_drawn_by_the_seed_alone(tmp_path: Path, drawn: list[Row]) -> None:
    entries = photographs(tmp_path, [1.0] * 30)
    sheets = []
    for seed, path in (
        (0, write_csv(tmp_path / "t.csv", entries)),
        (0, write_parts(tmp_path / "parts", entries[20:], entries[:7], entries[7:20])),
        (1, tmp_path / "t.csv"),
    ):
        look(path, seed=seed, columns=3).draw("sheet.png")
        sheets.append([levels(row) for row in drawn])
    assert sheets[0] == sheets[1] != sheets[2]
    assert sheets[0][0] != [100, 101, 102]


def test_pictures_that_are_missing_are_named(tmp_path: Path, drawn: list[Row]) -> None:
    entries = photographs(tmp_path, [0.9, 0.8, 0.7, 0.6])
    path = write_csv(tmp_path / "t.csv", entries)
    (tmp_path / "0.png").unlink()
    (tmp_path / "1.png").write_bytes(b"no picture")
    problems = look(path, columns=1).draw("sheet.png")
    assert problems[0] == f"{tmp_path / '0.png'}: no such file"
    assert problems[1].startswith(f"{tmp_path / '1.png'}: not an image that ferjax can read")
    assert [row.captions for row in drawn] == [["0.700"], ["0.600"]]


def test_another_picture_in_its_place(tmp_path: Path, drawn: list[Row]) -> None:
    entries = photographs(tmp_path, [0.9, 0.8])
    path = write_csv(tmp_path / "t.csv", entries)
    cv2.imwrite(os.fspath(tmp_path / "0.png"), np.zeros((8, 8), np.uint8))
    (problem,) = look(path, columns=1).draw("sheet.png")
    assert problem.startswith(f"{tmp_path / '0.png'}: is not the picture that the table is of: ")


def test_no_picture_can_be_opened(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", [entry("gone.png", face("happy", 0.9))])
    with pytest.raises(FerjaxError, match=r"no examples for s\.png: gone\.png: no such file"):
        look(path).draw("s.png")
    empty = write_csv(tmp_path / "u.csv", [entry("a.png")])
    with pytest.raises(FerjaxError, match=r"no examples for s\.png: the table has no faces"):
        look(empty).draw("s.png")


def test_pictures_of_one_face_are_shown_whole(tmp_path: Path, drawn: list[Row]) -> None:
    path = os.fspath(picture(tmp_path / "1.png", 200))
    table = crops((path, "sad", 0.6, None), ("gone.png", None, None, "gone.png: no such file"))
    look(write(tmp_path / "t.parquet", table)).draw("sheet.png")
    assert [row.label for row in drawn] == ["sad"]  # no row of the least confident, none are left
    assert drawn[0].images[0].shape == (96, 96, 3)
    assert drawn[0].images[0][0, 0, 0] == 0  # the corner of the picture


def test_faces_without_a_label_have_rows(tmp_path: Path, drawn: list[Row]) -> None:
    path = picture(tmp_path / "1.png", 200)
    said = entry(os.fspath(path), face("happy", 0.3, 40, at=(20, 10), said=False))
    look(write_csv(tmp_path / "t.csv", [said])).draw("sheet.png")
    assert (drawn[0].label, drawn[0].captions) == ("no label", ["0.300"])


def test_films_have_no_pictures(tmp_path: Path) -> None:
    table = prediction_tables.opened(write_film(tmp_path / "f.parquet"))
    with pytest.raises(DataError, match="of films, whose frames are no files"):
        Examples(table)
