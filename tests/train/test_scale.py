"""Any number of devices and hosts follows the curve of one: the batch is the same, and its norm.

Virtual CPU devices stand for accelerators, processes on loopback for hosts.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from ferjax import keras
from ferjax.data import preparation
from ferjax.data.augment import Augmentation
from ferjax.data.order import Shuffled, TrainingBatches
from ferjax.train import Recipe, TrainingResult, train_and_evaluate
from ferjax.train.reporting import Reporter

from ..networks import tiny, tiny_graph
from .conftest import make_faces, prepared, write_config

pytestmark = pytest.mark.usefixtures("curves_as_text")

IMAGES = 256  # of training: 16 steps
RECIPE = Recipe(
    epochs=2,
    batch_size=32,
    optimizer="sgd",  # Adam would make rounding errors large where a gradient is 0
    learning_rate=0.02,
    clip_norm=2.0,
    ema_decay=0.9,
    clean_statistics=64,
    augmentation=Augmentation(horizontal_flip=0.5),
)
# Sums in another order differ in float32's last digits: measured are 2.4e-7 of a loss and 2.5e-7 of
# a weight.
LOSS, WEIGHT = 1e-5, 1e-5
LONGER = dataclasses.replace(RECIPE, epochs=15)  # 120 steps, for the hosts agree on where to stop

_TRAIN = """
import json, os, signal, sys
data, architecture, jobs, *host = sys.argv[1:]
from ferjax.train.devices import initialize
if host:
    initialize(host[0], 2, int(host[1]))
import jax
from ferjax.errors import FerjaxError
from ferjax.train import Recipe, compiled_steps, train_and_evaluate
from ferjax.train.reporting import Reporter

written = set()  # by Python in the run's folder; Orbax writes checkpoints by other means
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        path, writes = os.fsdecode(arguments[0]), arguments[2] & (os.O_WRONLY | os.O_RDWR)
        inside = os.path.relpath(path, job["run"])
        if writes and not inside.startswith(("..", "checkpoints")):
            written.add(inside)

transfers = []  # the rows that this host puts on its devices
put_on_devices = compiled_steps.to_device
def to_device(rows, sharding):
    placed = put_on_devices(rows, sharding)
    shards = [shard.data.tolist() for shard in placed.addressable_shards]
    transfers.append({"rows": rows.tolist(), "shards": shards, "shape": placed.shape})
    return placed
compiled_steps.to_device = to_device

class Stopping(Reporter):
    def step(self, status):
        if status.step == job["stop"] and host[1] == "1":
            os.kill(os.getpid(), signal.SIGTERM)

jobs = json.loads(jobs)
job = jobs[0]
sys.addaudithook(hook)
for job in jobs:
    written.clear()
    transfers.clear()
    try:
        result = train_and_evaluate(
            Recipe.from_json(job["recipe"]), data, job["run"],
            architecture=None if job["resume"] else architecture,
            resume=job["resume"], reporter=Stopping(),
        )
        report = result.to_json()
    except FerjaxError as error:
        report = {"error": str(error)}
    report |= {"transfers": transfers, "written": sorted(written), "devices": jax.device_count()}
    print("REPORT", json.dumps(report), flush=True)
"""


def job(recipe: Recipe, run: Path, *, resume: bool = False, stop: int = -1) -> dict[str, Any]:
    return {"recipe": recipe.to_json(), "run": str(run), "resume": resume, "stop": stop}


def run_program(program: str, *arguments: str, devices: int, flags: str = "") -> list[Any]:
    """Run a program on virtual devices; return what its REPORT lines say."""
    xla_flags = f"--xla_force_host_platform_device_count={devices} {flags}"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": xla_flags},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("REPORT ")]
    return [json.loads(line.removeprefix("REPORT ")) for line in lines]


def on_two_hosts(program: str, *arguments: str) -> list[list[Any]]:
    """Run a program as two processes of one distributed run; return the reports of each.

    With a device each: XLA on CPUs has deadlocks where several devices of several processes meet.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    with ThreadPoolExecutor() as hosts:
        runs = [
            hosts.submit(run_program, program, *arguments, address, str(host), devices=1)
            for host in range(2)
        ]
        return [run.result() for run in runs]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("faces") / "data", make_faces())


@pytest.fixture(scope="module")
def model_json(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("network") / "tiny.json", tiny_graph())


def on_one_device(data: Path, run: Path, recipe: Recipe = RECIPE) -> TrainingResult:
    assert jax.device_count() == 1
    network = tiny()
    with jax.numpy_dtype_promotion("standard"):  # optax itself promotes
        return train_and_evaluate(recipe, data, run, architecture=network, reporter=Reporter())


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """The run on one device that others are compared with."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        return on_one_device(data, folder / "run")


def assert_same_curve(
    ours: dict[str, Any], theirs: TrainingResult, *, loss: float = LOSS, weight: float = WEIGHT
) -> None:
    """Every epoch of the log, and the last weights."""
    assert ours["step"] == theirs.step
    assert len(ours["history"]) == len(theirs.history)
    for mine, other in zip(ours["history"], theirs.history):
        for key in ("epoch", "step", "learning_rate"):
            assert mine[key] == other[key]
        for key in ("loss", "val_loss"):
            assert mine[key] == pytest.approx(other[key], rel=0, abs=loss), key
        for key in ("accuracy", "val_accuracy"):  # an image on the edge between two classes
            assert mine[key] == pytest.approx(other[key], rel=0, abs=1.5 / 64), key
    first, second = (keras.load(path).variables for path in (ours["last"], theirs.last))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=weight), first, second)
    losses = [row["loss"] for row in theirs.history]
    assert losses[0] - losses[-1] > 0.1, "a curve that does not move proves nothing"


# --- devices -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_eight_devices_follow_one(tmp_path: Path, data: Path, model_json: Path) -> None:
    dump = tmp_path / "dump"
    flags = f"--xla_dump_to={dump} --xla_dump_hlo_module_re=jit_call"
    mixed = dataclasses.replace(RECIPE.augmentation, mixup=0.2)  # images from other devices
    recipe = dataclasses.replace(RECIPE, augmentation=mixed)
    odd = dataclasses.replace(RECIPE, batch_size=20)
    jobs = [job(recipe, tmp_path / "run") for recipe in (odd, recipe)]
    arguments = (str(data), str(model_json), json.dumps(jobs))
    refused, report = run_program(_TRAIN, *arguments, devices=8, flags=flags)

    assert refused["error"] == (
        "expected a `batch_size` that the 8 devices divide evenly, got 20; --set batch_size=24"
    )
    assert not refused["written"]
    assert report["devices"] == 8
    assert_same_curve(report, on_one_device(data, tmp_path / "alone", recipe))

    # Each device has convolved its 4 images, none has seen all 32.
    program = next(dump.glob("*jit_call*after_optimizations.txt")).read_text()
    assert "f32[4,10,10,8]" in program
    assert "f32[32,10,10,8]" not in program


@pytest.mark.slow
def test_three_steps_a_call(tmp_path: Path, data: Path, alone: TrainingResult) -> None:
    recipe = dataclasses.replace(RECIPE, steps_per_call=3)  # of 8 an epoch: the last call has 2
    assert_same_curve(on_one_device(data, tmp_path / "run", recipe).to_json(), alone)


@pytest.mark.slow
def test_bfloat16_follows_float32_whatever_the_steps_a_call(
    tmp_path: Path, data: Path, alone: TrainingResult
) -> None:
    half = dataclasses.replace(RECIPE, compute_dtype="bfloat16", steps_per_call=1)
    single = on_one_device(data, tmp_path / "single", half)
    half = dataclasses.replace(half, steps_per_call=3)
    three = on_one_device(data, tmp_path / "three", half)
    # Measured: 2e-6 and 4e-5; against float32, 8e-3.
    assert_same_curve(three.to_json(), single, loss=1e-3, weight=1e-3)
    for mine, other in zip(single.history, alone.history):
        assert mine["loss"] != other["loss"]
        assert mine["loss"] == pytest.approx(other["loss"], rel=0, abs=2e-2)


# --- hosts ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def two_hosts(data: Path, model_json: Path, runs: Path) -> list[tuple[Any, ...]]:
    """Several trainings by the same two processes, which take long to start: their reports.

    One that is refused, one to compare with one device, a longer one whole, and the same stopped by
    a signal to the second host and resumed.
    """
    jobs = [
        job(dataclasses.replace(RECIPE, batch_size=33), runs / "short"),
        job(RECIPE, runs / "short"),
        job(LONGER, runs / "whole"),
        job(LONGER, runs / "stopped", stop=10),
        job(LONGER, runs / "stopped", resume=True),
    ]
    return list(zip(*on_two_hosts(_TRAIN, str(data), str(model_json), json.dumps(jobs))))


@pytest.mark.slow
def test_two_hosts_follow_one(
    two_hosts: list[tuple[Any, ...]], runs: Path, alone: TrainingResult
) -> None:
    (refused, refused_too), (first, second), *_ = two_hosts
    assert refused["error"] == refused_too["error"]
    assert "the 2 devices divide evenly, got 33" in refused["error"]
    assert first["devices"] == second["devices"] == 2
    assert (first["is_first_host"], second["is_first_host"]) == (True, False)
    for report in (first, second):
        assert_same_curve(report, alone)
        assert report["interrupted"] is None

    # One writes, and what it writes is what one alone does.
    for name in ("run.json", "log.csv", "last.h5"):  # under a temporary name that begins alike
        assert any(w.lstrip(".").startswith(name) for w in first["written"]), name
    assert second["written"] == []
    files = {path.name for path in (runs / "short").iterdir()}
    assert files == {path.name for path in alone.run_dir.iterdir()}

    # Each host gives its own half of each batch, to its device.
    batches = TrainingBatches(order=Shuffled(size=IMAGES), batch_size=32)
    assert len(first["transfers"]) == len(second["transfers"]) == alone.step
    for index, (ours, theirs) in enumerate(zip(first["transfers"], second["transfers"])):
        assert ours["shape"] == theirs["shape"] == [1, 32]
        rows = batches.at(index).rows.tolist()
        assert ours["rows"] == [rows[:16]] and theirs["rows"] == [rows[16:]]
        assert ours["shards"] == [[rows[:16]]] and theirs["shards"] == [[rows[16:]]]


_SHARDS = """
import json, sys
data, *host = sys.argv[1:]
from ferjax.train.devices import Devices, initialize
initialize(host[0], 2, int(host[1]))
import jax, numpy as np
from ferjax.data import preparation
from ferjax.data.device_pipeline import DevicePipeline
from ferjax.data.order import Shuffled, TrainingBatches

faces = preparation.load(data)
batches = TrainingBatches(order=Shuffled(size=len(faces)), batch_size=16,
                          shard_index=jax.process_index(), shard_count=jax.process_count())
pipeline = DevicePipeline(faces.images, faces.labels, batches, sharding=Devices.all().batch)
for step, batch in zip(range(3), pipeline):
    here = [np.concatenate([shard.data for shard in array.addressable_shards])
            for array in (batch.images, batch.labels)]
    report = {"rows": batches.at(step).rows.tolist(), "shape": batch.images.shape,
              "images": here[0].tolist(), "labels": here[1].tolist()}
    print("REPORT", json.dumps(report))
"""


def test_each_host_holds_the_images_of_its_own_rows(tmp_path: Path, data: Path) -> None:
    faces = preparation.load(data)
    whole = TrainingBatches(order=Shuffled(size=len(faces)), batch_size=16)
    reports = on_two_hosts(_SHARDS, str(data))
    assert [len(steps) for steps in reports] == [3, 3]
    for step, hosts in enumerate(zip(*reports)):
        rows = [row for host in hosts for row in host["rows"]]
        assert rows == whole.at(step).rows.tolist()
        assert len(set(rows)) == 16
        for host in hosts:
            assert host["shape"] == [16, 12, 12]
            np.testing.assert_array_equal(host["images"], faces.images[host["rows"]])
            np.testing.assert_array_equal(host["labels"], faces.labels[host["rows"]])


@pytest.mark.slow
def test_two_hosts_stop_together_and_go_on(two_hosts: list[tuple[Any, ...]]) -> None:
    _, _, (whole, _), stopped, (first, second) = two_hosts
    for report in stopped:
        assert report["interrupted"] == signal.SIGTERM
        assert report["step"] == stopped[0]["step"] < 120
    assert first["step"] == second["step"] == 120
    for mine, other in zip(first["history"], whole["history"], strict=True):
        for key in ("loss", "val_loss", "accuracy", "val_accuracy"):
            assert mine[key] == other[key]
    stopped, uninterrupted = (keras.load(report["last"]).variables for report in (first, whole))
    jax.tree.map(np.testing.assert_array_equal, stopped, uninterrupted)
