from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
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
        time.sleep(0.001)
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


@linux
def test_it_begins_again(listener: socket.socket) -> None:
    draining.accept_no_more(listener)
    draining.accept_again(listener, 8)
    client = connect(listener)
    (taken,) = draining.take_all(listener)
    with taken, contextlib.closing(client) as asking:
        assert asking is not None and asking.getsockname() == taken.getpeername()
    draining.accept_again(listener, 8)  # where nothing is to be undone


class Told(socket.socket):
    """A socket that notes how it is told to listen."""

    backlogs: tuple[int, ...] = ()

    def listen(self, backlog: int = 0, /) -> None:
        self.backlogs += (backlog,)
        super().listen(backlog)


class Pretending(Told):
    """A socket of a system that takes every option and does nothing."""

    def setsockopt(self, *_: object) -> None: ...  # type: ignore[override]


class Lacking(Told):
    """A socket of a system without packet filters."""

    def setsockopt(self, *_: object) -> None:  # type: ignore[override]
        raise OSError


@linux
@pytest.mark.parametrize(("kind", "backlogs"), [(Told, ()), (Pretending, (0,)), (Lacking, (0,))])
def test_the_queue_is_short_where_nothing_else_is_had(
    kind: type[Told], backlogs: tuple[int, ...]
) -> None:
    with listen("127.0.0.1", 0) as listening, kind(fileno=listening.detach()) as listener:
        draining.accept_no_more(listener)
        assert listener.backlogs == backlogs


class Left(socket.socket):
    """A socket whose first client has left before it is taken."""

    has_left = False

    def accept(self) -> tuple[socket.socket, object]:
        if not self.has_left:
            self.has_left = True
            raise ConnectionAbortedError
        return super().accept()


def test_a_client_that_has_left_hides_no_other() -> None:
    with listen("127.0.0.1", 0) as listening, Left(fileno=listening.detach()) as listener:
        client = connect(listener)
        (taken,) = draining.take_all(listener)
        with taken, contextlib.closing(client) as asking:
            assert asking is not None and asking.getsockname() == taken.getpeername()
