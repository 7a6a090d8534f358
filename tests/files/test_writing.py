"""What is read can be written and read again, in every kind; a failed write harms nothing."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import stat
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import ferjax.files
import ferjax.keras
from ferjax.errors import LabelsError, LayerError, WeightFileError, WriteError
from ferjax.keras.nesting import in_keras_order
from ferjax.nets.graph import Call, Graph
from ferjax.nets.layers import (
    GRU,
    LSTM,
    Activation,
    Add,
    BatchNormalization,
    Bidirectional,
    Conv2D,
    Dense,
    Flatten,
    InputLayer,
    LeakyReLU,
    PReLU,
    TimeDistributed,
)
from ferjax.nets.network import Network

from ..networks import branches

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures" / "keras"
KINDS = ["h5", "weights-only-h5", "weights.h5", "keras"]
WHOLE = ["h5", "keras"]
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


def all_files() -> list[Path]:
    files = [p for p in sorted(FIXTURES.glob("*/*")) if p.suffix in (".h5", ".keras")]
    return [p for p in files if "partial" not in p.name]


def config_of(path: Path) -> Path | None:
    if "weights" not in path.name:
        return None
    # Keras 1's own JSON is not read; Keras 2's is of the same network.
    producer = {"keras-1.2.2": "keras-2.2.4"}.get(path.parent.name, path.parent.name)
    return FIXTURES / producer / f"{path.name.split('.')[0].removesuffix('_weights')}.json"


def label(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Two trees of arrays have the same keys in the same order, and the same bytes."""
    assert list(found) == list(expected)
    for key, value in expected.items():
        if isinstance(value, dict):
            assert_equal(found[key], value)
        else:
            assert found[key].dtype == value.dtype and found[key].shape == value.shape
            assert found[key].tobytes() == value.tobytes()


def left_behind(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name.startswith("."))


# --- there and back ----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*only Keras 3 opens it")
@EVERY_KIND
@pytest.mark.parametrize("source", all_files(), ids=label)
def test_what_was_read_is_written_and_read_again(source: Path, kind: str, tmp_path: Path) -> None:
    first = ferjax.keras.load(source, config=config_of(source))
    path = tmp_path / "again"
    metadata = {"source": "a test", "numbers": [1, 2.5, None]}
    labels = [f"label {i} \u00e9\u4e2d" for i in range(first.graph.output_shape[-1])]
    # Keras 1 has no version and the state of SGD is not kept, neither matters here.
    state = first.optimizer_state if kind != "weights-only-h5" else None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*only Keras 3 opens it")
        ferjax.keras.save(
            path, first.graph, first.variables, state, labels, kind=kind, metadata=metadata
        )
    architecture = None if kind in WHOLE else first.graph
    second = ferjax.keras.load(path, architecture=architecture)
    assert second.kind == kind
    assert_equal(second.variables, first.variables)
    assert second.graph == first.graph
    assert [la.name for la in second.graph.layers] == [la.name for la in first.graph.layers]
    assert second.labels == labels
    assert second.metadata == {**metadata, "labels": labels}
    if state is None:
        assert second.optimizer_state is None
    else:
        found = second.optimizer_state
        assert found is not None and found.name == state.name and found.step == state.step
        assert_equal(found.mu, state.mu)
        assert_equal(found.nu, state.nu)
    third = tmp_path / "third"
    ferjax.keras.save(
        third, second.graph, second.variables, second.optimizer_state, labels, kind=kind,
        metadata=metadata,
    )  # fmt: skip
    assert third.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("kind", ["h5", "keras", "weights.h5"])
@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_state_of_the_optimizer_comes_back(
    kind: str, name: str, small: Any, tmp_path: Path
) -> None:
    settings = {"learning_rate": 0.25, "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-5}
    if name == "AdamW":
        settings["weight_decay"] = 0.125
    state = dataclasses.replace(small.optimizer_state, name=name, settings=settings, step=2**31 - 1)
    path = tmp_path / f"m.{kind}"
    ferjax.keras.save(path, small.graph, small.variables, state)
    architecture = small.graph if kind == "weights.h5" else None
    found = ferjax.keras.load(path, architecture=architecture).optimizer_state
    assert found is not None and found.step == 2**31 - 1
    assert_equal(found.mu, state.mu)
    assert_equal(found.nu, state.nu)
    if kind == "weights.h5":  # it has no place for anything but the learning rate
        assert found.settings["learning_rate"] == 0.25
    else:
        assert (found.name, found.settings) == (name, settings)


@EVERY_KIND
def test_the_same_network_gives_the_same_bytes(kind: str, saved: Any) -> None:
    first = saved(kind, optimizer=kind != "weights-only-h5").read_bytes()
    time.sleep(1.1)  # HDF5 and zip could store a time, in seconds
    assert saved(kind, optimizer=kind != "weights-only-h5").read_bytes() == first


@EVERY_KIND
def test_keras_versions_find_what_they_look_for(kind: str, saved: Any) -> None:
    path = saved(kind)
    if kind == "keras":
        with zipfile.ZipFile(path) as archive:
            assert archive.namelist() == ["metadata.json", "config.json", "model.weights.h5"]
            assert all(i.compress_type == zipfile.ZIP_STORED for i in archive.infolist())
        return
    with h5py.File(path) as root:
        if kind == "weights.h5":
            assert list(root["layers/dense/vars"]) == ["0", "1"]
            assert len(root["layers/flatten/vars"]) == 0 and "vars" in root
            return
        weights = root["model_weights"] if kind == "h5" else root
        assert weights.attrs["keras_version"] == b"2.15.0"
        assert weights.attrs["backend"] == b"tensorflow"
        assert weights.attrs["layer_names"].dtype.kind == "S"
        names = [n.decode() for n in weights.attrs["layer_names"]]
        assert names == ["conv2d", "batch_normalization", "max_pooling2d", "flatten", "dense"]
        assert weights["flatten"].attrs["weight_names"].shape == (0,)
        assert weights["dense/dense/kernel:0"].dtype == np.dtype("<f4")
        assert weights["dense/dense/kernel:0"].chunks is None


@pytest.mark.parametrize(
    "name, kind",
    [
        ("m.h5", "h5"),
        ("M.HDF5", "h5"),
        ("m.weights.h5", "weights.h5"),
        ("m.keras", "keras"),
        ("a.keras.h5", "h5"),
        (".h5", "h5"),
    ],
)
def test_kind_is_told_by_name(name: str, kind: str, small: Any, tmp_path: Path) -> None:
    assert ferjax.keras.kind_of(name) == kind
    ferjax.keras.save(tmp_path / name, small.graph, small.variables)
    architecture = small.graph if kind == "weights.h5" else None
    assert ferjax.keras.load(tmp_path / name, architecture=architecture).kind == kind


@pytest.mark.parametrize("name", ["m", "m.pt", "m.h5.bak", "keras", "m.npz", ""])
def test_a_name_that_tells_no_kind_is_refused(name: str, small: Any, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"expected a kind among h5, .*keras, got None"):
        ferjax.keras.save(f"{tmp_path}/{name}", small.graph, small.variables)
    assert not list(tmp_path.iterdir())


def test_an_unknown_kind_is_refused(small: Any, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="got 'onnx'"):
        ferjax.keras.save(tmp_path / "m.h5", small.graph, small.variables, kind="onnx")


def test_weights_only_file_takes_no_optimizer_state(small: Any, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="no place for optimizer state"):
        ferjax.keras.save(
            tmp_path / "m.h5", small.graph, small.variables, small.optimizer_state,
            kind="weights-only-h5",
        )  # fmt: skip


# --- variables ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "convert",
    [
        jnp.asarray,
        lambda a: a.astype(np.float64),
        lambda a: a.astype(">f4"),
        np.asfortranarray,
        lambda a: a.tolist(),
        lambda a: np.repeat(a, 2, axis=0)[::2],
    ],
    ids=["jax", "float64", "big-endian", "fortran-order", "lists", "strided"],
)
@EVERY_KIND
def test_arrays_of_every_origin_give_the_same_bytes(
    kind: str, convert: Callable[[Any], Any], small: Any, tmp_path: Path
) -> None:
    variables = {
        collection: {
            layer: {name: convert(array) for name, array in arrays.items()}
            for layer, arrays in layers.items()
        }
        for collection, layers in small.variables.items()
    }
    paths = tmp_path / "a", tmp_path / "b"
    for path, each in zip(paths, (small.variables, variables)):
        ferjax.keras.save(path, Network(small.graph), each, kind=kind)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("make", [jnp.asarray, np.asarray], ids=["jax", "numpy"])
@EVERY_KIND
def test_bfloat16_is_written_as_float32(
    kind: str, make: Callable[..., Any], small: Any, tmp_path: Path
) -> None:
    kernel = small.variables["params"]["dense"]["kernel"].astype(ml_dtypes.bfloat16)
    params = {**small.variables["params"]}
    params["dense"] = {**params["dense"], "kernel": make(kernel)}
    path = tmp_path / "m"
    ferjax.keras.save(path, small.graph, {**small.variables, "params": params}, kind=kind)
    architecture = None if kind in WHOLE else small.graph
    found = ferjax.keras.load(path, architecture=architecture).variables["params"]["dense"]
    assert found["kernel"].dtype == np.float32
    np.testing.assert_array_equal(found["kernel"], kernel.astype(np.float32))


def test_everything_that_is_wrong_with_variables_is_named_at_once(
    small: Any, tmp_path: Path
) -> None:
    params = {layer: dict(arrays) for layer, arrays in small.variables["params"].items()}
    params["conv2d"]["kernel"] = np.zeros((3, 3, 2, 1), np.float32)
    del params["dense"]["bias"]
    params["dense"]["scale"] = np.zeros(3)
    params["extra"] = {"kernel": np.zeros(1)}
    params["batch_normalization"]["scale"] = np.array([True, False])
    params["batch_normalization"]["bias"] = np.array([np.nan, 1.0])
    path = tmp_path / "m.h5"
    with pytest.raises(WeightFileError) as caught:
        ferjax.keras.save(path, small.graph, {**small.variables, "params": params})
    message = str(caught.value)
    for part in (
        f"{path}: 6 problems: ",
        "layer 'conv2d': params kernel: expected shape (3, 3, 1, 2), got (3, 3, 2, 1)",
        "layer 'dense': params bias: missing, expected an array of shape (3,)",
        "layer 'dense': params scale: the network has no place for it",
        "layer 'extra': params kernel: the network has no place for it",
        "layer 'batch_normalization': params scale: expected float32 values, got bool",
        "layer 'batch_normalization': params bias: 1 of its 2 values not finite",
    ):
        assert part in message
    assert message.isprintable()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(3, "c8"),
        np.array(["a", "b", "c"]),
        np.array([None, 1, 2], object),
        np.zeros(3, "V4"),
        np.zeros(3, [("a", "f4")]),
        np.array([1e39, 0, 0]),
        [[1], [2, 3], [4]],
        None,
        "text",
    ],
    ids=range(9),
)
def test_values_that_are_no_numbers_are_refused(value: Any, small: Any, tmp_path: Path) -> None:
    params = {**small.variables["params"]}
    params["dense"] = {**params["dense"], "bias": value}
    with (
        warnings.catch_warnings(),
        pytest.raises(WeightFileError, match=r"layer 'dense': params bias: "),
    ):
        warnings.simplefilter("error")
        ferjax.keras.save(tmp_path / "m.h5", small.graph, {**small.variables, "params": params})


@pytest.mark.parametrize("variables", [{}, {"params": {}}, {"params": None, "batch_stats": None}])
def test_variables_that_are_missing_are_named(variables: Any, small: Any, tmp_path: Path) -> None:
    with pytest.raises(WeightFileError, match=r"8 problems: .*layer 'conv2d': params kernel: miss"):
        ferjax.keras.save(tmp_path / "m.h5", small.graph, variables)


def test_moments_that_do_not_fit_are_named(small: Any, tmp_path: Path) -> None:
    mu = {layer: dict(arrays) for layer, arrays in small.optimizer_state.mu.items()}
    del mu["dense"]["bias"]
    state = dataclasses.replace(small.optimizer_state, mu=mu)
    for kind in ("h5", "keras", "weights.h5"):
        path = tmp_path / f"m.{kind}"
        match = r"optimizer state: layer 'dense': mu of bias: expected shape \(3,\), got \(0,\)"
        with pytest.raises(WeightFileError, match=match):
            ferjax.keras.save(path, small.graph, small.variables, state)
    assert not list(tmp_path.iterdir())


# --- the order of layers -----------------------------------------------------------------------


# By hand, from Keras's rule: the sum has depth 0, a and c have 1, b has 2, the input has 3.
IN_KERAS = ["in", "b", "a", "c", "sum"]


@EVERY_KIND
def test_layers_are_written_in_the_order_in_which_keras_rebuilds_them(
    kind: str, draw: Any, draw_state: Any, tmp_path: Path
) -> None:
    graph, path = branches(), tmp_path / "m"
    variables = draw(graph)
    state = None if kind == "weights-only-h5" else draw_state(graph)
    ferjax.keras.save(path, graph, variables, state, kind=kind)
    read = ferjax.keras.load(path, architecture=None if kind in WHOLE else graph)
    assert [layer.name for layer in read.graph.layers] == IN_KERAS
    for name in "abc":
        assert_equal(read.variables["params"][name], variables["params"][name])
    if state is not None:
        assert read.optimizer_state is not None
        assert list(read.optimizer_state.mu) == ["b", "a", "c"]
        for name in "abc":
            assert_equal(read.optimizer_state.mu[name], state.mu[name])
            assert_equal(read.optimizer_state.nu[name], state.nu[name])


@EVERY_KIND
def test_layers_in_layers_and_their_moments_come_back(
    kind: str, draw: Any, draw_state: Any, tmp_path: Path
) -> None:
    layers = [
        Conv2D(filters=2, kernel_size=2, activation=PReLU(shared_axes=(1, 2))),
        TimeDistributed(layer=Flatten()),
        TimeDistributed(layer=BatchNormalization()),
        Bidirectional(layer=LSTM(units=2, return_sequences=True), merge_mode="sum"),
        GRU(units=2, activation=LeakyReLU(), reset_after=False),
    ]
    graph, path = Graph.sequential(layers, input_shape=(4, 5, 1)), tmp_path / "m"
    variables = draw(graph)
    state = None if kind == "weights-only-h5" else draw_state(graph)
    ferjax.keras.save(path, graph, variables, state, kind=kind)
    read = ferjax.keras.load(path, architecture=None if kind in WHOLE else graph)
    assert read.graph.layers[1:] == graph.layers[1:]
    for name in graph.weights:
        for collection in ("params", "batch_stats"):
            assert_equal(
                read.variables[collection].get(name, {}), variables[collection].get(name, {})
            )
        if state is not None:
            assert read.optimizer_state is not None
            assert_equal(read.optimizer_state.mu[name], state.mu[name])
            assert_equal(read.optimizer_state.nu[name], state.nu[name])


def test_arrays_stand_in_keras_order_in_the_file(draw: Any, tmp_path: Path) -> None:
    graph = branches()
    variables = draw(graph)
    ferjax.keras.save(tmp_path / "m.weights.h5", graph, variables)
    with h5py.File(tmp_path / "m.weights.h5") as root:
        for key, name in (("dense", "b"), ("dense_1", "a"), ("dense_2", "c")):
            kernel = root[f"layers/{key}/vars/0"][()]
            np.testing.assert_array_equal(kernel, variables["params"][name]["kernel"])
    ferjax.keras.save(tmp_path / "m.h5", graph, variables)
    with h5py.File(tmp_path / "m.h5") as root:
        names = [name.decode() for name in root["model_weights"].attrs["layer_names"]]
    assert names == IN_KERAS


def test_a_layer_that_does_not_lead_to_the_output_comes_last() -> None:
    graph = branches()
    calls = (*graph.calls[:3], Call("sum", (0, 2)))  # a and c are called, but nothing takes a
    graph = Graph(tuple(la for la in graph.layers if la.name != "c"), calls, functional=True)
    assert [layer.name for layer in in_keras_order(graph).layers] == ["in", "b", "sum", "a"]


def test_a_deep_graph_is_ordered() -> None:
    count = 5_000
    layers = (InputLayer(name="in", shape=(2,)), *(Add(name=str(i)) for i in range(count)))
    calls = (Call("in", ()), *(Call(str(i), (i, i)) for i in range(count)))
    graph = Graph(layers, calls, functional=True)
    assert in_keras_order(graph) is graph
    shuffled = dataclasses.replace(graph, layers=layers[::-1])
    assert in_keras_order(shuffled) == graph


# --- names and settings that not every Keras takes ---------------------------------------------


def graph_with(name: str, activation: str = "linear") -> Graph:
    return Graph.sequential(
        [Flatten(), Dense(name=name, units=2, activation=activation)], input_shape=(2, 2, 1)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_slash_in_a_layer_name_is_written_with_a_warning(
    kind: str, draw: Any, tmp_path: Path
) -> None:
    graph = graph_with("block/dense")
    variables = draw(graph)
    path = tmp_path / "m"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ferjax.keras.save(path, graph, variables, kind=kind)
    warned = [str(w.message) for w in caught]
    assert any("Keras 3 refuses layer names with '/'" in text for text in warned) == (kind in WHOLE)
    model = ferjax.keras.load(path, architecture=None if kind in WHOLE else graph)
    assert_equal(model.variables, variables)


def test_a_layer_may_be_named_like_the_group_of_another(draw: Any, tmp_path: Path) -> None:
    graph = Graph.sequential(
        [
            Flatten(),
            *[Dense(name=n, units=2) for n in ("a", "a/a", "a/b", "top_level_model_weights")],
        ],
        input_shape=(2, 2, 1),
    )
    variables = draw(graph)
    path = tmp_path / "m.h5"
    with pytest.warns(UserWarning, match="'/'"):
        ferjax.keras.save(path, graph, variables)
    assert_equal(ferjax.keras.load(path).variables, variables)


@pytest.mark.parametrize("name", ["/a", "a//b", "..", "a/../b", "a/", "a\0b", "\ud800"])
@pytest.mark.parametrize("kind", ["h5", "weights-only-h5"])
def test_a_layer_name_that_hdf5_cannot_hold_is_refused(
    name: str, kind: str, draw: Any, tmp_path: Path
) -> None:
    graph = graph_with(name)
    with (
        warnings.catch_warnings(),
        pytest.raises(WeightFileError, match=r"layer '.*': its name") as caught,
    ):
        warnings.simplefilter("ignore")
        ferjax.keras.save(tmp_path / "m.h5", graph, draw(graph), kind=kind)
    assert str(caught.value).isprintable()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize(
    "activation, mine, other", [("hard_sigmoid", "3", "2"), ("keras2_hard_sigmoid", "2", "3")]
)
def test_hard_sigmoid_is_written_with_a_warning(
    kind: str, activation: str, mine: str, other: str, draw: Any, tmp_path: Path
) -> None:
    graph = graph_with("dense", activation)
    path = tmp_path / "m"
    match = f"its hard_sigmoid is Keras {mine}'s; Keras {other} computes another function"
    with pytest.warns(UserWarning, match=match):
        ferjax.keras.save(path, graph, draw(graph), kind=kind)
    model = ferjax.keras.load(path)
    assert model.graph == graph
    assert model.keras_version is not None and model.keras_version[0] == mine


def test_both_hard_sigmoids_fit_into_no_file(draw: Any, tmp_path: Path) -> None:
    graph = Graph.sequential(
        [
            Flatten(),
            Dense(units=2, activation="hard_sigmoid"),
            Dense(units=2, activation="keras2_hard_sigmoid"),
        ],
        input_shape=(2, 2, 1),
    )
    with (
        warnings.catch_warnings(),
        pytest.raises((WeightFileError, LayerError), match="no Keras file"),
    ):
        warnings.simplefilter("ignore")
        ferjax.keras.save(tmp_path / "m.h5", graph, draw(graph))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_long_names_are_written_in_parts_that_keras_reads(tmp_path: Path, draw: Any) -> None:
    keras = pytest.importorskip("keras")
    layers = [Activation(name=f"{'x' * 900}_{i:03d}", activation="relu") for i in range(80)]
    graph = Graph.sequential(
        [Conv2D(name="c", filters=2, kernel_size=1), *layers, Flatten(), Dense(units=2)],
        input_shape=(2, 2, 1),
    )
    path, variables = tmp_path / "m.h5", draw(graph)
    ferjax.keras.save(path, graph, variables)
    with h5py.File(path) as root:
        assert "layer_names1" in root["model_weights"].attrs
    with jnp_defaults():
        model = keras.models.load_model(path)
        assert [la.name for la in model.layers] == [la.name for la in graph.layers[1:]]
        np.testing.assert_array_equal(
            np.asarray(model.get_layer("dense").kernel), variables["params"]["dense"]["kernel"]
        )


def jnp_defaults() -> Any:
    """Keras itself relies on implicit promotion."""
    import contextlib

    import jax

    stack = contextlib.ExitStack()
    stack.enter_context(jax.numpy_dtype_promotion("standard"))
    stack.enter_context(jax.numpy_rank_promotion("allow"))
    return stack


# --- a crash leaves the old file or the new one ------------------------------------------------


def no_space(*args: Any, **kwargs: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def killed(*args: Any, **kwargs: Any) -> Any:
    raise KeyboardInterrupt


PLACES = [
    (os, "fsync"),
    (Path, "replace"),
    (Path, "write_bytes"),
    (zipfile.ZipFile, "writestr"),
    (h5py.Group, "create_dataset"),
    (h5py, "File"),
]


@pytest.mark.parametrize("fail, error", [(no_space, WriteError), (killed, KeyboardInterrupt)])
@pytest.mark.parametrize("owner, name", PLACES, ids=lambda value: getattr(value, "__name__", value))
@EVERY_KIND
def test_a_write_that_fails_leaves_the_old_file(
    kind: str, owner: Any, name: str, fail: Any, error: type[BaseException], small: Any,
    saved: Any, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path = saved(kind)
    before = path.read_bytes()
    reached = []

    def failing(*args: Any, **kwargs: Any) -> Any:
        reached.append(name)
        return fail()

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, failing)
        try:
            ferjax.keras.save(path, small.graph, small.variables, kind=kind)
            assert not reached
        except error as caught:
            if isinstance(caught, WriteError):
                assert str(caught) == f"{path}: cannot be written (No space left on device)"
    assert reached or name in ("writestr", "write_bytes")
    assert path.read_bytes() == before
    assert left_behind(path.parent) == []


@EVERY_KIND
def test_a_write_that_fails_leaves_no_new_file(
    kind: str, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(WriteError, match="No space left on device"):
        ferjax.keras.save(tmp_path / "m", small.graph, small.variables, kind=kind)
    assert not list(tmp_path.iterdir())


KILLED = """
import os, signal, sys, time
from pathlib import Path
import ferjax.keras
model = ferjax.keras.load(sys.argv[1])
model.variables["params"]["dense"]["bias"] += 1
where = sys.argv[2]
def stop(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
if where == "sync":
    os.fsync = stop
else:
    Path.replace = stop
ferjax.keras.save(sys.argv[1], model.graph, model.variables)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("where", ["sync", "replace"])
@pytest.mark.parametrize("kind", WHOLE)
def test_a_killed_process_leaves_the_old_file(kind: str, where: str, saved: Any) -> None:
    path = saved(kind)
    before = path.read_bytes()
    result = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), where], capture_output=True, cwd=ROOT
    )
    assert result.returncode == -signal.SIGKILL, result.stderr.decode()[-2000:]
    assert path.read_bytes() == before
    ferjax.keras.load(path)
    # Nothing could tidy up: what is left has a name that no program takes for a weight file.
    assert all(name.endswith(".tmp") for name in left_behind(path.parent))


LIMITED = """
import resource, signal, sys
import ferjax.keras
model = ferjax.keras.load(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    ferjax.keras.save(sys.argv[2], model.graph, model.variables)
except ferjax.FerjaxError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
@pytest.mark.parametrize("kind", WHOLE)
def test_a_disk_that_fills_up_gives_one_line(kind: str, saved: Any, tmp_path: Path) -> None:
    """The operating system itself refuses after 5,000 bytes."""
    path, target = saved("h5"), tmp_path / f"out.{kind}"
    result = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path), str(target)],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout == f"{target}: cannot be written (File too large)\n"
    assert not target.exists() and left_behind(tmp_path) == []


WORKS_ON = """
import gc, os, resource, signal, sys
import ferjax.keras
os.fsync = lambda handle: None  # takes longest, and is not what went wrong
unraisable = []
sys.unraisablehook = unraisable.append
model = ferjax.keras.load(sys.argv[1])
targets = sys.argv[2:]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, most))
for target in targets:
    try:
        ferjax.keras.save(target, model.graph, model.variables)
    except ferjax.FerjaxError as error:
        error.args += (error,)  # a cycle, which only a collection frees, with all that it holds
gc.collect()
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
for number in range(1000):
    ferjax.keras.save(targets[number % len(targets)], model.graph, model.variables)
gc.collect()
print(len(unraisable), [str(item.exc_value) for item in unraisable])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_process_that_met_a_full_disk_works_on(saved: Any, tmp_path: Path) -> None:
    """CPython 3.12 crashed where a view of what was to be written was collected."""
    targets = [str(tmp_path / f"out.{kind}") for kind in ("h5", "weights.h5", "keras")]
    result = subprocess.run(
        [sys.executable, "-c", WORKS_ON, str(saved("h5")), *targets],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout == "0 []\n"
    for target in targets:
        ferjax.keras.load(target, config=saved("h5") if "weights" in target else None)


# --- places that cannot be written to ----------------------------------------------------------


def save_to(path: Any, small: Any) -> str:
    """Return the one line that a failed save gives."""
    with pytest.raises(WriteError) as caught:
        ferjax.keras.save(path, small.graph, small.variables, kind="h5")
    message = str(caught.value)
    assert isinstance(caught.value, OSError)
    assert message.isprintable()
    return message


def test_a_missing_folder_is_told(small: Any, tmp_path: Path) -> None:
    path = tmp_path / "none" / "m.h5"
    folder = tmp_path / "none"
    assert save_to(path, small) == f"{path}: the folder {folder} does not exist"


def test_a_folder_in_the_way_is_told(small: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    path.mkdir()
    (path / "kept").write_text("kept")
    assert save_to(path, small) == f"{path}: is a folder already"
    assert (path / "kept").read_text() == "kept" and left_behind(tmp_path) == []


def test_a_file_in_place_of_a_folder_is_told(small: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "does not exist" in save_to(tmp_path / "file" / "m.h5", small)


@pytest.mark.parametrize("name", ["a\0b.h5", "/", "x" * 300])
def test_names_that_no_file_can_have_are_told(name: str, small: Any, tmp_path: Path) -> None:
    path = "/" if name == "/" else f"{tmp_path}/{name}"
    assert "cannot be written" in save_to(path, small)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_replaced(small: Any, tmp_path: Path) -> None:
    path = tmp_path / "pipe.h5"
    os.mkfifo(path)
    assert save_to(path, small) == f"{path}: is not a regular file"
    assert stat.S_ISFIFO(path.stat().st_mode)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_a_folder_without_permission_is_told(small: Any, tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o500)
    try:
        assert "Permission denied" in save_to(folder / "m.h5", small)
    finally:
        folder.chmod(0o700)


@pytest.mark.parametrize("where", ["open", "replace"])
def test_missing_permission_gives_one_line(
    where: str, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*args: Any, **kwargs: Any) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, {"open": "write_bytes", "replace": "replace"}[where], denied)
    path = tmp_path / "m.h5"
    assert save_to(path, small) == f"{path}: cannot be written (Permission denied)"
    assert not list(tmp_path.iterdir())


def test_the_longest_name_that_a_file_may_have_is_taken(small: Any, tmp_path: Path) -> None:
    for name in (f"{'x' * 252}.h5", f"{chr(0x4E2D) * 84}.h5"):
        ferjax.keras.save(tmp_path / name, small.graph, small.variables)
        assert (tmp_path / name).is_file()


# --- the place keeps what it was ---------------------------------------------------------------


def test_a_link_stays_a_link(saved: Any, small: Any, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    target = saved("h5").rename(folder / "target.h5")
    before = target.read_bytes()
    link = tmp_path / "link.h5"
    link.symlink_to(target)
    ferjax.keras.save(link, small.graph, small.variables, labels=["a", "b", "c"])
    assert link.is_symlink() and target.read_bytes() != before
    assert ferjax.keras.load(target).labels == ["a", "b", "c"]
    assert left_behind(folder) == [] and left_behind(tmp_path) == []


def test_a_link_to_nothing_is_filled(small: Any, tmp_path: Path) -> None:
    link = tmp_path / "link.h5"
    link.symlink_to(tmp_path / "target.h5")
    ferjax.keras.save(link, small.graph, small.variables)
    assert link.is_symlink() and (tmp_path / "target.h5").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o664])
@EVERY_KIND
def test_permissions_of_a_file_are_kept(mode: int, kind: str, saved: Any) -> None:
    path = saved(kind)
    path.chmod(mode)
    assert stat.S_IMODE(saved(kind).stat().st_mode) == mode


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions")
@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
@EVERY_KIND
def test_permissions_of_a_new_file_follow_the_mask(
    mask: int, mode: int, kind: str, saved: Any
) -> None:
    before = os.umask(mask)
    try:
        assert stat.S_IMODE(saved(kind).stat().st_mode) == mode
    finally:
        os.umask(before)


# --- folders -----------------------------------------------------------------------------------


def fill(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "a").write_text(text)


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    for text in ("old", "new"):
        with ferjax.files.replacing(target, directory=True) as temporary:
            fill(temporary, text)
    assert (target / "a").read_text() == "new"
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_folder_that_fails_leaves_the_old_one(error: BaseException, tmp_path: Path) -> None:
    target = tmp_path / "folder"
    fill(target, "old")
    expected = WriteError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected), ferjax.files.replacing(target, directory=True) as temporary:
        fill(temporary, "new")
        raise error
    assert (target / "a").read_text() == "old"
    assert left_behind(tmp_path) == []


def test_a_folder_that_cannot_be_moved_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "folder"
    fill(target, "old")
    rename = Path.rename

    def failing(self: Path, to: Any) -> Any:
        if self.name.endswith(".tmp"):
            no_space()
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", failing)
    with (
        pytest.raises(WriteError, match="No space left"),
        ferjax.files.replacing(target, directory=True) as temporary,
    ):
        fill(temporary, "new")
    assert (target / "a").read_text() == "old"
    assert left_behind(tmp_path) == []


def test_a_file_and_a_folder_do_not_replace_each_other(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with (
        pytest.raises(WriteError, match="is a file already"),
        ferjax.files.replacing(tmp_path / "file", directory=True) as temporary,
    ):
        temporary.mkdir()
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("labels", [["a", "b"], ["a", "b", "b"], "abc", {"a", "b", "c"}])
def test_labels_that_do_not_fit_are_not_written(small: Any, tmp_path: Path, labels: Any) -> None:
    with pytest.raises(LabelsError, match=r"expected (3 different|a list of) label"):
        ferjax.keras.save(tmp_path / "m.keras", small.graph, small.variables, labels=labels)
    assert not any(tmp_path.iterdir())
