"""Parquet files: Hugging Face's form, tables of pixels, damaged ones and such as mean harm."""

from __future__ import annotations

import builtins
import dataclasses
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ferjax import EMOTIONS
from ferjax.data import archive_guards, parquet, parquet_pages, sources
from ferjax.data.dataset import Faces
from ferjax.errors import DataError

pa = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'ferjax[parquet]'")
import pyarrow.parquet as pq  # noqa: E402

NAMES = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
ORDER = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
IMAGES = np.random.default_rng(0).integers(0, 256, (14, 8, 8), np.uint8)
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def features(label: str = "label", names: list[str] | None = NAMES) -> dict[bytes, bytes]:
    """Return the metadata by which Hugging Face's library describes columns."""
    described: dict[str, Any] = {"image": {"_type": "Image"}, label: {"_type": "Value"}}
    if names is not None:
        described[label] = {"names": names, "_type": "ClassLabel"}
    return {b"huggingface": json.dumps({"info": {"features": described}}).encode()}


def table(
    label: str = "label",
    image: str = "image",
    names: list[str] | None = NAMES,
    labels: list[Any] | None = None,
    images: Any = None,
    kind: Any = None,
) -> Any:
    """Return fourteen rows in Hugging Face's form, each emotion twice."""
    if images is None:
        images = [{"bytes": png(x), "path": f"{i}.png"} for i, x in enumerate(IMAGES)]
    labels = labels or [i % 7 for i in range(14)]
    columns = {image: pa.array(images, kind or STRUCT), label: pa.array(labels)}
    return pa.table(columns).replace_schema_metadata(features(label, names))


def write(path: Path, content: Any, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(content, path, **options)
    return path


def read(path: Path, **options: Any) -> Faces:
    return sources.read(path, size=(8, 8), **options).faces


def check(faces: Faces, split: int = 0) -> None:
    np.testing.assert_array_equal(faces.images, IMAGES)
    assert faces.class_names == EMOTIONS
    assert [faces.class_names[label] for label in faces.labels] == ORDER * 2
    assert set(faces.splits.tolist()) == {split}


# --- what is read --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        table(),
        table("labels", "img_bytes", images=[png(x) for x in IMAGES], kind=pa.binary()),
        table("labels", "img", images=[png(x) for x in IMAGES], kind=pa.large_binary()),
        table("emotion", "jpg"),
        table(labels=ORDER * 2, names=None),
        table("cls", labels=[float(i % 7) for i in range(14)]),
        table().append_column("id", pa.array(range(14))),
    ],
)
def test_images_and_labels(content: Any, tmp_path: Path) -> None:
    found = sources.read(write(tmp_path / "fer.parquet", content), size=(8, 8))
    assert (found.kind, found.container, found.bad) == ("parquet", "file", ())
    check(found.faces)
    assert found.faces.names[:2] == ("row 1", "row 2")
    assert found.faces.notes == (
        "no file or column says train, validation or test: all images are in train",
    )
    assert np.all(found.faces.source_sizes == 8)


@pytest.mark.parametrize(
    "names",
    [
        ("data/train-00000-of-00001-ab12cd.parquet", "data/test-00000-of-00001-12test.parquet"),
        ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("fer2013_train.parquet", "fer2013_test.parquet"),
    ],
)
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_file_a_split(names: tuple[str, str], form: str, tmp_path: Path) -> None:
    source = tmp_path / form
    for name in names:
        write(source / name, table())
    (source / "README.md").write_text("---\ndataset_info:\n")
    if form == "zip":
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for file in sorted(source.rglob("*.*")):
                archive.write(file, str(file.relative_to(source)))
        source = tmp_path / "a.zip"
    faces = read(source)
    assert faces.counts.tolist() == [[2] * 7, [0] * 7, [2] * 7]
    assert faces.notes == ()
    assert sorted(faces.names) == sorted(f"{n}: row {i + 1}" for n in names for i in range(14))
    for split in (0, 2):
        np.testing.assert_array_equal(faces.images[faces.splits == split], IMAGES)


def test_several_files_of_a_split(tmp_path: Path) -> None:
    for i in range(2):
        write(tmp_path / f"data/train-0000{i}-of-00002.parquet", table().slice(7 * i, 7))
    faces = read(tmp_path)
    check(faces)
    assert faces.names[7] == "data/train-00001-of-00002.parquet: row 1"
    write(tmp_path / "validation-00000-of-00001.parquet", table().slice(0, 3))
    assert read(tmp_path).counts.sum(1).tolist() == [14, 3, 0]


def test_both_tests_of_the_mirror_in_one_file(tmp_path: Path) -> None:
    usages = ["PrivateTest"] * 5 + ["PublicTest"] * 9
    images = [
        {"bytes": png(x), "path": f"{u}_{i}.jpg"} for i, (x, u) in enumerate(zip(IMAGES, usages))
    ]
    write(tmp_path / "test.parquet", table(images=images))
    write(tmp_path / "train.parquet", table())
    faces = read(tmp_path)
    assert faces.splits.tolist() == [2] * 5 + [1] * 9 + [0] * 14


def test_rows_that_name_their_split(tmp_path: Path) -> None:
    usage = pa.array(["Training"] * 7 + ["PublicTest"] * 3 + ["PrivateTest"] * 4)
    faces = read(write(tmp_path / "a.parquet", table().append_column("Usage", usage)))
    assert faces.splits.tolist() == [0] * 7 + [1] * 3 + [2] * 4
    assert faces.notes == ()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([" ".join(map(str, x.ravel())) for x in IMAGES], pa.string()),
        ([x.ravel().tolist() for x in IMAGES], pa.list_(pa.uint8())),
        ([x.ravel().tolist() for x in IMAGES], pa.list_(pa.int64(), 64)),
        ([x.tolist() for x in IMAGES], pa.list_(pa.list_(pa.uint8()))),
        ([(x.ravel() / np.float32(255)).tolist() for x in IMAGES], pa.list_(pa.float32())),
        ([x.ravel().tolist() for x in IMAGES], pa.fixed_shape_tensor(pa.uint8(), (8, 8))),
    ],
)
def test_tables_of_pixels(values: Any, kind: Any, tmp_path: Path) -> None:
    if isinstance(kind, pa.BaseExtensionType):
        values = pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))
        kind = values.type
    content = table("emotion", "pixels", None, images=values, kind=kind)
    check(read(write(tmp_path / "a.parquet", content)))


def test_numbers_without_names_are_asked_for(tmp_path: Path) -> None:
    for names in (None, list("0123456")):
        path = write(tmp_path / "a.parquet", table(names=names))
        with pytest.raises(
            DataError, match="the labels in label are numbers, 0 to 6: give their na"
        ):
            read(path)
        check(read(path, labels="fer2013"))


def test_other_class_names(tmp_path: Path) -> None:
    names = [*NAMES, "contempt"]
    path = write(tmp_path / "a.parquet", table(names=names, labels=[i % 8 for i in range(14)]))
    faces = read(path)
    assert faces.class_names == tuple(sorted((*EMOTIONS, "contempt")))
    assert [faces.class_names[label] for label in faces.labels[:8]] == [*ORDER, "contempt"]


def test_many_rows_in_batches(tmp_path: Path) -> None:
    rows = pa.concat_tables([table()] * 60)
    calls: list[tuple[int, int, str]] = []
    path = write(tmp_path / "a.parquet", rows, row_group_size=100)
    faces = read(path, progress=lambda *call: calls.append(call))
    np.testing.assert_array_equal(faces.images, np.concatenate([IMAGES] * 60))
    assert calls[-1] == (840, 840, "images")


# --- what is bad ---------------------------------------------------------------------------------


def test_bad_rows(tmp_path: Path) -> None:
    images: list[Any] = [{"bytes": png(x), "path": None} for x in IMAGES]
    images += [{"bytes": None, "path": "a.png"}, None, {"bytes": b"no image", "path": None}]
    images += [{"bytes": png(IMAGES[0]), "path": None}] * 2
    labels = [*(i % 7 for i in range(14)), 0, 0, 0, None, 12]
    path = write(tmp_path / "a.parquet", table(images=images, labels=labels))
    with pytest.raises(DataError, match=r"5 of 19 rows cannot be used: row 15: no image") as error:
        read(path)
    assert "row 17: not an image" in str(error.value)
    found = sources.read(path, size=(8, 8), skip_bad=True)
    check(found.faces)
    assert [name for name, _ in found.bad] == [f"row {i}" for i in range(15, 20)]
    assert found.bad[3][1] == "expected a label for label, got ''"
    assert "got '12'" in found.bad[4][1]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (pa.table({"text": ["a"], "label": [1]}), "columns text, label, and no images among them"),
        (pa.table({"image": [b"a"], "x": [1]}), "columns image, x, and no labels among them"),
        (table().slice(0, 0), "no images"),
        (pa.table({"a": pa.array([], pa.int8())}), "columns a, and no images among them"),
    ],
)
def test_files_without_faces(content: Any, match: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=match) as error:
        read(write(tmp_path / "a.parquet", content))
    assert "\n" not in str(error.value)


def test_several_datasets_in_a_folder(tmp_path: Path) -> None:
    for name in ("fer/train.parquet", "fer/test.parquet", "mood/train.parquet"):
        write(tmp_path / name, table())
    match = r"holds 'fer/train\.parquet' and 'mood/train\.parquet'; name one dataset's files"
    with pytest.raises(DataError, match=match):
        read(tmp_path)
    write(tmp_path / "b/a.parquet", table())
    write(tmp_path / "b/train.csv", table()).write_text("emotion,pixels\n0,1 2 3 4\n")
    with pytest.raises(DataError, match=r"holds 'train\.csv' and 'a\.parquet'; expected either"):
        read(tmp_path / "b")


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.parquet", table())
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(DataError, match=r"need pyarrow: pip install 'ferjax\[parquet\]'"):
        read(path)


# --- damaged and hostile files -------------------------------------------------------------------


def test_damaged_files(tmp_path: Path) -> None:
    data = write(tmp_path / "a.parquet", table()).read_bytes()
    rng = np.random.default_rng(0)
    spoilt = [data[:100], data[:-20], data[:-4] + b"XXXX", b"PAR1", b"PAR1" + bytes(100) + b"PAR1"]
    spoilt += [data[:-8] + n.to_bytes(4, "little") + b"PAR1" for n in (0, 2**31 - 1, 2**32 - 1)]
    for _ in range(60):  # anything may come of a changed byte but a crash
        changed = bytearray(data)
        for at in rng.integers(4, len(data), 3):
            changed[at] = rng.integers(256)
        spoilt.append(bytes(changed))
    refused = 0
    for content in spoilt:
        (tmp_path / "b.parquet").write_bytes(content)
        try:
            sources.read(tmp_path / "b.parquet", size=(8, 8), skip_bad=True)
        except DataError as error:
            refused += 1
            assert "\n" not in str(error)
            assert len(str(error)) < 2000
    assert refused >= 8


def test_files_that_unpack_without_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_guards, "RATIO_FROM", 2**20)
    images = [{"bytes": bytes(2**22) + bytes([i]), "path": None} for i in range(4)]
    content = table(images=images, labels=[0, 1, 2, 3])
    path = write(tmp_path / "a.parquet", content, compression="zstd", use_dictionary=False)
    with pytest.raises(DataError, match=r"bytes that would unpack to 16,\d+,\d+; expected a data"):
        read(path, skip_bad=True)


def test_rows_that_take_no_bytes(tmp_path: Path) -> None:
    image = {"bytes": png(IMAGES[0]), "path": None}
    content = table(images=[image] * 20_000, labels=[3] * 20_000)
    with pytest.raises(
        DataError, match=r"20,000 rows in \d,\d+ bytes; expected a dataset of faces"
    ):
        read(write(tmp_path / "a.parquet", content), skip_bad=True)


def read_at(data: bytes) -> parquet_pages.ReadAt:
    return lambda offset, size: data[offset : offset + size]


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip", "brotli"])
def test_the_sizes_of_columns_and_pages(version: str, compression: str, tmp_path: Path) -> None:
    content = pa.concat_tables([table()] * 20)
    options = {"data_page_version": version, "compression": compression, "data_page_size": 500}
    path = write(tmp_path / "a.parquet", content, row_group_size=100, **options)
    assert len(read(path)) == 280
    data = path.read_bytes()
    chunks = parquet_pages.chunks_of(read_at(data), len(data))
    groups = pq.ParquetFile(path).metadata
    expected = [groups.row_group(i).column(j) for i in range(3) for j in range(3)]
    assert [chunk.column for chunk in chunks] == ["image", "image", "label"] * 3
    for chunk, column in zip(chunks, expected):
        assert chunk.values == column.num_values
        assert chunk.length == column.total_compressed_size
        assert chunk.unpacked == column.total_uncompressed_size
        # The footer counts the headers too.
        pages = parquet_pages.unpacked_size(read_at(data), chunk)
        assert 0.5 * chunk.unpacked < pages < chunk.unpacked


def test_a_footer_that_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages' own headers are what memory is taken by."""
    images = [{"bytes": bytes(2**22) + bytes([i]), "path": None} for i in range(4)]
    content = table(images=images, labels=[0, 1, 2, 3])
    path = write(tmp_path / "a.parquet", content, compression="zstd", use_dictionary=False)
    real = parquet_pages.chunks_of

    def lying(*arguments: Any) -> list[parquet_pages.Chunk]:
        return [dataclasses.replace(chunk, unpacked=1000) for chunk in real(*arguments)]

    monkeypatch.setattr(parquet_pages, "chunks_of", lying)
    with pytest.raises(DataError, match="pages of more than the file says they have"):
        read(path, skip_bad=True)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x15", b"\x15\x00" * 5, b"\x1c" * 100, b"\x15" + b"\xff" * 20, b"\x1b\x10", b"\x18" * 9,
     b"\x19\xfc" + b"\xff" * 4 + b"\x0f", b"\x15\x00\x15\x01\x15\x01\x00", b"\x19\xf8\xff"],
)  # fmt: skip
def test_headers_and_footers_that_are_none(data: bytes) -> None:
    chunk = parquet_pages.Chunk("image", 5, 0, 10**9, 10**9)
    with pytest.raises(DataError, match="cannot be read: damaged, or truncated"):
        parquet_pages.unpacked_size(read_at(data), chunk)
    data += len(data).to_bytes(4, "little") + b"PAR1"
    with pytest.raises(DataError, match="cannot be read: damaged, or truncated"):
        parquet_pages.chunks_of(read_at(data), len(data))


def test_a_long_footer() -> None:
    end = (2**30).to_bytes(4, "little") + b"PAR1"
    with pytest.raises(DataError, match="a footer of 1,073,741,824 bytes"):
        parquet_pages.chunks_of(lambda offset, size: end, 2**31)


def test_values_that_repeat_are_read_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value is stored once, whatever the number of its rows, and read once a row."""
    monkeypatch.setattr(parquet, "BATCH_BYTES", 2**16)
    image = png(np.random.default_rng(0).integers(0, 256, (100, 100), np.uint8))
    images = [{"bytes": image, "path": None}] * 70
    path = write(tmp_path / "a.parquet", table(images=images, labels=[i % 7 for i in range(70)]))
    with parquet.opened(str(path), path.stat().st_size) as found:
        assert {len(batch) for batch in parquet.rows_of(found)} == {6, 4}


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.parquet", table())
    monkeypatch.setattr(parquet, "MAX_ROWS", 13)
    with pytest.raises(DataError, match=r"14 rows in .* bytes; expected a dataset of faces"):
        read(path)
    monkeypatch.undo()
    monkeypatch.setattr(parquet, "MAX_CHUNK", 100)
    with pytest.raises(DataError, match="would unpack to"):
        read(path)
    monkeypatch.undo()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "a.parquet")
    monkeypatch.setattr(parquet, "MAX_FILE", 100)
    with pytest.raises(DataError, match=r"a\.parquet: too large to read packed; unpack it"):
        read(tmp_path / "a.zip")


@pytest.mark.parametrize(
    "description",
    [
        b"{",
        b"[]",
        b'{"info": 3}',
        b'{"info": {"features": [1]}}',
        b"[" * 100_000,
        b'{"info": {"features": {"label": {"names": [1, 2]}}}}',
        b"\xff",
    ],
)
def test_descriptions_that_say_nothing(description: bytes, tmp_path: Path) -> None:
    content = table().replace_schema_metadata({b"huggingface": description})
    path = write(tmp_path / "a.parquet", content)
    with pytest.raises(DataError, match="the labels in label are numbers"):
        read(path)


def test_a_file_is_told_by_its_content(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pq.write_table(table(), buffer)
    (tmp_path / "faces").write_bytes(buffer.getvalue())
    check(read(tmp_path / "faces"))
    (tmp_path / "b.parquet").write_bytes(b"hello, world")
    with pytest.raises(DataError, match="starts with b'hello, world'"):
        read(tmp_path / "b.parquet")
