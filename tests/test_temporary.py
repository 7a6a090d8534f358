"""Temporary folders: kept while a process uses them, and gone after it, however it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ferjax import temporary

pytest.importorskip("fcntl", reason="locks are of POSIX")

HOLD = """
import sys, time
from pathlib import Path
from ferjax import temporary
with temporary.folder("a-") as path:
    (path / "inside").mkdir()
    print(path, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the temporary folders in one of the test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def held() -> tuple[subprocess.Popen[str], Path]:
    """Start a process that uses a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_folder_is_gone_after_its_block() -> None:
    with temporary.folder("a-") as path:
        assert path.is_dir() and path.name.startswith("a-")
        (path / "f").touch()
    assert not path.exists()


def test_what_a_killed_process_left_goes_with_the_next_start() -> None:
    process, path = held()
    other, running = held()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (path / "inside").is_dir()
    with temporary.folder("b-"):
        assert path.exists()  # which has another prefix
    with temporary.folder("a-") as own:
        assert not path.exists() and running.exists() and own.exists()
        other.communicate("")
        assert not running.exists()


def test_the_last_user_of_a_folder_removes_it() -> None:
    process, path = held()
    with temporary.used(path):
        with temporary.used(path):
            process.kill()
            process.wait()
        with temporary.folder("a-"):
            assert path.exists()
    assert not path.exists()
    with temporary.used(path):  # nothing is wrong where it is gone
        pass


def test_others_folders_stay(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".in-use").touch()
    (tmp_path / "a-link").symlink_to(elsewhere)
    (tmp_path / "a-file").touch()
    (tmp_path / "a-without").mkdir()
    (tmp_path / "a-linked").mkdir()
    (tmp_path / "a-linked" / ".in-use").symlink_to(elsewhere / ".in-use")
    before = sorted(os.listdir(tmp_path))
    with temporary.folder("a-"):
        pass
    assert sorted(os.listdir(tmp_path)) == before and (elsewhere / ".in-use").exists()
