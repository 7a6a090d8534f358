"""The benchmark of films: its films, its arithmetic, its table."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import av
import pytest

from .conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
benchmark_video = importlib.import_module("benchmark_video")
video_films, video_worker = (
    importlib.import_module(f"benchmarks.{name}") for name in ("video_films", "video_worker")
)


def test_a_film_that_is_repeated_has_the_times_of_a_long_one(tmp_path: Path) -> None:
    picture = next(video_films.moving(video_films.np.zeros((480, 640, 3), "uint8"), 1, 0))
    video_films.write(tmp_path / "short.mp4", iter([picture] * 15))
    assert video_films.repeat(tmp_path / "short.mp4", tmp_path / "long.mp4", 2) == 60
    with av.open(str(tmp_path / "long.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([i / 30 for i in range(60)])


def test_rates_count_frames_and_faces() -> None:
    found = video_worker.rates(lambda film: iter([1, 1, 2, 0]), ["a/one.mp4"])
    assert found["one"]["faces"] == 1
    assert found["one"]["frames"] == 4
    assert found["one"]["rate"] > 1000


def test_the_table() -> None:
    def measured(rate: float) -> dict[str, object]:
        films = {kind: {"rate": rate, "faces": 1.0} for kind in ("one", "six")}
        return {"films": films, "peak_mb": 500.0}

    rows = benchmark_video.summary(
        {
            "ferjax": [measured(90), measured(120), measured(100)],
            "latency": [{"median_ms": 20, "p95_ms": 40, "most_ms": 60, "peak_mb": 500.0}],
            "fer": [measured(10)],
        }
    )
    assert rows[0]["films"]["one"] == {
        "rate": 100,
        "rates": [90, 120, 100],
        "faces": 1.0,
        "times": 10,
    }
    machine = {"cpu": "a CPU", "threads": 2, "memory_gib": 8, "os": "an OS", "load": 0}
    text = benchmark_video.table(
        {
            "date": "2026-11-29T00:00:00",
            "machine": machine,
            "versions": {"python": "3.11"},
            "film_seconds": 20,
            "repeats": 3,
            "peers": rows,
            "missing": {"fer-defaults": "no time"},
        }
    )
    assert "| ferjax | 100.0 (90.0 to 120.0) | 1.00 | 10.0 |" in text
    assert "20 ms (median), 40 ms (95 %), 60 ms at most." in text
    assert text.endswith("- not measured: fer-defaults: no time")
