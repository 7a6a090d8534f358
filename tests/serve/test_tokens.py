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


@pytest.mark.parametrize("content", [b"", b"short", None])
def test_a_file_that_was_spoilt_leaves_the_tokens_as_they_are(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    path = tmp_path / "t"
    path.write_text(A)
    tokens = Tokens(path, clock=lambda: now[0])
    path.unlink() if content is None else path.write_bytes(content)
    now[0] = 2.0
    assert tokens.client(f"Bearer {A}") is not None
    assert "the tokens from before still hold" in caplog.text


def test_a_file_that_others_may_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "t"
    path.write_text(A)
    path.chmod(0o600)
    Tokens(path)
    assert not caplog.text
    path.chmod(0o644)
    Tokens(path)
    assert "can be read by other users; chmod 600 it" in caplog.text
