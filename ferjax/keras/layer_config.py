"""One layer's JSON <-> Layer, read of every Keras from 2.0 to 3.15, written for all of them.

Layers are looked up in the vocabulary by `class_name` alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Set
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, cast

from ferjax._lazy import LazyModule
from ferjax.errors import LayerError, printable
from ferjax.frozen import frozen
from ferjax.keras.config_entries import MODELS, check_class, head, plain
from ferjax.keras.setting_forms import LEFT_OUT, form_of
from ferjax.nets.layers import VOCABULARY, Dropout, InputLayer, Layer, Shape, layer_class
from ferjax.problems import Problem
from ferjax.settings import real, setting

if TYPE_CHECKING:
    from ferjax.keras import operations
    from ferjax.nets.layers import Operation
else:  # most models have none
    operations = LazyModule("ferjax.keras.operations")

_MOST_NESTING = 20  # of layers inside layers

# --- what configs call things, in both directions ---

# Names under which TensorFlow's Keras has written the same layers.
_ALIASES = {
    "ThresholdedReLU": "ReLU",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
}
# What Keras 2 calls settings, and Keras 3 reads too.
_KEYS = {"LeakyReLU": {"negative_slope": "alpha"}, "ThresholdedReLU": {"threshold": "theta"}}
# The shape of the input with the batch's axis, in Keras 3 and in Keras 2, which Keras 3 reads too.
_BATCH_SHAPES = ("batch_shape", "batch_input_shape")
# What every layer's config has beside its settings.
_OF_EVERY_LAYER = {"name", "trainable", "dtype"}
# Keras's own classes beside the networks of `keras.applications`, and their settings. The last is
# registered as if it were a user's.
_APPLICATIONS = {
    "LayerScale": {"init_values", "projection_dim"},
    "StochasticDepth": {"drop_path_rate"},
    "CustomScaleLayer": {"scale"},
}
# Where Keras 3 finds a class; files of Keras 2 have no modules.
_MODULES = {"LayerScale": "keras.src.applications.convnext"}


# --- reading ---

# Keys that say how a layer is trained, built or stored, not what it computes. What ferjax leaves
# out of them is noted if it is set.
_CONSTRAINED = "alpha beta bias depthwise gamma kernel pointwise".split()
_NOTED = {"activity_regularizer", "lora_rank", *(f"{name}_constraint" for name in _CONSTRAINED)}
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


@frozen
class ScaledAdd(Layer):
    """Its first input plus `scale` times its second: InceptionResNetV2's CustomScaleLayer.

    `flattening` puts a Rescaling and an Add in its place.
    """

    merges: ClassVar[bool] = True

    scale: float = setting(real)


def _activates(kind: Any) -> bool:
    """Whether layers of a class may be an activation."""
    kind = _ALIASES.get(kind, kind) if isinstance(kind, str) else None
    return kind in VOCABULARY and VOCABULARY[kind].activates


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
        kind = kind.rpartition(">")[2]  # behind the package, where Keras's own has one
        if kind in _APPLICATIONS:
            _check_application(name, kind, config)
        if kind == "StochasticDepth":  # dropout of whole images
            rate: Any = config.get("drop_path_rate")
            return Dropout(name=name, rate=rate, noise_shape=(None, 1, 1, 1))
        if kind == "CustomScaleLayer":
            scale: Any = config.get("scale")
            return ScaledAdd(name=name, scale=scale)
        config = self.settings(kind, config)
        kind = _ALIASES.get(kind, kind)
        layer_type = layer_class(kind, name)
        fields, required = _settings_of(layer_type)  # type: ignore[arg-type]
        self.note_policy(name, config.get("dtype"))
        self.check(name, kind, config)
        settings = self.values(name, kind, config, fields)
        if not required <= settings.keys():
            lacking = ", ".join(sorted(required - settings.keys()))
            raise LayerError(f"layer {name!r} ({kind}): no {lacking} given")
        return layer_type(name=name, **settings)

    def settings(self, kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return a config with what Keras 2 leaves out, and under the names that settings have."""
        config = {key: plain(value) for key, value in config.items()}
        if kind == "ThresholdedReLU":
            config.setdefault("theta", 1.0)
        if kind == "GRU" and self.keras_major < 3:  # Keras 2.0 had no other and did not say so
            config.setdefault("reset_after", False)
        renamed = {new: key for new, key in _KEYS.get(kind, {}).items() if key in config}
        return config | {new: config[key] for new, key in renamed.items()}

    def values(
        self, name: str, kind: str, config: Mapping[str, Any], fields: Set[str]
    ) -> dict[str, Any]:
        """Return the settings that are given; what is left out is noted."""
        settings: dict[str, Any] = {}
        for key, value in config.items():
            if key in fields and not (key == "data_format" and value is None):
                try:
                    settings[key] = self.value(key, value)
                except LayerError as error:
                    raise LayerError(f"layer {name!r} ({kind}): {key}: {error}") from None
                if settings[key] is LEFT_OUT:
                    del settings[key]
                    self.notes.append(
                        f"layer {name!r}: {key} is left out, only training would use it"
                    )
            elif key in _NOTED and value is not None:
                self.notes.append(f"layer {name!r}: {key} is left out")
        if kind == "ActivityRegularization":
            self.notes.append(
                f"layer {name!r}: its penalty is left out, only training would use it"
            )
        return settings

    def value(self, key: str, value: Any) -> Any:
        """Return one setting as the layer takes it, or `LEFT_OUT`."""
        if isinstance(value, dict):
            if key in ("layer", "backward_layer"):
                return self.inner(value, "layer")
            if key.endswith("activation") and _activates(value.get("class_name")):
                return self.inner(value, "activation")
        return form_of(key).read(value, self.keras_major)

    def inner(self, entry: Mapping[str, Any], role: str) -> Layer:
        """Return the layer that is a setting of another."""
        if self.depth == _MOST_NESTING:
            raise LayerError(f"layers inside layers more than {_MOST_NESTING} deep")
        self.depth += 1
        try:
            name, kind, config = head(entry, role)
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

    def check(self, name: str, kind: str, config: Mapping[str, Any]) -> None:
        """Refuse what would compute something else."""
        if kind == "RandomCrop" and self.keras_major >= 3:
            raise LayerError(
                f"layer {name!r} ({kind}): Keras 3 does not crop at inference; expected CenterCrop"
            )
        for key, harmless in _REFUSED.items():
            if key in config and config[key] not in harmless:
                raise LayerError(f"layer {name!r} ({kind}): {key}={config[key]!r} is not supported")


@lru_cache(maxsize=256)  # by kind: there are layers by the thousand
def _settings_of(kind: type[Layer]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the settings that a layer takes besides its name, and those that it must be given."""
    fields = dataclasses.fields(kind)
    required = frozenset(f.name for f in fields if f.default is dataclasses.MISSING)
    return frozenset(f.name for f in fields) - {"name"}, required


def _check_application(name: str, kind: str, config: Mapping[str, Any]) -> None:
    """Refuse another class of the name of one of `_APPLICATIONS`, which has other settings."""
    keys, expected = config.keys() - _OF_EVERY_LAYER, _APPLICATIONS[kind]
    if keys != expected:
        raise LayerError(
            f"layer {name!r} ({kind}): expected the settings {', '.join(sorted(expected))} of "
            f"Keras's class, got {printable(', '.join(sorted(map(str, keys))), 100) or 'none'}"
        )


def input_shape(config: Mapping[str, Any], name: str) -> Shape | None:
    """Return the shape of the inputs that a layer's config states, without the batch, or None.

    Raises:
        Problem: it states something else than a shape.
    """
    for key in _BATCH_SHAPES:
        if config.get(key) is not None:
            return without_batch(config[key], name)
    return None


def without_batch(shape: Any, name: str) -> Shape:
    """Return a shape as a config has it, batch first, without the batch."""
    shape = plain(shape)
    if isinstance(shape, dict) and len(shape) == 1:
        (shape,) = shape.values()
    if not isinstance(shape, list) or not 2 <= len(shape) <= 6:
        raise Problem(f"layer {name!r}: input shape {printable(repr(shape), 80)}")
    return tuple(shape[1:])


# --- writing ---

# Left out at these values, because an older or newer Keras does not know the key.
_OMITTED: dict[str, Any] = {
    "groups": 1,
    "keepdims": False,
    "seed": None,
    "noise_shape": None,
    "value_range": (0.0, 255.0),
    "mean": None,
    "variance": None,
    "rms_scaling": False,
    "pad_to_aspect_ratio": False,
    "fill_mode": "constant",
    "fill_value": 0.0,
    "antialias": False,
}
# Keras 2 does not know the `data_format` of these.
_NO_DATA_FORMAT = ("Random", "Resizing", "CenterCrop")
# Keras cannot make them with `trainable`, which means nothing to them.
_NO_TRAINABLE = {"InputLayer", "SpatialDropout1D", "SpatialDropout2D"}


def written(layer: Layer, output_shape: Shape) -> dict[str, Any]:
    """Return the JSON of a layer, without its calls, in the form that the most versions load."""
    if layer.is_operation:
        return operations.written(cast("Operation", layer))
    config: dict[str, Any] = {"name": layer.name, "trainable": layer.trainable, "dtype": "float32"}
    if layer.kind in _NO_TRAINABLE:
        del config["trainable"]
    entry: dict[str, Any] = {"class_name": layer.kind, "config": config}
    if isinstance(layer, InputLayer):
        config |= {_BATCH_SHAPES[-1]: [None, *layer.shape], "sparse": False}
        return entry
    for f in dataclasses.fields(layer):
        value = getattr(layer, f.name)
        if f.name in _OF_EVERY_LAYER or _is_omitted(layer, f, value):
            continue
        key = _KEYS.get(layer.kind, {}).get(f.name, f.name)
        if not isinstance(value, Layer):
            config[key] = form_of(f.name).written(value)
            continue
        config[key] = _with_module(written(value, output_shape))
        if f.name == "activation":  # Keras 3 does not build it before it reads the weights
            config[key]["build_config"] = {"input_shape": [None, *output_shape]}
    # Without a module Keras 3 takes it for Keras 2's, and drops an axis that is no number.
    if layer.kind in _MODULES or not isinstance(getattr(layer, "axis", 0), int):
        return _with_module(entry)
    return entry


def _with_module(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON of a layer that Keras 3 would not find, or not know, without its module."""
    kind = entry["class_name"]
    module = {"module": "keras.layers", "registered_name": None}
    if kind in _MODULES:
        module = {"module": _MODULES[kind], "registered_name": kind}
    return {**module, **entry}


def _is_omitted(layer: Layer, field: dataclasses.Field[Any], value: Any) -> bool:
    """Whether a setting is better left out: it says nothing, and not every Keras knows its key."""
    if field.name == "data_format" and layer.kind.startswith(_NO_DATA_FORMAT):
        return bool(value == "channels_last")
    if field.name == "backward_layer":  # Keras 2.2.4 makes it, and knows no other
        return bool(value == getattr(layer, "reversed_layer", None))
    return field.name in _OMITTED and value == field.default == _OMITTED[field.name]
