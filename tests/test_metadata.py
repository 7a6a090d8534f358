"""What travels beside a weight file: found by name, bound to the file by its hash."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

import ferjax.keras
from ferjax import EMOTIONS, digests, metadata
from ferjax.errors import WeightFileError

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"
RELEASED = sorted(CHECKPOINTS.glob("*.h5"))


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("a/m.h5", "a/m.metadata.json"),
        ("m.hdf5", "m.metadata.json"),
        ("m.weights.h5", "m.metadata.json"),
        ("m.keras", "m.metadata.json"),
        ("M.KERAS", "M.metadata.json"),
        ("m.v2.h5", "m.v2.metadata.json"),
        ("m.msgpack", "m.metadata.json"),
        ("folder", "folder.metadata.json"),
    ],
)
def test_the_metadata_has_the_name_of_its_weights(weights: str, expected: str) -> None:
    assert metadata.sidecar(weights) == Path(expected)


def test_sha256_is_that_of_the_standard(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"abc")  # the first example of FIPS 180-2
    assert digests.sha256(tmp_path / "m") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_what_is_written_is_read_with_the_hash_of_the_weights(tmp_path: Path) -> None:
    weights = tmp_path / "m.h5"
    weights.write_bytes(b"abc")
    written = metadata.write(weights, {"labels": ["glücklich", "müde"], "sha256": "stale"})
    assert written == tmp_path / "m.metadata.json"
    found = metadata.read(weights)
    assert found["labels"] == ["glücklich", "müde"]
    assert found["sha256"] == digests.sha256(weights)
    assert "glücklich" in written.read_text(encoding="utf-8")


def test_a_file_without_metadata_gives_none_and_no_warning(tmp_path: Path) -> None:
    (tmp_path / "m.h5").write_bytes(b"abc")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metadata.read(tmp_path / "m.h5") == {}


def test_metadata_of_other_weights_is_ignored_with_a_warning(tmp_path: Path) -> None:
    weights = tmp_path / "m.h5"
    weights.write_bytes(b"abc")
    metadata.write(weights, {"labels": ["a"]})
    weights.write_bytes(b"abd")
    with pytest.warns(UserWarning, match=r"m\.metadata\.json: describes other weights than"):
        assert metadata.read(weights) == {}


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", '"text"', "[" * 100_000])
def test_what_is_no_json_metadata_is_ignored_with_a_warning(tmp_path: Path, text: str) -> None:
    weights = tmp_path / "m.h5"
    weights.write_bytes(b"abc")
    metadata.sidecar(weights).write_text(text)
    with pytest.warns(UserWarning, match="not JSON metadata, ignored"):
        assert metadata.read(weights) == {}


def test_bytes_that_are_no_text_are_ignored_with_a_warning(tmp_path: Path) -> None:
    weights = tmp_path / "m.h5"
    weights.write_bytes(b"abc")
    metadata.sidecar(weights).write_bytes(b"\xff\xfe{}")
    with pytest.warns(UserWarning, match="not JSON metadata, ignored"):
        assert metadata.read(weights) == {}


def test_metadata_of_more_than_a_megabyte_is_not_read(tmp_path: Path) -> None:
    weights = tmp_path / "m.h5"
    weights.write_bytes(b"abc")
    metadata.write(weights, {"labels": ["a" * (1 << 20)]})
    assert metadata.read(weights) == {}


def test_a_folder_of_weights_has_none(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    metadata.sidecar(folder).write_text('{"labels": ["a"], "sha256": null}')
    assert metadata.read(folder) == {}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({}, None),
        ({"labels": []}, None),
        ({"labels": "abc"}, None),
        ({"labels": [1, 2]}, None),
        ({"labels": {"a": 1}}, None),
        ({"labels": ["a", "b"]}, ["a", "b"]),
        ({"labels": ["0", "1"]}, None),  # as good as none
        ({"labels": ["1", "0"]}, ["1", "0"]),
    ],
)
def test_labels_are_a_list_of_names_or_none(
    found: dict[str, Any], expected: list[str] | None
) -> None:
    assert metadata.labels(found) == expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({}, None),
        ({"value_range": None}, None),
        ({"value_range": [0, 255]}, (0, 255)),
        ({"value_range": [-1.0, 1.0]}, (-1, 1)),
    ],
)
def test_a_value_range_is_two_numbers_or_none(
    found: dict[str, Any], expected: tuple[float, float] | None
) -> None:
    assert metadata.value_range(found, "m.h5") == expected


@pytest.mark.parametrize(
    "wrong", [[1, 0], [0, 0], [0], [0, 1, 2], [0, float("nan")], "01", 1, [[0], [1]], [None, 1]]
)
def test_another_value_range_is_an_error(wrong: Any) -> None:
    if wrong == "01":
        wrong = "ab"
    with pytest.raises(WeightFileError, match=r"m\.h5: metadata: expected \[black, white\]"):
        metadata.value_range({"value_range": wrong}, "m.h5")


# --- the released weights ------------------------------------------------------------------------


def test_weights_are_released() -> None:
    assert CHECKPOINTS / "fer_cnn5.h5" in RELEASED


@pytest.mark.parametrize("weights", RELEASED, ids=lambda path: path.name)
def test_released_weights_carry_what_is_needed_to_use_them(weights: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = metadata.read(weights)
    model = ferjax.keras.load(weights)
    assert found["labels"] == model.labels == list(EMOTIONS)
    assert found["parameters"] == model.graph.num_params
    sizes = found["input"]
    assert (sizes["height"], sizes["width"], sizes["channels"]) == model.graph.input_shape
    assert tuple(found["value_range"]) == model.graph.value_range
    for name in ("source", "licence", "trained_on"):
        assert found[name], name
    assert found["accuracy"]
    for measured in found["accuracy"]:
        assert measured["dataset"]
        assert measured["top_1"] == round(measured["correct"] / measured["images"], 4)


@pytest.mark.parametrize("weights", RELEASED, ids=lambda path: path.name)
def test_released_weights_carry_no_optimizer_state(weights: Path) -> None:
    assert ferjax.keras.load(weights).optimizer_state is None


def test_a_copy_of_released_weights_is_known_by_its_metadata(tmp_path: Path) -> None:
    for path in (CHECKPOINTS / "fer_cnn5.h5", CHECKPOINTS / "fer_cnn5.metadata.json"):
        shutil.copy(path, tmp_path / path.name)
    named = json.loads((CHECKPOINTS / "fer_cnn5.metadata.json").read_text(encoding="utf-8"))
    assert metadata.read(tmp_path / "fer_cnn5.h5") == named


def test_files_that_share_a_place(tmp_path: Path) -> None:
    for name in ("m.h5", "m.keras", "m.txt", "other.h5"):
        (tmp_path / name).write_bytes(b"abc")
    assert metadata.is_shared(tmp_path / "m.h5") and metadata.is_shared(tmp_path / "m.keras")
    assert not metadata.is_shared(tmp_path / "other.h5")
    (tmp_path / "m.keras").unlink()
    assert not metadata.is_shared(tmp_path / "m.h5")
