"""Addresses: which are opened, what is said of them, and which a table may have fetched."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ferjax import filesystems
from ferjax.errors import FerjaxError, ImageError
from ferjax.filesystems import fetched, place_of, shown

pytest.importorskip("fsspec", reason="needs fsspec")
pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'ferjax[parquet]'")


def test_addresses_that_nothing_opens_are_told_in_a_line_without_their_keys() -> None:
    with pytest.raises(FerjaxError, match=r"^nowhere://host/a: cannot be opened \(.*\)$"):
        place_of("nowhere://me:secret@host/a?token=1")


def test_keys_are_not_shown() -> None:
    assert shown("s3://key:secret@bucket/a/b?endpoint_override=me") == "s3://bucket/a/b"
    assert shown("photos?/me@home") == "photos?/me@home"


@pytest.mark.parametrize(
    ("error", "has_hint"),
    [
        (OSError("AWS Error ACCESS_DENIED during ListObjectsV2 operation"), True),
        (OSError("Unable to locate credentials"), True),
        (OSError("HTTP response code 403"), True),
        (OSError("Connection refused"), False),
    ],
)
def test_missing_credentials_are_said_to_be(error: OSError, has_hint: bool) -> None:
    text = str(filesystems.problem("s3://bucket/a", error, "listed"))
    assert re.match(r"s3://bucket/a: cannot be listed \(.+\)", text)
    assert ("it takes credentials" in text) == has_hint


def test_a_picture_beside_a_table(tmp_path: Path) -> None:
    (tmp_path / "a?b.jpg").write_bytes(b"content")
    table = place_of(f"local://{tmp_path}/rows")
    name = table.name(f"{tmp_path}/a?b.jpg")
    assert fetched(name, table) == b"content"  # what follows ? is of its name
    with pytest.raises(ImageError, match=r"/gone\.jpg: cannot be read: "):
        fetched(table.name(f"{tmp_path}/gone.jpg"), table)


@pytest.mark.parametrize(
    "name",
    [
        "http://example.org/a.jpg",
        "local:///etc/hostname",
        "s3://bucket?endpoint_override=example.org/a.jpg",
        "s3://key:secret@bucket/a.jpg",
        "hdfs://example.org:9000/a.jpg",
    ],
)
def test_pictures_that_a_table_cannot_have_fetched(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystems, "place_of", None)
    with pytest.raises(ImageError, match="not fetched; expected an address of s3://, gs://"):
        fetched(name)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("s3://key:sec/r+et@bucket/a@b/c", "s3://bucket/a@b/c"),
        ("s3://key:sec/r+et", "s3://..."),
        ("s3://key:secret", "s3://..."),
        ("s3://bucket/a@b.jpg", "s3://bucket/a@b.jpg"),
        ("hdfs://me@host:9000/a@b", "hdfs://host:9000/a@b"),
        ("hdfs://[::1]:9000/a", "hdfs://[::1]:9000/a"),
        ("abfs://box@me.dfs.core.windows.net/a", "abfs://box@me.dfs.core.windows.net/a"),
        ("abfs://box:key@me.dfs.core.windows.net/a", "abfs://me.dfs.core.windows.net/a"),
    ],
)
def test_what_is_shown_of_an_address(address: str, expected: str) -> None:
    assert shown(address) == expected


def test_keys_are_not_in_what_libraries_say() -> None:
    text = "s3://key:se cret@bucket/a?scheme=http"
    for said in (f"Cannot parse URI: '{text}'", "no s3://key:secret@bucket/a?session_token=12"):
        shown_error = str(filesystems.problem(text, ValueError(said), "opened"))
        assert "s3://bucket/a" in shown_error and "cret" not in shown_error
        assert "12" not in shown_error
    with pytest.raises(FerjaxError, match="cannot be opened") as error:
        place_of("s3://key:sec/ret@bucket/a?region=eu-west-1")
    assert "sec" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("my photos/a#1", "my photos/a#1"),
        ("ä/50% [x]/{a}|^`<>", "ä/50% [x]/{a}|^`<>"),
        ("my%20photos/50%25", "my photos/50%"),
        ("a+b&c=d@e:f", "a+b&c=d@e:f"),
    ],
)
def test_addresses_may_have_what_uris_lack(path: str, expected: str) -> None:
    place = place_of(f"S3://bucket/{path}?region=eu-west-1")
    assert (place.path, place.prefix) == (f"bucket/{expected}", "s3://")
    assert place_of(f"gs://anonymous@bucket/{path}").path == f"bucket/{expected}"
