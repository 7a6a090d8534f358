"""Models of several outputs: one is chosen, by name or number; the rest is left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ferjax.keras
from ferjax import conversion
from ferjax.cli.main import main
from ferjax.comparison import compare
from ferjax.errors import FerjaxError, WeightFileError
from ferjax.nets import Network
from ferjax.nets.graph import Call, Graph
from ferjax.nets.layers import Concatenate, Conv2D, Dense, Flatten, InputLayer
from ferjax.weights import read as read_weights

LISTED = r"0: 'emotion' \(7,\), 1: 'age' \(1,\), 2: 'map' \(3, 3, 2\)"
IMAGES = np.random.default_rng(0).uniform(size=(2, 12, 12, 1)).astype(np.float32)
OUTPUTS = {"emotion": ["emotion_head", 0, 0], "age": ["age_head", 0, 0], "map": ["conv", 0, 0]}


def _heads() -> Graph:
    """A trunk with the heads for emotion and age, joined; without the join it has several ends."""
    layers = (
        InputLayer(name="input", shape=(12, 12, 1)),
        Conv2D(name="conv", filters=2, kernel_size=3, strides=4),
        Flatten(name="flatten"),
        Dense(name="age_hidden", units=2, activation="tanh"),
        Dense(name="emotion_head", units=7, activation="softmax"),
        Dense(name="age_head", units=1),
        Concatenate(name="join"),
    )
    inputs = ((), (0,), (1,), (2,), (2,), (3,), (4, 5))
    calls = tuple(Call(layer.name, i) for layer, i in zip(layers, inputs))
    return Graph(layers, calls, functional=True)


@pytest.fixture
def several(tmp_path: Path, edit_json: Any, draw: Any) -> Callable[..., Path]:
    """Return a function that writes the heads as a model of several outputs."""

    def write(output_layers: Any = OUTPUTS, *, optimizer: Any = None) -> Path:
        graph = _heads()
        path = tmp_path / "several.h5"
        ferjax.keras.save(path, graph, draw(graph), optimizer)

        def change(config: Any) -> None:
            inner = config["config"]
            inner["layers"] = [e for e in inner["layers"] if e["config"]["name"] != "join"]
            inner["output_layers"] = output_layers

        edit_json(path, change)
        return path

    return write


@pytest.mark.parametrize("output", ["emotion", "emotion_head", 0, "0"])
def test_one_output_is_chosen(output: Any, several: Any, draw: Any) -> None:
    model = ferjax.keras.load(several(), output=output)
    assert [layer.name for layer in model.graph.layers] == [
        "input",
        "conv",
        "flatten",
        "emotion_head",
    ]
    assert set(model.variables["params"]) == {"conv", "emotion_head"}
    whole = _heads()
    expected = np.asarray(Network(whole).apply(draw(whole), IMAGES))[:, :7]
    outputs = np.asarray(model.network.apply(model.variables, IMAGES))
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-6)
    assert [(o.name, o.shape) for o in model.outputs] == [
        ("emotion", (7,)),
        ("age", (1,)),
        ("map", (3, 3, 2)),
    ]


def test_an_output_in_the_middle(several: Any) -> None:
    model = ferjax.keras.load(several(), output="map")
    assert model.graph.output_shape == (3, 3, 2)
    with pytest.raises(FerjaxError, match=r"an output of \(K,\), the network gives \(3, 3, 2\)"):
        ferjax.load(several(), output="map")


@pytest.mark.parametrize(
    "ends",
    [
        list(OUTPUTS.values()),
        [[*end, {}] for end in OUTPUTS.values()],
        {"a": {"b": OUTPUTS["emotion"]}, "c": [OUTPUTS["age"], OUTPUTS["map"]]},
    ],
)
def test_outputs_without_names_are_called_as_their_layers(ends: Any, several: Any) -> None:
    model = ferjax.keras.load(several(ends), output="age_head")
    assert model.graph.output_shape == (1,)
    assert model.outputs[1].name == "age_head"


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (None, f"3 outputs, expected the choice of one .*--output.* among {LISTED}"),
        ("emotoin", f"expected an output among {LISTED}, got 'emotoin'"),
        (3, "expected an output among .*, got 3"),
        (-1, "expected an output among .*, got -1"),
        (True, "expected an output among .*, got True"),
        ("9" * 400, "expected an output among"),
        ("", "expected an output among .*, got ''"),
    ],
)
def test_a_choice_that_is_none_is_refused(output: Any, message: str, several: Any) -> None:
    with pytest.raises(WeightFileError, match=message) as caught:
        ferjax.keras.load(several(), output=output)
    assert "\n" not in str(caught.value)


def test_the_same_name_twice_is_chosen_by_number(several: Any) -> None:
    ends = [OUTPUTS["age"], OUTPUTS["age"]]
    with pytest.raises(WeightFileError, match="expected the number of an output among"):
        ferjax.keras.load(several(ends), output="age_head")
    assert ferjax.keras.load(several(ends), output=1).graph.output_shape == (1,)


def test_weights_that_are_not_needed_are_checked(several: Any) -> None:
    import h5py

    path = several()
    with h5py.File(path, "r+") as root:
        del root["model_weights/age_head/age_head/kernel:0"]
    with pytest.raises(WeightFileError, match="layer 'age_head': kernel"):
        ferjax.keras.load(path, output="emotion")


def test_the_state_of_an_optimizer_of_all_outputs_is_left_out(
    several: Any, draw_state: Any
) -> None:
    model = ferjax.keras.load(several(optimizer=draw_state(_heads())), output="emotion")
    assert model.optimizer_state is None
    assert "optimizer state is left out: it is of all outputs' layers" in model.notes


def test_layers_that_lead_nowhere_are_left_out(several: Any) -> None:
    model = ferjax.keras.load(several([OUTPUTS["emotion"]]))
    assert "age_head" not in model.variables["params"]
    assert model.graph.output_shape == (7,)


def test_one_output_is_converted_and_compared(several: Any, tmp_path: Path) -> None:
    path, target = several(), tmp_path / "emotion.keras"
    conversion.convert(path, target, output="emotion")
    assert ferjax.keras.load(target).graph.output_shape == (7,)
    assert compare(path, target, output="emotion").largest_difference == 0
    weights = tmp_path / "emotion.msgpack"
    conversion.convert(path, weights, output="emotion")
    assert read_weights(weights, path, output="emotion").graph.output_shape == (7,)


def test_inspect_lists_the_outputs(several: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = several()
    assert main(["inspect", str(path)]) == 0
    shown = capsys.readouterr().out
    for line in ("output 0:  'emotion' (7,)", "output 2:  'map' (3, 3, 2)", "--output", "age_head"):
        assert line in shown
    assert main(["inspect", str(path), "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["outputs"][1] == {"name": "age", "shape": [1]}
    assert described["output_shape"] is None and described["classes"] is None
    assert main(["inspect", str(path), "--json", "--output", "emotion"]) == 0
    assert json.loads(capsys.readouterr().out)["output_shape"] == [7]


@pytest.mark.filterwarnings("default::UserWarning")  # a line on stderr
@pytest.mark.parametrize(
    "command",
    [
        ["convert", "{path}", "{folder}/out.h5"],
        ["verify", "{path}", "{path}"],
        ["predict", "examples/astronaut.png", "--weights", "{path}"],
    ],
    ids=lambda command: command[0],
)
def test_commands_ask_for_the_choice(
    command: list[str], several: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = several()
    call = [part.format(path=path, folder=tmp_path) for part in command]
    assert main(call) == 2
    assert "3 outputs, expected the choice of one" in capsys.readouterr().err
    assert main([*call, "--output", "emotion"]) == 0
