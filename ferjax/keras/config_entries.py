"""One entry of a model's JSON: its name, its class and its config, and whether it is an operation.

What a config says of modules and registered names is never imported; it only tells classes that are
named like Keras's from Keras's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ferjax.errors import printable
from ferjax.nets.layers import VOCABULARY
from ferjax.problems import Problem

MODELS = ("Sequential", "Functional", "Model")
# The packages in which Keras has been.
_KERAS = {"keras", "keras_core", "tensorflow", "tf_keras"}
# Keras 2's classes of operators and functions on tensors, and the modules of Keras 3's.
KERAS_2_OPERATIONS = frozenset({"TFOpLambda", "SlicingOpLambda"})
_KERAS_3_MODULES = re.compile(r"keras(_core)?\.(src\.)?ops(\.\w+)*")


def head(entry: Any, role: str) -> tuple[str, str, Any]:
    """Return (name, class, config) of JSON in the role of a "layer", a "model" or another."""
    if not isinstance(entry, dict) or not isinstance(entry.get("class_name"), str):
        raise Problem(f"{role} without a class_name: {printable(repr(entry), 80)}")
    kind, config = entry["class_name"], entry.get("config")
    if kind == "Sequential" and isinstance(config, list):  # Keras 2.0 and 2.1
        name = entry.get("name", "sequential")
    elif isinstance(config, dict):
        name = config.get("name", entry.get("name", kind.lower()))
    else:
        raise Problem(f"{role} {printable(kind, 80)!r} without a config")
    if role == "model" and kind not in MODELS:
        raise Problem(f"expected a Sequential or functional model, got {printable(kind, 80)!r}")
    if not isinstance(name, str) or not name or len(name) > 1000:
        raise Problem(f"{role} of class {printable(kind, 80)!r} without a usable name")
    return name, kind, config


def entries_of(kind: str, inner: Any) -> list[Any]:
    """Return the layers' JSON in a model's config, of which Keras 2.0 and 2.1 have the list alone.

    Raises:
        Problem: there are none.
    """
    layers = inner if isinstance(inner, list) else inner.get("layers")
    if not isinstance(layers, list) or not layers:
        raise Problem(f"a {kind} model without layers")
    return layers


def is_operation(entry: Mapping[str, Any]) -> bool:
    """Whether a layer's JSON is an operator or a function on tensors."""
    module, kind = entry.get("module"), entry.get("class_name")
    if kind in KERAS_2_OPERATIONS:
        return True
    if isinstance(module, str):
        return len(module) < 100 and bool(_KERAS_3_MODULES.fullmatch(module))
    # An .h5 of Keras 3 leaves modules out; but layers say whether they are trainable.
    config, nodes = entry.get("config"), entry.get("inbound_nodes")
    if module is not None or not isinstance(config, dict) or "trainable" in config:
        return False
    if not (isinstance(nodes, list) and nodes and all(isinstance(node, dict) for node in nodes)):
        return False
    if kind not in VOCABULARY:
        return True
    from ferjax.keras.operation_table import BY_CLASS  # most models need none of it

    return kind in BY_CLASS  # a few functions are kept as the layer of that name


def check_class(entry: Mapping[str, Any], place: str) -> None:
    """Refuse a class that is somebody's own, whatever its name: nothing says what it computes."""
    kind, module, registered = (entry.get(k) for k in ("class_name", "module", "registered_name"))
    if isinstance(kind, str) and ">" in kind:  # in an .h5: what it is registered as
        kind, registered = kind.rpartition(">")[2], kind
    scales = kind == "CustomScaleLayer" and registered == "Custom>CustomScaleLayer"
    if (scales and (module is None or _in_keras(module))) or is_of_keras(kind, module, registered):
        return
    why = "whose code the file does not hold"
    advice = "replace it by Keras's own layers and save the model again"
    if kind in VOCABULARY or kind in MODELS:
        raise Problem(
            f"{place}: expected Keras's {kind}, got a class of the same name, "
            f"{printable(qualified(kind, module, registered), 80)!r}, {why}; {advice}"
        )
    package = str(registered).rpartition(">")[0]
    stated = {"registered as": registered, "package": package or None, "module": module}
    origin = [f"{k} {printable(str(v), 80)!r}" for k, v in stated.items() if v is not None]
    raise Problem(
        f"{place}: {printable(str(kind), 80)!r} is a custom class ({', '.join(origin)}), {why} and "
        f"which ferjax cannot compute; {advice}"
    )


def is_of_keras(kind: Any, module: Any, registered: Any) -> bool:
    """Whether a class is Keras's own, by its module and the name that it is registered under."""
    # Keras registers some of its own, under their names; older files have no modules.
    if module is None:
        return registered is None
    return _in_keras(module) and registered in (None, kind)


def _in_keras(module: Any) -> bool:
    return isinstance(module, str) and module.split(".")[0] in _KERAS


def qualified(kind: Any, module: Any, registered: Any) -> str:
    """Return the name of a class that is not Keras's, with its package or module in front."""
    return str(registered) if registered not in (None, kind) else f"{module or 'custom'}.{kind}"


def plain(value: Any) -> Any:
    """Unwrap numbers and tuples that Keras stored with their Python types."""
    if isinstance(value, dict):
        if set(value) == {"type", "value"}:
            return value["value"]
        if value.get("class_name") == "__tuple__" and isinstance(value.get("items"), list):
            return value["items"]
        if value.get("class_name") == "__numpy__" and isinstance(value.get("config"), dict):
            return value["config"].get("value")
    return value
