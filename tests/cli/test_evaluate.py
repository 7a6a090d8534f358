"""`ferjax evaluate`: the figures, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jax
import pytest

import ferjax
from ferjax import keras
from ferjax.nets import Network

from ..train.conftest import make_faces, prepared, tiny_graph

Cli = Callable[..., "Done"]  # noqa: F821


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return prepared(tmp_path / "data", make_faces(copies=5))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    network = Network(tiny_graph())
    path = tmp_path / "tiny.h5"
    keras.save(path, network, network.init(jax.random.key(0)), labels=ferjax.EMOTIONS)
    return path


def test_figures(cli: Cli, weights: Path, data: Path) -> None:
    done = cli("evaluate", "--weights", weights, "--data", data)
    assert done.code == 0
    whole, others, heading, *classes = done.out.splitlines()
    assert whole.startswith("validation, single view: ")
    assert "of 64), 95 % interval" in whole
    assert others.startswith("without 5 exact copies of training images: ")
    assert heading.split() == ["class", "recall", "images"]
    assert [line.split()[0] for line in classes] == list(ferjax.EMOTIONS)
    assert sum(int(line.split()[-1]) for line in classes) == 64


def test_json(cli: Cli, weights: Path, data: Path) -> None:
    found = json.loads(cli("evaluate", "--weights", weights, "--data", data, "--json").out)
    assert found["copies"] == 5
    assert found["whole"]["images"] == 64
    low, high = found["whole"]["interval"]
    assert 0 <= low <= found["whole"]["top_1"] <= high <= 1


def test_training_images_come_with_a_warning(cli: Cli, weights: Path, data: Path) -> None:
    done = cli("evaluate", "--weights", weights, "--data", data, "--split", "train")
    assert "accuracy on training images says little about any others" in done.err


def test_a_split_without_images(cli: Cli, weights: Path, data: Path) -> None:
    done = cli("evaluate", "--weights", weights, "--data", data, "--split", "test")
    assert done.code == 2
    assert "expected test images, the data has none" in done.error


def test_weights_of_other_classes(cli: Cli, tmp_path: Path, data: Path) -> None:
    network = Network(tiny_graph(classes=3))
    path = tmp_path / "three.h5"
    keras.save(path, network, network.init(jax.random.key(0)), labels=["a", "b", "c"])
    done = cli("evaluate", "--weights", path, "--data", data)
    assert done.code == 2
    assert "in their order, angry, disgust, fear, happy, neutral, sad, surprise, got a, b, c" in (
        done.error
    )
