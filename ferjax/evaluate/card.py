"""The model card of a weight file (Mitchell et al., FAT* 2019), from metadata and reports."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ferjax import digests, limits, metadata, priors, released
from ferjax._version import __version__
from ferjax.emotions import TELL_THE_ORDER, Labels
from ferjax.errors import (
    DataError,
    FerjaxError,
    LabelsError,
    PriorError,
    WeightFileError,
    WriteError,
)
from ferjax.evaluate import provenance, seeds
from ferjax.evaluate.corruptions import CORRUPTIONS, OCCLUSIONS
from ferjax.evaluate.evaluation import Evaluation
from ferjax.evaluate.report import render
from ferjax.evaluate.robustness import MOST_BYTES
from ferjax.evaluate.tables import percent
from ferjax.evaluate.votes_tables import EXPLAINED, Table, tables
from ferjax.files import read_json, replacing
from ferjax.keras import KerasModel
from ferjax.nets.head import checked_labels
from ferjax.nets.known import recognise
from ferjax.weights import read as read_weights

MARK: Final = "<!-- written by `ferjax card` -->"
_MADE_BY: Final = "`ferjax evaluate --out`"
_PARTS: Final = {part.name for part in dataclasses.fields(Evaluation)} - {"predictions", "votes"}


def write_card(
    weights: str | os.PathLike[str] | None,
    reports: Sequence[str | os.PathLike[str]] = (),
    out: str | os.PathLike[str] = "MODEL_CARD.md",
    *,
    labels: Labels | None = None,
    other_seeds: Sequence[str | os.PathLike[str]] = (),
    force: bool = False,
) -> Path:
    """Write the model card of a weight file and return its path.

    Args:
        weights: any weight file that `ferjax.load` reads; None: ferjax's own.
        reports: report.json files of `ferjax evaluate` with these weights, the main one first.
        out: the card; one that this function wrote is replaced.
        labels: the class names of the file's outputs, as for `ferjax.load`.
        other_seeds: metadata files of weights that the same recipe gave with other seeds.
        force: replace any file.

    Raises:
        WeightFileError: the weights cannot be read, or are a folder, whose reports nothing tells
            from others.
        DataError: a report is none, or measured other weights; or other seeds are of another
            recipe or other data.
        LabelsError: nobody knows the class names, or they do not fit the network.
        WriteError: `out` cannot be written, or holds something else.
    """
    card = text(weights, reports, other_seeds, labels=labels)
    path = Path(out)
    if path.is_file() and not force:
        with open(path, "rb") as file:
            if MARK.encode() not in file.read(4096):
                raise WriteError(f"{out}: is no card that ferjax wrote; --force replaces it")
    with replacing(path) as temporary:
        temporary.write_text(card, encoding="utf-8")
    return path


def text(
    weights: str | os.PathLike[str] | None,
    reports: Sequence[str | os.PathLike[str]] = (),
    other_seeds: Sequence[str | os.PathLike[str]] = (),
    *,
    labels: Labels | None = None,
) -> str:
    """Return the model card as Markdown; see `write_card`."""
    try:
        return _filled(weights, reports, other_seeds, labels)
    except FerjaxError:
        raise
    except Exception:  # whatever a part of another form leads to
        if not reports:
            raise
        _filled(weights, (), other_seeds, labels)  # what fails without them is no fault of theirs
        paths = ", ".join(map(str, reports))
        raise DataError(f"{paths}: a damaged report; make it again by {_MADE_BY}") from None


def _filled(
    weights: str | os.PathLike[str] | None,
    reports: Sequence[str | os.PathLike[str]],
    other_seeds: Sequence[str | os.PathLike[str]],
    labels: Labels | None,
) -> str:
    path = released.path_of(weights)
    form = metadata.in_parts(path)
    if reports and form:
        raise WeightFileError(
            path,
            f"{form} has no hash by which a report could be known for its own; `ferjax convert` "
            "makes a file of it",
        )
    model = read_weights(path)
    digest = None if form else digests.sha256(path)
    measured = [read_report(report) for report in reports]
    for name, report in zip(reports, measured):
        about = report["weights"]
        if about["sha256"] != digest:
            raise DataError(
                f"{name}: measured {about['name']} ({(about['sha256'] or 'no hash')[:12]}), "
                f"not {path} ({str(digest)[:12]})"
            )
    stated = model.metadata
    names, names_from = _labels(model, labels)
    return render(
        "card.md",
        mark=MARK,
        version=__version__,
        file=path.name,
        digest=digest,
        graph=model.graph,
        labels=names,
        names_from=names_from,
        known=stated,
        trainings=metadata.trainings(stated),
        calibration=provenance.record_of(stated, "calibration"),
        trained_on=provenance.described(stated.get("trained_on")),
        frequencies=_frequencies(stated, names),
        selected_on=provenance.described(stated.get("selected_on")),
        measured=_measured(stated, {report["data"]["name"] for report in measured}),
        reports=measured,
        votes=[_votes_tables(r, number == 0) for number, r in enumerate(measured)],
        explained=EXPLAINED,
        seeds=seeds.compare_seeds(stated, other_seeds),
        robust=next((r for r in measured if r["robustness"]), None),
        groups=next((r for r in measured if r["subgroups"]), None),
        limits=[
            *_measured_limits(measured),
            limits.POSED,
            limits.CROPPED,
            limits.of_classes(names),
        ],
        corruptions=CORRUPTIONS,
        occlusions=OCCLUSIONS,
    )


def _labels(model: KerasModel, labels: Labels | None) -> tuple[Sequence[str], str]:
    """Return the class names, and what they come from where neither file nor caller says them."""
    if labels is not None:
        return checked_labels(labels, model.graph), ""
    if model.labels is not None:
        return model.labels, ""
    if network := recognise(model.graph):
        return network.labels, f"the order of {network.name}, {network.source}; the file has none"
    raise LabelsError(
        f"{model.path}: has no class names and is of no known network; --labels (labels=) gives "
        f"them, {TELL_THE_ORDER}"
    )


def _frequencies(record: Mapping[str, Any], labels: Sequence[str]) -> list[tuple[str, float]]:
    """Return how common each class was in training, or nothing where the metadata does not say."""
    stated = {"training_frequencies": record.get("training_frequencies")}
    try:
        shares = priors.of_metadata(stated, metadata.class_names(record, labels))
    except PriorError:  # written by hand
        return []
    return [] if shares is None else list(zip(labels, shares.tolist()))


def read_report(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return a report.json.

    Raises:
        DataError: it is none, or lacks a part.
    """
    try:
        report = read_json(path, MOST_BYTES)
        if report["format"] != "ferjax evaluation 1" or not report.keys() >= _PARTS:
            raise ValueError("another format, or not whole")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f"{path}: expected the report.json of {_MADE_BY}") from None
    return {"votes": None, **report}  # of reports before there were votes


def _votes_tables(report: Mapping[str, Any], is_first: bool) -> list[Table]:
    """Return the tables of a report against votes that a card shows: of the first one, recall and
    people too, recall without copies where there are some.
    """
    every = tables(report)
    last = every[-1].part if every else ""
    return [
        table
        for table in every
        if table.kind == "figures" or (is_first and (table.kind == "people" or table.part == last))
    ]


def _measured_limits(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return sentences about where the network fails, from what was measured."""
    if not reports:
        return []
    first = reports[0]
    figures, by = first["without_copies"] or first["whole"], ""
    if votes := first.get("votes"):  # what an image shows is what most people see in it
        answers = (votes["without_copies"] or votes["whole"])["answers"]["training"]
        figures = next(iter(answers["majorities"].values()))
        by = "Against the majority of people, "
    robust = next((r["robustness"] for r in reports if r["robustness"]), None)
    sentences = [
        *_hard_classes(figures["classes"], by),
        *_confused_classes(list(figures["classes"]), figures["confusion"]),
        *(_harmful_changes(robust) if robust else []),
    ]
    return [sentence[:1].upper() + sentence[1:] for sentence in sentences]


def _hard_classes(classes: Mapping[str, Any], by: str) -> list[str]:
    recalls = sorted(
        (figures["recall"], name)
        for name, figures in classes.items()
        if figures["recall"] is not None
    )
    weakest = ", ".join(f"{name} ({percent(recall)})" for recall, name in recalls if recall < 0.5)
    if weakest:
        return [f"{by}it finds fewer than half of the images of {weakest}."]
    recall, name = recalls[0]
    return [f"{by}of {name} it finds the fewest images, {percent(recall)}."] if recall < 1 else []


def _confused_classes(names: Sequence[str], counts: Sequence[Sequence[int]]) -> list[str]:
    shares = sorted(
        (
            (counts[i][j] / sum(counts[i]), name, other)
            for i, name in enumerate(names)
            for j, other in enumerate(names)
            if i != j and counts[i][j]
        ),
        reverse=True,
    )
    words = [f"{a} taken for {b} ({percent(share)} of {a})" for share, a, b in shares[:3]]
    return [f"Most often confused: {', '.join(words)}."] if words else []


def _harmful_changes(robust: Mapping[str, Any]) -> list[str]:
    drops = sorted(
        ((robust["clean"] - row[2], name) for name, row in robust["corruptions"].items()),
        reverse=True,
    )
    losses = [f"{_title(CORRUPTIONS, name)} ({100 * drop:.1f} points)" for drop, name in drops[:3]]
    covered = [
        f"{percent(accuracy)} ({_title(OCCLUSIONS, name)})"
        for accuracy, name in sorted((a, name) for name, a in robust["occlusions"].items())
    ]
    return [
        f"At medium severity it loses most to {', '.join(losses)}.",
        "With a part of the face covered, accuracy falls from "
        f"{percent(robust['clean'])} to {', '.join(covered)}.",
    ]


def _measured(record: Mapping[str, Any], reported: Collection[str]) -> list[str]:
    """Return a sentence for each accuracy in the metadata, of data that no report is of."""
    entries = [entry for entry in record.get("accuracy") or [] if isinstance(entry, Mapping)]
    return [_sentence(entry) for entry in entries if entry.get("dataset") not in reported]


def _sentence(accuracy: Mapping[str, Any]) -> str:
    """Return what a metadata record says of accuracy."""
    stated = {key: accuracy.get(key, "not known") for key in ("dataset", "images", "view", "note")}
    top_1 = accuracy.get("top_1")
    share = percent(top_1) if isinstance(top_1, float) else "not known"
    of = "".join(
        f", {words}{accuracy[key]}"
        for key, words in (("labels", "against the "), ("prior", "prior "))
        if accuracy.get(key)
    )
    return "{dataset}{of}: {share} of {images} images, {view} view; {note}".format(
        share=share, of=of, **stated
    )


def _title(table: Mapping[str, Any], name: str) -> str:
    title = str(table[name].title) if name in table else name
    return title if title[:2].isupper() else title[:1].lower() + title[1:]  # JPEG stays
