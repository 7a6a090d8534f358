"""What stands in front of every request: who may ask, and from where; headers, counts, ends.

Checked, in this order, before anything of the body is read: that the service is addressed by a name
of its own, that no page of another origin asks, and that the request bears a token.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders

from ferjax.errors import printable
from ferjax.serve.refusals import Refusal

logger = logging.getLogger("ferjax.serve")

_PACKAGE: Final = Path(__file__).parents[1]
_LEFT: Final = 499  # counted where the client left before it was answered
_DISCARDED: Final = 64 * 2**20  # bytes that are still taken of a body that is refused
_LINGER: Final = 3.0  # seconds in which they are, and in which none comes
_QUIET: Final = 0.5
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_ANSWERS_ALONE: Final = {  # what a page brings itself
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}

Message = MutableMapping[str, Any]


class Gate:
    """An ASGI application in front of another.

    Args:
        app: what answers.
        names: by which the service may be addressed; "*" among them: any.
        origins: of pages that may ask.
        client: from what `Authorization` says to who asks, or None where that is not known; None:
            no token is asked for.
        needs_token: whether a path is for those who bear a token alone.
        is_ending: whether the service is about to end, so that connections are closed.
        answered: told of each request its path, status and seconds.
        log: whether a line is logged for each.
    """

    def __init__(
        self,
        app: Any,
        *,
        names: frozenset[str],
        origins: tuple[str, ...],
        client: Callable[[str | None], str | None] | None,
        needs_token: Callable[[str], bool],
        is_ending: Callable[[], bool],
        answered: Callable[[str, int, float], None],
        log: bool,
    ) -> None:
        self._app = app
        self._names = names
        self._origins = origins
        self._client = client
        self._needs_token = needs_token
        self._is_ending = is_ending
        self._answered = answered
        self._log = log

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        """Answer a request; other kinds of connections are the application's own matter."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self._is_ending)
        start = time.monotonic()
        try:
            self._check(scope, exchange.headers)
            await self._app(scope, exchange.receive, exchange.send)
        except Refusal as refusal:
            await refusal.response()(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:  # the time to end is over
            if exchange.status or not self._is_ending():
                raise
            ending = Refusal("ending", "the service ended before this was answered")
            exchange.leave_the_rest()
            await ending.response()(scope, exchange.receive, exchange.send)
        except Exception as error:  # whatever it says may hold something of a picture
            _log_failure(error)
            if not exchange.is_done:
                raise ConnectionError("the answer broke off") from None
        finally:
            seconds = time.monotonic() - start
            status = exchange.status or _LEFT
            self._answered(scope["path"], status, seconds)
            if self._log:
                path = printable(scope["path"], 100)
                logger.info("%s %s %d %.0f ms", scope["method"], path, status, 1e3 * seconds)

    def _check(self, scope: Message, headers: Headers) -> None:
        scope.setdefault("state", {})
        host = _host(headers)
        if "*" not in self._names and host not in self._names:
            raise Refusal(
                "host-not-allowed",
                "expected the service's own name for Host; --allowed-host adds another",
            )
        origin = headers.get("origin")
        if origin is not None and origin not in self._origins and not _is_own(origin, headers):
            raise Refusal(
                "origin-not-allowed",
                "a page of another origin asks; --cors-origin allows one to",
            )
        if self._client is None:
            client = (scope.get("client") or ("unknown",))[0]
        else:
            client = self._client(headers.get("authorization"))
            preflight = scope["method"] == "OPTIONS" and origin in self._origins
            if client is None and self._needs_token(scope["path"]) and not preflight:
                raise Refusal("no-token", "expected `Authorization: Bearer TOKEN` of a known token")
        scope["state"]["client"] = client


def _host(headers: Mapping[str, str]) -> str:
    """Return the name by which the service is addressed, lower case, without its port.

    >>> _host({"host": "LocalHost:8000"}), _host({"host": "[::1]:8000"}), _host({})
    ('localhost', '::1', '')
    """
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _is_own(origin: str, headers: Mapping[str, str]) -> bool:
    """Whether a page's origin is the service itself."""
    try:
        name = urlsplit(origin).netloc
    except ValueError:  # such as http://[
        return False
    return name.lower() == headers.get("host", "").lower() != ""


def _log_failure(error: BaseException) -> None:
    """Log of what kind an error is and where it was raised, without its words.

    A line for each call, the last one first: those of ferjax's own code, and the one that raised
    it; those of libraries in between are left out.
    """
    calls = traceback.extract_tb(error.__traceback__)[::-1]
    lines = [
        f"  {_place(call.filename)}:{call.lineno} in {call.name}"
        for number, call in enumerate(calls)
        if number == 0 or Path(call.filename).is_relative_to(_PACKAGE)
    ]
    logger.error("%s", "\n".join([f"failed: {type(error).__name__}, raised at", *lines]))


def _place(path: str) -> str:
    """Return a file's path without what is above the folder of its package.

    >>> _place(str(_PACKAGE / "serve" / "gate.py")), _place("/lib/site-packages/cv2/utils/a.py")
    ('ferjax/serve/gate.py', 'utils/a.py')
    """
    file = Path(path)
    if file.is_relative_to(_PACKAGE):
        return file.relative_to(_PACKAGE.parent).as_posix()
    return "/".join(file.parts[-2:])


class _Exchange:
    """A request and its answer on their way through the gate."""

    def __init__(
        self, scope: Message, receive: Any, send: Any, is_ending: Callable[[], bool]
    ) -> None:
        self.headers = Headers(scope=scope)
        self.status = 0
        self.is_done = False
        self._receive = receive
        self._send = send
        self._is_ending = is_ending
        stated = self.headers.get("content-length", "0")
        self._more = stated != "0" or "transfer-encoding" in self.headers
        # With both, a proxy may take another end of the body, and have what follows for a request.
        self._is_ambiguous = {"content-length", "transfer-encoding"} <= set(self.headers)
        self._expects = "expect" in self.headers  # the client waits before it sends a body
        self._left = False

    async def receive(self) -> Message:
        """Return the next part of the body."""
        self._expects = False
        message: Message = await self._receive()
        if message["type"] == "http.disconnect":
            self._left = True
        self._more = self._more and message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(raw=message["headers"])
            has_policy = "content-security-policy" in headers
            for name, value in (_HEADERS if has_policy else _HEADERS | _ANSWERS_ALONE).items():
                headers.setdefault(name, value)
            if self._more or self._is_ambiguous or self._is_ending():
                headers["Connection"] = "close"
        elif not message.get("more_body", False) and self._more and not self._expects:
            # The answer is out, and the client may read it, before the connection is closed: closed
            # at once, with bytes of the body unread, it would take the answer with it.
            await self._send({**message, "more_body": True})
            await self._discard()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.is_done = True

    def leave_the_rest(self) -> None:
        """Take no more of the body, whatever is still to come of it."""
        self._more = False

    async def _discard(self) -> None:
        """Take what comes of the body, for a while."""
        size = 0
        try:
            async with asyncio.timeout(_LINGER):
                while self._more and not self._left and size < _DISCARDED:
                    message = await asyncio.wait_for(self.receive(), _QUIET)
                    size += len(message.get("body", b""))
        except TimeoutError:
            pass
