"""The page in a real browser: a site that is written and served once, and headless Chromium."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ferjax
from ferjax.classifier import EmotionClassifier
from ferjax.web import Runtime, find_runtime, serving, write
from ferjax.web.runtime import RuntimeMissingError
from tests.chromium import CHROMIUM, launch


@pytest.fixture(scope="session")
def classifier() -> EmotionClassifier:
    return ferjax.load()


@pytest.fixture(scope="session")  # before tests have a cache folder of their own
def runtime() -> Runtime:
    """ONNX Runtime Web, from where `ferjax web` takes it."""
    try:
        return find_runtime()
    except RuntimeMissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def site(
    classifier: EmotionClassifier, runtime: Runtime, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of the page with the default weights, with all headers."""
    folder: Path = tmp_path_factory.mktemp("web") / "site"
    write(classifier, folder, runtime=runtime)
    server = serving.open_server(folder, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")  # while it is open, no other test's event loop runs in this thread
def browser() -> Iterator[Any]:
    """Headless Chromium, by Playwright."""
    if not CHROMIUM:
        pytest.skip("needs Chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as started:
        browser = launch(started.chromium)
        yield browser
        browser.close()
