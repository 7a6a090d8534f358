"""A request's pictures and options from its body, read within limits, in memory alone.

A body is a form, `multipart/form-data`, with a part for each picture; JSON,
`{"images": ["BASE64", {"name": "a.jpg", "data": "BASE64"}], "largest": true}`; or a picture itself,
`image/...`, with options in the address. Options in the address go with all of them.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from fastapi import Request

from ferjax.errors import printable
from ferjax.serve.multipart import Form, Upload, too_many_images
from ferjax.serve.refusals import Refusal
from ferjax.serve.settings import MIB, Limits

# Bytes of JSON that are decoded where requests are taken; more in a thread.
_IN_LOOP: Final = 65_536
# Signs that begin another value of JSON; 32 MiB of [],[],[] would take gigabytes.
_SIGNS: Final = (b",", b"[", b"{")
_MOST_SIGNS: Final = 10_000
_SPACES: Final = b" \t\r\n\f\v"
_TYPES: Final = "multipart/form-data, application/json or image/..."


@dataclass
class Asked:
    """What a request asks: its pictures, and its options as they were sent."""

    images: list[Upload]
    options: dict[str, Any]


class Memory:
    """The bytes of all bodies in memory, of which there is an upper limit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.held = 0

    @contextmanager
    def taken(self) -> Iterator[Body]:
        """Count what a request's body takes, until its answer is made."""
        body = Body(self)
        try:
            yield body
        finally:
            self.held -= body.size

    def take(self, size: int) -> None:
        """Count bytes, or raise a Refusal where there is no room for them."""
        if self.held + size > self._most:
            raise Refusal("busy", "the service holds as many bytes as it may; try again")
        self.held += size


class Body:
    """What is counted of one body."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.size = 0

    def grow(self, size: int) -> None:
        """Count further bytes, or raise a Refusal."""
        self._memory.take(size)
        self.size += size


async def read(request: Request, limits: Limits, body: Body) -> Asked:
    """Return what a request asks.

    Raises:
        Refusal: it is too large, too slow, of another type, or not what its type says.
        ClientDisconnect: the client has left.
    """
    query = _query(request)
    try:
        async with asyncio.timeout(limits.timeout):
            asked = await _read(request, limits, body)
    except TimeoutError:
        raise Refusal(
            "body-timeout", f"expected the body within {limits.timeout:g} seconds"
        ) from None
    for name, value in query.items():
        if name in asked.options:
            raise Refusal("invalid-option", f"{name}: given in the address and in the body")
        asked.options[name] = value
    if not asked.images:
        raise Refusal(
            "no-images",
            'expected a picture: a part with a file name, or "images" in JSON, got none',
        )
    return asked


def _query(request: Request) -> dict[str, str]:
    """Return the options in the address."""
    options: dict[str, str] = {}
    for name, value in request.query_params.multi_items()[:64]:
        if name in options:
            raise Refusal("invalid-option", f"{printable(name, 100)}: given twice")
        options[name] = value
    return options


async def _read(request: Request, limits: Limits, body: Body) -> Asked:
    headers = request.headers
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal("unsupported-body", "expected a body that is not compressed")
    type_ = headers.get("content-type", "").strip()
    kind = type_.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _form(request, limits, body, type_)
    if kind == "application/json":
        content = await _whole(request, limits, body)
        body.grow(len(content))  # what it is decoded to
        if len(content) <= _IN_LOOP:
            return _from_json(content, limits)
        return await asyncio.to_thread(_from_json, content, limits)
    if kind.startswith("image/") or kind == "application/octet-stream":
        content = await _whole(request, limits, body)
        return Asked([Upload(None, content)] if content else [], {})
    got = printable(kind, 100) or "none"
    raise Refusal("unsupported-body", f"expected a body of type {_TYPES}, got {got}")


async def _pieces(request: Request, limits: Limits, body: Body) -> AsyncIterator[bytes]:
    """Yield the body as it comes, no more of it than is allowed."""
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and (len(stated) > 18 or int(stated) > limits.max_body):
        raise _too_large(limits)
    async for piece in request.stream():
        if body.size + len(piece) > limits.max_body:
            raise _too_large(limits)
        if piece:
            body.grow(len(piece))
            yield piece


async def _whole(request: Request, limits: Limits, body: Body) -> bytes:
    return b"".join([piece async for piece in _pieces(request, limits, body)])


async def _form(request: Request, limits: Limits, body: Body, type_: str) -> Asked:
    form = Form(type_, limits.max_images)
    async for piece in _pieces(request, limits, body):
        form.write(piece)
    form.close()
    return Asked(form.images, dict(form.options))


def _too_large(limits: Limits) -> Refusal:
    most = f"{limits.max_body / MIB:g} MiB" if limits.max_body >= MIB else f"{limits.max_body:,} B"
    return Refusal("body-too-large", f"expected a body of at most {most}; send fewer pictures")


# --- JSON ----------------------------------------------------------------------------------------


def _from_json(content: bytes, limits: Limits) -> Asked:
    if sum(map(content.count, _SIGNS)) > _MOST_SIGNS:
        raise Refusal(
            "malformed-body", f"expected JSON of at most {_MOST_SIGNS:,} values: pictures, options"
        )
    try:
        said = json.loads(content, parse_constant=_no_number, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise Refusal("malformed-body", "expected JSON in UTF-8, as the body's type says") from None
    if not isinstance(said, dict):
        raise Refusal("malformed-body", 'expected a JSON object with "images"')
    images = said.pop("images", [])
    if isinstance(images, (str, Mapping)):
        images = [images]
    if not isinstance(images, list):
        raise Refusal("malformed-body", 'expected a list of pictures for "images"')
    if len(images) > limits.max_images:
        raise too_many_images(limits.max_images)
    if not all(is_flat(value) for value in said.values()):
        raise Refusal("malformed-body", "expected options that are values, or shares by class")
    return Asked([_decoded(item, number) for number, item in enumerate(images, 1)], said)


def is_flat(value: Any) -> bool:
    """Whether JSON is a value, or a list or an object of values, with nothing inside these."""
    inside = value.values() if isinstance(value, Mapping) else value
    return not isinstance(value, (list, Mapping)) or not any(
        isinstance(item, (list, Mapping)) for item in inside
    )


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    items = dict(pairs)
    if len(items) < len(pairs):
        raise ValueError("a name twice")
    return items


def _decoded(item: Any, number: int) -> Upload:
    """Return a picture of the list "images"."""
    name = None
    if isinstance(item, Mapping):
        unknown = set(item) - {"name", "data"}
        if unknown:
            raise Refusal(
                "malformed-body",
                f'image {number}: expected "name" and "data", got {printable(min(unknown), 100)}',
            )
        name, item = item.get("name"), item.get("data")
    if not isinstance(item, str) or not isinstance(name, str | None):
        raise Refusal("malformed-body", f"image {number}: expected a picture in base64")
    if item.startswith("data:"):
        item = item.partition(",")[2]
    try:
        encoded = item.encode("ascii").translate(None, _SPACES)
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal("malformed-body", f"image {number}: expected base64") from None
    return Upload(printable(name, 200) if name else None, data)
