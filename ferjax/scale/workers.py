"""What a worker of an engine is given: how many cores are its own."""

from __future__ import annotations

import sys
from typing import Any

from ferjax import hardware


def cores() -> int:
    """Return how many cores the task at hand may use, by what its engine says.

    Ray, Spark and Dask run several tasks on a machine at once, and do not keep each to its cores.
    GPUs need no such question: the engines set `CUDA_VISIBLE_DEVICES`, which JAX obeys.
    """
    for engine, told in (("ray", _of_ray), ("pyspark", _of_spark), ("distributed", _of_dask)):
        module = sys.modules.get(engine)
        if module is not None:
            count = told(module)
            if count is not None:
                return max(1, min(int(count), hardware.cores()))
    return hardware.cores()


def _of_ray(ray: Any) -> float | None:
    try:
        if not ray.is_initialized() or ray.get_runtime_context().worker.mode != ray.WORKER_MODE:
            return None
        return ray.get_runtime_context().get_assigned_resources().get("CPU", 1)
    except Exception:  # a Ray that is about to end, or of another version
        return None


def _of_spark(pyspark: Any) -> float | None:
    context = getattr(pyspark, "TaskContext", None)
    task = None if context is None else context.get()
    return None if task is None else task.cpus()


def _of_dask(distributed: Any) -> float | None:
    try:
        worker = distributed.get_worker()
    except (AttributeError, ValueError):  # not in a worker
        return None
    return hardware.cores() / max(1, worker.state.nthreads)
