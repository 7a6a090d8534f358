"""Which faces stand on a sheet, and what stands beside them."""

from __future__ import annotations

import numpy as np

from ferjax.data import sheet_rows
from ferjax.data.dataset import Faces


def test_class_rows() -> None:
    n = 40
    faces = Faces(
        images=np.arange(n, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8),
        labels=np.array([0] * 30 + [1] * 10, np.int32),
        splits=np.array([0] * 25 + [2] * 15, np.int8),
        names=tuple(map(str, range(n))),
        class_names=("a", "b", "c"),
        source_sizes=np.full((n, 2), 4, np.int32),
    )
    first, second, third = sheet_rows.class_rows(faces, columns=3)
    assert (first.label, first.detail) == ("a", "25 train\n5 test")
    assert [int(image[0, 0]) for image in first.images] == [5, 15, 25]
    assert [int(image[0, 0]) for image in second.images] == [31, 35, 38]
    assert (third.detail, len(third.images)) == ("none", 0)
