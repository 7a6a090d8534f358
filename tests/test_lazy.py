"""Modules that are imported at their first use."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ferjax._lazy import LazyModule, imported

NAME = "module_that_looks_at_the_collector"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / f"{NAME}.py"
    path.write_text("import gc\nthreshold = gc.get_threshold()\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield path
    sys.modules.pop(NAME, None)


def test_a_module_is_imported_when_something_of_it_is_asked_for(module: Path) -> None:
    lazy = LazyModule(NAME)
    assert NAME not in sys.modules
    assert lazy.threshold[0] > gc.get_threshold()[0]  # garbage is seldom looked for meanwhile
    assert imported(NAME) is sys.modules[NAME]


def test_a_module_that_fails_does_so_as_ever(module: Path) -> None:
    before = gc.get_threshold()
    module.write_text("raise OSError('no such thing')\n")
    with pytest.raises(OSError, match="no such thing"):
        imported(NAME)
    assert gc.get_threshold() == before


def test_introspection_imports_nothing(module: Path) -> None:
    with pytest.raises(AttributeError):
        LazyModule(NAME).__wrapped__  # noqa: B018
    assert NAME not in sys.modules
