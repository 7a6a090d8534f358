"""The scripts in examples/ do what their docstrings say."""

from __future__ import annotations

import csv
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest

import ferjax
from ferjax.data.preparation import prepare
from ferjax.nets import Graph, Network
from ferjax.nets.layers import BatchNormalization, Conv2D, Dense, Flatten, InputLayer, MaxPooling2D
from ferjax.train import logs

from .networks import drawn

EXAMPLES = Path(__file__).parents[1] / "examples"
Example = Callable[..., str]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Example:
    """Run an example in this process and return what it prints."""

    def run(name: str, *arguments: object) -> str:
        path = str(EXAMPLES / name)
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        with jax.numpy_dtype_promotion("standard"):  # optax relies on it
            runpy.run_path(path, run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Write a network that is quick to compile, as a Keras file."""
    network = Network(
        Graph.sequential(
            [
                InputLayer(name="input", shape=(48, 48, 1)),
                MaxPooling2D(pool_size=(4, 4)),
                Conv2D(filters=4, kernel_size=(3, 3), activation="relu"),
                BatchNormalization(),
                Flatten(),
                Dense(units=7, activation="softmax"),
            ]
        )
    )
    path = tmp_path / "model.h5"
    ferjax.keras.save(path, network, drawn(network), labels=ferjax.EMOTIONS)
    return path


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Draw 20 images of each class, which its gray level tells."""
    rng = np.random.default_rng(0)
    for level, name in enumerate(ferjax.EMOTIONS):
        folder = tmp_path / "faces" / name
        folder.mkdir(parents=True)
        for number in range(20):
            image = 32 * level + rng.integers(0, 32, (48, 48), np.uint8)
            cv2.imwrite(str(folder / f"{number}.png"), image)
    return tmp_path / "faces"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_examples_are_short_and_say_how_to_run_them(path: Path, example: Example) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") < 65
    assert f"\n    python examples/{path.name} " in text
    with pytest.raises(SystemExit, match="0"):
        example(path.name, "--help")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("predict_folder.py", (".", "--weights", "no.h5"), "error: no.h5: no such file"),
        ("fine_tune.py", ("no", "--out", "out"), "error: no: no such file or folder"),
        ("continue_keras_training.py", ("no.h5", "no"), "error: no.h5: no such file"),
    ],
)
def test_a_mistake_is_one_line(
    example: Example,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=f"^{message}$"):
        example(name, *arguments)


def test_predict_folder(example: Example, model: Path, faces: Path, tmp_path: Path) -> None:
    table = tmp_path / "faces.csv"
    said = example("predict_folder.py", faces / "happy", "--weights", model, "--out", table)
    assert said == f"{table}: 20 faces\n"
    with open(table, encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["path", "label", "confidence", *ferjax.EMOTIONS]
    classifier = ferjax.load(model)
    for path, label, confidence, *probabilities in rows:
        (prediction,) = classifier.predict([path])
        assert label == prediction.label
        assert float(confidence) == pytest.approx(prediction.confidence, abs=1e-4)
        assert sum(map(float, probabilities)) == pytest.approx(1, abs=1e-3)


def test_fine_tune(
    example: Example, model: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its picture takes longer than the training.
    monkeypatch.setattr(logs, "draw_curves", lambda *args, **settings: True)
    changes = ["epochs=1", "batch_size=16", "augmentation=none", "clean_statistics=0"]
    said = example(
        "fine_tune.py", faces, "--out", tmp_path / "out", "--init", model, "--set", *changes
    )
    before, after, weights = said.splitlines()
    assert before.startswith(f"{model}: ")
    assert " of 14 test images (" in before
    assert after.startswith(weights.removeprefix("weights: "))
    assert ferjax.load(weights.removeprefix("weights: ")).labels == ferjax.EMOTIONS


def test_continue_keras_training(
    example: Example, model: Path, faces: Path, tmp_path: Path
) -> None:
    prepare(faces, tmp_path / "data", with_tfds=False)
    out = tmp_path / "trained.keras"
    losses = [
        float(
            example(
                "continue_keras_training.py", model, tmp_path / "data", "--out", out, "--steps", n
            ).split()[-1]
        )
        for n in (1, 40)
    ]
    assert losses[1] < losses[0]
    trained = ferjax.keras.load(out)
    assert (trained.kind, trained.labels) == ("keras", list(ferjax.EMOTIONS))
    kernels = [
        m.variables["params"]["dense"]["kernel"] for m in (trained, ferjax.keras.load(model))
    ]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-3


def test_no_step_writes_what_was_read(
    example: Example, model: Path, faces: Path, tmp_path: Path
) -> None:
    prepare(faces, tmp_path / "data", with_tfds=False)
    out = tmp_path / "same.keras"
    arguments = (model, tmp_path / "data", "--out", out, "--steps", 0)
    assert example("continue_keras_training.py", *arguments) == "loss of step 0: nan\n"
    kernels = [ferjax.keras.load(p).variables["params"]["dense"]["kernel"] for p in (model, out)]
    np.testing.assert_array_equal(*kernels)
