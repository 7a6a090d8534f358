"""Files of other programs that are no weights of Keras's or Flax's, and what to do about them."""

from __future__ import annotations

import re
from typing import Final

SAVE_AS_KERAS: Final = "save the model as .h5 or .keras, with the Keras that made it"
CHECKPOINT: Final = (
    "a TensorFlow checkpoint; load it into its Keras model with `load_weights` and save that as "
    ".h5 or .keras"
)
_INTO_KERAS: Final = "into a Keras model and save that as .h5 or .keras"
PYTORCH: Final = f"a PyTorch file, not one of Keras; bring its weights {_INTO_KERAS}"
PICKLE: Final = f"a Python pickle, which is never opened; {SAVE_AS_KERAS}"
TENSORFLOW_LITE: Final = f"a TensorFlow Lite model, which is for inference alone; {SAVE_AS_KERAS}"
SAFETENSORS: Final = f"safetensors, arrays without a network; bring them {_INTO_KERAS}"
ONNX: Final = (
    "an ONNX model, which ferjax writes and does not read; give the Keras file that it was made "
    "from"
)
# By the ends of names.
_NAMES: Final = (
    (r"\.(index|data-\d+-of-\d+)", f"a part of {CHECKPOINT}"),
    (r"saved_model\.pb", f"the saved_model.pb of a TensorFlow SavedModel; {SAVE_AS_KERAS}"),
    (r"\.pb", f"a TensorFlow graph; {SAVE_AS_KERAS}"),
    (r"\.tflite", TENSORFLOW_LITE),
    (r"\.(pt|pth|ckpt)|pytorch_model\.bin", PYTORCH),
    (r"\.safetensors", SAFETENSORS),
    (r"\.onnx", ONNX),
    (r"\.(pkl|pickle|joblib)", PICKLE),
)


def by_name(name: str) -> str | None:
    """Return what a file is that its name tells to be of another program, or None.

    >>> by_name("variables/saved_model.pb").partition(";")[0]
    'the saved_model.pb of a TensorFlow SavedModel'
    >>> by_name("model.h5")
    """
    for end, description in _NAMES:
        if re.search(f"(?:{end})$", name.lower()):
            return description
    return None
