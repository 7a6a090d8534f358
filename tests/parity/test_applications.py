"""What `keras.applications` is made of: small networks of each kind that needs more than layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
import pytest
from keras import layers

import ferjax.keras

Compare = Callable[..., ferjax.keras.KerasModel]
BOTH = (".keras", ".h5")
IMAGES = np.random.default_rng(1).uniform(0, 255, (2, 32, 32, 3)).astype("float32")


@pytest.mark.slow
def test_layer_scale(compare: Compare) -> None:
    layer = keras.src.applications.convnext.LayerScale(0.5, 3)
    model = keras.Sequential([keras.Input((2, 2, 3)), layer, layers.Flatten()])
    read = compare(model, IMAGES[:, :2, :2] / 255, suffixes=BOTH)
    assert [la.kind for la in read.graph.layers] == ["InputLayer", "LayerScale", "Flatten"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*only Keras 3 opens it")
def test_convnext(compare: Compare, reopens: Callable[..., None]) -> None:
    model = keras.src.applications.convnext.ConvNeXt(
        depths=[1, 1, 1, 1],
        projection_dims=[4, 4, 6, 8],
        drop_path_rate=0.2,
        weights=None,
        input_shape=(32, 32, 3),
        classes=3,
    )
    read = compare(model, IMAGES, suffixes=BOTH, tolerance=1e-5)
    assert read.graph.value_range == (0, 255)
    reopens(model, read, IMAGES)


def test_scaled_residuals_of_inception_resnet(compare: Compare) -> None:
    scale_layer = keras.src.applications.inception_resnet_v2.CustomScaleLayer
    inputs = keras.Input((5, 4, 3))
    x = inputs
    for scale in (0.17, 1.0):
        x = scale_layer(scale)([x, layers.Conv2D(3, 3, padding="same")(x)])
    read = compare(keras.Model(inputs, layers.Flatten()(x)), IMAGES[:, :5, :4] / 255, suffixes=BOTH)
    assert [layer.kind for layer in read.graph.layers].count("Rescaling") == 2


SIZES = {
    "VGG16": 32,
    "ResNet50": 32,
    "ResNet50V2": 32,
    "InceptionV3": 75,
    "InceptionResNetV2": 75,
    "Xception": 71,
    "MobileNet": 32,
    "MobileNetV2": 32,
    "MobileNetV3Small": 32,
    "MobileNetV3Large": 32,
    "DenseNet121": 32,
    "NASNetMobile": 32,
    "EfficientNetB0": 32,
    "EfficientNetV2B0": 32,
    "ConvNeXtTiny": 32,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_every_family(name: str, compare: Compare, tmp_path: Path) -> None:
    size = SIZES[name]
    build: Any = getattr(keras.applications, name)
    keras.utils.set_random_seed(0)
    model = build(weights=None, input_shape=(size, size, 3), classes=5)
    images = np.random.default_rng(1).uniform(0, 255, (2, size, size, 3)).astype("float32")
    images[1] *= np.linspace(0, 1, size, dtype="float32")[:, None]  # noise alone is all alike
    for variable in model.weights:
        if variable.path.endswith(("gamma", "moving_variance")) and variable.shape:
            shape = tuple(variable.shape)
            variable.assign(np.random.default_rng(0).uniform(0.5, 1.5, shape).astype("float32"))
    # Fresh weights let the signal vanish, or grow: a factor of the last ones brings it back.
    last = [v for v in model.weights if v.path.endswith("kernel")][-1]
    fresh, low, high = np.asarray(last), -30.0, 30.0  # powers of ten
    for _ in range(40):
        middle = (low + high) / 2
        last.assign(fresh * np.float32(10**middle))
        expected = model.predict(images, verbose=0)  # one program, unlike a call
        if 0.4 < expected.max() < 0.9:
            break
        low, high = (middle, high) if expected.max() < 0.5 else (low, middle)
    assert np.ptp(expected, axis=0).max() > 1e-2, "the same for all images proves nothing"
    for suffix in (".keras", ".h5"):
        model.save(tmp_path / f"model{suffix}")
        read = ferjax.keras.load(tmp_path / f"model{suffix}")
        outputs = np.asarray(jax.jit(read.network.apply)(read.variables, images))
        np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-5, err_msg=suffix)
