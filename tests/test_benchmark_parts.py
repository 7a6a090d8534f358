"""The suite in parts: who takes turns with whom, what is stored, and the one table of it all."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import ferjax

from .conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
benchmark = importlib.import_module("benchmark")
by_hand, cases, comparison, figures, machine, parts, processes, rounds, run = (
    importlib.import_module(f"benchmarks.{name}")
    for name in "by_hand cases comparison figures machine parts processes rounds run".split()
)

MACHINE = {
    "cpu": "A CPU",
    "logical_cores": 2,
    "physical_cores": 2,
    "threads": 2,
    "memory_gib": 16.0,
    "gpu": None,
    "os": "Linux",
}


# --- rounds and an earlier ferjax ----------------------------------------------------------------


def test_a_round_that_would_end_too_late_is_not_begun() -> None:
    def made(minutes: float | None, *ticks: float) -> list[int]:
        return list(rounds.rounds(4, minutes, 0.0, iter(ticks).__next__))

    assert made(None, 0, 60, 120, 180, 240) == [0, 1, 2, 3]
    # A round took 50 s: the third would end at 160 s, but two minutes are over at 120 s.
    assert made(2, 0, 50, 110, 999) == [0, 1]
    assert made(1, 0, 600) == [0]  # the first is always made


def test_the_earlier_ferjax_is_imported_from_its_checkout(tmp_path: Path) -> None:
    env = {"PYTHONPATH": "here", "A": "b"}
    assert rounds.environment_of("ferjax", env, tmp_path) == env
    earlier = rounds.environment_of("ferjax (before)", env, tmp_path)
    assert earlier == {**env, "PYTHONPATH": f"{tmp_path}:here"}
    assert rounds.environment_of("ferjax (before)", {}, tmp_path) == {"PYTHONPATH": str(tmp_path)}


def test_both_take_turns_and_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, str, bool]] = []

    def answers(command: list[str], env: dict[str, str], folder: Path) -> Any:
        *_, task, entry, _ = command
        is_earlier = env.get("PYTHONPATH", "").startswith(str(tmp_path / "earlier"))
        calls.append((task, entry, is_earlier))
        found = {"difference": 0.0, "p50": 2.0 if is_earlier else 1.0, "p99": 3.0, "rate": 4e9}
        return processes.Done(1.0, 1, None, json.dumps(found), "")

    monkeypatch.setattr(processes, "run", answers)
    monkeypatch.setattr(cases.Entry, "missing", lambda self: None)
    package = tmp_path / "earlier" / "ferjax"
    package.mkdir(parents=True)
    (package / "_version.py").write_text('__version__ = "0.0.9"\n')
    setup = cases.Setup(folder=tmp_path, image=tmp_path, threads=1, effort=cases.QUICK)
    suite = run.Benchmark(setup, ["latency"], ("ferjax", "torch"), before=tmp_path / "earlier")
    suite.network, suite.device = {"multiply_adds": 10**9}, {"platform": "cpu", "kind": "cpu"}
    suite.check()
    suite.measure()
    assert ("agreement", "ferjax", False) in calls and ("agreement", "ferjax", True) in calls
    assert [call for call in calls if call[0] == "latency"] == [
        ("latency", "ferjax", False),
        ("latency", "ferjax", True),
        ("latency", "torch", False),
        ("latency", "ferjax-onnx", False),
        ("latency", "ferjax-onnx", True),
    ]
    results = suite.results()
    assert results["before"] == "0.0.9 (no commit)"
    stored = {"latency": part_of("latency", cases=results)}
    line = next(found for found in comparison.lines(stored) if found.entry == "ferjax")
    assert (line.after, line.before, line.peer) == ([1.0], [2.0], ("torch", [1.0]))
    # Of 4 GFLOP/s, 2 operations for each of a billion multiply-adds take half a second.
    assert line.limit == ("matrix product", [500.0])
    assert line.times(line.limit[1]) == 500


# --- the bare libraries --------------------------------------------------------------------------


@pytest.mark.parametrize("finder", ["by_onnx_runtime", "by_opencv"])
def test_what_is_written_by_hand_sees_what_ferjax_sees(tmp_path: Path, finder: str) -> None:
    classifier = ferjax.load(engine="onnx")
    ferjax.onnx.save(tmp_path / "model.onnx", classifier.graph, classifier.variables)
    image = cv2.imread(str(ROOT / "examples" / "astronaut.jpg"))
    assert image is not None
    boxes = getattr(by_hand, finder)()(image)
    (face,) = classifier.analyze(str(ROOT / "examples" / "astronaut.jpg"))
    # ferjax measures the face of 105 pixels once more, soft and in gray.
    np.testing.assert_allclose(boxes, [face.box], atol=8)
    (row,) = by_hand.classifier(tmp_path / "model.onnx")(image, boxes)
    assert row.sum() == pytest.approx(1, abs=1e-5)
    assert classifier.labels[int(row.argmax())] == face.label


def test_a_face_at_the_edge_and_no_face(tmp_path: Path) -> None:
    classifier = ferjax.load(engine="onnx")
    ferjax.onnx.save(tmp_path / "model.onnx", classifier.graph, classifier.variables)
    classify = by_hand.classifier(tmp_path / "model.onnx")
    image = np.zeros((64, 96, 3), np.uint8)
    for find in (by_hand.by_onnx_runtime(), by_hand.by_opencv()):
        assert find(image).shape == (0, 4)
    assert classify(image, np.zeros((0, 4), np.float32)).shape == (0, 7)
    assert classify(image, np.array([[-20, -20, 40, 40]], np.float32)).shape == (1, 7)


# --- parts ---------------------------------------------------------------------------------------


def test_every_part_calls_scripts_that_take_its_options(tmp_path: Path) -> None:
    given = {"before": ROOT, "threads": 1, "fer-python": sys.executable, "data": tmp_path}
    for name, part in parts.PARTS.items():
        for command in part.commands.values():
            line = command.line(given, quick=True, out=tmp_path / "results.json")
            parser = importlib.import_module(command.script).build_parser()
            args = parser.parse_args(line[2:])
            assert args.quick, name
            if "before" in command.takes:
                assert args.before == ROOT
    faces = parts.PARTS["photographs"].commands["benchmark_faces"]
    line = faces.line({"threads": None}, quick=False, out=Path("r.json"))
    assert "--threads" not in line and "--quick" not in line
    assert line[-2:] == ["--out", "r.json"]


@pytest.mark.parametrize("name", [name for name in parts.PARTS if name != "memory"])
def test_a_part_makes_its_rounds_within_the_minutes_it_is_given(name: str) -> None:
    for command in parts.PARTS[name].commands.values():
        read = importlib.import_module(command.script).build_parser().parse_args
        for minutes, expected in ((None, parts.MINUTES), (20, 20)):
            line = command.line({"minutes": minutes}, quick=False, out=Path("r.json"))
            assert read(line[2:]).minutes == expected


def test_a_part_is_stored_as_its_scripts_give_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown(line: list[str], env: object, limit: float) -> int:
        if "--soak" in line:  # gives nothing
            return 1
        if "--hours" in line:  # gives something, and fails
            growing(line, 5.0, frames=True)
            return 1
        growing(line, 3.0 if "hand-onnx" in line else 4.0)
        return 0

    def growing(line: list[str], grown: float, frames: bool = False) -> None:
        memory = {"samples": [[3000, 400.0]], "growth_mb": grown}
        results = {"memory": memory, "machine": MACHINE, "versions": {"python": "3.11"}}
        results |= {"film_seconds": 20, "rows": 7} if frames else {}
        Path(line[-1]).write_text(json.dumps(results))

    monkeypatch.setattr(processes, "shown", shown)
    options = ["--part", "memory", "--quick", "--name", "here", "--out", str(tmp_path)]
    assert benchmark.main(options) == 1
    stored = json.loads((tmp_path / "here-quick" / "memory.json").read_text())
    assert stored["failed"] == {"film": "exit code 1", "service": "exit code 1"}
    assert list(stored["results"]) == ["photographs", "photographs by hand", "film"]
    text = capsys.readouterr().out
    assert "pictures, MB | photographs |  | 4.00 |  | by hand 3.00 [0.75] |" in text
    assert "| growth over 3,000 frames, MB | film |  | 5.00 |  | none 0 |" in text
    assert "- not measured: service: exit code 1" in text
    assert "its figures mean nothing" in text

    monkeypatch.setattr(processes, "shown", lambda *_: 1)
    assert benchmark.main(["--part", "start", "--out", str(tmp_path)]) == 1
    assert "start: nothing was measured" in capsys.readouterr().err
    assert not list(tmp_path.rglob("start.json"))


def test_parts_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--parts"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == list(parts.PARTS)
    assert {"photographs", "video", "service", "memory", "training", "start"} <= set(names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--part", "speed"], "--part: expected names among latency, .*, got 'speed'"),
        (["--part", "start", "--cases", "latency"], "--cases: a part has its own"),
        (["--part", "start", "--peers", "torch"], "--peers: a part has its own"),
        (["--part", "start", "--image-count", "9"], "--image-count: a part has its own"),
        (["--data", "."], "--data: it takes --part too"),
        (["--part", "video", "--fer-python", "gone"], "--fer-python: gone: no such file"),
        (["--part", "video", "--before", "gone"], "expected a checkout of ferjax, got 'gone'"),
        (["--minutes", "0"], "--minutes: expected a positive integer, got '0'"),
        (["--table", "gone", "gone"], "gone: holds no part of the suite"),
        (["--table", "a", "b", "c"], "expected a folder and an earlier one, got 3 paths"),
    ],
)
def test_mistakes(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        benchmark.main(arguments)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "start.json: is no JSON file"),
        ('{"part": "video"}', "start.json: holds no results of the part start"),
        ('{"part": "start", "format": 9}', "start.json: expected format 1, got 9"),
    ],
)
def test_what_is_no_part_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "start.json").write_text(content)
    with pytest.raises(parts.PartError, match=message):
        parts.read(tmp_path)


# --- the table -----------------------------------------------------------------------------------


def part_of(name: str, **results: Any) -> dict[str, Any]:
    found = {
        title: {"machine": MACHINE, "versions": {"ferjax": "1.0", "python": "3.11"}, **of}
        for title, of in results.items()
    }
    kept = {"format": 1, "part": name, "date": "2026-01-02T03:04:05+00:00", "quick": False}
    return {**kept, "failed": {}, "results": found}


def photographs(rate: float) -> dict[str, Any]:
    def row(peer: str, times: float) -> dict[str, Any]:
        rates = [times * rate, 3 * times * rate, 2 * times * rate]
        kinds = {kind: {"rates": rates} for kind in ("one", "six")}
        return {"peer": peer, "kinds": kinds, "starts": [2 / times], "peaks": [100 * times]}

    peers = [row("ferjax-onnx", 5), row("fer", 1), row("fer-mtcnn", 2)]
    peers += [row("hand-onnx", 10), row("hand-opencv", 4)]
    return part_of("photographs", faces={"peers": peers, "missing": {"command": "it fails"}})


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, dict[str, Any]], Path]:
    def to(folder: str, part: dict[str, Any]) -> Path:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{part['part']}.json").write_text(json.dumps(part))
        return tmp_path / folder

    return to


def test_the_table_of_photographs(
    write: Callable[[str, dict[str, Any]], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    now, earlier = write("now", photographs(10)), write("earlier", photographs(5))
    assert benchmark.main(["--table", str(now), str(earlier)]) == 0
    text = capsys.readouterr().out
    assert "Measured on 2026-01-02: A CPU, 2 threads on 2 cores, 16 GiB, Linux; " in text
    assert (
        "\n| photographs, one face, pictures/s | ferjax-onnx | 50.0 (25.0 to 75.0) "
        "| 100 (50.0 to 150) | fer-mtcnn 40.0 (20.0 to 60.0) [2.50] "
        "| hand-onnx 200 (100 to 300) [0.50] |\n"
    ) in text
    # Of seconds fewer are better: 0.4 s against 1 s of the best peer.
    assert "first faces, s | ferjax-onnx | 0.4 | 0.4 | fer-mtcnn 1.00 [2.50] " in text
    # Of memory too: 500 MB against the 100 of `fer` and the 400 of the bare libraries.
    assert "| 500 | 500 | fer 100 [0.20] | hand-opencv 400 [0.80] |" in text
    assert "- not measured: command: it fails" in text


def test_a_film_is_compared_with_what_looks_at_as_many_frames() -> None:
    def row(peer: str, rate: float) -> dict[str, Any]:
        films = {kind: {"rates": [rate]} for kind in ("one", "six")}
        return {"peer": peer, "films": films, "peaks": [300.0]}

    peers = [row("ferjax", 200), row("ferjax-each", 100), row("command", 150), row("fer", 30)]
    peers += [row("hand-onnx", 250), row("hand-onnx-each", 125), row("decoding", 900)]
    times = {"median_ms": [10.0], "p95_ms": [15.0], "most_ms": [20.0]}
    peers += [{"peer": "latency", "films": {}, "latencies": times, "peaks": [300.0]}]
    part = part_of("video", film={"peers": peers, "film_seconds": 6, "missing": {}})
    found = {line.key[1:]: line for line in comparison.lines({"video": part})}
    assert found["film, one face", "ferjax"].limit == ("hand-onnx", [250])
    assert found["film, one face", "command"].peer == ("fer", [30])
    each = found["film, six faces, each frame looked at", "ferjax-each"]
    assert (each.limit, each.peer) == (("hand-onnx-each", [125]), ("fer", [30]))
    waiting = found["camera, from a frame to its face", "latency"]
    assert waiting.limit == ("hand-onnx-each", [8.0])
    assert waiting.times(waiting.limit[1]) == 0.8
    assert not any(entry in ("fer", "decoding") for _, entry in found)


def test_the_service_is_compared_with_ten_lines_and_with_the_bare_libraries() -> None:
    def row(server: str, clients: int, rate: float) -> dict[str, Any]:
        values = {"rate": [rate], "p50": [1 / rate], "p99": [2 / rate], "peak_mb": [rate]}
        return {"server": server, "kind": "faces", "clients": clients, "values": values}

    rows = [
        row(server, clients, rate * clients)
        for server, rate in {"batched": 40, "singly": 30, "plain": 20, "bare": 50}.items()
        for clients in (1, 64)
    ]
    part = part_of("service", wrk={"rows": [*rows, row("nothing", 1, 9000)]})
    found = {line.title: line for line in comparison.lines({"service": part})}
    most = found["/v1/faces, 64 clients"]
    assert (most.after, most.peer, most.limit) == ([2560], ("plain", [1280]), ("bare", [3200]))
    alone = found["/v1/faces, 1 client, 99 % within"]
    assert alone.times(alone.peer[1] if alone.peer else None) == 2
    assert found["peak memory, service"].after == [2560]
    assert {line.entry for line in found.values()} == {"batched"}


def test_the_limit_of_training_and_of_starts() -> None:
    def metric(key: str, title: str, unit: str, **values: list[float]) -> dict[str, Any]:
        rows = [{"entry": entry, "values": of, "peaks": [9.0]} for entry, of in values.items()]
        higher = unit == "images/s"
        return {"key": key, "title": title, "unit": unit, "higher_is_better": higher, "rows": rows}

    training = [
        metric("batch-8", "batches of 8", "images/s", ferjax=[10.0]),
        metric("evaluation", "evaluation", "images/s", ferjax=[30.0]),
        metric("epoch-8", "epoch by 8 with evaluation", "s", ferjax=[40.0]),
    ]
    start = [metric("seconds", "first prediction", "s", torch=[2.0], onnxruntime=[0.5])]
    start[0]["rows"].append({"entry": "ferjax (first start)", "values": [1.0], "peaks": [9.0]})
    effort = {"train_batches": [8], "epoch_images": 100, "epoch_evaluated": 60}
    results = {
        "settings": {"effort": effort},
        "limit": {"gflops": 10.0},
        "network": {"multiply_adds": 50_000_000},  # 0.1 GFLOP: 100 images/s forward
        "cases": [
            {"name": "training", "metrics": training, "missing": []},
            {"name": "cold-start", "metrics": start, "missing": []},
        ],
    }
    found = {line.title: line for line in comparison.lines({"start": part_of("start", of=results)})}

    def limit(title: str) -> float:
        name, (value,) = found[title].limit
        assert name == ("onnxruntime" if title.startswith("cold") else "matrix product")
        return float(value)

    assert limit("training, batches of 8") == pytest.approx(100 / 3)
    assert limit("training, evaluation") == pytest.approx(100)
    assert limit("training, epoch by 8 with evaluation") == pytest.approx(3 * 1 + 0.6)
    assert limit("cold-start, first prediction") == 0.5
    assert found["cold-start, first prediction"].peer == ("torch", [2.0])


def test_the_commit_of_the_ferjax_that_is_measured_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "ferjax"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "_version.py").write_text('__version__ = "7.8.9"\n')
    monkeypatch.delitem(sys.modules, "ferjax")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "7.8.9" not in machine.versions().get("ferjax", "")  # a package that is no checkout
    (tmp_path / "pyproject.toml").touch()
    assert machine.versions()["ferjax"] == "7.8.9 (no commit)"
    assert machine.versions(ROOT)["ferjax"].startswith(f"{ferjax.__version__} (")
