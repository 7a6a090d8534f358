"""Which pictures an evaluation has: those of faces; `test_report` has them all."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ferjax.evaluate.corruptions import CORRUPTIONS, corrupt, occlude
from ferjax.evaluate.gallery import corrupted_rows
from ferjax.pictures import sheet

FACES = np.random.default_rng(0).integers(20, 236, (2, 48, 48), dtype=np.uint8)


def test_faces_under_each_corruption(tmp_path: Path) -> None:
    ours = corrupted_rows(FACES, seed=5)
    titles = [kind.title for kind in CORRUPTIONS.values()]
    assert [row.label for row in ours] == [*titles, "Occlusions"]
    for row in ours:
        assert all(len(line) <= 28 for line in row.detail.splitlines())  # what a sheet shows
        assert len(row.images) == 12
        np.testing.assert_array_equal(row.images[0], FACES[0])
        np.testing.assert_array_equal(row.images[6], FACES[1])
    shift = ours[titles.index("Shift")]
    assert shift.detail == "0.04 0.08 0.12 0.17 0.22"
    whole = corrupt(FACES, "shift", 5, seed=5)
    np.testing.assert_array_equal([shift.images[5], shift.images[11]], whole)
    np.testing.assert_array_equal(ours[-1].images[7], occlude(FACES, "eyes")[1])
    sheet.draw(corrupted_rows(FACES[:1])[-2:], tmp_path / "sheet.png")
