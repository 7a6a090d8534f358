"""Serve a site on this machine alone, with all headers."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from ferjax.errors import FerjaxError
from ferjax.web import headers

HOST: Final = "127.0.0.1"
NAMES: Final = (HOST, "localhost")  # by which a browser may ask for it
PORT: Final = 8765
_TRIED: Final = 20  # ports from the usual one on


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Two servers on one port would answer in turns.
    allow_reuse_port = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that left in the middle of an answer."""


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def parse_request(self) -> bool:
        """Read a request, and refuse one by another name than this machine's own: a page of the web
        could else have its name lead here, and read the weights (DNS rebinding)."""
        if not super().parse_request():
            return False
        name, _, _ = self.headers.get("Host", "").partition(":")
        if name.lower() in NAMES:
            return True
        self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        return False

    def end_headers(self) -> None:
        for name, value in headers.HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def guess_type(self, path: Any) -> str:
        return headers.content_type(str(path))

    def list_directory(self, path: Any) -> None:
        """Show no folder, which is none of the site's files."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep no log."""


def open_server(folder: Path, port: int | None = None) -> ThreadingHTTPServer:
    """Return a server of a folder's files on the loopback interface, which answers from
    `serve_forever` on.

    Args:
        folder: the site.
        port: 0 for any that is free; None: `PORT`, or the next that is free.

    Raises:
        FerjaxError: the port is taken or cannot be had.
    """
    handler = partial(_Handler, directory=str(folder))
    for tried in range(PORT, PORT + _TRIED) if port is None else (port,):
        try:
            return _Server((HOST, tried), handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
    wanted = f"ports {PORT} to {PORT + _TRIED - 1}" if port is None else f"port {port}"
    raise FerjaxError(f"{wanted} of {HOST} cannot be had ({reason}); --port 0 takes any free one")


def serve(server: ThreadingHTTPServer, ready: Callable[[str], None]) -> None:
    """Answer until the process is interrupted or told to end.

    Args:
        server: of `open_server`.
        ready: is called with the page's address once it answers.
    """
    with _ended_by_signals():
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            ready(f"http://{HOST}:{server.server_address[1]}/")
            thread.join()
        except KeyboardInterrupt:
            pass
        finally:
            server.shutdown()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Make SIGTERM the same as an interrupt."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
