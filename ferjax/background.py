"""Threads that do something beside their caller, who waits for them in the end."""

from __future__ import annotations

import threading
from collections.abc import Callable


def begin(work: Callable[[], None], name: str) -> threading.Event | None:
    """Run a function in a thread of its own, before whose end the process does not end.

    Returns:
        What to wait for, in the same process; None where the system has no room for a thread. Not
        `Thread.join`: where Ctrl-C breaks that off, Python 3.11 takes the thread for ended, and the
        process ends under it.
    """
    done = threading.Event()

    def run() -> None:
        try:
            work()
        finally:
            done.set()

    try:
        threading.Thread(target=run, name=name).start()
    except RuntimeError:
        return None
    return done
