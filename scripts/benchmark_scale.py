"""Show what runs on Ray and Dask give, and how fast, beside one process.

JPEG pictures of 320x240 with one face are made of examples/astronaut.jpg, --distinct of them, the
others links to these. Then:
  one process   `ferjax faces FOLDER --csv FILE`, on all cores, and on one core for a tenth of them
  ray           `ferjax faces FOLDER --on ray --workers N --out DIR`, one of whose workers is killed
                once a third is done; the driver's memory is followed
  resume        the same for --fewer pictures, its driver killed in the middle, then --resume
  dask          `map_partitions(Predictor())` in N processes, --fewer pictures
Rows are compared with those of the one process, order aside.

examples:
  python scripts/benchmark_scale.py --out benchmarks/scale.json
  python scripts/benchmark_scale.py --quick

Exit codes: 0 all rows are the same, 1 some are not, 2 a mistake in the call.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import benchmark_faces
from benchmarks import face_pictures, machine, processes, scale_engines
from benchmarks.arguments import Parser, count

ROOT: Final = Path(__file__).parents[1]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = Parser("benchmark_scale", __doc__)
    add = parser.add_argument
    add("--photographs", type=count, default=20_000, metavar="N", help="(default: 20000)")
    add("--distinct", type=count, default=5_000, metavar="N", help="files (default: 5000)")
    add("--fewer", type=count, default=2_000, metavar="N", help="(default: 2000)")
    add("--workers", type=count, default=2, metavar="N", help="processes (default: 2)")
    add("--quick", action="store_true", help="a small run, to see that it works")
    add("--seed", type=int, default=0, help="of the pictures (default: 0)")
    add("--out", type=Path, metavar="FILE.json", help="store the results there too")
    add("--json", action="store_true", help="print the results as JSON")
    return parser


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Do all runs, and return what came of them."""
    pictures, fewer = folder / "pictures", folder / "fewer"
    photograph = ROOT / "examples" / "astronaut.jpg"
    face_pictures.prepare_small(photograph, pictures, args.photographs, args.distinct, args.seed)
    fewer.mkdir()
    some = sorted(pictures.iterdir())[: args.fewer]
    for path in some:
        (fewer / path.name).hardlink_to(path)
    say(f"{args.photographs:,} pictures, {args.distinct:,} of them files of their own")
    results: dict[str, Any] = {}

    one = _command(folder, pictures, "one.csv", None)
    results["one process"] = {"rate": args.photographs / one}
    say(f"one process: {args.photographs / one:.1f} pictures/s")
    tenth = folder / "tenth"
    tenth.mkdir()
    for path in some[: max(1, args.photographs // 10)]:
        (tenth / path.name).hardlink_to(path)
    names = len(list(tenth.iterdir()))
    single = _command(folder, tenth, "single.csv", 1)
    results["one core"] = {"rate": names / single}
    say(f"one process on one core: {names / single:.1f} pictures/s")
    expected = scale_engines.csv_rows(folder / "one.csv")

    rows = folder / "rows"
    ray = scale_engines.on_ray(pictures, rows, args.workers, killed=True)
    most, growth = scale_engines.growth(ray["memory"])
    results["ray"] = {
        "rate": args.photographs / ray["seconds"],
        "rows": scale_engines.compared(expected, scale_engines.parquet_rows(rows)),
        "killed": len(ray["killed"]),
        "driver_mb": most,
        "driver_growth_mb": growth,
        "said": ray["said"],
    }
    say(f"ray: {results['ray']}")

    rows = folder / "fewer-rows"
    before = scale_engines.interrupted(fewer, rows, args.workers)
    scale_engines.on_ray(fewer, rows, args.workers, killed=False, resume=True)
    few = _command(folder, fewer, "fewer.csv", None)
    expected = scale_engines.csv_rows(folder / "fewer.csv")
    results["resume"] = {
        "before": before,
        "rows": scale_engines.compared(expected, scale_engines.parquet_rows(rows)),
    }
    say(f"resume: {results['resume']}")
    paths = [str(fewer / path.name) for path in some]
    seconds, made, columns = scale_engines.on_dask(paths, args.workers)
    results["dask"] = {
        "rate": len(paths) / seconds,
        "one_process": len(paths) / few,
        "rows": scale_engines.compared(expected, (made, columns)),
    }
    say(f"dask: {results['dask']}")
    return results


def _command(folder: Path, pictures: Path, name: str, threads: int | None) -> float:
    """Return how many seconds one process takes for the pictures of a folder."""
    command = scale_engines.ferjax("faces", pictures, "--csv", folder / name)
    if threads is not None:
        code = f"import os, sys; os.sched_setaffinity(0, range({threads})); "
        code += "os.execv(sys.argv[1], sys.argv[1:])"
        command = [sys.executable, "-c", code, *command]
    done = processes.run(command, os.environ, folder)
    if done.reason is not None:
        raise RuntimeError(done.reason)
    return done.seconds


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def table(results: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    runs = results["runs"]
    lines = [
        *benchmark_faces.machine_lines(results),
        f"{results['photographs']:,} JPEG files of 320x240 with one face, {results['workers']} "
        f"workers; for the last two {results['fewer']:,}.",
        "",
        "| | pictures/s | rows beside those of one process |",
        "|---|---|---|",
        f"| one process, all cores | {runs['one process']['rate']:.1f} | |",
        f"| one process, one core | {runs['one core']['rate']:.1f} | |",
        f"| Ray, {runs['ray']['killed']} worker killed in the middle | {runs['ray']['rate']:.1f} | "
        f"{runs['ray']['rows']} |",
        f"| Ray, driver killed after {runs['resume']['before']:,}, --resume | | "
        f"{runs['resume']['rows']} |",
        f"| Dask | {runs['dask']['rate']:.1f} | {runs['dask']['rows']} |",
        "",
        f"The driver of the run on Ray had {runs['ray']['driver_mb']:.0f} MB at most, and from the "
        f"middle to the end {runs['ray']['driver_growth_mb']:+.1f} MB.",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.quick:
        args.photographs, args.distinct, args.fewer = 300, 100, 100
    args.distinct = min(args.distinct, args.photographs)
    args.fewer = min(args.fewer, args.photographs)
    load = os.getloadavg()[0]
    results: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(
            processes.available_threads(), {"platform": "cpu", "kind": ""}, load
        ),
        "versions": machine.versions(),
        "photographs": args.photographs,
        "fewer": args.fewer,
        "workers": args.workers,
    }
    with tempfile.TemporaryDirectory(prefix="ferjax-benchmark-") as folder:
        try:
            results["runs"] = measure(args, Path(folder))
        except RuntimeError as error:
            say(f"benchmark_scale: error: {error}")
            return 1
    benchmark_faces.give(args, results, table)
    same = [run["rows"] == "the same" for run in results["runs"].values() if "rows" in run]
    return 0 if all(same) else 1


if __name__ == "__main__":
    sys.exit(main())
