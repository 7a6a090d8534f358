"""Keras weight files, read and written with h5py alone: neither Keras nor TensorFlow is needed."""

from __future__ import annotations

from ferjax.keras.architecture import Architecture, Output
from ferjax.keras.inspection import Inspection, inspect
from ferjax.keras.kinds import KINDS
from ferjax.keras.optimizer import OptimizerState
from ferjax.keras.reader import (
    STATE_LEFT_OUT,
    KerasModel,
    has_architecture,
    load,
    load_architecture,
    outputs,
)
from ferjax.keras.writer import kind_of, save

__all__ = [
    "KINDS",
    "STATE_LEFT_OUT",
    "Architecture",
    "Inspection",
    "KerasModel",
    "OptimizerState",
    "Output",
    "has_architecture",
    "inspect",
    "kind_of",
    "load",
    "load_architecture",
    "outputs",
    "save",
]
