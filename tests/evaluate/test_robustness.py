"""The robustness suite: what is corrupted how, and errors in relation to a baseline."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferjax.errors import DataError
from ferjax.evaluate.corruptions import CORRUPTIONS, OCCLUSIONS, SEVERITIES, corrupt, occlude
from ferjax.evaluate.robustness import (
    BASELINE,
    mean_corruption_errors,
    read_baseline,
    robustness,
)

from ..train.conftest import make_faces
from .conftest import Stub

FACES = make_faces(train=1, validation=40).take(np.arange(1, 41))


class Bright(Stub):
    """Says class 0 or 1 by the mean of an image's left half, so that corruptions matter."""

    def predict_proba(self, images: Any, **_: Any) -> Any:
        left = np.asarray(images)[:, :, :6].mean((1, 2))
        return np.eye(7, dtype=np.float32)[(left > 100).astype(int)]


LABELS = Bright().predict_proba(FACES.images).argmax(1)


def report(path: Path, *, clean: float = 0.9, value: float = 0.5, checksum: str = "abc") -> Path:
    robust = {
        "checksum": checksum,
        "clean": clean,
        "corruptions": {name: [value] * 5 for name in CORRUPTIONS},
    }
    path.write_text(json.dumps({"weights": {"name": "other.h5"}, "robustness": robust}))
    return path


def test_accuracies_are_those_of_predictions_on_corrupted_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ferjax.evaluate.robustness.CHUNK", 7)  # as if they did not fit at once
    steps: list[tuple[int, int, str]] = []
    found = robustness(
        Bright(),
        FACES.images,
        LABELS,
        checksum="abc",
        seed=3,
        progress=lambda *step: steps.append(step),
    )
    assert found.clean == 1
    assert list(found.corruptions) == list(CORRUPTIONS)
    for name in CORRUPTIONS:
        for severity in SEVERITIES:
            images = corrupt(FACES.images, name, severity, seed=3)
            wanted = float((Bright().predict_proba(images).argmax(1) == LABELS).mean())
            assert found.corruptions[name][severity - 1] == wanted
    for name in OCCLUSIONS:
        images = occlude(FACES.images, name)
        wanted = float((Bright().predict_proba(images).argmax(1) == LABELS).mean())
        assert found.occlusions[name] == wanted
    assert found.mean == pytest.approx(np.mean(list(found.corruptions.values())))
    assert 0.2 < found.mean < 1
    assert steps[-1] == (40 * (5 * len(CORRUPTIONS) + len(OCCLUSIONS) + 1),) * 2 + (
        "corrupted images",
    )
    # Ferjax's own baseline is of other images.
    assert found.baseline is None
    assert found.mean_corruption_error is None
    assert json.dumps(found.to_json(), allow_nan=False)


def test_the_error_of_a_network_relative_to_itself_is_one(tmp_path: Path) -> None:
    labels = np.where(np.arange(len(LABELS)) < 8, 6, LABELS)  # errors that nothing removes
    first = robustness(Bright(), FACES.images, labels, checksum="abc")
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"weights": {"name": "b.h5"}, "robustness": first.to_json()}))
    again = robustness(Bright(), FACES.images, labels, checksum="abc", baseline=path)
    assert again.baseline == "b.h5"
    assert again.mean_corruption_error == pytest.approx(1)


def test_mean_corruption_errors_by_hand() -> None:
    baseline = {"clean": 0.8, "corruptions": {"fog": (0.6, 0.4), "snow": (0.7, 0.5)}}
    mce, relative = mean_corruption_errors(0.9, {"fog": (0.8, 0.6), "snow": (0.7, 0.5)}, baseline)
    # fog: (0.2 + 0.4) / (0.4 + 0.6); snow: 1
    assert mce == pytest.approx((0.6 + 1) / 2)
    # fog: (0.1 + 0.3) / (0.2 + 0.4); snow: (0.2 + 0.4) / (0.1 + 0.3)
    assert relative == pytest.approx((0.4 / 0.6 + 0.6 / 0.4) / 2)


def test_a_baseline_that_loses_nothing_leaves_the_relative_error_undefined() -> None:
    baseline = {"clean": 0.5, "corruptions": {"fog": (0.5, 0.5)}}
    assert mean_corruption_errors(0.5, {"fog": (0.4, 0.3)}, baseline) == (
        pytest.approx(1.3),
        None,
    )


def test_a_perfect_baseline_gives_no_error_to_compare_with() -> None:
    baseline = {"clean": 1.0, "corruptions": {"fog": (1.0, 1.0)}}
    assert mean_corruption_errors(0.5, {"fog": (0.4, 0.3)}, baseline) == (None, None)


def test_the_stored_baseline_is_complete() -> None:
    found = read_baseline(BASELINE)
    assert found["name"] == "fer_cnn5.h5"
    assert found["clean"] == pytest.approx(2398 / 3589)
    assert set(found["corruptions"]) == set(CORRUPTIONS)


def test_a_baseline_beyond_the_bound_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("{}")
    os.truncate(path, (64 << 20) + 1)  # takes no place on the disk
    with pytest.raises(DataError, match=r"expected the report\.json of"):
        read_baseline(path)


def test_a_baseline_of_other_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"report.json: was measured on other images"):
        robustness(
            Bright(),
            FACES.images,
            LABELS,
            checksum="def",
            baseline=report(tmp_path / "report.json"),
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("{", "expected the report.json"),
        ("[]", "expected the report.json"),
        ('{"weights": {"name": "x"}, "robustness": null}', "without robustness; evaluate with"),
        ('{"weights": {"name": "x"}, "robustness": {"clean": 1}}', "expected the report.json"),
    ],
)
def test_what_is_no_baseline(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "base.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_baseline(path)
