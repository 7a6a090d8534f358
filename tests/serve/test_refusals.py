"""What is refused: the right code, a sentence, and the next request is served."""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")
from fastapi.testclient import TestClient

from ferjax.serve.pictures import check_looks
from ferjax.serve.refusals import CODES, Refusal

from ..test_preprocessing import FILES, png
from .conftest import Serve


def check(answer: Any, status: int, code: str, message: str = "") -> None:
    """Check that an answer is a problem of a code."""
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "code", "detail"}
    assert problem["status"] == status == CODES[code][0]
    assert re.search(message, problem["detail"]), problem["detail"]
    assert "\n" not in problem["detail"]


def served(client: TestClient) -> None:
    """Check that the next request is served."""
    answer = client.post("/v1/predict", files={"images": ("a.png", FILES["48.png"])})
    assert answer.status_code == 200, answer.text


def with_size(name: str, width: int, height: int) -> bytes:
    """Return one of FILES whose header claims another size."""
    data = bytearray(FILES[name])
    if name.endswith("png"):
        struct.pack_into(">II", data, 16, width, height)
        struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    elif name.endswith("bmp"):
        struct.pack_into("<ii", data, 18, width, height)
    else:
        start = data.index(b"\xff\xc0") + 5
        struct.pack_into(">HH", data, start, height, width)
    return bytes(data)


def bad_pictures() -> Iterator[Any]:
    """Yield pictures that are refused, with their status and code."""
    for number, content in enumerate(
        [
            b"<!DOCTYPE html><html>",
            b"plain text",
            b"\0\0\0\x18ftypisom\0\0\2\0isommp41",
            b"\x1aE\xdf\xa3\x9fB\x86\x81\1",
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
            b"\x89HDF\r\n\x1a\n" + bytes(600),
            b"PK\x03\x04" + bytes(99),
            b"<svg width='4' height='4'></svg>",
            b"\0" * 1000,
        ]
    ):
        yield pytest.param(content, 415, "not-an-image", id=f"other-{number}")
    yield pytest.param(b"", 422, "unreadable-image", id="empty")
    for number, content in enumerate(
        [
            b"\x89PNG\r\n\x1a\n",
            b"\xff\xd8\xff\xe0",
            b"BM" + bytes(200),
            b"GIF89a\0\0\0\0" + bytes(20),
            b"II*\0",
            b"RIFF\0\0\0\0WEBP",
            b"P5 \n",
            b"\0\0\0\x1cftypavif" + bytes(40),
            png(9, 9, 8, 0, b"\0"),
        ]
    ):
        yield pytest.param(content, 422, "unreadable-image", id=f"header-{number}")
    for name in ("rgb.png", "rgb.jpg", "progressive.jpg", "lossy.webp", "rgb.tif", "rgb.bmp"):
        half = FILES[name][: len(FILES[name]) // 2]
        yield pytest.param(half, 422, "unreadable-image", id=f"half-{name}")
    for name in ("rgb.png", "rgb.jpg", "rgb.bmp"):
        large = with_size(name, 60_000, 60_000)
        yield pytest.param(large, 413, "too-many-pixels", id=f"large-{name}")
    bomb = png(20_000, 20_000, 1, 0, b"\0" * (2501 * 20_000))
    yield pytest.param(bomb, 413, "too-many-pixels", id="bomb")


@pytest.mark.parametrize(("content", "status", "code"), list(bad_pictures()))
@pytest.mark.parametrize("path", ["/v1/faces", "/v1/predict"])
def test_a_bad_picture(
    client: TestClient, path: str, content: bytes, status: int, code: str
) -> None:
    check(client.post(path, files={"images": ("x.png", content)}), status, code, r"^x\.png: ")
    sent = {"images": [base64.b64encode(content).decode()]}
    check(client.post(path, json=sent), status, code, "^image 1: ")
    served(client)


@pytest.mark.parametrize("name", FILES)
def test_a_picture_cut_off_anywhere(client: TestClient, name: str) -> None:
    data = FILES[name]
    for cut in (20, len(data) // 3, len(data) - 30):
        answer = client.post("/v1/predict", files={"images": ("x", data[:cut])})
        if answer.status_code != 200:  # nothing refers to the last bytes of some
            check(answer, answer.status_code, answer.json()["code"], "^x: ")
            assert answer.json()["code"] in ("unreadable-image", "not-an-image")
    assert client.post("/v1/predict", files={"images": ("x", data)}).status_code == 200


def form(*parts: bytes, boundary: bytes = b"xyz", end: bytes = b"--") -> bytes:
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
    return body + b"--" + boundary + end + b"\r\n"


PART = b'Content-Disposition: form-data; name="images"; filename="a.png"\r\n\r\n'
FORM = "multipart/form-data; boundary=xyz"


@pytest.mark.parametrize(
    ("body", "type_", "status", "code", "message"),
    [
        (b"", FORM, 400, "malformed-body", "breaks off"),
        (b"junk", FORM, 400, "malformed-body", "expected a form"),
        (form(PART + b"x", end=b""), FORM, 400, "malformed-body", "breaks off"),
        (form(PART + b"x")[:-20], FORM, 400, "malformed-body", "breaks off"),
        (form(b"X: y\r\n\r\nx"), FORM, 400, "malformed-body", "a name in the header"),
        (form(b"X" * 9000 + b": y\r\n\r\nx"), FORM, 400, "malformed-body", "expected a form"),
        (form(b"A: b\r\n" * 99 + PART + b"x"), FORM, 400, "malformed-body", "expected a form"),
        (form(), FORM, 422, "no-images", "expected a picture"),
        (form(PART + b"x"), "multipart/form-data", 400, "malformed-body", "a boundary"),
        (form(PART + b"x"), f"{FORM[:-3]}{'y' * 71}", 400, "malformed-body", "a boundary"),
        (
            form(PART[:-2] + b"Content-Transfer-Encoding: base64\r\n\r\neA=="),
            FORM, 415, "unsupported-body", "not encoded",
        ),
        (
            form(b'Content-Disposition: form-data; name="images"\r\n\r\n' + b"x" * 20_000),
            FORM, 422, "invalid-option", "a part with a picture has a file name",
        ),
        (
            form(*[b'Content-Disposition: form-data; name="order"\r\n\r\nsize'] * 2, PART + b"x"),
            FORM, 422, "invalid-option", "order: given twice",
        ),
        (form(*[PART + b"x"] * 17), FORM, 413, "too-many-images", "at most 16 pictures"),
        (b"", "image/png", 422, "no-images", "expected a picture"),
        (b"{}", "application/json", 422, "no-images", "expected a picture"),
        (b'{"images": []}', "application/json", 422, "no-images", "expected a picture"),
        (b"", "application/json", 400, "malformed-body", "expected JSON"),
        (b"[]", "application/json", 400, "malformed-body", "a JSON object"),
        (b"{", "application/json", 400, "malformed-body", "expected JSON"),
        (b'{"images": NaN}', "application/json", 400, "malformed-body", "expected JSON"),
        (b'{"images": 1' + b"0" * 9000 + b"}", "application/json", 400, "malformed-body", "JSON"),
        (b'{"a": 1, "a": 2}', "application/json", 400, "malformed-body", "expected JSON"),
        (b'{"images": ' + b"[" * 99_000, "application/json", 400, "malformed-body", "JSON"),
        (b'{"images": ' + b"[]," * 10_000, "application/json", 400, "malformed-body", "10,000"),
        (b'{"x": [[1]]}', "application/json", 400, "malformed-body", "options that are values"),
        (b'{"x": {"y": {}}}', "application/json", 400, "malformed-body", "options that are values"),
        (b"\xff\xfe", "application/json", 400, "malformed-body", "expected JSON"),
        (b'{"images": 3}', "application/json", 400, "malformed-body", "a list of pictures"),
        (b'{"images": [3]}', "application/json", 400, "malformed-body", "image 1: expected"),
        (b'{"images": ["%%"]}', "application/json", 400, "malformed-body", "image 1: .*base64"),
        (b'{"images": [{}]}', "application/json", 400, "malformed-body", "image 1: expected"),
        (
            b'{"images": [{"data": "eA==", "url": "file:///etc/passwd"}]}',
            "application/json", 400, "malformed-body", "got url",
        ),
        (
            json.dumps({"images": ["eA=="] * 17}).encode(),
            "application/json", 413, "too-many-images", "at most 16",
        ),
        (b"x", "text/plain", 415, "unsupported-body", "got text/plain"),
        (b"x", "", 415, "unsupported-body", "got none"),
        (b"a=b", "application/x-www-form-urlencoded", 415, "unsupported-body", "expected a body"),
    ],
)  # fmt: skip
def test_a_bad_body(
    client: TestClient, body: bytes, type_: str, status: int, code: str, message: str
) -> None:
    answer = client.post("/v1/faces", content=body, headers={"Content-Type": type_})
    check(answer, status, code, message)
    served(client)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_scor": 1}, "min_scor: no option; .*did you mean 'min_score'"),
        ({"min_score": 2}, r"a number in \[0, 1\] for `min_score`, got 2"),
        ({"min_score": "x"}, "expected a number for `min_score`, got 'x'"),
        ({"min_score": True}, "expected a number for `min_score`, got True"),
        ({"min_score": [1]}, "expected a number"),
        ({"min_size": 0}, "a positive number of pixels"),
        ({"min_size": -1}, "a positive number of pixels"),
        ({"min_size": 10**400}, "a finite number"),
        ({"min_size": "nan"}, "a finite number"),
        ({"largest": "yes"}, "expected true or false for `largest`, got 'yes'"),
        ({"largest": 2}, "expected true or false"),
        ({"order": "best"}, "expected 'reading' or 'size' for `order`"),
        ({"resize": None}, "expected 'area' or 'linear' for `resize`, got None"),
        ({"calibrated": 3}, "true or false"),
        ({"abstain_below": 1.5}, r"`abstain_below` in \[0, 1\]"),
        ({"prior": "adapt"}, "for 'adapt' needs all faces together"),
        ({"prior": "unifrom"}, "did you mean 'uniform'"),
        ({"prior": {"happy": 1}}, "prior"),
        ({"prior": [1, 2]}, "shares by class"),
        ({"prior": 3}, "shares by class"),
        ({"prior": "{"}, "a JSON object of shares"),
        ({"prior": '{"happy": ' + "[1]}"}, "a JSON object of shares"),
        ({"weights": "/etc/passwd"}, "weights: no option"),
        ({"x" * 5000: 1}, "no option"),
    ],
)
def test_a_bad_option(
    client: TestClient, in_base64: str, options: dict[str, Any], message: str
) -> None:
    answer = client.post("/v1/faces", json={"images": in_base64, **options})
    check(answer, 422, "invalid-option", message)
    served(client)


def test_options_that_are_for_faces_alone(client: TestClient, in_base64: str) -> None:
    answer = client.post("/v1/predict", json={"images": in_base64, "min_size": 3})
    check(answer, 422, "invalid-option", "min_size: no option; expected resize, calibrated, prior")


def test_an_option_given_twice(client: TestClient, face: bytes) -> None:
    files = {"images": ("a.png", face)}
    answer = client.post("/v1/faces?largest=true&largest=false", files=files)
    check(answer, 422, "invalid-option", "largest: given twice")
    answer = client.post("/v1/faces?largest=true", files=files, data={"largest": "true"})
    check(answer, 422, "invalid-option", "largest: given in the address and in the body")


def test_a_compressed_body(client: TestClient, in_base64: str) -> None:
    body = zlib.compress(json.dumps({"images": in_base64}).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "deflate"}
    check(client.post("/v1/faces", content=body, headers=headers), 415, "unsupported-body")


def test_a_large_body_is_not_read(serve: Serve, in_base64: str) -> None:
    client = serve(max_body=10_000)
    assert len(in_base64) > 10_000
    check(client.post("/v1/faces", json={"images": in_base64}), 413, "body-too-large", "10,000 B")

    def pieces() -> Iterator[bytes]:  # without a length
        for _ in range(11):
            yield bytes(1000)

    answer = client.post("/v1/faces", content=pieces(), headers={"Content-Type": "image/png"})
    check(answer, 413, "body-too-large")
    served(client)


def test_bytes_of_all_bodies(serve: Serve, in_base64: str) -> None:
    client = serve(max_held=10_000)
    answer = client.post("/v1/faces", json={"images": in_base64})
    check(answer, 503, "busy", "as many bytes as it may")
    assert answer.headers["retry-after"] == "1"
    served(client)


def test_pictures_of_one_client_and_of_all(serve: Serve, face: bytes) -> None:
    files = [("images", ("a.png", face))] * 3
    check(serve(per_client=2).post("/v1/predict", files=files), 429, "too-many-requests")
    client = serve(queue=2)
    check(client.post("/v1/predict", files=files), 503, "busy", "are waiting")
    served(client)


def test_too_many_faces(serve: Serve, photograph: bytes) -> None:
    image = cv2.imdecode(np.frombuffer(photograph, np.uint8), cv2.IMREAD_COLOR)
    pair = cv2.imencode(".jpg", np.hstack([image, image]))[1].tobytes()
    client = serve(max_faces=1)
    answer = client.post("/v1/faces", files={"images": ("pair.jpg", pair)})
    check(answer, 422, "too-many-faces", r"^pair\.jpg: expected at most 1 faces")
    assert client.post("/v1/faces", files={"images": photograph}).status_code == 200


def test_faces_that_would_take_too_long(client: TestClient) -> None:
    large = cv2.imencode(".png", np.zeros((3000, 4000), np.uint8))[1].tobytes()
    files = {"images": ("a.png", large)}
    check(client.post("/v1/faces", files=files, data={"min_size": "5"}), 422, "too-costly", "raise")
    with pytest.raises(Refusal, match=r"a: 3000000 x 8 pixels; .*; cut it into parts"):
        check_looks((8, 3_000_000), None, "a")  # of which the network sees 64 rows


def test_an_answer_that_takes_too_long(serve: Serve, face: bytes) -> None:
    client = serve(timeout=1e-6)
    answer = client.post("/v1/predict", files={"images": face})
    assert answer.json()["code"] in ("timed-out", "body-timeout")
    assert answer.status_code in (503, 408)


def test_paths_and_methods(client: TestClient) -> None:
    check(client.get("/v2/faces"), 404, "not-found", "openapi.json")
    answer = client.get("/v1/faces")
    check(answer, 405, "method-not-allowed", "expected POST with pictures, got GET")
    assert answer.headers["allow"] == "POST"
    check(client.get("/docs"), 404, "not-found")  # its scripts would come from other hosts


def test_a_failure_says_nothing_of_the_picture(
    client: TestClient, face: bytes, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    from ferjax.serve import pictures

    def fail(*arguments: Any) -> Any:
        raise RuntimeError("secret of the picture")

    with monkeypatch.context() as patch:
        patch.setattr(pictures, "decoded", fail)
        answer = client.post("/v1/predict", files={"images": ("secret.png", face)})
    check(answer, 500, "failed")
    assert "RuntimeError" in caplog.text and "test_refusals.py" in caplog.text
    assert "secret" not in answer.text + caplog.text
    served(client)


def test_every_code_has_a_status_and_a_sentence() -> None:
    for code, (status, sentence) in CODES.items():
        assert 400 <= status < 600 and sentence.endswith(".")
        assert Refusal(code, "a\nb").problem["detail"] == "a\\nb"
