"""Where a service may listen: at loopback by itself, elsewhere with a token."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Final

from ferjax.errors import FerjaxError

BACKLOG: Final = 1024  # connections that wait to be taken


def is_loopback(host: str) -> bool:
    """Whether an address, or every address of a name, is this machine's own.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0"), is_loopback("")
    (True, True, False, False)
    """
    return bool(host) and all(ipaddress.ip_address(at).is_loopback for at in _numbers(host))


def check_public(
    host: str, *, has_token: bool, is_public: bool = False, without_token: bool = False
) -> None:
    """Raise a FerjaxError where anyone on the network could ask, and that was not said twice.

    Args:
        host: the address to listen at.
        has_token: whether requests need a token.
        is_public: said once, that other machines may ask.
        without_token: said once more, that they need none.
    """
    if is_loopback(host) or has_token or (is_public and without_token):
        return
    raise FerjaxError(
        f"expected --token-file for an address that other machines reach, got --host {host} "
        "without it; --public and --without-token together let anyone ask"
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0: any that is free.

    Raises:
        FerjaxError: it cannot listen there.
    """
    address = min(_numbers(host), key=lambda number: ":" in number)  # as most clients expect
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        reason = error.strerror or type(error).__name__
        raise FerjaxError(
            f"cannot listen at {host}, port {port}: {reason}; --port N takes another, 0 any free "
            "one"
        ) from None
    listener.setblocking(False)
    return listener


def url(listener: socket.socket) -> str:
    """Return where a browser finds a service."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def own_names(host: str, others: Iterable[str]) -> frozenset[str]:
    """Return the names by which a service may be addressed, lower case; with "*" any.

    At loopback a page of the web could else have its own name lead here, and read what is answered
    (DNS rebinding). Elsewhere a token is needed, which such a page does not have. Loopback's names,
    by which this machine itself looks after the service, are allowed in any case.
    """
    names = {name.lower() for name in others}
    if not names and not is_loopback(host):
        return frozenset({"*"})
    return frozenset(names | {host.lower().strip("[]"), "localhost", "127.0.0.1", "::1"})


def _numbers(host: str) -> list[str]:
    """Return the addresses of a host, as numbers."""
    try:
        entries = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise FerjaxError(f"expected an address of this machine for --host, got {host!r}") from None
    return [str(entry[4][0]).partition("%")[0] for entry in entries]
