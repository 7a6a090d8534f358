"""Both input pipelines: equal element for element, resumable anywhere, complete between hosts."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ferjax.data import tf_pipeline
from ferjax.data.augment import augment, preset
from ferjax.data.balance import Balanced
from ferjax.data.device_pipeline import DevicePipeline, to_device
from ferjax.data.order import EvaluationBatches, PipelineError, Shuffled, TrainingBatches
from ferjax.data.pipelines import Batch, Pipeline
from ferjax.data.tf_pipeline import TFPipeline
from ferjax.data.votes import Votes

N = 53
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (N, 6, 5), np.uint8)
LABELS = RNG.integers(0, 7, N)
BATCHES = TrainingBatches(order=Shuffled(size=N, seed=3), batch_size=8)

needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None,
    reason="needs TensorFlow: pip install 'ferjax[train]'",
)
PIPELINES = [pytest.param(TFPipeline, marks=needs_tensorflow), DevicePipeline]
Make = Callable[..., Pipeline]


def _equal(ours: Batch, theirs: Batch) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        mine, other = np.asarray(mine), np.asarray(other)
        assert mine.dtype == other.dtype
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("make", PIPELINES)
@pytest.mark.slow
def test_batches_carry_the_votes_of_their_rows(make: Callable[..., Pipeline]) -> None:
    counts = RNG.integers(0, 9, (N, 3)).astype(np.float32)
    votes = Votes(counts=counts, names=("calm", "tense", "unknown"))
    for step, batch in enumerate(islice(make(IMAGES, LABELS, BATCHES, votes=votes), 3)):
        assert np.asarray(batch.votes).dtype == np.float32
        np.testing.assert_array_equal(batch.votes, counts[BATCHES.at(step).rows])
    assert not hasattr(next(iter(make(IMAGES, LABELS, BATCHES))), "votes")
    with pytest.raises(PipelineError, match="expected `votes` of as many images, 53, got of 52"):
        make(IMAGES, LABELS, BATCHES, votes=votes.take(np.arange(52)))


@pytest.mark.parametrize("make", PIPELINES)
def test_batches_hold_what_their_rows_say(make: Make) -> None:
    for step, batch in enumerate(islice(make(IMAGES, LABELS, BATCHES), 3 * N // 8)):
        rows = BATCHES.at(step).rows
        assert np.asarray(batch.images).dtype == np.uint8
        np.testing.assert_array_equal(batch.rows, rows)
        np.testing.assert_array_equal(batch.images, IMAGES[rows])
        np.testing.assert_array_equal(batch.labels, LABELS[rows])
        assert np.asarray(batch.mask).all()


@needs_tensorflow
@pytest.mark.parametrize("order", [BATCHES.order, Balanced(labels=LABELS, seed=3)])
def test_both_pipelines_agree_over_three_epochs(order: Any) -> None:
    batches = TrainingBatches(order=order, batch_size=8)
    steps = batches.steps(epochs=3)
    pairs = zip(TFPipeline(IMAGES, LABELS, batches), DevicePipeline(IMAGES, LABELS, batches))
    seen = 0
    for ours, theirs in islice(pairs, steps):
        _equal(ours, theirs)
        seen += len(ours.rows)
    assert 3 * N <= seen < 3 * N + 8


@needs_tensorflow
@pytest.mark.slow
def test_augmented_batches_of_both_pipelines_agree() -> None:
    def augmented(pipeline: Pipeline) -> Any:
        batch = next(iter(pipeline))
        images, labels = jnp.asarray(batch.images), jnp.asarray(batch.labels)
        return augment(jax.random.key(0), images, labels, preset("photographs"))[0]

    ours, theirs = (
        augmented(make(IMAGES, LABELS, BATCHES)) for make in (TFPipeline, DevicePipeline)
    )
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("make", PIPELINES)
def test_three_epochs_hold_every_image_three_times(make: Make) -> None:
    rows = np.concatenate([batch.rows for batch in islice(make(IMAGES, LABELS, BATCHES), 20)])
    assert (np.bincount(rows[: 3 * N], minlength=N) == 3).all()


@pytest.mark.parametrize("make", PIPELINES)
@pytest.mark.parametrize("stop", [1, 6, 7, *np.random.default_rng(8).integers(8, 20, 2).tolist()])
def test_resumes_at_any_step(make: Make, stop: int) -> None:
    pipeline = make(IMAGES, LABELS, BATCHES)
    uninterrupted = list(islice(pipeline, 25))
    iterator = iter(pipeline)
    for _ in range(stop):
        next(iterator)
    state = json.loads(json.dumps(iterator.get_state()))
    assert state["step"] == iterator.step == stop

    resumed = iter(make(IMAGES, LABELS, BATCHES))
    next(resumed)  # a pipeline that has begun can be set back too
    resumed.set_state(state)
    for expected, batch in zip(uninterrupted[stop:], resumed):
        _equal(batch, expected)
    assert resumed.step >= 25
    _equal(next(pipeline.start(step=stop)), uninterrupted[stop])


@needs_tensorflow
def test_one_pipeline_goes_on_where_the_other_stopped() -> None:
    device = iter(DevicePipeline(IMAGES, LABELS, BATCHES))
    for _ in range(9):
        next(device)
    tf = iter(TFPipeline(IMAGES, LABELS, BATCHES))
    tf.set_state(device.get_state())
    for _ in range(9):
        _equal(next(tf), next(device))


@needs_tensorflow
def test_tf_goes_on_beyond_what_it_takes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ferjax.data.tf_pipeline.ROWS_AT_ONCE", 24)
    for step, batch in enumerate(islice(TFPipeline(IMAGES, LABELS, BATCHES), 11)):
        np.testing.assert_array_equal(batch.rows, BATCHES.at(step).rows)


@needs_tensorflow
def test_tf_dataset() -> None:
    dataset = TFPipeline(IMAGES, LABELS, BATCHES, prefetch=2).dataset(4, steps=3)
    assert dataset.options().deterministic
    assert dataset.cardinality() == 3
    assert dataset.element_spec.images.shape == (8, 6, 5)
    for step, batch in enumerate(dataset, 4):
        np.testing.assert_array_equal(batch.rows, BATCHES.at(step).rows)


@pytest.mark.parametrize("make", PIPELINES)
def test_two_hosts_cover_each_image_once(make: Make) -> None:
    order = Shuffled(size=48, seed=1)
    hosts = [
        make(
            IMAGES[:48],
            LABELS[:48],
            TrainingBatches(order=order, batch_size=8, shard_index=i, shard_count=2),
        )
        for i in range(2)
    ]
    whole = DevicePipeline(IMAGES[:48], LABELS[:48], TrainingBatches(order=order, batch_size=8))
    seen = []
    for *parts, batch in islice(zip(*hosts, whole), 6):
        _equal(Batch(*(np.concatenate(pair) for pair in zip(*parts))), batch)
        seen += [row for part in parts for row in part.rows.tolist()]
    assert sorted(seen) == list(range(48))


def test_state_may_be_restored_with_other_shards() -> None:
    def host(index: int, count: int) -> DevicePipeline:
        batches = TrainingBatches(
            order=BATCHES.order, batch_size=8, shard_index=index, shard_count=count
        )
        return DevicePipeline(IMAGES, LABELS, batches)

    iterator = host(0, 2).start(5)
    other = iter(host(3, 4))
    other.set_state(iterator.get_state())
    assert next(other).rows.tolist() == BATCHES.at(5).rows[6:].tolist()


@pytest.mark.parametrize("make", PIPELINES)
def test_evaluation_counts_each_image_once_and_can_run_again(make: Make) -> None:
    pipeline = make(IMAGES, LABELS, EvaluationBatches(size=N, batch_size=8))
    for _ in range(2):
        batches = list(pipeline)
        assert len(batches) == 7
        assert all(batch.images.shape == (8, 6, 5) for batch in batches)
        mask = np.concatenate([batch.mask for batch in batches])
        rows = np.concatenate([batch.rows for batch in batches])
        assert rows[mask].tolist() == list(range(N))
    iterator = pipeline.start(6)
    assert np.asarray(next(iterator).mask).sum() == 5
    with pytest.raises(StopIteration):
        next(iterator)


@pytest.mark.parametrize("make", PIPELINES)
def test_colour_images_and_soft_labels(make: Make) -> None:
    images = np.stack([IMAGES] * 3, -1)
    soft = np.eye(7)[LABELS]
    batch = next(iter(make(images, soft, BATCHES)))
    assert batch.images.shape == (8, 6, 5, 3)
    assert np.asarray(batch.labels).dtype == np.float32
    np.testing.assert_array_equal(batch.labels, soft[batch.rows].astype(np.float32))


def test_device_data_does_not_follow_the_array_it_was_made_from() -> None:
    images = IMAGES.copy()
    pipeline = DevicePipeline(images, LABELS, BATCHES)
    images[:] = 0
    np.testing.assert_array_equal(next(iter(pipeline)).images, IMAGES[BATCHES.at(0).rows])


def test_many_steps_in_one_jit() -> None:
    pipeline = DevicePipeline(IMAGES, LABELS, BATCHES)

    @jax.jit
    def run(data: Any, rows: jax.Array) -> jax.Array:
        def step(total: jax.Array, rows: jax.Array) -> tuple[jax.Array, None]:
            images, labels = data.gather(rows)
            return total + images.astype("int32").sum() * 10 + labels.sum(), None

        return jax.lax.scan(step, jnp.int32(0), rows)[0]

    rows = BATCHES.block(0, 6).rows.ravel()
    expected = IMAGES[rows].astype(int).sum() * 10 + LABELS[rows].sum()
    assert run(pipeline.data, BATCHES.block(0, 6).rows) == expected


_ON_FOUR_DEVICES = """
import sys, jax, numpy as np
import ferjax.data.augment, ferjax.data.tf_pipeline
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from ferjax.data.device_pipeline import DevicePipeline, to_device
from ferjax.data.order import Shuffled, TrainingBatches

images = np.arange(20 * 6, dtype=np.uint8).reshape(20, 3, 2)
labels = np.arange(20) % 7
batches = TrainingBatches(order=Shuffled(size=20), batch_size=8)
mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
sharding = NamedSharding(mesh, P("data"))
pipeline = DevicePipeline(images, labels, batches, sharding=sharding)
for step, batch in zip(range(6), pipeline):
    rows = batches.at(step).rows
    assert batch.images.sharding.is_equivalent_to(sharding, 3), batch.images.sharding
    assert {shard.data.shape for shard in batch.images.addressable_shards} == {(2, 3, 2)}
    np.testing.assert_array_equal(batch.images, images[rows])
    np.testing.assert_array_equal(batch.labels, labels[rows])
local = to_device({"rows": rows}, sharding)["rows"]
assert local.sharding == sharding and local.tolist() == rows.tolist()
assert "tensorflow" not in sys.modules  # before its pipeline is made
"""


def _run(program: str, *arguments: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_batches_are_spread_over_a_mesh_and_tensorflow_is_not_imported() -> None:
    _run(
        _ON_FOUR_DEVICES,
        JAX_PLATFORMS="cpu",
        XLA_FLAGS="--xla_force_host_platform_device_count=4",
    )


_ON_TWO_HOSTS = """
import sys, jax
jax.distributed.initialize(sys.argv[1], num_processes=2, process_id=int(sys.argv[2]))
import jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from ferjax.data.device_pipeline import DevicePipeline
from ferjax.data.order import Shuffled, TrainingBatches

rows = np.arange(24)
batches = TrainingBatches(order=Shuffled(size=24), batch_size=8,
                          shard_index=jax.process_index(), shard_count=jax.process_count())
mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
pipeline = DevicePipeline(np.tile(rows.astype(np.uint8)[:, None, None], (1, 3, 2)), rows, batches,
                          sharding=NamedSharding(mesh, P("data")))

@jax.jit
def count(images, labels):
    seen = jnp.zeros(24, jnp.int32)
    return seen.at[images[:, 0, 0].astype(jnp.int32)].add(1), seen.at[labels].add(1)

total = 0
for step, batch in zip(range(3), pipeline):
    assert batch.images.shape == (8, 3, 2), batch.images.shape
    total += np.array(count(batch.images, batch.labels))
assert (total == 1).all(), total
"""


def test_two_real_hosts_cover_each_image_once() -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    flags = "--xla_force_host_platform_device_count=2"
    with ThreadPoolExecutor() as hosts:
        runs = [
            hosts.submit(
                _run, _ON_TWO_HOSTS, address, str(host), JAX_PLATFORMS="cpu", XLA_FLAGS=flags
            )
            for host in range(2)
        ]
        for run in runs:
            run.result()


_ENDS = """
import numpy as np
from ferjax.data.order import Shuffled, TrainingBatches
from ferjax.data.tf_pipeline import TFPipeline
from ferjax.data.votes import Votes
batches = TrainingBatches(order=Shuffled(size=999), batch_size=8)
iterator = iter(TFPipeline(np.zeros((999, 48, 48), np.uint8), np.zeros(999, int), batches))
for _ in range(3):
    next(iterator)
"""


@pytest.mark.slow
@needs_tensorflow
def test_a_program_ends_while_tf_prepares_batches() -> None:
    _run(_ENDS)


def _fake_tensorflow(monkeypatch: pytest.MonkeyPatch, set_visible_devices: Any) -> None:
    config = SimpleNamespace(
        get_visible_devices=lambda kind: ["gpu 0"] if kind == "GPU" else [],
        set_visible_devices=set_visible_devices,
    )
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(config=config))  # type: ignore[arg-type]


def test_gpus_are_hidden_from_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    _fake_tensorflow(monkeypatch, lambda *arguments: calls.append(arguments))
    tf_pipeline.tensorflow_on_cpu()
    assert calls == [([], "GPU")]


def test_gpus_that_tensorflow_uses_already_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    _fake_tensorflow(monkeypatch, refuse)
    with pytest.warns(RuntimeWarning, match="before any other use of TensorFlow"):
        tf_pipeline.tensorflow_on_cpu()


def test_missing_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # type: ignore[arg-type]
    with pytest.raises(PipelineError, match=r"pip install 'ferjax\[train\]', or use DevicePip"):
        TFPipeline(IMAGES, LABELS, BATCHES)


@pytest.mark.parametrize(
    ("images", "labels", "batches", "message"),
    [
        (
            IMAGES / 255,
            LABELS,
            BATCHES,
            r"expected uint8 .* for `images`, got float64 \(53, 6, 5\)",
        ),
        (IMAGES[0], LABELS, BATCHES, r"\(N, H, W, C\) for `images`, got uint8 \(6, 5\)"),
        (IMAGES, LABELS[1:], BATCHES, r"expected as many `labels` as images, 53, got .*\(52,\)"),
        (IMAGES, np.array(["sad"] * N), BATCHES, "expected numbers for `labels`, got <U3"),
        (IMAGES[1:], LABELS[1:], BATCHES, "over 52 images, got batches over 53; make their order"),
    ],
)
def test_arrays_that_do_not_fit(
    images: Any, labels: Any, batches: TrainingBatches, message: str
) -> None:
    with pytest.raises(PipelineError, match=message):
        DevicePipeline(images, labels, batches)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 4}, "expected a state with seed 3, as this pipeline has, got 4; make the"),
        ({"batch_size": 16}, "expected a state with batch_size 8, .* got 16"),
        ({"order": "balanced", "labels": "00"}, "expected a state with labels None, .* got '00'"),
        ({"step": -1}, "of at least 0 for `step`, got -1"),
    ],
)
def test_a_state_of_another_order_is_refused(changed: dict[str, Any], message: str) -> None:
    iterator = iter(DevicePipeline(IMAGES, LABELS, BATCHES))
    with pytest.raises(PipelineError, match=message):
        iterator.set_state({**iterator.get_state(), **changed})


def test_a_state_without_a_step_is_refused() -> None:
    with pytest.raises(PipelineError, match="expected a `step` in the pipeline's state, got none"):
        iter(DevicePipeline(IMAGES, LABELS, BATCHES)).set_state(BATCHES.settings)


def test_sharding_of_other_axes_is_refused() -> None:
    from jax.sharding import NamedSharding, PartitionSpec

    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec(None, "data"))
    with pytest.raises(PipelineError, match="splits the batch axis alone"):
        DevicePipeline(IMAGES, LABELS, BATCHES, sharding=sharding)


def test_to_device_keeps_the_tree() -> None:
    batch = Batch(IMAGES[:2], LABELS[:2].astype(np.int32), np.arange(2, dtype=np.int32), None)
    placed = to_device(batch)
    assert isinstance(placed, Batch)
    assert isinstance(placed.images, jax.Array)
    _equal(placed._replace(mask=0), batch._replace(mask=0))
