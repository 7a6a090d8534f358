"""What the command lines of measurements share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
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
