"""ONNX: networks written as models that ONNX Runtime and others run, and an engine over one.

`exporting` writes a network, `builder` holds the model until it is whole, `protobuf` puts it into
bytes, `engine` predicts. How a
layer is written stands in modules called as those of `ferjax.nets.layers`: `spatial`, `dense`,
`normalization`, `resizing`, `activations`, `merging`, `operations`, `recurrent`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ferjax.onnx.engine import Engine

if TYPE_CHECKING:
    from ferjax.onnx.exporting import IR_VERSION, OPSET, save, to_bytes, to_model

__all__ = ["IR_VERSION", "OPSET", "Engine", "save", "to_bytes", "to_model"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # of `exporting`, which a model that is written already does without
        from ferjax.onnx import exporting

        return getattr(exporting, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
