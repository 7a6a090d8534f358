"""What the tests of weight files share: a small network, ways to damage files, judgement."""

from __future__ import annotations

import functools
import gc
import io
import json
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import jax
import numpy as np
import pytest

import ferjax.keras
from ferjax.errors import FerjaxError, WeightFileError
from ferjax.nets import Network
from ferjax.nets.graph import Graph

from ..networks import as_trained, small_graph

ROOT = Path(__file__).parents[2]

# CPU time in the fastest of three tries, on a machine on which `_yardstick` takes 50 ms; on a
# slower or a busy one more in proportion.
MOST_SECONDS, _YARDSTICK_SECONDS = 1.0, 0.05
MOST_BYTES = 300 << 20


@dataclass(frozen=True)
class Small:
    """A network with every collection of arrays, its arrays, and Adam's state for them."""

    graph: Graph
    variables: dict[str, Any]
    optimizer_state: ferjax.keras.OptimizerState
    images: np.ndarray


def _draw_state(graph: Graph, seed: int = 1) -> ferjax.keras.OptimizerState:
    generator = np.random.default_rng(seed)
    mu: dict[str, dict[str, np.ndarray]] = {}
    nu: dict[str, dict[str, np.ndarray]] = {}
    for layer, weight in graph.trainable_weights():
        for tree in (mu, nu):
            value = generator.uniform(0.0, 1.0, weight.shape).astype(np.float32)
            tree.setdefault(layer, {})[weight.name] = value
    settings = {"learning_rate": 0.002, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
    return ferjax.keras.OptimizerState("Adam", 17, mu, nu, settings)


@pytest.fixture(scope="session")
def draw() -> Callable[..., dict[str, Any]]:
    """Random variables of a graph: `draw(graph, seed=0)`."""
    return as_trained


@pytest.fixture(scope="session")
def draw_state() -> Callable[..., ferjax.keras.OptimizerState]:
    """Random state of Adam for a graph: `draw_state(graph, seed=1)`."""
    return _draw_state


@pytest.fixture(scope="session")
def small() -> Small:
    """conv2d, batch_normalization, max_pooling2d, flatten, dense, over 8x8 images."""
    graph = small_graph()
    images = np.random.default_rng(2).uniform(0, 1, (2, 8, 8, 1)).astype(np.float32)
    return Small(graph, as_trained(graph), _draw_state(graph), images)


@pytest.fixture(scope="session")
def contents() -> dict[tuple[str, bool], bytes]:
    """The files of the small network that were written, by kind and optimizer."""
    return {}


@pytest.fixture
def saved(
    small: Small, tmp_path: Path, contents: dict[tuple[str, bool], bytes]
) -> Callable[..., Path]:
    """Write the small network, or another: `saved("keras", optimizer=True, graph=None)`."""

    def saved(kind: str = "h5", *, optimizer: bool = False, graph: Graph | None = None) -> Path:
        extension = {"weights-only-h5": "h5"}.get(kind, kind)
        path = tmp_path / f"model.{extension}"
        if graph is None and (kind, optimizer) in contents:
            path.write_bytes(contents[kind, optimizer])
            return path
        chosen = graph or small.graph
        variables = small.variables if graph is None else as_trained(graph)
        state = _draw_state(chosen) if optimizer else None
        ferjax.keras.save(path, chosen, variables, state, kind=kind)
        if graph is None:
            contents[kind, optimizer] = path.read_bytes()
        return path

    return saved


@pytest.fixture(scope="session")
def predict() -> Callable[..., np.ndarray]:
    """The outputs of what was read: `predict(model, images)`."""

    def predict(model: ferjax.keras.KerasModel, images: np.ndarray) -> np.ndarray:
        return np.asarray(_apply(model.network, dict(model.variables), images))

    return predict


@functools.partial(jax.jit, static_argnums=0)  # one program for files of the same network
def _apply(network: Network, variables: dict[str, Any], images: np.ndarray) -> jax.Array:
    return network.apply(variables, images)  # type: ignore[return-value]


@pytest.fixture(scope="session")
def edit_json() -> Callable[..., None]:
    """Change the JSON of a whole-model `.h5` in place: `edit_json(path, change, attribute=...)`.

    `change` gets the parsed JSON, and changes it or returns another value.
    """

    def edit_json(
        path: Path, change: Callable[[Any], Any], attribute: str = "model_config"
    ) -> None:
        with h5py.File(path, "r+") as root:
            config = json.loads(root.attrs[attribute])
            replaced = change(config)
            text = json.dumps(config if replaced is None else replaced)
            root.attrs[attribute] = text.encode()

    return edit_json


@pytest.fixture(scope="session")
def repack() -> Callable[..., None]:
    """Write the members of a zip archive anew: `repack(path, {"config.json": bytes or None})`.

    None leaves a member out; `method` is how those given are compressed.
    """

    def repack(
        path: Path, members: Mapping[str, bytes | None], method: int = zipfile.ZIP_STORED
    ) -> None:
        with zipfile.ZipFile(path) as archive:
            kept: dict[str, bytes | None] = {n: archive.read(n) for n in archive.namelist()}
        kept.update(members)
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in kept.items():
                if content is not None:
                    stored = zipfile.ZIP_STORED if name not in members else method
                    archive.writestr(name, content, stored)

    return repack


@pytest.fixture(scope="session")
def archive_hdf5() -> Callable[..., bytes]:
    """The bytes of an HDF5 file: `archive_hdf5(fill)`, where `fill(root)` writes it."""

    def archive_hdf5(fill: Callable[[h5py.File], None]) -> bytes:
        content = io.BytesIO()
        with h5py.File(content, "w") as root:
            fill(root)
        return content.getvalue()

    return archive_hdf5


def _yardstick() -> float:
    """Return the CPU time, in seconds, of some Python and JSON: how fast this machine is now."""
    start = time.thread_time()
    kept: dict[int, Any] = {}
    for i in range(200_000):
        kept[i % 997] = (i, str(i))
    json.loads("[" + '{"a": [1, 2.5, "x"]},' * 20_000 + "1]")
    return time.thread_time() - start


def _allowed(seconds: float) -> float:
    """Return the most seconds on this machine, where `seconds` are more than on a fast one."""
    if seconds < MOST_SECONDS:
        return MOST_SECONDS
    return MOST_SECONDS * max(1.0, _yardstick() / _YARDSTICK_SECONDS)


@pytest.fixture(scope="session")
def refused() -> Callable[..., WeightFileError]:
    """Load a file that must be refused, in time, by one clear line; return the error.

    `refused(path, *patterns, **options)`: every pattern is found in the message.
    """

    def refused(path: Path, *patterns: str, **options: Any) -> WeightFileError:
        gc.freeze()  # what other tests left behind is not searched for garbage in this time
        for _ in range(3):
            start = time.thread_time()
            with pytest.raises(WeightFileError) as caught:
                ferjax.keras.load(path, **options)
            seconds = time.thread_time() - start
            if seconds < (allowed := _allowed(seconds)):
                break
        gc.unfreeze()
        message = str(caught.value)
        assert isinstance(caught.value, FerjaxError) and isinstance(caught.value, ValueError)
        assert message.isprintable(), "expected one line"
        assert message.startswith(f"{path}: ")
        for pattern in patterns:
            assert re.search(pattern, message), f"{pattern!r} is not in: {message}"
        assert seconds < allowed, f"took {seconds:.1f} s, allowed {allowed:.1f}"
        return caught.value

    return refused


# Answers each line of its input, a path and a config, by a line: the message, seconds of CPU time,
# which other processes on the machine lengthen less, and the peak of memory. Each file is read in a
# process of its own, forked where that can be: Linux then counts the peak anew from what it is, and
# ru_maxrss would count the parent's too.
_MEASURE = """
import json, os, re, resource, signal, sys, time
from pathlib import Path
import ferjax.keras

def measure(path, config):
    start = time.process_time()
    try:
        ferjax.keras.load(path, config=config)
        message = None
    except ferjax.FerjaxError as error:
        message = str(error)
    seconds = time.process_time() - start
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text()
        return message, seconds, 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])
    return message, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

for line in sys.stdin:
    if sys.platform == "linux":
        child = os.fork()
        if child:
            status = os.waitpid(child, 0)[1]
            if status:
                print(json.dumps(f"ended with status {status}"), flush=True)
            continue
        signal.alarm(120)
    print(json.dumps(measure(*json.loads(line))), flush=True)
    os._exit(0)
"""


class _Measuring:
    """A process that has imported ferjax, and measures the reading of files."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, path: Path, config: Path | None) -> Any:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _MEASURE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps([str(path), config and str(config)]), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline() or '"ended"')
        if sys.platform != "linux":
            self.close()
        assert isinstance(answer, list), f"the process that read the file {answer}"
        return answer

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()
            self._process = None


@pytest.fixture(scope="session")
def refused_cheaply() -> Iterator[Callable[..., str]]:
    """Like `refused`, in a process of its own, whose memory is measured; returns the message.

    `named` is the file that the message begins with, where that is the config.
    """

    measured = _Measuring()

    def refused_cheaply(
        path: Path, *patterns: str, config: Path | None = None, named: Path | None = None
    ) -> str:
        for _ in range(3):
            message, seconds, peak = measured(path, config)
            if seconds < (allowed := _allowed(seconds)):
                break
        assert message is not None, "expected it to be refused"
        assert message.isprintable() and message.startswith(f"{named or path}: ")
        for pattern in patterns:
            assert re.search(pattern, message), f"{pattern!r} is not in: {message}"
        assert seconds < allowed, f"took {seconds:.1f} s, allowed {allowed:.1f}"
        assert peak < MOST_BYTES, f"took {peak >> 20} MiB"
        return message

    yield refused_cheaply
    measured.close()
