"""What computes, in words."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import jax
import pytest

from ferjax import hardware
from ferjax.errors import BackendError

ROOT = Path(__file__).parents[1]
CPU = SimpleNamespace(platform="cpu", device_kind="cpu")
GPU = SimpleNamespace(platform="gpu", device_kind="NVIDIA H100")


def anew() -> ModuleType:
    """Return the module as a process has it that has not looked for devices."""
    spec = importlib.util.find_spec("ferjax.hardware")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs a scheduler as Linux has")
def test_cores_are_those_that_the_process_may_use() -> None:
    before = os.sched_getaffinity(0)
    assert hardware.cores() == len(before)
    try:
        os.sched_setaffinity(0, [min(before)])
        assert hardware.cores() == 1
        assert hardware.described([CPU]) == "CPU, 1 core"
    finally:
        os.sched_setaffinity(0, before)


def test_devices_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cores", lambda: 4)
    assert hardware.described([CPU]) == "CPU, 4 cores"
    assert hardware.described([CPU] * 2) == "CPU, 4 cores, 2 devices"
    assert hardware.described([GPU]) == "NVIDIA H100"
    assert hardware.described([GPU] * 8) == "8 x NVIDIA H100"
    assert hardware.described(jax.devices("cpu")[:1]) == "CPU, 4 cores"


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        (
            "tpu",
            RuntimeError(
                "Unable to initialize backend 'tpu': no such file. (set JAX_PLATFORMS='')"
            ),
            r"names, 'tpu' \(Unable to initialize backend 'tpu': no such file\); name one that",
        ),
        ("cuda", AssertionError(), r"names, 'cuda'; name one .* JAX_PLATFORMS=cpu for the CPU"),
        (None, RuntimeError("none"), r"^JAX finds no device .* \(none\); JAX_PLATFORMS=cpu uses"),
    ],
)
def test_a_platform_that_is_not_there_is_named(
    asked: str | None, error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(jax, "devices", fail)
    monkeypatch.setattr(jax, "config", SimpleNamespace(jax_platforms=asked))
    with pytest.raises(BackendError, match=message):
        anew().check_backend()


def test_onnx_runtime_keeps_and_sends_nothing(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    code = """
import os, numpy as np, ferjax
ferjax.faces.detect(np.zeros((64, 64, 3), np.uint8))
ferjax.load("checkpoints/fer_cnn5.h5", engine="onnx").predict(np.zeros((48, 48), np.uint8))
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""
    off = ("ORT_DISABLE_TELEMETRY", "CI")  # it sends nothing of CI's machines
    env = {name: value for name, value in os.environ.items() if name not in off}
    env |= dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=env
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n"
    assert not [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name]
