"""Operations on tensors: values by hand, shapes, and what is refused."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ferjax.errors import LayerError
from ferjax.nets import Network
from ferjax.nets.graph import Call, Graph
from ferjax.nets.layers import (
    Conv2D,
    Cropping2D,
    Dense,
    InputLayer,
    MaxPooling2D,
    Normalization,
    Operation,
    Rescaling,
    Resizing,
    ZeroPadding2D,
)

SHAPE = (2, 2, 3)
IMAGES = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3)


def graph_of(shape: tuple[int, ...] = SHAPE, **settings: Any) -> Graph:
    return Graph.sequential([Operation(name="op", **settings)], input_shape=shape)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"operation": "divide", "operands": (12.0, None)}, 12 / np.maximum(IMAGES, 1e-30)),
        ({"operation": "power", "operands": (None, 2.0)}, IMAGES * IMAGES),
        ({"operation": "clip", "operands": (None, 2.0, 5.0)}, IMAGES.clip(2, 5)),
        ({"operation": "maximum", "operands": (None, (1.0, 5.0, 9.0))},
         [[[[1, 5, 9], [3, 5, 9]], [[6, 7, 9], [9, 10, 11]]]]),
        ({"operation": "mean", "axis": (1, 2)}, [[4.5, 5.5, 6.5]]),
        ({"operation": "sum", "axis": -1, "keepdims": True}, [[[[3], [12]], [[21], [30]]]]),
        ({"operation": "std", "axis": (1, 2, 3)}, [(143 / 12) ** 0.5]),
        ({"operation": "grayscale"}, [[[[0.815], [3.8147]], [[6.8144], [9.8141]]]]),
        ({"operation": "get_item", "index": ("...", (None, None, -1))}, IMAGES[..., ::-1]),
        ({"operation": "get_item", "index": ((None, None, None), 1, None, (0, 1, None))},
         [[[[6, 7, 8]]]]),
        ({"operation": "transpose", "axis": (0, 3, 1, 2)}, IMAGES.transpose(0, 3, 1, 2)),
        ({"operation": "repeat", "axis": 3, "repeats": 2}, IMAGES.repeat(2, axis=3)),
        ({"operation": "stack", "axis": 1}, IMAGES[:, None]),
        ({"operation": "squeeze", "axis": ()}, IMAGES),
    ],
)  # fmt: skip
def test_values(settings: dict[str, Any], expected: Any) -> None:
    graph = graph_of(**settings)
    expected = np.asarray(expected, np.float32)
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        values = np.asarray(Network(graph).apply({}, IMAGES))
    finite = np.isfinite(values)
    np.testing.assert_allclose(values[finite], expected[finite], rtol=1e-6)
    assert graph.output_shape == values.shape[1:]


def test_operands_of_two_tensors_and_their_order() -> None:
    layers = (
        InputLayer(name="in", shape=(2,)),
        Rescaling(name="double", scale=2.0),
        Operation(name="difference", operation="subtract", operands=(None, None)),
    )
    calls = (Call("in", ()), Call("double", (0,)), Call("difference", (1, 0)))
    graph = Graph(layers, calls, functional=True)
    np.testing.assert_array_equal(Network(graph).apply({}, np.array([[3.0, 4.0]])), [[3, 4]])


def test_an_integer_power_has_a_gradient_at_zero_and_below() -> None:
    network = Network(graph_of((3,), operation="power", operands=(None, 2.0)))
    gradient = jax.grad(lambda x: jnp.sum(network.apply({}, x)))(jnp.array([[-1.0, 0.0, 2.0]]))
    np.testing.assert_array_equal(gradient, [[-2, 0, 4]])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"operation": "modulo"}, "expected one of 'add', .*got 'modulo'"),
        ({"operation": "add", "operands": (None,)}, "operands: expected 2, got 1"),
        ({"operation": "add", "operands": (1.0, 2.0)}, "expected a tensor among its operands"),
        ({"operation": "add", "operands": (None, float("nan"))}, "expected a finite number"),
        ({"operation": "add", "operands": (None, (1.0, 2.0))}, "that broadcast, got"),
        ({"operation": "add", "operands": (None, ())}, "that broadcast, got"),
        ({"operation": "add", "operands": (None, ((((1.0,),),),) * 2)}, "got one of shape"),
        ({"operation": "add", "operands": (None, (((((1.0,),),),),))}, "got one of shape"),
        ({"operation": "mean"}, "axis: expected axes of 4, not the batch, got None"),
        ({"operation": "mean", "axis": (0, 1)}, "not the batch"),
        ({"operation": "mean", "axis": (1, -3)}, "different axes"),
        ({"operation": "mean", "axis": ()}, "an axis at least, got none"),
        ({"operation": "flip", "axis": 4}, "expected axes of 4"),
        ({"operation": "transpose", "axis": (1, 0, 2, 3)}, "expected 0, the batch"),
        ({"operation": "transpose"}, "expected 0, the batch"),
        ({"operation": "repeat", "axis": 1, "repeats": 1 << 20}, "repeats: expected at most 4096"),
        ({"operation": "squeeze", "axis": 1}, "axes of size 1"),
        ({"operation": "get_item", "index": (0,)}, "expected all of the batch"),
        ({"operation": "get_item", "index": ((1, None, None),)}, "expected all of the batch"),
        ({"operation": "get_item", "index": (None,)}, "expected all of the batch"),
        ({"operation": "get_item", "index": ("...", 3)}, "expected one of 3 along axis 3, got 3"),
        ({"operation": "get_item", "index": ("...", (5, None, None))}, "nothing is left of 3"),
        ({"operation": "get_item", "index": ("...", "...")}, "one ellipsis at most"),
        ({"operation": "get_item", "index": ("...", (None, None, 0))}, "a step other than 0"),
        ({"operation": "get_item", "index": ("...", 0, 0, 0, 0, 0)}, "at most 4 axes, got 5"),
        ({"operation": "get_item", "index": ("...", *(None,) * 5)}, "at most 8 axes, got 9"),
        ({"operation": "get_item", "index": ("...", True)}, "expected an integer, got True"),
    ],
)  # fmt: skip
def test_what_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(LayerError, match=f"layer 'op' .*{message}"):
        graph_of(**settings)


def test_a_slice_of_an_axis_of_unknown_size_behind_a_new_axis_is_refused() -> None:
    layer = Operation(
        name="slice", operation="get_item", index=((None, None, None), None, (0, 2, None))
    )
    for shape in ((None, 5), (None,)):
        with pytest.raises(LayerError, match="expected a known size of axis 0, got inputs of"):
            layer.output_shape(shape)


def test_gray_is_made_of_three_channels() -> None:
    with pytest.raises(
        LayerError, match=r"expected red, green and blue, got inputs of \(2, 2, 1\)"
    ):
        graph_of((2, 2, 1), operation="grayscale")


def test_inputs_of_other_numbers_of_axes_are_refused() -> None:
    layers = (
        InputLayer(name="in", shape=(2, 3)),
        Operation(name="mean", operation="mean", axis=1),
        Operation(name="sum", operation="add", operands=(None, None)),
    )
    calls = (Call("in", ()), Call("mean", (0,)), Call("sum", (0, 1)))
    with pytest.raises(LayerError, match=r"'sum' .*expected inputs of as many axes"):
        Graph(layers, calls, functional=True)


def test_a_number_of_inputs_that_is_not_that_of_the_operands_is_refused() -> None:
    layers = (
        InputLayer(name="in", shape=(2,)),
        Operation(name="sum", operation="add", operands=(None, 1.0)),
    )
    with pytest.raises(LayerError, match=r"'sum' .*it cannot take 2 inputs"):
        Graph(layers, (Call("in", ()), Call("sum", (0, 0))), functional=True)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"operation": "add", "operands": (None, 1.0)}, "linear"),
        ({"operation": "flip", "axis": 1}, "linear"),
        ({"operation": "multiply", "operands": (None, 2.0)}, "linear"),
        ({"operation": "square"}, "other"),
        ({"operation": "multiply", "operands": (None, None)}, "other"),
    ],
)
def test_final_activation_behind_an_operation(settings: dict[str, Any], expected: str) -> None:
    layers = (
        InputLayer(name="in", shape=(2,)),
        Dense(name="dense", units=3),
        Operation(name="op", **settings),
    )
    inputs = (1,) * max(settings.get("operands", (None,)).count(None), 1)
    calls = (Call("in", ()), Call("dense", (0,)), Call("op", inputs))
    assert Graph(layers, calls, functional=True).final_activation == expected


GRAY = (103.9, 116.8, 123.7)


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ([Rescaling(scale=1 / 127.5), Rescaling(scale=1.0, offset=-1.0)], (0, 255)),
        ([Operation(operation="flip", axis=-1),
          Operation(operation="subtract", operands=(None, GRAY))], (0, 255)),
        ([Operation(operation="divide", operands=(None, 255.0))], (0, 255)),
        ([Operation(operation="grayscale"), Rescaling(scale=1 / 127.5, offset=-1.0)], (0, 255)),
        ([Rescaling(scale=255.0), Operation(operation="subtract", operands=(None, GRAY))], (0, 1)),
        ([Normalization(mean=GRAY, variance=(1.0, 1.0, 1.0))], (0, 255)),
        ([Normalization(mean=0.5, variance=0.25)], (0, 1)),
        ([Rescaling(scale=0.5, offset=0.5)], (-1, 1)),
        ([Rescaling(scale=1.0, offset=1.0), Rescaling(scale=127.5)], (-1, 1)),
        ([Operation(operation="subtract", operands=(1.0, None))], (0, 1)),
        ([Operation(operation="sqrt")], (0, 1)),
        ([Resizing(height=3, width=3), Cropping2D(cropping=1), Rescaling(scale=1 / 255)], (0, 255)),
        ([ZeroPadding2D(), MaxPooling2D(), Operation(operation="flip", axis=1),
          Rescaling(scale=1.0, offset=(-100.0, -110.0, -120.0))], (0, 255)),
    ],
)  # fmt: skip
def test_value_range_follows_the_arithmetic_in_front(
    chain: list[Any], expected: tuple[int, int]
) -> None:
    graph = Graph.sequential([*chain, Conv2D(filters=1, kernel_size=1)], input_shape=(4, 4, 3))
    assert graph.value_range == expected
