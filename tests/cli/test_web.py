"""ferjax web: the page written, and served on this machine."""

from __future__ import annotations

import hashlib
import http.client
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ferjax.web import headers, runtime, serving
from tests.cli.conftest import Cli
from tests.networks import constant

ROOT = Path(__file__).parents[2]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of small files that are taken for ONNX Runtime Web."""
    folder = tmp_path / "runtime"
    folder.mkdir()
    for name in runtime.FILES:
        (folder / name).write_text(name)
    hashes = {name: hashlib.sha256(name.encode()).hexdigest() for name in runtime.FILES}
    monkeypatch.setattr(runtime, "FILES", hashes)
    return folder


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return constant(tmp_path / "mine.h5", 0.25, 0.75, labels=["calm", "tense"])


def test_the_page_is_written(cli: Cli, tmp_path: Path, small: Path, weights: Path):
    out = tmp_path / "page"
    done = cli("web", out, "--weights", weights, "--runtime", small, "--title", "Mine")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{out}: 0.")
    assert done.out.endswith(f" MB, ONNX Runtime Web of {small}\n")
    stated = json.loads((out / "settings.json").read_text())
    assert (stated["title"], stated["labels"]) == ("Mine", ["calm", "tense"])
    assert stated["card"]["file"] == "mine.h5"


def test_priors_that_are_stated_are_the_pages(cli: Cli, tmp_path: Path, small: Path, weights: Path):
    out, frequencies = tmp_path / "page", "calm=1,tense=3"
    call = ("web", out, "--weights", weights, "--runtime", small)
    assert cli(*call, "--training-frequencies", frequencies).code == 0
    assert json.loads((out / "settings.json").read_text())["trainingFrequencies"] == [0.25, 0.75]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected a folder for the page, OUT, or --open, got neither"),
        (["page", "--port", "1"], "--port is for --open"),
        (["--open", "--port", "65536"], "--port: expected a port from 0 to 65535, got '65536'"),
        (["page", "--runtime", "nothing"], "nothing: no such file or folder"),
        (["."], "expected a folder of its own for the page"),
    ],
)
def test_mistakes_take_one_line(cli: Cli, arguments: list[str], message: str):
    done = cli("web", *arguments)
    assert done.code == 2
    assert message in done.error


def test_a_library_that_is_missing(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli("web", tmp_path / "page").error == (
        "ferjax: error: writing a page needs onnx: pip install 'ferjax[web]'"
    )
    assert not (tmp_path / "page").exists()


def test_weights_that_are_none_leave_nothing(cli: Cli, tmp_path: Path, small: Path):
    out = tmp_path / "page"
    done = cli("web", out, "--runtime", small, "--weights", ROOT / "README.md")
    assert done.code == 2
    assert "README.md" in done.error
    assert not out.exists()


def test_a_port_that_is_taken_is_told_before_anything_is_written(
    cli: Cli, tmp_path: Path, small: Path, weights: Path
):
    out = tmp_path / "page"
    with socket.socket() as taken:
        taken.bind((serving.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = cli(
            *("web", out, "--open", "--port", port, "--weights", weights, "--runtime", small)
        )
    assert done.code == 2
    assert f"port {port} of 127.0.0.1 cannot be had" in done.error
    assert not out.exists()


def test_the_next_port_that_is_free_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with serving.open_server(tmp_path, 0) as first:
        monkeypatch.setattr(serving, "PORT", first.server_address[1])
        with serving.open_server(tmp_path) as second:
            assert second.server_address[1] > first.server_address[1]


SERVE = """
import sys
from ferjax.cli.main import main
from ferjax.web import runtime
import hashlib
runtime.FILES = {name: hashlib.sha256(name.encode()).hexdigest() for name in runtime.FILES}
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_open_serves_with_all_headers_until_it_is_told_to_end(
    tmp_path: Path, small: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
):
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    call = ["web", "--open", "--port", "0", "--weights", str(weights), "--runtime", str(small)]
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, *call], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        connection = http.client.HTTPConnection(address[7:-1], timeout=30)
        for path, status, kind in (
            ("/", 200, "text/html; charset=utf-8"),
            ("/runtime/ort.wasm.min.mjs", 200, "text/javascript; charset=utf-8"),
            ("/runtime/ort-wasm-simd-threaded.wasm", 200, "application/wasm"),
            ("/runtime/", 404, None),
            ("/../../mine.h5", 404, None),
        ):
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status, path
            assert kind in (None, answer.headers["Content-Type"])
            for name, value in headers.HEADERS.items():
                assert answer.headers[name] == value
        assert list(tmp_path.glob("ferjax-web-*"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
    assert not list(tmp_path.glob("ferjax-web-*"))
    assert (tmp_path / "opened").read_text().strip() == address
