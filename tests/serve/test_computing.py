"""Batches of many requests: what goes together, in what order, and what happens to failures."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from ferjax.serve.computing import Computer

Crops = Sequence[Any]


class Seen:
    """What a computer tells."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.pictures = 0

    def found(self, seconds: float) -> None:
        self.pictures += 1

    def classified(self, faces: int, seconds: float, waited: float) -> None:
        self.batches.append(faces)


class Picture:
    """A picture with faces of one pixel each, whose answer is the network's rows."""

    def __init__(self, *values: float, gate: threading.Event | None = None) -> None:
        self.values = values
        self.gate = gate

    def crops(self) -> Crops:
        if self.gate is not None:
            self.gate.wait(10)
        return [np.full((1, 1, 1), value, np.float32) for value in self.values]

    def answer(self, rows: Crops) -> list[float]:
        return [float(row[0]) for row in rows]


def doubled(batch: Any, threads: int) -> Any:
    return 2 * batch.reshape(len(batch), 1)


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def compute(seen: Seen) -> Iterator[Callable[..., Computer]]:
    """Make computers that end with the test."""
    made: list[Computer] = []

    def make(network: Any = doubled, **options: Any) -> Computer:
        options = {"threads": 2, "batch": 4, "wait": 0.01, "observer": seen, **options}
        made.append(Computer(network, **options))
        return made[-1]

    yield make
    for computer in made:
        computer.close()


def test_each_picture_gets_its_own_faces(compute: Callable[..., Computer], seen: Seen) -> None:
    computer = compute()
    pictures = [[float(100 * i + k) for k in range(i % 4)] for i in range(50)]
    futures = [computer.submit(Picture(*values)) for values in pictures]
    answers = [future.result(10) for future in futures]
    assert answers == [[2 * value for value in values] for values in pictures]
    assert sum(seen.batches) == sum(map(len, pictures))
    assert max(seen.batches) <= 4


def test_faces_of_several_pictures_go_together(
    compute: Callable[..., Computer], seen: Seen
) -> None:
    gate = threading.Event()
    computer = compute(threads=1, wait=60)
    futures = [computer.submit(Picture(gate=gate))]
    futures += [computer.submit(Picture(float(i))) for i in range(6)]
    gate.set()
    assert [future.result(10) for future in futures[1:]] == [[2.0 * i] for i in range(6)]
    assert seen.batches == [4, 2]  # a full one, and what is left once no picture can bring more


def test_a_face_waits_no_longer_than_it_may(compute: Callable[..., Computer], seen: Seen) -> None:
    gate = threading.Event()
    computer = compute(threads=2, wait=0.05)
    slow = computer.submit(Picture(1.0, gate=gate))
    fast = computer.submit(Picture(2.0))
    assert fast.result(5) == [4.0]  # while the other is still looked at
    assert not slow.done()
    gate.set()
    assert slow.result(5) == [2.0]
    assert seen.batches == [1, 1]


def test_a_single_picture_does_not_wait(compute: Callable[..., Computer]) -> None:
    computer = compute(wait=60)
    start = time.monotonic()
    assert computer.submit(Picture(1.0)).result(10) == [2.0]
    assert time.monotonic() - start < 10


def test_a_batch_alone_is_computed_on_all_threads(compute: Callable[..., Computer]) -> None:
    given: list[int] = []

    def network(batch: Any, threads: int) -> Any:
        given.append(threads)
        return doubled(batch, threads)

    gate = threading.Event()
    computer = compute(network, threads=3, wait=0.0)
    assert computer.submit(Picture(1.0)).result(10) == [2.0]
    slow = computer.submit(Picture(1.0, gate=gate))
    assert computer.submit(Picture(2.0)).result(10) == [4.0]  # beside one that is looked at
    gate.set()
    assert slow.result(10) == [2.0]
    assert given == [3, 1, 3]


def test_failures_are_of_their_picture_alone(compute: Callable[..., Computer]) -> None:
    class Broken(Picture):
        def crops(self) -> Crops:
            raise ValueError("no picture")

    class Mute(Picture):
        def answer(self, rows: Crops) -> list[float]:
            raise KeyError("no answer")

    computer = compute()
    broken, mute, good = (computer.submit(kind(1.0)) for kind in (Broken, Mute, Picture))
    with pytest.raises(ValueError, match="no picture"):
        broken.result(10)
    with pytest.raises(KeyError, match="no answer"):
        mute.result(10)
    assert good.result(10) == [2.0]


def test_a_failure_of_the_network_is_of_its_batch(compute: Callable[..., Computer]) -> None:
    def network(batch: Any, threads: int) -> Any:
        if batch.max() > 9:
            raise MemoryError("too much")
        return doubled(batch, threads)

    computer = compute(network, batch=1)
    bad, good = computer.submit(Picture(1.0, 10.0, 2.0)), computer.submit(Picture(3.0))
    with pytest.raises(MemoryError, match="too much"):
        bad.result(10)
    assert good.result(10) == [6.0]


def test_what_is_cancelled_is_not_begun(compute: Callable[..., Computer]) -> None:
    gate, begun = threading.Event(), []

    class Noted(Picture):
        def crops(self) -> Crops:
            begun.append(self.values)
            return super().crops()

    computer = compute(threads=1)
    first = computer.submit(Picture(1.0, gate=gate))
    second, third = computer.submit(Noted(2.0)), computer.submit(Noted(3.0))
    assert second.cancel()
    gate.set()
    assert (first.result(10), third.result(10)) == ([2.0], [6.0])
    assert begun == [(3.0,)]


def test_what_is_cancelled_is_not_kept(compute: Callable[..., Computer]) -> None:
    gate, computer = threading.Event(), compute(threads=1)
    first = computer.submit(Picture(1.0, gate=gate))
    work = Picture(2.0)
    kept, future = weakref.ref(work), computer.submit(work)
    del work
    assert future.cancel()
    del future
    gc.collect()
    assert kept() is None  # while the first is still looked at
    gate.set()
    assert first.result(10) == [2.0]


def test_the_end_waits_for_what_was_submitted(seen: Seen) -> None:
    computer = Computer(doubled, threads=2, batch=4, wait=0.01, observer=seen)
    futures = [computer.submit(Picture(float(i))) for i in range(20)]
    computer.close()
    assert [future.result(0) for future in futures] == [[2.0 * i] for i in range(20)]
