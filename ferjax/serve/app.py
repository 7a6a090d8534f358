"""The application: routes, and what stands in front of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from ferjax._version import __version__
from ferjax.errors import printable
from ferjax.serve import addresses, answers, documents
from ferjax.serve.answers import FACES, PREDICT
from ferjax.serve.gate import Gate
from ferjax.serve.refusals import Refusal
from ferjax.serve.service import Service
from ferjax.serve.settings import Settings
from ferjax.serve.tokens import Tokens

_ABOUT: Final = (
    "Finds the faces in photographs and says the expression on each. A class is a guess at the "
    "word that people would choose for a face; it is no reading of what a person feels, and not "
    "for decisions about people. Nothing of a picture is kept or logged."
)
_MODEL: Final = "/v1/model"
_METRICS: Final = "/metrics"
_HEALTH: Final = "/healthz"
_READY: Final = "/readyz"
_OPEN: Final = (_HEALTH, _READY, "/openapi.json")  # without a token, beside the page
_PATHS: Final = ("/", FACES.path, PREDICT.path, _MODEL, _METRICS, *_OPEN)


def create_app(service: Service) -> Gate:
    """Return the ASGI application of a service.

    Raises:
        FerjaxError: the tokens cannot be read.
    """
    settings = service.settings
    app = _routes(service)
    if service.page is not None:
        app.mount("/", service.page)
    inner: Any = app
    if settings.cors_origins:
        inner = CORSMiddleware(
            app,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
            max_age=600,
        )
    tokens = None
    if settings.token_file is not None:
        # A process may be started again, in the place of one that died, while it is empty.
        tokens = Tokens(settings.token_file, strict=False)
    return Gate(
        inner,
        names=addresses.own_names(settings.host, settings.allowed_hosts),
        origins=settings.cors_origins,
        client=None if tokens is None else tokens.client,
        needs_token=lambda path: _needs_token(path, settings),
        is_ending=lambda: service.is_ending,
        answered=lambda path, status, seconds: service.metrics.answered(
            path if path in _PATHS else "other", status, seconds
        ),
        log=settings.log_requests,
    )


def _needs_token(path: str, settings: Settings) -> bool:
    if settings.token_file is None or path in _OPEN:
        return False
    is_interface = path.startswith("/v1/") or path == _METRICS
    return is_interface or not settings.has_page


def _routes(service: Service) -> FastAPI:
    """Return the routes, without what stands in front of them."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        beginning = asyncio.create_task(service.begin())
        yield
        await beginning
        await asyncio.to_thread(service.end)

    app = FastAPI(
        title="ferjax",
        version=__version__,
        summary="Facial expression recognition",
        description=_ABOUT,
        docs_url=None,  # their scripts come from other hosts
        redoc_url=None,
        lifespan=lifespan,
        exception_handlers={HTTPException: _refused, Refusal: _refused, Exception: _refused},
        telemetry={"tracing": False, "metrics": False, "logs": False},  # of what exceptions say
        generate_unique_id_function=lambda route: route.name,
    )
    _add_interface(app, service)
    _add_state(app, service)
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = documents.completed(
                plain(),
                {
                    FACES.path: documents.FACES_EXAMPLE,
                    PREDICT.path: documents.PREDICT_EXAMPLE,
                },
                with_tokens=lambda path: _needs_token(path, service.settings),
            )
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, Refusal):
        return error.response()
    if not isinstance(error, HTTPException):  # which goes on to the gate, and is logged there
        return Refusal(
            "failed", "the service failed on this request; its log says where"
        ).response()
    code = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "failed")
    headers = dict(error.headers or {})
    # With the page, which takes all paths that are left, what is posted alone is not found by GET.
    if code != "failed" and request.scope["path"] in (FACES.path, PREDICT.path):
        method = printable(request.method, 20)
        refusal = Refusal("method-not-allowed", f"expected POST with pictures, got {method}")
        headers["Allow"] = "POST"
    elif code == "not-found":
        refusal = Refusal(code, "nothing is at this path; /openapi.json lists what is")
    else:
        refusal = Refusal(code, HTTPStatus(error.status_code).phrase)
    response = refusal.response()
    response.headers.update(headers)
    return response


def _add_interface(app: FastAPI, service: Service) -> None:
    """Add what people ask of pictures, and of the weights."""

    @app.post(
        FACES.path,
        name="faces",
        summary="Find the faces in photographs, and the expression on each",
        response_model=documents.FacesAnswer,
        responses=documents.refused(documents.BODY_CODES),
        openapi_extra=documents.request(documents.FACES_OPTIONS, {"min_size": 40, "largest": True}),
    )
    async def faces(request: Request) -> Response:
        """Pictures that cannot be used have their error in their entry; where none can be used, it
        is the answer."""
        return await answers.respond(service, request, FACES)

    @app.post(
        PREDICT.path,
        name="predict",
        summary="Say the expression in pictures of which each is one face",
        response_model=documents.PredictAnswer,
        responses=documents.refused(documents.BODY_CODES),
        openapi_extra=documents.request(documents.PREDICT_OPTIONS, {"calibrated": True}),
    )
    async def predict(request: Request) -> Response:
        """Each picture is taken for one face, cropped to it; `/v1/faces` crops. Errors are told as
        there."""
        return await answers.respond(service, request, PREDICT)

    @app.get(
        _MODEL,
        name="model",
        summary="What the weights are: classes, accuracy, limits, licence",
        responses=documents.refused("no-token host-not-allowed"),
    )
    async def model() -> Response:
        return answers.Answer(service.described)


def _add_state(app: FastAPI, service: Service) -> None:
    """Add what is asked by those who look after the service."""

    @app.get(_HEALTH, name="healthz", summary="Whether the process answers at all")
    async def healthz() -> documents.Ready:
        return documents.Ready(status="alive")

    @app.get(
        _READY,
        name="readyz",
        summary="Whether pictures are answered at once: the networks are loaded and compiled",
        responses=documents.refused("starting ending"),
    )
    async def readyz() -> documents.Ready:
        if service.is_ending:
            raise Refusal("ending", "the service is about to end")
        if not service.is_ready:
            raise Refusal("starting", "the network is not ready yet")
        return documents.Ready(status="ready")

    @app.get(
        _METRICS,
        name="metrics",
        summary="Counts and times for Prometheus, of all processes",
        responses={200: {"content": {"text/plain": {}}}},
        response_class=Response,
    )
    async def metrics(request: Request) -> Response:
        content, media_type = service.metrics.told(request.headers.get("accept"))
        return Response(content, headers={"Content-Type": media_type})
