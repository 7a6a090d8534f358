"""Networks that circulate without class names, as Keras builds them from what their sources say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import pytest
from keras import layers as k

import ferjax.keras
from ferjax.emotions import KNOWN_NETWORKS
from ferjax.nets.known import recognise

pytestmark = pytest.mark.usefixtures("numpy_initializers")


def small_xception(stem: int, widths: tuple[int, ...], size: int) -> Any:
    """oarriaga/face_classification, src/models/cnn.py: mini_XCEPTION and tiny_XCEPTION."""
    x = image = keras.Input((size, size, 1))
    for _ in range(2):
        x = k.Conv2D(stem, 3, use_bias=False, kernel_regularizer="l2")(x)
        x = k.Activation("relu")(k.BatchNormalization()(x))
    for width in widths:
        short = k.Conv2D(width, 1, strides=2, padding="same", use_bias=False)(x)
        short = k.BatchNormalization()(short)
        x = k.SeparableConv2D(width, 3, padding="same", use_bias=False)(x)
        x = k.Activation("relu")(k.BatchNormalization()(x))
        x = k.SeparableConv2D(width, 3, padding="same", use_bias=False)(x)
        x = k.MaxPooling2D(3, strides=2, padding="same")(k.BatchNormalization()(x))
        x = k.add([x, short])
    x = k.GlobalAveragePooling2D()(k.Conv2D(7, 3, padding="same")(x))
    return keras.Model(image, k.Activation("softmax", name="predictions")(x))


def big_xception(size: int) -> Any:
    """The same file: big_XCEPTION, whose layers have names."""
    x = image = keras.Input((size, size, 1))
    for place, width, stride in (("conv1", 32, 2), ("conv2", 64, 1)):
        x = k.Conv2D(width, 3, strides=stride, use_bias=False)(x)
        x = k.BatchNormalization(name=f"block1_{place}_bn")(x)
        x = k.Activation("relu", name=f"block1_{place}_act")(x)
    for block, width in (("block2", 128), ("block3", 256)):
        short = k.Conv2D(width, 1, strides=2, padding="same", use_bias=False)(x)
        short = k.BatchNormalization()(short)
        if block == "block3":
            x = k.Activation("relu", name="block3_sepconv1_act")(x)
        x = k.SeparableConv2D(width, 3, padding="same", use_bias=False)(x)
        x = k.BatchNormalization(name=f"{block}_sepconv1_bn")(x)
        x = k.Activation("relu", name=f"{block}_sepconv2_act")(x)
        x = k.SeparableConv2D(width, 3, padding="same", use_bias=False)(x)
        x = k.BatchNormalization(name=f"{block}_sepconv2_bn")(x)
        x = k.add([k.MaxPooling2D(3, strides=2, padding="same")(x), short])
    x = k.GlobalAveragePooling2D()(k.Conv2D(7, 3, padding="same")(x))
    return keras.Model(image, k.Activation("softmax", name="predictions")(x))


def deepface() -> Any:
    """serengil/deepface, deepface/models/demography/Emotion.py."""
    stack: list[Any] = [k.Conv2D(64, 5, activation="relu"), k.MaxPooling2D(5, strides=2)]
    for width in (64, 128):
        stack += [k.Conv2D(width, 3, activation="relu") for _ in range(2)]
        stack.append(k.AveragePooling2D(3, strides=2))
    stack.append(k.Flatten())
    for _ in range(2):
        stack += [k.Dense(1024, activation="relu"), k.Dropout(0.2)]
    return keras.Sequential([keras.Input((48, 48, 1)), *stack, k.Dense(7, activation="softmax")])


def atulapra() -> Any:
    """atulapra/Emotion-detection, Keras/kerasmodel.py."""
    stack: list[Any] = [k.Conv2D(width, 3, activation="relu") for width in (32, 64)]
    stack += [k.MaxPooling2D(2), k.Dropout(0.25)]
    for _ in range(2):
        stack += [k.Conv2D(128, 3, activation="relu"), k.MaxPooling2D(2)]
    stack += [k.Dropout(0.25), k.Flatten(), k.Dense(1024, activation="relu"), k.Dropout(0.5)]
    return keras.Sequential([keras.Input((48, 48, 1)), *stack, k.Dense(7, activation="softmax")])


def little_vgg() -> Any:
    """priya-dwivedi/face_and_emotion_detection, src/EmotionDetector_v2.ipynb."""
    stack: list[Any] = [k.Conv2D(width, 3, activation="relu") for width in (32, 64)]
    stack.append(k.MaxPooling2D(2))
    for _ in range(2):
        stack += [k.Conv2D(128, 3, activation="relu"), k.MaxPooling2D(2)]
    stack += [k.Conv2D(7, size, activation="relu") for size in (1, 4)]
    stack += [k.Flatten(), k.Activation("softmax")]
    return keras.Sequential([keras.Input((48, 48, 1)), *stack])


def emopy(classes: int = 4, **flatten: str) -> Any:
    """thoughtworksarts/EmoPy, models/conv_model_0256.json: its pooling takes channels for rows."""
    stack: list[Any] = []
    for _ in range(2):
        stack += [k.Conv2D(10, 4, activation="relu") for _ in range(2)]
        stack.append(k.MaxPooling2D(data_format="channels_first"))
    stack += [k.Flatten(**flatten), k.Dense(classes, activation="relu")]
    return keras.Sequential([keras.Input((48, 48, 1)), *stack])


def fer_cnn5() -> Any:
    """The published network."""
    stack: list[Any] = []
    for width, padding in zip((32, 64, 128, 256, 512), ("valid",) * 3 + ("same",) * 2):
        stack += [k.Conv2D(width, 3, padding=padding, activation="relu"), k.BatchNormalization()]
        stack += [k.MaxPooling2D(2), k.Dropout(0.25)]
    stack.append(k.Flatten())
    for units in (1024, 512):
        stack += [k.Dense(units, activation="relu"), k.BatchNormalization(), k.Dropout(0.5)]
    return keras.Sequential([keras.Input((48, 48, 1)), *stack, k.Dense(7, activation="softmax")])


MINI, TINY = (16, 32, 64, 128), (8, 16, 32, 64)
BUILT = {
    "mini-Xception": lambda: small_xception(8, MINI, 64),
    "tiny-Xception": lambda: small_xception(5, TINY, 64),
    "big-Xception": lambda: big_xception(64),
    "deepface's emotion network": deepface,
    "atulapra's Emotion-detection": atulapra,
    "priya-dwivedi's LittleVGG": little_vgg,
    "EmoPy's network of four emotions": emopy,
    "fer_cnn5, the published network": fer_cnn5,
}


def graph(model: Any) -> Any:
    return ferjax.keras.load_architecture(json.loads(model.to_json())).graph


@pytest.mark.parametrize("name", BUILT)
def test_it_is_recognised(name: str) -> None:
    known = recognise(graph(BUILT[name]()))
    assert known is not None and known.name == name


def test_every_known_network_but_ferjax_s_own_is_built_here() -> None:
    names = {network.name for network in KNOWN_NETWORKS}
    assert names - set(BUILT) == {"fer_cnn8, ferjax's own network"}


def test_mini_xception_of_smaller_images_and_of_other_classes() -> None:
    known = recognise(graph(small_xception(8, MINI, 48)))
    assert known is not None and known.order == "fer2013"
    assert recognise(graph(small_xception(8, (16, 32, 64, 96), 48))) is None


def test_emopy_s_network_as_its_code_builds_it() -> None:
    known = recognise(graph(emopy(data_format="channels_first")))
    assert known is not None and known.value_range == (0, 255)
    assert known.labels == ("anger", "fear", "neutral", "surprise")


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_emopy_s_networks_of_several_orders_are_not_told(classes: int) -> None:
    assert recognise(graph(emopy(classes))) is None


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_a_file_is_recognised_however_keras_numbers_its_layers(tmp_path: Path, name: str) -> None:
    keras.Sequential([keras.Input((8, 8, 1)), k.Conv2D(2, 3), k.Conv2D(2, 3)])  # uses up names
    model = small_xception(8, MINI, 64)
    assert model.layers[1].name != "conv2d"
    model.compile("sgd", "categorical_crossentropy")
    model.save(tmp_path / name)
    known = recognise(ferjax.keras.load(tmp_path / name).graph)
    assert known is not None and known.name == "mini-Xception"
