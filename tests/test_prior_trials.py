"""The measurement of what a prior is worth: its mixes, and a run on a few faces."""

from __future__ import annotations

import doctest
import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ferjax
from ferjax.data import Faces
from ferjax.data.votes import Votes
from ferjax.errors import DataError

from .conftest import ROOT
from .evaluate.conftest import Stub
from .train.conftest import prepared

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


def test_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of disgusted faces the network says angry; by a uniform prior, of angry ones disgust."""
    frequencies = dict.fromkeys(ferjax.EMOTIONS, 0.1196) | {"angry": 0.4, "disgust": 0.002}
    monkeypatch.setattr(
        prior_trials.ferjax, "load", lambda _: Stub(1.0, training_frequencies=frequencies)
    )
    labels = np.array([0, 0, 0, 1, 1, 2, 3, 4, 5, 6], np.int32)
    said = np.array([0, 0, 0, 0, 0, 2, 3, 4, 5, 6], np.uint8)
    faces = Faces(
        images=said[:, None, None].repeat(12, 1).repeat(12, 2),
        labels=labels,
        splits=np.ones(10, np.int8),
        names=tuple(f"face {row}" for row in range(10)),
        class_names=ferjax.EMOTIONS,
        source_sizes=np.full((10, 2), 12, np.int32),
    )
    data = prepared(tmp_path / "data", faces) / "faces.npz"
    with pytest.warns(UserWarning, match="below 100 it is mostly chance"):
        assert prior_trials.main(["--data", str(data), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    whole = results["mixes"]["as it is"]
    assert whole["images"] == 10
    for prior, accuracy in (("training", 0.8), ("uniform", 0.7)):
        figures = whole["figures"][prior]
        assert figures["accuracy"] == pytest.approx(accuracy)
        assert figures["balanced_accuracy"] == pytest.approx(6 / 7)
    assert whole["shares"]["angry"] == 0.3
    assert sum(whole["estimated"].values()) == pytest.approx(1)
    text = prior_trials.table(results)
    assert "| as it is | 10 | 80.0 (85.7) | 70.0 (85.7) | " in text
    assert "as it is, estimated in %: angry " in text


def test_the_majority_of_people_may_be_what_is_right() -> None:
    faces = Faces(
        images=np.zeros((4, 12, 12), np.uint8),
        labels=np.zeros(4, np.int32),
        splits=np.ones(4, np.int8),
        names=tuple("abcd"),
        class_names=("angry", "happy"),
        source_sizes=np.full((4, 2), 12, np.int32),
    )
    with pytest.raises(DataError, match="expected votes for --truth majority"):
        prior_trials.by_majority(faces)
    counts = np.array([[8, 2], [2, 8], [5, 5], [0, 10]], np.float32)
    asked = replace(faces, votes=Votes(counts=counts, names=("angry", "happy")))
    taken = prior_trials.by_majority(asked)
    assert taken.names == ("a", "b", "d")  # of the third nothing is said by more than half
    assert taken.labels.tolist() == [0, 1, 1]
