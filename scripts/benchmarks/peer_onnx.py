"""ONNX Runtime on the CPU, with the model that `ferjax.onnx` writes.

`export` runs in a process of its own, so that what is measured imports onnxruntime alone. All of
ONNX Runtime's graph optimizations are on, which is its default.
"""

from __future__ import annotations

from typing import Any

from . import network
from .cases import Setup

_FILE = "model.onnx"


def export(setup: Setup) -> None:
    """Write model.onnx: float32 (B, 48, 48, 1) to probabilities (B, 7)."""
    import ferjax

    model = ferjax.keras.load(setup.folder / "model.h5")
    ferjax.onnx.save(setup.folder / _FILE, model.graph, model.variables)


def predictor(entry: str, setup: Setup) -> Any:
    """Return the function from uint8 images, (48, 48) or (B, 48, 48), to probabilities."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = setup.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(setup.folder / _FILE), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name

    def predict(images: Any) -> Any:
        return session.run(None, {name: network.normalized(images)})[0]

    return predict
