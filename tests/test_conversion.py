"""Conversion: every kind into every other, nothing lost that is not named, labels along with it."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import ferjax.keras
from ferjax import digests, metadata
from ferjax.conversion import TARGETS, convert
from ferjax.errors import FerjaxError, LabelsError, WeightFileError, WriteError
from ferjax.nets import Network, fer_cnn5
from ferjax.nets.graph import Call, Graph
from ferjax.nets.layers import BatchNormalization, Conv2D, Dropout
from ferjax.weights import read

from .networks import drawn

LABELS = list("abcdefg")
OPTIMIZERS = Path(__file__).parent / "fixtures" / "optimizers" / "keras-2.15.0"
SUFFIXES = {
    "h5": ".h5",
    "weights-only-h5": ".h5",
    "weights.h5": ".weights.h5",
    "keras": ".keras",
    "msgpack": ".msgpack",
    "orbax": "",
}


def assert_equal_trees(found: Any, expected: Any) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.asarray(one).dtype == np.asarray(other).dtype


@pytest.mark.parametrize(("first", "second"), list(itertools.product(TARGETS, TARGETS)))
def test_every_kind_becomes_every_other_with_equal_arrays(
    source: Path, config: Path, tmp_path: Path, first: str, second: str
) -> None:
    expected = read(source)
    one = tmp_path / f"one{SUFFIXES[first]}"
    two = tmp_path / f"two{SUFFIXES[second]}"
    done = convert(source, one, to=first)
    assert (done.source_kind, done.target_kind) == ("h5", first)
    whole = first in ("h5", "keras")
    done = convert(one, two, to=second, config=None if whole else config)
    assert (done.source_kind, done.target_kind) == (first, second)
    assert done.num_params == expected.graph.num_params
    model = read(two, None if second in ("h5", "keras") else config)
    assert model.kind == second
    assert_equal_trees(model.variables, expected.variables)
    assert model.graph.layers == expected.graph.layers


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("m.h5", "h5"),
        ("m.hdf5", "h5"),
        ("M.H5", "h5"),
        ("m.weights.h5", "weights.h5"),
        ("m.keras", "keras"),
        ("m.msgpack", "msgpack"),
    ],
)
def test_the_name_of_the_target_tells_its_kind(
    source: Path, config: Path, tmp_path: Path, name: str, kind: str
) -> None:
    assert convert(source, tmp_path / name).target_kind == kind
    assert read(tmp_path / name, None if kind in ("h5", "keras") else config).kind == kind


def test_to_goes_before_the_name(source: Path, tmp_path: Path) -> None:
    assert convert(source, tmp_path / "m.h5", to="keras").target_kind == "keras"
    assert read(tmp_path / "m.h5").kind == "keras"


@pytest.mark.parametrize("name", ["m", "m.bin", "m.json", "h5", "m.h5.bak"])
def test_a_name_that_tells_no_kind_is_an_error(source: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(WriteError, match=r"does not tell its kind; give --to h5\|weights-only-h5"):
        convert(source, tmp_path / name)
    assert not any(tmp_path.iterdir())


def test_an_unknown_kind_is_an_error(source: Path, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"expected a kind among h5, .* got 'onnx'"):
        convert(source, tmp_path / "m.h5", to="onnx")
    assert not any(tmp_path.iterdir())


def test_optimizer_state_is_left_out_with_a_note(source: Path, tmp_path: Path) -> None:
    done = convert(source, tmp_path / "m.h5")
    steps = read(source, with_optimizer=True).optimizer_state
    assert steps is not None
    assert done.notes == [
        f"the state of {steps.name} after {steps.step} steps is left out "
        "(--optimizer-state keeps it)"
    ]
    assert read(tmp_path / "m.h5", with_optimizer=True).optimizer_state is None


@pytest.mark.parametrize("to", ["msgpack", "orbax"])
def test_an_architecture_that_a_flax_file_does_not_tell_is_noted(to: str, tmp_path: Path) -> None:
    named = fer_cnn5()
    elu = [
        dataclasses.replace(layer, activation="elu") if isinstance(layer, Conv2D) else layer
        for layer in named.layers
    ]
    variables = drawn(named)
    source, target = tmp_path / "m.keras", tmp_path / "flax"
    ferjax.keras.save(source, dataclasses.replace(named.graph, layers=tuple(elu)), variables)
    note = f"the architecture is left out: read {target} with --config {source}"
    done = convert(source, target, to=to)
    assert done.notes == [f"{note}, or it is taken for fer_cnn5, which differs"]
    assert read(target, source).graph.layers == tuple(elu)
    # Names of the network and of its input are nothing that matters, nor is how it was trained.
    renamed = [
        dataclasses.replace(named.layers[0], name="first"),
        *(
            dataclasses.replace(layer, rate=0.125)
            if isinstance(layer, Dropout)
            else dataclasses.replace(layer, trainable=False)
            for layer in named.layers[1:]
        ),
    ]
    calls = (Call("first", ()), *named.graph.calls[1:])
    ferjax.keras.save(source, Graph(tuple(renamed), calls, "another name"), variables)
    assert convert(source, target, to=to).notes == []


def test_what_tensorflow_s_keras_wrote_of_a_named_architecture_is_told(
    published_weights: Path, tmp_path: Path
) -> None:
    """It has the axes of normalization as 3 and 1, where the named network has -1."""
    done = convert(published_weights, tmp_path / "m.msgpack")
    assert [note for note in done.notes if "architecture" in note] == []


@pytest.mark.parametrize(("axis", "differs"), [(3, False), (2, True)])
def test_an_axis_is_the_same_counted_from_either_end(
    axis: int, differs: bool, tmp_path: Path
) -> None:
    named = fer_cnn5()
    layers = tuple(
        dataclasses.replace(layer, axis=axis)
        if isinstance(layer, BatchNormalization) and layer.name == "batch_normalization"
        else layer
        for layer in named.layers
    )
    graph = dataclasses.replace(named.graph, layers=layers)
    source, target = tmp_path / "m.keras", tmp_path / "m.msgpack"
    ferjax.keras.save(source, graph, drawn(Network(graph)))
    notes = convert(source, target).notes
    assert any(note.startswith("the architecture is left out") for note in notes) == differs


def test_the_note_on_an_architecture_names_what_was_given(
    source: Path, config: Path, tmp_path: Path
) -> None:
    convert(source, tmp_path / "m.weights.h5")
    target = tmp_path / "m.msgpack"
    expected = f"the architecture is left out: read {target} with --config {config}"
    assert convert(tmp_path / "m.weights.h5", target, config=config).notes == [expected]
    assert convert(target, tmp_path / "again.msgpack", config=config).notes == [
        expected.replace("m.msgpack", "again.msgpack")
    ]


@pytest.mark.parametrize("name", ["m.h5", "m.keras", "m.weights.h5"])
def test_optimizer_state_is_kept_where_asked(
    source: Path, config: Path, tmp_path: Path, name: str
) -> None:
    done = convert(source, tmp_path / name, optimizer_state=True)
    assert done.notes == []
    expected = read(source, with_optimizer=True).optimizer_state
    weights_only = name == "m.weights.h5"
    found = read(
        tmp_path / name, config if weights_only else None, with_optimizer=True
    ).optimizer_state
    assert expected is not None and found is not None
    assert found.step == expected.step > 0
    assert_equal_trees((found.mu, found.nu), (expected.mu, expected.nu))


@pytest.mark.parametrize("kind", ["weights-only-h5", "msgpack", "orbax"])
def test_optimizer_state_has_no_place_in_some_kinds(
    source: Path, tmp_path: Path, kind: str
) -> None:
    with pytest.raises(FerjaxError, match="optimizer state"):
        convert(source, tmp_path / "m", to=kind, optimizer_state=True)
    assert not any(tmp_path.iterdir())


def test_optimizer_state_that_is_not_there_cannot_be_kept(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "plain.h5")
    with pytest.raises(WriteError, match="holds no optimizer state"):
        convert(tmp_path / "plain.h5", tmp_path / "m.h5", optimizer_state=True)


def test_a_state_that_cannot_be_kept_is_named(tmp_path: Path) -> None:
    adamax = OPTIMIZERS / "adamax.keras"
    why = "that could be kept; optimizer state is left out: the state of 'Adamax' is not read"
    with pytest.raises(WriteError, match=why):
        convert(adamax, tmp_path / "m.keras", optimizer_state=True)
    assert not any(tmp_path.iterdir())


def test_weight_decay_is_kept(tmp_path: Path) -> None:
    source = OPTIMIZERS / "adam_decay.keras"
    convert(source, tmp_path / "m.weights.h5", optimizer_state=True)
    kept = read(tmp_path / "m.weights.h5", source, with_optimizer=True).optimizer_state
    assert kept is not None and (kept.name, kept.settings["weight_decay"]) == ("AdamW", 0.03)


@pytest.mark.parametrize("kind", ["h5", "weights-only-h5", "weights.h5", "keras"])
def test_labels_are_stored_and_travel_on(
    source: Path, config: Path, tmp_path: Path, kind: str
) -> None:
    convert(source, tmp_path / "one", to=kind, labels=LABELS)
    whole = kind in ("h5", "keras")
    convert(tmp_path / "one", tmp_path / "two", to=kind, config=None if whole else config)
    assert read(tmp_path / "two", None if whole else config).labels == LABELS


def test_labels_go_beside_a_flax_file(source: Path, config: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "m.msgpack", labels=LABELS)
    assert read(tmp_path / "m.msgpack", config).labels == LABELS


def test_a_folder_has_no_place_for_labels(source: Path, tmp_path: Path) -> None:
    done = convert(source, tmp_path / "m", to="orbax", labels=LABELS)
    assert "metadata is left out (labels): an Orbax folder has no place for it" in done.notes
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("labels", [["a", "b"], list("abcdefgh"), list("abcdefa")])
def test_labels_that_do_not_fit_are_not_written(
    source: Path, tmp_path: Path, labels: list[str]
) -> None:
    with pytest.raises(LabelsError, match="expected 7 different labels in output order, got"):
        convert(source, tmp_path / "m.h5", labels=labels)
    assert not any(tmp_path.iterdir())


def test_metadata_beside_the_source_goes_into_the_target(source: Path, tmp_path: Path) -> None:
    beside = tmp_path / "model.h5"
    shutil.copy(source, beside)
    known = {"labels": LABELS, "value_range": [-1, 1], "licence": "CC0-1.0"}
    metadata.write(beside, known)
    convert(beside, tmp_path / "other.keras")
    model = read(tmp_path / "other.keras")
    assert model.labels == LABELS
    assert model.metadata == known  # not the hash, which is the source's
    found = metadata.read(tmp_path / "other.keras")
    assert found == {**known, "sha256": digests.sha256(tmp_path / "other.keras")}
    # Alone, as somebody may pass it on, it still has what it needs.
    metadata.sidecar(tmp_path / "other.keras").unlink()
    assert read(tmp_path / "other.keras").metadata == known


@pytest.mark.parametrize("name", ["model.keras", "model.msgpack"])
def test_metadata_of_another_file_is_not_replaced(source: Path, tmp_path: Path, name: str) -> None:
    first = tmp_path / "model.h5"
    shutil.copy(source, first)
    metadata.write(first, {"labels": LABELS, "licence": "CC0-1.0"})
    done = convert(first, tmp_path / name)
    assert metadata.read(first)["licence"] == "CC0-1.0"
    beside = metadata.sidecar(first)
    why = f"{beside} describes other weights; give another name"
    assert (f"metadata is left out (labels, ...): {why}" in done.notes) == name.endswith(".msgpack")


def test_all_that_predictions_depend_on_is_named_where_it_is_left_out(
    source: Path, tmp_path: Path
) -> None:
    first = tmp_path / "model.h5"
    shutil.copy(source, first)
    metadata.write(first, {"value_range": [0, 255], "calibration": {"temperature": 2.0}})
    done = convert(first, tmp_path / "m", to="orbax")
    expected = (
        "metadata is left out (value range, calibration): an Orbax folder has no place for it"
    )
    assert expected in done.notes


def test_a_file_beside_the_one_it_was_made_of_raises_no_alarm(
    source: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    first = tmp_path / "model.h5"
    shutil.copy(source, first)
    metadata.write(first, {"labels": LABELS})
    convert(first, tmp_path / "model.keras")
    assert read(tmp_path / "model.keras").labels == LABELS  # from the file itself
    assert not recwarn.list


@pytest.mark.parametrize("to", ["h5", "keras", "msgpack"])
def test_the_current_folder_is_no_file_to_write(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WriteError, match=r"^\.: is a folder already"):
        convert(source, ".", to=to)


def test_metadata_of_a_replaced_target_is_replaced(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    shutil.copy(source, path)
    metadata.write(path, {"source": "before"})
    new = tmp_path / "new.h5"
    shutil.copy(source, new)
    metadata.write(new, {"source": "after"})
    convert(new, path)
    assert metadata.read(path)["source"] == "after"
    assert read(path).metadata["source"] == "after"


def test_a_file_is_replaced_by_itself(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    shutil.copy(source, path)
    expected = read(path).variables
    convert(path, path)
    assert_equal_trees(read(path).variables, expected)
    assert [p.name for p in tmp_path.iterdir()] == ["model.h5"]


def test_a_failed_conversion_leaves_the_old_target(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    path.write_bytes(b"the old one")
    (tmp_path / "broken.h5").write_bytes(source.read_bytes()[:20_000])
    with pytest.raises(WeightFileError):
        convert(tmp_path / "broken.h5", path)
    with pytest.raises(LabelsError):
        convert(source, path, labels=["a"])
    assert path.read_bytes() == b"the old one"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken.h5", "m.h5"]


@pytest.mark.parametrize("kind", TARGETS)
def test_a_target_in_a_missing_folder_is_an_error(source: Path, tmp_path: Path, kind: str) -> None:
    with pytest.raises(WriteError, match=r"the folder .* does not exist"):
        convert(source, tmp_path / "no" / "m", to=kind)
    assert not any(tmp_path.iterdir())


def test_a_file_does_not_replace_a_folder_nor_a_folder_a_file(source: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WriteError, match="is a folder already"):
        convert(source, tmp_path / "folder.h5")
    with pytest.raises(WriteError, match="is a file already"):
        convert(source, tmp_path / "file", to="orbax")


def test_a_folder_of_weights_is_replaced_by_a_new_one(source: Path, tmp_path: Path) -> None:
    for _ in range(2):
        convert(source, tmp_path / "folder", to="orbax")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_a_missing_source_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(WeightFileError, match=r"nowhere\.h5: no such file"):
        convert(tmp_path / "nowhere.h5", tmp_path / "m.h5")


def test_a_numpy_pytree_becomes_a_keras_file(source: Path, tmp_path: Path) -> None:
    model = read(source)
    variables = jax.tree.map(np.asarray, model.variables)
    ferjax.keras.save(tmp_path / "m.keras", model.network, variables)
    assert_equal_trees(read(tmp_path / "m.keras").variables, variables)
