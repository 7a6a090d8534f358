"""Adam's moments and step count, as every Keras stores them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np

from ferjax.errors import printable
from ferjax.keras import hdf5
from ferjax.keras.problems import Problem
from ferjax.nets.graph import Graph
from ferjax.nets.layers import Weight

_ADAMS = {"Adam": "Adam", "Custom>Adam": "Adam", "AdamW": "AdamW", "Custom>AdamW": "AdamW"}
_SETTINGS = {
    "learning_rate": 0.001,
    "beta_1": 0.9,
    "beta_2": 0.999,
    "epsilon": 1e-7,
}
# Settings of Keras that `OptimizerState` has no place for.
_LEFT_OUT = (
    "clipnorm",
    "global_clipnorm",
    "clipvalue",
    "gradient_accumulation_steps",
    "decay",
    "amsgrad",
    "use_ema",
)
_MOST_STEPS = 2**31 - 1  # Keras 3 counts in int32
Tree = dict[str, dict[str, np.ndarray]]


@dataclass(frozen=True)
class OptimizerState:
    """The state of Adam or AdamW.

    Attributes:
        name: "Adam" or "AdamW".
        step: the number of updates made.
        mu: the first moments, float32, {layer: {weight: array}} as in "params" without the
            layers that are not trainable.
        nu: the second moments, likewise.
        settings: learning_rate, beta_1, beta_2, epsilon, and weight_decay where there is one.
    """

    name: str
    step: int
    mu: Tree
    nu: Tree
    settings: dict[str, float] = field(default_factory=dict)


def optimizer_config(compiled: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Return (class name, config) from a `training_config` or a `compile_config`, or None."""
    entry = compiled.get("optimizer_config", compiled.get("optimizer"))
    if isinstance(entry, str):
        return entry, {}
    if not isinstance(entry, dict) or not isinstance(entry.get("class_name"), str):
        return None
    config = entry.get("config")
    return entry["class_name"], config if isinstance(config, dict) else {}


def _settings(config: Mapping[str, Any]) -> dict[str, float]:
    found = {}
    for key, default in {**_SETTINGS, "weight_decay": None}.items():
        value = config.get(key, config.get("lr") if key == "learning_rate" else None)
        if isinstance(value, dict) and isinstance(value.get("value"), float):
            value = value["value"]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not abs(value) < 1e30:  # NaN too
            value = default
        if value is not None:
            found[key] = float(value)
    return found


def left_out(optimizer: tuple[str, dict[str, Any]] | None, state: OptimizerState) -> list[str]:
    """Return a note for each setting of the file's optimizer that its state does not hold."""
    config = optimizer[1] if optimizer else {}
    notes = []
    schedule = config.get("learning_rate")
    if isinstance(schedule, dict) and isinstance(schedule.get("class_name"), str):
        kind, rate = printable(schedule["class_name"], 60), state.settings["learning_rate"]
        notes.append(f"optimizer: the schedule {kind} is left out, learning_rate is {rate:g}")
    for key in _LEFT_OUT:
        if (value := config.get(key)) not in (None, False, 0):
            notes.append(f"optimizer: {key}={printable(repr(value), 60)} is left out")
    return notes


def _name(optimizer: tuple[str, dict[str, Any]] | None) -> str:
    if optimizer is None:
        return "Adam"
    kind = optimizer[0]
    name = _ADAMS.get(kind) or _ADAMS.get(kind.capitalize())
    if name is None:
        shown = printable(kind.removeprefix("Custom>"), 60)
        raise Problem(f"the state of {shown!r} is not read, only that of Adam is")
    return name


def read_legacy(
    group: h5py.Group, graph: Graph, optimizer: tuple[str, dict[str, Any]] | None
) -> OptimizerState | None:
    """Return the state below `optimizer_weights`, or None where the optimizer made no step.

    The names tell what is what, in every version's style:
      2.15    iteration:0, Adam/m/conv2d/kernel:0, Adam/v/conv2d/kernel:0, ...
      TF 2.4  Adam/iter:0, Adam/conv2d/kernel/m:0, ..., Adam/conv2d/kernel/v:0, ...
      2.3     Adam/iterations:0, training/Adam/m_0:0, ..., training/Adam/v_0:0, ..., vhat_0:0, ...
      2.2     Adam/iterations:0, training/Adam/Variable:0, ... (all m, all v, placeholders)
      3       adam/iteration, adam/learning_rate, adam/conv2d_kernel_momentum, ..._velocity, ...
    """
    name = _name(optimizer)
    moments: dict[str, list[str]] = {"m": [], "v": [], "": []}
    step_name = None
    for path in hdf5.names(group, "weight_names") or []:
        parts = path.split(":")[0].split("/")
        if parts[-1] in ("iteration", "iter", "iterations"):
            step_name = path
        elif "m" in parts or re.fullmatch(r"m(_\d+)+|.*_momentum", parts[-1]):
            moments["m"].append(path)
        elif "v" in parts or re.fullmatch(r"v(_\d+)+|.*_velocity", parts[-1]):
            moments["v"].append(path)
        elif parts[-1].startswith("Variable"):
            moments[""].append(path)
    count = len(graph.trainable_weights())
    if moments[""]:
        moments = {"m": moments[""][:count], "v": moments[""][count : 2 * count]}
    if step_name is None:
        raise Problem("its step count is missing")
    step = _step(hdf5.child(group, step_name))
    if not moments["m"] and not moments["v"]:
        return None
    for which in ("m", "v"):
        if len(moments[which]) != count:
            raise Problem(f"expected {count} moments {which!r}, got {len(moments[which])}")
    mu, nu = (
        _trees(graph, [hdf5.child(group, path) for path in moments[which]]) for which in ("m", "v")
    )
    return OptimizerState(name, step, mu, nu, _settings(optimizer[1] if optimizer else {}))


def read_v3(
    root: h5py.Group, graph: Graph, optimizer: tuple[str, dict[str, Any]] | None
) -> OptimizerState | None:
    """Return the state below `optimizer/vars`: iteration, Keras 3's rate, then m, v, m, v, ..."""
    stored = hdf5.subgroup(root, "optimizer/vars") if hdf5.exists(root, "optimizer") else None
    if stored is None or not (found := hdf5.count(stored)):
        return None
    name = _name(optimizer)
    count = len(graph.trainable_weights())
    first = found - 2 * count
    if first not in (1, 2):
        raise Problem(f"expected {2 * count + 1} or {2 * count + 2} arrays for Adam, got {found}")
    step = _step(hdf5.child(stored, "0"))
    datasets = [hdf5.child(stored, str(first + i)) for i in range(2 * count)]
    mu, nu = _trees(graph, datasets[::2]), _trees(graph, datasets[1::2])
    settings = _settings(optimizer[1] if optimizer else {})
    if first == 2:
        rate = hdf5.read_array(hdf5.child(stored, "1"), ())
        if np.float32(settings["learning_rate"]) != rate:  # which it is but for rounding
            settings["learning_rate"] = float(rate)
    return OptimizerState(name, step, mu, nu, settings)


def _step(dataset: Any) -> int:
    if hdf5.described(dataset)[1] == "f":  # Keras 2.0 and 2.1
        step = float(hdf5.read_array(dataset, ()))
    else:
        step = float(hdf5.read_array(dataset, (), "int64"))
    if not 0 <= step <= _MOST_STEPS or step != int(step):
        raise Problem(f"expected a step count, got {step:g}")
    return int(step)


def _trees(graph: Graph, datasets: list[Any]) -> Tree:
    tree: Tree = {}
    for (layer, weight), dataset in zip(graph.trainable_weights(), datasets):
        try:
            tree.setdefault(layer, {})[weight.name] = hdf5.read_array(dataset, weight.shape)
        except Problem as problem:
            raise Problem(
                f"layer {layer!r}: moment of {weight.keras_names[0]}: {problem}"
            ) from None
    return tree


# --- writing -----------------------------------------------------------------------------------


def flat_moments(graph: Graph, state: OptimizerState) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return (path, m, v) of every trainable weight, checked, in Keras's order."""

    def moment(which: str, tree: Tree, layer: str, weight: Weight) -> np.ndarray:
        array = np.asarray(tree.get(layer, {}).get(weight.name, ()), "<f4")
        if array.shape != weight.shape:
            raise Problem(
                f"optimizer state: layer {layer!r}: {which} of {weight.name}: "
                f"expected shape {weight.shape}, got {array.shape}"
            )
        return array

    return [
        (
            f"{layer}/{weight.keras_names[0]}",
            moment("mu", state.mu, layer, weight),
            moment("nu", state.nu, layer, weight),
        )
        for layer, weight in graph.trainable_weights()
    ]


def training_config(state: OptimizerState, *, keras_3: bool) -> dict[str, Any]:
    """Return what `load_model` compiles from; the loss is the one for one-hot labels."""
    settings: dict[str, Any] = {**_SETTINGS, **state.settings, "amsgrad": False}
    if keras_3:
        optimizer = {
            "module": "keras.optimizers",
            "class_name": state.name,
            "config": {"name": state.name.lower(), **settings},
            "registered_name": None,
        }
        return {
            "optimizer": optimizer,
            "loss": "categorical_crossentropy",
            "loss_weights": None,
            "metrics": ["accuracy"],
            "weighted_metrics": None,
            "run_eagerly": False,
            "steps_per_execution": 1,
            "jit_compile": False,
        }
    config = {"name": state.name, "jit_compile": False, **settings}
    return {
        "loss": "categorical_crossentropy",
        "metrics": ["accuracy"],
        "weighted_metrics": None,
        "loss_weights": None,
        "optimizer_config": {"class_name": f"Custom>{state.name}", "config": config},
    }


def legacy_arrays(graph: Graph, state: OptimizerState) -> dict[str, np.ndarray]:
    """Return the arrays of Keras 2.15's Adam by name, in its order: m and v of each weight."""
    arrays = {"iteration:0": np.asarray(state.step, np.int64)}
    for path, m, v in flat_moments(graph, state):
        arrays[f"{state.name}/m/{path}:0"] = m
        arrays[f"{state.name}/v/{path}:0"] = v
    return arrays


def write_v3(root: h5py.Group, graph: Graph, state: OptimizerState) -> None:
    """Write `optimizer/vars` as Keras 3 does."""
    stored = root.create_group("optimizer/vars")
    rate = state.settings.get("learning_rate", _SETTINGS["learning_rate"])
    arrays: list[Any] = [np.asarray(state.step, np.int32), np.asarray(rate, np.float32)]
    for _, m, v in flat_moments(graph, state):
        arrays += [m, v]
    for position, array in enumerate(arrays):
        stored.create_dataset(str(position), data=array)
