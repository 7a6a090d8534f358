"""The layer vocabulary: one frozen dataclass a kind, with its settings, its weights, its forward.

Class and field names are Keras's, so a description is also the layer's Keras config. Weights keep
Keras's shapes and take Flax's names where those differ (scale and bias for gamma and beta).
"""

from __future__ import annotations

from ferjax.errors import UnknownLayerError, near_misses
from ferjax.nets.layers.activations import *
from ferjax.nets.layers.applications import *
from ferjax.nets.layers.base import *
from ferjax.nets.layers.base import Layer
from ferjax.nets.layers.dense import *
from ferjax.nets.layers.merging import *
from ferjax.nets.layers.normalization import *
from ferjax.nets.layers.operations import *
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

# Bases, and what has a table of its own.
_NO_KINDS = ("Layer", "Operation", "Recurrent", "TrainingOnly")
VOCABULARY: dict[str, type[Layer]] = {
    name: kind
    for name, kind in ((name, globals().get(name)) for name in __all__)
    if name not in _NO_KINDS and isinstance(kind, type) and issubclass(kind, Layer)
}


def layer_class(kind: str, name: str) -> type[Layer]:
    """Return the class for a Keras class name; `name` is the layer's, for the error."""
    if kind not in VOCABULARY:
        raise UnknownLayerError(
            f"layer {name!r}: {kind!r} is not among the layers that ferjax knows: "
            f"{', '.join(VOCABULARY)}{near_misses(kind, VOCABULARY)}"
        )
    return VOCABULARY[kind]
