"""Any weight file is read, and looked into, with the metadata beside it."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import pytest

import ferjax.keras
from ferjax import conversion, flax_files, metadata, released, weights
from ferjax.conversion import convert
from ferjax.errors import FerjaxError, WeightFileError
from ferjax.weights import read

from .networks import chain

LABELS = list("abcdefg")


@pytest.mark.parametrize("name", released.NAMES)
def test_weights_that_ferjax_brings_go_by_their_names(name: str) -> None:
    path = released.path_of(name)
    assert read(name).path == str(path)
    assert weights.has_architecture(name)
    assert weights.inspect(name).path == str(path)


def test_a_name_that_is_none_is_told_as_such() -> None:
    expected = "fer_cnn9: no such file, and none of the weights that ferjax brings, .*'fer_cnn8'"
    for call in (read, weights.has_architecture):
        with pytest.raises(WeightFileError, match=expected):
            call("fer_cnn9")
    assert weights.inspect("fer_cnn9").problems[0].startswith("no such file, and none of")


@pytest.mark.parametrize("name", released.NAMES)
def test_readers_of_keras_s_files_say_who_knows_the_names(name: str) -> None:
    for call in (ferjax.keras.load, ferjax.keras.load_architecture, ferjax.keras.has_architecture):
        with pytest.raises(WeightFileError, match=r"no such file; `ferjax.load` knows the weights"):
            call(name)


def test_other_files_are_not_taken_for_flax_s(tmp_path: Path, source: Path) -> None:
    (tmp_path / "text").write_bytes(b"params and batch_stats")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for name in ("text", "empty", "folder", "gone.msgpack"):
        assert weights.inspect(tmp_path / name).kind is None
    assert weights.inspect(source).kind == "h5"


def test_the_current_folder_is_read(
    source: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(source, tmp_path / "m", to="orbax")
    monkeypatch.chdir(tmp_path / "m")
    assert read(".", config).graph.num_params == read(source).graph.num_params


def test_metadata_beside_a_file_goes_before_that_in_it(source: Path, tmp_path: Path) -> None:
    inside = tmp_path / "model.h5"
    convert(source, inside, labels=LABELS)
    metadata.write(inside, {"labels": LABELS[::-1], "source": "beside"})
    model = read(inside)
    assert model.labels == LABELS[::-1]
    assert model.metadata == {"labels": LABELS[::-1], "source": "beside"}


def test_a_config_and_a_name_at_once_are_an_error(
    source: Path, config: Path, tmp_path: Path
) -> None:
    convert(source, tmp_path / "m.msgpack")
    for path in (source, tmp_path / "m.msgpack"):
        with pytest.raises(WeightFileError, match="a config or an architecture, not both"):
            read(path, config, "fer_cnn5")


def test_an_unknown_architecture_lists_the_known(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "m.msgpack")
    for path in (source, tmp_path / "m.msgpack"):
        with pytest.raises(FerjaxError, match="fer_cnn8, fer_cnn5, got 'fer_cnn6'"):
            read(path, None, "fer_cnn6")


@pytest.mark.parametrize("kind", ["msgpack", "orbax"])
def test_inspect_tells_what_a_flax_file_holds(
    source: Path, config: Path, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "m"
    convert(source, path, to=kind)
    found = weights.inspect(path, config)
    assert (found.kind, found.keras_version, found.problems) == (kind, None, [])
    assert found.model is not None
    assert found.model.graph == read(source).graph
    found = weights.inspect(path)
    assert found.kind == kind
    assert found.model is None
    assert len(found.problems) == 1
    assert "fit none of fer_cnn8, fer_cnn5" in found.problems[0]


def test_inspect_knows_the_labels_beside_a_file(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    shutil.copy(source, path)
    metadata.write(path, {"labels": LABELS})
    found = weights.inspect(path)
    assert found.model is not None
    assert found.model.labels == LABELS


def test_a_path_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(WeightFileError, match=r"^a\\x00b\.h5: cannot be opened \(.*embedded null"):
        weights.read("a\0b.h5")


@pytest.mark.parametrize("kind", [bytes, io.BytesIO])
def test_content_in_the_place_of_a_path_is_told_as_such(kind: Any, tmp_path: Path) -> None:
    """Weights in memory would be taken for a name, which the error would print in full."""
    given: Any = kind(b"\x89HDF\r\n\x1a\n")
    match = rf"^{kind.__name__}: expected the path of a weight file; write what is in memory"
    for call in (
        ferjax.load,
        ferjax.keras.load,
        ferjax.keras.load_architecture,
        ferjax.keras.inspect,
        weights.read,
        weights.inspect,
        weights.has_architecture,
        flax_files.load,
        lambda x: conversion.convert(x, tmp_path / "a.h5"),
        lambda x: ferjax.keras.save(x, chain(shape=(1,)), {}),
    ):
        with pytest.raises(WeightFileError, match=match):
            call(given)
