"""What stands in front of every request: names, origins, tokens, headers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")
from fastapi.testclient import TestClient

from ferjax.serve import answers

from .conftest import Serve
from .test_refusals import check

TOKEN = "a-token-of-24-characters"
OTHER = "another-token-of-more-characters"


@pytest.fixture(scope="module")
def guarded(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    """A service of which two tokens are asked."""
    path = tmp_path_factory.mktemp("tokens") / "tokens.txt"
    path.write_text(f"# of the laboratory\n{TOKEN}\n\n{OTHER}\n")
    path.chmod(0o600)
    return serve(token_file=path, cors_origins=("https://example.org",))


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000", "127.0.0.1"]
)
def test_own_names(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["example.org", "127.0.0.1.example.org", "localhost.example.org:8000", "", "[", "a@b"]
)
def test_other_names(client: TestClient, host: str) -> None:
    check(client.get("/healthz", headers={"Host": host}), 421, "host-not-allowed", "allowed-host")


def test_a_name_that_is_allowed(serve: Serve) -> None:
    client = serve(allowed_hosts=("Faces.example.org",))
    assert client.get("/healthz", headers={"Host": "faces.example.org"}).status_code == 200
    assert client.get("/healthz", headers={"Host": "localhost"}).status_code == 200
    check(client.get("/healthz", headers={"Host": "example.org"}), 421, "host-not-allowed")


@pytest.mark.parametrize(
    "origin", ["https://example.org", "null", "http://127.0.0.1:9999", "x", "http://["]
)
def test_a_page_of_another_origin(client: TestClient, origin: str, face: bytes) -> None:
    answer = client.post("/v1/predict", files={"images": face}, headers={"Origin": origin})
    check(answer, 403, "origin-not-allowed")
    assert "access-control-allow-origin" not in answer.headers


def test_the_page_of_the_service_itself(client: TestClient, face: bytes) -> None:
    origin = {"Origin": "http://127.0.0.1:8000"}
    assert client.post("/v1/predict", files={"images": face}, headers=origin).status_code == 200


def test_a_page_that_is_allowed(guarded: TestClient, face: bytes) -> None:
    headers = {"Origin": "https://example.org", "Authorization": f"Bearer {TOKEN}"}
    answer = guarded.post("/v1/predict", files={"images": face}, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://example.org"
    asked = {
        "Origin": "https://example.org",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    answer = guarded.options("/v1/predict", headers=asked)
    assert (answer.status_code, answer.headers["access-control-allow-methods"]) == (
        200,
        "GET, POST",
    )
    other = {**asked, "Origin": "https://example.com"}
    check(guarded.options("/v1/predict", headers=other), 403, "origin-not-allowed")


@pytest.mark.parametrize(
    "header",
    [
        None, "", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x", f"Bearer {TOKEN} {OTHER}", "Bearer # of the laboratory", "Bearer \xe4",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/model", "/metrics", "/v1/nothing", "/"])
def test_no_token(guarded: TestClient, header: str | None, path: str) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    answer = guarded.get(path, headers=headers)  # type: ignore[arg-type]
    check(answer, 401, "no-token", "Bearer TOKEN")
    assert answer.headers["www-authenticate"] == 'Bearer realm="ferjax"'


def test_nobody_is_let_in_by_a_file_without_tokens(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for content in (b"", None):
        path = tmp_path / "tokens.txt"
        path.unlink(missing_ok=True) if content is None else path.write_bytes(content)
        client = serve(token_file=path)
        for header in ("Bearer ", f"Bearer {TOKEN}"):
            check(client.get("/v1/model", headers={"Authorization": header}), 401, "no-token")
        assert client.get("/healthz").status_code == 200
        assert "; tokens that hold: 0" in caplog.text
        caplog.clear()


@pytest.mark.parametrize("token", [TOKEN, OTHER])
def test_a_token(guarded: TestClient, token: str, face: bytes) -> None:
    headers = {"Authorization": f"bearer {token}"}
    assert guarded.get("/v1/model", headers=headers).status_code == 200
    answer = guarded.post("/v1/predict", files={"images": face}, headers=headers)
    assert answer.status_code == 200


def test_what_is_told_without_a_token(guarded: TestClient) -> None:
    for path in ("/healthz", "/openapi.json"):
        assert guarded.get(path).status_code == 200
    said = guarded.get("/openapi.json").json()
    assert said["paths"]["/v1/faces"]["post"]["security"] == [{"token": []}]
    assert "security" not in said["paths"]["/healthz"]["get"]


def test_a_body_without_a_token_is_not_kept(guarded: TestClient) -> None:
    check(guarded.post("/v1/faces", content=bytes(1_000_000)), 401, "no-token")


def test_headers_of_every_answer(client: TestClient) -> None:
    for path in ("/healthz", "/nothing", "/v1/model", "/metrics"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers


def test_requests_are_logged_where_that_is_asked(
    serve: Serve, face: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "ferjax.serve")
    client = serve(log_requests=True)
    client.post("/v1/predict?resize=area", files={"images": ("secret.png", face)})
    client.get("/a%0Ab")
    lines = [r.getMessage() for r in caplog.records if " ms" in r.getMessage()]
    assert lines[0].startswith("POST /v1/predict 200 ") and lines[1].startswith(r"GET /a\nb 404 ")
    assert "secret" not in caplog.text and "resize" not in caplog.text


def test_nothing_is_logged_where_it_is_not(
    client: TestClient, face: bytes, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture
) -> None:
    caplog.set_level("INFO", "ferjax.serve")
    client.post("/v1/faces", files={"images": ("secret.png", face)})
    client.post("/v1/faces", files={"images": ("secret.txt", b"secret")})
    assert not caplog.records and capfd.readouterr() == ("", "")


def test_a_failure_is_logged_by_where_it_was_raised_without_its_words(
    serve: Serve, face: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        json.loads("{secret")

    client = serve()
    monkeypatch.setattr(answers.bodies, "read", fail)
    check(client.post("/v1/predict", files={"images": ("secret.png", face)}), 500, "failed")
    first, *calls = caplog.records[-1].getMessage().split("\n")
    assert first == "failed: JSONDecodeError, raised at"
    assert calls[0].startswith("  json/decoder.py:")
    assert re.fullmatch(r"  ferjax/serve/answers.py:\d+ in respond", calls[1])
    assert re.fullmatch(r"  ferjax/serve/gate.py:\d+ in __call__", calls[-1])
    assert len(calls) < 8 and "secret" not in caplog.text


def test_nothing_of_a_request_goes_to_the_disk(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import tempfile

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a temporary file")

    for name in ("SpooledTemporaryFile", "TemporaryFile", "NamedTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, refuse)
    large = b"\x89PNG\r\n\x1a\n" + bytes(5_000_000)  # beyond what frameworks keep in memory
    check(client.post("/v1/faces", files={"images": ("a.png", large)}), 422, "unreadable-image")
