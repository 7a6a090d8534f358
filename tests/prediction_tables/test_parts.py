"""Which files are tables of what was predicted, and what is refused of them."""

from __future__ import annotations

import builtins
import json
import os
from pathlib import Path
from typing import Any

import pytest

from ferjax import prediction_tables
from ferjax.data import archive_guards
from ferjax.errors import DataError
from ferjax.prediction_tables.parts import RECORD

pa = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'ferjax[parquet]'")

from .written import (  # noqa: E402
    CLASSES,
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


def read(path: Path) -> None:
    prediction_tables.summarize(prediction_tables.opened(path))


def test_a_folder(tmp_path: Path) -> None:
    folder = write_parts(tmp_path / "out", ENTRIES[:3], ENTRIES[3:])
    (folder / "summary.json").write_text("{}")
    (folder / ".part-9.parquet.tmp").write_text("half a file")
    (folder / "_partial.parquet").write_text("half a file")
    table = prediction_tables.opened(folder)
    assert (table.kind, table.name, table.class_names) == ("photographs", "out", CLASSES)
    assert [part.path.name for part in table.parts] == ["part-0.parquet", "part-1.parquet"]
    assert [part.rows for part in table.parts] == [4, 5]
    assert prediction_tables.is_prediction_table(folder)


def test_what_tables_are_told_by(tmp_path: Path) -> None:
    of_faces = pa.table({"image": [b"GIF"], "label": [0], "path": ["a.gif"]})
    pixels = tmp_path / "fer2013.csv"
    pixels.write_text("emotion,pixels,Usage\n0,1 2 3 4,Training\n")
    (tmp_path / "nothing").mkdir()
    for path, expected in (
        (write(tmp_path / "t.parquet"), True),
        (write_csv(tmp_path / "t.csv"), True),
        (write_film(tmp_path / "f.parquet"), True),
        (tmp_path / "f.csv", True),
        (write(tmp_path / "c.parquet", crops(("a.png", "happy", 0.9, None))), True),
        (write(tmp_path / "hf.parquet", of_faces), False),
        (pixels, False),
        (tmp_path / "nothing", False),
        (tmp_path / "no_such_file", False),
    ):
        assert prediction_tables.is_prediction_table(path) is expected, path


def test_kept_columns_are_no_classes(tmp_path: Path) -> None:
    table = table_of().append_column("id", pa.array(range(9)))
    assert prediction_tables.opened(write(tmp_path / "t.parquet", table)).class_names == CLASSES


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["size"], "no column 'size'; expected Parquet files as `--on ray`"),
        (["face", "error"], "no column 'face', 'error'"),
        (["happy", "sad", "neutral"], "no column of a class's probability"),
    ],
)
def test_missing_columns_are_named(tmp_path: Path, columns: list[str], message: str) -> None:
    path = write(tmp_path / "t.parquet", table_of().drop_columns(columns))
    with pytest.raises(DataError, match=rf"t\.parquet: {message}"):
        prediction_tables.opened(path)


def test_a_folder_without_parquet_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no \.parquet files in this folder; expected"):
        prediction_tables.opened(tmp_path)
    with pytest.raises(DataError, match=r"gone: no such file or folder; expected Parquet"):
        prediction_tables.opened(tmp_path / "gone")
    text = tmp_path / "notes.txt"
    text.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"notes\.txt: expected Parquet files"):
        prediction_tables.opened(text)


def test_a_part_that_cannot_be_read_is_not_left_out(tmp_path: Path) -> None:
    write(tmp_path / "1.parquet")
    (tmp_path / "2.parquet").symlink_to(tmp_path / "moved.parquet")
    with pytest.raises(DataError, match=r"2\.parquet: no such file"):
        prediction_tables.opened(tmp_path)


def test_classes_that_differ_between_parts(tmp_path: Path) -> None:
    folder = write_parts(tmp_path / "out", ENTRIES[:2])
    others = ("happy", "sad", "fear")
    table = table_of([entry("b.jpg", face("fear", 0.9, classes=others))], others)
    write(folder / "part-1.parquet", table)
    expected = r"part-1\.parquet: classes happy, sad, fear, and in part-0\.parquet classes happy, "
    with pytest.raises(DataError, match=expected + "sad, neutral; expected the files of one run"):
        prediction_tables.opened(folder)


def test_another_order_of_classes_is_no_other_class(tmp_path: Path) -> None:
    folder = write_parts(tmp_path / "out", ENTRIES[:2])
    names = table_of().column_names
    turned = [*names[: -1 - len(CLASSES)], *reversed(CLASSES), "error"]
    write(folder / "part-1.parquet", table_of(ENTRIES[2:]).select(turned))
    whole = prediction_tables.summarize(prediction_tables.opened(write(tmp_path / "whole.parquet")))
    found = prediction_tables.summarize(prediction_tables.opened(folder))
    assert list(found.classes) == list(CLASSES)
    for name, of_class in whole.classes.items():
        assert found.classes[name].mean_probability == pytest.approx(of_class.mean_probability)


def test_parts_of_other_kinds(tmp_path: Path) -> None:
    folder = write_parts(tmp_path / "out", ENTRIES)
    write(folder / "part-1.parquet", crops(("a.png", "happy", 0.9, None)))
    with pytest.raises(DataError, match=r"part-1\.parquet: pictures of one face each, and in part"):
        prediction_tables.opened(folder)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("confidence", ["high"] * 9, "expected numbers in column 'confidence', got 'high'"),
        ("size", [[1.0]] * 9, "column 'size' is of list<.*>; expected numbers"),
        ("label", [3] * 9, "column 'label' is of int64; expected text"),
    ],
)
def test_columns_of_another_kind(
    tmp_path: Path, name: str, values: list[Any], message: str
) -> None:
    table = table_of()
    table = table.set_column(table.column_names.index(name), name, pa.array(values))
    with pytest.raises(DataError, match=rf"t\.parquet: {message}"):
        read(write(tmp_path / "t.parquet", table))


def test_texts_that_are_not_utf_8(tmp_path: Path) -> None:
    column = pa.array([b"\xff/a.png"] * 9).view(pa.string())
    path = write(tmp_path / "t.parquet", table_of().set_column(0, "path", column))
    with pytest.raises(DataError, match=r"t\.parquet: a text that is not UTF-8$"):
        read(path)


def test_a_path_that_is_empty() -> None:
    with pytest.raises(DataError, match="expected a folder or a file, got an empty string"):
        prediction_tables.opened("")


def test_a_csv_cell_that_is_no_number(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv")
    path.write_text(path.read_text().replace("0.900000", "high", 1))
    with pytest.raises(DataError, match=r"t\.csv: cannot be read: .*high"):
        read(path)


# --- damaged and hostile files -------------------------------------------------------------------


def test_damaged_files(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet")
    data = path.read_bytes()
    for cut in (4, 12, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(DataError, match=r"^[^\n]*t\.parquet: [^\n]*$"):
            read(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"t\.parquet: empty, 0 bytes"):
        read(path)


def test_a_damaged_page(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", compression="none")
    data = bytearray(path.read_bytes())
    for at in range(4, len(data) // 2, 7):
        data[at] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"^[^\n]*t\.parquet: [^\n]*$"):
        read(path)


def test_what_would_unpack_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_guards, "RATIO_FROM", 1 << 16)
    table = table_of()
    at = table.column_names.index("path")
    table = table.set_column(at, "path", pa.array(["a" * 5_000_000] * 9))
    path = write(tmp_path / "t.parquet", table, compression="zstd")
    with pytest.raises(DataError, match=r"would unpack to [\d,]+; expected a table of faces"):
        read(path)


def test_texts_that_repeat_take_no_memory(tmp_path: Path) -> None:
    table = many(3_000)
    at = table.column_names.index("error")
    long = pa.DictionaryArray.from_arrays(pa.array([0] * len(table)), ["e" * 100_000])
    before = pa.total_allocated_bytes()
    path = write(tmp_path / "t.parquet", table.set_column(at, "error", long))
    sizes = []
    prediction_tables.summarize(
        prediction_tables.opened(path),
        look=lambda rows: sizes.append(pa.total_allocated_bytes() - before),
    )
    assert max(sizes) < 30 * 2**20  # 300 MB, were each of them written out


def test_too_many_columns(tmp_path: Path) -> None:
    table = table_of()
    wide = pa.table(
        {
            **dict(zip(table.column_names, table.columns)),
            **{f"c{i}": table["x"] for i in range(2000)},
        }
    )
    with pytest.raises(DataError, match=r"2,0\d\d columns; expected Parquet"):
        prediction_tables.opened(write(tmp_path / "t.parquet", wide))


def test_columns_that_stand_twice(tmp_path: Path) -> None:
    table = table_of().append_column("size", pa.array([1.0] * 9))
    with pytest.raises(DataError, match="expected different columns, got 'size' twice"):
        prediction_tables.opened(write(tmp_path / "t.parquet", table))


def test_pyarrow_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, table = write(tmp_path / "t.parquet"), write_csv(tmp_path / "t.csv")
    original = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for each in (path, table):
        with pytest.raises(DataError, match=r"pip install 'ferjax\[parquet\]'"):
            prediction_tables.opened(each)


def test_a_folder_whose_name_is_no_utf_8(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/rows\xff"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    for name, content in (("a", ENTRIES[:3]), (os.fsdecode(b"b\xfe"), ENTRIES[3:])):
        with open(folder / f"{name}.parquet", "wb") as file:
            pa.parquet.write_table(table_of(content), file)
    table = prediction_tables.opened(folder)
    assert prediction_tables.summarize(table).rows == 9


def test_a_run_over_many_paths_is_unfinished(tmp_path: Path) -> None:
    folder = write_parts(tmp_path / "rows", ENTRIES)
    given = [f"/photos/{number:060}.jpg" for number in range(20_000)]
    (folder / RECORD).write_text(json.dumps({"asked": {"given": given}, "ended": False}))
    assert prediction_tables.opened(folder).is_unfinished
