"""Faces in memory: what every source becomes and everything downstream takes."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ferjax.data.votes import Votes
from ferjax.emotions import FERPLUS_ORDER, plain_name

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Faces:
    """Labelled face images, all of one size.

    Dimension keys: N images, H height, W width, K classes, S splits.

    Attributes:
        images: uint8 in [0, 255], (N, H, W), gray.
        labels: int32 in [0, K), (N,), positions in `class_names`.
        splits: int8 (N,), positions in `SPLITS`.
        names: where each image comes from: its path inside the source, or "row 17" of a csv, the
            first row under the header being 1.
        class_names: K names in output order; `ferjax.EMOTIONS` wherever they are emotions.
        source_sizes: int32 (N, 2), the height and width that each image had in the source.
        notes: what was recovered, missing or assumed while reading, a sentence each.
        votes: what several people said of each image; None where nobody was asked.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32]
    splits: npt.NDArray[np.int8]
    names: tuple[str, ...]
    class_names: tuple[str, ...]
    source_sizes: npt.NDArray[np.int32]
    notes: tuple[str, ...] = field(default=())
    votes: Votes | None = None

    def __post_init__(self) -> None:
        n = len(self.names)
        if self.images.ndim != 3 or self.images.dtype != np.uint8:
            raise ValueError(
                "expected uint8 (N, H, W) for `images`, "
                f"got {self.images.dtype} {self.images.shape}"
            )
        for name, shape in (("labels", (n,)), ("splits", (n,)), ("source_sizes", (n, 2))):
            got = getattr(self, name).shape
            if got != shape or len(self.images) != n:
                raise ValueError(
                    f"expected {name!r} of shape {shape} for {len(self.images)} images "
                    f"and {n} names, got {got}"
                )
        for name, end in (("labels", len(self.class_names)), ("splits", len(SPLITS))):
            values = getattr(self, name)
            if n and (values.min() < 0 or values.max() >= end):
                raise ValueError(
                    f"expected {name!r} in [0, {end}), got {values.min()} to {values.max()}"
                )
        if self.votes is not None and len(self.votes) != n:
            raise ValueError(f"expected `votes` of {n} images, got of {len(self.votes)}")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> Faces:
        """Return the faces at `rows`, positions or a mask."""
        rows = np.arange(len(self))[rows]
        return replace(
            self,
            images=self.images[rows],
            labels=self.labels[rows],
            splits=self.splits[rows],
            names=tuple(self.names[row] for row in rows),
            source_sizes=self.source_sizes[rows],
            votes=None if self.votes is None else self.votes.take(rows),
        )

    def with_notes(self, *notes: str) -> Faces:
        """Return the faces with further notes."""
        return replace(self, notes=(*self.notes, *notes))

    def in_split(self, split: str) -> npt.NDArray[np.bool_]:
        """Return a mask, (N,), of the faces in a split of `SPLITS`."""
        return self.splits == SPLITS.index(split)

    @cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """The number of images by split and class, (S, K)."""
        flat = self.splits.astype(np.int64) * len(self.class_names) + self.labels
        size = len(SPLITS) * len(self.class_names)
        return np.bincount(flat, minlength=size).reshape(len(SPLITS), -1)

    @cached_property
    def digests(self) -> tuple[bytes, ...]:
        """A hash of each image's pixels: equal digests are exact copies."""
        import hashlib

        images = np.ascontiguousarray(self.images)
        return tuple(hashlib.blake2b(image, digest_size=16).digest() for image in images)


def in_classes_of(faces: Faces, labels: Sequence[str]) -> Faces:
    """Return faces in the classes of a network where no label is of a class that only one side has.

    FER2013 has no image of contempt: a network for eight emotions can be measured on data of seven,
    and one for seven on data prepared with eight. Where the classes differ otherwise, or are none
    but emotions, the faces are returned as they are.
    """
    plain = [plain_name(label) for label in labels]
    names, wanted = list(map(plain_name, faces.class_names)), sorted(plain)
    only_one_side = set(names) ^ set(wanted)
    has_images = {names[k] for k in np.unique(faces.labels)}
    if (
        not only_one_side
        or len(set(wanted)) < len(wanted)
        or not only_one_side <= set(FERPLUS_ORDER) - has_images
    ):
        return faces
    position = np.array([wanted.index(n) if n in wanted else -1 for n in names], np.int32)
    return replace(faces, labels=position[faces.labels], class_names=tuple(wanted))


def checksum(*faces: Faces) -> str:
    """Return what tells these images and labels from others: a CRC-32, in hexadecimal."""
    total = 0
    for part in faces:
        for array in (part.images, part.labels):
            total = zlib.crc32(np.ascontiguousarray(array).data, total)
    return f"{total:08x}"
