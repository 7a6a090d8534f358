"""The TFDS builder, by TFDS's own test and through what `prepare` writes."""

from __future__ import annotations

import os
import unittest
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ferjax.data.preparation import load, prepare
from ferjax.emotions import EMOTIONS


@pytest.fixture(scope="module")
def tfds() -> Any:
    """TensorFlow Datasets, which loads TensorFlow: only where it is used."""
    reason = "needs tensorflow-datasets: pip install 'ferjax[train]'"
    module = pytest.importorskip("tensorflow_datasets", reason=reason)
    pytest.importorskip("dill", reason="needs dill, which tensorflow_datasets.testing imports")
    return module


def make_source(folder: Path) -> Path:
    """Write two training faces and one test face a class."""
    rng = np.random.default_rng(0)
    for name in EMOTIONS:
        for split, count in (("train", 2), ("validation", 1), ("test", 1)):
            for i in range(count):
                path = folder / split / name / f"im{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(path), rng.integers(0, 256, (48, 48), dtype=np.uint8))
    return folder


def test_tfds_s_own_checks_of_a_builder(tmp_path: Path, tfds: Any) -> None:
    from ferjax.data.tfds_builder import Fer2013

    class Checks(tfds.testing.DatasetBuilderTestCase):  # type: ignore[misc, name-defined]
        DATASET_CLASS = Fer2013
        SPLITS = {"train": 14, "validation": 7, "test": 7}  # noqa: RUF012
        BUILDER_CONFIG_NAMES_TO_TEST = ["official"]  # noqa: RUF012
        SKIP_CHECKSUMS = True
        EXAMPLE_DIR = str(make_source(tmp_path))

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Checks).run(result)
    assert not [text for _, text in result.errors + result.failures]
    assert result.testsRun - len(result.skipped) >= 4


def test_the_prepared_folder_loads_with_tfds(tmp_path: Path, tfds: Any) -> None:
    source = make_source(tmp_path / "source")
    (source / "train/happy/im0.png").rename(source / "train/happy" / os.fsdecode(b"\xe9.png"))
    out = prepare(source, tmp_path / "out", with_tfds=True).path
    faces = load(out)
    data_dir = str(out / "tfds")
    for split in ("train", "validation"):
        rows = np.flatnonzero(faces.in_split(split))
        wanted = {(faces.names[r], int(faces.labels[r]), faces.images[r].tobytes()) for r in rows}
        at_random = tfds.data_source("fer2013/official", data_dir=data_dir, split=split)
        stream = tfds.load("fer2013/official", data_dir=data_dir, split=split).as_numpy_iterator()
        for examples in (at_random, stream):
            assert wanted == {
                (os.fsdecode(e["name"]), int(e["label"]), e["image"].tobytes()) for e in examples
            }


def test_the_builder_reads_a_manual_download(tmp_path: Path, tfds: Any) -> None:
    from ferjax.data.tfds_builder import Fer2013

    make_source(tmp_path / "manual" / "archive")
    builder = Fer2013(data_dir=tmp_path / "data", config="card")
    config = tfds.download.DownloadConfig(manual_dir=tmp_path / "manual")
    builder.download_and_prepare(download_config=config)
    assert builder.info.features["label"].names == list(EMOTIONS)
    assert sum(split.num_examples for split in builder.info.splits.values()) == 28


def test_votes_and_their_classes_are_carried(tmp_path: Path, tfds: Any) -> None:
    source = make_source(tmp_path / "source")
    for name in EMOTIONS:  # names that are unique, for the votes to find
        for i, path in enumerate(sorted((source / "train" / name).iterdir())):
            path.rename(path.with_name(f"{name}{i}.png"))
    lines = [f"{name}{i}.png,{7 - i},{','.join('1' * 8)}" for name in EMOTIONS for i in range(2)]
    votes = tmp_path / "votes.csv"
    votes.write_text("\n".join([f"image,contempt,{','.join(EMOTIONS)},unknown", *lines]))
    out = prepare(source, tmp_path / "out", votes=votes, classes=8, with_tfds=True).path
    faces = load(out)
    assert faces.votes is not None
    counts = dict(zip(faces.names, faces.votes.counts.tolist()))
    assert counts["train/sad/sad1.png"] == [6.0] + [1.0] * 8
    # Whether or not the builder is imported, which knows FER2013's seven classes.
    for builder in (
        tfds.builder("fer2013/official", data_dir=str(out / "tfds")),
        tfds.builder_from_directory(str(out / "tfds/fer2013/official/1.0.0")),
    ):
        assert builder.info.features["label"].names == list(faces.class_names)
        assert list(builder.info.metadata["vote_names"]) == list(faces.votes.names)
        for example in builder.as_dataset(split="train").as_numpy_iterator():
            assert example["votes"].tolist() == counts[os.fsdecode(example["name"])]
            label = faces.class_names[int(example["label"])]
            assert os.fsdecode(example["name"]).split("/")[1] == label
