"""The weights that a run leaves, as Keras files with metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ferjax import digests, keras, metadata
from ferjax._version import __version__
from ferjax.nets.network import Network
from ferjax.train.begin import Run
from ferjax.train.checkpoints import Progress
from ferjax.train.run_folder import RunRecord


def save(
    path: Path, network: Network, variables: Mapping[str, Any], described: Mapping[str, Any]
) -> None:
    """Write an `.h5` that every Keras opens, and its metadata beside it.

    Where the same weights were there, what was measured of them later stays: other views, and the
    temperature.
    """
    labels = list(described["labels"])
    earlier = metadata.read(path, quiet=True) if path.is_file() else {}
    keras.save(path, network, variables, labels=labels, metadata={"labels": labels})
    if earlier.get("sha256") == digests.sha256(path):
        accuracy = metadata.with_accuracies(earlier, described["accuracy"])
        described = {**earlier, **described, "accuracy": accuracy}
    metadata.write(path, described)


def describe(
    run: Run, progress: Progress, *, epoch: int, step: int, accuracy: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return what somebody has to know who finds the weights of an epoch of a run.

    `accuracy` is what they reach, as of `metadata.accuracy`.
    """
    graph, record, data = run.network.graph, run.record, run.data.describe()
    height, width, channels = graph.image_shape
    trained_at = data["size"]  # what a network of open size should see again
    votes: dict[str, Any] = {"votes": data["votes"]} if "votes" in data else {}
    labels: dict[str, Any] = {"labels": data["labels"]} if votes else {}
    copies = {"copies_of_training_images": data["validation_copies_of_training"]}
    return {
        "name": graph.name,
        "architecture": graph.name,
        "parameters": graph.num_params,
        "labels": data["class_names"],
        "input": {
            "height": height or trained_at[0],
            "width": width or trained_at[1],
            "channels": channels,
            "colour": "gray" if channels == 1 else "rgb",
            "resize": "bilinear",
        },
        "value_range": list(graph.value_range),
        "source": f"trained by ferjax {__version__} from {_source(record)}",
        "licence": record.licence,
        "trained_on": _images(data, "train", {"checksum": data["checksum"]}) | votes,
        **run.data.described_shares(run.recipe),
        "selected_on": _images(data, "validation", copies) | labels,
        "accuracy": accuracy,
        "training": {
            "command": record.command,
            "recipe": record.recipe.to_json(),
            "epoch": epoch,
            "step": step,
            "seconds": round(progress.seconds, 1),
            "hardware": ", then ".join(progress.hardware),
            "versions": record.versions,
            "started_from": record.started_from,
            "teachers": record.teachers,
        },
    }


def _images(data: Mapping[str, Any], split: str, more: dict[str, Any]) -> dict[str, Any]:
    """Return which images a split has; where votes are used, how many of them are left out."""
    images = {"data": data["names"][split], "images": data["images"][split], **more}
    return images | ({"left_out": data["left_out"][split]} if "left_out" in data else {})


def _source(record: RunRecord) -> str:
    """Return the names of the weights that took part, each with its own source."""

    def named(weights: Mapping[str, Any]) -> str:
        source = weights.get("source")
        return f"{weights['file']}{f' ({source})' if source else ''}"

    start = "scratch" if record.started_from is None else named(record.started_from)
    taught = " and ".join(map(named, record.teachers))
    return f"{start}, taught by {taught}" if taught else start
