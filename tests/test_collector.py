"""Garbage is looked for seldom where there is none, and afterwards as before."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import ferjax
from ferjax import collector
from ferjax.keras.json_text import parse_json
from ferjax.nets.compiled import Compiled

THRESHOLD = (700, 11, 12)
MANY = 1_000_000


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


@pytest.mark.parametrize("threshold", [0, MANY])
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


def test_what_stays_is_not_searched() -> None:
    gc.collect()
    *_, old = in_generations()
    with collector.seldom(stays=True):
        kept = made(50_000)
    assert in_generations()[0] < 1_000 and in_generations()[2] >= old + len(kept)
    assert gc.get_count()[0] < 1_000 and not gc.get_freeze_count()


def test_what_need_not_stay_is_searched_as_ever() -> None:
    gc.collect()
    gc.set_threshold(100_000)  # or the assertion would search
    with collector.seldom():
        kept = made(50_000)
    assert gc.get_count()[0] >= len(kept)


def test_garbage_of_what_is_done_all_the_time_is_found() -> None:
    gc.collect()
    before = most = len(gc.get_objects())
    for _ in range(50):
        with collector.seldom(stays=True):
            for _ in range(100_000):
                garbage: list[object] = []
                garbage.append(garbage)
        most = max(most, len(gc.get_objects()))
    assert most < before + 2 * MANY  # 5 * MANY were made


def test_what_a_program_froze_stays_so() -> None:
    gc.collect()
    gc.freeze()
    frozen = gc.get_freeze_count()
    try:
        with collector.seldom(stays=True):
            made(1_000)
        assert gc.get_freeze_count() == frozen > 0
    finally:
        gc.unfreeze()
