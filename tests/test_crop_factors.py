"""The measurement of crop factors: paired differences, geometry, and a run on a few faces."""

from __future__ import annotations

import doctest
import importlib
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import ferjax
from ferjax.data import Faces
from ferjax.faces import Detection
from ferjax.keras import save

from .conftest import ROOT, RunScript
from .networks import drawn, tiny
from .train.conftest import prepared

sys.path.insert(0, str(ROOT / "scripts"))
publictest, crop_factors = (importlib.import_module(m) for m in ("publictest", "crop_factors"))


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network for 48x48 faces, not trained."""
    network = tiny(size=48)
    path = tmp_path_factory.mktemp("weights") / "tiny.h5"
    save(path, network, drawn(network), labels=ferjax.EMOTIONS)
    return path


@pytest.fixture
def astronauts(tmp_path: Path) -> Path:
    """Prepared data of the example's face, four times, and of a gray image, for validation."""
    face = cv2.imread(str(ROOT / "examples" / "astronaut.png"), cv2.IMREAD_GRAYSCALE)
    assert face is not None
    face = cv2.resize(face[24:136, 24:136], (48, 48), interpolation=cv2.INTER_AREA)
    images = [face, face[:, ::-1], face // 2 + 64, face // 2, np.full((48, 48), 128)]
    faces = Faces(
        images=np.array(images, np.uint8),
        labels=np.array([3, 3, 3, 3, 4], np.int32),
        splits=np.ones(5, np.int8),
        names=tuple("abcde"),
        class_names=ferjax.EMOTIONS,
        source_sizes=np.full((5, 2), 48, np.int32),
    )
    return prepared(tmp_path / "data", faces) / "faces.npz"


def test_a_difference_is_paired_and_has_its_interval() -> None:
    ours = np.array([True] * 60 + [False] * 40)
    theirs = np.array([True] * 50 + [False] * 50)
    found = publictest.difference(ours, theirs)
    assert found.points == 10.0
    # Ten of a hundred images were gained and none was lost: binomial, 0.1 +- 1.96 * 0.03.
    assert found.low == pytest.approx(4.1, abs=1.2)
    assert found.high == pytest.approx(15.9, abs=1.2)
    assert str(publictest.difference(ours, ours)) == "+0.0 (+0.0 to +0.0)"


def test_a_face_moves_with_its_image() -> None:
    landmarks = np.arange(10, dtype=np.float32).reshape(5, 2)
    face = Detection(box=(10, 20, 30, 40), landmarks=landmarks)
    assert crop_factors.moved(face, lower=0.1).box == (10, 24, 30, 40)
    half = crop_factors.moved(face, scale=0.5)
    assert half.box == (5, 10, 15, 20)
    assert half.landmarks[4].tolist() == [4.0, 4.5]


def test_noise_has_its_deviation_and_is_the_same_again() -> None:
    gray = np.full((64, 64), 128, np.uint8)
    first, second = (crop_factors.noisy(gray, 10, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.std() == pytest.approx(10, rel=0.05)
    assert crop_factors.noisy(gray, 0, np.random.default_rng(3)) is gray


def test_a_small_run(run_script: RunScript, tiny_weights: Path, astronauts: Path) -> None:
    options = ("--data", astronauts, "--weights", tiny_weights)
    done = run_script(crop_factors, *options, "--json")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert (results["count"], results["found"]) == (5, 4)
    assert results["geometry"]["height"] == pytest.approx(1.0, abs=0.2)
    rows = [(row["side"], row["lower"]) for row in results["crops"]]
    assert rows == list(crop_factors.SETTINGS)
    assert [(row["size"], row["noise"]) for row in results["resizes"]] == [
        (150, 0),
        (150, 10),
        (300, 0),
        (300, 10),
    ]
    for row in results["crops"]:
        assert row["difference"]["points"] == pytest.approx(row["accuracy"] - results["as_it_is"])
    text = crop_factors.table(crop_factors_from(results))
    assert "4 images show a face" in text
    assert "| 1, centre 0.03 h lower | " in text


def crop_factors_from(results: dict) -> dict:
    """The figures as `measure` returns them."""

    def rows(kind: type, name: str) -> list:
        return [
            kind(**{**row, "difference": publictest.Difference(**row["difference"])})
            for row in results[name]
        ]

    crops = rows(crop_factors.Crops, "crops")
    return {**results, "crops": crops, "resizes": rows(crop_factors.Resizes, "resizes")}


def test_mistakes_are_one_line(run_script: RunScript, tmp_path: Path) -> None:
    done = run_script(crop_factors, "--data", tmp_path / "gone.zip")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("crop_factors: error: ") and "gone.zip" in line
    assert run_script(crop_factors, "--data", tmp_path, "--limit", "none").returncode == 2


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(publictest)
    assert result.attempted > 0 and result.failed == 0
