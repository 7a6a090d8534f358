"""Metrics against scikit-learn's own report and against figures worked out by hand."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from ferjax.evaluate import metrics
from ferjax.evaluate.metrics import measure

NAMES = ("a", "b", "c")


def drawn(n: int = 400, k: int = 3, seed: int = 0) -> tuple[Any, Any]:
    """Labels, and probabilities that have something to do with them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    logits = rng.normal(size=(n, k)) + 1.5 * np.eye(k)[labels]
    return labels, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def test_the_report_of_scikit_learn() -> None:
    labels, probabilities = drawn()
    found = measure(labels, probabilities, NAMES)
    predicted = probabilities.argmax(1)
    report = sk.classification_report(labels, predicted, target_names=NAMES, output_dict=True)
    assert found.accuracy == pytest.approx(report["accuracy"])
    assert found.macro_f1 == pytest.approx(report["macro avg"]["f1-score"])
    assert found.balanced_accuracy == pytest.approx(report["macro avg"]["recall"])
    for name in NAMES:
        c = found.classes[name]
        assert (c.precision, c.recall, c.f1) == pytest.approx(
            tuple(report[name][key] for key in ("precision", "recall", "f1-score"))
        )
        assert c.support == report[name]["support"]
        assert c.predicted == (predicted == NAMES.index(name)).sum()
    assert found.calibration is not None
    assert found.calibration.negative_log_likelihood == pytest.approx(
        -np.log(probabilities[range(len(labels)), labels]).mean()
    )
    assert found.calibration.brier_score == pytest.approx(
        ((probabilities - np.eye(3)[labels]) ** 2).sum(1).mean()
    )
    assert np.array(found.confusion).tolist() == sk.confusion_matrix(labels, predicted).tolist()


def test_by_hand() -> None:
    # True a a a b b c, said a a c b a c, all with certainty; d never occurs.
    said = np.eye(4)[[0, 0, 2, 1, 0, 2]]
    found = measure(np.array([0, 0, 0, 1, 1, 2]), said, (*NAMES, "d"))
    assert (found.images, found.correct, found.accuracy) == (6, 4, 4 / 6)
    # p = 2/3, n = 6, z = 1.95996: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)
    assert found.accuracy_interval == pytest.approx((0.3000, 0.9032), abs=1e-4)
    assert found.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    a, b, c, d = found.classes.values()
    assert (a.precision, a.recall, a.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert (b.precision, b.recall, b.f1) == pytest.approx((1, 1 / 2, 2 / 3))
    assert (c.precision, c.recall, c.f1) == pytest.approx((1 / 2, 1, 2 / 3))
    assert found.macro_f1 == pytest.approx(2 / 3)
    assert (d.precision, d.recall, d.f1, d.average_precision) == (None, None, None, None)
    assert d.recall_interval is None
    assert found.confusion == ((2, 0, 1, 0), (1, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 0))
    assert found.calibration is not None
    assert found.calibration.brier_score == pytest.approx(2 * 2 / 6)
    assert json.dumps(found.to_json(), allow_nan=False)


def test_calibration_error_of_equal_width_by_hand() -> None:
    # Bins of 1/15: 0.62 and 0.65 lie in (0.6, 0.667], 0.9 and 0.92 in (0.867, 0.933].
    confidence = np.array([0.62, 0.65, 0.9, 0.92])
    probabilities = np.stack([confidence, 1 - confidence], 1)
    found = metrics.calibration(np.array([0, 1, 0, 0]), probabilities)
    assert found is not None
    # |(0.62 + 0.65) / 2 - 1/2| * 2/4 + |(0.9 + 0.92) / 2 - 1| * 2/4
    assert found.ece_equal_width == pytest.approx(0.135 / 2 + 0.09 / 2)
    assert [b.images for b in found.equal_width if b.images] == [2, 2]
    # With four images every bin of equal mass has one: |0.62-1|, |0.65-0|, |0.9-1|, |0.92-1|.
    assert found.ece_equal_mass == pytest.approx((0.38 + 0.65 + 0.1 + 0.08) / 4)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    found = metrics.calibration(np.array([0]), np.array([[3 / 15, 0.8]]))
    assert found is not None
    assert [i for i, b in enumerate(found.equal_width) if b.images] == [11]  # (11/15, 12/15]


def test_bins_of_equal_mass_hold_equally_many_images() -> None:
    labels, probabilities = drawn(n=151)
    found = metrics.calibration(labels, probabilities)
    assert found is not None
    assert {b.images for b in found.equal_mass} == {10, 11}
    assert sum(b.images for b in found.equal_mass) == 151
    ends = [end for b in found.equal_mass for end in (b.low, b.high)]
    assert ends == sorted(ends)


def test_bins_of_equal_width_are_scikit_learns() -> None:
    labels, probabilities = drawn()
    found = metrics.calibration(labels, probabilities)
    assert found is not None
    accuracy, confidence = calibration_curve(
        probabilities.argmax(1) == labels, probabilities.max(1), n_bins=metrics.BINS
    )
    bins = [b for b in found.equal_width if b.images]
    assert [b.accuracy for b in bins] == pytest.approx(accuracy.tolist())
    assert [b.confidence for b in bins] == pytest.approx(confidence.tolist())


def test_a_perfectly_calibrated_network_has_a_small_error_and_an_overconfident_one_a_large() -> (
    None
):
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1, 20_000)
    labels = (rng.uniform(size=p.size) > p).astype(int)  # class 0 with probability p
    calm = metrics.calibration(labels, np.stack([p, 1 - p], 1))
    sure = metrics.calibration(labels, np.stack([p**0.2, 1 - p**0.2], 1))
    assert calm is not None
    assert sure is not None
    assert calm.ece_equal_width < 0.01
    assert calm.ece_equal_mass < 0.02
    assert sure.ece_equal_width == pytest.approx(float((p**0.2 - p).mean()), abs=0.01)


def test_outputs_that_are_no_distribution_have_no_calibration() -> None:
    labels, probabilities = drawn()
    assert metrics.calibration(labels, probabilities * 0.9) is None
    assert measure(labels, probabilities * 0.9, NAMES).calibration is None


def test_softmaxes_of_float32_are_distributions() -> None:
    labels, probabilities = drawn()
    found = metrics.calibration(labels, probabilities.astype(np.float32))
    wanted = metrics.calibration(labels, probabilities)
    assert found is not None
    assert wanted is not None
    assert found.negative_log_likelihood == pytest.approx(wanted.negative_log_likelihood, rel=1e-5)


def test_bootstrap_intervals_are_those_of_drawing_images() -> None:
    labels, probabilities = drawn(n=300)
    found = measure(labels, probabilities, NAMES)
    predicted = probabilities.argmax(1)
    rng = np.random.default_rng(1)
    macro, balanced = [], []
    for _ in range(500):
        rows = rng.integers(0, 300, 300)
        macro.append(sk.f1_score(labels[rows], predicted[rows], average="macro"))
        balanced.append(sk.balanced_accuracy_score(labels[rows], predicted[rows]))
    wanted = np.percentile(macro, (2.5, 97.5)), np.percentile(balanced, (2.5, 97.5))
    assert found.macro_f1_interval == pytest.approx(wanted[0].tolist(), abs=0.01)
    assert found.balanced_accuracy_interval == pytest.approx(wanted[1].tolist(), abs=0.01)
    assert found.macro_f1_interval[0] < found.macro_f1 < found.macro_f1_interval[1]
    assert measure(labels, probabilities, NAMES).macro_f1_interval == found.macro_f1_interval


def test_abstention_by_hand() -> None:
    confidence = np.array([0.95, 0.9, 0.7, 0.55])
    probabilities = np.stack([confidence, 1 - confidence], 1)
    rows = metrics.abstention(np.array([0, 0, 1, 0]), probabilities, (0.0, 0.6, 0.9, 0.99))
    assert [row.images for row in rows] == [4, 3, 2, 0]
    assert [row.coverage for row in rows] == [1, 0.75, 0.5, 0]
    assert [row.accuracy for row in rows] == [3 / 4, pytest.approx(2 / 3), 1, None]
    assert rows[-1].interval is None
