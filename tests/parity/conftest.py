"""Compare a Keras model with what ferjax reads from the file that Keras saves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
import pytest

import ferjax.keras

Compare = Callable[..., ferjax.keras.KerasModel]


def _randomise(model: Any, generator: np.random.Generator) -> None:
    """Give every weight a value that no initializer gives, such that outputs are of order 1."""
    for variable in model.weights:
        shape, name = tuple(variable.shape), variable.path.split("/")[-1]
        if name == "count":
            continue
        if "variance" in name:
            value = generator.uniform(0.5, 2.0, shape)
        elif name == "gamma":
            value = generator.uniform(0.5, 1.5, shape) * generator.choice([-1.0, 1.0], shape)
        elif "kernel" in name:
            # (kh, kw, in, out) or (in, out); a depthwise kernel sums over (kh, kw) alone.
            fan_in = np.prod(shape[:2]) if "depthwise" in variable.path else np.prod(shape[:-1])
            value = generator.normal(0.0, (2 / fan_in) ** 0.5, shape)  # as He: for rectifiers
        else:
            value = generator.normal(0.0, 0.5, shape)
        variable.assign(value.astype("float32"))


@pytest.fixture(scope="session")
def randomise() -> Callable[..., None]:
    """Replace all weights of a Keras model: `randomise(model, seed=0)`."""

    def randomise(model: Any, seed: int = 0) -> None:
        _randomise(model, np.random.default_rng(seed))

    return randomise


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    """Save a Keras model, read it and compare: `compare(model, images, tolerance=1e-6)`.

    Weights are random unless `randomise=False`. Returns what ferjax read.
    """

    def compare(
        model: Any,
        images: Any,
        *,
        tolerance: float = 1e-6,
        suffix: str = ".keras",
        randomise: bool = True,
    ) -> ferjax.keras.KerasModel:
        if randomise:
            _randomise(model, np.random.default_rng(0))
        expected = np.asarray(model(images, training=False))
        assert np.isfinite(expected).all()
        assert np.ptp(expected) > 0.01, "constant outputs would prove nothing"
        path = tmp_path / f"model{suffix}"
        model.save(path)
        read = ferjax.keras.load(path)
        with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
            outputs = np.asarray(read.network.apply(read.variables, images))
        assert outputs.shape == expected.shape
        assert read.graph.output_shape == tuple(model.output_shape[1:])
        np.testing.assert_allclose(outputs, expected, rtol=0, atol=tolerance)
        assert read.graph.num_params == model.count_params()
        return read

    return compare


@pytest.fixture(autouse=True)
def fresh_names() -> None:
    """Start Keras's automatic names at `conv2d` again."""
    keras.utils.clear_session(free_memory=False)
