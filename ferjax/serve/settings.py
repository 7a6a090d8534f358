"""What a service is asked for: where it listens, its weights, who may ask, its limits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from ferjax.errors import FerjaxError

MIB: Final = 2**20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request, and all of them together, may take."""

    max_body: int = 32 * MIB  # bytes of a request's body
    max_images: int = 16  # pictures of a request
    max_pixels: int = 50_000_000  # of a picture, by its header; 150 MB where it is decoded
    max_faces: int = 100  # of a photograph
    max_held: int | None = None  # bytes of all bodies that are read or wait; None: see `held`
    queue: int = 256  # pictures that wait or are looked at, of all clients
    per_client: int = 128  # pictures of one client: of a token, or of an address without one
    connections: int = 1024  # open at once
    timeout: float = 30.0  # seconds from a request's first line to its answer
    head_timeout: float = 10.0  # seconds in which a request's headers have to come
    idle_timeout: float = 15.0  # seconds that a connection may be without a request

    def __post_init__(self) -> None:
        """Raise a FerjaxError unless all are positive."""
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and not value > 0:
                raise FerjaxError(f"expected a positive number for `{item.name}`, got {value!r}")

    @property
    def held(self) -> int:
        """Bytes of all bodies that are read or wait: by default 256 MiB, or eight of the largest.

        >>> Limits().held // MIB, Limits(max_body=64 * MIB).held // MIB
        (256, 512)
        """
        return self.max_held or max(256 * MIB, 8 * self.max_body)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a service is asked for.

    Attributes:
        host: the address to listen at.
        port: the port; 0: any that is free.
        weights: the arguments of `ferjax.load`.
        workers: how many processes answer.
        threads: how many threads of each decode, find faces and classify; None: one for each core
            that falls to the process.
        batch: faces that go through the network at once.
        wait: seconds that a face may wait for others.
        token_file: the file of the tokens, of which each request has to bear one; None: none.
        allowed_hosts: further names by which the service may be addressed; "*": any.
        cors_origins: the origins whose pages may ask, such as "https://example.org".
        page: whether "/" is the page; None: where no token is asked for.
        runtime: where ONNX Runtime Web is, for the page, as for `ferjax.web.find_runtime`.
        log_requests: whether a line is logged for each request: method, path, code, time.
        drain: seconds in which idle connections may still bring a request once it is to end.
        grace: seconds in which the requests that are accepted have to be done then.
        limits: see Limits.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    weights: Mapping[str, Any] = field(default_factory=dict)
    workers: int = 1
    threads: int | None = None
    batch: int = 8
    wait: float = 0.003
    token_file: str | os.PathLike[str] | None = None
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    page: bool | None = None
    runtime: str | os.PathLike[str] | None = None
    log_requests: bool = False
    drain: float = 1.0
    grace: float = 30.0
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        """Raise a FerjaxError for what is out of range."""
        whole = {"workers": self.workers, "batch": self.batch, "threads": self.threads}
        for name, value in whole.items():
            if value is not None and value < 1:
                raise FerjaxError(f"expected `{name}` of at least 1, got {value}")
        if not 0 <= self.port <= 65535:
            raise FerjaxError(f"expected a port from 0 to 65535, got {self.port}")
        for origin in self.cors_origins:
            check_origin(origin)

    @property
    def has_page(self) -> bool:
        """Whether "/" is the page."""
        return self.token_file is None if self.page is None else self.page


def check_origin(origin: str) -> None:
    """Raise a FerjaxError unless a text is what browsers call an origin: a scheme and a host."""
    from urllib.parse import urlsplit

    parts = urlsplit(origin)
    if parts.scheme not in ("http", "https") or f"{parts.scheme}://{parts.netloc}" != origin:
        raise FerjaxError(
            f"expected an origin such as https://example.org for --cors-origin, got {origin!r}"
        )
