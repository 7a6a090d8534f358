"""Accuracy against figures worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ferjax
from ferjax.classifier import EmotionClassifier
from ferjax.data.dataset import Faces
from ferjax.errors import DataError
from ferjax.evaluate import evaluate

# Each image's gray level is what the stub predicts.
TRAIN, TRUE, SAID = [0, 1], [0, 0, 0, 1, 1, 6], [0, 0, 2, 1, 0, 6]


class Stub(EmotionClassifier):
    def __init__(self) -> None:
        self.labels = ferjax.EMOTIONS

    def predict_proba(self, images: Any, **_: Any) -> Any:
        return np.eye(7, dtype=np.float32)[np.asarray(images)[:, 0, 0] % 10]


def faces(copies: int) -> Faces:
    """Two training images and six of validation, the first `copies` of these training's."""
    # Tens tell images apart that are predicted alike.
    levels = [10 * k + said for k, said in enumerate(SAID)]
    train = [*levels[:copies], 90, 91][:2]
    images = np.array([*train, *levels], np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    n = len(images)
    return Faces(
        images=images,
        labels=np.array([*TRAIN, *TRUE], np.int32),
        splits=np.array([0, 0, 1, 1, 1, 1, 1, 1], np.int8),
        names=tuple(map(str, range(n))),
        class_names=ferjax.EMOTIONS,
        source_sizes=np.full((n, 2), 4, np.int32),
    )


def test_by_hand() -> None:
    found = evaluate(Stub(), faces(copies=1))
    assert (found.whole.images, found.whole.correct, found.whole.top_1) == (6, 4, 4 / 6)
    assert found.whole.recall["angry"] == pytest.approx(2 / 3)
    assert found.whole.recall["disgust"] == 1 / 2
    assert found.whole.recall["surprise"] == 1
    assert found.whole.recall["happy"] is None
    assert found.whole.support == dict(zip(ferjax.EMOTIONS, [3, 2, 0, 0, 0, 0, 1]))
    assert found.copies == 1
    assert found.without_copies is not None
    assert (found.without_copies.images, found.without_copies.correct) == (5, 3)


def test_the_interval_is_wilsons() -> None:
    # p = 2/3, n = 6, z = 1.95996: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)
    assert evaluate(Stub(), faces(copies=0)).whole.interval == pytest.approx(
        (0.3000, 0.9032), abs=1e-4
    )


def test_no_copies_no_second_figure() -> None:
    found = evaluate(Stub(), faces(copies=0))
    assert found.without_copies is None
    assert found.copies == 0
    assert found.to_json()["without_copies"] is None


def test_an_unknown_split() -> None:
    with pytest.raises(DataError, match="among train, validation, test, got 'dev'"):
        evaluate(Stub(), faces(copies=0), "dev")
