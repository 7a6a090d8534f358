"""ONNX: networks written as models that ONNX Runtime and others run, and an engine over one."""

from __future__ import annotations

from ferjax.onnx.engine import Engine
from ferjax.onnx.exporting import IR_VERSION, OPSET, save, to_model

__all__ = ["IR_VERSION", "OPSET", "Engine", "save", "to_model"]
