"""Answer by HTTP: faces in photographs, the expression on each, the page at "/".

POST /v1/faces finds faces and says their expressions, POST /v1/predict takes each picture for one
face; both take several pictures at once, as a form, as JSON with base64, or one as it is. GET
/v1/model says what the weights are, /healthz and /readyz how the service does, /metrics counts for
Prometheus, /openapi.json all of it for programs.

It prints its address once it is ready. By itself it answers this machine alone. For others it needs
--token-file, of whose tokens, one a line, each request has to bear one; the file is read again once
it has changed. Without tokens other machines are answered only where --public and --without-token
both say so.

Pictures are looked at in memory; nothing of them is logged or kept. On SIGTERM what was accepted is
answered, and the service ends.

examples:
  ferjax serve
  curl -F images=@party.jpg -F min_size=40 http://127.0.0.1:8000/v1/faces
  ferjax serve --host 0.0.0.0 --port 8080 --token-file tokens.txt --workers 2
"""

from __future__ import annotations

import argparse
import importlib.util

from ferjax.cli import options
from ferjax.errors import FerjaxError
from ferjax.serve.settings import MIB, Limits, Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host",
        default=Settings.host,
        help=f"the address to listen at (default: {Settings.host})",
    )
    parser.add_argument(
        "--port",
        type=options.port,
        default=Settings.port,
        help=f"the port; 0: any that is free (default: {Settings.port})",
    )
    options.add_classifier(parser)
    options.add_training_frequencies(parser)
    _add_access(parser)
    _add_page(parser)
    _add_computing(parser)
    _add_limits(parser)


def _add_access(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("who may ask")
    group.add_argument("--token-file", metavar="FILE", help="tokens, one a line")
    group.add_argument(
        "--public", action="store_true", help="without tokens: let other machines ask"
    )
    group.add_argument(
        "--without-token", action="store_true", help="with --public: let anyone ask, without tokens"
    )
    group.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a further name by which the service may be addressed, as behind a proxy; may be "
        "given several times",
    )
    group.add_argument(
        "--cors-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="an origin whose pages may ask, such as https://example.org; may be given several "
        "times (default: none)",
    )


def _add_page(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the page")
    group.add_argument(
        "--page",
        action=argparse.BooleanOptionalAction,
        help='show the page at "/", which gives the weights to whoever opens it, without a token '
        "(default: where no tokens are asked for)",
    )
    options.add_runtime(group)


def _add_computing(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("computing")
    group.add_argument(
        "--workers",
        type=int,
        metavar="N",
        default=Settings.workers,
        help=f"processes that answer (default: {Settings.workers})",
    )
    group.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="of each that compute (default: the cores that fall to it)",
    )
    group.add_argument(
        "--batch",
        type=int,
        metavar="N",
        default=Settings.batch,
        help=f"faces through the network at once (default: {Settings.batch})",
    )
    group.add_argument(
        "--batch-wait",
        type=options.seconds,
        default=Settings.wait,
        metavar="SECONDS",
        help=f"that a face may wait for others (default: {Settings.wait})",
    )
    group.add_argument(
        "--log-requests",
        action="store_true",
        help="log a line for each request: method, path, code, time; nothing of pictures",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("limits")
    for name, type_, default, help_ in (
        ("--max-body", options.positive, Limits.max_body // MIB, "MiB of a request's body"),
        ("--max-images", _count, Limits.max_images, "pictures of a request"),
        ("--max-pixels", _count, Limits.max_pixels, "pixels of a picture"),
        ("--max-faces", _count, Limits.max_faces, "faces of a photograph"),
        ("--queue", _count, Limits.queue, "pictures that wait, of all clients"),
        ("--per-client", _count, Limits.per_client, "pictures that wait, of one client"),
        ("--connections", _count, Limits.connections, "open connections of a process"),
        ("--timeout", options.positive, Limits.timeout, "seconds for a body, and for an answer"),
        ("--grace", options.positive, Settings.grace, "seconds for what was accepted, at the end"),
    ):
        metavar = "N" if type_ is _count else help_.split()[0].upper()
        text = f"{help_} (default: {default:,.10g})"
        group.add_argument(name, type=type_, default=default, metavar=metavar, help=text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 40):
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text!r}")
    return int(text)


def run(args: argparse.Namespace) -> int:
    for name in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        if importlib.util.find_spec(name) is None:
            raise FerjaxError(f"serving needs {name}: pip install 'ferjax[serve]'")
    from ferjax.serve import addresses, workers
    from ferjax.serve.tokens import Tokens

    settings = _settings(args)
    addresses.check_public(
        args.host,
        has_token=args.token_file is not None,
        is_public=args.public,
        without_token=args.without_token,
    )
    if args.token_file is not None:
        Tokens(args.token_file)
    if args.runtime is not None:
        from ferjax.web import find_runtime

        find_runtime(args.runtime)
    with addresses.listen(args.host, args.port) as listener:
        url = addresses.url(listener)
        workers.run(settings, listener, ready=lambda: print(url, flush=True))
    return 0


def _settings(args: argparse.Namespace) -> Settings:
    limits = Limits(
        max_body=int(args.max_body * MIB),
        max_images=args.max_images,
        max_pixels=args.max_pixels,
        max_faces=args.max_faces,
        queue=args.queue,
        per_client=args.per_client,
        connections=args.connections,
        timeout=args.timeout,
    )
    return Settings(
        host=args.host,
        port=args.port,
        weights=options.classifier_arguments(args),
        workers=args.workers,
        threads=args.threads,
        batch=args.batch,
        wait=args.batch_wait,
        token_file=args.token_file,
        allowed_hosts=tuple(args.allowed_host),
        cors_origins=tuple(args.cors_origin),
        page=args.page,
        runtime=args.runtime,
        log_requests=args.log_requests,
        grace=args.grace,
        limits=limits,
    )
