"""Faces in memory, in the classes of a network."""

from __future__ import annotations

import numpy as np
import pytest

from ferjax.data.dataset import Faces, in_classes_of
from ferjax.emotions import EMOTIONS, FER2013_CSV_ORDER

EIGHT = tuple(sorted((*EMOTIONS, "contempt")))


def faces(class_names: tuple[str, ...], *labels: str) -> Faces:
    n = len(labels)
    return Faces(
        images=np.zeros((n, 2, 2), np.uint8),
        labels=np.array([class_names.index(label) for label in labels], np.int32),
        splits=np.zeros(n, np.int8),
        names=tuple(map(str, range(n))),
        class_names=class_names,
        source_sizes=np.full((n, 2), 2, np.int32),
    )


def test_contempt_comes_and_goes_where_no_label_is_it() -> None:
    seven, eight = faces(EMOTIONS, "sad", "angry"), faces(EIGHT, "sad", "angry")
    for given, labels, wanted in (
        (seven, [name.title() for name in reversed(EIGHT)], eight),
        (eight, FER2013_CSV_ORDER, seven),
    ):
        found = in_classes_of(given, labels)
        assert found.class_names == wanted.class_names
        assert found.labels.tolist() == wanted.labels.tolist()


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        (faces(EMOTIONS, "sad"), FER2013_CSV_ORDER),  # the same classes
        (faces(EIGHT, "contempt"), EMOTIONS),  # an image has the label
        (faces(("calm", "tense"), "calm"), ("calm",)),  # no emotions
        (faces(EMOTIONS, "sad"), ("sad", "bored")),
        (faces(EMOTIONS, "sad"), ("sad", "sad")),
    ],
)
def test_other_classes_stay(given: Faces, labels: tuple[str, ...]) -> None:
    assert in_classes_of(given, labels) is given
