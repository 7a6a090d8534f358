"""ONNX Runtime and OpenCV see the same faces."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ferjax.faces import detect
from ferjax.faces import yunet_network as network
from ferjax.image_files import UInt8Array, read_image

REASON = "needs onnxruntime"
ASTRONAUT = read_image(Path(__file__).parents[2] / "examples" / "astronaut.jpg", channels=3)


@pytest.fixture
def without_onnx_runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    network.open_session.cache_clear()
    yield
    network.open_session.cache_clear()


def rows_of(image: UInt8Array, min_score: float = 0.3) -> np.ndarray:
    (rows,) = network.run([image], min_score)
    return rows


@pytest.mark.parametrize(
    "image",
    [
        ASTRONAUT,
        np.ascontiguousarray(ASTRONAUT[:333, :411]),  # no multiples of 32
        np.ascontiguousarray(ASTRONAUT[60:180, 165:285]),
        np.ascontiguousarray(ASTRONAUT[100:140, 200:250]),  # narrower than the network takes
        np.vstack([np.hstack([ASTRONAUT[:256, 100:356]] * 3)] * 2),
    ],
    ids=["whole", "odd", "face", "narrow", "six"],
)
def test_onnx_runtime_sees_what_opencv_sees(
    image: UInt8Array, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip("onnxruntime", reason=REASON)
    rows = rows_of(image)
    request.getfixturevalue("without_onnx_runtime")
    theirs = rows_of(image)
    theirs = theirs[np.argsort(-theirs[:, 14], kind="stable")]
    assert rows.shape == theirs.shape
    order = [int(np.abs(theirs[:, :14] - row[:14]).max(axis=1).argmin()) for row in rows]
    assert sorted(order) == list(range(len(rows)))
    np.testing.assert_allclose(rows, theirs[order], atol=0.01)


def test_the_same_face_without_onnx_runtime(request: pytest.FixtureRequest) -> None:
    (face,) = detect(ASTRONAUT)
    request.getfixturevalue("without_onnx_runtime")
    (other,) = detect(ASTRONAUT)
    np.testing.assert_allclose(other.box, face.box, atol=0.1)
    assert other.score == pytest.approx(face.score, abs=1e-3)


def test_pictures_seen_together_are_seen_as_alone() -> None:
    images = [ASTRONAUT, np.zeros_like(ASTRONAUT), np.ascontiguousarray(ASTRONAUT[:, ::-1])]
    together = network.run(images, 0.3)
    assert [len(rows) > 0 for rows in together] == [True, False, True]
    for rows, image in zip(together, images, strict=True):
        np.testing.assert_allclose(rows, rows_of(image), atol=0.01)


def test_a_surer_box_stands_for_those_that_overlap_with_it() -> None:
    rows = np.zeros((4, 15), np.float32)
    rows[:, :4] = [(0, 0, 10, 10), (1, 0, 10, 10), (30, 0, 10, 10), (38, 0, 10, 10)]
    rows[:, 14] = [0.5, 0.9, 0.6, 0.7]  # 0.82 of their union in common, and 0.11
    assert [row[0] for row in network.distinct(rows)] == [1, 38, 30]


def test_several_threads_open_one_session() -> None:
    network.open_session.cache_clear()
    sessions: list[object] = []
    threads = [threading.Thread(target=lambda: sessions.append(network.session())) for _ in "1234"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sessions) == 4
    assert len(set(map(id, sessions))) == 1
