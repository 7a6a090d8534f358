"""How Keras writes the settings of a layer that are no plain JSON, each a pair of inverses.

A setting is told by the last word of its name: `kernel_initializer`, `recurrent_activation`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from ferjax.errors import LayerError, printable
from ferjax.keras.config_entries import plain
from ferjax.nets.initializers import L1L2, SCHEMES, SETTINGS, Initializer
from ferjax.nets.layers import snake_case
from ferjax.settings import real

LEFT_OUT = object()  # a setting that only training would use, and that ferjax does not know
# Under the name hard_sigmoid Keras 3 computes another function than Keras 1 and 2.
HARD_SIGMOIDS = {2: "keras2_hard_sigmoid", 3: "hard_sigmoid"}
# Names of initializers in Keras 1, and what TensorFlow's Keras has called them.
_INITIALIZER_ALIASES = {
    "zero": "zeros",
    "one": "ones",
    "uniform": "random_uniform",
    "normal": "random_normal",
    "identity_initializer": "identity",
}


class Form(NamedTuple):
    """How a config holds a setting.

    Attributes:
        read: returns the setting from the config's value and the major Keras version, or
            `LEFT_OUT`; raises LayerError.
        written: the inverse, for every Keras.
    """

    read: Callable[[Any, int], Any]
    written: Callable[[Any], Any]


def _read_activation(value: Any, keras_major: int) -> Any:
    if isinstance(value, dict):  # Keras 3: {"module": "builtins", "class_name": "function", ...}
        name = value.get("config")
        if value.get("class_name") != "function" or not isinstance(name, str):
            got = printable(repr(value), 80)
            raise LayerError(
                f"expected an activation by name or a layer such as LeakyReLU, got {got}"
            )
        value = name
    return HARD_SIGMOIDS[3 if keras_major >= 3 else 2] if value == "hard_sigmoid" else value


def _written_activation(activation: str) -> str:
    return "hard_sigmoid" if activation in HARD_SIGMOIDS.values() else activation


def _read_initializer(value: Any, keras_major: int) -> Any:
    settings: Any = {}
    if isinstance(value, dict):
        value, settings = value.get("class_name"), value.get("config") or {}
    if not isinstance(value, str) or not isinstance(settings, dict):
        return LEFT_OUT
    name = snake_case(value) if value != value.lower() else value
    name = _INITIALIZER_ALIASES.get(name, name)
    if name not in SETTINGS:
        return LEFT_OUT
    known_settings = {key: settings[key] for key in SETTINGS[name] if key in settings}
    if known_settings.get("distribution") == "normal":  # Keras 2's name for it
        known_settings["distribution"] = "truncated_normal"
    try:
        initializer = Initializer(name, tuple(sorted(known_settings.items())))
    except LayerError:
        return LEFT_OUT
    if name == "variance_scaling":
        all_settings = {**SETTINGS[name], **known_settings}
        names = (scheme for scheme, fixed in SCHEMES.items() if fixed == all_settings)
        return next(map(Initializer, names), initializer)
    return initializer


def _written_initializer(initializer: Initializer) -> Any:
    if not initializer.settings:
        return initializer.name
    kind = "".join(part.title() for part in initializer.name.split("_"))
    return {"class_name": kind, "config": dict(initializer.settings)}


def _read_regularizer(value: Any, keras_major: int) -> Any:
    if value is None:
        return None
    is_known = isinstance(value, dict) and value.get("class_name") in ("L1L2", "L1", "L2")
    if is_known and isinstance(config := value.get("config"), dict):
        with suppress(ValueError):
            return L1L2(*(real(plain(config.get(key, 0.0))) for key in ("l1", "l2")))
    return LEFT_OUT


def _written_regularizer(penalty: L1L2 | None) -> Any:
    return penalty and {"class_name": "L1L2", "config": dataclasses.asdict(penalty)}


def _written_plain(setting: Any) -> Any:
    return [_written_plain(item) for item in setting] if isinstance(setting, tuple) else setting


_FORMS = {
    "activation": Form(_read_activation, _written_activation),
    "initializer": Form(_read_initializer, _written_initializer),
    "regularizer": Form(_read_regularizer, _written_regularizer),
}
_PLAIN = Form(lambda value, keras_major: value, _written_plain)


def form_of(name: str) -> Form:
    """Return the form of the setting of a name."""
    return _FORMS.get(name.rpartition("_")[2], _PLAIN)
