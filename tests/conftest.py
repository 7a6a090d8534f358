"""What all tests share: strict JAX, the real files where they are, and real Keras on JAX."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import jax
import pytest

from ferjax import xla

ROOT = Path(__file__).parents[1]
FIXTURES = ROOT / "tests" / "fixtures" / "keras"
SHARED = ROOT.parent / "shared"
COMPILED = ROOT / ".pytest_cache" / "d" / "xla" / xla.cache_folder().name
"""What XLA has compiled for tests on this kind of machine; `pytest --cache-clear` empties it."""

if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # Most of the time goes into compiling: for all tests, their processes and pytest-xdist's
    # workers once, and not at all the next time. Small programs are the most.
    for _name, _value in (
        ("jax_compilation_cache_dir", str(COMPILED)),
        ("jax_persistent_cache_min_compile_time_secs", 0.0),
        ("jax_persistent_cache_min_entry_size_bytes", -1),
    ):
        jax.config.update(_name, _value)
        os.environ[_name.upper()] = str(_value)


def pytest_sessionstart(session: pytest.Session) -> None:
    is_worker = hasattr(session.config, "workerinput")
    if os.environ["JAX_COMPILATION_CACHE_DIR"] == str(COMPILED) and not is_worker:
        tidy_cache(COMPILED)


def pytest_collection_finish() -> None:
    """Let the garbage collector leave alone what is imported, a million objects, in all tests."""
    gc.freeze()
    gc.set_threshold(10_000)


def pytest_runtest_teardown(item: pytest.Item) -> None:
    if "refused" in getattr(item, "fixturenames", ()):  # which ends in gc.unfreeze()
        gc.freeze()


def tidy_cache(folder: Path, days: int = 30) -> None:
    """Remove what is old, and what a killed process left half-written since the last time.

    JAX would warn of that at each use and compile anew; another process that is writing loses no
    more than its entry.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # what lies there is run
    checked = folder / "checked"
    since = checked.stat().st_mtime if checked.exists() else 0.0
    checked.touch()
    for path in folder.glob("*-cache"):
        written = path.stat().st_mtime
        if written < time.time() - days * 86400 or (written >= since and not _is_whole(path)):
            path.unlink(missing_ok=True)


def _is_whole(path: Path) -> bool:
    content = path.read_bytes()
    if content.startswith(b"\x28\xb5\x2f\xfd"):  # Zstandard's, where that is installed
        return True
    try:
        zlib.decompress(content)
    except zlib.error:
        return False
    return True


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_disks() -> Iterator[None]:
    """Let files be written without `fsync`: what tests write need not outlast a power cut."""
    fsync, os.fsync = os.fsync, lambda handle: None
    yield
    os.fsync = fsync


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads its options
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Share a run of all tests among the cores; a part of them starts faster in one process."""
    option = config.option
    if (
        config.pluginmanager.hasplugin("xdist")
        and not hasattr(config, "workerinput")  # one of the processes that were started here
        and config.args_source is pytest.Config.ArgsSource.TESTPATHS
        and option.numprocesses is None
        and not (option.keyword or option.collectonly or option.usepdb or option.lf)
    ):
        option.numprocesses = min(len(_cores()), 8)  # each loads JAX, Keras and TensorFlow
        option.dist = "worksteal"  # neighbours share fixtures and programs


def _cores() -> Collection[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count())


@pytest.fixture(autouse=True)
def strict_jax(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make implicit promotion of dtypes and ranks an error, except where Keras itself computes.

    In all threads, which JAX's context managers would not do.
    """
    if "tests/parity" in str(request.path):
        yield
        return
    strict = {"jax_numpy_dtype_promotion": "strict", "jax_numpy_rank_promotion": "raise"}
    config = jax.config  # a test may put another in its place
    before = {name: getattr(config, name) for name in strict}
    for name, value in strict.items():
        config.update(name, value)
    yield
    for name, value in before.items():
        config.update(name, value)


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
            with warnings.catch_warnings():
                warnings.simplefilter("always", UserWarning)  # lines on stderr, not errors
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


@pytest.fixture(scope="session")
def source(fixtures: Path) -> Path:
    """A whole model of Keras 2.15: 12x12x1, 7 classes, no labels, Adam's state."""
    return fixtures / "keras-2.15.0" / "sequential.h5"


@pytest.fixture(scope="session")
def config(fixtures: Path) -> Path:
    """The config of the same network."""
    return fixtures / "keras-2.15.0" / "sequential.json"


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
