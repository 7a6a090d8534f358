"""Splits: FER2013's own parts are found, and 80/10/10 is the same everywhere."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest

import ferjax
from ferjax.data import sources, splits
from ferjax.data.dataset import Faces
from ferjax.data.fer2013 import FER2013_COUNTS
from ferjax.data.splits import apply, card, official

PUBLIC, PRIVATE = FER2013_COUNTS["PublicTest"], FER2013_COUNTS["PrivateTest"]


def make(
    labels: np.ndarray,
    split: np.ndarray | int = 0,
    *,
    images: np.ndarray | None = None,
    names: tuple[str, ...] | None = None,
    class_names: tuple[str, ...] = ferjax.EMOTIONS,
) -> Faces:
    """Return faces of 2x2 pixels, all different unless given."""
    n = len(labels)
    if images is None:
        images = np.arange(n, dtype=np.uint32).view(np.uint8).reshape(n, 2, 2)
    return Faces(
        images=images,
        labels=labels.astype(np.int32),
        splits=np.broadcast_to(np.int8(split), (n,)).copy(),
        names=names or tuple(f"row {i + 1}" for i in range(n)),
        class_names=class_names,
        source_sizes=np.full((n, 2), 2, np.int32),
    )


def kaggle(counts: tuple[int, ...], seed: int | None = None) -> Faces:
    """Return the test folder of Kaggle's archive, in natural order or shuffled."""
    labels, names = [], []
    for label, (folder, count) in enumerate(zip(ferjax.EMOTIONS, counts)):
        labels += [label] * count
        names += [f"test/{folder}/im{i}.png" for i in range(count)]
    faces = make(np.array(labels), 2, names=tuple(names))
    if seed is not None:
        faces = faces.take(np.random.default_rng(seed).permutation(len(faces)))
    return faces


# --- official ------------------------------------------------------------------------------------


def test_the_counts_are_those_published() -> None:
    assert [sum(counts) for counts in FER2013_COUNTS.values()] == [28709, 3589, 3589]
    assert sum(map(sum, FER2013_COUNTS.values())) == 35887


@pytest.mark.parametrize("seed", [None, 0])
def test_the_archives_order_tells_the_parts_apart(seed: int | None) -> None:
    faces = official(kaggle(tuple(a + b for a, b in zip(PUBLIC, PRIVATE)), seed))
    assert tuple(faces.counts[1]) == PUBLIC
    assert tuple(faces.counts[2]) == PRIVATE
    for name, label, split in zip(faces.names, faces.labels, faces.splits):
        number = int(name.split("im")[-1].removesuffix(".png"))
        assert split == (1 if number < PUBLIC[label] else 2)
    assert "told apart by their order" in faces.notes[0]


def test_an_image_left_out_keeps_its_place() -> None:
    faces = kaggle(tuple(a + b for a, b in zip(PUBLIC, PRIVATE)))
    bad = ("test/happy/im3.png", "test/happy/im1773.png", "test/sad/im652.png", "train/sad/im1.png")
    keep = ~np.isin(faces.names, bad)
    expected = official(faces)
    found = official(faces.take(keep), left_out=bad)
    np.testing.assert_array_equal(found.splits, expected.splits[keep])
    # Without knowing of them, the counts are not FER2013's.
    assert np.all(official(faces.take(keep)).splits == 2)


def test_an_archive_with_public_test_alone() -> None:
    faces = official(kaggle(PUBLIC))
    assert tuple(faces.counts[1]) == PUBLIC
    assert faces.notes == (
        "the source's test is PublicTest alone, by its counts: it is validation",
        "no train images: FER2013's Training is not in the source",
        "no test images: FER2013's PrivateTest is not in the source",
    )


def test_an_archive_with_private_test_alone() -> None:
    faces = official(kaggle(PRIVATE))
    assert tuple(faces.counts[2]) == PRIVATE
    assert "no validation images: FER2013's PublicTest is not in the source" in faces.notes


def test_other_counts_keep_the_folders_names() -> None:
    counts = (PUBLIC[0] + PRIVATE[0] + 1, *(a + b for a, b in zip(PUBLIC[1:], PRIVATE[1:])))
    faces = kaggle(counts)
    found = official(faces)
    np.testing.assert_array_equal(found.splits, faces.splits)
    assert "the source's test is not FER2013's, by its counts: it stays test" in found.notes


def test_splits_that_are_there_stay() -> None:
    labels = np.tile(np.arange(7), 3)
    faces = official(make(labels, np.repeat([0, 1, 2], 7)))
    assert faces.splits.tolist() == [0] * 7 + [1] * 7 + [2] * 7
    assert faces.notes == ()
    other = official(make(np.array([0, 1]), np.array([0, 2]), class_names=("a", "b")))
    assert other.splits.tolist() == [0, 2]
    assert other.notes == ("no validation images",)


def test_a_whole_archive_from_the_disk(tmp_path: Path) -> None:
    """7,178 images whose pixels say to which part they belong."""
    shade = {"public": 10, "private": 200}
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w") as archive:
        folders = "angry disgusted fearful happy neutral sad surprised".split()
        for folder, public, private in zip(folders, PUBLIC, PRIVATE):
            for i in reversed(range(public + private)):
                value = shade["public" if i < public else "private"]
                image = np.full((4, 4), value, np.uint8)
                archive.writestr(
                    f"test/{folder}/im{i}.png", cv2.imencode(".png", image)[1].tobytes()
                )
    faces = official(sources.read(path).faces)
    assert np.all(faces.images[faces.in_split("validation")] == 10)
    assert np.all(faces.images[faces.in_split("test")] == 200)
    assert faces.counts[1:].tolist() == [list(PUBLIC), list(PRIVATE)]


# --- card ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, -5, 2**70])
def test_each_class_is_80_10_10(seed: int) -> None:
    sizes = (1000, 5, 4, 14, 15, 1, 333)
    faces = card(make(np.repeat(np.arange(7), sizes)), seed=seed)
    # A tenth rounded, halves up, by hand.
    assert faces.counts[1].tolist() == [100, 1, 0, 1, 2, 0, 33]
    assert faces.counts[2].tolist() == [100, 1, 0, 1, 2, 0, 33]
    assert faces.counts[0].tolist() == [800, 3, 4, 12, 11, 1, 267]
    assert faces.notes[0].endswith(f"seed {seed}")


def with_copies(n: int = 3000, seed: int = 0) -> Faces:
    """Return faces of which a third are copies, some with another label."""
    rng = np.random.default_rng(seed)
    source = np.where(rng.random(n) < 0.35, rng.integers(0, n, n), np.arange(n))
    source[:40] = 7  # as the black images: one large group over all classes
    images = np.arange(n, dtype=np.uint32).view(np.uint8).reshape(n, 2, 2)[source]
    own = rng.choice(7, n, p=[0.14, 0.02, 0.14, 0.25, 0.17, 0.17, 0.11])
    labels = np.where(rng.random(n) < 0.05, own, own[source])
    return make(labels, images=images)


def test_copies_stay_together_and_counts_hold() -> None:
    faces = card(with_copies())
    where = defaultdict(set)
    for digest, split in zip(faces.digests, faces.splits.tolist()):
        where[digest].add(split)
    assert len(where) < 2500
    assert all(len(found) == 1 for found in where.values())
    total = faces.counts.sum(0)
    assert np.all(np.abs(faces.counts - total * np.array([[0.8], [0.1], [0.1]])) <= 1)


def test_copies_go_to_all_splits() -> None:
    faces = card(with_copies())
    number = dict.fromkeys(faces.digests, 0)
    for digest in faces.digests:
        number[digest] += 1
    copied = np.array([number[digest] > 1 for digest in faces.digests])
    shares = np.bincount(faces.splits[copied], minlength=3) / copied.sum()
    assert 0.7 < shares[0] < 0.9 and min(shares[1:]) > 0.05


def test_the_draw_does_not_depend_on_the_order_of_the_source() -> None:
    faces = with_copies()
    order = np.random.default_rng(1).permutation(len(faces))
    np.testing.assert_array_equal(card(faces.take(order)).splits, card(faces).splits[order])


def test_seeds_draw_differently_and_at_random() -> None:
    faces = make(np.arange(7000) % 7)
    first, second = (card(faces, seed=seed).splits for seed in (0, 1))
    np.testing.assert_array_equal(first, card(faces, seed=0).splits)
    # Two independent draws agree on 0.8^2 + 0.1^2 + 0.1^2 = 66 % of images.
    assert 0.63 < (first == second).mean() < 0.69
    assert 0.07 < (first[:3500] == 1).mean() < 0.13


def test_the_draw_is_the_same_on_every_machine() -> None:
    """Two of 20 each, those whose keyed hashes are lowest: computed once with hashlib alone."""
    faces = make(np.zeros(20, int), class_names=("face",))
    expected = [int(x) for x in "00001200000000120000"]
    assert card(faces, seed=3).splits.tolist() == expected
    code = (
        "import numpy as np\n"
        "from ferjax.data.dataset import Faces\n"
        "from ferjax.data.splits import card\n"
        "f = Faces(images=np.arange(20, dtype=np.uint32).view(np.uint8).reshape(20, 2, 2),\n"
        "    labels=np.zeros(20, np.int32), splits=np.zeros(20, np.int8), names=('x',) * 20,\n"
        "    class_names=('face',), source_sizes=np.full((20, 2), 2, np.int32))\n"
        "print(card(f, seed=3).splits.tolist())\n"
    )
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == str(expected)


def test_images_that_are_all_copies() -> None:
    same = np.zeros((30, 2, 2), np.uint8)
    faces = card(make(np.zeros(30, int), images=same, class_names=("face",)))
    assert len(set(faces.splits.tolist())) == 1


def test_no_images() -> None:
    faces = card(make(np.zeros(0, int), images=np.zeros((0, 2, 2), np.uint8)))
    assert len(faces) == 0


def test_schemes_by_name() -> None:
    faces = make(np.arange(70) % 7)
    np.testing.assert_array_equal(apply(faces, "card", seed=2).splits, card(faces, seed=2).splits)
    np.testing.assert_array_equal(apply(faces, "official").splits, faces.splits)
    assert splits.SCHEMES == ("official", "card")
    with pytest.raises(ValueError, match="expected official or card for `scheme`, got 'random'"):
        apply(faces, "random")


# --- the real images -----------------------------------------------------------------------------


@pytest.mark.slow
def test_the_real_archive(fer_zip: Path) -> None:
    faces = sources.read(fer_zip).faces
    found = official(faces)
    assert found.counts.tolist() == [list(FER2013_COUNTS["Training"]), list(PUBLIC), [0] * 7]
    assert "no test images: FER2013's PrivateTest is not in the source" in found.notes
    drawn = card(faces)
    tenth = [446, 49, 459, 811, 557, 548, 359]  # of 4462, 492, 4593, 8110, 5572, 5483, 3586
    assert drawn.counts[1:].tolist() == [tenth, tenth]


def test_parts_of_fer2013_are_known_by_their_counts() -> None:
    faces = make(np.repeat(np.arange(7), PUBLIC), 1)
    assert splits.fer2013_part(faces) == "PublicTest"
    assert splits.fer2013_part(faces.take(np.arange(1, len(faces)))) is None
    other = make(np.repeat(np.arange(7), PUBLIC), 1, class_names=tuple("abcdefg"))
    assert splits.fer2013_part(other) is None
