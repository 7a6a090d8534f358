"""A file that is broken or lies is refused: in one line that says where, fast, in little memory."""

from __future__ import annotations

import builtins
import gzip
import io
import itertools
import json
import os
import pickle
import random
import shutil
import struct
import sys
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import ferjax.keras
from ferjax.errors import FerjaxError, WeightFileError
from ferjax.keras.json_text import MOST_CHARACTERS as MOST_JSON
from ferjax.nets.graph import Call, Graph
from ferjax.nets.layers import Dense, Flatten, InputLayer, Rescaling

FIXTURES = Path(__file__).parents[1] / "fixtures" / "keras"
KERNEL = "model_weights/dense/dense/kernel:0"
NAN = float("nan")
SECRET = np.arange(54, dtype="<f4") + 4242


def replace(path: Path, name: str, make: Callable[[h5py.Group, str], Any]) -> None:
    """Put something else where an HDF5 file has `name`: `make(group, last part of name)`."""
    with h5py.File(path, "r+") as root:
        del root[name]
        parent, _, last = name.rpartition("/")
        make(root[parent or "/"], last)


def layers_of(config: dict[str, Any]) -> list[dict[str, Any]]:
    return config["config"]["layers"]


def layer_of(config: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in layers_of(config) if entry["config"]["name"] == name)


# --- layers outside the vocabulary, and code ---------------------------------------------------


@pytest.mark.parametrize("kind", ["Lambda", "MyLayer", "Operation", "__class__"])
def test_a_layer_outside_the_vocabulary_is_named(
    kind: str, saved: Any, edit_json: Any, refused: Any
) -> None:
    path = saved("h5")
    edit_json(path, lambda config: layer_of(config, "flatten").update(class_name=kind))
    refused(path, f"layer 'flatten': '{kind}' is not among", "InputLayer, Conv2D, DepthwiseConv2D")


def test_every_layer_outside_the_vocabulary_is_named(
    saved: Any, edit_json: Any, refused: Any
) -> None:
    def change(config: Any) -> None:
        layer_of(config, "flatten")["class_name"] = "Lambda"
        layer_of(config, "dense")["class_name"] = "Dens"
        layer_of(config, "conv2d")["class_name"] = "conv2D"

    path = saved("h5")
    edit_json(path, change)
    refused(
        path,
        "layer 'flatten': 'Lambda' is not among",
        "layer 'dense': 'Dens' is not among.*did you mean 'Dense'",
        "layer 'conv2d': 'conv2D' is not among.*did you mean 'Conv2D'",
    )


PAYLOAD = """
from pathlib import Path
Path(__file__).with_name("imported").write_text("imported")
class Dense:
    def __init__(self, *args, **kwargs):
        raise SystemExit("run")
def evil(*args, **kwargs):
    raise SystemExit("run")
"""


@pytest.fixture
def sentinel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that could be imported, and would leave a file behind; returns that file."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "evil_module.py").write_text(PAYLOAD)
    monkeypatch.syspath_prepend(str(folder))
    return folder / "imported"


@pytest.fixture
def saved_with(saved: Any, edit_json: Any, repack: Any) -> Callable[..., Path]:
    """Return a function that saves the network and changes the config in the file."""

    def save(kind: str, change: Callable[[Any], None]) -> Path:
        path: Path = saved(kind)
        if kind == "h5":
            edit_json(path, change)
        else:
            with zipfile.ZipFile(path) as archive:
                config = json.loads(archive.read("config.json"))
            change(config)
            repack(path, {"config.json": json.dumps(config).encode()})
        return path

    return save


@pytest.mark.parametrize("kind", ["h5", "keras"])
def test_modules_that_a_config_names_are_never_imported(
    kind: str, saved_with: Callable[..., Path], sentinel: Path, small: Any, predict: Any
) -> None:
    def change(config: Any) -> None:
        entry = layer_of(config, "dense")
        entry["package"] = "evil_module"
        function = {"module": "evil_module", "class_name": "evil", "config": {}}
        entry["config"]["kernel_initializer"] = function
        entry["config"]["kernel_constraint"] = function
        entry["config"]["kernel_regularizer"] = function
        entry["build_config"] = {"module": "evil_module", "class_name": "evil"}
        if kind == "keras":
            config["compile_config"] = {"optimizer": entry["build_config"]}

    path = saved_with(kind, change)
    before = set(sys.modules)
    model = ferjax.keras.load(path)
    assert "evil_module" not in set(sys.modules) - before
    assert not sentinel.exists()
    assert predict(model, small.images).shape == (2, 3)
    assert not sentinel.exists()


@pytest.mark.parametrize("kind", ["h5", "keras"])
@pytest.mark.parametrize("whole", [True, False], ids=["model", "layer"])
@pytest.mark.parametrize(
    "module, registered, called",
    [
        ("evil_module", None, "evil_module.{}"),
        ("evil_module", "evil_module>{}", "evil_module>{}"),
        (None, "evil_module>{}", "evil_module>{}"),
        (None, "{}", "custom.{}"),  # a class of __main__ that was never registered
        ("keras.layers", "evil_module>{}", "evil_module>{}"),
        ("kerasx.layers", None, "kerasx.layers.{}"),
        (7, ["x"], r"\['x'\]"),
    ],
)
def test_a_class_that_is_only_named_like_one_of_keras_is_refused(
    module: Any,
    registered: Any,
    called: str,
    whole: bool,
    kind: str,
    saved_with: Callable[..., Path],
    refused: Any,
    sentinel: Path,
) -> None:
    name = "Sequential" if whole else "Dense"
    if isinstance(registered, str):
        registered = registered.format(name)

    def change(config: Any) -> None:
        entry = config if whole else layer_of(config, "dense")
        entry.update(module=module, registered_name=registered)

    refused(
        saved_with(kind, change),
        f"expected Keras's {name}, got a class of the same name",
        called.format(name),
    )
    assert not sentinel.exists() and "evil_module" not in sys.modules


OWN = "whose code the file does not hold and which ferjax cannot compute; replace it by Keras's own"


@pytest.mark.parametrize(
    "entry, known",
    [
        ({"class_name": "Glow", "module": None, "registered_name": "Glow"}, "registered as 'Glow'"),
        (
            {"class_name": "mine>Glow", "module": None, "registered_name": None},  # in an .h5
            "registered as 'mine>Glow', package 'mine'",
        ),
        ({"class_name": "Glow", "module": "mine.layers"}, "module 'mine.layers'"),
        (
            {"class_name": "Glow", "module": "evil_module", "registered_name": "Custom>Glow"},
            "registered as 'Custom>Glow', package 'Custom', module 'evil_module'",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["h5", "keras"])
@pytest.mark.parametrize("whole", [True, False], ids=["model", "layer"])
def test_a_custom_class_is_told_as_one(
    whole: bool,
    kind: str,
    entry: dict[str, Any],
    known: str,
    saved_with: Callable[..., Path],
    refused: Any,
    sentinel: Path,
) -> None:
    path = saved_with(kind, lambda c: (c if whole else layer_of(c, "flatten")).update(entry))
    place = "model" if whole else "layer 'flatten'"
    refused(path, rf"{place}: 'Glow' is a custom class \({known}\), {OWN}")
    assert not sentinel.exists() and "evil_module" not in sys.modules


@pytest.mark.parametrize(
    "activation",
    [
        {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"},
        {"module": "evil_module", "class_name": "evil", "config": {}},
        {"class_name": "__lambda__", "config": {"code": "4wAAAAA="}},
        "evil_module.evil",
        "os.system",
        ["4wEAAAAAAAAAAAAAAAQAAAADAAAA8wIAAACX", None, None],
        7,
    ],
    ids=repr,
)
def test_an_activation_that_is_code_is_refused(
    activation: Any, saved: Any, edit_json: Any, refused: Any, sentinel: Path
) -> None:
    path = saved("h5")
    edit_json(path, lambda c: layer_of(c, "dense")["config"].update(activation=activation))
    refused(path, "dense", "expected an activation")
    assert not sentinel.exists() and "evil_module" not in sys.modules


@pytest.mark.parametrize(
    ("activation", "pattern"),
    [
        ({"class_name": "LeakyReLU"}, "activation 'LeakyReLU' without a config"),
        ({"class_name": "LeakyReLU", "config": {"name": "a", "alpha": "x"}}, "negative_slope: "),
        (
            {"class_name": "ReLU", "config": {"name": "a"}, "module": "evil_module"},
            "expected Keras's ReLU, got a class of the same name, 'evil_module.ReLU'",
        ),
        ({"class_name": ["ReLU"], "config": {}}, "expected an activation by name or a layer"),
        ({"class_name": "BatchNormalization", "config": {}}, "expected an activation by name or"),
    ],
    ids=repr,
)
def test_a_layer_as_activation_is_checked_as_any_layer(
    activation: Any, pattern: str, saved: Any, edit_json: Any, refused: Any
) -> None:
    path = saved("h5")
    edit_json(path, lambda c: layer_of(c, "dense")["config"].update(activation=activation))
    refused(path, r"layer 'dense' \(Dense\): activation: ", pattern)


def test_activations_of_activations_of_activations_are_refused(
    saved: Any, edit_json: Any, refused: Any
) -> None:
    activation: Any = "relu"
    for _ in range(300):
        activation = {"class_name": "Activation", "config": {"name": "a", "activation": activation}}
    path = saved("h5")
    edit_json(path, lambda c: layer_of(c, "dense")["config"].update(activation=activation))
    refused(path, "layers inside layers more than 20 deep")


def test_marshalled_and_pickled_functions_are_never_decoded(
    saved: Any, edit_json: Any, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import base64
    import marshal

    code = base64.b64encode(marshal.dumps(compile("1", "x", "eval"))).decode()

    def forbidden(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("code from a file was decoded")

    path = saved("h5")
    edit_json(
        path,
        lambda config: layer_of(config, "flatten").update(
            class_name="Lambda",
            config={
                "name": "evil",
                "function": [code, None, None],
                "function_type": "lambda",
                "output_shape": {"class_name": "__lambda__", "config": {"code": code}},
            },
        ),
    )
    with monkeypatch.context() as patch:
        for module, names in ((marshal, ("loads", "load")), (pickle, ("loads", "load"))):
            for name in names:
                patch.setattr(module, name, forbidden)
        patch.setattr(builtins, "eval", forbidden)
        patch.setattr(base64, "b64decode", forbidden)
        refused(path, "layer 'evil': 'Lambda' is not among")


# --- operations --------------------------------------------------------------------------------

TENSOR = ["input", 0, 0]
ELLIPSIS = {"class_name": "__ellipsis__"}
DEEP: Any = 1.0
for _ in range(40):
    DEEP = [DEEP]


@pytest.fixture
def with_operation(tmp_path: Path, edit_json: Any, draw: Any) -> Callable[..., Path]:
    """Return a function that writes a model with one operation in the JSON that is given."""

    def write(node: Any, function: Any = "math.add", **entry: Any) -> Path:
        layers = [
            InputLayer(name="input", shape=(4, 4, 3)),
            Rescaling(name="op", scale=2.0),
            Flatten(name="flatten"),
            Dense(name="dense", units=2),
        ]
        calls = [Call(layer.name, (i - 1,) if i else ()) for i, layer in enumerate(layers)]
        graph = Graph(tuple(layers), tuple(calls), functional=True)
        path = tmp_path / "model.h5"
        ferjax.keras.save(path, graph, draw(graph))

        def change(config: Any) -> None:
            here = layer_of(config, "op")
            here["class_name"] = "TFOpLambda"
            here["config"] = {"name": "op", "trainable": True, "function": function}
            here["inbound_nodes"] = [node]
            here.update(entry)

        edit_json(path, change)
        return path

    return write


def test_a_model_with_an_operation_is_read(with_operation: Any, predict: Any) -> None:
    """What the next tests change is valid without the change."""
    path = with_operation([*TENSOR, {"y": [1.0, 2.0, 3.0], "name": None}])
    model = ferjax.keras.load(path)
    assert model.graph.by_name["op"] == Rescaling(name="op", scale=1.0, offset=(1.0, 2.0, 3.0))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("os.system", "the operation 'tf.os.system' is not among"),
        ("math.ad", "is not among those that ferjax knows; did you mean .*'tf.math.add'"),
        ("keras.utils.get_file", "is not among"),
        ("__operators__.__class__", "is not among"),
        ({"class_name": "evil"}, "is not among"),
        (None, "is not among"),
        (["math.add"], "is not among"),
    ],
    ids=repr,
)
def test_a_function_outside_the_table_is_refused(
    function: Any, message: str, with_operation: Any, refused: Any
) -> None:
    refused(with_operation([*TENSOR, {"y": 1.0}], function), "layer 'op'", message)


@pytest.mark.parametrize(
    ("node", "function", "message"),
    [
        ([*TENSOR, {"y": NAN}], "math.add", "x2: expected a finite number"),
        ([*TENSOR, {"y": 1e39}], "math.add", "x2: expected a finite number"),
        ([*TENSOR, {"y": 10**400}], "math.add", "x2: expected a finite number"),
        ([*TENSOR, {"y": "1.0"}], "math.add", "x2: expected a finite number, got '1.0'"),
        ([*TENSOR, {"y": True}], "math.add", "x2: expected a finite number, got True"),
        ([*TENSOR, {"y": None}], "math.add", "x2: expected a finite number, got None"),
        ([*TENSOR, {"y": [1.0, 2.0]}], "math.add", "that broadcast"),
        ([*TENSOR, {"y": [[1.0], [1.0, 2.0]]}], "math.add", "rows of equal length"),
        ([*TENSOR, {"y": []}], "math.add", "that broadcast"),
        ([*TENSOR, {"y": [[[[[1.0]]]]]}], "math.add", "got one of shape"),
        ([*TENSOR, {"y": DEEP}], "math.add", "nested too deeply"),
        ([*TENSOR, {"y": [1.0] * 200_000}], "math.add", "at most 100000 numbers"),
        ([*TENSOR, {"y": {"class_name": "__lambda__", "config": {"value": "x"}}}], "math.add",
         "expected a constant or a tensor"),
        ([*TENSOR, {"y": {"module": "os", "class_name": "system", "config": "x"}}], "math.add",
         "expected a constant or a tensor"),
        ([*TENSOR, {"y": ["nowhere", 0, 0]}], "math.add", "'nowhere', which is not among"),
        ([*TENSOR, {"y": ["op", 0, 0]}], "math.add", "inputs never come"),
        ([*TENSOR, {"y": ["input", 7, 0]}], "math.add", "inputs never come"),
        ([*TENSOR, {"y": ["input", 0, 3]}], "math.add", "its output 3 is used"),
        ([*TENSOR, {"y": ["input", True, 0]}], "math.add", "expected .layer, node, tensor."),
        ([*TENSOR, {}], "math.add", "got no x2"),
        ([*TENSOR, {"y": 1.0, "alpha": 2.0}], "math.add", "the argument 'alpha' is not supported"),
        ([*TENSOR, {"y": 1.0, "x2": 2.0}], "math.add", "x2 is given twice"),
        ([*TENSOR, {"y": 0.0}], "math.truediv", "it divides by 0"),
        ([*TENSOR, {"y": [1.0, 0.0, 2.0]}], "math.truediv", "it divides by 0"),
        ([*TENSOR, {"bias": [1.0] * 3, "data_format": "NCHW"}], "nn.bias_add", "'NCHW'"),
        ([*TENSOR, {"axis": 7}], "nn.softmax", "axis"),
        ([*TENSOR, {"axis": 0}], "nn.softmax", "not the batch"),
        ([*TENSOR, {"axis": None}], "math.reduce_mean", "not the batch"),
        ([*TENSOR, {"axis": [0, 1]}], "math.reduce_mean", "not the batch"),
        ([*TENSOR, {"axis": [[1], 2]}], "math.reduce_mean", "expected an integer"),
        ([*TENSOR, {"axis": [1, 2], "keepdims": 3}], "math.reduce_mean", "expected true or false"),
        ([*TENSOR, {"shape": [5, -1]}], "reshape", "expected -1, for the batch"),
        ([*TENSOR, {"shape": [-1, -1, 7]}], "reshape", "target_shape"),
        ([*TENSOR, {"shape": [TENSOR, 48]}], "reshape", "got a tensor"),
        ([*TENSOR, {"perm": [3, 0, 1, 2]}], "transpose", "expected 0, the batch"),
        ([*TENSOR, {"perm": [0, [1], 2, 3]}], "transpose", "expected an integer"),
        ([*TENSOR, {"repeats": 10**9, "axis": 1}], "repeat", "at most 4096"),
        ([*TENSOR, {"repeats": 2, "axis": None}], "repeat", "not the batch"),
        ([*TENSOR, {"indices": [0, 1, 2], "axis": -1}], "gather", "backwards"),
        ([*TENSOR, {"indices": "evil", "axis": [1]}], "gather", "backwards"),
        ([*TENSOR, {"size": [10**9, 10**9]}], "image.resize", "at most 16384 rows"),
        ([*TENSOR, {"ksize": 2, "padding": [[1, 1], [1, 1]]}], "nn.max_pool2d", "padding"),
        ([*TENSOR, {"ksize": 0}], "nn.avg_pool2d", "pool_size"),
        ([*TENSOR, {"ksize": 2, "data_format": "NCHW"}], "nn.max_pool2d", "'NCHW' is not"),
        ([*TENSOR, {"size": 9}], "image.resize", "expected .height, width., got 9"),
        ([*TENSOR, {"size": [TENSOR, 9]}], "image.resize", "got a tensor"),
        ([*TENSOR, {"size": [9, 9], "preserve_aspect_ratio": True}], "image.resize",
         "preserve_aspect_ratio=True is not supported"),
        ([*TENSOR, {"paddings": [[0, 0], [1, 1], [10**8, 10**8], [0, 0]]}], "pad", "at most 2684"),
        ([*TENSOR, {"paddings": [[1, 0], [1, 1], [1, 1], [0, 0]]}], "pad", "rows and columns"),
        ([*TENSOR, {"paddings": [[0, 0], "a", [1, 1], [0, 0]]}], "pad", "padding"),
        ([*TENSOR, {"paddings": 1, "mode": "REFLECT"}], "pad", "expected zeros around"),
        ([*TENSOR, {"dtype": "int8"}], "cast", "expected a float type, got 'int8'"),
        ([*TENSOR, {"dtype": {"class_name": "x"}}], "cast", "expected a constant or a tensor"),
        ([*TENSOR, {"slice_spec": [{"start": 0, "stop": 1, "step": None}]}],
         "__operators__.getitem", "expected all of the batch"),
        ([*TENSOR, {"slice_spec": [ELLIPSIS, 10**12]}], "__operators__.getitem",
         "at most 2147483647"),
        ([*TENSOR, {"slice_spec": [ELLIPSIS, 3]}], "__operators__.getitem",
         "expected one of 3 along axis 3, got 3"),
        ([*TENSOR, {"slice_spec": [ELLIPSIS] * 2}], "__operators__.getitem",
         "one ellipsis at most"),
        ([*TENSOR, {"slice_spec": [ELLIPSIS, *[None] * 60]}],
         "__operators__.getitem", "at most 8 axes"),
        ([*TENSOR, {"slice_spec": [ELLIPSIS, *[None] * 100]}],
         "__operators__.getitem", "at most 64 items"),
        ([*TENSOR, {"slice_spec": [{"start": TENSOR, "stop": None, "step": None}]}],
         "__operators__.getitem", "expected an integer"),
        ([*TENSOR, {"slice_spec": [TENSOR]}], "__operators__.getitem", "got a tensor"),
        ([*TENSOR, {"slice_spec": "..."}], "__operators__.getitem", "expected an index, got"),
        (["_CONSTANT_VALUE", -1, 1.0, {"y": 2.0}], "math.add", "constants only"),
        ([[*TENSOR, {"axis": 1}], [*TENSOR, {"axis": 2}]], "concat",
         "the same arguments for each input"),
        ([[*TENSOR, {"axis": 0}], [*TENSOR, {"axis": 0}]], "concat", "axis 0"),
        ([[*TENSOR, {"axis": 0}], [*TENSOR, {"axis": 0}]], "stack", "not the batch"),
        ([], "math.add", "inbound node"),
        ({"args": "input", "kwargs": {}}, "math.add", "inbound node"),
        ({"args": [TENSOR] * 9, "kwargs": {}}, "math.add", "expected 2 arguments at most, got 9"),
    ],
)  # fmt: skip
def test_a_call_of_an_operation_that_lies_is_refused(
    node: Any, function: str, message: str, with_operation: Any, refused: Any
) -> None:
    refused(with_operation(node, function), "'op'|'input'|'nowhere'", message)


@pytest.mark.parametrize(
    ("kind", "module", "message"),
    [
        ("Add", "keras.ops.evil()", "cannot take 1 inputs"),
        ("Modulo", "keras.src.ops.numpy", "the operation 'Modulo' is not among"),
        ("Multipl", "keras.src.ops.numpy", "did you mean 'Multiply'"),
        ("__class__", "keras.ops", "is not among"),
        ("Add", "evil_module.ops", "expected Keras's Add, got a class of the same name"),
    ],
)
def test_a_class_of_operations_outside_the_table_is_refused(
    kind: str, module: str, message: str, with_operation: Any, refused: Any, sentinel: Path
) -> None:
    node = {"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": TENSOR}}, 1.0]}
    config = {"name": "op"}
    path = with_operation(node, class_name=kind, module=module, config=config)
    refused(path, message)
    assert not sentinel.exists() and "evil_module" not in sys.modules


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("LayerScale", {"projection_dim": 3}, "expected the settings init_values, projection_dim"),
        ("LayerScale", {"init_values": 1.0, "projection_dim": 4}, "expected inputs of 4 channels"),
        ("LayerScale", {"init_values": NAN, "projection_dim": 3}, "expected a finite number"),
        ("StochasticDepth", {"drop_path_rate": 1.5}, "expected a rate of at least 0 and below 1"),
        ("StochasticDepth", {"drop_path_rate": 0.1, "mode": "row"}, "got drop_path_rate, mode"),
        ("CustomScaleLayer", {"scale": 1e39}, "scale: expected a finite number"),
        ("CustomScaleLayer", {"scale": 0.5}, "expected two inputs, got 1"),
        ("CustomScaleLayer", {"scale": 0.5, "function": "x"}, "got function, scale"),
        ("Custom>CustomScaleLayer", {"factor": 0.5}, "expected the settings scale"),
        ("evil_module>CustomScaleLayer", {"scale": 0.5}, "is a custom class"),
        ("Custom>LayerScale", {"init_values": 1.0, "projection_dim": 3}, "Keras's LayerScale"),
    ],
)
def test_another_class_of_the_name_of_one_of_keras_applications_is_refused(
    kind: str, settings: dict[str, Any], message: str, with_operation: Any, refused: Any
) -> None:
    config = {"name": "op", "trainable": True, "dtype": "float32", **settings}
    path = with_operation([[*TENSOR, {}]], class_name=kind, config=config)
    refused(path, message)


# --- links and storage outside of the file -----------------------------------------------------


def external(path: Path, name: str) -> Callable[[h5py.Group, str], None]:
    def make(group: h5py.Group, last: str) -> None:
        group[last] = h5py.ExternalLink(str(path), name)

    return make


@pytest.mark.parametrize(
    "name, place",
    [
        ("model_weights", "'model_weights'"),
        ("model_weights/dense", "layer 'dense'"),
        ("model_weights/dense/dense", "layer 'dense': kernel"),
        (KERNEL, "layer 'dense': kernel"),
    ],
)
def test_links_out_of_the_file_are_not_followed(
    name: str, place: str, saved: Any, refused: Any, tmp_path: Path
) -> None:
    """CVE-2026-1669; the other file is a valid one, so following the link would succeed."""
    path = saved("h5")
    other = tmp_path / "other.h5"
    shutil.copy(path, other)
    replace(path, name, external(other, name))
    refused(path, place, "is an external link, which is not followed")


@pytest.mark.parametrize(
    "name, place",
    [
        ("model_weights", "'model_weights'"),
        ("model_weights/dense", "layer 'dense'"),
        ("model_weights/dense/dense", "layer 'dense': kernel"),
        (KERNEL, "layer 'dense': kernel"),
    ],
)
def test_soft_links_are_not_followed(name: str, place: str, saved: Any, refused: Any) -> None:
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        root.move(name, "elsewhere")
        root[name] = h5py.SoftLink("/elsewhere")
    refused(path, place, "is a soft link, which is not followed")


@pytest.mark.parametrize(
    "name", ["layers", "layers/dense", "layers/dense/vars", "layers/dense/vars/0"]
)
@pytest.mark.parametrize("soft", [True, False], ids=["soft", "external"])
def test_links_in_v3_files_are_not_followed(
    name: str, soft: bool, saved: Any, refused: Any, small: Any, tmp_path: Path
) -> None:
    path = saved("weights.h5")
    other = tmp_path / "other.h5"
    shutil.copy(path, other)
    with h5py.File(path, "r+") as root:
        root.move(name, "elsewhere")
        root[name] = h5py.SoftLink("/elsewhere") if soft else h5py.ExternalLink(str(other), name)
    refused(path, "link, which is not followed", architecture=small.graph)


def test_values_in_another_file_are_not_read(saved: Any, refused: Any, tmp_path: Path) -> None:
    path, secret = saved("h5"), tmp_path / "secret.bin"
    secret.write_bytes(SECRET.tobytes())

    def make(group: h5py.Group, last: str) -> None:
        group.create_dataset(last, (18, 3), "<f4", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])

    replace(path, KERNEL, make)
    error = refused(path, "layer 'dense': kernel: its values lie in another file")
    assert "4242" not in str(error)


def test_virtual_datasets_are_not_read(saved: Any, refused: Any, tmp_path: Path) -> None:
    path, secret = saved("h5"), tmp_path / "secret.h5"
    with h5py.File(secret, "w") as root:
        root["x"] = SECRET[:54].reshape(18, 3)

    def make(group: h5py.Group, last: str) -> None:
        layout = h5py.VirtualLayout((18, 3), "<f4")
        layout[...] = h5py.VirtualSource(str(secret), "x", (18, 3))
        group.create_virtual_dataset(last, layout)

    replace(path, KERNEL, make)
    refused(path, "layer 'dense': kernel: a virtual dataset, whose values lie elsewhere")


# --- sizes that lie ----------------------------------------------------------------------------


def test_a_huge_shape_is_refused_before_anything_is_read(saved: Any, refused_cheaply: Any) -> None:
    path = saved("h5")

    def make(group: h5py.Group, last: str) -> None:
        group.create_dataset(last, (1 << 20, 1 << 20), "<f4", chunks=(1024, 1024))

    replace(path, KERNEL, make)
    expected = r"layer 'dense': kernel: expected shape \(18, 3\), got \(1048576, 1048576\)"
    refused_cheaply(path, expected)


@pytest.mark.parametrize(
    ("kind", "units"),
    [(kind, units) for kind in ("h5", "keras", "weights.h5") for units in (1 << 20, 1 << 28)]
    + [("h5", (1 << 31) - 1), ("keras", (1 << 31) - 1)],
)
def test_a_huge_shape_is_refused_although_the_config_agrees(
    units: int, kind: str, saved: Any, edit_json: Any, repack: Any, refused_cheaply: Any
) -> None:
    whole = saved("h5")
    path = saved(kind)

    def change(config: Any) -> None:
        layer_of(config, "dense")["config"]["units"] = units

    def declare(root: h5py.File, names: list[str]) -> None:
        for name, shape in zip(names, ((18, units), (units,))):
            del root[name]
            root.create_dataset(name, shape, "<f4", chunks=(1,) * (len(shape) - 1) + (1024,))

    edit_json(whole, change)
    if kind == "h5":
        with h5py.File(path, "r+") as root:
            declare(root, [KERNEL, KERNEL.replace("kernel", "bias")])
    elif kind == "weights.h5":
        with h5py.File(path, "r+") as root:
            declare(root, ["layers/dense/vars/0", "layers/dense/vars/1"])
    else:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
            content = io.BytesIO(archive.read("model.weights.h5"))
        change(config)
        with h5py.File(content, "r+") as root:
            declare(root, ["layers/dense/vars/0", "layers/dense/vars/1"])
        members = {"config.json": json.dumps(config).encode()}
        repack(path, {**members, "model.weights.h5": content.getvalue()})
    config = whole if kind == "weights.h5" else None
    expected = "layer 'dense'.*: expected (arrays of .* bytes|at most 268435456 values)"
    refused_cheaply(path, expected, config=config)


@pytest.mark.parametrize("level", [1, 9])
def test_a_compression_bomb_is_refused_although_the_config_agrees(
    level: int, saved: Any, edit_json: Any, refused_cheaply: Any
) -> None:
    units = 1 << 22
    path = saved("h5")
    edit_json(path, lambda config: layer_of(config, "dense")["config"].update(units=units))
    with h5py.File(path, "r+") as root:
        for name, shape in (("kernel:0", (18, units)), ("bias:0", (units,))):
            del root["model_weights/dense/dense"][name]
            dataset = root["model_weights/dense/dense"].create_dataset(
                name,
                shape,
                "<f4",
                chunks=(*(1,) * (len(shape) - 1), units),
                compression="gzip",
                compression_opts=level,
            )
            if dataset.ndim == 1:
                dataset[...] = 0
            else:
                for row in range(18):
                    dataset[row] = 0
    assert path.stat().st_size < 4 << 20
    refused_cheaply(path, "layer 'dense'")


def test_one_array_that_expands_beyond_reason_is_refused(
    saved: Any, edit_json: Any, refused_cheaply: Any
) -> None:
    """The file is large enough for what its config declares, the array is not."""
    units = 1 << 18
    path = saved("h5")
    edit_json(path, lambda config: layer_of(config, "dense")["config"].update(units=units))
    with h5py.File(path, "r+") as root:
        group = root["model_weights/dense/dense"]
        del group["kernel:0"], group["bias:0"]
        group.create_dataset("bias:0", data=np.zeros(units, "<f4"))
        zeros = np.zeros((18, units), "<f4")
        group.create_dataset("kernel:0", data=zeros, chunks=zeros.shape, compression="gzip")
    refused_cheaply(path, r"layer 'dense': kernel: expands from \d+ bytes to 18874368")


def test_an_array_that_was_never_written_is_refused(saved: Any, refused: Any) -> None:
    path = saved("h5")
    replace(path, KERNEL, lambda group, last: group.create_dataset(last, (18, 3), "<f4"))
    refused(path, "layer 'dense': kernel: declared, but its values were never written")


def test_one_array_listed_for_many_layers_is_bounded(
    tmp_path: Path, draw: Any, refused_cheaply: Any
) -> None:
    """Hard links let a small file claim the same megabyte for a thousand layers."""
    wide = 512
    graph = Graph.sequential(
        [Flatten(), *[Dense(name=f"d{i}", units=wide) for i in range(1200)]],
        input_shape=(1, 1, wide),
    )
    small = Graph.sequential([Flatten(), Dense(name="d0", units=wide)], input_shape=(1, 1, wide))
    path, config = tmp_path / "m.h5", tmp_path / "config.json"
    from ferjax.keras.model_config import model_config

    config.write_text(json.dumps(model_config(graph)))
    ferjax.keras.save(path, small, draw(small), kind="weights-only-h5")
    with h5py.File(path, "r+") as root:
        for i in range(1, 1200):
            root[f"d{i}"] = root["d0"]
        root.attrs["layer_names"] = np.array([f"d{i}".encode() for i in range(1200)])
    refused_cheaply(path, "layer 'd0': expected arrays of", "in all", config=config)


def vlen_position(data: bytes, name: bytes) -> int:
    """Return where the length of a variable-length text attribute stands in a file."""
    start = data.index(name + b"\0") - 8  # version, reserved, three sizes; then the name
    sizes = struct.unpack_from("<HHH", data, start + 2)
    return start + 8 + sum(-(-size // 8) * 8 for size in sizes)


@pytest.mark.parametrize("length", [1 << 28, (1 << 31) - 1, (1 << 32) - 1])
def test_the_length_of_a_text_is_not_believed(
    length: int, saved: Any, refused_cheaply: Any
) -> None:
    """HDF5 would allocate it, and only then see that the text is shorter."""
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        config = root.attrs["model_config"]
        del root.attrs["model_config"]
        text = config if isinstance(config, str) else config.decode()
        root.attrs.create("model_config", text, dtype=h5py.string_dtype())
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, vlen_position(bytes(data), b"model_config"), length)
    path.write_bytes(data)
    refused_cheaply(
        path,
        f"attribute 'model_config' .*: {length} bytes of text|{length} bytes of text are more than",
    )


def test_many_names_that_share_one_long_text_are_refused(saved: Any, refused_cheaply: Any) -> None:
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        attributes = root["model_weights"].attrs
        del attributes["layer_names"]
        long = "x" * (1 << 20)
        attributes.create("layer_names", [long, *["y"] * 3000], dtype=h5py.string_dtype())
    data = bytearray(path.read_bytes())
    start = vlen_position(bytes(data), b"layer_names")
    for i in range(1, 3001):  # each name becomes the first one
        data[start + 16 * i : start + 16 * (i + 1)] = data[start : start + 16]
    path.write_bytes(data)
    refused_cheaply(path, "3146776576 bytes of text are more than")


# --- bytes that are damaged --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["h5", "keras", "weights.h5"])
def test_a_truncated_file_is_refused(
    kind: str, saved: Any, refused: Any, small: Any, tmp_path: Path
) -> None:
    data = saved(kind, optimizer=True).read_bytes()
    path = tmp_path / "truncated"
    lengths = {0, 1, 4, 8, 100, 511, 512, 513, len(data) - 1, len(data) - 22, len(data) // 2}
    for length in sorted(lengths | set(range(0, len(data), 997))):
        path.write_bytes(data[:length])
        options = {"architecture": small.graph} if kind == "weights.h5" else {}
        refused(path, "truncated|damaged|empty file|neither HDF5|cannot be", **options)


@pytest.mark.parametrize("kind", ["h5", "keras", "weights.h5"])
def test_damaged_bytes_never_cause_another_error(kind: str, saved: Any, small: Any) -> None:
    """A file is read, or refused in one line: nothing else, whichever bytes are wrong."""
    path = saved(kind, optimizer=True)
    data = path.read_bytes()
    options = {"architecture": small.graph} if kind == "weights.h5" else {}
    refusals = 0
    for seed in range(400):
        generator = random.Random(seed)
        damaged = bytearray(data)
        # The structures stand at the beginning of HDF5, at the end of a zip archive.
        first = generator.choice([0, 0, len(data) - 600])
        last = generator.choice([4000, len(data)]) if first == 0 else len(data)
        for _ in range(generator.choice([1, 1, 2, 5, 20])):
            position = generator.randrange(first, last)
            flipped = damaged[position] ^ (1 << generator.randrange(8))
            damaged[position] = generator.choice([0, 255, generator.randrange(256), flipped])
        path.write_bytes(damaged)
        try:
            ferjax.keras.load(path, **options)
        except WeightFileError as error:
            assert str(error).isprintable() and str(error).startswith(f"{path}: ")
            refusals += 1
    assert 40 < refusals < 400


# --- values and types --------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["h5", "weights.h5"])
def test_values_that_are_not_finite_are_refused(
    value: float, kind: str, saved: Any, refused: Any, small: Any
) -> None:
    path = saved(kind)
    name = KERNEL if kind == "h5" else "layers/dense/vars/0"
    with h5py.File(path, "r+") as root:
        root[name][3, 1] = value
    options = {"architecture": small.graph} if kind == "weights.h5" else {}
    refused(path, "layer 'dense': kernel: 1 of its 54 values not finite", **options)


def test_values_beyond_float32_are_refused(saved: Any, refused: Any) -> None:
    path = saved("h5")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        replace(path, KERNEL, lambda g, last: g.create_dataset(last, data=np.full((18, 3), 1e300)))
        refused(path, "layer 'dense': kernel: 54 of its 54 values not finite")


@pytest.mark.parametrize(
    "dtype",
    [
        "?",
        "i4",
        "u1",
        "i8",
        "c8",
        "c16",
        "S4",
        "V4",
        "V2",
        h5py.string_dtype(),
        h5py.vlen_dtype("f4"),
        h5py.ref_dtype,
        h5py.regionref_dtype,
        h5py.enum_dtype({"a": 1, "b": 2}, "i4"),
        np.dtype([("a", "f4"), ("b", "f4")]),
        np.dtype(("f4", (2,))),
        np.longdouble,
        h5py.opaque_dtype(np.dtype("M8[s]")),
    ],
    ids=str,
)
def test_arrays_of_other_types_are_refused(dtype: Any, saved: Any, refused: Any) -> None:
    path = saved("h5")

    def make(group: h5py.Group, last: str) -> None:
        dataset = group.create_dataset(last, (18, 3), dtype, fillvalue=None)
        if np.dtype(dtype).kind not in "OV":
            dataset[...] = np.zeros((18, 3), dtype)

    replace(path, KERNEL, make)
    refused(path, "layer 'dense': kernel: (expected float32 values, got|cannot be read|declared)")


def test_a_type_in_place_of_an_array_is_refused(saved: Any, refused: Any) -> None:
    path = saved("h5")
    replace(path, KERNEL, lambda group, last: group.__setitem__(last, np.dtype("<f4")))
    refused(path, r"layer 'dense': kernel: expected an array of shape \(18, 3\), got a Datatype")


def test_a_group_in_place_of_an_array_is_refused(saved: Any, refused: Any) -> None:
    path = saved("h5")
    replace(path, KERNEL, lambda group, last: group.create_group(last))
    refused(path, r"layer 'dense': kernel: expected an array of shape \(18, 3\), got a Group")


def test_an_array_in_place_of_a_group_is_refused(saved: Any, refused: Any) -> None:
    for name in ("model_weights/dense", "model_weights"):
        path = saved("h5")
        replace(path, name, lambda group, last: group.create_dataset(last, data=[1.0]))
        refused(path, "expected a group at .* got a dataset")


def test_an_array_without_a_shape_is_refused(saved: Any, refused: Any) -> None:
    path = saved("h5")
    replace(path, KERNEL, lambda group, last: group.create_dataset(last, data=h5py.Empty("<f4")))
    refused(path, r"layer 'dense': kernel: expected shape \(18, 3\), got None")


@pytest.mark.parametrize("identifier", [4, 5, 6, 307, 305, 32001, 32015, 65535])
def test_unknown_filters_are_refused_before_code_is_looked_for(
    identifier: int, saved: Any, refused: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a filter it does not know, HDF5 would load a library from a plugin directory."""
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "libevil.so").write_bytes(b"not a library")
    monkeypatch.setenv("HDF5_PLUGIN_PATH", str(plugins))
    path = saved("h5")
    marker = 1  # deflate; its number is changed in the file below, HDF5 would not write others

    def make(group: h5py.Group, last: str) -> None:
        group.create_dataset(last, data=np.ones((18, 3), "<f4"), chunks=(18, 3), compression="gzip")

    replace(path, KERNEL, make)
    data = bytearray(path.read_bytes())
    # Filter pipeline message, version 1: number, length of the name, flags, number of values.
    at = data.index(struct.pack("<HHHH", marker, 8, 1, 1) + b"deflate\0")
    struct.pack_into("<H", data, at, identifier)
    path.write_bytes(data)
    read_before = (plugins / "libevil.so").stat().st_atime_ns
    refused(path, rf"layer 'dense': kernel: unknown compression filter \[{identifier}\]")
    assert (plugins / "libevil.so").stat().st_atime_ns == read_before
    assert os.environ["HDF5_PLUGIN_PATH"] == str(plugins)


# --- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["/x/kernel:0", "../conv2d/kernel:0", "a//kernel:0", "./kernel:0", "a/../kernel:0", "/"]
)
def test_names_that_leave_their_group_are_refused(name: str, saved: Any, refused: Any) -> None:
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        group = root["model_weights/dense"]
        group.attrs["weight_names"] = np.array([name.encode(), b"dense/bias:0"])
        if name.startswith("/x"):
            root["x/kernel:0"] = root[KERNEL]
    refused(path, "layer 'dense': ", "unsafe name|expected arrays named")


def test_a_path_in_a_circle_of_groups_is_refused_at_once(saved: Any, refused: Any) -> None:
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        group = root["model_weights/dense/dense"]
        group["a"] = group
        names = [f"dense/{'a/' * 200_000}{name}:0" for name in ("kernel", "bias")]
        text = h5py.string_dtype()
        root["model_weights/dense"].attrs["weight_names"] = np.array(names, text)
    began = time.perf_counter()
    refused(path, "layer 'dense': kernel: unsafe name .{1,210}, of more than 100 parts")
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize("name", ["dense/kernel:0\0x/kernel:0", "dense/\0kernel:0"])
def test_names_with_null_bytes_are_refused(name: str, saved: Any, refused: Any) -> None:
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        names = np.array([name.encode(), b"dense/bias:0"], "S40")
        root["model_weights/dense"].attrs["weight_names"] = names
    refused(path, "layer 'dense': ", "unsafe name|expected arrays named")


@pytest.mark.parametrize("name", ["/dense", "..", "a//b", "", "model_weights/../x"])
def test_layer_names_that_leave_the_group_are_refused(name: str, saved: Any, refused: Any) -> None:
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        attributes = root["model_weights"].attrs
        names = [n.decode() for n in attributes["layer_names"]]
        attributes["layer_names"] = np.array([*names, name], dtype="S32")
    refused(path, "unsafe name")


@pytest.mark.parametrize(
    "names, found",
    [
        ([b"dense/kernel:0"], r"expected 2 arrays \(kernel, bias\), got 1"),
        ([], r"expected 2 arrays \(kernel, bias\), got 0"),
        ([b"dense/kernel:0", b"dense/bias:0", b"dense/z:0"], r"expected 2 arrays .*, got 3"),
        ([b"dense/kernel:0", b"dense/kernel:0"], "a name is there twice"),
        ([b"a/kernel:0", b"b/kernel:0"], "expected arrays named kernel, bias"),
        ([b"dense/kernel:0", b"dense/gamma:0"], "expected arrays named kernel, bias"),
        ([b"dense/kernel:0", b"other/bias:0"], r"bias: missing, expected an array of shape \(3,\)"),
        ([b"dense/kernel:0", b"dense/kernel:0/bias:0"], "bias: missing"),  # in an array
    ],
)
def test_lists_of_arrays_that_do_not_fit_are_refused(
    names: list[bytes], found: str, saved: Any, refused: Any
) -> None:
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        root["model_weights/dense"].attrs["weight_names"] = np.array(names, "S32")
    refused(path, "layer 'dense'", found)


def test_a_listed_array_that_is_missing_is_named(saved: Any, refused: Any) -> None:
    path = saved("h5")
    replace(path, KERNEL, lambda group, last: None)
    refused(path, r"layer 'dense': kernel: missing, expected an array of shape \(18, 3\)")


@pytest.mark.parametrize("file", ["nested_sequential.partial.h5", "preprocess.partial.h5"])
def test_what_keras_leaves_when_it_fails_to_save_is_refused(file: str, refused: Any) -> None:
    refused(FIXTURES / "keras-3.0.5" / file)


def test_a_layer_listed_twice_is_refused(saved: Any, refused: Any) -> None:
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        attributes = root["model_weights"].attrs
        attributes["layer_names"] = np.append(attributes["layer_names"], b"dense")
    refused(path, "layer_names: a name is there twice")


def test_a_layer_that_is_not_listed_is_named(saved: Any, refused: Any) -> None:
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        attributes = root["model_weights"].attrs
        attributes["layer_names"] = attributes["layer_names"][:-1]
    refused(path, "layer 'dense': missing in the file")


def test_a_layer_whose_group_is_missing_is_named(saved: Any, refused: Any) -> None:
    path = saved("h5")
    replace(path, "model_weights/dense", lambda group, last: None)
    refused(path, "layer 'dense': listed in layer_names, but missing in the file")


def test_weights_that_no_layer_wants_are_named(saved: Any, refused: Any) -> None:
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        weights = root["model_weights"]
        weights.attrs["layer_names"] = np.append(weights.attrs["layer_names"], b"extra")
        root.copy("model_weights/dense", weights, "extra")
    refused(path, "layer 'extra': weights that the architecture has no place for")


def test_every_broken_layer_is_named_at_once(saved: Any, refused: Any) -> None:
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        root["model_weights/conv2d/conv2d/bias:0"][0] = np.nan
        del root["model_weights/batch_normalization/batch_normalization/beta:0"]
        del root[KERNEL]
        root[KERNEL] = np.zeros((2, 2), "<f4")
    error = refused(
        path,
        "3 problems: ",
        "layer 'conv2d': bias: 1 of its 2 values not finite",
        r"layer 'batch_normalization': beta: missing, expected an array of shape \(2,\)",
        r"layer 'dense': kernel: expected shape \(18, 3\), got \(2, 2\)",
    )
    assert len(error.problems) == 3


def test_every_broken_layer_of_a_v3_file_is_named_at_once(
    saved: Any, refused: Any, small: Any
) -> None:
    path = saved("weights.h5")
    with h5py.File(path, "r+") as root:
        root["layers/conv2d/vars/1"][0] = np.nan
        del root["layers/batch_normalization/vars/1"]
        del root["layers/dense"]
    refused(
        path,
        "3 problems: ",
        "layer 'conv2d': bias: 1 of its 2 values not finite",
        r"layer 'batch_normalization': expected 4 arrays .* got 3",
        "layer 'dense': its group 'dense/vars' is missing, expected kernel, bias",
        architecture=small.graph,
    )


def test_a_hundred_problems_are_counted(tmp_path: Path, draw: Any, refused: Any) -> None:
    graph = Graph.sequential(
        [Flatten(), *[Dense(name=f"d{i}", units=2) for i in range(100)]], input_shape=(1, 1, 2)
    )
    path = tmp_path / "m.h5"
    ferjax.keras.save(path, graph, draw(graph))
    with h5py.File(path, "r+") as root:
        for i in range(100):
            del root[f"model_weights/d{i}/d{i}/bias:0"]
    refused(path, "layer 'd0': bias: missing", "and 80 more")


def test_a_name_with_control_characters_keeps_the_message_on_one_line(
    saved: Any, edit_json: Any, refused: Any
) -> None:
    path = saved("h5")
    name = "a\nb\x1b[31m\u2028\u202e"
    edit_json(path, lambda config: layer_of(config, "dense")["config"].update(name=name))
    refused(path, r"a\\nb")


def test_a_hard_link_to_a_parent_is_harmless(saved: Any, small: Any, predict: Any) -> None:
    """Files are never walked; only listed names are followed."""
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        root["model_weights/loop"] = root["/"]
        root["model_weights/dense/loop"] = root["model_weights"]
        root["loop"] = root["/"]
    assert predict(ferjax.keras.load(path), small.images).shape == (2, 3)


# --- attributes --------------------------------------------------------------------------------


def set_list(attribute: str, value: Any) -> Callable[[h5py.Group], None]:
    def damage(group: h5py.Group) -> None:
        del group.attrs[attribute]
        if value is not None:
            group.attrs[attribute] = value(group) if callable(value) else value

    return damage


LISTS = {
    "text": ("conv2d", "expected a list of names, got"),
    "bytes": (np.bytes_("conv2d"), "expected a list of names, got"),
    "empty": (h5py.Empty("f8"), ""),
    "no-numbers": (np.array([], "f8"), ""),
    "numbers": (np.arange(3.0), "expected a list of names, got float64"),
    "number": (7, "expected a list of names, got int64"),
    "two-dimensional": (np.array([[b"conv2d"], [b"d"]]), r"expected a list of names, got \(2, 1\)"),
    "references": (
        lambda group: np.array([group.ref, group.ref], h5py.ref_dtype),
        "expected text, got",
    ),
    "objects": (
        lambda group: np.array([(b"a", 1)], [("n", "S1"), ("i", "i4")]),
        "expected a list of names, got",
    ),
    "missing": (None, ""),
    "bad-utf-8": (np.array([b"conv2d", b"\xff\xfe"]), "expected UTF-8 text"),
    "too-many": (np.array([b"a"] * 30_000), "more than 20000 values"),
}  # fmt: skip


@pytest.mark.parametrize("case", LISTS)
def test_a_list_of_layers_of_another_kind_is_refused(case: str, saved: Any, refused: Any) -> None:
    path = saved("h5")
    value, found = LISTS[case]
    with h5py.File(path, "r+") as root:
        set_list("layer_names", value)(root["model_weights"])
    refused(path, found or "layer 'conv2d': missing in the file")


@pytest.mark.parametrize("case", LISTS)
def test_a_list_of_arrays_of_another_kind_is_refused(case: str, saved: Any, refused: Any) -> None:
    path = saved("h5")
    value, found = LISTS[case]
    with h5py.File(path, "r+") as root:
        set_list("weight_names", value)(root["model_weights/dense"])
    default = "expected 2 arrays|its list of weight_names is missing"
    refused(path, "layer 'dense'", found or default)


@pytest.mark.parametrize(
    "value, found",
    [
        (b"{\xff\xfe}", "attribute 'model_config': expected UTF-8 text"),
        (b"\xff\xfe{}", "model_config: not JSON"),  # UTF-16
        (np.array(7), "attribute 'model_config': expected text, got int64"),
        (np.arange(3), "attribute 'model_config': expected text, got ndarray"),
        (h5py.Empty("S1"), "attribute 'model_config': expected text, got Empty"),
        (b"", "model_config: not JSON"),
        (b"[]", "model_config: expected a JSON object, got list"),
        (b"null", "model_config: expected a JSON object, got NoneType"),
        (b'"x"', "model_config: expected a JSON object, got str"),
        (b"{}", "model without a class_name"),
        (b'{"class_name": 3}', "model without a class_name"),
        (b'{"class_name": "Sequential"}', "'Sequential' without a config"),
        (b'{"class_name": "Sequential", "config": {}}', "model without layers"),
        (b'{"class_name": "Sequential", "config": {"layers": 3}}', "model without layers"),
        (b'{"class_name": "Sequential", "config": []}', "model without layers"),
        (b'{"class_name": "Sequential", "config": [3]}', "layer without a class_name: 3"),
        (b'{"class_name": "Dense", "config": {}}', "expected a Sequential or functional model"),
        (b'{"class_name": "Functional", "config": []}', "'Functional' without a config"),
        (b'{"class_name": "Functional", "config": {"layers": []}}', "model without layers"),
        (b'{"class_name": "Sequential"', "model_config: not JSON"),
        (pickle.dumps({"class_name": "Sequential"}, protocol=0), "model_config: not JSON"),
    ],
)  # fmt: skip
def test_a_config_that_is_none_is_refused(value: Any, found: str, saved: Any, refused: Any) -> None:
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        del root.attrs["model_config"]
        root.attrs["model_config"] = value
    refused(path, found)


def test_a_missing_config_asks_for_one(saved: Any, refused: Any) -> None:
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        del root.attrs["model_config"]
    refused(path, "no model_config: the architecture is missing; give a config")


@pytest.mark.parametrize(
    "value",
    [
        np.void(pickle.dumps({"optimizer": "adam"})),
        pickle.dumps({"optimizer": "adam"}, protocol=0),
        b"\xff\xfe",
        b"[" * 100_000,
        b"{" * 100_000,
        np.arange(4),
        h5py.Empty("f4"),
        b'{"optimizer_config": 3}',
        b'{"optimizer_config": {"class_name": "Adam", "config": 3}}',
        b'{"optimizer_config": {"class_name": [], "config": {}}}',
        b'{"optimizer_config": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}",
        b"[1, 2]",
        b'{"a": NaN, "b": ' + b"9" * 5000 + b"}",
    ],
    ids=range(13),
)
def test_a_training_config_that_cannot_be_used_is_left_alone(
    value: Any, saved: Any, small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a pickle was opened")

    path = saved("h5", optimizer=True)
    with h5py.File(path, "r+") as root:
        del root.attrs["training_config"]
        root.attrs["training_config"] = value
    with monkeypatch.context() as patch:
        patch.setattr(pickle, "loads", forbidden)
        model = ferjax.keras.load(path)
    assert model.graph == small.graph


@pytest.mark.parametrize("attribute", ["keras_version", "ferjax_metadata"])
@pytest.mark.parametrize(
    "value",
    ["", "2²", "2\x0115", "two", "9" * 10_000, "3rc1", "{", "[]", "-1", "{" * 5000],
    ids=lambda value: value[:6].encode("unicode_escape").decode(),
)
def test_a_senseless_version_or_metadata_is_left_alone(
    attribute: str, value: str, saved: Any, small: Any
) -> None:
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        root.attrs[attribute] = value.replace("\x01", "\x7f")
    model = ferjax.keras.load(path)
    assert model.graph == small.graph and model.labels is None


# --- JSON --------------------------------------------------------------------------------------


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize("levels", [700, 900, 950, 970, 980, 985, 990, 995, 1000, 5000, 10**6])
@pytest.mark.parametrize("kind", ["h5", "keras"])
def test_deep_json_is_refused(
    levels: int, kind: str, saved: Any, repack: Any, refused: Any
) -> None:
    text = f'{{"class_name": "Sequential", "config": {{"layers": {deep(levels)}}}}}'.encode()
    path = saved(kind)
    if kind == "keras":
        repack(path, {"config.json": text})
    else:
        with h5py.File(path, "r+") as root:
            root.attrs["model_config"] = text
    refused(path, "nested too deeply|layer without a class_name")


@pytest.mark.parametrize("key", ["units", "activation", "kernel_initializer", "name", "extra"])
def test_deep_json_inside_a_layer_is_refused_or_left_alone(
    key: str, saved: Any, edit_json: Any
) -> None:
    for levels in (500, 900, 940, 960, 980, 990):
        path = saved("h5")
        edit_json(path, lambda config: layer_of(config, "dense")["config"].update({key: "DEEP"}))
        with h5py.File(path, "r+") as root:
            config = root.attrs["model_config"]
            config = config if isinstance(config, str) else config.decode()
            root.attrs["model_config"] = config.replace('"DEEP"', deep(levels)).encode()
        try:
            ferjax.keras.load(path)
        except WeightFileError as error:
            assert str(error).isprintable()


def test_deep_metadata_of_an_archive_is_left_alone_or_refused(saved: Any, repack: Any) -> None:
    for levels in (500, 980, 100_000):
        path = saved("keras")
        text = f'{{"keras_version": {deep(levels)}, "ferjax_metadata": {deep(levels)}}}'
        repack(path, {"metadata.json": text.encode()})
        try:
            assert ferjax.keras.load(path).keras_version is None
        except WeightFileError as error:
            assert "metadata.json: nested too deeply" in str(error)


@pytest.mark.parametrize("kind", ["h5", "keras"])
def test_twenty_megabytes_of_json_are_refused(
    kind: str, saved: Any, repack: Any, refused_cheaply: Any
) -> None:
    text = b'{"class_name": "Sequential", "config": [' + b"[]," * 7_000_000 + b"1]}"
    path = saved(kind)
    if kind == "keras":
        repack(path, {"config.json": text})
    else:
        with h5py.File(path, "r+") as root:
            root.attrs["model_config"] = text
    refused_cheaply(path, r"21000\d\d\d (characters|bytes) are more than")


def test_a_json_file_of_twenty_megabytes_is_refused(
    saved: Any, tmp_path: Path, refused_cheaply: Any
) -> None:
    config = tmp_path / "model.json"
    config.write_bytes(b'{"class_name": "Sequential", "config": [' + b"[]," * 7_000_000 + b"1]}")
    refused_cheaply(
        saved("weights-only-h5"), r"21000043 bytes are more than", config=config, named=config
    )


@pytest.mark.parametrize("item", [b"[]", b"{}", b'{"a":[]}', b"1", b'"\\u00e9\\u4e2d"'])
def test_the_longest_json_that_is_read_takes_little_memory(
    item: bytes, saved: Any, refused_cheaply: Any
) -> None:
    head = b'{"class_name": "Sequential", "config": ['
    count = (MOST_JSON - len(head) - 10) // (len(item) + 1)
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        root.attrs["model_config"] = head + (item + b",") * count + b"1]}"
    refused_cheaply(path, "more than 10000 layers")


SETTINGS = {
    "filters": [0, -1, 2.5, "2", True, None, [2], {}, 10**10, 10**400, NAN, float("inf"), 1e300],
    "kernel_size": [0, [0, 0], [3], [3, 3, 3], "33", None, [3.5, 3], [True, True], {}, 10**12, []],
    "strides": [0, [0, 1], -1, "1", [10**12, 1], {}],
    "padding": ["causal", 3, None, [], {}],
    "data_format": ["channels", 1, []],
    "dilation_rate": [0, [0, 0], "1", -1],
    "activation": ["relu7", 1, [], {}, True, NAN],
    "use_bias": [3, "yes", None, [], NAN],
    "groups": [0, 3, -1, "1", None],
    "name": ["", 3, [], {}, None, "x" * 5000],
    "trainable": ["yes", None, 1.5],
}  # fmt: skip


@pytest.mark.parametrize(
    "key, value",
    [(key, value) for key, values in SETTINGS.items() for value in values],
    ids=lambda value: repr(value)[:24],
)
def test_senseless_settings_of_a_layer_are_refused(
    key: str, value: Any, saved: Any, edit_json: Any, refused: Any
) -> None:
    path = saved("h5")
    edit_json(path, lambda config: layer_of(config, "conv2d")["config"].update({key: value}))
    try:
        error = refused(path)
    except pytest.fail.Exception:  # not refused: then the value means the default
        assert (key, value) in [("trainable", None), ("use_bias", None)]
        return
    assert key == "name" or "conv2d" in str(error)


def keras_object(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"class_name": kind, "config": config}


@pytest.mark.parametrize(
    "layer, key, value",
    [
        ("dense", "kernel_initializer", keras_object("VarianceScaling", {"scale": "x"})),
        ("dense", "kernel_initializer", keras_object("VarianceScaling", {"scale": 10**400})),
        ("dense", "kernel_initializer", keras_object("RandomNormal", {"stddev": 10**400})),
        ("dense", "kernel_initializer", keras_object("Constant", {"value": NAN})),
        ("dense", "kernel_initializer", {"class_name": [], "config": []}),
        ("dense", "kernel_regularizer", keras_object("L2", {"l2": 10**400})),
        ("dense", "kernel_regularizer", keras_object("L2", {"l2": NAN})),
        ("dense", "kernel_regularizer", keras_object("L2", {"l2": -1})),
        ("dense", "kernel_regularizer", 5),
        ("dense", "dtype", {"config": {"name": []}}),
        ("dense", "dtype", 3),
        ("batch_normalization", "epsilon", 10**400),
        ("batch_normalization", "epsilon", NAN),
        ("batch_normalization", "momentum", "x"),
        ("batch_normalization", "axis", 10**30),
        ("batch_normalization", "axis", 7),
        ("batch_normalization", "axis", []),
        ("batch_normalization", "axis", [1, 2]),
        ("max_pooling2d", "pool_size", [0, 0]),
        ("max_pooling2d", "strides", [0, 0]),
        ("max_pooling2d", "pool_size", 10**9),
        ("flatten", "data_format", {}),
    ],
    ids=str,
)  # fmt: skip
def test_settings_of_training_and_numbers_never_cause_another_error(
    layer: str, key: str, value: Any, saved: Any, edit_json: Any
) -> None:
    path = saved("h5")
    edit_json(path, lambda config: layer_of(config, layer)["config"].update({key: value}))
    try:
        ferjax.keras.load(path)
    except WeightFileError as error:
        assert str(error).isprintable() and layer in str(error)


@pytest.mark.parametrize("kind", ["h5", "keras"])
@pytest.mark.parametrize(
    ("layer", "changes"),
    [
        ("max_pooling2d", {"pool_size": 2**27, "strides": 1, "padding": "same"}),
        ("max_pooling2d", {"pool_size": [2**31 - 1, 1], "strides": [1, 1], "padding": "same"}),
        ("conv2d", {"dilation_rate": 2**27, "padding": "same"}),
    ],
    ids=str,
)
def test_layers_that_would_compute_for_days(
    kind: str, layer: str, changes: dict[str, Any], saved_with: Any, refused_cheaply: Any
) -> None:
    path = saved_with(kind, lambda config: layer_of(config, layer)["config"].update(changes))
    refused_cheaply(path, rf"layer '{layer}' .*: expected at most \d+ (values|multiply-adds)")


def nested(depth: int) -> dict[str, Any]:
    inner = keras_object("Flatten", {"name": "f"})
    for _ in range(depth):
        inner = keras_object("TimeDistributed", {"name": "t", "layer": inner})
    return inner


@pytest.mark.parametrize(
    "layer, key, value, pattern",
    [
        ("time_distributed", "layer", 7, "layer: expected a layer, got 7"),
        ("time_distributed", "layer", None, "layer: expected a layer, got None"),
        ("time_distributed", "layer", {}, "layer without a class_name"),
        ("time_distributed", "layer", keras_object("Lambda", {"name": "x"}), "'Lambda' is not amo"),
        ("time_distributed", "layer", keras_object("Add", {"name": "x"}), "of one input, got Add"),
        (
            "time_distributed",
            "layer",
            keras_object("Dense", {"name": "x", "units": 1}) | {"module": "evil_module"},
            "expected Keras's Dense, got a class of the same name",
        ),
        (
            "time_distributed",
            "layer",
            keras_object("Sequential", {"name": "x", "layers": []}),
            "expected a single layer, got the Sequential model 'x'",
        ),
        ("time_distributed", "layer", nested(30), "layers inside layers more than 20 deep"),
        ("bidirectional", "layer", nested(0), "expected a recurrent layer, got Flatten"),
        ("bidirectional", "backward_layer", [1], r"backward_layer: expected a layer, got \[1\]"),
        ("bidirectional", "merge_mode", None, "merge_mode: expected one of"),
        ("gru", "units", 2**31 - 1, "at most 268435456 values of an image"),
        ("gru", "units", 5, "gru"),
        ("gru", "stateful", True, "stateful=True is not supported"),
        ("gru", "return_state", True, "return_state=True is not supported"),
        ("gru", "reset_after", False, "gru"),
        ("resizing", "height", 0, "height: expected a positive integer, got 0"),
        ("resizing", "interpolation", "cubic", "interpolation: expected one of"),
        ("layer_normalization", "axis", [2, 1], "axis: expected ascending axes of 4"),
        ("layer_normalization", "axis", [], "axis: expected ascending axes of 4"),
    ],
    ids=str,
)
def test_senseless_settings_of_layers_in_layers_are_refused(
    layer: str, key: str, value: Any, pattern: str, tmp_path: Path, edit_json: Any, refused: Any
) -> None:
    path = tmp_path / "m.h5"
    path.write_bytes((FIXTURES / "keras-2.15.0" / "recurrent.h5").read_bytes())
    edit_json(path, lambda config: layer_of(config, layer)["config"].update({key: value}))
    refused(path, layer, pattern)


@pytest.mark.parametrize(
    "layer, key", [("conv2d", "filters"), ("conv2d", "kernel_size"), ("dense", "units")]
)
def test_a_required_setting_that_is_absent_is_named(
    layer: str, key: str, saved: Any, edit_json: Any, refused: Any
) -> None:
    path = saved("h5")
    edit_json(path, lambda config: layer_of(config, layer)["config"].__delitem__(key))
    refused(path, f"layer '{layer}' .*: no {key} given")


@pytest.mark.parametrize(
    "shape",
    [[], [None], 5, "8", [None, -1, 8, 1], [None, 0, 8, 1], [None, 8.5, 8, 1], [None, "8", 8, 1],
     [None, 8, 8, 10**400], [None, [8], 8, 1], {}, {"a": 1, "b": 2}, [None, 2, 2, 1], [None] * 60,
     [None, None, None, None], [None, 8], [None, 10**9, 10**9, 1]],
    ids=lambda value: repr(value)[:24],
)  # fmt: skip
def test_senseless_input_shapes_are_refused(
    shape: Any, saved: Any, edit_json: Any, refused: Any
) -> None:
    path = saved("h5")
    edit_json(
        path,
        lambda config: layers_of(config)[0]["config"].update(batch_input_shape=shape),
    )
    refused(path)


@pytest.mark.parametrize("key", ["shape", "batch_shape"])
@pytest.mark.parametrize("value", [5, "ab", {}, {"a": 1}, [[]], True])
def test_senseless_input_shapes_of_keras_3_are_refused(
    key: str, value: Any, saved: Any, edit_json: Any, refused: Any
) -> None:
    def change(config: Any) -> None:
        layers_of(config)[0]["config"].pop("batch_input_shape")
        layers_of(config)[0]["config"][key] = value

    path = saved("h5")
    edit_json(path, change)
    refused(path)


# --- graphs ------------------------------------------------------------------------------------


def add(name: str, *origins: Any, kind: str = "Add") -> dict[str, Any]:
    nodes = [[[*o, {}] if len(o) == 3 else o for o in origins]] if origins else []
    config = {"name": name, "trainable": True}
    return {"class_name": kind, "name": name, "config": config, "inbound_nodes": nodes}


def relu(name: str, *origins: Any) -> dict[str, Any]:
    return add(name, *origins, kind="ReLU")


def entry(name: str = "in", shape: Any = (None, 4, 4, 1)) -> dict[str, Any]:
    config = {"name": name, "batch_input_shape": list(shape), "dtype": "float32"}
    return {"class_name": "InputLayer", "name": name, "config": config, "inbound_nodes": []}


def functional(
    layers: list[Any], output: Any = None, inputs: Any = None, name: str = "model", **extra: Any
) -> dict[str, Any]:
    last = layers[-1]["name"] if layers else "in"
    return {
        "class_name": "Functional",
        "name": name,
        "config": {
            "name": name,
            "layers": layers,
            "input_layers": inputs or [["in", 0, 0]],
            "output_layers": output or [[last, 0, 0]],
        },
        **extra,
    }


IN = ("in", 0, 0)
KERAS_3_IN = {"class_name": "__keras_tensor__", "config": {"keras_history": ["in", 0, 0]}}
CONSTANT = {"class_name": "__tensor__", "config": {"value": [[[[1.0]]]], "dtype": "float32"}}
GRAPHS: dict[str, tuple[dict[str, Any], str]] = {
    "cycle": (
        functional([entry(), add("a", IN, ("b", 0, 0)), relu("b", ("a", 0, 0))]),
        "layers whose inputs never come: 'a', 'b'",
    ),
    "self-loop": (functional([entry(), relu("a", ("a", 0, 0))]), "inputs never come: 'a'"),
    "unknown-origin": (
        functional([entry(), relu("a", ("ghost", 0, 0))]),
        "from 'ghost', which is not among the layers",
    ),
    "node-out-of-range": (functional([entry(), relu("a", ("in", 7, 0))]), "never come: 'a'"),
    "node-negative": (functional([entry(), relu("a", ("in", -1, 0))]), "never come: 'a'"),
    "node-huge": (functional([entry(), relu("a", ("in", 10**30, 0))]), "never come: 'a'"),
    "second-output": (functional([entry(), relu("a", ("in", 0, 1))]), "its output 1 is used"),
    "node-of-text": (functional([entry(), relu("a", ("in", "0", 0))]), r"expected \[layer, node"),
    "no-inputs": (functional([entry(), relu("a")]), "layer 'a' is connected to nothing"),
    "empty-node": (
        functional([entry(), {**relu("a", IN), "inbound_nodes": [[]]}]),
        "layer 'a': a call without inputs",
    ),
    "nodes-of-text": (
        functional([entry(), {**relu("a", IN), "inbound_nodes": "in"}]),
        "expected a list of inbound_nodes",
    ),
    "node-a-number": (
        functional([entry(), {**relu("a", IN), "inbound_nodes": [3]}]),
        "layer 'a': inbound node 3",
    ),
    "keras-3-node-without-args": (
        functional([entry(), {**relu("a", IN), "inbound_nodes": [{"args": 3, "kwargs": {}}]}]),
        "layer 'a': a call without inputs",
    ),
    "keras-3-constant-in-args": (
        functional([entry(), {**add("a"), "inbound_nodes": [{"args": [[KERAS_3_IN, CONSTANT]]}]}]),
        "layer 'a': a constant among its inputs is not supported, expected outputs of layers",
    ),
    "keras-3-constant-in-kwargs": (
        functional(
            [
                entry(),
                {
                    **relu("a"),
                    "inbound_nodes": [{"args": [KERAS_3_IN], "kwargs": {"mask": CONSTANT}}],
                },
            ]
        ),
        "layer 'a': a constant among its inputs is not supported",
    ),
    "keras-3-deep-args": (
        functional([entry(), {**relu("a"), "inbound_nodes": [{"args": json.loads(deep(50))}]}]),
        "call arguments nested too deeply",
    ),
    "same-name-twice": (
        functional([entry(), relu("a", IN), relu("a", IN)]),
        "layer 'a' is there twice",
    ),
    "two-inputs": (
        functional(
            [entry(), entry("in2"), add("a", IN, ("in2", 0, 0))],
            inputs=[["in", 0, 0], ["in2", 0, 0]],
        ),
        "2 inputs",
    ),
    "second-input-unlisted": (
        functional([entry(), entry("in2"), add("a", IN, ("in2", 0, 0))]),
        "layer 'in2' is a second input",
    ),
    "two-outputs": (
        functional([entry(), relu("a", IN), relu("b", IN)], output=[["a", 0, 0], ["b", 0, 0]]),
        r"2 outputs, expected the choice of one .* among 0: 'a' \(4, 4, 1\), 1: 'b' \(4, 4, 1\)",
    ),
    "unknown-output": (functional([entry(), relu("a", IN)], output=[["z", 0, 0]]), "'z'"),
    "unknown-input": (functional([entry(), relu("a", IN)], inputs=[["z", 0, 0]]), "'z' is not"),
    "input-is-no-input": (functional([entry(), relu("a", IN)], inputs=[["a", 0, 0]]), "'a'"),
    "output-node-out-of-range": (
        functional([entry(), relu("a", IN)], output=[["a", 3, 0]]),
        "the output is a call of layer 'a' that is never made",
    ),
    "outputs-a-number": (functional([entry(), relu("a", IN)], output=3), "expected a list of"),
    "unconnected-layer": (
        functional([entry(), relu("a", IN), relu("b", ("c", 0, 0)), relu("c", ("b", 0, 0))],
                   output=[["a", 0, 0]]),
        "never come: 'b', 'c'",
    ),
    "add-of-one": (functional([entry(), add("a", IN)]), r"'a' \(Add\): it cannot take 1 inputs"),
    "relu-of-two": (functional([entry(), relu("a", IN, IN)]), "it cannot take 2 inputs"),
    "shapes-differ": (
        functional([
            entry(),
            {"class_name": "Flatten", "name": "f", "config": {"name": "f"},
             "inbound_nodes": [[["in", 0, 0, {}]]]},
            add("a", IN, ("f", 0, 0), kind="Concatenate"),
        ]),
        r"'a' \(Concatenate\)",
    ),
    "nothing-left": (
        functional([
            entry(),
            {"class_name": "Conv2D", "name": "c",
             "config": {"name": "c", "filters": 2, "kernel_size": [9, 9]},
             "inbound_nodes": [[["in", 0, 0, {}]]]},
        ]),
        r"'c' \(Conv2D\): nothing is left of its input",
    ),
    "keyword-input": (
        functional([entry(), relu("a", ("in", 0, 0, {"mask": ["in", 0, 0]}))]),
        "inputs by keyword are not supported",
    ),
    "shared-between-sizes": (
        functional([
            entry(),
            {"class_name": "Conv2D", "name": "c",
             "config": {"name": "c", "filters": 2, "kernel_size": 1},
             "inbound_nodes": [[["in", 0, 0, {}]], [["c", 0, 0, {}]]]},
        ], output=[["c", 1, 0]]),
        "shared between inputs of different sizes",
    ),
    "old-model-as-input": (
        functional([
            {"class_name": "Sequential", "name": "in", "config": [relu("r", IN)],
             "inbound_nodes": []},
        ]),
        "layer 'in': an input without a shape",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", GRAPHS)
def test_a_graph_that_cannot_be_computed_is_refused(case: str, saved: Any, refused: Any) -> None:
    config, found = GRAPHS[case]
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        root.attrs["model_config"] = json.dumps(config).encode()
    refused(path, found)


def chained(name: str, kind: str, depth: int) -> dict[str, Any]:
    """Nest a model `depth` deep, each calling the next one twice."""
    if depth == 0:
        return functional([entry(), relu("r", IN)], name=name)
    inner = chained("m", kind, depth - 1)
    inner["inbound_nodes"] = [[["in", 0, 0, {}]], [["m", 0, 0, {}]]]
    return functional([entry(), inner], output=[["m", 1, 0]], name=name)


@pytest.mark.parametrize("depth", [15, 19, 40])
def test_models_that_call_models_twice_are_bounded(depth: int, refused: Any, saved: Any) -> None:
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        root.attrs["model_config"] = json.dumps(chained("model", "Functional", depth)).encode()
    refused(path, "more than 10000|nested more than 20 deep")


def test_models_without_layers_that_call_each_other_are_bounded(refused: Any, saved: Any) -> None:
    """Nothing is ever computed, but the calls double at each level."""
    config = functional([entry()], output=[["in", 0, 0]])
    for _ in range(18):
        config["name"] = config["config"]["name"] = "m"
        config["inbound_nodes"] = [[["in", 0, 0, {}]], [["m", 0, 0, {}]]]
        config = functional([entry(), config], output=[["m", 1, 0]])
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        root.attrs["model_config"] = json.dumps(config).encode()
    refused(path, "more than 10000")


@pytest.mark.parametrize("kind", ["Sequential", "Functional"])
def test_models_nested_a_hundred_deep_are_refused(kind: str, refused: Any, saved: Any) -> None:
    config: dict[str, Any] = functional([entry(), relu("r", IN)])
    for level in range(100):
        if kind == "Sequential":
            inner = {"name": f"s{level}", "layers": [config]}
            config = {"class_name": "Sequential", "config": inner}
        else:
            config["name"] = config["config"]["name"] = "m"
            config["inbound_nodes"] = [[["in", 0, 0, {}]]]
            config = functional([entry(), config])
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        root.attrs["model_config"] = json.dumps(config).encode()
    refused(path, "nested more than 20 deep|nested too deeply")


@pytest.mark.parametrize("kind", ["Sequential", "Functional"])
@pytest.mark.parametrize("count", [15_000, 100_000])
def test_too_many_layers_are_refused(
    count: int, kind: str, refused_cheaply: Any, saved: Any
) -> None:
    if kind == "Functional":
        names = ["in", *(f"r{i}" for i in range(count))]
        layers = [entry(), *(relu(b, (a, 0, 0)) for a, b in itertools.pairwise(names))]
        config = functional(layers)
    else:
        layers = [{"class_name": "ReLU", "config": {"name": f"r{i}"}} for i in range(count)]
        config = {"class_name": "Sequential", "config": {"name": "m", "layers": [entry(), *layers]}}
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        root.attrs["model_config"] = json.dumps(config, separators=(",", ":")).encode()
    refused_cheaply(path, "more than 10000 layers|characters are more than")


def test_ten_thousand_layers_that_are_missing_are_named_in_time(
    refused_cheaply: Any, saved: Any
) -> None:
    layers = [
        {"class_name": "Dense", "config": {"name": f"d{i}", "units": 1}} for i in range(9_000)
    ]
    inputs = entry(shape=(None, 1))
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": [inputs, *layers]}}
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        root.attrs["model_config"] = json.dumps(config).encode()
    refused_cheaply(path, "layer 'd0': missing in the file", "more")


def test_a_layer_name_twice_in_a_sequential_model_is_refused(
    saved: Any, edit_json: Any, refused: Any
) -> None:
    path = saved("h5")
    edit_json(path, lambda c: layers_of(c).insert(2, json.loads(json.dumps(layer_of(c, "conv2d")))))
    refused(path, "layer 'conv2d' is there twice")


# --- zip archives ------------------------------------------------------------------------------


def test_members_that_leave_the_folder_are_never_unpacked(
    saved: Any, repack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the archive was unpacked")

    path = saved("keras")
    outside = tmp_path.parent / "outside.txt"
    repack(
        path,
        {"../outside.txt": b"x", "/tmp/absolute.txt": b"x", "assets/../../outside.txt": b"x"},
    )
    monkeypatch.setattr(zipfile.ZipFile, "extractall", forbidden)
    monkeypatch.setattr(zipfile.ZipFile, "extract", forbidden)
    before = set(tmp_path.iterdir())
    ferjax.keras.load(path)
    assert set(tmp_path.iterdir()) == before and not outside.exists()


def bomb_size(method: int) -> int:
    return ((400 if method == zipfile.ZIP_DEFLATED else 50) << 20) + 0x135713


@pytest.fixture(scope="module")
def bombs() -> dict[tuple[str, int], bytes]:
    """What is packed once for several tests, which takes seconds."""
    return {}


@pytest.fixture
def bomb(bombs: dict[tuple[str, int], bytes], saved: Any, repack: Any) -> Callable[..., Path]:
    """Write an archive with a member of many zeros: `bomb("config.json", zipfile.ZIP_LZMA)`."""

    def bomb(member: str, method: int) -> Path:
        path: Path = saved("keras")
        if (member, method) not in bombs:
            repack(path, {member: bytes(bomb_size(method))}, method=method)
            bombs[member, method] = path.read_bytes()
        path.write_bytes(bombs[member, method])
        return path

    return bomb


@pytest.mark.parametrize("member", ["config.json", "metadata.json", "model.weights.h5"])
@pytest.mark.parametrize(
    "method",
    [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA],
    ids=["deflate", "bzip2", "lzma"],
)
def test_an_archive_bomb_is_not_unpacked(
    member: str, method: int, bomb: Any, refused_cheaply: Any
) -> None:
    path = bomb(member, method)
    assert path.stat().st_size < 1 << 20
    refused_cheaply(path, f"{member}: (expands from|unknown compression|.* more than)")


@pytest.mark.parametrize("member", ["config.json", "metadata.json", "model.weights.h5"])
@pytest.mark.parametrize(
    "method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2], ids=["deflate", "bzip2"]
)
@pytest.mark.parametrize("stated", [10, 100_000])
def test_an_archive_bomb_that_lies_about_its_size_is_not_unpacked(
    stated: int, member: str, method: int, bomb: Any, refused_cheaply: Any
) -> None:
    path, size = bomb(member, method), bomb_size(method)
    data = path.read_bytes()
    assert data.count(struct.pack("<I", size)) >= 2
    path.write_bytes(data.replace(struct.pack("<I", size), struct.pack("<I", stated)))
    refused_cheaply(path, member)


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5"])
def test_a_member_that_is_there_twice_is_refused(member: str, saved: Any, refused: Any) -> None:
    path = saved("keras")
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr(member, archive.read(member))
    refused(path, f"{member} is there 2 times")


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5"])
def test_a_member_that_is_missing_is_named(
    member: str, saved: Any, repack: Any, refused: Any
) -> None:
    path = saved("keras")
    repack(path, {member: None})
    refused(path, f"a .keras archive without {member}")


def test_missing_metadata_is_no_obstacle(saved: Any, repack: Any) -> None:
    path = saved("keras")
    repack(path, {"metadata.json": None})
    assert ferjax.keras.load(path).keras_version is None


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5"])
def test_an_encrypted_member_is_refused(member: str, saved: Any, refused: Any) -> None:
    path = saved("keras")
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(member)
    data[info.header_offset + 6] |= 1
    name = member.encode()
    central = data.rindex(b"PK\x01\x02", 0, data.rindex(name))
    data[central + 8] |= 1
    path.write_bytes(data)
    refused(path, f"{member}: cannot be read .*encrypted")


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5", "metadata.json"])
def test_a_wrong_checksum_is_refused(member: str, saved: Any, refused: Any) -> None:
    path = saved("keras")
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(member)
    data = bytearray(path.read_bytes())
    data[info.header_offset + 30 + len(member) + info.file_size // 2] ^= 0xFF
    path.write_bytes(data)
    refused(path, f"{member}: cannot be read .*CRC")


@pytest.mark.parametrize("stated", [0, 10, 10**6, 2**31, 2**32 - 2])
@pytest.mark.parametrize("member", ["config.json", "model.weights.h5"])
def test_a_member_that_lies_about_its_size_is_refused(
    stated: int, member: str, saved: Any, refused: Any
) -> None:
    path = saved("keras")
    data = bytearray(path.read_bytes())
    central = data.rindex(b"PK\x01\x02", 0, data.rindex(member.encode()))
    struct.pack_into("<I", data, central + 24, stated)
    path.write_bytes(data)
    refused(path, f"{member}: |damaged HDF5 file|not JSON")


def test_weights_that_are_no_hdf5_are_refused(saved: Any, repack: Any, refused: Any) -> None:
    path = saved("keras")
    for content in (b"", b"x" * 5000, b"\x89HDF\r\n\x1a\n" + b"\0" * 5000):
        repack(path, {"model.weights.h5": content})
        refused(path, "(damaged|truncated) HDF5 file")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b"null", b'{"a": ' + b"9" * 5000 + b"}"],
    ids=range(6),
)
def test_an_archive_config_that_is_none_is_refused(
    content: bytes, saved: Any, repack: Any, refused: Any
) -> None:
    path = saved("keras")
    repack(path, {"config.json": content})
    refused(path, "config.json: (not JSON|expected a JSON object)")


@pytest.mark.parametrize(
    "members, found",
    [
        ({"archive/data.pkl": b"x", "archive/version": b"3"}, "a PyTorch file, not one of Keras"),
        ({"readme.txt": b"x"}, "a zip archive, but not one of Keras: it holds readme.txt"),
        ({"folder/config.json": b"{}"}, "not one of Keras"),
        ({"a\nb": b""}, r"it holds a\\nb"),
    ],
)
def test_zip_archives_of_other_kinds_are_told(
    members: dict[str, bytes], found: str, tmp_path: Path, refused: Any
) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    refused(path, found)


# --- files that are something else -------------------------------------------------------------

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 31700000\n"
NPY = io.BytesIO()
np.save(NPY, np.zeros(3))


@pytest.mark.parametrize(
    "content, found",
    [
        (LFS, "a Git LFS pointer.*git lfs pull"),
        (b"<!DOCTYPE html><html>404</html>", "an HTML page"),
        (b"\n  <html><body>", "an HTML page"),
        (b"", "an empty file"),
        (gzip.compress(b"\x89HDF\r\n\x1a\n" * 100), "gzip-compressed; unpack it first"),
        (pickle.dumps([1, 2], protocol=2), "a Python pickle, which is never opened"),
        (pickle.dumps([1, 2], protocol=4), "a Python pickle, which is never opened"),
        (pickle.dumps([1, 2], protocol=5), "pickle|neither HDF5"),
        (NPY.getvalue(), "a NumPy file"),
        (b'{"class_name": "Sequential"}', "JSON; give it as the config"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "neither HDF5 nor a .keras archive"),
        (b"PK\x05\x06" + b"\0" * 18, "neither HDF5 nor a .keras archive"),
        (b"PK\x03\x04" + b"\0" * 100, "a truncated or damaged zip archive"),
        (b"\0" * 4096, "neither HDF5 nor a .keras archive"),
        (b"\x89HDF\r\n\x1a\n", "(damaged|truncated) HDF5 file"),
    ],
    ids=range(15),
)
def test_files_of_other_kinds_are_told(
    content: bytes, found: str, tmp_path: Path, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a pickle was opened")

    monkeypatch.setattr(pickle, "load", forbidden)
    monkeypatch.setattr(pickle, "loads", forbidden)
    path = tmp_path / "m.h5"
    path.write_bytes(content)
    refused(path, found)


def test_hdf5_of_other_kinds_is_told(tmp_path: Path, refused: Any) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w"):
        pass
    refused(path, "HDF5, but not of Keras: .* it holds nothing")
    with h5py.File(path, "w") as root:
        root["data"] = np.zeros(3)
        root["b\nc"] = h5py.SoftLink("/data")
    refused(path, r"HDF5, but not of Keras: .* it holds b\\nc, data")


def test_folders_are_told(tmp_path: Path, refused: Any) -> None:
    refused(tmp_path, "a folder, expected a Keras file")
    (tmp_path / "saved_model.pb").write_bytes(b"")
    refused(tmp_path, "a TensorFlow SavedModel folder; save the model as .h5 or .keras")


def test_a_missing_file_is_told(tmp_path: Path, refused: Any) -> None:
    refused(tmp_path / "none.h5", "no such file")
    (tmp_path / "dangling.h5").symlink_to(tmp_path / "none.h5")
    refused(tmp_path / "dangling.h5", "no such file")
    (tmp_path / "loop.h5").symlink_to(tmp_path / "loop.h5")
    refused(tmp_path / "loop.h5", "cannot be opened")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path, saved: Any, refused: Any) -> None:
    path = tmp_path / "pipe.h5"
    os.mkfifo(path)
    refused(path, "not a regular file")
    weights = saved("weights-only-h5")
    with pytest.raises(WeightFileError, match=r"pipe\.h5: not a regular file"):
        ferjax.keras.load(weights, config=path)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_a_device_is_not_read(refused: Any) -> None:
    refused(Path("/dev/zero"), "not a regular file")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_that_may_not_be_read_is_told(saved: Any, refused: Any) -> None:
    path = saved("h5")
    path.chmod(0)
    refused(path, "cannot be opened .Permission denied")


def test_a_name_that_no_file_can_have_is_told(tmp_path: Path) -> None:
    for name in ("a\0b.h5", "x" * 5000):
        with pytest.raises(WeightFileError, match=r"cannot be opened") as caught:
            ferjax.keras.load(f"{tmp_path}/{name}")
        assert str(caught.value).isprintable()


def test_every_error_is_one_that_callers_can_catch() -> None:
    with pytest.raises(FerjaxError):
        ferjax.keras.load("/nonexistent/m.h5")
    with pytest.raises(ValueError, match=r"^/nonexistent/m\.h5: no such file$"):
        ferjax.keras.load("/nonexistent/m.h5")
