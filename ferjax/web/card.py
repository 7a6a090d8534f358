"""What the page says of the weights: what they are, measured accuracy, limits, licence, source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ferjax import digests, limits, metadata

if TYPE_CHECKING:
    from ferjax.classifier import EmotionClassifier
    from ferjax.nets.graph import Graph

_LONGEST: Final = 500  # characters of a text from a file
_MOST_FIGURES: Final = 12


def card(classifier: EmotionClassifier, weights: Path | None = None) -> dict[str, Any]:
    """Return the card of a classifier's weights as JSON values; what is not known is None.

    Args:
        weights: the file that they come from, whose name and hash are told; None: not told.
    """
    known, graph = classifier.metadata, classifier.network.graph
    digest = known.get("sha256")
    if weights is not None:
        digest = None if metadata.in_parts(weights) else digests.sha256(weights)
    height, width = classifier.image_size
    trained_on = _data(known, "trained_on")
    return {
        "name": _name(known, graph, weights),
        "file": weights.name if weights else None,
        "sha256": _text(digest),
        "parameters": graph.num_params,
        "input": f"{height} x {width} {'gray' if graph.image_shape[2] == 1 else 'RGB'}",
        "source": _text(known.get("source")),
        "licence": _text(known.get("licence")),
        "trainedOn": trained_on,
        "selectedOn": _data(known, "selected_on"),
        "calibration": None if classifier.scaling is None else classifier.scaling.method,
        "accuracy": _accuracies(known),
        "limits": [
            limits.GUESS,
            limits.POSED,
            limits.SIZES,
            limits.of_classes(classifier.labels),
            limits.of_people(trained_on),
        ],
    }


def _name(known: Mapping[str, Any], graph: Graph, weights: Path | None) -> str:
    """Return the name of the weights: as stated, or as their file's that says more than the
    network's, such as fer_cnn8_votes of fer_cnn8."""
    stated = _text(known.get("name")) or graph.name
    says_more = weights is not None and weights.stem.startswith(f"{stated}_")
    return weights.stem if weights is not None and says_more else stated


def _accuracies(known: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the recorded accuracies of single views, as the page computes them."""
    entries = known.get("accuracy")
    if not isinstance(entries, list):
        return []
    figures = [
        {
            "dataset": _text(entry.get("dataset")),
            "labels": _text(entry.get("labels")),
            "prior": _text(entry.get("prior")),
            "images": _count(entry.get("images")),
            "correct": _count(entry.get("correct")),
            "top1": _share(entry.get("top_1")),
            "balanced": _share(entry.get("balanced")),
            "note": _text(entry.get("note")),
        }
        for entry in entries
        if isinstance(entry, Mapping) and entry.get("view", "single") == "single"
    ]
    return figures[:_MOST_FIGURES]


def _data(known: Mapping[str, Any], key: str) -> str | None:
    record = known.get(key)
    if not isinstance(record, Mapping):
        return _text(record)
    name, images = _text(record.get("data")), _count(record.get("images"))
    return f"{name}, {images:,} images" if name and images is not None else name


def _text(value: Any) -> str | None:
    return value[:_LONGEST] if isinstance(value, str) and value.strip() else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 1 << 53 else None


def _share(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= 1 else None
