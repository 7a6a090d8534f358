"""The order of the measurements, and what becomes of them.

In each repeat every case goes round its entries, and each repeat begins with another entry, so that
a machine that slows down or speeds up does so for all.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import cases, figures, machine, processes, rounds
from .cases import CASES, Setup
from .processes import Done

SCRIPT = Path(__file__).parents[1] / "benchmark.py"
_LIMITS = ("numpy", "jax")


class SetupError(Exception):
    """The network cannot be prepared, so nothing can be measured."""


class Benchmark:
    """Measurements of some cases and peers.

    Attributes:
        values: (case, metric, entry) to what each repeat gave.
        peaks: the same to the peak memory of each process, in bytes.
        reasons: (case, entry) to why it was not measured, or not each time.
        failures: those that lack a package, failed or disagreed; the others are excused.
        differences: of each entry's probabilities from the reference.
        repeats: how many there were.
    """

    def __init__(
        self,
        setup: Setup,
        case_names: Sequence[str],
        peers: tuple[str, ...],
        *,
        before: Path | None = None,
        minutes: float | None = None,
    ) -> None:
        """Plan the measurements.

        Args:
            before: a checkout of an earlier ferjax, measured in turn with this one.
            minutes: in which all repeats but the first have to end; None: however long they take.
        """
        self.setup, self.case_names, self.peers = setup, tuple(case_names), peers
        self.before, self._minutes, self._start = before, minutes, time.monotonic()
        self.repeats = 0
        self.values: dict[tuple[str, str, str], list[float]] = {}
        self.peaks: dict[tuple[str, str, str], list[int]] = {}
        self.reasons: dict[tuple[str, str], str] = {}
        self.failures: set[tuple[str, str]] = set()
        self.differences: dict[str, float] = {}
        self.complete = False
        self._load = os.getloadavg()[0]  # before anything of this runs
        self._env = processes.environment(setup.threads, setup.folder)
        self._answer: dict[str, int] = {}  # the class of the cold start's image, by entry
        self._entries: dict[str, list[str]] = {}
        for case in self.case_names:
            entries, excused = cases.selected(case, peers, setup.dtype)
            self._entries[case] = rounds.with_before(entries, cases.OWN, before)
            self.reasons |= {(case, entry): why for entry, why in excused.items()}

    def prepare(self) -> bool:
        """Write the network for all; return whether JAX sees an accelerator.

        Raises:
            SetupError: it could not be written.
        """
        _say("prepare: the network and its reference")
        done, about = self._worker("prepare", "ferjax")
        if done.reason is not None:
            raise SetupError(f"the network cannot be prepared: {done.reason}")
        self.network, self.device = about["network"], about["device"]
        return bool(self.device["platform"] != "cpu")

    def leave_out(self, case: str) -> None:
        """Do not measure a case after all."""
        self.case_names = tuple(name for name in self.case_names if name != case)
        self._entries.pop(case, None)

    def check(self) -> None:
        """Check that all make the same of the network; who does not, is not measured."""
        wanted = dict.fromkeys(entry for found in self._entries.values() for entry in found)
        refused: dict[str, str] = {}
        for checked in dict.fromkeys(cases.checked_as(entry) for entry in wanted):
            reason = cases.ENTRIES[rounds.plain(checked)].missing() or self._check(checked)
            if reason is not None:
                refused[checked] = reason
                _say(f"{checked}: not measured: {reason}")
        for case, entries in self._entries.items():
            for entry in list(entries):
                if cases.checked_as(entry) in refused:
                    self._fail(case, entry, refused[cases.checked_as(entry)])

    def _check(self, entry: str) -> str | None:
        """Return why the entry may not be timed, or None."""
        if entry == "onnxruntime":
            done, _ = self._worker("prepare", entry)
            if done.reason is not None:
                return f"the network cannot be exported: {done.reason}"
        done, found = self._worker("agreement", entry)
        if done.reason is not None:
            return done.reason
        difference: float = found["difference"]
        if math.isfinite(difference):
            self.differences[entry] = difference
        tolerance = cases.TOLERANCE[self.setup.dtype]
        _say(f"{entry}: probabilities differ by at most {difference:.1e} from the reference")
        if not difference <= tolerance:  # also where it is not a number
            return f"its probabilities differ by {difference:.1e}, more than {tolerance:g}"
        return None

    def measure(self) -> None:
        """Measure everything, in rounds; Ctrl-C leaves what there is."""
        began = datetime.datetime.now(datetime.UTC)
        self.began = began.isoformat(timespec="seconds")
        self.machine = machine.describe(self.setup.threads, self.device, self._load)
        limited = any(case in cases.LIMITED for case in self.case_names)
        plan = {"limit": list(_LIMITS) if limited else [], **self._entries}
        repeats = self.setup.effort.repeats
        left = [
            [(case, entry) for case, of in plan.items() for entry in rounds.rotated(of, repeat)]
            for repeat in range(repeats)
        ]
        clock, total, number = Clock(), sum(map(len, left)), 0
        for repeat in rounds.rounds(repeats, self._minutes, self._start):
            for place, (case, entry) in enumerate(left[repeat], start=1):
                number += 1
                if (case, entry) in self.failures:
                    continue
                started = time.perf_counter()
                text = self._one(case, entry)
                clock.add((case, entry), time.perf_counter() - started)
                rest = [what for later in left[repeat + 1 :] for what in later]
                after = clock.left([*left[repeat][place:], *rest], self.failures)
                _say(f"[{number}/{total}] {case}, {entry}: {text}  ({after} left)")
            self.repeats = repeat + 1
        self.complete = True

    def _one(self, case: str, entry: str) -> str:
        """Measure once, in as many processes as that takes; return what came out, for a person."""
        try:
            if case == "cold-start":
                found = self._cold_start(entry)
            elif case == "conversion":
                found = self._conversion(entry)
            else:
                found = self._plain(case, entry)
        except _FailedError as error:
            self._fail(case, entry, str(error))
            return f"failed: {error}"
        for row, metric, value, peak in found:
            self.values.setdefault((case, metric, row), []).append(value)
            self.peaks.setdefault((case, metric, row), []).append(peak)
        return ", ".join(f"{metric} {value:.4g}" for _, metric, value, _ in found)

    def _plain(self, case: str, entry: str) -> list[_Found]:
        done, values = self._worker(case, entry)
        _check(done)
        return [(entry, metric, value, done.peak_bytes) for metric, value in values.items()]

    def _cold_start(self, entry: str) -> list[_Found]:
        name = rounds.plain(entry)
        if name not in cases.OWN:
            done, values = self._worker("cold-start", entry)
            _check(done)
            return [self._started(entry, done, values)]
        files = [str(self.setup.image), "--weights", str(self.setup.folder / "model.keras")]
        engine = [] if name == "ferjax-default" else ["--engine", "jax"]
        found = []
        folder = self.setup.folder / f"cache-{time.monotonic_ns()}"  # empty each time
        for start in ("first", "second"):
            env = processes.with_caches_in(self._env_of(entry), folder)
            done = self._ferjax(["predict", *files, *engine, "--json"], env)
            _check(done)
            row = f"{name} ({start} start){entry.removeprefix(name)}"
            found.append(self._started(row, done, json.loads(done.stdout)[0]))
        return found

    def _started(self, row: str, done: Done, answer: dict[str, Any]) -> _Found:
        self._answer[row] = answer["index"]
        if len(set(self._answer.values())) > 1:
            raise _FailedError(f"the peers do not predict the same class: {self._answer}")
        return row, "seconds", done.seconds, done.peak_bytes

    def _conversion(self, entry: str) -> list[_Found]:
        call, values = self._worker("conversion", entry)
        _check(call)
        process = call
        if rounds.plain(entry) == "ferjax":
            paths = [str(self.setup.folder / name) for name in ("model.h5", "converted.keras")]
            process = self._ferjax(["convert", *paths], self._env_of(entry))
            _check(process)
        return [
            (entry, "process", process.seconds, process.peak_bytes),
            (entry, "call", values["call"], call.peak_bytes),
        ]

    def _env_of(self, entry: str) -> dict[str, str]:
        return rounds.environment_of(entry, self._env, self.before)

    def _ferjax(self, arguments: list[str], env: dict[str, str]) -> Done:
        return processes.run([sys.executable, "-m", "ferjax", *arguments], env, self.setup.folder)

    def _worker(self, task: str, entry: str) -> tuple[Done, dict[str, Any]]:
        command = [sys.executable, str(SCRIPT), "worker", task]
        command += [rounds.plain(entry), self.setup.to_json()]
        done = processes.run(command, self._env_of(entry), self.setup.folder)
        if done.reason is not None:
            return done, {}
        values: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return done, values

    def _fail(self, case: str, entry: str, reason: str) -> None:
        self.reasons[case, entry] = reason
        self.failures.add((case, entry))

    def results(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        limits = {
            name: figures.spread([1e-9 * value for value in self.values["limit", "rate", name]])
            for name in _LIMITS
            if ("limit", "rate", name) in self.values
        }
        highest = max((found["median"] for found in limits.values()), default=None)
        return {
            "format": figures.FORMAT,
            "date": self.began,
            "complete": self.complete,
            "machine": self.machine,
            "versions": machine.versions(),
            "before": None if self.before is None else machine.version_of(self.before),
            "settings": {
                "dtype": self.setup.dtype,
                "peers": list(self.peers),
                "effort": {**cases.as_json(self.setup.effort), "repeats": self.repeats},
            },
            "network": self.network,
            "limit": {
                "gflops": highest,
                "products": limits,
                "missing": {
                    entry: why for (at, entry), why in self.reasons.items() if at == "limit"
                },
            },
            "largest_difference": self.differences,
            "cases": [self._case(case, highest) for case in self.case_names],
        }

    def _case(self, name: str, limit: float | None) -> dict[str, Any]:
        case, metrics = CASES[name], []
        for metric in case.metrics(self.setup.effort):
            found = {
                row: (values, self.peaks[key])
                for key, values in self.values.items()
                for row in [key[2]]
                if key[:2] == (name, metric.key)
            }
            arithmetic = 2e-9 * metric.factor * self.network["multiply_adds"]
            metrics.append(figures.compare(metric, found, arithmetic, limit))
        missing = [
            {"entry": entry, "reason": reason, "failed": (name, entry) in self.failures}
            for (case_name, entry), reason in self.reasons.items()
            if case_name == name
        ]
        return {"name": name, "what": case.what, "metrics": metrics, "missing": missing}


_Found = tuple[str, str, float, int]  # row, metric, value, peak in bytes


class _FailedError(Exception):
    """A measurement failed; the message says why, in a line."""


def _check(done: Done) -> None:
    if done.reason is not None:
        raise _FailedError(done.reason)


class Clock:
    """How long the rest will take, from what the same measurements took."""

    def __init__(self) -> None:
        self._took: dict[tuple[str, str], list[float]] = {}

    def add(self, what: tuple[str, str], seconds: float) -> None:
        """Remember what a (case, entry) took."""
        self._took.setdefault(what, []).append(seconds)

    def left(self, rest: Sequence[tuple[str, str]], failed: set[tuple[str, str]]) -> str:
        """Return such as "about 12 min"."""
        everything = [seconds for took in self._took.values() for seconds in took]
        seconds = 0.0
        for what in rest:
            if what not in failed:
                same_case = [s for w, took in self._took.items() if w[0] == what[0] for s in took]
                known = self._took.get(what) or same_case or everything
                seconds += sum(known) / len(known)
        return f"about {seconds / 60:.0f} min" if seconds > 90 else f"about {seconds:.0f} s"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
