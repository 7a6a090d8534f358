"""Weights of 16 bits in the page's network, where they change nothing that counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ferjax.classifier import EmotionClassifier
from ferjax.onnx import Engine, to_model
from ferjax.web import compact
from tests.networks import dense_weights, drawn, one_dense, tiny

LABELS = ["calm", "tense", "other"]


def flat(kernel: Any, activation: str = "softmax") -> EmotionClassifier:
    """Return a classifier of one dense layer over 24 x 24 pixels."""
    kernel = np.asarray(kernel, np.float32) * np.ones((24 * 24, 3), np.float32)
    network = one_dense(3, activation, shape=(24, 24, 1))
    return EmotionClassifier(network, dense_weights(kernel), LABELS)


def kernel(scale: float) -> Any:
    return np.random.default_rng(0).normal(0, scale, (24 * 24, 3)).astype(np.float32)


@pytest.mark.parametrize("activation", ["softmax", "linear"])
def test_large_weights_take_half_the_room(activation: str):
    classifier = flat(kernel(0.01), activation)
    whole = to_model(classifier.network, classifier.variables, labels=LABELS).SerializeToString()
    file = compact.network_file(classifier)
    assert len(whole) - len(file) > 24 * 24 * 3 * 2 - 500
    engine = Engine(file)
    assert engine.metadata["labels"] == LABELS
    images = np.random.default_rng(1).random((4, 24, 24, 1), np.float32)
    np.testing.assert_allclose(
        classifier.head.probabilities(engine(images)), classifier.predict_batch(images), atol=3e-4
    )
    exact = classifier.variables["params"]["dense"]["kernel"].astype(np.float16)
    logits = images.reshape(4, -1) @ exact.astype(np.float32)
    outputs = engine(images)
    if activation == "linear":
        np.testing.assert_allclose(outputs, logits, atol=1e-5)


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param([100.03, 100, 100], id="probabilities that would change"),
        pytest.param(np.full((24 * 24, 3), 1e6), id="numbers beyond 16 bits"),
    ],
)
def test_what_would_change_keeps_all_its_bits(weights: Any):
    classifier = flat(weights)
    whole = to_model(classifier.network, classifier.variables, labels=LABELS).SerializeToString()
    assert compact.network_file(classifier) == whole


def test_small_arrays_stay_as_they_are():
    network = tiny(classes=3)
    classifier = EmotionClassifier(network, drawn(network), LABELS)
    model = to_model(network, classifier.variables, labels=LABELS)
    assert compact.network_file(classifier) == model.SerializeToString()
