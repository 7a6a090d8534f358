"""The hash of a file, at once or ahead."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from ferjax import digests, files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.h5"
    path.write_bytes(b"first")
    return path


def hexadecimal(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_what_was_begun_is_the_hash_of_then_once(file: Path) -> None:
    with digests.precomputing(file):
        digests._pending[os.path.abspath(file)].result()
        file.write_bytes(b"second")
        assert digests.precomputed(file) == hexadecimal(b"first")
        assert digests.precomputed(file) == hexadecimal(b"second") == digests.sha256(file)


def test_what_nobody_asked_for_is_forgotten(file: Path) -> None:
    with digests.precomputing(file):
        pass
    file.write_bytes(b"second")
    assert digests.precomputed(file) == hexadecimal(b"second")


def test_a_path_is_the_same_however_it_is_written(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    with digests.precomputing(Path(file.name)):
        digests._pending[os.path.abspath(file)].result()
        file.write_bytes(b"second")
        assert digests.precomputed(file) == hexadecimal(b"first")


def test_nothing_is_begun_of_what_is_no_file_or_a_large_one(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "LARGEST", 4)
    for path in (file, file.parent, file.with_name("none"), None):
        with digests.precomputing(path):
            assert not digests._pending


def test_a_file_that_goes_meanwhile_is_missed_by_who_asks(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(path: str | os.PathLike[str]) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(digests, "sha256", gone)
    with digests.precomputing(file), pytest.raises(FileNotFoundError):
        digests.precomputed(file)


def test_a_thread_that_did_not_finish_is_not_needed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a process that was forked since, in which the thread is not."""
    monkeypatch.setattr(digests.BackgroundSha256, "_compute", lambda self: None)
    with digests.precomputing(file):
        assert digests.precomputed(file) == hexadecimal(b"first")


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 8, 11])
def test_the_hash_is_of_all_chunks(file: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_CHUNK", 4)
    content = bytes(range(size))
    file.write_bytes(content)
    assert b"".join(map(bytes, files.chunks(file))) == content
    assert digests.sha256(file) == hexadecimal(content)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux's /proc")
def test_a_file_that_does_not_tell_its_size_is_read_whole() -> None:
    assert b"".join(map(bytes, files.chunks("/proc/version"))) == Path("/proc/version").read_bytes()
