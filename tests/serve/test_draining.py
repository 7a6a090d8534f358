from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from ferjax.serve import draining
from ferjax.serve.addresses import listen

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's packet filter")


@pytest.fixture(params=["127.0.0.1", "::1"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    if ":" in request.param and not socket.has_ipv6:
        pytest.skip("needs IPv6")
    with listen(request.param, 0) as listening:
        yield listening


def connect(listener: socket.socket, seconds: float = 5) -> socket.socket | None:
    client = socket.socket(listener.family)
    client.settimeout(seconds)
    try:
        client.connect(listener.getsockname())
    except OSError:
        client.close()
        return None
    return client


@linux
def test_no_connection_begins_any_more(listener: socket.socket) -> None:
    draining.accept_no_more(listener)
    assert connect(listener, 0.1) is None
    assert draining.take_all(listener) == []


def test_what_was_accepted_is_taken_and_answers(listener: socket.socket) -> None:
    clients = [connect(listener) for _ in range(5)]
    draining.accept_no_more(listener)
    taken = draining.take_all(listener)
    listener.close()
    assert len(taken) == 5
    for client in clients:
        assert client is not None
        client.sendall(b"asked")
    for connection in taken:
        connection.settimeout(5)
        assert connection.recv(5) == b"asked"
        connection.sendall(b"answered")
        connection.close()
    for client in clients:
        assert client is not None and client.recv(8) == b"answered"
        client.close()


@linux
def test_what_has_begun_is_made(listener: socket.socket) -> None:
    """Whoever was told of a connection while it ended is among those that are taken."""
    clients: list[socket.socket] = []

    def ask() -> None:
        while (client := connect(listener, 0.1)) is not None:
            clients.append(client)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    while len(clients) < 50:
        pass
    draining.accept_no_more(listener)
    for thread in threads:
        thread.join()
    taken = draining.take_all(listener)
    listener.close()
    assert len(taken) == len(clients)
    for connection in [*taken, *clients]:
        connection.close()


def test_a_system_without_a_packet_filter(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    client = connect(listener)
    draining.accept_no_more(listener)
    (taken,) = draining.take_all(listener)
    with taken, contextlib.closing(client) as asking:
        assert asking is not None and asking.getsockname() == taken.getpeername()
