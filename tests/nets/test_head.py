"""How many classes a network tells apart, and how its outputs become their probabilities."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from ferjax.errors import LabelsError, LayerError
from ferjax.nets import Call, Graph
from ferjax.nets.head import Head, checked_labels, has_logits
from ferjax.nets.layers import (
    Activation,
    Add,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling1D,
    InputLayer,
    Layer,
    MaxPooling1D,
    Multiply,
    ReLU,
    Rescaling,
    Reshape,
    Softmax,
)


def chain(*layers: Layer, shape: Any = (4,)) -> Graph:
    return Graph.sequential(layers, input_shape=shape)


def merged(merge: Layer, *ends: str) -> Graph:
    """Return two dense units, each with an activation, and a layer that merges them."""
    layers = [InputLayer(name="x", shape=(4,))]
    layers += [Dense(name=f"d{i}", units=1, activation=end) for i, end in enumerate(ends)]
    calls = [Call("x", ()), *(Call(f"d{i}", (0,)) for i in range(len(ends)))]
    calls.append(Call("m", tuple(range(1, len(ends) + 1))))
    return Graph((*layers, merge), tuple(calls), functional=True)


MULTIPLIED = merged(Multiply(name="m"), "sigmoid", "hard_sigmoid")
SIGMOIDS = [
    chain(Dense(units=1, activation="sigmoid")),
    chain(Dense(units=1), Activation(activation="sigmoid")),
    chain(Dense(units=1, activation="sigmoid"), Dropout(rate=0.5)),
    chain(Dense(units=1, activation="sigmoid"), Reshape(target_shape=(1, 1)), Flatten()),
    chain(Conv2D(filters=1, kernel_size=2, activation="sigmoid"), Flatten(), shape=(2, 2, 1)),
]
OTHERS_IN_UNIT_INTERVAL = [
    chain(Dense(units=1, activation="hard_sigmoid")),
    chain(Dense(units=1, activation="keras2_hard_sigmoid")),
    chain(
        Conv2D(filters=1, kernel_size=1, activation="sigmoid"),
        GlobalAveragePooling2D(),
        shape=(2, 2, 1),
    ),
    chain(Dense(units=1, activation="sigmoid"), MaxPooling1D(), GlobalMaxPooling1D(), shape=(4, 3)),
    MULTIPLIED,
]


@pytest.mark.parametrize("graph", SIGMOIDS + OTHERS_IN_UNIT_INTERVAL)
def test_a_unit_in_the_unit_interval_tells_two_classes_apart(graph: Graph) -> None:
    head = Head.of(graph)
    assert (head.num_classes, head.is_single_unit, head.gives_distribution) == (2, True, True)


def test_only_a_sigmoid_of_one_unit_has_logits() -> None:
    assert all(map(has_logits, SIGMOIDS))
    assert not any(map(has_logits, OTHERS_IN_UNIT_INTERVAL))
    assert not has_logits(chain(Dense(units=2, activation="sigmoid")))


@pytest.mark.parametrize(
    ("end", "sums_to_one"),
    [
        ("softmax", True), ("linear", True), ("log_softmax", True), ("sigmoid", False),
        ("relu", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("units", [2, 7])
def test_several_units_are_as_many_classes(end: str, sums_to_one: bool, units: int) -> None:
    head = Head.of(chain(Dense(units=units, activation=end)))
    assert (head.num_classes, head.is_single_unit) == (units, False)
    assert head.gives_distribution is sums_to_one


@pytest.mark.parametrize(
    ("graph", "what"),
    [
        (chain(Dense(units=1)), r"one linear unit, .* save the model with Activation\('sigmoid'\)"),
        (chain(Dense(units=1, activation="softmax")), "a softmax over one unit, which gives 1 for"),
        (chain(Dense(units=1), Softmax()), "the network can only ever say one thing"),
        (chain(Dense(units=1, activation="log_softmax")), "log_softmax over one unit, which gives"),
        (
            chain(Dense(units=1, activation="tanh")),
            "one unit of activation 'tanh' that nothing makes a prob",
        ),
        (chain(Dense(units=1, activation="relu")), "of activation 'relu' .*, as of a regression"),
        (
            chain(Dense(units=1), ReLU()),
            "one unit that nothing makes a probability, as of a regression",
        ),
        (
            chain(Dense(units=1, activation="sigmoid"), Rescaling(scale=9.0)),
            "that nothing makes a probabil",
        ),
        (merged(Add(name="m"), "sigmoid", "sigmoid"), "one unit that nothing makes a probability"),
        (
            merged(Multiply(name="m"), "sigmoid", "tanh"),
            "one unit that nothing makes a probability",
        ),
    ],
)
def test_a_unit_that_classifies_nothing_is_refused(graph: Graph, what: str) -> None:
    with pytest.raises(LayerError, match=f"a network that classifies, it ends in .*{what}"):
        Head.of(graph)


def test_an_output_of_other_axes_is_refused() -> None:
    with pytest.raises(LayerError, match=r"an output of \(K,\), the network gives \(3, 1\)"):
        Head.of(chain(Dense(units=1, activation="sigmoid"), shape=(3, 4)))


ONE = Head.of(SIGMOIDS[0])


@pytest.mark.parametrize("xp", [np, jnp])
def test_the_unit_is_the_probability_of_the_second(xp: Any) -> None:
    actual = ONE.probabilities(xp.asarray([[0.25], [1.0]], "float32"))
    assert isinstance(actual, np.ndarray) is (xp is np)
    assert actual.dtype == np.float32
    np.testing.assert_array_equal(actual, [[0.75, 0.25], [0, 1]])


@pytest.mark.parametrize("xp", [np, jnp])
@pytest.mark.parametrize("end", ["linear", "log_softmax", "softmax"])
def test_probabilities_of_several_units(xp: Any, end: str) -> None:
    expected = np.float32([[0.25, 0.75], [0.5, 0.5]])
    units = xp.asarray(expected)
    if end != "softmax":
        units = xp.log(units) + (3 if end == "linear" else 0)
    actual = Head(2, end).probabilities(units)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("xp", [np, jnp])
def test_from_a_half_on_it_is_the_second(xp: Any) -> None:
    below = np.nextafter(np.float32(0.5), np.float32(0))
    rows = ONE.probabilities(xp.asarray([[0.1], [below], [0.5], [0.9]], "float32"))
    assert ONE.predicted(rows).tolist() == [0, 0, 1, 1]
    # Of two units the first, as Keras's users get by argmax.
    assert Head(2, "softmax").predicted(rows).tolist() == [0, 0, 0, 1]


def test_a_single_row_has_one_index() -> None:
    assert int(ONE.predicted(np.float32([0.5, 0.5]))) == 1
    assert int(Head(3, "softmax").predicted(np.float32([0.1, 0.7, 0.2]))) == 1


def test_ranks_begin_with_what_is_said() -> None:
    assert ONE.ranked([0.5, 0.5]) == [1, 0]
    assert ONE.ranked([0.75, 0.25]) == [0, 1]
    assert Head(4, "softmax").ranked([0.1, 0.4, 0.1, 0.4]) == [1, 3, 0, 2]


def test_logits_of_one_unit_are_those_of_two_classes() -> None:
    # The softmax of [0, log 3] is [1/4, 3/4], and log 3 the sigmoid's logit of 3/4.
    actual = np.asarray(ONE.logits(jnp.log(jnp.array([[3.0]]))))
    np.testing.assert_allclose(np.exp(actual) / np.exp(actual).sum(), [[0.25, 0.75]], rtol=1e-6)
    np.testing.assert_array_equal(ONE.scores(jnp.array([[3.0]])), [[-3, 3]])
    units = jnp.array([[1.0, 2.0]])
    assert Head(2, "linear").logits(units) is units
    assert Head(2, "linear").scores(units) is units


@pytest.mark.parametrize(
    ("graph", "labels", "message"),
    [
        (SIGMOIDS[0], ["happy"], "expected 2 .*, got 1: happy; one unit tells two classes apart"),
        (SIGMOIDS[0], ["a", "a"], "expected 2 different labels"),
        (chain(Dense(units=1)), ["no", "yes"], "got 2: no, yes; expected a .* one linear unit"),
        (chain(Dense(units=3)), ["no", "yes"], "expected 3 different labels .*: no, yes$"),
    ],
)
def test_labels_that_do_not_fit(graph: Graph, labels: list[str], message: str) -> None:
    with pytest.raises(LabelsError, match=message):
        checked_labels(labels, graph)


def test_labels_that_fit() -> None:
    assert checked_labels(("no", "yes"), SIGMOIDS[0]) == ["no", "yes"]
    assert checked_labels(["age"], chain(Dense(units=1))) == ["age"]
