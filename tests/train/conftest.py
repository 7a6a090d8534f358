"""Small runs: generated faces that can be learnt, and a network that takes milliseconds a step."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import ferjax
from ferjax.data import preparation
from ferjax.data.dataset import Faces
from ferjax.keras.model_config import model_config
from ferjax.nets import Graph
from ferjax.train import logs

from ..networks import SIZE, tiny_graph


def make_faces(
    train: int = 256, validation: int = 64, *, size: int = SIZE, copies: int = 0, seed: int = 0
) -> Faces:
    """Make noisy images of seven patterns; the first `copies` validation images are training's."""
    rng = np.random.default_rng(seed)
    n = train + validation
    labels = rng.integers(0, 7, n).astype(np.int32)
    patterns = rng.integers(0, 256, (7, size, size))
    noise = rng.integers(0, 180, (n, size, size))
    images = np.clip(0.3 * patterns[labels] + noise, 0, 255).astype(np.uint8)
    images[train : train + copies], labels[train : train + copies] = (
        images[:copies],
        labels[:copies],
    )
    return Faces(
        images=images,
        labels=labels,
        splits=np.repeat(np.array([0, 1], np.int8), [train, validation]),
        names=tuple(f"face {row}" for row in range(n)),
        class_names=ferjax.EMOTIONS,
        source_sizes=np.full((n, 2), size, np.int32),
    )


def two_classes(train: int = 256, validation: int = 64) -> Faces:
    """Make images as `make_faces` does, of "calm" for every other pattern and "tense"."""
    faces = make_faces(train, validation)
    return dataclasses.replace(faces, labels=faces.labels % 2, class_names=("calm", "tense"))


@pytest.fixture
def curves_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learning curves take longer than a tiny network's training: their numbers stand for them.

    Runs that several tests share are begun before this, and draw theirs.
    """

    def write(path: Path, history: Sequence[logs.Row], *, title: str, best_epoch: int) -> bool:
        path.write_text(json.dumps([title, best_epoch, history]), encoding="utf-8")
        return True

    monkeypatch.setattr(logs, "draw_curves", write)


@pytest.fixture
def faces() -> Faces:
    return make_faces()


@pytest.fixture
def data(tmp_path: Path, faces: Faces) -> Path:
    """A prepared folder."""
    return prepared(tmp_path / "data", faces)


def prepared(folder: Path, faces: Faces) -> Path:
    """Write what `ferjax data prepare` makes of faces, without a manifest."""
    folder.mkdir()
    arrays = {
        name: np.asarray(getattr(faces, name))
        for name in ("images", "labels", "splits", "names", "class_names", "source_sizes", "notes")
    }
    if faces.votes is not None:
        arrays |= {"votes": faces.votes.counts, "vote_names": np.asarray(faces.votes.names)}
    arrays["notes"] = arrays["notes"].astype(str)  # an empty one would be of numbers
    np.savez(folder / preparation.ARRAYS, **arrays)  # type: ignore[arg-type]
    return folder


@pytest.fixture
def model_json(tmp_path: Path) -> Path:
    """The tiny network as a Keras config."""
    return write_config(tmp_path / "tiny.json", tiny_graph())


def write_config(path: Path, graph: Graph) -> Path:
    path.write_text(json.dumps(model_config(graph)), encoding="utf-8")
    return path
