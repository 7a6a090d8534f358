"""Batch norm's statistics from clean images: what they are, and what they leave alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from ferjax import keras
from ferjax.data.augment import Augmentation
from ferjax.data.dataset import Faces
from ferjax.nets import Graph, Network
from ferjax.nets.layers import (
    LSTM,
    BatchNormalization,
    Bidirectional,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GaussianNoise,
    InputLayer,
    Layer,
    LeakyReLU,
    RandomCrop,
    TimeDistributed,
)
from ferjax.train import Recipe, train_and_evaluate
from ferjax.train.batch_norm import CleanStatistics
from ferjax.train.devices import Devices
from ferjax.train.reporting import Reporter

from ..networks import SIZE, drawn, tiny
from .conftest import make_faces

pytestmark = pytest.mark.usefixtures("curves_as_text")

DEVICES = Devices.all()


def network(*, frozen: bool = False) -> Network:
    layers: list[Layer] = [
        InputLayer(name="input", shape=(SIZE, SIZE, 1)),
        GaussianNoise(stddev=0.5),
        Conv2D(name="conv", filters=4, kernel_size=(3, 3), activation="relu"),
        BatchNormalization(name="first", trainable=not frozen),
        Dropout(rate=0.9),
        Flatten(),
        Dense(name="dense", units=5, activation="relu"),
        BatchNormalization(name="second"),
        Dense(units=7, activation="softmax"),
    ]
    return Network(Graph.sequential(layers, name="two"))


def only_training(count: int) -> Faces:
    """Return faces sorted by class, as a prepared folder has them."""
    faces = make_faces(count, 1)
    return faces.take(np.argsort(np.where(faces.splits == 0, faces.labels, 9), kind="stable")[:-1])


def renewed(net: Network, faces: Faces, images: int) -> tuple[Any, Any]:
    """Return the variables as they were drawn, and with new statistics."""
    variables = DEVICES.replicate(drawn(net))
    return variables, CleanStatistics(net, faces, DEVICES, images)(variables)


def output(net: Network, variables: Any, faces: Faces, layer: str) -> np.ndarray:
    """Return what a layer gives at inference, a row an image or pixel."""

    @jax.jit
    def inner(variables: Any, images: Any) -> jax.Array:
        inputs: list[jax.Array] = []

        def hook(position: int, x: jax.Array) -> jax.Array:
            if net.graph.calls[position].layer == layer:
                inputs.append(x.reshape(-1, x.shape[-1]))
            return x

        net.apply(variables, images, hook=hook)
        return inputs[0]

    images = (faces.images / np.float32(255)).astype(np.float32)[..., None]
    return np.asarray(inner(variables, images), np.float64)


def assert_of(stats: Any, values: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(stats["mean"], values.mean(0), atol=tolerance)
    np.testing.assert_allclose(stats["var"], values.var(0), atol=tolerance)


def test_they_are_those_of_images_without_noise_and_dropout() -> None:
    net, faces = network(), only_training(64)
    before, after = renewed(net, faces, 64)
    assert_of(after["batch_stats"]["first"], output(net, before, faces, "conv"), 1e-6)
    # Those of later layers are of what the renewed earlier ones let through.
    assert_of(after["batch_stats"]["second"], output(net, after, faces, "dense"), 1e-5)


def test_several_batches_count_as_one() -> None:
    net, faces = network(), only_training(512)
    faces.images[1::2] //= 8  # every other image is of the second batch
    before, after = renewed(net, faces, 512)
    assert_of(after["batch_stats"]["first"], output(net, before, faces, "conv"), 1e-6)


def test_a_part_of_the_images_is_spread_over_all() -> None:
    net, faces = network(), only_training(500)
    before, after = renewed(net, faces, 10)
    rows = np.linspace(0, 499, 10).round().astype(int)
    assert_of(after["batch_stats"]["first"], output(net, before, faces.take(rows), "conv"), 1e-6)
    assert len(set(faces.labels[rows])) > 4


def test_more_images_than_there_are() -> None:
    net, faces = network(), only_training(5)
    before, after = renewed(net, faces, 1000)
    assert_of(after["batch_stats"]["first"], output(net, before, faces, "conv"), 1e-6)


def test_weights_and_frozen_layers_stay() -> None:
    before, after = renewed(network(frozen=True), only_training(64), 64)
    for path, leaf in jax.tree_util.tree_leaves_with_path(before):
        collection, layer, name = (key.key for key in path)  # type: ignore[attr-defined]
        unchanged = (collection, layer) != ("batch_stats", "second")
        assert np.array_equal(leaf, after[collection][layer][name]) == unchanged, path


def test_a_network_without_batch_norm() -> None:
    layers: list[Layer] = [
        InputLayer(name="input", shape=(SIZE, SIZE, 1)),
        Flatten(),
        Dense(units=7, activation="softmax"),
    ]
    before, after = renewed(Network(Graph.sequential(layers)), only_training(8), 8)
    assert after is before


def recurrent_network() -> Network:
    layers: list[Layer] = [
        InputLayer(name="input", shape=(SIZE, SIZE, 1)),
        RandomCrop(height=SIZE - 2, width=SIZE - 2),
        Conv2D(name="conv", filters=2, kernel_size=3, activation=LeakyReLU(negative_slope=0.1)),
        TimeDistributed(layer=Flatten()),
        TimeDistributed(name="steps", layer=BatchNormalization()),
        TimeDistributed(layer=Dropout(rate=0.5)),
        Bidirectional(name="both", layer=LSTM(units=3, dropout=0.5, recurrent_dropout=0.5)),
        BatchNormalization(name="last"),
        Dense(units=7, activation="softmax"),
    ]
    return Network(Graph.sequential(layers, name="recurrent"))


def test_random_crops_and_recurrent_layers_are_as_at_inference() -> None:
    net, faces = recurrent_network(), only_training(64)
    before, after = renewed(net, faces, 64)
    np.testing.assert_array_equal(
        after["batch_stats"]["steps"]["layer_mean"], before["batch_stats"]["steps"]["layer_mean"]
    )
    stats = after["batch_stats"]["last"]
    assert np.abs(stats["mean"]).max() > 0
    assert (stats["var"] < 1).all()  # what an LSTM gives lies in (-1, 1)


@pytest.mark.slow
def test_a_recurrent_network_is_trained(tmp_path: Path) -> None:
    net, faces = recurrent_network(), make_faces()
    result = train_and_evaluate(
        Recipe(epochs=1, batch_size=32, clean_statistics=32),
        faces, tmp_path, architecture=net, reporter=Reporter(),
    )  # fmt: skip
    assert np.isfinite(result.history[-1]["loss"])
    trained = keras.load(result.last or "").variables
    start = drawn(net)["params"]["both"]
    assert trained["params"]["both"].keys() == start.keys()
    forget = trained["params"]["both"]["forward_layer_bias"][3:6]
    assert (forget != 1).all() and np.abs(forget - 1).max() < 0.1  # moved from where they began


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_a_run_evaluates_and_saves_them_and_trains_as_without(
    tmp_path: Path, ema_decay: float
) -> None:
    faces = make_faces()
    recipe = Recipe(
        epochs=2,
        batch_size=32,
        ema_decay=ema_decay,
        augmentation=Augmentation(brightness=(0.5, 1.5)),
    )
    net = tiny()
    results = [
        train_and_evaluate(
            replace(recipe, clean_statistics=images),
            faces,
            tmp_path / str(images),
            architecture=net,
            reporter=Reporter(),
        )
        for images in (0, 128)
    ]
    assert [r.history[-1]["loss"] for r in results] == [results[0].history[-1]["loss"]] * 2
    assert results[0].history[-1]["val_loss"] != results[1].history[-1]["val_loss"]
    without, saved = (keras.load(r.last or "") for r in results)
    jax.tree.map(
        np.testing.assert_array_equal, without.variables["params"], saved.variables["params"]
    )
    train_faces = faces.take(faces.in_split("train"))
    expected = CleanStatistics(net, train_faces, DEVICES, 128)(DEVICES.replicate(without.variables))
    jax.tree.map(
        np.testing.assert_array_equal,
        dict(saved.variables["batch_stats"]),
        dict(jax.tree.map(np.asarray, expected["batch_stats"])),
    )
