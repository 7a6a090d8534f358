"""Flax's own files: a plain msgpack and an Orbax folder, as Flax and Orbax write them."""

from __future__ import annotations

import copy
import os
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax.core import freeze
from flax.serialization import msgpack_restore, msgpack_serialize, to_bytes

from ferjax import flax_files, weights
from ferjax.errors import FerjaxError, WeightFileError
from ferjax.nets.architectures import fer_cnn5

from .networks import drawn, one_dense, small_graph

GRAPH = small_graph()


@pytest.fixture
def variables() -> dict[str, Any]:
    return drawn(GRAPH)


def assert_same(found: Any, expected: Any) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert isinstance(one, np.ndarray)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def write_orbax(path: Path, tree: Any) -> Path:
    checkpointer = ocp.StandardCheckpointer()
    checkpointer.save(path, tree)
    checkpointer.wait_until_finished()
    return path


def test_a_msgpack_that_flax_wrote_is_read(tmp_path: Path, variables: dict[str, Any]) -> None:
    path = tmp_path / "v.msgpack"
    for tree in (variables, freeze(variables), dict(reversed(variables.items()))):
        path.write_bytes(to_bytes(tree))
        graph, found = flax_files.load(path, GRAPH)
        assert graph is GRAPH
        assert_same(found, variables)
        assert weights.inspect(path).kind == "msgpack"


def test_an_orbax_folder_that_orbax_wrote_is_read(
    tmp_path: Path, variables: dict[str, Any]
) -> None:
    path = write_orbax(tmp_path / "folder", variables)
    assert_same(flax_files.load(path, GRAPH)[1], variables)
    assert weights.inspect(path).kind == "orbax"


@pytest.mark.parametrize("orbax", [False, True])
def test_training_state_beside_the_variables_is_left_alone(
    tmp_path: Path, variables: dict[str, Any], orbax: bool
) -> None:
    state = {**variables, "opt_state": {"count": jnp.zeros((), jnp.int32)}, "step": jnp.ones(())}
    path = tmp_path / "state"
    if orbax:
        write_orbax(path, state)
    else:
        path.write_bytes(to_bytes(state))
    assert_same(flax_files.load(path, GRAPH)[1], variables)


@pytest.mark.parametrize("orbax", [False, True])
def test_what_is_saved_is_loaded(tmp_path: Path, variables: dict[str, Any], orbax: bool) -> None:
    path = tmp_path / "saved"
    flax_files.save(path, variables, orbax=orbax)
    assert path.is_dir() == orbax
    assert_same(flax_files.load(path, GRAPH)[1], variables)
    assert [p.name for p in tmp_path.iterdir()] == ["saved"]


def test_flax_and_orbax_read_what_is_saved(tmp_path: Path, variables: dict[str, Any]) -> None:
    flax_files.save(tmp_path / "v.msgpack", variables, orbax=False)
    assert_same(msgpack_restore((tmp_path / "v.msgpack").read_bytes()), variables)
    flax_files.save(tmp_path / "folder", variables, orbax=True)
    restored = ocp.StandardCheckpointer().restore(tmp_path / "folder")
    assert_same(jax.tree.map(np.asarray, restored), variables)


def test_a_network_without_batch_norm_needs_no_statistics(tmp_path: Path) -> None:
    graph = one_dense(2).graph
    params = drawn(graph)["params"]
    path = tmp_path / "v.msgpack"
    path.write_bytes(to_bytes({"params": params}))
    assert_same(flax_files.load(path, graph)[1], {"params": params, "batch_stats": {}})


def test_without_a_network_the_named_one_that_fits_is_taken(tmp_path: Path) -> None:
    five = fer_cnn5()
    zeros = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(five.init, jax.random.key(0))
    )
    flax_files.save(tmp_path / "v.msgpack", zeros, orbax=False)
    assert flax_files.load(tmp_path / "v.msgpack")[0] == five.graph


def test_arrays_that_fit_no_named_network_ask_for_the_architecture(
    tmp_path: Path, variables: dict[str, Any]
) -> None:
    flax_files.save(tmp_path / "v.msgpack", variables, orbax=False)
    with pytest.raises(
        WeightFileError, match="fit none of fer_cnn8, fer_cnn5: give the architecture, by name"
    ):
        flax_files.load(tmp_path / "v.msgpack")


def test_all_that_does_not_fit_is_named_at_once(tmp_path: Path, variables: dict[str, Any]) -> None:
    wrong = copy.deepcopy(variables)
    wrong["params"]["conv2d"]["kernel"] = np.zeros((3, 3, 1, 5), np.float32)
    del wrong["batch_stats"]["batch_normalization"]["var"]
    wrong["params"]["extra"] = {"kernel": np.zeros(2, np.float32)}
    path = tmp_path / "v.msgpack"
    path.write_bytes(to_bytes(wrong))
    with pytest.raises(WeightFileError) as caught:
        flax_files.load(path, GRAPH)
    assert sorted(caught.value.problems) == [
        "layer 'batch_normalization': batch_stats var: missing, expected an array of shape (2,)",
        "layer 'conv2d': params kernel: expected shape (3, 3, 1, 2), got (3, 3, 1, 5)",
        "layer 'extra': params kernel: the network has no place for it",
    ]


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"weights": np.zeros(2)}, "expected 'params' and 'batch_stats', got weights"),
        ({"params": {}}, "expected 'params' and 'batch_stats', got params"),
        ({"params": 3}, "expected 'params' and 'batch_stats', got params"),
        ({}, "got nothing"),
        ([1, 2], "expected a pytree of arrays, got list"),
        ("text", "expected a pytree of arrays, got str"),
    ],
)
def test_a_msgpack_of_something_else_is_an_error(tmp_path: Path, tree: Any, message: str) -> None:
    path = tmp_path / "v.msgpack"
    path.write_bytes(msgpack_serialize(tree))
    with pytest.raises(WeightFileError, match=message):
        flax_files.load(path, GRAPH)


@pytest.mark.parametrize(
    "tree",
    [
        {"params": [1, 2]},
        {"params": {"conv2d": 3}},
        {"params": {"conv2d": {"kernel": "text"}}},
        {"params": {"conv2d": {"kernel": {"deeper": np.zeros(2)}}}},
        {"params": {"conv2d": {3: np.zeros(2)}}},
        {"params": {4: {"kernel": np.zeros(2)}}},
        {"params": {"conv2d": {"kernel": np.zeros((3, 3, 1, 2), complex)}}},
        {"params": {"conv2d": {}}, "batch_stats": 7},
    ],
    ids=repr,
)
def test_a_tree_of_another_form_is_an_error(tmp_path: Path, tree: Any) -> None:
    path = tmp_path / "v.msgpack"
    path.write_bytes(msgpack_serialize(tree))
    with pytest.raises(WeightFileError, match=r"v\.msgpack"):
        flax_files.load(path, GRAPH)
    with pytest.raises(WeightFileError, match=r"v\.msgpack"):
        flax_files.load(path)


@pytest.mark.parametrize("keep", [0, 1, 20, 200])
def test_a_truncated_msgpack_is_an_error(
    tmp_path: Path, variables: dict[str, Any], keep: int
) -> None:
    path = tmp_path / "v.msgpack"
    path.write_bytes(to_bytes(variables)[:keep])
    with pytest.raises(WeightFileError, match="not a Flax msgpack"):
        flax_files.load(path, GRAPH)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WeightFileError, match=r"gone\.msgpack: cannot be opened"):
        flax_files.load(tmp_path / "gone.msgpack", GRAPH)


def test_a_file_beyond_the_bound_is_not_read(tmp_path: Path, variables: dict[str, Any]) -> None:
    path = tmp_path / "v.msgpack"
    flax_files.save(path, variables, orbax=False)
    os.truncate(path, (1 << 30) + 1)  # takes no place on the disk
    with pytest.raises(WeightFileError, match="larger than the 1073741824 bytes"):
        flax_files.load(path, GRAPH)


def test_a_damaged_orbax_folder_is_an_error_of_one_line(
    tmp_path: Path, variables: dict[str, Any]
) -> None:
    path = write_orbax(tmp_path / "folder", variables)
    for file in path.rglob("*"):
        if file.is_file() and file.name != "_CHECKPOINT_METADATA":
            file.unlink()
    with pytest.raises(WeightFileError, match="not an Orbax checkpoint") as caught:
        flax_files.load(path, GRAPH)
    assert "\n" not in str(caught.value)


def test_orbax_folders_without_orbax_say_what_to_install(
    tmp_path: Path, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(FerjaxError, match=r"pip install 'ferjax\[train\]'"):
        flax_files.save(tmp_path / "folder", variables, orbax=True)
    assert not any(tmp_path.iterdir())
