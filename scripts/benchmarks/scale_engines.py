"""Runs of `benchmark_scale.py`: on Ray, with a worker killed, gone on with, and on Dask."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from pyarrow import parquet

Row = tuple[Any, ...]


def ferjax(*arguments: object) -> list[str]:
    """Return the command line of ferjax with some arguments."""
    return [sys.executable, "-m", "ferjax", *map(str, arguments)]


def on_ray(
    pictures: Path, rows: Path, workers: int, *, killed: bool, resume: bool = False
) -> dict[str, Any]:
    """Do photographs on Ray, and return the seconds, the driver's memory and what was killed.

    Args:
        pictures: the folder.
        rows: where the rows go.
        workers: how many processes.
        killed: kill a worker once a third of the photographs are done.
        resume: go on with the run.

    Raises:
        RuntimeError: the command failed.
    """
    command = ferjax("faces", pictures, "--on", "ray", "--workers", workers, "--out", rows)
    began = time.monotonic()
    process = subprocess.Popen(
        [*command, *(["--resume"] if resume else [])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    driver = psutil.Process(process.pid)
    total = sum(1 for _ in os.scandir(pictures))
    memory: list[tuple[float, float]] = []  # seconds, MB
    deaths: list[int] = []
    while process.poll() is None:
        try:
            memory.append((time.monotonic() - began, driver.memory_info().rss / 1e6))
        except psutil.NoSuchProcess:
            break
        if killed and not deaths and 3 * done(rows) >= total:
            deaths.append(kill_worker(driver))
        time.sleep(0.5)
    out, err = process.communicate()
    if process.returncode not in (0, 1):
        raise RuntimeError(err.strip() or f"exit code {process.returncode}")
    return {
        "seconds": time.monotonic() - began,
        "said": out.splitlines()[0],
        "killed": deaths,
        "memory": memory,
    }


def interrupted(pictures: Path, rows: Path, workers: int) -> int:
    """Begin a run on Ray, kill its driver when a third is done, and return how many are done."""
    command = ferjax("faces", pictures, "--on", "ray", "--workers", workers, "--out", rows)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    total = sum(1 for _ in os.scandir(pictures))
    while process.poll() is None and 3 * done(rows) < total:
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return done(rows)


def done(rows: Path) -> int:
    """Return how many photographs the parts in a folder have, one face each."""
    if not rows.is_dir():
        return 0
    return sum(parquet.read_metadata(path).num_rows for path in rows.glob("part-*.parquet"))


def kill_worker(driver: psutil.Process) -> int:
    """Kill one of the processes that work for a driver, and return its number."""
    for child in driver.children(recursive=True):
        if "MapWorker" in " ".join(child.cmdline()):
            child.kill()
            return child.pid
    raise RuntimeError("none of Ray's workers is seen")


def on_dask(paths: Sequence[str], workers: int) -> tuple[float, list[Row], list[str]]:
    """Do photographs on Dask, and return the seconds, the rows and the columns."""
    import dask.dataframe
    import pandas

    from ferjax.scale import Predictor

    from_pandas: Any = dask.dataframe.from_pandas
    predictor = Predictor()
    meta = predictor.schema.empty_table().to_pandas()
    began = time.monotonic()
    frame = from_pandas(pandas.DataFrame({"path": paths}), npartitions=4 * workers)
    made = frame.map_partitions(predictor, meta=meta).compute(
        scheduler="processes", num_workers=workers
    )
    seconds = time.monotonic() - began
    values = made.astype(object).where(made.notna(), None)
    return seconds, list(values.itertuples(index=False, name=None)), list(made.columns)


# --- rows ----------------------------------------------------------------------------------------

_TEXTS = ("path", "label", "error")


def csv_rows(path: Path) -> tuple[list[Row], list[str]]:
    """Return the rows of a CSV file as numbers and texts, and its columns."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        names = next(reader)
        return [tuple(map(_value, names, row)) for row in reader], names


def _value(name: str, text: str) -> Any:
    if name in _TEXTS or not text:
        return text or None
    return text == "True" if text in ("True", "False") else float(text)


def parquet_rows(folder: Path) -> tuple[list[Row], list[str]]:
    """Return the rows of a folder of Parquet files, and their columns."""
    rows: list[Row] = []
    names: list[str] = []
    for path in sorted(folder.glob("*.parquet")):
        table = parquet.read_table(path)
        names = table.column_names
        rows += zip(*(column.to_pylist() for column in table.columns))
    return rows, names


def compared(expected: tuple[list[Row], list[str]], found: tuple[list[Row], list[str]]) -> str:
    """Return "the same", order aside, or what differs."""
    (rows, names), (others, columns) = expected, found
    if names != columns:
        return f"columns {columns}, expected {names}"
    doubled = len(others) - len({row[:2] for row in others})
    lost = len({row[:2] for row in rows} - {row[:2] for row in others})
    if doubled or lost:
        return f"{lost:,} lost, {doubled:,} double"
    differing = sum(a != b for a, b in zip(_sorted(rows), _sorted(others), strict=True))
    return f"{differing:,} differ" if differing else "the same"


def _sorted(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row[:2])


def growth(memory: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the most MB, and how many more the last tenth has than the third from a third on."""
    values = [mb for _, mb in memory]
    third, tenth = len(values) // 3, max(1, len(values) // 10)
    return max(values), _mean(values[-tenth:]) - _mean(values[third : 2 * third or 1])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))
