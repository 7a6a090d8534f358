"""What computes: the cores of this process, ONNX Runtime, and devices in words."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ferjax.errors import BackendError, printable

_process: int | None = None  # the process in which JAX found its devices
_most_cores: int | None = None  # what this process is to make do with


def cores() -> int:
    """Return how many CPU cores this process may use; the machine may have more."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return count if _most_cores is None else min(count, _most_cores)


def limit_cores(count: int | None) -> None:
    """Have this process make do with so many cores, as one among others; None: with all it has."""
    global _most_cores
    _most_cores = count


def cpu_features() -> str:
    """Return what kind of CPU this is: compiled or laid out for another, code may crash."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def onnx_runtime() -> Any:
    """Import ONNX Runtime, without what it would tell its maker.

    From 1.29 on it keeps an identifier of the machine in the user's cache folder and sends what it
    does over the network, unless this variable says otherwise before it is first imported.

    Raises:
        ImportError: it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    disable = getattr(onnxruntime, "disable_telemetry_events", None)
    if disable is not None and os.environ["ORT_DISABLE_TELEMETRY"] == "1":
        disable()  # where it was imported before, and on Windows
    return onnxruntime


def described(devices: Sequence[Any]) -> str:
    """Return such as "CPU, 2 cores" or "2 x NVIDIA H100" for JAX's devices of one kind."""
    count = len(devices)
    if devices[0].platform == "cpu":
        number = cores()
        virtual = f", {count} devices" if count > 1 else ""
        return f"CPU, {number} core{'s' if number > 1 else ''}{virtual}"
    kind = str(devices[0].device_kind)
    return kind if count == 1 else f"{count} x {kind}"


def has_accelerator() -> bool:
    """Whether JAX computes on anything but the CPU; jax is imported only where that may be.

    Raises:
        BackendError: as for `check_backend`.
    """
    if not may_have_accelerator():
        return False
    check_backend()
    import jax

    return jax.default_backend() != "cpu"


def may_have_accelerator() -> bool:
    """Whether JAX is asked for a platform by name, or has a plugin for one but the CPU."""
    jax: Any = sys.modules.get("jax")
    try:
        platforms = jax.config.jax_platforms
    except AttributeError:  # not imported, or only in part
        platforms = os.environ.get("JAX_PLATFORMS")
    if platforms:
        return bool(platforms.split(",")[0] != "cpu")
    # Plugins for CUDA, ROCm and Metal are in the first, that for TPUs is the second.
    return any(importlib.util.find_spec(name) is not None for name in ("jax_plugins", "libtpu"))


def has_float64() -> bool:
    """Whether JAX is asked to compute in float64, by `jax_enable_x64`."""
    jax: Any = sys.modules.get("jax")
    try:
        return bool(jax.config.jax_enable_x64)
    except AttributeError:
        return os.environ.get("JAX_ENABLE_X64", "").lower() in ("1", "true", "t", "yes", "y", "on")


def check_backend() -> None:
    """Have JAX find its devices.

    Raises:
        BackendError: it cannot, as where JAX_PLATFORMS names a GPU and there is none; or it did so
            before this process was forked, and would wait for threads that were left behind.
    """
    global _process
    if _process == os.getpid():
        return
    if _process is not None:
        raise BackendError(
            "JAX was used before this process was forked, and cannot be used in it: predict first "
            "in the workers, or start them by multiprocessing's 'spawn' or 'forkserver'"
        )
    import jax

    try:
        jax.devices()
    except Exception as error:  # a RuntimeError; for "cuda" without its plugin an AssertionError
        asked: Any = getattr(jax.config, "jax_platforms", None)
        reason = printable(str(error).split(" (set JAX_PLATFORMS")[0].rstrip("."), 200)
        cause = f" ({reason})" if reason else ""
        raise BackendError(
            f"JAX cannot use the platform that JAX_PLATFORMS names, {asked!r}{cause}; name one "
            "that this machine has and JAX is installed for, or JAX_PLATFORMS=cpu for the CPU"
            if asked
            else f"JAX finds no device to compute on{cause}; JAX_PLATFORMS=cpu uses the CPU"
        ) from None
    _process = os.getpid()
