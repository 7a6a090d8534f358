"""Trainings with several seeds: what is compared, and what cannot be."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from ferjax import metadata
from ferjax.errors import DataError
from ferjax.evaluate.seeds import compare_seeds


def training(seed: int, correct: int, flipped: int | None = None) -> dict[str, Any]:
    accuracy = [metadata.accuracy("PublicTest", correct, 200, 0.9, note="")]
    if flipped is not None:
        accuracy.append(metadata.accuracy("PublicTest", flipped, 200, 0.9, view="flip", note=""))
    return {
        "architecture": "fer_cnn5",
        "source": "trained by ferjax 0.1.0 from scratch",
        "trained_on": {"data": "Training", "images": 1000, "checksum": "0a"},
        "selected_on": {"data": "PublicTest", "images": 200},
        "accuracy": accuracy,
        "training": {"recipe": {"name": "fast", "seed": seed, "epochs": 20}, "epoch": 10 + seed},
    }


def write(folder: Path, found: Any) -> Path:
    path = folder / f"{len(list(folder.iterdir()))}.metadata.json"
    path.write_text(json.dumps(found))
    return path


def test_nothing_to_compare() -> None:
    assert compare_seeds({}, []) is None


def test_figures_are_in_the_order_of_seeds(tmp_path: Path) -> None:
    others = [write(tmp_path, training(2, 120)), write(tmp_path, training(0, 130, 132))]
    found = compare_seeds(training(1, 125, 126), others)
    assert found == {
        "trainings": [
            {"seed": 0, "epoch": 10, "this": False},
            {"seed": 1, "epoch": 11, "this": True},
            {"seed": 2, "epoch": 12, "this": False},
        ],
        "figures": [
            {
                "dataset": "PublicTest",
                "images": 200,
                "view": "single",
                "note": "",
                "labels": None,
                "prior": None,
                "accuracies": [0.65, 0.625, 0.6],
                "mean": pytest.approx(0.625),
                "deviation": pytest.approx(0.025),
            },
            {
                "dataset": "PublicTest",
                "images": 200,
                "view": "flip",
                "note": "",
                "labels": None,
                "prior": None,
                "accuracies": [0.66, 0.63, None],
                "mean": None,
                "deviation": None,
            },
        ],
        "rank": 2,
        "ranked_by": None,
    }


def test_weights_are_ranked_by_the_labels_that_they_were_selected_by(tmp_path: Path) -> None:
    people = "majority of people, 7 classes"

    def voted(seed: int, correct: int, agreeing: int) -> dict[str, Any]:
        made = training(seed, correct)
        made["selected_on"]["labels"] = people
        uniform, plain = (
            metadata.accuracy("PublicTest", n, 180, None, note="", labels=people, prior=prior)
            for n, prior in ((agreeing % 100, "uniform"), (agreeing, None))
        )
        made["accuracy"] += [uniform, plain]
        return made

    others = [write(tmp_path, voted(2, 140, 160)), write(tmp_path, voted(0, 130, 140))]
    found = compare_seeds(voted(1, 120, 150), others)
    assert found is not None
    assert (found["rank"], found["ranked_by"]) == (2, people)  # by its own labels it is the third


def test_other_labels_are_other_figures(tmp_path: Path) -> None:
    mine, other = training(1, 125, 126), training(2, 120, 121)
    majority = "majority of people, 7 classes"
    for known in (mine, other):
        known["accuracy"][1].update(view="single", labels=majority)
    other["accuracy"].reverse()
    found = compare_seeds(mine, [write(tmp_path, other)])
    assert found is not None
    assert [figure["labels"] for figure in found["figures"]] == [
        None,
        "majority of people, 7 classes",
    ]
    assert [figure["accuracies"] for figure in found["figures"]] == [[0.625, 0.6], [0.63, 0.605]]
    other["accuracy"] = [{**entry, "prior": "uniform"} for entry in other["accuracy"]]
    found = compare_seeds(mine, [write(tmp_path, other)])
    assert found is not None
    assert [figure["mean"] for figure in found["figures"]] == [None, None]


def test_what_was_measured_on_other_images_is_no_figure(tmp_path: Path) -> None:
    other = training(0, 130)
    other["accuracy"][0]["images"] = 190
    found = compare_seeds(training(1, 125), [write(tmp_path, other)])
    assert found is not None
    assert found["figures"][0]["accuracies"] == [None, 0.625]
    assert found["rank"] is None


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        (("training", "recipe", "epochs"), "recipe's epochs"),
        (("trained_on", "checksum"), "trained_on"),
        (("selected_on", "images"), "selected_on"),
        (("source",), "source"),
        (("training", "teachers"), "teachers"),
    ],
)
def test_another_training_is_refused(tmp_path: Path, keys: tuple[str, ...], name: str) -> None:
    other = inner = copy.deepcopy(training(0, 130))
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = [{"file": "a.h5", "sha256": "1f"}] if name == "teachers" else "other"
    with pytest.raises(DataError, match=f"not the same training, its {name} differs"):
        compare_seeds(training(1, 125), [write(tmp_path, other)])


def started(seed: int, before: dict[str, Any] | None, sha256: str = "1f") -> dict[str, Any]:
    found = training(seed, 120 + seed)
    found["training"]["started_from"] = {"file": "best.h5", "sha256": sha256}
    if before is not None:
        found["training"]["started_from"]["training"] = before["training"]
    return found


def test_trainings_that_went_on_from_other_seeds(tmp_path: Path) -> None:
    other = write(tmp_path, started(0, training(3, 1), "2e"))
    found = compare_seeds(started(1, training(4, 1)), [other])
    assert found is not None
    assert [t["seed"] for t in found["trainings"]] == [0, 1]


def test_trainings_that_went_on_from_the_same_weights(tmp_path: Path) -> None:
    assert compare_seeds(started(1, None), [write(tmp_path, started(0, None))]) is not None


@pytest.mark.parametrize(
    ("other", "name"),
    [
        (training(0, 130), "start"),
        (started(0, None), "start"),
        (started(0, started(2, training(3, 1))), "start"),
        (started(0, {"training": {"recipe": {"name": "fast", "epochs": 9}}}), "recipe's epochs"),
        (started(0, {"training": {}}), "recipe's epochs"),
        (started(0, {"training": 1}), "start"),
    ],
)
def test_trainings_that_went_on_from_others(
    tmp_path: Path, other: dict[str, Any], name: str
) -> None:
    with pytest.raises(DataError, match=f"not the same training, its {name} differs"):
        compare_seeds(started(1, training(4, 1)), [write(tmp_path, other)])


def test_trainings_that_went_on_from_other_weights(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not the same training, its start differs"):
        compare_seeds(started(1, None), [write(tmp_path, started(0, None, "2e"))])


def taught(seed: int, teacher: dict[str, Any], sha256: str) -> dict[str, Any]:
    found = training(seed, 120 + seed)
    found["training"]["teachers"] = [{"file": "best.h5", "sha256": sha256, **teacher}]
    return found


def test_trainings_taught_by_other_seeds(tmp_path: Path) -> None:
    other = write(tmp_path, taught(0, training(3, 1), "2e"))
    assert compare_seeds(taught(1, training(4, 1), "1f"), [other]) is not None


@pytest.mark.parametrize(
    "teacher",
    [
        {},
        {**training(3, 1), "trained_on": {"data": "other"}},
        {"training": {"recipe": {"name": "slow", "seed": 3, "epochs": 20}}},
        started(3, None),
    ],
)
def test_trainings_taught_by_others(tmp_path: Path, teacher: dict[str, Any]) -> None:
    other = write(tmp_path, taught(0, teacher, "2e"))
    with pytest.raises(DataError, match="not the same training, its teachers differs"):
        compare_seeds(taught(1, training(4, 1), "1f"), [other])


def test_one_seed_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one training of each seed, got seeds \[1, 1\]"):
        compare_seeds(training(1, 125), [write(tmp_path, training(1, 130))])


@pytest.mark.parametrize(
    "found", [None, [], {}, {"training": {"recipe": {"seed": 0}}, "accuracy": []}, {"training": 1}]
)
def test_what_is_no_metadata_of_a_training(tmp_path: Path, found: Any) -> None:
    with pytest.raises(DataError, match=r"0\.metadata\.json: expected the metadata of `ferjax tr"):
        compare_seeds(training(1, 125), [write(tmp_path, found)])
    with pytest.raises(DataError, match="the weights: expected the metadata"):
        compare_seeds({} if found is None else found, [write(tmp_path, training(0, 130))])


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        compare_seeds(training(1, 125), [tmp_path / "none.json"])
