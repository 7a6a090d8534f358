"""The benchmark of the service: its pictures, its arithmetic, its command line, wrk where it is."""

from __future__ import annotations

import doctest
import importlib
import json
import shutil
import sys
from pathlib import Path

import cv2
import pytest

from .conftest import ROOT, RunScript

sys.path.insert(0, str(ROOT / "scripts"))
pytest.importorskip("psutil")
benchmark_serve = importlib.import_module("benchmark_serve")


def test_examples() -> None:
    assert doctest.testmod(benchmark_serve).failed == 0


def test_pictures_and_what_wrk_sends(tmp_path: Path) -> None:
    benchmark_serve.prepare(tmp_path)
    shapes = {k: cv2.imread(str(tmp_path / k)).shape for k in ("faces", "predict")}
    assert shapes == {"faces": (480, 640, 3), "predict": (48, 48, 3)}
    script = (tmp_path / "faces.lua").read_text()
    assert f'io.open("{tmp_path / "faces"}", "rb")' in script
    assert '{"requests": %d' in script


def test_the_table() -> None:
    row = {"server": "batched", "kind": "faces", "clients": 8, "rate": 12.34, "p50": 1, "p99": 2.25}
    row["peak_mb"] = 321.4
    lines = list(benchmark_serve.table([{**row, "errors": 0}]))
    assert lines[2] == "| batched | faces | 8 | 12.3 | 1.0 | 2.2 | 321 | 0 |"
    assert benchmark_serve.line({**row, "errors": 3}).endswith("99 % within 2.2 ms, 3 errors")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clients", "0"], "expected a positive integer, got '0'"),
        (["--clients", "1,500"], "expected 256 clients at most, got 500"),
        (["--servers", "x"], "expected names among batched, singly, plain, bare, nothing, got 'x'"),
        (["--before", "gone"], "--before: expected a checkout of ferjax, got 'gone'"),
        (["--minutes", "0"], "--minutes: expected a positive integer, got '0'"),
        (["--soak", "x"], "expected a positive integer"),
    ],
)
def test_mistakes(run_script: RunScript, arguments: list[str], message: str) -> None:
    done = run_script(benchmark_serve, *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr


def test_wrk_is_missing(run_script: RunScript, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    done = run_script(benchmark_serve)
    assert done.returncode == 2 and "wrk is missing" in done.stderr


@pytest.mark.slow
def test_a_quick_run(run_script: RunScript, tmp_path: Path) -> None:
    if shutil.which("wrk") is None:
        pytest.skip("wrk is missing")
    out = tmp_path / "serve.json"
    done = run_script(
        benchmark_serve, "--quick", "--servers", "batched", "--kinds", "predict", "--out", out
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["rows"]
    assert [(row["clients"], row["errors"]) for row in rows] == [(1, 0), (8, 0)]
    assert all(row["rate"] > 1 and row["p50"] <= row["p99"] for row in rows)
