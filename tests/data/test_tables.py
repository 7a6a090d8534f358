"""Several tables that are one dataset, and what is asked of tables."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from ferjax.data import sources
from ferjax.errors import DataError
from tests.data.pixel_tables import IMAGES, read, table


def test_one_label_for_all_is_named(tmp_path: Path) -> None:
    text = table("label,pixels", fields="bored,{pixels}")
    assert read(tmp_path / "a.csv", text).class_names == ("bored",)


@pytest.mark.parametrize(
    "names",
    [
        ("train.csv", "val.csv", "test.csv"),
        ("fer_train.csv", "fer_valid.csv", "fer_test.csv"),
        ("data/train_data.tsv", "data/dev_data.tsv", "data/test_data.tsv"),
    ],
)
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_table_a_split(names: tuple[str, ...], form: str, tmp_path: Path) -> None:
    text = table("emotion,pixels", fields="{label},{pixels}")
    source = tmp_path / form
    if form == "zip":
        with zipfile.ZipFile(source, "w") as archive:
            for name in names:
                archive.writestr(name, text)
    else:
        for name in names:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(text)
    faces = sources.read(source, size=(4, 4)).faces
    assert faces.counts.tolist() == [[2] * 7] * 3
    for split, name in enumerate(names):
        rows = np.flatnonzero(faces.splits == split)
        assert faces.names[rows[0]] == f"{name}: row 1"
        np.testing.assert_array_equal(faces.images[rows], IMAGES)


@pytest.mark.parametrize(
    "names", [("a.csv", "b.csv"), ("fer_train.csv", "raf_train.csv", "test.csv")]
)
def test_tables_that_are_no_splits(names: tuple[str, ...], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).write_text(table("emotion,pixels", fields="{label},{pixels}"))
    with pytest.raises(DataError, match=rf"holds '{names[0]}' and '{names[1]}'; expected one"):
        sources.read(tmp_path)


def test_levels_are_for_folders(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"--classes-level \(classes_level=\) is for images in folders"
    ):
        read(tmp_path / "a.csv", table(), classes_level=1)
