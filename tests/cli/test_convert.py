"""ferjax convert: every kind and back, notes on stderr, mistakes in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ferjax import weights

Cli = Callable[..., Any]
ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "checkpoints" / "fer_cnn5.h5"


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("m.h5", [], "h5"),
        ("m.h5", ["--to", "weights-only-h5"], "weights-only-h5"),
        ("m.weights.h5", [], "weights.h5"),
        ("m.keras", [], "keras"),
        ("m.msgpack", [], "msgpack"),
        ("m", ["--to", "orbax"], "orbax"),
        ("m.bin", ["--to", "keras"], "keras"),
    ],
)
def test_every_kind_and_back_predicts_the_same(
    cli: Cli, model: Path, config: Path, tmp_path: Path, name: str, options: list[str], kind: str
) -> None:
    there, back = tmp_path / name, tmp_path / "back.h5"
    done = cli("convert", model, there, *options, "--labels", "a,b,c,d,e,f,g")
    assert done.code == 0
    (line,) = done.out.splitlines()
    parameters = f"{weights.read(model).graph.num_params:,}"
    assert line.startswith(f"{model} (h5) -> {there} ({kind}): {parameters} parameters, 0.")
    assert line.endswith(" MB")
    assert all(line.startswith("ferjax: note: ") for line in done.err.splitlines())
    needs = [] if kind in ("h5", "keras") else ["--config", config]
    done = cli("convert", there, back, *needs)
    assert done.code == 0
    assert f"({kind}) -> {back} (h5)" in done.out
    done = cli("verify", model, back, "--tolerance", "0", "--json")
    assert (done.code, json.loads(done.out)["largest_difference"]) == (0, 0)


def test_optimizer_state_that_is_left_out_is_noted(cli: Cli, model: Path, tmp_path: Path) -> None:
    done = cli("convert", model, tmp_path / "m.h5")
    (note,) = done.err.splitlines()
    assert note.startswith("ferjax: note: the state of Adam after ")
    assert note.endswith("is left out (--optimizer-state keeps it)")
    assert "optimizer: none" in cli("inspect", tmp_path / "m.h5").out


def test_optimizer_state_is_kept_where_asked(cli: Cli, model: Path, tmp_path: Path) -> None:
    done = cli("convert", model, tmp_path / "m.h5", "--optimizer-state")
    assert (done.code, done.err) == (0, "")
    expected = json.loads(cli("inspect", model, "--json").out)["optimizer"]
    assert json.loads(cli("inspect", tmp_path / "m.h5", "--json").out)["optimizer"] == expected
    assert expected["name"] == "Adam"
    assert expected["step"] > 0


def test_labels_of_the_source_travel(cli: Cli, tmp_path: Path) -> None:
    done = cli("convert", WEIGHTS, tmp_path / "m.keras")
    assert (done.code, done.err) == (0, "")
    expected = "labels:    angry, disgust, fear, happy, neutral, sad, surprise\n"
    assert expected in cli("inspect", tmp_path / "m.keras").out
    done = cli("convert", WEIGHTS, tmp_path / "flax.msgpack")
    assert (done.code, done.err) == (0, "")
    done = cli("inspect", tmp_path / "flax.msgpack", "--architecture", "fer_cnn5")
    assert expected in done.out
    done = cli("convert", WEIGHTS, tmp_path / "flax", "--to", "orbax")
    assert done.err == (
        "ferjax: note: metadata is left out (labels, value range, input, calibration, ...): "
        "an Orbax folder has no place for it\n"
    )


def test_labels_that_nobody_knows_are_not_stored(cli: Cli, model: Path, tmp_path: Path) -> None:
    for number, options in enumerate(([], ["--labels", "0,1,2,3,4,5,6"])):
        target = tmp_path / f"m{number}.keras"
        assert cli("convert", model, target, *options).code == 0
        assert "labels:    none\n" in cli("inspect", target).out
        assert not target.with_suffix(".metadata.json").exists()
    assert cli("convert", model, tmp_path / "m.h5", "--labels", "fer2013").code == 0
    expected = "labels:    angry, disgust, fear, happy, sad, surprise, neutral\n"
    assert expected in cli("inspect", tmp_path / "m.h5").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{model}", "{tmp}/m.bin"], "m.bin: its name does not tell its kind; give --to h5|"),
        (["{model}", "{tmp}/m.onnx"], "`ferjax export --weights SOURCE` writes ONNX; for another"),
        (["{model}", "{tmp}/no/m.h5"], "no/m.h5: "),
        (["{model}", "{tmp}/folder", "--to", "h5"], "is a folder already"),
        (["{model}", "{model}/m.h5"], "m.h5: "),
        (["{tmp}/gone.h5", "{tmp}/m.h5"], "gone.h5: no such file"),
        (["{tmp}/folder", "{tmp}/m.h5"], "a folder, expected a Keras file"),
        (["{config}", "{tmp}/m.h5"], "JSON; give it as the config of a weight file"),
        (["{model}", "{tmp}/m.h5", "--labels", "a,b"], "expected 7 different labels"),
        (["{model}", "{tmp}/m.h5", "--config", "{tmp}/gone.json"], "gone.json: no such file"),
        (["{model}", "{tmp}/m.h5", "--architecture", "fer_cnn6"], "did you mean 'fer_cnn8'"),
        (["{model}", "{tmp}/m.h5", "--architecture", "fer_cnn5"], "sequential.h5: "),
        (["{model}", "{tmp}/m.msgpack", "--optimizer-state"], "goes into Keras files only"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    cli: Cli, model: Path, config: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "folder").mkdir()
    values = {"model": model, "config": config, "tmp": tmp_path}
    done = cli("convert", *(argument.format(**values) for argument in arguments))
    assert done.code == 2
    assert done.error.startswith("ferjax: error: ")
    assert message in done.error
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_weights_alone_need_a_config_or_a_name(
    cli: Cli, fixtures: Path, config: Path, tmp_path: Path
) -> None:
    alone = fixtures / "keras-2.15.0" / "sequential_weights.h5"
    done = cli("convert", alone, tmp_path / "m.keras")
    assert done.code == 2
    assert "holds weights only: give the architecture" in done.error
    assert cli("convert", alone, tmp_path / "m.keras", "--config", config).code == 0
    assert cli("verify", alone, tmp_path / "m.keras", "--config", config).code == 0

    cli("convert", WEIGHTS, tmp_path / "w.h5", "--to", "weights-only-h5")
    named = ["--architecture", "fer_cnn5"]
    assert cli("convert", tmp_path / "w.h5", tmp_path / "again.h5", *named).code == 0
    assert cli("verify", WEIGHTS, tmp_path / "again.h5").code == 0


def test_a_file_is_converted_onto_itself(cli: Cli, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    path.write_bytes(model.read_bytes())
    assert cli("convert", path, path).code == 0
    assert cli("verify", model, path).code == 0
    assert [p.name for p in tmp_path.iterdir()] == ["m.h5"]


def test_the_published_file_is_converted_within_400_mb(
    published_weights: Path, tmp_path: Path
) -> None:
    resource = pytest.importorskip("resource")
    assert hasattr(resource, "RUSAGE_CHILDREN")
    # A process in between, so that no other child of this one counts.
    script = (
        "import resource, subprocess, sys\n"
        "code = subprocess.run(sys.argv[1:]).returncode\n"
        "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    command = [sys.executable, "-m", "ferjax.cli.main", "convert", published_weights]
    for target in ("m.h5", "m.keras", "m.weights.h5"):
        done = subprocess.run(
            [sys.executable, "-c", script, *command, tmp_path / target, "--optimizer-state"],
            capture_output=True,
            text=True,
            check=True,
        )
        code, peak = map(int, done.stdout.splitlines()[-1].split())
        assert code == 0
        unit = 1 if sys.platform == "darwin" else 1024
        assert peak * unit < 400e6, target
