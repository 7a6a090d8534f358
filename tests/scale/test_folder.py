"""The folder of a run: parts, what is done, other runs, other calls."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from ferjax.errors import FerjaxError, WriteError
from ferjax.scale.folder import SUMMARY, Counts, Folder, Taken, key_of
from ferjax.scale.tables import Layout

pytest.importorskip("pyarrow", reason="needs pyarrow")
LAYOUT = Layout(("path", "face", "error"), frozenset())
ASKED = {"--min-score": 0.7, "given": ["photos"]}


@pytest.fixture(params=["path", "address"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "path":
        return str(tmp_path / "rows")
    pytest.importorskip("fsspec", reason="needs fsspec")
    return f"local://{tmp_path}/rows"


def begun(out: str) -> Folder:
    folder = Folder(out)
    folder.begin(ASKED, 2, replace=False)
    return folder


def write(folder: Folder, name: str, *paths: str, failed: bool = False) -> None:
    counts = Counts()
    with folder.writer().part(name, LAYOUT, counts) as file:
        error = "empty, 0 bytes" if failed else ""
        file.add(LAYOUT.typed([path, "1", error] for path in paths))
        counts.inputs, counts.faces = len(paths), len(paths)
        if failed:
            counts.failed = 1
            counts.add_error(error)


def files_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_what_is_written_is_done(out: str, tmp_path: Path) -> None:
    folder = begun(out)
    write(folder, "part-a", "a.jpg", "b.jpg")
    write(folder, "part-b", "c.jpg", failed=True)
    keys, counts = Folder(out).done()
    assert keys == {key_of(name) for name in ("a.jpg", "b.jpg", "c.jpg")}
    assert counts == Counts(3, 3, 0, 1, {"empty, 0 bytes": 1})
    folder.end({"faces": 3})
    assert Folder(out).ended
    rows = tmp_path / "rows"
    names = [".ferjax-run.json", SUMMARY, "part-a.parquet", "part-b.parquet"]
    assert files_in(rows) == names
    assert json.loads((rows / SUMMARY).read_text()) == {"faces": 3}


def test_nothing_is_half_written(out: str, tmp_path: Path) -> None:
    folder = begun(out)
    with (
        pytest.raises(RuntimeError, match="in the middle"),
        folder.writer().part("part-a", LAYOUT, Counts()) as file,
    ):
        file.add(LAYOUT.typed([["a.jpg", "1", ""]]))
        raise RuntimeError("in the middle")
    assert files_in(tmp_path / "rows") == [".ferjax-run.json"]


def test_what_killed_workers_left_is_removed(tmp_path: Path) -> None:
    folder = begun(str(tmp_path / "rows"))
    left = tmp_path / "rows" / ".part-000000019-a6d2c5d8fc8d.parquet.f68be0e6.tmp"
    for end in (lambda: begun(str(tmp_path / "rows")), lambda: folder.end({})):
        left.touch()
        (tmp_path / "rows" / ".notes.f68be0e6.tmp").touch()
        end()
        assert not left.exists()
    assert ".notes.f68be0e6.tmp" in files_in(tmp_path / "rows")


def test_an_earlier_call_can_add_nothing_once_another_has_begun(out: str, tmp_path: Path) -> None:
    earlier = begun(out)
    write(earlier, "part-a", "a.jpg")
    begun(out)
    with pytest.raises(Taken):
        write(earlier, "part-b", "b.jpg")
    assert files_in(tmp_path / "rows") == [".ferjax-run.json", "part-a.parquet"]


def test_runs_in_the_way(out: str) -> None:
    folder = begun(out)
    with pytest.raises(WriteError, match="rows: holds an unfinished run; --resume goes on with"):
        Folder(out).check(ASKED, resume=False, force=False)
    folder.end({})
    with pytest.raises(WriteError, match="rows: holds a run; --resume goes on with it, --force"):
        Folder(out).check(ASKED, resume=False, force=False)
    Folder(out).check(ASKED, resume=True, force=False)
    other = {**ASKED, "--min-score": 0.8}
    with pytest.raises(FerjaxError, match=r"begun with --min-score 0\.7, .*, got --min-score 0\.8"):
        Folder(out).check(other, resume=True, force=False)
    Folder(out).check(other, resume=False, force=True)


def test_force_replaces_what_ferjax_wrote_alone(out: str, tmp_path: Path) -> None:
    folder = begun(out)
    write(folder, "part-a", "a.jpg")
    folder.end({})
    (tmp_path / "rows" / "notes.txt").touch()
    Folder(out).begin(ASKED, 2, replace=True)
    assert files_in(tmp_path / "rows") == [".ferjax-run.json", "notes.txt"]


def test_files_of_others_are_in_the_way_whatever_is_asked_for(out: str, tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "theirs.parquet").touch()
    for options in ({"resume": True, "force": False}, {"resume": False, "force": True}):
        with pytest.raises(WriteError, match=r"of no run of ferjax, such as theirs\.parquet; g"):
            Folder(out).check(ASKED, **options)


def test_damaged_files_are_named(out: str, tmp_path: Path) -> None:
    begun(out)
    (tmp_path / "rows" / "part-a.parquet").write_bytes(b"PAR1")
    with pytest.raises(FerjaxError, match=r"part-a\.parquet: is no part of the run, or damaged"):
        Folder(out).done()
    (tmp_path / "rows" / ".ferjax-run.json").write_text("{")
    with pytest.raises(FerjaxError, match=r"rows/\.ferjax-run\.json: is damaged; give another"):
        Folder(out)
    (tmp_path / "rows" / ".ferjax-run.json").write_text('{"format": 9, "asked": {}}')
    with pytest.raises(FerjaxError, match="rows: holds a run of another version of ferjax"):
        Folder(out)


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "rows").touch()
    with pytest.raises(WriteError, match="rows: expected a folder"):
        Folder(str(tmp_path / "rows"))
    with pytest.raises(FerjaxError, match="expected a folder for --out, got an empty string"):
        Folder("")


def test_kinds_of_errors_are_not_without_end() -> None:
    counts = Counts()
    for number in range(200):
        counts.add_error(f"kind {number}")
    assert len(counts.errors) == 51
    assert sum(counts.errors.values()) == 200


def test_names_that_are_no_utf_8(tmp_path: Path) -> None:
    out = os.fsdecode(os.fsencode(tmp_path) + b"/rows\xff")
    try:
        os.mkdir(out)
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    Path(out, os.fsdecode(b"\xfe.txt")).touch()
    folder = begun(out)
    write(folder, "part-a", "a.jpg")
    folder.end({})
    assert Folder(out).done() == ({key_of("a.jpg")}, Counts(1, 1))
    Folder(out).begin(ASKED, 2, replace=True)
    assert files_in(Path(out)) == [".ferjax-run.json", os.fsdecode(b"\xfe.txt")]


def test_whoever_is_interrupted_while_rows_are_replaced_goes_on_with_none_of_them(
    out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(begun(out), "part-a", "a.jpg")
    other = {**ASKED, "--min-score": 0.8}
    remove = Folder._remove

    def interrupted(self: Folder, name: str, *, strictly: bool = False) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Folder, "_remove", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Folder(out).begin(other, 2, replace=True)
    monkeypatch.setattr(Folder, "_remove", remove)
    with pytest.raises(FerjaxError, match=r"begun with --min-score 0\.7"):
        Folder(out).check(other, resume=True, force=False)
    Folder(out).begin(other, 2, replace=True)
    assert Folder(out).done() == (set(), Counts())


def test_rows_that_cannot_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = str(tmp_path / "rows")
    write(begun(out), "part-a", "a.jpg")

    def refused(path: str) -> None:
        raise PermissionError(1, "Operation not permitted", path)

    monkeypatch.setattr(os, "unlink", refused)
    with pytest.raises(WriteError, match=r"part-a\.parquet: cannot be removed \(.*not permitted"):
        Folder(out).begin(ASKED, 2, replace=True)


def test_parquet_files_of_others_in_a_run_are_not_replaced(out: str, tmp_path: Path) -> None:
    write(begun(out), "part-a", "a.jpg")
    (tmp_path / "rows" / "all.parquet").touch()
    with pytest.raises(WriteError, match=r"of no run of ferjax, such as all\.parquet; give"):
        Folder(out).check(ASKED, resume=False, force=True)


@pytest.mark.parametrize("change", [{"size": 0}, {"size": None}, {"asked": {"given": 1}}])
def test_records_that_ferjax_did_not_write(
    out: str, tmp_path: Path, change: dict[str, Any]
) -> None:
    begun(out)
    path = tmp_path / "rows" / ".ferjax-run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(FerjaxError, match="rows: holds a run of another version of ferjax"):
        Folder(out)


def test_what_killed_workers_left_of_parts_for_an_address_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fsspec", reason="needs fsspec")
    pytest.importorskip("fcntl", reason="needs locks")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / "ferjax-part-killed"
    left.mkdir()
    (left / ".in-use").touch()
    (left / "part-b.parquet").touch()
    write(begun(f"local://{tmp_path}/rows"), "part-a", "a.jpg")
    assert files_in(tmp_path) == ["rows"]
