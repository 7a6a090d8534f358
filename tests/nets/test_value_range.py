"""What black and white are to a network is told by the statistics that it begins with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ferjax.errors import LayerError
from ferjax.nets.graph import Graph
from ferjax.nets.layers import (
    BatchNormalization,
    Conv2D,
    Flatten,
    Layer,
    Normalization,
    RandomFlip,
    Rescaling,
)
from ferjax.nets.value_range import of_statistics

UNIT, SIGNED, BYTES = (0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)


def begins_with(*layers: Layer) -> Graph:
    return Graph.sequential([*layers, Flatten()], input_shape=(4, 4, 1))


def statistics(mean: Any, var: Any, name: str = "normalization") -> dict[str, Any]:
    values = {"mean": np.float32(mean), "var": np.float32(var)}
    return {"params": {}, "batch_stats": {name: values}}


@pytest.mark.parametrize(
    ("mean", "variance", "expected"),
    [
        # FER2013's gray levels have mean 129 and deviation 65.
        ([129.0], [4225.0], BYTES),
        ([129 / 255], [4225 / 255**2], UNIT),
        ([129 / 127.5 - 1], [4225 / 127.5**2], SIGNED),
        ([0.3], [0.2], UNIT),  # at most 0.21 in [0, 1]
        ([0.3], [0.3], SIGNED),
        ([-0.2], [0.1], SIGNED),
        ([0.5, 0.0], [0.25, 0.0], UNIT),  # a pixel that is black in all images
        ([20.0], [100.0], BYTES),
        ([0.0], [1.0], None),  # never adapted
    ],
)
def test_a_normalization_tells_the_range(mean: Any, variance: Any, expected: Any) -> None:
    variables = statistics(mean, variance)
    assert of_statistics(begins_with(Normalization()), variables) == expected
    graph = begins_with(Normalization()).with_statistics(variables)
    assert graph.value_range == (expected or UNIT)
    assert graph == begins_with(Normalization())


def test_statistics_in_the_settings_count_too() -> None:
    layer = Normalization(mean=[123.7], variance=[58.4**2])
    assert of_statistics(begins_with(layer), {}) == BYTES
    assert of_statistics(begins_with(Normalization(mean=0.485, variance=0.229**2)), {}) == UNIT


@pytest.mark.parametrize(
    ("mean", "variance", "expected"),
    [
        ([129.0], [4225.0], BYTES),
        ([60.0], [2000.0], BYTES),  # a moving average under way
        ([0.5], [0.07], UNIT),
        ([0.01], [0.98], UNIT),  # hardly trained
        ([-0.1], [0.3], SIGNED),
        ([-120.0], [4000.0], None),
        ([0.0], [1.0], None),
    ],
)
def test_a_batch_normalization_tells_the_range(mean: Any, variance: Any, expected: Any) -> None:
    variables = statistics(mean, variance, "batch_normalization")
    assert of_statistics(begins_with(BatchNormalization()), variables) == expected


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([RandomFlip(), Normalization()], BYTES),
        ([Rescaling(scale=1 / 255), Normalization()], None),  # the Rescaling tells
        ([Conv2D(filters=1, kernel_size=(1, 1)), Normalization()], None),
        ([Normalization(invert=True)], None),
    ],
)
def test_only_what_sees_the_images_tells(layers: list[Layer], expected: Any) -> None:
    assert of_statistics(begins_with(*layers), statistics([129.0], [4225.0])) == expected


def test_statistics_of_no_usual_range_ask_for_one() -> None:
    graph, variables = begins_with(Normalization()), statistics([-2.0], [4225.0])
    with pytest.raises(LayerError, match=r"mean -2 and variance 4225, .* give value_range=\(black"):
        of_statistics(graph, variables)
    assert graph.with_statistics(variables).value_range == UNIT
