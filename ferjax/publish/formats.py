"""The formats that weights may be shared in beside the file as it is."""

from __future__ import annotations

from typing import Final, Literal

Extra = Literal["h5", "keras", "weights.h5", "msgpack", "onnx"]
# Where each is kept. Folders of their own, so that the weights stay the only ones on top.
EXTRAS: Final[dict[Extra, str]] = {
    "h5": "h5/{}.h5",
    "keras": "keras/{}.keras",
    "weights.h5": "keras/{}.weights.h5",
    "msgpack": "flax/{}.msgpack",
    "onnx": "onnx/{}.onnx",
}
