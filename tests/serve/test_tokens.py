"""Token files: what is read of them, and when they are read again."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from ferjax.errors import FerjaxError
from ferjax.serve.tokens import Tokens

A, B = "a" * 16, "b" * 32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a token a line, got none"),
        (b"\n# one\n", "got none; `openssl rand -hex 32` makes one"),
        (b"short", "token 1: expected at least 16 letters"),
        (b"a" * 16 + b"\nb c" + b"d" * 16, "token 2: expected"),
        ("ä".encode() * 16, "token 1: expected"),
    ],
)
def test_files_that_hold_no_tokens(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(FerjaxError, match=message) as info:
        Tokens(tmp_path / "t")
    assert "a" * 16 not in str(info.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FerjaxError, match="none: the tokens cannot be read: No such file"):
        Tokens(tmp_path / "none")
    with pytest.raises(FerjaxError, match="expected a file of tokens"):
        Tokens(tmp_path)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    now = [0.0]
    path = tmp_path / "t"
    path.write_text(A)
    tokens = Tokens(path, clock=lambda: now[0])
    first = tokens.client(f"Bearer {A}")
    assert first is not None and tokens.client(f"Bearer {B}") is None
    path.write_text(f"{A}\n{B}")
    now[0] = 2.0
    assert tokens.client(f"Bearer {A}") == first  # each has a name of its own
    assert tokens.client(f"Bearer {B}") not in (None, first)
    path.write_text(B)
    assert tokens.client(f"Bearer {A}") == first  # it is looked at once a second
    now[0] = 4.0
    assert tokens.client(f"Bearer {A}") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a token a line, got none"),
        (b"# " + A.encode(), "expected a token a line, got none"),
        (b"short", "token 1: expected at least 16"),
        (None, "cannot be read: No such file"),
        ("folder", "expected a file of tokens"),
    ],
)
def test_a_file_that_holds_no_tokens_any_more_withdraws_them(
    tmp_path: Path, content: bytes | str | None, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    path = tmp_path / "t"
    path.write_text(A)
    tokens = Tokens(path, clock=lambda: now[0])
    path.unlink()
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    for now[0] in (2.0, 4.0):
        assert tokens.client(f"Bearer {A}") is None
        assert tokens.client(None) is tokens.client("Bearer ") is None
    (line,) = (r.getMessage() for r in caplog.records if "tokens that hold" in r.getMessage())
    assert message in line and line.endswith("; tokens that hold: 0, withdrawn: 1")
    if content == "folder":
        path.rmdir()
    path.write_text(f"{A}\n{B}")
    now[0] = 6.0
    assert tokens.client(f"Bearer {A}") is not None and tokens.client(f"Bearer {B}") is not None
    assert caplog.records[-1].getMessage() == "tokens that hold: 2, withdrawn: 0"


def test_good_tokens_hold_beside_a_bad_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    path = tmp_path / "t"
    path.write_text(A)
    tokens = Tokens(path, clock=lambda: now[0])
    path.write_text(f"short\n{B}")  # which withdraws A all the same
    now[0] = 2.0
    assert tokens.client(f"Bearer {B}") is not None
    assert tokens.client(f"Bearer {A}") is tokens.client("Bearer short") is None
    assert "token 1: expected" in caplog.text and "hold: 1, withdrawn: 1" in caplog.text


def test_a_file_that_cannot_be_read_any_more_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    path = tmp_path / "t"
    path.write_text(A)
    tokens = Tokens(path, clock=lambda: now[0])
    path.write_text(B)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        for now[0] in (2.0, 4.0):
            assert tokens.client(f"Bearer {A}") is not None
    assert caplog.text.count("Permission denied; the tokens from before still hold") == 1
    now[0] = 6.0  # the file is as it was: only that it can be read is new
    assert tokens.client(f"Bearer {A}") is None and tokens.client(f"Bearer {B}") is not None


def test_a_file_that_others_may_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "t"
    path.write_text(A)
    path.chmod(0o600)
    Tokens(path)
    assert not caplog.text
    path.chmod(0o644)
    Tokens(path)
    assert "can be read by other users; chmod 600 it" in caplog.text
