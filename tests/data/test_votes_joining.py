"""Votes reach the image they are of, in every form of FER2013, or are refused."""

from __future__ import annotations

import hashlib
import importlib
import json
import lzma
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ferjax.cli.main import main
from ferjax.data import (
    FindFaces,
    fer2013,
    ferplus_rows,
    load,
    prepare,
    votes_files,
    votes_joining,
)
from ferjax.data.dataset import Faces
from ferjax.data.fer2013 import FER2013_COUNTS
from ferjax.data.reading import Read
from ferjax.data.splits import fer2013_part, official
from ferjax.data.votes import Votes
from ferjax.data.votes_joining import join, with_classes
from ferjax.emotions import EMOTIONS
from ferjax.errors import DataError
from ferjax.faces.detection import Detection
from tests.conftest import ROOT, RunScript
from tests.data.votes_sources import (
    csv_lines,
    faces_of,
    ferplus_lines,
    kaggle,
    votes_of_rows,
    write,
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("ferplus") / "fer2013new.csv", ferplus_lines())


@pytest.fixture(scope="module")
def table(file: Path) -> votes_files.VotesTable:
    return votes_files.read(file)


@pytest.fixture(autouse=True)
def names_of_the_stand_in(table: votes_files.VotesTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the stand-in's image names for those of FER+."""
    names = ferplus_rows.names_sha256(table)
    monkeypatch.setattr(ferplus_rows, "NAMES_SHA256", names)


def read_as(faces: Faces, kind: str = "kaggle", **fields: Any) -> Read:
    return Read(faces=faces, bad=fields.pop("bad", ()), kind=kind, container="zip", **fields)


def of_csv(rows: np.ndarray) -> Faces:
    """Return faces of a table whose rows are these of FER2013, with their Usage."""
    sizes = list(fer2013.SIZES.values())
    splits = np.searchsorted(np.cumsum(sizes), rows, side="right")
    names = [f"row {i + 1}" for i in range(len(rows))]
    return faces_of(fer2013.row_labels()[rows], splits, names)


# --- the packaged table --------------------------------------------------------------------------


def test_the_packaged_row_labels_are_fer2013s() -> None:
    digits = lzma.decompress(fer2013.ROW_LABELS_FILE.read_bytes())
    assert hashlib.sha256(digits).hexdigest() == (
        "05d2aa1ebfa6e36109d747d3e43a9f93df165490214e253dba2747eb51536581"
    )
    labels = fer2013.row_labels()
    assert [EMOTIONS[label] for label in labels[:6]] == ["angry"] * 2 + ["fear", "sad"] + [
        "neutral",
        "fear",
    ]
    for part, counts in FER2013_COUNTS.items():
        assert tuple(np.bincount(labels[fer2013.rows_of((part,))])) == counts


def test_the_script_makes_the_packaged_table(run_script: RunScript, tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    script = importlib.import_module("make_row_labels")
    digits, out = tmp_path / "digits.txt", tmp_path / "out.xz"
    digits.write_bytes(lzma.decompress(fer2013.ROW_LABELS_FILE.read_bytes()) + b"\n")
    assert run_script(script, digits, out).returncode in (0, None)
    assert lzma.decompress(out.read_bytes()) == lzma.decompress(
        fer2013.ROW_LABELS_FILE.read_bytes()
    )
    csv = write(tmp_path / "fer2013.csv", csv_lines())
    assert run_script(script, csv, out).returncode in (0, None)
    assert lzma.decompress(out.read_bytes()) == lzma.decompress(
        fer2013.ROW_LABELS_FILE.read_bytes()
    )
    digits.write_bytes(b"0123")
    done = run_script(script, digits, out)
    assert done.returncode == 2 and "expected 35,887 labels of 0 to 6" in done.stderr


# --- forms of FER2013 ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts",
    [
        {"train": ("Training",), "test": ("PublicTest", "PrivateTest")},
        {"train": ("Training",), "test": ("PublicTest",)},
        {"train": ("Training",), "validation": ("PublicTest",), "test": ("PrivateTest",)},
        {"test": ("PrivateTest",)},
    ],
)
def test_archives_of_images_join_by_class_and_usage(
    parts: dict[str, tuple[str, ...]], table: votes_files.VotesTable
) -> None:
    faces, rows = kaggle(parts)
    joined = join(read_as(faces), table)
    assert joined.by == "class and usage" and joined.images == len(faces)
    assert joined.faces.votes is not None
    np.testing.assert_array_equal(joined.faces.votes.counts, votes_of_rows()[rows])
    # The splits that are told apart afterwards take the votes along.
    later = official(joined.faces)
    position = {name: i for i, name in enumerate(faces.names)}
    moved = rows[[position[name] for name in later.names]]
    assert later.votes is not None
    np.testing.assert_array_equal(later.votes.counts, votes_of_rows()[moved])


def test_bad_images_keep_their_place(table: votes_files.VotesTable) -> None:
    faces, rows = kaggle({"train": ("Training",)})
    gone = np.isin(np.arange(len(faces)), [3, 17, 20_000])
    bad = tuple((faces.names[i], "damaged") for i in np.flatnonzero(gone))
    joined = join(read_as(faces.take(~gone), bad=bad), table)
    assert joined.faces.votes is not None
    np.testing.assert_array_equal(joined.faces.votes.counts, votes_of_rows()[rows[~gone]])


def test_archives_with_images_missing_or_more_are_refused(table: votes_files.VotesTable) -> None:
    faces, _ = kaggle({"train": ("Training",)})
    keep = np.array([name != "train/happy/im7.png" for name in faces.names])
    with pytest.raises(DataError, match=r"7,214 of happy instead of 7,215"):
        join(read_as(faces.take(keep)), table)
    names = [name.replace("happy/im7.png", "happy/im7215.png") for name in faces.names]
    with pytest.raises(
        DataError, match=r"train, happy: expected images im0 to im7214.*im7 is miss"
    ):
        join(read_as(replace(faces, names=tuple(names))), table)
    public, _ = kaggle({"test": ("PublicTest",)})
    keep = np.array([name != "test/happy/im7.png" for name in public.names])
    with pytest.raises(DataError, match=r"test has .* FER2013's PublicTest: 894 of happy instead"):
        join(read_as(public.take(keep)), table)
    twice = replace(faces, splits=np.where(np.arange(len(faces)) % 2, 0, 1).astype(np.int8))
    with pytest.raises(DataError, match="has not as many images of each class"):
        join(read_as(twice), table)


@pytest.mark.parametrize("usage", [True, False])
def test_the_csv_joins_by_row(usage: bool, file: Path, tmp_path: Path) -> None:
    lines = csv_lines(usage=usage)
    lines[100] = lines[100].replace(",", ",999 ", 1)  # a bad row keeps its place
    source = write(tmp_path / "fer2013.csv", lines)
    prepare(source, tmp_path / "out", votes=file, skip_bad=True, size=(2, 2), with_tfds=False)
    faces = load(tmp_path / "out")
    assert len(faces) == fer2013.ROWS - 1 and faces.votes is not None
    rows = np.array([int(name.removeprefix("row ")) - 1 for name in faces.names])
    assert 99 not in rows
    np.testing.assert_array_equal(faces.votes.counts, votes_of_rows()[rows])


def test_parts_of_the_csv_join_where_their_labels_prove_it(table: votes_files.VotesTable) -> None:
    rows = fer2013.rows_of(("PublicTest", "PrivateTest"))
    joined = join(read_as(of_csv(rows), "csv"), table)
    assert joined.faces.votes is not None
    np.testing.assert_array_equal(joined.faces.votes.counts, votes_of_rows()[rows])
    # The parts in another order, told apart by Usage.
    rows = np.concatenate([fer2013.rows_of((part,)) for part in ("PrivateTest", "Training")])
    joined = join(read_as(of_csv(rows), "csv"), table)
    assert joined.faces.votes is not None
    np.testing.assert_array_equal(joined.faces.votes.counts, votes_of_rows()[rows])


def test_parquet_files_of_splits_join_where_their_labels_prove_it(
    table: votes_files.VotesTable,
) -> None:
    faces = of_csv(np.arange(fer2013.ROWS))
    shards = np.digitize(np.arange(fer2013.ROWS), [10_000, 28_709, 32_298])
    names = [f"{'ab'[s // 1 % 2]}{s}.parquet: row {i + 1}" for i, s in enumerate(shards)]
    joined = join(read_as(replace(faces, names=tuple(names)), "parquet"), table)
    assert joined.faces.votes is not None
    np.testing.assert_array_equal(joined.faces.votes.counts, votes_of_rows())


def test_tables_that_were_shuffled_or_filtered_are_refused(table: votes_files.VotesTable) -> None:
    everything = np.arange(fer2013.ROWS)
    shuffled = np.random.default_rng(0).permutation(everything)
    with pytest.raises(DataError, match=r"row \d+ is labelled .* not FER2013's in their order"):
        join(read_as(of_csv(shuffled), "csv"), table)
    within = everything.copy()
    within[[0, 28_708]] = within[[28_708, 0]]
    assert fer2013.row_labels()[0] != fer2013.row_labels()[28_708]
    with pytest.raises(DataError, match="row 1 is labelled"):
        join(read_as(of_csv(within), "csv"), table)
    with pytest.raises(DataError, match=r"has 35,886 rows, and fer2013.csv 28,709 Training"):
        join(read_as(of_csv(np.delete(everything, 5)), "csv"), table)
    other = of_csv(everything)
    other.splits[40] = 1
    with pytest.raises(DataError, match=r"row 41 is in validation, and in Training in fer2013.csv"):
        join(read_as(other, "csv"), table)


def test_images_numbered_by_row_join_where_every_label_proves_it(
    table: votes_files.VotesTable,
) -> None:
    rows = np.sort(np.random.default_rng(1).permutation(fer2013.ROWS)[:500])
    labels = fer2013.row_labels()[rows]
    for base in (0, 1):
        names = [f"all/{EMOTIONS[k]}/{row + base:05d}.jpg" for row, k in zip(rows, labels)]
        joined = join(read_as(faces_of(labels, 0, names), "folders"), table)
        assert joined.by == "number" and joined.faces.votes is not None
        np.testing.assert_array_equal(joined.faces.votes.counts, votes_of_rows()[rows])
    within = rows - np.array([0, 28_709, 32_298])[np.digitize(rows, [28_709, 32_298])]
    parts = np.array(fer2013.PARTS)[np.digitize(rows, [28_709, 32_298])]
    names = [f"{EMOTIONS[k]}/{part}_{n}.jpg" for part, n, k in zip(parts, within, labels)]
    joined = join(read_as(faces_of(labels, 0, names), "mirror"), table)
    assert joined.faces.votes is not None
    np.testing.assert_array_equal(joined.faces.votes.counts, votes_of_rows()[rows])


def test_the_mirrors_numbers_prove_nothing(table: votes_files.VotesTable) -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 7, 300)
    names = [f"{EMOTIONS[k]}/Training_{n}.jpg" for k, n in zip(labels, rng.integers(0, 10**8, 300))]
    with pytest.raises(DataError, match=r"JPEG mirror do not say which row.*Training_\d+.jpg"):
        join(read_as(faces_of(labels, 0, names), "mirror"), table)
    few = rng.integers(0, fer2013.ROWS, 20)
    names = [f"{EMOTIONS[k]}/Training_{n}.jpg" for k, n in zip(labels, few)]
    with pytest.raises(DataError, match="JPEG mirror do not say"):
        join(read_as(faces_of(fer2013.row_labels()[few], 0, names), "mirror"), table)


def test_images_with_ferplus_names_join_by_name(table: votes_files.VotesTable) -> None:
    rows = np.arange(0, 3000, 7)
    labels = fer2013.row_labels()[rows]
    names = [f"{EMOTIONS[k]}/fer{row:07d}.png" for k, row in zip(labels, rows)]
    faces = faces_of(labels, 0, names)
    joined = join(read_as(faces, "folders"), table)
    assert joined.by == "name" and joined.faces.votes is not None
    np.testing.assert_array_equal(joined.faces.votes.counts, votes_of_rows()[rows])
    smiles = (labels == EMOTIONS.index("happy")).astype(np.int32)
    of_own = replace(faces, labels=smiles, class_names=("others", "smiles"))
    assert join(read_as(of_own, "folders"), table).images == len(rows)
    names[5] = "angry/fer9999999.png"
    with pytest.raises(DataError, match=r"no row for fer9999999\.png; take fer2013new\.csv"):
        join(read_as(faces_of(labels, 0, names), "folders"), table)


def test_other_datasets_are_refused(table: votes_files.VotesTable) -> None:
    names = [f"{name}/a{i}.png" for i in range(3) for name in EMOTIONS]
    faces = faces_of(np.tile(np.arange(7), 3), 0, names)
    with pytest.raises(DataError, match=r"nothing says which of FER2013's images angry/a0.png"):
        join(read_as(faces, "folders"), table)
    other = replace(faces, class_names=("a", "b", "c", "d", "e", "f", "g"))
    with pytest.raises(
        DataError, match=r"FER\+'s, on FER2013's images; the source has 7 classes, a"
    ):
        join(read_as(other, "folders"), table)


# --- votes files of another order ----------------------------------------------------------------


def changed(table: votes_files.VotesTable, rows: np.ndarray) -> votes_files.VotesTable:
    assert table.usages is not None
    return replace(
        table,
        votes=table.votes.take(rows),
        images=tuple(table.images[row] for row in rows),
        usages=tuple(table.usages[row] for row in rows),
        rows=tuple(range(1, len(rows) + 1)),
    )


def test_votes_files_of_another_length_or_order_are_refused(
    table: votes_files.VotesTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = read_as(of_csv(np.arange(fer2013.ROWS)), "csv")
    rows = np.arange(fer2013.ROWS)
    with pytest.raises(DataError, match=r"expected 35,887 rows of FER\+.*got 35,886"):
        join(read, changed(table, rows[:-1]))
    with pytest.raises(DataError, match=r"row 1: expected Usage Training, .*got 'PrivateTest'"):
        join(read, changed(table, rows[::-1]))
    moved = rows.copy()
    moved[:28_709] = np.roll(moved[:28_709], 1)
    with pytest.raises(DataError, match=r"image names are not those of FER\+ in their order"):
        join(read, changed(table, moved))
    # Were the names in order, the labels would still tell.
    shifted = changed(table, moved)
    names = ferplus_rows.names_sha256(shifted)
    monkeypatch.setattr(ferplus_rows, "NAMES_SHA256", names)
    with pytest.raises(
        DataError, match=r"agree with the labels of .* train images, and by chance of 1.*other im"
    ):
        join(read, shifted)


def test_copies_with_other_votes_are_told(table: votes_files.VotesTable) -> None:
    """Rows that were moved within a class agree with the labels, and copies tell."""
    faces, rows = kaggle({"test": ("PrivateTest",)})
    images = np.arange(len(faces), dtype=np.uint32)
    for k in range(7):
        members = np.flatnonzero(faces.labels == k)
        images[members[1:20]] = images[members[0]]
    pixels = np.repeat(images.view(np.uint8).reshape(-1, 4), 16, axis=1).reshape(-1, 8, 8)
    with pytest.raises(DataError, match=r"copies of one image have equal votes.*of 133 alone"):
        join(read_as(replace(faces, images=pixels)), table)
    equal = table.votes.counts.copy()
    for k in range(7):
        members = rows[faces.labels == k]
        equal[members[1:20]] = equal[members[0]]
    same = replace(table, votes=Votes(counts=equal, names=table.votes.names))
    assert join(read_as(replace(faces, images=pixels)), same).images == len(faces)


# --- the eighth class ----------------------------------------------------------------------------


def test_contempt_takes_its_place_in_the_sorted_order(table: votes_files.VotesTable) -> None:
    faces, _ = kaggle({"test": ("PublicTest",)})
    joined = join(read_as(faces), table).faces
    eight = with_classes(joined, 8)
    assert eight.class_names == tuple(sorted((*EMOTIONS, "contempt")))
    assert [eight.class_names[k] for k in eight.labels] == [EMOTIONS[k] for k in joined.labels]
    assert fer2013_part(eight) == "PublicTest"
    assert with_classes(joined, 7) is joined and with_classes(eight, 8) is eight
    with pytest.raises(DataError, match="is for the emotions of FER2013; the source has 8"):
        with_classes(eight, 7)
    with pytest.raises(DataError, match="adds contempt, of which the votes have no column"):
        with_classes(faces, 8)


# --- the user's own, by name ---------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Three faces of two classes in each of two splits."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("calm", "tense"):
            for i in range(3):
                path = tmp_path / "own" / split / name / f"{split}_{name}_{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(path), rng.integers(0, 256, (48, 48), dtype=np.uint8))
    return tmp_path / "own"


def test_own_votes_join_by_name_or_base_name(own: Path, tmp_path: Path) -> None:
    votes = write(
        tmp_path / "votes.csv",
        [
            "Image;Tense;calm;not a face",
            "test/tense/test_tense_1.png;3;1;0",
            "train_calm_2.png;0;2;2",
            "train_calm_0;1;3;0",
        ],
    )
    done = prepare(own, tmp_path / "out", votes=votes, with_tfds=False)
    faces = load(tmp_path / "out")
    assert faces.votes is not None and faces.votes.names == ("tense", "calm", "not a face")
    given = {name: v for name, v in zip(faces.names, faces.votes.counts.tolist()) if any(v)}
    assert given == {
        "test/tense/test_tense_1.png": [3, 1, 0],
        "train/calm/train_calm_2.png": [0, 2, 2],
        "train/calm/train_calm_0.png": [1, 3, 0],
    }
    about = done.manifest["votes"]
    assert about["file"] == "votes.csv" and about["images"] == 3 and about["without"] == 9
    assert about["joined_by"] == "name" and "licence" not in about
    assert about["sha256"] == hashlib.sha256(votes.read_bytes()).hexdigest()


def test_names_of_images_in_votes() -> None:
    names = votes_joining.Names(["a/x.png", "b/x.png", "b/y.png", "b/y.jpg", "row 3", "b/z.bmp"])
    for text, name in {
        "a/x.png": "a/x.png",
        " a\\x.png ": "a/x.png",
        "/home/me/a/x.png": "a/x.png",
        "x.png": None,  # one of two
        "y.png": "b/y.png",
        "y": None,
        "z": "b/z.bmp",
        "row 3": "row 3",
        "row 4": None,
        "c/y.png": None,  # of another folder
        "x/b/y.png": "b/y.png",
        "c/b/Y.PNG": None,  # one of two
        "B/Z.png": "b/z.bmp",
        "c/z.png": None,
        "./b/z.bmp": "b/z.bmp",
    }.items():
        assert names.name_of(text) == name, text
    accents = votes_joining.Names(["a/e\u0301.png", "a/\u00fc.png"])
    assert accents.name_of("\u00e9.png") == "a/e\u0301.png"
    assert accents.name_of("u\u0308.png") == "a/\u00fc.png"
    assert names.elsewhere("c/z.png") == "b/z.bmp" and names.elsewhere("c/x.png") is None


def test_a_line_for_each_annotator_is_counted(own: Path, tmp_path: Path) -> None:
    votes = write(
        tmp_path / "long.csv",
        [
            "annotator,file,label",
            "ann,train_calm_0.png,calm",
            "bob,train_calm_0.png,tense",
            "cid,train_calm_0.png,Tense",
            "ann,test_tense_0.png,unsure",
        ],
    )
    prepare(own, tmp_path / "out", votes=votes, with_tfds=False)
    faces = load(tmp_path / "out")
    assert faces.votes is not None and set(faces.votes.names) == {"calm", "tense", "unknown"}
    column = faces.votes.names.index("tense")
    assert faces.votes.counts[faces.names.index("train/calm/train_calm_0.png"), column] == 2


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["image,calm,tense", "train_calm_9.png,1,2"], "row 1: 'train_calm_9.png' is no image of"),
        (
            ["image,calm,tense", "images/train_calm_0.png,1,2"],
            "row 1: .* is no image of .*train/calm/train_calm_0.png is in another folder: give",
        ),
        (["image,rater,label", "train_calm_0.png,ann,tens"], "the label 'tens' is no class of"),
        (
            ["image,calm,tens", "train_calm_0.png,1,2"],
            "column 'tens' is no class .*did you mean 'tense'",
        ),
        (["image,calm,unknown", "train_calm_0.png,1,2"], "no column of votes for tense"),
        (
            ["image,calm,tense", "train_calm_0.png,1,2", "train/calm/train_calm_0.png,1,2"],
            "rows 1 and 2 are both of train/calm/train_calm_0.png",
        ),
    ],
)
def test_own_votes_that_do_not_fit_are_refused(
    lines: list[str], message: str, own: Path, tmp_path: Path
) -> None:
    votes = write(tmp_path / "votes.csv", lines)
    with pytest.raises(DataError, match=message):
        prepare(own, tmp_path / "out", votes=votes, with_tfds=False)
    assert not (tmp_path / "out").exists()


def test_votes_on_pictures_that_are_left_out_are_no_strangers(own: Path, tmp_path: Path) -> None:
    (own / "train/calm/train_calm_1.png").write_bytes(b"no image")
    lines = ["image,calm,tense", "train_calm_1.png,5,6", "train_calm_2.png,1,2"]
    votes = write(tmp_path / "votes.csv", lines)
    prepare(own, tmp_path / "out", votes=votes, skip_bad=True, with_tfds=False)
    faces = load(tmp_path / "out")
    assert faces.votes is not None and faces.votes.counts.sum() == 3

    def bright(image: np.ndarray) -> list[Detection]:
        return [Detection(box=(0, 0, 48, 48))] * int(image.mean() > 100)

    for name, shade in (("calm_2", 20), ("calm_0", 200)):
        image = np.full((96, 96), shade, np.uint8)
        assert cv2.imwrite(str(own / f"train/calm/train_{name}.png"), image)
    find = FindFaces(detector=bright)
    with pytest.raises(DataError, match="no image that is read from the source has votes"):
        prepare(own, tmp_path / "found", votes=votes, skip_bad=True, find_faces=find)
    assert not (tmp_path / "found").exists()
    votes = write(tmp_path / "votes.csv", [*lines, "train_calm_0.png,4,1"])
    prepare(own, tmp_path / "found", votes=votes, skip_bad=True, find_faces=find, with_tfds=False)
    faces = load(tmp_path / "found")
    assert faces.votes is not None and faces.votes.counts.sum() == 5
    assert "train/calm/train_calm_2.png" not in faces.names


def own_table(faces: Faces, winner: np.ndarray) -> votes_files.VotesTable:
    """Return a table of five votes an image, all for one class."""
    counts = np.zeros((len(faces), 7), np.float32)
    counts[np.arange(len(faces)), winner] = 5
    return votes_files.VotesTable(
        path="own.csv",
        sha256="",
        votes=Votes(counts=counts, names=EMOTIONS),
        images=faces.names,
        rows=tuple(range(1, len(faces) + 1)),
        usages=None,
        is_ferplus=False,
        is_long=False,
    )


def test_own_votes_no_better_than_chance_are_refused() -> None:
    labels = np.arange(200) % 7
    faces = faces_of(labels, 0, [f"{k}/{i}.png" for i, k in enumerate(labels)])
    moved = own_table(faces, (labels * 3 + np.arange(200) // 7) % 7)
    with pytest.raises(DataError, match="they are of other images"):
        join(read_as(faces, "folders"), moved)


def test_images_that_are_nearly_all_of_one_class_agree_by_chance() -> None:
    labels = np.full(200, EMOTIONS.index("happy"))
    winner = labels.copy()
    labels[:2], winner[2:4] = 0, 4  # two that are angry were seen as happy, two happy as neutral
    faces = faces_of(labels, 0, [f"{k}/{i}.png" for i, k in enumerate(labels)])
    assert join(read_as(faces, "folders"), own_table(faces, winner)).images == 200
    with pytest.raises(DataError, match=r"agree with the labels of 0.0% of 200 train images"):
        join(read_as(faces, "folders"), own_table(faces, np.full(200, 4)))


def test_columns_in_another_order_are_told(table: votes_files.VotesTable) -> None:
    labels = np.repeat(np.arange(7), [30, 30, 30, 30, 30, 80, 10])
    faces = faces_of(labels, 0, [f"{k}/{i}.png" for i, k in enumerate(labels)])
    right, exchanged = own_table(faces, labels), np.arange(7)
    assert join(read_as(faces, "folders"), right).images == 240
    exchanged[[0, 5]] = 5, 0
    with pytest.raises(
        DataError,
        match=r"that of angry is sad by the images' labels; 110 images agree then, and 0 by",
    ):
        join(read_as(faces, "folders"), own_table(faces, exchanged[labels]))
    # Labels of a large class that people do not see, but a smaller one: the columns are right.
    seen = np.where((labels == 5) & (np.arange(240) % 4 > 0), 6, labels)
    assert join(read_as(faces, "folders"), own_table(faces, seen)).images == 240
    # Two classes that people tell apart otherwise than the labels do, not the other way round.
    first, part = np.repeat([0, 1], 120), np.arange(240) % 120
    others = np.arange(240) % 5 + 2
    seen = np.where(first == 0, part >= 50, part >= 90).astype(int)
    faces = faces_of(np.r_[first, others], 0, [f"{i}.png" for i in range(480)])
    assert join(read_as(faces, "folders"), own_table(faces, np.r_[seen, others])).images == 480
    counts = table.votes.counts.copy()
    counts[:, [5, 7]] = counts[:, [7, 5]]  # disgust, which is rare, and contempt, of no label
    other = replace(table, votes=Votes(counts=counts, names=table.votes.names))
    with pytest.raises(DataError, match="that of contempt is disgust by the images' labels"):
        join(read_as(kaggle({"test": ("PublicTest",)})[0]), other)


# --- preparing -----------------------------------------------------------------------------------


def test_a_second_call_knows_the_votes(own: Path, tmp_path: Path) -> None:
    lines = ["image,calm,tense", "train_calm_0.png,1,2"]
    votes, out = write(tmp_path / "votes.csv", lines), tmp_path / "out"
    assert prepare(own, out, votes=votes, with_tfds=False).fresh
    assert not prepare(own, out, votes=votes, with_tfds=False).fresh
    for other in (None, write(tmp_path / "other.csv", [lines[0], "train_calm_0.png,2,1"])):
        with pytest.raises(DataError, match="another prepared dataset"):
            prepare(own, out, votes=other, with_tfds=False)
    votes.rename(tmp_path / "renamed.csv")
    assert not prepare(own, out, votes=tmp_path / "renamed.csv", with_tfds=False).fresh


def test_what_is_dropped_takes_its_votes_along(own: Path, tmp_path: Path) -> None:
    assert cv2.imwrite(str(own / "train/calm/train_calm_1.png"), np.zeros((48, 48), np.uint8))
    names = sorted(path.name for path in own.rglob("*.png"))
    lines = [f"{name},{i + 5},1" for i, name in enumerate(names)]
    votes = write(tmp_path / "votes.csv", ["image,calm,tense", *lines])
    prepare(own, tmp_path / "out", votes=votes, drop=["blank"], split="card", with_tfds=False)
    faces = load(tmp_path / "out")
    assert len(faces) == 11 and faces.votes is not None
    expected = [names.index(name.rpartition("/")[2]) + 5 for name in faces.names]
    assert faces.votes.counts[:, 0].tolist() == expected


def test_the_votes_are_never_replaced(own: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    votes = write(out / "votes.csv", ["image,calm,tense", "train_calm_0.png,1,2"])
    with pytest.raises(DataError, match=r"holds the votes, .*would be deleted"):
        prepare(own, out, votes=votes, force=True, with_tfds=False)
    assert votes.exists()


def test_classes_are_for_votes(own: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--classes .* is for --votes"):
        prepare(own, tmp_path / "out", classes=8, with_tfds=False)
    votes = write(tmp_path / "votes.csv", ["image,calm,tense", "train_calm_0.png,1,2"])
    with pytest.raises(DataError, match="expected 7 or 8 for --classes"):
        prepare(own, tmp_path / "out", votes=votes, classes=9, with_tfds=False)
    with pytest.raises(DataError, match="the source has 2 classes, calm, tense"):
        prepare(own, tmp_path / "out", votes=votes, classes=8, with_tfds=False)


def test_the_command_prepares_with_votes(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    votes = write(tmp_path / "votes.csv", ["image,calm,tense", "train_calm_0.png,1,2"])
    command = ["data", "prepare", str(own), "--out", str(tmp_path / "out"), "--no-tfds"]
    assert main([*command, "--votes", str(votes), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["votes"]["columns"] == ["calm", "tense"]
    votes.write_text("image,calm,tense\ntrain_calm_0.png,-1,2\n")
    assert main([*command, "--votes", str(votes), "--force"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "row 1: expected votes" in error
    assert load(tmp_path / "out").votes is not None  # nothing was written


@pytest.mark.slow
def test_the_real_archive_and_ferplus_join(fer_zip: Path, tmp_path: Path) -> None:
    votes = fer_zip.with_name("ferplus_fer2013new.csv")
    if not votes.exists():
        pytest.skip(f"needs {votes.name} beside {fer_zip.name}")
    ferplus_rows.NAMES_SHA256 = _REAL_NAMES
    done = prepare(fer_zip, tmp_path / "out", votes=votes, classes=8, with_tfds=False)
    assert done.manifest["votes"]["images"] == 32_298
    assert done.manifest["votes"]["licence"] == "MIT"
    faces = load(tmp_path / "out")
    assert faces.votes is not None
    from ferjax.data.votes import majority

    winner = majority(faces.votes, faces.class_names)
    kept = [int((winner[faces.in_split(s)] >= 0).sum()) for s in ("train", "validation")]
    assert kept == [25_060, 3_199]  # the numbers of Barsoum et al.
    assert not [note for note in faces.notes if "contempt" in note]


_REAL_NAMES = ferplus_rows.NAMES_SHA256
