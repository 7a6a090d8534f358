"""Files that ferjax writes open in real Keras: the Keras here, and others where they are named.

FERJAX_TEST_KERAS lists the Python interpreters of other Keras versions, separated as PATH is. An
entry may set environment variables in front, as a shell does:

    FERJAX_TEST_KERAS="/envs/k224/bin/python:FERJAX_KERAS=tf_keras /envs/tfk/bin/python"

KERAS_BACKEND is unset for them unless an entry sets it.
"""

from __future__ import annotations

import functools
import json
import os
import shlex
import subprocess
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import jax
import keras
import numpy as np
import pytest

import ferjax.keras
import ferjax.nets

HERE = Path(__file__).parent
FIXTURES = HERE.parent / "fixtures" / "keras"
SOURCE = FIXTURES / "keras-2.15.0"
VARIABLE = "FERJAX_TEST_KERAS"
RELEASED = sorted((HERE.parents[1] / "checkpoints").glob("*.h5"))
TOLERANCE = 1e-6
# Whole processes of Keras; that it opens what is written of each layer is in test_layers.
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Case:
    """One file that ferjax writes from what it read of a fixture."""

    network: str
    kind: str
    optimizer: bool = False

    def __str__(self) -> str:
        return f"{self.network}-{self.kind}{'-optimizer' if self.optimizer else ''}"


CASES = [
    *(
        Case(network, kind, optimizer)
        for network in ("sequential", "functional", "nested_functional", "preprocess", "recurrent")
        for kind in ("h5", "keras")
        for optimizer in (False, True)
        # The other two were not compiled.
        if not optimizer or network in ("sequential", "functional")
    ),
    Case("sequential", "weights-only-h5"),
    Case("sequential", "weights.h5"),
    Case("sequential", "weights.h5", True),
]
ALL = pytest.mark.parametrize("case", CASES, ids=str)


@dataclass(frozen=True, eq=False)
class Written:
    path: Path
    inputs: np.ndarray
    outputs: np.ndarray
    step: int | None


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Write the file of a case, once."""
    folder = tmp_path_factory.mktemp("written")

    @functools.cache
    def written(case: Case) -> Written:
        model = ferjax.keras.load(SOURCE / f"{case.network}.h5")
        state = model.optimizer_state if case.optimizer else None
        assert (state is not None) == case.optimizer
        extension = {"weights-only-h5": "h5"}.get(case.kind, case.kind)
        path = folder / f"{str(case).replace('.', '_')}.{extension}"
        labels = list("abcdefg")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ferjax.keras.save(path, model.graph, model.variables, state, labels, kind=case.kind)
        with np.load(SOURCE / "expected.npz") as arrays:
            inputs, outputs = (arrays[f"{case.network}_{w}"] for w in ("inputs", "outputs"))
        return Written(path, inputs, outputs, None if state is None else state.step)

    return written


@pytest.fixture(scope="module", params=RELEASED, ids=lambda path: path.name)
def released(request: pytest.FixtureRequest) -> Written:
    """The released weights, with what ferjax predicts by them."""
    model = ferjax.keras.load(request.param)
    faces = np.random.default_rng(0).random((8, *model.graph.input_shape), np.float32)
    outputs = ferjax.nets.Network(model.graph).apply(model.variables, faces)
    return Written(request.param, faces, np.asarray(outputs), None)


# --- the Keras of this environment -------------------------------------------------------------


def test_the_keras_here_opens_the_released_weights(released: Written) -> None:
    keras.backend.clear_session(free_memory=False)
    outputs = keras.models.load_model(released.path).predict(released.inputs, verbose=0)
    np.testing.assert_allclose(np.asarray(outputs), released.outputs, rtol=0, atol=TOLERANCE)


@ALL
def test_the_keras_here_opens_it(case: Case, written: Any) -> None:
    file = written(case)
    keras.backend.clear_session(free_memory=False)
    if "weights" in case.kind:
        model = keras.models.model_from_json(
            (FIXTURES / "keras-3.15.1" / "sequential.json").read_text()
        )
        if case.optimizer:
            model.compile(loss="categorical_crossentropy", optimizer="adam")
            model.optimizer.build(model.trainable_variables)
        model.load_weights(file.path)
    else:
        model = keras.models.load_model(file.path)
    outputs = np.asarray(model.predict(file.inputs, verbose=0))
    np.testing.assert_allclose(outputs, file.outputs, rtol=0, atol=TOLERANCE)
    if case.optimizer and case.kind != "h5":
        assert int(np.asarray(model.optimizer.iterations)) == file.step
    if case.optimizer and case.kind == "h5":
        return  # Keras 3 half restores the state of its own .h5 files too, and cannot train then
    if getattr(model, "optimizer", None) is None:
        model.compile(loss="categorical_crossentropy", optimizer="adam")
    before = [np.asarray(value).copy() for value in model.get_weights()]
    targets = np.eye(file.outputs.shape[-1], dtype="float32")[: len(file.inputs)]
    loss = model.train_on_batch(file.inputs, targets)
    assert np.isfinite(np.ravel(loss)).all()
    assert any((a != b).any() for a, b in zip(before, model.get_weights()))
    if case.optimizer:
        assert int(np.asarray(model.optimizer.iterations)) == file.step + 1


@pytest.mark.parametrize(
    "network, kind",
    [("sequential", "keras"), ("functional", "keras"), ("sequential", "weights.h5")],
)
def test_the_keras_here_restores_the_moments(network: str, kind: str, written: Any) -> None:
    file = written(Case(network, kind, True))
    state = ferjax.keras.load(SOURCE / f"{network}.h5").optimizer_state
    assert state is not None
    keras.backend.clear_session(free_memory=False)
    if kind == "keras":
        model = keras.models.load_model(file.path)
    else:
        text = (FIXTURES / "keras-3.15.1" / "sequential.json").read_text()
        model = keras.models.model_from_json(text)
        model.compile(loss="categorical_crossentropy", optimizer="adam")
        model.optimizer.build(model.trainable_variables)
        model.load_weights(file.path)
    expected = [
        array
        for layer in state.mu
        for name in state.mu[layer]
        for array in (state.mu[layer][name], state.nu[layer][name])
    ]
    found = [np.asarray(v) for v in model.optimizer.variables[2:]]
    assert len(found) == len(expected)
    for mine, theirs in zip(expected, found):
        np.testing.assert_array_equal(mine, theirs)
    rate = float(np.asarray(model.optimizer.learning_rate))
    assert rate == pytest.approx(state.settings["learning_rate"])


def test_ferjax_reads_what_keras_makes_of_it(written: Any, tmp_path: Path) -> None:
    """There and back through Keras: every array the same."""
    for network in ("sequential", "functional", "nested_functional", "preprocess"):
        first = ferjax.keras.load(SOURCE / f"{network}.h5")
        keras.backend.clear_session(free_memory=False)
        model = keras.models.load_model(written(Case(network, "keras")).path)
        model.save(tmp_path / "again.keras")
        second = ferjax.keras.load(tmp_path / "again.keras")
        assert [la.name for la in second.graph.layers] == [la.name for la in first.graph.layers]
        same = jax.tree.map(np.array_equal, first.variables, second.variables)
        assert all(jax.tree.leaves(same))


# --- any other Keras ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Other:
    python: str
    settings: tuple[str, ...]

    @property
    def name(self) -> str:
        return Path(self.python).parents[1].name


def others() -> list[Other]:
    found = []
    for entry in os.environ.get(VARIABLE, "").split(os.pathsep):
        *settings, python = shlex.split(entry) or [""]
        if python:
            found.append(Other(python, tuple(settings)))
    return found


def environment(other: Other) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("KERAS_BACKEND", "PYTHONPATH")}
    return kept | dict(setting.split("=", 1) for setting in other.settings)


OpenThere = Callable[..., tuple[int, Any, str]]


@pytest.fixture(scope="module")
def open_there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenThere]:
    """Return (exit status, report, error) of open_with_keras.py, a process for each Keras."""
    errors = tmp_path_factory.mktemp("errors")

    running: dict[Other, subprocess.Popen[str]] = {}

    def start(other: Other) -> subprocess.Popen[str]:
        with open(errors / other.name, "wb") as stderr:
            return subprocess.Popen(
                [other.python, str(HERE / "open_with_keras.py"), "--serve"],
                env=environment(other), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=stderr, text=True,
            )  # fmt: skip

    def open_there(other: Other, file: Written, out: Path, *options: str) -> tuple[int, Any, str]:
        inputs = out.with_name("inputs.npy")
        np.save(inputs, file.inputs)
        keras_there = running.get(other) or running.setdefault(other, start(other))
        assert keras_there.stdin is not None and keras_there.stdout is not None
        timer = threading.Timer(300, keras_there.kill)
        timer.start()
        print(json.dumps([str(file.path), str(inputs), str(out), *options]), file=keras_there.stdin)
        keras_there.stdin.flush()
        line = keras_there.stdout.readline()
        timer.cancel()
        assert line, (errors / other.name).read_text(errors="replace")[-2000:]
        status, report, error = json.loads(line)
        return status, report, error

    yield open_there
    for process in running.values():
        process.communicate()


ASK = """
import sys
sys.path.insert(0, sys.argv[1])
import open_with_keras
print(open_with_keras.import_keras().__version__)
"""


@functools.cache
def version_of(other: Other) -> tuple[int, ...]:
    result = subprocess.run(
        [other.python, "-c", ASK, str(HERE)],
        env=environment(other), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-1500:]
    version = result.stdout.strip().splitlines()[-1]
    return tuple(int(part) for part in version.split("-")[0].split(".")[:2])


def config_for(version: tuple[int, ...]) -> str:
    """Return the JSON of `sequential` as a Keras of that age wrote it."""
    if version < (2, 2):
        with h5py.File(FIXTURES / "keras-2.0.9" / "sequential.h5") as root:
            config = root.attrs["model_config"]
        return config if isinstance(config, str) else config.decode()
    if (3, 0) <= version < (3, 4):
        with zipfile.ZipFile(FIXTURES / "keras-3.0.5" / "sequential.keras") as archive:
            return archive.read("config.json").decode()
    producer = "keras-2.2.4" if version < (2, 6) else "keras-2.15.0"
    if version[0] == 3:
        producer = "keras-3.15.1"
    return (FIXTURES / producer / "sequential.json").read_text()


def taken(case: Case, version: tuple[int, ...]) -> str | None:
    """Return why a Keras cannot open a file, or None where it can."""
    if case.kind in ("keras", "weights.h5") and version < (2, 15):
        return "Keras 2.12 to 2.14 laid the v3 formats out in another way, earlier ones had none"
    if case.kind == "h5" and version < (2, 2):
        return "whole models are written for Keras 2.2.4 and later"
    if case.network in ("preprocess", "recurrent") and version < (2, 6):
        return "Rescaling, Resizing and the random layers came with Keras 2.6"
    if case.network == "preprocess" and case.kind == "h5" and (3, 0) <= version < (3, 4):
        return "it forgets what Normalization adapted to in an .h5, Keras 2's own files included"
    if case.kind == "h5" and case.optimizer and version < (2, 11):
        return "it refuses the optimizer of Keras 2.11 and later, Custom>Adam"
    return None


@pytest.mark.parametrize("other", others() or [None], ids=lambda o: o.name if o else "none")
@ALL
def test_another_keras_opens_it(
    case: Case,
    other: Other | None,
    written: Any,
    open_there: OpenThere,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    if other is None:
        pytest.skip(f"needs interpreters with other Keras versions, listed in {VARIABLE}")
    version = version_of(other)
    reason = taken(case, version)
    if reason is not None:
        pytest.skip(f"Keras {version[0]}.{version[1]}: {reason}")
    file = written(case)
    out = tmp_path_factory.mktemp(other.name) / "outputs.npy"
    options = ["--train"]
    if "weights" in case.kind:
        config = out.with_name("model.json")
        config.write_text(config_for(version))
        options += ["--weights-into", str(config)]
    status, report, errors = open_there(other, file, out, *options)
    assert status != 1, errors[-2000:]
    np.testing.assert_allclose(np.load(out), file.outputs, rtol=0, atol=TOLERANCE)
    if case.kind == "h5" and case.optimizer and version[0] == 3:
        return  # it opens and predicts; to train on, there is .keras
    assert status == 0, report["train_error"]
    assert report["weights_moved"] > 0
    # An .h5 resumes in Keras 2.15, a .keras in Keras 3; the other way round Adam starts afresh.
    if (
        case.optimizer
        and case.kind == ("h5" if version[0] == 2 else "keras")
        and version >= (2, 15)
    ):
        assert report["optimizer_step"] == file.step
        assert report["trained_step"] == file.step + 1


@pytest.mark.parametrize("other", others() or [None], ids=lambda o: o.name if o else "none")
def test_another_keras_opens_the_released_weights(
    other: Other | None, released: Written, open_there: OpenThere, tmp_path: Path
) -> None:
    if other is None:
        pytest.skip(f"needs interpreters with other Keras versions, listed in {VARIABLE}")
    status, _, errors = open_there(other, released, tmp_path / "outputs.npy")
    assert status == 0, errors[-2000:]
    found = np.load(tmp_path / "outputs.npy")
    np.testing.assert_allclose(found, released.outputs, rtol=0, atol=TOLERANCE)
