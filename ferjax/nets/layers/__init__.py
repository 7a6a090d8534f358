"""The layer vocabulary: one frozen dataclass a kind, with its settings, its weights, its forward.

Class and field names are Keras's, so a description is also the layer's Keras config. Weights keep
Keras's shapes and take Flax's names where those differ (scale and bias for gamma and beta).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from ferjax.errors import UnknownLayerError, near_misses
from ferjax.nets.layers.base import *

if TYPE_CHECKING:
    from ferjax.nets.layers.activations import *
    from ferjax.nets.layers.applications import *
    from ferjax.nets.layers.dense import *
    from ferjax.nets.layers.merging import *
    from ferjax.nets.layers.normalization import *
    from ferjax.nets.layers.operations import *
    from ferjax.nets.layers.random_images import *
    from ferjax.nets.layers.recurrent import *
    from ferjax.nets.layers.resizing import *
    from ferjax.nets.layers.spatial import *
    from ferjax.nets.layers.training import *

# In the order of reading; what is a kind of layer here is the vocabulary.
__all__ = [
    "VOCABULARY", "layer_class", "snake_case",
    "Layer", "Operation", "Recurrent", "Run", "Shape", "TrainingOnly", "Weight",
    "InputLayer", "Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Conv1D", "Dense",
    "BatchNormalization", "LayerNormalization", "LayerScale", "GroupNormalization",
    "RMSNormalization", "UnitNormalization",
    "Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax",
    "MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D",
    "MaxPooling1D", "GlobalAveragePooling1D", "GlobalMaxPooling1D",
    "ZeroPadding2D", "Cropping2D", "UpSampling2D", "Resizing", "CenterCrop",
    "Flatten", "Reshape", "Permute", "RepeatVector",
    "TimeDistributed", "LSTM", "GRU", "SimpleRNN", "Bidirectional",
    "Identity", "ActivityRegularization", "Dropout", "SpatialDropout2D", "SpatialDropout1D",
    "AlphaDropout", "GaussianNoise", "GaussianDropout", "Rescaling", "Normalization",
    "RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast",
    "RandomBrightness", "RandomCrop", "RandomHeight", "RandomWidth", "RandomColorDegeneration",
    "RandomHue", "RandomSaturation", "RandomSharpness", "RandomPosterization", "RandomInvert",
    "RandomGrayscale", "RandomColorJitter", "RandomErasing", "RandomGaussianBlur",
    "RandomPerspective", "RandomElasticTransform",
    "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate",
]  # fmt: skip

# The module of each name that is not in `base`, imported when first asked for: a network has few of
# the kinds.
_HOMES: Final = {
    name: module
    for module, names in {
        "activations": "Activation ReLU LeakyReLU PReLU ELU Softmax",
        "applications": "LayerScale",
        "dense": "Dense BatchNormalization Flatten Reshape Permute RepeatVector Rescaling "
        "Normalization",
        "merging": "Add Subtract Multiply Average Maximum Minimum Concatenate",
        "normalization": "LayerNormalization GroupNormalization RMSNormalization UnitNormalization",
        "operations": "Operation",
        "random_images": "RandomFlip RandomRotation RandomZoom RandomTranslation RandomContrast "
        "RandomBrightness RandomHeight RandomWidth RandomColorDegeneration RandomHue "
        "RandomSaturation RandomSharpness RandomPosterization RandomInvert RandomGrayscale "
        "RandomColorJitter RandomErasing RandomGaussianBlur RandomPerspective "
        "RandomElasticTransform",
        "recurrent": "Recurrent TimeDistributed LSTM GRU SimpleRNN Bidirectional",
        "resizing": "UpSampling2D Resizing CenterCrop RandomCrop",
        "spatial": "Conv2D DepthwiseConv2D SeparableConv2D Conv1D MaxPooling2D AveragePooling2D "
        "GlobalAveragePooling2D GlobalMaxPooling2D MaxPooling1D GlobalAveragePooling1D "
        "GlobalMaxPooling1D ZeroPadding2D Cropping2D",
        "training": "TrainingOnly Identity ActivityRegularization Dropout SpatialDropout2D "
        "SpatialDropout1D AlphaDropout GaussianNoise GaussianDropout",
    }.items()
    for name in names.split()
}
_BASES: Final = ("Operation", "Recurrent", "TrainingOnly")  # the first has a table of its own


if not TYPE_CHECKING:  # or every name would be Any

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


class _Vocabulary(Mapping[str, type[Layer]]):
    """The kinds of layers by name, each imported when it is looked up."""

    _kinds: Final = [
        name for name in __all__ if name == "InputLayer" or name in _HOMES.keys() - _BASES
    ]

    def __getitem__(self, kind: str) -> type[Layer]:
        if kind not in self._kinds:
            raise KeyError(kind)
        found: type[Layer] = getattr(importlib.import_module(__name__), kind)
        return found

    def __contains__(self, kind: object) -> bool:
        return kind in self._kinds

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)


VOCABULARY: Final[Mapping[str, type[Layer]]] = _Vocabulary()


def layer_class(kind: str, name: str) -> type[Layer]:
    """Return the class for a Keras class name; `name` is the layer's, for the error."""
    if kind not in VOCABULARY:
        raise UnknownLayerError(
            f"layer {name!r}: {kind!r} is not among the layers that ferjax knows: "
            f"{', '.join(VOCABULARY)}{near_misses(kind, VOCABULARY)}"
        )
    return VOCABULARY[kind]
