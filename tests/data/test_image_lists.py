"""Images whose labels stand in a list beside them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from ferjax import EMOTIONS
from ferjax.data import sources
from ferjax.data.dataset import Faces
from ferjax.errors import DataError

RAFDB = "surprise fear disgust happy sad angry neutral".split()
IMAGES = np.random.default_rng(0).integers(0, 256, (14, 8, 8), np.uint8)
NAMES = [f"{'train' if i < 7 else 'test'}_{i:04d}" for i in range(14)]
LINES = [f"{name}.jpg {i % 7 + 1}" for i, name in enumerate(NAMES)]


def write(path: Path, lists: dict[str, str], image: str = "Image/{}.png") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, pixels in zip(NAMES, IMAGES):
            data = cv2.imencode(".png", pixels)[1].tobytes()
            archive.writestr(image.format(name, split=name.split("_")[0]), data)
        for name, text in lists.items():
            archive.writestr(name, text)
    return path


def read(path: Path, **options: object) -> Faces:
    return sources.read(path, size=(8, 8), **options).faces  # type: ignore[arg-type]


def check(faces: Faces) -> None:
    assert faces.class_names == EMOTIONS
    assert faces.counts.tolist() == [[1] * 7, [0] * 7, [1] * 7]
    for name, image, label in zip(faces.names, faces.images, faces.labels):
        number = int(name.split("_")[1][:4])
        np.testing.assert_array_equal(image, IMAGES[number])
        assert EMOTIONS[label] == RAFDB[number % 7]


COMMAS = [line.replace(" ", ",") for line in LINES]


@pytest.mark.parametrize(
    ("image", "lists"),
    [
        ("Image/aligned/{}_aligned.png", {"EmoLabel/list_patition_label.txt": "\n".join(LINES)}),
        ("{}.png", {"labels.csv": "\n".join(["image,label", *COMMAS])}),
        ("{split}/{}.png", {"labels.csv": "\n".join(["image,label", *COMMAS])}),
        (
            "DATASET/{split}/{}.png",
            {
                "DATASET/train_labels.csv": "\n".join(["image,label", *COMMAS[:7]]),
                "DATASET/test_labels.csv": "\n".join(["image,label", *COMMAS[7:]]),
            },
        ),
        (
            "images/{}.png",
            {
                "a.csv": "\n".join(
                    ["id;Usage;file name;emotion"]
                    + [
                        f"{i};{name.split('_')[0]};x\\images\\{name}.PNG;{RAFDB[i % 7]}"
                        for i, name in enumerate(NAMES)
                    ]
                )
            },
        ),
        ("{}.png", {"a.tsv": "\n".join(f"{i % 7 + 1}\t{name}" for i, name in enumerate(NAMES))}),
    ],
)
def test_lists(image: str, lists: dict[str, str], tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", lists, image)
    if "emotion" in next(iter(lists.values())):
        check(read(path))
        return
    with pytest.raises(DataError, match=r"are numbers, 1 to 7: give their names by --labels"):
        read(path)
    faces = read(path, labels="rafdb")
    check(faces)
    assert f"labels are those in {', '.join(sorted(lists))}" in faces.notes


def test_class_folders_go_before_a_list(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"labels.txt": "\n".join(LINES)}, "happy/{}.png")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("sad/a.png", cv2.imencode(".png", IMAGES[0])[1].tobytes())
    faces = read(path, skip_bad=True)
    assert faces.counts.sum(0)[[EMOTIONS.index("happy"), EMOTIONS.index("sad")]].tolist() == [14, 1]


def test_images_that_a_list_lacks(tmp_path: Path) -> None:
    text = "\n".join([*LINES[:13], "other.jpg 3"])
    path = write(tmp_path / "a.zip", {"labels.txt": text})
    with pytest.raises(DataError, match=r"1 of 14 .*test_0013\.png: not in labels\.txt, which has"):
        read(path, labels="rafdb")
    assert len(read(path, labels="rafdb", skip_bad=True)) == 13


def test_lists_that_leave_a_label_or_a_name_open(tmp_path: Path) -> None:
    lines = [*LINES[:12], "test_0012.jpg", "test_0013.jpg 99"]
    path = write(tmp_path / "a.zip", {"labels.txt": "\n".join(lines)})
    with pytest.raises(DataError, match="2 of 14 images cannot be used") as error:
        read(path, labels="rafdb")
    assert "test_0012.png: not in labels.txt" in str(error.value)
    assert "test_0013.png: expected 1 to 7 for labels.txt, got '99'" in str(error.value)


@pytest.mark.parametrize("text", ["", "hello", "a,b\n1,2\n", "x" * 2**21, "train_0000.jpg"])
def test_other_files_are_no_lists(text: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"notes.txt": text}, "{}.png")
    with pytest.raises(DataError, match="expected <class>/<image>"):
        read(path)
