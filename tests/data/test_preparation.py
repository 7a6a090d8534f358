"""Preparing: what is written, what is dropped, and that a half-made folder is never left."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ferjax.cli.main import main
from ferjax.data import preparation as module
from ferjax.data.dataset import SPLITS
from ferjax.data.manifest import ARRAYS, MANIFEST
from ferjax.data.preparation import fingerprint, load, prepare, read_prepared
from ferjax.errors import DataError, WriteError

CLASSES = ("calm", "frown", "grin")


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Six training and two validation faces a class, with a leak, a blank and a conflict."""
    folder = tmp_path / "source"
    rng = np.random.default_rng(0)
    for name in CLASSES:
        for split, count in (("train", 6), ("validation", 2)):
            for i in range(count):
                image = rng.integers(0, 256, (48, 48), dtype=np.uint8)
                write(folder / split / name / f"im{i}.png", image)
    shutil.copy(folder / "validation/calm/im0.png", folder / "train/calm/im0.png")
    shutil.copy(folder / "train/frown/im1.png", folder / "train/grin/im1.png")
    write(folder / "train/frown/im2.png", np.zeros((48, 48), np.uint8))
    return folder


def run(source: Path, out: Path, **options: object) -> module.Prepared:
    return prepare(source, out, with_tfds=False, **options)  # type: ignore[arg-type]


def test_the_arrays_are_the_images_of_the_source(source: Path, tmp_path: Path) -> None:
    done = run(source, tmp_path / "out")
    assert done.fresh
    faces = load(tmp_path / "out")
    assert len(faces) == 24
    assert faces.class_names == CLASSES
    for row in (0, 7, 23):
        image = cv2.imread(str(source / faces.names[row]), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(faces.images[row], image)
        split, label = faces.names[row].split("/")[:2]
        assert SPLITS[faces.splits[row]] == split
        assert faces.class_names[faces.labels[row]] == label


def test_the_file_alone_loads_too(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "out")
    assert load(tmp_path / "out" / ARRAYS).names == load(tmp_path / "out").names


def test_a_second_call_does_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(source, tmp_path / "out", drop=["blank"])
    before = (tmp_path / "out" / ARRAYS).stat().st_mtime_ns

    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError("the source was read again")

    monkeypatch.setattr(module.sources, "read", fail)
    second = run(source, tmp_path / "out", drop=["blank"])
    assert not second.fresh
    assert second.manifest == first.manifest
    assert (tmp_path / "out" / ARRAYS).stat().st_mtime_ns == before


def test_without_tensorflow_datasets_the_same_call_does_nothing_either(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(module.importlib.util, "find_spec", lambda name: None)
        assert main(["data", "prepare", str(source), "--out", str(out)]) == 0
    assert "note: no tfds/, which tensorflow-datasets writes" in capsys.readouterr().err
    assert not (out / "tfds").exists()
    assert not prepare(source, out).fresh  # whatever is installed here
    with pytest.raises(DataError, match="holds another prepared dataset"):
        prepare(source, out, with_tfds=True)


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")
def test_names_that_are_no_text(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = os.fsdecode(b"im\xe9")
    (source / "train/calm/im3.png").rename(source / "train/calm" / f"{name}.png")
    (source / "train/calm/im4.png").write_bytes(b"")
    (source / "train/calm/im4.png").rename(source / "train/calm" / f"{name}4.png")
    arguments = ["data", "prepare", str(source), "--out", str(tmp_path / name), "--skip-bad"]
    assert main(arguments) == 2
    assert "TensorFlow writes to paths in UTF-8 alone; --no-tfds" in capsys.readouterr().err
    for printed in ("17 train, 6 validation", "prepared already, 17 train, 6 validation"):
        assert main([*arguments, "--no-tfds"]) == 1
        found = capsys.readouterr()
        assert found.out.endswith(f"im\\udce9: {printed}\n")
        assert "im\\udce94.png: " in found.err
    assert f"train/calm/{name}.png" in load(tmp_path / name).names


def test_a_changed_source_or_option_asks_for_force(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "out")
    with pytest.raises(
        DataError, match=r"holds another prepared dataset: its drop is \[\], asked for is .*--force"
    ):
        run(source, tmp_path / "out", drop=["blank"])
    write(source / "train/calm/im9.png", np.full((48, 48), 7, np.uint8))
    with pytest.raises(
        DataError,
        match=r"holds another prepared dataset: it was made from other content, of .*--force",
    ):
        run(source, tmp_path / "out")
    assert len(load(tmp_path / "out")) == 24
    assert run(source, tmp_path / "out", force=True).fresh
    assert len(load(tmp_path / "out")) == 25


def test_a_folder_with_something_else_is_left_alone(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="holds something else; --force"):
        run(source, tmp_path / "out")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("out", [".", "..", "../linked", "../linked/.."])
def test_the_source_is_never_replaced(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, force: bool
) -> None:
    before = fingerprint(source)
    (tmp_path / "linked").symlink_to(source)
    monkeypatch.chdir(source)
    for given in (source, "../linked", "."):
        with pytest.raises(DataError, match=r"holds the source, .* give another folder"):
            run(given, out, force=force)  # type: ignore[arg-type]
    assert fingerprint(source) == before


def test_an_archive_is_not_replaced_by_what_is_made_of_it(source: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "box" / "faces"), "zip", source)
    for out in (tmp_path / "box", archive):
        with pytest.raises(DataError, match="holds the source"):
            run(archive, out, force=True)  # type: ignore[arg-type]
    assert Path(archive).exists()


@pytest.mark.parametrize("force", [False, True])
def test_parts_of_the_source_are_not_replaced(source: Path, tmp_path: Path, force: bool) -> None:
    before = fingerprint(source)
    elsewhere = tmp_path / "elsewhere"
    (source / "train" / "calm").rename(elsewhere)
    (source / "train" / "calm").symlink_to(elsewhere)
    for out in (source / "train", elsewhere, source / "train" / "calm"):
        with pytest.raises(DataError, match=r"holds files of the source, such as train/"):
            run(source, out, force=force)
    assert fingerprint(source) == before


def test_a_target_inside_the_source_is_no_part_of_it(source: Path) -> None:
    out = source / "prepared"
    first = run(source, out)
    assert not run(source, out).fresh
    write(source / "train/calm/im9.png", np.full((48, 48), 7, np.uint8))
    (out / "train" / "calm").mkdir(parents=True)
    write(out / "train/calm/im10.png", np.full((48, 48), 8, np.uint8))
    again = run(source, out, force=True)
    assert len(load(out)) == 25
    assert again.manifest["notes"] == first.manifest["notes"]


@pytest.mark.parametrize(
    ("drop", "names"),
    [
        ("blank", {"train/frown/im2.png"}),
        ("conflicts", {"train/frown/im1.png", "train/grin/im1.png"}),
        ("leaks", {"train/calm/im0.png"}),
    ],
)
def test_what_is_dropped_is_listed_and_gone(
    source: Path, tmp_path: Path, drop: str, names: set[str]
) -> None:
    manifest = run(source, tmp_path / "out", drop=[drop]).manifest
    assert {item["name"] for item in manifest["dropped"]} == names
    assert {item["drop"] for item in manifest["dropped"]} == {drop}
    assert names.isdisjoint(load(tmp_path / "out").names)
    assert len(load(tmp_path / "out")) == 24 - len(names)


def test_the_manifest_counts_what_the_arrays_hold(source: Path, tmp_path: Path) -> None:
    manifest = run(source, tmp_path / "out", drop=["blank", "leaks"]).manifest
    assert manifest == json.loads((tmp_path / "out" / MANIFEST).read_text())
    faces = load(tmp_path / "out")
    for split in SPLITS:
        for label, name in enumerate(CLASSES):
            held = int((faces.in_split(split) & (faces.labels == label)).sum())
            assert manifest["counts"][split][name] == held


def test_bad_images_stop_it_before_anything_is_written(source: Path, tmp_path: Path) -> None:
    (source / "train/calm/im7.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"train/calm/im7\.png"):
        run(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    manifest = run(source, tmp_path / "out", skip_bad=True).manifest
    assert [item["name"] for item in manifest["bad"]] == ["train/calm/im7.png"]


def test_a_failure_while_writing_leaves_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.np, "savez", full)
    with pytest.raises(WriteError, match="No space left on device"):
        run(source, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


@pytest.mark.parametrize("out", ["afile", "afile/x", "afile/x/y"])
def test_a_file_in_the_way_is_told_before_reading(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    (tmp_path / "afile").write_text("mine")
    # Reading it would say so.
    (source / "train/calm/im0.png").write_bytes(b"not an image")
    call = ["data", "prepare", str(source), "--out", str(tmp_path / out), "--force"]
    assert main(call) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "afile" in line
    assert "is a file" in line
    assert "Errno" not in line
    assert (tmp_path / "afile").read_text() == "mine"


def test_a_place_that_is_not_writable_is_told_before_reading(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # nothing stops the superuser
    monkeypatch.setattr(module.sources, "read", None)
    with pytest.raises(WriteError, match=f"the folder {tmp_path} is not writable"):
        run(source, tmp_path / "new" / "out")


def test_what_is_prepared_already_need_not_be_writable(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(source, tmp_path / "out")
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert not run(source, tmp_path / "out").fresh


def test_a_killed_run_leaves_no_folder(source: Path, tmp_path: Path) -> None:
    """Killed while it writes: the target is not there, and the next call makes it."""
    code = (
        "import os, signal, sys\n"
        "from ferjax.data import preparation as module\n"
        "module.np.savez = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
        "module.prepare(sys.argv[1], sys.argv[2], with_tfds=False)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(source), str(tmp_path / "out")])
    assert done.returncode == -9
    assert not (tmp_path / "out").exists()
    assert run(source, tmp_path / "out").fresh


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 half a file"])
def test_damaged_arrays_are_named(source: Path, tmp_path: Path, damage: bytes) -> None:
    run(source, tmp_path / "out")
    (tmp_path / "out" / ARRAYS).write_bytes(damage)
    with pytest.raises(
        DataError,
        match=f"{ARRAYS}: not a prepared dataset, or damaged.* `ferjax data prepare` makes one",
    ):
        load(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "values", "match"),
    [
        ("labels", np.full(24, np.nan), "expected integers for 'labels', got float64"),
        ("splits", np.array(["0"] * 24), "expected integers for 'splits', got <U1"),
        ("names", np.array(3), r"expected texts for 'names', got int64 \(\)"),
        ("class_names", np.arange(3.0), r"expected texts for 'class_names', got float64 \(3,\)"),
    ],
)
def test_arrays_of_other_types_are_named(
    source: Path, tmp_path: Path, name: str, values: np.ndarray, match: str
) -> None:
    run(source, tmp_path / "out")
    file = tmp_path / "out" / ARRAYS
    with np.load(file) as arrays:
        np.savez(file, **{**arrays, name: values})
    with pytest.raises(DataError, match=rf"{ARRAYS}: not a prepared dataset.*{match}"):
        load(tmp_path / "out")


@pytest.mark.parametrize(
    "change",
    [
        {"source": [1]},
        {"votes": 3},
        {"options": 1},
        {"options": {}},
        {"bad": 2},
        {"bad": [{}]},
        {"dropped": ["leaks"]},
        {"counts": {"train": {"calm": "3"}}},
        {"notes": [1]},
        {"source_sha256": None},
    ],
    ids=str,
)
def test_a_damaged_manifest_is_named(source: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    out = tmp_path / "out"
    run(source, out)
    file, (key,) = out / MANIFEST, change
    whole = json.loads(file.read_text())
    for text in ({**whole, **change}, {name: whole[name] for name in whole if name != key}):
        if key == "votes" and "votes" not in text:
            continue  # most datasets have none
        file.write_text(json.dumps(text))
        match = rf"manifest\.json: damaged, at '{key}'; .* --force"
        with pytest.raises(DataError, match=match):
            read_prepared(out)
        with pytest.raises(DataError, match=match):
            run(source, out)
    assert run(source, out, force=True).fresh
    assert json.loads(file.read_text()) == whole


def test_a_folder_without_arrays_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no faces\.npz; `ferjax data prepare` makes it"):
        load(tmp_path)


def test_unknown_drops_and_splits_are_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="among blank, conflicts, leaks, got ugly"):
        run(source, tmp_path / "out", drop=["ugly"])
    with pytest.raises(DataError, match="among official, card, got 'random'"):
        run(source, tmp_path / "out", split="random")


def test_the_fingerprint_is_of_names_and_contents(source: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(source, tmp_path / "copy")
    assert fingerprint(copy) == fingerprint(source)
    (copy / "train/calm/im0.png").rename(copy / "train/calm/im8.png")
    assert fingerprint(copy) != fingerprint(source)


def test_the_fingerprint_is_of_what_is_read(source: Path, tmp_path: Path) -> None:
    before = fingerprint(source)
    (source / ".DS_Store").write_bytes(b"where its window was")
    (source / "train" / "loop").symlink_to(source)
    (source / "train" / "gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(source / "train" / "pipe")
    assert fingerprint(source) == before


def test_a_name_that_is_no_text_has_a_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / os.fsdecode(b"\xff.png")).write_bytes(b"")
    assert fingerprint(tmp_path) == fingerprint(tmp_path)


def test_a_change_behind_a_link_is_seen(source: Path, tmp_path: Path) -> None:
    """Class folders and a split folder that are links, as reading follows them."""
    for part in ("train/calm", "validation"):
        there = tmp_path / "elsewhere" / part
        there.parent.mkdir(parents=True, exist_ok=True)
        (source / part).rename(there)
        (source / part).symlink_to(there)
    assert len(load(run(source, tmp_path / "out").path)) == 24
    assert not run(source, tmp_path / "out").fresh
    for gone in ("train/calm/im3.png", "validation/grin/im1.png"):
        (tmp_path / "elsewhere" / gone).unlink()
        with pytest.raises(DataError, match=r"holds another prepared dataset: .*--force"):
            run(source, tmp_path / "out")
        assert run(source, tmp_path / "out", force=True).fresh
    assert len(load(tmp_path / "out")) == 22


def test_the_command_prepares_and_says_when_it_did_before(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["data", "prepare", str(source), "--out", str(tmp_path / "out"), "--no-tfds"]
    assert main([*call, "--drop", "blank,leaks"]) == 0
    out = capsys.readouterr().out
    assert "dropped: 1 images, blank" in out
    assert "16 train, 6 validation" in out
    assert main([*call, "--drop", "blank,leaks"]) == 0
    assert "prepared already" in capsys.readouterr().out
    assert main([*call, "--json"]) == 2
    assert "--force" in capsys.readouterr().err
    assert main([*call, "--json", "--force"]) == 0
    assert json.loads(capsys.readouterr().out)["dropped"] == []


def test_the_command_does_not_suggest_force_for_the_source(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options in ([], ["--force"]):
        assert main(["data", "prepare", str(source), "--out", str(source), *options]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "give another folder for --out" in line
        assert "--force" not in line


def test_the_command_takes_a_seed_for_the_split_that_is_drawn(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["data", "prepare", str(source), "--out", str(tmp_path / "out"), "--no-tfds"]
    assert main([*call, "--seed", "7"]) == 2
    assert "--seed is for --split card" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*call, "--seed", "7", "--split", "card", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["options"]["seed"] == 7


def test_the_command_refuses_unknown_drops(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["data", "prepare", "x.zip", "--out", str(tmp_path), "--drop", "ugly"])
    assert stop.value.code == 2


@pytest.mark.slow
def test_the_real_archive_is_prepared_within_a_minute(fer_zip: Path, tmp_path: Path) -> None:
    start = time.monotonic()
    manifest = run(fer_zip, tmp_path / "out", drop=["blank", "leaks"]).manifest
    assert time.monotonic() - start < 60
    faces = load(tmp_path / "out")
    assert len(faces) == sum(sum(c.values()) for c in manifest["counts"].values())
    training = {d for d, s in zip(faces.digests, faces.splits) if s == 0}
    evaluation = {d for d, s in zip(faces.digests, faces.splits) if s != 0}
    assert training.isdisjoint(evaluation)
    assert os.path.getsize(tmp_path / "out" / ARRAYS) < 100e6
