"""The record of a run, as it is after any end of it."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from ferjax.errors import WriteError
from ferjax.faces.journal import Journal, state_of

ASKED = {"--order": "size"}


def begun(path: Path, **results: object) -> None:
    journal = Journal(path)
    journal.begin(ASKED)
    for key, result in results.items():
        journal.add(key, [1, 2], result)
    journal.close()


def test_it_tells_what_was_done(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    assert Journal(path).asked is None
    begun(path, a={"x": 1}, b="ä")
    journal = Journal(path)
    assert (journal.asked, journal.ended, journal.unfinished) == (ASKED, False, True)
    assert (journal.result("a"), journal.result("b"), journal.result("c")) == ({"x": 1}, "ä", None)
    assert journal.is_current("a", [1, 2])
    assert not journal.is_current("a", [1, 3])
    assert not journal.is_current("a", None)
    assert not journal.is_current("c", [1, 2])


def test_it_goes_on_and_the_last_word_counts(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    begun(path, a=1)
    journal = Journal(path)
    journal.go_on()
    journal.add("a", [5, 6], 2)
    journal.end(keep=True)
    journal = Journal(path)
    assert (journal.ended, journal.unfinished, journal.result("a")) == (True, False, 2)
    assert journal.is_current("a", [5, 6])
    journal.go_on()
    journal.add("b", [5, 6], 3)
    journal.close()
    assert Journal(path).unfinished
    journal.go_on()
    journal.end(keep=False)
    assert not path.exists()


def test_at_any_length_it_can_be_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    begun(path, a=1, b=2)
    whole = path.read_bytes()
    ends = [len("".join(whole.decode().splitlines(True)[: n + 1])) for n in range(3)]
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        journal = Journal(path)
        assert (journal.asked is not None) == (length >= ends[0])
        assert journal.result("a") == (1 if length >= ends[1] else None)
        assert journal.result("b") == (2 if length >= ends[2] else None)
        if journal.asked is not None:
            journal.go_on()
            journal.add("b", [1, 2], 2)
            journal.close()
            assert Journal(path).result("b") == 2


def with_checksum(text: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(text), text)


LINES = [b"\0\0\0", b"[]", b'{"photograph": 1}', b"[" * 100_000, b"\xff", b""]
RESULT = b'{"photograph": "a", "state": [1, 2], "result": 2}'


@pytest.mark.parametrize(
    "line", [RESULT + b"\n", b"0 " + RESULT + b"\n", b"\n", *map(with_checksum, LINES)]
)
def test_lines_that_cannot_be_read_count_as_not_there(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "journal"
    begun(path, a=1)
    path.write_bytes(path.read_bytes() + line)
    journal = Journal(path)
    assert (journal.result("a"), journal.unfinished) == (1, True)
    path.write_bytes(line)
    assert Journal(path).asked is None


def test_a_line_that_was_changed_counts_as_not_there(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    begun(path, a=1, b=2)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"result": 1', b'"result": 3'))
    journal = Journal(path)
    assert (journal.asked, journal.result("a"), journal.result("b")) == (ASKED, None, 2)
    path.write_bytes(whole.replace(b"size", b"seize"))
    assert Journal(path).asked is None


def test_nothing_but_a_file_is_opened(tmp_path: Path) -> None:
    precious, path = tmp_path / "precious", tmp_path / "journal"
    precious.write_text("mine")
    try:
        path.symlink_to(precious)
    except OSError:
        pytest.skip("needs links")
    with pytest.raises(WriteError, match="journal: is a link, not a regular file; remove it"):
        Journal(path)
    path.unlink()
    journal = Journal(path)
    path.symlink_to(precious)
    with pytest.raises(WriteError, match="is a link"):
        journal.begin(ASKED)
    assert precious.read_text() == "mine"
    path.unlink()
    if hasattr(os, "mkfifo"):
        os.mkfifo(path)
        with pytest.raises(WriteError, match="journal: is not a regular file; remove it"):
            Journal(path)


def test_two_processes_do_not_write_one(tmp_path: Path) -> None:
    pytest.importorskip("fcntl", reason="needs locks, which Windows lacks")
    first, second = Journal(tmp_path / "journal"), Journal(tmp_path / "journal")
    first.begin(ASKED)
    first.add("a", [1, 2], 1)
    with pytest.raises(WriteError, match="another process is writing the same there"):
        second.begin(ASKED)
    first.close()
    assert Journal(tmp_path / "journal").result("a") == 1


def test_a_state_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    assert state_of(path) is None
    path.write_text("a")
    before = state_of(path)
    os.utime(path, ns=(0, 1))
    assert before is not None
    assert state_of(path) == [1, 1] != before
