"""Pictures of many requests, through a few threads, and their faces through the network together.

Each thread does what is most urgent: it classifies the faces that wait where they fill a batch,
where the oldest has waited long enough, or where no picture is left that could bring more; else it
takes the next picture, decodes it and finds its faces. So nothing waits where little is asked, and
where much is, batches are full and each thread has a core for itself; a batch beside which nothing
is asked has all of them.

Dimension keys: B faces, K classes; h, w, C of the network's input.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ferjax.preprocessing import Float32Array

Rows = Sequence[npt.NDArray[np.float32]]


class Work(Protocol):
    """What is to be done for one picture."""

    def crops(self) -> Sequence[Float32Array]:
        """Return its faces as the network takes them, each float32 (h, w, C)."""

    def answer(self, rows: Rows) -> Any:
        """Return what is said of it, from the network's probabilities of each face, (K,)."""


class Observer(Protocol):
    """What is told how long things take."""

    def found(self, seconds: float) -> None:
        """A picture took so long until its faces were found."""

    def classified(self, faces: int, seconds: float, waited: float) -> None:
        """So many faces went through the network together; the first had waited so long."""


@dataclass(eq=False)
class _Job:
    work: Work
    future: Future[Any] = field(default_factory=Future)
    rows: list[Any] = field(default_factory=list)
    left: int = 0  # faces that the network has not seen


@dataclass(eq=False)
class _Crop:
    job: _Job
    number: int
    image: Float32Array
    since: float


class Computer:
    """Threads that find faces and classify them.

    Args:
        network: from preprocessed images, float32 (B, h, w, C), and on how many threads they are to
            be computed, to probabilities, float32 (B, K); called by several threads at once.
        threads: how many.
        batch: faces that go through the network at once.
        wait: seconds that a face may wait for others.
        observer: what is told how long things take.
    """

    def __init__(
        self,
        network: Callable[[Float32Array, int], npt.NDArray[np.float32]],
        *,
        threads: int,
        batch: int,
        wait: float,
        observer: Observer,
    ) -> None:
        self._network = network
        self._batch = batch
        self._wait = wait
        self._observer = observer
        self._pictures: deque[_Job] = deque()
        self._crops: deque[_Crop] = deque()
        self._finding = 0  # pictures that are looked at now
        self._classifying = 0  # batches that the network has now
        self._is_closed = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._run, name=f"ferjax-serve-{i}", daemon=True)
            for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Work) -> Future[Any]:
        """Return the answer of a picture once it is there.

        One that is cancelled is not begun, and not kept.
        """
        job = _Job(work)
        with self._changed:
            self._pictures.append(job)
            self._changed.notify()
        job.future.add_done_callback(lambda _: self._forget(job))
        return job.future

    def _forget(self, job: _Job) -> None:
        """Let go of a picture that was cancelled: its bytes are not counted any more."""
        with self._changed, suppress(ValueError):  # it was begun
            self._pictures.remove(job)

    def close(self) -> None:
        """End the threads, once all that was submitted is done."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while True:
            job, crops = self._next()
            if job is not None:
                self._find(job)
            elif crops:
                self._classify(crops)
            else:
                return

    def _next(self) -> tuple[_Job | None, list[_Crop]]:
        """Return what is to be done next, a picture or a batch; nothing at the end."""
        with self._changed:
            while True:
                more = bool(self._pictures) or self._finding > 0
                now = time.monotonic()
                due = self._crops[0].since + self._wait if self._crops else now
                if self._crops and (len(self._crops) >= self._batch or now >= due or not more):
                    count = min(self._batch, len(self._crops))
                    return None, [self._crops.popleft() for _ in range(count)]
                if self._pictures:
                    self._finding += 1
                    return self._pictures.popleft(), []
                if self._is_closed and not more:
                    return None, []
                self._changed.wait(due - now if self._crops else None)

    def _find(self, job: _Job) -> None:
        start = time.monotonic()
        crops: Sequence[Float32Array] = ()
        failure: Exception | None = None
        try:
            if not job.future.cancelled():
                crops = job.work.crops()
        except Exception as error:
            failure = error
        now = time.monotonic()
        is_empty = not crops
        job.left = len(crops)
        job.rows = [None] * job.left
        with self._changed:
            self._finding -= 1
            self._crops.extend(_Crop(job, i, image, now) for i, image in enumerate(crops))
            self._changed.notify_all()
        if failure is not None:
            _fail(job, failure)
        elif is_empty:
            self._answer(job)
        self._observer.found(now - start)

    def _classify(self, crops: list[_Crop]) -> None:
        start = time.monotonic()
        crops = [crop for crop in crops if not crop.job.future.done()]
        if not crops:
            return
        threads = self._cores()
        try:
            rows = self._network(np.stack([crop.image for crop in crops]), threads)
        except Exception as error:
            for crop in crops:
                _fail(crop.job, error)
            return
        finally:
            with self._changed:
                self._classifying -= 1
        done = []
        with self._changed:
            for crop, row in zip(crops, rows, strict=True):
                crop.job.rows[crop.number] = row
                crop.job.left -= 1
                if not crop.job.left:
                    done.append(crop.job)
        self._observer.classified(
            len(crops), time.monotonic() - start, start - min(crop.since for crop in crops)
        )
        for job in done:
            self._answer(job)

    def _cores(self) -> int:
        """Return how many threads a batch gets that is computed from now on: all where it is alone,
        else the one that brings it."""
        with self._changed:
            self._classifying += 1
            is_alone = self._classifying == 1 and not (self._pictures or self._finding)
        return len(self._threads) if is_alone else 1

    def _answer(self, job: _Job) -> None:
        if job.future.done():
            return
        try:
            answer = job.work.answer(job.rows)
        except Exception as error:
            _fail(job, error)
            return
        with suppress(InvalidStateError):  # cancelled meanwhile
            job.future.set_result(answer)


def _fail(job: _Job, error: Exception) -> None:
    with suppress(InvalidStateError):
        job.future.set_exception(error)
