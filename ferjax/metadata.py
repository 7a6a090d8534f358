"""What travels beside a weight file: labels, input, source, licence, hash, measured accuracy."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from ferjax import priors
from ferjax.digests import sha256
from ferjax.emotions import are_names
from ferjax.errors import PriorError, WeightFileError
from ferjax.files import json_text, replacing
from ferjax.scaling import Scaling

# Under which name it stands, as JSON, in the files that ferjax writes; Keras does not look at it.
METADATA = "ferjax_metadata"
_SUFFIXES = (".weights.h5", ".h5", ".hdf5", ".keras")
_MOST_BYTES = 1 << 20
_LONGEST = 4096  # pixels


def sidecar(weights: str | os.PathLike[str]) -> Path:
    """Return the path of the metadata file of a weight file.

    >>> sidecar("checkpoints/fer_cnn5.h5").name
    'fer_cnn5.metadata.json'
    """
    path = Path(weights)
    suffix = next((s for s in _SUFFIXES if path.name.lower().endswith(s)), path.suffix)
    # Not `with_name`, which "." and "/" do not have.
    return path.parent / (path.name[: len(path.name) - len(suffix)] + ".metadata.json")


def in_parts(weights: str | os.PathLike[str]) -> str | None:
    """Return what weights in several files are, which no hash of one file tells from others.

    >>> in_parts("model.weights.json"), in_parts("model.h5")
    ('an index of shards', None)
    """
    if os.path.isdir(weights):
        return "a folder"
    is_index = os.fspath(weights).lower().endswith(".weights.json")
    return "an index of shards" if is_index else None


def read(
    weights: str | os.PathLike[str], *, quiet: bool = False, digest: str | None = None
) -> dict[str, Any]:
    """Return the metadata beside a weight file; empty, with a warning, where it is another file's.

    A file without metadata is usual, and gives an empty result without a warning.

    Args:
        quiet: leave the warning out.
        digest: the weight file's SHA-256, where it is known.
    """

    def ignored(why: str) -> dict[str, Any]:
        if not quiet:
            warnings.warn(f"{path}: {why}, ignored", stacklevel=3)
        return {}

    path = sidecar(weights)
    if in_parts(weights) or not path.is_file() or path.stat().st_size > _MOST_BYTES:
        return {}
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError):
        metadata = None
    if not isinstance(metadata, dict):
        return ignored("not JSON metadata")
    if metadata.get("sha256") != (digest or sha256(weights)):
        return ignored(f"describes other weights than {weights}")
    return metadata


def own(weights: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the metadata beside a weight file, to be changed and written again; perhaps empty.

    Raises:
        WeightFileError: something else lies in its place.
    """
    metadata = read(weights, quiet=True)
    if not metadata and (path := sidecar(weights)).exists():
        raise WeightFileError(weights, f"{path} describes other weights; move it away first")
    return metadata


def labels(metadata: Mapping[str, Any]) -> list[str] | None:
    """Return the class names in output order, or None where the metadata has none.

    Numbers in the place of names are none.

    >>> labels({"labels": ["calm", "tense"]})
    ['calm', 'tense']
    >>> labels({"labels": ["0", "1"]})
    """
    names = _names(metadata)
    return names if are_names(names) else None


def _names(metadata: Mapping[str, Any]) -> list[str] | None:
    names = metadata.get("labels")
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if is_list and names else None


def image_size(metadata: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return (H, W) of the images that the weights take, or None where the metadata does not say.

    >>> image_size({"input": {"height": 48, "width": 64}})
    (48, 64)
    """
    size = metadata.get("input")
    if not isinstance(size, Mapping):
        return None
    height, width = size.get("height"), size.get("width")
    if not (
        type(height) is type(width) is int and 0 < height <= _LONGEST and 0 < width <= _LONGEST
    ):
        return None
    return height, width


def value_range(
    metadata: Mapping[str, Any], weights: str | os.PathLike[str]
) -> tuple[float, float] | None:
    """Return what black and white are to the network, or None where the metadata does not say.

    Raises:
        WeightFileError: it says something else.

    >>> value_range({"value_range": [-1, 1]}, "model.h5")
    (-1.0, 1.0)
    """
    values = metadata.get("value_range")
    if values is None:
        return None
    try:
        low, high = (float(value) for value in values)
    except (TypeError, ValueError):
        low = high = math.nan
    if not -math.inf < low < high < math.inf:
        raise WeightFileError(
            weights, f"metadata: expected [black, white] for value_range, got {values!r:.100}"
        )
    return low, high


def scaling(
    metadata: Mapping[str, Any], weights: str | os.PathLike[str], labels: Sequence[str]
) -> Scaling | None:
    """Return what calibrates the probabilities, or None where there is nothing.

    Args:
        labels: what the classes are called where the metadata has no names, in output order.

    Raises:
        WeightFileError: the metadata says something else than a positive temperature and, perhaps,
            a finite offset of each class.

    >>> scaling({"calibration": {"temperature": 1.5}}, "model.h5", ["calm", "tense"]).temperature
    1.5
    """
    stored = metadata.get("calibration")
    if stored is None:
        return None
    temperature = stored.get("temperature") if isinstance(stored, Mapping) else None
    if not (_is_finite(temperature) and temperature > 0):
        expected = '{"temperature": a positive number} for calibration'
        raise WeightFileError(weights, f"metadata: expected {expected}, got {stored!r:.100}")
    offsets, shares = stored.get("offsets"), stored.get("prior")
    if offsets is None:
        return Scaling(temperature=float(temperature))
    names = class_names(metadata, labels)
    is_by_class = isinstance(offsets, Mapping) and set(offsets) == set(names)
    if not is_by_class or not all(map(_is_finite, offsets.values())):
        raise WeightFileError(
            weights,
            "metadata: expected a finite number of each class for the offsets of calibration, "
            f"{', '.join(names)}, got {offsets!r:.100}",
        )
    prior = None
    if shares is not None:
        try:
            prior = tuple(priors.shares(shares, names, name="prior of calibration").tolist())
        except PriorError as error:
            raise WeightFileError(weights, f"metadata: {error}") from None
    return Scaling(
        temperature=float(temperature),
        offsets=tuple(float(offsets[name]) for name in names),
        prior=prior,
    )


def class_names(metadata: Mapping[str, Any], labels: Sequence[str]) -> list[str]:
    """Return the names by which the metadata knows the classes, in output order.

    They are its own, whatever the classes are called now, or else `labels`.
    """
    names = _names(metadata)
    return list(names if names and len(names) == len(labels) else labels)


def renamed(
    metadata: Mapping[str, Any], before: Sequence[str] | None, after: Sequence[str]
) -> dict[str, Any]:
    """Return metadata whose numbers of classes go by other names; names are in output order.

    >>> renamed({"prior": {"a": 0.25, "b": 0.75}}, ["a", "b"], ["calm", "tense"])["prior"]
    {'calm': 0.25, 'tense': 0.75}
    """
    names = dict(zip(before, after)) if before and len(before) == len(after) else {}

    def with_names(record: Mapping[str, Any], *keys: str) -> dict[str, Any]:
        by_class = {
            key: {names[name]: number for name, number in record[key].items()}
            for key in keys
            if isinstance(record.get(key), Mapping) and set(record[key]) == set(names)
        }
        return {**record, **by_class}

    result = with_names(metadata, "prior", "training_frequencies")
    calibration = result.get("calibration")
    if isinstance(calibration, Mapping):
        result["calibration"] = with_names(calibration, "prior", "offsets")
    return result


def _is_finite(value: Any) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


def trainings(metadata: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the records of the trainings that led to the weights, in the order of time.

    One, but where a training started from weights of another, as `ferjax train --init` does. The
    first may have started from weights of which no training is known: "started_from".

    >>> first = {"recipe": {"name": "fast"}}
    >>> more = {"recipe": {"name": "published"}, "started_from": {"training": first}}
    >>> [training["recipe"]["name"] for training in trainings({"training": more})]
    ['fast', 'published']
    """
    records: list[Mapping[str, Any]] = []
    start: Any = metadata
    while isinstance(start, Mapping) and _is_training(start.get("training")):
        records.insert(0, start["training"])
        start = records[0].get("started_from")
    return records


def teachers(training: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what the record of a training says of each of its teachers, perhaps nothing.

    >>> teachers({"teachers": [{"file": "best.h5"}, None]})
    [{'file': 'best.h5'}, {}]
    """
    listed = training.get("teachers")
    teachers = listed if isinstance(listed, list) else []
    return [teacher if isinstance(teacher, Mapping) else {} for teacher in teachers]


def _is_training(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("recipe", {}), Mapping)


def accuracy(
    dataset: str,
    correct: int,
    images: int,
    loss: float | None,
    *,
    view: str = "single",
    note: str,
    labels: str | None = None,
    prior: str | None = None,
) -> dict[str, Any]:
    """Return an accuracy with what it was measured on; `loss` is the mean in nats.

    Args:
        labels: what is right, where that is not the dataset's own label.
        prior: what the probabilities hold for, where that is not what the network's outputs do.

    >>> accuracy("FER2013 PublicTest", 2, 3, 0.51239, note="")["top_1"]
    0.6667
    """
    entry = {
        "dataset": dataset,
        "images": images,
        "correct": correct,
        "top_1": round(correct / images, 4) if images else None,
        "loss": round(loss, 4) if images and loss is not None else None,
        "view": view,
        "note": note,
    }
    optional = {"labels": labels, "prior": prior}
    return entry | {key: value for key, value in optional.items() if value is not None}


def with_accuracies(
    metadata: Mapping[str, Any], measured: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the accuracies of the metadata, with those just measured in the place of earlier ones.

    Earlier ones are of the same data, view and labels, whatever they say. Those against the
    dataset's own labels come first.

    >>> old = {"accuracy": [{"dataset": "a", "view": "flip"}, {"dataset": "a", "view": "single"}]}
    >>> with_accuracies(old, [{"dataset": "a", "view": "flip", "top_1": 0.5}])[0]
    {'dataset': 'a', 'view': 'flip', 'top_1': 0.5}
    """

    def key(entry: Mapping[str, Any]) -> tuple[Any, ...]:
        return entry.get("dataset"), entry.get("view"), entry.get("labels")

    entries = metadata.get("accuracy") or []
    replaced = {key(entry) for entry in measured}
    others = [entry for entry in entries if key(entry) not in replaced]
    place = next((i for i, entry in enumerate(entries) if key(entry) in replaced), len(others))
    together = [*others[:place], *measured, *others[place:]]
    return sorted(together, key=lambda entry: entry.get("labels") is not None)


def is_shared(weights: str | os.PathLike[str]) -> bool:
    """Return whether other weight files lie there whose metadata would have the same place."""
    place, name = sidecar(weights), Path(weights).name
    try:
        neighbours = [path for path in place.parent.iterdir() if path.name != name]
    except OSError:  # a folder that may not be listed
        return False
    kinds = (*_SUFFIXES, ".msgpack")
    return any(n.name.lower().endswith(kinds) and sidecar(n) == place for n in neighbours)


def is_free(weights: str | os.PathLike[str]) -> bool:
    """Return whether no metadata of another weight file lies where that of this one goes.

    The weight file need not exist yet; `m.h5` and `m.keras` in a folder share the place.
    """
    if not sidecar(weights).exists():
        return True
    return Path(weights).is_file() and bool(read(weights, quiet=True))


def write(weights: str | os.PathLike[str], metadata: Mapping[str, Any]) -> Path:
    """Write the metadata beside a weight file, with the file's SHA-256, and return its path."""
    path = sidecar(weights)
    with replacing(path) as temporary:
        text = json_text({**metadata, "sha256": sha256(weights)})
        temporary.write_text(text, encoding="utf-8")
    return path
