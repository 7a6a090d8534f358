"""The training loss and the penalties on weights, by hand."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ferjax.nets import Call, Graph
from ferjax.nets.initializers import L1L2
from ferjax.nets.layers import (
    Add,
    BatchNormalization,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    InputLayer,
    Layer,
    PReLU,
    SeparableConv2D,
)
from ferjax.train.losses import cross_entropy, has_penalty, penalty

LN2 = float(np.log(2))
LOGITS = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]))
WEIGHTS = jnp.array([2.0, 10.0, 3.0])


def check(actual: jax.Array, expected: list[float]) -> None:
    assert actual.dtype == jnp.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


# --- cross-entropy -------------------------------------------------------------------------------


def test_cross_entropy_of_each_image() -> None:
    labels = jax.nn.one_hot(jnp.array([0, 2]), 3)
    check(cross_entropy(LOGITS, labels), [LN2, 2 * LN2])


def test_label_smoothing() -> None:
    # 0.7 + 0.3 / 3 of the label, 0.3 / 3 of each other class.
    labels = jax.nn.one_hot(jnp.array([0, 2]), 3)
    expected = [0.8 * LN2 + 0.2 * 2 * LN2, 0.1 * LN2 + 0.9 * 2 * LN2]
    check(cross_entropy(LOGITS, labels, smoothing=0.3), expected)


def test_class_weights() -> None:
    labels = jax.nn.one_hot(jnp.array([0, 2]), 3)
    check(cross_entropy(LOGITS, labels, WEIGHTS), [2 * LN2, 3 * 2 * LN2])


def test_soft_labels() -> None:
    labels = jnp.array([[0.5, 0.5, 0.0], [0.0, 0.25, 0.75]])
    check(cross_entropy(LOGITS, labels), [1.5 * LN2, 2 * LN2])


def test_class_weights_of_soft_labels_are_mixed_alike() -> None:
    labels = jnp.array([[0.5, 0.5, 0.0], [0.0, 0.25, 0.75]])
    expected = [(1 + 5) * 1.5 * LN2, (2.5 + 2.25) * 2 * LN2]
    check(cross_entropy(LOGITS, labels, WEIGHTS), expected)


def test_class_weights_go_by_the_label_before_smoothing() -> None:
    labels = jax.nn.one_hot(jnp.array([0, 1]), 3)
    expected = [2 * 1.2 * LN2, 10 * (0.1 + 0.9 * 2) * LN2]
    check(cross_entropy(LOGITS, labels, WEIGHTS, 0.3), expected)


def test_large_logits_stay_finite() -> None:
    labels = jax.nn.one_hot(jnp.array([1]), 2)
    check(cross_entropy(jnp.array([[1000.0, 0.0]]), labels), [1000])


# --- penalties -----------------------------------------------------------------------------------

L1, L2, BOTH = L1L2(l1=0.5), L1L2(l2=0.25), L1L2(l1=1.0, l2=2.0)


def penalty_of(*layers: Layer, **params: Any) -> float:
    """Return the penalty of one chain for the arrays of its layer "x"."""
    graph = Graph.sequential(layers, input_shape=(2, 2, 2))
    shapes = {w.name: w.shape for w in graph.weights["x"] if w.collection == "params"}
    arrays = {k: jnp.resize(jnp.array(params[k], "float32"), shapes[k]) for k in shapes}
    value = penalty(graph, {"x": arrays})
    assert value.dtype == jnp.float32
    assert value.shape == ()
    return float(value)


def test_penalties_of_a_dense_layer() -> None:
    flat = Flatten()
    weights = {"kernel": [-2.0], "bias": [3.0]}  # 8 and 1 of them
    assert penalty_of(flat, Dense(name="x", units=1), **weights) == 0
    assert penalty_of(flat, Dense(name="x", units=1, kernel_regularizer=L1), **weights) == 8
    assert penalty_of(flat, Dense(name="x", units=1, kernel_regularizer=L2), **weights) == 8
    both = Dense(name="x", units=1, kernel_regularizer=BOTH, bias_regularizer=L2)
    assert penalty_of(flat, both, **weights) == 8 * (2 + 2 * 4) + 0.25 * 9


def test_penalties_of_a_convolution() -> None:
    layer = Conv2D(name="x", filters=1, kernel_size=2, kernel_regularizer=L1, bias_regularizer=BOTH)
    # 2 * 2 * 2 weights of 1, -3, 1, -3, ...
    assert penalty_of(layer, kernel=[1.0, -3.0], bias=[-1.0]) == 0.5 * 16 + 3


def test_penalties_of_a_depthwise_convolution() -> None:
    layer = DepthwiseConv2D(
        name="x", kernel_size=2, depthwise_regularizer=BOTH, bias_regularizer=L1
    )
    assert penalty_of(layer, kernel=[1.0, -3.0], bias=[2.0, 2.0]) == (16 + 2 * 40) + 0.5 * 4


def test_penalties_of_a_separable_convolution() -> None:
    layer = SeparableConv2D(
        name="x",
        filters=1,
        kernel_size=2,
        depthwise_regularizer=L1,
        pointwise_regularizer=L2,
        bias_regularizer=BOTH,
    )
    weights = {"depthwise_kernel": [1.0, -3.0], "pointwise_kernel": [2.0, -4.0], "bias": [1.0]}
    assert penalty_of(layer, **weights) == 0.5 * 16 + 0.25 * 20 + 3


def test_penalties_of_a_normalization() -> None:
    layer = BatchNormalization(name="x", gamma_regularizer=L1, beta_regularizer=L2)
    assert penalty_of(layer, scale=[1.0, -3.0], bias=[2.0, 4.0]) == 0.5 * 4 + 0.25 * 20


def test_penalty_of_a_rectifier_with_weights() -> None:
    layer = PReLU(name="x", alpha_regularizer=L2)
    assert penalty_of(layer, alpha=[2.0]) == 8 * 0.25 * 4


def test_penalty_of_a_learned_activation() -> None:
    inner = PReLU(shared_axes=(1, 2), alpha_regularizer=L2)
    layer = Conv2D(name="x", filters=1, kernel_size=1, activation=inner, kernel_regularizer=L1)
    weights = {"kernel": [-3.0], "bias": [5.0], "activation_alpha": [2.0]}
    assert penalty_of(layer, **weights) == 2 * 0.5 * 3 + 0.25 * 4


def test_penalties_of_layers_are_summed_and_a_shared_one_counts_once() -> None:
    layers = (
        InputLayer(name="in", shape=(2,)),
        Dense(name="a", units=2, kernel_regularizer=L2),
        Add(name="sum"),
        Dense(name="b", units=1, bias_regularizer=L1),
    )
    calls = (Call("in", ()), Call("a", (0,)), Call("a", (1,)), Call("sum", (1, 2)), Call("b", (3,)))
    graph = Graph(layers, calls, functional=True)
    params = {
        "a": {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.ones(2)},
        "b": {"kernel": jnp.ones((2, 1)), "bias": jnp.full(1, -6.0)},
    }
    assert float(penalty(graph, params)) == 0.25 * 16 + 3


def test_gradient_of_a_penalty() -> None:
    layers = [Flatten(), Dense(name="x", units=1, kernel_regularizer=BOTH)]
    graph = Graph.sequential(layers, input_shape=(1, 2, 1))
    params = {"x": {"kernel": jnp.array([[3.0], [-2.0]]), "bias": jnp.ones(1)}}
    gradient = jax.grad(lambda p: penalty(graph, p))(params)
    np.testing.assert_allclose(gradient["x"]["kernel"], [[1 + 4 * 3], [-1 - 4 * 2]])
    assert not gradient["x"]["bias"].any()


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (Dense(units=1), False),
        (Dense(units=1, bias_regularizer=L1), True),
        (SeparableConv2D(filters=1, kernel_size=1), False),
        (SeparableConv2D(filters=1, kernel_size=1, pointwise_regularizer=L2), True),
        (BatchNormalization(gamma_regularizer=L2), True),
        (Dense(units=1, activation=PReLU(alpha_regularizer=L2)), True),
    ],
)
def test_whether_there_is_a_penalty(layer: Layer, expected: bool) -> None:
    graph = Graph.sequential([layer, Flatten()], input_shape=(2, 2, 2))
    assert has_penalty(graph) is expected
