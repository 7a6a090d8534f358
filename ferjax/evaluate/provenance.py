"""What weights have seen before, and whether it overlaps with what is being measured."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ferjax.data import checks
from ferjax.data.dataset import Faces, checksum
from ferjax.errors import printable
from ferjax.metadata import teachers

_ONLY_HERE: Final = "exact copies could be looked for only among this data's own training images"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The images that are measured.

    Attributes:
        name: a part of FER2013, or the split and the folder.
        split: "train", "validation" or "test".
        images: how many.
        copies: how many of them are exact copies of training images of the same data.
        checksum: of these images and labels.
        data_checksum: of the data's training and validation images, as training records it.
        copies_of_validation: how many test images are exact copies of validation images.
    """

    name: str
    split: str
    images: int
    copies: int
    checksum: str
    data_checksum: str
    copies_of_validation: int = 0


def measured(faces: Faces, split: str, copies: int, name: str) -> Measured:
    """Describe the images of a split."""
    parts = {part: faces.take(faces.in_split(part)) for part in ("train", "validation", split)}
    return Measured(
        name=name,
        split=split,
        images=len(parts[split]),
        copies=copies,
        checksum=checksum(parts[split]),
        data_checksum=checksum(parts["train"], parts["validation"]),
        copies_of_validation=int(checks.copies_of_validation(faces)[faces.in_split(split)].sum()),
    )


def overlaps(metadata: Mapping[str, Any], images: Measured) -> tuple[str, ...]:
    """Return a sentence for each way in which the figures flatter the weights.

    Weights have seen what those saw that they started from or were taught by, and so on back.
    """
    trained, selected = (record_of(metadata, key) for key in ("trained_on", "selected_on"))
    notes = []
    seen = _has_seen(trained, images) or (images.split == "train" and not trained)
    unsearched = _is_unsearched(trained, images) and images.split != "train"
    if seen:
        notes.append("accuracy on training images says little about any others")
    elif _is(selected, images) or _was_validation(trained, images):
        notes.append(
            f"the weights were selected on these images ({images.name}{_label_source(selected)}): "
            "the figures flatter them"
        )
    elif trained and not _is_apart(trained, images):
        notes.append(
            f"whether {images.name} overlaps with what the weights were trained on "
            f"({described(trained)}) is not known" + (f": {_ONLY_HERE}" if unsearched else "")
        )
        unsearched = False
    if unsearched:
        notes.append(
            f"{_ONLY_HERE}, not among what the weights were trained on ({described(trained)})"
        )
    if not seen:
        notes += _earlier_overlaps(metadata, images)
    if images.copies:
        notes.append(
            f"{images.copies:,} of the {images.images:,} images are exact copies of training "
            "images: accuracy without them is the honest one"
        )
    if images.copies_of_validation:
        is_certain = _is_same_data(trained, images) or _is_apart(selected, images)
        were = "were" if is_certain else "may have been"
        notes.append(
            f"{images.copies_of_validation:,} of the {images.images:,} images are exact copies of "
            f"validation images, on which the weights {were} selected"
        )
    if not trained:
        notes.append(
            "the metadata of the weights does not say what they were trained on: they may have "
            "seen these images"
        )
    if metadata and trained and not selected:
        notes.append("the metadata of the weights does not say what they were selected on")
    return tuple(notes)


def copies_unknown(metadata: Mapping[str, Any], images: Measured) -> str | None:
    """Return a sentence where the weights, or earlier ones, were trained on other images than those
    of this data, among which copies were looked for; None where they are not known to be.
    """
    every = [metadata, *(earlier for *_, earlier in _earlier(metadata))]
    if not any(_is_unsearched(record_of(weights, "trained_on"), images) for weights in every):
        return None
    return f"{_ONLY_HERE}, not among all that the weights were trained on"


def fitted_here(metadata: Mapping[str, Any], images: Measured) -> bool:
    """Return whether the temperature of the weights was fitted on the images that are measured."""
    fitted = record_of(record_of(metadata, "calibration"), "fitted_on")
    return fitted.get("checksum") == images.checksum or _is(fitted, images)


def calibrated_on(metadata: Mapping[str, Any]) -> str:
    """Return what the calibration of the weights was fitted on, in words."""
    calibration = record_of(metadata, "calibration")
    target = ", to people's votes" if calibration.get("targets") == "votes" else ""
    return f"{described(calibration.get('fitted_on'))}{target}"


def described(record: Any) -> str:
    """Return what a metadata record of images says, in words.

    >>> described({"data": "FER2013 Training", "images": 28709})
    'FER2013 Training (28,709 images)'
    >>> described({"data": "x", "labels": "majority of people, 7 classes"})
    'x, by the majority of people, 7 classes'
    """
    if not isinstance(record, Mapping) or not record.get("data"):
        return "not known"
    count = record.get("images")
    images = f" ({count:,} images)" if isinstance(count, int) else ""
    return f"{record['data']}{images}{_label_source(record)}"


def _label_source(record: Mapping[str, Any]) -> str:
    """Return which labels images had, where these were not their own."""
    if labels := record.get("labels"):
        return f", by the {printable(str(labels), 100)}"
    return ", with people's votes" if record.get("votes") else ""


def _earlier_overlaps(metadata: Mapping[str, Any], images: Measured) -> list[str]:
    """Return a sentence for each way in which earlier weights know the images that are measured."""
    own, selected = (record_of(metadata, key) for key in ("trained_on", "selected_on"))
    here = f"on these images ({images.name}): the figures flatter the weights"
    sentences: dict[tuple[str, str, str], list[str]] = {}  # start, role, end: the weights in it
    for name, role, earlier in _earlier(metadata):
        trained = record_of(earlier, "trained_on")
        if not trained:
            ends = ("nothing says what ", "trained on: these images may be among it")
        elif all(trained.get(key) == own.get(key) for key in ("data", "images", "checksum")):
            continue  # what the weights themselves have seen
        elif _has_seen(trained, images):
            ends = ("", f"trained {here}")
        elif _was_validation(trained, images):
            if _is(selected, images):
                continue
            ends = ("", f"selected {here}")
        elif _is_apart(trained, images):
            if not _is_unsearched(trained, images) or images.split == "train":
                continue
            ends = (f"{_ONLY_HERE}, not among what ", f"trained on ({described(trained)})")
        else:
            ends = (
                f"whether {images.name} overlaps with what ",
                f"trained on ({described(trained)}) is not known",
            )
        names = sentences.setdefault((ends[0], role, ends[1]), [])
        if name not in names:
            names.append(name)
    return [
        f"{start}{' and '.join(names)}, which {role}, {'was' if len(names) == 1 else 'were'} {end}"
        for (start, role, end), names in sentences.items()
    ]


def _earlier(metadata: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield the weights that had a part in weights: their name, their part, their metadata."""
    waiting = deque([("the weights", metadata)])
    while waiting:
        name, record = waiting.popleft()
        training = record_of(record, "training")
        parts = [(f"{name} started from", training.get("started_from"))]
        parts += [(f"taught {name}", teacher) for teacher in teachers(training)]
        for role, earlier in parts:
            if earlier and isinstance(earlier, Mapping):
                name = printable(str(earlier.get("file")), 100)
                if earlier.get("sha256"):  # most are called best.h5
                    name += f" (SHA-256 {printable(str(earlier['sha256'])[:8])}...)"
                yield name, role, earlier
                waiting.append((name, earlier))


def record_of(metadata: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return what metadata has under a key, {} where that is no record."""
    record = metadata.get(key)
    return record if isinstance(record, Mapping) else {}


def _is_apart(trained: Mapping[str, Any], images: Measured) -> bool:
    """Return whether what was trained on is another part of FER2013 or of the same data."""
    names = (trained.get("data"), images.name)
    same_parts = all(str(name).startswith("FER2013 ") for name in names)
    return same_parts or _is_same_data(trained, images)


def _is_same_data(trained: Mapping[str, Any], images: Measured) -> bool:
    """Return whether the images come from the data that was trained and selected on."""
    return trained.get("checksum") == images.data_checksum


def _has_seen(trained: Mapping[str, Any], images: Measured) -> bool:
    """Return whether the images are what was trained on."""
    return _is(trained, images) or (images.split == "train" and _is_same_data(trained, images))


def _is_unsearched(trained: Mapping[str, Any], images: Measured) -> bool:
    """Return whether copies of what was trained on were not looked for, as far as is known."""
    return bool(trained) and not (_is_same_data(trained, images) or _is(trained, images))


def _was_validation(trained: Mapping[str, Any], images: Measured) -> bool:
    """Return whether the images are the validation split of what was trained on."""
    return images.split == "validation" and _is_same_data(trained, images)


def _is(record: Mapping[str, Any], images: Measured) -> bool:
    return record.get("data") == images.name and record.get("images", images.images) in (
        images.images,
        images.images - images.copies,
    )
