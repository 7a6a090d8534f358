"""The page as it is served on this machine."""

from __future__ import annotations

import http.client
import threading
from pathlib import Path

import pytest

from ferjax.web import headers, serving


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("LocalHost:{port}", 200),
        ("localhost", 200),
        ("example.org:{port}", 421),
        ("127.0.0.1.example.org", 421),
        ("localhost.example.org", 421),
        ("", 421),
    ],
)
def test_a_page_is_given_by_this_machines_own_names_alone(tmp_path: Path, host: str, status: int):
    (tmp_path / "network.onnx").write_bytes(b"weights")
    with serving.open_server(tmp_path, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        connection = http.client.HTTPConnection(serving.HOST, port, timeout=10)
        connection.request("GET", "/network.onnx", headers={"Host": host.format(port=port)})
        answer = connection.getresponse()
        content = answer.read()
        server.shutdown()
        connection.close()
    assert answer.status == status
    assert (content == b"weights") == (status == 200)
    assert headers.HEADERS.items() <= dict(answer.getheaders()).items()
