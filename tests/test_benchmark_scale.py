"""The benchmark of runs on Ray and Dask: what it compares, its figures, and, slowly, all of it."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from .conftest import ROOT, RunScript

sys.path.insert(0, str(ROOT / "scripts"))
pytest.importorskip("psutil", reason="needs psutil")
benchmark_scale = importlib.import_module("benchmark_scale")
scale_engines = importlib.import_module("benchmarks.scale_engines")

NAMES = ["path", "face", "label"]
ROWS = [("a.jpg", 1.0, "happy"), ("a.jpg", 2.0, None), ("b.jpg", 1.0, "sad")]


def test_rows_are_compared_whatever_their_order() -> None:
    def compared(rows: list, names: list = NAMES) -> str:
        return scale_engines.compared((ROWS, NAMES), (rows, names))

    assert compared(ROWS[::-1]) == "the same"
    assert compared(ROWS[:2]) == "1 lost, 0 double"
    assert compared([*ROWS, ROWS[0]]) == "0 lost, 1 double"
    assert compared([*ROWS[:2], ("b.jpg", 1.0, "happy")]) == "1 differ"
    assert compared(ROWS, NAMES[::-1]).startswith("columns ['label'")


def test_cells_of_a_csv_file_are_numbers_and_texts(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,face,label,too_small\n7,1,,True\n")
    rows, names = scale_engines.csv_rows(tmp_path / "a.csv")
    assert rows == [("7", 1.0, None, True)]
    assert names == ["path", "face", "label", "too_small"]


def test_growth_of_memory_is_from_the_middle_to_the_end() -> None:
    memory = [(i, 100.0 if i < 30 else 200.0 if i < 90 else 210.0) for i in range(100)]
    most, more = scale_engines.growth(memory)
    assert most == 210
    assert more == pytest.approx(210 - (100 * 0 + 200 * 33) / 33, abs=10)


@pytest.mark.slow
def test_a_worker_and_a_driver_that_are_killed_lose_nothing(
    run_script: RunScript, tmp_path: Path
) -> None:
    for module in ("ray", "dask.dataframe"):
        pytest.importorskip(module, reason=f"needs {module}")
    out = tmp_path / "out.json"
    done = run_script(benchmark_scale, "--quick", "--out", out)
    assert done.returncode == 0, done.stderr
    runs = json.loads(out.read_text(encoding="utf-8"))["runs"]
    assert {name: run.get("rows") for name, run in runs.items()} == {
        "one process": None,
        "one core": None,
        "ray": "the same",
        "resume": "the same",
        "dask": "the same",
    }
    assert runs["ray"]["killed"] == 1
    assert 0 < runs["resume"]["before"] < 100
    assert "| Ray, 1 worker killed in the middle |" in done.stdout
