"""Compare ferjax with the PyPI package `fer` on films: a file to labelled faces in each frame.

Films of 640x480 pixels at 30 frames/s with one face and with six are made of
examples/astronaut.jpg, and with --data also of FER2013's faces. Each measurement is a process of
its own, and the peers take turns:
  ferjax          `analyze_video` as it is: whole frames are looked at five times a second
  ferjax-each     each frame is looked at as a whole; ferjax-third: each third
  ferjax-cnn5     with the smaller network, checkpoints/fer_cnn5.h5
  latency         `analyze_video(latency="low")` of frames that come 1/30 s apart, as from a camera
  command         `ferjax video FILM --csv FILE`, the whole process
  fer             `Video.analyze` with its Haar cascade, which writes neither frames nor a film;
                  fer-defaults: as it is, which writes both
  hand-onnx       the limit: PyAV, YuNet and the network by ONNX Runtime, as one writes that by
                  hand, see benchmarks/by_hand.py; each sixth frame is looked at, the faces of each
                  are classified; hand-onnx-each: each frame is looked at
  decoding        PyAV alone, to pixels: more frames/s than that cannot be
Given are medians: frames/s after a warm-up, faces found in a frame, and peak memory; of latency the
time from when a frame comes to its faces.

--hours H instead follows the memory of a run over a film of H hours that writes a table.

scripts/benchmark_faces.py says how to make an environment with `fer`.

examples:
  python scripts/benchmark_video.py --fer-python fer-env/bin/python --out benchmarks/video.json
  python scripts/benchmark_video.py --hours 2
  python scripts/benchmark_video.py --quick --peers ferjax,latency

Exit codes: 0 done, 1 done in part, 2 a mistake in the call.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import benchmark_faces
from benchmarks import processes, rounds, video_worker
from benchmarks.arguments import Parser, add_rounds, among, count

ROOT: Final = Path(__file__).parents[1]
PEERS: Final = (
    *("ferjax", "ferjax-each", "ferjax-third", "ferjax-cnn5", "latency", "command"),
    *("fer", "fer-defaults"),
    *("hand-onnx", "hand-onnx-each", "decoding"),
)
OWN: Final = PEERS[:6]
LATENCIES: Final = ("median_ms", "p95_ms", "most_ms")
TITLES: Final = {"one": "one face", "six": "six faces"}
REFERENCE: Final = "fer"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = Parser("benchmark_video", __doc__)
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
    add("--seconds", type=count, default=20, metavar="S", help="of each film (default: 20)")
    add("--repeats", type=count, default=5, metavar="N", help="processes each (default: 5)")
    add("--threads", type=count, default=2, metavar="N", help="cores for every peer (default: 2)")
    add_rounds(parser)
    add("--hours", type=float, metavar="H", help="follow the memory over a film of so many hours")
    add("--quick", action="store_true", help="a small run, to see that it works")
    add("--seed", type=int, default=0, help="of the films (default: 0)")
    add("--out", type=Path, metavar="FILE.json", help="store the results there too")
    add("--json", action="store_true", help="print the results as JSON")
    return parser


class Benchmark(benchmark_faces.Benchmark):
    """The measurements of one call."""

    own = OWN

    def prepare(self) -> str | None:
        """Make the films; return why that fails, or None."""
        settings = {
            "photograph": str(self._args.photograph.absolute()),
            "folder": str(self._folder / "films"),
            "seconds": self._args.seconds,
            "hours": self._args.hours,
            "seed": self._args.seed,
            "data": None if self._args.data is None else str(self._args.data.absolute()),
        }
        return self._prepared(__file__, settings)

    def _film(self, kind: str) -> str:
        return str(self._folder / "films" / f"{kind}.mp4")

    def _worker(self, peer: str, many: int = 0, **more: Any) -> dict[str, Any]:
        settings = {
            "films": [self._film(kind) for kind in TITLES],
            "warm_up": self._film("warm_up"),
            "seconds": self._args.seconds,
            "model": str(self._folder / "films" / "model.onnx"),
            **more,
        }
        return self._measured(peer, str(video_worker.__file__), settings)

    def _command(self, peer: str) -> dict[str, Any]:
        """Return what the command takes for each film."""
        result: dict[str, Any] = {"films": {}, "peak_mb": 0.0}
        frames = self._args.seconds * 30
        for kind in TITLES:
            table = self._folder / f"{peer}-{kind}-{len(self.values.get(peer, ()))}.csv"
            command = [sys.executable, "-m", "ferjax", "video", self._film(kind)]
            arguments = [*command, "--csv", str(table)]
            done = processes.run(arguments, self._env_of(peer), self._folder)
            if done.reason is not None:
                return {"reason": done.reason}
            with table.open(encoding="utf-8", newline="") as file:
                rows = sum(1 for _ in csv.DictReader(file))
            result["films"][kind] = {"rate": frames / done.seconds, "faces": rows / frames}
            result["peak_mb"] = max(result["peak_mb"], done.peak_bytes / 1e6)
        return result

    @staticmethod
    def line(value: dict[str, Any]) -> str:
        """Return what a process measured, in a line."""
        if "median_ms" in value:
            return f"{value['median_ms']:.0f} ms, 95 % within {value['p95_ms']:.0f} ms"
        rates = ", ".join(
            f"{TITLES[kind]} {measured['rate']:.1f} frames/s, {measured['faces']:.2f} found"
            for kind, measured in value["films"].items()
        )
        return f"{rates}; {value['peak_mb']:.0f} MB"

    def follow_memory(self) -> dict[str, Any]:
        """Return how the memory of a long run goes, or the reason of a failure."""
        frames = round(self._args.hours * 3600 * 30)
        table = str(self._folder / "long.csv")
        return self._worker("memory", films=[self._film("long")], frames=frames, table=table)


def summary(values: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return a row for each peer: medians, and each value."""
    rows = []
    for peer, measured in values.items():
        row: dict[str, Any] = {"peer": peer, "films": {}}
        row["peaks"] = [value["peak_mb"] for value in measured]
        row["peak_mb"] = statistics.median(row["peaks"])
        if rounds.plain(peer) == "latency":
            row["latencies"] = {name: [value[name] for value in measured] for name in LATENCIES}
            row |= {name: statistics.median(found) for name, found in row["latencies"].items()}
        else:
            for kind in TITLES:
                rates = [value["films"][kind]["rate"] for value in measured]
                faces = [value["films"][kind]["faces"] for value in measured]
                row["films"][kind] = {
                    "rate": statistics.median(rates),
                    "rates": rates,
                    "faces": statistics.median(faces),
                }
        rows.append(row)
    reference = next((row for row in rows if row["peer"] == REFERENCE), None)
    for row in rows:
        for kind, film in row["films"].items():
            theirs = None if reference is None else reference["films"][kind]["rate"]
            film["times"] = None if theirs is None else film["rate"] / theirs
    return rows


def table(results: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    lines = benchmark_faces.machine_lines(results)
    if "memory" in results:
        memory = results["memory"]
        lines += ["", "| frames done | memory, MB |", "|---|---|"]
        lines += [f"| {done:,} | {mb:.0f} |" for done, mb in memory["samples"][9::10]]
        lines += [
            "",
            f"From a tenth of the way to the end {memory['growth_mb']:+.0f} MB; "
            f"{results['rows']:,} rows in {results['seconds']:,.0f} s.",
        ]
        return "\n".join(lines)
    lines += [
        f"640x480, 30 frames/s, {results['film_seconds']} s; medians of {results['repeats']} "
        "processes (least to most).",
        "",
        "| | one face, frames/s | found | times `fer` | six faces, frames/s | found | "
        "times `fer` | peak memory, MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    latencies = []
    for row in results["peers"]:
        if rounds.plain(row["peer"]) == "latency":
            earlier = rounds.BEFORE * row["peer"].endswith(rounds.BEFORE)
            latencies.append(
                f"From a frame to its faces, one face{earlier}: {row['median_ms']:.0f} ms "
                f"(median), {row['p95_ms']:.0f} ms (95 %), {row['most_ms']:.0f} ms at most."
            )
            continue
        cells = [row["peer"]]
        for kind in TITLES:
            film = row["films"][kind]
            low, high = min(film["rates"]), max(film["rates"])
            cells.append(f"{film['rate']:.1f} ({low:.1f} to {high:.1f})")
            cells.append(f"{film['faces']:.2f}")
            cells.append("" if film["times"] is None else f"{film['times']:.1f}")
        lines.append("| " + " | ".join([*cells, f"{row['peak_mb']:.0f}"]) + " |")
    lines += ["", "The command's rate includes its start.", *latencies]
    lines += [f"- not measured: {peer}: {why}" for peer, why in results["missing"].items()]
    return "\n".join(lines)


def prepare(settings: dict[str, Any]) -> int:
    """Make the films, and the network as ONNX, in a process of its own."""
    import ferjax
    from benchmarks import video_films

    faces = None
    if settings["data"] is not None:
        import publictest

        faces = publictest.read(Path(settings["data"]), limit=200, seed=settings["seed"])[0].images
    photograph, folder = Path(settings["photograph"]), Path(settings["folder"])
    video_films.prepare(photograph, folder, settings["seconds"], settings["seed"], faces)
    video_films.repeat(folder / "six.mp4", folder / "warm_up.mp4", 1)
    classifier = ferjax.load()
    ferjax.onnx.save(folder / "model.onnx", classifier.graph, classifier.variables)
    if settings["hours"]:
        seconds = round(3600 * settings["hours"])
        video_films.repeat(folder / "one.mp4", folder / "long.mp4", seconds)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark, or be the process that makes its films."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["prepare"]:
        return prepare(json.loads(argv[1]))
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.quick:
        args.repeats, args.seconds = 1, 2
        args.hours = args.hours and min(args.hours, 0.01)
    load = benchmark_faces.ready(parser, args)
    with tempfile.TemporaryDirectory(prefix="ferjax-benchmark-") as folder:
        return run(args, Path(folder), load)


def run(args: argparse.Namespace, folder: Path, load: float) -> int:
    """Measure, store and print; return the exit code."""
    benchmark = Benchmark(args, folder)
    reason = benchmark.prepare()
    if reason is not None:
        benchmark_faces.say(f"benchmark_video: error: no films: {reason}")
        return 1
    results = {
        **benchmark_faces.begun(args, load),
        "film_seconds": args.seconds,
        "missing": benchmark.reasons,
    }
    if args.hours:
        measured = benchmark.follow_memory()
        if "reason" in measured:
            benchmark_faces.say(f"benchmark_video: error: {measured['reason']}")
            return 1
        results["memory"] = benchmark_faces.growth(measured["memory"], measured["peak_mb"])
        results |= {"rows": measured["rows"], "seconds": measured["seconds"]}
    else:
        benchmark.measure()
        results |= {"peers": summary(benchmark.values), "repeats": benchmark.repeats}
    benchmark_faces.give(args, results, table)
    return 1 if benchmark.reasons else 0


if __name__ == "__main__":
    sys.exit(main())
