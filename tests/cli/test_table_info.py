"""ferjax data info of tables of what was predicted."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'ferjax[parquet]'")

from ..prediction_tables.written import ENTRIES, crops, entry, face, write, write_film, write_parts

Cli = Callable[..., Any]

SAID = """\
kind:       faces in photographs (2 parquet files)
rows:       9
pictures:   7: 4 with faces, 1 without, 2 could not be read
faces:      6, 1.20 a picture: none in 1, one in 2, two in 2, three or more in 0

class      faces  share  mean probability  mean confidence
happy          2  33.3%             0.367            0.750
sad            1  16.7%             0.217            0.500
neutral        2  33.3%             0.417            0.850
abstained      1  16.7%
all            6                                     0.683

confidence: least 0.400, 5% 0.400, 25% 0.500, median 0.600, 75% 0.900, 95% 1.000, most 1.000
            0.0 to 0.1  0
            0.1 to 0.2  0
            0.2 to 0.3  0
            0.3 to 0.4  0
            0.4 to 0.5  1  ####################
            0.5 to 0.6  1  ####################
            0.6 to 0.7  1  ####################
            0.7 to 0.8  1  ####################
            0.8 to 0.9  0
            0.9 to 1.0  2  ########################################
sizes:      least 20.0, 5% 20.0, 25% 25.0, median 30.0, 75% 90.0, 95% 100.0, most 100.0 pixels
            below 24 pixels: 1 (16.7%), too small to tell
errors:     1  truncated: a JPEG without its end-of-image marker
            1  N x N pixels; expected at most N in all, scale it down
"""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return write_parts(tmp_path / "out", ENTRIES[:4], ENTRIES[4:])


def test_the_text(cli: Cli, out: Path) -> None:
    done = cli("data", "info", out)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"source:     {out}\n{SAID}"


def test_json(cli: Cli, out: Path) -> None:
    document = json.loads(cli("data", "info", out, "--json").out)
    assert (document["kind"], document["rows"], document["faces"]) == ("photographs", 9, 6)
    assert document["pictures"] == {
        "pictures": 7,
        "without_faces": 1,
        "faces": {"0": 1, "1": 2, "2": 2},
    }
    assert document["classes"]["sad"]["faces"] == 1
    assert document["confidence"]["quantiles"]["0.5"] == 0.6
    assert document["too_small"] == 1


def test_other_tables(cli: Cli, tmp_path: Path) -> None:
    lines = cli("data", "info", write_film(tmp_path / "f.parquet")).out.splitlines()
    assert "kind:       faces in films (1 parquet file)" in lines
    assert "frames:     2 with faces, from 0.00 to 0.12 s" in lines
    table = crops(("a.png", "happy", 0.8, None), ("b.png", None, None, "b.png: no such file"))
    lines = cli("data", "info", write(tmp_path / "c.parquet", table)).out.splitlines()
    assert "pictures:   2, 1 could not be read" in lines
    assert lines[-1] == "errors:     1  no such file"


def test_a_sheet(cli: Cli, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    cv2.imwrite(os.fspath(picture), np.full((60, 60), 128, np.uint8))
    entries = [entry(str(picture), face("happy", 0.9, 40)), entry("gone.png", face("sad", 0.8, 40))]
    folder, sheet = write_parts(tmp_path / "out", entries), tmp_path / "sheet.png"
    done = cli("data", "info", folder, "--sheet", sheet, "--seed", 3)
    assert (done.code, done.err) == (1, "ferjax: error: gone.png: no such file\n")
    assert done.out.splitlines()[-1] == f"sheet:      {sheet}"
    assert cv2.imread(os.fspath(sheet)).shape[0] > 100


def test_no_sheet_where_no_picture_is_there(cli: Cli, out: Path, tmp_path: Path) -> None:
    done = cli("data", "info", out, "--sheet", tmp_path / "sheet.png")
    assert done.code == 1
    assert "faces:      6, 1.20 a picture" in done.out
    (line,) = done.err.splitlines()
    assert line.startswith(f"ferjax: error: no examples for {tmp_path}/sheet.png: a/")
    assert not (tmp_path / "sheet.png").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--find-faces"], "a table of what was predicted, and --find-faces is for datasets"),
        (["--split", "card"], "a table of what was predicted, and --split is for datasets"),
        (["--labels", "fer2013"], "a table of what was predicted, and --labels is for datasets"),
        (["--seed", "1"], "--seed decides which faces --sheet shows: give --sheet FILE.png too"),
        (["--sheet", "sheet.doc"], "sheet.doc: expected a name that ends in .png"),
    ],
)
def test_options_that_do_not_fit(cli: Cli, out: Path, options: list[str], message: str) -> None:
    done = cli("data", "info", out, *options)
    assert done.code == 2
    assert message in done.error


def test_files_that_do_not_fit(cli: Cli, out: Path) -> None:
    (out / "part-1.parquet").write_bytes(b"PAR1 and no more")
    done = cli("data", "info", out)
    assert done.code == 2
    assert done.error.startswith(f"ferjax: error: {out}/part-1.parquet: cannot be read: ")


def test_a_table_at_an_address(cli: Cli, out: Path, tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="needs fsspec")
    done = cli("data", "info", f"local://{out}")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"source:     local://{out}\n{SAID}"
    gone = cli("data", "info", f"local://{tmp_path}/gone")
    assert gone.code == 2
    assert f"local://{tmp_path}/gone: no such file or folder; expected" in gone.error
    bad = cli("data", "info", "nowhere://host/rows")
    assert bad.code == 2
    assert bad.error.startswith("ferjax: error: nowhere://host/rows: cannot be opened (")


def test_a_damaged_file_at_an_address(cli: Cli, out: Path) -> None:
    pytest.importorskip("fsspec", reason="needs fsspec")
    (out / "part-1.parquet").write_bytes(b"PAR1 and no more")
    done = cli("data", "info", f"local://{out}")
    assert done.code == 2
    assert done.error.startswith(f"ferjax: error: local://{out}/part-1.parquet: cannot be read: ")


def test_examples_of_pictures_at_addresses(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="needs fsspec")
    picture = tmp_path / "a.png"
    cv2.imwrite(os.fspath(picture), np.full((60, 60), 128, np.uint8))
    here, gone = f"local://{picture}", f"local://{tmp_path}/gone.png"
    entries = [entry(here, face("happy", 0.9, 40)), entry(gone, face("sad", 0.8, 40))]
    folder = write_parts(tmp_path / "out", entries)
    done = cli("data", "info", f"local://{folder}", "--sheet", tmp_path / "sheet.png")
    assert done.code == 1
    (line,) = done.err.splitlines()
    assert line.startswith(f"ferjax: error: {gone}: cannot be read: ")
    done = cli("data", "info", folder, "--sheet", tmp_path / "sheet.png")
    assert f"{here}: not fetched; expected an address of s3://" in done.err


def test_keys_in_addresses_are_neither_printed_nor_stored(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "s3://key:sec/ret@bucket/rows"
    done = cli("data", "info", address, "--votes", "v.csv")
    assert (done.code, done.out) == (2, "")
    assert done.error.startswith("ferjax: error: s3://bucket/rows: a table of what was predicted")
    calls: list[str] = []

    def run(args: Any) -> int:
        calls.append(args.call)
        return 0

    monkeypatch.setattr("ferjax.cli.evaluate.run", run)
    cli("evaluate", address, "--out=s3://key:secret@bucket/report", "--attributes", "a:b@c.csv")
    assert calls == [
        "ferjax evaluate s3://bucket/rows --out=s3://bucket/report --attributes a:b@c.csv"
    ]
