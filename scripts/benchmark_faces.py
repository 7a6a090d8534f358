"""Compare ferjax with the PyPI package `fer` on photographs: files on the disk to labelled faces.

JPEG pictures of 640x480 with one face and with six are made of examples/astronaut.jpg, and with
--data also of FER2013's faces. Each measurement is a process of its own, and the peers take turns:
  ferjax          `analyze` over the paths, a stream; ferjax-onnx with ONNX Runtime; ferjax-cnn5
                  with the smaller network, checkpoints/fer_cnn5.h5
  ferjax-singly   `analyze` with one path at a time
  command         `ferjax faces FOLDER --csv FILE`, the whole process
  fer             `FER().detect_emotions(...)`, its Haar cascade; fer-mtcnn with mtcnn=True
  hand-onnx       the limit: YuNet and the network by ONNX Runtime, as one writes that by hand in
                  twenty lines, see benchmarks/by_hand.py; hand-opencv with YuNet by OpenCV
Given are medians: pictures/s after a warm-up, faces found in a picture, seconds from the start of
the process to the first picture's faces, of the command to its end for one picture, and the
process's peak memory. The first start of ferjax compiles, the others take that from the cache.

--many N instead follows the memory of the first of --peers over a stream of N pictures.

`fer` needs an environment of its own, with OpenCV 4; TensorFlow and PyTorch's triton do not live in
one process, and nothing here needs triton:
  python3.11 -m venv fer-env
  fer-env/bin/pip install "fer==25.10.3" "opencv-contrib-python<5" "setuptools<81"
  fer-env/bin/pip uninstall --yes triton

examples:
  python scripts/benchmark_faces.py --fer-python fer-env/bin/python --out benchmarks/faces.json
  python scripts/benchmark_faces.py --many 10000
  python scripts/benchmark_faces.py --quick --peers ferjax,command

Exit codes: 0 done, 1 done in part, 2 a mistake in the call.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks import face_worker, machine, processes, rounds
from benchmarks.arguments import Parser, add_rounds, among, count

ROOT: Final = Path(__file__).parents[1]
PEERS: Final = (
    *("ferjax", "ferjax-onnx", "ferjax-cnn5", "ferjax-singly", "command"),
    *("fer", "fer-mtcnn"),
    *("hand-onnx", "hand-opencv"),
)
OWN: Final = PEERS[:5]
TITLES: Final = {"one": "one face", "six": "six faces"}
REFERENCE: Final = "fer"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = Parser("benchmark_faces", __doc__)
    add = parser.add_argument
    add("--peers", type=among(PEERS), default=PEERS, metavar="A,B", help="(default: all)")
    add("--fer-python", type=Path, metavar="FILE", help="of the environment with `fer`")
    add(
        "--photograph",
        type=Path,
        default=ROOT / "examples" / "astronaut.jpg",
        metavar="FILE",
        help="of the astronaut (default: examples/astronaut.jpg)",
    )
    add("--data", type=Path, metavar="PATH", help="FER2013, whose faces are then among the six")
    add("--pictures", type=count, default=100, metavar="N", help="of each kind (default: 100)")
    add("--repeats", type=count, default=5, metavar="N", help="processes each (default: 5)")
    add("--seconds", type=count, default=10, metavar="S", help="of each rate (default: 10)")
    add("--threads", type=count, default=2, metavar="N", help="cores for every peer (default: 2)")
    add_rounds(parser)
    add("--many", type=count, metavar="N", help="follow the first peer's memory over N pictures")
    add("--quick", action="store_true", help="a small run, to see that it works")
    add("--seed", type=int, default=0, help="of the pictures (default: 0)")
    add("--out", type=Path, metavar="FILE.json", help="store the results there too")
    add("--json", action="store_true", help="print the results as JSON")
    return parser


class Benchmark:
    """The measurements of one call.

    Attributes:
        values: of each peer, what each of its processes measured.
        reasons: why which peer is not measured, or not often enough.
        repeats: how many there were.
    """

    own: tuple[str, ...] = OWN

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self._args, self._folder = args, folder
        self._began, self.repeats = time.monotonic(), 0
        env = {**processes.environment(args.threads, folder), "KERAS_BACKEND": "tensorflow"}
        env["PYTHONPATH"] = os.pathsep.join(
            [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        self._env = processes.with_caches_in(env, folder)
        self.values: dict[str, list[dict[str, Any]]] = {}
        self.reasons: dict[str, str] = {}

    def prepare(self) -> str | None:
        """Make the pictures; return why that fails, or None."""
        settings = {
            "photograph": str(self._args.photograph.absolute()),
            "folder": str(self._folder / "pictures"),
            "count": self._args.pictures,
            "seed": self._args.seed,
            "data": None if self._args.data is None else str(self._args.data.absolute()),
        }
        return self._prepared(__file__, settings)

    def _prepared(self, script: str, settings: dict[str, Any]) -> str | None:
        # In a process of its own: a child's peak memory is counted from its parent's size.
        command = [sys.executable, script, "prepare", json.dumps(settings)]
        return processes.run(command, self._env, self._folder).reason

    def measure(self) -> None:
        """Measure all peers in turn, each repeat beginning with another."""
        peers = rounds.with_before(self._args.peers, self.own, self._args.before)
        if self._args.fer_python is None:
            for peer in [peer for peer in peers if peer.startswith("fer-") or peer == REFERENCE]:
                self.reasons[peer] = "--fer-python names no environment with it"
                peers.remove(peer)
        for repeat in rounds.rounds(self._args.repeats, self._args.minutes, self._began):
            self.repeats = repeat + 1
            for peer in rounds.rotated(peers, repeat):
                if peer in self.reasons:
                    continue
                if rounds.plain(peer) == "command":
                    value = self._command(peer)
                else:
                    value = self._worker(peer)
                if "reason" in value:
                    self.reasons[peer] = value["reason"]
                    say(f"{peer}: not measured: {value['reason']}")
                else:
                    self.values.setdefault(peer, []).append(value)
                    said = self.line(value)
                    say(f"{peer} ({repeat + 1} of {self._args.repeats}): {said}")

    @staticmethod
    def line(value: dict[str, Any]) -> str:
        """Return what a process measured, in a line."""
        rates = ", ".join(
            f"{TITLES[kind]} {found['rate']:.1f} pictures/s, {found['faces']:.2f} found"
            for kind, found in value["kinds"].items()
        )
        return f"{rates}; {value['peak_mb']:.0f} MB"

    def follow_memory(self) -> dict[str, Any]:
        """Return how the memory of the first peer's stream goes, or the reason of a failure."""
        return self._worker(self._args.peers[0], many=self._args.many)

    def _worker(self, peer: str, many: int = 0) -> dict[str, Any]:
        settings = {
            "folder": str(self._folder / "pictures"),
            "seconds": self._args.seconds,
            "many": many,
            "model": str(self._folder / "pictures" / "model.onnx"),
        }
        return self._measured(peer, str(face_worker.__file__), settings)

    def _measured(self, peer: str, worker: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Return what a process of a peer measured, or the reason why there is nothing."""
        theirs = peer.startswith("fer-") or peer == REFERENCE
        python = [sys.executable]
        if theirs:  # isolated: without PYTHONPATH and without this folder's modules
            python = [str(self._args.fer_python.absolute()), "-I"]
        settings = {**settings, "began": time.time()}
        command = [*python, worker, rounds.plain(peer), json.dumps(settings)]
        done = processes.run(command, self._env_of(peer), self._folder)
        if done.reason is not None:
            return {"reason": done.reason}
        measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return {**measured, "peak_mb": done.peak_bytes / 1e6}

    def _env_of(self, peer: str) -> dict[str, str]:
        return rounds.environment_of(peer, self._env, self._args.before)

    def _command(self, peer: str) -> dict[str, Any]:
        """Return what the command takes for one picture, and for all pictures of each kind."""
        result: dict[str, Any] = {"kinds": {}, "peak_mb": 0.0}
        command = [sys.executable, "-m", "ferjax", "faces"]
        target = self._folder / f"{peer}-{len(self.values.get(peer, ()))}.csv"
        first = str(self._folder / "pictures" / "one" / "0000.jpg")
        for kind in (None, *TITLES):
            target.unlink(missing_ok=True)
            pictures = first if kind is None else str(self._folder / "pictures" / kind)
            arguments = [*command, pictures, "--csv", str(target)]
            done = processes.run(arguments, self._env_of(peer), self._folder)
            if done.reason is not None:
                return {"reason": done.reason}
            if kind is None:
                result["start"] = done.seconds
                continue
            with target.open(encoding="utf-8", newline="") as file:
                rows = sum(row["face"] != "0" for row in csv.DictReader(file))
            result["kinds"][kind] = {
                "rate": self._args.pictures / done.seconds,
                "faces": rows / self._args.pictures,
            }
            result["peak_mb"] = max(result["peak_mb"], done.peak_bytes / 1e6)
        return result


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def summary(benchmark: Benchmark) -> list[dict[str, Any]]:
    """Return a row for each peer: medians, and each value."""
    rows = []
    for peer, values in benchmark.values.items():
        row: dict[str, Any] = {"peer": peer, "kinds": {}}
        for kind in TITLES:
            rates = [value["kinds"][kind]["rate"] for value in values]
            faces = [value["kinds"][kind]["faces"] for value in values]
            row["kinds"][kind] = {
                "rate": statistics.median(rates),
                "rates": rates,
                "faces": statistics.median(faces),
            }
        row["starts"] = [value["start"] for value in values]
        row["start"] = statistics.median(row["starts"])
        row["first_start"] = row["starts"][0]
        row["peaks"] = [value["peak_mb"] for value in values]
        row["peak_mb"] = statistics.median(row["peaks"])
        rows.append(row)
    reference = next((row for row in rows if row["peer"] == REFERENCE), None)
    for row in rows:
        for kind, found in row["kinds"].items():
            theirs = None if reference is None else reference["kinds"][kind]["rate"]
            found["times"] = None if theirs is None else found["rate"] / theirs
    return rows


def machine_lines(results: dict[str, Any]) -> list[str]:
    """Return what was measured on, and with which versions."""
    of, names = results["machine"], dict(results["versions"])
    if results.get("before"):
        names["ferjax before"] = results["before"]
    versions = ", ".join(f"{name} {value}" for name, value in names.items())
    return [
        f"Measured on {results['date'][:10]}: {of['cpu']}, {of['threads']} threads, "
        f"{of['memory_gib']:g} GiB, {of['os']}; load before it {of['load']:g}.",
        f"{versions}.",
    ]


def table(results: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    lines = machine_lines(results)
    if "memory" in results:
        return "\n".join([*lines, "", *_memory_rows(results["memory"])])
    lines += [
        f"640x480 JPEG files, {results['pictures']} of each kind; medians of "
        f"{results['repeats']} processes (least to most).",
        "",
        "| | one face, pictures/s | found | times `fer` | six faces, pictures/s | found | "
        "times `fer` | start, s (first) | peak memory, MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in results["peers"]:
        cells = [row["peer"]]
        for kind in TITLES:
            found = row["kinds"][kind]
            low, high = min(found["rates"]), max(found["rates"])
            cells.append(f"{found['rate']:.1f} ({low:.1f} to {high:.1f})")
            cells.append(f"{found['faces']:.2f}")
            cells.append("" if found["times"] is None else f"{found['times']:.1f}")
        start = f"{row['start']:.2f} ({row['first_start']:.2f})"
        cells += [start, f"{row['peak_mb']:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "The command's rate includes its start."]
    lines += [f"- not measured: {peer}: {why}" for peer, why in results["missing"].items()]
    return "\n".join(lines)


def _memory_rows(found: dict[str, Any]) -> list[str]:
    samples = found["samples"]
    lines = ["| pictures done | memory, MB |", "|---|---|"]
    lines += [f"| {done:,} | {mb:.0f} |" for done, mb in samples[9::10] or samples]
    lines += [
        "",
        f"From a tenth of the way to the end {found['growth_mb']:+.0f} MB, "
        f"{found['slope_mb']:+.2f} MB for 1,000 pictures; at most {found['peak_mb']:.0f} MB.",
    ]
    return lines


def growth(samples: Sequence[tuple[int, float]], peak_mb: float) -> dict[str, Any]:
    """Return how memory grows: from a tenth of the way on, and by 1,000 pictures (least squares).

    >>> found = growth([(i * 100, 500 + i / 10) for i in range(1, 101)], 510)
    >>> round(found["growth_mb"], 3), round(found["slope_mb"], 3)
    (9.0, 1.0)
    """
    late = samples[max(0, len(samples) // 10 - 1) :]
    slope = 0.0
    if len(late) > 1:
        slope = statistics.linear_regression(*zip(*late)).slope * 1000
    return {
        "samples": [list(sample) for sample in samples],
        "growth_mb": late[-1][1] - late[0][1],
        "slope_mb": slope,
        "peak_mb": peak_mb,
    }


def prepare(settings: dict[str, Any]) -> int:
    """Make the pictures, and the network as ONNX, in a process of its own."""
    import ferjax
    from benchmarks import face_pictures

    faces = None
    if settings["data"] is not None:
        import publictest

        faces = publictest.read(Path(settings["data"]), limit=200, seed=settings["seed"])[0].images
    photograph, folder = Path(settings["photograph"]), Path(settings["folder"])
    face_pictures.prepare(photograph, folder, settings["count"], settings["seed"], faces)
    classifier = ferjax.load()
    ferjax.onnx.save(folder / "model.onnx", classifier.graph, classifier.variables)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark, or be the process that makes its pictures."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["prepare"]:
        return prepare(json.loads(argv[1]))
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.quick:
        args.repeats, args.seconds, args.pictures = 1, 1, 10
        args.many = args.many and min(args.many, 200)
    load = ready(parser, args)
    with tempfile.TemporaryDirectory(prefix="ferjax-benchmark-") as folder:
        return run(args, Path(folder), load)


def ready(parser: argparse.ArgumentParser, args: argparse.Namespace) -> float:
    """Check what is given, keep to the cores, and return the machine's load before."""
    available = processes.available_threads()
    if args.threads > available:
        parser.error(f"argument --threads: expected at most {available}, got {args.threads}")
    for name in ("fer_python", "data"):
        path = getattr(args, name)
        if path is not None and not path.exists():
            parser.error(f"argument --{name.replace('_', '-')}: {path}: no such file")
    processes.bind(args.threads)
    load = os.getloadavg()[0]
    if load > 0.5:
        say(f"note: the machine is busy, with a load of {load:.1f}")
    return load


def run(args: argparse.Namespace, folder: Path, load: float) -> int:
    """Measure, store and print; return the exit code."""
    benchmark = Benchmark(args, folder)
    reason = benchmark.prepare()
    if reason is not None:
        say(f"benchmark_faces: error: no pictures: {reason}")
        return 1
    results = {**begun(args, load), "pictures": args.pictures, "missing": benchmark.reasons}
    if args.many:
        measured = benchmark.follow_memory()
        if "reason" in measured:
            say(f"benchmark_faces: error: {measured['reason']}")
            return 1
        results["memory"] = growth(measured["memory"], measured["peak_mb"])
    else:
        benchmark.measure()
        results |= {"peers": summary(benchmark), "repeats": benchmark.repeats}
    give(args, results, table)
    return 1 if benchmark.reasons else 0


def begun(args: argparse.Namespace, load: float) -> dict[str, Any]:
    """Return what is known before anything is measured."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(args.threads, {"platform": "cpu", "kind": ""}, load),
        "versions": _versions(args.fer_python),
        "before": None if args.before is None else machine.version_of(args.before),
        "repeats": args.repeats,
    }


def give(
    args: argparse.Namespace, results: dict[str, Any], table: Callable[[dict[str, Any]], str]
) -> None:
    """Store and print the results."""
    text = json.dumps(results, indent=1)
    if args.out is not None:
        args.out.write_text(text + "\n", encoding="utf-8")
        say(f"results: {args.out}")
    print(text if args.json else table(results))


def _versions(fer_python: Path | None) -> dict[str, str]:
    versions = machine.versions(ROOT)
    if fer_python is not None:
        names = ("fer", "tensorflow", "opencv-contrib-python", "torch")
        code = f"import importlib.metadata as m; print(*[n + ' ' + m.version(n) for n in {names}])"
        env, here = dict(os.environ), Path.cwd()
        said = processes.run([str(fer_python.absolute()), "-c", code], env, here).stdout.split()
        versions |= {f"fer's {name}": value for name, value in zip(said[::2], said[1::2])}
    return versions


if __name__ == "__main__":
    sys.exit(main())
