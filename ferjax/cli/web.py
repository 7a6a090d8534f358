"""Write a page that finds faces and tells expressions in the browser, by weights of your own.

A static site for any web server: photographs, the camera and short films are looked at on the
machine of whoever opens it, and nothing of them leaves it. --open shows it on this machine.

ONNX Runtime Web, which computes there, is taken from what --runtime names, or from an installed
ferjax_web_runtime, or fetched by npm, once; each file is known by its hash.

examples:
  ferjax web --open
  ferjax web page --weights my_model.h5 --title "Expressions"
  ferjax web page --runtime onnxruntime-web-1.30.0.tgz
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

from ferjax import temporary
from ferjax.cli import options
from ferjax.errors import FerjaxError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        metavar="OUT",
        nargs="?",
        help="the folder to make; may be left out with --open, which then keeps nothing",
    )
    options.add_weights(parser)
    options.add_architecture(parser)
    options.add_output(parser)
    options.add_labels(parser)
    options.add_value_range(parser, "as the metadata or the layers say")
    options.add_training_frequencies(parser)
    options.add_runtime(parser)
    parser.add_argument("--title", metavar="TEXT", help="the page's heading")
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace OUT with all that is in it, where that is not a page alone",
    )
    parser.add_argument(
        "--open",
        action="store_true",
        help="serve the page on this machine alone, and open the browser; Ctrl-C ends it",
    )
    parser.add_argument(
        "--port", type=options.port, metavar="N", help="for --open; 0: any free one (default: 8765)"
    )
    parser.set_defaults(engine="jax")


def run(args: argparse.Namespace) -> int:
    if args.folder is None and not args.open:
        raise FerjaxError("expected a folder for the page, OUT, or --open, got neither")
    if args.port is not None and not args.open:
        raise FerjaxError("--port is for --open")
    if importlib.util.find_spec("onnx") is None:  # before anything is fetched or written
        raise FerjaxError("writing a page needs onnx: pip install 'ferjax[web]'")
    if not args.open:
        _write(args, args.folder)
        return 0
    if args.folder is not None:
        return _open(args, Path(args.folder))
    with temporary.folder("ferjax-web-") as folder:
        return _open(args, folder / "page")


def _write(args: argparse.Namespace, folder: str | Path) -> None:
    from ferjax import released, web
    from ferjax.web.site import check_place

    check_place(folder, force=args.force)
    runtime = web.find_runtime(args.runtime, report=_note)
    site = web.write(
        options.load_classifier(args),
        folder,
        runtime=runtime,
        weights=released.path_of(args.weights),
        title=args.title,
        force=args.force,
    )
    if args.folder is not None:
        print(f"{folder}: {site.num_bytes / 1e6:.1f} MB, ONNX Runtime Web of {site.runtime}")


def _open(args: argparse.Namespace, folder: Path) -> int:
    import webbrowser

    from ferjax.web import serving

    def ready(address: str) -> None:
        print(address, flush=True)
        if not webbrowser.open(address):
            _note("no browser could be opened; open this address yourself")

    with serving.open_server(folder, args.port) as server:  # before long work, which it may refuse
        _write(args, folder)
        serving.serve(server, ready)
    return 0


def _note(message: str) -> None:
    print(f"ferjax: note: {message}", file=sys.stderr, flush=True)
