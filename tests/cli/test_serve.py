"""`ferjax serve`: mistakes take one line, before anything is loaded."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from .conftest import Cli

pytest.importorskip("fastapi", reason="needs the extra `serve`")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "expected --token-file for an address that other machines reach"),
        (["--host", "0.0.0.0", "--public"], "--public and --without-token together"),
        (["--host", "0.0.0.0", "--without-token"], "--public and --without-token together"),
        (["--host", "no.such.host.invalid"], "expected an address of this machine for --host"),
        (["--port", "65536"], "--port: expected a port from 0 to 65535, got '65536'"),
        (["--port", "x"], "--port: expected a port from 0 to 65535, got 'x'"),
        (["--workers", "0"], "expected `workers` of at least 1, got 0"),
        (["--max-body", "0"], "--max-body: expected a positive number, got '0'"),
        (["--max-pixels", "-1"], "--max-pixels: expected a positive integer, got '-1'"),
        (["--cors-origin", "*"], "expected an origin such as https://example.org"),
        (["--token-file", "none.txt"], "none.txt: the tokens cannot be read: No such file"),
        (["--weights", "none.h5"], "none.h5"),
        (["--value-range", "1", "0"], "expected BLACK below WHITE"),
    ],
)
def test_mistakes(cli: Cli, arguments: list[str], message: str) -> None:
    done = cli("serve", "--port", 0, *arguments)
    assert done.code == 2
    assert message in done.err.splitlines()[-1]
    assert done.err.count("\n") == 1


def test_a_port_that_is_taken(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = cli("serve", "--port", port).error
    assert error == (
        f"ferjax: error: cannot listen at 127.0.0.1, port {port}: Address already in use; --port N "
        "takes another, 0 any free one"
    )


def test_a_library_that_is_missing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli("serve").error == (
        "ferjax: error: serving needs fastapi: pip install 'ferjax[serve]'"
    )


def test_no_page_of_a_runtime_that_is_none(cli: Cli, tmp_path: Path) -> None:
    done = cli("serve", "--port", 0, "--runtime", tmp_path)
    assert done.code == 2 and "expected a folder with ort.wasm.min.mjs" in done.err
