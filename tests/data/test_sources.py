"""Sources: every form gives the same faces, and what is bad is named."""

from __future__ import annotations

import gzip
import re
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

import ferjax
from ferjax.data import sources
from ferjax.errors import DataError
from ferjax.image_files import natural
from ferjax.preprocessing import preprocess
from tests.data.face_sources import (
    KAGGLE,
    TREE,
    USAGES,
    WRITERS,
    contents,
    csv_file,
    csv_text,
    face,
    fails,
    kaggle_tree,
    png,
    row,
    write_folder,
    write_tar,
    write_zip,
)


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


# --- what is bad ----------------------------------------------------------------------------------


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


def test_missing_classes(tmp_path: Path) -> None:
    tree = {name: data for name, data in kaggle_tree(2).items() if "disgusted" not in name}
    path = write_zip(tree, tmp_path / "a.zip")
    fails(path, "no images of disgust in train; skip_bad")
    faces = sources.read(path, skip_bad=True).faces
    assert faces.class_names == ferjax.EMOTIONS
    assert faces.notes == ("no images of disgust in train",)


def test_most_classes_are_missing(tmp_path: Path) -> None:
    tree = {name: data for name, data in kaggle_tree(2).items() if re.search("happy|sad", name)}
    path = write_zip(tree, tmp_path / "a.zip")
    message = "no images of angry, disgust, fear, neutral, surprise in train, only of happy, sad"
    fails(path, f"{message}; skip_bad")
    assert sources.read(path, skip_bad=True).faces.notes[0] == message


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


def test_a_missing_class_of_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"emotion,pixels,Usage\n{row(3)}\n")
    fails(path, "no images of angry, disgust, fear, neutral, sad, surprise in train")


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


# --- the real images ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(fer_zip: Path) -> sources.Read:
    return sources.read(fer_zip)


@pytest.mark.slow
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
