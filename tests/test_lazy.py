"""Modules that are imported at their first use, while no garbage is collected."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import ferjax
from ferjax._lazy import LazyModule, imported, no_collection
from ferjax.nets.compiled import Compiled

NAME = "module_that_looks_at_the_collector"


@pytest.fixture(autouse=True)
def collecting() -> Iterator[None]:
    gc.enable()
    yield
    gc.enable()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / f"{NAME}.py"
    path.write_text("import gc\nis_enabled = gc.isenabled()\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield path
    sys.modules.pop(NAME, None)


def test_nothing_is_collected_meanwhile() -> None:
    with no_collection():
        assert not gc.isenabled()
        with no_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_error_ends_it() -> None:
    with pytest.raises(ZeroDivisionError), no_collection():
        raise ZeroDivisionError
    assert gc.isenabled()


def test_where_nothing_is_collected_it_stays_so() -> None:
    gc.disable()
    with no_collection():
        pass
    assert not gc.isenabled()


def test_modules_are_imported_so(module: Path) -> None:
    lazy = LazyModule(NAME)
    assert NAME not in sys.modules
    assert lazy.is_enabled is False
    assert gc.isenabled()
    assert imported(NAME) is sys.modules[NAME]


def test_a_module_that_fails_does_so_as_ever(module: Path) -> None:
    module.write_text("raise OSError('no such thing')\n")
    with pytest.raises(OSError, match="no such thing"):
        imported(NAME)
    assert gc.isenabled()


def test_a_program_is_compiled_so(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    computed = Compiled._computed

    def spied(self: Compiled, *args: object) -> np.ndarray:
        seen.append(gc.isenabled())
        return computed(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Compiled, "_computed", spied)
    classifier = ferjax.load(engine="jax")
    for _ in range(2):
        classifier.predict_proba(np.zeros((48, 48), np.uint8))
    assert seen == [False, True]
    assert gc.isenabled()
