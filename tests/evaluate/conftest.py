"""A classifier whose answers are written on the images, and faces whose figures are known."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import ferjax
from ferjax import keras
from ferjax.classifier import EmotionClassifier
from ferjax.data.dataset import Faces
from ferjax.nets import Graph, Network
from ferjax.nets.head import Head
from ferjax.prediction_engines import Predictor

from ..networks import tiny
from ..train.conftest import make_faces

# Each image's gray level, modulo ten, is what the stub predicts.
TRUE, SAID = [0, 0, 0, 1, 1, 6], [0, 0, 2, 1, 0, 6]


class Stub(EmotionClassifier):
    """Predicts the class that the first pixel's last digit names, with a confidence of 0.94."""

    def __init__(self, temperature: float | None = None, **metadata: Any) -> None:
        self.labels = ferjax.EMOTIONS
        network = tiny()
        self._predictor = Predictor(network, Head.of(network.graph), {}, "jax")
        self.image_size = (12, 12)
        self.temperature = temperature
        self.training_frequencies = None
        self.metadata = metadata

    def predict_proba(self, images: Any, **_: Any) -> Any:
        said = np.asarray(images)[:, 0, 0] % 10 % 7
        return np.where(np.arange(7) == said[:, None], 0.94, 0.01).astype(np.float32)


def known_faces(copies: int = 0) -> Faces:
    """Two training images and six of validation, the first `copies` of these training's."""
    # Tens tell images apart that are predicted alike.
    levels = [10 * k + said for k, said in enumerate(SAID)]
    train = [*levels[:copies], 90, 91][:2]
    images = np.array([*train, *levels], np.uint8)[:, None, None].repeat(12, 1).repeat(12, 2)
    n = len(images)
    return Faces(
        images=images,
        labels=np.array([0, 1, *TRUE], np.int32),
        splits=np.array([0, 0, 1, 1, 1, 1, 1, 1], np.int8),
        names=tuple(f"faces/{row}.png" for row in range(n)),
        class_names=ferjax.EMOTIONS,
        source_sizes=np.full((n, 2), 12, np.int32),
    )


def taught(path: Path) -> Path:
    """Write weights that know the training patterns of `make_faces`, and are far too sure."""
    network, variables = _taught()
    keras.save(path, network, variables, labels=ferjax.EMOTIONS)
    return path


@functools.cache
def _taught() -> tuple[Network, dict[str, Any]]:
    network = tiny()
    variables = network.init(jax.random.key(0))
    faces = make_faces()
    train = faces.take(faces.in_split("train"))
    body = Network(Graph.sequential(network.layers[:-1], name="body"))
    params = {name: w for name, w in variables["params"].items() if name != "dense"}
    images = train.images[..., None].astype(np.float32) / 255
    hidden = jax.jit(body.apply)({**variables, "params": params}, images)
    kernel, *_ = np.linalg.lstsq(np.asarray(hidden), 40.0 * np.eye(7)[train.labels], rcond=None)
    variables["params"]["dense"]["kernel"] = kernel.astype(np.float32)
    return network, variables


@pytest.fixture
def stub() -> Stub:
    return Stub()
