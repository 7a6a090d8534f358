"""Class names and their orders."""

from __future__ import annotations

import dataclasses

import pytest

from ferjax.emotions import (
    ALIASES,
    EMOTIONS,
    FER2013_CSV_ORDER,
    FERPLUS_ORDER,
    KNOWN_NETWORKS,
    ORDERS,
    are_names,
    canonical,
    class_names,
    order_of,
    positions,
)
from ferjax.errors import FerjaxError, LabelsError


def test_output_order_is_the_sorted_folder_names() -> None:
    assert EMOTIONS == ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    assert tuple(sorted(EMOTIONS)) == EMOTIONS


def test_csv_order_has_the_same_names_and_neutral_last() -> None:
    assert FER2013_CSV_ORDER[3:] == ("happy", "sad", "surprise", "neutral")
    assert FER2013_CSV_ORDER[:4] == EMOTIONS[:4]
    assert set(FER2013_CSV_ORDER) == set(EMOTIONS)


def test_kaggle_folder_names() -> None:
    folders = ["angry", "disgusted", "fearful", "happy", "neutral", "sad", "surprised"]
    assert tuple(canonical(folder) for folder in folders) == EMOTIONS


@pytest.mark.parametrize("name", EMOTIONS)
def test_a_canonical_name_stays(name: str) -> None:
    assert canonical(name) == name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Anger", "angry"),
        ("SADNESS", "sad"),
        (" happiness\n", "happy"),
        ("neutrality", "neutral"),
    ],
)
def test_other_names(name: str, expected: str) -> None:
    assert canonical(name) == expected


def test_every_alias_leads_to_an_emotion() -> None:
    assert set(ALIASES.values()) <= set(EMOTIONS)
    assert not set(ALIASES) & set(EMOTIONS)


def test_near_misses_are_named() -> None:
    with pytest.raises(LabelsError, match=r"unknown emotion 'hapy'.*did you mean 'happy'"):
        canonical("hapy")
    with pytest.raises(LabelsError, match=r"did you mean 'surprise' or 'surprised'"):
        canonical("surprize")


@pytest.mark.parametrize("name", ["contempt", "", "0"])
def test_unknown_names_list_the_known(name: str) -> None:
    with pytest.raises(LabelsError, match="expected one of angry, disgust, fear, happy, neutral"):
        canonical(name)


def test_what_is_no_string() -> None:
    with pytest.raises(LabelsError, match="expected an emotion's name, got int"):
        canonical(3)  # type: ignore[arg-type]


def test_error_classes() -> None:
    assert issubclass(LabelsError, FerjaxError) and issubclass(LabelsError, ValueError)


# --- orders --------------------------------------------------------------------------------------


def test_the_columns_of_ferplus() -> None:
    header = "neutral happiness surprise sadness anger disgust fear contempt".split()
    assert tuple(ALIASES.get(name, name) for name in header) == FERPLUS_ORDER


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("sorted", EMOTIONS),
        ("fer2013", FER2013_CSV_ORDER),
        (" FER2013\n", FER2013_CSV_ORDER),
        (["fer2013"], FER2013_CSV_ORDER),
        ("a, b,c,d,e,f,g", tuple("abcdefg")),
        (["Angry", "b", "c", "d", "e", "f", "g"], ("Angry", *"bcdefg")),  # as they are
    ],
)
def test_labels_for_seven_classes(labels: str | list[str], expected: tuple[str, ...]) -> None:
    assert tuple(class_names(labels, 7)) == expected


def test_ferplus_is_of_eight_classes() -> None:
    assert tuple(class_names("ferplus", 8)) == FERPLUS_ORDER


def test_one_class_may_have_any_name() -> None:
    assert class_names("happy", 1) == ["happy"]
    assert class_names(["sorted"], 1) == ["sorted"]


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        (
            "ferplus",
            7,
            r"labels for 7 classes, got the order 'ferplus' of 8: neutral, .*contempt; orders "
            r"of 7: sorted \(angry, .*\) or fer2013 \(angry, .*\) or rafdb \(surprise, ",
        ),
        (
            "sorted",
            8,
            r"8 classes, got the order 'sorted' of 7: .*; orders of 8: ferplus \(neutral",
        ),
        ("fer2013", 3, r"3 classes, got the order 'fer2013' of 7: angry, [^;]*$"),
        (["sorted"], 8, "8 classes, got the order 'sorted' of 7"),
        ("fer2031", 7, "'fer2031'; or one of the orders sorted, .*; did you mean 'fer2013'"),
        ("", 7, "expected a list of label names, got ''; or one of the orders"),
        ("a,,b", 3, "expected a list of label names, got 'a,,b'; or one of the orders"),
        ("a,b", 7, r"7 different labels in output order, got 2: a, b; orders of 7: sorted \("),
        (["a", "b", "a"], 3, r"got 3: a, b, a \(a more than once\)$"),
        (("sorted", "fer2013"), 7, "got 2: sorted, fer2013; orders of 7"),
    ],
)
def test_labels_that_do_not_fit(labels: str | list[str], classes: int, message: str) -> None:
    with pytest.raises(LabelsError, match=message) as raised:
        class_names(labels, classes)
    assert "\n" not in str(raised.value)


def test_labels_may_come_one_by_one() -> None:
    assert class_names(iter(EMOTIONS), 7) == list(EMOTIONS)  # type: ignore[arg-type]


def test_which_order_labels_are_in() -> None:
    assert [order_of(names) for names in ORDERS.values()] == list(ORDERS)
    folders = "angry disgusted fearful happy neutral sad surprised".split()
    assert order_of(folders) == "sorted"
    assert order_of(EMOTIONS[::-1]) is None


def test_where_labels_have_other_labels() -> None:
    assert positions(["Sad", "Happy"], ["happiness", "sadness"]) == [1, 0]
    assert positions(["calm", "tense"], ["tense", "calm"]) == [1, 0]
    assert positions(["calm", "tense"], ["calm", "other"]) is None
    assert positions(["anger", "angry"], ["anger", "angry"]) is None  # one class twice
    assert positions(FERPLUS_ORDER, EMOTIONS) is None


def test_numbers_are_no_names() -> None:
    assert not are_names(None)
    assert not are_names(["0", "1"])
    assert are_names(["1", "0"])


def test_known_networks_are_different_ones_with_a_source() -> None:
    assert len({network.fingerprint for network in KNOWN_NETWORKS}) == len(KNOWN_NETWORKS)
    for network in KNOWN_NETWORKS:
        assert network.labels == tuple(class_names(network.order, len(network.labels)))
        assert network.source


def test_a_known_network_may_have_an_order_of_its_own() -> None:
    known = dataclasses.replace(KNOWN_NETWORKS[0], order="calm,tense")
    assert known.labels == ("calm", "tense")
