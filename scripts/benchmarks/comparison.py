"""One table of all parts: before, now, the best peer and the limit, from the stored results alone.

Each script's results come into one form here, a `Figure` for each thing measured; `lines` chooses
the best peer and the limit of each, `table` writes them as Markdown.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import cases, parts, traces
from .figures import describe, number
from .rounds import BEFORE, plain

Values = Mapping[str, Sequence[float]]  # by entry, what each process measured

_HAND = ("hand-onnx", "hand-opencv")
_PRODUCT = "matrix product"
_TITLES = {"one": "one face", "six": "six faces"}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What was measured of ferjax and of others.

    Attributes:
        title: what it is.
        unit: such as "ms" or "images/s".
        higher: whether more is better.
        values: of each entry.
        own: the entries that are ferjax's.
        limits: the entries that are no peers but what the bare libraries or the hardware allow.
    """

    title: str
    unit: str
    higher: bool
    values: Values
    own: tuple[str, ...]
    limits: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of the table; None where nothing was measured."""

    part: str
    title: str
    unit: str
    entry: str
    after: Sequence[float]
    before: Sequence[float] | None
    peer: tuple[str, Sequence[float]] | None
    limit: tuple[str, Sequence[float]] | None
    higher: bool

    @property
    def key(self) -> tuple[str, str, str]:
        """What is the same row of another run."""
        return self.part, self.title, self.entry

    def times(self, other: Sequence[float] | None) -> float | None:
        """Return how many times better than another this is, by medians; below 1: worse.

        None where one of them is not above 0, as memory that does not grow.

        >>> rate = dict(part="p", title="t", unit="images/s", entry="ferjax", after=[20.0])
        >>> line = Line(**rate, before=[10.0], peer=None, limit=None, higher=True)
        >>> line.times(line.before), line.times(None), line.times([0.0])
        (2.0, None, None)
        """
        if not other:
            return None
        mine, theirs = statistics.median(self.after), statistics.median(other)
        if min(mine, theirs) <= 0:
            return None
        return mine / theirs if self.higher else theirs / mine


# --- from each script's results to figures -------------------------------------------------------


def figures_of(part: Mapping[str, Any]) -> Iterator[Figure]:
    """Yield what was measured in a stored part."""
    for title, results in part["results"].items():
        if "tasks" in results:
            yield from _of_gpu(results)
        elif "cases" in results:
            yield from _of_cases(results)
        elif "memory" in results or "soak" in results:
            if not title.endswith(parts.BY_HAND):
                yield _growth(part, title)
        elif "rows" in results:
            yield from _of_requests(results)
        elif "film_seconds" in results:
            yield from _of_films(results)
        else:
            yield from _of_photographs(results)


def _of_cases(results: Mapping[str, Any]) -> Iterator[Figure]:
    effort: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in results["settings"]["effort"].items()
    }
    for case in results["cases"]:
        known = cases.CASES[case["name"]].metrics(cases.Effort(**effort))
        factors = {metric.key: metric.factor for metric in known}
        starts = case["name"] == "cold-start"
        limits = ("onnxruntime",) if starts else (_PRODUCT,)
        for metric in case["metrics"]:
            values = {row["entry"]: row["values"] for row in metric["rows"]}
            own = _own(values)
            limit = _by_arithmetic(results, case["name"], metric["key"], factors, effort)
            if limit is not None:
                values[_PRODUCT] = [limit]
            yield Figure(
                title=f"{case['name']}, {metric['title']}",
                unit=metric["unit"],
                higher=metric["higher_is_better"],
                values=values,
                own=own,
                limits=limits,
            )
        first = case["metrics"][0]["rows"] if case["metrics"] else []
        peaks = {row["entry"]: row["peaks"] for row in first if "peaks" in row}
        bare = () if case["name"] in ("training", "epoch", "conversion") else ("onnxruntime",)
        yield _peak(case["name"], peaks, _own(peaks), bare)


def _by_arithmetic(
    results: Mapping[str, Any],
    case: str,
    key: str,
    factors: Mapping[str, int],
    effort: Mapping[str, Any],
) -> float | None:
    """Return the figure that the rate of a large matrix product allows, or None."""
    rate = results["limit"]["gflops"]
    if not rate or case not in cases.LIMITED:
        return None
    seconds: float = 2e-9 * results["network"]["multiply_adds"] / rate  # of an image, forward
    if factors[key]:
        return 1 / (factors[key] * seconds)
    if case == "latency":
        return 1e3 * seconds if key == "p50" else None
    epoch: float = cases.TRAINING_FACTOR * effort["epoch_images"] * seconds
    evaluated = effort["epoch_evaluated"] if case == "training" else 0
    return epoch + evaluated * seconds


def _of_photographs(results: Mapping[str, Any]) -> Iterator[Figure]:
    peers = results["peers"]
    own = _own(row["peer"] for row in peers)
    for kind, title in _TITLES.items():
        rates = {row["peer"]: row["kinds"][kind]["rates"] for row in peers}
        yield Figure(
            title=f"photographs, {title}",
            unit="pictures/s",
            higher=True,
            values=rates,
            own=own,
            limits=_HAND,
        )
    yield Figure(
        title="photographs, from the start to the first faces",
        unit="s",
        higher=False,
        values={row["peer"]: row["starts"] for row in peers},
        own=own,
        limits=_HAND,
    )
    yield _peak("photographs", {row["peer"]: row["peaks"] for row in peers}, own, _HAND)


def _of_films(results: Mapping[str, Any]) -> Iterator[Figure]:
    films = {row["peer"]: row for row in results["peers"] if row["films"]}
    each = ("ferjax-each", "hand-onnx-each")  # looks at all frames
    of_all, of_some = (
        [name for name in films if (plain(name) in each) is at_all and name != "decoding"]
        for at_all in (True, False)
    )
    of_all += [name for name in of_some if name.startswith("fer") and not name.startswith("ferjax")]
    for kind, title in _TITLES.items():
        for names, how in ((of_some, ""), (of_all, ", each frame looked at")):
            yield Figure(
                title=f"film, {title}{how}",
                unit="frames/s",
                higher=True,
                values={name: films[name]["films"][kind]["rates"] for name in names},
                own=_own(names),
                limits=_HAND + each[1:],
            )
    waiting = {
        row["peer"]: row["latencies"]["median_ms"] for row in results["peers"] if "latencies" in row
    }
    if waiting:
        if each[1] in films:
            rates = films[each[1]]["films"]["one"]["rates"]
            waiting[each[1]] = [1e3 / rate for rate in rates]
        yield Figure(
            title="camera, from a frame to its face",
            unit="ms",
            higher=False,
            values=waiting,
            own=tuple(name for name in waiting if plain(name) == "latency"),
            limits=each[1:],
        )
    yield _peak("film", {name: films[name]["peaks"] for name in of_some}, _own(of_some), _HAND)


def _own(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name.startswith("ferjax") or plain(name) == "command")


def _of_requests(results: Mapping[str, Any]) -> Iterator[Figure]:
    kinds = {row["kind"]: None for row in results["rows"]}
    for kind in kinds:
        rows = [row for row in results["rows"] if row["kind"] == kind]
        counts = sorted({row["clients"] for row in rows})
        asked = [("rate", "requests/s", clients) for clients in counts]
        asked += [("p50", "ms", counts[0]), ("p99", "ms", counts[0])]
        for key, unit, clients in asked:
            of = {row["server"]: row["values"][key] for row in rows if row["clients"] == clients}
            told = "" if key == "rate" else f", {key.replace('p', '')} % within"
            yield _service(f"/v1/{kind}, {clients} client{'s' * (clients != 1)}{told}", unit, of)
    last = max((row["clients"] for row in results["rows"]), default=0)
    peaks: dict[str, list[float]] = {}
    for row in results["rows"]:  # of the last kind: a peak does not fall
        if row["clients"] == last:
            peaks[row["server"]] = row["values"]["peak_mb"]
    yield _service("peak memory, service", "MB", peaks)


def _of_gpu(results: Mapping[str, Any]) -> Iterator[Figure]:
    tasks = results["tasks"]
    product = [rate for name, of in tasks.items() if "tflops" in of for rate in of["tflops"]]
    arithmetic = 2e-12 * results["network"]["multiply_adds"]  # of an image, forward, in TFLOP
    found: dict[tuple[str, str, str], dict[str, Sequence[float]]] = {}
    for name, of in tasks.items():
        task, entry, dtype = name.split(", ")
        if task in ("training", "epoch", "inference"):
            for key, values in of.items():
                found.setdefault((task, key, dtype), {})[entry] = values
    for (task, key, dtype), values in found.items():
        if key == "difference":
            continue
        unit = key.rpartition("_")[2] if key.endswith(("_s", "_ms")) else "images/s"
        trains = (task == "training" and key != "evaluation") or task == "epoch"
        limit = {}
        if product and dtype == "bfloat16" and key != "with_evaluation_s":
            rates = [
                rate / arithmetic / (cases.TRAINING_FACTOR if trains else 1) for rate in product
            ]
            if unit == "images/s":
                limit = {_PRODUCT: rates}
            elif task == "epoch":
                limit = {_PRODUCT: [results["effort"]["epoch_images"] / rate for rate in rates]}
        title = key.removesuffix("_s").removesuffix("_ms").replace("_", " ").replace("-", " of ")
        yield Figure(
            title=f"{task}, {title}, {dtype}",
            unit=unit,
            higher=unit == "images/s",
            values={**values, **limit},
            own=_own(values),
            limits=(_PRODUCT,),
        )


def _service(title: str, unit: str, values: Values) -> Figure:
    known = {name: of for name, of in values.items() if plain(name) not in ("singly", "nothing")}
    return Figure(
        title=title,
        unit=unit,
        higher=unit == "requests/s",
        values=known,
        own=tuple(name for name in known if plain(name) == "batched"),
        limits=("bare",),
    )


def _peak(what: str, peaks: Values, own: tuple[str, ...], limits: tuple[str, ...]) -> Figure:
    return Figure(
        title=f"peak memory, {what}",
        unit="MB",
        higher=False,
        values=peaks,
        own=own,
        limits=limits,
    )


def _growth(part: Mapping[str, Any], title: str) -> Figure:
    """Return how memory grew, beside what is the same by hand, or else beside no growth at all."""
    results = part["results"][title]
    if "soak" in results:
        done, over = results["soak"]["requests"], "requests"
    else:
        done = results["memory"]["samples"][-1][0]
        over = "frames" if "film_seconds" in results else "pictures"
    hand = part["results"].get(title + parts.BY_HAND)
    limit = {"none": [0.0]} if hand is None else {"by hand": [_grown(hand)]}
    return Figure(
        title=f"growth over {done:,} {over}",
        unit="MB",
        higher=False,
        values={title: [_grown(results)], **limit},
        own=(title,),
        limits=tuple(limit),
    )


def _grown(results: Mapping[str, Any]) -> float:
    """Return the MB by which memory grew once all was warm."""
    if "soak" in results:
        memory = results["soak"]["memory"]
        return float(memory["late"] - memory["early"])
    return float(results["memory"]["growth_mb"])


# --- the table -----------------------------------------------------------------------------------


def lines(stored: Mapping[str, Mapping[str, Any]]) -> list[Line]:
    """Return the rows of stored parts."""
    return [line for name, part in stored.items() for line in _lines(name, figures_of(part))]


def _lines(part: str, found: Iterable[Figure]) -> Iterator[Line]:
    for figure in found:
        values = {name: of for name, of in figure.values.items() if of}
        peers = [n for n in values if n not in figure.own and n not in figure.limits]
        limits = [name for name in figure.limits if name in values]
        for entry in figure.own:
            if entry.endswith(BEFORE) or entry not in values:
                continue
            yield Line(
                part=part,
                title=figure.title,
                unit=figure.unit,
                entry=entry,
                after=values[entry],
                before=values.get(entry + BEFORE),
                peer=_best(peers, values, figure.higher),
                limit=_best(limits, values, figure.higher),
                higher=figure.higher,
            )


def _best(names: Sequence[str], values: Values, higher: bool) -> tuple[str, Sequence[float]] | None:
    if not names:
        return None
    name = (max if higher else min)(names, key=lambda name: statistics.median(values[name]))
    return name, values[name]


def table(
    stored: Mapping[str, Mapping[str, Any]], earlier: Mapping[str, Mapping[str, Any]] | None = None
) -> str:
    """Return stored parts as Markdown, a table a part.

    Args:
        earlier: those of an earlier run, for rows beside which no earlier ferjax was measured.
    """
    known = {line.key: line.after for line in lines(earlier)} if earlier else {}
    found = [
        line if line.before else replace(line, before=known.get(line.key)) for line in lines(stored)
    ]
    texts = [
        "Medians (least to most) of processes that take turns; in brackets behind the best peer "
        "and the limit how many times better ferjax is, below 1 worse. The limit is what the "
        "hardware or the bare library allows: the rate of a large matrix product, ONNX Runtime "
        "alone, or the same written by hand on it.",
        *_machines(stored),
    ]
    for name, part in stored.items():
        rows = [
            "| | ferjax | before | now | best peer | limit |",
            "|---|---|---|---|---|---|",
            *(_row(line) for line in found if line.part == name),
        ]
        notes = [f"- not measured: {what}: {why}" for what, why in _missing(part).items()]
        texts.append("\n".join([f"**{name}**: {parts.what(name)}", "", *rows, *notes]))
        for results in part["results"].values():
            for task, of in results.get("tasks", {}).items():
                if "gaps" in of:
                    texts.append("\n".join([f"**{task}**", "", *traces.lines(of)]))
    return "\n\n".join(texts)


def _row(line: Line) -> str:
    cells = [f"{line.title}, {line.unit}", line.entry, spread(line.before), spread(line.after)]
    for other in (line.peer, line.limit):
        if other is None:
            cells.append("")
            continue
        times = line.times(other[1])
        told = "" if times is None else f" [{times:.2f}]"
        cells.append(f"{other[0]} {spread(other[1])}{told}")
    return f"| {' | '.join(cells)} |"


def spread(values: Sequence[float] | None) -> str:
    """Return the median, with the least and the most where there are several values.

    >>> spread([1.0, 3.0, 2.0]), spread([5.0]), spread(None)
    ('2.00 (1.00 to 3.00)', '5.00', '')
    """
    if not values:
        return ""
    middle, *ends = map(number, (statistics.median(values), min(values), max(values)))
    return f"{middle} ({ends[0]} to {ends[1]})" if len(values) > 1 else middle


def _machines(stored: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield what was measured on, once for parts that say the same."""
    said: dict[str, list[str]] = {}
    for name, part in stored.items():
        for results in part["results"].values():
            text = f"{part['date'][:10]}: {describe(results['machine'])}"
            versions = dict(results["versions"])
            before = results.get("before")
            text += f"; ferjax {versions.pop('ferjax', '')}".rstrip()
            text += f", before {before}" if before else ""
            text += "".join(f", {package} {version}" for package, version in versions.items())
            small = "; a small run, to see that it works: its figures mean nothing"
            said.setdefault(text + small * part["quick"], []).append(name)
    for text, names in said.items():
        alone = "" if len(said) == 1 else f"{', '.join(dict.fromkeys(names))}, "
        yield f"Measured on {alone}{text}."


def _missing(part: Mapping[str, Any]) -> dict[str, str]:
    missing = dict(part["failed"])
    for results in part["results"].values():
        missing |= results.get("missing", {})
        for case in results.get("cases", ()):
            missing |= {
                f"{case['name']}, {of['entry']}": of["reason"]
                for of in case["missing"]
                if of["failed"]
            }
    return missing


def of_folder(folder: Path, earlier: Path | None = None) -> str:
    """Return the table of a folder.

    Raises:
        PartError: it holds no part.
    """
    return table(parts.read(folder), None if earlier is None else parts.read(earlier))
