"""Threads beside their caller."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from ferjax import background


def test_work_is_done_in_a_thread_of_a_name() -> None:
    names: list[str] = []
    done = background.begin(lambda: names.append(threading.current_thread().name), "mine")
    assert done is not None
    assert done.wait(10)
    assert names == ["mine"]


def test_work_that_fails_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda error: said.append(error.exc_type))

    def fails() -> None:
        raise OSError

    done = background.begin(fails, "fails")
    assert done is not None
    assert done.wait(10)
    for thread in threading.enumerate():
        if thread.name == "fails":
            thread.join()
    assert said == [OSError]


def test_without_room_for_a_thread_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    done: list[str] = []
    assert background.begin(lambda: done.append("work"), "none") is None
    assert not done


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT of this kind")
def test_a_process_that_is_interrupted_while_it_waits_ends_behind_its_threads() -> None:
    code = """
import os, signal, threading, time
from ferjax import background
def work():
    time.sleep(0.5)
    print("done", flush=True)
done = background.begin(work, "work")
try:
    threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    done.wait()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "interrupted\ndone\n"), run.stderr
