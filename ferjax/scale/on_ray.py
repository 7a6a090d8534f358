"""Runs over many pictures or films on Ray: Ray Data hands parts of them to its workers.

The engine keeps as many workers as there are cores, hands each the next part when it has room for
it, and gives a part to another worker where one dies. What it moves are names and counts; workers
read pictures where they lie and write rows to the folder themselves.
"""

from __future__ import annotations

import io
import logging
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ferjax import hardware
from ferjax._version import __version__
from ferjax.errors import FerjaxError, ImageError, causes, first_line, printable
from ferjax.faces.outputs import find_photographs
from ferjax.scale import places, tables
from ferjax.scale.folder import Counts, Folder, Taken, key_of, part_name
from ferjax.scale.jobs import Job, Part, check_seen, names_of
from ferjax.scale.places import FILM_SUFFIXES, is_address, shown

if TYPE_CHECKING:
    from ferjax.classifier import EmotionClassifier

_ATTEMPTS: Final = 4  # at a part, whose worker may be killed by it
_LEAST: Final = 16  # pictures in a part
_PARTS: Final = 8  # for each worker, where there are few pictures
_PATIENCE: Final = 5.0  # seconds for a connection
_STORE: Final = 200_000_000  # bytes that Ray shares among processes; its least is 75 MB
_SETTINGS: Final = {  # of Ray, where they are not set
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_worker_niceness": "0",  # as this process: by default workers come after all others
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns of that
}
_LONGEST_FOLDER: Final = 40  # letters of Ray's folder, whose sockets' names are limited


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where a run computes.

    Attributes:
        address: of a Ray cluster, as `ray.init` takes it; None: RAY_ADDRESS, or else this machine.
        workers: how many processes; None: one for each core.
        gpus: for each worker, perhaps a part of one.
    """

    address: str | None = None
    workers: int | None = None
    gpus: float = 0.0


@dataclass
class Result:
    """What came of a run.

    Attributes:
        counts: of all that the folder has.
        before: how many of these an earlier call did.
        total: pictures or films that were given.
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
        engine: what computes, "jax" or "onnx", on this machine.
    """

    def __init__(
        self,
        classifier: EmotionClassifier,
        sources: Sequence[str],
        job: Job,
        asked: dict[str, Any],
        *,
        out: str,
        where: Where,
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
            where: where they are computed.
            resume: go on with the run in the folder, if there is one.
            force: replace it.

        Raises:
            FerjaxError: there are no pictures, or the folder is another run's, or something is
                missing.
        """
        require_ray()
        places.place_of(out)  # says so where pyarrow is missing
        job.check(classifier)
        self._classifier, self._job, self._where = classifier, job, where
        self._folder = Folder(out)
        given = [shown(s) if is_address(s) else os.path.abspath(s) for s in sources]
        self._asked = {**asked, "SOURCE": [shown(source) for source in sources], "given": given}
        self._force = force
        self._folder.check(self._asked, resume=resume, force=force)
        self._goes_on = self._folder.asked is not None and resume
        if where.address is not None:
            check_address(where.address)
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
            paths, left_out = _files_here(here, self._job.suffixes)
            self.result.left_out += left_out
            groups.append(("", paths))
        for source in dict.fromkeys(s for s in sources if is_address(s)):
            paths, left_out = places.listed(source, self._job.suffixes)
            self.result.left_out += left_out
            groups.append((source, paths))
        return groups

    # --- parts -----------------------------------------------------------------------------------

    def _size(self, workers: int) -> int:
        """Return how many pictures make a part."""
        share = -(-self.result.total // (_PARTS * workers))
        return min(self._job.size, max(_LEAST, share))

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
                done.clear()
                if not parts:
                    begun()
                    self._folder.end(self.result.summary(self._asked, self._classifier.labels))
                    return self.result
            ray, pool = stack.enter_context(connected(self._where, note))
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
            "cores": max(1, int(pool.cpus)),
            "version": __version__,
        }
        options: dict[str, Any] = {"num_gpus": pool.gpus} if pool.gpus else {}
        rows = ray.data.from_arrow(blocks).map_batches(
            Worker,
            fn_constructor_kwargs=arguments,
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=min(pool.workers, len(blocks))),
            num_cpus=pool.cpus,
            max_restarts=-1,
            max_task_retries=_ATTEMPTS - 1,
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
                if not part.source:
                    check_seen(part.paths, socket.gethostname())
                writer = Folder(self._folder).writer(self._token)
                counts = self._job.do(self._classifier, part, writer)
        except Taken:
            problem = f"{shown(self._folder)}: another call of ferjax writes to it now"
        except FerjaxError as error:
            problem = str(error)
        row = {name: value for name, value in vars(counts).items() if name != "errors"}
        row |= {"kinds": list(counts.errors), "kind_counts": list(counts.errors.values())}
        return pyarrow.Table.from_pylist([{**row, "problem": problem}], schema=_said())


def _said() -> Any:
    """Return the schema of what a worker says of a part."""
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


def _files_here(sources: Sequence[str], suffixes: frozenset[str]) -> tuple[list[str], int]:
    """Return the files of this machine, and how many of others are left out."""
    missing = next((source for source in sources if not os.path.lexists(source)), None)
    if missing is not None:
        raise ImageError(f"{printable(missing)}: no such file or folder")
    if suffixes is not FILM_SUFFIXES:
        inputs, left_out = find_photographs(sources)
        return [os.fspath(item.path) for item in inputs], left_out
    films: dict[str, None] = {}
    left_out = 0
    for source in sources:
        if not os.path.isdir(source):
            films[source] = None
            continue
        paths, others = places.listed(source, suffixes)
        below = len(os.path.abspath(source).rstrip("/")) + 1
        films.update(dict.fromkeys(os.path.join(source, path[below:]) for path in paths))
        left_out += others
    return list(films), left_out


# --- Ray -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pool:
    """How many workers there are, and what each is given."""

    workers: int
    cpus: float
    gpus: float


def require_ray() -> Any:
    """Return the package `ray`, which is to say nothing to its maker.

    Raises:
        FerjaxError: it is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError:
        raise FerjaxError(
            'runs on Ray take Ray Data, which is not installed: pip install "ferjax[ray]"'
        ) from None
    return ray


def check_address(address: str) -> None:
    """Raise where nothing listens at the address of a cluster; Ray itself would wait for minutes.

    Raises:
        FerjaxError: nothing does, or it is no address.
    """
    if address in ("auto", "local"):
        return
    text = address.removeprefix("ray://")
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise FerjaxError(
            f"expected HOST:PORT, ray://HOST:PORT or auto for --address, got {address!r}"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise FerjaxError(f"{printable(address)}: no Ray is reached there ({reason})") from None


class _Heard(io.TextIOBase):
    """Takes the place of stdout, where Ray says what is wrong in paragraphs."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if "worker died" in text:
            self._note("a worker died; its part is done again")
        elif "out of memory" in text.lower() or "OOM" in text:
            self._note("Ray: memory runs short; fewer --workers take less")
        return len(text)


@contextmanager
def connected(where: Where, note: Callable[[str], None]) -> Iterator[tuple[Any, Pool]]:
    """Yield `ray`, connected, and the workers that there may be.

    Args:
        where: to.
        note: called with what Ray says that goes wrong.

    Raises:
        FerjaxError: it cannot be reached, or whatever stops it.
    """
    ray = require_ray()
    _be_quiet(ray)
    address = where.address or os.environ.get("RAY_ADDRESS") or "local"
    with ExitStack() as stack:
        options: dict[str, Any] = {}
        if address == "local":
            cores = max(hardware.cores(), where.workers or 1)
            options = {
                "num_cpus": cores,
                "include_dashboard": False,
                "object_store_memory": _STORE,
            }
            folder = tempfile.mkdtemp(prefix="ferjax-ray-")
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            if len(folder) <= _LONGEST_FOLDER:
                options["_temp_dir"] = folder
            stack.enter_context(_path_for_workers())
        try:
            try:
                with _silenced():
                    ray.init(
                        address=address,
                        log_to_driver=False,
                        logging_level=logging.CRITICAL,
                        **options,
                    )
            except Exception as error:
                raise FerjaxError(
                    f"{printable(address)}: no Ray is reached there ({first_line(error)})"
                ) from error
            stack.callback(ray.shutdown)
            stack.enter_context(redirect_stdout(_Heard(note)))
            _be_quiet(ray)
            yield ray, _pool(ray, where, is_local=address == "local")
        except (FerjaxError, KeyboardInterrupt):
            raise
        except ray.exceptions.RayError as error:
            raise FerjaxError(_told(error)) from error


def _pool(ray: Any, where: Where, *, is_local: bool) -> Pool:
    """Return what a cluster has for the workers."""
    total = ray.cluster_resources()
    cpus, gpus = total.get("CPU", 0.0), total.get("GPU", 0.0)
    if where.gpus > 0 and gpus < where.gpus:
        raise FerjaxError(f"expected a cluster with {where.gpus:g} GPUs for --gpus, got {gpus:g}")
    workers = where.workers
    if workers is None:
        workers = int(gpus // where.gpus) if where.gpus else int(cpus)
        workers = max(1, workers)
    if where.gpus and workers * where.gpus > gpus:
        raise FerjaxError(
            f"expected a cluster with {workers * where.gpus:g} GPUs for {workers} workers, got "
            f"{gpus:g}"
        )
    share = cpus / workers if is_local else min(1.0, cpus / workers)
    # Ray takes whole cores, or hundredths of one; with more some would wait for ever.
    share = float(int(share)) if share >= 1 else int(share * 100) / 100
    return Pool(workers, share, where.gpus)


def _be_quiet(ray: Any) -> None:
    """Keep Ray's own words and progress off stderr."""
    for name in ("ray", "ray.data", "ray.serve", "ray.tune"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL)
        logger.propagate = False
        for handler in logger.handlers:
            handler.setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep off stderr what Ray's C++ says, which no setting keeps from it."""
    sys.stderr.flush()
    kept = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def _path_for_workers() -> Iterator[None]:
    """Have the processes that are begun here find the ferjax that this one has."""
    root = str(Path(__file__).parents[2])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, before]))
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("PYTHONPATH", None)
        else:
            os.environ["PYTHONPATH"] = before


def _told(error: Exception) -> str:
    """Return what an error of Ray's comes down to, in a line."""
    text = str(error)
    if "No module named 'ferjax" in text:
        return "the cluster's workers have no ferjax; install the same version on all machines"
    for cause in causes(error):
        if isinstance(cause, FerjaxError):
            return str(cause)
    name = type(error).__name__
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    reason = printable(lines[-1] if lines else name, 300)
    if "Died" in name or "Crashed" in name or "OutOfMemory" in name:
        return (
            f"Ray: a worker died {_ATTEMPTS} times at the same part ({name}); --resume goes on "
            "with the others"
        )
    return f"Ray: {name}: {reason}"
