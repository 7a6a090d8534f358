"""ferjax faces: what is on stdout and stderr, the files that are written, and the exit code."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import ferjax
from ferjax.errors import FerjaxError, PriorWarning
from ferjax.faces import batch, yunet_network
from ferjax.faces.detection import MIN_SCORE
from ferjax.faces.journal import Journal
from ferjax.faces.settings import Settings
from ferjax.prediction_engines import JaxEngine

from ..networks import constant

Cli = Callable[..., Any]
ROOT = Path(__file__).parents[2]
FACE = cv2.imread(str(ROOT / "examples" / "astronaut.png"))
LABELS = ["--labels", "a,b,c,d,e,f,g"]


def write(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def flat(path: Path) -> Path:
    return write(path, np.full((48, 64, 3), 128, np.uint8))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of six files: one face, two, none, two that cannot be read, no photograph."""
    folder = tmp_path / "photos"
    write(folder / "one.png", FACE)
    write(folder / "sub" / "two.png", np.hstack([FACE, FACE]))
    flat(folder / "none.png")
    whole = write(folder / "cut.jpg", FACE).read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").touch()
    (folder / "notes.txt").write_text("no photograph by its name")
    return folder


@pytest.fixture
def faces(cli: Cli, model: Path) -> Cli:
    """Run the command with a small network: `faces(path, "--json")`."""

    def run(*arguments: object) -> Any:
        return cli("faces", *arguments, "--weights", model, *LABELS)

    return run


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def files_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_the_first_command_of_the_readme_says_what_stands_there(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (expected,) = re.findall(r"faces examples/astronaut.jpg --draw \.\n(.*)\n", readme)
    done = cli("faces", "examples/astronaut.jpg", "--draw", tmp_path)
    assert (done.code, done.err) == (0, "")
    number = r"[0-9]+\.?[0-9]*"  # other versions of OpenCV may find the box a pixel further
    assert re.sub(number, "0", done.out.strip()) == re.sub(number, "0", expected)
    values, stated = (list(map(float, re.findall(number, t))) for t in (done.out, expected))
    assert values == pytest.approx(stated, rel=0.03, abs=3)
    assert values[1] == pytest.approx(stated[1], abs=0.05)
    drawn, shown = tmp_path / "astronaut.faces.jpg", ROOT / "docs/pictures/astronaut.faces.jpg"
    assert cv2.imread(str(drawn)).shape == cv2.imread(str(shown)).shape
    assert np.abs(cv2.absdiff(cv2.imread(str(drawn)), cv2.imread(str(shown)))).mean() < 4


def test_mixed_files_give_lines_and_errors(faces: Cli, photos: Path) -> None:
    clip = photos / "clip.mp4"
    clip.write_bytes(b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(40))
    done = faces(photos, photos / "gone.jpg", photos / "notes.txt", clip)
    assert done.code == 1
    names = [line.split()[:2] for line in done.out.splitlines()]
    assert [(Path(name).name, number) for name, number in names] == [
        ("none.png", "-"),
        ("one.png", "1"),
        ("two.png", "1"),
        ("two.png", "2"),
    ]
    assert done.out.splitlines()[0].endswith("no face")
    lines = done.err.splitlines()
    assert all(line.startswith("ferjax: error: ") for line in lines)
    assert len(lines) == 5
    for text in (
        "cut.jpg",
        "empty.jpg: empty",
        "gone.jpg: no such file",
        "notes.txt: not an",
        "clip.mp4: a video, not an image",
    ):
        assert sum(text in line for line in lines) == 1, text


def test_photographs_of_which_none_exists_are_a_mistake(faces: Cli, tmp_path: Path) -> None:
    table, gone = tmp_path / "faces.csv", tmp_path / "gone.jpg"
    done = faces(gone, "--csv", table)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"ferjax: error: {gone}: no such file\n"
    assert not files_in(tmp_path)
    good = flat(tmp_path / "good.png")
    done = faces(gone, good)
    assert (done.code, done.err) == (1, f"ferjax: error: {gone}: no such file\n")
    assert done.out.startswith(str(good))


def test_json_is_a_list_of_photographs(faces: Cli, photos: Path) -> None:
    done = faces(photos, "--json")
    assert done.code == 1
    entries = json.loads(done.out)
    by_name = {Path(entry["path"]).name: entry for entry in entries}
    assert list(by_name) == ["cut.jpg", "empty.jpg", "none.png", "one.png", "two.png"]
    assert by_name["none.png"]["faces"] == [] == by_name["cut.jpg"]["faces"]
    assert by_name["none.png"]["error"] is None
    assert {name for name, entry in by_name.items() if "engine" in entry} == {"one.png", "two.png"}
    assert "empty, 0 bytes" in by_name["empty.jpg"]["error"]
    left, right = by_name["two.png"]["faces"]
    assert (left["face"], right["face"]) == (1, 2)
    assert right["box"][0] - left["box"][0] == pytest.approx(160, abs=8)
    assert list(left["probabilities"]) == list("abcdefg")
    assert left["confidence"] == max(left["probabilities"].values())
    (face,) = by_name["one.png"]["faces"]
    assert np.shape(face["landmarks"]) == (5, 2)
    assert (by_name["two.png"]["width"], by_name["two.png"]["height"]) == (320, 160)


def test_four_faces_of_each_photograph_are_expected(
    faces: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected: list[int | None] = []
    monkeypatch.setattr(JaxEngine, "expect", lambda self, images: expected.append(images))
    photographs = [write(tmp_path / name, FACE) for name in ("a.png", "b.png")]
    assert faces(*photographs, "--engine", "jax").code == 0
    assert expected[-1] == 8


def test_which_faces_are_given(faces: Cli, photos: Path) -> None:
    small = cv2.resize(FACE, (80, 80), interpolation=cv2.INTER_AREA)
    wide = np.full((160, 240, 3), 128, np.uint8)
    wide[40:120, :80], wide[:, 80:] = small, FACE
    path = write(photos / "wide.png", wide)

    def sizes(*options: object) -> list[int]:
        (entry,) = json.loads(faces(path, "--json", *options).out)
        return [round(face["size"], -1) for face in entry["faces"]]

    large, less = sizes("--order", "size")
    assert large > less + 30
    assert sizes() == [less, large]
    assert sizes("--largest") == [large] == sizes("--min-size", less + 20)
    assert sizes("--min-score", 1) == []


def test_abstaining_leaves_the_label_out(faces: Cli, photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "faces.csv"
    done = faces(photos / "one.png", "--abstain-below", 1, "--csv", table)
    assert " abstains (" in done.out
    (row,) = rows_of(table)
    assert row["label"] == ""
    assert float(row["confidence"]) > 0


def test_the_table_has_all_photographs(faces: Cli, photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "new" / "faces.csv"
    assert faces(photos, "--csv", table).code == 1
    rows = rows_of(table)
    assert [(Path(row["path"]).name, row["face"]) for row in rows] == [
        ("cut.jpg", "0"),
        ("empty.jpg", "0"),
        ("none.png", "0"),
        ("one.png", "1"),
        ("two.png", "1"),
        ("two.png", "2"),
    ]
    entries = json.loads(faces(photos, "--json").out)
    listed = [face for entry in entries for face in entry["faces"]]
    for row, face in zip(rows[3:], listed, strict=True):
        assert [float(row[n]) for n in ("x", "y", "width", "height")] == face["box"]
        for label, p in face["probabilities"].items():
            assert float(row[label]) == pytest.approx(p, abs=1e-6)
        assert row["label"] == face["label"]


def test_drawings_are_of_the_photographs_format_and_never_on_them(
    faces: Cli, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    names = ["a.jpg", "a.png", "a.webp", "a.bmp", "a.tiff"]
    for name in names:
        write(folder / name, FACE)
    write(folder / "b" / "a.png", FACE)
    (folder / "c").write_bytes((folder / "a.jpg").read_bytes())
    before = {name: (folder / name).read_bytes() for name in files_in(folder)}
    for _ in range(2):  # the second time its own drawings lie there
        done = faces(folder, folder / "c", "--draw", folder)
        assert (done.code, len(done.out.splitlines())) == (0, 7)
        assert {name: (folder / name).read_bytes() for name in before} == before
        made = sorted(set(files_in(folder)) - set(before))
        assert made == sorted(
            [*(f"a.faces.{n[2:]}" for n in names), "b/a.faces.png", "c.faces.png"]
        )
    assert "note: 7 drawings and crops are left out" in done.err
    for name in made:
        drawn = cv2.imread(str(folder / name))
        assert (drawn[:160, :160] != FACE).any()
        head = (folder / name).read_bytes()[:12]
        kind = {"jpg": b"\xff\xd8", "png": b"\x89PNG", "webp": b"RIFF", "bmp": b"BM", "tiff": b"II"}
        assert head.startswith(kind[name.rpartition(".")[2]])


def test_a_photograph_that_is_called_as_a_drawing_stays(
    faces: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "a.faces.jpg", "a.face1.png"):
        write(tmp_path / name, FACE)
    before = {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)}
    drawings = ["a-2.faces.jpg", "a.face1.faces.png", "a.faces.faces.jpg"]
    crops = ["a-2.face1.png", "a.face1.face1.png", "a.faces.face1.png"]
    for given in (["."], sorted(before), sorted([*before, *drawings])):
        assert faces(*given, "--draw", ".", "--crops", ".").code == 0
        assert {name: (tmp_path / name).read_bytes() for name in before} == before
        assert files_in(tmp_path) == sorted([*before, *drawings, *crops])


def test_photographs_of_one_name_have_drawings_of_two(faces: Cli, tmp_path: Path) -> None:
    write(tmp_path / "a" / "x.png", FACE)
    flat(tmp_path / "b" / "x.png")
    out = tmp_path / "out" / "new"
    assert faces(tmp_path / "a", tmp_path / "b", "--draw", out, "--crops", out).code == 0
    assert files_in(out) == ["b-x.faces.png", "x.face1.png", "x.faces.png"]
    assert (cv2.imread(str(out / "b-x.faces.png")) == 128).all()


def test_a_crop_is_predicted_as_the_face(faces: Cli, cli: Cli, photos: Path, model: Path) -> None:
    crops = photos.parent / "crops"
    write(photos / "turned.jpg", np.rot90(FACE))
    entries = json.loads(faces(photos, "--crops", crops, "--json").out)
    assert files_in(crops) == [
        *("one.face1.png", "sub/two.face1.png", "sub/two.face2.png", "turned.face1.png")
    ]
    done = cli("predict", crops, "--resize", "area", "--json", "--weights", model, *LABELS)
    predicted = {Path(entry["path"]).name: entry for entry in json.loads(done.out)}
    for entry in entries:
        for face in entry["faces"]:
            name = f"{Path(entry['path']).stem}.face{face['face']}.png"
            assert predicted[name]["probabilities"] == pytest.approx(
                face["probabilities"], abs=1e-6
            )
            height, width = cv2.imread(str(next(crops.rglob(name)))).shape[:2]
            assert height == width == pytest.approx(0.9 * face["size"], abs=1)


def test_photographs_in_formats_that_are_not_read_are_counted(faces: Cli, tmp_path: Path) -> None:
    folder = flat(tmp_path / "phone" / "IMG_2.JPG").parent
    for name in ("IMG_1.HEIC", "sub/IMG_3.nef", ".hidden.heic", "clip.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"\0")
    done = faces(folder)
    note = f"not read: 2, such as {folder}/IMG_1.HEIC; left out, save them as JPEG"
    assert note in done.err and done.code == 0
    (folder / "IMG_2.JPG").unlink()
    done = faces(folder)
    assert done.error.endswith("such as .png or .jpg, got IMG_1.HEIC; save it as JPEG")
    assert done.code == 2


def test_anonymised_pictures_show_no_face(faces: Cli, photos: Path, tmp_path: Path) -> None:
    plain, hidden = tmp_path / "plain", tmp_path / "hidden"
    faces(photos / "one.png", "--draw", plain)
    assert faces(photos / "one.png", "--draw", hidden, "--anonymize").code == 0
    eyes = (slice(70, 100), slice(50, 100))
    assert (cv2.imread(str(plain / "one.faces.png"))[eyes] == FACE[eyes]).mean() > 0.9
    blocks = cv2.imread(str(hidden / "one.faces.png"))[eyes]
    assert len(np.unique(blocks.reshape(-1, 3), axis=0)) < 20


def test_maps_are_drawn_on_the_faces(faces: Cli, photos: Path, tmp_path: Path) -> None:
    plain, explained = tmp_path / "plain", tmp_path / "explained"
    faces(photos, "--draw", plain)
    done = faces(photos, "--draw", explained, "--explain")
    assert (done.code, files_in(explained)) == (1, files_in(plain))
    cheek = (slice(100, 130), slice(60, 90))
    before, after = (
        cv2.imread(str(folder / "one.faces.png"))[cheek].astype(int)
        for folder in (plain, explained)
    )
    assert np.ptp(before, axis=2).mean() > 10  # skin
    assert (np.abs(after - before).max(2) > 3).mean() > 0.9
    none = [cv2.imread(str(folder / "none.faces.png")) for folder in (plain, explained)]
    assert (none[0] == none[1]).all()


def test_a_network_that_cannot_be_explained_is_told_first(
    cli: Cli, photos: Path, tmp_path: Path
) -> None:
    weights = constant(tmp_path / "dense.h5", 0.2, 0.3, 0.5, labels=["a", "b", "c"])
    call = ["faces", photos / "cut.jpg", "--draw", tmp_path / "out", "--explain"]
    done = cli(*call, "--weights", weights)
    assert (done.code, "expected a network with convolutions" in done.error) == (2, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--anonymise"], "--anonymise is for what --draw draws: give --draw DIR too"),
        (["--draw", "d", "--crops", "c", "--anonymise"], "--crops writes faces as they are"),
        (["--draw", "d", "--largest", "--anonymise"], "--largest would leave faces as they are"),
        (["--explain"], "--explain is for what --draw draws: give --draw DIR too"),
        (["--draw", ""], "expected a path for --draw, got an empty string"),
        (["--resume"], "--resume goes on with what --csv, --draw or --crops wrote"),
        (["--calibrated"], "the weights come without a temperature"),
        (["--min-size", "0"], "expected a positive number of pixels, got '0'"),
        (["--min-score", "2"], "expected a number from 0 to 1, got '2'"),
        (["--resume", "--force", "--csv", "f.csv"], "not allowed with argument"),
        (["--draw", "one.png"], "one.png: expected a folder"),
        (["--crops", "one.png/sub"], "one.png/sub: expected a folder"),
        (["--csv", "sub"], "sub: is a folder already"),
        (["--csv", "notes.txt"], "notes.txt: is no table that ferjax wrote; --force replaces it"),
        (["--csv", "one.png", "--force"], "one.png: is one of the photographs"),
    ],
)
def test_mistakes_are_told_before_any_photograph_is_read(
    faces: Cli, photos: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.chdir(photos)
    before = files_in(photos)
    done = faces("one.png", "cut.jpg", *options)
    assert done.code == 2
    assert message in done.error
    assert files_in(photos) == before


def test_a_table_is_no_link_to_a_photograph(faces: Cli, photos: Path) -> None:
    table, before = photos / "linked.csv", (photos / "one.png").read_bytes()
    table.hardlink_to(photos / "one.png")
    done = faces(photos / "one.png", "--csv", table, "--force")
    assert "linked.csv: is one of the photographs" in done.error
    assert (photos / "one.png").read_bytes() == before


@pytest.mark.parametrize("content", [None, b"another network"])
def test_a_detector_that_was_altered_is_told_first(
    faces: Cli, photos: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    model = photos / "model.onnx"
    if content is not None:
        model.write_bytes(content)
    monkeypatch.setattr(yunet_network.read_model, "__defaults__", (model,))
    done = faces(photos / "cut.jpg", "--json")
    assert done.code == 2
    assert str(model) in done.error
    assert "reinstall ferjax" in done.error


def test_a_folder_without_photographs_is_a_mistake(faces: Cli, tmp_path: Path) -> None:
    done = faces(tmp_path)
    assert (done.code, "no images in this folder" in done.error) == (2, True)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root and Windows may write all")
def test_a_folder_that_may_not_be_written_is_a_mistake(faces: Cli, photos: Path) -> None:
    closed = photos / "closed"
    closed.mkdir(mode=0o500)
    for options in (["--draw", closed], ["--csv", closed / "f.csv"]):
        done = faces(photos / "one.png", *options)
        assert (done.code, "not writable" in done.error) == (2, True)


def test_many_photographs_are_counted(faces: Cli, tmp_path: Path) -> None:
    for number in range(10):
        flat(tmp_path / "in" / f"{number}.png")
    (tmp_path / "in" / "3.png").write_bytes(b"")
    done = faces(tmp_path / "in")
    assert (done.code, len(done.out.splitlines())) == (1, 9)
    counted = done.err.splitlines()[-1]
    assert counted.startswith("10 photographs: 0 faces, 9 without a face, 1 could not be read; ")
    assert counted.endswith(" a second")


# --- interrupted runs ----------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A folder of 12 photographs, of which every third shows a face and one cannot be read."""
    folder = tmp_path / "many"
    for number in range(12):
        path = folder / f"{number}.png"
        write(path, FACE) if number % 3 == 0 else flat(path)
    (folder / "7.png").write_bytes(b"no picture")
    return folder


def made(out: Path) -> dict[str, bytes]:
    return {
        name: (out / name).read_bytes()
        for name in files_in(out)
        if not Path(name).name.startswith(".")
    }


def options(out: Path) -> list[object]:
    return ["--csv", out / "f.csv", "--draw", out / "drawn", "--crops", out / "crops"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_killed_goes_on(
    faces: Cli, many: Path, model: Path, tmp_path: Path, how: signal.Signals
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert faces(many, *options(whole)).code == 1
    code = (
        "import signal, sys, time\nfrom ferjax.faces.journal import Journal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's job may ignore it
        "add, done = Journal.add, []\n"
        "def stopped(*args):\n"
        "    done.append(1)\n"
        "    if len(done) > 5: open(sys.argv[-1], 'w').close(); time.sleep(600)\n"
        "    return add(*args)\n"
        "Journal.add = stopped\n"
        "from ferjax.cli.main import main; sys.exit(main(sys.argv[1:-1]))"
    )
    asleep = tmp_path / "asleep"  # elsewhere a callback of JAX's may swallow the interrupt
    call = ["faces", many, *options(out), "--weights", model, *LABELS, asleep]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, call)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if asleep.exists():
            break
        time.sleep(0.02)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "--resume goes on with the others" in err
    else:
        with open(out / "f.csv", "ab") as file:  # as if killed while it wrote
            file.write(b"half a li")
        with open(out / ".f.csv.resume", "ab") as file:
            file.write(b'{"photograph": "')
        for left in ("drawn/.11.faces.png.0123abcd.tmp", "crops/.9.face1.png.0123abcd.tmp"):
            (out / left).write_bytes(b"half a picture")
    drawn = {path: path.stat().st_mtime_ns for path in (out / "drawn").glob("[0-9]*")}
    assert 3 <= len(drawn) < 11

    refused = faces(many, *options(out))
    assert refused.code == 2
    assert "is of an unfinished run; --resume goes on with it, --force replaces it" in refused.error
    done = faces(many, *options(out), "--resume")
    assert done.code == 1
    assert "of 12 are done already" in done.err
    assert made(out) == made(whole)
    assert [name for name in files_in(out) if Path(name).name.startswith(".")] == [".f.csv.resume"]
    kept = [path for path, was in drawn.items() if path.stat().st_mtime_ns == was]
    assert len(kept) >= len(drawn) - batch.WAITING - 1  # the last may not have been recorded
    assert kept


def test_only_what_changed_is_done_again(faces: Cli, many: Path, tmp_path: Path) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    faces(many, *options(out))
    flat(many / "0.png")  # a face less
    write(many / "2.png", FACE)
    write(many / "1b.png", FACE)
    write(many / "7.png", FACE)
    (many / "11.png").unlink()
    (out / "drawn" / "4.faces.png").unlink()
    (out / "crops" / "6.face1.png").unlink()
    done = faces(many, *options(out), "--resume")
    assert done.code == 0
    assert "note: 6 of 12 are done already" in done.err
    faces(many, *options(whole))
    assert (out / "f.csv").read_bytes() == (whole / "f.csv").read_bytes()
    again, expected = made(out), made(whole)
    assert set(again) - set(expected) == {"drawn/11.faces.png"}
    assert {name: again[name] for name in expected} == expected
    assert "note: 12 of 12 are done already" in faces(many, *options(out), "--resume").err


def test_a_finished_table_is_replaced(faces: Cli, many: Path, tmp_path: Path) -> None:
    table = tmp_path / "f.csv"
    faces(many, "--csv", table)
    assert faces(many / "0.png", "--csv", table).code == 0
    assert len(rows_of(table)) == 1
    assert files_in(tmp_path / "many") == sorted(f"{number}.png" for number in range(12))


def test_what_goes_on_is_what_was_begun(faces: Cli, many: Path, tmp_path: Path) -> None:
    table = tmp_path / "f.csv"
    faces(many, "--csv", table)
    before = table.read_bytes()
    for more, message in (
        (["--largest"], "begun with no --largest, expected the same to go on with it, got --larg"),
        (["--min-score", 0.5], "begun with --min-score 0.7, expected the same"),
        (["--draw", tmp_path / "d"], f"begun with no --draw, expected .* --draw {tmp_path}"),
        (["--value-range", 0, 255], "begun with --value-range 0.0 1.0"),
    ):
        done = faces(many, "--csv", table, "--resume", *more)
        assert done.code == 2
        assert re.search(message, done.error)
    done = faces(many / "0.png", "--csv", table, "--resume")
    assert done.code == 2
    assert f"begun with {many} too: give it again to go on" in done.error
    assert table.read_bytes() == before
    done = faces(many, "--csv", table, "--force", "--largest")
    assert (done.code, "done already" in done.err) == (1, False)


def test_weights_that_changed_are_no_way_to_go_on(
    cli: Cli, faces: Cli, many: Path, fixtures: Path, tmp_path: Path
) -> None:
    table = tmp_path / "f.csv"
    faces(many, "--csv", table)
    other = fixtures / "keras-2.15.0" / "functional.h5"
    done = cli("faces", many, "--csv", table, "--resume", "--weights", other, "--labels", "sorted")
    assert (done.code, "begun with other weights" in done.error) == (2, True)


def test_pictures_alone_go_on_too(faces: Cli, many: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = faces(many, "--draw", out, "--resume")  # nothing to go on with
    assert (done.code, len(files_in(out))) == (1, 11)
    assert all(not name.startswith(".") for name in files_in(out))


def test_runs_over_other_photographs_share_a_folder(
    faces: Cli, many: Path, model: Path, tmp_path: Path
) -> None:
    from ferjax.faces.batch import Batch
    from ferjax.faces.settings import Settings

    out = tmp_path / "out"
    classifier = ferjax.load(model, labels=list("abcdefg"))
    first = iter(Batch(classifier, [str(many)], Settings(draw=str(out))))
    next(first)
    assert faces(many / "0.png", many / "1.png", "--draw", out).code == 0
    assert len(list(first)) == 11
    assert len(made(out)) == 11 == len(files_in(out))


def test_stdout_that_closes_leaves_a_run_that_goes_on(
    faces: Cli, many: Path, model: Path, tmp_path: Path
) -> None:
    call = ["faces", many, "--csv", tmp_path / "f.csv", "--weights", model, *LABELS]
    process = subprocess.run(
        [sys.executable, "-u", "-m", "ferjax", *map(str, call)],
        stdout=open(os.devnull),  # noqa: SIM115 that cannot be written to
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    assert faces(many, "--csv", tmp_path / "f.csv", "--resume").code == 1
    assert len(rows_of(tmp_path / "f.csv")) == 12


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a disk that is full")
def test_a_full_disk_is_one_line(
    faces: Cli, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_handle = os.fdopen

    def full(handle: int, mode: str, **options: Any) -> Any:
        file = open_handle(handle, mode, **options)
        if mode != "r+b":  # how a record is written
            return file
        disk = open("/dev/full", "wb")  # noqa: SIM115
        return types.SimpleNamespace(
            truncate=file.truncate, seek=file.seek, write=disk.write, flush=disk.flush,
            close=lambda: (file.close(), disk.close()),
        )  # fmt: skip

    monkeypatch.setattr(os, "fdopen", full)
    done = faces(many, "--csv", tmp_path / "f.csv")
    assert done.code == 2
    assert "cannot be written (No space left on device)" in done.error


def test_help_says_what_numbers_mean(cli: Cli) -> None:
    text = " ".join(cli("faces", "--help").out.split())
    assert f"leave out what is less surely a face, in [0, 1] (default: {MIN_SCORE:g})" in text
    assert "ferjax faces party.jpg --draw ." in text


# --- priors ---------------------------------------------------------------------------------------

TRAINED = ["--training-frequencies", "a=1,b=1,c=1,d=2,e=2,f=1,g=1"]


def test_a_prior_that_is_estimated_from_all_photographs(
    faces: Cli, photos: Path, tmp_path: Path
) -> None:
    table, same = tmp_path / "out" / "adapted.csv", tmp_path / "same.csv"
    done = faces(photos, *TRAINED, "--prior", "adapt", "--csv", table)
    assert done.code == 1  # two cannot be read
    (told,) = [line for line in done.err.splitlines() if "note: prior" in line]
    head, _, shares = told.rpartition(": ")
    assert head == "ferjax: note: prior estimated from 3 faces"
    assert done.err.count("cut.jpg") == 1
    plain = faces(photos, "--csv", tmp_path / "plain.csv")
    assert done.out != plain.out
    # Another run can be given what is told.
    assert faces(photos, *TRAINED, "--prior", shares, "--csv", same).out == done.out
    assert same.read_bytes() == table.read_bytes()

    # Photographs that are added get the prior that the run was begun with.
    write(photos / "more.png", FACE)
    resumed = faces(photos, *TRAINED, "--prior", "adapt", "--csv", table, "--resume")
    assert f"note: prior as the run was begun with: {shares}" in resumed.err
    (one, more) = [r for r in rows_of(table) if Path(r["path"]).name in ("one.png", "more.png")]
    assert one["label"] == more["label"] and one["a"] == more["a"]
    for options, message in (
        ([*TRAINED, "--prior", "uniform"], "begun with --prior adapt, expected the same"),
        ([], "begun with --prior adapt, expected the same to go on with it, got no --prior"),
        (["--training-frequencies", "a=2,b=1,c=1,d=2,e=2,f=1,g=1", "--prior", "adapt"], "begun w"),
    ):
        refused = faces(photos, *options, "--csv", table, "--resume")
        assert refused.code == 2
        assert message in refused.error
    again = faces(
        photos, "--prior", "uniform", *TRAINED, "--csv", tmp_path / "plain.csv", "--resume"
    )
    assert "begun with no --prior, expected the same to go on" in again.error


@pytest.mark.parametrize("broken", [None, "uniform", {"a": 1}, [1] * 7])
def test_an_interrupted_run_keeps_the_prior_that_it_estimated(
    model: Path, photos: Path, tmp_path: Path, broken: Any
) -> None:
    classifier = ferjax.load(model, labels=list("abcdefg"), training_frequencies=[1] * 7)
    classifier.temperature = 1.0

    def run(table: Path, **options: Any) -> batch.Batch:
        settings = Settings(prior="adapt", table=str(table), **options)
        return batch.Batch(classifier, [str(photos)], settings)

    with pytest.warns(PriorWarning):
        assert len(list(run(tmp_path / "whole.csv"))) == 5
    interrupted = run(tmp_path / "f.csv")
    with pytest.warns(PriorWarning):
        entries = iter(interrupted)
        next(entries)
    entries.close()  # type: ignore[attr-defined]
    assert not interrupted.needs_estimate
    journal = tmp_path / ".f.csv.resume"
    if broken is not None:
        record = Journal(journal)
        assert record.asked is not None
        record.begin({**record.asked, "estimated prior": broken})
        record.close()
        with pytest.raises(FerjaxError, match="does not say what prior was estimated; --force"):
            run(tmp_path / "f.csv", resume=True)
        return
    resumed = run(tmp_path / "f.csv", resume=True)  # without looking at all of them again
    assert resumed.prior == interrupted.prior
    assert len(list(resumed)) == 5
    assert (tmp_path / "f.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_nothing_is_written_where_a_photograph_cannot_be_adapted_to(
    faces: Cli, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    written = ["--csv", out / "f.csv", "--draw", out / "drawn", "--crops", out / "crops"]
    for photo, count in (("one.png", 1), ("none.png", 0)):
        done = faces(photos / photo, *TRAINED, "--prior", "adapt", *written)
        assert done.code == 2
        assert f"at least 2 faces for the prior 'adapt', got {count}" in done.err
        assert done.out == ""
    assert not out.exists()


def test_a_drawing_shows_the_label_of_the_prior(cli: Cli, photos: Path, tmp_path: Path) -> None:
    classes = ",".join(f"{label}={1e5 if label == 'sad' else 1}" for label in ferjax.EMOTIONS)
    call = ["faces", photos / "one.png", "--draw", tmp_path / "drawn"]
    assert "happy" in cli(*call).out
    plain = (tmp_path / "drawn" / "one.faces.png").read_bytes()
    assert "sad" in cli(*call, "--prior", classes).out
    assert (tmp_path / "drawn" / "one.faces.png").read_bytes() != plain
