"""The measurement on pasted faces: canvases, places, matching, and a run on a few faces."""

from __future__ import annotations

import doctest
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from .conftest import ROOT, RunScript
from .test_crop_factors import astronauts, tiny_weights  # noqa: F401  fixtures

sys.path.insert(0, str(ROOT / "scripts"))
canvases, pasted_faces = (importlib.import_module(m) for m in ("canvases", "pasted_faces"))
Pasted = pasted_faces.Pasted


@pytest.mark.parametrize("kind", canvases.TEXTURES)
def test_a_canvas_is_textured_and_the_same_again(kind: str) -> None:
    first, second = (canvases.canvas(90, 120, np.random.default_rng(1), kind) for _ in range(2))
    assert (first.shape, first.dtype) == ((90, 120, 3), np.uint8)
    np.testing.assert_array_equal(first, second)
    assert first.std(axis=(0, 1)).min() > 5
    other = canvases.canvas(90, 120, np.random.default_rng(2), kind)
    assert (first != other).mean() > 0.5


def test_each_face_comes_in_each_size_once() -> None:
    groups = pasted_faces.plan(5, (24, 48), np.random.default_rng(0))
    assert sorted(face for group in groups for face in group) == [
        (row, size) for row in range(5) for size in (24, 48)
    ]
    assert max(map(len, groups)) <= pasted_faces.MOST


def test_faces_do_not_touch_and_keep_their_gray() -> None:
    images = np.full((2, 48, 48), 100, np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(8):
        group = [(0, 200), (1, 100), (0, 64), (1, 300)]
        canvas, pasted, left_over = pasted_faces.compose(images, group, rng)
        assert len(pasted) + len(left_over) == 4
        for face in pasted:
            x, y, width, height = (round(v) for v in face.box)
            middle = canvas[y + height // 4 : y + height // 2, x + width // 4 : x + width // 2]
            gray = middle.reshape(-1, 3) @ np.array(pasted_faces.LUMA)
            np.testing.assert_allclose(gray, 100, atol=1)
            assert (np.ptp(middle[0, 0]) > 10) == face.colour
        for i, a in enumerate(pasted):
            assert all(pasted_faces.overlap(a.box, b.box) == 0 for b in pasted[i + 1 :])


def test_a_face_fades_at_its_edges() -> None:
    canvas = np.zeros((100, 100, 3), np.uint8)
    face = np.full((48, 48), 200, np.uint8)
    pasted_faces.paste(canvas, face, 10, 20, 50, np.ones(3))
    assert canvas[45, 10:13, 0].tolist() == [50, 150, 200]  # 0.5 and 1.5 of two pixels
    assert canvas[19].max() == canvas[70].max() == canvas[:, 9].max() == canvas[:, 60].max() == 0


def test_matching_by_hand() -> None:
    faces = [
        Pasted(0, 100, (0, 0, 100, 100), True),
        Pasted(1, 100, (300, 0, 100, 100), True),
    ]
    boxes = [(10, 0, 100, 100), (0, 0, 100, 100), (350, 0, 100, 100), (600, 0, 50, 50)]
    # The second box lies on the first face exactly; the third overlaps the second face by a third.
    assert pasted_faces.matched(faces, boxes) == ({0: 1}, [0, 2, 3])
    assert pasted_faces.matched([], boxes[:1]) == ({}, [0])
    assert pasted_faces.matched(faces, []) == ({}, [])


def test_a_small_run(
    run_script: RunScript,
    tiny_weights: Path,  # noqa: F811
    astronauts: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    options = ("--data", astronauts, "--weights", tiny_weights, "--sizes", "128,200")
    options += ("--min-scores", "0.6", "--empty", "2", "--pictures", tmp_path / "seen")
    done = run_script(pasted_faces, *options, "--json")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert [(row["size"], row["faces"]) for row in results["sizes"]] == [(128, 5), (200, 5)]
    found = sum(row["found"] for row in results["sizes"])
    assert 5 <= found <= 8  # the fifth image is gray
    assert len(list((tmp_path / "seen").iterdir())) == results["canvases"] + 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sizes", "4"], "expected numbers from 8 to 480, separated by commas, got '4'"),
        (["--min-scores", "x"], "expected numbers from 0 to 1, separated by commas, got 'x'"),
    ],
)
def test_mistakes_are_named(run_script: RunScript, options: list[str], message: str) -> None:
    done = run_script(pasted_faces, "--data", "x", *options)
    assert done.returncode == 2
    assert message in done.stderr


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(pasted_faces)
    assert result.attempted > 0 and result.failed == 0
