"""The benchmark of a GPU: its tasks at a small scale, what it stores, the gaps of a trace."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import json
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import pytest

from . import networks
from .conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
benchmark_gpu = importlib.import_module("benchmark_gpu")
cases, comparison, gpu_tasks, network, processes, traces = (
    importlib.import_module(f"benchmarks.{name}")
    for name in "cases comparison gpu_tasks network processes traces".split()
)


# --- traces --------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [traces, benchmark_gpu], ids=lambda m: m.__name__)
def test_examples_in_docstrings(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0 and result.failed == 0


def test_gaps_by_hand() -> None:
    ms = 1e6
    events = [
        (0 * ms, 2 * ms, "convolution.1"),
        (1 * ms, 5 * ms, "copy.3"),  # at the same time
        (6 * ms, 8 * ms, "convolution.2"),  # after 1 ms
        (8 * ms, 10 * ms, "convolution.2"),  # at once
        (13 * ms, 16 * ms, "copy.4"),  # after 3 ms
        (20 * ms, 20 * ms + 1, "copy.4"),  # after 4 ms
    ]
    found = traces.summary(reversed(events))
    assert found["span_ms"] == pytest.approx(20, abs=1e-5)
    assert found["idle"] == pytest.approx(0.4, abs=1e-5)
    assert [(gap["after"], gap["before"], gap["ms"]) for gap in found["gaps"]] == [
        ("copy", "copy", 4),
        ("convolution", "copy", 3),
        ("copy", "convolution", 1),
    ]
    text = "\n".join(traces.lines({"steps": 32, **found}))
    assert text.startswith("32 steps took 20.0 ms of the device, 40% of which it idled.\n")
    assert "| convolution | copy | 1 | 3.00 | 3.000 |" in text
    assert "| convolution | 3 | 6.00 |" in text


def test_a_trace_without_operations() -> None:
    assert traces.summary([])["idle"] is None
    assert traces.lines({"steps": 1, **traces.summary([])}) == [
        "The trace has no operations of a device."
    ]


def test_operations_stand_on_the_streams_of_a_gpu() -> None:
    def plane(name: str, *lines: str) -> Any:
        event = SimpleNamespace(start_ns=0, duration_ns=1, name="operation")
        found = [SimpleNamespace(name=line, events=[event]) for line in lines]
        return SimpleNamespace(name=name, lines=found)

    host = plane("/host:CPU", "python", "tf_XLAEigen/1")
    gpu = plane("/device:GPU:0", "XLA Modules", "Stream #13(Compute)", "Stream #14(MemcpyD2D)")

    def names(*planes: Any) -> list[str]:
        return [line.name for line in traces.device_lines(planes)]

    assert names(host, gpu) == ["Stream #13(Compute)", "Stream #14(MemcpyD2D)"]
    assert names(host, plane("/device:TPU:0", "Steps", "XLA Ops")) == ["XLA Ops"]
    assert names(host, plane("/device:GPU:0", "kernels")) == ["kernels"]
    assert names(host) == ["tf_XLAEigen/1"]
    assert names(plane("/host:metadata")) == []


# --- tasks, at a small scale ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("gpu")
    network.prepare(folder, 0, networks.benchmarked())
    return cases.Setup(
        folder=folder,
        image=folder,
        threads=1,
        dtype="bfloat16",
        effort=gpu_tasks.REHEARSAL.effort,
    )


SCALE = gpu_tasks.REHEARSAL


def test_the_limit_is_a_rate(setup: Any) -> None:
    rates = gpu_tasks.limit("ferjax", setup, SCALE)["tflops"]
    assert len(rates) == SCALE.blocks
    assert all(1e-5 < rate < 1e4 for rate in rates)


def test_inference_of_ferjax(setup: Any) -> None:
    found = gpu_tasks.inference("ferjax", setup, SCALE)
    assert found["difference"][0] < 0.2
    middle, least, most = found["single_ms"]
    assert 0 < least <= middle <= most
    assert {"host-16", "device-16"} < set(found)
    assert all(rate > 0 for rate in found["host-16"] + found["device-16"])


def test_probabilities_that_are_wrong_are_not_timed(setup: Any, tmp_path: Path) -> None:
    for path in setup.folder.iterdir():
        if path.is_file() and path.name != "reference.npy":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    gpu_tasks.np.save(tmp_path / "reference.npy", gpu_tasks.np.ones((8, 7)))
    wrong = dataclasses.replace(setup, folder=tmp_path)
    with pytest.raises(RuntimeError, match=r"the probabilities differ by .* from the reference"):
        gpu_tasks.inference("ferjax", wrong, SCALE)


@pytest.mark.slow
def test_training_an_epoch_and_its_trace(setup: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "TRAINING_IMAGES", 16)
    trained = gpu_tasks.training("ferjax", setup, SCALE)
    assert set(trained) == {"batch-8", "evaluation"}
    seconds = gpu_tasks.epoch("ferjax", setup, SCALE)
    pairs = zip(seconds["steps_s"], seconds["with_evaluation_s"], strict=True)
    assert all(0 < steps < both for steps, both in pairs)
    found = gpu_tasks.trace("ferjax", setup, SCALE)
    assert 0 <= found["idle"] < 1 and found["operations"]
    assert (setup.folder / "trace.json.gz").read_bytes()[:2] == b"\x1f\x8b"


@pytest.mark.slow
@pytest.mark.parametrize("entry", ["torch"])
def test_torch(setup: Any, entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not benchmark_gpu.has_torch():
        pytest.skip("torch is not installed")
    monkeypatch.setattr(network, "TRAINING_IMAGES", 16)
    assert set(gpu_tasks.training(entry, setup, SCALE)) == {"batch-8", "evaluation"}
    assert gpu_tasks.inference(entry, setup, SCALE)["device-16"]


def test_the_events_of_a_profile(tmp_path: Path) -> None:
    double = jax.jit(lambda x: (x @ x).sum())
    x = jax.numpy.ones((64, 64))
    double(x).block_until_ready()
    with jax.profiler.trace(str(tmp_path)):
        for _ in range(3):
            double(x).block_until_ready()
    (path,) = tmp_path.rglob("*.xplane.pb")
    events = traces.device_events(path)
    assert events and all(start < end for start, end, _ in events)


# --- the run -------------------------------------------------------------------------------------


def run_in(tmp_path: Path, *options: str, began: float | None = None) -> Any:
    out = tmp_path / "out"
    out.mkdir()
    args = benchmark_gpu.build_parser().parse_args([*options, "--out", str(out)])
    return benchmark_gpu.Run(args, tmp_path, time.monotonic() if began is None else began)


def answering(monkeypatch: pytest.MonkeyPatch, platform: str = "gpu") -> list[tuple[str, str]]:
    """Have tasks give figures without a process; return those that were asked for."""
    asked: list[tuple[str, str]] = []

    def answer(command: list[str], env: object, folder: Path, limit: float) -> Any:
        *_, task, entry, _, _ = command
        asked.append((task, entry))
        found: dict[str, Any] = {
            "prepare": {
                "network": {"name": "net", "parameters": 5, "multiply_adds": 500_000_000},
                "device": {"platform": platform, "kind": "NVIDIA H100"},
            },
            "limit": {"tflops": [600.0, 500.0, 700.0]},
            "training": {"batch-128": [50e3 if entry == "ferjax" else 25e3], "evaluation": [2e5]},
            "epoch": {"steps_s": [0.6], "with_evaluation_s": [0.7]},
            "trace": {"steps": 48, **traces.summary([(0, 1e6, "a"), (2e6, 3e6, "b")])},
            "inference": {"difference": [0.0], "single_ms": [0.5], "device-256": [1e5]},
        }[task]
        if (task, entry) == ("training", "torch"):
            return processes.Done(1.0, 1, "out of memory", "", "")
        if task == "trace":
            (folder / "trace.json.gz").write_bytes(b"a trace")
        return processes.Done(1.0, 1, None, json.dumps(found), "")

    monkeypatch.setattr(processes, "run", answer)
    monkeypatch.setattr(benchmark_gpu, "has_torch", lambda: True)
    return asked


def test_each_figure_is_stored_once_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answering(monkeypatch)
    run = run_in(tmp_path, "--peers", "ferjax,torch,torch-compile")
    assert run.prepare() is None
    stored: list[int] = []
    store = run.store
    monkeypatch.setattr(run, "store", lambda: (store(), stored.append(len(asked)))[0])
    run.measure()
    assert stored == list(range(2, len(asked) + 1))  # after every task
    assert asked[:3] == [("prepare", "ferjax"), ("limit", "ferjax"), ("training", "ferjax")]
    results = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert results["failed"] == {"training, torch, bfloat16": "out of memory"}
    assert (tmp_path / "out" / "trace.json.gz").read_bytes() == b"a trace"
    text = comparison.of_folder(tmp_path / "out")
    # 600 TFLOP/s over 3 times a GFLOP an image are 200,000 images/s.
    assert (
        "| training, batch of 128, bfloat16, images/s | ferjax |  | 50,000 "
        "| torch-compile 25,000 [2.00] | matrix product 200,000 (166,667 to 233,333) [0.25] |"
    ) in text
    assert "| epoch, with evaluation, bfloat16, s | ferjax |  | 0.7 |" in text
    assert "| a | b | 1 | 1.00 | 1.000 |" in text


def test_nothing_is_begun_once_the_minutes_are_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = answering(monkeypatch)
    run = run_in(tmp_path, "--minutes", "1", began=time.monotonic() - 50)
    assert run.prepare() is None
    run.measure()
    assert asked == [("prepare", "ferjax")]
    assert set(run.results["failed"].values()) == {"the 1 minutes were over"}
    assert len(run.results["failed"]) == len(benchmark_gpu.PLAN)


def test_without_torch_the_others_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answering(monkeypatch)
    monkeypatch.setattr(benchmark_gpu, "has_torch", lambda: False)
    run = run_in(tmp_path, "--tasks", "training")
    assert run.prepare() is None
    run.measure()
    assert asked == [("prepare", "ferjax"), ("training", "ferjax")]
    assert set(run.results["failed"].values()) == {"torch is not installed"}


def test_without_a_gpu_nothing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "cpu")
    assert "JAX finds no GPU; --rehearse" in str(run_in(tmp_path).prepare())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "required: --out"),
        (["--tasks", "speed", "--out", "x"], "expected names among limit, .*, got 'speed'"),
        (["--peers", "keras", "--out", "x"], "expected names among ferjax, .*, got 'keras'"),
        (["--minutes", "0", "--out", "x"], "--minutes: expected a positive integer, got '0'"),
        (["--out", str(Path(__file__))], "--out: .*test_benchmark_gpu.py: "),
    ],
)
def test_mistakes(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        benchmark_gpu.main(options)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line)
