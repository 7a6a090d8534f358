"""What the tests of weight files share: a small network, ways to damage files, judgement."""

from __future__ import annotations

import gc
import io
import json
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import ferjax.keras
from ferjax.errors import FerjaxError, WeightFileError
from ferjax.nets.graph import Graph
from ferjax.nets.layers import BatchNormalization, Conv2D, Dense, Flatten, MaxPooling2D

ROOT = Path(__file__).parents[2]

MOST_SECONDS = 1.0  # in the fastest of three tries: a busy machine lengthens CPU time too
MOST_BYTES = 300 << 20


@dataclass(frozen=True)
class Small:
    """A network with every collection of arrays, its arrays, and Adam's state for them."""

    graph: Graph
    variables: dict[str, Any]
    optimizer_state: ferjax.keras.OptimizerState
    images: np.ndarray


def _draw(graph: Graph, seed: int = 0) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    variables: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for layer, weights in graph.weights.items():
        for weight in weights:
            value = generator.uniform(0.5, 1.0, weight.shape).astype(np.float32)
            variables[weight.collection].setdefault(layer, {})[weight.name] = value
    return variables


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
    return _draw


@pytest.fixture(scope="session")
def draw_state() -> Callable[..., ferjax.keras.OptimizerState]:
    """Random state of Adam for a graph: `draw_state(graph, seed=1)`."""
    return _draw_state


@pytest.fixture(scope="session")
def small() -> Small:
    """conv2d, batch_normalization, max_pooling2d, flatten, dense, over 8x8 images."""
    graph = Graph.sequential(
        [
            Conv2D(filters=2, kernel_size=3, activation="relu"),
            BatchNormalization(),
            MaxPooling2D(pool_size=2),
            Flatten(),
            Dense(units=3, activation="softmax"),
        ],
        input_shape=(8, 8, 1),
    )
    images = np.random.default_rng(2).uniform(0, 1, (2, 8, 8, 1)).astype(np.float32)
    return Small(graph, _draw(graph), _draw_state(graph), images)


@pytest.fixture
def saved(small: Small, tmp_path: Path) -> Callable[..., Path]:
    """Write the small network, or another: `saved("keras", optimizer=True, graph=None)`."""

    def saved(kind: str = "h5", *, optimizer: bool = False, graph: Graph | None = None) -> Path:
        extension = {"weights-only-h5": "h5"}.get(kind, kind)
        path = tmp_path / f"model.{extension}"
        chosen = graph or small.graph
        variables = small.variables if graph is None else _draw(graph)
        state = _draw_state(chosen) if optimizer else None
        ferjax.keras.save(path, chosen, variables, state, kind=kind)
        return path

    return saved


@pytest.fixture(scope="session")
def predict() -> Callable[..., np.ndarray]:
    """The outputs of what was read: `predict(model, images)`."""

    def predict(model: ferjax.keras.KerasModel, images: np.ndarray) -> np.ndarray:
        return np.asarray(model.network.apply(model.variables, images))

    return predict


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
            if seconds < MOST_SECONDS:
                break
        gc.unfreeze()
        message = str(caught.value)
        assert isinstance(caught.value, FerjaxError) and isinstance(caught.value, ValueError)
        assert message.isprintable(), "expected one line"
        assert message.startswith(f"{path}: ")
        for pattern in patterns:
            assert re.search(pattern, message), f"{pattern!r} is not in: {message}"
        assert seconds < MOST_SECONDS, f"took {seconds:.1f} s"
        return caught.value

    return refused


# CPU time, which other processes on the machine lengthen less. The peak of the process itself:
# ru_maxrss would count its parent's too.
_MEASURE = """
import json, re, resource, sys, time
from pathlib import Path
import ferjax.keras
start = time.process_time()
try:
    ferjax.keras.load(sys.argv[1], config=sys.argv[2] or None)
    message = None
except ferjax.FerjaxError as error:
    message = str(error)
seconds = time.process_time() - start
if sys.platform == "linux":
    peak = 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([message, seconds, peak]))
"""


@pytest.fixture(scope="session")
def refused_cheaply() -> Callable[..., str]:
    """Like `refused`, in a process of its own, whose memory is measured; returns the message.

    `named` is the file that the message begins with, where that is the config.
    """

    def refused_cheaply(
        path: Path, *patterns: str, config: Path | None = None, named: Path | None = None
    ) -> str:
        for _ in range(3):
            result = subprocess.run(
                [sys.executable, "-c", _MEASURE, str(path), str(config or "")],
                capture_output=True,
                text=True,
                timeout=120,
                cwd=ROOT,
            )
            assert result.returncode == 0, result.stderr[-2000:]
            message, seconds, peak = json.loads(result.stdout)
            if seconds < MOST_SECONDS:
                break
        assert message is not None, "expected it to be refused"
        assert message.isprintable() and message.startswith(f"{named or path}: ")
        for pattern in patterns:
            assert re.search(pattern, message), f"{pattern!r} is not in: {message}"
        assert seconds < MOST_SECONDS, f"took {seconds:.1f} s"
        assert peak < MOST_BYTES, f"took {peak >> 20} MiB"
        return message

    return refused_cheaply
