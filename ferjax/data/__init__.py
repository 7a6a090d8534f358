"""From the archives in which face datasets circulate to batches on the device.

Read: `sources` tells a form, `containers` opens it through `archive_guards`; `image_folders`, with
`folders` and `image_lists`, and `tables`, with `pixel_csv`, `csv_dialect` and `parquet`, read it
into what `reading` has; `class_names`, `class_numbers` and `split_names` say what names there mean,
and `photographs` finds faces in pictures. Check: `splits`, `checks`, `sheet_rows`.
Votes of several people: `votes`; `votes_files`, `votes_joining` and `ferplus_rows` bring them to
their images, `agreement` says how far people agree. Prepare once: `preparation`, `tfds_builder`.
Feed training: `order`, and over it `tf_pipeline` and `device_pipeline`; `augment` does what an
`augmentation` says, `balance` is against unequal classes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ferjax.data.dataset import SPLITS, Faces
    from ferjax.data.photographs import FindFaces
    from ferjax.data.preparation import load, prepare

__all__ = ["SPLITS", "Faces", "FindFaces", "load", "prepare"]
_HOMES = {
    "SPLITS": "dataset",
    "Faces": "dataset",
    "FindFaces": "photographs",
    "load": "preparation",
    "prepare": "preparation",
}


def __getattr__(name: str) -> Any:
    # Imported when first used: an augmentation's settings need neither NumPy, jax nor TensorFlow.
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    module = f"{__name__}.{name}"
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:  # what the module needs is not installed
            raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
