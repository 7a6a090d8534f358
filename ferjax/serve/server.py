"""One process of the service: it answers until it is told to end, and then loses no request.

On SIGTERM or SIGINT, in this order: it is ready no more; every answer closes its connection; what
the system has accepted is taken, and nothing more is; connections that wait have a moment in which
to bring the request that is on its way; what is asked is answered.
"""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import socket
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import uvicorn

import ferjax
from ferjax import released
from ferjax.serve import draining
from ferjax.serve.app import create_app
from ferjax.serve.page import Page
from ferjax.serve.protocol import allow_open, protocol
from ferjax.serve.service import Service
from ferjax.serve.settings import Settings

_SETTLE: Final = 0.3  # seconds in which connections that have begun are made: a way there and back
_TICK: Final = 0.02  # seconds between looks at the connections that are left
_HANDLED: Final = (signal.SIGINT, signal.SIGTERM)


def open_service(settings: Settings, folder: Path | None) -> Service:
    """Return a service with its weights loaded, not yet warmed up.

    Args:
        settings: what is asked for.
        folder: where the page is, or is to be written; None: there is none.

    Raises:
        FerjaxError: the weights cannot be used.
    """
    weights = dict(settings.weights)
    if weights.get("engine") != "jax":
        weights.setdefault("threads", 1)  # a batch for each thread of the service: one a core
    path = released.path_of(weights.pop("path", None))
    classifier = ferjax.load(path, **weights)
    page = None if folder is None else Page(folder)
    return Service(classifier, settings, weights=path, page=page)


def answer(
    service: Service, listener: socket.socket, ready: Callable[[], object] = lambda: None
) -> None:
    """Answer what comes to a socket until the process is told to end.

    Args:
        service: what answers.
        listener: the socket.
        ready: called once the service is ready.

    Raises:
        FerjaxError: the tokens cannot be read, or the networks or the page cannot be made.
    """
    limits = service.settings.limits
    allow_open(limits.connections)
    config = uvicorn.Config(
        create_app(service),
        http=protocol(limits),
        loop="auto",  # uvloop where it is, which takes a fifth less of the time for a request
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=int(limits.idle_timeout),
        timeout_graceful_shutdown=math.ceil(service.settings.grace),
    )
    _Server(config, service, ready).run(sockets=[listener])
    if service.failure is not None:
        raise service.failure


class _Server(uvicorn.Server):
    should_exit: bool

    def __init__(
        self, config: uvicorn.Config, service: Service, ready: Callable[[], object]
    ) -> None:
        super().__init__(config)
        self._service = service
        self._ready = ready
        self._was_ready = False

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """End on signals in order, with the exit code 0."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in _HANDLED}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; a second interrupt ends at once."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Say once that the service is ready; return whether to end."""
        service = self._service
        if service.is_ready and not self._was_ready:
            self._was_ready = True
            self._ready()
        return await super().on_tick(counter) or service.is_ending or service.failure is not None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was accepted, and end."""
        self._service.is_ending = True
        await self._take_accepted(sockets or [])
        await self._drain()
        ending = asyncio.create_task(super().shutdown(sockets))
        while not ending.done() and not self.force_exit:
            await asyncio.wait([ending], timeout=_TICK)
        if self.force_exit:  # what is given up, the application among it, would log tracebacks
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        if ending.done():
            await ending
        else:  # it would wait for connections from Python 3.12 on
            ending.cancel()

    async def _take_accepted(self, listeners: Sequence[socket.socket]) -> None:
        """Take the connections that the system has accepted, and have it accept no more.

        Closing a socket resets those that nobody has taken.
        """
        loop = asyncio.get_running_loop()
        for listener in listeners:
            draining.accept_no_more(listener)
        await asyncio.sleep(_SETTLE)
        accepted = [
            connection for listener in listeners for connection in draining.take_all(listener)
        ]
        for server in self.servers:
            server.close()
        for connection in accepted:
            connection.setblocking(False)
            await loop.connect_accepted_socket(self._connection, connection)

    def _connection(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        connection: asyncio.Protocol = make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return connection

    async def _drain(self) -> None:
        """Wait until each connection has had its last answer, or a moment has passed.

        It is counted in looks, each of which reads what has come: where this process did not run
        for a while, what was sent meanwhile is read all the same.
        """
        for _ in range(math.ceil(self._service.settings.drain / _TICK)):
            await asyncio.sleep(_TICK)
            if not self.server_state.connections or self.force_exit:
                return
