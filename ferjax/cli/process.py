"""What a process of the command line needs from its environment, and whether it was interrupted."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

_HUGE_PAGES = "glibc.malloc.hugetlb"

_was_interrupted = False


def prepare(argv: Sequence[str]) -> None:
    """Set up this process for the command in `argv`; it may begin again, with the same number."""
    if argv[:1] == ["train"] and wants_huge_pages(os.environ):
        tunables = [os.environ.get("GLIBC_TUNABLES", ""), f"{_HUGE_PAGES}=1"]
        os.environ["GLIBC_TUNABLES"] = ":".join(filter(None, tunables))
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def wants_huge_pages(env: Mapping[str, str]) -> bool:
    """Tell whether memory comes in small pages, and could come in huge ones.

    XLA's CPU code asks for all the memory of a step anew in every step. Before it is first used
    each page costs time, which with pages of 4 KiB is a tenth of the step of fer_cnn8. The C
    library reads the setting when a process starts.
    """
    if _HUGE_PAGES in env.get("GLIBC_TUNABLES", ""):
        return False
    try:
        pages = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text(encoding="ascii")
        library, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        new_enough = tuple(map(int, version.split(".")[:2])) >= (2, 35)
    except (OSError, ValueError):  # neither Linux nor its usual C library
        return False
    return library == "glibc" and new_enough and "[madvise]" in pages


def note_interrupts() -> None:
    """From now on have `was_interrupted` know of Ctrl-C, which raises KeyboardInterrupt as before.

    A module that is written in C, and is being imported, may drop that, or make an ImportError of
    it; Python itself makes a RuntimeError of it while a class is made.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _was_interrupted
    _was_interrupted = True
    signal.default_int_handler(number, frame)


def was_interrupted() -> bool:
    """Whether Ctrl-C has raised KeyboardInterrupt since `note_interrupts`."""
    return _was_interrupted
