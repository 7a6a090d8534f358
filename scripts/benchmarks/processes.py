"""A process, from its start to its end: seconds, peak memory, what it printed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TIME_LIMIT = 3600.0  # seconds
_REASON_LENGTH = 200


@dataclass(frozen=True)
class Done:
    """A process that has ended.

    Attributes:
        seconds: from before its start until after its end.
        peak_bytes: the most memory that it, or a process that it waited for, had resident.
        reason: why it failed, in a line; None where it did not.
        stdout: all that it printed.
        stderr: all that it said.
    """

    seconds: float
    peak_bytes: int
    reason: str | None
    stdout: str
    stderr: str


def run(
    command: Sequence[str], env: Mapping[str, str], cwd: Path, limit: float = TIME_LIMIT
) -> Done:
    """Run a command to its end; it is killed after `limit` seconds or on Ctrl-C."""
    late = threading.Event()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )

        def kill() -> None:
            late.set()
            process.send_signal(signal.SIGKILL)

        timer = threading.Timer(limit, kill)
        timer.daemon = True
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)  # unlike wait(), with its memory
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            timer.cancel()
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode("utf-8", "replace"))
    unit = 1 if sys.platform == "darwin" else 1024
    reason = _reason(process.returncode, texts[1])
    if late.is_set():
        reason = f"stopped after {limit:g} s"
    return Done(seconds, usage.ru_maxrss * unit, reason, *texts)


def shown(command: Sequence[str], env: Mapping[str, str], limit: float = TIME_LIMIT) -> int:
    """Run a command whose progress goes on to stderr; return its exit code, -2 after Ctrl-C."""
    process = subprocess.Popen(
        command, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return 124
    except KeyboardInterrupt:  # it has got that too, and may have something to store
        process.wait()
        return -2


def _reason(code: int, stderr: str) -> str | None:
    if code == 0:
        return None
    if code < 0:
        return f"ended by signal {signal.Signals(-code).name}"
    lines = stderr.strip().splitlines()
    last = lines[-1].strip() if lines else ""
    return last[:_REASON_LENGTH] or f"ended with exit code {code}"


def environment(threads: int, folder: Path) -> dict[str, str]:
    """Return what all measured processes get: a limit of threads, and nobody's own settings.

    Where the system can bind a process to cores (`bind`), that limits every library; the variables
    are for the others.
    """
    # Without written bytecode each start would compile all that it imports: JAX takes three times
    # as long then.
    left_out = ("JAX_COMPILATION_CACHE_DIR", "PYTHONDONTWRITEBYTECODE")
    env = {k: v for k, v in os.environ.items() if k not in left_out}
    names = "OMP_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS VECLIB_MAXIMUM_THREADS"
    names += " NPROC PJRT_NPROC"  # the last two are XLA's
    env |= dict.fromkeys(names.split(), str(threads))
    env |= {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_HOME": str(folder / "keras")}
    env["ORT_DISABLE_TELEMETRY"] = "1"  # as `ferjax.hardware.onnx_runtime` has it
    return env


def with_caches_in(env: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the environment with ferjax's cache of compiled code in a folder of its own."""
    names = ["XDG_CACHE_HOME", "LOCALAPPDATA"] + ["HOME"] * (sys.platform == "darwin")
    return {**env, **dict.fromkeys(names, str(folder))}


def available_threads() -> int:
    """Return how many threads can run at once here."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def bind(threads: int) -> None:
    """Keep this process, and those that it starts from now on, to as many cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
