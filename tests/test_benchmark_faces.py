"""The benchmark of photographs: its pictures, its arithmetic, its table, its command line."""

from __future__ import annotations

import argparse
import doctest
import importlib
import itertools
import json
import re
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from .conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
benchmark_faces = importlib.import_module("benchmark_faces")
face_pictures, face_worker, processes = (
    importlib.import_module(f"benchmarks.{name}")
    for name in ("face_pictures", "face_worker", "processes")
)


def test_pictures_are_of_one_size_and_all_differ(tmp_path: Path) -> None:
    face = cv2.imread(str(ROOT / "examples" / "astronaut.png"))
    assert face is not None
    cv2.imwrite(str(tmp_path / "photograph.png"), cv2.copyMakeBorder(face, 30, 322, 146, 206, 1))
    face_pictures.prepare(tmp_path / "photograph.png", tmp_path / "pictures", 3, 0)
    for kind in face_worker.KINDS:
        paths = face_worker.pictures(tmp_path / "pictures", kind)
        read = [cv2.imread(path) for path in paths]
        assert [image is not None and image.shape for image in read] == [(480, 640, 3)] * 3
        assert all(np.any(a != b) for a, b in itertools.combinations(read, 2))


def test_a_photograph_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"gone.jpg: cannot be read"):
        face_pictures.prepare(tmp_path / "gone.jpg", tmp_path / "pictures", 1, 0)


def test_rates_count_what_the_pipeline_gives(tmp_path: Path) -> None:
    for kind in face_worker.KINDS:
        (tmp_path / kind).mkdir()
        for name in "abcdefgh":
            (tmp_path / kind / name).touch()
    seen: list[str] = []

    def pipeline(paths: Any) -> Any:
        for path in paths:
            seen.append(path)
            yield 6 if "six" in path else 1

    found = face_worker.rates(pipeline, tmp_path, 0)
    assert {kind: value["faces"] for kind, value in found.items()} == {"one": 1, "six": 6}
    assert len(seen) == 2 * (8 + 2 * face_worker.LEAST)  # all to warm up, then the rate
    samples = face_worker.memory(pipeline, tmp_path, 250)
    assert [done for done, _ in samples] == list(range(2, 251, 2))
    assert all(10 < mb < 100_000 for _, mb in samples)


def test_memory_that_grows_is_told() -> None:
    flat = benchmark_faces.growth([(i, 500.0) for i in range(1, 101)], 510)
    assert (flat["growth_mb"], flat["slope_mb"], flat["peak_mb"]) == (0, 0, 510)
    # What is taken in the first tenth is start-up.
    early = benchmark_faces.growth([(i, min(i, 10) * 50.0) for i in range(1, 101)], 500)
    assert early["growth_mb"] == 0


def measured(peer: str, one: float, six: float) -> dict[str, Any]:
    kinds = {"one": {"rate": one, "faces": 1.0}, "six": {"rate": six, "faces": 6.0}}
    return {"kinds": kinds, "peak_mb": 400.0, "start": one / 10}


def test_the_table_by_hand(tmp_path: Path) -> None:
    args = benchmark_faces.build_parser().parse_args(["--repeats", "3"])
    benchmark = benchmark_faces.Benchmark(args, tmp_path)
    benchmark.values = {
        "ferjax": [measured("ferjax", rate, 20) for rate in (30.0, 50.0, 40.0)],
        "fer": [measured("fer", 5.0, 4.0)],
    }
    ours, theirs = benchmark_faces.summary(benchmark)
    assert (ours["kinds"]["one"]["rate"], ours["kinds"]["one"]["times"]) == (40, 8)
    assert (ours["kinds"]["six"]["times"], theirs["kinds"]["six"]["times"]) == (5, 1)
    assert (ours["start"], ours["first_start"]) == (4, 3)
    results = {
        "date": "2026-01-02T03:04:05+00:00",
        "machine": {"cpu": "A CPU", "threads": 2, "memory_gib": 16.0, "os": "Linux", "load": 0.1},
        "versions": {"python": "3.11"},
        "pictures": 100,
        "repeats": 3,
        "peers": [ours, theirs],
        "missing": {"fer-mtcnn": "facenet_pytorch is not installed"},
    }
    text = benchmark_faces.table(results)
    assert (
        "\n| ferjax | 40.0 (30.0 to 50.0) | 1.00 | 8.0 | 20.0 (20.0 to 20.0) | 6.00 | 5.0 "
        "| 4.00 (3.00) | 400 |\n"
    ) in text
    assert text.endswith("- not measured: fer-mtcnn: facenet_pytorch is not installed")


def test_peers_of_another_environment_need_its_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = benchmark_faces.build_parser().parse_args(["--repeats", "2"])
    benchmark = benchmark_faces.Benchmark(args, tmp_path)
    order: list[str] = []

    def run(command: list[str], env: object, folder: Path) -> Any:
        if "faces" in command:  # all pictures of a kind, into a csv
            Path(command[-1]).write_text("face\n1\n", encoding="utf-8")
            if command[4].endswith("0000.jpg"):  # the first picture alone, for the start
                order.append("command")
            return processes.Done(1.0, 400_000_000, None, "", "")
        peer = command[2]
        order.append(peer)
        reason = "it fails" if peer == "ferjax-onnx" else None
        return processes.Done(1.0, 400_000_000, reason, json.dumps(measured(peer, 1, 1)), "")

    monkeypatch.setattr(processes, "run", run)
    benchmark.measure()
    # The second repeat begins with another peer, and what has failed is not tried again.
    first = ["ferjax", "ferjax-onnx", "ferjax-cnn5", "ferjax-singly", "command"]
    hand = ["hand-onnx", "hand-opencv"]
    assert order == [*first, *hand, "ferjax-cnn5", "ferjax-singly", "command", *hand, "ferjax"]
    assert set(benchmark.reasons) == {"fer", "fer-mtcnn", "ferjax-onnx"}
    assert "--fer-python" in benchmark.reasons["fer"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--peers", "deepface"], "expected names among ferjax, .*, got 'deepface'"),
        (["--repeats", "0"], "--repeats: expected a positive integer, got '0'"),
        (["--threads", "100000"], "--threads: expected at most [0-9]+, got 100000"),
        (["--fer-python", "gone"], "--fer-python: gone: no such file"),
    ],
)
def test_mistakes(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        benchmark_faces.main(options)
    assert stop.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_examples_in_docstrings() -> None:
    assert isinstance(benchmark_faces.build_parser(), argparse.ArgumentParser)
    result = doctest.testmod(benchmark_faces)
    assert result.attempted > 0 and result.failed == 0
