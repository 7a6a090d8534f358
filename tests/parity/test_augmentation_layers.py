"""The random layers against Keras 3 in training, each with its factor pinned to one value."""

from __future__ import annotations

from typing import Any

import jax
import keras
import numpy as np
import pytest

from ferjax.nets import Graph, Network
from ferjax.nets.layers import VOCABULARY

Shape = tuple[int, int, int]

FACTORS: list[tuple[str, dict[str, Any]]] = [
    ("RandomRotation", {"factor": [0.07, 0.07]}),
    ("RandomRotation", {"factor": [-0.3, -0.3]}),
    ("RandomZoom", {"height_factor": [0.4, 0.4]}),
    ("RandomZoom", {"height_factor": [-0.3, -0.3], "width_factor": [0.3, 0.3]}),
    ("RandomTranslation", {"height_factor": [0.27, 0.27], "width_factor": [-0.33, -0.33]}),
    ("RandomTranslation", {"height_factor": [0.0, 0.0], "width_factor": [0.9, 0.9]}),
]


def _both(kind: str, settings: dict[str, Any], images: np.ndarray) -> tuple[Any, Any]:
    """Return what ferjax's and Keras's layer make of `images` in training."""
    layer = VOCABULARY[kind](**settings)
    network = Network(Graph.sequential([layer], input_shape=images.shape[1:]))
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        ours = network.apply({}, images, train=True, rngs={"dropout": jax.random.key(0)})
    theirs = getattr(keras.layers, kind)(**settings)(images, training=True)
    return np.asarray(ours), np.asarray(theirs)


def _images(shape: Shape) -> np.ndarray:
    return np.random.default_rng(1).uniform(size=(2, *shape)).astype("float32")


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("fill_mode", ["reflect", "wrap", "constant", "nearest"])
@pytest.mark.parametrize(("kind", "factors"), FACTORS, ids=lambda value: str(value))
def test_moved_image(
    kind: str, factors: dict[str, Any], fill_mode: str, interpolation: str
) -> None:
    images = _images((9, 6, 2))
    settings = {**factors, "fill_mode": fill_mode, "interpolation": interpolation}
    ours, theirs = _both(kind, {**settings, "fill_value": 0.5}, images)
    # Coordinates of single precision, times differences between neighbours of up to 1.
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=5e-6)
    assert np.abs(ours - images).max() > 0.1


@pytest.mark.parametrize(("kind", "factors"), FACTORS[::2], ids=lambda value: str(value))
def test_moved_channels_first_image(kind: str, factors: dict[str, Any]) -> None:
    settings = {**factors, "data_format": "channels_first"}
    ours, theirs = _both(kind, settings, _images((2, 6, 9)))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=5e-6)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("value_range", [[0.0, 1.0], [0.0, 255.0]])
def test_contrast(value_range: list[float], data_format: str) -> None:
    # 1 - lower = 1 + upper = 1.5
    settings = {"factor": [-0.5, 0.5], "value_range": value_range, "data_format": data_format}
    ours, theirs = _both("RandomContrast", settings, _images((5, 4, 3)))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_shift_by_whole_pixels_is_down_and_to_the_right() -> None:
    images = _images((4, 5, 1))
    settings = {
        "height_factor": [0.25, 0.25],  # one of four rows
        "width_factor": [0.4, 0.4],  # two of five columns
        "fill_mode": "constant",
        "interpolation": "nearest",
    }
    ours, theirs = _both("RandomTranslation", settings, images)
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(ours[:, 1:, 2:], images[:, :-1, :-2])
    assert not ours[:, 0].any()
    assert not ours[:, :, :2].any()
