"""Exported networks: graphs, files, names, the command line, and what cannot be written."""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ferjax
from ferjax import conversion, released
from ferjax.cli import export
from ferjax.emotions import FER2013_CSV_ORDER
from ferjax.errors import FerjaxError, LayerError, WeightFileError, WriteError
from ferjax.nets import ARCHITECTURES, Call, Graph, fer_cnn5, fer_cnn8
from ferjax.nets.layers import (
    Add,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Cropping2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    InputLayer,
    Layer,
    MaxPooling2D,
    Multiply,
    PReLU,
    Reshape,
    SeparableConv2D,
    Softmax,
    ZeroPadding2D,
)
from ferjax.nets.unread import unread
from ferjax.onnx import IR_VERSION, OPSET, Engine, exporting, save, to_model
from ferjax.weights import read as read_weights

from ..networks import as_trained, functional

REASON = "needs onnxruntime: pip install 'ferjax[onnx]'"
pytest.importorskip("onnxruntime", reason=REASON)
onnx = pytest.importorskip("onnx", reason=REASON)

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "checkpoints" / "fer_cnn5.h5"
ASTRONAUT = ROOT / "examples" / "astronaut.png"
FIRST: dict[str, Any] = {"data_format": "channels_first"}
Make = Callable[..., Any]


def _operations(model: Any) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def test_shared_layers_have_their_weights_once(compare: Make, draw: Make) -> None:
    image = InputLayer(name="image", shape=(6, 6, 2))
    conv = Conv2D(name="conv", filters=2, kernel_size=3, padding="same", activation="relu")
    norm = BatchNormalization(name="norm")
    alpha = PReLU(name="alpha")
    calls: list[tuple[Layer, tuple[int, ...]]] = [(image, ())]
    for position in range(1, 10, 3):
        calls += [(conv, (position - 1,)), (norm, (position,)), (alpha, (position + 1,))]
    calls += [(Add(name="skip"), (0, 3, 9)), (Flatten(name="flat"), (10,))]
    calls += [(Dense(name="dense", units=3), (11,)), (Dropout(name="last", rate=0.5), (12,))]
    model = compare(functional(*calls), draw(2, 6, 6, 2))
    names = [tensor.name for tensor in model.graph.initializer]
    assert [name for name in names if name.startswith(("conv/", "norm/", "alpha/"))] == [
        "conv/kernel",
        "conv/bias",
        "norm/scale",
        "norm/bias",
        "norm/mean",
        "norm/var",
        "alpha/alpha",
    ]
    assert [value.name for value in model.graph.output] == ["last"]
    assert _operations(model)["Transpose"] == 2


def test_squeeze_and_excitation_leaves_the_images_as_they_are(compare: Make, draw: Make) -> None:
    graph = functional(
        (InputLayer(name="image", shape=(9, 8, 1)), ()),
        (Conv2D(name="conv", filters=4, kernel_size=3, activation="swish"), (0,)),
        (GlobalAveragePooling2D(name="squeeze"), (1,)),
        (Dense(name="less", units=2, activation="relu"), (2,)),
        (Dense(name="gate", units=4, activation="sigmoid"), (3,)),
        (Multiply(name="excite"), (1, 4)),
        (MaxPooling2D(name="pool"), (5,)),
        (Flatten(name="flat"), (6,)),
        (Dense(name="dense", units=3, activation="softmax"), (7,)),
    )
    assert _operations(compare(graph, draw(3, 9, 8, 1)))["Transpose"] == 2


def test_network_that_mixes_orders_of_axes(compare: Make, draw: Make) -> None:
    chain: list[Layer] = [
        Conv2D(filters=4, kernel_size=3, padding="same"),
        MaxPooling2D(**FIRST),  # (6, 4, 2)
        Conv2D(filters=3, kernel_size=(2, 1), activation="softmax", **FIRST),
        ZeroPadding2D(padding=((1, 0), (2, 0)), **FIRST),
        BatchNormalization(axis=2),
        SeparableConv2D(filters=3, kernel_size=2, padding="same"),
        Flatten(**FIRST),
        Dense(units=4),
    ]
    compare(Graph.sequential(chain, input_shape=(6, 8, 2)), draw(2, 6, 8, 2))


def test_channels_first_network_has_one_transpose_before_its_dense_layers(
    compare: Make, draw: Make
) -> None:
    chain: list[Layer] = [
        Conv2D(filters=4, kernel_size=3, activation="relu", **FIRST),
        BatchNormalization(axis=1),
        MaxPooling2D(**FIRST),
        DepthwiseConv2D(kernel_size=3, padding="same", **FIRST),
        Flatten(**FIRST),
        Dense(units=4, activation="softmax"),
    ]
    graph = Graph.sequential(chain, input_shape=(1, 8, 10))
    model = compare(graph, draw(2, 1, 8, 10))
    assert _operations(model)["Transpose"] == 1
    assert _shape(model.graph.input[0]) == ["batch", 1, 8, 10]


def _shape(value: Any) -> list[int | str]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def test_input_of_open_size(compare: Make, draw: Make) -> None:
    chain: list[Layer] = [
        Conv2D(filters=3, kernel_size=3, strides=2, padding="same"),
        Conv2D(filters=3, kernel_size=1, strides=2, padding="same"),
        Conv2D(filters=2, kernel_size=(2, 3), dilation_rate=2, padding="same"),
        MaxPooling2D(pool_size=3, strides=2, padding="same"),
        AveragePooling2D(pool_size=2, strides=1, padding="same"),
        MaxPooling2D(pool_size=1, strides=3, padding="same"),
        ZeroPadding2D(padding=1),
        Cropping2D(cropping=((0, 1), (1, 0))),
        GlobalAveragePooling2D(),
        Dense(units=4),
    ]
    graph = Graph.sequential(chain, input_shape=(None, None, 1))
    model = compare(graph, draw(2, 31, 28, 1))
    compare(graph, draw(2, 26, 33, 1))
    assert _shape(model.graph.input[0]) == ["batch", "height", "width", 1]


def test_softmax_over_images_of_open_size(compare: Make, draw: Make) -> None:
    chain: list[Layer] = [Conv2D(filters=2, kernel_size=3), Softmax(axis=(1, 2))]
    compare(Graph.sequential(chain, input_shape=(None, None, 1)), draw(2, 7, 6, 1))


@pytest.mark.parametrize("layer", [Flatten(), Reshape(target_shape=(-1,)), PReLU()])
def test_a_layer_that_needs_a_size_says_so(layer: Layer) -> None:
    with pytest.raises(LayerError, match=r"expected a known size of axis 0, got inputs of shape"):
        Graph.sequential([layer], input_shape=(None, None, 1))


def test_windows_that_leave_gaps_need_a_size() -> None:
    layer = MaxPooling2D(name="pool", pool_size=2, strides=3, padding="same")
    graph = Graph.sequential([layer], input_shape=(None, None, 1))
    with pytest.raises(LayerError, match=r"'pool' .* there is no ONNX for images of open size"):
        to_model(graph, {})


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_named_architecture(name: str, compare: Make) -> None:
    network = ARCHITECTURES[name]()
    images = np.random.default_rng(0).random((3, 48, 48, 1), np.float32)
    model = compare(network.graph, images)
    (given,), (taken,) = model.graph.output, model.graph.input
    assert (taken.name, _shape(taken)) == (network.graph.input.name, ["batch", 48, 48, 1])
    assert (given.name, _shape(given)) == ("probabilities", ["batch", 7])


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_pixels_that_pooling_leaves_out_are_not_computed(
    data_format: str, compare: Make, draw: Make
) -> None:
    options: dict[str, Any] = {"data_format": data_format}
    same: dict[str, Any] = {"padding": "same", "activation": "relu", **options}
    axis = 3 if data_format == "channels_last" else 1
    graph = Graph.sequential(
        [
            Conv2D(filters=4, kernel_size=(3, 3), **same),
            BatchNormalization(axis=axis),
            Dropout(rate=0.5),
            MaxPooling2D(**options),  # of 7x6 pixels all but the last row
            Conv2D(filters=4, kernel_size=(5, 5), **same),
            MaxPooling2D(pool_size=(2, 2), strides=(1, 2), **options),  # of 3x3 but the last column
            Flatten(),
            Dense(units=3),
        ],
        input_shape=(7, 6, 3) if data_format == "channels_last" else (3, 7, 6),
    )
    model = compare(graph, draw(2, *graph.input_shape))
    pads = [
        list(attribute.ints)
        for node in model.graph.node
        for attribute in node.attribute
        if node.op_type == "Conv" and attribute.name == "pads"
    ]
    assert pads == [[1, 1, 0, 1], [2, 2, 2, 1]]


@pytest.mark.parametrize(
    ("activation", "between", "pooling"),
    [
        ("relu", [], MaxPooling2D(padding="same")),
        ("relu", [PReLU()], MaxPooling2D()),
        ("softmax", [], MaxPooling2D()),
        ("relu", [BatchNormalization(axis=1)], MaxPooling2D()),
        ("relu", [DepthwiseConv2D(kernel_size=(3, 3), padding="same")], MaxPooling2D()),
        ("relu", [], AveragePooling2D()),
    ],
    ids=["same", "weights of each pixel", "softmax", "by rows", "neighbours", "average"],
)
def test_pixels_that_may_be_read_are_computed(
    activation: str, between: list[Layer], pooling: Layer, compare: Make, draw: Make
) -> None:
    first = Conv2D(filters=4, kernel_size=(3, 3), padding="same", activation=activation)
    layers = [first, *between, pooling, Flatten(), Dense(units=3)]
    graph = Graph.sequential(layers, input_shape=(5, 5, 3))
    assert not unread(graph)
    compare(graph, draw(2, 5, 5, 3))


def test_a_convolution_that_has_other_readers_is_computed_whole(compare: Make, draw: Make) -> None:
    layers = [
        InputLayer(name="input", shape=(5, 5, 3)),
        Conv2D(name="conv", filters=4, kernel_size=(3, 3), padding="same"),
        MaxPooling2D(name="pool"),
        Flatten(name="pooled"),
        Flatten(name="all"),
        Dense(name="a", units=3),
        Dense(name="b", units=3),
        Add(name="add"),
    ]
    calls = [
        *(Call("input", ()), Call("conv", (0,)), Call("pool", (1,)), Call("pooled", (2,))),
        *(Call("all", (1,)), Call("a", (3,)), Call("b", (4,)), Call("add", (5, 6))),
    ]
    graph = Graph(tuple(layers), tuple(calls), functional=True)
    assert not unread(graph)
    compare(graph, draw(2, 5, 5, 3))


def test_images_are_transposed_at_both_ends_and_nowhere_between() -> None:
    graph = fer_cnn8().graph
    model = to_model(graph, as_trained(graph))
    operations = [node.op_type for node in model.graph.node]
    transposed = [i for i, op in enumerate(operations) if op == "Transpose"]
    assert transposed == [0, operations.index("Flatten") - 1]
    counts = _operations(model)
    assert (counts["Conv"], counts["Gemm"], counts["BatchNormalization"]) == (8, 3, 10)
    assert set(counts) == {
        "Transpose", "Conv", "Relu", "BatchNormalization", "MaxPool", "Flatten", "Gemm", "Softmax"
    }  # fmt: skip


def test_released_weights_predict_the_same(released: Path) -> None:
    classifier = ferjax.load(WEIGHTS)
    images = classifier.preprocess(ASTRONAUT)
    expected = classifier.predict_batch(images)
    probabilities = Engine(released)(images)
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-5)
    assert classifier.labels[probabilities[0].argmax()] == "happy"


def test_file_says_what_it_is(released: Path) -> None:
    model = onnx.load(released)
    onnx.checker.check_model(model, full_check=True)
    assert (model.producer_name, model.producer_version) == ("ferjax", ferjax.__version__)
    assert (model.ir_version, model.opset_import[0].version) == (IR_VERSION, OPSET) == (8, 17)
    assert model.graph.name == "fer_cnn5"
    (entry,) = model.metadata_props
    assert entry.key == "ferjax_metadata"
    assert json.loads(entry.value)["labels"] == list(ferjax.EMOTIONS)
    metadata = Engine(released).metadata
    assert metadata == json.loads(entry.value)
    assert metadata["value_range"] == [0.0, 1.0]


def test_same_network_gives_the_same_bytes(released: Path, tmp_path: Path) -> None:
    read = read_weights(WEIGHTS)
    again = tmp_path / "again.onnx"
    save(again, read.graph, read.variables, labels=read.labels, metadata=read.metadata)
    assert again.read_bytes() == released.read_bytes()


def test_numbers_of_classes_go_by_the_names_that_these_get(tmp_path: Path) -> None:
    read = read_weights(WEIGHTS)
    path = tmp_path / "renamed.onnx"
    save(path, read.graph, read.variables, labels=list("abcdefg"), metadata=read.metadata)
    known = Engine(path).metadata
    assert known["labels"] == list("abcdefg")
    assert known["training_frequencies"] == dict(
        zip("abcdefg", read.metadata["training_frequencies"].values())
    )


def test_a_network_of_an_input_alone(compare: Make, draw: Make) -> None:
    graph = Graph((InputLayer(name="x", shape=(3,)),), (Call("x", ()),), functional=True)
    model = compare(graph, draw(2, 3))
    assert [model.graph.input[0].name, model.graph.output[0].name] == ["x", "x_1"]


def test_names_that_layers_share_with_what_is_around_them(compare: Make, draw: Make) -> None:
    chain: list[Layer] = [
        InputLayer(name="probabilities", shape=(4,)),
        Dense(name="number/0", units=3, activation="relu6"),
        Dense(name="conv/bias", units=3, activation="softmax"),
    ]
    model = compare(Graph.sequential(chain), draw(2, 4))
    assert model.graph.input[0].name == "probabilities"
    assert model.graph.output[0].name == "probabilities_1"


def test_what_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = fer_cnn5().graph
    path = tmp_path / "m.onnx"
    path.write_bytes(b"as before")
    variables = as_trained(graph)
    lacking = {**variables, "batch_stats": {}}
    with pytest.raises(
        WeightFileError, match=r"m\.onnx: 14 problems: .*'batch_normalization'.*mean"
    ):
        save(path, graph, lacking)
    with pytest.raises(WeightFileError, match="fer_cnn5: 14 problems"):
        to_model(graph, lacking)
    with pytest.raises(WriteError, match=r"the folder .*nowhere does not exist"):
        save(tmp_path / "nowhere" / "m.onnx", graph, variables)
    monkeypatch.setattr(exporting, "MOST_BYTES", 1 << 20)
    with pytest.raises(WriteError, match=r"m\.onnx: its weights take 0\.0 GB, an ONNX file holds"):
        save(path, graph, variables)
    assert path.read_bytes() == b"as before"


def test_a_layer_of_ones_own_is_named() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Mine(Layer):
        pass

    graph = Graph.sequential([Mine(name="mine")], input_shape=(2,))
    with pytest.raises(
        LayerError, match="layer 'mine': there is no ONNX for layers of kind 'Mine'"
    ):
        to_model(graph, {})


@pytest.mark.parametrize(
    ("missing", "code", "message"),
    [
        (
            "onnx",
            "assert ferjax.onnx.to_bytes(g, {}); ferjax.onnx.to_model(g, {})",
            "an onnx.ModelProto needs onnx: pip install 'ferjax[onnx]'; `to_bytes` does not",
        ),
        (
            "onnxruntime",
            "ferjax.onnx.Engine(b'')",
            "running ONNX needs onnxruntime: pip install onnxruntime",
        ),
    ],
)
def test_a_missing_package_is_named(missing: str, code: str, message: str) -> None:
    script = f"""
import sys
sys.modules[{missing!r}] = None
import ferjax.onnx
assert "jax" not in sys.modules
from ferjax.nets import Graph
from ferjax.nets.layers import Flatten
g = Graph.sequential([Flatten()], input_shape=(2,))
try:
    {code}
except ferjax.FerjaxError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == message, done.stderr


def _export(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    export.add_arguments(parser)
    return export.run(parser.parse_args([str(argument) for argument in arguments]))


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.onnx"
    assert _export(path) == 0
    source = released.path_of()
    line = f"{source} (h5) -> {path} (onnx, opset 17): 7,324,615 parameters, 29.3 MB\n"
    assert capsys.readouterr().out == line
    assert Engine(path).metadata["labels"] == list(ferjax.EMOTIONS)


def test_command_line_with_options(
    fixtures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], draw: Make
) -> None:
    folder, path = fixtures / "keras-2.15.0", tmp_path / "m.onnx"
    weights = tmp_path / "w.h5"
    conversion.convert(folder / "sequential.h5", weights, to="weights-only-h5")
    options = ["--weights", weights, "--config", folder / "sequential.json"]
    assert _export(path, *options, "--labels", "a,b,c,d,e,f,g", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    read = read_weights(folder / "sequential.h5")
    assert document == {
        "source": str(weights),
        "kind": "weights-only-h5",
        "target": str(path),
        "parameters": read.graph.num_params,
        "opset": 17,
        "ir_version": 8,
        "bytes": path.stat().st_size,
        "labels": list("abcdefg"),
    }
    images = draw(2, 12, 12, 1)
    expected = np.asarray(read.network.apply(read.variables, images))
    np.testing.assert_allclose(Engine(path)(images), expected, rtol=0, atol=1e-5)


def test_names_that_are_not_known_are_not_stored(
    fixtures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, path = fixtures / "keras-2.15.0" / "sequential.h5", tmp_path / "m.onnx"
    assert _export(path, "--weights", weights) == 0
    assert "note: no class names are stored; --labels stores them\n" in capsys.readouterr().err
    assert "labels" not in Engine(path).metadata
    assert _export(path, "--weights", weights, "--labels", "fer2013") == 0
    assert "class names" not in capsys.readouterr().err
    assert Engine(path).metadata["labels"] == list(FER2013_CSV_ORDER)


def test_command_line_does_not_write_over_weights(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"m\.h5: expected a name that ends in \.onnx; --weights"):
        _export(tmp_path / "m.h5")
    with pytest.raises(FerjaxError, match="expected 7 different labels in output order, got 2"):
        _export(tmp_path / "m.onnx", "--labels", "a,b")
    assert not list(tmp_path.iterdir())
