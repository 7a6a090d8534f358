"""The measurement of what a prior is worth: its mixes, and a run on a few faces."""

from __future__ import annotations

import doctest
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import ferjax

from .conftest import ROOT
from .train.conftest import make_faces, prepared

sys.path.insert(0, str(ROOT / "scripts"))
prior_trials = importlib.import_module("prior_trials")


def test_mixes() -> None:
    labels = np.repeat(np.arange(7), 500)
    everything, ordinary, equal = (
        prior_trials.mix(kind, labels, ferjax.EMOTIONS, seed=0) for kind in prior_trials.MIXES
    )
    assert (everything == np.arange(3500)).all()
    counts = np.bincount(labels[ordinary])
    assert counts[3] == counts[4] == 500  # happy, neutral
    assert all(10 <= counts[k] <= 55 for k in (0, 1, 2, 5, 6))
    few = np.concatenate([labels, [0] * 100])[40:]
    equal = prior_trials.mix(prior_trials.MIXES[2], few, ferjax.EMOTIONS, seed=0)
    assert np.bincount(few[equal]).tolist() == [500] * 7
    assert len(set(equal.tolist())) == len(equal)
    assert doctest.testmod(prior_trials).failed == 0


def test_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces = make_faces(7, 60, size=48)
    data = prepared(tmp_path / "data", faces) / "faces.npz"
    with pytest.warns(UserWarning, match="below 100 it is mostly chance"):
        assert prior_trials.main(["--data", str(data), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    whole = results["mixes"]["as it is"]
    assert whole["images"] == 60
    part = faces.take(faces.in_split("validation"))
    classifier = ferjax.load()
    for prior in ("training", "uniform"):
        said = classifier.predict_proba(part.images, prior=prior).argmax(1)
        accuracy = (said == part.labels).mean()
        assert whole["figures"][prior]["accuracy"] == pytest.approx(accuracy)
    assert sum(whole["estimated"].values()) == pytest.approx(1)
    text = prior_trials.table(results)
    assert "| as it is | 60 | " in text
    assert "as it is, estimated in %: angry " in text
