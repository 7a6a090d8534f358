"""What all tests share: strict JAX, the real files where they are, and real Keras on JAX."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import pytest

ROOT = Path(__file__).parents[1]
FIXTURES = ROOT / "tests" / "fixtures" / "keras"
SHARED = ROOT.parent / "shared"


@pytest.fixture(autouse=True)
def strict_jax(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make implicit promotion of dtypes and ranks an error, except where Keras itself computes."""
    if "tests/parity" in str(request.path):
        yield
    else:
        with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
            yield


@pytest.fixture(scope="session")
def compile_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder for all tests together: most train the same network."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def use_compile_cache(monkeypatch: pytest.MonkeyPatch, compile_cache: Path) -> None:
    """Keep compiled code out of the user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(compile_cache))


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder of files that real Keras versions wrote."""
    return FIXTURES


def _shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs {name} in a folder named shared beside the checkout")
    return path


@pytest.fixture(scope="session")
def published_weights() -> Path:
    """The stand-in for the published Keras file, 31.7 MB, with Adam's state."""
    return _shared("weights/cnn_emotion_detection.h5")


@pytest.fixture(scope="session")
def reference() -> Path:
    """What Keras 2.15 predicts with the published weights for 210 images."""
    return _shared("weights/cnn_emotion_detection.reference.npz")


@pytest.fixture(scope="session")
def fer_zip() -> Path:
    """The real images."""
    return _shared("data/emotion-detection-fer.zip")
