"""One layer's JSON -> Layer, of every Keras from 2.0 to 3.15.

Layers are looked up in the vocabulary by `class_name` alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ferjax.errors import LayerError, printable
from ferjax.keras.entries import MODELS, check_class, head, plain
from ferjax.nets.initializers import L1L2, SETTINGS, Initializer
from ferjax.nets.layers import (
    VOCABULARY,
    Add,
    Dropout,
    Layer,
    layer_class,
    snake_case,
)
from ferjax.nets.settings import real, setting
from ferjax.problems import Problem

_MOST_NESTING = 20  # of layers inside layers

# The layers that may be an activation.
_ACTIVATING = (
    *(kind for kind, known in VOCABULARY.items() if known.activates),
    "ThresholdedReLU",
)
# Names under which TensorFlow's Keras has written the same layers.
_ALIASES = {
    "ThresholdedReLU": "ReLU",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
}
# Keras's own classes beside the networks of `keras.applications`, and their settings. The last is
# registered as if it were a user's.
_APPLICATIONS = {
    "LayerScale": {"init_values", "projection_dim"},
    "StochasticDepth": {"drop_path_rate"},
    "CustomScaleLayer": {"scale"},
}
# Keys that say how a layer is trained, built or stored, not what it computes. What ferjax leaves
# out of them is noted if it is set.
_NOTED = {
    "activity_regularizer",
    "beta_constraint",
    "bias_constraint",
    "alpha_constraint",
    "depthwise_constraint",
    "gamma_constraint",
    "kernel_constraint",
    "pointwise_constraint",
    "lora_rank",
}
# Settings that would change the result, with the values under which they don't.
_REFUSED: dict[str, tuple[Any, ...]] = {
    "renorm": (None, False),
    "virtual_batch_size": (None,),
    "quantization_config": (None,),
    "adjustment": (None,),
    "return_state": (None, False),
    "stateful": (None, False),
    "time_major": (None, False),
}

_DEFAULT = object()


@dataclass(frozen=True, kw_only=True)
class ScaledAdd(Add):
    """Its first input plus `scale` times its second: InceptionResNetV2's CustomScaleLayer."""

    scale: float = setting(real)


class LayerReader:
    """Reads the layers of one file; what is left out goes to `notes`."""

    def __init__(self, keras_major: int, notes: list[str]) -> None:
        self.keras_major = keras_major
        self.notes = notes
        self.depth = 0  # of layers inside layers

    def layer(self, name: str, kind: str, config: Mapping[str, Any]) -> Layer:
        """Return the layer of a class with the settings in a config.

        Raises:
            LayerError: it is outside the vocabulary, or a setting is not supported.
        """
        if kind == "ThresholdedReLU":  # Keras 2's, of the setting "theta"
            config = {**config, "threshold": config.get("theta", 1.0)}
        kind = _ALIASES.get(kind, kind)
        if kind.rpartition(">")[2] in _APPLICATIONS:
            config = _settings_of_application(name, kind.rpartition(">")[2], config)
        if kind == "StochasticDepth":  # dropout of whole images
            rate = config.get("drop_path_rate")
            return Dropout(name=name, rate=rate, noise_shape=(None, 1, 1, 1))  # type: ignore[arg-type]
        if kind in ("CustomScaleLayer", "Custom>CustomScaleLayer"):
            return ScaledAdd(name=name, scale=config.get("scale"))  # type: ignore[arg-type]
        known = layer_class(kind, name)
        config = {key: plain(value) for key, value in config.items()}
        self.note_policy(name, config.get("dtype"))
        if kind == "RandomCrop" and self.keras_major >= 3:
            raise LayerError(
                f"layer {name!r} ({kind}): Keras 3 does not crop at inference; expected CenterCrop"
            )
        if kind == "GRU" and self.keras_major < 3:  # Keras 2.0 had no other and did not say so
            config.setdefault("reset_after", False)
        if kind == "LeakyReLU" and "alpha" in config:
            config["negative_slope"] = config["alpha"]
        fields = {f.name for f in dataclasses.fields(known)} - {"name"}
        given: dict[str, Any] = {}
        for key, value in config.items():
            if key in _REFUSED and value not in _REFUSED[key]:
                raise LayerError(f"layer {name!r} ({kind}): {key}={value!r} is not supported")
            if key in fields and not (key == "data_format" and value is None):
                try:
                    given[key] = self.value(name, key, value)
                except LayerError as error:
                    raise LayerError(f"layer {name!r} ({kind}): {key}: {error}") from None
            elif key in _NOTED and value is not None:
                self.notes.append(f"layer {name!r}: {key} is left out")
        if kind == "ActivityRegularization":
            self.notes.append(
                f"layer {name!r}: its penalty is left out, only training would use it"
            )
        given = {key: value for key, value in given.items() if value is not _DEFAULT}
        required = {f.name for f in dataclasses.fields(known) if f.default is dataclasses.MISSING}
        if not required <= given.keys():
            lacking = ", ".join(sorted(required - given.keys()))
            raise LayerError(f"layer {name!r} ({kind}): no {lacking} given")
        return known(name=name, **given)

    def value(self, name: str, key: str, value: Any) -> Any:
        """Return one setting as the layer takes it; `_DEFAULT` where it is left out."""
        if key.endswith("_initializer"):
            initializer = _initializer(value)
            if initializer is None:
                self.notes.append(f"layer {name!r}: {key} is left out, only training would use it")
                return _DEFAULT
            return initializer
        if key.endswith("_regularizer"):
            penalty = _regularizer(value)
            if penalty is _DEFAULT:
                self.notes.append(f"layer {name!r}: {key} is left out, only training would use it")
            return penalty
        if key in ("layer", "backward_layer") and isinstance(value, dict):
            return self.inner(value, "layer")
        if key.endswith("activation"):
            if isinstance(value, dict) and value.get("class_name") in _ACTIVATING:
                return self.inner(value, "activation")
            value = _activation(value)
            if value == "hard_sigmoid" and self.keras_major < 3:
                return "keras2_hard_sigmoid"
        return value

    def inner(self, entry: Mapping[str, Any], what: str) -> Layer:
        """Return the layer that is a setting of another."""
        if self.depth == _MOST_NESTING:
            raise LayerError(f"layers inside layers more than {_MOST_NESTING} deep")
        self.depth += 1
        try:
            name, kind, config = head(entry, what)
            check_class(entry, f"layer {name!r}")
            if kind in MODELS:
                raise LayerError(f"expected a single layer, got the {kind} model {name!r}")
            return self.layer(name, kind, config)
        except Problem as problem:
            raise LayerError(str(problem)) from None
        finally:
            self.depth -= 1

    def note_policy(self, name: str, dtype: Any) -> None:
        """Note, once, that ferjax computes in float32 where a layer asks for other types."""
        policy = dtype if isinstance(dtype, str) else None
        if isinstance(dtype, dict):
            inner = dtype.get("config")
            policy = inner.get("name") if isinstance(inner, dict) else None
        if isinstance(policy, str) and policy not in ("float32", "uint8"):
            note = f"computed in float32, where the file asks for {printable(policy, 40)}"
            if note not in self.notes:
                self.notes.append(note)


def _settings_of_application(name: str, kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of one of `_APPLICATIONS`; another class of the name has other settings."""
    expected = _APPLICATIONS[kind]
    given = config.keys() - {"name", "trainable", "dtype"}
    if given != expected:
        raise LayerError(
            f"layer {name!r} ({kind}): expected the settings {', '.join(sorted(expected))} of "
            f"Keras's class, got {printable(', '.join(sorted(map(str, given))), 100) or 'none'}"
        )
    return dict(config)


def _activation(value: Any) -> Any:
    if isinstance(value, dict):  # Keras 3: {"module": "builtins", "class_name": "function", ...}
        inner = value.get("config")
        if value.get("class_name") == "function" and isinstance(inner, str):
            return inner
        got = printable(repr(value), 80)
        raise LayerError(f"expected an activation by name or a layer such as LeakyReLU, got {got}")
    return value


_INITIALIZER_ALIASES = {
    "zero": "zeros",
    "one": "ones",
    "uniform": "random_uniform",
    "normal": "random_normal",
    "identity_initializer": "identity",
}
# What VarianceScaling is called where its settings are the well-known ones, as (scale, mode).
_SCHEMES = {(1.0, "fan_avg"): "glorot", (2.0, "fan_in"): "he", (1.0, "fan_in"): "lecun"}


def _initializer(value: Any) -> Initializer | None:
    """Return an initializer of the vocabulary, or None."""
    settings: Any = {}
    if isinstance(value, dict):
        value, settings = value.get("class_name"), value.get("config") or {}
    if not isinstance(value, str) or not isinstance(settings, dict):
        return None
    name = snake_case(value) if value != value.lower() else value
    name = _INITIALIZER_ALIASES.get(name, name)
    if name not in SETTINGS:
        return None
    kept = {k: settings[k] for k in SETTINGS[name] if k in settings}
    if kept.get("distribution") == "normal":  # Keras 2's name for it
        kept["distribution"] = "truncated_normal"
    try:
        initializer = Initializer(name, tuple(sorted(kept.items())))
    except LayerError:
        return None
    if name == "variance_scaling":
        scheme = _SCHEMES.get((float(kept.get("scale", 1.0)), str(kept.get("mode", "fan_in"))))
        kind = {"uniform": "uniform", "truncated_normal": "normal"}.get(
            str(kept.get("distribution", "truncated_normal"))
        )
        if scheme and kind:
            return Initializer(f"{scheme}_{kind}")
    return initializer


def _regularizer(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, dict) and isinstance(value.get("config"), dict):
        l1, l2 = (plain(value["config"].get(k, 0.0)) for k in ("l1", "l2"))
        known = value.get("class_name") in ("L1L2", "L1", "L2")
        with suppress(ValueError):
            if known:
                return L1L2(real(l1), real(l2))
    return _DEFAULT
