"""The page at "/": its files with their headers, and what stands in for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")
from fastapi.testclient import TestClient

from ferjax import EmotionClassifier
from ferjax.errors import FerjaxError
from ferjax.serve.app import create_app
from ferjax.serve.page import Page
from ferjax.serve.service import Service
from ferjax.serve.settings import Settings
from ferjax.web import headers, runtime

from .test_refusals import check

WEIGHTS = Path("tiny.h5")
Show = Callable[..., TestClient]


@pytest.fixture
def page(classifier: EmotionClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Show:
    """Return a service with a page for which ONNX Runtime Web is at hand, or is not."""

    def show(*, at_hand: bool = True) -> TestClient:
        def find(given: object, *, fetch: bool) -> runtime.Runtime:
            assert not fetch
            if not at_hand:
                raise runtime.RuntimeMissingError("not at hand")
            files = {name: name.encode() for name in runtime.FILES}
            return runtime.Runtime(source="a test", files=files)

        (tmp_path / "tiny.h5").write_bytes(b"weights")
        monkeypatch.setattr(runtime, "find", find)
        shown = Page(tmp_path / "page")
        shown.write(classifier, tmp_path / "tiny.h5", None)
        service = Service(classifier, Settings(), page=shown)
        return TestClient(create_app(service), base_url="http://127.0.0.1:8000")

    return show


def test_the_files_of_the_page(page: Show) -> None:
    client = page()
    answer = client.get("/")
    assert answer.status_code == 200 and "<title>" in answer.text
    for name, value in headers.HEADERS.items():
        assert answer.headers[name] == value
    types = {
        "/settings.json": "application/json",
        "/network.onnx": "application/octet-stream",
        "/runtime/ort.wasm.min.mjs": "text/javascript; charset=utf-8",
        "/runtime/ort-wasm-simd-threaded.wasm": "application/wasm",
    }
    for path, type_ in types.items():
        answer = client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, type_)
        assert answer.headers["cross-origin-embedder-policy"] == "require-corp"
    assert client.get("/settings.json").json()["card"]["file"] == "tiny.h5"
    again = client.get("/network.onnx", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 200  # of another file
    again = client.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    ["/nothing.js", "/..%2f..%2fetc%2fpasswd", "/%2e%2e/tiny.h5", "/runtime", "/\\..", "/%00"],
)
def test_paths_that_are_no_file_of_it(page: Show, path: str) -> None:
    check(page().get(path), 404, "not-found")


def test_the_interface_comes_before_the_page(page: Show, face: bytes) -> None:
    client = page()
    assert client.get("/healthz").json() == {"status": "alive"}
    check(client.post("/"), 405, "method-not-allowed")
    for path in ("/v1/faces", "/v1/predict"):
        answer = client.get(path)  # as by a browser
        check(answer, 405, "method-not-allowed", "expected POST with pictures, got GET")
        assert answer.headers["allow"] == "POST"


def test_without_the_runtime_it_says_how_to_get_it(page: Show) -> None:
    client = page(at_hand=False)
    answer = client.get("/")
    assert answer.status_code == 200
    assert f"npm pack onnxruntime-web@{runtime.VERSION}" in answer.text
    assert answer.headers["content-security-policy"] == headers.HEADERS["Content-Security-Policy"]
    check(client.get("/settings.json"), 404, "not-found")


def test_what_is_named_has_to_be_the_runtime(classifier: EmotionClassifier, tmp_path: Path) -> None:
    with pytest.raises(FerjaxError, match=r"expected a folder with ort\.wasm\.min\.mjs"):
        Page(tmp_path / "page").write(classifier, WEIGHTS, tmp_path)


def test_before_it_is_written(classifier: EmotionClassifier, tmp_path: Path) -> None:
    app = create_app(Service(classifier, Settings(), page=Page(tmp_path / "page")))
    client = TestClient(app, base_url="http://127.0.0.1:8000")
    check(client.get("/"), 503, "starting")
