"""The writer of ONNX files against the package onnx, byte for byte."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ferjax.onnx import protobuf

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'ferjax[onnx]'")


@pytest.mark.parametrize(
    "value",
    [0, 1, 127, 128, -1, 2**31 - 1, -(2**63), True, 0.5, -1.0, "", "kälte", [1, -2], [0.5], ["a"]],
)
def test_attributes(value: Any) -> None:
    expected = onnx.helper.make_node("Op", ["x", "w"], ["y"], "y", b=1, a=value)
    written = protobuf.node("Op", ("x", "w"), "y", {"b": 1, "a": value})
    assert written.content() == expected.SerializeToString()
    assert written.size == len(written.content())


def test_what_has_no_form_is_refused() -> None:
    with pytest.raises(TypeError, match="expected numbers or texts for `a`, got NoneType"):
        protobuf.node("Op", ("x",), "y", {"a": None})


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "float64", "int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(), (0,), (300,), (2, 3, 1)])
def test_a_model(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    array = array.T if array.ndim > 1 else array
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    described = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"], "y")],
        "g",
        [helper.make_tensor_value_info("x", kind, ["batch", None, 300])],
        [helper.make_tensor_value_info("y", kind, ["batch"])],
        [onnx.numpy_helper.from_array(array.astype(array.dtype.newbyteorder("=")), "w")],
    )
    expected = helper.make_model(
        described,
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        producer_name="ferjax",
        producer_version="1",
    )
    helper.set_model_props(expected, {"k": "v", "empty": ""})
    content = protobuf.model(
        protobuf.graph(
            "g",
            [protobuf.node("Add", ["x", "w"], "y", {})],
            {"w": array},
            inputs=[protobuf.float_value("x", ["batch", None, 300])],
            outputs=[protobuf.float_value("y", ["batch"])],
        ),
        opset=17,
        ir_version=8,
        producer=("ferjax", "1"),
        properties={"k": "v", "empty": ""},
    )
    assert content == expected.SerializeToString()
