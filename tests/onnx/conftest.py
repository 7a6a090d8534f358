"""Compare what ONNX Runtime computes from an exported network with the network itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from ferjax.nets import Graph, Network
from ferjax.onnx import Engine, save, to_bytes, to_model
from ferjax.weights import read

from ..networks import as_trained

ROOT = Path(__file__).parents[2]


def _images(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _compare(graph: Graph, images: np.ndarray, tolerance: float = 1e-5) -> Any:
    variables = as_trained(graph)
    model = to_model(graph, variables)
    with jax.default_matmul_precision("highest"):
        expected = np.asarray(jax.jit(Network(graph).apply)(variables, images))
    assert np.isfinite(expected).all()
    assert np.ptp(expected) > 0.01, "constant outputs would prove nothing"
    content = to_bytes(graph, variables)
    assert model.SerializeToString() == content, "the package onnx writes it otherwise"
    outputs = Engine(content, threads=1)(images)
    assert (outputs.shape, outputs.dtype) == (expected.shape, np.float32)
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=tolerance)
    return model


@pytest.fixture(scope="session")
def draw() -> Callable[..., np.ndarray]:
    """Draw float32 images: `draw(2, 5, 4, 3)`."""
    return _images


@pytest.fixture(scope="session")
def compare() -> Callable[..., Any]:
    """Check ONNX Runtime's outputs against the network's: `compare(graph, images)`.

    Returns the model.
    """
    return _compare


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The released weights as an ONNX file."""
    path = tmp_path_factory.mktemp("onnx") / "fer_cnn5.onnx"
    model = read(ROOT / "checkpoints" / "fer_cnn5.h5")
    save(path, model.network, model.variables, labels=model.labels, metadata=model.metadata)
    return path
