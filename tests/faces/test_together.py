"""Crops that go through the network together, in the threads that find them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import ferjax
from ferjax.faces.options import FaceOptions
from ferjax.faces.stream import photographs
from ferjax.faces.together import Together

ROOT = Path(__file__).parents[2]
ASTRONAUT = ROOT / "examples" / "astronaut.jpg"


def crops(*levels: int) -> list[np.ndarray]:
    return [np.full((2, 2, 1), level, np.float32) for level in levels]


class Predict:
    """Says how bright crops are; keeps the size of each batch, and the thread."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.threads: set[int] = set()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.batches.append(len(images))
        self.threads.add(threading.get_ident())
        return images[:, 0, 0]


@pytest.mark.parametrize(("padded", "batches"), [(False, [4, 2, 1]), (True, [4, 4, 4])])
def test_a_batch_is_computed_once_there_is_one(padded: bool, batches: list[int]) -> None:
    predict = Predict()
    together = Together(predict, batch=4, padded=padded)
    first = together.add(crops(1, 2, 3))
    assert not first.done()
    second = together.add(crops(4, 5, 6))
    assert first.result().ravel().tolist() == [1, 2, 3]
    assert second.result().ravel().tolist() == [4, 5, 6]
    third = together.add(crops(7))
    assert not third.done()
    together.flush()
    together.flush()  # nothing is left
    assert third.result().ravel().tolist() == [7]
    assert predict.batches == batches


def test_what_fails_is_told_to_all_that_wait_for_it() -> None:
    def fail(images: np.ndarray) -> Any:
        raise MemoryError("no room")

    together = Together(fail, batch=2, padded=False)
    futures = [together.add(crops(1)), together.add(crops(2))]
    for future in futures:
        with pytest.raises(MemoryError, match="no room"):
            future.result()


def test_many_threads_get_their_own_rows() -> None:
    predict = Predict()
    together = Together(predict, batch=8, padded=True)
    with ThreadPoolExecutor(8) as pool:
        futures = list(pool.map(lambda n: together.add(crops(*range(n, n + n % 4 + 1))), range(99)))
    together.flush()
    for n, future in enumerate(futures):
        assert future.result().ravel().tolist() == list(range(n, n + n % 4 + 1))
    assert set(predict.batches) == {8}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The astronaut smaller and smaller, and pictures without a face or without a picture."""
    folder, picture = tmp_path_factory.mktemp("pictures"), cv2.imread(str(ASTRONAUT))
    paths = [folder / f"{n}.png" for n in range(12)]
    for n, path in enumerate(paths):
        side = 512 - 20 * n
        part = picture[:, :150] if n % 5 == 1 else picture
        cv2.imwrite(str(path), cv2.resize(part, (side * part.shape[1] // 512, side)))
    paths[7].write_bytes(b"no picture")
    return paths


@pytest.mark.parametrize("full_batches", [False, True])
@pytest.mark.parametrize("ahead", [0, 2, 16])
def test_a_stream_by_onnx_runtime_is_that_of_single_photographs(
    full_batches: bool, ahead: int, pictures: list[Path]
) -> None:
    pytest.importorskip("onnxruntime")
    classifier = ferjax.load(ROOT / "checkpoints" / "fer_cnn5.h5", engine="onnx")
    expected = [
        photograph
        for path in pictures
        for photograph in photographs(classifier, [path], FaceOptions(), threads=0)
    ]
    assert sum(len(photograph.faces) for photograph in expected) >= 8
    options = {"ahead": ahead, "full_batches": full_batches, "threads": 3}
    done = list(photographs(classifier, iter(pictures), FaceOptions(), **options))  # type: ignore[arg-type]
    for one, other in zip(done, expected, strict=True):
        assert (one.source, str(one.error)) == (other.source, str(other.error))
        for face, alone in zip(one.faces, other.faces, strict=True):
            assert face.probabilities == alone.probabilities
            assert face.box == alone.box
