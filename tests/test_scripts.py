"""The scripts of a checkout: Keras to Flax and back."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.serialization import msgpack_restore

from ferjax.weights import read

SCRIPTS = Path(__file__).parents[1] / "scripts"
Script = Callable[..., int]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Run a script in this process and return its exit code."""

    def run(name: str, *arguments: object) -> int:
        path = str(SCRIPTS / name)
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(path, run_name="__main__")
        assert isinstance(stop.value.code, int)
        return stop.value.code

    return run


@pytest.fixture
def model(fixtures: Path) -> Path:
    return fixtures / "keras-2.15.0" / "sequential.h5"


@pytest.mark.parametrize(
    ("target", "options", "kind"),
    [
        ("m.msgpack", [], "msgpack"),
        ("M.MSGPACK", [], "msgpack"),
        ("folder", [], "orbax"),
        ("folder.msgpack", ["--to", "orbax"], "orbax"),
        ("plain", ["--to", "msgpack"], "msgpack"),
        ("plain", ["--to=msgpack"], "msgpack"),
    ],
)
def test_keras_to_flax_and_back(
    script: Script, model: Path, tmp_path: Path, target: str, options: list[str], kind: str
) -> None:
    there, back = tmp_path / target, tmp_path / "back.h5"
    assert script("keras_to_flax.py", model, there, *options) == 0
    assert there.is_dir() == (kind == "orbax")
    assert script("flax_to_keras.py", there, back, "--config", model) == 0
    found, expected = read(back), read(model)
    assert found.graph.layers == expected.graph.layers
    jax.tree.map(np.testing.assert_array_equal, found.variables, expected.variables)


def test_options_may_come_first(
    script: Script, fixtures: Path, model: Path, tmp_path: Path
) -> None:
    folder = fixtures / "keras-2.15.0"
    arguments = ["--config", folder / "sequential.json", folder / "sequential_weights.h5"]
    assert script("keras_to_flax.py", *arguments, tmp_path / "m.msgpack") == 0
    found = msgpack_restore((tmp_path / "m.msgpack").read_bytes())
    expected = read(model).variables
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_mistakes_exit_with_2_and_one_line(
    script: Script, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, arguments in (
        ("keras_to_flax.py", [model]),
        ("keras_to_flax.py", [tmp_path / "gone.h5", tmp_path / "m.msgpack"]),
        ("flax_to_keras.py", [tmp_path / "gone.msgpack", tmp_path / "m.h5"]),
        ("flax_to_keras.py", [model, tmp_path / "m.bin"]),
    ):
        assert script(name, *arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert len(captured.err.splitlines()) == 1
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("keras_to_flax.py", "SRC"),
        ("flax_to_keras.py", "SRC"),
        ("ablations.py", "--seeds"),
        ("release.py", "--seeds"),
        ("crop_factors.py", "--limit"),
        ("pasted_faces.py", "--min-scores"),
        ("benchmark_faces.py", "--fer-python"),
        ("benchmark.py", "--part"),
        ("benchmark_gpu.py", "--rehearse"),
    ],
)
def test_a_script_runs_in_a_process_of_its_own(name: str, option: str) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPTS / name, "--help"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert option in done.stdout
