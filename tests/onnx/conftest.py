"""Compare what ONNX Runtime computes from an exported network with the network itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from ferjax.nets import Call, Graph, Network
from ferjax.nets.layers import Layer
from ferjax.onnx import Engine, save, to_model
from ferjax.weights import read

ROOT = Path(__file__).parents[2]


def _images(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _variables(graph: Graph) -> dict[str, Any]:
    """Draw every weight such that none is neutral and outputs are of order 1."""
    generator = np.random.default_rng(0)
    variables: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for layer, weights in graph.weights.items():
        for weight in weights:
            shape = weight.shape
            if weight.name.endswith("var"):
                value = generator.uniform(0.5, 2.0, shape)
            elif weight.name.endswith("scale"):
                value = generator.uniform(0.5, 1.5, shape) * generator.choice([-1.0, 1.0], shape)
            elif "kernel" in weight.name:
                fan_in = np.prod(shape[:2] if "depthwise" in weight.name else shape[:-1])
                value = generator.normal(0.0, (2 / fan_in) ** 0.5, shape)
            else:
                value = generator.normal(0.0, 0.5, shape)
            group = variables[weight.collection].setdefault(layer, {})
            group[weight.name] = np.asarray(value, weight.dtype)
    return variables


def _functional(calls: list[tuple[Layer, tuple[int, ...]]]) -> Graph:
    layers = {layer.name: layer for layer, _ in calls}
    return Graph(
        tuple(layers.values()),
        tuple(Call(layer.name, inputs) for layer, inputs in calls),
        "functional",
        functional=True,
    )


def _compare(graph: Graph, images: np.ndarray, tolerance: float = 1e-5) -> Any:
    variables = _variables(graph)
    model = to_model(graph, variables)
    with jax.default_matmul_precision("highest"):
        expected = np.asarray(jax.jit(Network(graph).apply)(variables, images))
    assert np.isfinite(expected).all()
    assert np.ptp(expected) > 0.01, "constant outputs would prove nothing"
    outputs = Engine(model.SerializeToString(), threads=1)(images)
    assert (outputs.shape, outputs.dtype) == (expected.shape, np.float32)
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=tolerance)
    return model


@pytest.fixture(scope="session")
def draw() -> Callable[..., np.ndarray]:
    """Draw float32 images: `draw(2, 5, 4, 3)`."""
    return _images


@pytest.fixture(scope="session")
def variables_for() -> Callable[[Graph], dict[str, Any]]:
    """Draw every weight of a graph such that none is neutral."""
    return _variables


@pytest.fixture(scope="session")
def functional() -> Callable[..., Graph]:
    """Make a graph of (layer, positions of its inputs); a layer that is there twice is shared."""
    return _functional


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
