"""Parse the command line and dispatch; the commands do the work."""

from __future__ import annotations

import argparse
import gc
import importlib
import io
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from ferjax import hardware
from ferjax._version import __version__
from ferjax.cli import process
from ferjax.cli.options import add_command
from ferjax.errors import BackendError, FerjaxError

# Each a module of this folder.
_COMMANDS = (
    "predict faces video web serve convert export inspect verify data train evaluate calibrate "
    "card push"
).split()
_INTERRUPTED = 130  # the exit code after Ctrl-C, as shells have it


class _Parser(argparse.ArgumentParser):
    add_options: Any = None  # of a command: adds its options, once it is the one that is called

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse all; the command that does not know an argument says so, not `ferjax` itself."""
        if self.add_options is not None:
            self.add_options(self)
            self.add_options = None
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line, without the usage above it."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of `ferjax`.

    Args:
        command: the only one to import and to add; None, or an unknown one, adds all.
    """
    parser = _Parser(
        prog="ferjax",
        description="Facial expression recognition in JAX.",
        epilog="Exit codes: 0 done, 1 done in part or not as expected, 2 a mistake in the call.",
    )
    parser.add_argument("--version", action="version", version=f"ferjax {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in (command,) if command in _COMMANDS else _COMMANDS:
        module = importlib.import_module(f"ferjax.cli.{name}")
        add_command(commands, name, module).set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        code = _run(argv)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception:
        if process.was_interrupted():  # and something made another error of it
            return _INTERRUPTED
        raise
    return _INTERRUPTED if process.was_interrupted() else code


def _run(argv: Sequence[str] | None) -> int:
    """Run a command, say what is wrong, and return its exit code."""
    warnings.showwarning = _show_warning
    if isinstance(sys.stdout, io.TextIOWrapper):  # names that its encoding lacks are escaped
        sys.stdout.reconfigure(errors="backslashreplace")
    argv = sys.argv[1:] if argv is None else argv
    args = build_parser(argv[0] if argv else None).parse_args(argv)
    args.call = shlex.join(["ferjax", *map(_without_keys, argv)])  # for reports and metadata
    try:
        code: int = args.run(args)
        if sys.stdout is not None:  # as where it was closed
            sys.stdout.flush()
        return code
    except FerjaxError as error:
        if not process.was_interrupted():
            print(f"ferjax: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # stdout takes no more: its reader has had enough, the disk is full
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            print(f"ferjax: error: {error}", file=sys.stderr)
        return 1
    except Exception:  # perhaps JAX's, wherever it was first to need a device
        try:
            hardware.check_backend()
        except BackendError as error:
            print(f"ferjax: error: {error}", file=sys.stderr)
            return 2
        raise


def _without_keys(argument: str) -> str:
    """Return an argument without the keys that an address may have in it."""
    if "://" not in argument:
        return argument
    from ferjax.filesystems import without_keys  # imports NumPy, which --help does without

    return without_keys(argument)


def console() -> int:
    """Be the command `ferjax`, in a process of its own."""
    process.prepare(sys.argv[1:])
    process.note_interrupts()
    code = main()
    if code == _INTERRUPTED:  # a second Ctrl-C would end the wait for threads with a traceback
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Python looks for garbage once more when it ends, in all modules: 0.2 s where JAX is imported.
    gc.freeze()
    return code


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, UserWarning) and not issubclass(category, DeprecationWarning):
        print(f"ferjax: warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(console())
