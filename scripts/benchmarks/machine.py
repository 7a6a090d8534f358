"""What is measured on: processor, memory, system, versions."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

_PACKAGES = (
    "ferjax jax jaxlib flax numpy keras tensorflow tensorflow-cpu torch onnx onnxruntime h5py "
    "opencv-python-headless"
).split()
# Settings that change what is measured; recorded where they are set.
_VARIABLES = re.compile(
    # Terraform's settings begin with TF_ too.
    r"(XLA|JAX|TF(?!_CLI_|_VAR_)|OMP|MKL|KMP|OPENBLAS|TORCH|PYTORCH|KERAS|MALLOC)_|LD_PRELOAD"
)


def cpu_model() -> str:
    """Return such as "AMD EPYC 7B13"."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name" and value.strip():
            return value.strip()
    return platform.processor() or platform.machine() or "unknown"


def describe(threads: int, device: dict[str, str], load: float) -> dict[str, Any]:
    """Return the machine, ready for JSON.

    Args:
        device: {"platform", "kind"} of JAX's first device.
        load: of the minute before the benchmark began, in processes that run or wait to.
    """
    gpu = None if device["platform"] == "cpu" else device["kind"]
    return {
        "cpu": cpu_model(),
        "logical_cores": os.cpu_count(),
        "physical_cores": _physical_cores(),
        "threads": threads,
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "gpu": gpu,
        "os": platform.platform(),
        "load": round(load, 2),
        "environment": {
            name: "a path" if os.path.isabs(value) else value  # where, is nobody's business
            for name, value in sorted(os.environ.items())
            if _VARIABLES.match(name)
        },
    }


def _physical_cores() -> int | None:
    if importlib.util.find_spec("psutil") is None:
        return None
    import psutil

    count: int | None = psutil.cpu_count(logical=False)
    return count


def versions(checkout: Path | None = None) -> dict[str, str]:
    """Return the versions of Python and of every package that is measured or used.

    Args:
        checkout: whose ferjax is measured; None: the one that Python finds. The commit of a
            checkout is given too.
    """
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    spec = importlib.util.find_spec("ferjax")
    if checkout is None and spec is not None and spec.origin:
        checkout = Path(spec.origin).parents[1]
    if checkout is not None and (checkout / "pyproject.toml").is_file():  # not site-packages
        found["ferjax"] = version_of(checkout)
    return found


def version_of(checkout: Path) -> str:
    """Return such as "0.1.0 (2e568a3)" for a checkout of ferjax."""
    text = (checkout / "ferjax" / "_version.py").read_text(encoding="utf-8")
    version = re.search(r'__version__ = "(.+)"', text)
    parts = [version[1] if version else "", f"({commit(checkout) or 'no commit'})"]
    return " ".join(filter(None, parts))


def commit(checkout: Path) -> str | None:
    """Return the commit of a checkout, "+" after it where changed; None where it has none."""
    command = ["git", "-C", str(checkout), "describe", "--always", "--exclude=*", "--dirty=+"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:  # there is no git
        return None
    return done.stdout.strip() or None


def file_name(machine: dict[str, Any]) -> str:
    """Return a name for results from here.

    >>> file_name({"cpu": "Intel(R) Xeon(R) CPU @ 2.20GHz", "threads": 8, "gpu": None})
    'intel-xeon-cpu-2-20ghz-8-threads'
    """
    text = re.sub(r"\((R|TM|r|tm)\)", "", machine["gpu"] or machine["cpu"])
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return slug if machine["gpu"] else f"{slug}-{machine['threads']}-threads"
