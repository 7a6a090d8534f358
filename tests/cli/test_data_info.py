"""ferjax data info: what a dataset holds, as a table, as JSON, as a sheet."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ferjax import EMOTIONS

Cli = Callable[..., Any]


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Ten training and two test images of each emotion; some are copies, one is blank."""
    path = tmp_path / "faces.zip"
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for name in EMOTIONS:
            for split, number in (("train", 10), ("test", 2)):
                for i in range(number):
                    image = rng.integers(0, 256, (48, 48), np.uint8)
                    if (name, i) == ("sad", 0):
                        image[:] = np.arange(48)  # in train and in test
                    if (name, split, i) == ("happy", "train", 3):
                        image[:] = 0
                    data = cv2.imencode(".png", image)[1].tobytes()
                    archive.writestr(f"{split}/{name}/{i}.png", data)
    return path


def spoil(path: Path, number: int = 1) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        for i in range(number):
            archive.writestr(f"train/happy/bad{i}.png", b"no image")


def test_the_table(cli: Cli, faces: Path) -> None:
    done = cli("data", "info", faces)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == f"source:     {faces}"
    assert lines[1] == "kind:       class folders (zip)"
    assert lines[2] == "split:      official"
    assert "class     train  validation  test  total" in lines
    assert "angry        10           0     2     12" in lines
    assert "all          70           0    14     84" in lines
    assert "copies:     83 different images, 1 surplus copies" in lines
    assert "            1 of 14 test images (7.1%) copy training images" in lines
    assert "conflicts:  none" in lines
    assert "blank:      1 in train" in lines
    assert "sizes:      all 48x48" in lines


def test_the_card_split(cli: Cli, faces: Path) -> None:
    done = cli("data", "info", faces, "--split", "card", "--seed", 5)
    assert "split:      card, seed 5" in done.out
    assert "angry        10           1     1     12" in done.out
    document = json.loads(cli("data", "info", faces, "--split", "card", "--json").out)
    assert (document["split"], document["seed"]) == ("card", 0)
    assert document["copies_of_training"] == {"validation": 0, "test": 0}


def test_test_images_that_copy_validation_images_are_counted(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "three.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for split, first in (("train", 0), ("validation", 7), ("test", 13)):
            for level, name in enumerate(EMOTIONS, first):
                image = np.full((48, 48), level, np.uint8)
                archive.writestr(f"{split}/{name}/a.png", cv2.imencode(".png", image)[1].tobytes())
    lines = cli("data", "info", path).out.splitlines()
    assert "            0 of 7 test images (0.0%) copy training images" in lines
    assert "            1 of 7 test images (14.3%) copy validation images" in lines


def test_json(cli: Cli, faces: Path) -> None:
    done = cli("data", "info", faces, "--json")
    document = json.loads(done.out)
    assert (done.code, done.err) == (0, "")
    assert document["source"] == str(faces)
    assert (document["kind"], document["container"]) == ("folders", "zip")
    assert (document["split"], document["seed"]) == ("official", None)
    assert document["class_names"] == list(EMOTIONS)
    assert document["counts"]["train"]["happy"] == 10
    assert document["blank"] == ["train/happy/3.png"]
    assert document["bad"] == []


def test_bad_images_are_an_error_or_left_out(cli: Cli, faces: Path) -> None:
    spoil(faces)
    done = cli("data", "info", faces)
    assert done.code == 2
    assert done.error.startswith(f"ferjax: error: {faces}: 1 of 85 images cannot be used: train/")
    done = cli("data", "info", faces, "--skip-bad")
    assert done.code == 1
    assert done.err.startswith("ferjax: error: train/happy/bad0.png: not an image")
    assert "left out:   1 bad items" in done.out
    document = json.loads(cli("data", "info", faces, "--skip-bad", "--json").out)
    assert [item["name"] for item in document["bad"]] == ["train/happy/bad0.png"]


def test_many_bad_images_are_named_in_part(cli: Cli, faces: Path) -> None:
    spoil(faces, 30)
    done = cli("data", "info", faces, "--skip-bad")
    assert len(done.err.splitlines()) == 21
    assert done.err.splitlines()[-1] == "ferjax: error: ... and 10 more"


def test_a_sheet(cli: Cli, faces: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    sheet = tmp_path / "sheet.png"
    done = cli("data", "info", faces, "--sheet", sheet)
    assert (done.code, done.err) == (0, "")
    assert f"sheet:      {sheet}" in done.out
    image = cv2.imread(str(sheet))
    assert image.shape[0] > 7 * 96 and image.shape[1] > 12 * 96


def test_a_sheet_of_augmented_faces_is_higher(cli: Cli, faces: Path, tmp_path: Path) -> None:
    """Each row stands there twice: as it is, and as training would see it."""
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install 'ferjax[evaluate]'")
    plain, augmented = tmp_path / "plain.png", tmp_path / "augmented.png"
    assert cli("data", "info", faces, "--sheet", plain).code == 0
    assert cli("data", "info", faces, "--sheet", augmented, "--augment", "published").code == 0
    heights = [cv2.imread(str(path)).shape[0] for path in (plain, augmented)]
    assert heights[1] > 1.8 * heights[0]


def test_help_names_every_augmentation(cli: Cli) -> None:
    from ferjax.data.augment import PRESETS

    text = " ".join(cli("data", "info", "--help").out.split())
    named = re.search(r"as training would see it \(([\w, ]+)\)", text)
    assert named is not None and sorted(named[1].split(", ")) == sorted(PRESETS)


def test_a_prepared_folder(cli: Cli, faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "prepared"
    arguments = ["--split", "card", "--seed", 3, "--drop", "blank", "--no-tfds"]
    assert cli("data", "prepare", faces, "--out", out, *arguments).code == 0
    lines = cli("data", "info", out).out.splitlines()
    assert lines[:3] == [
        f"source:     {out}",
        "kind:       prepared by `ferjax data prepare` (folder)",
        "split:      card, seed 3",
    ]
    note = "prepared from faces.zip, card split; left out: 1 dropped, 0 bad"
    assert f"note:       {note}" in lines
    total = next(line for line in lines if line.startswith("all ")).split()
    assert sum(map(int, total[1:4])) == int(total[4]) == 83
    assert "blank:      none" in lines
    document = json.loads(cli("data", "info", out, "--json").out)
    assert (document["kind"], document["split"], document["seed"]) == ("prepared", "card", 3)
    assert document["notes"][-1] == note
    (out / "manifest.json").unlink()  # the arrays alone
    lines = cli("data", "info", out / "faces.npz").out.splitlines()
    assert lines[2] == "split:      official" and "blank:      none" in lines


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--split", ["card"]),
        ("--seed", [3]),
        ("--skip-bad", []),
        ("--labels", ["rafdb"]),
        ("--find-faces", []),
        ("--votes", ["votes.csv"]),
    ],
)
def test_a_prepared_folder_is_not_read_in_another_way(
    cli: Cli, faces: Path, tmp_path: Path, option: str, values: list[object]
) -> None:
    out = tmp_path / "prepared"
    assert cli("data", "prepare", faces, "--out", out, "--no-tfds").code == 0
    done = cli("data", "info", out, option, *values)
    assert done.code == 2
    assert done.error.endswith(f"prepared already, and {option} is for what it was prepared from")


@pytest.mark.parametrize("text", ['{"source": 3}', '{"source": "a.zip", "options": []}'])
def test_a_damaged_manifest(cli: Cli, faces: Path, tmp_path: Path, text: str) -> None:
    out = tmp_path / "prepared"
    assert cli("data", "prepare", faces, "--out", out, "--no-tfds").code == 0
    (out / "manifest.json").write_text(text)
    done = cli("data", "info", out)
    assert done.code == 2
    assert "manifest.json: damaged, at " in done.error
    assert done.error.endswith("--force` (force=True) makes the folder anew")
    again = cli("data", "prepare", faces, "--out", out, "--no-tfds")
    assert again.code == 2 and "manifest.json: damaged" in again.error


def test_mistakes_with_augment(cli: Cli, faces: Path, tmp_path: Path) -> None:
    done = cli("data", "info", faces, "--augment", "published")
    assert done.code == 2
    assert "give --sheet" in done.err
    done = cli("data", "info", faces, "--sheet", tmp_path / "a.png", "--augment", "publishd")
    assert done.code == 2
    assert "did you mean 'published'" in done.err


def test_a_sheets_name_is_checked_before_reading(cli: Cli, tmp_path: Path) -> None:
    done = cli("data", "info", tmp_path / "none", "--sheet", tmp_path / "a.txt")
    assert done.code == 2
    assert "a.txt: expected a name that ends in .png" in done.error


def test_which_folders_are_the_classes(cli: Cli, tmp_path: Path) -> None:
    image = cv2.imencode(".png", np.zeros((48, 48), np.uint8))[1].tobytes()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("front/glad", "front/cross", "side/glad", "side/cross"):
            archive.writestr(f"{name}/0.png", image)
    done = cli("data", "info", tmp_path / "a.zip")
    assert done.code == 2
    assert "level 1 has front, side; level 2 has cross, glad; give --classes-level" in done.error
    done = cli("data", "info", tmp_path / "a.zip", "--classes-level", 2)
    assert done.code == 0
    assert "note:       the folders front, side are no splits: all images are in train" in done.out
    arguments = ("--out", tmp_path / "out", "--no-tfds", "--classes-level")
    assert cli("data", "prepare", tmp_path / "a.zip", *arguments, 2).out.endswith("4 train\n")
    assert (
        "another prepared dataset"
        in cli("data", "prepare", tmp_path / "a.zip", *arguments, 1).error
    )


def test_what_numbers_mean(cli: Cli, tmp_path: Path) -> None:
    image = cv2.imencode(".png", np.zeros((48, 48), np.uint8))[1].tobytes()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(7):
            archive.writestr(f"train/{number}/0.png", image)
    done = cli("data", "info", tmp_path / "a.zip")
    assert done.code == 2
    assert "numbers, 0 to 6: give their names by --labels (labels=): sorted (an" in done.error
    done = cli("data", "info", tmp_path / "a.zip", "--labels", "fer2013", "--json")
    assert json.loads(done.out)["class_names"] == list(EMOTIONS)
    arguments = ("--out", tmp_path / "out", "--no-tfds", "--labels")
    assert cli("data", "prepare", tmp_path / "a.zip", *arguments, "fer2013").code == 0
    assert (
        "prepared already" in cli("data", "prepare", tmp_path / "a.zip", *arguments, "fer2013").out
    )
    assert (
        "another prepared" in cli("data", "prepare", tmp_path / "a.zip", *arguments, "sorted").err
    )


def test_mistakes_in_the_call(cli: Cli, faces: Path, tmp_path: Path) -> None:
    done = cli("data", "info", tmp_path / "none")
    assert done.code == 2
    assert "none: no such file or folder; expected a folder, a .zip" in done.error
    done = cli("data", "info", faces, "--seed", 1)
    assert done.code == 2
    assert done.error == "ferjax: error: --seed is for --split card; the official split has none"
    assert cli("data", "info", faces, "--split", "none").code == 2
    assert cli("data").code == 2


@pytest.mark.slow
def test_the_real_archive(cli: Cli, fer_zip: Path) -> None:
    done = cli("data", "info", fer_zip)
    assert done.code == 0
    lines = done.out.splitlines()
    assert "all       28,709       3,589     0  32,298" in lines
    assert "disgust      436          56     0     492" in lines
    assert "            280 of 3,589 validation images (7.8%) copy training images" in lines
    assert "blank:      11 in train, 1 in validation" in lines
    assert "conflicts:  47 groups of copies with different labels, 129 images" in lines
    assert any("PrivateTest is not in the source" in line for line in lines)
