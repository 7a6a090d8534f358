"""What the command lines of measurements share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, as `ferjax` does."""

    def __init__(self, name: str, description: str | None) -> None:
        super().__init__(
            prog=f"python scripts/{name}.py",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.name = name

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.name}: error: {message} (see --help)\n")


def add_rounds(parser: argparse.ArgumentParser) -> None:
    """Add what all benchmarks have: a limit of time, and an earlier ferjax to measure beside."""
    parser.add_argument(
        "--minutes",
        type=count,
        metavar="M",
        help="begin no repeat that would not end within M minutes; the first is always made",
    )
    parser.add_argument(
        "--before",
        type=checkout,
        metavar="DIR",
        help="a checkout of an earlier ferjax, measured in turn with this one",
    )


def checkout(text: str) -> Path:
    """Read a folder that has ferjax in it."""
    if not (Path(text) / "ferjax" / "__init__.py").is_file():
        raise argparse.ArgumentTypeError(f"expected a checkout of ferjax, got {text!r}")
    return Path(text)


def count(text: str) -> int:
    """Read a positive integer."""
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text!r}")
    return int(text)


def among(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Return what reads names, separated by commas, in the order in which they are known."""

    def names(text: str) -> tuple[str, ...]:
        given = [name.strip() for name in text.split(",")]
        for name in given:
            if name not in known:
                raise argparse.ArgumentTypeError(
                    f"expected names among {', '.join(known)}, got {name!r}"
                )
        return tuple(name for name in known if name in given)

    return names
