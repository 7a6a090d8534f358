"""Measure `ferjax serve` under load: throughput, latencies, memory, on this machine by wrk.

Servers take turns, each in a process of its own, each asked by wrk over loopback for some seconds:
  batched   `ferjax serve`
  singly    `ferjax serve --threads 1 --batch 1`: the same, one picture at a time, without batches
  plain     what is written in ten lines: FastAPI, and `ferjax.load()` called in the handler
  bare      the limit: FastAPI, YuNet and the network by ONNX Runtime, see benchmarks/by_hand.py
  nothing   FastAPI alone: it takes the picture, and looks at nothing
They are asked for what is in photographs of 640x480 with one face, and what is on faces of 48x48.
Given are, for each number of clients, requests a second, the latencies that 50 % and 99 % are
below and the server's peak memory so far, medians of the repeats; and the throughput of the first,
with the most clients, over that of one request at a time, which is one client of `singly` and of
`plain`.

--soak M instead asks for M minutes with 64 clients, and follows the memory of the service.

wrk is a package of Debian and of Homebrew.

examples:
  python scripts/benchmark_serve.py --out benchmarks/serve.json
  python scripts/benchmark_serve.py --soak 10
  python scripts/benchmark_serve.py --quick --kinds predict

Exit codes: 0 done, 1 done in part, 2 a mistake in the call.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import psutil

import ferjax
from benchmarks import machine, processes, rounds
from benchmarks.arguments import Parser, add_rounds, among, count

ROOT: Final = Path(__file__).parents[1]
PLAIN: Final = ROOT / "scripts" / "benchmarks" / "plain_server.py"
BARE: Final = PLAIN.with_name("bare_server.py")
SERVERS: Final = ("batched", "singly", "plain", "bare", "nothing")
OWN: Final = SERVERS[:2]
FIGURES: Final = ("rate", "p50", "p99", "peak_mb")
KINDS: Final = ("faces", "predict")
ONE_AT_A_TIME: Final = ("singly", "plain")
SOAK_CLIENTS: Final = 64
_TICK: Final = 2.0  # seconds between looks at the memory
_START: Final = 120.0  # seconds in which a server has to be ready

# wrk's own language. A form as browsers send it; what `done` prints is read here.
SCRIPT: Final = """
local file = assert(io.open("{picture}", "rb"))
local picture = file:read("*a")
file:close()
wrk.method = "POST"
wrk.headers["Content-Type"] = "multipart/form-data; boundary=edge"
wrk.body = '--edge\\r\\nContent-Disposition: form-data; name="images"; filename="a"\\r\\n\\r\\n'
  .. picture .. "\\r\\n--edge--\\r\\n"
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{{"requests": %d, "seconds": %.6f, "p50": %.3f, "p99": %.3f, "errors": %d}}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = Parser("benchmark_serve", __doc__)
    add = parser.add_argument
    add("--servers", type=among(SERVERS), default=SERVERS, metavar="A,B", help="(default: all)")
    add("--kinds", type=among(KINDS), default=KINDS, metavar="A,B", help="(default: both)")
    add("--clients", type=counts, default=(1, 8, 64), metavar="N,N", help="(default: 1,8,64)")
    add("--seconds", type=count, default=15, metavar="S", help="of each load (default: 15)")
    add("--repeats", type=count, default=3, metavar="N", help="of each load (default: 3)")
    add_rounds(parser)
    add("--soak", type=count, metavar="M", help="follow the memory for M minutes, 60 at most")
    add("--quick", action="store_true", help="a small run, to see that it works")
    add("--out", type=Path, metavar="FILE.json", help="store the results there too")
    return parser


def counts(text: str) -> tuple[int, ...]:
    """Read numbers of clients, 256 at most."""
    numbers = tuple(count(part) for part in text.split(","))
    if max(numbers) > 256:
        raise argparse.ArgumentTypeError(f"expected 256 clients at most, got {max(numbers)}")
    return numbers


def prepare(folder: Path) -> None:
    """Write the network as ONNX and a picture of each kind: a photograph of 640x480, and a face."""
    classifier = ferjax.load()
    ferjax.onnx.save(folder / "model.onnx", classifier.graph, classifier.variables)
    photograph = cv2.imread(str(ROOT / "examples" / "astronaut.jpg"))
    face = cv2.imread(str(ROOT / "examples" / "astronaut.png"), cv2.IMREAD_GRAYSCALE)
    if photograph is None or face is None:
        raise OSError("examples/astronaut.jpg or .png cannot be read")
    wide = cv2.copyMakeBorder(photograph[:480], 0, 0, 64, 64, cv2.BORDER_REPLICATE)
    pictures = {"faces": (".jpg", wide), "predict": (".png", cv2.resize(face, (48, 48)))}
    for kind, (suffix, picture) in pictures.items():
        (folder / kind).write_bytes(cv2.imencode(suffix, picture)[1].tobytes())
        script = SCRIPT.format(picture=folder / kind)
        (folder / f"{kind}.lua").write_text(script, encoding="utf-8")


@contextlib.contextmanager
def served(
    name: str, folder: Path, before: Path | None = None
) -> Iterator[tuple[str, psutil.Process]]:
    """Start a server, and yield its address and its process once it is ready."""
    bare = [str(BARE), str(folder / "model.onnx")]
    command = {
        "batched": ["-m", "ferjax", "serve", "--port", "0", "--no-page"],
        "singly": [
            *("-m", "ferjax", "serve", "--port", "0", "--no-page"),
            *("--threads", "1", "--batch", "1", "--batch-wait", "0"),
        ],
        "plain": [str(PLAIN)],
        "bare": bare,
        "nothing": bare,
    }[rounds.plain(name)]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    env = rounds.environment_of(name, env, before)
    with (folder / f"{name}.log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.PIPE, stderr=log, text=True, env=env
        )
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            if not address:
                log.seek(0)
                raise OSError(f"{name} does not start: {log.read()[-300:].strip()}")
            _wait_until_ready(address)
            yield address, psutil.Process(process.pid)
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(address: str) -> None:
    end = time.monotonic() + _START
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/readyz", timeout=5):
            return
        if time.monotonic() > end:
            raise OSError(f"{address} is not ready within {_START:.0f} s")
        time.sleep(0.2)


def ask(
    address: str, kind: str, clients: int, seconds: float, folder: Path, at: str
) -> dict[str, Any]:
    """Return what wrk measures of requests to /v1/`at` with a picture of a kind.

    Requests a second, latencies in milliseconds, errors.
    """
    command = [
        *("wrk", "-t", "1", "-c", str(clients), "-d", f"{seconds:.0f}s", "--timeout", "30s"),
        *("-s", str(folder / f"{kind}.lua"), f"{address}/v1/{at}"),
    ]
    done = processes.run(command, os.environ, folder, limit=seconds + 120)
    if done.reason is not None:
        raise OSError(f"wrk: {done.reason}")
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**said, "rate": said["requests"] / said["seconds"]}


def measure(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Return a row for each server, kind and number of clients: the median of the repeats."""
    values: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    servers = rounds.with_before(args.servers, OWN, args.before)
    for repeat in rounds.rounds(args.repeats, args.minutes, time.monotonic()):
        for name in rounds.rotated(servers, repeat):
            with served(name, folder, args.before) as (address, process):
                for kind in args.kinds:
                    asked = "nothing" if name == "nothing" else kind
                    ask(address, kind, 4, 2, folder, asked)  # what is first is slower
                    for clients in args.clients:
                        value = ask(address, kind, clients, args.seconds, folder, asked)
                        value["peak_mb"] = peak_mb(process)
                        values.setdefault((name, kind, clients), []).append(value)
                        say(f"{name}, {kind}, {clients} clients: {line(value)}")
    return [row_of(*key, measured) for key, measured in values.items()]


def peak_mb(process: psutil.Process) -> float:
    """Return the most that a process and those that it started had in memory, in MB.

    Where the system does not keep that, what they have now.
    """
    total = 0.0
    for part in (process, *process.children(recursive=True)):
        try:
            status = Path(f"/proc/{part.pid}/status").read_text(encoding="ascii", errors="replace")
        except OSError:  # not on Linux
            total += part.memory_info().rss / 1e6
            continue
        peaks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
        total += sum(map(int, peaks)) * 1024 / 1e6
    return total


def row_of(name: str, kind: str, clients: int, values: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the medians of what was measured, and each value.

    >>> said = [dict(rate=rate, p50=1, p99=2, peak_mb=9, errors=1) for rate in (1, 5, 3)]
    >>> row = row_of("batched", "faces", 1, said)
    >>> row["rate"], row["errors"], row["values"]["rate"]
    (3.0, 3, [1, 5, 3])
    """
    found = {key: [value[key] for value in values] for key in FIGURES}
    medians = {key: float(np.median(of)) for key, of in found.items()}
    errors = sum(value["errors"] for value in values)
    row = {"server": name, "kind": kind, "clients": clients, **medians}
    return {**row, "errors": errors, "values": found}


def gains(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the best throughput of `batched` over that of one request at a time, by both.

    >>> rows = [dict(server="batched", kind="faces", clients=1, rate=9)]
    >>> gains([*rows, dict(server="plain", kind="faces", clients=1, rate=3)])
    {'faces, plain': 3.0}
    """
    result = {}
    for kind in KINDS:
        mine = [row for row in rows if row["kind"] == kind]
        best = max((row["rate"] for row in mine if row["server"] == "batched"), default=None)
        for other in ONE_AT_A_TIME:
            alone = [r["rate"] for r in mine if r["server"] == other and r["clients"] == 1]
            if best is not None and alone:
                result[f"{kind}, {other}"] = best / alone[0]
    return result


def soak(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return how the memory of `batched` goes under the load of 64 clients."""
    seconds = 10 if args.quick else 60 * min(args.soak, 60)
    kind = args.kinds[0]
    with served("batched", folder) as (address, process):
        command = [
            *("wrk", "-t", "1", "-c", str(SOAK_CLIENTS), "-d", f"{seconds}s", "--timeout", "30s"),
            *("-s", str(folder / f"{kind}.lua"), f"{address}/v1/{kind}"),
        ]
        load = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        memory = []
        while load.poll() is None:
            time.sleep(_TICK)
            memory.append(process.memory_info().rss / 1e6)
        assert load.stdout is not None
        said: dict[str, Any] = json.loads(load.stdout.read().splitlines()[-1])
    return {"kind": kind, "clients": SOAK_CLIENTS, **said, "memory": growth(memory)}


def growth(memory: Sequence[float]) -> dict[str, float]:
    """Return the memory, in MB, in the second fifth of a run and in the last, medians.

    >>> growth([10, 50, 60, 60, 61])
    {'early': 50.0, 'late': 61.0, 'highest': 61.0}
    """
    fifth = max(1, len(memory) // 5)
    early = memory[fifth : 2 * fifth] or memory
    return {
        "early": float(np.median(early)),
        "late": float(np.median(memory[-fifth:])),
        "highest": float(max(memory)),
    }


def line(value: dict[str, Any]) -> str:
    """Return what was measured, in a line."""
    failed = f", {value['errors']} errors" if value["errors"] else ""
    return (
        f"{value['rate']:.1f} requests/s, 50 % within {value['p50']:.1f} ms, "
        f"99 % within {value['p99']:.1f} ms{failed}"
    )


def table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    yield "| server | asked for | clients | requests/s | p50, ms | p99, ms | peak, MB | errors |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        yield (
            f"| {row['server']} | {row['kind']} | {row['clients']} | {row['rate']:.1f} | "
            f"{row['p50']:.1f} | {row['p99']:.1f} | {row['peak_mb']:.0f} | {row['errors']} |"
        )


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Run the benchmark and return its exit code."""
    parser = build_parser()
    args = parser.parse_args()
    if shutil.which("wrk") is None:
        parser.error("wrk is missing; it is a package of Debian and of Homebrew")
    if args.quick:
        args.seconds, args.repeats, args.clients = 2, 1, (1, 8)
    load = os.getloadavg()[0]
    if load > 0.5:
        say(f"note: the machine is busy, with a load of {load:.1f}")
    device = {"platform": "cpu", "kind": "cpu"}
    results: dict[str, Any] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": machine.describe(processes.available_threads(), device, load),
        "versions": machine.versions(ROOT),
        "before": None if args.before is None else machine.version_of(args.before),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            prepare(folder)
            if args.soak:
                results["soak"] = soak(args, folder)
                print(json.dumps(results["soak"]))
            else:
                results["rows"] = measure(args, folder)
                results["repeats"] = len(results["rows"][0]["values"]["rate"])
                results["gains"] = gains(results["rows"])
                print(*table(results["rows"]), sep="\n")
                for what, gain in results["gains"].items():
                    print(f"{gain:.2f} times one request at a time ({what})")
        except OSError as error:
            say(f"benchmark_serve: error: {error}")
            return 2
    if args.out is not None:
        args.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    failed = sum(row["errors"] for row in results.get("rows", [results.get("soak")]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
