"""Which folders are classes and which are splits, in the forms that people's datasets have."""

from __future__ import annotations

from itertools import product

import pytest

from ferjax import EMOTIONS
from ferjax.data import folders, split_names
from ferjax.errors import DataError

Path = tuple[str, ...]
OWN = ("glad", "grumpy")


def tree(*levels: str | tuple[str, ...]) -> list[Path]:
    """Return every way through levels of folders; "a/b" stands for two levels."""
    choices = [(level,) if isinstance(level, str) else level for level in levels]
    return [tuple("/".join(path).split("/")) for path in product(*choices)]


def read(paths: list[Path], level: int | None = None) -> set[tuple[str, str]]:
    """Return the splits and classes that paths are read as; all of them have a place."""
    places = folders.layout(paths, level).places
    assert not [place for place in places if isinstance(place, str)]
    return {(place.split, place.name) for place in places if not isinstance(place, str)}


@pytest.mark.parametrize("classes", [EMOTIONS, OWN])
@pytest.mark.parametrize(
    "splits",
    [
        ("train", "val", "test"),
        ("training_set", "validation_set", "test_set"),
        ("Train_Data", "Valid_Data", "Test_Data"),
        ("FER2013Train", "FER2013Valid", "FER2013Test"),
        ("train_class", "val_class", "test_class"),
        ("images_train", "images_validation", "images_test"),
        ("affectnet_train", "affectnet_dev", "affectnet_test"),
        ("Training", "PublicTest", "PrivateTest"),
        ("Training", "Public_Test", "Private_Test"),
        ("data_training", "data_eval", "data_test"),
        ("fertrain", "fervalid", "fertest"),
        ("tr", "va", "te"),
        ("entrenamiento", "validación", "prueba"),
        ("训练集", "验证集", "测试集"),
        ("train", "dev", "eval"),
        ("trainset", "valset", "testset"),
        ("train2017", "val2017", "test2017"),
        ("data/train", "data/val", "data/test"),
        ("archive/fer/train", "archive/fer/val", "archive/fer/test"),
        ("raf-db/DATASET/train", "raf-db/DATASET/val", "raf-db/DATASET/test"),
        ("train/images", "val/images", "test/images"),
        ("train/images", "val/images", "test"),
        ("train/train", "val/val", "test/test"),
        ("train/training_set", "val/validation_set", "test/test_set"),
    ],
)
def test_splits_by_other_names(splits: tuple[str, ...], classes: tuple[str, ...]) -> None:
    expected = set(product(("train", "validation", "test"), classes))
    assert read(tree(splits, classes)) == expected
    # The class folder may lie above the split's.
    if all("/" not in split for split in splits):
        assert read(tree(classes, splits)) == expected


@pytest.mark.parametrize("classes", [EMOTIONS, OWN])
@pytest.mark.parametrize(
    "groups",
    [
        ("fold_0", "fold_1"),
        ("part1", "part2"),
        ("set_a", "set_b"),
        ("2023", "2024"),
        ("S005", "S010", "S022"),
        ("subject_01", "subject_02"),
        ("2023-01-05", "2023-02-07"),
    ],
)
def test_groups_are_neither_splits_nor_classes(
    groups: tuple[str, ...], classes: tuple[str, ...]
) -> None:
    expected = set(product(("train",), classes))
    assert read(tree(groups, classes)) == expected
    note = folders.layout(tree(groups, classes)).notes[0]
    assert note.startswith(f"the folders {groups[0]}, {groups[1]}")
    assert note.endswith("are no splits: all images are in train")
    # Folders in a class's folder say nothing.
    assert read(tree(classes, groups)) == expected
    note = folders.layout(tree(classes, groups)).notes[0]
    assert note == "there are no split folders such as train and test: all images are in train"


def test_splits_in_splits() -> None:
    splits = ("training/train", "training/val", "testing")
    assert read(tree(splits, EMOTIONS)) == set(product(("train", "validation", "test"), EMOTIONS))


def test_folds_of_the_training_images() -> None:
    paths = tree(("train/fold_0", "train/fold_1", "test"), EMOTIONS)
    assert read(paths) == set(product(("train", "test"), EMOTIONS))


def test_groups_beside_splits_are_named() -> None:
    layout = folders.layout(tree(("train", "test"), ("front", "profile"), EMOTIONS))
    assert layout.notes == ("the folders front, profile are taken for neither splits nor classes",)


@pytest.mark.parametrize("groups", [("front", "profile"), ("CK+48", "JAFFE"), ("anna", "bob")])
def test_emotions_are_the_classes_wherever_they_lie(groups: tuple[str, ...]) -> None:
    expected = set(product(("train",), EMOTIONS))
    assert read(tree(groups, EMOTIONS)) == expected
    assert read(tree(EMOTIONS, groups)) == expected
    assert read(tree("CK+48", EMOTIONS)) == expected
    assert read(tree("CK+", "CK+48", EMOTIONS)) == expected


@pytest.mark.parametrize("form", ["0_{}", "{}_images", "{} Faces", "3. {}", "emotion-{}"])
def test_emotions_with_words_that_say_nothing(form: str) -> None:
    names = tuple(form.format(name.title()) for name in EMOTIONS)
    assert read(tree(("train", "test"), names)) == set(product(("train", "test"), EMOTIONS))


def test_emotions_whose_names_repeat_others() -> None:
    names = [*EMOTIONS[:6], "boredom"]
    paths = [(person, f"{person}_{name}") for person in ("aia", "bonnie") for name in names]
    assert read(paths) == set(product(("train",), names))
    people = tuple(f"{name}_people" for name in EMOTIONS)
    assert read(tree(("train", "test"), people)) == set(product(("train", "test"), EMOTIONS))
    negated = ("not_happy", "not_sad")
    assert read(tree(negated)) == set(product(("train",), negated))
    kinds = ("happy_kids", "sad_kids", "happy_adults", "sad_adults")
    assert read(tree(kinds)) == set(product(("train",), kinds))


@pytest.mark.parametrize("classes", [EMOTIONS, OWN])
@pytest.mark.parametrize("form", ["{}_{}", "{} {}", "{}-{}-set"])
def test_class_and_split_in_one_name(form: str, classes: tuple[str, ...]) -> None:
    both = tuple(form.format(name, split) for name in classes for split in ("train", "test"))
    assert read(tree(both)) == set(product(("train", "test"), classes))


@pytest.mark.parametrize(
    "paths",
    [
        tree(OWN),
        tree("faces", OWN),
        tree("a", "b", OWN),
        tree("my_train_photos", OWN),
        [("glad",), ("glad", "deep"), ("grumpy",)],
        [("glad", "anna"), ("glad", "bob"), ("grumpy", "carl"), ("grumpy", "dora")],
        tree(OWN, "session1"),
        tree(OWN, ("1", "2", "3")),
        tree(OWN, ("aligned", "original")),
    ],
)
def test_folders_of_ones_own_are_classes(paths: list[Path]) -> None:
    assert read(paths) == set(product(("train",), OWN))


@pytest.mark.parametrize(
    ("paths", "classes"),
    [
        (tree(("class_0", "class_1")), {"class_0", "class_1"}),
        (tree(("happy", "not_happy")), {"happy", "not_happy"}),
        (tree(("test_anxiety", "test_joy")), {"test_anxiety", "test_joy"}),
        (tree(("glad", "grumpy"), "neutral"), {"glad", "grumpy"}),
        (tree(("Glad", "train station")), {"Glad", "train station"}),
        (tree(("train", "test"), "happy"), {"happy"}),
        (tree("happy", ("s1", "s2")), {"happy"}),
        (tree(("train", "test"), ("1", "2", "3", "4", "5", "6", "7")), set("1234567")),
        (tree(("fold_0", "fold_1"), ("0", "1", "2")), set("012")),
        (tree(("2023", "2024"), ("0", "1", "2")), set("012")),
        (tree("DATASET", ("train", "test"), ("1", "2")), set("12")),
    ],
)
def test_other_classes(paths: list[Path], classes: set[str]) -> None:
    assert {name for _, name in read(paths)} == classes


def test_a_class_of_its_own_is_known_where_it_lies_alone() -> None:
    paths = [("S1", "happy"), ("S1", "sad"), ("S1", "contempt"), ("S2", "contempt")]
    assert read(paths) == {("train", "happy"), ("train", "sad"), ("train", "contempt")}


@pytest.mark.parametrize(
    ("paths", "match"),
    [
        (
            tree(("front", "profile"), OWN),
            "which folders are the classes.* level 1 has front, profile; level 2 has glad, grumpy; "
            "give --classes-level",
        ),
        (tree("all", OWN, ("front", "profile")), "level 2 has glad, grumpy; level 3 has front"),
        (tree(("train", "test"), ("front", "profile"), OWN), "level 2 has front.* level 3 has gla"),
        (tree(("1", "2", "3"), ("front", "profile")), "level 1 has 1, 2, 3; level 2 has front"),
        (tree(("anna", "bob"), ("0", "1")), "level 1 has anna, bob; level 2 has 0, 1"),
        (tree(("0", "1"), ("1", "2")), "level 1 has 0, 1; level 2 has 1, 2"),
        (tree(("drowsy", "alert"), ("neutral", "bright")), "level 1 has alert, drowsy"),
        (
            tree(("fold_0", "fold_1", "fold_2", "fold_3")),
            "fold_0, fold_1, fold_2 and 1 more are gr",
        ),
        (
            tree(("fold_0", "fold_1"), ("train", "test"), EMOTIONS),
            "fold_0, fold_1 are folds, and wha",
        ),
        (tree(("raw", "processed")), "processed, raw are groups of images, not classes"),
        ([("happy", "sad"), ("happy",), ("fear",)], "happy/sad: 'happy' and 'sad' are emotions bo"),
    ],
)
def test_what_cannot_be_told_is_refused(paths: list[Path], match: str) -> None:
    with pytest.raises(DataError, match=match) as error:
        folders.layout(paths)
    assert "\n" not in str(error.value)
    assert "classes_level" in str(error.value) or "name one of them" in str(error.value)


@pytest.mark.parametrize(
    ("paths", "level", "expected"),
    [
        (tree(("front", "profile"), OWN), 1, {("train", "front"), ("train", "profile")}),
        (tree(("front", "profile"), OWN), 2, {("train", "glad"), ("train", "grumpy")}),
        (tree("all", ("train", "test"), OWN), 3, set(product(("train", "test"), OWN))),
        (tree(("fold_0", "fold_1")), 1, {("train", "fold_0"), ("train", "fold_1")}),
    ],
)
def test_the_level_can_be_given(paths: list[Path], level: int, expected: set[Path]) -> None:
    assert read(paths, level) == expected


@pytest.mark.parametrize("level", [0, -1, 3])
def test_a_level_that_is_not_there(level: int) -> None:
    with pytest.raises(DataError, match=rf"expected 1 to 2 for --classes-level .*, got {level}"):
        folders.layout(tree(("front", "profile"), OWN), level)


@pytest.mark.parametrize(
    ("paths", "bad"),
    [
        ([*tree(("train", "test"), EMOTIONS), ("extra", "happy")], {("extra", "happy")}),
        ([*tree(("train", "test"), OWN), ("train",), ()], {("train",), ()}),
        ([*tree(EMOTIONS), *tree("validation", EMOTIONS)], {*tree(EMOTIONS)}),
        ([*tree(EMOTIONS), ("test",)], {("test",)}),
        (tree(("train_data", "test_data")), {*tree(("train_data", "test_data"))}),
        (tree(("valid", "invalid")), {*tree(("valid", "invalid"))}),
        (
            [*tree("train", ("train", "test"), OWN), *tree("test/train", OWN)],
            {*tree("train/test", OWN), *tree("test/train", OWN)},
        ),
        ([()], {()}),
    ],
)
def test_images_without_class_or_split_are_bad(paths: list[Path], bad: set[Path]) -> None:
    places = folders.layout(paths).places
    assert {path for path, place in zip(paths, places) if isinstance(place, str)} == bad
    for place in places:
        if isinstance(place, str):
            assert place.startswith("expected <")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("TestSet", "test"),
        ("TESTset", "test"),
        ("test-images", "test"),
        ("valdata", "validation"),
        ("trainval", "train"),
        ("contest", None),
        ("pretrain", None),
        ("untrained", None),
        ("invalid", None),
        ("train_test", None),
        ("test_anxiety", None),
    ],
)
def test_words_in_names(name: str, split: str | None) -> None:
    assert split_names.split_of(name) == split
