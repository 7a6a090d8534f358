"""The published network on real images: what Keras 2.15 predicts, in Python and by command."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import ferjax
from ferjax.cli.main import main

FOLDERS = ("angry", "disgusted", "fearful", "happy", "neutral", "sad", "surprised")


@pytest.fixture(scope="module")
def expected(reference: Path) -> np.ndarray:
    """Keras 2.15's probabilities, float32 (210, 7), 30 images a class in the order of FOLDERS."""
    with np.load(reference) as file:
        labels, probabilities = file["labels"], file["probabilities"]
    assert probabilities.shape == (210, 7)
    assert labels.tolist() == [index for index in range(7) for _ in range(30)]
    return probabilities


@pytest.fixture(scope="module")
def images(fer_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The 210 PNG files, unpacked."""
    folder = tmp_path_factory.mktemp("fer")
    names = [f"test/{emotion}/im{index}.png" for emotion in FOLDERS for index in range(30)]
    with zipfile.ZipFile(fer_zip) as archive:
        archive.extractall(folder, names)
    return [folder / name for name in names]


@pytest.fixture(scope="module")
def classifier(published_weights: Path) -> ferjax.EmotionClassifier:
    return ferjax.load(published_weights, labels=ferjax.EMOTIONS)


def assert_as_keras(found: np.ndarray, expected: np.ndarray) -> None:
    assert np.abs(found - expected).max() <= 1e-6
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))


def test_python_predicts_what_keras_predicts(
    classifier: ferjax.EmotionClassifier, images: list[Path], expected: np.ndarray
) -> None:
    assert_as_keras(classifier.predict_proba(images), expected)


def test_one_image_at_a_time_too(
    classifier: ferjax.EmotionClassifier, images: list[Path], expected: np.ndarray
) -> None:
    rows = [classifier.predict_proba(path)[0] for path in images]
    assert_as_keras(np.stack(rows), expected)


@pytest.mark.filterwarnings("default::UserWarning")  # a line on stderr
def test_the_command_line_predicts_what_keras_predicts(
    published_weights: Path,
    images: list[Path],
    expected: np.ndarray,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["predict", "--weights", str(published_weights), "--json", *map(str, images)]
    assert main(arguments) == 0
    entries = json.loads(capsys.readouterr().out)
    assert [entry["path"] for entry in entries] == list(map(str, images))
    found = np.array([list(entry["probabilities"].values()) for entry in entries], np.float32)
    assert_as_keras(found, expected)
    for entry, row in zip(entries, expected, strict=True):
        assert entry["index"] == row.argmax()
        assert entry["label"] == ferjax.EMOTIONS[entry["index"]]
        assert entry["confidence"] == max(entry["probabilities"].values())


@pytest.mark.parametrize("target", ["m.h5", "m.keras", "m.weights.h5", "m.msgpack"])
def test_a_converted_file_predicts_what_keras_predicts(
    published_weights: Path,
    images: list[Path],
    expected: np.ndarray,
    tmp_path: Path,
    target: str,
) -> None:
    assert main(["convert", str(published_weights), str(tmp_path / target)]) == 0
    named = None if target in ("m.h5", "m.keras") else "fer_cnn5"
    loaded = ferjax.load(tmp_path / target, architecture=named, labels=ferjax.EMOTIONS)
    assert_as_keras(loaded.predict_proba(images), expected)
