"""Priors: Bayes' rule by hand, shares that are estimated, and what is refused."""

from __future__ import annotations

import json
import pickle
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferjax import classifier as classifiers
from ferjax import digests, priors
from ferjax.classifier import EmotionClassifier
from ferjax.errors import FerjaxError, PriorError, PriorWarning
from ferjax.scaling import Scaling

from .networks import dense_weights, one_dense

ROOT = Path(__file__).parents[1]
ABC = ["a", "b", "c"]
HALVES = [0.5, 0.5]
QUARTERS = {"a": 0.25, "b": 0.25, "c": 0.5}
WHITE = np.array([[255]], np.uint8)


def model(units: int = 3, **options: Any) -> EmotionClassifier:
    """Return a classifier that finds white to be 1/8 a, 2/8 b, 5/8 c, or as one unit says 3/4."""
    last = "sigmoid" if units == 1 else options.pop("activation", "softmax")
    logits = np.log([[3.0]]) if units == 1 else np.log([[1.0, 2.0, 5.0]])
    labels = options.pop("labels", ["calm", "tense"] if units == 1 else ABC)
    options.setdefault("temperature", 1.0)
    return EmotionClassifier(one_dense(units, last), dense_weights(logits), labels, **options)


# --- Bayes' rule by hand -------------------------------------------------------------------------


@pytest.mark.parametrize("engine", classifiers.ENGINES)
def test_bayes_rule(engine: str) -> None:
    if engine == "onnx":
        pytest.importorskip("onnxruntime")
    known = model(engine=engine, training_frequencies=QUARTERS)
    assert known.prior == QUARTERS
    # p / old = 1/2, 1, 5/4, whose sum is 11/4: 2/11, 4/11, 5/11.
    uniform = known.predict_proba(WHITE, prior="uniform")
    assert uniform.dtype == np.float32
    np.testing.assert_allclose(uniform, [[2 / 11, 4 / 11, 5 / 11]], atol=1e-6)
    # Times 0.5, 0.4, 0.1: 0.25, 0.4, 0.125 of 0.775; counts do as well, and so does their order.
    for prior in ({"c": 10, "a": 50, "b": 40}, [0.5, 0.4, 0.1], np.float32([5, 4, 1])):
        (found,) = known.predict(WHITE, prior=prior)
        assert found.label == "b" and found.index == 1
        assert found.confidence == pytest.approx(0.4 / 0.775, abs=1e-6)
        assert found.probabilities["a"] == pytest.approx(0.25 / 0.775, abs=1e-6)
    # Confidences and thresholds are of what comes out.
    assert known.predict(WHITE, prior="uniform", abstain_below=0.46)[0].label is None
    assert known.predict(WHITE, prior="uniform", abstain_below=0.45)[0].label == "c"
    same = known.predict_proba(WHITE, prior=QUARTERS)
    np.testing.assert_allclose(same, known.predict_proba(WHITE), atol=1e-7)


def test_a_prior_is_applied_to_calibrated_probabilities() -> None:
    # Temperature 1/2 squares: 1, 4, 25 of 30; over 1/4, 1/4, 1/2: 4, 16, 50 of 70.
    known = model(temperature=0.5, training_frequencies=QUARTERS)
    expected = [[4 / 70, 16 / 70, 50 / 70]]
    for calibrated in (False, True):
        found = known.predict_proba(WHITE, calibrated=calibrated, prior="uniform")
        np.testing.assert_allclose(found, expected, atol=1e-6)
    rows = known.predict_proba(WHITE, calibrated=True)
    np.testing.assert_array_equal(known.with_prior(rows, "uniform"), found)
    assert known.with_prior(rows, "training") is rows


def test_offsets_hold_for_the_prior_that_they_were_fitted_on() -> None:
    scaling = Scaling(temperature=1.0, offsets=(0.0, 0.0, 0.0), prior=(0.5, 0.25, 0.25))
    known = model(temperature=None, scaling=scaling, training_frequencies=QUARTERS)
    assert known.prior == {"a": 0.5, "b": 0.25, "c": 0.25}
    # p / old = 1/4, 1, 5/2, whose sum is 15/4.
    found = known.predict_proba(WHITE, prior="uniform")
    np.testing.assert_allclose(found, [[1 / 15, 4 / 15, 10 / 15]], atol=1e-6)
    # Where nothing says what that was, it is not that of the training.
    of_others = Scaling(temperature=1.0, offsets=(1.0, 0.0, 0.0))
    counted = {"training_frequencies": QUARTERS}
    unsaid = model(temperature=None, scaling=of_others, metadata=counted)
    assert unsaid.prior is None
    with pytest.raises(PriorError, match="do not say how common"):
        unsaid.predict_proba(WHITE, prior="uniform")
    stated = model(temperature=None, scaling=of_others, training_frequencies=QUARTERS)
    assert stated.prior == QUARTERS


def test_one_unit_for_two_classes() -> None:
    # 1/4 and 3/4, trained on 1/10 and 9/10: 10/4 and 10/12, which are 3 to 1.
    known = model(1, training_frequencies=[0.1, 0.9])
    (found,) = known.predict(WHITE, prior="uniform")
    assert found.label == "calm"
    assert found.confidence == pytest.approx(0.75, abs=1e-6)


def test_nothing_changes_by_default() -> None:
    known = model(temperature=0.5, training_frequencies=QUARTERS)
    for calibrated in (False, True):
        plain = known.predict_proba(WHITE, calibrated=calibrated)
        same = known.predict_proba(WHITE, calibrated=calibrated, prior="training")
        assert plain.tobytes() == same.tobytes()
    np.testing.assert_allclose(known.predict_proba(WHITE), [[1 / 8, 2 / 8, 5 / 8]], atol=1e-6)
    empty = np.zeros((0, 1, 1, 1), np.float32)
    assert known.predict_batch(empty, prior="uniform").shape == (0, 3)
    # Without anything known of the training too, and for outputs that are no distribution.
    assert model().prior is None
    model(activation="sigmoid").predict_proba(WHITE, prior="training")


# --- what the weights were trained on ------------------------------------------------------------


def test_the_prior_is_the_metadata_s() -> None:
    adjusted = {"a": 1, "b": 1, "c": 1}
    found = model(metadata={"prior": adjusted, "training_frequencies": QUARTERS}).prior
    assert found == pytest.approx(dict.fromkeys(ABC, 1 / 3))
    counted = {"training_frequencies": QUARTERS}
    assert model(metadata=counted).prior == QUARTERS
    assert model(metadata=counted, training_frequencies=[2, 1, 1]).prior == {
        "a": 0.5,
        "b": 0.25,
        "c": 0.25,
    }
    # Classes that are called otherwise here keep their positions.
    renamed = model(metadata={**counted, "labels": ABC}, labels=["x", "y", "z"])
    assert renamed.prior == {"x": 0.25, "y": 0.25, "z": 0.5}


@pytest.mark.parametrize("known", [[0.5, 0.5], {"a": 1, "b": 0, "c": 1}, {"a": 1}, "uniform"])
def test_metadata_that_says_no_prior_is_refused_where_one_is_used(known: Any) -> None:
    broken = model(metadata={"training_frequencies": known})
    broken.predict_proba(WHITE)
    with pytest.raises(PriorError, match=r"^metadata: expected .*training_frequencies"):
        broken.predict_proba(WHITE, prior="uniform")


def test_released_weights_know_what_they_were_trained_on() -> None:
    counts = [3995, 436, 4097, 7215, 4965, 4830, 3171]  # of FER2013's Training
    paths = sorted(ROOT.glob("checkpoints/fer_*.metadata.json"))
    assert paths
    for path in paths:
        known = json.loads(path.read_text())
        if "votes" in path.name:
            continue
        found = priors.of_metadata(known, known["labels"])
        assert found is not None
        np.testing.assert_allclose(found, np.array(counts) / 28709, atol=1e-6)
        assert (
            digests.sha256(path.with_name(path.name.replace(".metadata.json", ".h5")))
            == (known["sha256"])
        )


def test_nobody_knows_the_training() -> None:
    for prior in ("uniform", "adapt", QUARTERS):
        with pytest.raises(PriorError, match=r"do not say how common .* --training-frequencies"):
            model().predict_proba("nowhere.png", prior=prior)


def test_weights_without_a_calibration_are_warned_of() -> None:
    known = model(temperature=None, training_frequencies=QUARTERS)
    with pytest.warns(PriorWarning, match="no calibration, .* `ferjax calibrate` stores one"):
        found = known.predict_proba(WHITE, prior="uniform")
    np.testing.assert_allclose(found, [[2 / 11, 4 / 11, 5 / 11]], atol=1e-6)


def test_what_calibrates_fits_the_classes() -> None:
    with pytest.raises(FerjaxError, match="expected 3 offsets of `scaling`, got 2"):
        model(temperature=None, scaling=Scaling(temperature=1.0, offsets=(0.0, 1.0)))
    with pytest.raises(FerjaxError, match="expected `temperature` or `scaling`, got both"):
        model(temperature=1.0, scaling=Scaling(temperature=1.0))
    known = model(temperature=None, scaling=Scaling(temperature=2.0, offsets=(0.0, 1.0, 0.0)))
    assert known.temperature == 2
    known.temperature = 3.0
    assert known.scaling == Scaling(temperature=3.0)
    with pytest.raises(FerjaxError, match="expected a positive temperature, got -1"):
        known.temperature = -1.0


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ({"a": 0.5, "b": 0.5}, "a share of each of a, b, c for `prior`, got none for c"),
        ({"a": 1, "b": 1, "d": 1}, "got 'd', which is no class.* and none for c"),
        ({"a": 1, "b": 1, "c": 1, "d": 1}, "got 'd', which is no class"),
        ({"a": 1, "b": 1, "c": 0}, "positive share of c for `prior`, got 0; a class that hardly"),
        ({"a": 0, "b": 0, "c": 1}, "positive share of a"),
        ({"a": 1, "b": -0.1, "c": 1}, "positive share of b for `prior`, got -0.1"),
        ({"a": 1, "b": float("nan"), "c": 1}, "positive share of b for `prior`, got nan"),
        ({"a": 1, "b": float("inf"), "c": 1}, "positive share of b for `prior`, got inf"),
        ({"a": 1, "b": "1", "c": 1}, "positive share of b for `prior`, got '1'"),
        ({"a": 1, "b": True, "c": 1}, "positive share of b for `prior`, got True"),
        ({"a": 1, "b": None, "c": 1}, "positive share of b for `prior`, got None"),
        ({"a": 1, "b": 1e-300, "c": 1}, "at least 1e-12 for `prior`, got 5e-301 of b"),
        ({}, "got none for a, b, c"),
        ([0.5, 0.5], "expected 3 numbers for `prior`, in the order a, b, c, got 2"),
        ([[1, 1, 1]], "expected 3 numbers for `prior`"),
        ([1, [1], 1], "positive share of b"),
        ("unifrom", "'training', 'uniform', 'adapt', or a share of each.*did you mean 'uniform'"),
        (None, "a share of each class for `prior`, got None"),
        (0.5, "a share of each class for `prior`, got 0.5"),
        (np.array(0.5), "a share of each class for `prior`"),
        ({0.2, 0.3, 0.5}, "a share of each class for `prior`, got {"),
        (np.full((3, 1), 1.0), "a share of each class for `prior`"),
        (b"adapt", "a share of each class for `prior`"),
    ],
)
def test_a_prior_that_says_nothing_is_refused_before_any_image_is_read(
    prior: Any, message: str
) -> None:
    with pytest.raises(PriorError, match=message):
        model(training_frequencies=QUARTERS).predict_proba("nowhere.png", prior=prior)


def test_emotions_may_go_by_their_other_names() -> None:
    labels = ["happy", "neutral"]
    assert priors.shares({"neutrality": 1, "happiness": 3}, labels).tolist() == [0.75, 0.25]
    with pytest.raises(PriorError, match="got classes more than once"):
        priors.shares({"happy": 1, "happiness": 1, "neutral": 1}, labels)
    assert priors.shares([1e308, 1e308], labels).tolist() == [0.5, 0.5]  # whose sum is infinite


def test_errors_are_one_line() -> None:
    with pytest.raises(PriorError) as raised:
        priors.shares({"a": 1}, ["a", "b\nc"])
    assert "none for b\\nc" in str(raised.value) and "\n" not in str(raised.value)


def test_outputs_that_are_no_distribution_have_no_prior() -> None:
    known = model(activation="sigmoid", training_frequencies=QUARTERS, temperature=None)
    with pytest.raises(FerjaxError, match=r"sum to 1 for a prior .* of sigmoids"):
        known.predict_proba("nowhere.png", prior="uniform")
    other = model(activation="relu", training_frequencies=QUARTERS)
    with pytest.raises(FerjaxError, match="expected outputs that sum to 1"):
        other.predict_proba(WHITE, prior="uniform")


# --- adaptation ----------------------------------------------------------------------------------


def drawn(shares: list[float], count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels drawn with these shares, and calibrated probabilities under equal ones.

    What is seen is the class plus Gaussian noise, so that Bayes' rule gives the probabilities.
    """
    rng = np.random.default_rng(seed)
    labels = rng.choice(len(shares), count, p=shares)
    seen = np.eye(len(shares))[labels] + 0.5 * rng.standard_normal((count, len(shares)))
    logits = seen / 0.5**2
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return labels, (raised / raised.sum(1, keepdims=True)).astype(np.float32)


def test_a_known_shift_is_estimated() -> None:
    shares = [0.7, 0.2, 0.07, 0.03]
    labels, rows = drawn(shares, 20_000)
    found = priors.estimate(rows, [1, 1, 1, 1])
    np.testing.assert_allclose(found, shares, atol=0.01)
    assert found.sum() == pytest.approx(1)
    # The estimate is a fixed point, and what comes of it is right more often.
    adapted = priors.apply(rows, [0.25] * 4, found)
    np.testing.assert_allclose(adapted.mean(0), found, atol=1e-5)
    assert (adapted.argmax(1) == labels).mean() > (rows.argmax(1) == labels).mean() + 0.02
    # Where training was not balanced either, the old shares cancel out.
    old = np.array([0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(
        priors.estimate(priors.apply(rows, [1] * 4, old), old), found, atol=1e-4
    )


def test_shares_that_stay_are_found_again() -> None:
    _, rows = drawn([0.25] * 4, 20_000)
    np.testing.assert_allclose(priors.estimate(rows, [0.25] * 4), [0.25] * 4, atol=0.01)


def test_a_class_that_no_face_shows_keeps_a_share() -> None:
    rows = np.tile(np.float32([[0.9, 0.1, 0]]), (100, 1))
    found = priors.estimate(rows, [1, 1, 1])
    assert found.min() > 0
    assert np.isfinite(priors.apply(rows, [1, 1, 1], found)).all()


def test_adapt_estimates_from_the_images_at_hand() -> None:
    known = model(training_frequencies=QUARTERS)
    assert known.adapted_prior is None
    with pytest.warns(PriorWarning, match="estimated from 2 faces; below 100 it is mostly chance"):
        found = known.predict_proba([WHITE] * 2, prior="adapt")
    # Equal faces: all are most likely of the class whose p / old, 1/2, 1, 5/4, is the largest.
    assert known.adapted_prior is not None
    assert known.adapted_prior["c"] == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(found, [[0, 0, 1]] * 2, atol=1e-3)
    assert pickle.loads(pickle.dumps(known)).adapted_prior == known.adapted_prior
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        known.predict_proba([WHITE] * 100, prior="adapt")


@pytest.mark.parametrize("count", [0, 1])
def test_adapt_needs_more_than_an_image(count: int) -> None:
    known = model(training_frequencies=QUARTERS)
    batch = np.zeros((count, 1, 1, 1), np.float32)
    with pytest.raises(PriorError, match=rf"at least 2 faces for the prior 'adapt', got {count}: "):
        known.predict_batch(batch, prior="adapt")
    assert known.adapted_prior is None


@pytest.mark.parametrize("rows", [[[0.5, 0.6]] * 2, [[np.nan, 1]] * 2, [[-0.5, 1.5]] * 2])
def test_what_are_no_probabilities_is_refused(rows: Any) -> None:
    for change in (
        partial(priors.estimate, old=HALVES),
        partial(priors.apply, old=[1, 1], new=[1, 2]),
    ):
        with pytest.raises(PriorError, match="rows of probabilities that sum to 1"):
            change(np.array(rows))
        for shape in (np.array(rows)[0], [[0.5, 0.5], [1]], [["a", "b"]]):
            with pytest.raises(PriorError, match=r"expected probabilities \(B, K\), got"):
                change(shape)


def test_shares_that_do_not_fit_probabilities_are_refused() -> None:
    rows = np.full((2, 2), 0.5)
    for shares in ([1, 1, 1], [0, 1], [np.inf, 1], [-1, 2]):
        with pytest.raises(PriorError, match=r"expected 2 positive numbers for `old`, got \["):
            priors.estimate(rows, shares)
        with pytest.raises(PriorError, match=r"expected 2 positive numbers for `new`, got \["):
            priors.apply(rows, HALVES, shares)
    known = model(temperature=0.5, training_frequencies=QUARTERS)
    for other in (rows, rows[0]):
        with pytest.raises(FerjaxError, match=r"expected `probabilities` \(B, 3\), got \(2,"):
            known.with_prior(other, "uniform")


# --- as text -------------------------------------------------------------------------------------


def test_text_is_read_as_it_is_written() -> None:
    text = priors.as_text(dict(zip(ABC, [0.123456, 0.876544 - 1e-9, 1e-9])))
    assert text == "a=0.1235,b=0.8765,c=1e-09"
    assert priors.parse(text) == {"a": 0.1235, "b": 0.8765, "c": 1e-9}
    assert priors.parse(" adapt ") == "adapt"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Uniform", "did you mean 'uniform'"),
        ("happy", "'training', 'uniform', 'adapt', or"),
        ("", "'training', 'uniform', 'adapt', or"),
        ("a=1,b", "expected CLASS=SHARE with a share above 0, got 'b'"),
        ("a=1,,b=1", "expected CLASS=SHARE"),
        ("a=1,b=x", "got 'b=x'"),
        ("a=1,b=1_0", "got 'b=1_0'"),
        ("a=1,b=0", "got 'b=0'"),
        ("a=1,b=-1", "got 'b=-1'"),
        ("a=1,b=inf", "got 'b=inf'"),
        ("a=1,b=nan", "got 'b=nan'"),
        ("=1", "got '=1'"),
        ("a=1,a=2", "expected each class once, got 'a' more than once"),
    ],
)
def test_text_that_is_no_prior(text: str, message: str) -> None:
    with pytest.raises(PriorError, match=message):
        priors.parse(text)
