"""Named architectures, a line a layer."""

from __future__ import annotations

from collections.abc import Callable

from ferjax.errors import LayerError, near_misses
from ferjax.nets.graph import Graph
from ferjax.nets.layers import (
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    InputLayer,
    Layer,
    MaxPooling2D,
    Shape,
)
from ferjax.nets.network import Network


def _conv(filters: int, padding: str) -> list[Layer]:
    return [
        Conv2D(filters=filters, kernel_size=(3, 3), padding=padding, activation="relu"),
        BatchNormalization(),
    ]


def _pool() -> list[Layer]:
    return [MaxPooling2D(pool_size=(2, 2)), Dropout(rate=0.25)]


def _dense(units: int) -> list[Layer]:
    return [Dense(units=units, activation="relu"), BatchNormalization(), Dropout(rate=0.5)]


def fer_cnn8(*, num_classes: int = 7, input_shape: Shape = (48, 48, 1)) -> Network:
    """Build the default network: 8 convolutions and 3 dense layers, 7,324,615 parameters.

    One layout that meets every figure of the published model's card at once; as deep as the VGG
    of Khaireddin and Chen (arXiv 2105.03588). It takes float32 images in [0, 1], (B, 48, 48, 1).
    """
    return _build(
        "fer_cnn8",
        [
            InputLayer(name="input", shape=input_shape),
            *_conv(64, "valid"), *_conv(64, "valid"), *_pool(),  # 48 -> 44 -> 22
            *_conv(128, "same"), *_conv(128, "same"), *_pool(),  # 11
            *_conv(256, "same"), *_conv(256, "same"), *_pool(),  # 5
            *_conv(512, "same"), *_conv(512, "same"), *_pool(),  # 2
            Flatten(),  # 2,048
            *_dense(1024),
            *_dense(512),
            Dense(units=num_classes, activation="softmax"),
        ],
    )  # fmt: skip


def fer_cnn5(*, num_classes: int = 7, input_shape: Shape = (48, 48, 1)) -> Network:
    """Build the network that the published file holds: 5 convolutions, 2,631,815 parameters.

    Its layer names are those of the published Keras file. It takes float32 images in [0, 1],
    (B, 48, 48, 1).
    """
    return _build(
        "fer_cnn5",
        [
            InputLayer(name="conv2d_input", shape=input_shape),
            *_conv(32, "valid"), *_pool(),  # 48 -> 46 -> 23
            *_conv(64, "valid"), *_pool(),  # 21 -> 10
            *_conv(128, "valid"), *_pool(),  # 8 -> 4
            *_conv(256, "same"), *_pool(),  # 2
            *_conv(512, "same"), *_pool(),  # 1
            Flatten(),  # 512
            *_dense(1024),
            *_dense(512),
            Dense(units=num_classes, activation="softmax"),
        ],
    )  # fmt: skip


def _build(name: str, layers: list[Layer]) -> Network:
    return Network(Graph.sequential(layers, name=name))


ARCHITECTURES: dict[str, Callable[..., Network]] = {"fer_cnn8": fer_cnn8, "fer_cnn5": fer_cnn5}


def architecture(name: str, *, num_classes: int = 7) -> Network:
    """Return a named architecture, with an output for each of `num_classes` classes.

    Raises:
        LayerError: there is none of that name.
    """
    if name not in ARCHITECTURES:
        raise LayerError(
            f"expected an architecture among {', '.join(ARCHITECTURES)}, got {name!r}"
            f"{near_misses(name, ARCHITECTURES)}"
        )
    return ARCHITECTURES[name](num_classes=num_classes)
