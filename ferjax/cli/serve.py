"""Answer by HTTP: faces in photographs, the expression on each, the page at "/".

POST /v1/faces finds faces and says their expressions, POST /v1/predict takes each picture for one
face; both take several pictures at once, as a form, as JSON with base64, or one as it is. GET
/v1/model says what the weights are, /healthz and /readyz how the service does, /metrics counts for
Prometheus, /openapi.json all of it for programs.

By itself it answers this machine alone. For others it needs --token-file, of whose tokens, one a
line, each request has to bear one; the file is read again once it has changed. Without tokens other
machines are answered only where --public and --without-token both say so.

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
from typing import Any

from ferjax.cli import options
from ferjax.errors import FerjaxError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host", default="127.0.0.1", help="the address to listen at (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="the port; 0: any that is free (default: 8000)"
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
    group.add_argument(
        "--runtime",
        metavar="PATH",
        help="ONNX Runtime Web for it: the tarball of its npm package, or a folder with its files",
    )


def _add_computing(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("computing")
    group.add_argument("--workers", type=int, default=1, help="processes that answer (default: 1)")
    group.add_argument(
        "--threads", type=int, help="of each that compute (default: the cores that fall to it)"
    )
    group.add_argument(
        "--batch", type=int, default=8, help="faces through the network at once (default: 8)"
    )
    group.add_argument(
        "--batch-wait",
        type=options.seconds,
        default=0.003,
        metavar="SECONDS",
        help="that a face may wait for others (default: 0.003)",
    )
    group.add_argument(
        "--log-requests",
        action="store_true",
        help="log a line for each request: method, path, code, time; nothing of pictures",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("limits")
    for name, type_, default, help_ in (
        ("--max-body", options.positive, 32, "MiB of a request's body"),
        ("--max-images", _count, 16, "pictures of a request"),
        ("--max-pixels", _count, 50_000_000, "pixels of a picture"),
        ("--max-faces", _count, 100, "faces of a photograph"),
        ("--queue", _count, 256, "pictures that wait, of all clients"),
        ("--per-client", _count, 128, "pictures that wait, of one client"),
        ("--connections", _count, 1024, "open connections of a process"),
        ("--timeout", options.positive, 30, "seconds for a request's body, and for its answer"),
        ("--grace", options.positive, 30, "seconds for what was accepted, at the end"),
    ):
        metavar = name[2:].split("-")[-1].upper()
        text = f"{help_} (default: {default:,})".replace("%", "%%")
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
        print(addresses.url(listener), flush=True)
        workers.run(settings, listener)
    return 0


def _settings(args: argparse.Namespace) -> Any:
    from ferjax.serve.settings import MIB, Limits, Settings

    weights = options.classifier_arguments(args)
    if args.engine != "jax":
        weights["threads"] = 1  # a batch for each thread of the service, which has one a core
    limits = Limits(
        max_body=int(args.max_body * MIB),
        max_held=max(Limits.max_held, int(8 * args.max_body * MIB)),
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
        weights=weights,
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
