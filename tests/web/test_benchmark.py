"""scripts/benchmark_web.py: what it measures, and what it says where something is missing."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chromium import CHROMIUM
from tests.conftest import RunScript

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
script = importlib.import_module("benchmark_web")


def test_medians_are_shown():
    run = {
        "browser": "1.2",
        "threads": True,
        "ready": 1.0,
        "first": 2.0,
        "again": 0.25,
        "camera": 9,
    }
    runs = [run, {**run, "first": 4.0, "camera": 12}, {**run, "first": 3.0, "camera": 30}]
    assert script.as_text({"weights": "mine.h5", "cores": 2, "runs": runs}).splitlines() == [
        "mine.h5, Chromium 1.2, 2 cores, several threads, 3 runs",
        "ready     1.00 s",
        "first     3.00 s",
        "again     0.25 s",
        "camera    12.0 frames/s",
    ]


def test_mistakes_are_told(run_script: RunScript, monkeypatch: pytest.MonkeyPatch):
    assert run_script(script, "--runs", "0").returncode == 2
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)
    done = run_script(script)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("benchmark_web: error: it needs Playwright: pip install playwright\n")


def test_a_missing_browser_is_told(run_script: RunScript, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "playwright.sync_api", type("", (), {"sync_playwright": None}))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "expected one of chromium, " in run_script(script).stderr


@pytest.mark.slow
def test_the_page_is_measured(site: str, browser: Any, tmp_path: Path):
    film = tmp_path / "camera.mjpeg"
    film.write_bytes(script.camera_film())
    measured = script.one_run(browser.browser_type, CHROMIUM, site, film, 2)
    assert 0 < measured["ready"] < measured["first"]
    assert measured["camera"] > 0
    assert measured["threads"] is True
    json.dumps(measured)
