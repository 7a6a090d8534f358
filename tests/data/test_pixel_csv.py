"""Tables of pixels in the dialects in which they circulate, and rows that cannot be used."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from ferjax.data import pixel_csv, sources
from ferjax.errors import DataError
from tests.data.face_sources import (
    csv_file,
    csv_text,
    fails,
    kaggle_tree,
    row,
    write_folder,
    write_zip,
)
from tests.data.pixel_tables import (
    IMAGES,
    ORDER,
    check,
    columns,
    in_columns,
    plain,
    read,
    separated,
    table,
)

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


# --- rows of fer2013.csv --------------------------------------------------------------------------


def test_csv_ids_are_not_the_output_order(tmp_path: Path) -> None:
    faces = sources.read(csv_file(tmp_path / "a.csv")).faces
    names = [faces.class_names[label] for label in faces.labels]
    assert names == "angry disgust fear happy sad surprise neutral".split()
    assert np.all(faces.images == 7)


def test_csv_values_spaces_and_line_ends(tmp_path: Path) -> None:
    values = [i % 256 for i in range(2304)]
    odd = "  " + "  ".join(f"{v:03d}" for v in values) + " "
    path = csv_file(
        tmp_path / "a.csv",
        row(0, " ".join(map(str, values)), " PublicTest "),
        "",
        f'"0","{odd}","PRIVATETEST"',
        row("Happiness"),
    )
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    faces = sources.read(path).faces
    assert faces.names[7:] == ("row 8", "row 9", "row 10")
    for image in faces.images[7:9]:
        np.testing.assert_array_equal(image.ravel(), values)
    assert faces.splits[7:].tolist() == [1, 2, 0]
    assert faces.class_names[faces.labels[9]] == "happy"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row(pixels=" ".join(["1"] * 2303)), "expected 2304 pixels, got 2303"),
        (row(pixels=""), "expected 2304 pixels, got 0"),
        (row(pixels=" ".join(["1"] * 2303 + ["256"])), "got 256 at pixel 2303"),
        (row(pixels=" ".join(["-1"] + ["1"] * 2303)), "got -1 at pixel 0"),
        (row(pixels=" ".join(["1", "1.5"] + ["1"] * 2302)), "whole numbers for pixels, got '1.5'"),
        (row(pixels=" ".join(["nan"] * 2304)), "whole numbers for pixels, got 'nan'"),
        (row(pixels=" ".join(["٣"] * 2304)), "whole numbers for pixels"),
        (row(pixels=" ".join(["9" * 30] * 2304)), "whole numbers for pixels, got '999"),
        (row(emotion=8), "expected 0 to 6 for emotion, got '8'"),
        (row(emotion=2.5), "expected 0 to 6 for emotion, got '2.5'"),
        (row(emotion=""), "expected a label for emotion, got ''"),
        (row(emotion=-1), "expected 0 to 6 for emotion, got '-1'"),
        (row(emotion="bored"), "expected 0 to 6 for emotion, got 'bored'"),
        (row(usage="Sunday"), "expected Training, PublicTest or PrivateTest, or train, .*'Sunday'"),
        (row(usage=""), "expected Training, PublicTest or PrivateTest, or .* for Usage, got ''"),
        ("3", "expected at least 3 columns, got 1"),
        (row(pixels='"' + "1 " * 100_000 + '"'), "expected 2304 pixels, got 100000"),
        (row(pixels='"1 2 3'), "a quote that is not closed"),
        ("\xff\x00,\x01,\x02", "for Usage, got"),
        ("\xff\x00,\x01,test", "expected 2304 pixels, got 1"),
    ],
)
def test_bad_rows(bad: str, reason: str, tmp_path: Path) -> None:
    path = csv_file(tmp_path / "a.csv", row(), bad, row())
    fails(path, rf"1 of 10 rows cannot be used: row 9: .*{reason}")
    found = sources.read(path, skip_bad=True)
    assert [name for name, _ in found.bad] == ["row 9"]
    assert found.faces.names == tuple(f"row {i}" for i in (*range(1, 9), 10))
    assert np.all(found.faces.images == 7)


def test_a_csv_of_bad_rows_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_csv, "MAX_BAD", 50)
    path = csv_file(tmp_path / "a.csv", *["0,1 2 3,Training"] * 5000)
    fails(path, "more than 50 bad rows, row 8 first: expected 2304 pixels, got 3", skip_bad=True)


def test_a_csv_without_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"emotion,pixels,Usage\n" + b"1 " * 2**20)
    fails(path, "a line of more than 1,048,576 characters")


def test_a_truncated_csv_in_an_archive(tmp_path: Path) -> None:
    data = csv_text(sources.read(write_folder(kaggle_tree(2), tmp_path / "plain")).faces)
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(data)[:-2000])
    fails(path, "truncated: it ends early", skip_bad=True)
    archive = write_zip({"fer2013.csv": data}, tmp_path / "a.zip")
    packed = bytearray(archive.read_bytes())
    packed[20_000] ^= 0xFF
    archive.write_bytes(packed)
    fails(archive, r"fer2013\.csv: cannot be read", skip_bad=True)
