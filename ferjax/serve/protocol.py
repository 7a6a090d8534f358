"""Connections: how many, and what a request's head, its body and its answer may take."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from ferjax.serve.refusals import Refusal
from ferjax.serve.settings import Limits

_UNREAD: Final = 30_000  # milliseconds in which a client has to take some of what it is sent
_HEAD: Final = 2**14  # bytes of the head of a request
_OTHER_FILES: Final = 256  # that are open beside connections
# Of a body: how many pieces may be of any length, and the bytes that further ones have on average:
# each takes its time, however short it is.
_PIECES: Final = 4096
_PIECE: Final = 64


def allow_open(connections: int) -> None:
    """Let the process have so many connections open, as far as the system's hard limit goes.

    The soft one is often 1024 files, at which pages and tokens could not be read any more before
    anybody is told that there are too many connections.
    """
    try:
        import resource
    except ImportError:  # on Windows, which has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def protocol(limits: Limits) -> type[H11Protocol]:
    """Return uvicorn's protocol under limits.

    It limits the idle time of a connection that has had an answer, but neither that of one which
    never asked nor the time in which the head of a request trickles in (slowloris). Bodies and
    answers are limited where they are read and made.
    """

    class Connection(H11Protocol):
        head_timer: asyncio.TimerHandle | None = None
        is_refused = False

        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            self.conn = Pieces(h11.SERVER, _HEAD)

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            if len(self.connections) >= limits.connections:
                transport.write(_full())
                transport.close()
                self.is_refused = True
                return
            super().connection_made(transport)
            at: Any = transport.get_extra_info("socket")
            if at is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
                at.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD)
            self._watch_head()

        def data_received(self, data: bytes) -> None:
            if self.is_refused:
                return
            super().data_received(data)
            self._watch_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_watching()
            if not self.is_refused:
                super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            try:
                super().send_400_response(msg)
            except h11.LocalProtocolError:  # another answer is on its way, or is out
                self.transport.close()

        def _watch_head(self) -> None:
            """Give the head of the next request a time in which to come, once it is waited for."""
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop_watching()
            elif (
                self.head_timer is None
                and self.timeout_keep_alive_task is None
                and not self.transport.is_closing()
            ):
                self.head_timer = self.loop.call_later(limits.head_timeout, self._head_is_late)

        def _stop_watching(self) -> None:
            if self.head_timer is not None:
                self.head_timer.cancel()
                self.head_timer = None

        def _head_is_late(self) -> None:
            self.head_timer = None
            if not self.transport.is_closing():
                if self.conn.our_state is h11.IDLE:
                    self.conn.send(h11.ConnectionClosed())
                self.transport.close()

    return Connection


class Pieces(h11.Connection):
    """A connection that takes no body in a great many small pieces."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._pieces = self._bytes = 0  # of the body

    def next_event(self) -> Any:
        """Return what the client sent next, as h11 does.

        Raises:
            h11.RemoteProtocolError: it is no HTTP, or the body comes in too many pieces.
        """
        event = super().next_event()
        if isinstance(event, h11.Data):
            self._pieces += 1
            self._bytes += len(event.data)
            if self._pieces > _PIECES + self._bytes // _PIECE:
                raise h11.RemoteProtocolError("the body comes in too many small pieces")
        elif isinstance(event, h11.Request):
            self._pieces = self._bytes = 0
        return event


def _full() -> bytes:
    """Return the answer where too many connections are open."""
    refusal = Refusal("busy", "too many connections are open; try again later")
    response = refusal.response()
    head = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
    return f"HTTP/1.1 503 Service Unavailable\r\n{head}connection: close\r\n\r\n".encode() + bytes(
        response.body
    )
