"""What Keras 3 saves in several files: an unzipped `.keras`, and weights in shards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import ferjax.keras
from ferjax.conversion import convert
from ferjax.weights import inspect


@pytest.fixture(scope="module")
def model(numpy_initializers: None) -> Any:
    keras.backend.clear_session(free_memory=False)
    layers = keras.layers
    inside = keras.Sequential([layers.Input((6, 6, 1)), layers.Conv2D(2, 3)])
    made = keras.Sequential(
        [layers.Input((6, 6, 1)), inside, layers.BatchNormalization(), layers.Flatten(),
         layers.Dense(16), layers.Dense(3, activation="softmax")]
    )  # fmt: skip
    made.compile("adam", "categorical_crossentropy")
    made.optimizer.build(made.trainable_variables)
    generator = np.random.default_rng(0)
    for variable in [*made.weights, *made.optimizer.variables[2:]]:
        variable.assign(generator.uniform(0.5, 1, variable.shape).astype("float32"))
    return made


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).random((2, 6, 6, 1), np.float32)


@pytest.fixture
def folder(model: Any, tmp_path: Path) -> Path:
    model.save(tmp_path / "unzipped", zipped=False)
    return tmp_path / "unzipped"


@pytest.fixture
def index(model: Any, tmp_path: Path) -> Path:
    """Weights in shards of at most 3 KB, so that a group's own arrays are in several."""
    model.save_weights(tmp_path / "m.weights.json", max_shard_size=3e3 / 1024**3)
    (tmp_path / "m.json").write_text(model.to_json())
    assert len(list(tmp_path.glob("m_0*.weights.h5"))) == 3
    return tmp_path / "m.weights.json"


def check(read: ferjax.keras.KerasModel, model: Any, images: np.ndarray) -> None:
    outputs = np.asarray(read.network.apply(read.variables, images))
    np.testing.assert_allclose(outputs, model.predict(images, verbose=0), rtol=0, atol=1e-6)
    assert read.optimizer_state is not None and read.optimizer_state.name == "Adam"
    first = read.optimizer_state.mu["dense"]["kernel"]
    moments = dict(zip([v.path for v in model.trainable_variables], model.optimizer._momentums))
    theirs = next(m for path, m in moments.items() if path.endswith("dense/kernel"))
    np.testing.assert_array_equal(first, np.asarray(theirs))


def test_an_unzipped_archive_is_read(folder: Path, model: Any, images: np.ndarray) -> None:
    for path in (folder, f"{folder}/"):
        read = ferjax.keras.load(path)
        assert (read.kind, read.keras_version, read.notes) == ("keras", keras.__version__, [])
        check(read, model, images)
    assert ferjax.keras.load_architecture(folder).graph == read.graph
    assert ferjax.keras.has_architecture(folder)
    assert inspect(folder).model is not None


def test_weights_in_shards_are_read(index: Path, model: Any, images: np.ndarray) -> None:
    read = ferjax.keras.load(index, index.with_name("m.json"))
    assert (read.kind, read.notes) == ("weights.h5", [])
    check(read, model, images)
    assert any(isinstance(f, list) for f in json.loads(index.read_text())["weight_map"].values())


def test_they_are_converted_and_keras_opens_that(
    folder: Path, index: Path, model: Any, images: np.ndarray, tmp_path: Path
) -> None:
    convert(folder, tmp_path / "a.keras", optimizer_state=True)
    convert(index, tmp_path / "b.keras", config=index.with_name("m.json"), optimizer_state=True)
    for name in ("a.keras", "b.keras"):
        check(ferjax.keras.load(tmp_path / name), model, images)
        opened = keras.models.load_model(tmp_path / name)
        outputs = opened.predict(images, verbose=0)
        np.testing.assert_allclose(outputs, model.predict(images, verbose=0), rtol=0, atol=1e-6)


def test_a_folder_with_an_index_names_it(index: Path) -> None:
    with pytest.raises(ferjax.FerjaxError, match=rf"one weight file, give that: {index}$"):
        ferjax.keras.load(index.parent)


def test_a_shard_alone_names_its_index(index: Path) -> None:
    with pytest.raises(ferjax.FerjaxError, match="a shard of the weights that m"):
        ferjax.keras.load(index.with_name("m_00000.weights.h5"), index.with_name("m.json"))


def test_the_cache_of_the_hub_is_read(
    folder: Path, model: Any, images: np.ndarray, tmp_path: Path
) -> None:
    """huggingface_hub links from snapshots/REVISION to blobs/HASH."""
    blobs, snapshot = tmp_path / "hub" / "blobs", tmp_path / "hub" / "snapshots" / "a1b2"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for position, file in enumerate(p for p in folder.iterdir() if p.is_file()):
        shutil.copy(file, blobs / f"{position}")
        (snapshot / file.name).symlink_to(Path("../../blobs") / f"{position}")
    check(ferjax.keras.load(snapshot), model, images)
