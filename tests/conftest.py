"""What all tests share: strict JAX, the real files where they are, and real Keras on JAX."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # For all tests, their processes and pytest-xdist's workers together: most compile the same
    # networks. It is new each time: code for one CPU may crash on another.
    _folder = tempfile.mkdtemp(prefix="ferjax-tests-")
    atexit.register(shutil.rmtree, _folder, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _folder
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"

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


@pytest.fixture(autouse=True)
def no_user_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Keep out of the user's cache folder where a test sets JAX's own aside."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@dataclass(frozen=True)
class ScriptDone:
    returncode: int
    stdout: str
    stderr: str


RunScript = Callable[..., ScriptDone]


@pytest.fixture
def run_script(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[RunScript]:
    """Run a script of the checkout, a module with `main`, in this process with some arguments."""

    def run(module: ModuleType, *arguments: object) -> ScriptDone:
        monkeypatch.setattr(sys, "argv", [f"{module.__name__}.py", *map(str, arguments)])
        capsys.readouterr()
        try:
            code = module.main()
        except SystemExit as stop:  # argparse's
            code = stop.code
        return ScriptDone(code, *capsys.readouterr())

    handler = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, handler)


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
