"""What a process of the command line needs from its environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_HUGE_PAGES = "glibc.malloc.hugetlb"


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
