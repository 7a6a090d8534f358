"""How far people agree, by hand; the faces that they disagree on most."""

from __future__ import annotations

import builtins
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ferjax.data.agreement import agreement, entropy, krippendorffs_alpha, most_disputed
from ferjax.data.dataset import Faces
from ferjax.data.sheet_rows import disputed_rows
from ferjax.data.votes import Votes
from ferjax.errors import FerjaxError

CLASSES = ("calm", "tense")
NAMES = ("calm", "tense", "not a face")


def faces(*rows: tuple[str, list[float]]) -> Faces:
    n = len(rows)
    counts = np.array([counts for _, counts in rows], np.float32)
    return Faces(
        images=np.arange(n * 64, dtype=np.uint8).reshape(n, 8, 8),
        labels=np.array([CLASSES.index(label) for label, _ in rows], np.int32),
        splits=np.zeros(n, np.int8),
        names=tuple(f"{i}.png" for i in range(n)),
        class_names=CLASSES,
        source_sizes=np.full((n, 2), 8, np.int32),
        votes=Votes(counts=counts, names=NAMES),
    )


FOUR = faces(
    ("calm", [4, 0, 0]),
    ("calm", [1, 3, 0]),
    ("tense", [2, 2, 0]),
    ("tense", [0, 0, 4]),
    ("tense", [0, 0, 0]),
)


def test_agreement_with_labels_by_class() -> None:
    found = agreement(FOUR)
    assert (found.images, found.without_votes, found.voters) == (4, 1, (4, 4, 4))
    assert (found.clear, found.agree) == (2, 1)
    assert found.left_out == {"no majority": 1, "not a face": 1}
    assert found.outliers == (1, 16)
    calm, tense = found.by_class["calm"], found.by_class["tense"]
    assert (calm.images, calm.clear, calm.agree) == (2, 2, 1)
    assert (tense.images, tense.clear, tense.agree) == (2, 0, 0)
    bits = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert calm.entropy == pytest.approx(bits / 2)
    assert tense.entropy == pytest.approx(1 / 2)
    assert found.entropy == pytest.approx((bits + 1) / 4)
    json.dumps(found.to_json(), allow_nan=False)


def test_the_entropy_of_votes() -> None:
    votes = Votes(counts=np.array([[1, 1], [5, 0], [0, 0]], np.float32), names=CLASSES)
    assert entropy(votes).tolist() == [1, 0, 0]


def test_krippendorffs_alpha() -> None:
    pytest.importorskip(
        "krippendorff", reason="needs krippendorff: pip install 'ferjax[agreement]'"
    )
    counts = np.array([[2, 0], [0, 2], [1, 1], [1, 0]], np.float32)
    # Of six values in pairs, 2/6 disagree; by chance 18/30. The single one says nothing.
    alpha = krippendorffs_alpha(Votes(counts=counts, names=CLASSES))
    assert alpha == pytest.approx(1 - (2 / 6) / (18 / 30))
    assert agreement(FOUR).alpha is not None


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([[0.5, 0.5]], "votes are shares"),
        ([[1, 0], [0, 1]], "no image has two votes"),
        ([[2, 0], [3, 0]], "all votes are for one name"),
    ],
)
def test_where_no_alpha_can_be_told(counts: list[list[float]], message: str) -> None:
    with pytest.raises(FerjaxError, match=message):
        krippendorffs_alpha(Votes(counts=np.array(counts, np.float32), names=CLASSES))


def test_without_the_package_the_rest_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name == "krippendorff":
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    found = agreement(FOUR)
    assert found.alpha is None and "pip install 'ferjax[agreement]'" in found.alpha_missing
    assert found.clear == 2


def test_the_most_disputed_come_first() -> None:
    many = faces(
        ("calm", [3, 1, 0]),
        ("calm", [4, 0, 0]),
        ("tense", [2, 2, 0]),
        ("tense", [1, 1, 8]),
        ("calm", [5, 5, 0]),
    )
    many.images[4] = many.images[2]  # a copy
    assert most_disputed(many, 10).tolist() == [2, 0]
    assert most_disputed(many, 1).tolist() == [2]


def test_faces_without_votes_have_no_agreement() -> None:
    for ask in (agreement, lambda faces: most_disputed(faces, 1)):
        with pytest.raises(ValueError, match="expected faces with votes, got none"):
            ask(replace(FOUR, votes=None))


def test_the_sheet_names_label_and_votes() -> None:
    (row,) = disputed_rows(FOUR)
    assert row.captions == ["[tense]\n2 calm\n2 tense", "[calm]\n3 tense\n1 calm"]
    np.testing.assert_array_equal(row.images, FOUR.images[[2, 1]])
    with pytest.raises(FerjaxError, match="no face has votes that differ"):
        disputed_rows(FOUR.take(np.array([0, 3])))
