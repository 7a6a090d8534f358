"""Checks: copies, contradictions and blank images, counted by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ferjax.data import checks, sources, splits
from ferjax.data.dataset import Faces

TRAIN, VALIDATION, TEST = range(3)
# (image, label, split); images are letters, "0" is black and "1" white.
ROWS = [
    ("a", 0, TRAIN),
    ("a", 0, TRAIN),  # a surplus copy
    ("b", 1, TRAIN),
    ("c", 1, TRAIN),
    ("c", 0, TRAIN),  # contradicts the row above
    ("0", 0, TRAIN),
    ("a", 0, VALIDATION),  # a copy of training images
    ("d", 1, VALIDATION),
    ("1", 0, VALIDATION),
    ("d", 0, TEST),  # a copy of a validation image, which contradicts it
    ("b", 1, TEST),  # a copy of a training image
    ("b", 1, TEST),
    ("e", 1, TEST),
]


def make(rows: list[tuple[str, int, int]]) -> Faces:
    def image(name: str) -> np.ndarray:
        if name in "01":
            return np.full((3, 4), 255 * int(name), np.uint8)
        return np.random.default_rng(ord(name)).integers(0, 256, (3, 4), np.uint8)

    return Faces(
        images=np.array([image(name) for name, *_ in rows], np.uint8).reshape(-1, 3, 4),
        labels=np.array([label for _, label, _ in rows], np.int32),
        splits=np.array([split for *_, split in rows], np.int8),
        names=tuple(f"{i}{name}" for i, (name, *_) in enumerate(rows)),
        class_names=("left", "right"),
        source_sizes=np.array([[3, 4]] * len(rows), np.int32).reshape(-1, 2),
    )


@pytest.fixture
def faces() -> Faces:
    return make(ROWS)


def chosen(mask: np.ndarray) -> list[int]:
    assert mask.dtype == np.bool_
    return np.flatnonzero(mask).tolist()


def test_masks(faces: Faces) -> None:
    assert chosen(checks.blank(faces)) == [5, 8]
    assert chosen(checks.conflicts(faces)) == [3, 4, 7, 9]
    # Training images whose copies are in validation or test, and those copies.
    assert chosen(checks.leaks(faces)) == [0, 1, 2]
    assert chosen(checks.copies_of_training(faces)) == [6, 10, 11]
    assert chosen(checks.copies_of_validation(faces)) == [9]


def test_without_leaks_evaluation_is_whole_and_unseen(faces: Faces) -> None:
    kept = faces.take(~checks.leaks(faces))
    assert kept.counts[1:].tolist() == faces.counts[1:].tolist()
    assert not checks.copies_of_training(kept).any()


def test_report(faces: Faces) -> None:
    report = checks.check(faces)
    assert (report.images, report.unique_images, report.size) == (13, 7, (3, 4))
    assert report.counts == {
        "train": {"left": 4, "right": 2},
        "validation": {"left": 2, "right": 1},
        "test": {"left": 1, "right": 3},
    }
    assert report.surplus_copies == {"train": 2, "validation": 0, "test": 1}
    assert report.copies_of_training == {"validation": 1, "test": 2}
    assert report.copies_of_earlier == {"validation": 1, "test": 3}
    assert report.copies_of_validation == 1
    assert report.copied_training_images == 3
    assert report.conflicts == (("3c", "4c"), ("7d", "9d"))
    assert report.blank == ("50", "81")
    assert report.blank_counts == {"train": 1, "validation": 1, "test": 0}
    assert (report.resized, report.source_sizes) == (0, {"3x4": 13})


def test_pixels() -> None:
    faces = make([("0", 0, TRAIN), ("1", 1, TRAIN), ("1", 0, TEST), ("1", 1, TEST)])
    pixels = checks.check(faces).pixels
    # Half black and half white: the spread is as large as the mean.
    assert pixels["train"] == {"mean": 127.5, "std": 127.5}
    assert pixels["test"] == {"mean": 255.0, "std": 0.0}
    assert pixels["all"]["mean"] == pytest.approx(191.25)
    assert list(pixels) == ["all", "train", "test"]


def test_sizes() -> None:
    faces = make([("a", 0, TRAIN), ("b", 1, TRAIN), ("c", 1, TRAIN)])
    faces.source_sizes[1:] = [100, 80]
    report = checks.check(faces)
    assert (report.resized, report.source_sizes) == (2, {"100x80": 2, "3x4": 1})


def test_a_report_is_json(faces: Faces) -> None:
    document = json.loads(json.dumps(checks.check(faces).to_json()))
    assert document["conflicts"] == [["3c", "4c"], ["7d", "9d"]]
    assert document["counts"]["test"]["right"] == 3
    assert document["size"] == [3, 4]


def test_no_images() -> None:
    faces = make([])
    report = checks.check(faces)
    assert (report.images, report.unique_images, report.pixels) == (0, 0, {})
    for find in (
        checks.blank,
        checks.conflicts,
        checks.leaks,
        checks.copies_of_training,
        checks.copies_of_validation,
    ):
        assert find(faces).shape == (0,)


@pytest.mark.slow
def test_the_real_archive(fer_zip: Path) -> None:
    faces = splits.official(sources.read(fer_zip).faces)
    report = checks.check(faces)
    assert report.copies_of_training["validation"] == 280
    assert report.surplus_copies["train"] == 1236
    assert report.blank_counts == {"train": 11, "validation": 1, "test": 0}
    assert (len(report.conflicts), sum(map(len, report.conflicts))) == (47, 129)
    assert checks.copies_of_training(faces).sum() == 280
    assert report.copied_training_images == checks.leaks(faces).sum() == 351
    assert report.unique_images == 30_766
    # A card split lets no copy across.
    drawn = checks.check(splits.card(faces))
    assert drawn.copies_of_earlier == {"validation": 0, "test": 0}


# --- faces ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("images", np.zeros((13, 3, 4), np.float32), r"expected uint8 \(N, H, W\) for `images`"),
        ("images", np.zeros((13, 3), np.uint8), r"expected uint8 \(N, H, W\) for `images`"),
        ("labels", np.zeros(12, np.int32), "expected 'labels' of shape"),
        ("names", ("a",), "13 images and 1 names"),
        ("labels", np.full(13, 2, np.int32), r"expected 'labels' in \[0, 2\), got 2 to 2"),
        ("splits", np.full(13, -1, np.int8), r"expected 'splits' in \[0, 3\), got -1 to -1"),
    ],
)
def test_faces_are_checked(faces: Faces, field: str, value: object, match: str) -> None:
    from dataclasses import replace

    with pytest.raises(ValueError, match=match):
        replace(faces, **{field: value})


def test_take_by_mask_and_by_position(faces: Faces) -> None:
    for rows in (np.array([12, 0]), faces.in_split("validation")):
        some = faces.take(rows)
        assert some.names == tuple(np.array(faces.names)[rows])
        np.testing.assert_array_equal(some.images, faces.images[rows])
        assert len(some.digests) == len(some)
