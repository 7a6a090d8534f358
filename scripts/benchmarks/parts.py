"""The parts of the suite: which script measures each, and running one.

Each takes less than ten minutes on two cores, unless it is given more for more rounds. What a part
gives is stored as it is, a file for each part in a folder for each machine; `comparison.py` makes
one table of such a folder.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import processes

SCRIPTS = Path(__file__).parents[1]
FORMAT = 1
MINUTES = 9  # after which no script of a part begins another repeat, unless told otherwise
_LIMIT = 3600.0  # seconds, of a script, beside the minutes it is given


@dataclass(frozen=True, kw_only=True)
class Command:
    """A call of a script, whose results are a JSON file.

    Attributes:
        script: its name.
        options: of the call.
        takes: those of the suite's own options that it is given too.
    """

    script: str
    options: tuple[str, ...]
    takes: tuple[str, ...] = ()

    def line(self, given: Mapping[str, Any], *, quick: bool, out: Path) -> list[str]:
        """Return the command line.

        Args:
            given: the suite's options; those that are None are left out.
            out: the file that the results go to.
        """
        line = [sys.executable, str(SCRIPTS / f"{self.script}.py"), *self.options]
        for name in self.takes:
            if given.get(name) is not None:
                line += [f"--{name}", str(given[name])]
        line += ["--quick"] * quick
        if self.script == "benchmark":
            return [*line, "--no-picture", "--out", str(out.parent), "--name", out.stem]
        return [*line, "--out", str(out)]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of the suite.

    Attributes:
        what: what is measured, and against whom.
        commands: by name, what measures it.
    """

    what: str
    commands: Mapping[str, Command] = field(default_factory=dict)


_TIMED = ("--minutes", str(MINUTES))
_SUITE = ("before", "threads", "minutes")
_FACES = (*_SUITE, "fer-python", "data")


def _cases(names: str, *options: str) -> dict[str, Command]:
    options = ("--cases", names, *options, *_TIMED)
    return {"cases": Command(script="benchmark", options=options, takes=_SUITE)}


def _one(script: str, *options: str, takes: tuple[str, ...]) -> dict[str, Command]:
    return {script: Command(script=script, options=(*options, *_TIMED), takes=takes)}


BY_HAND = " by hand"  # behind the name of a command: the limit of what that measures
_MANY = ("--many", "3000")
PARTS: Mapping[str, Part] = {
    "latency": Part(
        what="a single image, against Keras, PyTorch and ONNX Runtime",
        commands=_cases("latency"),
    ),
    "throughput": Part(
        what="batches, against Keras, PyTorch and ONNX Runtime",
        commands=_cases("throughput"),
    ),
    "training": Part(
        what="training steps and evaluation, against Keras on TensorFlow and PyTorch",
        # Keras on JAX takes as long as all others together.
        commands=_cases("training", "--peers", "ferjax,keras-tf,torch,torch-compile"),
    ),
    "start": Part(
        what="from a new process to the first prediction, and converting a Keras file",
        commands=_cases("cold-start,conversion"),
    ),
    "photographs": Part(
        what="files to labelled faces, against fer; the limit is YuNet and ONNX Runtime by hand",
        commands=_one(
            "benchmark_faces",
            *("--peers", "ferjax,ferjax-onnx,command,fer,fer-mtcnn,hand-onnx,hand-opencv"),
            *("--seconds", "3"),
            takes=_FACES,
        ),
    ),
    "video": Part(
        what="films to labelled faces, against fer; the limits are the same by hand, and decoding",
        commands=_one(
            "benchmark_video",
            "--peers",
            "ferjax,ferjax-each,latency,command,fer,hand-onnx,hand-onnx-each,decoding",
            *("--seconds", "6"),
            takes=_FACES,
        ),
    ),
    "service": Part(
        what="requests over loopback, against ten lines of FastAPI; the limit has no ferjax in it",
        commands=_one(
            *("benchmark_serve", "--seconds", "3", "--repeats", "5"), takes=("before", "minutes")
        ),
    ),
    "memory": Part(
        what="how memory grows over many photographs, a long film and minutes of requests",
        commands={
            "photographs": Command(
                script="benchmark_faces", options=("--peers", "ferjax-onnx", *_MANY)
            ),
            f"photographs{BY_HAND}": Command(
                script="benchmark_faces", options=("--peers", "hand-onnx", *_MANY)
            ),
            "film": Command(script="benchmark_video", options=("--hours", "0.2")),
            "service": Command(script="benchmark_serve", options=("--soak", "2")),
        },
    ),
}


GPU = "gpu"  # a part that `benchmark_gpu.py` measures and stores by itself


class PartError(Exception):
    """A part cannot be read, or gave nothing."""


def run(name: str, given: Mapping[str, Any], *, quick: bool) -> dict[str, Any]:
    """Measure a part; return what is stored of it.

    Raises:
        PartError: none of its scripts gave anything.
    """
    began, part = time.monotonic(), PARTS[name]
    stored: dict[str, Any] = {
        "format": FORMAT,
        "part": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "results": {},
        "failed": {},
    }
    with tempfile.TemporaryDirectory(prefix="ferjax-suite-") as folder:
        for title, command in part.commands.items():
            out = Path(folder) / "results.json"
            out.unlink(missing_ok=True)
            line = command.line(given, quick=quick, out=out)
            say(f"{name}: {' '.join([Path(line[1]).name, *line[2:-2]])}")
            code = processes.shown(line, os.environ, _LIMIT + 60 * (given.get("minutes") or 0))
            if out.is_file():
                stored["results"][title] = json.loads(out.read_text(encoding="utf-8"))
            if code:
                stored["failed"][title] = f"exit code {code}"
                say(f"{name}: {title}: exit code {code}")
            if code < 0:  # interrupted
                break
    if not stored["results"]:
        raise PartError(f"{name}: nothing was measured")
    stored["seconds"] = round(time.monotonic() - began, 1)
    return stored


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the stored parts of a folder, in the suite's order.

    Raises:
        PartError: there are none, or a file is none.
    """
    found = {}
    for name in (*PARTS, GPU):
        path = folder / f"{name}.json"
        if not path.is_file():
            continue
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise PartError(f"{path}: is no JSON file") from None
        if not isinstance(stored, dict) or stored.get("part") != name:
            raise PartError(f"{path}: holds no results of the part {name}")
        if stored.get("format") != FORMAT:
            raise PartError(f"{path}: expected format {FORMAT}, got {stored.get('format')}")
        found[name] = stored
    if not found:
        raise PartError(f"{folder}: holds no part of the suite")
    return found


def listing() -> str:
    """Return the parts in lines."""
    width = max(map(len, PARTS))
    return "\n".join(f"{name:{width}}  {what(name)}" for name in PARTS)


def what(name: str) -> str:
    """Return what a part measures, in a line."""
    if name == GPU:
        return "training and inference on one GPU, against PyTorch; scripts/benchmark_gpu.py"
    return PARTS[name].what


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
