"""Where drawings and crops go: no two have one name, and none is a photograph's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ferjax.errors import ImageError
from ferjax.faces import places
from ferjax.faces.places import crop_name, crop_names, drawing_names, find


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def drawings(root: Path, *given: str, to: str = "out") -> list[str]:
    found, _ = find([str(root / name) for name in given], [root / to])
    return [path.relative_to(root / to).as_posix() for path in drawing_names(root / to, found)]


def test_what_comes_from_a_folder_keeps_its_place(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "in/sub/a.jpg", "in/sub/b.PNG", "c.jpeg")
    expected = ["a.faces.jpg", "sub/a.faces.jpg", "sub/b.faces.PNG", "c.faces.jpeg"]
    assert drawings(tmp_path, "in", "c.jpeg") == expected


def test_names_that_meet_are_told_apart(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.jpg", "b/x.jpg", "c/b/x.jpg", "b/X.gif", "b/x.tga")
    assert drawings(tmp_path, "a/x.jpg", "b/x.jpg", "c/b/x.jpg") == [
        "x.faces.jpg",
        "b-x.faces.jpg",
        "b-x-2.faces.jpg",
    ]
    # Both are drawn as PNG, and are one name to some file systems.
    assert drawings(tmp_path, "b/X.gif", "b/x.tga") == ["X.faces.png", "x-2.faces.png"]
    found, _ = find([str(tmp_path / "a"), str(tmp_path / "b")])
    begins = [path.relative_to(tmp_path).as_posix() for path in crop_names(tmp_path, found)]
    assert begins == ["x.face", "b-X.face", "b-x-2.face"]


def test_no_name_is_a_photographs(tmp_path: Path) -> None:
    touch(tmp_path, "x.jpg", "x.faces.jpg", "y.png", "y.face1.png")
    assert drawings(tmp_path, "x.jpg", "x.faces.jpg", to=".") == [
        "x-2.faces.jpg",
        "x.faces.faces.jpg",
    ]
    found, _ = find([str(tmp_path / "y.png"), str(tmp_path / "y.face1.png")])
    begins = crop_names(tmp_path, found)
    assert [crop_name(begin, 1).name for begin in begins] == ["y-2.face1.png", "y.face1.face1.png"]


def test_what_an_earlier_run_made_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "x.jpg", "x.faces.jpg", "x.faces.webp.png", "x.face12.png", "sub/x.faces.jpg")
    found, left_out = find([str(tmp_path)], [tmp_path])
    assert ([place.path.name for place in found], left_out) == (["x.jpg"], 4)
    found, left_out = find([str(tmp_path)], [tmp_path / "sub"])
    assert (len(found), left_out) == (4, 1)
    found, left_out = find([str(tmp_path)])
    assert (len(found), left_out) == (5, 0)
    with pytest.raises(ImageError, match="no photographs in this folder but what was drawn"):
        find([str(tmp_path / "sub")], [tmp_path])


def test_a_photograph_that_is_given_twice_is_taken_once(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "in/b.jpg")
    given = [str(tmp_path / "in" / "b.jpg"), str(tmp_path / "in"), str(tmp_path / "in" / "b.jpg")]
    assert [place.path.name for place in find(given)[0]] == ["b.jpg", "a.jpg"]


def test_long_names_fit(tmp_path: Path) -> None:
    stem = "ä" * 120  # 240 bytes
    try:
        touch(tmp_path, f"{stem}.jpg", f"{stem}b.jpg")
    except OSError:
        pytest.skip("needs a file system that takes names of 245 bytes")
    names = drawings(tmp_path, f"{stem}.jpg", f"{stem}b.jpg")
    assert len(set(names)) == 2
    for name in names:
        assert len(os.fsencode(name)) < 255 - 20
        name.encode()  # no letter is cut in two


def test_formats_are_those_that_opencv_writes() -> None:
    import cv2
    import numpy as np

    for encoding in set(places.ENCODINGS.values()):
        assert cv2.imencode(encoding, np.zeros((64, 64, 3), np.uint8))[0], encoding
