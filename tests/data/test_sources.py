"""Sources: every form gives the same faces, and what is bad is named."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import sys
import tarfile
import threading
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import ferjax
from ferjax.data import archive_guards, pixel_csv, sources
from ferjax.data.dataset import Faces
from ferjax.emotions import FER2013_CSV_ORDER
from ferjax.errors import DataError, FerjaxError
from ferjax.image_files import natural
from ferjax.preprocessing import preprocess

KAGGLE = dict(zip(ferjax.EMOTIONS, "angry disgusted fearful happy neutral sad surprised".split()))
USAGES = ("Training", "PublicTest", "PrivateTest")
TREE = dict[str, bytes]


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def face(seed: int, size: tuple[int, int] = (48, 48)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def kaggle_tree(train: int = 12, test: int = 2) -> TREE:
    """Return Kaggle's layout: path -> content. Every image is another."""
    return {
        f"{split}/{folder}/im{i}.png": png(face(100 * row + i + 50 * (split == "test")))
        for split, number in (("train", train), ("test", test))
        for row, folder in enumerate(KAGGLE.values())
        for i in range(number)
    }


def write_folder(tree: TREE, path: Path) -> Path:
    for name, data in tree.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return path


def write_zip(tree: TREE, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in tree.items():
            archive.writestr(name, data)
    return path


def write_tar(tree: TREE, path: Path) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, data in tree.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


WRITERS: dict[str, Callable[[TREE, Path], Path]] = {
    "folder": write_folder,
    "faces.zip": write_zip,
    "faces.tar.gz": write_tar,
    "faces.tar": write_tar,
}


def csv_text(faces: Faces, order: str = "emotion,pixels,Usage") -> bytes:
    lines = [order]
    for image, label, split in zip(faces.images, faces.labels, faces.splits):
        fields = {
            "emotion": str(FER2013_CSV_ORDER.index(ferjax.EMOTIONS[label])),
            "pixels": " ".join(map(str, image.ravel().tolist())),
            "Usage": USAGES[split],
        }
        lines.append(",".join(fields[name.strip()] for name in order.split(",")))
    return "\n".join(lines).encode() + b"\n"


def row(emotion: object = 3, pixels: str = " ".join(["7"] * 2304), usage: str = "Training") -> str:
    return f"{emotion},{pixels},{usage}"


def csv_file(path: Path, *rows: str, header: str = "emotion,pixels,Usage") -> Path:
    """Write a csv with a good row of each class, then `rows`."""
    every = [row(emotion) for emotion in range(7)]
    path.write_text("\n".join([header, *every, *rows]) + "\n")
    return path


def contents(faces: Faces) -> list[tuple[bytes, int, int]]:
    """Return pixels, label and split of each face, in an order of their own."""
    return sorted(
        zip((i.tobytes() for i in faces.images), faces.labels.tolist(), faces.splits.tolist())
    )


# --- what is read --------------------------------------------------------------------------------


def test_a_folder_of_kaggles_archive(tmp_path: Path) -> None:
    found = sources.read(write_folder(kaggle_tree(), tmp_path))
    faces = found.faces
    assert (found.kind, found.container, found.bad) == ("kaggle", "folder", ())
    assert faces.class_names == ferjax.EMOTIONS
    assert (faces.images.dtype, faces.images.shape) == (np.uint8, (98, 48, 48))
    assert (faces.labels.dtype, faces.splits.dtype) == (np.int32, np.int8)
    assert faces.counts.tolist() == [[12] * 7, [0] * 7, [2] * 7]
    assert np.all(faces.source_sizes == 48)
    # In natural order, im2 before im10.
    assert faces.names[14:18] == tuple(f"train/angry/im{i}.png" for i in range(4))
    assert faces.names[24:27] == tuple(
        f"train/{x}.png" for x in ("angry/im10", "angry/im11", "disgusted/im0")
    )
    for name, image, label in zip(faces.names, faces.images, faces.labels):
        assert KAGGLE[ferjax.EMOTIONS[label]] == name.split("/")[1]
        np.testing.assert_array_equal(image, cv2.imread(str(tmp_path / name), 0))


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("top", ["", "fer/", "./", "a/b/"])
def test_every_form_gives_the_same(form: str, top: str, tmp_path: Path) -> None:
    tree = kaggle_tree(3)
    expected = sources.read(write_folder(tree, tmp_path / "plain")).faces
    path = WRITERS[form]({top + name: data for name, data in tree.items()}, tmp_path / form)
    found = sources.read(path)
    assert found.kind == "kaggle"
    np.testing.assert_array_equal(found.faces.images, expected.images)
    np.testing.assert_array_equal(found.faces.labels, expected.labels)
    np.testing.assert_array_equal(found.faces.splits, expected.splits)


def test_the_content_tells_the_form_and_not_the_name(tmp_path: Path) -> None:
    tree = kaggle_tree(1, 1)
    archive = write_zip(tree, tmp_path / "a.zip").rename(tmp_path / "a.tar.gz")
    assert sources.read(archive).container == "zip"
    other = write_tar(tree, tmp_path / "b.tar.gz").rename(tmp_path / "b.csv")
    assert sources.read(other).container == "tar"


@pytest.mark.parametrize("order", ["emotion,pixels,Usage", "emotion, Usage, pixels"])
@pytest.mark.parametrize("form", ["plain", "gz", "folder", "zip", "tar.gz"])
def test_csv_files(order: str, form: str, tmp_path: Path) -> None:
    expected = sources.read(write_folder(kaggle_tree(3), tmp_path / "plain")).faces
    data = csv_text(expected, order)
    path = tmp_path / f"fer.{form}"
    inside = {
        "fer2013/fer2013.csv": data,
        "fer2013/README": b"Cite us.",
        "fer2013/fer2013.bib": b"",
    }
    if form == "plain":
        path.write_bytes(data)
    elif form == "gz":
        path.write_bytes(gzip.compress(data))
    else:
        {"folder": write_folder, "zip": write_zip, "tar.gz": write_tar}[form](inside, path)
    found = sources.read(path)
    assert found.kind == "csv"
    assert found.faces.class_names == ferjax.EMOTIONS
    np.testing.assert_array_equal(found.faces.images, expected.images)
    np.testing.assert_array_equal(found.faces.labels, expected.labels)
    assert np.all(found.faces.splits == np.where(expected.splits == 2, 2, 0))
    assert found.faces.names[:2] == ("row 1", "row 2")


def test_csv_ids_are_not_the_output_order(tmp_path: Path) -> None:
    faces = sources.read(csv_file(tmp_path / "a.csv")).faces
    names = [faces.class_names[label] for label in faces.labels]
    assert names == "angry disgust fear happy sad surprise neutral".split()
    assert np.all(faces.images == 7)


def test_csv_values_spaces_and_line_ends(tmp_path: Path) -> None:
    values = [i % 256 for i in range(2304)]
    odd = "  " + "  ".join(f"{v:03d}" for v in values) + " "
    path = csv_file(
        tmp_path / "a.csv",
        row(0, " ".join(map(str, values)), " PublicTest "),
        "",
        f'"0","{odd}","PRIVATETEST"',
        row("Happiness"),
    )
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    faces = sources.read(path).faces
    assert faces.names[7:] == ("row 8", "row 9", "row 10")
    for image in faces.images[7:9]:
        np.testing.assert_array_equal(image.ravel(), values)
    assert faces.splits[7:].tolist() == [1, 2, 0]
    assert faces.class_names[faces.labels[9]] == "happy"


def test_a_csv_without_usage_is_all_train(tmp_path: Path) -> None:
    rows = [f"{emotion},{' '.join(['1'] * 2304)}" for emotion in range(7)]
    path = tmp_path / "train.csv"
    path.write_text("\n".join(["emotion,pixels", *rows]))
    faces = sources.read(path).faces
    assert faces.counts[0].tolist() == [1] * 7
    assert faces.notes == ("there is no column Usage: all images are in train",)


def test_the_competitions_archive_has_other_csv_files(tmp_path: Path) -> None:
    data = csv_file(tmp_path / "a.csv").read_bytes()
    tree = {
        "example_submission.csv": b"emotion\n0\n",
        "icml_face_data.csv": data,
        "test.csv": b"pixels\n1 2 3\n",
        "train.csv": b"emotion,pixels\n0,1 2 3\n",
        "fer2013.tar.gz": b"packed",
    }
    assert len(sources.read(write_zip(tree, tmp_path / "a.zip")).faces) == 7


@pytest.mark.parametrize("folders", ["{split}/{name}", "{name}"])
def test_the_mirrors_splits_are_in_its_files_names(folders: str, tmp_path: Path) -> None:
    tree = {}
    for i, name in enumerate(ferjax.EMOTIONS):
        for j, usage in enumerate(USAGES):
            folder = folders.format(split="test" if j else "train", name=name)
            jpeg = cv2.imencode(".jpg", face(10 * i + j))[1].tobytes()
            tree[f"{folder}/{usage}_{1000 + i}.jpg"] = jpeg
    found = sources.read(write_zip(tree, tmp_path / "a.zip"))
    assert (found.kind, found.faces.notes) == ("mirror", ())
    assert found.faces.counts.tolist() == [[1] * 7] * 3
    for name, split in zip(found.faces.names, found.faces.splits):
        assert USAGES[split] in name


def test_moved_files_of_the_mirror_stay_where_they_are(tmp_path: Path) -> None:
    jpeg = cv2.imencode(".jpg", face(0))[1].tobytes()
    tree = {f"train/{name}/Training_1.jpg": jpeg for name in ferjax.EMOTIONS}
    tree["validation/happy/Training_2.jpg"] = jpeg
    faces = sources.read(write_zip(tree, tmp_path / "a.zip")).faces
    assert faces.counts.sum(1).tolist() == [7, 1, 0]
    assert "1 files lie in other splits than their names say" in faces.notes[0]


def test_own_faces_of_any_size_and_other_classes(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (61, 83, 3), np.uint8)
    tree = {
        "Train/smile/b.jpg": cv2.imencode(".jpg", colour)[1].tobytes(),
        "Train/frown/deep/a.png": png(face(1, (100, 30))),
        "valid/smile/c.bmp": cv2.imencode(".bmp", face(2))[1].tobytes(),
        "TEST/frown/d.webp": cv2.imencode(".webp", face(3))[1].tobytes(),
        "Train/frown/notes.txt": b"",
        "Train/.DS_Store": b"",
        "__MACOSX/Train/smile/._b.jpg": b"",
    }
    found = sources.read(write_zip(tree, tmp_path / "a.zip"), size=(32, 40))
    faces = found.faces
    assert found.kind == "folders"
    assert faces.class_names == ("frown", "smile")
    assert faces.images.shape == (4, 32, 40)
    assert faces.names == (
        "TEST/frown/d.webp",
        "Train/frown/deep/a.png",
        "Train/smile/b.jpg",
        "valid/smile/c.bmp",
    )
    assert faces.splits.tolist() == [2, 0, 0, 1]
    assert faces.source_sizes.tolist() == [[48, 48], [100, 30], [61, 83], [48, 48]]
    published = [preprocess(tree[n], size=(32, 40), value_range=(0, 255)) for n in faces.names]
    np.testing.assert_array_equal(faces.images, np.concatenate(published)[..., 0])
    assert faces.notes == (
        "files that are no images are left out: 1, such as Train/frown/notes.txt",
    )


def test_a_csv_is_resized_too(tmp_path: Path) -> None:
    pixels = face(5)
    path = csv_file(tmp_path / "a.csv", row(0, " ".join(map(str, pixels.ravel().tolist()))))
    faces = sources.read(path, size=(24, 30)).faces
    assert faces.images.shape == (8, 24, 30)
    np.testing.assert_array_equal(faces.images[7], cv2.resize(pixels, (30, 24)))
    assert faces.source_sizes[7].tolist() == [48, 48]


def test_class_folders_alone_are_all_train(tmp_path: Path) -> None:
    tree = {f"{name}/a.png": png(face(i)) for i, name in enumerate(KAGGLE.values())}
    faces = sources.read(write_folder(tree, tmp_path)).faces
    assert faces.class_names == ferjax.EMOTIONS
    assert faces.counts[0].tolist() == [1] * 7
    assert "no split folders" in faces.notes[0]


def test_a_class_of_its_own_beside_the_emotions(tmp_path: Path) -> None:
    tree = {f"train/{name}/a.png": png(face(1)) for name in (*ferjax.EMOTIONS, "contempt")}
    faces = sources.read(write_folder(tree, tmp_path)).faces
    assert faces.class_names == tuple(sorted((*ferjax.EMOTIONS, "contempt")))


def test_two_names_of_an_emotion_are_one_class(tmp_path: Path) -> None:
    tree = {f"train/{name}/a.png": png(face(1)) for name in ferjax.EMOTIONS}
    tree |= {f"test/{name}/a.png": png(face(2)) for name in KAGGLE.values()}
    faces = sources.read(write_folder(tree, tmp_path)).faces
    assert faces.counts.tolist() == [[1] * 7, [0] * 7, [1] * 7]


def test_folders_of_images_that_are_not_in_class_folders_are_no_class(tmp_path: Path) -> None:
    tree = {
        f"{split}/images/{name}_0.png": png(face(i))
        for i, name in enumerate(ferjax.EMOTIONS)
        for split in ("train", "valid")
    }
    path = write_zip(tree, tmp_path / "a.zip")
    with pytest.raises(DataError, match=r"a\.zip: expected several classes, got .* 'images' alone"):
        sources.read(path)


def test_folds_are_no_classes_and_a_level_may_be_given(tmp_path: Path) -> None:
    tree = {
        f"fold_{fold}/{name}/a.png": png(face(i + fold))
        for i, name in enumerate(ferjax.EMOTIONS)
        for fold in (0, 1)
    }
    path = write_zip(tree, tmp_path / "a.zip")
    faces = sources.read(path).faces
    assert faces.class_names == ferjax.EMOTIONS
    assert faces.counts.tolist() == [[2] * 7, [0] * 7, [0] * 7]
    assert faces.notes == ("the folders fold_0, fold_1 are no splits: all images are in train",)
    assert sources.read(path, classes_level=1).faces.class_names == ("fold_0", "fold_1")
    path = write_zip({f"{a}/{b}/a.png": png(face(1)) for a in "AB" for b in "CD"}, path)
    fails(path, "which folders are the classes.* level 1 has A, B; level 2 has C, D", skip_bad=True)
    assert sources.read(path, classes_level=2).faces.class_names == ("C", "D")


@pytest.mark.parametrize("form", ["folder", "a.zip"])
def test_images_that_lie_in_the_source_twice(form: str, tmp_path: Path) -> None:
    tree = {f"images/{name}": data for name, data in kaggle_tree(2, 1).items()}
    once = sources.read(WRITERS["folder"](tree, tmp_path / "once")).faces
    tree |= {f"images/{name}": data for name, data in tree.items()}
    faces = sources.read(
        (write_zip if form == "a.zip" else write_folder)(tree, tmp_path / form)
    ).faces
    np.testing.assert_array_equal(faces.images, once.images)
    note = "21 images lie in the source twice and are taken once, such as images/images/"
    assert faces.notes[0].startswith(note)


@pytest.mark.parametrize(
    "splits", [("train", "test"), ("raf-db/DATASET/train", "raf-db/DATASET/test")]
)
def test_numbered_class_folders(splits: tuple[str, str], tmp_path: Path) -> None:
    tree = {
        f"{split}/{number}/a.png": png(face(number, (8, 8)))
        for split in splits
        for number in range(1, 8)
    }
    path = write_zip(tree | {"DATASET/train_labels.csv": b"image,label\na.jpg,1\n"}, tmp_path / "a")
    error = fails(
        path, "the class folders are numbers, 1 to 7: give their names by --labels", skip_bad=True
    )
    assert "rafdb (surprise, fear, disgust, happy, sad, angry, neutral)" in str(error)
    faces = sources.read(path, size=(8, 8), labels="rafdb").faces
    assert faces.class_names == ferjax.EMOTIONS
    assert faces.counts.tolist() == [[1] * 7, [0] * 7, [1] * 7]
    fear = faces.images[faces.labels == ferjax.EMOTIONS.index("fear")]
    np.testing.assert_array_equal(fear, [face(2, (8, 8))] * 2)
    assert sources.read(path, labels="numbers").faces.class_names == tuple("1234567")
    names = ["g", "f", "e", "d", "c", "b", "a"]
    faces = sources.read(path, size=(8, 8), labels=names).faces
    assert faces.class_names == tuple(sorted(names))
    np.testing.assert_array_equal(faces.images[faces.labels == 0], [face(7, (8, 8))] * 2)
    fails(path, "labels name 2 classes, and none is number 3", labels="a,b")


def test_labels_are_for_numbered_folders(tmp_path: Path) -> None:
    path = write_zip(kaggle_tree(1, 1), tmp_path / "a.zip")
    fails(path, "labels are for numbers; the class folders have names, such as", labels="sorted")


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    data = write_folder(kaggle_tree(1, 1), tmp_path / "disk")
    source = tmp_path / "source"
    source.mkdir()
    for split in ("train", "test"):
        (source / split).symlink_to(data / split)
    (data / "train" / "angry" / "loop").symlink_to(data)
    assert len(sources.read(source).faces) == 14


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    calls: list[tuple[int, int, str]] = []
    sources.read(write_folder(kaggle_tree(), tmp_path), progress=lambda *call: calls.append(call))
    assert calls[-1] == (98, 98, "images")
    path = csv_file(tmp_path / "a.csv")
    sources.read(path, progress=lambda *call: calls.append(call))
    assert calls[-1] == (path.stat().st_size, path.stat().st_size, "bytes")


def test_natural_order_of_long_numbers() -> None:
    digits = "9" * 6000  # more than int takes
    names = [f"im{digits}", "im10", "im2", "im02", "IM1", "im"]
    assert sorted(names, key=natural) == ["im", "IM1", "im02", "im2", "im10", f"im{digits}"]


@pytest.mark.parametrize("size", [48, (48,), (0, 48), (48, -1), (4097, 48), (4.5, 4.5)])
def test_sizes_are_checked(size: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected \(height, width\) in \[1, 4096\] for `size`"):
        sources.read(tmp_path, size=size)  # type: ignore[arg-type]


# --- what is bad ---------------------------------------------------------------------------------


def fails(path: Path, match: str, **options: object) -> DataError:
    """Return the error, which names the source first, on one line."""
    with pytest.raises(DataError, match=match) as raised:
        sources.read(path, **options)  # type: ignore[arg-type]
    assert isinstance(raised.value, FerjaxError) and isinstance(raised.value, ValueError)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)
    return raised.value


@pytest.mark.parametrize("form", WRITERS)
def test_bad_images_are_named_or_left_out(form: str, tmp_path: Path) -> None:
    tree = kaggle_tree(3)
    good = dict(tree)
    tree["train/angry/im10.png"] = tree["train/angry/im0.png"][:-20]
    tree["train/angry/im9.png"] = b"<!DOCTYPE html>"
    tree["train/happy/im9.png"] = b""
    path = WRITERS[form](tree, tmp_path / form)
    error = fails(path, r"3 of 38 images cannot be used: train/angry/im9\.png: not an image")
    assert "train/angry/im10.png: truncated: a PNG without its IEND chunk" in str(error)
    assert str(error).endswith("skip_bad (--skip-bad) goes on without them")
    found = sources.read(path, skip_bad=True)
    bad = ["train/angry/im9.png", "train/angry/im10.png", "train/happy/im9.png"]
    assert [name for name, _ in found.bad] == bad
    assert found.bad[2][1] == "empty, 0 bytes"
    expected = sources.read(write_folder(good, tmp_path / "good")).faces
    np.testing.assert_array_equal(found.faces.images, expected.images)
    assert found.faces.names == expected.names


def test_many_bad_images_are_counted(tmp_path: Path) -> None:
    tree = kaggle_tree(3) | {f"train/happy/x{i}.png": b"?" for i in range(20)}
    error = fails(write_zip(tree, tmp_path / "a.zip"), r"20 of 55 images")
    assert str(error).count("not an image") == 5
    assert "; and 15 more; skip_bad" in str(error)


def test_nothing_but_bad_images(tmp_path: Path) -> None:
    path = write_zip({"train/happy/a.png": b"?"}, tmp_path / "a.zip")
    error = fails(path, "1 of 1 images cannot be used", skip_bad=True)
    assert "skip_bad" not in str(error)


def test_a_damaged_member_of_a_zip(tmp_path: Path) -> None:
    path = write_zip(kaggle_tree(2), tmp_path / "a.zip")
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("train/sad/im1.png").header_offset
    data[start + 200] ^= 0xFF
    path.write_bytes(data)
    fails(path, r"1 of 28 images cannot be used: train/sad/im1\.png: (cannot be read|truncated)")


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("form", ["faces.zip", "faces.tar.gz", "faces.tar"])
def test_truncated_archives(form: str, keep: float, tmp_path: Path) -> None:
    path = WRITERS[form](kaggle_tree(2), tmp_path / form)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    fails(path, r"cannot be read|ends early|truncated or corrupt", skip_bad=True)


def test_a_tar_that_ends_between_two_files(tmp_path: Path) -> None:
    path = write_tar(kaggle_tree(2), tmp_path / "a.tar")
    with tarfile.open(path) as archive:
        start = archive.getmembers()[5].offset
    path.write_bytes(path.read_bytes()[:start])
    fails(path, "truncated or corrupt after 5 files", skip_bad=True)


def test_missing_classes(tmp_path: Path) -> None:
    tree = {name: data for name, data in kaggle_tree(2).items() if "disgusted" not in name}
    path = write_zip(tree, tmp_path / "a.zip")
    fails(path, "no images of disgust in train; skip_bad")
    faces = sources.read(path, skip_bad=True).faces
    assert faces.class_names == ferjax.EMOTIONS
    assert faces.notes == ("no images of disgust in train",)


def test_a_class_that_only_test_has(tmp_path: Path) -> None:
    tree = {"train/a/0.png": png(face(0)), "train/b/0.png": png(face(1))}
    path = write_zip(tree | {"test/c/0.png": png(face(2))}, tmp_path / "a.zip")
    fails(path, "no images of c in train")
    # A class that validation and test lack is no fault.
    assert len(sources.read(write_zip(tree, tmp_path / "b.zip")).faces) == 2


def test_misspelt_classes(tmp_path: Path) -> None:
    tree = {name.replace("surprised", "suprise"): d for name, d in kaggle_tree(1, 1).items()}
    path = write_zip(tree, tmp_path / "a.zip")
    error = fails(path, "2 of 14 images cannot be used: test/suprise/im0.png: unknown class")
    assert "did you mean 'surprise'" in str(error)
    found = sources.read(path, skip_bad=True)
    assert found.faces.class_names == ferjax.EMOTIONS
    assert len(found.faces) == 12


def test_images_outside_the_class_folders(tmp_path: Path) -> None:
    tree = kaggle_tree(1, 1) | {"cover.png": png(face(1)), "extra/happy/im0.png": png(face(2))}
    path = write_zip(tree, tmp_path / "a.zip")
    fails(path, r"2 of 16 images cannot be used: cover\.png: expected <split>/<class>/<image>")
    assert len(sources.read(path, skip_bad=True).faces) == 14


def test_images_and_a_csv_in_one_source(tmp_path: Path) -> None:
    tree = kaggle_tree(1, 1) | {"fer2013.csv": csv_file(tmp_path / "a.csv").read_bytes()}
    fails(write_zip(tree, tmp_path / "a.zip"), "expected either a csv, images or")


@pytest.mark.parametrize(
    ("tree", "match"),
    [
        ({}, "got nothing"),
        ({"README.md": b"x"}, r"got 1 other files, such as 'README.md'$"),
        ({"fer2013.tar.gz": b"x"}, "unpack the archives in it first"),
        (
            {"[Content_Types].xml": b"", "xl/workbook.xml": b""},
            "an Excel workbook; save it as a csv",
        ),
        ({"faces.npz": b"", "manifest.json": b""}, "prepared already; expected what it was"),
    ],
)
@pytest.mark.parametrize("form", ["folder", "faces.zip"])
def test_sources_without_faces(tree: TREE, match: str, form: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    fails(WRITERS[form](tree, tmp_path / form), match)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "empty, 0 bytes; expected a folder"),
        (b"PK\x03\x04 but no zip", "cannot be read: File is not a zip file"),
        (b"\x1f\x8b\x08 but no gzip", "cannot be read|ends early"),
        (b"hello, world\n", "starts with b'hello, world'; expected a folder, a .zip"),
        (gzip.compress(b"hello", mtime=0), "starts with b'hello'"),
        (bytes(2048), "starts with"),
        (b"Rar!\x1a\x07\x01\x00", "packed by RAR, which ferjax does not read: unpack it; expected"),
        (b"7z\xbc\xaf\x27\x1c", "packed by 7-Zip, which .*: unpack it; expected a folder, a .zip"),
        (b"\x28\xb5\x2f\xfd", "packed by Zstandard, which .*: unpack it"),
        (bz2.compress(b"emotion,pixels"), "packed by bzip2, which .*: unpack it"),
        (lzma.compress(b"emotion,pixels"), "packed by xz, which .*: unpack it"),
        (b"label,pixels\n0,1 2\n", "1 of 1 rows cannot be used: row 1: expected 2304 pixels"),
        (b"emotion,pixels,Usage\n", "no rows under the header"),
    ],
)
@pytest.mark.parametrize("name", ["a.zip", "fer2013.csv"])
def test_files_that_are_no_source(data: bytes, match: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    fails(path, match)


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    fails(tmp_path / "none", "no such file or folder; expected")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        fails(tmp_path / "pipe", "not a regular file")
    with pytest.raises(DataError, match="null"):
        sources.read("a\0b")


# --- rows of a csv -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row(pixels=" ".join(["1"] * 2303)), "expected 2304 pixels, got 2303"),
        (row(pixels=""), "expected 2304 pixels, got 0"),
        (row(pixels=" ".join(["1"] * 2303 + ["256"])), "got 256 at pixel 2303"),
        (row(pixels=" ".join(["-1"] + ["1"] * 2303)), "got -1 at pixel 0"),
        (row(pixels=" ".join(["1", "1.5"] + ["1"] * 2302)), "whole numbers for pixels, got '1.5'"),
        (row(pixels=" ".join(["nan"] * 2304)), "whole numbers for pixels, got 'nan'"),
        (row(pixels=" ".join(["٣"] * 2304)), "whole numbers for pixels"),
        (row(pixels=" ".join(["9" * 30] * 2304)), "whole numbers for pixels, got '999"),
        (row(emotion=8), "expected 0 to 6 for emotion, got '8'"),
        (row(emotion=2.5), "expected 0 to 6 for emotion, got '2.5'"),
        (row(emotion=""), "expected a label for emotion, got ''"),
        (row(emotion=-1), "expected 0 to 6 for emotion, got '-1'"),
        (row(emotion="bored"), "expected 0 to 6 for emotion, got 'bored'"),
        (row(usage="Sunday"), "expected Training, PublicTest or PrivateTest, or train, .*'Sunday'"),
        (row(usage=""), "expected Training, PublicTest or PrivateTest, or .* for Usage, got ''"),
        ("3", "expected at least 3 columns, got 1"),
        (row(pixels='"' + "1 " * 100_000 + '"'), "expected 2304 pixels, got 100000"),
        (row(pixels='"1 2 3'), "a quote that is not closed"),
        ("\xff\x00,\x01,\x02", "for Usage, got"),
        ("\xff\x00,\x01,test", "expected 2304 pixels, got 1"),
    ],
)
def test_bad_rows(bad: str, reason: str, tmp_path: Path) -> None:
    path = csv_file(tmp_path / "a.csv", row(), bad, row())
    fails(path, rf"1 of 10 rows cannot be used: row 9: .*{reason}")
    found = sources.read(path, skip_bad=True)
    assert [name for name, _ in found.bad] == ["row 9"]
    assert found.faces.names == tuple(f"row {i}" for i in (*range(1, 9), 10))
    assert np.all(found.faces.images == 7)


def test_a_missing_class_of_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"emotion,pixels,Usage\n{row(3)}\n")
    fails(path, "no images of angry, disgust, fear, neutral, sad, surprise in train")


def test_a_csv_of_bad_rows_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_csv, "MAX_BAD", 50)
    path = csv_file(tmp_path / "a.csv", *["0,1 2 3,Training"] * 5000)
    fails(path, "more than 50 bad rows, row 8 first: expected 2304 pixels, got 3", skip_bad=True)


def test_a_csv_without_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"emotion,pixels,Usage\n" + b"1 " * 2**20)
    fails(path, "a line of more than 1,048,576 characters")


def test_a_truncated_csv_in_an_archive(tmp_path: Path) -> None:
    data = csv_text(sources.read(write_folder(kaggle_tree(2), tmp_path / "plain")).faces)
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(data)[:-2000])
    fails(path, "truncated: it ends early", skip_bad=True)
    archive = write_zip({"fer2013.csv": data}, tmp_path / "a.zip")
    packed = bytearray(archive.read_bytes())
    packed[20_000] ^= 0xFF
    archive.write_bytes(packed)
    fails(archive, r"fer2013\.csv: cannot be read", skip_bad=True)


# --- archives that mean harm ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../train/happy/x.png", "a path that leaves the archive"),
        ("train/happy/../../../x.png", "a path that leaves the archive"),
        ("..\\x.png", "a path that leaves the archive"),
        ("/train/happy/x.png", "an absolute path"),
        ("C:/train/happy/x.png", "an absolute path"),
        ("C:\\x.png", "an absolute path"),
    ],
)
@pytest.mark.parametrize("form", ["faces.zip", "faces.tar.gz"])
def test_members_that_climb_out(form: str, name: str, reason: str, tmp_path: Path) -> None:
    tree = kaggle_tree(1, 1)
    path = WRITERS[form](tree | {name: png(face(9))}, tmp_path / form)
    fails(path, f"1 of 15 images cannot be used: .*: {reason}")
    found = sources.read(path, skip_bad=True)
    assert len(found.faces) == 14
    assert [why for _, why in found.bad] == [reason]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar(kind: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write_tar(kaggle_tree(1, 1), path)
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("train/happy/im1.png")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    fails(path, r"train/happy/im1\.png: (a link|not a regular file)")
    assert len(sources.read(path, skip_bad=True).faces) == 14


def test_links_and_encryption_in_a_zip(tmp_path: Path) -> None:
    path = write_zip(kaggle_tree(1, 1), tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("train/happy/im1.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        start = archive.getinfo("train/angry/im0.png").header_offset
    fails(path, r"train/happy/im1\.png: a link")
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"train/angry/im0.png") - 46
    for flags in (start + 6, entry + 8):
        data[flags] |= 1
    path.write_bytes(data)
    fails(path, r"train/angry/im0\.png: encrypted; train/happy/im1\.png: a link")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_in_a_zip(method: int, tmp_path: Path) -> None:
    """LZMA takes as much memory as a file asks for."""
    path = write_zip(kaggle_tree(1, 1), tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("train/happy/im1.png", png(face(1)), method)
    fails(path, rf"im1\.png: packed by method {method}; expected a \.zip packed by deflate")
    assert len(sources.read(path, skip_bad=True).faces) == 14


def test_windows_names_in_a_zip(tmp_path: Path) -> None:
    tree = {name.replace("/", "\\"): data for name, data in kaggle_tree(1, 1).items()}
    assert len(sources.read(write_zip(tree, tmp_path / "a.zip")).faces) == 14


def test_of_two_members_of_one_name_the_last_counts(tmp_path: Path) -> None:
    path = write_tar(kaggle_tree(1, 1), tmp_path / "a.tar")
    with tarfile.open(path, "a") as archive:
        data = png(face(77))
        info = tarfile.TarInfo("train/happy/im0.png")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    faces = sources.read(path).faces
    assert len(faces) == 14
    image = faces.images[faces.names.index("train/happy/im0.png")]
    np.testing.assert_array_equal(image, face(77))


@pytest.mark.parametrize("form", ["faces.zip", "faces.tar.gz"])
def test_archives_that_unpack_without_bound(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_guards, "RATIO_FROM", 2**20)
    tree = kaggle_tree(1, 1) | {"train/happy/im9.png": bytes(64 * 2**20)}
    fails(WRITERS[form](tree, tmp_path / form), "unpack to", skip_bad=True)


def test_a_compressed_csv_without_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_guards, "RATIO_FROM", 2**20)
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"emotion,pixels,Usage\n" + b"\n" * (8 * 2**20)))
    fails(path, "would unpack to more than", skip_bad=True)


@pytest.mark.parametrize("form", ["faces.zip", "faces.tar.gz"])
def test_limits_on_members(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = WRITERS[form](kaggle_tree(1, 1), tmp_path / form)
    monkeypatch.setattr(archive_guards, "MAX_MEMBERS", 13)
    fails(path, "more than 13 files")
    monkeypatch.undo()
    monkeypatch.setattr(archive_guards, "MAX_TOTAL_BYTES", 1000)
    monkeypatch.setattr(archive_guards, "RATIO_FROM", 1000)
    fails(path, "unpack to")


def test_a_zip_whose_members_share_their_bytes(tmp_path: Path) -> None:
    """Fifield's bomb: each of many entries points to one packed body."""
    body = zlib.compress(bytes(2**22), 9)[2:-4]
    crc = zlib.crc32(bytes(2**22))
    sizes = struct.pack("<LLL", crc, len(body), 2**22)
    local = b"PK\x03\x04" + struct.pack("<HHHHH", 20, 0, 8, 0, 33) + sizes
    local += struct.pack("<HH", 1, 0) + b"x" + body
    entries = b""
    for i in range(2000):
        name = f"train/happy/{i}.png".encode()
        entries += b"PK\x01\x02" + struct.pack("<HHHHHH", 20, 20, 0, 8, 0, 33) + sizes
        entries += struct.pack("<HHHHHLL", len(name), 0, 0, 0, 0, 0, 0) + name
    end = b"PK\x05\x06" + struct.pack("<HHHHLLH", 0, 0, 2000, 2000, len(entries), len(local), 0)
    path = tmp_path / "a.zip"
    path.write_bytes(local + entries + end)
    start = time.monotonic()
    fails(path, "bytes that would unpack to 8,388,608,000", skip_bad=True)
    assert time.monotonic() - start < 5


def test_a_tar_header_of_any_length_is_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 60 * 2**20
    data = info.tobuf(tarfile.GNU_FORMAT) + bytes(60 * 2**20) + bytes(1024)
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(data))
    fails(path, "a header of 62,914,560 bytes", skip_bad=True)


def test_nothing_is_written_and_no_thread_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_zip(kaggle_tree(2), tmp_path / "a.zip")
    monkeypatch.chdir(tmp_path)
    before = threading.active_count()
    sources.read(path)
    assert threading.active_count() == before
    assert os.listdir(tmp_path) == ["a.zip"]


@pytest.mark.slow
def test_many_large_images_are_not_all_held_at_once(tmp_path: Path) -> None:
    """240 pictures of 4 MB each, 1 GB decoded, and yet little memory."""
    import tracemalloc

    big = cv2.imencode(".png", np.zeros((2000, 2000), np.uint8))[1].tobytes()
    path = write_zip({f"train/{'ab'[i % 2]}/{i}.png": big for i in range(240)}, tmp_path / "a.zip")
    tracemalloc.start()
    faces = sources.read(path).faces
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(faces) == 240
    assert peak < 100e6


# --- the real images -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(fer_zip: Path) -> sources.Read:
    return sources.read(fer_zip)


def test_the_real_archive(real: sources.Read, fer_zip: Path) -> None:
    faces = real.faces
    assert (real.kind, real.container, real.bad) == ("kaggle", "zip", ())
    assert faces.counts[0].tolist() == [3995, 436, 4097, 7215, 4965, 4830, 3171]
    assert faces.counts[2].tolist() == [467, 56, 496, 895, 607, 653, 415]
    assert np.all(faces.source_sizes == 48)
    with zipfile.ZipFile(fer_zip) as archive:
        for at in range(0, len(faces), 1009):
            data = np.frombuffer(archive.read(faces.names[at]), np.uint8)
            np.testing.assert_array_equal(faces.images[at], cv2.imdecode(data, 0))


def test_a_csv_of_real_images_gives_the_same(real: sources.Read, tmp_path: Path) -> None:
    some = real.faces.take(np.arange(0, len(real.faces), 23))
    path = tmp_path / "fer2013.csv"
    path.write_bytes(csv_text(some))
    faces = sources.read(path).faces
    assert contents(faces) == contents(some)
