"""How a csv is written: what lacks something, lines without bound, encodings."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import pytest

from ferjax.data import csv_dialect
from ferjax.errors import DataError
from tests.data.pixel_tables import columns, in_columns, read, table


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,"
            "unknown,NF\nTraining,fer0000000.png,4,0,0,1,3,2,0,0,0,0\n",
            r"the votes of FER\+ \(fer2013new.csv\), which hold no pixels; expected fer2013.csv",
        ),
        (
            "image,label\ntrain_0001.jpg,5\n",
            "columns image, label, and no pixels.*<split>/<class>/",
        ),
        ("pixels,Usage\n1 2 3 4,test\n", "columns pixels, Usage, and no labels among them"),
        ("emotion,Usage\n1,test\n", "columns emotion, Usage, and no pixels among them"),
        (
            table(f"emotion,{columns()},x", fields="{label},{pixels}").replace("pixel_15", "z"),
            "15 co",
        ),
        (
            table(",".join(map(str, range(18))), pixels=in_columns),
            "18 columns of numbers, of which no",
        ),
        (table(None, pixels=in_columns), "18 columns without names; put names above the columns"),
        (table(None, fields="{i},{label},{pixels}"), "no header, and 2 columns that may be labels"),
        ("name,age\nAnna,3\n", "starts with b'name,age"),
    ],
)
def test_tables_that_lack_something(text: str, match: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=match) as error:
        read(tmp_path / "a.csv", text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "data",
    [
        b"emotion,pixels,Usage" + b",x" * 2**20,
        b"x" * 2**22,
        b"emotion,pixels,Usage\n0," + b"1," * 2**20,
        b'emotion,pixels,Usage\n0,"' + b"1 \n" * 2**20,
        b"emotion,pixels\n" + b'"' * 2**21,
        b"1 " + b"1" * 2**21,
        "emotion,pixels,Usage".encode("utf-16") + b"a\0" * 2**21,
        (b'0,"1 2\n' * 2**18),
    ],
)
def test_lines_without_bound(data: bytes, tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(DataError) as error:
        read(tmp_path / "a.csv", data)
    assert len(str(error.value)) < 2000
    assert time.monotonic() - start < 20


def test_a_header_of_a_number_of_thousands_of_digits(tmp_path: Path) -> None:
    """Python reads 4,300 digits at most."""
    with pytest.raises(DataError, match="and no pixels among them"):
        read(tmp_path / "a.csv", f"emotion,{'9' * 5000},Usage\n3,1 2 3 4,Training\n")


def test_a_packed_header_without_bound(tmp_path: Path) -> None:
    data = gzip.compress(b"emotion,pixels," + b"x," * (50 * 2**20), 1)
    with pytest.raises(DataError, match="a line of more than 1,048,576 characters"):
        read(tmp_path / "a.csv.gz", data)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings(encoding: str) -> None:
    data = "emotion,pixels".encode(encoding)
    assert data.decode(csv_dialect.encoding_of(data)) == "emotion,pixels"


@pytest.mark.parametrize(
    "head", [b"", b"a", b"a\0", b"\0" * 64, b"abc\0def\0", "é,".encode("latin-1")]
)
def test_other_bytes_are_utf_8(head: bytes) -> None:
    assert csv_dialect.encoding_of(head) == "utf-8"
