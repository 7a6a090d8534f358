"""What every form of source is read into, and what reading them has in common.

Dimension keys: N images, H height, W width.
"""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from ferjax import hardware
from ferjax.data import split_names
from ferjax.data.class_numbers import NumberNames
from ferjax.data.containers import Container, Member
from ferjax.data.dataset import SPLITS, Faces
from ferjax.data.photographs import FindFaces, Picture, cut_face
from ferjax.errors import DataError, DetectorError, ImageError
from ferjax.image_files import decode
from ferjax.preprocessing import skips_pixels

Progress = Callable[[int, int, str], None]

BATCH: Final = 256  # images handed to a thread at once, at most
BATCH_BYTES: Final = 8 * 2**20
_PHOTOGRAPHS: Final = 8  # handed to a thread at once, at most: finding faces takes longer
_FINDERS: Final = 4  # threads at most, each of which may hold a large photograph
_LOOKED_AT: Final = 8  # images, whether they are whole photographs


@dataclass(frozen=True, kw_only=True)
class Read:
    """What a source holds.

    Attributes:
        faces: the images in natural order, or a csv's order; splits as the source has them.
        bad: the names of items that were left out, and why; empty unless `skip_bad`.
        kind: one of `ferjax.data.sources.KINDS`.
        container: folder, zip, tar, or file for a csv on its own.
        pictures: what was found in each picture, by its name, those included of which no face was
            taken; empty where faces were not looked for.
    """

    faces: Faces
    bad: tuple[tuple[str, str], ...]
    kind: str
    container: str
    pictures: Mapping[str, Picture] = field(default_factory=dict)

    @property
    def left_out(self) -> list[str]:
        """The names of items that gave no image: bad ones, and pictures without a face to take."""
        without = [name for name, picture in self.pictures.items() if picture.face is None]
        return [name for name, _ in self.bad] + without


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What the rows of a table hold: those that can be used, and what is wrong with others.

    Attributes:
        images: uint8 in [0, 255], (N, H, W).
        source_sizes: int32 (N, 2), the sizes that the source has them in.
        labels: each row's label as it stands there.
        splits: int8 (N,), positions in `SPLITS`.
        numbers: each row's number, 1 for the first under the header.
        bad: the numbers of rows that cannot be used, and why.
        notes: what was assumed.
        pictures: what was found in each picture, by the row's number; see `Read`.
    """

    images: npt.NDArray[np.uint8]
    source_sizes: npt.NDArray[np.int32]
    labels: list[str]
    splits: npt.NDArray[np.int8]
    numbers: list[int]
    bad: list[tuple[int, str]]
    notes: list[str]
    pictures: Mapping[int, Picture] = field(default_factory=dict)

    def take(self, positions: Sequence[int] | npt.NDArray[np.intp]) -> Rows:
        """Return the usable rows at `positions`, with all that is said of others."""
        everything = len(positions) == len(self.labels)
        return replace(
            self,
            images=self.images if everything else self.images[positions],
            source_sizes=self.source_sizes[positions],
            labels=[self.labels[position] for position in positions],
            splits=self.splits[positions],
            numbers=[self.numbers[position] for position in positions],
        )


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a caller asks for."""

    size: tuple[int, int]  # (H, W)
    classes_level: int | None
    labels: NumberNames | None
    find_faces: FindFaces | None
    progress: Progress


@contextmanager
def opened_member(container: Container, member: Member) -> Iterator[io.BufferedReader]:
    """Open a member whose errors name it."""
    with named(container, member), container.open(member) as stream:
        yield stream


@contextmanager
def named(container: Container, member: Member) -> Iterator[None]:
    """Put a member's name before errors, where it is not the only one."""
    try:
        yield
    except DataError as error:
        inside = f"{member.name}: " if container.kind != "file" else ""
        raise DataError(f"{inside}{error}") from error


def suffix(member: Member) -> str:
    """Return what a file's name ends in, in small letters: .png."""
    return os.path.splitext(member.name)[1].lower()


def checked_row(label: str, usage: str | None, label_name: str) -> tuple[str, int] | str:
    """Return a row's label and its position in `SPLITS`, or what is wrong with it.

    >>> checked_row(" 3", "PublicTest", "emotion")
    ('3', 1)
    """
    label = label.strip()
    if label.lower() in ("", "nan", "none", "null", "na"):
        return f"expected a label for {label_name}, got {label!r}"
    split: str | None = "train"
    if usage is not None:
        usage = usage.strip()
        test = {"public": "PublicTest", "private": "PrivateTest"}.get(usage.lower(), usage)
        split = split_names.split_of(test)
    if split is None:
        return (
            "expected Training, PublicTest or PrivateTest, or train, validation or test, for "
            f"Usage, got {(usage or '')[:40]!r}"
        )
    return label, SPLITS.index(split)


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Images that were decoded, and what is wrong with others.

    Attributes:
        images: uint8 in [0, 255], (N, H, W); those of `left_out` mean nothing.
        sizes: int32 (N, 2), the sizes that they had.
        reasons: what is wrong with images, by row.
        pictures: what was found in the others, by row; empty where faces were not looked for.
        notes: that images look like whole photographs, where faces were not looked for.
    """

    images: npt.NDArray[np.uint8]
    sizes: npt.NDArray[np.int32]
    reasons: dict[int, str]
    pictures: dict[int, Picture]
    notes: list[str]

    @property
    def left_out(self) -> set[int]:
        """The rows of images that are bad, and of pictures of which no face was taken."""
        empty = {row for row, picture in self.pictures.items() if picture.face is None}
        return empty | set(self.reasons)


def decoded(batches: Iterable[list[tuple[int, bytes]]], count: int, options: Options) -> Decoded:
    """Decode and resize, or find and crop the faces, as `options` say.

    One thread reads `batches`, rows and the content of image files, several decode: OpenCV works
    outside the interpreter's lock. What is read and not yet decoded stays small.

    Args:
        batches: rows and the content of their image files.
        count: N, the number of rows.
        options: the size, and whether faces are looked for.
    """
    result = Decoded(
        images=np.zeros((count, *options.size), np.uint8),
        sizes=np.zeros((count, 2), np.int32),
        reasons={},
        pictures={},
        notes=[],
    )
    sample = {(2 * i + 1) * count // (2 * _LOOKED_AT) for i in range(_LOOKED_AT)}
    photographs: set[int] = set()

    def work(batch: list[tuple[int, bytes]]) -> int:
        for row, data in batch:
            image = _decode(row, data, result, options.find_faces)
            if image is not None and row in sample and _is_photograph(image, options.size):
                photographs.add(row)
        return len(batch)

    workers, unit = min(8, hardware.cores()), "images"
    if options.find_faces is not None:
        workers = min(_FINDERS, workers) if options.find_faces.detector is None else 1
        batches, unit = _in_parts(batches, _PHOTOGRAPHS), "pictures"
    done = 0
    with ThreadPoolExecutor(workers) as pool:
        running: deque[Future[int]] = deque()
        try:
            for batch in batches:
                running.append(pool.submit(work, batch))
                if len(running) > 2 * workers:
                    done += running.popleft().result()
                    options.progress(done, count, unit)
            for future in running:
                done += future.result()
                options.progress(done, count, unit)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # an interrupted call ends at once
            raise
    if 2 * len(photographs) > len(sample):
        result.notes.append(
            f"of {len(sample)} images that were looked at, in {len(photographs)} the face fills "
            "less than half, and all of each is taken for a face: --find-faces (find_faces=) finds "
            "and crops the faces of whole photographs"
        )
    return replace(result, pictures=dict(sorted(result.pictures.items())))


def _decode(
    row: int, data: bytes, result: Decoded, find: FindFaces | None
) -> npt.NDArray[np.uint8] | None:
    """Decode an image into its row of `result`, or say there what is wrong with it.

    Returns:
        The image where it is taken for a face as it is, uint8 (H, W).
    """
    try:
        image = decode(data, "image", 1 if find is None else 3)
        result.sizes[row] = image.shape[:2]
        if find is None:
            fit(image, result.images[row])
            return image
        result.pictures[row] = cut_face(image, result.images[row], find)
    except ImageError as error:
        result.reasons[row] = str(error).removeprefix("image: ")
    except DetectorError as error:
        if find is None or find.detector is None:  # YuNet's file is missing or altered
            raise
        result.reasons[row] = str(error)
    return None


def _is_photograph(image: npt.NDArray[np.uint8], size: tuple[int, int]) -> bool:
    """Whether an image, (H, W), is large and its face small; a quick look."""
    height, width = image.shape
    if not skips_pixels(height, width, size):
        return False
    from ferjax.faces.detection import has_small_face

    return has_small_face(image)


def _in_parts(
    batches: Iterable[list[tuple[int, bytes]]], most: int
) -> Iterator[list[tuple[int, bytes]]]:
    for batch in batches:
        for start in range(0, len(batch), most):
            yield batch[start : start + most]


def fit(image: npt.NDArray[np.uint8], target: npt.NDArray[np.uint8]) -> None:
    """Resize as the published preprocessing does: OpenCV, bilinear."""
    if image.shape == target.shape:
        target[...] = image
    else:
        import cv2

        height, width = target.shape
        target[...] = cv2.resize(image, (width, height))
