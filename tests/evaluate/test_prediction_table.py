"""What a run has predicted, measured on the pictures whose label is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferjax.errors import DataError
from ferjax.evaluate import evaluate_table, write_report
from ferjax.evaluate.report import text

pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'ferjax[parquet]'")

from ..prediction_tables.written import (
    crops,
    entry,
    face,
    table_of,
    write,
    write_csv,
    write_film,
    write_parts,
)

# By folder, five are happy, sad, happy, neutral and sad; all but the last are said so.
KNOWN = [
    entry("p/happy/1.jpg", face("happy", 0.9)),
    entry("p/sad/2.jpg", face("sad", 0.8)),
    entry("p/happy/3.jpg", face("happy", 0.7)),
    entry("p/neutral/4.jpg", face("neutral", 0.6)),
    entry("p/sad/5.jpg", face("neutral", 0.5)),
]


def labels(path: Path, *rows: tuple[str, str], header: str = "path,label") -> Path:
    path.write_text("\n".join([header, *map(",".join, rows)]) + "\n")
    return path


def test_by_folder(tmp_path: Path) -> None:
    found = evaluate_table(write_parts(tmp_path / "out", KNOWN[:2], KNOWN[2:]))
    assert (found.whole.images, found.whole.correct) == (5, 4)
    assert found.class_names == ("happy", "sad", "neutral")
    assert found.whole.confusion == ((2, 0, 0), (0, 1, 1), (0, 0, 1))
    assert found.whole.classes["sad"].recall == 0.5
    assert found.whole.balanced_accuracy == pytest.approx((1 + 0.5 + 1) / 3)
    assert found.whole.calibration is not None
    # -log of what the true class got: 0.9, 0.8, 0.7, 0.6, and 0.25 of the last.
    likelihoods = np.log([0.9, 0.8, 0.7, 0.6, 0.25])
    assert found.whole.calibration.negative_log_likelihood == pytest.approx(-likelihoods.mean())
    assert found.notes == ()
    assert (found.data["name"], found.data["split"]) == ("out", "labels by folder")
    assert found.predictions.names[0] == "p/happy/1.jpg"


def test_the_rows_order_does_not_matter(tmp_path: Path) -> None:
    one = evaluate_table(write_csv(tmp_path / "t.csv", KNOWN)).whole
    other = evaluate_table(write_csv(tmp_path / "u.csv", KNOWN[::-1])).whole
    assert (one.confusion, one.accuracy) == (other.confusion, other.accuracy)


@pytest.mark.parametrize(
    ("paths", "correct"),
    [
        (["p/happy/2024/a.jpg", "p/sad/2024/b.jpg"], 2),
        (["p\\happy\\a.jpg", "p\\sad\\b.jpg"], 2),
        (["s3://bucket/Happiness/a.jpg", "s3://bucket/SAD/b.jpg"], 2),
        (["/home/sad/happy/a.jpg", "/home/sad/sad/b.jpg"], 2),
    ],
)
def test_folders_that_are_classes(tmp_path: Path, paths: list[str], correct: int) -> None:
    said = [entry(path, face(name, 0.9)) for path, name in zip(paths, ("happy", "sad"))]
    found = evaluate_table(write_csv(tmp_path / "t.csv", said)).whole
    assert (found.images, found.correct) == (2, correct)


def test_what_has_no_label_and_no_face_is_told(tmp_path: Path) -> None:
    found = evaluate_table(write(tmp_path / "t.parquet"))
    # Of ENTRIES one is of no class, one of a class has no face, two are unreadable; one of those
    # with a label shows two faces, of 60 and 30 pixels.
    assert found.data["left_out"] == {
        "without_label": 1,
        "other_labels": {},
        "failed": 2,
        "without_face": 1,
        "several_faces": 0,
    }
    assert (found.whole.images, found.whole.correct) == (3, 3)
    assert found.notes == (
        "pictures without a label, which are left out: 1 of 7",
        "pictures with a label that are left out, so that the figures flatter: 2 that could not be "
        "read, 1 without a face",
        "faces of which the run has said nothing, whose most probable class counts: 1",
    )


@pytest.mark.parametrize(
    ("several", "images", "correct"), [("clear", 1, 1), ("largest", 2, 1), ("skip", 0, 0)]
)
def test_pictures_with_several_faces(
    tmp_path: Path, several: str, images: int, correct: int
) -> None:
    path = write_csv(
        tmp_path / "t.csv",
        [
            entry("happy/1.jpg", face("sad", 0.9, 20), face("happy", 0.8, 31)),
            entry("happy/2.jpg", face("happy", 0.9, 20), face("sad", 0.8, 29)),
        ],
    )
    if not images:
        with pytest.raises(DataError, match="no face was found, or none clearly the largest"):
            evaluate_table(path, several=several)
        return
    found = evaluate_table(path, several=several)
    assert (found.whole.images, found.whole.correct) == (images, correct)
    assert found.data["left_out"]["several_faces"] == 2 - images


def test_by_a_list(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", KNOWN)
    listed = labels(
        tmp_path / "labels.csv",
        *[("1.jpg", "Happiness"), ("p/sad/2.jpg", "sad"), ("3.jpg", "sad"), ("4.jpg", "bored")],
    )
    with pytest.warns(UserWarning, match="no row about 1 of 5 measured images"):
        found = evaluate_table(path, labels=listed)
    assert (found.whole.images, found.whole.correct) == (3, 2)
    assert found.data["split"] == "labels of labels.csv"
    assert found.notes == (
        "pictures without a label, which are left out: 1 of 5",
        "pictures with labels that are no class of the table, which are left out: 1 of 5 (bored 1)",
    )


def test_a_list_of_other_columns(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", KNOWN[:1])
    rows = ("1.jpg", "happy", "7")
    both = labels(tmp_path / "both.csv", rows, header="path,emotion,age")  # type: ignore[arg-type]
    assert evaluate_table(path, labels=both).whole.correct == 1
    neither = labels(tmp_path / "n.csv", rows, header="path,colour,age")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"n\.csv: expected a column label, got colour, age"):
        evaluate_table(path, labels=neither)


def test_groups(tmp_path: Path) -> None:
    groups = labels(
        tmp_path / "groups.csv",
        *[(f"{n}.jpg", "yes" if n % 2 else "no") for n in range(1, 6)],
        header="path,glasses",
    )
    found = evaluate_table(write_csv(tmp_path / "t.csv", KNOWN), attributes=groups)
    assert found.subgroups is not None
    assert [g.images for g in found.subgroups.comparisons[0].groups] == [2, 3]


def test_pictures_of_one_face_each(tmp_path: Path) -> None:
    table = crops(
        ("happy/1.png", "happy", 0.8, None),
        ("sad/2.png", "happy", 0.6, None),
        ("sad/3.png", None, None, "sad/3.png: no such file"),
    )
    found = evaluate_table(write(tmp_path / "t.parquet", table))
    assert (found.whole.images, found.whole.correct) == (2, 1)
    assert found.data["left_out"]["failed"] == 1


def test_a_report(tmp_path: Path) -> None:
    found = evaluate_table(write_csv(tmp_path / "t.csv", KNOWN))
    lines = text(found).splitlines()
    assert lines[0] == "stored probabilities on t.csv (labels by folder), single view"
    assert "accuracy 80.00 %" in [" ".join(line.split()) for line in lines]
    page = write_report(found, tmp_path / "report")
    assert "4 of 5 images (labels by folder) get their own label" in page.read_text()
    assert not (tmp_path / "report" / "mistakes.png").exists()
    document = json.loads((tmp_path / "report" / "report.json").read_text())
    assert document["weights"]["sha256"] is None
    assert document["data"]["left_out"]["failed"] == 0


def changed(name: str, value: float | None) -> Any:
    import pyarrow as pa

    table = table_of(KNOWN)
    values = [value, *table[name].to_pylist()[1:]]
    return table.set_column(table.column_names.index(name), name, pa.array(values))


def test_tables_that_cannot_be_measured(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"f\.parquet: of films; expected faces in pictures"):
        evaluate_table(write_film(tmp_path / "f.parquet"))
    for value in (1.5, -0.5, None):
        path = write(tmp_path / "t.parquet", changed("happy", value))
        with pytest.raises(DataError, match="expected probabilities from 0 to 1 for every face"):
            evaluate_table(path)
    path = write(tmp_path / "t.parquet", changed("path", None))
    with pytest.raises(DataError, match="expected a path in every row, some have none"):
        evaluate_table(path)
    path = write(tmp_path / "t.parquet", table_of([]))
    with pytest.raises(DataError, match="expected rows, the table is empty"):
        evaluate_table(path)
    unknown = [entry("photos/1.jpg", face("happy", 0.9)), entry("2.jpg", face("sad", 0.9))]
    path = write_csv(tmp_path / "t.csv", unknown)
    with pytest.raises(
        DataError, match=r"expected a class among happy, sad, neutral for the names"
    ):
        evaluate_table(path)
    others = labels(tmp_path / "l.csv", ("1.jpg", "bored"), ("2.jpg", "3"))
    with pytest.raises(DataError, match=r"for labels in .*l\.csv, got 3, bored"):
        evaluate_table(path, labels=others)
    with pytest.raises(DataError, match="expected clear, largest, skip for --several"):
        evaluate_table(path, several="all")
