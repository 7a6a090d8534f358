"""A release: its steps, the median seed, going on where it stopped."""

from __future__ import annotations

import doctest
import functools
import importlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import ferjax
from ferjax import digests, metadata

from .conftest import RunScript, ScriptDone
from .networks import tiny_graph
from .train.conftest import make_faces, prepared, write_config

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))
release = importlib.import_module("release")
trainings = importlib.import_module("trainings")


@pytest.mark.parametrize("module", [release, trainings])
def test_the_examples_in_docstrings(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_the_median_of_equal_accuracies_is_the_one_in_the_middle_by_seed() -> None:
    assert release.median({7: 0.5, 3: 0.5, 5: 0.5}) == 5
    assert release.median({0: 0.9, 1: 0.1, 2: 0.1, 3: 0.5, 4: 0.7}) == 3
    assert release.median({4: 0.1}) == 4


def test_each_seed_may_start_from_and_learn_from_its_own_weights() -> None:
    call = ["--data", "d", "--recipe", "fine-tune", "--init", "s{seed}.h5", "--licence", "MIT"]
    call += ["--teacher", "t{seed}.h5", "u.h5", "--set", "epochs=2", "--out", "o"]
    found = release.training(release.build_parser().parse_args(call), 2)
    expected = "--data d --recipe fine-tune --init s2.h5 --teacher t2.h5 u.h5 --licence MIT"
    assert " ".join(found.arguments) == f"{expected} --set epochs=2 seed=2"


@pytest.fixture
def script(run_script: RunScript) -> Callable[..., ScriptDone]:
    return functools.partial(run_script, release)


def commands(done: ScriptDone) -> list[str]:
    """Return the commands of ferjax that were run: their first words."""
    return [line.split()[2] for line in done.stderr.splitlines() if line.startswith("$ ")]


@pytest.mark.slow
def test_three_seeds_are_trained_and_the_median_is_released(
    tmp_path: Path, script: Callable[..., ScriptDone]
) -> None:
    data = prepared(tmp_path / "data", make_faces())
    network = write_config(tmp_path / "tiny.json", tiny_graph())
    out = tmp_path / "out"
    call = ["--data", data, "--recipe", "fast", "--architecture", network, "--out", out]
    call += ["--set", "epochs=8", "learning_rate=1e-2", "augmentation=none", "ema_decay=0"]
    call += ["--jobs", "3", "--name", "tiny", "--no-robustness"]

    # Stopped before anything is trained: it says what to do.
    early = script(*call, "--only", "train", "--minutes", "0.001")
    assert early.returncode == 0, early.stderr
    assert early.stderr.count("stopped; the same command goes on") == 3
    nothing = script(*call, "--only", "release")
    assert nothing.returncode == 2
    assert "train all seeds up to an epoch's end first" in nothing.stderr

    first = script(*call)
    assert first.returncode == 0, first.stderr
    folder = out / "release"
    assert first.stdout.splitlines()[-1] == str(folder)
    found = [metadata.read(out / f"seed{seed}" / "best.h5") for seed in range(3)]
    accuracies = [one["accuracy"][0]["top_1"] for one in found]
    ranked = sorted(range(3), key=lambda seed: (accuracies[seed], seed))
    chosen = ranked[1]
    assert commands(first) == (
        ["train"] * 3 + ["convert", "calibrate"] + ["evaluate"] * 9 + ["card"]
    )

    weights = folder / "tiny.h5"
    released = metadata.read(weights)
    assert released["training"]["recipe"]["seed"] == chosen
    assert released["calibration"]["temperature"] > 0
    assert released["accuracy"][0]["top_1"] == accuracies[chosen]
    for seed in range(3):
        at = weights if seed == chosen else out / f"seed{seed}" / "best.h5"
        views = {one["view"] for one in metadata.read(at)["accuracy"]}
        assert views == {"single", "flip", "ten-crop"}
    assert ferjax.keras.load(weights).network.graph.layers == tiny_graph().layers
    for view in ("", ".flip", ".ten-crop"):
        report = json.loads((folder / "reports" / f"tiny{view}.json").read_text(encoding="utf-8"))
        assert report["weights"]["sha256"] == digests.sha256(weights)
    kept = sorted(path.name for path in (folder / "seeds").iterdir())
    assert kept == [f"tiny.seed{seed}.metadata.json" for seed in range(3) if seed != chosen]
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Other seeds" in card
    assert (folder / "tiny.curves.png").exists()

    # What is through is not done again; the card is written anew from what is there.
    before = weights.read_bytes(), metadata.sidecar(weights).read_bytes()
    again = script(*call)
    assert again.returncode == 0, again.stderr
    assert commands(again) == ["card"]
    assert (folder / "MODEL_CARD.md").read_text(encoding="utf-8") == card

    # A release that is gone is made again, from the same trainings.
    shutil.rmtree(folder)
    anew = script(*call, "--only", "release")
    assert anew.returncode == 0, anew.stderr
    assert commands(anew) == ["convert", "calibrate", *["evaluate"] * 3, "card"]
    assert (weights.read_bytes(), metadata.sidecar(weights).read_bytes()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0,1"], "expected an odd number of seeds"),
        (["--seeds", "0,1,1"], "expected different seeds, got '0,1,1'"),
        (["--jobs", "0"], "expected a positive integer, got '0'"),
        (["--recipe", "flagshi"], "did you mean"),
        (["--set", "learning_rat=1"], "did you mean"),
    ],
)
def test_mistakes_exit_with_2(
    tmp_path: Path, script: Callable[..., ScriptDone], arguments: list[str], message: str
) -> None:
    done = script("--data", tmp_path / "d", "--out", tmp_path / "o", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize(
    "recipe", [["--recipe", "published"], ["--recipe", "fast", "--set", "hold_out=0.2"]]
)
def test_seeds_that_hold_out_other_images_are_refused_before_training(
    tmp_path: Path, script: Callable[..., ScriptDone], recipe: list[str]
) -> None:
    data = prepared(tmp_path / "data", make_faces())
    done = script("--data", data, "--out", tmp_path / "out", *recipe)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "holds out 20% of the training images, other ones with each seed" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["--seeds", "0"], ["--set", "hold_out=0"]])
def test_the_same_images_for_all_seeds_are_taken(
    tmp_path: Path,
    script: Callable[..., ScriptDone],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
) -> None:
    begun: list[str] = []
    monkeypatch.setattr(
        release.trainings, "run", lambda waiting, *_, **__: begun.extend(w.name for w in waiting)
    )
    data = prepared(tmp_path / "data", make_faces())
    call = ["--data", data, "--out", tmp_path / "out", "--only", "train", "--recipe", "published"]
    assert script(*call, *arguments).returncode == 0
    assert begun == ["seed 0", "seed 1", "seed 2"][: 1 if "--seeds" in arguments else 3]


def test_steps_that_cannot_be_read_are_named(
    tmp_path: Path, script: Callable[..., ScriptDone]
) -> None:
    (tmp_path / "steps.json").write_text("[1")
    done = script("--data", prepared(tmp_path / "data", make_faces()), "--out", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "not the steps of a release; remove it" in done.stderr
