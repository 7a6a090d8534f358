"""Sheets: every face and every label is there, whole and on a light background."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ferjax.errors import FerjaxError
from ferjax.files import WriteError
from ferjax.pictures import sheet

pytest.importorskip("matplotlib", reason="needs matplotlib")


def row(label: str, *shades: int, **options: Any) -> sheet.Row:
    return sheet.Row(
        label=label, images=[np.full((48, 48), s, np.uint8) for s in shades], **options
    )


def drawn(rows: list[sheet.Row], path: Path, **options: Any) -> np.ndarray:
    sheet.draw(rows, path, **options)
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    return image


def faces_in(image: np.ndarray, shade: int) -> list[tuple[int, int, int, int]]:
    """Return the boxes (left, top, width, height) of the squares of a shade."""
    _, _, stats, _ = cv2.connectedComponentsWithStats((image == shade).astype(np.uint8))
    return [tuple(map(int, s[:4])) for s in stats[1:] if s[4] > 1000]


def test_faces_are_drawn_pixel_by_pixel_in_rows(tmp_path: Path) -> None:
    image = drawn([row("happy", 60, 120), row("sad", 120, 60)], tmp_path / "a.png")
    (x60, y60, *size), (x60b, y60b, *_) = sorted(faces_in(image, 60), key=lambda box: box[1])
    assert size == [96, 96]  # two dots a pixel
    (x120, y120, *_), (x120b, y120b, *_) = sorted(faces_in(image, 120), key=lambda box: box[1])
    assert x60 < x120 and x120b < x60b
    assert y60 == y120 < y120b == y60b


def test_nothing_is_cut_off_and_labels_lie_beside_faces(tmp_path: Path) -> None:
    long = "a very long label, 26 signs"
    rows = [row("x", 90, 90), row(long, 90, detail="12,345 train\n1,234 validation\n1,234 test")]
    image = drawn(rows, tmp_path / "a.png", title="A title that is longer than the row of faces is")
    border = np.concatenate([image[:15].ravel(), image[-15:].ravel()])
    border = np.concatenate([border, image[:, :15].ravel(), image[:, -15:].ravel()])
    assert np.all(border == 255)
    boxes = faces_in(image, 90)
    assert [box[2:] for box in boxes] == [(96, 96)] * 3  # no ink on a face
    left = min(box[0] for box in boxes)
    assert np.all(image[:, left - 10 : left - 1][60:] == 255)
    assert (image[60:, :left] < 100).sum() > 200  # labels are there


def test_captions_stand_under_their_images(tmp_path: Path) -> None:
    plain = drawn([row("", 90, 90), row("", 90)], tmp_path / "a.png")
    rows = [row("", 90, 90, captions=["[fear]", "[sad]\n3 happy\n2 neutral"]), row("", 90)]
    image = drawn(rows, tmp_path / "b.png")
    first, second, below = sorted(faces_in(image, 90), key=lambda box: (box[1], box[0]))
    _, _, lower = sorted(faces_in(plain, 90), key=lambda box: (box[1], box[0]))
    assert below[1] > lower[1]
    ink = image[first[1] + 96 : below[1]] < 100
    assert ink[:, first[0] : first[0] + 96].any() and ink[:, second[0] : second[0] + 96].any()
    assert ink[25:, second[0] : second[0] + 96].any()  # several lines
    assert not ink[25:, first[0] : first[0] + 96].any()
    assert [box[2:] for box in (first, second, below)] == [(96, 96)] * 3  # no ink on a face


def test_augmented_rows_stand_close_to_their_originals(tmp_path: Path) -> None:
    rows = [row("a", 90), row("augmented", 90, joined=True), row("b", 90)]
    tops = sorted(box[1] for box in faces_in(drawn(rows, tmp_path / "a.png"), 90))
    assert tops[1] - tops[0] < tops[2] - tops[1]


def test_rows_of_different_length_and_none(tmp_path: Path) -> None:
    image = drawn([row("a", 90, 90, 90), row("b", 90), row("none")], tmp_path / "a.png")
    assert len(faces_in(image, 90)) == 4
    drawn([row("none")], tmp_path / "b.png")


@pytest.mark.parametrize(
    "image",
    [
        np.full((48, 48, 1), 0.4, np.float32),
        np.full((20, 30), 102, np.uint8),
        np.full((48, 48, 3), 102, np.uint8),
    ],
)
def test_kinds_of_images(image: np.ndarray, tmp_path: Path) -> None:
    found = drawn([sheet.Row(label="a", images=[image])], tmp_path / "a.png")
    assert len(faces_in(found, 102)) == 1


def test_labels_are_text_and_not_formulas(tmp_path: Path) -> None:
    drawn([row(r"$\frac{$ _a_ \n", 90, detail="$x$\x1b[0m")], tmp_path / "a.png", title="$$")


def test_letters_that_the_font_lacks_are_told_once(tmp_path: Path) -> None:
    with pytest.warns(UserWarning) as caught:
        drawn([row("表情", 90), row("表", 90)], tmp_path / "a.png", title="表情")
    (warning,) = caught
    assert str(warning.message).endswith("letters that matplotlib's font lacks: 表, 情")


def test_long_labels_that_begin_alike_stay_apart(tmp_path: Path) -> None:
    first, second = (
        drawn([row(f"{'participants ' * 3}{age}", 90)], tmp_path / "a.png") for age in ("1", "7")
    )
    assert first.shape == second.shape  # cut to the same length
    assert (first != second).any()


@pytest.mark.parametrize("suffix", sheet.FORMATS)
def test_formats(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    sheet.draw([row("a", 90)], path)
    starts = {"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG", "webp": b"RIFF"}
    assert path.read_bytes().startswith(starts.get(suffix, b"\xff\xd8"))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(FerjaxError, match=r"a\.xyz: expected a name that ends in \.png, \.pdf"):
        sheet.draw([row("a", 90)], tmp_path / "a.xyz")
    with pytest.raises(WriteError, match="does not exist"):
        sheet.draw([row("a", 90)], tmp_path / "none" / "a.png")
    with pytest.raises(ValueError, match="at least one row"):
        sheet.draw([], tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"expected an image \(H, W\)"):
        sheet.draw([sheet.Row(label="a", images=[np.zeros(5, np.uint8)])], tmp_path / "a.png")
    with pytest.raises(FerjaxError, match="1,000 rows of 1 images are too many for one sheet"):
        sheet.draw([row("a")] * 1000, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(FerjaxError, match=r"matplotlib: pip install 'ferjax\[evaluate\]'"):
        sheet.draw([row("a", 90)], tmp_path / "a.png")
