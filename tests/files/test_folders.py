"""Folders, shards of weights and JSON in any encoding: what is read, named or refused."""

from __future__ import annotations

import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import ferjax.keras
from ferjax.errors import WeightFileError

WEIGHTS = "model.weights.h5"
MEMBERS = ("config.json", "metadata.json", WEIGHTS)


@pytest.fixture
def folder(saved: Any, tmp_path: Path) -> Path:
    """The small network as Keras 3 saves it with `zipped=False`."""
    target = tmp_path / "unzipped"
    with zipfile.ZipFile(saved("keras", optimizer=True)) as archive:
        archive.extractall(target)
    (target / "assets").mkdir()
    return target


def split(whole: Path, folder: Path, shards: int = 3) -> Path:
    """Deal the arrays of a `.weights.h5` out to shards, and return the index."""
    names = [f"m_{position:05}.weights.h5" for position in range(shards)]
    mapped: dict[str, list[str]] = {}
    arrays: list[tuple[str, np.ndarray]] = []
    with h5py.File(whole) as root:
        root.visititems(
            lambda name, node: (
                arrays.append((name, node[()])) if isinstance(node, h5py.Dataset) else None
            )
        )
        name = root["optimizer/vars"].attrs["name"] if "optimizer" in root else None
    for position, (path, array) in enumerate(arrays):
        shard = names[position % shards]
        mapped.setdefault("/" + path.rpartition("/")[0], []).append(shard)
        with h5py.File(folder / shard, "a") as root:
            root[path] = array
            if name is not None and path.startswith("optimizer"):
                root["optimizer/vars"].attrs["name"] = name
    index = folder / "m.weights.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": mapped}))
    return index


@pytest.fixture
def index(saved: Any, tmp_path: Path) -> Path:
    (tmp_path / "shards").mkdir()
    return split(saved("weights.h5", optimizer=True), tmp_path / "shards")


def edit(index: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    value = json.loads(index.read_text())
    replaced = change(value)
    index.write_text(json.dumps(value if replaced is None else replaced))


def assert_small(model: ferjax.keras.KerasModel, small: Any) -> None:
    for collection, layers in small.variables.items():
        for layer, arrays in layers.items():
            for name, array in arrays.items():
                np.testing.assert_array_equal(model.variables[collection][layer][name], array)
    assert model.optimizer_state is not None and model.optimizer_state.step == 17


# --- read --------------------------------------------------------------------------------------


def test_an_unzipped_archive_is_one(folder: Path, small: Any) -> None:
    for path in (folder, str(folder) + "/"):
        model = ferjax.keras.load(path)
        assert model.kind == "keras" and model.graph == small.graph
        assert_small(model, small)
    assert ferjax.keras.load_architecture(folder).graph == small.graph


def test_links_inside_the_folder_are_followed(folder: Path, small: Any) -> None:
    (folder / WEIGHTS).rename(folder / "data")
    (folder / WEIGHTS).symlink_to("data")
    assert_small(ferjax.keras.load(folder), small)
    (folder / "config.json").rename(folder / "assets" / "config.json")
    (folder / "config.json").symlink_to(folder / "assets" / "config.json")
    assert_small(ferjax.keras.load(folder), small)


def test_an_unzipped_archive_may_have_its_weights_in_shards(folder: Path, small: Any) -> None:
    split(folder / WEIGHTS, folder)
    (folder / WEIGHTS).unlink()
    (folder / "m.weights.json").rename(folder / "model.weights.json")
    model = ferjax.keras.load(folder)
    assert model.kind == "keras" and model.graph == small.graph
    assert_small(model, small)


def test_a_large_folder_is_an_archive_too(folder: Path, small: Any) -> None:
    for number in range(1500):
        (folder / f"a{number}").touch()
    assert ferjax.keras.load(folder).graph == small.graph


def test_shards_are_one_file(index: Path, small: Any) -> None:
    model = ferjax.keras.load(index, architecture=small.graph)
    assert model.kind == "weights.h5"
    assert_small(model, small)


# --- refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("absolute", [True, False])
def test_links_out_of_the_folder_are_not_followed(
    name: str, absolute: bool, folder: Path, refused: Any
) -> None:
    """The target is a valid file, so following the link would succeed."""
    outside = folder.parent / "outside"
    (folder / name).rename(outside)
    (folder / name).symlink_to(outside if absolute else Path("..") / "outside")
    refused(folder, f"{name} is a link out of its folder, which is not followed")


def test_a_link_to_a_folder_outside_is_not_followed(folder: Path, refused: Any) -> None:
    outside = folder.parent / "snapshots-of-another"
    outside.mkdir()
    shutil.move(folder / WEIGHTS, outside / WEIGHTS)
    (folder / WEIGHTS).symlink_to(outside / WEIGHTS)
    refused(folder, "link out of its folder")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
def test_members_must_be_files(name: str, folder: Path, refused: Any) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    refused(folder, f"{name}: not a regular file")
    (folder / name).unlink()
    (folder / name).mkdir()
    refused(folder, f"{name}: not a regular file")
    (folder / name).rmdir()
    (folder / name).symlink_to(name)
    refused(folder, f"{name}: cannot be opened")


def test_a_large_config_is_not_read(folder: Path, refused_cheaply: Any) -> None:
    with open(folder / "config.json", "wb") as file:
        file.truncate(1 << 40)  # of which nothing is written
    refused_cheaply(folder, "config.json: more than 16777216 bytes")


def test_a_folder_is_guarded_like_an_archive(folder: Path, refused: Any, tmp_path: Path) -> None:
    other = shutil.copy(folder / WEIGHTS, tmp_path / "other.h5")
    with h5py.File(folder / WEIGHTS, "r+") as root:
        del root["layers/dense/vars/0"]
        root["layers/dense/vars/0"] = h5py.ExternalLink(str(other), "layers/dense/vars/0")
    refused(folder, "layer 'dense': kernel: .* external link, which is not followed")
    (folder / WEIGHTS).write_bytes(b"\x89HDF\r\n\x1a\n")
    refused(folder, "(truncated|damaged) HDF5 file")
    (folder / "config.json").write_text("[1]")
    refused(folder, "(truncated|damaged) HDF5 file|expected a JSON object")


@pytest.mark.parametrize(
    "name",
    ["../{}", "/{}", "a/{}", "..\\{}", "./{}", "..", ".", "", "{}\0"],
)
def test_an_index_names_files_beside_it_alone(
    name: str, index: Path, refused: Any, small: Any
) -> None:
    shard = "m_00001.weights.h5"
    shutil.copy(index.with_name(shard), index.parent.parent / shard)
    named = name.format(index.parent / shard if name == "/{}" else shard).replace("//", "/")
    edit(index, lambda value: value["weight_map"].update({"/layers/dense/vars": named}))
    refused(index, "expected the name of a file beside it", architecture=small.graph)


def test_a_shard_that_is_a_link_out_is_not_followed(index: Path, refused: Any, small: Any) -> None:
    shard = index.with_name("m_00001.weights.h5")
    shard.rename(index.parent.parent / "outside.h5")
    shard.symlink_to(index.parent.parent / "outside.h5")
    refused(index, "link out of its folder", architecture=small.graph)


def test_too_many_shards_are_refused(index: Path, refused_cheaply: Any, saved: Any) -> None:
    edit(index, lambda value: value.update(weight_map={str(i): f"{i}.h5" for i in range(10**6)}))
    refused_cheaply(index, "are more than", config=saved("h5"))
    edit(index, lambda value: value.update(weight_map={str(i): f"{i}" for i in range(10**5)}))
    refused_cheaply(index, "more than 200 shards", config=saved("h5"))
    edit(index, lambda value: value.update(weight_map={"a": [f"{i}" for i in range(10**5)]}))
    refused_cheaply(index, "more than 200 shards", config=saved("h5"))


@pytest.mark.parametrize(
    "mapped, found",
    [
        ([], "weight_map is empty, or no map"),
        ({}, "weight_map is empty, or no map"),
        (None, "weight_map is empty, or no map"),
        ({"/vars": 7}, "expected file names for '/vars', got 7"),
        ({"/vars": [["a"]]}, r"expected file names for '/vars', got \['a'\]"),
        ({"/vars": {"a": 1}}, "expected file names for '/vars', got"),
        ({"/vars": "none.weights.h5"}, "shards are missing beside it: none.weights.h5"),
        ({"a": [f"{i}" for i in range(9)]}, "missing beside it: 0, 1, 2, 3, 4 and 4 more"),
        ({"/vars": "m.weights.json"}, "m.weights.json: not HDF5"),
        ({"weight": "model-00001-of-00002.safetensors"}, "of PyTorch or safetensors"),
    ],
)
def test_a_senseless_index_is_refused(
    mapped: Any, found: str, index: Path, refused: Any, small: Any
) -> None:
    edit(index, lambda value: value.update(weight_map=mapped))
    refused(index, found, architecture=small.graph)


def test_shards_are_guarded_like_files(index: Path, refused: Any, small: Any) -> None:
    shard = index.with_name("m_00000.weights.h5")
    with h5py.File(shard, "r+") as root:
        (layer,) = (name for name in root["layers"] if name == "dense")
        (position,) = root[f"layers/{layer}/vars"]
        root.move(f"layers/{layer}/vars/{position}", "elsewhere")
        root[f"layers/{layer}/vars/{position}"] = h5py.SoftLink("/elsewhere")
    refused(index, "soft link, which is not followed", architecture=small.graph)
    shard.write_bytes(shard.read_bytes()[:600])
    refused(index, "m_00000.weights.h5: (truncated|damaged) HDF5 file", architecture=small.graph)


def test_an_array_in_two_shards_is_refused(index: Path, refused: Any, small: Any) -> None:
    with h5py.File(index.with_name("m_00001.weights.h5"), "r+") as root:
        for position in ("0", "1"):
            if f"layers/dense/vars/{position}" not in root:
                root[f"layers/dense/vars/{position}"] = np.zeros(3, "<f4")
    refused(index, "layer 'dense': .*: '[01]' is in 2 files", architecture=small.graph)


def test_sizes_are_those_of_all_shards(index: Path, refused_cheaply: Any, saved: Any) -> None:
    """A config that asks for more than they hold is refused before anything is read."""
    config = saved("h5")
    with h5py.File(config, "r+") as root:
        value = json.loads(root.attrs["model_config"])
        value["config"]["layers"][-1]["config"]["units"] = 1 << 28
        root.attrs["model_config"] = json.dumps(value).encode()
    refused_cheaply(index, "layer 'dense': expected arrays of .* bytes", config=config)


# --- folders and paths that are something else ---------------------------------------------------


def test_the_weight_files_of_a_folder_are_named(saved: Any, tmp_path: Path, refused: Any) -> None:
    path = saved("h5")
    (tmp_path / "readme.txt").write_text("x")
    refused(tmp_path, f"a folder; it holds one weight file, give that: {path}")
    saved("keras")
    refused(tmp_path, r"a folder with 2 weight files, give one of them: model.h5, model.keras")


@pytest.mark.parametrize(
    "name, found",
    [
        ("saved_model.pb", "a TensorFlow SavedModel folder; save the model as .h5 or .keras"),
        ("checkpoint", "a folder with a TensorFlow checkpoint; load it into its Keras model"),
        ("ckpt-1.index", "a folder with a TensorFlow checkpoint"),
        ("_METADATA", "an Orbax folder; `ferjax convert` reads it"),
        ("config.json", "a folder with a config.json, but without model.weights.h5"),
        ("notes.txt", "a folder, expected a Keras file"),
    ],
)
def test_other_folders_are_told(name: str, found: str, tmp_path: Path, refused: Any) -> None:
    (tmp_path / name).write_bytes(b"")
    refused(tmp_path, found)


def test_a_file_is_no_folder(saved: Any) -> None:
    path = saved("h5")
    with pytest.raises(WeightFileError, match=r"it is a file: leave the / at its end out"):
        ferjax.keras.load(f"{path}/")
    with pytest.raises(WeightFileError, match=r"no such folder$"):
        ferjax.keras.load(f"{path}/model.h5")


def test_the_name_of_a_checkpoint_is_told(tmp_path: Path, refused: Any) -> None:
    (tmp_path / "best.index").write_bytes(b"")
    refused(tmp_path / "best", "no such file, but the name of a TensorFlow checkpoint")


# --- JSON --------------------------------------------------------------------------------------

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]


def encode(value: Any, encoding: str, times: int) -> bytes:
    text = json.dumps(value)
    for _ in range(times - 1):
        text = json.dumps(text)
    return f"\n{text}".encode(encoding)


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_is_read_in_any_encoding(
    encoding: str, times: int, saved: Any, small: Any, tmp_path: Path, repack: Any
) -> None:
    with h5py.File(saved("h5"), "r") as root:
        config = json.loads(root.attrs["model_config"])
    path = tmp_path / "model.json"
    path.write_bytes(encode(config, encoding, times))
    assert ferjax.keras.load_architecture(path).graph == small.graph
    weights = ferjax.keras.load(saved("weights.h5"), path)
    assert weights.graph == small.graph
    archive = saved("keras")
    repack(archive, {"config.json": encode(config, encoding, times)})
    assert ferjax.keras.load(archive).graph == small.graph


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(
    "encoding, stored",
    [
        *((encoding, s) for encoding in ENCODINGS[:2] for s in (np.bytes_, np.void, bytes, str)),
        ("utf-16-le", np.bytes_),  # which HDF5 stores without the zero at its end
        ("utf-16-le", np.void),
    ],
)
def test_attributes_of_json_are_read_in_any_encoding(
    encoding: str, stored: Any, times: int, saved: Any, small: Any
) -> None:
    path = saved("h5")
    with h5py.File(path, "r+") as root:
        text = encode(json.loads(root.attrs["model_config"]), encoding, times)
        root.attrs["model_config"] = text.decode(encoding) if stored is str else stored(text)
    assert ferjax.keras.load(path).graph == small.graph


def test_json_that_is_encoded_four_times_is_refused(saved: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_bytes(encode({"class_name": "Sequential"}, "utf-8", 4))
    with pytest.raises(WeightFileError, match="model config: expected a JSON object, got str"):
        ferjax.keras.load_architecture(path)


@pytest.mark.parametrize(
    "value, found",
    [
        (
            {"class_name": "Sequential", "config": {}},
            r"JSON; give it as the config of .*\(--config\)",
        ),
        ({"modelTopology": {}, "weightsManifest": []}, "the model.json of TensorFlow.js"),
        (
            {"message": "Not Found", "status": 404},
            "JSON; .* if it is one of Keras's: it holds message, st",
        ),
        ({}, "JSON; .* it holds nothing"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_json_in_the_place_of_weights_is_told(
    encoding: str, value: Any, found: str, tmp_path: Path, refused: Any
) -> None:
    path = tmp_path / "m.h5"
    path.write_bytes(encode(value, encoding, 1))
    refused(path, found)
    if "modelTopology" in value:
        with pytest.raises(WeightFileError, match=found):
            ferjax.keras.load_architecture(path)


def test_the_name_without_shards_names_the_index(index: Path) -> None:
    """Keras saves m.weights.h5 in shards as m.weights.json."""
    with pytest.raises(WeightFileError, match=r"no such file, but m.weights.json, the index of"):
        ferjax.keras.load(index.with_name("m.weights.h5"))


def test_a_numbered_file_is_no_shard_unless_it_is_listed(index: Path, saved: Any) -> None:
    whole = saved("weights.h5").rename(index.with_name("m_00007.weights.h5"))
    config = saved("h5")
    assert ferjax.keras.load(whole, config).variables
    with pytest.raises(WeightFileError, match=r"a shard of the weights that m.weights.json beside"):
        ferjax.keras.load(index.with_name("m_00001.weights.h5"), config)


def test_an_index_is_no_architecture(index: Path, saved: Any, refused: Any) -> None:
    with pytest.raises(WeightFileError, match="an index of sharded weights, which says nothing of"):
        ferjax.keras.load(saved("weights.h5"), index)


def test_damaged_bytes_never_cause_another_error(index: Path, folder: Path, small: Any) -> None:
    """An index, its shards and a folder's files are read or refused in one line."""
    refusals = 0
    files = [index, *sorted(index.parent.glob("*.h5")), *(folder / n for n in MEMBERS)]
    for seed in range(200):
        generator = random.Random(seed)
        path = generator.choice(files)
        content = path.read_bytes()
        damaged = bytearray(content)
        for _ in range(generator.choice([1, 2, 20])):
            position = generator.randrange(min(len(damaged), 4000))
            damaged[position] = generator.choice([0, 34, 123, 255, generator.randrange(256)])
        path.write_bytes(damaged)
        whole = folder if path.parent == folder else index
        try:
            ferjax.keras.load(whole, architecture=None if whole == folder else small.graph)
        except WeightFileError as error:
            assert str(error).isprintable() and str(error).startswith(f"{whole}: ")
            refusals += 1
        path.write_bytes(content)
    assert 40 < refusals < 200
