"""The weights that a run leaves, as Keras files with metadata."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

import ferjax
from ferjax import keras, metadata
from ferjax.nets.network import Network


def save(
    path: Path, network: Network, variables: Mapping[str, Any], described: Mapping[str, Any]
) -> None:
    """Write an `.h5` that every Keras opens, and its metadata beside it."""
    labels = list(described["labels"])
    keras.save(path, network, variables, labels=labels, metadata={"labels": labels})
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
) -> dict[str, Any]:
    """Return what somebody has to know who finds the weights.

    Args:
        licence: of the weights, or None where nobody said.
        run: what run.json holds.
        hardware: what the run was on, in turn.
        data: `TrainingData.describe()`.
        epoch, step: at which they were.
        seconds: of training until then, interruptions left out.
        accuracy: see `metadata.accuracy`.
    """
    graph = network.graph
    height, width, channels = graph.image_shape
    return {
        "name": graph.name,
        "architecture": graph.name,
        "parameters": graph.num_params,
        "labels": data["class_names"],
        "input": {
            "height": height,
            "width": width,
            "channels": channels,
            "colour": "gray" if channels == 1 else "rgb",
            "resize": "bilinear",
        },
        "value_range": list(graph.value_range),
        "source": f"trained by ferjax {ferjax.__version__} from {_origin(run['init'])}",
        "licence": licence,
        "trained_on": {
            "data": data["names"]["train"],
            "images": data["images"]["train"],
            "checksum": data["checksum"],
        },
        "selected_on": {
            "data": data["names"]["validation"],
            "images": data["images"]["validation"],
            "copies_of_training_images": data["validation_copies_of_training"],
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
        },
    }


def _origin(init: str | None) -> str:
    """Return where the weights came from that a run began with, as far as their metadata says."""
    if init is None:
        return "scratch"
    found = metadata.read(init) if Path(init).exists() else {}
    parts = [str(found["source"])] if found.get("source") else []
    if command := (found.get("training") or {}).get("command"):
        parts.append(f"by `{command}`")
    return Path(init).name + (f" ({' '.join(parts)})" if parts else "")


def versions() -> dict[str, str]:
    """Return the versions of what takes part in a run."""
    import flax
    import jaxlib.version
    import optax
    import orbax.checkpoint

    return {
        "ferjax": ferjax.__version__,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.version.__version__,
        "flax": flax.__version__,
        "optax": optax.__version__,
        "orbax-checkpoint": orbax.checkpoint.__version__,
    }
