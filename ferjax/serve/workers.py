"""Several processes that answer at one socket, and the one that watches them.

Each is started anew ("spawn"), for what computes does not survive a fork. One that dies is
replaced, after a while where it died at once. The numbers for Prometheus are of all of them.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import Any, Final

from ferjax import temporary
from ferjax.errors import FerjaxError
from ferjax.serve import draining, logs
from ferjax.serve.addresses import BACKLOG
from ferjax.serve.metrics import FOLDER
from ferjax.serve.settings import Settings

logger = logging.getLogger("ferjax.serve")

_TICK: Final = 0.5  # seconds between looks at what is to be started
_STEADY: Final = 10.0  # seconds after which a process counts as having come up well
_LONGEST_DELAY: Final = 30.0  # seconds before a process that keeps dying is started anew
_MORE: Final = 5.0  # seconds that processes get beyond the time in which they should have ended


@dataclass(eq=False)
class _Worker:
    process: SpawnProcess
    channel: Any
    since: float = field(default_factory=time.monotonic)
    is_ready: bool = False


class Workers:
    """The processes of a service.

    Args:
        settings: what the service is asked for.
        listener: the socket at which they answer.
        folder: for the page and the numbers for Prometheus.
        ready: called once the first of them is ready.
    """

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        folder: Path,
        ready: Callable[[], object],
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._folder = folder
        self._ready = ready
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._is_ending = False
        self._was_ready = False
        self._delay = 0.0
        self._next_start = 0.0

    def run(self) -> None:
        """Keep the processes until this one is told to end.

        Raises:
            FerjaxError: the first of them cannot begin.
        """
        numbers = self._folder / "metrics"
        numbers.mkdir()
        os.environ[FOLDER] = str(numbers)
        handlers = {s: signal.signal(s, self._end) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            self._start()  # alone, until it is ready: what is wrong is said once
            while not self._is_ending:
                self._look()
        finally:
            self._finish()
            for number, handler in handlers.items():
                signal.signal(number, handler)
            del os.environ[FOLDER]

    def _end(self, number: int, frame: FrameType | None) -> None:
        """Begin to end; a second interrupt ends at once."""
        if self._is_ending and number == signal.SIGINT:
            for worker in self._workers:
                worker.process.kill()
        self._is_ending = True

    def _start(self) -> None:
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=work, args=(self._settings, self._listener, self._folder, sender), daemon=True
        )
        process.start()
        sender.close()
        self._workers.append(_Worker(process, receiver))

    def _look(self) -> None:
        """Take what the processes say, and start others for those that are dead."""
        channels = {worker.channel: worker for worker in self._workers if not worker.is_ready}
        sentinels = [worker.process.sentinel for worker in self._workers]
        for changed in connection.wait([*channels, *sentinels], timeout=_TICK):
            worker = channels.get(changed)
            if worker is not None:
                self._hear(worker)
        for worker in [w for w in self._workers if not w.process.is_alive()]:
            self._bury(worker)
        if not self._is_ending:
            # One that is told to end by itself has the system accept no more, for all of them.
            draining.accept_again(self._listener, BACKLOG)
        missing = self._settings.workers - len(self._workers)
        for _ in range(missing if self._was_ready else min(missing, 1 - len(self._workers))):
            if not self._is_ending and time.monotonic() >= self._next_start:
                self._start()

    def _hear(self, worker: _Worker) -> None:
        with suppress(EOFError, OSError):
            failure = worker.channel.recv()
            if failure is not None and not self._was_ready:
                raise FerjaxError(failure)
            if failure is not None:
                logger.warning("a process cannot begin: %s", failure)
            worker.is_ready = True
            if not self._was_ready:
                self._was_ready = True
                self._ready()

    def _bury(self, worker: _Worker) -> None:
        from prometheus_client import multiprocess as numbers

        process = worker.process
        process.join()
        self._hear(worker)
        self._workers.remove(worker)
        worker.channel.close()
        forget: Any = numbers.mark_process_dead  # untyped
        forget(process.pid, str(self._folder / "metrics"))
        if self._is_ending:
            return
        was_steady = time.monotonic() - worker.since > _STEADY and worker.is_ready
        self._delay = 0.0 if was_steady else min(_LONGEST_DELAY, max(1.0, 2 * self._delay))
        self._next_start = time.monotonic() + self._delay
        logger.warning(
            "process %s ended with %s; another is started in %.0f s",
            process.pid, process.exitcode, self._delay,
        )  # fmt: skip

    def _finish(self) -> None:
        """Have the processes answer what was accepted, and end them.

        The socket is theirs alone then: whichever closes it last has taken what was accepted.
        """
        self._listener.close()
        for worker in self._workers:
            worker.process.terminate()  # SIGTERM
        limit = time.monotonic() + self._settings.drain + self._settings.grace + _MORE
        for worker in self._workers:
            worker.process.join(max(0.0, limit - time.monotonic()))
            if worker.process.is_alive():
                logger.warning("process %s does not end, and is killed", worker.process.pid)
                worker.process.kill()
                worker.process.join()
            worker.channel.close()


def work(settings: Settings, listener: socket.socket, folder: Path, channel: Any) -> None:
    """Be one of the processes: begin, say so, and answer.

    Args:
        settings: what the service is asked for.
        listener: the socket at which to answer.
        folder: of the page.
        channel: takes None once the process is ready, or why it cannot be.
    """
    from ferjax.serve import server
    from ferjax.xla import compile_cache

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's goes to all; the watching one acts
    signal.signal(signal.SIGTERM, _exit)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with logs.own_alone(), temporary.used(folder), compile_cache():
        try:
            service = server.open_service(settings, folder / "page" if settings.has_page else None)
            service.warm_up()
            service.is_ready = True
        except FerjaxError as error:
            _ignore_terminate()
            channel.send(str(error))
            sys.exit(2)
        channel.send(None)
        try:
            server.answer(service, listener)
        except FerjaxError as error:
            logger.error("%s", error)
            sys.exit(2)
        finally:
            _ignore_terminate()


def _ignore_terminate() -> None:
    """Let nothing disturb the end, which has begun."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _exit(number: int, frame: FrameType | None) -> None:
    """End where nothing is asked yet."""
    sys.exit(0)


def _end_with_parent() -> None:
    """End once the process that watches is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def run(settings: Settings, listener: socket.socket, ready: Callable[[], object]) -> None:
    """Answer at a socket, in as many processes as are asked for, until told to end.

    Args:
        settings: what the service is asked for.
        listener: the socket.
        ready: called once it is answered at once.

    Raises:
        FerjaxError: the service cannot begin.
    """
    before = signal.signal(signal.SIGTERM, _exit)
    try:
        with temporary.folder("ferjax-serve-") as folder:
            if settings.workers > 1:
                logs.set_up()
                Workers(settings, listener, folder, ready).run()
            else:
                _run_alone(settings, listener, folder, ready)
    finally:
        signal.signal(signal.SIGTERM, before)


def _run_alone(
    settings: Settings, listener: socket.socket, folder: Path, ready: Callable[[], object]
) -> None:
    from ferjax.serve import server
    from ferjax.xla import compile_cache

    with logs.own_alone(), compile_cache():
        page = folder / "page" if settings.has_page else None
        server.answer(server.open_service(settings, page), listener, ready)
