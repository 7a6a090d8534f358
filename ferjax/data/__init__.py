"""From the archives in which face datasets circulate to batches on the device.

Read and check: `sources`, `splits`, `checks`, `sheet_rows`; `photographs` finds faces in pictures.
Votes of several people: `votes`; `votes_files`, `votes_joining` and `ferplus_rows` bring them to
their images, `agreement` says how far people agree. Prepare once: `preparation`, `tfds_builder`.
Feed training: `order`, and over it `tf_pipeline` and `device_pipeline`; `augment`, `balance`.
"""

from __future__ import annotations

import importlib
from typing import Any

from ferjax.data.dataset import SPLITS, Faces
from ferjax.data.photographs import FindFaces
from ferjax.data.preparation import load, prepare

__all__ = ["SPLITS", "Faces", "FindFaces", "load", "prepare"]
_MODULES = ("augment", "balance", "device_pipeline", "order", "tf_pipeline")


def __getattr__(name: str) -> Any:
    # Imported when first used: they import jax, or TensorFlow.
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
