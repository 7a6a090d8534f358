"""Tables of votes: every way of writing one, and what is none."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from ferjax.data import votes_files
from ferjax.data.votes_files import FERPLUS, read
from ferjax.errors import DataError
from tests.data.votes_sources import HEADER

ROWS = ["Training,fer0000000.png,4,0,0,1,3,2,0,0,0,0", "Training,,0,0,0,0,0,0,0,0,0,10"]
NINE = "PublicTest,fer0000001.png,6,0,1,1,0,0,0,0,1,0"
COUNTS = [[4, 0, 0, 1, 3, 2, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0, 10]]


def text_of(delimiter: str = ",", end: str = "\n", header: str = HEADER) -> str:
    lines = [line.replace(",", delimiter) for line in (header, *ROWS)]
    return end.join([*lines, ""])


@pytest.mark.parametrize(
    "content",
    [
        text_of().encode(),
        b"\xef\xbb\xbf" + text_of(end="\r\n").encode(),
        text_of(";").encode("utf-16"),
        text_of("\t").encode(),
        text_of(header=HEADER.upper()).encode(),
        ("sep=;\n" + text_of(";") + "\n").encode(),
        gzip.compress(text_of().encode()),
        text_of(header='"' + HEADER.replace(",", '","') + '"').encode(),
    ],
)
def test_ferplus_in_every_dialect(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "votes"
    path.write_bytes(content)
    table = read(path)
    assert table.is_ferplus and not table.votes.are_shares
    assert table.votes.names == FERPLUS and table.votes.counts.tolist() == COUNTS
    assert table.images == ("fer0000000.png", "") and table.usages == ("Training", "Training")


def test_columns_in_another_order(tmp_path: Path) -> None:
    order = [11, 4, 0, 2, 3, 5, 6, 7, 8, 9, 10, 1]
    lines = [",".join(np.array(line.split(","))[order]) for line in (HEADER, *ROWS)]
    table = read(write(tmp_path, lines))
    assert table.is_ferplus
    for name, column in zip(FERPLUS, np.array(COUNTS).T.tolist()):
        assert table.votes.counts[:, table.votes.names.index(name)].tolist() == column


def write(folder: Path, lines: list[str]) -> Path:
    path = folder / "votes.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_nine_votes_are_ferpluss_own(tmp_path: Path) -> None:
    assert read(write(tmp_path, [HEADER, NINE])).votes.counts.sum() == 9


def test_shares_are_told_from_counts(tmp_path: Path) -> None:
    lines = ["image;a;b", "x.png;0,25;0,75", "y.png;1;0"]
    table = read(write(tmp_path, lines))
    assert table.votes.are_shares and table.votes.counts.tolist() == [[0.25, 0.75], [1, 0]]
    table = read(write(tmp_path, [",image,a,b", "0,x.png,12.5,87.5", "1,y.png,100,0"]))
    assert table.votes.are_shares and table.votes.names == ("a", "b")  # pandas's numbers left out
    assert table.votes.counts.tolist() == [[0.125, 0.875], [1, 0]]
    # Without fractions too: a hundred people are none.
    table = read(write(tmp_path, ["image,a,b", "x.png,25,75", "y.png,33,66"]))
    assert table.votes.are_shares and table.votes.counts.tolist()[0] == [0.25, 0.75]
    table = read(write(tmp_path, ["image,a,b", "x.png,40,59", "y.png,33,99"]))
    assert not table.votes.are_shares


def test_a_folder_of_one_table(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    path = write(tmp_path / "inside", ["image,a,b", "x.png,1,2"])
    found = read(tmp_path)
    assert found.images == ("x.png",) and found.sha256 == read(path).sha256


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "empty"),
        ([HEADER], "no rows under the header"),
        (["emotion,pixels,Usage", "0,1 2,Training"], "got columns emotion, pixels, Usage"),
        (["a,b", "1,2"], "expected FER\\+'s fer2013new.csv, or a column of image names"),
        ([HEADER, ROWS[0] + ",1"], "row 1: expected 12 columns, got 13"),
        ([HEADER, ROWS[0], ROWS[0][:-4]], "row 2: expected 12 columns, got 10"),
        ([HEADER, ROWS[0].replace("4", "-4")], "row 1: .* at least 0, for neutral, got '-4'"),
        ([HEADER, ROWS[0].replace("4", "nan")], "row 1: expected votes.*got 'nan'"),
        ([HEADER, ROWS[0].replace("4", "inf")], "row 1: expected votes.*got 'inf'"),
        ([HEADER, ROWS[0].replace("4", "four")], "row 1: expected votes.*got 'four'"),
        ([HEADER, ROWS[0].replace("4", "")], "row 1: expected votes.*got ''"),
        ([HEADER, ROWS[0].replace("4", "1_0")], "row 1: expected votes.*got '1_0'"),
        ([HEADER, ROWS[0].replace("4", "1e9")], "row 1: expected votes.*got '1e9'"),
        ([HEADER, *ROWS, NINE.replace("6", "2")], "row 3: expected the votes of ten.*got 5"),
        ([HEADER, NINE.replace("6", "5.5")], "row 1: expected the votes of ten people, got 8.5"),
        (["image,a,b", "x,1,2", "x,2,1"], "row 2: 'x' is in row 1 too"),
        (["image,a,b", ",1,2"], "row 1: no name of an image"),
        (["image,a,b", "x,1,2", "y,0,0"], "row 2: no votes; leave the row out"),
        (["image,a,b", "x,0.5,0.5", "y,0.5,0.6"], "row 2: expected shares that sum to 1, got 1.1"),
        (["image,a,b", "w,50,50", "x,30,70", "y,5,6"], "row 3: expected shares that sum to 100"),
        (["image,a,a", "x,1,2"], "several columns of votes for a"),
        (["image,happy,Happiness", "x,1,2"], "several columns of votes for happy"),
        (["image,a", "x,1"], "1 columns of votes"),
        (["image,emotion", "x,a", "x,b"], r"label for each image \(emotion\), .*column annotator"),
        (["image,rater,label", "x,ann,a", "x,ann,b"], "row 2: ann has labelled x in row 1 already"),
        (["image,rater,label", "x,ann,a", "x,bob,"], "or none in some row"),
        (
            ["image,a,b", *(f"x{i},5,5" for i in range(20)), "y,11,9"],
            "row 21: expected about 10 votes, as most rows have, got 20",
        ),
    ],
)
def test_what_is_no_table_of_votes(lines: list[str], message: str, tmp_path: Path) -> None:
    path = write(tmp_path, lines)
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_others_may_have_the_columns_of_ferplus(tmp_path: Path) -> None:
    own = [HEADER, ROWS[0].replace("fer0000000", "mine/1"), ROWS[0].replace("fer0000000", "2")]
    assert not read(write(tmp_path, own)).is_ferplus
    without_usage = [line.partition(",")[2] for line in (HEADER, ROWS[0])]
    assert not read(write(tmp_path, without_usage)).is_ferplus


def test_ferplus_without_a_column_is_told(tmp_path: Path) -> None:
    without_usage = [line.partition(",")[2] for line in (HEADER, *ROWS)]
    with pytest.raises(DataError, match=r"FER.'s image names and columns without Usage; expected"):
        read(write(tmp_path, without_usage))
    without_nf = [line.rpartition(",")[0] for line in (HEADER, ROWS[0])]
    with pytest.raises(DataError, match=r"columns without not a face; expected fer2013new.csv"):
        read(write(tmp_path, without_nf))
    more = [f"{HEADER},boredom", f"{ROWS[0]},0"]
    with pytest.raises(DataError, match=r"columns and boredom; expected fer2013new.csv"):
        read(write(tmp_path, more))


def test_fewer_voters_are_no_slip_where_numbers_vary(tmp_path: Path) -> None:
    rows = [f"x{i},{i % 5 + 1},1" for i in range(20)]
    assert len(read(write(tmp_path, ["image,a,b", *rows])).votes) == 20


def test_images_that_everybody_labelled_are_no_slip(tmp_path: Path) -> None:
    lines = [f"x{i},a{k},calm" for i in range(20) for k in range(5)]
    lines += [f"gold,a{k},tense" for k in range(20)]
    table = read(write(tmp_path, ["image,annotator,label", *lines]))
    assert table.is_long and table.votes.counts[-1].tolist() == [0, 20]


def test_files_that_are_too_large_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no such file or folder; expected FER"):
        read(tmp_path / "votes.csv")
    path = write(tmp_path, [HEADER, *ROWS])
    monkeypatch.setattr(votes_files, "MAX_ROWS", 1)
    with pytest.raises(DataError, match="more than 1 rows"):
        read(path)
    monkeypatch.setattr(votes_files, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="bytes, more than 100"):
        read(path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="holds 0 tables"):
        read(tmp_path / "folder")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="not a regular file"):
        read(tmp_path / "pipe")
