"""What a profile of JAX says of the device: how long it idles, and between which operations."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Event = tuple[float, float, str]  # start and end in nanoseconds, name
_MOST = 12  # gaps and operations that are named
_WAITS = "ThunkExecutor::"  # on CPUs stands for all operations that it began


def device_events(path: Path) -> list[Event]:
    """Return what ran on the GPUs of a profile (.xplane.pb), or without one on XLA's threads."""
    import jax

    planes = list(jax.profiler.ProfileData.from_file(str(path)).planes)
    return [
        (event.start_ns, event.start_ns + event.duration_ns, event.name)
        for line in device_lines(planes)
        for event in line.events
        if event.duration_ns > 0 and not event.name.startswith(_WAITS)
    ]


def device_lines(planes: Sequence[Any]) -> list[Any]:
    """Return the lines of a profile's planes on which single operations of the device stand.

    Beside a GPU's streams there may be lines of whole modules and steps, which know no gaps.
    """
    for plane_name, names in (
        ("/device:GPU", ("Stream",)),
        ("/device:", ("XLA Ops",)),
        ("/device:", ("",)),
        ("/host:CPU", ("tf_XLA",)),
    ):
        lines = [
            line
            for plane in planes
            if plane.name.startswith(plane_name)
            for line in plane.lines
            if line.name.startswith(names) and any(event.duration_ns > 0 for event in line.events)
        ]
        if lines:
            return lines
    return []


def summary(events: Iterable[Event]) -> dict[str, Any]:
    """Return the span in ms, the idle share, the largest gaps by name and the longest operations.

    A gap is a time in which nothing ran; gaps between operations of the same names are summed.

    >>> found = summary([(0, 4e6, "fusion.1"), (1e6, 3e6, "copy"), (6e6, 8e6, "fusion.2")])
    >>> found["span_ms"], found["idle"], found["gaps"]
    (8.0, 0.25, [{'after': 'fusion', 'before': 'fusion', 'count': 1, 'ms': 2.0, 'longest_ms': 2.0}])
    >>> found["operations"][0]
    {'name': 'fusion', 'count': 2, 'ms': 6.0}
    """
    ordered = sorted(events)
    if not ordered:
        return {"span_ms": 0.0, "idle": None, "gaps": [], "operations": []}
    gaps: dict[tuple[str, str], list[float]] = defaultdict(list)
    _, covered, last = ordered[0]
    for start, end, name in ordered:
        if start > covered:
            gaps[kind(last), kind(name)].append(start - covered)
        if end > covered:
            covered, last = end, name
    span = covered - ordered[0][0]
    idle = sum(map(sum, gaps.values()))
    longest = sorted(gaps.items(), key=lambda item: -sum(item[1]))[:_MOST]
    taken: dict[str, list[float]] = defaultdict(list)
    for start, end, name in ordered:
        taken[kind(name)].append(end - start)
    most = sorted(taken.items(), key=lambda item: -sum(item[1]))[:_MOST]
    return {
        "span_ms": span / 1e6,
        "idle": idle / span,
        "gaps": [
            {"after": after, "before": before, **_sums(of), "longest_ms": max(of) / 1e6}
            for (after, before), of in longest
        ],
        "operations": [{"name": name, **_sums(of)} for name, of in most],
    }


def _sums(values: Sequence[float]) -> dict[str, Any]:
    return {"count": len(values), "ms": sum(values) / 1e6}


def lines(trace: Mapping[str, Any]) -> list[str]:
    """Return the device's idle share and its largest gaps as Markdown."""
    if trace["idle"] is None:
        return ["The trace has no operations of a device."]
    lines = [
        f"{trace['steps']} steps took {trace['span_ms']:.1f} ms of the device, "
        f"{trace['idle']:.0%} of which it idled.",
        "",
        "| gaps after | before | count | ms | longest, ms |",
        "|---|---|---|---|---|",
    ]
    for gap in trace["gaps"]:
        cells = [gap["after"], gap["before"], f"{gap['count']}"]
        cells += [f"{gap['ms']:.2f}", f"{gap['longest_ms']:.3f}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| operations | count | ms |", "|---|---|---|"]
    lines += [f"| {of['name']} | {of['count']} | {of['ms']:.2f} |" for of in trace["operations"]]
    return lines


def kind(name: str) -> str:
    """Return an operation's name without its number.

    >>> kind("loop_fusion.123"), kind("MemcpyD2D"), kind("sm90_gemm_128x64"), kind("fusion_7")
    ('loop_fusion', 'MemcpyD2D', 'sm90_gemm_128x64', 'fusion')
    """
    return re.sub(r"([._]\d+)+$", "", name)
