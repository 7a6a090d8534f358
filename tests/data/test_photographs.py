"""Faces found in whole photographs: which are taken, that they are cropped as in use, what is told.

Most pictures have squares in place of faces, and a detector that knows where bright squares are.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import ferjax
from ferjax.cli.data_info import SEVERAL as CLI_SEVERAL
from ferjax.cli.main import main
from ferjax.data import load, sources
from ferjax.data.manifest import MANIFEST
from ferjax.data.photographs import CLEARLY, SEVERAL, FindFaces
from ferjax.data.preparation import Prepared, prepare
from ferjax.errors import DataError, DetectorError
from ferjax.faces import Detection, crop, detect
from ferjax.faces.detection import MIN_SCORE
from ferjax.faces.outputs import marked
from ferjax.image_files import UInt8Array, read_image
from ferjax.preprocessing import preprocess

ROOT = Path(__file__).parents[2]
SIZE = (12, 12)
Square = tuple[int, int, int]  # x, y, side


def picture(*squares: Square, height: int = 120, width: int = 160, seed: int = 0) -> UInt8Array:
    """Return a dark picture with bright squares, a texture of its own in each."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 100, (height, width, 3), np.uint8)
    for x, y, side in squares:
        texture = rng.integers(180, 256, (side, side, 3), np.uint8)
        image[y : y + side, x : x + side] = texture
    return image


def squares(image: UInt8Array) -> list[Detection]:
    """Detect bright squares; the larger, the surer."""
    bright = (image.min(axis=-1) >= 180).astype(np.uint8)
    _, _, boxes, _ = cv2.connectedComponentsWithStats(bright)
    return [
        Detection(box=(float(x), float(y), float(w), float(h)), score=0.6 + h / 400)
        for x, y, w, h, _ in boxes[1:].tolist()
    ]


FIND = FindFaces(detector=squares, min_score=0.5)


def write(path: Path, image: UInt8Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1])  # PNG, so that pixels stay


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes: a face a picture, but for one with none, one with a small one beside it."""
    folder = tmp_path / "photos"
    write(folder / "train/calm/a.png", picture((20, 30, 40), seed=1))
    write(folder / "train/calm/b.png", picture(seed=2))
    write(folder / "train/calm/c.png", picture((10, 10, 60), (110, 70, 40), seed=3))
    write(folder / "train/grin/a.png", picture((100, 50, 30), seed=4))
    write(folder / "train/grin/b.png", picture((10, 10, 50), (100, 60, 40), seed=5))
    return folder


def run(source: Path, out: Path, find: FindFaces | bool = FIND, **options: Any) -> Prepared:
    return prepare(source, out, size=SIZE, with_tfds=False, find_faces=find, **options)


def test_each_image_is_the_crop_of_its_face(photos: Path, tmp_path: Path) -> None:
    manifest = run(photos, tmp_path / "out").manifest
    faces = load(tmp_path / "out")
    assert faces.names == ("train/calm/a.png", "train/calm/c.png", "train/grin/a.png")
    assert faces.source_sizes.tolist() == [[120, 160]] * 3
    # A square of 40 pixels from (20, 30) on: 36 of them about its middle.
    gray = cv2.imread(str(photos / "train/calm/a.png"), cv2.IMREAD_GRAYSCALE)
    theirs = cv2.resize(gray[32:68, 22:58], SIZE, interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(faces.images[0], theirs, atol=1)  # grays of files round otherwise
    assert manifest["faces"][0] == {
        "name": "train/calm/a.png",
        "split": "train",
        "box": [20, 30, 40, 40],
        "score": 0.7,
        "roll": 0,
        "size": 40,
        "faces": 1,
    }
    assert [item["name"] for item in manifest["faces"]] == list(faces.names)
    assert [item["faces"] for item in manifest["faces"]] == [1, 2, 1]
    assert manifest["no_face"] == ["train/calm/b.png"]
    assert manifest["several_faces"] == [
        {"name": "train/calm/c.png", "faces": 2, "taken": True},  # 60 is 1.5 times 40
        {"name": "train/grin/b.png", "faces": 2, "taken": False},  # 50 is not
    ]
    assert manifest["bad"] == []
    assert faces.notes[-3:] == (
        "faces are cropped from 3 of 5 pictures",
        "no validation images",
        "no test images",
    )
    assert manifest == json.loads((tmp_path / "out" / MANIFEST).read_text())


def test_the_manifest_says_by_which_rule(photos: Path, tmp_path: Path) -> None:
    found = run(photos, tmp_path / "out").manifest["options"]["find_faces"]
    assert found == {
        "several": "clear",
        "min_score": 0.5,
        "min_size": None,
        "detector": "squares",
        "detector_sha256": None,
        "crop_side": 0.9,
        "crop_level_from": 15,
        "crop_resize": "area",
    }
    ours = FindFaces().to_json()
    assert ours["detector"] == "YuNet"
    assert ours["detector_sha256"] == (
        "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
    )


@pytest.mark.parametrize(
    ("several", "names"),
    [
        ("clear", ["calm/a", "calm/c", "grin/a"]),
        ("largest", ["calm/a", "calm/c", "grin/a", "grin/b"]),
        ("skip", ["calm/a", "grin/a"]),
    ],
)
def test_several_faces(photos: Path, several: str, names: list[str]) -> None:
    find = FindFaces(detector=squares, min_score=0.5, several=several)
    found = sources.read(photos, size=SIZE, find_faces=find)
    assert [name[len("train/") : -len(".png")] for name in found.faces.names] == names
    taken = found.pictures["train/grin/b.png"].face
    assert (taken and taken.size) == (50 if several == "largest" else None)


def test_small_and_unsure_faces_do_not_count(photos: Path) -> None:
    find = FindFaces(detector=squares, min_score=0.5, min_size=45)
    found = sources.read(photos, size=SIZE, find_faces=find, skip_bad=True)
    assert found.faces.names == ("train/calm/c.png", "train/grin/b.png")
    find = FindFaces(detector=squares, min_score=0.72)  # 48 pixels
    found = sources.read(photos, size=SIZE, find_faces=find, skip_bad=True)
    assert found.faces.names == ("train/calm/c.png", "train/grin/b.png")


def _person(path: Path, size: int, canvas: tuple[int, int], place: tuple[int, int]) -> None:
    """Write the astronaut's face on a gray canvas."""
    face = read_image(ROOT / "examples" / "astronaut.png", channels=3)
    face = cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA)
    image = np.full((*canvas, 3), 120, np.uint8)
    x, y = place
    image[y : y + size, x : x + size] = face
    write(path, image)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face in each class, and a picture without."""
    folder = tmp_path_factory.mktemp("people")
    _person(folder / "calm/a.png", 150, (240, 320), (30, 40))
    _person(folder / "grin/a.png", 80, (200, 200), (100, 90))
    write(folder / "grin/b.png", np.full((200, 200, 3), 120, np.uint8))
    return folder


def test_training_sees_what_a_classifier_sees(
    people: Path, tmp_path: Path, fixtures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = run(people, tmp_path / "out", True).manifest
    prepared = load(tmp_path / "out")
    assert prepared.names == ("calm/a.png", "grin/a.png")
    classifier = ferjax.load(fixtures / "keras-2.15.0" / "sequential.h5", labels=ferjax.EMOTIONS)
    assert classifier.image_size == SIZE
    shown = []
    real = type(classifier).preprocess

    def spy(self: Any, *arguments: Any, **options: Any) -> Any:
        shown.append(real(self, *arguments, **options))
        return shown[-1]

    monkeypatch.setattr(type(classifier), "preprocess", spy)
    for name, image, listed in zip(prepared.names, prepared.images, manifest["faces"]):
        (face,) = classifier.analyze(people / name)
        np.testing.assert_allclose(listed["box"], face.box, atol=0.005)
        assert listed["score"] == pytest.approx(face.score, abs=5e-5)
        ours = shown.pop()
        assert not shown
        np.testing.assert_array_equal(image / np.float32(255), ours[0, ..., 0])
        assert image.std() > 20
        # And that is the crop of the face.
        photograph = read_image(people / name, channels=3)
        theirs = preprocess(crop(photograph, detect(photograph)[0]), size=SIZE, resize="area")
        np.testing.assert_array_equal(ours, theirs)


def test_a_second_call_does_nothing_and_other_options_are_noticed(
    photos: Path, tmp_path: Path
) -> None:
    first = run(photos, tmp_path / "out")
    assert first.fresh
    second = run(photos, tmp_path / "out")
    assert not second.fresh
    assert second.manifest == first.manifest
    for find in (
        False,
        True,
        FindFaces(detector=squares, min_score=0.5, several="largest"),
        FindFaces(detector=squares, min_score=0.6),
        FindFaces(detector=squares, min_score=0.5, min_size=10),
    ):
        with pytest.raises(DataError, match=r"holds another prepared dataset: .*--force"):
            run(photos, tmp_path / "out", find)
    assert run(photos, tmp_path / "out", False, force=True).fresh
    assert "find_faces" not in run(photos, tmp_path / "out", False).manifest["options"]


# --- forms ---------------------------------------------------------------------------------------


def _listed(photos: Path, folder: Path) -> Path:
    lines = []
    for path in sorted(photos.rglob("*.png")):
        name = f"{path.parent.name}_{path.name}"
        folder.mkdir(exist_ok=True)
        shutil.copy(path, folder / name)
        lines.append(f"{name},{path.parent.name}\n")
    (folder / "train_labels.csv").write_text("image,label\n" + "".join(lines))
    return folder


def _parquet(photos: Path, path: Path) -> Path:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    files = sorted(photos.rglob("*.png"))
    columns = {
        "image": [{"bytes": file.read_bytes(), "path": file.name} for file in files],
        "label": [file.parent.name for file in files],
    }
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("make", "without", "one"),
    [
        (
            lambda photos, path: Path(shutil.make_archive(str(path), "zip", photos)),
            "train/calm/b.png",
            "train/grin/a.png",
        ),
        (_listed, "calm_b.png", "grin_a.png"),
        (_parquet, "row 2", "row 4"),
    ],
    ids=["zip", "list", "parquet"],
)
def test_other_forms(
    photos: Path, tmp_path: Path, make: Callable[[Path, Path], Path], without: str, one: str
) -> None:
    expected = sources.read(photos, size=SIZE, find_faces=FIND).faces
    manifest = run(make(photos, tmp_path / "form"), tmp_path / "out").manifest
    faces = load(tmp_path / "out")
    np.testing.assert_array_equal(faces.images, expected.images)
    assert faces.labels.tolist() == expected.labels.tolist()
    assert manifest["no_face"] == [without]
    assert {item["name"]: item["box"] for item in manifest["faces"]}[one] == [100, 50, 30, 30]


def test_tables_of_pixels_have_no_photographs(tmp_path: Path) -> None:
    (tmp_path / "fer.csv").write_text("emotion,pixels\n0,1 2 3 4\n1,5 6 7 8\n")
    with pytest.raises(DataError, match=r"fer\.csv: a table of pixels.*--find-faces .* is for"):
        sources.read(tmp_path / "fer.csv", find_faces=True)
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    table = pa.table({"pixels": [[1, 2, 3, 4]] * 7, "emotion": list(range(7))})
    pq.write_table(table, tmp_path / "fer.parquet")
    with pytest.raises(DataError, match="a table of pixels, which are faces already"):
        sources.read(tmp_path / "fer.parquet", find_faces=True)


def test_what_ferjax_faces_made_is_no_photograph(photos: Path) -> None:
    grin, calm = photos / "train/grin", photos / "train/calm"
    for file, name in ((grin / "a.png", "a.face1.png"), (calm / "a.png", "a.faces.png")):
        (file.parent / name).write_bytes(marked(file.read_bytes(), ".png"))
    shutil.copy(grin / "a.png", grin / "my.faces.png")  # somebody's own name
    found = sources.read(photos, size=SIZE, find_faces=FIND)
    assert found.faces.names == (
        "train/calm/a.png", "train/calm/c.png", "train/grin/a.png", "train/grin/my.faces.png",
    )  # fmt: skip
    note = "drawings and crops by `ferjax faces` are left out: 2, such as train/calm/a.faces.png"
    assert note in found.faces.notes
    # As faces, crops are what is meant; so are they where nothing else is there.
    assert "train/grin/a.face1.png" in sources.read(photos, size=SIZE).faces.names
    for path in photos.rglob("*.png"):
        if ".face" not in path.name or path.name.startswith("my"):
            path.unlink()
    names = ("train/calm/a.faces.png", "train/grin/a.face1.png")
    assert sources.read(photos, size=SIZE, find_faces=FIND).faces.names == names


# --- what cannot be used -------------------------------------------------------------------------


def test_no_face_at_all(photos: Path) -> None:
    find = FindFaces(detector=lambda image: [])
    with pytest.raises(DataError, match=r"photos: no face to take in any of 5 pictures$"):
        sources.read(photos, find_faces=find)
    with pytest.raises(DataError, match="no face to take in any of 5 pictures"):
        sources.read(photos, find_faces=find, skip_bad=True)


def test_a_class_without_a_face(photos: Path) -> None:
    (photos / "train/grin/a.png").unlink()
    with pytest.raises(
        DataError, match="photos: no faces of grin in train, only of calm; skip_bad"
    ):
        sources.read(photos, find_faces=FIND)
    faces = sources.read(photos, find_faces=FIND, skip_bad=True).faces
    assert "no faces of grin in train, only of calm" in faces.notes


def test_a_bad_picture_is_no_picture_without_a_face(photos: Path) -> None:
    path = photos / "train/grin/c.png"
    path.write_bytes((photos / "train/grin/a.png").read_bytes()[:-600])
    with pytest.raises(DataError, match=r"1 of 6 images cannot be used: train/grin/c\.png: "):
        sources.read(photos, find_faces=FIND)
    found = sources.read(photos, find_faces=FIND, skip_bad=True)
    assert [name for name, _ in found.bad] == ["train/grin/c.png"]
    assert "train/grin/c.png" not in found.pictures
    assert len(found.pictures) == 5


def test_a_picture_on_which_a_detector_fails_is_bad(photos: Path) -> None:
    def detector(image: UInt8Array) -> Any:
        faces = squares(image)
        return faces if faces else "none"

    find = FindFaces(detector=detector, min_score=0.5)
    with pytest.raises(DataError, match=r"1 of 5 .*: train/calm/b\.png: .*from the detector, got"):
        sources.read(photos, find_faces=find)
    found = sources.read(photos, find_faces=find, skip_bad=True)
    assert [name for name, _ in found.bad] == ["train/calm/b.png"]
    assert len(found.faces) == 3


def test_an_altered_detector_is_one_line(
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def altered(image: UInt8Array, **options: Any) -> Any:
        raise DetectorError("yunet.onnx: the face detector's file was altered")

    monkeypatch.setattr("ferjax.data.photographs.detection.detect", altered)
    call = ["data", "prepare", str(photos), "--out", str(tmp_path / "out"), "--find-faces"]
    assert main([*call, "--skip-bad", "--no-tfds"]) == 2
    error = "ferjax: error: yunet.onnx: the face detector's file was altered\n"
    assert capsys.readouterr().err == error
    assert not (tmp_path / "out").exists()


def test_faces_that_were_cropped_already_are_noted(tmp_path: Path) -> None:
    for i, side in enumerate((48, 140, 100)):  # of 48 pixels; filled by its face; neither
        shape = {"height": 48, "width": 48} if side == 48 else {"height": 160, "width": 200}
        write(tmp_path / f"{'ab'[i % 2]}/{i}.png", picture((0, 0, side), **shape))
    note = "2 of 3 pictures look like faces that were cropped already: without --find-faces"
    assert any(n.startswith(note) for n in sources.read(tmp_path, find_faces=FIND).faces.notes)
    (tmp_path / "b/1.png").unlink()
    write(tmp_path / "b/1.png", picture((0, 0, 100), height=160, width=200))
    notes = sources.read(tmp_path, find_faces=FIND).faces.notes
    assert not any("already" in note for note in notes)


def test_photographs_that_are_taken_for_faces_are_noted(people: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(people, tmp_path / "people"))
    note = (
        "of 3 images that were looked at, in 2 the face fills less than half, and all of each is "
        "taken for a face: --find-faces (find_faces=) finds and crops the faces of whole "
        "photographs"
    )
    _person(folder / "calm/a.png", 80, (240, 320), (30, 40))
    assert note in sources.read(folder).faces.notes
    assert not any("looked at" in n for n in sources.read(folder, find_faces=True).faces.notes)
    _person(folder / "calm/a.png", 96, (100, 100), (2, 2))  # a face with little around it
    assert not any("looked at" in n for n in sources.read(folder).faces.notes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"several": "first"}, r"expected clear, largest, skip for --several .*, got 'first'"),
        ({"min_score": 1.5}, r"expected a number in \[0, 1\] for `min_score`, got 1\.5"),
        ({"min_score": float("nan")}, r"expected a number in \[0, 1\] .*, got nan"),
        ({"min_score": "high"}, r"expected a number in \[0, 1\] .*, got 'high'"),
        ({"min_size": "24"}, r"expected a positive number of pixels for `min_size`, got '24'"),
        ({"detector": "YuNet"}, r"expected a callable for `detector`, got str"),
        ({"min_size": 0}, r"expected a positive number of pixels for `min_size`, got 0"),
        ({"min_size": float("inf")}, r"expected a positive number .* for `min_size`, got inf"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        FindFaces(**settings)


def test_find_faces_is_yes_no_or_how(photos: Path) -> None:
    with pytest.raises(DataError, match="True, False or a FindFaces for `find_faces`, got 'skip'"):
        sources.read(photos, find_faces="skip")  # type: ignore[arg-type]


def test_an_interrupted_call_leaves_nothing(photos: Path, tmp_path: Path) -> None:
    def interrupted(image: UInt8Array) -> list[Detection]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(photos, tmp_path / "out", FindFaces(detector=interrupted))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_a_detector_of_ones_own_is_called_by_one_thread(photos: Path) -> None:
    threads = set()

    def detector(image: UInt8Array) -> list[Detection]:
        threads.add(threading.get_ident())
        return squares(image)

    for i in range(30):  # more than a thread is given at once
        shutil.copy(photos / "train/calm/a.png", photos / f"train/calm/d{i}.png")
    calls: list[tuple[int, int, str]] = []
    find = FindFaces(detector=detector, min_score=0.5)
    sources.read(photos, size=SIZE, find_faces=find, progress=lambda *call: calls.append(call))
    assert len(threads) == 1
    assert len(calls) > 2
    assert calls[-1] == (35, 35, "pictures")


# --- the command line ----------------------------------------------------------------------------


def test_the_command(people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["data", "prepare", str(people), "--out", str(tmp_path / "out"), "--no-tfds"]
    for printed in ("2 train", "prepared already, 2 train"):
        assert main([*call, "--find-faces"]) == 0
        found = capsys.readouterr()
        assert found.out.endswith(f"out: {printed}\n")
        assert found.err == "ferjax: note: no face in 1 picture, left out: grin/b.png\n"
        assert "left out" not in found.out
    assert main(call) == 2
    error = capsys.readouterr().err
    assert "holds another prepared dataset: its find_faces is" in error and "; --force" in error
    assert main(["data", "info", str(people), "--find-faces", "--json"]) == 0
    found = capsys.readouterr()
    assert found.err == "ferjax: note: no face in 1 picture, left out: grin/b.png\n"
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert json.loads(found.out)["faces"] == manifest["faces"]


def test_pictures_with_several_faces_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(9):
        pair = ((10, 10, 60), (110, 70, 40)) if i else ((10, 10, 40), (110, 70, 40))
        write(tmp_path / f"photos/{'ab'[i % 2]}/{i}.png", picture(*pair))
    monkeypatch.setattr("ferjax.data.photographs.detection.detect", _detect_squares)
    assert main(["data", "info", str(tmp_path / "photos"), "--find-faces"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "ferjax: note: several faces in 8 pictures, the largest is taken: a/2.png, a/4.png, "
        "a/6.png, a/8.png, b/1.png and 3 more",
        "ferjax: note: several faces in 1 picture, left out; --several largest takes the largest: "
        "a/0.png",
    ]


def _detect_squares(image: UInt8Array, **options: Any) -> list[Detection]:
    return sorted(squares(image), key=lambda face: -face.size)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--several", "skip"], "--several is for --find-faces"),
        (["--min-score", "0.5"], "--min-score is for --find-faces"),
        (["--min-size", "30"], "--min-size is for --find-faces"),
    ],
)
def test_options_that_do_not_fit(
    photos: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["data", "info", str(photos), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--min-score", "7"], "argument --min-score: expected a number from 0 to 1, got '7'"),
        (["--min-size", "0"], "argument --min-size: expected a positive number of pixels, got '0'"),
    ],
)
def test_options_out_of_range(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["data", "info", "photos", "--find-faces", *arguments])
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_help_says_the_values(capsys: pytest.CaptureFixture[str]) -> None:
    assert tuple(SEVERAL) == CLI_SEVERAL
    with pytest.raises(SystemExit):
        main(["data", "prepare", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert f"[0, 1] (default: {MIN_SCORE})" in text
    assert f"at least {CLEARLY} times" in text
