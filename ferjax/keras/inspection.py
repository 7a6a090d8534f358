"""Say what a Keras file is, whether ferjax can use it, and if not, why."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ferjax import hub
from ferjax.errors import FerjaxError, WeightFileError
from ferjax.keras.kinds import identify
from ferjax.keras.reader import KerasModel, load_whole
from ferjax.keras.weight_file import opened
from ferjax.problems import Problem, checked_path


@dataclass(frozen=True)
class Inspection:
    """What a file is; `model` is None where `problems` says why it cannot be used."""

    path: str
    kind: str | None
    keras_version: str | None
    model: KerasModel | None = None
    problems: list[str] = field(default_factory=list)
    has_one_output: bool = True  # or the one that was chosen


def inspect(
    path: str | os.PathLike[str],
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    architecture: str | None = None,
    *,
    output: str | int | None = None,
) -> Inspection:
    """Look into a file of any kind; an unusable one gives `problems` rather than an error.

    Of several `model.outputs` without a choice the model has all layers.

    Raises:
        WeightFileError: `path` is no path, or an address of a hub that gives no file.
    """
    path = checked_path(hub.local(path))
    kind = version = None
    try:
        kind = identify(path)
        with opened(path, kind) as file:
            version = file.keras_version()
    except Problem as problem:
        if kind is None:
            return Inspection(str(path), None, None, None, [str(problem)])
    try:
        model = load_whole(path, config, architecture, output=output, several=True)
    except WeightFileError as error:
        return Inspection(str(path), kind, version, None, error.problems)
    except FerjaxError as error:
        return Inspection(str(path), kind, version, None, [str(error)])
    has_one_output = output is not None or len(model.outputs) < 2
    return Inspection(str(path), kind, version, model, has_one_output=has_one_output)
