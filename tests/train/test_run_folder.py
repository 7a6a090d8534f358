"""run.json: what it keeps, and what is said of one that is not as a run wrote it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ferjax.train import Recipe, TrainingError, run_folder
from ferjax.train.run_folder import RunRecord, origin

RECORD = RunRecord(
    recipe=Recipe(name="test", epochs=3),
    data={"path": None, "checksum": "1", "class_names": ["calm", "tense"], "images": {"train": 2}},
    init="first.h5",
    started_from={"file": "first.h5", "sha256": "12"},
    teachers=[{"file": "teacher", "sha256": None}],
    network={"class_name": "Sequential"},
    command="ferjax train",
    hardware="CPU, 2 cores",
    licence=None,
    versions={"ferjax": "0.1.0"},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run_folder.begin(tmp_path, RECORD, state_bytes=0)
    return tmp_path


def test_what_is_read_is_what_was_written(folder: Path) -> None:
    assert run_folder.read(folder) == RECORD
    stored = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert list(stored)[:3] == ["format", "recipe", "data"]
    assert stored["recipe"]["epochs"] == 3


def without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda values: {k: v for k, v in values.items() if k != name}


@pytest.mark.parametrize(
    "change",
    [
        lambda values: [],
        lambda values: None,
        *(without(name) for name in RECORD.to_json() if name != "format"),
        without("format"),
        lambda values: values | {"recipe": None},
        lambda values: values | {"data": []},
        lambda values: values | {"data": without("path")(values["data"])},
        lambda values: values | {"data": values["data"] | {"path": 1}},
        lambda values: values | {"init": 1},
        lambda values: values | {"started_from": "first.h5"},
        lambda values: values | {"started_from": {"file": "first.h5"}},
        lambda values: values | {"teachers": None},
        lambda values: values | {"teachers": [None]},
        lambda values: values | {"teachers": [{"file": 1, "sha256": None}]},
        lambda values: values | {"network": None},
        lambda values: values | {"command": None},
        lambda values: values | {"hardware": []},
        lambda values: values | {"licence": 1},
        lambda values: values | {"versions": "0.1.0"},
    ],
)
def test_a_damaged_one_is_told_in_one_line(folder: Path, change: Any) -> None:
    path = folder / "run.json"
    path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))))
    with pytest.raises(TrainingError, match=r"run\.json: damaged; it is not what a run begins wi"):
        run_folder.read(folder)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\xfd", b"[" * 100_000, b"{} {}"])
def test_one_that_is_no_json_is_told_too(folder: Path, content: bytes) -> None:
    (folder / "run.json").write_bytes(content)
    with pytest.raises(TrainingError, match=r"run\.json: damaged; it is not what a run begins wi"):
        run_folder.read(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "was made by another version of ferjax"),
        ({"recipe": {"epochs": 0}}, r"run\.json: `epochs`: expected a positive integer, got 0"),
        ({"recipe": {"speed": 1}}, r"run\.json: no field `speed` in a recipe of this version"),
    ],
)
def test_one_of_another_version(folder: Path, change: dict[str, Any], message: str) -> None:
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change))
    with pytest.raises(TrainingError, match=message):
        run_folder.read(folder)


def test_of_weights_that_are_not_one_file_the_name_is_known(tmp_path: Path) -> None:
    assert origin(tmp_path / "gone.h5") == {"file": "gone.h5", "sha256": None}
    assert origin(tmp_path) == {"file": tmp_path.name, "sha256": None}
