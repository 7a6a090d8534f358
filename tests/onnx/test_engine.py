"""The engine over ONNX Runtime: batches, threads, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferjax.errors import FerjaxError, LayerError, WeightFileError
from ferjax.nets import Graph, Network
from ferjax.nets.layers import Conv2D, Dense, Flatten, Layer
from ferjax.onnx import Engine

from ..networks import as_trained

REASON = "needs onnxruntime: pip install 'ferjax[onnx]'"
pytest.importorskip("onnxruntime", reason=REASON)
pytest.importorskip("onnx", reason=REASON)

WEIGHTS = Path(__file__).parents[2] / "checkpoints" / "fer_cnn5.h5"
Make = Callable[..., Any]


@pytest.mark.parametrize("count", [0, 1, 2, 257, 600])
def test_engine_takes_batches_of_any_size(count: int, draw: Make) -> None:
    chain: list[Layer] = [Conv2D(filters=2, kernel_size=2), Flatten(), Dense(units=3)]
    graph = Graph.sequential(chain, input_shape=(3, 4, 1))
    variables = as_trained(graph)
    engine = Engine.of(graph, variables)
    images = draw(count, 3, 4, 1)
    assert engine(images).shape == (count, 3)
    expected = np.asarray(Network(graph).apply(variables, draw(600, 3, 4, 1)))[:count]
    np.testing.assert_allclose(engine(images), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_engine_computes_with_as_many_threads_as_asked_for(
    threads: int | None, released: Path
) -> None:
    engine = Engine(released, threads=threads)
    assert engine.session.get_session_options().intra_op_num_threads == (threads or 0)
    assert engine.session.get_providers() == ["CPUExecutionProvider"]
    assert (engine.input_shape, engine.output_shape) == ((48, 48, 1), (7,))


def test_engine_refuses_what_it_cannot_run(released: Path, tmp_path: Path) -> None:
    with pytest.raises(FerjaxError, match="expected threads of at least 1, got 0"):
        Engine(released, threads=0)
    with pytest.raises(FerjaxError, match=r"expected providers among .*CPU.*, got NoProvider"):
        Engine(released, providers=["NoProvider"])
    assert Engine(released, providers="CPUExecutionProvider").session is not None
    with pytest.raises(WeightFileError, match=r"none\.onnx: cannot be opened \(No such file"):
        Engine(tmp_path / "none.onnx")
    with pytest.raises(WeightFileError, match=r"fer_cnn5\.h5: not an ONNX model that can be run"):
        Engine(WEIGHTS)
    with pytest.raises(WeightFileError, match="ONNX model: not an ONNX model that can be run"):
        Engine(b"")


def test_engine_refuses_other_images(released: Path) -> None:
    engine = Engine(released)
    expected = r"expected float32 images of shape \(B, 48, 48, 1\), got "
    with pytest.raises(LayerError, match=expected + r"float32 of \(1, 48, 47, 1\)"):
        engine(np.zeros((1, 48, 47, 1), np.float32))
    with pytest.raises(LayerError, match=expected + r"uint8 of \(1, 48, 48, 1\)"):
        engine(np.zeros((1, 48, 48, 1), np.uint8))
    with pytest.raises(LayerError, match=expected + r"float32 of \(48, 48, 1\)"):
        engine(np.zeros((48, 48, 1), np.float32))
