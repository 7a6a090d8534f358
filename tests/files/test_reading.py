"""Files of every Keras version and kind are read, and predict what Keras predicted."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import ferjax.keras
from ferjax.errors import WeightFileError
from ferjax.nets.graph import Graph
from ferjax.nets.layers import (
    Activation,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    SeparableConv2D,
)
from ferjax.nets.network import Network

FIXTURES = Path(__file__).parents[1] / "fixtures" / "keras"
EXTENSIONS = {".partial.h5": None, "_weights.h5": "weights-only-h5", ".weights.h5": "weights.h5"}
Predict = Callable[..., np.ndarray]


def kind_by_name(path: Path) -> str | None:
    for extension, kind in EXTENSIONS.items():
        if path.name.endswith(extension):
            return kind
    return path.suffix[1:]


def all_files() -> list[Path]:
    files = [p for p in sorted(FIXTURES.glob("*/*")) if p.suffix in (".h5", ".keras")]
    return [p for p in files if kind_by_name(p) is not None]


def label(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def network_name(path: Path) -> str:
    """Return the name under which the fixture's network stands in expected.npz."""
    return path.name.split(".")[0].removesuffix("_weights")


def config_of(path: Path) -> Path | None:
    if "weights" not in path.name:
        return None
    # Keras 1's own JSON has other class names and settings; the network is the same.
    producer = {"keras-1.2.2": "keras-2.2.4"}.get(path.parent.name, path.parent.name)
    return FIXTURES / producer / f"{network_name(path)}.json"


def expected(path: Path, what: str) -> np.ndarray:
    with np.load(path.with_name("expected.npz")) as arrays:
        return arrays[f"{network_name(path)}_{what}"]


EVERY = pytest.mark.parametrize("path", all_files(), ids=label)
WITH_ADAM = [p for p in all_files() if network_name(p) == "sequential" and config_of(p) is None]
WEIGHTS_ONLY = [p for p in all_files() if kind_by_name(p) in ("weights-only-h5", "weights.h5")]


def test_the_fixtures_are_there() -> None:
    assert len({path.parent for path in all_files()}) == 12
    assert len(all_files()) > 45


@EVERY
def test_predicts_what_keras_predicted(path: Path, predict: Predict) -> None:
    model = ferjax.keras.load(path, config=config_of(path))
    outputs = predict(model, expected(path, "inputs"))
    np.testing.assert_allclose(outputs, expected(path, "outputs"), rtol=0, atol=1e-6)


@EVERY
def test_kind_and_version_are_told(path: Path) -> None:
    model = ferjax.keras.load(path, config=config_of(path))
    assert model.kind == kind_by_name(path)
    producer = path.parent.name.rsplit("-", 1)[1]
    if producer == "1.2.2" or model.kind == "weights.h5":
        assert model.keras_version is None  # these files do not say
    else:
        assert model.keras_version is not None
        assert model.keras_version.replace("-tf", "") == producer


def keras_names(config: dict[str, Any]) -> list[str]:
    """Return the names of the layers with weights or not, nested ones included, in file order."""
    layers = config["config"]
    names = []
    for entry in layers if isinstance(layers, list) else layers["layers"]:
        if entry["class_name"] in ("Sequential", "Model", "Functional"):
            names += keras_names(entry)
        elif entry["class_name"] != "InputLayer":
            names.append(entry["config"]["name"])
    return names


@pytest.mark.parametrize(
    "path", [p for p in all_files() if p.suffix == ".h5" and config_of(p) is None], ids=label
)
def test_layers_keep_their_names_and_order(path: Path) -> None:
    with h5py.File(path) as root:
        config = json.loads(root.attrs["model_config"])
    graph = ferjax.keras.load(path).graph
    names = [layer.name for layer in graph.layers if layer.kind != "InputLayer"]
    assert names == keras_names(config)


@pytest.mark.parametrize("path", WITH_ADAM, ids=label)
def test_adam_is_read(path: Path) -> None:
    state = ferjax.keras.load(path).optimizer_state
    assert state is not None
    assert state.name == "Adam"
    assert state.step == int(expected(path, "adam_step"))
    layer = next(iter(state.mu))
    for moments, key in ((state.mu, "adam_m0"), (state.nu, "adam_v0")):
        array = expected(path, key)
        found = next(w for w in moments[layer].values() if w.shape == array.shape)
        np.testing.assert_array_equal(found, array)


def test_every_producer_has_a_file_with_adam() -> None:
    """Keras 1's file is weights only; all others must not drop out of the test above."""
    assert len({path.parent for path in WITH_ADAM}) == 10


def test_settings_of_adam_are_read() -> None:
    state = ferjax.keras.load(FIXTURES / "keras-2.15.0" / "sequential.h5").optimizer_state
    assert state is not None
    assert set(state.settings) >= {"learning_rate", "beta_1", "beta_2", "epsilon"}
    assert state.settings["beta_2"] == pytest.approx(0.999)


def test_optimizer_is_left_out_on_request() -> None:
    model = ferjax.keras.load(FIXTURES / "keras-2.15.0" / "sequential.h5", with_optimizer=False)
    assert model.optimizer_state is None and model.notes == []


@pytest.mark.parametrize("path", [p for p in all_files() if "sgd" in p.name], ids=label)
def test_state_of_sgd_is_left_out_with_a_note(path: Path) -> None:
    model = ferjax.keras.load(path)
    assert model.optimizer_state is None
    assert any("'SGD' is not read, only that of Adam and AdamW" in note for note in model.notes)


# --- weights-only files ------------------------------------------------------------------------


def test_threads_read_the_same_file_at_once(saved: Any) -> None:
    path = saved("h5")
    with ThreadPoolExecutor(8) as pool:
        layers = list(pool.map(lambda _: len(ferjax.keras.load(path).graph.layers), range(100)))
    assert layers == [len(ferjax.keras.load(path).graph.layers)] * 100


@pytest.mark.parametrize("path", WEIGHTS_ONLY, ids=label)
def test_parsed_config_serves_as_config(path: Path, predict: Predict) -> None:
    config = json.loads(config_of(path).read_text())
    model = ferjax.keras.load(path, config=config)
    outputs = predict(model, expected(path, "inputs"))
    np.testing.assert_allclose(outputs, expected(path, "outputs"), rtol=0, atol=1e-6)


@pytest.mark.parametrize("path", WEIGHTS_ONLY, ids=label)
def test_another_keras_file_serves_as_config(path: Path, predict: Predict) -> None:
    others = [path.with_name(f"{network_name(path)}{end}") for end in (".h5", ".keras")]
    others = [other for other in others if other.exists()]
    for other in others:
        model = ferjax.keras.load(path, config=other)
        outputs = predict(model, expected(path, "inputs"))
        np.testing.assert_allclose(outputs, expected(path, "outputs"), rtol=0, atol=1e-6)
    assert others or path.parent.name == "keras-1.2.2"


@pytest.mark.parametrize("as_what", [Network, lambda graph: graph], ids=["network", "graph"])
@pytest.mark.parametrize("path", [p for p in WEIGHTS_ONLY if "nested" not in p.name], ids=label)
def test_a_network_serves_as_architecture(
    path: Path, as_what: Callable[[Graph], Any], predict: Predict
) -> None:
    graph = ferjax.keras.load_architecture(config_of(path)).graph
    model = ferjax.keras.load(path, architecture=as_what(graph))
    outputs = predict(model, expected(path, "inputs"))
    np.testing.assert_allclose(outputs, expected(path, "outputs"), rtol=0, atol=1e-6)


def test_a_named_architecture_serves(tmp_path: Path, draw: Any) -> None:
    from ferjax.nets import fer_cnn5

    graph = fer_cnn5().graph
    path = tmp_path / "weights.h5"
    variables = draw(graph)
    ferjax.keras.save(path, graph, variables, kind="weights-only-h5")
    model = ferjax.keras.load(path, architecture="fer_cnn5")
    assert model.graph == graph
    np.testing.assert_array_equal(
        model.variables["params"]["conv2d"]["kernel"], variables["params"]["conv2d"]["kernel"]
    )


def test_config_of_keras_1_is_refused() -> None:
    folder = FIXTURES / "keras-1.2.2"
    with pytest.raises(WeightFileError, match=r"layer 'convolution2d_1': 'Convolution2D' is not"):
        ferjax.keras.load(folder / "sequential_weights.h5", config=folder / "sequential.json")


def test_an_unknown_architecture_is_named(saved: Any, refused: Any) -> None:
    path = saved("weights-only-h5")
    refused(path, "fer_cnn8, fer_cnn5, got 'fer_cnn_5'", architecture="fer_cnn_5")


def test_layers_of_other_names_are_matched_in_order(saved: Any, small: Any, predict: Any) -> None:
    path = saved("weights-only-h5")
    other = Graph.sequential(
        [
            Conv2D(name="first", filters=2, kernel_size=3, activation="relu"),
            *[la for la in small.graph.layers if la.kind in ("BatchNormalization", "MaxPooling2D")],
            Flatten(name="flat"),
            Dense(name="last", units=3, activation="softmax"),
        ],
        input_shape=(8, 8, 1),
    )
    model = ferjax.keras.load(path, architecture=other)
    np.testing.assert_array_equal(
        model.variables["params"]["first"]["kernel"], small.variables["params"]["conv2d"]["kernel"]
    )
    same = ferjax.keras.load(path, architecture=small.graph)
    np.testing.assert_array_equal(predict(model, small.images), predict(same, small.images))


def test_layers_of_other_names_must_be_as_many(saved: Any, refused: Any) -> None:
    path = saved("weights-only-h5")
    other = Graph.sequential([Flatten(), Dense(name="d", units=3)], input_shape=(8, 8, 1))
    found = "expected 1 layers with weights .* got 3: conv2d, batch_normalization, dense"
    refused(path, found, architecture=other)


def test_a_broken_layer_is_named_where_names_differ(saved: Any, refused: Any, small: Any) -> None:
    path = saved("weights-only-h5")
    with h5py.File(path, "r+") as root:
        root.move("conv2d", "first")
        names = root.attrs["layer_names"]
        root.attrs["layer_names"] = np.array([b"first", *names[1:]], "S32")
        del root["dense"].attrs["weight_names"]
    found = "layer 'dense': its list of weight_names is missing"
    refused(path, found, architecture=small.graph)


def test_layers_of_other_names_must_have_the_shapes(saved: Any, refused: Any) -> None:
    path = saved("weights-only-h5")
    other = Graph.sequential(
        [Conv2D(filters=5, kernel_size=3), Flatten(), Dense(units=3), Dense(units=2)],
        input_shape=(8, 8, 1),
    )
    refused(path, r"layer 'conv2d': kernel: expected shape \(3, 3, 1, 5\)", architecture=other)


@pytest.mark.parametrize("kind", ["weights-only-h5", "weights.h5"])
def test_weights_alone_ask_for_the_architecture(
    kind: str, saved: Any, refused: Any, tmp_path: Path
) -> None:
    path = saved(kind)
    error = refused(path, "holds weights only", "--config model.json", "--architecture fer_cnn5")
    assert "lies beside it" not in str(error)
    for name in ("model.json", "a.metadata.json", "list.json", "broken.json"):
        text = {"list.json": "[]", "broken.json": "{"}.get(name, '{"labels": []}')
        (tmp_path / name).write_text(text)
    (tmp_path / "large.json").write_text(json.dumps({"class_name": "Model", "x": "y" * (1 << 20)}))
    assert "beside it" not in str(refused(path, "holds weights only"))
    (tmp_path / "net.JSON").write_bytes('{"class_name": "Model"}'.encode("utf-16"))
    refused(path, r"\(net.JSON lies beside it\)")
    for name in ("model.json", "zoo.json"):
        (tmp_path / name).write_text('{"class_name": "Sequential"}')
    refused(path, r"\(model.json and net.JSON and zoo.json lie beside it\)")
    other = path.rename(tmp_path / "zoo.h5")
    refused(other, r"\(model.json and zoo.json and net.JSON lie beside it\)")
    for number in range(1200):
        (tmp_path / f"a{number}.json").write_text("{}")
    refused(other, "holds weights only")


def test_config_and_architecture_exclude_each_other(saved: Any, refused: Any) -> None:
    path = saved("weights-only-h5")
    refused(path, "not both", config={}, architecture="fer_cnn5")


def test_weights_only_file_is_no_config(saved: Any, tmp_path: Path) -> None:
    path = saved("weights-only-h5")
    with pytest.raises(WeightFileError, match=r"holds weights only, no config"):
        ferjax.keras.load_architecture(path)


# --- files that lie about their kind -----------------------------------------------------------


@pytest.mark.parametrize(
    "source, name, kind",
    [
        ("tf.keras-2.4.0/sequential.h5", "m.keras", "h5"),
        ("tf.keras-2.4.0/sequential_weights.h5", "m.weights.h5", "weights-only-h5"),
        ("keras-3.15.1/sequential.keras", "m.h5", "keras"),
        ("keras-3.15.1/sequential.weights.h5", "m.keras", "weights.h5"),
        ("keras-2.15.0/sequential.h5", "m", "h5"),
        ("keras-2.15.0/sequential.h5", "m.pt", "h5"),
    ],
)
def test_kind_is_told_by_content(
    source: str, name: str, kind: str, tmp_path: Path, predict: Predict
) -> None:
    original = FIXTURES / source
    path = tmp_path / name
    shutil.copy(original, path)
    model = ferjax.keras.load(path, config=config_of(original))
    assert model.kind == kind
    outputs = predict(model, expected(original, "inputs"))
    np.testing.assert_allclose(outputs, expected(original, "outputs"), rtol=0, atol=1e-6)


# --- HDF5 in all its forms ---------------------------------------------------------------------


def rewrite(path: Path, layer: str, array: str, **options: Any) -> np.ndarray:
    """Store an array of a whole-model file anew, and return what it was."""
    name = f"model_weights/{layer}/{layer}/{array}:0"
    with h5py.File(path, "r+") as root:
        values = root[name][()]
        del root[name]
        root.create_dataset(name, **{"data": values, **options})
    return values


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "<f8"},
        {"dtype": ">f4"},
        {"dtype": ">f8"},
        {"chunks": (1, 1, 1, 2)},
        {"chunks": True, "compression": "gzip"},
        {"chunks": True, "compression": "gzip", "shuffle": True, "fletcher32": True},
        {"chunks": True, "compression": "lzf"},
        {"chunks": True, "maxshape": (None, None, None, None)},
    ],
    ids=lambda options: "-".join(f"{k}={v}" for k, v in options.items()),
)
def test_storage_makes_no_difference(options: Any, saved: Any, small: Any) -> None:
    path = saved("h5")
    rewrite(path, "conv2d", "kernel", **options)
    kernel = ferjax.keras.load(path).variables["params"]["conv2d"]["kernel"]
    assert kernel.dtype == np.dtype("<f4") and kernel.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(kernel, small.variables["params"]["conv2d"]["kernel"])


def test_compact_storage_makes_no_difference(saved: Any, small: Any) -> None:
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        group = root["model_weights/conv2d/conv2d"]
        values = group["bias:0"][()]
        del group["bias:0"]
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple(values.shape)
        made = h5py.h5d.create(group.id, b"bias:0", h5py.h5t.IEEE_F32LE, space, creation)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
    bias = ferjax.keras.load(path).variables["params"]["conv2d"]["bias"]
    np.testing.assert_array_equal(bias, small.variables["params"]["conv2d"]["bias"])


def test_the_newest_file_format_and_a_user_block_make_no_difference(
    saved: Any, small: Any, tmp_path: Path
) -> None:
    path, copy = saved("h5"), tmp_path / "copy.h5"
    with (
        h5py.File(path) as old,
        h5py.File(copy, "w", libver="latest", userblock_size=1024) as new,
    ):
        for key in old:
            old.copy(key, new)
        for key, value in old.attrs.items():
            new.attrs[key] = value
        new.attrs["model_config"] = old.attrs["model_config"]
    model = ferjax.keras.load(copy)
    assert model.graph == small.graph
    kernel = model.variables["params"]["dense"]["kernel"]
    np.testing.assert_array_equal(kernel, small.variables["params"]["dense"]["kernel"])


def test_float16_is_widened(saved: Any) -> None:
    path = saved("h5")
    before = rewrite(path, "conv2d", "kernel", dtype="<f2")
    kernel = ferjax.keras.load(path).variables["params"]["conv2d"]["kernel"]
    np.testing.assert_array_equal(kernel, before.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("fixed", [True, False], ids=["fixed", "variable"])
def test_bfloat16_is_widened(fixed: bool, saved: Any) -> None:
    """Keras 3 stores it as two opaque bytes, and says so in an attribute."""
    path = saved("weights.h5")
    with h5py.File(path, "r+") as root:
        values = root["layers/dense/vars/0"][()]
        bits = (values.view("<u4") >> 16).astype("<u2")
        del root["layers/dense/vars/0"]
        dataset = root.create_dataset("layers/dense/vars/0", data=bits.view("V2"))
        dataset.attrs["dtype"] = np.bytes_("bfloat16") if fixed else "bfloat16"
    graph = ferjax.keras.load_architecture(saved("h5")).graph
    kernel = ferjax.keras.load(path, architecture=graph).variables["params"]["dense"]["kernel"]
    np.testing.assert_array_equal(kernel, (bits.astype("<u4") << 16).view("<f4"))
    np.testing.assert_allclose(kernel, values, rtol=2**-7)


def test_bfloat16_inside_an_archive_is_widened(saved: Any, repack: Any) -> None:
    import zipfile

    path = saved("keras")
    with zipfile.ZipFile(path) as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content, "r+") as root:
        del root["layers/dense/vars/1"]
        dataset = root.create_dataset(
            "layers/dense/vars/1", data=np.array([0x3F80, 0x4000, 0xC040], "<u2").view("V2")
        )
        dataset.attrs["dtype"] = "bfloat16"
    repack(path, {"model.weights.h5": content.getvalue()})
    bias = ferjax.keras.load(path).variables["params"]["dense"]["bias"]
    np.testing.assert_array_equal(bias, np.array([1.0, 2.0, -3.0], np.float32))


@pytest.mark.parametrize("fixed", [True, False], ids=["fixed", "variable"])
def test_attributes_may_be_of_fixed_or_variable_length(fixed: bool, saved: Any, small: Any) -> None:
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        for group, name in (
            ("model_weights", "layer_names"),
            ("model_weights/dense", "weight_names"),
        ):
            values = [v.decode() for v in root[group].attrs[name]]
            if fixed:
                root[group].attrs[name] = np.array([v.encode() for v in values], "S64")
            else:
                root[group].attrs.create(name, values, dtype=h5py.string_dtype())
        config = root.attrs["model_config"]
        text = config.decode() if isinstance(config, bytes) else config
        root.attrs["model_config"] = np.bytes_(text) if fixed else text
        root.attrs["keras_version"] = np.bytes_("2.15.0") if fixed else "2.15.0"
    model = ferjax.keras.load(path)
    assert model.graph == small.graph and model.keras_version == "2.15.0"


def chunk_names(group: h5py.Group, attribute: str) -> None:
    """Store a list of names as Keras does where it is longer than an object header may be."""
    names = group.attrs[attribute]
    parts = 1
    while any(part.nbytes > 64512 for part in np.array_split(names, parts)):
        parts += 1
    assert parts > 1
    del group.attrs[attribute]
    for index, part in enumerate(np.array_split(names, parts)):
        group.attrs[f"{attribute}{index}"] = part


def test_long_lists_of_names_are_read_in_parts(tmp_path: Path, draw: Any) -> None:
    """800 names of 100 bytes do not fit into an attribute."""
    layers = [Activation(name=f"{'x' * 95}_{i:04d}", activation="linear") for i in range(800)]
    graph = Graph.sequential([*layers, Flatten(), Dense(units=2)], input_shape=(2, 2, 1))
    path = tmp_path / "m.h5"
    ferjax.keras.save(path, graph, draw(graph))
    with h5py.File(path) as root:
        attributes = root["model_weights"].attrs
        assert "layer_names" not in attributes and "layer_names1" in attributes
        stored = [n.decode() for i in range(2) for n in attributes[f"layer_names{i}"]]
        assert stored == [layer.name for layer in graph.layers[1:]]
    assert ferjax.keras.load(path).graph == graph


def test_long_lists_of_weights_are_read_in_parts(tmp_path: Path) -> None:
    """A nested model lists all its arrays in one attribute."""
    original = FIXTURES / "keras-2.15.0" / "nested_functional.h5"
    path = tmp_path / "m.h5"
    shutil.copy(original, path)
    with h5py.File(path, "r+") as root:
        weights = root["model_weights"]
        layer = max(weights, key=lambda n: len(weights[n].attrs["weight_names"]))
        group = weights[layer]
        # Longer names for the same arrays, so that the list needs parts.
        renamed = []
        for name in group.attrs["weight_names"]:
            longer = f"{'y' * 8000}/{name}"
            group[longer] = group[name]
            renamed.append(longer.encode())
        group.attrs["weight_names"] = np.array([], "S1")
        del group.attrs["weight_names"]
        names = np.array(renamed)
        halves = np.array_split(names, -(-names.nbytes // 60000))
        assert len(halves) > 1
        for index, half in enumerate(halves):
            group.attrs[f"weight_names{index}"] = half
    model, plain = ferjax.keras.load(path), ferjax.keras.load(original)
    for layer, arrays in plain.variables["params"].items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(model.variables["params"][layer][name], array)


# --- older and odd files -----------------------------------------------------------------------


def test_theano_order_of_keras_1_is_turned(tmp_path: Path, draw: Any) -> None:
    """Keras 1 on Theano stored kernels as (filters, channels, height, width)."""
    graph = Graph.sequential(
        [
            Conv2D(name="convolution2d_1", filters=4, kernel_size=(3, 2)),
            Flatten(),
            Dense(name="dense_1", units=2),
        ],
        input_shape=(5, 5, 1),
    )
    variables = draw(graph)
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as root:
        root.attrs["layer_names"] = np.array([b"convolution2d_1", b"flatten_1", b"dense_1"])
        for layer, kernel_order in (("convolution2d_1", (3, 2, 0, 1)), ("dense_1", (0, 1))):
            group = root.create_group(layer)
            group.attrs["weight_names"] = np.array([f"{layer}_W".encode(), f"{layer}_b".encode()])
            arrays = variables["params"][layer]
            group[f"{layer}_W"] = arrays["kernel"].transpose(kernel_order)
            group[f"{layer}_b"] = arrays["bias"]
        root.create_group("flatten_1").attrs["weight_names"] = np.array([])
    read = ferjax.keras.load(path, architecture=graph).variables
    for layer in variables["params"]:
        for name, array in variables["params"][layer].items():
            np.testing.assert_array_equal(read["params"][layer][name], array)


def test_group_and_weight_names_may_differ(saved: Any, small: Any) -> None:
    """Keras 2.2.4 may store group `conv2d` with the weight `conv2d_2/kernel:0`."""
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        group = root["model_weights/conv2d"]
        group.move("conv2d", "conv2d_2")
        group.attrs["weight_names"] = np.array([b"conv2d_2/kernel:0", b"conv2d_2/bias:0"])
    kernel = ferjax.keras.load(path).variables["params"]["conv2d"]["kernel"]
    np.testing.assert_array_equal(kernel, small.variables["params"]["conv2d"]["kernel"])


def test_order_of_weight_names_makes_no_difference(saved: Any, small: Any) -> None:
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        group = root["model_weights/batch_normalization"]
        group.attrs["weight_names"] = group.attrs["weight_names"][::-1]
    read = ferjax.keras.load(path).variables
    for collection in ("params", "batch_stats"):
        for name, array in small.variables[collection]["batch_normalization"].items():
            np.testing.assert_array_equal(read[collection]["batch_normalization"][name], array)


def test_keras_3_names_of_depthwise_kernels_are_known(tmp_path: Path, draw: Any) -> None:
    graph = Graph.sequential(
        [
            DepthwiseConv2D(kernel_size=3),
            SeparableConv2D(filters=2, kernel_size=2),
            Flatten(),
            Dense(units=2),
        ],
        input_shape=(6, 6, 2),
    )
    path, variables = tmp_path / "m.h5", draw(graph)
    ferjax.keras.save(path, graph, variables)
    with h5py.File(path, "r+") as root:
        group = root["model_weights/depthwise_conv2d"]
        group.move("depthwise_conv2d/depthwise_kernel:0", "kernel")
        group.move("depthwise_conv2d/bias:0", "bias")
        group.attrs["weight_names"] = np.array([b"kernel", b"bias"])
    read = ferjax.keras.load(path).variables["params"]["depthwise_conv2d"]
    np.testing.assert_array_equal(read["kernel"], variables["params"]["depthwise_conv2d"]["kernel"])


# --- the optimizer's state is not needed to predict --------------------------------------------


def break_step(group: h5py.Group) -> None:
    group["iteration:0"][()] = -4


def break_kind(group: h5py.Group) -> None:
    del group["iteration:0"]
    group["iteration:0"] = np.bytes_("three")


def break_count(group: h5py.Group) -> None:
    group.attrs["weight_names"] = group.attrs["weight_names"][:-1]


def break_shape(group: h5py.Group) -> None:
    name = "Adam/m/dense/bias:0"
    del group[name]
    group[name] = np.zeros(99, np.float32)


def break_values(group: h5py.Group) -> None:
    group["Adam/v/dense/bias:0"][0] = np.nan


def break_list(group: h5py.Group) -> None:
    group.attrs["weight_names"] = 3


def break_link(group: h5py.Group) -> None:
    del group["Adam/v/dense/bias:0"]
    group["Adam/v/dense/bias:0"] = h5py.ExternalLink("other.h5", "x")


@pytest.mark.parametrize(
    "damage, note",
    [
        (break_step, "expected a step count, got -4"),
        (break_kind, "expected int64 values"),
        (break_count, "expected 6 moments 'v', got 5"),
        (break_shape, r"layer 'dense': moment of bias: expected shape \(3,\), got \(99,\)"),
        (break_values, "layer 'dense': moment of bias: 1 of its 3 values not finite"),
        (break_list, "attribute 'weight_names': expected a list of names"),
        (break_link, "external link"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_damaged_optimizer_state_is_left_out(
    damage: Callable[[h5py.Group], None], note: str, saved: Any, small: Any
) -> None:
    import re

    path = saved("h5", optimizer=True)
    assert ferjax.keras.load(path).optimizer_state is not None
    with h5py.File(path, "r+") as root:
        damage(root["optimizer_weights"])
    model = ferjax.keras.load(path)
    assert model.optimizer_state is None
    assert model.graph == small.graph
    assert any(n.startswith("optimizer state is left out") for n in model.notes)
    assert any(re.search(note, n) for n in model.notes), model.notes


def test_unexpected_number_of_arrays_of_an_optimizer_is_left_out(saved: Any) -> None:
    path = saved("weights.h5", optimizer=True)
    with h5py.File(path, "r+") as root:
        root["optimizer/vars"]["99"] = np.float32(1)
        root["optimizer/vars"]["100"] = np.float32(1)
    graph = ferjax.keras.load_architecture(saved("h5")).graph
    model = ferjax.keras.load(path, architecture=graph)
    assert model.optimizer_state is None
    assert any("arrays for Adam, got 16" in note for note in model.notes)


@pytest.mark.parametrize(
    "settings",
    [
        {"learning_rate": 10**400},
        {"learning_rate": "high"},
        {"learning_rate": True},
        {"epsilon": float("nan")},
        {"beta_1": float("inf")},
        {"beta_2": [1, 2]},
        {"learning_rate": {"class_name": "ExponentialDecay", "config": {}}},
    ],
    ids=lambda settings: next(iter(settings.items())).__repr__()[:30],
)
def test_senseless_settings_of_an_optimizer_become_defaults(
    settings: dict[str, Any], saved: Any, edit_json: Any
) -> None:
    path = saved("h5", optimizer=True)
    edit_json(
        path,
        lambda config: config["optimizer_config"]["config"].update(settings),
        "training_config",
    )
    state = ferjax.keras.load(path).optimizer_state
    defaults = {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
    assert state is not None
    for key in settings:
        assert state.settings[key] == defaults[key]
    assert state.step == 17


@pytest.mark.parametrize(
    "settings, note",
    [
        ({"clipnorm": 0.5}, "clipnorm=0.5 is left out"),
        ({"global_clipnorm": 1}, "global_clipnorm=1 is left out"),
        ({"clipvalue": 0.25}, "clipvalue=0.25 is left out"),
        ({"gradient_accumulation_steps": 4}, "gradient_accumulation_steps=4 is left out"),
        ({"decay": 1e-4}, "decay=0.0001 is left out"),
        ({"use_ema": True}, "use_ema=True is left out"),
        ({"clipnorm": ["a\nb"]}, r"clipnorm=['a\nb'] is left out"),
        (
            {"learning_rate": {"class_name": "CosineDecay", "config": {"decay_steps": 9}}},
            "the schedule CosineDecay is left out, learning_rate is 0.001",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_of_an_optimizer_that_are_left_out_are_noted(
    settings: dict[str, Any], note: str, saved: Any, edit_json: Any
) -> None:
    path = saved("h5", optimizer=True)
    assert ferjax.keras.load(path).notes == []
    off = {"clipnorm": None, "decay": 0.0, "amsgrad": False, "use_ema": False}

    def change(config: Any) -> None:
        config["optimizer_config"]["config"].update({**off, **settings})

    edit_json(path, change, "training_config")
    model = ferjax.keras.load(path)
    assert model.optimizer_state is not None
    (found,) = model.notes
    assert found == f"optimizer: {note}"
    assert ferjax.keras.load(path, with_optimizer=False).notes == []


def shared_model(first: int) -> dict[str, Any]:
    """Return a config that calls a nested model twice; its calls are counted from `first`."""

    def layer(name: str, kind: str, settings: Any, *nodes: Any) -> dict[str, Any]:
        config = {"name": name, **settings}
        inbound = [[[*origin, 0, {}] for origin in node] for node in nodes]
        return {"class_name": kind, "name": name, "config": config, "inbound_nodes": inbound}

    shape = {"batch_input_shape": [None, 4]}
    dense = layer("dense", "Dense", {"units": 4, "activation": "tanh"}, [("inside", 0)])
    nested = {
        "layers": [layer("inside", "InputLayer", shape), dense],
        "input_layers": [["inside", 0, 0]],
        "output_layers": [["dense", 0, 0]],
    }
    layers = [
        layer("in", "InputLayer", shape),
        layer("relu", "ReLU", {}, [("in", 0)]),
        layer("m", "Functional", nested, [("in", 0)], [("relu", 0)]),
        layer("head", "Dense", {"units": 2}, [("m", first)]),
        layer("other", "Dense", {"units": 2}, [("m", first + 1)]),
        layer("add", "Add", {}, [("head", 0), ("other", 0)]),
    ]
    ends = {"input_layers": [["in", 0, 0]], "output_layers": [["add", 0, 0]]}
    return {"class_name": "Functional", "config": {"name": "model", "layers": layers, **ends}}


@pytest.mark.parametrize("first", [0, 1], ids=["keras-3", "keras-2"])
def test_calls_of_a_shared_model_are_told_apart(first: int) -> None:
    """Keras 2 counts them from 1: call 0 is the one made when the model was built."""
    graph = ferjax.keras.load_architecture(shared_model(first)).graph
    sources = {call.layer: [graph.calls[i].layer for i in call.inputs] for call in graph.calls}
    assert sources["head"] == sources["other"] == ["dense"]
    dense = [position for position, call in enumerate(graph.calls) if call.layer == "dense"]
    origin = {i: graph.calls[graph.calls[i].inputs[0]].layer for i in dense}
    used = {call.layer: origin.get(call.inputs[0]) for call in graph.calls if call.inputs}
    assert (used["head"], used["other"]) == ("in", "relu")
