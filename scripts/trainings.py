"""Trainings side by side, each an own `ferjax train --resume`, which goes on where it stopped."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ferjax.errors import FerjaxError

_MEMORY = "XLA_PYTHON_CLIENT_MEM_FRACTION"
_SAY_EVERY = 60.0  # seconds


@dataclass(frozen=True)
class Training:
    """One run.

    Attributes:
        name: for messages.
        run: its folder; what it prints goes to a .log beside it.
        arguments: of `ferjax train`, beside --out and --resume.
    """

    name: str
    run: Path
    arguments: tuple[str, ...]

    @property
    def log(self) -> Path:
        return self.run.with_name(self.run.name + ".log")


@dataclass(frozen=True)
class _Running:
    training: Training
    process: subprocess.Popen[bytes]
    cores: list[int] | None


def run(
    trainings: Sequence[Training],
    jobs: int,
    ended: Callable[[Training, int], None],
    *,
    seconds: float | None = None,
) -> None:
    """Train, `jobs` runs at once; they share the cores, and the memory of a GPU.

    Args:
        trainings: in the order in which they begin.
        jobs: how many run at once.
        ended: is called with each that ended and its exit code; what it raises ends the others.
        seconds: after so many, all that run are stopped by SIGTERM, which saves, and no other is
            begun.
    """
    waiting, running = list(trainings), list[_Running]()
    free = shares(jobs)
    began = said = time.monotonic()
    stopping = False
    try:
        while running or (waiting and not stopping):
            while waiting and free and not stopping:
                running.append(_begin(waiting.pop(0), free.pop(0), jobs))
                say(f"{running[-1].training.name}: begun")
            time.sleep(0.5)
            now = time.monotonic()
            if seconds is not None and not stopping and now - began >= seconds:
                stopping = True
                for one in running:
                    one.process.terminate()
            if now - said >= _SAY_EVERY:
                said = now
                for one in running:
                    say(f"{one.training.name}: {_last_line(one.training.log)}")
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                free.append(one.cores)
                ended(one.training, one.process.returncode)
    finally:
        for one in running:
            one.process.terminate()  # it saves a checkpoint
        for one in running:
            one.process.wait()


def exit_code(script: str, work: Callable[[], None]) -> int:
    """Do the work of a script; a mistake gives one line and 2, Ctrl-C and SIGTERM 130."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the trainings are stopped with it
    try:
        work()
    except KeyboardInterrupt:
        say("interrupted; the same command goes on")
        return 130
    except (FerjaxError, OSError) as error:
        say(f"{script}: error: {error}")
        return 2
    return 0


def _begin(training: Training, cores: list[int] | None, jobs: int) -> _Running:
    call = [sys.executable, "-m", "ferjax", "train", *training.arguments]
    call += ["--out", str(training.run), "--resume"]
    env = dict(os.environ)
    if jobs > 1:
        env.setdefault(_MEMORY, f"{0.9 / jobs:.2f}")  # JAX takes most of a GPU otherwise
    training.run.parent.mkdir(parents=True, exist_ok=True)
    with training.log.open("ab") as log:
        process = subprocess.Popen(call, env=env, stdout=log, stderr=subprocess.STDOUT)
    if cores is not None:
        os.sched_setaffinity(process.pid, cores)
    return _Running(training, process, cores)


def shares(jobs: int) -> list[list[int] | None]:
    """Divide the cores: a small network gets more out of one core each than out of two."""
    if jobs == 1 or not hasattr(os, "sched_getaffinity"):
        return [None] * jobs
    cores = sorted(os.sched_getaffinity(0))
    return [cores[i::jobs] or cores for i in range(jobs)]


def _last_line(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "starting")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def seeds(text: str) -> list[int]:
    """Read seeds for argparse: each counts once.

    >>> seeds("0,1")
    [0, 1]
    """
    try:
        found = [int(seed) for seed in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers such as 0,1, got {text!r}") from None
    if len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"expected different seeds, got {text!r}")
    return found


def count(text: str) -> int:
    """Read a number of things for argparse."""
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text!r}")
    return int(text)
