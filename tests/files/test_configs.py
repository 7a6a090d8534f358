"""What a config calls a setting is read as it is written, and as each Keras writes it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

import ferjax.keras
from ferjax.nets.graph import Graph
from ferjax.nets.initializers import L1L2, SETTINGS, Initializer
from ferjax.nets.layers import Dense, Flatten, LeakyReLU, Operation, ReLU

COLOR, GRAY = (4, 4, 3), (4, 4, 1)
WIDE = (1.0, 2.0, 3.0)  # makes three channels of one, which no layer does

# Operations that no other layer computes.
OPERATIONS = [
    (GRAY, {"operation": "add", "operands": (None, WIDE)}),
    (GRAY, {"operation": "subtract", "operands": (WIDE, None)}),
    (GRAY, {"operation": "multiply", "operands": (None, WIDE)}),
    (GRAY, {"operation": "divide", "operands": (2.0, None)}),
    (GRAY, {"operation": "power", "operands": (None, 2.0)}),
    (GRAY, {"operation": "maximum", "operands": (None, 0.5)}),
    (GRAY, {"operation": "minimum", "operands": (0.5, None)}),
    (GRAY, {"operation": "clip", "operands": (None, 0.25, 0.5)}),
    *((GRAY, {"operation": name, "operands": (None,)})
      for name in ("abs", "sqrt", "rsqrt", "square", "log", "stop_gradient")),
    (GRAY, {"operation": "gelu_tanh"}),
    (COLOR, {"operation": "mean", "axis": -1, "keepdims": True}),
    *((COLOR, {"operation": name, "axis": (2, 3)}) for name in ("sum", "min", "var", "std")),
    (COLOR, {"operation": "max", "axis": 3}),
    (COLOR, {"operation": "get_item", "index": ((None, None, None),) * 3 + (1,)}),
    (COLOR, {"operation": "flip", "axis": 1}),
    (COLOR, {"operation": "repeat", "axis": -1, "repeats": 2}),
    (COLOR, {"operation": "stack", "axis": -1}),
    (COLOR, {"operation": "grayscale"}),
]  # fmt: skip


def read_back(tmp_path: Path, graph: Graph, draw: Any) -> tuple[dict[str, Any], Graph]:
    """Write a network; return its layers' configs by name, and the network that is read."""
    path = tmp_path / "m.keras"
    ferjax.keras.save(path, graph, draw(graph))
    with zipfile.ZipFile(path) as archive:
        layers = json.loads(archive.read("config.json"))["config"]["layers"]
    configs = {layer["config"]["name"]: layer["config"] for layer in layers}
    return configs, ferjax.keras.load(path).graph


@pytest.mark.filterwarnings("ignore:.*only Keras 3 opens it")
@pytest.mark.parametrize(
    ("shape", "settings"), OPERATIONS, ids=[case["operation"] for _, case in OPERATIONS]
)
def test_operations_are_read_as_they_are_written(
    shape: Any, settings: dict[str, Any], tmp_path: Path, draw: Any
) -> None:
    graph = Graph.sequential([Operation(name="op", **settings)], input_shape=shape)
    assert read_back(tmp_path, graph, draw)[1].layers == graph.layers


@pytest.mark.parametrize("name", SETTINGS)
def test_initializers_are_read_as_they_are_written(name: str, tmp_path: Path, draw: Any) -> None:
    settings = {key: 0.5 for key, value in SETTINGS[name].items() if isinstance(value, float)}
    kernel = Initializer(name, tuple(sorted(settings.items())))
    graph = Graph.sequential([Dense(units=3, kernel_initializer=kernel)], input_shape=(3,))
    configs, read = read_back(tmp_path, graph, draw)
    assert read.layers == graph.layers
    if not settings:
        assert configs["dense"]["kernel_initializer"] == name


def test_settings_are_written_under_the_names_of_keras_2(tmp_path: Path, draw: Any) -> None:
    constant = Initializer("random_normal", (("stddev", 0.5),))
    layers = [
        Flatten(),
        Dense(units=2, kernel_initializer=constant, kernel_regularizer=L1L2(0.5, 0.25)),
        LeakyReLU(negative_slope=0.125),
        Dense(units=2, activation="keras2_hard_sigmoid", bias_regularizer=L1L2(l2=1.0)),
    ]
    graph = Graph.sequential(layers, input_shape=GRAY)
    with pytest.warns(UserWarning, match="its hard_sigmoid is Keras 2's"):
        configs, read = read_back(tmp_path, graph, draw)
    assert read.layers == graph.layers
    assert configs["input"]["batch_input_shape"] == [None, 4, 4, 1]
    assert configs["dense"]["kernel_initializer"] == {
        "class_name": "RandomNormal",
        "config": {"stddev": 0.5},
    }
    penalty = {"class_name": "L1L2", "config": {"l1": 0.5, "l2": 0.25}}
    assert configs["dense"]["kernel_regularizer"] == penalty
    assert configs["leaky_re_lu"]["alpha"] == 0.125
    assert configs["dense_1"]["activation"] == "hard_sigmoid"


@pytest.mark.parametrize("version", ["2.15.0", "3.0.0"])
@pytest.mark.parametrize(
    ("kind", "config", "expected"),
    [
        ("LeakyReLU", {"alpha": 0.5}, LeakyReLU(name="a", negative_slope=0.5)),
        ("LeakyReLU", {"negative_slope": 0.5}, LeakyReLU(name="a", negative_slope=0.5)),
        ("ThresholdedReLU", {"theta": 2.0}, ReLU(name="a", threshold=2.0)),
        ("ThresholdedReLU", {}, ReLU(name="a", threshold=1.0)),
    ],
)
@pytest.mark.parametrize("shape", ["batch_shape", "batch_input_shape"])
def test_settings_are_read_by_the_names_of_every_keras(
    kind: str, config: dict[str, Any], expected: Any, version: str, shape: str
) -> None:
    layer = {"class_name": kind, "config": {"name": "a", shape: [None, 3], **config}}
    model = {"class_name": "Sequential", "config": {"name": "m", "layers": [layer]}}
    graph = ferjax.keras.load_architecture({**model, "keras_version": version}).graph
    assert graph.layers[1:] == (expected,)
    assert graph.input_shape == (3,)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("zero", "zeros"),
        ("normal", "random_normal"),
        ({"class_name": "HeNormal", "config": {"seed": None}}, "he_normal"),
        ({"class_name": "VarianceScaling",
          "config": {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform"}},
         "glorot_uniform"),
        ({"class_name": "VarianceScaling",
          "config": {"scale": 2.0, "mode": "fan_in", "distribution": "normal"}}, "he_normal"),
        ({"class_name": "VarianceScaling", "config": {}}, "lecun_normal"),
    ],
)  # fmt: skip
def test_initializers_of_every_keras_are_read(given: Any, name: str) -> None:
    config = {"name": "d", "units": 2, "batch_input_shape": [None, 3], "kernel_initializer": given}
    model = {"class_name": "Sequential", "config": [{"class_name": "Dense", "config": config}]}
    layer = ferjax.keras.load_architecture(model).graph.layers[1]
    assert layer == Dense(name="d", units=2, kernel_initializer=Initializer(name))
