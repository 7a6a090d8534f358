"""Tables of pixels in the dialects in which they circulate, and what numbers in them mean."""

from __future__ import annotations

import gzip
import json
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from ferjax import EMOTIONS
from ferjax.data import class_numbers, csv_dialect, sources
from ferjax.data.dataset import Faces
from ferjax.errors import DataError

ORDER = "angry disgust fear happy sad surprise neutral".split()  # fer2013.csv's 0 to 6
IMAGES = np.random.default_rng(0).integers(0, 256, (14, 4, 4), np.uint8)
IMAGES[:, 0, 0] = 255  # so that no image is within [0, 1]
USAGES = ["Training"] * 7 + ["PublicTest"] * 4 + ["PrivateTest"] * 3
SPLITS = [0] * 7 + [1] * 4 + [2] * 3
Pixels = Callable[[np.ndarray], str]


def plain(image: np.ndarray) -> str:
    return " ".join(map(str, image.ravel().tolist()))


def table(
    header: str | None = "emotion,pixels,Usage",
    *,
    fields: str = "{label},{pixels},{usage}",
    label: Callable[[int], object] = lambda i: i % 7,
    usage: Callable[[str], str] = str,
    pixels: Pixels = plain,
) -> str:
    """Return fourteen rows of images of 4x4 pixels, each emotion twice."""
    rows = [
        fields.format(i=i, label=label(i), pixels=pixels(image), usage=usage(USAGES[i]))
        for i, image in enumerate(IMAGES)
    ]
    return "\n".join(([header] if header is not None else []) + rows) + "\n"


def read(path: Path, data: str | bytes, **options: object) -> Faces:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return sources.read(path, size=(4, 4), **options).faces  # type: ignore[arg-type]


def check(faces: Faces, splits: Sequence[int] = SPLITS) -> None:
    """Check that the faces are those of `table`."""
    np.testing.assert_array_equal(faces.images, IMAGES)
    assert [faces.class_names[label] for label in faces.labels] == ORDER * 2
    assert faces.class_names == EMOTIONS
    assert faces.splits.tolist() == list(splits)
    assert faces.names[:2] == ("row 1", "row 2")
    assert np.all(faces.source_sizes == 4)


def separated(by: str) -> str:
    return table(f"emotion{by}pixels{by}Usage", fields=f"{{label}}{by}{{pixels}}{by}{{usage}}")


def columns(start: int = 0, name: str = "pixel_{}") -> str:
    return ",".join(name.format(i) for i in range(start, start + 16))


def in_columns(image: np.ndarray) -> str:
    return plain(image).replace(" ", ",")


DIALECTS = {
    "semicolons": separated(";"),
    "tabs": separated("\t"),
    "bars": separated("|"),
    "Excel's first line": "sep=;\n" + separated(";"),
    "carriage returns": table().replace("\n", "\r"),
    "DOS": table().replace("\n", "\r\n"),
    "UTF-8 with a mark": table().encode("utf-8-sig"),
    "UTF-16": table().encode("utf-16"),
    "UTF-16 LE without a mark": table().encode("utf-16-le"),
    "UTF-16 BE with a mark": b"\xfe\xff" + table().encode("utf-16-be"),
    "UTF-32": table().encode("utf-32"),
    "Latin-1 in the header": table(
        "emotion,pixels,Usage,prénom", fields="{label},{pixels},{usage},é"
    ).encode("latin-1"),
    "every field quoted": table(
        '"emotion","pixels","Usage"', fields='"{label}","{pixels}","{usage}"'
    ),
    "blank lines": "\n\n" + table().replace("\n", "\n\n") + "\n , , \n,,\n",
    "an index column": table(",emotion,pixels,Usage", fields="{i},{label},{pixels},{usage}"),
    "another order": table("Usage,id,pixels,emotion", fields="{usage},{i},{pixels},{label}"),
    "spaces and capitals": table(
        " Emotion , PIXELS, USAGE ", fields=" {label} , {pixels} , {usage} "
    ),
    "labels 0.0": table(label=lambda i: float(i % 7)),
    "labels by name": table(label=lambda i: ORDER[i % 7].title()),
    "labels as nouns": table(
        label=lambda i: "Anger Disgust Fear Happiness Sadness Surprise Neutral".split()[i % 7]
    ),
    "train, val and test": table(
        usage=lambda u: {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}[u]
    ),
    "Public and Private": table(usage=lambda u: u.removesuffix("Test")),
    "pixels as a list": table(pixels=lambda x: f'"{json.dumps(x.ravel().tolist())}"'),
    "pixels as lists of lists": table(pixels=lambda x: f'"{json.dumps(x.tolist())}"'),
    "pixels as NumPy prints them": table(pixels=lambda x: f'"{x.ravel()}"'),
    "pixels over several lines": table(pixels=lambda x: f'"{x}"'),
    "pixels with commas": table(pixels=lambda x: f'"{plain(x).replace(" ", ",")}"'),
    "pixels 12.0": table(pixels=lambda x: " ".join(map(str, x.ravel().astype(float)))),
    "pixels 012": table(pixels=lambda x: " ".join(f"{v:03d}" for v in x.ravel())),
    "a column a pixel": table(
        f"emotion,{columns()},Usage", fields="{label},{pixels},{usage}", pixels=in_columns
    ),
    "a column a pixel, at the end": table(
        f"Usage,label,{columns(1, 'pixel{}')}", fields="{usage},{label},{pixels}", pixels=in_columns
    ),
    "a column a pixel by row and column": table(
        "emotion," + ",".join(f"{r}x{c}" for r in range(4) for c in range(4)) + ",Usage",
        pixels=in_columns,
    ),
    "columns that are numbers alone": table(
        f"{columns(0, '{}')},split,class", fields="{pixels},{usage},{label}", pixels=in_columns
    ),
    "column and index": table(
        f"0,{columns(0, 'px{}')},label,usage",
        fields="{i},{pixels},{label},{usage}",
        pixels=in_columns,
    ),
    "no header": table(None),
    "no header, another order": table(None, fields="{usage};{label};{pixels}"),
    "no header, names": table(None, label=lambda i: ORDER[i % 7]),
    **{
        f"columns {header}": table(header)
        for header in (
            "label,pixels,Usage",
            "labels,pixel,split",
            "Class,Image,Set",
            "target,image_pixels,subset",
            "emotion_label,Pixel Values,Data Split",
            "expression,img,partition",
        )
    },
}


@pytest.mark.parametrize("form", DIALECTS)
def test_dialects(form: str, tmp_path: Path) -> None:
    check(read(tmp_path / "fer.csv", DIALECTS[form]))


def test_columns_in_the_order_of_their_letters(tmp_path: Path) -> None:
    names = sorted(f"pixel{i}" for i in range(16))  # pixel0, pixel1, pixel10, ...
    numbers = [int(name.removeprefix("pixel")) for name in names]
    text = table(
        f"emotion,{','.join(names)},Usage",
        pixels=lambda image: ",".join(map(str, image.ravel()[numbers])),
    )
    check(read(tmp_path / "a.csv", text))


def test_without_usage(tmp_path: Path) -> None:
    text = table("emotion,pixels", fields="{label},{pixels}")
    faces = read(tmp_path / "a.csv", text)
    check(faces, [0] * 14)
    assert faces.notes == ("there is no column Usage: all images are in train",)
    check(read(tmp_path / "a.csv", table(None, fields="{label},{pixels}")), [0] * 14)


def test_pixels_in_the_unit_interval(tmp_path: Path) -> None:
    def unit(image: np.ndarray) -> str:
        return " ".join(map(str, (image.ravel() / np.float32(255)).tolist()))

    faces = read(tmp_path / "a.csv", table(pixels=unit))
    check(faces)
    assert "pixels in [0, 1] are taken times 255" in faces.notes
    # Black and white of whole numbers among them.
    text = table(pixels=unit) + f"0,{'1 0 ' * 8},Training\n"
    assert read(tmp_path / "a.csv", text).images[14].ravel().tolist() == [255, 0] * 8
    with pytest.raises(DataError, match=r"row 15: expected pixels in \[0, 1\] as in other rows"):
        read(tmp_path / "a.csv", table(pixels=unit) + f"0,{'7 0 ' * 8},Training\n")
    # Without the digit before the point, and nothing below 0.
    text = table(pixels=lambda x: unit(x).replace("0.", ".").replace(" .0 ", " -0.0 "))
    assert "-0.0" in text
    check(read(tmp_path / "a.csv", text))
    # Without such rows, 0 and 1 are what they are: nearly black.
    text = table() + f"0,{'1 0 ' * 8},Training\n"
    assert read(tmp_path / "a.csv", text).images[14].max() == 1


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (" ".join(["-0.3"] * 16), "expected whole numbers for pixels, got '-0.3' at pixel 0"),
        (" ".join(["0.1234567"] * 16), "expected whole numbers for pixels, got '0.1234567'"),
        (" ".join(["300.0"] * 16), r"expected pixels in \[0, 255\], got 300.0 at pixel 0"),
        (" ".join(["1e2"] * 16), "expected whole numbers for pixels, got '1e2'"),
        (" ".join(["7"] * 7 + ["...", "7"]), "abbreviated by ... when the file was written"),
        (" ".join(["7"] * 48), "expected 16 pixels, got 48, as of 4x4 in three colours; make them"),
        ('"[7, 7"', "expected 16 pixels, got 2"),
        ("7\0" * 16, "expected 16 pixels, got 1"),
    ],
)
def test_bad_pixels(pixels: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    text = table() + f"3,{pixels},Training\n" + f"3,{plain(IMAGES[3])},test\n"
    with pytest.raises(DataError, match=rf"1 of 16 rows cannot be used: row 15: .*{reason}"):
        read(path, text)
    assert read(path, text, skip_bad=True).names[-1] == "row 16"


def test_control_characters(tmp_path: Path) -> None:
    text = table() + f"3,{chr(0x1C).join(['7.0'] * 16)},test\n"
    assert read(tmp_path / "a.csv", text).images[14].tolist() == [[7] * 4] * 4
    with pytest.raises(DataError, match=r"columns of numbers|columns without names|starts with"):
        read(tmp_path / "a.csv", table(",".join(["\x1e07", *map(str, range(17))])))


def test_the_size_is_that_of_most_rows(tmp_path: Path) -> None:
    text = table() + "".join(f"{i},{'1 ' * 9},test\n" for i in range(3))
    with pytest.raises(DataError, match=r"3 of 17 rows .*row 15: expected 16 pixels, got 9"):
        read(tmp_path / "a.csv", text)
    text = table(pixels=lambda image: plain(np.repeat(image, 3)))
    with pytest.raises(DataError, match="expected 2304 pixels, got 48, as of 4x4 in three colours"):
        read(tmp_path / "a.csv", text)


def test_images_of_other_sizes_are_resized(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(table())
    faces = sources.read(tmp_path / "a.csv").faces
    assert faces.images.shape == (14, 48, 48)
    assert faces.source_sizes.tolist() == [[4, 4]] * 14


# --- what lacks something ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,"
            "unknown,NF\nTraining,fer0000000.png,4,0,0,1,3,2,0,0,0,0\n",
            r"the votes of FER\+ \(fer2013new.csv\), which hold no pixels; expected fer2013.csv",
        ),
        (
            "image,label\ntrain_0001.jpg,5\n",
            "columns image, label, and no pixels.*<split>/<class>/",
        ),
        ("pixels,Usage\n1 2 3 4,test\n", "columns pixels, Usage, and no labels among them"),
        ("emotion,Usage\n1,test\n", "columns emotion, Usage, and no pixels among them"),
        (
            table(f"emotion,{columns()},x", fields="{label},{pixels}").replace("pixel_15", "z"),
            "15 co",
        ),
        (
            table(",".join(map(str, range(18))), pixels=in_columns),
            "18 columns of numbers, of which no",
        ),
        (table(None, pixels=in_columns), "18 columns without names; put names above the columns"),
        (table(None, fields="{i},{label},{pixels}"), "no header, and 2 columns that may be labels"),
        ("name,age\nAnna,3\n", "starts with b'name,age"),
    ],
)
def test_tables_that_lack_something(text: str, match: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=match) as error:
        read(tmp_path / "a.csv", text)
    assert "\n" not in str(error.value)


def test_one_label_for_all_is_named(tmp_path: Path) -> None:
    text = table("label,pixels", fields="bored,{pixels}")
    assert read(tmp_path / "a.csv", text).class_names == ("bored",)


# --- a table a split -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ("train.csv", "val.csv", "test.csv"),
        ("fer_train.csv", "fer_valid.csv", "fer_test.csv"),
        ("data/train_data.tsv", "data/dev_data.tsv", "data/test_data.tsv"),
    ],
)
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_table_a_split(names: tuple[str, ...], form: str, tmp_path: Path) -> None:
    text = table("emotion,pixels", fields="{label},{pixels}")
    source = tmp_path / form
    if form == "zip":
        with zipfile.ZipFile(source, "w") as archive:
            for name in names:
                archive.writestr(name, text)
    else:
        for name in names:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(text)
    faces = sources.read(source, size=(4, 4)).faces
    assert faces.counts.tolist() == [[2] * 7] * 3
    for split, name in enumerate(names):
        rows = np.flatnonzero(faces.splits == split)
        assert faces.names[rows[0]] == f"{name}: row 1"
        np.testing.assert_array_equal(faces.images[rows], IMAGES)


@pytest.mark.parametrize(
    "names", [("a.csv", "b.csv"), ("fer_train.csv", "raf_train.csv", "test.csv")]
)
def test_tables_that_are_no_splits(names: tuple[str, ...], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).write_text(table("emotion,pixels", fields="{label},{pixels}"))
    with pytest.raises(DataError, match=rf"holds '{names[0]}' and '{names[1]}'; expected one"):
        sources.read(tmp_path)


# --- what numbers mean ---------------------------------------------------------------------------


def test_labels_by_another_name_are_noted(tmp_path: Path) -> None:
    faces = read(tmp_path / "a.csv", table("label,pixels,Usage"))
    assert faces.notes == (
        "labels 0 to 6 are taken in the order of fer2013.csv, angry, disgust, fear, happy, sad, "
        "surprise, neutral; --labels (labels=) gives another",
    )
    assert not read(tmp_path / "a.csv", table()).notes


@pytest.mark.parametrize(
    ("labels", "first"),
    [
        ("fer2013", ORDER),
        ("sorted", list(EMOTIONS)),
        ("rafdb", "surprise fear disgust happy sad angry neutral".split()),
        (EMOTIONS[::-1], list(EMOTIONS[::-1])),
        (",".join(EMOTIONS[::-1]), list(EMOTIONS[::-1])),
        (dict(enumerate(ORDER)), ORDER),
        ("0=anger,1=disgust,2=fear,3=happiness,4=sadness,5=surprise,6=neutral", ORDER),
    ],
)
def test_the_order_can_be_given(
    labels: class_numbers.NumberNames, first: list[str], tmp_path: Path
) -> None:
    faces = read(tmp_path / "a.csv", table("label,pixels,Usage"), labels=labels)
    assert [faces.class_names[label] for label in faces.labels[:7]] == first
    assert faces.class_names == EMOTIONS
    # The same from 1.
    text = table("label,pixels,Usage", label=lambda i: i % 7 + 1)
    if not isinstance(labels, dict) and "=" not in labels:
        faces = read(tmp_path / "a.csv", text, labels=labels)
        assert [faces.class_names[label] for label in faces.labels[:7]] == first


@pytest.mark.parametrize(
    ("header", "label", "match"),
    [
        (
            "emotion",
            lambda i: i % 8,
            r"the labels in emotion are numbers, 0 to 7: .*ckplus \(angry",
        ),
        (
            "emotion",
            lambda i: i % 7 + 1,
            r"numbers, 1 to 7: give .*rafdb \(surprise, fear, disgust",
        ),
        (
            "label",
            lambda i: i % 2,
            "are numbers, 0 and 1: give their names by .*: 2 names in their order",
        ),
        (
            "label",
            lambda i: i % 3,
            "the labels in label are numbers, 0 to 2: give their names by --la",
        ),
    ],
)
def test_other_numbers_are_asked_for(
    header: str, label: Callable[[int], int], match: str, tmp_path: Path
) -> None:
    text = table(f"{header},pixels,Usage", label=label)
    for skip_bad in (False, True):
        with pytest.raises(DataError, match=match) as error:
            read(tmp_path / "a.csv", text, skip_bad=skip_bad)
        assert "\n" not in str(error.value)


def test_eight_classes(tmp_path: Path) -> None:
    faces = read(
        tmp_path / "a.csv", table(label=lambda i: i % 8, usage=lambda u: "train"), labels="ckplus"
    )
    assert faces.class_names == tuple(sorted((*EMOTIONS, "contempt")))
    assert [faces.class_names[label] for label in faces.labels[:8]] == [*ORDER, "contempt"]
    with pytest.raises(
        DataError, match=r"1 of 14 rows .*row 8: expected 0 to 6 for emotion, got '7'"
    ):
        read(tmp_path / "a.csv", table(label=lambda i: i % 8), labels="fer2013")


def test_numbers_can_be_kept(tmp_path: Path) -> None:
    text = table("label,pixels", fields="{label},{pixels}", label=lambda i: i % 3)
    faces = read(tmp_path / "a.csv", text, labels="numbers")
    assert faces.class_names == ("0", "1", "2")
    assert faces.labels[:4].tolist() == [0, 1, 2, 0]
    faces = read(tmp_path / "a.csv", text, labels="tense,calm,bored")
    assert faces.class_names == ("bored", "calm", "tense")
    assert [faces.class_names[label] for label in faces.labels[:3]] == ["tense", "calm", "bored"]


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ("fer2031", "expected sorted, fer2013, .* got 'fer2031'; did you mean 'fer2013'"),
        ("happy,happy", "expected .* different names separated by commas"),
        ("0=happy,x=sad", "expected 0=name,1=name"),
        ("", "expected .* got ''"),
        (
            "a,b,c,d",
            "labels name 4 classes, and neither 0 nor 4 is among the numbers 1, 2, 3: write",
        ),
    ],
)
def test_labels_that_say_nothing(labels: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        class_numbers.names_of({1, 2, 3}, labels)


def test_labels_are_for_numbers(tmp_path: Path) -> None:
    text = table(label=lambda i: ORDER[i % 7])
    with pytest.raises(
        DataError, match="labels are for numbers; emotion has names, such as 'angry'"
    ):
        read(tmp_path / "a.csv", text, labels="fer2013")


def test_levels_are_for_folders(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"--classes-level \(classes_level=\) is for images in folders"
    ):
        read(tmp_path / "a.csv", table(), classes_level=1)


def test_fer2013s_counts_tell_the_order() -> None:
    in_order = dict(enumerate([3995, 436, 4097, 7215, 4830, 3171, 4965]))
    assert class_numbers.order_by_counts(in_order) == "fer2013"
    by_name = dict(enumerate([958, 111, 1024, 1774, 1233, 1247, 831]))  # both test parts
    assert class_numbers.order_by_counts(by_name) == "sorted"
    assert class_numbers.order_by_counts(dict(enumerate([1] * 7))) is None
    texts = [str(number) for number, count in by_name.items() for _ in range(count)]
    classes, bad, notes = class_numbers.classes_of(texts, None, "label")
    assert classes == {str(i): name for i, name in enumerate(EMOTIONS)}
    assert (bad, notes) == ({}, ["labels are in the sorted order, by how many images each has"])


# --- tables that mean harm -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"emotion,pixels,Usage" + b",x" * 2**20,
        b"x" * 2**22,
        b"emotion,pixels,Usage\n0," + b"1," * 2**20,
        b'emotion,pixels,Usage\n0,"' + b"1 \n" * 2**20,
        b"emotion,pixels\n" + b'"' * 2**21,
        b"1 " + b"1" * 2**21,
        "emotion,pixels,Usage".encode("utf-16") + b"a\0" * 2**21,
        (b'0,"1 2\n' * 2**18),
    ],
)
def test_lines_without_bound(data: bytes, tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(DataError) as error:
        read(tmp_path / "a.csv", data)
    assert len(str(error.value)) < 2000
    assert time.monotonic() - start < 20


def test_a_packed_header_without_bound(tmp_path: Path) -> None:
    data = gzip.compress(b"emotion,pixels," + b"x," * (50 * 2**20), 1)
    with pytest.raises(DataError, match="a line of more than 1,048,576 characters"):
        read(tmp_path / "a.csv.gz", data)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings(encoding: str) -> None:
    data = "emotion,pixels".encode(encoding)
    assert data.decode(csv_dialect.encoding_of(data)) == "emotion,pixels"


@pytest.mark.parametrize(
    "head", [b"", b"a", b"a\0", b"\0" * 64, b"abc\0def\0", "é,".encode("latin-1")]
)
def test_other_bytes_are_utf_8(head: bytes) -> None:
    assert csv_dialect.encoding_of(head) == "utf-8"
