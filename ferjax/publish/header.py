"""The header of a card on Hugging Face: YAML that the hub lists and searches models by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ferjax.errors import FerjaxError, near_misses, printable
from ferjax.evaluate.card import read_report

TASK: Final = "image-classification"
# The hub's names of licences; of others it takes "other" with a name and a link.
LICENCES: Final = (
    "apache-2.0 mit bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear isc zlib unlicense cc0-1.0 "
    "cc-by-2.0 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 "
    "cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 "
    "cc-by-nc-sa-4.0 cc gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 agpl-3.0 mpl-2.0 epl-1.0 "
    "epl-2.0 eupl-1.1 eupl-1.2 ecl-2.0 ms-pl ncsa ofl-1.1 artistic-2.0 afl-3.0 bsl-1.0 pddl "
    "odbl odc-by osl-3.0 postgresql wtfpl openrail openrail++ bigscience-openrail-m "
    "creativeml-openrail-m other unknown"
).split()
_IDENTIFIER: Final = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?", re.ASCII)


def licence_of(stated: str | None) -> str | None:
    """Return the hub's name of a licence, or None where none is stated.

    Raises:
        FerjaxError: the hub has no such licence.

    >>> licence_of("Apache-2.0"), licence_of("GPL-3.0-or-later"), licence_of(None)
    ('apache-2.0', 'gpl-3.0', None)
    """
    if not stated:
        return None
    name = re.sub(r"-(only|or-later)$", "", str(stated).strip().lower())
    if name not in LICENCES:
        raise FerjaxError(
            "expected a licence that Hugging Face knows, such as apache-2.0, cc-by-4.0 or other, "
            f"got {printable(str(stated), 80)!r} (--licence gives one){near_misses(name, LICENCES)}"
        )
    return name


def dataset_ids(datasets: Sequence[str], stated: Mapping[str, Any]) -> list[str] | None:
    """Return the hub's names of the data that weights were trained on, or None.

    Args:
        datasets: names on the hub, as owner/name; empty: fer2013 where the metadata names that.
        stated: the metadata.

    Raises:
        FerjaxError: one is no such name.
    """
    for name in datasets:
        if not _IDENTIFIER.fullmatch(name):
            raise FerjaxError(
                f"expected owner/name of a dataset on the hub, got {printable(name, 80)!r}"
            )
    if datasets:
        return list(dict.fromkeys(datasets))
    about = stated.get("trained_on")
    data = about.get("data") if isinstance(about, Mapping) else about
    return ["fer2013"] if str(data).startswith("FER2013") else None


def with_header(
    hub: Any,
    card: str,
    name: str,
    stated: Mapping[str, Any],
    reports: Sequence[str | Path],
    datasets: Sequence[str] = (),
) -> str:
    """Return a card of `ferjax.evaluate.card` with the header that the hub reads.

    Args:
        hub: the module huggingface_hub.
        card: its text, with a header of its own, whose tags are kept.
        name: of the weights, by which the hub lists their figures.
        stated: the metadata, with the licence.
        reports: the report.json files that the card is made with.
        datasets: as for `dataset_ids`.
    """
    parsed = hub.ModelCard(card)
    results = [*_of_metadata(hub, stated, reports), *_of_reports(hub, reports)]
    licence = licence_of(stated.get("licence"))
    parsed.data = hub.ModelCardData(
        license=licence,
        library_name="ferjax",
        pipeline_tag=TASK,
        tags=[*parsed.data.tags, TASK],
        datasets=dataset_ids(datasets, stated),
        metrics=sorted({result.metric_type for result in results}) or None,
        model_name=name,
        eval_results=results or None,
    )
    text = str(parsed)
    hub.ModelCard(text)  # reads what it wrote, the figures too, or raises
    return text


def _of_metadata(
    hub: Any, stated: Mapping[str, Any], reports: Sequence[str | Path]
) -> Iterator[Any]:
    """Yield the accuracies that the metadata has, but of data that a report is of."""
    reported = {read_report(report)["data"]["name"] for report in reports}
    entries = stated.get("accuracy")
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("top_1"), float):
            continue
        if (name := str(entry.get("dataset"))) in reported:
            continue
        of = [f"{entry.get('view')} view"]
        of += [f"against the {entry['labels']}"] if entry.get("labels") else []
        of += [f"prior {entry['prior']}"] if entry.get("prior") else []
        images = f"{entry.get('images')} images"
        words = "; ".join((", ".join((*of, images)), str(entry.get("note") or "")))
        yield _result(hub, name, "accuracy", entry["top_1"], words.removesuffix("; "))
        if isinstance(entry.get("balanced"), float):
            yield _result(hub, name, "balanced_accuracy", entry["balanced"], words)


def _of_reports(hub: Any, reports: Sequence[str | Path]) -> Iterator[Any]:
    """Yield accuracy, balanced accuracy and macro F1 of each report, with copies and without."""
    for path in reports:
        report = read_report(path)
        view = "single view" if report["views"] == 1 else f"mean of {report['views']} views"
        for key, note in (("whole", ""), ("without_copies", ", without copies of training images")):
            if not (figures := report[key]):
                continue
            words = f"{view}, {figures['images']} images{note}"
            for kind, field in (
                ("accuracy", "accuracy"),
                ("balanced_accuracy", "balanced_accuracy"),
                ("f1", "macro_f1"),
            ):
                if isinstance(figures.get(field), float):
                    value = round(figures[field], 4)
                    yield _result(hub, report["data"]["name"], kind, value, words)


def _result(hub: Any, dataset: str, kind: str, value: float, words: str) -> Any:
    """Return a figure as the hub has it."""
    first, _, part = dataset.partition(" ")
    is_part = first == "FER2013" and bool(part)
    return hub.EvalResult(
        task_type=TASK,
        dataset_type="fer2013" if is_part else _slug(dataset),
        dataset_name=printable(dataset, 200),
        dataset_split=part if is_part else None,
        metric_type=kind,
        metric_value=value,
        metric_name=printable(f"{'macro F1' if kind == 'f1' else kind.replace('_', ' ')}, {words}"),
    )


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")[:90] or "unnamed"


def preprocessing(
    size: Sequence[int | None],
    channels: int,
    value_range: tuple[float, float],
    labels: Sequence[str],
) -> dict[str, Any]:
    """Return how faces become the network's input, in the words of preprocessor_config.json.

    Pixels from 0 to 255 are multiplied by `rescale_factor`; then, where `do_normalize` says so,
    `image_mean` is taken off and the rest divided by `image_std`.

    >>> preprocessing((48, 48), 1, (-1.0, 1.0), ["a"])["image_std"]
    [0.5]
    """
    low, high = value_range
    facts: dict[str, Any] = {
        "do_resize": None not in size,
        "do_convert_grayscale": channels == 1,
        "do_convert_rgb": channels == 3,
        "num_channels": channels,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": (low, high) != (0, 1),
        "input_data_format": "channels_last",
        "id2label": {str(index): label for index, label in enumerate(labels)},
    }
    if facts["do_resize"]:
        facts |= {"size": {"height": size[0], "width": size[1]}, "resample": 2}  # bilinear
    if facts["do_normalize"]:
        facts["image_mean"] = [-low / (high - low)] * channels
        facts["image_std"] = [1 / (high - low)] * channels
    return facts
