"""Facial expression recognition in JAX.

>>> import ferjax
>>> ferjax.EMOTIONS
('angry', 'disgust', 'fear', 'happy', 'neutral', 'sad', 'surprise')
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ferjax._lazy import imported as _imported
from ferjax._version import __version__ as __version__
from ferjax.emotions import EMOTIONS
from ferjax.errors import FerjaxError

if TYPE_CHECKING:
    from ferjax import (
        data,
        evaluate,
        explain,
        faces,
        keras,
        nets,
        onnx,
        priors,
        scale,
        train,
        video,
        web,
    )
    from ferjax.classifier import EmotionClassifier, Prediction, load, predict_emotion

__all__ = [
    "EMOTIONS",
    "EmotionClassifier",
    "FerjaxError",
    "Prediction",
    "data",
    "evaluate",
    "explain",
    "faces",
    "keras",
    "load",
    "nets",
    "onnx",
    "predict_emotion",
    "priors",
    "scale",
    "train",
    "video",
    "web",
]

_ROOMS = set("data evaluate explain faces keras nets onnx priors scale train video web".split())


def __getattr__(name: str) -> Any:
    # Imported when first used: jax takes most of a second.
    if name in _ROOMS:
        return _imported(f"ferjax.{name}")
    if name in __all__:
        return getattr(_imported("ferjax.classifier"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
