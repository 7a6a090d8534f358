"""The weights that a run leaves, as Keras files with metadata."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from ferjax import keras, metadata
from ferjax._version import __version__
from ferjax.nets.network import Network


def save(
    path: Path, network: Network, variables: Mapping[str, Any], described: Mapping[str, Any]
) -> None:
    """Write an `.h5` that every Keras opens, and its metadata beside it.

    Where the same weights were there, what was measured of them later stays: other views, and the
    temperature.
    """
    labels = list(described["labels"])
    before = metadata.read(path, quiet=True) if path.is_file() else {}
    keras.save(path, network, variables, labels=labels, metadata={"labels": labels})
    if before.get("sha256") == metadata.sha256(path):
        accuracy = metadata.with_accuracies(before, described["accuracy"])
        described = {**before, **described, "accuracy": accuracy}
    metadata.write(path, described)


def describe(
    *,
    licence: str | None,
    network: Network,
    run: Mapping[str, Any],
    hardware: Sequence[str],
    data: Mapping[str, Any],
    epoch: int,
    step: int,
    seconds: float,
    accuracy: list[dict[str, Any]],
    shares: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """Return what somebody has to know who finds the weights.

    Args:
        licence: of the weights, or None where nobody said.
        run: what run.json holds, with "started_from" and "teachers".
        hardware: what the run was on, in turn.
        data: `TrainingData.describe()`.
        epoch, step: at which they were.
        seconds: of training until then, interruptions left out.
        accuracy: see `metadata.accuracy`.
        shares: `TrainingData.described_shares()`.
    """
    graph = network.graph
    height, width, channels = graph.image_shape
    trained_at = data["size"]  # what a network of open size should see again
    by_votes: dict[str, dict[str, Any]] = {"train": {}, "validation": {}}
    if "votes" in data:
        left_out = data["left_out"]
        by_votes["train"] = {"left_out": left_out["train"], "votes": data["votes"]}
        by_votes["validation"] = {"left_out": left_out["validation"], "labels": data["labels"]}
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
        "source": f"trained by ferjax {__version__} from {_origin(run)}",
        "licence": licence,
        "trained_on": {
            "data": data["names"]["train"],
            "images": data["images"]["train"],
            "checksum": data["checksum"],
            **by_votes["train"],
        },
        **shares,
        "selected_on": {
            "data": data["names"]["validation"],
            "images": data["images"]["validation"],
            "copies_of_training_images": data["validation_copies_of_training"],
            **by_votes["validation"],
        },
        "accuracy": accuracy,
        "training": {
            "command": run["command"],
            "recipe": run["recipe"],
            "epoch": epoch,
            "step": step,
            "seconds": round(seconds, 1),
            "hardware": ", then ".join(hardware),
            "versions": run["versions"],
            "started_from": run["started_from"],
            "teachers": run["teachers"],
        },
    }


def started_from(init: str | os.PathLike[str] | None) -> dict[str, Any] | None:
    """Return what is known of the weights that a run begins with; None where they are drawn.

    "file", its name; "sha256", None where it is no file; and where its metadata says so, "source",
    "trained_on" and "training", which says in turn what that training started from.
    """
    return None if init is None else known(init)


def known(weights: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what is known of weights that take part in a training; see `started_from`."""
    path = Path(weights)
    if metadata.in_parts(path) or not path.is_file():
        return {"file": path.name, "sha256": None}
    found = metadata.read(path)
    begun: dict[str, Any] = {"file": path.name, "sha256": metadata.sha256(path)}
    return begun | {k: found[k] for k in ("source", "trained_on", "training") if k in found}


def _origin(run: Mapping[str, Any]) -> str:
    def named(weights: Mapping[str, Any]) -> str:
        source = weights.get("source")
        return f"{weights['file']}{f' ({source})' if source else ''}"

    start = "scratch" if run["started_from"] is None else named(run["started_from"])
    taught = " and ".join(map(named, run["teachers"]))
    return f"{start}, taught by {taught}" if taught else start


def versions() -> dict[str, str]:
    """Return the versions of what takes part in a run."""
    import flax
    import jaxlib.version
    import optax
    import orbax.checkpoint

    return {
        "ferjax": __version__,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.version.__version__,
        "flax": flax.__version__,
        "optax": optax.__version__,
        "orbax-checkpoint": orbax.checkpoint.__version__,
    }
