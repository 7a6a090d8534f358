"""The layer vocabulary: one frozen dataclass a kind, with its settings, its weights, its forward.

Class and field names are Keras's, so a description is also the layer's Keras config. Weights keep
Keras's shapes and take Flax's names where those differ (scale and bias for gamma and beta).
"""

from __future__ import annotations

from ferjax.errors import UnknownLayerError, near_misses
from ferjax.nets.layers.activations import ELU, Activation, LeakyReLU, PReLU, ReLU, Softmax
from ferjax.nets.layers.base import InputLayer, Layer, Run, Shape, Weight, snake_case
from ferjax.nets.layers.dense import (
    BatchNormalization,
    Dense,
    Flatten,
    Normalization,
    Rescaling,
    Reshape,
)
from ferjax.nets.layers.merging import Add, Concatenate, Multiply
from ferjax.nets.layers.spatial import (
    AveragePooling2D,
    Conv2D,
    Cropping2D,
    DepthwiseConv2D,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPooling2D,
    SeparableConv2D,
    ZeroPadding2D,
)
from ferjax.nets.layers.training import (
    Dropout,
    GaussianDropout,
    GaussianNoise,
    RandomContrast,
    RandomFlip,
    RandomRotation,
    RandomTranslation,
    RandomZoom,
    SpatialDropout2D,
    TrainingOnly,
)

__all__ = [
    "VOCABULARY",
    "layer_class",
    "snake_case",
    "Layer",
    "Run",
    "Shape",
    "Weight",
    "InputLayer",
    "Conv2D",
    "DepthwiseConv2D",
    "SeparableConv2D",
    "MaxPooling2D",
    "AveragePooling2D",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "ZeroPadding2D",
    "Cropping2D",
    "Flatten",
    "Reshape",
    "Dense",
    "BatchNormalization",
    "Rescaling",
    "Normalization",
    "Activation",
    "ReLU",
    "LeakyReLU",
    "PReLU",
    "ELU",
    "Softmax",
    "TrainingOnly",
    "Dropout",
    "SpatialDropout2D",
    "GaussianNoise",
    "GaussianDropout",
    "RandomFlip",
    "RandomRotation",
    "RandomZoom",
    "RandomTranslation",
    "RandomContrast",
    "Add",
    "Multiply",
    "Concatenate",
]

VOCABULARY: dict[str, type[Layer]] = {
    layer.__name__: layer
    for layer in (
        InputLayer,
        Conv2D,
        DepthwiseConv2D,
        SeparableConv2D,
        Dense,
        BatchNormalization,
        Activation,
        ReLU,
        LeakyReLU,
        PReLU,
        ELU,
        Softmax,
        MaxPooling2D,
        AveragePooling2D,
        GlobalAveragePooling2D,
        GlobalMaxPooling2D,
        ZeroPadding2D,
        Cropping2D,
        Flatten,
        Reshape,
        Dropout,
        SpatialDropout2D,
        GaussianNoise,
        GaussianDropout,
        Rescaling,
        Normalization,
        RandomFlip,
        RandomRotation,
        RandomZoom,
        RandomTranslation,
        RandomContrast,
        Add,
        Multiply,
        Concatenate,
    )
}


def layer_class(kind: str, name: str) -> type[Layer]:
    """Return the class for a Keras class name; `name` is the layer's, for the error."""
    if kind not in VOCABULARY:
        raise UnknownLayerError(
            f"layer {name!r}: {kind!r} is not among the layers that ferjax knows: "
            f"{', '.join(VOCABULARY)}{near_misses(kind, VOCABULARY)}"
        )
    return VOCABULARY[kind]
