"""Garbage is looked for seldom where there is none, and afterwards as before."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

import ferjax
from ferjax import collector
from ferjax.keras.json_text import parse_json
from ferjax.nets.compiled import Compiled

THRESHOLD = (700, 11, 12)
MANY = 500_000


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*THRESHOLD)
    gc.unfreeze()  # what the other tests leave out
    yield
    gc.freeze()
    gc.set_threshold(*before)


def test_it_is_seldom_meanwhile() -> None:
    with collector.seldom():
        assert gc.get_threshold() == (MANY, 11, 12)
        with collector.seldom():
            assert gc.get_threshold() == (MANY, 11, 12)
        assert gc.get_threshold() == (MANY, 11, 12)
    assert gc.get_threshold() == THRESHOLD


def test_an_error_ends_it() -> None:
    with pytest.raises(ZeroDivisionError), collector.seldom():
        raise ZeroDivisionError
    assert gc.get_threshold() == THRESHOLD


@pytest.mark.parametrize("threshold", [0, MANY, 2 * MANY])
def test_what_is_more_seldom_stays(threshold: int) -> None:
    gc.set_threshold(threshold)
    expected = gc.get_threshold()
    with collector.seldom():
        assert gc.get_threshold() == expected
    assert gc.get_threshold() == expected


def test_a_program_may_switch_it_off_meanwhile() -> None:
    try:
        with collector.seldom():
            gc.disable()
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize("own", [(0, 11, 12), (50, 5, 5)])
def test_thresholds_that_a_program_sets_meanwhile_stay(own: tuple[int, int, int]) -> None:
    with collector.seldom():
        gc.set_threshold(*own)
        own = gc.get_threshold()
    assert gc.get_threshold() == own


def test_the_last_thread_ends_it() -> None:
    leave, entered = threading.Event(), threading.Event()

    def other() -> None:
        with collector.seldom():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with collector.seldom():
        thread.start()
        assert entered.wait(10)
    assert gc.get_threshold()[0] == MANY
    leave.set()
    thread.join()
    assert gc.get_threshold() == THRESHOLD


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_a_process_that_is_forked_meanwhile_looks_as_before() -> None:
    seen = []
    with collector.seldom():
        child = os.fork()
        seen.append(gc.get_threshold())
    if child == 0:  # which left a second time at the end of the block
        with collector.seldom():
            seen.append(gc.get_threshold())
        seen.append(gc.get_threshold())
        os._exit(seen != [THRESHOLD, (MANY, 11, 12), THRESHOLD])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert gc.get_threshold() == THRESHOLD


def test_a_program_is_compiled_so(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    computed = Compiled._computed

    def spied(self: Compiled, *args: object) -> np.ndarray:
        seen.append(gc.get_threshold()[0])
        return computed(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Compiled, "_computed", spied)
    classifier = ferjax.load(engine="jax")
    for _ in range(2):
        classifier.predict_proba(np.zeros((48, 48), np.uint8))
    assert seen == [MANY, 700]


def test_a_long_json_is_read_with_few_searches() -> None:
    searches = 0

    def count(phase: str, info: dict[str, int]) -> None:
        nonlocal searches
        searches += phase == "start"

    gc.callbacks.append(count)
    try:
        parsed = parse_json('{"a": [' + "[]," * 400_000 + "1]}", "a config")
    finally:
        gc.callbacks.remove(count)
    assert len(parsed["a"]) == 400_001
    assert searches < 10  # 571 by the thresholds of this file


def made(count: int) -> list[list[int]]:
    return [[i] for i in range(count)]


def in_generations() -> list[int]:
    return [len(gc.get_objects(generation)) for generation in range(3)]


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a process that has made nothing yet."""
    monkeypatch.setattr(collector, "_seen", set())


@pytest.mark.usefixtures("unseen")
def test_what_stays_is_not_searched() -> None:
    gc.collect()
    *_, old = in_generations()
    with collector.seldom(first="a"):
        kept = made(50_000)
    assert in_generations()[0] < 1_000 and in_generations()[2] >= old + len(kept)
    assert gc.get_count()[0] < 1_000 and not gc.get_freeze_count()


@pytest.mark.usefixtures("unseen")
@pytest.mark.parametrize("first", [None, "a"])
def test_what_is_made_again_and_again_is_searched_as_ever(first: str | None) -> None:
    gc.set_threshold(100_000)  # or the assertion would search
    with collector.seldom(first=first):
        pass
    gc.collect()
    with collector.seldom(first=first):
        kept = made(50_000)
    assert gc.get_count()[0] >= len(kept)


class Held:
    """What counts how often it is there, in a circle that only a search finds."""

    count = 0

    def __init__(self) -> None:
        self.itself = self
        self.others = made(300)  # so that Python has reason to search
        Held.count += 1

    def __del__(self) -> None:
        Held.count -= 1


@pytest.mark.usefixtures("unseen")
def test_garbage_is_found_although_little_is_made_meanwhile() -> None:
    gc.collect()
    before, most = Held.count, 0
    for _ in range(300):
        held = Held()
        with collector.seldom(first="a"):
            made(10)
        del held
        most = max(most, Held.count - before)
    assert most < 100  # 300 without a search


def test_garbage_of_classifiers_is_found() -> None:
    pytest.importorskip("onnxruntime")
    gc.collect()
    alive: list[weakref.ref[ferjax.EmotionClassifier]] = []
    image = np.zeros((48, 48), np.uint8)
    for _ in range(25):
        classifier = ferjax.load(engine="onnx")
        classifier.predict_proba(image)
        alive.append(weakref.ref(classifier))
        held = [classifier]
        held.append(held)  # type: ignore[arg-type]
        del classifier, held
    assert sum(ref() is not None for ref in alive) < 20


@pytest.mark.usefixtures("unseen")
def test_what_a_program_froze_stays_so() -> None:
    gc.collect()
    gc.freeze()
    frozen = gc.get_freeze_count()
    try:
        with collector.seldom(first="a"):
            made(1_000)
        assert gc.get_freeze_count() == frozen > 0
    finally:
        gc.unfreeze()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_processes_that_are_forked_at_any_time_look_as_before() -> None:
    ends = threading.Event()

    def other() -> None:
        while not ends.is_set():
            collector._seen.clear()
            with collector.seldom(first="a"):
                pass

    thread = threading.Thread(target=other)
    thread.start()
    codes = set()
    try:
        for _ in range(30):
            child = os.fork()
            if child == 0:
                os._exit(gc.get_threshold() != THRESHOLD or gc.get_freeze_count() != 0)
            codes.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    finally:
        ends.set()
        thread.join()
    assert codes == {0}
