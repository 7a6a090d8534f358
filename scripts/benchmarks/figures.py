"""From measurements to figures: medians, ratios to the best, shares of the limit, a table."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .cases import Metric

FORMAT = 1


class ResultError(Exception):
    """A file does not hold the results of this suite."""


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return the median of repeats, with the least and the most."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "values": list(values),
    }


def compare(
    metric: Metric,
    found: Mapping[str, tuple[Sequence[float], Sequence[int]]],
    arithmetic: float,
    limit: float | None,
) -> dict[str, Any]:
    """Return a metric's figures by row.

    Args:
        found: each row's values, and the peak memory of its processes in bytes.
        arithmetic: billions of operations an image, 0 where shares make no sense.
        limit: billions of operations a second that the machine is capable of, where known.

    Returns:
        The metric, and for each row its median with the range; `ratio`, how many times worse its
        median is than the best row's; `share` of the limit, or None; `peak_mb`, the median of its
        processes' peaks, in millions of bytes.
    """
    medians = {row: statistics.median(values) for row, (values, _) in found.items()}
    best = (max if metric.higher_is_better else min)(medians.values(), default=None)
    rows = []
    for row, (values, peaks) in found.items():
        median = medians[row]
        assert best is not None
        ratio = best / median if metric.higher_is_better else median / best
        share = median * arithmetic / limit if arithmetic and limit else None
        peak = round(statistics.median(peaks) / 1e6, 1)
        rows.append({"entry": row, **spread(values), "ratio": ratio, "share": share})
        rows[-1] |= {"peak_mb": peak, "peaks": [round(of / 1e6, 1) for of in peaks]}
    return {
        "key": metric.key,
        "title": metric.title,
        "unit": metric.unit,
        "higher_is_better": metric.higher_is_better,
        "rows": rows,
    }


def read(path: Path) -> dict[str, Any]:
    """Return stored results.

    Raises:
        ResultError: there are none in the file.
    """
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultError(f"{path}: {error.strerror or error}") from None
    except ValueError:
        raise ResultError(f"{path}: is no JSON file") from None
    if not isinstance(results, dict) or "cases" not in results or "format" not in results:
        raise ResultError(f"{path}: holds no results of this benchmark")
    if results["format"] != FORMAT:
        raise ResultError(f"{path}: expected format {FORMAT}, got {results['format']}")
    return results


def table(results: Mapping[str, Any]) -> str:
    """Return the results as Markdown, a table a case.

    A cell has the median, the range over repeats, how many times the best it is, and where it
    makes sense the share of the machine's limit.
    """
    parts = ["\n".join(_introduction(results))]
    for case in results["cases"]:
        parts.append(f"**{case['name']}**: {case['what']}")
        if any(metric["rows"] for metric in case["metrics"]):
            parts.append("\n".join(_rows(case)))
        by_reason: dict[str, list[str]] = {}
        for missing in case["missing"]:
            by_reason.setdefault(missing["reason"], []).append(missing["entry"])
        if by_reason:
            lines = [f"- not measured: {', '.join(who)}: {why}" for why, who in by_reason.items()]
            parts.append("\n".join(lines))
    return "\n\n".join(parts)


def describe(machine: Mapping[str, Any]) -> str:
    """Return such as "AMD EPYC, 2 threads on 2 cores, 23.4 GiB, Linux-6.1"."""
    cores = machine["physical_cores"] or machine["logical_cores"]
    threads = f"{machine['threads']} thread{'s' * (machine['threads'] != 1)}"
    parts = [machine["cpu"], f"{threads} on {cores} core{'s' * (cores != 1)}"]
    parts += [machine["gpu"]] if machine["gpu"] else []
    return ", ".join([*parts, f"{machine['memory_gib']:g} GiB", machine["os"]])


def _introduction(results: Mapping[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    settings, network = results["settings"], results["network"]
    repeats = settings["effort"]["repeats"]
    processes = f"{repeats} processes (least to most)" if repeats > 1 else "1 process"
    lines = [
        f"Measured on {results['date'][:10]}: {describe(results['machine'])}.",
        f"{network['name']}, {network['parameters']:,} parameters, "
        f"{network['multiply_adds'] / 1e6:,.0f} million multiply-adds an image, "
        f"{settings['dtype']}; {versions}.",
        f"Median of {processes}, times the best, share of the limit.",
    ]
    if results["limit"]["gflops"]:
        lines.append(f"Limit: a large matrix product, {results['limit']['gflops']:,.0f} GFLOP/s.")
    for name, reason in results["limit"]["missing"].items():
        lines.append(f"Not measured: the product by {name}: {reason}.")
    if not results["complete"]:
        lines.append("Interrupted: the figures are incomplete.")
    return lines


def _rows(case: Mapping[str, Any]) -> list[str]:
    metrics = case["metrics"]
    entries = dict.fromkeys(row["entry"] for metric in metrics for row in metric["rows"])
    heads = [f"{metric['title']}, {metric['unit']}" for metric in metrics]
    lines = [f"| | {' | '.join(heads)} | peak memory, MB |"]
    lines.append("|---" * (len(heads) + 2) + "|")
    for entry in entries:
        cells, peaks = [entry], []
        for metric in metrics:
            row = next((row for row in metric["rows"] if row["entry"] == entry), None)
            cells.append("" if row is None else _cell(row))
            peaks += [] if row is None else [row["peak_mb"]]
        lines.append(f"| {' | '.join(cells)} | {max(peaks):,.0f} |")
    return lines


def _cell(row: Mapping[str, Any]) -> str:
    text = number(row["median"])
    if len(row["values"]) > 1:
        text += f" ({number(row['min'])} to {number(row['max'])})"
    text += f", {row['ratio']:.2f}x"
    return text if row["share"] is None else f"{text}, {row['share']:.0%}"


def number(value: float) -> str:
    """Return a figure with three digits that count.

    >>> [number(value) for value in (0.01234, 5.678, 56.78, 1234.5)]
    ['0.0123', '5.68', '56.8', '1,234']
    """
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 1 else f"{value:.{2 if value < 10 else 1}f}"
