"""Trainings by one recipe with several seeds, compared by the metadata of their weights."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ferjax import metadata
from ferjax.errors import DataError

_MOST_BYTES: Final = 1 << 20
_WHAT: Final = ("dataset", "images", "view", "note", "labels", "prior")  # an accuracy is of


def compare_seeds(
    known: Mapping[str, Any], others: Sequence[str | os.PathLike[str]]
) -> dict[str, Any] | None:
    """Return the accuracies of trainings that differ in nothing but the seed.

    Args:
        known: metadata of the weights in question, as `ferjax train` and `ferjax evaluate --record`
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
    own = _checked(known, "the weights")
    found = [own, *(_read(path) for path in others)]
    for path, other in zip(others, found[1:]):
        if different := _difference(own, other):
            raise DataError(
                f"{path}: not the same training, its {different} differs; only seeds may"
            )
    seeds = [_seed(training) for training in found]
    if len(set(seeds)) < len(seeds):
        raise DataError(f"expected one training of each seed, got seeds {seeds}")
    found.sort(key=_seed)
    figures = []
    for entry in own["accuracy"]:
        accuracies = [_accuracy(training, entry) for training in found]
        measured = [value for value in accuracies if value is not None]
        complete = len(measured) == len(found)
        figures.append(
            {key: entry.get(key) for key in _WHAT}
            | {
                "accuracies": accuracies,
                "mean": statistics.mean(measured) if complete else None,
                "deviation": statistics.stdev(measured) if complete else None,
            }
        )
    selected = own.get("selected_on")
    by = selected.get("labels") if isinstance(selected, Mapping) else None
    row = next((f for f in figures if f["labels"] == by and f["prior"] is None), figures[0])
    first = row["accuracies"]
    mine = first[found.index(own)]
    return {
        "trainings": [
            {
                "seed": _seed(training),
                "epoch": training["training"].get("epoch"),
                "this": training is own,
            }
            for training in found
        ],
        "figures": figures,
        "rank": None if None in first else 1 + sum(value > mine for value in first),
        "ranked_by": row["labels"],
    }


def _read(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    try:
        if os.path.getsize(path) > _MOST_BYTES:
            raise ValueError("too large")
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError):
        found = None
    return _checked(found, path)


def _checked(found: Any, name: str | os.PathLike[str]) -> Mapping[str, Any]:
    try:
        seed = found["training"]["recipe"]["seed"]
        complete = isinstance(seed, int) and all(
            isinstance(entry["correct"], int) and entry["images"] > 0 for entry in found["accuracy"]
        )
        if complete and found["accuracy"]:
            return dict(found)
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
    one, two = (metadata.trainings(found) for found in (a, b))
    if not one or len(one) != len(two) or _start(one[0]) != _start(two[0]):
        return "start"
    for first, second in zip(one, two):
        taught = metadata.teachers(first), metadata.teachers(second)
        if len(taught[0]) != len(taught[1]) or not all(map(_alike, *taught)):
            return "teachers"
        mine, theirs = first.get("recipe", {}), second.get("recipe", {})
        for key in sorted((mine.keys() | theirs.keys()) - {"seed"}):
            if mine.get(key) != theirs.get(key):
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
        if all(entry.get(key) == wanted.get(key) for key in _WHAT):
            return float(entry["correct"] / entry["images"])
    return None
