"""What numbers mean that stand for classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ferjax import EMOTIONS
from ferjax.data import class_numbers
from ferjax.errors import DataError
from tests.data.pixel_tables import ORDER, read, table


def test_labels_by_another_name_are_noted(tmp_path: Path) -> None:
    faces = read(tmp_path / "a.csv", table("label,pixels,Usage"))
    assert faces.notes == (
        "labels 0 to 6 are taken in the order of fer2013.csv, angry, disgust, fear, happy, sad, "
        "surprise, neutral; --labels (labels=) gives another",
    )
    assert not read(tmp_path / "a.csv", table()).notes


@pytest.mark.parametrize(
    ("labels", "first"),
    [
        ("fer2013", ORDER),
        ("sorted", list(EMOTIONS)),
        ("rafdb", "surprise fear disgust happy sad angry neutral".split()),
        (EMOTIONS[::-1], list(EMOTIONS[::-1])),
        (",".join(EMOTIONS[::-1]), list(EMOTIONS[::-1])),
        (dict(enumerate(ORDER)), ORDER),
        ("0=anger,1=disgust,2=fear,3=happiness,4=sadness,5=surprise,6=neutral", ORDER),
    ],
)
def test_the_order_can_be_given(
    labels: class_numbers.NumberNames, first: list[str], tmp_path: Path
) -> None:
    faces = read(tmp_path / "a.csv", table("label,pixels,Usage"), labels=labels)
    assert [faces.class_names[label] for label in faces.labels[:7]] == first
    assert faces.class_names == EMOTIONS
    # The same from 1.
    text = table("label,pixels,Usage", label=lambda i: i % 7 + 1)
    if not isinstance(labels, dict) and "=" not in labels:
        faces = read(tmp_path / "a.csv", text, labels=labels)
        assert [faces.class_names[label] for label in faces.labels[:7]] == first


@pytest.mark.parametrize(
    ("header", "label", "match"),
    [
        (
            "emotion",
            lambda i: i % 8,
            r"the labels in emotion are numbers, 0 to 7: .*ckplus \(angry",
        ),
        (
            "emotion",
            lambda i: i % 7 + 1,
            r"numbers, 1 to 7: give .*rafdb \(surprise, fear, disgust",
        ),
        (
            "label",
            lambda i: i % 2,
            "are numbers, 0 and 1: give their names by .*: 2 names in their order",
        ),
        (
            "label",
            lambda i: i % 3,
            "the labels in label are numbers, 0 to 2: give their names by --la",
        ),
    ],
)
def test_other_numbers_are_asked_for(
    header: str, label: Callable[[int], int], match: str, tmp_path: Path
) -> None:
    text = table(f"{header},pixels,Usage", label=label)
    for skip_bad in (False, True):
        with pytest.raises(DataError, match=match) as error:
            read(tmp_path / "a.csv", text, skip_bad=skip_bad)
        assert "\n" not in str(error.value)


def test_eight_classes(tmp_path: Path) -> None:
    faces = read(
        tmp_path / "a.csv", table(label=lambda i: i % 8, usage=lambda u: "train"), labels="ckplus"
    )
    assert faces.class_names == tuple(sorted((*EMOTIONS, "contempt")))
    assert [faces.class_names[label] for label in faces.labels[:8]] == [*ORDER, "contempt"]
    with pytest.raises(
        DataError, match=r"1 of 14 rows .*row 8: expected 0 to 6 for emotion, got '7'"
    ):
        read(tmp_path / "a.csv", table(label=lambda i: i % 8), labels="fer2013")


def test_numbers_can_be_kept(tmp_path: Path) -> None:
    text = table("label,pixels", fields="{label},{pixels}", label=lambda i: i % 3)
    faces = read(tmp_path / "a.csv", text, labels="numbers")
    assert faces.class_names == ("0", "1", "2")
    assert faces.labels[:4].tolist() == [0, 1, 2, 0]
    faces = read(tmp_path / "a.csv", text, labels="tense,calm,bored")
    assert faces.class_names == ("bored", "calm", "tense")
    assert [faces.class_names[label] for label in faces.labels[:3]] == ["tense", "calm", "bored"]


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ("fer2031", "expected sorted, fer2013, .* got 'fer2031'; did you mean 'fer2013'"),
        ("happy,happy", "expected .* different names separated by commas"),
        ("0=happy,x=sad", "expected 0=name,1=name"),
        ("", "expected .* got ''"),
        (
            "a,b,c,d",
            "labels name 4 classes, and neither 0 nor 4 is among the numbers 1, 2, 3: write",
        ),
    ],
)
def test_labels_that_say_nothing(labels: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        class_numbers.names_of({1, 2, 3}, labels)


def test_labels_are_for_numbers(tmp_path: Path) -> None:
    text = table(label=lambda i: ORDER[i % 7])
    with pytest.raises(
        DataError, match="labels are for numbers; emotion has names, such as 'angry'"
    ):
        read(tmp_path / "a.csv", text, labels="fer2013")


def test_fer2013s_counts_tell_the_order() -> None:
    in_order = dict(enumerate([3995, 436, 4097, 7215, 4830, 3171, 4965]))
    assert class_numbers.order_by_counts(in_order) == "fer2013"
    by_name = dict(enumerate([958, 111, 1024, 1774, 1233, 1247, 831]))  # both test parts
    assert class_numbers.order_by_counts(by_name) == "sorted"
    assert class_numbers.order_by_counts(dict(enumerate([1] * 7))) is None
    texts = [str(number) for number, count in by_name.items() for _ in range(count)]
    classes, bad, notes = class_numbers.classes_of(texts, None, "label")
    assert classes == {str(i): name for i, name in enumerate(EMOTIONS)}
    assert (bad, notes) == ({}, ["labels are in the sorted order, by how many images each has"])
