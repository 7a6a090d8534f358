"""From the archives in which face datasets circulate to batches on the device.

Read and check: `sources`, `splits`, `checks`, `sheet`. Prepare once: `preparation`, `tfds_builder`.
Feed training: `order`, and over it `tf_pipeline` and `device_pipeline`; `augment`, `balance`.
"""

from __future__ import annotations

from ferjax.data.dataset import SPLITS, Faces
from ferjax.data.preparation import load, prepare

__all__ = ["SPLITS", "Faces", "load", "prepare"]
