"""The comparison of recipes: its table, its runs, going on where it stopped."""

from __future__ import annotations

import dataclasses
import doctest
import functools
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ferjax
from ferjax import keras, metadata
from ferjax.data.votes import Votes

from .conftest import RunScript, ScriptDone
from .networks import drawn, tiny, tiny_graph
from .train.conftest import make_faces, prepared, write_config

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))
ablations = importlib.import_module("ablations")
Run = ablations.Run


def test_the_examples_in_its_docstrings() -> None:
    assert doctest.testmod(ablations).failed == 0


def test_a_change_is_given_with_its_difference_and_the_error_of_that() -> None:
    # Within the groups the deviations are +-1, +-1 and +-2 points: the variance is
    # (2 + 2 + 8) / 3 = 4, so a difference of two means of two has the error 2 * sqrt(1/2 + 1/2).
    runs = [
        Run(change, seed, value / 100)
        for change, values in (("", (59, 61)), ("a=1", (63, 61)), ("b=2 c=3", (55, 59)))
        for seed, value in enumerate(values)
    ]
    assert ablations.table(runs).splitlines() == [
        "| change | accuracy, % | difference, points | seeds |",
        "|---|---|---|---|",
        "| none | 60.00 |  | 59.0, 61.0 |",
        "| `a=1` | 62.00 | +2.00 ± 2.00 | 63.0, 61.0 |",
        "| `b=2 c=3` | 57.00 | -3.00 ± 2.00 | 55.0, 59.0 |",
    ]


def test_one_seed_has_no_error() -> None:
    table = ablations.table([Run("", 0, 0.5), Run("a=1", 0, 0.4)])
    assert table.endswith("| `a=1` | 40.00 | -10.00 | 40.0 |")


def test_what_is_measured_against_votes_by_hand() -> None:
    def against(balanced: float, own: float, uniform: float | None = None) -> Any:
        recalls = {"tense": balanced / 2, "calm": balanced, "glad": 1.0}
        return ablations.VoteFigures(balanced, uniform, uniform, own, recalls)

    runs = [
        Run("", 0, 0.75, against(0.5, 0.25)),
        Run("", 1, 0.25, against(0.25, 0.75)),
        Run("a=1", 0, 0.5, against(0.5, 0.5, 0.375)),
    ]
    assert ablations.table(runs).splitlines() == [
        "| change | majority, % | difference, points | seeds | balanced, % | uniform prior, % | "
        "balanced so, % | own labels, % | recall of tense, % | recall of calm, % |",
        "|---|---|---|---|---|---|---|---|---|---|",
        "| none | 50.00 |  | 75.0, 25.0 | 37.50 |  |  | 50.00 | 18.75 | 37.50 |",
        "| `a=1` | 50.00 | +0.00 ± 43.30 | 50.0 | 50.00 | 37.50 | 37.50 | 50.00 | 25.00 | 50.00 |",
    ]


@pytest.fixture
def script(run_script: RunScript) -> Callable[..., ScriptDone]:
    return functools.partial(run_script, ablations)


@pytest.mark.parametrize(
    ("early_stopping", "is_through"), [("early_stopping=2", True), ("early_stopping=none", False)]
)
def test_a_run_of_fewer_epochs_is_through_where_it_stopped_early(
    tmp_path: Path,
    script: Callable[..., ScriptDone],
    monkeypatch: pytest.MonkeyPatch,
    early_stopping: str,
    is_through: bool,
) -> None:
    def run(trainings: list, jobs: int, ended: Callable[..., None]) -> None:
        for one in trainings:
            one.run.mkdir(parents=True)
            rows = "epoch,val_accuracy\n1,0.25\n2,0.5\n3,0.25\n"
            (one.run / "log.csv").write_text(rows, encoding="utf-8")
            (one.run / "last.h5").touch()
            ended(one, 0)

    monkeypatch.setattr(ablations.trainings, "run", run)
    data = prepared(tmp_path / "data", make_faces())
    call = ["--data", data, "--out", tmp_path / "out", "--seeds", "0"]
    done = script(*call, "--set", "epochs=10", early_stopping)
    assert done.returncode == (0 if is_through else 2)
    assert ("| none | 25.00 |" in done.stdout) == is_through
    assert ("the run failed" in done.stderr) != is_through


def test_all_changes_are_measured_against_the_majority(
    tmp_path: Path, script: Callable[..., ScriptDone], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those too that were trained on the images' own labels, by which their log is."""
    network = tiny()

    def run(trainings: list, jobs: int, ended: Callable[..., None]) -> None:
        for seed, one in enumerate(trainings):
            one.run.mkdir(parents=True)
            (one.run / "log.csv").write_text("epoch,val_accuracy\n1,0.5\n", encoding="utf-8")
            path = one.run / "last.h5"
            keras.save(path, network, drawn(network, seed), labels=ferjax.EMOTIONS)
            metadata.write(path, {"labels": ferjax.EMOTIONS})
            ended(one, 0)

    monkeypatch.setattr(ablations.trainings, "run", run)
    faces = make_faces(64, 64)
    said = np.where(np.arange(128) % 3 == 0, (faces.labels + 1) % 7, faces.labels)
    votes = Votes(counts=10 * np.eye(7, dtype=np.float32)[said], names=ferjax.EMOTIONS)
    data = prepared(tmp_path / "data", dataclasses.replace(faces, votes=votes))
    out, keys = tmp_path / "out", ["--set", "epochs=1", "warmup_epochs=0", "init=weights.h5"]
    call = ["votes=0", "--data", data, "--out", out, "--recipe", "votes", "--seeds", "0", *keys]
    done = script(*call)
    assert done.returncode == 0, done.stderr
    for name, row in (("base.0", 2), ("votes=0.0", 3)):
        guessed = ferjax.load(out / name / "last.h5").predict_proba(faces.images[64:]).argmax(1)
        hits = guessed == said[64:]
        recalls = [hits[said[64:] == k].mean() for k in np.unique(said[64:])]
        own = (guessed == faces.labels[64:]).mean()
        cells = [cell.strip() for cell in done.stdout.splitlines()[row].split("|")]
        assert cells[2] == f"{100 * hits.mean():.2f}"
        assert cells[5:9] == [f"{100 * np.mean(recalls):.2f}", "", "", f"{100 * own:.2f}"]
    assert script("--table", out / "ablations.json").stdout == done.stdout
    assert script(*call).stdout == done.stdout  # nothing is trained again
    turned = Votes(counts=votes.counts[:, ::-1].copy(), names=ferjax.EMOTIONS)
    other = prepared(tmp_path / "other", dataclasses.replace(faces, votes=turned))
    refused = script(*call, "--data", other)
    assert refused.returncode == 2
    assert "votes" in refused.stderr and "give another --out" in refused.stderr


@pytest.mark.slow
def test_runs_are_trained_once_and_compared(
    tmp_path: Path, script: Callable[..., ScriptDone]
) -> None:
    data = prepared(tmp_path / "data", make_faces())
    network = write_config(tmp_path / "tiny.json", tiny_graph())
    out = tmp_path / "runs"
    call = ["--data", data, "--set", f"architecture={network}", "epochs=1", "--out", out]
    call += ["--seeds", "1", "--jobs", "2"]
    first = script("learning_rate=1e-5", *call)
    assert first.returncode == 0, first.stderr
    assert "(2 of 2, about 0 min left)" in first.stderr
    rows = first.stdout.splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| none", "| `learning_rate=1e-5`"]
    settings = json.loads((out / "learning_rate=1e-5.1" / "run.json").read_text(encoding="utf-8"))
    assert (settings["recipe"]["learning_rate"], settings["recipe"]["seed"]) == (1e-5, 1)
    accuracy = (out / "base.1" / "log.csv").read_text().splitlines()[-1].split(",")[6]
    assert rows[0].split(" | ")[1] == f"{100 * float(accuracy):.2f}"

    # What has been trained is not trained again.
    again = script("learning_rate=1e-5", f"epochs=2 teacher={out / 'base.1' / 'last.h5'}", *call)
    assert again.returncode == 0, again.stderr
    assert "(1 of 1, about 0 min left)" in again.stderr
    assert again.stdout.splitlines()[2:4] == rows
    (taught,) = out.glob("epochs=2_teacher=*.1/run.json")
    assert json.loads(taught.read_text(encoding="utf-8"))["teachers"][0]["file"] == "last.h5"
    assert script("--table", out / "ablations.json").stdout == again.stdout

    # Of another recipe or other images it would be another comparison.
    other = prepared(tmp_path / "other", make_faces(seed=1))
    for changed, message in (
        (["--set", "batch_size=8"], "batch_size: 64, 8"),
        (["--set", "architecture=other.json"], f"architecture: {network}, other.json"),
        (["--set", "teacher=other.h5"], "teacher: None, other.h5"),
        (["--data", other], "checksum"),
    ):
        refused = script("learning_rate=1e-5", *call, *changed)
        assert refused.returncode == 2
        assert "give another --out" in refused.stderr
        assert message in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "d"], "expected --data and --out"),
        (["learning_rat=1", "--data", "d", "--out", "o"], "did you mean"),
        (["--table", "gone.json"], "gone.json"),
        (["--table", __file__], "not the results of a comparison"),
        (["--jobs", "0"], "expected a positive integer, got '0'"),
        (["unclear='own", "--data", "d", "--out", "o"], "expected key=value with quotes in pairs"),
        (["--seeds", "a"], "expected numbers such as 0,1, got 'a'"),
    ],
)
def test_mistakes_exit_with_2(
    script: Callable[..., ScriptDone], arguments: list[str], message: str
) -> None:
    done = script(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
