"""Class names and their orders."""

from __future__ import annotations

import pytest

from ferjax.emotions import ALIASES, EMOTIONS, FER2013_CSV_ORDER, canonical
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
