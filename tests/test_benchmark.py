"""The benchmark suite: its arithmetic, its peers' agreement, its command line, one small run."""

from __future__ import annotations

import doctest
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import ferjax

from . import networks

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))
benchmark = importlib.import_module("benchmark")
cases, comparison, figures, machine, network = (
    importlib.import_module(f"benchmarks.{name}")
    for name in "cases comparison figures machine network".split()
)
parts, plot, processes, rounds, run, worker = (
    importlib.import_module(f"benchmarks.{name}")
    for name in "parts plot processes rounds run worker".split()
)


# --- figures ---------------------------------------------------------------------------------


def test_medians_ratios_and_shares_by_hand() -> None:
    rate = cases.Metric("all", "all", "images/s", True, 1)
    found = {"a": ([10.0, 30.0, 20.0], [5_000_000] * 3), "b": ([50.0], [7_040_000])}
    # 2 billion operations an image, of 400 billion a second.
    a, b = figures.compare(rate, found, 2.0, 400.0)["rows"]
    assert (a["median"], a["min"], a["max"]) == (20.0, 10.0, 30.0)
    assert (a["ratio"], b["ratio"]) == (2.5, 1.0)
    assert (a["share"], b["share"]) == (0.1, 0.25)
    assert (a["peak_mb"], b["peak_mb"]) == (5.0, 7.0)


def test_of_seconds_fewer_are_better_and_have_no_share() -> None:
    found = {"a": ([2.0], [1]), "b": ([3.0], [1])}
    a, b = figures.compare(cases.Metric("s", "s", "s"), found, 0.0, 400.0)["rows"]
    assert (a["ratio"], b["ratio"]) == (1.0, 1.5)
    assert a["share"] is None
    assert figures.compare(cases.Metric("s", "s", "s"), {}, 0.0, None)["rows"] == []


def test_multiply_adds_by_hand() -> None:
    first = 46 * 46 * 9 * 1 * 4
    second = 23 * 23 * 9 * 4 * 6
    assert (
        network.multiply_adds(networks.benchmarked().graph)
        == first + second + 11 * 11 * 6 * 8 + 8 * 7
    )


def test_each_repeat_begins_with_another_entry() -> None:
    orders = [rounds.rotated(["a", "b", "c"], repeat) for repeat in range(4)]
    assert [entries[0] for entries in orders] == ["a", "b", "c", "a"]
    assert all(sorted(entries) == ["a", "b", "c"] for entries in orders)
    assert rounds.rotated([], 3) == []


def test_the_time_left_is_that_of_the_same_measurements() -> None:
    clock = run.Clock()
    clock.add(("latency", "a"), 10.0)
    clock.add(("latency", "b"), 20.0)
    assert clock.left([("latency", "a"), ("latency", "b")], set()) == "about 30 s"
    assert clock.left([("latency", "a"), ("latency", "b")], {("latency", "b")}) == "about 10 s"
    assert clock.left([("training", "a")] * 20, set()) == "about 5 min"  # 15 s each, for all known


@pytest.mark.parametrize(
    "module", [cases, comparison, figures, machine, rounds], ids=lambda m: m.__name__
)
def test_examples_in_docstrings(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


# --- the table -------------------------------------------------------------------------------


@pytest.fixture
def stored() -> dict[str, Any]:
    rate = cases.Metric("all", "all of 10", "images/s", True, 1)
    found = {"ferjax": ([100.0, 120.0, 110.0], [2e8] * 3), "torch": ([220.0, 225.0, 200.0], [3e8])}
    metrics = [figures.compare(rate, found, 1.0, 500.0)]
    absent = [{"entry": "onnxruntime", "reason": "onnx is not installed", "failed": True}]
    return {
        "format": 1,
        "date": "2026-01-02T03:04:05+00:00",
        "complete": True,
        "machine": {
            "cpu": "A CPU",
            "logical_cores": 4,
            "physical_cores": None,
            "threads": 1,
            "memory_gib": 16.0,
            "gpu": None,
            "os": "Linux",
        },
        "versions": {"ferjax": "1.0", "torch": "2.0"},
        "settings": {"dtype": "float32", "effort": {"repeats": 3}},
        "network": {"name": "net", "parameters": 1234, "multiply_adds": 5_000_000},
        "limit": {"gflops": 500.0, "products": {}, "missing": {}},
        "cases": [{"name": "throughput", "what": "Images.", "metrics": metrics, "missing": absent}],
    }


def test_the_table_of_stored_results(
    stored: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "stored.json"
    path.write_text(json.dumps(stored))
    assert benchmark.main(["--table", str(path)]) == 0
    assert capsys.readouterr().out == (
        "Measured on 2026-01-02: A CPU, 1 thread on 4 cores, 16 GiB, Linux.\n"
        "net, 1,234 parameters, 5 million multiply-adds an image, float32; "
        "ferjax 1.0, torch 2.0.\n"
        "Median of 3 processes (least to most), times the best, share of the limit.\n"
        "Limit: a large matrix product, 500 GFLOP/s.\n"
        "\n"
        "**throughput**: Images.\n"
        "\n"
        "| | all of 10, images/s | peak memory, MB |\n"
        "|---|---|---|\n"
        "| ferjax | 110 (100 to 120), 2.00x, 22% | 200 |\n"
        "| torch | 220 (200 to 225), 1.00x, 44% | 300 |\n"
        "\n"
        "- not measured: onnxruntime: onnx is not installed\n"
    )


def test_the_picture_of_stored_results(stored: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert plot.draw(stored, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    stored["cases"] = []
    assert not plot.draw(stored, tmp_path / "q.png")


def test_rows_have_the_colour_of_their_peer() -> None:
    assert plot.colour("ferjax (first start)") == plot.colour("ferjax")
    assert plot.colour("keras-tf-call") == plot.colour("keras-tf")
    assert len({plot.colour(entry) for entry in cases.ENTRIES}) == len(cases.PEERS)


# --- the command line ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cases", "memory"], "expected names among latency, .*, got 'memory'"),
        (["--peers", "ferjax,caffe"], "expected names among ferjax, .*, got 'caffe'"),
        (["--repeats", "0"], "--repeats: expected a positive integer, got '0'"),
        (["--image-count", "many"], "--image-count: expected a positive integer, got 'many'"),
        (["--threads", "100000"], "--threads: expected at most [0-9]+, got 100000"),
        (["--name", "../x"], "--name: expected letters, .*, got '../x'"),
        (["--dtype", "float16"], "--dtype: invalid choice"),
        (["--cases", "training", "--peers", "onnxruntime"], "none of these peers takes part"),
        (["--out", str(Path(__file__))], "--out: .*test_benchmark.py: "),
        (["--table", "gone.json"], "gone.json: No such file"),
        (["--table", str(Path(__file__))], "test_benchmark.py: is no JSON file"),
        (["surplus"], "unrecognized arguments: surplus"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        benchmark.main(arguments)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("benchmark: error: ")
    assert re.search(message, line)


@pytest.mark.parametrize(
    ("content", "message"),
    [("[]", "holds no results"), ('{"format": 9, "cases": []}', "expected format 1, got 9")],
)
def test_what_is_no_result_has_no_table(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(figures.ResultError, match=message):
        figures.read(tmp_path / "r.json")


def test_who_does_not_take_part_has_a_reason() -> None:
    peers = ("ferjax", "keras-tf", "onnxruntime")
    assert cases.selected("training", peers, "float32") == (
        ["ferjax", "keras-tf"],
        {"onnxruntime": "it trains no networks"},
    )
    entries, excused = cases.selected("latency", peers, "bfloat16")
    assert entries == ["ferjax"]
    assert set(excused) == {"keras-tf-predict", "keras-tf-call", "onnxruntime", "ferjax-onnx"}


def test_the_setup_survives_its_way_into_a_process(tmp_path: Path) -> None:
    given = setup_in(tmp_path)
    assert cases.Setup.from_json(given.to_json()) == given


# --- processes -------------------------------------------------------------------------------


def test_a_process_has_its_time_and_its_memory(tmp_path: Path) -> None:
    code = "import time; x = b'1' * 200_000_000; time.sleep(0.3); print('done')"
    done = processes.run([sys.executable, "-c", code], processes.environment(1, tmp_path), tmp_path)
    assert (done.reason, done.stdout) == (None, "done\n")
    assert done.seconds > 0.3
    assert done.peak_bytes > 200e6


def test_a_process_writes_bytecode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    line = [sys.executable, "-c", "import sys; print(sys.dont_write_bytecode)"]
    done = processes.run(line, processes.environment(1, tmp_path), tmp_path)
    assert done.stdout == "False\n"


def test_why_a_process_failed(tmp_path: Path) -> None:
    env = processes.environment(1, tmp_path)

    def reason(code: str, limit: float = 60.0) -> Any:
        return processes.run([sys.executable, "-c", code], env, tmp_path, limit).reason

    assert reason("raise SystemExit('said last')") == "said last"
    assert reason("raise SystemExit(3)") == "ended with exit code 3"
    assert reason("import os; os.kill(os.getpid(), 11)") == "ended by signal SIGSEGV"
    assert reason("import time; time.sleep(60)", 0.2) == "stopped after 0.2 s"


# --- the peers -------------------------------------------------------------------------------


def setup_in(folder: Path) -> Any:
    image = SCRIPTS.parent / "examples" / "astronaut.png"
    return cases.Setup(folder=folder, image=image, threads=1, effort=cases.QUICK)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("benchmark")
    network.prepare(folder, 0, networks.benchmarked())
    return setup_in(folder)


def need(entry: str) -> None:
    if (reason := cases.ENTRIES[entry].missing()) is not None:
        pytest.skip(reason)


@pytest.mark.slow
@pytest.mark.parametrize("entry", ["ferjax", "keras-tf-call", "keras-jax", "torch", "onnxruntime"])
def test_peers_agree_with_the_reference(prepared: Any, entry: str) -> None:
    need(entry)
    if entry == "onnxruntime":
        worker.prepare(entry, prepared)
    if entry == "keras-tf-call":  # this process has Keras on JAX
        command = [sys.executable, SCRIPTS / "benchmark.py", "worker", "agreement", entry]
        done = subprocess.run([*command, prepared.to_json()], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout.splitlines()[-1])
    else:  # Keras relies on promotion
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            found = worker.agreement(entry, prepared)
    assert found["difference"] < 1e-5


def test_the_reference_tells_images_and_classes_apart(prepared: Any) -> None:
    reference = np.load(prepared.folder / "reference.npy")
    np.testing.assert_allclose(reference.sum(1), 1)
    assert np.ptp(reference, axis=0).min() > 1e-3
    assert reference.max() < 0.999


def test_a_peer_that_computes_something_else_is_not_timed(
    prepared: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answers(command: list[str], env: object, folder: Path) -> Any:
        *_, task, entry, _ = command
        assert task == "agreement"
        differences = dict.fromkeys(("ferjax", "ferjax-onnx"), 2e-6)
        differences |= {"torch": 3e-4, "keras-jax": float("nan")}
        return processes.Done(1.0, 1, None, json.dumps({"difference": differences[entry]}), "")

    monkeypatch.setattr(processes, "run", answers)
    monkeypatch.setattr(cases.Entry, "missing", lambda self: None)
    suite = run.Benchmark(prepared, ["latency"], ("ferjax", "keras-jax", "torch"))
    suite.check()
    assert suite.failures == {("latency", "torch"), ("latency", "keras-jax")}
    assert "differ by 3.0e-04, more than 0.0001" in suite.reasons["latency", "torch"]
    assert "torch: not measured: its probabilities differ" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("entry", ["ferjax", "torch"])
def test_peers_train(prepared: Any, entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    need(entry)
    monkeypatch.setattr(network, "TRAINING_IMAGES", 16)
    module = importlib.import_module(f"benchmarks.{cases.ENTRIES[entry].module}")
    trainer = module.trainer(entry, prepared, 8)
    assert trainer.run(1) == 8
    assert 0.5 < trainer.loss() < 5


@pytest.mark.slow
def test_a_small_run(tmp_path: Path) -> None:
    need("ferjax-onnx")
    options = ["--peers", "ferjax", "--cases", "latency", "--quick", "--name", "small"]
    command = [sys.executable, SCRIPTS / "benchmark.py", *options, "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = figures.read(tmp_path / "small.json")
    assert done.stdout == figures.table(results) + "\n"
    assert (tmp_path / "small.png").is_file()
    assert results["complete"]
    assert results["network"]["parameters"] == 7_324_615
    assert results["largest_difference"]["ferjax"] < 1e-4
    assert results["versions"]["ferjax"].startswith(ferjax.__version__)
    (case,) = results["cases"]
    assert case["missing"] == []
    for metric in case["metrics"]:
        assert {row["entry"] for row in metric["rows"]} == {"ferjax", "ferjax-onnx"}
        assert min(row["ratio"] for row in metric["rows"]) == 1
        for row in metric["rows"]:
            assert 0.1 < row["median"] < 60_000
            assert 50 < row["peak_mb"] < 100_000
