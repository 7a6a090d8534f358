"""Annotated pictures: nothing of a face is covered or left, everything is said in words."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest

from ferjax import EMOTIONS
from ferjax.errors import FerjaxError, ImageError
from ferjax.faces import Detection, Face, crop, detect, draw, drawing, marks
from ferjax.image_files import encode
from ferjax.pictures import lettering
from ferjax.pictures.lettering import FontWarning

ROOT = Path(__file__).parents[2]


def face(
    x: float,
    y: float,
    width: float,
    height: float,
    label: str | None = "happy",
    names: tuple[str, ...] = EMOTIONS,
    roll: float = 0.0,
) -> Face:
    """Return a face with 70 % for its label, or for "happy" where it has none, the rest even."""
    best = label or "happy"
    probabilities = {n: 0.7 if n == best else 0.3 / (len(names) - 1) for n in names}
    return Face(
        box=(x, y, width, height),
        roll=roll,
        label=label,
        index=None if label is None else names.index(label),
        confidence=0.7,
        probabilities=probabilities,
    )


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def inside(image: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """Return the pixels of a box that are in the picture."""
    x, y, width, height = (round(v) for v in box)
    return image[max(0, y) : y + height, max(0, x) : max(0, x + width)]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the texts that are rendered, in order."""
    texts: list[str] = []
    line = lettering.Lettering.line

    def record(self: lettering.Lettering, text: str, size: int) -> Any:
        texts.append(text)
        return line(self, text, size)

    monkeypatch.setattr(lettering.Lettering, "line", record)
    return texts


# --- the picture ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(120, 160), (120, 160, 1), (120, 160, 3)])
def test_any_picture_becomes_rgb_and_stays_as_it_is(shape: tuple[int, ...]) -> None:
    image = noise(120, 160)[..., : shape[-1] if len(shape) == 3 else 1].reshape(shape)
    before = image.copy()
    faces = [face(60, 40, 40, 50)]
    drawn = draw(image, faces, anonymise=True, heatmaps=[np.ones((4, 4))])
    assert drawn.dtype == np.uint8
    assert drawn.ndim == 3
    assert drawn.shape[2] == 3
    assert np.array_equal(image, before)


def test_without_faces_it_is_a_copy() -> None:
    image = noise(5, 6)
    drawn = draw(image, [])
    assert np.array_equal(drawn, image)
    assert not np.shares_memory(drawn, image)
    assert draw(image[..., 0], []).shape == (5, 6, 3)
    assert draw(image[:1, :1], [], anonymise=True, heatmaps=[]).shape == (1, 1, 3)


def test_the_same_faces_give_the_same_picture() -> None:
    image = noise(300, 400)
    faces = [face(50 * i, 40 * i, 40, 50) for i in range(6)]
    assert np.array_equal(draw(image, faces), draw(image, faces))


# Boxes of pictures of 400 x 300: one, several, at edges and corners, over them, a crowd.
SCENES = {
    "one": [(150, 100, 80, 100)],
    "six": [(20 + 130 * (i % 3), 20 + 150 * (i // 3), 60, 75) for i in range(6)],
    "edges": [(-20, -30, 70, 90), (360, -30, 70, 90), (-30, 250, 70, 90), (370, 260, 60, 70)],
    "crowd": [(2 + 40 * (i % 10), 4 + 60 * (i // 10), 26, 33) for i in range(50)],
    "touching": [(80 * (i % 5), 100 * (i // 5), 80, 100) for i in range(15)],
    "tiny": [(100, 100, 6, 8), (110, 100, 6, 8), (399, 299, 1, 1)],
}


@pytest.mark.parametrize("enlarge", [True, False])
@pytest.mark.parametrize("scene", SCENES)
def test_no_face_is_covered(scene: str, enlarge: bool) -> None:
    image = noise(300, 400)
    boxes = SCENES[scene]
    drawn = draw(image, [face(*box) for box in boxes], enlarge=enlarge)
    for box in boxes:
        # Lines of touching boxes lie on one another's edges.
        x, y, width, height = box
        edge = 5 if scene in ("touching", "tiny") else 0
        core = (x + edge, y + edge, width - 2 * edge, height - 2 * edge)
        assert np.array_equal(inside(drawn, core), inside(image, core)), box


def test_a_face_that_fills_the_picture_gives_it_a_strip() -> None:
    image = noise(480, 640)
    drawn = draw(image, [face(0, 0, 640, 480)])
    assert drawn.shape[0] == 480
    assert drawn.shape[1] > 640
    assert np.array_equal(drawn[8:-8, 8:632], image[8:-8, 8:-8])  # at the same pixels
    assert len(np.unique(drawn[:, 640:].reshape(-1, 3), axis=0)) > 10  # the plate
    assert draw(image, [face(0, 0, 640, 480)], enlarge=False).shape == image.shape


def test_a_strip_is_below_where_that_is_smaller() -> None:
    drawn = draw(noise(900, 300), [face(0, 0, 300, 900)])
    assert drawn.shape[0] > 900
    assert drawn.shape[1] == 300


def test_a_crop_of_48_pixels_gets_a_readable_plate() -> None:
    drawn = draw(noise(48, 48), [face(5, 0, 38, 48)])
    assert min(drawn.shape[:2]) >= 48
    assert drawn.shape[0] * drawn.shape[1] > 3 * 48 * 48


def test_four_hundred_faces(written: list[str]) -> None:
    boxes = [(40 * (i % 20), 30 * (i // 20), 20, 24) for i in range(400)]
    image = noise(600, 800)
    drawn = draw(image, [face(*box) for box in boxes])
    assert drawn.shape == image.shape
    for box in boxes:
        assert np.array_equal(inside(drawn, box), inside(image, box))
    assert {"1", "400"} <= set(written)


def test_a_box_far_outside_or_of_no_size_does_no_harm() -> None:
    image = noise(100, 100)
    far = [face(1e7, -1e7, 50, 50), face(50, 50, 0, 0), face(-1e9, -1e9, 2e9, 2e9)]
    assert draw(image, far, anonymise=True, heatmaps=[np.ones((2, 2)), None, None]).ndim == 3


# --- what is said --------------------------------------------------------------------------------


def test_a_plate_says_the_label_its_probability_and_every_class(written: list[str]) -> None:
    draw(noise(300, 400), [face(100, 100, 80, 100)])
    assert "happy  70%" in written
    assert set(EMOTIONS) <= set(written)
    assert "1" not in written  # a single face needs no number


def test_bars_are_as_long_as_the_probabilities() -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    drawn = draw(image, [face(100, 100, 80, 100, names=("happy", "sad"))])
    yellow = (drawn[215:] == (240, 228, 66)).all(-1)  # below the box, which has that colour too
    row = yellow.any(1).argmax()
    filled, track = yellow[row].sum(), (drawn[215 + row] == (84, 88, 96)).all(-1).sum()
    assert filled / (filled + track) == pytest.approx(0.7, abs=0.03)


def test_several_faces_are_numbered_as_they_are_given(written: list[str]) -> None:
    draw(noise(300, 400), [face(30, 30, 60, 80), face(250, 150, 60, 80, "sad")])
    assert {"1", "2", "happy  70%", "sad  70%"} <= set(written)


def test_a_detection_has_its_box_and_among_several_its_number(written: list[str]) -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    one = draw(image, [Detection(box=(50, 20, 40, 50))])
    assert written == []
    assert tuple(one[45, 48]) == (255, 255, 255)
    draw(image, [Detection(box=(50, 20, 40, 50)), Detection(box=(120, 20, 40, 50))])
    assert set(written) == {"1", "2"}


def test_abstaining_is_a_question_mark_and_dashes(written: list[str]) -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    drawn = draw(image, [face(100, 100, 80, 100, None)])
    assert "? happy  70%" in written
    side = drawn[110:190, 98].max(-1) > 200  # the box's left side
    assert 0.2 < side.mean() < 0.9


def test_a_face_that_is_too_small_says_so(written: list[str]) -> None:
    draw(noise(300, 400), [face(100, 100, 15, 18)])
    assert "small: 18 pixels" in written


def test_of_many_classes_the_most_probable_have_bars(written: list[str]) -> None:
    names = tuple(f"class {i}" for i in range(30))
    draw(noise(600, 800), [face(100, 100, 80, 100, "class 17", names)])
    assert "class 17" in written
    assert "+ 21 more" in written


def test_names_in_other_letters_give_one_warning(written: list[str]) -> None:
    names = ("생기", "슬픔", "sad")
    faces = [face(30, 30, 60, 80, "슬픔", names), face(250, 150, 60, 80, "sad", names)]
    with pytest.warns(FontWarning, match="'슬픔' as 'seulpeum'") as caught:
        draw(noise(300, 400), faces)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert "seulpeum  70%" in written


def test_hostile_names_are_one_short_line(written: list[str]) -> None:
    names = ("a\nb\x1b[2J\u202e" * 50, "sad")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = draw(noise(300, 400), [face(100, 100, 80, 100, names[0], names)])
    assert drawn.shape == (300, 400, 3)
    assert not any(c in text for text in written for c in "\n\x1b\u202e")


def test_probabilities_that_are_not_numbers_do_no_harm() -> None:
    names = ("happy", "sad")
    odd = Face(
        box=(100, 100, 80, 100),
        label="happy",
        index=0,
        confidence=float("nan"),
        probabilities=dict.fromkeys(names, float("nan")),
    )
    assert draw(noise(300, 400), [odd]).shape == (300, 400, 3)


@pytest.mark.parametrize("missing", ["red", "green", "blue"])
def test_colours_are_told_apart_by_the_colour_blind(missing: str) -> None:
    # Machado, Oliveira and Fernandes 2009, of severity 1, on linear RGB.
    seen = {
        "red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                [-0.003882, -0.048116, 1.051998]],
        "green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                  [-0.011820, 0.042940, 0.968881]],
        "blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                 [0.004733, 0.691367, 0.303900]],
    }[missing]  # fmt: skip
    colours = np.array(list(marks.COLOURS.values())) / 255
    linear = np.clip(colours**2.2 @ np.array(seen).T, 0, 1)
    lab = cv2.cvtColor((linear ** (1 / 2.2)).astype(np.float32)[None], cv2.COLOR_RGB2Lab)[0]
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    assert apart[np.triu_indices(len(lab), 1)].min() > 9


# --- rolled heads --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("roll", "top"), [(0, (50, 20)), (12, (50, 20)), (90, (80, 50)), (180, (50, 80))]
)
def test_the_outline_turns_with_the_head(roll: float, top: tuple[float, float]) -> None:
    box = (30, 30, 40, 40) if roll == 45 else (35, 20, 30, 60)
    if roll == 90:
        box = (20, 35, 60, 30)
    corners = marks.outline(Detection(box=box, roll=roll))
    assert np.allclose(corners[:2].mean(0), top)  # the middle of the head's upper side
    assert np.allclose(corners.mean(0), (50, 50))


def test_the_outline_of_a_head_turned_by_30_degrees() -> None:
    corners = marks.outline(Detection(box=(40, 30, 20, 40), roll=30))
    # 20 upwards from the centre, turned clockwise: to the right by sin 30, up by cos 30.
    assert np.allclose(corners[:2].mean(0), (50 + 20 * 0.5, 50 - 20 * np.cos(np.pi / 6)))


# --- pixelating ----------------------------------------------------------------------------------


def test_pixelating_leaves_a_few_flat_blocks_of_a_head_and_all_else() -> None:
    image = noise(400, 500)
    drawn = image.copy()
    drawing.pixelate(drawn, [face(200, 150, 80, 100)])
    blocks = np.unique(inside(drawn, (200, 150, 80, 100)).reshape(-1, 3), axis=0)
    assert len(blocks) <= 6 * 5
    hair = inside(drawn, (215, 115, 50, 35))
    assert len(np.unique(hair.reshape(-1, 3), axis=0)) <= 4 * 3
    changed = (drawn != image).any(-1)
    rows, columns = np.nonzero(changed)
    far = np.hypot(rows + 0.5 - 200, columns + 0.5 - 240)
    assert far.max() < 0.9 * 100 + 23  # 1.8 boxes across, and a block's half diagonal
    assert not changed[:100].any()


def test_a_block_has_the_mean_of_its_pixels() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[::2] = 200  # stripes, far finer than a block
    drawing.pixelate(image, [Detection(box=(10, 10, 20, 20))])
    assert set(np.unique(image[12:28, 12:28])) <= {80, 100, 120}


@pytest.mark.parametrize("box", [(-30, -40, 80, 100), (380, 260, 80, 100), (0, 0, 400, 300)])
def test_faces_at_the_edges_are_pixelated_too(box: tuple[float, float, float, float]) -> None:
    drawn = noise(300, 400)
    drawing.pixelate(drawn, [Detection(box=box)])
    assert len(np.unique(inside(drawn, box).reshape(-1, 3), axis=0)) <= 36


def test_a_pixelated_face_is_found_no_more_and_its_picture_drawn_on() -> None:
    image = cv2.imread(str(ROOT / "examples" / "astronaut.png"))[..., ::-1]
    image = cv2.copyMakeBorder(image, 60, 60, 60, 60, cv2.BORDER_REPLICATE)
    (found,) = detect(image)
    hidden = draw(image, [found], anonymise=True)
    assert detect(hidden) == []
    x, y, width, height = (round(v) for v in found.box)
    sharp = [
        cv2.Laplacian(picture[y + 8 : y + height - 8, x + 8 : x + width - 8], cv2.CV_64F)
        for picture in (image, hidden)
    ]
    assert (sharp[1] != 0).mean() < 0.25 < (sharp[0] != 0).mean()


def test_a_map_lies_over_the_pixelated_face_not_over_the_face() -> None:
    flat, heat = np.full((200, 200, 3), 90, np.uint8), [np.zeros((8, 8), np.float32)]
    fine = flat.copy()
    fine[::2, ::2], fine[1::2, 1::2], fine[::2, 1::2], fine[1::2, ::2] = 180, 180, 0, 0
    faces = [Detection(box=(60, 60, 80, 80))]
    drawn = [draw(image, faces, anonymise=True, heatmaps=heat) for image in (flat, fine)]
    assert np.array_equal(drawn[0][70:130, 70:130], drawn[1][70:130, 70:130])


# --- maps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("roll", [0, 10, 30, -50, 90, 140, 180, -120])
@pytest.mark.parametrize("spot", [(1, 2), (6, 4)])
def test_a_map_lies_where_the_crop_is(roll: float, spot: tuple[int, int]) -> None:
    image = np.full((400, 500, 3), 40, np.uint8)
    box = (190.3, 140.7, 120, 110) if 45 < abs(roll) < 135 else (190.3, 140.7, 110, 120)
    found = Detection(box=box, roll=roll)
    heat = np.zeros((8, 8), np.float32)
    heat[spot] = 1
    seen = crop(draw(image, [found], heatmaps=[heat]), found).astype(float)
    yellow = np.maximum(0, seen[..., 0] - seen[..., 2])  # red without blue
    rows, columns = np.indices(yellow.shape)
    centre = [(axis * yellow).sum() / yellow.sum() + 0.5 for axis in (rows, columns)]
    expected = [(s + 0.5) / 8 * len(yellow) for s in spot]
    assert np.allclose(centre, expected, atol=1)


def test_a_map_of_zeros_shows_the_face_in_gray_and_the_colours_mean_more() -> None:
    image = np.empty((200, 200, 3), np.uint8)
    image[:] = (200, 100, 50)
    faces = [Detection(box=(60, 60, 80, 80))]
    nothing = draw(image, faces, heatmaps=[np.zeros((4, 4))])[100, 100]
    assert tuple(nothing) == (124, 124, 124)  # 0.299, 0.587 and 0.114 of the colours
    most = draw(image, faces, heatmaps=[np.ones((4, 4))])[100, 100]
    assert np.allclose(most, 0.3 * 124 + 0.7 * np.array([253, 231, 37]), atol=2)  # viridis's yellow


def test_maps_come_with_a_caption_that_covers_no_face(written: list[str]) -> None:
    image = noise(400, 640)
    boxes = [(0, 300, 80, 100), (560, 300, 80, 100)]
    faces = [Detection(box=box) for box in boxes]
    drawn = draw(image, faces, heatmaps=[np.zeros((4, 4)), None])
    assert "Where the score comes from; not why a person looks so" in written
    assert np.array_equal(inside(drawn, boxes[1]), inside(image, boxes[1]))
    written.clear()
    draw(image, faces, heatmaps=[None, None])
    assert not any("score" in text for text in written)


def test_a_caption_without_room_gets_a_strip() -> None:
    image = noise(64, 64)
    drawn = draw(image, [Detection(box=(2, 2, 60, 60))], heatmaps=[np.zeros((4, 4))])
    assert drawn.shape[0] > 64
    kept = draw(image, [Detection(box=(2, 2, 60, 60))], heatmaps=[np.zeros((4, 4))], enlarge=False)
    assert kept.shape == image.shape


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            np.full((4, 4, 3), 2, np.float32),
            r"expected float images in \[0, 1\], got values up to 2",
        ),
        (np.zeros((0, 4), np.uint8), r"expected at least one pixel, got shape \(0, 4\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), "expected one image, got a batch"),
        ("party.jpg", "party.jpg: no such file"),
        (None, "NoneType: expected a path, bytes, array"),
    ],
)
def test_other_pictures_are_refused(image: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        draw(image, [])


@pytest.mark.parametrize(
    ("faces", "message"),
    [
        (None, "expected a list of faces, as `detect` returns them, got NoneType"),
        (Detection(box=(1, 1, 4, 4)), "expected a list of faces, .*, got Detection"),
        ([Detection(box=(1, 1, 4, 4)), (1, 1, 4, 4)], "face 2: expected a Detection, got tuple"),
    ],
)
def test_faces_that_are_none_are_refused(faces: Any, message: str) -> None:
    with pytest.raises(FerjaxError, match=message):
        draw(noise(10, 10), faces)


def test_a_picture_may_be_given_as_detect_takes_it(tmp_path: Path) -> None:
    picture, face = noise(60, 80), Detection(box=(20, 20, 30, 30))
    drawn = draw(picture, [face])
    path = tmp_path / "picture.png"
    path.write_bytes(encode(picture, ".png") or b"")
    opaque = np.dstack([picture, np.full((60, 80), 255, np.uint8)])
    pil = PIL.Image.fromarray(picture)
    for image in (path, path.read_bytes(), picture / 255, opaque, pil, picture):
        np.testing.assert_array_equal(draw(image, (face for _ in "1")), drawn)
    np.testing.assert_array_equal(picture, noise(60, 80))  # stays as it was


@pytest.mark.parametrize(
    "box", [(0, 0, float("nan"), 1), (0, 0, -1, 1), (0, 0, 1), None, (0, 0, "a", 1)]
)
def test_boxes_that_are_none_are_refused(box: Any) -> None:
    with pytest.raises(FerjaxError, match="face 1: expected four finite numbers for `box`"):
        draw(noise(10, 10), [Detection(box=box)])


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ([], "expected 1 maps for `heatmaps`, one a face, got 0"),
        ([np.zeros((2, 2, 1))], r"map 1: expected float \(h, w\) in `heatmaps`, got float64"),
        ([np.zeros((2, 2), np.uint8)], r"map 1: expected float \(h, w\) in `heatmaps`, got uint8"),
        ([np.full((2, 2), 1.5)], r"map 1: expected values in \[0, 1\] in `heatmaps`, got 1.5 to"),
        ([np.full((2, 2), np.nan)], r"map 1: expected values in \[0, 1\] in `heatmaps`, got nan"),
    ],
)
def test_maps_that_are_none_are_refused(maps: list[Any], message: str) -> None:
    with pytest.raises(FerjaxError, match=message):
        draw(noise(100, 100), [Detection(box=(20, 20, 40, 40))], heatmaps=maps)
