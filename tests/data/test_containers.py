"""Folders, archives and files: which form one is, what is damaged, and what means harm."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import sys
import tarfile
import threading
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from ferjax.data import archive_guards, sources
from ferjax.errors import DataError
from tests.data.face_sources import (
    WRITERS,
    face,
    fails,
    kaggle_tree,
    png,
    write_folder,
    write_tar,
    write_zip,
)


def test_the_content_tells_the_form_and_not_the_name(tmp_path: Path) -> None:
    tree = kaggle_tree(1, 1)
    archive = write_zip(tree, tmp_path / "a.zip").rename(tmp_path / "a.tar.gz")
    assert sources.read(archive).container == "zip"
    other = write_tar(tree, tmp_path / "b.tar.gz").rename(tmp_path / "b.csv")
    assert sources.read(other).container == "tar"


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    data = write_folder(kaggle_tree(1, 1), tmp_path / "disk")
    source = tmp_path / "source"
    source.mkdir()
    for split in ("train", "test"):
        (source / split).symlink_to(data / split)
    (data / "train" / "angry" / "loop").symlink_to(data)
    assert len(sources.read(source).faces) == 14


def test_a_damaged_member_of_a_zip(tmp_path: Path) -> None:
    path = write_zip(kaggle_tree(2), tmp_path / "a.zip")
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("train/sad/im1.png").header_offset
    data[start + 200] ^= 0xFF
    path.write_bytes(data)
    fails(path, r"1 of 28 images cannot be used: train/sad/im1\.png: (cannot be read|truncated)")


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("form", ["faces.zip", "faces.tar.gz", "faces.tar"])
def test_truncated_archives(form: str, keep: float, tmp_path: Path) -> None:
    path = WRITERS[form](kaggle_tree(2), tmp_path / form)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    fails(path, r"cannot be read|ends early|truncated or corrupt", skip_bad=True)


def test_a_tar_that_ends_between_two_files(tmp_path: Path) -> None:
    path = write_tar(kaggle_tree(2), tmp_path / "a.tar")
    with tarfile.open(path) as archive:
        start = archive.getmembers()[5].offset
    path.write_bytes(path.read_bytes()[:start])
    fails(path, "truncated or corrupt after 5 files", skip_bad=True)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "empty, 0 bytes; expected a folder"),
        (b"PK\x03\x04 but no zip", "cannot be read: File is not a zip file"),
        (b"\x1f\x8b\x08 but no gzip", "cannot be read|ends early"),
        (b"hello, world\n", "starts with b'hello, world'; expected a folder, a .zip"),
        (gzip.compress(b"hello", mtime=0), "starts with b'hello'"),
        (bytes(2048), "starts with"),
        (b"Rar!\x1a\x07\x01\x00", "packed by RAR, which ferjax does not read: unpack it; expected"),
        (b"7z\xbc\xaf\x27\x1c", "packed by 7-Zip, which .*: unpack it; expected a folder, a .zip"),
        (b"\x28\xb5\x2f\xfd", "packed by Zstandard, which .*: unpack it"),
        (bz2.compress(b"emotion,pixels"), "packed by bzip2, which .*: unpack it"),
        (lzma.compress(b"emotion,pixels"), "packed by xz, which .*: unpack it"),
        (b"label,pixels\n0,1 2\n", "1 of 1 rows cannot be used: row 1: expected 2304 pixels"),
        (b"emotion,pixels,Usage\n", "no rows under the header"),
    ],
)
@pytest.mark.parametrize("name", ["a.zip", "fer2013.csv"])
def test_files_that_are_no_source(data: bytes, match: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    fails(path, match)


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    fails(tmp_path / "none", "no such file or folder; expected")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        fails(tmp_path / "pipe", "not a regular file")
    with pytest.raises(DataError, match="null"):
        sources.read("a\0b")


# --- archives that mean harm ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../train/happy/x.png", "a path that leaves the archive"),
        ("train/happy/../../../x.png", "a path that leaves the archive"),
        ("..\\x.png", "a path that leaves the archive"),
        ("/train/happy/x.png", "an absolute path"),
        ("C:/train/happy/x.png", "an absolute path"),
        ("C:\\x.png", "an absolute path"),
    ],
)
@pytest.mark.parametrize("form", ["faces.zip", "faces.tar.gz"])
def test_members_that_climb_out(form: str, name: str, reason: str, tmp_path: Path) -> None:
    tree = kaggle_tree(1, 1)
    path = WRITERS[form](tree | {name: png(face(9))}, tmp_path / form)
    fails(path, f"1 of 15 images cannot be used: .*: {reason}")
    found = sources.read(path, skip_bad=True)
    assert len(found.faces) == 14
    assert [why for _, why in found.bad] == [reason]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar(kind: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write_tar(kaggle_tree(1, 1), path)
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("train/happy/im1.png")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    fails(path, r"train/happy/im1\.png: (a link|not a regular file)")
    assert len(sources.read(path, skip_bad=True).faces) == 14


def test_links_and_encryption_in_a_zip(tmp_path: Path) -> None:
    path = write_zip(kaggle_tree(1, 1), tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("train/happy/im1.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        start = archive.getinfo("train/angry/im0.png").header_offset
    fails(path, r"train/happy/im1\.png: a link")
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"train/angry/im0.png") - 46
    for flags in (start + 6, entry + 8):
        data[flags] |= 1
    path.write_bytes(data)
    fails(path, r"train/angry/im0\.png: encrypted; train/happy/im1\.png: a link")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_in_a_zip(method: int, tmp_path: Path) -> None:
    """LZMA takes as much memory as a file asks for."""
    path = write_zip(kaggle_tree(1, 1), tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("train/happy/im1.png", png(face(1)), method)
    fails(path, rf"im1\.png: packed by method {method}; expected a \.zip packed by deflate")
    assert len(sources.read(path, skip_bad=True).faces) == 14


def test_another_method_of_a_file_that_is_not_read(tmp_path: Path) -> None:
    path = write_zip(kaggle_tree(1, 1), tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("LICENCE.pdf", "CC0", zipfile.ZIP_BZIP2)
    assert len(sources.read(path).faces) == 14


def test_another_method_of_a_table(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("fer2013.csv", "emotion,pixels,Usage\n")
    fails(path, r"a\.zip: fer2013\.csv: packed by method 14; expected a \.zip packed by deflate")


def test_windows_names_in_a_zip(tmp_path: Path) -> None:
    tree = {name.replace("/", "\\"): data for name, data in kaggle_tree(1, 1).items()}
    assert len(sources.read(write_zip(tree, tmp_path / "a.zip")).faces) == 14


def test_of_two_members_of_one_name_the_last_counts(tmp_path: Path) -> None:
    path = write_tar(kaggle_tree(1, 1), tmp_path / "a.tar")
    with tarfile.open(path, "a") as archive:
        data = png(face(77))
        info = tarfile.TarInfo("train/happy/im0.png")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    faces = sources.read(path).faces
    assert len(faces) == 14
    image = faces.images[faces.names.index("train/happy/im0.png")]
    np.testing.assert_array_equal(image, face(77))


@pytest.mark.parametrize("form", ["faces.zip", "faces.tar.gz"])
def test_archives_that_unpack_without_bound(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_guards, "RATIO_FROM", 2**20)
    tree = kaggle_tree(1, 1) | {"train/happy/im9.png": bytes(64 * 2**20)}
    fails(WRITERS[form](tree, tmp_path / form), "unpack to", skip_bad=True)


def test_a_compressed_csv_without_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_guards, "RATIO_FROM", 2**20)
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"emotion,pixels,Usage\n" + b"\n" * (8 * 2**20)))
    fails(path, "would unpack to more than", skip_bad=True)


@pytest.mark.parametrize("form", ["faces.zip", "faces.tar.gz"])
def test_limits_on_members(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = WRITERS[form](kaggle_tree(1, 1), tmp_path / form)
    monkeypatch.setattr(archive_guards, "MAX_MEMBERS", 13)
    fails(path, "more than 13 files")
    monkeypatch.undo()
    monkeypatch.setattr(archive_guards, "MAX_TOTAL_BYTES", 1000)
    monkeypatch.setattr(archive_guards, "RATIO_FROM", 1000)
    fails(path, "unpack to")


def test_a_zip_whose_members_share_their_bytes(tmp_path: Path) -> None:
    """Fifield's bomb: each of many entries points to one packed body."""
    body = zlib.compress(bytes(2**22), 9)[2:-4]
    crc = zlib.crc32(bytes(2**22))
    sizes = struct.pack("<LLL", crc, len(body), 2**22)
    local = b"PK\x03\x04" + struct.pack("<HHHHH", 20, 0, 8, 0, 33) + sizes
    local += struct.pack("<HH", 1, 0) + b"x" + body
    entries = b""
    for i in range(2000):
        name = f"train/happy/{i}.png".encode()
        entries += b"PK\x01\x02" + struct.pack("<HHHHHH", 20, 20, 0, 8, 0, 33) + sizes
        entries += struct.pack("<HHHHHLL", len(name), 0, 0, 0, 0, 0, 0) + name
    end = b"PK\x05\x06" + struct.pack("<HHHHLLH", 0, 0, 2000, 2000, len(entries), len(local), 0)
    path = tmp_path / "a.zip"
    path.write_bytes(local + entries + end)
    start = time.monotonic()
    fails(path, "bytes that would unpack to 8,388,608,000", skip_bad=True)
    assert time.monotonic() - start < 5


def test_a_tar_header_of_any_length_is_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 60 * 2**20
    data = info.tobuf(tarfile.GNU_FORMAT) + bytes(60 * 2**20) + bytes(1024)
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(data))
    fails(path, "a header of 62,914,560 bytes", skip_bad=True)


def test_nothing_is_written_and_no_thread_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_zip(kaggle_tree(2), tmp_path / "a.zip")
    monkeypatch.chdir(tmp_path)
    before = threading.active_count()
    sources.read(path)
    assert threading.active_count() == before
    assert os.listdir(tmp_path) == ["a.zip"]
