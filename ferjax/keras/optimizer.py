"""Adam's moments and step count, as every Keras stores them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import h5py
import numpy as np

from ferjax.errors import printable
from ferjax.keras import hdf5
from ferjax.keras.config_entries import is_of_keras, qualified
from ferjax.nets.graph import Graph
from ferjax.nets.layers import Weight
from ferjax.problems import Problem

# The classes whose state is read and written, and what Keras 3 calls their objects and arrays.
_OBJECT_NAMES = {"Adam": "adam", "AdamW": "adam_w"}
# The same by all names that configs, objects and arrays have.
_ADAMS = {"adamw": "AdamW", **{alias: k for k, v in _OBJECT_NAMES.items() for alias in (k, v)}}
# Keras 2.11 to 2.15 register their own as if they were a user's.
_REGISTERED = "Custom>"
_V3_GROUP = "optimizer/vars"
_WRAPPER = "LossScaleOptimizer"  # also LossScaleOptimizerV1 and V3
_SETTINGS = {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
_WEIGHT_DECAY = 0.004  # AdamW's, where nothing is said
# Settings that `OptimizerState` has, that change nothing in it, or that only say how Keras runs.
_TAKEN = {
    *_SETTINGS,
    *"amsgrad ema_momentum ema_overwrite_frequency is_legacy_optimizer jit_compile".split(),
    *"lr name weight_decay".split(),
}
_MOST_NOTES = 20
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


@dataclass(frozen=True)
class Described:
    """What a file, or the config given with it, says of the optimizer.

    Attributes:
        kind: the class as Keras names it; of a class that is not Keras's, with its package.
        config: the settings, unchecked; None where only the name is known.
        is_scaled: whether a LossScaleOptimizer, as mixed precision has, is around it.
    """

    kind: str
    config: Mapping[str, Any] | None = None
    is_scaled: bool = False

    @property
    def name(self) -> str | None:
        """ "Adam" or "AdamW" if it is one of these; Adam that decays weights is an AdamW."""
        name = _ADAMS.get(self.kind)
        decays = bool(_number((self.config or {}).get("weight_decay")))
        return "AdamW" if name == "Adam" and decays else name

    @property
    def settings(self) -> dict[str, float]:
        """learning_rate, beta_1, beta_2, epsilon, and weight_decay of an AdamW."""
        defaults = _defaults(self.name)
        values = {key: _number(_stated(self.config or {}, key)) for key in defaults}
        return {k: default if (v := values[k]) is None else v for k, default in defaults.items()}

    @property
    def is_amsgrad(self) -> bool:
        return bool((self.config or {}).get("amsgrad"))

    @property
    def accumulated(self) -> int:
        """Of how many batches Keras adds up the gradients before it makes a step."""
        steps = (self.config or {}).get("gradient_accumulation_steps")
        return steps if isinstance(steps, int) and 1 < steps < _MOST_STEPS else 1

    @property
    def averages(self) -> int:
        """How many arrays each weight has beside its moments, in front of them."""
        return bool((self.config or {}).get("use_ema")) + (self.accumulated > 1)


def _defaults(name: str | None) -> dict[str, float]:
    return {**_SETTINGS, **({"weight_decay": _WEIGHT_DECAY} if name == "AdamW" else {})}


def described(compiled: Mapping[str, Any]) -> Described | None:
    """Return what a `training_config` or `compile_config` says of the optimizer, or None."""
    entry = compiled.get("optimizer_config", compiled.get("optimizer"))
    is_scaled = False
    for _ in range(3):  # a wrapper of a wrapper at most
        if isinstance(entry, str):
            return Described(entry, {}, is_scaled)
        if not isinstance(entry, dict) or not isinstance(entry.get("class_name"), str):
            return None
        kind = _qualified(entry)
        config = entry.get("config")
        config = config if isinstance(config, dict) else {}
        if not kind.startswith(_WRAPPER):
            return Described(kind, config, is_scaled)
        entry = config.get("inner_optimizer", config.get("optimizer"))
        is_scaled = True
    return None


def _qualified(entry: Mapping[str, Any]) -> str:
    """Return the class, with its package in front where it is not Keras's."""
    kind, module, registered = (entry.get(k) for k in ("class_name", "module", "registered_name"))
    kind = str(kind).removeprefix(_REGISTERED)
    return kind if is_of_keras(kind, module, registered) else qualified(kind, module, registered)


def _stated(config: Mapping[str, Any], key: str) -> Any:
    return config.get(key, config.get("lr") if key == "learning_rate" else None)


def _number(value: Any) -> float | None:
    if isinstance(value, dict) and isinstance(value.get("value"), float):
        value = value["value"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e30 else None  # NaN too is refused


def left_out(optimizer: Described, state: OptimizerState) -> list[str]:
    """Return a note for each setting of the file's optimizer that its state does not hold."""
    settings, notes = state.settings, []
    if optimizer.is_scaled:
        notes.append("the loss scale of its LossScaleOptimizer is left out")
    if optimizer.config is None:
        taken = ", ".join(f"{key}={value:g}" for key, value in settings.items())
        if "weight_decay" not in settings:
            taken += ", no weight decay"
        notes.append(
            f"the file names {state.name}, but not its settings: {taken} are taken; give what has "
            "them as config (--config)"
        )
    if state.name != _ADAMS[optimizer.kind]:
        notes.append(
            f"{_ADAMS[optimizer.kind]} with weight_decay={settings['weight_decay']:g} is "
            f"{state.name}"
        )
    for key, value in (optimizer.config or {}).items():
        taken = "learning_rate" if key == "lr" else key
        if value in (None, False, 0):
            continue
        if taken in settings and _number(value) is None:
            setting = f"{key}={_shown(value)}"
            if isinstance(value, dict) and isinstance(value.get("class_name"), str):
                setting = f"the schedule {printable(value['class_name'], 60)}"
            notes.append(f"{setting} is left out, {taken} is {settings[taken]:g}")
        elif key not in _TAKEN or (key == "weight_decay" and key not in settings):
            notes.append(f"{printable(key, 60)}={_shown(value)} is left out")
    return [f"optimizer: {note}" for note in notes[:_MOST_NOTES]]


def _shown(value: Any) -> str:
    try:
        return printable(repr(value), 60)
    except RecursionError:
        return "..."


def _checked(optimizer: Described | None, called: str | None) -> Described:
    """Return the optimizer whose moments the arrays are; refuse it unless it is Adam.

    Args:
        optimizer: what is known of it, or None.
        called: the name that its arrays go by, or None. It is its class in snake case, with a
            number where there were several, unless somebody gave another.

    Raises:
        Problem: it is another, or nothing says which it is.
    """
    stem = None if called is None else re.sub(r"_\d+$", "", called)
    shown = printable(repr(called), 60)
    if optimizer is None:
        if called is None:
            raise Problem(
                "nothing in the file says which optimizer it is of; give what does as config "
                "(--config), such as the whole model or a model.json of the compiled model"
            )
        if stem not in _ADAMS:
            raise Problem(
                f"it is of an optimizer called {shown}, only that of Adam and AdamW is read; if it "
                "is of these, give what says so as config (--config)"
            )
        return Described(_ADAMS[stem])
    if optimizer.name is None:
        kind = printable(optimizer.kind, 60)
        raise Problem(f"the state of {kind!r} is not read, only that of Adam and AdamW is")
    if optimizer.is_amsgrad:
        raise Problem("the state of Adam with amsgrad=True is not read, only without it")
    is_named_so = called == (optimizer.config or {}).get("name")
    is_told = is_named_so or _ADAMS.get(str(stem)) == _ADAMS[optimizer.kind]
    if called is not None and not is_told:
        raise Problem(f"the config says {optimizer.kind}, but the file that it is of {shown}")
    return optimizer


def read_legacy(
    group: h5py.Group, graph: Graph, optimizer: Described | None
) -> tuple[OptimizerState, Described] | None:
    """Return the state below `optimizer_weights`, or None where the optimizer made no step.

    The names tell what is what, in every version's style:
      2.15    iteration:0, Adam/m/conv2d/kernel:0, Adam/v/conv2d/kernel:0, ...
      TF 2.4  Adam/iter:0, Adam/conv2d/kernel/m:0, ..., Adam/conv2d/kernel/v:0, ...
      2.3     Adam/iterations:0, training/Adam/m_0:0, ..., training/Adam/v_0:0, ..., vhat_0:0, ...
      2.2     Adam/iterations:0, training/Adam/Variable:0, ... (all m, all v, placeholders)
      3       adam/iteration, adam/learning_rate, adam/conv2d_kernel_momentum, ..._velocity, ...

    Raises:
        Problem: it is not Adam's, nothing says whose it is, or it does not fit the network.
    """
    paths = hdf5.names(group, "weight_names") or []
    if not paths:
        return None
    adam = _checked(optimizer, _prefix(paths) if optimizer is None else None)
    count = len(graph.trainable_weights())
    listed = _by_content(paths, count)
    if not listed["step"]:
        raise Problem("its step count is missing")
    if not listed["m"] and not listed["v"]:
        return None
    for moment in ("m", "v"):
        if len(listed[moment]) != count:
            raise Problem(f"expected {count} moments {moment!r}, got {len(listed[moment])}")
    if adam.config is None and listed["other"]:
        raise Problem(_ambiguous(adam, len(paths)))
    # A LossScaleOptimizer counts its own, which Keras 3 lists first.
    step, *rate = (hdf5.child(group, p) for p in (listed["step"][-1], *listed["rate"][-1:]))
    moments = [[hdf5.child(group, path) for path in listed[moment]] for moment in ("m", "v")]
    return _state(graph, adam, step, rate, *moments), adam


def _by_content(paths: list[str], count: int) -> defaultdict[str, list[str]]:
    """Return the paths of arrays of an optimizer of `count` weights by what the arrays are."""
    listed: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        listed[_content(path.split(":")[0].split("/"))].append(path)
    if unnamed := listed["m or v"]:
        listed |= {"m": unnamed[:count], "v": unnamed[count : 2 * count]}
    return listed


def _content(parts: list[str]) -> str:
    """Return what an array is by its path: its step count, rate or moment."""
    last = parts[-1]
    if last in ("iteration", "iter", "iterations"):
        return "step"
    if last == "learning_rate":
        return "rate"
    for moment, keras_3 in (("m", "momentum"), ("v", "velocity")):
        if moment in parts or re.fullmatch(rf"{moment}(_\d+)+|.*_{keras_3}", last):
            return moment
    return "m or v" if last.startswith("Variable") else "other"


def _prefix(paths: list[str]) -> str | None:
    """Return the optimizer's name, in front of the names of its arrays, where they have it."""
    starts = {path.removeprefix("training/").split("/")[0] for path in paths if "/" in path}
    return starts.pop() if len(starts) == 1 else None


def read_v3(
    root: h5py.Group, graph: Graph, optimizer: Described | None
) -> tuple[OptimizerState, Described] | None:
    """Return the state below `optimizer/vars`: iteration, Keras 3's rate, then m, v, m, v, ...

    In front of the moments stand averages of the weights and sums of gradients, where Keras keeps
    them. Below `optimizer/inner_optimizer` is what a LossScaleOptimizer is around.

    Raises:
        Problem: it is not Adam's, nothing says whose it is, or it does not fit the network.
    """
    stored = hdf5.subgroup(root, _V3_GROUP) if hdf5.exists(root, "optimizer") else None
    if is_scaled := hdf5.exists(root, "optimizer/inner_optimizer"):
        stored = hdf5.subgroup(root, "optimizer/inner_optimizer/vars")
    if stored is None or not (total := hdf5.count(stored)):
        return None
    adam = _checked(optimizer, hdf5.text(stored, "name"))
    if is_scaled:
        adam = replace(adam, is_scaled=True)
    count = len(graph.trainable_weights())
    if total <= 2 and count:
        return None  # compiled, but never trained
    first = total - 2 * count
    beside = adam.averages * count
    if first - beside not in (1, 2):
        if adam.config is None and first - count in (1, 2):
            raise Problem(_ambiguous(adam, total))
        least = 2 * count + beside + 1
        raise Problem(f"expected {least} or {least + 1} arrays for {adam.name}, got {total}")
    step, *rate = (hdf5.child(stored, str(i)) for i in range(first - beside))
    moments = [hdf5.child(stored, str(first + i)) for i in range(2 * count)]
    return _state(graph, adam, step, rate, moments[::2], moments[1::2]), adam


def _ambiguous(adam: Described, total: int) -> str:
    return (
        f"{total} arrays of {adam.name}, more than its moments, and nothing in the file says "
        "whether of amsgrad, use_ema or gradient_accumulation_steps; give what does as config "
        "(--config)"
    )


def _state(
    graph: Graph, adam: Described, step: Any, rate: list[Any], m: list[Any], v: list[Any]
) -> OptimizerState:
    """Return the state in datasets; of the learning rate there may be none."""
    settings = adam.settings
    count = _step(step, adam)
    mu, nu = _trees(graph, m), _trees(graph, v, least=0.0)
    for dataset in rate:
        stored = hdf5.read_array(dataset, ())
        if np.float32(settings["learning_rate"]) != stored:  # which it is but for rounding
            settings["learning_rate"] = float(stored)
    return OptimizerState(str(adam.name), count, mu, nu, settings)


def _step(dataset: Any, optimizer: Described) -> int:
    if hdf5.described(dataset)[1] == "f":  # Keras 2.0 and 2.1
        step = float(hdf5.read_array(dataset, ()))
    else:
        step = float(hdf5.read_array(dataset, (), "int64"))
    if not 0 <= step <= _MOST_STEPS or step != int(step):
        raise Problem(f"expected a step count, got {step:g}")
    return int(step) // optimizer.accumulated


def _trees(graph: Graph, datasets: list[Any], least: float | None = None) -> Tree:
    tree: Tree = {}
    for (layer, weight), dataset in zip(graph.trainable_weights(), datasets):
        try:
            array = hdf5.read_array(dataset, weight.shape)
            if least is not None and array.size and array.min() < least:
                raise Problem(f"expected squares, as Adam's are, got {array.min():g}")
        except Problem as problem:
            raise Problem(
                f"layer {layer!r}: moment of {weight.keras_names[0]}: {problem}"
            ) from None
        tree.setdefault(layer, {})[weight.name] = array
    return tree


# --- writing -----------------------------------------------------------------------------------


def flat_moments(graph: Graph, state: OptimizerState) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return (path, m, v) of every trainable weight, checked, in Keras's order."""
    if state.name not in _OBJECT_NAMES:
        shown = printable(repr(state.name), 60)
        raise Problem(f"optimizer state: expected the name 'Adam' or 'AdamW', got {shown}")

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
            f"{layer}/{weight.keras_path}",
            moment("mu", state.mu, layer, weight),
            moment("nu", state.nu, layer, weight),
        )
        for layer, weight in graph.trainable_weights()
    ]


def training_config(state: OptimizerState, *, keras_3: bool) -> dict[str, Any]:
    """Return what `load_model` compiles from; the loss is the one for one-hot labels."""
    settings = {**_defaults(state.name), **state.settings, "amsgrad": False}
    compiled = {
        "loss": "categorical_crossentropy",
        "metrics": ["accuracy"],
        "weighted_metrics": None,
        "loss_weights": None,
    }
    if keras_3:
        optimizer = {
            "module": "keras.optimizers",
            "class_name": state.name,
            "config": {"name": _OBJECT_NAMES[state.name], **settings},
            "registered_name": None,
        }
        how_run = {"run_eagerly": False, "steps_per_execution": 1, "jit_compile": False}
        return {"optimizer": optimizer, **compiled, **how_run}
    config = {"name": state.name, "jit_compile": False, **settings}
    optimizer = {"class_name": f"{_REGISTERED}{state.name}", "config": config}
    return {**compiled, "optimizer_config": optimizer}


def legacy_arrays(graph: Graph, state: OptimizerState) -> dict[str, np.ndarray]:
    """Return the arrays of Keras 2.15's Adam by name, in its order: m and v of each weight."""
    arrays = {"iteration:0": np.asarray(state.step, np.int64)}
    for path, m, v in flat_moments(graph, state):
        arrays[f"{state.name}/m/{path}:0"] = m
        arrays[f"{state.name}/v/{path}:0"] = v
    return arrays


def write_v3(root: h5py.Group, graph: Graph, state: OptimizerState) -> None:
    """Write `optimizer/vars` as Keras 3 does."""
    stored = root.create_group(_V3_GROUP)
    stored.attrs["name"] = np.bytes_(_OBJECT_NAMES[state.name])
    rate = state.settings.get("learning_rate", _SETTINGS["learning_rate"])
    arrays: list[Any] = [np.asarray(state.step, np.int32), np.asarray(rate, np.float32)]
    for _, m, v in flat_moments(graph, state):
        arrays += [m, v]
    for position, array in enumerate(arrays):
        stored.create_dataset(str(position), data=array)
