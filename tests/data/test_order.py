"""The order of images: the same everywhere, complete in every epoch, shared between hosts."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from ferjax.data.order import (
    EvaluationBatches,
    PipelineError,
    Shuffled,
    TrainingBatches,
    permutation,
)
from ferjax.errors import FerjaxError

_WORD = 2**64 - 1


def _philox(key: tuple[int, int], stream: int) -> Iterator[int]:
    """Yield Philox4x64-10's words, written after Salmon et al., SC 2011, section 3.3."""
    count = 0
    while True:
        count += 1  # NumPy counts before it draws
        c = (count, 0, 0, stream)
        k0, k1 = key
        for _ in range(10):
            p0, p1 = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
            c = ((p1 >> 64) ^ c[1] ^ k0, p1 & _WORD, (p0 >> 64) ^ c[3] ^ k1, p0 & _WORD)
            k0, k1 = (k0 + 0x9E3779B97F4A7C15) & _WORD, (k1 + 0xBB67AE8584CAA73B) & _WORD
        yield from c


@pytest.mark.parametrize("stream", [0, 5])
@pytest.mark.parametrize(("seed", "number"), [(0, 0), (3, 17), (2**63 - 1, 2)])
def test_shuffle_is_a_stable_sort_of_philox_words(seed: int, number: int, stream: int) -> None:
    words = _philox((seed, number), stream)
    drawn = [next(words) for _ in range(37)]
    expected = sorted(range(37), key=drawn.__getitem__)
    assert permutation(37, seed=seed, number=number, stream=stream).tolist() == expected


def test_epochs_and_seeds_differ_and_each_has_every_image_once() -> None:
    epochs = [Shuffled(size=50, seed=seed).epoch(e) for seed in (0, 1) for e in (0, 1)]
    for rows in epochs:
        assert rows.dtype == np.int32
        assert sorted(rows) == list(range(50))
    assert len({rows.tobytes() for rows in epochs}) == 4


def test_an_epoch_cannot_be_changed_by_who_reads_it() -> None:
    with pytest.raises(ValueError, match="read-only"):
        Shuffled(size=5).epoch(0)[0] = 1


@pytest.mark.parametrize("batch_size", [1, 3, 7, 10, 23])
def test_batches_are_the_epochs_laid_end_to_end(batch_size: int) -> None:
    order = Shuffled(size=10, seed=4)
    batches = TrainingBatches(order=order, batch_size=batch_size)
    stream = np.concatenate([order.epoch(e) for e in range(12)])
    for step in range(4):
        rows, mask = batches.at(step)
        assert rows.tolist() == stream[step * batch_size : (step + 1) * batch_size].tolist()
        assert mask.tolist() == [True] * batch_size


def test_a_block_is_its_steps() -> None:
    batches = TrainingBatches(order=Shuffled(size=10, seed=4), batch_size=4, shard_count=2)
    rows, mask = batches.block(3, 5)
    assert rows.shape == mask.shape == (5, 2)
    assert rows.tolist() == [batches.at(step).rows.tolist() for step in range(3, 8)]


def test_position_and_steps() -> None:
    batches = TrainingBatches(order=Shuffled(size=10), batch_size=4)
    assert [batches.position(step) for step in range(4)] == [(0, 0), (0, 4), (0, 8), (1, 2)]
    assert [batches.steps(epochs) for epochs in range(4)] == [0, 3, 5, 8]


@pytest.mark.parametrize("shard_count", [2, 3])
def test_shards_together_are_the_batch(shard_count: int) -> None:
    order = Shuffled(size=31, seed=2)
    whole = TrainingBatches(order=order, batch_size=6)
    parts = [
        TrainingBatches(order=order, batch_size=6, shard_index=i, shard_count=shard_count)
        for i in range(shard_count)
    ]
    for step in range(20):
        together = np.concatenate([part.at(step).rows for part in parts])
        assert together.tolist() == whole.at(step).rows.tolist()


def test_two_hosts_see_each_image_of_an_epoch_once() -> None:
    hosts = [
        TrainingBatches(order=Shuffled(size=48, seed=9), batch_size=8, shard_index=i, shard_count=2)
        for i in range(2)
    ]
    first, second = (host.block(6, 6).rows.ravel().tolist() for host in hosts)  # the second epoch
    assert len(first) == len(second) == 24
    assert not set(first) & set(second)
    assert sorted(first + second) == list(range(48))


@pytest.mark.parametrize("shard_count", [1, 2])
@pytest.mark.parametrize(("size", "batch_size", "count"), [(10, 4, 3), (8, 4, 2), (3, 4, 1)])
def test_evaluation_counts_each_image_once(
    size: int, batch_size: int, count: int, shard_count: int
) -> None:
    seen: list[int] = []
    for shard in range(shard_count):
        batches = EvaluationBatches(
            size=size, batch_size=batch_size, shard_index=shard, shard_count=shard_count
        )
        assert len(batches) == batches.length == count
        for step in range(count):
            rows, mask = batches.at(step)
            assert rows.shape == mask.shape == (batch_size // shard_count,)
            assert ((rows >= 0) & (rows < size)).all()
            seen += rows[mask].tolist()
    assert sorted(seen) == list(range(size))


def test_settings_are_json() -> None:
    batches = TrainingBatches(order=Shuffled(size=np.int64(4)), batch_size=2)  # type: ignore[arg-type]
    expected = {"order": "shuffled", "size": 4, "seed": 0, "batch_size": 2}
    assert json.loads(json.dumps(batches.settings)) == expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Shuffled(size=0), "expected an integer of at least 1 for `size`, got 0"),
        (lambda: Shuffled(size=3, seed=-1), "of at least 0 for `seed`, got -1"),
        (lambda: Shuffled(size=3, seed=1.5), r"expected an integer for `seed`, got 1\.5"),
        (lambda: Shuffled(size=True), "expected an integer for `size`, got True"),
        (lambda: _training(batch_size=0), "of at least 1 for `batch_size`, got 0"),
        (
            lambda: _training(batch_size=3, shard_count=2),
            "expected a `batch_size` that 2 shards divide evenly, got 3",
        ),
        (
            lambda: _training(batch_size=4, shard_count=2, shard_index=2),
            "of at most 1 for `shard_index`, got 2",
        ),
        (lambda: EvaluationBatches(size=0, batch_size=2), "of at least 1 for `size`, got 0"),
        (lambda: _training(batch_size=2).at(-1), "of at least 0 for `step`, got -1"),
        (lambda: _training(batch_size=2).block(0, 0), "of at least 1 for `steps`, got 0"),
    ],
)
def test_errors(make: object, message: str) -> None:
    with pytest.raises(PipelineError, match=message) as caught:
        make()  # type: ignore[operator]
    assert isinstance(caught.value, FerjaxError)


def _training(**settings: int) -> TrainingBatches:
    return TrainingBatches(order=Shuffled(size=5), **settings)
