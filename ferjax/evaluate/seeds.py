"""Trainings by one recipe with several seeds, compared by the metadata of their weights."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ferjax import metadata
from ferjax.errors import DataError
from ferjax.files import read_json

_MOST_BYTES: Final = 1 << 20
# What an accuracy is of.
_KEYS: Final = ("dataset", "images", "view", "note", "labels", "prior")


def compare_seeds(
    own: Mapping[str, Any], others: Sequence[str | os.PathLike[str]]
) -> dict[str, Any] | None:
    """Return the accuracies of trainings that differ in nothing but the seed.

    Args:
        own: metadata of the weights in question, as `ferjax train` and `ferjax evaluate --record`
            write it.
        others: metadata files of weights of the other seeds.

    Returns:
        None where there are no others. Else "trainings", by seed, each with "seed", "epoch" and
        whether it is "this"; "figures", one for each entry of the weights' own accuracy, with
        "dataset", "images", "view", "note", "labels" and "prior" (None: the dataset's own labels,
        and as the network says), the "accuracies" in the order of the trainings (None
        where one was not measured so), their "mean" and their "deviation" (sample standard
        deviation), None unless all were measured; "rank" of the weights, 1 being the best, by the
        first figure against the labels that they were selected by; and "ranked_by", these labels
        (None: the dataset's own).

    Raises:
        DataError: a file is no such metadata, or of another training than the seed explains.
    """
    if not others:
        return None
    own = _checked(own, "the weights")
    trainings = [own]
    for path in others:
        trainings.append(_read(path))
        if different := _difference(own, trainings[-1]):
            raise DataError(
                f"{path}: not the same training, its {different} differs; only seeds may"
            )
    trainings.sort(key=_seed)
    seeds = [_seed(training) for training in trainings]
    if len(set(seeds)) < len(seeds):
        raise DataError(f"expected one training of each seed, got seeds {seeds}")
    figures = [_figure(entry, trainings) for entry in own["accuracy"]]
    selected = own.get("selected_on")
    labels = selected.get("labels") if isinstance(selected, Mapping) else None
    ranking = next((f for f in figures if f["labels"] == labels and f["prior"] is None), figures[0])
    accuracies = ranking["accuracies"]
    own_accuracy = accuracies[trainings.index(own)]
    rank = None
    if None not in accuracies:
        rank = 1 + sum(accuracy > own_accuracy for accuracy in accuracies)
    return {
        "trainings": [
            {
                "seed": _seed(training),
                "epoch": training["training"].get("epoch"),
                "this": training is own,
            }
            for training in trainings
        ],
        "figures": figures,
        "rank": rank,
        "ranked_by": ranking["labels"],
    }


def _figure(entry: Mapping[str, Any], trainings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return an accuracy of the weights beside those of the other trainings."""
    accuracies = [_accuracy(training, entry) for training in trainings]
    measured = [accuracy for accuracy in accuracies if accuracy is not None]
    is_complete = len(measured) == len(trainings)
    return {
        **{key: entry.get(key) for key in _KEYS},
        "accuracies": accuracies,
        "mean": statistics.mean(measured) if is_complete else None,
        "deviation": statistics.stdev(measured) if is_complete else None,
    }


def _read(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    try:
        training = read_json(path, _MOST_BYTES)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError):
        training = None
    return _checked(training, path)


def _checked(training: Any, name: str | os.PathLike[str]) -> Mapping[str, Any]:
    try:
        seed = training["training"]["recipe"]["seed"]
        complete = isinstance(seed, int) and all(
            isinstance(entry["correct"], int) and entry["images"] > 0
            for entry in training["accuracy"]
        )
        if complete and training["accuracy"]:
            return dict(training)
    except (KeyError, TypeError):
        pass
    raise DataError(
        f"{name}: expected the metadata of `ferjax train`, the *.metadata.json beside its weights, "
        "with a recipe and a measured accuracy"
    )


def _seed(training: Mapping[str, Any]) -> int:
    return int(training["training"]["recipe"]["seed"])


def _difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> str | None:
    """Return the name of something other than the seed in which two trainings differ."""
    for key in ("architecture", "source", "trained_on", "selected_on"):
        if a.get(key) != b.get(key):
            return key
    return _difference_of_trainings(a, b)


def _difference_of_trainings(a: Mapping[str, Any], b: Mapping[str, Any]) -> str | None:
    stages_a, stages_b = metadata.trainings(a), metadata.trainings(b)
    if not stages_a or len(stages_a) != len(stages_b) or _start(stages_a[0]) != _start(stages_b[0]):
        return "start"
    for stage_a, stage_b in zip(stages_a, stages_b):
        teachers = metadata.teachers(stage_a), metadata.teachers(stage_b)
        if len(teachers[0]) != len(teachers[1]) or not all(map(_alike, *teachers)):
            return "teachers"
        recipe_a, recipe_b = stage_a.get("recipe", {}), stage_b.get("recipe", {})
        for key in sorted((recipe_a.keys() | recipe_b.keys()) - {"seed"}):
            if recipe_a.get(key) != recipe_b.get(key):
                return f"recipe's {key}"
    return None


def _start(training: Mapping[str, Any]) -> Any:
    start = training.get("started_from")
    return start.get("sha256") if isinstance(start, Mapping) else None


def _alike(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two teachers are the same weights, or from trainings that differ in the seed."""
    if a.get("sha256") == b.get("sha256"):
        return True
    return a.get("trained_on") == b.get("trained_on") and _difference_of_trainings(a, b) is None


def _accuracy(training: Mapping[str, Any], wanted: Mapping[str, Any]) -> float | None:
    for entry in training["accuracy"]:
        if all(entry.get(key) == wanted.get(key) for key in _KEYS):
            return float(entry["correct"] / entry["images"])
    return None
