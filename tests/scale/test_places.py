"""Folders and addresses: what is found there, how it is named, how files are fetched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ferjax import EmotionClassifier
from ferjax.errors import ImageError, WriteError
from ferjax.filesystems import Place, place_of
from ferjax.image_files import IMAGE_SUFFIXES
from ferjax.scale import Predictor
from ferjax.scale.places import FILM_SUFFIXES, Fetcher, copy_file, listed, local_files

pytest.importorskip("fsspec", reason="needs fsspec")
NAMES = ["cut.png", "empty.jpg", "none.png", "one.png", "sub/two.png"]


@pytest.fixture
def address(photos: Path) -> str:
    """The folder by an address, as another machine's is opened."""
    (photos / ".hidden").mkdir()
    for name in (".hidden/a.png", "one.faces.png"):
        (photos / name).touch()
    return f"local://{photos}"


def test_photographs_at_an_address_are_those_of_a_folder(address: str, photos: Path) -> None:
    paths, left_out = listed(address)
    assert paths == [f"{photos}/{name}" for name in NAMES]
    assert left_out == 3  # the text, the hidden one, the drawing
    assert place_of(address).name(paths[0]) == f"{address}/cut.png"
    assert listed(f"{address}/notes.txt") == ([f"{photos}/notes.txt"], 0)


@pytest.mark.parametrize("given", ["photos", "photos/", "./photos", ".", "whole"])
def test_photographs_of_a_folder_are_those_that_ferjax_faces_finds(
    photos: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    from ferjax.faces.outputs import find_photographs, marked

    drawing = marked((photos / "one.png").read_bytes(), ".png")
    (photos / "one.faces.png").write_bytes(drawing)
    (photos / "sub" / "mine.faces.png").write_bytes((photos / "one.png").read_bytes())
    (photos / ".hidden").mkdir()
    (photos / ".hidden" / "a.png").touch()
    monkeypatch.chdir(photos if given == "." else photos.parent)
    given = str(photos) if given == "whole" else given
    inputs, left_out = find_photographs([given])
    found = local_files([given], IMAGE_SUFFIXES)
    assert sorted(found[0]) == sorted(str(item.path) for item in inputs)
    assert found[1] == left_out == 1


def test_what_is_not_there(address: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=f"^local://{tmp_path}/gone: no such file or folder$"):
        listed(f"local://{tmp_path}/gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="empty: no images in this folder; expected files such as"):
        listed(f"local://{tmp_path}/empty")
    with pytest.raises(ImageError, match=r"no films in this folder; expected files such as \.mp4"):
        listed(address, FILM_SUFFIXES)


def test_files_are_fetched_once_each_ahead_and_in_order(
    address: str, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, _ = listed(address)
    fetched: list[str] = []
    fetch = Fetcher._fetch

    def counted(self: Any, path: str) -> bytes:
        fetched.append(path)
        return fetch(self, path)

    monkeypatch.setattr(Fetcher, "_fetch", counted)
    fetcher = Fetcher(place_of(address), paths)
    contents = [file.read() for file in fetcher.files()]
    fetcher.close()
    assert contents == [(photos / name).read_bytes() for name in NAMES]
    assert sorted(fetched) == sorted(paths)


def test_a_file_that_cannot_be_fetched_is_an_error_of_its_own(
    address: str, photos: Path, classifier: EmotionClassifier
) -> None:
    paths, _ = listed(address)
    (photos / "cut.png").unlink()
    fetcher = Fetcher(place_of(address), paths)
    files = fetcher.files()
    names = [file.name for file in files]
    rows = [row for part in Predictor(classifier).rows(files, names) for row in part]
    fetcher.close()
    assert [row[1] for row in rows] == ["0", "0", "0", "1", "1", "2"]
    assert rows[0][-1].startswith(f"{address}/cut.png: cannot be read: ")
    assert rows[1][-1] == f"{address}/empty.jpg: empty, 0 bytes"


class Faltering:
    """A file system that fails some times."""

    def __init__(self, times: int) -> None:
        self.times = times

    def open_input_stream(self, path: str) -> Any:
        self.times -= 1
        if self.times >= 0:
            raise OSError("timed out")
        return open(path, "rb")


def test_fetching_is_tried_again(
    address: str, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for times, works in ((2, True), (3, False)):
        fetcher = Fetcher(Place(Faltering(times), "", ""), [str(photos / "one.png")])
        (file,) = fetcher.files()
        if works:
            assert file.read() == (photos / "one.png").read_bytes()
        else:
            with pytest.raises(OSError, match="timed out"):
                file.read()
        fetcher.close()


def test_films_whose_names_are_no_utf_8(tmp_path: Path) -> None:
    name = os.fsdecode(b"b\xff.mp4")
    try:
        (tmp_path / name).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden").mkdir()
    for other in ("sub/a.webm", ".hidden/a.mp4", "10.mkv", "9.MOV", "notes.txt"):
        (tmp_path / other).touch()
    found = local_files([f"{tmp_path}/"], FILM_SUFFIXES)
    assert found == ([f"{tmp_path}/{n}" for n in ("9.MOV", "10.mkv", name, "sub/a.webm")], 2)


def test_an_empty_path() -> None:
    with pytest.raises(ImageError, match="expected a path, got an empty string"):
        local_files(["a.jpg", ""], IMAGE_SUFFIXES)


@pytest.mark.parametrize("times", [2, 3])
def test_copying_is_tried_again(times: int, tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(b"content")
    place = Place(Faltering(times), "", "")
    if times == 3:
        with pytest.raises(OSError, match="timed out"):
            copy_file(place, str(tmp_path / "film"), str(tmp_path / "copy"))
        return
    copy_file(place, str(tmp_path / "film"), str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == b"content"


def test_a_full_disk_is_no_fault_of_the_film(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    (tmp_path / "film").write_bytes(b"content")
    with pytest.raises(WriteError, match=r"/dev/full: cannot be written \(No space left"):
        copy_file(Place(Faltering(0), "", ""), str(tmp_path / "film"), "/dev/full")
