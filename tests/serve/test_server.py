"""A real server, at a real socket: slow clients, those that leave, ends under load, processes."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

import h11

from ferjax import EmotionClassifier
from ferjax.serve import addresses, server
from ferjax.serve.protocol import Pieces, allow_open
from ferjax.serve.service import Service
from ferjax.serve.settings import Limits, Settings

ROOT = Path(__file__).parents[2]
Started = Callable[..., int]


@pytest.fixture(scope="module")
def start(classifier: EmotionClassifier) -> Iterator[Started]:
    """Start servers in threads, `start(head_timeout=1)`, and return their ports."""
    running: list[tuple[Service, threading.Thread]] = []

    def begin(**options: Any) -> int:
        limits = Limits(**options)
        service = Service(classifier, Settings(limits=limits, threads=2, drain=0.1))
        listener = addresses.listen("127.0.0.1", 0)
        port: int = listener.getsockname()[1]
        thread = threading.Thread(target=server.answer, args=(service, listener))
        thread.start()
        running.append((service, thread))
        return port

    yield begin
    for service, _ in running:
        service.is_ending = True
    for _, thread in running:
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def port(start: Started) -> int:
    """A server whose clients have half a second for the head of a request."""
    return start(head_timeout=0.5, timeout=2, connections=40, max_body=1_000_000)


def head(length: int, *more: str, path: str = "/v1/predict") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: image/png"]
    return "\r\n".join([*lines, f"Content-Length: {length}", *more, "", ""]).encode()


def received(connection: socket.socket) -> bytes:
    """Return all that comes until the other side closes."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def ask(port: int, face: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/predict", face, {"Content-Type": "image/png"})
        answer = connection.getresponse()
        answer.read()
        return answer.status


def test_heads_that_trickle_in_do_not_keep_others_out(port: int, face: bytes) -> None:
    slow = [connected(port) for _ in range(20)]
    for number, connection in enumerate(slow):
        connection.sendall(b"" if number % 2 else b"POST /v1/predict HTTP/1.1\r\nHost: lo")
    start = time.monotonic()
    assert ask(port, face) == 200
    slow[0].sendall(b"calhost\r\nX: ")  # a further byte gives no further time
    assert [received(connection) for connection in slow] == [b""] * len(slow)
    assert 0.2 < time.monotonic() - start < 5
    for connection in slow:
        connection.close()


def test_a_body_that_trickles_in(port: int, face: bytes) -> None:
    with connected(port) as connection:
        connection.sendall(head(len(face)) + face[:100])
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 408 ") and b'"code":"body-timeout"' in answer
    assert ask(port, face) == 200


def test_clients_that_leave(port: int, face: bytes) -> None:
    for sent in (b"POST", head(len(face)), head(len(face)) + face[:50], head(len(face)) + face):
        for _ in range(5):
            with connected(port) as connection:
                connection.sendall(sent)
    assert ask(port, face) == 200


def test_too_many_connections(port: int, face: bytes) -> None:
    many = [connected(port) for _ in range(50)]
    refused = [received(connection) for connection in many[45:]]
    assert all(answer.startswith(b"HTTP/1.1 503 ") for answer in refused)
    assert all(answer.endswith(b'later"}') for answer in refused)
    for connection in many:
        connection.close()
    time.sleep(0.1)
    assert ask(port, face) == 200


def test_a_large_body_gets_its_answer_while_it_is_sent(port: int, face: bytes) -> None:
    with connected(port) as connection:
        connection.sendall(head(20_000_000))
        with contextlib.suppress(ConnectionError):
            for _ in range(20):
                connection.sendall(bytes(1_000_000))
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 413 ") and b'"code":"body-too-large"' in answer
    assert ask(port, face) == 200


def test_a_client_that_asks_before_it_sends(port: int, face: bytes) -> None:
    with connected(port) as connection:
        connection.sendall(head(20_000_000, "Expect: 100-continue"))
        assert received(connection).startswith(b"HTTP/1.1 413 ")
    with connected(port) as connection:
        connection.sendall(head(len(face), "Expect: 100-continue", "Connection: close"))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(face)
        assert received(connection).startswith(b"HTTP/1.1 200 ")


def test_a_connection_serves_many_requests_and_those_sent_at_once(port: int, face: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for _ in range(3):
        connection.request("POST", "/v1/predict", face, {"Content-Type": "image/png"})
        answer = connection.getresponse()
        assert (answer.status, answer.will_close) == (200, False)
        answer.read()
    connection.close()
    with connected(port) as raw:
        raw.sendall((head(len(face)) + face) * 2 + head(len(face), "Connection: close") + face)
        assert received(raw).count(b"HTTP/1.1 200 ") == 3


def test_a_body_with_two_lengths_is_the_last_of_its_connection(port: int, face: bytes) -> None:
    second = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
            b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second
        )
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 422 ") and answer.count(b"HTTP/1.1 ") == 1


def test_bodies_in_chunks(port: int, face: bytes) -> None:
    lines = "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    lines += "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    chunks = b"".join(
        b"%x\r\n%b\r\n" % (len(face[i : i + 1000]), face[i : i + 1000])
        for i in range(0, len(face), 1000)
    )
    with connected(port) as connection:
        connection.sendall(lines.encode() + chunks + b"0\r\n\r\n")
        assert received(connection).startswith(b"HTTP/1.1 200 ")
    both = lines.replace("\r\nConn", "\r\nContent-Length: 5\r\nConn")  # requests in requests
    with connected(port) as connection:
        connection.sendall(both.encode() + b"0\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n")
        assert received(connection).count(b"HTTP/1.1 ") == 1


def test_a_body_in_a_great_many_small_chunks_is_given_up(port: int, face: bytes) -> None:
    lines = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    lines += b"Transfer-Encoding: chunked\r\n\r\n"
    for path in (b"/v1/predict", b"/nothing"):  # which is answered before its body has come
        with connected(port) as connection, contextlib.suppress(ConnectionError):
            connection.sendall(lines.replace(b"/v1/predict", path))
            for _ in range(3000):  # more than sockets hold
                connection.sendall(b"1\r\na\r\n" * 1000)
            pytest.fail("all of the body was taken")
    assert ask(port, face) == 200


def test_pieces_of_a_body() -> None:
    client, server = h11.Connection(h11.CLIENT), Pieces(h11.SERVER)
    headers = [("Host", "a"), ("Transfer-Encoding", "chunked")]

    def taken(length: int) -> int:
        """Return how many of 10,000 pieces of that length are taken."""
        server.receive_data(client.send(h11.Request(method="POST", target="/", headers=headers)))
        assert isinstance(server.next_event(), h11.Request)
        for number in range(10_000):
            server.receive_data(client.send(h11.Data(data=b"a" * length)))
            try:
                assert isinstance(server.next_event(), h11.Data)
            except h11.RemoteProtocolError as error:
                assert str(error) == "the body comes in too many small pieces"
                return number
        return 10_000

    assert taken(64) == 10_000
    client, server = h11.Connection(h11.CLIENT), Pieces(h11.SERVER)
    assert 4096 < taken(1) < 4200


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\0\x01\0", b"GET\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"\0" * 70_000]
)
def test_what_is_no_http(port: int, face: bytes, sent: bytes) -> None:
    with connected(port) as connection:
        connection.sendall(sent)
        assert received(connection)[:13] in (b"", b"HTTP/1.1 400 ")
    assert ask(port, face) == 200


def test_many_connections_where_few_files_may_be_open() -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        allow_open(100)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (356, hard)
        allow_open(50)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (356, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- processes -----------------------------------------------------------------------------------


@contextlib.contextmanager
def process(
    fixtures: Path, *arguments: str, temporary: Path | None = None
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run `ferjax serve` with a tiny network, and yield it and its port."""
    weights = str(fixtures / "keras-2.15.0" / "sequential.h5")
    command = [sys.executable, "-m", "ferjax", "serve", "--port", "0", "--weights", weights]
    running = subprocess.Popen(
        [*command, "--labels", "sorted", "--no-page", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env=os.environ if temporary is None else {**os.environ, "TMPDIR": str(temporary)},
    )  # fmt: skip
    try:
        assert running.stdout is not None
        line = running.stdout.readline()
        port = int(line.rsplit(":", 1)[1])
        assert status(port) == 200  # the address is printed once the service is ready
        yield running, port
    finally:
        if running.poll() is None:
            running.kill()
        running.communicate()


def status(port: int, path: str = "/readyz") -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def children(pid: int) -> list[int]:
    """Return the processes that answer."""
    psutil = pytest.importorskip("psutil")
    pids = []
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.Error):  # it may just have ended
            if "spawn_main" in " ".join(child.cmdline()):
                pids.append(child.pid)
    return pids


def load(port: int, body: bytes, stop: threading.Event, lost: list[str], done: list[int]) -> None:
    """Ask again and again, over connections that are kept, until nobody listens any more."""
    connection: http.client.HTTPConnection | None = None
    while not stop.is_set():
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                connection.connect()
            except OSError:
                return  # what was not accepted is not lost
        try:
            connection.request("POST", "/v1/faces", body, {"Content-Type": "image/jpeg"})
            answer = connection.getresponse()
            answer.read()
            done.append(answer.status)
            if answer.will_close:
                connection.close()
                connection = None
        except (OSError, http.client.HTTPException) as error:
            lost.append(repr(error))
            return


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_no_accepted_request_is_lost_at_the_end(
    fixtures: Path, photograph: bytes, workers: int
) -> None:
    stop = threading.Event()
    lost: list[str] = []
    done: list[int] = []
    with process(fixtures, "--workers", str(workers)) as (running, port):
        arguments = (port, photograph, stop, lost, done)
        threads = [threading.Thread(target=load, args=arguments) for _ in range(16)]
        for thread in threads:
            thread.start()
        until(lambda: len(done) > 20)
        running.send_signal(signal.SIGTERM)
        before = len(done)
        assert running.wait(60) == 0
        for thread in threads:
            thread.join(30)
        stop.set()
    assert not lost
    assert set(done) == {200} and len(done) > before


@pytest.mark.slow
def test_processes_are_replaced_and_numbers_are_of_all(fixtures: Path, face: bytes) -> None:
    with process(fixtures, "--workers", "2") as (running, port):
        until(lambda: len(children(running.pid)) == 2)

        def ready() -> float:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                (number,) = re.findall(rb"^ferjax_ready_processes (\S+)", answer.read(), re.M)
                return float(number)

        until(lambda: ready() == 2)
        for _ in range(10):
            assert ask(port, face) == 200
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            text = answer.read().decode()
        assert re.search(
            r'^ferjax_images_total{outcome="done",path="/v1/predict"} 10.0$', text, re.M
        )
        first, second = children(running.pid)
        os.kill(first, signal.SIGKILL)
        until(lambda: first not in children(running.pid))
        assert ask(port, face) == 200
        until(lambda: len(children(running.pid)) == 2)
        until(lambda: ready() == 2)
        assert second in children(running.pid)
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 0
        assert running.stderr is not None
        said = running.stderr.read()
        assert re.search(rf"^ferjax: WARNING: process {first} ended with -9; another", said, re.M)


@pytest.mark.slow
def test_a_process_that_is_told_to_end_by_itself_stops_no_other(fixtures: Path) -> None:
    with process(fixtures, "--workers", "2") as (running, port):
        until(lambda: len(children(running.pid)) == 2)
        first, _ = children(running.pid)
        os.kill(first, signal.SIGTERM)
        until(lambda: first not in children(running.pid))
        for _ in range(10):
            assert status(port, "/healthz") == 200
        until(lambda: len(children(running.pid)) == 2)
        assert status(port, "/healthz") == 200


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_interrupt_ends_at_once(fixtures: Path, workers: int) -> None:
    with process(fixtures, "--workers", str(workers)) as (running, port):
        with connected(port) as held:
            held.sendall(head(100))
            assert status(port) == 200
            running.send_signal(signal.SIGINT)
            time.sleep(2)
            assert running.poll() is None  # it waits for the body
            running.send_signal(signal.SIGINT)
            assert running.wait(8) == 0
        assert running.stderr is not None
        assert "Traceback" not in running.stderr.read()


@pytest.mark.slow
def test_what_is_left_after_the_time_to_end_is_given_up(fixtures: Path) -> None:
    with process(fixtures, "--grace", "0.5") as (running, port):
        with connected(port) as held:
            held.sendall(head(100))
            assert status(port) == 200
            running.send_signal(signal.SIGTERM)
            answer = received(held)
            assert answer.startswith(b"HTTP/1.1 503 ") and b'"code":"ending"' in answer
        assert running.wait(20) == 0
        assert running.stderr is not None
        assert "Traceback" not in running.stderr.read()


@pytest.mark.slow
def test_processes_end_with_the_one_that_watches(fixtures: Path, tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    with process(fixtures, "--workers", "2", temporary=tmp_path) as (running, _):
        until(lambda: len(children(running.pid)) == 2)
        answering = children(running.pid)
        assert len(list(tmp_path.glob("ferjax-serve-*"))) == 1
        running.kill()
        until(lambda: not any(map(psutil.pid_exists, answering)))
    assert not list(tmp_path.glob("ferjax-serve-*"))  # the last of the processes removes it


@pytest.mark.slow
def test_what_is_wrong_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "m.h5").write_bytes(b"no weights")
    for workers in ("1", "3"):
        done = subprocess.run(
            [sys.executable, "-m", "ferjax", "serve", "--port", "0", "--workers", workers,
             "--weights", str(tmp_path / "m.h5")],
            capture_output=True, text=True, cwd=ROOT,
        )  # fmt: skip
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith("ferjax: error: ") and "m.h5" in line


@pytest.mark.slow
def test_nothing_of_requests_is_logged(fixtures: Path, face: bytes) -> None:
    chunk = b"\0\0\0\2seCrzz" + bytes(4)  # libpng says of it that its checksum is wrong
    noted = face[:33] + chunk + face[33:]
    with process(fixtures) as (running, port):
        bad = [b"--x\r\nsecret\xb6: secret\r\n", face[:2000], b"secret", face, noted]
        for body in bad:
            for type_ in ("multipart/form-data; boundary=x", "application/json", "image/png"):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                connection.request("POST", "/v1/faces?order=size", body, {"Content-Type": type_})
                assert connection.getresponse().status in (200, 400, 415, 422)
                connection.close()
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
        assert running.stderr is not None
        said = running.stderr.read()
        assert re.fullmatch(r"ferjax: INFO: ready after \S+ s\n", said)


@pytest.mark.slow
def test_a_service_with_tokens(fixtures: Path, tmp_path: Path, face: bytes) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("a" * 32)
    tokens.chmod(0o600)
    with process(fixtures, "--token-file", str(tokens), "--host", "0.0.0.0") as (_, port):
        assert ask(port, face) == 401
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        headers = {"Content-Type": "image/png", "Authorization": f"Bearer {'a' * 32}"}
        connection.request("POST", "/v1/predict", face, headers)
        assert json.loads(connection.getresponse().read())["results"][0]["error"] is None
        connection.close()
