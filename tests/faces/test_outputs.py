"""Where drawings and crops go: no two have one name, and none is a photograph's."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from ferjax.errors import ImageError
from ferjax.faces import outputs
from ferjax.faces.outputs import crop_name, crop_names, drawing_names, find_photographs
from ferjax.image_files import encode, read_image


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def drawings(root: Path, *given: str, to: str = "out") -> list[str]:
    found, _ = find_photographs([str(root / name) for name in given])
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
    found, _ = find_photographs([str(tmp_path / "a"), str(tmp_path / "b")])
    begins = [path.relative_to(tmp_path).as_posix() for path in crop_names(tmp_path, found)]
    assert begins == ["x.face", "b-X.face", "b-x-2.face"]


def test_no_name_is_a_photographs(tmp_path: Path) -> None:
    touch(tmp_path, "x.jpg", "x.faces.jpg", "y.png", "y.face1.png")
    assert drawings(tmp_path, "x.jpg", "x.faces.jpg", to=".") == [
        "x-2.faces.jpg",
        "x.faces.faces.jpg",
    ]
    found, _ = find_photographs([str(tmp_path / "y.png"), str(tmp_path / "y.face1.png")])
    begins = crop_names(tmp_path, found)
    assert [crop_name(begin, 1).name for begin in begins] == ["y-2.face1.png", "y.face1.face1.png"]


def test_no_name_is_that_of_a_file_which_ferjax_did_not_make(tmp_path: Path) -> None:
    touch(tmp_path, "x.jpg", "out/x.faces.jpg", "out/x.face7.png", "out/y.faces.jpg")
    (tmp_path / "out" / "x-2.faces.jpg").mkdir()
    (tmp_path / "out" / "x-3.faces.jpg").symlink_to("nothing")
    touch(tmp_path, "out/x-4.faces.jpg.png")  # where x-4.faces.jpg would be too large
    assert drawings(tmp_path, "x.jpg") == ["x-5.faces.jpg"]
    found, _ = find_photographs([str(tmp_path / "x.jpg")])
    assert [path.name for path in crop_names(tmp_path / "out", found)] == ["x-2.face"]
    for name in ("x.faces.jpg", "x.face7.png"):
        (tmp_path / "out" / name).write_bytes(outputs.marked(b"P6 1 1 255 abc", ".ppm"))
    assert drawings(tmp_path, "x.jpg") == ["x.faces.jpg"]
    assert [path.name for path in crop_names(tmp_path / "out", found)] == ["x.face"]


def test_what_ferjax_made_is_left_out(tmp_path: Path) -> None:
    data = outputs.marked(b"P6 1 1 255 abc", ".ppm")
    touch(tmp_path, "x.jpg", "sub/y.jpg", "z.faces.jpg", "x.face1.png")  # these are photographs
    for name in ("x.faces.jpg", "x.faces.webp.png", "x.face12.png", "sub/x.faces.jpg"):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "renamed.jpg").write_bytes(data)
    found, left_out = find_photographs([str(tmp_path)])
    names = [place.path.name for place in found]
    assert names == ["renamed.jpg", "y.jpg", "x.face1.png", "x.jpg", "z.faces.jpg"]
    assert left_out == 4
    drawn = str(tmp_path / "x.faces.jpg")
    found, left_out = find_photographs([str(tmp_path / "x.jpg"), drawn])
    assert ([place.path.name for place in found], left_out) == (["x.jpg"], 1)
    found, left_out = find_photographs([drawn])
    assert ([place.path.name for place in found], left_out) == (["x.faces.jpg"], 0)
    (tmp_path / "sub" / "y.jpg").unlink()
    with pytest.raises(ImageError, match="no photographs in this folder but drawings and crops"):
        find_photographs([str(tmp_path / "sub")])


@pytest.mark.parametrize("encoding", sorted(set(outputs.ENCODINGS.values())))
def test_the_mark_does_not_change_a_picture(tmp_path: Path, encoding: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    data = encode(picture, encoding)
    assert data is not None
    path = tmp_path / f"a.faces{encoding}"
    path.write_bytes(data)
    assert not outputs.is_made(path)
    path.write_bytes(outputs.marked(data, encoding))
    assert outputs.is_made(path)
    assert (read_image(path, channels=3) == read_image(data, channels=3)).all()
    with PIL.Image.open(path) as image:
        image.load()


def test_a_photograph_that_is_given_twice_is_taken_once(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "in/b.jpg")
    given = [str(tmp_path / "in" / "b.jpg"), str(tmp_path / "in"), str(tmp_path / "in" / "b.jpg")]
    assert [place.path.name for place in find_photographs(given)[0]] == ["b.jpg", "a.jpg"]


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
