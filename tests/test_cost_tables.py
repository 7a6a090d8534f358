"""The tables of costs: their arithmetic by hand, and that the guide has what the script prints."""

from __future__ import annotations

import doctest
import importlib
import sys
from pathlib import Path

import pytest

from ferjax.nets import fer_cnn8

from .conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
cost_tables = importlib.import_module("cost_tables")
face_stages = importlib.import_module("benchmarks.face_stages")


def test_the_examples() -> None:
    assert doctest.testmod(cost_tables).failed == 0


def test_multiply_adds_by_hand() -> None:
    places = [46**2, 44**2, 22**2, 22**2, 11**2, 11**2, 5**2, 5**2]
    channels = [1, 64, 64, 128, 128, 256, 256, 512, 512]
    convolutions = sum(9 * a * b * n for a, b, n in zip(channels, channels[1:], places))
    dense = 2048 * 1024 + 1024 * 512 + 512 * 7
    assert cost_tables.multiply_adds(fer_cnn8().graph) == convolutions + dense
    assert cost_tables.batch_norms(fer_cnn8().graph) == 10


def test_an_all_reduce_by_hand() -> None:
    # Of 100 MB, 7/8 twice at 100 GB/s, and four times three steps of a microsecond.
    seconds = cost_tables.all_reduce(1e8, 8, 1e11, 4, 1e-6)
    assert seconds == pytest.approx(2 * 7 / 8 * 1e-3 + 12e-6)


def test_a_rate_is_of_a_photograph() -> None:
    stages = {"decode": 1.0, "detect": 8.0, "crop": 0.5, "network": 3.0, "write": 0.1}
    rate = cost_tables.Rate.of("six", {**stages, "whole": 32.0, "faces": 6.0, "bytes": 80_000.0})
    assert rate.total == pytest.approx(1 + 8 + 3 + 18 + 0.1)
    assert rate.bottleneck == "network"


def test_the_largest_batches_by_hand() -> None:
    rows = cost_tables.batch_rows()
    # 1,281,167 / 8,192 = 156.4 steps; 28,709 / 156.4 = 183.6 and 1,000,000 / 156.4 = 6,394.
    assert rows[1][2:] == ["156", "184", "6,394"]
    assert rows[2][2:] == ["39", "734", "25,577"]


def test_the_guide_has_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert cost_tables.main([]) == 0
    guide = (ROOT / "docs" / "guides" / "costs.md").read_text(encoding="utf-8").splitlines()
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(printed) > 50
    assert [line for line in guide if line.startswith("|")] == printed


def test_other_rates_and_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cost_tables.main(["--link-gigabits", "100"]) == 0
    assert "| 100 Gbit/s | photographs/s |" in capsys.readouterr().out
    assert cost_tables.main(["--rates", str(tmp_path / "none.json")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cost_tables: error: ") and "none.json: cannot be read" in line


@pytest.mark.slow
def test_stages_are_measured(tmp_path: Path) -> None:
    kinds = face_stages.pictures(ROOT / "examples" / "astronaut.jpg", tmp_path, 4, 0)
    assert {name: len(paths) for name, paths in kinds.items()} == {"one": 4, "six": 4, "large": 1}
    found = face_stages.measure(kinds["six"])
    assert set(found) == {*face_stages.STAGES, "whole", "faces", "bytes"}
    assert found["faces"] == pytest.approx(6, abs=0.5)
    assert all(value > 0 for value in found.values())
    assert tuple(cost_tables.STAGES) == face_stages.STAGES
