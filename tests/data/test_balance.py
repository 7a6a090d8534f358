"""Class weights, and the order that shows all classes equally often."""

from __future__ import annotations

import numpy as np
import pytest

from ferjax.data.balance import Balanced, class_weights
from ferjax.data.order import PipelineError, TrainingBatches

LABELS = np.repeat([0, 1, 2], [70, 25, 5])


def test_weights_by_hand() -> None:
    # 100 images of 3 classes: 100 / (3 * 70), 100 / (3 * 25), 100 / (3 * 5).
    weights = class_weights(LABELS, 3)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, [10 / 21, 4 / 3, 20 / 3], rtol=1e-6)


def test_weights_have_mean_one_over_images_also_where_a_class_is_absent() -> None:
    weights = class_weights(LABELS, 5)
    assert weights[3:].tolist() == [0, 0]
    assert weights[LABELS].mean() == pytest.approx(1, abs=1e-6)


def test_weights_of_equal_classes_are_one() -> None:
    assert class_weights(np.array([2, 0, 1, 1, 2, 0], np.uint8), 3).tolist() == [1, 1, 1]


def test_each_epoch_has_all_classes_equally_often() -> None:
    order = Balanced(labels=LABELS, seed=1)
    counts = np.array([np.bincount(LABELS[order.epoch(e)], minlength=3) for e in range(6)])
    assert (counts.sum(1) == 100).all()
    assert counts.min() == 33
    assert counts.max() == 34
    assert counts.sum(0).tolist() == [200, 200, 200]  # the odd one goes round


@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_images_of_a_class_come_equally_often(epochs: int) -> None:
    order = Balanced(labels=LABELS, seed=1)
    seen = np.bincount(np.concatenate([order.epoch(e) for e in range(epochs)]), minlength=100)
    for members in (seen[:70], seen[70:95], seen[95:]):
        assert np.ptp(members) <= 1


def test_order_is_a_function_of_seed_and_epoch() -> None:
    def draw(seed: int, epoch: int) -> list[int]:
        return Balanced(labels=LABELS, seed=seed).epoch(epoch).tolist()

    order = Balanced(labels=LABELS, seed=5)
    late = order.epoch(9).tolist()
    assert [order.epoch(e).tolist() for e in range(9)][3] == draw(5, 3)
    assert late == order.epoch(9).tolist() == draw(5, 9)
    assert draw(5, 3) != draw(6, 3)
    assert draw(5, 3) != draw(5, 4)


def test_classes_are_mixed_within_an_epoch() -> None:
    labels = LABELS[Balanced(labels=LABELS, seed=1).epoch(0)]
    for half in (labels[:50], labels[50:]):
        assert (np.bincount(half, minlength=3) > 5).all()


def test_it_serves_as_the_order_of_batches() -> None:
    order = Balanced(labels=LABELS)
    batches = TrainingBatches(order=order, batch_size=30)
    stream = np.concatenate([order.epoch(0), order.epoch(1)])
    assert batches.at(3).rows.tolist() == stream[90:120].tolist()
    assert batches.settings["labels"] == order.settings["labels"]
    assert order.settings != Balanced(labels=LABELS[::-1]).settings


def test_labels_are_a_copy() -> None:
    labels = LABELS.copy()
    order = Balanced(labels=labels)
    before = order.epoch(0).tolist()
    labels[:] = 0
    assert Balanced(labels=order.labels).epoch(0).tolist() == before


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([]), r"expected integers of shape \(N,\) for `labels`, got float64 \(0,\)"),
        (np.eye(3), r"got float64 \(3, 3\)"),
        (np.array([0, -2]), "expected `labels` of at least 0.*, got -2"),
        (np.array([0, 7]), "expected `labels` of at least 0 and below 7, got 7"),
    ],
)
def test_errors(labels: np.ndarray, message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        class_weights(labels, 7)
