"""What is kept of weights for ONNX Runtime is what they are, and nothing where it is not."""

from __future__ import annotations

import os
import pickle
import shutil
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ferjax
from ferjax import EmotionClassifier, hardware, metadata, onnx_runtime, session_cache, weights
from ferjax.errors import WeightFileError

pytest.importorskip("onnxruntime")

IMAGES = np.random.default_rng(0).random((3, 12, 12, 1)).astype(np.float32)
LABELS = list("abcdefg")


@pytest.fixture
def file(source: Path, tmp_path: Path) -> Path:
    """A copy of a weight file, with metadata beside it."""
    copy = tmp_path / "model.h5"
    shutil.copyfile(source, copy)
    metadata.write(copy, {"labels": LABELS, "value_range": [-1, 1]})
    return copy


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep entries in a folder, which is returned."""
    monkeypatch.setattr(session_cache, "cache_folder", lambda: tmp_path / "cache" / "sessions")
    monkeypatch.setattr(hardware, "may_have_accelerator", lambda: False)
    with session_cache.keeping():
        yield tmp_path / "cache" / "sessions"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The weight files that are read."""
    paths: list[Path] = []
    read = weights._read

    def counted(path: Path, *options: Any) -> Any:
        paths.append(path)
        return read(path, *options)

    monkeypatch.setattr(weights, "_read", counted)
    return paths


def load(file: Path, **options: Any) -> EmotionClassifier:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nobody knows the labels
        return ferjax.load(file, **options)


def rows(file: Path, **options: Any) -> list[list[float]]:
    """Load a file and predict, and wait until it is kept."""
    found: list[list[float]] = load(file, **options).predict_batch(IMAGES).tolist()
    session_cache.finish()
    return found


def entry_of(file: Path) -> session_cache.Entry:
    entry = session_cache.Entry.of(file)
    assert entry is not None
    return entry


def parts(root: Path) -> list[str]:
    """Return the names of all files of entries, and of folders left over."""
    return sorted(path.name for path in root.rglob("*") if path.is_file() or path.name[0] == ".")


WHOLE = ["facts", "model.onnx", "model.weights"]


@pytest.mark.parametrize("engine", ["auto", "onnx"])
def test_a_second_start_reads_no_weight_file_and_predicts_the_same(
    file: Path, root: Path, reads: list[Path], engine: str
) -> None:
    expected = rows(file, engine="onnx", output=0)  # which nothing is kept of
    assert not root.exists()
    first = load(file, engine=engine)
    assert first.predict_batch(IMAGES).tolist() == expected
    session_cache.finish()
    assert parts(root) == WHOLE
    reads.clear()
    second = load(file, engine=engine)
    assert second.predict_batch(IMAGES).tolist() == expected
    assert second.predict_batch(IMAGES, threads=1).tolist() == expected
    assert not reads
    assert repr(second) == repr(first) and "engine onnx" in repr(second)
    assert second.graph == first.graph
    assert second.labels == tuple(LABELS) == first.labels
    assert second.value_range == (-1, 1)
    assert second.metadata == first.metadata


def test_variables_are_read_where_they_are_asked_for(
    file: Path, root: Path, reads: list[Path]
) -> None:
    expected = rows(file)
    reads.clear()
    made = load(file)
    made.predict_batch(IMAGES)
    variables = made.variables
    assert reads == [file]
    assert type(variables) is dict and variables is made.variables
    kernel = variables["params"]["dense"]["kernel"]
    assert not kernel.flags.writeable
    assert made.predict_batch(IMAGES).tolist() == expected
    variables["params"]["dense"]["kernel"] = np.zeros_like(kernel)
    assert made.predict_batch(IMAGES).tolist() != expected
    assert pickle.loads(pickle.dumps(load(file))).predict_batch(IMAGES).tolist() == expected
    assert rows(file) == expected  # what is kept is the file's


def test_jax_and_given_architectures_look_nothing_up(file: Path, config: Path, root: Path) -> None:
    rows(file, engine="jax")
    rows(file, config=config)
    rows(file, output=0)
    assert not root.exists()


def test_nothing_is_kept_outside_of_commands_or_where_it_is_switched_off(
    file: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FERJAX_SESSION_CACHE", "0")
    with session_cache.keeping():
        rows(file)
    monkeypatch.setattr(session_cache, "_is_on", False)
    rows(file)
    assert not root.exists()


@pytest.mark.parametrize("part", WHOLE)
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "flipped", "added"])
def test_a_damaged_entry_is_made_anew(file: Path, root: Path, part: str, damage: str) -> None:
    expected = rows(file)
    (path,) = root.glob(f"*/{part}")
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    if damage == "gone":
        path.unlink()
    elif damage == "added":
        (path.parent / "more").write_bytes(b"")
    else:
        path.write_bytes({"empty": b"", "cut": content[:-1], "flipped": bytes(flipped)}[damage])
    assert rows(file) == expected
    assert parts(root) == WHOLE
    assert entry_of(file).facts() is not None
    assert entry_of(file).open(1) is not None


def test_what_onnx_runtime_does_not_take_is_made_anew(file: Path, root: Path) -> None:
    expected = rows(file)
    (model,) = root.glob("*/model.onnx")
    entry = entry_of(file)
    facts = entry.facts()
    assert facts is not None
    model.write_bytes(b"no model")
    shutil.copytree(model.parent, root / ".new")
    (root / ".new" / "facts").unlink()
    entry._keep(root / ".new", facts)  # as if it had been written so
    assert entry_of(file).open(1) is None
    assert rows(file) == expected
    assert entry_of(file).open(1) is not None


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_folder_that_others_may_write_to_is_not_used(
    file: Path, root: Path, reads: list[Path], mode: int
) -> None:
    rows(file)
    root.chmod(mode)
    reads.clear()
    rows(file)
    assert reads == [file]
    root.chmod(0o700)
    (entry,) = root.iterdir()
    entry.chmod(mode)
    reads.clear()
    rows(file)
    assert reads == [file]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no owners by number")
def test_a_folder_of_another_user_or_a_link_is_not_used(
    file: Path, root: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows(file)
    reads.clear()
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 12345)
        rows(file)
    root.rename(root.with_name("elsewhere"))
    root.symlink_to("elsewhere", target_is_directory=True)
    rows(file)
    assert reads == [file, file]


def test_a_file_that_changes_is_read_anew_and_never_mixed(
    file: Path, root: Path, reads: list[Path]
) -> None:
    expected = rows(file)
    loaded = load(file)
    content = bytearray(file.read_bytes())
    at = content.rindex(load(file).variables["params"]["dense"]["bias"].tobytes())
    content[at : at + 4] = np.float32(3).tobytes()
    file.write_bytes(content)
    assert loaded.predict_batch(IMAGES).tolist() == expected
    with pytest.raises(WeightFileError, match=r"model\.h5: has changed since it was loaded"):
        _ = loaded.variables
    reads.clear()
    assert rows(file) != expected
    assert reads == [file]
    file.unlink()
    with pytest.raises(WeightFileError, match="no such file"):
        load(file)


def test_nothing_is_kept_of_a_file_that_changes_meanwhile(file: Path, root: Path) -> None:
    loaded = load(file)
    file.write_bytes(file.read_bytes() + b"\0")
    loaded.predict_batch(IMAGES)
    session_cache.finish()
    assert parts(root) == []


def test_an_interrupted_start_leaves_nothing(
    file: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(onnx_runtime, "session", interrupted)
        with pytest.raises(KeyboardInterrupt):
            rows(file)
    assert parts(root) == []


def test_without_room_for_a_thread_an_entry_is_made_at_once(
    file: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    loaded = load(file)
    loaded.predict_batch(IMAGES)
    assert parts(root) == WHOLE


def test_no_home_and_a_folder_that_cannot_be_written_keep_nothing(
    file: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = rows(file, engine="jax")

    def homeless() -> Path:
        raise RuntimeError("no home")

    with monkeypatch.context() as patch:
        patch.setattr(session_cache, "cache_folder", homeless)
        np.testing.assert_allclose(rows(file), expected, atol=1e-6)
    root.parent.write_bytes(b"")  # a file in the way
    np.testing.assert_allclose(rows(file), expected, atol=1e-6)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limits of a process's files")
@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_full_disk_keeps_nothing_and_leaves_nothing(file: Path, root: Path, share: float) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    rows(file)
    most = int(share * max(path.stat().st_size for path in root.glob("*/*")))
    shutil.rmtree(root)
    loaded = load(file)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        got = loaded.predict_batch(IMAGES).tolist()
        session_cache.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert parts(root) == []
    assert got == rows(file)


def test_the_least_recently_used_go(
    file: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = []
    for number in range(3):
        copy = tmp_path / f"{number}.h5"
        copy.write_bytes(file.read_bytes() + b"\0" * (number + 1))
        copies.append(copy)
    monkeypatch.setattr(session_cache, "MOST_ENTRIES", 2)
    rows(copies[0])
    rows(copies[1])
    for age, copy in ((200, copies[0]), (100, copies[1])):
        facts = entry_of(copy).folder / "facts"
        os.utime(facts, (facts.stat().st_mtime - age,) * 2)
    load(copies[0])  # now it is the one used last
    left = root / ".left.tmp"
    left.mkdir()
    os.utime(left, (0, 0))
    rows(copies[2])
    assert not left.exists()
    assert [entry_of(copy).facts() is not None for copy in copies] == [True, False, True]
    monkeypatch.setattr(session_cache, "MOST_BYTES", 1_000)
    rows(file)
    assert len(list(root.iterdir())) == 2


@pytest.mark.parametrize("name", ["nested_functional.h5", "operations.h5", "recurrent.keras"])
def test_graphs_of_every_kind_come_back_as_they_were(
    fixtures: Path, root: Path, reads: list[Path], name: str
) -> None:
    """Models in models, arithmetic with constants, layers in layers."""
    file = fixtures / "keras-2.15.0" / name
    first = load(file, engine="onnx")
    images = np.random.default_rng(1).random((2, *first.graph.image_shape)).astype(np.float32)
    expected = first.predict_batch(images).tolist()
    session_cache.finish()
    reads.clear()
    second = load(file, engine="onnx")
    assert second.predict_batch(images).tolist() == expected
    assert not reads
    assert second.graph == first.graph
    assert second.value_range == first.value_range
