"""ferjax predict: what is on stdout, what is on stderr, and the exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import ferjax
from ferjax import digests, hardware, session_cache
from ferjax.emotions import FER2013_CSV_ORDER
from ferjax.nets.compiled import Compiled

Cli = Callable[..., Any]
ROOT = Path(__file__).parents[2]
ASTRONAUT = ROOT / "examples" / "astronaut.png"
NAMES = "a,b,c,d,e,f,g"
LINEAR = ("--resize", "linear")  # as published, and said so: no note about skipped pixels


def test_an_image_gives_its_class(cli: Cli) -> None:
    done = cli("predict", ASTRONAUT, *LINEAR)
    assert (done.code, done.err) == (0, "")
    path, label, probability = done.out.split()
    assert (path, label) == (str(ASTRONAUT), "happy")
    assert 0.7 < float(probability) <= 1


def test_jax_compiles_for_as_many_images_as_there_are(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    called = Compiled.__call__

    def spied(self: Compiled, variables: Any, batch: Any) -> Any:
        seen.append(self.is_few)
        return called(self, variables, batch)

    monkeypatch.setattr(Compiled, "__call__", spied)
    done = cli("predict", ASTRONAUT, *LINEAR, "--engine", "jax", "--json")
    assert (done.code, done.err) == (0, "")
    (entry,) = json.loads(done.out)
    (other,) = ferjax.load(engine="jax").predict(ASTRONAUT, resize="linear")
    assert seen == [True, False]
    assert entry["probabilities"] == pytest.approx(other.probabilities, abs=1e-6)


def test_what_computes_is_made_ready_while_images_are_read(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, int | None]] = []
    prepare = ferjax.EmotionClassifier.prepare

    def prepared(self: ferjax.EmotionClassifier, *, threads: int | None = None) -> str:
        made.append((threading.current_thread().name, threads))
        return prepare(self, threads=threads)

    monkeypatch.setattr(ferjax.EmotionClassifier, "prepare", prepared)
    assert cli("predict", ASTRONAUT, *LINEAR, "--engine", "onnx").code == 0
    assert made == [("ferjax-prepare", 1)]


def test_what_fails_ahead_is_left_to_the_prediction(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: ferjax.EmotionClassifier, *, threads: int | None = None) -> str:
        raise RuntimeError("not now")

    call = ("predict", ASTRONAUT, *LINEAR, "--engine", "onnx")
    expected = cli(*call)
    monkeypatch.setattr(ferjax.EmotionClassifier, "prepare", fails)
    assert cli(*call) == expected
    assert expected.code == 0


def test_nothing_goes_on_behind_the_command(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def waits(self: ferjax.EmotionClassifier, *, threads: int | None = None) -> str:
        assert released.wait(10)
        return "onnx"

    monkeypatch.setattr(ferjax.EmotionClassifier, "prepare", waits)
    (tmp_path / "bad.png").write_bytes(b"no image")
    threading.Timer(0.2, released.set).start()
    assert cli("predict", tmp_path, "--engine", "onnx").code == 1
    assert released.is_set()


def test_jax_is_not_imported_for_images_that_cannot_be_read(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    monkeypatch.setattr(ferjax.EmotionClassifier, "prepare", lambda self, **_: made.append(self))
    (tmp_path / "bad.png").write_bytes(b"no image")
    for engine, count in (("jax", 0), ("onnx", 1)):
        made.clear()
        assert cli("predict", tmp_path, "--engine", engine).code == 1
        assert len(made) == count


def test_a_system_without_room_for_threads_is_slower_alone(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ("predict", ASTRONAUT, *LINEAR, "--engine", "onnx")
    expected = cli(*call)
    start, refused = threading.Thread.start, set()

    def refuses(self: threading.Thread) -> None:
        if self.name.startswith("ferjax-"):
            refused.add(self.name)
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuses)
    assert cli(*call) == expected
    assert expected.code == 0
    assert refused >= {"ferjax-hash", "ferjax-prepare"}


def test_the_weight_file_is_hashed_once_ahead(
    cli: Cli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(hardware, "may_have_accelerator", lambda: False)
    monkeypatch.setattr(session_cache, "cache_folder", lambda: tmp_path / "sessions")
    hashed: list[str] = []
    sha256 = digests.sha256

    def counted(path: str | os.PathLike[str]) -> str:
        hashed.append(threading.current_thread().name)
        return sha256(path)

    monkeypatch.setattr(digests, "sha256", counted)
    for again in (1, 0):  # once more where the entry is made
        hashed.clear()
        assert cli("predict", ASTRONAUT, *LINEAR, "--weights", model).code == 0
        assert hashed == ["ferjax-hash"] * (1 + again)


def test_top_gives_the_most_probable_first(cli: Cli) -> None:
    done = cli("predict", ASTRONAUT, "--top", 3)
    words = done.out.split()[1:]
    assert len(words) == 6
    assert words[0] == "happy"
    assert set(words[::2]) < set(ferjax.EMOTIONS)
    values = [float(word) for word in words[1::2]]
    assert values == sorted(values, reverse=True)
    assert len(cli("predict", ASTRONAUT, "--top", 100).out.split()) == 15


def test_json_is_one_list_with_everything(cli: Cli) -> None:
    done = cli("predict", ASTRONAUT, *LINEAR, "--json")
    assert (done.code, done.err) == (0, "")
    (entry,) = json.loads(done.out)
    (expected,) = ferjax.load().predict(ASTRONAUT, resize="linear")
    assert entry == {
        "path": str(ASTRONAUT),
        "engine": "onnx",
        "label": "happy",
        "index": 3,
        "confidence": expected.confidence,
        "probabilities": expected.probabilities,
    }
    assert list(entry["probabilities"]) == list(ferjax.EMOTIONS)


def test_nothing_but_json_is_on_stdout_of_a_process(model: Path) -> None:
    # With all that imports and warnings say; the weights come without label names.
    ferjax_predict = [sys.executable, "-m", "ferjax.cli.main", "predict"]
    done = subprocess.run(
        [*ferjax_predict, ASTRONAUT, "nowhere.png", "--weights", model, *LINEAR, "--json"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert [entry["path"] for entry in json.loads(done.stdout)] == [str(ASTRONAUT)]
    warning, error = done.stderr.splitlines()
    assert warning.startswith("ferjax: warning: the weights come without label names and are of no")
    assert error == "ferjax: error: nowhere.png: no such file"


def test_a_folder_is_searched_in_natural_order(cli: Cli, faces: Path, model: Path) -> None:
    done = cli("predict", faces, "--weights", model, "--labels", NAMES, *LINEAR, "--json")
    assert (done.code, done.err) == (0, "")
    names = [Path(entry["path"]).name for entry in json.loads(done.out)]
    assert names == ["im1.png", "im2.png", "im10.png"]


def test_each_image_gets_its_own_row(cli: Cli, faces: Path) -> None:
    together = json.loads(cli("predict", faces, ASTRONAUT, "--json").out)
    assert len(together) == 4
    for entry in together:
        (alone,) = json.loads(cli("predict", entry["path"], "--json").out)
        assert alone["label"] == entry["label"]
        for label, probability in entry["probabilities"].items():
            assert alone["probabilities"][label] == pytest.approx(probability, abs=1e-6)


def test_the_paths_of_text_form_a_column(cli: Cli, faces: Path) -> None:
    lines = cli("predict", faces).out.splitlines()
    assert len(lines) == 3
    width = len(str(faces / "im10.png"))
    for line in lines:
        assert line[width : width + 2] == "  "
        assert line[width + 2] != " "


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_bad_images_are_named_and_the_good_ones_predicted(
    cli: Cli, faces: Path, form: list[str]
) -> None:
    (faces / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (faces / "empty.jpg").write_bytes(b"")
    (faces / "notes.txt").write_text("not an image by its name")
    done = cli("predict", faces, faces / "gone.png", faces / "notes.txt", *form)
    assert done.code == 1
    lines = done.err.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("ferjax: error: ") for line in lines)
    for name in ("broken.png", "empty.jpg", "gone.png: no such file", "notes.txt"):
        assert sum(name in line for line in lines) == 1
    if form:
        found = [Path(entry["path"]).name for entry in json.loads(done.out)]
    else:
        found = [Path(line.split("  ")[0]).name for line in done.out.splitlines()]
    assert found == ["im1.png", "im2.png", "im10.png"]


def test_only_bad_images_leave_an_empty_list_and_exit_code_1(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "empty.png"
    path.touch()
    done = cli("predict", path, "gone.png", "--json")
    assert (done.code, json.loads(done.out)) == (1, [])
    empty, gone = done.err.splitlines()
    assert empty.startswith(f"ferjax: error: {path}: empty")
    assert gone == "ferjax: error: gone.png: no such file"
    assert cli("predict", path).code == 1


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_paths_of_which_none_exists_are_a_mistake(cli: Cli, form: list[str]) -> None:
    done = cli("predict", "gone.png", *form)
    assert (done.code, done.out) == (2, "")
    assert done.err == "ferjax: error: gone.png: no such file\n"
    done = cli("predict", "gone.png", "a.png", "b/", *form)
    assert (done.code, done.err) == (2, "ferjax: error: gone.png and 2 more: no such file\n")
    done = cli("predict", "s3://key:secret@bucket/faces", *form)
    hint = "without --on ray only local files are read"
    assert (done.code, done.err) == (2, f"ferjax: error: s3://bucket/faces: no such file; {hint}\n")


def test_an_empty_folder_is_a_mistake_in_the_call(cli: Cli, tmp_path: Path) -> None:
    done = cli("predict", tmp_path)
    assert done.code == 2
    assert done.error.startswith(f"ferjax: error: {tmp_path}: no images in this folder")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root and Windows may read all")
def test_an_unreadable_folder_is_a_mistake_in_the_call(cli: Cli, faces: Path) -> None:
    faces.chmod(0)
    try:
        done = cli("predict", faces)
    finally:
        faces.chmod(0o755)
    assert done.code == 2
    assert str(faces) in done.error


def test_an_unlistable_folder_is_one_line(
    cli: Cli, faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    monkeypatch.setattr(os, "listdir", refuse)
    done = cli("predict", faces)
    assert done.code == 2
    assert str(faces) in done.error


def test_more_images_than_a_chunk_keep_their_order(cli: Cli, tmp_path: Path, model: Path) -> None:
    for index in range(300):
        image = np.full((2, 2), index % 250, np.uint8)
        cv2.imwrite(str(tmp_path / f"im{index}.png"), image)
    (tmp_path / "im270.png").write_bytes(b"broken")
    done = cli("predict", tmp_path, "--weights", model, "--labels", NAMES, "--json")
    assert done.code == 1
    entries = json.loads(done.out)
    numbers = [int(Path(entry["path"]).stem[2:]) for entry in entries]
    assert numbers == [number for number in range(300) if number != 270]
    # 251 has the pixels of 1, on the other side of the chunk's end.
    by_number = dict(zip(numbers, entries, strict=True))
    one, other = by_number[1]["probabilities"], by_number[251]["probabilities"]
    assert one == pytest.approx(other, abs=1e-6)
    assert one != pytest.approx(by_number[100]["probabilities"], abs=1e-3)


def test_a_name_that_is_no_text_is_escaped(cli: Cli, tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\nface.png")
    try:
        (tmp_path / name).write_bytes(ASTRONAUT.read_bytes())
    except OSError:
        pytest.skip("needs a file system that takes any bytes as a name")
    done = cli("predict", tmp_path / name, *LINEAR)
    assert (done.code, done.err) == (0, "")
    assert len(done.out.splitlines()) == 1
    assert r"\udcff\nface.png  happy" in done.out
    (entry,) = json.loads(cli("predict", tmp_path / name, "--json").out)
    assert entry["path"] == str(tmp_path / name)


# --- large images --------------------------------------------------------------------------------

SKIPPED = (
    f"ferjax: note: {ASTRONAUT}: of its 160 x 160 pixels the published resize to 48 x 48 skips "
    "most; --resize area averages them, --resize linear leaves this note out"
)


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """The astronaut's face with as much around it again."""
    face = cv2.imread(str(ASTRONAUT))
    path = tmp_path / "photograph.png"
    cv2.imwrite(str(path), cv2.copyMakeBorder(face, 80, 80, 80, 80, cv2.BORDER_REPLICATE))
    return path


def test_skipped_pixels_are_said_once(cli: Cli, faces: Path) -> None:
    done = cli("predict", faces, ASTRONAUT)
    assert (done.code, done.err.splitlines()) == (0, [SKIPPED])
    assert len(done.out.splitlines()) == 4


def test_skipped_pixels_are_said_once_for_all_images(cli: Cli, faces: Path, tmp_path: Path) -> None:
    wide = tmp_path / "wide.png"
    assert cv2.imwrite(str(wide), np.zeros((100, 200), np.uint8))
    done = cli("predict", wide, faces, ASTRONAUT, ASTRONAUT)
    assert done.err == (
        f"ferjax: note: {wide} and 2 more: of their pixels, 200 x 100 in the first, the published "
        "resize to 48 x 48 skips most; --resize area averages them, --resize linear leaves this "
        "note out\n"
    )


def test_the_default_is_linear_and_area_averages(cli: Cli) -> None:
    def probabilities(*options: str) -> Any:
        (entry,) = json.loads(cli("predict", ASTRONAUT, "--json", *options).out)
        return list(entry["probabilities"].values())

    image = cv2.imread(str(ASTRONAUT), cv2.IMREAD_GRAYSCALE)
    small = cv2.resize(image, (48, 48), interpolation=cv2.INTER_AREA)
    expected = ferjax.load().predict_proba(small)[0].tolist()
    assert probabilities() == probabilities("--resize", "linear")
    assert probabilities("--resize", "area") == pytest.approx(expected, abs=1e-6)
    assert probabilities() != pytest.approx(expected, abs=1e-4)
    assert cli("predict", ASTRONAUT, "--resize", "area").err == ""


def test_another_way_to_resize_is_a_mistake_in_the_call(cli: Cli) -> None:
    done = cli("predict", ASTRONAUT, "--resize", "cubic")
    assert done.code == 2
    assert "'cubic'" in done.error and "linear" in done.error


def test_a_picture_that_is_no_crop_is_said_once(cli: Cli, photograph: Path) -> None:
    done = cli("predict", photograph, *LINEAR)
    assert (done.code, done.err) == (
        0,
        f"ferjax: note: {photograph}: the face fills less than half of it, and all of it is taken "
        "for one; `ferjax faces` finds and crops it\n",
    )
    assert len(done.out.splitlines()) == 1
    both = cli("predict", photograph, ASTRONAUT, photograph).err.splitlines()
    assert both == [
        f"ferjax: note: {photograph} and 1 more: the face fills less than half of each, and all of "
        "it is taken for one; `ferjax faces` finds and crops them",
        SKIPPED,
    ]


def test_notes_say_of_how_many_pictures_they_are(cli: Cli, photograph: Path) -> None:
    crops, no_crops = cli("predict", ASTRONAUT, *[photograph] * 18).err.splitlines()[::-1]
    assert no_crops.startswith(
        f"ferjax: note: {photograph} and 14 more, of 16 that were looked at: the face fills less "
    )
    # Of those that were not looked at, the pixels are counted.
    assert crops.startswith(f"ferjax: note: {ASTRONAUT} and 3 more: of their pixels, 160 x 160 in ")


def test_few_pictures_are_looked_at_and_none_where_that_fails(
    cli: Cli, photograph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []

    def fail(image: np.ndarray, **_: Any) -> Any:
        looks.append(image.shape)
        raise RuntimeError("no detector")

    monkeypatch.setattr("ferjax.faces.detection.detect", fail)
    done = cli("predict", *[photograph] * 20, *LINEAR)
    assert (done.code, done.err) == (0, "")
    assert looks == [(320, 320)] * 16


def test_small_pictures_are_not_looked_at(
    cli: Cli, faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ferjax.faces.detection.detect", lambda *_, **__: pytest.fail("a look"))
    done = cli("predict", faces)
    assert (done.code, done.err) == (0, "")


# --- weights and labels --------------------------------------------------------------------------


def test_labels_name_the_classes_in_output_order(cli: Cli, model: Path) -> None:
    done = cli(
        "predict", ASTRONAUT, "--weights", model, "--labels", "g, f,e,d,c,b,a", *LINEAR, "--json"
    )
    assert (done.code, done.err) == (0, "")
    (entry,) = json.loads(done.out)
    assert list(entry["probabilities"]) == ["g", "f", "e", "d", "c", "b", "a"]
    assert entry["label"] == "gfedcba"[entry["index"]]


def test_a_foreign_file_is_warned_about(cli: Cli, model: Path) -> None:
    done = cli("predict", ASTRONAUT, "--weights", model, *LINEAR)
    assert done.code == 0
    assert done.err.startswith(
        "ferjax: warning: the weights come without label names and are of no"
    )
    assert "--labels" in done.err and "ferjax inspect FILE --data" in done.err
    assert done.out.split()[1] in "0123456"
    assert len(done.err.splitlines()) == 1


def test_labels_may_be_an_order(cli: Cli, model: Path) -> None:
    done = cli("predict", ASTRONAUT, "--weights", model, "--labels", "fer2013", *LINEAR, "--json")
    assert (done.code, done.err) == (0, "")
    (entry,) = json.loads(done.out)
    assert list(entry["probabilities"]) == list(FER2013_CSV_ORDER)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--labels", "ferplus"],
            "labels for 7 classes, got the order 'ferplus' of 8: neutral, hap",
        ),
        (
            ["--labels", "sortet"],
            "happy, sad, angry, neutral); did you mean 'sorted'?",
        ),
        (["--labels", "a,b"], "expected 7 different labels in output order, got 2: a, b"),
        (["--labels", "a,b,c,d,e,f,a"], "expected 7 different labels in output order, got 7"),
        (["--weights", "gone.h5"], "gone.h5: no such file"),
        (["--weights", str(ROOT / "README.md")], "README.md: neither HDF5 nor a .keras archive"),
        (["--weights", str(ROOT)], "a folder, expected a Keras file"),
        (["--architecture", "fer_cnn6"], "fer_cnn8, fer_cnn5, got 'fer_cnn6'"),
        (["--config", "gone.json"], "gone.json: no such file"),
        (["--value-range", "1", "0"], "expected BLACK below WHITE for --value-range, got 1.0 0.0"),
        (
            ["--value-range", "0", "nan"],
            "expected BLACK below WHITE for --value-range, got 0.0 nan",
        ),
        (
            ["--value-range", "0", "inf"],
            "expected BLACK below WHITE for --value-range, got 0.0 inf",
        ),
    ],
)
def test_wrong_options_are_one_line_and_exit_code_2(
    cli: Cli, options: list[str], message: str
) -> None:
    done = cli("predict", ASTRONAUT, *options)
    assert done.code == 2
    assert done.error.startswith("ferjax: error: ")
    assert message in done.error


def test_weights_alone_need_a_config_or_a_name(
    cli: Cli, fixtures: Path, config: Path, model: Path, tmp_path: Path
) -> None:
    alone = fixtures / "keras-2.15.0" / "sequential_weights.h5"
    done = cli("predict", ASTRONAUT, "--weights", alone, "--labels", NAMES)
    assert done.code == 2
    assert "give the architecture" in done.error
    call = ["predict", ASTRONAUT, "--labels", NAMES, "--json", "--weights"]
    expected = cli(*call, model).out
    assert cli(*call, alone, "--config", config).out == expected
    assert cli(*call, alone, "--config", model).out == expected  # any file that has a config

    five = ROOT / "checkpoints" / "fer_cnn5.h5"
    assert cli("convert", five, tmp_path / "five.msgpack").code == 0
    call[-1:] = ["--architecture", "fer_cnn5", "--weights"]
    assert cli(*call, tmp_path / "five.msgpack").out == cli(*call, five).out != ""


def test_value_range_says_what_black_and_white_are(cli: Cli, model: Path, tmp_path: Path) -> None:
    images = []
    for name, value in (("middle", 51), ("white", 255)):
        images.append(tmp_path / f"{name}.png")
        cv2.imwrite(str(images[-1]), np.full((12, 12), value, np.uint8))
    middle, white = images
    call = ["predict", "--weights", model, "--labels", NAMES, "--json"]
    (plain,) = json.loads(cli(*call, middle).out)
    (scaled,) = json.loads(cli(*call, white, "--value-range", "0", "0.2").out)
    (other,) = json.loads(cli(*call, white).out)
    # White is 0.2 there, and so is 51 without the option.
    assert scaled["probabilities"] == pytest.approx(plain["probabilities"], abs=1e-6)
    assert other["probabilities"] != pytest.approx(plain["probabilities"], abs=1e-3)


def test_explain_draws_the_faces_and_says_where(
    cli: Cli, model: Path, faces: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install 'ferjax[evaluate]'")
    picture = tmp_path / "why.png"
    plain = cli("predict", faces, "--weights", model)
    done = cli("predict", faces, "--weights", model, "--explain", picture)
    assert (done.code, done.out) == (0, plain.out)
    assert f"explained: {picture}" in done.err
    image = cv2.imread(str(picture))
    assert image is not None
    assert image.shape[0] > 3 * 150  # three faces


def test_explain_refuses_before_it_predicts(cli: Cli, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install 'ferjax[evaluate]'")
    many = tmp_path / "many"
    many.mkdir()
    for number in range(49):
        cv2.imwrite(str(many / f"{number}.png"), np.full((8, 8), number, np.uint8))
    for path, message in (
        (tmp_path / "why.txt", "expected a name that ends in .png"),
        (tmp_path / "why.png", "expected at most 48 faces to draw, got 49"),
    ):
        done = cli(
            "predict", many, "--weights", model, "--explain", path, "--labels", "a,b,c,d,e,f,g"
        )
        assert done.code == 2
        assert message in done.error
        assert not path.exists()


# --- priors ---------------------------------------------------------------------------------------


def test_a_prior(cli: Cli) -> None:
    entry = json.loads(cli("predict", ASTRONAUT, *LINEAR, "--json", "--prior", "uniform").out)[0]
    (expected,) = ferjax.load().predict(ASTRONAUT, resize="linear", prior="uniform")
    assert entry["probabilities"] == expected.probabilities
    plain = cli("predict", ASTRONAUT, *LINEAR, "--json")
    assert plain.out == cli("predict", ASTRONAUT, *LINEAR, "--json", "--prior", "training").out
    classes = ",".join(f"{label}={1000 if label == 'sad' else 0.01}" for label in ferjax.EMOTIONS)
    assert cli("predict", ASTRONAUT, *LINEAR, "--prior", classes).out.split()[1] == "sad"


def test_a_prior_that_is_estimated(cli: Cli, faces: Path, model: Path) -> None:
    call = ["predict", faces, "--weights", model, "--labels", NAMES, *LINEAR, "--json"]
    trained = ["--training-frequencies", "a=1,b=1,c=1,d=2,e=2,f=1,g=1"]
    done = cli(*call, *trained, "--prior", "adapt")
    assert done.code == 0
    warned, few, told = done.err.splitlines()
    assert "the weights have no calibration, and a prior is exact on calibrated" in warned
    assert "warning: the prior is estimated from 3 faces; below 100 it is mostly" in few
    head, _, shares = told.rpartition(": ")
    assert head == "ferjax: note: prior estimated from 3 faces"
    # What is told can be given.
    entries = json.loads(done.out)
    for entry, same in zip(entries, json.loads(cli(*call, *trained, "--prior", shares).out)):
        assert same["probabilities"] == pytest.approx(entry["probabilities"], rel=0.01, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prior", "unifrom"], "argument --prior: expected 'training', 'uniform', 'adapt'"),
        (["--prior", "a=1,b=0"], "argument --prior: expected CLASS=SHARE with a share above 0"),
        (["--prior", "a=1,b=1"], "got none for c, d, e, f, g"),
        (["--prior", "uniform"], "state it: --training-frequencies"),
        (["--prior", "adapt"], "state it: --training-frequencies"),
        (["--training-frequencies", "uniform"], "expected CLASS=SHARE,... of each class"),
        (["--training-frequencies", "a=1"], "for `training_frequencies`, got none for b, c"),
    ],
)
def test_a_prior_that_is_none_is_told_first(
    cli: Cli, model: Path, faces: Path, options: list[str], message: str
) -> None:
    (faces / "im1.png").write_bytes(b"")
    done = cli("predict", faces, "--weights", model, "--labels", NAMES, *options)
    assert done.code == 2
    assert message in done.error


def test_a_single_image_cannot_be_adapted_to(cli: Cli) -> None:
    done = cli("predict", ASTRONAUT, *LINEAR, "--prior", "adapt")
    assert done.code == 2
    assert "expected at least 2 faces for the prior 'adapt', got 1" in done.error
