"""Keras weight files, read and written with h5py alone: neither Keras nor TensorFlow is needed.

Read and write: `reader`, `writer`, `inspection`. What a file is: `kinds`; opened, with its members:
`weight_file`, over the guards `hdf5` and `hdf5_text`, `json_text`, `folders`, `shards`.
Architecture: `model_config`, over `config_entries`, `inbound_nodes` and `flattening`, to an
`architecture`; one layer: `layer_config` and `setting_forms`; arithmetic between layers:
`operations`, with `operation_table`, `operation_arguments` and `operation_layers`. Arrays:
`legacy_h5`, `weights_h5`, `optimizer`; where they stand in nested models: `nesting`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
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

# The module of each name, imported when first asked for: a program that reads files need not import
# what writes them.
_HOMES: Final = {
    name: module
    for module, names in {
        "architecture": "Architecture Output",
        "inspection": "Inspection inspect",
        "kinds": "KINDS",
        "optimizer": "OptimizerState",
        "reader": "STATE_LEFT_OUT KerasModel has_architecture load load_architecture outputs",
        "writer": "kind_of save",
    }.items()
    for name in names.split()
}


if not TYPE_CHECKING:  # or every name would be Any

    def __getattr__(name: str) -> Any:
        if name in _HOMES.values():  # a module of this package, as if it were imported
            return importlib.import_module(f"{__name__}.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
