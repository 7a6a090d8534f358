"""What weights have seen before, and whether it overlaps with what is being measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ferjax.data.dataset import Faces, checksum


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
    """

    name: str
    split: str
    images: int
    copies: int
    checksum: str
    data_checksum: str


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
    )


def overlaps(metadata: Mapping[str, Any], images: Measured) -> tuple[str, ...]:
    """Return a sentence for each way in which the figures flatter the weights."""
    trained, selected = (_record(metadata, key) for key in ("trained_on", "selected_on"))
    same_data = trained.get("checksum") == images.data_checksum
    same_parts = all(
        str(name).startswith("FER2013 ") for name in (trained.get("data"), images.name)
    )
    notes = []
    if images.split == "train" or _is(trained, images):
        notes.append("accuracy on training images says little about any others")
    elif _is(selected, images) or (same_data and images.split == "validation"):
        notes.append(
            f"the weights were selected on these images ({images.name}): the figures flatter them"
        )
    elif trained and not (same_parts or same_data):
        notes.append(
            f"whether {images.name} overlaps with what the weights were trained on "
            f"({described(trained)}) is not known"
        )
    if images.copies:
        notes.append(
            f"{images.copies:,} of the {images.images:,} images are exact copies of training "
            "images: accuracy without them is the honest one"
        )
    if not trained:
        notes.append(
            "the metadata of the weights does not say what they were trained on: they may have "
            "seen these images"
        )
    if metadata and trained and not selected:
        notes.append("the metadata of the weights does not say what they were selected on")
    return tuple(notes)


def fitted_here(metadata: Mapping[str, Any], images: Measured) -> bool:
    """Return whether the temperature of the weights was fitted on the images that are measured."""
    fitted = _record(_record(metadata, "calibration"), "fitted_on")
    return fitted.get("checksum") == images.checksum or _is(fitted, images)


def described(record: Any) -> str:
    """Return what a metadata record of images says, in words.

    >>> described({"data": "FER2013 Training", "images": 28709})
    'FER2013 Training (28,709 images)'
    """
    if not isinstance(record, Mapping) or not record.get("data"):
        return "not known"
    count = record.get("images")
    return f"{record['data']}" + (f" ({count:,} images)" if isinstance(count, int) else "")


def _record(metadata: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = metadata.get(key)
    return found if isinstance(found, Mapping) else {}


def _is(record: Mapping[str, Any], images: Measured) -> bool:
    return record.get("data") == images.name and record.get("images", images.images) in (
        images.images,
        images.images - images.copies,
    )
