"""What computes: the cores of this process, and devices in words."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any


def cores() -> int:
    """Return how many CPU cores this process may use; the machine may have more."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def described(devices: Sequence[Any]) -> str:
    """Return such as "CPU, 2 cores" or "2 x NVIDIA H100" for JAX's devices of one kind."""
    count = len(devices)
    if devices[0].platform == "cpu":
        number = cores()
        virtual = f", {count} devices" if count > 1 else ""
        return f"CPU, {number} core{'s' if number > 1 else ''}{virtual}"
    kind = str(devices[0].device_kind)
    return kind if count == 1 else f"{count} x {kind}"
