"""Runs over many pictures or films on Ray: Ray Data hands parts of them to its workers.

The engine keeps as many workers as there are cores, hands each the next part when it has room for
it, and gives a part to another worker where one dies. What it moves are names and counts; workers
read pictures where they lie and write rows to the folder themselves.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ferjax import filesystems, hardware
from ferjax._version import __version__
from ferjax.errors import FerjaxError, printable
from ferjax.filesystems import is_address, shown
from ferjax.scale import places, tables
from ferjax.scale.attempts import Attempt
from ferjax.scale.cluster import (
    ATTEMPTS,
    ClusterOptions,
    Pool,
    connected,
    require_ray,
)
from ferjax.scale.folder import Counts, Folder, Taken, key_of, part_name
from ferjax.scale.jobs import Job, Part, check_seen, names_of

if TYPE_CHECKING:
    from ferjax.classifier import EmotionClassifier

_SMALLEST_PART: Final = 16  # pictures
_PARTS_PER_WORKER: Final = 8  # where there are few pictures


@dataclass
class Result:
    """What came of a run.

    Attributes:
        what: the inputs are called, such as "photographs".
        total: inputs that were given, and those that an earlier call did and are gone since.
        before: how many of these an earlier call did.
        counts: of all that the folder has.
        seconds: that this call took, from when the workers were asked.
        workers: how many there were.
        left_out: files in folders that are of other kinds.
    """

    what: str
    total: int = 0
    before: int = 0
    counts: Counts = field(default_factory=Counts)
    seconds: float = 0.0
    workers: int = 0
    left_out: int = 0

    @property
    def rate(self) -> float:
        """How many a second this call did."""
        return (self.counts.inputs - self.before) / max(1e-3, self.seconds)

    def lines(self) -> list[str]:
        """Return what is printed of it."""
        counts = self.counts
        said = f"{counts.inputs:,} {self.what}"
        if self.what != "images":  # which are a face each
            said += f": {counts.faces:,} faces, {counts.empty:,} without a face"
        if counts.failed:
            said += f", {counts.failed:,} could not be read"
        lines = [said + (f"; {self.rate:.1f} a second" if counts.inputs > self.before else "")]
        kinds = sorted(counts.errors.items(), key=lambda item: (-item[1], item[0]))
        return lines + [f"  {count:,} x {printable(kind)}" for kind, count in kinds]

    def summary(self, asked: dict[str, Any], labels: Sequence[str]) -> dict[str, Any]:
        """Return what is stored of it."""
        return {
            "ferjax": __version__,
            self.what: self.counts.inputs,
            "faces": self.counts.faces,
            "without_face": self.counts.empty,
            "failed": self.counts.failed,
            "errors": self.counts.errors,
            "labels": list(labels),
            "done_before": self.before,
            "seconds": round(self.seconds, 3),
            "rate": round(self.rate, 3),
            "workers": self.workers,
            "asked": asked,
        }


class Run:
    """A run over many pictures or films.

    Attributes:
        result: what came of it so far.
    """

    def __init__(
        self,
        classifier: EmotionClassifier,
        sources: Sequence[str],
        job: Job,
        asked: dict[str, Any],
        *,
        out: str,
        cluster: ClusterOptions,
        resume: bool = False,
        force: bool = False,
    ) -> None:
        """Find the pictures and look at the folder; nothing is written, and Ray is not begun.

        Args:
            classifier: what tells the expressions; it travels to the workers.
            sources: paths, folders and addresses.
            job: what is asked of them.
            asked: all that rows depend on, by the names of options.
            out: the folder of the rows, a path or an address.
            cluster: where they are computed.
            resume: go on with the run in the folder, if there is one.
            force: replace it.

        Raises:
            FerjaxError: there are no pictures, or the folder is another run's, or something is
                missing.
        """
        require_ray()
        for text in (out, *sources):
            filesystems.check_shared(text)
        filesystems.place_of(out)  # says so where pyarrow is missing
        job.check(classifier)
        self._classifier, self._job, self._cluster = classifier, job, cluster
        self._folder = Folder(out)
        given = [shown(s) if is_address(s) else os.path.abspath(s) for s in sources]
        self._asked = {**asked, "SOURCE": [shown(source) for source in sources], "given": given}
        self._force = force
        self._folder.check(self._asked, resume=resume, force=force)
        self._goes_on = self._folder.asked is not None and resume
        cluster.check()
        self.result = Result(job.what)
        self._groups = self._found(sources)
        self.result.total = sum(len(paths) for _, paths in self._groups)

    @property
    def goes_on(self) -> bool:
        """Whether the run goes on with an earlier one."""
        return self._goes_on

    def _found(self, sources: Sequence[str]) -> list[tuple[str, list[str]]]:
        """Return the files at each address, and first those of this machine at ""."""
        groups: list[tuple[str, list[str]]] = []
        here = [source for source in sources if not is_address(source)]
        if here:
            paths, left_out = places.local_files(here, self._job.suffixes)
            self.result.left_out += left_out
            groups.append(("", paths))
        addresses = list(dict.fromkeys(source for source in sources if is_address(source)))
        before: set[bytes] = set()
        for source in addresses:
            paths, left_out = places.listed(source, self._job.suffixes)
            self.result.left_out += left_out
            if len(addresses) > 1:  # of which one may lead into another
                keys = [key_of(tables.path_text(name)) for name in names_of(source, paths)]
                paths = [path for path, key in zip(paths, keys) if key not in before]
                before.update(keys)
            if paths:
                groups.append((source, paths))
        return groups

    # --- parts -----------------------------------------------------------------------------------

    def _size(self, workers: int) -> int:
        """Return how many pictures make a part."""
        share = -(-self.result.total // (_PARTS_PER_WORKER * workers))
        return min(self._job.size, max(_SMALLEST_PART, share))

    def _parts(self, size: int, done: set[bytes]) -> Iterator[Part]:
        """Yield the parts that are left to do."""
        first = 0
        for source, paths in self._groups:
            for start in range(0, len(paths), size):
                chunk = paths[start : start + size]
                if done:
                    names = map(tables.path_text, names_of(source, chunk))
                    chunk = [p for p, n in zip(chunk, names) if key_of(n) not in done]
                if chunk:
                    yield Part(part_name(first + start, chunk), source, chunk)
            first += len(paths)

    # --- doing -----------------------------------------------------------------------------------

    def do(
        self,
        advance: Callable[[int], None],
        begun: Callable[[], None],
        note: Callable[[str], None],
    ) -> Result:
        """Do all that is left, and return what came of it.

        Args:
            advance: called with how many more are done.
            begun: called once the workers are asked.
            note: called with what goes wrong, and is made good.

        Raises:
            FerjaxError: Ray cannot be reached, or the run cannot go on.
        """
        with ExitStack() as stack:
            done: set[bytes] = set()
            if self._goes_on:  # what is done is counted once nobody else adds to it
                assert self._folder.size is not None
                self._folder.begin(self._asked, self._folder.size, replace=False)
                done, self.result.counts = self._folder.done()
                self.result.before = self.result.counts.inputs
                parts = list(self._parts(self._folder.size, done))
                self.result.total = self.result.before + sum(len(part.paths) for part in parts)
                done.clear()
                if not parts:
                    begun()
                    self._folder.end(self.result.summary(self._asked, self._classifier.labels))
                    return self.result
            ray, pool = stack.enter_context(connected(self._cluster, note))
            self.result.workers = pool.workers
            if not self._goes_on:
                size = self._size(pool.workers)
                self._folder.begin(self._asked, size, replace=self._force)
                parts = list(self._parts(size, done))
            begun()
            start = time.monotonic()
            try:
                self._ask(ray, pool, parts, advance)
            finally:
                self.result.seconds = time.monotonic() - start
        self._folder.end(self.result.summary(self._asked, self._classifier.labels))
        return self.result

    def _ask(self, ray: Any, pool: Pool, parts: list[Part], advance: Callable[[int], None]) -> None:
        """Have the workers do parts, and count what they say."""
        import pyarrow

        blocks = [
            pyarrow.table(
                {
                    "name": [part.name],
                    "source": [part.source],
                    "paths": [[os.fsencode(path) for path in part.paths]],  # some are no UTF-8
                }
            )
            for part in parts
        ]
        parts.clear()
        arguments = {
            "classifier": ray.put(self._classifier),
            "job": ray.put(self._job),
            "folder": self._folder.text
            if is_address(self._folder.text)
            else os.path.abspath(self._folder.text),
            "token": self._folder.token,
            "here": os.getcwd(),
            "node": ray.get_runtime_context().get_node_id(),
            "cores": max(1, int(pool.cpus)),
            "version": __version__,
        }
        options: dict[str, Any] = {"num_gpus": pool.gpus} if pool.gpus else {}
        rows = ray.data.from_arrow(blocks).map_batches(
            Worker,
            fn_constructor_kwargs=arguments,
            batch_size=1,
            batch_format="pyarrow",
            # Of parts that wait at a worker each of its deaths would count too.
            compute=ray.data.ActorPoolStrategy(
                size=min(pool.workers, len(blocks)), max_tasks_in_flight_per_actor=1
            ),
            num_cpus=pool.cpus,
            max_restarts=-1,
            max_task_retries=ATTEMPTS - 1,
            **options,
        )
        del blocks
        for row in rows.iter_rows():
            if row["problem"]:
                raise FerjaxError(row["problem"])
            kinds = dict(zip(row["kinds"], row["kind_counts"]))
            counts = Counts(row["inputs"], row["faces"], row["empty"], row["failed"], kinds)
            self.result.counts.add(counts)
            advance(counts.inputs)


class Worker:
    """What one of Ray's processes does, part by part."""

    def __init__(
        self,
        classifier: Any,
        job: Any,
        folder: str,
        token: str,
        here: str,
        node: str,
        cores: int,
        version: str,
    ) -> None:
        import ray

        from ferjax.xla import compile_cache

        self._problem = ""
        if version != __version__:
            self._problem = (
                f"expected ferjax {version} on {socket.gethostname()}, as here, got {__version__}"
            )
        with suppress(OSError):  # a folder that this machine lacks: paths that are whole still hold
            os.chdir(here)
        hardware.limit_cores(cores)
        self._classifier, self._job = ray.get(classifier), ray.get(job)
        self._folder, self._token = folder, token
        self._is_far = ray.get_runtime_context().get_node_id() != node
        self._programs = ExitStack()
        self._programs.enter_context(compile_cache())

    def __call__(self, batch: Any) -> Any:
        """Do one part, a table of one row, and return what came of it, another."""
        import pyarrow

        (row,) = batch.to_pylist()
        part = Part(row["name"], row["source"], [os.fsdecode(path) for path in row["paths"]])
        counts, problem = Counts(), self._problem
        try:
            if not problem:
                if self._is_far and not part.source:
                    check_seen(part.paths, socket.gethostname())
                folder = Folder(self._folder)
                with Attempt(folder, part.name, len(part.paths), self._token) as attempt:
                    writer = folder.writer(self._token)
                    counts = self._job.do(self._classifier, part, writer, attempt)
        except Taken:
            problem = f"{shown(self._folder)}: another call of ferjax writes to it now"
        except FerjaxError as error:
            problem = printable(str(error))
        row = {name: value for name, value in vars(counts).items() if name != "errors"}
        row |= {"kinds": list(counts.errors), "kind_counts": list(counts.errors.values())}
        return pyarrow.Table.from_pylist([{**row, "problem": problem}], schema=_report_schema())


def _report_schema() -> Any:
    """Return the schema of what a worker reports of a part."""
    import pyarrow

    whole = pyarrow.int64()
    return pyarrow.schema(
        [
            *((name, whole) for name in ("inputs", "faces", "empty", "failed")),
            ("kinds", pyarrow.list_(pyarrow.string())),
            ("kind_counts", pyarrow.list_(whole)),
            ("problem", pyarrow.string()),
        ]
    )
