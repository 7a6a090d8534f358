"""From a request to its answer: admitted within limits, computed, or given up."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from ferjax.serve import bodies, options, pictures
from ferjax.serve.multipart import Upload
from ferjax.serve.refusals import Refusal

if TYPE_CHECKING:
    from ferjax.serve.service import Service


class Answer(JSONResponse):
    """JSON, whatever the weights' metadata holds: of texts that are not UTF-8 parts are escaped,
    and what is no finite number is null."""

    def render(self, content: Any) -> bytes:
        """Return the body."""
        try:
            return super().render(content)
        except ValueError:
            finite = json.loads(json.dumps(content), parse_constant=lambda _: None)
            return json.dumps(finite).encode()


@dataclass(frozen=True)
class Endpoint:
    """A path at which something is asked of pictures.

    Attributes:
        path: the path.
        options: reads a request's options from what is sent.
        work: makes of a picture what is to be done for it.
        unread: what is said, beside the error, of a picture that cannot be used.
    """

    path: str
    options: Callable[..., Any]
    work: Callable[..., Any]
    unread: dict[str, Any]


FACES = Endpoint(
    path="/v1/faces",
    options=options.faces,
    work=pictures.FacesOf,
    unread={"width": None, "height": None, "faces": []},
)
PREDICT = Endpoint(
    path="/v1/predict",
    options=options.predict,
    work=pictures.PredictionOf,
    unread=dict.fromkeys(("label", "index", "confidence", "probabilities")),
)


class Queue:
    """How many pictures are waiting, of all clients and of each.

    Args:
        most: of all clients.
        per_client: of one.
    """

    def __init__(self, most: int, per_client: int) -> None:
        self._most = most
        self._per_client = per_client
        self._of: Counter[str] = Counter()
        self.waiting = 0

    @contextmanager
    def admitted(self, client: str, images: int) -> Iterator[None]:
        """Count pictures until they are answered, or raise a Refusal where they are too many."""
        if self._of[client] + images > self._per_client:
            raise Refusal(
                "too-many-requests",
                f"expected at most {self._per_client} pictures of a client to wait, got more; "
                "wait for answers",
            )
        if self.waiting + images > self._most:
            raise Refusal("busy", f"{self.waiting} pictures are waiting; try again")
        self.waiting += images
        self._of[client] += images
        try:
            yield
        finally:
            self.waiting -= images
            self._of[client] -= images
            if not self._of[client]:
                del self._of[client]


async def respond(service: Service, request: Request, endpoint: Endpoint) -> Response:
    """Return the answer to a request.

    Raises:
        Refusal: it is not done.
    """
    client = request.state.client or "none"
    with service.memory.taken() as body:
        try:
            asked = await bodies.read(request, service.settings.limits, body)
        except ClientDisconnect:
            return Response(status_code=499)  # which nobody reads
        asked_for = endpoint.options(asked.options, service.classifier)
        with service.queue.admitted(client, len(asked.images)):
            service.metrics.waiting.inc(len(asked.images))
            try:
                results = await _computed(service, request, endpoint, asked.images, asked_for)
            finally:
                service.metrics.waiting.dec(len(asked.images))
    if results is None:
        return Response(status_code=499)
    failed = [result for result in results if isinstance(result, Refusal)]
    if len(failed) == len(results):
        raise failed[0]
    entries = [
        _unread(endpoint, name, result) if isinstance(result, Refusal) else {**result, "code": None}
        for name, result in zip(_names(asked.images), results, strict=True)
    ]
    return Answer({"model": service.name, "engine": service.classifier.engine, "results": entries})


def _unread(endpoint: Endpoint, name: str, refusal: Refusal) -> dict[str, Any]:
    return {"path": name, "error": refusal.detail, "code": refusal.code, **endpoint.unread}


def _names(images: Sequence[Upload]) -> list[str]:
    return [image.name or f"image {number}" for number, image in enumerate(images, 1)]


async def _computed(
    service: Service, request: Request, endpoint: Endpoint, images: list[Upload], asked_for: Any
) -> list[Any] | None:
    """Return what came of each picture, entries and Refusals; None where the client has left."""
    limits = service.settings.limits
    left = asyncio.ensure_future(_left(request))
    computed: asyncio.Future[list[Any]] | None = None
    try:
        async with asyncio.timeout(limits.timeout):
            await service.until_ready()
            works = [
                endpoint.work(service.classifier, image, name, asked_for, limits)
                for image, name in zip(images, _names(images), strict=True)
            ]
            for image in images:
                image.data = b""  # its work has it, and lets go of it
            computed = asyncio.gather(*(_one(service, endpoint, work) for work in works))
            del works
            waiting: list[asyncio.Future[Any]] = [computed, left]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            return computed.result() if computed.done() else None
    except TimeoutError:
        raise Refusal(
            "timed-out", f"the answer took longer than {limits.timeout:g} seconds; send less"
        ) from None
    finally:
        for task in (left, computed):
            if task is not None and not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


async def _one(service: Service, endpoint: Endpoint, work: Any) -> Any:
    """Return what came of a picture: its entry, or a Refusal."""
    outcome = "given-up"
    try:
        entry = await asyncio.wrap_future(service.computer.submit(work))
        outcome = "done"
        return entry
    except Refusal as refusal:
        outcome = refusal.code
        return refusal
    except Exception:
        outcome = "failed"
        raise
    finally:
        service.metrics.image(endpoint.path, outcome)


async def _left(request: Request) -> None:
    """Return once the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
