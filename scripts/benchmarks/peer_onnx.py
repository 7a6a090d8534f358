"""ONNX Runtime on the CPU, with a graph written from the weights by `onnx.helper`.

`export` runs in a process of its own, so that what is measured imports onnxruntime alone. All of
ONNX Runtime's graph optimizations are on, which is its default.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import network
from .cases import Setup

_FILE = "model.onnx"
_OPSET = 17


def export(setup: Setup) -> None:
    """Write model.onnx: float32 (B, 1, 48, 48) to probabilities (B, 7)."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    layers, arrays = network.read(setup.folder)
    nodes: list[Any] = []
    constants: list[Any] = []
    last = "images"
    channels = 0  # of the feature maps

    def constant(name: str, array: Any) -> str:
        array = np.ascontiguousarray(array, np.float32)
        constants.append(numpy_helper.from_array(array, name))
        return name

    def node(operator: str, *more: str, **attributes: Any) -> None:
        nonlocal last
        output = f"{operator}_{len(nodes)}"
        nodes.append(helper.make_node(operator, [last, *more], [output], **attributes))
        last = output

    for layer in layers:
        kind, name = layer["kind"], layer["name"]
        if kind == "Conv2D":
            kernel, bias = arrays[f"{name}/kernel"], arrays[f"{name}/bias"]
            kh, kw = kernel.shape[:2]
            around = (kh // 2, kw // 2) if layer["padding"] == "same" else (0, 0)
            channels = len(bias)
            weights = [constant(f"{name}/kernel", kernel.transpose(3, 2, 0, 1))]
            weights.append(constant(f"{name}/bias", bias))
            node("Conv", *weights, kernel_shape=[kh, kw], pads=[*around, *around])
        elif kind == "BatchNormalization":
            weights = [
                constant(f"{name}/{part}", arrays[f"{name}/{part}"])
                for part in ("scale", "bias", "mean", "var")
            ]
            node("BatchNormalization", *weights, epsilon=layer["epsilon"])
        elif kind == "MaxPooling2D":
            h, w = layer["pool_size"]
            node("MaxPool", kernel_shape=[h, w], strides=[h, w])
        elif kind == "Flatten":
            node("Flatten")
        elif kind == "Dense":
            kernel = arrays[f"{name}/kernel"]
            if nodes[-1].op_type == "Flatten":
                kernel = network.rows_by_channel(kernel, channels)
            weights = [constant(f"{name}/kernel", kernel)]
            weights.append(constant(f"{name}/bias", arrays[f"{name}/bias"]))
            node("Gemm", *weights)
        elif kind not in ("InputLayer", "Dropout"):
            raise ValueError(f"no ONNX operator for {kind!r}")
        if layer.get("activation") == "relu":
            node("Relu")
        elif layer.get("activation") == "softmax":
            node("Softmax", axis=-1)
    size = network.SIZE
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["B", 1, size, size])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["B", network.CLASSES])],
        constants,
    )
    # An older format than the newest, so that an older runtime reads it.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, setup.folder / _FILE)


def predictor(entry: str, setup: Setup) -> Any:
    """Return the function from uint8 images, (48, 48) or (B, 48, 48), to probabilities."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = setup.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(setup.folder / _FILE), options, providers=["CPUExecutionProvider"]
    )
    size = network.SIZE

    def predict(images: Any) -> Any:
        x = network.normalized(images).reshape(-1, 1, size, size)  # one channel: the same order
        return session.run(None, {"images": x})[0]

    return predict
