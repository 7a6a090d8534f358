"""`ferjax evaluate`, `calibrate` and `card`: what they print and write, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ferjax
from ferjax import keras, metadata
from ferjax.evaluate.robustness import BASELINE

from ..evaluate.conftest import taught
from ..networks import dense_weights, drawn, one_dense, tiny
from ..train.conftest import make_faces, prepared, two_classes

Cli = Callable[..., "Done"]  # noqa: F821


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return prepared(tmp_path / "data", make_faces(copies=5))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return taught(tmp_path / "tiny.h5")


def test_figures(cli: Cli, weights: Path, data: Path) -> None:
    done = cli("evaluate", "--weights", weights, "--data", data)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "tiny.h5 on validation of data (validation), single view"
    assert [line.split() for line in lines if line.startswith("images")] == [["images", "64", "59"]]
    classes = [line.split()[0] for line in lines if line.endswith(" 5") or " % " in line]
    assert set(ferjax.EMOTIONS) <= set(classes)
    assert "ferjax: warning: 5 of the 64 images are exact copies of training images" in done.err


def test_json(cli: Cli, weights: Path, data: Path) -> None:
    done = cli("evaluate", "--weights", weights, "--data", data, "--tta", "flip", "--json")
    found = json.loads(done.out)
    assert found["data"]["copies"] == 5
    assert found["whole"]["images"] == 64
    assert (found["tta"], found["views"]) == ("flip", 2)
    low, high = found["whole"]["accuracy_interval"]
    assert 0 <= low <= found["whole"]["accuracy"] <= high <= 1
    assert found["command"].startswith("ferjax evaluate --weights ")


def test_training_images_come_with_a_warning(cli: Cli, weights: Path, data: Path) -> None:
    done = cli("evaluate", "--weights", weights, "--data", data, "--split", "train")
    assert "accuracy on training images says little about any others" in done.err


def test_a_split_without_images(cli: Cli, weights: Path, data: Path) -> None:
    done = cli("evaluate", "--weights", weights, "--data", data, "--split", "test")
    assert done.code == 2
    assert "expected test images, the data has none" in done.error


def test_weights_of_other_classes(cli: Cli, tmp_path: Path, data: Path) -> None:
    network = tiny(classes=3)
    path = tmp_path / "three.h5"
    keras.save(path, network, drawn(network), labels=["a", "b", "c"])
    for command in ("evaluate", "calibrate"):
        done = cli(command, "--weights", path, "--data", data)
        assert done.code == 2
        assert "their order, angry, disgust, fear, happy, neutral, sad, surprise, got a, b, c" in (
            done.error
        )


def test_weights_without_class_names(cli: Cli, tmp_path: Path, data: Path) -> None:
    network = tiny()
    path = tmp_path / "nameless.h5"
    keras.save(path, network, drawn(network))
    for command in ("evaluate", "calibrate"):
        done = cli(command, "--weights", path, "--data", data)
        assert done.code == 2
        assert len(done.err.splitlines()) == 1
        assert "expected class names for the network's 7 outputs" in done.error
        assert "--labels" in done.error and "ferjax inspect FILE --data" in done.error
    done = cli("evaluate", "--weights", path, "--data", data, "--labels", "fer2013", "--json")
    assert done.code == 0
    assert json.loads(done.out)["class_names"] == list(ferjax.EMOTIONS)
    done = cli("card", "--weights", path, "--out", "-")
    assert done.code == 2
    assert "nameless.h5: has no class names and is of no known network; --labels" in done.error
    done = cli("card", "--weights", path, "--labels", "fer2013", "--out", "-")
    assert (done.code, done.err) == (0, "")
    assert "(angry, disgust, fear, happy, sad, surprise, neutral); " in done.out


@pytest.mark.slow
def test_from_evaluation_to_card(cli: Cli, tmp_path: Path, weights: Path, data: Path) -> None:
    people = tmp_path / "people.csv"
    rows = [f"face {256 + row};{'young' if row % 2 else 'old'}" for row in range(60)]
    people.write_text("\n".join(["image;age", *rows, "face 999;old"]), encoding="utf-8")
    out = tmp_path / "report"
    done = cli(
        *("evaluate", "--weights", weights, "--data", data, "--robustness"),
        *("--attributes", people, "--out", out),
    )
    assert done.code == 0
    assert "severity" in done.out
    assert "largest gap" in done.out
    assert f"report: {out / 'report.html'}" in done.err
    assert "no row about 4 of 64 measured images" in done.err
    assert "1 row about unknown images, left out: 'face 999'" in done.err
    card = tmp_path / "card.md"
    done = cli("card", "--weights", weights, "--report", out / "report.json", "--out", card)
    assert (done.code, done.out) == (0, f"{card}\n")
    assert "| age | young | 30 |" in card.read_text(encoding="utf-8")
    done = cli("card", "--weights", weights, "--out", "-")
    assert done.out.startswith("---\nlicense: unknown\n")


def test_calibrate(cli: Cli, weights: Path, data: Path) -> None:
    dry = cli("calibrate", "--weights", weights, "--data", data, "--dry-run")
    assert dry.code == 0
    assert dry.out.splitlines()[-1] == "not stored"
    assert not metadata.sidecar(weights).exists()
    done = cli("calibrate", "--weights", weights, "--data", data)
    first, heading, *_, last = done.out.splitlines()
    assert first.startswith("temperature ")
    assert "59 images of validation of data, without 5 copies of training images" in first
    assert heading.split()[:2] == ["before", "after"]
    assert last == f"stored in {metadata.sidecar(weights)}"
    found = json.loads(cli("calibrate", "--weights", weights, "--data", data, "--json").out)
    assert ferjax.load(weights).temperature == pytest.approx(found["temperature"], abs=1e-6)


def test_calibrating_where_copies_could_not_be_looked_for(
    cli: Cli, weights: Path, data: Path
) -> None:
    metadata.write(weights, {"trained_on": {"data": "train of x", "images": 9, "checksum": "y"}})
    done = cli("calibrate", "--weights", weights, "--data", data, "--dry-run")
    assert done.code == 0
    assert "ferjax: warning: exact copies could be looked for only among this data's" in done.err


def test_a_calibrated_prediction(cli: Cli, weights: Path, data: Path, faces: Path) -> None:
    done = cli("predict", faces, "--weights", weights, "--calibrated")
    assert done.code == 2
    assert "the weights come without a temperature; `ferjax calibrate` fits one" in done.error
    cli("calibrate", "--weights", weights, "--data", data)
    plain = json.loads(cli("predict", faces, "--weights", weights, "--json").out)
    scaled = json.loads(cli("predict", faces, "--weights", weights, "--calibrated", "--json").out)
    assert [p["label"] for p in plain] == [p["label"] for p in scaled]
    assert [p["confidence"] for p in plain] != [p["confidence"] for p in scaled]


def test_abstaining(cli: Cli, weights: Path, faces: Path) -> None:
    done = cli("predict", faces, "--weights", weights, "--abstain-below", "1")
    assert done.code == 0
    assert [line.split()[1] for line in done.out.splitlines()] == ["abstains"] * 3
    (first, *_) = json.loads(
        cli("predict", faces, "--weights", weights, "--abstain-below", "1", "--json").out
    )
    assert (first["label"], first["index"]) == (None, None)
    assert sum(first["probabilities"].values()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "--baseline", "r.json"], "--baseline is for --robustness"),
        (["evaluate", "--seed", "-1"], "expected a --seed of 0 or more, got -1"),
        (["evaluate", "--attributes", "none.csv"], "none.csv"),
        (["evaluate", "--robustness", "--baseline", "none.json"], "none.json: no such file"),
    ],
)
def test_mistakes_in_the_call(
    cli: Cli, weights: Path, data: Path, arguments: list[str], message: str
) -> None:
    command, *options = arguments
    done = cli(command, "--weights", weights, "--data", data, *options)
    assert done.code == 2
    assert message in done.error


def test_mistakes_in_tables_are_told_before_computing(
    cli: Cli, tmp_path: Path, data: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ferjax.evaluate.evaluation.predict", None)
    call = ["evaluate", "--weights", weights, "--data", data]
    people = tmp_path / "people.csv"
    people.write_text(
        "\n".join([",".join(["image", *(f"a{n}" for n in range(20))]), "face 256" + ",x" * 20])
    )
    done = cli(*call, "--attributes", people)
    assert done.code == 2
    assert "20 attributes and their 190 pairs make 210: leave columns out" in done.err
    call += ["--robustness", "--baseline"]
    done = cli(*call, tmp_path / "none.json")
    assert done.code == 2
    assert "none.json: no such file" in done.error
    done = cli(*call, BASELINE)
    assert done.code == 2
    assert "was measured on other images" in done.error


@pytest.mark.parametrize("out", ["afile", "afile/x"])
def test_a_report_with_a_file_in_its_way_is_refused_before_computing(
    cli: Cli, tmp_path: Path, data: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.setattr("ferjax.evaluate.evaluation.predict", None)
    (tmp_path / "afile").touch()
    done = cli("evaluate", "--weights", weights, "--data", data, "--out", tmp_path / out)
    assert done.code == 2
    assert f"expected a folder, {tmp_path / 'afile'} is a file" in done.error


def test_nowhere_to_record_is_told_before_computing(
    cli: Cli, data: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ferjax.evaluate.evaluation.predict", None)
    call = ["evaluate", "--weights", weights, "--data", data, "--record"]
    done = cli(*call)
    assert done.code == 2
    assert "no metadata beside it that the accuracy could go into" in done.error
    metadata.sidecar(weights).write_text('{"sha256": "another"}', encoding="utf-8")
    assert "metadata.json describes other weights; move it away first" in cli(*call).error
    metadata.sidecar(weights).unlink()
    metadata.write(weights, {"licence": "CC0-1.0"})
    monkeypatch.setattr("os.access", lambda *_: False)  # nothing stops the superuser
    done = cli(*call)
    assert done.code == 2
    assert f"the folder {weights.parent} is not writable" in done.error


def test_weights_that_are_not_there_are_told_as_such(cli: Cli, tmp_path: Path, data: Path) -> None:
    done = cli("evaluate", "--weights", tmp_path / "none.h5", "--data", data, "--record")
    assert done.code == 2
    assert "none.h5" in done.error
    assert "metadata" not in done.error


@pytest.mark.parametrize("value", ["1.5", "-0.1", "half", "nan"])
def test_a_threshold_that_is_none(cli: Cli, faces: Path, value: str) -> None:
    done = cli("predict", faces, f"--abstain-below={value}")
    assert done.code == 2
    assert f"expected a number from 0 to 1, got '{value}'" in done.error


def test_without_scikit_learn(
    cli: Cli, weights: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    done = cli("evaluate", "--weights", weights, "--data", data)
    assert done.code == 2
    assert "evaluating needs scikit-learn: pip install 'ferjax[evaluate]'" in done.error


def test_without_jinja(
    cli: Cli, tmp_path: Path, weights: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "jinja2", None)
    done = cli("evaluate", "--weights", weights, "--data", data, "--out", tmp_path / "out")
    assert done.code == 2
    assert "reports and cards need Jinja: pip install 'ferjax[evaluate]'" in done.error
    assert not (tmp_path / "out").exists()
    done = cli("card", "--weights", weights, "--out", tmp_path / "card.md")
    assert done.code == 2
    assert "reports and cards need Jinja: pip install 'ferjax[evaluate]'" in done.error


# --- one unit for two classes --------------------------------------------------------------------


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """A file of one sigmoid unit that gives 0.5 for every image."""
    network = one_dense(1, "sigmoid", shape=(12, 12, 1))
    path = tmp_path / "unit.h5"
    keras.save(path, network, dense_weights(np.zeros((144, 1))), labels=["calm", "tense"])
    return path


def test_a_half_is_the_second_of_two_classes(cli: Cli, unit: Path, faces: Path) -> None:
    done = cli("predict", faces / "im1.png", "--weights", unit, "--top", 2)
    assert done.out.split()[1:] == ["tense", "0.500", "calm", "0.500"]
    done = cli("predict", faces / "im1.png", "--weights", unit, "--abstain-below", 0.6)
    assert done.out.split()[1:] == ["abstains", "(tense", "0.500)"]
    (found,) = json.loads(cli("predict", faces / "im1.png", "--weights", unit, "--json").out)
    assert (found["label"], found["index"], found["confidence"]) == ("tense", 1, 0.5)
    assert found["probabilities"] == {"calm": 0.5, "tense": 0.5}


def test_one_unit_from_inspection_to_card(cli: Cli, unit: Path, tmp_path: Path) -> None:
    assert "classes:   2, by one unit: the probability of the second" in cli("inspect", unit).out
    converted = tmp_path / "other.keras"
    done = cli("convert", unit, converted, "--labels", "tense")
    assert done.error.startswith(
        "ferjax: error: expected 2 different labels in output order, got 1"
    )
    assert cli("convert", unit, converted, "--labels", "no,yes").code == 0
    found = json.loads(cli("inspect", converted, "--json").out)
    assert (found["labels"], found["output_shape"], found["classes"]) == (["no", "yes"], [1], 2)
    assert "the labels differ" in cli("verify", unit, converted).out

    two = two_classes()
    data = prepared(tmp_path / "two", two)
    out = tmp_path / "report"
    done = cli("evaluate", "--weights", unit, "--data", data, "--out", out)
    assert done.code == 0
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    seconds = int(two.labels[two.in_split("validation")].sum())
    assert report["whole"]["correct"] == seconds
    assert report["class_names"] == ["calm", "tense"]
    done = cli("card", "--weights", unit, "--report", out / "report.json", "--out", "-")
    assert "the probabilities of 2 classes out\n(calm, tense)" in done.out


def test_a_regression_is_refused_in_one_line(cli: Cli, tmp_path: Path, faces: Path) -> None:
    network = one_dense(1, "linear", shape=(12, 12, 1))
    path = tmp_path / "age.h5"
    keras.save(path, network, drawn(network))
    for call in (
        ["predict", faces, "--weights", path, "--labels", "no,yes"],
        ["verify", path, path],
    ):
        done = cli(*call)
        assert done.code == 2
        assert "expected a network that classifies, it ends in one linear unit" in done.error
    assert "classes:   none: expected a network that classifies" in cli("inspect", path).out
    assert json.loads(cli("inspect", path, "--json").out)["classes"] is None


def test_calibrating_with_offsets(cli: Cli, weights: Path, data: Path) -> None:
    call = ["calibrate", "--weights", weights, "--data", data, "--dry-run"]
    done = cli(*call, "--method", "vector")
    assert done.code == 0
    first, offsets, *_ = done.out.splitlines()
    assert first.startswith("temperature ") and " and offsets, fitted on 59 images" in first
    assert offsets.startswith("offsets: angry ") and offsets.count(",") == 6
    assert "a temperature alone" in done.out and "a temperature and offsets" in done.out
    found = json.loads(cli(*call, "--method", "auto", "--json").out)
    assert found["method"] in ("temperature scaling", "vector scaling")
    refused = cli(*call, "--targets", "votes")
    assert refused.code == 2
    assert "have none; `ferjax data prepare --votes` adds them" in refused.error


# --- tables of what was predicted ----------------------------------------------------------------


@pytest.fixture
def table(tmp_path: Path) -> Path:
    pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'ferjax[parquet]'")
    from ..prediction_tables.written import entry, face, write_csv

    said = [
        entry("happy/1.jpg", face("happy", 0.9)),
        entry("sad/2.jpg", face("happy", 0.6)),
        entry("other/3.jpg", face("sad", 0.6)),
    ]
    return write_csv(tmp_path / "faces.csv", said)


def test_what_was_predicted(cli: Cli, table: Path) -> None:
    done = cli("evaluate", table)
    assert done.code == 0
    assert done.out.splitlines()[0] == (
        "stored probabilities on faces.csv (labels by folder), single view"
    )
    assert done.err == "ferjax: warning: pictures without a label, which are left out: 1 of 3\n"


def test_what_was_predicted_by_a_list(cli: Cli, table: Path, tmp_path: Path) -> None:
    listed = tmp_path / "labels, mine.csv"
    listed.write_text("path,label\n1.jpg,happy\n2.jpg,happy\n3.jpg,sad\n")
    found = json.loads(cli("evaluate", table, "--labels", listed, "--json").out)
    assert (found["whole"]["images"], found["whole"]["correct"]) == (3, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["TABLE", "--data", "x"], "expected either TABLE or --data, got both"),
        ([], "expected --data DIR, faces to measure weights on, or TABLE, what was predicted"),
        (["TABLE", "--weights", "w.h5"], "--weights is for --data; of a table only what is stored"),
        (["TABLE", "--tta", "flip"], "--tta is for --data"),
        (["TABLE", "--split", "test"], "--split is for --data"),
        (["TABLE", "--record"], "--record is for --data"),
        (["--data", "x", "--several", "skip"], "--several is for TABLE"),
        (["--data", "x", "--labels", "a,,b"], "--labels: expected names separated by commas"),
        (["gone.parquet"], "gone.parquet: no such file or folder; expected Parquet files"),
    ],
)
def test_tables_and_data_do_not_mix(
    cli: Cli, table: Path, arguments: list[str], message: str
) -> None:
    done = cli("evaluate", *(str(table) if text == "TABLE" else text for text in arguments))
    assert done.code == 2
    assert message in done.error


def test_prepared_faces_are_no_table(cli: Cli, data: Path) -> None:
    done = cli("evaluate", data)
    assert (done.code, done.error) == (
        2,
        f"ferjax: error: {data}: prepared faces, which --data takes",
    )


def test_a_table_at_an_address(cli: Cli, table: Path) -> None:
    pytest.importorskip("fsspec", reason="needs fsspec")
    done = cli("evaluate", f"local://{table}")
    assert done.code == 0
    assert done.out.splitlines()[0].startswith("stored probabilities on faces.csv (labels by")
