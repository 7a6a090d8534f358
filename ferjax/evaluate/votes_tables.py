"""Figures against the votes of several people as tables, for terminal, page and card alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ferjax.evaluate.tables import between, percent

ANSWERS: Final = {  # what the ways to answer are called
    "training": "as the network says",
    "calibrated": "calibrated",
    "uniform": "uniform prior",
}
EXPLAINED: Final = (
    "A majority is more than half of the votes, those for no class counted among all. Agreement "
    "with one person is the mean share of an image's people who say the predicted class, whatever "
    "the others say; a second person is another one of the same image. What most people say "
    "includes each person's own vote; the majority of the others does not, so that it shows how a "
    "person would fare where the network's accuracy is measured. The calibration error compares "
    "confidence with the share of people who say the predicted class. Uniform prior: as if all "
    "classes were equally frequent, by Bayes' rule on calibrated probabilities where there is a "
    "calibration."
)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table, and what is to be known about it.

    Attributes:
        kind: "figures", "recall" or "people".
        part: "whole" or "without_copies".
        rows: of equal length, the first being the heading; the first cell of each is its name.
        notes: sentences.
    """

    kind: str
    part: str
    rows: list[list[str]]
    notes: tuple[str, ...] = ()


def tables(report: Mapping[str, Any]) -> list[Table]:
    """Return the tables of a report, as `Evaluation.to_json` gives it; none without votes.

    For all images and without copies: the figures of each way to answer, recall by class against
    both labels; and what people reach.
    """
    votes = report.get("votes")
    if not votes:
        return []
    names = {"whole": "all images", "without_copies": "without copies"}
    parts = [name for name in names if votes[name] is not None]
    result = []
    for name in parts:
        part, where = votes[name], f" ({names[name]})" if len(parts) > 1 else ""
        rows = {
            "figures": _figure_rows(part, f"against people's votes{where}"),
            "recall": recall_rows(part, report[name], f"recall{where}"),
            "people": _people_rows(part["people"], f"what people reach{where}"),
        }
        notes = {"figures": _left_out(part["left_out"])}
        if name == parts[-1]:
            notes["people"] = _notes(report)
        result += [
            Table(kind=kind, part=name, rows=rows[kind], notes=notes.get(kind, ())) for kind in rows
        ]
    return result


def recall_rows(part: Mapping[str, Any], own: Mapping[str, Any], heading: str) -> list[list[str]]:
    """Return the recall of each class against the dataset's own label and against the majority."""
    measured: dict[str, Mapping[str, Any]] = {}
    confusions = []
    for name, answers in part["answers"].items():
        first = next(iter(answers["majorities"].values()), None)
        if first and first["confusion"] not in confusions:  # a temperature changes no answer
            measured[ANSWERS[name]] = first["classes"]
            confusions.append(first["confusion"])
    rows = [[heading, "own label", "images", *(f"majority, {name}" for name in measured), "images"]]
    for name, figures in own["classes"].items():
        of_class = [classes[name] for classes in measured.values() if name in classes]
        rows.append(
            [
                name,
                percent(figures["recall"]),
                f"{figures['support']:,}",
                *(percent(c["recall"]) for c in of_class),
                f"{of_class[0]['support']:,}" if of_class else "-",
            ]
        )
    return rows


def _notes(report: Mapping[str, Any]) -> tuple[str, ...]:
    votes, calibrated = report["votes"], report["calibrated"]
    notes = [
        f"majorities and distances leave out what {votes['outliers']:g} person or fewer say of an "
        "image; a person is any of those asked, whatever they said"
    ]
    if votes["no_uniform"]:
        notes.append(f"no figures for a uniform prior: {votes['no_uniform']}")
    if calibrated is not None and calibrated["fitted_here"]:
        notes.append(
            "the calibration was fitted on these images, which flatters the figures after it"
        )
    return tuple(notes)


def _figure_rows(part: Mapping[str, Any], heading: str) -> list[list[str]]:
    answers = list(part["answers"].values())
    rows = [[heading, *(ANSWERS[name] for name in part["answers"])]]
    for name in answers[0]["majorities"]:
        measured = [a["majorities"][name] for a in answers]
        rows.append([f"majority, {name}: images", *(f"{m['images']:,}" for m in measured)])
        for key, words in (("accuracy", "accuracy"), ("balanced_accuracy", "balanced accuracy")):
            rows.append([f"  {words}", *(percent(m[key]) for m in measured)])
            rows.append(["    95 % interval", *(between(m[f"{key}_interval"]) for m in measured)])
    for key, words in (
        ("single_tagger", "agrees with one person"),
        ("single_tagger_with_majority", "agrees with one person, images with a majority"),
    ):
        if answers[0][key] is not None:
            rows.append([words, *(percent(a[key]["value"]) for a in answers)])
            rows.append(["  95 % interval", *(between(a[key]["interval"]) for a in answers)])
    distances = [a["distances"] for a in answers]
    if all(distances):
        for key, words in (
            ("cross_entropy", "cross-entropy to the votes (nats)"),
            ("jensen_shannon", "Jensen-Shannon distance (base 2, 0 to 1)"),
        ):
            rows.append([words, *(f"{d[key]['value']:.4f}" for d in distances)])
            ends = ("{:.4f} to {:.4f}".format(*d[key]["interval"]) for d in distances)
            rows.append(["  95 % interval", *ends])
    reliability = [a["reliability"] for a in answers]
    if all(reliability):
        for key, words in (("width", "equal width"), ("mass", "equal mass")):
            errors = (percent(r[f"ece_equal_{key}"]) for r in reliability)
            rows.append([f"calibration error against people, {words}", *errors])
    return rows


def _people_rows(people: Mapping[str, Any], heading: str) -> list[list[str]]:
    rows = [
        [heading, "all", "95 % interval", "with a majority", "95 % interval"],
        ["images", f"{people['images']:,}", "", f"{people['images_with_majority']:,}", ""],
    ]
    for key, words in (
        ("second_tagger", "a second person says what the first says"),
        ("most_said", "a person says what most people say"),
        ("against_others", "a person agrees with the majority of the others"),
    ):
        cells = ["", ""] if key == "against_others" else _cells(people[key])
        with_majority = people[key if key == "against_others" else f"{key}_with_majority"]
        rows.append([words, *cells, *_cells(with_majority)])
    return rows


def _cells(mean: Mapping[str, Any] | None) -> list[str]:
    return ["-", "-"] if mean is None else [percent(mean["value"]), between(mean["interval"])]


def _left_out(left_out: Mapping[str, Mapping[str, int]]) -> tuple[str, ...]:
    return tuple(
        f"no majority for the {name}: "
        + (", ".join(f"{images:,} {why}" for why, images in reasons.items()) or "none")
        for name, reasons in left_out.items()
    )
